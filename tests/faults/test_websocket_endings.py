"""How sockets end, and pings: closing in every order, peers that leave or are silent, floods."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import pairwise

import pytest

import ftnet as ft
from tests.faults.meetings import MEGABYTE, SOON, fill, growth, meeting
from tests.servers.awkward import ThrowawayTls, promptly
from tests.servers.hostile_ws import Behaviour, WsPeer
from tests.ws_streams import BINARY, CLOSE, CONTINUE, PING, PONG, TEXT, close, frame

LEGAL = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
BEHIND = pytest.mark.parametrize("behind_tls", [False, True], ids=["ws", "wss"])
LIMIT = 10.0


def says(data: bytes, code: int | None = 1000) -> Behaviour:
    """Says this behind the answer, and hears this close code."""

    def speak(peer: WsPeer) -> None:
        peer.open(then=data)
        peer.expect_close(code)

    return speak


# --- the server closes ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", LEGAL)
def test_every_legal_close_code_is_told_and_echoed(code: int) -> None:
    reason = f"grüße {code}"
    with meeting(says(frame(TEXT, b"last") + close(code, reason.encode()), code)) as met:
        assert met.clean() == (code, reason)
        assert met.story.names == ["open", "message", "close"]
        met.server.wait_until_alone()
        (sent,) = met.server.frames
        assert sent.payload == code.to_bytes(2, "big")


@pytest.mark.parametrize("reason", ["", "r" * 123, "é" * 61 + "x", "\0\x1b"])
def test_every_legal_reason_is_told(reason: str) -> None:
    with meeting(says(close(1000, reason.encode()))) as met:
        assert met.clean() == (1000, reason)


@BEHIND
def test_an_empty_close_frame_is_1005(behind_tls: bool, tls: ThrowawayTls) -> None:
    with meeting(says(frame(CLOSE), None), tls=tls if behind_tls else None) as met:
        assert met.clean() == (1005, "")


def test_a_close_frame_may_come_byte_by_byte() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.drip(close(3000, b"slowly"))
        peer.expect_close(3000)

    with meeting(speak) as met:
        assert met.clean() == (3000, "slowly")


LATE = {
    "messages": frame(TEXT, b"late") * 9,
    "pings": frame(PING, b"late") * 9,
    "another close": close(4001, b"late"),
    "garbage": b"\xff" * 999,
}


@pytest.mark.parametrize("name", LATE)
def test_what_comes_after_the_close_frame_is_ignored(name: str) -> None:
    def speak(peer: WsPeer) -> None:
        peer.open(then=close(4000, b"done") + LATE[name])
        peer.expect_close(4000)
        peer.send(LATE[name])

    with meeting(speak) as met:
        assert met.clean() == (4000, "done")
        assert met.story.names == ["open", "close"]


def test_a_close_in_the_middle_of_a_message_drops_what_came_of_it() -> None:
    pieces = frame(TEXT, b"unfin", fin=False) + frame(CONTINUE, b"ish", fin=False)
    with meeting(says(pieces + close(1001), 1001)) as met:
        assert met.clean() == (1001, "")
        assert met.story.messages == []


def test_what_was_sent_before_comes_before_the_answer_to_a_close() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.gate()
        peer.send(close(1000))
        peer.expect_close(1000)
        assert [sent.payload for sent in peer.frames[:-1]] == [b"%d" % n for n in range(500)]

    with meeting(speak) as met:
        met.story.until("open")
        for n in range(500):
            met.task.send(data=b"%d" % n)
        met.server.gate.set()
        assert met.clean() == (1000, "")


def test_a_server_that_keeps_the_connection_after_closing_is_left_after_a_second() -> None:
    """RFC 6455 7.1.1: the server is the one to end it, but it may not."""

    def speak(peer: WsPeer) -> None:
        says(close(1000))(peer)
        peer.wait_for_end()

    begin = time.monotonic()
    with meeting(speak) as met:
        assert met.clean() == (1000, "")
        assert 0.8 < time.monotonic() - begin < SOON


def resets_behind_its_close(peer: WsPeer) -> None:
    peer.open(then=close(1000, b"bye"))
    peer.wait_for_close()
    peer.reset()


def is_gone_behind_its_close(peer: WsPeer) -> None:
    peer.open(then=close(1000, b"bye"))


@pytest.mark.parametrize("behaviour", [resets_behind_its_close, is_gone_behind_its_close])
@BEHIND
def test_a_close_frame_counts_however_the_connection_ends(
    behaviour: Behaviour, behind_tls: bool, tls: ThrowawayTls
) -> None:
    with meeting(behaviour, tls=tls if behind_tls else None) as met:
        assert met.clean() == (1000, "bye")


# --- we close -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (3000, "é" * 61), (4999, "bye")])
def test_our_close_frame_has_code_and_reason(code: int, reason: str) -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        sent = peer.expect_close(code)
        assert sent.payload[2:] == reason.encode()
        peer.gate()
        peer.send(close(code, sent.payload[2:]))
        peer.says_no_more()

    with meeting(speak) as met:
        met.story.until("open")
        met.task.close(code=code, reason=reason)
        assert met.task.readyState == met.task.CLOSING
        met.server.gate.set()
        assert met.clean() == (code, reason)


def test_messages_still_come_between_our_close_and_theirs() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.expect_close(1000)
        peer.send(frame(TEXT, b"one "), frame(PING, b"not answered"), frame(TEXT, b"two"))
        peer.send(close(1000))
        peer.says_no_more()

    with meeting(speak) as met:
        met.story.until("open")
        met.task.close()
        assert met.clean() == (1000, "")
        assert met.story.messages == ["one ", "two"]


def test_when_both_close_at_once_each_sends_one_frame() -> None:
    """The server's code is the one told, ours the one it got."""

    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.wait_for_bytes()
        peer.send(close(4002, b"theirs"))
        assert peer.expect_close(4001).payload[2:] == b"ours"
        peer.says_no_more()

    with meeting(speak) as met:
        met.story.until("open")
        met.task.close(code=4001, reason="ours")
        assert met.clean() == (4002, "theirs")


@BEHIND
def test_a_server_that_never_answers_our_close_is_left_in_time(
    behind_tls: bool, tls: ThrowawayTls
) -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.expect_close(1000)
        peer.wait_for_end()

    with meeting(speak, tls=tls if behind_tls else None, closeTimeout=300) as met:
        met.story.until("open")
        begin = time.monotonic()
        met.task.close()
        assert met.clean() == (1006, "")
        assert 0.3 <= time.monotonic() - begin < SOON


def test_a_server_that_reads_nothing_of_our_close_is_left_in_time() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.server.passed.wait(LIMIT)

    with meeting(speak, receive_buffer=4096, closeTimeout=300) as met:
        met.story.until("open")
        fill(met.task)
        begin = time.monotonic()
        met.task.close()
        assert met.end == (1006, "")
        assert 0.3 <= time.monotonic() - begin < SOON
        met.server.passed.set()


@BEHIND
def test_a_server_that_pours_on_instead_of_closing_takes_no_memory(
    behind_tls: bool, tls: ThrowawayTls
) -> None:
    """The loop that takes the messages waits: while we are closing they must not pile up."""
    block = frame(BINARY, bytes(100_000))

    def speak(peer: WsPeer) -> None:
        peer.open(then=frame(TEXT, b"first"))
        peer.wait_for_close()
        while True:
            peer.send(block)

    context = tls if behind_tls else None
    options = {"client": {"max_buffered_bytes": MEGABYTE}, "closeTimeout": 500, "deaf": True}
    with growth() as grown, meeting(speak, tls=context, **options) as met:
        assert asyncio.run(anext(aiter(met.task))) == "first"
        begin = time.monotonic()
        met.task.close()
        assert met.end == (1006, "")
        assert time.monotonic() - begin < SOON
    assert grown.megabytes < 32


def test_a_server_that_ends_the_connection_in_answer_to_our_close() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.expect_close(1000)

    with meeting(speak) as met:
        met.story.until("open")
        met.task.close()
        assert met.end == (1006, "")


def test_a_close_in_a_callback_of_the_last_message() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open(then=frame(TEXT, b"go") + frame(TEXT, b"on"))
        peer.expect_close(1000)
        peer.send(close(1000))
        peer.says_no_more()

    with meeting(speak) as met:
        met.task.onMessage(lambda _: met.task.close())
        assert met.clean() == (1000, "")


# --- the server is gone ---------------------------------------------------------------------------


def leaves(peer: WsPeer) -> None:
    peer.open(then=frame(TEXT, b"last"))


def leaves_within_a_frame(peer: WsPeer) -> None:
    peer.open(then=frame(TEXT, b"last") + frame(BINARY, bytes(500))[:-1])


def leaves_within_a_close_frame(peer: WsPeer) -> None:
    peer.open(then=frame(TEXT, b"last") + close(1000, b"bye")[:-1])


def half_closes(peer: WsPeer) -> None:
    peer.open(then=frame(TEXT, b"last"))
    peer.end_sending()
    peer.drain()


def resets(peer: WsPeer) -> None:
    peer.open(then=frame(TEXT, b"last"))
    peer.gate()
    peer.reset()


GONE = [leaves, leaves_within_a_frame, leaves_within_a_close_frame, half_closes, resets]


@pytest.mark.parametrize("behaviour", GONE, ids=lambda function: function.__name__)
@BEHIND
def test_a_server_that_goes_without_a_close_frame(
    behaviour: Behaviour, behind_tls: bool, tls: ThrowawayTls
) -> None:
    with meeting(behaviour, tls=tls if behind_tls else None) as met:
        met.story.until("message")
        met.server.gate.set()
        assert met.broken().errno == ft.Errno.INTERRUPTED
        assert met.story.names == ["open", "message", "error", "close"]


def test_what_waits_to_be_sent_fails_when_the_server_is_gone() -> None:
    with meeting(resets, receive_buffer=4096) as met:
        met.story.until("message")
        outcomes: list[str] = []
        noted = {"complete": lambda res: outcomes.append(res.errMsg)}
        sent = len(fill(met.task, lambda _: noted))
        met.server.gate.set()
        met.broken()
        assert len(outcomes) == sent
        failed = outcomes.count("SocketTask.send:fail the socket was closed first")
        assert failed > 5
        assert outcomes.count("SocketTask.send:ok") == sent - failed


# --- pings from the server ------------------------------------------------------------------------


def test_pings_are_answered_one_by_one() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        for payload in (b"", b"a", bytes(125), b"\xff\xfe", b"last"):
            peer.send(frame(PING, payload))
            assert peer.next(PONG).payload == payload
        peer.send(close(1000))
        peer.expect_close(1000)

    with meeting(speak) as met:
        assert met.clean() == (1000, "")
        assert met.story.names == ["open", "close"]


@BEHIND
@pytest.mark.parametrize("count", [10, 5000])
def test_pings_in_one_packet_are_answered_one_by_one(
    count: int, behind_tls: bool, tls: ThrowawayTls
) -> None:
    """As long as the kernel takes the answers."""
    payloads = [b"%d" % n for n in range(count)]
    pings = b"".join(frame(PING, payload) for payload in payloads)

    with meeting(says(pings + close(1000)), tls=tls if behind_tls else None) as met:
        assert met.clean() == (1000, "")
        met.server.wait_until_alone()
        pongs = [sent.payload for sent in met.server.frames if sent.opcode == PONG]
        assert pongs == payloads


def test_pings_and_messages_in_one_packet_are_answered_in_order() -> None:
    """Answers of the owner come when it has the messages, behind those of the engine."""
    pairs = b"".join(frame(PING, b"%d" % n) + frame(TEXT, b"%d" % n) for n in range(50))

    def speak(peer: WsPeer) -> None:
        peer.open()
        peer.gate()
        peer.send(pairs)
        told = [peer.frame() for _ in range(100)]
        for opcode in (PONG, TEXT):
            numbers = [int(sent.payload) for sent in told if sent.opcode == opcode]
            assert numbers == list(range(50))
        peer.send(close(1000))
        peer.expect_close(1000)

    with meeting(speak) as met:
        met.task.onMessage(lambda event: met.task.send(data=event.data))
        met.server.gate.set()
        assert met.clean() == (1000, "")


def test_control_frames_between_the_pieces_of_a_message_are_answered_there() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open(then=frame(TEXT, b"Hel", fin=False))
        for piece in (b"lo", b", ", b"Wor"):
            peer.send(frame(PING, piece), frame(PONG, b"unasked"))
            assert peer.next(PONG).payload == piece
            peer.send(frame(CONTINUE, piece, fin=False))
        peer.send(frame(CONTINUE, b"ld!"), close(1000))
        peer.expect_close(1000)

    with meeting(speak) as met:
        assert met.clean() == (1000, "")
        assert met.story.messages == ["Hello, World!"]


def test_pings_are_answered_between_the_parts_of_what_we_send() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open()
        assert not peer.next(TEXT).fin
        peer.send(frame(PING, b"between"), frame(TEXT, b"go on"))
        assert peer.next(PONG).payload == b"between"
        assert peer.next(CONTINUE).fin
        peer.send(close(1000))
        peer.expect_close(1000)

    with meeting(speak) as met:
        met.story.until("open")
        met.task.send(data="one ", final=False)
        met.story.until("message")
        met.task.send(data="two")
        assert met.clean() == (1000, "")


def test_a_pong_that_nobody_asked_for_is_ignored() -> None:
    pongs = b"".join(frame(PONG, bytes(size)) for size in (0, 4, 125)) * 100
    with meeting(says(pongs + frame(TEXT, b"on") + close(1000)), pingInterval=10_000) as met:
        assert met.clean() == (1000, "")
        assert met.story.messages == ["on"]


@BEHIND
def test_a_flood_of_pings_to_a_client_whose_answers_nobody_reads(
    behind_tls: bool, tls: ThrowawayTls
) -> None:
    """100,000: memory is bounded, frames stay whole, the last is answered."""
    pings = [
        b"".join(frame(PING, b"%06d" % n + bytes(n % 119)) for n in range(begin, begin + 1000))
        for begin in range(0, 100_000, 1000)
    ]

    def speak(peer: WsPeer) -> None:
        peer.open()
        for block in pings:
            peer.send(block)
        peer.send(frame(TEXT, b"enough"))
        peer.gate()
        while peer.server.counts[-1:] != [99_999]:
            peer.server.counts.append(int(peer.next(PONG).payload[:6]))
            peer.frames.clear()  # thousands; ours must not count as the client's
        peer.send(close(1000))
        peer.expect_close(1000)

    context = tls if behind_tls else None
    with growth() as grown, meeting(speak, tls=context, receive_buffer=4096) as met:
        met.story.until("message")
        met.server.gate.set()
        assert met.clean() == (1000, "")
        assert met.server.counts == sorted(met.server.counts)
        assert len(met.server.counts) < 90_000, "the kernel took them all"
    assert grown.megabytes < 8


@BEHIND
def test_a_flood_of_pings_holds_up_nobody_else(behind_tls: bool, tls: ThrowawayTls) -> None:
    """Another socket of the same engine goes on in the meantime."""
    block = frame(PING, b"x") * 50_000

    def speak(peer: WsPeer) -> None:
        peer.open()
        if peer.peer.number == 0:
            peer.gate()
            while not peer.server.passed.is_set():
                peer.send(block)
        else:
            for _ in range(20):
                assert peer.message() == (TEXT, b"echo")
                peer.send(frame(TEXT, b"echo"))

    with meeting(speak, tls=tls if behind_tls else None) as met:
        met.story.until("open")
        other = met.client.connectSocket(url=met.server.ws_url)
        times: list[float] = []
        done = threading.Event()

        def again(_: object) -> None:
            times.append(time.monotonic())
            if len(times) <= 20:
                other.send(data="echo")
            else:
                done.set()

        other.onMessage(again)
        other.onError(lambda _: done.set())
        other.onOpen(lambda event: (met.server.gate.set(), again(event)))
        assert done.wait(2 * LIMIT)
        met.server.passed.set()
        met.task.abort()
        assert len(times) == 21
        trips = sorted(after - before for before, after in pairwise(times))
        assert trips[10] < 0.5, "held up by the pings"


# --- pings of ours --------------------------------------------------------------------------------

#: ms; a peer that is off the processor for a while is not taken for dead.
PATIENT = 1000


def reads_and_is_silent(peer: WsPeer) -> None:
    peer.open()
    peer.drain()


def reads_nothing(peer: WsPeer) -> None:
    peer.open()
    peer.server.passed.wait(LIMIT)


@pytest.mark.parametrize("behaviour", [reads_and_is_silent, reads_nothing])
@BEHIND
def test_a_peer_that_is_only_half_there_is_found(
    behaviour: Behaviour, behind_tls: bool, tls: ThrowawayTls
) -> None:
    """F52: not before an interval has passed, not later than two of them."""

    def found() -> None:
        begin = time.monotonic()
        with meeting(behaviour, tls=tls if behind_tls else None, pingInterval=150) as met:
            error = met.broken()
            assert time.monotonic() - begin >= 0.15
            assert error.errno == ft.Errno.INTERRUPTED
            assert "ping" in error.errMsg
            met.server.passed.set()

    promptly(found, 0.9)


def test_a_peer_that_is_heard_of_is_asked_again_and_again() -> None:
    """Of one that answers, and of one that says something else than pong."""

    def answers(peer: WsPeer) -> None:
        peer.open()
        payloads = set()
        for _ in range(3):
            ping = peer.next(PING)
            payloads.add(ping.payload)
            peer.send(frame(PONG, ping.payload))
        assert len(payloads) == 3
        peer.send(close(1000))
        peer.expect_close(1000)

    def is_busy(peer: WsPeer) -> None:
        peer.open()
        for _ in range(3):
            peer.next(PING)
            peer.send(frame(TEXT, b"busy"))
        peer.send(close(1000))
        peer.expect_close(1000)

    with (
        meeting(answers, pingInterval=PATIENT) as answering,
        meeting(is_busy, pingInterval=PATIENT) as busy,
    ):
        assert answering.clean() == busy.clean() == (1000, "")
        assert answering.task.latency > 0


@pytest.mark.parametrize("way", ["paused", "a listener that takes long"])
def test_a_peer_is_not_dead_because_we_do_not_read(way: str) -> None:
    """What waits in our own socket buffer may be the pong."""

    def speak(peer: WsPeer) -> None:
        peer.open(then=frame(TEXT, b"first"))
        begin = time.monotonic()
        while time.monotonic() - begin < (2.5 * PATIENT / 1000 if way == "paused" else 0):
            sent = peer.frame()
            if sent.opcode == PING:
                peer.send(frame(PONG, sent.payload))
        peer.send(frame(TEXT, b"second"), close(1000))
        peer.server.gate.set()
        peer.wait_for_close()

    def takes_long(_: object) -> None:
        met.server.stopping.wait(2.2 * PATIENT / 1000)

    with meeting(speak, pingInterval=PATIENT) as met:
        met.story.until("message")
        if way == "paused":
            met.task.pause()
        else:
            met.task.onMessage(takes_long)
        assert met.server.gate.wait(LIMIT)
        met.task.resume()
        assert met.clean() == (1000, "")
        assert met.story.messages == ["first", "second"]
