"""One TCP connection: bytes in and out, the end of either direction. See stream.pxd."""
from libc.errno cimport ETIMEDOUT
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from ftcore.buffers cimport memory_drop, memory_take
from ftcore.connection cimport (
    CONNECTION_AGAIN, CONNECTION_FAILED, PIECES, connection_finish, connection_free,
    connection_name, connection_new, connection_read_phases, connection_recv,
    connection_send_pieces, connection_watch,
)
from ftcore.op cimport (
    COMMAND_DRAINED, EVENT_CHUNK, EVENT_DONE, EVENT_DRAINED, EVENT_END, EVENT_HEADERS, EVENT_SENT,
    OUTCOME_ABORTED, OUTCOME_NO_MEMORY, OUTCOME_OK, OUTCOME_TIMEOUT, SLAB_ROOM, SLAB_SMALL_ROOM,
    amount_add, amount_get, amount_sub, event, inbox_node, inbox_take, now_ns, slab, slab_hold,
    slab_is_mine, word_get, word_set, word_sub, word_swap,
)
from ftcore.profile cimport ENDED_AT, FETCH_START, QUEUE_START, RESPONSE_END
from ftcore.reactor cimport (
    POLLER_READ, POLLER_WRITE, reactor_emit, reactor_event, reactor_lighten, reactor_post,
    reactor_timer_clear, reactor_timer_set, undefer,
)

cdef enum:
    COULDNT_CONNECT = 7       # as libcurl says it
    SEND_ERROR = 55
    READS_AT_ONCE = 8
    WORTH_A_READ = 20480      # room in a slab for another read; less cuts messages in two
    CHUNK_COST = 64
    FAREWELL_WITHIN = 1000000000  # ns for the peer to end its side, once all was sent


cdef piece *piece_new(size_t room) noexcept nogil:
    cdef piece *p = <piece *>malloc(sizeof(piece) + room)
    if p != NULL:
        memset(p, 0, sizeof(piece))
        p.length = room
        p.start = p.data
    return p


cdef void stream_emit(stream *s, int kind) noexcept nogil:
    cdef event *e = reactor_event(s.r)
    if e != NULL:
        e.kind = kind
        e.target = &s.o
        reactor_emit(s.r, e)


# ---------------------------------------------------------------- sending

cdef void enqueue(stream *s, piece *p) noexcept nogil:
    p.next = NULL
    if s.last != NULL:
        s.last.next = p
    else:
        s.first = p
    s.last = p


cdef void take_posted(stream *s) noexcept nogil:
    cdef inbox_node *node = inbox_take(&s.posted)
    cdef inbox_node *following
    while node != NULL:
        following = node.next
        enqueue(s, <piece *>node)
        node = following


cdef void drop_first(stream *s) noexcept nogil:
    cdef piece *p = s.first
    s.first = p.next
    if s.first == NULL:
        s.last = NULL
    if not p.end:
        word_sub(&s.pieces, 1)
    if not p.lent:
        free(p)
        return
    p.next = s.spent
    s.spent = p
    if not s.returning:
        s.returning = True
        stream_emit(s, EVENT_SENT)


cdef void count_sent(stream *s, size_t n) noexcept nogil:
    cdef size_t part
    amount_sub(&s.waiting, n)
    while n:
        part = s.first.length - s.first.gone
        if part > n:
            s.first.gone += n
            return
        n -= part
        drop_first(s)


cdef void drop_queue(stream *s) noexcept nogil:
    """What can't be sent any more."""
    cdef size_t lost
    while s.first != NULL:
        lost = s.first.length - s.first.gone
        s.unsent += lost
        amount_sub(&s.waiting, lost)
        drop_first(s)


cdef void sending_failed(stream *s) noexcept nogil:
    """The peer takes nothing more; but what it said before that is still to be read."""
    s.broken = True
    s.outcome = s.c.code
    s.os_errno = s.c.os_errno
    drop_queue(s)
    if s.state == STREAM_LEAVING or s.ended:
        stream_over(s, s.outcome)
    else:
        stream_watch(s)


cdef int64_t send_some(stream *s) noexcept nogil:
    """One system call's worth, of what stands before the end."""
    cdef const char *pieces[PIECES]
    cdef size_t lengths[PIECES]
    cdef piece *p = s.first
    cdef int count = 0
    cdef int most = s.offered if s.offered else PIECES
    cdef int64_t n
    while p != NULL and not p.end and count < most:
        pieces[count] = p.start + p.gone
        lengths[count] = p.length - p.gone
        count += 1
        p = p.next
    n = connection_send_pieces(s.c, pieces, lengths, count)
    s.offered = count if n == CONNECTION_AGAIN and s.c.coded else 0
    return n


cdef void flush(stream *s) noexcept nogil:
    cdef int64_t n
    while s.first != NULL:
        if s.first.end:
            if connection_finish(s.c) == CONNECTION_AGAIN:
                break
            s.finished = True
            drop_queue(s)
            break
        n = send_some(s)
        if n == CONNECTION_FAILED:
            sending_failed(s)
            return
        if n == CONNECTION_AGAIN:
            s.backed = True
            break
        count_sent(s, <size_t>n)
        if s.state == STREAM_LEAVING:
            reactor_timer_set(s.r, &s.timer, now_ns() + s.leave_within)
    if s.finished and s.ended:
        stream_over(s, OUTCOME_OK)
        return
    if s.finished and s.state == STREAM_LEAVING:
        reactor_timer_set(s.r, &s.timer, now_ns() + FAREWELL_WITHIN)
    stream_watch(s)
    if s.first == NULL:
        tell_drained(s)


cdef void tell_drained(stream *s) noexcept nogil:
    if word_swap(&s.empty, 0) or (s.backed and word_get(&s.drains)):
        stream_emit(s, EVENT_DRAINED)
    s.backed = False


cdef void stream_send(stream *s) noexcept nogil:
    """Nothing goes behind our end: the owner sees to that."""
    if s.state != STREAM_OPEN and s.state != STREAM_LEAVING:
        return
    take_posted(s)
    if s.broken or s.finished:
        drop_queue(s)
    else:
        flush(s)


# ---------------------------------------------------------------- receiving

cdef size_t stream_cost(size_t length) noexcept nogil:
    """Small ones get memory of their own, which has one size."""
    return CHUNK_COST + (length if length > SLAB_SMALL_ROOM else <size_t>SLAB_SMALL_ROOM)


cdef bint stream_caught_up(stream *s) noexcept nogil:
    return amount_get(&s.unread) * 2 <= s.limit


cdef bint must_wait(stream *s) noexcept nogil:
    return s.state == STREAM_OPEN and (s.held or amount_get(&s.unread) >= s.limit)


cdef void stream_watch(stream *s) noexcept nogil:
    cdef unsigned wanted = 0
    cdef bint stalled = must_wait(s)
    if s.c == NULL:
        return
    if s.first != NULL:
        wanted |= POLLER_WRITE
    if stalled != <bint>word_get(&s.stalled):
        word_set(&s.stalled, stalled)
    if stalled and not s.held and stream_caught_up(s):
        reactor_post(s.r, &s.o, COMMAND_DRAINED)  # the owner was too fast to see that we wait
    if not stalled and not s.ended:
        wanted |= POLLER_READ
    connection_watch(s.c, wanted)


cdef bint hand_on(stream *s, slab *memory, char *start, size_t length) noexcept nogil:
    """Where they were read to; but what Python may keep and is small is copied, so that it keeps
    no more than itself."""
    cdef event *e
    if length > SLAB_SMALL_ROOM:
        slab_hold(memory)
    else:
        memory = memory_take(length)
        if memory == NULL:
            return False
        memcpy(memory.data, start, length)
        start = memory.data
    e = reactor_event(s.r)
    if e == NULL:
        memory_drop(memory)
        return False
    e.kind = EVENT_CHUNK
    e.target = &s.o
    e.memory = memory
    e.start = start
    e.length = length
    amount_add(&s.unread, stream_cost(length))
    reactor_emit(s.r, e)
    return True


cdef int64_t read_some(stream *s, size_t *asked) noexcept nogil:
    """One read, and what it brings. The slab is shared with the next socket that reads."""
    cdef reactor *r = s.r
    cdef char *start
    cdef int64_t n
    if r.reading == NULL or r.reading.room - r.reading_used < WORTH_A_READ:
        if r.reading != NULL:
            memory_drop(r.reading)
        r.reading = memory_take(SLAB_ROOM)
        r.reading_used = 0
        if r.reading == NULL:
            stream_over(s, OUTCOME_NO_MEMORY)
            return 0
    start = r.reading.data + r.reading_used
    asked[0] = r.reading.room - r.reading_used
    n = connection_recv(s.c, start, asked[0])
    if n > 0 and s.state == STREAM_OPEN:
        r.read_now += <size_t>n
        if not hand_on(s, r.reading, start, <size_t>n):
            stream_over(s, OUTCOME_NO_MEMORY)
            return 0
        if n > SLAB_SMALL_ROOM:
            r.reading_used += <size_t>n
        if slab_is_mine(r.reading):
            r.reading_used = 0
    return n


cdef void on_end(stream *s) noexcept nogil:
    """The peer's; ours is the owner's to say, unless it did already."""
    s.ended = True
    if s.state == STREAM_OPEN and not s.broken:
        stream_emit(s, EVENT_END)
    if s.broken:
        stream_over(s, s.outcome)
    elif s.finished:
        stream_over(s, OUTCOME_OK)


cdef void on_lost(stream *s) noexcept nogil:
    """The connection broke. What is left to send counts; a farewell that breaks is one, too."""
    if s.broken:
        stream_over(s, s.outcome)
    elif s.state == STREAM_LEAVING and s.finished:
        stream_over(s, OUTCOME_OK)
    else:
        stream_over(s, s.c.code)


cdef void stream_receive(stream *s) noexcept nogil:
    """Whatever has come, unless the owner has enough."""
    cdef size_t asked = 0
    cdef int64_t n
    cdef int turns = 0
    cdef bint idle = True
    while s.c != NULL and not s.ended and not must_wait(s):
        if turns == READS_AT_ONCE:
            if s.c.coded:  # what was decrypted already the poller doesn't know of
                reactor_post(s.r, &s.o, COMMAND_DRAINED)
            break
        turns += 1
        n = read_some(s, &asked)
        if n == CONNECTION_AGAIN or s.state == STREAM_OVER:
            break
        if n == CONNECTION_FAILED:
            on_lost(s)
            break
        if n == 0:
            on_end(s)
            break
        idle = False
        if not s.c.coded and <size_t>n < asked:
            break
    if idle:  # else it happens when what came is delivered
        reactor_lighten(s.r, False)
    stream_watch(s)


# ---------------------------------------------------------------- from the start to the end

cdef void name_ends(stream *s) noexcept nogil:
    s.here.family = connection_name(s.c, False, s.here.address, &s.here.port)
    s.there.family = connection_name(s.c, True, s.there.address, &s.there.port)


cdef void on_opened(void *owner, int code) noexcept nogil:
    """The connection stands, or not."""
    cdef stream *s = <stream *>owner
    if code:
        stream_over(s, code)
        return
    s.state = STREAM_OPEN
    s.c.error[0] = 0  # of addresses that were tried in vain
    reactor_timer_clear(s.r, &s.timer)
    connection_read_phases(s.c, &s.ph)
    s.ph.at[FETCH_START] = s.ph.at[QUEUE_START]
    s.ph.at[RESPONSE_END] = now_ns()  # open
    name_ends(s)
    stream_emit(s, EVENT_HEADERS)
    if s.c.coded:  # with the end of its handshake TLS may have got more
        stream_receive(s)
    else:
        stream_watch(s)


cdef void on_ready(void *owner, unsigned ready) noexcept nogil:
    cdef stream *s = <stream *>owner
    if ready & POLLER_WRITE and s.first != NULL:
        flush(s)
    if s.c != NULL and ready & ~<unsigned>POLLER_WRITE:
        stream_receive(s)


cdef void on_due(timer_node *node) noexcept nogil:
    """The timer, whatever it was set for."""
    cdef stream *s = <stream *>node.owner
    if s.state == STREAM_STARTING:
        stream_over(s, OUTCOME_TIMEOUT)
    elif s.finished or s.first == NULL:
        stream_over(s, OUTCOME_OK)
    else:
        drop_queue(s)
        s.os_errno = ETIMEDOUT
        stream_over(s, SEND_ERROR)


cdef void run_send(void *owner) noexcept nogil:
    stream_send(<stream *>owner)


cdef void stream_start(stream *s) noexcept nogil:
    s.state = STREAM_STARTING
    s.flusher.owner = s
    s.flusher.run = run_send
    s.timer.owner = s
    s.timer.fire = on_due
    if reactor_timer_set(s.r, &s.timer, s.ph.at[QUEUE_START] + s.timeout) != 0:
        stream_over(s, OUTCOME_NO_MEMORY)
        return
    s.c = connection_new(s.r, s.set, &s.to, s, on_opened, on_ready, &s.os_errno)
    if s.c == NULL:  # no descriptor is left, mostly
        stream_over(s, COULDNT_CONNECT if s.os_errno else OUTCOME_NO_MEMORY)


cdef void stream_leave(stream *s) noexcept nogil:
    """Closes it behind what is queued. The peer's end is waited for: a socket that is closed while
    bytes come in tells the peer to forget what we sent (RFC 1122 4.2.2.13)."""
    if s.state == STREAM_STARTING:
        stream_over(s, OUTCOME_ABORTED)
        return
    if s.state != STREAM_OPEN:
        return
    s.state = STREAM_LEAVING
    if s.broken or (s.finished and s.ended):
        stream_over(s, s.outcome)
        return
    reactor_timer_set(
        s.r, &s.timer, now_ns() + (FAREWELL_WITHIN if s.finished else s.leave_within))
    stream_send(s)
    if s.state == STREAM_LEAVING:
        stream_receive(s)


cdef void stream_over(stream *s, int outcome) noexcept nogil:
    """The end, once; the owner hears of it last."""
    if s.state == STREAM_OVER:
        return
    if s.c != NULL:
        if outcome > 0 and s.os_errno == 0:
            s.os_errno = s.c.os_errno
        if outcome > 0:
            memcpy(s.detail, s.c.error, sizeof(s.detail) - 1)
        if s.state == STREAM_STARTING:
            connection_read_phases(s.c, &s.ph)
            s.ph.at[FETCH_START] = s.ph.at[QUEUE_START]
        connection_free(s.c)
        s.c = NULL
    s.state = STREAM_OVER
    s.outcome = outcome
    undefer(&s.r.first, &s.flusher)
    s.ph.at[ENDED_AT] = now_ns()
    reactor_timer_clear(s.r, &s.timer)
    s.o.last.kind = EVENT_DONE
    s.o.last.target = &s.o
    reactor_emit(s.r, &s.o.last)


cdef void stream_let_go(stream *s) noexcept nogil:
    s.returning = True  # no event any more
    take_posted(s)
    drop_queue(s)
