"""What holds for every task, whatever servers and callers do: hypothesis draws what they do.

PLAYS is how many plays each test draws; more than the suite's need a while: FTNET_PLAYS=5000.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import ftnet as ft
from tests.origins import Origin
from tests.plays import Act, Ask, Driver, perform
from tests.profiles import MOMENTS as NAMES
from tests.profiles import check_sum, profile_of
from tests.servers.scripted import Answer, Greeting, Stage
from tests.servers.websocket import Loop, tls_context

PLAYS = int(os.environ.get("FTNET_PLAYS", "0"))
LONG = PLAYS > 0


def plays(count: int) -> settings:
    """Settings of a test: the same plays every time, unless a number of them was asked for.

    A play depends on time, so a failure is told as it was found: nothing is shrunk.
    """
    return settings(
        max_examples=PLAYS or count,
        derandomize=not LONG,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


MOMENTS = st.sampled_from((0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02))
ACTS = st.builds(
    Act,
    does=st.sampled_from(("abort", "pause", "pause")),
    when=st.one_of(st.sampled_from(("call", "headers", "chunk")), MOMENTS),
    lasts=MOMENTS,
)
ASKS = st.builds(
    Ask,
    method=st.sampled_from(("GET", "GET", "HEAD", "POST", "POST", "PUT")),
    size=st.sampled_from((0, 10, 100_000, 1_500_000)),
    chunked=st.booleans(),
    timeout=st.sampled_from((60_000,) * 6 + (1, 3, 10, 30)),
    acts=st.one_of(st.just(()), st.lists(ACTS, max_size=3).map(tuple)),
)
DRIVERS: st.SearchStrategy[Driver] = st.sampled_from(("asyncio", "thread"))
LIMITS = st.sampled_from((1, 2, 100))  # connections at a time

ANSWERS = st.builds(
    Answer,
    wait=MOMENTS,
    interim=st.sampled_from((0, 0, 0, 1, 3)),
    framing=st.sampled_from(("length", "length", "chunked", "close")),
    size=st.sampled_from((0, 1, 5000, 300_000)),
    pieces=st.sampled_from(((65536,), (65536,), (1,) * 12 + (65536,), (9, 1, 100, 65536))),
    pace=st.sampled_from((0.0, 0.0, 0.001)),
    early=st.sampled_from((False, False, True)),
    cut=st.one_of(st.none(), st.none(), st.none(), st.floats(0, 0.999)),
    resets=st.booleans(),
    then=st.sampled_from(("keep", "keep", "keep", "close", "vanish", "trap")),
    hops=st.sampled_from((0, 0, 0, 1, 2)),
)
GREETINGS = st.builds(
    Greeting,
    wait=MOMENTS,
    refuses=st.sampled_from((None,) * 8 + ("fin", "rst")),
)


@dataclass(frozen=True)
class Play:
    """What a scripted server and its client do; the nth request gets the nth answer."""

    rounds: list[list[Ask]]
    answers: list[Answer]
    greetings: list[Greeting]
    driver: Driver
    limit: int

    @property
    def faultless(self) -> bool:
        """Whether the server does nothing that may make a request fail."""
        return not (
            any(answer.faulty for answer in self.answers)
            or any(greeting.refuses for greeting in self.greetings)
        )


@st.composite
def scripted_plays(draw: st.DrawFn) -> Play:
    rounds = draw(st.lists(st.lists(ASKS, min_size=1, max_size=4), min_size=1, max_size=3))
    asks = iter(range(sum(map(len, rounds))))
    numbered = [[replace(ask, path=f"/{next(asks)}") for ask in one] for one in rounds]
    count = sum(map(len, rounds))
    return Play(
        numbered,
        draw(st.lists(ANSWERS, min_size=count, max_size=count)),
        draw(st.lists(GREETINGS, max_size=2)),
        draw(DRIVERS),
        draw(LIMITS),
    )


def check_play(play: Play, stage: Stage, client: ft.Client, loop: Loop) -> None:
    made = perform(client, stage.url, play.rounds, play.driver, loop)
    for one, answer in zip(made, play.answers, strict=True):
        end = one.end(tls=stage.tls)
        if play.faultless and one.ask.undisturbed:
            assert not isinstance(end, ft.FtError), repr(end)
        if not isinstance(end, ft.FtError):
            assert end.statusCode == 200
            whole = b"" if one.ask.method == "HEAD" else answer.body
            unframed = answer.framing == "close" and answer.cut is not None
            assert one.body == whole or (unframed and whole.startswith(one.body))
        if one.ask.method == "POST":  # one that came may have had its effect
            paths = [one.ask.path, *(f"{one.ask.path}/{hop + 1}" for hop in range(answer.hops))]
            assert max(stage.arrivals[path] for path in paths) <= 1, stage.arrivals


@given(
    moments=st.lists(st.integers(0, 10_000_000), min_size=len(NAMES), max_size=len(NAMES)),
    missing=st.sets(st.sampled_from(NAMES[1:])),
    later=st.integers(0, 10_000_000),
)
def test_durations_add_up_whatever_was_reached_and_when(
    moments: list[int], missing: set[str], later: int
) -> None:
    at = {**dict(zip(NAMES, moments, strict=True)), "queueStart": 0}
    reached = {name: us for name, us in at.items() if name not in missing}
    ended = max(reached.values()) + later
    assert check_sum(profile_of(reached, ended=ended))["total"] == ended


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_whatever_a_server_does(tls: bool, socket_loop: Any, certificates: Any) -> None:
    context = tls_context(certificates.good) if tls else None

    @plays(150)
    @given(scripted_plays())
    def check(play: Play) -> None:
        with (
            Stage(socket_loop, play.answers, play.greetings, context) as stage,
            ft.Client(
                ca=str(certificates.ca), trust_env=False, max_connections_per_host=play.limit
            ) as client,
        ):
            check_play(play, stage, client, socket_loop)

    check()


PATHS = st.one_of(
    st.builds(
        "/delay?before={}&between={}&chunks={}".format,
        st.integers(0, 15),
        st.integers(0, 3),
        st.integers(1, 4),
    ),
    st.builds("/bytes/{}".format, st.sampled_from((0, 1, 20_000, 1_000_000))),
    st.builds("/redirect/{}".format, st.integers(1, 3)),
    st.sampled_from(("/hello", "/gzip", "/echo", "/upload?rate=0", "/upload?rate=50000000")),
)


def asks_of(origin: Origin) -> st.SearchStrategy[Ask]:
    """Requests to a real server, without what libcurl itself fails in, if seldom.

    Over h2 about one pause in some thousands is never over, its stream stands still. Over h3 a
    body that is answered or aborted before its end may fail with nghttp3's ERR_CALLBACK_FAILURE,
    and soon after that an assertion of ngtcp2's (PPE_PENDING) ends the process.
    """

    def fit(ask: Ask, path: str) -> Ask:
        if origin.name in ("h2", "h3"):
            ask = replace(ask, acts=tuple(act for act in ask.acts if act.does != "pause"))
        if origin.name == "h3":
            ask = replace(ask, method="HEAD" if ask.method == "HEAD" else "GET")
        return replace(ask, path=path)

    return st.builds(fit, ASKS, PATHS)


def test_whatever_a_caller_does(origin: Origin, socket_loop: Any) -> None:
    rounds = st.lists(st.lists(asks_of(origin), min_size=1, max_size=6), min_size=1, max_size=3)

    @plays(60)
    @given(rounds, DRIVERS, LIMITS)
    def check(rounds: list[list[Ask]], driver: Driver, limit: int) -> None:
        with origin.client(max_connections_per_host=limit) as client:
            for one in perform(client, origin.base, rounds, driver, socket_loop):
                end = one.end(tls=origin.tls)
                if one.ask.undisturbed:
                    assert not isinstance(end, ft.FtError), repr(end)

    check()
