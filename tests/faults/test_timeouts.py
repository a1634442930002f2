"""`timeout` bounds the whole task: each phase in which the time can run out, one by one."""

from __future__ import annotations

import time
from typing import Any

import pytest

import ftnet as ft
from tests.history import History, check_phases, run
from tests.servers.awkward import AwkwardServer, BlackHole, ThrowawayTls
from tests.servers.behaviours import BEHAVIOURS, answers_behind_the_gate, silent

TIMEOUT_MS = 300


def timed_out(history: History, died_in: str) -> ft.FtError:
    error = history.error()
    assert error.errno == ft.Errno.TIMEOUT
    assert error.errMsg == "request:fail timeout"
    check_phases(error.profile, died_in)
    return error


def run_timed(client: ft.Client, options: dict[str, Any]) -> History:
    """Run one request; the time it took is at least its timeout, and not several of them."""
    begin = time.monotonic()
    (history,) = run(client, {"timeout": TIMEOUT_MS, **options})
    took = time.monotonic() - begin
    assert TIMEOUT_MS / 1000 <= took < TIMEOUT_MS / 1000 + 3, took
    return history


def test_time_can_run_out_in_the_queue() -> None:
    with (
        AwkwardServer(answers_behind_the_gate) as server,
        ft.Client(max_connections_per_host=1) as client,
    ):
        holder, waiter = History(), History()

        def start() -> None:
            task = client.request(url=server.url, timeout=20_000, **holder.callbacks())
            waiting = client.request(
                url=server.url,
                timeout=TIMEOUT_MS,
                success=waiter.callbacks()["success"],
                fail=waiter.callbacks()["fail"],
                complete=lambda result: (waiter.callbacks()["complete"](result), task.abort()),
            )
            waiter.listen(waiting)

        ft.run(start)
        timed_out(waiter, "queue")
        assert holder.error().errMsg == "request:fail abort"
        assert len(server.peers) == 1


def test_time_can_run_out_in_the_name_look_up(tls: ThrowawayTls) -> None:
    with AwkwardServer(silent) as resolver:
        url = resolver.url.replace("http:", "https:") + "/dns-query"
        with ft.Client(ca=tls.ca, doh_url=url) as client:
            timed_out(run_timed(client, {"url": "http://some.test/"}), "dns")
            assert resolver.peers, "the resolver was not asked"


def test_a_silent_resolver_holds_up_no_other_host(tls: ThrowawayTls, good: AwkwardServer) -> None:
    ended: list[str] = []
    with AwkwardServer(silent) as resolver:
        url = resolver.url.replace("http:", "https:") + "/dns-query"
        with ft.Client(ca=tls.ca, doh_url=url) as client:

            def start() -> None:
                stuck = client.request(
                    url="http://some.test/", timeout=20_000, fail=lambda _: ended.append("stuck")
                )

                def success(_: object) -> None:
                    ended.append("other")
                    stuck.abort()

                client.request(url=good.url, success=success)

            ft.run(start)
            assert ended == ["other", "stuck"]


def test_time_can_run_out_while_connecting() -> None:
    with BlackHole() as hole, ft.Client() as client:
        timed_out(run_timed(client, {"url": hole.url}), "connect")


def test_time_can_run_out_in_the_tls_handshake() -> None:
    with AwkwardServer(silent) as server, ft.Client() as client:
        url = server.url.replace("http:", "https:")
        timed_out(run_timed(client, {"url": url}), "tls")


def test_time_can_run_out_while_sending_the_body() -> None:
    def takes_the_head_only(peer: Any) -> None:
        peer.read_head()
        peer.server.gate.wait()

    with AwkwardServer(takes_the_head_only) as server, ft.Client() as client:
        body = bytes(64 << 20)  # more than any socket buffer on the way takes in
        options = {"url": server.url, "method": "PUT", "data": body, "timeout": 2000}
        begin = time.monotonic()
        (history,) = run(client, options)
        assert 2 <= time.monotonic() - begin < 5
        error = timed_out(history, "send")
        assert error.profile.requestEnd == 0
        assert error.profile.sendBytesCount > 0


PHASES = {
    "silent_after_the_request": "wait",
    "stalls_in_header_block": "body",
    "stalls_in_body": "body",
    "stalls_between_chunks": "body",
    "drips_for_ever": "body",
    "interim_responses_for_ever_but_slowly": "line",
}


def _slow_interim(peer: Any) -> None:
    peer.read_request()
    while True:
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        peer.pace(0.05)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", PHASES)
def test_time_can_run_out_in_the_answer(name: str, chunked: bool) -> None:
    behaviour = BEHAVIOURS.get(name, _slow_interim)
    with AwkwardServer(behaviour) as server, ft.Client() as client:
        options = {"url": server.url, "enableChunked": chunked}
        timed_out(run_timed(client, options), PHASES[name])


def test_time_can_run_out_between_two_redirects(tls: ThrowawayTls) -> None:
    def moves_on_slowly(peer: Any) -> None:
        while True:
            peer.read_request()
            peer.pace(0.1)
            peer.answer(b"", "Location: /again", status="302 Found")

    with AwkwardServer(moves_on_slowly) as server, ft.Client() as client:
        error = run_timed(client, {"url": server.url}).error()
        assert error.errMsg == "request:fail timeout"
        assert 1 < len(server.requests) < 6


@pytest.mark.parametrize("name", ["body_for_ever", "slices_of_64_bytes", "one_byte_at_a_time"])
def test_time_runs_while_a_task_is_paused(name: str) -> None:
    """Also when all of the response has come meanwhile, so that only the caller is waited for."""
    with AwkwardServer(BEHAVIOURS[name]) as server, ft.Client() as client:
        history = History()
        options = {"url": server.url, "enableChunked": True, "timeout": TIMEOUT_MS}
        task = client.request({**options, **history.callbacks()})
        task.onChunkReceived(lambda _: task.pause())
        begin = time.monotonic()
        assert history.wait().error().errMsg == "request:fail timeout"
        assert time.monotonic() - begin < 3
        task.resume()
        assert history.names == ["fail", "complete"]


def test_the_clients_timeout_holds_where_a_request_names_none() -> None:
    with AwkwardServer(silent) as server, ft.Client(timeout=TIMEOUT_MS) as client:
        begin = time.monotonic()
        (history,) = run(client, {"url": server.url})
        assert time.monotonic() - begin < 3
        timed_out(history, "wait")


def test_a_connection_that_timed_out_is_not_used_again() -> None:
    behaviour = BEHAVIOURS["silent_after_the_request"]
    with AwkwardServer(behaviour) as server, ft.Client(timeout=TIMEOUT_MS) as client:
        for _ in range(2):
            run(client, {"url": server.url})[0].error()
        assert len(server.peers) == 2
        server.wait(lambda: server.peers[0].sock.fileno() < 0, "the first connection closed")


def test_timeouts_fire_in_the_order_of_their_times() -> None:
    ended: list[int] = []
    times = [310, 110, 260, 160, 210, 60]
    with AwkwardServer(silent) as server, ft.Client() as client:

        def start() -> None:
            for ms in times:
                client.request(url=server.url, timeout=ms, fail=lambda _, ms=ms: ended.append(ms))

        ft.run(start)
    assert ended == sorted(times)
