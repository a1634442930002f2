"""Callbacks and listeners: their order, where they run, and what happens when they misbehave."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import ask, in_callback, in_run
from tests.history import History
from tests.origins import LIMIT, Origin, failure, fetch
from tests.profiles import check_profile
from tests.servers.awkward import AwkwardServer, Peer, closed_port

ENDINGS = ("success", "complete")


@pytest.fixture
def refusing() -> Iterator[str]:
    with closed_port() as port:
        yield f"http://127.0.0.1:{port}/"


# --- order ----------------------------------------------------------------------------------------


def test_headers_then_chunks_then_success_then_complete(
    client: ft.Client, origin: Origin, drive: Callable[..., int | None]
) -> None:
    histories: list[History] = []

    def start() -> Iterator[ft.RequestTask]:
        task, history = ask(client, f"{origin.base}/stream/5/3000", enableChunked=True)
        histories.append(history)
        yield task

    drive(start)
    response = histories[0].response()
    names = histories[0].names
    assert names[0] == "headers"
    assert names[-2:] == ["success", "complete"]
    assert set(names[1:-2]) == {"chunk"}
    check_profile(response, tls=origin.tls, protocol=origin.protocol)


def test_fail_then_complete_and_nothing_before(
    plain: ft.Client, refusing: str, drive: Callable[..., int | None]
) -> None:
    histories: list[History] = []

    def start() -> Iterator[ft.RequestTask]:
        task, history = ask(plain, refusing, enableChunked=True)
        histories.append(history)
        yield task

    drive(start)
    assert histories[0].names == ["fail", "complete"]
    assert histories[0].error().errno == ft.Errno.CONNECT


def test_the_headers_event_tells_status_header_and_cookies(
    client: ft.Client, origin: Origin
) -> None:
    task, history = in_run(lambda: ask(client, f"{origin.base}/headers/3"))
    response = task.result()
    event = history.events[0][1]
    assert event.statusCode == 200
    assert event.header["x-header-2"] == "value-2"
    assert event.cookies == response.cookies
    assert len(event.cookies) == 2


def test_the_headers_event_comes_before_the_body_is_there(plain: ft.Client, server: Any) -> None:
    came, over = threading.Event(), threading.Event()

    def start() -> ft.RequestTask:
        url = f"{server.http}/delay?chunks=2&between=15000"
        task = plain.request(url=url, complete=lambda _: over.set())
        task.onHeadersReceived(lambda _: came.set())
        return task

    task = in_callback(start)
    assert came.wait(LIMIT)
    assert not over.is_set()
    task.abort()
    assert over.wait(LIMIT)


@pytest.mark.parametrize("drive", ["run", "asyncio", "uvloop"], indirect=True)
def test_callbacks_never_run_inside_the_call_that_asked(
    plain: ft.Client, refusing: str, drive: Callable[..., int | None]
) -> None:
    inside, seen = [True], []

    def start() -> Iterator[ft.RequestTask]:
        inside[0] = True
        yield plain.request(url=refusing, complete=lambda _: seen.append(inside[0]))

    def start_and_leave() -> list[ft.RequestTask]:
        tasks = list(start())
        inside[0] = False
        return tasks

    drive(start_and_leave)
    assert seen == [False]


def test_the_waiters_go_on_after_complete(plain: ft.Client, server: Any) -> None:
    for _ in range(50):
        seen: list[str] = []
        task = plain.request(
            url=f"{server.http}/hello",
            success=lambda _, seen=seen: seen.append("success"),
            complete=lambda _, seen=seen: seen.append("complete"),
        )
        task.result(LIMIT)
        assert seen == list(ENDINGS)


# --- listeners ------------------------------------------------------------------------------------


def test_all_listeners_fire_in_the_order_they_were_added(plain: ft.Client, server: Any) -> None:
    seen: list[str] = []

    def start() -> None:
        task = plain.request(url=f"{server.http}/stream/1/10", enableChunked=True)
        for name in "abc":
            task.onHeadersReceived(lambda _, name=name: seen.append("headers " + name))
            task.onChunkReceived(lambda _, name=name: seen.append("chunk " + name))

    ft.run(start)
    assert seen == [f"{kind} {name}" for kind in ("headers", "chunk") for name in "abc"]


@pytest.mark.parametrize("kind", ["HeadersReceived", "ChunkReceived"])
def test_off_removes_one_listener_or_all(plain: ft.Client, server: Any, kind: str) -> None:
    seen: list[str] = []

    def first(_: object) -> None:
        seen.append("first")

    def second(_: object) -> None:
        seen.append("second")

    def start() -> None:
        one = plain.request(url=f"{server.http}/stream/1/10", enableChunked=True)
        other = plain.request(url=f"{server.http}/stream/1/10", enableChunked=True)
        for task in (one, other):
            getattr(task, "on" + kind)(first)
            getattr(task, "on" + kind)(second)
        getattr(one, "off" + kind)(first)
        getattr(other, "off" + kind)()

    ft.run(start)
    assert seen == ["second"]


def test_removing_a_listener_that_was_never_added_does_nothing(
    plain: ft.Client, server: Any
) -> None:
    task = plain.request(url=f"{server.http}/hello")
    task.offHeadersReceived(print)
    task.offChunkReceived(print)
    task.offHeadersReceived()
    task.offChunkReceived()
    assert task.result(LIMIT).data == "Hello, World!"


def test_a_listener_may_remove_itself(plain: ft.Client, server: Any) -> None:
    sizes: list[int] = []
    tasks: list[ft.RequestTask] = []

    def only_once(event: Any) -> None:
        sizes.append(len(event.data))
        tasks[0].offChunkReceived(only_once)

    def start() -> None:
        url = f"{server.http}/stream/5/100?interval=20"
        tasks.append(plain.request(url=url, enableChunked=True))
        tasks[0].onChunkReceived(only_once)
        tasks[0].onChunkReceived(lambda _: None)

    ft.run(start)
    assert len(sizes) == 1


def test_a_listener_added_late_does_not_get_past_events(plain: ft.Client, server: Any) -> None:
    seen: list[Any] = []
    task = plain.request(url=f"{server.http}/hello")
    assert task.result(LIMIT).statusCode == 200
    task.onHeadersReceived(seen.append)
    task.onChunkReceived(seen.append)
    fetch(plain, f"{server.http}/hello")
    assert seen == []


@pytest.mark.parametrize("at_once", [False, True], ids=["both-late", "headers-later"])
def test_a_listener_added_after_the_call_hears_all_however_fast_the_answer_was(
    nginx: Any, at_once: bool
) -> None:
    seen: list[str] = []
    switching = sys.getswitchinterval()
    sys.setswitchinterval(10)  # the engine's thread gets the answer, but not the interpreter
    try:
        with ft.Client() as client:
            task = client.request(url=f"{nginx.http}/seen", enableChunked=True)
            if at_once:
                task.onChunkReceived(lambda event: seen.append("chunk"))
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                pass
            task.onHeadersReceived(lambda event: seen.append(str(event.statusCode)))
            if not at_once:
                task.onChunkReceived(lambda event: seen.append("chunk"))
            assert not task.done()
            assert task.result(LIMIT).data == ""
    finally:
        sys.setswitchinterval(switching)
    assert seen == ["200", "chunk"]


def test_no_byte_is_lost_when_the_listener_leaves_while_chunks_are_under_way() -> None:
    size = 2_000_000

    def pours(peer: Peer) -> None:
        peer.read_request()
        peer.answer(bytes(size))
        peer.until_gone()

    heard: list[int] = []
    with AwkwardServer(pours) as server, ft.Client() as client:
        task = client.request(url=server.url, enableChunked=True, responseType="arraybuffer")

        def leaves(event: ft.ChunkReceived) -> None:
            heard.append(len(event.data))
            task.offChunkReceived(leaves)
            time.sleep(0.01)  # the engine hears of it when this is over: more has come by then

        task.onChunkReceived(leaves)
        response = task.result(LIMIT)
    assert heard
    assert sum(heard) + len(response.data) == size


@pytest.mark.parametrize("name", ["onHeadersReceived", "onChunkReceived"])
def test_a_listener_that_cannot_be_called_is_refused(
    plain: ft.Client, server: Any, name: str
) -> None:
    task = plain.request(url=f"{server.http}/hello")
    with pytest.raises(TypeError):
        getattr(task, name)(5)
    assert task.result(LIMIT).statusCode == 200


# --- exceptions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["headers", "chunk", "success", "complete"])
def test_an_exception_in_a_callback_is_logged_and_skips_nothing(
    plain: ft.Client,
    server: Any,
    drive: Callable[..., int | None],
    where: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[str] = []

    def note(name: str) -> Callable[[Any], None]:
        def callback(_: Any) -> None:
            seen.append(name)
            if name == where:
                raise ZeroDivisionError(name)

        return callback

    def start() -> Iterator[ft.RequestTask]:
        task = plain.request(
            url=f"{server.http}/stream/1/10",
            enableChunked=True,
            success=note("success"),
            complete=note("complete"),
        )
        for _ in range(2):
            task.onHeadersReceived(note("headers"))
            task.onChunkReceived(note("chunk"))
        yield task

    with caplog.at_level(logging.ERROR, "ftnet"):
        drive(start)
    assert seen == ["headers", "headers", "chunk", "chunk", "success", "complete"]
    logged = [entry for entry in caplog.records if entry.name == "ftnet"]
    assert len(logged) == seen.count(where)
    assert all(entry.exc_info and entry.exc_info[0] is ZeroDivisionError for entry in logged)
    caplog.clear()  # the tracebacks hold on to what the callbacks got


def test_an_exception_in_fail_does_not_skip_complete(
    plain: ft.Client, refusing: str, caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()

    def fail(_: ft.FtError) -> None:
        raise KeyError("in fail")

    plain.request(url=refusing, fail=fail, complete=lambda _: over.set())
    assert over.wait(LIMIT)
    assert [entry.exc_info[0] for entry in caplog.records if entry.exc_info] == [KeyError]
    assert failure(plain, refusing).errno == ft.Errno.CONNECT, "the engine is gone"


# --- aborting -------------------------------------------------------------------------
def test_abort_fails_the_task_once(
    client: ft.Client, origin: Origin, drive: Callable[..., int | None]
) -> None:
    histories: list[History] = []

    def start() -> Iterator[ft.RequestTask]:
        task, history = ask(client, f"{origin.base}/delay?before=15000")
        histories.append(history)
        for _ in range(3):
            task.abort()
        yield task
        task.abort()

    drive(start)
    error = histories[0].error()
    assert (error.errMsg, error.errno) == ("request:fail abort", ft.Errno.INTERRUPTED)
    assert histories[0].names == ["fail", "complete"]


@pytest.mark.parametrize("event", ["headers", "chunk"])
def test_abort_inside_a_listener_is_the_last_thing_heard(
    client: ft.Client, origin: Origin, drive: Callable[..., int | None], event: str
) -> None:
    histories: list[History] = []

    def start() -> Iterator[ft.RequestTask]:
        task, history = ask(client, f"{origin.base}/stream/50/20000", enableChunked=True)
        histories.append(history)
        listen = task.onHeadersReceived if event == "headers" else task.onChunkReceived
        listen(lambda _: task.abort())
        yield task

    drive(start)
    names = histories[0].names
    assert histories[0].error().errMsg == "request:fail abort"
    assert names == {"headers": ["headers"], "chunk": ["headers", "chunk"]}[event] + [
        "fail",
        "complete",
    ]


@pytest.mark.parametrize("where", ENDINGS)
def test_abort_at_the_end_does_nothing(plain: ft.Client, server: Any, where: str) -> None:
    history = History()
    tasks: list[ft.RequestTask] = []
    callbacks = history.callbacks()
    noted = callbacks[where]

    def note_and_abort(result: Any) -> None:
        noted(result)
        tasks[0].abort()

    callbacks[where] = note_and_abort
    ft.run(lambda: tasks.append(plain.request(url=f"{server.http}/hello", **callbacks)))
    assert history.names == list(ENDINGS)
    assert history.response().data == "Hello, World!"
    tasks[0].abort()
    assert tasks[0].result().data == "Hello, World!"
