"""pycurl's AsyncCurlMulti awaited on uvloop; handles are reused."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Case, Sample, lacks, measure, version_of


def run(url: str, concurrency: int, total: int) -> Sample:
    import pycurl
    import uvloop

    async def main() -> Sample:
        async with pycurl.AsyncCurlMulti() as multi:
            free: list[Any] = []

            async def one() -> None:
                handle = free.pop() if free else pycurl.Curl()
                pieces: list[bytes] = []
                handle.setopt(pycurl.URL, url)
                handle.setopt(pycurl.WRITEFUNCTION, pieces.append)
                await multi.perform(handle)
                handle.getinfo(pycurl.RESPONSE_CODE)
                b"".join(pieces)
                free.append(handle)

            return await measure(one, concurrency, total)

    return uvloop.run(main())


CASES = (
    Case(
        "pycurl",
        "AsyncCurlMulti on uvloop",
        run,
        48,
        lacks("pycurl", "uvloop"),
        version_of("pycurl", "uvloop"),
    ),
)
