"""Draws the phases of one request as a waterfall, so that a person sees where the time went.

Pure text: a profile goes in, lines come out; nothing here knows sockets, tasks or clocks. All
times are milliseconds. A phase that did not take place (a reused connection has no DNS, connect
or TLS) shows ``-``; a phase that began and was cut off by a failure is marked ``<- failed``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftnet.terminal import BOLD, DIM, RED, Style, paint

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_RIGHT_EIGHTH, _RIGHT_HALF, _FULL = "▕", "▐", "█"
_MIN_BAR, _MAX_BAR = 8, 64

# label, field where the phase starts, fields where it ends (the first one reached), colour
_PHASES: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("queue", "queueStart", ("queueEnd",), "\x1b[90m"),
    ("redirects", "redirectStart", ("redirectEnd",), "\x1b[90m"),
    ("DNS", "domainLookUpStart", ("domainLookUpEnd",), "\x1b[36m"),
    ("connect", "connectStart", ("SSLconnectionStart", "connectEnd"), "\x1b[33m"),
    ("TLS", "SSLconnectionStart", ("SSLconnectionEnd",), "\x1b[35m"),
    ("send", "requestStart", ("requestEnd",), "\x1b[34m"),
    ("wait (TTFB)", "requestEnd", ("responseStart",), "\x1b[32m"),
    ("download", "responseStart", ("responseEnd",), "\x1b[94m"),
)
_CONNECTION_PHASES = frozenset({"DNS", "connect", "TLS"})
_ONLY_WHEN_REACHED = frozenset({"redirects"})


@dataclass(frozen=True, slots=True)
class Row:
    """One line: ``start`` and ``duration`` in ms, None when the phase did not take place."""

    label: str
    start: float | None
    duration: float | None
    colour: str
    failed: bool = False


def rows(profile: Any, ended_after_ms: float | None = None) -> list[Row]:
    """Turns a profile into rows, the last being the total.

    ``ended_after_ms`` is how long a failed request ran, counted from its first phase: a phase
    that has no end is drawn up to there and marked as the one that failed.
    """
    origin = _origin(profile)
    found = [_row(profile, phase, origin, ended_after_ms) for phase in _PHASES]
    kept = [r for r in found if r.start is not None or r.label not in _ONLY_WHEN_REACHED]
    ends = [r.start + (r.duration or 0.0) for r in kept if r.start is not None]
    failed = any(r.failed for r in kept)
    if failed and ended_after_ms is not None:
        ends.append(ended_after_ms)
    total = Row("total", 0.0 if ends else None, max(ends) if ends else None, "", failed)
    return [*kept, total]


def _origin(profile: Any) -> float:
    for name in ("queueStart", "invokeStart", "fetchStart"):
        value = float(getattr(profile, name))
        if value > 0:
            return value
    return 0.0


def _row(
    profile: Any,
    phase: tuple[str, str, tuple[str, ...], str],
    origin: float,
    ended_after_ms: float | None,
) -> Row:
    label, start_field, end_fields, colour = phase
    begin = float(getattr(profile, start_field))
    end = next((v for v in (float(getattr(profile, f)) for f in end_fields) if v > 0), 0.0)
    if begin <= 0 or (label in _CONNECTION_PHASES and profile.socketReused):
        return Row(label, None, None, colour)
    if end > 0:
        # A server may answer before the request is fully sent: then there was no wait.
        begin = min(begin, end)
        return Row(label, begin - origin, end - begin, colour)
    if ended_after_ms is None:
        return Row(label, begin - origin, None, colour, failed=True)
    return Row(label, begin - origin, max(0.0, ended_after_ms - (begin - origin)), colour, True)


def facts(profile: Any, *, tls: bool) -> list[str]:
    """The connection in short: protocol, peer, new or reused, TLS, bytes, round trip time."""
    age, safety = ("reused" if profile.socketReused else "new"), ("TLS" if tls else "plain")
    connection = ["no connection"]
    if profile.peerIP:
        address = f"[{profile.peerIP}]" if ":" in profile.peerIP else profile.peerIP
        connection = [f"{address}:{profile.port}", f"{age} {safety} connection"]
    return [
        str(profile.protocol or "unknown"),
        *connection,
        f"sent {human_bytes(profile.sendBytesCount)}",
        f"received {human_bytes(profile.receivedBytedCount)}",
        f"rtt {profile.rtt:.3g} ms" if profile.rtt else "rtt unknown",
    ]


def joined(parts: list[str], style: Style) -> list[str]:
    """``parts`` on as few lines as the terminal's width allows, none of them broken in two."""
    separator = " · " if style.blocks else ", "
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(separator) + len(part) <= style.width:
            lines[-1] += separator + part
        else:
            lines.append(part)
    return lines


def human_bytes(count: float) -> str:
    """``1234`` as ``1.2 kB``: decimal units, at most four digits."""
    if count < 1000:
        return f"{int(count)} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.5:
            return f"{value:.3g} {unit}"
    return f"{value / 1000:.3g} TB"


def draw(
    profile: Any, *, tls: bool, style: Style, ended_after_ms: float | None = None
) -> list[str]:
    """The whole picture as lines without line ends: facts, heading, one line a phase, total."""
    table = rows(profile, ended_after_ms)
    total = table[-1].duration or 0.0
    digits = 3 if total < 1000 else 2 if total < 10_000 else 1
    starts = ["start ms", *(_number(r.start, digits) for r in table)]
    times = ["time ms", *(_number(r.duration, digits) for r in table)]
    label_width = max(len(r.label) for r in table)
    start_width, time_width = max(map(len, starts)), max(map(len, times))
    mark = " ← failed" if style.blocks else " <- failed"
    room = style.width - label_width - start_width - time_width - 7
    if table[-1].failed:
        room -= len(mark)
    bar_width = max(_MIN_BAR, min(_MAX_BAR, room))

    lines = [*joined(facts(profile, tls=tls), style), ""]
    heading = f"{'phase':<{label_width}}  {starts[0]:>{start_width}}  {times[0]:>{time_width}}"
    lines.append(paint(heading, DIM, style))
    for row, start, time in zip(table, starts[1:], times[1:], strict=True):
        numbers = f"{row.label:<{label_width}}  {start:>{start_width}}  {time:>{time_width}}"
        drawn = bar(row.start, row.duration, total, bar_width, style)
        note = mark if row.failed and row.label != "total" else ""
        weight = BOLD if row.label == "total" else DIM if row.start is None else ""
        hue = RED if row.failed else row.colour
        line = (
            paint(numbers, weight, style) + "   " + paint(drawn, hue, style)
            + paint(note, RED, style)
        )  # fmt: skip
        lines.append(line.rstrip())
    return lines


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{max(0.0, value):.{digits}f}"


def bar(start: float | None, duration: float | None, total: float, width: int, style: Style) -> str:
    """A bar drawn to scale: ``width`` columns stand for ``total`` ms. Nothing for an absent phase.

    A phase that took place is always visible, however short. Without block characters the bar is
    made of ``#`` and rounded to whole columns.
    """
    if start is None or duration is None:
        return ""
    scale = width * 8 / total if total > 1e-9 else 0.0
    first = min(round(max(0.0, start) * scale), width * 8 - 1)
    last = min(max(round((max(0.0, start) + duration) * scale), first + 1), width * 8)
    if style.blocks:
        return _blocks(first, last)
    left = first // 8
    return " " * left + "#" * max(1, round(last / 8) - left)


def _blocks(first: int, last: int) -> str:
    """Fills the eighths ``first`` to ``last`` (exclusive) of a row of cells."""
    cell, offset = divmod(first, 8)
    if offset == 0:
        full, rest = divmod(last - first, 8)
        return " " * cell + _FULL * full + (_EIGHTHS[rest] if rest else "")
    if last <= (cell + 1) * 8:  # begins and ends within one cell: no glyph floats in its middle
        left = offset <= (cell + 1) * 8 - last
        return " " * cell + (_EIGHTHS[last - first] if left else _right(last - first))
    full, rest = divmod(last - (cell + 1) * 8, 8)
    tail = _EIGHTHS[rest] if rest else ""
    return " " * cell + _right(8 - offset) + _FULL * full + tail


def _right(eighths: int) -> str:
    """The glyph nearest to ``eighths`` filled from the right: Unicode has 1/8, 1/2 and full."""
    return _RIGHT_EIGHTH if eighths <= 2 else _RIGHT_HALF if eighths <= 5 else _FULL
