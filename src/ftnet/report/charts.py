"""Plots as data: scales, ticks, paths and read-outs; the template makes SVG of them.

A plot has a place for a few hundred points. Where there are more, those of a stretch are drawn from
the least to the most of them (`kept`), and its read-out tells both: no spike is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

__all__ = [
    "STRETCHES",
    "Band",
    "Chart",
    "Limit",
    "Line",
    "Scale",
    "Tick",
    "kept",
    "plot",
    "stretches",
]

#: Units of a plot's paths; it is stretched to whatever room there is.
WIDE, HIGH = 10_000, 3_000
#: Stretches that a plot over time is drawn of, at most.
STRETCHES: Final = 600
#: As many times the least value as the largest has to be for a logarithmic scale to read better.
_SPREAD: Final = 25

#: Marks of a logarithmic axis; where there are more, only powers of ten are marked.
_MOST_MARKS: Final = 10
#: As many times the largest value as a limit may be to be shown.
_FAR: Final = 5

Values = Sequence[float | None]
Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float  #: share of the axis, of 0 to 1, from its left or lower end
    label: str
    more: bool = False  #: left out where there is little room


@dataclass(frozen=True, slots=True)
class Band:
    """A part of the time axis, from and to as shares of it."""

    start: float
    end: float
    label: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A value that a line should stay below at one place."""

    x: float  #: share of the axis
    value: float
    label: str
    kept: bool
    y: float = 0.0  #: share of the axis, once there is one


@dataclass(frozen=True, slots=True)
class Line:
    """One of a plot's lines, of which there may be nothing to draw."""

    name: str
    style: str  #: class in the style sheet
    path: str  #: of an SVG path; "": there is no value


@dataclass(frozen=True, slots=True)
class Chart:
    """All that is drawn of one plot, and what it tells where a person points."""

    title: str
    about: str  #: what is to be seen, for those who can't
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    #: "x": units from the left, "at": their names, "values": for each line, as texts
    read_out: Mapping[str, Any]
    log: bool
    pooled: int  #: values in a stretch, 1: all are drawn
    bands: tuple[Band, ...] = ()
    limits: tuple[Limit, ...] = ()
    low: bool = False  #: with less height than others
    view: str = field(default=f"0 0 {WIDE} {HIGH}")


# ---- scales


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to shares of an axis."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """0 to 1; what is beyond an end is at the end."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = (math.log10(max(one, 1e-12)) for one in (low, high, value))
        return min(max((value - low) / (high - low), 0.0), 1.0)


def scaled(
    values: Iterable[float], *, log: bool | None = None, ticks: int = 5, least_step: float = 0.0
) -> tuple[Scale, list[float]]:
    """A scale for these values and the values of its ticks; by default log where it reads better.

    A linear one begins at 0 and ends at a tick; ``ticks`` are so many at most, or one more. A
    logarithmic one goes from 1, 2 or 5 of some power of ten to another.
    """
    some = [value for value in values if value > 0]
    if not some:
        return Scale(0, 1), [0, 1]
    least, most = min(some), max(some)
    if log if log is not None else most > least * _SPREAD:
        marks = _decades(least, most)
        scale = Scale(marks[0], marks[-1], True)
        tens = [one for one in marks if math.log10(one) % 1 in (0.0, 1.0)]
        return scale, tens if len(marks) > _MOST_MARKS else marks
    step = _step(max(most / ticks, least_step))
    marks = [step * index for index in range(math.ceil(most / step - 1e-9) + 1)]
    return Scale(0, marks[-1]), marks


def _step(least: float) -> float:
    """1, 2 or 5 of some power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * one for one in (1, 2, 5, 10) if power * one >= least * (1 - 1e-9))


def _decades(least: float, most: float) -> list[float]:
    """1, 2 and 5 of powers of ten, from at most the least to at least the most."""
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
    every = [one * 10.0**power for power in range(first, last + 1) for one in (1, 2, 5)]
    start = max(index for index, one in enumerate(every) if one <= least)
    end = min(index for index, one in enumerate(every) if one >= most * (1 - 1e-9))
    return every[start : end + 1]


def time_ticks(seconds: float, name: Format) -> tuple[Tick, ...]:
    """Of an axis from 0 to so many seconds, at even times."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
    step = next((one for one in steps if seconds / one <= 8), seconds / 8)
    number = math.floor(seconds / step + 1e-9)
    return tuple(
        Tick(index * step / seconds, name(index * step) if index else "0", index % 2 == 1)
        for index in range(number + 1)
    )


# ---- many values in little room


def stretches(number: int, most: int = STRETCHES) -> list[range]:
    """So many indices in at most so many stretches of the same length, but for the last."""
    size = max(1, -(-number // most))
    return [range(start, min(start + size, number)) for start in range(0, number, size)]


def kept(values: Values, parts: Sequence[range]) -> list[int]:
    """The indices to draw: of each part those of the least, the most, and the first gap."""
    out: list[int] = []
    for part in parts:
        there = [index for index in part if values[index] is not None]
        ends = {part[0]} if not there else {
            min(there, key=lambda index: values[index] or 0.0),
            max(there, key=lambda index: values[index] or 0.0),
        }  # fmt: skip
        if len(there) < len(part):
            ends.add(next(index for index in part if values[index] is None))
        out += sorted(ends)
    return out


def _path(points: Iterable[tuple[int, int | None]]) -> str:
    """Lines from point to point, with a gap where there is none; a point between gaps is a dot."""
    out: list[str] = []
    pen = ""
    for x, y in points:
        if y is None:
            pen = ""
            continue
        if not pen:
            out.append(f"M{x} {y}h0")
        else:
            out.append(f"{pen}{x} {y}")
        pen = "L"
    return "".join(out)


def _short(value: float, name: Format) -> str:
    """A name that there is room for beside an axis."""
    told = name(value)
    return f"{value / 1e6:g} M" if told.count(",") > 1 else told


def _told(values: Values, part: range, name: Format) -> str:
    there = [one for index in part if (one := values[index]) is not None]
    if not there:
        return "-"
    least, most = name(min(there)), name(max(there))
    return least if least == most else f"{least} – {most}"


# ---- a plot


def plot(
    title: str,
    about: str,
    xs: Sequence[float],
    names: Callable[[range], str],
    lines: Mapping[str, tuple[str, Values]],
    x_ticks: Sequence[Tick],
    y_name: Format,
    *,
    log: bool | None = None,
    parts: Sequence[range] | None = None,
    bands: Sequence[Band] = (),
    limits: Sequence[Limit] = (),
    low: bool = False,
    least_step: float = 0.0,
) -> Chart:
    """Of lines by name, each a style and its values at ``xs``, shares of the axis from 0 to 1.

    Limits are shown that are not far above the lines. ``names`` tells a stretch of indices in
    words, ``y_name`` a value.
    """
    parts = parts or stretches(len(xs))
    every = [one for _, values in lines.values() for one in values if one is not None]
    limits = [one for one in limits if one.value <= _FAR * max(every, default=0)]
    every += [one.value for one in limits]
    scale, marks = scaled(every, log=log, ticks=3 if low else 5, least_step=least_step)

    def drawn(values: Values) -> str:
        return _path(
            (round(xs[index] * WIDE), None if one is None else round((1 - scale.at(one)) * HIGH))
            for index in kept(values, parts)
            for one in (values[index],)
        )

    return Chart(
        title=title,
        about=about,
        lines=tuple(Line(name, style, drawn(values)) for name, (style, values) in lines.items()),
        x_ticks=tuple(x_ticks),
        y_ticks=tuple(Tick(scale.at(one), _short(one, y_name)) for one in marks),
        read_out={
            "x": [round((xs[part[0]] + xs[part[-1]]) / 2 * WIDE) for part in parts],
            "at": [names(part) for part in parts],
            "values": [
                [_told(values, part, y_name) for part in parts] for _, values in lines.values()
            ],
        },
        log=scale.log,
        pooled=max((len(part) for part in parts), default=1),
        bands=tuple(bands),
        limits=tuple(replace(one, y=scale.at(one.value)) for one in limits),
        low=low,
    )
