"""stdin and stdout of a command that runs in an event loop, and their talk with a socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import os
import select
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from ftnet import cli
from ftnet.cli_ws_screen import Screen

if TYPE_CHECKING:
    import argparse

    from ftnet.errors import FtError

_PIECE = 1 << 16  # bytes that are read at once
MANY = 1 << 18  # bytes that wait to be sent before no more is read


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

    async def lines(self) -> AsyncIterator[bytes]:
        """Lines without their ends; the last one needs none."""
        kept: list[bytes] = []
        while piece := await self.read():
            first, *more = piece.split(b"\n")
            kept.append(first)
            for following in more:
                yield b"".join(kept)
                kept = [following]
        if rest := b"".join(kept):
            yield rest

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


def text_or_base64(name: str, data: bytes) -> dict[str, str]:
    """Bytes as JSON can carry them: text, else base64 (``dataEncoding``, for a name of data)."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {name: base64.b64encode(data).decode(), f"{name}Encoding": "base64"}


class Talk:
    """A socket between stdin and an outlet, and what ends it.

    Everything happens in one thread. What it writes may block, and then the peer has to wait.
    """

    def __init__(self, args: argparse.Namespace, outlet: Any) -> None:
        self._args = args
        self._outlet = outlet
        self._screen = outlet if isinstance(outlet, Screen) else None
        self._source = None if sys.stdin is None else Source(sys.stdin.fileno())
        self._socket: Any = None
        self._loop: Any = None
        self._opened = self._leaving = False
        self._interrupts = 0
        self._met: BaseException | None = None
        self._error: FtError | None = None
        self._heard_at = 0.0  # or sent the last of stdin

    def _stop(self) -> None:
        """Ends the socket: there is something that `report` raises."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Closes the socket behind what waits to be sent."""
        raise NotImplementedError

    def keystrokes(self) -> contextlib.AbstractContextManager[None]:
        """Within, a screen has the keys of its terminal."""
        return contextlib.nullcontext() if self._screen is None else self._screen.keystrokes()

    @contextlib.contextmanager
    def interrupts(self) -> Iterator[None]:
        """Within, the first Ctrl-C of a person closes the socket, the next one does not wait."""
        before = signal.getsignal(signal.SIGINT)
        if before != signal.SIG_IGN:  # as a shell has it for what runs in the background
            signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_interrupt(self, *_: Any) -> None:
        """Ctrl-C. The third one ends what the loop does not come out of, a write that blocks."""
        self._interrupts += 1
        if self._loop is None or self._interrupts > 2:
            raise KeyboardInterrupt
        with contextlib.suppress(RuntimeError):  # it is over
            self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        if self._socket is None:
            return
        if self._outlet.interactive and self._opened and not self._leaving:
            self._leave()
        else:
            self._give_up(KeyboardInterrupt())

    def _show(self, tell: Callable[..., None], *what: Any) -> None:
        """Calls the outlet; one that can't be written to ends it all."""
        if self._met is None:
            try:
                tell(*what)
            except OSError as error:
                self._give_up(error)

    def _watch_output(self) -> None:
        """A pipe that nobody reads any more ends it all."""
        watch_reader(sys.stdout.fileno(), lambda: self._give_up(BrokenPipeError()))

    async def _wait_for_quiet(self, wait: float) -> None:
        """Waits until all is sent and nothing has come for ``wait`` seconds."""
        loop = asyncio.get_running_loop()
        await self._socket.drained()
        self._heard_at = max(self._heard_at, loop.time())
        while (left := self._heard_at + wait - loop.time()) > 0:
            await asyncio.sleep(left)

    def _give_up(self, met: BaseException) -> None:
        """Ends the socket because of ``met``, which `report` raises."""
        if self._met is None:
            self._met = met
            self._stop()

    def _raise_met(self) -> None:
        met = self._met
        if isinstance(met, OSError) and not isinstance(met, BrokenPipeError):
            raise cli.CommandError(cli.WRITE_ERROR, f"can't write to stdout: {met.strerror}")
        if met is not None:
            raise met
