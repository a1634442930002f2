"""UDP echo, side by side: what a round trip costs the client.

    python -m benchmarks.datagrams             64 sockets with one, one socket with 256 under way
    python -m benchmarks.datagrams --quick     one short round

The server has one processor, the client, a process of its own each time, has another. There are
two servers: "single" is asyncio on uvloop, which takes and sends datagrams one by one; "batching"
is ftnet's own, which takes and sends many in a call, as QUIC servers do. What counts is CPU time of
the client's process per round trip; the ratio compares it with uvloop in the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.rounds import LIMIT, Benchmark, Loop, serving

REFERENCE = "asyncio on uvloop"
HERE = "127.0.0.1"
#: sockets, datagrams under way on each, bytes
CASES = ((64, 1, 64), (1, 256, 64), (1, 256, 1200))


# ---------------------------------------------------------------- the clients


def _ftnet(port: int, sockets: int, under_way: int, size: int, trips: int) -> None:
    import ftnet as ft

    data, loop = bytes(size), Loop(sockets, trips)
    there = {"address": HERE, "port": port, "message": data}
    made = []

    def begin() -> None:
        sock = ft.createUDPSocket()
        sock.connect(address=HERE, port=port)

        def answered(_: Any) -> None:
            if not loop.over():
                sock.write(there)

        sock.onMessage(answered)
        sock.onError(sys.exit)
        made.append(sock)
        if loop.opened():
            for one in made:
                for _ in range(under_way):
                    one.write(there)

    for _ in range(sockets):
        begin()


def ftnet_run(*case: int) -> None:
    import ftnet as ft

    ft.run(lambda: _ftnet(*case))


def ftnet_uvloop(*case: int) -> None:
    import uvloop

    async def main() -> None:
        _ftnet(*case)
        await asyncio.sleep(LIMIT)

    uvloop.run(main())


def _endpoints(run: Callable[[Any], Any], *case: int) -> None:
    port, sockets, under_way, size, trips = case
    data, loop = bytes(size), Loop(sockets, trips)

    class Endpoint(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, _: bytes, addr: Any) -> None:
            if not loop.over():
                self.transport.sendto(data)

    async def main() -> None:
        made = []
        for _ in range(sockets):
            made += [
                await asyncio.get_running_loop().create_datagram_endpoint(
                    Endpoint, remote_addr=(HERE, port)
                )
            ]
            if loop.opened():
                for transport, _ in made:
                    for _ in range(under_way):
                        transport.sendto(data)
        await asyncio.sleep(LIMIT)

    run(main())


def uvloop_endpoints(*case: int) -> None:
    import uvloop

    _endpoints(uvloop.run, *case)


def asyncio_endpoints(*case: int) -> None:
    _endpoints(asyncio.run, *case)


CLIENTS: dict[str, Callable[..., None]] = {
    REFERENCE: uvloop_endpoints,
    "ftnet, ft.run()": ftnet_run,
    "ftnet, listeners on uvloop": ftnet_uvloop,
    "asyncio": asyncio_endpoints,
}


# ---------------------------------------------------------------- the servers


def serve_single() -> None:
    import uvloop

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=(HERE, 0))
        print(transport.get_extra_info("sockname")[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)

    uvloop.run(main())


def serve_batching() -> None:
    import ftnet as ft

    def start() -> None:
        sock = ft.createUDPSocket()

        def back(event: Any) -> None:
            sender = event.remoteInfo
            sock.send(address=sender.address, port=sender.port, message=event.message)

        sock.onMessage(back)
        print(sock.bind(), flush=True)

    ft.run(start)


SERVERS = {"single": serve_single, "batching": serve_batching}


# ---------------------------------------------------------------- the table


BENCHMARK = Benchmark(
    module="benchmarks.datagrams",
    title="UDP echo",
    than="uvloop",
    packages=("ftnet", "uvloop"),
    clients=CLIENTS,
    servers=SERVERS,
    case=(int, int, int, int, int),
    head=("| server | sockets | under way | bytes |", "|---|---:|---:|---:|"),
    marks=("<!-- datagrams:start -->", "<!-- datagrams:end -->"),
    trips=300_000,
    quick_trips=50_000,
    late=": a datagram was lost",
)


def table(options: argparse.Namespace) -> Iterator[str]:
    for server in SERVERS:
        with serving(BENCHMARK.module, server) as line:
            port = int(line)
            for case in CASES:
                what, start = f"{server} {case}", f"| {server} | {' | '.join(map(str, case))} |"
                yield from BENCHMARK.block(
                    what, start, REFERENCE, options.rounds, port, *case, options.trips
                )


def main(arguments: list[str] | None = None) -> int:
    return BENCHMARK.main(__doc__, arguments, table)


if __name__ == "__main__":
    sys.exit(main())
