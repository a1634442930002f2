"""ftnet in its three modes. Each request has its profile and decodes JSON: the default settings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from benchmarks.peers import Case, Sample, Stopwatch, lacks, measure, version_of


def _client(concurrency: int) -> Any:
    import ftnet as ft

    return ft.Client(max_connections=concurrency, max_connections_per_host=concurrency)


class _Loop:
    """A closed loop of callbacks: each success starts the next request."""

    def __init__(self, client: Any, url: str, then: Callable[[], object]) -> None:
        self._request = client.request
        self._url = url
        self._success, self._fail = self._again, self._failed  # bound once
        self._then = then
        self._left = self._open = 0
        self.errors: list[Exception] = []

    def start(self, concurrency: int, total: int) -> None:
        self._open = min(concurrency, total)
        self._left = total - self._open
        for _ in range(self._open):
            self._request(url=self._url, success=self._success, fail=self._fail)

    def _again(self, _result: Any) -> None:
        if self._left:
            self._left -= 1
            self._request(url=self._url, success=self._success, fail=self._fail)
        else:
            self._end()

    def _failed(self, error: Exception) -> None:
        self.errors.append(error)
        self._left = 0
        self._end()

    def _end(self) -> None:
        self._open -= 1
        if not self._open:
            self._then()

    def check(self) -> None:
        if self.errors:
            raise self.errors[0]


def _check(result: Any) -> None:
    """That a request did what is measured: a status, decoded data and a full profile."""
    profile = result.profile
    if result.statusCode != 200 or not profile.responseEnd >= profile.fetchStart > 0:
        raise RuntimeError(f"unexpected result: {result}")
    if result.header["content-type"] == "application/json" and result.data["id"] != 1:
        raise RuntimeError(f"not decoded: {result.data!r}")


def run(url: str, concurrency: int, total: int) -> Sample:
    import ftnet as ft

    with _client(concurrency) as client:
        tasks: list[Any] = []
        ft.run(lambda: tasks.append(client.request(url=url)))
        _check(tasks[0].result(30))
        loop = _Loop(client, url, lambda: None)
        ft.run(loop.start, concurrency, concurrency)
        watch = Stopwatch()
        watch.start()
        ft.run(loop.start, concurrency, total)
        loop.check()
    return watch.sample(total)


def run_thread(url: str, concurrency: int, total: int) -> Sample:
    ended = threading.Event()
    with _client(concurrency) as client:
        _check(client.request(url=url).result(30))
        loop = _Loop(client, url, ended.set)
        loop.start(concurrency, concurrency)
        ended.wait()
        ended.clear()
        watch = Stopwatch()
        watch.start()
        loop.start(concurrency, total)
        ended.wait()
        loop.check()
    return watch.sample(total)


def run_await(url: str, concurrency: int, total: int) -> Sample:
    import uvloop

    async def main() -> Sample:
        with _client(concurrency) as client:
            _check(await client.request(url=url))
            return await measure(lambda: client.request(url=url), concurrency, total)

    return uvloop.run(main())


_VERSION = version_of("ftnet", "pycurl")
CASES = (
    Case("ftnet", "ft.run(), callbacks", run, 17, lacks("ftnet"), _VERSION),
    Case("ftnet", "background thread", run_thread, 20, lacks("ftnet"), _VERSION),
    Case("ftnet", "await on uvloop", run_await, 24, lacks("ftnet", "uvloop"), _VERSION),
)
