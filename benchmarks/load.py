"""The load engine beside wrk, h2load and libcurl's own loop: CPU a request, and how true it is.

    python -m benchmarks.load                  the whole table: about six minutes
    python -m benchmarks.load --quick          a first look: about a minute

nginx (one worker) has one processor, the clients, a new process each time, have another, and take
turns. The figure that counts is the CPU time of the client's process per request (getrusage). All
phases of every request go into histograms here; the peers count at most one time. After that, in
an open model of 20,000 requests a second: how late they were sent; and memory over a long run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers import cpu_seconds
from benchmarks.peers.libcurl_c import program as libcurl_loop
from benchmarks.report import Bar, bars_as_text
from benchmarks.servers import Nginx, cores

ROOT = Path(__file__).parent.parent
LIMIT = 180.0  # s for one sample
OPEN_RATE = 20_000


@dataclass(frozen=True, slots=True)
class Job:
    """What a client has to do: `streams` requests at once on each of so many connections."""

    url: str
    connections: int
    streams: int
    seconds: float
    lane: str = ""

    @property
    def requests(self) -> int:
        """About as many as take that long."""
        return round(self.seconds * 60_000)


# ---------------------------------------------------------------- the clients, each in its process


def _ftnet(job: Job) -> dict[str, float]:
    from ftnet import load

    options: dict[str, Any] = {"verify": False, "trust_env": False}
    if job.streams > 1:
        options |= {"http_version": "2", "streams": job.streams}
    cpu = cpu_seconds(resource.RUSAGE_SELF)
    result = load.run(
        job.url, connections=job.connections, duration=job.seconds, grace=5, **options
    )
    used = cpu_seconds(resource.RUSAGE_SELF) - cpu
    if result.wrong:
        raise RuntimeError(str(result.errors))
    return {"cpu": used / result.counts.completed * 1e6, "rate": result.rate}


def _plan(job: Job) -> dict[str, float]:
    """Three steps in a chain: JSON sent, a value taken from the answer, and what must hold."""
    from ftnet import load
    from ftnet.plan import convert

    steps = [
        {
            "request": "POST /json", "json": {"user": "${user}"},
            "expect": {"status": 200}, "extract": {"id": "json:$.id"},
        },
        {
            "request": "/json?of=${id}", "header": {"Authorization": "Bearer ${id}"},
            "expect": {"status": 200, "json:$.id": "${id}"},
        },
        {"request": "/hello", "expect": {"status": 200}},
    ]  # fmt: skip
    made = convert(
        {
            "base_url": job.url.rpartition("/")[0],
            "settings": {"verify": False, "trust_env": False},
            "load": {"users": job.connections, "duration": job.seconds},
            "scenario": [{"name": "chain", "step": steps}],
        }
    )
    cpu = cpu_seconds(resource.RUSAGE_SELF)
    result = load.run(made)
    used = cpu_seconds(resource.RUSAGE_SELF) - cpu
    if result.wrong:
        raise RuntimeError(str(result.errors or result.steps))
    return {"cpu": used / result.counts.completed * 1e6, "rate": result.rate}


def _tool(command: list[str], counted: str, job: Job) -> dict[str, float]:
    cpu, start = cpu_seconds(resource.RUSAGE_CHILDREN), time.perf_counter()
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    took = time.perf_counter() - start
    used = cpu_seconds(resource.RUSAGE_CHILDREN) - cpu
    found = re.search(counted, text)
    if found is None or "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    return {"cpu": used / int(found[1]) * 1e6, "rate": int(found[1]) / took}


def _wrk(job: Job) -> dict[str, float]:
    seconds = max(1, round(job.seconds))
    command = ["wrk", "-t1", f"-c{job.connections}", f"-d{seconds}s", job.url]
    return _tool(command, r"(\d+) requests in", job)


def _h2load(job: Job) -> dict[str, float]:
    many = ["-c", str(job.connections), "-m", str(job.streams), "-n", str(job.requests)]
    return _tool(["h2load", "-t1", *many, job.url], r"(\d+) succeeded", job)


def _libcurl(job: Job) -> dict[str, float]:
    told = json.loads(libcurl_loop(job.url, str(job.connections), str(job.requests // 2)))
    return {"cpu": told["cpu"] / told["requests"] * 1e6, "rate": told["requests"] / told["seconds"]}


def _lateness(job: Job) -> dict[str, float]:
    from ftnet import load

    result = load.run(
        job.url, rate=OPEN_RATE, connections=job.connections, duration=job.seconds, warmup=1
    )
    p50, p99, p999 = (result.lateness.percentile(percent) / 1e3 for percent in (50, 99, 99.9))
    out = {"p50": p50, "p99": p99, "p99.9": p999, "max": result.lateness.max / 1e3}
    return out | {"rate": result.rate, "cpu": result.cpu / result.duration}


def _memory(job: Job) -> dict[str, float]:
    from ftnet import load

    def resident() -> float:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / (1 << 20)

    run = load.start(job.url, connections=job.connections, duration=job.seconds)
    threading.Event().wait(job.seconds / 6)
    early = resident()
    threading.Event().wait(job.seconds * 4 / 6)
    late = resident()
    result = run.result()
    return {"early": early, "late": late, "requests": result.counts.completed}


CLIENTS: dict[str, Callable[[Job], dict[str, float]]] = {
    "ftnet": _ftnet,
    "plan": _plan,
    "wrk": _wrk,
    "h2load": _h2load,
    "libcurl in C": _libcurl,
    "lateness": _lateness,
    "memory": _memory,
}


def measured(client: str, job: Job) -> dict[str, float]:
    """One sample from a process of its own; raises RuntimeError with why it failed."""
    told = json.dumps([client, job.url, job.connections, job.streams, job.seconds])
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", "--child", told],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment | ({"FTNET_LANE": job.lane} if job.lane else {}),
        timeout=LIMIT,
        check=False,
    )
    if done.returncode or not done.stdout:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no answer"])[-1])
    sample: dict[str, float] = json.loads(done.stdout)
    return sample


# ---------------------------------------------------------------- the table


@dataclass(slots=True)
class Block:
    """One case, ours and a peer, in turns."""

    what: str
    job: Job
    peer: str
    ours: str = "ftnet"
    samples: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    note: str = ""

    def run(self, rounds: int) -> None:
        """Measure; what is missing is noted."""
        for _ in range(rounds):
            for client in (self.ours, self.peer):
                try:
                    sample = measured(client, self.job)
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    self.note = f"{client}: {error}"
                    return
                self.samples.setdefault(client, []).append(sample)

    def of(self, client: str, figure: str) -> float:
        """The median over the rounds; NaN without one."""
        return median([one[figure] for one in self.samples.get(client, [])] or [float("nan")])

    @property
    def ratio(self) -> float:
        """Median over the rounds of our CPU a request against the peer's in the same round."""
        ours, theirs = self.samples.get(self.ours, []), self.samples.get(self.peer, [])
        pairs = zip(ours, theirs, strict=False)
        return median([a["cpu"] / b["cpu"] for a, b in pairs] or [float("nan")])

    def lines(self) -> list[str]:
        """Of the table."""
        if self.note:
            return [f"{self.what:28}  {self.note}"]
        return [
            f"{self.what:28}  {client:14}  {self.of(client, 'cpu'):10.2f}"
            f"  {self.of(client, 'rate'):12,.0f}  {'' if client == self.peer else ratio:>6}"
            for client, ratio in ((self.ours, f"{self.ratio:.2f}"), (self.peer, ""))
        ]


def _pair(folder: Path) -> Path:
    """A PEM file of a certificate and its key."""
    pair = folder / "pair.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, capture_output=True, check=True)
    pair.write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return pair


def _blocks(plain: str, secure: str, h2: str, seconds: float) -> list[Block]:
    return [
        Block("http, 64 connections", Job(plain, 64, 1, seconds), "wrk"),
        Block("http, 1024 connections", Job(plain, 1024, 1, seconds), "wrk"),
        Block("https, 64 connections", Job(secure, 64, 1, seconds), "wrk"),
        Block("h2, 8 connections of 100", Job(h2, 8, 100, seconds), "h2load"),
        Block("libcurl, 64 connections", Job(plain, 64, 1, seconds, "libcurl"), "libcurl in C"),
        Block("a plan of 3 steps, 64 users", Job(plain, 64, 1, seconds), "ftnet", "plan"),
    ]


def _bars(blocks: list[Block], late: dict[str, float], memory: dict[str, float]) -> list[Bar]:
    http, many, https, h2, libcurl, plan = blocks
    growth = many.of("ftnet", "cpu") / http.of("ftnet", "cpu")
    grown = memory["late"] - memory["early"]
    return [
        Bar("http, c=64 / wrk", http.ratio, 0.95, 0.8),
        Bar("https, c=64 / wrk", https.ratio, 0.95, 0.8),
        Bar("c=1024 / c=64", growth, 1.2, 1.1),
        Bar("h2, 8 x 100 / h2load", h2.ratio, 2.0, 1.0),
        Bar("over libcurl, c=64 / libcurl in C", libcurl.ratio, 1.05, 1.0),
        Bar("plan of 3 steps / one URL", plan.ratio, 2.0, 1.5),
        Bar(f"late at {OPEN_RATE:,}/s, p99", late["p99"], 100, 20, " us"),
        Bar("memory grown in a long run", grown, 1, 0.1, " MiB"),
    ]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each client (3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of one sample (5)")
    parser.add_argument("--long", type=float, default=60.0, help="seconds of the long run (60)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.long = 1, 2.0, 12.0
    return options


def _child(told: str) -> None:
    core = cores()[0]
    if core is not None:
        os.sched_setaffinity(0, {core})
    client, *job = json.loads(told)
    print(json.dumps(CLIENTS[client](Job(*job))), flush=True)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if options.child:
        _child(options.child)
        return 0
    missing = [tool for tool in ("wrk", "h2load", "openssl") if shutil.which(tool) is None]
    if missing:
        sys.stderr.write(f"not installed: {', '.join(missing)}\n")
    with tempfile.TemporaryDirectory(prefix="ftnet-bench-") as folder:
        pair = _pair(Path(folder))
        with Nginx(pair=pair) as nginx, Nginx(pair=pair, h2=True) as h2:
            places = (f"{base}/hello" for base in (nginx.base, nginx.secure, h2.secure))
            blocks = _blocks(*places, options.seconds)
            print(f"{'case':28}  {'client':14}  {'CPU us/req':>10}  {'requests/s':>12}  ratio")
            for block in blocks:
                block.run(options.rounds)
                print(*block.lines(), sep="\n", flush=True)
            plain = blocks[0].job.url
            late = measured("lateness", Job(plain, 64, 1, options.seconds))
            print(
                f"\nopen model, {OPEN_RATE:,}/s: sent late by us"
                f" p50 {late['p50']:.1f}, p99 {late['p99']:.1f}, p99.9 {late['p99.9']:.1f},"
                f" max {late['max']:.1f}; {late['cpu']:.0%} of a core"
            )
            memory = measured("memory", Job(plain, 64, 1, options.long))
            print(
                f"{options.long:g} s, {memory['requests']:,.0f} requests:"
                f" {memory['early']:.1f} MiB after a sixth of it, {memory['late']:.1f} near its end"
            )
    print(f"\n{bars_as_text(_bars(blocks, late, memory))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
