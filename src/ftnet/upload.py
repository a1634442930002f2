"""`uploadFile`: options → multipart pieces → Transfer, and its way back to callbacks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftcore.body import Body
from ftcore.buffers import Chunk
from ftcore.profile import Phases
from ftnet.header import header_lines, warn_caller
from ftnet.http import HttpResult, ProgressTask, submit, template, text_of
from ftnet.multipart import FilePart, form_pieces
from ftnet.options import UPLOAD_FILE_OPTIONS, UPLOAD_OPTIONS, merge, merge_options, shown
from ftnet.url import prepare_url

if TYPE_CHECKING:
    from ftnet.client import Client

_UNKNOWN_TYPE = "application/octet-stream"
_COMPRESSED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "br": "application/x-brotli",
}


class UploadResult(HttpResult):
    """What ``success`` gets: ``data``, ``statusCode``, ``header``, ``cookies``, ``profile``."""

    __slots__ = ("data",)
    _fields_ = ("data", "statusCode", "header", "cookies", "profile", "errMsg")
    _api = "uploadFile"

    data: str  #: the answer's body as text, whatever its content-type


class UploadProgress:
    """What ``onProgressUpdate`` gets: ``progress``, ``totalBytesSent``,
    ``totalBytesExpectedToSend``.

    The byte counts are those of the whole body, form fields and boundaries included. Sent is what
    libcurl has taken to send, which is at most its buffer, 64 KiB, more than what the kernel has.
    """

    __slots__ = _fields_ = ("progress", "totalBytesSent", "totalBytesExpectedToSend")

    def __init__(self, progress: int, sent: int, expected: int) -> None:
        self.progress = progress
        self.totalBytesSent = sent
        self.totalBytesExpectedToSend = expected


class UploadTask(ProgressTask[UploadResult]):
    """An upload under way: listeners, `abort`, `pause`, `resume`, `result`, ``await``."""

    __slots__ = ()
    _api = "uploadFile"

    def _event(self, percent: int, done: int, total: int) -> UploadProgress:
        return UploadProgress(percent, done, total)

    def _succeeded(
        self, status: int, raw: bytes, body: Chunk | None, phases: Phases | None, charset: bool
    ) -> None:
        result = UploadResult(status, raw, phases)
        result.data = "" if body is None else text_of(raw, body, charset)
        self._last_progress()
        self._settle(result, self.context[2])


def upload(
    client: Client,
    options: Mapping[str, Any] | None,
    kw: dict[str, Any],
    task: UploadTask | None = None,
) -> UploadTask:
    """Checks the options, submits the upload to the engine of here and now, returns its task."""
    task = UploadTask() if task is None else task  # which notes when it was asked for
    given = merge_options("uploadFile", options, kw, UPLOAD_OPTIONS)
    url = prepare_url(given["url"], "uploadFile")
    pieces, content_type = form_pieces(given["formData"], _file_parts(given), "uploadFile")
    lines = (*_lines(given["header"]), f"Content-Type: {content_type}".encode("ascii"))
    made = template(client, given, "POST", url, lines, has_body=True)
    submit(client, task, given, None, made, Body(pieces))
    return task


def _lines(header: Mapping[str, Any] | None) -> tuple[bytes, ...]:
    """The caller's header, without a content-type: that of the form has its boundary."""
    lines, content_type = header_lines(header, "uploadFile", default_json=False)
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in ("", "multipart/form-data"):
        warn_caller("uploadFile: the content-type header is always multipart/form-data; dropped")
    own = (b"content-type:", b"content-type;")  # the latter is libcurl's word for an empty one
    return tuple(line for line in lines if not line.lower().startswith(own))


def _file_parts(given: Mapping[str, Any]) -> list[FilePart]:
    path, name, more = given["filePath"], given["name"], given["files"]
    if path is None and more:
        if name is not None:
            raise TypeError("uploadFile: name must come with filePath, the file it is the name of")
        return [_entry(one) for one in more]
    for option, value in (("filePath", path), ("name", name)):
        if value is None:
            row = UPLOAD_OPTIONS.rows[option]
            raise TypeError(f"uploadFile: {option} is required: {row.takes}")
    first = _entry({"name": name, "filePath": path})
    return [first, *(_entry(one) for one in more or ())]


def _entry(one: object) -> FilePart:
    """One row of ``files``, checked."""
    if not isinstance(one, Mapping):
        raise TypeError(f"uploadFile: files must hold mappings, got {shown(one)}")
    row = merge("uploadFile: files", one, UPLOAD_FILE_OPTIONS)
    path, data, file_name = row["filePath"], row["data"], row["fileName"]
    if (path is None) == (data is None):
        raise ValueError("uploadFile: files: each entry takes filePath or data, and one of them")
    if file_name is None:
        file_name = "blob" if path is None else os.path.basename(path)
    content_type = row["contentType"] or _guessed_type(file_name)
    content = os.path.abspath(path) if path is not None else _content(data)
    return FilePart(row["name"], content, file_name, content_type)


def _guessed_type(file_name: str) -> str:
    """The media type of a file by its suffix; of a compressed one, that of the compression."""
    import mimetypes  # slow to import

    suffix = os.path.splitext(file_name)[1]
    # of a name as it stands mimetypes would take "data:..." for a URL
    kind, coding = mimetypes.guess_type(f"file{suffix}") if suffix.isascii() else (None, None)
    return _COMPRESSED.get(coding, _UNKNOWN_TYPE) if coding else kind or _UNKNOWN_TYPE


def _content(data: Any) -> Any:
    if isinstance(data, str):
        try:
            return data.encode()
        except UnicodeEncodeError as exc:
            where = exc.start
        raise ValueError(f"uploadFile: files: data holds a lone surrogate at position {where}")
    try:
        view = memoryview(data)
    except ValueError as exc:
        raise ValueError(f"uploadFile: files: data is a buffer that can't be read: {exc}") from None
    except TypeError:
        takes = "a str or bytes-like"
        raise TypeError(f"uploadFile: files: data must be {takes}, got {shown(data)}") from None
    if not view.c_contiguous:
        raise ValueError("uploadFile: files: data must be a contiguous buffer; pass bytes(data)")
    return view.cast("B") if view.nbytes else b""
