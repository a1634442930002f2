"""Sends requests to the test server, over http and https, and shows where their time went."""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ftnet as ft
from ftnet.testing.server import Server

PATH = "/json"
#: title, name in `profile.durations`, whether only a new connection has it
PHASES = (
    ("queue", "queue", False),
    ("DNS", "dns", True),
    ("connect", "connect", True),
    ("TLS", "ssl", True),
    ("send", "send", False),
    ("TTFB", "ttfb", False),
    ("download", "download", False),
    ("total", "total", False),
)
PERCENTILES = (50.0, 90.0, 99.0, 100.0)


@dataclass
class Outcome:
    """What came of a run: a profile for each success, a count for each kind of failure."""

    profiles: list[Any] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def requests(self) -> int:
        return len(self.profiles) + self.failures.total()


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def send(client: ft.Client, url: str, total: int, at_once: int) -> Outcome:
    """Send `total` requests, `at_once` of them open at any time: each end starts the next."""
    outcome = Outcome()
    left = total

    def start(_ended: object = None) -> None:
        nonlocal left
        if left:
            left -= 1
            client.request(url=url, success=success, fail=fail, complete=start)

    def success(result: Any) -> None:
        if result.statusCode == 200 and isinstance(result.data, dict):
            outcome.profiles.append(result.profile)
        else:
            outcome.failures[f"status {result.statusCode}, data {result.data!r:.40}"] += 1

    def fail(error: ft.FtError) -> None:
        outcome.failures[error.errMsg] += 1

    def first() -> None:
        for _ in range(at_once):
            start()

    used, begun = _cpu(), time.perf_counter()
    ft.run(first)
    outcome.seconds, outcome.cpu = time.perf_counter() - begun, _cpu() - used
    return outcome


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the values do not exceed; `ordered` is sorted."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def phase_table(profiles: Sequence[Any]) -> str:
    """Percentiles in ms of each phase, over the requests that went through it."""
    lines = [f"  {'phase, ms':10}{'requests':>10}{'p50':>10}{'p90':>10}{'p99':>10}{'max':>10}"]
    durations = [(profile.durations, profile.socketReused) for profile in profiles]
    for title, name, only_new in PHASES:
        values = sorted(d[name] for d, reused in durations if not (only_new and reused))
        if title == "TLS" and not any(values):
            values = []
        cells = [f"{percentile(values, p):10.3f}" if values else f"{'-':>10}" for p in PERCENTILES]
        lines.append(f"  {title:10}{len(values):10,}{''.join(cells)}")
    return "\n".join(lines)


def _show(scheme: str, outcome: Outcome) -> None:
    rate = outcome.requests / outcome.seconds
    cpu = outcome.cpu / outcome.requests * 1e6
    print(
        f"\n{scheme}: {len(outcome.profiles):,} answered, {outcome.failures.total():,} failed"
        f" in {outcome.seconds:.2f} s: {rate:,.0f} requests/s, {cpu:.1f} µs CPU per request"
    )
    for reason, count in outcome.failures.most_common():
        print(f"  {count:,} of them: {reason}")
    if outcome.profiles:
        print(phase_table(outcome.profiles))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; 1 if any request failed."""
    parser = argparse.ArgumentParser(prog="ci/demo", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="for each of the runs (20000)")
    parser.add_argument("--at-once", type=int, default=64, help="open at any time (64)")
    options = parser.parse_args(arguments)
    info = ft.engine_info()
    print(
        f"libcurl {info['version']} ({info['source']}), {info['poller']},"
        f" Python {platform.python_version()}, {os.cpu_count()} processors"
    )
    print(
        f"{options.requests:,} requests, {options.at_once} at a time, GET {PATH}, decoded,"
        " profiled, by callbacks in ft.run(); the server is a process of its own"
    )
    failed = 0
    with Server() as server:
        for title, base, version in (
            ("http", server.http, "1.1"),
            ("https", server.https, "1.1"),
            ("https, h2 (one connection)", server.https, "2"),
        ):
            with ft.Client(ca=server.ca, http_version=version) as client:
                outcome = send(client, base + PATH, options.requests, options.at_once)
            _show(title, outcome)
            failed += options.requests - len(outcome.profiles)
    print("\nCPU is this process alone; DNS, connect and TLS happen on new connections only.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
