"""A TCP relay that answers late, for delays that lie below HTTP and no application can make."""

from __future__ import annotations

import asyncio
import socket
from typing import Self

_PIECE = 2**16


class Relay:
    """Accepts on a socket of its own and, `delay` seconds later, joins each client to `target`.

    The client's connect succeeds at once; its first bytes (a request's head, or the ClientHello
    of TLS) lie unread for `delay`. After that bytes pass both ways unhindered.
    """

    def __init__(self, listener: socket.socket, target: tuple[str, int], delay: float) -> None:
        self._listener = listener
        self._target = target
        self._delay = delay
        self._server: asyncio.Server | None = None
        self._joined: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, sock=self._listener, backlog=1024)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._joined:
            task.cancel()
        await asyncio.gather(*self._joined, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._join(reader, writer))
        self._joined.add(task)
        task.add_done_callback(self._joined.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(self._delay)
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            try:
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            finally:
                far_writer.close()
        except ConnectionError:
            writer.transport.abort()
        finally:
            writer.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry bytes until the end, then end the other side the same way: in order or broken off."""
    try:
        while data := await source.read(_PIECE):
            sink.write(data)
            await sink.drain()
        sink.write_eof()
    except ConnectionError:
        sink.transport.abort()
