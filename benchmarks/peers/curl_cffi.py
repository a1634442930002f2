"""curl_cffi's AsyncSession on asyncio's own loop."""

from __future__ import annotations

import asyncio

from benchmarks.peers import Case, Sample, lacks, measure, version_of


def run(url: str, concurrency: int, total: int) -> Sample:
    from curl_cffi.requests import AsyncSession

    async def main() -> Sample:
        async with AsyncSession(max_clients=concurrency) as session:

            async def one() -> None:
                response = await session.get(url)
                _ = response.content

            return await measure(one, concurrency, total)

    return asyncio.run(main())


CASES = (
    Case(
        "curl_cffi",
        "AsyncSession on asyncio",
        run,
        210,
        lacks("curl_cffi"),
        version_of("curl_cffi"),
        most=512,
    ),
)
