"""The kernel that reads HTTP/1.1 responses: what it tells, what it refuses, and what its peers do.

Everything that is read is read cut into pieces, too, and must come out the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http1_reader import (
    NOTED,
    Answer,
    Fields,
    Reader,
    Told,
    read,
    read_by_h11,
    read_by_httptools,
)
from tests.http1_samples import (
    BAD,
    CHUNKED,
    CONNECT,
    CUT,
    GOOD,
    HEAD,
    HINTS,
    NGINX,
    OK,
    PLAIN,
    SWITCH,
    UPGRADE,
    Sample,
    fields,
    sized,
)
from tests.kernels import Kernels, build_kernels
from tests.servers import broken_answers

FAULTS = [(fault, data) for fault, group in BAD.items() for data in group]
CUTS = [(fault, data) for fault, group in CUT.items() for data in group]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return build_kernels(tmp_path_factory.mktemp("kernels"), "http1")


def short(value: object) -> str:
    """For the name of a test."""
    data = value.data if isinstance(value, Sample) else value
    return repr(data[-40:]) if isinstance(data, bytes) else str(data)


def plain(told: Told) -> Answer:
    """Without what only ours tells."""
    return Answer(**{name: getattr(told, name) for name in Answer.__dataclass_fields__})


# --- what is told ---------------------------------------------------------------------------------


def test_a_response_is_told_block_body_end(kernels: Kernels) -> None:
    told = read(kernels, Sample(NGINX))
    assert (told.status, told.minor, told.ended, told.refused) == (200, 1, True, "")
    assert told.blocks == [NGINX.removesuffix(b"hello, world")]
    assert (told.framing, told.content_length, told.body) == ("sized", 12, b"hello, world")
    assert told.fields[:2] == [
        (b"Server", b"nginx/1.22.1"),
        (b"Date", b"Sat, 28 Nov 2026 21:00:00 GMT"),
    ]


@pytest.mark.parametrize("sample", GOOD.values(), ids=GOOD)
def test_what_is_right_is_read_to_its_end(kernels: Kernels, sample: Sample) -> None:
    told = read(kernels, sample)
    assert told.refused == ""
    assert told.ended


STATUS_LINES = {
    b"HTTP/1.1 200 OK": (200, 1),
    b"HTTP/1.0 404 Not Found": (404, 0),
    b"HTTP/1.1 100 ": (100, 1),
    b"HTTP/1.1 599": (599, 1),
    b"HTTP/1.1 999 Odd": (999, 1),
}


@pytest.mark.parametrize("line", STATUS_LINES)
def test_status_and_version(kernels: Kernels, line: bytes) -> None:
    told = read(kernels, Sample(line + b"\r\nContent-Length: 0\r\n\r\n"))
    status, minor = STATUS_LINES[line]
    assert (told.interim or [told.status])[0] == status
    assert told.minor == minor


def test_values_are_told_without_the_white_space_around(kernels: Kernels) -> None:
    told = read(kernels, GOOD["a value with white space"])
    assert told.fields[:3] == [(b"X", b"a \t b"), (b"Y", b""), (b"Z", b"")]


def test_the_fields_that_the_engine_reads_are_noted(kernels: Kernels) -> None:
    told = read(kernels, GOOD["what the engine reads"])
    assert told.noted == {
        "location": b"/there",
        "content-type": b"text/html; charset=utf-8",
        "content-encoding": b"br",
        "content-range": b"bytes 5-6/10",
        "etag": b'"1"',
        "last-modified": b"Sat, 28 Nov 2026 20:00:00 GMT",
    }
    assert told.repeated == ["content-encoding"]


def test_no_field_is_noted_where_there_is_none_or_another(kernels: Kernels) -> None:
    names = [name.encode() for name in NOTED]
    others = [b"x" + name for name in names] + [name[:-1] for name in names]
    assert read(kernels, Sample(sized(*(name + b": x" for name in others)))).noted == {}


def test_an_empty_value_is_noted(kernels: Kernels) -> None:
    assert read(kernels, Sample(sized(b"Location:"))).noted == {"location": b""}


def test_nothing_of_an_interim_response_is_left_in_the_final_one(kernels: Kernels) -> None:
    first = b"HTTP/1.1 102 P\r\nLocation: /a\r\nContent-Length: 7\r\nConnection: close\r\n\r\n"
    told = read(kernels, Sample(first + OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
    assert (told.interim, told.noted, told.content_length) == ([102], {}, -1)
    assert told.keep_alive


def test_interim_responses_are_told_each(kernels: Kernels) -> None:
    told = read(kernels, GOOD["interim responses"])
    assert told.interim == [100, 103]
    assert told.status == 200
    assert told.blocks[1] == HINTS


def test_chunks_are_joined_without_their_framing(kernels: Kernels) -> None:
    assert read(kernels, GOOD["chunks"]).body == b"hello, 12345678ABCDEFGHIJK"
    assert read(kernels, GOOD["chunk extensions"]).body == b"xyzz"


def test_trailers_are_told_and_mean_nothing(kernels: Kernels) -> None:
    told = read(kernels, GOOD["trailers"])
    assert told.trailers == [(b"X-Sum", b"1"), (b"Content-Length", b"zero")]
    assert told.content_length == -1


def test_bytes_behind_a_response_are_left(kernels: Kernels) -> None:
    for sample in (Sample(NGINX + b"more"), Sample(CHUNKED + b"0\r\n\r\nmore")):
        assert read(kernels, sample).over == b"more"


def test_one_reader_reads_response_after_response(kernels: Kernels) -> None:
    reader = Reader(kernels, PLAIN)
    for sample in GOOD.values():
        reader.begin(sample.request)
        reader.feed(sample.data)
        if sample.closes:
            reader.close()
        assert reader.told == read(kernels, sample)


def test_interim_responses_are_counted_anew_for_each_response(kernels: Kernels) -> None:
    reader = Reader(kernels, PLAIN)
    for _ in range(3):
        reader.begin(PLAIN)
        reader.feed(HINTS * 99 + NGINX)
        assert reader.told.ended


TOKEN = b"!#$%&'*+-.^_`|~0123456789" + bytes(range(65, 91)) + bytes(range(97, 123))


@pytest.mark.parametrize("place", range(17))
def test_each_octet_in_each_place_of_a_name(kernels: Kernels, place: int) -> None:
    for octet in range(256):
        name = b"x" * place + bytes([octet]) + b"x" * (16 - place)
        told = read(kernels, Sample(OK + name + b": a\r\n" + b"Content-Length: 0\r\n\r\n"))
        expected = octet in TOKEN or (octet == ord(":") and place)
        assert bool(told.fields) == bool(expected), name


@pytest.mark.parametrize("place", range(17))
def test_each_octet_in_each_place_of_a_value(kernels: Kernels, place: int) -> None:
    for octet in range(256):
        value = b"x" * place + bytes([octet]) + b"x" * (16 - place)
        told = read(kernels, Sample(sized(b"X: " + value)))
        good = octet == 9 or (octet >= 32 and octet != 127)
        assert told.fields[:1] == ([(b"X", value.strip(b" \t"))] if good else []), value


# --- framing --------------------------------------------------------------------------------------

FRAMED = {
    "sized": ["of nginx", "one length twice", "no switch", "no tunnel", "HTTP/1.0 kept"],
    "chunked": ["chunks", "chunked, and a length", "chunked HTTP/1.0"],
    "until close": ["without any field", "an empty body up to the close", "HTTP/1.0"],
    "none": ["the answer to HEAD", "the chunked answer to HEAD", "no content", "not modified"],
    "switched": [
        "a switch",
        "a switch after an interim response",
        "a tunnel",
        "a tunnel whose fields mean nothing",
    ],
}


@pytest.mark.parametrize("framing", FRAMED)
def test_framing(kernels: Kernels, framing: str) -> None:
    for name in FRAMED[framing]:
        assert read(kernels, GOOD[name]).framing == framing, name


def test_a_length_is_told_where_no_body_follows(kernels: Kernels) -> None:
    told = read(kernels, GOOD["the answer to HEAD"])
    assert (told.content_length, told.body, told.ended) == (10, b"", True)


def test_what_follows_a_switch_is_not_of_http(kernels: Kernels) -> None:
    assert read(kernels, GOOD["a switch"]).over == b"\x81\x00"
    assert read(kernels, GOOD["a tunnel"]).over == b"\x16\x03\x01"


KEPT = ["of nginx", "chunks", "trailers", "no content", "HTTP/1.0 kept", "the answer to HEAD"]
NOT_KEPT = ["closing", "closing, in the second line", "names in another case", "HTTP/1.0"]
NOT_KEPT += ["without any field", "chunked, and a length", "chunked HTTP/1.0", "a switch"]


@pytest.mark.parametrize("name", KEPT + NOT_KEPT)
def test_keep_alive(kernels: Kernels, name: str) -> None:
    assert read(kernels, GOOD[name]).keep_alive == (name in KEPT)


@pytest.mark.parametrize("value", [b"keep-alive, close", b"closer", b"x-close", b"clos e"])
def test_only_the_option_close_closes(kernels: Kernels, value: bytes) -> None:
    told = read(kernels, Sample(sized(b"Connection: " + value)))
    assert told.keep_alive == (value != b"keep-alive, close")


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "data"), FAULTS, ids=short)
def test_what_is_wrong_is_refused_by_name(kernels: Kernels, fault: str, data: bytes) -> None:
    reader = Reader(kernels, PLAIN)
    reader.feed(data)
    if reader.told.ended:  # it is in what follows a response
        reader.begin(PLAIN)
        reader.feed(data[len(NGINX) :])
    assert reader.told.refused == fault


@pytest.mark.parametrize(("fault", "data"), CUTS, ids=short)
def test_what_is_cut_is_refused_by_the_place(kernels: Kernels, fault: str, data: bytes) -> None:
    reader = Reader(kernels, PLAIN)
    reader.feed(data)
    if reader.told.ended:
        reader.begin(PLAIN)
    assert reader.told.refused == ""
    reader.close()
    assert reader.told.refused == fault


@pytest.mark.parametrize("sample", GOOD.values(), ids=GOOD)
def test_a_response_that_is_cut_anywhere_is_refused(kernels: Kernels, sample: Sample) -> None:
    whole = read(kernels, sample)
    end = len(sample.data) - len(whole.over) if whole.ended and not sample.closes else 0
    for cut in range(end):
        told = read(kernels, Sample(sample.data[:cut], sample.request, closes=True))
        assert told.refused.startswith("CUT_"), cut
        assert not told.ended


@pytest.mark.parametrize("name", broken_answers.CUT_HEADERS | broken_answers.CUT_BODIES)
def test_what_must_not_pass_when_cut_is_refused(kernels: Kernels, name: str) -> None:
    told = read(kernels, Sample(broken_answers.ANSWERS[name], closes=True))
    assert told.refused.startswith("CUT_")


@pytest.mark.parametrize("name", broken_answers.BAD_FRAMING | broken_answers.NOT_HTTP)
def test_what_must_not_pass_is_refused_before_a_close(kernels: Kernels, name: str) -> None:
    told = read(kernels, Sample(broken_answers.ANSWERS[name]))
    assert told.refused
    assert not told.ended


def test_every_fault_has_a_sample_and_a_text(kernels: Kernels) -> None:
    faults = kernels.ffi.typeof("http1_fault").elements
    named = {name.removeprefix("HTTP1_") for name in faults.values()}
    assert named == {"FINE", *BAD, *CUT}
    texts = {kernels.ffi.string(kernels.lib.http1_fault_text(fault)) for fault in faults}
    assert len(texts) == len(faults)


def test_faults_of_the_fields_of_a_body_are_refused_where_none_follows(kernels: Kernels) -> None:
    wrong = fields(b"Content-Length: five")
    for request in (HEAD, UPGRADE):
        assert read(kernels, Sample(wrong, request)).refused == "BAD_LENGTH"
    assert read(kernels, Sample(b"HTTP/1.1 403 No" + wrong[15:], CONNECT)).refused == "BAD_LENGTH"
    assert read(kernels, Sample(b"HTTP/1.1 103 No" + wrong[15:])).refused == "BAD_LENGTH"


def test_http_1_0_switches_to_nothing(kernels: Kernels) -> None:
    told = read(kernels, Sample(SWITCH.replace(b"1.1", b"1.0"), UPGRADE))
    assert told.refused == "UNASKED_SWITCH"


def test_nothing_is_told_after_a_fault(kernels: Kernels) -> None:
    reader = Reader(kernels, PLAIN)
    reader.feed(b"SSH-2.0\r\n")
    reader.feed(NGINX)
    reader.close()
    assert reader.told == Told(refused="NOT_HTTP")


LIMITED = (100, 3, 2)
AT_THE_LIMITS = [
    OK + b"X: " + b"a" * 76 + b"\r\n\r\n",
    OK + b"X: a\r\n" * 3 + b"\r\n",
    HINTS * 2 + OK + b"\r\n",
    CHUNKED + b"0\r\nX: " + b"a" * 93 + b"\r\n\r\n",
]
BEYOND = [
    (OK + b"X: " + b"a" * 77 + b"\r\n\r\n", "HEAD_TOO_LARGE"),
    (OK + b"X: a\r\n" * 4 + b"\r\n", "TOO_MANY_FIELDS"),
    (HINTS * 3, "TOO_MANY_INTERIM"),
    (CHUNKED + b"0\r\nX: " + b"a" * 94 + b"\r\n\r\n", "HEAD_TOO_LARGE"),
]


@pytest.mark.parametrize("data", AT_THE_LIMITS, ids=short)
def test_what_is_at_a_limit_passes(kernels: Kernels, data: bytes) -> None:
    reader = Reader(kernels, PLAIN, LIMITED)
    reader.feed(data)
    assert reader.told.refused == ""
    assert reader.told.status == 200


@pytest.mark.parametrize(("data", "fault"), BEYOND, ids=short)
@pytest.mark.parametrize("step", [1, 1000])
def test_what_is_beyond_a_limit_is_refused(
    kernels: Kernels, data: bytes, fault: str, step: int
) -> None:
    reader = Reader(kernels, PLAIN, LIMITED)
    for piece in in_steps(data, step):
        reader.feed(piece)
    assert reader.told.refused == fault


# --- cut into pieces ------------------------------------------------------------------------------


def in_steps(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


SHORT = [sample for sample in GOOD.values() if len(sample.data) < 2000]
SHORT += [Sample(data, closes=True) for _, data in FAULTS + CUTS if len(data) < 2000]
LONG = [sample for sample in GOOD.values() if len(sample.data) >= 2000]
LONG += [Sample(data, closes=True) for _, data in FAULTS if len(data) >= 2000]


@pytest.mark.parametrize("sample", SHORT, ids=short)
def test_each_cut_in_two_and_byte_by_byte_tells_the_same(kernels: Kernels, sample: Sample) -> None:
    whole = read(kernels, sample)
    for cut in range(1, len(sample.data)):
        pieces = [sample.data[:cut], b"", sample.data[cut:]]
        assert read(kernels, sample, pieces) == whole, cut
    assert read(kernels, sample, in_steps(sample.data, 1)) == whole


@pytest.mark.parametrize("sample", LONG, ids=short)
@pytest.mark.parametrize("step", [997, 4096, 65_537])
def test_long_ones_in_pieces_tell_the_same(kernels: Kernels, sample: Sample, step: int) -> None:
    told = read(kernels, sample, in_steps(sample.data, step))
    whole = read(kernels, sample)
    assert replace(told, over=b"") == replace(whole, over=b"")


# --- drawn responses, and the peers ---------------------------------------------------------------

NAMES = st.from_regex(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True).map(lambda n: b"X" + n)
VALUES = st.from_regex(
    rb"([!-~\x80-\xff]([!-~\x80-\xff \t]{0,30}[!-~\x80-\xff])?)?", fullmatch=True
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
STATUSES = st.sampled_from([200, 201, 204, 206, 301, 304, 404, 429, 500, 503])


def lines(drawn: Fields) -> bytes:
    return b"".join(name + b": " + value + b"\r\n" for name, value in drawn)


def chunked(body: bytes, cuts: list[int], trailers: Fields) -> bytes:
    ends = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    chunks = [b"%X\r\n%b\r\n" % (end - start, body[start:end]) for start, end in pairwise(ends)]
    return b"".join(chunks) + b"0\r\n" + lines(trailers) + b"\r\n"


@st.composite
def responses(draw: st.DrawFn) -> tuple[Sample, Answer]:
    """A response, and what is to be told of it."""
    interim = draw(st.lists(st.sampled_from([100, 102, 103]), max_size=2))
    status, body, own = draw(STATUSES), draw(st.binary(max_size=60)), draw(FIELDS)
    bodiless, trailers = status in (204, 304), Fields()
    start = b"".join(
        b"HTTP/1.1 %d Wait\r\n%b\r\n" % (code, lines(draw(FIELDS))) for code in interim
    )
    framing = draw(st.sampled_from(["sized", "chunked"] if bodiless else ["sized", "chunked", ""]))
    if framing == "sized":
        own += [(b"Content-Length", b"%d" % len(body))]
        wire = body
    elif framing == "chunked":
        own += [(b"Transfer-Encoding", b"chunked")]
        trailers = draw(FIELDS)
        wire = chunked(body, draw(st.lists(st.integers(1, 60), max_size=3)), trailers)
    else:
        wire = body
    own = draw(st.permutations(own))
    start += b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, draw(VALUES), lines(own))
    if bodiless:
        return Sample(start), Answer(interim, status, 1, own, ended=True)
    sample = Sample(start + wire, closes=framing == "")
    return sample, Answer(interim, status, 1, own, body, True, trailers)


@given(drawn=responses(), cuts=st.lists(st.integers(0, 600), max_size=5))
@settings(max_examples=300, deadline=None)
def test_drawn_responses_in_drawn_pieces(
    kernels: Kernels, drawn: tuple[Sample, Answer], cuts: list[int]
) -> None:
    sample, expected = drawn
    ends = sorted({0, len(sample.data), *(cut for cut in cuts if cut < len(sample.data))})
    pieces = [sample.data[start:end] for start, end in pairwise(ends)]
    assert plain(read(kernels, sample, pieces)) == expected


@given(drawn=responses())
@settings(max_examples=300, deadline=None)
def test_three_readers_agree_on_drawn_responses(
    kernels: Kernels, drawn: tuple[Sample, Answer]
) -> None:
    sample, expected = drawn
    assert plain(read(kernels, sample)) == expected
    assert read_by_h11(sample) == expected
    told = read_by_httptools(sample)
    assert replace(told, ended=told.ended or sample.closes) == expected


#: What h11 refuses and ours reads, and why.
READ_BY_OURS_ALONE = {
    "one length twice": "02 and 2 are one number (RFC 9110 8.6); h11 compares their digits",
    "a chunk size with zeros": "zeros in front have no limit of their own (7.1); h11 has 20 digits",
    "chunk extensions": "white space may stand before the semicolon (7.1.1)",
    "trailers": "no trailer frames a message (RFC 9110 6.5.1); h11 checks a Content-Length there",
    "a tunnel whose fields mean nothing": "they must be ignored (RFC 9110 9.3.6)",
}
ODD = b'\0\t\n\r "+,-0;:=aG\x7f\x80'
COMMON = [
    name for name, sample in GOOD.items()
    if name not in READ_BY_OURS_ALONE and len(sample.data) < 400
]  # fmt: skip


def test_h11_reads_what_is_right_but_for_what_is_listed() -> None:
    refused = {name for name, sample in GOOD.items() if read_by_h11(sample).refused}
    assert refused == set(READ_BY_OURS_ALONE)


def spoilt(sample: Sample) -> Iterator[Sample]:
    """With each byte left out, or replaced by odd ones."""
    for at in range(len(sample.data)):
        for instead in (b"", *(bytes([byte]) for byte in ODD)):
            data = sample.data[:at] + instead + sample.data[at + 1 :]
            yield replace(sample, data=data, closes=True)


@pytest.mark.parametrize("name", COMMON)
def test_ours_refuses_what_h11_refuses_and_tells_what_it_tells(kernels: Kernels, name: str) -> None:
    for sample in spoilt(GOOD[name]):
        ours, peers = read(kernels, sample), read_by_h11(sample)
        if ours.refused:
            continue
        assert peers.refused == "", sample
        assert (ours.interim, ours.status, ours.minor) == (peers.interim, peers.status, peers.minor)
        assert (ours.body, ours.ended) == (peers.body, peers.ended), sample
