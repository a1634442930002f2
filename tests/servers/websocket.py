"""WebSocket servers: the `websockets` library's, aiohttp's, nginx before one, a relay that counts.

All but nginx run in one thread with a loop of its own. A server of the library is ready in a few
milliseconds, so a test that wants to know what its peer saw takes one for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import uvloop
from aiohttp import WSMsgType, web
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response

from tests.servers.certs import Certificates, Pair
from tests.servers.program import Program, find, free_ports

LIMIT = 15.0
NO_CODE = 1005
T = TypeVar("T")
Message = str | bytes


class Loop:
    """A thread that runs an event loop for servers."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="sockets", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns, done in that thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(LIMIT)

    def soon(self, function: Callable[[], object]) -> None:
        self.loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        self.run(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(LIMIT)
        self.loop.close()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def tls_context(pair: Pair, client_ca: Path | None = None) -> ssl.SSLContext:
    """A server's; with `client_ca` clients must show a certificate of it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.chain, pair.key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


# --- the websockets library's ---------------------------------------------------------------------


class Peer:
    """One connection as its server sees it: what came, and the verbs a test needs."""

    def __init__(self, loop: Loop, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.path = urlsplit(connection.request.path).path
        self.query = parse_qs(urlsplit(connection.request.path).query)
        self.target = connection.request.path
        self.header = connection.request.headers
        self.connection = connection
        self.got: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.over = threading.Event()
        self.code: int | None = None
        self.reason = ""
        self._loop = loop

    def next(self) -> Message:
        """The next message that came and was not asked for yet."""
        return self.got.get(timeout=LIMIT)

    def send(self, message: Message | Sequence[Message]) -> None:
        """Sends a message; a sequence of them as its fragments."""
        self._loop.run(self.connection.send(message))

    def ping(self) -> None:
        """Sends a ping and waits for its answer."""
        self._loop.run(_pinged(self.connection))

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._loop.run(close_with(self.connection, code, reason))

    def drop(self) -> None:
        """Ends the connection without a word."""
        self._loop.soon(self.connection.transport.abort)

    def wait_over(self) -> tuple[int | None, str]:
        """Code and reason that came from the client; its close frame's, 1005, or 1006."""
        assert self.over.wait(LIMIT), "the connection is still open"
        return self.code, self.reason


async def _pinged(connection: ServerConnection) -> None:
    await (await connection.ping())


async def close_with(connection: ServerConnection, code: int, reason: str) -> None:
    if code == NO_CODE:  # a close frame that holds nothing, which the library has no way to ask for
        async with connection.send_context():
            connection.protocol.send_close()
    else:
        await connection.close(code, reason)


class WebSocketServer:
    """The `websockets` library's server. A path says what happens on the connection:

    ``/echo`` sends back what comes, ``/pieces?size=N`` in fragments; ``/quiet`` takes it in;
    ``/gate`` takes nothing until `open_gate`, then echoes; ``/say?text=A&text=B&code=C&reason=R``
    says something and closes when there is a code (1005: a close frame without one), ``&drop=1``
    ends the connection without a word; ``/told`` sends what it saw of the client, as JSON;
    ``/status/N`` refuses with a status; ``/late`` is not answered before `open_gate`.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        tls: ssl.SSLContext | None = None,
        deflate: ServerPerMessageDeflateFactory | None = None,
        host: str = "127.0.0.1",
        **options: Any,
    ) -> None:
        self.peers: list[Peer] = []
        self._loop = loop
        self._changed = threading.Condition()
        self._tls = tls
        self._host = host
        self._options: dict[str, Any] = {
            "max_size": None,
            "ping_interval": None,
            "compression": None,
            "extensions": [deflate] if deflate else None,
            **options,
        }
        self.port = loop.run(self._start())
        self.netloc = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.url = f"{'wss' if tls else 'ws'}://{self.netloc}"

    async def _start(self) -> int:
        self._gate = asyncio.Event()
        self._server = await serve(
            self._serve,
            self._host,
            0,
            ssl=self._tls,
            process_request=self._refused,
            server_header=None,
            **self._options,
        )
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    def open_gate(self) -> None:
        self._loop.soon(self._gate.set)

    def peer(self, number: int = 0) -> Peer:
        """The connection of that number, as soon as it is there."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.peers) > number, LIMIT)
        assert there, f"only {len(self.peers)} connections"
        return self.peers[number]

    def stop(self) -> None:
        self._loop.run(self._stop())

    async def _stop(self) -> None:
        self._gate.set()
        for peer in self.peers:
            peer.connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    async def _refused(self, connection: ServerConnection, request: Request) -> Response | None:
        _, _, rest = request.path.partition("/status/")
        if rest:
            return connection.respond(HTTPStatus(int(rest)), f"refused with {rest}\n")
        if request.path == "/late":
            await self._gate.wait()
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        peer = Peer(self._loop, connection)
        with self._changed:
            self.peers.append(peer)
            self._changed.notify_all()
        try:
            await self._act(peer)
            await connection.wait_closed()
        except ConnectionClosed:
            pass
        finally:
            received = connection.protocol.close_rcvd
            peer.code = received.code if received else connection.protocol.close_code
            peer.reason = received.reason if received else ""
            peer.over.set()

    async def _act(self, peer: Peer) -> None:
        if peer.path == "/say":
            await say(peer.connection, peer.query)
        elif peer.path == "/told":
            await peer.connection.send(json.dumps(told(peer)))
        elif peer.path == "/gate":
            await self._gate.wait()
        async for message in peer.connection:
            peer.got.put(message)
            if peer.path == "/pieces":
                await peer.connection.send(fragments(message, int(peer.query["size"][0])))
            elif peer.path != "/quiet":
                await peer.connection.send(message)


async def say(connection: ServerConnection, query: dict[str, list[str]]) -> None:
    for text in query.get("text", ()):
        await connection.send(text)
    if "code" in query:
        reason = query.get("reason", [""])[0]
        await close_with(connection, int(query["code"][0]), reason)
    if "drop" in query:
        connection.transport.abort()


def told(peer: Peer) -> dict[str, Any]:
    return {
        "target": peer.target,
        "header": [[name.lower(), value] for name, value in peer.header.raw_items()],
        "subprotocol": peer.connection.subprotocol,
        "extensions": [extension.name for extension in peer.connection.protocol.extensions],
        "client": peer.connection.remote_address[0],
    }


async def fragments(message: Message, size: int) -> AsyncIterator[Message]:
    for start in range(0, len(message) or 1, size):
        yield message[start : start + size]


@contextlib.contextmanager
def serving(loop: Loop, **options: Any) -> Iterator[WebSocketServer]:
    """A server of the library that lasts as long as the block."""
    server = WebSocketServer(loop, **options)
    try:
        yield server
    finally:
        server.stop()


# --- aiohttp's ------------------------------------------------------------------------------------


class AiohttpServer:
    """aiohttp: echoes on ``/echo``, and on ``/compressed/N`` with windows of N bits."""

    def __init__(self, loop: Loop, tls: ssl.SSLContext | None = None) -> None:
        self._loop = loop
        self._tls = tls
        self.extensions: list[str] = []  # what clients offered
        port = loop.run(self._start())
        self.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{port}"

    async def _start(self) -> int:
        application = web.Application()
        application.router.add_get("/echo", self._echo)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        self.extensions.append(request.headers.get("Sec-WebSocket-Extensions", ""))
        socket = web.WebSocketResponse(max_msg_size=0, protocols=("chat", "superchat"))
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type == WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    def stop(self) -> None:
        self._loop.run(self._runner.cleanup())


# --- nginx before a server ------------------------------------------------------------------------

NGINX = """
%(user)s
daemon off;
worker_processes 1;
pid %(dir)s/nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path %(dir)s/body;
  proxy_temp_path %(dir)s/proxy;
  fastcgi_temp_path %(dir)s/fastcgi;
  scgi_temp_path %(dir)s/scgi;
  uwsgi_temp_path %(dir)s/uwsgi;
  proxy_http_version 1.1;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection "upgrade";
  proxy_set_header X-Through nginx;
  server {
    listen 127.0.0.1:%(plain)d;
    listen 127.0.0.1:%(secure)d ssl;
    ssl_certificate %(chain)s;
    ssl_certificate_key %(key)s;
    location / { proxy_pass http://%(target)s; proxy_read_timeout 60s; }
    location /impatient/ { proxy_pass http://%(target)s/; proxy_read_timeout 3s; }
  }
}
"""


class NginxSockets:
    """nginx that hands sockets on to a server: `.ws`, `.wss`; below ``/impatient/`` it ends those
    on which the server says nothing for three seconds."""

    def __init__(self, directory: Path, certificates: Certificates, target: str) -> None:
        plain, secure = free_ports(2)
        config = directory / "nginx.conf"
        config.write_text(
            NGINX
            % {
                "dir": directory,
                "user": "user root root;" if os.geteuid() == 0 else "",
                "plain": plain,
                "secure": secure,
                "chain": certificates.good.chain,
                "key": certificates.good.key,
                "target": target,
            }
        )
        command = [find("nginx"), "-p", str(directory), "-c", str(config), "-e", "stderr"]
        self.program = Program(command, directory, (plain, secure))
        self.ws = f"ws://127.0.0.1:{plain}"
        self.wss = f"wss://127.0.0.1:{secure}"


# --- a relay that counts --------------------------------------------------------------------------


class CountingRelay:
    """Joins clients to `target` and keeps the bytes that pass: `.sent` by them, `.received`."""

    def __init__(self, loop: Loop, target: int) -> None:
        self.sent = bytearray()
        self.received = bytearray()
        self._loop = loop
        self._target = target
        self._pumps: set[asyncio.Task[None]] = set()
        self.url = f"ws://127.0.0.1:{loop.run(self._start())}"

    async def _start(self) -> int:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        for source, sink, record in (
            (reader, far_writer, self.sent),
            (far_reader, writer, self.received),
        ):
            task = asyncio.ensure_future(pump(source, sink, record))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    def stop(self) -> None:
        self._loop.run(self._stop())

    async def _stop(self) -> None:
        self._server.close()
        for task in self._pumps:
            task.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, record: bytearray) -> None:
    try:
        while data := await source.read(2**16):
            record += data
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        sink.transport.abort()
    finally:
        sink.close()


@contextlib.contextmanager
def relaying(loop: Loop, target: int) -> Iterator[CountingRelay]:
    relay = CountingRelay(loop, target)
    try:
        yield relay
    finally:
        relay.stop()


def frames_in(data: bytes) -> list[tuple[int, bytes]]:
    """(first byte, unmasked payload) of each frame behind the opening in one direction's bytes."""
    rest = data.partition(b"\r\n\r\n")[2]
    frames = []
    while rest:
        first, second = rest[0], rest[1]
        size = {126: 2, 127: 8}.get(second & 127, 0)
        length = int.from_bytes(rest[2 : 2 + size], "big") if size else second & 127
        start = 2 + size
        mask = rest[start : start + 4] if second & 128 else b""
        start += len(mask)
        payload = rest[start : start + length]
        if mask:
            longer = (mask * (length // 4 + 1))[:length]
            whole = int.from_bytes(payload, "big") ^ int.from_bytes(longer, "big")
            payload = whole.to_bytes(length, "big")
        frames.append((first, payload))
        rest = rest[start + length :]
    return frames
