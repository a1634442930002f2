"""The plots of a load run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ftnet.cli_load_report import count, duration, percent, percentile, rate, seconds
from ftnet.report.charts import Band, Chart, Limit, Tick, plot, time_ticks

if TYPE_CHECKING:
    from ftcore.histogram import Histogram
    from ftnet.load.checks import Outcome
    from ftnet.load.result import Interval, Result
    from ftnet.report.charts import Values

__all__ = ["Course", "percentile_curve"]

_A_DECADE: Final = 40  # points of the percentile curve
_END: Final = 0.35  # decades after the last percentile, where the maximum is


def time(ns: float) -> str:
    """Of ns, for a person."""
    return duration(ns / 1e9) if ns else "0"


# ---- percentiles


def percentile_curve(result: Result, outcomes: Sequence[Outcome]) -> Chart | None:
    """Response and service time by percentile, as far as there are samples for.

    None where there are none, or percentiles are refused. As HdrHistogram plots them: each
    further nine of the percentile takes the same room.
    """
    most = max(result.response.count, result.service.count)
    if not most or result.percentiles_refused:
        return None
    nines = math.log10(most)
    levels = {index / _A_DECADE for index in range(1, math.floor(nines * _A_DECADE) + 1)}
    marks = {one: -math.log10(1 - one / 100) for one in (50, 75, 95)}
    grid = sorted(levels | {one for one in marks.values() if one <= nines} | {nines})
    end = nines + _END
    known = {level: f"p{one}" for one, level in marks.items()}
    return plot(
        title="Latency by percentile",
        about=_curve_text(result),
        xs=[*(level / end for level in grid), 1.0],
        names=lambda part: (
            "max" if part[0] == len(grid) else known.get(grid[part[0]]) or _level(grid[part[0]])
        ),
        lines={
            "response": ("response", _curve(result.response, grid)),
            "service": ("service", _curve(result.service, grid)),
        },
        x_ticks=_percent_ticks(nines, end),
        y_name=time,
        limits=[one for outcome in outcomes if (one := _limit(outcome, nines, end))],
    )


def _limit(outcome: Outcome, nines: float, end: float) -> Limit | None:
    """Of a check of a percentile that there are samples for."""
    check = outcome.check
    found = re.fullmatch(r"(?:(?:response|service)\.)?p([\d.]+)", check.name)
    if found is None or not check.sign.startswith("<"):
        return None
    level = -math.log10(1 - float(found[1]) / 100)
    if level > nines:
        return None
    return Limit(level / end, check.limit * 1e9, check.text, outcome.ok)


def _percent_ticks(nines: float, end: float) -> list[Tick]:
    """As many as there is room for; fewer where there is little."""
    levels = {0.0: "0", math.log10(2): "p50"}
    levels |= {float(level): _level(level) for level in range(1, int(nines) + 1)}
    ticks = [Tick(1.0, "max")]
    for level in sorted((one for one in levels if one <= nines), reverse=True):
        at, wide = level / end, [one.at for one in ticks if not one.more]
        if ticks[-1].at - at > 0.05:
            ticks.append(Tick(at, levels[level], more=wide[-1] - at < 0.17))
    return ticks


def _curve(histogram: Histogram, grid: Sequence[float]) -> Values:
    values = [percentile(histogram, _percent(level)) for level in grid]
    return [*values, histogram.max if histogram.count else None]


def _percent(level: float) -> float:
    return 100 * (1 - 10**-level)


def _level(level: float) -> str:
    """``p99.9`` of 3, with as many decimals as tell it from its neighbours."""
    if level == int(level):
        return f"p{_percent(level):.{max(0, int(level) - 2)}f}"
    return f"p{_percent(level):.{max(1, math.ceil(level))}f}"


def _curve_text(result: Result) -> str:
    told = [
        f"{name} {'p' if of < 100 else ''}{of:g} {time(value)}"
        for name, histogram in (("response", result.response), ("service", result.service))
        for of in (50.0, 99.0, 99.9)
        if (value := percentile(histogram, of)) is not None
    ]
    return f"Two curves over the percentile: {', '.join(told)}."


# ---- over time


class Course:
    """Plots of what was seen each second, on one and the same axis."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self._intervals: Sequence[Interval] = [one for one in result.intervals if one.seconds > 0]
        self._end = self._intervals[-1].at if self._intervals else 1.0
        self._xs = [(one.at - one.seconds / 2) / self._end for one in self._intervals]

    def __bool__(self) -> bool:
        return len(self._intervals) > 1

    def latency(self) -> Chart | None:
        """Percentiles of the response time; None when there was no response."""
        if not any(one.response.count for one in self._intervals):
            return None
        lines: dict[str, tuple[str, Values]] = {
            f"p{of:g}": (f"p{of:g}", [percentile(one.response, of) for one in self._intervals])
            for of in (50.0, 90.0, 99.0)
        }
        lines["max"] = "max", [one.response.max or None for one in self._intervals]
        worst = max(self._intervals, key=lambda one: one.response.max)
        about = f"The largest, {time(worst.response.max)}, came up to {seconds(worst.at)}."
        return self._plot("Response time", about, lines, time)

    def rate(self) -> Chart:
        """Requests that were due, in the open model, and answers."""
        lines: dict[str, tuple[str, Values]] = {}
        if self._result.options.open_model:
            lines["iterations due" if self._result.plan else "due"] = "due", self._due()
        answered = self._a_second(lambda one: one.counts.answered)
        lines["answered"] = "answered", answered
        about = f"From {rate(min(answered))} to {rate(max(answered))} answers a second."
        return self._plot("Rate, a second", about, lines, rate, log=False)

    def _due(self) -> Values:
        """On average in each interval, from the `target` of its begin and, in a ramp, its end."""
        options, at_end = self._result.options, [one.target for one in self._intervals]
        first = options.rate if options.rate is not None else 0.0 if options.stages else at_end[0]
        at_begin = [first, *at_end[:-1]]
        if not options.stages:
            at_end = at_begin
        end = self._result.warmup + self._result.duration
        return [
            (begin + target) / 2 if one.at - one.seconds < end - 1e-3 else None
            for begin, target, one in zip(at_begin, at_end, self._intervals, strict=True)
        ]

    def errors(self) -> Chart | None:
        """Those a second; None when there are none at all."""
        wrong = self._a_second(lambda one: one.wrong)
        if not any(wrong):
            return None
        about = f"Up to {rate(max(wrong))} errors a second."
        lines = {"errors": ("errors", wrong)}
        return self._plot("Errors, a second", about, lines, rate, log=False, low=True)

    def queues(self) -> Chart:
        """Requests under way and waiting, and connections."""
        lines: dict[str, tuple[str, Values]] = {
            "connections": ("due", [one.connections for one in self._intervals]),
            "in flight": ("answered", [one.in_flight for one in self._intervals]),
        }
        if self._result.options.open_model:
            lines["waiting"] = "errors", [one.waiting for one in self._intervals]
        most = max(one.in_flight for one in self._intervals)
        about = f"Up to {count(most)} requests were under way."
        return self._plot("Under way", about, lines, count, log=False, low=True, least_step=1)

    def cpu(self) -> Chart:
        """Of the generator, as a share of one core."""
        used = self._a_second(lambda one: one.cpu)
        lines = {"all workers": ("answered", used)}
        about = f"Up to {percent(max(used))} of a core was used."
        return self._plot("CPU, of one core", about, lines, percent, log=False, low=True)

    def _a_second(self, of: Callable[[Interval], float]) -> list[float]:
        return [of(one) / one.seconds for one in self._intervals]

    def _plot(
        self,
        title: str,
        about: str,
        lines: Mapping[str, tuple[str, Values]],
        y_name: Callable[[float], str],
        *,
        log: bool | None = None,
        low: bool = False,
        least_step: float = 0.0,
    ) -> Chart:
        return plot(
            title,
            about,
            self._xs,
            self._when,
            lines,
            time_ticks(self._end, seconds),
            y_name,
            log=log,
            bands=self._bands(),
            low=low,
            least_step=least_step,
        )

    def _when(self, part: range) -> str:
        first, last = self._intervals[part[0]], self._intervals[part[-1]]
        start = max(0.0, first.at - first.seconds)
        return f"{seconds(start) if start > 5e-4 else '0'} – {seconds(last.at)}"

    def _bands(self) -> list[Band]:
        """What was not measured: before, and the time that requests under way got after."""
        begin = self._result.warmup
        end = begin + self._result.duration
        found = [Band(0.0, min(begin / self._end, 1.0), "warm-up")] if begin else []
        if end < self._end * 0.995:
            found.append(Band(end / self._end, 1.0, "grace"))
        return found
