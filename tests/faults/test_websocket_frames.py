"""Servers that break the protocol after the opening (RFC 6455 5, 7 and 8.1), one by one.

Every fault: the server is told the right close code and nothing more, messages before the fault
are delivered, then comes one ``onError`` and ``onClose(1006)``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

import ftnet as ft
from tests import ws_reference
from tests.drivers import run_uvloop
from tests.faults.meetings import LIMIT, MEGABYTE, SOON, fill, growth, meeting
from tests.servers.awkward import Gone, ThrowawayTls
from tests.servers.hostile_ws import Behaviour, HostileServer, WsPeer
from tests.sockets import Story
from tests.ws_streams import (
    BINARY,
    CLOSE,
    CONTINUE,
    FAULTS,
    GOOD,
    PING,
    PONG,
    TEXT,
    Stream,
    close,
    frame,
    length_bytes,
)

BEFORE = frame(TEXT, b"before")
ERRNO = {1002: ft.Errno.PROTOCOL, 1007: ft.Errno.PROTOCOL, 1009: ft.Errno.INVALID_DATA}


def messages_of(stream: Stream) -> list[str | bytes]:
    """Those that a stream has before its fault, by the reference."""
    found: list[str | bytes] = []
    payload = b""
    for event in ws_reference.read(stream):
        if event[0] == "data":
            payload += event[6]
            if event[5]:
                found.append(payload.decode() if event[1] == TEXT else payload)
                payload = b""
    return found


def pings_of(stream: Stream) -> list[bytes]:
    return [event[1] for event in ws_reference.read(stream) if event[0] == "ping"]


def check_fault(story: Story, code: int) -> None:
    (error,) = story.of("error")
    assert error.errno == ERRNO[code]
    assert f"closed with {code}" in error.errMsg
    assert error.errMsg.startswith("connectSocket:fail ")


WAYS: dict[str, Callable[[WsPeer, bytes], None]] = {
    "in one packet": WsPeer.send,
    "byte by byte": WsPeer.drip,
    "behind TLS": WsPeer.send,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_the_socket_with_its_code(name: str, way: str, tls: ThrowawayTls) -> None:
    code, stream = FAULTS[name]

    def speak(peer: WsPeer) -> None:
        peer.open(deflate=stream.deflate)
        WAYS[way](peer, BEFORE + stream.data)
        assert peer.expect_close(code).payload[2:] == b""

    with meeting(
        speak,
        tls=tls if way == "behind TLS" else None,
        client={"max_message_bytes": stream.limit or None},
        perMessageDeflate=stream.deflate,
    ) as met:
        met.broken()
        check_fault(met.story, code)
        whole = Stream(BEFORE + stream.data, stream.deflate, stream.limit)
        assert met.story.messages == messages_of(whole)
        met.server.wait_until_alone()
        pongs = [sent.payload for sent in met.server.frames if sent.opcode == PONG]
        assert pongs == pings_of(whole)


PLAIN = sorted(name for name, stream in GOOD.items() if not stream.deflate)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PLAIN)
def test_what_is_odd_but_right_does_no_harm(name: str, way: str, tls: ThrowawayTls) -> None:
    """The streams without a fault; those that are cut short end with the connection."""
    stream = GOOD[name]
    said_close = ("close",) in [event[:1] for event in ws_reference.read(stream)]

    def speak(peer: WsPeer) -> None:
        peer.open()
        WAYS[way](peer, stream.data)
        if said_close:
            peer.wait_for_close()

    with meeting(
        speak,
        tls=tls if way == "behind TLS" else None,
        client={"max_message_bytes": stream.limit or None},
    ) as met:
        assert met.end[0] == (ws_reference.read(stream)[-1][1] if said_close else 1006)
        assert met.story.names.count("error") == (0 if said_close else 1)
        assert met.story.messages == messages_of(stream)


# --- faults that need a conversation --------------------------------------------------------------

LARGE = b"a" * 100_000
UNLIMITED = {"max_message_bytes": None}


def says(data: bytes, code: int = 1002, then: bytes = b"") -> Behaviour:
    """Says this behind the answer, waits for the close frame, says something more."""

    def speak(peer: WsPeer) -> None:
        peer.open(then=data)
        peer.expect_close(code)
        peer.send(then)

    return speak


def bad_byte_within_a_large_frame(peer: WsPeer) -> None:
    """The rest of the frame is never sent: the first bad byte is enough."""
    peer.open(then=BEFORE)
    peer.send(b"\x81" + length_bytes(1 << 40), LARGE, b"\xff")
    peer.expect_close(1007)


def bad_byte_in_a_later_piece_of_a_large_message(peer: WsPeer) -> None:
    peer.open(then=BEFORE + frame(TEXT, LARGE, fin=False) + frame(PING, b"?"))
    assert peer.next(PONG).payload == b"?"
    peer.send(b"\x00" + length_bytes(1 << 40), LARGE, b"\xc0")
    peer.expect_close(1007)


LIVE: dict[str, tuple[int, Behaviour]] = {
    "a fault in the packet of the answer": (1002, says(BEFORE + b"\xb1")),
    "a second answer": (1002, says(BEFORE + b"HTTP/1.1 101 Switching Protocols\r\n\r\n")),
    "an HTTP error": (1002, says(BEFORE + b"HTTP/1.1 502 Bad Gateway\r\n\r\n")),
    "a line of text": (1002, says(BEFORE + b"Hello, World!\r\n")),
    "zeros": (1002, says(BEFORE + bytes(65536))),
    "ones": (1002, says(BEFORE + b"\xff" * 65536)),
    "good frames behind the fault": (1002, says(BEFORE + b"\x83\x00" + frame(TEXT, b"late"))),
    "another fault behind the fault": (1007, says(BEFORE + frame(TEXT, b"\xff") + b"\x83", 1007)),
    "a ping behind the fault": (1002, says(BEFORE + b"\x83\x00" + frame(PING, b"?"))),
    "a close behind the fault": (1002, says(BEFORE + b"\x83\x00" + close(1000))),
    "a close in answer to ours": (1002, says(BEFORE + b"\xb1", then=close(1002))),
    "data in answer to our close": (1002, says(BEFORE + b"\xb1", then=frame(TEXT, b"late") * 999)),
    "a client's frame": (1002, says(BEFORE + b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58")),
    "a bad byte within a large frame": (1007, bad_byte_within_a_large_frame),
    "a bad byte in a later piece": (1007, bad_byte_in_a_later_piece_of_a_large_message),
}


@pytest.mark.parametrize("name", LIVE)
def test_a_fault_in_a_conversation(name: str) -> None:
    code, behaviour = LIVE[name]
    with meeting(behaviour, client=UNLIMITED) as met:
        met.broken()
        check_fault(met.story, code)
        assert met.story.messages == ["before"]


def test_there_are_many_faults() -> None:
    assert len(FAULTS) + len(LIVE) >= 60


def test_messages_come_to_their_listener_though_nobody_listens_for_the_opening() -> None:
    seen: list[object] = []
    with HostileServer(says(BEFORE * 3 + close(1000), 1000)) as server, ft.Client() as client:
        task = client.connectSocket(url=server.ws_url)
        task.onMessage(lambda event: seen.append(event.data))
        task.wait_closed(LIMIT)
        assert seen == ["before"] * 3


def test_all_messages_before_a_fault_are_delivered() -> None:
    numbers = b"".join(frame(TEXT, b"%d" % n) for n in range(10_000))

    with meeting(says(numbers + b"\xb1")) as met:
        met.broken()
        assert met.story.messages == [str(n) for n in range(10_000)]


@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_complete_of_a_message_is_no_message(chunked: bool) -> None:
    """With `enableChunked` its pieces are delivered, and none of them is the last."""
    pieces = frame(TEXT, b"one ", fin=False) + frame(CONTINUE, b"two", fin=False)

    with meeting(says(pieces + b"\x81"), enableChunked=chunked) as met:
        met.broken()
        told = met.story.of("message")
        assert [bytes(event.data) for event in told] == ([b"one ", b"two"] if chunked else [])
        assert not any(event.final for event in told)


def test_iterating_gives_the_messages_and_raises_the_fault() -> None:
    async def iterate(task: ft.SocketTask, seen: list[str]) -> None:
        async for message in task:
            seen.append(message)

    seen: list[str] = []
    with meeting(says(BEFORE * 3 + b"\xb1"), deaf=True) as met:
        with pytest.raises(ft.FtError, match="closed with 1002"):
            asyncio.run(iterate(met.task, seen))
        met.broken()
    assert seen == ["before"] * 3


# --- what is answered before a fault is told ------------------------------------------------------


def hears_the_answers(peer: WsPeer) -> None:
    """Three messages and a fault in one packet: three answers come, then the close frame."""
    peer.open()
    peer.gate()
    peer.send(BEFORE * 3 + b"\xb1")
    for _ in range(3):
        assert peer.next(TEXT).payload == b"answer"
    assert peer.next(CLOSE).code == 1002


@pytest.mark.parametrize("behind_tls", [False, True], ids=["ws", "wss"])
def test_answers_to_messages_before_a_fault_go_out(
    behind_tls: bool, tls: ThrowawayTls, drive_sockets: Any
) -> None:
    """By a listener, whoever drives the engine."""
    context = tls.context if behind_tls else None
    story = Story()

    def start(url: str) -> list[ft.SocketTask]:
        task = client.connectSocket(url=url)
        story.listen(task)
        task.onOpen(lambda _: server.gate.set())
        task.onMessage(lambda _: task.send(data="answer", **story.callbacks("send ")))
        return [task]

    with (
        HostileServer(hears_the_answers, tls=context) as server,
        ft.Client(ca=tls.ca) as client,
    ):
        drive_sockets(lambda: start(server.ws_url))
        check_fault(story, 1002)
        assert story.messages == ["before"] * 3
        assert story.names.count("send success") == 3


@pytest.mark.parametrize("run", [asyncio.run, run_uvloop], ids=["asyncio", "uvloop"])
def test_answers_of_a_loop_to_messages_before_a_fault_go_out(run: Any) -> None:
    """The loop runs in the thread that drives."""

    async def answer(url: str) -> None:
        task = client.connectSocket(url=url)
        task.onOpen(lambda _: server.gate.set())
        async for _ in task:
            task.send(data="answer")

    with (
        HostileServer(hears_the_answers) as server,
        ft.Client() as client,
        pytest.raises(ft.FtError, match="closed with 1002"),
    ):
        run(answer(server.ws_url))


def test_a_close_in_answer_does_not_hide_the_fault() -> None:
    """The server is told of its fault, not what the owner closes with; so is the owner."""

    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.gate()
        peer.send(BEFORE + b"\xb1")
        assert peer.frame().code == 1002

    with meeting(speak) as met:
        met.task.onMessage(lambda _: met.task.close(code=4000, reason="enough"))
        met.server.gate.set()
        met.broken()
        check_fault(met.story, 1002)


def test_an_abort_in_answer_ends_it_without_a_word() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.gate()
        peer.send(BEFORE + b"\xb1")
        peer.wait_for_end()

    with meeting(speak) as met:
        states: list[int] = []
        met.task.onMessage(lambda _: (states.append(met.task.readyState), met.task.abort()))
        met.server.gate.set()
        assert met.end == (1006, "")
        assert states == [met.task.OPEN]


def test_a_server_that_has_said_all_with_its_fault_gets_the_answers() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.gate()
        peer.send(BEFORE + b"\xb1")
        peer.end_sending()
        assert peer.next(TEXT).payload == b"answer"
        peer.expect_close(1002)

    with meeting(speak) as met:
        met.task.onMessage(lambda _: met.task.send(data="answer"))
        met.server.gate.set()
        met.broken()
        check_fault(met.story, 1002)


# --- after a fault --------------------------------------------------------------------------------


def test_a_server_that_stays_is_left_after_a_second() -> None:
    def speak(peer: WsPeer) -> None:
        says(b"\xb1")(peer)
        peer.wait_for_end()

    begin = time.monotonic()
    with meeting(speak) as met:
        met.broken()
        assert 0.8 < time.monotonic() - begin < SOON


def test_a_server_that_does_not_read_the_close_frame_is_left() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.gate()
        peer.send(BEFORE + b"\xb1")
        assert peer.server.passed.wait(10)

    with meeting(speak, receive_buffer=4096) as met:
        met.story.until("open")
        fill(met.task)
        met.server.gate.set()
        met.story.until("message")
        begin = time.monotonic()
        met.broken()
        assert time.monotonic() - begin < SOON
        met.server.passed.set()


BAD_BYTE = b"\x81" + length_bytes(1 << 40) + LARGE + b"\xff"
POURED = {
    "messages": (b"\xb1", frame(BINARY, bytes(65536))),
    "more of a frame with a bad byte": (BAD_BYTE, b"a" * 65536),
    "more of a frame with a bad byte, behind TLS": (BAD_BYTE, b"a" * 65536),
    "pings behind TLS": (b"\xb1", frame(PING, b"?") * 9999),
}


@pytest.mark.parametrize("name", POURED)
def test_what_is_poured_after_a_fault_takes_neither_memory_nor_time(
    name: str, tls: ThrowawayTls
) -> None:
    fault, block = POURED[name]
    context = tls if "TLS" in name else None

    def speak(peer: WsPeer) -> None:
        peer.open(then=fault)
        peer.wait_for_close()
        while True:
            peer.send(block)

    with growth() as grown, meeting(speak, tls=context, client=UNLIMITED) as met:
        begin = time.monotonic()
        met.broken()
        assert time.monotonic() - begin < SOON
    assert grown.megabytes < 8


def test_a_fault_while_we_are_closing() -> None:
    """The server has our close frame already: there is no second one."""

    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.expect_close(1000)
        peer.send(BEFORE + b"\xb1")
        peer.wait_for_end()

    with meeting(speak) as met:
        met.story.until("open")
        met.task.close()
        met.broken()
        assert met.story.messages == ["before"]


def test_a_fault_behind_a_close_frame_is_none() -> None:
    with meeting(says(BEFORE + close(4000, b"done") + b"\xb1\xff", 4000)) as met:
        assert met.clean() == (4000, "done")


def test_a_fault_of_one_socket_is_none_of_another() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        if peer.peer.number == 0:
            peer.gate()
            peer.send(BEFORE, close(1000))
            peer.expect_close(1000)
        else:
            peer.send(b"\xb1")
            peer.expect_close(1002)
            peer.server.gate.set()

    with meeting(speak) as met:
        met.story.until("open")
        other = Story().listen(met.client.connectSocket(url=met.server.ws_url))
        assert other.end().code == 1006
        assert met.clean() == (1000, "")
        assert met.story.messages == ["before"]


# --- limits ---------------------------------------------------------------------------------------

LIMITED = {"max_message_bytes": 1000}


def test_a_message_may_have_as_many_bytes_as_the_limit() -> None:
    pieces = frame(BINARY, bytes(600), fin=False) + frame(CONTINUE, bytes(400))
    data = frame(BINARY, bytes(1000)) + pieces + frame(TEXT, "ä".encode() * 500)

    with meeting(says(data + close(1000), 1000), client=LIMITED) as met:
        assert met.clean() == (1000, "")
        assert met.story.messages == [bytes(1000), bytes(1000), "ä" * 500]


OVER = {
    "one frame": b"\x82" + length_bytes(1001),
    "pieces": frame(BINARY, bytes(600), fin=False) + b"\x80" + length_bytes(401),
    "with control frames between": frame(BINARY, bytes(1000), fin=False)
    + frame(PONG)
    + b"\x00\x01",
}


@pytest.mark.parametrize("name", OVER)
def test_a_message_over_the_limit_is_refused_before_it_comes(name: str) -> None:
    with meeting(says(BEFORE + OVER[name], 1009), client=LIMITED) as met:
        met.broken()
        check_fault(met.story, 1009)
        assert "larger than" in met.story.of("error")[0].errMsg
        assert met.story.messages == ["before"]


def test_there_is_a_limit_when_none_is_set() -> None:
    with meeting(says(b"\x82" + length_bytes((64 << 20) + 1), 1009)) as met:
        met.broken()


def test_a_length_alone_takes_no_memory() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open(then=b"\x82" + length_bytes(1 << 50) + b"x")
        peer.send(frame(PING) * 9)
        peer.gate()

    with growth() as grown, meeting(speak, client=UNLIMITED) as met:
        met.story.until("open")
        met.server.gate.set()
        met.broken()
    assert grown.megabytes < 8


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "of one byte"])
@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "in pieces"])
def test_a_million_pieces_of_one_message_are_refused(payload: bytes, chunked: bool) -> None:
    """F51: each is below any limit on bytes."""
    block = frame(CONTINUE, payload, fin=False) * 10_000

    def speak(peer: WsPeer) -> None:
        peer.open(then=BEFORE + frame(BINARY, payload, fin=False))
        for _ in range(100):
            peer.send(block)
        peer.expect_close(1009)

    with growth() as grown, meeting(speak, enableChunked=chunked) as met:
        received = []
        met.task.offMessage()
        met.task.onMessage(lambda event: received.append(len(event.data)))
        met.broken()
        assert sum(received) < (1 << 20) + 6
    assert grown.megabytes < 64 if chunked else grown.megabytes < 8


FLOODS = {
    "empty texts": frame(TEXT),
    "texts of one byte": frame(TEXT, b"x"),
    "empty buffers": frame(BINARY),
}


@pytest.mark.parametrize("name", FLOODS)
@pytest.mark.parametrize("way", ["nobody listens", "paused", "a loop that waits"])
def test_many_small_messages_that_nobody_takes_are_bounded(name: str, way: str) -> None:
    """`max_buffered_bytes` bounds what they take, not what they say."""
    block = FLOODS[name] * 100_000

    def speak(peer: WsPeer) -> None:
        peer.open(then=BEFORE)
        peer.gate()
        peer.pour(block for _ in range(30))
        peer.server.passed.set()
        peer.drain()

    limited = {"max_buffered_bytes": MEGABYTE}
    with growth() as grown, meeting(speak, client=limited, deaf=way != "paused") as met:
        met.story.until("open")
        if way == "paused":
            met.task.pause()
        elif way == "a loop that waits":
            asyncio.run(anext(aiter(met.task)))
        met.server.gate.set()
        assert met.server.passed.wait(20)
        met.task.abort()
        met.story.end()
    assert grown.megabytes < 40


def test_the_peers_bytes_are_no_fault_when_it_leaves() -> None:
    """A server that dies in the middle of a frame."""

    def speak(peer: WsPeer) -> None:
        peer.open(then=BEFORE + frame(BINARY, bytes(100))[:-50])
        raise Gone

    with meeting(speak) as met:
        assert met.broken().errno == ft.Errno.INTERRUPTED
