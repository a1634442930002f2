"""One TCP connection: bytes in and out, the end of either direction, and of both.

Runs without the GIL in the thread that drives the engine. The owner gets events:

    EVENT_HEADERS   it is connected: both ends and `ph` are there
    EVENT_CHUNK     bytes came
    EVENT_END       the peer sends no more
    EVENT_SENT      pieces that were lent are in `spent`, until they are taken from there
    EVENT_DRAINED   nothing is waiting to be sent any more
    EVENT_DONE      over; `outcome`, `os_errno`, `unsent` say how
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from ftcore.connection cimport connecting, connection
from ftcore.op cimport atomic_amount, atomic_word, inbox, inbox_node, op
from ftcore.profile cimport phases
from ftcore.reactor cimport deferred, reactor, timer_node
from ftcore.settings cimport settings

cdef enum stream_state:
    STREAM_NEW
    STREAM_STARTING
    STREAM_OPEN
    STREAM_LEAVING   # the owner has closed it: what is queued goes out, what comes in is dropped
    STREAM_OVER

cdef enum:
    PIECE_COST = 64      # bytes that one counts for beside its own, on its way out

cdef struct piece:
    # Bytes on their way out; from any thread into `posted`, then in the queue.
    inbox_node link      # first
    piece *next
    size_t length
    size_t gone
    const char *start    # of them: `data`, or what is lent
    bint lent            # `data` is what the owner needs to know of that
    bint end             # not bytes: nothing comes after it
    char data[1]

cdef struct endpoint:
    char address[46]
    int port
    int family           # 4, 6, or 0: unknown

cdef struct stream:
    op o                 # first
    reactor *r
    settings *set
    connection *c        # owned
    stream_state state
    connecting to        # its strings are the owner's
    int64_t timeout      # ns, for the connection
    int64_t leave_within  # ns without a byte that goes out, once the owner has closed it
    inbox posted
    piece *first
    piece *last
    piece *spent         # lent ones that are not needed any more; the owner's to free
    bint returning       # it knows, or will know, that there are some
    int offered          # pieces that TLS was given and has to be given again; 0: none
    bint finished        # our end was sent
    bint broken          # what is queued can't be sent any more
    bint ended           # the peer's end came
    bint held            # the owner paused it
    bint backed          # the kernel did not take all at once
    atomic_word drains   # 1: the owner wants to know when that is over
    atomic_word empty    # 1: ... and, once, when nothing waits
    atomic_word stalled  # nothing is read until the owner has caught up
    atomic_amount unread  # bytes handed on that the owner, in any thread, has not consumed
    atomic_amount waiting  # bytes handed in that are not with the kernel
    atomic_word pieces   # ... and how many times
    size_t limit         # of unread
    deferred flusher     # sends what was handed in, at the start of the next step
    timer_node timer
    endpoint here
    endpoint there
    int outcome          # an OUTCOME_* or a CURLcode
    long os_errno
    size_t unsent        # bytes handed in that never went
    char detail[256]
    phases ph

# With room for so much in `data`; NULL when memory is out.
cdef piece *piece_new(size_t room) noexcept nogil
# What bytes count for until the owner has consumed them.
cdef size_t stream_cost(size_t length) noexcept nogil
cdef void stream_start(stream *) noexcept nogil
# What other threads have handed in, and the queue, as far as the kernel takes it.
cdef void stream_send(stream *) noexcept nogil
cdef void stream_receive(stream *) noexcept nogil
# Whether the owner has caught up so far that it is worth to go on.
cdef bint stream_caught_up(stream *) noexcept nogil
# Closes it behind what is queued.
cdef void stream_leave(stream *) noexcept nogil
# The end, once; the owner hears of it last.
cdef void stream_over(stream *, int outcome) noexcept nogil
cdef void stream_emit(stream *, int kind) noexcept nogil
# After the last event: what is queued is let go of.
cdef void stream_let_go(stream *) noexcept nogil
