"""Listeners of a socket: who is told what, when, in which order, and in which thread."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import in_callback
from tests.sockets import LIMIT, Story, closed, echoes, opened, socket

KINDS = ("Open", "Message", "Error", "Close")
REACHED = {"Open": "/say?text=a&code=1000", "Message": "/say?text=a&code=1000"}
REACHED |= {"Error": "/status/500", "Close": "/say?text=a&code=1000"}


def on(task: ft.SocketTask, kind: str, listener: Callable[[Any], object]) -> None:
    getattr(task, f"on{kind}")(listener)


def off(task: ft.SocketTask, kind: str, *listener: Callable[[Any], object]) -> None:
    getattr(task, f"off{kind}")(*listener)


# --- which of them are told -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_all_listeners_are_told_in_the_order_they_were_added(
    plain: ft.Client, sockets: Any, drive_sockets: Any, kind: str
) -> None:
    told: list[tuple[int, Any]] = []

    def start() -> list[ft.SocketTask]:
        task = plain.connectSocket(url=sockets.url + REACHED[kind])
        for number in range(5):
            on(task, kind, lambda event, number=number: told.append((number, event)))
        return [task]

    drive_sockets(start)
    assert [number for number, _ in told] == [0, 1, 2, 3, 4]
    assert len({id(event) for _, event in told}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_off_removes_one_listener_or_all(plain: ft.Client, sockets: Any, kind: str) -> None:
    told: list[str] = []
    listeners = {name: lambda _, name=name: told.append(name) for name in "abcd"}

    def start() -> None:
        for removed in ("b", None):
            task = plain.connectSocket(url=sockets.url + REACHED[kind])
            for listener in listeners.values():
                on(task, kind, listener)
            off(task, kind, *([] if removed is None else [listeners[removed]]))
            off(task, kind, print)  # which was never added

    ft.run(start)
    assert told == ["a", "c", "d"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_added_twice_is_called_twice_and_removed_once(
    plain: ft.Client, sockets: Any, kind: str
) -> None:
    told: list[Any] = []

    def start() -> None:
        task = plain.connectSocket(url=sockets.url + REACHED[kind])
        for _ in range(3):
            on(task, kind, told.append)
        off(task, kind, told.append)

    ft.run(start)
    assert len(told) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_off_before_any_on_does_nothing(plain: ft.Client, sockets: Any, kind: str) -> None:
    task = plain.connectSocket(url=sockets.url)
    off(task, kind)
    off(task, kind, print)
    task.wait_opened(LIMIT)
    assert closed(task).code == 1000


def test_listeners_may_change_the_listeners(plain: ft.Client, sockets: Any) -> None:
    told: list[str] = []

    def once(event: Any) -> None:
        told.append(f"once {event.data}")
        task.offMessage(once)
        task.onMessage(later)

    def later(event: Any) -> None:
        told.append(f"later {event.data}")

    def start() -> ft.SocketTask:
        task = plain.connectSocket(url=sockets.url + "/say?text=a&text=b&text=c&code=1000")
        task.onMessage(once)
        task.onMessage(lambda event: told.append(f"always {event.data}"))
        return task

    task = in_callback(start)
    task.wait_closed(LIMIT)
    assert told == ["once a", "always a", "always b", "later b", "always c", "later c"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [None, 5, "f"])
def test_what_cannot_be_called_is_refused(
    plain: ft.Client, sockets: Any, kind: str, wrong: Any
) -> None:
    task, _ = opened(plain, sockets.url)
    with pytest.raises(TypeError, match=f"on{kind} takes a callable, got"):
        on(task, kind, wrong)
    assert closed(task).code == 1000


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_is_logged_and_skips_nothing(
    plain: ft.Client,
    sockets: Any,
    drive_sockets: Any,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    stories: list[Story] = []

    def start() -> list[ft.SocketTask]:
        task = plain.connectSocket(url=sockets.url + REACHED[kind])
        on(task, kind, lambda _: 1 / 0)
        stories.append(Story().listen(task))
        return [task]

    with caplog.at_level(logging.ERROR, "ftnet"):
        drive_sockets(start)
    stories[0].check()
    assert kind.lower() in stories[0].names
    (record,) = [record for record in caplog.records if record.name == "ftnet"]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    caplog.clear()


# --- who listens late -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Open", "Message", "Close"])
def test_the_first_listener_is_told_what_came_before_it(
    plain: ft.Client, sockets: Any, kind: str
) -> None:
    task = plain.connectSocket(url=sockets.url + "/say?text=a&text=b&text=c&code=3000")
    task.wait_closed(LIMIT)
    story = Story()
    on(task, kind, story.note("told"))
    count = 3 if kind == "Message" else 1
    story.until("told", count)
    second = Story()
    on(task, kind, second.note("told"))
    barrier = Story()
    task.close(success=barrier.note("told"))  # is called behind whatever they are told
    barrier.until("told")
    assert len(story.events) == count
    assert second.events == []
    if kind == "Message":
        assert [event.data for event in story.of("told")] == ["a", "b", "c"]


def test_the_first_error_listener_is_told_of_an_error_before_it(
    plain: ft.Client, sockets: Any
) -> None:
    task = plain.connectSocket(url=sockets.url + "/status/404")
    task.wait_closed(LIMIT)
    story = Story().listen(task)
    assert story.end().code == 1006
    assert story.names == ["error", "close"]


def test_a_whole_story_can_be_heard_after_its_end(plain: ft.Client, sockets: Any) -> None:
    task = plain.connectSocket(url=sockets.url + "/say?text=a&text=b&code=3000")
    task.wait_closed(LIMIT)
    story = Story().listen(task)
    story.end()
    assert story.names == ["open", "message", "message", "close"]


class AddsBetween(dict[str, Any]):
    """Listeners of a socket to which another thread adds one at the worst moment: when it was
    just found that there is none."""

    def __init__(self, task: ft.SocketTask, kind: str, told: list[Any]) -> None:
        super().__init__()
        self.add: Callable[[], object] | None = lambda: on(task, kind, told.append)
        self.kind = kind.lower()

    def get(self, kind: str, default: Any = None) -> Any:
        found = super().get(kind, default)
        if kind == self.kind and self.add is not None:
            thread, self.add = threading.Thread(target=self.add), None
            thread.start()
            thread.join(LIMIT)
        return found


@pytest.mark.parametrize("kind", ["Open", "Error", "Close"])
def test_a_listener_added_at_the_moment_of_the_event_is_told(
    plain: ft.Client, sockets: Any, kind: str
) -> None:
    told: list[Any] = []

    def start() -> None:
        task = plain.connectSocket(url=sockets.url + REACHED[kind])
        task._listeners = AddsBetween(task, kind, told)

    ft.run(start)
    assert len(told) == 1


@pytest.mark.parametrize("kinds", [("Message",), ("Message", "Close"), ("Error", "Message")])
def test_messages_do_not_wait_for_listeners_of_other_kinds(
    plain: ft.Client, sockets: Any, drive_sockets: Any, kinds: tuple[str, ...]
) -> None:
    told: list[str] = []

    def start() -> list[ft.SocketTask]:
        task = plain.connectSocket(url=sockets.url + "/say?text=a&text=b&code=1000")
        for kind in kinds:
            on(task, kind, lambda event: told.append(getattr(event, "data", "other")))
        return [task]

    drive_sockets(start)
    assert [data for data in told if data != "other"] == ["a", "b"]


def test_a_late_listener_misses_nothing_while_messages_go_on(
    plain: ft.Client, sockets: Any
) -> None:
    task, _ = socket(plain, sockets.url + "/echo")
    task.wait_opened(LIMIT)
    task.offMessage()  # those of the story were the first: from now on nobody listens
    late = Story()
    task.onMessage(late.note("told"))
    for number in range(200):
        task.send(data=str(number))
    late.until("told", 200)
    assert [event.data for event in late.of("told")] == [str(number) for number in range(200)]
    closed(task)


def test_messages_before_the_first_listener_come_before_later_ones(
    plain: ft.Client, sockets: Any
) -> None:
    for _ in range(20):
        task = plain.connectSocket(url=sockets.url + "/echo")
        task.onOpen(lambda _: None)
        task.wait_opened(LIMIT)
        for number in range(50):
            task.send(data=str(number))
        story = Story()
        task.onMessage(story.note("told"))  # while they are coming in
        for number in range(50, 100):
            task.send(data=str(number))
        story.until("told", 100)
        assert [event.data for event in story.of("told")] == [str(n) for n in range(100)]
        closed(task)


def test_messages_that_nobody_wants_are_dropped_with_one_warning(
    sockets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with ft.Client(max_buffered_bytes=10_000, trust_env=False) as client:
        task = client.connectSocket(url=sockets.url + "/echo")
        task.wait_opened(LIMIT)
        peer = sockets.peer()
        for _ in range(30):
            peer.send(b"x" * 1000)
        peer.ping()  # they have all been read
        task.close()
        task.wait_closed(LIMIT)
        late: list[Any] = []
        task.onMessage(late.append)
        told = Story()
        task.close(success=told.note("told"))
        told.until("told")
        assert late == []
    warnings = [record.getMessage() for record in caplog.records if record.name == "ftnet"]
    assert warnings == ["connectSocket: nobody listens for messages: they are dropped from now on"]


# --- threads, and many at once --------------------------------------------------------------------


def test_callbacks_run_in_the_thread_that_drives(
    plain: ft.Client, sockets: Any, drive_sockets: Any
) -> None:
    stories: list[Story] = []

    def start() -> list[ft.SocketTask]:
        tasks = []
        for messages in (["a", b"b"], ["c"]):
            task, story = echoes(plain, sockets.url + "/echo", messages)
            task.send(data="", **story.callbacks())
            stories.append(story)
            tasks.append(task)
        return tasks

    here = drive_sockets(start)
    threads = set.union(*[story.threads for story in stories])
    assert len(threads) == 1
    assert threads == {here} if here is not None else threading.get_ident() not in threads
    assert stories[0].messages == ["a", b"b"]


def test_callbacks_never_run_inside_a_call(
    plain: ft.Client, sockets: Any, drive_sockets: Any
) -> None:
    inside: list[str] = []

    def start() -> list[ft.SocketTask]:
        told: list[str] = []

        def note(name: str) -> Callable[[Any], None]:
            return lambda _: told.append(name)

        url = sockets.url + "/say?code=1000"
        task = plain.connectSocket(url=url, success=note("accepted"))
        task.send(data="x", fail=note("send"))
        task.onOpen(note("open"))
        task.onClose(note("close"))
        inside.extend(told)
        return [task]

    drive_sockets(start)
    assert inside == []


def test_callbacks_of_one_engine_never_overlap(plain: ft.Client, sockets: Any) -> None:
    inside = [0, 0]

    def callback(_: Any) -> None:
        inside[0] += 1
        inside[1] = max(inside)
        inside[0] -= 1

    tasks = []
    for _ in range(30):
        task, _ = echoes(plain, sockets.url + "/echo", ["x"] * 10)
        for kind in KINDS:
            on(task, kind, callback)
        tasks.append(task)
    for task in tasks:
        task.wait_closed(LIMIT)
    assert inside == [0, 1]


def test_two_hundred_sockets_echo_at_once(
    plain: ft.Client, sockets: Any, drive_sockets: Any
) -> None:
    stories: list[tuple[str, Story]] = []

    def start() -> list[ft.SocketTask]:
        tasks = []
        for number in range(200):
            mine = f"socket {number}, "
            messages = [mine + "first", mine + "second", mine.encode()]
            task, story = echoes(plain, sockets.url + "/echo", messages)
            stories.append((mine, story))
            tasks.append(task)
        return tasks

    drive_sockets(start)
    for mine, story in stories:
        story.check()
        assert story.messages == [mine + "first", mine + "second", mine.encode()]
        assert story.of("close")[0].code == 1000


def test_a_socket_can_be_made_in_any_callback_of_another(plain: ft.Client, sockets: Any) -> None:
    ends: list[str] = []

    def chain(kinds: tuple[str, ...]) -> None:
        if not kinds:
            ends.append("all")
            return
        task = plain.connectSocket(url=sockets.url + REACHED[kinds[0]])
        on(task, kinds[0], lambda _: chain(kinds[1:]))

    ft.run(chain, KINDS)
    assert ends == ["all"]


def test_sockets_and_requests_share_an_engine(plain: ft.Client, sockets: Any, nginx: Any) -> None:
    async def main() -> tuple[list[int], list[Any]]:
        async def ask() -> int:
            return (await plain.request(url=nginx.http + "/json")).statusCode

        async def echo(number: int) -> Any:
            task = plain.connectSocket(url=sockets.url + "/echo")
            await task.opened()
            task.send(data=str(number))
            got = []
            async for message in task:
                got.append(message)
                task.close()
            return got

        asked = asyncio.gather(*[ask() for _ in range(50)])
        echoed = await asyncio.gather(*[echo(number) for number in range(50)])
        return await asked, echoed

    statuses, messages = asyncio.run(asyncio.wait_for(main(), LIMIT))
    assert statuses == [200] * 50
    assert messages == [[str(number)] for number in range(50)]


def test_a_socket_without_references_lives_while_it_is_open(plain: ft.Client, sockets: Any) -> None:
    story = Story()

    def start() -> None:
        task = plain.connectSocket(url=sockets.url + "/echo")
        story.listen(task)
        task.onOpen(lambda _: task.send(data="x"))

    start()
    peer = sockets.peer()
    peer.next()
    gc.collect()
    peer.close(3000, "time to go")
    assert story.end().code == 3000
    assert story.messages == ["x"]
