"""The highest rate that keeps some checks: the search, then with servers that have a knee."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ftnet import cli, load, plan
from ftnet.load import Counts, FoundRate, Options, Result, Verdict, finding
from ftnet.load.edge import Edge, Outcome
from tests.command import COMMAND, LIMIT, environment
from tests.load_results import BUSY, URL, evenly, result, validator
from tests.test_serve import Served, serving

FAST, SLOW = evenly(1000, 10), evenly(1000, 100)
LATE = Verdict("late", "9% of the requests were sent late", "lower the rate")
WAITED = Verdict("connections", "30% waited", "more connections shorten it")


# ---- the search


def search(
    judge: Callable[[float], Outcome],
    *,
    start: float = 100.0,
    floor: float = 1.0,
    ceiling: float = 1e8,
    most: int = 60,
) -> tuple[Edge, int]:
    """Asks until the edge is found, and how often that was."""
    edge = Edge(start, floor, ceiling, 0.02, 3)
    for asked in itertools.count():
        rate = edge.next()
        if rate is None or asked == most:
            return edge, asked
        assert floor <= rate <= ceiling
        edge.add(rate, judge(rate))
    raise AssertionError


def up_to(knee: float) -> Callable[[float], Outcome]:
    return lambda rate: "held" if rate <= knee else "broke"


@pytest.mark.parametrize("knee", [3.3, 37, 99, 100, 1600, 1601, 123_456])
def test_a_sharp_edge_is_found_to_the_tolerance(knee: float) -> None:
    edge, asked = search(up_to(knee))
    low, high = edge.clean_low(), edge.clean_high()
    assert low is not None
    assert high is not None
    assert low.rate <= knee < high.rate <= low.rate * 1.0201
    assert (low.held, low.broke, high.held, high.broke) == (3, 0, 0, 3)
    assert not edge.odd()
    assert asked <= 24


def test_one_bad_moment_does_not_move_the_edge() -> None:
    moments = iter([400.0])
    bad = next(moments)

    def judge(rate: float) -> Outcome:
        nonlocal bad
        if rate == bad:
            bad = 0.0
            return "broke"
        return up_to(1600)(rate)

    edge, _ = search(judge)
    low = edge.clean_low()
    assert low is not None
    assert low.rate == 1600
    assert [(one.rate, one.held, one.broke) for one in edge.odd()] == [(400.0, 2, 1)]


@pytest.mark.parametrize("seed", range(20))
def test_a_blurred_edge_gives_a_range_around_it(seed: int) -> None:
    chance = random.Random(seed)

    def judge(rate: float) -> Outcome:
        holds = 1 / (1 + math.exp((rate - 1600) / 32))
        return "held" if chance.random() < holds else "broke"

    edge, asked = search(judge)
    low, high = edge.clean_low(), edge.clean_high()
    assert low is not None
    assert high is not None
    assert low.held >= 3
    assert high.broke >= 3
    assert low.rate - 64 < 1600 < high.rate + 64
    assert asked < 60


def test_it_stays_between_what_it_may_try() -> None:
    edge, asked = search(up_to(1600), ceiling=1000)
    low = edge.clean_low()
    assert low is not None
    assert (low.rate, low.held, edge.clean_high()) == (1000, 3, None)
    edge, asked = search(up_to(50), floor=100)
    high = edge.clean_high()
    assert high is not None
    assert (high.rate, high.broke, edge.clean_low(), asked) == (100, 3, None, 3)


def test_the_generators_limit_takes_three_probes_at_a_rate() -> None:
    edge, _ = search(lambda rate: "held" if rate <= 1000 else "invalid")
    low, high = edge.clean_low(), edge.clean_high()
    assert low is not None
    assert high is not None
    assert low.rate <= 1000 < high.rate
    assert high.invalid == 3
    assert edge.beyond(high)


def test_an_invalid_probe_is_made_again() -> None:
    invalid = itertools.cycle([True, False])
    edge, _ = search(lambda rate: "invalid" if next(invalid) else up_to(1600)(rate))
    low = edge.clean_low()
    assert low is not None
    assert (low.rate, low.held) == (1600, 3)


# ---- probes, of a server that is arithmetic


class Arithmetic:
    """A server that serves `knee` requests a second, in place of runs.

    It needs `tired` runs to recover from more than it can do.
    """

    def __init__(self, knee: float, tired: int = 0) -> None:
        self.knee, self.tired = knee, tired
        self.asked: list[Options] = []
        self.changes: Callable[[Options], dict[str, Any]] = lambda options: {}
        self._rests = 0

    def run(self, options: Options) -> Result:
        self.asked.append(options)
        assert options.rate is not None
        rate, seconds = options.rate, options.duration or 0.0
        slow = rate > self.knee or self._rests > 0
        self._rests = self.tired if rate > self.knee else max(0, self._rests - 1)
        due = round(rate * seconds)
        answered = round(min(rate, self.knee) * seconds)
        times = SLOW if slow else FAST
        values: dict[str, Any] = {
            "options": options,
            "duration": seconds,
            "counts": Counts(scheduled=due, sent=due, completed=due, answered=answered),
            "statuses": {200: due},
            "response": times,
            "service": times,
        }
        values |= self.changes(options)
        made = result(**{name: value for name, value in values.items() if name != "options"})
        return Result(**{**{name: getattr(made, name) for name in Result.__slots__},
                         "options": options})  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Arithmetic:
    made = Arithmetic(1600)
    monkeypatch.setattr(finding, "_run", lambda options, cluster: made.run(options))
    return made


def find(checks: str = "p99<50ms", **options: Any) -> FoundRate:
    return load.find_rate(URL, checks, **options)


def test_what_is_found_is_said_with_how_sure_it_is(server: Arithmetic) -> None:
    found = find()
    assert (found.rate, found.clear, found.limit, found.valid) == (1600, True, "server", True)
    assert str(found) == (
        "1,600/s keeps p99<50ms: held in 3 of 3 probes at 1,600/s, broke in 3 of 3 at 1,620/s"
    )
    assert (found.checks, found.implied) == (("p99<50ms",), ("errors=0", "unfinished=0"))


def test_it_is_a_run_in_the_open_model_after_a_warm_up(server: Arithmetic) -> None:
    found = find("p99<2s", grace=1.0)
    options = found.probes[0].result.options
    assert (options.rate, options.duration, options.warmup) == (100.0, 20.0, 4.0)
    assert (options.grace, options.connections) == (1.0, 400)


def test_a_percentile_gets_its_samples(server: Arithmetic) -> None:
    found = find("p99.9<50ms", probe=1.0)
    assert [one.result.options.duration for one in found.at(100.0)] == [20.0]
    assert [one.result.options.duration for one in found.at(1600.0)] == [1.25] * 3


def test_a_server_that_falls_behind_breaks_whatever_its_times_are(server: Arithmetic) -> None:
    found = find("p99<1s")
    assert found.rate == 1600
    [over] = found.at(3200.0)
    assert all(one.ok for one in over.checks)
    assert (over.outcome, over.fell_behind, over.behind) == ("broke", True, 0.5)


def test_an_error_breaks_unless_there_is_a_check_on_errors(server: Arithmetic) -> None:
    def one_wrong(options: Options) -> dict[str, Any]:
        many = round((options.rate or 0) * (options.duration or 0))
        wrong = 1 if options.rate == 1600 else 0
        counts = Counts(scheduled=many, completed=many, answered=many, wrong_status=wrong)
        return {"counts": counts}

    server.changes = one_wrong
    found = find("p99<50ms")
    assert found.rate is not None
    assert found.rate < 1600
    assert {one.check.text for one in found.at(1600.0)[0].checks if not one.ok} == {"errors=0"}
    assert find("p99<50ms, errors<1%").rate == 1600


def test_what_never_ends_breaks(server: Arithmetic) -> None:
    server.changes = lambda options: {"counts": Counts(scheduled=1000, answered=999, completed=999,
                                                       unfinished=1)}  # fmt: skip
    found = find(from_rate=100)
    assert (found.rate, found.limit) == (None, "from")
    assert str(found) == "no rate is sure to keep p99<50ms: it broke in 3 of 3 probes at 100/s"
    assert len(found.probes) == 3


def test_a_server_is_given_time_to_recover(server: Arithmetic) -> None:
    server.tired = 3
    found = find()
    assert found.rate == 1600
    assert found.clear
    looks = [one for one in server.asked if not one.warmup]
    assert {one.rate for one in looks} == {100.0}
    after = [late for early, late in itertools.pairwise(found.probes) if early.outcome != "held"]
    assert after
    assert all(one.settled > 0 for one in after)
    assert found.probes[0].settled == 0


def test_a_server_that_does_not_recover_ends_it(server: Arithmetic) -> None:
    server.tired = 10**9
    found = find(settle=1e-9)
    assert (found.limit, found.rate, len(found.probes)) == ("unsettled", 1600, 6)
    assert str(found) == (
        "1,600/s keeps p99<50ms: held in 1 of 1 probe at 1,600/s, the server did not recover from"
        " 3,200/s"
    )


def test_the_generators_limit_is_said(server: Arithmetic) -> None:
    server.changes = lambda options: {"reasons": (BUSY,) if (options.rate or 0) > 1000 else ()}
    found = find()
    assert (found.limit, found.valid) == ("generator", False)
    assert found.rate is not None
    assert 900 < found.rate <= 1000
    assert "the generator was the limit, not the server: worker 0 used 98% of a core" in str(found)


@pytest.mark.parametrize(
    ("slowest", "late", "outcome"),
    [(10, 30, "held"), (100, 30, "broke"), (70, 30, "invalid"), (49, 1000, "held")],
)
def test_a_late_generator_spoils_only_what_lateness_can_explain(
    server: Arithmetic, slowest: int, late: int, outcome: str
) -> None:
    server.changes = lambda options: {
        "reasons": (LATE,), "response": evenly(1000, slowest), "lateness": evenly(1000, late),
    }  # fmt: skip
    found = find(from_rate=100, to_rate=100)
    assert {one.outcome for one in found.probes} == {outcome}
    assert found.valid is (outcome != "invalid")


def test_a_server_that_answers_nothing_ends_it(server: Arithmetic) -> None:
    server.changes = lambda options: {"counts": Counts(scheduled=10, failed=10)}
    found = find()
    assert (found.rate, found.limit, len(found.probes)) == (None, "unanswered", 1)
    assert "nothing was answered at 100/s" in str(found)


def test_a_slow_server_is_looked_for_below_what_it_began_with(server: Arithmetic) -> None:
    server.knee = 30
    found = find()
    assert found.rate is not None
    assert 29 < found.rate <= 30


def test_it_ends_at_the_highest_rate_that_was_asked_for(server: Arithmetic) -> None:
    found = find(from_rate=50, to_rate=300)
    assert (found.rate, found.limit, found.high, found.clear) == (300, "to", None, True)
    assert str(found).endswith("held in 3 of 3 probes at 300/s, no higher rate was to be tried")


def test_rates_that_hold_now_and_then_are_a_range(server: Arithmetic) -> None:
    blurred = itertools.cycle([False, True, True])

    def now_and_then(options: Options) -> dict[str, Any]:
        between = 1500 < (options.rate or 0) <= 1600
        return {"response": evenly(1000, 90)} if between and next(blurred) else {}

    server.changes = now_and_then
    found = find()
    assert found.rate is not None
    assert found.high is not None
    assert not found.clear
    assert found.rate <= 1600 <= found.high.rate
    assert "; it is not clear-cut: held in 1 of 3 probes at " in str(found)


@pytest.mark.parametrize(("least", "word"), [(1590, "FOUND"), (1500, "UNCLEAR")])
def test_a_blurred_edge_is_found_as_long_as_it_is_narrow(
    server: Arithmetic, capsys: pytest.CaptureFixture[str], least: int, word: str
) -> None:
    blurred = itertools.cycle([True, False])

    def now_and_then(options: Options) -> dict[str, Any]:
        between = least < (options.rate or 0) <= 1600
        return {"response": SLOW} if between and next(blurred) else {}

    server.changes = now_and_then
    assert command("-q", "--find-rate", "p99<50ms") == 0
    assert f"\n{word}  1,5" in capsys.readouterr().out


def test_ctrl_c_ends_it_with_what_was_found(server: Arithmetic) -> None:
    def interrupted(options: Options) -> dict[str, Any]:
        if options.rate == 800:
            raise KeyboardInterrupt
        return {}

    server.changes = interrupted
    found = find()
    assert (found.rate, found.limit, len(found.probes)) == (400, "interrupted", 3)
    server.changes = lambda options: {"interrupted": True}
    assert (find().limit, find().probes) == ("interrupted", ())


@pytest.mark.parametrize(("connections", "told"), [(64, True), (None, False), (1000, False)])
def test_few_connections_are_named_as_a_possible_limit(
    server: Arithmetic, connections: int | None, told: bool
) -> None:
    def waiting(options: Options) -> dict[str, Any]:
        return {"warnings": (WAITED,) if (options.rate or 0) > 1600 else ()}

    server.changes = waiting
    found = find(**({"connections": connections} if connections else {}))
    said = "at 1,620/s requests waited for one of 64 connections"
    assert [one.startswith(said) for one in found.notes] == ([True] if told else [])
    assert (said in str(found)) is told


@pytest.mark.parametrize(
    ("checks", "options", "error", "message"),
    [
        ("p99", {}, ValueError, "a comparison is missing"),
        ([], {}, ValueError, "checks must be at least one"),
        ("p99<1s", {"rate": 5}, TypeError, "rate is what it looks for"),
        ("p99<1s", {"stages": [(1, 2)]}, TypeError, "stages is what it looks for"),
        ("p99<1s", {"connections": 0}, ValueError, "connections must be"),
        ("p99<1s", {"speed": 0}, TypeError, "speed"),
        ("p99<1s", {"tolerance": 2}, ValueError, "tolerance must be a number > 0 and <= 1"),
        ("p99<1s", {"probe": 0}, ValueError, "probe must be a number > 0"),
        ("p99<1s", {"repeats": 0}, ValueError, "repeats must be an int >= 1"),
        ("p99<1s", {"from_rate": 0}, ValueError, "from_rate must be a number > 0"),
        ("p99<1s", {"from_rate": 9, "to_rate": 8}, ValueError, r"from_rate \(9\) must be at most"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_sent(
    server: Arithmetic, checks: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        find(checks, **options)
    assert not server.asked


def test_json_has_every_probe(server: Arithmetic) -> None:
    found = find(to_rate=200)
    told = json.loads(json.dumps(found.to_dict()))
    assert "secret" not in json.dumps(
        dataclasses.replace(found, target="http://me:secret@h/").to_dict()
    )
    assert (told["format"], told["rate"], told["limit"]) == ("ftnet.find-rate/1", 200, "to")
    assert told["low"] == {"rate": 200.0, "held": 3, "broke": 0, "invalid": 0}
    assert [one["rate"] for one in told["probes"]] == [100.0, 200.0, 200.0, 200.0]
    assert all(load.Result.from_dict(one["result"]).valid for one in told["probes"])


@pytest.mark.parametrize("options", [{}, {"to_rate": 200}, {"from_rate": 5000}])
def test_json_is_as_its_schema_says(server: Arithmetic, options: dict[str, float]) -> None:
    schema = validator("find-rate.schema.json")
    told = json.loads(json.dumps(find(**options).to_dict(), allow_nan=False))
    schema.validate(told)
    for change in ({"rate": 0}, {"limit": "nothing"}, {"probes": [{}]}, {"more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            schema.validate(told | change)
    for key in told:
        with pytest.raises(jsonschema.ValidationError):
            schema.validate({name: value for name, value in told.items() if name != key})


# ---- the command


def command(*arguments: str) -> int:
    return cli.main(["load", URL, *arguments])


def test_the_command_tells_each_probe_and_what_they_come_to(
    server: Arithmetic, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert command("--find-rate", "p99<50ms") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["rate/s", "probe", "p50", "p90", "p99", "max", "errors", "ms"]
    assert shown[1].split() == ["100", "held", "5.001", "9.003", "9.904", "10.000", "0"]
    [broke] = [line for line in shown if line.strip().startswith("3,200  broke")]
    assert broke.endswith("p99<50ms: 99 ms; falls behind by 50 %")
    at = next(number for number, line in enumerate(shown) if line.startswith("FOUND"))
    assert " ".join(line.strip() for line in shown[at : at + 2]) == (
        "FOUND  1,600/s keeps p99<50ms: held in 3 of 3 probes at 1,600/s, broke in 3 of 3 at"
        " 1,620/s"
    )
    assert max(len(line) for line in shown[at:]) <= 80
    assert shown[-1].split()[:4] == ["3,200", "0", "of", "1"]
    [best] = [line for line in shown if line.endswith("  <")]
    assert best.split()[:4] == ["1,600", "3", "of", "3"]


def test_exit_codes(server: Arithmetic, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--find-rate", "p99<50ms", "--from", "2k") == 1
    assert "\nBROKEN  no rate is sure to keep p99<50ms" in capsys.readouterr().out
    server.changes = lambda options: {"reasons": (BUSY,)}
    assert command("--find-rate", "p99<50ms", "--from", "100") == 3
    assert "\nINVALID  no rate is sure to keep p99<50ms: at 100/s the" in capsys.readouterr().out
    server.changes = lambda options: {"interrupted": True}
    assert command("--find-rate", "p99<50ms") == 130
    assert "\nINTERRUPTED  no rate" in capsys.readouterr().out


class Terminal(io.StringIO):
    """One that can redraw a line."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_what_is_under_way(
    server: Arithmetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert command("--find-rate", "p99<50ms") == 0
    shown = terminal.getvalue()
    assert "\r\x1b[K3,200/s for 6 s ...\r\x1b[K       3,200  broke " in shown
    assert "\r\x1b[Kthe server recovers ...\r\x1b[K2,400/s for 6 s ..." in shown


def test_quiet_and_silent(server: Arithmetic, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--find-rate", "p99<50ms", "-q") == 0
    assert capsys.readouterr().out.startswith("\nFOUND")
    assert command("--find-rate", "p99<50ms", "-s") == 0
    assert capsys.readouterr() == ("", "")


def test_json_goes_to_a_file_or_stdout(
    server: Arithmetic, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "found.json"
    options = ["--find-rate", "p99<50ms", "--find-rate", "p50<20ms", "--tolerance", "10%"]
    assert command(*options, "--poisson", "--json", str(path)) == 0
    told = json.loads(path.read_text())
    assert (told["checks"], told["tolerance"]) == (["p99<50ms", "p50<20ms"], 0.1)
    assert told["probes"][0]["result"]["options"]["arrivals"] == "poisson"
    capsys.readouterr()
    assert command(*options, "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["rate"] == 1600
    assert "FOUND  1,600/s" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--find-rate", "p99"], "--find-rate: a comparison is missing"),
        (["--find-rate", "p99<1s", "--rate", "5"], "--rate is of a single run"),
        (["--find-rate", "p99<1s", "--check", "p99<1s"], "--check is of a single run"),
        (["--find-rate", "p99<1s", "--csv", "x"], "--csv is of a single run"),
        (["--find-rate", "p99<1s", "--probe", "0"], "--probe must be a number > 0"),
        (["--find-rate", "p99<1s", "--from", "0"], "--from must be a number > 0"),
        (["--find-rate", "p99<1s", "--from", "9", "--to", "8"], "--from (9) must be at most --to"),
        (["--find-rate", "p99<1s", "--tolerance", "0"], "argument --tolerance: '0' is no share"),
        (["--find-rate", "p99<1s", "--duration", "0"], "--duration is of a single run"),
        (["--probe", "1s"], "--probe is of --find-rate"),
        (["--find-rate", "p99<1s", "-c", "1", "--workers", "2"], "--workers must be at most"),
    ],
)
def test_wrong_usage_names_the_option(
    server: Arithmetic, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not server.asked


# ---- servers that have a knee


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


SHORT: dict[str, Any] = {"probe": 0.3, "tolerance": 0.2, "repeats": 2}


def test_the_knee_of_a_server(served: Served) -> None:
    url = f"{served.url}/work?ms=5&slots=2"  # 400/s
    found = load.find_rate(url, "p90<100ms", from_rate=200, to_rate=800, **SHORT)
    # how much it serves on a busy machine nobody knows, but more than 400/s it can't
    assert found.rate is None or found.rate <= 440, str(found)
    assert all(one.fell_behind for one in found.at(800.0))
    for probe in found.probes:
        assert probe.result.options.rate == probe.rate
        assert probe.result.counts.completed


def test_a_plan_has_a_knee_in_iterations(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        f'base_url = "{served.url}"\n[load]\nusers = 64\n'
        '[[scenario]]\nname = "two"\nstep = [\n'
        '  {request = "GET /work?ms=5&slots=1"},\n  {request = "GET /hello"},\n]\n'
    )  # 200/s
    found = load.find_rate(
        plan.read(path), "p50<2s", from_rate=100, to_rate=400, warmup=0.1, **{**SHORT, "repeats": 1}
    )
    assert found.rate is None or found.rate <= 220, str(found)
    assert all(one.fell_behind for one in found.at(400.0))
    assert found.target == "plan"


def test_sigterm_ends_the_command_with_what_was_found(served: Served) -> None:
    command = [*COMMAND, "load", "--find-rate", "p50<5s", "--probe", "1h", f"{served.url}/hello"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(), stdout=pipe, stderr=pipe, text=True) as one:
        assert one.stdout is not None
        try:
            assert "rate/s" in one.stdout.readline()
            one.send_signal(signal.SIGTERM)
            shown, complaints = one.communicate(timeout=LIMIT)
        finally:
            one.kill()
    assert (one.returncode, complaints) == (130, "")
    assert shown.startswith("\nINTERRUPTED  no rate is sure to keep p50<5s: interrupted")
