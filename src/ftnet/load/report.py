"""From what the engine has counted to intervals, results and verdicts."""

from __future__ import annotations

import errno as os_errors
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ftcore.histogram import Histogram
from ftcore.tally import Tally
from ftnet.errors import Cause, Errno, from_engine
from ftnet.load.books import Books
from ftnet.load.options import Options
from ftnet.load.result import (
    CLASSES,
    PHASES,
    SATURATED_CPU,
    Counts,
    Failure,
    Interval,
    Result,
    Step,
    Summary,
    Verdict,
    Worker,
)

_BUSY: Final = 0.95  # of a core: more, and requests wait for the generator
_LATE: Final = 0.01  # of the requests: more, and the load was not the one asked for
_OUT_OF: Final = {
    os_errors.EMFILE: ("descriptors", "raise the limit of open files (ulimit -n)"),
    os_errors.ENFILE: ("descriptors", "raise the system's limit of open files (fs.file-max)"),
    os_errors.EADDRNOTAVAIL: (
        "ports",
        "use fewer connections, keep them alive, or widen net.ipv4.ip_local_port_range",
    ),
    os_errors.ENOBUFS: ("memory", "use fewer connections, or give the system more memory"),
    os_errors.ENOMEM: ("memory", "use fewer connections, or give the system more memory"),
}


def counts_of(tally: Tally) -> Counts:
    """The counters by name."""
    counts = tally.counts()
    return Counts(**{name: counts[name] for name in Counts.__dataclass_fields__})


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All values of several, exactly."""
    whole = Histogram()
    for one in histograms:
        whole.merge(one)
    return whole


def responses(tally: Tally, span: str) -> Histogram:
    """One span of all requests that got a response."""
    by_class = tally.histograms(span)
    by_class.pop("failed", None)
    return merged(by_class.values())


def interval_of(tally: Tally, start_ns: int) -> Interval:
    """One interval from what its workers have counted, summed up."""
    return Interval(
        at=(tally.ended_at - start_ns) / 1e9,
        seconds=(tally.ended_at - tally.began_at) / 1e9,
        measured=tally.measured,
        counts=counts_of(tally),
        in_flight=tally.in_flight,
        waiting=tally.waiting,
        connections=tally.connections,
        target=tally.target,
        cpu=tally.cpu / 1e9,
        response=Summary.of(responses(tally, "total")),
        service=Summary.of(responses(tally, "service")),
    )


def failures_of(tally: Tally) -> tuple[Failure, ...]:
    """What went wrong, by kind, the most frequent first."""
    by_kind: dict[tuple[Errno, str], Failure] = {}
    for outcome, os_errno, detail, count in tally.failures():
        error = from_engine("load", outcome, os_errno, detail)
        assert error.cause is not None
        name = error.cause.name
        if os_errno:
            name = os_errors.errorcode.get(os_errno, name)
        cause = Cause(error.cause.code, name, error.errMsg.partition(":fail ")[2], os_errno)
        before = by_kind.get((error.errno, name))
        count += before.count if before else 0
        by_kind[error.errno, name] = Failure(error.errno, before.cause if before else cause, count)
    return tuple(sorted(by_kind.values(), key=lambda one: -one.count))


def phases_of(tally: Tally) -> dict[str, dict[str, Histogram]]:
    """Histograms by phase and status class, "all" first, of what there was."""
    out = {}
    for phase in PHASES:
        by_class = tally.histograms(phase)
        if by_class:
            out[phase] = {"all": merged(by_class.values())}
            out[phase].update({name: by_class[name] for name in CLASSES if name in by_class})
    return out


@dataclass(frozen=True, slots=True)
class Course:
    """How a run went, beside what it counted."""

    started: float  #: of the measured part, s since the epoch
    warmup: float  #: s
    duration: float  #: s of the measured part so far
    interrupted: bool
    cpu_workers: tuple[float, ...]
    peer: str
    protocol: str
    workers: tuple[Worker, ...] = ()


def steps_of(options: Options, books: Books) -> dict[str, Step]:
    """What a plan's run has found of each step, in the plan's order."""
    if options.plan is None:
        return {}
    from ftnet.plan.model import kind_of

    out = {}
    kinds = {name: kind_of(step) for name, step in options.plan.named()}
    for name in dict.fromkeys([*kinds, *books.steps]):  # those that functions made up come last
        tally = books.steps.get(name)
        if tally is None:
            tally = Tally()
        out[name] = Step(
            kind=kinds.get(name, "step"),
            counts=counts_of(tally),
            errors=failures_of(tally),
            statuses=tally.statuses(),
            service=responses(tally, "service"),
            response=responses(tally, "total"),
            phases=phases_of(tally),
            checks={
                text: (held, broken) for text, (held, broken) in books.checks.get(name, {}).items()
            },
        )
    return out


def result_of(
    options: Options, books: Books, intervals: Sequence[Interval], course: Course
) -> Result:
    """What there is to say of the measured part, so far or in the end."""
    tally = books.total
    result = Result(
        options=options,
        started=course.started,
        warmup=course.warmup,
        duration=course.duration,
        interrupted=course.interrupted,
        counts=counts_of(tally),
        errors=failures_of(tally),
        statuses=tally.statuses(),
        service=responses(tally, "service"),
        response=responses(tally, "total"),
        phases=phases_of(tally),
        lateness=tally.lateness or Histogram(),
        cpu=sum(course.cpu_workers),
        cpu_workers=course.cpu_workers,
        intervals=tuple(intervals),
        peer=course.peer,
        protocol=course.protocol,
        plan="" if options.plan is None else options.plan.name,
        iterations=None if books.iterations is None else counts_of(books.iterations),
        steps=steps_of(options, books),
        workers=course.workers,
    )
    return replace(
        result,
        reasons=tuple(_reasons(result, tally.counts()["unrecorded"])),
        warnings=tuple(_warnings(result)),
    )


# --- verdicts ---------------------------------------------------------------------------------


def _reasons(result: Result, unrecorded: int) -> Iterator[Verdict]:
    """Why the figures are the generator's, not the server's."""
    yield from _lost(result)
    yield from _saturated(result) if result.workers else _busy(result)
    yield from _late(result)
    yield from _ran_out(result)
    yield from _out_of_range(result)
    if unrecorded:
        yield Verdict(
            "memory",
            f"{unrecorded} times could not be recorded: memory is out",
            "give the generator more memory",
        )


def _busy(result: Result) -> Iterator[Verdict]:
    if result.duration < 0.1:  # CPU clocks are too coarse
        return
    for number, seconds in enumerate(result.cpu_workers):
        used = seconds / result.duration
        if used > _BUSY:
            yield Verdict(
                "cpu",
                f"worker {number} used {used:.0%} of a core: answers waited for the generator",
                f"lower the rate or the connections, or use {_more(result.options)} on other cores",
            )


def _saturated(result: Result) -> Iterator[Verdict]:
    for worker in result.workers:
        if worker.saturated:
            yield Verdict(
                "cpu" if worker.busiest > SATURATED_CPU else "late",
                f"worker {worker.name} on {worker.host} {worker.saturated}: percentiles of all"
                " would tell of it, and are refused",
                "lower the rate, use more workers, or keep other work off that machine",
            )


def _lost(result: Result) -> Iterator[Verdict]:
    counts = result.counts if result.iterations is None else result.iterations
    what = "requests" if result.iterations is None else "iterations"
    for worker in result.workers:
        if not worker.lost:
            continue
        when = "before it told anything"
        if worker.lost_at is not None:
            when = f"{worker.lost_at:.1f} s after the start"
        text = f"worker {worker.name} on {worker.host} was lost {when}: {worker.lost}"
        if worker.missing is not None:
            due = counts.scheduled + sum(one.missing or 0 for one in result.workers)
            share = worker.missing / due if due else 0.0
            text += f"; {worker.missing:,} {what} that it was due are missing ({share:.1%} of all)"
        yield Verdict("worker", text, "what it told until then is counted; run it again")


def _late(result: Result) -> Iterator[Verdict]:
    late_ns = round(result.options.late_after * 1e9)
    lateness = result.lateness
    if not lateness.count:
        return
    share = 1 - share_up_to(lateness, late_ns)
    if share > _LATE:
        yield Verdict(
            "late",
            f"{share:.1%} of the requests were sent more than"
            f" {result.options.late_after * 1e3:g} ms later than they could have been",
            f"lower the rate, use {_more(result.options)}, or keep other work off this machine",
        )


def _more(options: Options) -> str:
    """What spreads the work: a plan's is in one thread."""
    return "more workers" if options.plan is None else "more processes (--local-workers)"


def share_up_to(histogram: Histogram, ns: int) -> float:
    """Share of the values that are in slots up to that of `ns`, of 0 to 1; there are values."""
    return 1 - _above(histogram, ns) / histogram.count


def _above(histogram: Histogram, ns: int) -> int:
    """How many values are in slots above that of `ns`."""
    return sum(histogram.counts[bisect_left(histogram.values, ns) + 1 :])


def _ran_out(result: Result) -> Iterator[Verdict]:
    for failure in result.errors:
        if failure.cause.os_errno in _OUT_OF:
            kind, advice = _OUT_OF[failure.cause.os_errno]
            yield Verdict(kind, f"{failure.count} requests: {failure.cause.text}", advice)


def _out_of_range(result: Result) -> Iterator[Verdict]:
    every = [one for by_class in result.phases.values() for one in by_class.values()]
    outside = sum(one.below + one.above for one in [*every, result.service, result.lateness])
    if outside:
        yield Verdict(
            "range",
            f"{outside} times were negative or over an hour, and are in no histogram",
            "look at the machine's clock, or shorten the timeout",
        )


def _warnings(result: Result) -> Iterator[Verdict]:
    """What does not make the figures wrong, but should be known."""
    late_ns = round(result.options.late_after * 1e9)
    waited = result.phases.get("queue", {}).get("all", Histogram())
    # the generator was late: those had a connection
    without = _above(waited, late_ns) - _above(result.lateness, late_ns)
    share = max(without, 0) / waited.count if waited.count else 0.0
    unsent = result.counts.unsent
    if share > _LATE or unsent:
        yield Verdict(
            "connections",
            f"{share:.1%} of the requests waited for a free connection,"
            f" and {unsent} had none by the end",
            "response times count that wait, but of those without; more connections shorten it",
        )
    if result.hides(99):
        yield Verdict(
            "unanswered",
            f"{result.unanswered:,} of {result.counts.scheduled:,} requests had no answer by the"
            " end, and no time of theirs is among those below",
            "percentiles are of the others",
        )
