"""Checks of a load run: what they say, what they find, and where one is wrong."""

from __future__ import annotations

import json

import pytest

from ftnet.histogram import Histogram
from ftnet.load import Counts
from ftnet.load.checks import Check, CheckError, enough, needed
from tests.load_results import evenly, result, unanswered


@pytest.mark.parametrize(
    ("text", "limit", "unit"),
    [
        ("p99<20ms", 0.02, "s"),
        ("p99 <= 20 ms", 0.02, "s"),
        ("p99.9<1.5s", 1.5, "s"),
        ("max<800us", 800e-6, "s"),
        ("max<800µs", 800e-6, "s"),
        ("mean<.5ms", 0.0005, "s"),
        ("min>100ns", 100e-9, "s"),
        ("service.p99<1m", 60.0, "s"),
        ("errors<0.1%", 0.001, "%"),
        ("errors<5", 5.0, ""),
        ("status.5xx<1", 1.0, ""),
        ("status.404=0", 0.0, ""),
        ("rate>9k", 9000.0, ""),
        ("requests>=1.5M", 1.5e6, ""),
    ],
)
def test_a_limit_has_a_number_and_a_unit(text: str, limit: float, unit: str) -> None:
    check = Check.parse(text)
    assert (check.text, check.unit) == (text, unit)
    assert check.limit == pytest.approx(limit, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("p50<1s", 5e-3),
        ("response.p50<1s", 5e-3),
        ("p99<1s", 9.9e-3),
        ("max<1s", 10e-3),
        ("min<1s", 10e-6),
        ("mean<1s", 5.005e-3),
        ("service.max<1s", 8e-3),
        ("lateness.max<1s", 1e-3),
        ("connect.max<1s", 1e-3),
        ("ttfb.p50<1s", 3e-3),
        ("ttfb.5xx.max<1s", 3e-3),
        ("p99.9<1s", 9.99e-3),
        ("ttfb.p99.9<1s", 5.994e-3),
        ("errors<1", 10),
        ("errors<1%", 0.01),
        ("failed<1", 0),
        ("late<1", 3),
        ("late<1%", 0.003),
        ("unsent<1", 0),
        ("unfinished<1", 0),
        ("retried<1", 0),
        ("status.404<1", 4),
        ("status.4xx<1", 4),
        ("status.5xx<1%", 0.006),
        ("status.302<1", 0),
        ("rate>1", 500),
        ("requests>1", 1000),
    ],
)
def test_it_reads_the_value_from_the_result(text: str, got: float) -> None:
    outcome = Check.parse(text).judge(result())
    assert outcome.got == pytest.approx(got, rel=2e-3)
    assert outcome.note == ""


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("errors<10", False),
        ("errors<=10", True),
        ("errors>10", False),
        ("errors>=10", True),
        ("errors=10", True),
        ("errors=9", False),
        ("errors<0.99%", False),
        ("errors<1.01%", True),
        ("p99<9ms", False),
        ("p99<10ms", True),
    ],
)
def test_it_says_whether_the_limit_is_kept(text: str, ok: bool) -> None:
    assert Check.parse(text).judge(result()).ok is ok


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("ttfb.5xx.p99<1s", "6 samples; it needs 100"),
        ("p99.99<1s", "1,000 samples; it needs 10,000"),
        ("ssl.p50<1s", "there are no samples"),
        ("ttfb.3xx.max<1s", "there are no samples"),
    ],
)
def test_what_can_not_be_told_is_not_kept(text: str, note: str) -> None:
    outcome = Check.parse(text).judge(result())
    assert (outcome.got, outcome.ok, outcome.note) == (None, False, note)


def test_a_share_is_exactly_what_is_written() -> None:
    """Not 0.9990000000000001, as 99.9 * 0.01 is."""
    found = result(statuses={200: 999, 503: 1})
    for check in ("status.200>=99.9%", "status.200=99.9%", "status.503<=0.1%"):
        assert Check.parse(check).judge(found).ok


def test_percentiles_do_not_pass_over_requests_without_an_answer() -> None:
    """Of 1,000 requests 20 are under way at the end or were never sent: p98 is known, p99 not."""
    counts = Counts(scheduled=1000, completed=980, unfinished=15, unsent=5)
    found = result(counts=counts, response=evenly(980), phases={"total": {"all": evenly(980)}})
    for known in ("p98<1s", "service.p99<1s", "max<1s"):
        assert Check.parse(known).judge(found).ok
    for hidden in ("p98.1<1s", "p99<1s", "total.p99<1s"):
        outcome = Check.parse(hidden).judge(found)
        assert (outcome.got, outcome.ok) == (None, False)
        assert outcome.note == "20 requests had no answer by the end"


def test_without_answers_a_share_of_them_is_not_kept() -> None:
    outcome = Check.parse("status.5xx<1%").judge(unanswered())
    assert (outcome.ok, outcome.note) == (False, "there were no requests")
    assert Check.parse("errors<1%").judge(unanswered()).got == 1.0


def test_an_outcome_goes_into_json() -> None:
    told = json.loads(json.dumps(Check.parse("p99<20ms").judge(result()).to_dict()))
    assert told.pop("got") == pytest.approx(9.9e-3, rel=2e-3)
    assert told == {"check": "p99<20ms", "limit": 0.02, "unit": "s", "ok": True, "note": ""}


@pytest.mark.parametrize(
    ("text", "part", "reason"),
    [
        ("", "", "a comparison is missing"),
        ("p99", "", "a comparison is missing"),
        ("p99x<20ms", "p99x", "unknown name 'p99x'; there are p50 "),
        ("p0<20ms", "p0", "unknown name"),
        ("p100<20ms", "p100", "unknown name"),
        ("<20ms", "", "unknown name ''"),
        ("server.p99<20ms", "server", "'server' is none of response service lateness queue dns "),
        ("ttfb.6xx.p99<20ms", "6xx", "'6xx' is no class"),
        ("service.2xx.p99<20ms", "2xx", "'2xx' is no class; phases alone"),
        ("a.b.c.p99<20ms", "a", "'a' is none of"),
        ("ttfb<20ms", "ttfb", "unknown name 'ttfb'"),
        ("status.6<1", "6", "'6' is no status"),
        ("p99<20", "", "the unit is missing; the limit is a time with its unit"),
        ("p99<20%", "%", "'%' is no unit here; the limit is a time"),
        ("p99<", "", "'' is no limit; it is a time"),
        ("p99<fast", "fast", "'fast' is no limit"),
        ("p99<20ms and more", "ms and more", "'ms and more' is no unit"),
        ("p99<-1ms", "-1ms", "'-1ms' is no limit"),
        ("errors<1ms", "ms", "'ms' is no unit here; the limit is a number or a share"),
        ("rate>90%", "%", "'%' is no unit here; the limit is a number"),
    ],
)
def test_an_error_points_at_what_is_wrong(text: str, part: str, reason: str) -> None:
    with pytest.raises(CheckError) as refused:
        Check.parse(text)
    error = refused.value
    assert text[error.start : error.end] == part
    assert error.reason.startswith(reason)
    _, shown, marks = str(error).split("\n")
    assert shown == f"  {text}"
    assert marks == " " * (2 + error.start) + "^" * max(1, len(part))


@pytest.mark.parametrize(
    ("percent", "samples"), [(50, 2), (75, 4), (90, 10), (99, 100), (99.9, 1000), (99.99, 10_000)]
)
def test_a_percentile_needs_one_sample_above_it(percent: float, samples: int) -> None:
    assert needed(percent) == samples
    assert enough(evenly(samples), percent)
    assert not enough(evenly(samples - 1), percent)
    assert not enough(Histogram(), percent)
