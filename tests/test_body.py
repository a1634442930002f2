"""Bodies and queries: what ``data`` becomes on the wire."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import enum
import json
import math
import types
import uuid
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftnet.body import encode_body, encode_component, form_encode, merge_query, scalar

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
NOT_FINITE = [math.nan, math.inf, -math.inf]


class Point(msgspec.Struct, rename="camel"):
    x_axis: int
    y: float = 0.5


@dataclass
class Pair:
    left: object
    right: object = None


class Word(str, enum.Enum):  # noqa: UP042 - str.Enum of before 3.11 is the case
    YES = "yes"


class Loud(str):
    def __str__(self) -> str:
        return "LOUD"


class Half(float):
    """A float that msgspec has no encoder for."""


# --- encode_component -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("", ""),
        ("abcXYZ019", "abcXYZ019"),
        ("-_.!~*'()", "-_.!~*'()"),
        (" ", "%20"),
        ("a+b&c=d/e?f#g", "a%2Bb%26c%3Dd%2Fe%3Ff%23g"),
        ("é", "%C3%A9"),
        ("中", "%E4%B8%AD"),
        ("😀", "%F0%9F%98%80"),
        ("\x00\n\x7f", "%00%0A%7F"),
        ("²", "%C2%B2"),
    ],
)
def test_a_component_is_encoded_as_encodeuricomponent_does(text: str, encoded: str) -> None:
    assert encode_component(text) == encoded


@given(st.text(st.characters(codec="utf-8")))
def test_a_component_reads_back_as_it_was(text: str) -> None:
    encoded = encode_component(text)
    assert unquote(encoded, errors="strict") == text
    assert encoded == quote(text, safe="!~*'()")


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_a_lone_surrogate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="lone surrogate at position"):
        encode_component(text)


# --- scalar -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"),
        (Loud("quiet"), "quiet"),
        (Word.YES, "yes"),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        (0, "0"),
        (-12, "-12"),
        (2**70, "1180591620717411303424"),
        (enum.IntEnum("E", {"A": 7}).A, "7"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        ([1, "x"], '[1,"x"]'),
        ((), "[]"),
        (types.MappingProxyType({"é": 1}), '{"é":1}'),
        (collections.deque([1]), "[1]"),
        (Point(1), '{"xAxis":1,"y":0.5}'),
        (Pair(1), '{"left":1,"right":null}'),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.50"), "1.50"),
    ],
)
def test_a_scalar_is_written_as_text(value: object, text: str) -> None:
    written = scalar(value)
    assert type(written) is str
    assert written == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (-2.5, "-2.5"),
        (100.25, "100.25"),
        (1e15, "1000000000000000"),
        (1e16, "10000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1e-6, "0.000001"),
        (1.5e-6, "0.0000015"),
        (1e-7, "1e-7"),
        (-1.25e-7, "-1.25e-7"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (2**53 * 1.0, "9007199254740992"),
        (Half(0.5), "0.5"),
    ],
)
def test_a_float_is_written_as_javascript_does(value: float, text: str) -> None:
    assert scalar(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_reads_back_as_it_was(value: float) -> None:
    text = scalar(value)
    assert float(text) == value
    assert ("e" in text) == (value != 0 and not 1e-6 <= abs(value) < 1e21)


@pytest.mark.parametrize(
    "value",
    [*NOT_FINITE, b"x", bytearray(b"x"), memoryview(b"x"), object(), [object()], {"a": math.nan}],
)
def test_a_scalar_without_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="NaN|bytes|JSON"):
        scalar(value)


# --- merge_query ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "data", "merged"),
    [
        ("http://h/p", {"a": 1}, "http://h/p?a=1"),
        ("http://h", {"a": 1}, "http://h?a=1"),
        ("http://h/p?", {"a": 1}, "http://h/p?a=1"),
        ("http://h/p?x", {"a": 1}, "http://h/p?x&a=1"),
        ("http://h/p?x=1&", {"a": 1}, "http://h/p?x=1&a=1"),
        ("http://h/p?a=b=c&%zz=+", {"a": 1}, "http://h/p?a=b=c&%zz=+&a=1"),
        ("http://h/p#f", {"a": 1}, "http://h/p?a=1#f"),
        ("http://h/p?x#f?y#z", {"a": 1}, "http://h/p?x&a=1#f?y#z"),
        ("http://h/p#f?x", {"a": 1}, "http://h/p?a=1#f?x"),
        ("http://h/p#", {"a": 1}, "http://h/p?a=1#"),
        ("http://h/p", {"a b": "c&d", "é": None}, "http://h/p?a%20b=c%26d&%C3%A9=null"),
        ("http://h/p", {"n": {"k": [1, True]}}, "http://h/p?n=%7B%22k%22%3A%5B1%2Ctrue%5D%7D"),
        ("http://h/p", {1: 2.0, 1.5: ""}, "http://h/p?1=2&1.5="),
        ("http://h/p?q#f", {}, "http://h/p?q#f"),
        ("http://h/p", types.MappingProxyType({"a": True}), "http://h/p?a=true"),
    ],
)
def test_data_is_merged_into_the_query(url: str, data: dict[object, object], merged: str) -> None:
    assert merge_query(url, data) == merged


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


@given(
    st.text("ab=&%+.", max_size=12),
    st.none() | st.text("ab?&#", max_size=8),
    st.dictionaries(TEXT, TEXT, min_size=1, max_size=5),
)
def test_what_the_url_has_stays_and_what_is_added_reads_back(
    query: str, fragment: str | None, data: dict[str, str]
) -> None:
    base = f"http://h/p?{query}"
    tail = "" if fragment is None else f"#{fragment}"
    merged = merge_query(base + tail, data)
    assert merged.startswith(base)
    assert merged.endswith(tail)
    added = merged[len(base) : len(merged) - len(tail)]
    assert parse_qsl(added.removeprefix("&"), keep_blank_values=True) == list(data.items())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"a": math.nan}, "request: data field 'a' holds NaN"),
        ({"a": {"b": math.inf}}, "request: data field 'a' holds NaN or Infinity"),
        ({"a": b"x"}, "request: data field 'a' holds bytes"),
        ({"a": "\ud800"}, "request: data field 'a' holds a lone surrogate"),
        ({"\ud800": 1}, "lone surrogate"),
        ({"a": ["\ud800"]}, "lone surrogate"),
        ({(1, 2): 1}, "request: data has a name that is no str"),
        ({None: 1}, "request: data has a name that is no str"),
        ({"a": object()}, "request: data field 'a' holds what JSON cannot carry"),
    ],
)
def test_a_query_that_cannot_be_written_names_data(data: dict[object, object], words: str) -> None:
    with pytest.raises(ValueError, match="data") as caught:
        merge_query("http://h/", data)
    assert words in str(caught.value)


# --- form_encode ------------------------------------------------------------------------------


def test_a_form_is_pairs_with_spaces_as_percent_20() -> None:
    assert form_encode({"a b": "c d", "n": [1], "t": True}) == b"a%20b=c%20d&n=%5B1%5D&t=true"
    assert form_encode({}) == b""


@given(st.dictionaries(TEXT, TEXT, max_size=5))
def test_a_form_reads_back_as_it_was(data: dict[str, str]) -> None:
    pairs = parse_qsl(form_encode(data).decode("ascii"), keep_blank_values=True)
    assert pairs == list(data.items())


# --- encode_body ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "TRACE", "CONNECT"])
def test_no_data_is_no_body(method: str) -> None:
    assert encode_body(None, JSON, method) is None


@pytest.mark.parametrize("content_type", [JSON, FORM, "text/plain", ""])
def test_a_str_goes_as_utf8_whatever_the_type(content_type: str) -> None:
    assert encode_body("é中", content_type, "POST") == "é中".encode()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_a_str_is_a_body_with_these_methods(method: str) -> None:
    assert encode_body("x", JSON, method) == b"x"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"abc",
        bytearray(b"abc"),
        memoryview(b"abc"),
        memoryview(bytearray(b"abcdef"))[2:4],
        array.array("I", [1, 2]),
        msgspec.Raw(b"null"),
    ],
)
@pytest.mark.parametrize("content_type", [JSON, FORM])
def test_a_buffer_goes_as_it_is_without_a_copy(data: object, content_type: str) -> None:
    assert encode_body(data, content_type, "POST") is data


def test_a_buffer_is_not_kept_locked() -> None:
    data = bytearray(b"abc")
    encode_body(data, JSON, "POST")
    data.append(1)
    assert len(data) == 4


def test_a_buffer_in_pieces_is_refused() -> None:
    with pytest.raises(ValueError, match="request: data must be a contiguous buffer"):
        encode_body(memoryview(b"abcdef")[::2], JSON, "POST")


def test_a_released_buffer_is_refused() -> None:
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ValueError, match="request: data is a buffer that cannot be read"):
        encode_body(view, JSON, "POST")


@pytest.mark.parametrize(
    ("data", "body"),
    [
        ({}, b"{}"),
        ({"a": [1, 2.5, None, True, "é"]}, '{"a":[1,2.5,null,true,"é"]}'.encode()),
        ([], b"[]"),
        ((1, 2), b"[1,2]"),
        (5, b"5"),
        (0.5, b"0.5"),
        (False, b"false"),
        (2**70, b"1180591620717411303424"),
        (Point(1), b'{"xAxis":1,"y":0.5}'),
        (Pair("nan", "null"), b'{"left":"nan","right":"null"}'),
        (types.MappingProxyType({"a": collections.UserDict(b=1)}), b'{"a":{"b":1}}'),
        (collections.deque([1, range(2)]), b"[1,[0,1]]"),
        ({"s": Loud("quiet"), "f": Half(0.5)}, b'{"s":"quiet","f":0.5}'),
        ({"n": None, "raw": msgspec.Raw(b"[null]")}, b'{"n":null,"raw":[null]}'),
        ({"d": datetime.date(2026, 1, 2), "u": None}, b'{"d":"2026-01-02","u":null}'),
    ],
)
@pytest.mark.parametrize("content_type", [JSON, "text/plain", "application/vnd.api+json", ""])
def test_other_data_is_json_by_default(data: object, body: bytes, content_type: str) -> None:
    assert encode_body(data, content_type, "POST") == body


@pytest.mark.parametrize(
    "content_type",
    [FORM, "Application/X-WWW-Form-Urlencoded", f"{FORM}; charset=utf-8", f" {FORM} "],
)
def test_a_mapping_is_a_form_when_the_type_says_so(content_type: str) -> None:
    assert encode_body({"a": "b c"}, content_type, "POST") == b"a=b%20c"


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (Point(1), b"xAxis=1&y=0.5"),
        (Pair("a", 1.0), b"left=a&right=1"),
        (collections.UserDict(a=None), b"a=null"),
    ],
)
def test_any_kind_of_mapping_can_be_a_form(data: object, body: bytes) -> None:
    assert encode_body(data, FORM, "POST") == body


@pytest.mark.parametrize("data", [[1], 5, True, object()])
def test_what_has_no_names_cannot_be_a_form(data: object) -> None:
    with pytest.raises(ValueError, match="request: data "):
        encode_body(data, FORM, "POST")


def _nested() -> list[object]:
    nested: list[object] = []
    nested.append(nested)
    return nested


@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda v: v,
        lambda v: [v],
        lambda v: {"a": [None, {"b": (1, v)}]},
        lambda v: {v: 1},
        lambda v: Point(1, v),
        lambda v: [Pair(v)],
        lambda v: collections.UserDict(a=v),
        lambda v: {"a": {1, v}},
        lambda v: [Half(v)],
        lambda v: {"r": msgspec.Raw(b"null"), "v": v},
    ],
)
def test_nan_and_infinity_are_refused_anywhere(wrap, bad: float) -> None:
    with pytest.raises(ValueError, match="request: data holds NaN or Infinity"):
        encode_body(wrap(bad), JSON, "POST")


@pytest.mark.parametrize(
    "data",
    [
        object(),
        {"a": object()},
        {None: 1},
        {(1, 2): 1},
        (i for i in range(2)),
        lambda: 1,
        "\ud800",
        {"a": "\ud800"},
        _nested(),
        {"a": 1j},
    ],
)
def test_data_that_cannot_be_written_names_data(data: object) -> None:
    with pytest.raises(ValueError, match="request: data "):
        encode_body(data, JSON, "POST")


def test_the_api_is_named() -> None:
    with pytest.raises(ValueError, match="uploadFile: data "):
        encode_body(object(), JSON, "POST", "uploadFile")


@pytest.mark.parametrize("method", ["HEAD", "TRACE", "CONNECT"])
@pytest.mark.parametrize("data", ["x", b"x", "", [1], 0])
def test_methods_without_a_body_refuse_data(method: str, data: object) -> None:
    with pytest.raises(ValueError, match=f"request: data cannot go with the method {method}"):
        encode_body(data, JSON, method)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def _finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if isinstance(value, list) else True


@given(JSON_VALUES.filter(lambda value: not isinstance(value, str) and value is not None))
def test_json_reads_back_as_it_was_or_is_refused(value: object) -> None:
    if _finite(value):
        assert json.loads(encode_body(value, JSON, "POST")) == value
    else:
        with pytest.raises(ValueError, match="data holds NaN or Infinity"):
            encode_body(value, JSON, "POST")
