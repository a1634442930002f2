"""HTTP/1.1, h2 and h3 against the servers that people run: nginx, caddy, hypercorn."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import in_run
from tests.origins import LIMIT, failure, fetch
from tests.profiles import check_profile
from tests.servers.awkward import AwkwardServer, Peer
from tests.servers.behaviours import answers
from tests.servers.caddy import FILE_SIZE

OLD = {"enableHttp2": False}
VERSIONS = [  # http_version of the Client, options of the request, protocol
    (None, {}, "h2"),
    (None, OLD, "http/1.1"),
    (None, {"enableHttp2": True}, "h2"),
    ("1.1", {}, "http/1.1"),
    ("2", {}, "h2"),
    ("2", OLD, "http/1.1"),
    ("3", {}, "quic"),
    ("3-only", {}, "quic"),
    (None, {"enableQuic": True}, "quic"),
    ("1.1", {"enableQuic": True}, "quic"),
]
OF_CADDY = {"http/1.1": "HTTP/1.1", "h2": "HTTP/2.0", "quic": "HTTP/3.0"}


# --- which version --------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "options", "protocol"), VERSIONS)
def test_caddy_is_spoken_to_in_the_version_asked_for(
    caddy: Any, version: str | None, options: dict[str, Any], protocol: str
) -> None:
    with ft.Client(ca=caddy.ca, http_version=version, trust_env=False) as client:
        response = fetch(client, f"{caddy.https}/seen", **options)
        assert response.data["protocol"] == OF_CADDY[protocol]
        check_profile(response, reused=False, tls=True, protocol=protocol)
        response = fetch(client, f"{caddy.https}/seen", **options)
        check_profile(response, reused=True, tls=True, protocol=protocol)


@pytest.mark.parametrize(
    ("version", "options", "protocol"), [row for row in VERSIONS if row[2] != "quic"]
)
def test_nginx_is_spoken_to_in_the_version_asked_for(
    nginx: Any, version: str | None, options: dict[str, Any], protocol: str
) -> None:
    with ft.Client(ca=nginx.ca, http_version=version, trust_env=False) as client:
        response = fetch(client, f"{nginx.h2}/seen", **options)
        assert response.data["protocol"] == {"h2": "HTTP/2.0"}.get(protocol, "HTTP/1.1")
        assert response.data["alpn"] == protocol
        check_profile(response, reused=False, tls=True, protocol=protocol)


@pytest.mark.parametrize("version", ["1.1", "2", "3", "3-only"])
def test_hypercorn_answers_in_every_version(hypercorn: Any, version: str) -> None:
    with ft.Client(ca=hypercorn.ca, http_version=version, trust_env=False) as client:
        for _ in range(3):
            data = fetch(client, f"{hypercorn.https}/echo", method="POST", data="hello").data
            assert data["http_version"] == version[0].replace("1", "1.1")
            assert data["body_text"] == "hello"


def test_a_server_without_h2_is_spoken_to_in_1_1(nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, http_version="2", trust_env=False) as client:
        response = fetch(client, f"{nginx.https}/seen")
    assert response.data["alpn"] == "http/1.1"
    check_profile(response, tls=True, protocol="http/1.1")


@pytest.mark.parametrize("version", [None, "1.1", "2", "3"])
def test_without_tls_it_is_1_1(nginx: Any, version: str | None) -> None:
    with ft.Client(http_version=version, trust_env=False) as client:
        response = fetch(client, f"{nginx.http}/seen")
    assert response.data["protocol"] == "HTTP/1.1"
    check_profile(response, tls=False, protocol="http/1.1")


def test_h2_without_tls_needs_prior_knowledge(nginx: Any) -> None:
    with ft.Client(http_version="2-prior-knowledge", trust_env=False) as client:
        for reused in (False, True):
            response = fetch(client, f"{nginx.h2c}/seen")
            assert response.data["protocol"] == "HTTP/2.0"
            check_profile(response, reused=reused, tls=False, protocol="h2")


@pytest.mark.parametrize("options", [{"enableQuic": True}, {}], ids=["enableQuic", "version 3"])
def test_h3_falls_back_where_no_udp_answers(nginx: Any, options: dict[str, Any]) -> None:
    version = None if options else "3"
    with ft.Client(ca=nginx.ca, http_version=version, trust_env=False) as client:
        response = fetch(client, f"{nginx.h2}/seen", **options)
        check_profile(response, reused=False, tls=True, protocol="h2")


def test_h3_only_fails_where_no_udp_answers(nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, http_version="3-only", trust_env=False) as client:
        error = failure(client, f"{nginx.h2}/seen", timeout=5000)
    assert error.errno == ft.Errno.CONNECT


def test_one_client_speaks_all_versions_to_one_server(caddy: Any) -> None:
    with ft.Client(ca=caddy.ca, trust_env=False) as client:
        for _ in range(3):
            for options, protocol in (
                ({"enableHttp2": True}, "h2"),
                (OLD, "http/1.1"),
                ({"enableQuic": True}, "quic"),
            ):
                response = fetch(client, f"{caddy.https}/seen", **options)
                assert response.data["protocol"] == OF_CADDY[protocol]
                assert response.profile.protocol == protocol


# --- many at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2", "3-only"])
def test_many_streams_share_one_connection_and_keep_apart(caddy: Any, version: str) -> None:
    with ft.Client(ca=caddy.ca, http_version=version, trust_env=False) as client:
        port = fetch(client, f"{caddy.https}/seen").data["port"]
        numbers = range(80)
        tasks = [
            client.request(url=f"{caddy.behind}/echo", method="POST", data=str(number) * 500)
            for number in numbers
        ]
        bodies = [task.result(LIMIT).data["body_text"] for task in tasks]
        assert bodies == [str(number) * 500 for number in numbers]
        tasks = [client.request(url=f"{caddy.https}/seen") for _ in range(50)]
        assert {task.result(LIMIT).data["port"] for task in tasks} == {port}


def test_http_1_1_takes_a_connection_for_each(nginx: Any) -> None:
    with ft.Client(trust_env=False) as client:
        path = nginx.serve_file("piece.bin", bytes(60_000))
        tasks = in_run(lambda: [client.request(url=f"{nginx.http}/slow{path}") for _ in range(5)])
        assert {task.result(LIMIT).profile.socketReused for task in tasks} == {False}


@pytest.mark.parametrize("version", ["1.1", "2", "3-only"])
def test_a_large_file_arrives_whole(caddy: Any, version: str) -> None:
    with ft.Client(ca=caddy.ca, http_version=version, trust_env=False) as client:
        tasks = [
            client.request(url=f"{caddy.https}/file.bin", responseType="arraybuffer")
            for _ in range(5)
        ]
        for task in tasks:
            data = task.result(LIMIT).data
            assert len(data) == FILE_SIZE
            assert hashlib.sha256(data).digest() == hashlib.sha256(caddy.file).digest()


@pytest.mark.parametrize("version", ["1.1", "2", "3-only"])
def test_large_bodies_both_ways_at_once(caddy: Any, version: str) -> None:
    body = bytes(range(256)) * 8000
    expected = {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    with ft.Client(ca=caddy.ca, http_version=version, trust_env=False) as client:
        tasks = [
            client.request(url=f"{caddy.behind}/upload", method="POST", data=body) for _ in range(6)
        ]
        assert [task.result(LIMIT).data for task in tasks] == [expected] * 6


@pytest.mark.parametrize("version", ["1.1", "2", "3-only"])
def test_an_aborted_stream_leaves_the_others_alone(caddy: Any, version: str) -> None:
    with ft.Client(ca=caddy.ca, http_version=version, trust_env=False) as client:
        url = f"{caddy.behind}/stream/20/20000?interval=5"

        def start() -> list[ft.RequestTask]:
            tasks = [client.request(url=url, responseType="arraybuffer") for _ in range(8)]
            for task in tasks[::2]:
                task.onHeadersReceived(lambda _, task=task: task.abort())
            return tasks

        tasks = in_run(start)
        for task in tasks[1::2]:
            assert len(task.result(LIMIT).data) == 400_000
        for task in tasks[::2]:
            with pytest.raises(ft.FtError, match="abort"):
                task.result(LIMIT)


# --- connections of HTTP/1.1 ----------------------------------------------------------------------


def test_connection_close_is_honoured(plain: ft.Client) -> None:
    def answers_and_closes(peer: Peer) -> None:
        peer.read_request()
        peer.answer(b"bye", "Connection: close")
        peer.until_gone()

    with AwkwardServer(answers_and_closes) as raw:
        for _ in range(3):
            response = fetch(plain, raw.url)
            assert response.data == "bye"
            check_profile(response, reused=False, tls=False)
        assert len(raw.peers) == 3


def test_a_body_that_ends_with_the_connection_is_taken(plain: ft.Client) -> None:
    def until_close(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"to the end " * 1000)

    with AwkwardServer(until_close) as raw:
        assert fetch(plain, raw.url).data == "to the end " * 1000


def test_http_1_0_is_understood(plain: ft.Client) -> None:
    def old(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold")

    with AwkwardServer(old) as raw:
        response = fetch(plain, raw.url)
    assert response.data == "old"
    assert response.profile.protocol == "unknown"


def test_trailers_end_a_chunked_body(plain: ft.Client) -> None:
    def trailing(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                b"5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n"
            )

    with AwkwardServer(trailing) as raw:
        for reused in (False, True):
            response = fetch(plain, raw.url)
            assert response.data == "hello"
            check_profile(response, reused=reused)


def test_requests_carry_one_host_and_no_needless_fields(plain: ft.Client) -> None:
    with AwkwardServer(answers) as raw:
        fetch(plain, f"{raw.url}/path?q=1")
        (request,) = raw.requests
    assert request.head.startswith(b"GET /path?q=1 HTTP/1.1\r\n")
    names = [name for name, _ in request.fields]
    assert names.count("host") == 1
    assert request.get("host") == raw.authority
    assert not {"upgrade", "http2-settings", "expect", "connection", "transfer-encoding"} & set(
        names
    )
