"""Content codings: every byte comes through, and a body that is cut short is known to be."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator

import brotli
import pytest

from ftcore import decode
from tests.codings import (
    MB,
    MEMBERS,
    PACKERS,
    PIECE,
    SHORT,
    STACKED,
    noise,
    one_by_one,
    outcome,
    raw_deflate,
    samples,
)


@pytest.fixture(autouse=True)
def no_decoder_left() -> Iterator[None]:
    """Every decoder is freed, however the body ended."""
    before = decode.alive()
    yield
    assert decode.alive() == before


# --- whole bodies ---------------------------------------------------------------------------------


@samples
def test_a_split_at_any_byte_gives_the_same_body(codings: bytes, wire: bytes) -> None:
    for cut in range(len(wire) + 1):
        assert decode.decode(codings, [wire[:cut], wire[cut:]]) == (SHORT, True), cut


@samples
def test_a_byte_at_a_time_gives_the_same_body(codings: bytes, wire: bytes) -> None:
    assert decode.decode(codings, one_by_one(wire)) == (SHORT, True)


@pytest.mark.parametrize("length", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 5, MB])
@pytest.mark.parametrize("kind", ["noise", "zeros"])
@pytest.mark.parametrize("packing", PACKERS)
def test_a_body_around_the_size_of_a_piece_comes_whole(
    packing: str, kind: str, length: int
) -> None:
    body = noise(length) if kind == "noise" else bytes(length)
    name, pack = PACKERS[packing]
    assert decode.decode(name, [pack(body)]) == (body, True)


@pytest.mark.parametrize("packing", PACKERS)
def test_an_empty_body_that_was_packed_is_finished(packing: str) -> None:
    name, pack = PACKERS[packing]
    assert decode.decode(name, one_by_one(pack(b""))) == (b"", True)


@pytest.mark.parametrize("level", range(12))
def test_every_brotli_quality_is_understood(level: int) -> None:
    body = SHORT * 300
    for window in (10, 16, 24):
        wire = brotli.compress(body, quality=level, lgwin=window)
        assert decode.decode(b"br", [wire]) == (body, True)


@pytest.mark.parametrize("level", range(-1, 10))
@pytest.mark.parametrize("window", [-15, -9, 9, 15, 25, 31])
def test_every_deflate_level_and_window_is_understood(level: int, window: int) -> None:
    body = SHORT * 300
    packer = zlib.compressobj(level, wbits=window)
    wire = packer.compress(body) + packer.flush()
    codings = b"gzip" if window > 15 else b"deflate"
    assert decode.decode(codings, one_by_one(wire)) == (body, True)


@pytest.mark.parametrize(
    ("first", "length"),
    [(0x08, 5), (0x88, 0x05), (0x88, 0x1C)],
    ids=["wrong check", "window too large, wrong check", "window too large, right check"],
)
def test_raw_deflate_that_begins_almost_like_zlib_is_told_from_it(first: int, length: int) -> None:
    """The bits between the head of a stored block and its length may be anything."""
    body = noise(length)
    wire = struct.pack("<BHH", first, length, length ^ 0xFFFF) + body + raw_deflate(b"")
    assert decode.decode(b"deflate", [wire]) == (body, True)
    assert decode.decode(b"deflate", one_by_one(wire)) == (body, True)


def test_a_gzip_header_with_every_field_is_passed_over() -> None:
    header = b"\x1f\x8b\x08\x1f\0\0\0\0\0\xff" + struct.pack("<H", 5) + b"extra"
    header += b"a name\0" + b"a comment\0"
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    wire = header + raw_deflate(SHORT) + struct.pack("<II", zlib.crc32(SHORT), len(SHORT))
    assert decode.decode(b"gzip", one_by_one(wire)) == (SHORT, True)


# --- bodies that are cut --------------------------------------------------------------------------


@samples
def test_a_cut_at_any_byte_is_not_finished(codings: bytes, wire: bytes) -> None:
    member_ends = {len(gzip.compress(SHORT[:40]) + more) for more in (b"", gzip.compress(b""))}
    for cut in range(1, len(wire)):
        if wire == MEMBERS and cut in member_ends:
            continue  # a whole body of fewer members
        body, finished = decode.decode(codings, [wire[:cut]])
        assert not finished, cut
        assert SHORT.startswith(body)


def test_a_cut_inside_the_second_member_is_not_finished() -> None:
    first = gzip.compress(SHORT)
    for length in range(1, len(first)):
        _, finished = decode.decode(b"gzip", [first, first[:length]])
        assert not finished, length


def test_an_end_of_the_outer_coding_alone_is_not_the_end() -> None:
    half = gzip.compress(SHORT)[:-1]
    body, finished = decode.decode(b"gzip, br", [brotli.compress(half)])
    assert (body, finished) == (SHORT, False)


def test_an_outer_coding_around_nothing_is_not_finished() -> None:
    assert decode.decode(b"br, gzip", [gzip.compress(b"")]) == (b"", False)


@pytest.mark.parametrize("codings", [b"gzip", b"deflate", b"br", b"gzip, br", b"identity", b""])
@pytest.mark.parametrize("pieces", [[], [b""], [b"", b""]])
def test_a_body_without_a_byte_is_finished(codings: bytes, pieces: list[bytes]) -> None:
    assert decode.decode(codings, pieces) == (b"", True)


# --- bodies that are damaged ----------------------------------------------------------------------


@pytest.mark.parametrize(("packing", "skip"), [("gzip", 0), ("deflate", 2)])
@pytest.mark.parametrize("text", [SHORT * 3, noise(700), bytes(5000)], ids=["text", "noise", "0"])
def test_a_flipped_bit_never_gives_another_body(packing: str, skip: int, text: bytes) -> None:
    """deflate from its third byte: the first two tell it from raw deflate, which has no check."""
    name, pack = PACKERS[packing]
    wire = pack(text)
    refused = 0
    for position in range(skip * 8, len(wire) * 8):
        damaged = bytearray(wire)
        damaged[position // 8] ^= 1 << position % 8
        told = outcome(name, [bytes(damaged)])
        refused += told == "corrupt"
        assert told == (text, True) or told == "corrupt" or not told[1], position
    assert refused


@pytest.mark.parametrize("offset", [-8, -4], ids=["checksum", "length"])
def test_a_wrong_gzip_trailer_is_corrupt(offset: int) -> None:
    wire = bytearray(gzip.compress(SHORT))
    wire[offset] ^= 1
    assert outcome(b"gzip", [bytes(wire)]) == "corrupt"


@pytest.mark.parametrize("codings", [b"gzip", b"deflate", b"br", b"gzip, deflate"])
def test_bytes_that_were_never_packed_are_corrupt(codings: bytes) -> None:
    assert outcome(codings, [b"<html>this is no packed body</html>" * 10]) == "corrupt"


def test_a_deflate_stream_that_wants_a_dictionary_is_corrupt() -> None:
    packer = zlib.compressobj(zdict=b"said twice")
    assert outcome(b"deflate", [packer.compress(SHORT) + packer.flush()]) == "corrupt"


def test_nothing_is_taken_after_damage() -> None:
    taken: list[bytes] = []
    wire = gzip.compress(SHORT)
    assert outcome(b"gzip", [wire, b"x", wire, b""], taken.append) == "corrupt"
    assert taken == [SHORT]


# --- what follows the end -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 511, 3 * PIECE])
def test_zeros_after_a_gzip_body_are_padding(count: int) -> None:
    wire = gzip.compress(SHORT)
    assert decode.decode(b"gzip", [wire + bytes(count)]) == (SHORT, True)
    assert decode.decode(b"gzip", [wire, b"\0", bytes(count)]) == (SHORT, True)


@pytest.mark.parametrize("tail", [b"x", b"\n", b"\0x", b"\0\0" + gzip.compress(b"more"), b"\x1fx"])
def test_anything_else_after_a_gzip_body_is_corrupt(tail: bytes) -> None:
    wire = gzip.compress(SHORT)
    assert outcome(b"gzip", [wire + tail]) == "corrupt"
    assert outcome(b"gzip", [wire, *one_by_one(tail)]) == "corrupt"


@pytest.mark.parametrize("packing", ["deflate", "raw deflate", "br"])
@pytest.mark.parametrize("tail", [b"\0", b"x", None], ids=["zero", "letter", "itself"])
def test_anything_after_a_deflate_or_br_body_is_corrupt(packing: str, tail: bytes | None) -> None:
    name, pack = PACKERS[packing]
    wire = pack(SHORT)
    assert outcome(name, [wire + (tail or wire)]) == "corrupt"
    assert outcome(name, [wire, tail or wire]) == "corrupt"


# --- the header -----------------------------------------------------------------------------------


def test_all_codings_are_offered() -> None:
    assert decode.offered() == b"gzip, deflate, br"


@pytest.mark.parametrize(
    "codings",
    [
        b"gzip",
        b"GZIP",
        b"x-gzip",
        b"X-GZip",
        b" gzip\t",
        b"gzip\r\n",
        b",,gzip , ,",
        b"identity, gzip",
        b"gzip,Identity",
        b"none,gzip",
    ],
)
def test_a_list_of_codings_is_read_as_it_may_be_written(codings: bytes) -> None:
    assert decode.decode(codings, [gzip.compress(SHORT)]) == (SHORT, True)


@pytest.mark.parametrize("codings", [b"", b" ", b",", b" , ,", b"identity", b"None,IDENTITY"])
def test_no_coding_passes_the_bytes_on(codings: bytes) -> None:
    assert decode.decode(codings, [b"as", b"it is"]) == (b"asit is", True)


@pytest.mark.parametrize(
    "codings",
    [
        b"compress",
        b"zstd",
        b"*",
        b"gz",
        b"gzipp",
        b"gzip;q=1",
        b"gzip br",
        b"gzip\0",
        b"g zip",
        b"gzip, dcb",
        b"\xe2\x9c\x93",
    ],
)
def test_an_unknown_coding_is_said_to_be_unknown(codings: bytes) -> None:
    assert outcome(codings, [b"bytes"]) == "unknown coding"


def test_codings_are_undone_last_first() -> None:
    """RFC 9110, section 8.4: they are listed in the order in which they were applied."""
    assert decode.decode(b"gzip, br", [STACKED]) == (SHORT, True)
    assert outcome(b"br, gzip", [STACKED]) == "corrupt"


def test_five_codings_are_undone() -> None:
    wire = SHORT
    for pack in (gzip.compress, brotli.compress, zlib.compress, raw_deflate, gzip.compress):
        wire = pack(wire)
    codings = b"gzip, br, deflate, deflate, x-gzip"
    assert decode.decode(codings, one_by_one(wire)) == (SHORT, True)


def test_six_codings_are_too_many() -> None:
    assert outcome(b", ".join([b"gzip"] * 6), [b"bytes"]) == "too many codings"


def test_identity_does_not_count_as_a_coding() -> None:
    wire = gzip.compress(SHORT)
    assert decode.decode(b"identity, " * 9 + b"gzip", [wire]) == (SHORT, True)


# --- who takes the body ---------------------------------------------------------------------------


class Refused(Exception):
    pass


@samples
def test_a_taker_that_pauses_after_every_piece_misses_nothing(codings: bytes, wire: bytes) -> None:
    for cut in range(len(wire) + 1):
        taken: list[bytes] = []

        def take(piece: bytes, taken: list[bytes] = taken) -> bool:
            taken.append(piece)
            return False

        assert decode.decode(codings, [wire[:cut], wire[cut:]], take) == (b"", True)
        assert b"".join(taken) == SHORT


@pytest.mark.parametrize("packing", PACKERS)
def test_a_pause_amid_what_one_read_became_misses_nothing(packing: str) -> None:
    body = bytes(MB) + noise(MB) + bytes(MB)
    name, pack = PACKERS[packing]
    taken = bytearray()

    def take(piece: bytes) -> bool:
        taken.extend(piece)
        return len(taken) // PIECE % 2 == 0

    wire = gzip.compress(pack(body))
    assert decode.decode(name + b", gzip", [wire], take) == (b"", True)
    assert taken == body


def test_a_taker_that_refuses_is_given_nothing_more() -> None:
    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        raise Refused

    with pytest.raises(Refused):
        decode.decode(b"gzip", [gzip.compress(bytes(MB)), b"never read"], take)
    assert taken == [bytes(PIECE)]


@pytest.mark.parametrize("codings", [b"gzip", b"deflate", b"br", b"gzip, gzip"])
def test_no_piece_is_larger_than_the_room_for_it(codings: bytes) -> None:
    sizes: list[int] = []
    wire = bytes(4 * MB)
    for name in codings.split(b", "):
        wire = PACKERS[name.decode()][1](wire)
    _, finished = decode.decode(codings, [wire], lambda piece: sizes.append(len(piece)))
    assert finished
    assert sum(sizes) == 4 * MB
    assert 0 < min(sizes) <= max(sizes) <= PIECE
