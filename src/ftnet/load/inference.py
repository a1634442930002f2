"""What `compare` reckons with: distributions from histograms, errors of series, Student's t.

Everything is of the standard library: a gate in CI needs no numpy.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from ftcore.histogram import Histogram
from ftnet.load.result import PERCENTS, Summary

_MOST_COSINES: Final = 32

# ---- distributions


class Curve:
    """A histogram's values as a distribution, those of a slot spread evenly over it."""

    def __init__(self, histogram: Histogram) -> None:
        filled = [slot for slot, number in enumerate(histogram.counts) if number]
        ends, counts = histogram.values, histogram.counts
        self.count = histogram.count
        self.lows = [float(ends[slot - 1]) if slot else -1.0 for slot in filled]
        self.highs = [float(ends[slot]) for slot in filled]
        if filled:
            self.lows[0] = max(self.lows[0], histogram.min - 1.0)
            self.highs[-1] = float(histogram.max)
        #: values below each slot, and at last all
        self.below = [0, *accumulate(counts[slot] for slot in filled)]

    def rank(self, value: float) -> float:
        """Share of the values up to this one, of 0 to 1."""
        slot = bisect_left(self.highs, value)
        if slot == len(self.highs):
            return 1.0
        low, high = self.lows[slot], self.highs[slot]
        part = max(0.0, (value - low) / (high - low))  # a slot is at least 1 wide
        return (self.below[slot] + part * (self.below[slot + 1] - self.below[slot])) / self.count

    def at(self, share: float) -> float:
        """The value up to which this share is."""
        wanted = min(max(share, 0.0), 1.0) * self.count
        slot = max(bisect_left(self.below, wanted), 1) - 1
        part = (wanted - self.below[slot]) / (self.below[slot + 1] - self.below[slot])
        return self.lows[slot] + part * (self.highs[slot] - self.lows[slot])


@dataclass(frozen=True, slots=True)
class Distances:
    """Of two distributions."""

    greatest: float  #: of the distribution functions (Kolmogorov), 0 to 1
    upper: float  #: that from the median up
    area: float  #: between the distribution functions (Wasserstein), in the values' unit


def within(curve: Curve, least: float, most: float) -> tuple[float, float]:
    """The values up to which these shares are; 0 and infinite where not one value is beyond."""
    low = curve.at(least) if least * curve.count >= 1 else 0.0
    return low, curve.at(most) if (1 - most) * curve.count >= 1 else math.inf


def distances(one: Curve, other: Curve) -> Distances:
    """How far apart they are; both have values."""
    edges = sorted({*one.lows, *one.highs, *other.lows, *other.highs})
    ranks = [(one.rank(edge), other.rank(edge)) for edge in edges]
    gaps = [abs(ours - theirs) for ours, theirs in ranks]
    upper = [gap for gap, pair in zip(gaps, ranks, strict=True) if sum(pair) >= 1]
    area = sum(
        (after - before) * (gap + following) / 2
        for before, after, gap, following in zip(edges, edges[1:], gaps, gaps[1:], strict=False)
    )
    return Distances(max(gaps), max(upper), area)


def share_below(second: Summary, whole: Curve, share: float) -> float:
    """Of one second's values, the share of those that are below the quantile `share` of `whole`.

    Between the percentiles that are kept of the second it goes evenly in the ranks of `whole`: as
    `whole` does, for a second that is like all.
    """
    values = (second.min, *second.percentiles, second.max)
    levels = (0.0, *(percent / 100 for percent in PERCENTS), 1.0)
    ranks = [whole.rank(value) for value in values]
    ranks[0] = 0.0
    after = bisect_right(ranks, share)
    if after == len(ranks):
        return 1.0
    left, right = ranks[after - 1], ranks[after]
    part = (share - left) / (right - left)
    return levels[after - 1] + part * (levels[after] - levels[after - 1])


def share_limits(share: float, error: float) -> tuple[float, float]:
    """A share less and more its error, on the scale of logits, which stay within 0 and 1."""
    logit = math.log(share / (1 - share))
    size = min(error / (share * (1 - share)), 500.0)
    return 1 / (1 + math.exp(size - logit)), 1 / (1 + math.exp(-size - logit))


# ---- errors of what comes second after second


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, and how sure it is."""

    value: float
    error: float  #: standard error
    freedom: float  #: degrees of freedom of that

    def at_least(self, error: float) -> Estimate:
        """The same, no surer than that."""
        return Estimate(self.value, max(self.error, error), self.freedom)


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> Estimate:
    """sum(parts) / sum(wholes) of a series whose neighbours may be alike.

    Its variance is that of the residuals' mean, by equally weighted cosines (Lazarus, Lewis, Stock
    and Watson, "HAR Inference", JBES 36, 2018): the mean square of the first B coefficients of the
    cosine transform, B = 0.4 n**(2/3), which makes it Student's with B degrees of freedom.
    """
    n, whole = len(parts), sum(wholes)
    value = sum(parts) / whole
    residuals = [part - value * of for part, of in zip(parts, wholes, strict=True)]
    cosines = min(max(2, round(0.4 * n ** (2 / 3))), _MOST_COSINES)
    squares = 0.0
    for number in range(1, cosines + 1):
        turn = math.pi * number / n
        squares += sum(r * math.cos(turn * (at + 0.5)) for at, r in enumerate(residuals)) ** 2
    variance_of_sum = 2 * squares / cosines
    return Estimate(value, math.sqrt(variance_of_sum) / whole, cosines)


def freedom(one: Estimate, other: Estimate) -> float:
    """Degrees of freedom of the difference (Welch and Satterthwaite)."""
    squares = one.error**2, other.error**2
    if not any(squares):
        return one.freedom + other.freedom
    fourths = squares[0] ** 2 / one.freedom + squares[1] ** 2 / other.freedom
    return sum(squares) ** 2 / fourths


# ---- distributions of statistics


def student_tail(t: float, degrees: float) -> float:
    """How likely Student's t is beyond `t` on either side."""
    return _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def student_limit(alpha: float, degrees: float) -> float:
    """The t that has `alpha` beyond it on both sides together."""
    most = 1.0
    while student_tail(most, degrees) > alpha:
        most *= 2
    return root(lambda t: student_tail(t, degrees) <= alpha, most)


def root(holds: Callable[[float], bool], most: float) -> float:
    """Where what does not hold at 0 begins to hold, which it does at `most`."""
    least = 0.0
    for _ in range(50):
        middle = (least + most) / 2
        if holds(middle):
            most = middle
        else:
            least = middle
    return most


def kolmogorov_tail(distance: float, values: float) -> float:
    """How likely so many independent values are that far from their distribution, or farther."""
    scaled = (math.sqrt(values) + 0.12 + 0.11 / math.sqrt(values)) * distance
    if scaled < 0.2:
        return 1.0
    terms = ((-1.0) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * sum(terms)))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised; by its continued fraction (Abramowitz and Stegun 26.5.8)."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    out = d
    for m in range(1, 300):
        for top in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / (1 + top * d), 1 + top / c
            out *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * out
