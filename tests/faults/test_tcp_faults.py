"""TCP peers that reset, leave, stall, never read; each end is told as it was, and once."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import Callable
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import turn
from tests.faults.meetings import MEGABYTE, growth
from tests.servers.awkward import AwkwardServer, BlackHole, Gone, Peer, closed_port
from tests.tcp_sockets import HERE, LIMIT, TcpStory, connected, echo, failure, socket, stays, until

LIMITED = {"max_buffered_bytes": MEGABYTE, "trust_env": False}
BROKEN = (errno.ECONNRESET, errno.EPIPE)


def waits(peer: Peer) -> None:
    """Reads nothing before the gate is open, then everything."""
    peer.server.gate.wait(LIMIT)
    peer.until_gone()


# --- how a connection ends ------------------------------------------------------------------------


def resets(peer: Peer) -> None:
    peer.read()
    peer.reset()


def test_a_reset_is_an_error_and_the_end(plain: ft.Client) -> None:
    with AwkwardServer(resets) as server:
        task, story = connected(plain, server)
        task.write(b"x")
        end = story.end()
    assert story.names == ["connect", "error", "close"]
    assert story.codes == [(-2, errno.ECONNRESET)]
    error = story.of("error")[0]
    assert error.errMsg == "TCPSocket:fail connection reset by the peer (ECONNRESET)"
    assert error.errno == ft.Errno.INTERRUPTED
    assert end.error is error


def test_what_came_before_a_reset_is_delivered(plain: ft.Client) -> None:
    def speaks_and_resets(peer: Peer) -> None:
        peer.read()
        peer.send(b"y" * 100_000)
        peer.server.gate.wait(LIMIT)
        peer.reset()

    with AwkwardServer(speaks_and_resets) as server:
        task, story = connected(plain, server)
        task.write(b"x")
        until(lambda: len(story.bytes) == 100_000, "all of it came")
        server.gate.set()
        story.end()
    assert story.codes == [(-2, errno.ECONNRESET)]
    assert story.names[-2:] == ["error", "close"]


def test_a_peer_that_accepts_and_leaves(plain: ft.Client) -> None:
    with AwkwardServer(lambda peer: None) as server:
        _, story = socket(plain, server)
        story.end()
    assert story.names == ["connect", "end", "close"]


def test_writing_to_a_peer_that_has_left_is_an_error_and_its_words_are_heard(
    plain: ft.Client,
) -> None:
    def says_no(peer: Peer) -> None:
        peer.read()
        peer.send(b"no more of that")
        peer.sock.close()  # with bytes unread: RST
        raise Gone

    with AwkwardServer(says_no) as server:
        task = plain.createTCPSocket(allowHalfOpen=True)
        story = TcpStory().listen(task)
        task.connect(address=HERE, port=server.port)
        task.wait_connected(LIMIT)

        def flood() -> bool:
            if not task.ending:
                task.write(b"z" * 10_000)
            return "close" in story.names

        until(flood, "the peer's leaving is noticed")
        story.check()
    assert b"no more of that".startswith(story.bytes)
    numbers = {number for _, number in story.codes}
    assert numbers & set(BROKEN)
    assert story.of("close")[0].error.errNum in BROKEN


def test_an_error_while_closing_is_told(plain: ft.Client) -> None:
    def resets_later(peer: Peer) -> None:
        peer.server.gate.wait(LIMIT)
        peer.reset()

    with AwkwardServer(resets_later) as server:
        task, story = connected(plain, server)
        task.write(b"x" * 32 * MEGABYTE)
        task.close()
        server.gate.set()
        story.end()
    assert story.codes[0][0] == -2
    assert story.codes[0][1] in BROKEN
    assert "bytes were not sent" in story.of("error")[0].errMsg


def test_close_ends_when_the_peer_does_not_read(plain: ft.Client) -> None:
    with AwkwardServer(waits) as server:
        task, story = connected(plain, server, closeTimeout=0.3)
        task.write(b"x" * 32 * MEGABYTE)
        task.close()
        end = story.end()
        server.gate.set()
    assert story.names == ["connect", "error", "close"]
    assert story.codes == [(-2, errno.ETIMEDOUT)]
    assert "bytes were not sent" in end.error.errMsg


def test_close_waits_for_a_slow_peer_longer_than_its_limit(plain: ft.Client) -> None:
    def reads_slowly(peer: Peer) -> None:
        try:
            while True:
                peer.read()
                peer.pace(0.012)  # two seconds and more for all of it
        except Gone:
            return

    with AwkwardServer(reads_slowly, receive_buffer=65536) as server:
        task, story = connected(plain, server, closeTimeout=1.5)
        task.write(b"x" * 12 * MEGABYTE)
        task.close()
        story.end()
        server.wait_until_alone()
        assert len(server.received) == 12 * MEGABYTE
    assert story.of("error") == []


def test_close_does_not_wait_for_ever_for_the_peers_end(plain: ft.Client) -> None:
    with AwkwardServer(stays) as server:
        task, story = connected(plain, server)
        task.write(b"all of it")
        task.close()
        story.end()
        server.gate.set()
        server.wait_for_bytes(9)
        assert server.received == b"all of it"
    assert story.names == ["connect", "close"]


def test_close_tells_a_peer_that_speaks_all_the_time_everything(plain: ft.Client) -> None:
    """Closed with bytes unread, the kernel would take back what it has not sent."""

    def babbles(peer: Peer) -> None:
        peer.server.gate.wait(LIMIT)
        data = peer.read_exactly(MEGABYTE)
        peer.send(data)
        peer.until_gone()

    with AwkwardServer(babbles) as server:
        task, story = connected(plain, server)
        task.write(b"x" * MEGABYTE)
        task.write(b"the end")
        task.close()
        server.gate.set()
        story.end()
        server.wait_until_alone()
        assert server.received == b"x" * MEGABYTE + b"the end"
    assert story.names == ["connect", "close"]


# --- how a connection is not made -----------------------------------------------------------------


def test_a_port_that_refuses(plain: ft.Client) -> None:
    with closed_port() as port:
        error = failure(plain, address=HERE, port=port)
    assert (error.errCode, error.errNum) == (-4, errno.ECONNREFUSED)
    assert error.errno == ft.Errno.CONNECT
    assert error.errMsg.startswith("TCPSocket.connect:fail connection refused (ECONNREFUSED)")


def test_a_name_that_nobody_knows(plain: ft.Client) -> None:
    error = failure(plain, address="nowhere.invalid", port=80, timeout=LIMIT)
    assert (error.errCode, error.errNum) == (-4, None)
    assert error.errno == ft.Errno.DNS
    assert "nowhere.invalid" in error.errMsg


@pytest.mark.parametrize("end", ["close", "abort"])
def test_closing_while_it_connects_is_a_close_and_no_error(plain: ft.Client, end: str) -> None:
    with BlackHole() as hole:
        task, story = socket(plain, hole.port)
        getattr(task, end)()
        getattr(task, end)()
        story.end()
    assert story.names == ["close"]
    assert story.of("close")[0].error is None
    task.write(b"x")
    assert story.until("error").errNum == errno.ENOTCONN


def test_no_descriptors_is_a_system_error(plain: ft.Client) -> None:
    with AwkwardServer(echo) as server:
        task, story = connected(plain, server)
        server.wait_for_peers(1)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            error = failure(plain, address=HERE, port=server.port)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (error.errCode, error.errNum) == (-1, errno.EMFILE)
        assert error.errno == ft.Errno.SYSTEM
        task.write(b"unharmed")
        story.until("message")
        task.close()
        story.end()


def test_an_address_for_broadcasts_is_not_permitted_or_not_reached(plain: ft.Client) -> None:
    error = failure(plain, address="255.255.255.255", port=80)
    expected = {errno.EACCES: -3, errno.ENETUNREACH: -4, errno.EINVAL: -4}
    assert error.errNum in expected
    assert error.errCode == expected[error.errNum]


# --- back-pressure, both ways ---------------------------------------------------------------------


def fill(task: ft.TCPSocket, data: bytes) -> int:
    """Writes until the kernel takes no more and a megabyte waits; how many went in.

    The last two go at once, from below the limit to above it: just below, a write is refused for
    what each counts beside its bytes.
    """
    count, nearly = 0, MEGABYTE - 2 * len(data)
    while task.bufferedAmount < nearly:
        while task.bufferedAmount < nearly:
            task.write(data)
            count += 1
        stops(lambda: waiting(task))
    task.write(data * 2)
    return count + 2


def waiting(task: ft.TCPSocket) -> int:
    """What waits when the engine has come to what it was given before."""
    turn()
    return task.bufferedAmount


def test_a_peer_that_does_not_read_bounds_what_waits() -> None:
    with (
        growth() as grown,
        AwkwardServer(waits, receive_buffer=65536) as server,
        ft.Client(**LIMITED) as client,
    ):
        task, story = connected(client, server)
        written = fill(task, b"x" * 50_000)
        task.onDrain(story.note("drain"))
        assert MEGABYTE <= task.bufferedAmount < MEGABYTE + 50_000
        for _ in range(3):
            task.write(b"too much")
        story.until("error", 3)
        assert story.codes == [(-2, errno.ENOBUFS)] * 3
        assert "bytes wait to be sent already" in story.of("error")[0].errMsg
        assert "drain" not in story.names
        server.gate.set()
        story.until("drain")
        assert task.bufferedAmount == 0
        task.write(b"there is room again")
        task.end()
        story.ended.wait(LIMIT)
        assert server.received == b"x" * 50_000 * written + b"there is room again"
    assert grown.megabytes < 60


def test_many_small_writes_are_bounded_too() -> None:
    with (
        growth() as grown,
        AwkwardServer(waits) as server,
        ft.Client(**LIMITED) as client,
    ):
        task, story = connected(client, server)
        task.write(b"x" * 16 * MEGABYTE)
        until(lambda: task.bufferedAmount > MEGABYTE, "it waits")
        task.abort()
        story.end()
        task, story = connected(client, server)
        count = 0
        while not story.of("error"):
            task.write(b"y" * 16)
            count += 1
            if count % 1000 == 0:
                turn()  # else it is the errors to be told that take memory
            assert count < 2_000_000
        task.abort()
        story.ended.wait(LIMIT)
        server.gate.set()
    assert grown.megabytes < 80


def test_a_waiting_coroutine_goes_on_when_all_is_sent() -> None:
    async def main(client: ft.Client, server: AwkwardServer) -> None:
        task = client.createTCPSocket()
        task.connect(address=HERE, port=server.port, timeout=LIMIT)
        await task.connected()
        for _ in range(64):
            task.write(b"x" * MEGABYTE)
            if task.bufferedAmount:
                server.gate.set()
                await task.drained()
                assert task.bufferedAmount == 0
        task.close()
        await task.closed()

    with AwkwardServer(waits) as server, ft.Client(**LIMITED) as client:
        asyncio.run(asyncio.wait_for(main(client, server), LIMIT * 2))
        server.wait_until_alone()
        assert len(server.received) == 64 * MEGABYTE


def floods(peer: Peer) -> None:
    """Sends without an end, and counts what it got rid of."""
    peer.server.sent = 0  # type: ignore[attr-defined]
    block = bytes(65536)
    while True:
        peer.sock.send(block)
        peer.server.sent += len(block)  # type: ignore[attr-defined]


def stops(sent: Callable[[], int]) -> None:
    """Returns when the peer is held up."""
    last, ticks = -1, 0

    def unchanged() -> bool:
        nonlocal last, ticks
        now = sent()
        ticks = ticks + 1 if now == last else 0
        last = now
        return ticks > 40

    until(unchanged, "the peer is held up")


@pytest.mark.parametrize("way", ["paused", "no listener", "slow loop"])
def test_whoever_is_slow_holds_the_peer_up(way: str) -> None:
    with (
        growth() as grown,
        AwkwardServer(floods) as server,
        ft.Client(**LIMITED) as client,
    ):
        task = client.createTCPSocket()
        task.connect(address=HERE, port=server.port, timeout=LIMIT)
        if way == "paused":
            task.wait_connected(LIMIT)
            task.pause()
            task.onMessage(lambda event: None)
        elif way == "slow loop":

            async def one() -> None:
                async for _ in task:
                    return

            asyncio.run(one())
        until(lambda: getattr(server, "sent", 0) > 0, "it sends")
        stops(lambda: server.sent)  # type: ignore[attr-defined]
        held_at = server.sent  # type: ignore[attr-defined]
        if way == "paused":
            task.resume()
        elif way == "no listener":
            task.onMessage(lambda event: None)
        else:

            async def more() -> None:
                got = 0
                async for chunk in task:
                    got += len(chunk)
                    if got > 8 * MEGABYTE:
                        return

            asyncio.run(more())
        until(lambda: server.sent > held_at, "it goes on")  # type: ignore[attr-defined]
        task.close()
        task.wait_closed(LIMIT)
    assert grown.megabytes < 40


def test_nothing_is_lost_between_pauses(plain: ft.Client) -> None:
    def counts(peer: Peer) -> None:
        peer.send(b"".join(b"%07d\n" % number for number in range(500_000)))

    with AwkwardServer(counts) as server:
        task = plain.createTCPSocket()
        got = bytearray()

        def heard(event: Any) -> None:
            got.extend(event.message)
            if len(got) % 7 == 0:
                task.pause()
                task.resume()

        task.onMessage(heard)
        task.connect(address=HERE, port=server.port)
        task.wait_closed(LIMIT)
    assert bytes(got) == b"".join(b"%07d\n" % number for number in range(500_000))


# --- the life of clients, loops and processes -----------------------------------------------------


def test_a_client_that_is_closed_ends_its_sockets() -> None:
    with AwkwardServer(echo) as server, ft.Client(trust_env=False) as client:
        _, story = connected(client, server)
        with BlackHole() as hole:
            _, other = socket(client, hole.port)
            client.close()
            story.end()
            other.until("error")
        with pytest.raises(RuntimeError, match="closed"):
            client.createTCPSocket().connect(address=HERE, port=server.port)
    assert story.names == ["connect", "error", "close"]
    assert story.codes == other.codes == [(-1, None)]
    assert other.names == ["error"]


def test_a_loop_that_is_left_ends_its_sockets(plain: ft.Client) -> None:
    story = TcpStory()

    async def main(port: int) -> None:
        task = plain.createTCPSocket()
        story.listen(task)
        task.connect(address=HERE, port=port)
        await task.connected()

    with AwkwardServer(echo) as server:
        asyncio.run(main(server.port))

        async def another() -> None:
            await plain_request(server.port)

        asyncio.run(another())  # whoever comes next clears up
        story.end()
    assert story.codes == [(-1, None)]


async def plain_request(port: int) -> None:
    task = ft.createTCPSocket()
    task.connect(address=HERE, port=port)
    await task.connected()
    task.close()
    await task.closed()


def test_a_forked_child_leaves_its_parents_socket_alone(plain: ft.Client) -> None:
    with AwkwardServer(echo) as server:
        task, story = connected(plain, server)
        child = os.fork()
        if child == 0:
            task.close()
            task.abort()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        task.write(b"still mine")
        story.until("message")
        task.close()
        story.end()
    assert story.bytes == b"still mine"


ACTIONS: dict[str, Callable[[ft.TCPSocket], object]] = {
    "write": lambda task: task.write(b"from a callback"),
    "end": lambda task: task.end(),
    "close": lambda task: task.close(),
    "close twice": lambda task: (task.close(), task.close()),
    "abort": lambda task: task.abort(),
    "abort after close": lambda task: (task.close(), task.abort()),
    "pause and resume": lambda task: (task.pause(), task.resume()),
    "connect": lambda task: task.connect(address=HERE, port=1),
    "off": lambda task: (task.offMessage(print), task.offError(print)),
    "look": lambda task: (task.bufferedAmount, task.localInfo, task.remoteInfo),
}


@pytest.mark.parametrize("kind", ["Connect", "Message", "Error", "End", "Close", "Drain"])
@pytest.mark.parametrize("action", ACTIONS)
def test_every_method_can_be_called_in_every_callback(
    plain: ft.Client, kind: str, action: str
) -> None:
    with AwkwardServer(echo) as server:
        task = plain.createTCPSocket()
        story = TcpStory()
        acted: list[str] = []

        def act(_: object) -> None:
            if not acted:
                acted.append(kind)
                ACTIONS[action](task)

        getattr(task, f"on{kind}")(act)
        story.listen(task)
        if kind == "Error":
            task.write(b"too early")
        task.connect(address=HERE, port=server.port)
        if kind == "Error":
            until(lambda: acted, "the error is told")
            until(lambda: {"connect", "close", "error"} & set(story.names), "it goes on")
        until(lambda: story.names or acted, "it begins")
        until(lambda: task.established or task.finished, "it is connected")
        task.write([b"x" * MEGABYTE] * 3)
        task.end()
        story.ended.wait(LIMIT)
        story.check()
        if kind != "Drain":
            assert acted == [kind]


def test_every_method_can_be_called_from_other_threads(plain: ft.Client) -> None:
    from tests.test_websocket_lifecycle import in_threads

    with AwkwardServer(echo) as server:
        task, story = connected(plain, server)

        def work(mine: int) -> None:
            listener = TcpStory().note("x")
            for number in range(50):
                task.write(b"%d %02d\n" % (mine, number))
                for kind in ("Connect", "Message", "Error", "Close", "End", "Drain"):
                    getattr(task, f"on{kind}")(listener)
                    getattr(task, f"off{kind}")(listener)
                task.pause()
                task.resume()
                assert task.bufferedAmount >= 0
                task.wait_connected(LIMIT)

        in_threads(4, work)
        in_threads(4, lambda mine: task.end() if mine % 2 else None)
        in_threads(4, lambda mine: task.wait_closed(LIMIT))
        story.end()
    lines = story.bytes.decode().splitlines()
    assert len(lines) == 200
    for mine in range(4):
        assert [line for line in lines if line[0] == str(mine)] == [
            f"{mine} {number:02d}" for number in range(50)
        ]
