"""How ``ftnet load`` shows a run while it is under way: a screen, or one line a second."""

from __future__ import annotations

import contextlib
import termios
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TextIO

from ftnet import cli
from ftnet.cli_load_report import (
    PHASE_LABELS,
    asked,
    count,
    digits,
    error_kinds,
    largest,
    milliseconds,
    model,
    percent,
    percent_of_time,
    percentile,
    rate,
    seconds,
    shares,
    telling,
    version,
)
from ftnet.terminal import Style, can_redraw, fitted
from ftnet.waterfall import bar

if TYPE_CHECKING:
    from rich.text import Text

    from ftcore.histogram import Histogram
    from ftnet.load import Interval, Options, Result, Run, Snapshot, Summary

_ASKED_EVERY: Final = 0.1  # s, when an interval is due
_INTERVAL: Final = 0.9  # s from one to when the next may be there
_PERCENTS: Final = (50.0, 90.0, 99.0, 99.9)
_LABEL, _COLUMN, _SHARE = 12, 9, 6
_MOST_BAR = 64
_LEVELS, _PLAIN_LEVELS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
ENDING: Final = "ending: requests under way get their time; Ctrl-C again does not wait"
#: Told apart by weight as well, so that they are without colours, too.
_GOOD, _WARNING, _DIM = "cyan", "bold yellow", "dim"


class View(Protocol):
    """Shows a run while it is under way."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def tick(self, run: Run) -> None:
        """To be called ten times a second."""

    def stopping(self) -> None:
        """The run has been told to end."""

    def ended(self, result: Result) -> None:
        """The run is over."""


def view_on(stream: TextIO, options: Options, *, quiet: bool) -> View:
    """The view for this stream: rich's on a terminal, where rich is installed."""
    if quiet:
        return Hidden()
    if can_redraw(stream):
        try:
            return Screen(stream, options)
        except ImportError:
            stream.write("for a live view: pip install 'ftnet[tui]'\n")
    return Lines(stream, options)


class Hidden:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to end."""

    def tick(self, run: Run) -> None:
        """Nothing is asked, so the run is left alone."""

    def stopping(self) -> None:
        """Not shown either."""

    def ended(self, result: Result) -> None:
        """The report tells."""


class _Fresh:
    """Asks a run for what is new, once for each of its intervals."""

    def __init__(self) -> None:
        self._seen = 0  # intervals
        self._next = 0.0

    def snapshot(self, run: Run) -> Snapshot | None:
        """The snapshot, when there is another interval; the engine is asked seldom."""
        now = time.monotonic()
        if now < self._next:
            return None
        found = run.snapshot()
        fresh = len(found.total.intervals) > self._seen
        self._seen = len(found.total.intervals)
        self._next = now + (_INTERVAL if fresh else _ASKED_EVERY)
        return found if fresh else None


# ---- one line a second


class Lines(Hidden):
    """One line for each second, for people and programs."""

    def __init__(self, stream: TextIO, options: Options) -> None:
        self._stream = stream
        self._open_model = options.open_model
        self._told = 0
        self._fresh = _Fresh()

    def stopping(self) -> None:
        cli.say(f"ftnet: {ENDING}")

    def ended(self, result: Result) -> None:
        with telling(result):
            self.tell(result.intervals)
        self._stream.write("\n")

    def tick(self, run: Run) -> None:
        found = self._fresh.snapshot(run)
        if found is not None:
            with telling(found.total):
                self.tell(found.total.intervals)

    def tell(self, intervals: Sequence[Interval]) -> None:
        """Writes those that were not written yet."""
        for one in intervals[self._told :]:
            self._stream.write(line(one, open_model=self._open_model) + "\n")
        self._stream.flush()
        self._told = len(intervals)


def due(interval: Interval) -> float:
    """Requests that were due a second."""
    return interval.counts.scheduled / interval.seconds if interval.seconds else 0.0


def line(interval: Interval, *, open_model: bool) -> str:
    """``elapsed_s=1.0 part=run rate=9984.2 ...``: keys and their order stay as they are."""
    counts, response = interval.counts, interval.response
    values: dict[str, Any] = {
        "elapsed_s": f"{interval.at:.1f}",
        "part": "run" if interval.measured else "warmup",
        "rate": f"{interval.rate:.1f}",
        "target": f"{due(interval):.1f}" if open_model else "-",
        "answered": counts.answered,
        "errors": interval.wrong,
        "late": counts.late,
        "in_flight": interval.in_flight,
        "waiting": interval.waiting,
        "connections": interval.connections,
    }
    for one in (50.0, 90.0, 99.0):
        values[f"p{one:g}_ms"] = milliseconds(percentile(response, one), 3)
    values["max_ms"] = milliseconds(response.max if response.count else None, 3)
    values["cpu"] = f"{interval.cpu / interval.seconds:.2f}" if interval.seconds else "-"
    return " ".join(f"{name}={value}" for name, value in values.items())


# ---- the screen


class Screen(Hidden):
    """The run on a terminal of its own (the alternate screen), drawn anew once a second.

    It is drawn over, never wiped, so it does not flicker; it fits itself into what there is.
    ImportError where rich is not installed.
    """

    def __init__(self, stream: TextIO, options: Options) -> None:
        from rich.console import Console
        from rich.live import Live

        self._terminal = stream.fileno()
        self._mode: list[Any] = []  # the terminal's, before
        self._style = Style.of(stream)
        self._options = options
        self._last: Snapshot | None = None
        self._fresh = _Fresh()
        self._stopping = False
        self._console = Console(file=stream, highlight=False, no_color=not self._style.colour)
        self._live = Live(
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=self._drawn,
        )

    def __enter__(self) -> Self:
        self._mode = termios.tcgetattr(self._terminal)
        silent = [*self._mode]
        silent[3] &= ~termios.ECHO  # keys that are typed meanwhile would tear the screen
        termios.tcsetattr(self._terminal, termios.TCSADRAIN, silent)
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        with contextlib.suppress(termios.error):  # it has hung up
            termios.tcsetattr(self._terminal, termios.TCSAFLUSH, self._mode)

    def tick(self, run: Run) -> None:
        found = self._fresh.snapshot(run)
        if found is not None:
            self._last = found
            self._live.refresh()

    def stopping(self) -> None:
        self._stopping = True
        self._live.refresh()

    def _drawn(self) -> Text:
        from rich.text import Text

        width, height = self._console.size
        rows = drawn(
            self._options,
            self._last,
            Style(width, self._style.blocks, self._style.colour),
            height,
            stopping=self._stopping,
        )
        screen = Text("\n", no_wrap=True, overflow="crop")
        return screen.join(Text.assemble(*row) for row in rows)


#: One row: pieces of text, each with the style that rich has for it, or without.
Row = list[tuple[str, str]]


def drawn(
    options: Options, last: Snapshot | None, style: Style, height: int, *, stopping: bool
) -> list[Row]:
    """All rows, at most ``height`` of them; what matters least is left out first."""
    head = [*_about(options, style), _progress(options, last, style, stopping=stopping)]
    foot = _foot(last, style, stopping=stopping)
    if last is None or last.last is None:
        return [*head, [], [("starting ...", _DIM)], *foot][:height]
    with telling(last.total):
        times = _times(last, last.last, style)
    blocks = [head, _now(last, last.last, style), times, _errors(last)]
    blocks = [block for block in blocks if block]
    spaced = [row for block in blocks for row in ([], *block)][1:]
    dense = [row for block in blocks for row in block]
    for rows, end in ((spaced, foot), (dense, foot), (dense, [])):
        if len(rows) + len(end) <= height:
            return [*rows, *end]
    return dense[:height]


def _about(options: Options, style: Style) -> list[Row]:
    what = fitted(asked(options), style.width, style).rstrip()
    separator = " · " if style.blocks else ", "
    facts = [f"HTTP/{version(options)}", f"{count(options.connections)} connections"]
    if options.plan is not None:
        facts = [f"{count(options.connections)} users"]
    facts += [f"{options.streams} streams each"] if options.streams > 1 else []
    facts.append(model(options))
    return [[(what, "bold")], [(fitted(separator.join(facts), style.width, style).rstrip(), _DIM)]]


def _progress(options: Options, last: Snapshot | None, style: Style, *, stopping: bool) -> Row:
    """How much of the run is over: of its time, or of its requests."""
    share, text = progress(options, last)
    if stopping:
        text = ENDING
    left, right = "▕▏" if style.blocks else "[]"
    width = min(_MOST_BAR, style.width - len(text) - 4)
    if width < 5:
        return [(text, "")]
    filled = bar(0.0, share, 1.0, width, Style(width, style.blocks)) if share else ""
    return [
        (left, _DIM), (filled, _GOOD), (" " * (width - len(filled)), ""), (right, _DIM),
        (f" {text}", ""),
    ]  # fmt: skip


def progress(options: Options, last: Snapshot | None) -> tuple[float, str]:
    """The share that is over, and the same in words."""
    elapsed = last.elapsed if last else 0.0
    if elapsed < options.warmup:
        left = options.warmup - elapsed
        return elapsed / options.warmup, f"warm-up, {seconds(round(left))} left"
    measured = elapsed - options.warmup
    by_time, by_number = options.duration, options.requests
    shares = [(measured / by_time, f"{_clock(measured)} of {seconds(by_time)}")] if by_time else []
    if by_number:
        over = last.total.counts.completed + last.total.counts.failed if last else 0
        shares.append((over / by_number, f"{count(over)} of {count(by_number)} requests"))
    share, text = max(shares)
    if share >= 1:
        return 1.0, "ending: waiting for the last answers"
    left = (measured / share - measured) if share else by_time or 0.0
    return share, f"{text}, {seconds(round(left))} left" if left else text


def _clock(value: float) -> str:
    return seconds(float(round(value))) if value >= 0.5 else "0 s"


def _now(snapshot: Snapshot, last: Interval, style: Style) -> list[Row]:
    """The last second: rate against target, what is under way, what went wrong so far."""
    total = snapshot.total
    busy = last.cpu / last.seconds if last.seconds else 0.0
    open_model = total.options.open_model
    of = f"of {rate(due(last))}/s" if open_model else ""
    history = [one.rate for one in total.intervals]
    room = style.width - _LABEL - 36
    rows: list[Row] = [
        [
            (f"{'rate':<{_LABEL}}", _DIM), (f"{rate(last.rate):>11}/s", "bold"),
            (f" {of:<18}  ", _DIM),
            (sparkline(history[-min(room, 40) :], style) if room > 5 else "", _GOOD),
        ],
        [
            (f"{'in flight':<{_LABEL}}", _DIM), (f"{count(last.in_flight):>11}", ""),
            (f"   {count(last.waiting)} waiting · CPU {percent_of_time(busy)}"
             f" · {count(last.connections)} connections", _DIM),
        ],
        [
            (f"{'answered':<{_LABEL}}", _DIM), (f"{count(total.counts.completed):>11}   ", ""),
            _errors_told(total.counts.wrong, total.error_rate),
            (f" · {count(total.counts.late)} sent late", _DIM),
        ],
    ]  # fmt: skip
    if not style.blocks:
        rows = [[(text.replace(" · ", ", "), look) for text, look in row] for row in rows]
    return rows


def _errors_told(wrong: int, share: float) -> tuple[str, str]:
    return (f"{count(wrong)} errors ({percent(share)})", _WARNING) if wrong else ("0 errors", _DIM)


def sparkline(values: Sequence[float], style: Style) -> str:
    """One character a value, from nothing to the largest."""
    levels = _LEVELS if style.blocks else _PLAIN_LEVELS
    most = max(values, default=0.0)
    if not most:
        return ""
    return "".join(levels[round(value / most * (len(levels) - 1))] for value in values)


def _times(snapshot: Snapshot, last: Interval, style: Style) -> list[Row]:
    """Percentiles: the last second's, those so far, and those of the phases with their shares."""
    total = snapshot.total
    main: list[tuple[str, Histogram | Summary]] = [
        ("last second", last.response), ("response", total.response),
    ]  # fmt: skip
    if total.options.open_model:
        main.append(("service", total.service))
    parts = [
        (PHASE_LABELS[name], total.phases[name]["all"], share)
        for name, share in shares(total.phases).items()
    ]
    shown = [*(one for _, one in main), *(one for _, one, _ in parts)]
    decimals = digits(largest(shown))
    kept = [*_PERCENTS] if style.width >= _LABEL + _COLUMN * 5 else [50.0, 90.0, 99.0]
    heads = "".join(f"{f'p{one:g}':>{_COLUMN}}" for one in kept)
    rows: list[Row] = [[(f"{'ms':<{_LABEL}}{heads}{'max':>{_COLUMN}}", _DIM)]]
    for label, histogram in main:
        rows.append([(f"{label:<{_LABEL}}", _DIM), (_cells(histogram, kept, decimals), "")])
    room = style.width - _LABEL - _COLUMN * (len(kept) + 1)
    for label, histogram, share in parts:
        row = [(f"{label:<{_LABEL}}", _DIM), (_cells(histogram, kept, decimals), "")]
        rows.append(row + _share(share, room, style))
    return rows


def _cells(histogram: Histogram | Summary, kept: Sequence[float], decimals: int) -> str:
    values: list[float | None] = [percentile(histogram, one) for one in kept]
    values.append(histogram.max if histogram.count else None)
    return "".join(f"{milliseconds(one, decimals):>{_COLUMN}}" for one in values)


def _share(share: float, room: int, style: Style) -> Row:
    """``  85 % ▆▆▆▆▆▆▆``: a part of the time of all requests."""
    if room < _SHARE + 1:
        return []
    width = room - _SHARE - 3
    drawn = bar(0.0, share, 1.0, width, Style(width, style.blocks)) if share and width > 3 else ""
    return [(f" {percent_of_time(share):>{_SHARE}} ", ""), (drawn, _GOOD)]


def _errors(snapshot: Snapshot) -> list[Row]:
    kinds = error_kinds(snapshot.total)
    rows: list[Row] = [
        [(f"{count(number):>11}  {kind}", _WARNING), (f": {text}" if text else "", "")]
        for number, kind, text in kinds[:3]
    ]
    if len(kinds) > 3:
        rows[2] = [(f"{'':11}  and {len(kinds) - 2} other kinds", _DIM)]
    return rows


def _foot(last: Snapshot | None, style: Style, *, stopping: bool) -> list[Row]:
    """Why the run is not valid, so far; else what Ctrl-C does."""
    if last and last.total.reasons:
        return [[("INVALID so far: ", _WARNING), (last.total.reasons[0].text, "")]]
    return [] if stopping else [[("Ctrl-C ends the run and reports what there is so far", _DIM)]]
