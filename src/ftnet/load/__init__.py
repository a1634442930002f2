"""Load: many requests to one URL from the compiled engine, and the whole truth about them.

::

    from ftnet import load

    result = load.run("https://example.com/", rate=5000, duration=30, connections=200)
    print(result.rate, result.response.percentile(99) / 1e6, "ms")
    if not result.valid:
        print(*result.reasons, sep="\\n")

    run = load.start("http://localhost:8000/", connections=64, requests=1_000_000)
    run.snapshot().last.response.percentile(99)  # of the last second
    result = await run                            # or run.result(timeout)

    before = load.read("run.json")                # what `ftnet load --json run.json` wrote
    print(load.compare(before, result).verdict)   # is it worse now, beyond chance?

    found = load.find_rate("http://localhost:8000/", "p99<50ms")  # the highest rate that keeps it

Nothing of a request is done in Python: it is scheduled, sent, received, checked and recorded by the
engine, in a thread of its own for each worker.

*Closed model* (no ``rate``): each connection sends its next request when it has the answer to the
last, after a ``think`` time. *Open model* (``rate`` or ``stages``): requests start when they are
due, whether those before were answered or not. One that finds every connection busy waits for the
first that is free, and its response time counts from when it was due.

All times that go in and come out are seconds, but histograms, which are nanoseconds.
"""

from __future__ import annotations

from ftnet.load.comparison import Change, Comparison, compare
from ftnet.load.finding import FoundRate, Probe, find_rate
from ftnet.load.merging import merge
from ftnet.load.options import Options
from ftnet.load.reader import read
from ftnet.load.result import (
    Counts,
    Failure,
    Interval,
    Result,
    Snapshot,
    Step,
    Summary,
    Verdict,
    Worker,
)
from ftnet.load.run import Run, run, start

__all__ = [
    "Change",
    "Comparison",
    "Counts",
    "Failure",
    "FoundRate",
    "Interval",
    "Options",
    "Probe",
    "Result",
    "Run",
    "Snapshot",
    "Step",
    "Summary",
    "Verdict",
    "Worker",
    "compare",
    "find_rate",
    "merge",
    "read",
    "run",
    "start",
]
