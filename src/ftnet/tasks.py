"""Task: what a call returns. One class for callbacks, `result()` and `await`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ftcore.transfer import Transfer
from ftnet.dispatch import log
from ftnet.errors import FtError

if TYPE_CHECKING:
    import asyncio

R = TypeVar("R")
Callback = Callable[[Any], object]


def call(callback: Callback, value: object) -> None:
    """Calls a user's callback; what it raises is logged, not let through."""
    try:
        callback(value)
    except Exception:
        log.exception("in a callback: %r", callback)


def call_all(callbacks: list[Callback], value: object) -> None:
    """Calls listeners in the order they were added; they may add and remove others."""
    for callback in tuple(callbacks):
        call(callback, value)


def remove(callbacks: list[Callback] | None, callback: Callback | None) -> None:
    """Takes one listener away, or all of them."""
    if callbacks is None:
        return
    if callback is None:
        callbacks.clear()
    elif callback in callbacks:
        callbacks.remove(callback)


class Task(Transfer, Generic[R]):
    """Something under way. Its methods may be called from any thread, and inside callbacks.

    It ends once: ``success`` or ``fail`` is called, then ``complete``, then `result()` and
    ``await`` go on.
    """

    __slots__ = ()

    # outcome, waiters and the listeners are the engine object's (None to begin with), and so is
    # `context`: (driver, plan, success, fail, complete, client); the client lives as long

    def done(self) -> bool:
        """Whether the task has ended and its last callback is being, or was, called."""
        return self.outcome is not None

    def result(self, timeout: float | None = None) -> R:
        """Waits for the end and returns what ``success`` got.

        ``timeout`` is in seconds, None: as long as the task takes. Raises `FtError` where
        ``fail`` was called, TimeoutError when `timeout` has passed (the task goes on), and
        RuntimeError where waiting would wait for itself: in a callback, in the loop's thread.
        """
        if self.outcome is None and not self.context[0].wait(self, timeout):
            raise TimeoutError(f"not done after {timeout} s")
        return self._value()

    def _value(self) -> R:
        if isinstance(self.outcome, FtError):
            raise self.outcome
        outcome: R = self.outcome
        return outcome

    def __await__(self) -> Generator[Any, None, R]:
        """Waits without blocking the loop; a cancelled wait aborts the task."""
        if self.outcome is None:
            loop = _get_running_loop()
            future = loop.create_future()
            if self.waiters is None and self.context[0].loop is loop:
                self.waiters = future  # the one wait of most tasks, in the loop that drives
            else:
                self._wait_with(future)
            try:
                yield from future
            finally:
                if future.cancelled():
                    self.abort()
        return self._value()

    def _wait_with(self, waiter: threading.Event | asyncio.Future[None]) -> None:
        if self.waiters is None:
            self.waiters = []
        elif type(self.waiters) is not list:
            self.waiters = [self.waiters]
        self.waiters.append(waiter)
        if self.outcome is not None:  # it ended in another thread meanwhile
            wake(waiter)

    def block(self, timeout: float | None) -> bool:
        """Blocks this thread until the end; False when `timeout` seconds have gone by."""
        event = threading.Event()
        self._wait_with(event)
        return event.wait(timeout)

    def _settle(self, outcome: R | FtError, callback: Callback | None) -> None:
        """The end: the last callbacks, then whoever waits. Nothing skips `complete`."""
        self.outcome = outcome
        try:
            if callback is not None:
                try:
                    callback(outcome)
                except Exception:
                    log.exception("in a callback: %r", callback)
        finally:
            complete = self.context[4]
            if complete is not None:
                self._end(complete, outcome)
            elif self.waiters is not None:
                self._wake_all()

    def _end(self, complete: Callback, outcome: R | FtError) -> None:
        try:
            call(complete, outcome)
        finally:
            if self.waiters is not None:
                self._wake_all()

    def _wake_all(self) -> None:
        waiters = self.waiters
        if type(waiters) is list:
            for waiter in waiters:
                wake(waiter)
        elif not waiters.done() and not self.context[0].loop.is_closed():
            waiters.set_result(None)


def wake(waiter: threading.Event | asyncio.Future[None]) -> None:
    """Lets whoever waits go on, in its own thread or loop."""
    if isinstance(waiter, threading.Event):
        waiter.set()
        return
    loop = waiter.get_loop()
    if loop.is_closed():
        return
    if _get_running_loop() is loop:
        _set(waiter)
    else:
        loop.call_soon_threadsafe(_set, waiter)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _get_running_loop() -> Any:
    """asyncio's, imported when it is first needed: it is slow to import."""
    global _get_running_loop
    from asyncio import _get_running_loop

    return _get_running_loop()
