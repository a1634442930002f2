"""From what the engine has counted to intervals, results and verdicts."""

from __future__ import annotations

import errno as os_errors
from collections.abc import Iterable, Sequence
from typing import Final

from ftcore.histogram import Histogram
from ftcore.tally import Tally
from ftnet.errors import from_engine
from ftnet.load.options import Options
from ftnet.load.result import CLASSES, PHASES, Counts, Failure, Interval, Result, Verdict

_BUSY: Final = 0.95  # of a core: more, and requests wait for the generator
_LATE: Final = 0.01  # of the requests: more, and the load was not the one asked for
_OUT_OF: Final = {
    os_errors.EMFILE: ("descriptors", "raise the limit of open files (ulimit -n)"),
    os_errors.ENFILE: ("descriptors", "raise the system's limit of open files (fs.file-max)"),
    os_errors.EADDRNOTAVAIL: (
        "ports",
        "use fewer connections, keep them alive, or widen net.ipv4.ip_local_port_range",
    ),
    os_errors.ENOBUFS: ("memory", "use fewer connections, or give the system more memory"),
    os_errors.ENOMEM: ("memory", "use fewer connections, or give the system more memory"),
}


def counts_of(tally: Tally) -> Counts:
    """The counters by name."""
    return Counts(**tally.counts())


def interval_of(tally: Tally, start_ns: int) -> Interval:
    """One interval from what its workers have counted, summed up."""
    return Interval(
        at=(tally.ended_at - start_ns) / 1e9,
        seconds=(tally.ended_at - tally.began_at) / 1e9,
        measured=tally.measured,
        counts=counts_of(tally),
        errors=tally.wrong,
        in_flight=tally.in_flight,
        waiting=tally.waiting,
        connections=tally.connections,
        target=tally.target,
        cpu=tally.cpu / 1e9,
        response=tally.histogram("response") or Histogram(),
        service=tally.histogram("service") or Histogram(),
    )
