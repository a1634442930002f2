"""How far a file has come: a bar that a terminal redraws, or one line at the end.

`draw` and `told` are pure, a `State` goes in and a line comes out; `Progress` keeps the state and
knows when and how to show it.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TextIO

from ftnet.terminal import DIM, GREEN, Style, can_redraw, cells, displayable, fitted, paint
from ftnet.waterfall import bar

REDRAWN_EVERY = 0.1  # seconds
_RATE_OVER = 4.0  # seconds
_GAP = "  "
_LEAST_NAME, _LEAST_BAR, _MOST_BAR = 7, 5, 64
_MARKER_SPEED = 0.5  # ways from one end to the other a second


@dataclass(frozen=True, slots=True)
class State:
    """What a line is drawn from. Bytes and seconds; ``total`` 0: not known."""

    name: str
    done: int = 0
    total: int = 0
    rate: float = 0.0  # bytes a second; of the last few seconds until it is finished
    elapsed: float = 0.0
    finished: bool = False


class Rate:
    """Bytes a second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, now: float, done: int) -> float:
        """The rate when ``done`` bytes are there at the time ``now``."""
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _RATE_OVER:
            self._seen.popleft()
        then, before = self._seen[0]
        return (done - before) / (now - then) if now > then else 0.0


# ---- lines


def draw(state: State, style: Style) -> str:
    """One line that is shorter than the terminal is wide: name, bar, and what there is room for."""
    room = style.width - 1
    least = min(_LEAST_NAME, cells(state.name))
    for facts in _facts(state):
        text = _GAP.join(facts)
        spare = room - len(text) - len(_GAP) - 3  # the ends of the bar, a space
        if spare >= least + _LEAST_BAR:
            most = max(least, spare * 3 // 5, spare - _MOST_BAR)
            name = fitted(state.name, min(cells(state.name), most), style)
            width = min(_MOST_BAR, spare - cells(name))
            return f"{name}{_GAP}{_bar(state, width, style)} {text.rstrip()}"
    if room - len(text) - 3 >= _LEAST_BAR:
        return f"{_bar(state, room - len(text) - 3, style)} {text}"
    return text.strip()[: max(room, 0)]


def told(state: State, what: str) -> str:
    """What is said at the end where nothing can be redrawn."""
    speed = f"{three_digits(state.rate)}/s"
    return f"{what}: {three_digits(state.done)} in {_time_taken(state)}, {speed}"


def _facts(state: State) -> list[list[str]]:
    """What stands after the bar, from all of it to the least."""
    done, speed = f"{three_digits(state.done):>7}", f"{three_digits(state.rate) + '/s':>9}"
    if state.finished:
        taken = f"in {_time_taken(state)}"
        return [["100%", done, speed, taken], [done, speed, taken], [speed, taken], [taken]]
    if not state.total:
        elapsed = clock(state.elapsed)
        return [[done, speed, elapsed], [done, speed], [done]]
    percent = f"{min(99, state.done * 100 // state.total):3}%"
    amount, left = f"{done} / {three_digits(state.total)}", clock(_time_left(state))
    return [
        [percent, amount, speed, f"ETA {left:<5}"],
        [percent, done, speed, f"{left:>5}"],
        [percent, speed, f"{left:>5}"],
        [percent, f"{left:>5}"],
        [percent],
    ]


def _time_left(state: State) -> float | None:
    left = max(0, state.total - state.done)
    return left / state.rate if state.rate > 0 else None


def _time_taken(state: State) -> str:
    if state.elapsed >= 59.95:
        return clock(state.elapsed)
    return f"{max(0.01, state.elapsed):.{1 if state.elapsed >= 9.995 else 2}f} s"


def three_digits(count: float) -> str:
    """Bytes in decimal units, as many digits whatever the number: it must not jump about."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if value < 999.5:
            return f"{int(value)} B" if unit == "B" else f"{value:#.3g}".rstrip(".") + f" {unit}"
        value /= 1000
    return f"{value:.0f} EB"


def clock(seconds: float | None) -> str:
    """``3:05``, ``2:03:05``, ``12 d``; ``-:--`` for None."""
    if seconds is None:
        return "-:--"
    minutes, second = divmod(round(min(seconds, 1e12)), 60)
    if minutes < 60:
        return f"{minutes}:{second:02}"
    if minutes < 100 * 60:
        return f"{minutes // 60}:{minutes % 60:02}:{second:02}"
    return f"{min(minutes // 1440, 9999)} d"


def _bar(state: State, width: int, style: Style) -> str:
    if state.finished:
        filled = bar(0.0, 1.0, 1.0, width, style)
    elif state.total:
        filled = bar(0.0, state.done, state.total, width, style) if state.done else ""
    else:
        size = max(1, width // 5)
        way = state.elapsed * _MARKER_SPEED % 2
        filled = bar((width - size) * min(way, 2 - way), size, width, width, style)
    left, right = "▕▏" if style.blocks else "[]"
    inside = paint(filled, GREEN, style) + " " * (width - len(filled))
    return paint(left, DIM, style) + inside + paint(right, DIM, style)


# ---- showing them


class Progress:
    """Shows on ``stream`` how far the file ``name`` has come.

    On a terminal a bar is redrawn by `tick`, ten times a second at most, and stays at the end;
    elsewhere, and where the cursor can't be moved, `finish` tells ``what`` was done in one line.
    Nothing is shown with ``silent``. Between two calls the cursor is at the start of the line.
    """

    def __init__(
        self,
        name: str,
        stream: TextIO,
        *,
        what: str,
        silent: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = State(displayable(name, stream))
        self._stream = stream
        self._what = displayable(what, stream)
        self._silent = silent
        self._live = not silent and can_redraw(stream)
        self._clock = clock
        self._began = self._drawn_at = clock()
        self._width = 0  # of the terminal, at the last drawing; 0: nothing was drawn
        self._first = 0  # bytes there were before
        self._rate = Rate()

    @property
    def live(self) -> bool:
        """Whether `tick` shows something."""
        return self._live

    def starts_from(self, first: int) -> None:
        """The file's first bytes are there already; what comes from now on makes the rate."""
        self._first = first
        self._rate = Rate()
        self._rate.update(self._clock(), first)
        self.update(first, self._state.total)

    def update(self, done: int, total: int) -> None:
        """So many bytes are there, of so many (0: not known)."""
        self._state = replace(self._state, done=done, total=total)

    def tick(self) -> None:
        """To be called now and then: draws the bar when it is time to."""
        now = self._clock()
        if self._live and now - self._drawn_at >= REDRAWN_EVERY / 2:
            self._draw(now)

    def finish(self, size: int | None = None) -> None:
        """The file is complete: the last line has the time it took and the mean rate.

        ``size`` is that of the file where another number of bytes went over the wire.
        """
        elapsed = self._clock() - self._began
        rate = (self._state.done - self._first) / elapsed if elapsed > 0 else 0.0
        done = self._state.done if size is None else size
        state = replace(self._state, done=done, rate=rate, elapsed=elapsed, finished=True)
        if self._live:
            self._write(f"\r{draw(state, Style.of(self._stream))}\x1b[K\n")
        elif not self._silent:
            self._write(told(state, self._what) + "\n")

    def leave(self) -> None:
        """The file will not be complete: what was drawn stays as it is now."""
        if self._width:
            self._draw(self._clock())
            self._write("\n")

    def _draw(self, now: float) -> None:
        self._drawn_at = now
        rate = self._rate.update(now, self._state.done)
        state = replace(self._state, rate=rate, elapsed=now - self._began)
        style = Style.of(self._stream)
        # A terminal that became narrower may have broken the line in two.
        wipe = "\x1b[J" if style.width != self._width else ""
        self._width = style.width
        self._write(f"\r{wipe}{draw(state, style)}\x1b[K\r")  # first: ^C may stand there

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # nobody is there to see it
            self._stream.write(text)
            self._stream.flush()
