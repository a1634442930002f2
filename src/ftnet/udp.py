"""`createUDPSocket`: a UDPSocket's methods → the engine's socket, and its events to listeners."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ftcore.buffers import Chunk
from ftcore.udp import MOST, MULTICAST_LOOP, MULTICAST_TTL, TTL, UDP
from ftnet.address import FAMILY_NAMES, host_of, port_of
from ftnet.dispatch import log
from ftnet.errors import Errno, FtError, one_line, socket_error
from ftnet.events import EMITTER_SLOTS, Emitter, Endpoint
from ftnet.http import pool_here
from ftnet.options import DATAGRAM_OPTIONS, PEER_OPTIONS, UDP_OPTIONS, merge_options, shown
from ftnet.tasks import Callback
from ftnet.websocket import Done

if TYPE_CHECKING:
    from ftnet.client import Client

_ERRORS_KEPT: Final = 64  # for the first listener
_NAME_MOST: Final = 253  # characters of a host name
_API: Final = "UDPSocket"
_NO_WAY: Final = frozenset(
    {
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ENETDOWN,
        errno.ETIMEDOUT,
    }
)


class DatagramReceived:
    """What ``onMessage`` gets: ``message``, a read-only buffer that owns its memory, and the two
    ends of its way, ``remoteInfo`` with the ``size`` of the message, and ``localInfo``."""

    __slots__ = _fields_ = ("message", "remoteInfo", "localInfo")

    def __init__(self, message: Chunk, remote: Endpoint, local: Endpoint) -> None:
        self.message = message
        self.remoteInfo = remote
        self.localInfo = local


class UDPSocket(Emitter, UDP):
    """A UDP socket: `bind`, `send`, `connect` and `write`, listeners, ``async for``.

    IPv4 by default: that is what `bind` binds and names are looked up for. A datagram to an IPv6
    address goes from an IPv6 socket of the same port, if that is free. Its methods may be called
    from any thread and inside callbacks, and return at once: what fails is told to ``onError``,
    with an `Errno` in ``errCode`` and the system's errno in ``errNum``, and the socket goes on.
    Events come one after the other, ``onClose`` last. What came before anybody listened for its
    kind is told to the first listener.

    From its first use on it is kept alive until it is closed. Datagrams to one address keep their
    order; a host name is looked up off the loop, and is good for a minute.

    Source: https://super-apps.ai/mop/document/en/develop/api/network.html#udpsocket
    """

    __slots__ = (*EMITTER_SLOTS, "_client", "_message_listeners", "_unheard")

    _closed: Done | None

    def __init__(self, client: Client, options: Mapping[str, Any]) -> None:
        driver, pool = pool_here(client)
        UDP.__init__(self, pool, 6 if options["type"] == "udp6" else 4, options["reuseAddr"])
        self._client = client  # lives as long
        self._set_up(driver)
        self._message_listeners: list[Callback] | None = None
        self._unheard = 0  # bytes of messages kept for the first listener; -1: none are any more

    # ---- what a caller does

    def bind(self, port: int | None = None) -> int:
        """Binds the socket to a port of this host, None or 0: one that is free; returns the port.

        0, and an error event, when that can't be. A socket that is bound already, by `send` too,
        returns the port it has; with an error event when another one is asked for.
        """
        asked = 0 if port is None else port
        if isinstance(asked, bool) or not isinstance(asked, int) or not 0 <= asked <= 65535:
            self._refuse("bind", Errno.SOCKET_PORT, f"invalid port {shown(port)}")
            return 0
        try:
            got = self.bind_port(asked)
        except OSError as error:
            self._refuse_os("bind", error, f"port {asked}")
            return 0
        if asked not in (0, got):
            reason = f"it is bound to port {got}, not to {asked}"
            self._refuse("bind", Errno.SOCKET_INTERFACE, reason, errno.EINVAL)
        self._start()
        return got

    def setTTL(self, ttl: int) -> None:
        """Sets how many hops the datagrams sent from now on may take, 0 to 255 (IP_TTL).

        An error event for another value, and where the system refuses one: Linux takes no 0 for
        IPv4.
        """
        self._set("setTTL", TTL, ttl)

    def send(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> None:
        """Sends a datagram; the message is copied at once.

        ``address`` an IP address or a host name; ``port`` 1 to 65535; ``message`` a str, sent as
        UTF-8, or bytes-like; of a buffer ``offset`` (0) and ``length`` (the rest) say which bytes,
        as far as there are any. ``setBroadcast`` (False) must be True for a broadcast address.

        An error event where it can't be sent: 1 for the address, 2 for the port, -1 for offset and
        length, and while the Client's ``max_buffered_bytes`` wait already, -3 without permission,
        -2 for anything else, so for more than 65,507 bytes and when the socket is closed. Raises
        TypeError or ValueError for options that can't be.
        """
        if not self._sent_plain(options, kw, False):
            self._send("send", options, kw, False)

    def connect(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> None:
        """Connects to ``address`` and ``port``: `write` goes there, and nothing is received from
        elsewhere any more; a host that refuses datagrams is told to ``onError``.

        An error event when that can't be, as of `send`. Raises TypeError for unknown options.
        """
        given = merge_options(f"{_API}.connect", options, kw, PEER_OPTIONS)
        place = self._place("connect", given)
        if place is None:
            return
        try:
            self.connect_to(*place)
        except OSError as error:
            self._refuse_os("connect", error)
        else:
            self._start()

    def write(self, options: Mapping[str, Any] | None = None, /, **kw: Any) -> None:
        """As `send`, but a socket that is connected sends to where it is connected to.

        ``address`` and ``port`` have to be given all the same.
        """
        if not self._sent_plain(options, kw, True):
            self._send("write", options, kw, True)

    def close(self) -> None:
        """Closes the socket behind what was sent, for which it waits a second at most.

        From now on no message is told any more, and each `send` is an error event; ``onClose``
        follows. A further call changes nothing.
        """
        if self.end() == 2:
            self._soon(lambda: self._ended(0))

    # ---- beyond the ft API

    def addMembership(self, group: str, interface: str = "") -> None:
        """Joins a multicast group; at once. `interface` is a name, a number, or for IPv4 an
        address ("": the system's choice). An error event when that can't be."""
        self._member("addMembership", group, interface, True)

    def dropMembership(self, group: str, interface: str = "") -> None:
        """Leaves a multicast group that was joined on `interface`; as `addMembership`."""
        self._member("dropMembership", group, interface, False)

    def setMulticastTTL(self, ttl: int) -> None:
        """As `setTTL`, of datagrams to multicast groups (1)."""
        self._set("setMulticastTTL", MULTICAST_TTL, ttl)

    def setMulticastLoopback(self, on: bool) -> None:
        """Whether datagrams to multicast groups come back to this host (True)."""
        self._set("setMulticastLoopback", MULTICAST_LOOP, int(bool(on)))

    @property
    def localInfo(self) -> Endpoint | None:
        """Where the socket is bound; None when it is not, or is closed."""
        address, port = self.local(self.family)
        return self._local(address, port, self.family) if port else None

    async def closed(self) -> None:
        """Waits until the socket is closed."""
        while self._closed is None:
            await self._wait("close")

    def wait_closed(self, timeout: float | None = None) -> None:
        """As `closed`, blocking this thread; TimeoutError after `timeout` seconds."""
        while self._closed is None:
            self._block("close", timeout)

    # ---- listeners

    def onMessage(self, callback: Callback) -> None:
        """Calls `callback` with a `DatagramReceived` for each datagram."""
        self._message_listeners = self._listen("message", callback, "onMessage")

    def onListening(self, callback: Callback) -> None:
        """Calls `callback` when the socket is bound, by `bind` or by its first use."""
        self._listen("listening", callback, "onListening")

    def offListening(self, callback: Callback | None = None) -> None:
        """Removes one listener, or all of them."""
        self._forget("listening", callback)

    # ---- sending

    def _start(self) -> None:
        """Somebody has to drive, where that is not the loop that runs anyhow."""
        if self._driver.loop is None:
            self._driver.submitted()

    def _sent_plain(self, options: Any, kw: dict[str, Any], through: bool) -> bool:
        """The shortest way, for what goes to where the last one went."""
        given = kw if options is None else options
        if type(given) is not dict or (kw and options is not None):
            return False
        return self.transmit_plain(given, through)

    def _send(
        self, method: str, options: Mapping[str, Any] | None, kw: dict[str, Any], through: bool
    ) -> None:
        given = merge_options(f"{_API}.{method}", options, kw, DATAGRAM_OPTIONS)
        place = self._place(method, given)
        part = None if place is None else self._part(method, given)
        if place is None or part is None:
            return
        message, offset, length = part
        limit = self._client.max_buffered
        if length > MOST:
            reason = f"{length} bytes, a datagram has at most {MOST}"
            self._refuse(method, Errno.SOCKET_INTERFACE, reason, errno.EMSGSIZE, Errno.ARGUMENT)
        elif limit is not None and self.buffered >= limit:
            reason = f"{self.buffered} bytes wait to be sent already"
            kind = Errno.TOO_MANY_TASKS
            self._refuse(method, Errno.SOCKET_INTERFACE, reason, errno.ENOBUFS, kind)
        else:
            try:
                self.transmit(message, offset, length, *place, given["setBroadcast"], through)
            except OSError as error:
                self._refuse_os(method, error)
            else:
                self._start()

    def _place(self, method: str, given: Mapping[str, Any]) -> tuple[str, int] | None:
        """Address and port as the engine takes them; None: an error event tells what is wrong."""
        try:
            host = _host(given["address"])
        except ValueError as error:
            self._refuse(method, Errno.SOCKET_ADDRESS, str(error))
            return None
        try:
            port = port_of(given["port"])
        except ValueError as error:
            self._refuse(method, Errno.SOCKET_PORT, str(error))
            return None
        if self._client.resolve:
            host = _answers(self._client.resolve, self.family).get((host, port), host)
        return host, port

    def _part(self, method: str, given: Mapping[str, Any]) -> tuple[Any, int, int] | None:
        """What of the message is sent; None: an error event tells why nothing is."""
        message = given["message"]
        if isinstance(message, str):
            message = message.encode()
            return message, 0, len(message)
        size = len(message) if type(message) is bytes else memoryview(message).nbytes
        for name in ("offset", "length"):
            value = given[name]
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and (not whole or value < 0):
                self._refuse(method, Errno.SOCKET_SYSTEM, f"invalid {name} {shown(value)}")
                return None
        offset = min(given["offset"] or 0, size)
        left = size - offset
        return message, offset, left if given["length"] is None else min(given["length"], left)

    def _set(self, method: str, option: int, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
            self._refuse(
                method, Errno.SOCKET_SYSTEM, f"invalid value {shown(value)}, takes 0 to 255"
            )
            return
        try:
            self.set(option, value)
        except OSError as error:
            self._refuse_os(method, error)

    def _member(self, method: str, group: str, interface: str, join: bool) -> None:
        if not isinstance(group, str) or not isinstance(interface, str):
            raise TypeError(f"{_API}.{method}: group and interface are str")
        try:
            self.membership(group, interface, join)
        except OSError as error:
            self._refuse_os(method, error, f"{group} on {interface}" if interface else group)
        else:
            self._start()

    def _refuse_os(self, method: str, error: OSError, reason: str = "") -> None:
        if self.closing or error.errno == errno.EBADF:
            whose = "socket" if self.closing else "client"
            reason = f"the {whose} is closed"
            self._refuse(method, Errno.SOCKET_INTERFACE, reason, errno.EBADF, Errno.INTERRUPTED)
        else:
            self._refuse(method, Errno.SOCKET_INTERFACE, reason, error.errno or 0)

    def _refuse(
        self, method: str, code: Errno, reason: str, number: int = 0, kind: Errno | None = None
    ) -> None:
        error = _error(f"{_API}.{method}", code, reason, number, kind)
        self._soon(lambda: self._tell_error(error))

    # ---- what the engine calls

    def _tell_error(self, error: FtError) -> None:
        if not self._listeners.get("error"):
            log.warning("%s", error.errMsg)
            if len(self._early.get("error", ())) >= _ERRORS_KEPT:
                return
        self._tell("error", error)

    def _opened(self) -> None:
        self._tell("listening", Done(f"{_API}.bind:ok"))

    def _remote(self, address: str, port: int, family: int, size: int) -> Endpoint:
        return Endpoint(address, FAMILY_NAMES[family], port, size)

    def _local(self, address: str, port: int, family: int) -> Endpoint:
        return Endpoint(address, FAMILY_NAMES[family], port)

    def _message(self, chunk: Chunk, remote: Endpoint, local: Endpoint) -> bool:
        """True: it is kept for the loop, which says when it is `consumed`."""
        event = DatagramReceived(chunk, remote, local)
        listeners = self._message_listeners if "message" not in self._early else None
        kept = self._backlog is not None and self._keep_for_loop(event, remote.size)
        if listeners is None and not kept:
            self._keep_for_first(event, self._keep_early)
            if "message" in self._listeners:  # added meanwhile, in another thread
                self._tell_early("message")
        if listeners:
            for callback in tuple(listeners):
                try:
                    callback(event)
                except Exception:
                    log.exception("in a callback: %r", callback)
        return kept

    def _keep_early(self, event: DatagramReceived) -> None:
        """Nobody listens yet; when nobody does for long, the datagrams are for nobody."""
        limit = self._client.max_buffered
        if self._unheard < 0:
            return
        self._unheard += event.remoteInfo.size + 256
        if limit is not None and self._unheard > limit:
            self._early.pop("message", None)
            self._unheard = -1
            log.warning("UDPSocket: nobody listens for messages: they are dropped from now on")
        else:
            self._early.setdefault("message", deque()).append(event)

    def _problem(self, number: int, said: str, where: str) -> None:
        if said:
            reason = f"{where}: {said}" if where else said
            error = _error(_API, Errno.SOCKET_ADDRESS, reason, 0, Errno.DNS)
        else:
            error = _error(_API, Errno.SOCKET_INTERFACE, where, number)
        self._tell_error(error)

    def _drained(self) -> None:
        self._wake("drain")

    def _ended(self, lost: int) -> None:
        if lost:
            reason = f"closed before {lost} datagram{'s' if lost > 1 else ''} could be sent"
            self._tell_error(_error(_API, Errno.SOCKET_INTERFACE, reason, errno.ECANCELED))
        self._closed = Done(f"{_API}.close:ok")
        self._early.pop("message", None)  # nobody will be told
        self._tell("close", self._closed)
        self._wake("close", "drain", "message")


def _error(
    api: str, code: Errno, reason: str, number: int = 0, kind: Errno | None = None
) -> FtError:
    """`number` is the system's errno, `kind` what ``errno`` will be, where they do not tell."""
    if not number:
        error = socket_error(api, code, reason)
    else:
        error = socket_error(api, code, "", number)
        said = f":fail {one_line(reason)}: " if reason else ":fail "
        error.errMsg = error.errMsg.replace(":fail ", said, 1)
    kind = kind or (Errno.CONNECT if number in _NO_WAY else error.errno)
    return FtError(error.errMsg, kind, error.cause, None, error.errCode)


def _host(address: Any) -> str:
    """As `host_of`, and short enough to be looked up."""
    host, _ = host_of(address)
    if len(host) > _NAME_MOST:
        raise ValueError(f"{shown(address)} is too long for a host name")
    return host


@lru_cache(maxsize=32)
def _answers(resolve: tuple[str, ...], family: int) -> dict[tuple[str, int], str]:
    """A Client's ``resolve`` as (host, port) to the first address of the family."""
    answers = {}
    for entry in resolve:
        host, port, addresses = entry.split(":", 2)
        six = [one.strip("[]") for one in addresses.split(",") if one.startswith("[")]
        four = [one for one in addresses.split(",") if not one.startswith("[")]
        for one in (six if family == 6 else four)[:1]:
            answers[host, int(port)] = one
    return answers


def create(client: Client, options: Mapping[str, Any] | None, kw: dict[str, Any]) -> UDPSocket:
    """Checks the options; nothing is opened yet."""
    return UDPSocket(client, merge_options("createUDPSocket", options, kw, UDP_OPTIONS))
