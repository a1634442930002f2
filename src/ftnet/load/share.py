"""Shares of a run: what drives a part of the load, and hands over what it has counted."""

from __future__ import annotations

import threading
from typing import Protocol

from ftcore.engine import Engine
from ftnet.load.books import Books
from ftnet.load.options import Options
from ftnet.load.plan import make_load

__all__ = ["LoadShare", "Share", "share_of"]


class Share(Protocol):
    """A part of a run. `begin` once, `close` last; times are ns on `ftcore.load.clock`.

    All may be called from any thread, but `collect` from one at a time.
    """

    def begin(self, start_ns: int) -> None:
        """Once: at `start_ns`, a few ms ahead, the run begins. Returns at once."""

    def set_rate(self, rate: float, at_ns: int) -> None:
        """From `at_ns` on `rate` a second, of all shares, are due. Nothing once it is over."""

    def stop(self) -> None:
        """Nothing new is begun from now on; what is under way gets its grace."""

    def collect(self, books: Books) -> bool:
        """Adds the next interval (a second, or what is left) that was not fetched yet.

        False: there is none. When the share is over, the last of them is there.
        """

    def join(self, timeout: float) -> bool:
        """Waits for its end, `timeout` s at most. True: it is over."""

    def close(self) -> None:
        """Gives back what it has, also when it was never begun. Only when it is over."""

    @property
    def failure(self) -> BaseException | None:
        """What broke it, which is no failure of a request: the run ends with it."""

    @property
    def ended_at(self) -> int | None:
        """When the measured part ended, or will; None: not known yet."""

    @property
    def stopped(self) -> bool:
        """Whether it was stopped before its end."""

    @property
    def http(self) -> int:
        """1, 2 or 3: the version of the last response; 0: there was none."""

    @property
    def peer(self) -> tuple[str, int]:
        """(address, port) that the last connection was made to; ("", 0): there was none."""

    @property
    def cpu(self) -> int:
        """ns of CPU in the measured part, as far as it was collected."""


def share_of(options: Options, index: int, of: int) -> Share:
    """Share `index` of so many of what the options say. OSError: no descriptors for it."""
    if options.plan is not None:
        from ftnet.plan.share import PlanShare

        return PlanShare(options, index, of)
    return LoadShare(options, index, of)


class LoadShare:
    """Requests to one URL: an engine, and a thread that drives it. OSError: no descriptors."""

    def __init__(self, options: Options, index: int, of: int) -> None:
        self.failure: BaseException | None = None
        self._engine = Engine()
        try:
            self._load = make_load(options, self._engine, index, of)
        except BaseException:
            self._engine.close()
            raise
        self._thread = threading.Thread(target=self._drive, name=f"ftnet-load-{index}", daemon=True)

    def begin(self, start_ns: int) -> None:
        self._load.begin(start_ns)
        self._thread.start()

    def set_rate(self, rate: float, at_ns: int) -> None:
        self._load.set_rate(rate, at_ns)

    def stop(self) -> None:
        self._load.stop()

    def collect(self, books: Books) -> bool:
        return self._load.collect(books.total)

    def join(self, timeout: float) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self) -> None:
        if self._thread.ident is None:
            del self._load  # what it has is of the engine
            self._engine.close()

    @property
    def ended_at(self) -> int | None:
        return self._load.ended_at

    @property
    def stopped(self) -> bool:
        return self._load.stopped

    @property
    def http(self) -> int:
        return self._load.http

    @property
    def peer(self) -> tuple[str, int]:
        return self._load.peer

    @property
    def cpu(self) -> int:
        return self._load.cpu

    def _drive(self) -> None:
        try:
            while self._engine.tasks:
                self._engine.poll()
        except BaseException as error:  # told to whoever asks for the result
            self.failure = error
        finally:
            self._engine.close()
