"""What ``ftnet load`` tells other programs while it runs: files, metrics."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, Self

from ftnet import cli
from ftnet.load.outputs import Csv, HdrLog, Hgrm, Ndjson, Output

if TYPE_CHECKING:
    import argparse

    from ftnet.load.checks import Check
    from ftnet.load.observer import Observer
    from ftnet.load.otel import OpenTelemetry
    from ftnet.load.prometheus import Prometheus

_FILES = ("ndjson", "csv", "hdr", "hgrm")  # names of options
_ADDRESS = re.compile(r"(?:(\[[^\]]+\]|[^:\[\]]+):)?(\d{1,5})")


def stdout_taken(args: argparse.Namespace) -> bool:
    """Whether one of the options writes to stdout; CommandError: two write to the same file."""
    taken: dict[str, str] = {}
    for name in ("json", "html", *_FILES):
        path = getattr(args, name)
        if path is None:
            continue
        place = "stdout" if path == "-" else os.path.realpath(path)
        other = taken.setdefault(place, name)
        if other != name:
            shown = "stdout" if path == "-" else path
            raise cli.CommandError(cli.USAGE, f"--{other} and --{name} can't both go to {shown}")
    return "stdout" in taken


class Exports:
    """The observers of a run that the options ask for; within, they are at work."""

    def __init__(self, args: argparse.Namespace, checks: Sequence[Check]) -> None:
        """CommandError: a file, an address or an extra is not to be had."""
        self.observers: list[Observer] = []
        self._outputs: dict[str, Output] = {}  # by path
        self._otel: OpenTelemetry | None = None
        self._log = _LastMessage()
        with contextlib.ExitStack() as opened:
            if args.otel:
                opened.enter_context(self._log)
                self._otel = _otel()
                self.observers.append(self._otel)
            if args.prometheus is not None:
                prometheus = opened.enter_context(_prometheus(args.prometheus))
                self.observers.append(prometheus)
                if not (args.quiet or args.silent):
                    cli.say(f"ftnet: metrics at {prometheus.url}")
            for name in _FILES:
                path = getattr(args, name)
                if path is not None:
                    file = opened.enter_context(_open(path))
                    self._outputs[path] = _output(name, file, checks)
            self._opened = opened.pop_all()
        self.observers += self._outputs.values()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def tick(self) -> None:
        """BrokenPipeError: whoever read stdout has left."""
        output = self._outputs.get("-")
        if output is not None and isinstance(output.error, BrokenPipeError):
            raise output.error

    def judge(self) -> None:
        """CommandError: something could not be written or sent."""
        self.tick()
        for path, output in self._outputs.items():
            if output.error is not None:
                raise cli.CommandError(
                    cli.WRITE_ERROR, f"can't write to {path}: {output.error.strerror}"
                )
        if self._otel is not None and not self._otel.exported:
            raise cli.CommandError(cli.WRITE_ERROR, f"--otel: {self._log.message}")


class _LastMessage(logging.Handler):
    """Within, keeps the SDK's last message, which would else spoil what is on the terminal."""

    message = "the last metrics were not taken"
    _logger = logging.getLogger("opentelemetry")

    def emit(self, record: logging.LogRecord) -> None:
        self.message = record.getMessage()

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)


def _otel() -> OpenTelemetry:
    try:
        from ftnet.load.otel import OpenTelemetry
    except ImportError as error:
        raise _without("--otel", "otel", error) from None
    try:
        return OpenTelemetry()
    except ValueError as error:  # one of the environment variables
        raise cli.CommandError(cli.USAGE, f"--otel: {error}") from None


def _prometheus(address: str) -> Prometheus:
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found[2]) > 65535:
        raise cli.CommandError(cli.USAGE, f"--prometheus must be [HOST:]PORT, got {address!r}")
    try:
        from ftnet.load.prometheus import Prometheus
    except ImportError as error:
        raise _without("--prometheus", "prometheus", error) from None
    try:
        return Prometheus(int(found[2]), (found[1] or "127.0.0.1").strip("[]"))
    except OSError as error:
        reason = f"--prometheus: can't listen on {address}: {error.strerror}"
        raise cli.CommandError(cli.USAGE, reason) from None


def _without(option: str, extra: str, error: ImportError) -> cli.CommandError:
    reason = f"{option} needs a package that is not there ({error}): pip install 'ftnet[{extra}]'"
    return cli.CommandError(cli.USAGE, reason)


def _open(path: str) -> BinaryIO:
    """Without a buffer: closing it has nothing left to write, and holds for nobody who reads."""
    try:
        if path == "-":
            return open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)
        return open(path, "wb", buffering=0)
    except OSError as error:
        raise cli.CommandError(cli.USAGE, f"can't write to {path}: {error.strerror}") from None


def _output(name: str, file: BinaryIO, checks: Sequence[Check]) -> Output:
    if name == "ndjson":
        return Ndjson(file, checks)
    return {"csv": Csv, "hdr": HdrLog, "hgrm": Hgrm}[name](file)
