"""permessage-deflate: WebSocket messages in and out of their compression (RFC 7692).

The zlib is the one that libcurl brings. One direction each: `inflation` belongs to the thread that
drives, `deflation` to whoever holds the GIL.
"""
from libc.stddef cimport size_t

from ftcore.codec cimport z_stream
from ftcore.op cimport slab

cdef enum inflated:
    INFLATED
    INFLATED_BAD
    INFLATED_TOO_BIG
    INFLATED_NO_MEMORY

cdef struct inflation:
    z_stream z
    bint begun
    bint keeps_context

cdef struct deflation:
    z_stream z
    bint begun
    bint keeps_context

# 0, or not: memory is out, or there is no zlib.
cdef int inflation_begin(inflation *, int window_bits, bint keeps_context) noexcept nogil
cdef void inflation_end(inflation *) noexcept nogil
# A piece of a message, the last one or not; what comes out is added to `into` from `used` on,
# which grows, to `limit` bytes at most.
cdef inflated inflation_feed(
    inflation *, const char *data, size_t length, bint last, slab **into, size_t *used,
    size_t limit) noexcept nogil

cdef int deflation_begin(deflation *, int window_bits, bint keeps_context) noexcept nogil
cdef void deflation_end(deflation *) noexcept nogil
# A whole message, or a piece of one; a slab that holds the result from `before` on, *made bytes.
# NULL when memory is out.
cdef slab *deflation_make(
    deflation *, const char *data, size_t length, bint last, size_t before,
    size_t *made) noexcept nogil
