"""`ftnet.load.compare`: chance is not called a regression, and a regression not chance."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftnet import cli, load
from ftnet.cli_compare import chance, markdown, share, table
from ftnet.histogram import Histogram
from ftnet.load import Change, Comparison, Counts, Interval, Result, Step, Summary, compare
from ftnet.load.inference import (
    Curve,
    Estimate,
    distances,
    freedom,
    kolmogorov_tail,
    ratio,
    share_below,
    share_limits,
    student_limit,
    student_tail,
    within,
)
from ftnet.terminal import Style
from tests.load_results import BUSY, MS, evenly, histogram, result

# ---- runs whose seconds are like their neighbours


def run(
    chance: random.Random,
    *,
    slower: float = 1.0,
    wrong: float = 0.0,
    seconds: int = 30,
    each: int = 100,
    drift: float = 0.03,
    alike: float = 0.6,
    **given: Any,
) -> Result:
    """Lognormal response times around 10 ms, whose level goes up and down by `drift`.

    `alike`: how far each second's level is that of the one before (autocorrelation). In slow
    seconds there are fewer answers, as in the closed model.
    """
    level = chance.gauss(0, drift)
    whole, found, total = Histogram(), [], Counts()
    for second in range(1, seconds + 1):
        level = alike * level + chance.gauss(0, drift) * math.sqrt(1 - alike**2)
        number = round(each * math.exp(-level))
        middle = math.log(10 * MS * slower) + level
        times = histogram(round(chance.lognormvariate(middle, 0.4)) for _ in range(number))
        whole.merge(times)
        bad = sum(chance.random() < wrong for _ in range(number))
        counts = Counts(
            scheduled=number, sent=number, completed=number, answered=number, wrong_status=bad
        )
        total = Counts(**{
            name: getattr(total, name) + getattr(counts, name)
            for name in Counts.__dataclass_fields__
        })  # fmt: skip
        found.append(interval(second, counts, Summary.of(times)))
    made = {"duration": float(seconds), "counts": total, "response": whole, **given}
    return result(intervals=tuple(found), **made)


def interval(second: int, counts: Counts, response: Summary) -> Interval:
    return Interval(
        at=float(second), seconds=1.0, measured=True, counts=counts, in_flight=1, waiting=0,
        connections=1, target=0.0, cpu=0.1, response=response, service=response,
    )  # fmt: skip


def by_name(changes: Sequence[Change]) -> dict[str, Change]:
    return {one.name: one for one in changes}


def test_runs_that_are_alike_differ_as_seldom_as_alpha_says() -> None:
    chance, differ, naive = random.Random(1), 0, 0
    for _ in range(24):
        found = compare(run(chance, drift=0.06), run(chance, drift=0.06), alpha=0.05)
        differ += found.different
        naive += kolmogorov_tail(found.distance, 1500) < 0.05  # each request a witness
        assert found.verdict == "no regression" or found.different
    assert differ <= 3  # of 24, with a chance of 0.05 each
    assert naive > 7


def test_ten_percent_are_found() -> None:
    chance = random.Random(2)
    for _ in range(5):
        base, now = (run(chance, slower=by, seconds=60, drift=0.02) for by in (1, 1.1))
        found = compare(base, now)
        assert found.verdict == "regression"
        changes = by_name(found.changes)
        assert changes["p50"].regression
        assert 0 < changes["p50"].low < 0.1 < changes["p50"].high
        assert found.p < 0.01
        # the area between is the difference of the means where all is slower
        means = changes["mean"]
        assert found.area == pytest.approx(means.now - means.base, rel=0.02)


def test_better_is_no_regression() -> None:
    chance = random.Random(3)
    found = compare(run(chance, slower=1.3), run(chance))
    assert found.verdict == "no regression"
    assert found.different
    assert by_name(found.changes)["p50"].better
    assert by_name(found.changes)["p50"].high < 0


def test_what_is_worse_by_less_than_allowed_is_no_regression() -> None:
    chance = random.Random(4)
    base, now = run(chance), run(chance, slower=1.2)
    assert compare(base, now).verdict == "regression"
    found = compare(base, now, max_regression=0.4)
    assert found.verdict == "no regression"
    assert by_name(found.changes)["p50"].worse


def test_error_rates_are_compared() -> None:
    chance = random.Random(5)
    base, now = run(chance, seconds=60), run(chance, seconds=60, wrong=0.05)
    (of, change), = compare(base, now).regressions  # fmt: skip
    assert (of, change.name, change.unit, change.base) == ("", "errors", "share", 0.0)
    assert change.change == now.error_rate
    assert compare(now, base).verdict == "no regression"
    few = replace(now, counts=replace(now.counts, wrong_status=2))
    assert not by_name(compare(base, few).changes)["errors"].worse


def test_no_errors_seen_is_not_none_at_all() -> None:
    chance = random.Random(18)
    base, now = run(chance), run(chance)
    errors = by_name(compare(base, now).changes)["errors"]
    assert (errors.base, errors.now, errors.change) == (0, 0, 0)
    assert 0 < errors.high < 0.01  # of about 3,000 requests each
    assert errors.high == -errors.low


def test_what_can_not_be_ruled_out_is_told() -> None:
    chance = random.Random(19)
    base, now = run(chance), run(chance)
    found = compare(base, now)
    assert "p99" in [one.name for _, one in found.unsure]
    assert not found.regressions
    assert not compare(base, now, max_regression=20.0).unsure


def test_rates_are_compared() -> None:
    chance = random.Random(6)
    found = compare(run(chance), run(chance, each=70))
    change = by_name(found.changes)["rate"]
    assert change.regression
    assert change.change == pytest.approx(-0.3, abs=0.05)


def test_percentiles_with_too_few_samples_are_not_tested() -> None:
    chance = random.Random(7)
    base = run(chance)
    assert base.response.count < 10_000
    names = [one.name for one in compare(base, run(chance)).changes]
    assert names == ["p50", "p90", "p99", "mean", "rate", "errors"]
    few = run(chance, seconds=6, each=10)
    names = [one.name for one in compare(base, few).changes]
    assert names == ["p50", "mean", "rate", "errors"]


def test_a_run_is_like_itself() -> None:
    base = run(random.Random(8))
    found = compare(base, base)
    assert (found.distance, found.area, found.p, found.different) == (0, 0, 1, False)
    assert all(one.change == 0 and one.p == 1 for one in found.changes)


def step(times: Histogram, wrong: int = 0) -> Step:
    counts = Counts(scheduled=times.count, completed=times.count, wrong_content=wrong)
    return Step("http", counts, (), {200: times.count}, times, times, {}, {})


def test_steps_are_compared_by_name() -> None:
    chance = random.Random(9)
    same = evenly(6000)
    steps = {"login": step(same), "buy": step(same), "old": step(same)}
    others = {"login": step(same), "buy": step(evenly(6000, 15), wrong=900)}
    base = run(chance, plan="shop", steps=steps)
    now = run(chance, plan="shop", steps=others)
    found = compare(base, now)
    assert {(of, one.name) for of, one in found.regressions} == {
        ("buy", "p50"), ("buy", "p90"), ("buy", "p99"), ("buy", "errors"),
    }  # fmt: skip
    assert list(found.steps) == ["login", "buy"]
    assert found.notes == ("step old is in base alone",)
    # a step is no surer than independent requests, and the run's seconds, let it be
    surer = compare(run(chance, drift=0.0, steps=steps), run(chance, drift=0.0, steps=others))
    widths = [by_name(one.steps["buy"])["p50"] for one in (found, surer)]
    assert widths[0].high - widths[0].low > widths[1].high - widths[1].low


# ---- what is not comparable


def test_invalid_runs_have_no_verdict() -> None:
    chance = random.Random(10)
    found = compare(run(chance), run(chance, reasons=(BUSY,), slower=2), names=("a", "b"))
    assert found.verdict == "not comparable"
    assert found.problems == (f"b is INVALID: {BUSY}",)
    assert found.regressions  # are told nevertheless


def test_requests_that_were_never_answered_are_not_passed_over() -> None:
    """A server that hangs half-way is not one with good response times."""
    base = run(random.Random(1))
    counts = base.counts
    hung = replace(
        base, counts=replace(counts, scheduled=counts.scheduled + 200, unfinished=150, unsent=50)
    )
    (problem,) = compare(base, hung).problems
    share = 200 / hung.counts.scheduled
    assert problem.startswith(
        f"requests without an answer when the run was over: 0.0% in base, {share:.1%} in now;"
    )
    assert compare(hung, hung).comparable


def test_other_loads_are_not_compared() -> None:
    base = run(random.Random(11))
    other = replace(base, options=replace(base.options, connections=7, url="http://other/"))
    found = compare(base, other)
    assert found.problems == (
        "they were asked for another load: connections is 64 in base, 7 in now",
    )
    assert found.notes == ("url is 'http://127.0.0.1:8080/' in base, 'http://other/' in now",)
    forced = compare(base, other, force=True)
    assert forced.comparable
    assert len(forced.notes) == 2


def test_short_runs_are_not_compared() -> None:
    chance = random.Random(12)
    found = compare(run(chance, seconds=4), run(chance))
    assert not found.comparable
    assert found.problems[0].startswith("base: fewer than 5 seconds were measured")
    without = replace(run(chance), intervals=())
    found = compare(without, without)
    assert found.problems[0].startswith("base and now: fewer than 5 seconds were measured")


def test_warm_up_and_grace_are_no_seconds() -> None:
    base = run(random.Random(13))
    warm = replace(base.intervals[0], measured=False)
    grace = replace(base.intervals[-1], counts=Counts(completed=3))
    more = replace(base, intervals=(warm, *base.intervals, grace))
    rates = [by_name(compare(base, one).changes)["rate"] for one in (base, more)]
    assert rates[0] == rates[1]


def test_answers_that_came_in_the_grace_count() -> None:
    chance = random.Random(20)
    base = run(chance)
    times = evenly(3000)
    sent = [interval(second, Counts(scheduled=100), Summary()) for second in range(1, 31)]
    came = interval(31, Counts(completed=3000), Summary.of(times))
    late = replace(
        base, counts=Counts(scheduled=3000, sent=3000, completed=3000), response=times,
        intervals=(*sent, came),
    )  # fmt: skip
    names = [one.name for one in compare(base, late).changes]
    assert names == ["p50", "p90", "p99", "mean", "errors"]


def test_times_of_0_are_no_quotients() -> None:
    chance = random.Random(21)
    none = step(histogram([0] * 2000))
    base = run(chance, plan="shop", steps={"made up": none})
    found = compare(base, base)
    assert [one.name for one in found.steps["made up"]] == ["errors"]


def test_no_answers_at_all() -> None:
    base = run(random.Random(14))
    silent = Counts(scheduled=100, failed=100)
    seconds = [interval(second, silent, Summary()) for second in range(1, 31)]
    dead = replace(
        base, counts=Counts(scheduled=3000, failed=3000), response=Histogram(),
        intervals=tuple(seconds),
    )  # fmt: skip
    assert [one.name for _, one in compare(base, dead).regressions] == ["errors"]
    assert compare(dead, base).problems == ("base has no answers",)


def test_limits_are_checked() -> None:
    base = run(random.Random(15))
    for wrong in ({"alpha": 0.0}, {"alpha": 0.5}, {"max_regression": -0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            compare(base, base, **wrong)


# ---- what it reckons with


@pytest.mark.parametrize(
    ("alpha", "degrees", "t"),
    # tables of Student's t, two-sided
    [
        (0.05, 2, 4.3027),
        (0.01, 10, 3.1693),
        (0.01, 200, 2.6006),
        (0.001, 1, 636.62),
        (0.5, 5, 0.7267),
    ],
)
def test_students_t(alpha: float, degrees: float, t: float) -> None:
    assert student_limit(alpha, degrees) == pytest.approx(t, rel=1e-4)
    assert student_tail(t, degrees) == pytest.approx(alpha, rel=1e-3)


def test_kolmogorovs_distribution() -> None:
    assert kolmogorov_tail(1.358 / 100, 10_000) == pytest.approx(0.05, rel=0.03)
    assert kolmogorov_tail(1.628 / 100, 10_000) == pytest.approx(0.01, rel=0.04)
    assert kolmogorov_tail(0.0, 10.0) == 1


def test_welchs_degrees() -> None:
    same = Estimate(1.0, 0.1, 6)
    assert freedom(same, same) == pytest.approx(12)
    assert freedom(same, Estimate(1.0, 0.0, 6)) == pytest.approx(6)


def test_curves_are_between_their_slots() -> None:
    curve = Curve(evenly(1000))
    for level in (0.01, 0.5, 0.99, 0.999):
        assert curve.at(level) == pytest.approx(10 * MS * level, rel=2e-3)
        assert curve.rank(curve.at(level)) == pytest.approx(level)
    assert (curve.at(0.0), curve.at(1.0)) == (10_000 - 1, 10 * MS)
    assert within(curve, 0.0009, 0.9991) == (0, math.inf)
    assert within(curve, 0.25, 0.75) == (curve.at(0.25), curve.at(0.75))
    assert (curve.rank(0), curve.rank(10 * MS), curve.rank(60 * MS)) == (0, 1, 1)


def test_limits_of_shares_stay_between_0_and_1() -> None:
    low, high = share_limits(0.5, 0.01)
    assert (low, high) == (pytest.approx(0.49, abs=1e-4), pytest.approx(0.51, abs=1e-4))
    low, high = share_limits(0.99, 0.02)
    assert 0.9 < low < 0.97 < 0.998 < high < 1
    assert share_limits(0.99, 1e9) == (pytest.approx(0), 1)


def test_distances_of_shifted_values() -> None:
    one = Curve(histogram(range(1 * MS, 2 * MS, 1000)))
    other = Curve(histogram(range(2 * MS, 3 * MS, 1000)))
    found = distances(one, other)
    assert (found.greatest, found.upper) == (1, 1)
    assert found.area == pytest.approx(MS, rel=1e-3)


def test_what_differs_below_the_median_is_no_distance_above_it() -> None:
    slow = [*range(10 * MS, 11 * MS, 1000)]
    fast, faster = [3 * MS] * 1000, [2 * MS] * 1000
    found = distances(Curve(histogram(slow + fast)), Curve(histogram(slow + faster)))
    assert found.greatest == pytest.approx(0.5)
    assert found.upper < 0.01


def test_the_share_below_of_a_second_like_all_is_that_of_all() -> None:
    curve = Curve(evenly(10_000))
    like = Summary.of(evenly(10_000))
    for level in (0.3, 0.5, 0.9, 0.97, 0.999):
        assert share_below(like, curve, level) == pytest.approx(level, abs=1e-3)
    assert share_below(Summary.of(evenly(100, 5)), curve, 0.9) == 1
    assert share_below(Summary.of(evenly(100, 20)), curve, 0.9) == pytest.approx(0.45, abs=0.01)


def test_errors_of_a_mean_allow_for_neighbours_that_are_alike() -> None:
    chance, found = random.Random(16), []
    ones = [1.0] * 400
    for alike in (0.0, 0.8):
        errors, level = [], 0.0
        for _ in range(20):
            series = []
            for _ in ones:
                level = alike * level + chance.gauss(0, 1)
                series.append(level)
            errors.append(ratio(series, ones).error ** 2)
        found.append(math.sqrt(sum(errors) / len(errors)))
    # of white noise 1 / sqrt(n), of an autoregressive process that / (1 - alike)
    assert found[0] == pytest.approx(1 / 20, rel=0.15)
    assert found[1] == pytest.approx(5 / 20, rel=0.2)


# ---- the command


def written(path: Path, found: Result) -> str:
    path.write_text(json.dumps(found.to_dict()))
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of results; "slow" is slower than "base" and "same"."""
    chance, folder = random.Random(17), tmp_path_factory.mktemp("results")
    made = {
        "base": run(chance), "same": run(chance), "slow": run(chance, slower=1.3, wrong=0.1),
        "invalid": run(chance, reasons=(BUSY,)),
    }  # fmt: skip
    return {name: written(folder / f"{name}.json", one) for name, one in made.items()}


def test_exit_codes(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    def ends(*arguments: str) -> int:
        return cli.main(["compare", *arguments])

    assert ends(files["base"], files["same"]) == 0
    assert ends(files["base"], files["slow"]) == 1
    assert ends(files["slow"], files["base"]) == 0
    assert ends(files["base"], files["slow"], "--alpha", "1e-9") == 0
    assert ends(files["same"], files["slow"], "--max-regression", "90%") == 1  # errors, from 0
    assert ends(files["base"], files["invalid"]) == 3
    assert ends(files["base"], files["base"] + ".none") == 2
    assert ends(files["base"], files["same"], "--max-regression", "0.05") == 2
    assert "0.05' is no percentage" in capsys.readouterr().err


def test_json_has_all_of_it(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "--json", files["base"], files["slow"]]) == 1
    told = json.loads(capsys.readouterr().out)
    found = compare(load.read(files["base"]), load.read(files["slow"]))
    assert told["verdict"] == "regression"
    assert told["changes"] == json.loads(json.dumps(found.to_dict()["changes"]))
    assert (told["base"], told["now"]) == (files["base"], files["slow"])


def change(name: str = "p99", **given: Any) -> Change:
    values: dict[str, Any] = {
        "unit": "ns", "base": 10.0 * MS, "now": 12.5 * MS, "change": 0.25, "low": 0.2, "high": 0.3,
        "p": 0.001, "worse": True, "better": False, "regression": True,
        "unsure": False,
    }  # fmt: skip
    return Change(name, **{**values, **given})


SURE = Comparison(
    "a|b.json", "now.json", 0.01, 0.05,
    changes=(
        change(),
        change("p50", change=-0.01, low=-0.02, high=0.01, worse=False, regression=False),
        change("p99.9", low=-1.0, high=math.inf, worse=False, regression=False, unsure=True),
        change("rate", unit="1/s", base=1000.0, now=990.0, change=-0.01, low=-0.012, high=-0.008,
               regression=False),
    ),
    steps={"login": (change("errors", unit="share", base=0.0, now=0.01, change=0.01, low=0.005,
                            high=0.015),)},
    distance=0.12, p=1e-9, area=2.0 * MS, notes=("seed is 1 in a, 2 in b",),
)  # fmt: skip


def test_the_table() -> None:
    assert table(SURE, Style(width=80)) == [
        "REGRESSION  p99 +25.0 %, login errors +1.0 points; up to 5 % is allowed",
        "NOTE  seed is 1 in a, 2 in b",
        "NOTE  worse by more than 5 % can't be ruled out for p99.9: longer runs, or",
        "  several merged, tell more",
        "",
        "base  a|b.json",
        "now   now.json",
        "",
        "               base        now        change   surely between",
        "p99           10 ms    12.5 ms       +25.0 %   +20.0 to +30.0         REGRESSION",
        "p50           10 ms    12.5 ms        -1.0 %   -2.0 to +1.0",
        "p99.9         10 ms    12.5 ms       +25.0 %   unknown",
        "rate        1,000/s      990/s        -1.0 %   -1.2 to -0.80          less",
        "",
        "step login",
        "errors          0 %        1 %   +1.0 points   +0.50 to +1.5          REGRESSION",
        "",
        "response times as a whole: D = 0.120 (p < 0.0001), 2 ms apart on average",
    ]
    assert max(map(len, table(SURE, Style(width=80)))) <= 80


def test_markdown() -> None:
    assert markdown(SURE) == [
        "❌ **Load: regression: p99 +25.0 %, login errors +1.0 points; up to 5 % is allowed**",
        "",
        "- Note: seed is 1 in a, 2 in b",
        "- Note: worse by more than 5 % can't be ruled out for p99.9: longer runs, or several"
        " merged, tell more",
        "",
        "| | base | now | change | surely between | |",
        "|:--|--:|--:|--:|:-:|:--|",
        "| p99 | 10 ms | 12.5 ms | +25.0 % | +20.0 to +30.0 | ▲ **REGRESSION** ❌ |",
        "| p50 | 10 ms | 12.5 ms | -1.0 % | -2.0 to +1.0 | ≈ |",
        "| p99.9 | 10 ms | 12.5 ms | +25.0 % | unknown | ≈ |",
        "| rate | 1,000/s | 990/s | -1.0 % | -1.2 to -0.80 | ▼ less |",
        "| login errors | 0 % | 1 % | +1.0 points | +0.50 to +1.5 | ▲ **REGRESSION** ❌ |",
        "",
        "<sub>a\\|b.json → now.json; alpha 0.01; response times as a whole: D = 0.120"
        " (p < 0.0001), 2 ms apart on average</sub>",
    ]


@pytest.mark.parametrize(
    ("found", "first"),
    [
        (replace(SURE, problems=("a is INVALID: x",)), "NOT COMPARABLE"),
        (
            replace(SURE, changes=SURE.changes[1:], steps={}),
            "NO REGRESSION  worse, but not by more than 5 %: rate -1.0 %",
        ),
        (
            replace(SURE, changes=(change(worse=False, better=True, regression=False),), steps={}),
            "NO REGRESSION  better: p99 +25.0 %",
        ),
        (
            replace(SURE, changes=SURE.changes[1:2], steps={}),
            "NO REGRESSION  the response times differ, but no figure surely does",
        ),
        (
            replace(SURE, changes=SURE.changes[1:2], steps={}, p=1.0),
            "NO REGRESSION  nothing differs beyond chance (alpha 0.01)",
        ),
    ],
)
def test_the_verdict_in_a_line(found: Comparison, first: str) -> None:
    assert table(found, Style())[0] == first


def test_what_options_take() -> None:
    assert (share("5%"), share("0.5%"), chance("0.05")) == (0.05, 0.005, 0.05)
    for wrong in ("5", "-1%", "%", "x%", "nan%", "inf%"):
        with pytest.raises(Exception, match="no percentage"):
            share(wrong)
    for wrong in ("0", "0.5", "x", "nan"):
        with pytest.raises(Exception, match=r"0\.5"):
            chance(wrong)
