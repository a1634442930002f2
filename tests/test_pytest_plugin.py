"""`latency_gate` and `load_benchmark`: what a test that uses them does, and says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftnet import load
from ftnet.gate import facts, quantiles
from ftnet.load import Options, Result
from tests.load_results import BUSY, MS, URL, evenly, interval, result, unanswered
from tests.servers.counting import CountingServer

pytest_plugins = ["pytester"]
PLUGINS = ("-p", "pytest_ftnet", "-p", "benchmark")


@pytest.fixture(autouse=True)
def few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests within tests have the plugins that they name alone; others take their time to load."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What runs find from now on, instead of being carried out."""

    def give(given: Result) -> None:
        def run(target: object, **options: Any) -> Result:
            return replace(given, options=Options.of(URL, **options))

        monkeypatch.setattr(load, "run", run)

    return give


def steady(slowest_ms: int = 10, **given: Any) -> Result:
    """20 s that are alike."""
    times = evenly(1000, slowest_ms)
    seconds = [
        interval(float(at), response=load.Summary.of(evenly(500, slowest_ms)))
        for at in range(1, 21)
    ]
    return result(response=times, duration=20.0, intervals=tuple(seconds), **given)


def outcome(pytester: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    """Of a test that has this body, and the fixture that it uses."""
    fixture = "load_benchmark" if "load_benchmark(" in body else "latency_gate"
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    pytester.makepyfile(f"URL = {URL!r}\n\n\ndef test_it({fixture}):\n{lines}")
    return pytester.runpytest_inprocess(*PLUGINS, *arguments)


# ---- the gate


def test_a_run_that_keeps_its_checks_passes(
    pytester: pytest.Pytester, found: Callable[..., None]
) -> None:
    found(result())
    body = 'result = latency_gate(URL, ["p99<20ms", "errors<=1%"], rate=500)\n'
    outcome(pytester, body + "assert result.options.rate == 500").assert_outcomes(passed=1)
    outcome(pytester, 'latency_gate(URL, "p99<20ms, errors<=1%")').assert_outcomes(passed=1)
    outcome(pytester, "latency_gate(URL)").assert_outcomes(passed=1)


def test_a_check_that_does_not_hold_fails_with_the_report(
    pytester: pytest.Pytester, found: Callable[..., None]
) -> None:
    found(result())
    told = outcome(pytester, 'latency_gate(URL, ["p99<5ms", "p50<1s"])')
    told.assert_outcomes(failed=1)
    told.stdout.fnmatch_lines(["p99<5ms: 9.9 ms", "", "VALID  500 answers/s*", "FAIL  p99<5ms*"])
    assert "def test_it" not in told.stdout.str()


def test_a_run_without_answers_fails(pytester: pytest.Pytester, found: Callable[..., None]) -> None:
    found(unanswered())
    told = outcome(pytester, "latency_gate(URL)")
    told.assert_outcomes(failed=1)
    told.stdout.fnmatch_lines(["nothing was answered", "NO ANSWER*", "*CONNECT ECONNREFUSED*"])


def test_a_run_that_is_not_valid_fails_or_is_skipped(
    pytester: pytest.Pytester, found: Callable[..., None]
) -> None:
    found(result(reasons=(BUSY,)))
    told = outcome(pytester, "latency_gate(URL)")
    told.assert_outcomes(failed=1)
    told.stdout.fnmatch_lines(
        ["the generator was the limit, not the server: worker 0 used 98% of a core; use more*"]
    )
    told = outcome(pytester, 'latency_gate(URL, invalid="skip")', "-rs")
    told.assert_outcomes(skipped=1)
    told.stdout.fnmatch_lines(["SKIPPED*the generator was the limit, not the server: worker 0*"])


def test_an_interrupted_run_interrupts_the_tests(
    pytester: pytest.Pytester, found: Callable[..., None]
) -> None:
    found(result(interrupted=True))
    with pytest.raises(KeyboardInterrupt):
        outcome(pytester, "latency_gate(URL)")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('latency_gate(URL, "p99")', "*CheckError: a comparison is missing*"),
        ("latency_gate(URL, rate=-1)", "*ValueError: load: rate must be*"),
        ('latency_gate(URL, invalid="pass")', "*ValueError: invalid must be 'fail' or 'skip'*"),
    ],
)
def test_what_can_not_be_asked_for_is_an_error(
    pytester: pytest.Pytester, found: Callable[..., None], call: str, message: str
) -> None:
    found(result())
    told = outcome(pytester, call)
    told.assert_outcomes(failed=1)
    told.stdout.fnmatch_lines([message])


# ---- the baseline

GATED = 'latency_gate(URL, ["p99<1s"], baseline="kept/base.json", rate=500)'


def test_a_baseline_is_written_and_kept(
    pytester: pytest.Pytester, found: Callable[..., None]
) -> None:
    found(steady())
    told = outcome(pytester, GATED)
    told.assert_outcomes(failed=1)
    told.stdout.fnmatch_lines(["*there is no kept/base.json; pytest --latency-gate-update writes*"])
    told = outcome(pytester, GATED, "--latency-gate-update")
    told.assert_outcomes(passed=1)
    told.stdout.fnmatch_lines(["*baselines of latency_gate*", "kept/base.json: * p99 9.9 ms"])
    assert load.read(pytester.path / "kept" / "base.json").response == steady().response
    outcome(pytester, GATED).assert_outcomes(passed=1)


def test_what_is_worse_than_the_baseline_fails(
    pytester: pytest.Pytester, found: Callable[..., None]
) -> None:
    found(steady())
    outcome(pytester, GATED, "--latency-gate-update").assert_outcomes(passed=1)
    found(steady(20))
    told = outcome(pytester, GATED)
    told.assert_outcomes(failed=1)
    told.stdout.fnmatch_lines(
        ["regression, against kept/base.json", "REGRESSION*", "p90 *REGRESSION", "VALID*"]
    )
    found(steady(5))
    outcome(pytester, GATED).assert_outcomes(passed=1)
    found(steady(20))
    allowing = GATED.replace("rate", "max_regression=2, rate")
    outcome(pytester, allowing).assert_outcomes(passed=1)


def test_what_can_not_be_compared_does_not_pass(
    pytester: pytest.Pytester, found: Callable[..., None]
) -> None:
    found(steady())
    outcome(pytester, GATED, "--latency-gate-update").assert_outcomes(passed=1)
    told = outcome(pytester, GATED.replace("500", "501"))
    told.assert_outcomes(failed=1)
    told.stdout.fnmatch_lines(["not comparable, against kept/base.json", "*rate is 500.0 in*"])
    (pytester.path / "kept" / "base.json").write_text("{}")
    told = outcome(pytester, GATED)
    told.assert_outcomes(failed=1)
    told.stdout.fnmatch_lines(["*base.json: no result of ftnet load*"])


@pytest.mark.parametrize("bad", [{"reasons": (BUSY,)}, {"response": evenly(1000, 2000)}])
def test_no_bad_run_becomes_the_baseline(
    pytester: pytest.Pytester, found: Callable[..., None], bad: dict[str, Any]
) -> None:
    found(result(**bad))
    outcome(pytester, GATED, "--latency-gate-update").assert_outcomes(failed=1)
    assert not (pytester.path / "kept").exists()


# ---- benchmarks


def test_response_times_are_the_rounds_of_a_benchmark(
    pytester: pytest.Pytester, found: Callable[..., None]
) -> None:
    found(result())
    body = "load_benchmark(URL, rate=500)"
    told = outcome(pytester, body, "--benchmark-json=b.json")
    told.assert_outcomes(passed=1)
    [kept] = json.loads((pytester.path / "b.json").read_text())["benchmarks"]
    stats, times = kept["stats"], result().response
    assert (stats["rounds"], stats["iterations"]) == (1000, 1)
    assert stats["min"] == times.min / 1e9
    assert stats["max"] == times.max / 1e9
    assert stats["mean"] == pytest.approx(times.mean / 1e9, rel=1e-3)
    assert stats["median"] == pytest.approx(times.percentile(50) / 1e9, rel=1e-2)
    assert kept["extra_info"]["rate"] == 500
    assert kept["extra_info"]["rate_due"] == 500
    assert kept["extra_info"]["p99"] == times.percentile(99) / 1e9


def test_a_benchmark_keeps_its_marker_and_can_be_compared(
    pytester: pytest.Pytester, found: Callable[..., None]
) -> None:
    pytester.makepyfile(
        "import pytest\n\n\n@pytest.mark.benchmark(group='orders')\n"
        f"def test_it(load_benchmark):\n    load_benchmark({URL!r})\n"
    )
    arguments = [*PLUGINS, "--benchmark-autosave"]
    found(result())
    pytester.runpytest_inprocess(*arguments).assert_outcomes(passed=1)
    found(result(response=evenly(1000, 20)))
    told = pytester.runpytest_inprocess(
        *arguments, "--benchmark-compare=0001", "--benchmark-compare-fail=median:10%"
    )
    told.stdout.fnmatch_lines(["*benchmark 'orders'*", "*0001*", "*NOW* (2.00) *"])
    told.stderr.fnmatch_lines(["Performance has regressed:", "*Field 'median' has failed*"])
    assert told.ret


def test_a_benchmark_of_nothing_or_of_the_generator_fails(
    pytester: pytest.Pytester, found: Callable[..., None]
) -> None:
    found(unanswered())
    outcome(pytester, "load_benchmark(URL)").assert_outcomes(failed=1)
    found(result(reasons=(BUSY,)))
    outcome(pytester, "load_benchmark(URL)").assert_outcomes(failed=1)
    outcome(pytester, 'load_benchmark(URL, invalid="skip")').assert_outcomes(skipped=1)


def test_benchmarks_that_are_disabled_still_run(
    pytester: pytest.Pytester, found: Callable[..., None]
) -> None:
    found(result())
    body = "assert load_benchmark(URL).counts.completed == 1000"
    outcome(pytester, body, "--benchmark-disable").assert_outcomes(passed=1)


def test_one_fixture_at_a_time(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(benchmark, load_benchmark):\n    pass\n")
    told = pytester.runpytest_inprocess(*PLUGINS)
    told.assert_outcomes(errors=1)
    told.stdout.fnmatch_lines(["*load_benchmark.benchmark is it*"])


def test_without_pytest_benchmark_it_says_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(load_benchmark):\n    pass\n")
    told = pytester.runpytest_inprocess("-p", "pytest_ftnet")
    told.assert_outcomes(errors=1)
    told.stdout.fnmatch_lines(["*load_benchmark needs pytest-benchmark*"])


def test_quantiles_and_facts() -> None:
    times = evenly(4, 8)
    assert quantiles(times, 1000) == [times.min / 1e9, *(one / 1e9 for one in times.percentiles(
        [37.5, 62.5])), times.max / 1e9]  # fmt: skip
    assert quantiles(evenly(1, 8), 1000) == [8 * MS / 1e9]
    assert len(quantiles(evenly(1000), 10)) == 10
    told = facts(result(response=evenly(150)))
    assert "p99" in told
    assert "p99.9" not in told  # of 150?


# ---- the plugin


def test_it_runs_load(pytester: pytest.Pytester, tmp_path: Path) -> None:
    with CountingServer() as server:
        body = f'r = latency_gate({server.url!r}, "p50<10s", requests=20, late_after=9)\n'
        outcome(pytester, body + "assert r.counts.completed == 20").assert_outcomes(passed=1)
    assert server.requests == 20


def test_a_plans_file_begins_at_the_root(pytester: pytest.Pytester) -> None:
    with CountingServer() as server:
        scenario = '[[scenario]]\nname = "one"\nstep = [{request = "GET /"}]\n'
        (pytester.path / "plan.toml").write_text(f'base_url = "{server.url}"\n{scenario}')
        body = (
            "from pathlib import Path\n"
            'r = latency_gate(Path("plan.toml"), requests=3, late_after=9)\n'
            "assert r.iterations.completed == 3"
        )
        outcome(pytester, body).assert_outcomes(passed=1)


def test_the_engine_is_loaded_by_who_uses_it_alone(tmp_path: Path) -> None:
    code = "import pytest_ftnet, sys; assert not {'ftnet', 'ftcore'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
