"""The kernel that reads HTTP/1.1 responses, and its two peers, each telling the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import h11
import httptools

from tests.http1_samples import CONNECT, HEAD, REQUESTS, UPGRADE, Sample
from tests.kernels import Kernels

FRAMINGS = ["none", "sized", "chunked", "until close", "switched"]
NOTED = ["location", "content-type", "content-encoding", "content-range", "etag", "last-modified"]
Fields = list[tuple[bytes, bytes]]


@dataclass
class Answer:
    """One response, as far as it was told."""

    interim: list[int] = field(default_factory=list)
    status: int = 0
    minor: int = 1
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    trailers: Fields = field(default_factory=list)
    refused: str = ""


@dataclass
class Told(Answer):
    """What only ours tells."""

    framing: str = ""
    keep_alive: bool = False
    content_length: int = -1
    noted: dict[str, bytes] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)
    over: bytes = b""  # what came behind the response


class Reader:
    """Keeps what was not taken, as the owner of a connection does."""

    def __init__(self, kernels: Kernels, request: str, limits: tuple[int, ...] = ()) -> None:
        self.ffi, self.lib = kernels.ffi, kernels.lib
        self.faults = self.ffi.typeof("http1_fault").elements
        self.reader = self.ffi.new("http1_reader *")
        self.event = self.ffi.new("http1_event *")
        self.lib.http1_init(
            self.reader, self.ffi.new("http1_limits *", limits) if limits else self.ffi.NULL
        )
        self.begin(request)

    def begin(self, request: str) -> None:
        self.lib.http1_begin(self.reader, REQUESTS.index(request))
        self.told = Told()
        self.kept = b""

    def feed(self, data: bytes) -> None:
        self.kept += data
        given = self.ffi.from_buffer("uint8_t[]", self.kept)
        at, size = 0, len(self.kept)
        while True:
            took = self.lib.http1_read(self.reader, given + at, size - at, self.event)
            assert 0 <= took <= size - at
            if self.event.length:  # it is told where it came in
                assert self.event.data + self.event.length == given + at + took
            at += took
            if self.event.kind == self.lib.HTTP1_NOTHING:
                break
            self._tell()
        self.kept = self.kept[at:]
        self.told.over = self.kept if self.told.ended else b""

    def close(self) -> None:
        self.lib.http1_eof(self.reader, self.event)
        if self.event.kind != self.lib.HTTP1_NOTHING:
            self._tell()

    def _tell(self) -> None:
        event, told, lib = self.event, self.told, self.lib
        assert not told.ended
        assert not told.refused
        if event.kind == lib.HTTP1_BODY:
            assert event.length
            told.body += self.ffi.buffer(event.data, event.length)[:]
        elif event.kind == lib.HTTP1_END:
            told.ended = True
            told.trailers = self._fields()
            assert self.ffi.buffer(self.ffi.addressof(self.reader.head))[:] == self.head
        elif event.kind == lib.HTTP1_BAD:
            told.refused = self.faults[event.fault].removeprefix("HTTP1_")
            assert event.fault != lib.HTTP1_FINE
        else:
            self._tell_block(self.ffi.buffer(event.data, event.length)[:])

    def _tell_block(self, block: bytes) -> None:
        head, told = self.reader.head, self.told
        self.head = self.ffi.buffer(self.ffi.addressof(head))[:]  # and so it stays to the end
        told.blocks.append(block)
        if self.event.kind == self.lib.HTTP1_INTERIM:
            told.interim.append(head.status)
            return
        told.status, told.minor, told.fields = head.status, head.minor, self._fields()
        assert head.fields == len(told.fields)
        told.framing, told.keep_alive = FRAMINGS[head.framing], bool(head.keep_alive)
        told.content_length = head.content_length
        for number, name in enumerate(NOTED):
            span = head.noted[number]
            if span.start:
                told.noted[name] = block[span.start : span.start + span.length]
            if head.repeated >> number & 1:
                told.repeated.append(name)

    def _fields(self) -> Fields:
        """Of the block or trailers of the event."""
        fields, at, out = [], self.ffi.new("size_t *"), self.ffi.new("http1_field *")
        while self.event.length and self.lib.http1_next_field(
            self.event.data, self.event.length, at, out
        ):
            name = self.ffi.buffer(out.name, out.name_length)[:]
            fields.append((name, self.ffi.buffer(out.value, out.value_length)[:]))
        return fields


def read(kernels: Kernels, sample: Sample, pieces: Iterable[bytes] | None = None) -> Told:
    reader = Reader(kernels, sample.request)
    for piece in [sample.data] if pieces is None else pieces:
        reader.feed(piece)
    if sample.closes:
        reader.close()
    return reader.told


# --- the peers ------------------------------------------------------------------------------------


def h11_request(request: str) -> h11.Request:
    headers = [("Host", "x")]
    if request == UPGRADE:
        headers += [("Connection", "upgrade"), ("Upgrade", "websocket")]
    method = {HEAD: "HEAD", CONNECT: "CONNECT"}.get(request, "GET")
    return h11.Request(method=method, target="x:1" if request == CONNECT else "/", headers=headers)


def read_by_h11(sample: Sample) -> Answer:
    answer, peer = Answer(), h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 19)
    peer.send(h11_request(sample.request))
    peer.send(h11.EndOfMessage())
    try:
        peer.receive_data(sample.data)
        if sample.closes:
            peer.receive_data(b"")
        while not answer.ended:
            event = peer.next_event()
            if event is h11.PAUSED:
                answer.ended = True
            elif event is h11.NEED_DATA:
                break
            else:
                _note_of_h11(answer, event)
    except h11.RemoteProtocolError as error:
        answer.refused = str(error)
    return answer


def _note_of_h11(answer: Answer, event: object) -> None:
    if isinstance(event, h11.InformationalResponse) and event.status_code != 101:
        answer.interim.append(event.status_code)
    elif isinstance(event, h11.Response | h11.InformationalResponse):
        answer.status, answer.minor = event.status_code, int(event.http_version[-1:])
        answer.fields = list(event.headers.raw_items())
    elif isinstance(event, h11.Data):
        answer.body += event.data
    elif isinstance(event, h11.EndOfMessage):
        answer.ended, answer.trailers = True, list(event.headers.raw_items())


class _Listener:
    """Of httptools, which doesn't tell interim responses from the final one by itself."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.status: Callable[[], int] = lambda: 0
        self.final = False

    def on_message_begin(self) -> None:
        self.answer.fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        into = self.answer.trailers if self.final else self.answer.fields
        into.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.final = self.status() >= 200

    def on_body(self, data: bytes) -> None:
        self.answer.body += data

    def on_message_complete(self) -> None:
        if self.final:
            self.answer.ended = True
        else:
            self.answer.interim.append(self.status())


def read_by_httptools(sample: Sample) -> Answer:
    """It can't be told of the request, nor of a close."""
    listener = _Listener()
    parser: Any = httptools.HttpResponseParser(listener)
    listener.status = parser.get_status_code
    try:
        parser.feed_data(sample.data)
    except httptools.HttpParserError as error:
        listener.answer.refused = str(error)
    answer = listener.answer
    answer.status, answer.minor = parser.get_status_code(), int(parser.get_http_version()[-1])
    return answer
