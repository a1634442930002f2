"""The WebSocket frame kernel by itself: against a table of faults, a reference, and wsproto.

Everything that is read is read cut into pieces, too, and must come out the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from tests.kernels import Kernels, build_kernels
from tests.ws_reference import Event, first_bad_byte, read
from tests.ws_streams import (
    BINARY,
    CLOSE,
    CONTINUE,
    FAULTS,
    GOOD,
    PING,
    PONG,
    RSV1,
    TEXT,
    Stream,
    close,
    frame,
    length_bytes,
)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return build_kernels(tmp_path_factory.mktemp("kernels"), "utf8", "ws_frame", "ws_mask")


# --- frames that are read -------------------------------------------------------------------------


class Reader:
    """The kernel's reader; `events` as the reference has them."""

    def __init__(self, kernels: Kernels, deflate: bool = False, limit: int = 0) -> None:
        self.ffi, self.lib = kernels.ffi, kernels.lib
        self.reader = self.ffi.new("ws_reader *")
        self.lib.ws_reader_init(self.reader, deflate, limit)
        self.events: list[Event] = []
        self.frame_left = 0  # of a frame of which a part was told

    def feed(self, data: bytes) -> None:
        piece = self.ffi.new("uint8_t[]", data)
        out = self.ffi.new("ws_event *")
        at = 0
        while at < len(data):
            took = self.lib.ws_read(self.reader, piece + at, len(data) - at, out)
            assert 0 < took <= len(data) - at
            at += took
            if out.kind == self.lib.WS_NOTHING:
                assert at == len(data)
            else:
                self._tell(out, piece + at)

    def _tell(self, out: Any, end: Any) -> None:
        """`end`: of what was taken."""
        payload = bytes(self.ffi.buffer(out.data, out.length)) if out.length else b""
        if out.kind == self.lib.WS_DATA:
            assert not payload or out.data + out.length == end, "data is not where it came in"
            self._tell_data(out, payload)
        elif out.kind == self.lib.WS_BAD:
            assert self.ffi.string(out.why)
            if out.code == 1007 and self.frame_left:  # the good part of the frame is no promise
                self.events.pop()
            self.events.append(("bad", out.code))
        elif out.kind == self.lib.WS_CLOSE:
            self.events.append(("close", out.code, payload))
        else:
            self.events.append(("ping" if out.kind == self.lib.WS_PING else "pong", payload))

    def _tell_data(self, out: Any, payload: bytes) -> None:
        first = bool(out.first)
        if self.frame_left:
            assert not first
            assert out.frame_left == self.frame_left - len(payload)
            *_, first, _, _, _, before = self.events.pop()
            payload = before + payload
        self.frame_left = out.frame_left
        assert bool(out.frame_end) == (out.frame_left == 0)
        kind = ("data", out.opcode, first, bool(out.compressed))
        self.events.append((*kind, bool(out.frame_end), bool(out.message_end), payload))


def events(kernels: Kernels, stream: Stream, pieces: Iterable[bytes] | None = None) -> list[Event]:
    reader = Reader(kernels, stream.deflate, stream.limit)
    for piece in [stream.data] if pieces is None else pieces:
        reader.feed(piece)
    return reader.events


def whole(opcode: int, payload: bytes, compressed: bool = False) -> Event:
    return ("data", opcode, True, compressed, True, True, payload)


def test_messages_and_control_frames_are_told_in_order(kernels: Kernels) -> None:
    stream = Stream(
        frame(TEXT, b"Hello")
        + frame(PING, b"?")
        + frame(BINARY, b"\xff\x00")
        + frame(PONG)
        + close(1000)
    )
    assert events(kernels, stream) == [
        whole(TEXT, b"Hello"),
        ("ping", b"?"),
        whole(BINARY, b"\xff\x00"),
        ("pong", b""),
        ("close", 1000, b""),
    ]


def test_a_message_in_pieces_keeps_its_opcode_and_its_boundaries(kernels: Kernels) -> None:
    stream = Stream(
        frame(TEXT, b"a", fin=False)
        + frame(CONTINUE, b"b", fin=False)
        + frame(PING, b"between")
        + frame(CONTINUE, b"c")
        + frame(BINARY, b"d")
    )
    assert events(kernels, stream) == [
        ("data", TEXT, True, False, True, False, b"a"),
        ("data", TEXT, False, False, True, False, b"b"),
        ("ping", b"between"),
        ("data", TEXT, False, False, True, True, b"c"),
        whole(BINARY, b"d"),
    ]


def test_an_empty_frame_is_told_only_where_a_message_begins_or_ends(kernels: Kernels) -> None:
    assert events(kernels, GOOD["empty frames around and within a message"]) == [
        ("data", BINARY, True, False, True, False, b""),
        ("data", BINARY, False, False, True, False, b"x"),
        ("data", BINARY, False, False, True, True, b""),
    ]
    assert events(kernels, GOOD["an empty text"]) == [whole(TEXT, b"")]


def test_compression_is_a_matter_of_the_first_frame(kernels: Kernels) -> None:
    told = events(kernels, GOOD["a compressed message in pieces"])
    assert [event[3] for event in told] == [True, True]
    told = events(kernels, GOOD["compressed and plain by turns"])
    assert [event[3] for event in told] == [True, False, True]


def test_compressed_text_is_not_judged(kernels: Kernels) -> None:
    stream = Stream(frame(TEXT, b"\xff\xfe\x80", rsv=RSV1), deflate=True)
    assert events(kernels, stream) == [whole(TEXT, b"\xff\xfe\x80", compressed=True)]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
def test_lengths_of_every_form(kernels: Kernels, length: int) -> None:
    payload = (b"0123456789abcdef" * (length // 16 + 1))[:length]
    stream = Stream(frame(BINARY, payload) + frame(TEXT, payload))
    assert events(kernels, stream) == [whole(BINARY, payload), whole(TEXT, payload)]


def test_what_is_left_of_a_frame_is_told_with_each_piece(kernels: Kernels) -> None:
    reader = Reader(kernels)
    reader.feed(b"\x82" + length_bytes(2**40))
    assert reader.events == []
    reader.feed(b"abc")
    assert reader.frame_left == 2**40 - 3
    reader.feed(b"defg")
    assert reader.frame_left == 2**40 - 7
    assert reader.events == [("data", BINARY, True, False, False, False, b"abcdefg")]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_at_the_byte_that_shows_it(kernels: Kernels, name: str) -> None:
    code, stream = FAULTS[name]
    before = Stream(stream.data[:-1], stream.deflate, stream.limit)
    assert ("bad", code) not in events(kernels, before)
    assert events(kernels, stream)[-1] == ("bad", code)
    assert events(kernels, before, [before.data, stream.data[-1:]])[-1] == ("bad", code)


@pytest.mark.parametrize(
    "name", ["a masked text", "a text with a stray byte", "a frame over the limit"]
)
def test_after_a_fault_nothing_is_told(kernels: Kernels, name: str) -> None:
    _, stream = FAULTS[name]
    told = events(kernels, stream)
    assert events(kernels, stream, [stream.data + frame(PING), close(1000), b"\xff" * 99]) == told


def test_after_a_close_nothing_is_told(kernels: Kernels) -> None:
    stream = Stream(close(1001, b"bye") + frame(TEXT, b"late") + b"\xff\xff")
    assert events(kernels, stream) == [("close", 1001, b"bye")]
    assert events(kernels, stream, [close(1001, b"bye"), frame(PING), close(1000)]) == [
        ("close", 1001, b"bye")
    ]


def test_close_codes_that_a_server_may_send(kernels: Kernels) -> None:
    codes = [code for code in range(0x10000) if kernels.lib.ws_close_code_receivable(code)]
    assert codes == [*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)]
    for code in (1000, 1003, 1007, 1014, 3000, 4999):
        assert events(kernels, Stream(close(code))) == [("close", code, b"")]


def test_close_codes_that_a_caller_may_send(kernels: Kernels) -> None:
    codes = [code for code in range(0x10000) if kernels.lib.ws_close_code_sendable(code)]
    assert codes == [1000, *range(3000, 5000)]
    assert not kernels.lib.ws_close_code_sendable(0x10000 + 1000)


ALL = {**GOOD, **{name: stream for name, (_, stream) in FAULTS.items()}}


@pytest.mark.parametrize("name", ALL)
def test_however_the_input_is_cut_the_same_is_read(kernels: Kernels, name: str) -> None:
    stream = ALL[name]
    data, told = stream.data, read(stream)
    assert events(kernels, stream) == told
    for cut in range(len(data) + 1):
        assert events(kernels, stream, [data[:cut], data[cut:]]) == told
    for size in (1, 2, 3, 7):
        pieces = (data[at : at + size] for at in range(0, len(data), size))
        assert events(kernels, stream, pieces) == told


FIRST_BYTES = st.sampled_from(
    [0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0xC1, 0x41, 0x89, 0x8A]
) | st.integers(0, 255)
PAYLOADS = (
    st.binary(max_size=20)
    | st.text(max_size=20).map(str.encode)
    | st.binary(min_size=120, max_size=130)
)
FORMS = st.sampled_from([None, None, None, None, 3, 9])
FRAMES = st.builds(
    lambda first, payload, form: bytes([first]) + length_bytes(len(payload), form) + payload,
    FIRST_BYTES,
    PAYLOADS.filter(lambda payload: len(payload) < 126),
    FORMS,
) | st.builds(lambda payload: frame(BINARY, payload), PAYLOADS)
DATA = st.lists(FRAMES, max_size=8).map(b"".join) | st.binary(max_size=40)
LIMITS = st.sampled_from([0, 0, 10, 150])


@settings(max_examples=500, deadline=None)
@given(
    data=DATA, deflate=st.booleans(), limit=LIMITS, cuts=st.lists(st.integers(0, 300), max_size=5)
)
def test_random_streams_are_read_as_the_reference_reads_them(
    kernels: Kernels, data: bytes, deflate: bool, limit: int, cuts: list[int]
) -> None:
    stream = Stream(data, deflate, limit)
    ends = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(ends)]
    assert events(kernels, stream, pieces) == read(stream)


SPOILT_TEXTS = st.builds(
    lambda text, more: text.encode() + more, st.text(), st.binary(max_size=3) | st.just(b"")
)


@settings(max_examples=200, deadline=None)
@given(data=SPOILT_TEXTS)
def test_bad_text_is_told_at_its_first_bad_byte(kernels: Kernels, data: bytes) -> None:
    stream = Stream(frame(TEXT, data + b"more"))
    start = len(stream.data) - len(data) - 4
    bad = first_bad_byte(data + b"more")
    if bad is None:
        assert events(kernels, stream) == [whole(TEXT, data + b"more")]
    else:
        assert events(kernels, Stream(stream.data[: start + bad + 1]))[-1] == ("bad", 1007)
        assert ("bad", 1007) not in events(kernels, Stream(stream.data[: start + bad]))


def messages(told: Iterable[Event]) -> Iterator[tuple[int, bytes]]:
    payload = b""
    for _, opcode, _, _, _, message_end, piece in told:
        payload += piece
        if message_end:
            yield opcode, payload
            payload = b""


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.text(max_size=40), min_size=1) | st.lists(st.binary(), min_size=1)))
def test_what_wsproto_sends_is_read(kernels: Kernels, sent: list[list[Any]]) -> None:
    server = FrameProtocol(client=False, extensions=[])
    data = b""
    for pieces in sent:
        for number, piece in enumerate(pieces, 1):
            data += server.send_data(piece, fin=number == len(pieces))
            data += server.ping(b"between")
    told = events(kernels, Stream(data + server.close(1001, "tschüß")))
    assert told.pop() == ("close", 1001, "tschüß".encode())
    expected = [
        (TEXT, "".join(m).encode()) if isinstance(m[0], str) else (BINARY, b"".join(m))
        for m in sent
    ]
    assert list(messages(event for event in told if event[0] == "data")) == expected
    assert told.count(("ping", b"between")) == sum(map(len, sent))


# --- limits ---------------------------------------------------------------------------------------


def test_a_message_may_be_as_large_as_the_limit(kernels: Kernels) -> None:
    stream = Stream(frame(BINARY, bytes(1000)) * 3, limit=1000)
    assert events(kernels, stream) == [whole(BINARY, bytes(1000))] * 3


def test_a_message_over_the_limit_is_refused_before_its_payload(kernels: Kernels) -> None:
    stream = Stream(frame(BINARY, bytes(600), fin=False) + b"\x80" + length_bytes(401), limit=1000)
    assert events(kernels, stream)[-1] == ("bad", 1009)
    assert ("bad", 1009) not in events(kernels, Stream(stream.data[:-1], limit=1000))


def test_without_a_limit_lengths_do_not_wrap(kernels: Kernels) -> None:
    header = b"\x02" + length_bytes(2**63 - 1)
    assert events(kernels, Stream(header + b"x"))[-1][:1] == ("data",)
    assert events(kernels, Stream(header, limit=2**63 - 2)) == [("bad", 1009)]
    assert events(kernels, Stream(header, limit=2**64 - 1)) == []


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "of one byte"])
def test_endless_frames_of_one_message_are_refused(kernels: Kernels, payload: bytes) -> None:
    most, block = kernels.lib.WS_MAX_FRAMES, 4096
    assert most < 10**6
    reader, more = Reader(kernels), frame(CONTINUE, payload, fin=False)
    for number in range(most // block):
        start = frame(BINARY, payload, fin=False) if number == 0 else more
        reader.feed(start + more * (block - 1))
        assert all(event[0] == "data" for event in reader.events)
        reader.events.clear()
    reader.feed(frame(PING))  # is not of the message
    reader.feed(frame(CONTINUE, payload))
    assert reader.events == [("ping", b""), ("bad", 1009)]


def test_frames_are_counted_by_message(kernels: Kernels) -> None:
    half = kernels.lib.WS_MAX_FRAMES // 2 + 1
    reader = Reader(kernels)
    for _ in range(2):
        reader.feed(frame(TEXT, fin=False) + frame(CONTINUE, fin=False) * half + frame(CONTINUE))
    assert [event[0] for event in reader.events] == ["data"] * 4


# --- frames that are written ----------------------------------------------------------------------

MASK = b"\x01\x80\xfe\x37"


def header(kernels: Kernels, opcode: int, fin: bool, rsv1: bool, length: int) -> bytes:
    out = kernels.ffi.new("uint8_t[14]")
    size = kernels.lib.ws_header(out, opcode, fin, rsv1, length, MASK)
    return bytes(out)[:size]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536, 2**32, 2**63 - 1])
@pytest.mark.parametrize("rsv1", [False, True])
@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("opcode", [CONTINUE, TEXT, BINARY, CLOSE, PING, PONG])
def test_a_header_has_the_shortest_length_and_the_mask(
    kernels: Kernels, opcode: int, fin: bool, rsv1: bool, length: int
) -> None:
    first, *sizes = length_bytes(length)
    expected = bytes([fin << 7 | rsv1 << 6 | opcode, first | 0x80, *sizes]) + MASK
    assert header(kernels, opcode, fin, rsv1, length) == expected


def masked(kernels: Kernels, payload: bytes) -> bytes:
    to = kernels.ffi.new("uint8_t[]", len(payload))
    kernels.lib.ws_mask(to, payload, len(payload), MASK, 0)
    return bytes(to)


@pytest.mark.parametrize("length", [0, 5, 125, 126, 65535, 65536])
def test_what_is_written_is_read_by_wsproto(kernels: Kernels, length: int) -> None:
    server = FrameProtocol(client=False, extensions=[])
    payload = (bytes(range(256)) * 257)[:length]
    server.receive_bytes(header(kernels, BINARY, True, False, length) + masked(kernels, payload))
    (told,) = server.received_frames()
    assert (told.opcode, told.payload, told.message_finished) == (Opcode.BINARY, payload, True)
