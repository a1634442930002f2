"""The progress bar of `ftnet download` and `ftnet upload` on a terminal, while it runs."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from ftnet.testing.server import Server
from tests.command import COMMAND, LIMIT, environment
from tests.servers.awkward import AwkwardServer, Behaviour, Peer, closed_port
from tests.servers.behaviours import BEHAVIOURS

HALF = bytes(500_000)


class Terminal:
    """`ftnet` with a terminal as its stderr, and what it has drawn there."""

    def __init__(self, *arguments: str, directory: Path, columns: int = 80, **variables: str):
        self._master, slave = pty.openpty()
        self.resize(columns)
        variables = {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "", **variables}
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=directory,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=slave,
        )
        os.close(slave)
        self.shown = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # reads may end in a character

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        os.close(self._master)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def lines(self) -> list[str]:
        """What was drawn, one after the other, without what moves the cursor."""
        text = re.sub(r"\x1b\[[JK]", "", self.shown)
        return [line for line in re.split(r"[\r\n]+", text) if line]

    def _read(self) -> bool:
        assert select.select([self._master], [], [], LIMIT)[0], f"nothing more: {self.shown!r}"
        try:
            self.shown += self._decoder.decode(os.read(self._master, 65536))
        except OSError:  # Linux: the last writer has closed the terminal
            return False
        return True

    def wait_for(self, pattern: str) -> str:
        """The first line from now on that matches."""
        self.shown = ""
        while True:
            found = [line for line in self.lines() if re.search(pattern, line)]
            if found and self.shown.endswith("\r"):
                return found[0]
            assert self._read(), f"no {pattern!r}: {self.shown!r}"

    def end(self) -> tuple[int, list[str]]:
        """The exit code, and the lines that stay on the screen from the bar on."""
        self.shown = ""
        while self._read():
            pass
        rows = re.sub(r"\x1b\[[JK]", "", self.shown).split("\n")
        assert rows[-1] == "", f"the cursor is in the middle of a line: {self.shown!r}"
        return self.process.wait(LIMIT), [row.rstrip("\r").split("\r")[-1] for row in rows[:-1]]


def halves(head: bytes) -> Behaviour:
    """Sends half of a megabyte, and the other half behind the gate."""

    def behave(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + HALF)
        peer.server.gate.wait()
        peer.send(HALF)

    return behave


KNOWN = halves(b"Content-Length: 1000000\r\n")
UNKNOWN = halves(b"Connection: close\r\n")


def test_the_bar_shows_how_far_it_is_and_how_long_it_took(tmp_path: Path) -> None:
    with (
        AwkwardServer(KNOWN) as server,
        Terminal("download", f"{server.url}/x.bin", directory=tmp_path) as terminal,
    ):
        line = terminal.wait_for("50%")
        assert re.fullmatch(
            r"x\.bin  ▕█+▌? +▏  50%   500 kB / 1\.00 MB +[\d.]+ [kM]?B/s  ETA \d+:\d\d", line
        )
        server.gate.set()
        code, (last,) = terminal.end()
    assert code == 0
    assert re.fullmatch(r"x\.bin  ▕█+▏ 100%  1\.00 MB +[\d.]+ [kM]?B/s  in [\d.]+ s", last)
    assert len(last) < 80
    assert (tmp_path / "x.bin").stat().st_size == 1_000_000


def test_the_bar_follows_the_width_of_the_terminal(tmp_path: Path) -> None:
    with (
        AwkwardServer(KNOWN) as server,
        Terminal("download", f"{server.url}/x", directory=tmp_path, columns=120) as terminal,
    ):
        assert 80 < len(terminal.wait_for("50%")) < 120
        terminal.resize(40)
        assert len(terminal.wait_for(r"^.{,39}$")) > 30


def test_columns_count_more_than_the_terminal(tmp_path: Path) -> None:
    with (
        AwkwardServer(KNOWN) as server,
        Terminal("download", f"{server.url}/x", directory=tmp_path, COLUMNS="40") as terminal,
    ):
        assert 30 < len(terminal.wait_for("50%")) < 40


def marker(line: str) -> str:
    return line.partition("▕")[2].partition("▏")[0]


def test_an_unknown_length_has_bytes_and_a_moving_marker(tmp_path: Path) -> None:
    with (
        AwkwardServer(UNKNOWN) as server,
        Terminal("download", f"{server.url}/x", directory=tmp_path) as terminal,
    ):
        first = terminal.wait_for("500 kB")
        assert "%" not in first
        later = (marker(terminal.wait_for("500 kB")) for _ in range(40))
        assert any(there != marker(first) for there in later)
        server.gate.set()
        code, (last,) = terminal.end()
    assert code == 0
    assert "100%  1.00 MB" in last


def colours(shown: str) -> list[str]:
    return re.findall(r"\x1b\[\d*m", shown)


def test_colours_are_for_those_who_want_them(tmp_path: Path) -> None:
    with AwkwardServer(KNOWN) as server:
        for wanted in (True, False):
            variables = {"NO_COLOR": ""} if wanted else {}
            with Terminal(
                "download", f"{server.url}/x", directory=tmp_path, **variables
            ) as terminal:
                terminal.wait_for("50%")
                assert bool(colours(terminal.shown)) == wanted


def test_the_bar_is_ascii_where_it_must_be(tmp_path: Path) -> None:
    with (
        AwkwardServer(KNOWN) as server,
        Terminal(
            "download", f"{server.url}/x", directory=tmp_path, PYTHONIOENCODING="ascii"
        ) as terminal,
    ):
        assert re.match(r"x  \[#+ +\]  50%", terminal.wait_for("50%"))


def test_a_dumb_terminal_gets_a_line_at_the_end(server: Server, tmp_path: Path) -> None:
    with Terminal("download", f"{server.http}/hello", directory=tmp_path, TERM="dumb") as terminal:
        code, (line,) = terminal.end()
    assert (code, line[:17]) == (0, "saved hello: 13 B")


def test_silent_shows_no_bar(tmp_path: Path) -> None:
    with (
        AwkwardServer(KNOWN) as server,
        Terminal("download", "-s", f"{server.url}/x", directory=tmp_path) as terminal,
    ):
        server.gate.set()
        assert terminal.end() == (0, [])


def closed(server: AwkwardServer, terminal: Terminal) -> None:
    server.gate.set()


def interrupted(server: AwkwardServer, terminal: Terminal) -> None:
    terminal.process.send_signal(signal.SIGINT)


def closes_half_way(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + HALF)
    peer.server.gate.wait()


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [(closed, 18, ["ftnet: (18) downloadFile:fail the response ended early"]),
     (interrupted, 130, [])],
)  # fmt: skip
def test_what_ends_it_early_leaves_the_bar_in_a_line_of_its_own(
    tmp_path: Path, end: Callable[[AwkwardServer, Terminal], None], code: int, told: list[str]
) -> None:
    with (
        AwkwardServer(closes_half_way) as server,
        Terminal("download", f"{server.url}/x", directory=tmp_path) as terminal,
    ):
        terminal.wait_for("50%")
        end(server, terminal)
        left, lines = terminal.end()
    assert left == code
    assert re.match(r"x  ▕█+▌? +▏  50%", lines[0])
    assert [line[: len(start)] for line, start in zip(lines[1:], told, strict=True)] == told


def test_what_fails_at_once_shows_no_bar(tmp_path: Path) -> None:
    with (
        closed_port() as port,
        Terminal("download", f"http://127.0.0.1:{port}/x", directory=tmp_path) as terminal,
    ):
        code, (line,) = terminal.end()
    assert code == 7
    assert line.startswith("ftnet: (7) ")


def test_an_upload_has_a_bar_too(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(HALF)
    with (
        AwkwardServer(BEHAVIOURS["answers_behind_the_gate"]) as server,
        Terminal("upload", server.url, "x.bin", directory=tmp_path) as terminal,
    ):
        line = terminal.wait_for("99%")
        assert re.match(r"x\.bin  ▕█+▏  99%   500 kB / 500 kB", line)
        server.gate.set()
        code, (last,) = terminal.end()
        assert terminal.process.stdout is not None
        assert (code, terminal.process.stdout.read()) == (0, b"/")
    assert "100%   500 kB" in last
