"""Servers that answer the opening request with something else than 101: it is told, in time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import ftnet as ft
from tests.faults.meetings import SOON, answer, growth, refused
from tests.servers.awkward import promptly
from tests.servers.hostile_ws import HostileServer, WsPeer

# --- refusals -------------------------------------------------------------------------------------

STATUSES = {
    200: "OK",
    204: "No Content",
    301: "Moved Permanently",
    302: "Found",
    307: "Temporary Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    426: "Upgrade Required",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
FIELDS = {
    301: ["Location: ws://127.0.0.1:1/"],
    302: ["Location: /elsewhere"],
    307: ["Location: /elsewhere"],
    401: ["WWW-Authenticate: Basic realm=x"],
    426: ["Sec-WebSocket-Version: 8"],
}
BODY = "no entry for you, grüß Gott"


LAST_CHUNK = b"0\r\n\r\n"


def in_chunks(body: bytes) -> bytes:
    pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
    return b"".join(b"%x;x=y\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + LAST_CHUNK


FRAMINGS: dict[str, tuple[list[str], Callable[[bytes], bytes]]] = {
    "with a length": ([f"Content-Length: {len(BODY.encode())}"], bytes),
    "in chunks": (["Transfer-Encoding: chunked"], in_chunks),
    "to the end": (["Connection: close"], bytes),
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("status", STATUSES)
def test_a_refusal_is_told_with_its_status_and_body(status: int, framing: str) -> None:
    fields, encoded = FRAMINGS[framing]
    line = f"{status} {STATUSES[status]}"
    body = b"" if status == 204 else encoded(BODY.encode())
    fields = [*FIELDS.get(status, []), *([] if status == 204 else fields)]
    error = refused(answer(f"HTTP/1.1 {line}", *fields, then=body))
    assert error.errno == ft.Errno.PROTOCOL
    said = "" if status == 204 else f": {BODY}"
    assert error.errMsg == f"connectSocket:fail the server answered {line}{said}"


def test_redirects_are_not_followed() -> None:
    with HostileServer(answer("HTTP/1.1 200 OK", "Content-Length: 0")) as other:
        moved = answer("HTTP/1.1 302 Found", f"Location: {other.ws_url}", "Content-Length: 0")
        assert "302 Found" in refused(moved).errMsg
        assert other.peers == []


@pytest.mark.parametrize(
    "lines",
    [
        ("HTTP/1.1 204 No Content",),
        ("HTTP/1.1 304 Not Modified",),
        ("HTTP/1.1 403 Forbidden", "Content-Length: 0"),
        ("HTTP/1.1 403 Forbidden", "Transfer-Encoding: chunked"),
    ],
    ids=["204", "304", "no bytes", "chunked"],
)
def test_a_refusal_that_is_complete_is_told_at_once(lines: tuple[str, ...]) -> None:
    """Though the server keeps the connection."""
    body = in_chunks(b"no") if "chunked" in lines[-1] else b""
    promptly(lambda: refused(answer(*lines, then=body, hold=True)), 0.8)


def test_the_rest_of_a_refusal_is_not_waited_for_long() -> None:
    begin = time.monotonic()
    error = refused(answer("HTTP/1.1 403 Forbidden", "Content-Length: 99", then=b"no", hold=True))
    assert error.errMsg.endswith("403 Forbidden: no")
    assert 0.8 < time.monotonic() - begin < SOON


def test_the_rest_of_a_refusal_is_not_waited_for_beyond_the_timeout() -> None:
    stalled = answer("HTTP/1.1 403 Forbidden", "Content-Length: 99", then=b"no", hold=True)
    promptly(lambda: refused(stalled, timeout=200), 0.7)


@pytest.mark.parametrize("fields", [(), ("Transfer-Encoding: chunked",)], ids=["plain", "chunked"])
def test_an_endless_body_of_a_refusal_is_bounded(fields: tuple[str, ...]) -> None:
    taken = [0]

    def pour(peer: WsPeer) -> None:
        answer("HTTP/1.1 500 Oops", *fields)(peer)
        block = b"10000\r\n" + b"a" * 65536 + b"\r\n"
        while True:
            taken[0] += peer.sock.send(block)

    begin = time.monotonic()
    with growth() as grown:
        error = refused(pour)
    assert time.monotonic() - begin < SOON
    assert "500 Oops: " in error.errMsg
    assert len(error.errMsg) < 1000
    assert taken[0] < 16 << 20, "kept on reading"
    assert grown.megabytes < 4


def test_a_dripping_body_of_a_refusal_is_bounded() -> None:
    def drip(peer: WsPeer) -> None:
        answer("HTTP/1.1 500 Oops")(peer)
        while True:
            peer.send(b"drip ")
            peer.peer.pace(0.02)

    begin = time.monotonic()
    assert "500 Oops: drip drip" in refused(drip).errMsg
    assert time.monotonic() - begin < SOON


def test_a_refusal_with_a_long_header_is_a_refusal() -> None:
    lines = ("HTTP/1.1 403 Forbidden", "X-Long: " + "a" * 60_000)
    error = refused(answer(*lines, then=b"no entry " * 2000))
    assert "403 Forbidden" in error.errMsg


def test_a_refusal_writes_nothing_odd_into_the_error() -> None:
    """Neither commands for a terminal nor more than a line, nor bytes that are no text."""
    lines = ("HTTP/1.1 403 For\x1b[31mbidden", "Content-Length: 60")
    error = refused(answer(*lines, then=b"\x1b[2J\r\n\xff\x00 \x07 no\x9b2J entry" + b" " * 60))
    assert "no" in error.errMsg
