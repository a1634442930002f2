"""Redirects are where a server steers the client: how far, where to, and with whose secrets."""

from __future__ import annotations

from typing import Any

import pytest

import ftnet as ft
from tests.history import run
from tests.servers.awkward import AwkwardServer, Request, ThrowawayTls
from tests.servers.behaviours import BEHAVIOURS, answers, redirects_to

SECRETS = {"Authorization": "Bearer s3cret", "Cookie": "session=s3cret", "X-Plain": "stays"}


def test_twenty_redirects_are_followed() -> None:
    with AwkwardServer(BEHAVIOURS["counts_down"]) as server, ft.Client() as client:
        (history,) = run(client, {"url": f"{server.url}/20"})
        assert history.response().data == "arrived"
        assert len(server.requests) == 21


def test_the_twenty_first_redirect_fails() -> None:
    with AwkwardServer(BEHAVIOURS["counts_down"]) as server, ft.Client() as client:
        (history,) = run(client, {"url": f"{server.url}/21"})
        assert history.error().errno == ft.Errno.TOO_MANY_REDIRECTS
        assert len(server.requests) == 21


def test_a_redirect_loop_fails() -> None:
    with AwkwardServer(BEHAVIOURS["redirect_loop"]) as server, ft.Client() as client:
        (history,) = run(client, {"url": server.url})
        assert history.error().errno == ft.Errno.TOO_MANY_REDIRECTS


def test_the_count_of_redirects_starts_anew_with_each_request() -> None:
    with AwkwardServer(BEHAVIOURS["counts_down"]) as server, ft.Client() as client:
        for history in run(client, *[{"url": f"{server.url}/15"}] * 4):
            assert history.response().data == "arrived"


def test_manual_redirects_are_returned_and_not_followed() -> None:
    with AwkwardServer(BEHAVIOURS["counts_down"]) as server, ft.Client() as client:
        (history,) = run(client, {"url": f"{server.url}/5", "redirect": "manual"})
        response = history.response()
        assert response.statusCode == 302
        assert response.header["location"] == "/4"
        assert len(server.requests) == 1


FOREIGN = [
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "ftp://127.0.0.1:{port}/x",
    "gopher://127.0.0.1:{port}/1GET",
    "dict://127.0.0.1:{port}/d:x",
    "ldap://127.0.0.1:{port}/x",
    "smtp://127.0.0.1:{port}/x",
    "telnet://127.0.0.1:{port}/x",
    "tftp://127.0.0.1:{port}/x",
    "ws://127.0.0.1:{port}/x",
    "javascript:alert(1)",
    "data:text/plain,hello",
]


@pytest.mark.parametrize("location", FOREIGN)
def test_a_redirect_to_a_foreign_scheme_fails_and_goes_nowhere(location: str) -> None:
    with AwkwardServer(BEHAVIOURS["silent"]) as target:
        location = location.format(port=target.port)
        with AwkwardServer(redirects_to(location)) as server, ft.Client() as client:
            (history,) = run(client, {"url": server.url, "timeout": 20_000})
            error = history.error()
            assert error.errno in (ft.Errno.INVALID_URL, ft.Errno.PROTOCOL)
            assert "root:" not in repr(error)
            assert target.peers == []


@pytest.mark.parametrize("location", ["http://", "http://[::1", "http://a b/", "http://x:99999/"])
def test_a_redirect_to_a_broken_url_fails(location: str) -> None:
    with AwkwardServer(redirects_to(location)) as server, ft.Client() as client:
        (history,) = run(client, {"url": server.url, "timeout": 20_000})
        assert history.error().errno in (ft.Errno.INVALID_URL, ft.Errno.PROTOCOL)


def test_a_redirect_from_https_to_http_is_refused(good: AwkwardServer, tls: ThrowawayTls) -> None:
    with (
        AwkwardServer(redirects_to(good.url), tls=tls.context) as server,
        ft.Client(ca=tls.ca) as client,
    ):
        (history,) = run(client, {"url": server.url})
        assert history.error().errno in (ft.Errno.INVALID_URL, ft.Errno.TLS)
        assert good.peers == []


def test_a_redirect_from_https_to_http_is_followed_when_allowed(
    good: AwkwardServer, tls: ThrowawayTls
) -> None:
    with (
        AwkwardServer(redirects_to(good.url), tls=tls.context) as server,
        ft.Client(ca=tls.ca, allow_insecure_redirects=True) as client,
    ):
        (history,) = run(client, {"url": server.url, "header": SECRETS})
        assert history.response().statusCode == 200
        assert_no_secrets(good.requests[0])


def test_a_downgrade_in_the_middle_of_a_chain_is_refused(
    good: AwkwardServer, tls: ThrowawayTls
) -> None:
    with (
        AwkwardServer(redirects_to(good.url), tls=tls.context) as secure,
        AwkwardServer(redirects_to(secure.url)) as first,
        ft.Client(ca=tls.ca) as client,
    ):
        (history,) = run(client, {"url": first.url})
        history.error()
        assert len(secure.requests) == 1
        assert good.peers == []


def assert_no_secrets(request: Request) -> None:
    assert b"s3cret" not in request.head
    assert request.get("x-plain") == "stays"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("other", ["port", "host", "scheme"])
def test_secrets_do_not_follow_to_another_origin(
    other: str, status: str, tls: ThrowawayTls
) -> None:
    context = tls.context if other == "scheme" else None
    with AwkwardServer(answers, tls=context) as target:
        location = target.url
        if other == "host":
            location = f"http://localhost:{target.port}/"
        with (
            AwkwardServer(redirects_to(location, status)) as server,
            ft.Client(ca=tls.ca) as client,
        ):
            (history,) = run(client, {"url": server.url, "header": SECRETS})
            history.response()
        assert server.requests[0].get("authorization") == "Bearer s3cret"
        assert server.requests[0].get("cookie") == "session=s3cret"
        assert_no_secrets(target.requests[0])


def test_secrets_stay_with_redirects_inside_the_origin() -> None:
    with AwkwardServer(BEHAVIOURS["counts_down"]) as server, ft.Client() as client:
        run(client, {"url": f"{server.url}/3", "header": SECRETS})[0].response()
        assert [request.get("authorization") for request in server.requests] == [
            "Bearer s3cret"
        ] * 4


def test_user_and_password_of_the_url_do_not_follow_to_another_origin(good: AwkwardServer) -> None:
    with AwkwardServer(redirects_to(good.url)) as server, ft.Client() as client:
        url = server.url.replace("//", "//user:s3cret@")
        run(client, {"url": url})[0].response()
        assert server.requests[0].get("authorization") is not None
        assert good.requests[0].get("authorization") is None


def test_secrets_do_not_come_back_after_a_detour(good: AwkwardServer) -> None:
    with (
        AwkwardServer(redirects_to(good.url)) as away,
        AwkwardServer(redirects_to(away.url)) as server,
        ft.Client() as client,
    ):
        run(client, {"url": server.url, "header": SECRETS})[0].response()
        assert_no_secrets(away.requests[0])
        assert_no_secrets(good.requests[0])


def redirected(status: str, options: dict[str, Any], good: AwkwardServer) -> Request:
    """The second request of an exchange that was answered with `status` first."""
    with AwkwardServer(redirects_to(f"{good.url}/next", status)) as server, ft.Client() as client:
        run(client, {"url": server.url, **options})[0].response()
        assert len(server.requests) == 1
    return good.requests[0]


POST = {"method": "POST", "data": "pay=1", "header": {"content-type": "text/x-order"}}


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other"])
@pytest.mark.parametrize("header", [{}, {"content-type": "text/x-order", "Content-Language": "en"}])
def test_a_redirected_post_becomes_a_get_without_body_and_content_fields(
    status: str, header: dict[str, str], good: AwkwardServer
) -> None:
    request = redirected(status, {**POST, "header": header}, good)
    assert request.method == "GET"
    assert request.body == b""
    content = [name for name, _ in request.fields if name.startswith(("content-", "transfer-"))]
    assert content == []


@pytest.mark.parametrize("status", ["307 Temporary", "308 Permanent"])
def test_a_preserving_redirect_sends_method_body_and_type_again(
    status: str, good: AwkwardServer
) -> None:
    request = redirected(status, POST, good)
    assert (request.method, request.body) == ("POST", b"pay=1")
    assert request.get("content-type") == "text/x-order"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirected_put_stays_a_put(status: str, good: AwkwardServer) -> None:
    request = redirected(status, {**POST, "method": "PUT"}, good)
    assert (request.method, request.body) == ("PUT", b"pay=1")


def test_see_other_turns_a_put_into_a_get(good: AwkwardServer) -> None:
    request = redirected("303 See Other", {**POST, "method": "PUT"}, good)
    assert (request.method, request.body) == ("GET", b"")
    assert request.get("content-type") is None


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary"])
def test_a_redirected_head_stays_a_head(status: str, good: AwkwardServer) -> None:
    assert redirected(status, {"method": "HEAD"}, good).method == "HEAD"


def test_the_request_after_a_redirected_post_is_a_plain_one(good: AwkwardServer) -> None:
    with AwkwardServer(redirects_to(good.url)) as server, ft.Client() as client:
        run(client, {"url": server.url, **POST})[0].response()
        run(client, {"url": f"{good.url}/plain", **POST})[0].response()
        assert (good.requests[1].method, good.requests[1].body) == ("POST", b"pay=1")


def test_a_location_with_line_breaks_stays_one_request_line(good: AwkwardServer) -> None:
    location = f"{good.url}/a%0d%0aX-Injected:%201"
    with AwkwardServer(redirects_to(location)) as server, ft.Client() as client:
        run(client, {"url": server.url})[0].response()
        assert good.requests[0].target.lower() == "/a%0d%0ax-injected:%201"
        assert good.requests[0].get("x-injected") is None


def test_the_body_of_a_redirect_counts_against_the_limit() -> None:
    def pours_and_moves(peer: Any) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 67108864\r\n\r\n")
        for _ in range(1024):
            peer.send(bytes(65536))
        peer.until_gone()

    with AwkwardServer(pours_and_moves) as server, ft.Client(max_body_bytes=65536) as client:
        (history,) = run(client, {"url": server.url, "timeout": 20_000})
        assert history.error().errno == ft.Errno.INVALID_DATA
