"""Downloads and uploads of large and of many files, side by side with curl and Python's clients.

    python -m benchmarks.files                 1 GiB, 3 rounds, http and https: about 10 minutes
    python -m benchmarks.files --quick         256 MiB, one round

The server has one processor, the client, a process of its own each time, has another. What counts
is megabytes per CPU second of the client's process; the ratio compares it with libcurl's blocking
transfer in C, which is what the curl tool does, in the same round. "RSS" is how much the process's
peak grew over what it was before the transfer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import importlib.metadata
import json
import os
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers import cpu_seconds
from benchmarks.peers.libcurl_c import library
from benchmarks.report import into_readme
from benchmarks.servers import Nginx, cores

ROOT = Path(__file__).parent.parent
SMALL, SMALL_SIZE, AT_ONCE = 10_000, 10_240, 64  # as many at once as curl --parallel-max
PIECE = 1 << 18
REFERENCE = "libcurl in C"
MARKS = ("<!-- files:start -->", "<!-- files:end -->")


@dataclass(frozen=True, slots=True)
class Job:
    """What one child process has to do."""

    what: str  # download, chunks, upload, small
    url: str
    ca: str
    file: str  # to write, or to send
    size: int


# ---------------------------------------------------------------- the clients, each in its process


def _ftnet_client(job: Job) -> Any:
    import ftnet as ft

    settings = {"ca": job.ca, "http_version": "1.1", "max_connections_per_host": AT_ONCE}
    return ft.Client(trust_env=False, **settings)


def ftnet_download(job: Job) -> int:
    import ftnet as ft

    with _ftnet_client(job) as client:
        done = ft.run(lambda: client.downloadFile(url=job.url, filePath=job.file)).result()
    return int(done.dataLength)


def ftnet_chunks(job: Job) -> int:
    import ftnet as ft

    seen = 0

    def take(event: Any) -> None:
        nonlocal seen
        seen += len(event.data)

    def start() -> None:
        client.request(url=job.url, enableChunked=True).onChunkReceived(take)

    with _ftnet_client(job) as client:
        ft.run(start)
    return seen


def ftnet_upload(job: Job) -> int:
    import ftnet as ft

    with _ftnet_client(job) as client:
        options = {"url": job.url, "filePath": job.file, "name": "file"}
        sent = ft.run(lambda: client.uploadFile(options)).result()
    return int(sent.profile.sendBytesCount)


def ftnet_small(job: Job) -> int:
    import ftnet as ft

    sizes: list[int] = []

    def start() -> None:
        for n in range(SMALL):
            client.downloadFile(
                url=f"{job.url}?{n}",
                filePath=f"{job.file}/{n}",
                success=lambda done: sizes.append(done.dataLength),
            )

    with _ftnet_client(job) as client:
        ft.run(start)
    return sum(sizes)


async def _aiohttp_session(job: Job) -> Any:
    import aiohttp

    context = ssl.create_default_context(cafile=job.ca)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=AT_ONCE))


def aiohttp_download(job: Job) -> int:
    async def main() -> int:
        async with await _aiohttp_session(job) as session, session.get(job.url) as response:
            with open(job.file, "wb") as file:
                async for data in response.content.iter_any():
                    file.write(data)
                return file.tell()

    return asyncio.run(main())


def aiohttp_chunks(job: Job) -> int:
    async def main() -> int:
        seen = 0
        async with await _aiohttp_session(job) as session, session.get(job.url) as response:
            async for data in response.content.iter_any():
                seen += len(data)
        return seen

    return asyncio.run(main())


def aiohttp_upload(job: Job) -> int:
    import aiohttp

    async def main() -> int:
        with open(job.file, "rb") as file:
            form = aiohttp.FormData()
            form.add_field("file", file, filename="file.bin")
            async with (
                await _aiohttp_session(job) as session,
                session.post(job.url, data=form) as response,
            ):
                await response.read()
                response.raise_for_status()
        return job.size

    return asyncio.run(main())


def aiohttp_small(job: Job) -> int:
    async def main() -> int:
        numbers, total = iter(range(SMALL)), 0

        async def worker(session: Any) -> None:
            nonlocal total
            for n in numbers:
                async with session.get(f"{job.url}?{n}") as response:
                    data = await response.read()
                with open(f"{job.file}/{n}", "wb") as file:
                    total += file.write(data)

        async with await _aiohttp_session(job) as session:
            await asyncio.gather(*[worker(session) for _ in range(AT_ONCE)])
        return total

    return asyncio.run(main())


def _httpx_client(job: Job) -> Any:
    import httpx

    return httpx.Client(verify=ssl.create_default_context(cafile=job.ca), trust_env=False)


def httpx_download(job: Job) -> int:
    with (
        _httpx_client(job) as client,
        client.stream("GET", job.url) as response,
        open(job.file, "wb") as file,
    ):
        for data in response.iter_bytes():
            file.write(data)
        return file.tell()


def httpx_chunks(job: Job) -> int:
    with _httpx_client(job) as client, client.stream("GET", job.url) as response:
        return sum(len(data) for data in response.iter_bytes())


def httpx_upload(job: Job) -> int:
    with _httpx_client(job) as client, open(job.file, "rb") as file:
        client.post(job.url, files={"file": file}, timeout=300).raise_for_status()
    return job.size


CLIENTS: dict[str, dict[str, Callable[[Job], int]]] = {
    "ftnet": {
        "download": ftnet_download,
        "chunks": ftnet_chunks,
        "upload": ftnet_upload,
        "small": ftnet_small,
    },
    "aiohttp": {
        "download": aiohttp_download,
        "chunks": aiohttp_chunks,
        "upload": aiohttp_upload,
        "small": aiohttp_small,
    },
    "httpx": {"download": httpx_download, "chunks": httpx_chunks, "upload": httpx_upload},
}


def child(client: str, job: Job) -> dict[str, float]:
    """Measures one job in this process; imports and the first use of the client come before."""
    warm = Job(job.what, job.url.rpartition("/")[0] + "/warm", job.ca, job.file, 0)
    if job.what in ("download", "chunks"):
        CLIENTS[client][job.what](warm)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again; ru_maxrss can't
    rss = _memory("VmRSS")
    start, cpu = time.perf_counter(), cpu_seconds(resource.RUSAGE_SELF)
    got = CLIENTS[client][job.what](job)
    seconds = time.perf_counter() - start
    used = cpu_seconds(resource.RUSAGE_SELF) - cpu
    return {"bytes": got, "seconds": seconds, "cpu": used, "rss": _memory("VmHWM") - rss}


def _memory(name: str) -> float:
    """MiB of a line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {name} in /proc/self/status")


# ---------------------------------------------------------------- the tools


def pin(which: int = 0) -> None:
    """Keeps this process on the client's (0) or the server's (1) processor."""
    core = cores()[which]
    if core is not None:
        os.sched_setaffinity(0, {core})


def _tool(command: list[str], size: int) -> dict[str, float]:
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=pin
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise RuntimeError(f"{command[0]} ended with {status}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"bytes": size, "seconds": seconds, "cpu": cpu, "rss": 0.0}


def curl(job: Job, folder: Path) -> dict[str, float]:
    base = ["curl", "-sSf", "--http1.1", "--cacert", job.ca, "--noproxy", "*"]
    if job.what == "download":
        return _tool([*base, "-o", job.file, job.url], job.size)
    if job.what == "upload":
        return _tool([*base, "-F", f"file=@{job.file}", job.url], job.size)
    config = folder / "curl.config"
    lines = [f'url="{job.url}?{n}"\noutput="{job.file}/{n}"\n' for n in range(SMALL)]
    config.write_text("".join(lines))
    parallel = ["--parallel", "--parallel-max", str(AT_ONCE), "-K", str(config)]
    return _tool([*base, *parallel], SMALL * SMALL_SIZE)


def libcurl(job: Job, program: str) -> dict[str, float]:
    command = [program, job.what, job.url, job.file, job.ca]
    done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=pin)
    told: dict[str, float] = json.loads(done.stdout)
    return told | {"rss": 0.0}


# ---------------------------------------------------------------- the servers


class Sink:
    """Takes uploads and forgets them, over http and https, a thread for each connection."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.http, self.https = (
            f"{scheme}://127.0.0.1:{one.getsockname()[1]}/upload"
            for scheme, one in zip(("http", "https"), self._sockets, strict=True)
        )
        for one, tls in zip(self._sockets, (None, context), strict=True):
            threading.Thread(target=self._accept, args=(one, tls), daemon=True).start()

    def _accept(self, server: socket.socket, tls: ssl.SSLContext | None) -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=self._serve, args=(connection, tls), daemon=True).start()

    def _serve(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        with contextlib.suppress(OSError):
            if tls:
                connection = tls.wrap_socket(connection, server_side=True)
            with connection:
                while self._answer(connection):
                    continue

    def _answer(self, connection: socket.socket) -> bool:
        """Whether there was a request."""
        room = bytearray(PIECE)
        head = bytearray()
        while b"\r\n\r\n" not in head:
            data = connection.recv(65536)
            if not data:
                return False
            head += data
        text, _, rest = bytes(head).partition(b"\r\n\r\n")
        fields = dict(
            line.lower().split(b": ", 1) for line in text.split(b"\r\n")[1:] if b": " in line
        )
        if b"expect" in fields:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if b"content-length" in fields:
            left = int(fields[b"content-length"]) - len(rest)
            while left:
                left -= connection.recv_into(room, min(left, PIECE)) or 1 << 62
        else:
            tail = rest
            while not tail.endswith(b"0\r\n\r\n"):
                got = connection.recv_into(room)
                tail = (tail + room[:got])[-5:]
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True


def sink_process(cert: str) -> None:
    """Runs `Sink` in this process, prints its URLs, and ends with its stdin."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert)
    pin(1)
    sink = Sink(context)
    print(json.dumps([sink.http, sink.https]), flush=True)
    sys.stdin.read()


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """URLs of the files and of the sink; folder/www is what nginx serves."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    pair = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    pair.write_to_path(folder / "cert.pem")
    command = [sys.executable, "-m", "benchmarks.files", "--sink", str(folder / "cert.pem")]
    sink = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert sink.stdout is not None
    with sink, Nginx(folder / "www", folder / "cert.pem") as nginx:
        http, https = json.loads(sink.stdout.readline())
        yield {
            "files http": nginx.base,
            "files https": nginx.secure,
            "upload http": http,
            "upload https": https,
            "ca": str(folder / "ca.pem"),
        }
        sink.terminate()


# ---------------------------------------------------------------- the table


@dataclass(slots=True)
class Row:
    """What was measured of one client at one job, a sample a round."""

    client: str
    what: str
    scheme: str
    samples: list[dict[str, float]] = field(default_factory=list)
    note: str = ""

    def middle(self, value: Callable[[dict[str, float]], float]) -> float:
        return median([value(sample) for sample in self.samples] or [float("nan")])

    def ratio_to(self, other: Row) -> float:
        pairs = zip(self.samples, other.samples, strict=False)
        ratios = [_per_cpu(a) / _per_cpu(b) for a, b in pairs]
        return median(ratios or [float("nan")])


def _per_cpu(sample: dict[str, float]) -> float:
    return sample["bytes"] / sample["cpu"] / 1e6


def measure(client: str, job: Job, folder: Path, program: str) -> dict[str, float]:
    """One job by one client; raises RuntimeError when what it did is not right."""
    if client == "curl":
        told = curl(job, folder)
    elif client == REFERENCE:
        told = libcurl(job, program)
    else:
        command = [sys.executable, "-m", "benchmarks.files", "--child", client]
        given = json.dumps([job.what, job.url, job.ca, job.file, job.size])
        done = subprocess.run([*command, given], capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        told = json.loads(done.stdout)
    if told["bytes"] < job.size:
        raise RuntimeError(f"{told['bytes']} of {job.size} bytes")
    return told


def _same(path: str, digest: str) -> bool:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest


def _compile(folder: Path) -> str:
    program = str(folder / "libcurl_file")
    source = str(ROOT / "benchmarks" / "limits" / "libcurl_file.c")
    subprocess.run(["cc", "-O2", "-o", program, source, *library()], check=True)
    return program


def jobs(urls: dict[str, str], folder: Path, size: int) -> Iterator[tuple[str, Job, list[str]]]:
    """Every job with its scheme and the clients that do it."""
    ca = urls["ca"]
    for scheme in ("http", "https"):
        files, upload = urls[f"files {scheme}"], urls[f"upload {scheme}"]
        large, out = f"{files}/large", str(folder / "out")
        yield scheme, Job("download", large, ca, out, size), [REFERENCE, "curl", *CLIENTS]
        yield scheme, Job("chunks", large, ca, out, size), list(CLIENTS)
        source = str(folder / "www" / "large")
        yield scheme, Job("upload", upload, ca, source, size), [REFERENCE, "curl", *CLIENTS]
    (folder / "many").mkdir()
    small = f"{urls['files http']}/small"
    job = Job("small", small, ca, str(folder / "many"), SMALL * SMALL_SIZE)
    yield "http", job, ["curl", "ftnet", "aiohttp"]


def run(options: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ftnet-files-", dir=options.dir) as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker reads it
        (folder / "www").mkdir()
        content = os.urandom(1 << 20) * (options.size >> 20)
        (folder / "www" / "large").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        del content
        (folder / "www" / "small").write_bytes(os.urandom(SMALL_SIZE))
        (folder / "www" / "warm").write_bytes(b"warm")
        program = _compile(folder)
        with servers(folder) as urls:
            for scheme, job, clients in jobs(urls, folder, options.size):
                block = [Row(client, job.what, scheme) for client in clients]
                for turn in range(options.rounds):
                    for row in block:
                        _one(row, job, folder, program, digest)
                    sys.stderr.write(f"{scheme} {job.what} round {turn + 1}\n")
                rows += block
    return rows


def _one(row: Row, job: Job, folder: Path, program: str, digest: str) -> None:
    try:
        row.samples.append(measure(row.client, job, folder, program))
        if job.what == "download" and not _same(job.file, digest):
            raise RuntimeError("the file is not what was served")
    except (RuntimeError, subprocess.CalledProcessError) as error:
        row.note = str(error)
    if job.what == "download":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(job.file)
    elif job.what == "small":
        shutil.rmtree(job.file)
        os.mkdir(job.file)


def table(rows: list[Row]) -> str:
    """Markdown: a line for each client and job."""
    lines = ["| job | client | MB per CPU s | MB/s | peak RSS, MiB over start | ratio |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for row in rows:
        same = [r for r in rows if (r.what, r.scheme) == (row.what, row.scheme)]
        first = next((r for r in same if r.client == REFERENCE), same[0])
        if not row.samples or row.note:
            lines.append(f"| {row.scheme} {row.what} | {row.client} | {row.note} | | | |")
            continue
        rate = row.middle(lambda s: s["bytes"] / s["seconds"] / 1e6)
        rss = row.middle(lambda s: s["rss"])
        rss_text = f"{rss:.1f}" if row.client in CLIENTS else "-"
        lines.append(
            f"| {row.scheme} {row.what} | {row.client} | {row.middle(_per_cpu):,.0f} |"
            f" {rate:,.0f} | {rss_text} | {row.ratio_to(first):.2f} |"
        )
    return "\n".join(lines)


def versions() -> str:
    names = ("ftnet", "pycurl", "aiohttp", "httpx")
    found = [f"{name} {importlib.metadata.version(name)}" for name in names]
    tool = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True)
    found.append(" ".join(tool.stdout.split()[:2]))
    return ", ".join([*found, f"nginx {Nginx.version()}"])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="256 MiB, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1 << 30, help="bytes of the large file")
    parser.add_argument("--dir", default=None, help="where the files are (a RAM disk: /dev/shm)")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--sink", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.sink:
        sink_process(options.sink)
        return 0
    if options.child:
        pin()
        what, url, ca, file, size = json.loads(options.child[1])
        print(json.dumps(child(options.child[0], Job(what, url, ca, file, size))))
        return 0
    if options.quick:
        options.rounds, options.size = 1, 256 << 20
    rows = run(options)
    heading = (
        f"Files: MB per CPU second of the client process, {options.size >> 20} MiB over loopback,"
        f" and {SMALL:,} of 10 KiB, {AT_ONCE} at a time; median of {options.rounds} interleaved"
        f" rounds, ratio to libcurl's blocking transfer in C or to the first; {versions()};"
        f" {datetime.now(UTC):%Y-%m-%d}."
    )
    print(f"{heading}\n\n{table(rows)}")
    if options.readme:
        readme = ROOT / "README.md"
        text = into_readme(readme.read_text(encoding="utf-8"), f"{heading}\n\n{table(rows)}", MARKS)
        readme.write_text(text, encoding="utf-8")
    return int(any(row.note for row in rows))


if __name__ == "__main__":
    sys.exit(main())
