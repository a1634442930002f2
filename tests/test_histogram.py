"""Histograms against sorted lists, against exact sums, and against the package hdrhistogram."""

from __future__ import annotations

import base64
import copy
import ctypes
import math
import os
import pickle
import random
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftnet.histogram import Histogram
from tests.histograms import HOUR, payload, text, wrapped

LIMIT = 2**42  # the first value without a slot, in the range up to an hour
COUNTS_AT_MOST = 2**62
RANGES = [(1, HOUR, 3), (1000, HOUR, 3), (1, 2, 1), (7, 14, 5), (3, 10**6, 2), (1, 2**63 - 1, 4)]
RANGES += [(1, 4096, 3)]  # a power of two, where slots might end

#: Around powers of two, where slots become wider, and anywhere.
EDGES = st.builds(lambda bit, by: max(0, 2**bit + by), st.integers(0, 41), st.integers(-2, 2))
VALUES = st.lists(EDGES | st.integers(0, LIMIT - 1), max_size=60).map(
    lambda values: [min(value, LIMIT - 1) for value in values]
)
SOME_VALUES = VALUES.filter(bool)
PERCENTS = st.sampled_from(["0.1", "1", "25", "50", "75", "90", "99", "99.9", "99.99", "100"])


def of(values: list[int], **kind: int) -> Histogram:
    h = Histogram(**kind)
    h.record_many(array("q", values))
    return h


def peer_of(values: list[int], lowest: int = 1, highest: int = HOUR, digits: int = 3) -> Any:
    peer = HdrHistogram(lowest, highest, digits)
    for value in values:
        assert peer.record_value(value)
    return peer


SLOTS = Histogram().values


def lists(h: Histogram) -> list[int]:
    return h.counts.tolist()


# --- recording ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(SOME_VALUES)
def test_count_min_max_sum_and_mean_are_exact(values: list[int]) -> None:
    h = of(values)
    assert h.exact
    assert (h.count, h.min, h.max, h.sum) == (len(values), min(values), max(values), sum(values))
    assert h.mean == sum(values) / len(values)


@settings(deadline=None)
@given(VALUES)
def test_each_value_is_counted_in_the_slot_that_values_tell(values: list[int]) -> None:
    expected = [0] * len(SLOTS)
    for value in values:
        expected[bisect_left(SLOTS, value)] += 1
    assert lists(of(values)) == expected


@settings(deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=60))
def test_one_by_one_is_as_many_at_once(values: list[int]) -> None:
    h = Histogram()
    for value in values:
        h.record(value)
    assert h == of(values)


def test_a_value_several_times() -> None:
    h = Histogram()
    h.record(1234, 3)
    h.record(99, 0)
    assert h == of([1234] * 3)


def test_what_has_no_slot_is_counted_apart() -> None:
    h = of([-1, -(2**63), LIMIT - 1, LIMIT, 2**63 - 1, 5])
    h.record(LIMIT, 10)
    assert (h.below, h.above, h.count) == (2, 12, 2)
    assert (h.min, h.max, h.sum) == (5, LIMIT - 1, LIMIT + 4)


def test_values_beyond_63_bits_are_refused() -> None:
    with pytest.raises(OverflowError):
        Histogram().record(2**63)


def test_the_sum_goes_beyond_64_bits() -> None:
    h = Histogram()
    h.record(LIMIT - 1, 2**22)
    assert h.sum < 2**64
    h.record_many(array("q", [LIMIT - 1] * 3))
    assert h.sum == (LIMIT - 1) * (2**22 + 3) > 2**64
    h.record(LIMIT - 1, 2**40)
    assert h.sum == (LIMIT - 1) * (2**40 + 2**22 + 3)
    assert h.mean == LIMIT - 1


def test_more_counts_than_there_may_be_are_refused_and_nothing_is_recorded() -> None:
    h = Histogram()
    h.record(5, COUNTS_AT_MOST)
    h.record(LIMIT, 0)
    before = h.copy()
    for refused in (
        lambda: h.record(6),
        lambda: h.record(-1),
        lambda: h.record_corrected(100, 1),
        lambda: h.merge(of([7])),
    ):
        with pytest.raises(ValueError, match="more than 2..62 values"):
            refused()
    assert h == before


@pytest.mark.parametrize(
    "values",
    [array("d", [1.0]), array("i", [1]), array("Q", [1]), b"12345678", (ctypes.c_double * 1)()],
)
def test_what_is_not_int64_is_refused(values: Any) -> None:
    with pytest.raises(TypeError, match="int64"):
        Histogram().record_many(values)


def test_gaps_in_an_array_are_refused() -> None:
    with pytest.raises(BufferError):
        Histogram().record_many(memoryview(array("q", range(10)))[::2])


@pytest.mark.parametrize(
    ("highest", "lowest", "digits"),
    [
        (1, 1, 3),
        (100, 0, 3),
        (100, -5, 3),
        (100, 51, 3),
        (100, 1, 0),
        (100, 1, 6),
        (2**63 - 1, 2**61, 3),
        (-1, 1, 3),
    ],
)
def test_ranges_that_are_none(highest: int, lowest: int, digits: int) -> None:
    with pytest.raises(ValueError, match="must hold"):
        Histogram(highest, lowest=lowest, digits=digits)


@pytest.mark.parametrize(("lowest", "highest", "digits"), RANGES)
def test_the_highest_value_has_a_slot_and_no_slot_is_wider_than_the_last_digit(
    lowest: int, highest: int, digits: int
) -> None:
    h = of([highest], highest=highest, lowest=lowest, digits=digits)
    assert (h.count, h.above) == (1, 0)
    assert (h.lowest, h.highest, h.digits) == (lowest, highest, digits)
    before = -1
    for value in h.values:
        assert (value - before - 1) * 10**digits <= before + 1 or value - before <= lowest
        before = value


# --- coordinated omission -------------------------------------------------------------------------


def corrected(value: int, interval: int) -> list[int]:
    """As HdrHistogram has it in Java and in C."""
    missing = range(value - interval, interval - 1, -interval) if interval > 0 else range(0)
    return [value, *missing]


@settings(deadline=None)
@given(
    st.integers(-5, 10**6),
    st.integers(-5, 10**6),
    st.integers(0, 3),
    st.sampled_from([(1, 10**5), (1000, 10**5), (1, 100)]),
)
@example(100, 10, 1, (1, 100))
@example(105, 10, 1, (1, 100))
@example(10, 10, 1, (1, 100))
@example(1000, 7, 1, (1000, 10**5))  # several in the first slot, one below the interval
@example(6300, 2100, 1, (1, 100))  # all beyond the slots, which end at 2048
@example(6310, 2130, 1, (1, 100))
def test_corrected_recording(value: int, interval: int, times: int, span: tuple[int, int]) -> None:
    interval = interval if interval <= 0 else max(interval, value // 2000)
    h = Histogram(span[1], lowest=span[0])
    h.record_corrected(value, interval, times)
    assert h == of(corrected(value, interval) * times, lowest=span[0], highest=span[1])


def test_corrected_recording_takes_no_time_for_each_missing_value() -> None:
    h = Histogram()
    h.record_corrected(HOUR, 1)
    assert (h.count, h.sum, h.min, h.max) == (HOUR, HOUR * (HOUR + 1) // 2, 1, HOUR)


def test_corrected_percentiles_are_the_peers_where_it_counts_the_same() -> None:
    """The port counts a rest below the interval; there is none here."""
    h, peer = Histogram(), HdrHistogram(1, HOUR, 3)
    for value in [10_000] * 99 + [1_000_000]:
        h.record_corrected(value, 10_000)
        peer.record_corrected_value(value, 10_000)
    assert lists(h) == list(peer.counts)


# --- what is in it --------------------------------------------------------------------------------


@settings(deadline=None, max_examples=300)
@given(SOME_VALUES, PERCENTS)
def test_percentiles_are_those_of_the_sorted_list_to_three_digits(
    values: list[int], percent: str
) -> None:
    rank = math.ceil(Fraction(percent) * len(values) / 100)
    exact = sorted(values)[rank - 1]
    told = of(values).percentile(float(percent))
    assert exact <= told < exact + max(1, exact / 1000)


@pytest.mark.parametrize("percent", ["1.1", "33.3", "50", "90", "99", "99.9", "99.99", "99.999"])
@pytest.mark.parametrize("count", [1, 3, 7, 10, 1000, 3000, 10**5, 10**9 + 7, 10**12])
def test_ranks_are_rounded_up_and_not_by_what_floats_add(percent: str, count: int) -> None:
    """One value more than the rank below, so that either neighbour would tell another value."""
    rank = math.ceil(Fraction(percent) * count / 100)
    h = Histogram()
    h.record(10, rank - 1)
    h.record(20)
    h.record(30, count - rank)
    assert h.percentile(float(percent)) == 20


def test_percentiles_at_both_ends() -> None:
    h = of([100_000, 200_000, 300_000])
    assert h.percentile(0) <= 100_000 < h.percentile(0) + 100
    assert h.percentile(100) == h.percentile(99.9999999999) >= 300_000
    assert h.percentile(100) in h.values


def test_the_last_of_more_values_than_floats_tell_apart() -> None:
    h = Histogram()
    h.record(1, 2**60)
    h.record(5)
    assert h.percentile(100) == 5


def test_percentiles_in_the_order_asked() -> None:
    assert of(list(range(1, 101))).percentiles([99, 50, 99]) == [99, 50, 99]


@settings(deadline=None, max_examples=20)  # the peer takes its time
@given(SOME_VALUES, st.sampled_from([(1, HOUR, 3), (1000, HOUR, 3), (1, 2, 1), (3, 10**6, 2)]))
def test_slots_percentiles_and_deviation_are_the_peers(
    values: list[int], kind: tuple[int, int, int]
) -> None:
    lowest, highest, digits = kind
    values = [value % (highest + 1) for value in values]
    values = (values * 100)[:100]  # so that whole percentiles have whole ranks
    h = of(values, highest=highest, lowest=lowest, digits=digits)
    peer = peer_of(values, lowest, highest, digits)
    assert lists(h) == list(peer.counts)
    percents = range(101)
    told = peer.get_percentile_to_value_dict(percents)
    assert h.percentiles(percents) == [told[percent] for percent in percents]
    assert h.stddev == pytest.approx(peer.get_stddev(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ["min", "max", "mean", "stddev"])
def test_nothing_is_told_of_no_values(name: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        getattr(of([-1, LIMIT]), name)


def test_there_is_no_percentile_of_no_values() -> None:
    with pytest.raises(ValueError, match="empty"):
        Histogram().percentile(50)


@pytest.mark.parametrize("percent", [-0.1, 100.1, math.nan, math.inf])
def test_percentiles_that_are_none(percent: float) -> None:
    with pytest.raises(ValueError, match=r"within 0\.\.100"):
        of([1]).percentile(percent)


def test_counts_are_the_histograms_memory() -> None:
    h = Histogram()
    counts = h.counts
    h.record(7, 3)
    assert (counts[7], counts.format, counts.readonly) == (3, "Q", True)
    del h
    assert sum(counts) == 3


def test_counts_and_values_go_together() -> None:
    h = of([1, 5000, 5000, 70_000])
    seen = {value: count for value, count in zip(h.values, h.counts, strict=True) if count}
    assert seen == {1: 1, h.percentile(50): 2, h.percentile(100): 1}


def test_length_and_truth() -> None:
    assert len(of([1, 2, 2])) == 3
    assert not of([-1])


# --- several --------------------------------------------------------------------------------------

ANY_VALUES = st.lists(st.integers(-10, 2**43), max_size=30)


@settings(deadline=None)
@given(ANY_VALUES, ANY_VALUES, ANY_VALUES)
def test_merging_is_exact_in_any_order(a: list[int], b: list[int], c: list[int]) -> None:
    one, other = of(a), of(c)
    one.merge(of(b))
    one.merge(of(c))
    other.merge(of(b))
    other.merge(of(a))
    assert one == other == of(a + b + c)


def test_merging_with_itself() -> None:
    h = of([1, 5000, -1, LIMIT])
    h.merge(h)
    assert h == of([1, 5000, -1, LIMIT] * 2)


@pytest.mark.parametrize("other", [Histogram(10**6), Histogram(lowest=2), Histogram(digits=2)])
def test_other_ranges_are_not_merged(other: Histogram) -> None:
    h = of([1])
    for refused in (h.merge, h.subtract):
        with pytest.raises(ValueError, match="other ranges"):
            refused(other)
    assert h == of([1])


@settings(deadline=None)
@given(ANY_VALUES, ANY_VALUES)
def test_what_is_left_after_subtraction_has_the_later_counts(a: list[int], b: list[int]) -> None:
    h = of(a + b)
    h.subtract(of(a))
    later = of(b)
    assert (lists(h), h.below, h.above) == (lists(later), later.below, later.above)
    if later and any(0 <= value < LIMIT for value in a):
        assert not h.exact
        assert h.percentile(0) <= h.min <= later.min
        assert later.max <= h.max <= h.percentile(100)
        assert h.mean == pytest.approx(later.mean, rel=1e-3)
    else:
        assert h == later


def test_what_is_left_lies_between_the_least_and_the_greatest_value_before() -> None:
    h = of([100_005, 150_000, 200_003])
    h.subtract(of([150_000]))
    assert (h.count, h.min, h.max) == (2, 100_005, 200_003)


def test_what_is_not_a_part_is_not_subtracted() -> None:
    h = of([5, 6, -1])
    for part in ([5, 5], [7], [-1, -1], [LIMIT], [2048, 5]):
        with pytest.raises(ValueError, match="fewer values"):
            h.subtract(of(part))
    assert h == of([5, 6, -1])


def test_a_copy_is_another_one() -> None:
    h = of([1, 5000, -1, LIMIT])
    for other in (h.copy(), copy.copy(h), copy.deepcopy(h)):
        assert other == h
        other.record(3)
        assert other != h
    assert h == of([1, 5000, -1, LIMIT])


def test_reset_leaves_nothing() -> None:
    h = of([1, 5000, LIMIT - 1, -1, LIMIT])
    h.subtract(of([1]))
    h.reset()
    assert h == Histogram()
    assert not any(h.counts)


def test_the_same_counts_of_other_values_are_not_equal() -> None:
    assert of([5000]).counts == of([5001]).counts
    assert of([5000]) != of([5001])
    assert of([1]) != of([1], digits=2)
    assert of([1]) != [1]


def test_it_has_no_hash() -> None:
    with pytest.raises(TypeError):
        hash(Histogram())


@settings(deadline=None)
@given(ANY_VALUES, st.sampled_from(RANGES))
def test_pickling_loses_nothing(values: list[int], kind: tuple[int, int, int]) -> None:
    h = of(values, lowest=kind[0], highest=kind[1], digits=kind[2])
    assert pickle.loads(pickle.dumps(h)) == h
    h.subtract(of(values[::2], lowest=kind[0], highest=kind[1], digits=kind[2]))
    again = pickle.loads(pickle.dumps(h))
    assert again == h
    again.record(0)  # where slots are looked for is known again
    assert again.percentile(0) == 0


@pytest.mark.parametrize("span", [(0, 5000, 1), (5000, 2**63, 1), (2**63, 2**63, 1), (9, 8, 1)])
def test_a_pickle_with_a_span_of_other_slots_is_refused(span: tuple[int, int, int]) -> None:
    restored, (packed, *rest, _) = of([5000]).__reduce__()  # type: ignore[misc]
    with pytest.raises(ValueError, match="not in their slots"):
        restored(packed, *rest, span)  # type: ignore[operator]


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's statm")
def test_memory_does_not_grow() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    chance = random.Random(7)
    values = array("q", (int(LIMIT ** chance.random()) for _ in range(100_000)))
    h = Histogram()
    h.record_many(values)
    h.record_many(array("q", SLOTS))  # every page is touched
    before = resident()
    for _ in range(50):
        h.record_many(values)
    assert resident() - before < 2**20
    assert h.count == 51 * len(values) + len(h.counts)


# --- encodings ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(SOME_VALUES, st.sampled_from(RANGES))
def test_it_is_encoded_to_the_byte_as_by_the_peer(
    values: list[int], kind: tuple[int, int, int]
) -> None:
    lowest, highest, digits = kind
    values = [value % (highest + 1) for value in values]
    h = of(values, highest=highest, lowest=lowest, digits=digits)
    assert h.encode().encode() == peer_of(values, lowest, highest, digits).encode()


def test_an_empty_one_is_encoded_as_by_the_peer() -> None:
    assert Histogram().encode().encode() == peer_of([]).encode()


@settings(deadline=None)
@given(SOME_VALUES, st.integers(1, 2**50))
def test_the_peer_reads_what_was_encoded(values: list[int], times: int) -> None:
    h = of(values)
    h.record(values[0], times)
    peer = HdrHistogram.decode(h.encode())
    assert list(peer.counts) == lists(h)
    assert peer.get_total_count() == h.count


@settings(deadline=None)
@given(SOME_VALUES, st.integers(1, 2**50))
def test_what_the_peer_encoded_is_read(values: list[int], times: int) -> None:
    peer = peer_of(values)
    peer.record_value(values[0], times)
    h = Histogram.decode(peer.encode())
    assert lists(h) == list(peer.counts)
    assert h.count == peer.get_total_count()


@settings(deadline=None)
@given(SOME_VALUES)
def test_decoded_it_tells_the_bounds_of_slots(values: list[int]) -> None:
    h, again = of(values), Histogram.decode(of(values).encode())
    assert not again.exact
    assert (lists(again), again.count) == (lists(h), h.count)
    assert again.percentiles([0, 50, 99, 100]) == h.percentiles([0, 50, 99, 100])
    assert (again.min, again.max) == (h.percentile(0), h.percentile(100))
    assert again.mean == pytest.approx(h.mean, rel=1e-3)
    assert again.encode() == h.encode()


def test_decoded_ones_are_merged_with_others() -> None:
    h = Histogram.decode(of([1, 5000]).encode())
    other = of([7])
    other.merge(h)
    h.merge(of([7]))
    assert lists(h) == lists(other) == lists(of([1, 5000, 7]))
    assert (h.exact, other.exact) == (False, False)


@pytest.mark.parametrize("count", [1, 63, 64, 2**13, 2**55 - 1, 2**55, COUNTS_AT_MOST])
def test_counts_of_every_length(count: int) -> None:
    h = Histogram()
    h.record(300, count)
    assert Histogram.decode(h.encode()).counts[300] == count
    assert Histogram.decode(text(payload([-300, count]))).counts[300] == count


def test_empty_slots_alone_are_no_values() -> None:
    """Java writes one for an empty histogram."""
    for words in ([0], [-33792], []):
        assert Histogram.decode(text(payload(words))) == Histogram()


def test_bytes_are_decoded_as_text_is() -> None:
    encoded = of([1, 5000]).encode()
    assert Histogram.decode(encoded.encode()) == Histogram.decode(encoded)


def test_one_empty_slot_reads_the_same_as_java_writes_it() -> None:
    as_in_java, as_in_c = text(payload([0, 2])), text(payload([-1, 2]))
    assert Histogram.decode(as_in_java) == Histogram.decode(as_in_c)


GOOD = payload([-5, 3, 0, 7])
HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "ends too early"),
    "half a cookie": ("HISTFA==", "ends too early"),
    "not base64": ("HIST*AAA", "base64|Non-base64|Only base64|padding"),
    "not ASCII": ("ÄÖÜ", "ASCII"),
    "another cookie outside": (text(GOOD, cookie=0x1C849303), "cookie"),
    "V1 within": (text(payload([1], cookie=0x1C849301)), "cookie"),
    "zlib cut": (wrapped(zlib.compress(GOOD)[:-5]), "ends too early"),
    "zlib cut, its length not": (wrapped(zlib.compress(GOOD)[:-5], length=99), "ends too early"),
    "more than its length": (text(GOOD, length=7), "something follows"),
    "not zlib": (wrapped(b"no zlib at all, but long enough"), "corrupt"),
    "zlib's sum is wrong": (wrapped(zlib.compress(GOOD)[:-1] + b"!"), "corrupt"),
    "something after zlib": (wrapped(zlib.compress(GOOD) + b"!"), "something follows"),
    "half a header": (text(GOOD[:39]), "ends too early"),
    "no digits": (text(payload(digits=0)), "must hold"),
    "too many digits": (text(payload(digits=2**32 - 1)), "must hold"),
    "lowest is negative": (text(payload(lowest=-1)), "must hold"),
    "highest is negative": (text(payload(highest=-1)), "must hold"),
    "shifted": (text(payload(shifted=1)), "shifted"),
    "fractions": (text(payload(ratio=0.5)), "fractional"),
    "a word is cut": (text(payload([5], tail=b"\x80")), "ends too early"),
    "told more than there is": (text(payload([1], length=2)), "ends too early"),
    "told less than there is": (text(payload([1, 1], length=1)), "something follows"),
    "a count beyond the range": (text(payload([-33792, 1])), "beyond its range"),
    "a run beyond the range": (text(payload([1, -33792])), "beyond its range"),
    "the longest run": (text(payload([-(2**63)])), "beyond its range"),
    "the greatest count": (text(payload([2**63 - 1])), "more than 2..62"),
    "counts that overflow": (text(payload([2**62, 1])), "more than 2..62"),
    "a bomb": (text(payload([0] * 10**7)), "something follows"),
}


@pytest.mark.parametrize(("blob", "why"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_histogram_is_refused_by_name(blob: str | bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Histogram.decode(blob)


def change(at: int, to: int) -> Callable[[bytearray], None]:
    return lambda data: data.__setitem__(at % len(data), to)


@settings(deadline=None, max_examples=300)
@given(VALUES, st.lists(st.builds(change, st.integers(0, 400), st.integers(0, 255)), max_size=3))
def test_a_spoilt_payload_is_refused_or_is_some_histogram(
    values: list[int], changes: list[Callable[[bytearray], None]]
) -> None:
    data = bytearray(zlib.decompress(base64.b64decode(of(values).encode())[8:]))
    for spoil in changes:
        spoil(data)
    try:
        h = Histogram.decode(text(bytes(data)))
    except ValueError:
        return
    assert sum(h.counts) == h.count
    assert Histogram.decode(h.encode()) == h
