"""An HTTP/1.1 server that plays scripts: how it takes connections and answers is told beforehand.

A `Stage` is one server for one play. Each request names its `Answer` by its path ("/3"; the hop of
a redirect is "/3/1" and so on), the connections take their `Greeting` in the order they come in.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from tests.servers.websocket import Loop

READING = 65536


@dataclass(frozen=True)
class Greeting:
    """What happens to a connection before its first request is read; times in seconds."""

    wait: float = 0.0
    refuses: Literal["fin", "rst"] | None = None


@dataclass(frozen=True)
class Answer:
    """One response, and what becomes of its connection.

    ``pieces`` are the sizes of what is written at a time, the last one for all that follows;
    ``early``: it does not wait for the request's body; ``cut`` is the share of it that is sent
    before the connection is broken off. ``then``: "keep" the connection, "close" it with notice,
    "vanish" without, or "trap": keep it, read the next request and break off.
    """

    wait: float = 0.0
    interim: int = 0
    framing: Literal["length", "chunked", "close"] = "length"
    size: int = 0
    pieces: tuple[int, ...] = (READING,)
    pace: float = 0.0
    early: bool = False
    cut: float | None = None
    resets: bool = False
    then: Literal["keep", "close", "vanish", "trap"] = "keep"
    hops: int = 0  # redirects before it

    @property
    def body(self) -> bytes:
        return (b"0123456789abcdef" * (self.size // 16 + 1))[: self.size]

    @property
    def faulty(self) -> bool:
        """Whether it, or what it does to the next one, may make a request fail."""
        return self.cut is not None or self.then in ("vanish", "trap")

    def message(self, *, hop: int, path: str, head: bool) -> bytes:
        """All that is sent: interim responses, header block, body."""
        lines = ["HTTP/1.1 103 Early Hints", "Link: </a>", ""] * self.interim
        final = hop == self.hops
        lines.append("HTTP/1.1 200 OK" if final else "HTTP/1.1 307 Temporary Redirect")
        if not final:
            lines.append(f"Location: {path}")
        if self.framing == "length":
            lines.append(f"Content-Length: {self.size}")
        elif self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        if self.then == "close" or self.framing == "close":
            lines.append("Connection: close")
        text = "\r\n".join([*lines, "", ""]).encode()
        if head:
            return text
        return text + (b"".join(self._chunks()) if self.framing == "chunked" else self.body)

    def _chunks(self) -> Iterator[bytes]:
        for start in range(0, self.size, 4000):
            part = self.body[start : start + 4000]
            yield b"%x\r\n%b\r\n" % (len(part), part)
        yield b"0\r\n\r\n"


class Stage:
    """A server that plays `answers` to one client; use it in a `with`, it ends every connection."""

    def __init__(
        self,
        loop: Loop,
        answers: Sequence[Answer],
        greetings: Sequence[Greeting] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answers = answers
        self.arrivals: Counter[str] = Counter()  # requests whose header block came, by path
        self.tls = tls is not None
        self._greetings = list(greetings)
        self._loop = loop
        self._context = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._bugs: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._listener.setblocking(False)
        self._loop.soon(lambda: self._begin(self._accept()))
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._loop.run(self._close())
        finally:
            self._listener.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (bug := task.exception()):
            self._bugs.append(bug)

    async def _close(self) -> None:
        """Cancel all that is going on; raises what a script failed with by itself."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._bugs:
            raise self._bugs[0]

    async def _accept(self) -> None:
        while True:
            sock, _ = await self._loop.loop.sock_accept(self._listener)
            self._begin(self._greet(sock))

    async def _greet(self, sock: socket.socket) -> None:
        greeting = self._greetings.pop(0) if self._greetings else Greeting()
        with sock:
            await asyncio.sleep(greeting.wait)
            if greeting.refuses:
                linger(sock, resets=greeting.refuses == "rst")
                return
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            # the client leaves whenever it likes, and the scripts break off
            with contextlib.suppress(OSError, EOFError):
                transport, _ = await self._loop.loop.connect_accepted_socket(
                    lambda: protocol, sock.dup(), ssl=self._context
                )
                writer = asyncio.StreamWriter(transport, protocol, reader, self._loop.loop)
                try:
                    await self._serve(sock, reader, writer)
                finally:
                    transport.abort()

    async def _serve(
        self, sock: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        trapped = False
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, _ = head.split(" ", 2)
            self.arrivals[path] += 1
            if trapped:
                linger(sock, resets=True)
                return
            number, *hop = map(int, path.strip("/").split("/"))
            answer = self.answers[number]
            body = asyncio.ensure_future(reader.readexactly(length_of(head)))
            try:
                if not answer.early:
                    await body
                hops = hop[0] if hop else 0
                message = answer.message(
                    hop=hops, path=f"/{number}/{hops + 1}", head=method == "HEAD"
                )
                await self._send(writer, answer, message)
                if answer.cut is not None:
                    linger(sock, resets=answer.resets)
                    return
                await body
            finally:
                body.cancel()
            if answer.then in ("close", "vanish") or answer.framing == "close":
                writer.close()
                await writer.wait_closed()
                return
            trapped = answer.then == "trap"

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer, message: bytes) -> None:
        await asyncio.sleep(answer.wait)
        stop = len(message) if answer.cut is None else int(len(message) * answer.cut)
        sizes, start = list(answer.pieces), 0
        while start < stop:
            if writer.is_closing():  # the client left
                raise EOFError
            size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
            writer.write(message[start : min(start + size, stop)])
            await writer.drain()
            start += size
            if answer.pace and start < stop:
                await asyncio.sleep(answer.pace)


def length_of(head: str) -> int:
    """The Content-Length of a header block."""
    found = re.search(r"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
    return int(found[1]) if found else 0


def linger(sock: socket.socket, *, resets: bool) -> None:
    """Make the connection end with a RST, or with a FIN, when it is closed."""
    if resets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
