"""What is measured, and the measuring of it: servers, load on the processors, one capture each."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.peers import cpu_seconds
from benchmarks.rounds import ROOT
from benchmarks.truth import clients
from benchmarks.truth.capture import Capture, Wire
from benchmarks.truth.clients import PEERS, Call, Job
from benchmarks.truth.server import RESOLVER
from benchmarks.truth.truths import Around, errors, truths, witness
from ftnet.testing import certs

MEMORY = "/dev/shm"
VERSIONS = {"http": "1.1", "https": "1.1", "h2": "2", "h3": "3-only"}
PROXY_CONF = "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nLogLevel Error\n"
START_LIMIT = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class Scenario:
    """Requests of one kind; `total` for ftnet, `peers` for each of the others (0: not measured).

    `query` is the server's, `limit` the most connections where it is not `c`, `upload` bytes.
    """

    name: str
    kind: str
    total: int
    c: int = 1
    new: bool = False
    peers: int = 0
    busy: bool = False
    query: str = ""
    upload: int = 0
    limit: int = 0
    proxy: bool = False
    dns: bool = False

    @property
    def clients(self) -> list[str]:
        """ftnet and its peers; the curl command and a bare socket make one request at a time."""
        unable = ("curl -w", "bare socket") if self.c > 1 else ()
        if self.kind != "http":
            unable += ("bare socket",)
        return ["ftnet", *(one for one in PEERS if self.peers and one not in unable)]

    def job(self, client: str, around: Around, ca: str, share: float) -> Job:
        fresh = self.new and self.kind in ("h2", "h3")
        query = self.query + ("&close=1" if self.new and not fresh else "")
        host = "{id}.ftnet.test" if self.dns else "127.0.0.1"
        scheme = "http" if self.kind == "http" else "https"
        url = f"{scheme}://{host}:{around.port}/r/{{id}}?{query}"
        total = self.total if client == "ftnet" else self.peers
        total = max(int(total * share), self.skip + 4 * self.c + 20)
        proxy = f"http://127.0.0.1:{around.proxy}" if around.proxy else ""
        return Job(client, url, ca, total, self.c, VERSIONS[self.kind], proxy, self.upload, fresh,
                   self.limit)  # fmt: skip

    @property
    def skip(self) -> int:
        """Requests at the start that are not counted."""
        return 2 * self.c


def _usual() -> Iterator[Scenario]:
    for kind, scale in (("http", 1.0), ("https", 0.6)):
        one, many = int(5000 * scale), int(8000 * scale)
        yield Scenario(kind, kind, one, peers=600)
        yield Scenario(kind, kind, many, 64, peers=1500)
        yield Scenario(kind, kind, many, 512)
        yield Scenario(f"{kind}, new", kind, one // 5, new=True, peers=250)
        yield Scenario(f"{kind}, new", kind, one // 2, 64, new=True, peers=600)
        yield Scenario(f"{kind}, busy processors", kind, one // 5, busy=True)
        yield Scenario(f"{kind}, busy processors", kind, one // 2, 64, busy=True)
    for kind, total in (("h2", 2000), ("h3", 1500)):
        yield Scenario(kind, kind, total)
        yield Scenario(kind, kind, total, 64)
        yield Scenario(f"{kind}, new", kind, 200, new=True)


SCENARIOS = (
    *_usual(),
    Scenario("redirect", "http", 1000, query="redirect=1"),
    Scenario("proxy", "http", 300, new=True, proxy=True),
    Scenario("proxy, CONNECT", "https", 300, new=True, proxy=True),
    Scenario("upload 64 KiB", "http", 1000, upload=1 << 16),
    Scenario("upload 64 KiB, https", "https", 500, upload=1 << 16),
    Scenario("upload 4 MiB", "http", 150, upload=1 << 22),
    Scenario("upload 4 MiB, https", "https", 60, upload=1 << 22),
    Scenario("body of 3 parts", "http", 200, query="before=2&parts=3&gap=2"),
    Scenario("body of 3 parts", "http", 1500, 64, query="before=2&parts=3&gap=2"),
    Scenario("queue, 2 for 1 connection", "http", 1000, 2, limit=1),
    Scenario("DNS", "http", 200, new=True, dns=True),
)


@dataclass(slots=True)
class Row:
    """What was measured of one client in one scenario: µs that each field was off.

    `others` is the share of the processors' time that other programs took meanwhile.
    """

    scenario: Scenario
    client: str
    errors: dict[str, list[float]]
    witness: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""
    others: float = 0.0


class Load:
    """What other programs take of the processors' time while we measure."""

    def __init__(self, *children: int) -> None:
        self._children = children
        self._start = self._times()

    def _times(self) -> tuple[float, float, float]:
        """CPU seconds of the machine, idle ones included; those at work; ours of the latter."""
        tick = os.sysconf("SC_CLK_TCK")
        line = Path("/proc/stat").read_text().split("\n", 1)[0]
        user, nice, system, idle, wait, hard, soft, stolen = map(int, line.split()[1:9])
        ours = sum(map(cpu_seconds, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
        for pid in self._children:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ours += (int(fields[11]) + int(fields[12])) / tick  # user and system time
        busy = user + nice + system + stolen  # the last by other machines of the same host
        return (busy + idle + wait + hard + soft) / tick, busy / tick, ours

    def others(self) -> float:
        """Their share, from 0 to 1, since the beginning."""
        every, busy, ours = (b - a for a, b in zip(self._start, self._times(), strict=True))
        return max(0.0, busy - ours) / every if every else 0.0


class Bench:
    """Servers that run while the context lasts; `measure` a scenario with them."""

    def __enter__(self) -> Self:
        self._all = ExitStack()
        memory = MEMORY if os.access(MEMORY, os.W_OK) else None
        folder = tempfile.TemporaryDirectory(prefix="ftnet-truth-", dir=memory)
        self.folder = Path(self._all.enter_context(folder))
        try:
            self.pair = certs.make(self.folder)
            self._resolv = self.folder / "resolv.conf"
            self._resolv.write_text(f"nameserver {RESOLVER}\n")
            command = [sys.executable, "-m", "benchmarks.truth.server"]
            self._server = self._program(*command, str(self.pair.chain), str(self.pair.key))
            self.ports: tuple[int, int] = tuple(json.loads(self._server.stdout.readline()))
        except BaseException:
            self._all.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._all.close()

    def _program(self, *command: str, **more: Any) -> Any:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, cwd=ROOT, **pipes, **more)
        self._all.callback(process.wait)
        self._all.callback(process.terminate)
        return process

    def _proxy(self) -> int:
        """tinyproxy's port; it is started when it is needed first."""
        if not hasattr(self, "_proxy_port"):
            with socket.create_server(("127.0.0.1", 0)) as free:
                self._proxy_port = port = free.getsockname()[1]
            conf = self.folder / "tinyproxy.conf"
            conf.write_text(PROXY_CONF.format(port=port))
            program = shutil.which("tinyproxy", path=f"{os.environ['PATH']}:/usr/sbin")
            if program is None:
                raise FileNotFoundError("tinyproxy is not installed")
            self._program(program, "-d", "-c", str(conf))
            _until_it_accepts(port)
        return self._proxy_port

    def seen(self) -> list[dict[str, Any]]:
        """What the server has seen since the last time."""
        self._server.stdin.write("\n")
        self._server.stdin.flush()
        found: list[dict[str, Any]] = json.loads(self._server.stdout.readline())
        return found

    def measure(self, scenario: Scenario, share: float = 1.0) -> list[Row]:
        """All clients, one after the other, during one capture; `share` of the requests."""
        proxy = self._proxy() if scenario.proxy else 0
        around = Around(scenario.kind, self.ports, proxy, bool(scenario.limit))
        servers = {*self.ports, around.proxy} - {0}
        if scenario.proxy:
            servers -= set(self.ports)  # the proxy's own connections are not the client's
        calls: dict[str, list[Call]] = {}
        notes: dict[str, str] = {}
        with Capture(self.folder, servers, whole=scenario.kind == "h3") as capture:
            load = Load(self._server.pid, capture.pid)
            for client in scenario.clients:
                job = scenario.job(client, around, str(self.pair.ca), share)
                try:
                    with _busy(scenario.busy):
                        calls[client] = clients.run(job, str(self._resolv) if scenario.dns else "")
                except RuntimeError as error:
                    notes[client] = str(error)
            others = load.others()
        seen = self.seen()
        rows = [self._row(scenario, *one, seen, capture.wire, around) for one in calls.items()]
        rows += [Row(scenario, client, {}, note=why) for client, why in notes.items()]
        for row in rows:
            row.others = others
        return rows

    @staticmethod
    def _row(
        scenario: Scenario, client: str, calls: list[Call], seen: list[dict[str, Any]],
        wire: Wire, around: Around,
    ) -> Row:  # fmt: skip
        ids = {call.id for call in calls}
        mine = [one for one in seen if one["id"] in ids]
        found = truths(calls, mine, wire, around)
        off = errors(calls, found, new=scenario.new, skip=scenario.skip)
        direct = scenario.kind != "h3" and not scenario.proxy
        return Row(scenario, client, off, witness(mine, wire, around) if direct else {})


def _until_it_accepts(port: int) -> None:
    give_up = time.monotonic() + START_LIMIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


@contextmanager
def _busy(wanted: bool) -> Iterator[None]:
    """A busy loop on each processor, if `wanted`."""
    code = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
    cores: Sequence[int] = sorted(os.sched_getaffinity(0)) if wanted else ()
    loops = [subprocess.Popen([sys.executable, "-c", code, str(core)]) for core in cores]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
