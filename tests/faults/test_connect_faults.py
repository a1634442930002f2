"""Faults before the first byte of a request: names, routes, refusals, certificates."""

from __future__ import annotations

import datetime
import errno
import ssl
import time
from pathlib import Path

import pytest
import trustme

import ftnet as ft
from tests.history import check_phases, run
from tests.servers.awkward import AwkwardServer, BlackHole, ThrowawayTls, closed_port
from tests.servers.behaviours import BEHAVIOURS, answers, resolves


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_refused_connection_fails_at_once_with_the_reason(scheme: str) -> None:
    with closed_port() as port, ft.Client() as client:
        begin = time.monotonic()
        (history,) = run(client, {"url": f"{scheme}://127.0.0.1:{port}/", "timeout": 20_000})
        error = history.error()
        assert time.monotonic() - begin < 10
        assert error.errno == ft.Errno.CONNECT
        assert error.cause is not None
        assert error.cause.os_errno == errno.ECONNREFUSED
        check_phases(error.profile, "connect")
        assert not error.profile.socketReused
        assert error.profile.sendBytesCount == error.profile.receivedBytedCount == 0


def test_an_unreachable_address_fails_at_once_with_the_reason() -> None:
    # TCP to a multicast group has no route by definition: no packet leaves the machine
    with ft.Client() as client:
        begin = time.monotonic()
        (history,) = run(client, {"url": "http://224.0.0.1:9/", "timeout": 20_000})
        error = history.error()
        assert time.monotonic() - begin < 10
        assert error.errno == ft.Errno.CONNECT
        assert error.cause is not None
        assert error.cause.os_errno == errno.ENETUNREACH
        assert error.profile.connectEnd == error.profile.requestStart == 0


def test_a_connection_reset_at_once_fails_as_interrupted() -> None:
    with AwkwardServer(BEHAVIOURS["resets_at_once"]) as server, ft.Client() as client:
        (history,) = run(client, {"url": server.url})
        error = history.error()
        # the RST may overtake the client's own connect call
        assert error.errno in (ft.Errno.INTERRUPTED, ft.Errno.CONNECT)
        assert error.profile.responseStart == 0


def test_a_dead_first_address_falls_back_to_the_second() -> None:
    with (
        AwkwardServer(answers) as server,
        BlackHole("::1", server.port),
        ft.Client(happy_eyeballs_timeout=100) as client,
    ):
        begin = time.monotonic()
        (history,) = run(client, {"url": f"http://localhost:{server.port}/", "timeout": 20_000})
        assert history.response().profile.peerIP == "127.0.0.1"
        assert time.monotonic() - begin < 10


def test_a_refusing_first_address_falls_back_to_the_second() -> None:
    with AwkwardServer(answers) as server, ft.Client() as client:
        (history,) = run(client, {"url": f"http://localhost:{server.port}/", "timeout": 20_000})
        assert history.response().profile.peerIP == "127.0.0.1"


def test_a_name_that_does_not_exist_fails_as_dns() -> None:
    with ft.Client() as client:
        (history,) = run(client, {"url": "http://nobody.invalid/", "timeout": 20_000})
        error = history.error()
        assert error.errno == ft.Errno.DNS
        check_phases(error.profile, "dns")


@pytest.mark.parametrize("name", ["name_does_not_exist", "resolver_fails", "name_has_no_address"])
def test_a_resolver_that_knows_no_address_fails_as_dns(name: str, tls: ThrowawayTls) -> None:
    with (
        AwkwardServer(BEHAVIOURS[name], tls=tls.context) as resolver,
        ft.Client(ca=tls.ca, doh_url=f"{resolver.url}/dns-query") as client,
    ):
        (history,) = run(client, {"url": "http://some.test/", "timeout": 20_000})
        error = history.error()
        assert error.errno == ft.Errno.DNS
        check_phases(error.profile, "dns")
        assert resolver.requests, "the resolver was not asked"


def test_a_resolver_that_refuses_connections_fails_as_dns() -> None:
    with closed_port() as port, ft.Client(doh_url=f"https://127.0.0.1:{port}/dns-query") as client:
        (history,) = run(client, {"url": "http://some.test/", "timeout": 20_000})
        assert history.error().errno == ft.Errno.DNS


def test_a_working_resolver_leads_to_the_server(good: AwkwardServer, tls: ThrowawayTls) -> None:
    with (
        AwkwardServer(resolves(["127.0.0.1"]), tls=tls.context) as resolver,
        ft.Client(ca=tls.ca, doh_url=f"{resolver.url}/dns-query") as client,
    ):
        (history,) = run(client, {"url": f"http://some.test:{good.port}/"})
        assert history.response().profile.peerIP == "127.0.0.1"
        assert good.requests[0].get("host") == f"some.test:{good.port}"


def _context(authority: trustme.CA, *names: str, **dates: datetime.datetime) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **dates).configure_cert(context)
    return context


def _bundle(authority: trustme.CA, directory: Path) -> str:
    path = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


LONG_AGO = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
FAR_AHEAD = datetime.datetime(2090, 1, 1, tzinfo=datetime.UTC)
BAD_CERTIFICATES = {
    "for another address": (("127.0.0.2", "other.test"), {}),
    "expired": (("127.0.0.1",), {"not_before": LONG_AGO, "not_after": LONG_AGO.replace(year=2002)}),
    "not valid yet": (
        ("127.0.0.1",),
        {"not_before": FAR_AHEAD, "not_after": FAR_AHEAD.replace(year=2091)},
    ),
}


@pytest.mark.parametrize("flaw", BAD_CERTIFICATES)
def test_a_bad_certificate_fails_before_a_byte_of_the_request_is_sent(
    flaw: str, tmp_path: Path
) -> None:
    authority = trustme.CA()
    names, dates = BAD_CERTIFICATES[flaw]
    with (
        AwkwardServer(answers, tls=_context(authority, *names, **dates)) as server,
        ft.Client(ca=_bundle(authority, tmp_path)) as client,
    ):
        (history,) = run(client, {"url": server.url})
        error = history.error()
        assert error.errno == ft.Errno.TLS
        check_phases(error.profile, "tls")
        assert server.received == b""


def test_a_certificate_of_an_unknown_authority_fails(tls: ThrowawayTls) -> None:
    with AwkwardServer(answers, tls=tls.context) as server, ft.Client() as client:
        (history,) = run(client, {"url": server.url})
        error = history.error()
        assert error.errno == ft.Errno.TLS
        check_phases(error.profile, "tls")
        assert server.received == b""


def test_a_client_that_does_not_verify_lends_its_connections_to_no_other(
    tls: ThrowawayTls,
) -> None:
    with (
        AwkwardServer(answers, tls=tls.context) as server,
        ft.Client(verify=False) as careless,
        ft.Client() as careful,
    ):
        (first,) = run(careless, {"url": server.url})
        (second,) = run(careful, {"url": server.url})
        (third,) = run(careless, {"url": server.url})
        assert first.response().statusCode == third.response().statusCode == 200
        assert second.error().errno == ft.Errno.TLS
        assert len(server.requests) == 2
