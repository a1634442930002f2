"""UDP: options, listeners, close as the reference's chapter has them; multicast, loops, peers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from tests.datagrams import LOCAL, Told, answered_address, echo, end, peer, place, question, udp
from tests.drivers import in_run, run_uvloop
from tests.servers.dns import HERE, NOWHERE
from tests.servers.program import Program, find, free_ports
from tests.sockets import LIMIT, until

IP_RECVTTL = 12  # <linux/in.h>; Python does not name it before 3.14

# --- options of the socket ------------------------------------------------------------------------


def ttl_of(there: socket.socket) -> int:
    """The hops that a datagram that has come was given (ip(7))."""
    _, controls, _, _ = there.recvmsg(100, 100)
    ((_, _, value),) = controls
    return int(struct.unpack("=i", value)[0])


@pytest.mark.parametrize("bound_first", [True, False])
@pytest.mark.parametrize("ttl", [1, 64, 255])
def test_the_ttl_is_seen_on_the_wire(plain: ft.Client, ttl: int, bound_first: bool) -> None:
    sock, told = udp(plain)
    with peer() as there:
        there.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        if bound_first:
            sock.bind()
        sock.setTTL(ttl)
        sock.send(message=b"x", **place(there))
        assert ttl_of(there) == ttl
    end(sock, told)


def test_a_ttl_is_for_what_is_sent_after_it(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with peer() as there:
        there.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        for ttl in range(1, 101):
            sock.setTTL(ttl)
            sock.send(message=b"x", **place(there))
        assert [ttl_of(there) for _ in range(100)] == list(range(1, 101))
    end(sock, told)


def test_the_hops_of_ipv6_are_seen_on_the_wire(plain: ft.Client) -> None:
    sock, told = udp(plain)
    sock.setTTL(7)
    with peer("::1") as there:
        there.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        sock.send(message=b"x", **place(there))
        assert ttl_of(there) == 7
    end(sock, told)


@pytest.mark.parametrize("method", ["setTTL", "setMulticastTTL"])
@pytest.mark.parametrize("ttl", [-1, 256, "5", None, 1.0, True])
def test_an_impossible_ttl_is_an_error_event(plain: ft.Client, method: str, ttl: Any) -> None:
    sock, told = udp(plain)
    getattr(sock, method)(ttl)
    told.until("error")
    assert told.codes == [(-1, 0)]
    end(sock, told)


def test_a_ttl_that_the_system_refuses_is_an_error_event(plain: ft.Client) -> None:
    sock, told = udp(plain)
    sock.setTTL(0)
    sock.bind()
    told.until("error")
    assert told.codes == [(-2, errno.EINVAL)]
    end(sock, told)


def test_broadcast_is_asked_for_by_each_datagram(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with peer("0.0.0.0") as there:
        where = {"address": "127.255.255.255", "port": there.getsockname()[1]}
        sock.send(message=b"not", **where)
        sock.send(message=b"broadcast", setBroadcast=True, **where)
        sock.send(message=b"not", **where)
        assert there.recv(100) == b"broadcast"
        told.until("error", 2)
    assert told.codes == [(-3, errno.EACCES)] * 2
    assert "127.255.255.255:" in told.of("error")[0].errMsg
    end(sock, told)


GROUP, GROUP6 = "239.255.83.7", "ff12::83:7"


def multicast_way(family: int) -> str:
    """An address, or interface, by which datagrams to a group come back."""
    if family == socket.AF_INET:
        return LOCAL
    for index, name in socket.if_nameindex():
        with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            probe.sendto(b"", (GROUP6, 9))
            return name
    pytest.skip("no interface of this machine takes IPv6 multicast")


def send_by(sender: socket.socket, way: str) -> None:
    if sender.family == socket.AF_INET:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(way))
    else:
        index = socket.if_nametoindex(way)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)


@pytest.mark.parametrize(("group", "kind"), [(GROUP, "udp4"), (GROUP6, "udp6")])
def test_a_multicast_group_is_joined_and_left(plain: ft.Client, group: str, kind: str) -> None:
    family = socket.AF_INET if kind == "udp4" else socket.AF_INET6
    way = multicast_way(family)
    receiver, told = udp(plain, type=kind, reuseAddr=True)
    other, also_told = udp(plain, type=kind, reuseAddr=True)
    port = receiver.bind()
    assert other.bind(port) == port
    receiver.addMembership(group, way)
    other.addMembership(group, way)
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        send_by(sender, way)
        sender.sendto(b"to all", (group, port))
        told.until("message")
        also_told.until("message")
        receiver.dropMembership(group, way)
        sender.sendto(b"to one", (group, port))
        also_told.until("message", 2)
    end(receiver, told)
    end(other, also_told)
    assert told.messages == [b"to all"]
    assert also_told.messages == [b"to all", b"to one"]
    assert "error" not in told.names + also_told.names


@pytest.mark.parametrize("group", ["127.0.0.1", "::1", "nothing", ""])
def test_what_is_no_group_cannot_be_joined(plain: ft.Client, group: str) -> None:
    sock, told = udp(plain)
    sock.addMembership(group)
    told.until("error")
    assert told.codes[0][0] == -2
    end(sock, told)


def test_a_group_that_was_not_joined_cannot_be_left(plain: ft.Client) -> None:
    sock, told = udp(plain)
    sock.dropMembership(GROUP)
    sock.addMembership(GROUP, "no such interface")
    told.until("error", 2)
    assert told.codes == [(-2, errno.EADDRNOTAVAIL), (-2, errno.ENODEV)]
    end(sock, told)


def test_multicast_loopback_and_ttl_are_set(plain: ft.Client) -> None:
    sock, told = udp(plain)
    sock.setMulticastTTL(3)
    sock.setMulticastLoopback(False)
    sock.setMulticastLoopback(True)
    sock.bind()
    told.until("listening")
    end(sock, told)
    assert told.names == ["listening", "close"]


# --- listeners, close -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Close", "Error", "Listening", "Message"])
def test_listeners_are_called_in_order_and_can_be_taken_away(plain: ft.Client, kind: str) -> None:
    sock, told = udp(plain)
    got: list[int] = []
    listeners = [lambda _, number=number: got.append(number) for number in range(4)]
    for listener in listeners:
        getattr(sock, f"on{kind}")(listener)
    getattr(sock, f"off{kind}")(listeners[1])
    getattr(sock, f"off{kind}")(print)
    with peer() as there:
        port = sock.bind()
        there.sendto(b"x", (LOCAL, port))
        told.until("message")
        sock.setTTL(-1)
        told.until("error")
    end(sock, told)
    until(lambda: len(got) >= 3, "three listeners are called")
    assert got == [0, 2, 3]


@pytest.mark.parametrize("kind", ["Close", "Error", "Listening", "Message"])
def test_off_without_a_listener_takes_all_away(plain: ft.Client, kind: str) -> None:
    sock = plain.createUDPSocket()
    told = Told()
    for name in ("Close", "Error", "Listening", "Message"):
        getattr(sock, f"on{name}")(told.note(name.lower()))
        getattr(sock, f"on{name}")(told.note(name.lower()))
    getattr(sock, f"off{kind}")()
    with peer() as there:
        there.sendto(b"x", (LOCAL, sock.bind()))
        sock.setTTL(-1)
        for name in {"message", "error"} - {kind.lower()}:
            told.until(name, 2)
    sock.close()
    sock.wait_closed(LIMIT)
    names = {"listening", "message", "error", "close"} - {kind.lower()}
    until(lambda: set(told.names) == names, "the others are called")
    with pytest.raises(TypeError, match=f"on{kind} takes a callable"):
        getattr(sock, f"on{kind}")(5)


def test_what_came_before_the_first_listener_is_told_to_it(plain: ft.Client) -> None:
    sock = plain.createUDPSocket()
    port = sock.bind()
    with peer() as there:
        for number in range(3):
            there.sendto(bytes([number]), (LOCAL, port))
        sock.setTTL(-1)
        probe, heard = udp(plain)
        probe.send(address=LOCAL, port=probe.bind(), message=b"turn")
        heard.until("message")
        told = Told().listen(sock)
        told.until("message", 3)
        told.until("error")
        told.until("listening")
        end(probe, heard)
    assert told.messages == [b"\0", b"\1", b"\2"]
    end(sock, told)


def test_after_close_each_send_is_an_error_event_and_no_message_is_told(plain: ft.Client) -> None:
    sock, told = udp(plain)
    port = sock.bind()
    told.until("listening")
    sock.close()
    told.end()
    with peer() as there:
        there.sendto(b"late", (LOCAL, port))
        for number in range(3):
            sock.send(message=b"x", **place(there))
            told.until("error", number + 1)
        sock.write(message=b"x", **place(there))
        sock.connect(**place(there))
        sock.setTTL(5)
        sock.addMembership(GROUP)
        assert sock.bind() == 0
        told.until("error", 8)
    assert told.codes == [(-2, errno.EBADF)] * 8
    assert "the socket is closed" in told.of("error")[0].errMsg
    assert told.names == ["listening", "close"] + ["error"] * 8
    sock.close()
    assert sock.bufferedAmount == 0


def test_a_message_listener_that_closes_hears_no_more(plain: ft.Client) -> None:
    def start() -> Told:
        sock = plain.createUDPSocket()
        sock.onMessage(lambda _: sock.close())
        told = Told().listen(sock)
        port = sock.bind()
        sender = plain.createUDPSocket()
        for _ in range(50):
            sender.send(address=LOCAL, port=port, message=b"x")
        sender.close()
        return told

    told = in_run(start)
    assert told.names == ["listening", "message", "close"]


def test_what_was_sent_before_close_still_goes(plain: ft.Client) -> None:
    with peer(SO_RCVBUF=4 << 20) as there:
        sock, told = udp(plain)
        for number in range(100):
            sock.send(message=bytes([number]) * 1000, **place(there))
        sock.send(address="localhost", port=place(there)["port"], message=b"by name")
        end(sock, told)
        got = [there.recv(65536) for _ in range(101)]
    assert got == [bytes([number]) * 1000 for number in range(100)] + [b"by name"]
    assert "error" not in told.names


def test_a_socket_that_was_never_used_closes_too(plain: ft.Client) -> None:
    sock, told = udp(plain)
    sock.close()
    sock.close()
    told.end()
    assert told.names == ["close"]
    assert told.of("close")[0].errMsg == "UDPSocket.close:ok"


# --- loops and waiting ----------------------------------------------------------------------------


@pytest.mark.parametrize("run", [asyncio.run, run_uvloop])
def test_a_loop_gets_the_messages_until_the_socket_is_closed(run: Any) -> None:
    async def main() -> list[bytes]:
        sock = ft.createUDPSocket()
        got = []
        with echo() as there:
            for number in range(100):
                sock.send(message=str(number), **there)
            async for event in sock:
                assert event.remoteInfo.port == there["port"]
                got.append(bytes(event.message))
                if len(got) == 100:
                    sock.close()
        await asyncio.wait_for(sock.closed(), LIMIT)
        return got

    assert run(main()) == [str(number).encode() for number in range(100)]


def test_drained_waits_until_all_is_with_the_kernel() -> None:
    async def main() -> None:
        sock = ft.createUDPSocket()
        with peer(SO_RCVBUF=4 << 20) as there:
            sock.send(address="localhost", port=place(there)["port"], message=bytes(5000))
            assert sock.bufferedAmount == 5000
            await asyncio.wait_for(sock.drained(), LIMIT)
            assert sock.bufferedAmount == 0
            assert len(there.recv(65536)) == 5000
        sock.close()
        await asyncio.wait_for(sock.closed(), LIMIT)

    asyncio.run(main())


def test_a_chunk_outlives_its_socket(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with echo() as there:
        sock.send(message=b"kept", **there)
        chunk = told.until("message").message
    end(sock, told)
    view = memoryview(chunk)
    assert view.readonly
    assert bytes(view) == b"kept"


# --- other peers ----------------------------------------------------------------------------------


def test_socat_echoes(plain: ft.Client, tmp_path: Any) -> None:
    (port,) = free_ports(1, udp=True)
    command = [find("socat"), "-T5", f"UDP4-LISTEN:{port},bind=127.0.0.1,fork", "EXEC:cat"]
    server = Program(command, tmp_path, ())
    sock, told = udp(plain)
    try:
        ears = f"{int.from_bytes(socket.inet_aton(LOCAL), 'little'):08X}:{port:04X}"
        server.wait_for(lambda: ears in Path("/proc/net/udp").read_text(), "socat listens")
        for number in range(10):
            sock.send(address=LOCAL, port=port, message=f"message {number}")
            assert bytes(told.until("message", number + 1).message) == f"message {number}".encode()
    finally:
        server.stop()
    end(sock, told)


def test_an_asyncio_endpoint_echoes(plain: ft.Client, socket_loop: Any) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data[::-1], addr)

    async def begin() -> Any:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=(LOCAL, 0))
        return transport

    transport = socket_loop.run(begin())
    sock, told = udp(plain)
    port = transport.get_extra_info("sockname")[1]
    for number in range(100):
        sock.send(address=LOCAL, port=port, message=f"{number:03}")
    told.until("message", 100)
    assert sorted(told.messages) == sorted(f"{number:03}"[::-1].encode() for number in range(100))
    end(sock, told)
    socket_loop.run(stop(transport))


async def stop(transport: Any) -> None:
    transport.close()


def test_dnsmasq_answers_a_question_made_by_hand(plain: ft.Client, dns: Any) -> None:
    sock, told = udp(plain)
    sock.connect(address=LOCAL, port=dns.dns_port)
    sock.write(address=LOCAL, port=dns.dns_port, message=question(HERE))
    assert answered_address(bytes(told.until("message").message)) == LOCAL
    sock.write(address=LOCAL, port=dns.dns_port, message=question(NOWHERE, 2))
    assert answered_address(bytes(told.until("message", 2).message), 2) is None
    end(sock, told)


def test_the_module_function_uses_the_default_client() -> None:
    sock = ft.createUDPSocket({"type": "udp4"})
    told = Told().listen(sock)
    with echo() as there:
        sock.send({"message": "x", **there})
        told.until("message")
    end(sock, told)
    assert threading.get_ident() not in told.threads
