"""`sendSocketMessage`, `closeSocket`, `onSocket…`: functions about one of a Client's sockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ftcore.engine import Call
from ftnet.dispatch import log
from ftnet.errors import Errno
from ftnet.http import pool_here
from ftnet.options import CLOSE_OPTIONS, SEND_OPTIONS, merge_options
from ftnet.tasks import Callback, call
from ftnet.websocket import Callbacks, Closed, SocketTask, callbacks_of, send_on

if TYPE_CHECKING:
    from ftnet.client import Client

_NOT_CONNECTED: Final = "WebSocket is not connected"


class Sockets:
    """The sockets of a Client, and the one that the global functions are about: the earliest that
    is not closed. Each of its four slots holds one listener."""

    def __init__(self) -> None:
        self._tasks: list[SocketTask] = []
        self.open: Callback | None = None
        self.message: Callback | None = None
        self.error: Callback | None = None
        self.close: Callback | None = None

    def enter(self, task: SocketTask) -> None:
        """A socket that is not closed."""
        self._tasks.append(task)

    def leave(self, task: SocketTask, event: Closed) -> None:
        """The socket is closed; the global functions move on to the next one."""
        bound = self.bound() is task
        if task in self._tasks:
            self._tasks.remove(task)
        if bound and self.close is not None:
            call(self.close, event)

    def bound(self) -> SocketTask | None:
        """The socket that the global functions are about."""
        return self._tasks[0] if self._tasks else None

    def tell(self, task: SocketTask, kind: str, event: Any) -> None:
        """An event of a socket to the global listener of its kind."""
        if kind != "close" and self.bound() is task:
            callback: Callback | None = getattr(self, kind)
            if callback is not None:
                call(callback, event)

    def set(self, kind: str, callback: Callback, method: str) -> None:
        """Fills a slot; what was in it before is told nothing more."""
        if not callable(callback):
            raise TypeError(f"{method} takes a callable, got {callback!r}")
        setattr(self, kind, callback)


def _without_socket(client: Client, callbacks: Callbacks | None, api: str) -> None:
    """There is none that the call could be about."""
    if callbacks is None or (callbacks.on_fail is None and callbacks.complete is None):
        log.warning("%s:fail %s", api, _NOT_CONNECTED)
    if callbacks is not None:
        refused = callbacks
        driver, _ = pool_here(client)
        Call(driver.engine, lambda: refused.failed(Errno.INTERRUPTED, _NOT_CONNECTED))
        if driver.loop is None:
            driver.submitted()


def send_message(client: Client, options: Mapping[str, Any] | None, kw: dict[str, Any]) -> None:
    """`SocketTask.send` of the socket that the global functions are about."""
    given = merge_options("sendSocketMessage", options, kw, SEND_OPTIONS)
    task = client.sockets.bound()
    if task is None:
        _without_socket(client, callbacks_of("sendSocketMessage", given), "sendSocketMessage")
    else:
        send_on(task, "sendSocketMessage", _NOT_CONNECTED, given)


def close_socket(client: Client, options: Mapping[str, Any] | None, kw: dict[str, Any]) -> None:
    """`SocketTask.close` of the socket that the global functions are about, once it is open."""
    given = merge_options("closeSocket", options, kw, CLOSE_OPTIONS)
    task = client.sockets.bound()
    if task is None or task.readyState != SocketTask.OPEN:
        _without_socket(client, callbacks_of("closeSocket", given), "closeSocket")
    else:
        task.shut("closeSocket", given)
