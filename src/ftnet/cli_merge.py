"""``ftnet merge``: one result from several of ``ftnet load --json``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from ftnet import cli

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftnet.cli import Subparsers
    from ftnet.load import Result
    from ftnet.sink import Sink

_DESCRIPTION = """\
Makes one result from several that `ftnet load --json` wrote: of generators that ran at once, or of
the same run repeated. Counters and histograms are added exactly, so percentiles are those of all
requests; seconds are put together by the clock. The rate is of the time in which at least one was
measured. It is INVALID when one of them is."""

_EPILOG = """\
examples:
  ftnet merge a.json b.json c.json -o all.json
  ftnet merge before-*.json -o before.json; ftnet compare before.json now.json

exit codes:
  0 done (also when the result is INVALID)   23 can't write
  2 usage: a file can't be read or is no result, the options differ, one run is there twice
"""


def add_merge(commands: Subparsers) -> None:
    """Adds ``merge`` to the commands."""
    parser = cli.add_command(
        commands,
        "merge",
        "FILE ...",
        help="make one result from several of ftnet load --json",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("files", metavar="FILE", nargs="+", help="what ftnet load --json wrote; -: stdin")
    add("-o", "--output", metavar="FILE", default="-",
        help="where the result goes (default: -, stdout)")  # fmt: skip
    add("--force", action="store_true",
        help="also when the options differ; those of the first are kept")  # fmt: skip
    parser.set_defaults(run=_run)


def read_results(paths: Sequence[str]) -> list[Result]:
    """One of each file; CommandError when one can't be read."""
    from ftnet import load

    if paths.count("-") > 1:
        raise cli.CommandError(cli.USAGE, "stdin (-) can be read once")
    try:
        return [load.read(sys.stdin.buffer if path == "-" else path) for path in paths]
    except OSError as error:
        reason = f"can't read {error.filename or 'stdin'}: {error.strerror}"
        raise cli.CommandError(cli.USAGE, reason) from None
    except ValueError as error:
        raise cli.CommandError(cli.USAGE, str(error)) from None


def _run(args: argparse.Namespace) -> int:
    from ftnet import load

    results = read_results(args.files)
    try:
        result = load.merge(results, args.files, force=args.force)
    except ValueError as error:
        advice = "" if args.force else " (--force merges nevertheless)"
        raise cli.CommandError(cli.USAGE, f"{error}{advice}") from None
    _write(args.output, json.dumps(result.to_dict()).encode() + b"\n")
    for one in result.reasons:
        cli.say(f"ftnet: the result is INVALID: {one}")
    return 0


def _write(path: str, content: bytes) -> None:
    from ftnet.sink import FileSink, StreamSink

    sink: Sink | None = None
    try:
        sink = StreamSink(sys.stdout.buffer, guarded=False) if path == "-" else FileSink(path)
        sink.write(content)
        sink.finish()
    except BrokenPipeError:
        raise
    except OSError as error:
        if sink is not None:
            sink.discard()
        raise cli.CommandError(
            cli.WRITE_ERROR, f"can't write to {path}: {error.strerror}"
        ) from None
