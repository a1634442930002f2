"""`ftnet tcp`: pipes, hexadecimal, JSON, exit codes, and a person at a terminal."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftnet.cli_ws_screen import hex_dump
from tests.command import COMMAND, LIMIT, environment
from tests.servers.awkward import AwkwardServer, BlackHole, Peer, closed_port
from tests.servers.certs import Certificates
from tests.tcp_sockets import HERE, echo
from tests.test_cli_ws import run_with, write
from tests.test_cli_ws_terminal import TIME, Terminal
from tests.test_tcp_tls import context_of, polite

Done = subprocess.CompletedProcess[bytes]
MEGABYTE = 1 << 20


def tcp(*arguments: Any, data: bytes = b"") -> Done:
    """Runs `ftnet tcp` to its end."""
    return subprocess.run(
        [*COMMAND, "tcp", *map(str, arguments)],
        input=data,
        capture_output=True,
        env=environment(),
        timeout=LIMIT,
        check=False,
    )


def test_everything_goes_out_and_comes_back_as_it_is() -> None:
    data = bytes(range(256)) * 40_000
    with AwkwardServer(echo) as server:
        done = tcp(HERE, server.port, data=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_the_end_of_stdin_is_told_and_the_answer_waited_for() -> None:
    def answers(peer: Peer) -> None:
        peer.until_gone()
        peer.send(b"answer to %d bytes" % len(peer.received))

    with AwkwardServer(answers) as server:
        done = tcp("localhost", server.port, data=b"x" * MEGABYTE)
    assert (done.returncode, done.stdout) == (0, b"answer to 1048576 bytes")


def test_verbose_tells_of_the_connection() -> None:
    with AwkwardServer(echo) as server:
        done = tcp("-v", HERE, server.port)
    lines = done.stderr.decode().splitlines()
    assert lines[0].startswith(f"ftnet: connected to {HERE}:{server.port} in ")
    assert "DNS " in lines[0]
    assert "TCP " in lines[0]
    assert lines[1:] == ["ftnet: the peer has ended the connection"]
    assert done.stdout == b""


def test_tls(certificates: Certificates) -> None:
    with AwkwardServer(polite, tls=context_of(certificates.good)) as server:
        done = tcp("--tls", "--cacert", certificates.ca, "-v", HERE, server.port, data=b"secret")
        assert (done.returncode, done.stdout) == (0, b"secret")
        assert b"TLS " in done.stderr
        done = tcp("--tls", HERE, server.port, data=b"secret")
        assert done.returncode == 60
        assert tcp("--tls", "-k", HERE, server.port, data=b"secret").stdout == b"secret"
        assert server.received == b"secret" * 2


def test_hexadecimal() -> None:
    with AwkwardServer(echo) as server:
        done = tcp("--hex", HERE, server.port, data=b"hello\x00\xff" + b"a" * 20)
    assert done.stdout.decode().splitlines() == [
        "00000000  68 65 6c 6c 6f 00 ff 61 61 61 61 61 61 61 61 61  hello..aaaaaaaaa",
        "00000010  61 61 61 61 61 61 61 61 61 61 61                 aaaaaaaaaaa",
    ]
    assert hex_dump(b"", 0) == []


def test_json_tells_every_event() -> None:
    with AwkwardServer(echo) as server:
        done = tcp("--json", HERE, server.port, data=b"text")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["connect", "message", "end", "close"]
    assert events[0]["remoteInfo"]["port"] == server.port
    assert events[0]["profile"]["cost"] > 0
    assert events[1]["data"] == "text"


def test_json_has_bytes_in_base64_and_errors() -> None:
    with AwkwardServer(echo) as server:
        done = tcp("--json", HERE, server.port, data=b"\xff\xfe")
    message = json.loads(done.stdout.splitlines()[1])
    assert (base64.b64decode(message["data"]), message["dataEncoding"]) == (b"\xff\xfe", "base64")
    with closed_port() as port:
        done = tcp("--json", HERE, port)
    error = json.loads(done.stdout)
    assert (error["event"], error["errCode"], done.returncode) == ("error", -4, 7)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [(["nowhere.invalid", 80, "--timeout", 20], 6, "host name not resolved"),
     ([HERE, 0], 2, "is not a whole number above 0"),
     ([HERE, 65536], 2, "is not a port"),
     ([HERE], 2, "required: PORT"),
     (["1.2.3", 80], 2, "is no IPv4 address"),
     ([HERE, 80, "--server-name", "a.test"], 2, "serverName goes with tls=True"),
     ([HERE, 80, "--source", "eth0"], 2, "localAddress must be an IP address"),
     ([HERE, 80, "--cacert", "/no/such", "--tls"], 77, "can't read /no/such")],
)  # fmt: skip
def test_what_can_not_be_says_why(arguments: list[Any], code: int, text: str) -> None:
    done = tcp(*arguments)
    assert done.returncode == code
    assert text in done.stderr.decode()


def test_exit_codes_of_connections() -> None:
    with closed_port() as port:
        assert tcp(HERE, port).returncode == 7
    with BlackHole() as hole:
        assert tcp(HERE, hole.port, "--timeout", "0.2").returncode == 28

    def resets(peer: Peer) -> None:
        peer.read()
        peer.reset()

    with AwkwardServer(resets) as server:
        done = tcp(HERE, server.port, data=b"x")
    assert done.returncode == 56
    assert "connection reset by the peer" in done.stderr.decode()


def test_a_peer_that_leaves_too_early_is_an_error() -> None:
    def has_enough(peer: Peer) -> None:
        peer.read()
        peer.finish_sending()
        peer.until_gone()

    with (
        AwkwardServer(has_enough) as server,
        run_with(["yes"]) as source,
        run_with([*COMMAND, "tcp", HERE, str(server.port)], stdin=source.stdout) as process,
    ):
        assert process.wait(LIMIT) == 55
        assert process.stderr is not None
        assert b"the peer closed before all was sent" in process.stderr.read()


def test_wait_ends_what_the_peer_does_not() -> None:
    def stays(peer: Peer) -> None:
        peer.send(b"greeting")
        peer.until_gone()
        peer.server.gate.wait(LIMIT)

    with AwkwardServer(stays) as server:
        done = tcp("--wait", "2", HERE, server.port, data=b"x")
        server.gate.set()
    assert (done.returncode, done.stdout) == (0, b"greeting")


def test_a_reader_that_goes_ends_it() -> None:
    def goes_on(peer: Peer) -> None:
        while True:
            peer.send(b"x" * 1000)

    with (
        AwkwardServer(goes_on) as server,
        run_with([*COMMAND, "tcp", HERE, str(server.port)]) as process,
    ):
        assert process.stdout is not None
        process.stdout.read(100)
        process.stdout.close()
        assert process.wait(LIMIT) == 23
        server.wait_until_alone()


def test_ctrl_c_ends_it() -> None:
    with (
        AwkwardServer(echo) as server,
        run_with([*COMMAND, "tcp", HERE, str(server.port)]) as process,
    ):
        write(process, b"x")
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130


def test_a_full_disk_is_told() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with AwkwardServer(echo) as server, Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "tcp", HERE, str(server.port)], input=b"x", stdout=full,
            stderr=subprocess.PIPE, env=environment(), timeout=LIMIT, check=False,
        )  # fmt: skip
    assert done.returncode == 23
    assert b"can't write to stdout" in done.stderr


def test_a_person_types_and_sees() -> None:
    with (
        AwkwardServer(echo) as server,
        Terminal(HERE, str(server.port), command="tcp", columns=130) as term,
    ):
        term.wait_for(rf"connected to 127\.0\.0\.1:{server.port} in .*Ctrl-D ends")
        term.type("hällo\n")
        term.wait_for(rf"{TIME} -> +7 B  hällo|{TIME} → +7 B  hällo")
        term.wait_for(rf"{TIME} <- +7 B  hällo|{TIME} ← +7 B  hällo")
        term.type("\x04")
        term.wait_for(rf"{TIME} closed")
        assert term.process.wait(LIMIT) == 0
        assert term.terminal_mode() == term.mode
        assert server.received == "hällo\n".encode()


def test_a_persons_ctrl_c_closes_behind_what_was_typed() -> None:
    with AwkwardServer(echo) as server, Terminal(HERE, str(server.port), command="tcp") as term:
        term.wait_for(r"connected to 127\.0\.0\.1")
        term.type("hello\n")
        term.wait_for(rf"{TIME} (<-|←) +6 B  hello")
        term.type("half a line\x03")
        term.wait_for(rf"{TIME} closed$")
        assert term.process.wait(LIMIT) == 0
        assert term.terminal_mode() == term.mode
        assert server.received == b"hello\n"


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_a_persons_second_ctrl_c_does_not_wait(key: str) -> None:
    def stays(peer: Peer) -> None:
        peer.server.gate.wait(LIMIT)
        peer.until_gone()

    with AwkwardServer(stays) as server, Terminal(HERE, str(server.port), command="tcp") as term:
        term.wait_for(r"connected to 127\.0\.0\.1")
        term.type(key)
        term.wait_for_last(r"^closing \.\.\. \(Ctrl-C does not wait\)$")
        term.type("\x03")
        assert term.process.wait(LIMIT) == 130
        assert term.terminal_mode() == term.mode
        server.gate.set()


def test_a_persons_ctrl_c_ends_the_attempt_to_connect() -> None:
    with BlackHole() as hole, Terminal(HERE, str(hole.port), command="tcp") as term:
        term.wait_for_last("^connecting")
        term.type("\x03")
        assert term.process.wait(LIMIT) == 130


def test_the_terminal_is_given_back_when_it_is_killed() -> None:
    with AwkwardServer(echo) as server, Terminal(HERE, str(server.port), command="tcp") as term:
        term.wait_for(r"connected to 127\.0\.0\.1")
        term.process.send_signal(signal.SIGTERM)
        assert term.process.wait(LIMIT) == -signal.SIGTERM
        assert term.terminal_mode() == term.mode


def test_a_person_sees_bytes_in_hexadecimal() -> None:
    def speaks(peer: Peer) -> None:
        peer.send(b"\xff\x00A")
        peer.until_gone()

    with AwkwardServer(speaks) as server, Terminal(HERE, str(server.port), command="tcp") as term:
        term.wait_for(r"00000000  ff 00 41 +\.\.A")
        term.type("\x04")
        assert term.process.wait(LIMIT) == 0


def test_help_tells_of_everything() -> None:
    done = tcp("--help")
    assert done.returncode == 0
    for word in ("HOST", "PORT", "--tls", "--hex", "--json", "--timeout", "--wait", "-4", "-6"):
        assert word in done.stdout.decode()
    listed = subprocess.run([sys.executable, "-m", "ftnet", "--help"], capture_output=True)
    assert b"tcp" in listed.stdout
