"""One WebSocket on a connection: what is sent, how long is waited, how it ends. See frames.pxd."""
from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcpy

from ftcore.buffers cimport memory_drop
from ftcore.connection cimport (
    CONNECTION_AGAIN, CONNECTION_FAILED, PIECES, connection_free, connection_read_phases,
    connection_send_pieces, connection_watch,
)
from ftcore.op cimport (
    COMMAND_DRAINED, EVENT_DONE, EVENT_DRAINED, EVENT_FAULT, EVENT_HEADERS, EVENT_SENT,
    OUTCOME_NO_MEMORY, OUTCOME_OK, OUTCOME_TIMEOUT, amount_get, inbox_node, inbox_take, now_ns,
    word_add, word_get, word_set,
)
from ftcore.outgoing cimport (
    WS_HEADER_ROOM, WS_OP_CLOSE, WS_OP_PING, outgoing_frame, outgoing_free,
)
from ftcore.profile cimport ENDED_AT, FETCH_START, QUEUE_START
from ftcore.reactor cimport (
    POLLER_READ, POLLER_WRITE, reactor_emit, reactor_event, reactor_post, reactor_timer_clear,
    reactor_timer_set, undefer,
)

cdef enum:
    NOT_CLEAN = 1006              # as browsers say it


# ---------------------------------------------------------------- what is sent

cdef void frames_enqueue(websocket *w, outgoing *o) noexcept nogil:
    """Behind what waits; nothing goes behind a close frame, and a fault has one of its own."""
    if w.close_sent or (o.close and w.state == WS_FAULTED):
        outgoing_free(o)
        return
    if o.close:
        w.close_sent = True
        if w.state == WS_OPEN:
            w.state = WS_CLOSING
            w.pinged_at = 0
            frames_arm(w, w.close_within)
    o.next = NULL
    if w.last != NULL:
        w.last.next = o
    else:
        w.first = o
    w.last = o


cdef void frames_take_posted(websocket *w) noexcept nogil:
    cdef inbox_node *node = inbox_take(&w.posted)
    cdef inbox_node *following
    while node != NULL:
        following = node.next
        frames_enqueue(w, <outgoing *>node)
        node = following


cdef void gone(websocket *w, outgoing *o) noexcept nogil:
    """All of it is with the kernel."""
    cdef event *e
    if o.token > 0:
        e = reactor_event(w.r)
        if e != NULL:
            e.kind = EVENT_SENT
            e.target = &w.o
            e.length = <size_t>o.token
            reactor_emit(w.r, e)
    if o == w.pong:
        w.pong = NULL
    w.first = o.next
    if w.first == NULL:
        w.last = NULL
    outgoing_free(o)


cdef void count_written(websocket *w, size_t n) noexcept nogil:
    cdef outgoing *o
    cdef size_t part
    while n:
        o = w.first
        part = o.length - o.gone
        if part > n:
            o.gone += n
            if o == w.pong:
                w.pong = NULL
            return
        n -= part
        if o.token >= 0:
            word_add(&w.written, <unsigned>(o.length - WS_HEADER_ROOM))
        gone(w, o)


cdef void frames_flush(websocket *w) noexcept nogil:
    """Sends what the kernel takes."""
    cdef const char *pieces[PIECES]
    cdef size_t lengths[PIECES]
    cdef outgoing *o
    cdef int count
    cdef int64_t n
    w.pongs = 0
    while w.first != NULL:
        count = 0
        o = w.first
        while o != NULL and count < (w.offered if w.offered else PIECES):
            pieces[count] = o.memory.data + o.gone
            lengths[count] = o.length - o.gone
            count += 1
            o = o.next
        n = connection_send_pieces(w.c, pieces, lengths, count)
        if n == CONNECTION_FAILED:
            frames_lost(w)
            return
        w.blocked = n == CONNECTION_AGAIN
        if w.blocked:
            if w.c.coded:
                w.offered = count
                o = w.first
                while count:
                    if o == w.pong:
                        w.pong = NULL
                    o = o.next
                    count -= 1
            frames_watch(w)
            return
        w.offered = 0
        count_written(w, <size_t>n)
    frames_watch(w)
    if word_get(&w.wants) & WANT_DRAIN:
        frames_emit(w, EVENT_DRAINED)


# ---------------------------------------------------------------- what is watched, and for how long

cdef bint frames_must_wait(websocket *w) noexcept nogil:
    return w.held or amount_get(&w.unread) >= w.limit


cdef bint frames_caught_up(websocket *w) noexcept nogil:
    return amount_get(&w.unread) * 2 <= w.limit


cdef void frames_watch(websocket *w) noexcept nogil:
    cdef unsigned wanted = 0
    cdef bint stalled
    if w.c == NULL:
        return
    if w.first != NULL:
        wanted |= POLLER_WRITE
    stalled = w.state == WS_OPEN and frames_must_wait(w)
    if stalled != <bint>word_get(&w.stalled):
        word_set(&w.stalled, stalled)
    if stalled and not w.held and frames_caught_up(w):
        reactor_post(w.r, &w.o, COMMAND_DRAINED)  # the owner was too fast to see that we wait
    if w.state != WS_JUDGED and w.state != WS_FAULTED and not stalled:
        wanted |= POLLER_READ
    connection_watch(w.c, wanted)


cdef void frames_emit(websocket *w, int kind) noexcept nogil:
    cdef event *e = reactor_event(w.r)
    if e != NULL:
        e.kind = kind
        e.target = &w.o
        reactor_emit(w.r, e)


cdef void frames_arm(websocket *w, int64_t within) noexcept nogil:
    reactor_timer_set(w.r, &w.timer, now_ns() + within)


cdef void frames_on_due(timer_node *node) noexcept nogil:
    """The timer, whatever it was set for."""
    cdef websocket *w = <websocket *>node.owner
    if w.state == WS_STARTING or (w.state == WS_ASKING and w.answer.end == 0):
        frames_over(w, OUTCOME_TIMEOUT)
    elif w.state == WS_ASKING:
        frames_judge(w)  # enough of the body of a refusal
    elif w.state == WS_OPEN:
        ping(w)
    elif w.state != WS_OVER:
        frames_over(w, OUTCOME_OK)


cdef void ping(websocket *w) noexcept nogil:
    """One that is not answered until the next is due shows that nobody is there."""
    cdef outgoing *o
    if w.pinged_at and w.heard_at < w.pinged_at and not frames_must_wait(w):
        w.why = b"no answer to a ping"
        frames_over(w, OUTCOME_OK)
        return
    w.ping_number += 1
    o = outgoing_frame(&w.masks, WS_OP_PING, True, False, <uint8_t *>&w.ping_number, 4)
    if o == NULL:
        frames_over(w, OUTCOME_NO_MEMORY)
        return
    o.token = -1
    w.pinged_at = now_ns()
    frames_enqueue(w, o)
    frames_arm(w, w.ping_every)
    frames_flush(w)


# ---------------------------------------------------------------- the ends

cdef void frames_over(websocket *w, int outcome) noexcept nogil:
    """The end, once; the owner hears of it last."""
    if w.state == WS_OVER:
        return
    if w.c != NULL:
        if w.outcome == 0 and outcome > 0:
            w.os_errno = w.c.os_errno
            memcpy(w.detail, w.c.error, sizeof(w.detail) - 1)
        if w.opened_at == 0:
            connection_read_phases(w.c, &w.ph)
            w.ph.at[FETCH_START] = w.ph.at[QUEUE_START]
        connection_free(w.c)
        w.c = NULL
    if not (w.close_received and w.why == NULL and outcome == OUTCOME_OK):
        w.code = NOT_CLEAN
        w.reason_length = 0
    w.state = WS_OVER
    w.outcome = outcome
    undefer(&w.r.first, &w.flusher)
    w.ph.at[ENDED_AT] = now_ns()
    reactor_timer_clear(w.r, &w.timer)
    w.o.last.kind = EVENT_DONE
    w.o.last.target = &w.o
    reactor_emit(w.r, &w.o.last)


cdef void frames_lost(websocket *w) noexcept nogil:
    """The connection broke; what was said before counts."""
    if w.close_received and w.why == NULL:
        frames_over(w, OUTCOME_OK)
    else:
        frames_over(w, w.c.code)


cdef void frames_stop(websocket *w, uint16_t code, const char *why) noexcept nogil:
    """The owner has the messages before the fault still to come, and may answer them."""
    w.why = why
    w.fault = code
    w.left = 0
    if w.message != NULL:
        memory_drop(w.message)
        w.message = NULL
    if w.close_sent:
        frames_over(w, OUTCOME_OK)
        return
    w.state = WS_FAULTED
    frames_arm(w, FAREWELL_WITHIN)
    frames_emit(w, EVENT_FAULT)


cdef void frames_say_farewell(websocket *w) noexcept nogil:
    cdef uint8_t payload[2]
    cdef outgoing *o
    if w.state != WS_FAULTED:
        return
    frames_take_posted(w)
    payload[0] = w.fault >> 8
    payload[1] = w.fault & 0xFF
    o = outgoing_frame(&w.masks, WS_OP_CLOSE, True, False, payload, 2)
    if o == NULL:
        frames_over(w, OUTCOME_NO_MEMORY)
        return
    o.token = -1
    w.state = WS_ENDING
    frames_enqueue(w, o)
    frames_flush(w)


cdef void frames_judge(websocket *w) noexcept nogil:
    """The owner has to say what it thinks of the answer; until then nothing is read."""
    w.state = WS_JUDGED
    reactor_timer_clear(w.r, &w.timer)
    frames_watch(w)
    frames_emit(w, EVENT_HEADERS)
