"""TCP sockets for minutes with peers that misbehave at random: nothing may be lost or left.

    python -m benchmarks.soak_tcp                 ten minutes
    python -m benchmarks.soak_tcp --seconds 60

The peers, in a process of their own, echo, and at random reset, leave, end their side early, read
slowly or not at all. Each socket's events are checked against what may happen: connected at most
once, closed exactly once when it was connected, an error without a close when it was not; bytes
that come are those that were sent, from the first on, and all of them where the peer was well-
behaved. Prints JSON; exits with 1 when an event was wrong or missing, or when memory, descriptors
or objects of the engine are left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import os
import random
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import ftcore
import ftnet as ft

ROOT = Path(__file__).parent.parent
HERE = "127.0.0.1"
AT_ONCE = 64
WARM_UP = 0.2  # of the time
DRIFT = 2 << 20  # bytes of resident memory
FAULTS = ("echo", "echo", "echo", "echo", "reset", "leave", "early end", "slow", "deaf", "rude")


# ---------------------------------------------------------------- the peers


async def _misbehave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    fault = random.choice(FAULTS)
    try:
        writer.write(fault[:1].encode())  # the client may know what it is in for
        if fault == "leave":
            return
        if fault == "early end":
            writer.write_eof()
        if fault == "deaf":
            await asyncio.sleep(random.random() * 2)
        count = 0
        while data := await reader.read(65536):
            count += 1
            if fault == "slow":
                await asyncio.sleep(0.005)
            if fault == "reset" and random.random() < 0.3:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                writer.transport.abort()
                return
            if fault == "rude" and count > 3:
                return
            if fault != "early end":
                writer.write(data)
                await writer.drain()
    except OSError:
        return
    finally:
        writer.close()


async def serve() -> None:
    """Prints the port and goes on until stdin ends."""
    server = await asyncio.start_server(_misbehave, HERE, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


# ---------------------------------------------------------------- one socket


class One:
    """A socket, what is done with it, and what it told."""

    def __init__(self, soak: Soak, refused: bool) -> None:
        self.soak = soak
        self.told: list[str] = []
        self.got = bytearray()
        self.sent = bytearray()
        self.peer = ""
        self.act = random.choice(("end", "close", "abort", "close at once", "pause", "big"))
        self.failed_writes = 0
        task = self.task = ft.createTCPSocket()
        task.onConnect(self.connected)
        task.onMessage(self.message)
        task.onError(self.error)
        task.onEnd(lambda _: self.told.append("end"))
        task.onClose(self.closed)
        port = soak.dead_port if refused else soak.port
        task.connect(address=HERE, port=port, timeout=5, closeTimeout=1)
        if self.act == "close at once":
            task.close()

    def connected(self, _: Any) -> None:
        self.told.append("connect")
        for _ in range(random.randrange(1, 30)):
            self.write(random.randbytes(random.choice((1, 100, 5000, 20_000))))
        if self.act == "big":
            self.write(random.randbytes(300_000))
        if self.act == "pause":
            self.task.pause()
            self.soak.later(0.01, self.task.resume)
        if self.act == "abort":
            self.task.abort()
        elif self.act == "close":
            self.task.close()
        else:
            self.task.end()

    def write(self, data: bytes) -> None:
        self.sent += data
        self.task.write(data)

    def message(self, event: Any) -> None:
        if not self.peer:
            self.peer = bytes(event.message[:1]).decode()
            self.told.append("message")
            self.got += event.message[1:]
        else:
            self.got += event.message

    def error(self, error: ft.FtError) -> None:
        call = error.errMsg.startswith("TCPSocket.write:")
        if call:
            self.failed_writes += 1
            return
        self.told.append("error")
        self.soak.errors[error.cause.name if error.cause else "?"] += 1
        if "connect" not in self.told:
            self.over()

    def closed(self, _: Any) -> None:
        self.told.append("close")
        self.over()

    def over(self) -> None:
        self.soak.over(self)

    def wrong(self) -> str:
        """What must not be; "" when everything is as it may be."""
        told = self.told
        if told.count("close") > 1 or told.count("connect") > 1 or told.count("error") > 1:
            return f"twice: {told}"
        if "connect" in told and told[-1] != "close":
            return f"not closed at last: {told}"
        if "connect" not in told and told not in (["error"], ["close"]):
            return f"events of a socket that was never there: {told}"
        if self.sent[: len(self.got)] != self.got:
            return f"bytes that were not sent, or not in order ({self.act}, {told})"
        quiet = "error" not in told and self.peer in ("e", "s", "d") and "end" in told
        all_sent = self.act in ("end", "pause", "big") and not self.failed_writes
        # "echo" begins as "early end" does, but from the latter nothing comes back
        if quiet and all_sent and self.got and self.got != self.sent:
            return f"{len(self.sent) - len(self.got)} bytes are missing ({self.act}, {told})"
        return ""


# ---------------------------------------------------------------- all of them


class Soak:
    """Sockets come and go, so many at a time, in the engine's own thread."""

    def __init__(self, port: int, dead_port: int) -> None:
        self.port, self.dead_port = port, dead_port
        self.open: set[One] = set()
        self.ends: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.wrongs: list[str] = []
        self.going_on = True
        self.empty = threading.Event()
        self.timers: list[threading.Timer] = []

    def later(self, seconds: float, call: Any) -> None:
        self.timers = [timer for timer in self.timers if timer.is_alive()]
        timer = threading.Timer(seconds, call)
        self.timers.append(timer)
        timer.start()

    def begin(self) -> None:
        self.open.add(One(self, random.random() < 0.05))

    def over(self, one: One) -> None:
        if one not in self.open:
            self.wrongs.append(f"over twice: {one.told}")
            return
        self.open.discard(one)
        self.ends[" ".join(one.told)] += 1
        if wrong := one.wrong():
            self.wrongs.append(wrong)
        if self.going_on:
            self.begin()
        elif not self.open:
            self.empty.set()

    def run(self, seconds: float) -> None:
        """So many seconds, and until the last socket is over."""
        self.going_on = True
        self.empty.clear()
        for _ in range(AT_ONCE):
            self.begin()
        time.sleep(seconds)
        self.going_on = False
        if not self.empty.wait(60):
            self.wrongs += [f"never over: {one.act} {one.told}" for one in self.open]


def state() -> dict[str, int]:
    """Memory, descriptors and the engine's objects, when all that can go has gone."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    counters = {name: count for name, count in ftcore.counters().items() if name != "engines"}
    return {"rss": resident, "fds": len(os.listdir("/proc/self/fd")), **counters}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        asyncio.run(serve())
        return 0
    command = [sys.executable, "-m", "benchmarks.soak_tcp", "--serve"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        socket.socket() as dead,
        subprocess.Popen(command, text=True, cwd=ROOT, **pipes) as server,
    ):
        dead.bind((HERE, 0))
        assert server.stdout is not None
        soak = Soak(int(server.stdout.readline()), dead.getsockname()[1])
        soak.run(options.seconds * WARM_UP)
        before = state()
        soak.run(options.seconds * (1 - WARM_UP))
        after = state()
        server.terminate()
    left = {name: after[name] - before[name] for name in after}
    grown = [name for name, more in left.items() if more > (DRIFT if name == "rss" else 0)]
    told = {
        "sockets": sum(soak.ends.values()),
        "ends": dict(soak.ends.most_common()),
        "errors": dict(soak.errors.most_common()),
        "before": before,
        "after": after,
        "wrong": soak.wrongs[:20],
    }
    print(json.dumps(told, indent=2))
    return 1 if soak.wrongs or grown else 0


if __name__ == "__main__":
    sys.exit(main())
