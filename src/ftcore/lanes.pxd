"""The kernel's sockets of a UDP socket, one a family: their queues, what they are watched for, and
what is told of them.

    EVENT_PROBLEM   something failed, the socket goes on: `length` is an errno, or with `detail`
                    PROBLEM_NAME an EAI_* code; `memory`, if there is any, a text: what it is about
    EVENT_DRAINED   nothing waits to be sent

Runs without the GIL in the thread that drives the engine; `posted` and what is atomic belong to
any thread.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from ftcore.datagram cimport datagram
from ftcore.names cimport name, names
from ftcore.op cimport atomic_amount, atomic_word, inbox, op
from ftcore.reactor cimport deferred, reactor, timer_node

cdef enum:
    PROBLEM_NAME = 1
    UDP_WANT_DRAIN = 1

cdef struct lane:
    # One of the kernel's sockets.
    int fd               # -1: not open
    bint watched
    bint broadcast       # SO_BROADCAST is set
    bint connecting      # DATAGRAM_CONNECT is in the queue
    int apart            # datagrams that are equal can't go as one
    unsigned connects    # that went well
    unsigned sent        # datagrams
    unsigned received
    datagram *first      # owned
    datagram *last

cdef struct udp:
    op o                 # first
    reactor *r
    lane lanes[2]        # IPv4, IPv6
    inbox posted         # owned
    names names
    name *connecting     # to this name, when it is known
    deferred flusher     # sends what was handed in, at the start of the next step
    timer_node timer     # of a close that waits
    unsigned queued      # bytes handed in, by whoever holds the GIL
    atomic_word written  # ... and with the kernel, or given up; both wrap
    atomic_word wants    # UDP_WANT_*
    atomic_word stalled  # nothing is read until the owner has caught up
    atomic_amount unread  # bytes handed on that the owner, in any thread, has not consumed
    size_t limit         # ... at most
    bint opened
    bint leaving         # ends as soon as nothing waits to be sent
    bint over
    unsigned lost

cdef void lanes_emit(udp *, int kind) noexcept nogil
# EVENT_PROBLEM about a datagram; NULL: nobody knows which.
cdef void lanes_problem(udp *, int what, unsigned detail, datagram *) noexcept nogil
# It is with the kernel, or its failure was told: it is freed.
cdef void lanes_told(udp *, datagram *) noexcept nogil
cdef void lanes_queue(udp *, datagram *) noexcept nogil
# Whether something sent through it has, or will have, a peer to go to.
cdef bint lanes_has_peer(lane *) noexcept nogil
# Sends what the kernel takes.
cdef void lanes_flush(udp *) noexcept nogil
# Whether nothing waits to be sent.
cdef bint lanes_drained(udp *) noexcept nogil
cdef void lanes_watch(udp *, lane *) noexcept nogil
# Whether the owner has caught up so far that it is worth to read on.
cdef bint lanes_caught_up(udp *) noexcept nogil
