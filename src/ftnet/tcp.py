"""`createTCPSocket`: options → TCP, and its events to listeners."""

from __future__ import annotations

import errno as os_errors
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ftcore.buffers import Chunk
from ftcore.engine import Call
from ftcore.profile import Phases
from ftcore.tcp import TCP
from ftnet import dispatch
from ftnet.address import FAMILY_NAMES, host_of, port_of
from ftnet.dispatch import log
from ftnet.errors import Errno, FtError, from_engine, socket_error, with_code
from ftnet.events import EMITTER_SLOTS, Emitter, Endpoint
from ftnet.http import pool_here
from ftnet.options import merge_options, shown
from ftnet.profile import SocketProfile
from ftnet.tasks import Callback, call_all
from ftnet.tcp_options import TCP_CONNECT_OPTIONS, TCP_OPTIONS

if TYPE_CHECKING:
    from ftnet.client import Client
    from ftnet.policy import Refusal

_API: Final = "TCPSocket"
_CLOSED: Final = -10
_NO_MEMORY: Final = -9
_TIMEOUT: Final = -2
_BIND: Final = 45  # libcurl's code for a local address or port that can't be had
_ERRORS_KEPT: Final = 16  # of those that nobody listens for
_NEW, _CONNECTING, _OPEN, _CLOSED_FOR_GOOD = range(4)

Ends = tuple[str, int, int]  # address, port, family


class TCPConnected:
    """What ``onConnect`` gets: `Endpoint` ``localInfo`` and ``remoteInfo``, `SocketProfile`
    ``profile``."""

    __slots__ = _fields_ = ("localInfo", "profile", "remoteInfo")

    def __init__(self, localInfo: Endpoint, remoteInfo: Endpoint, profile: SocketProfile) -> None:
        self.localInfo = localInfo
        self.remoteInfo = remoteInfo
        self.profile = profile


class TCPMessage(msgspec.Struct, gc=False, eq=False):
    """What ``onMessage`` gets: ``message``, a read-only buffer that owns its memory, of what the
    network delivered at once; the `Endpoint` ``remoteInfo``, with the message's size, and
    ``localInfo``."""

    message: Chunk
    _ends: tuple[Ends, Ends]

    @property
    def remoteInfo(self) -> Endpoint:
        """The peer's address, family, port, and the bytes of this message."""
        return _endpoint(self._ends[1], len(self.message))

    @property
    def localInfo(self) -> Endpoint:
        """This end's address, family and port."""
        return _endpoint(self._ends[0])


TCPMessage._fields_ = ("message", "remoteInfo", "localInfo")  # type: ignore[attr-defined]


class TCPClosed:
    """What ``onClose`` gets: ``error``, what ``onError`` was told just before, or None."""

    __slots__ = _fields_ = ("error",)

    def __init__(self, error: FtError | None) -> None:
        self.error = error


def _endpoint(end: Ends, size: int = 0) -> Endpoint:
    return Endpoint(end[0], FAMILY_NAMES[end[2]], end[1], size)


class TCPSocket(Emitter, TCP):
    """A TCP socket: `connect`, `write`, `close`, listeners, ``await socket.connected()``,
    ``async for chunk in socket``.

    Its methods may be called from any thread and inside callbacks. Events come one after the
    other; ``onClose`` is the last of a connection, once, after ``onError`` when it broke. What
    came before anybody listened for its kind is told to the first listener. While it is open it
    needs no reference to stay alive.

    What goes wrong is an ``onError`` event, with an `FtError`: its ``errCode`` is one of the ft
    API's, -1 system, -2 socket, -3 not permitted, -4 not connected, 1 invalid address, 2 invalid
    port. After a failure to connect there is no ``onClose``, and `connect` may be called again;
    after ``onClose`` it may not.
    Source: https://super-apps.ai/mop/document/en/develop/api/network.html#tcpsocket
    """

    __slots__ = (
        *EMITTER_SLOTS,
        "_api",
        "_client",
        "_ends",
        "_family",
        "_half_open",
        "_message_listeners",
        "_opened",
        "_peer_gone",
        "_refused",
        "_state",
    )

    _closed: TCPClosed | None

    def __init__(self, client: Client, given: Mapping[str, Any], refused: Refusal | None) -> None:
        self._client = client  # lives as long
        self._set_up(dispatch.current())
        self._family: int = {"ipv4": 4, "ipv6": 6, "any": 0}[given["type"]]
        self._half_open: bool = given["allowHalfOpen"]
        self._refused = refused  # by the policy: it never connects
        self._state = _NEW
        self._ends: tuple[Ends, Ends] = (("", 0, 0), ("", 0, 0))
        self._message_listeners: list[Callback] | None = None
        self._opened: TCPConnected | None = None
        self._peer_gone = False

    # ---- what a caller does

    def connect(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> None:
        """Connects; returns at once. ``onConnect`` follows, or ``onError``.

        ``address`` host name or IP address (a numeric one may be of either family); ``port``
        1 to 65535; ``timeout`` **seconds** for the look-up, TCP and TLS together (2).

        Beyond the ft API: ``tls`` True speaks TLS, with the Client's settings; ``serverName`` is
        the name its certificate must have (the address). ``noDelay`` False leaves Nagle's
        algorithm on (the Client's ``tcp_nodelay``). ``keepAlive`` idle seconds before a probe
        (the Client's ``tcp_keepalive``). ``localAddress``, ``localPort`` to connect from.
        ``closeTimeout`` seconds that `close` waits for the peer to take another byte (10).
        A peer that ends TLS without saying so (close_notify) is an error: what came before may be
        cut short (RFC 8446 6.1).

        The socket goes there directly, whatever proxies the environment or the Client name. A
        wrong address or port, a socket that connects or is connected already, and one that was
        closed, are ``onError`` events. Raises TypeError or ValueError for any other option that
        can't be.
        """
        given = merge_options(f"{_API}.connect", options, kw, TCP_CONNECT_OPTIONS)
        if given["serverName"] is not None and not given["tls"]:
            raise ValueError(f"{_API}.connect: serverName goes with tls=True")
        if self._state == _CLOSED_FOR_GOOD:
            self._refuse("connect", "the socket is closed", os_errors.EBADF)
        elif self._state != _NEW:
            number = os_errors.EISCONN if self._state == _OPEN else os_errors.EALREADY
            self._refuse("connect", "", number)
        else:
            self._connect(given)

    def _connect(self, given: Mapping[str, Any]) -> None:
        policy = self._client.policy
        try:
            host, family = host_of(given["address"])
        except ValueError as error:
            self._cannot_connect(Errno.SOCKET_ADDRESS, str(error))
            return
        try:
            port = port_of(given["port"])
        except ValueError as error:
            self._cannot_connect(Errno.SOCKET_PORT, str(error))
            return
        refused = self._refused
        if refused is None and policy is not None:
            refused = policy.check(host, port)
        if refused is not None:
            self._cannot_connect(refused.code, refused.reason)
            return
        place = f"[{host.replace('%', '%25')}]" if family == 6 else host
        name = given["serverName"] or place
        source, noDelay = given["localAddress"], given["noDelay"]
        self._begin(
            f"http{'s' if given['tls'] else ''}://{name}:{port}/".encode(),
            timeout=given["timeout"] * 1000,
            leave_timeout=given["closeTimeout"] * 1000,
            tls=given["tls"],
            nodelay=self._client.nodelay if noDelay is None else noDelay,
            family=0 if family else self._family,
            keepalive=0 if given["keepAlive"] is None else max(1, round(given["keepAlive"])),
            interface=None if source is None else f"host!{source}".encode(),
            local_port=given["localPort"] or 0,
            instead=None if name is place else f"::{place}:{port}".encode(),
        )

    def _begin(self, url: bytes, **asked: Any) -> None:
        driver, pool = pool_here(self._client)
        before = self._driver
        self._driver = driver
        self._failure = None
        self._state = _CONNECTING
        try:
            self.start(pool, url, **asked)
        except BlockingIOError:  # a command of the attempt before is on its way
            Call(before.engine, lambda: self._begin_now(url, asked))
            return
        except BaseException:
            self._state = _NEW
            raise
        if "drain" in self._listeners:
            self.want_drains()
        if driver.loop is None:
            driver.submitted()

    def _begin_now(self, url: bytes, asked: dict[str, Any]) -> None:
        if self._state == _CONNECTING:
            self._begin(url, **asked)

    def _wrong(self, data: Any, error: Exception) -> None:
        """`write` was given what is no data."""
        if isinstance(error, BufferError):
            raise ValueError(f"{_API}.write: data must be contiguous; pass bytes(data)") from None
        takes = "a str, bytes-like, or a list or tuple of them"
        raise TypeError(f"{_API}.write: data must be {takes}, got {shown(data)}") from None

    def _unwritten(self, data: Any) -> None:
        """What is not written must be data all the same; then it is an event."""
        for part in data if isinstance(data, (list, tuple)) else (data,):
            if not isinstance(part, (str, bytes)):
                try:
                    memoryview(part)
                except TypeError as error:
                    self._wrong(data, error)
        self._refuse("write", *self._why_not())

    def _why_not(self) -> tuple[str, int]:
        if self._state == _CLOSED_FOR_GOOD or self.leaving:
            return "the socket is closed", os_errors.ENOTCONN
        if not self.established:
            return "the socket is not connected", os_errors.ENOTCONN
        if self._peer_gone:
            return "the peer has ended the connection", os_errors.EPIPE
        if self.ending:
            return "nothing can be sent after end()", os_errors.EPIPE
        return f"{self.buffered} bytes wait to be sent already", os_errors.ENOBUFS

    def end(self) -> None:
        """Tells the peer, behind what waits to be sent, that nothing more will come (FIN; over
        TLS a close_notify before it). Receiving goes on until the peer ends its side, too: then
        the socket is closed. Before it is connected, and twice, it does nothing."""
        if self.established:
            super().end()
            if self._peer_gone:
                self.leave()

    def close(self) -> None:
        """Closes the socket behind what waits to be sent; before it is connected, gives up.

        What comes in after the call is dropped, no ``onMessage`` any more. ``onClose`` follows,
        once: when the peer has ended its side, too, or a second after everything went; when the
        peer takes nothing for ``closeTimeout``, ``onError`` before it. Further calls do nothing;
        before `connect`, nothing happens either.
        """
        if self._state == _CONNECTING and (self.engine is None or self.finished):
            self._state = _CLOSED_FOR_GOOD  # the attempt has not begun
            self._soon(self._settle)
        elif self._state in (_CONNECTING, _OPEN):
            self.leave()

    def abort(self) -> None:
        """Closes the socket now: what waits to be sent is not, and ``onClose`` follows."""
        if self._state == _CONNECTING and (self.engine is None or self.finished):
            self.close()
        elif self._state in (_CONNECTING, _OPEN):
            super().abort()

    @property
    def localInfo(self) -> Endpoint | None:
        """This end of the connection; None before there is one."""
        return None if self._opened is None else self._opened.localInfo

    @property
    def remoteInfo(self) -> Endpoint | None:
        """The other end of the connection; None before there is one."""
        return None if self._opened is None else self._opened.remoteInfo

    # ---- waiting

    async def connected(self) -> TCPConnected:
        """Waits until the socket is connected; raises the `FtError` when it can't be."""
        while not self._is_decided():
            await self._wait("connect")
        return self._outcome()

    def wait_connected(self, timeout: float | None = None) -> TCPConnected:
        """As `connected`, blocking this thread; TimeoutError after `timeout` seconds."""
        if not self._is_decided():
            self._block("connect", timeout)
        return self._outcome()

    def _is_decided(self) -> bool:
        return self._opened is not None or self._over()

    def _outcome(self) -> TCPConnected:
        if self._opened is not None:
            return self._opened
        if self._failure is not None:
            raise self._failure
        raise socket_error(
            f"{_API}.connect", Errno.SOCKET_CONNECT, "the socket was closed before it was connected"
        )

    async def closed(self) -> TCPClosed:
        """Waits until the socket is closed; raises the `FtError` when it could not connect."""
        while not self._is_done():
            await self._wait("close")
        return self._end()

    def wait_closed(self, timeout: float | None = None) -> TCPClosed:
        """As `closed`, blocking this thread; TimeoutError after `timeout` seconds."""
        if not self._is_done():
            self._block("close", timeout)
        return self._end()

    def _is_done(self) -> bool:
        return self._closed is not None or (self._failure is not None and self._state == _NEW)

    def _end(self) -> TCPClosed:
        if self._closed is None:
            assert self._failure is not None
            raise self._failure
        return self._closed

    def __aiter__(self) -> AsyncIterator[Chunk]:
        """Chunks until the peer ends its side or the socket is closed; raises `FtError` where
        ``onError`` is called for a connection that broke or was not made.

        A loop that is slow slows the peer down: no more than ``max_buffered_bytes`` wait.
        """
        return super().__aiter__()

    def _item(self, event: TCPMessage) -> Chunk:
        return event.message

    def _counts(self, event: TCPMessage) -> int:
        return len(event.message)

    def _over(self) -> bool:
        return self._peer_gone or self._is_done()

    def _ready(self, kind: str) -> bool:
        return super()._ready(kind) or (kind == "connect" and self._is_decided())

    # ---- listeners

    def onConnect(self, callback: Callback) -> None:
        """Calls `callback` with ``localInfo``, ``remoteInfo`` and ``profile`` when the socket is
        connected."""
        self._listen("connect", callback, "onConnect")

    def offConnect(self, callback: Callback | None = None) -> None:
        """Removes one listener, or all of them."""
        self._forget("connect", callback)

    def onMessage(self, callback: Callback) -> None:
        """Calls `callback` with ``message``, ``remoteInfo`` and ``localInfo`` for the bytes that
        came at once. Until the first listener is there, the peer has to wait."""
        self._message_listeners = self._listen("message", callback, "onMessage")

    def onEnd(self, callback: Callback) -> None:
        """Calls `callback` with None when the peer has ended its side: no more messages."""
        self._listen("end", callback, "onEnd")

    def offEnd(self, callback: Callback | None = None) -> None:
        """Removes one listener, or all of them."""
        self._forget("end", callback)

    def onDrain(self, callback: Callback) -> None:
        """Calls `callback` with None when everything that had to wait was sent."""
        self._listen("drain", callback, "onDrain")
        if self._state in (_CONNECTING, _OPEN):
            self.want_drains()

    def offDrain(self, callback: Callback | None = None) -> None:
        """Removes one listener, or all of them."""
        self._forget("drain", callback)

    # ---- errors

    def _refuse(self, call: str, reason: str, os_errno: int) -> None:
        """A call that can't be carried out: an event, where callbacks run."""
        error = socket_error(f"{_API}.{call}", Errno.SOCKET_INTERFACE, reason, os_errno)
        if self._driver.engine.closed:
            self._driver = dispatch.current()
        self._soon(lambda: self._tell_error(error))

    def _cannot_connect(self, code: Errno, reason: str) -> None:
        """The end of a `connect` that has not begun."""
        error = socket_error(f"{_API}.connect", code, reason)
        self._driver = dispatch.current()
        self._failure = None
        self._state = _CONNECTING
        self._soon(lambda: self._fail(error))

    def _fail(self, error: FtError) -> None:
        """There is no connection; there may be another attempt."""
        if self._state == _CONNECTING:  # else it was closed meanwhile
            self._state = _NEW
            self._failure = error
            self._tell_error(error)
            self._wake("connect", "close", "drain", "message")

    def _tell_error(self, error: FtError) -> None:
        early = self._early.get("error")
        if early is not None and len(early) >= _ERRORS_KEPT and "error" not in self._listeners:
            log.warning("%s", error.errMsg)  # nobody listens
        else:
            self._tell("error", error)

    # ---- what the engine calls

    def _begun(self, here: Ends, there: Ends, phases: Phases) -> None:
        self._ends = here, there
        self._state = _OPEN
        self._opened = TCPConnected(_endpoint(here), _endpoint(there), SocketProfile(phases))
        self._wake("connect")
        self._tell("connect", self._opened)

    def _message(self, chunk: Chunk) -> bool:
        """True: it is kept, and counts as waiting until it is `consumed`."""
        kept = self._backlog is not None and self._keep_for_loop(chunk, len(chunk))
        listeners = self._message_listeners
        if listeners is None or self._early:
            if not kept and (listeners is None or "message" in self._early):
                return self._keep_message(TCPMessage(chunk, self._ends))
            listeners = listeners or []
        event = TCPMessage(chunk, self._ends)
        if len(listeners) == 1:  # mostly
            try:
                listeners[0](event)
            except Exception:
                log.exception("in a callback: %r", listeners[0])
        else:
            call_all(listeners, event)
        return kept

    def _keep_message(self, event: TCPMessage) -> bool:
        """Nobody listens yet: it waits, and the peer with it."""
        self._keep_for_first(event, self._early.setdefault("message", deque()).append)
        if "message" in self._listeners:  # added meanwhile, in another thread
            self._tell_early("message")
        return True

    def _tell_early(self, kind: str) -> None:
        if kind != "message":
            super()._tell_early(kind)
            return
        early = self._early.get(kind, deque())
        while early:
            event = early.popleft()
            self.consumed(len(event.message))
            call_all(self._listeners[kind], event)
        self._early.pop(kind, None)

    def _peer_ended(self) -> None:
        self._peer_gone = True
        self._tell("end", None)
        self._wake("message")
        if not self._half_open or self.ending:
            self.leave()

    def _drained(self) -> None:
        self._wake("drain")
        if "drain" in self._listeners:
            self._tell("drain", None)

    def _ended(self, outcome: int, os_errno: int, detail: str, phases: Phases, unsent: int) -> None:
        if self._opened is None and not self.leaving:
            self._not_connected(outcome, os_errno, detail, phases)
            return
        self._state = _CLOSED_FOR_GOOD
        broke = outcome > 0 or outcome in (_CLOSED, _NO_MEMORY)
        if broke and self._opened is not None:  # else it was closed before it was connected
            lost = [f"{unsent} bytes were not sent"] if unsent else []
            told = "; ".join([detail] * bool(detail) + lost)
            error = from_engine(_API, outcome, os_errno, told)
            self._failure = with_code(error, Errno.SOCKET_INTERFACE)
            self._tell_error(self._failure)
        self._settle()

    def _settle(self) -> None:
        self._closed = TCPClosed(self._failure)
        self._tell("close", self._closed)
        self._wake("connect", "close", "drain", "message")

    def _not_connected(self, outcome: int, os_errno: int, detail: str, phases: Phases) -> None:
        profile = SocketProfile(phases)
        error = from_engine(f"{_API}.connect", outcome, os_errno, detail, profile)
        bound = outcome == _BIND
        code = Errno.SOCKET_INTERFACE if bound else Errno.SOCKET_CONNECT
        self._fail(with_code(error, code))


def create(client: Client, options: Mapping[str, Any] | None, kw: dict[str, Any]) -> TCPSocket:
    """Checks the options and returns a socket that is not connected."""
    given = merge_options("createTCPSocket", options, kw, TCP_OPTIONS)
    count = getattr(client.policy, "count", None)  # a policy of one's own needs none
    refused = count(client.created) if count is not None else None
    return TCPSocket(client, given, refused)
