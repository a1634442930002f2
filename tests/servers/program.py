"""A real server as a child process: start it, wait until it accepts, end it.

Every server of the tests is a `Program` in a directory of its own, on ports of 127.0.0.1 that
were free a moment before. Where one of them has been taken meanwhile, the start is tried again
with others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

START_LIMIT = 20.0
STOP_LIMIT = 5.0
TRIES = 3
ALLOW_MISSING = "FTNET_ALLOW_MISSING_SERVERS"


class NotStarted(Exception):
    """The server ended, or did not accept, before it was ready."""


def find(name: str) -> str:
    """The path of the program `name`; without it the test fails, or is skipped if that's allowed.

    It is allowed when the environment variable FTNET_ALLOW_MISSING_SERVERS is set.
    """
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if path is None:
        reason = f"{name} is not installed"
        if os.environ.get(ALLOW_MISSING):
            pytest.skip(reason)
        pytest.fail(f"{reason} (set {ALLOW_MISSING}=1 to skip what needs it)", pytrace=False)
    return path


def version_of(name: str, *arguments: str) -> str:
    """The first line of what `name arguments...` prints, for the header of a test run."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if path is None:
        return "missing"
    if not arguments:
        return "present"
    done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=START_LIMIT)
    lines = (done.stdout or done.stderr).splitlines()
    return lines[0].strip() if lines else "present"


def free_ports(count: int, *, udp: bool = False) -> list[int]:
    """`count` different ports that nobody on 127.0.0.1 uses, with `udp` for TCP and UDP both."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            tcp = held.enter_context(socket.socket())
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            if udp:
                both = held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
                try:
                    both.bind(("127.0.0.1", port))
                except OSError:
                    continue
            ports.append(port)
    return ports


class Program:
    """One running server: its process, and what it has written to standard output and error."""

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        ports: Sequence[int],
        *,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.directory = directory
        self._stop_signal = stop_signal
        self._log = directory / "output.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for the tests, which then stop the server
            )
        try:
            for port in ports:
                self._until_accepting(port)
        except BaseException:
            self.stop()
            raise

    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def check_alive(self) -> None:
        if self.process.poll() is not None:
            command = self.process.args
            raise NotStarted(f"{command} ended with {self.process.returncode}:\n{self.log()}")

    def stop(self) -> None:
        """End the whole process group, by force if it doesn't end within STOP_LIMIT."""
        if self.process.poll() is None:
            self.process.send_signal(self._stop_signal)
            try:
                self.process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def wait_for(self, happened: Callable[[], bool], what: str) -> None:
        """Look again every few milliseconds until `happened()`; raises NotStarted at the limit."""
        end = time.monotonic() + START_LIMIT
        ticker = threading.Event()
        while not happened():
            self.check_alive()
            if time.monotonic() > end:
                raise NotStarted(f"not within {START_LIMIT} s: {what}\n{self.log()}")
            ticker.wait(0.01)

    def _until_accepting(self, port: int) -> None:
        def accepts() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return False
            return True

        self.wait_for(accepts, f"port {port} accepts")
        self.check_alive()


# QUIC long header of a version that nobody speaks, with two connection ids of eight bytes: a
# server answers it with Version Negotiation (RFC 9000 6.1), if the datagram is large enough.
QUIC_PROBE = b"\xc0\x1a\x2a\x3a\x4a\x08ftnetdst\x08ftnetsrc".ljust(1200, b"\0")


def quic_answers(port: int) -> bool:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.connect(("127.0.0.1", port))
        try:
            sock.send(QUIC_PROBE)
            return bool(sock.recv(2048))
        except OSError:
            return False


class Runs(Protocol):
    """Anything that stands on a Program."""

    program: Program


Server = TypeVar("Server", bound=Runs)


@contextlib.contextmanager
def started(start: Callable[[], Server]) -> Iterator[Server]:
    """What `start` made, tried again when a port was taken meanwhile; stopped in the end."""
    for left in reversed(range(TRIES)):
        try:
            server = start()
            break
        except NotStarted:
            if not left:
                raise
    try:
        yield server
    finally:
        server.program.stop()
