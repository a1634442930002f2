"""A kept HTTP/1.1 connection that we speak on ourselves: requests out, responses in, one at a time.

    w = wire_new(r, settings, &asked, &face, owner, profiled, &os_errno)
    face.opened(w)                 it stands
    wire_send(w, &request)         again and again, after `opened` and after `ended`
    face.head, face.body, ...      what comes in
    face.ended(w)                  the response is complete; with `w.reusable` another may follow
    face.lost(w, outcome)          instead of any of these, or while it is idle: nothing comes after
    wire_free(w)                   at any time, in any of the calls above too

Everything in the thread that drives the reactor. Nothing is allocated for a request, and nothing is
kept of a response but what of it is not complete: sockets read into memory of the reactor's.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t

from ftcore.connection cimport connecting, connection
from ftcore.profile cimport phases
from ftcore.reactor cimport deferred, reactor
from ftcore.settings cimport settings

cdef extern from "c/http1.h" nogil:
    enum: HTTP1_PLAIN
    enum: HTTP1_FOR_HEAD
    enum: HTTP1_INTERIM
    enum: HTTP1_HEAD
    enum: HTTP1_LOCATION
    enum: HTTP1_CONTENT_TYPE
    enum: HTTP1_CONTENT_ENCODING
    enum: HTTP1_CONTENT_RANGE
    enum: HTTP1_ETAG
    enum: HTTP1_LAST_MODIFIED
    ctypedef int http1_request
    ctypedef int http1_fault
    ctypedef struct http1_limits:
        pass
    ctypedef struct http1_event:
        int kind
        int fault
        const uint8_t *data
        size_t length
    ctypedef struct http1_span:
        unsigned start
        unsigned length
    ctypedef struct http1_head:
        int64_t content_length
        http1_span noted[6]
        unsigned fields
        int status
        int minor
        int framing
        int keep_alive
        int repeated
        int chunked
    ctypedef struct http1_reader:
        http1_head head
    const char *http1_fault_text(http1_fault)

cdef enum:
    MORE_LATER = -1   # what `more` says: wire_push will be called
    MORE_FAILED = -2  # ... the owner has ended it

cdef struct wire

cdef struct wire_face:
    void (*opened)(wire *) noexcept nogil
    # A header block, interim ones (1xx) too: `kind` is HTTP1_INTERIM or HTTP1_HEAD; the bytes are
    # gone after the call. What the engine must know of it is in w.reader.head.
    void (*head)(wire *, int kind, const char *block, size_t length) noexcept nogil
    # A piece of the body, out of its transfer coding; gone after the call. False: not now, it comes
    # again after wire_resume, and the peer has to wait.
    bint (*body)(wire *, const char *data, size_t length) noexcept nogil
    void (*ended)(wire *) noexcept nogil
    # An OUTCOME_* or a CURLcode; also in w.outcome, with w.os_errno and w.detail.
    void (*lost)(wire *, int outcome) noexcept nogil
    # For a request with `pulls`: the next bytes of its body into `into`; 0: that was all, MORE_*.
    # NULL where no request pulls.
    int64_t (*more)(wire *, char *into, size_t room) noexcept nogil

cdef struct wire_request:
    # What is sent; the bytes must stay until `ended`, `lost` or wire_free.
    http1_request kind
    const char *head      # request line to blank line
    size_t head_length
    const char *body
    size_t body_length
    bint pulls            # more of the body is asked for when that was sent
    bint waits            # ... but not before wire_push, or an interim or final answer ("Expect")

cdef struct wire:
    reactor *r
    connection *c          # owned
    const wire_face *face
    void *owner
    http1_reader reader
    bint standing          # opened, not lost
    bint busy              # a request is under way
    bint reusable          # after `ended`
    bint profiled          # the kernel notes when bytes come in
    bint over
    bint paused
    long begun             # requests sent, or begun to be
    long served            # responses that came in whole
    # the exchange under way, or the last one; moments in ns, 0: not reached
    int64_t began_at       # about to send
    int64_t sent_at        # the kernel has all of the request
    int64_t handed_at      # ... and was given the last of it
    int64_t first_at       # the first byte of the final answer came in
    int64_t last_at        # the last byte so far did, or the close that was the end
    int64_t last_turn      # of the reactor, in which that was read
    int64_t sent           # bytes of the request that the kernel, or TLS, took
    int64_t received       # bytes of header, body and trailers that came in, 1xx included
    int64_t idle_since     # when the last response ended
    # how it was lost
    int outcome
    long os_errno
    http1_fault fault      # 0, or what was wrong with the response: http1_fault_text
    const char *detail     # in words; "": nothing to say
    # of wire.pyx alone
    wire_request out
    size_t out_at          # bytes of head and body that are gone
    char *pulled           # owned; what `more` gave
    size_t pulled_at       # ... bytes of it that are gone
    size_t pulled_length
    bint pulling           # `more` may have more
    bint blocked           # waits until the socket can be written to
    int unsendable         # why nothing can be sent any more: the answer may be there
    bint early             # the response came in whole before the request was sent
    char *left             # owned; bytes read that could not be told yet
    size_t left_length
    size_t left_room
    size_t left_piece      # of these the first so many are a piece of the body
    bint reading
    unsigned char looks    # counts answers, to look twice at some
    bint in_parts          # answers were seen to come in at several times
    bint broken            # the socket has an error
    int64_t came_first     # when the bytes being told came in, the first and the last of them
    int64_t came_last
    deferred again         # goes on in the next step
    deferred release

# NULL when memory or descriptors are out. `opened` or `lost` is not called before this returns.
# What is asked, and the face, must stay; `profiled`: moments are wanted.
cdef wire *wire_new(
    reactor *, settings *, const connecting *, const wire_face *, void *owner, bint profiled,
    long *os_errno) noexcept nogil
cdef void wire_free(wire *) noexcept nogil
# The wire stands and is not busy. `lost` may be called before this returns.
cdef void wire_send(wire *, const wire_request *) noexcept nogil
# The owner's `more` has more, or the wait for an answer to "Expect" is over.
cdef void wire_push(wire *) noexcept nogil
# After `body` said "not now".
cdef void wire_resume(wire *) noexcept nogil
# Whether it was lost because the peer had closed an idle connection, as peers may at any time: it
# has served before and not a byte of this answer came. Whether the request may be sent again is the
# owner's to say: `sent` bytes of it may have reached the peer.
cdef bint wire_was_stale(wire *) noexcept nogil
# Whether every byte of the request is with the kernel.
cdef bint wire_sent_all(wire *) noexcept nogil
# When the kernel had all of the request, as far as the answer lets that be known; 0: not yet.
cdef int64_t wire_sent_at(wire *) noexcept nogil
# All moments that the wire knows of the exchange, into the CONNECT_*, SSL_*, DNS_*, REQUEST_* and
# RESPONSE_* ones; bytes, peer, round-trip time and whether the connection was used before.
cdef void wire_read_phases(wire *, phases *, int64_t since) noexcept nogil
