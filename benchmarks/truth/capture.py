"""The witness: tcpdump on the loopback, and what its packets say of streams and datagrams.

The kernel stamps packets by the wall clock; everything here is in ns of CLOCK_MONOTONIC. A packet
of the loopback is stamped once, when it is at its receiver's socket or some µs before.
"""

from __future__ import annotations

import shutil
import signal
import socket
import struct
import subprocess
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

LIMIT = 20.0  # seconds for tcpdump to begin, and to have written the last packet
STEP = 2_000  # ns by which wall and monotonic clock may drift apart during one capture
KEY = 32  # bytes at the start of a QUIC datagram that tell it from any other
TAIL = 4096
DISCARD = 9  # port; nobody listens there
END = b"ftnet-truth-end"
LINK_HEADERS = {0: 4, 1: 14, 276: 20}  # NULL, Ethernet, LINUX_SLL2: bytes before the IP packet
NANOSECONDS = 0xA1B23C4D
TCP, UDP = 6, 17
SYN, ACK = 2, 16
DNS_PORT = 53


def wall_offset() -> int:
    """Wall clock minus CLOCK_MONOTONIC, ns: of some tries the one that took the least time."""
    tries = []
    for _ in range(50):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        tries.append((after - before, wall - (before + after) // 2))
    return min(tries)[1]


class Packet(NamedTuple):
    """What of a captured packet counts; `length` is that of the payload, `head` what was kept."""

    at: int
    protocol: int
    source: int
    target: int
    seq: int
    flags: int
    length: int
    head: bytes


def read_pcap(data: bytes) -> Iterator[Packet]:
    """The IPv4 TCP and UDP packets of a pcap file with ns stamps; ValueError if it is none."""
    if len(data) < 24 or struct.unpack_from("<I", data)[0] != NANOSECONDS:
        raise ValueError("not a pcap file with nanoseconds in this machine's byte order")
    link = LINK_HEADERS.get(struct.unpack_from("<I", data, 20)[0] & 0xFFFF)
    if link is None:
        raise ValueError("captured on a link of an unknown kind")
    at = 24
    while at + 16 <= len(data):
        seconds, ns, kept, length = struct.unpack_from("<IIII", data, at)
        at += 16
        if at + kept > len(data):
            return  # the last one is not written yet
        packet = _packet(seconds * 10**9 + ns, data[at + link : at + kept], length - link)
        at += kept
        if packet:
            yield packet


def _packet(at: int, ip: bytes, length: int) -> Packet | None:
    if len(ip) < 28 or ip[0] >> 4 != 4 or ip[9] not in (TCP, UDP):
        return None
    start = (ip[0] & 15) * 4
    source, target = struct.unpack_from(">HH", ip, start)
    seq = flags = 0
    data = start + 8
    if ip[9] == TCP:
        seq, _, offset, flags = struct.unpack_from(">IIBB", ip, start + 4)
        data = start + (offset >> 4) * 4
    return Packet(at, ip[9], source, target, seq, flags, length - data, ip[data:])


@dataclass(slots=True)
class Stream:
    """One direction of a TCP connection: when each of its bytes was sent first."""

    first: int = 0  # sequence number of byte 0
    ends: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    head: bytes = b""

    def add(self, packet: Packet) -> None:
        end = (packet.seq - self.first & 0xFFFFFFFF) + packet.length
        if end < 1 << 31 and end > self.length:  # else it was sent again
            self.ends.append(end)
            self.times.append(packet.at)
            if len(self.ends) == 1:
                self.head = packet.head

    @property
    def length(self) -> int:
        return self.ends[-1] if self.ends else 0

    def at(self, offset: int) -> int:
        """When byte `offset` went over the wire; IndexError if it did not."""
        return self.times[bisect_right(self.ends, offset)]


@dataclass(slots=True)
class Connection:
    """A TCP connection from its SYN on."""

    syn: int
    syn_ack: int = 0
    up: Stream = field(default_factory=Stream)
    down: Stream = field(default_factory=Stream)


def question(message: bytes) -> str:
    """The name that a DNS message asks for."""
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode())
        at += 1 + message[at]
    return ".".join(labels)


class Wire:
    """The packets of a capture, put in order by what they belong to."""

    def __init__(self, packets: Iterator[Packet], servers: set[int]) -> None:
        self.connections: dict[tuple[int, int], list[Connection]] = {}
        self.datagrams: dict[bytes, int] = {}
        self.asked: dict[str, list[int]] = {}
        self.told: dict[str, list[int]] = {}
        self._large: list[Packet] = []
        for packet in packets:
            if packet.protocol == TCP:
                self._tcp(packet, packet.target in servers)
            elif DNS_PORT in (packet.source, packet.target):
                names = self.asked if packet.target == DNS_PORT else self.told
                names.setdefault(question(packet.head), []).append(packet.at)
            else:
                self._udp(packet)

    def _tcp(self, packet: Packet, up: bool) -> None:
        key = (packet.source, packet.target) if up else (packet.target, packet.source)
        if packet.flags & SYN and up:
            opened = Connection(packet.at)
            opened.up.first = packet.seq + 1
            self.connections.setdefault(key, []).append(opened)
        elif key in self.connections:
            connection = self.connections[key][-1]
            if packet.flags & SYN:
                connection.syn_ack = packet.at
                connection.down.first = packet.seq + 1
            elif packet.length:
                (connection.up if up else connection.down).add(packet)

    def _udp(self, packet: Packet) -> None:
        self.datagrams.setdefault(packet.head[:KEY], packet.at)
        if packet.length > 1500:  # several that were handed over at once
            self._large.append(packet)

    def connection(self, client: int, server: int, at: int) -> Connection:
        """The one that had these ports at a moment."""
        return [one for one in self.connections[client, server] if one.syn <= at][-1]

    def datagram(self, key: bytes) -> int:
        """When the datagram that begins with `key` went over the wire; KeyError if it did not."""
        if key not in self.datagrams:
            self.datagrams.update((key, one.at) for one in self._large if key in one.head)
        return self.datagrams[key]


class Capture:
    """tcpdump, while the context lasts; `wire` is there afterwards.

    Raises RuntimeError when packets were lost, or the wall clock was set meanwhile.
    """

    def __init__(self, folder: Path, servers: set[int], *, whole: bool = False) -> None:
        self._file, self._servers = folder / "truth.pcap", servers
        ports = " or ".join(f"port {port}" for port in sorted(servers | {DNS_PORT, DISCARD}))
        self._command = [find_tcpdump(), "-i", "lo", "-Z", "root", "-U", "-B", "65536"]
        self._command += ["--time-stamp-precision=nano", "-s", "0" if whole else "512"]
        self._command += ["-w", str(self._file), ports]

    def __enter__(self) -> Self:
        self._process: Any = subprocess.Popen(
            self._command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        line = self._process.stderr.readline()
        if b"listening on" not in line:
            self._process.wait(LIMIT)
            raise RuntimeError(f"tcpdump: {line.decode().strip()}")
        self._offset = wall_offset()
        return self

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._until_the_end()
        finally:
            self._process.send_signal(signal.SIGINT)
            _, told = self._process.communicate(timeout=LIMIT)
        if kind is None:
            self._check(told.decode())
            packets = read_pcap(self._file.read_bytes())
            moved = (one._replace(at=one.at - self._offset) for one in packets)
            self.wire = Wire(
                (p for p in moved if DISCARD not in (p.source, p.target)), self._servers
            )

    def _until_the_end(self) -> None:
        """Waits for a last packet of our own: the kernel gives them out a second late."""
        with socket.socket(type=socket.SOCK_DGRAM) as last:
            last.sendto(END, ("127.0.0.1", DISCARD))
        give_up = time.monotonic() + LIMIT
        while True:
            with self._file.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - TAIL))
                if END in file.read():
                    return
            if time.monotonic() > give_up:
                raise RuntimeError("tcpdump does not see the last packet")
            time.sleep(0.02)

    def _check(self, told: str) -> None:
        if "\n0 packets dropped by kernel" not in told:
            raise RuntimeError(f"packets were lost: {told}")
        if abs(wall_offset() - self._offset) > STEP:
            raise RuntimeError("the wall clock was set while it was measured")


def find_tcpdump() -> str:
    """The path of tcpdump; raises FileNotFoundError."""
    path = shutil.which("tcpdump") or shutil.which("tcpdump", path="/usr/sbin:/usr/bin:/sbin")
    if path is None:
        raise FileNotFoundError("tcpdump is not installed (Debian: apt-get install tcpdump)")
    return path
