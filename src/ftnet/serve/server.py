"""Runs the endpoints on aiohttp, in one process or several, until asked to end."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import resource
import select
import selectors
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

from aiohttp.web import Server, ServerRunner, SockSite

from ftnet.serve.endpoints import PATHS, handler
from ftnet.serve.shared import Shared
from ftnet.testing import ports

STOP_SECONDS = 0.25  # for answers under way at the end
_BACKLOG = 4096
_OPEN_MAX = 10_240  # of macOS, which allows no more where it says that there is no limit


class _FineSelector(selectors.DefaultSelector):
    """Waits to the microsecond; epoll would round up to the next millisecond."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            select.select([self], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(_FineSelector())


def serve(
    host: str, port: int, workers: int, ready: Callable[[str], None], *, slower: float = 0.0
) -> None:
    """Serve until SIGINT or SIGTERM; ``ready`` is told the URL, every answer waits ``slower`` s.

    Raises OSError when the port can't be had, RuntimeError when a worker ended on its own.
    """
    _allow_connections()
    sockets = ports.share(host, port, workers)
    shared = Shared(PATHS, workers, slower)
    with _forked(sockets[1:], shared) as others, asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(_lead(sockets[0], shared, others, ready))


def _allow_connections() -> None:
    """Raise the limit of open files, and so of connections, as far as this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_MAX if hard == resource.RLIM_INFINITY else hard
    if soft not in (most, resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextmanager
def _forked(sockets: Sequence[socket.socket], shared: Shared) -> Iterator[list[BaseProcess]]:
    """Workers 1, 2, ... in processes of their own: they end when the pipe from this one closes."""
    reading, writing = os.pipe()
    context = multiprocessing.get_context("fork")
    others: list[BaseProcess] = [
        context.Process(target=_follow, args=(number, sock, shared, reading, writing))
        for number, sock in enumerate(sockets, 1)
    ]
    for process in others:
        process.start()
    for sock in sockets:
        sock.close()
    try:
        yield others
    finally:
        os.close(writing)
        os.close(reading)
        for process in others:
            process.join()


def _follow(number: int, sock: socket.socket, shared: Shared, reading: int, writing: int) -> None:
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.SIG_IGN)
    os.close(writing)
    shared.counters.use_block(number)

    async def run() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(reading, ended.set)
        await _until(ended, sock, shared)

    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(run())


async def _lead(
    sock: socket.socket, shared: Shared, others: list[BaseProcess], ready: Callable[[str], None]
) -> None:
    loop, ended, asked = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def ask() -> None:
        asked.set()
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    for process in others:
        loop.add_reader(process.sentinel, ended.set)
    await _until(ended, sock, shared, lambda: ready(_url(sock)))
    for process in others:
        loop.remove_reader(process.sentinel)
    if not asked.is_set():
        raise RuntimeError("a worker ended on its own")


async def _until(
    ended: asyncio.Event,
    sock: socket.socket,
    shared: Shared,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve on ``sock`` until ``ended``, and then what is under way for STOP_SECONDS."""
    server = Server(handler(shared), handler_cancellation=True, access_log=None)
    runner = ServerRunner(server, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    try:
        await SockSite(runner, sock, backlog=_BACKLOG).start()
        gc.freeze()  # what is there stays: collecting need not look at it
        ready()
        await ended.wait()
    finally:
        await runner.cleanup()


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
