"""Whether one run was worse than another, beyond what chance does.

The requests of a run are not independent: a slow second makes all its requests slow. A test that
takes each of a million requests for a witness of its own (Kolmogorov and Smirnov's, Mann and
Whitney's) calls any two runs different. Here the seconds are the witnesses, and not even they are
taken to be independent:

- *Quantiles* (p50, p90, p99, p99.9) are those of the whole histograms. For each second the share of
  its answers that were faster than the run's quantile is known from its percentiles; how that goes
  up and down gives the standard error of the share, with equally weighted cosines, which allow for
  seconds that are like their neighbours (`inference.ratio`). It is never taken to be less than that
  of independent requests. What the histogram has at the share plus and minus so much, as logits,
  is the quantile's interval (Woodruff, JASA 47, 1952), and the intervals of both runs make that of
  their quotient (MOVER, Zou and Donner, Statistics in Medicine 27, 2008), with Student's t of as
  many degrees of freedom as Welch and Satterthwaite give. A quantile is tested when ten requests of
  each run lie above it.
- The *mean*, the *rate* and the *error rate* are ratios of sums over the seconds, which are known
  exactly; their errors likewise.
- *The whole histograms* are compared by the greatest distance of their distribution functions (D,
  Kolmogorov and Smirnov), with as many requests as independent ones would have told as much: their
  number by the largest design effect, the factor by which the variance of the shares is greater
  than that of independent requests (Rao and Scott, JASA 76, 1981). Its chance is that of the
  distance from the median up, since of the seconds nothing below their medians is kept. It says
  whether the runs differ at all; how much is D itself, and the area between (Wasserstein).
- *Steps* of plans: of their seconds nothing is kept, so each gets the design effects of the run.

All intervals hold together with probability 1 - alpha (Bonferroni), so alpha bounds the chance
that runs that are alike are said to differ in anything. A regression is what is surely worse (its
interval leaves 0 out) and worse by more than ``max_regression`` of the base's value; an error rate,
too, so that with a base without errors every sure one is.

Simulated with lognormal times at 500/s for 10 to 60 s, whose level goes up and down by 2 or 5 %
and is autoregressive from second to second: of 200 pairs of like runs 1 to 3 of 100 differ in
anything with an alpha of 0.05 where the autoregression is 0.5, and 5 of 100 where it is 0.8 (with
an alpha of 0.01, up to 1, and 3); for a test of each request they are 15 to 67. Ten percent more
are found with alpha 0.01 in 97 of 100 for 60 s and 5 %, in all for 30 s and 2 %, and in 28 for
10 s and 2 %.

It can't know what changes from run to run and not within one: another neighbour on the machine, a
cold cache. Repeat runs, in turn, and `merge` those of each side; ``max_regression`` should be more
than what runs of the same build differ by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ftnet.load.inference import (
    Curve,
    Estimate,
    distances,
    freedom,
    kolmogorov_tail,
    ratio,
    root,
    share_below,
    share_limits,
    student_limit,
    student_tail,
    within,
)
from ftnet.load.merging import differences
from ftnet.load.result import Counts, Interval, Result, Step

__all__ = ["Change", "Comparison", "compare"]

#: Quantiles that are compared.
TESTED: Final = (50.0, 90.0, 99.0, 99.9)
LEAST_SECONDS: Final = 5  #: of each run: with less nothing can be said
_MOST_UNANSWERED: Final = 0.01  # by which the shares of requests without an answer may differ
_ABOVE: Final = 10  # samples above a quantile that is tested
#: Options that make no other load of it: told, and nothing more.
_HARMLESS: Final = frozenset(
    {"url", "header", "seed", "warmup", "duration", "requests", "grace", "workers", "verify"}
)
#: The largest t that is looked at: what it takes is as good as never seen.
_MOST_T: Final = 1e6


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both runs. Changes are relative to the base, those of "errors" differences."""

    name: str  #: "p99", "mean"; "rate"; "errors", a share of 0 to 1
    unit: Literal["ns", "1/s", "share"]
    base: float
    now: float
    change: float  #: 0.05: 5 % more
    low: float  #: the change's interval; -1.0 to infinity where nothing is known
    high: float
    p: float  #: chance of such a difference of runs that are alike, for all tests together
    worse: bool  #: surely, however little
    better: bool  #: likewise
    regression: bool  #: worse, and by more than what is allowed
    unsure: bool  #: not seen to be one, and not ruled out either; of error rates never

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        out = {name: getattr(self, name) for name in self.__slots__}
        out["high"] = self.high if math.isfinite(self.high) else None
        out["change"] = self.change if math.isfinite(self.change) else None
        return out


@dataclass(frozen=True, slots=True)
class Comparison:
    """What has changed from one run to another; see `ftnet.load.comparison`."""

    base: str  #: names of the runs, as of their files
    now: str
    alpha: float
    max_regression: float
    changes: tuple[Change, ...] = ()
    steps: dict[str, tuple[Change, ...]] = field(default_factory=dict)  #: of plans, by name
    distance: float = 0.0  #: D of the response times, 0 to 1
    p: float = 1.0  #: of D from the median up, for all tests together
    area: float = 0.0  #: between the distributions of the response times, ns
    problems: tuple[str, ...] = ()  #: why nothing can be said of the server
    notes: tuple[str, ...] = ()  #: what should be known

    @property
    def comparable(self) -> bool:
        """Whether there is a verdict at all."""
        return not self.problems

    @property
    def regressions(self) -> tuple[tuple[str, Change], ...]:
        """(step, or "" for the run, change) of all that is worse by more than allowed."""
        return tuple(
            (of, one) for of, changes in self._every() for one in changes if one.regression
        )

    @property
    def unsure(self) -> tuple[tuple[str, Change], ...]:
        """Likewise of all that may be, for what is known; longer runs tell more."""
        return tuple((of, one) for of, changes in self._every() for one in changes if one.unsure)

    def _every(self) -> list[tuple[str, tuple[Change, ...]]]:
        return [("", self.changes), *self.steps.items()]

    @property
    def different(self) -> bool:
        """Whether the runs differ in anything, beyond chance."""
        return self.p < self.alpha or any(
            one.worse or one.better for _, changes in self._every() for one in changes
        )

    @property
    def verdict(self) -> Literal["regression", "no regression", "not comparable"]:
        """In a word."""
        if self.problems:
            return "not comparable"
        return "regression" if self.regressions else "no regression"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "format": "ftnet.load.comparison/1",
            "verdict": self.verdict,
            "base": self.base,
            "now": self.now,
            "alpha": self.alpha,
            "max_regression": self.max_regression,
            "different": self.different,
            "distance": self.distance,
            "p": self.p,
            "area": self.area,
            "changes": [one.to_dict() for one in self.changes],
            "steps": {name: [one.to_dict() for one in of] for name, of in self.steps.items()},
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


def compare(
    base: Result,
    now: Result,
    *,
    max_regression: float = 0.05,
    alpha: float = 0.01,
    force: bool = False,
    names: tuple[str, str] = ("base", "now"),
) -> Comparison:
    """What has changed from the one run to the other, and whether it is a regression.

    max_regression: by how much each figure may be worse, 0.05: 5 %
    alpha: how likely runs that are alike may be said to differ
    force: also when they were asked for another load; runs that are not valid have no verdict

    ValueError: there is no such limit. `ftnet.load.comparison` says how it is reckoned.
    """
    if not 0 < alpha < 0.5:
        raise ValueError(f"compare: alpha must be more than 0 and less than 0.5, got {alpha!r}")
    if not 0 <= max_regression < math.inf:
        raise ValueError(f"compare: max_regression must be 0 or more, got {max_regression!r}")
    problems, notes = _circumstances(base, now, names, force)
    short = [name for name, one in zip(names, (base, now), strict=True) if _is_short(one)]
    if short:
        problems.append(
            f"{' and '.join(short)}: fewer than {LEAST_SECONDS} seconds were measured, and it takes"
            " those, and better 30, to tell a change from chance"
        )
        return Comparison(
            *names, alpha, max_regression, problems=tuple(problems), notes=tuple(notes)
        )
    sides = _Side(base), _Side(now)
    tests, of_steps = list(_tests(*sides)), dict(_step_tests(*sides))
    number = len(tests) + sum(map(len, of_steps.values())) + 1
    distance, chance, area = _whole(*sides)

    def judged(every: Sequence[_Test]) -> tuple[Change, ...]:
        return tuple(one.judge(alpha / number, number, max_regression) for one in every)

    return Comparison(
        *names,
        alpha,
        max_regression,
        changes=judged(tests),
        steps={name: judged(every) for name, every in of_steps.items()},
        distance=distance,
        p=min(1.0, chance * number),
        area=area,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _circumstances(
    base: Result, now: Result, names: tuple[str, str], force: bool
) -> tuple[list[str], list[str]]:
    """What stands against comparing at all, and what should be known."""
    problems, notes = [], []
    for name, one in zip(names, (base, now), strict=True):
        problems += [f"{name} is INVALID: {reason}" for reason in one.reasons]
        if one.percentiles_refused:
            problems.append(f"{name} has no percentiles: {one.percentiles_refused}")
        if one.interrupted:
            notes.append(f"{name} was interrupted after {one.duration:.1f} s")
    if not base.counts.completed:
        problems.append(f"{names[0]} has no answers")
    unanswered = [one.unanswered / max(one.counts.scheduled, 1) for one in (base, now)]
    if abs(unanswered[1] - unanswered[0]) > _MOST_UNANSWERED:
        told = ", ".join(
            f"{share:.1%} in {name}" for share, name in zip(unanswered, names, strict=True)
        )
        problems.append(
            f"requests without an answer when the run was over: {told}; how long they would have"
            " taken is in none of the figures"
        )
    for option, (ours, theirs) in differences(base.options, now.options).items():
        told = f"{option} is {ours!r} in {names[0]}, {theirs!r} in {names[1]}"
        harmless = force or option in _HARMLESS
        (notes if harmless else problems).append(
            told if harmless else f"they were asked for another load: {told}"
        )
    for step in [*base.steps, *now.steps]:
        if (step in base.steps) != (step in now.steps):
            notes.append(f"step {step} is in {names[step in now.steps]} alone")
    return problems, notes


# ---- one run


def _measured(result: Result) -> list[Interval]:
    return [one for one in result.intervals if one.measured]


def _without_grace(seconds: list[Interval]) -> list[Interval]:
    """Those before nothing was sent any more."""
    end = len(seconds)
    while end and not (seconds[end - 1].counts.scheduled or seconds[end - 1].counts.answered):
        end -= 1
    return seconds[:end]


def _is_short(result: Result) -> bool:
    """Whether there are too few seconds, or none of what was counted."""
    seconds = _measured(result)
    over = sum(_over(one.counts) for one in seconds), sum(one.response.count for one in seconds)
    few = len(_without_grace(seconds)) < LEAST_SECONDS
    return few or not over[0] or (result.response.count > 0 and not over[1])


class _Side:
    """One run, with what its seconds tell of how sure it is."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.seconds = _measured(result)
        self.curve = Curve(result.response)
        self.effects: dict[float, float] = {}  #: design effects by percent
        self.shares: dict[float, Estimate] = {}  #: up to each quantile
        if not result.response.count:
            return
        counts = [float(one.response.count) for one in self.seconds]
        for percent in TESTED:
            share = percent / 100
            below = [
                share_below(one.response, self.curve, share) * of if of else 0.0
                for one, of in zip(self.seconds, counts, strict=True)
            ]
            alone = independent(share, result.response.count)
            found = ratio(below, counts).at_least(alone)
            self.shares[percent] = found
            self.effects[percent] = (found.error / alone) ** 2

    def mean(self) -> Estimate:
        """Of the response time, ns."""
        sums = [one.response.mean * one.response.count for one in self.seconds]
        found = ratio(sums, [float(one.response.count) for one in self.seconds])
        return Estimate(self.result.response.mean, found.error, found.freedom)

    def rate(self) -> Estimate:
        """Answers a second."""
        seconds = _without_grace(self.seconds)
        answers = [float(one.counts.answered) for one in seconds]
        found = ratio(answers, [one.seconds for one in seconds])
        return Estimate(self.result.rate, found.error, found.freedom)

    def errors(self, expected: float) -> Estimate:
        """Share of requests that were wrong; not surer than of so many independent ones."""
        over = [float(_over(one.counts)) for one in self.seconds]
        found = ratio([float(one.wrong) for one in self.seconds], over)
        error = max(found.error, independent(expected, _over(self.result.counts)))
        return Estimate(self.result.error_rate, error, found.freedom)


def _over(counts: Counts) -> int:
    return counts.completed + counts.failed


def independent(share: float, number: float) -> float:
    """Standard error of a share of so many independent requests."""
    return math.sqrt(share * (1 - share) / number) if number else math.inf


# ---- tests


@dataclass(frozen=True, slots=True)
class _Test:
    """A figure in both runs, and the interval of its change for each t."""

    name: str
    unit: Literal["ns", "1/s", "share"]
    base: float
    now: float
    less_is_better: bool
    degrees: float
    interval: Callable[[float], tuple[float, float]]

    def judge(self, alpha: float, tests: int, allowed: float) -> Change:
        low, high = self.interval(student_limit(alpha, self.degrees))
        more, less = low > 0, high < 0
        worse, better = (more, less) if self.less_is_better else (less, more)
        limit = self.base * (1 + allowed if self.less_is_better else 1 - allowed)
        beyond = self.now > limit if self.less_is_better else self.now < limit
        possible = high > allowed if self.less_is_better else low < -allowed
        regression = worse and beyond
        change = self.now - self.base
        if self.unit != "share":
            change = change / self.base if self.base else math.inf
        return Change(
            self.name, self.unit, self.base, self.now, change, low, high,
            p=min(1.0, tests * self._chance()),
            worse=worse, better=better, regression=regression,
            unsure=possible and not regression and self.unit != "share",
        )  # fmt: skip

    def _chance(self) -> float:
        """That of the t whose interval just reaches 0."""

        def reaches(t: float) -> bool:
            low, high = self.interval(t)
            return low <= 0 <= high

        return student_tail(root(reaches, _MOST_T), self.degrees)


def _tests(base: _Side, now: _Side) -> Iterator[_Test]:
    for percent in TESTED:
        if _is_enough(percent, base.curve) and _is_enough(percent, now.curve):
            yield _quantile(
                percent, (base.curve, now.curve), (base.result, now.result),
                (base.shares[percent], now.shares[percent]),
            )  # fmt: skip
    if base.result.response.sum and now.result.response.sum:
        yield _quotient("mean", "ns", base.mean(), now.mean(), less_is_better=True)
    if base.result.rate and now.result.rate:
        yield _quotient("rate", "1/s", base.rate(), now.rate(), less_is_better=False)
    over = _over(base.result.counts), _over(now.result.counts)
    if all(over):
        expected = _expected(base.result.wrong + now.result.wrong, sum(over))
        yield _difference(base.errors(expected), now.errors(expected))


def _step_tests(base: _Side, now: _Side) -> Iterator[tuple[str, list[_Test]]]:
    for name, ours in base.result.steps.items():
        theirs = now.result.steps.get(name)
        if theirs is not None:
            yield name, list(_tests_of_step(base, ours, now, theirs))


def _tests_of_step(base: _Side, ours: Step, now: _Side, theirs: Step) -> Iterator[_Test]:
    """As those of the run, by its design effects."""
    curves = Curve(ours.response), Curve(theirs.response)
    for percent in TESTED:
        if not all(_is_enough(percent, curve) for curve in curves):
            continue
        shares = []
        for side, curve in zip((base, now), curves, strict=True):
            of = side.shares[percent]
            error = independent(percent / 100, curve.count) * math.sqrt(side.effects[percent])
            shares.append(Estimate(percent / 100, error, of.freedom))
        yield _quantile(percent, curves, (ours, theirs), (shares[0], shares[1]))
    over = _over(ours.counts), _over(theirs.counts)
    if all(over):
        expected = _expected(ours.counts.wrong + theirs.counts.wrong, sum(over))
        found = []
        for side, step in ((base, ours), (now, theirs)):
            run = side.result
            of = side.errors(run.error_rate)
            alone = independent(run.error_rate, _over(run.counts))
            effect = of.error / alone if alone else 1.0
            share = step.counts.wrong / _over(step.counts)
            error = independent(expected, _over(step.counts)) * effect
            found.append(Estimate(share, error, of.freedom))
        yield _difference(found[0], found[1])


def _expected(wrong: int, of: int) -> float:
    """The error rate of both together; none seen is not none at all (Laplace)."""
    return (wrong + 1) / (of + 2)


def _is_enough(percent: float, curve: Curve) -> bool:
    """Whether there are so many samples above that, and it is a time."""
    return curve.count * (100 - percent) / 100 >= _ABOVE - 1e-6 and curve.at(percent / 100) > 0


def _quantile(
    percent: float,
    curves: tuple[Curve, Curve],
    found: tuple[Result | Step, Result | Step],
    shares: tuple[Estimate, Estimate],
) -> _Test:
    share = percent / 100
    middles = [math.log(curve.at(share)) for curve in curves]

    def interval(t: float) -> tuple[float, float]:
        lows, highs = [], []
        for curve, middle, of in zip(curves, middles, shares, strict=True):
            low, high = within(curve, *share_limits(share, t * of.error))
            lows.append(middle - _log(low))
            highs.append(_log(high) - middle)
        change = middles[1] - middles[0]
        return (
            math.expm1(change - math.hypot(lows[1], highs[0])),
            _expm1(change + math.hypot(highs[1], lows[0])),
        )

    base, now = (float(min(one.response.percentile(percent), one.response.max)) for one in found)
    name = f"p{percent:g}"
    return _Test(name, "ns", base, now, True, freedom(*shares), interval)


def _quotient(
    name: str, unit: Literal["ns", "1/s"], base: Estimate, now: Estimate, *, less_is_better: bool
) -> _Test:
    error = math.hypot(base.error / base.value, now.error / now.value)
    change = math.log(now.value / base.value)

    def interval(t: float) -> tuple[float, float]:
        return math.expm1(change - t * error), _expm1(change + t * error)

    degrees = freedom(
        Estimate(1.0, base.error / base.value, base.freedom),
        Estimate(1.0, now.error / now.value, now.freedom),
    )
    return _Test(name, unit, base.value, now.value, less_is_better, degrees, interval)


def _difference(base: Estimate, now: Estimate) -> _Test:
    error = math.hypot(base.error, now.error)
    change = now.value - base.value

    def interval(t: float) -> tuple[float, float]:
        return max(-1.0, change - t * error), min(1.0, change + t * error)

    return _Test("errors", "share", base.value, now.value, True, freedom(base, now), interval)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _expm1(value: float) -> float:
    return math.expm1(value) if value < 700 else math.inf


def _whole(base: _Side, now: _Side) -> tuple[float, float, float]:
    """D, how likely it is by chance, and the area between."""
    if not base.curve.count or not now.curve.count:
        return 0.0, 1.0, 0.0
    found = distances(base.curve, now.curve)
    values = [side.curve.count / max(side.effects.values()) for side in (base, now)]
    chance = kolmogorov_tail(found.upper, values[0] * values[1] / sum(values))
    return found.greatest, chance, found.area
