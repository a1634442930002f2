"""What must hold of an answer, and what is taken from it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftnet.plan import jsonpath
from ftnet.plan.answers import Answer, NotFound, expectations, extractions

HEAD = (
    b"HTTP/1.1 201 Created\r\nContent-Type: application/json; charset=utf-8\r\n"
    b"X-Token:  abc \r\nVary: a\r\nVARY: b\r\nX-Long: one\r\n two\r\nLast: 7\r\n\r\n"
)
CONTENT = {
    "ok": True,
    "id": 17,
    "user": {"name": "Ada", "the mail": "a@b.c", "it's": 1},
    "items": [{"id": 1}, {"id": 2, "tags": ["x", "y"]}, {"no": 3}],
    "none": None,
    "text": "abc",
    "ratio": 0.5,
}


def answer(body: Any = CONTENT, status: int = 201, raw: bytes = HEAD) -> Answer:
    content = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    return Answer(status, raw, content, b"charset" in raw)


def held(expect: dict[str, Any], of: Answer, **variables: Any) -> list[bool]:
    return [one.holds(of, variables) for one in expectations(expect)]


# --- answers ----------------------------------------------------------------------------------


def test_headers_are_found_as_they_came() -> None:
    came = answer()
    assert came.header("x-token") == came.header("X-Token") == "abc"
    assert came.header("vary") == "a, b"
    assert came.header("x-long") == "one two"
    assert came.header("last") == "7"
    assert came.header("token") is None
    assert Answer(200, b"HTTP/2 200\r\nname: caf\xc3\xa9\r\n\r\n", None).header("name") == "café"
    assert Answer(0, b"", b"").header("x") is None


def test_text_is_by_its_charset() -> None:
    latin = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=latin-1\r\n\r\n"
    assert Answer(200, latin, b"caf\xe9", True).text == "café"
    assert Answer(200, b"", b"\xef\xbb\xbfcaf\xc3\xa9").text == "café"
    assert Answer(200, b"", memoryview(b"a\xff")).text == "a\N{REPLACEMENT CHARACTER}"
    assert Answer(200, b"", None).text == ""
    assert Answer(0, b"", "message").text == "message"


def test_json_is_read_in_any_charset_and_behind_a_bom() -> None:
    utf16 = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-16\r\n\r\n"
    assert Answer(200, utf16, '{"a": "é"}'.encode("utf-16"), True).json == {"a": "é"}
    assert Answer(200, b"", b'\xef\xbb\xbf{"a": 1}').json == {"a": 1}
    assert Answer(0, b"", '{"a": 1}').json == {"a": 1}
    assert answer().json is not answer().json
    came = answer()
    assert came.json is came.json


def test_length_counts_bytes() -> None:
    assert [Answer(0, b"", body).length for body in (None, b"", "é", b"abc")] == [0, 0, 2, 3]


# --- JSON paths -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", CONTENT),
        ("$.id", 17),
        ("$.none", None),
        ("$.user.name", "Ada"),
        ("$['user']['the mail']", "a@b.c"),
        (r"$.user['it\'s']", 1),
        ('$.user["it\'s"]', 1),
        ("$.items[0].id", 1),
        ("$.items[-1].no", 3),
        ("$.items[1].tags[ 1 ]", "y"),
        ("$.items[*].id", [1, 2]),
        ("$.items[*].tags[*]", ["x", "y"]),
        ("$.user.*", ["Ada", "a@b.c", 1]),
        ("$.items[1].tags[*]", ["x", "y"]),
    ],
)
def test_a_path_leads_to(path: str, value: Any) -> None:
    assert jsonpath.reader(path)(CONTENT) == value


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("$.gone", "$ has no 'gone'; it has ok, id, user"),
        ("$.user.gone.x", "$.user has no 'gone'; it has name, the mail, it's"),
        ("$.items[3]", "$.items has 3 items, no [3]"),
        ("$.items[-4].id", "$.items has 3 items, no [-4]"),
        ("$.items.id", "$.items is a list, no object"),
        ("$.text[0]", "$.text is a text, no list"),
        ("$.user[0]", "$.user is an object, no list"),
        ("$.ok.x", "$.ok is true, no object"),
        ("$.none.x", "$.none is null, no object"),
        ("$.id[*]", "$.id is a number, no list"),
        ("$.ratio.x", "$.ratio is a number, no object"),
    ],
)
def test_a_path_leads_nowhere(path: str, reason: str) -> None:
    with pytest.raises(jsonpath.Missing) as caught:
        jsonpath.reader(path)(CONTENT)
    assert str(caught.value).startswith(reason)


def test_a_decoder_goes_no_further_than_its_paths() -> None:
    text = json.dumps(CONTENT)
    decode = jsonpath.decoder(frozenset({"$.user.name", "$.items[0].id", "$.gone"}))
    assert decode(text) == {"user": {"name": "Ada"}, "items": [{"id": 1}, {"id": 2}, {}]}
    assert jsonpath.decoder(frozenset({"$.id", "$"}))(text) == CONTENT
    assert jsonpath.decoder(frozenset({"$.user.*", "$.items[*].no"}))(text) == {
        "user": CONTENT["user"],
        "items": [{}, {}, {"no": 3}],
    }


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=12,
)
_PATHS = st.lists(st.sampled_from([".a", ".b", "[0]", "[-1]", "[*]"]), max_size=3).map("".join)


@settings(max_examples=80, deadline=None)
@given(_ANY, st.lists(_PATHS, min_size=1, max_size=3))
def test_what_is_decoded_in_part_is_what_is_there(value: Any, paths: list[str]) -> None:
    """Whatever the paths of a step are, each finds what it would find in the whole."""
    sources = [f"json:${path}" for path in paths]
    expect = {source: {"exists": True} for source in sources}
    for source in sources:
        came = Answer(200, b"", json.dumps(value).encode())
        try:
            want, reason = jsonpath.reader(source[5:])(value), ""
        except jsonpath.Missing as missing:
            want, reason = None, str(missing)
        got: dict[str, Any] = {}
        take = extractions({"v": source}, expect)
        if reason:
            with pytest.raises(NotFound, match=re.escape(reason)):
                take(came, got)
        else:
            take(came, got)
            assert repr(got["v"]) == repr(want)
        (one,) = expectations({source: {"exists": True}}, dict(enumerate(sources)))
        assert one.holds(came, {}) is (not reason)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("id", "begins with $"),
        ("", "begins with $"),
        ("$..id", "'..' (descendants) is not supported"),
        ("$.a[?(@.b)]", "'[?...]' (a filter) is not supported"),
        ("$.a[0:2]", "'[a:b]' (a slice) is not supported"),
        ("$.a[0,1]", "'[a,b]' (a union) is not supported"),
        ("$.a[", "'[' in the JSON path '$.a['"),
        ("$.a[01]", "'[01]' in the JSON path"),
        ("$.a b", "' b' in the JSON path"),
        ("$['a]", "is none of .name"),
    ],
)
def test_a_path_is_refused(path: str, reason: str) -> None:
    with pytest.raises(jsonpath.PathError) as caught:
        jsonpath.parse(path)
    assert reason in str(caught.value)


QUOTED, ESCAPED = r"(['\\])", r"\\\1"
_KEYS = st.lists(st.text() | st.integers(0, 3), max_size=4)


@settings(max_examples=50, deadline=None)
@given(_KEYS, st.integers())
def test_a_path_finds_what_was_put_there(keys: list[str | int], value: int) -> None:
    made: Any = value
    for key in reversed(keys):
        made = [None] * key + [made] if isinstance(key, int) else {"": 0, key: made}
    quoted = [
        f"[{key}]" if isinstance(key, int) else f"['{re.sub(QUOTED, ESCAPED, key)}']"
        for key in keys
    ]
    assert jsonpath.reader("$" + "".join(quoted))(made) == value


# --- expectations -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "texts"),
    [
        ({"status": 201}, ["status = 201"]),
        ({"status": "2xx"}, ["status = 2xx"]),
        ({"status": [404, "2xx"]}, ["status in 404, 2xx"]),
        ({"json:$.ok": True, "json:$.id": 17}, ["json:$.ok = true", "json:$.id = 17"]),
        ({"json:$.id": 17.0, "json:$.none": None}, ["json:$.id = 17.0", "json:$.none = null"]),
        ({"json:$.items[1]": {"exists": True}}, ["json:$.items[1] exists"]),
        ({"json:$.gone": {"exists": False}}, ["json:$.gone does not exist"]),
        (
            {"json:$.id": {"min": 17, "max": 17.5}},
            ["json:$.id >= 17", "json:$.id <= 17.5"],
        ),
        ({"json:$.text": {"contains": "b"}}, ['json:$.text contains "b"']),
        ({"json:$.items[1].tags": {"contains": "x"}}, ['json:$.items[1].tags contains "x"']),
        ({"json:$.items[1].tags": ["x", "y"]}, ['json:$.items[1].tags = ["x","y"]']),
        ({"json:$.user": {"contains": "name"}}, ['json:$.user contains "name"']),
        ({"header:X-Token": "abc"}, ['header:X-Token = "abc"']),
        ({"header:last": 7}, ["header:last = 7"]),
        ({"header:Last": {"min": 7}}, ["header:Last >= 7"]),
        ({"header:x-token": {"matches": "^[abc]{3}$"}}, ['header:x-token matches "^[abc]{3}$"']),
        ({"header:gone": {"exists": False}}, ["header:gone does not exist"]),
        ({"regex:\"id\": (\\d+)": "17"}, ['regex:"id": (\\d+) = "17"']),
        ({"regex:Ada": True, "regex:Bob": False}, ["regex:Ada exists", "regex:Bob does not exist"]),
        ({"body": {"contains": "Ada"}}, ['body contains "Ada"']),
        ({"body": {"exists": True}}, ["body exists"]),
        ({"length": {"min": 10}}, ["length >= 10"]),
        ({"length": {"exists": True}}, ["length exists"]),
        ({"json:$.id": "${id}"}, ["json:$.id = ${id}"]),
        ({"header:last": "${last}"}, ["header:last = ${last}"]),
        ({"json:$.ok": "${yes}"}, ["json:$.ok = ${yes}"]),
        ({"json:$.text": "a${part}"}, ['json:$.text = "a${part}"']),
        ({"body": {"contains": "${name}"}}, ["body contains ${name}"]),
        ({"json:$.items[*].id": {"contains": "${two}"}}, ["json:$.items[*].id contains ${two}"]),
    ],
)  # fmt: skip
def test_holds(expect: dict[str, Any], texts: list[str]) -> None:
    made = expectations(expect)
    variables = {"id": "17", "last": 7, "yes": True, "part": "bc", "name": "Ada", "two": "2"}
    assert [one.text for one in made] == texts
    assert [one.holds(answer(), variables) for one in made] == [True] * len(made)
    if "exist" not in made[-1].text and "Bob" not in texts[-1]:
        assert not made[-1].holds(Answer(500, b"", b"null"), variables)


@pytest.mark.parametrize(
    "expect",
    [
        {"status": 200},
        {"status": "3xx"},
        {"json:$.ok": 1},
        {"json:$.id": "17"},
        {"json:$.id": True},
        {"json:$": [1]},
        {"json:$.items": [{"id": True}, {"id": 2, "tags": ["x", "y"]}, {"no": 3}]},
        {"json:$.user": {"contains": 1}},
        {"json:$.id": {"max": 16}},
        {"json:$.text": {"min": 0}},
        {"json:$.ok": {"min": 0}},
        {"json:$.id": "${text}"},
        {"json:$.id": "${gone}"},
        {"header:x-token": "ABC"},
        {"header:x-token": {"exists": False}},
        {"body": ""},
        {"regex:id": False},
        {"length": 3},
    ],
)
def test_does_not_hold(expect: dict[str, Any]) -> None:
    assert held(expect, answer(), text="170") == [False]


STRANGE = [None, b"", b"not json", b"\xff\xfe", b"[" * 100_000, b"[]", b"3", b'"a"', b"NaN"]


@pytest.mark.parametrize("body", STRANGE, ids=lambda body: repr(body)[:12])
def test_a_strange_answer_does_not_hold(body: bytes | None) -> None:
    expect = {
        "json:$.a": {"exists": True, "min": 1, "contains": "b", "matches": "c"},
        "json:$.a.b[0]": 1,
        "json:$[3]": "${x}",
        "json:$.items[*].id": [1],
        "regex:ab(c)": "c",
        "header:x": {"max": 3},
    }
    came = Answer(200, b"\r\nx\r\n:\r\nx: y\r\n", body, True)
    assert not any(held(expect, came, x=1))


@settings(max_examples=50, deadline=None)
@given(st.binary(), st.binary())
def test_no_answer_makes_it_raise(raw: bytes, body: bytes) -> None:
    expect = {"json:$.a[0]": 1, "header:a": "b", "regex:(a)?b": "a", "body": "x", "length": 1}
    assert all(type(one) is bool for one in held(expect, Answer(200, raw, body, True)))


@pytest.mark.parametrize(
    ("expect", "reason"),
    [
        ({"status": "ok"}, 'status: must be a status (100 to 999), a class as "2xx" or a list of'),
        ({"status": 99}, "a list of them, got 99"),
        ({"status": True}, "a list of them, got true"),
        ({"status": []}, "a list of them, got []"),
        ({"statsu": 1}, "statsu: 'statsu' is none of status, header:NAME"),
        ({"header:": 1}, "is none of"),
        ({"header:a b": 1}, "'a b' is no header name"),
        ({"json:id": 1}, "begins with $"),
        ({"regex:(": True}, "regex:(: '(' is no regular expression: missing )"),
        ({"body": {"matches": "["}}, "body: '[' is no regular expression"),
        ({"body": {"matches": 1}}, "matches must be a regular expression, got 1"),
        ({"body": {}}, "must have one of contains, matches, min, max, exists"),
        ({"body": {"has": 1}}, "'has' is none of contains"),
        ({"body": {"exists": 1}}, "exists must be true or false, got 1"),
        ({"length": {"min": "3"}}, 'min must be a number, got "3"'),
        ({"header:x": ["a"]}, "must be a text, a number or a table"),
        ({"body": "${a b}"}, "is no variable and no call"),
    ],
)
def test_refuses_what_can_not_be_expected(expect: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        expectations(expect)
    assert reason in str(caught.value)


def test_says_what_it_compares_with() -> None:
    (made,) = expectations({"json:$.id": ["${a.b}", "${c}"]})
    assert made.names == {"a.b", "c"}


# --- extractions ------------------------------------------------------------------------------


def test_takes_what_is_there() -> None:
    variables: dict[str, Any] = {"old": 1}
    take = extractions({
        "id": "json:$.id",
        "none": "json:$.none",
        "ids": "json:$.items[*].id",
        "token": "header:X-Token",
        "name": 'regex:"name": "(.*?)"',
        "whole": "regex:A.a",
        "all": "body",
        "status": "status",
    })  # fmt: skip
    take(answer(), variables)
    assert variables.pop("all") == json.dumps(CONTENT)
    want = {"old": 1, "id": 17, "none": None, "ids": [1, 2], "token": "abc", "name": "Ada"}
    assert variables == {**want, "whole": "Ada", "status": 201}


@pytest.mark.parametrize(
    ("source", "body", "reason"),
    [
        ("json:$.id", b"<html>", "v = json:$.id: the body is no JSON: '<html>'"),
        ("json:$.id", None, "v = json:$.id: no body"),
        ("json:$.id", b'{"a": 1}', "v = json:$.id: $ has no 'id'; it has a"),
        ("json:$.id", b"{}", "$ has no 'id'; it has nothing"),
        ("header:Location", b"", "no such header; there are Content-Type, X-Token, Vary"),
        ("regex:a(b)", b"ac", "v = regex:a(b): no match in 'ac'"),
    ],
)
def test_says_what_there_was(source: str, body: bytes | None, reason: str) -> None:
    with pytest.raises(NotFound) as caught:
        extractions({"v": source})(answer(body), {})
    assert reason in str(caught.value)
    assert (caught.value.variable, caught.value.source) == ("v", source)


@pytest.mark.parametrize("source", ["id", "json:id", "regex:(", "header:", "json", 3])
def test_refuses_what_can_not_be_taken(source: Any) -> None:
    with pytest.raises(ValueError, match="^v: "):
        extractions({"v": source})
