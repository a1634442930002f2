"""WebSocket masks: how they are laid on a payload, and where they come from."""

from __future__ import annotations

import os
import struct
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.kernels import Kernels, build_kernels

MASK = b"\x01\x80\xfe\x37"
NO_RANDOMNESS = """
#include <errno.h>
#include <stddef.h>
int no_randomness(void *to, size_t length) { (void)to, (void)length, errno = ENOSYS; return -1; }
"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return build_kernels(tmp_path_factory.mktemp("kernels"), "ws_mask")


def masked(kernels: Kernels, payload: bytes, mask: bytes = MASK, offset: int = 0) -> bytes:
    to = kernels.ffi.new("uint8_t[]", len(payload) + 1)
    to[len(payload)] = 0x5A
    kernels.lib.ws_mask(to, payload, len(payload), mask, offset)
    assert to[len(payload)] == 0x5A, "wrote beyond the end"
    return bytes(to)[:-1]


def reference_masked(payload: bytes, offset: int = 0) -> bytes:
    return bytes(byte ^ MASK[(offset + at) % 4] for at, byte in enumerate(payload))


@pytest.mark.parametrize("offset", [*range(8), 2**64 - 1])
def test_masking_is_the_xor_of_the_rfc(kernels: Kernels, offset: int) -> None:
    for length in [*range(101), 127, 128, 191, 192, 1000, 4097]:
        payload = bytes((7 * at + length) & 0xFF for at in range(length))
        expected = reference_masked(payload, offset % 4)
        assert masked(kernels, payload, offset=offset) == expected
        in_place = kernels.ffi.new("uint8_t[]", payload)
        kernels.lib.ws_mask(in_place, in_place, length, MASK, offset)
        assert bytes(in_place)[:length] == expected
        kernels.lib.ws_mask(in_place, in_place, length, MASK, offset)
        assert bytes(in_place)[:length] == payload


@pytest.mark.parametrize("start", range(4))
def test_addresses_need_no_alignment(kernels: Kernels, start: int) -> None:
    buffer = kernels.ffi.new("uint8_t[]", bytes(range(256)))
    kernels.lib.ws_mask(buffer + 3, buffer + 100 + start, 90, MASK, 1)
    assert bytes(buffer)[3:93] == reference_masked(bytes(range(100 + start, 190 + start)), 1)


def test_a_payload_can_be_masked_in_pieces(kernels: Kernels) -> None:
    payload = bytes(range(200))
    expected = reference_masked(payload)
    for cut in range(len(payload) + 1):
        first, second = payload[:cut], payload[cut:]
        assert masked(kernels, first) + masked(kernels, second, offset=cut) == expected


def new_pool(kernels: Kernels) -> Any:
    return kernels.ffi.new("ws_mask_pool *")


def next_mask(kernels: Kernels, pool: Any) -> bytes:
    mask = kernels.ffi.new("uint8_t[4]")
    assert kernels.lib.ws_mask_next(pool, mask)
    return bytes(mask)


def test_masks_are_random_and_do_not_repeat(kernels: Kernels) -> None:
    pool, count = new_pool(kernels), 100_000
    masks = [next_mask(kernels, pool) for _ in range(count)]
    assert all(one != other for one, other in pairwise(masks))
    assert len(set(masks)) > count - 20  # 1.2 repeats are to be expected
    for place in range(4):
        seen = Counter(mask[place] for mask in masks)
        expected = count / 256
        chi2 = sum((seen[byte] - expected) ** 2 / expected for byte in range(256))
        assert 120 < chi2 < 400  # 255 is the mean, 22.6 the deviation


def test_a_mask_leaves_no_trace_in_the_pool(kernels: Kernels) -> None:
    pool = new_pool(kernels)
    for _ in range(100):
        mask = next_mask(kernels, pool)
        stock = bytes(pool.stock)
        assert not any(stock[pool.left :])
        assert mask not in stock or mask == bytes(4)


def test_a_wiped_pool_is_empty_and_can_be_used(kernels: Kernels) -> None:
    pool = new_pool(kernels)
    next_mask(kernels, pool)
    stock = bytes(pool.stock)
    kernels.lib.ws_mask_pool_wipe(pool)
    assert not any(bytes(kernels.ffi.buffer(pool)))
    next_mask(kernels, pool)
    assert bytes(pool.stock) != stock


def test_a_forked_child_has_other_masks(kernels: Kernels) -> None:
    pool = new_pool(kernels)
    next_mask(kernels, pool)
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            kernels.lib.ws_mask_pool_wipe(pool)
            os.write(writes, b"".join(next_mask(kernels, pool) for _ in range(60)))
            status = 0
        finally:
            os._exit(status)
    os.close(writes)
    with open(reads, "rb") as pipe:
        theirs = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ours = {next_mask(kernels, pool) for _ in range(60)}
    assert len(theirs) == 240
    assert not ours & set(struct.unpack("4s" * 60, theirs))


def test_without_randomness_there_is_no_mask(tmp_path: Path) -> None:
    kernels = build_kernels(
        tmp_path, "ws_mask", more=NO_RANDOMNESS, flags=["-Dgetentropy=no_randomness"]
    )
    pool = new_pool(kernels)
    mask = kernels.ffi.new("uint8_t[4]", MASK)
    for _ in range(2):
        assert not kernels.lib.ws_mask_next(pool, mask)
        assert bytes(mask) == MASK
