"""HdrHistogram's V2 encoding, written word by word: what decoders are tried with."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable

COOKIE = 0x1C849313
PACKED_COOKIE = 0x1C849314
HOUR = 3_600_000_000_000


def word(value: int) -> bytes:
    """ZigZag LEB128, of which the ninth byte has eight bits."""
    rest = (value << 1 ^ value >> 63) & 2**64 - 1
    made = bytearray()
    while rest > 0x7F and len(made) < 8:
        made.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*made, rest])


def payload(
    words: Iterable[int] = (),
    *,
    cookie: int = COOKIE,
    shifted: int = 0,
    digits: int = 3,
    lowest: int = 1,
    highest: int = HOUR,
    ratio: float = 1.0,
    length: int | None = None,
    tail: bytes = b"",
) -> bytes:
    """Counts as words, a negative one for as many empty slots; `tail` stands after the last."""
    counts = b"".join(map(word, words)) + tail
    told = len(counts) if length is None else length
    return struct.pack(">IIIIqqd", cookie, told, shifted, digits, lowest, highest, ratio) + counts


def text(data: bytes, *, cookie: int = PACKED_COOKIE, length: int | None = None) -> str:
    """In zlib and base64."""
    return wrapped(zlib.compress(data), cookie=cookie, length=length)


def wrapped(packed: bytes, *, cookie: int = PACKED_COOKIE, length: int | None = None) -> str:
    """What is said to be zlib's, in base64."""
    told = len(packed) if length is None else length
    return base64.b64encode(struct.pack(">II", cookie, told) + packed).decode()
