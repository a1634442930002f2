"""A UDP socket in the loop. See udp_socket.pxd."""
from libc.errno cimport EAGAIN, EMSGSIZE, ENOMEM
from libc.string cimport memcpy
from posix.unistd cimport close

from ftcore.buffers cimport memory_drop, memory_take
from ftcore.datagram cimport (
    DATAGRAM_CONNECT, DATAGRAM_OPEN, DATAGRAM_SEND, datagram, datagram_free,
)
from ftcore.lanes cimport (
    PROBLEM_NAME, lane, lanes_drained, lanes_emit, lanes_flush, lanes_has_peer, lanes_problem,
    lanes_queue, lanes_told, lanes_watch, udp,
)
from ftcore.names cimport name, names_asked, names_close, names_find, names_wait
from ftcore.op cimport (
    COMMAND_ABORT, COMMAND_CLOSE, COMMAND_DRAINED, COMMAND_SEND, COMMAND_START, EVENT_CHUNK,
    EVENT_DONE, EVENT_OPEN, SLAB_ROOM, amount_add, amount_get, event, inbox_init, inbox_node,
    inbox_take, now_ns, op, slab, slab_hold, slab_is_mine, word_set,
)
from ftcore.reactor cimport (
    POLLER_ERROR, POLLER_READ, POLLER_WRITE, datagram_address, reactor, reactor_emit,
    reactor_event, reactor_forget, reactor_hold, reactor_timer_clear, reactor_timer_set, source,
    timer_node, undefer,
)

cdef extern from "c/batch.h" nogil:
    enum: BATCH_MOST
    ctypedef struct datagram_in:
        datagram_address source "from"
        const char *data
        size_t length
        size_t piece
        int cut
    ctypedef struct batch_receiver:
        pass
    batch_receiver *batch_receiver_new()
    int batch_receive(int, batch_receiver *, datagram_in *, int)

cdef extern from "c/datagram.h" nogil:
    int datagram_failure(int)

cdef enum:
    BATCHES_AT_ONCE = 8
    CLOSE_WITHIN = 1000000000  # ns that a close waits for what was sent before


# ---------------------------------------------------------------- what callers want

cdef void accept(udp *u, datagram *d) noexcept nogil:
    """The next thing in order; what has to do with the peer waits until it is known."""
    if d.what == DATAGRAM_OPEN:
        open_lane(u, d)
    elif u.connecting != NULL and (d.through or d.what == DATAGRAM_CONNECT):
        names_wait(u.connecting, d)
    elif d.named and not (d.through and lanes_has_peer(&u.lanes[d.six])):
        ask(u, d)
    else:
        lanes_queue(u, d)


cdef void ask(udp *u, datagram *d) noexcept nogil:
    cdef int found = names_find(&u.names, d)
    if found < 0:
        lanes_problem(u, -found, 0, d)
        lanes_told(u, d)
    elif found:
        lanes_queue(u, d)
    elif d.what == DATAGRAM_CONNECT:
        u.connecting = names_asked(&u.names, d)


cdef void on_answer(void *owner, name *n, datagram *d) noexcept nogil:
    """What waited for a name goes on."""
    cdef udp *u = <udp *>owner
    cdef datagram *following
    if u.connecting == n:
        u.connecting = NULL
    while d != NULL:
        following = d.next
        if d.failed and not (d.through and lanes_has_peer(&u.lanes[d.six])):
            lanes_problem(u, d.failed, PROBLEM_NAME, d)
            lanes_told(u, d)
        else:
            accept(u, d)
        d = following
    flush(u)


cdef void open_lane(udp *u, datagram *d) noexcept nogil:
    cdef lane *way = &u.lanes[d.six]
    cdef source *s
    way.fd = d.value
    lanes_told(u, d)
    if not reactor_hold(u.r, way.fd):
        lanes_problem(u, ENOMEM, 0, NULL)
        return
    s = &u.r.sources[way.fd]
    s.ready = on_ready
    s.owner = u
    way.watched = True
    lanes_watch(u, way)
    if not u.opened:
        u.opened = True
        lanes_emit(u, EVENT_OPEN)


cdef void flush(udp *u) noexcept nogil:
    lanes_flush(u)
    if u.leaving and lanes_drained(u):
        end(u)


cdef void udp_send_posted(void *owner) noexcept nogil:
    cdef udp *u = <udp *>owner
    cdef inbox_node *node
    cdef inbox_node *following
    if u.over:
        return
    node = inbox_take(&u.posted)
    while node != NULL:
        following = node.next
        accept(u, <datagram *>node)
        node = following
    flush(u)


# ---------------------------------------------------------------- what comes

cdef slab *room_for(reactor *r, size_t length) noexcept nogil:
    """The reactor's slab with so much room; NULL when memory is out."""
    if r.reading == NULL or r.reading.room - r.reading_used < length:
        if r.reading != NULL:
            memory_drop(r.reading)
        r.reading = memory_take(length if length > SLAB_ROOM else SLAB_ROOM)
        r.reading_used = 0
    return r.reading


cdef void hand_on(udp *u, lane *way, datagram_in *d) noexcept nogil:
    cdef size_t left = d.length
    cdef size_t piece = d.piece if d.piece else left
    if d.cut:
        lanes_problem(u, EMSGSIZE, 0, NULL)
        return
    while left > piece:
        hand_on_one(u, way, d, d.data + (d.length - left), piece)
        left -= piece
    hand_on_one(u, way, d, d.data + (d.length - left), left)


cdef void hand_on_one(
        udp *u, lane *way, datagram_in *d, const char *data, size_t length) noexcept nogil:
    cdef event *e
    cdef slab *s = room_for(u.r, length + ADDRESS_BEFORE)
    cdef char *start
    way.received += 1
    if s == NULL:
        lanes_problem(u, ENOMEM, 0, NULL)
        return
    e = reactor_event(u.r)
    if e == NULL:
        return  # not even that can be told
    start = s.data + u.r.reading_used + ADDRESS_BEFORE
    memcpy(start - ADDRESS_BEFORE, &d.source, sizeof(datagram_address))
    memcpy(start, data, length)
    u.r.reading_used += ADDRESS_BEFORE + length
    slab_hold(s)
    e.kind = EVENT_CHUNK
    e.target = &u.o
    e.detail = way.connects * 2 + (way == &u.lanes[1])
    e.memory = s
    e.start = start
    e.length = length
    amount_add(&u.unread, length + DATAGRAM_COST)
    reactor_emit(u.r, e)


cdef void receive(udp *u, lane *way) noexcept nogil:
    """What has come, unless the owner has enough. One datagram is fetched where one is expected,
    the answer to what was sent: to look for more would cost as much again."""
    cdef datagram_in came[BATCH_MOST]
    cdef int i, _turn, count
    cdef int most = 1 if way.sent - way.received == 1 else BATCH_MOST
    if u.r.datagrams == NULL:
        u.r.datagrams = batch_receiver_new()
        if u.r.datagrams == NULL:
            lanes_problem(u, ENOMEM, 0, NULL)
            return
    if u.r.reading != NULL and slab_is_mine(u.r.reading):
        u.r.reading_used = 0
    for _turn in range(BATCHES_AT_ONCE):
        if u.leaving or amount_get(&u.unread) >= u.limit:
            break
        count = batch_receive(way.fd, <batch_receiver *>u.r.datagrams, came, most)
        if count == -EAGAIN:
            break
        if count < 0:
            lanes_problem(u, -count, 0, NULL)
            continue
        for i in range(count):
            hand_on(u, way, &came[i])
        if count < BATCH_MOST:
            break
    lanes_watch(u, way)


cdef void on_ready(void *owner, int fd, unsigned ready) noexcept nogil:
    cdef udp *u = <udp *>owner
    cdef lane *way = &u.lanes[fd == u.lanes[1].fd]
    cdef int failed
    if ready & POLLER_ERROR:
        failed = datagram_failure(fd)
        if failed:
            lanes_problem(u, failed, 0, NULL)
    if ready & POLLER_WRITE:
        flush(u)
    if ready & POLLER_READ and not u.over:
        receive(u, way)


# ---------------------------------------------------------------- its life

cdef void udp_begin(udp *u, reactor *r, size_t limit) noexcept nogil:
    u.lanes[0].fd = u.lanes[1].fd = -1
    inbox_init(&u.posted)
    u.r = u.names.r = r
    u.limit = limit
    u.o.command = udp_on_command
    u.flusher.owner = u.names.owner = u.timer.owner = u
    u.flusher.run = udp_send_posted
    u.names.answered = on_answer
    u.timer.fire = on_due


cdef void on_due(timer_node *node) noexcept nogil:
    end(<udp *>node.owner)


cdef void leave(udp *u) noexcept nogil:
    """Ends it behind what waits to be sent."""
    cdef int which
    if u.over or u.leaving:
        return
    u.leaving = True
    if lanes_drained(u) or reactor_timer_set(u.r, &u.timer, now_ns() + CLOSE_WITHIN) != 0:
        end(u)
        return
    for which in range(2):
        lanes_watch(u, &u.lanes[which])


cdef void drop_all(udp *u, datagram *d) noexcept nogil:
    cdef datagram *following
    while d != NULL:
        following = d.next
        u.lost += d.what == DATAGRAM_SEND
        lanes_told(u, d)
        d = following


cdef void end(udp *u) noexcept nogil:
    cdef lane *way
    cdef int which
    if u.over:
        return
    u.over = True
    undefer(&u.r.first, &u.flusher)
    reactor_timer_clear(u.r, &u.timer)
    drop_all(u, names_close(&u.names))
    for which in range(2):
        way = &u.lanes[which]
        drop_all(u, way.first)
        way.first = way.last = NULL
        if way.fd >= 0:
            reactor_forget(u.r, way.fd)
            close(way.fd)
            way.fd = -1
    u.o.last.kind = EVENT_DONE
    u.o.last.target = &u.o
    reactor_emit(u.r, &u.o.last)


cdef void udp_drop(udp *u) noexcept nogil:
    cdef inbox_node *node = inbox_take(&u.posted)
    cdef inbox_node *following
    while node != NULL:
        following = node.next
        datagram_free(<datagram *>node)
        node = following


cdef void catch_up(udp *u) noexcept nogil:
    """The owner has caught up: it is read again."""
    cdef int which
    word_set(&u.stalled, 0)
    for which in range(2):
        if u.lanes[which].watched:
            receive(u, &u.lanes[which])


cdef void udp_on_command(op *o, unsigned commands) noexcept nogil:
    cdef udp *u = <udp *>o
    if u.over:
        return
    if commands & (COMMAND_START | COMMAND_SEND | COMMAND_CLOSE | COMMAND_ABORT):
        udp_send_posted(u)
    if commands & COMMAND_DRAINED and not u.over:
        catch_up(u)
    if commands & COMMAND_CLOSE:
        leave(u)
    if commands & COMMAND_ABORT:
        end(u)
