"""Tally: Python's face of the kernel in c/tally.h."""
cimport cython

from ftcore.histogram cimport Histogram, histogram_owned

cdef extern from "c/tally.h" nogil:
    tally *tally_new()
    void tally_free(tally *)

cdef extern from "c/histogram.h" nogil:
    histogram *histogram_copy(const histogram *)

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


cdef Histogram copied(histogram *h):
    cdef histogram *made
    if h == NULL or h.count + h.below + h.above == 0:
        return None
    made = histogram_copy(h)
    if made == NULL:
        raise MemoryError
    return histogram_owned(made)
