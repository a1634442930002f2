"""Carries out ``ftnet load``: starts the run, shows how it goes, reports what came of it."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar

from ftnet import cli, cli_load_report
from ftnet.cli_load_export import Exports, stdout_taken
from ftnet.cli_load_screen import View, view_on
from ftnet.cli_request import checked_url, content_of
from ftnet.load import Options, Result, Run
from ftnet.load.checks import Check, CheckError, Outcome
from ftnet.sink import FileSink, Sink, StreamSink
from ftnet.terminal import Style

if TYPE_CHECKING:
    import argparse

    from ftnet.load.cluster import Cluster
    from ftnet.plan import Plan

CHECKS_FAILED, INVALID = 1, 3
_TICK: Final = 0.1  # s
_OPTIONS: Final = (
    "connections", "rate", "seed", "think", "warmup", "duration", "requests", "timeout", "grace",
    "expect_length", "late_after", "workers", "streams", "method",
)  # fmt: skip
#: Options whose names differ from those of `Options`.
_FLAGS: Final = {
    "think": "--think-time",
    "timeout": "--max-time",
    "expect_status": "--expect",
    "http_version": "the HTTP version",
}

A = TypeVar("A")
T = TypeVar("T")


def run(args: argparse.Namespace) -> int:
    """Puts the load on the URL that ``args`` describe and returns the exit code.

    Raises `ftnet.cli.CommandError` for what ends the command with a message.
    """
    options, checks = _asked(args)
    out = sys.stderr if stdout_taken(args) else sys.stdout
    sinks = _sinks(args)
    try:
        quiet = args.quiet or args.silent
        with connected(args) as cluster, Exports(args, checks) as exports:
            view = view_on(out, options, quiet=quiet)
            result = carried_out(options, view, exports, cluster)
        outcomes = [check.judge(result) for check in checks]
        if not args.silent:
            _report(result, outcomes, out)
        for name in tuple(sinks):
            content = _CONTENTS[name](result, outcomes)
            written(sinks.pop(name), content, getattr(args, name))
        exports.judge()
    finally:
        for sink in sinks.values():
            sink.discard()
    return code(result, outcomes)


def code(result: Result, outcomes: list[Outcome]) -> int:
    """The exit code: what is most in the way of believing the numbers comes first."""
    if result.interrupted:
        return cli.INTERRUPTED
    if not result.valid:
        return INVALID
    kept = all(one.ok for one in outcomes)
    return 0 if kept and result.counts.completed else CHECKS_FAILED


def document(result: Result, outcomes: list[Outcome]) -> dict[str, Any]:
    """What ``--json`` writes."""
    return {**result.to_dict(), "checks": [one.to_dict() for one in outcomes]}


def _page(result: Result, outcomes: list[Outcome]) -> bytes:
    from ftnet.cli_report import page, versions

    return page(result, outcomes, versions())


#: What is written at the end, by option.
_CONTENTS: Final[dict[str, Callable[[Result, list[Outcome]], bytes]]] = {
    "json": lambda result, outcomes: json.dumps(document(result, outcomes)).encode() + b"\n",
    "html": _page,
}


# ---- what is asked for


def _asked(args: argparse.Namespace) -> tuple[Options, list[Check]]:
    operand(args)
    for name in ("from_rate", "to_rate", "tolerance", "probe"):
        if getattr(args, name) is not None:
            flag = "--" + name.removesuffix("_rate")
            raise cli.CommandError(cli.USAGE, f"{flag} is of --find-rate, which is not there")
    checks = [usage(Check.parse, text) for text in args.checks]
    return usage(_options, args), checks


def operand(args: argparse.Namespace) -> None:
    """Takes the URL from where it is; CommandError: there is none, and no plan either."""
    if args.url is None and args.plan is None and args.json not in (None, "-"):
        args.url, args.json = args.json, "-"  # `--json URL`: it took the only operand
    if args.url is None and args.plan is None:
        raise cli.CommandError(cli.USAGE, "a URL is missing: ftnet load [OPTION ...] URL")


def usage(call: Callable[[A], T], argument: A, flag: str = "--check") -> T:
    """What ``call`` returns; whatever it refuses is a usage error, told by the option's name."""
    try:
        return call(argument)
    except CheckError as error:
        reason = f"{flag}: {error}"
    except (TypeError, ValueError) as error:
        reason = _by_flag(str(error))
    except cli.CommandError as error:
        reason = _by_flag(error.message)
    raise cli.CommandError(cli.USAGE, reason)


def _by_flag(message: str) -> str:
    """An error of `Options` with the name of the command's option."""
    found = re.fullmatch(r"load: (\w+) must (.*)", message, re.DOTALL)
    if found is None:
        return re.sub("^(load|Client): ", "", message)
    name = found[1]
    return f"{_FLAGS.get(name, '--' + name.replace('_', '-'))} must {found[2]}"


def _options(args: argparse.Namespace) -> Options:
    target, given = target_of(args)
    return (
        Options.of(target, **given) if isinstance(target, str) else Options.of_plan(target, **given)
    )


def target_of(args: argparse.Namespace) -> tuple[str | Plan, dict[str, Any]]:
    """The URL or the plan, and the options that go with it."""
    if args.plan is not None:
        return _plan_of(args)
    given = options_of(args)
    return given.pop("url"), given


def _plan_of(args: argparse.Namespace) -> tuple[Plan, dict[str, Any]]:
    """The plan, and the options that stand for some of it."""
    import msgspec

    from ftnet.cli_plan import load_telling

    if args.url is not None:
        raise ValueError(f"the plan has its URLs itself, got {args.url} as well")
    made = load_telling(args.plan)
    settings = cli.client_settings(args)
    given = {name: value for name, value in options_of(args).items() if name not in settings}
    changed = {"settings": {**made.settings, **settings}}
    if "timeout" in given:
        changed["timeout"] = given.pop("timeout")
    return msgspec.structs.replace(made, **changed), given


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of `Options.of`."""
    header, body = content_of(args)
    given = {name: getattr(args, name) for name in _OPTIONS}
    options = {name: value for name, value in given.items() if value is not None}
    if body is not None:
        options["data"] = body
        options.setdefault("method", "POST")
    if header:
        options["header"] = {
            name: value if isinstance(value, str) else _joined(name, value)
            for name, value in header.items()
        }
    if args.poisson:
        if args.rate is None and not args.stages:
            raise cli.CommandError(cli.USAGE, "--poisson needs --rate or --stages")
        options["arrivals"] = "poisson"
    if args.stages:
        options["stages"] = args.stages
    if args.expect:
        options["expect_status"] = args.expect
    if args.plan is None:
        options["url"] = checked_url(args.url, api="load")
    return {**options, **cli.client_settings(args)}


def _joined(name: str, values: list[str]) -> str:
    """Lines of one header as one (RFC 9110 5.3; RFC 6265 5.4 for cookies)."""
    return ("; " if name.lower() == "cookie" else ", ").join(values)


def _sinks(args: argparse.Namespace) -> dict[str, Sink]:
    """Where ``--json`` and ``--html`` go; they are opened before anything is sent."""
    if args.html is not None:
        from ftnet.cli_report import needs_jinja2

        needs_jinja2("--html")
    sinks: dict[str, Sink] = {}
    try:
        for name in _CONTENTS:
            path = getattr(args, name)
            if path is not None:
                sinks[name] = sink_to(path)
    except BaseException:
        for sink in sinks.values():
            sink.discard()
        raise
    return sinks


def sink_to(path: str) -> Sink:
    """A new file, or stdout for ``-``. CommandError: it can't be made."""
    if path == "-":
        return StreamSink(sys.stdout.buffer, guarded=False)
    try:
        return FileSink(path)
    except OSError as error:
        raise cli.CommandError(cli.USAGE, f"can't write to {path}: {error.strerror}") from None


# ---- the run


def connected(args: argparse.Namespace) -> AbstractContextManager[Cluster | None]:
    """The processes that are to carry the run out, if not this one."""
    if args.cluster is None and args.local_workers is None:
        return nullcontext()
    if args.cluster is not None and args.local_workers is not None:
        raise cli.CommandError(cli.USAGE, "--cluster and --local-workers exclude each other")
    from ftnet.load.cluster import Cluster, ClusterError

    try:
        return Cluster(args.cluster, local_workers=args.local_workers or 0)
    except ClusterError as error:
        raise cli.CommandError(INVALID, f"the run can't start: {error}") from None


def _started(options: Options, exports: Exports, cluster: Cluster | None) -> Run:
    if cluster is None:
        return Run(options, observers=exports.observers)
    from ftnet.load.cluster import ClusterError, ClusterRun

    try:
        return ClusterRun(options, cluster, exports.observers)
    except ClusterError as error:
        raise cli.CommandError(INVALID, f"the run can't start: {error}") from None


def carried_out(
    options: Options, view: View, exports: Exports, cluster: Cluster | None = None
) -> Result:
    """Runs to the end, or to Ctrl-C; KeyboardInterrupt at the second one."""
    with _Interrupts() as interrupts:
        try:
            under_way = _started(options, exports, cluster)
        except OSError as error:
            raise cli.CommandError(INVALID, f"the run can't start: {error}") from None
        try:
            with view:
                result = _awaited(under_way, view, exports, interrupts)
                view.ended(result)
                return result
        finally:
            under_way.stop()


def _awaited(under_way: Run, view: View, exports: Exports, interrupts: _Interrupts) -> Result:
    told = False
    while True:
        if interrupts.seen and not told:
            told = True
            under_way.stop()
            view.stopping()
        try:
            return under_way.result(_TICK)
        except TimeoutError:
            view.tick(under_way)
            exports.tick()


class _Interrupts:
    """Within, the first Ctrl-C or SIGTERM is noted, and the second raised.

    Ctrl-Z does nothing: a generator that stands still would measure itself.
    """

    def __init__(self) -> None:
        self.seen = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        self._before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, *_: object) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True


# ---- what came of it


def _report(result: Result, outcomes: list[Outcome], out: TextIO) -> None:
    for line in cli_load_report.lines(result, outcomes, Style.of(out)):
        cli.say(line, out)


def written(sink: Sink, content: bytes, path: str) -> None:
    """Writes the whole, or nothing. CommandError: that can't be done."""
    try:
        sink.write(content)
        sink.finish()
    except BrokenPipeError:
        raise
    except OSError as error:
        sink.discard()
        raise cli.CommandError(
            cli.WRITE_ERROR, f"can't write to {path}: {error.strerror}"
        ) from None
