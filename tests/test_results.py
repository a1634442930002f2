"""Results: headers as a mapping, the charset they name, and plain dicts of any result."""

from __future__ import annotations

import copy
import json
import pickle
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftnet.errors import Cause, Errno, FtError
from ftnet.results import Headers, charset_of, content_charset, to_dict

RAW = (
    b"HTTP/1.1 200 Very OK\r\n"
    b"Content-Type: text/html; charset=GBK\r\n"
    b"Set-Cookie: a=1; Expires=Mon, 01 Jan 2029 00:00:00 GMT\r\n"
    b"X-Many:  one \r\n"
    b"set-cookie: b=2\r\n"
    b"x-many:two\r\n"
    b"X-Empty:\r\n"
    b"\r\n"
)


@pytest.fixture
def headers() -> Headers:
    return Headers(RAW)


@pytest.mark.parametrize("name", ["content-type", "Content-Type", "CONTENT-TYPE"])
def test_names_are_found_in_any_case(headers: Headers, name: str) -> None:
    assert headers[name] == "text/html; charset=GBK"
    assert name in headers


def test_repeated_fields_are_joined(headers: Headers) -> None:
    assert headers["x-many"] == "one, two"


def test_repeated_fields_are_there_one_by_one(headers: Headers) -> None:
    assert headers.get_all("X-MANY") == ["one", "two"]
    assert headers.get_all("x-none") == []


def test_names_keep_order_and_the_case_they_came_in_first(headers: Headers) -> None:
    assert list(headers) == ["Content-Type", "Set-Cookie", "X-Many", "X-Empty"]
    assert len(headers) == 4


def test_the_block_is_there_as_it_came(headers: Headers) -> None:
    assert headers.raw == RAW


def test_raw_items_are_the_lines_as_they_came(headers: Headers) -> None:
    assert [name for name, _ in headers.raw_items()] == [
        "Content-Type",
        "Set-Cookie",
        "X-Many",
        "set-cookie",
        "x-many",
        "X-Empty",
    ]


def test_raw_items_are_a_copy(headers: Headers) -> None:
    headers.raw_items().clear()
    assert len(headers.raw_items()) == 6


def test_each_cookie_stays_whole(headers: Headers) -> None:
    assert headers.set_cookies == ["a=1; Expires=Mon, 01 Jan 2029 00:00:00 GMT", "b=2"]


def test_an_empty_value_is_there(headers: Headers) -> None:
    assert headers["x-empty"] == ""


@pytest.mark.parametrize("name", ["x-none", "", 5, None, b"x-many"])
def test_what_is_not_there_is_a_key_error(headers: Headers, name: object) -> None:
    assert name not in headers
    with pytest.raises(KeyError) as caught:
        headers[name]  # type: ignore[index]
    assert caught.value.args == (name,)


def test_get_has_a_default(headers: Headers) -> None:
    assert headers.get("x-none") is None
    assert headers.get("x-none", "d") == "d"


def test_a_header_equals_a_dict_in_any_case() -> None:
    headers = Headers(b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\n")
    assert headers == {"b": "2", "A": "1"}
    assert headers == Headers(b"HTTP/2 200 \r\nb: 2\r\na: 1\r\n\r\n")
    assert headers != {"a": "1"}
    assert headers != {"a": "1", 2: "2"}
    assert headers != [("A", "1"), ("B", "2")]


def test_a_header_is_no_key(headers: Headers) -> None:
    with pytest.raises(TypeError):
        hash(headers)


def test_the_repr_is_that_of_a_dict() -> None:
    assert (
        repr(Headers(b"HTTP/1.1 200 OK\r\nA: 1\r\nb: x'y\r\n\r\n")) == """{'A': '1', 'b': "x'y"}"""
    )


@pytest.mark.parametrize(
    "make", [copy.copy, copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))]
)
def test_a_header_can_be_copied_and_pickled(headers: Headers, make) -> None:
    twin = make(headers)
    assert twin == headers
    assert twin.raw_items() == headers.raw_items()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n",
        b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2",
        b"HTTP/1.1 200 OK\nA: 1\nB: 2\n\n",
        b"HTTP/1.1 200 OK\r\nA :1\t\r\nno colon here\r\nB:\t 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\nTrailer: after the end\r\n",
        b"A: 1\r\nB: 2\r\n",
    ],
)
def test_a_block_is_read_however_it_ends(raw: bytes) -> None:
    assert Headers(raw).raw_items() == [("A", "1"), ("B", "2")]


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/2 200"])
def test_a_block_without_fields_is_empty(raw: bytes) -> None:
    headers = Headers(raw)
    assert dict(headers) == {}
    assert headers.set_cookies == []


@pytest.mark.parametrize(
    ("block", "value"),
    [
        (b"A: one\r\n two\r\n", "one two"),
        (b"A: one \r\n\t  two\r\n   three \r\n", "one two three"),
        (b"A:\r\n one\r\n", "one"),
        (b"A: one\r\n  \r\n", "one"),
    ],
)
def test_folded_lines_are_joined_with_one_space(block: bytes, value: str) -> None:
    assert Headers(b"HTTP/1.1 200 OK\r\n" + block + b"B: 2\r\n\r\n") == {"A": value, "B": "2"}


def test_a_fold_before_any_field_is_ignored() -> None:
    assert Headers(b"HTTP/1.1 200 OK\r\n lost\r\nA: 1\r\n\r\n") == {"A": "1"}


@pytest.mark.parametrize(
    ("value", "text"),
    [("é 中".encode(), "é 中"), (b"caf\xe9", "café"), (b"\xff\xfe", "ÿþ"), (b"plain", "plain")],
)
def test_values_are_utf8_when_valid_and_latin1_otherwise(value: bytes, text: str) -> None:
    assert Headers(b"HTTP/1.1 200 OK\r\nA: " + value + b"\r\n\r\n")["a"] == text


def test_each_value_is_decoded_on_its_own() -> None:
    headers = Headers(b"HTTP/1.1 200 OK\r\nA: \xc3\xa9\r\nB: \xe9\r\n\r\n")
    assert dict(headers) == {"A": "é", "B": "é"}


def test_the_block_is_parsed_at_the_first_access_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    parse = Headers._parsed.__globals__["_parse"]
    monkeypatch.setitem(
        Headers._parsed.__globals__, "_parse", lambda raw: calls.append(raw) or parse(raw)
    )
    headers = Headers(RAW)
    assert headers.reason == "Very OK"
    assert calls == []
    assert headers["x-many"]
    assert headers.set_cookies
    assert calls == [RAW]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\n", "Not Found"),
        (b"HTTP/1.1 200 \r\n", ""),
        (b"HTTP/1.1 200\r\n", ""),
        (b"HTTP/2 200 \r\n", ""),
        (b"HTTP/3 200", ""),
        (b"HTTP/1.1 200 \xc3\xa9t\xc3\xa9\r\n", "été"),
        (b"A: b c d\r\n", ""),
    ],
)
def test_the_reason_phrase_is_that_of_the_status_line(line: bytes, reason: str) -> None:
    assert Headers(line).reason == reason


NAMES = st.text("abcXYZ-09", min_size=1, max_size=8)
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=12)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_lines_written_are_lines_read(items: list[tuple[str, str]]) -> None:
    block = "".join(f"{name}: {value}\r\n" for name, value in items)
    headers = Headers(b"HTTP/1.1 200 OK\r\n" + block.encode() + b"\r\n")
    assert headers.raw_items() == items
    for name, _ in items:
        same = [value for other, value in items if other.lower() == name.lower()]
        assert headers.get_all(name.upper()) == same
        assert headers[name] == ", ".join(same)
    assert len(headers) == len({name.lower() for name, _ in items})


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_failing(raw: bytes) -> None:
    headers = Headers(b"HTTP/1.1 200 OK\r\n" + raw)
    assert len(headers) == len(list(headers)) <= len(headers.raw_items())
    assert isinstance(charset_of(b"HTTP/1.1 200 OK\r\ncontent-type:" + raw), str)


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        (None, "utf-8"),
        ("", "utf-8"),
        ("application/json", "utf-8"),
        ("text/html; charset=utf-8", "utf-8"),
        ("text/html;charset=UTF8", "utf-8"),
        ("text/html; Charset = 'GBK'", "gbk"),
        ('text/html; a=b; CHARSET="gbk"; c=d', "gbk"),
        ("text/html; charset=gb2312", "gbk"),
        ("text/html; charset=Big5", "big5"),
        ("text/html; charset=Shift_JIS", "shift_jis"),
        ("text/html; charset=ISO-8859-1", "iso8859-1"),
        ("text/html; charset=windows-1251", "cp1251"),
        ("text/html; charset=nonsense", "utf-8"),
        ("text/html; charset=", "utf-8"),
        ("text/html; charset", "utf-8"),
        ("text/html; charset=hex", "utf-8"),
        ("text/html; charset=rot13", "utf-8"),
        ("text/html; charset=idna", "utf-8"),
        ("text/html; charset=punycode", "utf-8"),
        ("text/html; charset=unicode_escape", "utf-8"),
        ("text/html; charset=a\0b", "utf-8"),
        ("text/html; charset=..os", "utf-8"),
        ("text/html; charset=é", "utf-8"),
        ("text/html; charset=" + "x" * 5000, "utf-8"),
        ("text/html; notcharset=gbk", "utf-8"),
    ],
)
def test_the_charset_is_the_codec_named(content_type: str | None, charset: str) -> None:
    assert content_charset(content_type) == charset


@given(st.text(st.characters(codec="latin-1"), max_size=30))
def test_any_charset_found_can_replace_bad_bytes(label: str) -> None:
    charset = content_charset(f"text/plain; charset={label}")
    assert isinstance(b"\xff\x80a\x00".decode(charset, errors="replace"), str)


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Type: text/html; charset=gbk\r\n",
        b"content-type:text/html;charset=gbk\r\n",
        b"CONTENT-type: text/html; charset=gbk\r\n",
        b"Content-Type: text/html;\r\n charset=gbk\r\n",
        b"Content-Type: text/html; charset=gbk",
        b"Content-Type: text/html; charset=gbk\n",
    ],
)
def test_the_charset_is_found_in_the_raw_block(line: bytes) -> None:
    raw = b"HTTP/1.1 200 OK\r\nX: charset=big5\r\n" + line
    assert charset_of(raw) == "gbk" == content_charset(Headers(raw)["content-type"])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX: charset=gbk\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Content-Type: a; charset=gbk\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type:",
    ],
)
def test_a_block_that_names_no_charset_is_utf8(raw: bytes) -> None:
    assert charset_of(raw) == "utf-8"


class Colour(IntEnum):
    RED = 3


class Inner:
    _fields_ = ("rtt", "estimate_nettype")
    rtt = 1.5
    estimate_nettype = Colour.RED


class Outer:
    _fields_ = ("data", "profile", "header", "statusCode", "cookies", "nothing")
    hidden = "not listed"

    def __init__(self) -> None:
        self.data = {"inner": Inner}
        self.profile = Inner()
        self.header = Headers(RAW)
        self.statusCode = 200
        self.cookies = ["a=1"]
        self.nothing = None


def test_a_result_becomes_a_dict_with_its_fields_in_order() -> None:
    outer = Outer()
    result = to_dict(outer)
    assert list(result) == list(Outer._fields_)
    assert result["profile"] == {"rtt": 1.5, "estimate_nettype": 3}
    assert type(result["profile"]["estimate_nettype"]) is int
    assert type(result["header"]) is dict
    assert result["header"]["X-Many"] == "one, two"
    assert result["data"] is outer.data
    assert result["nothing"] is None


def test_an_error_becomes_a_dict_that_json_can_write() -> None:
    error = FtError("request:fail x", Errno.DNS, Cause(6, "CURLE_X", "text", 0), Inner())
    result = to_dict(error)
    assert result == {
        "errMsg": "request:fail x",
        "errno": 600012,
        "cause": {"code": 6, "name": "CURLE_X", "text": "text", "os_errno": 0},
        "profile": {"rtt": 1.5, "estimate_nettype": 3},
    }
    assert list(json.loads(json.dumps(result))) == ["errMsg", "errno", "cause", "profile"]


def test_an_error_without_cause_or_profile_has_none() -> None:
    result = to_dict(FtError("request:fail abort", Errno.INTERRUPTED))
    assert (result["cause"], result["profile"]) == (None, None)


@pytest.mark.parametrize("value", [None, 5, "x", b"x", [1], {"a": 1}, object()])
def test_anything_else_stays_as_it_is(value: object) -> None:
    assert to_dict(value) is value
