"""What ``ftnet ws`` shows a person: messages as they come and go, below them the line being typed.

Messages scroll upwards as output of any command does. The last row is drawn over: it holds the
prompt with what is typed, or what is being waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TextIO

from ftnet.cli_line import LineEditor
from ftnet.terminal import DIM, GREEN, RED, YELLOW, Style, can_redraw, cells, paint
from ftnet.waterfall import human_bytes, joined

_SHOWN = 8192  # characters of a message
_HEX_SHOWN = 64  # bytes
_WIDE = 76  # columns that sixteen bytes take in hexadecimal
_ROOMY = 60  # columns from which on there is room for milliseconds
_JOINERS = "\u200c\u200d"  # of emojis and of scripts: not printable to Python, but harmless

CODES = {
    1000: "normal",
    1001: "going away",
    1002: "protocol error",
    1003: "data not taken",
    1005: "no code",
    1006: "cut off",
    1007: "invalid data",
    1008: "policy violation",
    1009: "message too big",
    1010: "extension missing",
    1011: "internal error",
    1012: "restart",
    1013: "try again later",
    1014: "bad gateway",
}


# ---- pure: what a row or a message looks like


def told_close(code: int, reason: str) -> str:
    """``1011 (internal error): reason``."""
    name = f" ({CODES[code]})" if code in CODES else ""
    return f"{code}{name}" + (f": {one_line(reason)}" if reason else "")


def one_line(text: str) -> str:
    """``text`` with a visible escape for whatever would move the cursor or change colours."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in _JOINERS else _escape(char) for char in text
    )


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def text_rows(text: str) -> list[str]:
    """A message of text in rows; the beginning of it when it is long."""
    lines = text[:_SHOWN].replace("\r\n", "\n").replace("\t", "    ").split("\n")
    rows = [one_line(line) for line in lines]
    if len(text) > _SHOWN:
        rows.append(f"({len(text) - _SHOWN:,} more characters)")
    return rows


def hex_rows(data: bytes, size: int, width: int) -> list[str]:
    """The beginning of ``size`` bytes, in hexadecimal and as ASCII."""
    step = 16 if width >= _WIDE else 8
    rows = []
    for start in range(0, min(len(data), _HEX_SHOWN), step):
        part = data[start : min(start + step, _HEX_SHOWN)]
        seen = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        rows.append(f"{start:04x}  {part.hex(' '):<{step * 3 - 1}}  {seen}")
    if size > _HEX_SHOWN:
        rows.append(f"({human_bytes(size - _HEX_SHOWN)} more)")
    return rows


def hex_dump(data: bytes, offset: int) -> list[str]:
    """All of ``data``, sixteen bytes a row, in hexadecimal and as ASCII, from ``offset`` on."""
    rows = []
    for start in range(0, len(data), 16):
        part = data[start : start + 16]
        seen = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        rows.append(f"{offset + start:08x}  {part.hex(' '):<47}  {seen}")
    return rows


def milliseconds(value: float) -> str:
    """A ping time in seven columns: it must not jump about."""
    if value < 99.95:
        text = f"{value:.1f} ms"
    else:
        text = f"{value:.0f} ms" if value < 9999.5 else f"{value / 1000:.0f} s"
    return f"{text:>7}"


# ---- the screen


def has_person() -> bool:
    """Whether one sits at both ends, types and reads."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


class Screen:
    """Shows a conversation on ``stream``, and takes what is typed on ``keys``.

    Where nothing can be redrawn (TERM=dumb) there is no prompt and the terminal itself edits the
    line. Between two calls the cursor is where the next key will be shown.
    """

    interactive = True

    def __init__(self, stream: TextIO, keys: int) -> None:
        self.live = can_redraw(stream)
        self._stream = stream
        self._keys = keys
        self._editor = LineEditor()
        self._waiting = ""  # shown instead of the prompt
        self._prompts = False
        self._drawn = False
        self._latency = 0.0  # of the last ping that was answered; 0.0: none was
        self._mode: list[Any] | None = None  # the terminal's, before

    # ---- what came and went

    def connecting(self, host: str) -> None:
        """The socket is being opened."""
        self._wait_for(f"connecting to {one_line(host)} ...")

    def opened(self, event: Any, tls: bool) -> None:
        """The socket is open: where to, how fast, and what was agreed on."""
        profile, header, style = event.profile, event.header, Style.of(self._stream)
        address = f"[{profile.peerIP}]" if ":" in profile.peerIP else profile.peerIP
        facts = [f"connected to {address}:{profile.port} in {profile.cost:.3g} ms"]
        facts.append("TLS" if tls else "plain")
        protocol = header.get("sec-websocket-protocol")
        facts += [f"sub-protocol {one_line(protocol)}"] if protocol else []
        facts += ["compressed"] if header.get("sec-websocket-extensions") else []
        facts.append("Ctrl-D closes")
        self.begin_typing()
        self._say([paint(line, DIM, style) for line in joined(facts, style)])

    def begin_typing(self) -> None:
        """From now on there is a prompt."""
        self._waiting, self._prompts = "", True

    def message(self, data: Any) -> None:
        """A message has come."""
        if isinstance(data, str):
            self._show("←", "<-", GREEN, len(data.encode()), text_rows(data))
        else:
            with memoryview(data) as view:
                size, beginning = view.nbytes, bytes(view[:_HEX_SHOWN])
            rows = hex_rows(beginning, size, Style.of(self._stream).width)
            self._show("←", "<-", GREEN, size, ["binary", *rows])

    def sent(self, text: str, size: int) -> None:
        """A line was sent."""
        if self.live:
            self._show("→", "->", YELLOW, size, text_rows(text))

    def leaving(self) -> None:
        """The socket is being closed; the answer is awaited."""
        self._prompts = False
        self._wait_for("closing ... (Ctrl-C does not wait)")

    def failed(self, error: Any) -> None:
        """It went wrong; the command says so at its end."""

    def closed(self, event: Any, by_us: bool, fine: bool) -> None:
        """The socket is closed."""
        style = Style.of(self._stream)
        self.end_typing()
        said = f"closed{'' if by_us else ' by the server'}: {told_close(event.code, event.reason)}"
        self._say([f"{self._time(style)} {paint(said, '' if fine else RED, style)}"])

    def end_typing(self) -> None:
        """No prompt any more; a line that is being typed stays as it is."""
        if self.live and self._drawn and self._prompts and self._editor.text:
            self._write("\r\n")
            self._drawn = False
        self._prompts, self._waiting = False, ""

    def latency(self, value: float) -> None:
        """What the last ping took, in ms; 0.0: none was answered yet."""
        if value != self._latency:
            self._latency = value
            self.redraw()

    def _show(self, arrow: str, plain: str, colour: str, size: int, rows: list[str]) -> None:
        style = Style.of(self._stream)
        way = paint(arrow if style.blocks else plain, colour, style)
        first = f"{self._time(style)} {way} {human_bytes(size):>7}  {rows[0]}"
        self._say([first, *(f"  {row}" if style.width >= _ROOMY else row for row in rows[1:])])

    def _time(self, style: Style) -> str:
        now = datetime.now()
        fraction = f".{now.microsecond // 1000:03}" if style.width >= _ROOMY else ""
        return paint(f"{now:%H:%M:%S}{fraction}", DIM, style)

    # ---- what is typed

    def typed(self, data: bytes) -> list[str | None]:
        """Takes the bytes of keys; the lines that are complete, and None for Ctrl-D."""
        ended = self._editor.feed(data)
        self.redraw()
        return ended

    @contextlib.contextmanager
    def keystrokes(self) -> Iterator[None]:
        """Within, keys come one by one and are not shown by the terminal itself."""
        if not self.live:
            yield
            return
        self._mode = termios.tcgetattr(self._keys)
        try:
            self._take_keys()
            yield
        finally:
            self.give_back()

    def follow_signals(self) -> None:
        """From now on, in the event loop that runs: a new width, Ctrl-Z, an end by a signal."""
        if self.live:
            on = asyncio.get_running_loop().add_signal_handler
            on(signal.SIGWINCH, self.redraw)
            on(signal.SIGTSTP, self.suspend)
            on(signal.SIGTERM, self.die, signal.SIGTERM)

    def _take_keys(self) -> None:
        mode = termios.tcgetattr(self._keys)
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        mode[6] = [*mode[6]]
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._keys, termios.TCSADRAIN, mode)

    def give_back(self) -> None:
        """The terminal is as it was, the cursor at the start of a row."""
        if self._drawn:
            self._write("\r\x1b[J")
            self._drawn = False
        if self._mode is not None:
            with contextlib.suppress(termios.error):  # it has hung up
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._mode)

    def suspend(self) -> None:
        """Ctrl-Z: the shell gets its terminal, and gives it back when the command goes on."""
        self.give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take_keys()
        self.redraw()

    def die(self, signum: int) -> None:
        """The end by a signal, with the terminal as it was."""
        self.give_back()
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)

    # ---- drawing

    def _wait_for(self, what: str) -> None:
        self._waiting = what
        self.redraw()

    def redraw(self) -> None:
        """Draws the last row anew: the width may be another one."""
        if self.live and (self._prompts or self._waiting):
            self._write(f"\r\x1b[J{self._row()}")
            self._drawn = True

    def _say(self, lines: list[str]) -> None:
        """Rows that stay, above the last one."""
        ahead = "\r\x1b[J" if self._drawn else ""
        self._drawn = self.live and bool(self._prompts or self._waiting)
        self._write(ahead + "".join(f"{line}\n" for line in lines) + self._row() * self._drawn)

    def _row(self) -> str:
        """The last row; the cursor goes where the next key is shown."""
        style = Style.of(self._stream)
        if self._waiting:
            return paint(self._waiting[: style.width - 1], DIM, style)
        pings = self._latency > 0 and style.width >= 30
        prompt = f"{milliseconds(self._latency)} > " if pings else "> "
        text, cursor = self._editor.view(style.width - cells(prompt), style)
        behind = cells(text) - cursor
        return paint(prompt, DIM, style) + text + (f"\x1b[{behind}D" if behind else "")

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "ascii"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self._stream.flush()
