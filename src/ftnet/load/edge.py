"""Where the rates that hold end and those that break begin: which one to try next, and how sure it
is, from what was tried. Nothing is sent here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Edge", "Outcome", "Tried"]

Outcome = Literal["held", "broke", "invalid"]

_COARSE: Final = 0.1  # of the rate: as near as it is worth to come to what the generator can do


@dataclass(slots=True)
class Tried:
    """What came of one rate."""

    rate: float  #: a second
    held: int = 0  #: probes in which everything that is asked for held
    broke: int = 0  #: those in which something did not
    invalid: int = 0  #: those that tell of the generator, not of the server

    @property
    def judged(self) -> int:
        """Probes that tell something of the server."""
        return self.held + self.broke


class Edge:
    """A search by doubling, bisection and repetition.

    A single probe may be wrong: the server, or its neighbour on the machine, had a bad moment. So
    the edge is where the fewest probes contradict it: the fewest that broke below and held above.
    A contradiction brings the search back to where it was, and the rates on both sides of the edge
    are tried again until each was tried `repeats` times.
    """

    def __init__(
        self, start: float, floor: float, ceiling: float, tolerance: float, repeats: int
    ) -> None:
        """Rates from `floor` to `ceiling`, `start` first; `tolerance`: a share of the rate."""
        self._start, self._floor, self._ceiling = start, floor, ceiling
        self._tolerance: Final = tolerance
        self.repeats: Final = repeats
        self._tried: dict[float, Tried] = {}

    def add(self, rate: float, outcome: Outcome) -> None:
        """What came of a probe."""
        one = self._tried.setdefault(rate, Tried(rate))
        setattr(one, outcome, getattr(one, outcome) + 1)

    def next(self) -> float | None:
        """The rate to try; None: what there is to find is found."""
        for one in self._tried.values():
            if not one.judged and not self.beyond(one):
                return one.rate
        below, above = self.sides()
        low = below[-1] if below else None
        high = above[0] if above else None
        return (
            self._bracketed(low, high)
            or self._repeated(filter(None, (low, high)))
            or self._cleared(reversed(below), _all_held, self._lower)
            or self._cleared(above, self.all_broke, self._higher)
        )

    # --- what is known ------------------------------------------------------------------------

    @property
    def tried(self) -> list[Tried]:
        """All rates, the lowest first."""
        return sorted(self._tried.values(), key=lambda one: one.rate)

    def sides(self) -> tuple[list[Tried], list[Tried]]:
        """Those below the edge, and those above."""
        every = self.tried
        costs = [self._contradictions(every[:at], every[at:]) for at in range(len(every) + 1)]
        at = costs.index(min(costs))  # of equal ones the lowest, to be on the safe side
        return every[:at], every[at:]

    def beyond(self, one: Tried) -> bool:
        """Whether the generator can't do this rate: that takes more than one bad moment, too."""
        return one.invalid >= self.repeats * (one.judged + 1)

    def clean_low(self) -> Tried | None:
        """The highest rate below the edge that held in each of its probes."""
        return next(filter(_all_held, reversed(self.sides()[0])), None)

    def clean_high(self) -> Tried | None:
        """The lowest rate above the edge that held in none."""
        return next(filter(self.all_broke, self.sides()[1]), None)

    def odd(self) -> list[Tried]:
        """Rates that contradict the edge, but for the two beside it: bad moments, or good ones."""
        below, above = self.sides()
        return [one for one in below[:-1] if one.broke] + [one for one in above[1:] if one.held]

    def all_broke(self, one: Tried) -> bool:
        """Whether it held never, and that is the server's, or the generator's, last word."""
        return not one.held and (one.broke > 0 or self.beyond(one))

    def _contradictions(self, below: list[Tried], above: list[Tried]) -> int:
        broke = sum(one.invalid if self.beyond(one) else one.broke for one in below)
        return broke + sum(one.held for one in above)

    # --- what to try --------------------------------------------------------------------------

    def _bracketed(self, low: Tried | None, high: Tried | None) -> float | None:
        if low is not None and high is not None:
            beyond = self.beyond(high)
            return self._between(low.rate, high.rate, _COARSE if beyond else self._tolerance)
        if low is not None:
            return self._higher(low.rate)
        return self._start if high is None else self._lower(high.rate)

    def _higher(self, rate: float) -> float | None:
        return min(2 * rate, self._ceiling) if rate < self._ceiling else None

    def _lower(self, rate: float) -> float | None:
        return max(rate / 2, self._floor) if rate > self._floor else None

    def _between(self, low: float, high: float, tolerance: float) -> float | None:
        """Their middle, as round a number as the tolerance has room for; None: they are close."""
        if high - low <= low * tolerance:
            return None
        middle = (low + high) / 2
        step: float = 10.0 ** math.floor(math.log10(middle * tolerance / 2))
        return float(f"{round(middle / step) * step:.12g}")

    def _repeated(self, some: Iterable[Tried]) -> float | None:
        few = (one for one in some if one.judged < self.repeats and not self.beyond(one))
        return next((one.rate for one in few), None)

    def _cleared(
        self,
        side: Iterable[Tried],
        clean: Callable[[Tried], bool],
        further: Callable[[float], float | None],
    ) -> float | None:
        """On one side, from the edge outwards: rates whose probes agree, as near as there are."""
        mixed = None
        for one in side:
            if clean(one):
                between = None
                if mixed is not None:
                    nearest = sorted((one.rate, mixed.rate))
                    between = self._between(*nearest, self._tolerance)
                return between or self._repeated([one])
            mixed = one
        return further(mixed.rate) if mixed is not None else None


def _all_held(one: Tried) -> bool:
    return one.held > 0 and not one.broke
