"""That the tables and verdicts say what the samples say."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.demo import percentile
from benchmarks.peers import FILES, Sample, load
from benchmarks.report import AWAIT, AWAITED_PEER, REFERENCE, RUN, Bar, Row, Table


def row(name: tuple[str, str], concurrency: int, *cpu_us: float) -> Row:
    samples = [Sample(1000, 0.5, us * 1000 / 1e6) for us in cpu_us]
    return Row(*name, "/hello", concurrency, samples)


@pytest.fixture
def table() -> Table:
    return Table(
        [
            row(REFERENCE, 64, 10, 20, 30),
            row(RUN, 64, 11, 30, 30),
            row(RUN, 512, 20, 60, 45),
            row(AWAIT, 64, 40),
            row(AWAITED_PEER, 64, 80),
            Row("httpx", "AsyncClient on uvloop", "/hello", 64, note="not installed: httpx"),
        ]
    )


def test_figures_are_medians_and_ratios_are_of_the_same_round(table: Table) -> None:
    mine = table.find("/hello", 64, RUN)
    assert mine is not None
    assert (mine.cpu_us, mine.rate) == (pytest.approx(30), pytest.approx(2000))
    assert table.ratio(mine) == pytest.approx(1.1)  # of 1.1, 1.5, 1.0


def test_bars_compare_with_the_peer_they_name(table: Table) -> None:
    run, awaited, at_512, at_4096, importing = table.bars(import_ms=70.0)
    assert (run.value, awaited.value) == (pytest.approx(1.1), pytest.approx(0.5))
    assert at_512.value == pytest.approx(1.5)
    assert math.isnan(at_4096.value)
    assert importing.value == 70


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (0.9, "PASS, stretch too"),
        (1.0, "PASS, stretch too"),
        (1.2, "PASS"),
        (1.21, "short"),
        (math.nan, "not measured"),
    ],
)
def test_verdict(value: float, verdict: str) -> None:
    assert Bar("what", value, 1.2, 1.0).verdict == verdict


def test_text_names_a_peer_that_is_not_installed(table: Table) -> None:
    lines = report.as_text(table, "/hello").splitlines()
    assert any(line.startswith("httpx") and "not installed" in line for line in lines)


def test_markdown_has_a_row_for_each_client_and_a_column_for_each_concurrency(
    table: Table,
) -> None:
    lines = report.as_markdown(table, "/hello", "Heading", table.bars(70)).splitlines()
    assert lines[2] == "| client | mode | c=64 | c=512 | ratio at c=64 |"
    assert "| ftnet | ft.run(), callbacks | 30.0 | 45.0 | 1.10 |" in lines
    assert "| httpx | AsyncClient on uvloop | - | - | - |" in lines


def test_readme_keeps_all_but_what_is_between_the_marks() -> None:
    text = f"above\n{report.BEGIN}\nold\n{report.END}\nbelow\n"
    assert report.into_readme(text, "new") == (f"above\n{report.BEGIN}\nnew\n{report.END}\nbelow\n")


def test_readme_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="bench:start"):
        report.into_readme("text", "new")


def test_file_is_written_between_its_marks_only(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("µ above\n<!-- a -->\nold\n<!-- b -->\nbelow\n", encoding="utf-8")
    report.write_into_readme(file, "new µs", ("<!-- a -->", "<!-- b -->"))
    text = "µ above\n<!-- a -->\nnew µs\n<!-- b -->\nbelow\n"
    assert file.read_text(encoding="utf-8") == text


def test_echo_lines_have_medians_and_the_median_of_ratios_of_the_same_round() -> None:
    def rounds(*cpu: float) -> list[dict[str, float]]:
        return [{"cpu": us, "rate": 1e7 / us} for us in cpu]

    samples = {"theirs": rounds(10, 20, 40), "mine": rounds(5, 20, 10), "failed": rounds(10)}
    lines = report.compared(
        "| 64 | 1 |", samples | {"absent": []}, {"failed": "took over 120 s"}, "theirs"
    )
    assert lines == [
        "| 64 | 1 | theirs | 20.00 | 500,000 | 1.00 |",
        "| 64 | 1 | mine | 10.00 | 1,000,000 | 2.00 |",  # of 2, 1, 4
        "| 64 | 1 | failed | took over 120 s | | |",
        "| 64 | 1 | absent | not run | | |",
    ]


@pytest.mark.parametrize(
    ("percent", "value"), [(50.0, 5.0), (90.0, 9.0), (99.0, 10.0), (100.0, 10.0)]
)
def test_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert percentile([float(n) for n in range(1, 11)], percent) == value


@pytest.mark.parametrize("file", FILES)
def test_cases_can_be_read_without_the_peer(file: str) -> None:
    for case in load(file):
        assert case.client
        assert case.mode
        assert case.cost > 0
        assert isinstance(case.missing(), str)
