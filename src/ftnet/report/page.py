"""What the page of a report says: a `Result` goes in, texts and plots for the template come out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from ftnet import cli_load_report as text
from ftnet.cli_load_report import count, duration, milliseconds, percent, percentile, rate, seconds
from ftnet.errors import redact
from ftnet.load.report import share_up_to
from ftnet.report.plots import Course, percentile_curve

if TYPE_CHECKING:
    from ftcore.histogram import Histogram
    from ftnet.load.checks import Outcome
    from ftnet.load.result import Counts, Failure, Result, Step, Worker

__all__ = ["content"]

_PERCENTS: Final = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)
_OF_STEPS: Final = (50.0, 90.0, 99.0, 99.9)
_MOST: Final = 200  # rows of statuses, and of errors
#: Rows of the summary that the tiles do not have already.
_BESIDE_TILES: Final = (
    "requests", "errors", "late sends", "sent", "received", "connections", "generator CPU"
)  # fmt: skip
_FULL_CORE: Final = 0.95  # what a worker may use of one without being the limit


def content(
    result: Result, outcomes: Sequence[Outcome], versions: Mapping[str, str]
) -> dict[str, Any]:
    """The template's variables."""
    with text.telling(result):
        return _content(result, outcomes, versions)


def _content(
    result: Result, outcomes: Sequence[Outcome], versions: Mapping[str, str]
) -> dict[str, Any]:
    course = Course(result)
    over_time = [course.latency(), course.rate(), course.errors()] if course else []
    return {
        "title": _title(result),
        "word": text.headline(result)[0],
        "says": _says(result),
        "reasons": result.reasons,
        "doubtful": text.DOUBTFUL,
        "notes": text.notes(result),
        "checks": [_check(one) for one in outcomes],
        "broken": sum(not one.ok for one in outcomes),
        "about": _about(result, versions),
        "tiles": _tiles(result),
        "summary": [row for row in text.summary_rows(result) if row[0] in _BESIDE_TILES],
        "refused": result.percentiles_refused,
        "curve": percentile_curve(result, outcomes),
        "latency": times({"response": result.response, "service": result.service}, _PERCENTS),
        "open_model": result.options.open_model,
        "plan": result.plan,
        "over_time": [one for one in over_time if one],
        "phases": _phases(result.phases),
        "statuses": _statuses(result.statuses, result.counts.completed),
        "errors": _errors(result),
        "steps": _steps(result.steps),
        "iterations": _iterations(result),
        "workers": [_worker(one) for one in result.workers],
        "health": _health(result, course),
    }


# ---- what was run, and what came of it


def _title(result: Result) -> str:
    return result.plan or f"{result.options.method} {redact(result.options.url)}"


def _says(result: Result) -> str:
    if not result.valid:
        told = text.headline(result)[1]
        return f"{told[0].upper()}{told[1:].rstrip(':')}."
    return re.sub(r"(?<=\d) (?=\D)", "\N{NO-BREAK SPACE}", text.headline(result)[1])


def _check(one: Outcome) -> dict[str, Any]:
    got = one.note if one.got is None else text.got(one.got, one.check.unit)
    return {"ok": one.ok, "text": one.check.text, "got": got}


def _about(result: Result, versions: Mapping[str, str]) -> list[tuple[str, str]]:
    """Name and value; of request headers the names alone, since reports are passed on."""
    options = result.options
    if result.plan:
        rows = [("plan", result.plan), ("target", redact(options.url) or "-")]
    else:
        rows = [("request", _title(result))]
    rows += [("headers", ", ".join(options.header))] if options.header else []
    rows.append(("load", text.model(options)))
    connections = count(options.connections)
    if options.streams > 1:
        connections += f", {count(options.streams)} streams each"
    if options.workers > 1:
        connections += f", {options.workers} workers"
    rows.append(("users" if result.plan else "connections", connections))
    rows.append(("peer", " over ".join(filter(None, (result.peer, result.protocol))) or "-"))
    lasted = f"{seconds(result.duration)} measured"
    rows.append(
        ("duration", lasted + (f" after {seconds(result.warmup)} of warm-up" * bool(result.warmup)))
    )
    began = datetime.fromtimestamp(result.started, UTC)
    rows.append(("began", f"{began:%Y-%m-%d %H:%M:%S} UTC"))
    rows += (
        [("made with", ", ".join(f"{name} {of}" for name, of in versions.items()))]
        if versions
        else []
    )
    return rows


def _tiles(result: Result) -> list[tuple[str, str, str]]:
    """Name, number and what is to be said of it."""
    n, response = result.counts, result.response
    asked = 0.0 if result.plan else text.target(result)
    tiles = [("answers a second", rate(result.rate), f"{rate(asked)} due" if asked else "")]
    for of in (50.0, 99.0, 99.9):
        tiles.append((f"p{of:g}", _time(percentile(response, of)), "response time"))
    tiles.append(("max", _time(response.max if response.count else None), "response time"))
    tiles.append(("errors", percent(result.error_rate), f"{count(result.wrong)} requests"))
    late = percent(n.late / n.sent) if n.sent else "-"
    tiles.append(("sent late", late, f"{count(n.late)} requests"))
    return tiles


def _time(ns: int | None) -> str:
    return "-" if ns is None else duration(ns / 1e9)


# ---- tables


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers by row and column, as texts; a row has a name, a class of the style sheet, cells."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]


def times(histograms: Mapping[str, Histogram], percents: Sequence[float]) -> Table | None:
    """Milliseconds of each that has some; a row's class is its name."""
    some = {name: one for name, one in histograms.items() if one.count}
    if not some:
        return None
    decimals = text.digits(text.largest(some.values()))
    heads = ("mean", *(f"p{of:g}" for of in percents), "max", "samples")
    return Table(
        heads, tuple((name, name, _cells(one, percents, decimals)) for name, one in some.items())
    )


def _cells(histogram: Histogram, percents: Iterable[float], decimals: int) -> tuple[str, ...]:
    values = [histogram.mean, *(percentile(histogram, of) for of in percents), histogram.max]
    return (*(milliseconds(one, decimals) for one in values), count(histogram.count))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar: where it begins and how long it is, in percent."""

    name: str
    style: str
    start: float
    size: float
    label: str


@dataclass(frozen=True, slots=True)
class Phases:
    """Where the time went: on average, and in each phase at its slowest."""

    parts: tuple[Part, ...]  #: of all time, in the order in which phases come
    table: Table
    shares: Mapping[str, str]  #: of all time, by phase
    p99: Mapping[str, float]  #: percent of the longest p99, by phase that has samples for one


def _phases(phases: Mapping[str, Mapping[str, Histogram]]) -> Phases | None:
    whole = {name: classes["all"] for name, classes in phases.items()}
    table = times(whole, _OF_STEPS)
    if table is None:
        return None
    shares = text.shares(phases)
    slow = {name: percentile(one, 99.0) for name, one in whole.items()}
    longest = max((one for one in slow.values() if one), default=1)
    names = text.PHASE_LABELS
    return Phases(
        parts=_parts(shares, 1.0),
        table=Table(
            table.heads, tuple((names[name], name, cells) for name, _, cells in table.rows)
        ),
        shares={name: text.percent_of_time(share) for name, share in shares.items()},
        p99={name: 100 * one / longest for name, one in slow.items() if one},
    )


def _parts(shares: Mapping[str, float], of: float) -> tuple[Part, ...]:
    """Side by side, all of them ``of`` the bar's length."""
    start, parts = 0.0, []
    for name, share in shares.items():
        size = 100 * share * of
        label = text.percent_of_time(share)
        parts.append(Part(text.PHASE_LABELS[name], name, round(start, 3), round(size, 3), label))
        start += size
    return tuple(parts)


def _statuses(statuses: Mapping[int, int], over: int) -> list[dict[str, Any]]:
    return [
        {"code": code, "style": f"s{code // 100}", "count": count(number),
         "share": percent(number / over), "size": round(100 * number / over, 3)}
        for code, number in sorted(statuses.items())[:_MOST]
    ]  # fmt: skip


def _errors(result: Result) -> list[dict[str, str]]:
    """All that went wrong, by kind, the most frequent first, with the text of one."""
    over = result.counts.completed + result.counts.failed
    known = {one.name: one for one in result.errors}
    return [
        {"count": count(number), "share": percent(number / over), "kind": kind,
         "errno": _errno(known.get(kind)), "text": told}
        for number, kind, told in text.error_kinds(result)[:_MOST]
    ]  # fmt: skip


def _errno(failure: Failure | None) -> str:
    return str(int(failure.errno)) if failure else ""


# ---- plans


def _steps(steps: Mapping[str, Step]) -> list[dict[str, Any]]:
    decimals = text.digits(text.largest(step.response for step in steps.values()))
    longest = max((step.response.mean for step in steps.values() if step.response.count), default=1)
    return [_step(name, step, decimals, longest) for name, step in steps.items()]


def _step(name: str, step: Step, decimals: int, longest: float) -> dict[str, Any]:
    n, response = step.counts, step.response
    held = sum(good for good, _ in step.checks.values())
    broken = sum(bad for _, bad in step.checks.values())
    mean = response.mean if response.count else 0.0
    values = [mean or None, *(percentile(response, of) for of in (50.0, 99.0))]
    values.append(response.max if response.count else None)
    return {
        "name": name,
        "kind": step.kind,
        "cells": [
            count(n.scheduled), count(n.wrong), *(milliseconds(one, decimals) for one in values),
            count(held) if step.checks else "", count(broken) if step.checks else "",
        ],
        "wrong": bool(n.wrong),
        "broken": bool(broken),
        "parts": _parts(text.shares(step.phases), mean / longest),
        "phases": _phases(step.phases),
        "fates": _fates(n, "begun"),
        "statuses": _statuses(step.statuses, n.completed),
        "checks": [
            {"text": told, "held": count(good), "broken": count(bad), "ok": not bad}
            for told, (good, bad) in step.checks.items()
        ],
        "errors": [
            {"count": count(one.count), "kind": one.name, "text": text.shown(one.cause.text)}
            for one in step.errors[:_MOST]
        ],
    }  # fmt: skip


def _iterations(result: Result) -> list[tuple[str, str]] | None:
    if result.iterations is None:
        return None
    return _fates(result.iterations, "due" if result.options.open_model else "begun")


def _fates(n: Counts, all_of_them: str) -> list[tuple[str, str]]:
    """What became of them: name and number."""
    rows = [(all_of_them, n.scheduled), ("completed", n.completed), ("failed", n.failed),
            ("wrong status", n.wrong_status), ("wrong length", n.wrong_length),
            ("wrong content", n.wrong_content),
            ("cut off at the end", n.unfinished), ("never begun", n.unsent)]  # fmt: skip
    return [(name, count(number)) for name, number in rows if number or name == "completed"]


# ---- the generator


def _worker(one: Worker) -> dict[str, Any]:
    """Of a cluster."""
    cells = (count(one.counts.completed), count(one.counts.wrong), percent(one.late),
             percent(one.busiest), f"±{duration(one.clock_error)}")  # fmt: skip
    return {"name": f"{one.name} on {one.host}", "cells": cells, "lost": one.lost}


def _health(result: Result, course: Course) -> dict[str, Any]:
    busy = [one / result.duration if result.duration else 0.0 for one in result.cpu_workers]
    return {
        "workers": [
            {"name": f"worker {number}", "used": percent(used),
             "size": round(100 * min(used, 1), 2), "full": used > _FULL_CORE}
            for number, used in enumerate(busy)
        ],
        "limit": 100 * _FULL_CORE,
        "lateness": times({"lateness": result.lateness}, _OF_STEPS),
        "bins": _bins(result.lateness, result.options.late_after),
        "late_after": seconds(result.options.late_after),
        "plots": [course.queues(), course.cpu()] if course else [],
    }  # fmt: skip


def _bins(histogram: Histogram, late_after: float) -> list[dict[str, Any]]:
    """How many values there are up to each power of ten, from 10 µs on, in ns."""
    if not histogram.count:
        return []
    last = max(5, math.ceil(math.log10(max(histogram.max, 1))))
    edges = [10**power for power in range(4, last + 1)]
    up_to = [0, *(round(share_up_to(histogram, edge) * histogram.count) for edge in edges)]
    numbers = [more - less for less, more in pairwise(up_to)]
    return [
        {"name": f"up to {duration(edge / 1e9)}", "count": count(number),
         "share": percent(number / histogram.count),
         "size": round(100 * number / histogram.count, 3), "late": edge > late_after * 1e9}
        for edge, number in zip(edges, numbers, strict=True)
    ]  # fmt: skip
