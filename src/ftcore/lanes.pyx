"""The kernel's sockets of a UDP socket. See lanes.pxd."""
from libc.errno cimport EAGAIN

from ftcore.buffers cimport memory_take
from ftcore.datagram cimport (
    DATAGRAM_BROADCAST, DATAGRAM_CONNECT, DATAGRAM_SEND, DATAGRAM_SET,
    DATAGRAM_TEXT, datagram, datagram_data, datagram_free, datagram_name, datagram_option,
)
from ftcore.op cimport (
    COMMAND_DRAINED, EVENT_DRAINED, EVENT_PROBLEM, amount_get, event, slab, word_add, word_set,
    word_swap,
)
from ftcore.reactor cimport (
    POLLER_READ, POLLER_WRITE, datagram_address, reactor_emit, reactor_event, reactor_post,
    reactor_watch,
)

cdef extern from "<stdio.h>" nogil:
    int snprintf(char *, size_t, const char *, ...)

cdef extern from "c/batch.h" nogil:
    enum: BATCH_MOST
    ctypedef struct datagram_out:
        const datagram_address *to
        const char *data
        size_t length
    int batch_send(int, const datagram_out *, int, int *apart)

cdef extern from "c/datagram.h" nogil:
    int datagram_connect(int, const datagram_address *)
    int datagram_set(int, int family, datagram_option, int)
    int datagram_address_text(const datagram_address *, char *, int *)

cdef enum:
    WHERE_ROOM = 320


# ---------------------------------------------------------------- what is told

cdef void lanes_emit(udp *u, int kind) noexcept nogil:
    cdef event *e = reactor_event(u.r)
    if e != NULL:
        e.kind = kind
        e.target = &u.o
        reactor_emit(u.r, e)


cdef slab *where(datagram *d) noexcept nogil:
    """The host and port that a datagram is for, as text; NULL when there is nothing to say."""
    cdef char text[DATAGRAM_TEXT]
    cdef slab *memory
    cdef int port = d.port
    if d.what == DATAGRAM_SET:
        return NULL
    memory = memory_take(WHERE_ROOM)
    if memory == NULL:
        return NULL
    if d.named:
        snprintf(memory.data, WHERE_ROOM, b"%s", datagram_name(d))
    elif datagram_address_text(&d.to, text, &port) == 6:
        snprintf(memory.data, WHERE_ROOM, b"[%s]:%d", text, port)
    else:
        snprintf(memory.data, WHERE_ROOM, b"%s:%d", text, port)
    return memory


cdef void lanes_problem(udp *u, int what, unsigned detail, datagram *d) noexcept nogil:
    """`d` is what it is about, NULL: nobody knows."""
    cdef event *e = reactor_event(u.r)
    if e == NULL:
        return
    e.kind = EVENT_PROBLEM
    e.target = &u.o
    e.length = <size_t><unsigned>what
    e.detail = detail
    if d != NULL:
        e.memory = where(d)
    reactor_emit(u.r, e)


cdef void lanes_told(udp *u, datagram *d) noexcept nogil:
    """It is with the kernel, or its failure was told."""
    word_add(&u.written, <unsigned>d.length)
    datagram_free(d)


# ---------------------------------------------------------------- what is sent

cdef void lanes_queue(udp *u, datagram *d) noexcept nogil:
    cdef lane *way = &u.lanes[d.six]
    d.next = NULL
    if way.last != NULL:
        way.last.next = d
    else:
        way.first = d
    way.last = d
    if d.what == DATAGRAM_CONNECT:
        way.connecting = True


cdef void take_first(udp *u, lane *way) noexcept nogil:
    cdef datagram *d = way.first
    way.first = d.next
    if way.first == NULL:
        way.last = NULL
    lanes_told(u, d)


cdef int send_batch(lane *way) noexcept nogil:
    """As many as may go in one call; what batch_send says."""
    cdef datagram_out out[BATCH_MOST]
    cdef datagram *d = way.first
    cdef bint broadcast = d.broadcast
    cdef int failed
    cdef int count = 0
    if broadcast != way.broadcast:
        failed = datagram_set(way.fd, 4, DATAGRAM_BROADCAST, broadcast)
        if failed:
            return -failed
        way.broadcast = broadcast
    while (d != NULL and d.what == DATAGRAM_SEND and d.broadcast == broadcast
            and count < BATCH_MOST):
        out[count].to = NULL if d.named or (d.through and way.connects) else &d.to
        out[count].data = datagram_data(d)
        out[count].length = d.length
        count += 1
        d = d.next
    return batch_send(way.fd, out, count, &way.apart)


cdef void do_first(udp *u, lane *way) noexcept nogil:
    """What is no datagram."""
    cdef datagram *d = way.first
    cdef int failed
    if d.what == DATAGRAM_CONNECT:
        way.connecting = False
        failed = datagram_connect(way.fd, &d.to)
        if not failed:
            way.connects += 1
    else:
        failed = datagram_set(way.fd, 6 if d.six else 4, d.option, d.value)
    if failed:
        lanes_problem(u, failed, 0, d)
    take_first(u, way)


cdef void flush_lane(udp *u, lane *way) noexcept nogil:
    cdef int sent
    cdef int met = 0  # what an earlier datagram met is told by the next one, which did not go
    while way.first != NULL:
        if way.first.what != DATAGRAM_SEND:
            do_first(u, way)
            continue
        sent = send_batch(way)
        if sent == -EAGAIN:
            break
        if sent < 0:
            if met == 0 and way.connects:
                met = -sent
                continue
            if met and met != -sent:
                lanes_problem(u, met, 0, NULL)
            met = 0
            lanes_problem(u, -sent, 0, way.first)
            take_first(u, way)
            continue
        if met:
            lanes_problem(u, met, 0, NULL)
            met = 0
        way.sent += <unsigned>sent
        while sent:
            take_first(u, way)
            sent -= 1
    if met:
        lanes_problem(u, met, 0, NULL)
    lanes_watch(u, way)


cdef bint lanes_drained(udp *u) noexcept nogil:
    return u.lanes[0].first == NULL and u.lanes[1].first == NULL and u.names.asking == 0


cdef void lanes_flush(udp *u) noexcept nogil:
    cdef int which
    for which in range(2):
        if u.lanes[which].first != NULL:
            flush_lane(u, &u.lanes[which])
    if lanes_drained(u) and word_swap(&u.wants, 0):
        lanes_emit(u, EVENT_DRAINED)


cdef bint lanes_has_peer(lane *way) noexcept nogil:
    return way.connects or way.connecting


# ---------------------------------------------------------------- what is watched

cdef bint lanes_caught_up(udp *u) noexcept nogil:
    return amount_get(&u.unread) * 2 <= u.limit


cdef void lanes_watch(udp *u, lane *way) noexcept nogil:
    cdef unsigned wanted = 0
    cdef bint stalled = amount_get(&u.unread) >= u.limit
    cdef int failed
    if not way.watched or u.over:
        return
    if way.first != NULL:
        wanted |= POLLER_WRITE
    if stalled:
        word_set(&u.stalled, 1)
        if lanes_caught_up(u):
            reactor_post(u.r, &u.o, COMMAND_DRAINED)  # the owner was too fast to see that we wait
    elif not u.leaving:
        wanted |= POLLER_READ
    if u.r.sources[way.fd].wanted != wanted:
        failed = reactor_watch(u.r, way.fd, wanted)
        if failed:
            lanes_problem(u, -failed, 0, NULL)
