"""The ways to drive the engine, each as a function that calls `start` and sees its tasks end.

`start` makes requests and returns their tasks. A driver returns when all of them are over, with
the id of the thread that their callbacks must have run on; None: of the engine's own thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

import uvloop

import ftnet as ft
from tests.history import History
from tests.servers.awkward import closed_port

LIMIT = 20.0
T = TypeVar("T")
Start = Callable[[], Iterable[ft.RequestTask]]


def ask(client: ft.Client, url: str, **options: Any) -> tuple[ft.RequestTask, History]:
    """A request, and the history of all its events."""
    history = History()
    task = client.request(url=url, **options, **history.callbacks())
    history.listen(task)
    return task, history


def in_callback(start: Callable[[], T]) -> T:
    """What `start` returns, called in a callback of the background thread.

    Nothing happens to the requests it makes before it returns: their listeners are in time.
    """
    started: Future[T] = Future()

    def call(_: object) -> None:
        try:
            started.set_result(start())
        except BaseException as error:
            started.set_exception(error)

    with closed_port() as port:
        ft.request(url=f"http://127.0.0.1:{port}/", complete=call)
        return started.result(LIMIT)


def turn() -> None:
    """Returns when the background thread has come round: it knows of all calls before this one."""
    in_callback(lambda: None)


def in_run(start: Callable[[], T]) -> T:
    """What `start` returns, after `ft.run` has driven its requests to their ends."""
    made: list[T] = []
    ft.run(lambda: made.append(start()))
    return made[0]


def by_thread(start: Start) -> int | None:
    """The background thread drives, this one waits."""
    for task in in_callback(lambda: list(start())):
        with contextlib.suppress(ft.FtError):  # the task's own callbacks tell
            task.result(LIMIT)
    return None


def by_run(start: Start) -> int | None:
    """`ft.run` drives in this thread."""
    assert all(task.done() for task in in_run(lambda: list(start())))
    return threading.get_ident()


async def _awaited(start: Start) -> int | None:
    for task in list(start()):
        with contextlib.suppress(ft.FtError):
            await asyncio.wait_for(_end_of(task), LIMIT)
    return threading.get_ident()


async def _end_of(task: ft.RequestTask) -> ft.Response:
    return await task


def by_asyncio(start: Start) -> int | None:
    """An asyncio loop drives in this thread."""
    return asyncio.run(_awaited(start))


def by_uvloop(start: Start) -> int | None:
    """A uvloop loop drives in this thread."""
    return run_uvloop(_awaited(start))


def run_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


DRIVERS = {"thread": by_thread, "run": by_run, "asyncio": by_asyncio, "uvloop": by_uvloop}
