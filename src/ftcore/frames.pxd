"""One WebSocket on a connection: the opening request, frames in and out, pings, closing.

Runs without the GIL in the thread that drives the engine (RFC 6455). What a message or an answer
means is the owner's part: it gets events, and gives commands.

    EVENT_HEADERS   the answer to the opening request is there: the owner says COMMAND_ACCEPT, or
                    COMMAND_ABORT
    EVENT_CHUNK     a message, or with `pieces` a part of one; `detail` has MESSAGE_* bits
    EVENT_SENT      what was sent with this token is with the kernel; `length` is the token
    EVENT_DRAINED   nothing is waiting to be sent
    EVENT_FAULT     the server broke the protocol; the owner says COMMAND_FAREWELL
    EVENT_DONE      over; `code`, `reason`, `outcome` say how
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ftcore.connection cimport connecting, connection
from ftcore.op cimport atomic_amount, atomic_word, event, inbox, op, slab
from ftcore.outgoing cimport outgoing, ws_mask_pool
from ftcore.opening cimport opening
from ftcore.permessage cimport inflation
from ftcore.profile cimport phases
from ftcore.reactor cimport deferred, reactor, timer_node
from ftcore.settings cimport settings

cdef extern from "c/ws_frame.h" nogil:
    ctypedef struct ws_reader:
        pass

cdef extern from "c/utf8.h" nogil:
    ctypedef struct utf8:
        pass

cdef enum ws_state:
    WS_STARTING      # connection
    WS_ASKING        # opening request
    WS_JUDGED        # answered, the owner has to say
    WS_OPEN
    WS_CLOSING       # a close frame was sent or received
    WS_FAULTED       # nothing more is read; what the owner had to say before goes out first
    WS_ENDING        # nothing that comes counts; what is queued goes out
    WS_OVER

cdef enum:
    MESSAGE_TEXT = 1
    MESSAGE_FIRST = 2
    MESSAGE_LAST = 4

cdef enum:
    MESSAGE_COST = 256   # bytes that a message counts for beside its own
    WANT_DRAIN = 1
    FAREWELL_WITHIN = 1000000000  # ns for the server to end the connection

cdef struct websocket:
    op o                 # first
    reactor *r
    settings *set
    connection *c        # owned
    ws_state state
    atomic_word wants    # WANT_*
    inbox posted         # outgoing, not yet queued
    outgoing *first
    outgoing *last
    bint blocked         # the kernel takes no more of the queue
    outgoing *pong       # came while it was blocked; none of it is gone
    int pongs            # in the queue since it was last sent
    unsigned queued      # bytes handed in, by whoever holds the GIL
    atomic_word written  # ... and with the kernel; both wrap
    connecting to        # its url is the owner's
    bint pieces          # messages are handed on in pieces
    bint held            # the owner paused it
    atomic_word stalled  # nothing is read until the owner has caught up
    atomic_amount unread  # bytes handed on that the owner, in any thread, has not consumed
    size_t limit         # ... at most
    uint64_t max_message
    opening answer       # to the opening request
    ws_reader reader
    bint inflates
    inflation inflate
    slab *message        # owned; what came of a message that is not complete
    size_t message_length
    uint64_t left        # bytes of the frame under way that have not come
    utf8 text            # of a compressed message
    ws_mask_pool masks   # for pongs and what the engine itself sends
    deferred flusher     # sends what was handed in, at the start of the next step
    timer_node timer
    int offered          # pieces that TLS was given and has to be given again; 0: none
    int64_t timeout      # ns, for the opening
    int64_t close_within
    int64_t ping_every   # 0: never
    int64_t pinged_at    # 0: answered
    int64_t latency      # of the last ping
    int64_t heard_at
    int64_t opened_at
    uint32_t ping_number
    bint close_sent
    bint close_received
    uint16_t code        # as onClose has it
    uint8_t reason[125]
    size_t reason_length
    const char *why      # what the server did wrong; NULL: nothing
    uint16_t fault       # the code it was told
    int outcome
    long os_errno
    char detail[256]
    phases ph

# Behind what waits; nothing goes behind a close frame.
cdef void frames_enqueue(websocket *, outgoing *) noexcept nogil
# What other threads have handed in, into the queue.
cdef void frames_take_posted(websocket *) noexcept nogil
# Sends what the kernel takes.
cdef void frames_flush(websocket *) noexcept nogil
cdef void frames_watch(websocket *) noexcept nogil
# Whether the owner wants no more for now.
cdef bint frames_must_wait(websocket *) noexcept nogil
# Whether it has caught up so far that it is worth to go on.
cdef bint frames_caught_up(websocket *) noexcept nogil
cdef void frames_emit(websocket *, int kind) noexcept nogil
cdef void frames_arm(websocket *, int64_t within) noexcept nogil
cdef void frames_on_due(timer_node *) noexcept nogil
# The owner has to say what it thinks of the answer; until then nothing is read.
cdef void frames_judge(websocket *) noexcept nogil
# The server broke the protocol: it is told, and then nothing more (RFC 6455 7.1.7), but only
# when the owner has heard what came before, so that its answers to that go first.
cdef void frames_stop(websocket *, uint16_t code, const char *why) noexcept nogil
# It has heard it.
cdef void frames_say_farewell(websocket *) noexcept nogil
# The connection broke; what was said before counts.
cdef void frames_lost(websocket *) noexcept nogil
# The end, once; the owner hears of it last.
cdef void frames_over(websocket *, int outcome) noexcept nogil
