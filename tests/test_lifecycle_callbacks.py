"""What callbacks may do, and where: raise, block, start, abort, from any thread and any event."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ftcore
import ftnet as ft
from tests.drivers import in_callback
from tests.history import History, run
from tests.servers.awkward import LIMIT, AwkwardServer, Peer, eventually
from tests.servers.behaviours import BEHAVIOURS, answers, silent

PLACES = ["headers", "chunk", "success", "fail", "complete"]


@pytest.fixture
def server() -> Iterator[AwkwardServer]:
    with AwkwardServer(answers) as server:
        yield server


@pytest.fixture
def client() -> Iterator[ft.Client]:
    with ft.Client() as client:
        yield client


@pytest.fixture(autouse=True)
def no_records_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Log records hold tracebacks, those hold results: let go of them before the books close."""
    yield
    caplog.get_records("call").clear()


def drive(mode: str, start: Callable[[], History]) -> History:
    """Run `start` where the callbacks of `mode` run, and see its task to the end."""
    if mode == "run":
        histories: list[History] = []
        ft.run(lambda: histories.append(start()))
        return histories[0]
    if mode == "thread":
        return in_callback(start).wait()

    async def main() -> History:
        history = start()
        return await asyncio.get_running_loop().run_in_executor(None, history.wait)

    return asyncio.run(main())


def acting(place: str, act: Callable[[ft.RequestTask], object], **options: Any) -> History:
    """Start a request that does `act(task)` once, inside the callback named `place`."""
    client = options.pop("client")
    history = History()
    tasks: list[ft.RequestTask] = []
    acted: list[str] = []

    def wrap(name: str, note: Callable[[Any], None]) -> Callable[[Any], None]:
        def callback(result: Any) -> None:
            note(result)
            if name == place and not acted:
                acted.append(name)
                act(tasks[0])

        return callback

    callbacks = {name: wrap(name, note) for name, note in history.callbacks().items()}
    if place == "fail":  # a task that fails on its own after it was begun
        options |= {"dataType": list[int]}
    task = client.request({"enableChunked": place == "chunk", **options, **callbacks})
    tasks.append(task)
    task.onHeadersReceived(
        wrap("headers", lambda result: history.events.append(("headers", result)))
    )
    if place == "chunk":
        task.onChunkReceived(wrap("chunk", lambda result: history.events.append(("chunk", result))))
    return history


def nothing(_: Any) -> None:
    """A listener that does nothing."""


ACTIONS: dict[str, Callable[[ft.RequestTask], object]] = {
    "abort": lambda task: task.abort(),
    "abort twice": lambda task: (task.abort(), task.abort()),
    "pause and resume": lambda task: (task.pause(), task.resume()),
    "resume": lambda task: task.resume(),
    "onHeadersReceived": lambda task: task.onHeadersReceived(nothing),
    "onChunkReceived": lambda task: task.onChunkReceived(nothing),
    "offHeadersReceived": lambda task: task.offHeadersReceived(),
    "offChunkReceived": lambda task: task.offChunkReceived(),
    "off a stranger": lambda task: task.offChunkReceived(nothing),
    "done": lambda task: task.done(),
    "raise": lambda task: 1 / 0,
    "collect garbage": lambda task: gc.collect(),
}


@pytest.mark.parametrize("mode", ["run", "thread", "asyncio"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("action", ACTIONS)
def test_any_action_in_any_callback_leaves_one_end(
    action: str, place: str, mode: str, server: AwkwardServer, client: ft.Client
) -> None:
    url = f"{server.url}/x"
    history = drive(mode, lambda: acting(place, ACTIONS[action], client=client, url=url))
    history.end()
    if "abort" in action and place in ("headers", "chunk"):
        assert history.error().errMsg == "request:fail abort"
    elif place == "fail":
        assert history.error().errno == ft.Errno.INVALID_DATA
    else:
        history.response()


@pytest.mark.parametrize("mode", ["run", "thread", "asyncio"])
@pytest.mark.parametrize("place", PLACES)
def test_a_request_can_be_started_in_any_callback(
    place: str, mode: str, server: AwkwardServer, client: ft.Client
) -> None:
    second = History()

    def start_another(_: ft.RequestTask) -> None:
        client.request(url=f"{server.url}/second", **second.callbacks())

    drive(mode, lambda: acting(place, start_another, client=client, url=server.url)).end()
    if mode != "asyncio":
        assert second.wait().response().data["target"] == "/second"


def test_a_callback_that_raises_is_logged_and_complete_still_comes(
    server: AwkwardServer, client: ft.Client, caplog: pytest.LogCaptureFixture
) -> None:
    completed: list[ft.Response] = []

    def success(_: ft.Response) -> None:
        raise RuntimeError("out of the callback")

    with caplog.at_level(logging.ERROR, "ftnet"):
        options = {"url": server.url, "success": success, "complete": completed.append}
        ft.run(lambda: client.request(options))
    (record,) = [record for record in caplog.records if record.name == "ftnet"]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "out of the callback"
    assert [response.statusCode for response in completed] == [200]
    run(client, {"url": server.url})[0].response()


def test_a_listener_that_raises_stops_no_other_listener(
    server: AwkwardServer, client: ft.Client
) -> None:
    heard: list[str] = []

    def start() -> None:
        task = client.request(url=server.url, enableChunked=True)
        task.onHeadersReceived(lambda _: 1 / 0)
        task.onHeadersReceived(lambda _: heard.append("headers"))
        task.onChunkReceived(lambda _: 1 / 0)
        task.onChunkReceived(lambda _: heard.append("chunk"))

    ft.run(start)
    assert heard == ["headers", "chunk"]


def test_callbacks_of_one_engine_never_overlap(server: AwkwardServer, client: ft.Client) -> None:
    inside = 0
    overlaps = 0
    threads: set[int] = set()

    def callback(_: Any) -> None:
        nonlocal inside, overlaps
        inside += 1
        overlaps += inside != 1
        threads.add(threading.get_ident())
        time.sleep(0)  # offers the interpreter to whoever else would run a callback now
        inside -= 1

    tasks = [
        client.request(url=server.url, success=callback, complete=callback) for _ in range(300)
    ]
    for task in tasks:
        task.result(LIMIT)
    assert overlaps == 0
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_a_blocked_callback_delays_others_no_longer_than_it_blocks(
    server: AwkwardServer, client: ft.Client
) -> None:
    block = threading.Event()
    inside = threading.Event()
    blocked = client.request(url=server.url, success=lambda _: (inside.set(), block.wait(LIMIT)))
    assert inside.wait(LIMIT)
    others = [client.request(url=f"{server.url}/{number}", timeout=20_000) for number in range(20)]
    assert not any(task.done() for task in others)
    block.set()
    for number, task in enumerate(others):
        assert task.result(LIMIT).data["target"] == f"/{number}"
    blocked.result(LIMIT)


def test_a_thousand_requests_each_started_by_the_last(
    server: AwkwardServer, client: ft.Client
) -> None:
    seen: list[int] = []

    def start(number: int) -> None:
        def success(_: Any) -> None:
            seen.append(number)
            if number < 1000:
                start(number + 1)

        client.request(url=server.url, success=success)

    ft.run(start, 1)
    assert seen == list(range(1, 1001))


def test_eight_threads_submitting_and_aborting_get_one_end_each(
    server: AwkwardServer, client: ft.Client
) -> None:
    histories: list[list[History]] = [[] for _ in range(8)]

    def hammer(mine: list[History], seed: int) -> None:
        chance = random.Random(seed)
        open_tasks: list[ft.RequestTask] = []
        for number in range(400):
            history = History()
            mine.append(history)
            url = f"{server.url}/{seed}/{number}"
            open_tasks.append(client.request(url=url, **history.callbacks()))
            if chance.random() < 0.4:
                open_tasks.pop(chance.randrange(len(open_tasks))).abort()

    threads = [
        threading.Thread(target=hammer, args=(mine, seed)) for seed, mine in enumerate(histories)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for seed, mine in enumerate(histories):
        for number, history in enumerate(mine):
            history.wait()
            if history.names[-2] == "success":
                assert history.response().data["target"] == f"/{seed}/{number}"
            else:
                assert history.error().errMsg == "request:fail abort"


def test_every_method_of_a_task_can_be_called_from_another_thread(client: ft.Client) -> None:
    with AwkwardServer(BEHAVIOURS["body_for_ever"]) as server:
        history = History()
        chunk = threading.Event()
        task = client.request(url=server.url, enableChunked=True, **history.callbacks())
        task.onChunkReceived(lambda _: chunk.set())
        assert chunk.wait(LIMIT)

        def elsewhere() -> None:
            for _ in range(50):
                task.pause()
                task.onChunkReceived(nothing)
                task.offChunkReceived(nothing)
                task.onHeadersReceived(nothing)
                task.offHeadersReceived(nothing)
                task.done()
                task.resume()
            task.abort()

        threads = [threading.Thread(target=elsewhere) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert history.wait().error().errMsg == "request:fail abort"


def test_threads_loops_and_runs_work_side_by_side(server: AwkwardServer) -> None:
    seen: list[str] = []

    def by_run(name: str) -> None:
        with ft.Client(user_agent=name) as client:
            for number in range(20):
                (history,) = run(client, {"url": f"{server.url}/{name}/{number}"})
                seen.append(history.response().data["target"])

    def by_loop(name: str) -> None:
        async def main() -> None:
            with ft.Client(user_agent=name) as client:
                urls = [f"{server.url}/{name}/{number}" for number in range(20)]
                for response in await asyncio.gather(*[client.request(url=url) for url in urls]):
                    seen.append(response.data["target"])

        asyncio.run(main())

    def by_result(name: str) -> None:
        with ft.Client(user_agent=name) as client:
            for number in range(20):
                response = client.request(url=f"{server.url}/{name}/{number}").result(LIMIT)
                seen.append(response.data["target"])

    ways = {"run": by_run, "loop": by_loop, "result": by_result}
    threads = [
        threading.Thread(target=work, args=(f"{way}-{copy}",))
        for way, work in ways.items()
        for copy in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    expected = {f"/{way}-{copy}/{n}" for way in ways for copy in range(3) for n in range(20)}
    assert set(seen) == expected
    assert len(seen) == len(expected)
    agents = {
        (request.get("user-agent"), request.target.split("/")[1]) for request in server.requests
    }
    assert all(agent == name for agent, name in agents)


def test_clients_keep_their_connections_and_settings_apart(server: AwkwardServer) -> None:
    with ft.Client(user_agent="one/1") as one, ft.Client(user_agent="two/2") as two:
        for client in (one, two, one, two):
            run(client, {"url": server.url})[0].response()
    agents = [(request.peer.number, request.get("user-agent")) for request in server.requests]
    assert agents == [(0, "one/1"), (1, "two/2"), (0, "one/1"), (1, "two/2")]


def test_waiting_for_a_task_inside_a_callback_of_its_engine_does_not_hang(
    server: AwkwardServer, client: ft.Client
) -> None:
    outcome: list[object] = []

    def success(_: Any) -> None:
        try:
            outcome.append(client.request(url=server.url, timeout=3000).result(3))
        except Exception as error:  # which one is not the point here: it came back
            outcome.append(error)

    client.request(url=server.url, success=success).result(LIMIT)
    server.wait_for_requests(1)
    run(client, {"url": server.url})[0].response()
    client.request(url=server.url).result(LIMIT)
    assert len(outcome) == 1


def test_a_dropped_task_object_still_reports_its_end(client: ft.Client) -> None:
    def late(peer: Peer) -> None:
        peer.read_request()
        peer.server.gate.wait()
        peer.answer(b"1")

    with AwkwardServer(late) as server:
        history = History()
        client.request(url=server.url, **history.callbacks())
        server.wait_for_requests(1)
        gc.collect()
        server.gate.set()
        assert history.wait().response().data == 1


def test_an_engine_with_nothing_to_do_holds_no_transfer(
    server: AwkwardServer, client: ft.Client
) -> None:
    run(client, *[{"url": server.url}] * 50)
    assert ftcore.counters()["transfers"] == 0
    with AwkwardServer(silent) as never:
        task = client.request(url=never.url)
        assert ftcore.counters()["transfers"] == 1
        task.abort()
        with pytest.raises(ft.FtError, match="abort"):
            task.result(LIMIT)
    eventually(lambda: ftcore.counters()["transfers"] == 0, "it has gone")
