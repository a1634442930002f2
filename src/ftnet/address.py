"""Addresses and ports that sockets are given: what they are, or why they can't be."""

from __future__ import annotations

import socket
from typing import Any, Final

from ftnet.options import shown
from ftnet.url import ascii_host

__all__ = ["host_of", "local_host", "port_of"]

FAMILY_NAMES: Final = {4: "IPv4", 6: "IPv6", 0: ""}


def _packs(family: socket.AddressFamily, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):  # ValueError: a NUL
        return False
    return True


def host_of(address: Any) -> tuple[str, int]:
    """Return a host in ASCII and the family of a numeric one, 4 or 6; 0: it is a name.

    Raises ValueError with the reason for what is neither an address nor a possible host name.
    """
    if not isinstance(address, str):
        raise ValueError(f"the address must be a str, got {shown(address)}")
    if not address:
        raise ValueError("the address is empty")
    if _packs(socket.AF_INET, address):
        return address, 4
    plain, percent, zone = address.partition("%")
    if ":" in address:
        if not _packs(socket.AF_INET6, plain) or (percent and not zone.isalnum()):
            raise ValueError(f"{shown(address)} is no IPv6 address")
        return address, 6
    last = address.rstrip(".").rpartition(".")[2].lower()
    if last.isascii() and (last.isdigit() or last.startswith("0x")):
        raise ValueError(f"{shown(address)} is no IPv4 address")
    try:
        return ascii_host(address), 0
    except ValueError as error:
        raise ValueError(f"{shown(address)} is no address: {error}") from None


def port_of(port: Any) -> int:
    """Return the port; ValueError with the reason when it is no int from 1 to 65535."""
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise ValueError(f"the port must be an int from 1 to 65535, got {shown(port)}")
    return port


def local_host(address: Any) -> str:
    """The check of an option that is a numeric address of this host."""
    if not isinstance(address, str):
        raise TypeError
    host, family = host_of(address)
    if not family:
        raise ValueError
    return host
