"""Sockets called from threads and callbacks; clients and loops that end under them; garbage."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import ftcore
import ftnet as ft
from tests.drivers import run_uvloop
from tests.servers.websocket import serving
from tests.sockets import CLOSED, LIMIT, OPEN, Story, closed, opened, socket, until
from tests.test_websocket_deflate import deflate

# --- threads and callbacks ------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Runs ``work(number)`` in so many threads at once; raises what one of them raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            barrier.wait(LIMIT)
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT * 2)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("compressed", [False, True])
def test_what_eight_threads_send_keeps_each_ones_order(
    unbounded: ft.Client, socket_loop: Any, compressed: bool
) -> None:
    with serving(socket_loop, deflate=deflate()) as server:
        task, story = opened(unbounded, server.url + "/echo", perMessageDeflate=compressed)
        in_threads(8, lambda mine: [task.send(data=f"{mine} {number}") for number in range(500)])
        story.until("message", 4000)
        closed(task)
    for mine in range(8):
        got = [message for message in story.messages if message.startswith(f"{mine} ")]
        assert got == [f"{mine} {number}" for number in range(500)]


def test_every_method_can_be_called_from_other_threads(plain: ft.Client, sockets: Any) -> None:
    task, story = opened(plain, sockets.url + "/echo")

    def work(mine: int) -> None:
        listener = Story().note("x")
        for number in range(50):
            task.send(data=f"{mine} {number}")
            for kind in ("Open", "Message", "Error", "Close"):
                getattr(task, f"on{kind}")(listener)
                getattr(task, f"off{kind}")(listener)
            task.pause()
            task.resume()
            assert task.readyState == OPEN
            assert task.bufferedAmount >= 0
            assert task.latency == 0
            task.wait_opened(LIMIT)

    in_threads(4, work)
    story.until("message", 200)
    in_threads(4, lambda mine: closed(task, code=3000 + mine))
    assert 3000 <= story.end().code < 3004


def test_threads_may_send_on_a_socket_of_a_loop(unbounded: ft.Client, sockets: Any) -> None:
    async def main() -> list[Any]:
        task = unbounded.connectSocket(url=sockets.url + "/echo")
        await task.opened()

        def send(mine: int) -> None:
            for number in range(250):
                task.send(data=f"{mine} {number}")

        sending = asyncio.create_task(asyncio.to_thread(in_threads, 4, send))
        got = []
        async for message in task:
            got.append(message)
            if len(got) == 1000:
                task.close()
        await sending
        return got

    got = asyncio.run(asyncio.wait_for(main(), LIMIT))
    for mine in range(4):
        assert [m for m in got if m.startswith(f"{mine} ")] == [f"{mine} {n}" for n in range(250)]


def test_sockets_can_be_made_in_many_threads_at_once(plain: ft.Client, sockets: Any) -> None:
    def work(mine: int) -> None:
        for number in range(10):
            task, story = opened(plain, sockets.url + "/echo")
            task.send(data=f"{mine} {number}")
            assert story.until("message").data == f"{mine} {number}"
            assert closed(task).code == 1000

    in_threads(8, work)


ACTIONS: dict[str, Callable[[ft.SocketTask], object]] = {
    "send": lambda task: task.send(data="from a callback"),
    "close": lambda task: task.close(code=3000),
    "close twice": lambda task: (task.close(code=3000), task.close(code=3001)),
    "close and send": lambda task: (task.close(code=3000), task.send(data="x", fail=print)),
    "pause and resume": lambda task: (task.pause(), task.resume()),
    "off all": lambda task: (task.offOpen(), task.offMessage(), task.offError()),
    "onMessage": lambda task: task.onMessage(lambda _: None),
    "collect garbage": lambda task: gc.collect(),
    "raise": lambda task: 1 / 0,
}


@pytest.mark.parametrize("place", ["success", "open", "message", "error", "close", "sent"])
@pytest.mark.parametrize("action", ACTIONS)
def test_any_action_in_any_callback_leaves_one_end(
    plain: ft.Client,
    sockets: Any,
    action: str,
    place: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stories: list[Story] = []

    def start() -> None:
        story = Story()

        def act(_: Any) -> None:
            ACTIONS[action](task)

        path = "/say?text=a&drop=1" if place == "error" else "/say?text=a&code=1000"
        success = act if place == "success" else None
        task = plain.connectSocket(url=sockets.url + path, success=success)
        if place in ("open", "message", "error", "close"):
            getattr(task, f"on{place.capitalize()}")(act)
        if place == "sent":
            task.onOpen(lambda _: task.send(data="x", complete=act))
        stories.append(story.listen(task))

    ft.run(start)
    (story,) = stories
    if action != "off all":
        story.check()
    assert story.names.count("close") == 1
    caplog.clear()  # what was raised holds on to the socket


def test_a_blocked_callback_delays_and_loses_nothing(plain: ft.Client, sockets: Any) -> None:
    block, inside = threading.Event(), threading.Event()
    task, story = socket(plain, sockets.url + "/echo")
    task.onOpen(lambda _: (inside.set(), block.wait(LIMIT)))
    assert inside.wait(LIMIT)
    for number in range(100):
        task.send(data=str(number))
    block.set()
    story.until("message", 100)
    assert story.messages == [str(number) for number in range(100)]
    closed(task)


# --- clients and loops that end -------------------------------------------------------------------


def test_closing_a_client_ends_its_sockets(sockets: Any) -> None:
    client = ft.Client(trust_env=False)
    stories = [opened(client, sockets.url + "/echo")[1] for _ in range(10)]
    stories += [socket(client, sockets.url + "/late")[1] for _ in range(5)]
    client.close()
    for story in stories:
        end = story.end()
        assert (end.code, end.reason) == (1006, "")
        (error,) = story.of("error")
        assert error.errno == ft.Errno.INTERRUPTED
        assert error.errMsg.startswith("connectSocket:fail ")
    client.close()
    for number in range(10):
        assert sockets.peer(number).wait_over()[0] == 1006
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.connectSocket(url=sockets.url)


def test_a_client_can_be_closed_in_a_callback(sockets: Any, drive_sockets: Any) -> None:
    clients: list[ft.Client] = []
    stories: list[Story] = []

    def start() -> list[ft.SocketTask]:
        client = ft.Client(trust_env=False)
        clients.append(client)
        task, story = socket(client, sockets.url + "/echo")
        task.onOpen(lambda _: client.close())
        stories.append(story)
        return [task]

    drive_sockets(start)
    stories[0].check()
    assert stories[0].names == ["open", "error", "close"]
    clients[0].close()


def test_sockets_of_other_clients_go_on(plain: ft.Client, sockets: Any) -> None:
    task, story = opened(plain, sockets.url + "/echo")
    with ft.Client(trust_env=False) as other:
        _, ended = opened(other, sockets.url + "/echo")
    assert ended.end().code == 1006
    task.send(data="x")
    assert story.until("message").data == "x"
    closed(task)


def test_a_client_is_kept_by_its_open_sockets(sockets: Any) -> None:
    story = Story()

    def start() -> weakref.ref[ft.Client]:
        client = ft.Client(trust_env=False)
        task, _ = opened(client, sockets.url + "/echo")
        story.listen(task)
        return weakref.ref(client)

    client = start()
    gc.collect()
    assert client() is not None
    sockets.peer().close(3000)
    assert story.end().code == 3000
    until(lambda: (gc.collect(), client() is None)[1], "the client goes")


# --- ft.run, and loops that end -------------------------------------------------------------------


def test_ft_run_drives_until_all_sockets_are_closed(plain: ft.Client, sockets: Any) -> None:
    ended: list[int] = []

    def start() -> None:
        for _ in range(3):
            task = plain.connectSocket(url=sockets.url + "/echo")
            task.onClose(lambda event: ended.append(event.code))

    closer = threading.Thread(target=close_each, args=(sockets, 3))
    closer.start()
    ft.run(start)
    closer.join(LIMIT)
    assert sorted(ended) == [3000, 3001, 3002]


def test_ft_run_takes_over_sockets_of_the_background_thread(plain: ft.Client, sockets: Any) -> None:
    threads: list[int] = []
    task, story = opened(plain, sockets.url + "/echo")
    task.onMessage(lambda _: (threads.append(threading.get_ident()), task.close()))
    ft.run(lambda: task.send(data="x"))
    assert threads == [threading.get_ident()]
    assert story.end().code == 1000


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_the_next_loop_ends_what_a_closed_one_left_open(sockets: Any, runner: str) -> None:
    run: Callable[[Any], Any] = asyncio.run if runner == "asyncio" else run_uvloop

    async def leave() -> Story:
        task = ft.connectSocket(url=sockets.url + "/echo")
        story = Story().listen(task)
        await task.opened()
        return story

    async def come_after() -> None:
        task = ft.connectSocket(url=sockets.url + "/echo")
        await task.opened()
        task.close()
        await task.closed()

    story = run(leave())
    run(come_after())
    assert story.end().code == 1006
    assert story.names == ["open", "error", "close"]


def close_each(server: Any, count: int) -> None:
    for number in range(count):
        server.peer(number).close(3000 + number)


# --- garbage --------------------------------------------------------------------------------------


def test_a_socket_goes_when_it_is_closed_and_nobody_has_it(plain: ft.Client, sockets: Any) -> None:
    before = ftcore.counters()["transfers"]
    task, story = opened(plain, sockets.url + "/echo")
    alive = weakref.ref(task)
    del task
    gc.collect()
    assert alive() is not None
    assert ftcore.counters()["transfers"] > before
    sockets.peer().close()
    story.end()
    until(lambda: (gc.collect(), alive() is None)[1], "the task goes")
    until(lambda: ftcore.counters()["transfers"] <= before, "the engine lets go of it")


class Holder:
    """A listener that has the socket it listens to."""

    def __init__(self, task: ft.SocketTask) -> None:
        self.task = task

    def hear(self, _: object) -> None:
        """Nothing to do."""


def test_a_closed_socket_that_is_still_held_holds_no_memory(
    unbounded: ft.Client, socket_loop: Any
) -> None:
    with serving(socket_loop, max_queue=1) as server:
        before = ftcore.counters()["slabs"]
        task, story = opened(unbounded, server.url + "/gate")
        for _ in range(5):
            task.send(data=bytes(4 << 20))
        server.peer().drop()
        story.end()
        assert task.readyState == CLOSED
        until(lambda: ftcore.counters()["slabs"] <= before, "what was not sent is given up")


def test_a_socket_whose_listeners_hold_it_goes_too(plain: ft.Client, sockets: Any) -> None:
    task = plain.connectSocket(url=sockets.url + "/say?text=a&code=1000")
    task.onMessage(Holder(task).hear)  # a cycle
    task.wait_closed(LIMIT)
    alive = weakref.ref(task)
    del task
    until(lambda: (gc.collect(), alive() is None)[1], "the task goes")


def test_a_socket_iterated_in_a_loop_goes_too(sockets: Any) -> None:
    async def main() -> weakref.ref[ft.SocketTask]:
        task = ft.connectSocket(url=sockets.url + "/say?text=a&code=1000")
        assert [message async for message in task] == ["a"]
        return weakref.ref(task)

    alive = asyncio.run(main())
    until(lambda: (gc.collect(), alive() is None)[1], "the task goes")
