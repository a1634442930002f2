"""The endpoints of the test server, as one ASGI application without a framework.

The table of endpoints stands in `ftnet.testing.server`.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Coroutine, Iterator
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import quote

from ftnet.testing.exchange import (
    BadRequest,
    ClientGone,
    Exchange,
    Receive,
    Scope,
    Send,
    to_number,
)

TEXT = b"text/plain; charset=utf-8"
BINARY = b"application/octet-stream"
WIDGET = {
    "id": 1,
    "name": "widget",
    "tags": ["a", "b", "c"],
    "price": 12.5,
    "nested": {"x": 1, "y": [1, 2, 3]},
}
MAX_BYTES = 2**40
_CYCLE = bytes(range(251))
_BLOCK = _CYCLE * 256
_ZEROS = bytes(2**20)
_CHARSET_TEXTS = {
    "utf-8": "Grüße, 世界, привет, 😀",
    "utf-16": "Grüße, 世界, 😀",
    "iso-8859-1": "Grüße, garçon",
    "iso-8859-15": "Preis: 10 €",
    "windows-1251": "Привет, мир",
    "koi8-r": "Привет, мир",
    "gbk": "你好世界",
    "gb18030": "你好世界 😀",
    "big5": "你好世界",
    "shift_jis": "こんにちは、世界",
    "euc-jp": "こんにちは、世界",
    "euc-kr": "안녕하세요",
}


def pattern(length: int, offset: int = 0) -> bytes:
    """`length` bytes of the body of /bytes and /stream from `offset`: byte k is k mod 251."""
    start = offset % len(_CYCLE)
    return (_CYCLE * ((start + length) // len(_CYCLE) + 1))[start : start + length]


def charset_text(name: str) -> str:
    """The text that /charset/{name} encodes: "Hello" for a charset without a sample."""
    return _CHARSET_TEXTS.get(name.lower(), "Hello")


def _blocks(length: int) -> Iterator[bytes]:
    for _ in range(length // len(_BLOCK)):
        yield _BLOCK
    if rest := length % len(_BLOCK):
        yield _BLOCK[:rest]


async def echo(exchange: Exchange) -> None:
    scope = exchange.scope
    body = b"".join([piece async for piece in exchange.body()])
    await exchange.json(
        {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in scope["headers"]],
            "body": base64.b64encode(body).decode("ascii"),
            "body_text": body.decode("utf-8", "replace"),
            "http_version": scope["http_version"],
            "client": list(scope["client"] or ()),
        }
    )


async def bytes_(exchange: Exchange) -> None:
    length = to_number("n", exchange.args[0], 0, MAX_BYTES)
    exchange.allow(length)
    headers = [(b"content-type", BINARY), (b"content-length", b"%d" % length)]
    if await exchange.start(200, headers):
        for block in _blocks(length):
            await exchange.write(block)
        await exchange.finish()


async def status(exchange: Exchange) -> None:
    code = to_number("code", exchange.args[0], 200, 999)
    await exchange.json({"status": code}, code)


async def redirect(exchange: Exchange) -> None:
    hops = to_number("n", exchange.args[0], 0, 1000)
    code = exchange.number("status", 302, 300, 399)
    if hops == 0:
        await exchange.json({"redirected": True})
        return
    query = f"?status={code}" if "status" in exchange.query else ""
    location = f"/redirect/{hops - 1}{query}".encode()
    await exchange.json({"left": hops}, code, [(b"location", location)])


async def redirect_to(exchange: Exchange) -> None:
    code = exchange.number("status", 302, 300, 399)
    if "url" not in exchange.query:
        raise BadRequest("url is missing")
    location = quote(exchange.query["url"], safe="!#$%&'()*+,/:;=?@[]~").encode()
    await exchange.json({"status": code}, code, [(b"location", location)])


async def cookies(exchange: Exchange) -> None:
    sent = b"; ".join(value for name, value in exchange.scope["headers"] if name == b"cookie")
    pairs = (pair.partition("=") for pair in sent.decode("latin-1").split("; ") if pair)
    await exchange.json({"cookies": {name: value for name, _, value in pairs}})


async def set_cookies(exchange: Exchange) -> None:
    if exchange.args[0] != "set":
        await not_found(exchange)
        return
    headers = [
        (b"set-cookie", f"{quote(name)}={quote(value)}; Path=/".encode())
        for name, value in exchange.query.items()
    ]
    await exchange.json({"set": exchange.query}, headers=headers)


async def gzipped(exchange: Exchange) -> None:
    body = gzip.compress(json.dumps(WIDGET | {"encoding": "gzip"}).encode())
    await exchange.reply(200, body, b"application/json", [(b"content-encoding", b"gzip")])


async def brotlied(exchange: Exchange) -> None:
    try:
        compress: Callable[[bytes], bytes] = import_module("brotli").compress
    except ImportError:
        await exchange.json({"error": "the brotli package is not installed"}, 501)
        return
    body = compress(json.dumps(WIDGET | {"encoding": "br"}).encode())
    await exchange.reply(200, body, b"application/json", [(b"content-encoding", b"br")])


async def bomb(exchange: Exchange) -> None:
    left = to_number("n", exchange.args[0], 0, MAX_BYTES)
    exchange.allow(left)
    headers = [(b"content-type", BINARY), (b"content-encoding", b"gzip")]
    if not await exchange.start(200, headers):
        return
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    while left:
        size = min(left, len(_ZEROS))
        left -= size
        if packed := packer.compress(_ZEROS[:size]):
            await exchange.write(packed)
        await asyncio.sleep(0)  # let other exchanges in between two pieces of work
    await exchange.finish(packer.flush())


async def delay(exchange: Exchange) -> None:
    before, between = exchange.seconds("before"), exchange.seconds("between")
    chunks = exchange.number("chunks", 1, high=100_000)
    await asyncio.sleep(before)
    if await exchange.start(200, [(b"content-type", TEXT)]):
        for number in range(chunks):
            if number:
                await asyncio.sleep(between)
            await exchange.write(b"chunk %d\n" % number)
        await exchange.finish()


async def stream(exchange: Exchange) -> None:
    count = to_number("count", exchange.args[0], 0, 10**9)
    size = to_number("size", exchange.args[1], 1, 2**26)
    interval = exchange.seconds("interval")
    exchange.allow(count * size)
    if await exchange.start(200, [(b"content-type", BINARY)]):
        for number in range(count):
            if interval and number:
                await asyncio.sleep(interval)
            await exchange.write(pattern(size, number * size))
        await exchange.finish()


async def drip(exchange: Exchange) -> None:
    length = exchange.number("bytes", 10)
    rate = exchange.number("rate", 10, 1)
    exchange.allow(length)
    headers = [(b"content-type", BINARY), (b"content-length", b"%d" % length)]
    if not await exchange.start(200, headers):
        return
    clock = asyncio.get_running_loop()
    begin = clock.time()
    piece = max(1, rate // 20)
    for offset in range(0, length, piece):
        await asyncio.sleep(begin + offset / rate - clock.time())
        await exchange.write(pattern(min(piece, length - offset), offset))
    await exchange.finish()


async def headers(exchange: Exchange) -> None:
    count = to_number("n", exchange.args[0], 0, 100_000)
    numbered = [(b"x-header-%d" % n, b"value-%d" % n) for n in range(count)]
    repeated = [
        (b"x-repeated", b"one"),
        (b"x-repeated", b"two"),
        (b"set-cookie", b"first=1; Path=/headers"),
        (b"set-cookie", b"second=2; Path=/headers"),
    ]
    await exchange.json({"headers": count}, headers=[*numbered, *repeated])


async def charset(exchange: Exchange) -> None:
    name = exchange.args[0]
    try:
        body = charset_text(name).encode(name)
    except (LookupError, UnicodeError) as error:
        raise BadRequest(f"no such charset: {name!r}") from error
    await exchange.reply(200, body, b"text/plain; charset=" + name.encode("ascii"))


async def sse(exchange: Exchange) -> None:
    count, interval = exchange.number("count", 3), exchange.seconds("interval")
    head = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    if await exchange.start(200, head):
        for number in range(count):
            if interval and number:
                await asyncio.sleep(interval)
            await exchange.write(b'id: %d\nevent: tick\ndata: {"n":%d}\n\n' % (number, number))
        await exchange.finish()


async def upload(exchange: Exchange) -> None:
    rate = exchange.number("rate", 0)
    clock = asyncio.get_running_loop()
    begin = clock.time()
    length, digest = 0, hashlib.sha256()
    async for piece in exchange.body():
        length += len(piece)
        digest.update(piece)
        if rate:
            await asyncio.sleep(begin + length / rate - clock.time())
    await exchange.json({"length": length, "sha256": digest.hexdigest()})


async def early(exchange: Exchange) -> None:
    await exchange.json({"error": "too large"}, 413)


async def not_found(exchange: Exchange) -> None:
    await exchange.json({"error": f"no such endpoint: {exchange.scope['path']}"}, 404)


class _Route(NamedTuple):
    handler: Callable[[Exchange], Coroutine[Any, Any, None]]
    lasts: bool = False  # may take long without reading the request: watch for the client's leaving
    reads: bool = False  # deals with the request's body itself


# By the first part of the path and how many parts follow it.
_ROUTES = {
    ("echo", 0): _Route(echo, reads=True),
    ("bytes", 1): _Route(bytes_, lasts=True),
    ("status", 1): _Route(status),
    ("redirect", 1): _Route(redirect),
    ("redirect-to", 0): _Route(redirect_to),
    ("cookies", 0): _Route(cookies),
    ("cookies", 1): _Route(set_cookies),
    ("gzip", 0): _Route(gzipped),
    ("br", 0): _Route(brotlied),
    ("bomb", 1): _Route(bomb, lasts=True),
    ("delay", 0): _Route(delay, lasts=True),
    ("stream", 2): _Route(stream, lasts=True),
    ("drip", 0): _Route(drip, lasts=True),
    ("headers", 1): _Route(headers),
    ("charset", 1): _Route(charset),
    ("sse", 0): _Route(sse, lasts=True),
    ("upload", 0): _Route(upload, reads=True),
    ("early", 0): _Route(early, reads=True),
}
_NOT_FOUND = _Route(not_found)


def _fixed(content_type: bytes, body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    head = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    return (
        {"type": "http.response.start", "status": 200, "headers": head},
        {"type": "http.response.body", "body": body},
    )


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# Answers that never change are made once, so that the server is not what a benchmark measures.
_FIXED = {
    "/": _fixed(b"application/json", b'{"ok":true}'),
    "/hello": _fixed(TEXT, b"Hello, World!"),
    "/json": _fixed(b"application/json", _compact(WIDGET)),
}
_WITH_BODY = ("POST", "PUT", "DELETE", "PATCH")
_NO_BODY = {"type": "http.response.body", "body": b""}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application; serves the scope type "http" only."""
    if scope["type"] != "http":
        raise ValueError(f"the test server speaks HTTP only, not {scope['type']!r}")
    fixed = _FIXED.get(scope["path"])
    if fixed is not None:
        if scope["method"] in _WITH_BODY:
            try:
                await Exchange(scope, receive, send, ()).skip_body()
            except ClientGone:
                return
        await send(fixed[0])
        await send(_NO_BODY if scope["method"] == "HEAD" else fixed[1])
        return
    name, *args = scope["path"][1:].split("/")
    route = _ROUTES.get((name, len(args)), _NOT_FOUND)
    exchange = Exchange(scope, receive, send, args)
    try:
        if not route.reads and scope["method"] in _WITH_BODY:
            await exchange.skip_body()
        if route.lasts:
            await exchange.while_connected(route.handler(exchange))
        else:
            await route.handler(exchange)
    except BadRequest as error:
        await exchange.json({"error": str(error)}, 400)
    except ClientGone:
        return
