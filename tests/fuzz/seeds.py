"""python -m tests.fuzz.seeds TARGET FOLDER: writes inputs from which a target's fuzzer starts."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from tests import http1_samples
from tests.histograms import payload, word
from tests.ws_streams import FAULTS, GOOD

TEXTS = ["", "plain", "Größe", "\u0800\ud7ff\ue000\uffff", "\U00010000\U0010ffff", "漢字 🎉" * 9]
NOT_TEXTS = [b"\x80", b"\xc1\xbf", b"\xe0\x9f", b"\xed\xa0\x80", b"\xf0\x8f", b"\xf4\x90", b"\xf5"]


def ws_frame_fuzz() -> Iterator[bytes]:
    """The first byte is the options, the next two are how the input is cut."""
    for stream in [*GOOD.values(), *(stream for _, stream in FAULTS.values())]:
        options = stream.deflate | (2 if stream.limit else 0)
        yield bytes([options, len(stream.data) & 0xFF, 7]) + stream.data


def utf8_fuzz() -> Iterator[bytes]:
    """The first two bytes are how the input is cut."""
    for text in [text.encode("utf-8", "surrogatepass") for text in TEXTS] + NOT_TEXTS:
        yield bytes([len(text) & 0xFF, 1]) + text
        yield bytes([len(text) & 0xFF, 1]) + b"a" * 40 + text + b"z"


def quality_fuzz() -> Iterator[bytes]:
    """The first byte is the unit of time; then a step every five bytes."""
    begin = [bytes([0, request, 1, 0, 0]) for request in range(8)]
    hear = [bytes([1, request, 2, 0, 200]) for request in range(8)]
    end = [bytes([2, request, 3, 1, 0]) for request in range(8)]
    rtts = [bytes([3 + count % 2, count % 8, 1, count, 3 * count & 0xFF]) for count in range(100)]
    for unit in range(3):
        yield bytes([unit]) + b"".join(begin + hear * 3 + end)
        yield bytes([unit]) + b"".join(begin + rtts + [bytes([5, 0, 9, 0, 0])] + rtts)
        yield bytes([unit]) + b"".join([*begin, bytes([6, 0, 1, 0, 0]), *begin, *hear, *end])


def http1_fuzz() -> Iterator[bytes]:
    """The first byte is the request, the next two are how the input is cut."""
    samples = [
        *http1_samples.GOOD.values(),
        *(
            http1_samples.Sample(data)
            for group in (http1_samples.BAD, http1_samples.CUT)
            for all_of_one in group.values()
            for data in all_of_one
        ),
    ]
    for sample in samples:
        request = http1_samples.REQUESTS.index(sample.request)
        yield bytes([request, len(sample.data) // 2 & 0xFF, 7]) + sample.data[:2048]


def tally_fuzz() -> Iterator[bytes]:
    """Counts, statuses, kinds of failures, how things stood, histograms."""
    counts = b"".join(map(word, range(18)))
    some = word(2) + b"".join(map(word, (200, 5, 404, 2)))
    kinds = word(1) + b"".join(map(word, (7, 111, 3, 2))) + b"no"
    state = struct.pack(">qq", 5, 9) + b"".join(map(word, (1, 2, 3, 4, 1))) + struct.pack(">d", 9.5)
    span = struct.pack(">?6Q", True, 1, 2, 3, 5, 13, 0)
    histogram = span + payload([-3, 1, 1, 1])
    yield counts + word(0) + word(0) + state
    yield counts + some + kinds + state
    yield counts + some + kinds + state + word(14) + histogram + word(54) + histogram


def histogram_fuzz() -> Iterator[bytes]:
    """The first eight bytes are a value to record."""
    value = bytes([7, 0x30, 0, 0, 0, 0, 0, 0])
    for words in ([], [0], [5], [-300, 1, 0, 70, -1, 2**40], [-33791, 2**55], [2**62], [-(2**63)]):
        yield value + payload(words)
    for lowest, highest, digits in ((1, 2, 1), (1000, 10**6, 2), (1, 2**63 - 1, 1), (3, 99, 5)):
        yield value + payload([1, -9, 3], lowest=lowest, highest=highest, digits=digits)
    for fault in (payload(digits=0), payload(shifted=1), payload(ratio=2), payload([1], length=9)):
        yield value + fault


SEEDS = {
    "ws_frame_fuzz": ws_frame_fuzz,
    "utf8_fuzz": utf8_fuzz,
    "quality_fuzz": quality_fuzz,
    "http1_fuzz": http1_fuzz,
    "histogram_fuzz": histogram_fuzz,
    "tally_fuzz": tally_fuzz,
}


def main(target: str, folder: str) -> None:
    """A target that has no seeds starts from nothing."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]() if target in SEEDS else ()):
        Path(folder, f"{number:03}").write_bytes(seed)


if __name__ == "__main__":
    main(*sys.argv[1:])
