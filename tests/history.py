"""What a task reported, in the order it did, and the rules every such history obeys.

The rules: `success` or `fail`, never both, once; then `complete`, once, with the same object, and
nothing after it; headers at most once and before the first chunk. A `History` is handed to a
request as its callbacks and asked afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ftnet as ft
from tests.profiles import ORDER, check_sum

LIMIT = 20.0  # seconds to wait for an end that a test does not bound by itself

# For each phase: what must have been reached when a task died in it, and what must not.
REACHED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "queue": (("queueStart",), ORDER[1:]),
    "dns": (("domainLookUpStart",), ORDER[2:]),
    "connect": (("connectStart",), ORDER[4:]),
    "tls": (("connectStart", "SSLconnectionStart"), ORDER[5:]),
    "send": (("connectEnd", "requestStart"), ("responseStart", "responseEnd")),
    "wait": (("connectEnd", "requestStart", "requestEnd"), ("responseStart", "responseEnd")),
    # bytes came, but not one whole line: whether that is a start of the response is the engine's
    "line": (("connectEnd", "requestStart", "requestEnd"), ("responseEnd",)),
    "body": (("connectEnd", "requestStart", "requestEnd", "responseStart"), ("responseEnd",)),
}


class History:
    """Callbacks that write down what they were called with."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.threads: set[int] = set()
        self.ended = threading.Event()

    def callbacks(self) -> dict[str, Callable[[Any], None]]:
        return {name: self._note(name) for name in ("success", "fail", "complete")}

    def listen(self, task: ft.RequestTask) -> None:
        task.onHeadersReceived(self._note("headers"))
        task.onChunkReceived(self._note("chunk"))

    def _note(self, name: str) -> Callable[[Any], None]:
        def note(result: Any) -> None:
            self.events.append((name, result))
            self.threads.add(threading.get_ident())
            if name == "complete":
                self.ended.set()

        return note

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    def wait(self, limit: float = LIMIT) -> History:
        assert self.ended.wait(limit), f"no end within {limit} s, only {self.names}"
        return self

    def end(self) -> Any:
        """The result or error the task ended with; asserts that it ended by the rules."""
        names = self.names
        assert names.count("complete") == 1, names
        assert names.count("success") + names.count("fail") == 1, names
        assert names.count("headers") <= 1, names
        assert names[-1] == "complete", names
        assert names[-2] in ("success", "fail"), names
        assert "headers" not in names or names.index("headers") == 0, names
        assert self.events[-1][1] is self.events[-2][1], "complete got another object"
        return self.events[-1][1]

    def error(self) -> ft.FtError:
        end = self.end()
        assert self.names[-2] == "fail", f"succeeded with {end!r}"
        assert isinstance(end, ft.FtError)
        assert end.errMsg.startswith("request:fail "), end.errMsg
        return end

    def response(self) -> ft.Response:
        end = self.end()
        assert self.names[-2] == "success", f"failed with {end!r}"
        assert end.errMsg == "request:ok"
        return end


def run(client: ft.Client, *requests: dict[str, Any], chunks: bool = False) -> list[History]:
    """Drive these requests to their ends in this thread with `ft.run`."""
    histories = [History() for _ in requests]

    def start() -> None:
        for options, history in zip(requests, histories, strict=True):
            task = client.request({**options, **history.callbacks()})
            if chunks:
                history.listen(task)

    ft.run(start)
    return histories


def timed_out(attempt: Callable[[int], ft.FtError], died_in: str, limit: int = 150) -> ft.FtError:
    """The error of an attempt, given its time limit in ms, that was over in the phase `died_in`.

    One that its limit was too short for, to come that far, on a machine that is busy otherwise is
    followed by one with four times as much.
    """
    must, _ = REACHED[died_in]
    for _ in range(4):
        error = attempt(limit)
        assert error.errno == ft.Errno.TIMEOUT
        if all(getattr(error.profile, name) for name in must):
            break
        limit *= 4
    check_phases(error.profile, died_in)
    return error


def check_phases(profile: ft.Profile, died_in: str) -> None:
    """`profile` has the phases up to `died_in`, in order, and none after it."""
    must, must_not = REACHED[died_in]
    times = {name: getattr(profile, name) for name in ("queueStart", *ORDER)}
    assert all(times[name] > 0 for name in must), (died_in, times)
    assert all(times[name] == 0 for name in must_not), (died_in, times)
    reached = [times[name] for name in ORDER if times[name]]
    assert reached == sorted(reached), times
    check_sum(profile)
