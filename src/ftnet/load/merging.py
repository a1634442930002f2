"""Several results as one: of generators that ran at once, or of runs one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from math import floor
from typing import Any

from ftcore.histogram import Histogram
from ftnet.errors import Errno
from ftnet.load.options import Options
from ftnet.load.report import merged
from ftnet.load.result import (
    CLASSES,
    PHASES,
    Counts,
    Failure,
    Interval,
    Result,
    Step,
    Summary,
    Verdict,
    Worker,
)

__all__ = ["differences", "merge"]


def merge(results: Sequence[Result], names: Sequence[str] = (), *, force: bool = False) -> Result:
    """One result from several of runs with the same options, at once or one after the other.

    Counters and histograms are added, which is exact. `started` is that of the first,
    `duration` is the time in which at least one was measured, so that `rate` is what the server
    answered a second meanwhile; `options` are those of each run. Intervals are put together by
    the clock: those with their middles in the same second since the beginning of the first run.
    Where there are several in one, its percentiles are the greatest of theirs: what all of them
    had was less, or the same. It is not valid when one of them is not; `names` (of files) tell in
    its verdicts which.

    ValueError: nothing to merge, options that differ (``force`` merges nevertheless, and keeps
    those of the first), or the same run twice.
    """
    names = names or [f"run {number}" for number in range(1, len(results) + 1)]
    if len(names) != len(results) or not results:
        raise ValueError("merge: takes results, and a name for each or none")
    _check_different(results, names)
    if not force:
        _check_options(results, names)
    began = min(one.started - one.warmup for one in results)
    started = min(one.started for one in results)
    return Result(
        options=results[0].options,
        started=started,
        warmup=started - began if len(results) > 1 else results[0].warmup,
        duration=_covered(results),
        interrupted=any(one.interrupted for one in results),
        counts=_counts(one.counts for one in results),
        errors=_failures(one.errors for one in results),
        statuses=_numbers(one.statuses for one in results),
        service=merged(one.service for one in results),
        response=merged(one.response for one in results),
        phases=_phases([one.phases for one in results]),
        lateness=merged(one.lateness for one in results),
        cpu=sum(one.cpu for one in results),
        cpu_workers=tuple(cpu for one in results for cpu in one.cpu_workers),
        intervals=_intervals(results, began),
        reasons=_verdicts((one.reasons for one in results), names),
        warnings=_verdicts((one.warnings for one in results), names),
        peer=", ".join(dict.fromkeys(one.peer for one in results if one.peer)),
        protocol=next((one.protocol for one in reversed(results) if one.protocol), ""),
        plan=results[0].plan,
        iterations=_iterations(results),
        steps=_steps(results),
        workers=tuple(worker for one in results for worker in _workers(one, began)),
    )


def differences(base: Options, other: Options) -> dict[str, tuple[Any, Any]]:
    """Options that are not the same in both, by name, as they are in JSON."""
    ours, theirs = base.to_dict(), other.to_dict()
    return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}


def _check_options(results: Sequence[Result], names: Sequence[str]) -> None:
    for name, one in zip(names, results, strict=True):
        for option, (ours, theirs) in differences(results[0].options, one.options).items():
            raise ValueError(
                f"the options differ: {option} is {ours!r} in {names[0]}, {theirs!r} in {name}"
            )
        if one.steps.keys() != results[0].steps.keys():
            raise ValueError(f"the plans of {names[0]} and {name} have other steps")


def _check_different(results: Sequence[Result], names: Sequence[str]) -> None:
    """A run that is added twice would be counted twice."""
    seen: list[tuple[Any, ...]] = []
    for number, one in enumerate(results):
        what = one.started, one.duration, one.counts, one.cpu_workers
        if what in seen:
            raise ValueError(f"{names[seen.index(what)]} and {names[number]} are of the same run")
        seen.append(what)


def _covered(results: Sequence[Result]) -> float:
    """Seconds in which at least one was measured."""
    spans = sorted((one.started, one.started + one.duration) for one in results)
    if len(spans) == 1:
        return results[0].duration
    seconds, until = 0.0, spans[0][0]
    for began, ended in spans:
        seconds += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return seconds


# ---- sums


def _counts(parts: Iterable[Counts]) -> Counts:
    every = list(parts)
    names = [one.name for one in fields(Counts)]
    return Counts(**{name: sum(getattr(part, name) for part in every) for name in names})


def _iterations(results: Sequence[Result]) -> Counts | None:
    found = [one.iterations for one in results if one.iterations is not None]
    return _counts(found) if found else None


def _numbers(parts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    out: dict[int, int] = {}
    for part in parts:
        for key, number in part.items():
            out[key] = out.get(key, 0) + number
    return dict(sorted(out.items()))


def _failures(parts: Iterable[Sequence[Failure]]) -> tuple[Failure, ...]:
    by_kind: dict[tuple[Errno, str], Failure] = {}
    for part in parts:
        for one in part:
            before = by_kind.get((one.errno, one.cause.name), replace(one, count=0))
            by_kind[one.errno, one.cause.name] = replace(before, count=before.count + one.count)
    return tuple(sorted(by_kind.values(), key=lambda one: -one.count))


def _phases(
    parts: Sequence[Mapping[str, Mapping[str, Histogram]]],
) -> dict[str, dict[str, Histogram]]:
    out = {}
    for phase in PHASES:
        of = [part[phase] for part in parts if phase in part]
        names = [name for name in ("all", *CLASSES) if any(name in one for one in of)]
        if of:
            out[phase] = {name: merged(one[name] for one in of if name in one) for name in names}
    return out


def _steps(results: Sequence[Result]) -> dict[str, Step]:
    names = dict.fromkeys(name for one in results for name in one.steps)
    return {
        name: _step([one.steps[name] for one in results if name in one.steps]) for name in names
    }


def _step(parts: Sequence[Step]) -> Step:
    checks: dict[str, tuple[int, int]] = {}
    for part in parts:
        for text, (held, broken) in part.checks.items():
            before = checks.get(text, (0, 0))
            checks[text] = before[0] + held, before[1] + broken
    return Step(
        kind=parts[0].kind,
        counts=_counts(part.counts for part in parts),
        errors=_failures(part.errors for part in parts),
        statuses=_numbers(part.statuses for part in parts),
        service=merged(part.service for part in parts),
        response=merged(part.response for part in parts),
        phases=_phases([part.phases for part in parts]),
        checks=checks,
    )


def _workers(result: Result, began: float) -> Iterator[Worker]:
    """Their times counted from `began`."""
    shift = result.started - result.warmup - began
    for one in result.workers:
        yield one if one.lost_at is None else replace(one, lost_at=one.lost_at + shift)


def _verdicts(parts: Iterable[Sequence[Verdict]], names: Sequence[str]) -> tuple[Verdict, ...]:
    return tuple(
        replace(one, text=f"{name}: {one.text}")
        for name, part in zip(names, parts, strict=True)
        for one in part
    )


# ---- intervals


def _intervals(results: Sequence[Result], began: float) -> tuple[Interval, ...]:
    """By their second since `began`; warm-up and what is measured stay apart."""
    if len(results) == 1:
        return results[0].intervals
    seconds: dict[tuple[int, bool], list[list[Interval]]] = {}
    for result in results:
        shift = result.started - result.warmup - began
        own: dict[tuple[int, bool], list[Interval]] = {}
        for one in result.intervals:
            key = floor(shift + one.at - one.seconds / 2), one.measured
            own.setdefault(key, []).append(replace(one, at=one.at + shift))
        for key, parts in own.items():
            seconds.setdefault(key, []).append(parts)
    return tuple(_interval(seconds[key]) for key in sorted(seconds))


def _interval(runs: Sequence[Sequence[Interval]]) -> Interval:
    """From what each of some runs has of it, which is mostly one interval."""
    every = [one for run in runs for one in run]
    lasts = [run[-1] for run in runs]
    return Interval(
        at=max(one.at for one in every),
        seconds=max(sum(one.seconds for one in run) for run in runs),
        measured=every[0].measured,
        counts=_counts(one.counts for one in every),
        in_flight=sum(one.in_flight for one in lasts),
        waiting=sum(one.waiting for one in lasts),
        connections=sum(one.connections for one in lasts),
        target=sum(one.target for one in lasts),
        cpu=sum(one.cpu for one in every),
        response=_summary([one.response for one in every]),
        service=_summary([one.service for one in every]),
    )


def _summary(parts: Sequence[Summary]) -> Summary:
    some = [one for one in parts if one.count]
    if len(some) < 2:
        return some[0] if some else Summary()
    count = sum(one.count for one in some)
    return Summary(
        count,
        min(one.min for one in some),
        max(one.max for one in some),
        sum(one.mean * one.count for one in some) / count,
        tuple(max(values) for values in zip(*(one.percentiles for one in some), strict=True)),
    )
