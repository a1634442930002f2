"""When each phase was, as libcurl and our callbacks know it; and what its counters say.

All before the handle is removed from its multi handle.
"""
from libc.stdint cimport int64_t

from ftcore.libcurl cimport CURL
from ftcore.profile cimport phases
from ftcore.slot cimport slot, xfer

# DNS, connect and TLS moments of a handle whose transfer began at `base`, none before `at`; how far
# it got. The first socket was opened at `opened_at`, TCP stood at `stands_at`, TLS began and ended
# at `shook`; 0 where that is not known.
cdef int64_t timing_read_connect(
    CURL *, int64_t opened_at, int64_t stands_at, const int64_t *shook, phases *, int64_t base,
    int64_t at, bint tls) noexcept nogil
cdef void timing_read_peer(CURL *, phases *) noexcept nogil

# Fills x.ph.
cdef void timing_read_phases(slot *, xfer *, int outcome) noexcept nogil
# Adds what the current hop sent and received.
cdef void timing_add_bytes(slot *, int64_t *sent, int64_t *received) noexcept nogil
# When the last byte of the response came in, while libcurl's word of its end is heard.
cdef int64_t timing_arrived_at(slot *) noexcept nogil
# May the connection serve again, and how?
cdef void timing_leave_connection(slot *, bint single) noexcept nogil
