"""A raw WebSocket server that keeps the protocol, or breaks it, byte by byte.

As in `awkward.py` a connection is handed to one behaviour, a plain function; here it gets a
`WsPeer`, which knows the opening and the frames: it answers properly or with whatever bytes it is
given, and holds every frame of the client to RFC 6455. No wait is longer than LIMIT.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.servers.awkward import LIMIT, AwkwardServer, Gone, Peer, Request
from tests.ws_streams import BINARY, CLOSE, CONTINUE, PING, PONG, RSV1, TEXT

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
UPGRADED = ("Upgrade: websocket", "Connection: Upgrade")
DEFLATE = "permessage-deflate"
BUSY = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
NOTED = 1 << 16  # payloads of frames that are kept for the test


def accept_of(key: str) -> str:
    """What Sec-WebSocket-Accept must be for a Sec-WebSocket-Key (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def unmasked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    pattern = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(payload, "little") ^ pattern).to_bytes(size, "little")


@dataclass(frozen=True)
class ClientFrame:
    """A frame of the client that obeys the rules; `header` as it was sent, up to its mask."""

    opcode: int
    fin: bool
    rsv: int
    payload: bytes
    mask: bytes
    header: bytes

    @property
    def code(self) -> int | None:
        """The code of a close frame, None when it is empty."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None


class WsPeer:
    """One connection to a client, with the verbs of the WebSocket protocol."""

    def __init__(self, peer: Peer, server: HostileServer) -> None:
        self.peer = peer
        self.sock = peer.sock
        self.sock.settimeout(LIMIT)
        self.server = server
        self.opening: Request | None = None
        self.frames: list[ClientFrame] = []
        self.compressed = False  # RSV1 may be set
        self._came = bytearray()
        self._at = 0  # of which so much was taken
        self._in_message = False
        self._closed = False
        self._blocks: Iterator[bytes] = iter(())  # what `pour` and `pour_meanwhile` are to send
        self._left = memoryview(b"")  # of a block that has begun

    # --- the opening

    def read_opening(self) -> Request:
        """The opening request, held to RFC 6455 4.1."""
        data = bytearray()
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, rest = bytes(data).partition(b"\r\n\r\n")
        assert not rest, "the client speaks before it has an answer"
        request = Request(head + b"\r\n\r\n", b"", self.peer)
        assert request.method == "GET"
        assert head.split(b"\r\n", 1)[0].endswith(b" HTTP/1.1")
        assert request.get("upgrade") == "websocket"
        assert request.get("connection") == "Upgrade"
        assert request.get("sec-websocket-version") == "13"
        assert len(base64.b64decode(request.get("sec-websocket-key") or "", validate=True)) == 16
        self.opening = request
        self.server.note_request(request)
        return request

    @property
    def accept(self) -> str:
        """The right Sec-WebSocket-Accept."""
        assert self.opening is not None
        return accept_of(self.opening.get("sec-websocket-key") or "")

    def good_answer(self, *fields: str) -> bytes:
        """A proper answer with these fields beside the necessary ones."""
        lines = ["HTTP/1.1 101 Switching Protocols", *UPGRADED]
        lines += [f"Sec-WebSocket-Accept: {self.accept}", *fields, "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def open(self, *fields: str, deflate: bool | str = False, then: bytes = b"") -> None:
        """Reads the request and answers properly, `then` in the same packet.

        `deflate` agrees to compression, with these parameters if it is a str.
        """
        self.read_opening()
        if deflate:
            self.compressed = True
            agreed = DEFLATE if deflate is True else f"{DEFLATE}; {deflate}"
            fields = (*fields, f"Sec-WebSocket-Extensions: {agreed}")
        self.send(self.good_answer(*fields) + then)

    # --- bytes

    def send(self, *pieces: bytes) -> None:
        self.sock.sendall(b"".join(pieces))

    def drip(self, data: bytes) -> None:
        """One byte in a packet."""
        for byte in data:
            self.sock.sendall(bytes([byte]))

    def pour(self, blocks: Iterable[bytes], stuck: float = 0.3) -> int:
        """Sends blocks, until nobody takes any for `stuck` seconds; how many bytes went.

        What was left of a block then goes out with the next call of `pour_on`.
        """
        self._blocks = iter(blocks)
        self._left = memoryview(b"")
        return self.pour_on(stuck)

    def pour_on(self, stuck: float = LIMIT) -> int:
        """Goes on with what `pour` did not get rid of."""
        sent = 0
        self.sock.settimeout(stuck)
        try:
            while went := self._pour_some():
                sent += went
        except TimeoutError:
            assert stuck < LIMIT, f"stuck for {LIMIT} s, after {sent} bytes"
        with contextlib.suppress(OSError):
            self.sock.settimeout(LIMIT)
        return sent

    def pour_meanwhile(self, blocks: Iterable[bytes]) -> None:
        """Sends blocks while `frame` reads; `pour_on` sends what was left of them.

        In the one thread of this connection: an `ssl.SSLSocket` isn't one for two threads at once
        (before Python 3.13.4 `recv` may then tell of an end that has not come).
        """
        self._blocks = iter(blocks)

    def _pour_some(self) -> int:
        if not self._left:
            self._left = memoryview(next(self._blocks, b""))
        if not self._left:
            return 0
        went = self.sock.send(self._left)
        self._left = self._left[went:]
        return went

    def _receive(self, limit: float = LIMIT) -> bytes:
        while True:
            self.sock.settimeout(0)
            pouring = True
            with contextlib.suppress(*BUSY):
                pouring = self._pour_some() > 0
            with contextlib.suppress(*BUSY):
                data = self.sock.recv(1 << 18)
                self.sock.settimeout(LIMIT)
                if not data:
                    raise Gone
                return data
            wanted = [self.sock] if pouring else []
            if not any(select.select([self.sock], wanted, [], limit)):
                raise TimeoutError

    def wait_for_bytes(self) -> None:
        """Until there is something to read, which stays (not behind TLS)."""
        if not self.sock.recv(1, socket.MSG_PEEK):
            raise Gone

    def _take(self, size: int) -> bytes:
        while len(self._came) - self._at < size:
            del self._came[: self._at]
            self._at = 0
            self._came += self._receive()
        taken = bytes(memoryview(self._came)[self._at : self._at + size])
        self._at += size
        return taken

    # --- frames

    def frame(self) -> ClientFrame:
        """The next frame of the client, held to RFC 6455 5."""
        first, second = header = self._take(2)
        assert second & 0x80, "not masked"
        length = second & 0x7F
        if length >= 126:
            extended = self._take(2 if length == 126 else 8)
            header += extended
            length = int.from_bytes(extended, "big")
            assert length >= (126 if len(extended) == 2 else 65536), "it has a shorter form"
        mask = self._take(4)
        payload = unmasked(self._take(length), mask)
        frame = ClientFrame(first & 0x0F, first >= 0x80, first & 0x70, payload, mask, header)
        self._check(frame)
        if length <= NOTED:
            self.frames.append(frame)
        return frame

    def _check(self, frame: ClientFrame) -> None:
        opcode = frame.opcode
        assert not self._closed, f"a frame after the close frame: {frame}"
        assert opcode in (CONTINUE, TEXT, BINARY, CLOSE, PING, PONG), opcode
        if opcode >= CLOSE:
            assert frame.fin
            assert len(frame.payload) <= 125
            assert not frame.rsv
            self._closed = opcode == CLOSE
            return
        assert (opcode == CONTINUE) == self._in_message, f"{opcode} out of place"
        first = self.compressed and opcode != CONTINUE
        assert frame.rsv in ((0, RSV1) if first else (0,)), frame.rsv
        self._in_message = not frame.fin

    def next(self, opcode: int) -> ClientFrame:
        """The next frame, which must be of this kind."""
        frame = self.frame()
        assert frame.opcode == opcode, frame
        return frame

    def message(self) -> tuple[int, bytes]:
        """The next message as it is on the wire; control frames before its end are skipped."""
        opcode, payload = 0, bytearray()
        while True:
            frame = self.frame()
            assert frame.opcode != CLOSE, frame
            if frame.opcode < CLOSE:
                opcode = opcode or frame.opcode
                payload += frame.payload
                if frame.fin:
                    return opcode, bytes(payload)

    def wait_for_close(self) -> ClientFrame:
        """The client's close frame; others before it are read and noted."""
        while True:
            frame = self.frame()
            if frame.opcode == CLOSE:
                return frame

    def expect_close(self, code: int | None) -> ClientFrame:
        """The client's close frame with this code. A real server ends the connection next; here
        the end of the behaviour does."""
        frame = self.wait_for_close()
        assert frame.code == code, f"closed with {frame.code}: {frame.payload[2:]!r}"
        return frame

    # --- ends

    def wait_for_end(self) -> None:
        """Until the client ends the connection; it must not say a word more."""
        assert not self._came[self._at :], f"the client said {bytes(self._came[self._at :])!r}"
        with contextlib.suppress(Gone, ConnectionResetError):
            raise AssertionError(f"the client said {self._receive()!r}")

    def says_no_more(self, seconds: float = 0.05) -> None:
        """Nothing comes for a while; what a real server does next is to end the connection."""
        assert not self._came[self._at :], f"the client said {bytes(self._came[self._at :])!r}"
        with contextlib.suppress(TimeoutError, Gone, ConnectionResetError):
            raise AssertionError(f"the client said {self._receive(seconds)!r}")

    def drain(self) -> None:
        """Reads whatever comes until the client ends the connection."""
        with contextlib.suppress(Gone, ConnectionResetError):
            while True:
                self._receive()

    def end_sending(self) -> None:
        """FIN for our half only."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self) -> None:
        """RST, not FIN."""
        self.peer.sock = self.sock
        self.peer.reset()

    def gate(self) -> None:
        """Waits for the test to open the server's gate."""
        assert self.server.gate.wait(LIMIT), "the test never opened the gate"
        if self.server.stopping.is_set():
            raise Gone


Behaviour = Callable[[WsPeer], None]


class HostileServer(AwkwardServer):
    """Runs one behaviour for each connection; its failed checks are raised where it is closed."""

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int = 0,
    ) -> None:
        def run(peer: Peer) -> None:
            ws = WsPeer(peer, self)
            with self._changed:
                self.sockets.append(ws)
            try:
                behaviour(ws)
            except TimeoutError as error:
                if not self.stopping.is_set():
                    raise AssertionError(f"the peer waited for {LIMIT} s") from error

        super().__init__(run, tls=tls, receive_buffer=receive_buffer)
        self.sockets: list[WsPeer] = []
        self.reached = threading.Event()  # a behaviour is where the test waits for it
        self.counts: list[int] = []  # what a behaviour has to tell

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    @property
    def frames(self) -> list[ClientFrame]:
        """The frames of the first connection."""
        return self.sockets[0].frames


def data_messages(frames: Iterable[ClientFrame]) -> Iterator[tuple[int, bytes]]:
    """The messages in a row of frames, as they are on the wire."""
    opcode, payload = 0, b""
    for frame in frames:
        if frame.opcode < CLOSE:
            opcode = opcode or frame.opcode
            payload += frame.payload
            if frame.fin:
                yield opcode, payload
                opcode, payload = 0, b""
