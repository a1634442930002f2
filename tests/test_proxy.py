"""Proxies: http, https and SOCKS5 ones, who is sent through them, and what they are told."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import pytest

import ftnet as ft
from tests.drivers import ask, in_run
from tests.origins import failure, fetch
from tests.profiles import check_profile, in_order
from tests.servers.awkward import AwkwardServer, Peer, closed_port
from tests.servers.proxies import PASSWORD, USER

LOGIN = f"{USER}:{quote(PASSWORD)}"


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


def with_login(url: str, login: str = LOGIN) -> str:
    return url.replace("//", f"//{login}@")


# --- http proxies ---------------------------------------------------------------------------------


def test_http_goes_through_an_http_proxy(http_proxy: Any, server: Any) -> None:
    with ft.Client(proxy=http_proxy.url, trust_env=False) as client:
        response = fetch(client, f"{server.http}/echo", method="POST", data={"a": 1})
        headers = dict(response.data["headers"])
        assert http_proxy.name in headers["via"]
        assert response.data["body_text"] == '{"a":1}'
        assert "proxy-connection" not in headers
        profile = check_profile(response, reused=False, tls=False, protocol="http/1.1")
        assert (profile.peerIP, profile.port) == ("127.0.0.1", http_proxy.port)
        for _ in range(20):  # tinyproxy closes after each answer without saying so
            check_profile(fetch(client, f"{server.http}/echo"), tls=False)


@pytest.mark.parametrize("way", ["https", "h2"])
def test_https_goes_through_a_tunnel(http_proxy: Any, nginx: Any, way: str) -> None:
    url = getattr(nginx, way)
    before = http_proxy.tunnels_to(url)
    with ft.Client(ca=nginx.ca, proxy=http_proxy.url, trust_env=False) as client:
        for reused in (False, True):
            response = fetch(client, f"{url}/seen")
            assert response.data["scheme"] == "https"
            profile = check_profile(
                response,
                reused=reused,
                tls=True,
                protocol="h2" if way == "h2" else "http/1.1",
            )
            assert profile.port == http_proxy.port
        assert http_proxy.tunnels_to(url) == before + 1


def test_a_tunnel_counts_as_part_of_connecting(http_proxy: Any, nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, proxy=http_proxy.url, trust_env=False) as client:
        profile = check_profile(fetch(client, f"{nginx.https}/seen"), tls=True)
    in_order(profile, ("connectStart", "SSLconnectionStart", "SSLconnectionEnd", "connectEnd"))


def test_what_a_tunnel_takes_is_not_counted(http_proxy: Any, nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, proxy=http_proxy.url, trust_env=False) as client:
        first, second = (fetch(client, f"{nginx.https}/hello") for _ in range(2))
    assert (first.profile.socketReused, second.profile.socketReused) == (False, True)
    for response in (first, second):
        size = len(response.header.raw) + len(response.data)
        assert response.profile.receivedBytedCount == size


def test_the_answer_to_connect_is_not_the_response(http_proxy: Any, nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, proxy=http_proxy.url, trust_env=False) as client:
        _, history = in_run(lambda: ask(client, f"{nginx.https}/hello"))
    assert history.response().header["content-type"] == "text/plain"
    heard = [event for name, event in history.events if name == "headers"]
    assert [event.header["content-type"] for event in heard] == ["text/plain"]


def test_a_certificate_is_checked_through_a_tunnel_too(http_proxy: Any, nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, proxy=http_proxy.url, trust_env=False) as client:
        assert failure(client, f"{nginx.untrusted}/seen").errno == ft.Errno.TLS


@pytest.mark.parametrize("way", ["http", "https"])
def test_user_and_password_are_for_the_proxy_alone(login_proxy: Any, server: Any, way: str) -> None:
    with ft.Client(ca=server.ca, proxy=with_login(login_proxy.url), trust_env=False) as client:
        response = fetch(client, f"{getattr(server, way)}/echo")
    headers = dict(response.data["headers"])
    assert not {"proxy-authorization", "authorization"} & headers.keys()


def test_without_a_login_the_proxys_407_is_the_response(login_proxy: Any, server: Any) -> None:
    with ft.Client(proxy=login_proxy.url, trust_env=False) as client:
        assert fetch(client, f"{server.http}/echo").statusCode == 407


@pytest.mark.parametrize("login", ["", "mercury:wrong"])
def test_a_tunnel_that_the_proxy_refuses_fails(login_proxy: Any, nginx: Any, login: str) -> None:
    proxy = with_login(login_proxy.url, login) if login else login_proxy.url
    with ft.Client(ca=nginx.ca, proxy=proxy, trust_env=False) as client:
        error = failure(client, f"{nginx.https}/seen")
    assert error.errno == ft.Errno.PROXY
    assert re.search("40[17]", error.errMsg)  # tinyproxy's 401 is for a wrong login
    assert "wrong" not in error.errMsg
    assert error.profile.requestStart == 0


def test_a_proxy_that_is_not_there_fails(nginx: Any) -> None:
    with (
        closed_port() as port,
        ft.Client(proxy=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        for url in (f"{nginx.http}/seen", f"{nginx.https}/seen"):
            error = failure(client, url)
            assert error.errno == ft.Errno.PROXY
            assert error.profile.connectEnd == 0


def test_the_name_of_a_proxy_that_does_not_exist_fails(nginx: Any) -> None:
    with ft.Client(proxy="http://no-such-proxy.invalid:3128", trust_env=False) as client:
        error = failure(client, f"{nginx.http}/seen")
    assert error.errno == ft.Errno.PROXY


def test_a_tunnel_to_a_closed_port_fails(http_proxy: Any) -> None:
    with (
        closed_port() as port,
        ft.Client(proxy=http_proxy.url, trust_env=False) as client,
    ):
        error = failure(client, f"https://127.0.0.1:{port}/")
    assert error.errno == ft.Errno.PROXY


def test_an_https_proxy_is_spoken_to_over_tls(
    https_proxy: Any, nginx: Any, server: Any, certificates: Any
) -> None:
    before = https_proxy.connections
    with ft.Client(ca=nginx.ca, proxy=https_proxy.url, trust_env=False) as client:
        response = fetch(client, f"{server.http}/echo")
        assert "via" in dict(response.data["headers"])
        assert fetch(client, f"{nginx.https}/seen").data["scheme"] == "https"
    assert https_proxy.connections > before


def test_the_certificate_of_an_https_proxy_is_checked(https_proxy: Any, server: Any) -> None:
    with ft.Client(ca=server.ca, proxy=https_proxy.url, trust_env=False) as client:
        error = failure(client, f"{server.http}/echo")
    assert error.errno == ft.Errno.TLS
    assert error.cause is not None
    assert "certificate" in error.cause.text


# --- SOCKS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("way", ["http", "https", "h2"])
def test_requests_go_through_a_socks_proxy(
    socks_proxy: Any, nginx: Any, scheme: str, way: str
) -> None:
    url = getattr(nginx, way)
    netloc = url.partition("//")[2]
    before = socks_proxy.connections_to(netloc)
    proxy = f"{scheme}://{socks_proxy.address}"
    with ft.Client(ca=nginx.ca, proxy=proxy, trust_env=False) as client:
        for reused in (False, True):
            response = fetch(client, f"{url}/seen")
            check_profile(response, reused=reused, tls=way != "http")
    assert socks_proxy.connections_to(netloc) == before + 1


def test_socks5h_leaves_the_name_to_the_proxy(socks_proxy: Any, nginx: Any) -> None:
    url = nginx.http.replace("127.0.0.1", "localhost")
    for scheme, asked in (("socks5h", "localhost"), ("socks5", "127.0.0.1")):
        netloc = f"{asked}:{port_of(nginx.http)}"
        before = socks_proxy.connections_to(netloc)
        proxy = f"{scheme}://{socks_proxy.address}"
        resolve = {f"localhost:{port_of(nginx.http)}": "127.0.0.1"}
        if scheme == "socks5h":
            resolve = {}
        with ft.Client(proxy=proxy, resolve=resolve, trust_env=False) as client:
            assert fetch(client, f"{url}/hello").data == "Hello, World!"
        assert socks_proxy.connections_to(netloc) == before + 1, scheme


def test_a_socks_proxy_may_want_a_login(login_socks_proxy: Any, nginx: Any) -> None:
    proxy = f"socks5h://{LOGIN}@{login_socks_proxy.address}"
    with ft.Client(proxy=proxy, trust_env=False) as client:
        assert fetch(client, f"{nginx.http}/hello").data == "Hello, World!"


def test_a_socks_proxy_that_refuses_the_login_fails(login_socks_proxy: Any, nginx: Any) -> None:
    for login in ("", "mercury:wrong@"):
        proxy = f"socks5h://{login}{login_socks_proxy.address}"
        with ft.Client(proxy=proxy, trust_env=False) as client:
            error = failure(client, f"{nginx.http}/hello")
        assert error.errno == ft.Errno.PROXY
        assert "wrong" not in error.errMsg
        assert error.profile.requestStart == 0


def test_a_socks_proxy_that_cannot_connect_fails(socks_proxy: Any) -> None:
    with (
        closed_port() as port,
        ft.Client(proxy=f"socks5h://{socks_proxy.address}", trust_env=False) as client,
    ):
        assert failure(client, f"http://127.0.0.1:{port}/").errno == ft.Errno.PROXY


# --- which requests take the proxy ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("127.0.0.1", True),
        ("localhost,127.0.0.1", True),
        ("*", True),
        ("127.0.0.0/8", True),
        ("localhost", False),
        ("10.0.0.0/8", False),
        ("", False),
    ],
)
def test_no_proxy_names_the_hosts_that_are_asked_directly(
    http_proxy: Any, server: Any, no_proxy: str, direct: bool
) -> None:
    with ft.Client(proxy=http_proxy.url, no_proxy=no_proxy, trust_env=False) as client:
        headers = dict(fetch(client, f"{server.http}/echo").data["headers"])
    assert ("via" not in headers) is direct


@pytest.mark.parametrize(
    ("variables", "settings", "proxied"),
    [
        ({"http_proxy": "{proxy}"}, "", True),
        ({"all_proxy": "{proxy}"}, "", True),
        ({"ALL_PROXY": "{proxy}"}, "", True),
        ({"HTTP_PROXY": "{proxy}"}, "", False),  # CVE-2016-5385: a CGI header may set it
        ({"https_proxy": "{proxy}"}, "", False),
        ({"http_proxy": "{proxy}", "no_proxy": "127.0.0.1"}, "", False),
        ({"http_proxy": "{proxy}", "NO_PROXY": "127.0.0.1"}, "", False),
        ({"http_proxy": "{proxy}"}, "trust_env=False", False),
        ({"http_proxy": "{proxy}"}, "proxy='{proxy}', no_proxy='*'", False),
        ({"http_proxy": "http://127.0.0.1:1"}, "proxy='{proxy}'", True),
        ({"no_proxy": "*"}, "proxy='{proxy}', trust_env=False", True),
        ({}, "", False),
    ],
)
def test_the_environment_names_a_proxy(
    http_proxy: Any, server: Any, variables: dict[str, str], settings: str, proxied: bool
) -> None:
    script = (
        "import sys, ftnet as ft\n"
        f"with ft.Client({settings.format(proxy=http_proxy.url)}) as client:\n"
        "    data = client.request(url=sys.argv[1]).result(20).data\n"
        "    print('via' in dict(data['headers']))\n"
    )
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {name: value.format(proxy=http_proxy.url) for name, value in variables.items()}
    done = subprocess.run(
        [sys.executable, "-c", script, f"{server.http}/echo"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == f"{proxied}\n", done.stderr


def test_the_proxys_login_is_sent_as_basic_and_hidden_from_messages() -> None:
    heads: list[bytes] = []

    def refuses(peer: Peer) -> None:
        heads.append(peer.read_head())
        peer.answer(b"", status="403 Forbidden")

    with AwkwardServer(refuses) as raw:
        proxy = with_login(raw.url, "us%40er:p%3Aw")
        with ft.Client(proxy=proxy, trust_env=False) as client:
            error = failure(client, "https://origin.test/")
    sent = base64.b64encode(b"us@er:p:w")
    assert b"Proxy-Authorization: Basic " + sent in heads[0]
    assert b"CONNECT origin.test:443 HTTP/1.1" in heads[0]
    assert error.errno == ft.Errno.PROXY
    assert not any(secret in repr(error) for secret in ("p:w", "p%3Aw", sent.decode()))
