"""The options of `createTCPSocket` and `TCPSocket.connect`, checked at the call."""

from __future__ import annotations

from typing import Any, Final

from ftnet.address import local_host
from ftnet.options import Option, Table, flag, word
from ftnet.url import ascii_host

__all__ = ["TCP_CONNECT_OPTIONS", "TCP_OPTIONS"]

_LONGEST: Final = 2_147_483  # s


def _anything(value: Any) -> Any:
    return value


def _seconds(value: Any) -> float:
    """A time in s that a timer can be set to."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not 0 < value <= _LONGEST:
        raise ValueError("" if not value > 0 else f"more than {_LONGEST} (24.8 days)")
    return value


def _local_port(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if not 1 <= value <= 65535:
        raise ValueError
    return value


def _server_name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return ascii_host(value)


_SECONDS: Final = "a number of seconds > 0"

TCP_OPTIONS: Final = Table(
    "option",
    Option(
        "type",
        "'ipv4', 'ipv6' or 'any'",
        word("ipv4", "ipv6", "any"),
        "ipv4",
        "which addresses of a host name are used; 'any': both, the first that answers",
    ),
    flag("allowHalfOpen", False, "whether it stays open when the peer has ended its side"),
)

TCP_CONNECT_OPTIONS: Final = Table(
    "option",
    # a wrong one of these two is an event
    Option("address", "a host name or an IP address", _anything, doc="where to connect"),
    Option("port", "an int from 1 to 65535", _anything, doc="where to connect"),
    Option("timeout", _SECONDS, _seconds, 2, "s for the look-up, TCP and TLS together"),
    flag("tls", False, "whether TLS is spoken"),
    Option("serverName", "a host name", _server_name, doc="that the certificate must have"),
    flag("noDelay", None, "whether Nagle's algorithm is off; None: as the Client has it"),
    Option("keepAlive", _SECONDS, _seconds, doc="idle s before a probe"),
    Option("localAddress", "an IP address of this host", local_host, doc="to connect from"),
    Option("localPort", "an int from 1 to 65535", _local_port, doc="to connect from"),
    Option("closeTimeout", _SECONDS, _seconds, 10, "s for the peer to take a byte after close()"),
)
