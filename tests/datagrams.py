"""UDP in tests: what a socket told in which order, peers that are no work of ours, and DNS."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import ftnet as ft
from tests.sockets import LIMIT, Story

LOCAL = "127.0.0.1"
KINDS = ("listening", "message", "error", "close")


class Told(Story):
    """What a UDP socket told."""

    def listen(self, task: Any) -> Told:
        task.onListening(self.note("listening"))
        task.onMessage(self.note("message"))
        task.onError(self.note("error"))
        task.onClose(self.note("close"))
        return self

    @property
    def messages(self) -> list[Any]:
        return [bytes(event.message) for event in self.of("message")]

    @property
    def codes(self) -> list[tuple[int, int]]:
        """``errCode`` and ``errNum``, 0 for none, of each error."""
        return [(int(error.errCode), error.errNum or 0) for error in self.of("error")]

    def check(self) -> None:
        told = [name for name in self.names if name in KINDS]
        assert told.count("close") == 1, told
        assert told.count("listening") <= 1, told
        assert "listening" not in told or "message" not in told[: told.index("listening")], told
        assert "message" not in told[told.index("close") :], told


def udp(client: ft.Client, **options: Any) -> tuple[ft.UDPSocket, Told]:
    """A socket, and what it tells."""
    sock = client.createUDPSocket(**options)
    return sock, Told().listen(sock)


def end(sock: ft.UDPSocket, told: Told) -> None:
    """Closes a socket and waits for it; its story obeys the rules."""
    sock.close()
    told.end()


def place(peer: socket.socket) -> dict[str, Any]:
    """``address`` and ``port`` of a plain socket."""
    address, port, *_ = peer.getsockname()
    return {"address": address, "port": port}


@contextlib.contextmanager
def peer(address: str = LOCAL, **options: int) -> Iterator[socket.socket]:
    """A plain socket of Python's own; `options` of SOL_SOCKET by name, set before it is bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        for name, value in options.items():
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        sock.bind((address, 0))
        sock.settimeout(LIMIT)
        yield sock


@contextlib.contextmanager
def echo(address: str = LOCAL) -> Iterator[dict[str, Any]]:
    """``address`` and ``port`` of a thread that sends back what it gets; an empty one ends it."""
    with peer(address, SO_RCVBUF=4 << 20) as sock:
        sock.settimeout(None)

        def answer() -> None:
            while True:
                data, sender, *_ = sock.recvfrom(65536)
                if data == b"\0end":
                    return
                sock.sendto(data, sender)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield place(sock)
        finally:
            with socket.socket(sock.family, socket.SOCK_DGRAM) as end:
                end.sendto(b"\0end", sock.getsockname())
            thread.join(LIMIT)


@contextlib.contextmanager
def nobody() -> Iterator[dict[str, Any]]:
    """``address`` and ``port`` where nobody listens, for as long as this lasts: it is taken on
    another address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.2", 0))
        yield {"address": LOCAL, "port": sock.getsockname()[1]}


def question(name: str, number: int = 0x1234) -> bytes:
    """A DNS query for an IPv4 address (RFC 1035 4.1)."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return (
        struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    )


def answered_address(answer: bytes, number: int = 0x1234) -> str | None:
    """The address that a DNS answer ends with; None: the name does not exist."""
    got, flags, _, answers, _, _ = struct.unpack_from("!6H", answer)
    assert got == number
    assert flags & 0x8000
    return socket.inet_ntoa(answer[-4:]) if answers else None
