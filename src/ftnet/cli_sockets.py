"""The command lines of ``ftnet tcp``: what its options are; `cli_tcp` carries it out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ftnet import cli

if TYPE_CHECKING:
    from ftnet.cli import Subparsers

_TCP_EPILOG = """\
From a file or pipe everything goes to the peer as it comes; at its end the peer is told that
nothing more will come (FIN), and what it still says is waited for. Output to a file or pipe has
what the peer sent and nothing else.
Lines that are typed go out with a line end behind them; Ctrl-D tells the peer that nothing more
will come, Ctrl-C ends the command.

examples:
  ftnet tcp localhost 7                                    talk to a server
  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | ftnet tcp example.com 80
  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | ftnet tcp -v --tls example.com 443 > page
  ftnet tcp --hex localhost 6379 < command.bin             see every byte of the answer
  tar c . | ftnet tcp backup 9000

exit codes (those of curl):
  0 done   2 usage, or no address or port   6 host name   7 connect   23 can't write   26 can't read
  28 timeout   35 TLS handshake   45 local address   55 closed before all was sent   56 cut off
  58 client certificate   60 server certificate   77 CA file   130 interrupted
"""


def port(text: str) -> int:
    """A number from 1 to 65535."""
    value = cli.positive(text)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return value


def add_address(parser: argparse.ArgumentParser) -> None:
    """Adds where to connect."""
    parser.add_argument("host", metavar="HOST", help="a name or an IP address")
    parser.add_argument("port", metavar="PORT", type=port, help="a number from 1 to 65535")


def add_tcp(commands: Subparsers) -> None:
    """Adds ``tcp`` to the commands."""
    parser = commands.add_parser(
        "tcp",
        help="talk to a TCP server, with TLS or without",
        usage="ftnet tcp [OPTION ...] HOST PORT",
        description="Connects, sends what comes from stdin and shows what the peer sends.",
        epilog=_TCP_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_address(parser)
    add = parser.add_argument_group("data").add_argument
    add("--hex", action="store_true", help="show what comes in hexadecimal")
    add("--json", action="store_true",
        help="print JSON objects, one a line: event (connect, message, end, error, close) and"
        " what belongs to it; data that is no text in base64")  # fmt: skip
    add("-v", "--verbose", action="store_true",
        help="tell on stderr where it is connected to and how long that took")  # fmt: skip
    add("--wait", metavar="SECONDS", type=cli.seconds,
        help="end when nothing has come for so long after the end of stdin (default: wait for"
        " the peer to end)")  # fmt: skip

    group = parser.add_argument_group("connection")
    add = group.add_argument
    family = group.add_mutually_exclusive_group()
    for flag, kind in (("-4", "ipv4"), ("-6", "ipv6")):
        family.add_argument(
            flag, dest="type", action="store_const", const=kind, default="any",
            help=f"a name's {kind.replace('ip', 'IP')} addresses only",
        )  # fmt: skip
    add("--timeout", metavar="SECONDS", type=cli.seconds, default=2.0,
        help="limit for DNS, TCP and TLS together (default: 2)")  # fmt: skip
    add("--resolve", metavar="HOST:PORT:ADDR", type=cli.resolve_entry, action="append", default=[],
        help="use this address for HOST:PORT instead of asking DNS (may be repeated)")  # fmt: skip
    add("--source", metavar="ADDRESS", help="local address to connect from")
    add("--source-port", metavar="PORT", type=port, help="local port to connect from")
    add("--keepalive", metavar="SECONDS", type=cli.seconds, help="idle time before a probe")
    add("--tls", action="store_true", help="speak TLS")
    add("--server-name", metavar="NAME", help="name that the certificate must have (HOST)")
    cli.add_tls_options(parser)
    parser.set_defaults(
        run=_run_tcp, http_version=None, max_filesize=None, proxy=None, noproxy=None,
        interface=None, user_agent=None,
    )  # fmt: skip


def _run_tcp(args: argparse.Namespace) -> int:
    from ftnet.cli_tcp import run

    return run(args)
