"""One row for each way an answer to the opening request can be wrong.

Every row: one ``onError`` that says what is wrong, then one ``onClose(1006)``, no ``onOpen``, and
nothing after; ``await task.opened()`` raises the same error; the connection is ended.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

import ftnet as ft
from tests.faults.meetings import (
    DEFLATE,
    GOOD,
    LIMIT,
    SOON,
    WAYS,
    answer,
    by_asyncio,
    check_refused,
    growth,
    meeting,
    refused,
)
from tests.servers.awkward import AwkwardServer, BlackHole, ThrowawayTls, closed_port
from tests.servers.behaviours import BEHAVIOURS
from tests.servers.hostile_ws import Behaviour, HostileServer, WsPeer
from tests.sockets import Story, socket
from tests.ws_streams import BINARY, TEXT, close, frame

PROTOCOL, INTERRUPTED = ft.Errno.PROTOCOL, ft.Errno.INTERRUPTED
TIMEOUT, TLS = ft.Errno.TIMEOUT, ft.Errno.TLS
CHAT = {"protocols": ["chat", "superchat"]}


# --- answers that are none ------------------------------------------------------------------------

STATUS, UPGRADE, CONNECTION, ACCEPT = GOOD
OTHER_KEY = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # the Accept of RFC 6455 1.3


@dataclass(frozen=True)
class Wrong:
    said: str
    lines: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def wrong(said: str, *lines: str, **options: Any) -> Wrong:
    return Wrong(said, lines, options)


def protocol(*fields: str, **options: Any) -> Wrong:
    return wrong("sub-protocol that was not offered", *GOOD, *fields, **options)


WRONG = {
    "HTTP/1.0": wrong("no HTTP/1.1", "HTTP/1.0 101 Switching Protocols", *GOOD[1:]),
    "HTTP/2": wrong("no HTTP/1.1", "HTTP/2 101", *GOOD[1:]),
    "http in small letters": wrong("no HTTP/1.1", "http/1.1 101 x", *GOOD[1:]),
    "another protocol": wrong("", "ICY 101 OK", *GOOD[1:]),
    "a status of four digits": wrong("", "HTTP/1.1 1010 Odd", *GOOD[1:]),
    "a status of two digits": wrong("", "HTTP/1.1 10 Odd", *GOOD[1:]),
    "no status": wrong("", "HTTP/1.1", *GOOD[1:]),
    "a status line only": wrong("no 'Upgrade: websocket'", STATUS),
    "no Upgrade": wrong("no 'Upgrade: websocket'", STATUS, CONNECTION, ACCEPT),
    "an empty Upgrade": wrong("no 'Upgrade", STATUS, "Upgrade:", CONNECTION, ACCEPT),
    "Upgrade to h2c": wrong("no 'Upgrade", STATUS, "Upgrade: h2c", CONNECTION, ACCEPT),
    "Upgrade to websocket2": wrong("no 'Upg", STATUS, "Upgrade: websocket2", CONNECTION, ACCEPT),
    "Upgrade with a version": wrong("no 'Upg", STATUS, "Upgrade: websocket/13", CONNECTION, ACCEPT),
    "no Connection": wrong("no 'Connection: Upgrade'", STATUS, UPGRADE, ACCEPT),
    "Connection: close": wrong("no 'Connect", STATUS, UPGRADE, "Connection: close", ACCEPT),
    "Connection: Upgraded": wrong("no 'Connect", STATUS, UPGRADE, "Connection: Upgraded", ACCEPT),
    "no Accept": wrong("Accept is wrong", STATUS, UPGRADE, CONNECTION),
    "an empty Accept": wrong("Accept is wrong", *GOOD[:3], "Sec-WebSocket-Accept:"),
    "the Accept of another key": wrong("Accept is wrong", *GOOD[:3], f"{ACCEPT[:-6]}{OTHER_KEY}"),
    "an Accept with more behind": wrong("Accept is wrong", *GOOD[:3], f"{ACCEPT}x"),
    "an Accept in quotes": wrong("Accept is wrong", *GOOD[:3], 'Sec-WebSocket-Accept: "ACCEPT"'),
    "Accept twice": wrong("Accept is wrong", *GOOD, ACCEPT),
    "Accept right and wrong": wrong("Accept is wrong", *GOOD, f"{ACCEPT[:-6]}{OTHER_KEY}"),
    "Accept wrong and right": wrong(
        "Accept is wrong", *GOOD[:3], f"{ACCEPT[:-6]}{OTHER_KEY}", ACCEPT
    ),
    "two Accepts in one field": wrong("Accept is wrong", *GOOD[:3], f"{ACCEPT}, ACCEPT"),
    "a sub-protocol without an offer": protocol("Sec-WebSocket-Protocol: chat"),
    "a sub-protocol not offered": protocol("Sec-WebSocket-Protocol: soap", **CHAT),
    "a sub-protocol in another case": protocol("Sec-WebSocket-Protocol: Chat", **CHAT),
    "two sub-protocols": protocol("Sec-WebSocket-Protocol: chat, superchat", **CHAT),
    "two fields of sub-protocols": protocol(*["Sec-WebSocket-Protocol: chat"] * 2, **CHAT),
    "an empty sub-protocol": protocol("Sec-WebSocket-Protocol:", **CHAT),
    "a field without a colon": wrong("", *GOOD, "no colon here"),
    "a field without a name": wrong("", *GOOD, ": nameless"),
    "a field with NUL": wrong("", *GOOD, "X-Bad: a\0b"),
    "frames in the header": wrong("", *GOOD, "\x81\x05Hello"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_refused(name: str) -> None:
    row = WRONG[name]
    error = refused(answer(*row.lines), **row.options)
    assert error.errno == PROTOCOL
    assert row.said in error.errMsg


@pytest.mark.parametrize("name", ["no Upgrade", "Accept twice", "two sub-protocols"])
def test_a_wrong_answer_is_refused_in_a_thread_and_behind_tls(name: str, tls: ThrowawayTls) -> None:
    row = WRONG[name]
    for behind in (None, tls):
        error = refused(answer(*row.lines), "thread", tls=behind, **row.options)
        assert row.said in error.errMsg


def lower_case_accept(peer: WsPeer) -> None:
    peer.read_opening()
    peer.send(peer.good_answer().replace(peer.accept.encode(), peer.accept.lower().encode()))


def test_an_accept_in_lower_case_is_wrong() -> None:
    assert "Accept is wrong" in refused(lower_case_accept).errMsg


def test_a_wrong_answer_ends_the_connection_without_a_frame() -> None:
    def speak(peer: WsPeer) -> None:
        answer(STATUS, CONNECTION, ACCEPT)(peer)
        peer.wait_for_end()

    refused(speak)


# --- extensions (RFC 6455 9.1, RFC 7692 5.2 and 7.1) ----------------------------------------------

BITS_10 = {"perMessageDeflate": {"serverMaxWindowBits": 10, "clientMaxWindowBits": 10}}
NO_CONTEXT = {"perMessageDeflate": {"serverNoContextTakeover": True}}
PMD = "permessage-deflate"
#: What was offered, and what the server makes of it that it must not.
EXTENSIONS: dict[str, tuple[Mapping[str, Any], str]] = {
    "deflate without an offer": ({}, PMD),
    "another one without an offer": ({}, "x-unheard"),
    "another one": (DEFLATE, "x-webkit-deflate-frame"),
    "a name that begins alike": (DEFLATE, "permessage-deflate2"),
    "another one behind": (DEFLATE, f"{PMD}, x-unheard"),
    "another one before": (DEFLATE, f"x-unheard, {PMD}"),
    "twice": (DEFLATE, f"{PMD}, {PMD}"),
    "an unknown parameter": (DEFLATE, f"{PMD}; x=1"),
    "an empty parameter": (DEFLATE, f"{PMD};"),
    "a parameter in another case": (DEFLATE, f"{PMD}; Server_No_Context_Takeover"),
    "server_no_context_takeover twice": (DEFLATE, f"{PMD}{'; server_no_context_takeover' * 2}"),
    "server_max_window_bits twice": (DEFLATE, f"{PMD}{'; server_max_window_bits=10' * 2}"),
    "server_no_context_takeover=1": (DEFLATE, f"{PMD}; server_no_context_takeover=1"),
    "client_no_context_takeover=true": (DEFLATE, f"{PMD}; client_no_context_takeover=true"),
    "client_max_window_bits without a value": (DEFLATE, f"{PMD}; client_max_window_bits"),
    "server_max_window_bits without a value": (DEFLATE, f"{PMD}; server_max_window_bits"),
    **{
        f"{side}_max_window_bits={value}": (DEFLATE, f"{PMD}; {side}_max_window_bits={value}")
        for side in ("server", "client")
        for value in (
            "",
            "0",
            "7",
            "16",
            "-9",
            "+9",
            "010",
            "9.0",
            "0x9",
            "ten",
            "99999999999",
            "\xb9",
        )
    },
    "server bits above the offer": (BITS_10, f"{PMD}; server_max_window_bits=11"),
    "server bits not agreed to": (BITS_10, PMD),
    "client bits above the offer": (
        BITS_10,
        f"{PMD}; server_max_window_bits=10; client_max_window_bits=11",
    ),
    "server_no_context_takeover not agreed to": (NO_CONTEXT, PMD),
}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_wrong_extension_is_refused(name: str) -> None:
    options, value = EXTENSIONS[name]
    error = refused(answer(*GOOD, f"Sec-WebSocket-Extensions: {value}"), **options)
    assert error.errno == PROTOCOL
    assert re.search("extension|permessage-deflate", error.errMsg), error.errMsg


def test_two_fields_of_extensions_are_one_list() -> None:
    fields = [f"Sec-WebSocket-Extensions: {PMD}"] * 2
    assert "extension" in refused(answer(*GOOD, *fields), **DEFLATE).errMsg


# --- answers that come oddly ----------------------------------------------------------------------


def opens(behaviour: Behaviour, **options: Any) -> Story:
    """The story of a socket that this behaviour opens and closes with 1000."""
    with meeting(behaviour, **options) as met:
        assert met.clean()[0] == 1000
        return met.story


RIGHT = {
    "as it should be": GOOD,
    "without a reason": ("HTTP/1.1 101", *GOOD[1:]),
    "with an empty reason": ("HTTP/1.1 101 ", *GOOD[1:]),
    "names and tokens in other cases": (
        "HTTP/1.1 101 x",
        "UPGRADE: WebSocket",
        "connection: UPGRADE",
        "SEC-websocket-Accept: ACCEPT",
    ),
    "blanks around values": (*GOOD[:3], "Sec-WebSocket-Accept: \t ACCEPT \t"),
    "more tokens": (STATUS, UPGRADE, "Connection: keep-alive, Upgrade", ACCEPT),
    "two fields of tokens": (STATUS, UPGRADE, "Connection: x", "Connection: upgrade", ACCEPT),
    "a thousand fields": (*GOOD, *(f"X-{n}: {n}" for n in range(1000))),
    "no extension after all": (*GOOD, "Sec-WebSocket-Extensions:"),
    "a Content-Length that means nothing": (*GOOD, "Content-Length: 5"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_is_accepted(name: str) -> None:
    def speak(peer: WsPeer) -> None:
        answer(*RIGHT[name], then=frame(TEXT, b"hi") + close(1000))(peer)
        peer.expect_close(1000)

    assert opens(speak, **DEFLATE).messages == ["hi"]


def test_an_interim_answer_is_not_the_answer() -> None:
    """RFC 9110 15.2: a client must be able to take any number of them."""

    def speak(peer: WsPeer) -> None:
        peer.read_opening()
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        peer.send(hints, peer.good_answer(), close(1000))
        peer.expect_close(1000)

    opens(speak)


def test_an_answer_may_come_byte_by_byte_and_frames_with_its_last() -> None:
    def speak(peer: WsPeer) -> None:
        peer.read_opening()
        head = peer.good_answer()
        peer.drip(head[:-1])
        peer.send(head[-1:], frame(TEXT, b"in the same packet"), frame(BINARY, b"\xff" * 300))
        peer.drip(frame(TEXT, "später".encode()) + close(1000, b"bye"))
        peer.expect_close(1000)

    assert opens(speak).messages == ["in the same packet", b"\xff" * 300, "später"]


def test_frames_behind_the_answer_are_not_lost_when_the_server_is_gone() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open(then=b"".join(frame(TEXT, b"%d" % n) for n in range(1000)) + close(1000))

    assert opens(speak).messages == [str(n) for n in range(1000)]


@pytest.mark.parametrize("size", [65536, 65537])
def test_a_header_may_have_64_kib(size: int) -> None:
    def speak(peer: WsPeer) -> None:
        peer.read_opening()
        room = size - len(peer.good_answer("X: "))
        peer.send(peer.good_answer("X: " + "a" * room), close(1000))
        peer.wait_for_close()

    if size > 65536:
        assert "header is too long" in refused(speak).errMsg
    else:
        opens(speak)


def test_an_endless_header_is_bounded() -> None:
    def pour(peer: WsPeer) -> None:
        peer.read_opening()
        peer.send(STATUS.encode() + b"\r\n")
        while True:
            peer.send(b"X-Many: " + b"a" * 1014 + b"\r\n")

    with growth() as grown:
        error = refused(pour)
    assert "header is too long" in error.errMsg
    assert grown.megabytes < 4
    assert error.errno == PROTOCOL


# --- no answer ------------------------------------------------------------------------------------


def drips_for_ever(peer: WsPeer) -> None:
    peer.read_opening()
    peer.send(STATUS.encode() + b"\r\n")
    while True:
        peer.send(b"X: 1\r\n")
        peer.peer.pace(0.02)


def says_then(data: bytes, then: Callable[[WsPeer], None]) -> Behaviour:
    def speak(peer: WsPeer) -> None:
        peer.read_opening()
        peer.send(data)
        then(peer)

    return speak


HALF = "\r\n".join(GOOD[:2]).encode()


def leaves(_: WsPeer) -> None:
    """The end of a behaviour ends its connection."""


CUT: dict[str, Behaviour] = {
    "the server closes": says_then(b"", leaves),
    "the server closes unasked": leaves,
    "the server resets": says_then(b"", WsPeer.reset),
    "closed in the status line": says_then(b"HTTP/1.1 10", leaves),
    "closed in the header": says_then(HALF, leaves),
    "closed before the blank line": says_then(HALF + b"\r\n", leaves),
    "closed in the blank line": says_then(HALF + b"\r\n\r", leaves),
    "reset in the header": says_then(HALF, WsPeer.reset),
    "garbage": says_then(b"\x00\xff\x16\x03" * 64, leaves),
    "garbage with a blank line": says_then(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", leaves),
    "a frame": says_then(frame(TEXT, b"Hello"), leaves),
    "lines that end in LF": says_then(HALF.replace(b"\r", b"") + b"\n\n", leaves),
    "half of the connection ends": says_then(HALF, WsPeer.end_sending),
}


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("behind_tls", [False, True], ids=["ws", "wss"])
def test_an_answer_that_ends_early_is_none(name: str, behind_tls: bool, tls: ThrowawayTls) -> None:
    error = refused(CUT[name], tls=tls if behind_tls else None)
    assert error.errno in (INTERRUPTED, PROTOCOL)


def test_frames_before_the_answer_spoil_it() -> None:
    def speak(peer: WsPeer) -> None:
        peer.read_opening()
        peer.send(frame(TEXT, b"Hello"), peer.good_answer(), close(1000))

    assert refused(speak).errno == PROTOCOL


SILENT: dict[str, Behaviour] = {
    "silence": says_then(b"", WsPeer.drain),
    "silence from the beginning": WsPeer.drain,
    "silence in the header": says_then(HALF, WsPeer.drain),
    "fields for ever": drips_for_ever,
}


@pytest.mark.parametrize("name", SILENT)
def test_the_timeout_bounds_the_opening(name: str) -> None:
    begin = time.monotonic()
    error = refused(SILENT[name], timeout=200)
    assert 0.2 <= time.monotonic() - begin < SOON
    assert error.errno == TIMEOUT
    assert error.errMsg == "connectSocket:fail timeout"


def test_the_timeout_is_for_the_opening_only() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.peer.pace(1.8)
        peer.send(close(1000))
        peer.expect_close(1000)

    opens(speak, timeout=1500)


def test_an_answer_that_is_there_in_time_is_not_late_because_a_callback_took_long() -> None:
    """The engine sees the answer and the end of the time in one turn."""

    def speak(peer: WsPeer) -> None:
        peer.read_opening()
        if peer.peer.number == 0:
            peer.send(peer.good_answer())
            peer.gate()
            peer.send(frame(TEXT, b"block"))
            peer.drain()
        else:
            peer.server.gate.set()
            assert peer.server.reached.wait(LIMIT)
            peer.send(peer.good_answer(), frame(TEXT, b"here"))
            peer.server.passed.set()
            peer.drain()

    def blocks(_: object) -> None:
        server.reached.set()
        assert server.passed.wait(LIMIT)
        server.stopping.wait(2.2)  # that is how long the callback takes

    with HostileServer(speak) as server, ft.Client() as client:
        first, story = socket(client, server.ws_url)
        story.until("open")
        first.onMessage(blocks)
        _, story = socket(client, server.ws_url, timeout=2000)
        story.until("message")
        assert story.names == ["open", "message"]


# --- no connection --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_nobody_listens(way: str) -> None:
    with closed_port() as port, ft.Client() as client:
        error = check_refused(*WAYS[way](client, f"ws://127.0.0.1:{port}/"))
        assert error.errno == ft.Errno.CONNECT


def test_the_timeout_bounds_the_connection() -> None:
    with BlackHole() as hole, ft.Client() as client:
        url = hole.url.replace("http", "ws")
        assert (
            check_refused(*by_asyncio(client, url, timeout=200)).errMsg
            == "connectSocket:fail timeout"
        )


HANDSHAKES = {
    "handshake_is_cut": (TLS, INTERRUPTED),
    "handshake_is_reset": (TLS, INTERRUPTED),
    "handshake_is_cut_in_server_hello": (TLS, INTERRUPTED),
    "handshake_is_answered_in_plain_text": (TLS,),
    "handshake_is_refused_by_alert": (TLS,),
    "handshake_stalls_in_server_hello": (TIMEOUT,),
    "silent": (TIMEOUT,),
}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_a_tls_handshake_that_fails(name: str, tls: ThrowawayTls) -> None:
    timeout = 300 if TIMEOUT in HANDSHAKES[name] else 20_000
    with AwkwardServer(BEHAVIOURS[name]) as server, ft.Client(ca=tls.ca) as client:
        url = server.url.replace("http", "wss")
        assert check_refused(*by_asyncio(client, url, timeout=timeout)).errno in HANDSHAKES[name]


def test_a_certificate_that_nobody_vouches_for(tls: ThrowawayTls) -> None:
    with HostileServer(WsPeer.open, tls=tls.context) as server, ft.Client() as client:
        assert check_refused(*by_asyncio(client, server.ws_url)).errno == TLS
        assert server.requests == []


def test_a_plain_socket_to_a_tls_server(tls: ThrowawayTls) -> None:
    with HostileServer(WsPeer.open, tls=tls.context) as server, ft.Client() as client:
        url = server.ws_url.replace("wss", "ws")
        assert check_refused(*by_asyncio(client, url, timeout=8000)).errno in (
            INTERRUPTED,
            PROTOCOL,
        )
