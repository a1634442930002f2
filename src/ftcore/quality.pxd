"""The network quality that a Client estimates from its requests.

    estimator   what a Client's engines share: the kernel's estimates, under a lock
    watch       a request under way, as the estimator knows it; embedded in a transfer

The functions may be called by any thread; a watch belongs to the one that drives its engine.
"""
from libc.stdint cimport int64_t

from ftcore.op cimport atomic_word
from ftcore.profile cimport quality_estimate
from ftcore.settings cimport pthread_mutex_t

cdef extern from "c/quality.h" nogil:
    enum: QUALITY_ABSENT
    enum: QUALITY_GET
    enum: QUALITY_OTHER
    enum: QUALITY_DEGRADING
    ctypedef struct quality_buffer:
        int64_t added
    ctypedef struct quality:
        quality_buffer http_rtt
        quality_buffer transport_rtt
        quality_buffer throughput
        quality_estimate now
        quality_estimate told
        int news
        int offline
    ctypedef struct watch "quality_request":
        int kind

cdef struct estimator:
    pthread_mutex_t lock
    quality q
    bint private_hosts   # whether they count
    int64_t looked_at    # for interfaces that are up, when they don't
    atomic_word news     # 1: somebody who listens is to be told

cdef struct findings:
    # What a request that is over has to tell; 0: nothing, or unknown.
    int64_t bytes          # that no estimator_heard told of
    int64_t http_rtt_us
    int64_t transport_rtt_us
    int64_t *transport_at  # of its connection, when the last transport RTT of it was taken

# A request is about to be sent to the numeric address `peer`, or sent again.
cdef void estimator_begin(
    estimator *, watch *, const char *peer, bint get, int64_t now) noexcept nogil
cdef void estimator_heard(estimator *, watch *, int64_t bytes, int64_t now) noexcept nogil
# It is over. The estimates as they are without it, then what it adds to them.
cdef quality_estimate estimator_end(estimator *, watch *, findings *, int64_t now) noexcept nogil

cdef class Estimator:
    cdef object __weakref__
    cdef estimator c
    cdef public object listener
    cdef int tell(self) except -1
