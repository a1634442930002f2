"""An HTTP/1.1 server that counts what reaches it, answers as it is told, and may stall or die."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(status: int, body: bytes = b"", *lines: str) -> bytes:
    """One response as it is sent."""
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, server: CountingServer) -> None:
        self.server = server
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.connections += 1
        self.server.open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.server.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head, rest = self.buffer[:end], self.buffer[end + 4 :]
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.server.take(self, head, rest[:length])


class CountingServer:
    """In a thread of its own; use it in a `with`.

    ``answers(number)`` gives the bytes for the number-th request, counted from 0; None: no answer,
    b"": the connection is closed. What is sent after `close_after` bytes of an answer is not.
    """

    def __init__(
        self, answers: Callable[[int], bytes | None] = lambda number: OK, port: int = 0
    ) -> None:
        self.answers = answers
        self.requests = 0
        self.connections = 0
        self.bodies: Counter[bytes] = Counter()
        self.heads: Counter[bytes] = Counter()
        self.arrived: list[float] = []
        self.closes_silently = False
        self.open: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def take(self, connection: _Connection, head: bytes, body: bytes) -> None:
        number, self.requests = self.requests, self.requests + 1
        self.heads[head] += 1
        self.bodies[body] += 1
        self.arrived.append(time.monotonic())
        said = self.answers(number)
        if said is None:
            return
        connection.transport.write(said)
        if not said or self.closes_silently or b"Connection: close" in said:
            connection.transport.close()

    def stall(self, seconds: float) -> None:
        """From now on nothing is read or answered for so long."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    def stall_every(self, period: float, seconds: float) -> None:
        """The last `seconds` of each period."""

        def stall() -> None:
            time.sleep(seconds)
            self._loop.call_later(period - seconds, stall)

        self._loop.call_soon_threadsafe(self._loop.call_later, period - seconds, stall)

    def break_off(self) -> None:
        """Resets every connection that is open."""

        def abort() -> None:
            for connection in list(self.open):
                connection.transport.abort()

        self._loop.call_soon_threadsafe(abort)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run())
        self._loop.close()

    async def _run(self) -> None:
        self._end = asyncio.Event()
        server = await self._loop.create_server(lambda: _Connection(self), sock=self._listener)
        self._up.set()
        await self._end.wait()
        server.close()
        for connection in list(self.open):
            connection.transport.abort()
        await asyncio.sleep(0)

    def __enter__(self) -> Self:
        self._up = threading.Event()
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()
