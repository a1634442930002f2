"""`ftnet load` against real servers: its options, exit codes, lines, JSON, and Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftnet import cli, cli_load_run
from ftnet.histogram import Histogram
from ftnet.load.checks import Check
from tests.command import COMMAND, LIMIT, environment
from tests.load_results import BUSY, result, unanswered
from tests.servers.awkward import AwkwardServer, Peer, closed_port
from tests.servers.nginx import Nginx

MEASURED = (0, cli_load_run.INVALID)  # on a busy machine a run may not be valid


def load(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "load", *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def measured(*arguments: str) -> dict[str, Any]:
    """What `--json` says."""
    done = load("--json", "-s", *arguments)
    assert done.returncode in MEASURED, done.stderr
    assert done.stderr == ""
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@contextlib.contextmanager
def under_way(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, "load", "--duration", "1h", *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment(), stdout=pipe, stderr=pipe, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def parse(*arguments: str) -> argparse.Namespace:
    return cli.build_parser().parse_args(["load", *arguments])


# ---- the command line


def test_help_shows_examples_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["load", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "examples:\n  ftnet load http://" in shown
    for code in (0, 1, 2, 3, 23, 130):
        assert f"  {code} " in shown
    assert max(map(len, shown.split("\n"))) <= 100


@pytest.mark.parametrize(
    ("arguments", "option", "value"),
    [
        (["--duration", "30s"], "duration", 30.0),
        (["--duration", "1m30s"], "duration", 90.0),
        (["--duration", "1h"], "duration", 3600.0),
        (["--duration", "2.5"], "duration", 2.5),
        (["--warmup", "500ms"], "warmup", 0.5),
        (["--think-time", "20ms"], "think", 0.02),
        (["--max-time", "2s"], "timeout", 2.0),
        (["--timeout", "2s"], "timeout", 2.0),
        (["--grace", "0"], "grace", 0.0),
        (["--late-after", "5ms"], "late_after", 0.005),
        (["--rate", "10k"], "rate", 10_000.0),
        (["--rate", "0.5"], "rate", 0.5),
        (["--rate", "200/s"], "rate", 200.0),
        (["--requests", "1.5M"], "requests", 1_500_000),
        (["-c", "1k"], "connections", 1000),
        (["--workers", "2"], "workers", 2),
        (["--h2", "--streams", "10"], "streams", 10),
        (["--h1"], "http_version", "1.1"),
        (["--h2"], "http_version", "2"),
        (["--http3-only"], "http_version", "3-only"),
        (["--stages", "30s:1k,1m:0"], "stages", [(30.0, 1000.0), (60.0, 0.0)]),
        (["--stages", "1s:1", "--stages", "2s:2"], "stages", [(1.0, 1.0), (2.0, 2.0)]),
        (["--rate", "5", "--poisson"], "arrivals", "poisson"),
        (["--expect", "200,404"], "expect_status", [200, 404]),
        (["--expect", "3xx"], "expect_status", [*range(300, 400)]),
        (["--expect-length", "0"], "expect_length", 0),
        (["-X", "PUT"], "method", "PUT"),
        (["-d", "a=1", "-d", "b=2"], "data", b"a=1&b=2"),
        (["-d", "a=1"], "method", "POST"),
        (["-d", "a=1", "-X", "PUT"], "method", "PUT"),
        (["-d", "a=1"], "header", {"content-type": "application/x-www-form-urlencoded"}),
        (["--data-json", "[]"], "header", {"content-type": "application/json"}),
        (["-H", "a: 1", "-H", "A: 2"], "header", {"a": "1, 2"}),
        (["-H", "cookie: a=1", "-H", "cookie: b=2"], "header", {"cookie": "a=1; b=2"}),
        (["-k"], "verify", False),
        (["-x", "proxy.test:3128"], "proxy", "http://proxy.test:3128"),
        (["-A", "me/1"], "user_agent", "me/1"),
    ],
)
def test_options_become_those_of_a_run(arguments: list[str], option: str, value: object) -> None:
    options = cli_load_run.options_of(parse(*arguments, "localhost:8000/"))
    assert options["url"] == "http://localhost:8000/"
    assert options[option] == value


def test_what_is_not_given_is_left_to_the_run() -> None:
    assert cli_load_run.options_of(parse("http://a/")) == {"url": "http://a/"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "ftnet: (2) a URL is missing"),
        (["--rate", "fast", "URL"], "argument --rate: 'fast' is no rate a second: 200, "),
        (["--duration", "1d", "URL"], "argument --duration: '1d' is no time: 500ms, "),
        (["--duration", "0", "URL"], "--duration must be a number of seconds > 0, "),
        (["-c", "0", "URL"], "argument -c/--connections: '0' is not a whole number above 0"),
        (["--requests", "1.5", "URL"], "argument --requests: '1.5' is not a whole number"),
        (["--stages", "10s", "URL"], "argument --stages: '10s' is not TIME:RATE, as 30s:1k"),
        (["--stages", "0:5", "URL"], "argument --stages: '0:5' takes no time; "),
        (["--stages", "1s:0", "URL"], "--stages must be "),
        (["--expect", "9", "URL"], "argument --expect: '9' is no status"),
        (["--expect-length", "-1", "URL"], "--expect-length"),
        (["--workers", "65", "URL"], "(2) --workers must be at most connections (64), got 65"),
        (["--think-time", "1s", "--rate", "5", "URL"], "(2) --think-time must be 0 with a rate"),
        (["--streams", "2", "URL"], "(2) --streams must be 1 over HTTP/1.1, got 2"),
        (["--poisson", "URL"], "(2) --poisson needs --rate or --stages"),
        (["--rate", "0", "URL"], "(2) --rate must be more than 0"),
        (["--h2", "--h3", "URL"], "not allowed with argument"),
        (["-X", "CONNECT", "URL"], "(2) --method must be a method's name, got 'CONNECT'"),
        (["-H", "Content-Length: 4", "URL"], "(2) --header must be "),
        (["-d", "@/nowhere/file", "URL"], "(2) can't read the data from /nowhere/file"),
        (["--cacert", "/nowhere/file", "URL"], "(2) can't read /nowhere/file"),
        (["--json", "/nowhere/file", "URL"], "(2) can't write to /nowhere/file"),
        (["ftp://localhost/"], "(2) the scheme ftp is not supported"),
        (["http://"], "(2) url is not valid, got 'http://': the host is missing"),
        (["-x", ":::", "URL"], "(2) proxy is not valid"),
        (
            ["--check", "p99<20", "URL"],
            "(2) --check: the unit is missing; the limit is a time with its unit: 20ms"
            " (ns us ms s m)\n  p99<20\n        ^\n",
        ),
    ],
)
def test_wrong_usage_names_the_option(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["load", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_nothing_is_written_before_the_options_are_right(tmp_path: Path) -> None:
    done = load("--json", f"{tmp_path}/out.json", "--workers", "65", "http://127.0.0.1/")
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "checks", "code"),
    [
        ({}, [], 0),
        ({}, ["p99<20ms"], 0),
        ({}, ["p99<20ms", "p99<1ms"], 1),
        ({}, ["ssl.p99<1s"], 1),
        ({"reasons": (BUSY,)}, ["p99<20ms"], 3),
        ({"reasons": (BUSY,)}, ["p99<1ms"], 3),
        ({"interrupted": True, "reasons": (BUSY,)}, ["p99<1ms"], 130),
    ],
)
def test_the_exit_code_says_what_came_of_it(
    given: dict[str, Any], checks: list[str], code: int
) -> None:
    found = result(**given)
    assert cli_load_run.code(found, [Check.parse(one).judge(found) for one in checks]) == code


def test_no_answer_is_no_success() -> None:
    assert cli_load_run.code(unanswered(), []) == 1


# ---- against servers


def test_a_run_is_reported(nginx: Nginx) -> None:
    done = load("--requests", "200", "-c", "4", f"{nginx.http}/hello")
    assert done.returncode in MEASURED
    assert done.stderr == ""
    assert f"\nGET {nginx.http}/hello\nhttp/1.1 · " in done.stdout
    assert "\nrequests       200 answered\n" in done.stdout
    assert "\n  200                 200       100 %\n" in done.stdout


def test_without_a_terminal_there_is_a_line_a_second(nginx: Nginx) -> None:
    done = load("--rate", "200", "--requests", "300", "--warmup", "1s", f"{nginx.http}/hello")
    assert done.returncode in MEASURED
    lines, _, report = done.stdout.partition("\n\n")
    told = [dict(part.split("=") for part in line.split(" ")) for line in lines.split("\n")]
    assert [one["part"] for one in told][:2] == ["warmup", "run"]
    assert all(one["part"] == "run" for one in told[1:])
    assert sum(int(one["answered"]) for one in told) == 500
    assert "\nrequests       300 answered\n" in report
    assert "after 1 s of warm-up" in report


def test_quiet_is_the_report_alone_and_silent_is_silent(nginx: Nginx) -> None:
    arguments = ("--duration", "1100ms", "--rate", "50", f"{nginx.http}/hello")
    quiet, silent = load("-q", *arguments), load("-s", *arguments)
    assert "elapsed_s=" not in quiet.stdout
    assert "\nlatency, ms " in quiet.stdout
    assert (silent.stdout, silent.stderr) == ("", "")


def test_json_has_it_all(nginx: Nginx) -> None:
    told = measured("--requests", "300", "-c", "3", "--check", "errors<1", f"{nginx.http}/hello")
    counts = told["counts"]
    assert counts["scheduled"] == counts["completed"] == 300
    parts = ("completed", "failed", "unfinished", "unsent")
    assert counts["scheduled"] == sum(counts[part] for part in parts)
    assert told["statuses"] == {"200": 300}
    assert told["response"]["count"] == Histogram.decode(told["response"]["hdr"]).count == 300
    assert told["phases"]["ttfb"]["all"]["count"] == 300
    assert sum(one["counts"]["completed"] for one in told["intervals"]) == 300
    assert told["checks"] == [
        {"check": "errors<1", "got": 0, "limit": 1.0, "unit": "", "ok": True, "note": ""}
    ]
    assert told["options"]["connections"] == 3


def test_json_goes_to_stdout_and_all_else_to_stderr(nginx: Nginx) -> None:
    done = load("--json", "--requests", "10", f"{nginx.http}/hello")
    assert json.loads(done.stdout)["counts"]["completed"] == 10
    assert "\nrequests       10 answered\n" in done.stderr


def test_json_goes_to_a_file(nginx: Nginx, tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    done = load("--json", str(target), "--requests", "10", f"{nginx.http}/hello")
    assert json.loads(target.read_text())["counts"]["completed"] == 10
    assert "\nrequests       10 answered\n" in done.stdout


def test_json_that_can_not_be_written_is_told(nginx: Nginx) -> None:
    done = load("-q", "--json", "/dev/full", "--requests", "10", f"{nginx.http}/hello")
    assert done.returncode == 23
    assert "can't write to /dev/full: No space left on device" in done.stderr
    assert "\nrequests       10 answered\n" in done.stdout


def test_a_reader_that_leaves_ends_it(nginx: Nginx) -> None:
    with under_way("--rate", "20", f"{nginx.http}/hello") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(LIMIT) == 23


def test_a_check_that_fails_sets_the_exit_code(nginx: Nginx) -> None:
    done = load(
        "-q", "--requests", "10", "--check", "rate<1", "--check", "errors<1", f"{nginx.http}/hello"
    )
    assert done.returncode in (cli_load_run.CHECKS_FAILED, cli_load_run.INVALID)
    assert "\nFAIL  rate<1    " in done.stdout
    assert "\nok    errors<1  0\n" in done.stdout


def test_wrong_answers_are_errors(nginx: Nginx) -> None:
    wrong = measured("--requests", "10", f"{nginx.http}/status/503")
    assert wrong["counts"]["wrong_status"] == 10
    assert wrong["error_rate"] == 1.0
    right = measured("--requests", "10", "--expect", "5xx", f"{nginx.http}/status/503")
    assert right["error_rate"] == 0.0


def test_a_body_is_sent() -> None:
    def counts(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.answer(b"ok")

    with AwkwardServer(counts) as server:
        measured("--requests", "3", "-c", "1", "--data-json", '{"a": 1}', "-H", "x: y", server.url)
        requests = server.requests
    assert [one.body for one in requests] == [b'{"a": 1}'] * 3
    assert [one.method for one in requests] == ["POST"] * 3
    assert requests[0].get("content-type") == "application/json"
    assert requests[0].get("x") == "y"


def test_nobody_there_is_told() -> None:
    with closed_port() as port:
        done = load("-q", "--requests", "5", "-c", "1", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stdout.startswith("NO ANSWER  to any of 5 requests\n")
    assert "          5  CONNECT ECONNREFUSED: connection refused" in done.stdout


# ---- Ctrl-C


def never_answers(peer: Peer) -> None:
    peer.read_request()
    peer.server.gate.set()
    peer.until_gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_there_is(nginx: Nginx, number: int) -> None:
    with under_way("--rate", "100", f"{nginx.http}/hello") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("elapsed_s=")
        process.send_signal(number)
        rest, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert ", interrupted after " in rest or "INVALID" in rest
    assert "\nlatency, ms " in rest


def test_a_second_ctrl_c_does_not_wait() -> None:
    limits = ("--grace", "1h", "--timeout", "1h", "-c", "1")
    with AwkwardServer(never_answers) as server, under_way(*limits, server.url) as process:
        assert server.gate.wait(LIMIT)
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("ftnet: ending: ")
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert errors == ""
    assert "requests " not in rest


PLAN = """
base_url = "{url}"
settings = {{ trust_env = false }}
load = {{ users = 3, iterations = 20 }}
[[scenario]]
name = "look"
[[scenario.step]]
name = "hello"
request = "/hello"
expect = {{ status = 200, body = {{ contains = "{wanted}" }} }}
"""


def test_a_plan_is_carried_out(nginx: Nginx, tmp_path: Path) -> None:
    file = tmp_path / "look.toml"
    file.write_text(PLAN.format(url=nginx.http, wanted="ello"))
    done = load("--plan", str(file), "--json", str(tmp_path / "r.json"))
    assert done.returncode in MEASURED
    assert "plan look: look" in done.stdout
    assert re.search(r"^iterations +20 whole$", done.stdout, re.MULTILINE)
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["plan"], result["iterations"]["completed"]) == ("look", 20)
    assert result["steps"]["hello"]["counts"]["completed"] == 20


def test_a_list_of_urls_is_carried_out_as_a_plan(nginx: Nginx, tmp_path: Path) -> None:
    file = tmp_path / "urls.txt"
    file.write_text(f"{nginx.http}/hello\ncurl -s {nginx.http}/hello?again\n")
    done = load("--plan", str(file), "--requests", "4", "-c", "2", "--noproxy", "*")
    assert done.returncode in MEASURED
    assert re.search(r"^iterations +4 whole$", done.stdout, re.MULTILINE)
    assert re.search(r"^GET /hello\?again .* 4 +-$", done.stdout, re.MULTILINE)


def test_what_a_plan_expects_and_does_not_get_is_told(nginx: Nginx, tmp_path: Path) -> None:
    file = tmp_path / "look.toml"
    file.write_text(PLAN.format(url=nginx.http, wanted="good bye"))
    done = load("--plan", str(file), "--requests", "4", "--check", "errors<1%")
    assert done.returncode in (1, cli_load_run.INVALID)  # on a busy machine
    assert "100 % did not hold: body contains" in done.stdout
    assert "4 given up" in done.stdout


def test_a_plan_that_is_none_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "look.toml"
    file.write_text(PLAN.format(url="http://127.0.0.1:1", wanted="x").replace("users", "usres"))
    done = load("--plan", str(file))
    assert done.returncode == 2
    assert "look.toml:4: load.usres" in done.stderr
    both = load("--plan", str(file), "http://127.0.0.1:1/")
    assert both.returncode == 2
