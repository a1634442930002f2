"""`ftnet.load.merge`: sums are exact, seconds go by the clock, nothing is counted twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftnet import cli, load
from ftnet.load import Counts, Failure, Result, Step
from ftnet.load.result import Worker
from tests.load_results import BUSY, REFUSED, evenly, interval, result
from tests.loads import run
from tests.servers.counting import OK, CountingServer, answer
from tests.test_load_schema import VALIDATOR, planned, written


def at(started: float, **given: Any) -> Result:
    """A result that began then."""
    return result(started=started, **given)


def test_counters_and_histograms_are_added() -> None:
    one = at(100.0, response=evenly(1000, 10), errors=(REFUSED,), cpu_workers=(0.5,))
    other = at(
        100.2,
        response=evenly(500, 30),
        statuses={200: 1, 301: 2},
        errors=(replace(REFUSED, count=30), Failure(REFUSED.errno, BROKEN, 20)),
        cpu=0.7,
        cpu_workers=(0.3, 0.4),
    )
    both = load.merge([one, other])
    whole = evenly(1000, 10)
    whole.merge(evenly(500, 30))
    assert both.response == whole
    assert both.counts == Counts(**{
        name: 2 * getattr(one.counts, name) for name in Counts.__dataclass_fields__
    })  # fmt: skip
    assert both.statuses == {200: 991, 301: 2, 404: 4, 503: 6}
    assert [(one.name, one.count) for one in both.errors] == [
        ("CONNECT ECONNREFUSED", 42), ("CONNECT ECONNRESET", 20),
    ]  # fmt: skip
    assert (both.cpu, both.cpu_workers) == (1.2, (0.5, 0.3, 0.4))
    assert both.phases["ttfb"]["5xx"].count == 12
    VALIDATOR.validate(written(both))


BROKEN = replace(REFUSED.cause, name="ECONNRESET")


@pytest.mark.parametrize(
    ("starts", "duration"),
    [((100, 100), 2), ((100, 101), 3), ((500, 100), 4), ((100, 101, 100), 3)],
)
def test_the_rate_is_of_the_time_in_which_any_was_measured(
    starts: tuple[float, ...], duration: float
) -> None:
    runs = [at(one, cpu_workers=(0.1 * number,)) for number, one in enumerate(starts)]
    both = load.merge(runs)
    assert both.started == min(starts)
    assert both.duration == duration
    assert both.rate == 1000 * len(starts) / duration


def test_seconds_are_put_together_by_the_clock() -> None:
    one = at(100.0, warmup=1.0, intervals=[interval(1.0, measured=False), interval(2.0)])
    other = at(
        101.4,
        warmup=1.0,
        intervals=[interval(1.0, measured=False), interval(2.0), interval(2.1, seconds=0.1)],
    )
    both = load.merge([one, other])
    assert (both.started, both.warmup) == (100.0, 1.0)
    found = [(round(i.at, 6), i.measured, i.counts.completed, i.in_flight) for i in both.intervals]
    assert found == [
        (1.0, False, 500, 7),
        (2.4, False, 500, 7),
        (2.0, True, 500, 7),
        (3.4, True, 500, 7),
        (3.5, True, 500, 7),
    ]


def test_a_second_of_both_has_the_sums_and_no_percentile_that_is_too_little() -> None:
    slow = evenly(100, 30)
    one = at(100.0, intervals=[interval(1.0)])
    other = at(100.4, intervals=[interval(1.0, response=load.Summary.of(slow), seconds=0.9)])
    (second,) = load.merge([one, other]).intervals
    whole = evenly(500)
    whole.merge(slow)
    assert (second.seconds, second.counts.completed, second.target) == (1.0, 1000, 1020.0)
    response = second.response
    assert (response.count, response.min, response.max) == (600, whole.min, whole.max)
    assert response.mean == pytest.approx(whole.mean)
    assert all(response.percentile(p) >= whole.percentile(p) for p in (50, 90, 99))
    assert response.percentile(99) == slow.percentile(99)


def test_plans_are_merged_step_by_step() -> None:
    both = load.merge([planned(), replace(planned(), started=1.8e9)])
    assert list(both.steps) == ["login", "talk"]
    login = both.steps["login"]
    assert login.checks == {"json:$.id": (1980, 20)}
    assert (login.counts.completed, login.response.count, login.statuses) == (
        2000,
        2000,
        {200: 2000},
    )
    assert both.iterations == Counts(scheduled=2000, completed=1980, failed=20)
    assert both.plan == "shop"
    assert isinstance(login, Step)


def test_one_that_is_invalid_makes_all_invalid_and_is_named() -> None:
    both = load.merge([at(1.0), at(2.0, reasons=(BUSY,))], ["a.json", "b.json"])
    assert not both.valid
    assert both.reasons == (replace(BUSY, text=f"b.json: {BUSY.text}"),)


def test_workers_of_clusters_stay_those_of_each() -> None:
    here = Worker("tcp://a", "a", 0.0, 0.001, counts=Counts(completed=7))
    lost = replace(here, lost="no answer", lost_at=1.5, missing=70)
    both = load.merge([at(100.0, workers=(here, lost)), at(110.0, workers=(here, lost))])
    assert both.workers == (here, lost, here, replace(lost, lost_at=11.5))


def test_nothing_of_a_result_is_left_out() -> None:
    one = planned()
    told = {name: getattr(one, name) for name in Result.__dataclass_fields__}
    merged = load.merge([one, replace(one, started=1.8e9)])
    for name, value in told.items():
        if value not in ((), "", 0, False):
            assert getattr(merged, name) not in ((), "", 0, False, None), name


def test_one_alone_is_as_it_was() -> None:
    one = at(7.3, warmup=0.2)
    assert load.merge([one]).to_dict() == one.to_dict()


def test_what_can_not_be_merged_is_refused() -> None:
    with pytest.raises(ValueError, match="takes results"):
        load.merge([])
    with pytest.raises(ValueError, match=r"a\.json and b\.json are of the same run"):
        load.merge([at(1.0), at(1.0)], ["a.json", "b.json"], force=True)
    others = [at(1.0), result({"rate": 7.0}, started=2.0)]
    with pytest.raises(ValueError, match=r"rate is None in run 1, 7\.0 in run 2"):
        load.merge(others)
    assert load.merge(others, force=True).options == others[0].options
    with pytest.raises(ValueError, match="other steps"):
        load.merge([planned(), replace(planned(), started=1.0, steps={})])


def test_runs_are_merged_as_if_they_were_one(tmp_path: Path) -> None:
    with CountingServer(lambda number: (OK, answer(503), b"")[number % 3]) as server:
        runs = [run(server.url, requests=30, connections=2) for _ in range(2)]
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, one in zip(files, runs, strict=True):
        path.write_text(json.dumps(one.to_dict()))
    out = tmp_path / "all.json"
    assert cli.main(["merge", *map(str, files), "-o", str(out)]) == 0
    both = load.read(out)
    assert both.counts.scheduled == 60
    assert both.counts.failed == sum(one.count for one in both.errors)
    assert both.response.count == both.counts.completed == sum(both.statuses.values())
    assert both.duration == pytest.approx(sum(one.duration for one in runs), abs=1e-5)
    assert sum(one.counts.completed for one in both.intervals) == both.counts.completed


def test_the_command_says_what_it_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(tmp_path / name) for name in ("a.json", "b.json", "c.json")]
    for path, one in zip(
        paths, [at(1.0, reasons=(BUSY,)), result({"seed": 2}), at(2.0)], strict=True
    ):
        Path(path).write_text(json.dumps(one.to_dict()))
    a, b, c = paths
    assert cli.main(["merge", a, b]) == cli.USAGE
    assert "seed is 1" in capsys.readouterr().err
    assert cli.main(["merge", a, str(tmp_path / "none.json")]) == cli.USAGE
    assert "none.json: No such file" in capsys.readouterr().err
    assert cli.main(["merge", a, "-", "-"]) == cli.USAGE
    Path(b).write_text("{}")
    assert cli.main(["merge", a, b]) == cli.USAGE
    assert "b.json: no result of ftnet load" in capsys.readouterr().err
    assert cli.main(["merge", a, c, "-o", str(tmp_path)]) == cli.WRITE_ERROR
    capsys.readouterr()
    assert cli.main(["merge", a, c, "-o", str(tmp_path / "out.json")]) == 0
    assert f"INVALID: {a}: " in capsys.readouterr().err
