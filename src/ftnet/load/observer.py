"""Who follows a run while it goes: files, metrics, whatever takes each interval as it comes."""

from __future__ import annotations

from typing import Protocol

from ftnet.load.books import Books
from ftnet.load.options import Options
from ftnet.load.result import Interval, Result

__all__ = ["Observer"]


class Observer(Protocol):
    """Is told of a run by the thread that gathers it, never by one that sends.

    One that takes long makes the next interval longer, and nothing else: nothing is lost. What it
    raises ends the run as `Run.stop` does, and comes out of `Run.result`.
    """

    def begun(self, options: Options, started: float) -> None:
        """Once, before the first interval. `started`: s since the epoch, the warm-up's beginning
        if there is one: what `Interval.at` counts from."""

    def gathered(self, interval: Interval, books: Books) -> None:
        """An interval is over. `books`: all that was counted in it, to be read until this returns.

        Those of the intervals that are `measured`, merged, are the books of the result.
        """

    def ended(self, result: Result) -> None:
        """Once, after the last interval, before anybody else has the result."""
