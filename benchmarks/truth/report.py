"""The tables of the bench, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from benchmarks.truth.clients import FIELDS
from benchmarks.truth.scenarios import Row, Scenario

MARKS = ("<!-- truth:begin -->", "<!-- truth:end -->")
BARS = {1: 20.0, 64: 100.0}  # µs that 99 % of the errors may have at most, by concurrency
SLACK = 3.0  # µs by which the clocks of packets and server may differ
STUB = f"# Timing\n\n{MARKS[0]}\n{MARKS[1]}\n"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all are no greater than."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def figures(off: Sequence[float]) -> tuple[float, float, float]:
    """Median with its sign, 99th percentile and maximum without."""
    sizes = [abs(one) for one in off]
    return median(off), percentile(sizes, 0.99), max(sizes)


def bar(scenario: Scenario) -> float:
    """The limit that was set for a scenario; infinite where none was."""
    return math.inf if scenario.busy else BARS.get(scenario.c, math.inf)


def _cell(row: Row, name: str) -> str:
    off = row.errors.get(name)
    if not off:
        return ""
    middle, most, worst = figures(off)
    text = f"{middle:.0f} / {most:,.0f} / {worst:,.0f}".replace("-0 ", "0 ")
    return f"**{text}**" if row.client == "ftnet" and most > bar(row.scenario) else text


def table(rows: Sequence[Row], *, named: bool = False) -> Iterator[str]:
    """A line for each row, a column for each field that one of them has; `named`: by client."""
    fields = [name for name in FIELDS if any(row.errors.get(name) for row in rows)]
    yield f"| requests | c | others | {'client | ' if named else ''}n | {' | '.join(fields)} |"
    yield f"|---|---:|---:|{'---|' if named else ''}---:|" + "---:|" * len(fields)
    for row in rows:
        client = f"{row.client} | " if named else ""
        others = "" if row.scenario.busy else f"{row.others:.0%}"
        start = f"| {row.scenario.name} | {row.scenario.c} | {others} | {client}"
        if row.note:
            yield f"{start}{row.note} |" + " |" * len(fields)
            continue
        count = max(map(len, row.errors.values()), default=0)
        yield f"{start}{count} | " + " | ".join(_cell(row, name) for name in fields) + " |"


def over(rows: Iterable[Row]) -> Iterator[str]:
    """A line for each field of ftnet that is worse than the bar, and by how much."""
    for row in rows:
        limit = bar(row.scenario)
        if row.client == "ftnet" and limit < math.inf:
            found = {name: figures(off)[1] for name, off in row.errors.items() if off}
            worse = [f"{name} {most:,.0f}" for name, most in found.items() if most > limit]
            if worse:
                what = f"{row.scenario.name}, c={row.scenario.c} (at most {limit:.0f})"
                yield f"- {what}: {', '.join(worse)}"


def document(rows: Sequence[Row], cost: Sequence[str], facts: str) -> str:
    """Everything that stands between the marks."""
    mine = [row for row in rows if row.client == "ftnet"]
    old = [row for row in mine if not row.scenario.new]
    new = [row for row in mine if row.scenario.new]
    apart = "pycurl's times are added to the moment of perform() or add_handle(). curl -w does not"
    apart += (
        " say when it began: its first time is taken for true, and is left out. The bare socket"
    )
    apart += " is a blocking one, the clock read before and after each call: nobody can do better."
    compared = [row for row in rows if row.scenario.peers]
    parts = [
        f"{facts} Every figure is µs, reported minus true: median / 99th percentile / maximum, the"
        " last two without sign. **Bold**: the 99th percentile is over the bar, 20 µs at c=1 and"
        " 100 µs at c=64 on idle processors. Others: the share of the processors' time that other"
        " programs took; where they took much, the 99th percentile and the maximum are theirs.",
    ]
    sections = {
        "Reused connections": table(old) if old else (),
        "New connections": table(new) if new else (),
        "Side by side": [apart, "", *table(compared, named=True)] if compared else (),
        "Over the bar (99th percentile, µs)": over(mine),
        "The server as a second witness": _witness(rows),
        "What a profile costs": cost,
    }
    for title, lines in sections.items():
        if found := list(lines):
            parts.append("\n".join([f"### {title}", "", *found]))
    return "\n\n".join(parts)


def _witness(rows: Iterable[Row]) -> Iterator[str]:
    """What lay between packets and the server's stamps; none of it can be negative."""
    gaps: dict[str, list[float]] = {}
    for row in rows:
        for what, some in row.witness.items():
            gaps.setdefault(what, []).extend(some)
    if gaps:
        yield "| from → to | n | least, µs | median |"
        yield "|---|---:|---:|---:|"
    for what, some in gaps.items():
        wrong = " (!)" if min(some) < -SLACK else ""
        yield f"| {what} | {len(some)} | {min(some):.1f}{wrong} | {median(some):.0f} |"
