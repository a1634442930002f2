"""The command's output lands where it should: files, terminals and pipes, even if cut short."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ftnet import cli, dispatch
from ftnet.sink import StreamSink
from ftnet.testing.app import pattern
from ftnet.testing.server import Server
from tests.command import LIMIT, environment, request, started
from tests.servers.awkward import AwkwardServer
from tests.servers.behaviours import BEHAVIOURS, answers

# ---- files


def test_a_file_appears_with_the_whole_body(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "body"
    done = request("-o", str(target), f"{server.http}/bytes/200000")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert target.read_bytes() == pattern(200_000)
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_has_the_permissions_of_any_new_file(server: Server, tmp_path: Path) -> None:
    request("-o", f"{tmp_path}/body", f"{server.http}/hello")
    (tmp_path / "other").touch()
    assert stat.filemode((tmp_path / "body").stat().st_mode) == stat.filemode(
        (tmp_path / "other").stat().st_mode
    )


def test_a_file_that_is_replaced_keeps_its_permissions(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "body"
    target.write_bytes(b"something longer than the new body")
    target.chmod(0o640)
    request("-o", str(target), f"{server.http}/hello")
    assert target.read_bytes() == b"Hello, World!"
    assert stat.filemode(target.stat().st_mode) == "-rw-r-----"


def test_an_empty_body_makes_an_empty_file(server: Server, tmp_path: Path) -> None:
    request("-o", f"{tmp_path}/body", f"{server.http}/bytes/0")
    assert (tmp_path / "body").read_bytes() == b""


def test_a_cut_body_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "body"
    target.write_bytes(b"old")
    with AwkwardServer(BEHAVIOURS["closed_before_content_length"]) as server:
        done = request("-o", str(target), server.url)
    assert done.returncode == 18
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_stays_a_link(server: Server, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    request("-o", f"{tmp_path}/link", f"{server.http}/hello")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"Hello, World!"


def test_a_pipe_is_written_to_directly(server: Server, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    done = request("-o", str(pipe), f"{server.http}/hello")
    reader.join(LIMIT)
    assert (done.returncode, found) == (0, [b"Hello, World!"])


@pytest.mark.parametrize("target", ["missing/body", "."])
def test_a_file_that_cannot_be_made_is_23_before_anything_is_sent(
    tmp_path: Path, target: str
) -> None:
    with AwkwardServer(answers) as server:
        done = request("-o", f"{tmp_path}/{target}", server.url)
        assert server.peers == []
    assert done.returncode == 23
    assert done.stderr.startswith(b"ftnet: (23) ")


def test_a_full_disk_is_23(server: Server) -> None:
    done = request("-o", "/dev/full", f"{server.http}/bytes/300000")
    assert done.returncode == 23
    assert b"No space left" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-d", "@/nowhere/data"], 26),
        (["--data-json", "@/nowhere/data"], 26),
        (["--cacert", "/nowhere/ca.pem"], 77),
        (["--cert", "/nowhere/cert.pem"], 58),
        (["--key", "/nowhere/key.pem"], 58),
    ],
)
def test_input_files_that_are_missing(arguments: list[str], code: int) -> None:
    done = request(*arguments, "http://127.0.0.1:9/")
    assert done.returncode == code
    assert b"/nowhere/" in done.stderr


# ---- what people read


def profile_rows(text: str) -> dict[str, list[str]]:
    """label -> [start, time] of the waterfall in `text`."""
    labels = ("queue", "DNS", "connect", "TLS", "send", "wait (TTFB)", "download", "total")
    found = {}
    for line in text.splitlines():
        for label in labels:
            if line.startswith(f"{label}  "):
                found[label] = line.removeprefix(label).split()[:2]
    return found


def test_the_profile_is_drawn_beside_the_body(server: Server) -> None:
    done = request("--profile", "--cacert", server.ca, f"{server.https}/delay?before=300")
    assert done.stdout == b"chunk 0\n"
    text = done.stderr.decode()
    assert text.startswith("h2 · 127.0.0.1:")
    assert "new TLS connection" in text
    rows = profile_rows(text)
    assert list(rows) == [
        "queue", "DNS", "connect", "TLS", "send", "wait (TTFB)", "download", "total",
    ]  # fmt: skip
    times = {label: float(time) for label, (_, time) in rows.items()}
    assert times["wait (TTFB)"] >= 150
    assert times["TLS"] > 0
    assert times["total"] >= max(times.values())
    assert sum(times.values()) - times["total"] <= times["total"] + 0.1
    assert "\x1b" not in text


def test_the_profile_of_plain_http_has_no_tls(server: Server) -> None:
    rows = profile_rows(request("--profile", f"{server.http}/hello").stderr.decode())
    assert rows["TLS"] == ["-", "-"]
    assert float(rows["connect"][1]) >= 0


def test_the_profile_is_ascii_where_it_must_be(server: Server) -> None:
    done = request("--profile", f"{server.http}/hello", PYTHONIOENCODING="ascii")
    assert done.stderr.isascii()
    assert b"#" in done.stderr


def test_the_profile_of_a_failure_shows_where_it_hung() -> None:
    with AwkwardServer(BEHAVIOURS["silent_after_the_request"]) as server:
        text = request("--profile", "-m", "2", server.url).stderr.decode()
    (line,) = [line for line in text.splitlines() if line.endswith("← failed")]
    assert line.startswith("wait (TTFB)")
    assert 500 < float(profile_rows(text)["wait (TTFB)"][1]) < 10_000
    assert profile_rows(text)["download"] == ["-", "-"]
    assert text.endswith("ftnet: (28) request:fail timeout\n")


def test_verbose_shows_both_headers_and_the_connection(server: Server) -> None:
    done = request("-v", "-H", "X-One: 1", f"{server.http}/hello?a=b")
    lines = done.stderr.decode().splitlines()
    assert done.stdout == b"Hello, World!"
    assert "> GET /hello?a=b" in lines
    assert "> X-One: 1" in lines
    assert any(line.startswith("< HTTP/1.1 200") for line in lines)
    assert "< content-length: 13" in [line.lower() for line in lines]
    assert lines[-1].startswith("* http/1.1 · 127.0.0.1:")


def test_a_warning_of_the_api_is_one_line(server: Server) -> None:
    done = request("-H", "Referer: http://x/", f"{server.http}/hello")
    assert (done.returncode, done.stdout) == (0, b"Hello, World!")
    assert done.stderr.startswith(b"ftnet: warning: ")
    assert done.stderr.count(b"\n") == 1


# ---- terminals, pipes and signals


def on_terminal(*arguments: str) -> tuple[int, bytes]:
    """(exit code, what the screen shows) of a request whose stdout and stderr are a terminal."""
    master, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    shown = b""
    with started(*arguments, stdout=slave, stderr=slave) as process:
        os.close(slave)
        while select.select([master], [], [], LIMIT)[0]:
            try:
                shown += os.read(master, 65536)
            except OSError:  # Linux: the last writer has closed the terminal
                break
        os.close(master)
        return process.wait(LIMIT), shown


def test_a_terminal_gets_text(server: Server) -> None:
    assert on_terminal(f"{server.http}/hello") == (0, b"Hello, World!")


def test_a_terminal_is_not_sent_binary_data(server: Server) -> None:
    code, shown = on_terminal(f"{server.http}/bytes/300")
    assert code == 23
    assert b"-o FILE" in shown
    assert b"\0" not in shown


def test_a_terminal_gets_binary_data_when_told_to(server: Server) -> None:
    assert on_terminal("-o", "-", f"{server.http}/bytes/300") == (0, pattern(300))


def test_the_profile_begins_on_its_own_line(server: Server) -> None:
    _, shown = on_terminal("--profile", f"{server.http}/hello")
    assert shown.decode().startswith("Hello, World!\nhttp/1.1 · ")


def test_a_closed_pipe_is_quiet(server: Server) -> None:
    with started(f"{server.http}/bytes/5000000") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(10)) == 10
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(LIMIT) == 23


def test_a_full_pipe_waits_for_its_reader(server: Server) -> None:
    with started(f"{server.http}/bytes/5000000") as process:
        assert process.stdout is not None
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        assert process.stdout.read() == pattern(5_000_000)
        assert process.wait(LIMIT) == 0


def test_closed_streams_are_no_failure(server: Server) -> None:
    command = f"exec {sys.executable} -m ftnet request --profile {server.http}/hello >&- 2>&-"
    assert subprocess.run(command, shell=True, env=environment(), check=False).returncode == 0


def first_bytes(process: subprocess.Popen[bytes], server: AwkwardServer) -> None:
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 5) == b"12345"


def sent(process: subprocess.Popen[bytes], server: AwkwardServer) -> None:
    server.wait_for_requests(1, LIMIT)


@pytest.mark.parametrize(
    ("behaviour", "until"),
    [("silent_after_the_request", sent), ("stalls_between_chunks", first_bytes)],
)
def test_ctrl_c_ends_quietly_with_130(
    behaviour: str, until: Callable[[subprocess.Popen[bytes], AwkwardServer], None]
) -> None:
    with AwkwardServer(BEHAVIOURS[behaviour]) as server, started(server.url) as process:
        until(process, server)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_ctrl_c_leaves_no_file(tmp_path: Path) -> None:
    with (
        AwkwardServer(BEHAVIOURS["stalls_in_body"]) as server,
        started("-o", f"{tmp_path}/body", server.url) as process,
    ):
        server.wait_for_requests(1, LIMIT)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_works_while_a_full_pipe_blocks(server: Server) -> None:
    with started(f"{server.http}/bytes/50000000") as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 1) == b"\0"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130


def test_nothing_is_written_after_ctrl_c_though_more_has_come(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes between two writes here; the next one might block for ever."""
    written: list[int] = []
    until_then: list[int] = []
    poll = dispatch.ThreadDriver.poll

    def poll_and_interrupt(driver: dispatch.ThreadDriver, timeout: float | None = None) -> None:
        poll(driver, timeout)
        if written and not until_then:
            until_then.append(len(written))
            signal.raise_signal(signal.SIGINT)

    def write(sink: StreamSink, data: bytes) -> None:
        written.append(len(data))

    monkeypatch.setattr(StreamSink, "write", write)
    monkeypatch.setattr(dispatch.ThreadDriver, "poll", poll_and_interrupt)
    assert cli.main(["request", f"{server.http}/bytes/50000000"]) == 130
    assert until_then == [len(written)]
