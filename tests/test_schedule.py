"""The kernel that says when requests are due, against exact arithmetic and statistics."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import Kernels, build_kernels

SECOND = 10**9
NEVER = 2**63 - 1
START = 123_456_789_012

Stages = Sequence[tuple[int, float, float]]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    more = "int size(void) { return sizeof(schedule); }"
    return build_kernels(
        tmp_path_factory.mktemp("kernel"),
        "schedule",
        more=f'#include "{Path(__file__).parent.parent}/src/ftcore/c/schedule.h"\n{more}',
        flags=["-Wall", "-Wextra", "-Werror"],
    )


class Schedule:
    """One schedule of the kernel's."""

    def __init__(
        self,
        kernels: Kernels,
        stages: Stages = (),
        after: float = 0.0,
        *,
        poisson: bool = False,
        seed: int = 1,
        first: int = 0,
        every: int = 1,
    ) -> None:
        self.lib = kernels.lib
        self.s = kernels.ffi.new("schedule *")
        given = kernels.ffi.new("schedule_stage[]", list(stages) or 1)
        assert not self.lib.schedule_init(
            self.s, given, len(stages), after, START, poisson, seed, first, every
        )
        self.s = kernels.ffi.gc(self.s, self.lib.schedule_free)

    @property
    def due(self) -> int:
        return int(self.s.due) - START if self.s.due != NEVER else NEVER

    def take(self, count: int) -> list[int]:
        out = []
        for _ in range(count):
            out.append(self.due)
            self.lib.schedule_take(self.s)
        return out

    def until(self, ns: int) -> list[int]:
        out = []
        while self.due < ns:
            out += self.take(1)
        return out

    def set_rate(self, at: int, rate: float) -> None:
        assert not self.lib.schedule_set_rate(self.s, START + at, rate)


def due_by(stages: Stages, after: float, ns: int) -> Fraction:
    """How many are due before `ns`, exactly."""
    total = Fraction(0)
    for length, start, end in stages:
        part = min(ns, length)
        slope = (Fraction(end) - Fraction(start)) / length
        total += (Fraction(start) * part + slope * part * part / 2) / SECOND
        ns -= part
    return total + Fraction(after) * ns / SECOND


@pytest.mark.parametrize("rate", [1.0, 3.0, 7.3, 20_000.0, 1e7])
def test_a_constant_rate_does_not_drift(kernels: Kernels, rate: float) -> None:
    s = Schedule(kernels, after=rate)
    for k in (0, 1, 2, 10, 10**6, 10**9):
        s.s.place = float(k)
        s.s.at = s.s.count
        s.s.due = START
        s.s.place -= 1
        kernels.lib.schedule_take(s.s)
        exact = Fraction(k) * SECOND / Fraction(rate)
        assert abs(s.due - exact) <= max(1, exact / 2**51), k


@settings(max_examples=100, deadline=None)
@given(
    stages=st.lists(
        st.tuples(
            st.integers(1, 20 * SECOND), st.floats(0, 1000).map(abs), st.floats(0, 1000).map(abs)
        ),
        max_size=4,
    ),
    after=st.floats(0.5, 500),
)
def test_the_kth_is_due_when_k_were(kernels: Kernels, stages: Stages, after: float) -> None:
    s = Schedule(kernels, stages, after)
    last = 0
    for k, ns in enumerate(s.take(300)):
        assert ns >= last
        last = ns
        # a few ns to either side, the number due by then is k: the rate is at most 1000
        assert due_by(stages, after, max(0, ns - 1000)) <= k + Fraction(1, 1000)
        assert due_by(stages, after, ns + 1000) >= k - Fraction(1, 1000)


@given(shift=st.integers(0, 10**15), poisson=st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_schedule_begins_when_it_is_told_to(kernels: Kernels, shift: int, poisson: bool) -> None:
    def made() -> Schedule:
        return Schedule(kernels, [(SECOND, 5.0, 50.0)], 20.0, poisson=poisson)

    later = made()
    kernels.lib.schedule_shift(later.s, shift)
    assert [ns - shift for ns in later.take(60)] == made().take(60)
    empty = Schedule(kernels)
    kernels.lib.schedule_shift(empty.s, shift)
    assert empty.due == NEVER


def test_nothing_is_due_when_the_rate_is_none(kernels: Kernels) -> None:
    assert Schedule(kernels).due == NEVER
    s = Schedule(kernels, [(2 * SECOND, 10.0, 0.0)])
    assert len(s.until(NEVER)) == 10
    assert s.due == NEVER


def test_a_ramp_from_nothing_starts_at_once(kernels: Kernels) -> None:
    s = Schedule(kernels, [(10 * SECOND, 0.0, 100.0)], 100.0)
    due = s.until(10 * SECOND)
    assert due[0] == 0
    assert len(due) == 500
    assert due[125] == pytest.approx(5 * SECOND, abs=2)


@settings(max_examples=50, deadline=None)
@given(
    every=st.integers(1, 5),
    poisson=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
    change=st.integers(0, SECOND),
)
def test_shares_are_the_whole(
    kernels: Kernels, every: int, poisson: bool, seed: int, change: int
) -> None:
    def one(first: int, every: int) -> list[int]:
        stages = [(SECOND // 2, 20.0, 200.0)]
        s = Schedule(kernels, stages, 100.0, poisson=poisson, seed=seed, first=first, every=every)
        s.set_rate(change, 77.0)
        return s.until(2 * SECOND)

    assert sorted(ns for i in range(every) for ns in one(i, every)) == one(0, 1)


@settings(max_examples=100, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 10 * SECOND), st.floats(0, 300).map(abs)), max_size=8
    ),
    ahead=st.integers(0, 100),
    poisson=st.booleans(),
)
def test_a_changed_rate_keeps_what_was_due(
    kernels: Kernels, changes: list[tuple[int, float]], ahead: int, poisson: bool
) -> None:
    """However far it was looked ahead or behind when the rates changed."""
    changes = sorted(changes)
    stages = [(3 * SECOND, 10.0, 100.0), (SECOND, 100.0, 0.0)]
    eager = Schedule(kernels, stages, 50.0, poisson=poisson)
    lazy = Schedule(kernels, stages, 50.0, poisson=poisson)
    taken: list[int] = []
    for at, rate in changes:
        taken += eager.until(at)
        eager.set_rate(at, rate)
        lazy.set_rate(at, rate)
    taken += eager.until(12 * SECOND)
    assert lazy.until(12 * SECOND) == pytest.approx(taken, abs=3)


def test_a_changed_rate_counts_exactly(kernels: Kernels) -> None:
    s = Schedule(kernels, after=10.0)
    s.set_rate(2 * SECOND, 1000.0)
    s.set_rate(3 * SECOND, 0.0)
    s.set_rate(10 * SECOND, 1.0)
    due = s.until(100 * SECOND)
    assert [sum(a <= ns < b for ns in due) for a, b in _seconds(0, 2, 3, 10, 100)] == [
        20,
        1000,
        0,
        90,
    ]


def _seconds(*bounds: int) -> list[tuple[int, int]]:
    return [(a * SECOND, b * SECOND) for a, b in itertools.pairwise(bounds)]


def test_many_changes_take_no_memory(kernels: Kernels) -> None:
    s = Schedule(kernels, after=1000.0)
    for i in range(1, 10_000):
        s.until(i * SECOND // 1000)
        s.set_rate(i * SECOND // 1000, 1000.0 + i % 7)
        assert s.s.count <= 3


def test_poisson_arrivals_are_poisson(kernels: Kernels) -> None:
    """Exponential gaps, and counts a second whose variance is their mean."""
    rate, n = 1000.0, 200_000
    due = Schedule(kernels, after=rate, poisson=True, seed=42).take(n)
    gaps = [b - a for a, b in zip([0, *due], due, strict=False)]
    mean = sum(gaps) / n
    assert mean == pytest.approx(SECOND / rate, rel=4 / math.sqrt(n))
    # Kolmogorov-Smirnov against the exponential distribution
    ordered = sorted(gaps)
    furthest = max(
        abs((i + 0.5) / n - (1 - math.exp(-gap * rate / SECOND))) for i, gap in enumerate(ordered)
    )
    assert furthest < 1.95 / math.sqrt(n)  # 0.1 %; the seed is fixed
    tenths = [0] * (due[-1] // (SECOND // 10))
    for ns in due:
        if ns // (SECOND // 10) < len(tenths):
            tenths[ns // (SECOND // 10)] += 1
    average = sum(tenths) / len(tenths)
    spread = sum((one - average) ** 2 for one in tenths) / (len(tenths) - 1)
    assert spread / average == pytest.approx(1, abs=5 * math.sqrt(2 / len(tenths)))


def test_a_seed_is_a_schedule(kernels: Kernels) -> None:
    def one(seed: int) -> Any:
        return Schedule(kernels, after=10.0, poisson=True, seed=seed).take(50)

    assert one(7) == one(7)
    assert one(7) != one(8)


def test_a_ramped_poisson_process_has_the_ramps_counts(kernels: Kernels) -> None:
    stages = [(100 * SECOND, 0.0, 1000.0)]
    due = Schedule(kernels, stages, poisson=True, seed=3).until(100 * SECOND)
    for lo, hi in _seconds(0, 25, 50, 75, 100):
        expected = float(due_by(stages, 0, hi) - due_by(stages, 0, lo))
        got = sum(lo <= ns < hi for ns in due)
        assert abs(got - expected) < 4 * math.sqrt(expected)
