"""One pooled handle serves many requests: nothing of one may show in the next."""

from __future__ import annotations

import base64
from typing import Any

import pytest

import ftnet as ft
from tests.history import run
from tests.servers.awkward import AwkwardServer, Peer
from tests.servers.behaviours import BEHAVIOURS

FIRST: dict[str, dict[str, Any]] = {
    "post json": {"method": "POST", "data": {"s3cret": 1}},
    "put bytes": {"method": "PUT", "data": b"s3cret" * 1000},
    "form": {
        "method": "POST",
        "data": {"s3cret": 1},
        "header": {"content-type": "application/x-www-form-urlencoded"},
    },
    "head": {"method": "HEAD"},
    "options": {"method": "OPTIONS"},
    "delete with a body": {"method": "DELETE", "data": "s3cret"},
    "trace": {"method": "TRACE"},
    "host and fields": {"header": {"Host": "s3cret.test", "X-Own": "s3cret", "Range": "bytes=1-"}},
    "cookie": {"header": {"Cookie": "s3cret=1"}},
    "authorization": {"header": {"Authorization": "Bearer s3cret"}},
    "user agent": {"header": {"User-Agent": "s3cret"}},
    "removed fields": {"header": {"Accept": "s3cret/1", "Accept-Encoding": "identity"}},
    "query": {"data": {"q": "s3cret"}},
    "chunked": {"enableChunked": True},
    "buffer": {"responseType": "arraybuffer", "dataType": "text"},
    "no profile": {"enableProfile": False},
    "manual": {"redirect": "manual"},
    "http2": {"enableHttp2": True},
    "http1": {"enableHttp2": False},
    "quic": {"enableQuic": True},
    "short": {"timeout": 5000},
}


def wire(server: AwkwardServer) -> bytes:
    return server.requests[-1].head + server.requests[-1].body


@pytest.mark.parametrize("first", FIRST)
def test_nothing_of_a_request_shows_in_the_next(first: str, good: AwkwardServer) -> None:
    with ft.Client() as fresh:
        expected = run(fresh, {"url": f"{good.url}/plain"})[0].response()
        expected_bytes = wire(good)
    with ft.Client(max_connections=1) as client:
        run(client, {"url": f"{good.url}/first", **FIRST[first]})[0].response()
        response = run(client, {"url": f"{good.url}/plain"})[0].response()
    assert wire(good) == expected_bytes
    assert type(response.data) is type(expected.data)
    assert response.data["target"] == "/plain"
    assert response.profile.fetchStart > 0


def test_user_and_password_of_a_url_do_not_show_in_the_next_request(good: AwkwardServer) -> None:
    with ft.Client(max_connections=1) as client:
        run(client, {"url": good.url.replace("//", "//us3r:s3cret@")})[0].response()
        run(client, {"url": good.url})[0].response()
    first, second = good.requests
    assert first.get("authorization") is not None
    assert second.get("authorization") is None


@pytest.mark.parametrize("name", ["closed_in_field_name", "resets_in_body", "speaks_ssh"])
def test_nothing_of_a_failed_request_shows_in_the_next(name: str, good: AwkwardServer) -> None:
    failing = {"method": "PUT", "data": "s3cret", "header": {"X-Own": "s3cret", "Cookie": "s3cret"}}
    with AwkwardServer(BEHAVIOURS[name]) as server, ft.Client(max_connections=1) as client:
        run(client, {"url": good.url})[0].response()
        expected = wire(good)
        run(client, {"url": server.url, **failing})[0].error()
        response = run(client, {"url": good.url})[0].response()
    assert wire(good) == expected
    assert "X-Bad" not in response.header
    assert list(response.header) == ["Content-Length", "Content-Type"]


def test_nothing_of_an_aborted_request_shows_in_the_next(good: AwkwardServer) -> None:
    with AwkwardServer(BEHAVIOURS["silent"]) as silent, ft.Client(max_connections=1) as client:
        run(client, {"url": good.url})[0].response()
        expected = wire(good)
        task = client.request(url=silent.url, method="POST", data="s3cret", header={"X": "s3cret"})
        silent.wait_for_bytes(1)
        task.abort()
        with pytest.raises(ft.FtError, match="^request:fail abort$"):
            task.result(20)
        client.request(url=good.url).result(20)
    assert wire(good) == expected


def test_a_cookie_set_by_one_server_is_kept_from_another_client(good: AwkwardServer) -> None:
    def sets_a_cookie(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.answer(b"", "Set-Cookie: s3cret=1; Path=/")

    with AwkwardServer(sets_a_cookie) as server:
        with ft.Client(cookies=True) as one, ft.Client(cookies=True) as other:
            for _ in range(2):
                run(one, {"url": server.url})[0].response()
            run(other, {"url": server.url})[0].response()
        cookies = [request.get("cookie") for request in server.requests]
        assert cookies == [None, "s3cret=1", None]


def test_two_users_of_one_host_get_their_own_answers(good: AwkwardServer) -> None:
    with ft.Client(max_connections=2) as client:
        users = [f"us3r{number}" for number in range(20)]
        urls = [good.url.replace("//", f"//{user}:pw@") + f"/{user}" for user in users]
        for history in run(client, *[{"url": url} for url in urls]):
            history.response()
    for request in good.requests:
        expected = base64.b64encode(f"{request.target[1:]}:pw".encode()).decode()
        assert request.get("authorization") == f"Basic {expected}"
