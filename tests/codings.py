"""Packed bodies for the tests of content codings, and what became of them."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest

from ftcore import decode

PIECE = 32768
MB = 1 << 20


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


#: how a body is packed -> (name of the coding, packer)
PACKERS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "deflate": (b"deflate", zlib.compress),
    "raw deflate": (b"deflate", raw_deflate),
    "br": (b"br", brotli.compress),
}


def noise(length: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(length)


SHORT = b"A body of some length, said twice, said twice. " + noise(60)
MEMBERS = gzip.compress(SHORT[:40]) + gzip.compress(b"") + gzip.compress(SHORT[40:])
STACKED = brotli.compress(gzip.compress(SHORT))

#: (codings, wire) that all are SHORT
SAMPLES = {
    "gzip": (b"gzip", gzip.compress(SHORT)),
    "gzip stored": (b"gzip", gzip.compress(SHORT, 0)),
    "gzip members": (b"gzip", MEMBERS),
    "deflate": (b"deflate", zlib.compress(SHORT)),
    "raw deflate": (b"deflate", raw_deflate(SHORT)),
    "br": (b"br", brotli.compress(SHORT)),
    "gzip, br": (b"gzip, br", STACKED),
}
samples = pytest.mark.parametrize(("codings", "wire"), SAMPLES.values(), ids=SAMPLES)


def outcome(codings: bytes, pieces: list[bytes], take: Any = None) -> tuple[bytes, bool] | str:
    """What came of it: (body, finished), or the word for why not."""
    try:
        return decode.decode(codings, pieces, take)
    except ValueError as error:
        return str(error)


def one_by_one(wire: bytes) -> list[bytes]:
    return [wire[i : i + 1] for i in range(len(wire))]
