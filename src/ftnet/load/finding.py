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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from ftnet.load.checks import Check, needed
from ftnet.load.checks import Outcome as CheckOutcome
from ftnet.load.edge import Edge, Outcome, Tried
from ftnet.load.options import Options
from ftnet.load.result import Result
from ftnet.load.run import Run

if TYPE_CHECKING:
    from ftnet.plan.model import Plan

__all__ = ["FoundRate", "Limit", "Probe", "Watcher", "find_rate"]

#: Of what `FoundRate.to_dict` gives.
FORMAT: Final = "ftnet.find-rate/1"

#: What the search ended at: "server": it breaks above; "to": all rates that were to be tried hold;
#: "from": none does; "generator": it can't do more; "unanswered": nothing was answered at a rate;
#: "unsettled": the server did not recover from a rate; "probes": there were too many; "interrupted"
Limit = Literal[
    "server", "to", "from", "generator", "unanswered", "unsettled", "probes", "interrupted"
]

_START: Final = 100.0  # requests a second, where nobody says better
_PROBE: Final = 5.0  # s
_LONGER: Final = 10  # times the largest limit is what a probe takes at least
_MOST_PROBES: Final = 60
_SAMPLES: Final = 2  # times what a percentile needs at least
_PART: Final = 0.2  # of a probe: its warm-up, and a look whether the server has recovered
_FEW: Final = 64  # connections at least
_RESERVE: Final = 128  # descriptors that are left to others
_PERCENTILE: Final = re.compile(r"(?:.*\.)?p(\d+(?:\.\d+)?)")
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
    settled: float  #: s that the server was waited for before, since it had had too much
    result: Result

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rate": self.rate,
            "outcome": self.outcome,
            "checks": [one.to_dict() for one in self.checks],
            "behind": self.behind,
            "settled": self.settled,
            "result": self.result.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class FoundRate:
    """What a search has found. As a str, it is a sentence."""

    target: str  #: the URL, or the plan's name
    checks: tuple[str, ...]  #: all that had to hold
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
        return " ".join(sentences(self))

    def to_dict(self) -> dict[str, Any]:
        """For JSON: all probes with all of their results."""
        return {
            "format": FORMAT,
            "target": self.target,
            "checks": list(self.checks),
            "rate": self.rate,
            "clear": self.clear,
            "limit": self.limit,
            "text": str(self),
            "low": _tried_dict(self.low),
            "high": _tried_dict(self.high),
            "mixed": [_tried_dict(one) for one in self.mixed],
            "odd": [_tried_dict(one) for one in self.odd],
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
    * where the server falls behind: a longer probe would have broken the checks.

    A probe that is not valid (`Result.valid`) says nothing, and is made again. After one that broke
    the server is waited for, `settle` seconds at most, until it keeps the checks at a low rate.

    The other options are those of `load.run`, but those that say how much is sent. Without
    ``connections`` there are as many as never are the limit while the checks hold.

    Raises what `load.run` raises for options that can't be. Ctrl-C (KeyboardInterrupt) ends the
    search with what was found so far.
    """
    asked = _Asked(target, _parsed(checks), probe, options)
    _check_span("tolerance", tolerance, 0, 1)
    _check_span("settle", settle, 0, math.inf)
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"find_rate: repeats must be an int >= 1, got {repeats!r}")
    start, floor, ceiling = _bounds(asked, from_rate, to_rate)
    asked.options(start, asked.seconds(start))  # raises what it has to say
    edge = Edge(start, floor, ceiling, tolerance, repeats)
    search = _Search(asked, edge, tolerance, settle, watcher or _Nobody())
    return search.found()


# --- what is asked for ------------------------------------------------------------------------


def _parsed(checks: str | Sequence[str | Check]) -> tuple[Check, ...]:
    given = checks.split(",") if isinstance(checks, str) else checks
    made = [one if isinstance(one, Check) else Check.parse(one) for one in given]
    if not made:
        raise ValueError("find_rate: checks must be at least one, as 'p99<50ms'")
    return tuple(made)


def _check_span(name: str, value: Any, above: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value <= most:
        raise ValueError(f"find_rate: {name} must be a number > {above:g}, got {value!r}")


def _bounds(
    asked: _Asked, from_rate: float | None, to_rate: float | None
) -> tuple[float, float, float]:
    """The rate to begin with, the lowest and the highest."""
    for name, value in (("from_rate", from_rate), ("to_rate", to_rate)):
        if value is not None:
            _check_span(name, value, 0, 1e8)
    ceiling = 1e8 if to_rate is None else float(to_rate)
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
        self.target = target
        self.given = checks
        self.checks = (*checks, *implied)
        limits = [one.limit for one in checks if one.unit == "s" and one.sign in ("<", "<=", "=")]
        self.limit = max(limits, default=0.0)
        self.samples = _SAMPLES * max((needed(one) for one in _percents(checks)), default=1)
        if probe is not None:
            _check_span("probe", probe, 0, 30 * 86400)
        self.probe = max(_PROBE, _LONGER * self.limit) if probe is None else float(probe)
        self.warmup = max(_PART * self.probe, self.limit)
        self._options = dict(options)

    def seconds(self, rate: float) -> float:
        """How long a probe is at this rate."""
        return max(self.probe, self.samples / rate)

    def options(self, rate: float, seconds: float) -> Options:
        """Those of a run."""
        given = {"warmup": self.warmup, **self._options, "rate": rate, "duration": seconds}
        if not isinstance(self.target, str):
            return Options.of_plan(self.target, **given)
        if "connections" not in given and given.get("http_version") in (None, "1.1"):
            given["connections"] = self._connections(rate)
        return Options.of(self.target, **given)

    def holds(self, result: Result) -> bool:
        """Whether all checks hold."""
        return all(one.judge(result).ok for one in self.checks)

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


class _Search:
    def __init__(
        self, asked: _Asked, edge: Edge, tolerance: float, settle: float, watcher: Watcher
    ) -> None:
        self._asked, self._edge, self._tolerance = asked, edge, tolerance
        self._settle, self._watcher = settle, watcher
        self._probes: list[Probe] = []

    def found(self) -> FoundRate:
        """Makes all probes; what they come to."""
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
        settled = self._settled() if self._probes and self._probes[-1].outcome != "held" else 0.0
        options = self._asked.options(rate, self._asked.seconds(rate))
        self._watcher.begins(rate, options.warmup + (options.duration or 0.0))
        result = _run(options)
        if result.interrupted:
            raise _Ended("interrupted")
        outcomes = tuple(one.judge(result) for one in self._asked.checks)
        behind = _behind(result)
        outcome: Outcome = "invalid"
        if result.valid:
            kept = all(one.ok for one in outcomes) and behind <= self._tolerance / 2
            outcome = "held" if kept else "broke"
        made = Probe(rate, outcome, outcomes, behind, settled, result)
        self._edge.add(rate, outcome)
        self._probes.append(made)
        self._watcher.ended(made)
        if not result.counts.completed:
            raise _Ended("unanswered")

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
            result = _run(options)
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
            checks=tuple(one.text for one in self._asked.checks),
            rate=None if low is None else low.rate,
            low=low,
            high=high,
            clear=not between and low is not None,
            mixed=tuple(between),
            odd=tuple(one for one in edge.odd() if one not in between),
            limit=limit,
            tolerance=self._tolerance,
            probes=tuple(self._probes),
        )


def _run(options: Options) -> Result:
    """To its end; KeyboardInterrupt ends it sooner."""
    under_way = Run(options)
    try:
        return under_way.result()
    except KeyboardInterrupt:
        under_way.stop()
        return under_way.result()
    finally:
        under_way.stop()


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


def sentences(found: FoundRate) -> list[str]:
    """What was found and how sure it is; then what else there is to say."""
    out = [_found_text(found)]
    if found.mixed and found.rate is not None:
        upper = "" if found.high is None else f" to {rate_text(found.high.rate)}"
        out.append(
            f"It is not clear-cut from {rate_text(found.rate)}{upper}:"
            f" {_list(_held_text(one) for one in found.mixed)}."
        )
    if found.odd:
        out.append(f"Besides, {_list(_held_text(one) for one in found.odd)}.")
    return out


def _found_text(found: FoundRate) -> str:
    checks = ", ".join(found.checks)
    if found.rate is None:
        return f"No rate keeps {checks}: {_why_not(found)}."
    assert found.low is not None
    first = f"{rate_text(found.rate)} keeps {checks}: {_held_text(found.low)}"
    return f"{first}, {_why_not_more(found)}."


def _why_not(found: FoundRate) -> str:
    last = found.probes[-1] if found.probes else None
    if found.limit == "unanswered" and last:
        return f"nothing was answered at {rate_text(last.rate)}"
    if found.limit == "generator" and last:
        return f"the generator was the limit at {rate_text(last.rate)}: {last.result.reasons[0]}"
    if found.limit == "interrupted":
        return "the search was interrupted"
    tried = found.tried
    return _list(_held_text(one) for one in tried[:1]) + (
        "; a lower --from may hold" if found.limit == "from" else ""
    )


def _why_not_more(found: FoundRate) -> str:
    high = found.high
    if found.limit == "to":
        return "and no higher rate was to be tried"
    if found.limit == "unanswered":
        return f"and nothing was answered at {rate_text(found.probes[-1].rate)}"
    if found.limit == "unsettled":
        return f"and the server did not recover from {rate_text(found.probes[-1].rate)}"
    if found.limit == "interrupted":
        return "when the search was interrupted"
    if found.limit == "probes":
        return f"and after {len(found.probes)} probes it is not known better"
    assert high is not None
    if found.limit == "generator":
        reasons = [one.result.reasons[0] for one in found.at(high.rate) if one.result.reasons]
        return (
            f"at {rate_text(high.rate)} the generator was the limit, not the server: {reasons[0]}"
        )
    return f"broke in {high.broke} of {high.judged} at {rate_text(high.rate)}"


def _held_text(one: Tried) -> str:
    if not one.judged:
        return f"no valid probe at {rate_text(one.rate)}"
    if not one.held:
        return f"broke in {one.broke} of {_probes(one.judged)} at {rate_text(one.rate)}"
    return f"held in {one.held} of {_probes(one.judged)} at {rate_text(one.rate)}"


def _probes(number: int) -> str:
    return f"{number} probe" if number == 1 else f"{number} probes"


def _list(texts: Any) -> str:
    return ", ".join(texts)


def _tried_dict(one: Tried | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {"rate": one.rate, "held": one.held, "broke": one.broke, "invalid": one.invalid}
