"""WebSocket streams as a server may send them, byte by byte: good ones, and one for each fault.

Also the seeds of the fuzzers, so that nothing but the standard library is imported here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

CONTINUE, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10


def length_bytes(length: int, form: int | None = None) -> bytes:
    """A payload's length in its shortest form, or in one of 1, 3 or 9 bytes."""
    form = form or (1 if length < 126 else 3 if length < 0x10000 else 9)
    if form == 1:
        return bytes([length])
    return b"\x7e" + struct.pack(">H", length) if form == 3 else b"\x7f" + struct.pack(">Q", length)


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, form: int | None = None
) -> bytes:
    first = bytes([(0x80 if fin else 0) | rsv | opcode])
    return first + length_bytes(len(payload), form) + payload


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack(">H", code) + reason)


@dataclass(frozen=True)
class Stream:
    """Bytes from a server, and what the reader is told before them."""

    data: bytes
    deflate: bool = False
    limit: int = 0


PIECES = (
    frame(TEXT, "Grö".encode()[:-1], fin=False)
    + frame(PING, b"there?")
    + frame(CONTINUE, "ö".encode()[1:] + b"\xf0\x9f", fin=False)
    + frame(PONG)
    + frame(CONTINUE, b"\x8e\x89")
)

GOOD = {
    "a short text": Stream(frame(TEXT, b"Hello")),
    "an empty text": Stream(frame(TEXT)),
    "an empty binary message": Stream(frame(BINARY)),
    "125 bytes": Stream(frame(BINARY, bytes(range(125)))),
    "126 bytes": Stream(frame(BINARY, bytes(range(126)))),
    "a text of 300 bytes": Stream(frame(TEXT, "é".encode() * 150)),
    "messages in a row": Stream(frame(TEXT, b"a") + frame(BINARY, b"\xff") + frame(TEXT, b"c")),
    "a text cut within characters, with control frames between": Stream(PIECES),
    "empty frames around and within a message": Stream(
        frame(BINARY, fin=False)
        + frame(CONTINUE, fin=False)
        + frame(CONTINUE, b"x", fin=False)
        + frame(CONTINUE, fin=False)
        + frame(CONTINUE)
    ),
    "a message of empty frames": Stream(frame(TEXT, fin=False) + frame(CONTINUE)),
    "a character over an empty frame": Stream(
        frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUE, fin=False) + frame(CONTINUE, b"\xac")
    ),
    "a compressed message in pieces": Stream(
        frame(TEXT, b"\xf2\x48", fin=False, rsv=RSV1) + frame(CONTINUE, b"\xcd\xc9\xc9\x07\x00"),
        deflate=True,
    ),
    "compressed and plain by turns": Stream(
        frame(BINARY, b"\x02\x00", rsv=RSV1) + frame(TEXT, b"plain") + frame(TEXT, rsv=RSV1),
        deflate=True,
    ),
    "pings, empty and full": Stream(frame(PING) + frame(PING, bytes(125)) + frame(PONG, b"p")),
    "a close without a code": Stream(frame(CLOSE)),
    "a close with a code": Stream(close(1000)),
    "a close with a reason": Stream(close(4999, "tschüß".encode()) + frame(TEXT, b"late")),
    "a close with the longest reason": Stream(close(1001, b"r" * 123)),
    "a close within a message": Stream(frame(TEXT, b"unfin", fin=False) + close(1011)),
    "a message as large as the limit": Stream(
        frame(BINARY, bytes(6), fin=False) + frame(CONTINUE, bytes(4)) + frame(TEXT, b"0123456789"),
        limit=10,
    ),
    "control frames are not of a message": Stream(
        frame(BINARY, b"12", fin=False) + frame(PING, bytes(99)) + frame(CONTINUE, b"3"), limit=3
    ),
    "a header cut short": Stream(b"\x82\x7e\x01"),
    "a payload cut short": Stream(frame(BINARY, bytes(9))[:-4]),
    "the longest length there is": Stream(b"\x82" + length_bytes(2**63 - 1) + b"begins"),
}
#: Each ends with the byte that has the fault, and is without fault before it.
FAULTS = {
    "RSV1 without the extension": (1002, Stream(b"\xc1")),
    "RSV2": (1002, Stream(b"\xa1", deflate=True)),
    "RSV3": (1002, Stream(b"\x91", deflate=True)),
    "RSV1 on a ping": (1002, Stream(b"\xc9", deflate=True)),
    "RSV1 on a close": (1002, Stream(b"\xc8", deflate=True)),
    "RSV1 on a continuation": (
        1002,
        Stream(frame(TEXT, b"\x02", fin=False, rsv=RSV1) + b"\xc0", deflate=True),
    ),
    "an unknown opcode within a message": (1002, Stream(frame(TEXT, fin=False) + b"\x83")),
    "a continuation of nothing": (1002, Stream(b"\x80")),
    "a continuation of nothing, not final": (1002, Stream(b"\x00")),
    "a continuation after the end": (1002, Stream(frame(TEXT, b"a") + b"\x80")),
    "a text within a message": (1002, Stream(frame(TEXT, b"a", fin=False) + b"\x81")),
    "a binary message within a message": (1002, Stream(frame(TEXT, b"a", fin=False) + b"\x02")),
    "a masked text": (1002, Stream(b"\x81\x85")),
    "a masked ping": (1002, Stream(b"\x89\x80")),
    "a masked close": (1002, Stream(b"\x88\x82")),
    "a masked continuation": (1002, Stream(frame(TEXT, fin=False) + b"\x80\x80")),
    "a ping in pieces": (1002, Stream(b"\x09")),
    "a pong in pieces": (1002, Stream(b"\x0a")),
    "a close in pieces": (1002, Stream(b"\x08")),
    "a ping of 126 bytes": (1002, Stream(b"\x89\x7e")),
    "a pong of 65536 bytes": (1002, Stream(b"\x8a\x7f")),
    "a close of 126 bytes": (1002, Stream(b"\x88\x7e")),
    "125 as 16 bits": (1002, Stream(b"\x82" + length_bytes(125, 3))),
    "0 as 16 bits": (1002, Stream(b"\x82" + length_bytes(0, 3))),
    "65535 as 64 bits": (1002, Stream(b"\x82" + length_bytes(65535, 9))),
    "0 as 64 bits": (1002, Stream(b"\x82" + length_bytes(0, 9))),
    "a length of 2^63": (1002, Stream(b"\x82" + length_bytes(2**63))),
    "a length of 2^64-1": (1002, Stream(b"\x82" + length_bytes(2**64 - 1))),
    "a close of one byte": (1002, Stream(frame(CLOSE, b"\x03"))),
    "a close of one byte after a ping": (
        1002,
        Stream(frame(PING, b"\x03\xe8") + frame(CLOSE, b"\x03")),
    ),
    "a bad code and a bad reason": (1002, Stream(close(1005, b"\xff"))),
    "a close reason that is not UTF-8": (1007, Stream(close(1000, b"so \xc0\xaf"))),
    "a close reason that is cut": (1007, Stream(close(1000, b"so \xe2\x82"))),
    "a text with a stray byte": (1007, Stream(frame(TEXT, b"ab\x80cd")[:-2])),
    "a text with a surrogate": (1007, Stream(frame(TEXT, b"ab\xed\xa0\x80")[:-1])),
    "a text with an overlong form": (1007, Stream(frame(TEXT, b"ab\xf0\x80\x80\x80")[:-2])),
    "a text above U+10FFFF": (1007, Stream(frame(TEXT, b"ab\xf4\x90\x80\x80")[:-2])),
    "a text that ends within a character": (1007, Stream(frame(TEXT, b"ab\xe2\x82"))),
    "pieces that end within a character": (
        1007,
        Stream(frame(TEXT, b"ab\xe2", fin=False) + frame(CONTINUE, b"\x82")),
    ),
    "an empty last piece within a character": (
        1007,
        Stream(frame(TEXT, b"ab\xe2", fin=False) + frame(CONTINUE)),
    ),
    "bad text across pieces": (
        1007,
        Stream(frame(TEXT, b"\xe0", fin=False) + frame(PING) + frame(CONTINUE, b"\x9f\x80")[:-1]),
    ),
    "plain bad text with the extension": (1007, Stream(frame(TEXT, b"\xff"), deflate=True)),
    "a frame over the limit": (1009, Stream(b"\x82" + length_bytes(11), limit=10)),
    "a frame of 16 bits over the limit": (1009, Stream(b"\x82" + length_bytes(1001), limit=1000)),
    "a frame of 64 bits over the limit": (
        1009,
        Stream(b"\x82" + length_bytes(2**63 - 1), limit=2**62),
    ),
    "a compressed frame over the limit": (
        1009,
        Stream(b"\xc2" + length_bytes(11), deflate=True, limit=10),
    ),
    "pieces over the limit": (
        1009,
        Stream(frame(BINARY, bytes(10), fin=False) + b"\x80\x01", limit=10),
    ),
    **{
        f"opcode {n}": (1002, Stream(bytes([0x80 | n])))
        for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    **{
        f"close code {code}": (1002, Stream(close(code)))
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535)
    },
}
