"""Runs of load when things go wrong: each request is accounted for, and the result tells."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftnet import load
from ftnet.errors import Errno
from tests.loads import LIMIT, checked, run
from tests.servers.awkward import AwkwardServer, BlackHole, Peer, closed_port, eventually
from tests.servers.counting import OK, CountingServer, answer
from tests.servers.scripted import Answer, Greeting, Stage

CLOSING = answer(200, b"ok", "Connection: close")


@pytest.mark.parametrize("model", [{}, {"rate": 200}])
def test_a_server_that_is_not_there(model: dict[str, Any]) -> None:
    with closed_port() as port:
        result = run(f"http://127.0.0.1:{port}/", connections=4, requests=100, **model)
    (failure,) = result.errors
    assert (failure.errno, failure.cause.name) == (Errno.CONNECT, "ECONNREFUSED")
    assert failure.name == "CONNECT ECONNREFUSED"
    assert result.counts.failed == result.counts.connect_failed == 100
    assert result.duration > 0.25  # each one pauses, or waits until it is due
    assert result.counts.sent == result.counts.opened == 0
    assert result.error_rate == 1.0
    assert result.protocol == ""
    assert set(result.phases["total"]) == {"all", "failed"}


def test_a_server_that_breaks_off_delays_no_request_of_an_open_model(socket_loop: Any) -> None:
    """What is due goes out: only its connection that is still to come may hold it up."""
    with Stage(socket_loop, [Answer(cut=0.0)]) as stage:
        result = run(f"{stage.url}/0", requests=400, connections=1, rate=1000.0)
    assert result.counts.failed == 400
    # pauses, as there are in the closed model, would be 6 s together
    assert result.phases["queue"]["failed"].max < 4_000_000_000  # ns


def test_a_host_that_has_no_address() -> None:
    result = run("http://nowhere.invalid/", connections=2, requests=4)
    assert [one.errno for one in result.errors] == [Errno.DNS]
    assert result.counts.failed == 4


def test_a_server_that_dies_and_comes_back() -> None:
    with CountingServer() as first:
        started = load.start(first.url, duration=1000, connections=4, trust_env=False)
        eventually(lambda: first.requests > 100, "requests")
        port = first.port
    eventually(lambda: started.snapshot().total.counts.connect_failed > 10, "failures", LIMIT)
    with CountingServer(port=port) as second:
        eventually(lambda: second.requests > 100, "requests")
        started.stop()
        result = checked(started.result(LIMIT))
        assert result.counts.sent >= second.requests
    assert "CONNECT ECONNREFUSED" in {one.name for one in result.errors}
    # but for what was under way on the connections that were reset
    assert result.counts.completed >= first.requests - 4 + second.requests


def test_connections_that_end_are_made_again() -> None:
    with CountingServer(lambda number: CLOSING if number % 10 == 9 else OK) as server:
        result = run(server.url, requests=1000, connections=3)
        assert server.requests == 1000
        assert server.connections == result.counts.opened
    assert result.counts.completed == 1000
    assert result.counts.closed == 100
    assert 100 <= result.counts.opened <= 103
    assert result.phases["connect"]["all"].count == result.counts.opened


def test_a_connection_closed_without_notice_costs_no_request() -> None:
    """It is sent again, once, where that is safe."""
    with CountingServer() as server:
        server.closes_silently = True
        result = run(server.url, requests=200, connections=2, think=0.005)
        assert server.requests == 200
        assert server.connections == result.counts.opened
    assert result.counts.completed == 200
    assert not result.errors


def test_one_that_is_not_idempotent_is_not_sent_again() -> None:
    first: set[int] = set()

    def answers(number: int) -> bytes:
        first.add(number)
        return b"" if number % 2 else OK

    with CountingServer(answers) as server:
        result = run(server.url, method="POST", requests=100, connections=1)
        assert server.requests == 100
    assert result.counts.failed == 50
    assert result.counts.retried == 0


@pytest.mark.parametrize("lane", ["native", "libcurl"])
def test_a_server_that_never_answers_times_out(lane: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTNET_LANE", lane)
    with CountingServer(lambda number: None) as server:
        result = run(server.url, requests=6, connections=3, timeout=0.1)
        eventually(lambda: server.requests == result.counts.sent, "all that was sent")
    assert result.counts.opened + result.counts.connect_failed == 6
    assert result.counts.opened >= result.counts.sent
    assert result.counts.closed == 0  # by the server
    assert [(one.errno, one.count) for one in result.errors] == [(Errno.TIMEOUT, 6)]
    assert result.phases["total"]["failed"].min >= 100_000_000


@pytest.mark.parametrize("lane", ["native", "libcurl"])
def test_a_connection_that_does_not_come_in_time_has_failed(
    lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTNET_LANE", lane)
    with BlackHole() as hole:
        result = run(hole.url, requests=3, connections=3, timeout=0.1)
    assert [(one.errno, one.count) for one in result.errors] == [(Errno.TIMEOUT, 3)]
    assert result.counts.connect_failed == 3
    assert result.counts.sent == 0


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_a_certificate_that_is_not_trusted_makes_no_connection(nginx: Any, version: str) -> None:
    result = run(f"{nginx.h2}/hello", http_version=version, requests=4, connections=2)
    assert [(one.errno, one.count) for one in result.errors] == [(Errno.TLS, 4)]
    counts = result.counts
    assert (counts.opened, counts.closed, counts.connect_failed) == (0, 0, 4)


@pytest.mark.parametrize("lane", ["native", "libcurl"])
def test_a_reset_is_told_from_an_end(lane: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by those that look when the first byte came, as the first of each connection does."""
    monkeypatch.setenv("FTNET_LANE", lane)

    def refuse(peer: Peer) -> None:
        peer.read_head()
        peer.reset()

    with AwkwardServer(refuse) as server:
        result = run(server.url, requests=12, connections=2)
    assert [(one.cause.name, one.count) for one in result.errors] == [("ECONNRESET", 12)]


def test_what_is_under_way_at_the_end_gets_its_grace() -> None:
    with CountingServer(lambda number: None) as server:
        result = run(server.url, duration=0.3, connections=3, grace=0.1)
        eventually(lambda: server.requests == result.counts.sent, "all that was sent")
    assert (result.counts.scheduled, result.counts.unfinished) == (3, 3)
    assert result.duration == pytest.approx(0.3)


def test_what_is_under_way_when_it_is_stopped_gets_its_grace() -> None:
    with CountingServer(lambda number: OK if number < 10 else None) as server:
        started = load.start(server.url, duration=1000, connections=3, grace=0.1, trust_env=False)
        eventually(lambda: server.requests == 13, "one on each connection that stays unanswered")
        started.stop()
        result = checked(started.result(LIMIT))
        assert server.requests == 13
    assert (result.counts.completed, result.counts.unfinished) == (10, 3)
    assert result.counts.failed == 0


def test_what_found_no_connection_is_counted() -> None:
    with CountingServer(lambda number: None) as server:
        result = run(server.url, rate=100, duration=0.5, connections=2, grace=0)
        eventually(lambda: server.requests == result.counts.sent, "all that was sent")
    assert (result.counts.scheduled, result.counts.unfinished) == (50, 2)
    assert result.counts.unsent == 48
    assert [one.kind for one in result.warnings] == ["connections", "unanswered"]
    assert result.intervals[-1].waiting == 0


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"garbage\r\n\r\n", Errno.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", Errno.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nx", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore", "ok"),
    ],
)
def test_answers_that_are_none(said: bytes, kind: Any) -> None:
    with CountingServer(lambda number: said) as server:
        result = run(server.url, requests=10, connections=2)
        assert server.requests == 10
    if kind == "ok":  # the response is whole, its connection is of no more use
        assert result.counts.completed == result.counts.opened == 10
        return
    assert result.counts.failed == 10
    assert kind in (None, result.errors[0].errno)


def test_an_answer_before_the_request_was_sent(socket_loop: Any) -> None:
    """Of a body that the server does not want to read: sending lasts until the answer."""
    with Stage(socket_loop, [Answer(early=True, then="close")]) as stage:
        result = run(
            f"{stage.url}/0", method="POST", data=b"x" * 8_000_000, requests=5, connections=1
        )
    assert result.counts.completed + result.counts.failed == 5
    if result.counts.failed == 0:
        phases = [result.phases[name]["all"] for name in ("send", "ttfb", "download")]
        assert sum(one.sum for one in phases) == result.service.sum
    assert all(
        one.below == one.above == 0
        for by_class in result.phases.values()
        for one in by_class.values()
    )


ANSWERS = st.lists(
    st.builds(
        Answer,
        framing=st.sampled_from(["length", "chunked", "close"]),
        size=st.integers(0, 20_000),
        interim=st.integers(0, 2),
        cut=st.none() | st.floats(0, 0.9),
        resets=st.booleans(),
        then=st.sampled_from(["keep", "close", "vanish"]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=25, deadline=None)
@given(
    answers=ANSWERS,
    greetings=st.lists(st.builds(Greeting, refuses=st.sampled_from([None, "fin", "rst"]))),
    connections=st.integers(1, 5),
    rate=st.none() | st.just(400.0),
)
def test_whatever_a_server_does_the_books_balance(
    socket_loop: Any,
    answers: list[Answer],
    greetings: list[Greeting],
    connections: int,
    rate: float | None,
) -> None:
    with Stage(socket_loop, answers, greetings) as stage:
        path = random.Random(len(answers)).randrange(len(answers))
        model = {} if rate is None else {"rate": rate}
        result = run(
            f"{stage.url}/{path}", requests=40, connections=connections, timeout=5, **model
        )
        assert result.counts.scheduled == 40
        assert sum(stage.arrivals.values()) >= result.counts.completed


def test_a_stall_shows_in_the_response_times() -> None:
    """A server that stalls 200 ms of each second: those who were to come meanwhile waited.

    Few requests are under way when it stalls, and only these are slow by their service time: what
    a tool sees that waits for the answer before it goes on.
    """
    with CountingServer() as server:
        server.stall_every(1.0, 0.2)
        result = run(server.url, rate=500, requests=1750, connections=2)
    service, response = result.service, result.response
    assert result.counts.completed == result.counts.scheduled == 1750
    slow = 50_000_000
    # of those due in the last 200 ms of a second, all in the first 150 ms of it wait that long
    assert share_above(response, slow) > 0.1
    assert response.percentile(99) > 150_000_000
    assert share_above(service, slow) < share_above(response, slow) / 5
    assert service.max > 150_000_000  # but they are there


def share_above(histogram: Any, ns: int) -> float:
    values, counts = histogram.values, histogram.counts
    above = sum(count for value, count in zip(values, counts, strict=True) if value > ns)
    return above / histogram.count


def test_without_stalls_both_times_are_the_same_distribution(nginx: Any) -> None:
    """The corrected percentiles are not made up: with a connection free they are those measured."""
    result = run(f"{nginx.http}/hello", rate=200, duration=2, connections=50)
    waited = result.phases["queue"]["all"]
    assert result.response.sum >= result.service.sum
    assert (
        result.response.sum - result.service.sum
        <= waited.sum
        + sum(result.phases[name]["all"].sum for name in ("dns", "connect"))
        + 400 * 5_000_000
    )


CHILD = """
import json, resource, signal, sys
from ftnet import load
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
limit = int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
print("ready", flush=True)
result = load.run(sys.argv[1], **json.loads(sys.argv[2]))
print(json.dumps(result.to_dict()))
"""


def child(url: str, limit: int = 0, **options: Any) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CHILD, url, json.dumps(options), str(limit)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def test_out_of_descriptors_the_run_is_not_valid() -> None:
    with CountingServer() as server:
        result = told(child(server.url, 40, connections=100, requests=3000, trust_env=False))
    assert not result["valid"]
    assert "descriptors" in [one["kind"] for one in result["reasons"]]
    assert "EMFILE" in [one["cause"] for one in result["errors"]]
    counts = result["counts"]
    assert counts["completed"] > 0
    assert counts["scheduled"] == counts["completed"] + counts["failed"]


def test_ctrl_c_ends_a_run_with_its_results() -> None:
    with CountingServer() as server:
        process = child(server.url, connections=2, duration=1000, workers=2, trust_env=False)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        eventually(lambda: server.requests > 1000, "requests", LIMIT)  # so its main thread waits
        process.send_signal(signal.SIGINT)
        result = told(process)
        assert result["interrupted"]
        assert result["counts"]["completed"] == server.requests


def test_a_thread_that_has_no_cpu_left_makes_the_run_invalid(nginx: Any) -> None:
    """As fast as it can from one core: either the server or the generator is the limit."""
    result = run(f"{nginx.http}/hello", duration=0.5, connections=64)
    used = result.cpu / result.duration
    assert ("cpu" in [one.kind for one in result.reasons]) == (used > 0.95)


def test_a_generator_that_was_put_aside_makes_the_run_invalid() -> None:
    """What was due meanwhile was sent late, though connections were free."""
    with CountingServer() as server:
        options = {"rate": 500, "duration": 1000, "connections": 600, "trust_env": False}
        process = child(server.url, **options)
        eventually(lambda: server.requests > 200, "requests", LIMIT)
        process.send_signal(signal.SIGSTOP)
        threading.Event().wait(0.3)  # for so long it is put aside
        before = server.requests
        process.send_signal(signal.SIGCONT)
        eventually(lambda: server.requests > before + 200, "requests", LIMIT)
        process.send_signal(signal.SIGINT)
        result = told(process)
    assert not result["valid"]
    assert "late" in [one["kind"] for one in result["reasons"]]
    assert result["warnings"] == []  # none waited for a connection
    counts = result["counts"]
    assert counts["completed"] == counts["sent"] == server.requests
    assert counts["late"] > 100
    assert result["lateness"]["max"] > 250_000_000
    assert result["response"]["max"] > 250_000_000
