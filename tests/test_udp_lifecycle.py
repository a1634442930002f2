"""UDP sockets called from threads and in callbacks; clients and loops that end; garbage."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import ftcore
import ftnet as ft
from tests.datagrams import LOCAL, Told, echo, end, nobody, peer, place, udp
from tests.drivers import in_run, run_uvloop
from tests.sockets import LIMIT, until
from tests.test_websocket_lifecycle import in_threads

# --- threads and callbacks ------------------------------------------------------------------------


def test_what_eight_threads_send_arrives_in_each_ones_order(unbounded: ft.Client) -> None:
    receiver, told = udp(unbounded)
    sock = unbounded.createUDPSocket()
    port = receiver.bind()

    def work(mine: int) -> None:
        for number in range(100):
            sock.send(address=LOCAL, port=port, message=f"{mine} {number}")
            if number % 20 == 19:  # no more at once than a socket's buffer holds
                until(lambda n=number: len(told.events) >= n - 20, "they arrive")

    in_threads(8, work)
    told.until("message", 800)
    for mine in range(8):
        got = [text for text in told.messages if text.startswith(b"%d " % mine)]
        assert got == [f"{mine} {number}".encode() for number in range(100)]
    sock.close()
    end(receiver, told)


def test_every_method_can_be_called_from_other_threads(plain: ft.Client) -> None:
    with echo() as there:
        sock, told = udp(plain)

        def work(mine: int) -> None:
            listener = Told().note("x")
            for number in range(50):
                assert sock.bind() == sock.bind()
                sock.setTTL(64)
                sock.setMulticastTTL(1)
                sock.setMulticastLoopback(True)
                sock.connect(**there)
                sock.send(message=f"{mine} {number}", **there)
                sock.write(message=f"{mine} {number}", **there)
                for kind in ("Listening", "Message", "Error", "Close"):
                    getattr(sock, f"on{kind}")(listener)
                    getattr(sock, f"off{kind}")(listener)
                assert sock.bufferedAmount >= 0
                assert sock.localInfo is not None
                until(lambda n=number: len(told.events) >= n, "echoes come")

        in_threads(4, work)
        told.until("message", 400)
        in_threads(4, lambda _: (sock.close(), sock.wait_closed(LIMIT)))
        told.end()
    assert "error" not in told.names


def test_sockets_can_be_opened_and_closed_by_different_threads_at_once(plain: ft.Client) -> None:
    for _ in range(100):
        sock, told = udp(plain)
        meanwhile: list[Callable[[], object]] = [
            sock.bind,
            sock.close,
            lambda sock=sock: sock.send(address=LOCAL, port=9, message=b"x"),  # type: ignore[misc]
            lambda sock=sock: sock.send(address="::1", port=9, message=b"x"),  # type: ignore[misc]
        ]
        in_threads(4, lambda mine, meanwhile=meanwhile: meanwhile[mine]())  # type: ignore[misc]
        told.end()


ACTIONS: dict[str, Callable[[ft.UDPSocket, dict[str, Any]], object]] = {
    "bind": lambda sock, there: sock.bind(),
    "send": lambda sock, there: sock.send(message=b"from a callback", **there),
    "send six": lambda sock, there: sock.send(message=b"x", address="::1", port=there["port"]),
    "send by name": lambda sock, there: sock.send(
        message=b"x", address="localhost", port=there["port"]
    ),
    "send too much": lambda sock, there: sock.send(message=bytes(70_000), **there),
    "connect and write": lambda sock, there: (
        sock.connect(**there), sock.write(message=b"x", **there),
    ),
    "set": lambda sock, there: (sock.setTTL(5), sock.setMulticastTTL(2)),
    "close": lambda sock, there: sock.close(),
    "close twice": lambda sock, there: (sock.close(), sock.close()),
    "close and send": lambda sock, there: (sock.close(), sock.send(message=b"x", **there)),
    "off all": lambda sock, there: (sock.offMessage(), sock.offError(), sock.offListening()),
    "on": lambda sock, there: sock.onMessage(lambda _: None),
    "collect garbage": lambda sock, there: gc.collect(),
    "raise": lambda sock, there: 1 / 0,
}  # fmt: skip


@pytest.mark.parametrize("place_", ["listening", "message", "error", "close"])
@pytest.mark.parametrize("action", ACTIONS)
def test_any_action_in_any_callback_leaves_one_end(
    plain: ft.Client, action: str, place_: str, caplog: pytest.LogCaptureFixture
) -> None:
    with echo() as there:

        def start() -> Told:
            sock = plain.createUDPSocket()
            done: list[bool] = []

            def act(_: Any) -> None:
                if not done:
                    done.append(True)
                    ACTIONS[action](sock, there)

            getattr(sock, f"on{place_.capitalize()}")(act)
            told = Told().listen(sock)
            sock.onMessage(lambda _: sock.setTTL(-1))
            sock.onError(lambda _: sock.close())
            sock.send(message=b"begin", **there)
            if action == "off all":  # whoever would close it may be off
                closer = plain.createUDPSocket()
                closer.onMessage(lambda _: (closer.close(), sock.close()))
                closer.send(message=b"after all", **there)
            return told

        told = in_run(start)
    assert told.names.count("close") == 1
    if action != "off all":
        told.check()
    caplog.clear()


@pytest.mark.parametrize("way", ["thread", "run", "asyncio", "uvloop"])
def test_callbacks_come_where_the_engine_is_driven(plain: ft.Client, way: str) -> None:
    told = Told()

    def start(there: dict[str, Any]) -> ft.UDPSocket:
        sock = plain.createUDPSocket()
        told.listen(sock)
        sock.onMessage(lambda _: sock.close())
        sock.send(message=b"x", **there)
        return sock

    async def awaited(there: dict[str, Any]) -> None:
        await asyncio.wait_for(start(there).closed(), LIMIT)

    with echo() as there:
        if way == "thread":
            start(there).wait_closed(LIMIT)
        elif way == "run":
            in_run(lambda: start(there))
        else:
            (asyncio.run if way == "asyncio" else run_uvloop)(awaited(there))
        told.end()
    assert (threading.get_ident() in told.threads) == (way != "thread")
    assert len(told.threads) == 1


def test_a_slow_loop_stops_the_reading_and_goes_on() -> None:
    async def main() -> int:
        with ft.Client(max_buffered_bytes=20_000) as client, peer() as there:
            sock = client.createUDPSocket()
            port = sock.bind()
            loop = sock.__aiter__()
            there.sendto(b"begin", (LOCAL, port))
            assert bytes((await asyncio.wait_for(loop.__anext__(), LIMIT)).message) == b"begin"
            for number in range(100):
                there.sendto(number.to_bytes(2) * 500, (LOCAL, port))
            await asyncio.sleep(0)
            got = []
            while len(got) < 100:
                event = await asyncio.wait_for(loop.__anext__(), LIMIT)
                assert len(sock._backlog or ()) <= 64 + 16
                got.append(int.from_bytes(bytes(event.message[:2])))
            assert got == list(range(100))
            sock.close()
            await sock.closed()
            return len(got)

    assert asyncio.run(main()) == 100


def test_too_much_that_waits_to_be_sent_is_an_error_event() -> None:
    with ft.Client(max_buffered_bytes=10_000) as client, peer() as there:
        sock, told = udp(client)
        where = {"address": "localhost", "port": place(there)["port"]}

        def fill() -> None:
            sock.send(message=bytes(9_000), **where)
            sock.send(message=bytes(9_000), **where)
            sock.send(message=b"too much", **where)
            sock.close()

        ft.run(fill)
        told.end()
        error = told.of("error")[0]
        assert error.errno == ft.Errno.TOO_MANY_TASKS
        assert "18000 bytes wait to be sent already" in error.errMsg
        assert [len(there.recv(65536)) for _ in range(2)] == [9_000, 9_000]


# --- clients and loops that end -------------------------------------------------------------------


def test_closing_a_client_closes_its_sockets(plain: ft.Client) -> None:
    client = ft.Client()
    pairs = [udp(client) for _ in range(10)]
    for sock, _ in pairs:
        sock.bind()
    client.close()
    for sock, told in pairs:
        told.end()
        assert told.names[-1] == "close"
        sock.send(address=LOCAL, port=9, message=b"x")
        told.until("error")
        assert told.of("error")[0].errCode == -2
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.createUDPSocket()


def test_a_socket_that_was_not_used_before_its_client_was_closed_says_so() -> None:
    client = ft.Client()
    sock, told = udp(client)
    client.close()
    assert sock.bind() == 0
    told.until("error")
    assert "the client is closed" in told.of("error")[0].errMsg
    end(sock, told)


@pytest.mark.parametrize("run", [asyncio.run, run_uvloop])
def test_the_next_loop_closes_what_an_ended_one_left_open(run: Any) -> None:
    async def leave() -> Told:
        sock = ft.createUDPSocket()
        told = Told().listen(sock)
        sock.bind()
        return told

    async def come_after() -> None:
        sock = ft.createUDPSocket()
        sock.bind()
        sock.close()
        await sock.closed()

    told = run(leave())
    run(come_after())
    told.end()


# --- garbage --------------------------------------------------------------------------------------


def test_an_open_socket_is_kept_and_a_closed_one_goes(plain: ft.Client) -> None:
    before = ftcore.counters()["transfers"]
    sock, told = udp(plain)
    port = sock.bind()
    alive = weakref.ref(sock)
    del sock
    gc.collect()
    assert alive() is not None
    with peer() as there:
        there.sendto(b"still there", (LOCAL, port))
        told.until("message")
    kept = alive()
    assert kept is not None
    kept.close()
    del kept
    told.end()
    until(lambda: (gc.collect(), alive() is None)[1], "the socket goes")
    until(lambda: ftcore.counters()["transfers"] <= before, "the engine lets go of it")


def test_a_socket_that_was_never_used_goes_at_once(plain: ft.Client) -> None:
    alive = weakref.ref(plain.createUDPSocket())
    gc.collect()
    assert alive() is None


def test_a_socket_whose_listeners_hold_it_goes_too(plain: ft.Client) -> None:
    sock = plain.createUDPSocket()
    sock.onMessage(lambda _, sock=sock: sock.close())  # type: ignore[misc]
    port = sock.bind()
    with peer() as there:
        there.sendto(b"x", (LOCAL, port))
        sock.wait_closed(LIMIT)
    alive = weakref.ref(sock)
    del sock
    until(lambda: (gc.collect(), alive() is None)[1], "the socket goes")


def test_a_refusal_that_nobody_listens_for_is_logged(
    plain: ft.Client, caplog: pytest.LogCaptureFixture
) -> None:
    sock = plain.createUDPSocket()
    with nobody() as there:
        sock.connect(**there)
        sock.write(message=b"x", **there)
        until(lambda: "connection refused (ECONNREFUSED)" in caplog.text, "it is logged")
    sock.close()
    sock.wait_closed(LIMIT)
