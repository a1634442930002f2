"""A server that says which bytes of its connections each request and response were.

    python -m benchmarks.truth.server CHAIN KEY

It serves HTTP/1.1, the same and h2 over TLS, and h3, answers DNS, prints its ports as one line of
JSON, and for each line it reads what it has seen since the last: a list of `Exchange`s. It takes
TLS apart record by record, so that it knows where in the stream of bytes each request began and
ended; a capture of the packets then tells when. A path is `/r/ID?body=BYTES&before=MS&parts=N&
gap=MS&close=1&redirect=1`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h2.config
import h2.connection
import h2.events
from aioquic.asyncio import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted, QuicEvent
from dnslib import QTYPE, RR, A, DNSRecord

from benchmarks.rounds import pin
from benchmarks.truth.capture import DNS_PORT, KEY

RESOLVER, DNS_DELAY = "127.0.0.99", 0.005  # address, seconds until it answers
BACKLOG = 1024
Place = Any  # int: offset in the stream of the connection; str: how the datagram begins, in hex
Span = tuple[Place, Place]
Send = Callable[[int, dict[str, str], bytes, bool], Span]


@dataclass(slots=True)
class Exchange:
    """One request and its response: where their first and last bytes were, and when we saw them.

    `order` counts the requests of the connection, `finished` is where the client's part of the
    TLS handshake ended, `opened` where QUIC's began; `stamps` are ns of CLOCK_MONOTONIC.
    """

    id: str
    hop: int
    port: int
    order: int
    request: Span
    finished: Place = None
    opened: Place = None
    response: Span = (None, None)
    stamps: dict[str, int] = field(default_factory=dict)


SEEN: list[Exchange] = []


def records(buffer: bytearray) -> Iterator[bytes]:
    """The whole TLS records at the start of `buffer`, taken out of it."""
    while len(buffer) >= 5 and len(buffer) >= (size := 5 + int.from_bytes(buffer[3:5], "big")):
        yield bytes(buffer[:size])
        del buffer[:size]


class Answer:
    """What a path asks for, and the sending of it."""

    def __init__(self, exchange: Exchange, query: dict[str, str], send: Send) -> None:
        self.exchange, self.send = exchange, send
        self.before, self.gap = (float(query.get(name, 0)) / 1e3 for name in ("before", "gap"))
        size, self.parts = int(query.get("body", 13)), int(query.get("parts", 1))
        self.part = b"x" * (size // self.parts)
        self.status, self.head = 200, {"content-length": str(len(self.part) * self.parts)}
        self.head["content-type"] = "text/plain"
        if query.get("redirect") and not exchange.hop:
            self.status, self.head["location"] = 302, f"/r/{exchange.id}?hop=1"
        if query.get("close"):
            self.head["connection"] = "close"
        SEEN.append(exchange)
        if self.before or self.gap:
            loop = asyncio.get_running_loop()
            loop.call_later(self.before, self.next, 1)
        else:
            for number in range(1, self.parts + 1):
                self.next(number)

    def next(self, number: int) -> None:
        """Sends a part; the first goes with the head."""
        stamps, head = self.exchange.stamps, self.head if number == 1 else {}
        stamps.setdefault("response_first", time.monotonic_ns())
        span = self.send(self.status, head, self.part, number == self.parts)
        self.exchange.response = (span[0] if head else self.exchange.response[0], span[1])
        stamps["response_last"] = time.monotonic_ns()
        if self.gap and number < self.parts:
            asyncio.get_running_loop().call_later(self.gap, self.next, number + 1)


class Channel(asyncio.Protocol):
    """A TCP connection; `send` says where in the stream the bytes are."""

    opened: Place = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.port: int = transport.get_extra_info("peername")[1]
        self.taken = self.sent = self.served = 0
        self.finished: int | None = None
        self.stamps = {"accept": time.monotonic_ns()}
        self.http: Any = Http1(self)

    def data_received(self, data: bytes) -> None:
        start, self.taken = self.taken, self.taken + len(data)
        self.http.feed(data, start, self.taken)

    def send(self, data: bytes) -> Span:
        start, self.sent = self.sent, self.sent + len(data)
        self.transport.write(data)
        return start, self.sent

    def exchange(self, path: str, span: Span, stamps: dict[str, int], send: Send) -> None:
        """A request is there: answers it as its path says."""
        url = urlsplit(path)
        query = dict(parse_qsl(url.query))
        ident, hop = url.path.rpartition("/")[2], int(query.get("hop", 0))
        seen = Exchange(ident, hop, self.port, self.served, span, self.finished, self.opened)
        seen.stamps = self.stamps | stamps | {"request_last": time.monotonic_ns()}
        self.served += 1
        Answer(seen, query, send)


class SecureChannel(Channel):
    """With TLS in between, one record after the other."""

    context: ssl.SSLContext

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self.context.wrap_bio(self._in, self._out, server_side=True)
        self._raw = bytearray()

    def data_received(self, data: bytes) -> None:
        self._raw += data
        for record in records(self._raw):
            start, self.taken = self.taken, self.taken + len(record)
            self._in.write(record)
            try:
                self._take(start)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:  # the peer ended it
                self.transport.close()
            self._flush()

    def _take(self, start: int) -> None:
        if self.finished is None:
            self._tls.do_handshake()
            self.finished = self.taken
            self.stamps["handshake"] = time.monotonic_ns()
            if self._tls.selected_alpn_protocol() == "h2":
                self.http = Http2(self)
        while plain := self._tls.read(65536):
            self.http.feed(plain, start, self.taken)

    def _flush(self) -> Span:
        return super().send(self._out.read())

    def send(self, data: bytes) -> Span:
        self._flush()  # what TLS has to say itself is no part of the response
        self._tls.write(data)
        return self._flush()


class Http1:
    """HTTP/1.1, one request after the other."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._head, self._left, self._start = b"", -1, 0
        self._stamps: dict[str, int] = {}

    def feed(self, data: bytes, start: int, end: int) -> None:
        if not self._head:
            self._start, self._stamps = start, {"request_first": time.monotonic_ns()}
        if self._left < 0:
            self._head += data
            head, blank, data = self._head.partition(b"\r\n\r\n")
            if not blank:
                return
            fields = [line.partition(b": ") for line in head.lower().split(b"\r\n")]
            self._left = int({name: value for name, _, value in fields}.get(b"content-length", 0))
            if b"100-continue" in head.lower():
                self.channel.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._left -= len(data)
        if self._left == 0:
            path = self._head.split(b" ", 2)[1].decode()
            self._head, self._left = b"", -1
            self.channel.exchange(path, (self._start, end), self._stamps, self._send)

    def _send(self, status: int, head: dict[str, str], body: bytes, last: bool) -> Span:
        lines = [f"HTTP/1.1 {status} said"] if head else []
        lines += [f"{name}: {value}" for name, value in head.items()]
        span = self.channel.send("\r\n".join([*lines, "\r\n"] if lines else []).encode() + body)
        if last and head.get("connection"):
            self.channel.transport.close()
        return span


class Http2:
    """HTTP/2, its requests side by side."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        channel.send(self._h2.data_to_send())
        self._begun: dict[int, tuple[str, int, int]] = {}

    def feed(self, data: bytes, start: int, end: int) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                path = dict(event.headers)[":path"]
                self._begun[event.stream_id] = path, start, time.monotonic_ns()
            elif isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                path, begun, stamp = self._begun.pop(event.stream_id)
                send = self._sender(event.stream_id)
                self.channel.exchange(path, (begun, end), {"request_first": stamp}, send)
        if rest := self._h2.data_to_send():
            self.channel.send(rest)

    def _sender(self, stream: int) -> Send:
        def send(status: int, head: dict[str, str], body: bytes, last: bool) -> Span:
            if head:
                self._h2.send_headers(stream, [(":status", str(status)), *head.items()])
            self._h2.send_data(stream, body, end_stream=last)
            return self.channel.send(self._h2.data_to_send())

        return send


class Http3(QuicConnectionProtocol):
    """HTTP/3: the places are the first bytes of datagrams, which no other has."""

    port = served = 0
    finished: str | None = None
    opened = ""
    exchange = Channel.exchange

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._http: Any = None
        self._begun: dict[int, tuple[str, str, int]] = {}
        self._heads: list[str] = []
        self.stamps = {"accept": time.monotonic_ns()}
        self._transport = self  # what is sent goes through sendto() below
        self._below = transport

    def sendto(self, data: bytes, address: Any) -> None:
        self._heads.append(data[:KEY].hex())
        self._below.sendto(data, address)

    def datagram_received(self, data: Any, addr: Any) -> None:
        self.port, self._here = addr[1], data[:KEY].hex()
        self.opened = self.opened or self._here
        super().datagram_received(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            self.finished = self._here
            self.stamps["handshake"] = time.monotonic_ns()
            self._http = H3Connection(self._quic)
        for one in self._http.handle_event(event) if self._http else ():
            if isinstance(one, HeadersReceived):
                path = dict(one.headers)[b":path"].decode()
                self._begun[one.stream_id] = path, self._here, time.monotonic_ns()
            if isinstance(one, HeadersReceived | DataReceived) and one.stream_ended:
                path, begun, stamp = self._begun.pop(one.stream_id)
                send = self._sender(one.stream_id)
                self.exchange(path, (begun, self._here), {"request_first": stamp}, send)

    def _sender(self, stream: int) -> Send:
        def send(status: int, head: dict[str, str], body: bytes, last: bool) -> Span:
            if head:
                fields = {":status": str(status), **head}
                pairs = [(name.encode(), value.encode()) for name, value in fields.items()]
                self._http.send_headers(stream, pairs)
            self._http.send_data(stream, body, last)
            self._heads.clear()
            self.transmit()
            return self._heads[0], self._heads[-1]

        return send


class Resolver(asyncio.DatagramProtocol):
    """Every name is 127.0.0.1, after DNS_DELAY."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        asked = DNSRecord.parse(data)
        told = asked.reply()
        if asked.q.qtype == QTYPE.A:
            told.add_answer(RR(asked.q.qname, QTYPE.A, rdata=A("127.0.0.1")))
        later = asyncio.get_running_loop().call_later
        later(DNS_DELAY, self.transport.sendto, told.pack(), addr)


async def main(chain: str, key: str) -> None:
    loop = asyncio.get_running_loop()
    SecureChannel.context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    quic = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=False)
    quic.load_cert_chain(chain, key)
    servers = [
        await loop.create_server(kind, "127.0.0.1", 0, backlog=BACKLOG)
        for kind in (Channel, SecureChannel)
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    await serve("127.0.0.1", ports[1], configuration=quic, create_protocol=Http3)
    await loop.create_datagram_endpoint(Resolver, local_addr=(RESOLVER, DNS_PORT))
    print(json.dumps(ports), flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps([asdict(one) for one in SEEN]), flush=True)
        SEEN.clear()


if __name__ == "__main__":
    pin(1)
    asyncio.run(main(*sys.argv[1:]))
