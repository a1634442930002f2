"""Names and addresses: `resolve`, DNS over HTTPS, happy eyeballs, where requests leave from."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

import ftnet as ft
from tests.origins import LIMIT, failure, fetch
from tests.profiles import check_profile
from tests.servers.awkward import AwkwardServer, BlackHole, Peer, closed_port
from tests.servers.behaviours import answers
from tests.servers.dns import BOTH, HERE, NOWHERE


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


def test_resolve_overrides_the_address_of_a_name(nginx: Any) -> None:
    port = port_of(nginx.http)
    with ft.Client(resolve={f"elsewhere.test:{port}": "127.0.0.1"}, trust_env=False) as client:
        response = fetch(client, f"http://elsewhere.test:{port}/seen")
    assert response.data["host"] == "elsewhere.test"
    profile = check_profile(response, reused=False, tls=False)
    assert profile.peerIP == "127.0.0.1"


def test_resolve_is_for_the_port_it_names(nginx: Any) -> None:
    with ft.Client(resolve={"elsewhere.invalid:1": "127.0.0.1"}, trust_env=False) as client:
        error = failure(client, f"http://elsewhere.invalid:{port_of(nginx.http)}/seen")
    assert error.errno == ft.Errno.DNS


def test_resolve_of_one_client_is_not_anothers(plain: ft.Client, nginx: Any) -> None:
    port = port_of(nginx.http)
    url = f"http://elsewhere.invalid:{port}/hello"
    with ft.Client(resolve={f"elsewhere.invalid:{port}": "127.0.0.1"}, trust_env=False) as knowing:
        assert fetch(knowing, url).statusCode == 200
        assert failure(plain, url).errno == ft.Errno.DNS


def test_names_are_looked_up_by_dns_over_https(dns: Any, nginx: Any) -> None:
    port = port_of(nginx.http)
    with ft.Client(ca=nginx.ca, doh_url=dns.doh_url, trust_env=False) as client:
        response = fetch(client, f"http://{HERE}:{port}/seen")
        assert response.data["host"] == HERE
        profile = check_profile(response, reused=False, tls=False)
        assert profile.domainLookUpEnd > profile.domainLookUpStart
        assert dns.queries_for(HERE) > 0


def test_a_name_that_dns_over_https_does_not_know_fails(dns: Any, nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, doh_url=dns.doh_url, trust_env=False) as client:
        error = failure(client, f"http://{NOWHERE}:{port_of(nginx.http)}/seen")
        assert error.errno == ft.Errno.DNS
        assert dns.queries_for(NOWHERE) > 0
        assert error.profile.connectStart == 0


def test_the_certificate_of_dns_over_https_is_checked(
    plain: ft.Client, dns: Any, nginx: Any
) -> None:
    with ft.Client(doh_url=dns.doh_url, trust_env=False) as client:
        error = failure(client, f"http://{HERE}:{port_of(nginx.http)}/seen")
    assert error.errno == ft.Errno.DNS


def test_dns_over_https_that_is_not_there_fails(nginx: Any) -> None:
    with (
        closed_port() as port,
        ft.Client(doh_url=f"https://127.0.0.1:{port}/dns-query", trust_env=False) as client,
    ):
        error = failure(client, f"http://{HERE}:{port_of(nginx.http)}/seen")
    assert error.errno == ft.Errno.DNS


def test_an_unknown_name_fails_quickly_and_bothers_nobody_else(
    plain: ft.Client, server: Any
) -> None:
    lost = [plain.request(url=f"http://no-such-name-{n}.invalid/") for n in range(5)]
    assert fetch(plain, f"{server.http}/hello").statusCode == 200
    for task in lost:
        with pytest.raises(ft.FtError) as caught:
            task.result(LIMIT)
        assert caught.value.errno == ft.Errno.DNS


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("interface", ["127.0.0.2", "127.1.2.3"])
def test_requests_leave_from_the_address_asked_for(nginx: Any, interface: str) -> None:
    with ft.Client(interface=interface, trust_env=False) as client:
        assert fetch(client, f"{nginx.http}/seen").data["remote_addr"] == interface


def test_an_address_that_is_not_ours_cannot_be_sent_from(nginx: Any) -> None:
    with ft.Client(interface="192.0.2.1", trust_env=False) as client:
        error = failure(client, f"{nginx.http}/seen")
    assert error.errno == ft.Errno.SYSTEM


def test_the_second_address_is_tried_when_the_first_refuses(plain: ft.Client) -> None:
    """`localhost` is ::1 and 127.0.0.1; only one of them listens."""
    with AwkwardServer(answers) as raw:
        response = fetch(plain, f"http://localhost:{raw.port}/either")
        assert response.data["target"] == "/either"
        assert response.profile.peerIP == "127.0.0.1"


@pytest.mark.parametrize("dead", ["::1", "127.0.0.1"])
def test_happy_eyeballs_find_the_address_that_answers(dns: Any, nginx: Any, dead: str) -> None:
    alive = "127.0.0.1" if dead == "::1" else "::1"
    with (
        AwkwardServer(answers, host=alive) as raw,
        ft.Client(
            ca=nginx.ca, doh_url=dns.doh_url, happy_eyeballs_timeout=50, trust_env=False
        ) as client,
    ):
        response = fetch(client, f"http://{BOTH}:{raw.port}/found")
        assert response.data["target"] == "/found"
        profile = check_profile(response, reused=False, tls=False)
        assert profile.peerIP == alive


def test_a_silent_first_address_costs_no_more_than_the_head_start() -> None:
    """A listener with a full queue swallows the SYNs for ::1, 127.0.0.1 answers."""
    with AwkwardServer(answers) as raw, BlackHole(host="::1", port=raw.port):
        resolve = {f"two.test:{raw.port}": ["::1", "127.0.0.1"]}
        with ft.Client(resolve=resolve, happy_eyeballs_timeout=50, trust_env=False) as client:
            response = fetch(client, f"http://two.test:{raw.port}/slow")
        profile = check_profile(response, reused=False)
        assert profile.peerIP == "127.0.0.1"
        assert 45 <= profile.durations["connect"] < 5000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/net/tcp")
def test_keepalive_and_nodelay_reach_the_socket(nginx: Any) -> None:
    """What the settings mean is the kernel's; that it is told so shows in /proc."""
    with ft.Client(tcp_keepalive=30_000, tcp_nodelay=True, trust_env=False) as client:
        seen = fetch(client, f"{nginx.http}/seen").data
        timer = _keepalive_timer(int(seen["remote_port"]))
    assert timer is not None
    assert 0 < timer <= 30  # the system's own is two hours


def _keepalive_timer(local_port: int) -> float | None:
    """Seconds until the keepalive timer of the socket on `local_port` fires: /proc/net/tcp."""
    with open("/proc/net/tcp") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == local_port and fields[3] == "01":
                kind, _, when = fields[5].partition(":")
                return int(when, 16) / os.sysconf("SC_CLK_TCK") if kind == "02" else None
    raise AssertionError(f"no socket on port {local_port}")


def test_ipv6_literals_are_hosts(plain: ft.Client) -> None:
    def tells_host(peer: Peer) -> None:
        peer.answer((peer.read_request().get("host") or "").encode())

    with AwkwardServer(tells_host, host="::1") as raw:
        assert fetch(plain, f"http://[::1]:{raw.port}/").data == f"[::1]:{raw.port}"


def test_international_host_names_become_ascii(nginx: Any) -> None:
    port = port_of(nginx.http)
    resolve = {f"xn--bcher-kva.test:{port}": "127.0.0.1"}
    with ft.Client(resolve=resolve, trust_env=False) as client:
        response = fetch(client, f"http://bücher.test:{port}/seen")
    assert response.data["host"] == "xn--bcher-kva.test"
