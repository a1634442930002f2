"""What a terminal can show: its width, block characters, colours."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TextIO

RESET, BOLD, DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
RED, GREEN, YELLOW = "\x1b[31m", "\x1b[32m", "\x1b[33m"

_BEYOND_ASCII = "▏▎▍▌▋▊▉█▐▕·←→"  # all that the commands draw with


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
