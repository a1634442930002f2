"""A request as HAR 1.2: valid, its times add up, and nothing is in it that was not so."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ftnet as ft
from ftnet.export import Exchange, to_har
from ftnet.har import timings
from ftnet.testing.app import pattern
from tests.archives import SUMMED, VALIDATOR, check_har, in_us, named
from tests.drivers import in_callback
from tests.history import timed_out
from tests.origins import LIMIT, Origin, failure, fetch
from tests.profiles import MOMENTS, OF_A_CONNECTION, SSL, profile_of
from tests.servers.awkward import AwkwardServer, Peer, closed_port
from tests.servers.behaviours import BEHAVIOURS, answers, says

LONGEST = 10_000_000  # µs from one moment to the next


# ---- the times, of profiles made up


@given(gaps=st.lists(st.integers(0, LONGEST), min_size=14, max_size=14))
def test_each_phase_is_as_long_as_it_was_and_the_rest_is_blocked(gaps: list[int]) -> None:
    at = {name: sum(gaps[:number]) for number, name in enumerate(MOMENTS)}
    at["connectEnd"] = at["SSLconnectionEnd"]
    spans = {name: in_us(ms) for name, ms in timings(profile_of(at)).items()}
    assert spans["dns"] == at["domainLookUpEnd"] - at["domainLookUpStart"]
    assert spans["connect"] == at["connectEnd"] - at["connectStart"]
    assert spans["ssl"] == at["SSLconnectionEnd"] - at["SSLconnectionStart"]
    assert spans["send"] == at["requestEnd"] - at["requestStart"]
    assert spans["wait"] == at["responseStart"] - at["requestEnd"]
    assert spans["receive"] == at["responseEnd"] - at["responseStart"]
    assert spans["_blocked_queueing"] == at["queueEnd"]
    assert spans["_blocked_redirects"] == at["redirectEnd"] - at["redirectStart"]
    assert sum(spans[name] for name in SUMMED) == at["responseEnd"]


def test_a_reused_connection_has_no_look_up_no_connect_and_no_tls() -> None:
    at = dict.fromkeys(("queueStart", "queueEnd"), 0) | dict.fromkeys(OF_A_CONNECTION, 5)
    at |= {"requestStart": 10, "requestEnd": 11, "responseStart": 20, "responseEnd": 30}
    spans = timings(profile_of(at, reused=True))
    assert [spans[name] for name in ("dns", "connect", "ssl")] == [-1, -1, -1]
    assert [spans[name] for name in ("blocked", "send", "wait", "receive")] == [
        0.01, 0.001, 0.009, 0.01,
    ]  # fmt: skip


def test_plain_http_has_no_tls() -> None:
    at = {"queueStart": 0, "queueEnd": 0, "connectStart": 3, "connectEnd": 5, "responseEnd": 9}
    assert timings(profile_of(at))["ssl"] == -1


@pytest.mark.parametrize(
    ("last", "phase"),
    [
        ("domainLookUpStart", "dns"),
        ("connectStart", "connect"),
        ("requestStart", "send"),
        ("requestEnd", "wait"),
        ("responseStart", "receive"),
    ],
)
def test_the_phase_that_failed_lasts_until_the_failure(last: str, phase: str) -> None:
    names = [name for name in MOMENTS if name not in SSL and "redirect" not in name]
    reached = {name: number for number, name in enumerate(names[: names.index(last) + 1])}
    spans = timings(profile_of(reached, ended=1000))
    assert in_us(spans[phase]) == 1000 - reached[last]


def test_a_handshake_that_failed_is_in_connect_and_ssl() -> None:
    reached = {"queueStart": 0, "queueEnd": 0, "connectStart": 10, "SSLconnectionStart": 30}
    spans = timings(profile_of(reached, ended=100))
    assert (spans["connect"], spans["ssl"], spans["send"]) == (0.09, 0.07, 0)


@pytest.mark.parametrize("sent_at", [50, 90, 0])
def test_an_answer_before_the_end_of_the_request_is_not_counted_twice(sent_at: int) -> None:
    at = {"queueStart": 0, "queueEnd": 0, "requestStart": 10, "responseStart": 30}
    at["responseEnd"] = 80
    if sent_at:
        at["requestEnd"] = sent_at
    spans = {name: in_us(ms) for name, ms in timings(profile_of(at)).items()}
    end = min(sent_at or 30, 80)
    assert (spans["send"], spans["wait"], spans["receive"]) == (end - 10, 0, 80 - end)


# ---- real requests


def test_a_new_and_a_reused_connection(client: ft.Client, origin: Origin) -> None:
    url = f"{origin.base}/json"
    for reused in (False, True):
        entry = check_har(to_har([(url, fetch(client, url))]))
        spans = entry["timings"]
        assert (spans["dns"] == -1, spans["connect"] == -1) == (reused, reused)
        assert (spans["ssl"] != -1) is (origin.tls and not reused)
        version = {"http/1.1": "HTTP/1.1", "h2": "HTTP/2", "quic": "HTTP/3"}[origin.protocol]
        assert entry["request"]["httpVersion"] == entry["response"]["httpVersion"] == version
        assert f"{entry['serverIPAddress']}:{entry['connection']}" == origin.netloc
        assert entry["response"]["status"] == 200
        assert "_error" not in entry["response"]


def test_times_are_those_of_the_wall_clock(plain: ft.Client, server: Any) -> None:
    url = f"{server.http}/delay?before=300"
    result = fetch(plain, url)
    entry = check_har(to_har([(url, result)]))
    began = datetime.fromisoformat(entry["startedDateTime"])
    assert began.tzinfo is not None
    assert began.timestamp() * 1000 == pytest.approx(result.profile.invokeStart, abs=1)
    assert entry["timings"]["wait"] >= 150


def test_the_request_is_the_one_that_was_sent(plain: ft.Client) -> None:
    asked = {
        "url": "/path?a=1&b=x%20y&c=",
        "method": "post",
        "data": {"name": "Jürgen"},
        "header": {"X-One": ["1", "2"], "X-Empty": "", "X-Latin": "Jürgen", "x-utf": "日本"},
    }
    with AwkwardServer(answers) as raw:
        asked["url"] = raw.url + asked["url"]
        entry = check_har(to_har([(asked, plain.request(asked).result(LIMIT))]))
        (came,) = raw.requests
    request = entry["request"]
    assert request["method"] == "POST"
    assert request["queryString"] == [
        {"name": "a", "value": "1"},
        {"name": "b", "value": "x y"},
        {"name": "c", "value": ""},
    ]
    assert request["postData"] == {"mimeType": "application/json", "text": came.body.decode()}
    assert request["bodySize"] == len(came.body)
    assert request["headersSize"] == len(came.head)
    fields = [(pair["name"], pair["value"]) for pair in request["headers"]]
    assert fields == [
        ("X-One", "1"),
        ("X-One", "2"),
        ("X-Empty", ""),
        ("X-Latin", "Jürgen"),
        ("x-utf", "日本"),
        ("content-type", "application/json"),
    ]
    names = {name for name, _ in came.fields}
    assert {name.lower() for name, _ in fields} <= names


def test_query_data_is_in_the_url(plain: ft.Client, server: Any) -> None:
    asked = {"url": f"{server.http}/echo?a=1#part", "data": {"b": [1, 2]}}
    entry = check_har(to_har([(asked, plain.request(asked).result(LIMIT))]))
    assert entry["request"]["url"] == f"{server.http}/echo?a=1&b=%5B1%2C2%5D"
    assert named(entry["request"]["queryString"]) == {"a": "1", "b": "[1,2]"}
    assert "postData" not in entry["request"]


def test_a_binary_request_body_is_base64(plain: ft.Client, server: Any) -> None:
    asked = {"url": f"{server.http}/upload", "method": "PUT", "data": b"\xff\0\xfe"}
    request = check_har(to_har([(asked, plain.request(asked).result(LIMIT))]))["request"]
    assert base64.b64decode(request["postData"]["text"]) == b"\xff\0\xfe"
    assert request["postData"]["_encoding"] == "base64"
    assert request["bodySize"] == 3


def test_the_response_is_the_one_that_came(plain: ft.Client) -> None:
    head = b"HTTP/1.1 404 Not Here\r\nX-A: 1\r\nX-A: 2\r\nContent-Type: text/plain\r\n"
    answer = head + b"Location: /elsewhere\r\nContent-Length: 4\r\n\r\n"
    with AwkwardServer(says(answer + b"gone")) as raw:
        response = check_har(to_har([(raw.url, fetch(plain, raw.url))]))["response"]
    assert (response["status"], response["statusText"]) == (404, "Not Here")
    assert (response["httpVersion"], response["redirectURL"]) == ("HTTP/1.1", "/elsewhere")
    assert [pair["value"] for pair in response["headers"] if pair["name"] == "X-A"] == ["1", "2"]
    assert (response["headersSize"], response["bodySize"]) == (len(answer), 4)
    assert response["_transferSize"] == len(answer) + 4
    assert response["content"] == {"size": 4, "mimeType": "text/plain", "text": "gone"}


def test_http_1_0_is_told_by_the_status_line(plain: ft.Client) -> None:
    with AwkwardServer(says(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold")) as raw:
        entry = check_har(to_har([(raw.url, fetch(plain, raw.url))]))
    assert entry["response"]["httpVersion"] == "HTTP/1.0"


def test_a_binary_body_is_base64(client: ft.Client, origin: Origin) -> None:
    asked = {"url": f"{origin.base}/bytes/5000", "responseType": "arraybuffer"}
    content = check_har(to_har([(asked, client.request(asked).result(LIMIT))]))["response"][
        "content"
    ]
    assert content["encoding"] == "base64"
    assert base64.b64decode(content["text"]) == pattern(5000)
    assert content["size"] == 5000


def test_a_compressed_body_has_both_sizes(client: ft.Client, origin: Origin) -> None:
    asked = {"url": f"{origin.base}/gzip", "responseType": "arraybuffer"}
    result = client.request(asked).result(LIMIT)
    response = check_har(to_har([(asked, result)]))["response"]
    content = response["content"]
    assert content["text"].encode() == bytes(result.data)
    assert content["size"] == len(result.data)
    assert response["bodySize"] == int(result.header["content-length"])
    assert content["compression"] == content["size"] - response["bodySize"]


@pytest.mark.parametrize("body", [b'{"a": [1, 2.50],  "b": "\\u00fc"}', b" 5 ", b"null", b" true"])
def test_decoded_json_is_marked_as_written_anew(plain: ft.Client, body: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with AwkwardServer(says(answer)) as raw:
        response = check_har(to_har([(raw.url, fetch(plain, raw.url))]))["response"]
    assert json.loads(response["content"]["text"]) == json.loads(body)
    assert "written anew" in response["content"]["comment"]
    assert (response["content"]["size"], response["bodySize"]) == (len(body), len(body))


def test_a_length_that_nobody_told_is_not_made_up(plain: ft.Client) -> None:
    def interim(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")

    for kind, size in (("text", -1), ("arraybuffer", 5)):
        with AwkwardServer(interim) as raw:
            asked = {"url": raw.url, "responseType": kind}
            response = check_har(to_har([(asked, plain.request(asked).result(LIMIT))]))["response"]
        assert response["content"]["text"] == "hello"
        assert (response["bodySize"], response["content"]["size"]) == (size, 5)


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", b"200 OK"), ("GET", b"204 No Content"), ("GET", b"304 Same")]
)
def test_a_response_without_a_body_has_none(plain: ft.Client, method: str, status: bytes) -> None:
    length = b"" if status.startswith(b"204") else b"Content-Length: 500\r\n"
    with AwkwardServer(says(b"HTTP/1.1 %b\r\n%b\r\n" % (status, length))) as raw:
        asked = {"url": raw.url, "method": method}
        response = check_har(to_har([(asked, plain.request(asked).result(LIMIT))]))["response"]
    assert (response["bodySize"], response["content"]["size"]) == (0, 0)


def test_chunks_that_went_to_a_listener_can_be_given_back(plain: ft.Client, server: Any) -> None:
    asked = {
        "url": f"{server.http}/bytes/3000",
        "enableChunked": True,
        "responseType": "arraybuffer",
    }
    chunks: list[bytes] = []
    task = plain.request(asked)
    task.onChunkReceived(lambda event: chunks.append(bytes(event.data)))
    result = task.result(LIMIT)
    body = b"".join(chunks) or bytes(result.data)
    for kept, text in ((body, base64.b64encode(body).decode()), (len(body), None)):
        response = check_har(to_har([Exchange(asked, result, kept)]))["response"]
        assert response["content"].get("text") == text
        assert (response["bodySize"], response["content"]["size"]) == (3000, 3000)
        assert ("comment" in response["content"]) is (text is None)


def test_redirects_are_in_blocked_and_the_entry_says_so(client: ft.Client, origin: Origin) -> None:
    url = f"{origin.base}/redirect/3"
    result = fetch(client, url)
    entry = check_har(to_har([(url, result)]))
    assert entry["request"]["url"] == url
    assert entry["response"]["status"] == 200
    assert "Redirects were followed" in entry["comment"]
    redirects = result.profile.redirectEnd - result.profile.redirectStart
    assert entry["timings"]["_blocked_redirects"] == pytest.approx(redirects, abs=0.001)
    assert entry["timings"]["blocked"] >= entry["timings"]["_blocked_redirects"]
    assert entry["request"]["headersSize"] == -1  # of one of several that is not known
    assert "comment" not in check_har(
        to_har([(f"{origin.base}/json", fetch(client, f"{origin.base}/json"))])
    )


def test_a_redirect_that_is_not_followed_is_a_response(plain: ft.Client, server: Any) -> None:
    asked = {"url": f"{server.http}/redirect/2", "redirect": "manual"}
    response = check_har(to_har([(asked, plain.request(asked).result(LIMIT))]))["response"]
    assert response["status"] == 302
    assert response["redirectURL"].endswith("/redirect/1")


def test_an_early_answer_adds_up_too(plain: ft.Client) -> None:
    size = 30_000_000

    def early(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
        peer.read_exactly(size)

    with AwkwardServer(early) as raw:
        asked = {"url": raw.url, "method": "POST", "data": bytes(size)}
        result = plain.request(asked).result(LIMIT)
        asked["data"] = b"?" * 5  # the archive need not hold 30 MB
        entry = check_har(to_har([(asked, result)]))
    assert entry["timings"]["wait"] == 0
    assert entry["timings"]["send"] > 0


def test_behind_a_proxy_the_peer_is_the_proxy_and_sizes_are_the_servers(
    http_proxy: Any, nginx: Any
) -> None:
    url = f"{nginx.https}/seen"
    with ft.Client(proxy=http_proxy.url, no_proxy="", ca=nginx.ca, trust_env=False) as client:
        result = fetch(client, url)
    entry = check_har(to_har([(url, result)]))
    assert entry["connection"] == str(http_proxy.port)
    assert entry["request"]["headersSize"] == result.data["request_length"]
    assert entry["response"]["bodySize"] == int(result.header["content-length"])


def test_downloads_and_uploads(plain: ft.Client, server: Any, tmp_path: Path) -> None:
    asked = {"url": f"{server.http}/bytes/7000", "filePath": str(tmp_path / "file")}
    entry = check_har(to_har([(asked, plain.downloadFile(asked).result(LIMIT))]))
    assert entry["request"]["method"] == "GET"
    assert entry["request"]["headers"] == []
    assert entry["response"]["content"]["size"] == entry["response"]["bodySize"] == 7000
    assert entry["response"]["content"]["comment"] == "The body was not kept."

    asked = {"url": f"{server.http}/upload", "filePath": str(tmp_path / "file"), "name": "f"}
    entry = check_har(to_har([(asked, plain.uploadFile(asked).result(LIMIT))]))
    assert entry["request"]["method"] == "POST"
    assert entry["request"]["postData"]["mimeType"] == "multipart/form-data"
    assert entry["request"]["bodySize"] == entry["request"]["headersSize"] == -1


# ---- failures


def test_a_refused_connection_has_status_0_and_an_error(plain: ft.Client) -> None:
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/"
        error = failure(plain, url)
    entry = check_har(to_har([(url, error)]))
    assert entry["response"]["status"] == 0
    assert entry["response"]["_error"] == error.errMsg
    assert entry["timings"]["connect"] > 0
    assert entry["time"] == pytest.approx(error.profile.durations["total"], abs=0.001)
    assert "serverIPAddress" not in entry


def test_a_timeout_is_in_the_phase_that_hung(client: ft.Client, origin: Origin) -> None:
    url = f"{origin.base}/delay?before=15000"
    error = timed_out(lambda limit: failure(client, url, timeout=limit), "wait")
    entry = check_har(to_har([(url, error)]))
    assert entry["response"]["_error"] == "request:fail timeout"
    assert entry["timings"]["wait"] == error.profile.durations["ttfb"] > 0


def test_a_failure_after_the_header_can_have_it(plain: ft.Client) -> None:
    heads: list[Any] = []
    with AwkwardServer(BEHAVIOURS["closed_before_content_length"]) as raw:

        def start() -> ft.RequestTask:
            task = plain.request(url=raw.url, enableChunked=True)
            task.onHeadersReceived(heads.append)
            return task

        task = in_callback(start)
        with pytest.raises(ft.FtError) as caught:
            task.result(LIMIT)
    (head,) = heads
    response = check_har(to_har([Exchange(raw.url, caught.value, None, head)]))["response"]
    assert (response["status"], response["statusText"]) == (200, "OK")
    assert response["_error"] == caught.value.errMsg
    assert response["bodySize"] == -1
    cut = check_har(to_har([Exchange(raw.url, caught.value, b"12345", head)]))["response"]
    assert (cut["content"]["text"], cut["bodySize"]) == ("12345", 5)
    assert cut["content"]["comment"] == "The body as far as it came."


def test_several_requests_are_entries_in_their_order(plain: ft.Client, server: Any) -> None:
    urls = [f"{server.http}/bytes/{size}" for size in (1, 2, 3)]
    har = to_har((url, fetch(plain, url)) for url in urls)
    VALIDATOR.validate(har)
    assert [entry["request"]["url"] for entry in har["log"]["entries"]] == urls


# ---- what is kept to oneself

SECRETS = {"Authorization": "Bearer s3cret", "Cookie": "sid=s3cret; b=2"}
COOKIES = (
    b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=s3cret; Path=/; Domain=a.test; HttpOnly; Secure;"
    b" Expires=Wed, 09 Jun 2027 10:18:14 GMT\r\nset-cookie: bad=s3cret; Expires=never\r\n"
    b"Location: http://me:s3cret@there.test/\r\nContent-Length: 0\r\n\r\n"
)


def test_credentials_and_cookies_are_left_out(plain: ft.Client) -> None:
    with AwkwardServer(says(COOKIES)) as raw:
        asked = {"url": raw.url.replace("//", "//me:s3cret@") + "/x", "header": SECRETS}
        result = plain.request(asked).result(LIMIT)
    har = to_har([(asked, result)])
    entry = check_har(har)
    assert "s3cret" not in json.dumps(har)
    assert entry["request"]["url"] == f"{raw.url}/x"
    assert entry["request"]["cookies"] == entry["response"]["cookies"] == []


def test_they_are_there_for_those_who_ask(plain: ft.Client) -> None:
    with AwkwardServer(says(COOKIES)) as raw:
        asked = {"url": raw.url.replace("//", "//me:s3cret@") + "/x", "header": SECRETS}
        result = plain.request(asked).result(LIMIT)
    entry = check_har(to_har([(asked, result)], sensitive=True))
    assert entry["request"]["url"] == asked["url"]
    assert named(entry["request"]["headers"])["authorization"] == "Bearer s3cret"
    assert named(entry["request"]["cookies"]) == {"sid": "s3cret", "b": "2"}
    assert entry["response"]["cookies"] == [
        {
            "name": "sid",
            "value": "s3cret",
            "path": "/",
            "domain": "a.test",
            "expires": "2027-06-09T10:18:14+00:00",
            "httpOnly": True,
            "secure": True,
        },
        {"name": "bad", "value": "s3cret", "httpOnly": False, "secure": False},
    ]
    assert entry["response"]["redirectURL"] == "http://me:s3cret@there.test/"


# ---- what can't be exported


def test_there_is_no_archive_without_a_profile(plain: ft.Client, server: Any) -> None:
    url = f"{server.http}/json"
    with pytest.raises(ValueError, match="enableProfile"):
        to_har([(url, fetch(plain, url, enableProfile=False))])


def test_only_outcomes_of_http_are_exported() -> None:
    with pytest.raises(TypeError, match="must be a result or an FtError"):
        to_har([("http://a.test/", object())])
    with pytest.raises(TypeError, match="not connectSocket"):
        to_har([("ws://a.test/", ft.FtError("connectSocket:fail timeout"))])
    with pytest.raises(TypeError, match="no url"):
        to_har([({}, ft.FtError("request:fail timeout", profile=profile_of({"queueStart": 0})))])


def test_the_schema_refuses_what_the_specification_does(plain: ft.Client, server: Any) -> None:
    url = f"{server.http}/json"
    result = fetch(plain, url)
    for path, wrong in (
        (("timings", "wait"), -1),
        (("timings", "dns"), -0.5),
        (("startedDateTime",), "yesterday"),
        (("serverIPAddress",), "localhost"),
        (("request", "cookies"), None),
        (("response", "unknown"), 1),
        (("time",), -1),
    ):
        har = to_har([(url, result)])
        *way, last = path
        place = har["log"]["entries"][0]
        for name in way:
            place = place[name]
        place[last] = wrong
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(har)
