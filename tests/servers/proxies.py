"""Proxies: tinyproxy for http and CONNECT, microsocks for SOCKS5, and TLS in front of tinyproxy."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers.certs import Certificates
from tests.servers.program import START_LIMIT, Program, find, free_ports

USER, PASSWORD = "mercury", "s3cret-word"
CONFIG = """
Port %(port)d
Listen 127.0.0.1
Timeout 60
MaxClients 200
LogLevel Connect
ViaProxyName "%(name)s"
%(login)s
"""


class Tinyproxy:
    """tinyproxy; with `login` it asks for USER and PASSWORD."""

    def __init__(self, directory: Path, *, login: bool = False) -> None:
        (port,) = free_ports(1)
        self.port = port
        self.name = "tinyproxy-with-login" if login else "tinyproxy"
        self.url = f"http://127.0.0.1:{port}"
        config = directory / "tinyproxy.conf"
        asked = f"BasicAuth {USER} {PASSWORD}" if login else ""
        config.write_text(CONFIG % {"port": port, "name": self.name, "login": asked})
        command = [find("tinyproxy"), "-d", "-c", str(config)]
        self.program = Program(command, directory, (port,))

    def tunnels_to(self, url: str) -> int:
        """How many CONNECTs to the host and port of `url` it has logged."""
        return self.program.log().count(f"CONNECT {urlsplit(url).netloc} HTTP/1.1")


class Microsocks:
    """microsocks, a SOCKS5 server; with `login` it asks for USER and PASSWORD."""

    def __init__(self, directory: Path, *, login: bool = False) -> None:
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        asked = ["-u", USER, "-P", PASSWORD] if login else []
        command = [find("microsocks"), "-i", "127.0.0.1", "-p", str(port), *asked]
        self.program = Program(command, directory, (port,))

    def connections_to(self, netloc: str) -> int:
        """How many connections to `host:port`, as the client named it, it has logged."""
        return self.program.log().count(f"connected to {netloc}\n")


class TlsFront:
    """Ends TLS and passes the bytes on to a plain port: makes an https proxy of an http proxy."""

    def __init__(self, target: int, certificates: Certificates) -> None:
        self.connections = 0
        self._target = target
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificates.good.chain, certificates.good.key)
        self._loop = asyncio.new_event_loop()
        self._joined: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls-front")
        self._thread.start()
        start = asyncio.run_coroutine_threadsafe(self._start(), self._loop)
        self.url = f"https://127.0.0.1:{start.result(START_LIMIT)}"

    async def _start(self) -> int:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, ssl=self._context, backlog=100
        )
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._join(reader, writer))
        self._joined.add(task)
        task.add_done_callback(self._joined.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        both = [
            asyncio.ensure_future(_pump(reader, far_writer)),
            asyncio.ensure_future(_pump(far_reader, writer)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            writer.transport.abort()
            far_writer.transport.abort()

    async def _finish(self) -> None:
        self._server.close()
        for task in self._joined:
            task.cancel()
        await asyncio.gather(*self._joined, return_exceptions=True)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(START_LIMIT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_LIMIT)
        self._loop.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(2**16):
            sink.write(data)
            await sink.drain()
