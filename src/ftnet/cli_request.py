"""Carries out ``ftnet request``: the body goes to its sink, the story of the request to stderr."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import msgspec

import ftnet as ft
from ftnet import cli, waterfall
from ftnet.errors import Errno, FtError
from ftnet.results import content_charset, to_dict
from ftnet.sink import BinaryBodyError, FileSink, Sink, StreamSink
from ftnet.terminal import Style
from ftnet.url import prepare_url

if TYPE_CHECKING:
    import argparse

    from ftnet.cli_har import Archive

_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"


def run(args: argparse.Namespace) -> int:
    """Sends the request that ``args`` describes and returns the exit code.

    Raises `ftnet.cli.CommandError` for what ends the command with a message.
    """
    try:
        check_stdout(args)
        url = checked_url(args.url)
        options = request_options(args, url)
        settings = cli.client_settings(args)
        if options["enableChunked"]:  # streamed, so its size costs no memory
            settings["max_body_bytes"] = args.max_filesize
        sink = open_sink(args)
        try:
            archive = open_archive(args, options)
        except cli.CommandError:
            sink.discard()
            raise
        exchange = Exchange(args, url, sink, archive)
        exchange.perform(settings, options)
    except cli.CommandError as error:
        if args.json:
            print_json(refusal("request", error.message))
        raise
    return exchange.report()


def check_stdout(args: argparse.Namespace) -> None:
    """CommandError where two things would be written to stdout."""
    given = {"--json": args.json, "--har -": args.har == "-", "-o -": args.output == "-"}
    to_stdout = [option for option, wanted in given.items() if wanted]
    if len(to_stdout) > 1:
        reason = f"{' and '.join(to_stdout)} would both write to stdout"
        raise cli.CommandError(cli.USAGE, reason)


def checked_url(
    text: str, schemes: tuple[str, ...] = ("http", "https"), api: str = "request"
) -> str:
    """``text`` with a scheme, the first of ``schemes`` unless it has one.

    CommandError for what can't be asked for.
    """
    url = text if "://" in text else f"{schemes[0]}://{text}"
    scheme = url.partition("://")[0]
    if scheme.isalnum() and scheme.lower() not in schemes:
        known = " and ".join(schemes)
        reason = f"the scheme {scheme} is not supported, only {known} are"
        raise cli.CommandError(cli.BAD_SCHEME, reason)
    try:
        prepare_url(url, api, schemes)
    except ValueError as error:
        raise cli.CommandError(cli.BAD_URL, str(error)) from None
    return url


def request_options(args: argparse.Namespace, url: str) -> dict[str, Any]:
    """The options of `ftnet.request`, all but the callbacks."""
    header, body = content_of(args)
    method = args.method or ("HEAD" if args.head else "GET" if body is None else "POST")
    options: dict[str, Any] = {
        "url": url,
        "method": method,
        "header": header,
        "timeout": max(1, round(args.max_time * 1000)),
        "responseType": "arraybuffer",
        "enableChunked": not args.json or args.output is not None,
        "redirect": "follow" if args.location else "manual",
    }
    if body is not None:
        options["data"] = body
    return options


def content_of(args: argparse.Namespace) -> tuple[dict[str, str | list[str]], bytes | None]:
    """The header, with the type of the body, and the body."""
    header = grouped_headers(args.headers)
    if args.data:
        _default(header, "content-type", _FORM)
        return header, b"&".join(read_data(text) for text in args.data)
    if args.data_json is not None:
        _default(header, "content-type", _JSON)
        return header, read_data(args.data_json)
    return header, None


def grouped_headers(lines: list[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Header lines as the mapping that `ftnet.request` takes: repeated ones become a list."""
    header: dict[str, str | list[str]] = {}
    for name, value in lines:
        known = next((n for n in header if n.lower() == name.lower()), None)
        if known is None:
            header[name] = value
        else:
            before = header[known]
            header[known] = [*before, value] if isinstance(before, list) else [before, value]
    return header


def _default(header: dict[str, str | list[str]], name: str, value: str) -> None:
    if all(known.lower() != name for known in header):
        header[name] = value


def read_data(text: str) -> bytes:
    """The bytes that a ``-d`` argument stands for: itself, ``@FILE`` or ``@-`` for stdin."""
    if not text.startswith("@"):
        return os.fsencode(text)
    path = text[1:]
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise cli.CommandError(
            cli.READ_ERROR, f"can't read the data from {path}: {error.strerror}"
        ) from None


def open_sink(args: argparse.Namespace) -> Sink:
    """Where the body goes; CommandError when the file can't be made."""
    if args.har == "-" and args.output is None:
        return FileSink(os.devnull)
    if args.output is None or args.output == "-":
        guarded = args.output is None and sys.stdout.isatty()
        return StreamSink(sys.stdout.buffer, guarded=guarded)
    return _file_sink(args.output)


def _file_sink(path: str) -> Sink:
    try:
        return FileSink(path)
    except OSError as error:
        raise _cannot_write(path, error) from None


def open_archive(args: argparse.Namespace, options: dict[str, Any]) -> Archive | None:
    """Where ``--har`` goes, if anywhere; CommandError when the file can't be made."""
    if args.har is None:
        return None
    to_stdout = args.har == "-"
    sink = StreamSink(sys.stdout.buffer, guarded=False) if to_stdout else _file_sink(args.har)
    from ftnet.cli_har import Archive  # with what it needs, loaded only for those who ask

    return Archive(args.har, sink, options, keeps_body=args.output is None)


def _cannot_write(path: str | None, error: OSError) -> cli.CommandError:
    reason = f"can't write to {path or 'stdout'}: {error.strerror}"
    return cli.CommandError(cli.WRITE_ERROR, reason)


def checked(call: Callable[..., Any], **options: Any) -> Any:
    """``call(**options)``, with an option it refuses as a usage error of the command."""
    try:
        return call(**options)
    except (TypeError, ValueError) as error:
        raise cli.CommandError(cli.USAGE, str(error)) from None


class Exchange:
    """One request on its way: what its callbacks do and what they found.

    The engine is driven in this thread, so the callbacks may write to stdout and block: a slow
    reader slows the transfer down. What a callback meets ends the request and is raised after it.
    """

    def __init__(
        self, args: argparse.Namespace, url: str, sink: Sink, archive: Archive | None = None
    ) -> None:
        self._args = args
        self._url = url
        self._sink = sink
        self._archive = archive
        self._task: Any = None
        self._met: BaseException | None = None
        self._refused: str | None = None  # the status line that -f ends the command with
        self._result: Any = None
        self._error: FtError | None = None
        self._began = self._ended = 0.0

    def perform(self, settings: dict[str, Any], options: dict[str, Any]) -> None:
        """Runs the request to its end, whatever that is; `report` tells of it."""
        complete = False
        try:
            with checked(ft.Client, **settings) as client, self._interruptible():
                ft.run(self._start, client, options)
                self._conclude()
            complete = self._result is not None and self._refused is None
            if complete:
                self._publish()
        finally:
            if not complete:
                self._sink.discard()
            if self._archive is not None:
                self._archive.end(self._error or self._result)

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Within, nothing more is written after Ctrl-C, though the callbacks get what has come.

        It might be for a pipe that nobody reads from any more.
        """
        before = signal.getsignal(signal.SIGINT)
        ours = before is signal.default_int_handler
        ours = ours and threading.current_thread() is threading.main_thread()
        if ours:
            signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        finally:
            if ours:
                signal.signal(signal.SIGINT, before)

    def _on_interrupt(self, *_: object) -> NoReturn:
        self._met = self._met or KeyboardInterrupt()
        raise KeyboardInterrupt

    def _start(self, client: Any, options: dict[str, Any]) -> None:
        if self._args.verbose:
            self._tell_request(options)
        self._began = self._ended = time.monotonic()
        self._task = checked(client.request, complete=self._on_complete, **options)
        self._task.onHeadersReceived(self._on_headers)
        if options["enableChunked"]:
            self._task.onChunkReceived(self._on_chunk)

    def _conclude(self) -> None:
        """Fetches the outcome; raises what a callback met."""
        try:
            self._result = self._task.result()
        except FtError as error:
            self._error = error
        if isinstance(self._met, BinaryBodyError):
            raise cli.CommandError(
                cli.WRITE_ERROR,
                "the body is binary and may upset the terminal: save it with -o FILE,"
                " or show it anyway with -o -",
            )
        if isinstance(self._met, BrokenPipeError) and self._args.output in (None, "-"):
            raise self._met
        if isinstance(self._met, OSError):
            raise _cannot_write(self._args.output, self._met)
        if self._met is not None:
            raise self._met

    def _publish(self) -> None:
        try:
            self._sink.finish()
        except BrokenPipeError:
            raise
        except OSError as error:
            self._sink.discard()
            raise _cannot_write(self._args.output, error) from None

    # ---- callbacks

    def _guard(self, step: Callable[[Any], None], event: Any) -> None:
        """Keeps what ``step`` raises, Ctrl-C included, and ends the request because of it."""
        if self._met is None:
            try:
                step(event)
            except BaseException as error:
                self._met = error
                self._task.abort()

    def _on_headers(self, event: Any) -> None:
        self._guard(self._take_headers, event)

    def _on_chunk(self, event: Any) -> None:
        self._guard(self._take_chunk, event)

    def _on_complete(self, _: Any) -> None:
        self._ended = time.monotonic()

    def _take_headers(self, event: Any) -> None:
        if self._archive is not None:
            self._archive.head = event
        lines = [status_line(event), *(f"{n}: {v}" for n, v in event.header.raw_items())]
        if self._args.verbose:
            for line in lines:
                cli.say(f"< {line}")
        if self._args.fail and event.statusCode >= 400:
            self._refused = lines[0]
        elif (self._args.include or self._args.head) and not self._args.json:
            self._sink.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())

    def _take_chunk(self, event: Any) -> None:
        if self._archive is not None:
            self._archive.take(event.data)
        if self._refused is None:
            self._sink.write(event.data)

    # ---- what the person or program reads

    def report(self) -> int:
        """Prints what came of it and returns the exit code."""
        args = self._args
        profile = (self._error or self._result).profile
        if args.json:
            print_json(self._document())
        if (args.profile or args.verbose) and profile is not None:
            self._tell_profile(profile)
        if self._error is not None:
            if args.verbose and self._error.cause is not None:
                cause = self._error.cause
                cli.say(f"* {cause.name} ({cause.code}), OS error {cause.os_errno}: {cause.text}")
            raise cli.CommandError(cli.exit_code(self._error), self._error.errMsg)
        if self._refused is not None:
            raise cli.CommandError(cli.HTTP_ERROR, f"the server answered {self._refused}")
        return 0

    def _tell_request(self, options: dict[str, Any]) -> None:
        parts = urlsplit(self._url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        cli.say(f"> {options['method'].upper()} {target}")
        host = parts.netloc.rpartition("@")[2]
        for name, value in {"Host": host, **options["header"]}.items():
            for one in value if isinstance(value, list) else [value]:
                cli.say(f"> {name}: {one}")
        if "data" in options:
            cli.say(f"> ({waterfall.human_bytes(len(options['data']))} of data)")

    def _tell_profile(self, profile: Any) -> None:
        if self._sink.line_open:
            cli.say("")
        ended = None if self._error is None else (self._ended - self._began) * 1000
        if self._args.profile:
            tell_profile(profile, self._url, ended)
        else:
            facts = waterfall.facts(profile, tls=used_tls(profile, self._url))
            style = replace(Style.of(sys.stderr), width=sys.maxsize)
            (line,) = waterfall.joined(facts, style)
            cli.say(f"* {line}")

    def _document(self) -> dict[str, Any]:
        if self._error is not None:
            document: dict[str, Any] = to_dict(self._error)
            document["profile"] = profile_document(self._error.profile)
            return document
        result = self._result
        document = {
            "statusCode": result.statusCode,
            "header": dict(result.header),
            "cookies": list(result.cookies),
            "profile": profile_document(result.profile),
        }
        if self._args.output is not None:
            document["filePath"] = self._args.output
        else:
            document.update(readable(bytes(result.data), result.header.get("content-type")))
        document["errMsg"] = result.errMsg
        return document


def used_tls(profile: Any, url: str) -> bool:
    """Whether the request to ``url`` went through TLS, as far as its profile tells."""
    reused = bool(profile.socketReused)
    return profile.SSLconnectionStart > 0 or (reused and url.lower().startswith("https:"))


def tell_profile(profile: Any, url: str, ended_after_ms: float | None) -> None:
    """Draws the waterfall to stderr; ``ended_after_ms`` as in `waterfall.draw`."""
    tls, style = used_tls(profile, url), Style.of(sys.stderr)
    for line in waterfall.draw(profile, tls=tls, style=style, ended_after_ms=ended_after_ms):
        cli.say(line)


def status_line(event: Any) -> str:
    """The status line as the server sent it; HTTP/2 and HTTP/3 have no reason phrase."""
    return str(event.header.status_line)


def readable(body: bytes, content_type: str | None) -> dict[str, Any]:
    """A body as JSON can carry it: decoded JSON, else text, else base64 (``dataEncoding``)."""
    try:
        return {"data": msgspec.json.decode(body) if body else ""}
    except (msgspec.DecodeError, RecursionError):
        return _text_or_base64(body, content_charset(content_type))


def _text_or_base64(body: bytes, charset: str) -> dict[str, Any]:
    try:
        return {"data": body.decode(charset)}
    except UnicodeDecodeError:
        return {"data": base64.b64encode(body).decode(), "dataEncoding": "base64"}


def profile_document(profile: Any) -> dict[str, Any] | None:
    """A profile as JSON carries it, with its durations."""
    if profile is None:
        return None
    return {**to_dict(profile), "durations": dict(profile.durations)}


def refusal(api: str, message: str) -> dict[str, Any]:
    """What ``--json`` prints for what the command itself refuses."""
    errno = int(Errno.ARGUMENT)
    return {"errMsg": f"{api}:fail {message}", "errno": errno, "cause": None, "profile": None}


def print_json(document: dict[str, Any]) -> None:
    """Prints the one object of ``--json``."""
    print(json.dumps(document), flush=True)
