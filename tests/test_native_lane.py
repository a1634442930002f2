"""The native lane: which requests it serves, that it sends what libcurl sends, what it keeps."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import ftnet as ft
from tests.origins import LIMIT, fetch
from tests.servers.awkward import AwkwardServer, Peer


@contextmanager
def pinned(lane: str, **settings: Any) -> Iterator[ft.Client]:
    """A Client that is pinned to a lane."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTNET_LANE", lane)
        client = ft.Client(**{"trust_env": False, **settings})
    with client:
        yield client


def lane_of(client: ft.Client, url: str, **options: Any) -> str:
    task = client.request(url=url, **options)
    task.result(LIMIT)
    return task.lane


# --- the rule -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "options", "secure", "lane"),
    [
        ({}, {}, False, "native"),
        ({}, {"method": "POST", "data": "x"}, False, "native"),
        ({"http_version": "2"}, {}, False, "native"),
        ({}, {}, True, "libcurl"),
        ({}, {"enableHttp2": False}, True, "native"),
        ({"http_version": "1.1"}, {}, True, "native"),
        ({"cookies": True}, {}, False, "libcurl"),
        ({"doh_url": "https://127.0.0.1:1/"}, {}, False, "libcurl"),
    ],
)
def test_the_rule(
    server: Any, settings: dict[str, Any], options: dict[str, Any], secure: bool, lane: str
) -> None:
    with pinned("auto", ca=server.ca, **settings) as client:
        base = server.https if secure else server.http
        assert lane_of(client, f"{base}/echo", **options) == lane


def test_a_login_in_the_url_and_connect_are_libcurls(server: Any) -> None:
    with pinned("native") as client:
        assert lane_of(client, server.http.replace("://", "://user:pass@") + "/hello") == "libcurl"
        assert lane_of(client, f"{server.http}/hello", method="CONNECT") == "libcurl"


def test_a_proxy_is_libcurls(http_proxy: Any, server: Any, monkeypatch: Any) -> None:
    with pinned("native", proxy=http_proxy.url) as client:
        assert lane_of(client, f"{server.http}/hello") == "libcurl"
    monkeypatch.setenv("http_proxy", http_proxy.url)
    with pinned("native", trust_env=True) as client:
        assert lane_of(client, f"{server.http}/hello") == "libcurl"


def test_ftnet_lane_pins_a_lane(server: Any) -> None:
    with pinned("native", ca=server.ca) as client:
        response = fetch(client, f"{server.https}/hello")
        assert response.profile.protocol == "http/1.1"
    with pinned("libcurl") as client:
        assert lane_of(client, f"{server.http}/hello") == "libcurl"
    told = "FTNET_LANE is 'quick'; it takes auto, libcurl or native"
    with pytest.raises(ValueError, match=told), pinned("quick"):
        pass


def test_a_redirect_elsewhere_goes_on_over_libcurl_and_back(server: Any) -> None:
    with pinned("native", ca=server.ca, allow_insecure_redirects=True) as client:
        there = f"{server.https}/redirect-to?url={server.http}/hello"
        task = client.request(url=there)
        assert task.result(LIMIT).data == "Hello, World!"
        assert task.lane == "libcurl"
        task = client.request(url=f"{server.http}/redirect/3")
        task.result(LIMIT)
        assert task.lane == "native"


# --- what is sent ---------------------------------------------------------------------------------


def whole(text: bytes) -> bool:
    """Whether it is a request with its body."""
    head, end, body = text.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(end) and len(body) >= (int(length[1]) if length else 0)


class Capture:
    """A server that keeps what it gets, answers and closes."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(LIMIT)
        self.port = self.socket.getsockname()[1]
        self.got: list[bytes] = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            with peer:
                text = b""
                while not whole(text):
                    text += peer.recv(65536)
                self.got.append(text)
                peer.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(LIMIT)
        self.socket.close()


@pytest.fixture(scope="module")
def capture() -> Iterator[Capture]:
    capture = Capture()
    yield capture
    capture.close()


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[ft.Client, ft.Client]]:
    with pinned("libcurl") as libcurl, pinned("native") as native:
        yield libcurl, native


NAMES = st.sampled_from(
    ("Host", "User-Agent", "Accept", "accept-encoding", "Connection", "CONNECTION", "content-type",
     "Range", "Cookie", "Authorization", "X-a", "x-b", "If-None-Match", "Trailer", "hosts")
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(("", "x", "close", "keep-alive", "a, b", "TE", "*/*", ";", ":", "a:b;c")),
    st.text("abcdefgé ;:,=", max_size=12),
    st.lists(st.sampled_from(("", "1", "two words")), min_size=1, max_size=3),
)
PATHS = st.one_of(
    st.sampled_from(("", "/", "?", "/?", "/a/../b/./c?x=%2f&y=a|b", '/%2f%7e/"<>', "//a//b?c?d")),
    st.text("/.?%2Faé~&=+", max_size=20).map(lambda text: "/" + text),
)
HOSTS = st.sampled_from(("127.0.0.1", "0x7f.1", "127.1", "localhost", "LocalHost."))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    method=st.sampled_from(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE")),
    host=HOSTS,
    path=PATHS,
    header=st.dictionaries(NAMES, VALUES, max_size=6),
    data=st.one_of(st.none(), st.just("text")),
)
def test_the_same_bytes_are_sent_over_both_lanes(
    capture: Capture, both: tuple[ft.Client, ft.Client],
    method: str, host: str, path: str, header: dict[str, Any], data: str | None,
) -> None:  # fmt: skip
    capture.got.clear()
    if method in ("GET", "HEAD", "TRACE"):
        data = None
    url = f"http://{host}:{capture.port}{path}"
    lanes = []
    for client in both:
        try:
            task = client.request(url=url, method=method, header=header, data=data, timeout=5000)
        except ValueError:
            reject()  # a header that can't be
        task.result(LIMIT)
        lanes.append(task.lane)
    assert lanes == ["libcurl", "native"]
    first, second = capture.got
    assert first == second


# --- connections ----------------------------------------------------------------------------------


def test_idle_connections_count_and_the_longest_idle_goes_first(server: Any) -> None:
    def answers(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.answer(b"here")

    with (
        AwkwardServer(answers) as one,
        AwkwardServer(answers) as two,
        AwkwardServer(answers) as three,
        pinned("native", max_connections=2) as client,
    ):
        for place in (one, two, one, three, one):
            assert lane_of(client, place.url) == "native"
            (pool,) = client.pools.values()
            assert pool.connections <= 2
        assert [len(place.peers) for place in (one, two, three)] == [1, 1, 1]
        fetch(client, two.url)
        assert len(two.peers) == 2


def test_a_connection_is_used_again_last_in_first_out() -> None:
    together = threading.Barrier(5)

    def answers(peer: Peer) -> None:
        peer.read_request()
        together.wait(LIMIT)
        while True:
            peer.answer(b"here")
            peer.read_request()

    with AwkwardServer(answers) as server, pinned("native") as client:
        tasks = [client.request(url=server.url) for _ in range(5)]
        for task in tasks:
            task.result(LIMIT)
        again = [fetch(client, server.url).profile for _ in range(5)]
        (pool,) = client.pools.values()
        assert pool.connections == 5
        assert all(profile.socketReused for profile in again)


def test_a_dead_connection_costs_one_more_and_a_post_is_not_sent_twice() -> None:
    def leaves(peer: Peer) -> None:
        peer.read_request()
        peer.answer(b"first")
        peer.read_request()  # and breaks off

    with AwkwardServer(leaves) as server, pinned("native") as client:
        assert fetch(client, server.url).data == "first"
        assert fetch(client, server.url).data == "first"
        assert len(server.peers) == 2
        with pytest.raises(ft.FtError, match="a POST is not sent twice"):
            fetch(client, server.url, method="POST", data="x")
