"""``ftnet serve``: a server to try load on, without configuration."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ftnet import cli
from ftnet.cli_load import span

if TYPE_CHECKING:
    from ftnet.cli import Subparsers

FAILED = 1
_MOST_WORKERS = 64

_DESCRIPTION = """\
Serves HTTP/1.1 to try load on: answers that are slow, stall or fail as the URL asks, and a resource
with a known limit. Prints its URL and its endpoints; Ctrl-C or SIGTERM ends it.
It needs aiohttp: pip install 'ftnet[serve]'"""

_EPILOG = """\
endpoints:
  / lists them with their parameters; what is wrong is answered with 400 and says what is right.
  /work      has ?slots=8 places, each held for ?ms=5: it serves 8 / 0.005 s = 1,600 requests a
             second; above that they wait in line, or with &queue=N get 503 when N wait already
  /fail      fails for exactly ?share=0.01: the 100th, the 200th, ...
  /stats     what the server counted, to compare with what a load tool says

examples:
  ftnet serve
  ftnet load --rate 1k 'http://127.0.0.1:8080/work?ms=5&slots=8'
  ftnet load --stages 30s:2k 'http://127.0.0.1:8080/work?ms=5&slots=8'

exit codes:
  0 ended by Ctrl-C or SIGTERM   1 the address or port can't be had, or a worker died   2 usage
"""


def add_serve(commands: Subparsers) -> None:
    """Adds ``serve`` to the commands."""
    parser = cli.add_command(
        commands,
        "serve",
        "",
        help="serve slow, failing and limited answers to try load on",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    add("--port", metavar="N", type=port, default=8080,
        help="port to listen on; 0: any that is free (default: 8080)")  # fmt: skip
    add("--workers", metavar="N", type=workers, default=1,
        help="processes that serve; they share the places of /work and all counts (default:"
        " 1)")  # fmt: skip
    add("--slower", metavar="TIME", type=span, default=0.0,
        help="every answer takes so much longer, as 3ms: a release that is worse, for gates to"
        " find")  # fmt: skip
    parser.set_defaults(run=_run)


def port(text: str) -> int:
    """A port's number, or 0."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 1 to 65535, or 0 for any")
    return int(text)


def workers(text: str) -> int:
    """How many processes."""
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 64")
    return int(text)


def _run(args: argparse.Namespace) -> int:
    try:
        from ftnet.serve import endpoints, server
    except ImportError as error:
        missing = "ftnet serve needs aiohttp: pip install 'ftnet[serve]'"
        raise cli.CommandError(cli.USAGE, f"{missing} ({error})") from None

    def ready(url: str) -> None:
        lines = "".join(f"  {line}\n" for line in endpoints.listing().splitlines())
        cli.say(f"{url}  (Ctrl-C ends it)\n\n{lines}", sys.stdout)

    try:
        server.serve(args.host, args.port, args.workers, ready, slower=args.slower)
    except (OSError, RuntimeError) as error:
        raise cli.CommandError(FAILED, _reason(args, error)) from None
    return 0


def _reason(args: argparse.Namespace, error: OSError | RuntimeError) -> str:
    import errno

    if not isinstance(error, OSError):
        return str(error)
    if error.errno == errno.EADDRINUSE:
        other = "another program uses it; --port takes another one, --port 0 any that is free"
        return f"can't listen on port {args.port} of {args.host}: {other}"
    return f"can't listen on port {args.port} of {args.host}: {error.strerror or error}"
