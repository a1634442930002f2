"""Content codings at their limits: bodies of any kind, damage of any kind, little memory."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcore import decode
from tests.codings import MB, PACKERS, SAMPLES, one_by_one, outcome


@pytest.fixture(autouse=True)
def no_decoder_left() -> Iterator[None]:
    """Every decoder is freed, however the body ended."""
    before = decode.alive()
    yield
    assert decode.alive() == before


# --- memory ---------------------------------------------------------------------------------------


def growth(program: str) -> int:
    """Bytes by which a process of its own grew at most while it ran `work`."""
    measured = f"""
import gzip, os, resource, sys, zlib, brotli
from ftcore import decode

def most():
    if os.path.exists("/proc/self/status"):  # Linux hands ru_maxrss down from parent to child
        with open("/proc/self/status") as status:
            return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used

{program}
decode.decode(b"gzip, br", [brotli.compress(gzip.compress(b"warm"))])
before = most()
work()
assert decode.alive() == 0
print(most() - before)
"""
    ran = subprocess.run(
        [sys.executable, "-c", measured], capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


def test_memory_that_is_held_on_to_is_measured() -> None:
    assert growth("held = []\ndef work(): held.append(b'x' * (40 << 20))") > 39 * MB


@pytest.mark.parametrize(
    ("codings", "wire"),
    [
        ("gzip", "gzip.compress(zeros)"),
        ("deflate", "zlib.compress(zeros)"),
        ("br", "brotli.compress(zeros, quality=5, lgwin=18)"),
        ("gzip, gzip", "gzip.compress(gzip.compress(zeros))"),
    ],
)
def test_a_body_that_unpacks_to_100_mb_takes_little_memory(codings: str, wire: str) -> None:
    """The zeros are packed by another process, whose size is not counted."""
    packed = f"import gzip, sys, zlib, brotli; zeros = bytes(100 << 20); print(({wire}).hex())"
    program = f"""
import subprocess
made = subprocess.run([sys.executable, "-c", {packed!r}], capture_output=True, check=True).stdout
wire = bytes.fromhex(made.decode())
def work():
    total = 0
    def take(piece):
        nonlocal total
        total += len(piece)
    assert decode.decode(b"{codings}", [wire], take) == (b"", True)
    assert total == 100 << 20, total
"""
    assert growth(program) < 12 * MB


def test_bodies_that_fail_leave_no_memory_behind() -> None:
    program = """
body = bytes(range(256)) * 1000
wires = [(b"gzip", gzip.compress(body)), (b"deflate", zlib.compress(body)),
         (b"br", brotli.compress(body)), (b"br, gzip", gzip.compress(brotli.compress(body)))]
def work():
    for _ in range(1000):
        for codings, wire in wires:
            decode.decode(codings, [wire[:-3]])
            try:
                decode.decode(codings, [wire + b"x"])
            except ValueError as error:
                assert str(error) == "corrupt"
            else:
                raise AssertionError("a tail was taken")
"""
    assert growth(program) < 12 * MB


# --- anything -------------------------------------------------------------------------------------


def cut_up(wire: bytes, lengths: list[int]) -> list[bytes]:
    pieces, start = [], 0
    for length in lengths:
        pieces.append(wire[start : start + length])
        start += length
    return [*pieces, wire[start:]]


bodies = st.binary(max_size=5000) | st.builds(
    lambda part, count: part * count, st.binary(min_size=1, max_size=40), st.integers(0, 3000)
)
lengths = st.lists(st.integers(0, 200), max_size=20)


@given(bodies, st.lists(st.sampled_from(list(PACKERS)), min_size=1, max_size=5), lengths, st.data())
@settings(max_examples=300, deadline=None)
def test_what_was_packed_is_unpacked(
    body: bytes, packings: list[str], parts: list[int], data: st.DataObject
) -> None:
    wire = body
    for packing in packings:
        wire = PACKERS[packing][1](wire)
    codings = b", ".join(PACKERS[packing][0] for packing in packings)
    taken = bytearray()
    pauses = random.Random(data.draw(st.integers(0, 1 << 20)))

    def take(piece: bytes) -> bool:
        taken.extend(piece)
        return pauses.random() < 0.5

    assert decode.decode(codings, cut_up(wire, parts), take) == (b"", True)
    assert taken == body


@given(
    st.sampled_from(list(SAMPLES.values())),
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), min_size=1, max_size=4),
    lengths,
)
@settings(max_examples=500, deadline=None)
def test_how_damage_is_cut_up_changes_nothing(
    sample: tuple[bytes, bytes], damage: list[tuple[int, int]], parts: list[int]
) -> None:
    codings, wire = sample
    damaged = bytearray(wire)
    for position, bits in damage:
        damaged[position % len(wire)] ^= bits
    whole = outcome(codings, [bytes(damaged)])
    assert outcome(codings, cut_up(bytes(damaged), parts)) == whole
    assert outcome(codings, one_by_one(bytes(damaged))) == whole


@given(st.sampled_from([b"gzip", b"deflate", b"br", b"br, gzip"]), st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_any_bytes_end_in_a_body_or_an_error(codings: bytes, wire: bytes) -> None:
    assert outcome(codings, one_by_one(wire)) == outcome(codings, [wire])
