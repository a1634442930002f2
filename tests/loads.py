"""Runs of load in tests: what must hold of every result."""

from __future__ import annotations

from typing import Any

from ftnet import load
from ftnet.load import Result

LIMIT = 60.0
WITHOUT_STATUS = ("tcp", "udp", "python")  # steps of these kinds


def run(url: str, **options: Any) -> Result:
    """A run to its end, and the books of it."""
    return checked(load.start(url, trust_env=False, **options).result(LIMIT))


def checked(result: Result) -> Result:
    """Nothing is lost or invented: each request is in one place, in each of the books."""
    counts = result.counts
    over = counts.completed + counts.failed
    assert counts.scheduled == over + counts.unfinished + counts.unsent
    assert counts.failed == sum(one.count for one in result.errors)
    without = sum(s.counts.completed for s in result.steps.values() if s.kind in WITHOUT_STATUS)
    assert counts.completed == sum(result.statuses.values()) + without
    assert counts.completed <= counts.sent <= counts.scheduled - counts.unsent
    assert result.response.count == result.service.count == counts.completed
    if result.phases:
        assert result.phases["total"]["all"].count == over
    for by_class in result.phases.values():
        whole = by_class["all"]
        parts = [one for name, one in by_class.items() if name != "all"]
        assert whole.count == sum(part.count for part in parts)
        assert whole.sum == sum(part.sum for part in parts)
    measured = [one for one in result.intervals if one.measured]
    for name in ("scheduled", "completed", "failed", "sent", "answered", "bytes_received"):
        assert sum(getattr(one.counts, name) for one in measured) == getattr(counts, name), name
    assert sum(one.response.count for one in measured) == counts.completed
    return result
