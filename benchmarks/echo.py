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
import random
import ssl
import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.rounds import LIMIT, Benchmark, Loop, serving

REFERENCE, DEFLATE_REFERENCE = "picows on uvloop", "aiohttp on uvloop"
DEFLATE = "/deflate"  # the path under which messages are compressed
SIZES = (64, 16_384, 1_048_576)
SMALLER_SIZES = (64, 16_384)
TIMES_FEWER = {64: 1, 16_384: 4, 1_048_576: 60}  # round trips
PEERS_LARGEST = 16 << 20


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


BENCHMARK = Benchmark(
    module="benchmarks.echo",
    title="WebSocket echo",
    than="picows, for what is deflated than aiohttp",
    packages=("ftnet", "picows", "uvloop", "aiohttp", "websockets"),
    clients=CLIENTS,
    servers={"echo": serve},
    case=(str, int, int, int),
    head=("| bytes | sockets |", "|---:|---:|"),
    marks=("<!-- echo:start -->", "<!-- echo:end -->"),
    trips=200_000,
    quick_trips=30_000,
    costs={"aiohttp on uvloop": 2, "websockets on uvloop": 4},
)


def block(url: str, size: int, sockets: int, options: argparse.Namespace) -> list[str]:
    """The lines of one size and number of sockets."""
    scheme, reference = " over wss" if url.startswith("wss") else "", REFERENCE
    trips = options.trips // TIMES_FEWER[size]
    trips //= 4 if sockets == 1 and size == 64 else 1
    if url.endswith(DEFLATE):
        scheme, reference = " deflated", DEFLATE_REFERENCE
        trips //= 4
    what, start = f"{size} B c={sockets}", f"| {size:,}{scheme} | {sockets} |"
    return BENCHMARK.block(what, start, reference, options.rounds, url, sockets, size, trips)


def table(options: argparse.Namespace) -> Iterator[str]:
    with serving(BENCHMARK.module) as urls:
        plain, tls, deflate = urls.split()
        for url, sizes in ((plain, SIZES), (tls, SMALLER_SIZES), (deflate, SMALLER_SIZES)):
            for size in sizes:
                for sockets in (1, 64):
                    yield from block(url, size, sockets, options)


def main(arguments: list[str] | None = None) -> int:
    return BENCHMARK.main(__doc__, arguments, table)


if __name__ == "__main__":
    sys.exit(main())
