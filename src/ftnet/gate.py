"""What the fixtures of pytest do: tests that fail when a server is too slow, and benchmarks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import pytest

from ftnet import load
from ftnet.cli_compare import table
from ftnet.cli_load_report import duration, lines, percentile, rate
from ftnet.load import Result
from ftnet.load.checks import Check, Outcome
from ftnet.load.result import PERCENTS
from ftnet.sink import FileSink
from ftnet.terminal import Style

if TYPE_CHECKING:
    from ftcore.histogram import Histogram
    from ftnet.plan import Plan

__all__ = ["LatencyGate", "LoadBenchmark", "Stopwatch"]

_STYLE: Final = Style(100, blocks=True)
_ROUNDS: Final = 1000  # of a benchmark: quantiles of the response time

#: A URL, a plan, or the path of a plan's file.
Target: TypeAlias = "str | os.PathLike[str] | Plan"


class LatencyGate:
    """Runs load in a test, which fails unless it is as it should be.

    ::

        def test_latency(latency_gate):
            latency_gate(
                "http://localhost:8000/",
                checks=["p99<20ms", "errors<0.1%"],
                baseline="tests/base.json",
                rate=1000,
                duration=30,
            )
    """

    def __init__(self, root: Path, written: list[str] | None) -> None:
        """`root`: where paths begin. `written`: takes what is said of baselines that are written;
        None: they are compared with."""
        self._root, self._written = root, written

    def __call__(
        self,
        target: Target,
        checks: str | Sequence[str | Check] = (),
        baseline: str | os.PathLike[str] | None = None,
        *,
        max_regression: float = 0.05,
        alpha: float = 0.01,
        invalid: Literal["fail", "skip"] = "fail",
        **options: Any,
    ) -> Result:
        """`load.run` with these options, and its result.

        The test fails, with the report of the run, where nothing was answered, where a check
        (``"p99<20ms"``) does not hold, and where it is worse than the `baseline` by more than
        `max_regression` and beyond chance (`load.compare`); with --latency-gate-update the result
        becomes the baseline instead. A run that says more of this machine than of the server
        fails the test, too, or with ``invalid="skip"`` skips it.

        `baseline` and paths of plans begin at pytest's root directory.
        """
        __tracebackhide__ = True
        judges = _parsed(checks)
        base = None if baseline is None or self._written is not None else self._read(baseline)
        result = _ran(_target(target, self._root), options)
        outcomes = [one.judge(result) for one in judges]
        _demand_valid(result, outcomes, invalid)
        broken = [_broken(one) for one in outcomes if not one.ok]
        if not result.counts.completed:
            broken.insert(0, "nothing was answered")
        if broken:
            _fail("; ".join(broken), lines(result, outcomes, _STYLE))
        if base is not None:
            names = os.fspath(baseline or ""), "this run"
            found = load.compare(
                base, result, max_regression=max_regression, alpha=alpha, names=names
            )
            if found.regressions or not found.comparable:
                word = f"{found.verdict}, against {names[0]}"
                report = [*table(found, _STYLE), "", *lines(result, outcomes, _STYLE)]
                _fail(word, report)
        elif baseline is not None and self._written is not None:
            self._written.append(self._write(baseline, result))
        return result

    def _read(self, baseline: str | os.PathLike[str]) -> Result:
        """The baseline, before anything is sent."""
        __tracebackhide__ = True
        try:
            return load.read(self._root / baseline)
        except FileNotFoundError:
            pytest.fail(
                f"latency_gate: there is no {os.fspath(baseline)}; pytest --latency-gate-update"
                " writes it",
                pytrace=False,
            )
        except ValueError as error:
            pytest.fail(f"latency_gate: {error}", pytrace=False)

    def _write(self, baseline: str | os.PathLike[str], result: Result) -> str:
        path = self._root / baseline
        path.parent.mkdir(parents=True, exist_ok=True)
        sink = FileSink(os.fspath(path))
        try:
            sink.write(json.dumps(result.to_dict()).encode() + b"\n")
            sink.finish()
        except BaseException:
            sink.discard()
            raise
        p99 = percentile(result.response, 99)
        told = "" if p99 is None else f", p99 {duration(p99 / 1e9)}"
        return f"{os.fspath(baseline)}: {rate(result.rate)} answers/s{told}"


def _parsed(checks: str | Sequence[str | Check]) -> list[Check]:
    given = checks.split(",") if isinstance(checks, str) else checks
    return [one if isinstance(one, Check) else Check.parse(one) for one in given]


def _target(target: Target, root: Path) -> str | Plan:
    if isinstance(target, os.PathLike):
        from ftnet import plan

        return plan.read(root / target)
    return target


def _ran(target: str | Plan, options: dict[str, Any]) -> Result:
    """KeyboardInterrupt: it was interrupted, and so are the tests."""
    result = load.run(target, **options)
    if result.interrupted:
        raise KeyboardInterrupt
    return result


def _demand_valid(result: Result, outcomes: Sequence[Outcome], invalid: str) -> None:
    __tracebackhide__ = True
    if invalid not in ("fail", "skip"):
        raise ValueError(f"invalid must be 'fail' or 'skip', got {invalid!r}")
    if result.valid:
        return
    reasons = "; ".join(str(one) for one in result.reasons)
    if invalid == "skip":
        pytest.skip(f"the generator was the limit, not the server: {reasons}")
    _fail(f"the generator was the limit, not the server: {reasons}",
          lines(result, outcomes, _STYLE))  # fmt: skip


def _broken(one: Outcome) -> str:
    from ftnet.cli_load_report import got

    return f"{one.check.text}: {one.note if one.got is None else got(one.got, one.check.unit)}"


def _fail(reason: str, report: Sequence[str]) -> None:
    __tracebackhide__ = True
    pytest.fail("\n".join([reason, "", *report]), pytrace=False)


# ---- benchmarks


class Stopwatch:
    """A timer that says what it was told: each time measured with it is the one that was set."""

    def __init__(self) -> None:
        self.reading = 0.0  # s, for whoever asks next; after that 0 again

    def timer(self) -> float:
        """In place of time.perf_counter."""
        reading, self.reading = self.reading, 0.0
        return reading


class Benchmark(Protocol):
    """What is used of pytest-benchmark's fixture."""

    extra_info: dict[str, Any]

    def pedantic(self, target: Callable[[], object], *, rounds: int) -> object:
        """Calls the target, and measures each round with the timer."""


class LoadBenchmark:
    """Runs load in a test, and hands its response times to pytest-benchmark.

    ::

        def test_orders(load_benchmark):
            load_benchmark("http://localhost:8000/orders", rate=500, duration=10)

    Each round of the benchmark is a response time: the quantiles of the run at equal distances,
    1,000 of them, the least and the greatest among them. So min, max, median, mean and the others
    are those of the response times, in the table, in storage and in comparisons
    (``--benchmark-compare-fail=median:10%``); OPS is 1 / mean, and not the rate. Exact percentiles
    (p50 ... p99.99, s), the rate and the share of errors are in ``extra_info``.
    """

    def __init__(self, benchmark: Benchmark, watch: Stopwatch) -> None:
        self.benchmark = benchmark  #: pytest-benchmark's fixture
        self._watch = watch

    def __call__(
        self,
        target: Target,
        *,
        invalid: Literal["fail", "skip"] = "fail",
        **options: Any,
    ) -> Result:
        """`load.run` with these options, and its result. Once in a test.

        A run that says more of this machine than of the server fails the test, or with
        ``invalid="skip"`` skips it; one without answers fails it.
        """
        __tracebackhide__ = True
        result = _ran(_target(target, Path()), options)
        _demand_valid(result, (), invalid)
        if not result.counts.completed:
            _fail("nothing was answered", lines(result, (), _STYLE))
        self.benchmark.extra_info.update(facts(result))
        times = iter(quantiles(result.response, _ROUNDS))

        def wait() -> None:
            self._watch.reading = next(times, 0.0)

        rounds = min(result.response.count, _ROUNDS)
        self.benchmark.pedantic(wait, rounds=rounds)
        return result


def facts(result: Result) -> dict[str, Any]:
    """What is worth keeping of a run beside its response times; s, and what there is too little
    of to tell is left out."""
    found: dict[str, Any] = {
        "rate": result.rate,
        "requests": result.counts.completed,
        "error_rate": result.error_rate,
        "connections": result.options.connections,
    }
    if result.options.rate is not None:
        found["rate_due"] = result.options.rate
    for percent in PERCENTS:
        value = percentile(result.response, percent)
        if value is not None:
            found[f"p{percent:g}"] = value / 1e9
    return found


def quantiles(histogram: Histogram, most: int) -> list[float]:
    """So many at most, at equal distances, in s; the first is the least and the last the greatest
    value, but of a single one."""
    number = min(histogram.count, most)
    percents = [100 * (index + 0.5) / number for index in range(number)]
    found = [min(value, histogram.max) / 1e9 for value in histogram.percentiles(percents)]
    if number > 1:
        found[0] = histogram.min / 1e9
        found[-1] = histogram.max / 1e9
    return found
