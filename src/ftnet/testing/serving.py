"""Runs the application on granian (HTTP/1.1, h2) and hypercorn (h3) until asked to stop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftnet.testing import ports
from ftnet.testing.app import app
from ftnet.testing.certs import Certificates
from ftnet.testing.relay import Relay

READY_SECONDS = 20.0
STOP_SECONDS = 1.0
_PROBE_SECONDS = 0.005
_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}},
    "loggers": {"_granian": {"handlers": ["stderr"], "level": "ERROR", "propagate": False}},
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What to serve and where; ports are 0 for any, delays in seconds."""

    host: str = "127.0.0.1"
    port: int = 0
    tls_port: int = 0
    h3: bool = False
    accept_delay: float = 0.0
    tls_delay: float = 0.0
    certificates: Certificates | None = None


class _Service:
    """One of the servers inside: a task that runs it, and how to ask it to end."""

    def __init__(self, run: Coroutine[Any, Any, None], ask: Callable[[], None]) -> None:
        self.task = asyncio.ensure_future(run)
        self._ask = ask

    async def stop(self) -> None:
        if not self.task.done():
            self._ask()
            await asyncio.wait((self.task,), timeout=STOP_SECONDS)
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def _granian(host: str, port: int, certificates: Certificates | None) -> _Service:
    from granian.constants import Interfaces, SSLProtocols
    from granian.log import LogLevels
    from granian.server.embed import Server

    server: Any = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        websockets=False,
        backlog=1024,
        log_level=LogLevels.error,
        log_dictconfig=_LOGGING,
        ssl_cert=certificates and certificates.chain,
        ssl_key=certificates and certificates.key,
        ssl_protocol_min=SSLProtocols.tls12,
    )
    return _Service(server.serve(), server.stop)


def _hypercorn(quic: socket.socket, certificates: Certificates) -> _Service:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = []
    config.quic_bind = [f"fd://{quic.detach()}"]
    config.certfile, config.keyfile = str(certificates.chain), str(certificates.key)
    config.loglevel = "ERROR"
    config.graceful_timeout = 0.1  # it always waits that long
    asked = asyncio.Event()
    application: Any = app
    return _Service(serve(application, config, shutdown_trigger=asked.wait, mode="asgi"), asked.set)


async def _until_answering(host: str, port: int, ca: Path | None) -> None:
    """Wait until GET / is answered with 200."""
    context = ssl.create_default_context(cafile=str(ca)) if ca else None
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
        except ConnectionRefusedError:
            await asyncio.sleep(_PROBE_SECONDS)  # the server tells nobody when it has bound
            continue
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = await reader.readline()
        finally:
            writer.transport.abort()
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"the server on port {port} answered {answer!r}")
        return


async def _until_quic_answers(host: str, port: int, ca: Path) -> None:
    """Wait until a QUIC handshake goes through."""
    from aioquic.asyncio.client import connect
    from aioquic.h3.connection import H3_ALPN
    from aioquic.quic.configuration import QuicConfiguration

    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, cafile=str(ca))
    async with connect(host, port, configuration=configuration):
        return


async def _first(service: asyncio.Task[None], ready: Coroutine[Any, Any, None]) -> None:
    """Wait for `ready`; raises what the service died of, or TimeoutError."""
    probe = asyncio.ensure_future(ready)
    await asyncio.wait((service, probe), timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if probe.done():
        return probe.result()
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    if service.done():
        service.result()
        raise RuntimeError("the server ended while it started")
    raise TimeoutError(f"the server did not answer within {READY_SECONDS:g} s")


class Running:
    """The servers of one process; the public ports are None until they answer, or not served."""

    def __init__(self, settings: Settings) -> None:
        self.port: int | None = None
        self.tls_port: int | None = None
        self.h3_port: int | None = None
        self._settings = settings
        self._services: list[_Service] = []
        self._sockets = AsyncExitStack()

    async def start(self) -> None:
        """Return when every port really answers.

        Raises OSError when a port is taken, TimeoutError when a server doesn't come up.
        """
        settings, host = self._settings, self._settings.host
        opener = ports.listen if settings.accept_delay else ports.reserve
        plain = opener(host, settings.port)
        await self._serve_tcp(plain, None, settings.accept_delay)
        self.port = ports.port_of(plain)
        if settings.certificates:
            opener = ports.listen if settings.tls_delay else ports.reserve
            if settings.h3:
                secure, quic = ports.with_udp(opener, host, settings.tls_port)
                self.h3_port = ports.port_of(quic)
                await self._serve_quic(quic, settings.certificates)
            else:
                secure = opener(host, settings.tls_port)
            await self._serve_tcp(secure, settings.certificates, settings.tls_delay)
            self.tls_port = ports.port_of(secure)

    def ready(self) -> dict[str, str | None]:
        """The base URLs, and the path of the CA to trust; None for what isn't served."""
        host = self._settings.host
        name = f"[{host}]" if ":" in host else host
        certificates = self._settings.certificates
        return {
            "http": f"http://{name}:{self.port}",
            "https": f"https://{name}:{self.tls_port}" if self.tls_port else None,
            "h3": f"https://{name}:{self.h3_port}" if self.h3_port else None,
            "ca": str(certificates.ca) if certificates else None,
        }

    async def until_failed(self) -> None:
        """Return when one of the servers ended on its own; raises what it died of."""
        tasks = [service.task for service in self._services]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Let exchanges under way finish for STOP_SECONDS, then break them off."""
        await asyncio.gather(*(service.stop() for service in self._services))
        await self._sockets.aclose()

    async def _serve_tcp(
        self, public: socket.socket, certificates: Certificates | None, delay: float
    ) -> None:
        """Serve on the port that `public` reserves, or behind a relay listening on `public`."""
        host = self._settings.host
        self._sockets.callback(public.close)
        holder = public
        if delay:
            holder = self._sockets.enter_context(ports.reserve(host, 0))
            target = (host, ports.port_of(holder))
            await self._sockets.enter_async_context(Relay(public, target, delay))
        port = ports.port_of(holder)
        ca = certificates.ca if certificates else None
        await self._add(_granian(host, port, certificates), _until_answering(host, port, ca))

    async def _serve_quic(self, quic: socket.socket, certificates: Certificates) -> None:
        host, port = quic.getsockname()[:2]
        probe = _until_quic_answers(host, port, certificates.ca)
        await self._add(_hypercorn(quic, certificates), probe)

    async def _add(self, service: _Service, ready: Coroutine[Any, Any, None]) -> None:
        self._services.append(service)
        await _first(service.task, ready)
