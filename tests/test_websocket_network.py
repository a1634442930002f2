"""WebSocket on the network: TLS and whom it trusts, proxies, addresses, time limits, pings."""

from __future__ import annotations

import contextlib
import os
import socket as python_socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import ftnet as ft
from tests.processes import run_script
from tests.servers.awkward import AwkwardServer, closed_port
from tests.servers.behaviours import silent
from tests.servers.certs import Certificates
from tests.servers.dns import HERE, NOWHERE
from tests.servers.proxies import PASSWORD, USER
from tests.servers.websocket import WebSocketServer, frames_in, relaying, serving, tls_context
from tests.sockets import LIMIT, Story, closed, echoes, failure, opened, socket, until

WRONG = ["expired", "other_name", "untrusted"]
WAYS = ["ws", "wss"]
LOGIN = f"{USER}:{quote(PASSWORD)}"
PING = 0x89
PATIENT = 1000  # ms between pings; a server that stands still for a while is not taken for dead


@pytest.fixture
def wrong(
    request: pytest.FixtureRequest, socket_loop: Any, certificates: Certificates
) -> Iterator[WebSocketServer]:
    """A server with a certificate that is not right."""
    pair = getattr(certificates, request.param)
    with serving(socket_loop, tls=tls_context(pair)) as server:
        yield server


@pytest.fixture
def both(sockets: Any, secure_sockets: Any) -> dict[str, Any]:
    """The servers by scheme."""
    return {"ws": sockets, "wss": secure_sockets}


def check_echo(client: ft.Client, url: str, **options: Any) -> ft.SocketProfile:
    task, story = echoes(client, url + "/echo", ["a", b"b"], **options)
    assert task.wait_closed(LIMIT).code == 1000
    story.end()
    assert story.messages == ["a", b"b"]
    profile: ft.SocketProfile = story.of("open")[0].profile
    return profile


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


# --- TLS ------------------------------------------------------------------------------------------


def test_a_certificate_of_a_trusted_authority_is_accepted(
    secure_sockets: Any, certificates: Certificates
) -> None:
    with ft.Client(ca=str(certificates.ca), trust_env=False) as client:
        profile = check_echo(client, secure_sockets.url)
    assert 0 < profile.SSLconnectionStart < profile.SSLconnectionEnd
    assert profile.handshakeCost > profile.SSLconnectionEnd - profile.SSLconnectionStart


@pytest.mark.parametrize("wrong", WRONG, indirect=True)
def test_a_wrong_certificate_is_refused(wrong: WebSocketServer, certificates: Certificates) -> None:
    with ft.Client(ca=str(certificates.ca), trust_env=False) as client:
        error = failure(client, wrong.url)
    assert error.errno == ft.Errno.TLS == 600011
    assert error.cause is not None
    assert error.cause.name == "CURLE_PEER_FAILED_VERIFICATION"
    assert error.profile.SSLconnectionStart > 0
    assert error.profile.SSLconnectionEnd == 0
    assert wrong.peers == []


def test_an_authority_nobody_told_about_is_not_trusted(
    plain: ft.Client, secure_sockets: Any
) -> None:
    assert failure(plain, secure_sockets.url).errno == ft.Errno.TLS


def test_the_authorities_are_read_once_for_all_connections(
    secure_sockets: Any, certificates: Certificates, tmp_path: Path
) -> None:
    bundle = tmp_path / "authorities.pem"
    bundle.write_bytes(Path(certificates.ca).read_bytes())
    with ft.Client(ca=str(bundle), trust_env=False) as client:
        check_echo(client, secure_sockets.url)
        bundle.unlink()
        check_echo(client, secure_sockets.url)


def test_authorities_that_cannot_be_read_are_said_to_be_the_failure(
    secure_sockets: Any, tmp_path: Path
) -> None:
    bundle = tmp_path / "authorities.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
    with ft.Client(ca=str(bundle), trust_env=False) as client:
        error = failure(client, secure_sockets.url)
    assert error.errno == ft.Errno.TLS
    assert "CA certificates cannot be read" in error.errMsg


@pytest.mark.parametrize("wrong", WRONG, indirect=True)
def test_without_verification_any_certificate_will_do(wrong: WebSocketServer) -> None:
    with ft.Client(verify=False, trust_env=False) as client:
        check_echo(client, wrong.url)


def test_a_client_shows_its_certificate(socket_loop: Any, certificates: Certificates) -> None:
    pair = certificates.client
    with (
        serving(socket_loop, tls=tls_context(certificates.good, certificates.ca)) as server,
        ft.Client(
            ca=str(certificates.ca), cert=str(pair.chain), key=str(pair.key), trust_env=False
        ) as client,
    ):
        check_echo(client, server.url)
        shown = server.peer().connection.transport.get_extra_info("peercert")
    assert ("DNS", "client@ftnet.test") in shown["subjectAltName"] or shown["subjectAltName"]


@pytest.mark.parametrize("shown", [None, "stranger"])
def test_without_the_right_certificate_the_server_refuses(
    socket_loop: Any, certificates: Certificates, shown: str | None
) -> None:
    settings: dict[str, Any] = {"ca": str(certificates.ca)}
    if shown:
        settings |= {"cert": str(certificates.stranger.chain), "key": certificates.stranger.key}
    with (
        serving(socket_loop, tls=tls_context(certificates.good, certificates.ca)) as server,
        ft.Client(**settings, trust_env=False) as client,
    ):
        error = failure(client, server.url)
        assert server.peers == []
    assert error.errno in (ft.Errno.TLS, ft.Errno.INTERRUPTED)  # TLS 1.3 tells it behind the end


def test_a_client_logs_its_tls_secrets(
    secure_sockets: Any, certificates: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "keys.log"
    with ft.Client(ca=str(certificates.ca), keylog_file=str(path), trust_env=False) as client:
        check_echo(client, secure_sockets.url)
    lines = path.read_text().splitlines()
    assert any(line.startswith("CLIENT_TRAFFIC_SECRET_0 ") for line in lines)


def test_plain_where_tls_was_expected_is_a_tls_failure(plain: ft.Client, sockets: Any) -> None:
    assert failure(plain, sockets.url.replace("ws:", "wss:")).errno == ft.Errno.TLS


def test_tls_where_none_was_expected_is_no_answer(plain: ft.Client, secure_sockets: Any) -> None:
    error = failure(plain, secure_sockets.url.replace("wss:", "ws:"))
    assert error.errno in (ft.Errno.PROTOCOL, ft.Errno.INTERRUPTED)


def test_large_messages_go_through_tls_both_ways_at_once(
    secure_sockets: Any, certificates: Certificates
) -> None:
    with ft.Client(ca=str(certificates.ca), max_buffered_bytes=None, trust_env=False) as client:
        task, story = opened(client, secure_sockets.url + "/echo")
        sent = [bytes([number]) * (1 << 20) for number in range(16)]
        for message in sent:
            task.send(data=message)
        story.until("message", len(sent))
        assert story.messages == sent
        closed(task)


# --- proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_an_http_proxy_is_tunnelled_through(
    http_proxy: Any, both: dict[str, Any], certificates: Certificates, way: str
) -> None:
    url = both[way].url
    before = http_proxy.tunnels_to(url)
    with ft.Client(ca=str(certificates.ca), proxy=http_proxy.url, trust_env=False) as client:
        profile = check_echo(client, url)
    assert http_proxy.tunnels_to(url) == before + 1
    assert (profile.peerIP, profile.port) == ("127.0.0.1", http_proxy.port)


@pytest.mark.parametrize("way", WAYS)
def test_an_https_proxy_is_spoken_to_over_tls(
    https_proxy: Any, both: dict[str, Any], certificates: Certificates, way: str
) -> None:
    before = https_proxy.connections
    with ft.Client(ca=str(certificates.ca), proxy=https_proxy.url, trust_env=False) as client:
        check_echo(client, both[way].url)
    assert https_proxy.connections == before + 1


def test_the_certificate_of_an_https_proxy_is_checked(https_proxy: Any, sockets: Any) -> None:
    with ft.Client(proxy=https_proxy.url, trust_env=False) as client:
        assert failure(client, sockets.url).errno == ft.Errno.TLS


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("way", WAYS)
def test_a_socks_proxy_is_gone_through(
    socks_proxy: Any, both: dict[str, Any], certificates: Certificates, scheme: str, way: str
) -> None:
    netloc = both[way].netloc
    before = socks_proxy.connections_to(netloc)
    proxy = f"{scheme}://{socks_proxy.address}"
    with ft.Client(ca=str(certificates.ca), proxy=proxy, trust_env=False) as client:
        check_echo(client, both[way].url)
    assert socks_proxy.connections_to(netloc) == before + 1


@pytest.mark.parametrize("way", WAYS)
def test_user_and_password_are_for_the_proxy_alone(
    login_proxy: Any, both: dict[str, Any], certificates: Certificates, way: str
) -> None:
    proxy = login_proxy.url.replace("//", f"//{LOGIN}@")
    with ft.Client(ca=str(certificates.ca), proxy=proxy, trust_env=False) as client:
        check_echo(client, both[way].url)
    header = both[way].peer().header
    assert "Authorization" not in header
    assert "Proxy-Authorization" not in header


def test_a_socks_proxy_may_want_a_login(login_socks_proxy: Any, sockets: Any) -> None:
    proxy = f"socks5h://{LOGIN}@{login_socks_proxy.address}"
    with ft.Client(proxy=proxy, trust_env=False) as client:
        check_echo(client, sockets.url)


@pytest.mark.parametrize("login", ["", f"{USER}:wrong@"])
def test_a_proxy_that_refuses_fails(
    login_proxy: Any, login_socks_proxy: Any, sockets: Any, login: str
) -> None:
    for proxy in (
        login_proxy.url.replace("//", f"//{login}"),
        f"socks5h://{login}{login_socks_proxy.address}",
    ):
        with ft.Client(proxy=proxy, trust_env=False) as client:
            error = failure(client, sockets.url)
        assert error.errno == ft.Errno.PROXY
        assert "wrong" not in error.errMsg
        assert error.profile.handshakeCost == 0
    assert sockets.peers == []


def test_a_proxy_that_is_not_there_fails(sockets: Any) -> None:
    with (
        closed_port() as port,
        ft.Client(proxy=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        assert failure(client, sockets.url).errno == ft.Errno.PROXY


def test_a_tunnel_to_a_closed_port_fails(http_proxy: Any, socks_proxy: Any) -> None:
    for proxy in (http_proxy.url, f"socks5h://{socks_proxy.address}"):
        with closed_port() as port, ft.Client(proxy=proxy, trust_env=False) as client:
            assert failure(client, f"ws://127.0.0.1:{port}/").errno == ft.Errno.PROXY


def test_no_proxy_names_the_hosts_that_are_asked_directly(http_proxy: Any, sockets: Any) -> None:
    before = http_proxy.tunnels_to(sockets.url)
    settings = {"proxy": http_proxy.url, "no_proxy": "127.0.0.1", "trust_env": False}
    with ft.Client(**settings) as client:
        profile = check_echo(client, sockets.url)
    assert profile.port == sockets.port
    assert http_proxy.tunnels_to(sockets.url) == before


@pytest.mark.parametrize(
    ("way", "variable", "proxied"),
    [
        ("ws", "http_proxy", True),
        ("wss", "https_proxy", True),
        ("ws", "all_proxy", True),
        ("ws", "https_proxy", False),
        ("ws", "HTTP_PROXY", False),
    ],
)
def test_the_environment_names_a_proxy(
    http_proxy: Any,
    both: dict[str, Any],
    certificates: Certificates,
    way: str,
    variable: str,
    proxied: bool,
) -> None:
    source = """
        import os
        import sys
        os.environ[sys.argv[3]] = sys.argv[4]
        import ftnet as ft
        with ft.Client(ca=sys.argv[2]) as client:
            task = client.connectSocket(url=sys.argv[1])
            print(task.wait_opened(10).profile.port)
            task.close()
            task.wait_closed(10)
    """
    url = both[way].url
    (port,) = run_script(source, url, str(certificates.ca), variable, http_proxy.url)
    assert int(port) == (http_proxy.port if proxied else both[way].port)


# --- names, addresses, connections ----------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_resolve_overrides_the_address_of_a_name(
    both: dict[str, Any], certificates: Certificates, way: str
) -> None:
    place = f"ws.ftnet.test:{both[way].port}"
    settings: dict[str, Any] = {"resolve": {place: "127.0.0.1"}, "trust_env": False}
    with ft.Client(ca=str(certificates.ca), **settings) as client:
        profile = check_echo(client, f"{way}://{place}")
    assert profile.peerIP == "127.0.0.1"
    assert both[way].peer().header["Host"] == place


def test_names_are_looked_up_by_dns_over_https(
    dns: Any, sockets: Any, certificates: Certificates
) -> None:
    settings: dict[str, Any] = {"doh_url": dns.doh_url, "trust_env": False}
    with ft.Client(ca=str(certificates.ca), **settings) as client:
        profile = check_echo(client, f"ws://{HERE}:{sockets.port}")
        assert profile.domainLookUpEnd > profile.domainLookUpStart
        error = failure(client, f"ws://{NOWHERE}:{sockets.port}")
    assert error.errno == ft.Errno.DNS
    assert error.profile.connectStart == 0


def test_a_name_that_does_not_exist_fails(plain: ft.Client) -> None:
    assert failure(plain, "ws://no-such-host.invalid/").errno == ft.Errno.DNS


def test_a_closed_port_fails(plain: ft.Client) -> None:
    with closed_port() as port:
        error = failure(plain, f"ws://127.0.0.1:{port}/")
    assert error.errno == ft.Errno.CONNECT
    assert "connection refused" in error.errMsg
    assert error.profile.connectStart > 0
    assert error.profile.connectEnd == 0


def test_an_ipv6_address_is_connected_to(plain: ft.Client, socket_loop: Any) -> None:
    try:
        server = WebSocketServer(socket_loop, host="::1")
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    try:
        profile = check_echo(plain, server.url)
        assert profile.peerIP == "::1"
        assert server.peer().header["Host"] == server.netloc
    finally:
        server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="all of 127/8 is here on Linux only")
def test_sockets_leave_from_the_interface(sockets: Any) -> None:
    with ft.Client(interface="127.0.0.9", trust_env=False) as client:
        _, story = opened(client, sockets.url + "/told")
        assert '"client": "127.0.0.9"' in story.until("message").data
        assert sockets.peer().connection.remote_address[0] == "127.0.0.9"


def nodelay_to(port: int) -> bool:
    """TCP_NODELAY of this process's own connection to that port."""
    option = python_socket.IPPROTO_TCP, python_socket.TCP_NODELAY
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), python_socket.socket(fileno=copy(int(name))) as found:
            inet = found.family in (python_socket.AF_INET, python_socket.AF_INET6)
            if inet and found.getpeername()[1] == port:
                return bool(found.getsockopt(*option))
    raise AssertionError(f"no connection to port {port}")


def copy(fd: int) -> int:
    """Another descriptor of the same socket; OSError when it is none."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        raise OSError("no socket")
    return os.dup(fd)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks into /proc")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("given", "expected"), [(None, False), (False, False), (True, True)])
def test_tcp_no_delay_is_set_or_not(
    both: dict[str, Any],
    certificates: Certificates,
    way: str,
    given: bool | None,
    expected: bool,
) -> None:
    with ft.Client(ca=str(certificates.ca), trust_env=False) as client:
        task, _ = opened(client, both[way].url, tcpNoDelay=given)
        assert nodelay_to(both[way].port) is expected
        closed(task)


# --- how long the opening may take ----------------------------------------------------------------


@pytest.mark.parametrize("by", ["option", "client"])
def test_an_opening_that_takes_too_long_is_a_timeout(by: str) -> None:
    settings: dict[str, Any] = {"timeout": 1500} if by == "client" else {}
    options: dict[str, Any] = {"timeout": 1500} if by == "option" else {}
    with AwkwardServer(silent) as server, ft.Client(**settings, trust_env=False) as client:
        begin = time.monotonic()
        pairs = [socket(client, f"{way}://{server.authority}/", **options) for way in WAYS]
        for _, story in pairs:
            story.end()
            assert 1.49 < time.monotonic() - begin < 10
    for _, story in pairs:
        assert story.names == ["error", "close"]
        (error,) = story.of("error")
        assert error.errMsg == "connectSocket:fail timeout"
        assert error.errno == ft.Errno.TIMEOUT == 5
        assert error.profile.connectStart > 0


def test_the_timeout_ends_with_the_opening(plain: ft.Client, sockets: Any) -> None:
    task, story = opened(plain, sockets.url + "/echo", timeout=1500)
    with pytest.raises(TimeoutError):
        task.wait_closed(1.6)
    task.send(data="still here")
    assert story.until("message").data == "still here"
    closed(task)


def test_an_answer_in_time_is_no_timeout(plain: ft.Client, sockets: Any) -> None:
    task, _ = socket(plain, sockets.url + "/late", timeout=LIMIT * 1000)
    with pytest.raises(TimeoutError):
        task.wait_opened(0.05)
    sockets.open_gate()
    task.wait_opened(LIMIT)
    assert closed(task).code == 1000


@pytest.mark.parametrize("status", [301, 302, 307, 401, 404, 500, 503, 200])
def test_any_status_but_101_is_a_failure_that_names_it(
    plain: ft.Client, sockets: Any, status: int
) -> None:
    error = failure(plain, f"{sockets.url}/status/{status}")
    assert error.errno == ft.Errno.PROTOCOL
    assert f"answered {status} " in error.errMsg
    assert f"refused with {status}" in error.errMsg  # the body


def test_a_server_that_knows_no_sockets_is_a_failure(plain: ft.Client, nginx: Any) -> None:
    error = failure(plain, nginx.http.replace("http:", "ws:") + "/hello")
    assert error.errno == ft.Errno.PROTOCOL
    assert "200 OK: Hello, World!" in error.errMsg


# --- pings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_pings_are_sent_and_timed(
    both: dict[str, Any], certificates: Certificates, way: str
) -> None:
    with ft.Client(ca=str(certificates.ca), trust_env=False) as client:
        task, story = opened(client, both[way].url + "/echo", pingInterval=PATIENT)
        until(lambda: task.latency > 0, "a ping is answered")
        assert task.latency < 5000
        task.send(data="x")
        story.until("message")
        assert closed(task).code == 1000


def test_pings_come_at_their_interval_and_none_without(
    plain: ft.Client, sockets: Any, socket_loop: Any
) -> None:
    with relaying(socket_loop, sockets.port) as often, relaying(socket_loop, sockets.port) as never:
        pinging, _ = opened(plain, often.url + "/echo", pingInterval=PATIENT)
        silent_one, _ = opened(plain, never.url + "/echo")
        until(
            lambda: [first for first, _ in frames_in(bytes(often.sent))].count(PING) >= 3,
            "three pings",
        )
        assert frames_in(bytes(never.sent)) == []
        assert silent_one.latency == 0
        payloads = [data for first, data in frames_in(bytes(often.sent)) if first == PING]
        assert len(set(payloads)) == len(payloads)
        closed(pinging)
        closed(silent_one)


def test_a_server_that_does_not_answer_pings_is_given_up(
    unbounded: ft.Client, socket_loop: Any
) -> None:
    with serving(socket_loop, max_queue=1) as server:
        task, story = opened(unbounded, server.url + "/gate", pingInterval=100)
        for _ in range(4):
            task.send(data=bytes(4 << 20))
        end = story.end()
    assert (end.code, end.reason) == (1006, "")
    (error,) = story.of("error")
    assert error.errno == ft.Errno.INTERRUPTED
    assert "no answer to a ping" in error.errMsg


def test_pings_keep_a_proxy_from_ending_an_idle_socket(
    plain: ft.Client, nginx_sockets: Any
) -> None:
    url = nginx_sockets.ws + "/impatient/echo"
    idle, idle_story = opened(plain, url)
    kept, kept_story = opened(plain, url, pingInterval=PATIENT)
    assert idle_story.end().code == 1006
    assert idle.readyState == ft.SocketTask.CLOSED
    with pytest.raises(TimeoutError):
        kept.wait_closed(1.0)
    kept.send(data="still here")
    assert kept_story.until("message").data == "still here"
    assert kept.latency > 0
    assert closed(kept).code == 1000


def test_pings_of_the_server_are_answered(plain: ft.Client, sockets: Any) -> None:
    story = Story()
    task = plain.connectSocket(url=sockets.url + "/echo")
    story.listen(task)
    peer = sockets.peer()
    for _ in range(50):
        peer.ping()
    assert closed(task).code == 1000
    assert story.end()
    assert story.messages == []
