"""The endpoints of `ftnet serve`: what each takes, and what it does."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import socket
import struct
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aiohttp import BodyPartReader, MultipartReader, WSMsgType
from aiohttp.web import (
    BaseRequest,
    HTTPRequestEntityTooLarge,
    Response,
    StreamResponse,
    WebSocketResponse,
)

from ftnet.serve import parameters
from ftnet.serve.parameters import Parameter, Refusal
from ftnet.serve.shared import MOST_QUEUED, MOST_SLOTS, Shared

MOST_BYTES = 2**30
_BLOCK = bytes(range(256)) * 256
_NOW = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s

Handler = Callable[..., Awaitable[StreamResponse]]


class Reset(Exception):
    """The connection is to be reset instead of an answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """An endpoint; its handler takes the server's `Shared`, the request, and the parameters."""

    path: str
    about: str
    handler: Handler
    parameters: tuple[Parameter, ...] = ()
    methods: tuple[str, ...] = ()  # any

    @property
    def shown(self) -> str:
        """Its path with all parameters as they are when they are not given."""
        given = "&".join(f"{one.name}={one.shown}" for one in self.parameters)
        return f"{self.path}?{given}" if given else self.path


async def until(moment: float) -> None:
    """Wait for ``moment``, in seconds of the monotonic clock."""
    await asyncio.sleep(moment - time.monotonic())


def _text(text: str, status: int = 200, header: Mapping[str, str] | None = None) -> Response:
    return Response(text=text, status=status, headers=header)


def _json(value: object, header: Mapping[str, str] | None = None) -> Response:
    return Response(
        body=json.dumps(value).encode(), content_type="application/json", headers=header
    )


async def _body(request: BaseRequest) -> bytes:
    try:
        return await request.read()
    except HTTPRequestEntityTooLarge as error:
        raise Refusal(413, f"{request.path}: the body has over 1 MiB") from error


# ---- what is at once


async def _list(shared: Shared, request: BaseRequest) -> Response:
    return _text(listing() + "\n")


async def _hello(shared: Shared, request: BaseRequest) -> Response:
    return _text("Hello, World!")


async def _bytes(shared: Shared, request: BaseRequest, size: int) -> StreamResponse:
    if size <= len(_BLOCK):
        return Response(body=_BLOCK[:size])
    answer = StreamResponse(headers={"content-type": "application/octet-stream"})
    answer.content_length = size
    await answer.prepare(request)
    if request.method != "HEAD":
        for start in range(0, size, len(_BLOCK)):
            await answer.write(_BLOCK[: size - start])
    await answer.write_eof()
    return answer


async def _echo(shared: Shared, request: BaseRequest) -> Response:
    body = await _body(request)
    told = {
        "method": request.method,
        "path": request.path,
        "query": request.query_string,
        "headers": [[name.lower(), value] for name, value in request.headers.items()],
        "length": len(body),
        "body": body.decode("utf-8", "replace"),
    }
    if "json" in request.content_type:
        told["json"] = _decoded(request, body)
    return _json(told)


async def _stats(shared: Shared, request: BaseRequest) -> Response:
    return _json(
        {
            "seconds": round(time.monotonic() - shared.began, 3),
            "workers": shared.workers,
            "endpoints": shared.counters.to_dict(),
        }
    )


# ---- what is slow, or fails


async def _slow(shared: Shared, request: BaseRequest, ms: float, jitter: float) -> Response:
    await until(time.monotonic() + ms + jitter * random.random())
    return _text("slow")


async def _stall(shared: Shared, request: BaseRequest, every: float, for_: float) -> Response:
    if for_ >= every:
        raise Refusal(400, f"/stall: for is {for_:g} s, it takes less than every, {every:g} s")
    now = time.monotonic()
    left = every - (now - shared.began) % every
    if left <= for_:
        await until(now + left)
    return _text("not stalled")


async def _fail(
    shared: Shared, request: BaseRequest, share: int, status: int, how: str
) -> Response:
    if not shared.shares.hit(share):
        return _text("well")
    if how == "reset":
        raise Reset
    if how == "hang":
        await asyncio.get_running_loop().create_future()  # the client's leaving ends it
    return _text("failed, as asked", status)


async def _work(
    shared: Shared, request: BaseRequest, ms: float, slots: int, queue: int | None
) -> Response:
    done = shared.places.take(slots, ms, queue, time.monotonic())
    if done is None:
        return _text(f"{queue} are waiting", 503)
    await until(done)
    return _text("done")


# ---- what a plan can do in steps


def _decoded(request: BaseRequest, body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise Refusal(400, f"{request.path}: the body is no JSON: {error}") from error


def _token(shared: Shared, user: str) -> str:
    name = user.encode()
    return name.hex() + "." + hmac.new(shared.key, name, hashlib.sha256).hexdigest()[:32]


async def _login(shared: Shared, request: BaseRequest) -> Response:
    given = _decoded(request, await _body(request))
    for name in ("user", "password"):
        if not isinstance(given, dict) or not isinstance(given.get(name), str) or not given[name]:
            raise Refusal(400, '/login: the body must be {"user": "...", "password": "..."}')
    token = _token(shared, given["user"])
    number = zlib.crc32(given["user"].encode()) % 1_000_000
    cookie = {"set-cookie": f"token={token}; Path=/; HttpOnly"}
    return _json({"token": token, "id": number}, cookie)


def _user(shared: Shared, request: BaseRequest) -> str:
    """Who has logged in, by the token; raises Refusal."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = request.cookies.get("token", "")
    try:
        user = bytes.fromhex(token.partition(".")[0]).decode()
    except ValueError:
        user = ""
    if not user or not hmac.compare_digest(token.encode(), _token(shared, user).encode()):
        text = "/items: takes the token of /login, as authorization: Bearer TOKEN or as the cookie"
        raise Refusal(401, text, {"www-authenticate": "Bearer"})
    return user


async def _items(shared: Shared, request: BaseRequest) -> Response:
    user = _user(shared, request)
    name = request.path.removeprefix("/items/")
    if not (name.isascii() and name.isdigit() and len(name) < 16):
        raise Refusal(404, f"/items: {name!r} is no item, their names are whole numbers")
    number = int(name)
    return _json({"id": number, "name": f"item {number}", "price": number % 100, "owner": user})


async def _upload(shared: Shared, request: BaseRequest) -> Response:
    if not request.content_type.startswith("multipart/"):
        return _json({"length": await _length(request.content.read)})
    try:
        parts = [part async for part in _parts(await request.multipart())]
    except (ValueError, AssertionError, RuntimeError) as error:
        raise Refusal(400, f"/upload: the body is not as its content-type says: {error}") from error
    return _json({"length": sum(part["length"] for part in parts), "parts": parts})


async def _length(read: Callable[[int], Awaitable[bytes]]) -> int:
    length = 0
    while piece := await read(2**16):
        length += len(piece)
    return length


async def _parts(reader: MultipartReader) -> Any:
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader):
            raise ValueError("a part has parts")
        length = await _length(part.read_chunk)
        yield {"name": part.name, "filename": part.filename, "length": length}


async def _ws(shared: Shared, request: BaseRequest) -> StreamResponse:
    answer = WebSocketResponse(max_msg_size=2**24, compress=False)
    if not answer.can_prepare(request):
        raise Refusal(
            426, "/ws: takes a WebSocket, as ftnet ws opens one", {"upgrade": "websocket"}
        )
    await answer.prepare(request)
    async for message in answer:
        if message.type is WSMsgType.TEXT:
            await answer.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await answer.send_bytes(message.data)
    return answer


ENDPOINTS = (
    Endpoint("/", "this list", _list),
    Endpoint("/hello", "13 bytes of text", _hello),
    Endpoint("/bytes", "so many bytes", _bytes,
             (parameters.whole("size", 1000, 0, MOST_BYTES),)),
    Endpoint("/slow", "answers after ms, and up to jitter more", _slow,
             (parameters.milliseconds("ms", 100), parameters.milliseconds("jitter", 0))),
    Endpoint("/stall", "at once, but at the end of every 10s not at all for 1s", _stall,
             (parameters.time("every", "10s"), parameters.time("for", "1s"))),
    Endpoint("/fail", "fails for exactly that share; how: status, reset or hang", _fail,
             (parameters.share("share", "0.01"), parameters.whole("status", 503, 400, 599),
              parameters.choice("how", "status", "reset", "hang"))),
    Endpoint("/work", "holds one of slots for ms, in turn; 503 if queue others wait", _work,
             (parameters.milliseconds("ms", 5), parameters.whole("slots", 8, 1, MOST_SLOTS),
              parameters.whole("queue", None, 0, MOST_QUEUED))),
    Endpoint("/login", 'POST {"user": ..., "password": ...}: a token (also as cookie), an id',
             _login, methods=("POST",)),
    Endpoint("/items/{id}", "JSON, for who sends the token: Bearer or cookie", _items),
    Endpoint("/echo", "the request as JSON: method, headers, body", _echo),
    Endpoint("/upload", "POST, PUT; multipart or not: the lengths of what came", _upload,
             methods=("POST", "PUT")),
    Endpoint("/ws", "a WebSocket that sends back what comes", _ws, methods=("GET",)),
    Endpoint("/stats", "requests since the start, by endpoint and status", _stats),
)  # fmt: skip
_BY_PATH = {one.path: one for one in ENDPOINTS}
_ITEMS = _BY_PATH["/items/{id}"]
_NOWHERE = "other"
PATHS = (*_BY_PATH, _NOWHERE)


def listing() -> str:
    """The endpoints, one a line."""
    width = max(len(one.shown) for one in ENDPOINTS)
    return "\n".join(f"{one.shown:<{width}}  {one.about}" for one in ENDPOINTS)


@lru_cache(4096)
def _arguments(endpoint: Endpoint, query: str) -> dict[str, Any]:
    return parameters.values(endpoint.path, endpoint.parameters, query)


def _endpoint(path: str) -> Endpoint | None:
    return _BY_PATH.get(path) or (_ITEMS if path.startswith("/items/") else None)


async def _answer(
    shared: Shared, request: BaseRequest, endpoint: Endpoint | None
) -> StreamResponse:
    if endpoint is None:
        raise Refusal(404, f"{request.path} is not here; here is:\n{listing()}")
    if endpoint.methods and request.method not in endpoint.methods:
        takes = ", ".join(endpoint.methods)
        text = f"{endpoint.path}: the method is {request.method}, it takes {takes}"
        raise Refusal(405, text, {"allow": takes})
    arguments = _arguments(endpoint, request.rel_url.raw_query_string)
    return await endpoint.handler(shared, request, **arguments)


def reset(request: BaseRequest) -> None:
    """Close the connection so that the client is sent RST instead of FIN."""
    if request.transport is not None:
        sock = request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
        request.transport.abort()


def handler(shared: Shared) -> Callable[[BaseRequest], Awaitable[StreamResponse]]:
    """What aiohttp calls for each request."""
    counters = shared.counters

    async def handle(request: BaseRequest) -> StreamResponse:
        endpoint = _endpoint(request.path)
        path = endpoint.path if endpoint else _NOWHERE
        counters.received(path)
        try:
            if shared.slower:
                await asyncio.sleep(shared.slower)
            answer = await _answer(shared, request, endpoint)
        except Refusal as refusal:
            answer = _text(refusal.text + "\n", refusal.status, refusal.header)
        except Reset:
            counters.reset(path)
            reset(request)
            return Response()  # goes nowhere
        except (asyncio.CancelledError, ConnectionError):
            counters.unanswered(path)
            raise
        counters.answered(path, answer.status)
        return answer

    return handle
