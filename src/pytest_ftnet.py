"""pytest's plugin of ftnet: `latency_gate`, and `load_benchmark` for pytest-benchmark.

pytest imports this in every run, so it lies beside the package: whoever imports that loads the
engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ftnet.gate import LatencyGate, LoadBenchmark

__all__ = ["latency_gate", "load_benchmark"]

_written = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--latency-gate-update``."""
    parser.getgroup("ftnet", "gates on load (ftnet)").addoption(
        "--latency-gate-update",
        action="store_true",
        help="write the baselines of latency_gate, instead of comparing with them",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Nothing was written yet."""
    config.stash[_written] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which baselines were written."""
    written = terminalreporter.config.stash[_written]
    if written:
        terminalreporter.section("baselines of latency_gate")
        for line in written:
            terminalreporter.line(line)


@pytest.fixture
def latency_gate(request: pytest.FixtureRequest) -> LatencyGate:
    """Puts load on a URL or a plan; the test fails where a check does not hold, where the run is
    not valid, or where it is worse than the baseline.

    ``latency_gate(url_or_plan, checks=["p99<20ms"], baseline="tests/base.json", **options)``
    returns the `ftnet.load.Result`; see `ftnet.gate.LatencyGate`.
    """
    from ftnet.gate import LatencyGate

    config = request.config
    update = config.getoption("--latency-gate-update")
    return LatencyGate(config.rootpath, config.stash[_written] if update else None)


@pytest.fixture
def load_benchmark(request: pytest.FixtureRequest) -> LoadBenchmark:
    """Puts load on a URL or a plan, and its response times into pytest-benchmark's table.

    ``load_benchmark(url_or_plan, **options)`` returns the `ftnet.load.Result`; see
    `ftnet.gate.LoadBenchmark`.
    """
    from ftnet.gate import LoadBenchmark, Stopwatch

    if "benchmark" in request.fixturenames:
        raise pytest.UsageError(
            "load_benchmark and benchmark can't be in one test: load_benchmark.benchmark is it"
        )
    watch = Stopwatch()
    marker = request.node.get_closest_marker("benchmark")
    options = {**(marker.kwargs if marker else {}), "timer": watch.timer}
    request.node.add_marker(pytest.mark.benchmark(**options), append=False)
    try:
        benchmark = request.getfixturevalue("benchmark")
    except pytest.FixtureLookupError:
        raise pytest.UsageError("load_benchmark needs pytest-benchmark") from None
    return LoadBenchmark(benchmark, watch)
