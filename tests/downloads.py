"""What the tests of downloads share: histories, directories, and a server of one file."""

from __future__ import annotations

import os
import random
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from ftnet.download import DownloadProgress, DownloadResult, DownloadTask
from tests import history
from tests.servers.awkward import Behaviour, Peer, Request, eventually

LIMIT = 20.0


class History(history.History):
    """The events of a download, and when each progress event came."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def listen(self, task: Any) -> None:
        task.onHeadersReceived(self._note("headers"))
        task.onProgressUpdate(lambda _: self.times.append(time.monotonic()))
        task.onProgressUpdate(self._note("progress"))

    @property
    def progress(self) -> list[DownloadProgress]:
        return [event for name, event in self.events if name == "progress"]

    def error(self) -> ft.FtError:
        end = self.end()
        assert self.names[-2] == "fail", f"succeeded with {end!r}"
        assert isinstance(end, ft.FtError)
        assert end.errMsg.startswith("downloadFile:fail "), end.errMsg
        return end

    def response(self) -> Any:
        end = self.end()
        assert self.names[-2] == "success", f"failed with {end!r}"
        assert end.errMsg == "downloadFile:ok"
        return end


def begin(client: ft.Client, url: str, **options: Any) -> tuple[DownloadTask, History]:
    """A download, and the history of all its events; some may be missed by a thread that is
    slower than the engine's."""
    told = History()
    task = client.downloadFile(url=url, **options, **told.callbacks())
    told.listen(task)
    return task, told


def fetched(client: ft.Client, url: str, **options: Any) -> DownloadResult:
    """The result of one download, awaited in this thread; raises FtError as the task does."""
    return client.downloadFile(url=url, **options).result(LIMIT)


def failed(client: ft.Client, url: str, **options: Any) -> ft.FtError:
    """The error of one download that has to fail."""
    with pytest.raises(ft.FtError, match=r"^downloadFile:fail ") as caught:
        fetched(client, url, **options)
    return caught.value


def resumed(client: ft.Client, url: str, target: Path, **options: Any) -> DownloadResult:
    """As `fetched`, going on where an earlier download to `target` was interrupted."""
    return fetched(client, url, filePath=str(target), resume=True, **options)


def kept_of(target: Path) -> Path:
    """What an interrupted download to `target` leaves for the next one."""
    return target.with_name(f".{target.name}.ftpart")


def note_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.ftpart.note")


def complete(target: Path, content: bytes) -> bool:
    """Whether the file is right and nothing else is in its directory."""
    return target.read_bytes() == content and left_in(target.parent) == [target.name]


def left_in(directory: Path) -> list[str]:
    """The names of all that is in a directory, hidden files too."""
    return sorted(os.listdir(directory))


def noise(size: int, seed: object = 0) -> bytes:
    """Bytes that no other place of the same file, or of another, has by chance."""
    return random.Random(f"noise {seed}").randbytes(size)


def mode_of(path: str | Path) -> int:
    return os.stat(path).st_mode & 0o7777


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def until_moved(task: DownloadTask, count: int) -> None:
    """Returns when so many bytes of the body have come."""
    eventually(lambda: task.moved[0] >= count or task.done(), f"{count} bytes have come")
    assert task.moved[0] == count


def halves(content: bytes, *fields: str) -> Behaviour:
    """Answers with a half of `content`, and the other when the test opens the gate."""
    half = len(content) // 2

    def answer(peer: Peer) -> None:
        while True:
            peer.read_request()
            lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(content)}", *fields, "", ""]
            peer.send("\r\n".join(lines).encode() + content[:half])
            peer.server.gate.wait()
            peer.send(content[half:])
            peer.server.passed.set()

    return answer


def response(*fields: str, body: bytes = b"", status: str = "200 OK") -> bytes:
    """The bytes of a correct response with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def answers_with(*fields: str, body: bytes = b"body", status: str = "200 OK") -> Behaviour:
    """Answers every request with one and the same response."""

    def answer(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.answer(body, *fields, status=status)

    return answer


@dataclass
class OneFile:
    """A behaviour: a server of one file that does with ranges what RFC 9110 wants, or not.

    The body of response n ends after `cuts[n]` bytes, as `ending` has it; there are as many of
    those as cuts, and all after them are whole. `instead[n]` is sent in place of response n.
    """

    content: bytes
    etag: str = '"first"'
    fields: tuple[str, ...] = ()
    ranges: bool = True  # does them
    checks: bool = True  # heeds If-Range
    cuts: list[int] = field(default_factory=list)
    ending: Callable[[Peer], None] = lambda peer: None
    instead: dict[int, bytes] = field(default_factory=dict)
    asked: list[str | None] = field(default_factory=list)  # the Range of each request
    sent: int = 0  # bytes of bodies
    reached: threading.Event = field(default_factory=threading.Event)  # a cut

    def __call__(self, peer: Peer) -> None:
        while True:
            request = peer.read_request()
            self.asked.append(request.get("range"))
            other = self.instead.get(len(self.asked) - 1)
            if other is not None:
                peer.send(other)
                if b"Connection: close" in other:
                    return
                continue
            first = self._first(request)
            if self._send(peer, self._head(first), self.content[first or 0 :]):
                self.ending(peer)
                return

    def _first(self, request: Request) -> int | None:
        """The first byte that is asked for; None: the whole file."""
        asked = request.get("range")
        if asked is None or not self.ranges:
            return None
        if self.checks and request.get("if-range") not in (None, self.validator):
            return None  # as the wire has it: a field's bytes, read as latin-1
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    @property
    def validator(self) -> str:
        if self.etag:
            return self.etag.encode().decode("latin-1")
        dates = [line for line in self.fields if line.startswith("Last-Modified: ")]
        return dates[0].removeprefix("Last-Modified: ") if dates else ""

    def _head(self, first: int | None) -> bytes:
        size = len(self.content)
        lines = [f"HTTP/1.1 {'200 OK' if first is None else '206 Partial Content'}", *self.fields]
        lines.append(f"Content-Length: {size - (first or 0)}")
        if self.etag:
            lines.append(f"ETag: {self.etag}")
        if first is not None:
            lines.append(f"Content-Range: bytes {first}-{size - 1}/{size}")
        return "\r\n".join([*lines, "", ""]).encode()

    def _send(self, peer: Peer, head: bytes, body: bytes) -> bool:
        """Whether there was a cut."""
        answer = len(self.asked) - 1
        cut = answer < len(self.cuts)
        if cut:
            body = body[: self.cuts[answer]]
        peer.send(head + body)
        self.sent += len(body)
        if cut:
            self.reached.set()
        return cut


def preloaded(room: Path, source: str) -> dict[str, str]:
    """The environment of a process in which the functions of a C source stand before libc's."""
    (room / "shim.c").write_text(source)
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    command = [*compiler.split(), "-shared", "-fPIC", "-o", "shim.so", "shim.c", "-ldl"]
    subprocess.run(command, cwd=room, check=True)
    return {"LD_PRELOAD": str(room / "shim.so")}
