"""permessage-deflate (RFC 7692): what is agreed on, that messages survive it, and what it saves."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.typing import ExtensionParameter

import ftnet as ft
from tests.servers.websocket import frames_in, relaying, serving, tls_context
from tests.sockets import LIMIT, as_sent, closed, echoes, failure, opened

COMPRESSED, FINAL, TEXT, BINARY = 0x40, 0x80, 1, 2


def far_apart(seed: int = 0) -> str:
    """Text whose repetitions lie 300 to 40,000 characters apart: each window finds some of them."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abcdefghij", k=40)) for _ in range(30)]
    filler = ["".join(chance.choices("klmnopqrst", k=300)) for _ in range(60)]
    return "".join(chance.choice(words) + piece for piece in filler) + "".join(filler[:30])


def messages() -> list[str | bytes]:
    """What is hard to get right: repetitions near and far, none at all, nothing, one byte."""
    noise = random.Random(1).randbytes(70_000)
    prose = "All work and no play makes Jack a dull boy. " * 400
    some: list[str | bytes] = ["", "a", prose, prose, noise, noise[:1], b"", far_apart()]
    return [*some, far_apart(), prose.encode(), "é€😀" * 5000, bytes(200_000), "last"]


def deflate(**parameters: Any) -> ServerPerMessageDeflateFactory:
    return ServerPerMessageDeflateFactory(**parameters)


def check_echo(client: ft.Client, url: str, **options: Any) -> str | None:
    """Sends all kinds of messages, which come back equal; what was agreed on."""
    sent = messages()
    task, story = echoes(client, url + "/echo", sent, **options)
    assert task.wait_closed(LIMIT).code == 1000
    story.end()
    assert story.messages == sent
    agreed: str | None = story.of("open")[0].header.get("Sec-WebSocket-Extensions")
    return agreed


# --- what is offered and agreed on ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "offer"),
    [
        (True, ""),
        ({}, ""),
        ({"serverNoContextTakeover": True}, "; server_no_context_takeover"),
        ({"serverNoContextTakeover": False, "clientNoContextTakeover": False}, ""),
        ({"clientNoContextTakeover": True}, "; client_no_context_takeover"),
        ({"serverMaxWindowBits": 9}, "; server_max_window_bits=9"),
        ({"clientMaxWindowBits": 12}, "; client_max_window_bits=12"),
        (
            {
                "serverNoContextTakeover": True,
                "clientNoContextTakeover": True,
                "serverMaxWindowBits": 10,
                "clientMaxWindowBits": 11,
            },
            "; server_no_context_takeover; client_no_context_takeover"
            "; server_max_window_bits=10; client_max_window_bits=11",
        ),
    ],
)
def test_the_offer_says_what_was_asked_for(
    plain: ft.Client, sockets: Any, given: Any, offer: str
) -> None:
    task, _ = opened(plain, sockets.url, perMessageDeflate=given)
    if "client_max_window_bits" not in offer:
        offer += "; client_max_window_bits"
    assert sockets.peer().header["Sec-WebSocket-Extensions"] == f"permessage-deflate{offer}"
    closed(task)


@pytest.mark.parametrize("given", [False, None])
def test_without_the_option_nothing_is_offered(
    plain: ft.Client, socket_loop: Any, given: Any
) -> None:
    with serving(socket_loop, deflate=deflate()) as server:
        assert check_echo(plain, server.url, perMessageDeflate=given) is None
        assert "Sec-WebSocket-Extensions" not in server.peer().header


def test_a_server_that_does_not_want_it_is_spoken_to_without(
    plain: ft.Client, sockets: Any
) -> None:
    assert check_echo(plain, sockets.url, perMessageDeflate=True) is None


@pytest.mark.parametrize("server_bits", [9, 10, 11, 12, 13, 14, 15])
def test_the_server_limits_its_window(plain: ft.Client, socket_loop: Any, server_bits: int) -> None:
    with serving(socket_loop, deflate=deflate(server_max_window_bits=server_bits)) as server:
        agreed = check_echo(plain, server.url, perMessageDeflate=True)
    assert agreed is not None
    assert f"server_max_window_bits={server_bits}" in agreed


@pytest.mark.parametrize("client_bits", [9, 10, 11, 12, 13, 14, 15])
def test_the_server_limits_our_window(plain: ft.Client, socket_loop: Any, client_bits: int) -> None:
    with serving(socket_loop, deflate=deflate(client_max_window_bits=client_bits)) as server:
        agreed = check_echo(plain, server.url, perMessageDeflate=True)
    assert agreed is not None
    assert f"client_max_window_bits={client_bits}" in agreed


@pytest.mark.parametrize("bits", [9, 12, 15])
def test_the_client_limits_both_windows(plain: ft.Client, socket_loop: Any, bits: int) -> None:
    given = {"serverMaxWindowBits": bits, "clientMaxWindowBits": bits}
    with serving(socket_loop, deflate=deflate()) as server:
        agreed = check_echo(plain, server.url, perMessageDeflate=given)
    assert agreed is not None
    if bits < 15:
        assert f"server_max_window_bits={bits}; client_max_window_bits={bits}" in agreed


@pytest.mark.parametrize("by", ["client", "server"])
@pytest.mark.parametrize("of_server", [False, True])
@pytest.mark.parametrize("of_client", [False, True])
def test_contexts_are_taken_over_or_not(
    plain: ft.Client, socket_loop: Any, by: str, of_server: bool, of_client: bool
) -> None:
    given: Any = True
    parameters: dict[str, Any] = {}
    if by == "client":
        given = {"serverNoContextTakeover": of_server, "clientNoContextTakeover": of_client}
    else:
        parameters = {
            "server_no_context_takeover": of_server,
            "client_no_context_takeover": of_client,
        }
    with serving(socket_loop, deflate=deflate(**parameters)) as server:
        agreed = check_echo(plain, server.url, perMessageDeflate=given)
    assert agreed is not None
    assert ("server_no_context_takeover" in agreed) is of_server
    assert ("client_no_context_takeover" in agreed) is of_client


def test_a_window_of_8_bits_for_us_means_that_we_do_not_compress(
    plain: ft.Client, socket_loop: Any
) -> None:
    with (
        serving(socket_loop, deflate=deflate(client_max_window_bits=8)) as server,
        relaying(socket_loop, server.port) as relay,
    ):
        agreed = check_echo(plain, relay.url, perMessageDeflate=True)
        frames = frames_in(bytes(relay.sent))
    assert agreed is not None
    assert "client_max_window_bits=8" in agreed
    assert not any(first & COMPRESSED for first, _ in frames)


class Answers(ServerPerMessageDeflateFactory):
    """Answers an offer with parameters of the test's choice."""

    def __init__(self, parameters: list[ExtensionParameter]) -> None:
        super().__init__()
        self.parameters = parameters

    def process_request_params(self, params: Any, accepted_extensions: Any) -> Any:
        _, extension = super().process_request_params(params, accepted_extensions)
        return self.parameters, extension


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ([("server_max_window_bits", "7")], "must be from 8 to 15, got 7"),
        ([("server_max_window_bits", "16")], "must be from 8 to 15, got 16"),
        ([("server_max_window_bits", "09")], "must be a number, got '09'"),
        ([("server_max_window_bits", None)], "must be a number, got ''"),
        ([("server_max_window_bits", "9" * 5000)], "server_max_window_bits must be"),
        ([("client_max_window_bits", "x")], "must be a number, got 'x'"),
        ([("server_no_context_takeover", "1")], "takes no value"),
        ([("unheard_of", None)], "unknown parameter 'unheard_of'"),
        ([("server_max_window_bits", "9"), ("server_max_window_bits", "9")], "comes twice"),
    ],
)
def test_an_answer_that_must_not_be_given_is_refused(
    plain: ft.Client, socket_loop: Any, parameters: list[ExtensionParameter], words: str
) -> None:
    with serving(socket_loop, deflate=Answers(parameters)) as server:
        error = failure(plain, server.url, perMessageDeflate=True)
    assert error.errno == ft.Errno.PROTOCOL
    assert words in error.errMsg


class EightBits(ServerPerMessageDeflateFactory):
    """Says 8 where it compresses with 9: the same for messages of less than 256 bytes."""

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], Any]:
        answer, extension = super().process_request_params(params, accepted_extensions)
        changed: list[ExtensionParameter] = [
            (name, "8" if name == "server_max_window_bits" else value) for name, value in answer
        ]
        return changed, extension


def test_the_server_may_have_a_window_of_8_bits(plain: ft.Client, socket_loop: Any) -> None:
    factory = EightBits(server_max_window_bits=9, server_no_context_takeover=True)
    sent = ["a", "ab" * 100, "", "x" * 200, b"\0" * 250]
    with serving(socket_loop, deflate=factory) as server:
        task, story = echoes(plain, server.url + "/echo", sent, perMessageDeflate=True)
        assert task.wait_closed(LIMIT).code == 1000
        story.end()
    assert "server_max_window_bits=8" in story.of("open")[0].header["sec-websocket-extensions"]
    assert story.messages == sent


# --- other servers, TLS ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        True,
        {"serverNoContextTakeover": True},
        {"clientNoContextTakeover": True},
        {"serverMaxWindowBits": 10},
        {"clientMaxWindowBits": 10},
        {"serverNoContextTakeover": True, "clientNoContextTakeover": True},
    ],
)
def test_with_aiohttp(plain: ft.Client, aiohttp_sockets: Any, given: Any) -> None:
    agreed = check_echo(plain, aiohttp_sockets.url, perMessageDeflate=given)
    assert agreed is not None
    assert agreed.startswith("permessage-deflate")


def test_over_tls(socket_loop: Any, certificates: Any) -> None:
    with (
        serving(socket_loop, deflate=deflate(), tls=tls_context(certificates.good)) as server,
        ft.Client(ca=str(certificates.ca), trust_env=False) as client,
    ):
        assert check_echo(client, server.url, perMessageDeflate=True)


# --- messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("takeover", [True, False])
def test_a_thousand_messages_come_back_equal(
    plain: ft.Client, socket_loop: Any, takeover: bool
) -> None:
    chance = random.Random(7)
    texts = [far_apart(number) for number in range(5)]
    sent = [chance.choice(texts)[: chance.randrange(2000)] for _ in range(1000)]
    parameters = {
        "server_no_context_takeover": not takeover,
        "client_no_context_takeover": not takeover,
    }
    with serving(socket_loop, deflate=deflate(**parameters)) as server:
        task, story = opened(plain, server.url + "/echo", perMessageDeflate=True)
        for message in sent:
            task.send(data=message)
        story.until("message", len(sent))
        closed(task)
    assert story.messages == sent


def test_a_compressed_message_can_be_sent_in_parts(plain: ft.Client, socket_loop: Any) -> None:
    with (
        serving(socket_loop, deflate=deflate()) as server,
        relaying(socket_loop, server.port) as relay,
    ):
        task, story = opened(plain, relay.url + "/echo", perMessageDeflate=True)
        for part in ("part " * 50, "", "é" * 100):
            task.send(data=part, final=False)
        task.send(data="")
        task.send(data=b"", final=False)
        task.send(data=b"end")
        story.until("message", 2)
        closed(task)
        frames = [first for first, _ in frames_in(bytes(relay.sent))]
    assert story.messages == ["part " * 50 + "é" * 100, b"end"]
    assert frames[:4] == [TEXT | COMPRESSED, 0, 0, FINAL]
    assert frames[4:6] == [BINARY | COMPRESSED, FINAL]


@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_fragments_of_the_server_come_as_one_message(
    plain: ft.Client, socket_loop: Any, size: int
) -> None:
    sent: list[str | bytes] = ["é€" * 150, b"x" * 400, "", far_apart()[: size * 500]]
    with serving(socket_loop, deflate=deflate()) as server:
        url = f"{server.url}/pieces?size={size}"
        task, story = opened(plain, url, perMessageDeflate=True)
        for message in sent:
            task.send(data=message)
        story.until("message", len(sent))
        closed(task)
    assert story.messages == sent


def test_with_enable_chunked_compressed_messages_come_in_pieces(
    plain: ft.Client, socket_loop: Any
) -> None:
    sent = [far_apart() * 20, "", b"x" * 500_000]
    with serving(socket_loop, deflate=deflate()) as server:
        options = {"perMessageDeflate": True, "enableChunked": True}
        task, story = opened(plain, server.url + "/echo", **options)
        for message in sent:
            task.send(data=message)
        got: list[bytes] = []
        parts: list[bytes] = []
        number = 0
        while len(got) < len(sent):
            number += 1
            event = story.until("message", number)
            parts.append(bytes(event.data))
            if event.final:
                got.append(b"".join(parts))
                parts = []
        closed(task)
    assert got == [m.encode() if isinstance(m, str) else m for m in sent]


def test_a_message_that_unpacks_to_more_than_the_limit_closes_with_1009(socket_loop: Any) -> None:
    with (
        serving(socket_loop, deflate=deflate()) as server,
        ft.Client(max_message_bytes=100_000, trust_env=False) as client,
    ):
        task, story = opened(client, server.url + "/quiet", perMessageDeflate=True)
        server.peer().send(bytes(100_000))
        assert len(story.until("message").data) == 100_000
        server.peer().send(bytes(100_001))
        assert story.end().code == 1006
        assert story.of("error")[0].errno == ft.Errno.INVALID_DATA
        assert server.peer().wait_over()[0] == 1009
        assert task.readyState == ft.SocketTask.CLOSED


def test_buffered_amount_is_back_at_zero(plain: ft.Client, socket_loop: Any) -> None:
    with serving(socket_loop, deflate=deflate()) as server:
        task, story = opened(plain, server.url + "/echo", perMessageDeflate=True)
        for number in range(50):
            task.send(data=far_apart(number), success=story.note("sent"))
        story.until("sent", 50)
        assert task.bufferedAmount == 0
        closed(task)


# --- what it saves --------------------------------------------------------------------------------


def bytes_on_the_wire(
    client: ft.Client, socket_loop: Any, data: str, count: int, **parameters: Any
) -> tuple[int, int]:
    """Bytes sent and received for `count` times the same message and its echo."""
    with (
        serving(socket_loop, deflate=deflate(**parameters)) as server,
        relaying(socket_loop, server.port) as relay,
    ):
        task, story = opened(client, relay.url + "/echo", perMessageDeflate=True)
        before = len(relay.sent), len(relay.received)
        for _ in range(count):
            task.send(data=data)
        story.until("message", count)
        assert {as_sent(message) for message in story.messages} == {data}
        used = len(relay.sent) - before[0], len(relay.received) - before[1]
        closed(task)
    return used


def test_compression_saves_bytes_both_ways(plain: ft.Client, socket_loop: Any) -> None:
    data = "All work and no play makes Jack a dull boy. " * 1000
    sent, received = bytes_on_the_wire(plain, socket_loop, data, 1)
    assert sent < len(data) // 50
    assert received < len(data) // 50


def test_a_context_that_is_taken_over_saves_more(plain: ft.Client, socket_loop: Any) -> None:
    data = "".join(random.Random(3).choices("abcdefghijklmnopqrstuvwxyz", k=2000))
    kept = bytes_on_the_wire(plain, socket_loop, data, 20)
    fresh = {"server_no_context_takeover": True, "client_no_context_takeover": True}
    lost = bytes_on_the_wire(plain, socket_loop, data, 20, **fresh)
    assert kept[0] < lost[0] // 5
    assert kept[1] < lost[1] // 5
