"""WebSocket echo, side by side: what a round trip costs the client.

    python -m benchmarks.echo             64 B, 16 KiB, 1 MiB, 1 and 64 sockets, ws, wss, deflate
    python -m benchmarks.echo --quick     one short round

The server (picows on uvloop) has one processor, the client, a process of its own each time, has
another. Each socket has one message under way. What counts is CPU time of the client's process per
round trip; the ratio compares it with picows in the same round, and with aiohttp where messages are
compressed (permessage-deflate, a server on aiohttp), which picows can't.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import random
import resource
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers import cpu_seconds
from benchmarks.report import into_readme
from benchmarks.servers import cores

ROOT = Path(__file__).parent.parent
REFERENCE, DEFLATE_REFERENCE = "picows on uvloop", "aiohttp on uvloop"
DEFLATE = "/deflate"  # the path under which messages are compressed
MARKS = ("<!-- echo:start -->", "<!-- echo:end -->")
LIMIT = 120.0
SIZES = (64, 16_384, 1_048_576)
SMALLER_SIZES = (64, 16_384)
TIMES_FEWER = {64: 1, 16_384: 4, 1_048_576: 200}  # round trips
PEERS_LARGEST = 16 << 20


class Loop:
    """The measured part: from when all sockets are open to so many round trips."""

    def __init__(self, sockets: int, trips: int) -> None:
        self.closed, self.trips, self.seen = sockets, trips, 0

    def opened(self) -> bool:
        """Whether that was the last of the sockets: now it begins."""
        self.closed -= 1
        if self.closed:
            return False
        self.cpu = cpu_seconds(resource.RUSAGE_SELF)
        self.start = time.perf_counter()
        return True

    def over(self) -> bool:
        """One more round trip; when it was the last, prints the sample and ends the process."""
        self.seen += 1
        if self.seen < self.trips:
            return False
        seconds = time.perf_counter() - self.start
        used = cpu_seconds(resource.RUSAGE_SELF) - self.cpu
        print(
            json.dumps({"cpu": used / self.trips * 1e6, "rate": self.trips / seconds}), flush=True
        )
        os._exit(0)


# ---------------------------------------------------------------- the clients


def payload(url: str, size: int) -> bytes:
    """What is echoed; where it is compressed, JSON that differs from line to line."""
    if not url.endswith(DEFLATE):
        return bytes(size)
    chance = random.Random(size)
    lines = [f'{{"id":{n},"rtt":{chance.random()}}}\n' for n in range(size // 20 + 1)]
    return "".join(lines).encode()[:size].ljust(size)


def trusting(url: str) -> ssl.SSLContext | None:
    """What a client of the throwaway server needs over wss."""
    if not url.startswith("wss"):
        return None
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _ftnet(url: str, sockets: int, size: int, trips: int) -> Any:
    import ftnet as ft

    data, loop = payload(url, size), Loop(sockets, trips)
    client = ft.Client(trust_env=False, verify=False)
    tasks: list[ft.SocketTask] = []

    def opened(_: Any) -> None:
        if loop.opened():
            for task in tasks:
                task.send(data=data)

    def begin() -> None:
        deflate = url.endswith(DEFLATE)
        task = client.connectSocket(url=url, tcpNoDelay=True, perMessageDeflate=deflate)

        def answered(_: Any) -> None:
            if not loop.over():
                task.send(data=data)

        task.onOpen(opened)
        task.onMessage(answered)
        task.onError(sys.exit)
        tasks.append(task)

    for _ in range(sockets):
        begin()
    return client


def ftnet_run(url: str, sockets: int, size: int, trips: int) -> None:
    import ftnet as ft

    ft.run(lambda: _ftnet(url, sockets, size, trips))


def ftnet_uvloop(url: str, sockets: int, size: int, trips: int) -> None:
    import uvloop

    async def main() -> None:
        client = _ftnet(url, sockets, size, trips)
        await asyncio.sleep(LIMIT)
        client.close()

    uvloop.run(main())


def ftnet_iterated(url: str, sockets: int, size: int, trips: int) -> None:
    import uvloop

    import ftnet as ft

    data, loop = payload(url, size), Loop(sockets, trips)

    async def one(client: Any, started: asyncio.Event) -> None:
        deflate = url.endswith(DEFLATE)
        task = client.connectSocket(url=url, tcpNoDelay=True, perMessageDeflate=deflate)
        await task.opened()
        if loop.opened():
            started.set()
        await started.wait()
        task.send(data=data)
        async for _ in task:
            loop.over()
            task.send(data=data)

    async def main() -> None:
        started = asyncio.Event()
        with ft.Client(trust_env=False, verify=False) as client:
            await asyncio.gather(*[one(client, started) for _ in range(sockets)])

    uvloop.run(main())


def picows(url: str, sockets: int, size: int, trips: int) -> None:
    import picows as ws
    import uvloop

    if url.endswith(DEFLATE):
        sys.exit("has no permessage-deflate")
    data, loop = payload(url, size), Loop(sockets, trips)
    transports: list[Any] = []

    class Listener(ws.WSListener):  # type: ignore[misc, unused-ignore]
        def on_ws_connected(self, transport: Any) -> None:
            transports.append(transport)

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            frame.get_payload_as_bytes()
            if not loop.over():
                transport.send(ws.WSMsgType.BINARY, data)

    async def main() -> None:
        for _ in range(sockets):
            await ws.ws_connect(
                Listener, url, ssl_context=trusting(url), max_frame_size=PEERS_LARGEST
            )
            if loop.opened():
                for transport in transports:
                    transport.send(ws.WSMsgType.BINARY, data)
        await asyncio.sleep(LIMIT)

    uvloop.run(main())


def aiohttp(url: str, sockets: int, size: int, trips: int) -> None:
    import aiohttp as client
    import uvloop

    data, loop = payload(url, size), Loop(sockets, trips)

    async def one(session: Any, started: asyncio.Event) -> None:
        given = {"max_msg_size": 0, "ssl": trusting(url) or True}
        async with session.ws_connect(
            url, compress=15 if url.endswith(DEFLATE) else 0, **given
        ) as socket:
            if loop.opened():
                started.set()
            await started.wait()
            while True:
                await socket.send_bytes(data)
                await socket.receive()
                loop.over()

    async def main() -> None:
        started = asyncio.Event()
        async with client.ClientSession() as session:
            await asyncio.gather(*[one(session, started) for _ in range(sockets)])

    uvloop.run(main())


def websockets(url: str, sockets: int, size: int, trips: int) -> None:
    import uvloop
    from websockets.asyncio.client import connect

    data, loop = payload(url, size), Loop(sockets, trips)

    async def one(started: asyncio.Event) -> None:
        given = {"proxy": None, "max_size": None, "ssl": trusting(url)}
        given["compression"] = "deflate" if url.endswith(DEFLATE) else None
        async with connect(url, **given) as socket:
            if loop.opened():
                started.set()
            await started.wait()
            while True:
                await socket.send(data)
                await socket.recv()
                loop.over()

    async def main() -> None:
        started = asyncio.Event()
        await asyncio.gather(*[one(started) for _ in range(sockets)])

    uvloop.run(main())


CLIENTS: dict[str, Callable[[str, int, int, int], None]] = {
    REFERENCE: picows,
    "ftnet, ft.run()": ftnet_run,
    "ftnet, listeners on uvloop": ftnet_uvloop,
    "ftnet, async for on uvloop": ftnet_iterated,
    "aiohttp on uvloop": aiohttp,
    "websockets on uvloop": websockets,
}
COSTS = {"aiohttp on uvloop": 2, "websockets on uvloop": 4}  # times fewer round trips are measured


async def serve_deflate() -> str:
    """An echo that compresses; returns its URL."""
    from aiohttp import web

    async def echo(request: Any) -> Any:
        socket = web.WebSocketResponse(compress=True, max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    app = web.Application()
    app.router.add_get(DEFLATE, echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return f"ws://127.0.0.1:{runner.addresses[0][1]}{DEFLATE}"


def serve() -> None:
    """The echo over ws and wss, and the one with deflate; prints the URLs."""
    import picows as ws
    import trustme
    import uvloop

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)

    class Echo(ws.WSListener):  # type: ignore[misc, unused-ignore]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == ws.WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()
            else:
                transport.send(frame.msg_type, frame.get_payload_as_bytes())

    async def main() -> None:
        urls = []
        for scheme, context in (("ws", None), ("wss", tls)):
            server = await ws.ws_create_server(
                lambda _: Echo(), "127.0.0.1", 0, ssl=context, max_frame_size=PEERS_LARGEST
            )
            urls.append(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        urls.append(await serve_deflate())
        print(*urls, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    uvloop.run(main())


# ---------------------------------------------------------------- the table


def pin(which: int) -> None:
    """Keeps this process on the client's (0) or the server's (1) processor."""
    core = cores()[which]
    if core is not None:
        os.sched_setaffinity(0, {core})


def measure(client: str, url: str, sockets: int, size: int, trips: int) -> dict[str, float]:
    """One sample from a process of its own; raises RuntimeError with the reason if it failed."""
    trips //= COSTS.get(client, 1)
    command = [sys.executable, "-m", "benchmarks.echo", "--child", client, url]
    command += [str(sockets), str(size), str(trips)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"took over {LIMIT:g} s") from None
    if done.returncode or not done.stdout:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no answer"])[-1])
    sample: dict[str, float] = json.loads(done.stdout)
    return sample


def block(url: str, size: int, sockets: int, rounds: int, trips: int) -> list[str]:
    """The lines of one size and number of sockets."""
    samples: dict[str, list[dict[str, float]]] = {client: [] for client in CLIENTS}
    notes: dict[str, str] = {}
    for turn in range(rounds):
        for client, taken in samples.items():
            try:
                taken.append(measure(client, url, sockets, size, trips))
            except RuntimeError as error:
                notes[client] = str(error)
        sys.stderr.write(f"{size} B c={sockets} round {turn + 1} of {rounds}\n")
    lines = []
    for client, taken in samples.items():
        scheme = " over wss" if url.startswith("wss") else ""
        scheme = " deflated" if url.endswith(DEFLATE) else scheme
        start = f"| {size:,}{scheme} | {sockets} | {client} |"
        if client in notes or not taken:
            lines.append(f"{start} {notes.get(client, 'not run')} | | |")
            continue
        reference = DEFLATE_REFERENCE if url.endswith(DEFLATE) else REFERENCE
        pairs = zip(taken, samples[reference], strict=False)
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
            client, url, *numbers = options.child
            CLIENTS[client](url, *map(int, numbers))
        return 0
    if options.quick:
        options.rounds, options.trips = 1, 30_000
    command = [sys.executable, "-m", "benchmarks.echo", "--serve"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=ROOT, **pipes) as server:
        assert server.stdout is not None
        plain, tls, deflate = server.stdout.readline().split()
        lines = ["| bytes | sockets | client | CPU µs per round trip | round trips/s | ratio |"]
        lines.append("|---:|---:|---|---:|---:|---:|")
        for url, sizes in ((plain, SIZES), (tls, SMALLER_SIZES), (deflate, SMALLER_SIZES)):
            for size in sizes:
                for sockets in (1, 64):
                    trips = options.trips // TIMES_FEWER[size]
                    trips //= 4 if sockets == 1 and size == 64 else 1
                    trips //= 4 if url == deflate else 1
                    lines += block(url, size, sockets, options.rounds, trips)
        server.terminate()
    names = ("ftnet", "picows", "uvloop", "aiohttp", "websockets")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    heading = f"WebSocket echo, median of {options.rounds} interleaved rounds; {versions}."
    heading += " Ratio: how much less than picows, for what is deflated than aiohttp."
    text = "\n".join([heading, "", *lines])
    print(text)
    if options.readme:
        readme = ROOT / "README.md"
        readme.write_text(into_readme(readme.read_text("utf-8"), text, MARKS), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
