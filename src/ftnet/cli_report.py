"""``ftnet report``: the result of a load run as an HTML page."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftnet import cli

if TYPE_CHECKING:
    from ftnet.cli import Subparsers
    from ftnet.load.checks import Outcome
    from ftnet.load.result import Result

_DESCRIPTION = """\
Makes an HTML page of a result that `ftnet load --json FILE` wrote: the verdict, the checks, latency
by percentile and over time, where the time went, errors, the state of the generator. The page is
one file that asks no network for anything.
It needs jinja2: pip install 'ftnet[report]'"""

_EPILOG = """\
examples:
  ftnet load --json run.json --rate 1k http://localhost:8080/
  ftnet report run.json                  writes run.html
  ftnet report run.json -o - > page.html

exit codes:
  0 done   2 usage, or FILE can't be made   23 can't write
  26 RESULT can't be read, or is no result
"""


def add_report(commands: Subparsers) -> None:
    """Adds ``report`` to the commands."""
    parser = cli.add_command(
        commands,
        "report",
        "RESULT",
        help="make an HTML page of the result of a load run",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("result", metavar="RESULT", help="what `ftnet load --json` wrote")
    parser.add_argument("-o", "--output", metavar="FILE",
        help="where the page goes; - is stdout (default: beside RESULT, as .html)")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the page; CommandError where that can't be."""
    from ftnet.cli_load_run import sink_to, written

    needs_jinja2("ftnet report")
    content = page(*_read(args.result), {})
    path = args.output or os.path.splitext(args.result)[0] + ".html"
    if not args.output and path == args.result:
        raise cli.CommandError(cli.USAGE, f"the page would replace {path}: say -o FILE")
    written(sink_to(path), content, path)
    if path != "-":
        cli.say(f"{path}: {len(content) / 1e3:,.0f} kB")
    return 0


def needs_jinja2(what: str) -> None:
    """CommandError: it is not installed."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise cli.CommandError(
            cli.USAGE, f"{what} needs jinja2: pip install 'ftnet[report]' ({error})"
        ) from None


def page(result: Result, outcomes: Sequence[Outcome], of: Mapping[str, str]) -> bytes:
    """The page as it is written; ``of`` are versions by name."""
    from ftnet import report

    return report.render(result, outcomes, of).encode("utf-8", "replace")


def versions() -> dict[str, str]:
    """Those of what sends the load."""
    from ftnet.client import VERSION
    from ftnet.info import engine_info

    return {"ftnet": VERSION, "libcurl": engine_info()["version"]}


def _read(path: str) -> tuple[Result, list[Outcome]]:
    """A result, and its checks, judged again."""
    import msgspec

    from ftnet.load import Result
    from ftnet.load.checks import Check

    try:
        with open(path, "rb") as file:
            document: Any = msgspec.json.decode(file.read())
        result = Result.from_dict(document)
        checks = [Check.parse(one["check"]) for one in document.get("checks", [])]
    except OSError as error:
        raise cli.CommandError(cli.READ_ERROR, f"can't read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise cli.CommandError(cli.READ_ERROR, f"{path} is no result: {error}") from None
    return result, [check.judge(result) for check in checks]
