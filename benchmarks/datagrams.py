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
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.echo import LIMIT, Loop, pin
from benchmarks.report import into_readme

ROOT = Path(__file__).parent.parent
REFERENCE = "asyncio on uvloop"
MARKS = ("<!-- datagrams:start -->", "<!-- datagrams:end -->")
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


def measure(client: str, *case: int) -> dict[str, float]:
    """One sample from a process of its own; raises RuntimeError with the reason if it failed."""
    command = [sys.executable, "-m", "benchmarks.datagrams", "--child", client, *map(str, case)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"took over {LIMIT:g} s: a datagram was lost") from None
    if done.returncode or not done.stdout:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no answer"])[-1])
    sample: dict[str, float] = json.loads(done.stdout)
    return sample


def block(server: str, port: int, case: tuple[int, int, int], rounds: int, trips: int) -> list[str]:
    """The lines of one case."""
    sockets, under_way, size = case
    samples: dict[str, list[dict[str, float]]] = {client: [] for client in CLIENTS}
    notes: dict[str, str] = {}
    for turn in range(rounds):
        for client, taken in samples.items():
            try:
                taken.append(measure(client, port, sockets, under_way, size, trips))
            except RuntimeError as error:
                notes[client] = str(error)
        sys.stderr.write(f"{server} {case} round {turn + 1} of {rounds}\n")
    lines = []
    for client, taken in samples.items():
        start = f"| {server} | {sockets} | {under_way} | {size} | {client} |"
        if client in notes or not taken:
            lines.append(f"{start} {notes.get(client, 'not run')} | | |")
            continue
        pairs = zip(taken, samples[REFERENCE], strict=False)
        ratio = median(theirs["cpu"] / mine["cpu"] for mine, theirs in pairs)
        cpu, rate = median(s["cpu"] for s in taken), median(s["rate"] for s in taken)
        lines.append(f"{start} {cpu:.2f} | {rate:,.0f} | {ratio:.2f} |")
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trips", type=int, default=300_000)
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve or options.child:
        pin(1 if options.serve else 0)
        if options.serve:
            SERVERS[options.serve]()
        else:
            client, *numbers = options.child
            CLIENTS[client](*map(int, numbers))
        return 0
    if options.quick:
        options.rounds, options.trips = 1, 50_000
    lines = ["| server | sockets | under way | bytes | client | CPU µs per round trip |"
             " round trips/s | ratio |"]  # fmt: skip
    lines.append("|---|---:|---:|---:|---|---:|---:|---:|")
    for server in SERVERS:
        command = [sys.executable, "-m", "benchmarks.datagrams", "--serve", server]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, text=True, cwd=ROOT, **pipes) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            for case in CASES:
                lines += block(server, port, case, options.rounds, options.trips)
            process.terminate()
    names = ("ftnet", "uvloop")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    heading = f"UDP echo, median of {options.rounds} interleaved rounds; {versions}."
    text = "\n".join([f"{heading} Ratio: how much less than uvloop.", "", *lines])
    print(text)
    if options.readme:
        readme = ROOT / "README.md"
        readme.write_text(into_readme(readme.read_text("utf-8"), text, MARKS), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
