"""TCP sockets in tests: what one told in which order, and the peers it talks to."""

from __future__ import annotations

from typing import Any

import ftnet as ft
from tests.servers.awkward import AwkwardServer, Gone, Peer
from tests.sockets import LIMIT, Story, until

HERE = "127.0.0.1"

__all__ = ["HERE", "LIMIT", "TcpStory", "connected", "echo", "failure", "socket", "stays", "until"]


class TcpStory(Story):
    """The listeners of a TCP socket, and the rules that every story of one obeys."""

    def listen(self, task: Any) -> TcpStory:
        for kind in ("Connect", "Message", "End", "Error", "Close"):
            getattr(task, f"on{kind}")(self.note(kind.lower()))
        return self

    @property
    def bytes(self) -> bytes:
        """Everything that came."""
        return b"".join(bytes(event.message) for event in self.of("message"))

    @property
    def codes(self) -> list[tuple[int, int | None]]:
        """``errCode`` and ``errNum`` of each error."""
        return [(int(error.errCode), error.errNum) for error in self.of("error")]

    def check(self) -> None:
        """The rules of a connection that was made and is closed; errors of calls aside."""
        told = [name for name in self.names if name != "error"]
        assert told.count("close") == 1, told
        assert told.index("close") == len(told) - 1, told
        assert told.count("connect") <= 1, told
        assert told.count("end") <= 1, told
        assert "connect" not in told or told[0] == "connect", told
        assert "message" not in told or told[0] == "connect", told
        if "end" in told:
            assert "message" not in told[told.index("end") :], told


def echo(peer: Peer) -> None:
    """Sends back what comes, until the client has ended its side."""
    while True:
        try:
            data = peer.read()
        except Gone:
            return
        peer.send(data)


def stays(peer: Peer) -> None:
    """Reads all, and keeps its own side open until the gate is."""
    peer.until_gone()
    peer.server.gate.wait(LIMIT)


def socket(
    client: Any, server: AwkwardServer | int, *, create: Any = None, **options: Any
) -> tuple[ft.TCPSocket, TcpStory]:
    """A socket that connects, and the story of it; `client` may be the module."""
    task = client.createTCPSocket(**(create or {}))
    story = TcpStory().listen(task)
    port = server if isinstance(server, int) else server.port
    options = {"address": HERE, "timeout": LIMIT} | options
    task.connect(port=port, **options)
    return task, story


def connected(
    client: Any, server: AwkwardServer | int, **options: Any
) -> tuple[ft.TCPSocket, TcpStory]:
    """A socket that is connected, and the story of it."""
    task, story = socket(client, server, **options)
    task.wait_connected(LIMIT)
    story.until("connect")
    return task, story


def failure(client: Any, **options: Any) -> ft.FtError:
    """The error of a socket that can't connect: the one thing that it tells."""
    task = client.createTCPSocket()
    story = TcpStory().listen(task)
    task.connect(**options)
    error: ft.FtError = story.until("error")
    assert story.names == ["error"]
    assert error.errMsg.startswith("TCPSocket.connect:fail "), error.errMsg
    assert task.bufferedAmount == 0
    return error
