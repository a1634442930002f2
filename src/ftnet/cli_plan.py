"""``ftnet plan``: checks plan files, and makes them of what others have written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ftnet import cli

if TYPE_CHECKING:
    from ftnet.cli import Subparsers
    from ftnet.plan import Plan

_EPILOG = """\
examples:
  ftnet plan check shop.toml                       what it will do, or all that is wrong in it
  ftnet plan from-har shop.har --host shop.example --think -o shop.toml
  ftnet plan from-urls urls.txt                    URL, METHOD URL or curl ... in each line
  ftnet plan from-openapi api.json --base-url http://localhost:8080 -o api.toml
  ftnet load --plan shop.toml

docs/plans.md is the reference of plan files.

exit codes:
  0 done   2 usage, or something is wrong in the file   23 can't write   130 interrupted
"""


def add_plan(commands: Subparsers) -> None:
    """Adds ``plan`` to the commands."""
    parser = cli.add_command(
        commands,
        "plan",
        "COMMAND FILE",
        help="check plan files for load, make them of HAR files, URLs, curl, OpenAPI",
        description="A plan is a file that says what virtual users do: steps of HTTP, WebSocket,"
        " TCP\nand UDP, with variables, data, checks and a load. ftnet load --plan FILE does it.",
        epilog=_EPILOG,
    )
    inner = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, prog="ftnet plan"
    )
    _add_check(inner)
    _add_from_har(inner)
    _add_from_urls(inner)
    _add_from_openapi(inner)


def _add(
    inner: Subparsers, name: str, help: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = inner.add_parser(
        name, help=help, description=f"{help[0].upper()}{help[1:]}.", allow_abbrev=False
    )
    parser.add_argument("file", metavar="FILE")
    parser.set_defaults(run=run)
    return parser


def _add_check(inner: Subparsers) -> None:
    _add(inner, "check", "say what a plan will do, or all that is wrong in it", _check)


def _add_from_har(inner: Subparsers) -> None:
    add = _made(inner, "from-har", "make a plan of a browser's HAR file", _from_har)
    add("--host", metavar="NAME", action="append", default=[], dest="hosts",
        help="only requests to this host (may be repeated; default: all)")  # fmt: skip
    add("--think", action="store_true", help="keep the times between the requests")
    add("--no-static", action="store_false", dest="static",
        help="leave out images, styles, scripts and fonts")  # fmt: skip
    add("--credentials", action="store_true",
        help="keep Cookie and Authorization, which are left out otherwise")  # fmt: skip


def _add_from_urls(inner: Subparsers) -> None:
    _made(inner, "from-urls", "make a plan of a list of URLs or curl commands", _from_urls)


def _add_from_openapi(inner: Subparsers) -> None:
    add = _made(
        inner, "from-openapi", "make a plan of an OpenAPI 3 document's examples", _from_openapi
    )
    add("--base-url", metavar="URL", default="", help="in place of the document's first server")


def _made(
    inner: Subparsers, name: str, help: str, run: Callable[[argparse.Namespace], int]
) -> Callable[..., object]:
    add = _add(inner, name, help, run).add_argument
    add("-o", "--output", metavar="FILE", help="write the plan to FILE (default: stdout)")
    return add


# ---- check


def _check(args: argparse.Namespace) -> int:
    from ftnet.cli_plan_text import lines_of
    from ftnet.plan import PlanError

    try:
        lines = lines_of(load_telling(args.file))
    except PlanError as error:
        for problem in error.problems:
            cli.say(str(problem))
        many = len(error.problems)
        found = "1 thing is wrong" if many == 1 else f"{many} things are wrong"
        raise cli.CommandError(cli.USAGE, f"{args.file}: {found}") from None
    for line in lines:
        cli.say(line, sys.stdout)
    return 0


# ---- from others


def _from_har(args: argparse.Namespace) -> int:
    from ftnet.plan import from_har

    return _make(args, lambda left: from_har(
        args.file, hosts=args.hosts, static=args.static, think=args.think,
        credentials=args.credentials, left_out=left,
    ))  # fmt: skip


def _from_urls(args: argparse.Namespace) -> int:
    from ftnet.plan import from_urls

    return _make(args, lambda left: from_urls(args.file))


def _from_openapi(args: argparse.Namespace) -> int:
    from ftnet.plan import from_openapi

    return _make(args, lambda left: from_openapi(args.file, base_url=args.base_url, left_out=left))


def load_telling(path: str) -> Plan:
    """The plan in any kind of file; what is not taken over is told."""
    from ftnet.plan import load_any

    left_out: list[str] = []
    plan = load_any(path, left_out=left_out)
    _tell(left_out)
    return plan


def _tell(left_out: list[str]) -> None:
    for told in left_out:
        cli.say(f"left out: {told}")


def _make(args: argparse.Namespace, make: Callable[[list[str]], Plan]) -> int:
    from ftnet.plan import PlanError

    left_out: list[str] = []
    try:
        plan = make(left_out)
    except PlanError as error:
        for one in error.problems:
            cli.say(str(one))
        raise cli.CommandError(cli.USAGE, f"no plan can be made of {args.file}") from None
    _tell(left_out)
    _write(args, plan)
    return 0


def _write(args: argparse.Namespace, plan: Plan) -> None:
    from ftnet.cli_plan_text import document
    from ftnet.sink import FileSink, Sink, StreamSink

    content = document(plan, args.file, args.output).encode()
    sink: Sink
    try:
        if args.output in (None, "-"):
            sink = StreamSink(sys.stdout.buffer, guarded=False)
        else:
            sink = FileSink(args.output)
        sink.write(content)
        sink.finish()
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = f"can't write to {args.output or 'stdout'}: {error.strerror}"
        raise cli.CommandError(cli.WRITE_ERROR, reason) from None
