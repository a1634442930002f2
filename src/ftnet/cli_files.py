"""Carries out ``ftnet download`` and ``ftnet upload``: the file moves, a person sees how far."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urlsplit

import ftnet as ft
from ftnet import cli
from ftnet.cli_request import (
    checked,
    checked_url,
    grouped_headers,
    print_json,
    profile_document,
    refusal,
    status_line,
    tell_profile,
)
from ftnet.errors import Errno, FtError
from ftnet.progress_bar import REDRAWN_EVERY, Progress
from ftnet.results import to_dict
from ftnet.sink import StreamSink

if TYPE_CHECKING:
    import argparse

_RANGE_START = re.compile(r"bytes (\d+)-")


def download(args: argparse.Namespace) -> int:
    """Downloads the file that ``args`` names and returns the exit code.

    Raises `ftnet.cli.CommandError` for what ends the command with a message.
    """
    return _carried_out(Download, args)


def upload(args: argparse.Namespace) -> int:
    """As `download`, the other way: sends files and prints the answer."""
    return _carried_out(Upload, args)


def file_name(url: str) -> str:
    """What a file is called that has no other name: the last segment of the URL's path.

    It is in this directory whatever the URL, and not hidden; "download" where the path names none.
    """
    segment = unquote(urlsplit(url).path.rpartition("/")[2], errors="replace")
    name = "".join(char if char.isprintable() and char not in "/\\" else "_" for char in segment)
    return name.strip().lstrip(". ") or "download"


def exit_code(error: FtError, for_files: int) -> int:
    """As `ftnet.cli.exit_code`; ``for_files`` is the one for a file of ours that is at fault."""
    cause = error.cause
    if cause is None or cause.code:
        return cli.exit_code(error)
    system = error.errno == Errno.SYSTEM and cause.name != "FT_OUT_OF_MEMORY"
    if system or cause.name == "FT_NOT_A_FILE":
        return for_files
    return cli.exit_code(error)


def _carried_out(kind: type[Download | Upload], args: argparse.Namespace) -> int:
    try:
        move = kind(args)
        move.perform()
    except cli.CommandError as error:
        if args.json:
            print_json(refusal(kind.api, error.message))
        raise
    return move.report()


class Move:
    """One file, or some, on the way: what came of it, and what a person or program is told.

    The engine is driven in this thread, which looks at the bar between two turns.
    """

    api: ClassVar[str]
    for_files: ClassVar[int]  # exit code where the file is at fault

    def __init__(
        self, args: argparse.Namespace, url: str, name: str, done: str, **options: Any
    ) -> None:
        self._args = args
        self._url = url
        self._settings = cli.client_settings(args)
        self._options = {
            "url": url,
            "header": grouped_headers(args.headers),
            "timeout": max(1, round(args.max_time * 1000)),
            **options,
        }
        self._progress = Progress(name, sys.stderr, what=done, silent=args.quiet)
        self._task: Any = None
        self._refused: Any = None  # the header that came with a status of 400 or more
        self._result: Any = None
        self._error: FtError | None = None
        self._took_ms = 0.0

    def perform(self) -> None:
        """Runs it to its end, whatever that is; `report` tells of it."""
        began = time.monotonic()
        try:
            with checked(ft.Client, **self._settings) as client:
                ft.run(self._drive, client)
        finally:
            self._took_ms = (time.monotonic() - began) * 1000
            if self._result is not None and self._refused is None:
                self._progress.finish(self._size(self._result))
            else:
                self._progress.leave()

    def _drive(self, client: Any) -> None:
        self._task = checked(getattr(client, self.api), **self._options)
        self._task.onHeadersReceived(self._on_headers)
        self._task.onProgressUpdate(self._on_progress)
        turn = REDRAWN_EVERY if self._progress.live else None
        while not self._task.done():
            with contextlib.suppress(TimeoutError, FtError):
                self._task.result(turn)
            self._progress.tick()
        try:
            self._result = self._task.result()
        except FtError as error:
            self._error = error

    def _on_headers(self, event: Any) -> None:
        if event.statusCode >= 400:
            self._refused = event

    def _on_progress(self, event: Any) -> None:
        raise NotImplementedError

    def _size(self, result: Any) -> int | None:
        """Bytes of what was moved, where they are not those that went over the wire."""
        return None

    # ---- what the person or program reads

    def report(self) -> int:
        """Prints what came of it and returns the exit code."""
        outcome = self._error or self._result
        line_open = False
        if self._args.json:
            print_json(self._document())
        elif self._result is not None:
            line_open = self._print_result()
        if self._args.profile and outcome.profile is not None:
            if line_open:
                cli.say("")
            tell_profile(outcome.profile, self._url, self._took_ms if self._error else None)
        if self._refused is not None:
            raise cli.CommandError(cli.HTTP_ERROR, self._refusal())
        if self._error is not None:
            raise cli.CommandError(exit_code(self._error, self.for_files), self._error.errMsg)
        return 0

    def _print_result(self) -> bool:
        """Prints what came back; whether a person sees a line of it without its end."""
        return False

    def _refusal(self) -> str:
        return f"the server answered {status_line(self._refused)}"

    def _document(self) -> dict[str, Any]:
        outcome = self._error or self._result
        document: dict[str, Any] = to_dict(outcome)
        if self._error is not None and self._refused is not None:
            document = refusal(self.api, self._refusal()) | to_dict(self._refused)
            document["errno"] = int(Errno.PROTOCOL)
        document["profile"] = profile_document(outcome.profile)
        return document


class Download(Move):
    """``ftnet download``: a file that appears when it is complete."""

    api, for_files = "downloadFile", cli.WRITE_ERROR

    def __init__(self, args: argparse.Namespace) -> None:
        if args.output == "-":
            reason = "-o - is not a file: `ftnet request` writes to stdout"
            raise cli.CommandError(cli.USAGE, reason)
        url = checked_url(args.url)
        path = file_name(url) if args.output is None else args.output
        name = os.path.basename(path)
        options = {"filePath": path, "resume": args.resume, "sync": args.sync}
        super().__init__(args, url, name, f"saved {path}", **options)

    def _on_headers(self, event: Any) -> None:
        super()._on_headers(event)
        if self._refused is not None:
            self._task.abort()  # what comes is not the file
        resumed = self._args.resume and event.statusCode == 206
        start = _RANGE_START.match(event.header.get("content-range", "")) if resumed else None
        self._progress.starts_from(int(start[1]) if start else 0)

    def _on_progress(self, event: Any) -> None:
        self._progress.update(event.totalBytesWritten, event.totalBytesExpectedToWrite)

    def _size(self, result: Any) -> int | None:
        return int(result.dataLength)


class Upload(Move):
    """``ftnet upload``: files as a form, the answer to stdout."""

    api, for_files = "uploadFile", cli.READ_ERROR

    def __init__(self, args: argparse.Namespace) -> None:
        first, *more = args.files
        name = f"{len(more) + 1} files" if more else os.path.basename(first)
        files = [{"name": args.name, "filePath": path} for path in args.files]
        options = {"files": files, "formData": form_fields(args.fields)}
        done = f"sent {name if more else first}"
        super().__init__(args, checked_url(args.url), name, done, **options)

    def _on_progress(self, event: Any) -> None:
        self._progress.update(event.totalBytesSent, event.totalBytesExpectedToSend)

    def _print_result(self) -> bool:
        sink = StreamSink(sys.stdout.buffer, guarded=False)
        sink.write(self._result.data.encode(sys.stdout.encoding, "backslashreplace"))
        return sink.line_open


def form_fields(given: list[tuple[str, str]]) -> dict[str, bytes]:
    """``--field`` options as the mapping that `ftnet.uploadFile` takes."""
    fields: dict[str, bytes] = {}
    for name, value in given:
        if name in fields:
            raise cli.CommandError(cli.USAGE, f"--field {name} is given twice")
        fields[name] = os.fsencode(value)
    return fields
