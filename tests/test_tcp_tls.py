"""TCP sockets with TLS: whom they trust, and both ends ended apart."""

from __future__ import annotations

import contextlib
import socket as python_socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

import ftnet as ft
from tests.servers.awkward import AwkwardServer, Gone, Peer
from tests.servers.certs import Certificates, Pair
from tests.tcp_sockets import HERE, LIMIT, connected, echo, socket, until

MEGABYTE = 1 << 20


def context_of(pair: Pair, certificates: Certificates | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.chain, pair.key)
    if certificates is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.ca)
    return context


@pytest.fixture
def trusting(certificates: Certificates) -> Iterator[ft.Client]:
    with ft.Client(ca=str(certificates.ca), trust_env=False) as client:
        yield client


@pytest.fixture
def secure(certificates: Certificates) -> Iterator[AwkwardServer]:
    with AwkwardServer(polite, tls=context_of(certificates.good)) as server:
        yield server


def polite(peer: Peer) -> None:
    """Echoes, and ends TLS as it should."""
    echo(peer)
    peer.sock.unwrap()  # type: ignore[attr-defined]


def refused(client: ft.Client, server: AwkwardServer, **options: Any) -> ft.FtError:
    task, story = socket(client, server, tls=True, **options)
    with pytest.raises(ft.FtError) as caught:
        task.wait_connected(LIMIT)
    story.until("error")
    assert story.names == ["error"]
    assert caught.value.errCode == -4
    return caught.value


def test_it_talks_over_tls(trusting: ft.Client, secure: AwkwardServer) -> None:
    task, story = connected(trusting, secure, tls=True)
    profile = story.of("connect")[0].profile
    assert 0 < profile.SSLconnectionStart < profile.SSLconnectionEnd
    task.write(["over ", b"TLS"])
    until(lambda: story.bytes == b"over TLS", "the echo")
    task.close()
    story.end()
    assert story.of("error") == []


def test_no_protocol_is_offered(trusting: ft.Client, certificates: Certificates) -> None:
    chosen: list[str | None] = []

    def looks(peer: Peer) -> None:
        chosen.append(peer.sock.selected_alpn_protocol())  # type: ignore[attr-defined]
        echo(peer)

    context = context_of(certificates.good)
    context.set_alpn_protocols(["http/1.1", "h2"])
    with AwkwardServer(looks, tls=context) as server:
        task, story = connected(trusting, server, tls=True)
        task.close()
        story.end()
    assert chosen == [None]


@pytest.mark.parametrize("wrong", ["expired", "other_name", "untrusted"])
def test_a_wrong_certificate_is_refused(
    trusting: ft.Client, certificates: Certificates, wrong: str
) -> None:
    with AwkwardServer(echo, tls=context_of(getattr(certificates, wrong))) as server:
        error = refused(trusting, server)
    assert error.errno == ft.Errno.TLS
    assert error.profile.SSLconnectionStart > 0
    assert error.profile.SSLconnectionEnd == 0


def test_the_name_can_be_another_than_the_address(
    trusting: ft.Client, certificates: Certificates
) -> None:
    asked: list[str | None] = []
    context = context_of(certificates.other_name)
    context.sni_callback = lambda _, name, __: asked.append(name)
    with AwkwardServer(echo, tls=context) as server:
        task, story = connected(trusting, server, tls=True, serverName="elsewhere.test")
        assert story.of("connect")[0].remoteInfo.address == HERE
        task.close()
        story.end()
        assert refused(trusting, server, serverName="nowhere.test").errno == ft.Errno.TLS
    assert asked == ["elsewhere.test", "nowhere.test"]


def test_the_name_goes_with_an_ipv6_address(
    trusting: ft.Client, certificates: Certificates
) -> None:
    context = context_of(certificates.other_name)
    with AwkwardServer(echo, tls=context, host="::1") as server:
        task, story = connected(
            trusting, server, tls=True, address="::1", serverName="elsewhere.test"
        )
        assert story.of("connect")[0].remoteInfo.address == "::1"
        task.close()
        story.end()


def test_a_client_shows_its_certificate(certificates: Certificates) -> None:
    pair = certificates.client
    with (
        AwkwardServer(echo, tls=context_of(certificates.good, certificates)) as server,
        ft.Client(
            ca=str(certificates.ca), cert=str(pair.chain), key=str(pair.key), trust_env=False
        ) as client,
    ):
        task, story = connected(client, server, tls=True)
        task.write(b"it is me")
        story.until("message")
        task.close()
        story.end()
    assert story.bytes == b"it is me"


def test_a_server_without_tls_is_an_error(trusting: ft.Client) -> None:
    def plain(peer: Peer) -> None:
        peer.read()
        peer.send(b"what do you want?\n")

    with AwkwardServer(plain) as server:
        assert refused(trusting, server).errno == ft.Errno.TLS


def test_a_handshake_that_stalls_is_a_timeout(trusting: ft.Client) -> None:
    with AwkwardServer(Peer.until_gone) as server:
        error = refused(trusting, server, timeout=0.2)
    assert error.errno == ft.Errno.TIMEOUT


def test_a_reset_in_the_handshake_is_an_error(trusting: ft.Client) -> None:
    def resets(peer: Peer) -> None:
        peer.read()
        peer.reset()
        raise Gone

    with AwkwardServer(resets) as server:
        assert refused(trusting, server).errno in (ft.Errno.TLS, ft.Errno.INTERRUPTED)


# --- the ends -------------------------------------------------------------------------------------


def strict(certificates: Certificates, told: list[str], answer: bytes = b"") -> Any:
    """A behaviour that notes whether the client ended TLS as it should (RFC 8446 6.1)."""
    context = context_of(certificates.good)

    def behaves(peer: Peer) -> None:
        peer.sock = context.wrap_socket(peer.sock, server_side=True, suppress_ragged_eofs=False)
        peer.server.replace_socket(peer)
        try:
            while True:
                peer.read()
        except Gone:
            told.append("ended")
        except ssl.SSLError as error:
            told.append(f"cut: {error}")
        if answer:
            peer.send(answer)
        with contextlib.suppress(OSError):
            peer.sock.unwrap()  # type: ignore[attr-defined]

    return behaves


@pytest.mark.parametrize("end", ["close", "end"])
def test_the_peer_is_told_that_nothing_more_comes(
    trusting: ft.Client, certificates: Certificates, end: str
) -> None:
    told: list[str] = []
    with AwkwardServer(strict(certificates, told)) as server:
        task, story = connected(trusting, server, tls=True)
        task.write(b"x" * MEGABYTE)
        getattr(task, end)()
        story.end()
        server.wait_until_alone()
        assert len(server.received) == MEGABYTE
    assert told == ["ended"]
    assert story.of("error") == []


def test_after_end_the_answer_still_comes(trusting: ft.Client, certificates: Certificates) -> None:
    told: list[str] = []
    answer = b"y" * MEGABYTE
    with AwkwardServer(strict(certificates, told, answer)) as server:
        task, story = connected(trusting, server, tls=True)
        task.write(b"the question")
        task.end()
        story.end()
    assert told == ["ended"]
    assert story.bytes == answer
    assert story.names[-2:] == ["end", "close"]
    assert story.of("error") == []


def test_a_server_may_speak_first(trusting: ft.Client, certificates: Certificates) -> None:
    def greets(peer: Peer) -> None:
        peer.send(b"220 ready")
        peer.until_gone()

    with AwkwardServer(greets, tls=context_of(certificates.good)) as server:
        task, story = connected(trusting, server, tls=True)
        story.until("message")
        task.close()
        story.end()
    assert story.bytes == b"220 ready"


def test_much_goes_both_ways_at_once(certificates: Certificates, secure: AwkwardServer) -> None:
    with ft.Client(ca=str(certificates.ca), trust_env=False, max_buffered_bytes=None) as client:
        task, story = connected(client, secure, tls=True)
        sent = b"".join(b"%07d\n" % number for number in range(1_000_000))
        for start in range(0, len(sent), 77_777):
            task.write(sent[start : start + 77_777])
        task.end()
        story.end()
    assert story.bytes == sent
    assert story.of("error") == []


def test_an_end_without_a_close_notify_is_told_as_it_was(
    trusting: ft.Client, certificates: Certificates
) -> None:
    """Whoever cuts the connection must not look as if all had been said (RFC 8446 6.1)."""

    def cuts(peer: Peer) -> None:
        peer.read()
        peer.send(b"half of")
        python_socket.socket.shutdown(peer.sock, python_socket.SHUT_WR)
        peer.server.gate.wait(LIMIT)

    with AwkwardServer(cuts, tls=context_of(certificates.good)) as server:
        task, story = connected(trusting, server, tls=True)
        task.write(b"x")
        story.end()
        server.gate.set()
    assert story.bytes == b"half of"
    assert story.names == ["connect", "message", "error", "close"]
    assert story.of("error")[0].errCode == -2
