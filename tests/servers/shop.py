"""A shop to carry plans out on, by aiohttp: logs in, keeps cookies, redirects, and counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Self

from aiohttp import web

from tests.servers.websocket import Loop


class Shop:
    """Use it in a `with`; `seen` has each request as (method, path, header, body)."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.orders: Counter[str] = Counter()  # by user
        self.broken = 0  # of so many orders one is answered with 500; 0: of none

    def __enter__(self) -> Self:
        self._loop.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._runner.cleanup())

    async def _start(self) -> None:
        application = web.Application(middlewares=[self._note])
        application.add_routes(
            [
                web.post("/login", self._login),
                web.get("/items/{id}", self._item),
                web.post("/orders", self._order),
                web.get("/moved", self._moved),
                web.get("/round", self._round),
                web.get("/cookies", self._cookies),
                web.get("/wait/{ms}", self._wait),
                web.route("*", "/echo", self._echo),
            ]
        )
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        body = await request.read()
        self.seen.append((request.method, request.raw_path, dict(request.headers), body))
        answer: web.StreamResponse = await handler(request)
        return answer

    def paths(self, start: str = "") -> list[str]:
        """Those that came, in order."""
        return [path for _, path, _, _ in self.seen if path.startswith(start)]

    async def _login(self, request: web.Request) -> web.Response:
        user = (await request.json())["user"]
        answer = web.json_response({"token": f"t-{user}", "cart": {"items": [11, 22]}})
        answer.set_cookie("session", f"s-{user}")
        answer.headers["X-Id"] = "id-7"
        return answer

    async def _item(self, request: web.Request) -> web.Response:
        if not request.headers.get("Authorization", "").startswith("Bearer t-"):
            return web.json_response({"error": "log in"}, status=401)
        return web.json_response({"id": int(request.match_info["id"]), "price": 5, "ok": True})

    async def _order(self, request: web.Request) -> web.Response:
        user = request.cookies.get("session", "nobody")
        self.orders[user] += 1
        if self.broken and sum(self.orders.values()) % self.broken == 0:
            return web.Response(status=500)
        return web.json_response({"order": sum(self.orders.values())}, status=201)

    async def _moved(self, request: web.Request) -> web.Response:
        answer = web.Response(status=302, headers={"Location": "/echo?from=moved"})
        answer.set_cookie("hop", "1")
        return answer

    async def _round(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/round"})

    async def _cookies(self, request: web.Request) -> web.Response:
        return web.json_response(dict(request.cookies))

    async def _wait(self, request: web.Request) -> web.Response:
        await asyncio.sleep(int(request.match_info["ms"]) / 1e3)
        return web.Response(text="waited")

    async def _echo(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "method": request.method,
                "path": request.raw_path,
                "header": {key.lower(): value for key, value in request.headers.items()},
                "body": (await request.read()).decode(),
            }
        )
