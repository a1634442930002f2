"""What a terminal can show: its width, block characters, colours, and text cut to fit."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO

RESET, BOLD, DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
RED, GREEN, YELLOW = "\x1b[31m", "\x1b[32m", "\x1b[33m"

_BEYOND_ASCII = "▏▎▍▌▋▊▉█▐▕·←→…"  # all that the commands draw with


@dataclass(frozen=True, slots=True)
class Style:
    """What the terminal can show: ``width`` columns, block characters, ANSI colours."""

    width: int = 80
    blocks: bool = True
    colour: bool = False

    @classmethod
    def of(cls, stream: TextIO) -> Style:
        """Reads the abilities of ``stream``; honours COLUMNS, TERM=dumb and NO_COLOR."""
        terminal = stream.isatty()
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        return cls(_columns(stream), _can_encode(stream), terminal and not plain)


def _columns(stream: TextIO) -> int:
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):  # not a terminal, or a stream without a descriptor
        return 80


def _can_encode(stream: TextIO) -> bool:
    try:
        _BEYOND_ASCII.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def paint(text: str, code: str, style: Style) -> str:
    """``text`` in the colour or weight ``code`` when the terminal has colours."""
    return f"{code}{text}{RESET}" if style.colour and code and text else text


def can_redraw(stream: TextIO) -> bool:
    """Whether a line on ``stream`` can be drawn over: it is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def displayable(text: str, stream: TextIO) -> str:
    """``text`` in one line, with ``?`` for what ``stream`` can't show."""
    seen = "".join(char if char.isprintable() else "?" for char in text)
    encoding = stream.encoding or "ascii"
    return seen.encode(encoding, "replace").decode(encoding)


def cells(text: str) -> int:
    """The columns that ``text`` takes: two for a wide character, none for one that combines."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(char: str) -> int:
    import unicodedata  # for names beyond ASCII only

    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def fitted(text: str, width: int, style: Style) -> str:
    """``text`` in exactly ``width`` columns, with spaces after it or its middle left out."""
    if cells(text) > width:
        mark = "…" if style.blocks else ".."
        room = max(0, width - len(mark))
        tail = _as_much(reversed(text), room // 2)[::-1]
        text = (_as_much(text, room - cells(tail)) + mark + tail)[: max(width, 0)]
    return text + " " * (width - cells(text))


def _as_much(text: Iterable[str], width: int) -> str:
    """The beginning of ``text`` that fits into ``width`` columns."""
    kept = ""
    for char in text:
        if cells(kept + char) > width:
            break
        kept += char
    return kept
