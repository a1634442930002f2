"""Sockets in tests: what one told in which order, and the ways to drive them to their ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ftnet as ft
from tests.drivers import in_callback, in_run, run_uvloop

LIMIT = 15.0
START, OPEN, CLOSING, CLOSED = 0, 1, 2, 3


class Story:
    """Listeners that write down what they were told, and the rules every such story obeys."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.threads: set[int] = set()
        self.ended = threading.Event()
        self._changed = threading.Condition()

    def listen(self, task: ft.SocketTask) -> Story:
        task.onOpen(self.note("open"))
        task.onMessage(self.note("message"))
        task.onError(self.note("error"))
        task.onClose(self.note("close"))
        return self

    def callbacks(self, prefix: str = "") -> dict[str, Callable[[Any], None]]:
        """``success``, ``fail`` and ``complete`` of a call, told as well."""
        return {name: self.note(prefix + name) for name in ("success", "fail", "complete")}

    def note(self, name: str) -> Callable[[Any], None]:
        def note(event: Any) -> None:
            with self._changed:
                self.events.append((name, event))
                self.threads.add(threading.get_ident())
                self._changed.notify_all()
            if name == "close":
                self.ended.set()

        return note

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    def of(self, name: str) -> list[Any]:
        return [event for kind, event in self.events if kind == name]

    @property
    def messages(self) -> list[Any]:
        """The data of each message; buffers as bytes."""
        return [as_sent(event.data) for event in self.of("message")]

    def until(self, name: str, count: int = 1) -> Any:
        """Waits for `count` events of a kind; the last of them."""
        with self._changed:
            there = self._changed.wait_for(lambda: self.names.count(name) >= count, LIMIT)
        assert there, f"no {name} within {LIMIT} s, only {self.names}"
        return self.of(name)[count - 1]

    def end(self) -> Any:
        """Waits for the end; what ``onClose`` was told, after a story that obeys the rules."""
        assert self.ended.wait(LIMIT), f"no end within {LIMIT} s, only {self.names}"
        self.check()
        return self.of("close")[0]

    def check(self) -> None:
        told = [name for name in self.names if name in ("open", "message", "error", "close")]
        assert told.count("close") == 1, told
        assert told[-1] == "close", told
        assert told.count("error") <= 1, told
        assert "error" not in told or told[-2] == "error", told
        assert told.count("open") <= 1, told
        assert "open" not in told or told[0] == "open", told
        assert "message" not in told or told[0] == "open", told


def until(happened: Callable[[], object], what: str) -> None:
    """Looks again every few milliseconds, for what nobody tells."""
    end, ticker = time.monotonic() + LIMIT, threading.Event()
    while not happened():
        assert time.monotonic() < end, f"not within {LIMIT} s: {what}"
        ticker.wait(0.005)


def as_sent(data: Any) -> str | bytes:
    return data if isinstance(data, str) else bytes(data)


def socket(client: ft.Client, url: str, **options: Any) -> tuple[ft.SocketTask, Story]:
    """A socket, and the story of it."""
    task = client.connectSocket(url=url, **options)
    return task, Story().listen(task)


def opened(client: ft.Client, url: str, **options: Any) -> tuple[ft.SocketTask, Story]:
    """A socket that is open, and the story of it."""
    task, story = socket(client, url, **options)
    task.wait_opened(LIMIT)
    story.until("open")
    return task, story


def closed(task: ft.SocketTask, **options: Any) -> Any:
    """Closes a socket and waits for it."""
    task.close(**options)
    return task.wait_closed(LIMIT)


def failure(client: ft.Client, url: str, **options: Any) -> ft.FtError:
    """The error of a socket that can't be opened; its story is right, and ends with 1006."""
    _, story = socket(client, url, **options)
    end = story.end()
    assert story.names == ["error", "close"]
    assert (end.code, end.reason) == (1006, "")
    error = story.of("error")[0]
    assert isinstance(error, ft.FtError)
    assert error.errMsg.startswith("connectSocket:fail "), error.errMsg
    return error


def echoes(
    client: ft.Client, url: str, messages: Sequence[str | bytes], **options: Any
) -> tuple[ft.SocketTask, Story]:
    """Sends each message once the echo of the one before is there; closes behind the last one.

    To be called where callbacks run, or with listeners that are the first.
    """
    task = client.connectSocket(url=url, **options)
    story = Story().listen(task)
    left = list(messages)[::-1]

    def go_on(_: object) -> None:
        if left:
            task.send(data=left.pop())
        else:
            task.close()

    task.onOpen(go_on)
    task.onMessage(go_on)
    return task, story


# --- ways to drive, each until the sockets that `start` made are closed ---------------------------

Start = Callable[[], Iterable[ft.SocketTask | ft.TCPSocket]]


def by_thread(start: Start) -> int | None:
    """The background thread drives, this one waits."""
    for task in in_callback(lambda: list(start())):
        task.wait_closed(LIMIT)
    return None


def by_run(start: Start) -> int | None:
    """`ft.run` drives in this thread."""
    for task in in_run(lambda: list(start())):
        task.wait_closed(0)  # it is, by now
    return threading.get_ident()


async def _awaited(start: Start) -> int | None:
    for task in list(start()):
        await asyncio.wait_for(task.closed(), LIMIT)
    return threading.get_ident()


def by_asyncio(start: Start) -> int | None:
    """An asyncio loop drives in this thread."""
    return asyncio.run(_awaited(start))


def by_uvloop(start: Start) -> int | None:
    """A uvloop loop drives in this thread."""
    return run_uvloop(_awaited(start))


DRIVERS = {"thread": by_thread, "run": by_run, "asyncio": by_asyncio, "uvloop": by_uvloop}
