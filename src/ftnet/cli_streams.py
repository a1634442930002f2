"""stdin and stdout of a command that runs in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import stat
from collections.abc import Callable

from ftnet import cli

_PIECE = 1 << 16  # bytes that are read at once


class Source:
    """Bytes that come from a descriptor, in an event loop."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waits = True  # False: a file, where a read never does

    async def read(self) -> bytes:
        """What has come, as soon as something has; b"" at the end.

        CommandError when it can't be read.
        """
        while True:
            await self._wait()
            try:
                return os.read(self._descriptor, _PIECE)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno == errno.EIO and os.isatty(self._descriptor):  # it has hung up
                    return b""
                reason = f"can't read from stdin: {error.strerror}"
                raise cli.CommandError(cli.READ_ERROR, reason) from None

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        if self._waits:
            try:
                loop.add_reader(self._descriptor, _settle, ready)
            except PermissionError:
                self._waits = False
        if not self._waits:
            await asyncio.sleep(0)
            return
        try:
            await ready
        finally:
            loop.remove_reader(self._descriptor)

    def has_more(self) -> bool:
        """Whether there is something to read, now, that nobody types."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        try:
            waiting = poll.poll(0) and not os.isatty(self._descriptor)
            return bool(waiting and os.read(self._descriptor, 1))
        except OSError:
            return False


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def watch_reader(descriptor: int, gone: Callable[[], None]) -> None:
    """Calls ``gone`` when nobody reads any more what is written to a pipe."""
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return
    loop = asyncio.get_running_loop()
    poll = select.poll()
    poll.register(descriptor, 0)

    def look() -> None:
        loop.remove_reader(descriptor)
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            gone()

    with contextlib.suppress(OSError):
        loop.add_reader(descriptor, look)
