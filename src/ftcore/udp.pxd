"""A UDP socket: datagrams in batches, names looked up off the loop.

    EVENT_CHUNK    a datagram; its sender stands ADDRESS_BEFORE bytes before it
    EVENT_SENT     what was sent with this token is with the kernel
    EVENT_PROBLEM  something failed, the socket goes on: `length` is an errno, or with `detail`
                   PROBLEM_NAME an EAI_* code
    EVENT_DONE     it is closed
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from ftcore.engine cimport Operation
from ftcore.op cimport atomic_word, inbox, inbox_node, op, slab
from ftcore.reactor cimport datagram_address, reactor
from ftcore.transfer cimport Pool

cdef enum:
    ADDRESS_BEFORE = 32
    PROBLEM_NAME = 1

cdef struct datagram:
    # On its way out; from any thread into `posted`, then in `queue`.
    inbox_node link      # first
    datagram *next
    slab *memory         # owned
    size_t length
    int64_t token        # 0: nobody asks
    int family           # 4 or 6
    int port             # with a name, which stands behind the payload
    bint named
    bint connected       # goes where the socket is connected to
    datagram_address to

cdef struct udp:
    op o                 # first
    reactor *r
    int fd[2]            # IPv4 and IPv6; -1: not open
    bint watched[2]
    inbox posted
    datagram *first
    datagram *last
    unsigned queued      # bytes handed in, by whoever holds the GIL
    atomic_word written  # ... and with the kernel, or given up; both wrap
    size_t unread        # bytes in events not yet delivered
    size_t limit
    bint stalled
    bint over
    void *queries        # names that are being looked up

cdef class UDP(Operation):
    cdef object __weakref__
    cdef udp u
    cdef Pool pool
    cdef dict sends
    cdef int64_t tokens
    cdef bytes last_sender         # and what was made of it
    cdef object last_remote
    cdef readonly int port         # 0: not bound
    cdef readonly bint closing
    cdef readonly bint finished
    cdef int post(self, unsigned command) except -1
    cdef int open(self, int family, int port) except -1
    cdef int need(self, int family) except -1
    cdef object remote(self, const char *address)
