"""Where the engine is driven and callbacks run: a background thread, `run()`, or an asyncio loop.

A *driver* is an engine with somebody who drives it. A call made while an asyncio loop runs in
the thread belongs to that loop's driver; one made inside `run()` to the driver that `run()`
drives; any other to the background driver, whose thread starts with the first call.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from sys import modules
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from ftcore.engine import Engine

if TYPE_CHECKING:
    import asyncio

    from ftcore.transfer import Pool
    from ftnet.tasks import Task

log = logging.getLogger("ftnet")

#: Seconds after which a thread that waits in the engine looks for signals: one that came between
#: the last look and the wait did not end the wait.
_SIGNALS_EVERY = 0.5
T = TypeVar("T")


class Driver:
    """An engine, its pools, and the thread that drives it now (None: nobody does)."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.pools: weakref.WeakSet[Pool] = weakref.WeakSet()
        self.thread: int | None = None
        self.polling = False

    def poll(self, timeout: float | None = None) -> None:
        """One turn of the engine, events delivered."""
        self.polling = True
        try:
            self.engine.poll(timeout)
        finally:
            self.polling = False

    def submitted(self) -> None:
        """After a task was handed to the engine: sees to it that somebody drives it."""

    def wait(self, task: Task[Any], timeout: float | None) -> bool:
        """Blocks until the task has ended; False when `timeout` seconds have gone by."""
        raise NotImplementedError

    def wait_for(self, event: threading.Event, timeout: float | None) -> bool:
        """Blocks until the event is set by a callback; False after `timeout` seconds."""
        raise NotImplementedError

    def settle(self, pool: Pool) -> None:
        """Sees a pool that was told to close through it, where that can be waited for."""
        if self.thread != threading.get_ident():
            self.submitted()
            pool.wait_closed(5.0)
        elif not self.polling:
            while not pool.closed:
                self.poll(0.05)

    def drain(self, seconds: float) -> None:
        """Ends every task, with its callbacks, and closes the connections."""
        for pool in list(self.pools):
            pool.close()
        limit = monotonic() + seconds
        while self.engine.tasks and monotonic() < limit:
            try:
                self.poll(0.05)
            except Exception:
                log.exception("while the tasks of an engine were ended")

    def refuse_inside(self) -> None:
        """A wait inside a callback would wait for itself."""
        if self.polling and self.thread == threading.get_ident():
            raise RuntimeError(
                "result() can't wait inside a callback: the callback holds up the engine"
            )


class ThreadDriver(Driver):
    """Driven by `run()` while that is under way, else by a background thread."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.background: threading.Thread | None = None
        self.running = False  # inside run()
        self.leaving = False  # the background thread must go
        _thread_drivers.add(self)

    def submitted(self) -> None:
        """Starts the background thread where nobody drives."""
        if self.background is None and not self.running:
            self.start()

    def start(self) -> None:
        """Starts the background thread unless it, or `run()`, is there already."""
        with self.lock:
            if self.background is not None or self.running:
                return
            self.leaving = _exiting
            self.background = threading.Thread(target=self.drive, name="ftnet", daemon=False)
            self.background.start()

    def drive(self) -> None:
        """The background thread: drives until told to leave and, at exit, nothing is open."""
        self.thread = threading.get_ident()
        while not self.may_leave():
            try:
                self.poll()
            except BaseException:
                # of a callback (sys.exit() in it, say): the other tasks go on
                log.exception("in a callback")

    def may_leave(self) -> bool:
        """Whether the background thread may end; then nobody drives any more."""
        with self.lock:
            if self.leaving and (self.running or not self.engine.tasks):
                self.background = self.thread = None
                return True
        return False

    def take_over(self) -> bool:
        """Makes the calling thread the one that drives; False when another runs `run()`."""
        with self.lock:
            if self.running:
                return False
            self.running = self.leaving = True
            thread = self.background
        if thread is not None:
            self.engine.wake()
            thread.join()
        self.thread = threading.get_ident()
        return True

    def hand_back(self) -> None:
        """The end of `run()`."""
        with self.lock:
            self.thread = None
            self.running = self.leaving = False
        if self.engine.tasks:
            self.start()

    def wait(self, task: Task[Any], timeout: float | None) -> bool:
        """Blocks until the task has ended; drives the engine where that is this thread's part."""
        self.refuse_inside()
        if self.thread != threading.get_ident():
            self.submitted()
            return task.block(timeout)
        return self.poll_until(task.done, timeout)

    def wait_for(self, event: threading.Event, timeout: float | None) -> bool:
        """Blocks until the event is set; drives the engine where that is this thread's part."""
        self.refuse_inside()
        if self.thread != threading.get_ident():
            self.submitted()
            return event.wait(timeout)
        return self.poll_until(event.is_set, timeout)

    def poll_until(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Drives until `done`; False when `timeout` seconds have gone by."""
        limit = inf if timeout is None else monotonic() + timeout
        while not done():
            left = limit - monotonic()
            if left <= 0:
                return False
            self.poll(min(left, _SIGNALS_EVERY))
        return True


class LoopDriver(Driver):
    """Driven by an asyncio (or uvloop) loop that watches the engine's descriptor."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop: asyncio.AbstractEventLoop = loop
        self.thread = threading.get_ident()
        loop.add_reader(self.engine.fileno(), self.turn)
        self.engine.rest()

    def turn(self) -> None:
        """The descriptor is readable."""
        self.thread = threading.get_ident()
        try:
            self.poll(0)
        finally:
            if not self.engine.closed:
                self.engine.rest()

    def wait(self, task: Task[Any], timeout: float | None) -> bool:
        """Blocks a thread that is not the loop's."""
        if self.thread == threading.get_ident():
            raise RuntimeError("result() would block the event loop; use 'await task'")
        return task.block(timeout)

    def wait_for(self, event: threading.Event, timeout: float | None) -> bool:
        """Blocks a thread that is not the loop's."""
        if self.thread == threading.get_ident():
            raise RuntimeError("waiting would block the event loop; use 'await'")
        return event.wait(timeout)


_by_loop: dict[int, LoopDriver] = {}
_thread_drivers: weakref.WeakSet[ThreadDriver] = weakref.WeakSet()


class _Local(threading.local):
    """What belongs to a thread: the driver that `run()` drives in it, and one of its own."""

    driver: ThreadDriver | None = None
    own: ThreadDriver | None = None


_local = _Local()
_exiting = False
_lock = threading.Lock()
_background: ThreadDriver | None = None


def background() -> ThreadDriver:
    """The process's driver for calls outside of loops."""
    global _background
    if _background is None:
        with _lock:
            if _background is None:
                _background = ThreadDriver()
    return _background


def current() -> Driver:
    """The driver that a call made here and now belongs to."""
    if "asyncio.events" in modules:
        loop = modules["asyncio.events"]._get_running_loop()
        if loop is not None:
            driver = _by_loop.get(id(loop))
            return driver if driver is not None and driver.loop is loop else _new_loop(loop)
    return _local.driver or _background or background()


def _new_loop(loop: asyncio.AbstractEventLoop) -> LoopDriver:
    _sweep()
    driver = _by_loop[id(loop)] = LoopDriver(loop)
    return driver


def _sweep() -> None:
    """Ends what belongs to loops that were closed under their tasks; callbacks run here."""
    for key, driver in list(_by_loop.items()):
        if driver.loop.is_closed():
            del _by_loop[key]
            driver.drain(1.0)
            if not driver.engine.tasks:
                driver.engine.close()


def run(main: Callable[..., T] | None = None, *args: Any) -> T | None:
    """Calls ``main(*args)``, if given, and drives the engine until no task is open.

    Everything happens in the calling thread, callbacks included: the fastest way to drive, since
    no other thread takes turns with the interpreter. Tasks that callbacks start are waited for
    too, and so are tasks started before, outside of asyncio. Two threads may each be inside
    `run()`; each drives its own engine. Returns what `main` returned. When `main`, a signal
    handler (Ctrl-C) or a callback's SystemExit ends it early, the open tasks fail, their
    callbacks are called, and the exception goes on.

    Raises RuntimeError inside a callback, inside another `run()` and inside an asyncio loop.
    """
    driver = _driver_to_run()
    _local.driver = driver
    try:
        try:
            value = main(*args) if main is not None else None
            while driver.engine.tasks:
                driver.poll(_SIGNALS_EVERY)
            return value
        except BaseException:
            driver.drain(1.0)
            raise
    finally:
        _local.driver = None
        driver.hand_back()


@contextmanager
def driving() -> Iterator[ThreadDriver]:
    """A driver of its own for a thread that polls it by itself, for whatever is begun there.

    At the end what is still open is ended, with its callbacks.
    """
    driver = ThreadDriver()
    driver.take_over()
    _local.driver = driver
    try:
        yield driver
    finally:
        driver.drain(1.0)
        _local.driver = None
        if not driver.engine.tasks:
            driver.engine.close()


def _driver_to_run() -> ThreadDriver:
    events = sys.modules.get("asyncio.events")
    if events is not None and events._get_running_loop() is not None:
        raise RuntimeError("run() can't be used inside an asyncio loop: it would block it")
    driver = background()
    if _local.driver is not None or driver.thread == threading.get_ident():
        raise RuntimeError("run() is already driving the engine in this thread")
    if driver.take_over():
        return driver
    own = _local.own
    if own is None:
        own = _local.own = ThreadDriver()
    own.take_over()
    return own


def _at_exit() -> None:
    """The interpreter is about to end: the background thread leaves when its tasks are over.

    After an unhandled Ctrl-C nobody wants to wait: then the tasks are ended.
    """
    global _exiting
    _exiting = True
    _sweep()
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    for driver in list(_thread_drivers):
        if interrupted:
            for pool in list(driver.pools):
                pool.close()
        with driver.lock:
            driver.leaving = True
        driver.engine.wake()


def _after_fork() -> None:
    """The child starts afresh; the engines' own hook has left the parent's sockets alone."""
    global _background, _lock, _local
    _by_loop.clear()
    _thread_drivers.clear()
    _background = None
    _lock = threading.Lock()
    _local = _Local()


os.register_at_fork(after_in_child=_after_fork)
# Runs before the interpreter waits for threads that are no daemons (3.9+; concurrent.futures
# stands on it too).
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
