"""A TCP connection as Python holds it. See tcp.pxd."""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ftcore.buffers cimport chunk_new, memory_drop
from ftcore.op cimport (
    COMMAND_ABORT, COMMAND_CLOSE, COMMAND_DRAINED, COMMAND_LEAVE, COMMAND_PAUSE, COMMAND_RESUME,
    COMMAND_SEND, COMMAND_START, EVENT_CHUNK, EVENT_DRAINED, EVENT_END, EVENT_HEADERS, EVENT_SENT,
    OUTCOME_ABORTED, OUTCOME_CLOSED, amount_add, amount_get, amount_sub, event, inbox_init,
    inbox_push, now_ns, op, word_add, word_get, word_set,
)
from ftcore.profile cimport FETCH_START, QUEUE_END, QUEUE_START, phases_object
from ftcore.reactor cimport defer, reactor_post
from ftcore.stream cimport (
    PIECE_COST, STREAM_OPEN, STREAM_OVER, endpoint, piece_new, stream_caught_up, stream_cost,
    stream_leave, stream_let_go, stream_over, stream_receive, stream_send, stream_start,
)

cdef enum:
    LENT_FROM = 8192   # bytes that are worth more than an event

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL


cdef void on_command(op *o, unsigned commands) noexcept nogil:
    cdef stream *s = <stream *>o
    if commands & COMMAND_START:
        stream_start(s)
    if commands & COMMAND_ABORT:
        stream_over(s, OUTCOME_ABORTED)
    if commands & COMMAND_CLOSE:
        stream_over(s, OUTCOME_CLOSED)
    if commands & COMMAND_PAUSE:
        s.held = True
    if commands & COMMAND_RESUME:
        s.held = False
    if commands & COMMAND_SEND:
        stream_send(s)
    if commands & COMMAND_LEAVE:
        stream_leave(s)
    if commands & (COMMAND_RESUME | COMMAND_DRAINED) and (
            STREAM_OPEN <= s.state < STREAM_OVER):
        stream_receive(s)


cdef tuple ends(endpoint *e):
    return (<bytes>e.address).decode(), e.port, e.family


@cython.no_gc_clear
cdef class TCP(Operation):
    """One TCP connection, with TLS or without.

    A subclass gives it a face; the engine calls, in the thread that drives it:

    ``_begun(here, there, phases)``   it is connected; the ends as (address, port, family 4 or 6)
    ``_message(chunk)``      bytes came; returns whether they are kept and count as waiting until
                             `consumed`
    ``_peer_ended()``        the peer sends no more
    ``_drained()``           nothing waits to be sent any more
    ``_wrong(data, error)``  `write` was given what is no data: raises something
    ``_unwritten(data)``     `write` was called when it can't be done
    ``_ended(outcome, os_errno, detail, phases, unsent)``   once, last; `outcome` 0 is a clean end,
                             `unsent` bytes never went. After a connection that was never there
                             `start` may be called again
    """

    def start(self, Pool pool not None, bytes url not None, *, double timeout,
              double leave_timeout, bint tls=False, bint nodelay=True, int family=0,
              long keepalive=0, bytes interface=None, int local_port=0, bytes instead=None):
        """Connects to where `url` (http or https) points, or to `instead`, "::HOST:PORT".

        Times in ms; `timeout` counts from now, `leave_timeout` is how long `leave` waits for the
        peer to take a byte. `keepalive` in s, 0: as the Client has it. BlockingIOError: not yet,
        a command of the attempt before is under way.
        """
        cdef stream *s = &self.s
        if self.engine is not None and (self.established or not self.finished):
            raise RuntimeError("it is connecting, or was connected")
        if s.o.release_owed:
            raise BlockingIOError
        if pool.closing:
            raise RuntimeError("the client is closed")
        memset(s, 0, sizeof(self.s))
        inbox_init(&s.posted)
        self.established = self.ending = self.leaving = self.finished = False
        s.held = self.held
        self.pool = pool
        self.kept = (url, interface, instead)
        s.r = &pool.engine.r
        s.set = &pool.settings.c
        s.to.url = url
        s.to.tls = tls
        s.to.nodelay = nodelay
        s.to.direct = s.to.opaque = True
        s.to.family = family
        s.to.keepalive_s = keepalive
        s.to.interface = NULL if interface is None else <char *>interface
        s.to.local_port = local_port
        s.to.instead = NULL if instead is None else <char *>instead
        s.timeout = <int64_t>(timeout * 1e6)
        s.leave_within = <int64_t>(leave_timeout * 1e6)
        s.limit = self.most = <size_t>s.set.max_buffered
        s.o.command = on_command
        s.o.owner = <void *>self
        s.ph.at[QUEUE_START] = s.ph.at[QUEUE_END] = s.ph.at[FETCH_START] = now_ns()
        pool.sockets.add(self)
        pool.engine.submit(self, &s.o, COMMAND_START)

    def __dealloc__(self):
        if self.engine is not None:
            stream_let_go(&self.s)
            self.take_back()

    cdef int post(self, unsigned command) except -1:
        if self.finished or self.engine is None or self.engine.closed:
            return 0
        reactor_post(&self.engine.r, &self.s.o, command)
        return 0

    cdef int push(self, piece *p) except -1:
        """Hands bytes, or the end, to the thread that drives; in the order of the calls."""
        if not p.end:
            amount_add(&self.s.waiting, p.length)
            word_add(&self.s.pieces, 1)
        inbox_push(&self.s.posted, &p.link)
        return 0

    cdef int hand_over(self) except -1:
        """Has sent what was pushed: by this thread, when it is the one that drives."""
        if not self.engine.may_touch():
            return self.post(COMMAND_SEND)
        if self.engine.delivering:
            defer(&self.engine.r.first, &self.s.flusher)
            return 0
        cdef bint told = self.s.returning
        self.s.returning = True
        stream_send(&self.s)
        if not told:
            self.take_back()
        return self.engine.touched()

    cdef int take_back(self) except -1:
        """What was lent and is not needed any more."""
        cdef piece *p
        while self.s.spent != NULL:
            p = self.s.spent
            self.s.spent = p.next
            PyBuffer_Release(<Py_buffer *>p.data)
            free(p)
        self.s.returning = False
        return 0

    cdef bint transmit(self, data) except -1:
        """Whether it did: not before it is connected, when it is `ending`, and while as many bytes
        wait as the Client lets."""
        cdef Py_buffer view
        cdef Py_ssize_t length = 0
        cdef const char *start
        if not self.established or self.ending or self.full():
            return False
        if type(data) is bytes:
            if len(<bytes>data) >= LENT_FROM:
                self.lend(<bytes>data)
            else:
                self.send(<char *><bytes>data, len(<bytes>data))
        elif isinstance(data, str):
            start = PyUnicode_AsUTF8AndSize(data, &length)
            self.send(start, length)
        elif isinstance(data, (list, tuple)):
            self.send_list([one.encode() if isinstance(one, str) else one for one in data])
        else:
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            try:
                self.send(<char *>view.buf, view.len)
            finally:
                PyBuffer_Release(&view)
        return True

    cdef bint full(self) noexcept:
        return amount_get(&self.s.waiting) + word_get(&self.s.pieces) * PIECE_COST >= self.most

    cdef int send(self, const char *data, size_t length) except -1:
        cdef piece *p
        if length == 0:
            return 0
        p = piece_new(length)
        if p == NULL:
            raise MemoryError
        memcpy(p.data, data, length)
        self.push(p)
        return self.hand_over()

    cdef int lend(self, bytes data) except -1:
        """Bytes can't change: they are sent from where they are."""
        cdef piece *p = piece_new(sizeof(Py_buffer))
        if p == NULL:
            raise MemoryError
        PyObject_GetBuffer(data, <Py_buffer *>p.data, PyBUF_SIMPLE)
        p.lent = True
        p.start = <char *>data
        p.length = len(data)
        self.push(p)
        return self.hand_over()

    cdef int send_list(self, list parts) except -1:
        """All of them are held before the first is copied: to look at one may change another."""
        cdef Py_buffer *views = <Py_buffer *>calloc(len(parts) + 1, sizeof(Py_buffer))
        cdef int held = 0, i
        cdef size_t length = 0, at = 0
        cdef piece *p
        if views == NULL:
            raise MemoryError
        try:
            for part in parts:
                PyObject_GetBuffer(part, &views[held], PyBUF_SIMPLE)
                length += views[held].len
                held += 1
            if length == 0:
                return 0
            p = piece_new(length)
            if p == NULL:
                raise MemoryError
            for i in range(held):
                memcpy(p.data + at, views[i].buf, views[i].len)
                at += views[i].len
        finally:
            for i in range(held):
                PyBuffer_Release(&views[i])
            free(views)
        self.push(p)
        return self.hand_over()

    def write(self, data):
        """Sends a str as UTF-8, bytes-like data, or a list or tuple of them in a row.

        Returns at once; everything goes out in the order of the calls, and data that may change
        is copied at once. ``onError`` follows, and nothing is sent, when the socket is not
        connected (yet, or any more), after `end`, and while the Client's ``max_buffered_bytes``
        wait already: see ``bufferedAmount``, ``onDrain`` and ``drained``.
        Raises TypeError or ValueError for what is no such data.
        """
        try:
            if self.transmit(data):
                return
        except (TypeError, BufferError) as error:
            self._wrong(data, error)
        self._unwritten(data)

    def end(self):
        """Sends nothing more behind what waits; the peer is told so. Receiving goes on."""
        if self.engine is None or self.ending or self.finished:
            return
        self.push_end()
        self.post(COMMAND_SEND)

    cdef int push_end(self) except -1:
        cdef piece *p = piece_new(0)
        if p == NULL:
            raise MemoryError
        self.ending = True
        p.end = True
        return self.push(p)

    def leave(self):
        """Closes it behind what waits to be sent; what comes in is nobody's any more."""
        if self.engine is None or self.leaving or self.finished:
            return
        if not self.ending:
            self.push_end()
        self.leaving = True
        self.post(COMMAND_LEAVE)

    def abort(self):
        """Ends it; what waits to be sent is not."""
        if self.engine is None or self.finished:
            return
        self.ending = self.leaving = True
        self.post(COMMAND_ABORT)

    def end_with_client(self):
        """As `abort`, because its client is closed."""
        self.post(COMMAND_CLOSE)

    def pause(self):
        """Reads no more; what has been read is still delivered."""
        self.held = True
        self.post(COMMAND_PAUSE)

    def resume(self):
        """Takes a `pause` back."""
        self.held = False
        self.post(COMMAND_RESUME)

    def want_drains(self):
        """`_drained` is called whenever all is sent of what the kernel did not take at once."""
        word_set(&self.s.drains, 1)

    def want_drained(self):
        """`_drained` is called, once, when nothing waits to be sent."""
        word_set(&self.s.empty, 1)
        self.post(COMMAND_SEND)

    def consumed(self, size_t length):
        """So many bytes that `_message` kept wait no more."""
        amount_sub(&self.s.unread, stream_cost(length))
        if word_get(&self.s.stalled) and stream_caught_up(&self.s):
            self.post(COMMAND_DRAINED)

    @property
    def buffered(self):
        """Bytes that wait to be sent."""
        return 0 if self.finished else amount_get(&self.s.waiting)

    cdef int handle(self, event *e) except -1:
        if e.kind == EVENT_CHUNK:
            return self.deliver(chunk_new(e.memory, e.start, e.length), e.length)
        if e.kind == EVENT_HEADERS:
            self.established = True
            if not self.leaving:
                self._begun(ends(&self.s.here), ends(&self.s.there),
                            phases_object(&self.s.ph, self.engine.r.epoch_offset))
        elif e.kind == EVENT_END:
            if not self.leaving:
                self._peer_ended()
        elif e.kind == EVENT_SENT:
            self.take_back()
        elif e.kind == EVENT_DRAINED:
            self._drained()
        else:
            self.over()
        return 0

    cdef int deliver(self, chunk, size_t length) except -1:
        kept = False
        try:
            if not self.leaving:
                kept = self._message(chunk)
        finally:
            if not kept:
                self.consumed(length)
        return 0

    cdef int over(self) except -1:
        cdef stream *s = &self.s
        self.finished = self.ending = True
        self.pool.sockets.discard(self)
        if not self.pool.sockets and self.engine.r.reading != NULL:
            memory_drop(self.engine.r.reading)
            self.engine.r.reading = NULL
        stream_let_go(s)
        self.take_back()
        detail = (<bytes>s.detail).decode("utf-8", "replace")
        phases = phases_object(&s.ph, self.engine.r.epoch_offset)
        try:
            self._ended(s.outcome, s.os_errno, detail, phases, s.unsent)
        finally:
            self.release(&s.o)
        return 0
