"""abort() and close() at every moment: each task gets its one end, soon, and nothing after it."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import ftcore
import ftnet as ft
from tests.history import History, check_phases
from tests.servers.awkward import (
    LIMIT,
    AwkwardServer,
    BlackHole,
    Peer,
    ThrowawayTls,
    eventually,
    throwaway_tls,
)
from tests.servers.behaviours import BEHAVIOURS, answers, answers_behind_the_gate, silent


@pytest.fixture
def client() -> Iterator[ft.Client]:
    with ft.Client() as client:
        yield client


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayTls:
    return throwaway_tls(tmp_path_factory.mktemp("tls"))


def aborted(task: ft.RequestTask, history: History, died_in: str) -> None:
    """Abort now: one `fail` soon, with the phases of `died_in`; a second abort changes nothing."""
    task.abort()
    error = history.wait(LIMIT).error()  # far less than the 60 s it would take otherwise
    assert error.errMsg == "request:fail abort"
    assert error.errno == ft.Errno.INTERRUPTED
    check_phases(error.profile, died_in)
    task.abort()
    with pytest.raises(ft.FtError, match="^request:fail abort$"):
        task.result(LIMIT)
    assert len([name for name in history.names if name in ("fail", "complete")]) == 2


def begin(client: ft.Client, url: str, **options: Any) -> tuple[ft.RequestTask, History]:
    history = History()
    return client.request({"url": url, **options, **history.callbacks()}), history


def test_abort_in_the_queue() -> None:
    with AwkwardServer(silent) as server, ft.Client(max_connections=1) as client:
        first, first_history = begin(client, server.url)
        server.wait_for_bytes(1)
        second, second_history = begin(client, server.url)
        aborted(second, second_history, "queue")
        aborted(first, first_history, "wait")
        assert len(server.peers) == 1


def test_abort_in_the_name_look_up(tls: ThrowawayTls) -> None:
    with AwkwardServer(silent) as resolver:
        url = resolver.url.replace("http:", "https:") + "/dns-query"
        with ft.Client(doh_url=url) as client:
            task, history = begin(client, "http://some.test/")
            resolver.wait_for_bytes(1)
            aborted(task, history, "dns")


def test_abort_while_connecting(client: ft.Client) -> None:
    with BlackHole() as hole, AwkwardServer(answers) as server:
        task, history = begin(client, hole.url)
        client.request(url=server.url).result(LIMIT)  # begun after it: the first is under way
        aborted(task, history, "connect")


def test_abort_in_the_tls_handshake(client: ft.Client) -> None:
    with AwkwardServer(silent) as server:
        task, history = begin(client, server.url.replace("http:", "https:"))
        server.wait_for_bytes(1)
        aborted(task, history, "tls")


def test_abort_while_sending_the_body(client: ft.Client) -> None:
    def takes_some_of_the_body(peer: Peer) -> None:
        peer.read_exactly(200_000)
        peer.server.gate.wait()

    with AwkwardServer(takes_some_of_the_body) as server:
        task, history = begin(client, server.url, method="PUT", data=bytes(64 << 20))
        server.wait_for_bytes(200_000)
        aborted(task, history, "send")


def test_abort_while_waiting_for_the_answer(client: ft.Client) -> None:
    with AwkwardServer(BEHAVIOURS["silent_after_the_request"]) as server:
        task, history = begin(client, server.url)
        server.wait_for_requests(1)
        aborted(task, history, "wait")


def test_abort_in_the_body(client: ft.Client) -> None:
    with AwkwardServer(BEHAVIOURS["stalls_between_chunks"]) as server:
        task, history = begin(client, server.url, enableChunked=True)
        chunk = threading.Event()
        task.onChunkReceived(lambda _: chunk.set())
        assert chunk.wait(LIMIT)
        aborted(task, history, "body")


def test_abort_of_a_paused_task(client: ft.Client) -> None:
    with AwkwardServer(BEHAVIOURS["body_for_ever"]) as server:
        task, history = begin(client, server.url, enableChunked=True)
        paused = threading.Event()
        task.onChunkReceived(lambda _: (task.pause(), paused.set()))
        assert paused.wait(LIMIT)
        aborted(task, history, "body")


@pytest.mark.parametrize("end", ["abort", "close"])
def test_a_paused_task_whose_response_is_complete_can_be_ended(end: str, client: ft.Client) -> None:
    slowly = BEHAVIOURS["one_byte_at_a_time"]
    with AwkwardServer(slowly) as server, AwkwardServer(slowly) as later:
        task, history = begin(client, server.url, enableChunked=True)
        paused = threading.Event()
        task.onChunkReceived(lambda _: (task.pause(), paused.set()))
        assert paused.wait(LIMIT)
        client.request(url=later.url).result(LIMIT)  # by then the first has been answered too
        assert not task.done()
        (task.abort if end == "abort" else client.close)()
        assert history.wait().names[-1] == "complete"
        history.end()


def test_an_aborted_exchange_closes_its_connection(client: ft.Client) -> None:
    with AwkwardServer(BEHAVIOURS["drips_for_ever"]) as server:
        task, history = begin(client, server.url)
        server.wait_for_requests(1)
        task.abort()
        history.wait()
        server.wait_until_alone()


def test_abort_right_after_the_call_sends_nothing_or_fails_all_the_same(client: ft.Client) -> None:
    with AwkwardServer(answers) as server:
        for _ in range(200):
            task, history = begin(client, server.url)
            task.abort()
            assert history.wait().error().errMsg == "request:fail abort"


def test_abort_after_the_end_does_nothing(client: ft.Client) -> None:
    with AwkwardServer(answers) as server:
        task, history = begin(client, server.url)
        assert task.result(LIMIT).statusCode == 200
        history.wait()
        task.abort()
        assert task.result(LIMIT).statusCode == 200
        assert history.names == ["success", "complete"]


@pytest.mark.parametrize("name", ["answers", "slices_of_64_bytes", "one_byte_at_a_time"])
def test_abort_at_random_moments_leaves_one_end(name: str, client: ft.Client) -> None:
    chance = random.Random(f"sweep {name}")
    ends, tick, longest = {"success": 0, "fail": 0}, threading.Event(), 0.005
    with AwkwardServer(BEHAVIOURS[name]) as server:
        for _ in range(400):
            task, history = begin(client, server.url, enableChunked=True)
            history.listen(task)
            tick.wait(chance.uniform(0, longest))
            task.abort()
            history.wait().end()
            ends[history.names[-2]] += 1
            if history.names[-2] == "fail":
                assert history.error().errMsg == "request:fail abort"
                longest *= 1.1
            else:
                longest *= 0.9
    assert ends["fail"] > 0
    assert ends["success"] > 0


def test_cancelling_an_awaiting_coroutine_leaves_the_loop_working() -> None:
    async def main(never: str, good: str) -> int:
        with ft.Client() as client:
            waiting = [asyncio.create_task(one(client, never)) for _ in range(20)]
            await client.request(url=good)
            for future in waiting:
                future.cancel()
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            return (await client.request(url=good)).statusCode

    async def one(client: ft.Client, url: str) -> None:
        await client.request(url=url)

    with AwkwardServer(silent) as never, AwkwardServer(answers) as server:
        assert asyncio.run(main(never.url, server.url)) == 200


@pytest.mark.parametrize("mode", ["thread", "run"])
def test_ten_thousand_queued_tasks_aborted_at_once_get_one_end_each(mode: str) -> None:
    histories = [History() for _ in range(10_000)]
    tasks: list[ft.RequestTask] = []

    def start(url: str) -> None:
        for history in histories:
            tasks.append(client.request(url=url, **history.callbacks()))
        if mode == "run":
            abort_all()

    def abort_all() -> None:
        for task in tasks:
            task.abort()

    with AwkwardServer(silent) as server, ft.Client(max_connections=20) as client:
        if mode == "run":
            ft.run(start, server.url)
        else:
            start(server.url)
            server.wait_for_peers(20)
            abort_all()
        for history in histories:
            assert history.wait().error().errMsg == "request:fail abort"
        # those of the engine's thread go a moment after their last callback
        eventually(lambda: ftcore.counters()["transfers"] == 0, "all transfers have gone")
        assert mode == "thread" or server.peers == [], "aborted before the first turn, yet begun"


def test_closing_a_client_fails_each_of_its_open_tasks_and_no_other() -> None:
    with AwkwardServer(answers_behind_the_gate) as server, ft.Client() as other:
        kept, kept_history = begin(other, server.url)
        closing = ft.Client(max_connections=10)
        begun = [begin(closing, server.url) for _ in range(50)]  # 10 on the wire, 40 queued
        server.wait_for_requests(11)
        closing.close()
        for task, history in begun:
            error = history.wait().error()
            assert error.errno == ft.Errno.INTERRUPTED
            with pytest.raises(ft.FtError):
                task.result(LIMIT)
        assert not kept.done()
        server.gate.set()
        assert kept.result(LIMIT).statusCode == 200
        assert kept_history.wait().names == ["success", "complete"]


def test_a_closed_client_takes_no_request_and_can_be_closed_again() -> None:
    with AwkwardServer(answers) as server:
        client = ft.Client()
        client.request(url=server.url).result(LIMIT)
        client.close()
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.request(url=server.url)
        server.wait_until_alone()


@pytest.mark.parametrize("place", ["success", "complete"])
def test_a_client_can_be_closed_inside_its_own_callback(place: str) -> None:
    with AwkwardServer(answers) as server, AwkwardServer(silent) as never:
        client = ft.Client()
        waiting, waiting_history = begin(client, never.url)
        never.wait_for_bytes(1)
        client.request({"url": server.url, place: lambda _: client.close()})
        assert waiting_history.wait().error().errno == ft.Errno.INTERRUPTED
        assert waiting.done()
        server.wait_until_alone()
        never.wait_until_alone()


def test_closing_from_eight_threads_at_once_ends_every_task_once() -> None:
    with AwkwardServer(silent) as server:
        client = ft.Client()
        begun = [begin(client, server.url) for _ in range(100)]
        threads = [threading.Thread(target=client.close) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        for _, history in begun:
            assert history.wait().error().errno == ft.Errno.INTERRUPTED


def test_a_client_that_is_dropped_with_open_tasks_still_ends_them() -> None:
    with AwkwardServer(answers_behind_the_gate) as server:
        task, history = begin(ft.Client(), f"{server.url}/x")
        server.wait_for_requests(1)
        gc.collect()
        server.gate.set()
        assert task.result(LIMIT).data == "/x"
        assert history.wait().names == ["success", "complete"]
