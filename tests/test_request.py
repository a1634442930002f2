"""What `ft.request` puts on the wire for each option: method, data, header, URL."""

from __future__ import annotations

import array
import base64
import datetime
import hashlib
import json
import logging
import threading
import time
from typing import Any

import pytest

import ftnet as ft
from tests.origins import LIMIT, Origin, failure, fetch
from tests.profiles import check_profile
from tests.servers.awkward import AwkwardServer, Peer
from tests.servers.behaviours import answers, answers_behind_the_gate, length_of

WITH_BODY = ("POST", "PUT", "DELETE", "OPTIONS")


def sent(response: ft.Response) -> dict[str, Any]:
    """What the server says the request was."""
    assert response.statusCode == 200
    return response.data


def headers_sent(response: ft.Response) -> dict[str, str]:
    return dict(sent(response)["headers"])


def body_sent(response: ft.Response) -> bytes:
    return base64.b64decode(sent(response)["body"])


# --- calling --------------------------------------------------------------------------------------


def test_a_response_has_data_status_header_cookies_and_message(
    client: ft.Client, origin: Origin
) -> None:
    response = fetch(client, f"{origin.base}/json")
    assert response.errMsg == "request:ok"
    assert response.statusCode == 200
    assert response.data["nested"] == {"x": 1, "y": [1, 2, 3]}
    assert response.header["Content-Type"] == "application/json"
    assert response.cookies == []
    check_profile(response, reused=False, tls=origin.tls, protocol=origin.protocol)


@pytest.mark.parametrize("as_mapping", [True, False], ids=["mapping", "keywords"])
def test_options_come_as_a_mapping_or_as_keywords(server: Any, as_mapping: bool) -> None:
    options = {"url": f"{server.http}/echo", "method": "POST", "data": {"a": 1}}
    task = ft.request(options) if as_mapping else ft.request(**options)
    assert json.loads(sent(task.result(LIMIT))["body_text"]) == {"a": 1}


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({}, TypeError, "url"),
        ({"url": 7}, TypeError, "url"),
        ({"url": "ftp://127.0.0.1/"}, ValueError, "url"),
        ({"url": "/relative"}, ValueError, "url"),
        ({"url": "http://127.0.0.1/a b"}, ValueError, "url"),
        ({"uri": "http://127.0.0.1/"}, TypeError, "uri"),
        ({"method": "PATCH"}, ValueError, "method"),
        ({"method": "GET\r\nX: y"}, ValueError, "method"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"timeout": "60"}, TypeError, "timeout"),
        ({"header": "X: y"}, TypeError, "header"),
        ({"header": {"X": "a\r\nY: b"}}, ValueError, "header"),
        ({"header": {"X": "a\0"}}, ValueError, "header"),
        ({"header": {"X\nY": "a"}}, ValueError, "header"),
        ({"header": {"": "a"}}, ValueError, "header"),
        ({"method": "POST", "data": {"x": float("nan")}}, ValueError, "data"),
        ({"method": "POST", "data": {"x": object()}}, ValueError, "data"),
        ({"responseType": "blob"}, ValueError, "responseType"),
        ({"dataType": threading.Lock}, TypeError, "dataType"),
        ({"redirect": "error"}, ValueError, "redirect"),
        ({"enableProfile": 1}, TypeError, "enableProfile"),
        ({"enableChunked": "yes"}, TypeError, "enableChunked"),
        ({"forceCellularNetwork": None, "success": 5}, TypeError, "success"),
        ({"enableCache": True}, ValueError, "enableCache"),
    ],
)
def test_a_bad_option_raises_at_the_call_and_is_named(
    options: dict[str, Any], kind: type[Exception], named: str
) -> None:
    if options and "uri" not in options:
        options = {"url": "http://127.0.0.1:9/", **options}
    called: list[Any] = []
    callbacks = dict.fromkeys(("success", "fail", "complete"), called.append)
    with pytest.raises(kind, match=named):
        ft.request({**callbacks, **options})
    assert called == []


def test_a_mapping_and_keywords_together_are_refused() -> None:
    with pytest.raises(TypeError, match="not as both"):
        ft.request({"url": "http://127.0.0.1:9/"}, method="GET")


# --- method ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_each_method_arrives_under_its_name(client: ft.Client, origin: Origin, method: str) -> None:
    response = fetch(client, f"{origin.base}/echo", method=method)
    assert sent(response)["method"] == method
    check_profile(response, tls=origin.tls, protocol=origin.protocol)


def test_the_default_method_is_get(client: ft.Client, origin: Origin) -> None:
    assert sent(fetch(client, f"{origin.base}/echo"))["method"] == "GET"


@pytest.mark.parametrize("method", ["post", "Post", "pOST"])
def test_methods_are_taken_in_any_case(plain: ft.Client, server: Any, method: str) -> None:
    assert sent(fetch(plain, f"{server.http}/echo", method=method))["method"] == "POST"


def test_head_gives_the_header_and_no_data(client: ft.Client, origin: Origin) -> None:
    response = fetch(client, f"{origin.base}/bytes/5000", method="HEAD")
    assert response.statusCode == 200
    assert response.header["content-length"] == "5000"
    assert response.data == ""
    assert fetch(client, f"{origin.base}/json").data["id"] == 1, "the connection is out of step"


@pytest.mark.libcurl_only
def test_connect_reports_the_status_of_the_tunnel(http_proxy: Any, nginx: Any) -> None:
    with ft.Client(proxy=http_proxy.url, trust_env=False) as client:
        response = fetch(client, nginx.http, method="CONNECT")
    assert response.statusCode == 200
    assert response.data == ""
    assert http_proxy.tunnels_to(nginx.http) == 1


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "data", "after"),
    [
        ("/echo", {"a": "1"}, "a=1"),
        ("/echo", {"a": "b c", "d": "e&f=g"}, "a=b%20c&d=e%26f%3Dg"),
        ("/echo", {"x": "!'()*-._~"}, "x=!'()*-._~"),
        ("/echo", {"ü": "€"}, "%C3%BC=%E2%82%AC"),
        ("/echo?a=b=c&valueless&%7e", {"d": 1}, "a=b=c&valueless&%7e&d=1"),
        ("/echo?a=1", {"a": 2}, "a=1&a=2"),
        ("/echo#part", {"a": 1}, "a=1"),
        ("/echo?x=1#part?y=2", {"a": 1}, "x=1&a=1"),
        ("/echo", {"t": True, "f": False, "n": None}, "t=true&f=false&n=null"),
        ("/echo", {"i": 3, "f": 1.5, "w": 2.0}, "i=3&f=1.5&w=2"),
        ("/echo", {"o": {"k": [1, "z"]}}, "o=%7B%22k%22%3A%5B1%2C%22z%22%5D%7D"),
        ("/echo?kept", {}, "kept"),
    ],
)
def test_a_mapping_joins_the_query_of_a_get(
    plain: ft.Client, server: Any, before: str, data: dict[str, Any], after: str
) -> None:
    told = sent(fetch(plain, server.http + before, data=data))
    assert (told["path"], told["query"], told["body"]) == ("/echo", after, "")


def test_a_mapping_joins_the_query_of_a_head(plain: ft.Client, nginx: Any) -> None:
    response = fetch(plain, f"{nginx.http}/moved", method="HEAD", data={"a": 1}, redirect="manual")
    assert response.statusCode == 302
    response = fetch(plain, f"{nginx.http}/seen", data={"a": 1})
    assert response.data["uri"] == "/seen?a=1"


@pytest.mark.parametrize(
    "data",
    [{"a": [1, 2.5, None, True, "ü"]}, [1, 2], {}, [], 7, True, {"deep": {"er": {}}}],
    ids=repr,
)
@pytest.mark.parametrize("method", WITH_BODY)
def test_data_is_json_by_default(plain: ft.Client, server: Any, method: str, data: Any) -> None:
    response = fetch(plain, f"{server.http}/echo", method=method, data=data)
    assert json.loads(sent(response)["body_text"]) == data
    assert headers_sent(response)["content-type"] == "application/json"


def test_json_data_takes_what_msgspec_encodes(plain: ft.Client, server: Any) -> None:
    data = {"when": datetime.date(2026, 11, 24), "set": {1}, "raw": b"\x01\x02"}
    response = fetch(plain, f"{server.http}/echo", method="POST", data=data)
    assert json.loads(sent(response)["body_text"]) == {
        "when": "2026-11-24",
        "set": [1],
        "raw": "AQI=",
    }


def test_a_str_goes_as_utf_8(client: ft.Client, origin: Origin) -> None:
    response = fetch(client, f"{origin.base}/echo", method="POST", data="Grüße, 世界 \x00 😀")
    assert body_sent(response) == "Grüße, 世界 \x00 😀".encode()
    check_profile(response, tls=origin.tls, protocol=origin.protocol)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xffbytes",
        bytearray(b"bytearray"),
        memoryview(b"xxmemoryviewxx")[2:-2],
        array.array("I", [1, 2, 3]),
        memoryview(array.array("d", [0.5])),
    ],
    ids=["bytes", "bytearray", "memoryview", "array", "memoryview of doubles"],
)
def test_bytes_like_data_goes_as_it_is(plain: ft.Client, server: Any, data: Any) -> None:
    response = fetch(plain, f"{server.http}/echo", method="PUT", data=data)
    assert body_sent(response) == bytes(data)


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded; charset=UTF-8"],
)
def test_a_mapping_goes_as_a_form_when_the_content_type_says_so(
    plain: ft.Client, server: Any, content_type: str
) -> None:
    data = {"name": "a b&c", "ü": "€", "n": None, "list": [1, 2], "t": True}
    header = {"Content-Type": content_type}
    response = fetch(plain, f"{server.http}/echo", method="POST", data=data, header=header)
    assert sent(response)["body_text"] == (
        "name=a%20b%26c&%C3%BC=%E2%82%AC&n=null&list=%5B1%2C2%5D&t=true"
    )
    assert headers_sent(response)["content-type"] == content_type


def test_a_mapping_of_another_content_type_goes_as_json(plain: ft.Client, server: Any) -> None:
    header = {"content-type": "application/vnd.api+json"}
    response = fetch(plain, f"{server.http}/echo", method="POST", data={"a": 1}, header=header)
    assert sent(response)["body_text"] == '{"a":1}'
    assert headers_sent(response)["content-type"] == "application/vnd.api+json"


@pytest.mark.parametrize("data", [None, "", b""], ids=["none", "empty str", "empty bytes"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_empty_body_has_content_length_zero(
    plain: ft.Client, server: Any, method: str, data: Any
) -> None:
    response = fetch(plain, f"{server.http}/echo", method=method, data=data)
    assert sent(response)["body"] == ""
    assert headers_sent(response)["content-length"] == "0"
    assert "transfer-encoding" not in headers_sent(response)


@pytest.mark.parametrize("size", [1, 65_535, 65_537, 1_048_577, 20_000_000])
def test_a_body_of_any_size_arrives_whole(client: ft.Client, origin: Origin, size: int) -> None:
    if origin.name == "h3" and size > 2_000_000:
        size = 2_000_000  # aioquic is not made for speed
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    response = fetch(client, f"{origin.base}/upload", method="POST", data=body)
    assert response.data == {"length": size, "sha256": hashlib.sha256(body).hexdigest()}
    profile = check_profile(response, tls=origin.tls, protocol=origin.protocol)
    assert size < profile.sendBytesCount < size + 2000


def test_no_expect_header_delays_a_large_body(plain: ft.Client, server: Any) -> None:
    response = fetch(plain, f"{server.http}/echo", method="POST", data=bytes(1_200_000))
    assert "expect" not in headers_sent(response)


def test_a_buffer_is_not_copied_but_held_until_it_has_been_sent(plain: ft.Client) -> None:
    def behind_the_gate(peer: Peer) -> None:
        head = peer.read_head()
        peer.server.gate.wait()
        peer.answer(b"%d" % len(peer.read_exactly(length_of(head))))

    body = bytearray(32 << 20)  # more than fits between here and a server that does not read
    with AwkwardServer(behind_the_gate) as raw:
        task = plain.request(url=raw.url, method="POST", data=body)
        with pytest.raises(BufferError):
            body.append(0)
        raw.gate.set()
        assert task.result(LIMIT).data == 32 << 20
    del task
    body.append(0)


# --- URL ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("/%2F%41%zz", "/%2F%41%zz"),
        ("/a//b", "/a//b"),
        ("/päth", "/p%C3%A4th"),
        ("?only=query", "/?only=query"),
        ("/q?ü=1&e=%e2%82", "/q?%C3%BC=1&e=%e2%82"),
        ("/q?x=1#fragment", "/q?x=1"),
        ("", "/"),
    ],
)
def test_the_path_and_query_arrive_byte_for_byte(plain: ft.Client, asked: str, target: str) -> None:
    with AwkwardServer(answers) as raw:
        fetch(plain, raw.url + asked)
        assert raw.requests[0].target == target


def test_user_and_password_of_the_url_become_basic_authorization(
    plain: ft.Client, server: Any
) -> None:
    url = server.http.replace("//", "//me:p%40ss@")
    headers = headers_sent(fetch(plain, f"{url}/echo"))
    assert headers["authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert "@" not in headers["host"]


# --- the small options ----------------------------------------------------------------------------


def test_without_a_profile_there_is_none(client: ft.Client, origin: Origin) -> None:
    response = fetch(client, f"{origin.base}/json", enableProfile=False)
    assert response.profile is None
    assert response.data["id"] == 1


def test_force_cellular_network_is_ignored_with_one_debug_line(
    plain: ft.Client, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "ftnet"):
        assert fetch(plain, f"{server.http}/json", forceCellularNetwork=True).statusCode == 200
    lines = [entry for entry in caplog.records if "forceCellularNetwork" in entry.getMessage()]
    assert [entry.levelname for entry in lines] == ["DEBUG"]


@pytest.mark.parametrize("timeout", [100, 100.5])
def test_a_timeout_ends_the_task_with_errno_5(
    client: ft.Client, origin: Origin, timeout: float
) -> None:
    begin = time.monotonic()
    error = failure(client, f"{origin.base}/delay?before=15000", timeout=timeout)
    assert (error.errMsg, error.errno) == ("request:fail timeout", ft.Errno.TIMEOUT)
    assert timeout <= (time.monotonic() - begin) * 1000 < timeout + 5000


def test_a_client_has_a_timeout_for_requests_without_one(server: Any) -> None:
    with ft.Client(timeout=100, trust_env=False) as client:
        assert failure(client, f"{server.http}/delay?before=15000").errno == ft.Errno.TIMEOUT
        assert fetch(client, f"{server.http}/delay?before=300", timeout=LIMIT * 1000).data


def test_result_gives_up_waiting_without_ending_the_task(plain: ft.Client) -> None:
    with AwkwardServer(answers_behind_the_gate) as raw:
        task = plain.request(url=raw.url)
        with pytest.raises(TimeoutError):
            task.result(0.01)
        assert not task.done()
        raw.gate.set()
        assert task.result(LIMIT).statusCode == 200
    assert task.done()
