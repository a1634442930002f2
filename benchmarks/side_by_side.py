"""Runs ftnet and its peers side by side against one nginx and prints what each request cost.

    python -m benchmarks.side_by_side              the whole table: about 20 minutes
    python -m benchmarks.side_by_side --quick      a first look: about two minutes

nginx (one worker) has one processor, the clients, one process after the other, have another. At
each concurrency all clients take turns, round after round, so that a change in the machine meets
all of them. The figure that counts is the client process's CPU time per request (getrusage),
taken after the connections are open; the ratio compares it with pycurl's tuned loop in the same
round. ftnet makes a profile and decodes JSON in every request; the peers do neither.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import peers, report
from benchmarks.peers import Case, Sample
from benchmarks.report import Row, Table
from benchmarks.servers import Nginx, cores

ROOT = Path(__file__).parent.parent
TIME_LIMIT = 180.0  # seconds for one run of one client
_SPARE_FDS = 64


class Client:
    """A case and where it is found: what the child process has to be told."""

    def __init__(self, file: str, index: int, case: Case) -> None:
        self.file, self.index, self.case = file, index, case
        self.missing = case.missing()

    @property
    def name(self) -> tuple[str, str]:
        return self.case.client, self.case.mode

    def run(self, url: str, concurrency: int, total: int) -> Sample:
        """Measure once in a new process; raises RuntimeError with the reason if it failed."""
        arguments = [self.file, str(self.index), url, str(concurrency), str(total)]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.child", *arguments],
                cwd=ROOT,
                env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"took over {TIME_LIMIT:g} s") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise RuntimeError(f"failed: {lines[-1]}")
        return Sample(**json.loads(done.stdout.splitlines()[-1]))


def clients(only: Sequence[str]) -> list[Client]:
    """Every case, or those whose name holds one of `only` and the ones they are compared with."""
    every = [
        Client(file, index, case)
        for file in peers.FILES
        for index, case in enumerate(peers.load(file))
    ]
    kept = {report.REFERENCE, report.AWAITED_PEER}
    return [
        client
        for client in every
        if not only or client.name in kept or any(word in " ".join(client.name) for word in only)
    ]


def _size(case: Case, concurrency: int, options: argparse.Namespace) -> int:
    """How many requests: `--requests`, or what the case does in about `--seconds` if less."""
    total = min(options.requests, int(options.seconds * 1e6 / case.cost))
    return total // 4 if concurrency == 1 else max(concurrency, total)  # one by one takes longer


def _block(
    path: str, concurrency: int, every: list[Client], options: argparse.Namespace, base: str
) -> Iterator[Row]:
    """All clients at one concurrency, in turns."""
    rows = [Row(*client.name, path, concurrency) for client in every]
    for turn in range(options.rounds):
        for client, row in zip(every, rows, strict=True):
            if concurrency > client.case.most:
                row.note = f"left out above c={client.case.most}"
            elif client.missing:
                row.note = client.missing
            elif not row.note:
                total = _size(client.case, concurrency, options)
                try:
                    row.samples.append(client.run(base + path, concurrency, total))
                except RuntimeError as error:
                    row.note = str(error)
        sys.stderr.write(f"{path} c={concurrency} round {turn + 1} of {options.rounds}\n")
    yield from rows


def _raise_descriptors(wanted: int) -> int:
    """Raise the limit of open files towards `wanted`; what it is then. Children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def import_ms(runs: int = 7) -> float:
    """Median ms of `import ftnet` in new processes with its compiled parts; NaN if it fails."""
    code = "import time; t = time.perf_counter(); import ftnet; ftnet.request; "
    code += "print((time.perf_counter() - t) * 1e3)"
    command = [sys.executable, "-c", code]
    done = [
        subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        for _ in range(runs)
    ]
    if any(one.returncode for one in done):
        return float("nan")
    return median(float(one.stdout) for one in done)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _facts(every: list[Client]) -> dict[str, Any]:
    """What the figures depend on."""
    versions = [client.case.version() for client in every if not client.missing]
    if not peers.lacks("ftnet")():
        versions.insert(0, f"ftnet {importlib.metadata.version('ftnet')}")
    flat = dict.fromkeys(word for text in versions for word in text.split(", "))
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "pinned": cores()[0] is not None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "nginx": Nginx.version(),
        "versions": list(flat),
        "revision": _revision(),
    }


def _heading(facts: dict[str, Any], options: argparse.Namespace, path: str) -> str:
    pinned = "nginx and client pinned apart" if facts["pinned"] else "NOT pinned apart"
    return (
        f"CPU µs per request of the client process, GET {path}, keep-alive, median of"
        f" {options.rounds} interleaved rounds; {facts['processors']} cores of"
        f" {facts['processor']}, {facts['system']}, Python {facts['python']},"
        f" nginx {facts['nginx']}, {pinned}; {facts['date']}."
        " Ratio: to pycurl's tuned loop in the same round."
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.side_by_side",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="one short round: the figures are rough")
    add("--rounds", type=int, default=3, help="turns of each client (3)")
    add("--requests", type=int, default=100_000, help="requests a run at most (100000)")
    add("--seconds", type=float, default=5.0, help="about how long a slow client's run takes (5)")
    add("-c", "--concurrency", default="1,64,512,4096", help="1,64,512,4096", metavar="C,C")
    add("--paths", default="/hello,/json", help="/hello,/json; the bars are those of the first")
    add("--only", action="append", default=[], metavar="WORD", help="clients to run; repeatable")
    add("--json", type=Path, metavar="FILE", help="write all samples and facts to FILE")
    add("--readme", action="store_true", help="write the first table into README.md")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.requests = 1, 0.5, 30_000
    options.levels = [int(level) for level in options.concurrency.split(",")]
    options.paths = options.paths.split(",")
    if options.rounds < 1 or min(options.levels) < 1:
        parser.error("rounds and concurrency are at least 1")
    return options


def _write(table: Table, facts: dict[str, Any], ms: float, options: argparse.Namespace) -> None:
    """The files that were asked for."""
    bars = table.bars(ms)
    if options.json:
        content = {
            "facts": facts,
            "rows": [asdict(row) for row in table.rows],
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in bars],
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.readme:
        path = options.paths[0]
        heading = f"{_heading(facts, options, path)} Versions: {', '.join(facts['versions'])}."
        block = report.as_markdown(table, path, heading, bars)
        readme = ROOT / "README.md"
        text = report.into_readme(readme.read_text(encoding="utf-8"), block)
        readme.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 when a client that is installed failed."""
    options = _options(arguments)
    every = clients(options.only)
    start = time.monotonic()
    allowed = _raise_descriptors(2 * max(options.levels) + _SPARE_FDS)
    levels = [level for level in options.levels if level + _SPARE_FDS <= allowed]
    table = Table([])
    with Nginx() as nginx:
        for path in options.paths:
            for level in levels:
                table.rows += _block(path, level, every, options, nginx.base)
    facts, ms = _facts(every), import_ms()
    print(f"versions: {', '.join(facts['versions'])}")
    for path in options.paths:
        print(f"\n{_heading(facts, options, path)}\n\n{report.as_text(table, path)}")
    print(f"\n{report.bars_as_text(table.bars(ms))}")
    for level in set(options.levels) - set(levels):
        print(f"c={level} left out: only {allowed} open files allowed (ulimit -n)")
    print(f"took {time.monotonic() - start:.0f} s")
    _write(table, facts, ms, options)
    return int(any(row.note.startswith(("failed", "took")) for row in table.rows))


if __name__ == "__main__":
    sys.exit(main())
