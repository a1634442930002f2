"""Links of known delay, rate and loss, made in user space: what a network looks like from here.

    python -m benchmarks.links PORT RTT_MS KBPS LOSS           in a network namespace of its own
    python -m benchmarks.links PORT RTT_MS KBPS LOSS --relay   anywhere

Both run until their standard input ends, and print where the server behind the link is reached.

A *TUN link* carries the packets of the kernel's own TCP: whatever is sent to THERE comes back to
HERE as if THERE had sent it (source and destination are exchanged, which leaves every checksum
right), late, at the link's rate, and sometimes not at all. So a server on HERE is reached through
the link at THERE, and TCP's round-trip times and windows are those of the link. It needs
``unshare -rn`` and /dev/net/tun.

A *relay* carries bytes from one connection to another: delay and rate are right, but each kernel
sees a connection over the loopback, and nothing can be lost.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from time import monotonic

HERE, THERE = "10.99.0.1", "10.99.0.2"
TUN = "/dev/net/tun"
MTU = 1500
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_PIECE = 1 << 14


@dataclass
class Direction:
    """One way of a link: a queue that empties at `kbps`, then `delay` seconds; some get lost."""

    kbps: float
    delay: float
    loss: float = 0.0
    queue: float = 0.0  # seconds that a packet waits at most; 0: any
    free_at: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def arrival(self, size: int, now: float) -> float | None:
        """When a packet of so many bytes, sent `now`, arrives; None: it does not."""
        start = max(now, self.free_at)
        if self.queue and start - now > self.queue:
            return None
        self.free_at = start + size * 8 / (self.kbps * 1000)
        return None if self.chance.random() < self.loss else self.free_at + self.delay


def both(
    rtt_ms: float, kbps: float, loss: float, queue: float = 0.0
) -> tuple[Direction, Direction]:
    """To the server and back; loss is of the way back, where the bytes are."""
    delay = rtt_ms / 2000
    return Direction(kbps, delay, 0.0, queue), Direction(kbps, delay, loss, queue)


# ---------------------------------------------------------------- TUN


def open_tun() -> int:
    """A TUN device that is up and has HERE; OSError where that can't be."""
    tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", b"link0", _IFF_TUN | _IFF_NO_PI))
    for command in (
        "link set lo up",
        f"addr add {HERE}/24 dev link0",
        f"link set link0 up mtu {MTU}",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    return tun


def mirrored(packet: bytes) -> bytes:
    """An IPv4 packet with source and destination exchanged."""
    return packet[:12] + packet[16:20] + packet[12:16] + packet[20:]


def source_port(packet: bytes) -> int:
    header = (packet[0] & 15) * 4
    return int.from_bytes(packet[header : header + 2], "big")


def run_tun(tun: int, port: int, up: Direction, down: Direction) -> None:
    """Carries packets until standard input ends."""
    under_way: list[tuple[float, int, bytes]] = []
    number = 0
    while True:
        wait = max(0.0, under_way[0][0] - monotonic()) if under_way else None
        ready, _, _ = select.select([tun, sys.stdin], [], [], wait)
        if sys.stdin in ready and not os.read(sys.stdin.fileno(), 1):
            return
        now = monotonic()
        while under_way and under_way[0][0] <= now:
            os.write(tun, heapq.heappop(under_way)[2])
        if tun not in ready:
            continue
        packet = os.read(tun, MTU)
        if packet[0] >> 4 != 4 or packet[9] != 6:
            continue  # what a system says unasked: not TCP over IPv4
        arrival = (down if source_port(packet) == port else up).arrival(len(packet), now)
        if arrival is not None:
            number += 1
            heapq.heappush(under_way, (arrival, number, mirrored(packet)))


# ---------------------------------------------------------------- relay


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Direction) -> None:
    """Bytes in their order, each piece when it arrives; what is under way is kept, unlimited."""
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            arrival, data = await pieces.get()
            await asyncio.sleep(arrival - monotonic())
            if not data:
                sink.close()
                return
            sink.write(data)

    delivery = asyncio.create_task(deliver())
    while True:
        data = await source.read(_PIECE)
        arrival = way.arrival(len(data), monotonic())
        assert arrival is not None
        pieces.put_nowait((arrival, data))
        if not data:
            await delivery
            return
        await asyncio.sleep(way.free_at - monotonic())  # no faster than the link takes it


async def run_relay(port: int, up: Direction, down: Direction) -> None:
    """Carries connections to `port` on the loopback until standard input ends."""

    joined: set[asyncio.Task[None]] = set()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        ways = _carry(reader, far_writer, up), _carry(far_reader, writer, down)
        await asyncio.gather(*ways, return_exceptions=True)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(join(reader, writer))
        joined.add(task)
        task.add_done_callback(joined.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=128)
    print(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, over.set)
    await over.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("port", type=int, help="of the server, on HERE or on the loopback")
    parser.add_argument("rtt", type=float, help="ms there and back")
    parser.add_argument("kbps", type=float, help="kbit/s each way")
    parser.add_argument("loss", type=float, help="share of packets that get lost")
    parser.add_argument("--relay", action="store_true", help="without root, without TCP's own view")
    options = parser.parse_args()
    queue = options.rtt / 1000 + 0.2
    if options.relay:
        asyncio.run(run_relay(options.port, *both(options.rtt, options.kbps, 0.0)))
        return
    tun = open_tun()
    print(f"{THERE}:{options.port}", flush=True)
    run_tun(tun, options.port, *both(options.rtt, options.kbps, options.loss, queue))


if __name__ == "__main__":
    main()
