"""`timeout` bounds the whole task: each phase in which the time can run out, one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

import ftnet as ft
from tests.history import History, check_phases, run
from tests.servers.awkward import AwkwardServer, Behaviour, BlackHole, Peer, ThrowawayTls
from tests.servers.behaviours import BEHAVIOURS, answers_behind_the_gate, silent

TIMEOUT_MS = 300  # where it does not matter how far a task comes until then
AMPLE_MS = 2000  # for tasks that come to a certain phase until then, on a busy machine too


def timed_out(history: History, died_in: str) -> ft.FtError:
    error = history.error()
    assert error.errno == ft.Errno.TIMEOUT
    assert error.errMsg == "request:fail timeout"
    check_phases(error.profile, died_in)
    return error


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
        server.wait_for_peers(1)
        assert len(server.peers) == 1


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


def takes_the_head_only(peer: Peer) -> None:
    peer.read_head()
    peer.server.gate.wait()


def interim_responses_but_slowly(peer: Peer) -> None:
    peer.read_request()
    while True:
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        peer.pace(0.05)


def moves_on_slowly(peer: Peer) -> None:
    while True:
        peer.read_request()
        peer.pace(0.2)
        peer.answer(b"", "Location: /again", status="302 Found")


IN_THE_ANSWER: dict[str, tuple[Behaviour, str]] = {
    "silent_after_the_request": (BEHAVIOURS["silent_after_the_request"], "wait"),
    "stalls_in_header_block": (BEHAVIOURS["stalls_in_header_block"], "body"),
    "stalls_in_body": (BEHAVIOURS["stalls_in_body"], "body"),
    "stalls_between_chunks": (BEHAVIOURS["stalls_between_chunks"], "body"),
    "drips_for_ever": (BEHAVIOURS["drips_for_ever"], "body"),
    "interim_responses_for_ever_but_slowly": (interim_responses_but_slowly, "line"),
}


class Rush:
    """Requests that are driven to their ends together: each takes as long as its timeout says, and
    not several times as long."""

    def __init__(self, tls: ThrowawayTls) -> None:
        self.stack = ExitStack()
        self.tls = tls
        self._client = self.client()
        self._histories: dict[str, History] = {}
        self._starts: list[Callable[[], object]] = []
        self._took: dict[str, float] = {}

    def __enter__(self) -> Rush:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def client(self, **settings: Any) -> ft.Client:
        return self.stack.enter_context(ft.Client(ca=self.tls.ca, **settings))

    def server(self, behaviour: Behaviour) -> AwkwardServer:
        return self.stack.enter_context(AwkwardServer(behaviour))

    def add(self, name: str, url: str, client: ft.Client | None = None, **options: Any) -> None:
        history = self._histories[name] = History()
        told = history.callbacks()

        def complete(result: Any) -> None:
            self._took[name] = time.monotonic() - self._begin
            told["complete"](result)

        given = {"url": url, "timeout": AMPLE_MS, **options, **told, "complete": complete}
        self._starts.append(lambda: (client or self._client).request(given))

    def run(self) -> dict[str, History]:
        self._begin = time.monotonic()
        ft.run(lambda: [start() for start in self._starts])
        for name, took in self._took.items():
            assert AMPLE_MS / 1000 <= took < AMPLE_MS / 1000 + 5, name
        return self._histories


def test_time_can_run_out_in_each_phase(tls: ThrowawayTls) -> None:
    died_in: dict[str, str] = {}
    with Rush(tls) as rush:
        resolver = rush.server(silent)
        doh_url = resolver.url.replace("http:", "https:") + "/dns-query"
        rush.add("a silent resolver", "http://some.test/", rush.client(doh_url=doh_url))
        died_in["a silent resolver"] = "dns"
        rush.add("a black hole", rush.stack.enter_context(BlackHole()).url)
        died_in["a black hole"] = "connect"
        rush.add("a handshake", rush.server(silent).url.replace("http:", "https:"))
        died_in["a handshake"] = "tls"
        body = bytes(64 << 20)  # more than any socket buffer on the way takes in
        rush.add("a body", rush.server(takes_the_head_only).url, method="PUT", data=body)
        died_in["a body"] = "send"
        for name, (behaviour, phase) in IN_THE_ANSWER.items():
            url = rush.server(behaviour).url
            for chunked in (False, True):
                case = f"{name}, {chunked}"
                rush.add(case, url, enableChunked=chunked)
                died_in[case] = phase
        patient = rush.client(timeout=AMPLE_MS)
        rush.add("the client's timeout", rush.server(silent).url, patient, timeout=None)
        died_in["the client's timeout"] = "wait"
        moving = rush.server(moves_on_slowly)
        rush.add("redirects", moving.url)

        histories = rush.run()
        for case, phase in died_in.items():
            timed_out(histories[case], phase)
        assert histories["redirects"].error().errMsg == "request:fail timeout"
        assert 1 < len(moving.requests) < AMPLE_MS / 200 + 2
        resolver.wait_for_peers(1)
        profile = histories["a body"].error().profile
        assert profile.requestEnd == 0
        assert profile.sendBytesCount > 0


@pytest.mark.parametrize("name", ["body_for_ever", "slices_of_64_bytes", "one_byte_at_a_time"])
def test_time_runs_while_a_task_is_paused(name: str) -> None:
    """Also when all of the response has come meanwhile, so that only the caller is waited for."""
    with AwkwardServer(BEHAVIOURS[name]) as server, ft.Client() as client:
        history, tasks = History(), []

        def start() -> None:
            options = {"url": server.url, "enableChunked": True, "timeout": TIMEOUT_MS}
            task = client.request({**options, **history.callbacks()})
            task.onChunkReceived(lambda _: task.pause())
            tasks.append(task)

        begin = time.monotonic()
        ft.run(start)
        assert history.error().errMsg == "request:fail timeout"
        assert time.monotonic() - begin < 10
        tasks[0].resume()
        assert history.names == ["fail", "complete"]


def test_a_connection_that_timed_out_is_not_used_again() -> None:
    behaviour = BEHAVIOURS["silent_after_the_request"]
    with AwkwardServer(behaviour) as server, ft.Client(timeout=AMPLE_MS / 2) as client:
        for count in (1, 2):
            run(client, {"url": server.url})[0].error()
            server.wait_for_peers(count)
        assert len(server.peers) == 2
        server.wait(lambda: server.peers[0].sock.fileno() < 0, "the first connection closed")


def test_timeouts_fire_in_the_order_of_their_times() -> None:
    times = [310, 110, 260, 160, 210, 60]
    ended: list[int] = []
    begun: dict[int, tuple[float, float]] = {}  # ms before and behind each call
    with AwkwardServer(silent) as server, ft.Client() as client:

        def start() -> None:
            for ms in times:
                before = time.monotonic() * 1000
                client.request(url=server.url, timeout=ms, fail=lambda _, ms=ms: ended.append(ms))
                begun[ms] = before, time.monotonic() * 1000

        ft.run(start)
    assert sorted(ended) == sorted(times)
    for number, first in enumerate(ended):
        for second in ended[number + 1 :]:  # which was not due before it
            assert begun[first][0] + first < begun[second][1] + second + 1, ended
