"""What `ftnet load` reports: the verdict first, and no number that there is none of."""

from __future__ import annotations

import re

import pytest

from ftnet import cli_load_report as report
from ftnet.load import Counts, Result, Verdict
from ftnet.load.checks import Check
from ftnet.terminal import Style, cells
from tests.load_results import BUSY, REFUSED, evenly, histogram, result, unanswered

PLAIN = Style(80)


def told(found: Result, *checks: str, style: Style = PLAIN) -> list[str]:
    return report.lines(found, [Check.parse(text).judge(found) for text in checks], style)


def row(lines: list[str], label: str) -> list[str]:
    """The cells of the first row with this label."""
    found = next(line for line in lines if line.startswith(label))
    return found.removeprefix(label).split()


def test_the_verdict_is_first() -> None:
    assert told(result())[0] == "VALID  500 answers/s, p99 9.9 ms, 1 % errors"


def test_an_invalid_run_says_why_and_what_to_do_before_any_number() -> None:
    lines = told(result(reasons=(BUSY,)))
    assert lines[:4] == [
        "INVALID  the generator was the limit, not the server:",
        "  · worker 0 used 98% of a core",
        "    → use more workers",
        "The numbers below tell of this machine as well as of the server.",
    ]


def test_a_warning_does_not_make_it_invalid() -> None:
    lines = told(result(warnings=(Verdict("connections", "some waited", "open more"),)))
    assert lines[0].startswith("VALID  ")
    assert lines[1] == "NOTE  some waited: open more"


def test_a_plan_that_was_read_back_is_told_by_its_name() -> None:
    found = told(result(plan="shop", iterations=Counts(), steps={}))
    assert "plan shop" in found
    assert not [line for line in found if "GET" in line]
    assert " users" in found[found.index("plan shop") + 1]


def test_without_answers_there_are_no_times() -> None:
    lines = told(unanswered())
    assert lines[0] == "NO ANSWER  to any of 12 requests"
    assert not [line for line in lines if line.startswith(("latency", "phase", "status"))]
    assert lines[-2:] == [
        "errors",
        "         12  CONNECT ECONNREFUSED: Failed to connect to 127.0.0.1:8080",
    ]


def test_an_interrupted_run_says_so() -> None:
    assert told(result(interrupted=True))[0].endswith(", interrupted after 2 s")


def test_requests_without_an_answer_are_in_the_first_line() -> None:
    counts = Counts(scheduled=1020, completed=1000, answered=1000, unfinished=20)
    (first, *_) = told(result(counts=counts))
    assert first == "VALID  500 answers/s, 1.96 % without an answer, 0 % errors"
    few = Counts(scheduled=1002, completed=1000, answered=1000, unfinished=2)
    assert told(result(counts=few))[0] == "VALID  500 answers/s, p99 9.9 ms, 0 % errors"


def test_numbers_of_requests_add_up() -> None:
    counts = Counts(scheduled=112, sent=108, completed=100, answered=100, failed=6, unfinished=2,
                    unsent=4)  # fmt: skip
    lines = told(result(counts=counts))
    told_of = next(line for line in lines if line.startswith("requests"))
    numbers = [int(number) for number in re.findall(r"\d+", told_of)]
    assert told_of.split(maxsplit=1)[1] == (
        "100 answered · 6 failed, 2 cut off at the end, 4 never sent"
    )
    assert sum(numbers) == counts.scheduled


def test_times_are_milliseconds_with_their_samples() -> None:
    lines = told(result({"rate": 500}))
    assert row(lines, "latency, ms") == ["p50", "p90", "p99", "p99.9", "max", "samples"]
    *times, samples = row(lines, "response")
    assert [float(one) for one in times] == pytest.approx([5, 9, 9.9, 9.99, 10], rel=2e-3)
    assert samples == "1,000"
    assert float(row(lines, "service")[4]) == 8.0


def test_all_percentiles_are_shown_where_there_is_room() -> None:
    heads = row(told(result(), style=Style(100)), "latency, ms")
    assert heads == ["p50", "p75", "p90", "p99", "p99.9", "max", "samples"]


def test_too_few_samples_make_no_percentile() -> None:
    few = evenly(99)
    lines = told(result(response=few, phases={"total": {"all": few}, "ttfb": {"all": few}}))
    assert row(lines, "response") == ["5.054", "9.093", "-", "-", "10.000", "99"]
    assert "p99" not in lines[0]


def test_no_percentile_is_above_the_maximum() -> None:
    """A slot of a histogram may end above the largest value in it."""
    lines = told(result(response=histogram([1_234_567] * 1000)))
    assert row(lines, "response")[:5] == ["1.235"] * 5


def test_service_time_stands_beside_it_in_the_open_model_alone() -> None:
    closed, opened = told(result()), told(result({"rate": 500}))
    assert not [line for line in closed if line.startswith("service")]
    assert any("--rate tells how long people wait" in line for line in closed)
    assert row(opened, "late sends")[:6] == ["0.3", "%", "·", "3", "by", "more"]
    assert "response: from when it was due (no coordinated omission)" in opened


def test_phases_share_the_time_among_them() -> None:
    lines = told(result())
    assert row(lines, "phase, ms")[-3:] == ["samples", "of", "time"]
    assert row(lines, "connect      ")[-3:] == ["4", "<1", "%"]
    assert row(lines, "wait (TTFB)")[-3:] == ["1,000", "60", "%"]
    assert report.shares(result().phases)["ttfb"] == pytest.approx(0.6, rel=1e-3)


def test_statuses_and_errors_have_their_numbers() -> None:
    lines = told(result(errors=(REFUSED,)))
    at = lines.index("status")
    assert [line.split() for line in lines[at + 1 : at + 4]] == [
        ["200", "990", "99", "%"],
        ["404", "4", "0.4", "%"],
        ["503", "6", "0.6", "%"],
    ]
    at = lines.index("errors")
    assert lines[at + 1].startswith("         12  CONNECT ECONNREFUSED: Failed to connect")
    assert lines[at + 2] == "         10  wrong status: it should be below 400"


def test_a_server_can_not_upset_the_terminal() -> None:
    from dataclasses import replace

    evil = replace(REFUSED, cause=replace(REFUSED.cause, text="\x1b[2Jgone"))
    assert "\x1b" not in "".join(told(result(errors=(evil,))))


def test_checks_stand_last_with_what_was_found() -> None:
    lines = told(result(), "p99<20ms", "errors<0.1%", "ssl.p50<1s")
    assert lines[-4:] == [
        "      check        got",
        "ok    p99<20ms     9.9 ms",
        "FAIL  errors<0.1%  1 %",
        "FAIL  ssl.p50<1s   there are no samples",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("found", [result({"rate": 500}, errors=(REFUSED,)), unanswered()])
def test_it_fits_the_terminal(width: int, found: Result) -> None:
    for line in told(found, style=Style(width)):
        assert cells(line) <= width, line


def test_it_is_ascii_where_it_must_be() -> None:
    lines = told(result({"rate": 500}, reasons=(BUSY,)), style=Style(80, blocks=False))
    assert "\n".join(lines).isascii()


def test_colours_are_for_those_who_want_them() -> None:
    assert "\x1b" not in "\n".join(told(result(reasons=(BUSY,))))
    coloured = told(result(reasons=(BUSY,)), style=Style(80, colour=True))
    assert coloured[0].startswith("\x1b[31m\x1b[1mINVALID\x1b[0m  the generator")


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"), (1.0, "100 %"), (0.5, "50 %"), (0.001234, "0.123 %"),
        (1e-9, "0.0001 %"), (0.99996, "99.996 %"), (0.9999999, "99.999 %"),
    ],
)  # fmt: skip
def test_nothing_and_all_are_said_of_nothing_and_all(share: float, text: str) -> None:
    assert report.percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "250 ms"), (1.0, "1 s"), (59.0, "59 s"), (60.0, "1 m"), (90.0, "1 m 30 s"),
        (3600.0, "1 h"), (3661.0, "1 h 1 m 1 s"),
    ],
)  # fmt: skip
def test_spans_are_readable(value: float, text: str) -> None:
    assert report.seconds(value) == text


@pytest.mark.parametrize(
    ("version", "protocol", "noted"),
    [("2", "h2", False), ("2", "http/1.1", True), ("3", "h2", True), ("3-only", "h3", False)],
)
def test_another_protocol_than_asked_for_is_noted(version: str, protocol: str, noted: bool) -> None:
    lines = told(result({"http_version": version}, protocol=protocol))
    assert (lines[1] == f"NOTE  h{version[0]} was asked for, {protocol} was talked") is noted
