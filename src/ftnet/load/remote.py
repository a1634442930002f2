"""What a process of a cluster does for a run: its part of the load, told once a second.

The coroutines here are what `ftnet.load.cluster` has carried out in the processes of a cluster, on
their event loops. A part drives its shares in threads of their own, and keeps what they counted
until it is told that it has arrived; when nothing is heard of the coordinator for `LEASE` seconds
it stops, so that no load goes on that nobody watches.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import socket
import sys
import tempfile
import threading
from collections import deque
from contextlib import ExitStack, suppress
from typing import Final

import msgspec

from ftcore.load import clock
from ftcore.tally import VERSION as TALLY_VERSION
from ftcore.tally import Tally
from ftnet.client import VERSION
from ftnet.load.baggage import Files, settled, unpack
from ftnet.load.books import Books
from ftnet.load.options import Options
from ftnet.load.report import share_up_to
from ftnet.load.share import Share, share_of

__all__ = ["LEASE", "Hello", "Refused", "Told", "tallies"]

LEASE: Final = 10.0  # s without a word of the coordinator, after which a part stops
_EVERY: Final = 1.0  # s of an interval
_AFTER: Final = 0.02  # s after its end when an interval is fetched
_TOO_SHORT: Final = 100_000_000  # ns: CPU clocks are too coarse
_PATIENCE: Final = 1.0  # s after which the coordinator gets an answer though there is nothing new


class Refused(RuntimeError):
    """Why a process does not do what it was asked for."""


class Hello(msgspec.Struct, frozen=True):
    """Who a process is."""

    ftnet: str  #: version
    encoding: int  #: version of what tallies are sent in
    platform: str  #: numbers of errors are those of the system
    host: str


class Told(msgspec.Struct, frozen=True):
    """How far a part has got; all but `parts` is of what was counted until the last of them."""

    parts: list[tuple[int, int, bytes]]  #: number from 1 on, second of the run, books
    counts: dict[str, int]  #: of the measured part
    under_way: dict[str, int]  #: by tally (`tallies`): scheduled, and nothing is known of them yet
    begun: int  #: how many were scheduled: requests, or of a plan iterations
    late: float  #: share of the requests that were sent late by the generator's fault
    cpu: list[int]  #: ns of each thread, in the measured part
    busiest: float  #: share of a core that the busiest thread used
    http: int
    peer: tuple[str, int]
    ended_at: int | None  #: ns after the start
    over: bool
    unheard: bool  #: it was stopped because nothing was heard of the coordinator
    failure: str  #: what broke it


def tallies(books: Books) -> dict[str, Tally]:
    """All tallies of some books that keep count of what was scheduled, by name."""
    named = {"requests": books.total}
    if books.iterations is not None:
        named["iterations"] = books.iterations
    named.update({f"step {name}": tally for name, tally in books.steps.items()})
    return named


def tally_of(books: Books, name: str) -> Tally:
    """The one that `tallies` has by that name, made if there is none."""
    if name == "requests":
        return books.total
    if name == "iterations":
        books.iterations = books.iterations or Tally()
        return books.iterations
    return books.steps.setdefault(name.removeprefix("step "), Tally())


def under_way(tally: Tally) -> int:
    """How many were scheduled, and are in no other count yet."""
    counts = tally.counts()
    over = ("completed", "failed", "unfinished", "unsent")
    return counts["scheduled"] - sum(counts[name] for name in over)


class Part:
    """The shares that this process has of one run."""

    def __init__(self, options: Options, files: Files, index: int, of: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._lock = threading.Lock()  # of what is told
        self._held = ExitStack()
        self._kept: deque[tuple[int, int, bytes]] = deque()
        self._number = 0
        self._total, self._last = Books(), Books()
        self._stopped = self._unheard = self._over = False
        self._heard = clock()
        self._start = 0
        self._options = options
        self._shares: list[Share] = []
        self._thread = threading.Thread(target=self._gather, name="ftnet-part", daemon=True)
        try:
            folder = self._held.enter_context(tempfile.TemporaryDirectory(prefix="ftnet-"))
            unpack(files, folder)
            options = settled(options, folder)
            for thread in range(options.workers):  # takes number index + thread * of, and so on
                number = index + thread * of
                self._shares.append(share_of(options, number, of * options.workers))
        except BaseException:
            self._give_back()
            raise
        self._state = self._told()

    @property
    def idle(self) -> bool:
        """Whether nobody minds when it goes."""
        if self._thread.ident is None:
            return clock() - self._heard > LEASE * 1e9
        return not self._thread.is_alive()

    def begin(self, start_ns: int) -> int:
        """Once. Returns how many ns ahead that is."""
        self._start = start_ns
        ahead = start_ns - clock()
        if ahead <= 0:
            return ahead
        self._heard = clock()
        try:
            for share in self._shares:
                share.begin(start_ns)
        finally:
            self._thread.start()  # it gathers those that have begun, whatever became of the others
        return ahead

    def set_rate(self, rate: float, at_ns: int) -> None:
        for share in self._shares:
            share.set_rate(rate, at_ns)

    def stop(self) -> None:
        self._stopped = True
        for share in self._shares:
            share.stop()

    def close(self) -> None:
        """Stops it, if it is not over; its thread then does the rest."""
        if self._thread.ident is None:
            self._give_back()
        else:
            self.stop()

    async def tell(self, arrived: int) -> Told:
        """What is new; `arrived`: the number of the last part that needs to be kept no longer."""
        self._heard = clock()
        with self._lock:
            while self._kept and self._kept[0][0] <= arrived:
                self._kept.popleft()
            if not self._kept and not self._over:
                self._news.clear()
        with suppress(TimeoutError):  # then there is nothing new to tell
            await asyncio.wait_for(self._news.wait(), _PATIENCE)
        with self._lock:
            return msgspec.structs.replace(self._state, parts=[*self._kept])

    # --- its thread -----------------------------------------------------------------------------

    def _gather(self) -> None:
        at = self._start / 1e9 + _EVERY + _AFTER
        failure = ""
        try:
            while not all(share.join(max(0.0, at - clock() / 1e9)) for share in self._shares):
                at += _EVERY
                self._fetch()
                if any(share.failure for share in self._shares):
                    self.stop()
                if clock() - self._heard > LEASE * 1e9 and not self._stopped:
                    self._unheard = True
                    self.stop()
            self._fetch()
            broke = next(filter(None, [share.failure for share in self._shares]), None)
            failure = f"{type(broke).__name__}: {broke}" if broke else ""
        except Exception as error:  # told to whoever asks
            self.stop()
            failure = f"{type(error).__name__}: {error}"
        finally:
            with self._lock:
                self._over = True
                self._state = self._told(failure)
            self._give_back()
            self._tell_loop()

    def _give_back(self) -> None:
        for share in self._shares:
            share.close()
        self._held.close()

    def _tell_loop(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:
            return  # the loop is closed: the process ends

    def _fetch(self) -> None:
        while True:
            self._last.reset()
            ready = [share.collect(self._last) for share in self._shares]
            if not any(ready):
                return
            tally = self._last.total
            if tally.measured:
                self._total.merge(self._last)
            with self._lock:
                self._number += 1
                second = second_of(tally, self._start + round(self._options.warmup * 1e9))
                self._kept.append((self._number, second, self._last.to_bytes()))
                self._state = self._told()
            self._tell_loop()

    def _told(self, failure: str = "") -> Told:
        total, shares = self._total, self._shares
        ends = [share.ended_at for share in shares]
        lasted = total.total.ended_at - total.total.began_at
        lateness = total.total.lateness
        late_ns = round(self._options.late_after * 1e9)
        known = [at for at in ends if at is not None]
        peers = [share.peer for share in shares if share.peer[1]]
        return Told(
            parts=[],
            counts=total.total.counts(),
            under_way={name: under_way(tally) for name, tally in tallies(total).items()},
            begun=(total.iterations or total.total).counts()["scheduled"],
            late=1 - share_up_to(lateness, late_ns) if lateness and lateness.count else 0.0,
            cpu=[share.cpu for share in shares],
            busiest=max(share.cpu for share in shares) / lasted if lasted > _TOO_SHORT else 0.0,
            http=max(share.http for share in shares),
            peer=peers[0] if peers else ("", 0),
            ended_at=max(known) - self._start if len(known) == len(ends) else None,
            over=self._over,
            unheard=self._unheard,
            failure=failure,
        )


def second_of(tally: Tally, measured_from: int) -> int:
    """The second of the measured part that an interval is of; before it they are negative.

    Ticks come late, never early, so a little more than when it began.
    """
    second = (tally.began_at - measured_from + 100_000_000) // 1_000_000_000
    return second if tally.measured else min(second, -1)


# --- what is called from the coordinator ----------------------------------------------------------

_parts: dict[str, Part] = {}


def _is_news(record: logging.LogRecord) -> bool:
    """dask writes to its log whenever it was asked to carry something out: once a second here."""
    return "out-of-band" not in record.msg or record.args not in _OURS


async def hello() -> bytes:
    """A `Hello`."""
    logging.getLogger("distributed.worker").addFilter(_is_news)
    return msgspec.msgpack.encode(
        Hello(VERSION, TALLY_VERSION, platform_name(), socket.gethostname())
    )


def platform_name() -> str:
    """Of the system and the processor."""
    return f"{sys.platform} {platform.machine()}"


async def probe() -> int:
    """This machine's clock."""
    return clock()


async def prepare(run: str, options: Options, files: Files, index: int, of: int) -> None:
    """Makes the shares of a run: those of process `index` of so many. One run at a time."""
    for name, part in [*_parts.items()]:
        if part.idle:
            _parts.pop(name).close()
    if _parts:
        raise Refused("it carries out another run")
    _parts[run] = Part(options, files, index, of)


async def begin(run: str, start_ns: int) -> int:
    """How many ns ahead `start_ns` was; then it begins at that."""
    return _part(run).begin(start_ns)


async def tell(run: str, arrived: int) -> bytes:
    """A `Told`."""
    return msgspec.msgpack.encode(await _part(run).tell(arrived))


async def set_rate(run: str, rate: float, at_ns: int) -> None:
    """See `Share`."""
    _part(run).set_rate(rate, at_ns)


async def stop(run: str) -> None:
    """See `Share`."""
    _part(run).stop()


async def drop(run: str) -> None:
    """Nothing is asked of it any more."""
    part = _parts.pop(run, None)
    if part is not None:
        part.close()


def _part(run: str) -> Part:
    part = _parts.get(run)
    if part is None:
        raise Refused(f"it knows nothing of the run: it was started anew (process {os.getpid()})")
    return part


_OURS: Final = tuple((one.__name__,) for one in (probe, tell))
