"""What the workers of a server know together: memory they share, made before they are forked.

All of it has a fixed layout, and the kernel gives memory only to what is touched. Times are
seconds of the monotonic clock, which is the same for all processes of a machine.
"""

from __future__ import annotations

import mmap
import multiprocessing
import secrets
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

MOST_SLOTS = 256
MOST_QUEUED = 10_000
MILLION = 1_000_000
_STATUSES = range(100, 600)
_RECEIVED, _RESET, _UNANSWERED = (len(_STATUSES) + n for n in range(3))
_COLUMNS = len(_STATUSES) + 3

Lock = AbstractContextManager[Any]


def _whole_numbers(count: int) -> memoryview[int]:
    """``count`` zeros of 64 bits in memory that forks share."""
    return memoryview(mmap.mmap(-1, 8 * count)).cast("B").cast("Q")


def _numbers(count: int) -> memoryview[float]:
    """``count`` zeros of double precision in memory that forks share."""
    return memoryview(mmap.mmap(-1, 8 * count)).cast("B").cast("d")


class Places:
    """Resources with 1 to MOST_SLOTS places each: whoever finds none free waits in a line.

    Who holds a place and until when follows from arithmetic, not from when a worker found the time
    to look: a resource with s places that are held for t seconds serves s/t requests a second.
    """

    _ROW = 1 + MOST_SLOTS + MOST_QUEUED  # how many have come; ends; the last starts, in a ring

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._rows = _numbers(MOST_SLOTS * self._ROW)

    def take(self, slots: int, hold: float, queue: int | None, now: float) -> float | None:
        """When a request that comes ``now`` will have held its place; None: ``queue`` others wait.

        ``slots`` names the resource; a ``queue`` of None has no limit.
        """
        row = self._rows[(slots - 1) * self._ROW :]
        ends, starts = row[1 : 1 + slots], row[1 + MOST_SLOTS :]
        with self._lock:
            until = ends.tolist()
            first = min(until)
            came, start = int(row[0]), max(now, first)
            if queue is not None and start > now:
                # places are given in order: that many wait if the last but so many does
                before = starts[(came - queue) % MOST_QUEUED] if queue else start
                if before > now:
                    return None
            row[0] += 1
            starts[came % MOST_QUEUED] = start
            ends[until.index(first)] = start + hold
            return start + hold


class Shares:
    """Patterns that hit a share exactly: of any n in a row, n times the share, to one."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._came = _whole_numbers(MILLION + 1)

    def hit(self, millionths: int) -> bool:
        """Whether the next one is hit, of those that ask for this share."""
        with self._lock:
            came = self._came[millionths]
            self._came[millionths] = came + 1
        return (came + 1) * millionths // MILLION > came * millionths // MILLION


class Counters:
    """Requests by endpoint and how they ended. Each worker writes a block of its own."""

    def __init__(self, paths: Sequence[str], workers: int) -> None:
        self._rows = {path: row for row, path in enumerate(paths)}
        self._block = len(paths) * _COLUMNS
        self._counts = _whole_numbers(workers * self._block)
        self._own = self._counts

    def use_block(self, worker: int) -> None:
        """Count in the block of ``worker`` from now on, in this process."""
        self._own = self._counts[worker * self._block :]

    def received(self, path: str) -> None:
        """A request's head has come."""
        self._add(path, _RECEIVED)

    def answered(self, path: str, status: int) -> None:
        """It was answered."""
        self._add(path, status - _STATUSES.start)

    def reset(self, path: str) -> None:
        """Its connection was reset instead."""
        self._add(path, _RESET)

    def unanswered(self, path: str) -> None:
        """The client left before it was answered."""
        self._add(path, _UNANSWERED)

    def _add(self, path: str, column: int) -> None:
        self._own[self._rows[path] * _COLUMNS + column] += 1

    def to_dict(self) -> dict[str, Any]:
        """What all workers have counted, by path; received is the sum of all the others."""
        return {path: self._of(row) for path, row in self._rows.items()}

    def _of(self, row: int) -> dict[str, Any]:
        sums = [0] * _COLUMNS
        for start in range(row * _COLUMNS, len(self._counts), self._block):
            block = self._counts[start : start + _COLUMNS].tolist()
            sums = [one + more for one, more in zip(sums, block, strict=True)]
        received = sums.pop(_RECEIVED)
        return {
            "received": received,
            "statuses": {str(s): n for s, n in zip(_STATUSES, sums, strict=False) if n},
            "reset": sums[_RESET - 1],
            "unanswered": sums[_UNANSWERED - 1],
            "under_way": received - sum(sums),
        }


class Shared:
    """All that the workers share; ``slower`` is the time that every answer waits, s."""

    def __init__(self, paths: Sequence[str], workers: int, slower: float = 0.0) -> None:
        context = multiprocessing.get_context("fork")
        self.began = time.monotonic()
        self.key = secrets.token_bytes(32)
        self.workers = workers
        self.slower = slower
        self.places = Places(context.Lock())
        self.shares = Shares(context.Lock())
        self.counters = Counters(paths, workers)
