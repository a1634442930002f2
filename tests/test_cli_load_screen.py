"""What `ftnet load` shows while it runs: the rows of its screen, and its lines for pipes."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from ftnet.cli_load_screen import Lines, Row, drawn, line, progress, sparkline
from ftnet.load import Counts, Options, Result, Summary
from ftnet.terminal import Style, cells
from tests.load_results import BUSY, REFUSED, URL, interval, result, snapshot, unanswered


def shown(total: Result | None, width: int = 80, height: int = 24, **other: Any) -> list[str]:
    options = total.options if total else Options.of(URL)
    style = Style(width, blocks=other.pop("blocks", True))
    last = snapshot(total) if total else None
    rows = drawn(options, last, style, height, stopping=other.pop("stopping", False))
    return [text_of(row) for row in rows]


def text_of(row: Row) -> str:
    return "".join(text for text, _ in row)


def test_all_there_is_to_know_is_on_one_screen() -> None:
    rows = shown(result({"rate": 510, "duration": 10}, errors=(REFUSED,)))
    assert len(rows) <= 24
    assert rows[0] == f"GET {URL}"
    assert rows[1] == "HTTP/1.1 · 64 connections · open model, 510/s"
    assert rows[2].endswith("▏ 2 s of 10 s, 8 s left")
    assert rows[4].split()[:4] == ["rate", "500/s", "of", "510/s"]
    assert rows[5].split(maxsplit=3)[2:] == ["7", "3 waiting · CPU 25 % · 4 connections"]
    assert rows[6].split(maxsplit=1)[1] == "1,000   10 errors (1 %) · 3 sent late"
    assert rows[8].split() == ["ms", "p50", "p90", "p99", "p99.9", "max"]
    labels = [row[:12].strip() for row in rows[9:14]]
    assert labels == ["last second", "response", "service", "connect", "wait (TTFB)"]
    assert rows[13].split("%")[0].split()[-1] == "60"
    assert rows[-3].split(maxsplit=1) == ["12", f"{REFUSED.name}: {REFUSED.cause.text}"]
    assert rows[-1] == "Ctrl-C ends the run and reports what there is so far"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 20), (60, 10), (40, 24), (20, 5)])
@pytest.mark.parametrize("total", [result({"rate": 510}, errors=(REFUSED,) * 9), None])
def test_it_fits_itself_into_what_there_is(total: Result | None, width: int, height: int) -> None:
    rows = shown(total, width, height)
    assert len(rows) <= height
    assert rows[0].startswith("GET ")
    for row in rows[8:15]:  # the table: other rows are cut at the edge
        assert cells(row) <= max(width, 60)


def test_what_matters_least_is_left_out_first() -> None:
    high, low = (shown(result({"rate": 510}), height=height) for height in (24, 13))
    assert "" in high
    assert high[-1].startswith("Ctrl-C")
    assert "" not in low
    assert low[-1].split()[:2] == ["10", "wrong"]


def test_before_the_first_second_it_says_what_it_does() -> None:
    assert shown(None)[4] == "starting ..."


def test_the_closed_model_has_no_target() -> None:
    rows = "\n".join(shown(result()))
    assert " of 510/s" not in rows
    assert "service" not in rows


def test_a_run_that_is_not_valid_says_so_while_it_runs() -> None:
    assert shown(result(reasons=(BUSY,)))[-1] == f"INVALID so far: {BUSY.text}"


def test_the_end_says_what_is_waited_for() -> None:
    assert "Ctrl-C again does not wait" in shown(result(), stopping=True)[2]


def test_without_answers_there_is_no_number_for_them() -> None:
    none = replace(interval(1.0), response=Summary(), counts=Counts(failed=12))
    rows = shown(unanswered(intervals=(none,)))
    assert rows[9].split() == ["last", "second", "-", "-", "-", "-", "-"]


def test_it_is_ascii_where_it_must_be() -> None:
    assert "\n".join(shown(result({"rate": 510}, errors=(REFUSED,)), blocks=False)).isascii()


@pytest.mark.parametrize(
    ("options", "elapsed", "told"),
    [
        ({"warmup": 4, "duration": 10}, 1, (0.25, "warm-up, 3 s left")),
        ({"warmup": 4, "duration": 10}, 9, (0.5, "5 s of 10 s, 5 s left")),
        ({"duration": 90}, 9, (0.1, "9 s of 1 m 30 s, 1 m 21 s left")),
        ({"requests": 4000}, 2, (0.25, "1,000 of 4,000 requests, 6 s left")),
        ({"requests": 4000, "duration": 4}, 2, (0.5, "2 s of 4 s, 2 s left")),
        ({"duration": 2}, 2, (1.0, "ending: waiting for the last answers")),
    ],
)
def test_what_is_left_is_told(
    options: dict[str, Any], elapsed: int, told: tuple[float, str]
) -> None:
    last = replace(snapshot(result(options)), elapsed=float(elapsed))
    assert progress(last.total.options, last) == told


def test_a_sparkline_goes_from_nothing_to_the_largest() -> None:
    assert sparkline([0, 1, 2, 7], Style()) == "▁▂▃█"
    assert sparkline([0, 0], Style()) == ""
    assert sparkline([], Style()) == ""


# ---- lines


def test_a_line_has_the_same_keys_whatever_there_is() -> None:
    full = line(interval(2.0), open_model=True)
    assert full == (
        "elapsed_s=2.0 part=run rate=500.0 target=510.0 answered=500 errors=0 late=2 in_flight=7"
        " waiting=3 connections=4 p50_ms=5.001 p90_ms=9.003 p99_ms=9.904 max_ms=10.000 cpu=0.25"
    )
    none = replace(interval(1.0), measured=False, response=Summary())
    empty = line(none, open_model=False)
    keys = [[part.partition("=")[0] for part in text.split(" ")] for text in (full, empty)]
    assert keys[0] == keys[1]
    assert " part=warmup " in empty
    assert " target=- " in empty
    assert " p50_ms=- p90_ms=- p99_ms=- max_ms=- " in empty


def test_every_interval_is_told_once() -> None:
    out = io.StringIO()
    view = Lines(out, Options.of(URL))
    view.tell([interval(1.0)])
    view.tell([interval(1.0), interval(2.0)])
    view.ended(result(intervals=(interval(1.0), interval(2.0), interval(2.5))))
    told = [text.partition(" ")[0] for text in out.getvalue().split("\n")]
    assert told == ["elapsed_s=1.0", "elapsed_s=2.0", "elapsed_s=2.5", "", ""]
