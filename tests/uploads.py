"""What the tests of uploads share: how to make one, what it reported, and what its form holds.

The forms are read by python-multipart, which is not ours: what it and we agree on, a server will.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from python_multipart import parse_form

import ftnet as ft
from tests.history import History

LIMIT = 20.0  # seconds to wait for an answer of the loopback
ASKED = (1 << 20) + 4096  # bytes of a file before which the server is asked over HTTP/1.1


class Part(NamedTuple):
    """One part of a form; `file_name` and `content_type` are None for a plain field."""

    name: bytes
    value: bytes
    file_name: bytes | None = None
    content_type: str | None = None


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """The parts of a form in their order, as python-multipart reads them."""
    parts: list[Part] = []

    def on_field(field: Any) -> None:
        parts.append(Part(field.field_name, field.value or b""))

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        value, kind = file.file_object.read(), file.content_type
        parts.append(Part(file.field_name, value, file.file_name, kind))

    head = {"Content-Type": content_type.encode(), "Content-Length": str(len(body)).encode()}
    parse_form(head, io.BytesIO(body), on_field, on_file)
    return parts


class UploadHistory(History):
    """As `History`, and the progress: `progress` has the moment and the event of each."""

    def __init__(self) -> None:
        super().__init__()
        self.progress: list[tuple[float, ft.UploadProgress]] = []

    def listen(self, task: Any) -> None:
        task.onHeadersReceived(self._note("headers"))
        task.onProgressUpdate(self._note_progress)

    def _note_progress(self, event: ft.UploadProgress) -> None:
        assert "success" not in self.names, "progress after the end"
        assert "fail" not in self.names, "progress after the end"
        self.progress.append((time.monotonic(), event))

    @property
    def percents(self) -> list[int]:
        return [event.progress for _, event in self.progress]

    def error(self) -> ft.FtError:
        error: ft.FtError = self.end()
        assert self.names[-2] == "fail", f"succeeded with {error!r}"
        assert error.errMsg.startswith("uploadFile:fail "), error.errMsg
        return error

    def result(self) -> ft.UploadResult:
        result: ft.UploadResult = self.end()
        assert self.names[-2] == "success", f"failed with {result!r}"
        assert result.errMsg == "uploadFile:ok"
        return result


def begin(client: ft.Client, url: str, **options: Any) -> tuple[ft.UploadTask, UploadHistory]:
    """An upload, and the history of all its events."""
    history = UploadHistory()
    task = client.uploadFile(url=url, **options, **history.callbacks())
    history.listen(task)
    return task, history


def run(client: ft.Client, url: str, **options: Any) -> UploadHistory:
    """One upload to its end, driven in this thread, with all its events heard."""
    histories: list[UploadHistory] = []
    ft.run(lambda: histories.append(begin(client, url, **options)[1]))
    return histories[0]


def send(client: ft.Client, url: str, path: Path | None = None, **options: Any) -> ft.UploadResult:
    """The result of one upload, awaited in this thread; `path` goes in the field "file"."""
    if path is not None:
        options |= {"filePath": path, "name": "file"}
    return client.uploadFile(url=url, **options).result(LIMIT)


def failure(client: ft.Client, url: str, path: Path | None = None, **options: Any) -> ft.FtError:
    """The error of one upload that has to fail."""
    with pytest.raises(ft.FtError, match=r"^uploadFile:fail ") as caught:
        send(client, url, path, **options)
    return caught.value


def sparse(path: Path, size: int) -> Path:
    """A file of `size` zeros that takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def filled(path: Path, size: int, seed: int = 0) -> Path:
    """A file of `size` bytes of a pattern of its own."""
    block = bytes((seed + number * 7) % 251 for number in range(251))
    path.write_bytes((block * (size // len(block) + 1))[:size])
    return path


def increases(numbers: Iterable[int]) -> bool:
    """Whether no number is less than the one before it."""
    numbers = list(numbers)
    return numbers == sorted(numbers)


def open_files(of: Callable[[str], bool]) -> list[str]:
    """Paths of this process's open files that `of` picks."""
    paths = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            paths.append(str(entry.readlink()))
        except FileNotFoundError:  # the descriptor that lists the directory
            continue
    return [path for path in paths if of(path)]
