"""Redirects: which are followed, with what, and how far. Cookies: kept by a Client, or not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

import ftnet as ft
from tests.drivers import ask, in_run
from tests.origins import LIMIT, Origin, failure, fetch
from tests.profiles import check_profile
from tests.servers.awkward import AwkwardServer, Peer

SECRETS = {"Authorization": "Bearer secret", "Cookie": "session=secret", "X-Kept": "1"}


def to(base: str, target: str, status: int = 302) -> str:
    """The URL under `base` that redirects to `target`."""
    return f"{base}/redirect-to?status={status}&url={quote(target, safe='')}"


def headers_sent(response: ft.Response) -> dict[str, str]:
    assert response.statusCode == 200
    return dict(response.data["headers"])


@pytest.fixture
def trusting(server: Any, nginx: Any, tmp_path: Any) -> Iterator[ft.Client]:
    """A Client that trusts both the test server and nginx."""
    both = tmp_path / "both.pem"
    with open(server.ca) as one, open(nginx.ca) as other:
        both.write_text(one.read() + other.read())
    with ft.Client(ca=str(both), trust_env=False) as client:
        yield client


# --- following ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hops", [1, 2, 20])
def test_redirects_are_followed(client: ft.Client, origin: Origin, hops: int) -> None:
    response = fetch(client, f"{origin.base}/redirect/{hops}")
    assert (response.statusCode, response.data) == (200, {"redirected": True})
    profile = check_profile(response, protocol=origin.protocol)
    assert profile.redirectStart > 0


def test_the_twenty_first_redirect_fails(client: ft.Client, origin: Origin) -> None:
    error = failure(client, f"{origin.base}/redirect/21")
    assert error.errno == ft.Errno.TOO_MANY_REDIRECTS
    assert error.profile.redirectStart > 0


def test_a_manual_redirect_is_the_response(client: ft.Client, origin: Origin) -> None:
    response = fetch(client, f"{origin.base}/redirect/3", redirect="manual")
    assert (response.statusCode, response.header["location"]) == (302, "/redirect/2")
    assert response.data == {"left": 3}
    profile = check_profile(response, tls=origin.tls, protocol=origin.protocol)
    assert profile.redirectStart == profile.redirectEnd == 0


def test_only_the_last_response_is_heard_of(client: ft.Client, origin: Origin) -> None:
    _, history = in_run(lambda: ask(client, to(origin.base, "/stream/2/50"), enableChunked=True))
    history.response()
    assert history.names.count("headers") == 1
    assert history.events[0][1].statusCode == 200
    heard = b"".join(bytes(event.data) for name, event in history.events if name == "chunk")
    assert len(heard) == 100


def test_a_manual_redirect_has_its_headers_event(plain: ft.Client, server: Any) -> None:
    _, history = in_run(lambda: ask(plain, f"{server.http}/redirect/1", redirect="manual"))
    assert history.names == ["headers", "success", "complete"]
    assert history.events[0][1].header["location"] == "/redirect/0"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_each_redirect_status_is_followed(client: ft.Client, origin: Origin, status: int) -> None:
    response = fetch(client, to(origin.base, "/echo?x=1", status))
    assert (response.data["method"], response.data["query"]) == ("GET", "x=1")


@pytest.mark.parametrize("status", [300, 304, 305, 306])
def test_other_statuses_with_a_location_are_responses(
    plain: ft.Client, server: Any, status: int
) -> None:
    assert fetch(plain, to(server.http, "/echo", status)).statusCode == status


def test_a_redirect_without_a_location_is_the_response(plain: ft.Client, server: Any) -> None:
    assert fetch(plain, f"{server.http}/status/302").statusCode == 302


def test_a_redirect_to_nowhere_is_the_response() -> None:
    """As curl and Chromium take an empty Location."""

    def nowhere(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 302 Found\r\nLocation: \r\nContent-Length: 4\r\n\r\nhere")
        peer.until_gone()

    with AwkwardServer(nowhere) as raw, ft.Client() as client:
        response = fetch(client, raw.url)
    assert (response.statusCode, response.data) == (302, "here")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/echo?a=1", "/echo", "a=1"),
        ("echo", "/echo", ""),
        ("../../echo", "/echo", ""),
        ("?url=%2Fecho&status=307", "/echo", ""),
        ("/echo#fragment", "/echo", ""),
        ("/echo?x=ü", "/echo", "x=%C3%BC"),
        ("{base}/echo?abs", "/echo", "abs"),
        ("//{netloc}/echo?net", "/echo", "net"),
    ],
)
def test_a_location_is_resolved_against_the_url_it_came_from(
    plain: ft.Client, server: Any, target: str, path: str, query: str
) -> None:
    target = target.format(base=server.http, netloc=server.http.partition("//")[2])
    told = fetch(plain, to(server.http, target)).data
    assert (told["path"], told["query"]) == (path, query)


# --- what goes along ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirected_post_becomes_a_get_without_body(
    client: ft.Client, origin: Origin, status: int
) -> None:
    header = {"content-type": "text/csv", "X-Kept": "1"}
    response = fetch(
        client, to(origin.base, "/echo", status), method="POST", data="a,b", header=header
    )
    headers = headers_sent(response)
    assert (response.data["method"], response.data["body"]) == ("GET", "")
    assert headers.get("content-length", "0") == "0"
    assert headers.get("content-type") != "text/csv"
    assert headers["x-kept"] == "1"


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_307_and_308_keep_the_method_and_the_body(
    client: ft.Client, origin: Origin, status: int, method: str
) -> None:
    response = fetch(client, to(origin.base, "/echo", status), method=method, data={"a": 1})
    assert (response.data["method"], response.data["body_text"]) == (method, '{"a":1}')


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("way", ["http", "https", "h2"])
def test_a_large_body_is_sent_again_to_the_target(
    trusting: ft.Client, nginx: Any, server: Any, way: str, status: int
) -> None:
    body = bytes(range(256)) * 4000
    url = f"{getattr(nginx, way)}/to/{status}?url={server.https}/upload"
    response = fetch(trusting, url, method="POST", data=body)
    assert response.data == {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    # nginx may redirect, and the client stop sending, before the first body is over
    assert len(body) <= response.profile.sendBytesCount < len(body) * 2 + 2000


@pytest.mark.parametrize("status", [301, 302])
def test_301_and_302_keep_a_put(plain: ft.Client, server: Any, status: int) -> None:
    response = fetch(plain, to(server.http, "/echo", status), method="PUT", data="kept")
    assert (response.data["method"], response.data["body_text"]) == ("PUT", "kept")


def test_303_turns_a_put_into_a_get(plain: ft.Client, server: Any) -> None:
    response = fetch(plain, to(server.http, "/echo", 303), method="PUT", data="dropped")
    assert (response.data["method"], response.data["body_text"]) == ("GET", "")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirected_head_stays_a_head(
    plain: ft.Client, nginx: Any, server: Any, status: int
) -> None:
    response = fetch(plain, to(server.http, f"{nginx.http}/seen", status), method="HEAD")
    assert (response.statusCode, response.data) == (200, "")
    assert int(response.header["content-length"]) > 0


def test_credentials_follow_within_the_origin(client: ft.Client, origin: Origin) -> None:
    headers = headers_sent(fetch(client, to(origin.base, "/echo"), header=SECRETS))
    assert headers["authorization"] == "Bearer secret"
    assert headers["cookie"] == "session=secret"


@pytest.mark.parametrize("way", ["another port", "another host", "another scheme"])
def test_credentials_never_follow_to_another_origin(
    trusting: ft.Client, server: Any, caddy: Any, way: str
) -> None:
    start, target = {
        "another port": (server.https, caddy.behind),
        "another host": (server.https, server.https.replace("127.0.0.1", "localhost")),
        "another scheme": (server.http, server.https),
    }[way]
    headers = headers_sent(fetch(trusting, to(start, f"{target}/echo"), header=SECRETS))
    assert not {"authorization", "cookie"} & headers.keys()
    assert headers["x-kept"] == "1"


def test_credentials_stay_lost_on_the_way_back(trusting: ft.Client, server: Any) -> None:
    there = server.https.replace("127.0.0.1", "localhost")
    back = to(there, f"{server.https}/echo")
    headers = headers_sent(fetch(trusting, to(server.https, back), header=SECRETS))
    assert not {"authorization", "cookie"} & headers.keys()


def test_the_password_of_the_url_never_follows_to_another_origin(
    trusting: ft.Client, server: Any
) -> None:
    start = server.http.replace("//", "//me:secret@")
    assert "authorization" in headers_sent(fetch(trusting, to(start, "/echo")))
    headers = headers_sent(fetch(trusting, to(start, f"{server.https}/echo")))
    assert "authorization" not in headers


def test_a_host_header_does_not_follow_to_another_origin(trusting: ft.Client, server: Any) -> None:
    response = fetch(
        trusting, to(server.http, f"{server.https}/echo"), header={"Host": "first.test"}
    )
    headers = headers_sent(response)
    assert headers.get("host", headers.get(":authority")) == server.https.partition("//")[2]


def test_no_referer_is_sent_after_a_redirect(client: ft.Client, origin: Origin) -> None:
    assert "referer" not in headers_sent(fetch(client, to(origin.base, "/echo")))


def test_a_redirect_from_https_to_http_is_refused(trusting: ft.Client, server: Any) -> None:
    error = failure(trusting, to(server.https, f"{server.http}/echo"))
    assert error.errno == ft.Errno.INVALID_URL
    assert "https" in error.errMsg
    assert "http" in error.errMsg


def test_a_redirect_from_https_to_http_can_be_allowed(server: Any) -> None:
    with ft.Client(ca=server.ca, allow_insecure_redirects=True, trust_env=False) as client:
        url = to(server.https, f"{server.http}/echo")
        headers = headers_sent(fetch(client, url, header=SECRETS))
    assert not {"authorization", "cookie"} & headers.keys()


# --- cookies --------------------------------------------------------------------------------------


def kept(client: ft.Client, base: str) -> dict[str, str]:
    """The cookies that the Client sends to `base`."""
    return fetch(client, f"{base}/cookies").data["cookies"]


def test_cookies_of_a_response_are_listed_one_by_one(client: ft.Client, origin: Origin) -> None:
    response = fetch(client, f"{origin.base}/cookies/set?a=1&b=2")
    assert response.cookies == ["a=1; Path=/", "b=2; Path=/"]


def test_a_client_keeps_cookies_and_sends_them(origin: Origin) -> None:
    with origin.client(cookies=True) as client:
        fetch(client, f"{origin.base}/cookies/set?a=1&b=2")
        assert kept(client, origin.base) == {"a": "1", "b": "2"}
        fetch(client, f"{origin.base}/cookies/set?a=3")
        assert kept(client, origin.base) == {"a": "3", "b": "2"}


def test_a_client_without_cookies_keeps_none(origin: Origin) -> None:
    with origin.client(cookies=False) as client:
        fetch(client, f"{origin.base}/cookies/set?a=1")
        assert kept(client, origin.base) == {}


def test_clients_do_not_share_their_cookies(server: Any) -> None:
    with (
        ft.Client(cookies=True, trust_env=False) as one,
        ft.Client(cookies=True, trust_env=False) as other,
    ):
        fetch(one, f"{server.http}/cookies/set?a=1")
        assert kept(other, server.http) == {}
        assert kept(one, server.http) == {"a": "1"}


def test_cookies_are_shared_by_all_connections_of_a_client(server: Any) -> None:
    with ft.Client(cookies=True, trust_env=False) as client:
        fetch(client, f"{server.http}/cookies/set?a=1")
        tasks = [client.request(url=f"{server.http}/cookies") for _ in range(20)]
        assert [task.result(LIMIT).data for task in tasks] == [{"cookies": {"a": "1"}}] * 20


def test_cookies_do_not_go_to_another_host(server: Any) -> None:
    other = server.http.replace("127.0.0.1", "localhost")
    with ft.Client(cookies=True, trust_env=False) as client:
        fetch(client, f"{server.http}/cookies/set?a=1")
        assert kept(client, other) == {}


def test_a_cookie_set_by_a_redirect_is_sent_to_its_target(nginx: Any, server: Any) -> None:
    with ft.Client(cookies=True, trust_env=False) as client:
        response = fetch(client, to(server.http, "/cookies/set?hop=1"))
        assert response.cookies == ["hop=1; Path=/"]
        assert kept(client, server.http) == {"hop": "1"}


def test_a_cookie_header_goes_along_with_the_kept_ones(server: Any) -> None:
    with ft.Client(cookies=True, trust_env=False) as client:
        fetch(client, f"{server.http}/cookies/set?kept=1")
        response = fetch(client, f"{server.http}/cookies", header={"Cookie": "mine=2"})
        assert response.data["cookies"] == {"kept": "1", "mine": "2"}


def test_a_cookie_header_is_sent_without_a_jar(plain: ft.Client, server: Any) -> None:
    response = fetch(plain, f"{server.http}/cookies", header={"Cookie": "mine=2"})
    assert response.data["cookies"] == {"mine": "2"}
    assert kept(plain, server.http) == {}
