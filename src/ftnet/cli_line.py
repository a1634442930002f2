"""A line that is typed on a terminal: keys go in, the line and what of it to draw come out.

Pure: nothing here reads or writes. The command draws the line itself because a message that comes
while somebody types would otherwise tear it in two.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from ftnet.terminal import Style, cells

_KEY = re.compile(
    r"(?P<text>[^\x00-\x08\x0a-\x1f\x7f-\x9f]+)"
    r"|\x1b\[[0-9;?]*[ -/]*[@-~]|\x1bO[ -~]|\x1b(?=\x1b)|\x1b[^\x1b\[O]"
    r"|[\x00-\x1a\x1c-\x1f\x7f-\x9f]"
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*|O)?")
_REMEMBERED = 1000


class LineEditor:
    """The line that is being typed, with the keys of readline, and those entered before."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""  # the beginning of a key that takes several characters
        self._before = self._after = ""  # the cursor
        self._entered: list[str] = []
        self._recalled = 0  # place in `_entered`; its end: the line is a new one
        self._draft = ""

    @property
    def text(self) -> str:
        """The whole line."""
        return self._before + self._after

    def feed(self, data: bytes) -> list[str | None]:
        """Takes what was typed; the lines that it ended, and None for the end of all (Ctrl-D)."""
        typed = self._pending + self._decoder.decode(data)
        self._pending = ""
        ended: list[str | None] = []
        at = 0
        while at < len(typed):
            key = _KEY.match(typed, at)
            if key is not None:
                at = key.end()
                self._take(key, ended)
            elif _UNFINISHED.fullmatch(typed, at):
                self._pending = typed[at:]
                break
            else:
                at += 1
        return ended

    def _take(self, key: re.Match[str], ended: list[str | None]) -> None:
        pressed = key[0]
        if key["text"] is not None:
            self._before += pressed
        elif pressed in "\r\n":
            ended.append(self._enter())
        elif pressed == "\x04" and not self.text:
            ended.append(None)
        elif pressed in _ACTIONS:
            _ACTIONS[pressed](self)

    def _enter(self) -> str:
        line = self.text
        if line and self._entered[-1:] != [line]:
            self._entered = [*self._entered[1 - _REMEMBERED :], line]
        self._recalled, self._draft = len(self._entered), ""
        self._before = self._after = ""
        return line

    # ---- keys

    def _backspace(self) -> None:
        self._before = self._before[:-1]

    def _delete(self) -> None:
        self._after = self._after[1:]

    def _delete_word(self) -> None:
        kept = self._before.rstrip()
        word = kept.rsplit(None, 1)[-1:]
        self._before = kept[: len(kept) - len("".join(word))]

    def _delete_to_start(self) -> None:
        self._before = ""

    def _delete_to_end(self) -> None:
        self._after = ""

    def _left(self) -> None:
        self._before, self._after = self._before[:-1], self._before[-1:] + self._after

    def _right(self) -> None:
        self._before, self._after = self._before + self._after[:1], self._after[1:]

    def _home(self) -> None:
        self._before, self._after = "", self.text

    def _end(self) -> None:
        self._before, self._after = self.text, ""

    def _up(self) -> None:
        self._recall(self._recalled - 1)

    def _down(self) -> None:
        self._recall(self._recalled + 1)

    def _recall(self, place: int) -> None:
        if not 0 <= place <= len(self._entered):
            return
        if self._recalled == len(self._entered):
            self._draft = self.text
        self._recalled = place
        self._before = self._entered[place] if place < len(self._entered) else self._draft
        self._after = ""

    # ---- drawing

    def view(self, width: int, style: Style) -> tuple[str, int]:
        """As much of the line as ``width`` columns show, and the cursor's column in that.

        The cursor has a column of its own behind the text. What is left out on a side is marked.
        """
        room = max(2, width - 1)
        if len(self.text) <= room and cells(self.text) <= room:
            return _shown(self.text), cells(self._before)
        mark = "…" if style.blocks else "<"
        behind = max(cells(_first(self._after, room // 3)), int(self._after != ""))
        before = _last(self._before, room - behind - 1)
        cut = len(before) < len(self._before)
        left = (mark if cut else "") + before
        after = _first(self._after, room - cells(left))
        if len(after) < len(self._after):
            after = _first(after, room - cells(left) - 1) + ("…" if style.blocks else ">")
        return _shown(left + after), cells(left)


def _shown(text: str) -> str:
    return text.replace("\t", " ")


def _first(text: str, width: int) -> str:
    """The beginning of ``text`` that fits into ``width`` columns."""
    end = used = 0
    for end, char in enumerate(text):
        used += cells(char)
        if used > width:
            return text[:end]
    return text


def _last(text: str, width: int) -> str:
    """The end of ``text`` that fits into ``width`` columns."""
    return _first(text[-width:][::-1], width)[::-1] if width > 0 else ""


_ACTIONS: dict[str, Callable[[LineEditor], None]] = {
    "\x7f": LineEditor._backspace,
    "\x08": LineEditor._backspace,
    "\x04": LineEditor._delete,
    "\x1b[3~": LineEditor._delete,
    "\x17": LineEditor._delete_word,
    "\x15": LineEditor._delete_to_start,
    "\x0b": LineEditor._delete_to_end,
    "\x02": LineEditor._left,
    "\x06": LineEditor._right,
    "\x01": LineEditor._home,
    "\x05": LineEditor._end,
    "\x10": LineEditor._up,
    "\x0e": LineEditor._down,
    **{f"\x1b{form}D": LineEditor._left for form in "[O"},
    **{f"\x1b{form}C": LineEditor._right for form in "[O"},
    **{f"\x1b{form}H": LineEditor._home for form in "[O"},
    **{f"\x1b{form}F": LineEditor._end for form in "[O"},
    **{f"\x1b{form}A": LineEditor._up for form in "[O"},
    **{f"\x1b{form}B": LineEditor._down for form in "[O"},
    "\x1b[1~": LineEditor._home,
    "\x1b[4~": LineEditor._end,
}
