"""A UDP socket. See udp.pxd."""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EAGAIN, ECONNREFUSED, EMSGSIZE, ENOMEM
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset, strncpy
from posix.unistd cimport close

from ftcore.buffers cimport chunk_new, memory_drop, memory_take
from ftcore.op cimport (
    COMMAND_CLOSE, COMMAND_DRAINED, COMMAND_SEND, COMMAND_START, EVENT_CHUNK, EVENT_DONE,
    EVENT_PROBLEM, EVENT_SENT, SLAB_ROOM, event, inbox_init, inbox_node, inbox_push, inbox_take, op,
    slab, slab_hold, slab_is_mine, word_add, word_get,
)
from ftcore.reactor cimport (
    POLLER_READ, POLLER_WRITE, datagram_address, lookup, reactor, reactor_emit, reactor_event,
    reactor_forget, reactor_hold, reactor_look_up, reactor_post, reactor_watch, source,
)

import os

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET
    enum: AF_INET6
    enum: AF_UNSPEC

cdef extern from "c/datagram.h" nogil:
    enum: DATAGRAM_BATCH
    enum: DATAGRAM_MOST
    ctypedef struct datagram_out:
        const datagram_address *to
        const char *data
        size_t length
    ctypedef struct datagram_in:
        datagram_address source "from"
        const char *data
        size_t length
        int cut
    ctypedef struct datagram_receiver:
        pass
    datagram_receiver *datagram_receiver_new()
    int datagram_send(int, const datagram_out *, int)
    int datagram_receive(int, datagram_receiver *, datagram_in *)
    int datagram_open(int family, int *port)
    int datagram_address_text(const datagram_address *, char *, int *)
    int datagram_address_from(datagram_address *, const char *, int)
    int datagram_local(int, datagram_address *)
    int datagram_connect(int, const datagram_address *)
    int datagram_set_ttl(int, int family, int hops, int multicast)
    int datagram_set_broadcast(int, int on)
    int datagram_set_loop(int, int family, int on)
    int datagram_membership(int, int family, const char *, const char *, int join)

cdef extern from "<netdb.h>" nogil:
    const char *gai_strerror(int)

cdef enum:
    BATCHES_AT_ONCE = 8
    NAME_ROOM = 255


# ---------------------------------------------------------------- sending

cdef void datagram_free(datagram *d) noexcept nogil:
    memory_drop(d.memory)
    free(d)


cdef void emit_problem(udp *u, int problem, unsigned detail) noexcept nogil:
    cdef event *e = reactor_event(u.r)
    if e != NULL:
        e.kind = EVENT_PROBLEM
        e.target = &u.o
        e.length = <size_t><unsigned>problem
        e.detail = detail
        reactor_emit(u.r, e)


cdef void queue(udp *u, datagram *d) noexcept nogil:
    if u.last != NULL:
        u.last.next = d
    else:
        u.first = d
    u.last = d


cdef void take_posted(udp *u) noexcept nogil:
    cdef inbox_node *node = inbox_take(&u.posted)
    cdef inbox_node *following
    cdef datagram *d
    while node != NULL:
        following = node.next
        d = <datagram *>node
        d.next = NULL
        if d.named:
            d.named = False
            ask(u, d)
        else:
            queue(u, d)
        node = following


cdef void drop_first(udp *u, bint sent) noexcept nogil:
    cdef datagram *d = u.first
    cdef event *e
    word_add(&u.written, <unsigned>d.length)
    if d.token and sent:
        e = reactor_event(u.r)
        if e != NULL:
            e.kind = EVENT_SENT
            e.target = &u.o
            e.length = <size_t>d.token
            reactor_emit(u.r, e)
    u.first = d.next
    if u.first == NULL:
        u.last = NULL
    datagram_free(d)


cdef int send_batch(udp *u) noexcept nogil:
    """As many as are of one family, and fit; what datagram_send says."""
    cdef datagram_out out[DATAGRAM_BATCH]
    cdef datagram *d = u.first
    cdef int family = d.family
    cdef int count = 0
    while d != NULL and d.family == family and count < DATAGRAM_BATCH:
        out[count].to = NULL if d.connected else &d.to
        out[count].data = d.memory.data
        out[count].length = d.length
        count += 1
        d = d.next
    return datagram_send(u.fd[family == 6], out, count)


cdef void flush(udp *u) noexcept nogil:
    cdef int sent
    cdef bint told = False  # what an earlier datagram met is told by the next one, which did not go
    while u.first != NULL:
        sent = send_batch(u)
        if sent == -EAGAIN:
            watch(u, u.first.family == 6, True)
            return
        if sent < 0:
            emit_problem(u, -sent, 0)
            if sent != -ECONNREFUSED or told:
                drop_first(u, False)
            told = True
            continue
        while sent:
            drop_first(u, True)
            sent -= 1
        told = False
    watch(u, 0, False)
    watch(u, 1, False)


# ---------------------------------------------------------------- receiving

cdef void watch(udp *u, int which, bint writing) noexcept nogil:
    cdef unsigned wanted = POLLER_WRITE if writing else 0
    if u.fd[which] < 0 or not u.watched[which]:
        return
    if u.unread < u.limit:
        wanted |= POLLER_READ
    else:
        u.stalled = True
    if u.r.sources[u.fd[which]].wanted != wanted:
        reactor_watch(u.r, u.fd[which], wanted)


cdef slab *room_for(reactor *r, size_t length) noexcept nogil:
    """The reactor's slab with so much room; NULL when memory is out."""
    if r.reading == NULL or r.reading.room - r.reading_used < length:
        if r.reading != NULL:
            memory_drop(r.reading)
        r.reading = memory_take(length if length > SLAB_ROOM else SLAB_ROOM)
        r.reading_used = 0
    return r.reading


cdef void hand_on(udp *u, datagram_in *d) noexcept nogil:
    cdef event *e
    cdef slab *s
    cdef char *start
    if d.cut:
        emit_problem(u, EMSGSIZE, 0)
        return
    s = room_for(u.r, d.length + ADDRESS_BEFORE)
    e = reactor_event(u.r) if s != NULL else NULL
    if e == NULL:
        return  # memory is out: a datagram may be lost
    start = s.data + u.r.reading_used + ADDRESS_BEFORE
    memcpy(start - ADDRESS_BEFORE, &d.source, sizeof(datagram_address))
    memcpy(start, d.data, d.length)
    u.r.reading_used += ADDRESS_BEFORE + d.length
    slab_hold(s)
    e.kind = EVENT_CHUNK
    e.target = &u.o
    e.memory = s
    e.start = start
    e.length = d.length
    u.unread += d.length + ADDRESS_BEFORE
    reactor_emit(u.r, e)


cdef void receive(udp *u, int which) noexcept nogil:
    cdef datagram_in came[DATAGRAM_BATCH]
    cdef int i, _turn, count
    if u.r.datagrams == NULL:
        u.r.datagrams = datagram_receiver_new()
        if u.r.datagrams == NULL:
            return
    if u.r.reading != NULL and slab_is_mine(u.r.reading):
        u.r.reading_used = 0
    for _turn in range(BATCHES_AT_ONCE):
        if u.over or u.unread >= u.limit:
            break
        count = datagram_receive(u.fd[which], <datagram_receiver *>u.r.datagrams, came)
        if count == -EAGAIN:
            break
        if count < 0:
            emit_problem(u, -count, 0)
            continue
        for i in range(count):
            hand_on(u, &came[i])
        if count < DATAGRAM_BATCH:
            break
    watch(u, which, u.first != NULL and (u.first.family == 6) == which)


cdef void on_ready(void *owner, int fd, unsigned ready) noexcept nogil:
    cdef udp *u = <udp *>owner
    if ready & POLLER_WRITE:
        flush(u)
    if ready & ~<unsigned>POLLER_WRITE and not u.over:
        receive(u, fd == u.fd[1])


# ---------------------------------------------------------------- names

cdef struct query:
    # A datagram that waits for the address of its host.
    lookup l             # first
    op o
    query *next          # of the same socket
    udp *u               # NULL: it is closed
    datagram *waiting    # owned


cdef void query_discard(lookup *l) noexcept nogil:
    cdef query *q = <query *>l
    if q.waiting != NULL:
        datagram_free(q.waiting)
    free(q)


cdef void forget_query(query *q) noexcept nogil:
    cdef query **at = <query **>&q.u.queries
    while at[0] != q:
        at = &at[0].next
    at[0] = q.next


cdef void on_query_command(op *o, unsigned commands) noexcept nogil:
    cdef query *q = <query *>o.place
    cdef datagram *d = q.waiting
    cdef udp *u = q.u
    if u != NULL:
        forget_query(q)
        if q.l.failed or q.l.count == 0:
            word_add(&u.written, <unsigned>d.length)
            emit_problem(u, q.l.failed, PROBLEM_NAME)
        else:
            d.to = q.l.found[0]
            q.waiting = NULL
            queue(u, d)
            flush(u)
    query_discard(&q.l)


cdef void ask(udp *u, datagram *d) noexcept nogil:
    """Looks the name up that stands behind the payload; the reactor's thread."""
    cdef query *q = <query *>calloc(1, sizeof(query))
    cdef int failed = ENOMEM
    if q != NULL:
        q.l.family = AF_INET6 if d.family == 6 else AF_INET
        q.l.port = d.port
        q.l.discard = query_discard
        strncpy(q.l.name, d.memory.data + d.length, NAME_ROOM)
        q.o.command = on_query_command
        q.o.place = q
        q.u = u
        q.waiting = d
        failed = reactor_look_up(u.r, &q.l, &q.o)
    if failed:
        free(q)
        word_add(&u.written, <unsigned>d.length)
        datagram_free(d)
        emit_problem(u, failed, 0)
        return
    q.next = <query *>u.queries
    u.queries = q


# ---------------------------------------------------------------- commands

cdef void start_watching(udp *u) noexcept nogil:
    cdef source *s
    cdef int which
    for which in range(2):
        if u.fd[which] >= 0 and not u.watched[which]:
            if not reactor_hold(u.r, u.fd[which]):
                emit_problem(u, ENOMEM, 0)
                continue
            s = &u.r.sources[u.fd[which]]
            s.ready = on_ready
            s.owner = u
            u.watched[which] = True
            watch(u, which, False)


cdef void close_all(udp *u) noexcept nogil:
    """What the kernel takes at once still goes."""
    cdef query *q = <query *>u.queries
    cdef int which
    flush(u)
    u.over = True
    while q != NULL:
        q.u = NULL
        q = q.next
    for which in range(2):
        if u.fd[which] >= 0:
            reactor_forget(u.r, u.fd[which])
            close(u.fd[which])
            u.fd[which] = -1
    u.o.last.kind = EVENT_DONE
    u.o.last.target = &u.o
    reactor_emit(u.r, &u.o.last)


cdef void on_command(op *o, unsigned commands) noexcept nogil:
    cdef udp *u = <udp *>o
    if u.over:
        return
    if commands & COMMAND_START:
        start_watching(u)
    if commands & COMMAND_SEND:
        take_posted(u)
        flush(u)
    if commands & COMMAND_DRAINED:
        u.stalled = False
        receive_all(u)
    if commands & COMMAND_CLOSE:
        close_all(u)


cdef void receive_all(udp *u) noexcept nogil:
    cdef int which
    for which in range(2):
        if u.fd[which] >= 0 and u.watched[which]:
            receive(u, which)


# ---------------------------------------------------------------- as Python holds it

@cython.no_gc_clear
cdef class UDP(Operation):
    """A UDP socket; IPv4, and IPv6 from the first use of one.

    A subclass gives it a face; the engine calls, in the thread that drives it:

    ``_message(chunk, remote, which)``   a datagram, who sent it as made by `_remote`, and 4 or 6
    ``_remote(address, port, family)``   once for several datagrams of one sender
    ``_problem(errno, text)``            something failed, the socket goes on; ``text`` is what a
                                         look-up said, else ""
    ``_sent(waiter)``                    what was sent with it is with the kernel
    ``_ended(waiters)``                  it is closed; what was not sent
    """

    def __cinit__(self, *args, **kw):
        memset(&self.u, 0, sizeof(udp))
        self.u.fd[0] = self.u.fd[1] = -1

    def __init__(self, Pool pool not None):
        self.pool = pool
        self.sends = {}
        inbox_init(&self.u.posted)
        self.u.r = &pool.engine.r
        self.u.limit = <size_t>pool.settings.c.max_buffered
        self.u.o.command = on_command
        self.u.o.owner = <void *>self

    def __dealloc__(self):
        cdef datagram *d
        take_posted(&self.u)
        while self.u.first != NULL:
            d = self.u.first
            self.u.first = d.next
            datagram_free(d)

    cdef int post(self, unsigned command) except -1:
        if self.finished or self.engine is None or self.engine.closed:
            return 0
        reactor_post(&self.engine.r, &self.u.o, command)
        return 0

    cdef int open(self, int family, int port) except -1:
        """Opens one of the two sockets, in this thread, and has the engine watch it."""
        cdef int got = port
        cdef int fd = datagram_open(AF_INET6 if family == 6 else AF_INET, &got)
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd))
        self.u.fd[family == 6] = fd
        if self.port == 0:
            self.port = got
        if self.engine is None:
            self.pool.sockets.add(self)
            self.pool.engine.submit(self, &self.u.o, COMMAND_START)
        else:
            self.post(COMMAND_START)
        return 0

    cdef int need(self, int family) except -1:
        return 0 if self.u.fd[family == 6] >= 0 else self.open(family, 0)

    def bind(self, int port, int family=4):
        """Opens the socket on a port (0: any) and returns it. OSError when it can't be."""
        if self.u.fd[family == 6] < 0:
            self.open(family, port)
        return self.port

    def family_of(self, str address not None):
        """4 or 6 for a numeric address, 0 for anything else."""
        cdef datagram_address a
        return datagram_address_from(&a, address.encode(), 0)

    def send(self, data, size_t offset, size_t length, bytes address, int port, int family,
             waiter=None):
        """Sends bytes of a buffer; `address` a numeric one, a host name, or None: where it is
        connected to. OSError when no socket can be opened."""
        cdef Py_buffer view
        cdef datagram *d
        cdef size_t name = 0
        cdef int known = 0
        cdef datagram_address to
        if address is not None:
            known = datagram_address_from(&to, address, port)
            name = 0 if known else len(address) + 1
        self.need(known or family)
        d = <datagram *>calloc(1, sizeof(datagram))
        if d == NULL:
            raise MemoryError
        d.memory = memory_take(length + name)
        if d.memory == NULL:
            free(d)
            raise MemoryError
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        memcpy(d.memory.data, <char *>view.buf + offset, length)
        PyBuffer_Release(&view)
        if name:
            memcpy(d.memory.data + length, <char *>address, name)
        d.length = length
        d.family = known or family
        d.port = port
        d.named = name != 0
        d.connected = address is None
        if known:
            d.to = to
        if waiter is not None:
            self.tokens += 1
            d.token = self.tokens
            self.sends[self.tokens] = waiter
        self.u.queued += <unsigned>length
        inbox_push(&self.u.posted, &d.link)
        self.post(COMMAND_SEND)

    def connect(self, bytes address not None, int port):
        """Connects to a numeric address; 4 or 6. OSError when that can't be."""
        cdef datagram_address a
        cdef int family = datagram_address_from(&a, address, port)
        cdef int failed
        if family == 0:
            raise ValueError("not a numeric address")
        self.need(family)
        failed = datagram_connect(self.u.fd[family == 6], &a)
        if failed:
            raise OSError(failed, os.strerror(failed))
        return family

    def set_ttl(self, int hops, bint multicast=False):
        """Hops that datagrams may take, on all sockets there are."""
        self.apply(lambda fd, family: datagram_set_ttl(fd, family, hops, multicast))

    def set_broadcast(self, bint on):
        """Whether datagrams may go to a broadcast address."""
        self.need(4)
        self.apply(lambda fd, family: datagram_set_broadcast(fd, on))

    def set_loop(self, bint on):
        """Whether multicast datagrams come back to this host."""
        self.apply(lambda fd, family: datagram_set_loop(fd, family, on))

    def membership(self, bytes group not None, bytes interface not None, bint join):
        """Joins or leaves a multicast group, on an interface (IPv4: its address; b"": any)."""
        cdef datagram_address a
        cdef int family = datagram_address_from(&a, group, 0)
        cdef int failed
        if family == 0:
            raise ValueError("not a numeric address")
        self.need(family)
        failed = datagram_membership(
            self.u.fd[family == 6], AF_INET6 if family == 6 else AF_INET, group, interface, join)
        if failed:
            raise OSError(failed, os.strerror(failed))

    def apply(self, function):
        """Calls ``function(fd, family)`` for each socket; OSError for the errno it returns."""
        cdef int which
        self.need(4)
        for which in range(2):
            if self.u.fd[which] >= 0:
                failed = function(self.u.fd[which], AF_INET6 if which else AF_INET)
                if failed:
                    raise OSError(failed, os.strerror(failed))

    def local(self, int family):
        """(address, port) that the socket is bound to."""
        cdef datagram_address a
        cdef char text[64]
        cdef int port = 0
        if self.u.fd[family == 6] < 0 or datagram_local(self.u.fd[family == 6], &a) < 0:
            return "", 0
        datagram_address_text(&a, text, &port)
        return (<bytes>text).decode(), port

    def end(self):
        """Closes it; what the kernel takes at once still goes."""
        if not self.closing:
            self.closing = True
            self.post(COMMAND_CLOSE)

    def end_with_client(self):
        """As `end`, because its client is closed."""
        self.end()

    @property
    def open_for(self):
        """Whether a socket is open."""
        return self.engine is not None and not self.closing

    @property
    def buffered(self):
        """Payload bytes that wait to be sent."""
        return <unsigned>(self.u.queued - word_get(&self.u.written))

    cdef object remote(self, const char *address):
        cdef char text[64]
        cdef int port = 0
        cdef int family
        if self.last_sender is not None and memcmp(
                <char *>self.last_sender, address, sizeof(datagram_address)) == 0:
            return self.last_remote
        family = datagram_address_text(<const datagram_address *>address, text, &port)
        self.last_sender = address[:sizeof(datagram_address)]
        self.last_remote = self._remote((<bytes>text).decode(), port, family)
        return self.last_remote

    cdef int handle(self, event *e) except -1:
        if e.kind == EVENT_CHUNK:
            self.u.unread -= e.length + ADDRESS_BEFORE
            if self.u.stalled and self.u.unread * 2 <= self.u.limit:
                self.post(COMMAND_DRAINED)
            remote = self.remote(e.start - ADDRESS_BEFORE)
            chunk = chunk_new(e.memory, e.start, e.length)
            if not self.closing:
                self._message(chunk, remote)
        elif e.kind == EVENT_SENT:
            waiter = self.sends.pop(<int64_t>e.length, None)
            if waiter is not None:
                self._sent(waiter)
        elif e.kind == EVENT_PROBLEM:
            text = ""
            if e.detail == PROBLEM_NAME:
                text = (<bytes>gai_strerror(<int>e.length)).decode("utf-8", "replace")
            self._problem(0 if text else <int>e.length, text)
        else:
            self.finished = True
            self.pool.sockets.discard(self)
            waiters = list(self.sends.values())
            self.sends.clear()
            try:
                self._ended(waiters)
            finally:
                self.release(&self.u.o)
        return 0
