"""The response as it comes in: header lines, body bytes, chunks.

libcurl's callbacks, called inside it; they write to the slot and its outbox and nothing else.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from ftcore.slot cimport slot, xfer
from ftcore.wire cimport http1_head

# For CURLOPT_HEADERFUNCTION and CURLOPT_WRITEFUNCTION; the owner is the slot.
cdef size_t response_header(char *, size_t, size_t, void *owner) noexcept nogil
cdef size_t response_body(char *, size_t, size_t, void *owner) noexcept nogil
# The same of a header block of the native lane. False: the transfer must not go on; the slot's
# verdict says why.
cdef bint response_block(
    slot *, const http1_head *, const char *block, size_t length) noexcept nogil
# The three digits of "HTTP/1.1 200 OK"; 0 when they are not there.
cdef int status_of(const char *line, size_t length) noexcept nogil
# Whether its files have kept the thread for so long that others must have their turn; then this
# transfer goes on in the next step.
cdef bint must_breathe(xfer *) noexcept nogil
# So many bytes of a file have been sent or received; the owner hears of it now and then.
cdef void progress(xfer *, int64_t done) noexcept nogil
# Kept header and body for listeners that have just come.
cdef void response_catch_up(slot *) noexcept nogil
