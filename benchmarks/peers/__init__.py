"""The clients that are compared: one file each, holding its `CASES`.

A peer is imported inside its `run`, so that the table of cases can be read where it is missing,
and a case runs in a process of its own: `python -m benchmarks.child`. `run(url, concurrency,
total)` opens its connections with requests that are not measured, then measures `total` requests
as a closed loop of `concurrency` at once and returns the `Sample`. It raises when a request fails.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import resource
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

FILES = (
    "ftnet",
    "pycurl_multi",
    "pycurl_async",
    "libcurl_c",
    "wrk",
    "geventhttpclient",
    "aiohttp",
    "curl_cffi",
    "httpx",
    "requests",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured run: how many requests, in how many seconds, for how many CPU seconds."""

    requests: int
    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Case:
    """A client in one of its modes.

    `cost` is a rough guess of its CPU us per request, to size its runs; `most` the highest
    concurrency it is asked for (where more is pointless or takes for ever); `missing()` says what
    has to be installed, "" if nothing; `version()` what runs.
    """

    client: str
    mode: str
    run: Callable[[str, int, int], Sample]
    cost: float
    missing: Callable[[], str]
    version: Callable[[], str]
    most: int = 4096


def load(name: str) -> tuple[Case, ...]:
    """The cases of one file of this package."""
    cases: tuple[Case, ...] = importlib.import_module(f"{__name__}.{name}").CASES
    return cases


def lacks(*modules: str) -> Callable[[], str]:
    """A `missing` for modules that pip installs."""

    def missing() -> str:
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else ""

    return missing


def version_of(*distributions: str) -> Callable[[], str]:
    """A `version` for distributions that pip installs."""
    return lambda: ", ".join(f"{name} {importlib.metadata.version(name)}" for name in distributions)


class Stopwatch:
    """Wall and CPU time of this process: from start() to sample()."""

    def start(self) -> None:
        self._cpu = cpu_seconds(resource.RUSAGE_SELF)
        self._start = time.perf_counter()

    def sample(self, requests: int) -> Sample:
        """What passed since start(), for so many requests."""
        seconds = time.perf_counter() - self._start
        return Sample(requests, seconds, cpu_seconds(resource.RUSAGE_SELF) - self._cpu)


def cpu_seconds(who: int) -> float:
    """User and system time of this process, or of its ended children."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def numbered(concurrency: int, total: int, watch: Stopwatch) -> Iterator[int]:
    """What the workers of a closed loop share: the clock starts when all connections are in use."""
    for number in range(2 * concurrency + total):
        if number == 2 * concurrency:
            watch.start()
        yield number


async def measure(one: Callable[[], Awaitable[object]], concurrency: int, total: int) -> Sample:
    """A closed loop of `concurrency` workers that await `one()` again and again."""
    import asyncio

    watch = Stopwatch()
    left = numbered(concurrency, total, watch)

    async def worker() -> None:
        for _ in left:
            await one()

    await one()  # alone: httpx costs half as much when its pool does not start with a crowd
    await asyncio.gather(*[worker() for _ in range(concurrency)])
    return watch.sample(total)
