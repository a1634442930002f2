"""How far the estimates of network quality are from the truth, over links whose truth is known.

    python -m benchmarks.quality_links            TUN links in a network namespace, else a relay
    python -m benchmarks.quality_links --relay    over a relay in user space
    python -m benchmarks.quality_links --readme   write the table into README.md

On each link a new Client makes requests one after the other for the round-trip times, then
downloads, eight at once, for the rate. All links take about four minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import ftnet as ft
from benchmarks.links import TUN
from benchmarks.report import write_into_readme

ROOT = Path(__file__).parent.parent
MARKS = ("<!-- quality:start -->", "<!-- quality:end -->")
PINGS = 12
AT_ONCE = 8
DOWNLOADS = 40
SECONDS = 15  # of downloads, as the link's rate has it
SMALLEST = 12_000


@dataclass(frozen=True)
class Link:
    rtt_ms: float
    kbps: float
    loss: float
    kind: ft.NetType

    @property
    def name(self) -> str:
        loss = f", {self.loss:.1%} lost" if self.loss else ""
        return f"{self.rtt_ms:g} ms, {self.kbps:,g} kbit/s{loss}"


LINKS = (
    Link(20, 20_000, 0, ft.NetType.TYPE_4G),
    Link(60, 5_000, 0, ft.NetType.TYPE_4G),
    Link(100, 3_000, 0.01, ft.NetType.TYPE_4G),
    Link(350, 1_000, 0, ft.NetType.TYPE_3G),
    Link(1500, 250, 0, ft.NetType.TYPE_2G),
    Link(2300, 130, 0, ft.NetType.SLOW_2G),
)


@dataclass(frozen=True)
class Found:
    idle: ft.NetworkQuality
    busy: ft.NetworkQuality


# ---------------------------------------------------------------- the server


class Bytes(asyncio.Protocol):
    """GET /N: N bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.unread = b""

    def data_received(self, data: bytes) -> None:
        *heads, self.unread = (self.unread + data).split(b"\r\n\r\n")
        for head in heads:
            size = int(head.split(b" ", 2)[1][1:])
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
            self.transport.write(answer + bytes(size))


async def serve() -> None:
    """Until standard input ends."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(Bytes, "0.0.0.0", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.add_reader(sys.stdin, over.set)
    await over.wait()


@contextlib.contextmanager
def beside(*command: str) -> Iterator[str]:
    """A module of this folder in a process of its own; the line that it begins with."""
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline().strip()
            if not line:
                raise RuntimeError(f"{' '.join(command)} did not start")
            yield line
        finally:
            process.stdin.close()


# ---------------------------------------------------------------- the client


def download_all(client: ft.Client, url: str, count: int) -> None:
    """So many downloads, AT_ONCE under way."""
    left = count

    def begin(_: object = None) -> None:
        nonlocal left
        if left:
            left -= 1
            client.request(url=url, responseType="arraybuffer", complete=begin, timeout=600_000)

    ft.run(lambda: [begin() for _ in range(AT_ONCE)])


def measure(link: Link, relay: bool) -> Found:
    way = [f"{link.rtt_ms}", f"{link.kbps}", f"{link.loss}", *(["--relay"] if relay else [])]
    size = max(SMALLEST, int(link.kbps * 125 * SECONDS / DOWNLOADS))
    with (
        beside("benchmarks.quality_links", "--serve") as port,
        beside("benchmarks.links", port, *way) as place,
        ft.Client(trust_env=False) as client,
    ):
        for _ in range(PINGS):
            client.request(url=f"http://{place}/1", timeout=600_000).result()
        idle = client.network_quality
        download_all(client, f"http://{place}/{size}", DOWNLOADS)
        return Found(idle, client.network_quality)


#: kbit/s that an estimate can be by its type
MOST = {ft.NetType.TYPE_3G: 1400, ft.NetType.TYPE_2G: 262, ft.NetType.SLOW_2G: 140}


def row(link: Link, found: Found) -> str:
    idle, busy = found.idle, found.busy

    def against(value: float, true: float) -> str:
        return f"{value:,.0f} | {value / true - 1:+.0%}"

    rate = against(busy.downstream_throughput_kbps, link.kbps)
    if busy.downstream_throughput_kbps == MOST.get(busy.effective_type):
        rate = f"{busy.downstream_throughput_kbps:,} | all a {busy.effective_type.name} may have"
    kind = "yes" if idle.effective_type == link.kind else f"no: {idle.effective_type.name}"
    return (
        f"| {link.name} | {against(idle.http_rtt, link.rtt_ms)}"
        f" | {against(idle.transport_rtt, link.rtt_ms)}"
        f" | {rate}"
        f" | {busy.throughput_observations} | {link.kind.name} | {kind} |"
    )


def report(relay: bool) -> str:
    kind = "a relay in user space" if relay else "a TUN device in a network namespace"
    lines = [
        f"Estimates over emulated links ({kind}), and their error.",
        "",
        "| link | HTTP RTT, ms | | transport RTT, ms | | kbit/s | | windows | type | found |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for link in [replace(link, loss=0) for link in LINKS] if relay else LINKS:
        lines.append(row(link, measure(link, relay)))
        sys.stderr.write(f"{link.name}\n")
    return "\n".join(lines)


def in_namespace(arguments: list[str]) -> int | None:
    """Runs this program once more, in a network of its own; None where that can't be."""
    unshare = ["unshare", "-rn"]
    try:
        able = subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        able = False
    if not able or not os.access(TUN, os.R_OK | os.W_OK):
        return None
    command = [*unshare, sys.executable, "-m", "benchmarks.quality_links", "--inside"]
    return subprocess.run([*command, *arguments], cwd=ROOT, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--relay", action="store_true", help="a relay in user space, not TUN")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return 0
    relay = options.relay
    if not relay and not options.inside:
        status = in_namespace(sys.argv[1:])
        if status is not None:
            return status
        sys.stderr.write("no network namespaces, or no TUN, here: over a relay\n")
        relay = True
    text = report(relay)
    print(text)
    if options.readme:
        write_into_readme(ROOT / "README.md", text, MARKS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
