"""Load as a test of pytest: it fails when the answers are too slow, or have become slower.

::

    def test_index(latency_gate):
        latency_gate("http://localhost:8080/", ["p99<20ms", "errors<0.1%"], rate=500, duration=10)

    def test_search(latency_gate):  # written by: pytest --latency-gate-update
        latency_gate(Path("tests/search.toml"), baseline="tests/search.json")

    def test_bench(load_benchmark):  # of pytest-benchmark
        load_benchmark("http://localhost:8080/", rate=500, duration=10)

The fixtures come with the package. Tests that put load on one machine at the same time measure
each other: leave them out of pytest-xdist, or in one group of it.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

from ftnet import cli_compare, cli_load_report, load
from ftnet.cli_load_run import document
from ftnet.load.checks import Check, Outcome
from ftnet.load.comparison import Comparison
from ftnet.load.result import PERCENTS, Result
from ftnet.sink import FileSink
from ftnet.terminal import Style

if TYPE_CHECKING:
    from ftcore.histogram import Histogram
    from ftnet.plan.model import Plan

__all__ = ["Bench", "Gate"]

_MOST_ROUNDS: Final = 10_000  # of a benchmark: pytest-benchmark takes them one by one
_STYLE: Final = Style(width=100)


class Gate:
    """What the fixture `latency_gate` is: call it, as often as the test likes."""

    def __init__(self, root: Path, *, update: bool = False, skip_invalid: bool = False) -> None:
        """`root`: where relative paths of baselines begin; the others: as pytest's options."""
        self._root, self._update, self._skip_invalid = root, update, skip_invalid

    def __call__(
        self,
        target: str | os.PathLike[str] | Plan,
        checks: str | Sequence[str] = (),
        *,
        baseline: str | os.PathLike[str] | None = None,
        max_regression: float = 0.05,
        alpha: float = 0.01,
        skip_invalid: bool | None = None,
        **options: Any,
    ) -> Result:
        """Puts load on a URL, or carries a plan (or its file) out; returns what was found.

        checks: as `ftnet load --check` has them: ``["p99<20ms", "errors<0.1%"]``
        baseline: a file with the result that it is compared with, as `ftnet load --json` writes it,
            from pytest's rootdir. ``pytest --latency-gate-update`` writes it, when all else holds.
        max_regression, alpha: see `ftnet.load.compare`
        skip_invalid: see ``--latency-gate-skip-invalid``; None: as that says
        options: those of `ftnet.load.run`

        The test fails, with the whole report, when a check does not hold, nothing was answered, it
        is a regression from the baseline or can't be compared with it, or the run is not valid: the
        generator, not the server, was the limit. What can't be asked for is a TypeError or
        ValueError before anything is sent.
        """
        asked = [Check.parse(one) for one in ([checks] if isinstance(checks, str) else checks)]
        base = None if baseline is None else _Baseline(self._root / baseline, max_regression, alpha)
        if base is not None and not self._update:
            base.read()
        result = _run(target, options)
        outcomes = [one.judge(result) for one in asked]
        if not result.valid:
            skips = self._skip_invalid if skip_invalid is None else skip_invalid
            invalid = f"the run is INVALID: {'; '.join(map(str, result.reasons))}"
            if skips:
                pytest.skip(invalid)
            _fail([invalid], result, outcomes)
        told = _complaints(result, outcomes)
        found = base.compared(result) if base is not None and result.counts.completed else None
        if found is not None and (found.regressions or not found.comparable):
            told.append(f"{baseline}: {_told(found)}")
        if told:
            _fail(told, result, outcomes, found)
        if base is not None and self._update:
            base.write(document(result, outcomes))
        return result


class _Baseline:
    """The file that a result is compared with."""

    def __init__(self, path: Path, max_regression: float, alpha: float) -> None:
        self._path, self._max_regression, self._alpha = path, max_regression, alpha
        self._result: Result | None = None

    def read(self) -> None:
        """Fails the test when there is none that can be compared with. ValueError: a limit."""
        try:
            self._result = load.read(self._path)
        except FileNotFoundError:
            told = f"there is no baseline {self._path}: pytest --latency-gate-update writes it"
            raise pytest.fail.Exception(told, pytrace=False) from None
        except (OSError, ValueError) as error:
            told = f"the baseline can't be read: {error}"
            raise pytest.fail.Exception(told, pytrace=False) from None
        found = self.compared(self._result)
        if not found.comparable:
            pytest.fail(f"{self._path}: {_told(found)}", pytrace=False)

    def compared(self, result: Result) -> Comparison:
        """With what was read; without, with itself: whether there is enough to be compared with."""
        return load.compare(
            self._result or result,
            result,
            max_regression=self._max_regression,
            alpha=self._alpha,
            names=("the baseline", "this run"),
        )

    def write(self, content: dict[str, Any]) -> None:
        """In one step; OSError: it can't be."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        sink = FileSink(str(self._path))
        try:
            sink.write(json.dumps(content).encode() + b"\n")
            sink.finish()
        except BaseException:
            sink.discard()
            raise


class Bench:
    """What the fixture `load_benchmark` is: call it once."""

    def __init__(self, gate: Gate, benchmark: Any) -> None:
        self._gate, self._benchmark = gate, benchmark

    def __call__(self, target: str | os.PathLike[str] | Plan, *args: Any, **given: Any) -> Result:
        """As `Gate`; then pytest-benchmark shows, stores and compares the response times.

        Its rounds are the response times of all requests; of more than 10,000 so many at even
        distances in their order, with the least and the greatest. Its OPS is 1 / mean, as always:
        the rate that was answered is in ``extra_info``, with the exact mean, the percentiles, ms,
        the number of samples and the share of errors.
        """
        benchmark = self._benchmark
        try:
            result: Result = benchmark.pedantic(self._gate, (target, *args), given)
        except BaseException:  # pytest's own are none that it looks for
            benchmark.has_error = True
            raise
        benchmark.extra_info.update(_extra_info(result))
        if benchmark.enabled:
            stats = benchmark.stats.stats
            stats.data.clear()  # of the round that was the whole run
            for ns in _rounds(result.response):
                stats.update(ns / 1e9)
        return result


def _run(target: str | os.PathLike[str] | Plan, options: dict[str, Any]) -> Result:
    """To its end. Ctrl-C ends the run, and the tests."""
    if isinstance(target, os.PathLike):
        from ftnet import plan

        target = plan.read(target)
    under_way = load.start(target, **options)
    try:
        return under_way.result()
    finally:
        under_way.stop()


# ---- what is said


def _complaints(result: Result, outcomes: Sequence[Outcome]) -> list[str]:
    if not result.counts.completed:
        return ["nothing was answered"]
    return [
        f"{one.check.text} does not hold: {cli_load_report.found(one)}"
        for one in outcomes
        if not one.ok
    ]


def _told(found: Comparison) -> str:
    return "; ".join([cli_compare.verdict(found), *found.problems])


def _fail(
    told: Sequence[str],
    result: Result,
    outcomes: Sequence[Outcome],
    found: Comparison | None = None,
) -> NoReturn:
    lines = ["; ".join(told), ""]
    if found is not None:
        lines += [*cli_compare.table(found, _STYLE), ""]
    lines += cli_load_report.lines(result, outcomes, _STYLE)
    pytest.fail("\n".join(lines), pytrace=False)


# ---- benchmarks


def _rounds(histogram: Histogram) -> list[int]:
    """Values in ns at even distances in their order; the first and the last are exact."""
    number = min(histogram.count, _MOST_ROUNDS)
    ends, ranks = histogram.values, list(accumulate(histogram.counts))
    step = histogram.count / number
    between = [ends[bisect_left(ranks, (index + 0.5) * step)] for index in range(1, number - 1)]
    return [histogram.min, *between, histogram.max][-number:]


def _extra_info(result: Result) -> dict[str, Any]:
    times = result.response
    info: dict[str, Any] = {"rate": result.rate, "error_rate": result.error_rate}
    info |= {"samples": times.count, "mean_ms": times.mean / 1e6}
    for percent in PERCENTS:
        ns = cli_load_report.percentile(times, percent)
        info[f"p{percent:g}_ms"] = None if ns is None else ns / 1e6
    return info
