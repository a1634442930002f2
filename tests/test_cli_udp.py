"""`ftnet udp` in a pipe and in a terminal."""

from __future__ import annotations

import base64
import json
import os
import pty
import signal
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.command import COMMAND, LIMIT, environment
from tests.datagrams import LOCAL, answered_address, echo, nobody, peer, place, question
from tests.servers.dns import HERE
from tests.sockets import until

Done = subprocess.CompletedProcess[bytes]


def udp(*arguments: object, data: bytes = b"") -> Done:
    """Runs `ftnet udp` to its end."""
    patient = ["--wait", "20"] if "-n" in arguments and "--wait" not in arguments else []
    command = [*COMMAND, "udp", *patient, *map(str, arguments)]
    return subprocess.run(
        command, input=data, env=environment(), capture_output=True, timeout=LIMIT, check=False
    )


@pytest.fixture
def there() -> Iterator[tuple[str, int]]:
    """Where an echo is."""
    with echo() as where:
        yield where["address"], where["port"]


def test_lines_are_datagrams_and_answers_are_lines(there: Any) -> None:
    done = udp("-n", 3, *there, data="one\nzw\u00f6lf\n\n".encode())
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, "one\nzw\u00f6lf\n\n", b"")


def test_the_last_line_needs_no_end(there: Any) -> None:
    assert udp("-n", 2, *there, data=b"a\nb").stdout == b"a\nb\n"


def test_without_a_count_it_ends_when_nothing_comes_any_more(there: Any) -> None:
    done = udp("--wait", "2", *there, data=b"a\nb\n")
    assert (done.returncode, done.stdout) == (0, b"a\nb\n")


def test_fewer_than_were_asked_for_is_a_failure(there: Any) -> None:
    done = udp("-n", 5, "--wait", "2", *there, data=b"a\nb\n")
    assert (done.returncode, done.stdout) == (28, b"a\nb\n")
    assert done.stderr == b"ftnet: (28) 2 of 5 datagrams came in time\n"


def test_what_is_no_text_is_shown_as_base64_or_as_it_is_or_in_hexadecimal(there: Any) -> None:
    raw = b"\xff\x00 text"
    done = udp("-n", 1, *there, data=raw)
    assert base64.b64decode(done.stdout) == raw
    assert b"--binary writes it as it is" in done.stderr
    assert udp("-n", 1, "--binary", *there, data=raw).stdout == raw
    shown = udp("-n", 1, "--hex", *there, data=raw).stdout.decode().splitlines()
    assert shown[0] == f"{there[0]}:{there[1]} 7 bytes"
    assert shown[1].startswith("00000000  ff 00 20 74 65 78 74")
    assert shown[1].endswith("  .. text")


def test_json_tells_each_event(there: Any) -> None:
    done = udp("-n", 2, "--json", *there, data=b"text\n\xff\n")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["listening", "message", "message", "close"]
    listening, text, raw, _ = events
    assert text["message"] == "text"
    assert (raw["message"], raw["messageEncoding"]) == ("/w==", "base64")
    assert text["remoteInfo"] == {
        "address": there[0], "family": "IPv4", "port": there[1], "size": 4,
    }  # fmt: skip
    assert text["localInfo"]["port"] == listening["localInfo"]["port"]


def test_a_refusal_is_a_failure() -> None:
    with nobody() as where:
        done = udp(where["address"], where["port"], data=b"x\n")
        assert done.returncode == 7
        assert b"connection refused (ECONNREFUSED)" in done.stderr
        done = udp("--json", where["address"], where["port"], data=b"x\n")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["listening", "error", "close"]
    assert events[1]["errCode"] == -2


FAILURES: list[tuple[list[object], bytes, int, bytes]] = [
    (["a..b", 9], b"x", 6, b"a..b"),
    (["1.2.3", 9], b"x", 2, b"is no IPv4 address"),
    (["255.255.255.255", 9, "--any"], b"x", 55, b"permission denied"),
    ([LOCAL, 9], bytes(70_000), 55, b"70000 bytes, a datagram has at most 65507"),
]


@pytest.mark.parametrize(("arguments", "data", "code", "said"), FAILURES)
def test_what_cannot_be_sent_is_a_failure(
    arguments: list[object], data: bytes, code: int, said: bytes
) -> None:
    done = udp(*arguments, data=data)
    assert done.returncode == code, done
    assert said in done.stderr


def test_a_local_port_is_bound_or_not(there: Any) -> None:
    with peer("0.0.0.0") as taken:
        port = taken.getsockname()[1]
        done = udp("--bind", port, *there, data=b"x")
        assert done.returncode == 45
        assert b"in use (EADDRINUSE)" in done.stderr
    done = udp("--bind", port, "--json", "-n", 1, *there, data=b"x")
    assert json.loads(done.stdout.splitlines()[0])["localInfo"]["port"] == port


@pytest.mark.parametrize(
    "arguments", [[], ["host"], ["host", "0"], ["host", "65536"], ["host", "x"], ["--wait", "-1"]]
)
def test_usage(arguments: list[str]) -> None:
    assert udp(*arguments).returncode == 2


def test_any_sender_may_answer_with_any() -> None:
    with peer() as asked, peer() as other:
        where = place(asked)

        def answer() -> None:
            _, sender = asked.recvfrom(100)
            other.sendto(b"from another", sender)

        thread = threading.Thread(target=answer)
        thread.start()
        done = udp("-n", 1, "--any", where["address"], where["port"], data=b"who?")
        thread.join()
    assert done.stdout == b"from another\n"


def test_broadcasts_are_sent_where_they_are_asked_for() -> None:
    with peer("0.0.0.0") as there:
        done = udp("--broadcast", "--wait", "0.2", "127.255.255.255", there.getsockname()[1],
                   data=b"all")  # fmt: skip
        assert there.recv(100) == b"all"
    assert done.returncode == 0, done.stderr


def test_ipv6_and_resolve() -> None:
    with echo("::1") as where:
        assert udp("-n", 1, "::1", where["port"], data=b"x").stdout == b"x\n"
        entry = f"six.test:{where['port']}:[::1]"
        done = udp("-6", "-n", 1, "--resolve", entry, "six.test", where["port"], data=b"x")
        assert done.stdout == b"x\n"


def test_dnsmasq_answers(dns: Any) -> None:
    done = udp("-n", 1, "--binary", LOCAL, dns.dns_port, data=question(HERE, 0x4142))
    assert answered_address(done.stdout, 0x4142) == LOCAL


def test_a_reader_that_goes_away_ends_it(there: Any) -> None:
    command = [*COMMAND, "udp", "--wait", "30", *map(str, there)]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=environment(), **pipes) as process:
        process.stdin.write(b"x\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"x\n"
        process.stdout.close()
        assert process.wait(LIMIT) == 23


def test_ctrl_c_ends_it(there: Any) -> None:
    command = [*COMMAND, "udp", *map(str, there)]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=environment(), **pipes) as process:
        process.stdin.write(b"x\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"x\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
        assert process.stderr.read() == b""


def test_a_terminal_shows_what_goes_and_comes(there: Any) -> None:
    main, side = pty.openpty()
    shown = bytearray()
    command = [*COMMAND, "udp", *map(str, there)]
    env = environment(TERM="xterm", COLUMNS="90", LANG="C.UTF-8")
    with subprocess.Popen(command, env=env, stdin=side, stdout=side, stderr=side) as process:
        os.close(side)

        def read() -> None:
            while True:
                try:
                    piece = os.read(main, 4096)
                except OSError:  # it has hung up
                    return
                shown.extend(piece)

        reader = threading.Thread(target=read)
        reader.start()
        until(lambda: b"Ctrl-D ends" in shown, "it listens")
        os.write(main, b"hello\n")
        until(lambda: b"hello" in shown.partition(b" after ")[2], "the answer is shown")
        os.write(main, b"\x04")
        assert process.wait(LIMIT) == 0
        reader.join(LIMIT)
    os.close(main)
    text = shown.decode()
    assert f"{there[0]}:{there[1]} after " in text
    assert " ms" in text
    assert "\u2192" in text
    assert "\u2190" in text
