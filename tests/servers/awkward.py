"""A raw TCP/TLS server that breaks HTTP on purpose, so that a client's manners can be seen.

Servers that keep the rules cannot show what a client does with a peer that breaks them. Here a
connection (`Peer`) is handed to one behaviour, a plain function that reads and writes bytes as it
likes; `behaviours.py` names them. The server notes every byte it was sent, takes whatever port
the kernel gives, and ends every connection it still holds when it is closed.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import trustme

LIMIT = 10.0  # seconds a test waits for something that takes milliseconds when it works
SEGMENT = 512  # bytes; several fit into whatever window a small receive buffer opens


class Gone(Exception):
    """The client closed its side while the behaviour still wanted bytes."""


@dataclass(frozen=True)
class Request:
    """One request as it came over the wire."""

    head: bytes
    body: bytes
    peer: Peer = field(repr=False)

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def fields(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        pairs = (line.partition(":") for line in lines)
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    def get(self, name: str) -> str | None:
        """The value of the field `name`, None when it was not sent, joined when it came twice."""
        values = [value for key, value in self.fields if key == name.lower()]
        return ", ".join(values) if values else None


class Peer:
    """One accepted connection, with the few verbs a behaviour needs."""

    def __init__(self, server: AwkwardServer, sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number
        self.received = bytearray()
        self.ending: Exception | None = None
        self._unread = bytearray()

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.sock = context.wrap_socket(
            self.sock, server_side=True, suppress_ragged_eofs=True, do_handshake_on_connect=False
        )
        self.server.replace_socket(self)  # before the handshake: the server can end that, too
        self.sock.do_handshake()  # type: ignore[attr-defined]

    def read(self) -> bytes:
        """Some bytes; raises Gone when the client has none left to send."""
        if self._unread:
            data = bytes(self._unread)
            self._unread.clear()
            return data
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        self.server.note(self, data)
        return data

    def read_until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`; what follows it stays for the next read."""
        data = bytearray()
        while (end := data.find(mark)) < 0:
            data += self.read()
        end += len(mark)
        self._unread[:0] = data[end:]
        return bytes(data[:end])

    def read_exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            data += self.read()
        self._unread[:0] = data[size:]
        return bytes(data[:size])

    def read_head(self) -> bytes:
        return self.read_until(b"\r\n\r\n")

    def read_request(self) -> Request:
        """A whole request: by Content-Length, chunked, or without a body."""
        head = self.read_head()
        request = Request(head, b"", self)
        if request.get("expect"):
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if (request.get("transfer-encoding") or "").lower() == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.read_exactly(int(request.get("content-length") or 0))
        request = Request(head, body, self)
        self.server.note_request(request)
        return request

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.read_until(b"\r\n").split(b";")[0], 16):
            yield self.read_exactly(size)
            self.read_exactly(2)
        self.read_until(b"\r\n")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(
        self, body: bytes = b"", *fields: str, status: str = "200 OK", head: bool = False
    ) -> None:
        """A correct response with a Content-Length; `head` leaves the body out."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + (b"" if head else body))

    def until_gone(self) -> None:
        """Take everything in silence until the client closes (or the server is closed)."""
        with contextlib.suppress(Gone, OSError):
            while self.read():
                continue

    def pace(self, seconds: float) -> None:
        """Let time pass as a slow network does; ends at once when the server is closed."""
        if self.server.stopping.wait(seconds):
            raise Gone

    def finish_sending(self) -> None:
        """FIN for our half only: the client may go on sending."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self) -> None:
        """RST, not FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Behaviour = Callable[[Peer], None]


class AwkwardServer:
    """Runs one behaviour for each connection, each on its own thread; use it in a `with`."""

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        receive_buffer: int = 0,
    ) -> None:
        """A server with a small `receive_buffer` (bytes) soon makes the client wait.

        It asks for short segments as well. A segment on loopback is else as long as half of the
        largest window so far, and Linux offers less than that once short ones have shown what
        their memory costs. Such a client can't send one whole segment, though the server reads: it
        waits for the timer of closed windows each time (RFC 9293 3.8.6), for two kilobytes in
        0.2 s. Short segments also keep the client's own kernel from taking megabytes.
        """
        self.behaviour = behaviour
        self.tls = tls
        self.host = host
        self.peers: list[Peer] = []
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self.gate = threading.Event()  # the test opens it for behaviours that wait there
        self.passed = threading.Event()  # set by a behaviour that went on behind the gate
        self.bugs: list[Exception] = []
        self._changed = threading.Condition()
        self._sockets: dict[int, socket.socket] = {}
        self._threads: list[threading.Thread] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=4096)
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        self.port: int = self._listener.getsockname()[1]
        self._waker, self._wakee = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name="awkward-accept")

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections and threads; a behaviour that failed by itself is raised here."""
        self.stopping.set()
        self.gate.set()
        self._waker.send(b"x")
        self._acceptor.join(LIMIT)
        with self._changed:
            for sock in self._sockets.values():
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LIMIT)
            assert not thread.is_alive(), f"{thread.name} hangs"
        for sock in (self._listener, self._waker, self._wakee):
            sock.close()
        if self.bugs:
            raise self.bugs[0]

    def wait(self, happened: Callable[[], bool], what: str, limit: float = LIMIT) -> None:
        """Return as soon as `happened()` holds; asserts after `limit` seconds."""
        with self._changed:
            assert self._changed.wait_for(happened, limit), f"not within {limit} s: {what}"

    def wait_for_requests(self, count: int, limit: float = LIMIT) -> None:
        self.wait(lambda: len(self.requests) >= count, f"{count} requests", limit)

    def wait_for_peers(self, count: int, limit: float = LIMIT) -> None:
        self.wait(lambda: len(self.peers) >= count, f"{count} connections", limit)

    def wait_for_bytes(self, count: int, limit: float = LIMIT) -> None:
        self.wait(lambda: len(self.received) >= count, f"{count} bytes", limit)

    def wait_until_alone(self, limit: float = LIMIT) -> None:
        """Until no connection is open any more."""
        self.wait(lambda: not self._sockets, "all connections closed", limit)

    @property
    def received(self) -> bytes:
        """All bytes of all connections (after TLS where the server speaks it)."""
        return b"".join(bytes(peer.received) for peer in self.peers)

    @property
    def open_connections(self) -> int:
        return len(self._sockets)

    def note(self, peer: Peer, data: bytes) -> None:
        with self._changed:
            peer.received += data
            self._changed.notify_all()

    def note_request(self, request: Request) -> None:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def replace_socket(self, peer: Peer) -> None:
        with self._changed:
            self._sockets[peer.number] = peer.sock

    def _accept(self) -> None:
        self._listener.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wakee, selectors.EVENT_READ)
            while not self.stopping.is_set():
                selector.select()
                try:
                    sock, _ = self._listener.accept()
                except BlockingIOError:
                    continue
                sock.setblocking(True)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._start(sock)

    def _start(self, sock: socket.socket) -> None:
        with self._changed:
            peer = Peer(self, sock, len(self.peers))
            self.peers.append(peer)
            self._sockets[peer.number] = sock
            self._changed.notify_all()
        thread = threading.Thread(target=self._serve, args=(peer,), name=f"awkward-{peer.number}")
        self._threads.append(thread)
        thread.start()

    def _serve(self, peer: Peer) -> None:
        try:
            if self.tls:
                peer.start_tls(self.tls)
            self.behaviour(peer)
        except (Gone, OSError) as error:  # the client left: what most behaviours wait for
            peer.ending = error
        except Exception as error:
            self.bugs.append(error)
        finally:
            peer.sock.close()
            with self._changed:
                del self._sockets[peer.number]
                self._changed.notify_all()


class BlackHole:
    """An address that swallows SYNs: a listener whose queue of one is full and never emptied."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port))
        self._listener.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._fillers: list[socket.socket] = []

    def __enter__(self) -> Self:
        first, second = (socket.socket(self._listener.family) for _ in range(2))
        self._fillers += first, second
        first.connect((self.host, self.port))  # it fills the queue
        second.setblocking(False)
        assert second.connect_ex((self.host, self.port)) in (0, errno.EINPROGRESS)
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (*self._fillers, self._listener):
            sock.close()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@contextlib.contextmanager
def closed_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port that refuses: bound, so that nobody else gets it, but never listening."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        yield sock.getsockname()[1]


@dataclass(frozen=True)
class ThrowawayTls:
    """A certificate for loopback and `*.test`, with the CA bundle that vouches for it."""

    context: ssl.SSLContext
    ca: str


def throwaway_tls(directory: Path) -> ThrowawayTls:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "::1", "localhost", "*.test", "first.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    path = directory / "awkward-ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return ThrowawayTls(context, str(path))


def promptly(act: Callable[[], object], seconds: float) -> None:
    """`act` takes less than `seconds` s. It may have three turns: a busy machine can hold up any
    one of them, but what takes longer by itself takes longer each time."""
    took: list[float] = []
    while not took or took[-1] >= seconds:
        assert len(took) < 3, f"it takes {took} s, not less than {seconds} s"
        begin = time.monotonic()
        act()
        took.append(time.monotonic() - begin)


def eventually(happened: Callable[[], bool], what: str, limit: float = LIMIT) -> None:
    """Look again every few milliseconds at something that announces itself to nobody."""
    end = time.monotonic() + limit
    ticker = threading.Event()
    while not happened():
        assert time.monotonic() < end, f"not within {limit} s: {what}"
        ticker.wait(0.005)
