"""The HTML report: what it says, that it asks no network, that nothing gets out of its place."""

from __future__ import annotations

import builtins
import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ftnet import cli, report
from ftnet.cli_load_run import document
from ftnet.errors import Cause, Errno
from ftnet.load import Counts, Failure, Result, Step, Summary, Verdict
from ftnet.load.checks import Check
from ftnet.load.result import Worker
from ftnet.report import charts
from tests.load_results import BUSY, MS, REFUSED, evenly, histogram, interval, result, unanswered

VOID = {"meta", "input", "link", "img", "br", "hr"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&lt;]]>"


class Page(HTMLParser):
    """What is in a page: elements in their nesting, attributes, text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []  #: the element that it is in, and what it says
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        """What a person reads, in one line."""
        seen = (data for tag, data in self.texts if tag not in ("script", "style"))
        return re.sub(r"\s+", " ", " ".join(seen))

    @property
    def read_outs(self) -> list[dict[str, Any]]:
        """What the plots tell under the pointer."""
        found = [data for tag, data in self.texts if tag == "script"]
        return [json.loads(data) for data in found if data.startswith("{")]


def page(of: Result, *checks: str, **versions: str) -> Page:
    return Page(report.render(of, [Check.parse(one).judge(of) for one in checks], versions))


def step(**given: Any) -> Step:
    values: dict[str, Any] = {
        "kind": "http",
        "counts": Counts(scheduled=500, sent=500, completed=488, failed=12),
        "errors": (REFUSED,),
        "statuses": {200: 480, 503: 8},
        "service": evenly(488),
        "response": evenly(488),
        "phases": {"ttfb": {"all": evenly(488, 7)}, "total": {"all": evenly(488)}},
        "checks": {"status is 200": (480, 8)},
    }
    return Step(**{**values, **given})


def planned(*names: str, **given: Any) -> Result:
    counts = Counts(scheduled=500, completed=480, failed=20)
    steps = {name: step() for name in names}
    return result(
        {"rate": 500}, plan="evening in the shop", iterations=counts, steps=steps, **given
    )


# ---- what it says


def test_the_verdict_comes_first_and_the_numbers_are_those_of_the_text_report() -> None:
    text = page(result({"rate": 500}), "p99<20ms", ftnet="1.2", libcurl="8.9").text
    parts = ["VALID", "500 answers/s, p99 9.9 ms, 1 % errors", "p99<20ms", "What was run",
             "GET http://127.0.0.1:8080/", "open model, 500/s", "2023-11-14 22:13:20 UTC",
             "ftnet 1.2, libcurl 8.9", "Key numbers", "0.3 %", "3 requests", "Latency",
             "Over time", "Where the time went", "Statuses", "404", "Errors", "wrong status",
             "The generator", "worker 0", "25 %"]  # fmt: skip
    at = 0
    for part in parts:
        at = text.find(part, at)
        assert at >= 0, part
    assert "checks failed" not in text


def test_an_invalid_run_says_why_and_what_to_do() -> None:
    told = page(result(reasons=(BUSY,)))
    assert "INVALID" in told.text
    assert BUSY.text in told.text
    assert BUSY.advice in told.text


def test_checks_tell_what_was_got() -> None:
    text = page(result(), "p99<20ms", "p99<1ms", "ssl.p99<1s").text
    assert "2 of 3 checks failed" in text
    assert "FAIL p99<1ms 9.9 ms" in text
    assert "there are no samples" in text


def test_limits_of_percentiles_are_in_the_curve_where_they_have_a_place() -> None:
    checks = ("p99<20ms", "service.p50<=1ms", "p90>1ms", "p99.99<1s", "p95<10s", "mean<9ms")
    source = report.render(result(), [Check.parse(one).judge(result()) for one in checks])
    shown = re.findall(r'<g class="(limit[ bad]*)">.*?>([^<]+)</text>', source)
    assert shown == [("limit", "p99&lt;20ms"), ("limit bad", "service.p50&lt;=1ms")]


def test_the_rate_that_was_due_is_that_of_the_schedule() -> None:
    seconds = [interval(at + 1.0, target=target) for at, target in enumerate((500, 1000, 0))]
    ramped = {"stages": [(2, 1000), (1, 0)]}
    for options, due in (
        (ramped, ["250", "750", "500"]),
        ({"rate": 500}, ["500", "500", "1,000"]),  # by `Run.set_rate`
    ):
        given = result(options, intervals=tuple(seconds), duration=3.0)
        assert page(given).read_outs[2]["values"][0] == due
    short = result({"rate": 500}, intervals=tuple(seconds), duration=2.0)
    assert page(short).read_outs[2]["values"][0] == ["500", "500", "-"]  # the grace


def test_warnings_are_told() -> None:
    assert (
        "many waited: open more"
        in page(result(warnings=(Verdict("connections", "many waited", "open more"),))).text
    )


def test_a_percentile_without_samples_enough_is_a_dash() -> None:
    few = evenly(50)
    text = page(result(response=few, service=few)).text
    assert "p99 - response time" in text
    assert "mean p50 p75 p90 p95 p99 p99.9 p99.99 max samples response" in text
    assert "9.003 9.601 - - - 10.000 50" in text


def test_nothing_answered_is_told_without_numbers() -> None:
    text = page(unanswered(intervals=())).text
    assert "NO ANSWER" in text
    assert "Latency" not in text
    assert "12 100 % CONNECT ECONNREFUSED (errno 600013)" in text
    assert REFUSED.cause.text in text


def test_a_plan_has_its_steps_and_iterations() -> None:
    text = page(planned("log in", "look")).text
    assert "evening in the shop" in text
    assert "Iterations due 500 completed 480 failed 20" in text
    assert "log in http 500 12 5.010 5.001 9.921 10.000 480 8" in text
    assert "status is 200 480 8" in text


def test_a_cluster_tells_of_its_workers_and_refuses_percentiles_of_a_saturated_one() -> None:
    workers = (
        Worker("alpha", "10.0.0.1", 0.0, 1e-4, busiest=0.99, counts=Counts(completed=600)),
        Worker("beta", "10.0.0.2", 0.0, 2e-4, counts=Counts(completed=400), lost="no word for 5 s"),
    )
    given = result({"rate": 500}, workers=workers)
    text = page(given).text
    assert "alpha on 10.0.0.1 600 0 0 % 99 % ±100 µs" in text
    assert "beta on 10.0.0.2 400 0 0 % 0 % ±200 µs no word for 5 s" in text
    assert f"No percentiles {given.percentiles_refused}" in text
    assert "p99 - response time" in text
    assert "Latency by percentile" not in text


def test_header_values_and_passwords_stay_out() -> None:
    options = {"header": {"Authorization": "Bearer s3cret"}, "rate": 5}
    given = result(options)
    given = replace(given, options=replace(given.options, url="http://me:pa55@127.0.0.1/"))
    source = report.render(given)
    assert "Authorization" in source
    assert "s3cret" not in source
    assert "pa55" not in source


# ---- one file, and nothing out of its place


def test_the_page_asks_for_nothing_and_takes_no_other_script() -> None:
    told = page(planned("a", "b"), "p99<1ms")
    policy = next(one["content"] for one in told.all("meta") if "http-equiv" in one)
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; style-src '(sha256-\S+)'; script-src '(sha256-\S+)'"
        r"; base-uri 'none'; form-action 'none'",
        policy,
    )
    for name, attributes in told.elements:
        assert name not in ("link", "img", "iframe", "object", "embed", "base", "use", "image")
        for attribute, value in attributes.items():
            assert attribute not in ("src", "href", "xlink:href", "style", "srcset", "action")
            assert not attribute.startswith("on")
            assert "url(" not in (value or "")
    for tag, data in told.texts:
        if tag in ("style", "script"):
            assert not re.search(r"https?:|//\w|@import|url\(|fetch|XMLHttp|import\(", data)


def test_every_plot_has_a_title_a_text_and_a_read_out() -> None:
    told = page(result({"rate": 500}))
    images = [one for one in told.all("svg") if one.get("role") == "img" and "tabindex" in one]
    assert len(images) == len(told.read_outs) == 5
    ids = {one["id"] for _, one in told.elements if "id" in one}
    for one in images:
        assert set((one["aria-labelledby"] or "").split()) <= ids
    for one in told.read_outs:
        assert {len(one["x"])} == {len(one["at"]), *map(len, one["values"])}


def test_hostile_texts_stay_texts() -> None:
    failure = Failure(Errno.CONNECT, Cause(7, HOSTILE, HOSTILE, 0), 3)
    steps = {HOSTILE: step(errors=(failure,), checks={HOSTILE: (1, 2)}, kind=HOSTILE)}
    given = result(
        plan=HOSTILE, steps=steps, errors=(failure,), peer=HOSTILE, protocol=HOSTILE,
        reasons=(Verdict("cpu", HOSTILE, HOSTILE),), warnings=(Verdict("cpu", HOSTILE, HOSTILE),),
    )  # fmt: skip
    given = replace(given, options=replace(given.options, url=f"http://{HOSTILE}", method=HOSTILE))
    told = Page(report.render(given, (), {HOSTILE: HOSTILE}))
    known = page(planned("a", reasons=(BUSY,), warnings=(BUSY,)))
    assert {name for name, _ in told.elements} == {name for name, _ in known.elements}
    assert len(told.all("script")) == len(known.all("script"))
    assert told.text.count(HOSTILE) >= 12


# ---- an hour


def hour() -> Result:
    """3,600 seconds, with one peak, and 20 steps."""
    rng = random.Random(1)
    usual = [Summary.of(histogram(rng.lognormvariate(0.7, 0.6) * MS // 1 for _ in range(120)))
             for _ in range(20)]  # fmt: skip
    seconds = [
        interval(at + 1.0, response=rng.choice(usual), service=rng.choice(usual), cpu=rng.random())
        for at in range(3600)
    ]
    peak = replace(seconds[1234].response, max=987 * MS)
    seconds[1234] = replace(seconds[1234], response=peak)
    names = [f"step {number} of a long evening in the shop" for number in range(20)]
    return planned(*names, intervals=tuple(seconds), duration=3600.0)


def test_the_report_of_an_hour_is_small_and_has_its_peak() -> None:
    source = report.render(hour())
    assert len(source) < 2_000_000
    told = Page(source)
    assert "Each stretch of 6 seconds" in told.text
    latency = told.read_outs[1]
    assert len(latency["x"]) == charts.STRETCHES
    peak = next(index for index, text in enumerate(latency["values"][3]) if "987 ms" in text)
    assert latency["at"][peak] == "20 m 30 s – 20 m 36 s"
    path = next(one["d"] for one in told.all("path") if one.get("class") == "line3 c-max")
    heights = [int(y) for y in re.findall(r"[ML]\d+ (\d+)", path or "")]
    assert heights.count(min(heights)) == 1


@pytest.mark.parametrize("number", [1, 2, 599, 600, 601, 3601, 100_000])
def test_stretches_hold_every_index_once(number: int) -> None:
    parts = charts.stretches(number)
    assert len(parts) <= charts.STRETCHES
    assert [index for part in parts for index in part] == list(range(number))


def test_what_is_drawn_has_the_extremes_and_gaps_of_each_stretch() -> None:
    rng = random.Random(2)
    values = [rng.choice([None, rng.random(), rng.random()]) for _ in range(5000)]
    parts = charts.stretches(len(values), 100)
    kept = charts.kept(values, parts)
    assert kept == sorted(set(kept))
    assert len(kept) <= 3 * len(parts)
    for part in parts:
        there = [values[index] for index in kept if index in part]
        assert None in there
        every = [one for index in part if (one := values[index]) is not None]
        assert {min(every), max(every)} <= set(there)


# ---- scales


@pytest.mark.parametrize(
    ("values", "log", "ticks"),
    [
        ([3.0, 10.0], False, [0, 2, 4, 6, 8, 10]),
        ([410.0, 520.0], False, [0, 200, 400, 600]),
        ([0.0], False, [0, 1]),
        ([1.0, 100.0], True, [1, 2, 5, 10, 20, 50, 100]),
        ([3.0, 800.0], True, [2, 5, 10, 20, 50, 100, 200, 500, 1000]),
        ([4.0, 13e5], True, [10, 100, 1e3, 1e4, 1e5, 1e6]),
    ],
)
def test_scales_take_in_their_values(values: list[float], log: bool, ticks: list[float]) -> None:
    scale, found = charts.scaled(values)
    assert scale.log == log
    assert found == pytest.approx(ticks)
    assert all(0 <= scale.at(one) <= 1 for one in values)
    assert [scale.at(scale.low), scale.at(scale.high)] == [0, 1]
    assert scale.low <= min(values)
    assert scale.high >= max(values)


# ---- the commands


def written(tmp_path: Path, of: Result, *checks: str) -> Path:
    path = tmp_path / "run.json"
    outcomes = [Check.parse(one).judge(of) for one in checks]
    path.write_text(json.dumps(document(of, outcomes)))
    return path


def test_a_kept_result_becomes_the_same_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = result({"rate": 500})
    path = written(tmp_path, of, "p99<1ms")
    assert cli.main(["report", str(path)]) == 0
    made = (tmp_path / "run.html").read_text()
    assert made == report.render(of, [Check.parse("p99<1ms").judge(of)])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"{tmp_path}/run.html: ")


def test_the_page_goes_where_it_is_told(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = written(tmp_path, result())
    assert cli.main(["report", str(path), "-o", "-"]) == 0
    shown = capfdbinary.readouterr()
    assert shown.out.startswith(b"<!doctype html>")
    assert shown.err == b""


@pytest.mark.parametrize(
    ("content", "arguments", "code", "message"),
    [
        (None, [], 26, "can't read {}: No such file"),
        ("{", [], 26, "{} is no result: "),
        ("[]", [], 26, "{} is no result: "),
        ('{"format": "else"}', [], 26, "{} is no result: "),
        ("", ["-o", "/nowhere/page.html"], 2, "can't write to /nowhere/page.html"),
    ],
)
def test_errors_name_the_file(
    content: str | None,
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = written(tmp_path, result())
    if content is None:
        path.unlink()
    elif content:
        path.write_text(content)
    assert cli.main(["report", str(path), *arguments]) == code
    assert f"ftnet: ({code}) {message.format(path)}" in capsys.readouterr().err
    assert not (tmp_path / "run.html").exists()


def test_a_page_replaces_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, result()).rename(tmp_path / "run.html")
    assert cli.main(["report", str(path)]) == 2
    assert "say -o FILE" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["report", "run.json"], ["load", "--html", "x", "http://a"]])
def test_without_jinja2_it_says_what_to_install(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "jinja2":
            raise ImportError("No module named 'jinja2'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert cli.main(command) == 2
    assert "pip install 'ftnet[report]'" in capsys.readouterr().err


def test_load_writes_its_report(tmp_path: Path, nginx: Any) -> None:
    path = tmp_path / "page.html"
    code = cli.main(["load", "-s", "--html", str(path), "--requests", "300", f"{nginx.http}/hello"])
    assert code in (0, 3)  # on a busy machine a run may not be valid
    told = Page(path.read_text())
    assert "300 answered" in told.text
    assert "libcurl" in told.text


def test_load_finds_out_before_it_sends_that_it_can_not_write(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["load", "--html", "/nowhere/x", "http://127.0.0.1:1/"]) == 2
    assert "can't write to /nowhere/x" in capsys.readouterr().err
    assert cli.main(["load", "--html", "-", "--json", "-", "http://127.0.0.1:1/"]) == 2
    assert "can't both go to stdout" in capsys.readouterr().err
