"""The phases of an operation: stamped by the engine, read by Python when somebody asks."""
from libc.stdint cimport int32_t, int64_t

cdef extern from "c/quality.h" nogil:
    ctypedef struct quality_estimate:
        int32_t http_rtt_us  # 0, here and below: unknown
        int32_t transport_rtt_us
        int32_t downstream_kbps
        int32_t type         # an effective connection type

# Moments, in ns on the engine's clock; 0: not reached.
cdef enum:
    QUEUE_START
    QUEUE_END
    REDIRECT_START
    REDIRECT_END
    FETCH_START
    DNS_START
    DNS_END
    CONNECT_START
    CONNECT_END
    SSL_START
    SSL_END
    REQUEST_START
    REQUEST_END
    RESPONSE_START
    RESPONSE_END
    ENDED_AT      # also of a task that failed
    MOMENTS

cdef struct phases:
    int64_t at[16]
    int64_t sent       # bytes of header and body, as carried in HTTP
    int64_t received
    unsigned rtt_us    # the kernel's smoothed round-trip time; 0: unknown
    int port
    int http           # 0 unknown, 1 http/1.1, 2 h2, 3 h3
    bint reused
    quality_estimate estimate  # of the network, from the requests before
    char ip[46]

cdef class Phases:
    cdef phases p
    cdef int64_t epoch_offset
    cpdef int64_t micros(self, int which) except -1

cdef Phases phases_object(const phases *p, int64_t epoch_offset)
