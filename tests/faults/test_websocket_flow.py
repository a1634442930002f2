"""Flow: whoever is slow makes the other side wait, memory stays bounded, and nothing is lost.

A message of 64 MiB goes both ways at once through a process with a limit on its memory; with
FTNET_LONG=1 in the environment it has 1 GiB.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import turn
from tests.faults.meetings import MEGABYTE, fill, growth, meeting, numbered
from tests.processes import Script
from tests.servers.awkward import ThrowawayTls, eventually
from tests.servers.hostile_ws import HostileServer, WsPeer
from tests.ws_streams import BINARY, CLOSE, CONTINUE, PING, PONG, TEXT, close, frame

LIMIT = 20.0
LIMITED = {"max_buffered_bytes": MEGABYTE}
BEHIND = pytest.mark.parametrize("behind_tls", [False, True], ids=["ws", "wss"])


# --- a slow server --------------------------------------------------------------------------------


def stops_reading(peer: WsPeer) -> None:
    """Reads nothing before the gate is open, then everything; the numbers go to `counts`."""
    peer.open()
    peer.gate()
    while (sent := peer.frame()).opcode != CLOSE:
        peer.server.counts.append(int(sent.payload[:8]))
    peer.send(frame(CLOSE, sent.payload))


@BEHIND
def test_a_server_that_stops_reading_bounds_what_waits(behind_tls: bool, tls: ThrowawayTls) -> None:
    context = tls if behind_tls else None
    failed: list[ft.FtError] = []
    with growth() as grown, meeting(stops_reading, tls=context, client=LIMITED) as met:
        met.story.until("open")
        taken = fill(met.task)
        for _ in range(3):
            met.task.send(data=b"too much", fail=failed.append)
        eventually(lambda: len(failed) == 3, "all were refused")
        assert all(error.errno == ft.Errno.TOO_MANY_TASKS for error in failed)
        assert failed[0].errMsg.startswith("SocketTask.send:fail ")
        assert MEGABYTE <= met.task.bufferedAmount < MEGABYTE + 50_000
        met.server.gate.set()
        eventually(lambda: met.task.bufferedAmount == 0, "all is sent")
        met.task.send(data=numbered(len(taken)))  # there is room again
        met.task.close()
        assert met.clean() == (1000, "")
        assert met.server.counts == [*taken, len(taken)]
    assert grown.megabytes < 24


def test_a_gigabyte_for_a_server_that_does_not_read_is_refused() -> None:
    """F54: whoever does not look at `fail` loses messages, not memory."""
    data = memoryview(numbered(0))
    with growth() as grown, meeting(stops_reading, client=LIMITED) as met:
        met.story.until("open")
        refused: list[bool] = []
        for number in range(20_000):
            met.task.send(data=data, fail=lambda _: refused.append(True))
            if number % 1000 == 0:
                turn()  # else it is what `fail` is to be told that takes memory
        eventually(lambda: len(refused) > 19_000, "most were refused")
        assert met.task.bufferedAmount < MEGABYTE + 50_000
        met.task.abort()
        met.server.gate.set()
        met.story.end()
    assert grown.megabytes < 24


def test_success_tells_what_the_kernel_has_in_the_order_of_the_calls() -> None:
    told: list[int] = []
    with meeting(stops_reading, client=LIMITED, receive_buffer=4096) as met:
        met.story.until("open")
        sent = fill(met.task, lambda n: {"success": lambda _: told.append(n)})
        assert len(told) <= len(sent) - 19, "told before the kernel had it"
        met.server.gate.set()
        met.task.close()
        assert met.clean() == (1000, "")
        assert told == sent == met.server.counts


def test_a_sender_that_waits_until_it_is_drained_loses_nothing() -> None:
    """While the server reads slowly."""

    def reads_slowly(peer: WsPeer) -> None:
        peer.open()
        while (sent := peer.frame()).opcode != CLOSE:
            peer.server.counts.append(int(sent.payload[:8]))
            if len(peer.server.counts) % 50 == 0:
                peer.peer.pace(0.005)
        peer.send(frame(CLOSE, sent.payload))

    async def send_all(url: str) -> int:
        with ft.Client(**LIMITED) as client:
            task = client.connectSocket(url=url)
            await task.opened()
            most = 0
            for n in range(1000):
                task.send(data=numbered(n))
                most = max(most, task.bufferedAmount)
                if task.bufferedAmount > 200_000:
                    await asyncio.wait_for(task.drained(), LIMIT)
            task.close()
            assert (await asyncio.wait_for(task.closed(), LIMIT)).code == 1000
            return most

    with HostileServer(reads_slowly, receive_buffer=4096) as server:
        assert asyncio.run(send_all(server.ws_url)) < 300_000
        assert server.counts == list(range(1000))


# --- a slow client --------------------------------------------------------------------------------

COUNT, SIZE = 4000, 10_000
MANY = 60_000


def pours(peer: WsPeer) -> None:
    """40 MB of numbered messages; tells in `counts` how much went before it had to wait."""
    peer.open(then=frame(BINARY, numbered(0, SIZE)))
    peer.gate()
    blocks = (frame(BINARY, numbered(n, SIZE)) for n in range(1, COUNT))
    peer.server.counts.append(peer.pour(blocks, 0.2))
    peer.server.passed.set()
    peer.pour_on()
    peer.send(close(1000))
    peer.expect_close(1000)


def check_waited(server: HostileServer) -> None:
    """The limit, and what kernels keep; the server was stuck with most of it."""
    assert server.passed.wait(LIMIT)
    assert server.counts[0] < 16_000_000


async def iterate(task: ft.SocketTask, server: HostileServer) -> list[int]:
    """Waits behind the first message until the server is stuck."""
    numbers = []
    async for message in task:
        numbers.append(int(bytes(message[:8])))
        if len(numbers) == 1:
            server.gate.set()
            await asyncio.to_thread(check_waited, server)
    return numbers


@BEHIND
@pytest.mark.parametrize("drives", ["the loop", "a thread"])
def test_a_loop_that_waits_makes_the_server_wait(
    drives: str, behind_tls: bool, tls: ThrowawayTls
) -> None:
    async def in_loop(client: ft.Client, server: HostileServer) -> list[int]:
        return await iterate(client.connectSocket(url=server.ws_url), server)

    context = tls.context if behind_tls else None
    with (
        growth() as grown,
        HostileServer(pours, tls=context) as server,
        ft.Client(ca=tls.ca, **LIMITED) as client,
    ):
        if drives == "the loop":
            numbers = asyncio.run(asyncio.wait_for(in_loop(client, server), LIMIT))
        else:
            task = client.connectSocket(url=server.ws_url)
            numbers = asyncio.run(asyncio.wait_for(iterate(task, server), LIMIT))
        assert numbers == list(range(COUNT))
    assert grown.megabytes < 24


@BEHIND
def test_a_loop_in_another_thread_that_stops_the_reading_all_the_time_is_never_left_waiting(
    behind_tls: bool, tls: ThrowawayTls
) -> None:
    def sends(peer: WsPeer) -> None:
        peer.open()
        peer.send(b"".join(frame(BINARY, numbered(n, 100)) for n in range(MANY)))
        peer.send(close(1000))
        peer.expect_close(1000)

    async def numbers(task: ft.SocketTask) -> list[int]:
        return [int(bytes(message[:8])) async for message in task]

    context = tls.context if behind_tls else None
    with (
        HostileServer(sends, tls=context) as server,
        ft.Client(ca=tls.ca, max_buffered_bytes=20_000) as client,
    ):
        for _ in range(3):
            task = client.connectSocket(url=server.ws_url)
            told = asyncio.run(asyncio.wait_for(numbers(task), LIMIT))
            assert told == list(range(MANY))


@BEHIND
@pytest.mark.parametrize("way", ["pause", "block"])
def test_a_listener_makes_the_server_wait(way: str, behind_tls: bool, tls: ThrowawayTls) -> None:
    """That pauses the socket, or that does not return."""
    numbers: list[int] = []

    def take(event: Any) -> None:
        numbers.append(int(bytes(event.data[:8])))
        if len(numbers) == 1:
            if way == "pause":
                met.task.pause()
                met.server.gate.set()
            else:
                met.server.gate.set()
                check_waited(met.server)

    context = tls if behind_tls else None
    with growth() as grown, meeting(pours, tls=context, client=LIMITED, deaf=True) as met:
        met.task.onMessage(take)
        check_waited(met.server)
        if way == "pause":
            assert len(numbers) < 1000
            met.task.resume()
        assert met.clean() == (1000, "")
        assert numbers == list(range(COUNT))
    assert grown.megabytes < 24


def test_pause_and_resume_in_every_callback_lose_nothing() -> None:
    numbers: list[int] = []

    def take(event: Any) -> None:
        met.task.pause()
        numbers.append(int(bytes(event.data[:8])))
        if len(numbers) == 1:
            met.server.gate.set()
        met.task.resume()

    with meeting(pours, client={"max_buffered_bytes": 15_000}, deaf=True) as met:
        met.task.onMessage(take)
        assert met.clean() == (1000, "")
        assert numbers == list(range(COUNT))


@pytest.mark.parametrize("turn", range(5))
def test_a_loop_of_another_thread_than_the_engines_is_never_left_waiting(turn: int) -> None:
    """It counts down what waits while the engine counts up: not one count may be lost."""
    count, size = 400_000, 10
    data = frame(BINARY, bytes(size)) * count

    def speak(peer: WsPeer) -> None:
        peer.open(then=frame(TEXT, b"first"))
        peer.gate()
        peer.send(data)
        peer.send(close(1000))
        peer.expect_close(1000)

    async def taken(task: ft.SocketTask) -> int:
        messages = 0
        async for _ in task:
            messages += 1
            if messages == 1:
                met.server.gate.set()
        return messages - 1

    with meeting(speak, client={"max_buffered_bytes": 100_000}, deaf=True) as met:
        assert asyncio.run(asyncio.wait_for(taken(met.task), LIMIT)) == count
        assert met.clean() == (1000, "")


def test_a_loop_that_begins_while_messages_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's thread delivers one in the middle of it: it is not lost, is in its place, and
    does not count twice."""

    def speak(peer: WsPeer) -> None:
        peer.open(then=frame(TEXT, b"first"))
        peer.gate()
        for payload in (b"second", b"third"):  # the pong to the third: the second was delivered
            peer.send(frame(TEXT, payload), frame(PING, payload))
            assert peer.next(PONG).payload == payload
        peer.server.passed.set()
        for n in range(1000):
            peer.send(frame(TEXT, b"%d" % n))
        peer.send(close(1000))
        peer.expect_close(1000)

    def takes_its_time(*first: Any) -> deque[Any]:
        if first:  # what came early is about to be the loop's
            met.server.gate.set()
            met.server.passed.wait(0.3)  # in vain when the engine's thread is kept from it
        return deque(*first)

    async def messages(task: ft.SocketTask) -> list[str]:
        return [str(message) async for message in task]

    monkeypatch.setattr("ftnet.events.deque", takes_its_time)
    with meeting(speak, client={"max_buffered_bytes": 1000}, deaf=True) as met:
        met.story.until("open")
        told = asyncio.run(asyncio.wait_for(messages(met.task), LIMIT))
        assert told == ["first", "second", "third", *map(str, range(1000))]


def test_a_message_larger_than_what_may_wait_comes_as_a_whole() -> None:
    data = os.urandom(3 * MEGABYTE)

    def speak(peer: WsPeer) -> None:
        peer.open(then=frame(BINARY, data) * 3 + close(1000))
        peer.expect_close(1000)

    with meeting(speak, client={"max_buffered_bytes": 1000}) as met:
        assert met.clean() == (1000, "")
        assert met.story.messages == [data] * 3


def test_the_end_is_told_to_a_loop_that_was_left_waiting() -> None:
    """A paused socket whose server goes: what came is delivered, then the end."""

    def speak(peer: WsPeer) -> None:
        peer.open(then=frame(TEXT, b"one") + frame(TEXT, b"two"))
        peer.gate()

    with meeting(speak) as met:
        met.story.until("message", 2)
        met.task.pause()
        met.server.gate.set()
        met.server.wait(lambda: not met.server.open_connections, "the server is gone")
        met.task.resume()
        met.broken()
        assert met.story.messages == ["one", "two"]


# --- large messages, streamed ---------------------------------------------------------------------

STREAM = """
import asyncio
import hashlib
import re
import resource
import sys
import ftnet as ft

def status(name):
    with open("/proc/self/status") as lines:
        return int(re.search(rf"^{name}:\\s+(\\d+) kB", lines.read(), re.MULTILINE)[1]) << 10

url, ca, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
block = bytes(range(256)) * 256

async def receive(task):
    digest, left = hashlib.sha256(), size
    async for piece in task:
        digest.update(piece)
        left -= len(piece)
        if left <= 0:
            break
    return digest.hexdigest()

async def send(task):
    for n in range(size // len(block)):
        task.send(data=block, final=(n + 1) * len(block) == size)
        if task.bufferedAmount > 1 << 19:
            await task.drained()

async def main():
    with ft.Client(ca=ca, max_buffered_bytes=1 << 20) as client:
        task = client.connectSocket(url=url, enableChunked=True)
        await task.opened()
        limit = status("VmData") + (32 << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        before = status("VmRSS")
        digest, _ = await asyncio.gather(receive(task), send(task))
        task.close()
        closed = await task.closed()
        print(digest, closed.code, status("VmHWM") - before)

asyncio.run(main())
"""
LONG = os.environ.get("FTNET_LONG") == "1"
WHOLE = 1 << 30 if LONG else 64 << 20
PIECE = bytes(range(256)) * 256


def pieces(size: int) -> Iterator[bytes]:
    """A binary message of that size, in frames of 64 KiB."""
    first, middle, last = (
        frame(opcode, PIECE, fin=fin)
        for opcode, fin in ((BINARY, False), (CONTINUE, False), (CONTINUE, True))
    )
    yield first
    for _ in range(size // len(PIECE) - 2):
        yield middle
    yield last


def streams(peer: WsPeer) -> None:
    """A large message both ways at once."""
    peer.open()
    peer.pour_meanwhile(pieces(WHOLE))
    digest, left = hashlib.sha256(), WHOLE
    while left:
        sent = peer.frame()
        peer.frames.clear()
        digest.update(sent.payload)
        left -= len(sent.payload)
        assert sent.fin == (left == 0)
    peer.server.digest = digest.hexdigest()
    peer.pour_on()
    peer.expect_close(1000)
    peer.send(close(1000))


class Streaming(HostileServer):
    digest = ""  # of what came


@BEHIND
def test_a_large_message_streams_both_ways_under_a_memory_limit(
    behind_tls: bool, tls: ThrowawayTls
) -> None:
    expected = hashlib.sha256()
    for _ in range(WHOLE // len(PIECE)):
        expected.update(PIECE)
    with Streaming(streams, tls=tls.context if behind_tls else None) as server:
        begin = time.monotonic()
        with Script(STREAM, server.ws_url, tls.ca, str(WHOLE)) as script:
            (line,) = script.finish(limit=300)
        digest, code, grown = line.split()
        seconds = time.monotonic() - begin
        print(f"{WHOLE >> 20} MiB both ways: {seconds:.2f} s, {int(grown) >> 10} KiB more")
        assert digest == expected.hexdigest() == server.digest
        assert code == "1000"
        assert int(grown) < 12 << 20
