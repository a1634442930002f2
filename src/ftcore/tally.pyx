"""Tally: Python's face of the kernel in c/tally.h."""
cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t

import zlib

from ftcore.histogram cimport Histogram, histogram_owned

cdef extern from "c/tally.h" nogil:
    tally *tally_new()
    void tally_free(tally *)

cdef extern from "c/histogram.h" nogil:
    histogram *histogram_copy(const histogram *)

cdef extern from "c/tally_bytes.h" nogil:
    size_t tally_room(const tally *)
    size_t tally_pack(const tally *, uint8_t *)
    const char *tally_add_packed(tally *, const uint8_t *, size_t, int64_t)

cdef bytes MARK = b"ftnet\0"
cdef int HEADER = len(MARK) + 2 + 4 + 4  # version, length and CRC-32 of what follows

#: Of what `Tally.to_bytes` gives; of a process with another one nothing is taken.
VERSION = 1

COUNT_NAMES = (
    "scheduled", "sent", "completed", "failed", "unfinished", "unsent", "late", "wrong_status",
    "wrong_length", "retried", "bytes_sent", "bytes_received", "opened", "connect_failed", "closed",
    "answered", "unrecorded",
)
SPAN_NAMES = ("queue", "dns", "connect", "ssl", "send", "ttfb", "download", "total", "service")
CLASS_NAMES = ("failed", "1xx", "2xx", "3xx", "4xx", "5xx")


@cython.final
cdef class Tally:
    """Counters, statuses, failures and histograms of a load run, or of a part of it."""

    def __cinit__(self):
        self.t = tally_new()
        if self.t == NULL:
            raise MemoryError

    def __dealloc__(self):
        tally_free(self.t)

    def reset(self):
        """Forgets everything; memory is kept."""
        tally_reset(self.t)

    def merge(self, Tally other not None):
        """Adds what another has: exactly what one would have that had counted both."""
        tally_add(self.t, other.t)

    def to_bytes(self):
        """All that it has, for `add_bytes` in another process, maybe on another machine."""
        cdef bytearray room = bytearray(tally_room(self.t))
        cdef char *data = room
        cdef bytes content = data[:tally_pack(self.t, <uint8_t *>data)]
        length, check = len(content), zlib.crc32(content)
        return b"".join((
            MARK, VERSION.to_bytes(2, "big"), length.to_bytes(4, "big"), check.to_bytes(4, "big"),
            content,
        ))

    def add_bytes(self, bytes data not None, int64_t shift=0):
        """`merge` with the one that `data` is of, its times taken to be `shift` ns later.

        ValueError says what is wrong with the data; then nothing was added.
        """
        take(self.t, data, shift)

    @staticmethod
    def check_bytes(bytes data not None):
        """ValueError, as `add_bytes`; nothing is added."""
        take(NULL, data, 0)

    def add_count(self, str name not None, uint64_t number):
        """Counts so many more by a name of `counts`."""
        self.t.counts[COUNT_NAMES.index(name)] += number

    def counts(self):
        """The counters by their names."""
        return {name: self.t.counts[i] for i, name in enumerate(COUNT_NAMES)}

    def statuses(self):
        """How many responses had each status."""
        return {i: self.t.statuses[i] for i in range(TALLY_STATUSES) if self.t.statuses[i]}

    def failures(self):
        """(OUTCOME_* or CURLcode, errno, detail, count) of each kind."""
        cdef int i
        return [
            (
                self.t.kinds[i].outcome, self.t.kinds[i].os_errno,
                self.t.kinds[i].detail.decode("utf-8", "replace"), self.t.kinds[i].count,
            )
            for i in range(self.t.kind_count)
        ]

    def histograms(self, str span not None):
        """A copy of each histogram of one span that has values, by the name of its class."""
        cdef int row
        if span not in SPAN_NAMES:
            raise ValueError(f"{span!r} is no span; there are {', '.join(SPAN_NAMES)}")
        row = SPAN_NAMES.index(span)
        cdef dict out = {}
        for i, name in enumerate(CLASS_NAMES):
            made = copied(self.t.spans[row][i])
            if made is not None:
                out[name] = made
        return out

    @property
    def lateness(self):
        """A copy of the histogram of how late requests were sent; None: there are no values."""
        return copied(self.t.lateness)

    @property
    def began_at(self):
        """ns on the engine's clock."""
        return self.t.began_at

    @property
    def ended_at(self):
        """ns on the engine's clock."""
        return self.t.ended_at

    @property
    def cpu(self):
        """CPU time of the driving threads, ns."""
        return self.t.cpu

    @property
    def in_flight(self):
        """Requests under way at the end."""
        return self.t.in_flight

    @property
    def waiting(self):
        """Requests that were due by the end and had no connection."""
        return self.t.waiting

    @property
    def connections(self):
        """Connections open at the end."""
        return self.t.connections

    @property
    def target(self):
        """Requests due a second, at the end."""
        return self.t.target

    @property
    def measured(self):
        """Whether it is not of the warm-up."""
        return bool(self.t.measured)


cdef int take(tally *t, bytes data, int64_t shift) except -1:
    """Adds it to `t`; NULL: only looks whether it could be."""
    cdef const char *problem
    if data[:len(MARK)] != MARK[:len(data)]:
        raise ValueError("not a tally of ftnet: its mark is missing")
    if len(data) < HEADER:
        raise ValueError("the tally is corrupt: it ends too early")
    version = int.from_bytes(data[len(MARK):len(MARK) + 2], "big")
    if version != VERSION:
        raise ValueError(f"the tally is of version {version} of its encoding, not {VERSION}")
    length = int.from_bytes(data[HEADER - 8:HEADER - 4], "big")
    if length != len(data) - HEADER:
        raise ValueError(
            f"the tally is corrupt: {length} bytes were packed, and here are {len(data) - HEADER}"
        )
    content = data[HEADER:]
    if zlib.crc32(content) != int.from_bytes(data[HEADER - 4:HEADER], "big"):
        raise ValueError("the tally is corrupt: its checksum is another")
    problem = tally_add_packed(t, <const uint8_t *><const char *>content, len(content), shift)
    if problem != NULL:
        raise ValueError(f"the tally is corrupt: {problem.decode('ascii')}")
    return 0


cdef Histogram copied(histogram *h):
    cdef histogram *made
    if h == NULL or h.count + h.below + h.above == 0:
        return None
    made = histogram_copy(h)
    if made == NULL:
        raise MemoryError
    return histogram_owned(made)
