"""Values counted with three significant digits in memory that does not grow. See c/histogram.h.

What counts where there is no Python includes that header and has `histogram_record` inline; a
Histogram hands it the memory, and keeps it.
"""
from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef extern from "c/histogram.h" nogil:
    ctypedef enum histogram_result:
        HISTOGRAM_OK
        HISTOGRAM_NO_MEMORY
        HISTOGRAM_BAD_RANGE
        HISTOGRAM_OTHER_RANGE
        HISTOGRAM_NOT_A_PART
        HISTOGRAM_TOO_MANY
        HISTOGRAM_CUT
        HISTOGRAM_TOO_LONG
        HISTOGRAM_NOT_V2
        HISTOGRAM_SHIFTED
        HISTOGRAM_BEYOND
        HISTOGRAM_NO_SPAN
    enum: HISTOGRAM_HEADER
    ctypedef struct histogram:
        int64_t lowest
        int64_t highest
        int digits
        size_t slots
        uint64_t count
        uint64_t below
        uint64_t above
        uint64_t min
        uint64_t max
        uint64_t sum_low
        uint64_t sum_high
        int exact
        uint64_t counts[1]
    void histogram_record(histogram *, int64_t)

cdef class Histogram:
    cdef histogram *h
    cdef Py_ssize_t[1] shape
    cdef object __weakref__

# A Histogram that owns `made`, also when it raises.
cdef Histogram histogram_owned(histogram *made)
