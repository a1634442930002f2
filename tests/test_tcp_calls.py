"""Calls of a TCP socket that can't be carried out: events with codes, or exceptions, as said."""

from __future__ import annotations

import errno
from typing import Any

import pytest

import ftnet as ft
from tests.servers.awkward import AwkwardServer, closed_port
from tests.tcp_sockets import (
    HERE,
    LIMIT,
    TcpStory,
    connected,
    failure,
    socket,
    stays,
)

MEGABYTE = 1 << 20


def test_write_before_connect_is_an_error_and_nothing_is_queued(
    plain: ft.Client, echoing: AwkwardServer
) -> None:
    task = plain.createTCPSocket()
    story = TcpStory().listen(task)
    task.write(b"too early")
    story.until("error")
    task.connect(address=HERE, port=echoing.port)
    task.write(b"too early, too")
    story.until("connect")
    task.write(b"in time")
    task.end()
    story.end()
    assert echoing.received == b"in time"
    assert story.codes == [(-2, errno.ENOTCONN)] * 2
    error = story.of("error")[0]
    assert error.errMsg == "TCPSocket.write:fail the socket is not connected (ENOTCONN)"
    assert story.of("close")[0].error is None


def test_write_after_the_end_is_an_error(plain: ft.Client) -> None:
    with AwkwardServer(stays) as server:
        task, story = connected(plain, server)
        task.end()
        task.write(b"after end")
        server.gate.set()
        story.end()
        task.write(b"after close")
        story.until("error", 2)
        assert story.codes == [(-2, errno.EPIPE), (-2, errno.ENOTCONN)]
        task.close()
        task.abort()
        assert story.names.count("close") == 1
        assert server.received == b""


def test_write_after_close_is_an_error(plain: ft.Client, echoing: AwkwardServer) -> None:
    task, story = connected(plain, echoing)
    task.close()
    task.write(b"after close")
    story.end()
    assert story.codes == [(-2, errno.ENOTCONN)]
    assert echoing.received == b""


def test_connecting_twice_is_an_error(plain: ft.Client, echoing: AwkwardServer) -> None:
    task, story = socket(plain, echoing)
    task.connect(address=HERE, port=echoing.port)
    story.until("connect")
    task.connect(address=HERE, port=echoing.port)
    story.until("error", 2)
    task.close()
    story.end()
    task.connect(address=HERE, port=echoing.port)
    story.until("error", 3)
    codes = [number for code, number in story.codes if code == -2]
    assert codes[0] in (errno.EALREADY, errno.EISCONN)
    assert codes[1:] == [errno.EISCONN, errno.EBADF]
    echoing.wait_until_alone()
    assert len(echoing.peers) == 1


def test_after_a_failure_it_may_connect_again(plain: ft.Client, echoing: AwkwardServer) -> None:
    task = plain.createTCPSocket()
    story = TcpStory().listen(task)
    with closed_port() as port:
        for count in (1, 2):
            task.connect(address=HERE, port=port)
            story.until("error", count)
            with pytest.raises(ft.FtError):
                task.wait_connected(LIMIT)
            with pytest.raises(ft.FtError):
                task.wait_closed(LIMIT)
    task.connect(address="no address", port=echoing.port)
    story.until("error", 3)
    task.connect(address=HERE, port=echoing.port)
    assert task.wait_connected(LIMIT).remoteInfo.port == echoing.port
    task.write(b"at last")
    task.end()
    story.end()
    assert echoing.received == b"at last"
    assert story.codes == [(-4, errno.ECONNREFUSED)] * 2 + [(1, None)]


@pytest.mark.parametrize(
    "address",
    [None, 1, b"127.0.0.1", "", " ", "a b", "192.168.114.514", "256.1.1.1", "1.2.3", "127.1",
     "0x7f000001", "1.2.3.4.5", ":", "::1::", "[::1]", "12345::", "fe80::1%", "a\0b", "a/b", "a:b",
     "a@b", "a#b", "a?b", "-\n", "é\ud800", "x" * 64 + "é", ["127.0.0.1"]],
)  # fmt: skip
def test_an_address_that_can_not_be_is_error_1(plain: ft.Client, address: Any) -> None:
    error = failure(plain, address=address, port=80)
    assert error.errCode == 1
    assert error.errNum is None
    assert error.errno == ft.Errno.ARGUMENT


@pytest.mark.parametrize("port", [None, 0, -1, 65536, 1e3, 80.0, "80", True, 10**30, []])
def test_a_port_that_can_not_be_is_error_2(plain: ft.Client, port: Any) -> None:
    error = failure(plain, address=HERE, port=port)
    assert error.errCode == 2
    assert error.errNum is None
    assert "the port must be an int from 1 to 65535" in error.errMsg


def test_a_missing_address_or_port_is_an_event_too(plain: ft.Client) -> None:
    assert failure(plain).errCode == 1
    assert failure(plain, address=HERE).errCode == 2


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"timeout": 0}, ValueError, "timeout must be a number of seconds > 0"),
    ({"timeout": -1}, ValueError, "timeout must be a number of seconds > 0"),
    ({"timeout": float("nan")}, ValueError, "timeout must be a number of seconds > 0"),
    ({"timeout": float("inf")}, ValueError, "more than 2147483"),
    ({"timeout": "2"}, TypeError, "timeout must be a number of seconds > 0"),
    ({"timeout": True}, TypeError, "timeout must be a number of seconds > 0"),
    ({"tls": "yes"}, TypeError, "tls must be True or False"),
    ({"tls": 1}, TypeError, "tls must be True or False"),
    ({"serverName": "a.test"}, ValueError, "serverName goes with tls=True"),
    ({"serverName": "a b", "tls": True}, ValueError, "serverName must be a host name"),
    ({"serverName": 5, "tls": True}, TypeError, "serverName must be a host name"),
    ({"noDelay": 1}, TypeError, "noDelay must be True, False or None"),
    ({"keepAlive": True}, TypeError, "keepAlive must be a number of seconds > 0"),
    ({"keepAlive": 0}, ValueError, "keepAlive must be a number of seconds > 0"),
    ({"localAddress": "eth0"}, ValueError, "localAddress must be an IP address"),
    ({"localAddress": 5}, TypeError, "localAddress must be an IP address"),
    ({"localPort": 0}, ValueError, "localPort must be an int from 1 to 65535"),
    ({"localPort": "1"}, TypeError, "localPort must be an int from 1 to 65535"),
    ({"closeTimeout": 0}, ValueError, "closeTimeout must be a number of seconds > 0"),
    ({"adress": HERE}, TypeError, "unknown option 'adress'"),
]


@pytest.mark.parametrize(("given", "kind", "text"), WRONG)
def test_a_wrong_option_of_connect_raises(
    given: dict[str, Any], kind: type[Exception], text: str
) -> None:
    task = ft.createTCPSocket()
    with pytest.raises(kind, match=text):
        task.connect(address=HERE, port=80, **given)


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [({"type": "udp4"}, ValueError, "type must be 'ipv4', 'ipv6' or 'any'"),
     ({"type": 4}, TypeError, "type must be 'ipv4', 'ipv6' or 'any'"),
     ({"allowHalfOpen": 1}, TypeError, "allowHalfOpen must be True or False"),
     ({"kind": 1}, TypeError, "unknown option 'kind'; it takes type, allowHalfOpen")],
)  # fmt: skip
def test_a_wrong_option_of_create_raises(given: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        ft.createTCPSocket(**given)


def test_options_as_a_mapping_and_as_keywords_raise() -> None:
    with pytest.raises(TypeError, match="not as both"):
        ft.createTCPSocket().connect({"address": HERE}, port=80)
