"""The command lines of ``ftnet tcp`` and ``ftnet udp``; `cli_tcp` and `cli_udp` carry them out."""

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
    parser = cli.add_command(
        commands,
        "tcp",
        "HOST PORT",
        help="talk to a TCP server, with TLS or without",
        description="Connects, sends what comes from stdin and shows what the peer sends.",
        epilog=_TCP_EPILOG,
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
    cli.add_resolve_option(add)
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


_UDP_EPILOG = """\
Each line of stdin is a datagram, without its line end. Each datagram that comes is written to
stdout as a line; what is no text as base64.

examples:
  ftnet udp localhost 7                                    talk to a server
  echo ping | ftnet udp -n 1 localhost 7                   ask once, print the first answer
  ftnet udp --hex --wait 5 localhost 5353 < questions      see every byte of the answers
  echo hello | ftnet udp --broadcast 192.168.1.255 9999    all who answer within a second
  ftnet udp --bind 9999 --json localhost 9998 < /dev/null  one JSON object for each datagram

exit codes (those of curl):
  0 done   2 usage, or no address or port   6 host name   7 refused or not reachable
  23 can't write   26 can't read   28 no answer in time, or not as many as -n   45 local port
  55 not sent   130 interrupted
"""


def add_udp(commands: Subparsers) -> None:
    """Adds ``udp`` to the commands."""
    parser = cli.add_command(
        commands,
        "udp",
        "HOST PORT",
        help="send and receive datagrams, line by line",
        description="Sends lines of stdin as datagrams and shows what comes back.",
        epilog=_UDP_EPILOG,
    )
    add_address(parser)
    add = parser.add_argument_group("data").add_argument
    add("-n", "--count", metavar="N", type=cli.positive,
        help="end when N datagrams have come; a failure when fewer do within --wait")  # fmt: skip
    add("--wait", metavar="SECONDS", type=cli.seconds_or_none,
        help="how long answers are waited for after the last line, and after each other"
        " (default: 1)")  # fmt: skip
    add("--hex", action="store_true", help="show what comes in hexadecimal")
    add("--binary", action="store_true",
        help="write datagrams as they come, with nothing between or behind them")  # fmt: skip
    add("--json", action="store_true",
        help="print JSON objects, one a line: event (listening, message, error, close) and what"
        " belongs to it; data that is no text in base64")  # fmt: skip

    group = parser.add_argument_group("socket")
    add = group.add_argument
    family = group.add_mutually_exclusive_group()
    for flag, kind in (("-4", "udp4"), ("-6", "udp6")):
        family.add_argument(
            flag, dest="type", action="store_const", const=kind, default="udp4",
            help=f"a name's IPv{kind[-1]} address{' (default)' if kind == 'udp4' else ''}",
        )  # fmt: skip
    add("--bind", metavar="PORT", type=port, help="local port to send from")
    add("--ttl", metavar="HOPS", type=cli.positive, help="how far datagrams may go")
    add("--any", action="store_true",
        help="take datagrams of any sender, not of HOST and PORT alone")  # fmt: skip
    add("--broadcast", action="store_true", help="HOST is a broadcast address; with --any")
    cli.add_resolve_option(add)
    parser.set_defaults(run=_run_udp)


def _run_udp(args: argparse.Namespace) -> int:
    from ftnet.cli_udp import run

    return run(args)
