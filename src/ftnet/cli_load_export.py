"""What ``ftnet load`` writes for other programs while it runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, Self

from ftnet import cli
from ftnet.load.outputs import Csv, HdrLog, Hgrm, Ndjson, Output

if TYPE_CHECKING:
    import argparse

    from ftnet.load.checks import Check
    from ftnet.load.observer import Observer

_FILES = ("ndjson", "csv", "hdr", "hgrm")  # names of options


def stdout_taken(args: argparse.Namespace) -> bool:
    """Whether one of the options writes to stdout; CommandError: more than one does."""
    taken = [f"--{name}" for name in ("json", "html", *_FILES) if getattr(args, name) == "-"]
    if len(taken) > 1:
        raise cli.CommandError(cli.USAGE, f"{' and '.join(taken)} can't both go to stdout")
    return bool(taken)


class Exports:
    """The observers of a run that the options ask for; within, their files are open."""

    def __init__(self, args: argparse.Namespace, checks: Sequence[Check]) -> None:
        """CommandError: a file can't be written to."""
        self.observers: list[Observer] = []
        self._outputs: dict[str, Output] = {}  # by path
        with contextlib.ExitStack() as opened:
            for name in _FILES:
                path = getattr(args, name)
                if path is not None:
                    file = sys.stdout.buffer if path == "-" else opened.enter_context(_open(path))
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
        """CommandError: something could not be written."""
        self.tick()
        for path, output in self._outputs.items():
            if output.error is not None:
                raise cli.CommandError(
                    cli.WRITE_ERROR, f"can't write to {path}: {output.error.strerror}"
                )


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "wb", buffering=0)  # so that closing it has nothing left to write
    except OSError as error:
        raise cli.CommandError(cli.USAGE, f"can't write to {path}: {error.strerror}") from None


def _output(name: str, file: BinaryIO, checks: Sequence[Check]) -> Output:
    if name == "ndjson":
        return Ndjson(file, checks)
    return {"csv": Csv, "hdr": HdrLog, "hgrm": Hgrm}[name](file)
