"""Gates of load, and the fixtures `latency_gate` and `load_benchmark` in a pytest of their own."""

from __future__ import annotations

import json
import random
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftnet import load
from ftnet.gate import Gate
from ftnet.load import Result
from ftnet.load.checks import CheckError
from tests.command import PROXIES
from tests.load_results import BUSY, unanswered
from tests.servers.counting import CountingServer
from tests.test_load_compare import run

pytest_plugins = "pytester"

#: A load that this machine is never the limit of, however busy it is.
LIGHT: dict[str, Any] = {
    "connections": 2, "think": 0.001, "requests": 60, "late_after": 60, "trust_env": False
}  # fmt: skip
#: One that it always is: nobody sends in a nanosecond.
IMPOSSIBLE: dict[str, Any] = {
    "rate": 1000, "requests": 20, "late_after": 1e-9, "trust_env": False
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[CountingServer]:
    with CountingServer() as running:
        yield running


def complaint(gate: Gate, *arguments: Any, **options: Any) -> str:
    """What the test fails with."""
    with pytest.raises(pytest.fail.Exception) as caught:
        gate(*arguments, **options)
    return str(caught.value)


# ---- gates


def test_a_result_is_returned_when_all_holds(tmp_path: Path, server: CountingServer) -> None:
    gate = Gate(tmp_path)
    assert gate(server.url, ["p50<20s", "errors<0.1%"], **LIGHT).counts.completed == 60
    assert gate(server.url, "rate>0.1", **LIGHT).counts.completed == 60
    assert gate(server.url, **LIGHT).counts.completed == 60


def test_checks_that_do_not_hold_are_told_first(tmp_path: Path, server: CountingServer) -> None:
    told = complaint(
        Gate(tmp_path), server.url, ["p50<1ns", "status.404<5", "p99.9<1s", "errors>50%"], **LIGHT
    )
    first, empty, *report = told.splitlines()
    fast, few, errors = first.split("; ", 2)
    assert fast.startswith("p50<1ns does not hold: ")
    assert (few, errors) == (
        "p99.9<1s does not hold: 60 samples",
        "it needs 1,000; errors>50% does not hold: 0 %",
    )
    assert not empty
    assert report[0].startswith("VALID")
    assert any(line.startswith("ok    status.404<5") for line in report)


def test_no_answer_fails_without_checks(tmp_path: Path) -> None:
    told = complaint(Gate(tmp_path), "http://127.0.0.1:1/", **LIGHT)
    assert told.startswith("nothing was answered\n")
    assert "CONNECT ECONNREFUSED" in told


def test_a_run_that_is_not_valid_fails_or_is_skipped(
    tmp_path: Path, server: CountingServer
) -> None:
    fails, skips = Gate(tmp_path), Gate(tmp_path, skip_invalid=True)
    for told in (
        complaint(fails, server.url, **IMPOSSIBLE),
        complaint(skips, server.url, skip_invalid=False, **IMPOSSIBLE),
    ):
        assert told.startswith("the run is INVALID: ")
        assert "later than they could have been; lower the rate" in told.splitlines()[0]
        assert "generator CPU" in told
    for gate, option in ((skips, None), (fails, True)):
        with pytest.raises(pytest.skip.Exception, match="the run is INVALID: .*lower the rate"):
            gate(server.url, skip_invalid=option, **IMPOSSIBLE)


def test_what_can_not_be_asked_for_is_not_sent(tmp_path: Path, server: CountingServer) -> None:
    gate = Gate(tmp_path)
    with pytest.raises(CheckError, match="the unit is missing"):
        gate(server.url, ["p99<20"], **LIGHT)
    with pytest.raises(TypeError, match="conections"):
        gate(server.url, conections=5)
    assert server.connections == 0


def test_plans_are_carried_out(tmp_path: Path, server: CountingServer) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(f"""
base_url = "{server.url}"
load = {{ users = 2, iterations = 30 }}
settings = {{ trust_env = false }}
scenario = [{{ name = "all", step = [{{ request = "/" }}, {{ request = "/x" }}] }}]
""")
    result = Gate(tmp_path)(plan, "errors=0", late_after=60)
    assert result.iterations is not None
    assert result.iterations.completed == 30
    assert server.requests == 60


# ---- baselines


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Result]:
    """What the next runs of gates find, in place of running."""
    results: list[Result] = []
    monkeypatch.setattr("ftnet.gate._run", lambda target, options: results.pop(0))
    return results


def runs(*slower: float, **given: Any) -> list[Result]:
    """Of 30 s, so many times slower than the usual."""
    chance = random.Random(7)
    return [run(chance, slower=one, **given) for one in slower]


def test_a_regression_from_the_baseline_fails(tmp_path: Path, found: list[Result]) -> None:
    asked: dict[str, Any] = {"baseline": "bases/index.json", "max_regression": 0.1}
    found += runs(1.0, 1.0, 1.5, 0.5)
    usual = found[0]
    Gate(tmp_path, update=True)("URL", "p50<20s", **asked)
    kept = json.loads((tmp_path / "bases/index.json").read_text())
    assert [one["ok"] for one in kept["checks"]] == [True]
    assert load.read(tmp_path / "bases/index.json").response == usual.response
    gate = Gate(tmp_path)
    gate("URL", **asked)
    first, _, *report = complaint(gate, "URL", "p50<1ns", **asked).splitlines()
    assert "p50<1ns does not hold" in first
    assert "; bases/index.json: regression: p50 +" in first
    assert report[0].startswith("REGRESSION  p50 +")
    assert any(line.startswith("VALID ") for line in report)
    gate("URL", **asked)  # faster is none
    assert not found


def test_what_does_not_hold_becomes_no_baseline(tmp_path: Path, found: list[Result]) -> None:
    found += [
        *runs(1.0), *runs(1.0, reasons=(BUSY,)), *runs(1.0, seconds=3), unanswered(), *runs(1.0)
    ]  # fmt: skip
    gate, path = Gate(tmp_path, update=True), tmp_path / "base.json"
    for checks, told in (
        ("p50<1ns", "p50<1ns does not hold"),
        ((), "the run is INVALID"),
        ((), "the baseline and this run: fewer than 5 seconds were measured"),
        ((), "nothing was answered"),
    ):
        assert told in complaint(gate, "URL", checks, baseline=path).splitlines()[0]
        assert not path.exists()
    gate("URL", baseline=path)
    assert path.exists()


def test_without_a_baseline_nothing_is_sent(tmp_path: Path, found: list[Result]) -> None:
    gate, path = Gate(tmp_path), tmp_path / "base.json"
    assert "base.json: pytest --latency-gate-update writes it" in complaint(
        gate, "URL", baseline="base.json"
    )
    for content, told in (
        (runs(1.0, seconds=3)[0].to_dict(), "not comparable; [^;]*: fewer than 5"),
        (runs(1.0, reasons=(BUSY,))[0].to_dict(), "comparable; the baseline is INVALID: worker 0"),
        ({}, "the baseline can't be read: .*base.json: no result of ftnet load"),
    ):
        path.write_text(json.dumps(content))
        assert re.search(told, complaint(gate, "URL", baseline=path))
    path.write_text(json.dumps(runs(1.0)[0].to_dict()))
    with pytest.raises(ValueError, match="alpha must be"):
        gate("URL", baseline=path, alpha=1)


def test_another_load_is_not_compared(tmp_path: Path, found: list[Result]) -> None:
    path = tmp_path / "base.json"
    path.write_text(json.dumps(runs(1.0)[0].to_dict()))
    found += runs(1.0, options={"connections": 3})
    told = complaint(Gate(tmp_path), "URL", baseline=path).splitlines()[0]
    assert "not comparable; they were asked for another load: connections is 64" in told


# ---- in pytest

TESTS = """
import sys

def test_nothing_is_loaded_before_it_is_used():
    assert not {"ftnet", "ftcore"} & sys.modules.keys()

def test_kept(latency_gate):
    assert latency_gate(URL, "errors=0", **LIGHT).valid

def test_broken(latency_gate):
    latency_gate(URL, "p50<1ns", **LIGHT)

def test_invalid(latency_gate):
    latency_gate(URL, **IMPOSSIBLE)

def test_few(load_benchmark):
    load_benchmark(URL, "errors=0", **LIGHT)

def test_many(load_benchmark):
    load_benchmark(URL, **{**LIGHT, "connections": 20, "requests": 12_000})

def test_broken_benchmark(load_benchmark):
    load_benchmark(URL, "p50<1ns", **LIGHT)
"""


@pytest.fixture
def tests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Tests:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    # the entry point is not there in every environment, and must not be there twice in any
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Tests(pytester)


class Tests:
    __test__ = False

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.path = pytester.path
        self._pytester = pytester

    def run(self, url: str, *options: str) -> pytest.RunResult:
        """Runs TESTS on a server."""
        names = f"URL, LIGHT, IMPOSSIBLE = {url!r}, {LIGHT!r}, {IMPOSSIBLE!r}\n"
        self._pytester.makepyfile(names + TESTS)
        return self._pytester.runpytest_subprocess(
            *("-p", "_ftnet_pytest", "-p", "pytest_benchmark.plugin", "-rs", "-W", "error"),
            *options,
        )


def test_fixtures_are_gates_and_benchmarks(tests: Tests, server: CountingServer) -> None:
    found = tests.run(server.url, "--benchmark-json=kept.json", "--benchmark-save-data")
    found.assert_outcomes(passed=4, failed=3)
    found.stdout.re_match_lines(
        ["p50<1ns does not hold: ", "VALID ", "the run is INVALID: ", "p50<1ns does not hold: "]
    )
    kept = json.loads((tests.path / "kept.json").read_text())["benchmarks"]
    assert [one["name"] for one in kept] == ["test_few", "test_many"]
    for one, samples in zip(kept, (60, 12_000), strict=True):
        stats, info = one["stats"], one["extra_info"]
        assert stats["rounds"] == len(stats["data"]) == min(samples, 10_000)
        assert info["samples"] == samples
        assert info["rate"] > 0
        assert info["error_rate"] == 0
        # of 12,000 that are told by 10,000, the longest ones may count for one more or less
        slack = 2 * stats["max"] * 1e3 / 10_000
        assert stats["mean"] * 1e3 == pytest.approx(info["mean_ms"], rel=0.02, abs=slack)
        median = statistics.median_low(stats["data"])  # that of p50's rank
        assert median * 1e3 == pytest.approx(info["p50_ms"], rel=0.05)
    assert kept[0]["extra_info"]["p99.9_ms"] is None  # too few to tell
    assert kept[1]["extra_info"]["p99.9_ms"] > 0


def test_options_are_heeded(tests: Tests, server: CountingServer) -> None:
    found = tests.run(server.url, "--benchmark-disable", "--latency-gate-skip-invalid")
    found.assert_outcomes(passed=4, failed=2, skipped=1)
    found.stdout.re_match_lines(["SKIPPED .* INVALID: .* sent more than "])
    assert server.requests == 60 + 60 + 20 + 60 + 12_000 + 60
