"""Plays: requests of one Client that are made in rounds, and what is done to them on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import ftnet as ft
from ftnet.har import timings
from tests.archives import SUMMED, in_us
from tests.history import History
from tests.profiles import check_invariants
from tests.servers.websocket import Loop

LIMIT = 15.0
Driver = Literal["asyncio", "thread"]


@dataclass(frozen=True)
class Act:
    """What is done to a task: right after the call, at its first event of a kind, or after a time.

    A pause is taken back after ``lasts`` seconds.
    """

    does: Literal["abort", "pause"]
    when: Literal["call", "headers", "chunk"] | float
    lasts: float = 0.0


@dataclass(frozen=True)
class Ask:
    """One request; ``timeout`` in ms."""

    path: str = "/"
    method: str = "GET"
    size: int = 0
    chunked: bool = False
    timeout: int = 60_000
    acts: tuple[Act, ...] = ()

    @property
    def undisturbed(self) -> bool:
        """Whether nothing on the client's side can make it fail."""
        return self.timeout >= 60_000 and all(act.does != "abort" for act in self.acts)


@dataclass
class Performed:
    """A request that was made, and what came of it."""

    ask: Ask
    history: History = field(default_factory=History)
    task: Any = None

    def end(self, *, tls: bool) -> Any:
        """The result or error; asserts the rules of a task's history and profile."""
        end = self.history.end()
        check_invariants(end.profile, tls=tls)
        check_har(end.profile)
        return end

    @property
    def body(self) -> bytes:
        """The response's, of chunks and of what was kept for want of a listener."""
        chunks = [event.data for name, event in self.history.events if name == "chunk"]
        return b"".join(map(bytes, [*chunks, self.history.response().data]))


def check_har(profile: ft.Profile) -> None:
    """What HAR leaves out because it did not take place took no time."""
    spans = timings(profile)
    summed = sum(in_us(spans[name]) for name in SUMMED if spans[name] != -1)
    assert summed == in_us(profile.durations["total"]), (profile, spans)


Later = Callable[[float, Callable[[], object]], object]


def _perform(client: ft.Client, base: str, ask: Ask, later: Later) -> Performed:
    made = Performed(ask)
    body = {} if ask.method in ("GET", "HEAD") else {"data": bytes(ask.size)}
    made.task = task = client.request(
        url=base + ask.path,
        method=ask.method,
        enableChunked=ask.chunked,
        timeout=ask.timeout,
        responseType="arraybuffer",
        **body,
        **made.history.callbacks(),
    )
    for act in ask.acts:
        _plan(task, act, later)
    made.history.listen(task)
    return made


def _plan(task: ft.RequestTask, act: Act, later: Later) -> None:
    done = False

    def do(*_: object) -> None:
        nonlocal done
        if done:
            return
        done = True
        if act.does == "abort":
            task.abort()
        else:
            task.pause()
            later(act.lasts, task.resume)

    if act.when == "call":
        do()
    elif act.when == "headers":
        task.onHeadersReceived(do)
    elif act.when == "chunk":
        task.onChunkReceived(do)
    else:
        later(act.when, do)


def perform(
    client: ft.Client, base: str, rounds: Sequence[Sequence[Ask]], driver: Driver, loop: Loop
) -> list[Performed]:
    """Make the requests, each round when the one before is over; ``loop`` times what is done."""
    if driver == "asyncio":
        return asyncio.run(_in_asyncio(client, base, rounds))

    def later(seconds: float, do: Callable[[], object]) -> None:
        loop.soon(lambda: loop.loop.call_later(seconds, do))

    made: list[Performed] = []
    for asks in rounds:
        begun = [_perform(client, base, ask, later) for ask in asks]
        for one in begun:
            one.history.wait(LIMIT)
        made += begun
    return made


async def _in_asyncio(
    client: ft.Client, base: str, rounds: Sequence[Sequence[Ask]]
) -> list[Performed]:
    later = asyncio.get_running_loop().call_later
    made: list[Performed] = []
    for asks in rounds:
        begun = [_perform(client, base, ask, later) for ask in asks]
        for one in begun:
            with contextlib.suppress(ft.FtError):  # the history has it
                await asyncio.wait_for(_end_of(one.task), LIMIT)
        made += begun
    return made


async def _end_of(task: ft.RequestTask) -> object:
    return await task
