"""What a worker of a load run counts: the kernel by itself, and several added up."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcore.tally import CLASS_NAMES, COUNT_NAMES, SPAN_NAMES, Tally
from ftnet.load.result import CLASSES, PHASES, Counts
from tests.kernels import SOURCES, Kernels, build_kernels

LIMIT = 2**42  # ns, the first without a slot
KINDS = 32

DECLARED = """
typedef ... tally;
tally *tally_new(void);
void tally_free(tally *t);
void tally_reset(tally *t);
void tally_record(tally *t, int class, const int64_t *spans);
void tally_late_by(tally *t, int64_t ns);
void tally_failure(tally *t, int outcome, long os_errno, const char *detail, uint64_t count);
void tally_add(tally *t, const tally *other);
int class_of(int status);
uint64_t values(const tally *t, int span, int class);
uint64_t total(const tally *t, int span, int class);
uint64_t late(const tally *t);
int kinds(const tally *t);
uint64_t kind(const tally *t, int i, int *outcome, long *os_errno, const char **detail);
"""
WRAPPED = f"""
#include "{SOURCES}/histogram.c"
#include "{SOURCES}/tally.c"
int class_of(int status) {{ return tally_class(status); }}
static const histogram *at(const tally *t, int span, int class) {{ return t->spans[span][class]; }}
uint64_t values(const tally *t, int span, int class) {{
  return at(t, span, class) ? at(t, span, class)->count : 0;
}}
uint64_t total(const tally *t, int span, int class) {{
  return at(t, span, class) ? at(t, span, class)->sum_low : 0;
}}
uint64_t late(const tally *t) {{ return t->lateness ? t->lateness->count : 0; }}
int kinds(const tally *t) {{ return t->kind_count; }}
uint64_t kind(const tally *t, int i, int *outcome, long *os_errno, const char **detail) {{
  *outcome = t->kinds[i].outcome;
  *os_errno = t->kinds[i].os_errno;
  *detail = t->kinds[i].detail;
  return t->kinds[i].count;
}}
"""
RECORDED = st.tuples(
    st.integers(0, 5), st.lists(st.integers(-1, LIMIT - 1), min_size=9, max_size=9)
)
FAILED = st.tuples(st.integers(-20, 20), st.integers(0, 3), st.integers(1, 5))


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    made = build_kernels(
        tmp_path_factory.mktemp("kernel"), more=WRAPPED, flags=["-Wall", "-Werror"]
    )
    made.ffi.cdef(DECLARED)
    return made


def new(kernels: Kernels) -> Any:
    return kernels.ffi.gc(kernels.lib.tally_new(), kernels.lib.tally_free)


def seen(kernels: Kernels, t: Any) -> dict[tuple[int, int], tuple[int, int]]:
    """(count, sum) of each span and class that has values."""
    lib = kernels.lib
    every = ((span, kind) for span in range(9) for kind in range(6))
    return {at: (lib.values(t, *at), lib.total(t, *at)) for at in every if lib.values(t, *at)}


def failures(kernels: Kernels, t: Any) -> Counter[tuple[int, int]]:
    ffi, found = kernels.ffi, Counter[tuple[int, int]]()
    outcome, os_errno, detail = ffi.new("int *"), ffi.new("long *"), ffi.new("char **")
    for i in range(kernels.lib.kinds(t)):
        count = kernels.lib.kind(t, i, outcome, os_errno, detail)
        found[outcome[0], os_errno[0]] += count
    return found


@settings(max_examples=60, deadline=None)
@given(
    recorded=st.lists(RECORDED, max_size=30),
    failed=st.lists(FAILED, max_size=30),
    parts=st.integers(1, 4),
)
def test_several_added_up_are_one_that_counted_all(
    kernels: Kernels, recorded: list[Any], failed: list[Any], parts: int
) -> None:
    lib, ffi = kernels.lib, kernels.ffi
    whole, sum_of = new(kernels), new(kernels)
    shares = [new(kernels) for _ in range(parts)]
    expected: dict[tuple[int, int], tuple[int, int]] = {}
    for i, (kind, spans) in enumerate(recorded):
        for t in (whole, shares[i % parts]):
            lib.tally_record(t, kind, ffi.new("int64_t[]", spans))
            lib.tally_late_by(t, i)
        for span, ns in enumerate(spans):
            if ns >= 0:
                count, total = expected.get((span, kind), (0, 0))
                expected[span, kind] = count + 1, total + ns
    for i, (outcome, os_errno, count) in enumerate(failed):
        for t in (whole, shares[i % parts]):
            lib.tally_failure(t, outcome, os_errno, b"why", count)
    for share in shares:
        lib.tally_add(sum_of, share)
    assert seen(kernels, whole) == seen(kernels, sum_of) == expected
    assert lib.late(whole) == lib.late(sum_of) == len(recorded)
    told = sum(failures(kernels, whole).values())
    assert told == sum(failures(kernels, sum_of).values()) == sum(one[2] for one in failed)
    if len({one[:2] for one in failed}) < KINDS:
        assert failures(kernels, whole) == failures(kernels, sum_of)
    lib.tally_reset(sum_of)
    assert not seen(kernels, sum_of)
    assert not failures(kernels, sum_of)


def test_more_kinds_than_there_is_room_for_are_one(kernels: Kernels) -> None:
    t = new(kernels)
    for outcome in range(100):
        kernels.lib.tally_failure(t, outcome, 0, b"x" * 500, 2)
    found = failures(kernels, t)
    assert len(found) == KINDS
    assert sum(found.values()) == 200
    assert found[KINDS - 1, 0] == (100 - KINDS + 1) * 2


@pytest.mark.parametrize(
    ("status", "kind"), [(100, 1), (199, 1), (200, 2), (404, 4), (599, 5), (600, 5), (999, 5)]
)
def test_classes(kernels: Kernels, status: int, kind: int) -> None:
    assert kernels.lib.class_of(status) == kind


def test_names_are_those_of_the_kernel() -> None:
    text = (SOURCES / "tally.h").read_text()

    def named(first: str, end: str) -> list[str]:
        part = text[text.index(first) : text.index(end)]
        return [
            line.split("TALLY_")[1].split(",")[0].lower()
            for line in part.splitlines()
            if "TALLY_" in line
        ]

    assert named("TALLY_QUEUE", "  TALLY_SPANS") == [*SPAN_NAMES]
    counts = [
        "failed" if one == "failures" else one for one in named("TALLY_SCHEDULED", "  TALLY_COUNTS")
    ]
    assert counts == [*COUNT_NAMES]
    assert set(CLASSES) == set(CLASS_NAMES)
    assert set(PHASES) < set(SPAN_NAMES)
    assert set(Counts.__dataclass_fields__) == set(COUNT_NAMES) - {"unrecorded"}


def test_an_empty_one_says_so() -> None:
    tally = Tally()
    assert not any(tally.counts().values())
    assert tally.statuses() == {}
    assert tally.failures() == []
    assert tally.histograms("total") == {}
    assert tally.lateness is None
    assert not tally.measured
    with pytest.raises(ValueError, match="'nothing'"):
        tally.histograms("nothing")
