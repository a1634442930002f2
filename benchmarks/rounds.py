"""What the echo benchmarks have in common: clients that take turns, each in a process of its own.

The server has one processor, the client, a new process for each sample, has another. A benchmark
says what its clients and servers are and which cases it measures; the rest is here.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import cpu_seconds, version_of
from benchmarks.report import compared, write_into_readme
from benchmarks.servers import cores

ROOT = Path(__file__).parent.parent
LIMIT = 120.0  # seconds for one sample


class Loop:
    """The measured part: from when all sockets are open to so many round trips."""

    def __init__(self, sockets: int, trips: int) -> None:
        self.closed, self.trips, self.seen = sockets, trips, 0

    def opened(self) -> bool:
        """Whether that was the last of the sockets: now it begins."""
        self.closed -= 1
        if self.closed:
            return False
        self.cpu = cpu_seconds(resource.RUSAGE_SELF)
        self.start = time.perf_counter()
        return True

    def over(self) -> bool:
        """One more round trip; when it was the last, prints the sample and ends the process."""
        self.seen += 1
        if self.seen < self.trips:
            return False
        seconds = time.perf_counter() - self.start
        used = cpu_seconds(resource.RUSAGE_SELF) - self.cpu
        print(
            json.dumps({"cpu": used / self.trips * 1e6, "rate": self.trips / seconds}), flush=True
        )
        os._exit(0)


def pin(which: int) -> None:
    """Keeps this process on the client's (0) or the server's (1) processor."""
    core = cores()[which]
    if core is not None:
        os.sched_setaffinity(0, {core})


@contextmanager
def serving(module: str, *which: str) -> Iterator[str]:
    """The server of a benchmark, in a process of its own; gives the line it says where it is."""
    command = [sys.executable, "-m", module, "--serve", *which]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=ROOT, **pipes) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline()
        finally:
            server.terminate()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Clients that are measured against one another; `module` is where `python -m` finds it.

    A client is called with a case, whose values have the types `case`; the last is the number of
    round trips, of which a client has `costs` times fewer. The table stands in README.md between
    `marks`; its first columns are `head`, names and alignment.
    """

    module: str
    title: str
    than: str  # what the ratios compare with
    packages: tuple[str, ...]
    clients: dict[str, Callable[..., None]]
    servers: dict[str, Callable[[], None]]
    case: tuple[type, ...]
    head: tuple[str, str]
    marks: tuple[str, str]
    trips: int
    quick_trips: int
    costs: dict[str, int] = field(default_factory=dict)
    late: str = ""  # why a client may not be done in time

    def main(
        self,
        doc: str | None,
        arguments: list[str] | None,
        table: Callable[[argparse.Namespace], Iterable[str]],
    ) -> int:
        """Prints what `table` gives for the options; in a child process, serves or measures."""
        options = self._parser(doc).parse_args(arguments)
        if options.serve:
            pin(1)
            self.servers[options.serve]()
            return 0
        if options.child:
            pin(0)
            client, *case = options.child
            self.clients[client](*(kind(one) for kind, one in zip(self.case, case, strict=True)))
            return 0
        if options.quick:
            options.rounds, options.trips = 1, self.quick_trips
        first, align = self.head
        lines = [f"{first} client | CPU µs per round trip | round trips/s | ratio |"]
        lines += [f"{align}---|---:|---:|---:|", *table(options)]
        heading = f"{self.title}, median of {options.rounds} interleaved rounds;"
        heading += f" {version_of(*self.packages)()}. Ratio: how much less than {self.than}."
        text = "\n".join([heading, "", *lines])
        print(text)
        if options.readme:
            write_into_readme(ROOT / "README.md", text, self.marks)
        return 0

    def _parser(self, doc: str | None) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--quick", action="store_true", help="one short round")
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--trips", type=int, default=self.trips)
        parser.add_argument("--readme", action="store_true", help="write the table into README.md")
        which: dict[str, Any] = {"choices": self.servers}
        if len(self.servers) == 1:
            which = {"action": "store_const", "const": next(iter(self.servers))}
        parser.add_argument("--serve", help=argparse.SUPPRESS, **which)
        parser.add_argument("--child", nargs=1 + len(self.case), help=argparse.SUPPRESS)
        return parser

    def measure(self, client: str, *case: object) -> dict[str, float]:
        """One sample from a process of its own; raises RuntimeError with why it failed."""
        command = [sys.executable, "-m", self.module, "--child", client, *map(str, case)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"took over {LIMIT:g} s{self.late}") from None
        if done.returncode or not done.stdout:
            raise RuntimeError((done.stderr.strip().splitlines() or ["no answer"])[-1])
        sample: dict[str, float] = json.loads(done.stdout)
        return sample

    def block(self, what: str, start: str, reference: str, rounds: int, *case: Any) -> list[str]:
        """The table's lines of one case, measured round after round: they begin with `start`."""
        *given, trips = case
        samples: dict[str, list[dict[str, float]]] = {client: [] for client in self.clients}
        notes: dict[str, str] = {}
        for turn in range(rounds):
            for client, taken in samples.items():
                try:
                    taken.append(self.measure(client, *given, trips // self.costs.get(client, 1)))
                except RuntimeError as error:
                    notes[client] = str(error)
            sys.stderr.write(f"{what} round {turn + 1} of {rounds}\n")
        return compared(start, samples, notes, reference)
