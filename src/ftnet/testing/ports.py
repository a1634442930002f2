"""Sockets on ports that the kernel chose, held so that nobody else gets the port."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

_TRIES = 50


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket that listens on `host` (an address); raises OSError when the port is taken."""
    return socket.create_server((host, port), family=_family(host), backlog=1024)


def reserve(host: str, port: int) -> socket.socket:
    """A TCP socket that keeps a port for a server in this process that binds it by number.

    It doesn't listen, so connections go to the server alone, which must set SO_REUSEPORT.
    Raises OSError when the port is taken: the check comes first, since SO_REUSEPORT would share.
    """
    if port:
        listen(host, port).close()
    return _sharing(host, port)


def share(host: str, port: int, count: int) -> list[socket.socket]:
    """Bound sockets, to listen on one port each in a process of its own; as `reserve`."""
    first = reserve(host, port)
    return [first, *(_sharing(host, port_of(first)) for _ in range(count - 1))]


def _sharing(host: str, port: int) -> socket.socket:
    holder = socket.socket(_family(host), socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, port))
    except OSError:
        holder.close()
        raise
    return holder


def with_udp(
    opener: Callable[[str, int], socket.socket], host: str, port: int
) -> tuple[socket.socket, socket.socket]:
    """The TCP socket that `opener` makes and a UDP socket with the same port number.

    Raises OSError when `port` is taken, or, for port 0, when no number is free in both.
    """
    for last in [False] * (_TRIES - 1) + [True]:
        tcp = opener(host, port)
        udp = socket.socket(_family(host), socket.SOCK_DGRAM)
        try:
            udp.bind((host, port_of(tcp)))
        except OSError as error:
            udp.close()
            tcp.close()
            if port or last or error.errno != errno.EADDRINUSE:
                raise
        else:
            return tcp, udp
    raise AssertionError("the last try returns or raises")


def port_of(sock: socket.socket) -> int:
    """The number of the port that `sock` is bound to."""
    port: int = sock.getsockname()[1]
    return port
