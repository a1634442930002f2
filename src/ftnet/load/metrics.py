"""What monitoring is told of a run, whatever protocol tells it: names, units and values.

Counters and distributions are of the measured part so far, gauges of the last interval, warm-up
included. What there is of a plan's steps has names of its own, with "step" before them, and the
label ``step``: an action is counted by itself and in its step, so the sum of all is not the whole.
Sums over the other labels are what the result says, to the last request.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from ftcore.histogram import Histogram
from ftcore.tally import Tally
from ftnet.load.books import Books
from ftnet.load.report import counts_of, failures_of, phases_of
from ftnet.load.result import Interval

__all__ = ["BORDERS", "Metric", "Totals", "metrics_of", "slot_ends", "up_to"]

Labels: TypeAlias = tuple[str, ...]

#: Upper borders of buckets, s: those that OpenTelemetry advises for http.client.request.duration
#: (semantic conventions 1.23, HTTP metrics), and finer and wider ones.
BORDERS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75,
    1.0, 2.5, 5.0, 7.5, 10.0, 30.0,
)  # fmt: skip

_REQUESTS: Final = {
    "scheduled": "Requests that were due",
    "sent": "Requests of which a connection took the first byte",
    "completed": "Requests whose response came in whole, whatever its status",
    "failed": "Requests without a whole response",
    "unfinished": "Requests under way when the grace after the end was over",
    "unsent": "Requests that were due, and had no connection by the end",
    "late": "Requests that were sent late",
    "retried": "Requests sent again, as the server had closed the idle connection",
}
_WRONG: Final = ("status", "length", "content")
_ITERATIONS: Final = ("scheduled", "completed", "failed", "unfinished", "unsent")


@dataclass(frozen=True, slots=True)
class Metric:
    """One of them, at one time. Distributions are in ns, whatever the unit says."""

    name: str  #: "requests.scheduled"
    unit: str  #: "s", "By", "{request}": UCUM, as OpenTelemetry writes them
    text: str
    kind: Literal["counter", "gauge", "buckets", "sums"]  #: "sums" need no buckets
    labels: Labels
    numbers: Mapping[Labels, float] = field(default_factory=dict)
    histograms: Mapping[Labels, Histogram] = field(default_factory=dict)


class Totals:
    """What was gathered and not yet taken, and how things stand; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of all below
        self._books = Books()
        self._last: Interval | None = None
        self._running = False

    def begin(self) -> None:
        """The run has begun."""
        with self._lock:
            self._running = True

    def add(self, interval: Interval, books: Books) -> None:
        """One more interval."""
        with self._lock:
            self._last = interval
            if interval.measured:
                self._books.merge(books)

    def end(self) -> None:
        """The run is over."""
        with self._lock:
            self._running = False

    def take(self) -> tuple[Books, Interval | None, bool]:
        """What was gathered since the last time, the last interval, and whether the run goes."""
        with self._lock:
            taken, self._books = self._books, Books()
            return taken, self._last, self._running


def metrics_of(books: Books, last: Interval | None, running: bool) -> Iterator[Metric]:
    """What is told of these books of the measured part, and of how things stand."""
    yield from _counters(books)
    yield from _gauges(last, running)
    yield from _distributions(books)


def _views(books: Books) -> Iterator[tuple[str, Labels, Mapping[Labels, Tally]]]:
    """Of the whole, and of a plan's steps: before the name, labels, and what was counted."""
    yield "", (), {(): books.total}
    if books.steps:
        yield "step.", ("step",), {(step,): tally for step, tally in books.steps.items()}


def _counters(books: Books) -> Iterator[Metric]:
    for prefix, labels, tallies in _views(books):
        for metric in _of_requests(labels, tallies):
            yield replace(metric, name=prefix + metric.name)
    yield from _of_the_generator(books)
    yield from _of_the_plan(books)


def _of_requests(labels: Labels, tallies: Mapping[Labels, Tally]) -> Iterator[Metric]:
    counts = {key: counts_of(tally) for key, tally in tallies.items()}
    for name, text in _REQUESTS.items():
        numbers: dict[Labels, float] = {key: getattr(of, name) for key, of in counts.items()}
        yield Metric(f"requests.{name}", "{request}", text, "counter", labels, numbers)
    for name, text in (("sent", "Bytes of requests"), ("received", "Bytes of responses")):
        numbers = {key: getattr(of, f"bytes_{name}") for key, of in counts.items()}
        yield Metric(f"data.{name}", "By", text, "counter", labels, numbers)
    numbers = {
        (*key, what): getattr(of, f"wrong_{what}") for key, of in counts.items() for what in _WRONG
    }
    text = "Whole responses with something else than expected"
    yield Metric("responses.wrong", "{response}", text, "counter", (*labels, "what"), numbers)
    numbers = {
        (*key, str(status)): number
        for key, tally in tallies.items()
        for status, number in tally.statuses().items()
    }
    text = "Whole responses by status"
    yield Metric("responses", "{response}", text, "counter", (*labels, "status"), numbers)
    numbers = {
        (*key, failure.name): failure.count
        for key, tally in tallies.items()
        for failure in failures_of(tally)
    }
    text = "Requests without a whole response, by kind"
    yield Metric("errors", "{request}", text, "counter", (*labels, "error"), numbers)


def _of_the_generator(books: Books) -> Iterator[Metric]:
    whole = counts_of(books.total)
    for name, number, text in (
        ("opened", whole.opened, "Connections that were made"),
        ("failed", whole.connect_failed, "Attempts to make a connection that failed"),
        ("closed", whole.closed, "Connections that the server closed, or that broke"),
    ):
        yield Metric(f"connections.{name}", "{connection}", text, "counter", (), {(): number})
    text = "CPU time of the generator's threads"
    yield Metric("cpu.time", "s", text, "counter", (), {(): books.total.cpu / 1e9})


def _of_the_plan(books: Books) -> Iterator[Metric]:
    if books.iterations is None:
        return
    counts = counts_of(books.iterations)
    for name in _ITERATIONS:
        text = f"Iterations of the plan: {name}"
        number = getattr(counts, name)
        yield Metric(f"iterations.{name}", "{iteration}", text, "counter", (), {(): number})
    numbers: dict[Labels, float] = {
        (step, check, held): number
        for step, by_text in books.checks.items()
        for check, both in by_text.items()
        for held, number in zip(("true", "false"), both, strict=True)
    }
    text = "Expectations of steps, by whether they held"
    yield Metric("step.checks", "{check}", text, "counter", ("step", "check", "held"), numbers)


def _gauges(last: Interval | None, running: bool) -> Iterator[Metric]:
    def gauge(name: str, unit: str, text: str, number: float) -> Metric:
        return Metric(name, unit, text, "gauge", (), {(): number})

    yield gauge("running", "1", "Whether the run is under way", float(running))
    if last is None:
        return
    measured = float(running and last.measured)
    yield gauge("measuring", "1", "Whether its warm-up is over", measured)
    yield gauge("requests.in_flight", "{request}", "Requests under way", last.in_flight)
    yield gauge("requests.waiting", "{request}", "Due, without a connection", last.waiting)
    yield gauge("connections.open", "{connection}", "Open connections", last.connections)
    yield gauge("rate.target", "{request}/s", "Requests due a second", last.target)
    yield gauge("rate.answered", "{response}/s", "Responses a second", last.rate)


def _distributions(books: Books) -> Iterator[Metric]:
    for prefix, labels, tallies in _views(books):
        for metric in _of_times(labels, tallies):
            yield replace(metric, name=prefix + metric.name)
    late = books.total.lateness
    text = "How much later than it could have been a request was sent, by the generator's fault"
    yield Metric("lateness", "s", text, "buckets", (), histograms={(): late or Histogram()})


def _of_times(labels: Labels, tallies: Mapping[Labels, Tally]) -> Iterator[Metric]:
    for name, span, text in (
        ("response.duration", "total", "From when a request was due to the end of the response"),
        ("service.duration", "service", "From when a request was sent to the end of the response"),
    ):
        found = {
            (*key, status): histogram
            for key, tally in tallies.items()
            for status, histogram in sorted(tally.histograms(span).items())
            if status != "failed"
        }
        yield Metric(name, "s", text, "buckets", (*labels, "class"), histograms=found)
    phases = {
        (*key, phase): by_class["all"]
        for key, tally in tallies.items()
        for phase, by_class in phases_of(tally).items()
    }
    text = "Time of requests in each phase; total is all of it, of failed ones, too"
    yield Metric("phase.duration", "s", text, "sums", (*labels, "phase"), histograms=phases)


def up_to(histogram: Histogram, borders: Sequence[float]) -> list[int]:
    """How many values are up to each border, in s, and how many there are.

    A value is taken for the end of its slot, so one up to 0.1 % below a border may be beyond it.
    """
    counts, values = histogram.counts, slot_ends(histogram)
    out, count, place = [], 0, 0
    for border in borders:
        end = bisect_right(values, round(border * 1e9))
        count += sum(counts[place:end]) if count < histogram.count else 0
        place = end
        out.append(count)
    return [*out, histogram.count]


def slot_ends(histogram: Histogram) -> Sequence[int]:
    """The largest value of each slot; the same object for all histograms of a range."""
    return _slot_ends(histogram.highest, histogram.lowest, histogram.digits)


@lru_cache(maxsize=4)
def _slot_ends(highest: int, lowest: int, digits: int) -> Sequence[int]:
    return Histogram(highest, lowest=lowest, digits=digits).values
