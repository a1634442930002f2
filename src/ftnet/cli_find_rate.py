"""Carries out ``ftnet load --find-rate``: a line for each probe, then what they come to."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

from ftnet import cli
from ftnet.cli_load_report import (
    count,
    digits,
    got,
    milliseconds,
    percent,
    percentile,
    rate,
    seconds,
    wrapped,
)
from ftnet.cli_load_run import (
    CHECKS_FAILED,
    INVALID,
    connected,
    operand,
    sink_to,
    target_of,
    usage,
    written,
)
from ftnet.load import FoundRate, Probe
from ftnet.load.checks import Check
from ftnet.load.finding import Search
from ftnet.load.report import merged
from ftnet.terminal import BOLD, DIM, RED, YELLOW, Style, can_redraw, paint

if TYPE_CHECKING:
    import argparse

    from ftcore.histogram import Histogram
    from ftnet.load.edge import Tried

#: Options of a single run, by the names of their attributes.
_OF_ONE_RUN: Final = {
    "rate": "--rate", "stages": "--stages", "duration": "--duration", "requests": "--requests",
    "think": "--think-time", "checks": "--check", "html": "--html", "ndjson": "--ndjson",
    "csv": "--csv", "hdr": "--hdr", "hgrm": "--hgrm", "prometheus": "--prometheus",
    "otel": "--otel",
}  # fmt: skip
_OWN: Final = ("from_rate", "to_rate", "tolerance", "probe")
_PERCENTS: Final = (50.0, 90.0, 99.0)
_RATE, _WORD, _COLUMN, _ERRORS = 12, 9, 10, 9  # columns
_CLEAR_LINE: Final = "\r\x1b[K"


def run(args: argparse.Namespace) -> int:
    """Searches, and returns the exit code; CommandError for what ends it with a message."""
    search = _asked(args)
    out = sys.stderr if args.json == "-" else sys.stdout
    watcher = None if args.quiet or args.silent else Rows(out)
    sink = None if args.json is None else sink_to(args.json)
    try:
        with _interruptible(), connected(args) as cluster:
            found = search.found(watcher, cluster)
        if not args.silent:
            for line in lines(found, Style.of(out)):
                cli.say(line, out)
    except BaseException as error:
        if sink is not None:
            sink.discard()
        if _can_not_start(error):
            raise cli.CommandError(INVALID, f"the run can't start: {error}") from None
        raise
    if sink is not None:
        written(sink, json.dumps(found.to_dict()).encode() + b"\n", args.json)
    return code(found)


def _can_not_start(error: BaseException) -> bool:
    """Whether a run of the search was refused by the system, or by the cluster."""
    from ftnet.load.cluster import ClusterError

    return isinstance(error, (OSError, ClusterError)) and not isinstance(error, BrokenPipeError)


def code(found: FoundRate) -> int:
    """The exit code, as those of a run."""
    if found.limit == "interrupted":
        return cli.INTERRUPTED
    if found.limit == "generator":
        return INVALID
    broken = found.rate is None or found.limit in ("unanswered", "unsettled")
    return CHECKS_FAILED if broken else 0


def _asked(args: argparse.Namespace) -> Search:
    operand(args)
    for name, flag in _OF_ONE_RUN.items():
        given = getattr(args, name)
        if given is not None and given is not False and given != []:
            reason = f"{flag} is of a single run, --find-rate makes many"
            raise cli.CommandError(cli.USAGE, reason)
    texts = [one for given in args.find_rate for one in given.split(",")]
    checks = [usage(Check.parse, text, "--find-rate") for text in texts]
    return usage(lambda given: _search(given, checks), args)


def _search(args: argparse.Namespace, checks: list[Check]) -> Search:
    poisson, args.poisson = args.poisson, False  # it wants a rate, which comes from the search
    target, options = target_of(args)
    if poisson:
        options["arrivals"] = "poisson"
    own = {name: getattr(args, name) for name in _OWN if getattr(args, name) is not None}
    try:
        return Search(target, checks, **own, **options)
    except (TypeError, ValueError) as error:
        found = re.fullmatch(r"find_rate: (.*)", str(error), re.DOTALL)
        if found is None:
            raise
        message = re.sub(r"\b(?:(from|to)_rate|(tolerance|probe))\b", r"--\1\2", found[1])
        raise cli.CommandError(cli.USAGE, message) from None


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Within, SIGINT and SIGTERM raise KeyboardInterrupt, also where the shell had them ignored;
    Ctrl-Z does nothing: it would spoil the probe."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    handlers: dict[int, Any] = {
        signal.SIGINT: interrupt,
        signal.SIGTERM: interrupt,
        signal.SIGTSTP: signal.SIG_IGN,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- while it goes


class Rows:
    """A line for each probe; on a terminal one more that says what is under way."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._style = Style.of(stream)
        self._redraws = can_redraw(stream)
        self._headed = False

    def begins(self, rate_: float, seconds_: float) -> None:
        if not self._headed:
            self._headed = True
            cli.say(_head("probe", self._style), self._stream)
        self._now(f"{rate(rate_)}/s for {seconds(seconds_)} ...")

    def settles(self) -> None:
        self._now("the server recovers ...")

    def ended(self, probe: Probe) -> None:
        if self._redraws:
            self._stream.write(_CLEAR_LINE)
        cli.say(row(probe, self._style), self._stream)

    def _now(self, text: str) -> None:
        if self._redraws:
            self._stream.write(_CLEAR_LINE + paint(text, DIM, self._style))
            self._stream.flush()


def _head(word: str, style: Style) -> str:
    names = "".join(f"{f'p{one:g}':>{_COLUMN}}" for one in _PERCENTS)
    text = f"{'rate/s':>{_RATE}}  {word:<{_WORD}}{names}{'max':>{_COLUMN}}{'errors':>{_ERRORS}}  ms"
    return paint(text, DIM, style)


def row(probe: Probe, style: Style) -> str:
    """One probe: its rate, its outcome, its response times, and why it broke."""
    cells = _cells(probe.result.response, probe.result.counts.wrong)
    look = {"held": "", "broke": RED, "invalid": YELLOW}[probe.outcome]
    word = paint(f"{probe.outcome:<{_WORD}}", look, style)
    line = f"{rate(probe.rate):>{_RATE}}  {word}{cells}"
    return "  ".join(filter(None, (line, "; ".join(_why(probe)))))


def _cells(response: Histogram, wrong: int) -> str:
    decimals = digits(response.max) if response.count else 3
    values: list[float | None] = [percentile(response, one) for one in _PERCENTS]
    values.append(response.max if response.count else None)
    times = "".join(f"{milliseconds(one, decimals):>{_COLUMN}}" for one in values)
    return f"{times}{count(wrong):>{_ERRORS}}"


def _why(probe: Probe) -> Iterator[str]:
    if probe.outcome == "invalid":
        yield str(probe.result.reasons[0].text)
    elif probe.outcome == "broke":
        for one in probe.checks:
            if not one.ok:
                value = one.note if one.got is None else got(one.got, one.check.unit)
                yield f"{one.check.text}: {value}"
        if probe.fell_behind:
            yield f"falls behind by {percent(probe.behind)}"


# ---- what came of it


def lines(found: FoundRate, style: Style) -> list[str]:
    """The report: what was found, how sure it is, and every rate that was tried."""
    word = headword(found)
    first, *rest = wrapped(f"{word}  {found}", style)
    look = "" if word == "FOUND" else YELLOW if word == "UNCLEAR" else RED
    out = ["", paint(word, look + BOLD, style) + first[len(word) :], *rest]
    if found.implied:
        implied = f"Asked for besides: {', '.join(found.implied)}, and that it does not fall behind"
        out += [paint(line, DIM, style) for line in wrapped(implied, style)]
    if found.probes:
        out += ["", _head("held", style), *(_of_rate(found, one) for one in found.tried)]
    return out if style.blocks else [line.replace("µ", "u") for line in out]


def headword(found: FoundRate) -> str:
    """What came of it, in a word."""
    if found.limit == "interrupted":
        return "INTERRUPTED"
    if found.limit == "generator":
        return "INVALID"
    if found.rate is None:
        return "BROKEN"
    if found.limit in ("unanswered", "unsettled"):
        return "STOPPED"
    return "FOUND" if found.clear or _narrow(found) else "UNCLEAR"


def _narrow(found: FoundRate) -> bool:
    """Whether the rates that hold now and then are no more than a step beside the edge."""
    if found.low is None or found.high is None:
        return False
    return found.high.rate <= found.low.rate * (1 + 2 * found.tolerance)


def _of_rate(found: FoundRate, one: Tried) -> str:
    probes = [probe for probe in found.at(one.rate) if probe.outcome != "invalid"]
    held = f"{one.held} of {one.judged}" if one.judged else "-"
    response = merged(probe.result.response for probe in probes)
    cells = _cells(response, sum(probe.result.counts.wrong for probe in probes))
    mark = "  <" if one.rate == found.rate else ""
    return f"{rate(one.rate):>{_RATE}}  {held:<{_WORD}}{cells}{mark}"
