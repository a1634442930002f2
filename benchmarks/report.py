"""From samples to what a person reads: the table, the bars with verdicts, the README's part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.peers import Sample

REFERENCE = ("pycurl", "CurlMulti, tuned loop")
AWAITED_PEER = ("pycurl", "AsyncCurlMulti on uvloop")
RUN, AWAIT = ("ftnet", "ft.run(), callbacks"), ("ftnet", "await on uvloop")
BEGIN, END = "<!-- bench:start -->", "<!-- bench:end -->"


@dataclass(slots=True)
class Row:
    """What was measured of one client in one mode at one concurrency, a sample a round."""

    client: str
    mode: str
    path: str
    concurrency: int
    samples: list[Sample] = field(default_factory=list)
    note: str = ""

    @property
    def name(self) -> tuple[str, str]:
        return self.client, self.mode

    @property
    def cpu_us(self) -> float:
        """Median over the rounds: CPU us of the client's process per request; NaN without one."""
        return median([s.cpu / s.requests * 1e6 for s in self.samples] or [math.nan])

    @property
    def rate(self) -> float:
        """Median over the rounds: requests per second; NaN without one."""
        return median([s.requests / s.seconds for s in self.samples] or [math.nan])

    def ratio_to(self, other: Row | None) -> float:
        """Median over the rounds: CPU per request against `other`'s in the same round."""
        if other is None:
            return math.nan
        pairs = zip(self.samples, other.samples, strict=False)
        return median([a.cpu / a.requests / (b.cpu / b.requests) for a, b in pairs] or [math.nan])


@dataclass(frozen=True, slots=True)
class Bar:
    """One limit that was set beforehand: `value` should be at most `limit`, at best `stretch`."""

    what: str
    value: float
    limit: float
    stretch: float
    unit: str = ""

    @property
    def verdict(self) -> str:
        if math.isnan(self.value):
            return "not measured"
        if self.value > self.limit:
            return "short"
        return "PASS, stretch too" if self.value <= self.stretch else "PASS"


class Table:
    """The rows of a run, found by what they are."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(rows)

    def find(self, path: str, concurrency: int, name: tuple[str, str]) -> Row | None:
        for row in self.rows:
            if (row.path, row.concurrency, row.name) == (path, concurrency, name):
                return row
        return None

    def ratio(self, row: Row) -> float:
        """Against the tuned pycurl loop at the same path and concurrency."""
        return row.ratio_to(self.find(row.path, row.concurrency, REFERENCE))

    def bars(self, import_ms: float) -> list[Bar]:
        """The limits for ftnet, over the path that was measured first."""
        path = self.rows[0].path if self.rows else ""

        def ratio(mine: tuple[str, str], theirs: tuple[str, str]) -> float:
            row = self.find(path, 64, mine)
            return row.ratio_to(self.find(path, 64, theirs)) if row else math.nan

        def growth(concurrency: int) -> float:
            high, base = self.find(path, concurrency, RUN), self.find(path, 64, RUN)
            return high.cpu_us / base.cpu_us if high and base else math.nan

        return [
            Bar("ft.run() at c=64 / pycurl's tuned loop", ratio(RUN, REFERENCE), 1.2, 1.0),
            Bar("awaited at c=64 / pycurl AsyncCurlMulti", ratio(AWAIT, AWAITED_PEER), 0.5, 0.3),
            Bar("ft.run() at c=512 / at c=64", growth(512), 1.3, 1.1),
            Bar("ft.run() at c=4096 / at c=64", growth(4096), 1.3, 1.1),
            Bar("import ftnet", import_ms, 120, 60, " ms"),
        ]


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:,.{digits}f}"


def as_text(table: Table, path: str) -> str:
    """The rows of one path, a block for each concurrency."""
    rows = [row for row in table.rows if row.path == path]
    width = max([len(row.mode) for row in rows], default=4)
    head = f"{'client':16}  {'mode':{width}}  {'c':>5}  {'CPU us/request':>14}  "
    head += f"{'requests/s':>10}  {'ratio':>6}"
    lines = [head]
    last = None
    for row in sorted(rows, key=lambda row: row.concurrency):
        if row.concurrency != last:
            lines.append("-" * len(head))
        last = row.concurrency
        start = f"{row.client:16}  {row.mode:{width}}  {row.concurrency:5d}  "
        if not row.samples:
            lines.append(f"{start}{row.note or 'not run'}")
            continue
        ratio = _number(table.ratio(row), 2)
        numbers = f"{row.cpu_us:14,.1f}  {row.rate:10,.0f}  {ratio:>6}"
        lines.append(f"{start}{numbers}  {row.note}".rstrip())
    return "\n".join(lines)


def bars_as_text(bars: Sequence[Bar]) -> str:
    """A line for each bar: what, its figure, the limits, the verdict."""
    width = max(len(bar.what) for bar in bars)
    return "\n".join(
        f"{bar.what:{width}}  {_number(bar.value, 0 if bar.unit else 2) + bar.unit:>7}"
        f"  (at most {bar.limit:g}, stretch {bar.stretch:g})  {bar.verdict}"
        for bar in bars
    )


def as_markdown(table: Table, path: str, heading: str, bars: Sequence[Bar]) -> str:
    """The README's table: CPU us per request by concurrency, and the ratio at c=64."""
    levels = sorted({row.concurrency for row in table.rows if row.path == path})
    columns = [f"c={level}" for level in levels]
    lines = [heading, ""]
    lines.append("| client | mode | " + " | ".join(columns) + " | ratio at c=64 |")
    lines.append("|---|---|" + "---:|" * (len(columns) + 1))
    for client, mode in dict.fromkeys(row.name for row in table.rows if row.path == path):
        found = [table.find(path, level, (client, mode)) for level in levels]
        cells = [_number(row.cpu_us, 1) if row else "-" for row in found]
        at_64 = table.find(path, 64, (client, mode))
        ratio = _number(table.ratio(at_64), 2) if at_64 else "-"
        lines.append(f"| {client} | {mode} | " + " | ".join(cells) + f" | {ratio} |")
    lines += ["", *(f"- {line}" for line in bars_as_text(bars).splitlines())]
    return "\n".join(" ".join(line.split()) for line in lines)


def compared(
    start: str,
    samples: dict[str, list[dict[str, float]]],
    notes: dict[str, str],
    reference: str,
) -> list[str]:
    """A line of an echo table for each client, or its note: medians of "cpu", "rate" and ratio.

    The ratio says how many times the CPU time of a client goes into that of `reference` in the same
    round.
    """
    lines = []
    for client, taken in samples.items():
        begin = f"{start} {client} |"
        if client in notes or not taken:
            lines.append(f"{begin} {notes.get(client, 'not run')} | | |")
            continue
        pairs = zip(taken, samples[reference], strict=False)
        ratio = median(theirs["cpu"] / mine["cpu"] for mine, theirs in pairs)
        cpu, rate = median(s["cpu"] for s in taken), median(s["rate"] for s in taken)
        lines.append(f"{begin} {cpu:.2f} | {rate:,.0f} | {ratio:.2f} |")
    return lines


def into_readme(text: str, block: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """`text` with what stands between the two marks being `block`; ValueError without them."""
    first, last = marks
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"no {first} ... {last} in it")
    return f"{before}{first}\n{block}\n{last}{after}"


def write_into_readme(path: Path, block: str, marks: tuple[str, str]) -> None:
    """Puts `block` between the two marks of a file; raises ValueError where it has none."""
    path.write_text(into_readme(path.read_text("utf-8"), block, marks), encoding="utf-8")
