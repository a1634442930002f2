"""Results of `ftnet.load` that no run has found, for what is made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import referencing

from ftnet.errors import Cause, Errno
from ftnet.histogram import Histogram
from ftnet.load import Counts, Failure, Interval, Options, Result, Snapshot, Summary, Verdict

URL = "http://127.0.0.1:8080/"
MS = 1_000_000
REFUSED = Failure(
    Errno.CONNECT, Cause(7, "ECONNREFUSED", "Failed to connect to 127.0.0.1:8080", 111), 12
)
BUSY = Verdict("cpu", "worker 0 used 98% of a core", "use more workers")


def validator(name: str) -> Any:
    """Of a schema in docs/, which may refer to the one of results."""
    docs = Path(__file__).parent.parent / "docs"
    whole, results = (
        json.loads((docs / one).read_text()) for one in (name, "load-result.schema.json")
    )
    jsonschema.Draft202012Validator.check_schema(whole)
    beside = referencing.Resource.from_contents(results)
    registry = referencing.Registry().with_resource("load-result.schema.json", beside)
    return jsonschema.Draft202012Validator(whole, registry=registry)


def histogram(values: Iterable[int]) -> Histogram:
    """Of nanoseconds."""
    made = Histogram()
    for value in values:
        made.record(value)
    return made


def evenly(number: int, most_ms: int = 10) -> Histogram:
    """So many values, up to the largest, in equal steps."""
    return histogram((index + 1) * most_ms * MS // number for index in range(number))


def result(options: dict[str, Any] | None = None, **given: Any) -> Result:
    """1,000 requests in 2 s, answered in up to 10 ms, of which 10 were wrong."""
    times = evenly(1000)
    values: dict[str, Any] = {
        "started": 1.7e9,
        "warmup": 0.0,
        "duration": 2.0,
        "interrupted": False,
        "counts": Counts(
            scheduled=1000, sent=1000, completed=1000, answered=1000, wrong_status=10,
            late=3, bytes_sent=80_000, bytes_received=900_000, opened=4,
        ),
        "errors": (),
        "statuses": {200: 990, 404: 4, 503: 6},
        "service": evenly(1000, 8),
        "response": times,
        "phases": {
            "connect": {"all": evenly(4, 1)},
            "ttfb": {"all": evenly(1000, 6), "2xx": evenly(990, 6), "5xx": evenly(6, 3)},
            "total": {"all": times},
        },
        "lateness": evenly(1000, 1),
        "cpu": 0.5,
        "cpu_workers": (0.5,),
        "intervals": (interval(1.0), interval(2.0)),
        "peer": "127.0.0.1:8080",
        "protocol": "http/1.1",
    }  # fmt: skip
    return Result(options=Options.of(URL, **(options or {})), **{**values, **given})


def unanswered(**given: Any) -> Result:
    """All were refused."""
    none = Histogram()
    values: dict[str, Any] = {
        "counts": Counts(scheduled=12, failed=12, connect_failed=12),
        "errors": (REFUSED,),
        "statuses": {},
        "service": none,
        "response": none,
        "phases": {},
        "lateness": none,
        "peer": "",
        "protocol": "",
    }
    return result(**{**values, **given})


def interval(at: float, **given: Any) -> Interval:
    """One second with 500 answers."""
    values: dict[str, Any] = {
        "at": at,
        "seconds": 1.0,
        "measured": True,
        "counts": Counts(scheduled=510, sent=505, completed=500, answered=500, late=2),
        "in_flight": 7,
        "waiting": 3,
        "connections": 4,
        "target": 510.0,
        "cpu": 0.25,
        "response": Summary.of(evenly(500)),
        "service": Summary.of(evenly(500, 8)),
    }
    return Interval(**{**values, **given})


def snapshot(total: Result) -> Snapshot:
    """As far as its intervals go."""
    last = total.intervals[-1] if total.intervals else None
    return Snapshot(last.at if last else 0.0, last is None, total, last)
