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
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.echo import LIMIT, ROOT, Loop, pin
from benchmarks.report import into_readme

REFERENCE = "protocol on uvloop"
MARKS = ("<!-- tcp:start -->", "<!-- tcp:end -->")
TIMES_FEWER = {64: 1, 16_384: 4}  # round trips
SOCKETS = (1, 64, 1000)
HERE = "127.0.0.1"
PACKAGES = ("ftnet", "uvloop")


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


def measure(client: str, port: int, sockets: int, size: int, trips: int) -> dict[str, float]:
    """One sample from a process of its own; raises RuntimeError with the reason if it failed."""
    command = [sys.executable, "-m", "benchmarks.echo_tcp", "--child", client]
    command += map(str, (port, sockets, size, trips))
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"took over {LIMIT:g} s") from None
    if done.returncode or not done.stdout:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no answer"])[-1])
    sample: dict[str, float] = json.loads(done.stdout)
    return sample


def block(port: int, size: int, sockets: int, rounds: int, trips: int) -> list[str]:
    """The lines of one size and number of sockets."""
    samples: dict[str, list[dict[str, float]]] = {client: [] for client in CLIENTS}
    notes: dict[str, str] = {}
    for turn in range(rounds):
        for client, taken in samples.items():
            try:
                taken.append(measure(client, port, sockets, size, trips))
            except RuntimeError as error:
                notes[client] = str(error)
        sys.stderr.write(f"{size} B c={sockets} round {turn + 1} of {rounds}\n")
    lines = []
    for client, taken in samples.items():
        start = f"| {size:,} | {sockets:,} | {client} |"
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
    parser.add_argument("--trips", type=int, default=200_000)
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve or options.child:
        pin(1 if options.serve else 0)
        if options.serve:
            serve()
        else:
            client, *numbers = options.child
            CLIENTS[client](*map(int, numbers))
        return 0
    if options.quick:
        options.rounds, options.trips = 1, 30_000
    command = [sys.executable, "-m", "benchmarks.echo_tcp", "--serve"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=ROOT, **pipes) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        lines = ["| bytes | sockets | client | CPU µs per round trip | round trips/s | ratio |"]
        lines.append("|---:|---:|---|---:|---:|---:|")
        for size, fewer in TIMES_FEWER.items():
            for sockets in SOCKETS:
                trips = options.trips // fewer // (4 if sockets == 1 and size == 64 else 1)
                lines += block(port, size, sockets, options.rounds, trips)
        server.terminate()
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("ftnet", "uvloop")
    )
    heading = f"TCP echo, median of {options.rounds} interleaved rounds; {versions}."
    text = "\n".join([f"{heading} Ratio: how much less than a protocol on uvloop.", "", *lines])
    print(text)
    if options.readme:
        readme = Path(ROOT / "README.md")
        readme.write_text(into_readme(readme.read_text("utf-8"), text, MARKS), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
