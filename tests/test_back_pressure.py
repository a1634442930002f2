"""Back-pressure: a reader that is blocked or paused makes the peer wait, memory stays bounded."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import ftnet as ft
from ftnet.testing.app import WIDGET, pattern
from tests.drivers import ask, in_callback
from tests.history import History
from tests.origins import LIMIT, Origin, fetch
from tests.servers.awkward import AwkwardServer, Peer

MEGABYTE = 1_000_000


class Pouring(AwkwardServer):
    """Pours a body into each connection, once the gate is open; knows when nobody takes it."""

    def __init__(self, size: int) -> None:
        super().__init__(self._pour)
        self.size = size
        self.poured = 0
        self.stalled = threading.Event()

    def _pour(self, peer: Peer) -> None:
        peer.read_request()
        self.gate.wait()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.size)
        left = memoryview(pattern(self.size))
        peer.sock.settimeout(0.5)
        while left:
            try:
                sent = peer.sock.send(left[:65536])
            except TimeoutError:
                self.stalled.set()
                continue
            self.poured += sent
            left = left[sent:]


@pytest.fixture
def pouring() -> Iterator[Pouring]:
    with Pouring(60 * MEGABYTE) as raw:
        yield raw


def test_a_paused_task_makes_the_peer_wait(pouring: Pouring) -> None:
    received = [0]
    digest = hashlib.sha256()

    def take(event: Any) -> None:
        received[0] += len(event.data)
        digest.update(event.data)

    with ft.Client(max_buffered_bytes=MEGABYTE, trust_env=False) as client:
        task = client.request(url=pouring.url, enableChunked=True)
        task.pause()
        task.onChunkReceived(take)
        pouring.gate.set()
        assert pouring.stalled.wait(LIMIT)
        assert received[0] == 0
        assert pouring.poured < 20 * MEGABYTE, "beyond the limit and what the kernel keeps"
        task.resume()
        task.result(LIMIT)
    assert received[0] == pouring.size
    assert digest.digest() == hashlib.sha256(pattern(pouring.size)).digest()


def test_pause_inside_a_listener_holds_back_the_next_chunk(
    client: ft.Client, origin: Origin
) -> None:
    paused, received = threading.Event(), bytearray()

    done, too_early = threading.Event(), []

    def start() -> ft.RequestTask:
        def take_and_pause(event: Any) -> None:
            too_early.append(paused.is_set())
            received.extend(event.data)
            task.pause()
            paused.set()

        url = f"{origin.base}/stream/10/20000?interval=1"
        task = client.request(url=url, enableChunked=True, complete=lambda _: done.set())
        task.onChunkReceived(take_and_pause)
        return task

    task = in_callback(start)
    while not done.is_set():
        if paused.wait(0.005):
            fetch(client, f"{origin.base}/hello")
            paused.clear()
            task.resume()
    assert task.result(LIMIT).statusCode == 200
    assert not any(too_early), "a chunk came while the task was paused"
    assert bytes(received) == pattern(200_000)


def test_a_paused_task_does_not_hold_up_others(client: ft.Client, origin: Origin) -> None:
    first = threading.Event()
    history = History()

    def pause(_: object) -> None:
        tasks[0].pause()
        first.set()

    def start() -> ft.RequestTask:
        url = f"{origin.base}/bytes/{20 * MEGABYTE}"
        tasks.append(client.request(url=url, enableChunked=True, **history.callbacks()))
        tasks[0].onChunkReceived(pause)
        return tasks[0]

    tasks: list[ft.RequestTask] = []
    task = in_callback(start)
    assert first.wait(LIMIT)
    for _ in range(20):
        assert fetch(client, f"{origin.base}/json").data == WIDGET
    assert history.names == []
    task.offChunkReceived(pause)
    task.onChunkReceived(lambda _: None)
    task.resume()
    assert task.result(LIMIT).statusCode == 200


def test_headers_and_end_of_a_paused_task_wait_too(plain: ft.Client, server: Any) -> None:
    def start() -> tuple[ft.RequestTask, History]:
        task, history = ask(plain, f"{server.http}/json", enableChunked=True)
        task.pause()
        return task, history

    task, history = in_callback(start)
    for _ in range(5):
        fetch(plain, f"{server.http}/json")
    assert "success" not in history.names
    task.resume()
    task.result(LIMIT)
    assert history.names[-2:] == ["success", "complete"]


def test_a_blocked_listener_makes_the_peer_wait(pouring: Pouring) -> None:
    go_on, received = threading.Event(), [0]

    def take(event: Any) -> None:
        assert go_on.wait(LIMIT)
        received[0] += len(event.data)

    with ft.Client(max_buffered_bytes=MEGABYTE, trust_env=False) as client:
        task = client.request(url=pouring.url, enableChunked=True)
        task.onChunkReceived(take)
        pouring.gate.set()
        assert pouring.stalled.wait(LIMIT)
        assert pouring.poured < 20 * MEGABYTE
        go_on.set()
        task.result(LIMIT)
    assert received[0] == pouring.size


def test_pause_and_resume_may_be_repeated_and_mean_nothing_at_the_end(
    plain: ft.Client, server: Any
) -> None:
    task = plain.request(url=f"{server.http}/hello")
    for _ in range(3):
        task.pause()
    for _ in range(3):
        task.resume()
    assert task.result(LIMIT).data == "Hello, World!"
    task.pause()
    task.resume()
    assert task.done()


def test_a_resume_is_not_lost_when_the_response_ends_before_the_engine_has_heard_of_the_pause(
    plain: ft.Client,
) -> None:
    def in_two_parts(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nfirst")
        peer.server.gate.wait()
        peer.send(b"second")
        peer.server.passed.set()

    async def pause_and_resume() -> list[bytes]:
        loop, chunks = asyncio.get_running_loop(), []

        def resume() -> None:  # before the engine has its next turn, in which the end comes first
            raw.gate.set()
            assert raw.passed.wait(LIMIT)
            task.resume()

        task = plain.request(url=raw.url, enableChunked=True)
        task.onHeadersReceived(lambda _: (task.pause(), loop.call_soon(resume)))
        task.onChunkReceived(lambda event: chunks.append(bytes(event.data)))

        async def end() -> None:
            await task

        await asyncio.wait_for(end(), LIMIT)
        return chunks

    with AwkwardServer(in_two_parts) as raw:
        assert b"".join(asyncio.run(pause_and_resume())) == b"firstsecond"
