"""TCPSocket as the ft reference has it, row by row, and what it offers beyond."""

from __future__ import annotations

import contextlib
import errno
import os
import socket as python_socket
import sys
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from tests.servers.awkward import AwkwardServer, BlackHole, Peer, closed_port
from tests.tcp_sockets import (
    HERE,
    LIMIT,
    TcpStory,
    connected,
    echo,
    failure,
    socket,
    until,
)

MEGABYTE = 1 << 20


# --- createTCPSocket, connect ---------------------------------------------------------------------


def test_a_socket_connects_talks_and_closes(drive_sockets: Any, echoing: AwkwardServer) -> None:
    stories: list[TcpStory] = []

    def start() -> list[ft.TCPSocket]:
        task, story = socket(ft, echoing)
        stories.append(story)
        task.onConnect(lambda _: task.write("Hello FinClip."))

        def heard(event: Any) -> None:
            if story.bytes == b"Hello FinClip.":
                task.close()

        task.onMessage(heard)
        return [task]

    thread = drive_sockets(start)
    (story,) = stories
    story.end()
    assert story.names[0] == "connect"
    assert story.bytes == b"Hello FinClip."
    assert story.of("error") == []
    if thread is not None:
        assert story.threads == {thread}


def test_both_ends_are_told(plain: ft.Client, echoing: AwkwardServer) -> None:
    task, story = connected(plain, echoing)
    event = story.of("connect")[0]
    task.write(b"x")
    message = story.until("message")
    local = echoing.peers[0].sock.getpeername()
    for told in (event, message):
        assert (told.remoteInfo.address, told.remoteInfo.port) == (HERE, echoing.port)
        assert (told.localInfo.address, told.localInfo.port) == local
        assert told.remoteInfo.family == told.localInfo.family == "IPv4"
    assert message.remoteInfo.size == 1
    assert task.localInfo.port == local[1]  # type: ignore[union-attr]
    assert task.remoteInfo.port == echoing.port  # type: ignore[union-attr]
    told = ft.to_dict(message)
    assert list(told) == ["message", "remoteInfo", "localInfo"]
    assert told["remoteInfo"] == {
        "address": HERE, "family": "IPv4", "port": echoing.port, "size": 1
    }  # fmt: skip
    task.close()
    story.end()


def test_the_profile_tells_of_the_connection(plain: ft.Client, echoing: AwkwardServer) -> None:
    task, story = connected(plain, echoing)
    profile = story.of("connect")[0].profile
    assert profile.fetchStart <= profile.domainLookUpStart <= profile.domainLookUpEnd
    assert profile.domainLookUpEnd <= profile.connectStart < profile.connectEnd
    assert profile.SSLconnectionStart == profile.SSLconnectionEnd == 0
    assert (profile.peerIP, profile.port) == (HERE, echoing.port)
    assert profile.cost >= profile.rtt > 0
    task.close()
    story.end()


def test_options_come_as_a_mapping_too(plain: ft.Client, echoing: AwkwardServer) -> None:
    task = plain.createTCPSocket({"type": "ipv4"})
    task.connect({"address": HERE, "port": echoing.port, "timeout": 5})
    assert task.wait_connected(LIMIT).remoteInfo.port == echoing.port
    task.close()
    assert task.wait_closed(LIMIT).error is None


def test_a_name_is_looked_up(plain: ft.Client, echoing: AwkwardServer) -> None:
    task, story = connected(plain, echoing, address="localhost")
    assert story.of("connect")[0].remoteInfo.address == HERE
    task.close()
    story.end()


def test_the_timeout_is_two_seconds_when_none_is_given(plain: ft.Client) -> None:
    with BlackHole() as hole:
        error = failure(plain, address=HERE, port=hole.port)
    assert error.errCode == -4
    assert error.errno == ft.Errno.TIMEOUT
    assert error.errMsg == "TCPSocket.connect:fail timeout"
    cost = error.profile.fetchStart
    assert cost > 0
    assert error.profile.connectEnd == 0


def test_the_timeout_is_in_seconds(plain: ft.Client) -> None:
    with BlackHole() as hole:
        assert failure(plain, address=HERE, port=hole.port, timeout=0.05).errCode == -4


def test_ipv6_is_a_matter_of_the_address(plain: ft.Client) -> None:
    with AwkwardServer(echo, host="::1") as server:
        task, story = connected(plain, server, address="::1")
        event = story.of("connect")[0]
        assert event.remoteInfo.address == "::1"
        assert event.remoteInfo.family == event.localInfo.family == "IPv6"
        task.write(b"six")
        story.until("message")
        task.close()
        story.end()
    assert story.bytes == b"six"


@pytest.mark.parametrize(
    ("kind", "host", "reached"),
    [("ipv4", HERE, True), ("ipv4", "::1", False), ("ipv6", "::1", True), ("ipv6", HERE, False),
     ("any", HERE, True), ("any", "::1", True)],
)  # fmt: skip
def test_the_type_says_which_addresses_of_a_name_are_used(
    dns: Any, certificates: Any, kind: str, host: str, reached: bool
) -> None:
    from tests.servers.dns import BOTH

    with (
        AwkwardServer(echo, host=host) as server,
        ft.Client(doh_url=dns.doh_url, ca=str(certificates.ca), trust_env=False) as client,
    ):
        task = client.createTCPSocket(type=kind)
        task.connect(address=BOTH, port=server.port, timeout=LIMIT)
        if reached:
            assert task.wait_connected(LIMIT).remoteInfo.address == host
            task.close()
            task.wait_closed(LIMIT)
        else:
            with pytest.raises(ft.FtError) as caught:
                task.wait_connected(LIMIT)
            assert caught.value.errCode == -4


def test_the_clients_own_answers_are_used(echoing: AwkwardServer) -> None:
    with ft.Client(resolve={f"name.test:{echoing.port}": HERE}, trust_env=False) as client:
        task, story = connected(client, echoing, address="name.test")
        assert story.of("connect")[0].remoteInfo.address == HERE
        task.close()
        story.end()


def test_proxies_are_left_aside(echoing: AwkwardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as port:
        monkeypatch.setenv("all_proxy", f"socks5://{HERE}:{port}")
        for client in (ft.Client(), ft.Client(proxy=f"http://{HERE}:{port}")):
            with client:
                task, story = connected(client, echoing)
                task.close()
                story.end()


def test_the_end_to_connect_from_can_be_chosen(plain: ft.Client, echoing: AwkwardServer) -> None:
    with closed_port() as port:  # nobody else is given it meanwhile
        task, story = connected(plain, echoing, localAddress="127.0.0.2", localPort=port)
        here = story.of("connect")[0].localInfo
        assert (here.address, here.port) == ("127.0.0.2", port)
        echoing.wait_for_peers(1)
        assert echoing.peers[0].sock.getpeername() == ("127.0.0.2", port)
        task.close()
        story.end()


def test_a_local_port_that_is_taken_is_a_socket_error(
    plain: ft.Client, echoing: AwkwardServer
) -> None:
    with closed_port() as taken:
        error = failure(plain, address=HERE, port=echoing.port, localPort=taken)
    assert error.errCode == -2
    assert "in use" in error.errMsg


def options_of(task: ft.TCPSocket, level: int, *names: int) -> list[int]:
    """Socket options of the one descriptor whose local port is the socket's."""
    local = task.localInfo
    assert local is not None
    for link in Path("/proc/self/fd").iterdir():
        if link.is_socket():
            with (
                contextlib.suppress(OSError),  # another thread has closed it meanwhile
                python_socket.socket(fileno=os.dup(int(link.name))) as duplicate,
            ):
                inet = duplicate.family == python_socket.AF_INET
                if inet and duplicate.getsockname() == (local.address, local.port):
                    return [duplicate.getsockopt(level, option) for option in names]
    raise AssertionError("no descriptor of the socket")


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize(
    ("settings", "given", "expected"),
    [({}, {}, 1), ({}, {"noDelay": False}, 0), ({"tcp_nodelay": False}, {}, 0),
     ({"tcp_nodelay": False}, {"noDelay": True}, 1)],
)  # fmt: skip
def test_nagles_algorithm_is_an_option(
    echoing: AwkwardServer, settings: Any, given: Any, expected: int
) -> None:
    with ft.Client(trust_env=False, **settings) as client:
        task, story = connected(client, echoing, **given)
        (got,) = options_of(task, python_socket.IPPROTO_TCP, python_socket.TCP_NODELAY)
        assert bool(got) == expected
        task.close()
        story.end()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize(
    ("settings", "given", "expected"),
    [({}, {}, None), ({}, {"keepAlive": 7}, 7), ({"tcp_keepalive": 5000}, {}, 5),
     ({"tcp_keepalive": 5000}, {"keepAlive": 0.1}, 1)],
)  # fmt: skip
def test_probes_of_an_idle_connection_are_an_option(
    echoing: AwkwardServer, settings: Any, given: Any, expected: int | None
) -> None:
    with ft.Client(trust_env=False, **settings) as client:
        task, story = connected(client, echoing, **given)
        (on,) = options_of(task, python_socket.SOL_SOCKET, python_socket.SO_KEEPALIVE)
        (idle,) = options_of(task, python_socket.IPPROTO_TCP, python_socket.TCP_KEEPIDLE)
        assert (idle if on else None) == expected
        task.close()
        story.end()


# --- write ----------------------------------------------------------------------------------------

WRITTEN: list[tuple[Any, bytes]] = [
    ("text", b"text"),
    ("schön ☃", "schön ☃".encode()),
    (b"bytes", b"bytes"),
    (bytearray(b"array"), b"array"),
    (memoryview(b"xviewx")[1:5], b"view"),
    ("", b""),
    (b"", b""),
    ([b"a", "b", bytearray(b"c"), memoryview(b"d")], b"abcd"),
    (("ü", b"\0"), "ü\0".encode()),
    ([], b""),
    ([b"", ""], b""),
    ([b"x" * 1000] * 200, b"x" * 200_000),
]


def test_everything_that_is_data_is_written(plain: ft.Client, echoing: AwkwardServer) -> None:
    task, story = connected(plain, echoing)
    expected = b""
    for data, sent in WRITTEN:
        assert task.write(data) is None  # type: ignore[func-returns-value]
        expected += sent
    task.end()
    story.end()
    assert story.bytes == echoing.received == expected
    assert story.of("error") == []


@pytest.mark.parametrize("data", [None, 1, 1.5, {}, object(), [1], ["a", None], {b"a"}])
def test_what_is_no_data_raises(plain: ft.Client, echoing: AwkwardServer, data: Any) -> None:
    task = plain.createTCPSocket()
    with pytest.raises(TypeError, match=r"TCPSocket\.write: data must be a str, bytes-like"):
        task.write(data)
    task, story = connected(plain, echoing)
    with pytest.raises(TypeError, match=r"TCPSocket\.write: data must be a str, bytes-like"):
        task.write(data)
    task.close()
    story.end()
    assert story.of("error") == []


@pytest.mark.parametrize(
    "data", ["\ud800", ["ok", "\ud800"], memoryview(b"abcd")[::2], [memoryview(b"abcd")[::2]]]
)
def test_what_can_not_be_bytes_raises(plain: ft.Client, echoing: AwkwardServer, data: Any) -> None:
    task, story = connected(plain, echoing)
    with pytest.raises(ValueError, match=r"surrogates|contiguous"):
        task.write(data)
    task.end()
    story.end()
    assert echoing.received == b""


def test_what_is_written_may_change_at_once(plain: ft.Client, echoing: AwkwardServer) -> None:
    task, story = connected(plain, echoing)
    data = bytearray(b"a" * 100_000)
    for letter in b"bcdef":
        task.write(data)
        data[:] = bytes([letter]) * len(data)
        data.append(letter)  # nobody holds it
        data.pop()
    task.end()
    story.end()
    assert echoing.received == b"".join(bytes([x]) * 100_000 for x in b"abcde")


def test_writes_keep_their_order_whatever_their_size(
    unbounded: ft.Client, echoing: AwkwardServer
) -> None:
    task, story = connected(unbounded, echoing)
    sent = bytearray()
    for number in range(2000):
        data = str(number).encode() * (number % 97 if number % 50 else 20_000)
        task.write(data)
        sent += data
    task.end()
    story.end()
    assert echoing.received == story.bytes == bytes(sent)


# --- close, end -----------------------------------------------------------------------------------


def test_close_sends_what_waits_first(plain: ft.Client) -> None:
    def slow(peer: Peer) -> None:
        peer.server.gate.wait(LIMIT)
        peer.until_gone()

    with AwkwardServer(slow) as server:
        task, story = connected(plain, server)
        task.write(b"x" * (3 * MEGABYTE))
        task.close()
        task.close()
        assert "close" not in story.names
        server.gate.set()
        story.end()
        server.wait_until_alone()
        assert len(server.received) == 3 * MEGABYTE
        assert isinstance(server.peers[0].ending, type(None))
    assert story.names == ["connect", "close"]
    assert story.of("close")[0].error is None


def test_close_before_connect_does_nothing(plain: ft.Client, echoing: AwkwardServer) -> None:
    task = plain.createTCPSocket()
    task.close()
    task.abort()
    task.end()
    task.pause()
    task.resume()
    story = TcpStory().listen(task)
    task.connect(address=HERE, port=echoing.port)
    story.until("connect")
    task.close()
    story.end()
    assert story.names == ["connect", "close"]


def test_after_end_the_answer_still_comes(plain: ft.Client) -> None:
    def answers(peer: Peer) -> None:
        peer.until_gone()
        peer.send(b"the answer to " + bytes(peer.received))

    with AwkwardServer(answers) as server:
        task, story = connected(plain, server)
        task.write(b"the question")
        task.end()
        task.end()
        story.end()
    assert story.bytes == b"the answer to the question"
    assert story.names[-2:] == ["end", "close"]
    assert story.of("error") == []


def test_the_peers_end_closes_the_socket(plain: ft.Client) -> None:
    def leaves(peer: Peer) -> None:
        peer.send(b"bye")

    with AwkwardServer(leaves) as server:
        _, story = socket(plain, server)
        story.end()
    assert story.names == ["connect", "message", "end", "close"]
    assert story.bytes == b"bye"


def test_what_waits_is_sent_when_the_peer_ends_first(plain: ft.Client) -> None:
    def ends_first(peer: Peer) -> None:
        peer.finish_sending()
        peer.server.gate.wait(LIMIT)
        peer.until_gone()

    with AwkwardServer(ends_first) as server:
        task = plain.createTCPSocket()
        task.onConnect(lambda _: task.write(b"y" * MEGABYTE * 3))
        story = TcpStory().listen(task)
        task.connect(address=HERE, port=server.port, timeout=LIMIT)
        story.until("end")
        server.gate.set()
        story.end()
        server.wait_until_alone()
        assert len(server.received) == 3 * MEGABYTE
    assert story.of("error") == []


def test_half_open_it_goes_on_after_the_peers_end(plain: ft.Client) -> None:
    def ends_first(peer: Peer) -> None:
        peer.send(b"greeting")
        peer.finish_sending()
        peer.until_gone()

    with AwkwardServer(ends_first) as server:
        task, story = socket(plain, server, create={"allowHalfOpen": True})
        story.until("end")
        task.write(b"after the ")
        task.write(b"end")
        server.wait_for_bytes(13)
        assert "close" not in story.names
        task.end()
        story.end()
        assert server.received == b"after the end"
    assert story.names == ["connect", "message", "end", "close"]


def test_abort_drops_what_waits(plain: ft.Client) -> None:
    def stops(peer: Peer) -> None:
        peer.server.gate.wait(LIMIT)
        peer.until_gone()

    with AwkwardServer(stops) as server:
        task, story = connected(plain, server)
        task.write(b"x" * (32 * MEGABYTE))
        until(lambda: task.bufferedAmount < 32 * MEGABYTE, "the kernel takes some")
        assert task.bufferedAmount > 0
        task.abort()
        task.abort()
        story.end()
        assert task.bufferedAmount == 0
    assert story.names == ["connect", "close"]


def test_closed_right_after_a_connect_that_can_not_be(plain: ft.Client) -> None:
    stories: list[TcpStory] = []

    def start() -> None:
        task = plain.createTCPSocket()
        stories.append(TcpStory().listen(task))
        task.connect(address="no address", port=80)
        task.close()
        task.connect(address=HERE, port=80)

    ft.run(start)
    assert sorted(stories[0].names) == ["close", "error"]
    assert stories[0].codes == [(-2, errno.EBADF)]


def test_paused_before_it_is_connected(plain: ft.Client) -> None:
    def speaks(peer: Peer) -> None:
        peer.send(b"greeting")
        peer.until_gone()

    with AwkwardServer(speaks) as server:
        task = plain.createTCPSocket()
        story = TcpStory().listen(task)
        task.pause()
        task.connect(address=HERE, port=server.port)
        story.until("connect")
        task.write(b"x")
        server.wait_for_bytes(1)
        assert "message" not in story.names
        task.resume()
        story.until("message")
        task.close()
        story.end()


# --- listeners ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Connect", "Message", "Error", "Close", "End", "Drain"])
def test_a_listener_can_be_taken_away(plain: ft.Client, echoing: AwkwardServer, kind: str) -> None:
    task = plain.createTCPSocket()
    told: list[str] = []

    def first(_: object) -> None:
        told.append("first")

    def second(_: object) -> None:
        told.append("second")

    on, off = getattr(task, f"on{kind}"), getattr(task, f"off{kind}")
    off()
    off(first)
    on(first)
    on(second)
    off(first)
    on(first)
    off(second)
    off(print)
    off()
    story = TcpStory().listen(task)
    task.write(b"too early")
    task.connect(address=HERE, port=echoing.port)
    story.until("connect")
    task.write(b"x" * MEGABYTE)
    task.end()
    story.end()
    assert told == []
    assert story.bytes == b"x" * MEGABYTE


@pytest.mark.parametrize("kind", ["Connect", "Message", "Error", "Close", "End", "Drain"])
def test_a_listener_must_be_callable(kind: str) -> None:
    with pytest.raises(TypeError, match=f"on{kind} takes a callable, got 5"):
        getattr(ft.createTCPSocket(), f"on{kind}")(5)


def test_listeners_are_told_in_order_and_may_raise(
    plain: ft.Client, echoing: AwkwardServer, caplog: pytest.LogCaptureFixture
) -> None:
    task = plain.createTCPSocket()
    told: list[int] = []

    def raises(_: object) -> None:
        told.append(1)
        raise ValueError("of the listener")

    task.onMessage(raises)
    task.onMessage(lambda _: told.append(2))
    task.connect(address=HERE, port=echoing.port)
    task.wait_connected(LIMIT)
    task.write(b"x")
    task.end()
    task.wait_closed(LIMIT)
    assert told == [1, 2]
    assert "of the listener" in caplog.text
    caplog.clear()  # its traceback holds the message


def test_what_came_before_a_listener_is_told_to_the_first(
    plain: ft.Client, echoing: AwkwardServer
) -> None:
    task = plain.createTCPSocket()
    task.connect(address=HERE, port=echoing.port)
    task.wait_connected(LIMIT)
    task.write(b"early")
    echoing.wait_for_bytes(5)
    until(lambda: "message" in task._early, "it came")
    story = TcpStory().listen(task)
    story.until("message")
    assert story.bytes == b"early"
    task.end()
    story.end()
    task.onClose(story.note("again"))
    assert story.names == ["connect", "message", "end", "close"]
