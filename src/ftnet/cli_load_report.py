"""The report of ``ftnet load``: a `Result` goes in, lines come out, the verdict first.

Times are milliseconds, in tables with as many decimals as the largest has room for. What there is
none of, or too little to tell, is ``-``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from ftnet.errors import redact
from ftnet.load.checks import Outcome, enough
from ftnet.terminal import BOLD, DIM, RED, YELLOW, Style, fitted, paint
from ftnet.waterfall import human_bytes, joined

if TYPE_CHECKING:
    from ftcore.histogram import Histogram
    from ftnet.load.options import Options
    from ftnet.load.result import Result, Summary, Verdict

#: Phases by the names that the other commands have for them.
PHASE_LABELS: Final = {
    "queue": "queue",
    "dns": "DNS",
    "connect": "connect",
    "ssl": "TLS",
    "send": "send",
    "ttfb": "wait (TTFB)",
    "download": "download",
    "total": "total",
}
_PERCENTS: Final = (50.0, 75.0, 90.0, 99.0, 99.9)
_LABEL, _COLUMN, _COUNT, _SHARE = 13, 9, 12, 8  # columns
_KEY = 15
LIMIT: Final = "the generator was the limit, not the server:"
DOUBTFUL: Final = "The numbers below tell of this machine as well as of the server."
_MOST_ERRORS, _MOST_STATUSES = 12, 20


# ---- numbers


def count(number: float) -> str:
    """``12,345``."""
    return f"{number:,.0f}"


def rate(number: float) -> str:
    """A number a second: ``12,345``, ``123.4``."""
    return f"{number:,.0f}" if number >= 1000 or number == int(number) else f"{number:.1f}"


def percent(share: float) -> str:
    """``0 %``, ``0.0123 %``, ``99.9 %``; 0 and 100 are said of all and none alone."""
    if share in (0, 1):
        return f"{share * 100:.0f} %"
    if 0.999 < share < 1:
        return f"{min(math.floor(share * 1e5) / 1e3, 99.999):.5g} %"
    return f"{max(share * 100, 0.0001):.3g} %"


def seconds(value: float) -> str:
    """``250 ms``, ``10 s``, ``1 m 30 s``."""
    if value < 0.9995:
        return f"{value * 1000:.3g} ms"
    if value < 60:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def duration(value: float) -> str:
    """A measured time in the unit that suits it: ``12.3 µs``, ``1.23 ms``, ``2.5 s``."""
    if value >= 1000:
        return f"{value:,.0f} s"
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 0.9995:  # or three digits make 1000 of the unit below
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.0f} ns"


def digits(largest_ns: float) -> int:
    """Decimals for a table of milliseconds with this one in it."""
    return 3 if largest_ns < 1e9 else 2 if largest_ns < 1e10 else 1


def milliseconds(ns: float | None, decimals: int) -> str:
    """Without the unit; ``-`` for None."""
    return "-" if ns is None else f"{ns / 1e6:.{decimals}f}"


_refused: ContextVar[bool] = ContextVar("_refused", default=False)


@contextmanager
def telling(result: Result) -> Iterator[None]:
    """Within, there are no percentiles when the result's are refused."""
    before = _refused.set(bool(result.percentiles_refused))
    try:
        yield
    finally:
        _refused.reset(before)


def percentile(histogram: Histogram | Summary, of: float) -> int | None:
    """In ns; None where there are too few samples, or they are refused (`telling`).

    A bucket may end above the largest of them.
    """
    if _refused.get() or not enough(histogram, of):
        return None
    return min(histogram.percentile(of), histogram.max)


def largest(histograms: Iterable[Histogram | Summary]) -> int:
    """In ns; 0 without any."""
    return max((one.max for one in histograms if one.count), default=0)


# ---- the report


def lines(result: Result, outcomes: Sequence[Outcome], style: Style) -> list[str]:
    """The whole report, without line ends."""
    with telling(result):
        parts = _parts(result, outcomes, style)
    out: list[str] = []
    for part in filter(None, parts):
        out += ["", *part] if out else part
    return out if style.blocks else [line.replace("µ", "u") for line in out]


def _parts(result: Result, outcomes: Sequence[Outcome], style: Style) -> list[list[str]]:
    return [
        verdict(result, style),
        _about(result, style),
        _summary(result, style),
        _latency(result, style),
        _phases(result, style),
        _steps(result, style),
        _statuses(result, style),
        _errors(result, style),
        _workers(result, style),
        checks(outcomes, style),
    ]


def headline(result: Result) -> tuple[str, str]:
    """The verdict in a word, and the figures that matter most, or what they are worth."""
    if not result.valid:
        lost = all(one.kind == "worker" for one in result.reasons)
        limit = "a part of the load is missing:" if lost else LIMIT
        return "INVALID", limit
    if not result.counts.completed:
        return "NO ANSWER", f"to any of {count(result.counts.scheduled)} requests"
    return "VALID", ", ".join(key_facts(result))


def key_facts(result: Result) -> list[str]:
    """The figures that matter most, in a few words each."""
    facts = [f"{rate(result.rate)} answers/s"]
    p99 = percentile(result.response, 99)
    if result.hides(99):
        unanswered = result.unanswered / result.counts.scheduled
        facts.append(f"{percent(unanswered)} without an answer")
    elif p99 is not None:
        facts.append(f"p99 {duration(p99 / 1e9)}")
    facts.append(f"{percent(result.error_rate)} errors")
    if result.interrupted:
        facts.append(f"interrupted after {seconds(result.duration)}")
    return facts


def notes(result: Result) -> list[str]:
    """What should be known, though it is no reason against the run."""
    found = [f"{one.text}: {one.advice}" for one in result.warnings]
    asked = f"h{version(result.options)}"
    if result.protocol not in ("", asked) and asked != "h1.1":
        found.insert(0, f"{asked} was asked for, {result.protocol} was talked")
    return found


def verdict(result: Result, style: Style) -> list[str]:
    """Whether the figures are the server's, and the three that matter most."""
    word, text = headline(result)
    out = _told(word, text, "" if word == "VALID" else RED, style)
    for one in result.reasons:
        out += _reason(one, style)
    if result.reasons:
        out += wrapped(DOUBTFUL, style)
    for note in notes(result):
        out += wrapped(f"NOTE  {note}", style)
    return out


def _told(word: str, text: str, colour: str, style: Style) -> list[str]:
    first, *rest = wrapped(f"{word}  {text}", style)
    return [paint(word, colour + BOLD, style) + first[len(word) :], *rest]


def _reason(one: Verdict, style: Style) -> list[str]:
    mark, arrow = ("·", "→") if style.blocks else ("-", "->")
    first = wrapped(one.text, style, f"  {mark} ", "    ")
    return [
        paint(line, YELLOW, style)
        for line in [*first, *wrapped(one.advice, style, f"    {arrow} ", "       ")]
    ]


def wrapped(text: str, style: Style, first: str = "", rest: str = "  ") -> list[str]:
    """In lines that fit the terminal."""
    import textwrap

    width = max(style.width, 20)
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def version(options: Options) -> str:
    """``1.1``, ``2``, ``3``: the HTTP version that was asked for."""
    return (options.http_version or "1.1").partition("-")[0]


def model(options: Options) -> str:
    """How requests come to be due, in a few words."""
    if options.stages:
        to = ", ".join(f"{rate(at)}/s in {seconds(time)}" for time, at in options.stages)
        asked = f"open model, from {rate(options.rate or 0)}/s to {to}"
    elif options.rate is not None:
        asked = f"open model, {rate(options.rate)}/s"
    else:
        asked = "closed model"
        return f"{asked}, {seconds(options.think)} think time" if options.think else asked
    return f"{asked}, Poisson" if options.arrivals == "poisson" else asked


def asked(options: Options, plan: str = "") -> str:
    """What is done: a request, or a plan, of which a result that was read has only the name."""
    if options.plan is not None:
        scenarios = ", ".join(one.name for one in options.plan.scenario)
        return f"plan {options.plan.name}: {scenarios}"
    return f"plan {plan}" if plan else f"{options.method} {redact(options.url)}"


def _about(result: Result, style: Style) -> list[str]:
    options = result.options
    facts = [result.protocol or f"HTTP/{version(options)}"]
    facts += [result.peer] if result.peer else []
    users = "users" if result.plan else "connections"
    facts.append(f"{count(options.connections)} {users}")
    facts += [f"{options.streams} streams each"] if options.streams > 1 else []
    facts += [f"{options.workers} workers"] if options.workers > 1 else []
    facts.append(model(options))
    facts.append(f"{seconds(result.duration)} measured")
    facts += [f"after {seconds(result.warmup)} of warm-up"] if result.warmup else []
    what = asked(options, result.plan)
    return [fitted(what, style.width, style).rstrip(), *joined(facts, style)]


def target(result: Result) -> float:
    """Requests that were due a second, on average; 0.0 in the closed model."""
    if not result.options.open_model or not result.duration:
        return 0.0
    lost = 0 if result.iterations else sum(one.missing or 0 for one in result.workers)
    return (result.counts.scheduled + lost) / result.duration


def summary_rows(result: Result) -> list[tuple[str, str, str]]:
    """What was counted: key, value, and what there is to say of it."""
    n, time = result.counts, result.duration
    asked = target(result)
    rows = [("rate", f"{rate(result.rate)} answers/s", "")]
    if asked:
        rows[0] = (*rows[0][:2], f"{rate(asked)} requests/s were due")
    rows.append(("requests", f"{count(n.completed)} answered", _not_answered(result)))
    wrong = [
        (n.failed, "failed"), (n.wrong_status, "with a wrong status"),
        (n.wrong_length, "with a wrong length"), (n.wrong_content, "with wrong content"),
    ]  # fmt: skip
    told = ", ".join(f"{count(number)} {what}" for number, what in wrong if number)
    rows.append(("errors", f"{percent(result.error_rate)}", told))
    rows.append(("late sends", percent(n.late / n.sent if n.sent else 0), _late(result)))
    for name, size in (("sent", n.bytes_sent), ("received", n.bytes_received)):
        rows.append((name, human_bytes(size), f"{human_bytes(size / time if time else 0)}/s"))
    made = [(n.closed, "closed by the server"), (n.connect_failed, "attempts failed"),
            (n.retried, "requests sent again")]  # fmt: skip
    told = ", ".join(f"{count(number)} {what}" for number, what in made if number)
    since = " since the warm-up" if result.warmup else ""
    rows.append(("connections", f"{count(n.opened)} opened{since}", told))
    rows.append(("generator CPU", *_cpu(result)))
    return rows


def _summary(result: Result, style: Style) -> list[str]:
    return [_row(*row, style) for row in summary_rows(result)]


def _row(key: str, value: str, more: str, style: Style) -> str:
    separator = "" if not more else " · " if style.blocks else ", "
    text = fitted(f"{value}{separator}{more}", max(style.width - _KEY, 10), style).rstrip()
    return f"{paint(f'{key:<{_KEY}}', DIM, style)}{text}"


def _not_answered(result: Result) -> str:
    n = result.counts
    parts = [(n.failed, "failed"), (n.unfinished, "cut off at the end"), (n.unsent, "never sent")]
    return ", ".join(f"{count(number)} {what}" for number, what in parts if number)


def _late(result: Result) -> str:
    n, lateness = result.counts, result.lateness
    told = f"{count(n.late)} by more than {seconds(result.options.late_after)}"
    if lateness.count:
        told += f"; by the generator {duration(lateness.max / 1e9)} at most"
    return told


def _cpu(result: Result) -> tuple[str, str]:
    busy = result.cpu / result.duration if result.duration else 0.0
    n = result.counts.completed
    each = f"{duration(result.cpu / n)} a request" if n else ""
    return f"{percent(busy)} of a core", each


def columns(width: int, room: int) -> tuple[float, ...]:
    """The percentiles that there is room for, beside ``room`` columns for other things."""
    kept = list(_PERCENTS)
    for one in (75.0, 90.0, 99.9):
        if room + _COLUMN * (len(kept) + 1) > width:
            kept.remove(one)
    return tuple(kept)


def table(
    title: str,
    rows: Sequence[tuple[str, Histogram, str]],
    last: str,
    style: Style,
) -> list[str]:
    """Percentiles and the maximum of each; ``rows`` are label, histogram, last column."""
    kept = columns(style.width, _LABEL + _SHARE + _COUNT)
    decimals = digits(largest(histogram for _, histogram, _ in rows))
    names = [f"p{one:g}" for one in kept]
    heads = "".join(f"{name:>{_COLUMN}}" for name in [*names, "max"])
    out = [paint(f"{title:<{_LABEL}}{heads}{'samples':>{_COUNT}}{last:>{_SHARE}}", DIM, style)]
    for label, histogram, more in rows:
        values = [percentile(histogram, one) for one in kept]
        values.append(histogram.max if histogram.count else None)
        cells = "".join(f"{milliseconds(one, decimals):>{_COLUMN}}" for one in values)
        row = f"{label:<{_LABEL}}{cells}{count(histogram.count):>{_COUNT}}{more:>{_SHARE}}"
        out.append(row.rstrip())
    out[0] = out[0].rstrip()
    return out


def _latency(result: Result, style: Style) -> list[str]:
    if not result.response.count:
        return []
    both = result.options.open_model
    rows = [("response", result.response, "")]
    rows += [("service", result.service, "")] if both else []
    out = table("latency, ms", rows, "", style)
    if result.percentiles_refused:
        out += wrapped(f"no percentiles: {result.percentiles_refused}", style)
    if both:
        notes = ["response: from when it was due (no coordinated omission)",
                 "service: from its first byte sent"]  # fmt: skip
    else:
        notes = ["closed model: when the server stalls, requests that would have come meanwhile",
                 "are missing from these; --rate tells how long people wait"]  # fmt: skip
    return [*out, *(paint(line, DIM, style) for note in notes for line in wrapped(note, style))]


def shares(phases: Mapping[str, Mapping[str, Histogram]]) -> dict[str, float]:
    """The share of each phase in the time of all requests, of 0 to 1, in the phases' order.

    They add up to 1 but for the time that the generator was late.
    """
    sums = {name: classes["all"].sum for name, classes in phases.items()}
    total = sums.pop("total", 0)
    return {name: sums[name] / total for name in PHASE_LABELS if name in sums and total}


def _phases(result: Result, style: Style) -> list[str]:
    found = shares(result.phases)
    rows = [
        (PHASE_LABELS[name], result.phases[name]["all"], percent_of_time(share))
        for name, share in found.items()
    ]
    if not rows:
        return []
    rows.append(("total", result.phases["total"]["all"], ""))
    return table("phase, ms", rows, "of time", style)


def _steps(result: Result, style: Style) -> list[str]:
    """Of a plan: each step's response times, and what did not hold of its answers."""
    if not result.steps:
        return []
    longest = max(len(name) for name in result.steps)
    width = min(max(longest, len("steps, ms"), _LABEL), max(_LABEL, style.width // 3))
    kept = [
        one for one in columns(style.width, width + _COUNT + _SHARE) if one in (50.0, 90.0, 99.0)
    ]
    decimals = digits(largest(step.response for step in result.steps.values()))
    heads = "".join(f"{name:>{_COLUMN}}" for name in [*(f"p{one:g}" for one in kept), "max"])
    title = fitted("steps, ms", width, style)
    out = [paint(f"{title}{heads}{'answers':>{_COUNT}}{'errors':>{_SHARE}}", DIM, style)]
    for name, step in result.steps.items():
        values = [percentile(step.response, one) for one in kept]
        values.append(step.response.max if step.response.count else None)
        cells = "".join(f"{milliseconds(one, decimals):>{_COLUMN}}" for one in values)
        wrong = count(step.counts.wrong) if step.counts.wrong else "-"
        label = fitted(name, width, style)
        out.append(f"{label}{cells}{count(step.counts.completed):>{_COUNT}}{wrong:>{_SHARE}}")
        for text, (held, broken) in step.checks.items():
            if broken:
                told = f"{percent(broken / (held + broken))} did not hold: {text}"
                out += [paint(line, YELLOW, style) for line in wrapped(told, style, "  ", "    ")]
    n = result.iterations
    if n is not None:
        parts = [
            (n.failed, "given up"),
            (n.unfinished, "cut off at the end"),
            (n.unsent, "never begun"),
        ]
        told = ", ".join(f"{count(number)} {what}" for number, what in parts if number)
        out.append(_row("iterations", f"{count(n.completed)} whole", told, style))
    return out


def percent_of_time(share: float) -> str:
    """``< 1 %``, ``85 %``."""
    return "0 %" if not share else f"{share:.0%}".replace("%", " %") if share >= 0.005 else "<1 %"


def _workers(result: Result, style: Style) -> list[str]:
    """Of a cluster: what each did, and how far its clock may be off."""
    if not result.workers:
        return []
    names = [f"{one.name} on {one.host}" for one in result.workers]
    room = max(style.width - 4 * _COLUMN - _COUNT, _LABEL)
    width = min(max(len("workers"), *map(len, names)) + 1, room)
    heads = "".join(f"{name:>{_COLUMN}}" for name in ("errors", "late", "CPU", "clock"))
    out = [paint(f"{'workers':<{width}}{'answers':>{_COUNT}}{heads}", DIM, style)]
    for name, one in zip(names, result.workers, strict=True):
        cells = (
            count(one.counts.wrong), percent(one.late), percent(one.busiest),
            f"±{duration(one.clock_error)}",
        )  # fmt: skip
        row = f"{fitted(name, width, style)}{count(one.counts.completed):>{_COUNT}}"
        row += "".join(f"{cell:>{_COLUMN}}" for cell in cells)
        out.append(row if style.blocks else row.replace("±", "+-"))
        if one.lost:
            told = f"lost: {one.lost}"
            out += [paint(line, YELLOW, style) for line in wrapped(told, style, "  ", "    ")]
    return out


def _statuses(result: Result, style: Style) -> list[str]:
    over = result.counts.completed
    out = [paint("status", DIM, style)]
    known = sorted(result.statuses.items())
    for code, number in known[:_MOST_STATUSES]:
        out.append(f"  {code:<{_LABEL - 2}}{count(number):>{_COUNT}}{percent(number / over):>12}")
    if len(known) > _MOST_STATUSES:
        out.append(f"  and {len(known) - _MOST_STATUSES} more")
    return out if known else []


def error_kinds(result: Result) -> list[tuple[int, str, str]]:
    """Count, kind, and the text of one, for all that went wrong; the most frequent first."""
    counts, options = result.counts, result.options
    found = [(one.count, one.name, one.cause.text) for one in result.errors]
    if counts.wrong_status:
        wanted = "below 400"
        if options.expect_status:
            wanted = ", ".join(map(str, options.expect_status[:3]))
            wanted += " ..." if len(options.expect_status) > 3 else ""
        found.append((counts.wrong_status, "wrong status", f"it should be {wanted}"))
    if counts.wrong_length:
        found.append(
            (counts.wrong_length, "wrong length", f"it should be {options.expect_length} bytes")
        )
    if counts.wrong_content:
        found.append((counts.wrong_content, "wrong content", "an expectation of the plan's"))
    told = [(number, kind, shown(text)) for number, kind, text in found]
    return sorted(told, key=lambda kind: -kind[0])


def shown(text: str) -> str:
    """In one line, whatever is in it."""
    return text if text.isprintable() else repr(text)


def _errors(result: Result, style: Style) -> list[str]:
    kinds = error_kinds(result)
    out = [paint("errors", DIM, style)]
    for number, kind, text in kinds[:_MOST_ERRORS]:
        line = f"{kind}: {text}" if text else kind
        out += wrapped(line, style, f"{count(number):>11}  ", " " * 13)
    if len(kinds) > _MOST_ERRORS:
        out.append(f"  and {len(kinds) - _MOST_ERRORS} other kinds")
    return out if kinds else []


def checks(outcomes: Sequence[Outcome], style: Style) -> list[str]:
    """Which held and which did not."""
    if not outcomes:
        return []
    width = max(len("check"), *(len(one.check.text) for one in outcomes))
    out = [paint(f"{'':6}{'check':<{width}}  got", DIM, style)]
    for one in outcomes:
        word = "ok" if one.ok else "FAIL"
        mark = paint(f"{word:<6}", "" if one.ok else RED + BOLD, style)
        out.append(f"{mark}{one.check.text:<{width}}  {found(one)}")
    return out


def found(outcome: Outcome) -> str:
    """What a check found, or why it found nothing."""
    return outcome.note if outcome.got is None else got(outcome.got, outcome.check.unit)


def got(value: float, unit: str) -> str:
    """What a check found, in the unit of its limit."""
    if unit == "s":
        return duration(value)
    return percent(value) if unit == "%" else rate(value)
