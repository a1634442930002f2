"""The test server: known answers over HTTP/1.1, HTTP/2 and HTTP/3 on the loopback, in a process.

`Server` starts it from Python; `python -m ftnet.testing.server` runs it by hand. It needs the
extra `testing` (granian for HTTP/1.1 and h2, hypercorn with aioquic for h3, trustme for the
certificates). Every port speaks HTTP/1.1; the plain one also h2 with prior knowledge, the TLS one
also h2 by ALPN and, with h3, QUIC on the UDP port of the same number.

Endpoints answer every method (HEAD without a body) unless one is named, and ignore request bodies
unless they say otherwise. Numbers out of range get status 400 with {"error": ...}, other paths 404.

==============================================  ==================================================
/                                               {"ok":true}
/hello                                          13 bytes of text: Hello, World!
/json                                           {"id":1,"name":"widget","tags":["a","b","c"],
                                                "price":12.5,"nested":{"x":1,"y":[1,2,3]}}
/echo                                           the request as JSON: method, path (decoded), query
                                                (raw), headers ([name, value] pairs, names in lower
                                                case), body (base64), body_text (UTF-8),
                                                http_version ("1.1", "2", "3"), client ([ip, port])
/bytes/{n}                                      n bytes with content-length; byte k is k mod 251
/status/{code}                                  that status, 200 to 999
/redirect/{n}[?status=302]                      a chain of n relative redirects, then status 200
/redirect-to?url=U[&status=302]                 one redirect to U
/cookies                                        {"cookies": {name: value}} as sent
/cookies/set?name=value&...                     a set-cookie header for each pair, with Path=/
/gzip, /br                                      the object of /json and "encoding", compressed
                                                whatever the request accepts
/bomb/{n}                                       n zero bytes, content-encoding gzip
/delay?before=ms&between=ms&chunks=1            waits before the head, then sends "chunk 0\\n",
                                                "chunk 1\\n", ... waiting between them
/stream/{count}/{size}?interval=ms              count chunks of size bytes, contents as /bytes
/drip?bytes=10&rate=10                          that many bytes at so many bytes a second, with
                                                content-length, contents as /bytes
/headers/{n}                                    x-header-0: value-0 and so on; x-repeated and
                                                set-cookie twice each
/charset/{name}                                 text in that charset (`app.charset_text`)
/sse?count=3&interval=ms                        server-sent events: id, event "tick", {"n":k}
/upload?rate=B                                  reads the body, at most B bytes a second (0: as fast
                                                as it comes): {"length": ..., "sha256": hex}
/early                                          status 413 at once, the request's body unread
==============================================  ==================================================

Over h3 no body is longer than 64 MiB (status 400), since the h3 server keeps in memory what a
client doesn't read, and goes on when the client leaves. Over HTTP/1.1 and h2 it waits for slow
readers and gives up when they leave.

Delays below HTTP: `accept_delay` leaves the first bytes of each plain connection unread for so
long, `tls_delay` those of each TLS connection, so that the ClientHello is answered late. The
clients' addresses that /echo tells are then those of the relay that does it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from ftnet.testing.serving import Running

__all__ = ["Server", "main"]

START_SECONDS = 30.0
STOP_SECONDS = 10.0


class Server:
    """The test server in a process of its own, as a context manager or by start() and stop().

    The process ends with stop(), or when this process does. Ports of 0 mean any free one; delays
    are in seconds; `host` is an address. start() raises RuntimeError with what the server wrote
    to standard error when it fails or isn't ready within `limit` seconds.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls_port: int = 0,
        tls: bool = True,
        h3: bool = False,
        accept_delay: float = 0.0,
        tls_delay: float = 0.0,
        limit: float = START_SECONDS,
    ) -> None:
        self._arguments = [
            f"--host={host}",
            f"--port={port}",
            f"--tls-port={tls_port}",
            f"--accept-delay={accept_delay * 1000:g}",
            f"--tls-delay={tls_delay * 1000:g}",
            *(["--h3"] if h3 else []),
            *([] if tls else ["--no-tls"]),
        ]
        self._limit = limit
        self._ready: dict[str, Any] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._resources = ExitStack()

    @property
    def http(self) -> str:
        """Base URL of the plain port, as in http://127.0.0.1:8080."""
        return self._told("http")

    @property
    def https(self) -> str:
        """Base URL of the TLS port; raises RuntimeError when there is none."""
        return self._told("https")

    @property
    def h3(self) -> str | None:
        """Base URL for HTTP/3, the same as `https`; None unless asked for."""
        return None if self._ready is None else self._ready["h3"]

    @property
    def ca(self) -> str:
        """Path of the CA certificate to trust (PEM); raises RuntimeError without TLS."""
        return self._told("ca")

    @property
    def port(self) -> int:
        """Number of the plain port."""
        return urlsplit(self.http).port or 0

    @property
    def tls_port(self) -> int:
        """Number of the TLS port; raises RuntimeError when there is none."""
        return urlsplit(self.https).port or 0

    @property
    def pid(self) -> int:
        """Process id of the server."""
        if self._process is None:
            raise RuntimeError("the test server is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start the server and wait until it accepts; raises RuntimeError."""
        if self._process is not None:
            raise RuntimeError("the test server is running already")
        self._stderr = self._resources.enter_context(_unnamed_file())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ftnet.testing.server", "--exit-with-parent", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            process_group=0,  # Ctrl-C is for this process, which then stops the server
        )
        try:
            self._ready = json.loads(self._ready_line(self._process))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server, by force if it doesn't within STOP_SECONDS. May be called again."""
        process, self._process, self._ready = self._process, None, None
        if process is None:
            return
        with self._resources, process:  # leaving `process` closes its pipes and reaps it
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def log(self) -> str:
        """What the running server has written to standard error: nothing, if all is well."""
        if self._process is None or self._stderr is None:
            raise RuntimeError("the test server is not running")
        return os.pread(self._stderr.fileno(), 2**20, 0).decode("utf-8", "replace")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _told(self, key: str) -> str:
        if self._ready is None:
            raise RuntimeError("the test server is not running")
        value: str | None = self._ready[key]
        if value is None:
            raise RuntimeError("the test server was started without TLS")
        return value

    def _ready_line(self, process: subprocess.Popen[bytes]) -> bytes:
        if process.stdout is None:
            raise RuntimeError("the test server has no standard output")
        line = b""
        deadline = time.monotonic() + self._limit
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise RuntimeError(
                        f"the test server took over {self._limit:g} s:\n{self.log()}"
                    )
                piece = os.read(process.stdout.fileno(), 4096)
                if not piece:
                    raise RuntimeError(f"the test server did not start:\n{self.log()}")
                line += piece
        return line


def _unnamed_file() -> IO[bytes]:
    return tempfile.TemporaryFile()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ftnet.testing.server",
        description="Serve the test endpoints; prints one line of JSON when ready.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="plain port (0: any)")
    parser.add_argument("--tls-port", type=int, default=0, help="TLS port (0: any)")
    parser.add_argument("--no-tls", action="store_true", help="plain port only")
    parser.add_argument("--h3", action="store_true", help="HTTP/3 on the TLS port's number too")
    parser.add_argument("--cert-dir", type=Path, help="where to keep the certificates")
    parser.add_argument(
        "--accept-delay", type=float, default=0, metavar="MS", help="read plain connections late"
    )
    parser.add_argument(
        "--tls-delay", type=float, default=0, metavar="MS", help="answer the ClientHello late"
    )
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="stop when standard input ends"
    )
    return parser


def _on_end_of_input(loop: asyncio.AbstractEventLoop, then: Callable[[], None]) -> None:
    """Call `then` in `loop` when standard input ends: its other end closes when the parent dies."""
    try:
        while os.read(0, 4096):
            continue
    finally:
        loop.call_soon_threadsafe(then)


async def _serve(options: argparse.Namespace) -> None:
    """Serve until asked to end; raises what keeps a server from starting or ends it early."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    if options.exit_with_parent:
        threading.Thread(target=_on_end_of_input, args=(loop, asked.set), daemon=True).start()
    ended = asyncio.ensure_future(asked.wait())
    with tempfile.TemporaryDirectory(prefix="ftnet-") as temporary:
        servers = _servers(options, options.cert_dir or Path(temporary))
        try:
            await servers.start()
            print(json.dumps(servers.ready() | {"pid": os.getpid()}), flush=True)
            failed = asyncio.ensure_future(servers.until_failed())
            await asyncio.wait((ended, failed), return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
                raise RuntimeError("a server ended on its own")
            failed.cancel()
        finally:
            ended.cancel()
            await servers.stop()


def _servers(options: argparse.Namespace, directory: Path) -> Running:
    from ftnet.testing import certs, serving

    settings = serving.Settings(
        host=options.host,
        port=options.port,
        tls_port=options.tls_port,
        h3=options.h3,
        accept_delay=options.accept_delay / 1000,
        tls_delay=options.tls_delay / 1000,
        certificates=None if options.no_tls else certs.make(directory),
    )
    return serving.Running(settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM, SIGINT or, if asked, the end of standard input; the exit status."""
    options = _parser().parse_args(arguments)
    if options.h3 and options.no_tls:
        _parser().error("--h3 needs TLS")
    try:
        asyncio.run(_serve(options))
    except (ImportError, OSError, RuntimeError) as error:
        sys.stderr.write(f"ftnet.testing.server: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
