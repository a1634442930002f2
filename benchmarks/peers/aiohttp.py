"""aiohttp on uvloop, as it is and with a tracer that notes the time of each of its signals."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from benchmarks.peers import Case, Sample, lacks, measure, version_of

SIGNALS = (
    "on_request_start",
    "on_request_end",
    "on_connection_reuseconn",
    "on_connection_create_start",
    "on_connection_create_end",
    "on_dns_resolvehost_start",
    "on_dns_resolvehost_end",
    "on_request_headers_sent",
    "on_response_chunk_received",
)


def _tracer() -> Any:
    import aiohttp

    async def note(_session: object, context: SimpleNamespace, _params: object) -> None:
        context.time = time.perf_counter()

    tracer = aiohttp.TraceConfig()
    for name in SIGNALS:
        getattr(tracer, name).append(note)
    return tracer


def _run(url: str, concurrency: int, total: int, traced: bool) -> Sample:
    import aiohttp
    import uvloop

    async def main() -> Sample:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency),
            trace_configs=[_tracer()] if traced else [],
        ) as session:

            async def one() -> None:
                async with session.get(url) as response:
                    await response.read()

            return await measure(one, concurrency, total)

    return uvloop.run(main())


def run(url: str, concurrency: int, total: int) -> Sample:
    return _run(url, concurrency, total, traced=False)


def run_traced(url: str, concurrency: int, total: int) -> Sample:
    return _run(url, concurrency, total, traced=True)


_MISSING = lacks("aiohttp", "uvloop")
_VERSION = version_of("aiohttp", "uvloop")
CASES = (
    Case("aiohttp", "on uvloop", run, 76, _MISSING, _VERSION),
    Case("aiohttp", "on uvloop, traced", run_traced, 104, _MISSING, _VERSION),
)
