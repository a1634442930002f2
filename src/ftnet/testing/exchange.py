"""One HTTP exchange on top of ASGI: what an endpoint reads of a request and how it answers.

See the ASGI HTTP specification, https://asgi.readthedocs.io/en/latest/specs/www.html.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]


H3_MAX_BYTES = 2**26


class BadRequest(Exception):
    """The request asks for something that the endpoint can't do; answered with status 400."""


class ClientGone(Exception):
    """The client closed the connection, or reset the stream, before it had sent all its body."""


def to_number(name: str, text: str, low: int, high: int) -> int:
    """The whole number in `text`; BadRequest names the parameter when it's none or out of range."""
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(f"{name} must be a whole number, not {text!r}")
    value = int(text[:20])
    if not low <= value <= high:
        raise BadRequest(f"{name} must be from {low} to {high}, not {text}")
    return value


class Exchange:
    """A request, and the answer to it, sent whole (`reply`, `json`) or in pieces (`start`)."""

    __slots__ = ("_receive", "_send", "args", "head", "query", "scope")

    def __init__(self, scope: Scope, receive: Receive, send: Send, args: Sequence[str]) -> None:
        self.scope = scope
        self.args = args
        self.head: bool = scope["method"] == "HEAD"
        self.query = dict(parse_qsl(scope["query_string"].decode("latin-1"), True))
        self._receive = receive
        self._send = send

    def number(self, name: str, default: int, low: int = 0, high: int = 2**40) -> int:
        """The query's whole number `name`, or `default`; raises BadRequest."""
        text = self.query.get(name)
        return default if text is None else to_number(name, text, low, high)

    def seconds(self, name: str) -> float:
        """The query's `name`, given in milliseconds, in seconds; 0 when it's not there."""
        return self.number(name, 0, high=3_600_000) / 1000

    def allow(self, length: int) -> None:
        """Raise BadRequest for a body that can't be sent: the h3 server has no back-pressure.

        It would keep all that the client doesn't read, even after the client has left.
        """
        if self.scope["http_version"] == "3" and length > H3_MAX_BYTES:
            raise BadRequest(f"over h3 a body has at most {H3_MAX_BYTES} bytes, not {length}")

    async def skip_body(self) -> None:
        """Read the request's body to its end: a client must not be cut off while it sends."""
        async for _ in self.body():
            continue

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body as it comes in; raises ClientGone when it's cut short."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body", False)
            yield message.get("body", b"")

    async def start(self, status: int, headers: Headers) -> bool:
        """Send the head of the answer; False says that no body may follow (RFC 9110, 6.4.1)."""
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        if self.head or status in (204, 304):
            await self.finish()
            return False
        return True

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; returns when the server has room for the next."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """Send the last piece of the body."""
        await self._send({"type": "http.response.body", "body": data})

    async def reply(
        self, status: int, body: bytes, content_type: bytes, headers: Headers = ()
    ) -> None:
        """Answer at once with a body of known length."""
        length = [] if status in (204, 304) else [(b"content-length", b"%d" % len(body))]
        if await self.start(status, [(b"content-type", content_type), *length, *headers]):
            await self.finish(body)

    async def json(self, value: object, status: int = 200, headers: Headers = ()) -> None:
        """Answer at once with `value` as JSON."""
        await self.reply(status, json.dumps(value).encode(), b"application/json", headers)

    async def while_connected(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`, and give it up when the client leaves. The request's body is discarded.

        ASGI servers don't all tell a sender that nobody listens any more, so an endless answer
        would go on for ever.
        """
        answer = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            unfinished = [task for task in (answer, gone) if task.cancel()]
            await asyncio.gather(*unfinished, return_exceptions=True)
        if not answer.cancelled():
            answer.result()

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
