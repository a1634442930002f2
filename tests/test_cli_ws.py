"""`ftnet ws` in a pipe: lines go out, messages come in, and machines are told what came of it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ftnet import cli
from tests.command import COMMAND, LIMIT, environment
from tests.servers.awkward import AwkwardServer, Behaviour, Peer, closed_port
from tests.servers.behaviours import BEHAVIOURS
from tests.servers.certs import Certificates
from tests.servers.proxies import Tinyproxy
from tests.servers.websocket import WebSocketServer

ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
Done = subprocess.CompletedProcess[bytes]


def ws(*arguments: str, data: bytes = b"", **streams: Any) -> Done:
    """Runs `ftnet ws` to its end."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(
        [*COMMAND, "ws", *arguments],
        input=data,
        env=environment(),
        timeout=LIMIT,
        check=False,
        **streams,
    )


@contextmanager
def started(*arguments: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`ftnet ws` while it runs; nothing is left of it."""
    with run_with([*COMMAND, "ws", *arguments], **streams) as process:
        yield process


@contextmanager
def run_with(command: list[str], **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | streams
    process = subprocess.Popen(command, env=environment(), **pipes)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def end(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out, err


def agreed(peer: Peer) -> None:
    """The good answer to an opening, by hand."""
    key = peer.read_request().get("sec-websocket-key")
    assert key is not None
    accept = base64.b64encode(hashlib.sha1(key.encode() + ACCEPT).digest()).decode()
    peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )


def never_closes(peer: Peer) -> None:
    """Opens the socket and then says nothing, whatever comes."""
    agreed(peer)
    peer.until_gone()


# ---- the command line


def test_help_has_examples_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ws", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "examples:\n  ftnet ws wss://" in shown
    codes = (0, 1, 2, 3, 5, 6, 7, 8, 22, 23, 26, 28, 35, 52, 55, 56, 58, 60, 63, 77, 97, 110, 130)
    assert [code for code in codes if f"  {code} " not in shown] == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--http2", "127.0.0.1"],
        ["--max-filesize", "9", "127.0.0.1"],
        ["-n", "0", "127.0.0.1"],
        ["--wait", "-1", "127.0.0.1"],
        ["--ping", "often", "127.0.0.1"],
        ["-H", "no colon", "127.0.0.1"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ws", *arguments]) == 2
    assert capsys.readouterr().err.startswith("usage: ftnet ")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["http://127.0.0.1/"], 1, "the scheme http is not supported, only ws and wss are"),
        (["ws://127.0.0.1:99999/"], 3, "connectSocket: url is not valid"),
        (["ws://127.0.0.1/a b"], 3, "connectSocket: url must not hold a space"),
        (["--subprotocol", "a b", "127.0.0.1"], 2, "connectSocket: protocols "),
        (["--subprotocol", "a", "--subprotocol", "a", "127.0.0.1"], 2, "connectSocket: protocols "),
        (["-H", "Connection: close", "127.0.0.1"], 2, "connectSocket: header Connection "),
        (["--cacert", "/nonexistent", "127.0.0.1"], 77, "can't read /nonexistent"),
        (["-x", "ftp://127.0.0.1", "127.0.0.1"], 2, "Client: proxy has a wrong scheme"),
    ],
)
def test_what_the_command_refuses(arguments: list[str], code: int, told: str) -> None:
    done = ws(*arguments)
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.decode().startswith(f"ftnet: ({code}) {told}")
    document = json.loads(ws("--json", *arguments).stdout)
    assert document["event"] == "error"
    assert document["errMsg"].startswith(f"connectSocket:fail {told}")
    assert (document["errno"], document["cause"], document["profile"]) == (600005, None, None)


# ---- lines and messages


def test_each_line_is_a_message_and_each_message_a_line(sockets: WebSocketServer) -> None:
    done = ws("-n", "4", f"{sockets.url}/echo", data="one\n\nthree é\nno end".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == "one\n\nthree é\nno end\n"
    peer = sockets.peer()
    assert [peer.next() for _ in range(4)] == ["one", "", "three é", "no end"]
    assert peer.wait_over() == (1000, "")


def test_ws_is_assumed_when_the_url_names_no_scheme(sockets: WebSocketServer) -> None:
    assert ws("-n", "1", f"{sockets.netloc}/echo", data=b"hello").stdout == b"hello\n"


def test_lines_may_come_from_a_file(sockets: WebSocketServer, tmp_path: Path) -> None:
    lines = b"".join(b"%d\n" % number for number in range(20_000))
    path = tmp_path / "lines"
    path.write_bytes(lines)
    with path.open("rb") as file, started("-n", "20000", f"{sockets.url}/echo", stdin=file) as run:
        assert end(run) == (0, lines, b"")


def test_text_is_written_as_it_came(sockets: WebSocketServer) -> None:
    with started(f"{sockets.url}/quiet") as run:
        peer = sockets.peer()
        peer.send("two\nlines \x1b[31m \r\n é")
        peer.close()
        assert end(run) == (0, "two\nlines \x1b[31m \r\n é\n".encode(), b"")


def test_binary_messages_are_lines_of_base64_and_a_note_says_so(sockets: WebSocketServer) -> None:
    with started(f"{sockets.url}/quiet") as run:
        peer = sockets.peer()
        for message in (b"\0\xff", "text", b""):
            peer.send(message)
        peer.close()
        code, out, err = end(run)
    assert (code, out) == (0, b"AP8=\ntext\n\n")
    told = b"ftnet: binary messages are shown as base64; --binary writes them as they are\n"
    assert err == told


def test_binary_goes_and_comes_as_it_is(sockets: WebSocketServer) -> None:
    done = ws("--binary", "-n", "3", f"{sockets.url}/echo", data=b"\xff\0\r\n\n\xfe")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\xff\0\r\xfe", b"")
    peer = sockets.peer()
    assert [peer.next() for _ in range(3)] == [b"\xff\0\r", b"", b"\xfe"]


def test_a_line_that_is_no_text_is_not_sent(sockets: WebSocketServer) -> None:
    done = ws(f"{sockets.url}/echo", data=b"good\nb\xff\nnever")
    assert done.returncode == 26
    assert done.stderr == b"ftnet: (26) line 2 of stdin is not UTF-8: --binary sends it as it is\n"
    peer = sockets.peer()
    assert peer.wait_over() == (1000, "")
    assert peer.got.qsize() == 1


def test_messages_are_read_before_the_next_line_is_there(sockets: WebSocketServer) -> None:
    with started(f"{sockets.url}/echo") as run:
        assert run.stdout is not None
        for line in (b"ping\n", b"pong\n"):
            write(run, line)
            assert run.stdout.readline() == line
        assert end(run)[0] == 0


# ---- when it ends


def test_after_the_last_line_answers_are_waited_for(sockets: WebSocketServer) -> None:
    with started("--wait", "2", f"{sockets.url}/quiet") as run:
        assert run.stdin is not None
        assert run.stdout is not None
        write(run, b"question\n")
        run.stdin.close()
        peer = sockets.peer()
        assert peer.next() == "question"
        peer.send("answer")
        assert run.stdout.readline() == b"answer\n"
        assert peer.wait_over() == (1000, "")
        assert run.wait(LIMIT) == 0


def test_without_a_wait_it_closes_behind_what_was_sent(sockets: WebSocketServer) -> None:
    done = ws("--wait", "0", f"{sockets.url}/quiet", data=b"x" * 100_000)
    assert (done.returncode, done.stdout) == (0, b"")
    assert len(sockets.peer().next()) == 100_000
    assert sockets.peer().wait_over() == (1000, "")


def test_a_count_ends_it_and_nothing_else_does(sockets: WebSocketServer) -> None:
    with started("-n", "2", f"{sockets.url}/quiet", stdin=subprocess.DEVNULL) as run:
        peer = sockets.peer()
        for message in ("one", "two"):
            peer.send(message)
        assert peer.wait_over() == (1000, "")
        assert end(run) == (0, b"one\ntwo\n", b"")


def test_no_more_than_the_count_is_shown(sockets: WebSocketServer) -> None:
    done = ws("-n", "2", f"{sockets.url}/say?text=a&text=b&text=c")
    assert (done.returncode, done.stdout) == (0, b"a\nb\n")


def test_a_closed_stdin_has_no_lines(sockets: WebSocketServer) -> None:
    arguments = ["-n", "1", f"{sockets.url}/say?text=hello"]
    command = ["sh", "-c", '"$@" <&-', "sh", *COMMAND, "ws", *arguments]
    done = subprocess.run(
        command, env=environment(), capture_output=True, timeout=LIMIT, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")


@pytest.mark.parametrize("code", [1000, 1001, 1005])
def test_a_clean_close_of_the_server_is_a_success(sockets: WebSocketServer, code: int) -> None:
    with started(f"{sockets.url}/say?text=a&code={code}&reason=why") as run:
        assert run.wait(LIMIT) == 0  # though there may be more lines
        assert end(run) == (0, b"a\n", b"")


@pytest.mark.parametrize(
    ("code", "told"),
    [(1011, "1011 (internal error): why"), (1008, "1008 (policy violation): why"),
     (4321, "4321: why")],
)  # fmt: skip
def test_any_other_code_of_the_server_is_a_failure(
    sockets: WebSocketServer, code: int, told: str
) -> None:
    with started(f"{sockets.url}/say?text=a&code={code}&reason=why") as run:
        line = f"ftnet: (110) the server closed with {told}\n"
        assert end(run) == (110, b"a\n", line.encode())


def test_a_reason_can_not_upset_the_terminal(sockets: WebSocketServer) -> None:
    done = ws(f"{sockets.url}/say?code=4000&reason=%1B%5B31m%0A")
    assert done.stderr.endswith(b"the server closed with 4000: \\x1b[31m\\n\n")


def test_what_the_server_did_not_take_is_a_failure(
    sockets: WebSocketServer, tmp_path: Path
) -> None:
    path = tmp_path / "lines"
    path.write_bytes((b"x" * 999 + b"\n") * 50_000)
    with path.open("rb") as file, started(f"{sockets.url}/say?code=1000", stdin=file) as run:
        code, _, err = end(run)
    told = b"ftnet: (55) not all was sent before the server closed with 1000 (normal)\n"
    assert (code, err) == (55, told)


MEASURED = """
import re, sys
from ftnet.cli import main
code = main()
with open("/proc/self/status") as status:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory that was used")
def test_a_slow_server_is_waited_for(sockets: WebSocketServer, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes((b"x" * 9_999 + b"\n") * 8_000)
    command = [sys.executable, "-c", MEASURED, "ws", "-n", "8000", f"{sockets.url}/gate"]
    with (
        path.open("rb") as file,
        run_with(command, stdin=file, stdout=subprocess.DEVNULL) as run,
    ):
        sockets.peer()
        sockets.open_gate()
        code, _, err = end(run)
    assert code == 0
    assert int(err) < 75_000  # kB; the lines are 80 MB


def test_when_nobody_reads_it_ends_quietly(sockets: WebSocketServer) -> None:
    with started(f"{sockets.url}/quiet") as run:
        peer = sockets.peer()
        assert run.stdout is not None
        run.stdout.close()  # and no message comes that would find that out
        assert run.wait(LIMIT) == 23
        assert run.stderr is not None
        assert run.stderr.read() == b""
        assert peer.wait_over() == (1000, "")


def test_a_full_disk_is_told(sockets: WebSocketServer) -> None:
    with open("/dev/full", "wb") as full:
        done = ws(f"{sockets.url}/echo", data=b"hello", stdout=full)
    assert done.returncode == 23
    assert done.stderr == b"ftnet: (23) can't write to stdout: No space left on device\n"


def test_an_interrupt_closes_the_socket(sockets: WebSocketServer) -> None:
    with started(f"{sockets.url}/say?text=hello") as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"hello\n"
        run.send_signal(signal.SIGINT)
        assert sockets.peer().wait_over() == (1000, "")
        assert end(run) == (130, b"", b"")


def test_a_second_interrupt_does_not_wait_for_the_server() -> None:
    with AwkwardServer(never_closes) as server, started("--json", server.authority) as run:
        assert run.stdout is not None
        assert b'"open"' in run.stdout.readline()
        before = len(server.received)
        run.send_signal(signal.SIGINT)
        server.wait_for_bytes(before + 8)  # the close frame
        run.send_signal(signal.SIGINT)
        assert run.wait(LIMIT) == 130
        assert run.stderr is not None
        assert run.stderr.read() == b""


def test_an_interrupt_ends_the_opening() -> None:
    silent = BEHAVIOURS["silent_after_the_request"]
    with AwkwardServer(silent) as server, started(server.authority) as run:
        server.wait_for_requests(1)
        run.send_signal(signal.SIGINT)
        assert end(run) == (130, b"", b"")


# ---- JSON


def events(out: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_json_has_an_object_for_each_event(sockets: WebSocketServer) -> None:
    with started("--json", f"{sockets.url}/quiet") as run:
        peer = sockets.peer()
        for message in ("text é\n", b"\0\xff"):
            peer.send(message)
        peer.close(1000, "bye")
        code, out, err = end(run)
    opened, text, binary, closed = events(out)
    assert (code, err) == (0, b"")
    assert opened["event"] == "open"
    assert opened["header"]["Upgrade"] == "websocket"
    assert opened["profile"]["peerIP"] == "127.0.0.1"
    assert opened["profile"]["cost"] > 0
    assert abs(text.pop("time") - binary.pop("time")) < 60_000
    assert text == {"event": "message", "data": "text é\n"}
    assert binary == {"event": "message", "data": "AP8=", "dataEncoding": "base64"}
    assert closed == {"event": "close", "code": 1000, "reason": "bye"}


def test_json_tells_what_went_wrong(sockets: WebSocketServer) -> None:
    done = ws("--json", f"{sockets.url}/status/403")
    error, closed = events(done.stdout)
    assert done.returncode == 22
    assert error["event"] == "error"
    assert error["errMsg"].startswith("connectSocket:fail the server answered 403 Forbidden")
    assert closed == {"event": "close", "code": 1006, "reason": ""}


def test_json_tells_of_a_line_that_is_no_text(sockets: WebSocketServer) -> None:
    done = ws("--json", f"{sockets.url}/echo", data=b"\xff")
    _, error, closed = events(done.stdout)
    assert done.returncode == 26
    assert (error["event"], error["errno"]) == ("error", 600005)
    assert closed == {"event": "close", "code": 1000, "reason": ""}


# ---- options


def told_by(server: WebSocketServer, *arguments: str) -> dict[str, Any]:
    """What the server saw of the opening."""
    done = ws("-n", "1", *arguments, f"{server.url}/told?a=b")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_options_reach_the_server(socket_loop: Any) -> None:
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

    from tests.servers.websocket import serving

    deflate = ServerPerMessageDeflateFactory()
    with serving(socket_loop, deflate=deflate, subprotocols=["chat"]) as server:
        told = told_by(
            server, "-H", "x-tag: 1", "-H", "x-tag: 2", "-H", "Origin: https://a.test",
            "-A", "me/1", "--subprotocol", "other", "--subprotocol", "chat", "--compress",
        )  # fmt: skip
    header = [tuple(pair) for pair in told["header"]]
    assert told["target"] == "/told?a=b"
    assert [value for name, value in header if name == "x-tag"] == ["1", "2"]
    assert ("origin", "https://a.test") in header
    assert ("user-agent", "me/1") in header
    assert ("sec-websocket-protocol", "other, chat") in header
    assert (told["subprotocol"], told["extensions"]) == ("chat", ["permessage-deflate"])


def test_nothing_is_offered_unasked(sockets: WebSocketServer) -> None:
    names = [name for name, _ in told_by(sockets)["header"]]
    assert not [name for name in names if name.startswith("sec-websocket-") and name[14:] not in
                ("key", "version")]  # fmt: skip


def test_a_host_can_be_resolved_by_hand(sockets: WebSocketServer) -> None:
    where = f"elsewhere.test:{sockets.port}"
    given = ["-n", "1", "--resolve", f"{where}:127.0.0.1"]
    done = ws(*given, f"ws://{where}/echo", data=b"hello")
    assert done.stdout == b"hello\n"


def test_a_proxy_can_be_used(sockets: WebSocketServer, http_proxy: Tinyproxy) -> None:
    done = ws("-n", "1", "-x", http_proxy.url, f"{sockets.url}/echo", data=b"hello")
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    assert http_proxy.tunnels_to(sockets.url) == 1


def test_pings_are_sent_when_asked_for(socket_loop: Any) -> None:
    def pinged(peer: Peer) -> None:
        agreed(peer)
        assert peer.read_exactly(1) == b"\x89"
        peer.server.passed.set()
        peer.until_gone()

    with AwkwardServer(pinged) as server, started("--ping", "0.05", server.authority) as run:
        assert server.passed.wait(LIMIT)
        code, _, err = end_of(run)
    assert code == 56
    assert err.startswith(b"ftnet: (56) connectSocket:fail no answer to a ping")


def end_of(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    """As `end`, with stdin left open."""
    assert process.stdout is not None
    assert process.stderr is not None
    code = process.wait(LIMIT)
    return code, process.stdout.read(), process.stderr.read()


# ---- exit codes


def test_tls_is_verified_unless_told_otherwise(
    secure_sockets: WebSocketServer, certificates: Certificates
) -> None:
    url = f"{secure_sockets.url}/echo"
    assert ws(url, data=b"x").returncode == 60
    for trust in (["--cacert", str(certificates.ca)], ["-k"]):
        done = ws("-n", "1", *trust, url, data=b"x")
        assert (done.returncode, done.stdout) == (0, b"x\n")


def test_a_connection_that_can_not_be_made() -> None:
    with closed_port() as port:
        done = ws(f"127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (7, b"")
    assert done.stderr.startswith(b"ftnet: (7) connectSocket:fail connection refused")
    assert ws("nosuch.invalid").returncode == 6


def no_websocket(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    peer.until_gone()


def bad_frame(peer: Peer) -> None:
    agreed(peer)
    peer.send(b"\xf1\x00")
    peer.until_gone()


@pytest.mark.parametrize(
    ("behave", "code"),
    [
        (no_websocket, 8),
        (bad_frame, 8),
        (BEHAVIOURS["answers"], 22),
        (BEHAVIOURS["closes_unanswered"], 52),
        (BEHAVIOURS["resets_unanswered"], 56),
    ],
)
def test_servers_that_do_it_wrong(behave: Behaviour, code: int) -> None:
    with AwkwardServer(behave) as server, started(server.authority) as run:
        left, out, err = end_of(run)
    assert (left, out) == (code, b"")
    assert err.startswith(f"ftnet: ({code}) connectSocket:fail ".encode())


def test_a_status_is_told_with_what_the_server_says(sockets: WebSocketServer) -> None:
    done = ws(f"{sockets.url}/status/503")
    assert done.returncode == 22
    told = b"ftnet: (22) connectSocket:fail the server answered 503 Service Unavailable: refused"
    assert done.stderr.startswith(told)


def test_the_opening_has_a_limit(sockets: WebSocketServer) -> None:
    done = ws("-m", "0.2", f"{sockets.url}/late")
    assert (done.returncode, done.stderr) == (28, b"ftnet: (28) connectSocket:fail timeout\n")


def test_the_limit_is_not_for_the_time_after(sockets: WebSocketServer) -> None:
    done = ws("-m", "1.8", "--wait", "2", f"{sockets.url}/echo", data=b"x")
    assert (done.returncode, done.stdout) == (0, b"x\n")


def test_a_lost_connection_is_a_failure(sockets: WebSocketServer) -> None:
    with started(f"{sockets.url}/say?text=a&drop=1") as run:
        code, out, err = end_of(run)
    assert code == 56
    assert out in (b"", b"a\n")
    assert err.startswith(b"ftnet: (56) connectSocket:fail ")


def test_a_message_has_a_largest_size(sockets: WebSocketServer) -> None:
    data = b"x" * 10 + b"\n" + b"x" * 11
    done = ws("--max-message", "10", "--wait", "20", f"{sockets.url}/echo", data=data)
    assert (done.returncode, done.stdout) == (63, b"x" * 10 + b"\n")
    assert sockets.peer().wait_over()[0] == 1009
