"""`connectSocket` and the socket functions: options → WebSocket, and its events to listeners."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from ftcore.buffers import Chunk
from ftcore.engine import Call
from ftcore.profile import Phases
from ftcore.websocket import MESSAGE_OVERHEAD, WebSocket
from ftnet.dispatch import log
from ftnet.errors import Cause, Errno, FtError, from_engine, one_line
from ftnet.events import EMITTER_SLOTS, Emitter
from ftnet.handshake import HandshakeError, Opening, opening, shown_body
from ftnet.header import header_lines
from ftnet.http import pool_here
from ftnet.options import CLOSE_OPTIONS, SEND_OPTIONS, SOCKET_OPTIONS, merge_options
from ftnet.profile import SocketProfile
from ftnet.results import Headers
from ftnet.tasks import Callback, call
from ftnet.url import prepare_url

if TYPE_CHECKING:
    from ftnet.client import Client
    from ftnet.dispatch import Driver

_ABORTED: Final = -1
_TOO_BIG: Final = 1009
_NOT_OPEN: Final = "SocketTask.readyState is not OPEN"


class Opened:
    """What ``onOpen`` gets: ``header`` of the server's answer, ``profile`` of the connection."""

    __slots__ = _fields_ = ("header", "profile")

    def __init__(self, header: Headers, profile: SocketProfile) -> None:
        self.header = header
        self.profile = profile


class MessageReceived:
    """What ``onMessage`` gets: ``data``, a str for text, else a read-only buffer that owns its
    memory; with ``enableChunked`` a buffer always, ``text`` whether it is of a text message and
    ``final`` whether it is the message's last piece."""

    __slots__ = ("data", "final", "text")
    _fields_ = ("data",)

    def __init__(self, data: str | Chunk, text: bool, final: bool) -> None:
        self.data = data
        self.text = text
        self.final = final


class Closed:
    """What ``onClose`` gets: ``code`` and ``reason``, as browsers report them.

    Those of the server's close frame; 1005 when that had none, 1006 when there was no such frame.
    """

    __slots__ = _fields_ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


class Done:
    """What the callbacks of a call get that has nothing to tell but that it went well."""

    __slots__ = _fields_ = ("errMsg",)

    def __init__(self, errMsg: str) -> None:
        self.errMsg = errMsg


class SocketTask(Emitter, WebSocket):
    """A WebSocket: `send`, `close`, listeners, ``await task.opened()``, ``async for``.

    Its methods may be called from any thread and inside callbacks. Events come one after the
    other; ``onClose`` is the last, once, after ``onError`` when there is one. What came before
    anybody listened for its kind is told to the first listener.
    """

    __slots__ = (
        *EMITTER_SLOTS,
        "_cancelled",
        "_client",
        "_group",
        "_message_listeners",
        "_opened",
        "_opening",
        "_unheard",
    )

    _closed: Closed | None

    CONNECTING: ClassVar[int] = 0
    OPEN: ClassVar[int] = 1
    CLOSING: ClassVar[int] = 2
    CLOSED: ClassVar[int] = 3

    def __init__(self, client: Client, driver: Driver, made: Opening) -> None:
        self._client = client  # lives as long
        self._set_up(driver)
        self._group = client.sockets
        self._opening = made
        self._message_listeners: list[Callback] | None = None
        self._unheard = 0  # bytes of messages kept for the first listener; -1: none are any more
        self._cancelled: Closed | None = None
        self._opened: Opened | None = None

    # ---- what a caller does

    @property
    def readyState(self) -> int:
        """0 CONNECTING, 1 OPEN, 2 CLOSING, 3 CLOSED."""
        if self._closed is not None:
            return self.CLOSED
        if self.closing or self._cancelled is not None:
            return self.CLOSING
        return self.CONNECTING if self._opened is None else self.OPEN

    def send(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> None:
        """Sends a message; returns at once.

        ``data`` a str goes as text, bytes-like as binary, copied at once. ``success`` is called
        when it was handed to the kernel, ``fail`` when it can't be sent: before the socket is
        open, once it closes, and while the Client's ``max_buffered_bytes`` wait already.
        ``complete`` after either. Beyond the ft API: ``final=False`` sends a part of a message,
        and what is sent next goes on with it.

        Raises TypeError or ValueError for options that can't be.
        """
        if options is None and len(kw) == 1 and self.transmit_plain(kw.get("data")):
            return  # the shortest way
        given = merge_options("SocketTask.send", options, kw, SEND_OPTIONS)
        send_on(self, "SocketTask.send", _NOT_OPEN, given)

    def close(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> None:
        """Closes the socket behind what waits to be sent; before it is open, cancels it.

        ``code`` 1000 or 3000 to 4999 (1000); ``reason`` at most 123 bytes of UTF-8. ``onClose``
        follows when the server has answered, or has not within ``closeTimeout``. Once it closes
        or is closed, a further call changes nothing. ``success``, ``complete`` callbacks.

        Raises TypeError or ValueError for a wrong code or reason.
        """
        given = merge_options("SocketTask.close", options, kw, CLOSE_OPTIONS)
        self.shut("SocketTask.close", given)

    def shut(self, api: str, given: Mapping[str, Any]) -> None:
        """`close` with options that were checked, by the name of the function that was called."""
        code, reason = given["code"], given["reason"]
        if self.readyState == self.CONNECTING:
            self._cancelled = Closed(code, reason)
            self.abort()
        else:
            self.farewell(code, reason.encode())
        callbacks = callbacks_of(api, given)
        if callbacks is not None:
            self._soon(callbacks.done)

    async def opened(self) -> Opened:
        """Waits until the socket is open; raises `FtError` when it can't be opened."""
        while self._opened is None and self._closed is None:
            await self._wait("open")
        return self._outcome()

    def wait_opened(self, timeout: float | None = None) -> Opened:
        """As `opened`, blocking this thread; TimeoutError after `timeout` seconds."""
        if self._opened is None and self._closed is None:
            self._block("open", timeout)
        return self._outcome()

    def _outcome(self) -> Opened:
        if self._opened is not None:
            return self._opened
        raise self._failure or _failure(Errno.INTERRUPTED, "closed before it was open")

    async def closed(self) -> Closed:
        """Waits until the socket is closed."""
        while self._closed is None:
            await self._wait("close")
        return self._closed

    def wait_closed(self, timeout: float | None = None) -> Closed:
        """As `closed`, blocking this thread; TimeoutError after `timeout` seconds."""
        while self._closed is None:
            self._block("close", timeout)
        return self._closed

    def _item(self, event: MessageReceived) -> str | Chunk:
        return event.data

    # ---- listeners

    def onOpen(self, callback: Callback) -> None:
        """Calls `callback` with ``header`` and ``profile`` when the socket is open."""
        self._listen("open", callback, "onOpen")

    def offOpen(self, callback: Callback | None = None) -> None:
        """Removes one listener, or all of them."""
        self._forget("open", callback)

    def onMessage(self, callback: Callback) -> None:
        """Calls `callback` with ``data`` for each message: a str for text, else a buffer."""
        self._message_listeners = self._listen("message", callback, "onMessage")

    def onClose(self, callback: Callback) -> None:
        """Calls `callback` with ``code`` and ``reason``, last of all events."""
        self._listen("close", callback, "onClose")

    def _tell(self, kind: str, event: Any) -> None:
        super()._tell(kind, event)
        self._group.tell(self, kind, event)

    def _ready(self, kind: str) -> bool:
        return super()._ready(kind) or (kind == "open" and self._opened is not None)

    # ---- what the engine calls

    def _answered(self, status: int, head: bytes, body: bytes) -> None:
        header = Headers(head)
        try:
            deflate = self._opening.judge(status, header)
        except HandshakeError as error:
            said = shown_body(body, header) if status != 101 else ""
            reason = f"{error}: {said}" if said else str(error)
            self._failure = _failure(Errno.PROTOCOL, reason, self.phases)
            self.abort()
            return
        if deflate is None:
            self.accept()
        else:
            self.accept(
                True,
                deflate.server_bits,
                deflate.server_context,
                deflate.client_bits,
                deflate.client_context,
            )
        self._opened = Opened(header, SocketProfile(self.phases))
        self._wake("open")
        self._tell("open", self._opened)

    def _message(self, data: str | Chunk, text: bool, first: bool, last: bool) -> bool:
        """True: it is kept for the loop, which says when it is `consumed`."""
        event = MessageReceived(data, text, last)
        listeners = self._message_listeners if "message" not in self._early else None
        kept = self._backlog is not None and self._keep_for_loop(data, _length(data))
        if listeners is None and not kept:
            self._keep_for_first(event, self._keep_early)
            if "message" in self._listeners:  # added meanwhile, in another thread
                self._tell_early("message")
        if listeners:
            for callback in tuple(listeners):
                call(callback, event)
        group = self._group
        if group.message is not None:
            group.tell(self, "message", event)
        return kept

    def _keep_early(self, event: MessageReceived) -> None:
        """Nobody listens yet; when nobody does for long, the messages are for nobody."""
        heard = self._group.message is not None and self._group.bound() is self
        if self._unheard < 0 or heard:
            return
        limit = self._client.max_buffered
        self._unheard += _length(event.data) + MESSAGE_OVERHEAD
        if limit is not None and self._unheard > limit:
            self._early.pop("message", None)
            self._unheard = -1
            log.warning("connectSocket: nobody listens for messages: they are dropped from now on")
        else:
            self._early.setdefault("message", deque()).append(event)

    def _sent(self, waiter: Callbacks) -> None:
        waiter.done()

    def _drained(self) -> None:
        self._wake("drain")

    def _ended(
        self,
        outcome: int,
        code: int,
        reason: str,
        why: str | None,
        fault: int,
        phases: Phases,
        os_errno: int,
        detail: str,
        waiters: list[Callbacks],
    ) -> None:
        for waiter in waiters:
            waiter.failed(Errno.INTERRUPTED, "the socket was closed first")
        closed = Closed(code, reason)
        if self._cancelled is not None and self._failure is None:
            closed = self._cancelled
        elif self._failure is None and why is not None:
            wrong = fault or self._opened is None  # what the server said, not that it is silent
            kind = Errno.PROTOCOL if wrong else Errno.INTERRUPTED
            kind = Errno.INVALID_DATA if fault == _TOO_BIG else kind
            told = f"{why} (closed with {fault})" if fault else why
            self._failure = _failure(kind, told, phases)
        elif self._failure is None and outcome:
            profile = SocketProfile(phases)
            self._failure = from_engine("connectSocket", outcome, os_errno, detail, profile)
        if self._failure is not None:
            self._tell("error", self._failure)
        self._closed = closed
        self._group.leave(self, closed)
        self._tell("close", closed)
        self._wake("open", "close", "drain", "message")


def _length(data: str | Chunk) -> int:
    """Bytes of a message on the wire, decompressed."""
    if isinstance(data, str) and not data.isascii():
        return len(data.encode())
    return len(data)


def _failure(kind: Errno, reason: str, phases: Phases | None = None) -> FtError:
    reason = one_line(reason)
    cause = Cause(0, "FT_WEBSOCKET", reason, 0)
    profile = None if phases is None else SocketProfile(phases)
    return FtError(f"connectSocket:fail {reason}", kind, cause, profile)


class Callbacks(NamedTuple):
    """``success``, ``fail`` and ``complete`` of a call that has no task."""

    api: str
    success: Callback | None
    on_fail: Callback | None
    complete: Callback | None

    def done(self) -> None:
        self._finish(self.success, Done(f"{self.api}:ok"))

    def failed(self, kind: Errno, reason: str) -> None:
        self._finish(self.on_fail, FtError(f"{self.api}:fail {reason}", kind))

    def _finish(self, callback: Callback | None, outcome: object) -> None:
        if callback is not None:
            call(callback, outcome)
        if self.complete is not None:
            call(self.complete, outcome)


def callbacks_of(api: str, given: Mapping[str, Any]) -> Callbacks | None:
    """None when there are none."""
    three = given["success"], given["fail"], given["complete"]
    return None if three == (None, None, None) else Callbacks(api, *three)


def send_on(task: SocketTask, api: str, unready: str, given: Mapping[str, Any]) -> None:
    """Sends on a socket, or tells why it can't be."""
    callbacks = callbacks_of(api, given)
    limit = task._client.max_buffered
    if task._opened is None or task.closing:
        kind, reason = Errno.INTERRUPTED, unready
    elif limit is not None and task.buffered >= limit:
        kind = Errno.TOO_MANY_TASKS
        reason = f"{task.buffered} bytes wait to be sent already"
    else:
        task.transmit(given["data"], given["final"], callbacks)
        return
    if callbacks is None or (callbacks.on_fail is None and callbacks.complete is None):
        log.warning("%s:fail %s", api, reason)
    if callbacks is not None:
        refused = callbacks
        task._soon(lambda: refused.failed(kind, reason))


def connect(client: Client, options: Mapping[str, Any] | None, kw: dict[str, Any]) -> SocketTask:
    """Checks the options, starts to connect on the engine of here and now, returns the task."""
    given = merge_options("connectSocket", options, kw, SOCKET_OPTIONS)
    url = prepare_url(given["url"], "connectSocket", ("ws", "wss"))
    lines, _ = header_lines(given["header"], "connectSocket", default_json=False)
    if any(line.lower().startswith((b"connection:", b"connection;")) for line in lines):
        raise ValueError("connectSocket: header Connection cannot be given: the engine sets it")
    made = opening(
        url, lines, client.user_agent, given["protocols"], given["perMessageDeflate"] or None
    )
    driver, pool = pool_here(client)
    task = SocketTask(client, driver, made)
    client.sockets.enter(task)
    callbacks = callbacks_of("connectSocket", given)
    if callbacks is not None:
        Call(driver.engine, callbacks.done)  # before anything can happen
    task.start(
        pool,
        made.url,
        made.request,
        tls=made.tls,
        timeout=given["timeout"] or client.timeout,
        close_timeout=given["closeTimeout"],
        ping_interval=given["pingInterval"] or 0,
        nodelay=given["tcpNoDelay"],
        pieces=given["enableChunked"],
        max_message=client.max_message,
    )
    if driver.loop is None:
        driver.submitted()
    return task
