"""A UDP socket in the loop: what callers want, datagrams that come in, and its end.

What callers want comes through the inbox, in order; in the other direction go, beside the events
of its lanes,

    EVENT_OPEN      the first of the two is open and read
    EVENT_CHUNK     a datagram; its sender stands ADDRESS_BEFORE bytes before it; `detail`: where
                    it came in, which changes with every connect; even for IPv4
    EVENT_DONE      it is closed; `lost` datagrams were not sent
"""
from libc.stddef cimport size_t

from ftcore.lanes cimport udp
from ftcore.op cimport op
from ftcore.reactor cimport reactor

cdef enum:
    ADDRESS_BEFORE = 32
    DATAGRAM_COST = 256  # bytes that a datagram counts for beside its own

cdef void udp_begin(udp *, reactor *, size_t limit) noexcept nogil
cdef void udp_on_command(op *, unsigned commands) noexcept nogil
# As `deferred.run`: sends what was posted.
cdef void udp_send_posted(void *) noexcept nogil
# Frees what was posted and never taken.
cdef void udp_drop(udp *) noexcept nogil
