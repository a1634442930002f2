"""httpx's AsyncClient on uvloop."""

from __future__ import annotations

from benchmarks.peers import Case, Sample, lacks, measure, version_of


def run(url: str, concurrency: int, total: int) -> Sample:
    import httpx
    import uvloop

    async def main() -> Sample:
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        async with httpx.AsyncClient(limits=limits) as client:

            async def one() -> None:
                response = await client.get(url)
                _ = response.content

            return await measure(one, concurrency, total)

    return uvloop.run(main())


CASES = (
    Case(
        "httpx",
        "AsyncClient on uvloop",
        run,
        1800,
        lacks("httpx", "uvloop"),
        version_of("httpx", "uvloop"),
        most=64,  # its pool is scanned for every request: minutes at 512
    ),
)
