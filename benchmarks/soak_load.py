"""A plan of all kinds of steps for half an hour, against a server that fails in every way.

    python -m benchmarks.soak_load                            30 minutes at 5,000 a second
    python -m benchmarks.soak_load --seconds 60 --rate 500

The server, in a process of its own, is killed and comes back twice, is slow for a while, answers
503 for a while, and takes no connections for a while. What it has seen it counts in memory that
outlives it. In the end each request must be accounted for: what was due was answered, failed,
cut off or never sent; what the client calls answered the server has answered; what the server has
seen the client has sent. Memory and descriptors are where they were.

Prints JSON; exits with 1 when something does not add up, or is left.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftnet import load
from ftnet.load import Result
from ftnet.plan import Plan, convert

ROOT = Path(__file__).parent.parent
HERE = "127.0.0.1"
NAMES = ("received", "answered", "messages", "lines", "datagrams", "mood")
FINE, SLOW, BUSY = range(3)
SLOWNESS = 0.05  # s
DRIFT = 16 << 20  # bytes of resident memory
LIMIT = 30.0


class Board:
    """Numbers that the server and who watches it share, in a file."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8 * len(NAMES))

    def get(self, name: str) -> int:
        value: int = struct.unpack_from("q", self._memory, 8 * NAMES.index(name))[0]
        return value

    def set(self, name: str, value: int) -> None:
        struct.pack_into("q", self._memory, 8 * NAMES.index(name), value)

    def add(self, name: str) -> None:
        self.set(name, self.get(name) + 1)


# ---------------------------------------------------------------- the server


class Http(asyncio.Protocol):
    """Answers JSON to whatever comes, with a Content-Length or without; WebSockets, too."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            self.board.add("received")
            if self.board.get("mood") == SLOW:
                asyncio.get_running_loop().call_later(SLOWNESS, self.answer)
            else:
                self.answer()

    def answer(self) -> None:
        if self.transport.is_closing():
            return
        body = b'{"token": "abc", "ok": true}'
        status = b"503 Busy" if self.board.get("mood") == BUSY else b"200 OK"
        self.transport.write(
            b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
        )
        self.board.add("answered")


class Lines(asyncio.Protocol):
    """Sends back what comes."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.board.add("lines")


class Datagrams(asyncio.DatagramProtocol):
    """Sends back what comes."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)
        self.board.add("datagrams")


async def _serve(path: str, ports: list[int]) -> None:
    from websockets.asyncio.server import serve

    board = Board(path)
    loop = asyncio.get_running_loop()
    web, ws, tcp, udp = ports

    async def echo(connection: Any) -> None:
        async for message in connection:
            board.add("messages")
            await connection.send(message)

    options: dict[str, Any] = {"reuse_address": True, "backlog": 1024}
    await loop.create_server(lambda: Http(board), HERE, web, **options)
    await loop.create_server(lambda: Lines(board), HERE, tcp, **options)
    await loop.create_datagram_endpoint(lambda: Datagrams(board), local_addr=(HERE, udp))
    async with serve(echo, HERE, ws, ping_interval=None):
        print("ready", flush=True)
        await asyncio.Event().wait()


class Server:
    """The process, on ports that stay the same."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.ports = _free_ports()
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        ports = ",".join(map(str, self.ports))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak_load", "--server", self.path, ports],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the server did not come up")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=LIMIT)


def _free_ports() -> list[int]:
    """HTTP, WebSocket, TCP, and a UDP one."""
    kinds = [socket.SOCK_STREAM] * 3 + [socket.SOCK_DGRAM]
    sockets = [socket.socket(socket.AF_INET, kind) for kind in kinds]
    try:
        for one in sockets:
            one.bind((HERE, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


# ---------------------------------------------------------------- the load


def plan_on(ports: list[int], rate: float, seconds: float, folder: str) -> Plan:
    """Half of the requests in chains of three, the rest of all kinds."""
    web, ws, tcp, udp = ports
    Path(folder, "cat.txt").write_text("meow " * 200)
    chain = [
        {
            "name": "log in", "request": "POST /login", "json": {"user": "${user}"},
            "expect": {"status": 200}, "extract": {"token": "json:$.token"},
        },
        {
            "name": "item", "request": "/items/${iteration}", "expect": {"json:$.ok": True},
            "header": {"Authorization": "Bearer ${token}"},
        },
        {"name": "order", "request": "POST /orders", "form": {"n": "${iteration}"}},
    ]  # fmt: skip
    ask = [{"send": "q ${iteration}\n"}, {"receive": "\n"}]
    kinds = {
        "shop": (0.8 / 3, chain),
        "upload": (0.05, [{"name": "upload", "upload": "/up", "file": "cat.txt"}]),
        "download": (0.05, [{"name": "download", "download": "/down"}]),
        "chat": (0.03, [{
            "name": "chat", "websocket": f"ws://{HERE}:{ws}/",
            "actions": [{"send": "hello"}, {"receive": True, "name": "reply"}],
        }]),
        "line": (0.03, [{"name": "line", "tcp": f"{HERE}:{tcp}", "actions": ask}]),
        "datagram": (0.04, [{
            "name": "datagram", "udp": f"{HERE}:{udp}", "timeout": 1,
            "actions": [{"send": "q"}, {"receive": True}],
        }]),
    }  # fmt: skip
    whole = sum(weight for weight, _ in kinds.values())
    return convert(
        {
            "name": "soak",
            "base_url": f"http://{HERE}:{web}",
            "timeout": 5,
            "settings": {"trust_env": False},
            "load": {"users": 1000, "rate": rate * whole, "duration": seconds, "grace": 10},
            "scenario": [
                {"name": name, "weight": weight, "step": steps}
                for name, (weight, steps) in kinds.items()
            ],
        },
        folder,
    )


def disturb(server: Server, board: Board, seconds: float, over: threading.Event) -> None:
    """Twice it is killed, once slow, once busy, once away for longer."""
    at = 0.0

    def until(share: float) -> bool:
        nonlocal at
        wait, at = share * seconds - at, share * seconds
        return over.wait(max(wait, 0))

    steps: list[tuple[float, Callable[[], object]]] = [
        (0.15, lambda: (server.kill(), server.start())),
        (0.30, lambda: board.set("mood", SLOW)),
        (0.40, lambda: board.set("mood", FINE)),
        (0.50, lambda: board.set("mood", BUSY)),
        (0.55, lambda: board.set("mood", FINE)),
        (0.65, server.kill),
        (0.68, server.start),
    ]
    for share, act in steps:
        if until(share):
            return
        act()


# ---------------------------------------------------------------- what must add up


def account(result: Result, board: Board) -> Iterator[str]:
    """What does not add up."""
    counts, whole = result.counts, result.iterations
    assert whole is not None
    books = {"requests": counts, "iterations": whole}
    for name, one in [*books.items(), *((n, s.counts) for n, s in result.steps.items())]:
        told = one.completed + one.failed + one.unfinished + one.unsent
        if one.scheduled != told:
            yield f"{name}: {one.scheduled} were due, {told} are told of"
    if counts.failed != sum(one.count for one in result.errors):
        yield f"{counts.failed} failed, by kind {sum(one.count for one in result.errors)}"
    steps = [step for step in result.steps.values() if step.kind != "action"]
    for name in ("scheduled", "completed", "failed", "unfinished", "sent", "bytes_received"):
        total = getattr(counts, name)
        if total != sum(getattr(step.counts, name) for step in steps):
            yield f"{name}: {total} in all, the steps' add up to another number"
        if total != sum(getattr(one.counts, name) for one in result.intervals if one.measured):
            yield f"{name}: {total} in all, the seconds' add up to another number"
    http = [step for step in steps if step.kind in ("http", "upload", "download")]
    completed = sum(step.counts.completed for step in http)
    sent = sum(step.counts.sent for step in http)
    lost = sum(step.counts.failed + step.counts.unfinished for step in http)
    received, answered = board.get("received"), board.get("answered")
    # one more each time a kept connection was found dead: it is sent again
    if not completed <= answered <= received <= sent + lost:
        yield f"answers {completed} <= {answered} <= {received} requests <= {sent} sent + {lost}"
    if received - completed > lost:
        yield f"the server has seen {received}, of which {received - completed} have no answer"
    chat = result.steps["chat: reply"].counts
    if not chat.completed <= board.get("messages") <= chat.scheduled:
        yield f"messages: {chat.completed} <= {board.get('messages')} <= {chat.scheduled}"
    asked = result.steps["datagram"].counts
    if not asked.completed <= board.get("datagrams") <= asked.scheduled:
        yield f"datagrams: {asked.completed} <= {board.get('datagrams')} <= {asked.scheduled}"
    if not counts.failed or not counts.wrong_status:
        yield "nothing failed: the server was not disturbed"


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


@contextmanager
def served() -> Iterator[tuple[Server, Board, str]]:
    """A server, its board, and a folder that goes with it."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "board"))
        Path(path).write_bytes(bytes(8 * len(NAMES)))
        server = Server(path)
        server.start()
        try:
            yield server, Board(path), folder
        finally:
            server.kill()


def soak(seconds: float, rate: float) -> dict[str, Any]:
    """What was found; "wrong" says what does not add up."""
    with served() as (server, board, folder):
        plan = plan_on(server.ports, rate, seconds, folder)
        load.run(plan, duration=2.0)  # what is made once is there
        for name in NAMES:
            board.set(name, 0)
        gc.collect()
        files, over = len(os.listdir("/proc/self/fd")), threading.Event()
        disturber = threading.Thread(target=disturb, args=(server, board, seconds, over))
        started = load.start(plan)
        disturber.start()
        memory = _watch(started, seconds)
        result = started.result()
        over.set()
        disturber.join()
        wrong = list(account(result, board))
        gc.collect()
        left = len(os.listdir("/proc/self/fd")) - files
    if left > 0:
        wrong.append(f"{left} descriptors are left")
    early, late = memory
    if late - early > DRIFT:
        wrong.append(f"memory grew from {early >> 20} to {late >> 20} MiB")
    return _told(result, wrong, early, late)


def _watch(started: Any, seconds: float) -> tuple[int, int]:
    """Memory when all has happened once, and at the end, before there is a result."""
    ticker, early, late, began = threading.Event(), 0, 0, time.monotonic()
    while not started.done:
        spent = time.monotonic() - began
        if spent < seconds:
            late = resident()
        if not early and spent > seconds * 0.72:
            early = late
        ticker.wait(min(1.0, seconds / 20))
    return early, late


def _told(result: Result, wrong: list[str], early: int, late: int) -> dict[str, Any]:
    counts, whole = result.counts, result.iterations
    assert whole is not None
    return {
        "wrong": wrong,
        "seconds": result.duration,
        "requests": counts.scheduled,
        "rate": result.rate,
        "completed": counts.completed,
        "failed": {one.name: one.count for one in result.errors},
        "wrong_status": counts.wrong_status,
        "late": counts.late,
        "unfinished": counts.unfinished,
        "iterations": {
            name: getattr(whole, name)
            for name in ("scheduled", "completed", "failed", "unfinished", "unsent")
        },
        "cpu": result.cpu / result.duration,
        "memory_mib": [early / (1 << 20), late / (1 << 20)],
        "p99_ms": result.response.percentile(99) / 1e6,
        "reasons": [one.text for one in result.reasons],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--rate", type=float, default=5000.0, help="requests a second")
    parser.add_argument("--server", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.server:
        import uvloop

        ports = [int(port) for port in args.server[1].split(",")]
        uvloop.run(_serve(args.server[0], ports))
        return 0
    told = soak(args.seconds, args.rate)
    print(json.dumps(told, indent=2))
    return 1 if told["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
