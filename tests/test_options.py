"""Options: what each call and Client takes, refused at the call by name when it is wrong."""

from __future__ import annotations

import math
import pathlib
import types
import warnings
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftnet.header import header_lines
from ftnet.options import METHODS, REQUEST_OPTIONS, json_decoder, merge_options
from ftnet.settings import CLIENT_SETTINGS, check_client_settings
from ftnet.url import prepare_url

URL = "http://h/"


def merge(options: Mapping[str, Any] | None = None, /, **kw: Any) -> dict[str, Any]:
    return merge_options("request", options, kw, REQUEST_OPTIONS)


class Reply(msgspec.Struct):
    a: int


# --- merge_options ----------------------------------------------------------------------------


def test_what_is_not_given_has_its_default() -> None:
    assert merge(url=URL) == {
        "url": URL,
        "data": None,
        "header": None,
        "method": "GET",
        "timeout": None,
        "dataType": "json",
        "responseType": "text",
        "enableProfile": True,
        "enableChunked": False,
        "forceCellularNetwork": False,
        "success": None,
        "fail": None,
        "complete": None,
        "redirect": "follow",
        "enableHttp2": None,
        "enableQuic": False,
        "enableCache": False,
    }


@pytest.mark.parametrize("name", [name for name in REQUEST_OPTIONS.rows if name != "url"])
def test_none_is_not_given(name: str) -> None:
    assert merge({"url": URL, name: None}) == merge(url=URL)


@pytest.mark.parametrize("wrap", [dict, types.MappingProxyType])
def test_a_mapping_and_keywords_are_the_same(wrap) -> None:
    options = {"url": URL, "method": "post", "timeout": 5, "data": [1], "success": print}
    assert merge(wrap(options)) == merge(**options)


def test_the_defaults_stay_as_they_are() -> None:
    merge(url=URL)["method"] = "POST"
    assert merge(url=URL)["method"] == "GET"


def test_a_mapping_and_keywords_at_once_are_refused() -> None:
    with pytest.raises(TypeError, match="request: options come as one mapping or as keywords"):
        merge({"url": URL}, timeout=5)


@pytest.mark.parametrize("options", [URL, 5, [("url", URL)]])
def test_options_that_are_no_mapping_are_refused(options: Any) -> None:
    with pytest.raises(TypeError, match="request: options must be a mapping or keywords, got"):
        merge(options)


def test_an_unknown_option_is_refused_and_all_known_ones_listed() -> None:
    with pytest.raises(TypeError) as caught:
        merge(url=URL, foo=1)
    assert str(caught.value) == (
        "request: unknown option 'foo'; it takes url, data, header, method, timeout, dataType,"
        " responseType, enableProfile, enableChunked, forceCellularNetwork, success, fail,"
        " complete, redirect, enableHttp2, enableQuic, enableCache"
    )


@pytest.mark.parametrize("options", [{}, {"url": None}, {"timeout": 5}])
def test_a_missing_url_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="request: url is required: a str, an absolute http"):
        merge(options)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_taken_in_any_case(name: str) -> None:
    for form in (name, name.lower(), name.title()):
        assert merge(url=URL, method=form)["method"] == name


@pytest.mark.parametrize("value", [1, 0.5, 60000, 2**31 - 1])
def test_a_timeout_is_taken_as_it_is(value: float) -> None:
    assert merge(url=URL, timeout=value)["timeout"] == value


@pytest.mark.parametrize(
    "value", ["json", "text", "", Reply, list[int], dict[str, Any], int | None]
)
def test_a_data_type_is_a_str_or_what_msgspec_decodes(value: Any) -> None:
    assert merge(url=URL, dataType=value)["dataType"] is value


def test_a_data_type_has_one_decoder() -> None:
    merge(url=URL, dataType=Reply)
    assert json_decoder(Reply) is json_decoder(Reply)
    assert json_decoder(Reply).decode(b'{"a":1}') == Reply(1)


@pytest.mark.parametrize("value", [None, "x", b"x", {"a": 1}, [1], 5, object()])
def test_data_is_left_to_the_body(value: Any) -> None:
    assert merge(url=URL, data=value)["data"] is value


@pytest.mark.parametrize(
    ("name", "value", "kind", "words"),
    [
        ("url", 5, TypeError, "must be a str, an absolute http:// or https:// URL, got 5"),
        ("url", b"http://h", TypeError, "must be a str"),
        ("header", "a: b", TypeError, "must be a mapping of names to values, got 'a: b'"),
        ("header", [("a", "b")], TypeError, "must be a mapping"),
        ("method", "PATCH", ValueError, "must be one of OPTIONS, GET, HEAD"),
        ("method", "", ValueError, "got ''"),
        ("method", "GET\r\n", ValueError, "must be one of"),
        ("method", "ge\u017f", ValueError, "must be one of"),
        ("method", 5, TypeError, "must be one of"),
        ("timeout", -5, ValueError, "must be a number of milliseconds > 0, got -5"),
        ("timeout", 0, ValueError, "got 0"),
        ("timeout", math.nan, ValueError, "got nan"),
        ("timeout", math.inf, ValueError, "got inf"),
        ("timeout", 2**31, ValueError, "more than 2147483647"),
        ("timeout", 10**400, ValueError, "more than 2147483647"),
        ("timeout", True, TypeError, "must be a number of milliseconds > 0, got True"),
        ("timeout", "5", TypeError, "got '5'"),
        ("dataType", 5, TypeError, "must be 'json', another str, or a type msgspec decodes"),
        ("dataType", {}, TypeError, "must be 'json'"),
        ("dataType", set | list, TypeError, "must be 'json'"),
        ("responseType", "blob", ValueError, "must be 'text' or 'arraybuffer', got 'blob'"),
        ("responseType", 5, TypeError, "must be 'text' or 'arraybuffer', got 5"),
        ("enableProfile", 1, TypeError, "must be True or False, got 1"),
        ("enableChunked", "yes", TypeError, "must be True or False"),
        ("forceCellularNetwork", 0, TypeError, "must be True or False"),
        ("enableHttp2", "2", TypeError, "must be True, False or None"),
        ("enableQuic", 1, TypeError, "must be True or False"),
        ("enableCache", True, ValueError, "not available yet"),
        ("enableCache", 1, TypeError, "must be False"),
        ("success", 5, TypeError, "must be callable or None, got 5"),
        ("fail", "f", TypeError, "must be callable or None"),
        ("complete", {}, TypeError, "must be callable or None"),
        ("redirect", "error", ValueError, "must be 'follow' or 'manual', got 'error'"),
        ("redirect", False, TypeError, "must be 'follow' or 'manual'"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    name: str, value: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as caught:
        merge({"url": URL, name: value})
    assert str(caught.value).startswith(f"request: {name} ")
    assert words in str(caught.value)


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(ValueError, match="request: redirect must be") as caught:
        merge(url=URL, redirect="x" * 10_000)
    assert len(str(caught.value)) < 140


def test_a_value_whose_repr_fails_is_still_refused_by_name() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(TypeError, match="request: timeout must be .* whose repr raised RuntimeErr"):
        merge(url=URL, timeout=Odd())


def test_a_message_never_shows_credentials() -> None:
    with pytest.raises(TypeError) as caught:
        merge("http://ann:s3cret@h/")  # type: ignore[arg-type]
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("row", [*REQUEST_OPTIONS.rows.values(), *CLIENT_SETTINGS.rows.values()])
def test_every_row_is_documented(row: Any) -> None:
    assert row.takes
    assert row.doc


# --- prepare_url ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "http://h/",
        "https://example.com:8443/a/b;c?d=e&f=%20%zz",
        "http://h?x=1",
        "http://h/p?u=http://other:99999/@x",
        "http://127.0.0.1:0/",
        "http://h:65535/",
        "http://h:/",
        "http://[::1]:8080/x",
        "http://[fe80::1%25eth0]/",
        "http://ann:pw@h/p",
        "http://a_b.example./",
        "http://xn--fiq228c.com/",
        "http://h/a|b\"c<d>{e}`f'[g]\\",
    ],
)
def test_an_ascii_url_stays_byte_for_byte(url: str) -> None:
    assert prepare_url(url) == url
    assert prepare_url(url) == url


@pytest.mark.parametrize(
    ("url", "prepared"),
    [
        ("http://h/p#frag", "http://h/p"),
        ("http://h#frag/x?y", "http://h"),
        ("http://h/p?q#", "http://h/p?q"),
        ("HTTP://H/P", "http://H/P"),
        ("http://h/é", "http://h/%C3%A9"),
        ("http://h/p?q=中&x=%e4", "http://h/p?q=%E4%B8%AD&x=%e4"),
        ("http://h/👨\u200d👩", "http://h/%F0%9F%91%A8%E2%80%8D%F0%9F%91%A9"),
        ("http://中文.com/", "http://xn--fiq228c.com/"),
        ("http://BÜCHER.example:8080/x", "http://xn--bcher-kva.example:8080/x"),
        ("http://faß.de/", "http://xn--fa-hia.de/"),
        ("http://例え。jp/", "http://xn--r8jz45g.jp/"),
        ("http://ｅｘａｍｐｌｅ.com/", "http://example.com/"),
        ("http://ünn:pä@bücher.example/", "http://%C3%BCnn:p%C3%A4@xn--bcher-kva.example/"),
    ],
)
def test_a_url_becomes_ascii_without_fragment(url: str, prepared: str) -> None:
    assert prepare_url(url) == prepared


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=30))
def test_any_path_becomes_printable_ascii_and_stays_so(path: str) -> None:
    prepared = prepare_url(f"http://h/{path}")
    assert prepared.isascii()
    assert prepared.isprintable()
    assert prepare_url(prepared) == prepared


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must be an absolute http or https URL"),
        ("h/p", "must be an absolute http or https URL, got 'h/p'"),
        ("//h/p", "must be an absolute"),
        ("http:h", "must be an absolute"),
        ("http:/h", "must be an absolute"),
        ("://h", "must be an absolute"),
        ("ftp://h/", "has a wrong scheme, got 'ftp'; takes http or https"),
        ("file:///etc/passwd", "got 'file'; takes http or https"),
        ("ws://h/", "got 'ws'; takes http or https"),
        ("http://", "the host is missing"),
        ("http:///p", "the host is missing"),
        ("http://?x", "the host is missing"),
        ("http://#x", "the host is missing"),
        ("http://:80/", "the host is missing"),
        ("http://ann@/", "the host is missing"),
        ("http://h:65536/", "the port is not a number from 0 to 65535"),
        ("http://h:99999999999999/", "the port is not"),
        ("http://h:-1/", "the port is not"),
        ("http://h:8o/", "the port is not"),
        ("http://h:٣/", "the port is not"),
        ("http://h:80:8x/", "the port is not"),
        ("http://::1/", "an IPv6 address goes in brackets"),
        ("http://fe80::1:80/", "an IPv6 address goes in brackets"),
        ("http://[::1/", "bracket of the IPv6 address is not closed"),
        ("http://[::1]80/", "the port is not"),
        ("http://[127.0.0.1]/", "not valid"),
        ("http://[zz]/", "not valid"),
        ("http://[::1%25a!b]/", "the zone holds"),
        ("http://good\\@evil/", "a backslash before the host"),
        ("http://evil\\.good/", "holds a character no host name has"),
        ("http://a%2fb/", "holds a character no host name has"),
        ("http://a,b/", "holds a character no host name has"),
        ("http://℀.com/", "the host"),
        ("http://" + "é" * 80 + ".com/", "no valid international name"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, words: str) -> None:
    with pytest.raises(ValueError, match="request: url ") as caught:
        prepare_url(url)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h/a b", "must not hold a space, found at position 10"),
        (" http://h/", "found at position 0"),
        ("http://h/\r\nX: y", "U+000D, found at position 9"),
        ("http://h/\n", "U+000A, found at position 9"),
        ("http://h/\t", "U+0009"),
        ("http://h\0/", "U+0000, found at position 8"),
        ("http://h/\x7f", "U+007F"),
        ("http://h/é\x85", "U+0085, found at position 10"),
        ("http://h/\xa0", "U+00A0"),
        ("http://h/\u3000", "U+3000"),
        ("http://h/\u2028", "U+2028"),
        ("http://h/#a b", "a space"),
        ("http://h/\ud800", "U+D800"),
    ],
)
def test_a_control_character_or_space_is_refused_by_position(url: str, words: str) -> None:
    with pytest.raises(ValueError, match="request: url must not hold") as caught:
        prepare_url(url)
    assert words in str(caught.value)


@given(st.text(max_size=20))
def test_any_url_is_printable_ascii_or_refused(text: str) -> None:
    try:
        prepared = prepare_url(f"http://{text}")
    except ValueError as exc:
        assert str(exc).startswith("request: url ")  # noqa: PT017 - both outcomes are fine
    else:
        assert prepared.isascii()
        assert prepared.isprintable()
        assert " " not in prepared


def test_a_refused_url_never_shows_credentials() -> None:
    for url in ("http://ann:s3cret@h:x/", "ftp://ann:s3cret@h/", "http://ann:s3/cret@h/"):
        with pytest.raises(ValueError, match="request: url") as caught:
            prepare_url(url)
        assert "s3" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", [None, 5, b"http://h/"])
def test_a_url_that_is_no_str_is_a_type_error(url: Any) -> None:
    with pytest.raises(TypeError, match="connectSocket: url must be a str"):
        prepare_url(url, "connectSocket")


def test_other_schemes_can_be_asked_for() -> None:
    assert prepare_url("wss://h/x", "connectSocket", ("ws", "wss")) == "wss://h/x"
    with pytest.raises(ValueError, match="connectSocket: url has a wrong scheme, got 'http'; tak"):
        prepare_url("http://h/x", "connectSocket", ("ws", "wss"))


def test_more_hosts_than_are_remembered_are_all_checked() -> None:
    for number in range(3000):
        assert prepare_url(f"http://h{number}/") == f"http://h{number}/"
    with pytest.raises(ValueError, match="no host name has"):
        prepare_url("http://h{}/")


# --- header_lines -----------------------------------------------------------------------------

DEFAULT = b"content-type: application/json"


@pytest.mark.parametrize("header", [None, {}])
def test_no_header_is_the_default_content_type(header: Any) -> None:
    assert header_lines(header) == ((DEFAULT,), "application/json")


@pytest.mark.parametrize(
    ("header", "lines"),
    [
        ({"X-A": "b"}, (b"X-A: b",)),
        ({"x": 1, "y": 1.0, "z": 0.5}, (b"x: 1", b"y: 1", b"z: 0.5")),
        ({"x": True, "y": False}, (b"x: true", b"y: false")),
        ({"x": ["a", "b", 3]}, (b"x: a", b"x: b", b"x: 3")),
        ({"x": ("a",)}, (b"x: a",)),
        ({"x": []}, ()),
        ({"x": ""}, (b"x;",)),
        ({"x": " \t "}, (b"x;",)),
        ({"x": "  a\tb  "}, (b"x: a\tb",)),
        ({"x": "café"}, (b"x: caf\xe9",)),
        ({"x": "é中"}, ("x: é中".encode(),)),
        ({"x": "a: b; c"}, (b"x: a: b; c",)),
        ({"Host": "other", "Connection": "close"}, (b"Host: other", b"Connection: close")),
        ({"!#$%&'*+-.^_`|~09aZ": "x"}, (b"!#$%&'*+-.^_`|~09aZ: x",)),
        (types.MappingProxyType({"x": "a"}), (b"x: a",)),
    ],
)
def test_a_header_becomes_lines(header: Any, lines: tuple[bytes, ...]) -> None:
    for _ in range(2):  # the second time with names known already
        assert header_lines(header) == ((*lines, DEFAULT), "application/json")


@pytest.mark.parametrize("name", ["content-type", "Content-Type", "CONTENT-TYPE"])
def test_a_content_type_of_the_caller_is_kept(name: str) -> None:
    lines, content_type = header_lines({name: "text/plain; charset=gbk", "a": "b"})
    assert lines == (f"{name}: text/plain; charset=gbk".encode(), b"a: b")
    assert content_type == "text/plain; charset=gbk"


def test_an_empty_content_type_is_kept_empty() -> None:
    assert header_lines({"Content-Type": ""}) == ((b"Content-Type;",), "")


@pytest.mark.parametrize(
    "header",
    [
        {"content-type": "a/b", "Content-Type": "a/b"},
        {"content-type": ["a/b", "c/d"]},
        {"Host": "a", "host": "b"},
        {"Host": ""},
    ],
)
def test_what_must_be_there_once_is_refused_twice(header: Any) -> None:
    with pytest.raises(ValueError, match="request: header .* given"):
        header_lines(header)


@pytest.mark.parametrize("name", ["Referer", "referer", "REFERER"])
def test_referer_is_dropped_with_a_warning(name: str) -> None:
    for _ in range(2):
        with pytest.warns(UserWarning, match="request: the Referer header cannot be set") as seen:
            assert header_lines({name: "http://h/", "a": "b"}) == (
                (b"a: b", DEFAULT),
                "application/json",
            )
        assert seen[0].filename == __file__


@pytest.mark.parametrize(
    "name",
    [
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "Upgrade",
        "Expect",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "HTTP2-Settings",
        "Sec-WebSocket-Key",
        "sec-websocket-extensions",
    ],
)
def test_what_the_engine_sets_is_refused(name: str) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match=f"request: header {name} .*the engine sets it itself"):
            header_lines({name: "x"})


def test_proxy_credentials_never_go_to_the_server() -> None:
    with pytest.raises(ValueError, match="Proxy-Authorization cannot be given.* proxy's URL"):
        header_lines({"Proxy-Authorization": "Basic eA=="})


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "a:", ":path", "a\r\nb", "a\n", "a\0", "a\t", "é", "a(b)", "a,b", 'a"', "a/b"],
)
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="request: header name .* is not a token"):
        header_lines({name: "x"})


@pytest.mark.parametrize("char", [chr(c) for c in (*range(9), *range(10, 32), 127)])
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: ["ok", v]])
def test_a_control_character_in_a_value_is_refused(char: str, wrap) -> None:
    for value in (f"s3cret{char}X: y", f"s3crété{char}x"):
        with pytest.raises(ValueError, match="request: header Cookie holds the control") as caught:
            header_lines({"Cookie": wrap(value)})
        assert f"U+{ord(char):04X} at position" in str(caught.value)
        assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize("char", ["\r", "\n", "\0", "\x0b", "\x1f"])
def test_a_control_character_at_an_end_is_refused_too(char: str) -> None:
    for value in (f"{char}x", f"x{char}", char):
        with pytest.raises(ValueError, match="control character"):
            header_lines({"x": value})


@pytest.mark.parametrize(
    "value", [None, b"x", bytearray(b"x"), {"a": 1}, object(), [None], [b"x"], [["x"]], {1}]
)
def test_a_value_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="request: header x must be a str, a number, a bool or a s"):
        header_lines({"x": value})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_must_be_finite(value: float) -> None:
    with pytest.raises(ValueError, match="request: header x must be a finite number"):
        header_lines({"x": value})


def test_a_lone_surrogate_in_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="request: header x holds a lone surrogate at position 1"):
        header_lines({"x": "a\ud800"})


@pytest.mark.parametrize("name", [5, None, b"x", ("x",)])
def test_a_name_that_is_no_str_is_refused(name: Any) -> None:
    with pytest.raises(TypeError, match="request: header names must be str"):
        header_lines({name: "x"})


@given(st.dictionaries(st.text(max_size=6), st.text(max_size=12), max_size=4))
def test_no_header_ever_makes_another_line(header: dict[str, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            lines, _ = header_lines(header)
        except ValueError:
            return
    assert len(lines) <= len(header) + 1
    for line in lines:
        assert not set(line) & {0, 10, 13}
        assert line.endswith(b";") or b": " in line


@given(
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), min_size=1).map(str.strip)
)
def test_a_value_reads_back_as_it_was(value: str) -> None:
    wanted = value.strip(" \t")
    lines, _ = header_lines({"x": value})
    assert lines[0] == (b"x: " + wanted.encode("latin-1") if wanted else b"x;")


# --- check_client_settings --------------------------------------------------------------------


def test_a_client_has_defaults_for_every_setting() -> None:
    settings = check_client_settings({})
    assert list(settings) == list(CLIENT_SETTINGS.rows)
    assert settings["verify"] is True
    assert settings["trust_env"] is True
    assert settings["allow_insecure_redirects"] is False
    assert settings["timeout"] == 60000
    assert settings["resolve"] == ()
    assert settings["max_body_bytes"] > 0


LIMITS = [name for name in CLIENT_SETTINGS.rows if name.startswith("max_")]


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_can_be_switched_off(name: str) -> None:
    assert check_client_settings({name: None})[name] is None
    assert check_client_settings({name: 1})[name] == 1


@pytest.mark.parametrize("name", sorted(set(CLIENT_SETTINGS.rows) - set(LIMITS)))
def test_none_leaves_any_other_setting_at_its_default(name: str) -> None:
    assert check_client_settings({name: None}) == check_client_settings({})


@pytest.fixture
def pem(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "a.pem"
    path.write_text("pem")
    return path


@pytest.mark.parametrize("form", [str, pathlib.Path, lambda path: str(path).encode()])
def test_paths_become_str(pem: pathlib.Path, form) -> None:
    settings = check_client_settings({"ca": form(pem), "cert": form(pem), "key": form(pem)})
    assert settings["ca"] == settings["cert"] == settings["key"] == str(pem)


def test_ca_may_be_a_directory(tmp_path: pathlib.Path) -> None:
    assert check_client_settings({"ca": tmp_path})["ca"] == str(tmp_path)


def test_a_temp_dir_and_a_keylog_file_are_taken(tmp_path: pathlib.Path) -> None:
    settings = check_client_settings({"temp_dir": tmp_path, "keylog_file": tmp_path / "new.log"})
    assert settings["temp_dir"] == str(tmp_path)
    assert settings["keylog_file"] == str(tmp_path / "new.log")


def test_a_keylog_file_cannot_be_a_directory(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="Client: keylog_file must be"):
        check_client_settings({"keylog_file": tmp_path})


def test_a_certificate_file_cannot_be_a_directory(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="Client: cert must be the path of a PEM file"):
        check_client_settings({"cert": tmp_path})


def test_a_key_needs_its_certificate(pem: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="Client: key must come with cert"):
        check_client_settings({"key": pem})
    assert check_client_settings({"cert": pem})["key"] is None


@pytest.mark.parametrize(
    ("resolve", "entries"),
    [
        ({}, ()),
        ({"h:80": "127.0.0.1"}, ("h:80:127.0.0.1",)),
        ({"h:80": "::1"}, ("h:80:[::1]",)),
        ({"h:80": ["127.0.0.1", "0:0::1"]}, ("h:80:127.0.0.1,[::1]",)),
        ({"*:443": ("10.0.0.1",)}, ("*:443:10.0.0.1",)),
        ({"bücher.example:1": "1.2.3.4"}, ("xn--bcher-kva.example:1:1.2.3.4",)),
        ({"a:1": "1.1.1.1", "b:2": "2.2.2.2"}, ("a:1:1.1.1.1", "b:2:2.2.2.2")),
    ],
)
def test_resolve_becomes_entries_for_libcurl(resolve: Any, entries: tuple[str, ...]) -> None:
    assert check_client_settings({"resolve": resolve})["resolve"] == entries


@pytest.mark.parametrize(
    "proxy",
    [
        "http://p:8080",
        "https://ann:pw@p:8443/",
        "socks5://[::1]:1080",
        "socks5h://p",
    ],
)
def test_a_proxy_is_taken(proxy: str) -> None:
    assert check_client_settings({"proxy": proxy})["proxy"] == proxy


@pytest.mark.parametrize(
    ("value", "joined"), [("", ""), ("a,b", "a,b"), (["a", ".b"], "a,.b"), (("*",), "*")]
)
def test_no_proxy_is_one_str(value: Any, joined: str) -> None:
    assert check_client_settings({"no_proxy": value})["no_proxy"] == joined


@pytest.mark.parametrize("value", ["eth0", "127.0.0.1", "::1"])
def test_an_interface_is_a_name_or_an_address(value: str) -> None:
    assert check_client_settings({"interface": value})["interface"] == value


@pytest.mark.parametrize("value", ["1.1", "2", "2-prior-knowledge", "3", "3-only"])
def test_an_http_version_is_one_of_the_words(value: str) -> None:
    assert check_client_settings({"http_version": value})["http_version"] == value


def test_a_policy_has_a_check() -> None:
    class Policy:
        def check(self) -> None:
            raise PermissionError

    policy = Policy()
    assert check_client_settings({"policy": policy})["policy"] is policy


@pytest.mark.parametrize(
    ("name", "value", "kind", "words"),
    [
        ("ca", "/no/such/file", ValueError, "there is no such file or directory"),
        ("ca", "", ValueError, "there is no such"),
        ("ca", "a\0b", ValueError, "there is no such"),
        ("ca", 5, TypeError, "must be the path of"),
        ("cert", "/no/such/file", ValueError, "there is no such file"),
        ("key", "/no/such/file", ValueError, "there is no such file"),
        ("verify", 0, TypeError, "must be True or False, got 0"),
        ("verify", "no", TypeError, "must be True or False"),
        ("proxy", "p:8080", ValueError, "must be an absolute http or https or socks5"),
        ("proxy", "ftp://p", ValueError, "got 'ftp'; takes http or https or socks5 or socks5h"),
        ("proxy", "socks4://p", ValueError, "got 'socks4'"),
        ("proxy", "http://ann:s3cret@p:x", ValueError, "the port is not"),
        ("proxy", "", ValueError, "must be an absolute"),
        ("proxy", 5, TypeError, "must be a http, https, socks5, socks5h URL, got 5"),
        ("no_proxy", 5, TypeError, "must be a str or a sequence of host names"),
        ("no_proxy", ["a", 5], TypeError, "must be a str or a sequence"),
        ("no_proxy", "a\r\nb", ValueError, "control character"),
        ("resolve", "h:80:1.2.3.4", TypeError, "must be a mapping of 'host:port'"),
        ("resolve", {"h": "1.2.3.4"}, ValueError, "'h' is no 'host:port'"),
        ("resolve", {"h:x": "1.2.3.4"}, ValueError, "is no 'host:port'"),
        ("resolve", {"h:65536": "1.2.3.4"}, ValueError, "is no 'host:port'"),
        ("resolve", {":80": "1.2.3.4"}, ValueError, "the host is missing"),
        ("resolve", {"a b:80": "1.2.3.4"}, ValueError, "no host name has"),
        ("resolve", {"[::1]:80": "1.2.3.4"}, ValueError, "is no 'host:port'"),
        ("resolve", {"h:80": "nonsense"}, ValueError, "'nonsense' does not appear"),
        ("resolve", {"h:80": "1.2.3.4,x"}, ValueError, "does not appear"),
        ("resolve", {"h:80": "fe80::1%eth0"}, ValueError, "has a zone"),
        ("resolve", {"h:80": []}, ValueError, "has no address"),
        ("resolve", {"h:80": 5}, TypeError, "must be a mapping"),
        ("resolve", {"h:80": [5]}, TypeError, "must be a mapping"),
        ("resolve", {5: "1.2.3.4"}, TypeError, "must be a mapping"),
        ("doh_url", "http://h/", ValueError, "got 'http'; takes https"),
        ("doh_url", 5, TypeError, "must be an https:// URL, got 5"),
        ("interface", "", ValueError, "must be the name of an interface"),
        ("interface", "a b", ValueError, "must be the name of an interface"),
        ("interface", "if!eth0", ValueError, "must be the name of an interface"),
        ("interface", "a\n", ValueError, "must be the name of an interface"),
        ("interface", 5, TypeError, "must be the name of an interface"),
        ("cookies", 1, TypeError, "must be True or False"),
        ("user_agent", "a\r\nX: y", ValueError, "it holds a control character"),
        ("user_agent", "a\0", ValueError, "it holds a control character"),
        ("user_agent", 5, TypeError, "must be a str without control characters, got 5"),
        ("timeout", 0, ValueError, "must be a number of milliseconds > 0, got 0"),
        ("timeout", True, TypeError, "must be a number of milliseconds > 0"),
        ("max_connections", 0, ValueError, "must be an int >= 1, or None for no limit, got 0"),
        ("max_connections", 2**63, ValueError, "must be an int >= 1"),
        ("max_connections_per_host", 1.5, TypeError, "must be an int >= 1"),
        ("max_body_bytes", True, TypeError, "must be an int >= 1"),
        ("max_message_bytes", "1", TypeError, "must be an int >= 1"),
        ("max_buffered_bytes", -1, ValueError, "must be an int >= 1"),
        ("temp_dir", "/no/such/dir", ValueError, "there is no such directory"),
        ("http_version", "1.0", ValueError, "must be None, '1.1', '2', '2-prior-knowledge'"),
        ("http_version", 2, TypeError, "must be None, '1.1'"),
        ("allow_insecure_redirects", "", TypeError, "must be True or False"),
        ("keylog_file", "/no/such/dir/f", ValueError, "there is no such directory"),
        ("policy", "finclip", TypeError, "must be None or an object with a check method"),
        ("trust_env", 0, TypeError, "must be True or False"),
        ("happy_eyeballs_timeout", -1, ValueError, "must be a number of milliseconds > 0"),
        ("tcp_nodelay", 1, TypeError, "must be True or False"),
        ("tcp_keepalive", True, TypeError, "must be None or a number of milliseconds > 0"),
        ("tcp_keepalive", 0, ValueError, "must be None or a number of milliseconds > 0"),
        ("estimate_private_hosts", 1, TypeError, "must be True or False"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(
    name: str, value: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as caught:
        check_client_settings({name: value})
    assert str(caught.value).startswith(f"Client: {name} ")
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_unknown_setting_is_refused_and_all_known_ones_listed() -> None:
    with pytest.raises(
        TypeError, match="Client: unknown setting 'proxies'; it takes ca, cert, key"
    ):
        check_client_settings({"proxies": "x"})
