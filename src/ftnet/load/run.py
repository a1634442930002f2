"""A run of load: what its shares have counted, gathered once a second."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

from ftcore.load import clock
from ftnet.load.books import Books
from ftnet.load.observer import Observer
from ftnet.load.options import RATE_OPTIONS, Options
from ftnet.load.report import Course, interval_of, result_of
from ftnet.load.result import Interval, Result, Snapshot, Worker
from ftnet.load.share import Share, share_of
from ftnet.options import merge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ftnet.plan.model import Plan

__all__ = ["Run", "run", "start"]

_EVERY: Final = 1.0  # s of an interval
_PROTOCOLS: Final = ("", "http/1.1", "h2", "h3")


def run(target: str | Plan, /, *, observers: Sequence[Observer] = (), **options: Any) -> Result:
    """Sends requests to a URL, or carries a plan out, as `options` say; returns what was found.

    A plan (`ftnet.plan.read`) says itself what is done, and how much of it; what can be given in
    its place is named in `Options.of_plan`.

    `observers` are told of each interval while the run goes (`ftnet.load.observer`).

    The options are those of `Options`, and the settings of a Client that are named in
    `ftnet.load.options.CLIENT_NAMES` (``verify=False``, ``proxy=...``). Raises TypeError or
    ValueError for an option that can't be, naming it, before anything is sent, and OSError where
    the system gives no descriptors to begin with. Whatever happens after that is in the result.

    Ctrl-C (KeyboardInterrupt) ends the run like `Run.stop`: the result so far is returned, with
    ``interrupted`` True. A second one is raised.
    """
    started = start(target, observers=observers, **options)
    try:
        return started.result()
    except KeyboardInterrupt:
        started.stop()
        return started.result()
    finally:
        started.stop()


def start(target: str | Plan, /, *, observers: Sequence[Observer] = (), **options: Any) -> Run:
    """As `run`, but returns at once: ``await`` what it returns, or ask its ``result()``."""
    return Run(_asked(target, options), observers=observers)


def _asked(target: str | Plan, options: dict[str, Any]) -> Options:
    if not isinstance(target, str):
        from ftnet.plan.model import Plan

        if isinstance(target, Plan):
            return Options.of_plan(target, **options)
    return Options.of(target, **options)


class Run:
    """A run under way. All methods may be called from any thread.

    Awaiting it gives the `Result`, on any asyncio loop; an await that is cancelled leaves the run
    alone.
    """

    ahead = 0.005  #: s in which all shares are up, so that they begin together
    rate_ahead = 0.002  #: s in which all shares know of another rate
    after = 0.02  #: s after the end of an interval when it is fetched

    def __init__(
        self,
        options: Options,
        shares: Sequence[Share] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        """`shares`: those that carry it out; without, as many as `options` say, in threads."""
        self.options = options
        self._observers = observers
        self._lock = threading.Lock()  # of all below
        self._total = Books()
        self._last = Books()
        self._intervals: list[Interval] = []
        self._result: Result | None = None
        self._failure: BaseException | None = None
        self._over = threading.Event()
        self._callbacks: list[Callable[[], object]] = []
        self._shares = _in_threads(options) if shares is None else shares
        self._epoch, self._began = time.time(), clock()
        self._start = self._began + round(self.ahead * 1e9)
        for share in self._shares:
            share.begin(self._start)
        self._gatherer = threading.Thread(target=self._gather, name="ftnet-load", daemon=True)
        self._gatherer.start()

    # --- what callers ask ---------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self._over.is_set()

    def snapshot(self) -> Snapshot:
        """What was found until the end of the last interval; the engine is not disturbed."""
        with self._lock:
            last = self._intervals[-1] if self._intervals else None
            elapsed = last.at if last else 0.0
            total = self._result or self._so_far()
        return Snapshot(elapsed, not (last and last.measured), total, last)

    def set_rate(self, rate: float) -> None:
        """From now on (in `rate_ahead`) `rate` requests a second are due; stages to come are gone.

        What was due before stays due. RuntimeError in the closed model, which has no rate;
        TypeError or ValueError for what is no rate.
        """
        checked = merge("set_rate", {"rate": rate}, RATE_OPTIONS)["rate"]
        if not self.options.open_model:
            raise RuntimeError("load: there is no rate to change in the closed model")
        at = clock() + round(self.rate_ahead * 1e9)
        for share in self._shares:
            share.set_rate(checked, at)

    def stop(self) -> None:
        """Ends the run as its duration would: nothing new is sent, what is under way gets its
        grace, and then the result is there, `interrupted`. Does nothing when the end has come.
        """
        for share in self._shares:
            share.stop()

    def result(self, timeout: float | None = None) -> Result:
        """Waits for the result, `timeout` seconds at most. TimeoutError: it is not there yet."""
        if not self._over.wait(timeout):
            raise TimeoutError("load: the run is not over")
        if self._failure is not None:
            raise self._failure
        assert self._result is not None
        return self._result

    def __await__(self) -> Generator[Any, None, Result]:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[None] = loop.create_future()
        self._when_over(lambda: _tell(loop, told))
        yield from told
        return self.result()

    def _when_over(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if not self._over.is_set():
                self._callbacks.append(callback)
                return
        callback()

    # --- the gatherer -------------------------------------------------------------------------

    def _gather(self) -> None:
        """One interval after the other; then the result."""
        at = self._start / 1e9 + _EVERY + self.after
        try:
            started = self._epoch + (self._start - self._began) / 1e9
            self._notify(lambda one: one.begun(self.options, started))
            while not self._ended(at):
                at += _EVERY
                self._fetch()
                if any(share.failure for share in self._shares):
                    self.stop()
            self._fetch()
            failures = [self._failure, *(share.failure for share in self._shares)]
            self._failure = next(filter(None, failures), None)
            with self._lock:
                result = self._so_far()
            self._notify(lambda one: one.ended(result))
            with self._lock:
                self._result = result
        except BaseException as error:
            self._failure = self._failure or error
            raise
        finally:
            for share in self._shares:
                share.close()
            with self._lock:
                self._over.set()
                callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback()

    def _ended(self, at: float) -> bool:
        """Waits until `at`, or the end of all shares. True: that has come."""
        return all(share.join(max(0.0, at - clock() / 1e9)) for share in self._shares)

    def _fetch(self) -> None:
        """What the shares have laid ready, as more intervals."""
        while self._fetch_one():
            pass

    def _fetch_one(self) -> bool:
        with self._lock:
            self._last.reset()
            ready = [share.collect(self._last) for share in self._shares]
            if not any(ready):
                return False
            if self._last.total.measured:
                self._total.merge(self._last)
            interval = interval_of(self._last.total, self._start)
            self._intervals.append(interval)
        self._notify(lambda one: one.gathered(interval, self._last))
        return True

    def _notify(self, told: Callable[[Observer], None]) -> None:
        """Without the lock: whoever asks for a snapshot does not wait for a slow disk."""
        try:
            for observer in self._observers:
                told(observer)
        except BaseException as error:  # comes out of the result
            self._failure, self._observers = error, ()
            self.stop()

    def _so_far(self) -> Result:
        began = self._start + round(self.options.warmup * 1e9)
        ends = [share.ended_at for share in self._shares]
        end = max([clock() if at is None else at for at in ends])
        if not all(share.join(0) for share in self._shares):
            end = min(end, self._total.total.ended_at)
        address, port = self._shares[0].peer
        course = Course(
            started=self._epoch + (began - self._began) / 1e9,
            warmup=self.options.warmup,
            duration=max(0.0, (end - began) / 1e9),
            interrupted=any(share.stopped for share in self._shares),
            cpu_workers=self._cpu(),
            protocol=_PROTOCOLS[max(share.http for share in self._shares)],
            peer=f"[{address}]:{port}" if ":" in address else f"{address}:{port}" if port else "",
            workers=self._workers(),
        )
        return result_of(self.options, self._total, self._intervals, course)

    def _cpu(self) -> tuple[float, ...]:
        """Seconds of each thread that drives a share."""
        return tuple([share.cpu / 1e9 for share in self._shares])

    def _workers(self) -> tuple[Worker, ...]:
        """Of a cluster."""
        return ()


def _in_threads(options: Options) -> list[Share]:
    """The shares of a run on this machine. OSError: no descriptors for one of them."""
    made: list[Share] = []
    try:
        for index in range(options.workers):
            made.append(share_of(options, index, options.workers))
    except BaseException:
        for share in made:
            share.close()
        raise
    return made


def _tell(loop: asyncio.AbstractEventLoop, told: asyncio.Future[None]) -> None:
    def settle() -> None:
        if not told.done():
            told.set_result(None)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        return  # the loop was closed: nobody waits there any more
