"""Events of a socket: its listeners, what is kept for the first of them, waiting, loops."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ftcore.engine import Call
from ftnet.http import added
from ftnet.tasks import Callback, call_all, remove, wake

if TYPE_CHECKING:
    from ftnet.dispatch import Driver
    from ftnet.errors import FtError

#: What the class that is a face of an engine's socket has in its ``__slots__`` for `Emitter`.
EMITTER_SLOTS: Final = (
    "_backlog",
    "_closed",
    "_driver",
    "_early",
    "_failure",
    "_listeners",
    "_waiters",
)
_starting = threading.Lock()


class Emitter:
    """Mixed into a face of an engine's socket: events by kind, to whoever wants them.

    An event that nobody listens for is kept for the first listener of its kind. ``message`` is
    also what a loop gets, and ``close`` the last event.
    """

    if not TYPE_CHECKING:
        __slots__ = ()  # the face has them, as `EMITTER_SLOTS`

    _backlog: deque[tuple[Any, int]] | None  # for `async for`; with a message's bytes, or -1
    _closed: Any  # what ``close`` was told, None before
    _driver: Driver
    _early: dict[str, deque[Any]]  # what came before its first listener
    _failure: FtError | None  # what a loop raises at the end
    _listeners: dict[str, list[Callback]]
    _waiters: list[tuple[str, Any]]

    if TYPE_CHECKING:
        # the engine's

        buffered: int  # bytes that wait to be sent

        def consumed(self, length: int) -> None:
            """A message that was kept waits no more."""

        def want_drained(self) -> None:
            """Whoever waits for "drain" is to be woken when nothing waits to be sent."""

    def _set_up(self, driver: Driver) -> None:
        self._backlog = None
        self._closed = None
        self._driver = driver
        self._early = {}
        self._failure = None
        self._listeners = {}
        self._waiters = []

    # ---- listeners

    def offMessage(self, callback: Callback | None = None) -> None:
        """Removes one listener, or all of them."""
        self._forget("message", callback)

    def onError(self, callback: Callback) -> None:
        """Calls `callback` with an `FtError`: ``errMsg``, and what the kind of socket adds."""
        self._listen("error", callback, "onError")

    def offError(self, callback: Callback | None = None) -> None:
        """Removes one listener, or all of them."""
        self._forget("error", callback)

    def onClose(self, callback: Callback) -> None:
        """Calls `callback` when the socket is completely closed, last of all events."""
        self._listen("close", callback, "onClose")

    def offClose(self, callback: Callback | None = None) -> None:
        """Removes one listener, or all of them."""
        self._forget("close", callback)

    def _listen(self, kind: str, callback: Callback, method: str) -> list[Callback]:
        listeners = added(self._listeners.get(kind), callback, method)
        self._listeners[kind] = listeners
        if kind in self._early:
            self._soon(lambda: self._tell_early(kind))
        return listeners

    def _forget(self, kind: str, callback: Callback | None) -> None:
        remove(self._listeners.get(kind), callback)

    def _tell(self, kind: str, event: Any) -> None:
        listeners = self._listeners.get(kind)
        if listeners is None or kind in self._early:
            self._early.setdefault(kind, deque()).append(event)
            if kind in self._listeners:  # added meanwhile, in another thread
                self._tell_early(kind)
        else:
            call_all(listeners, event)

    def _tell_early(self, kind: str) -> None:
        early = self._early.get(kind, deque())
        while early:
            call_all(self._listeners[kind], early.popleft())
        self._early.pop(kind, None)

    def _soon(self, function: Any) -> None:
        """Calls `function` in the thread that callbacks run in."""
        Call(self._driver.engine, function)
        if self._driver.loop is None:
            self._driver.submitted()

    # ---- loops

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Messages until the socket is closed; raises `FtError` where ``onError`` is called.

        A loop that is slow slows the server down: no more than ``max_buffered_bytes`` wait.
        """
        backlog = self._iterated()
        while True:
            if backlog:
                item, length = backlog.popleft()
                if length >= 0:
                    self.consumed(length)
                yield item
            elif self._over():
                if self._failure is not None:
                    raise self._failure
                return
            else:
                await self._wait("message")

    def _iterated(self) -> deque[tuple[Any, int]]:
        with _starting:
            if self._backlog is None:
                early = self._early.pop("message", ())
                self._backlog = deque((self._item(event), self._counts(event)) for event in early)
            return self._backlog

    def _item(self, event: Any) -> Any:
        """What a loop gets of an event."""
        return event

    def _counts(self, event: Any) -> int:
        """Bytes that a message which is kept for the first listener counts for; -1: none."""
        return -1

    def _over(self) -> bool:
        """Whether no message will come any more."""
        return self._is_done()

    def _keep_for_loop(self, item: Any, length: int) -> bool:
        """Whether there is a loop; then what it gets counts as waiting until `consumed`."""
        if self._backlog is None:
            return False
        self._backlog.append((item, length))
        if self._waiters:
            self._wake("message")
        return True

    def _keep_for_first(self, event: Any, keep: Any) -> None:
        """`keep` is called with a message that nobody listens for, unless a loop has begun
        meanwhile in another thread."""
        with _starting:
            if not self._keep_for_loop(self._item(event), self._counts(event)):
                keep(event)

    # ---- waiting

    @property
    def bufferedAmount(self) -> int:
        """Bytes that wait to be sent: of WebSockets as they go, compressed; of datagrams those
        included that wait for a look-up."""
        return self.buffered

    async def drained(self) -> None:
        """Waits until nothing waits to be sent, or the socket is closed."""
        while self.buffered and not self._is_done():
            self.want_drained()
            await self._wait("drain")

    def wait_drained(self, timeout: float | None = None) -> None:
        """As `drained`, blocking this thread; TimeoutError after `timeout` seconds."""
        if self.buffered and not self._is_done():
            self.want_drained()
            self._block("drain", timeout)

    def _is_done(self) -> bool:
        """Whether nothing will happen any more."""
        return self._closed is not None

    def _ready(self, kind: str) -> bool:
        """Whether what is waited for has come meanwhile; the face adds its own kinds."""
        return (
            self._is_done()
            or (kind == "message" and (bool(self._backlog) or self._over()))
            or (kind == "drain" and not self.buffered)
        )

    async def _wait(self, kind: str) -> None:
        import asyncio

        future = asyncio.get_running_loop().create_future()
        waiter = (kind, future)
        self._waiters.append(waiter)
        if self._ready(kind):
            wake(future)
        try:
            await future
        finally:
            self._wait_no_more(waiter)

    def _block(self, kind: str, timeout: float | None) -> None:
        event = threading.Event()
        waiter = (kind, event)
        self._waiters.append(waiter)
        if self._ready(kind):
            event.set()
        try:
            if not self._driver.wait_for(event, timeout):
                raise TimeoutError(f"not there after {timeout} s")
        finally:
            self._wait_no_more(waiter)

    def _wake(self, *kinds: str) -> None:
        for waiter in [w for w in self._waiters if w[0] in kinds]:
            self._wait_no_more(waiter)
            wake(waiter[1])

    def _wait_no_more(self, waiter: tuple[str, Any]) -> None:
        with suppress(ValueError):  # who wakes and who waits may both be at it
            self._waiters.remove(waiter)


class Endpoint:
    """One end of a connection, or of a datagram's way: ``address``, ``family`` "IPv4" or "IPv6",
    ``port``, and ``size``: the bytes of the message it comes with, 0 without one."""

    __slots__ = _fields_ = ("address", "family", "port", "size")

    def __init__(self, address: str, family: str, port: int, size: int = 0) -> None:
        self.address = address
        self.family = family
        self.port = port
        self.size = size
