"""permessage-deflate against a raw server (RFC 7692): its examples, its limits, and what breaks it.

The server's side is zlib itself, so that windows and contexts are exactly what was agreed on.
"""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

import ftnet as ft
from tests.faults.meetings import DEFLATE, MEGABYTE, growth, meeting
from tests.servers.hostile_ws import Behaviour, WsPeer
from tests.ws_streams import BINARY, CONTINUE, PING, PONG, RSV1, TEXT, close, frame

TAIL = b"\x00\x00\xff\xff"
SHUFFLED = random.Random(7692)


class Deflater:
    """The server's side of the compression."""

    def __init__(self, bits: int = 15, context: bool = True) -> None:
        self.bits, self.context = bits, context
        self._new()

    def _new(self) -> None:
        self.deflate = zlib.compressobj(9, zlib.DEFLATED, -self.bits)

    def message(self, payload: bytes) -> bytes:
        data = self.deflate.compress(payload) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        if not self.context:
            self._new()
        return data[:-4]


class Inflater:
    """Takes the client's messages, within the window it may use."""

    def __init__(self, bits: int = 15, context: bool = True) -> None:
        self.bits, self.context = bits, context
        self.inflate = zlib.decompressobj(-bits)

    def message(self, payload: bytes) -> bytes:
        data = self.inflate.decompress(payload + TAIL)
        assert not self.inflate.unconsumed_tail
        if not self.context:
            self.inflate = zlib.decompressobj(-self.bits)
        return data


def deflated(payload: bytes, opcode: int = TEXT) -> bytes:
    """A frame that is a compressed message of its own."""
    return frame(opcode, Deflater().message(payload), rsv=RSV1)


# --- what must work -------------------------------------------------------------------------------

#: Messages of RFC 7692 7.2.3 as they are there on the wire, each of which is "Hello".
EXAMPLES = {
    "one block": bytes.fromhex("c107f248cdc9c90700"),
    "two frames": bytes.fromhex("4103f248cd 8004c9c90700"),
    "the context again": bytes.fromhex("c107f248cdc9c90700 c105f200110000"),
    "a block without compression": bytes.fromhex("c10b000500faff48656c6c6f00"),
    "a final block": bytes.fromhex("c108f348cdc9c9070000"),
    "two blocks": bytes.fromhex("c10df248050000 00ffffcac9c90700"),
    "a final block, and one more message": bytes.fromhex("c108f348cdc9c9070000 c107f248cdc9c90700"),
    "an empty message between": bytes.fromhex("c107f248cdc9c90700 c10100 c105f200110000"),
    "an uncompressed message between": bytes.fromhex("c107f248cdc9c90700 8100 c105f200110000"),
    "empty frames within": bytes.fromhex("4100 0003f248cd 0000 0004c9c90700 8000"),
}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("way", ["in one packet", "byte by byte"])
def test_the_examples_of_the_rfc_say_hello(name: str, way: str) -> None:
    def speak(peer: WsPeer) -> None:
        peer.open(deflate=True)
        data = EXAMPLES[name] + close(1000)
        peer.send(data) if way == "in one packet" else peer.drip(data)
        peer.expect_close(1000)

    with meeting(speak, **DEFLATE) as met:
        assert met.clean() == (1000, "")
        assert [said for said in met.story.messages if said] == ["Hello"] * max(
            1, EXAMPLES[name].count(b"\xc1") - EXAMPLES[name].count(b"\xc1\x01")
        )


#: What is offered, what is agreed on; bits and context of the server and of the client.
Way = tuple[int, bool]
AGREED: dict[str, tuple[Mapping[str, Any], str, Way, Way]] = {
    "nothing": ({}, "", (15, True), (15, True)),
    "no context": (
        {"serverNoContextTakeover": True, "clientNoContextTakeover": True},
        "server_no_context_takeover; client_no_context_takeover",
        (15, False),
        (15, False),
    ),
    "no context though not offered": (
        {},
        "client_no_context_takeover;server_no_context_takeover",
        (15, False),
        (15, False),
    ),
    "no context as offered, though not said": (
        {"clientNoContextTakeover": True},
        "",
        (15, True),
        (15, False),
    ),
    "quoted bits": ({}, 'client_max_window_bits="10"', (15, True), (10, True)),
    "the offered bits": (
        {"serverMaxWindowBits": 10, "clientMaxWindowBits": 11},
        "server_max_window_bits=10; client_max_window_bits=11",
        (10, True),
        (11, True),
    ),
    "fewer bits than offered": (
        {"serverMaxWindowBits": 12, "clientMaxWindowBits": 12},
        "server_max_window_bits=9; client_max_window_bits=9",
        (9, True),
        (9, True),
    ),
    "the client's bits offered but not agreed to": (
        {"clientMaxWindowBits": 10},
        "",
        (15, True),
        (10, True),
    ),
    "8 bits of the server": ({}, "server_max_window_bits=8", (9, True), (15, True)),
    **{
        f"{bits} bits": (
            {},
            f"server_max_window_bits={bits}; client_max_window_bits={bits}",
            (bits, True),
            (bits, True),
        )
        for bits in range(9, 16)
    },
}
# the second message refers to the first at any distance there is
FIRST = bytes(SHUFFLED.choices(b"abcdefgh", k=40_000))
TEXTS = [FIRST, FIRST[:20_000], b"", b"x", FIRST[100:300] * 9]


@pytest.mark.parametrize("name", AGREED)
def test_messages_pass_as_agreed(name: str) -> None:
    options, agreed, theirs, ours = AGREED[name]
    texts = TEXTS if "8 bits of" not in name else [b"a" * 99, b"", b"a" * 99]

    def speak(peer: WsPeer) -> None:
        peer.open(deflate=agreed or True)
        deflater, inflater = Deflater(*theirs), Inflater(*ours)
        for text in texts:
            data = deflater.message(text)
            cut = len(data) // 2
            peer.send(frame(TEXT, data[:cut], fin=False, rsv=RSV1), frame(PING, b"between"))
            peer.send(frame(CONTINUE, data[cut:]))
        for text in texts:
            assert inflater.message(peer.message()[1]) == text
        peer.send(close(1000))
        peer.expect_close(1000)

    with meeting(speak, perMessageDeflate=options) as met:
        met.task.onMessage(lambda event: met.task.send(data=event.data))
        assert met.clean() == (1000, "")
        assert met.story.messages == [text.decode() for text in texts]


def test_a_client_that_may_use_8_bits_only_sends_without_compression() -> None:
    """zlib makes no stream with so small a window (RFC 7692 7.1.2.2 lets the server ask for it)."""

    def speak(peer: WsPeer) -> None:
        peer.open(deflate="client_max_window_bits=8", then=deflated(b"Hello"))
        sent = peer.next(TEXT)
        assert (sent.rsv, sent.payload) == (0, b"hello " * 99)
        peer.send(close(1000))
        peer.expect_close(1000)

    with meeting(speak, **DEFLATE) as met:
        met.task.onMessage(lambda _: met.task.send(data="hello " * 99))
        assert met.clean() == (1000, "")
        assert met.story.messages == ["Hello"]


def test_a_message_sent_in_parts_is_one_compressed_message() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open(deflate=True)
        inflater = Inflater()
        assert inflater.message(peer.message()[1]) == b"Hello, World!"
        assert inflater.message(peer.message()[1]) == b"Hello, World!"
        assert [(sent.opcode, sent.fin, sent.rsv) for sent in peer.frames] == [
            (TEXT, False, RSV1),
            (CONTINUE, False, 0),
            (CONTINUE, True, 0),
        ] * 2
        peer.send(close(1000))
        peer.expect_close(1000)

    with meeting(speak, **DEFLATE) as met:
        met.story.until("open")
        for _ in range(2):
            met.task.send(data="Hello", final=False)
            met.task.send(data=", World!", final=False)
            met.task.send(data="")
        assert met.clean() == (1000, "")


def test_a_random_message_is_not_hurt_by_compression() -> None:
    data = os.urandom(300_000)

    def speak(peer: WsPeer) -> None:
        peer.open(deflate=True, then=deflated(data, BINARY))
        assert Inflater().message(peer.message()[1]) == data
        peer.send(close(1000))
        peer.expect_close(1000)

    with meeting(speak, **DEFLATE) as met:
        met.task.onMessage(lambda event: met.task.send(data=event.data))
        assert met.clean() == (1000, "")
        assert met.story.messages == [data]


# --- what is corrupt ------------------------------------------------------------------------------


def says(data: bytes, code: int, agreed: bool | str = True) -> Behaviour:
    def speak(peer: WsPeer) -> None:
        peer.open(deflate=agreed, then=deflated(b"before") + data)
        peer.expect_close(code)

    return speak


def far_back() -> bytes:
    """A message that refers farther back than a window of 9 bits reaches: to the one before."""
    deflater = Deflater(15)
    word = bytes(range(97, 123))
    before = word + bytes(SHUFFLED.choices(b"0123456789", k=2000))
    return b"".join(frame(TEXT, deflater.message(text), rsv=RSV1) for text in (before, word))


def context_kept() -> bytes:
    """Two messages, the second of which refers to the first."""
    deflater = Deflater()
    word = bytes(SHUFFLED.choices(b"abcdefghij", k=99))
    return b"".join(frame(TEXT, deflater.message(word), rsv=RSV1) for _ in range(2))


HALF = len(Deflater().message(b"Hello" * 9)) // 2
FAULTS: dict[str, tuple[int, Behaviour]] = {
    "an invalid block type": (1007, says(frame(TEXT, b"\x07", rsv=RSV1), 1007)),
    "bad lengths of a stored block": (
        1007,
        says(frame(TEXT, b"\x00\x05\x00\x05\x00Hello\x00", rsv=RSV1), 1007),
    ),
    "bad code lengths": (1007, says(frame(BINARY, b"\xff" * 40, rsv=RSV1), 1007)),
    "a gzip header": (1007, says(frame(BINARY, zlib.compress(b"x", wbits=31), rsv=RSV1), 1007)),
    "corrupt in a later frame": (
        1007,
        says(
            frame(TEXT, Deflater().message(b"Hello" * 9), fin=False, rsv=RSV1)
            + frame(CONTINUE, b"\x07" * 4, fin=False),
            1007,
        ),
    ),
    "a distance before the beginning": (1007, says(frame(TEXT, b"\x02\x10", rsv=RSV1), 1007)),
    "a window larger than agreed": (1007, says(far_back(), 1007, "server_max_window_bits=9")),
    "a context that was to be dropped": (
        1007,
        says(context_kept(), 1007, "server_no_context_takeover"),
    ),
    "bad text": (1007, says(deflated(b"ab\xffcd"), 1007)),
    "text with a surrogate": (1007, says(deflated(b"\xed\xa0\x80"), 1007)),
    "text that ends within a character": (1007, says(deflated(b"ab\xe2\x82"), 1007)),
    "an empty frame that ends within a character": (
        1007,
        says(
            frame(TEXT, Deflater().message(b"ab\xe2\x82"), fin=False, rsv=RSV1) + frame(CONTINUE),
            1007,
        ),
    ),
    "bad text whose end never comes": (
        1007,
        says(frame(TEXT, Deflater().message(b"ab\xc0") + TAIL, fin=False, rsv=RSV1), 1007),
    ),
    "RSV1 on a continuation": (
        1002,
        says(frame(TEXT, b"\x02", fin=False, rsv=RSV1) + frame(CONTINUE, b"\x00", rsv=RSV1), 1002),
    ),
    "RSV1 on a ping": (1002, says(frame(PING, rsv=RSV1), 1002)),
    "RSV1 on a pong": (1002, says(frame(PONG, rsv=RSV1), 1002)),
    "RSV1 on a close": (1002, says(b"\xc8\x02\x03\xe8", 1002)),
    "RSV2 on a compressed message": (1002, says(frame(TEXT, b"\x00", rsv=0x60), 1002)),
}

#: The first of two messages has no fault.
REFER_BACK = {"a context that was to be dropped", "a window larger than agreed"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_compressed_message(name: str) -> None:
    code, behaviour = FAULTS[name]
    with meeting(behaviour, **DEFLATE) as met:
        error = met.broken()
        assert error.errno == ft.Errno.PROTOCOL
        assert f"closed with {code}" in error.errMsg
        first, *more = met.story.messages
        assert first == "before"
        assert len(more) == (
            name in ("a context that was to be dropped", "a window larger than agreed")
        )


@pytest.mark.parametrize("offered", [{}, DEFLATE], ids=["not offered", "not agreed to"])
def test_a_compressed_message_without_the_extension(offered: Mapping[str, Any]) -> None:
    def speak(peer: WsPeer) -> None:
        peer.open(then=deflated(b"Hello"))
        peer.expect_close(1002)

    with meeting(speak, **offered) as met:
        met.broken()
        assert met.story.messages == []


# --- bombs ----------------------------------------------------------------------------------------


def bomb(megabytes: int) -> bytes:
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(MEGABYTE)
    data = b"".join(press.compress(block) for _ in range(megabytes))
    return (data + press.flush(zlib.Z_SYNC_FLUSH))[:-4]


BOMB = bomb(256)  # in 256 KiB
PIECES = [BOMB[at : at + 1000] for at in range(0, len(BOMB), 1000)]
BOMBS = {
    "in one frame": frame(BINARY, BOMB, rsv=RSV1),
    "in frames": frame(BINARY, rsv=RSV1, fin=False)
    + b"".join(frame(CONTINUE, piece, fin=False) for piece in PIECES)
    + frame(CONTINUE),
    "that says it is text": frame(TEXT, BOMB, rsv=RSV1),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_at_the_limit(name: str) -> None:
    limited = {"max_message_bytes": 1_000_000}
    data = BOMBS[name]
    with growth() as grown, meeting(says(data, 1009), client=limited, **DEFLATE) as met:
        error = met.broken()
        assert error.errno == ft.Errno.INVALID_DATA
        assert "closed with 1009" in error.errMsg
    assert grown.megabytes < 8


@pytest.mark.parametrize("size", [1000, 1001])
def test_the_limit_is_for_what_comes_out(size: int) -> None:
    data = frame(BINARY, bytes(size))
    compressed = deflated(bytes(size), BINARY)
    limited = {"max_message_bytes": 1000}
    assert len(compressed) < 100
    for message in (data, compressed):
        said = says(message + close(1000), 1000 if size == 1000 else 1009)
        with meeting(said, client=limited, **DEFLATE) as met:
            assert met.end[0] == (1000 if size == 1000 else 1006)
            assert len(met.story.messages) == (2 if size == 1000 else 1)


def test_a_bomb_in_pieces_waits_for_who_takes_them() -> None:
    """With `enableChunked` there is no limit on a message, but on what waits."""

    def speak(peer: WsPeer) -> None:
        peer.open(deflate=True, then=deflated(b"before"))
        peer.send(BOMBS["in one frame"], frame(TEXT, b"the end"), close(1000))
        peer.expect_close(1000)

    taken = 0

    def take(event: Any) -> None:
        nonlocal taken
        taken += len(event.data)
        met.task.pause()
        met.server.stopping.wait(0.001)
        met.task.resume()

    limited = {"max_buffered_bytes": MEGABYTE}
    options = {"deaf": True, "enableChunked": True, **DEFLATE}
    with growth() as grown, meeting(speak, client=limited, **options) as met:
        met.task.onMessage(take)
        assert met.clean() == (1000, "")
    assert taken == (256 << 20) + len("before") + len("the end")
    assert grown.megabytes < 128  # one read of 64 KiB may become 64 MiB, in a slab that doubles
