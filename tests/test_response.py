"""How a response is read: JSON, text, charsets, buffers, types, header, cookies, status."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import msgspec
import pytest

import ftcore
import ftnet as ft
from ftnet.testing.app import WIDGET, charset_text, pattern
from tests.origins import Origin, failure, fetch, origin_of
from tests.profiles import FIELDS, check_profile
from tests.servers.nginx import TEXT


class Nested(msgspec.Struct):
    x: int
    y: list[int]


class Widget(msgspec.Struct):
    id: int
    name: str
    tags: list[str]
    price: float
    nested: Nested


@dataclasses.dataclass
class PlainWidget:
    id: int
    name: str


# --- dataType and responseType --------------------------------------------------------------------


def test_json_is_decoded(client: ft.Client, origin: Origin) -> None:
    response = fetch(client, f"{origin.base}/json")
    assert response.data == WIDGET
    check_profile(response, tls=origin.tls, protocol=origin.protocol)


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b'{"a":1}', {"a": 1}),
        (b" \r\n\t[1, 2]\n", [1, 2]),
        (b'"text"', "text"),
        (b"null", None),
        (b"false", False),
        (b"-1.5e3", -1500.0),
        (b"12345678901234567890123", 12345678901234567890123),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'\xef\xbb\xbf{"bom": true}', {"bom": True}),
    ],
)
@pytest.mark.parametrize("suffix", ["json", "txt", "bin"])
def test_json_is_decoded_whatever_the_content_type_says(
    plain: ft.Client, nginx: Any, suffix: str, body: bytes, data: Any
) -> None:
    path = nginx.serve_file(f"scalar.{suffix}", body)
    assert fetch(plain, nginx.http + path).data == data


@pytest.mark.parametrize(
    "body",
    [b"{", b"[1,]", b"nul", b"{'a': 1}", b"<html></html>", b"Hello", b"1 2", b"NaN", b" "],
)
def test_what_is_not_json_comes_as_text(plain: ft.Client, nginx: Any, body: bytes) -> None:
    response = fetch(plain, nginx.http + nginx.serve_file("not.json", body))
    assert response.data == body.decode()
    assert response.errMsg == "request:ok"


def test_an_empty_body_is_an_empty_str(plain: ft.Client, nginx: Any) -> None:
    assert fetch(plain, f"{nginx.http}/empty").data == ""


@pytest.mark.parametrize("data_type", ["text", "xml", "JSON", ""])
def test_another_data_type_leaves_json_as_text(
    plain: ft.Client, server: Any, data_type: str
) -> None:
    data = fetch(plain, f"{server.http}/json", dataType=data_type).data
    assert isinstance(data, str)
    assert json.loads(data) == WIDGET


def test_an_arraybuffer_is_a_read_only_buffer_and_never_json(
    client: ft.Client, origin: Origin
) -> None:
    data = fetch(client, f"{origin.base}/json", responseType="arraybuffer").data
    assert isinstance(data, ftcore.Chunk)
    assert memoryview(data).readonly
    assert json.loads(bytes(data)) == WIDGET


def test_an_empty_arraybuffer_has_no_length(plain: ft.Client, nginx: Any) -> None:
    data = fetch(plain, f"{nginx.http}/empty", responseType="arraybuffer").data
    assert len(data) == 0
    assert bytes(data) == b""


@pytest.mark.parametrize("size", [0, 1, 16_384, 65_536, 1_000_003])
def test_bytes_come_back_unchanged(client: ft.Client, origin: Origin, size: int) -> None:
    response = fetch(client, f"{origin.base}/bytes/{size}", responseType="arraybuffer")
    assert bytes(response.data) == pattern(size)
    profile = check_profile(response, tls=origin.tls, protocol=origin.protocol)
    assert size < profile.receivedBytedCount < size + 2000


# --- typed decoding -------------------------------------------------------------------------------


def test_a_struct_is_decoded_straight_from_the_body(client: ft.Client, origin: Origin) -> None:
    widget = fetch(client, f"{origin.base}/json", dataType=Widget).data
    assert widget == Widget(1, "widget", ["a", "b", "c"], 12.5, Nested(1, [1, 2, 3]))


@pytest.mark.parametrize(
    ("data_type", "kind"),
    [(PlainWidget, PlainWidget), (dict[str, Any], dict), (msgspec.Raw, msgspec.Raw)],
)
def test_any_type_that_msgspec_decodes_will_do(
    plain: ft.Client, server: Any, data_type: Any, kind: type
) -> None:
    assert type(fetch(plain, f"{server.http}/json", dataType=data_type).data) is kind


def test_raw_json_outlives_the_response_it_came_in(plain: ft.Client, server: Any) -> None:
    raw = fetch(plain, f"{server.http}/json", dataType=msgspec.Raw).data
    for _ in range(20):
        fetch(plain, f"{server.http}/bytes/5000")
    assert json.loads(bytes(raw)) == WIDGET


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"id":1,"name":"w","tags":[],"price":1,"nested":{"x":1,"y":[1,"2"]}}', r"\$\.nested\.y"),
        (b'{"id":"1","name":"w","tags":[],"price":1,"nested":{"x":1,"y":[]}}', r"\$\.id"),
        (b'{"id":1}', "name"),
        (b"[]", "object"),
        (b"not json", "malformed|invalid"),
        (b"", "truncated|empty"),
    ],
)
def test_a_body_that_does_not_fit_the_type_fails_and_says_where(
    plain: ft.Client, nginx: Any, body: bytes, path: str
) -> None:
    url = nginx.http + nginx.serve_file("misfit.json", body)
    error = failure(plain, url, dataType=Widget)
    assert error.errno == ft.Errno.INVALID_DATA
    assert error.cause is not None
    with pytest.raises(ft.FtError, match=f"(?i){path}"):
        raise error
    assert error.profile.responseEnd > 0
    assert error.profile.protocol == "http/1.1"


# --- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "charset",
    ["utf-8", "iso-8859-1", "windows-1251", "gbk", "shift_jis", "euc-kr", "utf-16", "koi8-r"],
)
def test_text_is_decoded_by_its_charset(plain: ft.Client, server: Any, charset: str) -> None:
    response = fetch(plain, f"{server.http}/charset/{charset}")
    assert response.data == charset_text(charset)


def test_text_without_a_charset_is_utf_8_and_bad_bytes_are_replaced(
    plain: ft.Client, nginx: Any
) -> None:
    path = nginx.serve_file("bad.txt", "gr\u00fcn ".encode() + b"\xff\xc3 end")
    assert fetch(plain, nginx.http + path).data == "grün \ufffd\ufffd end"


def test_one_byte_order_mark_is_taken_off_text(plain: ft.Client, nginx: Any) -> None:
    path = nginx.serve_file("bom.txt", b"\xef\xbb\xbf\xef\xbb\xbfHello")
    assert fetch(plain, nginx.http + path).data == "\ufeffHello"


# --- content coding -------------------------------------------------------------------------------


def test_gzip_is_offered_and_undone(client: ft.Client, origin: Origin) -> None:
    assert "gzip" in dict(fetch(client, f"{origin.base}/echo").data["headers"])["accept-encoding"]
    response = fetch(client, f"{origin.base}/gzip")
    assert response.data == WIDGET | {"encoding": "gzip"}


@pytest.mark.parametrize("scheme", ["http", "https", "h2"])
def test_what_nginx_compresses_is_undone(nginx: Any, scheme: str) -> None:
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        response = fetch(client, f"{getattr(nginx, scheme)}/text.txt")
    assert response.header["content-encoding"] == "gzip"
    assert response.data == TEXT
    profile = check_profile(response)
    assert profile.receivedBytedCount < len(TEXT) / 4, "counted after decoding, not as carried"


def test_brotli_is_undone(client: ft.Client, origin: Origin) -> None:
    response = fetch(client, f"{origin.base}/br")
    if response.statusCode == 501:
        pytest.skip("the server's brotli package is not installed")
    assert response.data == WIDGET | {"encoding": "br"}


# --- status, header, cookies ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 206, 300, 400, 401, 403, 404, 418, 429, 500, 503])
def test_any_status_is_a_success(client: ft.Client, origin: Origin, status: int) -> None:
    response = fetch(client, f"{origin.base}/status/{status}")
    assert (response.statusCode, response.errMsg) == (status, "request:ok")
    assert response.data == {"status": status}


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_empty_data(
    client: ft.Client, origin: Origin, status: int
) -> None:
    response = fetch(client, f"{origin.base}/status/{status}")
    assert (response.statusCode, response.data) == (status, "")
    check_profile(response, tls=origin.tls, protocol=origin.protocol)


@pytest.mark.parametrize("name", ["http", "https", "h2"])  # caddy, of h3, shuffles them
def test_the_header_keeps_its_order(name: str, request: pytest.FixtureRequest) -> None:
    origin = origin_of(name, request.getfixturevalue)
    with origin.client() as client:
        header = fetch(client, f"{origin.base}/headers/20").header
    ours = [name.lower() for name in header if name.lower().startswith("x-header-")]
    assert ours == [f"x-header-{number}" for number in range(20)]


def test_the_header_is_found_in_any_case(client: ft.Client, origin: Origin) -> None:
    header = fetch(client, f"{origin.base}/headers/20").header
    assert header["X-HEADER-7"] == header["x-header-7"] == "value-7"
    assert "X-Header-7" in header
    assert header.get("absent") is None
    with pytest.raises(KeyError):
        header["absent"]


def test_repeated_fields_are_joined_and_still_reachable_one_by_one(
    client: ft.Client, origin: Origin
) -> None:
    header = fetch(client, f"{origin.base}/headers/1").header
    values = header.get_all("X-Repeated")
    assert len(values) == 2
    assert header["x-repeated"] == ", ".join(values)


def test_each_set_cookie_stands_for_itself(client: ft.Client, origin: Origin) -> None:
    response = fetch(client, f"{origin.base}/headers/1")
    assert len(response.cookies) == 2
    assert response.cookies == response.header.get_all("set-cookie")


def test_many_response_fields_all_come(client: ft.Client, origin: Origin) -> None:
    header = fetch(client, f"{origin.base}/headers/300").header
    assert header["x-header-299"] == "value-299"
    assert len(header) >= 300


def test_a_response_becomes_a_plain_dict(client: ft.Client, origin: Origin) -> None:
    told = ft.to_dict(fetch(client, f"{origin.base}/json"))
    assert {"data", "statusCode", "header", "cookies", "profile", "errMsg"} <= told.keys()
    assert set(FIELDS) <= told["profile"].keys()
    assert json.loads(json.dumps(told))["header"]["content-type"] == "application/json"
