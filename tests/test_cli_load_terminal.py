"""`ftnet load` on a terminal: a screen of its own while it runs, the report behind it."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any, Self

import pyte
import pytest

from tests.command import COMMAND, LIMIT, environment
from tests.servers.awkward import AwkwardServer
from tests.servers.nginx import Nginx
from tests.test_cli_load import never_answers

TO_SCREEN, FROM_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
DRAWN_AGAIN = r" ([2-9]|\d\d+) s of 1 h"  # a second may be left out where the machine stops
COLOUR = re.compile(r"\x1b\[[\d;]*3\dm")


class Terminal:
    """`ftnet load` on a terminal of its own, and what is to be seen there."""

    def __init__(
        self, *arguments: str, columns: int = 80, rows: int = 24, **variables: str
    ) -> None:
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._mode = termios.tcgetattr(self._slave)
        variables = {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "", "LINES": "", **variables}
        self.process = subprocess.Popen(
            [*COMMAND, "load", *arguments],
            env=environment(**variables),
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.raw = ""
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self._screen.display]

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._slave)[3] & termios.ECHO)

    def _read(self) -> bool:
        """Takes what is shown next; False when it has ended, and all was read."""
        left = LIMIT
        while not select.select([self._master], [], [], 0.1)[0]:
            left -= 0.1
            if self.process.poll() is not None and not select.select([self._master], [], [], 0)[0]:
                return False
            assert left > 0, f"nothing more: {self.rows}"
        text = self._text.decode(os.read(self._master, 65536))
        self.raw += text
        self._stream.feed(text)
        return True

    def wait_for(self, pattern: str) -> list[str]:
        """All rows, as soon as one matches."""
        while not any(re.search(pattern, row) for row in self.rows):
            assert self._read(), f"it has ended: {self.raw!r}"
        return self.rows

    def end(self) -> tuple[int, str]:
        """The exit code, and what was printed behind the screen."""
        while self._read():  # more than a terminal keeps, it must not wait for its reader
            pass
        code = self.process.wait(LIMIT)
        assert termios.tcgetattr(self._slave) == self._mode
        assert self.raw.count(TO_SCREEN) == self.raw.count(FROM_SCREEN)
        assert self.raw.count(HIDE) == self.raw.count(SHOW)
        return code, self.raw.rpartition(FROM_SCREEN)[2].replace("\r\n", "\n")


def hour(*arguments: str, **other: Any) -> Terminal:
    """A run that does not end by itself."""
    return Terminal("--duration", "1h", *arguments, **other)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (60, 20)])
def test_the_screen_shows_how_it_goes(nginx: Nginx, columns: int, rows: int) -> None:
    url = f"{nginx.http}/hello"
    with hour("--rate", "200", "-c", "4", url, columns=columns, rows=rows) as terminal:
        terminal.wait_for(r"^rate +[\d.]+/s of [\d.]+/s")
        for label in ("in", "answered", "ms", "response", "service", "send", "download"):
            shown = terminal.wait_for(rf"^{label} ")
        assert shown[0] == f"GET {url}"
        assert shown[1] == "HTTP/1.1 · 4 connections · open model, 200/s"
        assert re.fullmatch(r"▕.* *▏ \d+ s of 1 h, 59 m .*left", shown[2])
        terminal.wait_for(r"^response +\d+\.\d{3} +\d+\.\d{3}")
        terminal.type("\x03")
        code, report = terminal.end()
    assert code == 130
    assert report.startswith(("VALID  ", "INVALID  "))
    assert max(map(len, report.split("\n"))) <= columns
    assert "\n  200   " in report


def test_the_screen_is_drawn_over_and_never_wiped(nginx: Nginx) -> None:
    with hour("--rate", "100", f"{nginx.http}/hello") as terminal:
        terminal.wait_for(DRAWN_AGAIN)
        drawn = terminal.raw.partition(TO_SCREEN)[2]
        terminal.type("\x03")
        terminal.end()
    commands = set(re.findall(r"\x1b\[[\d;?]*([A-Za-z])", drawn))
    assert commands <= {"H", "l", "m"}  # home, hide the cursor, look


def test_keys_do_not_tear_the_screen(nginx: Nginx) -> None:
    with hour("--rate", "100", f"{nginx.http}/hello") as terminal:
        terminal.wait_for(r"^rate ")
        assert not terminal.echoes
        terminal.type("typed\rmore\x1a")
        terminal.wait_for(DRAWN_AGAIN)
        assert "typed" not in terminal.raw
        terminal.type("\x03")
        assert terminal.end()[0] == 130
        assert terminal.echoes


def test_a_second_ctrl_c_gives_the_terminal_back_at_once() -> None:
    limits = ("--grace", "1h", "--timeout", "1h", "-c", "1")
    with AwkwardServer(never_answers) as server, hour(*limits, server.url) as terminal:
        assert server.gate.wait(LIMIT)
        terminal.wait_for("Ctrl-C ends the run")
        terminal.type("\x03")
        terminal.wait_for("Ctrl-C again does not wait")
        terminal.type("\x03")
        assert terminal.end() == (130, "")


def test_the_terminal_is_given_back_when_the_command_is_killed(nginx: Nginx) -> None:
    with hour("--rate", "100", f"{nginx.http}/hello") as terminal:
        terminal.wait_for(r"^rate ")
        terminal.process.terminate()
        code, report = terminal.end()
    assert code == 130
    assert "\nlatency, ms " in report


def test_colours_are_for_those_who_want_them(nginx: Nginx) -> None:
    for variables, wanted in (({}, False), ({"NO_COLOR": ""}, True)):
        url = f"{nginx.http}/status/404"  # errors are coloured
        with hour("--rate", "50", url, **variables) as terminal:
            terminal.wait_for(r"\d errors \(100 %\)")
            terminal.type("\x03")
            terminal.end()
            assert bool(COLOUR.search(terminal.raw)) == wanted


def test_it_is_ascii_where_it_must_be(nginx: Nginx) -> None:
    with hour("--rate", "50", f"{nginx.http}/hello", PYTHONIOENCODING="ascii") as terminal:
        terminal.wait_for(r"^\[#* +\] \d+ s of 1 h")
        terminal.type("\x03")
        terminal.end()
        assert terminal.raw.isascii()


def test_a_dumb_terminal_gets_lines(nginx: Nginx) -> None:
    with hour("--rate", "50", f"{nginx.http}/hello", TERM="dumb") as terminal:
        terminal.wait_for("^elapsed_s=")
        terminal.type("\x03")
        code, report = terminal.end()
    assert code == 130
    assert "\x1b" not in report


def test_json_leaves_the_screen_to_stderr(nginx: Nginx) -> None:
    with hour("--json", "--rate", "50", f"{nginx.http}/hello") as terminal:
        terminal.wait_for(r"^rate ")
        terminal.type("\x03")
        code, report = terminal.end()
    assert code == 130
    assert '\n{"format": "ftnet.load/1", ' in report


def test_without_rich_there_are_lines(nginx: Nginx, tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ImportError('not installed')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with hour("--rate", "50", f"{nginx.http}/hello", PYTHONPATH=path) as terminal:
        terminal.wait_for(r"^for a live view: pip install 'ftnet\[tui\]'$")
        terminal.wait_for("^elapsed_s=")
        terminal.type("\x03")
        assert terminal.end()[0] == 130
