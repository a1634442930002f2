"""The ways to wait for a TCP socket: coroutines, ``async for``, threads; and its life."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import ftnet as ft
from tests.servers.awkward import AwkwardServer, BlackHole, Peer, closed_port
from tests.tcp_sockets import (
    HERE,
    LIMIT,
    TcpStory,
    connected,
    socket,
    until,
)

MEGABYTE = 1 << 20


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_a_coroutine_can_do_it_all(echoing: AwkwardServer, runner: str) -> None:
    from tests.drivers import run_uvloop

    async def main() -> bytes:
        task = ft.createTCPSocket()
        task.connect(address=HERE, port=echoing.port)
        event = await task.connected()
        assert await task.connected() is event
        task.write(b"x" * MEGABYTE)
        await task.drained()
        assert task.bufferedAmount == 0
        task.end()
        got = bytearray()
        async for chunk in task:
            got += chunk
        end = await task.closed()
        assert end.error is None
        assert await task.closed() is end
        return bytes(got)

    run: Callable[[Any], Any] = asyncio.run if runner == "asyncio" else run_uvloop
    assert run(asyncio.wait_for(main(), LIMIT)) == b"x" * MEGABYTE


async def none_of(task: ft.TCPSocket) -> None:
    async for chunk in task:
        raise AssertionError(f"{chunk!r} came")


def test_waiting_raises_what_on_error_is_told() -> None:
    async def main() -> None:
        with closed_port() as port:
            task = ft.createTCPSocket()
            errors: list[ft.FtError] = []
            task.onError(errors.append)
            task.connect(address=HERE, port=port)
            for wait in (task.connected, task.closed):
                with pytest.raises(ft.FtError, match="refused"):
                    await wait()
            with pytest.raises(ft.FtError, match="refused"):
                await none_of(task)
            await task.drained()
            assert len(errors) == 1

    asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_a_loop_ends_where_the_peer_does_and_half_open_goes_on(plain: ft.Client) -> None:
    def ends_first(peer: Peer) -> None:
        peer.send(b"greeting")
        peer.finish_sending()
        peer.until_gone()

    async def main(server: AwkwardServer) -> None:
        task = plain.createTCPSocket(allowHalfOpen=True)
        task.connect(address=HERE, port=server.port)
        assert b"".join([bytes(chunk) async for chunk in task]) == b"greeting"
        task.write(b"thanks")
        task.end()
        await task.closed()

    with AwkwardServer(ends_first) as server:
        asyncio.run(asyncio.wait_for(main(server), LIMIT))
        server.wait_until_alone()
        assert server.received == b"thanks"


def test_a_thread_can_wait_for_it_all(plain: ft.Client, echoing: AwkwardServer) -> None:
    task = plain.createTCPSocket()
    with pytest.raises(TimeoutError):
        task.wait_connected(0.01)
    task.connect(address=HERE, port=echoing.port)
    assert task.wait_connected(LIMIT) is task.wait_connected(0)
    task.write(b"x" * MEGABYTE)
    task.wait_drained(LIMIT)
    assert task.bufferedAmount == 0
    with pytest.raises(TimeoutError):
        task.wait_closed(0.01)
    task.close()
    assert task.wait_closed(LIMIT) is task.wait_closed(0)


def test_closed_before_it_was_connected_is_told_to_who_waits(plain: ft.Client) -> None:
    with BlackHole() as hole:
        task, story = socket(plain, hole.port)
        waiter = threading.Timer(0.01, task.close)
        waiter.start()
        with pytest.raises(ft.FtError, match="closed before it was connected"):
            task.wait_connected(LIMIT)
        waiter.join()
        story.end()
    assert story.names == ["close"]
    assert story.of("close")[0].error is None


def test_without_a_reference_it_stays_alive(plain: ft.Client, echoing: AwkwardServer) -> None:
    import gc

    story = TcpStory()

    def begin() -> None:
        task = plain.createTCPSocket()
        story.listen(task)
        task.onConnect(lambda _: task.write(b"still here"))
        task.connect(address=HERE, port=echoing.port)

    begin()
    gc.collect()
    story.until("message")
    echoing.peers[0].finish_sending()
    story.end()
    assert story.bytes == b"still here"


def test_it_is_collected_when_it_is_over(plain: ft.Client, echoing: AwkwardServer) -> None:
    import gc
    import weakref

    task, story = connected(plain, echoing)
    task.close()
    story.end()
    seen = weakref.ref(task)
    never = weakref.ref(plain.createTCPSocket())
    del task, story
    until(lambda: gc.collect() >= 0 and seen() is None, "the socket is collected")
    assert never() is None
