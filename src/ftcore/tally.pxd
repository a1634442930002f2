"""What a worker of a load run counts, and what several have, added up. See c/tally.h."""
from libc.stdint cimport int64_t, uint64_t

from ftcore.histogram cimport histogram
from ftcore.profile cimport Phases, phases

cdef extern from "c/tally.h" nogil:
    enum: TALLY_QUEUE
    enum: TALLY_DNS
    enum: TALLY_CONNECT
    enum: TALLY_SSL
    enum: TALLY_SEND
    enum: TALLY_TTFB
    enum: TALLY_DOWNLOAD
    enum: TALLY_TOTAL
    enum: TALLY_SERVICE
    enum: TALLY_SPANS
    enum: TALLY_FAILED
    enum: TALLY_CLASSES
    enum: TALLY_SCHEDULED
    enum: TALLY_SENT
    enum: TALLY_COMPLETED
    enum: TALLY_FAILURES
    enum: TALLY_UNFINISHED
    enum: TALLY_UNSENT
    enum: TALLY_LATE
    enum: TALLY_WRONG_STATUS
    enum: TALLY_WRONG_LENGTH
    enum: TALLY_WRONG_CONTENT
    enum: TALLY_RETRIED
    enum: TALLY_BYTES_SENT
    enum: TALLY_BYTES_RECEIVED
    enum: TALLY_OPENED
    enum: TALLY_CONNECT_FAILED
    enum: TALLY_CLOSED
    enum: TALLY_ANSWERED
    enum: TALLY_UNRECORDED
    enum: TALLY_COUNTS
    enum: TALLY_STATUSES
    ctypedef struct tally_kind:
        int outcome
        long os_errno
        uint64_t count
        char detail[120]
    ctypedef struct tally:
        uint64_t counts[18]
        uint64_t statuses[1000]
        tally_kind kinds[32]
        int kind_count
        histogram *spans[9][6]
        histogram *lateness
        int64_t began_at
        int64_t ended_at
        int64_t cpu
        int64_t in_flight
        int64_t waiting
        int64_t connections
        double target
        int measured
    void tally_reset(tally *)
    void tally_prepare(tally *, int)
    void tally_record(tally *, int, const int64_t *)
    void tally_late_by(tally *, int64_t)
    void tally_failure(tally *, int, long, const char *, uint64_t)
    void tally_add(tally *, const tally *)
    int tally_class(int)

# Sets spans to "did not take place".
cdef void tally_clear_spans(int64_t *spans) noexcept nogil
# What it took to make the connection.
cdef void tally_read_connect(const phases *, int64_t *spans) noexcept nogil

cdef class Tally:
    cdef tally *t
    cpdef int64_t answered(
        self, Phases of, int status, int64_t due, int64_t ready, int64_t late_after, int64_t end,
        int wrong, bint is_open, bint counted, Tally also) except -1
    cpdef int begun(self, Tally also) except -1
    cpdef int iterated(self, int64_t due, int64_t began, int64_t at, bint broken) except -1
    cpdef int failed(
        self, Phases of, int outcome, long os_errno, str detail, int64_t due, int64_t ready,
        int64_t now, int64_t late_after, bint is_open) except -1
