"""UDP: bind, send, connect and write as the reference's chapter has them, and host names."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

import pytest

import ftnet as ft
from tests.datagrams import LOCAL, echo, end, peer, place, udp
from tests.servers.program import free_ports

LONGEST = 65507


# --- bind, onListening ----------------------------------------------------------------------------


def test_bind_returns_a_free_port_and_tells_that_it_listens(plain: ft.Client) -> None:
    sock, told = udp(plain)
    port = sock.bind()
    assert 1024 <= port <= 65535
    assert told.until("listening").errMsg == "UDPSocket.bind:ok"
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", (LOCAL, port))
        event = told.until("message")
        assert ft.to_dict(event.remoteInfo) == {
            "address": LOCAL,
            "family": "IPv4",
            "port": sender.getsockname()[1] or event.remoteInfo.port,
            "size": 5,
        }
    assert (event.localInfo.port, event.localInfo.family) == (port, "IPv4")
    assert told.messages == [b"hello"]
    end(sock, told)


@pytest.mark.parametrize("given", [(), (0,), (None,)])
def test_bind_takes_any_port_where_none_is_named(plain: ft.Client, given: Any) -> None:
    sock, told = udp(plain)
    assert sock.bind(*given) > 0
    end(sock, told)


def test_bind_takes_the_port_that_is_named(plain: ft.Client) -> None:
    (port,) = free_ports(1, udp=True)
    sock, told = udp(plain)
    assert sock.bind(port) == port
    assert sock.bind(port) == port
    assert sock.bind() == port
    assert sock.localInfo is not None
    assert (sock.localInfo.address, sock.localInfo.port) == ("0.0.0.0", port)
    assert told.names in ([], ["listening"])
    end(sock, told)
    assert sock.localInfo is None


def test_a_second_bind_to_another_port_is_an_error_event(plain: ft.Client) -> None:
    first, second = free_ports(2, udp=True)
    sock, told = udp(plain)
    assert sock.bind(first) == first
    assert sock.bind(second) == first
    told.until("error")
    assert told.codes == [(-2, errno.EINVAL)]
    end(sock, told)


def test_a_port_that_is_taken_is_an_error_event_and_another_one_may_follow(
    plain: ft.Client,
) -> None:
    sock, told = udp(plain)
    with peer("0.0.0.0") as taken:
        assert sock.bind(taken.getsockname()[1]) == 0
    error = told.until("error")
    assert told.codes == [(-2, errno.EADDRINUSE)]
    assert "in use (EADDRINUSE)" in error.errMsg
    assert error.errMsg.startswith("UDPSocket.bind:fail port ")
    assert sock.bind() > 0
    told.until("listening")
    end(sock, told)


@pytest.mark.parametrize("port", [-1, 65536, "53", 1.5, True])
def test_bind_to_what_is_no_port_is_an_error_event(plain: ft.Client, port: Any) -> None:
    sock, told = udp(plain)
    assert sock.bind(port) == 0
    told.until("error")
    assert told.codes == [(2, 0)]
    end(sock, told)


# --- send -----------------------------------------------------------------------------------------

BYTES = bytes(range(256))
#: message, further options, what arrives
PARTS: list[tuple[Any, dict[str, Any], bytes]] = [
    (b"hello", {}, b"hello"),
    ("h\u00e4llo \U0001f600", {}, "h\u00e4llo \U0001f600".encode()),
    ("text", {"offset": 2, "length": 1}, b"text"),
    ("", {}, b""),
    (b"", {}, b""),
    (bytearray(b"array"), {}, b"array"),
    (memoryview(b"a view")[2:], {}, b"view"),
    (memoryview(struct.pack("=3I", 1, 2, 3)).cast("I"), {}, struct.pack("=3I", 1, 2, 3)),
    (BYTES, {"offset": 3}, BYTES[3:]),
    (BYTES, {"length": 3}, BYTES[:3]),
    (BYTES, {"offset": 10, "length": 5}, BYTES[10:15]),
    (BYTES, {"offset": 250, "length": 100}, BYTES[250:]),
    (BYTES, {"offset": 256}, b""),
    (BYTES, {"offset": 1000, "length": 10}, b""),
    (BYTES, {"length": 0}, b""),
    (BYTES, {"offset": None, "length": None}, BYTES),
    (BYTES, {"offset": 0, "length": 256, "setBroadcast": True}, BYTES),
]


@pytest.mark.parametrize("method", ["send", "write"])
@pytest.mark.parametrize(("message", "options", "arrives"), PARTS)
def test_what_is_sent_arrives(
    plain: ft.Client, method: str, message: Any, options: dict[str, Any], arrives: bytes
) -> None:
    sock, told = udp(plain)
    with peer() as there:
        getattr(sock, method)(message=message, **place(there), **options)
        assert there.recvfrom(65536)[0] == arrives
        getattr(sock, method)({"message": message, **place(there), **options})
        assert there.recvfrom(65536)[0] == arrives
    end(sock, told)
    assert told.names == ["listening", "close"]


NO_PARTS: list[dict[str, Any]] = [
    {"offset": -1},
    {"length": -1},
    {"offset": 1.0},
    {"length": "3"},
    {"offset": True},
    {"length": False},
]


@pytest.mark.parametrize("options", NO_PARTS)
def test_an_impossible_offset_or_length_is_an_error_event_and_nothing_is_sent(
    plain: ft.Client, options: dict[str, Any]
) -> None:
    sock, told = udp(plain)
    with peer() as there:
        sock.send(message=BYTES, **place(there), **options)
        told.until("error")
        assert told.codes == [(-1, 0)]
        sock.send(message=b"next", **place(there))
        assert there.recv(65536) == b"next"
    end(sock, told)


PLACES: list[tuple[dict[str, Any], int]] = [
    ({"port": 9}, 1),
    ({"address": "", "port": 9}, 1),
    ({"address": None, "port": 9}, 1),
    ({"address": 5, "port": 9}, 1),
    ({"address": b"127.0.0.1", "port": 9}, 1),
    ({"address": "a b", "port": 9}, 1),
    ({"address": "a\0b", "port": 9}, 1),
    ({"address": "a" * 254, "port": 9}, 1),
    ({"address": "::\u00e4", "port": 9}, 1),
    ({"address": "[::1]", "port": 9}, 1),
    ({"address": LOCAL}, 2),
    ({"address": LOCAL, "port": None}, 2),
    ({"address": LOCAL, "port": 0}, 2),
    ({"address": LOCAL, "port": -1}, 2),
    ({"address": LOCAL, "port": 65536}, 2),
    ({"address": LOCAL, "port": "9"}, 2),
    ({"address": LOCAL, "port": 9.0}, 2),
    ({"address": LOCAL, "port": True}, 2),
    ({}, 1),
]


@pytest.mark.parametrize("method", ["send", "write", "connect"])
@pytest.mark.parametrize(("where", "code"), PLACES)
def test_an_impossible_address_or_port_is_an_error_event(
    plain: ft.Client, method: str, where: dict[str, Any], code: int
) -> None:
    sock, told = udp(plain)
    options = where if method == "connect" else {"message": b"x", **where}
    getattr(sock, method)(**options)
    error = told.until("error")
    assert told.codes == [(code, 0)]
    assert error.errMsg.startswith("UDPSocket")
    assert error.errCode is (ft.Errno.SOCKET_ADDRESS if code == 1 else ft.Errno.SOCKET_PORT)
    end(sock, told)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("send", {"address": LOCAL, "port": 9}, "message is required"),
    ("send", {"address": LOCAL, "port": 9, "message": 5}, "message must be a str or bytes-like"),
    ("send", {"address": LOCAL, "port": 9, "message": ["x"]}, "message must be"),
    ("send", {"address": LOCAL, "port": 9, "message": "x", "to": 1}, "unknown option 'to'"),
    ("send", {"address": LOCAL, "port": 9, "message": "x", "setBroadcast": 1}, "setBroadcast must"),
    ("write", {"address": LOCAL, "port": 9}, "message is required"),
    ("connect", {"address": LOCAL, "port": 9, "timeout": 2}, "unknown option 'timeout'"),
]


@pytest.mark.parametrize(("method", "options", "said"), WRONG)
def test_options_that_cannot_be_raise_at_the_call(
    plain: ft.Client, method: str, options: dict[str, Any], said: str
) -> None:
    sock = plain.createUDPSocket()
    with pytest.raises(TypeError, match=said):
        getattr(sock, method)(**options)
    with pytest.raises(TypeError, match=said):
        getattr(sock, method)(options)
    sock.close()


def test_a_lone_surrogate_cannot_be_sent(plain: ft.Client) -> None:
    sock = plain.createUDPSocket()
    with pytest.raises(ValueError, match="surrogates not allowed"):
        sock.send(address=LOCAL, port=9, message="\ud800")
    sock.close()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"type": "tcp4"}, ValueError, "type must be 'udp4' or 'udp6'"),
        ({"type": 4}, TypeError, "type must be"),
        ({"reuseAddr": 1}, TypeError, "reuseAddr must be True or False"),
        ({"port": 1}, TypeError, "unknown option 'port'"),
    ],
)
def test_wrong_options_of_create_raise(
    plain: ft.Client, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        plain.createUDPSocket(options)


def test_a_message_may_be_changed_as_soon_as_send_returns(plain: ft.Client) -> None:
    sock, told = udp(plain)
    data = bytearray(b"before")
    with peer() as there:
        sock.send(message=data, **place(there))
        data[:] = b"after."
        assert there.recv(100) == b"before"
    end(sock, told)


@pytest.mark.parametrize("size", [1, 1472, 1473, 4096, 9000, 65506, LONGEST])
def test_datagrams_of_all_sizes_go_and_come_whole(plain: ft.Client, size: int) -> None:
    sock, told = udp(plain)
    data = (BYTES * (size // 256 + 1))[:size]
    with echo() as there:
        sock.send(message=data, **there)
        event = told.until("message")
        assert bytes(event.message) == data
        assert event.remoteInfo.size == len(event.message) == size
    end(sock, told)


@pytest.mark.parametrize("size", [LONGEST + 1, 70_000, 1 << 20])
def test_more_than_a_datagram_takes_is_an_error_event_and_nothing_is_sent(
    plain: ft.Client, size: int
) -> None:
    sock, told = udp(plain)
    with echo() as there:
        sock.send(message=bytes(size), **there)
        error = told.until("error")
        assert told.codes == [(-2, errno.EMSGSIZE)]
        assert f"{size} bytes, a datagram has at most 65507" in error.errMsg
        sock.send(message=bytes(size), offset=size - 5, **there)
        assert bytes(told.until("message").message) == bytes(5)
    end(sock, told)


def test_a_burst_arrives_whole_and_in_order(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with echo() as there:
        for number in range(512):
            sock.send(message=struct.pack("!H", number) + bytes(number % 7), **there)
        told.until("message", 512)
    assert told.messages == [struct.pack("!H", n) + bytes(n % 7) for n in range(512)]
    end(sock, told)


def test_equal_datagrams_of_one_socket_to_another_stay_apart(plain: ft.Client) -> None:
    receiver, told = udp(plain)
    sender = plain.createUDPSocket()
    port = receiver.bind()
    for number in range(300):
        sender.send(address=LOCAL, port=port, message=struct.pack("!I", number) * 16)
    told.until("message", 300)
    assert told.messages == [struct.pack("!I", number) * 16 for number in range(300)]
    assert {event.remoteInfo.size for event in told.of("message")} == {64}
    sender.close()
    end(receiver, told)


def test_many_sockets_hear_what_is_for_them(plain: ft.Client) -> None:
    with echo() as there:
        pairs = [udp(plain) for _ in range(200)]
        for number, (sock, _) in enumerate(pairs):
            sock.send(message=f"for {number}", **there)
        for number, (sock, told) in enumerate(pairs):
            told.until("message")
            assert told.messages == [f"for {number}".encode()]
            end(sock, told)


# --- connect, write -------------------------------------------------------------------------------


def test_write_without_connect_is_send(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with peer() as one, peer() as other:
        sock.write(message=b"one", **place(one))
        sock.write(message=b"other", **place(other))
        assert (one.recv(100), other.recv(100)) == (b"one", b"other")
    end(sock, told)


def test_write_goes_where_the_socket_is_connected_to(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with peer() as connected, peer() as other:
        sock.connect(**place(connected))
        for _ in range(3):
            sock.write(message=b"written", **place(other))
            assert connected.recv(100) == b"written"
        sock.send(message=b"sent", **place(other))
        assert other.recv(100) == b"sent"
    end(sock, told)


def test_a_connected_socket_hears_only_its_peer_and_knows_its_address(plain: ft.Client) -> None:
    sock, told = udp(plain)
    port = sock.bind()
    with peer() as connected, peer() as other:
        sock.connect(**place(connected))
        sock.write(message=b"hello", **place(connected))
        assert connected.recvfrom(100) == (b"hello", (LOCAL, port))
        other.sendto(b"stranger", (LOCAL, port))
        connected.sendto(b"friend", (LOCAL, port))
        event = told.until("message")
        assert told.messages == [b"friend"]
        assert ft.to_dict(event.localInfo) == {
            "address": LOCAL, "family": "IPv4", "port": port, "size": 0,
        }  # fmt: skip
    end(sock, told)


def test_a_socket_can_be_connected_anew(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with peer() as one, peer() as other:
        for there in (one, other, one):
            sock.connect(**place(there))
            sock.write(message=b"x", **place(one))
            assert there.recv(100) == b"x"
    end(sock, told)


def test_connect_and_write_by_name_keep_their_order(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with peer() as there, peer() as other:
        port = place(there)["port"]
        sock.connect(address="localhost", port=port)
        for number in range(50):
            sock.write(message=str(number), **place(other))
        got = [there.recv(100) for _ in range(50)]
    assert got == [str(number).encode() for number in range(50)]
    end(sock, told)


# --- names ----------------------------------------------------------------------------------------


def test_a_name_is_looked_up_and_datagrams_to_it_keep_their_order(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with peer() as there:
        port = place(there)["port"]
        for number in range(200):
            sock.send(address="localhost", port=port, message=str(number))
        assert [int(there.recv(100)) for _ in range(200)] == list(range(200))
        sock.send(address="LOCALHOST", port=port, message=b"again")
        assert there.recv(100) == b"again"
    end(sock, told)


def test_the_clients_own_answers_come_before_dns() -> None:
    with peer() as there, ft.Client(resolve={f"a.test:{place(there)['port']}": LOCAL}) as client:
        sock, told = udp(client)
        sock.send(address="a.test", port=place(there)["port"], message=b"x")
        assert there.recv(100) == b"x"
        end(sock, told)


def test_a_socket_sends_to_both_families(plain: ft.Client) -> None:
    sock, told = udp(plain)
    with echo() as four, echo("::1") as six:
        port = sock.bind()
        sock.send(message=b"four", **four)
        sock.send(message=b"six", **six)
        told.until("message", 2)
        events = {bytes(event.message): event for event in told.of("message")}
        assert ft.to_dict(events[b"six"].remoteInfo) == {**six, "family": "IPv6", "size": 3}
        assert ft.to_dict(events[b"four"].remoteInfo) == {**four, "family": "IPv4", "size": 4}
        assert events[b"six"].localInfo.family == "IPv6"
        assert events[b"four"].localInfo.port == port
    end(sock, told)
    assert told.names.count("listening") == 1


def test_a_udp6_socket_binds_and_finds_ipv6() -> None:
    with echo("::1") as there, ft.Client(resolve={f"b.test:{there['port']}": "::1"}) as client:
        sock, told = udp(client, type="udp6")
        sock.send(address="b.test", port=there["port"], message=b"x")
        event = told.until("message")
        assert (event.remoteInfo.address, event.remoteInfo.family) == ("::1", "IPv6")
        assert sock.localInfo is not None
        assert (sock.localInfo.address, sock.localInfo.family) == ("::", "IPv6")
        end(sock, told)
