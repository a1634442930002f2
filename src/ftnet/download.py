"""`downloadFile`: options → part → Transfer, and the file in its place when it is complete."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ftcore.buffers import Chunk
from ftcore.profile import Phases
from ftcore.sink import Part
from ftnet import files
from ftnet.header import header_lines
from ftnet.http import HttpResult, ProgressTask, submit, template
from ftnet.options import DOWNLOAD_OPTIONS, merge_options
from ftnet.results import Headers
from ftnet.url import prepare_url

if TYPE_CHECKING:
    from ftnet.client import Client
    from ftnet.errors import FtError

log = logging.getLogger("ftnet")

_FILE_ERROR = -15
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}")
_UNSPECIFIC = ("application/octet-stream", "binary/octet-stream", "application/x-download")


class DownloadResult(HttpResult):
    """What ``success`` gets: ``tempFilePath``, ``filePath``, ``dataLength``, ``statusCode``,
    ``header``, ``cookies``, ``profile``."""

    __slots__ = ("dataLength", "filePath", "tempFilePath")
    _fields_ = (
        "tempFilePath",
        "filePath",
        "dataLength",
        "statusCode",
        "header",
        "cookies",
        "profile",
        "errMsg",
    )
    _api = "downloadFile"

    tempFilePath: str  #: where the file is; the same as filePath when that was given
    filePath: str | None  #: as it was given; None when it was not
    dataLength: int  #: bytes of the file, out of any content coding


class DownloadProgress:
    """What ``onProgressUpdate`` gets: ``progress``, ``totalBytesWritten``,
    ``totalBytesExpectedToWrite``.

    The byte counts are those of the message body as it came, before any content coding is undone,
    so that both are of one measure; what an earlier download kept is counted in.
    """

    __slots__ = _fields_ = ("progress", "totalBytesWritten", "totalBytesExpectedToWrite")

    def __init__(self, progress: int, written: int, expected: int) -> None:
        self.progress = progress
        self.totalBytesWritten = written
        self.totalBytesExpectedToWrite = expected


class Plan(NamedTuple):
    """What a checked download comes down to."""

    given: str | None  # filePath
    target: bytes | None  # where that is; None: in `folder`, by a name of ours
    folder: bytes
    url: str
    note: bytes | None  # of what is kept when it is interrupted
    sync: bool


class DownloadTask(ProgressTask[DownloadResult]):
    """A download under way: listeners, `abort`, `pause`, `resume`, `result`, ``await``."""

    __slots__ = ()
    _api = "downloadFile"

    def _event(self, percent: int, done: int, total: int) -> DownloadProgress:
        return DownloadProgress(percent, done, total)

    def _headers(self, status: int, raw: bytes) -> None:
        plan: Plan = self.context[1]
        if plan.note is not None and status == 200 and _part(self).continuing:
            try:
                files.write_note(plan.note, plan.url, Headers(raw))
            except OSError as error:
                log.warning("downloadFile: can't be taken up again: %s", error)
        super()._headers(status, raw)

    def _succeeded(
        self, status: int, raw: bytes, body: Chunk | None, phases: Phases | None, charset: bool
    ) -> None:
        _, plan, success, fail, _, _ = self.context
        part = _part(self)
        result = DownloadResult(status, raw, phases)
        target = plan.target or _temporary_target(plan, result.header)
        try:
            part.publish(target, plan.sync)
        except OSError as error:
            part.discard()
            self._settle(self._misplaced(error, phases), fail)
            return
        result.tempFilePath = plan.given or os.fsdecode(target)
        result.filePath = plan.given
        result.dataLength = part.length
        self._last_progress()
        self._settle(result, success)

    def _misplaced(self, error: OSError, phases: Phases | None) -> FtError:
        return self._error(_FILE_ERROR, phases, error.errno or 0, _part(self).file)

    def _failed(self, outcome: int, phases: Phases | None, os_errno: int, detail: str) -> None:
        _part(self).discard()
        super()._failed(outcome, phases, os_errno, detail)


def _part(task: DownloadTask) -> Part:
    part = task.part
    assert part is not None  # `download` gave it one
    return part


def _temporary_target(plan: Plan, header: Headers) -> bytes:
    """A name of ours, with the suffix of the content-type, else of the URL."""
    name = b"tmp_%b%b" % (files.token(), _suffix(plan.url, header).encode("ascii"))
    return os.path.join(plan.folder, name)


def _suffix(url: str, header: Headers) -> str:
    media_type = header.get("content-type", "").partition(";")[0].strip().lower()
    if media_type and media_type not in _UNSPECIFIC:
        import mimetypes  # slow to import

        suffix = mimetypes.guess_extension(media_type)
        if suffix:
            return suffix
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    suffix = os.path.splitext(path)[1]
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def download(
    client: Client,
    options: Mapping[str, Any] | None,
    kw: dict[str, Any],
    task: DownloadTask | None = None,
) -> DownloadTask:
    """Checks the options, submits the download to the engine of here and now, returns its task."""
    task = DownloadTask() if task is None else task  # which notes when it was asked for
    given = merge_options("downloadFile", options, kw, DOWNLOAD_OPTIONS)
    url = prepare_url(given["url"], "downloadFile")
    lines, _ = header_lines(given["header"], "downloadFile", default_json=False)
    if given["resume"]:
        plan, part, lines = _taken_up(given, url, lines)
    else:
        plan = _plan(client, given, url)
        beside = plan.target or os.path.join(plan.folder, b"tmp")
        part = Part(files.part_beside(beside), plan.target)
    files.clean(plan.folder)
    if plan.note is not None:
        task.want_headers()
    submit(client, task, given, plan, template(client, given, "GET", url, lines), None, part)
    return task


def _plan(client: Client, given: Mapping[str, Any], url: str) -> Plan:
    path = given["filePath"]
    if path is None:
        folder = client.temp_dir or files.temporary_directory()
        return Plan(None, None, os.fsencode(os.path.abspath(folder)), url, None, given["sync"])
    target = _place(path)
    return Plan(path, target, os.path.dirname(target), url, None, given["sync"])


def _place(path: str) -> bytes:
    """Where a path leads, from anywhere: a file replaces what a symbolic link points to."""
    return os.fsencode(os.path.realpath(path) if os.path.islink(path) else _absolute(path))


def _absolute(path: str) -> str:
    return path if path.startswith("/") else os.path.join(os.getcwd(), path)


def _taken_up(
    given: Mapping[str, Any], url: str, lines: tuple[bytes, ...]
) -> tuple[Plan, Part, tuple[bytes, ...]]:
    """Plan, part and header of a download that goes on where an earlier one was interrupted."""
    path = given["filePath"]
    if path is None:
        raise ValueError("downloadFile: resume needs filePath, beside which the part is kept")
    for line in lines:
        if line.lower().startswith((b"range:", b"if-range:")):
            raise ValueError("downloadFile: resume sets the header Range itself; leave one out")
    target = _place(path)
    kept, note = files.kept_beside(target)
    old = files.take_up(kept, note, url)
    if not any(line.lower().startswith(b"accept-encoding:") for line in lines):
        lines = (*lines, b"Accept-Encoding: identity")  # ranges are of the coded bytes
    validator = old.validator.encode("ascii")
    if old.start:
        lines = (*lines, b"Range: bytes=%d-" % old.start, b"If-Range: " + validator)
    plan = Plan(path, target, os.path.dirname(target), url, note, given["sync"])
    part = Part(
        files.part_beside(target),
        target,
        kept=kept,
        note=note,
        asked_from=old.start,
        asked_of=old.total,
        etag=validator if validator.startswith(b'"') else None,
        modified=None if validator.startswith(b'"') else validator,
    )
    return plan, part, lines
