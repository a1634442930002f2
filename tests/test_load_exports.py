"""What a run of load writes while it goes: JSON lines, CSV, HdrHistogram logs."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from ftnet import cli, load
from ftnet.histogram import Histogram
from ftnet.load import Interval, Options, Result
from ftnet.load.books import Books
from ftnet.load.checks import Check
from ftnet.load.outputs import COLUMNS, Csv, HdrLog, Hgrm, Ndjson, Output
from tests.command import COMMAND, LIMIT, environment
from tests.load_plans import STARTED, follow, kept
from tests.load_results import MS, evenly, histogram, result, validator
from tests.loads import checked
from tests.servers.awkward import closed_port
from tests.servers.counting import OK, CountingServer, answer

LINES = validator("load-interval.schema.json")


class Written(NamedTuple):
    result: Result
    lines: list[dict[str, Any]]
    rows: list[dict[str, str]]
    log: Path
    hgrm: str


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A run with warm-up and errors, and the files that it wrote."""

    def answers(number: int) -> bytes:
        return (OK, answer(503), OK, OK, b"")[number % 5]

    files = {name: io.BytesIO() for name in ("ndjson", "csv", "hdr", "hgrm")}
    observers = [
        Ndjson(files["ndjson"], [Check.parse("errors<1%")]),
        Csv(files["csv"]), HdrLog(files["hdr"]), Hgrm(files["hgrm"]),
    ]  # fmt: skip
    options: dict[str, Any] = {"rate": 300, "warmup": 0.2, "duration": 1.3, "trust_env": False}
    with CountingServer(answers) as server:
        found = load.start(server.url, method="POST", observers=observers, **options).result(LIMIT)
    assert [one.error for one in observers] == [None] * 4
    text = {name: file.getvalue().decode() for name, file in files.items()}
    log = tmp_path_factory.mktemp("hdr") / "run.hlog"
    log.write_text(text["hdr"])
    lines = [json.loads(line) for line in text["ndjson"].splitlines()]
    rows = list(csv.DictReader(io.StringIO(text["csv"], newline=""), strict=True))
    return Written(checked(found), lines, rows, log, text["hgrm"])


def ndjson(*seconds: Books) -> list[dict[str, Any]]:
    file = io.BytesIO()
    follow(Ndjson(file), *seconds)
    return [json.loads(line) for line in file.getvalue().splitlines()]


def rows(*seconds: Books) -> list[dict[str, str]]:
    file = io.BytesIO()
    follow(Csv(file), *seconds)
    return list(csv.DictReader(io.StringIO(file.getvalue().decode(), newline=""), strict=True))


# ---- JSON lines


def test_lines_are_as_their_schema_says(written: Written) -> None:
    for line in [*written.lines, *ndjson(kept(1, measured=False), kept(2))]:
        LINES.validate(line)


@pytest.mark.parametrize("index", [0, 1, -1])
def test_lines_that_lack_or_have_something_else_are_told(index: int, written: Written) -> None:
    line = written.lines[index]
    for name in line:
        with pytest.raises(jsonschema.ValidationError):
            LINES.validate({key: value for key, value in line.items() if key != name})
    with pytest.raises(jsonschema.ValidationError):
        LINES.validate({**line, "other": 1})


def test_the_lines_are_the_result(written: Written) -> None:
    head, *intervals, summary = written.lines
    assert [head["type"], summary["type"]] == ["options", "summary"]
    assert {one["type"] for one in intervals} == {"interval"}
    assert summary["result"]["intervals"] == []
    whole = {**summary["result"], "intervals": [_bare(one) for one in intervals]}
    (check,) = whole.pop("checks")
    assert (check["check"], check["ok"]) == ("errors<1%", False)
    assert json.loads(json.dumps(written.result.to_dict())) == whole
    assert head["started"] == pytest.approx(written.result.started - 0.2, abs=1e-6)


def _bare(line: dict[str, Any]) -> dict[str, Any]:
    more = ("type", "statuses", "errors", "phases", "iterations", "steps")
    return {name: value for name, value in line.items() if name not in more}


def test_what_lines_tell_of_intervals_adds_up(written: Written) -> None:
    measured = [one for one in written.lines[1:-1] if one["measured"]]
    found = written.result
    for status, number in found.statuses.items():
        assert sum(one["statuses"].get(str(status), 0) for one in measured) == number
    failed = [error["count"] for one in measured for error in one["errors"]]
    assert sum(failed) == found.counts.failed > 0
    for phase, by_class in found.phases.items():
        told = sum(one["phases"].get(phase, {"count": 0})["count"] for one in measured)
        assert told == by_class["all"].count, phase


def test_lines_tell_of_steps() -> None:
    _, _, second, _ = ndjson(kept(1), kept(2))
    assert [*second["steps"]] == ["log in, out", "cart"]
    assert second["iterations"]["scheduled"] == 5
    assert second["steps"]["cart"]["counts"]["failed"] == 1
    assert second["steps"]["cart"]["response"]["max"] == 6 * MS


# ---- CSV


def test_rows_are_the_intervals(written: Written) -> None:
    assert [*written.rows[0]] == [*COLUMNS]
    assert len(written.rows) == len(written.result.intervals)
    for row, one in zip(written.rows, written.result.intervals, strict=True):
        assert row["step"] == ""
        assert float(row["at"]) == one.at
        assert float(row["time"]) == pytest.approx(written.lines[0]["started"] + one.at, abs=1e-5)
        assert row["measured"] == ("true" if one.measured else "false")
        assert float(row["rate"]) == one.rate
        for name in ("scheduled", "completed", "failed", "late", "bytes_received"):
            assert int(row[name]) == getattr(one.counts, name)
        for name in ("wrong", "in_flight", "waiting", "connections"):
            assert int(row[name]) == getattr(one, name)
        if one.response.count:
            assert int(row["response_p99_ns"]) == one.response.percentile(99)
            assert int(row["service_max_ns"]) == one.service.max


def test_rows_are_as_rfc_4180_says() -> None:
    file = io.BytesIO()
    follow(Csv(file), kept(1))
    lines = file.getvalue().split(b"\r\n")
    assert lines[0].decode().split(",") == [*COLUMNS]
    assert lines[2].startswith(b'"log in, out",')
    assert lines[-1] == b""
    assert b"\n" not in b"".join(lines)


def test_each_step_has_a_row() -> None:
    told = rows(kept(1), kept(2))
    assert [row["step"] for row in told] == ["", "log in, out", "cart"] * 2
    for whole, *steps in (told[:3], told[3:]):
        for name in ("scheduled", "completed", "failed", "answered", "response_count"):
            assert int(whole[name]) == sum(int(row[name]) for row in steps)
        assert [row["in_flight"] for row in steps] == ["", ""]
    assert told[5]["time"] == f"{STARTED + 2:.6f}"
    assert told[5]["response_max_ns"] == str(6 * MS)


def test_what_there_is_no_value_of_is_empty() -> None:
    (row,) = rows(Books())
    assert row["response_count"] == "0"
    assert row["response_p99_ns"] == row["service_mean_ns"] == ""


# ---- HdrHistogram


def read(log: Path) -> Iterator[HdrHistogram]:
    """As HdrHistogram's Python port reads it."""
    reader = HistogramLogReader(str(log), HdrHistogram(1, 3_600_000_000_000, 3))
    try:
        while (one := reader.get_next_interval_histogram()) is not None:
            yield one
    finally:
        reader.close()


def totals(log: Path) -> dict[str | None, Histogram]:
    """All intervals of each tag, merged."""
    out: dict[str | None, Histogram] = {}
    for one in read(log):
        out.setdefault(one.get_tag(), Histogram()).merge(Histogram.decode(one.encode()))
    return out


def test_the_log_has_every_response(written: Written) -> None:
    logged, found = totals(written.log), written.result
    whole = {None: found.response, "service": found.service}
    whole.update({phase: by_class["all"] for phase, by_class in found.phases.items()})
    assert set(logged) == set(whole)
    for tag, expected in whole.items():
        assert list(logged[tag].counts) == list(expected.counts), tag


def test_the_log_tells_when(written: Written) -> None:
    intervals = [one for one in written.result.intervals if one.measured]
    logged = [one for one in read(written.log) if one.get_tag() is None]
    started = written.lines[0]["started"]
    for one, at in zip(logged, intervals, strict=True):
        assert one.get_total_count() == at.response.count
        assert one.get_start_time_stamp() / 1e3 == pytest.approx(
            started + at.at - at.seconds, abs=2e-3
        )
        assert one.get_end_time_stamp() / 1e3 == pytest.approx(started + at.at, abs=3e-3)


def test_the_log_has_steps_by_tag_and_no_warm_up(tmp_path: Path) -> None:
    log = tmp_path / "plan.hlog"
    with log.open("wb") as file:
        follow(HdrLog(file), kept(1, measured=False), kept(2), kept(3))
    logged = totals(log)
    assert {tag: one.count for tag, one in logged.items() if tag is None or "/" in tag} == {
        None: 16, "log%20in%2C%20out/response": 8, "log%20in%2C%20out/service": 8,
        "log%20in%2C%20out/ttfb": 8, "log%20in%2C%20out/total": 10, "cart/response": 8,
        "cart/service": 8, "cart/ttfb": 8, "cart/total": 10,
    }  # fmt: skip
    expected = histogram([6 * MS] * 4 + [9 * MS] * 4)
    assert list(logged["cart/response"].counts) == list(expected.counts)


@pytest.mark.parametrize(
    "found",
    [evenly(1), evenly(1000, 9000), histogram([1, 2, MS, 9 * MS, 9 * MS])],
)
def test_percentiles_are_those_of_hdrhistogram(found: Histogram) -> None:
    ours, theirs = io.BytesIO(), io.BytesIO()
    Hgrm(ours).ended(result(response=found))
    peer = HdrHistogram.decode(found.encode())
    peer.output_percentile_distribution(theirs, MS)
    head, _, *lines = ours.getvalue().decode().splitlines()
    assert head == theirs.getvalue().decode().splitlines()[0]
    *told, last = [line.split() for line in lines if line[0] != "#"]
    recorded = [
        (one.value_iterated_to, one.total_count_to_this_value)
        for one in peer.get_recorded_iterator()
    ]
    for value, level, count, inverse in told:
        at, upto = next(one for one in recorded if one[1] >= float(level) * found.count - 1e-6)
        assert (value, int(count)) == (f"{at / MS:.3f}", upto)
        assert float(inverse) == pytest.approx(1 / (1 - float(level)), rel=0.01)
    highest = f"{peer.get_value_at_percentile(100) / MS:.3f}"
    assert last == [highest, "1.000000000000", str(found.count)]
    assert lines[-1] == f"#[Max     = {found.max / MS:12.3f}, Total count    = {found.count:12d}]"


def test_percentiles_come_in_steps_that_halve_with_the_distance() -> None:
    file = io.BytesIO()
    Hgrm(file).ended(result(response=evenly(100_000)))
    levels = [line.split()[1] for line in file.getvalue().decode().splitlines()[2:-2]]
    expected = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.775, 0.8]
    assert [float(one) for one in levels[:13]] == pytest.approx(expected)


@pytest.mark.parametrize("kind", [Ndjson, Csv, HdrLog, Hgrm])
def test_a_run_without_an_answer_is_written(kind: type[Output]) -> None:
    file = io.BytesIO()
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/"
        load.run(url, requests=3, connections=1, trust_env=False, observers=[kind(file)])
    assert file.getvalue()


def test_a_run_has_its_percentiles(written: Written) -> None:
    last = written.hgrm.splitlines()[-3].split()
    assert last[1:] == ["1.000000000000", str(written.result.response.count)]


# ---- observers


class Follower:
    def __init__(self, raises: BaseException | None = None) -> None:
        self.told: list[str] = []
        self.raises = raises

    def begun(self, options: Options, started: float) -> None:
        self.told.append("begun")

    def gathered(self, interval: Interval, books: Books) -> None:
        self.told.append("gathered")
        if self.raises is not None:
            raise self.raises

    def ended(self, result: Result) -> None:
        self.told.append("ended")


def test_observers_are_told_in_order() -> None:
    follower = Follower()
    with CountingServer() as server:
        found = load.run(server.url, requests=20, trust_env=False, observers=[follower])
    assert follower.told == ["begun", *["gathered"] * len(found.intervals), "ended"]


def test_what_an_observer_raises_ends_the_run() -> None:
    follower = Follower(ZeroDivisionError("mine"))
    with CountingServer() as server:
        options = {"rate": 50, "duration": 3600, "trust_env": False}
        run = load.start(server.url, observers=[follower], **options)
        with pytest.raises(ZeroDivisionError, match="mine"):
            run.result(LIMIT)
    assert follower.told == ["begun", "gathered"]


@pytest.mark.parametrize("kind", [Ndjson, Csv, HdrLog, Hgrm])
def test_a_disk_that_is_full_is_told_and_nothing_else_lost(kind: type[Output]) -> None:
    with open("/dev/full", "wb", buffering=0) as file, CountingServer() as server:
        output = kind(file)
        found = load.run(server.url, requests=20, trust_env=False, observers=[output])
    assert found.counts.completed == 20
    assert output.error is not None
    assert output.error.strerror == "No space left on device"


# ---- the command


ENDLESS = ("-s", "--rate", "50", "--duration", "1m")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "load", *arguments],
        env=environment(), capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv", "/nowhere/file", "URL"], "(2) can't write to /nowhere/file: No such file"),
        (["--csv", "-", "--json", "-", "URL"], "(2) --json and --csv can't both go to stdout"),
        (["--hdr", "-", "--ndjson", "-", "URL"], "(2) --ndjson and --hdr can't both go to"),
        (["--csv", "./a", "--json", "a", "URL"], "(2) --json and --csv can't both go to ./a"),
    ],
)
def test_wrong_usage_names_the_option(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["load", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_command_writes_what_it_is_asked_for(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("ndjson", "csv", "hdr", "hgrm")}
    options = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
    with CountingServer() as server:
        done = command("--requests", "20", "--check", "errors<1", *options, server.url)
    assert done.returncode in (0, 3), done.stderr
    assert "\nrequests       20 answered\n" in done.stdout
    lines = [json.loads(line) for line in paths["ndjson"].read_text().splitlines()]
    for line in lines:
        LINES.validate(line)
    assert [one["check"] for one in lines[-1]["result"]["checks"]] == ["errors<1"]
    assert totals(paths["hdr"])[None].count == 20
    assert paths["csv"].read_bytes().count(b"\r\n") == len(lines) - 1
    assert "Total count    =           20]" in paths["hgrm"].read_text()


def test_lines_on_stdout_send_the_report_to_stderr() -> None:
    with CountingServer() as server:
        done = command("--requests", "20", "--ndjson", "-", server.url)
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()][-1] == "summary"
    assert "\nrequests       20 answered\n" in done.stderr


def test_a_run_that_is_killed_leaves_its_lines() -> None:
    with CountingServer() as server:
        process = subprocess.Popen(
            [*COMMAND, "load", *ENDLESS, "--ndjson", "-", server.url],
            env=environment(), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            assert process.stdout is not None
            head, second = process.stdout.readline(), process.stdout.readline()
            process.kill()
            rest = process.stdout.read()
    told = [json.loads(line) for line in (head + second + rest).splitlines()]
    assert [one["type"] for one in told[:2]] == ["options", "interval"]
    assert told[1]["counts"]["scheduled"] >= 50


def test_a_full_disk_is_told_at_the_end() -> None:
    with CountingServer() as server:
        done = command("-q", "--requests", "10", "--csv", "/dev/full", server.url)
    assert done.returncode == 23
    assert "can't write to /dev/full: No space left on device" in done.stderr
    assert "\nrequests       10 answered\n" in done.stdout


def test_a_reader_of_lines_that_leaves_ends_the_run() -> None:
    with CountingServer() as server:
        process = subprocess.Popen(
            [*COMMAND, "load", *ENDLESS, "--ndjson", "-", server.url],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.wait(LIMIT) == 23


def test_ctrl_c_ends_it_though_nobody_reads_the_lines() -> None:
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writes, bytes(4096))
    os.set_blocking(writes, True)
    asked = threading.Event()

    def answers(number: int) -> bytes:
        asked.set()
        return OK

    with CountingServer(answers) as server, open(reads, "rb"):
        process = subprocess.Popen(
            [*COMMAND, "load", *ENDLESS[1:], "--ndjson", "-", server.url],
            env=environment(), stdout=writes, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.close(writes)
        with process:
            try:
                assert asked.wait(LIMIT)
                assert process.stderr is not None
                process.send_signal(signal.SIGINT)
                assert process.stderr.readline().startswith("ftnet: ending: ")
                process.send_signal(signal.SIGINT)
                assert process.wait(LIMIT) == 130
                assert process.stderr.read() == ""
            finally:
                process.kill()
