"""Tallies and books as bytes: exactly what they were, or refused by name."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcore.tally import CLASS_NAMES, COUNT_NAMES, SPAN_NAMES, VERSION, Tally
from ftnet.histogram import Histogram
from ftnet.load.books import Books
from tests.histograms import word

LIMIT = 2**42  # ns, the first without a slot
STATE = ("cpu", "in_flight", "waiting", "connections", "measured")
LATENESS = len(SPAN_NAMES) * len(CLASS_NAMES)


@dataclass
class Model:
    """What is in a tally, and its encoding, written down a second time."""

    counts: list[int]
    statuses: dict[int, int]
    kinds: list[tuple[int, int, str, int]]
    state: list[int]
    target: float
    times: tuple[int, int]
    values: dict[int, list[int]] = field(default_factory=dict)  # by place

    def content(self) -> bytes:
        out = b"".join(map(word, self.counts)) + word(len(self.statuses))
        out += b"".join(word(status) + word(count) for status, count in self.statuses.items())
        out += word(len(self.kinds))
        for outcome, os_errno, detail, count in self.kinds:
            text = detail.encode()
            out += b"".join(map(word, (outcome, os_errno, count, len(text)))) + text
        out += struct.pack(">qq", *self.times) + b"".join(map(word, self.state))
        out += struct.pack(">d", self.target)
        for place, values in self.values.items():
            out += word(place) + packed(histogram(values))
        return out

    def tally(self) -> Tally:
        made = Tally()
        made.add_bytes(framed(self.content()))
        return made


def histogram(values: list[int]) -> Histogram:
    made = Histogram()
    for value in values:
        made.record(value)
    return made


def packed(one: Histogram) -> bytes:
    payload, below, above, exact, span = one.__reduce__()[1]
    least, greatest, total = span or (2**64 - 1, 0, 0)
    sums = (total & (2**64 - 1), total >> 64)
    return struct.pack(">?6Q", exact, below, above, least, greatest, *sums) + payload


def framed(content: bytes, version: int = VERSION) -> bytes:
    return b"ftnet\0" + struct.pack(">HII", version, len(content), zlib.crc32(content)) + content


def seen(tally: Tally) -> dict[str, Any]:
    """All that a tally tells."""
    return {
        "counts": tally.counts(),
        "statuses": tally.statuses(),
        "failures": tally.failures(),
        "spans": {span: tally.histograms(span) for span in SPAN_NAMES},
        "lateness": tally.lateness,
        "times": (tally.began_at, tally.ended_at),
        "target": tally.target,
        **{name: int(getattr(tally, name)) for name in STATE},
    }


COUNTS = st.integers(0, 2**61) | st.integers(0, 9)
MODELS = st.builds(
    Model,
    counts=st.lists(COUNTS, min_size=len(COUNT_NAMES), max_size=len(COUNT_NAMES)),
    statuses=st.dictionaries(st.integers(0, 999), st.integers(1, 2**61), max_size=4).map(
        lambda found: dict(sorted(found.items()))
    ),
    kinds=st.lists(
        st.tuples(
            st.integers(-300, 300),
            st.integers(0, 140),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
            st.integers(1, 2**56),
        ),
        max_size=4,
        unique_by=lambda kind: kind[:2],
    ),
    state=st.tuples(*[st.integers(0, 2**50)] * 4, st.integers(0, 1)).map(list),
    target=st.floats(0, 1e9),
    times=st.tuples(*[st.integers(2**41, 2**60)] * 2),
    values=st.dictionaries(
        st.integers(0, LATENESS),
        st.lists(st.integers(-5, LIMIT + 5), min_size=1, max_size=8),
        max_size=4,
    ).map(lambda found: dict(sorted(found.items()))),
)


@settings(max_examples=80, deadline=None)
@given(model=MODELS)
def test_a_tally_is_what_was_packed_and_packs_to_the_same(model: Model) -> None:
    tally = model.tally()
    assert [*tally.counts().values()] == model.counts
    assert tally.statuses() == model.statuses
    assert tally.failures() == model.kinds
    assert [int(getattr(tally, name)) for name in STATE] == model.state
    assert (tally.target, tally.began_at, tally.ended_at) == (model.target, *model.times)
    for place, values in model.values.items():
        span, kind = divmod(place, len(CLASS_NAMES))
        found = (
            tally.lateness
            if place == LATENESS
            else tally.histograms(SPAN_NAMES[span])[CLASS_NAMES[kind]]
        )
        assert found == histogram(values)
    assert tally.to_bytes() == framed(model.content())


@settings(max_examples=25, deadline=None)
@given(models=st.lists(MODELS, min_size=1, max_size=3), shift=st.integers(-(2**40), 2**40))
def test_adding_bytes_is_merging(models: list[Model], shift: int) -> None:
    merged, added, shifted = Tally(), Tally(), Tally()
    for model in models:
        one = model.tally()
        merged.merge(one)
        added.add_bytes(one.to_bytes())
        shifted.add_bytes(one.to_bytes(), shift)
    assert seen(added) == seen(merged)
    assert shifted.began_at == merged.began_at + shift
    assert shifted.ended_at == merged.ended_at + shift


def test_an_empty_tally_adds_nothing() -> None:
    tally = Tally()
    tally.add_bytes(Tally().to_bytes(), 5)
    assert seen(tally) == seen(Tally())


@settings(max_examples=80, deadline=None)
@given(model=MODELS, data=st.data())
def test_corrupt_bytes_are_refused_and_nothing_is_added(model: Model, data: st.DataObject) -> None:
    whole = framed(model.content())
    at = data.draw(st.integers(0, len(whole) - 1))
    bad = data.draw(
        st.sampled_from(
            [
                whole[:at],
                whole + b"\0",
                whole[:at]
                + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))])
                + whole[at + 1 :],
            ]
        )
    )
    tally = Tally()
    with pytest.raises(ValueError, match="tally"):
        tally.add_bytes(bad)
    assert seen(tally) == seen(Tally())


@settings(max_examples=150, deadline=None)
@given(model=MODELS, data=st.data())
def test_what_has_the_right_checksum_is_looked_at_all_the_same(
    model: Model, data: st.DataObject
) -> None:
    """Whatever is packed: it is refused and nothing added, or it is one that packs again."""
    content = bytearray(model.content())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    tally, again = Tally(), Tally()
    try:
        tally.add_bytes(framed(bytes(content)))
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
    assert refused.startswith("the tally is corrupt: ") or not refused
    if refused:
        assert seen(tally) == seen(Tally())
    again.add_bytes(tally.to_bytes())
    assert seen(again) == seen(tally)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends too early"),
        (b"ftnet\0", "ends too early"),
        (b"<html>", "not a tally of ftnet"),
        (framed(b"", version=VERSION + 1), f"version {VERSION + 1}"),
        (framed(b"x")[:-1], "1 bytes were packed, and here are 0"),
        (framed(b"")[:-1] + b"\1", "checksum"),
        (framed(b""), "ends too early"),
        (framed(word(-1)), "out of range"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Tally().add_bytes(data)


def test_a_histogram_of_another_range_is_refused() -> None:
    content = Tally().to_bytes()[16:] + word(3) + packed(Histogram(10**6))
    with pytest.raises(ValueError, match="a histogram is corrupt"):
        Tally().add_bytes(framed(content))


@settings(max_examples=20, deadline=None)
@given(
    total=MODELS,
    iterations=st.none() | MODELS,
    steps=st.dictionaries(st.text(max_size=4), MODELS, max_size=2),
    checks=st.dictionaries(
        st.text(max_size=4),
        st.dictionaries(
            st.text(max_size=4), st.lists(st.integers(0, 2**60), min_size=2, max_size=2), max_size=2
        ),
        max_size=2,
    ),
)
def test_books_as_bytes_are_the_same_books(
    total: Model, iterations: Model | None, steps: dict[str, Model], checks: dict[str, Any]
) -> None:
    books = Books(
        total.tally(),
        iterations and iterations.tally(),
        {name: model.tally() for name, model in steps.items()},
        checks,
    )
    merged, added = Books(), Books()
    for _ in range(2):
        merged.merge(books)
        added.merge_bytes(books.to_bytes())
    assert all_of(added) == all_of(merged)


def all_of(books: Books) -> list[Any]:
    iterations = None if books.iterations is None else seen(books.iterations)
    steps = {name: seen(tally) for name, tally in books.steps.items()}
    return [seen(books.total), iterations, steps, books.checks]


def test_corrupt_books_are_refused_as_a_whole() -> None:
    good, bad = Tally().to_bytes(), Tally().to_bytes()[:-1]
    books = Books()
    for data in (b"", b"\xc1", msgspec.msgpack.encode([good, None, {}])):
        with pytest.raises(ValueError, match="the books are corrupt"):
            books.merge_bytes(data)
    one = Tally()
    one.add("scheduled", 1)
    with pytest.raises(ValueError, match="the tally is corrupt"):
        books.merge_bytes(msgspec.msgpack.encode([one.to_bytes(), None, {"a": bad}, {}]))
    assert all_of(books) == all_of(Books())
