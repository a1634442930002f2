"""What the Autobahn|Testsuite wants of a client: it sends back all that it hears."""

from __future__ import annotations

import asyncio
from typing import Any

import ftnet as ft

AGENT = "ftnet"


async def _said(client: ft.Client, url: str) -> str:
    """The one message that the server has to say there."""
    (message,) = [message async for message in client.connectSocket(url=url)]
    return str(message)


async def _echo(client: ft.Client, url: str, limit: float) -> None:
    """Until the server ends it, however it does."""
    task = client.connectSocket(url=url, perMessageDeflate=True)

    def send_back(event: Any) -> None:
        if task.readyState == task.OPEN:  # a case may close right behind a message
            task.send(data=event.data)

    task.onMessage(send_back)
    try:
        await asyncio.wait_for(task.closed(), limit)
    finally:
        task.abort()


async def run(url: str, limit: float) -> int:
    """Goes through all cases of a fuzzing server, which then writes its reports; how many.

    None may take longer than `limit` seconds.
    """
    with ft.Client(trust_env=False, max_buffered_bytes=None) as client:
        count = int(await _said(client, f"{url}/getCaseCount"))
        for number in range(1, count + 1):
            await _echo(client, f"{url}/runCase?case={number}&agent={AGENT}", limit)
        await client.connectSocket(url=f"{url}/updateReports?agent={AGENT}").closed()
    return count
