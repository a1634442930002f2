"""Histogram: Python's face of the kernel in c/histogram.h."""
cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_ND, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)

import base64
import math
import zlib
from array import array

cdef extern from "c/histogram.h" nogil:
    histogram_result histogram_new(int64_t, int64_t, int, histogram **)
    histogram *histogram_copy(const histogram *)
    void histogram_free(histogram *)
    void histogram_reset(histogram *)
    histogram_result histogram_record_times(histogram *, int64_t, uint64_t)
    histogram_result histogram_record_corrected(histogram *, int64_t, int64_t, uint64_t)
    histogram_result histogram_add(histogram *, const histogram *)
    histogram_result histogram_subtract(histogram *, const histogram *)
    bint histogram_equal(const histogram *, const histogram *)
    uint64_t histogram_slot_high(const histogram *, size_t)
    uint64_t histogram_percentile(const histogram *, double)
    double histogram_variance(const histogram *)
    size_t histogram_room(const histogram *)
    size_t histogram_encode(const histogram *, uint8_t *)
    histogram_result histogram_decode(const uint8_t *, size_t, histogram **)
    size_t histogram_decode_room(const uint8_t *)
    histogram_result histogram_set_span(histogram *, uint64_t, uint64_t, uint64_t, uint64_t)

cdef dict PROBLEMS = {
    HISTOGRAM_BAD_RANGE:
        "1 <= lowest <= highest / 2 < 2**62 and 1 <= digits <= 5 must hold, within 63 bits",
    HISTOGRAM_OTHER_RANGE: "the histograms have other ranges or digits",
    HISTOGRAM_NOT_A_PART: "the histogram has fewer values than are to be taken away",
    HISTOGRAM_TOO_MANY: "more than 2**62 values",
    HISTOGRAM_CUT: "the encoded histogram ends too early",
    HISTOGRAM_TOO_LONG: "something follows the encoded histogram",
    HISTOGRAM_NOT_V2: "not a histogram in HdrHistogram's V2 encoding: wrong cookie",
    HISTOGRAM_SHIFTED: "the encoded histogram is of shifted or fractional values",
    HISTOGRAM_BEYOND: "the encoded histogram has counts beyond its range",
    HISTOGRAM_NO_SPAN: "the least and the greatest value are not in their slots",
}

cdef bytes COMPRESSED = b"\x1c\x84\x93\x14"  # cookie of a V2 histogram within zlib


cdef int must(histogram_result result) except -1:
    if result == HISTOGRAM_NO_MEMORY:
        raise MemoryError
    if result != HISTOGRAM_OK:
        raise ValueError(PROBLEMS[result])
    return 0


cdef Histogram histogram_owned(histogram *made):
    cdef Histogram owner
    try:
        owner = Histogram.__new__(Histogram, 2, digits=1)  # a small one
    except BaseException:
        histogram_free(made)
        raise
    histogram_free(owner.h)
    owner.h = made
    owner.shape[0] = <Py_ssize_t>made.slots
    return owner


cdef int must_have_values(histogram *h) except -1:
    if h.count == 0:
        raise ValueError("the histogram is empty")
    return 0


cdef bytes payload_of(histogram *h):
    """The V2 encoding before zlib."""
    cdef bytearray room = bytearray(histogram_room(h))
    cdef char *data = room
    return data[:histogram_encode(h, <uint8_t *>data)]


@cython.final
cdef class Histogram:
    """How often which value was seen, with a fixed number of significant digits (HdrHistogram).

    Values are whole numbers; unless said otherwise, nanoseconds up to an hour and a little more
    (4398 s), with three digits. Two values share a slot, and are then not told apart, when they
    differ by no more than one in the last digit; below 10**digits none do. Memory is taken once:
    270 KB for that range, of which the system hands out what is used.

    `count`, `min`, `max`, `sum` and `mean` are of the values as they were recorded, not as they
    were rounded, as long as `exact` says so; percentiles are HdrHistogram's. What has no slot is
    in none of them: negative values are counted in `below`, those too great in `above`.

    lowest: values are told apart by this much at best, rounded down to a power of 2.
    highest: the greatest value that must have a slot; there are slots up to a power of 2.
    """

    def __cinit__(
        self, int64_t highest=3_600_000_000_000, *, int64_t lowest=1, int digits=3,
    ):
        must(histogram_new(lowest, highest, digits, &self.h))
        self.shape[0] = <Py_ssize_t>self.h.slots

    def __dealloc__(self):
        histogram_free(self.h)

    # ------------------------------------------------------------ recording

    def record(self, int64_t value, uint64_t count=1):
        """Counts `value`, `count` times."""
        must(histogram_record_times(self.h, value, count))

    def record_many(self, values):
        """Counts each of an array of int64, which is not copied: array("q"), numpy's int64 ..."""
        cdef Py_buffer view
        cdef const int64_t *items
        cdef Py_ssize_t i
        PyObject_GetBuffer(values, &view, PyBUF_FORMAT | PyBUF_ND)
        try:
            if view.itemsize != 8 or view.format == NULL or view.format not in (b"q", b"l"):
                raise TypeError('values must be an array of int64, of format "q" or "l"')
            items = <const int64_t *>view.buf
            for i in range(view.len // 8):
                histogram_record(self.h, items[i])
        finally:
            PyBuffer_Release(&view)

    def record_corrected(self, int64_t value, int64_t expected_interval, uint64_t count=1):
        """Counts `value` and what its sender could not measure while it waited (HdrHistogram).

        That is value - expected_interval, value - 2 * expected_interval ... down to the interval:
        what requests would have seen that were to be sent meanwhile. An estimate, for those who
        don't know when their requests should have been sent; who does, measures from there.
        """
        must(histogram_record_corrected(self.h, value, expected_interval, count))

    def reset(self):
        """Forgets all values; memory is kept."""
        histogram_reset(self.h)

    # ------------------------------------------------------------ several

    def copy(self):
        """Another one with the same values."""
        cdef histogram *made = histogram_copy(self.h)
        if made == NULL:
            raise MemoryError
        return histogram_owned(made)

    def merge(self, Histogram other not None):
        """Adds the values of another of the same range: as if all had been recorded here."""
        must(histogram_add(self.h, other.h))

    def subtract(self, Histogram part not None):
        """Takes away an earlier copy of itself; min, max and sum are then taken from the slots."""
        must(histogram_subtract(self.h, part.h))

    def __eq__(self, other):
        if not isinstance(other, Histogram):
            return NotImplemented
        return histogram_equal(self.h, (<Histogram>other).h)

    __hash__ = None

    # ------------------------------------------------------------ what is in it

    def __len__(self):
        return self.h.count

    @property
    def lowest(self):
        """The difference by which values are told apart at best, as it was asked for."""
        return self.h.lowest

    @property
    def highest(self):
        """The greatest value that must have a slot, as it was asked for."""
        return self.h.highest

    @property
    def digits(self):
        """Significant decimal digits, 1 to 5."""
        return self.h.digits

    @property
    def count(self):
        """How many values there are, without those below and above."""
        return self.h.count

    @property
    def below(self):
        """How many values were negative."""
        return self.h.below

    @property
    def above(self):
        """How many values were too great to have a slot."""
        return self.h.above

    @property
    def exact(self):
        """Whether min, max and sum are of the values themselves.

        False after `decode` and `subtract`: then min and max are the bounds of their slots, and
        sum takes each value for the middle of its slot.
        """
        return bool(self.h.exact)

    @property
    def min(self):
        """The least value. ValueError: there is none."""
        must_have_values(self.h)
        return self.h.min

    @property
    def max(self):
        """The greatest value. ValueError: there is none."""
        must_have_values(self.h)
        return self.h.max

    @property
    def sum(self):
        """The sum of all values."""
        return <object>self.h.sum_high << 64 | self.h.sum_low

    @property
    def mean(self):
        """sum / count. ValueError: there are no values."""
        must_have_values(self.h)
        return self.sum / self.h.count

    @property
    def stddev(self):
        """Standard deviation, each value taken for the middle of its slot (HdrHistogram).

        ValueError: there are no values.
        """
        must_have_values(self.h)
        return math.sqrt(histogram_variance(self.h))

    def percentile(self, double percent):
        """The value up to which at least `percent` of all values are, of 0 to 100.

        As in HdrHistogram it is the greatest value of the slot (of 0, the least), so that what it
        says is never too little, by one in the last digit too much at most. The rank is rounded
        up, as in the Java original; ports that round it to the nearest may be a slot lower.
        ValueError: there are no values.
        """
        must_have_values(self.h)
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile is within 0..100, not {percent}")
        return histogram_percentile(self.h, percent)

    def percentiles(self, percents):
        """A list with the percentile for each of `percents`."""
        return [self.percentile(percent) for percent in percents]

    @property
    def counts(self):
        """How many values each slot has: a read-only memoryview (uint64) of the histogram itself.

        It shows what is recorded later, and keeps the histogram: numpy.asarray(h.counts).
        """
        return memoryview(self)

    @property
    def values(self):
        """The greatest value of each slot, an array("Q"): slot i counts (values[i-1], values[i]].

        What `percentile` tells is one of them.
        """
        return array("Q", [histogram_slot_high(self.h, slot) for slot in range(self.h.slots)])

    def to_numpy(self):
        """(values, counts) as numpy arrays of uint64, of the slots that have values alone.

        As `values` and `counts`, but a copy. ImportError: there is no numpy.
        """
        import numpy  # of those who have it

        counts = numpy.asarray(self.counts)
        filled = counts.nonzero()[0]
        return numpy.frombuffer(self.values, dtype=numpy.uint64)[filled], counts[filled]

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("a histogram is read-only")
        view.obj = self
        view.buf = self.h.counts
        view.itemsize = sizeof(uint64_t)
        view.len = self.shape[0] * view.itemsize
        view.readonly = True
        view.ndim = 1
        view.format = <char *>"Q" if flags & PyBUF_FORMAT else <char *>NULL
        view.shape = self.shape
        view.strides = &view.itemsize
        view.suboffsets = NULL
        view.internal = NULL

    def __sizeof__(self):
        return object.__sizeof__(self) + sizeof(histogram) + self.h.slots * sizeof(uint64_t)

    def __repr__(self):
        what = f"{self.h.count} values" if self.h.count else "no value"
        span = f", {self.h.min} to {self.h.max}" if self.h.count else ""
        return f"<Histogram of {what}{span}>"

    # ------------------------------------------------------------ encodings

    def encode(self):
        """The counts as text in HdrHistogram's V2 encoding, in zlib and base64: "HISTFAAA...".

        It has the range, the digits and the counts of all slots, and nothing else: `below`,
        `above`, and what is exact have to go beside it.
        """
        packed = zlib.compress(payload_of(self.h))
        whole = COMPRESSED + len(packed).to_bytes(4, "big") + packed
        return base64.b64encode(whole).decode("ascii")

    @staticmethod
    def decode(text):
        """The histogram that `encode`, or another HdrHistogram, encoded, from str or bytes.

        ValueError says what is wrong with it.
        """
        return from_payload(unpacked(base64.b64decode(text, validate=True)))

    def __reduce__(self):
        span = (self.h.min, self.h.max, self.sum) if self.h.count else None
        return restored, (
            payload_of(self.h), self.h.below, self.h.above, bool(self.h.exact), span,
        )


cdef bytes unpacked(bytes whole):
    """The V2 encoding within zlib's, by no more than the range in its header has room for."""
    cdef size_t room
    if len(whole) < 8:
        raise ValueError(PROBLEMS[HISTOGRAM_CUT])
    if whole[:4] != COMPRESSED:
        raise ValueError(PROBLEMS[HISTOGRAM_NOT_V2])
    length = int.from_bytes(whole[4:8], "big")
    if length != len(whole) - 8:
        raise ValueError(PROBLEMS[HISTOGRAM_CUT if length > len(whole) - 8 else HISTOGRAM_TOO_LONG])
    stream = zlib.decompressobj()
    try:
        header = stream.decompress(whole[8:], HISTOGRAM_HEADER)
        if len(header) < HISTOGRAM_HEADER:
            raise ValueError(PROBLEMS[HISTOGRAM_CUT])
        room = histogram_decode_room(<const uint8_t *><const char *>header)
        if room == 0:
            return header
        payload = header + stream.decompress(stream.unconsumed_tail, room - HISTOGRAM_HEADER + 1)
    except zlib.error as error:
        raise ValueError(f"the encoded histogram is corrupt: {error}") from error
    if len(payload) > room or stream.unused_data:
        raise ValueError(PROBLEMS[HISTOGRAM_TOO_LONG])
    if not stream.eof:
        raise ValueError(PROBLEMS[HISTOGRAM_CUT])
    return payload


cdef Histogram from_payload(bytes payload):
    cdef histogram *made
    must(histogram_decode(<const uint8_t *><const char *>payload, len(payload), &made))
    return histogram_owned(made)


def restored(bytes payload not None, uint64_t below, uint64_t above, bint exact, span):
    """What was pickled: also what `encode` leaves out. `span` is (min, max, sum), if any."""
    cdef Histogram made = from_payload(payload)
    made.h.below = below
    made.h.above = above
    made.h.exact = exact
    if made.h.count:
        least, greatest, total = span
        must(histogram_set_span(made.h, least, greatest, total & (2**64 - 1), total >> 64))
    return made
