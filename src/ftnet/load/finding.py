"""The highest rate that keeps some checks: probe after probe in the open model.

::

    found = load.find_rate("http://localhost:8080/", "p99<50ms")
    print(found.rate)   # 1600.0
    print(found)        # 1,600/s keeps p99<50ms: held in 3 of 3 probes at 1,600/s, broke in 3 of 3
                        # at 1,620/s
"""

from __future__ import annotations

import math
import re
import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from ftnet.errors import redact
from ftnet.load.checks import Check, needed
from ftnet.load.checks import Outcome as CheckOutcome
from ftnet.load.edge import Edge, Outcome, Tried
from ftnet.load.options import Options
from ftnet.load.result import Result
from ftnet.load.run import Run

if TYPE_CHECKING:
    from ftnet.load.cluster import Cluster
    from ftnet.plan.model import Plan

__all__ = ["FoundRate", "Limit", "Probe", "Watcher", "find_rate"]

#: Of what `FoundRate.to_dict` gives: docs/find-rate.schema.json.
FORMAT: Final = "ftnet.find-rate/1"

#: What the search ended at: "server": it breaks above; "to": all rates that were to be tried hold;
#: "from": none does; "generator": it can't do more; "unanswered": nothing was answered at a rate;
#: "unsettled": the server did not recover from a rate; "probes": there were too many; "interrupted"
Limit = Literal[
    "server", "to", "from", "generator", "unanswered", "unsettled", "probes", "interrupted"
]

_START: Final = 100.0  # requests a second, where nobody says better
_FASTEST: Final = 1e8
_PROBE: Final = 5.0  # s
_LONGER: Final = 10  # times the largest limit is what a probe takes at least
_MOST_PROBES: Final = 60
_SAMPLES: Final = 2  # times what a percentile needs at least
_PART: Final = 0.2  # of a probe: its warm-up, and a look whether the server has recovered
_LATE: Final = 0.001  # s
_LATE_PART: Final = 0.1  # of the limit: a generator that is so late makes times no more than that
_FEW: Final = 64  # connections at least
_RESERVE: Final = 128  # descriptors that are left to others
_PERCENTILE: Final = re.compile(r"(?:.*\.)?p(\d+(?:\.\d+)?)")
_WRONG: Final = ("errors", "failed", "unfinished")
_OWN: Final = ("rate", "stages", "duration", "requests", "think")


@dataclass(frozen=True, slots=True)
class Probe:
    """One run at one rate."""

    rate: float  #: requests a second that were due; of a plan iterations
    outcome: Outcome
    checks: tuple[CheckOutcome, ...]  #: those that were asked for, and those that go without saying
    #: the share of what was due that was still waiting or under way at the end, beyond what was so
    #: at the start: 0.0 when the server keeps up
    behind: float
    fell_behind: bool  #: that is more than half of the tolerance
    settled: float  #: s that the server was waited for before, since it had had too much
    result: Result

    @property
    def kept(self) -> bool:
        """Whether all held, be the probe valid or not."""
        return all(one.ok for one in self.checks) and not self.fell_behind

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rate": self.rate,
            "outcome": self.outcome,
            "checks": [one.to_dict() for one in self.checks],
            "behind": self.behind,
            "fell_behind": self.fell_behind,
            "settled": self.settled,
            "result": self.result.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class FoundRate:
    """What a search has found. As a str, it is a sentence."""

    target: str  #: the URL, or the plan's name
    checks: tuple[str, ...]  #: what had to hold
    implied: tuple[str, ...]  #: what had to hold without being asked for
    #: the highest rate that held in each of its probes; None: none did
    rate: float | None
    low: Tried | None  #: that rate
    #: the next rate above it that never held; None: there is none, and `limit` says why
    high: Tried | None
    #: whether there is no rate between them that held at one time and broke at another
    clear: bool
    mixed: tuple[Tried, ...]  #: such rates
    odd: tuple[Tried, ...]  #: rates that broke at times though they are below, or held above
    limit: Limit
    notes: tuple[str, ...]  #: what should be known beside it
    tolerance: float
    probes: tuple[Probe, ...]  #: in the order in which they were made

    @property
    def valid(self) -> bool:
        """Whether the limit is the server's (or what was to be tried), not the generator's."""
        return self.limit != "generator"

    @property
    def tried(self) -> tuple[Tried, ...]:
        """All rates, the lowest first."""
        made: dict[float, Tried] = {}
        for probe in sorted(self.probes, key=lambda one: one.rate):
            one = made.setdefault(probe.rate, Tried(probe.rate))
            setattr(one, probe.outcome, getattr(one, probe.outcome) + 1)
        return tuple(made.values())

    def at(self, rate: float) -> tuple[Probe, ...]:
        """The probes at this rate."""
        return tuple(one for one in self.probes if one.rate == rate)

    def __str__(self) -> str:
        return "; ".join(_sentences(self))

    def to_dict(self) -> dict[str, Any]:
        """For JSON: all probes with all of their results."""
        return {
            "format": FORMAT,
            "target": redact(self.target),
            "checks": list(self.checks),
            "implied": list(self.implied),
            "rate": self.rate,
            "clear": self.clear,
            "limit": self.limit,
            "text": str(self),
            "low": _tried_dict(self.low),
            "high": _tried_dict(self.high),
            "mixed": [_tried_dict(one) for one in self.mixed],
            "odd": [_tried_dict(one) for one in self.odd],
            "notes": list(self.notes),
            "tolerance": self.tolerance,
            "probes": [one.to_dict() for one in self.probes],
        }


class Watcher(Protocol):
    """Follows a search. What it raises ends the search, and comes out of it."""

    def begins(self, rate: float, seconds: float) -> None:
        """A probe begins that takes so long."""

    def settles(self) -> None:
        """The server is given time to recover."""

    def ended(self, probe: Probe) -> None:
        """A probe is over."""


class _Nobody:
    def begins(self, rate: float, seconds: float) -> None:
        """Nobody looks."""

    def settles(self) -> None:
        """Nobody looks."""

    def ended(self, probe: Probe) -> None:
        """Nobody looks."""


def find_rate(
    target: str | Plan,
    /,
    checks: str | Sequence[str | Check],
    *,
    from_rate: float | None = None,
    to_rate: float | None = None,
    tolerance: float = 0.02,
    probe: float | None = None,
    repeats: int = 3,
    settle: float = 30.0,
    cluster: Cluster | None = None,
    watcher: Watcher | None = None,
    **options: Any,
) -> FoundRate:
    """The highest rate at which a URL or a plan keeps all `checks` (``"p99<50ms, errors<0.1%"``).

    From `from_rate` on it is doubled until it breaks, or is `to_rate`, and then bisected until the
    edge is known to `tolerance`, a share of it; both sides are tried `repeats` times. Without
    `from_rate` it begins at 100/s, and looks below that, too.

    A probe is a run in the open model of `probe` seconds (5, and ten times the largest limit of a
    check) after a warm-up; longer, where a percentile would have too few samples. It breaks

    * where a check does not hold;
    * by a single error, unless there is a check on ``errors`` or ``failed``, and by a request that
      was not over when the grace was, unless there is one on ``unfinished``;
    * where the server falls behind by more than half of the tolerance: a longer probe would have
      broken the checks.

    A probe that is not valid (`Result.valid`) says nothing, and is made again; where the generator
    was no more than late, it does say something if the checks hold nevertheless, or would not hold
    without that either: response times have the lateness in them. For the same reason
    ``late_after`` is a tenth of the largest limit if it is not given. After a probe that broke the
    server is waited for, `settle` seconds at most, until it keeps the checks at a low rate.

    The probes go out from this process, or from the workers of a `cluster`
    (`ftnet.load.cluster`). The other options are those of `load.run`, but those that say how much
    is sent. Without ``connections`` there are as many as never are the limit while the checks hold.

    Raises what `load.run` raises for options that can't be. Ctrl-C (KeyboardInterrupt) ends the
    search with what was found so far.
    """
    return Search(
        target,
        checks,
        from_rate=from_rate,
        to_rate=to_rate,
        tolerance=tolerance,
        probe=probe,
        repeats=repeats,
        settle=settle,
        **options,
    ).found(watcher, cluster)


# --- what is asked for ------------------------------------------------------------------------


def _parsed(checks: str | Sequence[str | Check]) -> tuple[Check, ...]:
    given = checks.split(",") if isinstance(checks, str) else checks
    made = [one if isinstance(one, Check) else Check.parse(one) for one in given]
    if not made:
        raise ValueError("find_rate: checks must be at least one, as 'p99<50ms'")
    return tuple(made)


def _check_number(name: str, value: Any, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
        upper = f" and <= {most:g}" if most < math.inf else ""
        raise ValueError(f"find_rate: {name} must be a number > 0{upper}, got {value!r}")


def _bounds(
    asked: _Asked, from_rate: float | None, to_rate: float | None
) -> tuple[float, float, float]:
    """The rate to begin with, the lowest and the highest."""
    for name, value in (("from_rate", from_rate), ("to_rate", to_rate)):
        if value is not None:
            _check_number(name, value, _FASTEST)
    ceiling = _FASTEST if to_rate is None else float(to_rate)
    if from_rate is None:
        start = min(_START, ceiling)
        return start, min(start, max(1.0, asked.samples / (4 * asked.probe))), ceiling
    if from_rate > ceiling:
        raise ValueError(f"find_rate: from_rate ({from_rate:g}) must be at most to_rate")
    return float(from_rate), float(from_rate), ceiling


class _Asked:
    """What is to hold, and how to make a run that shows it."""

    def __init__(
        self,
        target: str | Plan,
        checks: tuple[Check, ...],
        probe: float | None,
        options: Mapping[str, Any],
    ) -> None:
        for name in _OWN:
            if options.get(name) is not None:
                raise TypeError(f"find_rate: {name} is what it looks for or sets itself")
        names = {one.name for one in checks}
        implied = [] if names & {"errors", "failed"} else [Check.parse("errors=0")]
        implied += [] if "unfinished" in names else [Check.parse("unfinished=0")]
        if not isinstance(target, str) and any(one.load for one in target.scenario):
            raise ValueError("find_rate: a scenario of the plan has a load of its own")
        self.target = target
        self.given, self.implied = checks, tuple(implied)
        self.checks = (*checks, *implied)
        limits = [one.limit for one in checks if one.unit == "s" and one.sign in ("<", "<=", "=")]
        self.limit = max(limits, default=0.0)
        self.samples = _SAMPLES * max((needed(one) for one in _percents(checks)), default=1)
        if probe is not None:
            _check_number("probe", probe, 30 * 86400)
        self.probe = max(_PROBE, _LONGER * self.limit) if probe is None else float(probe)
        self.warmup = max(_PART * self.probe, self.limit)
        self._options = dict(options)

    def seconds(self, rate: float) -> float:
        """How long a probe is at this rate."""
        return max(self.probe, self.samples / rate)

    def options(self, rate: float, seconds: float) -> Options:
        """Those of a run."""
        given = {
            "warmup": self.warmup,
            "late_after": max(_LATE, _LATE_PART * self.limit),
            **self._options,
            "rate": rate,
            "duration": seconds,
        }
        if not isinstance(self.target, str):
            return Options.of_plan(self.target, **given)
        if "connections" not in given and given.get("http_version") in (None, "1.1"):
            given["connections"] = self._connections(rate)
        return Options.of(self.target, **given)

    def holds(self, result: Result) -> bool:
        """Whether all checks hold."""
        return all(one.judge(result).ok for one in self.checks)

    def suffice(self, options: Options, rate: float) -> bool:
        """Whether there are as many connections as can be needed while the checks hold."""
        enough = options.plan is None and self.limit > 0
        return enough and options.connections * options.streams >= 2 * rate * self.limit

    def _connections(self, rate: float) -> int:
        """While the checks hold, requests under way are no more than the rate times the limit."""
        most = max(_FEW, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVE)
        return min(max(_FEW, math.ceil(2 * rate * self.limit)), most)


def _percents(checks: Sequence[Check]) -> list[float]:
    found = (_PERCENTILE.fullmatch(one.name) for one in checks)
    return [float(one[1]) for one in found if one]


# --- the search -------------------------------------------------------------------------------


class _Ended(Exception):
    """The search can't go on, because of a `Limit`."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit)
        self.limit = limit


class Search:
    """What `find_rate` does, in two steps: all that is asked for is checked, then probes go out."""

    def __init__(
        self,
        target: str | Plan,
        checks: str | Sequence[str | Check],
        *,
        from_rate: float | None = None,
        to_rate: float | None = None,
        tolerance: float = 0.02,
        probe: float | None = None,
        repeats: int = 3,
        settle: float = 30.0,
        **options: Any,
    ) -> None:
        """See `find_rate`."""
        _check_number("tolerance", tolerance, 1)
        _check_number("settle", settle, math.inf)
        if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
            raise ValueError(f"find_rate: repeats must be an int >= 1, got {repeats!r}")
        self._asked = _Asked(target, _parsed(checks), probe, options)
        start, floor, ceiling = _bounds(self._asked, from_rate, to_rate)
        self._asked.options(start, self._asked.seconds(start))  # raises what it has to say
        self._edge = Edge(start, floor, ceiling, tolerance, repeats)
        self._tolerance, self._settle = tolerance, settle
        self._watcher: Watcher = _Nobody()
        self._cluster: Cluster | None = None
        self._probes: list[Probe] = []

    def found(self, watcher: Watcher | None = None, cluster: Cluster | None = None) -> FoundRate:
        """Makes all probes; what they come to."""
        self._watcher = watcher or self._watcher
        self._cluster = cluster
        limit: Limit | None = None
        try:
            while (rate := self._edge.next()) is not None:
                if len(self._probes) == _MOST_PROBES:
                    raise _Ended("probes")
                self._probe(rate)
        except _Ended as end:
            limit = end.limit
        except KeyboardInterrupt:
            limit = "interrupted"
        return self._told(limit)

    def _probe(self, rate: float) -> None:
        settled = self._settled() if self._probes and not self._probes[-1].kept else 0.0
        options = self._asked.options(rate, self._asked.seconds(rate))
        self._watcher.begins(rate, options.warmup + (options.duration or 0.0))
        result = _run(options, self._cluster)
        if result.interrupted:
            raise _Ended("interrupted")
        made = self._judged(rate, result, settled)
        self._edge.add(rate, made.outcome)
        self._probes.append(made)
        self._watcher.ended(made)
        if not result.counts.completed:
            raise _Ended("unanswered")

    def _judged(self, rate: float, result: Result, settled: float) -> Probe:
        outcomes = tuple(one.judge(result) for one in self._asked.checks)
        behind = _behind(result)
        most = self._tolerance / 2
        made = Probe(rate, "invalid", outcomes, behind, behind > most, settled, result)
        if made.kept and _no_more_than_late(result):
            return replace(made, outcome="held")
        if not made.kept and (result.valid or _surely_broke(made, most)):
            return replace(made, outcome="broke")
        return made

    def _settled(self) -> float:
        """Waits until the server keeps the checks at the lowest rate that held; returns the s."""
        held = self._edge.sides()[0]
        if not held:
            return 0.0
        self._watcher.settles()
        rate = held[0].rate
        seconds = max(_PART * self._asked.probe, self._asked.samples / _SAMPLES / rate)
        options = replace(self._asked.options(rate, seconds), warmup=0.0)
        began = monotonic()
        while True:
            result = _run(options, self._cluster)
            if result.interrupted:
                raise _Ended("interrupted")
            if self._asked.holds(result):
                return monotonic() - began
            if monotonic() - began > self._settle:
                raise _Ended("unsettled")

    def _told(self, limit: Limit | None) -> FoundRate:
        edge = self._edge
        below, above = edge.sides()
        low, high = edge.clean_low(), edge.clean_high()
        if limit is None:
            if not below:
                limit = "generator" if edge.beyond(above[0]) else "from"
            elif not above:
                limit = "to"
            else:
                limit = "generator" if high is not None and edge.beyond(high) else "server"
        at_low = 0.0 if low is None else low.rate
        at_high = math.inf if high is None else high.rate
        between = [one for one in (*below, *above) if at_low < one.rate < at_high and one.judged]
        target = self._asked.target
        return FoundRate(
            target=target if isinstance(target, str) else target.name,
            checks=tuple(one.text for one in self._asked.given),
            implied=tuple(one.text for one in self._asked.implied),
            rate=None if low is None else low.rate,
            low=low,
            high=high,
            clear=not between and low is not None,
            mixed=tuple(between),
            odd=tuple(one for one in edge.odd() if one not in between),
            limit=limit,
            notes=tuple(self._notes(at_low)),
            tolerance=self._tolerance,
            probes=tuple(self._probes),
        )

    def _notes(self, low: float) -> Iterator[str]:
        """Whether the connections may have been the limit, not the server."""
        for probe in sorted(self._probes, key=lambda one: one.rate):
            options = probe.result.options
            waited = any(one.kind == "connections" for one in probe.result.warnings)
            if probe.rate > low and probe.outcome == "broke" and waited:
                if self._asked.suffice(options, probe.rate):
                    return
                what = "connections" if options.plan is None else "users"
                yield (
                    f"at {rate_text(probe.rate)} requests waited for one of"
                    f" {options.connections:,} {what}: with more of them a higher rate may hold"
                )
                return


def _run(options: Options, cluster: Cluster | None) -> Result:
    """To its end; KeyboardInterrupt ends it sooner."""
    under_way = _started(options, cluster)
    try:
        return under_way.result()
    except KeyboardInterrupt:
        under_way.stop()
        return under_way.result()
    finally:
        under_way.stop()


def _started(options: Options, cluster: Cluster | None) -> Run:
    if cluster is None:
        return Run(options)
    from ftnet.load.cluster import ClusterRun

    return ClusterRun(options, cluster)


def _no_more_than_late(result: Result) -> bool:
    """Whether the generator made response times longer, and did nothing worse."""
    return all(one.kind == "late" for one in result.reasons)


def _surely_broke(probe: Probe, most_behind: float) -> bool:
    """Whether it would have broken with a generator that is not late: no response time is longer
    by more than the greatest lateness."""
    if not _no_more_than_late(probe.result):
        return False
    late = probe.result.lateness.max / 1e9
    for one in probe.checks:
        is_time = one.check.unit == "s" and one.check.sign in ("<", "<=")
        if is_time and one.got is not None and one.got - late > one.check.limit:
            return True
        if one.check.name in _WRONG and not one.ok:
            return True
    return probe.behind - late / max(probe.result.duration, 1e-9) > most_behind


def _behind(result: Result) -> float:
    """See `Probe.behind`."""
    counts = result.counts
    left = max(0, counts.scheduled - counts.answered - counts.failed)
    share = left / counts.scheduled if counts.scheduled else 0.0
    iterations = result.iterations
    if iterations is not None and iterations.scheduled:
        share += iterations.unsent / iterations.scheduled
    return min(share, 1.0)


# --- what came of it --------------------------------------------------------------------------


def rate_text(rate: float) -> str:
    """``1,600/s``, ``12.5/s``."""
    return f"{rate:,.0f}/s" if rate >= 1000 or rate == int(rate) else f"{rate:.3g}/s"


def _sentences(found: FoundRate) -> Iterator[str]:
    """What was found and how sure it is; then what else there is to say."""
    checks = ", ".join(found.checks)
    if found.low is None:
        yield f"no rate is sure to keep {checks}: {_why(found)}"
    else:
        yield f"{rate_text(found.low.rate)} keeps {checks}: {told(found.low)}, {_why(found)}"
    if found.mixed:
        yield f"it is not clear-cut: {', '.join(map(told, found.mixed))}"
    if found.odd:
        yield f"besides, it {', '.join(map(told, found.odd))}"
    yield from found.notes


def _why(found: FoundRate) -> str:
    """Why it is not more."""
    last = rate_text(found.probes[-1].rate) if found.probes else ""
    if found.limit == "server" and found.high is not None:
        return told(found.high, found.low is None)
    if found.limit == "generator":
        reasons = (one.result.reasons for one in reversed(found.probes))
        at, high = next(filter(None, reasons))[0], found.high
        where = rate_text(high.rate) if high else last
        return f"at {where} the generator was the limit, not the server: {at}"
    return {
        "server": "it never broke for sure",
        "to": "no higher rate was to be tried",
        "from": f"it {told(found.tried[0])}" if found.tried else "",
        "unanswered": f"nothing was answered at {last}",
        "unsettled": f"the server did not recover from {last}",
        "probes": f"{len(found.probes)} probes did not tell more",
        "interrupted": "interrupted",
    }[found.limit]


def told(one: Tried, with_noun: bool = True) -> str:
    """``held in 2 of 3 probes at 100/s``; ``broke in 3 of 3 ...`` if it never held."""
    if not one.judged:
        return f"gave no valid probe at {rate_text(one.rate)}"
    number, word = (one.held, "held") if one.held else (one.broke, "broke")
    noun = "" if not with_noun else " probe" if one.judged == 1 else " probes"
    return f"{word} in {number} of {one.judged}{noun} at {rate_text(one.rate)}"


def _tried_dict(one: Tried | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {"rate": one.rate, "held": one.held, "broke": one.broke, "invalid": one.invalid}
