"""What a run of load has found: results, live snapshots, seconds, verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ftcore.histogram import Histogram
from ftnet.errors import Cause, Errno
from ftnet.load.options import Options

__all__ = [
    "Counts",
    "Failure",
    "Interval",
    "Result",
    "Snapshot",
    "Step",
    "Summary",
    "Verdict",
    "Worker",
]

#: Of what `Result.to_dict` gives: docs/load-result.schema.json. Keys may be added to it.
FORMAT: Final = "ftnet.load/1"

#: Phases of a request, as in ``profile.durations``, in the order in which they come.
PHASES: Final = ("queue", "dns", "connect", "ssl", "send", "ttfb", "download", "total")
#: Status classes; "failed": no response came in whole.
CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx", "failed")

#: More, and what a worker of a cluster measured is itself: share of a core, of its requests.
SATURATED_CPU: Final = 0.9
SATURATED_LATE: Final = 0.01

#: Percentiles that are told, and kept of each interval.
PERCENTS: Final = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One reason not to take the figures for the server's: the generator was the limit."""

    #: "cpu", "late", "worker", "descriptors", "ports", "memory", "range"; among warnings
    #: "connections", "unanswered"
    kind: str
    text: str  #: what was seen
    advice: str  #: what to do

    def __str__(self) -> str:
        return f"{self.text}; {self.advice}"


@dataclass(frozen=True, slots=True)
class Failure:
    """Requests that failed in one way."""

    errno: Errno  #: its class, as in `FtError.errno`
    cause: Cause  #: `cause.name` is an errno's name ("ECONNREFUSED"), "CURLE_..." or "FT_..."
    count: int

    @property
    def name(self) -> str:
        """ "CONNECT ECONNREFUSED": the class and its cause."""
        return f"{self.errno.name} {self.cause.name}"


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted, of the measured part alone.

    ``scheduled == completed + failed + unfinished + unsent``, and ``sent`` are those of which at
    least a part was sent: all completed ones, and some of the failed and unfinished.
    """

    scheduled: int = 0  #: requests that were due
    sent: int = 0  #: of which a connection took the first byte
    completed: int = 0  #: a response came in whole, whatever its status
    failed: int = 0  #: no response came in whole: `errors`
    unfinished: int = 0  #: under way when the grace after the end was over
    unsent: int = 0  #: were due, and had no connection by the end
    late: int = 0  #: sent more than `late_after` s after they were due
    wrong_status: int = 0  #: completed with another status than expected
    wrong_length: int = 0  #: completed with a body of another length than expected
    wrong_content: int = 0  #: completed, and something else that was expected did not hold
    retried: int = 0  #: sent again: the server had closed the idle connection meanwhile
    bytes_sent: int = 0  #: of requests, as carried in HTTP
    bytes_received: int = 0  #: of responses, likewise
    opened: int = 0  #: connections that were made
    connect_failed: int = 0  #: attempts to make one that failed
    closed: int = 0  #: connections that the server closed, or that broke
    #: responses that came within the measured part, also to requests that were due before it;
    #: without those that came in the grace after it
    answered: int = 0

    @property
    def wrong(self) -> int:
        """Requests that failed, or were answered with a wrong status or length."""
        return self.failed + self.wrong_status + self.wrong_length + self.wrong_content


@dataclass(frozen=True, slots=True)
class Summary:
    """What is kept of a histogram where there are many of them, as of a run's seconds; ns.

    To be asked like the `Histogram` it is of; with a `count` of 0 the other values are 0, too.
    """

    count: int = 0
    min: int = 0
    max: int = 0
    mean: float = 0.0
    percentiles: tuple[int, ...] = (0,) * len(PERCENTS)  #: those of `PERCENTS`

    @classmethod
    def of(cls, histogram: Histogram) -> Summary:
        """Of a histogram as it is now."""
        if not histogram.count:
            return cls()
        found = tuple(min(at, histogram.max) for at in histogram.percentiles(PERCENTS))
        return cls(histogram.count, histogram.min, histogram.max, histogram.mean, found)

    def percentile(self, percent: float) -> int:
        """As `Histogram.percentile`. ValueError: it is none of `PERCENTS`."""
        if percent not in PERCENTS:
            takes = ", ".join(f"{one:g}" for one in PERCENTS)
            raise ValueError(f"of one second these percentiles are kept: {takes}; not {percent:g}")
        return self.percentiles[PERCENTS.index(percent)]


@dataclass(frozen=True, slots=True)
class Interval:
    """One second of a run (the first and the last may be shorter), warm-up included.

    Counted where it happened: a request is `scheduled` in one interval and `completed` in another.
    """

    at: float  #: s from the start of the run to its end
    seconds: float  #: how long it was
    measured: bool  #: False: warm-up
    counts: Counts
    in_flight: int  #: requests under way at its end
    waiting: int  #: that were due by its end and had no connection yet
    connections: int  #: open at its end
    target: float  #: requests due a second at its end; 0.0 in the closed model
    cpu: float  #: CPU seconds of the generator
    response: Summary  #: ns from when a request was due
    service: Summary  #: ns from when it was sent

    @property
    def rate(self) -> float:
        """Responses a second."""
        return self.counts.answered / self.seconds if self.seconds else 0.0

    @property
    def wrong(self) -> int:
        """Requests that failed, or were answered with a wrong status or length."""
        return self.counts.wrong

    def to_dict(self) -> dict[str, Any]:
        """For JSON: percentiles in place of histograms."""
        return {
            "at": self.at,
            "seconds": self.seconds,
            "measured": self.measured,
            "rate": self.rate,
            "target": self.target,
            "wrong": self.wrong,
            "in_flight": self.in_flight,
            "waiting": self.waiting,
            "connections": self.connections,
            "cpu": self.cpu,
            "counts": counts_dict(self.counts),
            "response": summary(self.response),
            "service": summary(self.service),
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far a run has got, at the end of its last full interval."""

    elapsed: float  #: s since the start, warm-up included
    warming: bool  #: nothing has been recorded yet
    total: Result  #: of the measured part so far, its verdicts included
    last: Interval | None  #: the last interval; None before the first is over


@dataclass(frozen=True, slots=True)
class Step:
    """What a run has found of one step of its plan; histograms as in `Result`."""

    #: "http", "upload", "download", "websocket", "tcp", "udp", "python"; "action" for one on a
    #: socket, which is no request of its own; "step" for what a Python function has made up
    kind: str
    counts: Counts  #: `scheduled`: how often it was begun
    errors: tuple[Failure, ...]  #: the most frequent first
    statuses: Mapping[int, int]  #: responses by status; {} where there is no such thing
    service: Histogram  #: ns from the first byte sent to the last received
    #: ns from when it was due: the first step of an iteration with it, each later one when the
    #: answer before it was there and its think time over
    response: Histogram
    phases: Mapping[str, Mapping[str, Histogram]]
    checks: Mapping[str, tuple[int, int]]  #: by their text: how often each held, and did not

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "counts": counts_dict(self.counts),
            "errors": [failure_dict(one) for one in self.errors],
            "statuses": {str(code): number for code, number in self.statuses.items()},
            "service": full(self.service),
            "response": full(self.response),
            "phases": phases_dict(self.phases),
            "checks": {text: list(held) for text, held in self.checks.items()},
        }


@dataclass(frozen=True, slots=True)
class Worker:
    """A process of a cluster, and what became of its part of a run."""

    name: str  #: as the cluster calls it
    host: str
    clock_offset: float  #: s that its clock (of time since the start of its machine) is ahead
    clock_error: float  #: s by which that may be wrong, at most: half of the shortest round trip
    cpu: float = 0.0  #: CPU seconds of its threads, in the measured part
    busiest: float = 0.0  #: share of a core that the busiest of them used, of 0 to 1
    late: float = 0.0  #: share of its requests that it sent late by its own fault, of 0 to 1
    counts: Counts = field(default_factory=Counts)  #: as far as it told them
    lost: str = ""  #: why nothing more is known of it; "": it told everything
    lost_at: float | None = None  #: s from the start of the run, warm-up included, to its last word
    #: requests (of a plan, iterations) that it was due to send until the end, and did not tell of
    missing: int | None = None  #: None: not lost, or there is no schedule that says it

    @property
    def saturated(self) -> str:
        """In which way it was at its limit; "": it was not."""
        if self.busiest > SATURATED_CPU:
            return f"used {self.busiest:.0%} of a core"
        if self.late > SATURATED_LATE:
            return f"sent {self.late:.1%} of its requests late"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run has found. Histograms are in nanoseconds."""

    options: Options
    started: float  #: of the measured part, seconds since the Unix epoch
    warmup: float  #: s before that
    duration: float  #: s of the measured part, without the grace
    interrupted: bool  #: stopped before its end; all of this is of what there was
    counts: Counts
    errors: tuple[Failure, ...]  #: the most frequent first
    statuses: Mapping[int, int]  #: responses by status
    service: Histogram  #: of responses: from the first byte sent to the last received
    response: Histogram  #: from when the request was due: free of coordinated omission
    #: by phase and status class, "all" among them: phases["ttfb"]["2xx"]. Only what was reached:
    #: "dns", "connect", "ssl" once a connection, "queue" in the open model alone.
    phases: Mapping[str, Mapping[str, Histogram]]
    #: how much later than it could have been a request was sent, by the generator's fault: its
    #: time was there, and a connection was free
    lateness: Histogram
    cpu: float  #: CPU seconds of the generator's threads, in the measured part
    cpu_workers: tuple[float, ...]  #: of each
    intervals: tuple[Interval, ...] = ()
    reasons: tuple[Verdict, ...] = ()  #: why the run is not valid
    warnings: tuple[Verdict, ...] = ()  #: what should be known, though it is valid
    peer: str = ""  #: "10.0.0.1:443", the last one connected to
    protocol: str = ""  #: "http/1.1", "h2" or "h3"; "": no response
    plan: str = ""  #: the name of the plan; "": one URL, and none of what follows
    #: of a plan, whose `counts` are of the requests that its iterations have begun
    iterations: Counts | None = None
    steps: Mapping[str, Step] = field(default_factory=dict)  #: by name, in the plan's order
    workers: tuple[Worker, ...] = ()  #: of a cluster; (): this process alone

    @property
    def percentiles_refused(self) -> str:
        """Why percentiles are not told, though the histograms are there; "": they are.

        A worker of a cluster that is at its limit measures itself, and what it measured is among
        the rest: no percentile of all says anything of the server then.
        """
        for worker in self.workers:
            if worker.saturated:
                return f"worker {worker.name} {worker.saturated}"
        return ""

    @property
    def unanswered(self) -> int:
        """Requests that had neither an answer nor an error when the run was over."""
        return self.counts.unfinished + self.counts.unsent

    def hides(self, percent: float) -> bool:
        """Whether a percentile of the response times depends on those that were never known.

        They are of requests that had no answer by the end, and may be longer than all others.
        """
        most = (1 - percent / 100) * (self.response.count + self.unanswered)
        return self.unanswered > most + 1e-6

    @property
    def valid(self) -> bool:
        """Whether the server, not the generator, was measured: there is no reason against it."""
        return not self.reasons

    @property
    def rate(self) -> float:
        """Responses a second."""
        return self.counts.answered / self.duration if self.duration else 0.0

    @property
    def error_rate(self) -> float:
        """Share of the requests that failed, or were answered wrongly, of 0 to 1."""
        over = self.counts.completed + self.counts.failed
        return self.wrong / over if over else 0.0

    @property
    def wrong(self) -> int:
        """Requests that failed, or were answered with a wrong status or length."""
        return self.counts.wrong

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Result:
        """The result that `to_dict` has made a document of, or that was read from its JSON.

        `ftnet.load.read` says what it has not kept. ValueError names the key that is wrong.
        """
        from ftnet.load.reader import from_dict

        return from_dict(document)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, msgspec's or the standard one: histograms as a summary with their HDR blob."""
        return {
            "format": FORMAT,
            "options": self.options.to_dict(),
            "started": self.started,
            "warmup": self.warmup,
            "duration": self.duration,
            "interrupted": self.interrupted,
            "valid": self.valid,
            "reasons": [verdict_dict(one) for one in self.reasons],
            "warnings": [verdict_dict(one) for one in self.warnings],
            "rate": self.rate,
            "error_rate": self.error_rate,
            "counts": counts_dict(self.counts),
            "errors": [failure_dict(one) for one in self.errors],
            "statuses": {str(code): number for code, number in self.statuses.items()},
            "peer": self.peer,
            "protocol": self.protocol,
            "cpu": self.cpu,
            "cpu_workers": list(self.cpu_workers),
            "service": full(self.service),
            "response": full(self.response),
            "lateness": full(self.lateness),
            "phases": phases_dict(self.phases),
            "plan": self.plan or None,
            "iterations": None if self.iterations is None else counts_dict(self.iterations),
            "steps": {name: step.to_dict() for name, step in self.steps.items()},
            "workers": [one.to_dict() for one in self.workers],
            "intervals": [one.to_dict() for one in self.intervals],
        }


def phases_dict(phases: Mapping[str, Mapping[str, Histogram]]) -> dict[str, Any]:
    """For JSON."""
    return {
        phase: {name: full(histogram) for name, histogram in classes.items()}
        for phase, classes in phases.items()
    }


def counts_dict(counts: Counts) -> dict[str, int]:
    """For JSON."""
    return asdict(counts)


def verdict_dict(one: Verdict) -> dict[str, str]:
    """For JSON."""
    return {"kind": one.kind, "text": one.text, "advice": one.advice}


def failure_dict(one: Failure) -> dict[str, Any]:
    """For JSON."""
    return {
        "errno": int(one.errno),
        "name": one.name,
        "cause": one.cause.name,
        "text": one.cause.text,
        "count": one.count,
    }


def summary(histogram: Histogram | Summary) -> dict[str, Any]:
    """Count, mean, extremes and percentiles in ns, None where there is no value."""
    some = histogram.count > 0
    out: dict[str, Any] = {"count": histogram.count}
    out["min"] = histogram.min if some else None
    out["mean"] = histogram.mean if some else None
    for percent in PERCENTS:
        # a percentile is the end of its slot, which may lie behind the largest value
        out[f"p{percent:g}"] = min(histogram.percentile(percent), histogram.max) if some else None
    out["max"] = histogram.max if some else None
    return out


def full(histogram: Histogram) -> dict[str, Any]:
    """The same, with what is out of range, and the counts as an HdrHistogram V2 blob."""
    out = summary(histogram)
    out["stddev"] = histogram.stddev if histogram.count else None
    out["below"], out["above"] = histogram.below, histogram.above
    out["hdr"] = histogram.encode()
    return out
