"""A client's socket and a hostile server: they meet, and the story of it is looked at."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import turn
from tests.servers.awkward import ThrowawayTls
from tests.servers.hostile_ws import Behaviour, HostileServer, WsPeer
from tests.sockets import Story, socket

LIMIT = 10.0
SOON = 8.0  # s: less than any wait of a server, far more than what takes a second or two
MEGABYTE = 1 << 20
#: The lines of a right answer; ACCEPT stands for what belongs there.
GOOD = (
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Accept: ACCEPT",
)
DEFLATE = {"perMessageDeflate": True}


def answer(*lines: str, then: bytes = b"", hold: bool = False) -> Behaviour:
    """Answers with these lines, ACCEPT replaced, and ends the connection or waits for its end."""

    def speak(peer: WsPeer) -> None:
        peer.read_opening()
        head = "\r\n".join([*lines, "", ""]).replace("ACCEPT", peer.accept)
        peer.send(head.encode("latin-1"), then)
        if hold:
            peer.drain()

    return speak


# --- openings that fail ---------------------------------------------------------------------------


def check_refused(story: Story, raised: BaseException) -> ft.FtError:
    """The rules of a socket that could not be opened."""
    assert story.names == ["error", "close"]
    error, end = (event for _, event in story.events)
    assert raised is error
    assert (end.code, end.reason) == (1006, "")
    assert error.errMsg.startswith("connectSocket:fail "), error.errMsg
    assert error.errMsg.isprintable(), error.errMsg
    return error


async def _awaited(client: ft.Client, url: str, **options: Any) -> tuple[Story, BaseException]:
    task, story = socket(client, url, **options)
    with pytest.raises(ft.FtError) as caught:
        await asyncio.wait_for(task.opened(), LIMIT)
    await asyncio.wait_for(task.closed(), LIMIT)
    assert task.readyState == task.CLOSED
    return story, caught.value


def by_asyncio(client: ft.Client, url: str, **options: Any) -> tuple[Story, BaseException]:
    return asyncio.run(_awaited(client, url, **options))


def by_thread(client: ft.Client, url: str, **options: Any) -> tuple[Story, BaseException]:
    task, story = socket(client, url, **options)
    story.end()
    with pytest.raises(ft.FtError) as caught:
        task.wait_opened(LIMIT)
    return story, caught.value


WAYS = {"asyncio": by_asyncio, "thread": by_thread}


def refused(
    behaviour: Behaviour, way: str = "asyncio", *, tls: ThrowawayTls | None = None, **options: Any
) -> ft.FtError:
    """The error of a socket whose opening this behaviour spoils."""
    context, ca = (tls.context, tls.ca) if tls else (None, None)
    with HostileServer(behaviour, tls=context) as server:
        with ft.Client(ca=ca) as client:
            story, raised = WAYS[way](client, server.ws_url, **options)
        server.wait_until_alone()
        return check_refused(story, raised)


# --- sockets that open ----------------------------------------------------------------------------


class Meeting:
    """A socket, its story, and the server it is connected to."""

    def __init__(
        self, server: HostileServer, client: ft.Client, deaf: bool, options: Mapping[str, Any]
    ) -> None:
        self.server = server
        self.client = client
        if deaf:
            self.task, self.story = client.connectSocket(url=server.ws_url, **options), Story()
            self.task.onOpen(self.story.note("open"))
            self.task.onError(self.story.note("error"))
            self.task.onClose(self.story.note("close"))
        else:
            self.task, self.story = socket(client, server.ws_url, **options)

    @property
    def end(self) -> tuple[int, str]:
        """Code and reason of the end, once it is there."""
        closed = self.story.end()
        return closed.code, closed.reason

    def broken(self) -> ft.FtError:
        """Its one error; the socket was open, and ended with 1006."""
        assert self.end == (1006, "")
        assert self.story.names[0] == "open"
        (error,) = self.story.of("error")
        assert isinstance(error, ft.FtError)
        assert error.errMsg.startswith("connectSocket:fail "), error.errMsg
        return error

    def clean(self) -> tuple[int, str]:
        """Code and reason of an end without an error."""
        end = self.end
        assert "error" not in self.story.names, self.story.of("error")
        return end


@contextlib.contextmanager
def meeting(
    behaviour: Behaviour,
    *,
    tls: ThrowawayTls | None = None,
    client: Mapping[str, Any] | None = None,
    receive_buffer: int = 0,
    deaf: bool = False,
    **options: Any,
) -> Iterator[Meeting]:
    """Client and server are closed at the end, and nothing was told after ``onClose``.

    A `deaf` socket has no listener for messages.
    """
    context, ca = (tls.context, tls.ca) if tls else (None, None)
    with HostileServer(behaviour, tls=context, receive_buffer=receive_buffer) as server:
        with ft.Client(ca=ca, **client or {}) as ours:
            met = Meeting(server, ours, deaf, options)
            yield met
        server.wait_until_alone()
        met.story.check()


# --- floods of ours -------------------------------------------------------------------------------


def numbered(n: int, size: int = 50_000) -> bytes:
    return b"%08d" % n + bytes(size - 8)


def fill(
    task: ft.SocketTask, callbacks: Callable[[int], Mapping[str, Any]] = lambda _: {}
) -> list[int]:
    """Sends `numbered` messages to a server that does not read, until it and the kernels are full
    and a megabyte waits; which ones. `callbacks` gives options for each."""
    sent: list[int] = []
    ticker, idle = threading.Event(), 0
    while idle < 20:
        if task.bufferedAmount < MEGABYTE:
            assert len(sent) < 2000, "there is no limit"
            task.send(data=numbered(len(sent)), **callbacks(len(sent)))
            sent.append(len(sent))
            idle = 0
        else:
            ticker.wait(0.005)
            turn()  # else it may only be that the engine has not come to it yet
            idle += 1
    return sent


# --- memory ---------------------------------------------------------------------------------------


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) << 10


class Growth:
    """How much more memory a process had, at its peak, than where the `with` began."""

    def __init__(self) -> None:
        self.bytes = 0

    @property
    def megabytes(self) -> float:
        return self.bytes / MEGABYTE


@contextlib.contextmanager
def growth() -> Iterator[Growth]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, grown = _status("VmRSS"), Growth()
    yield grown
    grown.bytes = _status("VmHWM") - before
