"""One row for each way a server can break an exchange: what fails, how soon, and what is told.

Every row: exactly one `fail`, then `complete`; the right errno; only the phases that were reached;
no connection left behind; and the client as good as before.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

import ftnet as ft
from tests.history import check_phases, run
from tests.servers import broken_answers
from tests.servers.awkward import AwkwardServer, Peer, ThrowawayTls
from tests.servers.behaviours import BEHAVIOURS, TOO_MUCH, redirects_to, says

TIMEOUT = ft.Errno.TIMEOUT
INTERRUPTED = ft.Errno.INTERRUPTED
PROTOCOL = ft.Errno.PROTOCOL
INVALID_DATA = ft.Errno.INVALID_DATA
PROMPT = {"timeout": 20_000}  # the fault must end the task long before this does
SOON = 10.0  # s
SHORT = {"timeout": 2000}  # nothing else ends the task, which has come as far as it can by then


@dataclass(frozen=True)
class Fault:
    behaviour: str
    errno: tuple[ft.Errno, ...]
    died_in: str
    request: Mapping[str, Any] = field(default_factory=lambda: PROMPT)
    client: Mapping[str, Any] = field(default_factory=dict)
    tls: bool = False


UPLOAD = {**PROMPT, "method": "POST", "data": b"x" * (4 << 20)}
LIMITED = {"max_body_bytes": 1 << 20}
# The status line never came as a whole, or only that of an interim response.
NO_STATUS = {
    "bare_continue_for_ever",
    "closed_in_status_line",
    "closed_after_an_interim_response",
    "interim_responses_for_ever",
    "status_line_of_64_mb",
}
ENDLESS = {"chunk_extension_for_ever", "body_for_ever", "body_of_2_mb"}


def body_or_line(name: str) -> str:
    return "line" if name in NO_STATUS else "body"


def cut(name: str) -> ft.Errno:
    """A header block cut before its status line is an empty reply, after it a broken one."""
    return INTERRUPTED if name in NO_STATUS else PROTOCOL


FAULTS = [
    Fault("closes_unanswered", (INTERRUPTED,), "wait"),
    Fault("resets_unanswered", (INTERRUPTED,), "wait"),
    Fault("resets_in_header_block", (INTERRUPTED,), "body"),
    Fault("resets_in_body", (INTERRUPTED,), "body"),
    Fault("dies_in_the_request_body", (INTERRUPTED,), "send", UPLOAD),
    *(Fault(name, (cut(name),), body_or_line(name)) for name in broken_answers.CUT_HEADERS),
    *(Fault(name, (INTERRUPTED,), "body") for name in broken_answers.CUT_BODIES),
    *(Fault(name, (PROTOCOL,), "body") for name in broken_answers.BAD_FRAMING),
    *(Fault(name, (PROTOCOL,), "line") for name in broken_answers.NOT_HTTP),
    *(Fault(name, (PROTOCOL, INVALID_DATA), "body") for name in broken_answers.BAD_CODING),
    *(Fault(name, (PROTOCOL,), body_or_line(name)) for name in sorted(TOO_MUCH.keys() - ENDLESS)),
    Fault("body_for_ever", (INVALID_DATA,), "body", client=LIMITED),
    Fault("body_of_2_mb", (INVALID_DATA,), "body", client=LIMITED),
    Fault("gzip_bomb", (INVALID_DATA,), "body", client=LIMITED),
    Fault("ends_without_close_notify", (INTERRUPTED, ft.Errno.TLS), "body", tls=True),
    Fault("redirect_loop", (ft.Errno.TOO_MANY_REDIRECTS,), "line"),
]
STALLED = [
    Fault("chunk_extension_for_ever", (TIMEOUT, PROTOCOL), "body"),
    Fault("silent_after_the_request", (TIMEOUT,), "wait"),
    Fault("stalls_in_header_block", (TIMEOUT,), "body"),
    Fault("stalls_in_body", (TIMEOUT,), "body"),
    Fault("stalls_between_chunks", (TIMEOUT,), "body"),
    Fault("drips_for_ever", (TIMEOUT,), "body"),
    Fault("drips_its_header_block", (TIMEOUT,), "body"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.behaviour)
def test_a_broken_exchange_fails_once_and_tells_how_far_it_came(
    fault: Fault, good: AwkwardServer, tls: ThrowawayTls
) -> None:
    context = tls.context if fault.tls else None
    with (
        AwkwardServer(BEHAVIOURS[fault.behaviour], tls=context) as server,
        ft.Client(ca=tls.ca, **fault.client) as client,
    ):
        begin = time.monotonic()
        (history,) = run(client, {"url": server.url, **fault.request})
        took = time.monotonic() - begin

        error = history.error()
        assert error.errno in fault.errno, error
        assert took < SOON, "ended by the timeout, not by the fault"
        check_phases(error.profile, fault.died_in)
        (after,) = run(client, {"url": good.url})
        assert after.response().statusCode == 200
        client.close()
        server.wait_until_alone()


def test_a_stalled_exchange_fails_once_and_tells_how_far_it_came(good: AwkwardServer) -> None:
    """All of them at once."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(AwkwardServer(BEHAVIOURS[fault.behaviour])) for fault in STALLED
        ]
        client = stack.enter_context(ft.Client())
        begin = time.monotonic()
        histories = run(client, *({"url": server.url, **SHORT} for server in servers))
        assert SHORT["timeout"] / 1000 <= time.monotonic() - begin < SOON
        for fault, history in zip(STALLED, histories, strict=True):
            error = history.error()
            assert error.errno in fault.errno, fault.behaviour
            assert error.errno != TIMEOUT or error.errMsg == "request:fail timeout"
            check_phases(error.profile, fault.died_in)
        (after,) = run(client, {"url": good.url})
        assert after.response().statusCode == 200
        client.close()
        for server in servers:
            server.wait_until_alone()


HANDSHAKES = {
    "handshake_is_cut": (ft.Errno.TLS, INTERRUPTED),
    "handshake_is_reset": (ft.Errno.TLS, INTERRUPTED),
    "handshake_is_cut_in_server_hello": (ft.Errno.TLS, INTERRUPTED),
    "handshake_is_answered_in_plain_text": (ft.Errno.TLS,),
    "handshake_is_refused_by_alert": (ft.Errno.TLS,),
}
STALLED_HANDSHAKES = ("handshake_stalls_in_server_hello", "silent")


def secret(server: AwkwardServer) -> dict[str, Any]:
    url = server.url.replace("http:", "https:") + "/secret"
    return {"url": url, "header": {"x-secret": "secret"}}


def check_nothing_was_sent(error: ft.FtError, server: AwkwardServer) -> None:
    check_phases(error.profile, "tls")
    assert b"secret" not in server.received
    assert error.profile.sendBytesCount == 0


@pytest.mark.parametrize("name", HANDSHAKES)
def test_a_broken_handshake_fails_before_a_byte_of_the_request_is_sent(name: str) -> None:
    with AwkwardServer(BEHAVIOURS[name]) as server, ft.Client() as client:
        begin = time.monotonic()
        (history,) = run(client, {**secret(server), **PROMPT})
        error = history.error()
        assert error.errno in HANDSHAKES[name], error
        assert time.monotonic() - begin < SOON
        check_nothing_was_sent(error, server)


def test_a_stalled_handshake_fails_before_a_byte_of_the_request_is_sent() -> None:
    one, other = (AwkwardServer(BEHAVIOURS[name]) for name in STALLED_HANDSHAKES)
    with one, other, ft.Client() as client:
        histories = run(client, *({**secret(server), **SHORT} for server in (one, other)))
        for history, server in zip(histories, (one, other), strict=True):
            error = history.error()
            assert error.errno == TIMEOUT
            check_nothing_was_sent(error, server)


@pytest.mark.parametrize(
    "name", [*broken_answers.CUT_HEADERS, *broken_answers.CUT_BODIES, *broken_answers.BAD_FRAMING]
)
def test_chunked_delivery_turns_no_broken_exchange_into_a_success(name: str) -> None:
    with AwkwardServer(BEHAVIOURS[name]) as server, ft.Client() as client:
        options = {"url": server.url, "enableChunked": True, **PROMPT}
        (history,) = run(client, options, chunks=True)
        assert history.error().errno in (INTERRUPTED, PROTOCOL)


@pytest.mark.parametrize("redirect", ["follow", "manual"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE", "TRACE", "PUT"])
def test_a_cut_header_block_fails_for_every_method(method: str, redirect: str) -> None:
    with AwkwardServer(BEHAVIOURS["closed_in_field_name"]) as server, ft.Client() as client:
        (history,) = run(client, {"url": server.url, "method": method, "redirect": redirect})
        assert history.error().errno == PROTOCOL


def test_a_cut_header_block_after_a_good_redirect_fails() -> None:
    with (
        AwkwardServer(BEHAVIOURS["closed_in_field_name"]) as cut,
        AwkwardServer(redirects_to(cut.url)) as server,
        ft.Client() as client,
    ):
        (history,) = run(client, {"url": server.url})
        assert history.error().errno == PROTOCOL


def test_a_redirect_cut_in_its_header_block_is_not_followed() -> None:
    with AwkwardServer(BEHAVIOURS["answers"]) as target:
        location = f"HTTP/1.1 302 Found\r\nLocation: {target.url}\r\nX".encode()
        with AwkwardServer(says(location)) as server, ft.Client() as client:
            (history,) = run(client, {"url": server.url})
            assert history.error().errno == PROTOCOL
            assert target.requests == []


def rss() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("name", sorted(TOO_MUCH.keys() | {"gzip_bomb"}))
def test_a_flood_from_the_server_takes_no_memory(name: str) -> None:
    options = {"timeout": 1000 if name in ENDLESS else 20_000}
    with AwkwardServer(BEHAVIOURS[name]) as server, ft.Client(**LIMITED) as client:
        grown: list[int] = []  # for the first time by what warms up: pools, threads, caches
        while len(grown) < 2 or (grown[-1] >= 2 << 20 and len(grown) < 4):
            before = rss()
            (history,) = run(client, {"url": server.url, **options})
            history.error()
            grown.append(rss() - before)
        # others of this process may need memory in between, but not each time
        assert grown[-1] < 2 << 20, grown


def test_a_request_body_cut_by_the_server_is_not_sent_again() -> None:
    with AwkwardServer(BEHAVIOURS["dies_in_the_request_body"]) as server, ft.Client() as client:
        (history,) = run(client, {"url": server.url, **UPLOAD})
        history.error()
        assert len(server.peers) == 1


async def awaited(client: ft.Client, url: str) -> None:
    await client.request(url=url)


WAITS: dict[str, Callable[[ft.Client, str], object]] = {
    "thread": lambda client, url: client.request(url=url).result(20),
    "asyncio": lambda client, url: asyncio.run(awaited(client, url)),
}


@pytest.mark.parametrize("drive", WAITS)
@pytest.mark.parametrize(
    "name", ["closes_unanswered", "closed_without_any_of_the_body", "closed_without_last_chunk"]
)
def test_waiting_for_a_broken_exchange_raises_the_error(name: str, drive: str) -> None:
    with AwkwardServer(BEHAVIOURS[name]) as server, ft.Client() as client:
        with pytest.raises(ft.FtError, match="^request:fail ") as caught:
            WAITS[drive](client, server.url)
        assert caught.value.errno == INTERRUPTED
        assert caught.value.profile.requestEnd > 0
        assert caught.value.profile.responseEnd == 0


def test_a_reset_is_no_close() -> None:
    with AwkwardServer(BEHAVIOURS["resets_unanswered"]) as server, ft.Client() as client:
        (history,) = run(client, {"url": server.url})
    error = history.error()
    assert error.cause is not None
    assert error.cause.os_errno == errno.ECONNRESET, error


@pytest.mark.parametrize("name", ["closes_unanswered", "silent_after_the_request"])
def test_an_address_that_was_refused_before_is_not_to_blame(name: str) -> None:
    """localhost is ::1 first (libcurl asks nobody for it), where nobody listens."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with AwkwardServer(BEHAVIOURS[name]) as server, ft.Client() as client:
        url = server.url.replace("127.0.0.1", "localhost")
        (history,) = run(client, {"url": url, "timeout": 500})
    error = history.error()
    assert error.cause is not None
    assert error.cause.os_errno == 0, error
    assert "refused" not in error.errMsg


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"HTTP/1.1 099 OK\r\n", "not valid HTTP"),
        (b"HTTP/1.1 2000 OK\r\n", "not valid HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n", "not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: %b\r\n" % (b"x" * 310_000), "too large"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: x\r\n", "content encoding not known"),
    ],
    ids=["status-099", "status-2000", "status-101", "header", "coding"],
)
def test_what_is_wrong_with_an_answer_is_said_alike(head: bytes, said: str) -> None:
    def answers(peer: Peer) -> None:
        peer.read_request()
        peer.send(head + b"Content-Length: 2\r\n\r\nok")
        peer.until_gone()

    with AwkwardServer(answers) as server, ft.Client() as client:
        (history,) = run(client, {"url": server.url})
    error = history.error()
    assert error.errno == PROTOCOL
    assert said in error.errMsg
    assert "Failure writing" not in error.errMsg
