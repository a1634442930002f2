"""The command line of ``ftnet load``; `cli_load_run` carries it out."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from ftnet import cli

if TYPE_CHECKING:
    from ftnet.cli import Subparsers

_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_THOUSANDS = {"": 1, "k": 1_000, "M": 1_000_000}
_SPAN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h)")
_AMOUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([kM]?)")
_STATUS = re.compile(r"[1-9]\d\d|[1-5]xx")

_DESCRIPTION = """\
Sends many requests to one URL, and tells how fast they were answered and where the time went.

Closed model (without --rate): each connection sends its next request when it has the answer to
the last. It finds out how much the server can do. A server that stalls is sent less meanwhile.
Open model (--rate, --stages): requests are due at their times, whether those before were answered
or not, as people's are. The response time counts from when a request was due, also when all
connections were busy then: no coordinated omission. It finds out how long people wait.

Redirects are not followed, cookies not kept, bodies not decoded: a 302 is an answer.
TIME is 500ms, 30s, 2m, 1h, 1m30s or a number of seconds; N may end in k or M (10k, 1.5M)."""

_EPILOG = """\
output:
  stdout has the report; while it runs, a terminal shows how it goes, and a file or pipe gets one
  line a second: KEY=VALUE with - for what there is none of; rates a second, times as the key ends
  (_s, _ms). With --json, --ndjson or another file to stdout, all of that goes to stderr.
  response   from when the request was due to the last byte of the answer
  service    from the first byte of the request to the last byte of the answer
  late sends requests that were sent more than 1 ms (--late-after) after they were due: there was
             no free connection, or the generator was late
  errors     requests without a whole answer, or with a wrong one (--expect, --expect-length)
  A percentile without samples enough is shown as -, not guessed: p99 needs 100, p99.9 1,000.
  A run is INVALID when the generator was the limit: its CPU was busy, it was late for more than
  1 % of the requests, descriptors or ports ran out. So it is when a worker of a cluster was lost:
  the report says what is missing. When one was at its limit, no percentiles are told.

finding a rate:
  --find-rate doubles the rate until a probe, a run of --probe after a warm-up, does not keep the
  checks, bisects, and tries both sides of the edge three times: it says how often each rate held.
  A probe breaks by an error, too (unless there is a check on errors or failed), and when the server
  falls behind. After one that broke the server is waited for until it keeps the checks again.
  Exits with 1 when no rate holds (with --from: when that does not), with 3 when the generator, not
  the server, was the limit. Connections are as many as never are the limit, unless -c says it.

checks:
  --check 'NAME<LIMIT', with < <= > >= or =
  p50 p99.9 min mean max      of the response time: 20ms, 1.5s, 800us
  service.p99, lateness.max   of another time
  ttfb.p95, dns.max, ...      of a phase (queue dns connect ssl send ttfb download total),
  ttfb.2xx.p99                or of the answers of one class in it
  errors failed late unsent unfinished retried status.404 status.5xx
                              requests: a number, or a share: 0.1%
  rate, requests              answers a second, answers: 9000, 9k

examples:
  ftnet load http://localhost:8080/                       10 s on 64 connections, all they can
  ftnet load -c 200 --duration 1m --warmup 5s https://example.com/api
  ftnet load --rate 5k --duration 30s --check 'p99<20ms' --check 'errors<0.1%' URL
  ftnet load --stages 30s:1k,2m:5k,10s:0 -c 500 URL       up to 1,000/s, to 5,000/s, down to 0
  ftnet load --rate 100 --requests 10k --data-json @order.json --expect 201 URL
  ftnet load --h2 -c 8 --streams 100 -k https://localhost/
  ftnet load --json --quiet URL | jq .response.p99        nanoseconds
  ftnet load --rate 1k --ndjson run.ndjson --hdr run.hlog --prometheus 9464 URL
  ftnet load --local-workers 4 --rate 50k -c 1000 URL     in four processes, as one run
  ftnet load --find-rate 'p99<50ms' URL                   the highest rate at which that holds
  ftnet load --plan shop.toml --rate 200 --duration 1m    what users do, 200 times a second

exit codes:
  0 done   1 a check failed, or nothing was answered   2 usage: an option, the URL or a file
  3 the run is INVALID, whatever its checks say   23 can't write or send
  130 interrupted (Ctrl-C or SIGTERM: the run ends, the report is of what there was; a second one
  does not wait and reports nothing)
"""


def add_load(commands: Subparsers) -> None:
    """Adds ``load`` to the commands."""
    parser = cli.add_command(
        commands,
        "load",
        "URL",
        help="send many requests and measure how they are answered",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    # may be missing where --json has taken it, and with --plan
    parser.add_argument("url", metavar="URL", nargs="?", help="http:// is assumed without a scheme")
    _add_load_options(parser)
    _add_find_options(parser)
    _add_request_options(parser)
    _add_output_options(parser)
    _add_export_options(parser)
    _add_connection_options(parser)
    parser.set_defaults(run=_run_load, max_filesize=None)


def _add_load_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("load").add_argument
    add("--plan", metavar="FILE",
        help="carry out what FILE says virtual users do, in place of a URL: a plan, a HAR file, a"
        " list of URLs or curl commands, OpenAPI (see: ftnet plan --help); -c are users then, and"
        " rates and numbers are of iterations")  # fmt: skip
    add("-c", "--connections", metavar="N", type=amount, help="open at once (default: 64)")
    add("--rate", metavar="N", type=rate, help="requests a second that are due: open model")
    add("--stages", metavar="TIME:RATE,...", type=stages, action="extend", default=[],
        help="the rate goes evenly, in TIME, from that of the stage before (--rate, or 0) to RATE;"
        " may be repeated")  # fmt: skip
    add("--poisson", action="store_true",
        help="requests are due at random times, --rate a second on average")  # fmt: skip
    add("--seed", metavar="N", type=whole, help="of --poisson: the same times again (default: 1)")
    add("--duration", metavar="TIME", type=span,
        help="of what is measured (default: 10s, without --requests and --stages)")  # fmt: skip
    add("--requests", metavar="N", type=amount, help="end after so many")
    add("--warmup", metavar="TIME", type=span, help="before that, not measured (default: none)")
    add("--think-time", metavar="TIME", dest="think", type=span,
        help="closed model: between an answer and the next request (default: none)")  # fmt: skip
    add("--grace", metavar="TIME", type=span,
        help="for requests that are under way at the end (default: 5s)")  # fmt: skip
    add("--workers", metavar="N", type=amount,
        help="threads that send, each with its share of connections and rate (default:"
        " 1); with the two below, of each process")  # fmt: skip
    add("--local-workers", metavar="N", type=amount,
        help="processes that carry the run out together; needs ftnet[cluster]")  # fmt: skip
    add("--cluster", metavar="ADDRESS",
        help="the workers of a dask scheduler carry it out, as tcp://10.0.0.1:8786; see"
        " docs/cluster.md")  # fmt: skip
    add("--late-after", metavar="TIME", type=span, help="what counts as late (default: 1ms)")


def _add_find_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("finding a rate").add_argument
    add("--find-rate", metavar="CHECKS", action="append", default=[],
        help="find the highest rate that keeps them: 'p99<50ms,errors<0.1%%' (may be"
        " repeated)")  # fmt: skip
    add("--from", metavar="N", dest="from_rate", type=rate,
        help="the rate to begin with, and the lowest (default: 100, and lower if that"
        " breaks)")  # fmt: skip
    add("--to", metavar="N", dest="to_rate", type=rate, help="the highest (default: any)")
    add("--tolerance", metavar="SHARE", type=share, help="how near to the edge (default: 2%%)")
    add("--probe", metavar="TIME", type=span,
        help="of what is measured at one rate (default: 5s, or ten times the limit)")  # fmt: skip


def _add_request_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("request")
    add, add_body = group.add_argument, group.add_mutually_exclusive_group().add_argument
    add("-X", "--method", metavar="METHOD", help="GET, or POST when there is data")
    add_body("-d", "--data", metavar="DATA", action="append", default=[],
        help="body, sent as a form unless -H says otherwise; @FILE or @- (stdin) goes byte for"
        " byte; several are joined by &")  # fmt: skip
    add_body("--data-json", metavar="JSON", help="body, sent as JSON; @FILE and @- as for -d")
    cli.add_header_option(add)
    add("-m", "--max-time", "--timeout", metavar="TIME", dest="timeout", type=span,
        help="limit of one request, from when it has a connection (default: 30s)")  # fmt: skip
    add("--expect", metavar="STATUS,...", type=statuses, action="extend", default=[],
        help="right answers: 200, 2xx (default: whatever is below 400)")  # fmt: skip
    add("--expect-length", metavar="BYTES", type=whole, help="of the body of a right answer")


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output").add_argument
    add("--check", metavar="CHECK", action="append", default=[], dest="checks",
        help="exit with 1 unless it holds: 'p99<20ms' (see below; may be repeated)")  # fmt: skip
    add("--json", metavar="FILE", nargs="?", const="-",
        help="write all of the result as one JSON object to FILE, or to stdout: times in s, but"
        " percentiles in ns, histograms as HdrHistogram V2, every second, the checks")  # fmt: skip
    add("--html", metavar="FILE",
        help="write a report as one HTML page, with plots and without network, to FILE or, as -,"
        " to stdout (needs pip install 'ftnet[report]')")  # fmt: skip
    add("-q", "--quiet", action="store_true", help="show nothing while it runs")
    add("-s", "--silent", action="store_true", help="no report either, no error messages")


def _add_export_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("while it goes").add_argument
    add("--ndjson", metavar="FILE",
        help="a JSON object a line: the options, each second, at the end the result; for this and"
        " the next, - is stdout, and a line is written when its second is over")  # fmt: skip
    add("--csv", metavar="FILE", help="a row for each second")
    add("--hdr", metavar="FILE",
        help="a log of each second's histograms for the tools of HdrHistogram, ns: response times"
        " without a tag; Tag=service, Tag=ttfb and so on")  # fmt: skip
    add("--hgrm", metavar="FILE",
        help="at the end: percentiles of the response time, ms, for HdrHistogram's"
        " plotters")  # fmt: skip
    add("--prometheus", metavar="[HOST:]PORT",
        help="serve /metrics to Prometheus until the end (HOST: 127.0.0.1; pip install"
        " 'ftnet[prometheus]')")  # fmt: skip
    add("--otel", action="store_true",
        help="send metrics to an OpenTelemetry collector after each second, as the environment"
        " variables OTEL_EXPORTER_OTLP_... say (pip install 'ftnet[otel]')")  # fmt: skip


def _add_connection_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("connection")
    version = group.add_mutually_exclusive_group()
    for flags, value, text in (
        (("--h1", "--http1.1"), "1.1", "HTTP/1.1 (the default)"),
        (("--h2", "--http2"), "2", "HTTP/2 when the server agrees"),
        (("--http2-prior-knowledge",), "2-prior-knowledge", "HTTP/2 without asking, also on http"),
        (("--h3", "--http3"), "3", "HTTP/3, falling back to TCP when it fails"),
        (("--http3-only",), "3-only", "HTTP/3 and nothing else"),
    ):
        version.add_argument(
            *flags, dest="http_version", action="store_const", const=value, help=text
        )
    group.add_argument("--streams", metavar="N", type=amount,
        help="requests under way on one connection, HTTP/2 and 3 (default: 100)")  # fmt: skip
    cli.add_route_options(group)
    cli.add_tls_options(parser)


def _run_load(args: argparse.Namespace) -> int:
    if args.find_rate:
        from ftnet.cli_find_rate import run as find

        return find(args)
    from ftnet.cli_load_run import run

    return run(args)


# ---- what options take


def span(text: str) -> float:
    """Seconds: ``500ms``, ``30s``, ``2m``, ``1h``, ``1m30s``, or a number of them."""
    if re.fullmatch(r"\d+(\.\d*)?|\.\d+", text):
        return float(text)
    parts = _SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: 500ms, 30s, 2m, 1h, 1m30s or a number of seconds"
        )
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def rate(text: str) -> float:
    """Requests a second: ``200``, ``0.5``, ``10k``; ``/s`` may follow."""
    found = _AMOUNT.fullmatch(text.removesuffix("/s"))
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate a second: 200, 0.5, 10k, 1.5M")
    return float(found[1]) * _THOUSANDS[found[2]]


def amount(text: str) -> int:
    """A whole number above zero: ``64``, ``10k``, ``1.5M``."""
    found = _AMOUNT.fullmatch(text)
    value = float(found[1]) * _THOUSANDS[found[2]] if found else 0.0
    if value < 1 or value % 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0: 64, 10k, 1.5M")
    return int(value)


def share(text: str) -> float:
    """A part of the whole: ``2%``, ``0.02``."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%?)", text)
    value = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share between 0 and 1: 2%, 0.02")
    return value


def whole(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def stages(text: str) -> list[tuple[float, float]]:
    """``30s:1k,1m:0`` as [(30.0, 1000.0), (60.0, 0.0)]."""
    out = []
    for one in text.split(","):
        time, colon, target = one.partition(":")
        if not colon:
            raise argparse.ArgumentTypeError(f"{one!r} is not TIME:RATE, as 30s:1k or 30s:1k,1m:0")
        if not span(time):
            raise argparse.ArgumentTypeError(f"{one!r} takes no time; a jump takes 1ms, as 1ms:1k")
        out.append((span(time), rate(target)))
    return out


def statuses(text: str) -> list[int]:
    """``200,3xx`` as [200, 300, 301, ... 399]."""
    out: list[int] = []
    for one in text.split(","):
        if not _STATUS.fullmatch(one):
            raise argparse.ArgumentTypeError(f"{one!r} is no status: 200, 2xx or 200,404")
        first = int(one.replace("x", "0"))
        out += range(first, first + 100) if one.endswith("xx") else [first]
    return out
