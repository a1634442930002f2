"""The UTF-8 kernel against Python's decoder."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import Kernels, build_kernels
from tests.ws_reference import first_bad_byte, is_utf8


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return build_kernels(tmp_path_factory.mktemp("kernels"), "utf8")


def judge(kernels: Kernels, data: bytes) -> tuple[int | None, bool]:
    """The first byte at which it fails, fed byte by byte, and whether it is complete at the end."""
    u = kernels.ffi.new("utf8 *")
    kernels.lib.utf8_init(u)
    bad = None
    for at in range(len(data)):
        if kernels.lib.utf8_feed(u, data[at : at + 1], 1):
            assert bad is None, "fine again"
        elif bad is None:
            bad = at
    return bad, bool(kernels.lib.utf8_complete(u))


def judge_whole(kernels: Kernels, data: bytes) -> tuple[bool, bool]:
    u = kernels.ffi.new("utf8 *")
    kernels.lib.utf8_init(u)
    fine = kernels.lib.utf8_feed(u, data, len(data))
    return bool(fine), bool(kernels.lib.utf8_complete(u))


def test_all_pairs_of_bytes(kernels: Kernels) -> None:
    for pair in map(bytes, product(range(256), repeat=2)):
        assert judge(kernels, pair) == (first_bad_byte(pair), is_utf8(pair)), pair


EDGES = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xF4, 0xFF]


@pytest.mark.parametrize("lead", [0x41, *range(0xC0, 0x100)])
def test_longer_sequences_by_their_first_byte(kernels: Kernels, lead: int) -> None:
    for second, third, fourth in product(range(256), EDGES, (0x41, 0x80)):
        data = bytes([lead, second, third, fourth])
        expected = (first_bad_byte(data) is None, is_utf8(data))
        assert judge_whole(kernels, data) == expected, data
        if second in EDGES:
            assert judge(kernels, data) == (first_bad_byte(data), expected[1]), data


def test_every_character_is_valid_and_no_surrogate_is(kernels: Kernels) -> None:
    for start in range(0, 0x110000, 0x800):
        points = map(chr, range(start, start + 0x800))
        data = "".join(points).encode("utf-8", "surrogatepass")
        valid = start != 0xD800
        assert judge_whole(kernels, data) == (valid, valid), hex(start)
    for point in range(0xD800, 0xE000):
        assert judge(kernels, chr(point).encode("utf-8", "surrogatepass")) == (1, False)


@pytest.mark.parametrize("cut", [b"\xc3", b"\xe2\x82", b"\xf0", b"\xf0\x9f\x8e"])
def test_a_cut_character_is_not_lost_before_a_run_of_ascii(kernels: Kernels, cut: bytes) -> None:
    for before, after in product(range(70), (1, 31, 32, 64, 100)):
        data = b"a" * before + cut + b"a" * after
        assert judge_whole(kernels, data) == (False, False)
        u = kernels.ffi.new("utf8 *")
        kernels.lib.utf8_init(u)
        assert kernels.lib.utf8_feed(u, data, before + len(cut))
        assert not kernels.lib.utf8_feed(u, data[-after:], after)


TEXTS = st.text().map(str.encode) | st.text(max_size=3).map(lambda text: b"a" * 40 + text.encode())
SPOILT = st.builds(
    lambda text, at, byte: text[: at % (len(text) + 1)] + byte + text[at % (len(text) + 1) :],
    TEXTS,
    st.integers(0, 100),
    st.binary(max_size=2),
)


@settings(max_examples=500, deadline=None)
@given(data=SPOILT | st.binary(), cut=st.integers(0, 200))
def test_random_texts_are_judged_as_python_does(kernels: Kernels, data: bytes, cut: int) -> None:
    bad, complete = first_bad_byte(data), is_utf8(data)
    assert judge(kernels, data) == (bad, complete)
    assert judge_whole(kernels, data) == (bad is None, complete)
    u = kernels.ffi.new("utf8 *")
    kernels.lib.utf8_init(u)
    first, second = data[:cut], data[cut:]
    assert bool(kernels.lib.utf8_feed(u, first, len(first))) == (bad is None or bad >= cut)
    assert bool(kernels.lib.utf8_feed(u, second, len(second))) == (bad is None)
    assert bool(kernels.lib.utf8_complete(u)) == complete
