"""Steps on sockets: a WebSocket, a TCP connection or a UDP socket, and what is done on it.

A step's time is from when its socket was asked for until it is closed; its phases are those of
the connection, its wait (TTFB) that of a WebSocket's handshake. A named action is counted beside
it: receiving, from the last thing sent until all of it was there; sending, until the kernel had it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from ftcore.load import clock
from ftcore.profile import MOMENT_NAMES, Phases
from ftnet.errors import Errno, FtError
from ftnet.plan import template as templates
from ftnet.plan.answers import Answer
from ftnet.plan.jar import keep_cookies, with_cookie
from ftnet.plan.model import Action, Socket, Tcp, Udp, WebSocket
from ftnet.plan.urls import for_websocket, whole_url
from ftnet.plan.work import Work, prepare

if TYPE_CHECKING:
    from ftcore.visitor import User
    from ftnet.client import Client
    from ftnet.plan.share import Workshop

__all__ = ["Part", "TcpWork", "UdpWork", "WebSocketWork"]

_AT: Final = {name: number for number, name in enumerate(MOMENT_NAMES)}
_TIMEOUT, _BROKEN, _REFUSED = -2, 56, 8  # outcomes: FT_TIMEOUT, CURLE_RECV_ERROR, bad reply
_SWITCHED: Final = 101


class Part(Work):
    """A named action of a step on a socket."""

    __slots__ = ()

    def __init__(self, action: Action, name: str) -> None:
        prepare(self, action, name)
        self.whole = False


class Act(NamedTuple):
    """An action made ready."""

    send: Callable[[Mapping[str, Any]], str | bytes] | None
    until: int | bytes | templates.Template | None  # of `receive`; None: the next message
    receives: bool
    code: int  # of `close`; 0: it does not
    within: float  # s
    judged: Part
    counted: bool  # by its name


class SocketWork(Work):
    """What the three have in common."""

    talks: ClassVar[type[Talk]]
    __slots__ = ("acts", "client", "place", "step", "timeout")

    def __init__(self, step: Socket, name: str, shop: Workshop) -> None:
        prepare(self, step, name)
        self.step = step
        self.client: Client = shop.client()
        self.timeout = shop.timeout(step)
        self.place = templates.compile(self._address(step, shop))
        self.acts = tuple([self._act(one, shop) for one in step.actions])
        self.parts = [act.judged for act in self.acts if act.counted]

    def _address(self, step: Any, shop: Workshop) -> str:
        raise NotImplementedError

    def _act(self, action: Action, shop: Workshop) -> Act:
        send: Callable[[Mapping[str, Any]], str | bytes] | None = None
        if action.send is not None:
            send = templates.compile(action.send).render
        elif action.send_hex is not None:
            text = templates.compile(action.send_hex)
            send = lambda variables: bytes.fromhex(text.render(variables))  # noqa: E731
        until: int | templates.Template | None = None
        if isinstance(action.receive, str):
            until = templates.compile(action.receive)
        elif isinstance(action.receive, int) and action.receive is not True:
            until = action.receive
        code = 0 if not action.close else 1000 if action.close is True else action.close
        within = self.timeout if action.within is None else action.within
        judged = Part(action, shop.names.get(id(action), f"{self.name}: {action.name}"))
        return Act(send, until, bool(action.receive), code, within, judged, bool(action.name))

    def begin(self, user: User, due: int) -> None:
        talk = self.talks(self, user, due)
        user.under_way = talk
        talk.open(self.place.render(user.variables))


class Talk:
    """One user's socket of one step, from its opening to its close."""

    def __init__(self, work: SocketWork, user: User, due: int) -> None:
        self.work = work
        self.user = user
        self.share = user.share
        self.due = due
        self.began = clock()
        self.socket: Any = None
        self.sent = self.received = 0  # bytes of messages
        self.over = False
        self._at = -1  # the action; -1: it opens
        self._since = 0  # ns: when the last thing was sent
        self._inbox: deque[Any] = deque()
        self._closing = False
        self._act_began = 0
        self._limit: list[Any] = []  # the timer of what is waited for

    # --- of each kind -------------------------------------------------------------------------

    def open(self, place: str) -> None:
        """Begins to connect; ValueError for a place that is none."""
        raise NotImplementedError

    def send(self, data: str | bytes) -> None:
        raise NotImplementedError

    def leave(self, code: int) -> None:
        """Closes the socket; its end is told to `closed`."""
        raise NotImplementedError

    def taken(self, until: Any) -> Any:
        """What is received, whole, or None as long as it is not all there."""
        return self._inbox.popleft() if self._inbox else None

    @property
    def phases(self) -> Phases | None:
        """Of the connection."""
        return None

    # --- what happens -------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """From now on something is waited for, so long at most."""
        self.rest()
        self._limit = self.share.later(clock() + round(seconds * 1e9), self._too_late)

    def rest(self) -> None:
        """What was waited for is there."""
        if self._limit:
            self.share.never(self._limit)
            self._limit = []

    def _too_late(self, at: int) -> None:
        self._limit = []
        what = "to open" if self._at < 0 else "to close" if self._closing else "for a message"
        self.fail(_TIMEOUT, 0, f"waited too long {what}")

    def opened(self, _: object = None) -> None:
        """The socket is open."""
        if not self.over:
            self.rest()
            self.go_on()

    def came(self, event: Any) -> None:
        """A message, or a part of a stream, came in."""
        if self.over:
            return
        self.received += _bytes_of(event)
        self._inbox.append(event)
        act = self.work.acts[self._at] if 0 <= self._at < len(self.work.acts) else None
        if act is not None and act.receives and self._limit and not self._closing:
            self._receive(act)

    def closed(self, reason: str) -> None:
        """The socket is closed; nothing follows."""
        if self.over:
            return
        self.rest()
        if self._closing:
            self._closing = False
            self.socket = None
            if self._at < len(self.work.acts):
                self._note(self.work.acts[self._at], self._act_began)
            self.go_on()
        elif self._at < len(self.work.acts):
            self.socket = None
            self.fail(_BROKEN, 0, f"the peer closed it first{reason}")

    def broke(self, error: FtError) -> None:
        """The socket failed."""
        cause = error.cause
        code = cause.code if cause is not None and cause.code > 0 else 0
        if error.errno == Errno.ARGUMENT:
            code = self.user.plan_fault
        elif not code:
            code = _CODES.get(error.errno, _REFUSED)
        text = cause.text if cause is not None else error.errMsg
        self.fail(code, 0 if cause is None else cause.os_errno, text)

    # --- action after action ------------------------------------------------------------------

    def go_on(self) -> None:
        """The next action; after the last the socket is closed."""
        try:
            while not self.over:
                self._at += 1
                if self._at >= len(self.work.acts):
                    if self.socket is None:
                        self.end()
                    else:
                        self._close(1000, self.work.timeout)
                    return
                if not self._begun(self.work.acts[self._at]):
                    return
        except (ValueError, LookupError) as error:
            self.fail(self.user.plan_fault, 0, str(error))

    def _begun(self, act: Act) -> bool:
        """Begins an action; False: something is waited for."""
        self._act_began = clock()
        if act.counted:
            self.share.begun(self.user, act.judged)
        if self.socket is None and (act.send is not None or act.receives):
            raise ValueError("the socket is closed already")
        if act.send is not None:
            data = act.send(self.user.variables)
            self.sent += _bytes_of(data)
            self._since = clock()
            self.send(data)
            self._note(act, self._act_began)
        elif act.receives:
            self.wait(act.within)
            return self._receive(act, begun=True)
        elif self.socket is not None:
            self._close(act.code, act.within)
            return False
        else:
            self._note(act, self._act_began)
        return True

    def _close(self, code: int, within: float) -> None:
        self._closing = True
        self.wait(within)
        self.leave(code)

    def _receive(self, act: Act, *, begun: bool = False) -> bool:
        """Looks whether all is there that is to be received; judges it, and goes on."""
        until = act.until
        if isinstance(until, templates.Template):
            until = until.render(self.user.variables).encode()
        data = self.taken(until)
        if data is None:
            return False
        self.rest()
        answer = Answer(0, b"", data)
        wrong = self.user.judged(act.judged, answer)
        self._note(act, self._since or self._act_began, wrong)
        if wrong:
            self.wrong(wrong)
        elif begun:
            return True
        else:
            self.go_on()
        return False

    def _note(self, act: Act, since: int, wrong: int = 0) -> None:
        if act.counted:
            self.share.took(self.user, act.judged, since, since, clock(), wrong=wrong)

    # --- the end ------------------------------------------------------------------------------

    def spans(self) -> dict[str, int]:
        """What the connection took, ns."""
        phases = self.phases
        if phases is None:
            return {}
        out = {}
        for name, first, last in _SPANS:
            ms = phases.span(_AT[first], _AT[last])
            if ms:
                out[name] = round(ms * 1e6)
        return out

    def end(self) -> None:
        """All was done."""
        self._finish()
        at = self.share.took(
            self.user, self.work, self.due, self.began, clock(), status=self.status,
            sent=self.sent, received=self.received, spans=self.spans(),
        )  # fmt: skip
        self.user.went(self.work, at, False)

    def wrong(self, kind: int) -> None:
        """What was received is not what it must be: the step's answer is a wrong one."""
        self._finish()
        at = self.share.took(
            self.user, self.work, self.due, self.began, clock(), status=self.status,
            sent=self.sent, received=self.received, wrong=kind, spans=self.spans(),
        )  # fmt: skip
        self.user.went(self.work, at, self.work.stops)

    def fail(self, outcome: int, os_errno: int, detail: str) -> None:
        """It came to nothing, and so did the action that is under way."""
        if self.over:
            return
        act = self.work.acts[self._at] if 0 <= self._at < len(self.work.acts) else None
        self._finish()
        if act is not None and act.counted and not self.user.gone:
            since = self._since or self._act_began
            self.share.failed(self.user, act.judged, outcome, os_errno, detail, None, since)
        self.user.failed(self.work, outcome, os_errno, detail, None, self.due)

    def _finish(self) -> None:
        self.over = True
        self.rest()
        if self.socket is not None:
            self.leave_now()
            self.socket = None

    def leave_now(self) -> None:
        """Gives the socket up, whatever its state."""
        self.socket.close()

    def abort(self) -> None:
        """The run is over."""
        if not self.over:
            act = self.work.acts[self._at] if 0 <= self._at < len(self.work.acts) else None
            if act is not None and act.counted and self.share.counted(self.user):
                act.judged.tally.add("unfinished")
            self._finish()

    status = 0  #: of HTTP


def _bytes_of(data: Any) -> int:
    """How many they are; of a text in UTF-8."""
    return len(data.encode()) if isinstance(data, str) and not data.isascii() else len(data)


#: What failures of sockets are among those of requests.
_CODES: Final = {
    Errno.TIMEOUT: _TIMEOUT,
    Errno.CONNECT: 7,
    Errno.SOCKET_CONNECT: 7,
    Errno.SOCKET_INTERFACE: 7,
    Errno.DNS: 6,
    Errno.SOCKET_ADDRESS: 6,
    Errno.TLS: 35,
    Errno.INTERRUPTED: _BROKEN,
}
_SPANS: Final = (
    ("dns", "dns_start", "dns_end"),
    ("connect", "connect_start", "connect_end"),
    ("connect", "connect_start", "ssl_start"),  # where TLS follows, it ends there
    ("ssl", "ssl_start", "ssl_end"),
    ("ttfb", "request_start", "response_start"),
)


class WebSocketTalk(Talk):
    """A WebSocket."""

    status = _SWITCHED

    def open(self, place: str) -> None:
        step = self.work.step
        assert isinstance(step, WebSocket)
        variables = self.user.variables
        header = {k: templates.compile(v).render(variables) for k, v in step.header.items()}
        self._page = f"http{place[2:]}"  # whose cookies they are
        if self.user.jar:
            header = with_cookie(header, self.user.jar.header(self._page))
        self.socket = self.work.client.connectSocket(
            url=place,
            header=header or None,
            protocols=list(step.protocols) or None,
            timeout=self.work.timeout * 1000,
        )
        self.socket.onOpen(self.opened)
        self.socket.onMessage(lambda event: self.came(event.data))
        self.socket.onError(self.broke)
        self.socket.onClose(lambda event: self.closed(f", with code {event.code}"))
        self._phases = None

    @property
    def phases(self) -> Phases | None:
        return self._phases

    def opened(self, event: Any = None) -> None:
        self._phases = event.profile._phases
        keep_cookies(self.user, self._page, event.header)
        super().opened()

    def send(self, data: str | bytes) -> None:
        self.socket.send(data=data, fail=lambda error: self.fail(_BROKEN, 0, error.errMsg))

    def leave(self, code: int) -> None:
        self.socket.close(code=code)


class TcpTalk(Talk):
    """A TCP connection."""

    def __init__(self, work: SocketWork, user: User, due: int) -> None:
        super().__init__(work, user, due)
        self._stream = bytearray()

    def open(self, place: str) -> None:
        step = self.work.step
        host, _, port = place.rpartition(":")
        self.socket = self.work.client.createTCPSocket()
        self.socket.onConnect(self.opened)
        self.socket.onMessage(lambda event: self.came(event.message))
        self.socket.onError(self.broke)
        self.socket.onClose(lambda event: self.closed(""))
        self.socket.connect(
            address=host.strip("[]"), port=int(port), timeout=self.work.timeout,
            tls=isinstance(step, Tcp) and step.tls,
        )  # fmt: skip

    def taken(self, until: Any) -> Any:
        for part in self._inbox:
            self._stream += part
        self._inbox.clear()
        stream = self._stream
        if isinstance(until, int):
            length = until if len(stream) >= until else 0
        elif until is None:
            length = len(stream)
        else:
            found = stream.find(until)
            length = found + len(until) if found >= 0 else 0
        if not length:
            return None
        out = bytes(stream[:length])
        del stream[:length]
        return out

    def send(self, data: str | bytes) -> None:
        self.socket.write(data)

    def leave(self, code: int) -> None:
        self.socket.close()

    def leave_now(self) -> None:
        self.socket.abort()


class UdpTalk(Talk):
    """A UDP socket, that takes datagrams from its peer alone."""

    def open(self, place: str) -> None:
        host, _, port = place.rpartition(":")
        self._peer = {"address": host.strip("[]"), "port": int(port)}
        self.socket = self.work.client.createUDPSocket(
            type="udp6" if host.startswith("[") else "udp4"
        )
        self.socket.onMessage(lambda event: self.came(event.message))
        self.socket.onError(self.broke)
        self.socket.onClose(lambda event: self.closed(""))
        self.socket.connect(**self._peer)
        self.share.soon(self.opened)

    def send(self, data: str | bytes) -> None:
        self.socket.write(message=data, **self._peer)

    def leave(self, code: int) -> None:
        self.socket.close()


class WebSocketWork(SocketWork):
    """A WebSocket, from its handshake to its close."""

    talks = WebSocketTalk
    __slots__ = ()

    def _address(self, step: Any, shop: Workshop) -> str:
        return whole_url(for_websocket(shop.plan.base_url), step.websocket)


class TcpWork(SocketWork):
    """A TCP connection, from its making to its close."""

    talks = TcpTalk
    __slots__ = ()

    def _address(self, step: Any, shop: Workshop) -> str:
        return str(step.tcp)


class UdpWork(SocketWork):
    """A UDP socket."""

    talks = UdpTalk
    __slots__ = ()

    def _address(self, step: Any, shop: Workshop) -> str:
        return str(step.udp)


_KINDS: Final[dict[type, type[SocketWork]]] = {
    WebSocket: WebSocketWork,
    Tcp: TcpWork,
    Udp: UdpWork,
}


def made_by(step: Socket) -> type[SocketWork]:
    """What makes such a step ready."""
    return _KINDS[type(step)]
