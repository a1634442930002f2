"""The ``ftnet`` command: its sub-commands, the options they share, exit codes as curl has them.

A sub-command is one function in `COMMANDS` that adds its parser and names what runs it. The
engine is imported only by what runs, so ``--help`` and ``doctor`` work without it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from ftnet.errors import Errno, FtError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

BAD_SCHEME, USAGE, BAD_URL, HTTP_ERROR, WRITE_ERROR, READ_ERROR = 1, 2, 3, 22, 23, 26
INTERRUPTED = 130
_UNLIMITED = 2_147_483.0  # seconds: the longest time that can be asked for
TIMED_OUT, EMPTY_ANSWER, NOT_SENT = 28, 52, 55
CLIENT_CERTIFICATE, CA_FILE = 58, 77
CLOSED_WITH_CODE = 110  # beyond those of curl

# The exit code of a failure that libcurl has no code for: as curl(1) names it.
_EXIT_BY_ERRNO = {
    Errno.TIMEOUT: 28,
    Errno.INTERRUPTED: 56,
    Errno.PROTOCOL: 8,
    Errno.SYSTEM: 27,
    Errno.TOO_MANY_REDIRECTS: 47,
    Errno.INVALID_URL: BAD_URL,
    Errno.INVALID_DATA: 63,
    Errno.TLS: 35,
    Errno.DNS: 6,
    Errno.CONNECT: 7,
    Errno.PROXY: 97,
}


class CommandError(Exception):
    """Ends the command with ``code``; ``message`` is what the person reads."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def exit_code(error: FtError) -> int:
    """The exit code for a failed request: curl(1) exits with the libcurl code, and so do we."""
    if error.cause is not None and error.cause.code:
        return error.cause.code
    return _EXIT_BY_ERRNO.get(error.errno, USAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line ``argv`` (default: the process's) and returns its exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell has closed it: >&-
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as leaving:  # argparse has printed its help or its complaint
        return int(leaving.code or 0)
    try:
        return _run(args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return WRITE_ERROR


def _run(args: argparse.Namespace) -> int:
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return int(args.run(args))
        except CommandError as error:
            code, message = error.code, error.message
        except ImportError as error:
            code, message = USAGE, f"{error}\n`ftnet doctor` says more"
    if not getattr(args, "silent", False):
        say(f"ftnet: ({code}) {message}")
    return code


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a line to stderr (or ``stream``) whatever its encoding can't show."""
    out = stream or sys.stderr
    encoding = out.encoding or "ascii"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=out, flush=True)


def _drop_stdout() -> None:
    """Keeps the interpreter from complaining at exit about a pipe whose reader has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"ftnet: warning: {message}")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; each sub-command's namespace has ``run``, the function to call."""
    parser = argparse.ArgumentParser(
        prog="ftnet",
        description="HTTP requests, one or many, with the true time of every phase; WebSockets, TCP"
        " and UDP.",
        epilog="Each command explains itself: ftnet request --help",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return parser


def _version() -> str:
    try:
        return f"ftnet {importlib.metadata.version('ftnet')}"
    except importlib.metadata.PackageNotFoundError:
        return "ftnet (not installed)"


# ---- options that every command with a connection has


def add_connection_options(
    parser: argparse.ArgumentParser, *, max_time: float = _UNLIMITED
) -> None:
    """Adds the options that `client_settings` reads; ``max_time`` is the default of ``-m``."""
    group = parser.add_argument_group("connection")
    version = group.add_mutually_exclusive_group()
    for flag, value, text in (
        ("--http1.1", "1.1", "HTTP/1.1 only"),
        ("--http2", "2", "HTTP/2 when the server agrees"),
        ("--http2-prior-knowledge", "2-prior-knowledge", "HTTP/2 without asking, also on http"),
        ("--http3", "3", "HTTP/3, falling back to TCP when it fails"),
        ("--http3-only", "3-only", "HTTP/3 and nothing else"),
    ):
        version.add_argument(
            flag, dest="http_version", action="store_const", const=value, help=text
        )
    add_route_options(group)
    _add_max_time(group, "the whole request, queueing included", max_time)
    group.add_argument(
        "--max-filesize", metavar="BYTES", type=positive, help="refuse a larger body (exit 63)"
    )
    add_tls_options(parser)


def add_route_options(group: argparse._ArgumentGroup) -> None:
    """Adds the options of `client_settings` that are about the way to the server."""
    add = group.add_argument
    add("-x", "--proxy", metavar="URL", help="http, https, socks5 or socks5h proxy")
    add("--noproxy", metavar="HOSTS", help="hosts to reach directly, by commas")
    add_resolve_option(add)
    add("--interface", metavar="NAME", help="local interface or address")
    add("-A", "--user-agent", metavar="NAME", help="User-Agent to send")


def add_resolve_option(add: Callable[..., Any]) -> None:
    """Adds ``--resolve``, to be read as a mapping."""
    add("--resolve", metavar="HOST:PORT:ADDR", type=resolve_entry, action="append", default=[],
        help="use this address for HOST:PORT instead of asking DNS (may be repeated)")  # fmt: skip


def add_header_option(add: Callable[..., Any]) -> None:
    """Adds ``-H``, to be read as a list of names and values."""
    add("-H", "--header", metavar="'NAME: VALUE'", type=header_line, action="append", default=[],
        dest="headers", help="header to send (may be repeated)")  # fmt: skip


def _add_max_time(group: argparse._ArgumentGroup, what: str, default: float) -> None:
    shown = "none" if default == _UNLIMITED else round(default)
    group.add_argument(
        "-m", "--max-time", metavar="SECONDS", type=seconds, default=default,
        help=f"limit of {what} (default: {shown})",
    )  # fmt: skip


def add_tls_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `client_settings` that are about TLS."""
    tls = parser.add_argument_group("TLS")
    tls.add_argument("-k", "--insecure", action="store_true", help="don't verify the server")
    tls.add_argument("--cacert", metavar="FILE", help="verify with these CA certificates (PEM)")
    tls.add_argument("--cert", metavar="FILE", help="client certificate (PEM)")
    tls.add_argument("--key", metavar="FILE", help="private key of --cert (PEM)")


def client_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of `ftnet.Client` that the connection options stand for."""
    for path, code in (
        (args.cacert, CA_FILE), (args.cert, CLIENT_CERTIFICATE), (args.key, CLIENT_CERTIFICATE),
    ):  # fmt: skip
        if path is not None and not os.access(path, os.R_OK):
            raise CommandError(code, f"can't read {path}")
    proxy = args.proxy
    if proxy is not None and "://" not in proxy:
        proxy = f"http://{proxy}"
    settings = {
        "http_version": args.http_version,
        "proxy": proxy,
        "no_proxy": args.noproxy,
        "resolve": dict(args.resolve) or None,
        "interface": args.interface,
        "user_agent": args.user_agent,
        "max_body_bytes": args.max_filesize,
        "ca": args.cacert,
        "cert": args.cert,
        "key": args.key,
        "verify": False if args.insecure else None,
    }
    return {name: value for name, value in settings.items() if value is not None}


def resolve_entry(text: str) -> tuple[str, list[str]]:
    """``HOST:PORT:ADDR[,ADDR]`` as ("HOST:PORT", [ADDR, ...]); IPv6 may stand in brackets."""
    match = re.fullmatch(r"([^:]+:\d{1,5}):(\S+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT:ADDR")
    addresses = match[2].split(",")
    return match[1], [one.removeprefix("[").removesuffix("]") for one in addresses]


def seconds(text: str) -> float:
    """A number of seconds, from one millisecond to 24 days."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= _UNLIMITED:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 0.001 to 2147483 seconds")
    return value


def seconds_or_none(text: str) -> float:
    """As `seconds`, or 0."""
    return 0.0 if text == "0" else seconds(text)


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


# ---- the commands


def add_command(
    commands: Subparsers, name: str, operands: str, *, help: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    """Adds a command that takes options and ``operands``; its texts are shown as they stand."""
    return commands.add_parser(
        name,
        help=help,
        usage=f"ftnet {name} [OPTION ...] {operands}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


_EXIT_CODES = """\
exit codes (those of curl):
  0 done   1 scheme not supported   2 usage   3 bad URL   5 proxy name   6 host name
  7 connect   18 cut short   22 status 400 or above%s   23 can't write   26 can't read data
  28 timeout   35 TLS handshake   47 redirects   52 empty reply   55 send   56 receive
  58 client certificate   60 server certificate   63 too large   77 CA file   97 proxy
  130 interrupted
"""

_REQUEST_EXAMPLES = """\
examples:
  ftnet request https://example.com/                      print the page
  ftnet request --profile -o page.html https://example.com/
                                                          save it, show where the time went
  ftnet request -d name=Ada -d age=36 http://localhost:8080/form
  ftnet request --data-json '{"name": "Ada"}' http://localhost:8080/api
  ftnet request -X PUT -H 'content-type: text/csv' -d @table.csv http://localhost:8080/table
  ftnet request --json https://example.com/ | jq .profile.durations
  ftnet request --har page.har https://example.com/       keep it for the browser's developer tools
  ftnet request --http3 --resolve example.com:443:127.0.0.1 -k https://example.com/

"""


def request_command(commands: Subparsers) -> None:
    """``ftnet request``: one request, its body to stdout or a file."""
    parser = add_command(
        commands,
        "request",
        "URL",
        help="send one request and print the body",
        description="Sends one request. The body goes to stdout as it comes, decoded from gzip\n"
        "and the like; everything else goes to stderr.",
        epilog=_REQUEST_EXAMPLES + _EXIT_CODES % " with -f",
    )
    add = parser.add_argument
    add("url", metavar="URL", help="http:// is assumed when it names no scheme")

    group = parser.add_argument_group("request")
    add, add_body = group.add_argument, group.add_mutually_exclusive_group().add_argument
    add("-X", "--request", metavar="METHOD", dest="method", help="GET, or POST when there is data")
    add_body("-d", "--data", metavar="DATA", action="append", default=[],
        help="body, sent as a form unless -H says otherwise; @FILE or @- (stdin) goes byte for"
        " byte; several are joined by &")  # fmt: skip
    add_body("--data-json", metavar="JSON", help="body, sent as JSON; @FILE and @- as for -d")
    add_header_option(add)
    add("-I", "--head", action="store_true", help="send HEAD and print the header")
    add("-L", "--location", action=argparse.BooleanOptionalAction, default=True,
        help="follow redirects (on unless switched off)")  # fmt: skip

    add = parser.add_argument_group("output").add_argument
    add("-o", "--output", metavar="FILE",
        help="write the body to FILE, which appears when it is complete; - is stdout")  # fmt: skip
    add("-i", "--include", action="store_true", help="print the response header before the body")
    add("-f", "--fail", action="store_true", help="no body and exit 22 on a status of 400 or more")
    add("--profile", action="store_true", help="draw the phases of the request to stderr")
    add("--json", action="store_true", help="print one JSON object: status, header, profile, data")
    add("--har", metavar="FILE",
        help="write the request to FILE as an HTTP Archive (HAR 1.2), also when it fails: phases,"
        " header without credentials and cookies, and the body unless -o has it or it is over"
        " 64 MiB; - is stdout, where the body is then left out")  # fmt: skip
    add("-s", "--silent", action="store_true", help="no error messages")
    add("-v", "--verbose", action="store_true", help="both headers and the connection to stderr")

    add_connection_options(parser, max_time=60.0)
    parser.set_defaults(run=_run_request)


def _run_request(args: argparse.Namespace) -> int:
    from ftnet.cli_request import run

    return run(args)


def header_line(text: str) -> tuple[str, str]:
    """``NAME: VALUE`` as (name, value); ``NAME;`` is a header without a value, as in curl."""
    name, colon, value = text.partition(":")
    if not colon and text.endswith(";"):
        name, colon = text[:-1], ";"
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not 'NAME: VALUE'")
    return name.strip(), value.strip()


_DOWNLOAD_EXAMPLES = """\
examples:
  ftnet download https://example.com/big.iso              save it as big.iso
  ftnet download -o page.html https://example.com/        save it as page.html
  ftnet download --resume https://example.com/big.iso     the same command goes on after Ctrl-C,
                                                          a lost connection or a crash
  ftnet download --json -s https://example.com/big.iso | jq .dataLength

"""


def download_command(commands: Subparsers) -> None:
    """``ftnet download``: one file from the network to the disk."""
    parser = add_command(
        commands,
        "download",
        "URL",
        help="save a file, with a progress bar",
        description="Saves a file. It appears under its name when it is complete, and replaces\n"
        "what was there; a download that fails leaves nothing, and that untouched.\n"
        "Redirects are followed. A status of 400 or more is a failure: nothing is saved.",
        epilog=_DOWNLOAD_EXAMPLES + _EXIT_CODES % "",
    )
    parser.add_argument("url", metavar="URL", help="http:// is assumed when it names no scheme")
    add = parser.add_argument_group("download").add_argument
    add("-o", "--output", metavar="FILE",
        help="where to save it; without -o in this directory, by the last part of the URL's path"
        " (never by what the server says), or as 'download' where that is empty")  # fmt: skip
    add("--resume", action="store_true",
        help="keep what came when it is interrupted, and go on there the next time, if the file"
        " on the server is still the same")  # fmt: skip
    add("--sync", action="store_true", help="end when the file is safe on the disk (fsync)")
    _add_file_options(add)
    add_connection_options(parser)
    parser.set_defaults(run=_run_download)


def _add_file_options(add: Callable[..., Any]) -> None:
    add_header_option(add)
    add("--profile", action="store_true", help="draw the phases of the request to stderr")
    add("--json", action="store_true", help="print one JSON object: status, header, profile, ...")
    add("-s", "--silent", action="store_true", dest="quiet", help="nothing but error messages")


def _run_download(args: argparse.Namespace) -> int:
    from ftnet.cli_files import download

    return download(args)


_UPLOAD_EXAMPLES = """\
examples:
  ftnet upload https://example.com/photos cat.jpg
  ftnet upload --name photo --field album=cats --field public=1 https://example.com/photos cat.jpg
  ftnet upload --json https://example.com/photos *.jpg | jq .statusCode

"""


def upload_command(commands: Subparsers) -> None:
    """``ftnet upload``: files to a server, as a form sends them."""
    parser = add_command(
        commands,
        "upload",
        "URL FILE ...",
        help="send files as a form does, with a progress bar",
        description="Sends files with POST as multipart/form-data, as a web form does, and prints\n"
        "the answer. With a status of 400 or more it exits with 22 after that.",
        epilog=_UPLOAD_EXAMPLES + _EXIT_CODES % "",
    )
    parser.add_argument("url", metavar="URL", help="http:// is assumed when it names no scheme")
    parser.add_argument("files", metavar="FILE", nargs="+", help="what to send")
    add = parser.add_argument_group("upload").add_argument
    add("--name", default="file", help="form field that the files go in (default: file)")
    add("--field", metavar="NAME=VALUE", type=field_entry, action="append", default=[],
        dest="fields", help="further field of the form (may be repeated)")  # fmt: skip
    _add_file_options(add)
    add_connection_options(parser)
    parser.set_defaults(run=_run_upload)


def _run_upload(args: argparse.Namespace) -> int:
    from ftnet.cli_files import upload

    return upload(args)


def field_entry(text: str) -> tuple[str, str]:
    """``NAME=VALUE`` as (name, value)."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


_WS_EPILOG = """\
Lines that come from a file or pipe: when they end, the socket stays open for as long as answers
come, and is closed when there was none for --wait SECONDS.
Lines that are typed: Ctrl-D closes the socket and waits for the server to do the same. Ctrl-C does
so too; a second Ctrl-C doesn't wait.
Output to a file or pipe has the messages and nothing else, a line end behind each: text as it
came, binary in base64.

examples:
  ftnet ws wss://example.com/chat                         talk to a server
  echo '{"op": "ping"}' | ftnet ws -n 1 example.com/api   ask once, print the first answer
  ftnet ws --wait 5 example.com/api < questions.jsonl > answers.jsonl
  ftnet ws --json wss://example.com/feed | jq -r 'select(.event == "message").data'
  ftnet ws -n 100 wss://example.com/feed < /dev/null      take 100 messages of a feed
  ftnet ws -H 'authorization: Bearer abc' --subprotocol graphql-ws --compress wss://example.com/

exit codes (those of curl, and 110):
  0 closed with 1000, 1001 or no code   110 closed by the server with any other code
  1 scheme not supported   2 usage   3 bad URL   5 proxy name   6 host name   7 connect
  8 not a WebSocket, or a bad frame   22 another HTTP status than 101   23 can't write
  26 can't read   28 timeout   35 TLS handshake   52 no answer   55 closed before all was sent
  56 cut off   58 client certificate   60 server certificate   63 message too large   77 CA file
  97 proxy   130 interrupted
"""


def ws_command(commands: Subparsers) -> None:
    """``ftnet ws``: a WebSocket, for a person or for a pipe."""
    parser = add_command(
        commands,
        "ws",
        "URL",
        help="talk to a WebSocket, line by line",
        description="Opens a WebSocket, sends lines of stdin and shows the messages that come.",
        epilog=_WS_EPILOG,
    )
    parser.add_argument("url", metavar="URL", help="ws:// is assumed when it names no scheme")
    add = parser.add_argument_group("messages").add_argument
    add("-n", "--count", metavar="N", type=positive,
        help="close when N messages have come; without --wait, wait for them however long it"
        " takes")  # fmt: skip
    add("--wait", metavar="SECONDS", type=seconds_or_none,
        help="how long an answer is waited for after the last line (default: 1, on a terminal"
        " 0)")  # fmt: skip
    add("--binary", action="store_true",
        help="send lines as binary messages; write binary ones to stdout as they come, with"
        " nothing before, between or behind them")  # fmt: skip
    add("--json", action="store_true",
        help="print JSON objects, one a line: event (open, message, error, close) and what"
        " belongs to it")  # fmt: skip

    group = parser.add_argument_group("connection")
    add = group.add_argument
    add_header_option(add)
    add("--subprotocol", metavar="NAME", action="append", default=[], dest="subprotocols",
        help="sub-protocol to offer (may be repeated, the preferred first)")  # fmt: skip
    add("--compress", action="store_true", help="offer permessage-deflate")
    add("--ping", metavar="SECONDS", type=seconds_or_none,
        help="time between pings; the socket ends when one is not answered before the next"
        " (default: none, on a terminal 10; 0: none)")  # fmt: skip
    add("--max-message", metavar="BYTES", type=positive,
        help="refuse a larger message (exit 63; default: 64 MiB)")  # fmt: skip
    add_route_options(group)
    _add_max_time(group, "the opening", 60.0)
    add_tls_options(parser)
    parser.set_defaults(run=_run_ws, http_version=None, max_filesize=None)


def _run_ws(args: argparse.Namespace) -> int:
    from ftnet.cli_ws import run

    return run(args)


def tcp_command(commands: Subparsers) -> None:
    """``ftnet tcp``: a TCP connection, for a person or for a pipe."""
    from ftnet.cli_sockets import add_tcp

    add_tcp(commands)


def udp_command(commands: Subparsers) -> None:
    """``ftnet udp``: datagrams, for a person or for a pipe."""
    from ftnet.cli_sockets import add_udp

    add_udp(commands)


def load_command(commands: Subparsers) -> None:
    """``ftnet load``: many requests, and how they were answered."""
    from ftnet.cli_load import add_load

    add_load(commands)


def plan_command(commands: Subparsers) -> None:
    """``ftnet plan``: plan files for load."""
    from ftnet.cli_plan import add_plan

    add_plan(commands)


def merge_command(commands: Subparsers) -> None:
    """``ftnet merge``: one result of load from several."""
    from ftnet.cli_merge import add_merge

    add_merge(commands)


def compare_command(commands: Subparsers) -> None:
    """``ftnet compare``: whether one result of load is worse than another."""
    from ftnet.cli_compare import add_compare

    add_compare(commands)


def serve_command(commands: Subparsers) -> None:
    """``ftnet serve``: a server to try load on."""
    from ftnet.cli_serve import add_serve

    add_serve(commands)


def report_command(commands: Subparsers) -> None:
    """``ftnet report``: the result of a load run as an HTML page."""
    from ftnet.cli_report import add_report

    add_report(commands)


def doctor_command(commands: Subparsers) -> None:
    """``ftnet doctor``: what the engine found and what would hold it back."""
    parser = commands.add_parser(
        "doctor",
        help="check libcurl, TLS, limits and clock of this machine",
        description="Checks what the engine stands on. Exits with 1 when something failed.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run_doctor)


def _run_doctor(args: argparse.Namespace) -> int:
    from ftnet import doctor
    from ftnet.terminal import Style

    rows = doctor.examine()
    if args.json:
        print(json.dumps(doctor.report(rows)), flush=True)
    else:
        for line in doctor.table(rows, Style.of(sys.stdout)):
            say(line, sys.stdout)
    return 0 if doctor.healthy(rows) else 1


COMMANDS: tuple[Callable[[Subparsers], None], ...] = (
    request_command,
    download_command,
    upload_command,
    ws_command,
    tcp_command,
    udp_command,
    load_command,
    plan_command,
    report_command,
    merge_command,
    compare_command,
    serve_command,
    doctor_command,
)
