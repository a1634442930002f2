"""When each phase was, as libcurl and our callbacks know it; and what its counters say.

All before the handle is removed from its multi handle.
"""
from libc.stdint cimport int64_t

from ftcore.slot cimport slot, xfer

# Fills x.ph.
cdef void timing_read_phases(slot *, xfer *, int outcome) noexcept nogil
# Adds what the current hop sent and received.
cdef void timing_add_bytes(slot *, int64_t *sent, int64_t *received) noexcept nogil
# When the last byte of the response came in, while libcurl's word of its end is heard.
cdef int64_t timing_arrived_at(slot *) noexcept nogil
# May the connection serve again, and how?
cdef void timing_leave_connection(slot *, bint single) noexcept nogil
