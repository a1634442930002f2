"""Runs of load: what is sent, what is counted, and when."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import time
from importlib.metadata import version
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram

from ftnet import load
from ftnet.histogram import Histogram
from ftnet.load import Interval
from tests.loads import LIMIT, checked, run
from tests.servers.awkward import AwkwardServer, Peer, eventually
from tests.servers.counting import OK, CountingServer, answer


@pytest.mark.parametrize("connections", [1, 7, 200])
@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_requests_as_asked_for(connections: int, workers: int) -> None:
    workers = min(workers, connections)
    with CountingServer() as server:
        result = run(server.url, requests=1000, connections=connections, workers=workers)
        assert server.requests == 1000
    assert result.counts.completed == result.counts.sent == 1000
    assert result.counts.opened == server.connections <= connections
    assert result.statuses == {200: 1000}
    assert not result.errors
    assert len(result.cpu_workers) == workers
    assert result.protocol == "http/1.1"
    assert result.peer == f"127.0.0.1:{server.port}"
    assert result.counts.bytes_received == 1000 * len(OK)
    assert result.counts.bytes_sent == sum(
        (len(head) + 4) * times for head, times in server.heads.items()
    )


def test_fewer_requests_than_workers_or_connections() -> None:
    with CountingServer() as server:
        result = run(server.url, requests=2, connections=8, workers=4)
        assert server.requests == result.counts.completed == 2


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_open_model_sends_what_is_due(arrivals: str, workers: int) -> None:
    """With a connection for each, whoever is held up for how long."""
    with CountingServer() as server:
        result = run(
            server.url, rate=400, duration=0.5, connections=600, arrivals=arrivals, workers=workers
        )
        assert server.requests == result.counts.sent == result.counts.scheduled
    if arrivals == "constant":
        assert result.counts.scheduled == 200
    assert result.counts.opened == server.connections
    assert result.phases["queue"]["all"].count == result.counts.completed


def test_the_seed_alone_says_how_many_are_due() -> None:
    """However many workers share them."""
    with CountingServer() as server:
        counts = {
            run(
                server.url, rate=300, duration=0.3, arrivals="poisson", seed=5, workers=workers
            ).counts.scheduled
            for workers in (1, 2, 5)
        }
    assert len(counts) == 1


def test_requests_start_when_they_are_due() -> None:
    """A request is never early; the server sees the rate, not bursts."""
    with CountingServer() as server:
        before = time.monotonic()
        run(server.url, rate=100, requests=100, connections=4)
    assert len(server.arrived) == 100
    for number, at in enumerate(server.arrived):
        assert at - before >= number / 100


def test_stages_are_ramps() -> None:
    with CountingServer() as server:
        result = run(server.url, stages=[(0.4, 500), (0.2, 500), (0.4, 0)], connections=300)
        assert server.requests == result.counts.scheduled
    assert result.counts.scheduled == 100 + 100 + 100
    assert result.duration == pytest.approx(1.0)


def test_think_time_is_between_answer_and_request() -> None:
    with CountingServer() as server:
        result = run(server.url, requests=5, connections=1, think=0.05)
    gaps = [b - a for a, b in zip(server.arrived, server.arrived[1:], strict=False)]
    assert min(gaps) >= 0.05
    assert result.counts.completed == 5


def test_a_warm_up_is_not_counted() -> None:
    with CountingServer() as server:
        result = run(server.url, rate=200, warmup=0.5, requests=100, connections=1)
        assert server.requests == 200
    assert result.counts.scheduled == result.counts.completed == 100
    assert result.phases["total"]["all"].count == 100
    first, *others = result.intervals
    assert not first.measured
    assert others
    assert all(one.measured for one in others)
    assert 0 < first.counts.scheduled <= 100  # less where some were sent late
    assert "connect" not in result.phases  # it was made in the warm-up


def test_a_warm_up_of_the_closed_model() -> None:
    with CountingServer() as server:
        result = run(server.url, requests=300, warmup=0.2, connections=5)
        assert server.requests > 300
    assert result.counts.completed == 300
    assert result.warmup == 0.2


def test_statuses_and_their_classes() -> None:
    statuses = [200, 204, 301, 404, 500, 503]

    def answers(number: int) -> bytes:
        status = statuses[number % 6]
        return answer(status, b"" if status == 204 else b"x")

    with CountingServer(answers) as server:
        result = run(server.url, requests=600, connections=4)
    assert result.statuses == dict.fromkeys(statuses, 100)
    assert {name: one.count for name, one in result.phases["total"].items()} == {
        "all": 600,
        "2xx": 200,
        "3xx": 100,
        "4xx": 100,
        "5xx": 200,
    }
    assert result.counts.wrong_status == result.wrong == 300
    assert result.error_rate == 0.5


def test_what_a_right_answer_is_may_be_said() -> None:
    with CountingServer(lambda number: answer(404 if number % 2 else 200, b"abc")) as server:
        other = run(server.url, requests=10, connections=1, expect_status=404)
        length = run(server.url, requests=10, connections=1, expect_length=3)
        wrong = run(server.url, requests=10, connections=1, expect_length=4)
    assert other.counts.wrong_status == 5
    assert (length.counts.wrong_status, length.counts.wrong_length) == (5, 0)
    assert (wrong.counts.wrong_status, wrong.counts.wrong_length) == (5, 5)


def test_the_request_is_what_was_asked_for() -> None:
    with CountingServer() as server:
        run(
            f"{server.url}path?a=b",
            method="PUT",
            header={"X-One": "1", "accept": "text/plain"},
            data="body \u00e4",
            requests=3,
            connections=1,
        )
    assert server.bodies == {"body \u00e4".encode(): 3}
    (head,) = server.heads
    lines = head.decode().split("\r\n")
    assert lines[0] == "PUT /path?a=b HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}" in lines
    assert {"X-One: 1", "accept: text/plain", "Content-Length: 7"} < set(lines)
    assert not [line for line in lines if line.startswith("Accept:")]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "DELETE", "PATCH", "PURGE"])
def test_methods(method: str) -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + b"x" * 10 * (method != "HEAD")
    with CountingServer(lambda number: said) as server:
        result = run(server.url, method=method, requests=20, connections=2)
    assert result.statuses == {200: 20}
    assert next(iter(server.heads)).startswith(f"{method} / ".encode())


@pytest.mark.parametrize("kind", ["http", "https", "h2", "h3"])
@pytest.mark.parametrize("model", ["closed", "open"])
def test_every_version_of_http(kind: str, model: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("caddy" if kind == "h3" else "nginx")
    url = f"{getattr(server, 'https' if kind == 'h3' else kind)}/hello"
    options: dict[str, Any] = {"ca": server.ca} if kind != "http" else {}
    if kind in ("h2", "h3"):
        options |= {"http_version": "2" if kind == "h2" else "3-only", "streams": 10}
    if model == "open":
        options["rate"] = 1000
    result = run(url, connections=3, requests=200, **options)
    assert result.counts.completed == 200, result.errors
    assert result.protocol == {"h2": "h2", "h3": "h3"}.get(kind, "http/1.1")
    assert set(result.statuses) <= {200, 404}
    phases = set(result.phases)
    assert {"dns", "connect", "send", "ttfb", "download", "total"} <= phases
    assert ("ssl" in phases) == (kind != "http")
    assert ("queue" in phases) == (model == "open")
    assert result.phases["connect"]["all"].count == result.counts.opened <= 3
    for one in ("send", "ttfb", "download"):
        assert result.phases[one]["all"].count == 200
        assert result.phases[one]["all"].below == 0


def test_a_connection_that_many_wait_for_is_not_the_generators_fault(nginx: Any) -> None:
    """Nor do those wait by its fault that share the connection, but were not the first on it."""
    _, _, port = nginx.h2.rpartition(":")

    def slow_to_open(peer: Peer) -> None:
        peer.pace(0.3)
        with socket.create_connection(("127.0.0.1", int(port))) as behind:
            to = {peer.sock: behind, behind: peer.sock}
            while True:
                for ready in select.select(list(to), [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    to[ready].sendall(data)

    with AwkwardServer(slow_to_open) as server:
        result = run(
            f"https://{server.authority}/hello", http_version="2", streams=20, connections=1,
            requests=20, verify=False,
        )  # fmt: skip
    assert (result.counts.completed, result.counts.opened) == (20, 1)
    assert result.lateness.count == 20
    assert result.lateness.max < result.response.max - 290_000_000


@pytest.mark.parametrize("lane", ["native", "libcurl"])
def test_both_lanes_send_the_same_request(lane: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTNET_LANE", lane)
    with CountingServer() as server:
        url = server.url.replace("://", "://127.0.0.1:p%40ss@")
        run(url, method="POST", requests=2, connections=1)
    (head,) = server.heads
    first, *lines = head.decode().split("\r\n")
    assert first == "POST / HTTP/1.1"
    assert sorted(lines) == [
        "Accept: */*",
        "Authorization: Basic MTI3LjAuMC4xOnBAc3M=",
        "Content-Length: 0",
        f"Host: 127.0.0.1:{server.port}",
        f"User-Agent: ftnet/{version('ftnet')}",
    ]


@pytest.mark.parametrize("version", ["1.1", "2-prior-knowledge"])
def test_bodies_go_over_both_lanes(nginx: Any, version: str) -> None:
    url = f"{nginx.http if version == '1.1' else nginx.h2c}/seen"
    result = run(
        url, http_version=version, method="POST", data=b"x" * 1000, requests=20, connections=2
    )
    assert result.counts.completed == 20
    assert result.counts.bytes_sent > 20_000


def test_through_a_proxy(http_proxy: Any, nginx: Any) -> None:
    result = load.run(f"{nginx.http}/hello", proxy=http_proxy.url, requests=20, connections=2)
    assert checked(result).statuses == {200: 20}


def test_a_run_can_be_awaited_and_looked_at() -> None:
    async def main(server: CountingServer) -> None:
        run = load.start(server.url, duration=1000, connections=2, trust_env=False)
        while (last := run.snapshot().last) is None or not last.counts.completed:
            await asyncio.sleep(0.01)
        snapshot = run.snapshot()
        assert snapshot.last is not None
        completed = sum(one.counts.completed for one in snapshot.total.intervals)
        assert completed == snapshot.total.counts.completed > 0
        assert snapshot.last is snapshot.total.intervals[-1]
        assert snapshot.last.response.percentile(50) > 0
        assert snapshot.elapsed == pytest.approx(snapshot.last.at)
        while server.requests <= completed + 2:  # those under way
            await asyncio.sleep(0.01)
        run.stop()
        first, second = await asyncio.gather(run, run)
        assert first is second
        assert first is run.result(0)
        assert await run is first
        assert run.done
        assert checked(first).counts.completed == server.requests > completed

    with CountingServer() as server:
        asyncio.run(main(server))


def test_an_await_that_is_cancelled_leaves_the_run_alone() -> None:
    async def main(server: CountingServer) -> None:
        run = load.start(server.url, duration=1000, connections=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(run), 0.05)
        before = server.requests
        while server.requests < before + 2:
            await asyncio.sleep(0.01)
        assert not run.done
        assert not run.snapshot().total.interrupted
        run.stop()
        assert (await run).counts.completed == server.requests

    with CountingServer() as server:
        asyncio.run(main(server))


def test_a_run_that_is_stopped_has_its_results_so_far() -> None:
    with CountingServer() as server:
        started = load.start(server.url, duration=1000, connections=3, workers=2)
        with pytest.raises(TimeoutError):
            started.result(0.2)
        eventually(lambda: server.requests > 0, "a request")
        started.stop()
        result = checked(started.result(LIMIT))
        assert result.interrupted
        assert result.counts.completed == server.requests > 0
        assert 0.1 < result.duration < LIMIT
        started.stop()  # nothing happens


def test_stopped_before_it_began() -> None:
    with CountingServer() as server:
        started = load.start(server.url, rate=1000, duration=1000)
        started.stop()
        assert checked(started.result(LIMIT)).interrupted


def test_the_rate_may_change_while_it_runs() -> None:
    with CountingServer() as server:
        begun = [time.monotonic()]
        started = load.start(server.url, rate=100, duration=1000, connections=20, workers=2)
        begun.append(time.monotonic())
        _until_target(started, 100)
        fast = _set_rate(started, 1000)
        _until_target(started, 1000)
        still = _set_rate(started, 0)
        _until_target(started, 0)
        quiet = 0
        while quiet < 2:  # one may be of a single worker, where the other is late
            last = _next_interval(started)
            moves = last.in_flight or last.waiting or last.counts.scheduled
            quiet = 0 if moves else quiet + 1
        seen = server.requests
        _next_interval(started)
        assert server.requests == seen
        started.stop()
        result = checked(started.result(LIMIT))
        assert server.requests == result.counts.sent == result.counts.scheduled
    # a change is made from 2 ms after it on; what an answer has called for meanwhile is sent
    slack = 0.05
    least = 100 * (fast[0] - begun[1] - slack) + 1000 * (still[0] - fast[1] - slack)
    most = 100 * (fast[1] - begun[0] + slack) + 1000 * (still[1] - fast[0] + slack)
    assert least <= result.counts.scheduled <= most


def _set_rate(started: load.Run, rate: float) -> tuple[float, float]:
    """It was changed between these times, s on the engine's clock."""
    before = time.monotonic()
    started.set_rate(rate)
    return before, time.monotonic()


def _next_interval(started: load.Run) -> Interval:
    number = len(started.snapshot().total.intervals)
    eventually(lambda: len(started.snapshot().total.intervals) > number, "an interval", LIMIT)
    return started.snapshot().total.intervals[-1]


def _until_target(started: load.Run, rate: float) -> None:
    """Until an interval ends with this rate."""
    while _next_interval(started).target != rate:
        pass


def test_there_is_no_rate_in_the_closed_model() -> None:
    with CountingServer() as server:
        started = load.start(server.url, requests=1, connections=1)
        with pytest.raises(RuntimeError, match="closed model"):
            started.set_rate(5)
        with pytest.raises(ValueError, match="rate must be"):
            started.set_rate(-5)
        started.result(LIMIT)


def test_a_result_goes_into_json_and_its_blobs_are_hdrhistograms(nginx: Any) -> None:
    result = run(f"{nginx.http}/hello", rate=500, requests=250, connections=8)
    told = json.loads(json.dumps(result.to_dict()))
    assert told["counts"]["completed"] == 250
    assert told["statuses"] == {"200": 250}
    assert told["valid"] is result.valid
    assert told["options"]["rate"] == 500
    blobs = [told["service"], told["response"], told["lateness"]]
    blobs += [one for by_class in told["phases"].values() for one in by_class.values()]
    for blob in blobs:
        peer = HdrHistogram.decode(blob["hdr"].encode())
        ours = Histogram.decode(blob["hdr"])
        assert peer.get_total_count() == ours.count == blob["count"]
        for percent in (50, 90, 99):
            assert min(ours.percentile(percent), blob["max"]) == blob[f"p{percent}"]
        # that library rounds ranks: a value of the one before or after
        below, above = ours.percentiles(
            [max(0, 50 - 100 / ours.count), min(100, 50 + 100 / ours.count)]
        )
        assert below <= peer.get_value_at_percentile(50) <= above


def test_histograms_are_numpy_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    with CountingServer() as server:
        result = run(server.url, requests=50, connections=2)
    counts = numpy.asarray(result.response.counts)
    assert counts.sum() == 50
    assert len(counts) == len(numpy.asarray(result.response.values))
    values, times = result.response.to_numpy()
    assert times.sum() == 50
    assert times.min() > 0
    assert values.max() == result.response.percentile(100)
    assert result.response.percentile(50) in values


def test_phases_add_up_to_the_service_time(nginx: Any) -> None:
    result = run(f"{nginx.http}/hello", requests=2000, connections=1)
    phases = {name: result.phases[name]["all"] for name in ("send", "ttfb", "download")}
    # also where the answer came in before the kernel was back from sending
    assert sum(one.sum for one in phases.values()) == result.service.sum


def test_each_run_leaves_nothing_behind(nginx: Any) -> None:
    import ftcore
    from ftcore import courier, wire

    before = ftcore.counters() | {"wires": wire.alive(), "couriers": courier.alive()}
    for options in ({}, {"http_version": "2", "ca": nginx.ca}):
        url = nginx.h2 if options else nginx.http
        run(f"{url}/hello", requests=100, connections=5, workers=2, **options)
    after = ftcore.counters() | {"wires": wire.alive(), "couriers": courier.alive()}
    for name in ("transfers", "engines", "multis", "wires", "couriers"):
        assert after[name] <= before[name], name


def test_memory_stays_flat(nginx: Any) -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    url = f"{nginx.http}/hello"
    run(url, requests=20_000, connections=32)
    before = resident()
    run(url, requests=100_000, connections=32)
    assert resident() - before < 4 << 20
