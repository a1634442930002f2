"""What a transfer consists of while it runs, and the life of the libcurl handle under it.

    slot      the response that is coming in, and what on: a libcurl handle, or a line
    line      a kept connection of the native lane
    origin    what a pool knows of one scheme, host and port
    pool      a Client's connections on one engine
    xfer      one request, embedded in its owner

`response` fills a slot, `timing` reads it, `pool` starts and ends transfers.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from ftcore.body cimport body
from ftcore.decode cimport decoder
from ftcore.connection cimport connecting
from ftcore.heading cimport heading
from ftcore.libcurl cimport CURL, curl_slist
from ftcore.multi cimport multi
from ftcore.op cimport atomic_word, event, op, slab
from ftcore.profile cimport phases
from ftcore.quality cimport estimator, watch
from ftcore.reactor cimport deferred, reactor, source, timer_node
from ftcore.settings cimport settings, template
from ftcore.sink cimport sink
from ftcore.wire cimport wire

cdef enum state:
    NEW
    WAITING
    RUNNING
    ENDED

cdef enum:
    WANT_HEADERS = 1
    WANT_CHUNKS = 2
    WANT_PROGRESS = 4

cdef struct slot:
    # A response that is coming in, on a libcurl handle, which lives on one multi handle; or, on the
    # native lane, on a line.
    CURL *easy               # owned; NULL: on the native lane
    multi *m
    line *on                 # the native lane: its connection, until the end
    heading asking           # ... the header block of the request, where the template's won't do
    timer_node patience      # ... how long "100 Continue" is waited for
    bint starving            # ... the body was not to be read just now
    bint alone               # ... must have a new connection: a kept one was dead
    bint unexpecting         # ... the peer does not know "Expect"
    slot *next               # in the multi handle's list of spare ones, or in the pool's
    slot *all_next           # in the pool's list, for freeing
    int place                # of `m` in the pool
    uint64_t prepared        # the template that the handle is set to; 0: none
    xfer *x
    char *head               # owned; raw header block of the current response
    size_t head_length
    size_t head_room
    int status
    int interim              # 1xx responses seen
    bint head_done           # the blank line of the final response came
    bint head_over           # of any response
    bint location
    bint charset             # its content-type names one
    bint has_length          # Content-Length and
    bint has_coding          # Transfer-Encoding came, both: not to be trusted (RFC 9112 6.1)
    int64_t content_length   # ... and what it says
    int64_t first_of_range   # of Content-Range; -1: none
    int64_t size_of_range    # ... and what of; -1: not told
    bint other_file          # an ETag that is not the one asked for
    bint swallowing          # libcurl will send the request again: this body is nobody's
    int fd                   # the last socket opened; -1: none
    int used_fd              # the socket that the answer is awaited on; -1: not known yet
    int64_t used_since       # ... when it was opened, which tells it from others of its number
    long open_errno          # why opening one failed
    long old_errno           # of an address that was tried before the one that was reached
    bint redirecting         # this body is not for the caller
    char codings[256]        # its content-encoding
    size_t codings_length
    decoder *codec           # owned; NULL: the body is as it comes
    size_t skip              # bytes it has had of what libcurl will deliver again
    int verdict              # an OUTCOME_* that made a callback refuse; EARLY_END
    int64_t taken            # decoded body bytes
    int64_t wire             # body bytes before decoding
    int64_t head_bytes       # of header blocks and trailers, a proxy's answer to CONNECT left out
    slab *body               # kept body; one hold
    size_t body_length
    slab *stream             # chunks are written here; one hold
    size_t stream_used
    event *last_chunk        # may grow while `last_turn` is the current one
    int64_t last_turn
    int64_t launched         # m.acts when libcurl got the handle
    int64_t opened_at        # connectStart
    int64_t stands_at        # TCP stands
    int64_t shook[2]         # TLS began, and was through
    int64_t ready_at         # connected, about to send
    bint again               # ... once more, as the connection before was dead
    int64_t sent_at          # libcurl was back from sending the request, or the first part of it
    int64_t first_byte_at    # when libcurl told of it
    int64_t answered_at      # the final answer's first byte came in
    int64_t last_at          # its last one so far did
    int64_t arrived_turn     # of the reactor, in which that was told of
    char ip[46]              # of the peer, once connected
    int port
    bint continued           # something came that was no answer yet
    char error[256]

cdef struct line:
    # A connection of the native lane; its requests are one origin's.
    wire *w                  # owned
    pool *home
    slot *s                  # whose request is on it; NULL: it is idle
    int origin
    connecting asked
    int extra                # descriptors beside its socket: the multi handle's
    line *older              # the origin's idle one that ended its last response before
    line *newer
    line *before             # ... the same of all origins
    line *after

cdef struct origin:
    int running
    bint multiplexed         # its last response came over h2 or h3
    bint single              # ... over HTTP/1
    int home                 # 1 + place of the multi handle for multiplexed connections; 0: none
    int *idle                # owned; places of multi handles with an idle connection, a stack
    int idle_count
    int idle_room
    line *newest             # of the native lane's idle ones
    xfer *waiting_first
    xfer *waiting_last
    int previous             # in the pool's list of origins with a queue; -1: none
    int following
    bint listed

cdef struct pool:
    op control               # first: its command closes the pool
    reactor *r
    settings *set
    estimator *quality       # the Client's
    multi **multis           # owned
    int multi_count
    unsigned next_full       # where all multi handles are full, they take turns
    origin *origins          # owned
    int origin_count
    int first_listed         # origins with a queue
    int running              # transfers that count against max_connections
    int files                # transfers that have one open, or may
    long waiting
    xfer *first              # every transfer submitted and not ended
    slot *slots
    slot *spare              # of the native lane
    int lines                # connections of the native lane, idle ones included
    int extra                # ... descriptors that they have beside their sockets
    line *idle_newest
    line *idle_oldest
    void (*settled)(slot *, int outcome) noexcept nogil  # an exchange of the native lane has ended
    deferred starter         # runs start_waiting
    bint closed

cdef struct xfer:
    op o                     # first
    pool *home
    template *t
    slot *s
    state state
    atomic_word wants        # WANT_*; set from any thread
    int outcome
    long os_errno
    bint counted             # against max_connections
    bint filed               # ... and in pool.files
    bint native              # its current hop is, or was, on the native lane
    bint held                # the caller paused it
    bint stalled             # libcurl was told to wait
    size_t unread            # bytes in chunk events not yet delivered
    timer_node timer
    int64_t timeout          # ns
    const char *body
    int64_t body_length
    body *source             # the body, when it is made of pieces; of the owner
    sink *file               # where the response's body goes; of the owner
    deferred breath          # goes on after a pause for the others
    int64_t busy_turn        # the reactor's turn in which it was at work last
    int64_t busy_since
    event progress_event
    bint progress_queued
    int64_t progress_at      # the last one
    timer_node progress_timer  # for the next
    int64_t progress_from    # bytes that the file had before this response
    int64_t progress_done    # never less than it was
    int64_t progress_total   # 0: unknown
    xfer *previous           # in pool.first
    xfer *following
    xfer *queue_previous     # in origin.waiting_*
    xfer *queue_following
    event headers_event
    event flush_event
    bint flush_queued
    bint result_held         # the owner has EVENT_DONE but keeps it back
    bint expired             # ... for longer than its time limit
    phases ph
    watch watched            # what the estimator of quality knows of it
    int hops                 # redirects followed; the rest is about the current hop
    bint altered             # it is no longer what the template says
    bint whole               # what was to be a part of a file is asked for as a whole
    char *url                # owned
    curl_slist *headers      # owned
    bint estranged           # left the first origin: no credentials any more
    bint bare                # the body was dropped on the way
    int64_t sent_before
    int64_t received_before

cdef enum:
    EARLY_END = 1000   # a slot's verdict: the transfer is over and fine
    START_OVER = 1001  # ... is to be sent again, for the whole file

cdef long slots_alive

# Without a multi handle, for the native lane; NULL when memory is out.
cdef slot *slot_new(multi *, settings *) noexcept nogil
cdef void slot_free(slot *) noexcept nogil
# For multi.watches: a transfer waits for its answer on a socket.
cdef void slot_watches(CURL *, int fd) noexcept nogil
# What the reactor knows of the connection that the answer comes in on; NULL: none, or closed.
cdef source *slot_connection(slot *) noexcept nogil
# When what libcurl reads just now for it came in, the `first` byte or the last; 0: unknown. What is
# older than the request belonged to something else.
cdef int64_t slot_came_at(slot *, bint first) noexcept nogil
# Ready for a new response.
cdef void slot_clear(slot *) noexcept nogil
# Sets the handle to what the transfer needs; nothing of an earlier one is left. 0, or a CURLcode.
cdef int slot_prepare(slot *, settings *, xfer *) noexcept nogil


cdef inline const char *request_url(xfer *x) noexcept nogil:
    """The URL of the current hop."""
    return x.url if x.url != NULL else x.t.url


cdef inline bint is_get(xfer *x) noexcept nogil:
    """Whether the current hop is a GET, without a body."""
    return x.bare or (x.t.verb == NULL and not x.t.with_body and not x.t.head)
