"""What mini-programs may reach by TCP, as a policy that a Client can be given."""

from __future__ import annotations

import ipaddress
import socket
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import Final

from ftnet.errors import Errno

__all__ = ["MINI_PROGRAM_POLICY", "Policy", "Refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a policy refuses: ``code``, the `Errno` that becomes ``errCode``, and the reason."""

    code: Errno
    reason: str


def _is_ours(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether this host has the address: then a socket can be bound to it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules for TCP sockets, checked before anything is looked up or sent.

    ``ports`` that are refused (``errCode`` 2); ``networks``, the only ones whose addresses may be
    connected to, this host's own never (``errCode`` 1; a host name is refused too: the rule is
    about IPs); at most ``creations`` sockets within ``period`` seconds, counted by each Client
    (``errCode`` -1 for those beyond, which never connect).
    """

    ports: tuple[range, ...]
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    creations: int
    period: float

    def check(self, address: str, port: int) -> Refusal | None:
        """Whether a valid address and port may be connected to; None: they may."""
        if any(port in ports for ports in self.ports):
            return Refusal(Errno.SOCKET_PORT, f"the policy does not allow port {port}")
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return Refusal(Errno.SOCKET_ADDRESS, f"the policy allows IP addresses, not {address}")
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if not any(ip in network for network in self.networks):
            return Refusal(Errno.SOCKET_ADDRESS, f"the policy allows the LAN, not {address}")
        if _is_ours(ip):
            return Refusal(Errno.SOCKET_ADDRESS, f"the policy allows other hosts, not {address}")
        return None

    def count(self, made: deque[float]) -> Refusal | None:
        """Whether one more socket may be created by a Client that made others at these moments,
        which is noted there; None: it may."""
        now = monotonic()
        while made and now - made[0] >= self.period:
            made.popleft()
        if len(made) >= self.creations:
            reason = f"the policy allows {self.creations} sockets in {self.period:g} s"
            return Refusal(Errno.SOCKET_SYSTEM, reason)
        made.append(now)
        return None


# https://super-apps.ai/mop/document/en/develop/api/network.html#ft-createtcpsocket
_PORTS: Final = (
    range(1024), 1099, 1433, 1521, 1719, 1720, 1723, 2049, 2375, 3128, 3306, 3389, 3659, 4045,
    5060, 5061, 5432, 5984, 6379, 6000, 6566, 7001, 7002, range(8000, 8101), 8443, 8888, 9200,
    9300, 10051, 10080, 11211, 27017, 27018, 27019,
)  # fmt: skip

# RFC 1918, RFC 3927, RFC 4193, RFC 4291 2.5.6
_LAN: Final = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
)

#: The ft API's restrictions on `createTCPSocket`, to be given to a Client as ``policy``: its list
#: of refused ports, addresses within the LAN that are not this host's own, 20 sockets in 5
#: minutes. Off by default. The ft API has no such restrictions on UDP, HTTP and WebSockets: this
#: has none either.
MINI_PROGRAM_POLICY: Final = Policy(
    ports=tuple(p if isinstance(p, range) else range(p, p + 1) for p in _PORTS),
    networks=tuple(ipaddress.ip_network(network) for network in _LAN),
    creations=20,
    period=300.0,
)
