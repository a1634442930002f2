"""What an open socket costs that does nothing: memory and descriptors of the client's process.

    python -m benchmarks.idle             10,000 of each kind (2,000 over TLS)
    python -m benchmarks.idle --only tcp  of one kind
    python -m benchmarks.idle --readme    write the table into README.md

The servers, picows on uvloop and a protocol on uvloop for TCP, are other processes. Memory is
resident memory beyond that of a client with 100 sockets; "after an echo" once each socket has sent
64 B and had them back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import write_into_readme
from benchmarks.rounds import ROOT, serving

MARKS = ("<!-- idle:start -->", "<!-- idle:end -->")
LIMIT = 300.0
AT_ONCE = 100
SOCKETS = {"ws": 10_000, "wss": 2_000, "tcp": 10_000}


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def measure(url: str, count: int) -> dict[str, float]:
    """KiB and descriptors of each of so many sockets."""
    import ftnet as ft

    with ft.Client(trust_env=False, verify=False) as client:

        def begun() -> Any:
            if not url.startswith("tcp:"):
                return client.connectSocket(url=url)
            task = client.createTCPSocket()
            task.connect(address="127.0.0.1", port=int(url[4:]), timeout=LIMIT)
            return task

        def send(task: Any) -> None:
            if url.startswith("tcp:"):
                task.write(bytes(64))
            else:
                task.send(data=bytes(64))

        async def opened() -> list[Any]:
            tasks = [begun() for _ in range(AT_ONCE)]
            for task in tasks:
                await (task.connected() if url.startswith("tcp:") else task.opened())
            return tasks

        tasks = await opened()
        memory, files = resident(), descriptors()
        for _ in range(count // AT_ONCE):
            tasks += await opened()
        idle, after = resident() - memory, descriptors() - files
        for task in tasks:
            send(task)
        for task in tasks:
            async for _ in task:
                break
        used = resident() - memory
    return {"idle": idle / count / 1024, "used": used / count / 1024, "files": after / count}


def row(kind: str, url: str) -> str:
    """The table's line of one kind, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.idle", "--child", url, str(SOCKETS[kind])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    told = json.loads(done.stdout)
    figures = f"{told['idle']:.1f} | {told['used']:.1f} | {told['files']:.1f}"
    return f"| {kind} | {SOCKETS[kind]:,} | {figures} |"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=SOCKETS, help="one kind")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.child:
        print(json.dumps(asyncio.run(measure(options.child[0], int(options.child[1])))))
        return 0
    lines = ["| socket | open | KiB each, idle | KiB each, after an echo | descriptors each |"]
    lines.append("|---|---:|---:|---:|---:|")
    with serving("benchmarks.echo") as addresses, serving("benchmarks.echo_tcp") as port:
        plain, tls, _ = addresses.split()
        urls = {"ws": plain, "wss": tls, "tcp": f"tcp:{port.strip()}"}
        lines += [row(kind, url) for kind, url in urls.items() if options.only in (None, kind)]
    print(*lines, sep="\n")
    if options.readme:
        write_into_readme(ROOT / "README.md", "\n".join(lines), MARKS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
