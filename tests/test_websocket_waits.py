"""The ways to wait for a socket: coroutines, ``async for``, and blocking a thread."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import run_uvloop
from tests.servers.websocket import serving
from tests.sockets import LIMIT, OPEN, closed, socket

MIB = 1 << 20


async def drop_all(task: ft.SocketTask) -> None:
    """Goes through messages that a test does not expect."""
    async for message in task:
        raise AssertionError(f"{message!r:.80} came")


async def talk(url: str) -> list[Any]:
    task = ft.connectSocket(url=url)
    event = await asyncio.wait_for(task.opened(), LIMIT)
    assert event.header["upgrade"] == "websocket"
    assert await task.opened() is event
    for number in range(100):
        task.send(data=f"{number}")
    got = []
    async for message in task:
        got.append(message)
        if len(got) == 100:
            task.close(code=3000)
    end = await asyncio.wait_for(task.closed(), LIMIT)
    assert end.code == 3000
    assert task.wait_closed() is end
    return got


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_a_coroutine_can_do_it_all(sockets: Any, runner: str) -> None:
    run: Callable[[Any], Any] = asyncio.run if runner == "asyncio" else run_uvloop
    got = run(asyncio.wait_for(talk(sockets.url + "/echo"), LIMIT))
    assert got == [str(number) for number in range(100)]


def test_opened_raises_what_on_error_is_told(sockets: Any) -> None:
    async def main() -> None:
        task = ft.connectSocket(url=sockets.url + "/status/404")
        errors: list[ft.FtError] = []
        task.onError(errors.append)
        for _ in range(2):
            with pytest.raises(ft.FtError, match="connectSocket:fail .*404"):
                await asyncio.wait_for(task.opened(), LIMIT)
        assert (await asyncio.wait_for(task.closed(), LIMIT)).code == 1006
        assert errors
        with pytest.raises(ft.FtError):
            await drop_all(task)

    asyncio.run(main())


def test_async_for_gets_what_came_before_and_ends_with_the_socket(sockets: Any) -> None:
    async def main() -> list[Any]:
        task = ft.connectSocket(url=sockets.url + "/say?text=a&text=b&text=c&code=1001")
        assert (await asyncio.wait_for(task.closed(), LIMIT)).code == 1001
        return [message async for message in task]

    assert asyncio.run(main()) == ["a", "b", "c"]


def test_async_for_can_be_left_and_taken_up_again(sockets: Any) -> None:
    async def main() -> list[Any]:
        task = ft.connectSocket(url=sockets.url + "/say?text=a&text=b&text=c&text=d&code=1000")
        got: list[Any] = []
        for count in (1, 3):
            async for message in task:
                got.append(message)
                if len(got) == count:
                    break
        return got + [message async for message in task]

    assert asyncio.run(asyncio.wait_for(main(), LIMIT)) == ["a", "b", "c", "d"]


def test_listeners_and_async_for_get_the_same(sockets: Any) -> None:
    async def main() -> tuple[list[Any], list[Any]]:
        task = ft.connectSocket(url=sockets.url + "/say?text=a&text=b&code=1000")
        heard: list[Any] = []
        task.onMessage(lambda event: heard.append(event.data))
        return heard, [message async for message in task]

    assert asyncio.run(asyncio.wait_for(main(), LIMIT)) == (["a", "b"], ["a", "b"])


def test_a_loop_may_iterate_a_socket_of_the_background_thread(
    plain: ft.Client, sockets: Any
) -> None:
    task = plain.connectSocket(url=sockets.url + "/echo")
    task.wait_opened(LIMIT)
    for number in range(500):
        task.send(data=str(number))

    async def main() -> list[Any]:
        got = []
        async for message in task:
            got.append(message)
            if len(got) == 500:
                task.close()
        await task.closed()
        return got

    got = asyncio.run(asyncio.wait_for(main(), LIMIT))
    assert got == [str(number) for number in range(500)]


def test_async_for_raises_when_the_connection_breaks(sockets: Any) -> None:
    async def main() -> None:
        task = ft.connectSocket(url=sockets.url + "/echo")
        await task.opened()
        sockets.peer().drop()
        with pytest.raises(ft.FtError) as caught:
            await drop_all(task)
        assert caught.value.errno == ft.Errno.INTERRUPTED

    asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_a_slow_async_for_slows_the_server_down(socket_loop: Any) -> None:
    async def main(url: str, client: ft.Client) -> None:
        task = client.connectSocket(url=url)
        await task.opened()
        peer = server.peer()
        flood = asyncio.create_task(asyncio.to_thread(peer.send, [bytes(64 * 1024)] * 1))
        await flood
        count = 400
        pushed = asyncio.gather(
            *[asyncio.to_thread(peer.send, bytes(64 * 1024)) for _ in range(count)]
        )
        got = 0
        async for message in task:
            got += len(message)
            if got == (count + 1) * 64 * 1024:
                task.close()
        await pushed
        assert got == (count + 1) * 64 * 1024

    with (
        serving(socket_loop) as server,
        ft.Client(max_buffered_bytes=256 * 1024, trust_env=False) as client,
    ):
        asyncio.run(asyncio.wait_for(main(server.url + "/quiet", client), LIMIT))


def test_drained_returns_when_nothing_waits(unbounded: ft.Client, socket_loop: Any) -> None:
    async def main(url: str) -> None:
        task = unbounded.connectSocket(url=url)
        await task.opened()
        await task.drained()
        for _ in range(3):
            task.send(data=bytes(4 * MIB))
        waiter = asyncio.create_task(task.drained())
        await asyncio.sleep(0)
        assert not waiter.done()
        server.open_gate()
        await asyncio.wait_for(waiter, LIMIT)
        assert task.bufferedAmount == 0
        for _ in range(3):
            task.send(data=bytes(4 * MIB))
            await asyncio.wait_for(task.drained(), LIMIT)
        task.close()
        await asyncio.wait_for(task.closed(), LIMIT)
        await task.drained()

    with serving(socket_loop) as server:
        asyncio.run(main(server.url + "/gate"))


def test_waits_of_a_thread_have_a_time_limit(plain: ft.Client, sockets: Any) -> None:
    task, _ = socket(plain, sockets.url + "/late")
    with pytest.raises(TimeoutError, match="not there after 0.01 s"):
        task.wait_opened(0.01)
    sockets.open_gate()
    assert task.wait_opened(LIMIT).header["upgrade"] == "websocket"
    with pytest.raises(TimeoutError):
        task.wait_closed(0.01)
    assert closed(task).code == 1000
    assert task.wait_closed().code == 1000


def test_wait_opened_raises_what_on_error_is_told(plain: ft.Client, sockets: Any) -> None:
    task = plain.connectSocket(url=sockets.url + "/status/404")
    with pytest.raises(ft.FtError, match="connectSocket:fail .*404"):
        task.wait_opened(LIMIT)
    assert task.wait_closed(LIMIT).code == 1006
    with pytest.raises(ft.FtError, match="connectSocket:fail .*404"):
        task.wait_opened(LIMIT)


def test_blocking_the_loop_that_drives_is_refused(sockets: Any) -> None:
    async def main() -> None:
        task = ft.connectSocket(url=sockets.url + "/echo")
        for wait in (task.wait_opened, task.wait_closed):
            with pytest.raises(RuntimeError, match="waiting would block the event loop"):
                wait(1)
        await task.opened()
        task.close()
        await task.closed()

    asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_waiting_inside_a_callback_is_refused(plain: ft.Client, sockets: Any) -> None:
    refused: list[str] = []

    def wait(_: Any) -> None:
        try:
            task.wait_closed(1)
        except RuntimeError as error:
            refused.append(str(error))
        task.close()

    task = plain.connectSocket(url=sockets.url + "/echo")
    task.onOpen(wait)
    task.wait_closed(LIMIT)
    assert len(refused) == 1


def test_a_cancelled_wait_leaves_the_socket_alone(sockets: Any) -> None:
    async def main() -> None:
        task = ft.connectSocket(url=sockets.url + "/echo")
        await task.opened()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(task.closed(), 0.01)
        assert task.readyState == OPEN
        task.send(data="x")
        async for message in task:
            assert message == "x"
            task.close()
        alive = weakref.ref(task)
        assert alive() is task

    asyncio.run(asyncio.wait_for(main(), LIMIT))
