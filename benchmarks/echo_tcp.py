"""TCP echo, side by side: what a round trip costs the client.

    python -m benchmarks.echo_tcp             64 B and 16 KiB, 1, 64 and 1,000 sockets
    python -m benchmarks.echo_tcp --quick     one short round

The server (a protocol on uvloop) has one processor, the client, a process of its own each time, has
another. Each socket has one message under way. What counts is CPU time of the client's process per
round trip; the ratio compares it with a protocol on uvloop in the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.rounds import LIMIT, Benchmark, Loop, serving

REFERENCE = "protocol on uvloop"
TIMES_FEWER = {64: 1, 16_384: 4}  # round trips
SOCKETS = (1, 64, 1000)
HERE = "127.0.0.1"


# ---------------------------------------------------------------- the clients


def _ftnet(port: int, sockets: int, size: int, trips: int) -> None:
    import ftnet as ft

    data, loop = bytes(size), Loop(sockets, trips)
    tasks: list[ft.TCPSocket] = []

    def opened(_: Any) -> None:
        if loop.opened():
            for task in tasks:
                task.write(data)

    def begin() -> None:
        task = ft.createTCPSocket()
        left = size

        def answered(event: Any) -> None:
            nonlocal left
            left -= len(event.message)
            if left == 0 and not loop.over():
                left = size
                task.write(data)

        task.onConnect(opened)
        task.onMessage(answered)
        task.onError(sys.exit)
        task.connect(address=HERE, port=port, timeout=LIMIT)
        tasks.append(task)

    for _ in range(sockets):
        begin()


def ftnet_run(port: int, sockets: int, size: int, trips: int) -> None:
    import ftnet as ft

    ft.run(lambda: _ftnet(port, sockets, size, trips))


def ftnet_uvloop(port: int, sockets: int, size: int, trips: int) -> None:
    import uvloop

    async def main() -> None:
        _ftnet(port, sockets, size, trips)
        await asyncio.sleep(LIMIT)

    uvloop.run(main())


def ftnet_iterated(port: int, sockets: int, size: int, trips: int) -> None:
    import uvloop

    import ftnet as ft

    data, loop = bytes(size), Loop(sockets, trips)

    async def one(started: asyncio.Event) -> None:
        task = ft.createTCPSocket()
        task.connect(address=HERE, port=port, timeout=LIMIT)
        await task.connected()
        if loop.opened():
            started.set()
        await started.wait()
        task.write(data)
        left = size
        async for chunk in task:
            left -= len(chunk)
            if left == 0:
                loop.over()
                left = size
                task.write(data)

    async def main() -> None:
        started = asyncio.Event()
        await asyncio.gather(*[one(started) for _ in range(sockets)])

    uvloop.run(main())


class _Client(asyncio.Protocol):
    """One message under way, as the others have it."""

    def __init__(self, loop: Loop, data: bytes, all_of_them: list[Any]) -> None:
        self.loop, self.data, self.left, self.others = loop, data, len(data), all_of_them

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.others.append(self)
        if self.loop.opened():
            for other in self.others:
                other.transport.write(self.data)

    def data_received(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left == 0 and not self.loop.over():
            self.left = len(self.data)
            self.transport.write(self.data)


async def _protocols(port: int, sockets: int, size: int, trips: int) -> None:
    loop, clients = Loop(sockets, trips), []
    for _ in range(sockets):
        await asyncio.get_running_loop().create_connection(
            lambda: _Client(loop, bytes(size), clients), HERE, port
        )
    await asyncio.sleep(LIMIT)


def uvloop_protocol(port: int, sockets: int, size: int, trips: int) -> None:
    import uvloop

    uvloop.run(_protocols(port, sockets, size, trips))


def asyncio_protocol(port: int, sockets: int, size: int, trips: int) -> None:
    asyncio.run(_protocols(port, sockets, size, trips))


def uvloop_streams(port: int, sockets: int, size: int, trips: int) -> None:
    import uvloop

    data, loop = bytes(size), Loop(sockets, trips)

    async def one(started: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection(HERE, port)
        if loop.opened():
            started.set()
        await started.wait()
        while True:
            writer.write(data)
            await reader.readexactly(size)
            loop.over()

    async def main() -> None:
        started = asyncio.Event()
        await asyncio.gather(*[one(started) for _ in range(sockets)])

    uvloop.run(main())


CLIENTS: dict[str, Callable[[int, int, int, int], None]] = {
    REFERENCE: uvloop_protocol,
    "ftnet, ft.run()": ftnet_run,
    "ftnet, listeners on uvloop": ftnet_uvloop,
    "ftnet, async for on uvloop": ftnet_iterated,
    "streams on uvloop": uvloop_streams,
    "protocol on asyncio": asyncio_protocol,
}


def serve() -> None:
    """The echo; prints its port."""
    import uvloop

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, HERE, 0, backlog=2048)
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)

    uvloop.run(main())


# ---------------------------------------------------------------- the table


BENCHMARK = Benchmark(
    module="benchmarks.echo_tcp",
    title="TCP echo",
    than="a protocol on uvloop",
    packages=("ftnet", "uvloop"),
    clients=CLIENTS,
    servers={"echo": serve},
    case=(int, int, int, int),
    head=("| bytes | sockets |", "|---:|---:|"),
    marks=("<!-- tcp:start -->", "<!-- tcp:end -->"),
    trips=200_000,
    quick_trips=30_000,
)


def table(options: argparse.Namespace) -> Iterator[str]:
    with serving(BENCHMARK.module) as line:
        port = int(line)
        for size, fewer in TIMES_FEWER.items():
            for sockets in SOCKETS:
                what, start = f"{size} B c={sockets}", f"| {size:,} | {sockets:,} |"
                trips = options.trips // fewer // (4 if sockets == 1 and size == 64 else 1)
                case = (port, sockets, size, trips)
                yield from BENCHMARK.block(what, start, REFERENCE, options.rounds, *case)


def main(arguments: list[str] | None = None) -> int:
    return BENCHMARK.main(__doc__, arguments, table)


if __name__ == "__main__":
    sys.exit(main())
