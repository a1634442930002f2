"""A WebSocket as Python holds it. See websocket.pxd."""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from ftcore.buffers cimport chunk_new, memory_drop, memory_take
from ftcore.connection cimport connection_new, connection_read_phases
from ftcore.engine cimport Operation
from ftcore.frames cimport (
    MESSAGE_COST, MESSAGE_FIRST, MESSAGE_LAST, MESSAGE_TEXT, WANT_DRAIN, WS_ASKING, WS_CLOSING,
    WS_FAULTED, WS_JUDGED, WS_OPEN, WS_OVER, frames_arm, frames_caught_up, frames_emit,
    frames_flush, frames_on_due, frames_over, frames_say_farewell, frames_take_posted, ws_state,
)
from ftcore.messages cimport messages_begin, messages_parse, messages_receive
from ftcore.op cimport (
    COMMAND_ABORT, COMMAND_ACCEPT, COMMAND_CLOSE, COMMAND_DRAINED, COMMAND_FAREWELL, COMMAND_LISTEN,
    COMMAND_PAUSE, COMMAND_RESUME, COMMAND_SEND, COMMAND_START, EVENT_CHUNK, EVENT_DRAINED,
    EVENT_FAULT, EVENT_FLUSH, EVENT_HEADERS, EVENT_SENT, OUTCOME_ABORTED, OUTCOME_CLOSED,
    OUTCOME_NO_MEMORY, amount_sub, event, inbox_init, inbox_push, now_ns, op, slab, word_get,
    word_or,
)
from ftcore.opening cimport opening, opening_free
from ftcore.outgoing cimport (
    WS_BINARY, WS_CONTINUE, WS_HEADER_ROOM, WS_OP_CLOSE, WS_TEXT, outgoing_bytes, outgoing_frame,
    outgoing_free, outgoing_slab, ws_mask_pool, ws_mask_pool_wipe,
)
from ftcore.permessage cimport (
    deflation_begin, deflation_end, deflation_make, inflation_begin, inflation_end,
)
from ftcore.profile cimport FETCH_START, QUEUE_END, QUEUE_START, REQUEST_START, phases_object
from ftcore.reactor cimport (
    POLLER_WRITE, defer, reactor_post, reactor_timer_clear, reactor_timer_set,
)

import os

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL

cdef enum:
    COULDNT_CONNECT = 7  # as libcurl says it

#: Bytes that a message which waits counts for beside its own.
MESSAGE_OVERHEAD = <int>MESSAGE_COST

#: Masks of what callers send; whoever holds the GIL.
cdef ws_mask_pool masks
memset(&masks, 0, sizeof(masks))


cdef void send_posted(void *owner) noexcept nogil:
    cdef websocket *w = <websocket *>owner
    if w.state >= WS_OPEN and w.state != WS_OVER:
        frames_take_posted(w)
        frames_flush(w)


cdef void accept(websocket *w) noexcept nogil:
    cdef slab *memory
    cdef size_t rest = w.answer.length - w.answer.end
    if w.state != WS_JUDGED:
        return
    w.state = WS_OPEN
    messages_begin(w)
    reactor_timer_clear(w.r, &w.timer)
    if w.ping_every:
        frames_arm(w, w.ping_every)
    if rest:
        memory = memory_take(rest)
        if memory == NULL:
            frames_over(w, OUTCOME_NO_MEMORY)
            return
        memcpy(memory.data, w.answer.head + w.answer.end, rest)
        messages_parse(w, <const uint8_t *>memory.data, rest, memory)
        memory_drop(memory)
    opening_free(&w.answer)
    messages_receive(w)
    send_posted(w)


cdef void on_opened(void *owner, int code) noexcept nogil:
    """The connection stands, or not; the opening request is in the queue."""
    cdef websocket *w = <websocket *>owner
    if code:
        frames_over(w, code)
        return
    w.state = WS_ASKING
    connection_read_phases(w.c, &w.ph)
    w.ph.at[FETCH_START] = w.ph.at[QUEUE_START]
    w.ph.at[REQUEST_START] = now_ns()
    w.opened_at = w.ph.at[REQUEST_START]
    frames_flush(w)


cdef void on_ready(void *owner, unsigned ready) noexcept nogil:
    cdef websocket *w = <websocket *>owner
    if ready & POLLER_WRITE:
        frames_flush(w)
    if w.c != NULL and ready & ~<unsigned>POLLER_WRITE:
        messages_receive(w)


cdef void begin(websocket *w) noexcept nogil:
    w.flusher.owner = w
    w.flusher.run = send_posted
    w.timer.owner = w
    w.timer.fire = frames_on_due
    frames_take_posted(w)
    if reactor_timer_set(w.r, &w.timer, w.ph.at[QUEUE_START] + w.timeout) != 0:
        frames_over(w, OUTCOME_NO_MEMORY)
        return
    w.c = connection_new(
        w.r, w.set, &w.to, w, on_opened, on_ready, &w.os_errno)
    if w.c == NULL:  # no descriptor is left, mostly
        frames_over(w, COULDNT_CONNECT if w.os_errno else OUTCOME_NO_MEMORY)


cdef void on_command(op *o, unsigned commands) noexcept nogil:
    cdef websocket *w = <websocket *>o
    if commands & COMMAND_START:
        begin(w)
    if commands & COMMAND_ABORT:
        frames_over(w, OUTCOME_ABORTED)
    if commands & COMMAND_CLOSE:
        frames_over(w, OUTCOME_CLOSED)
    if w.state == WS_OVER:
        return
    if commands & COMMAND_LISTEN:
        frames_emit(w, EVENT_FLUSH)
    if commands & COMMAND_ACCEPT:
        accept(w)
    if commands & COMMAND_SEND:
        send_posted(w)
    if commands & COMMAND_FAREWELL:
        frames_say_farewell(w)
        messages_receive(w)
    if commands & COMMAND_PAUSE:
        w.held = True
    if commands & COMMAND_RESUME:
        w.held = False
    if commands & (COMMAND_RESUME | COMMAND_DRAINED) and w.c != NULL and w.state >= WS_OPEN:
        messages_receive(w)


cdef void let_go(websocket *w) noexcept nogil:
    cdef outgoing *o
    frames_take_posted(w)
    while w.first != NULL:
        o = w.first
        w.first = o.next
        outgoing_free(o)
    w.last = w.pong = NULL
    if w.message != NULL:
        memory_drop(w.message)
        w.message = NULL
    opening_free(&w.answer)
    inflation_end(&w.inflate)
    ws_mask_pool_wipe(&w.masks)


@cython.no_gc_clear
cdef class WebSocket(Operation):
    """One WebSocket connection (RFC 6455).

    A subclass gives it a face; the engine calls, in the thread that drives it:

    ``_answered(status, head, body)``   to the opening request; then `accept` or `abort`
    ``_message(data, text, first, last)``   a message: str or `Chunk`; with `pieces` parts of one,
                                        always as `Chunk`; returns whether it is kept and counts
                                        as waiting until `consumed`
    ``_sent(waiter)``                   what was sent with it is with the kernel
    ``_drained()``                      nothing waits to be sent, after `want_drained`
    ``_flushed()``                      after `call_back`
    ``_ended(outcome, code, reason, why, fault, phases, os_errno, detail, waiters)``   once, last:
                                        ``outcome`` 0 with ``why`` None is a clean end; ``why`` is
                                        what the server did wrong, ``fault`` the close code it was
                                        told; ``waiters`` are those of what was not sent
    """

    def start(self, Pool pool not None, bytes url not None, bytes request not None, *,
              bint tls, double timeout, double close_timeout, double ping_interval=0,
              bint nodelay=False, bint pieces=False, max_message=None):
        """Connects to where `url` (http or https) points and sends `request` there.

        Times in ms, counted from now; `ping_interval` 0: none.
        """
        if self.pool is not None:
            raise RuntimeError("a WebSocket starts once")
        if pool.closing:
            raise RuntimeError("the client is closed")
        self.sends = {}
        self.pool = pool
        self.url = url
        inbox_init(&self.w.posted)
        self.w.r = &pool.engine.r
        self.w.set = &pool.settings.c
        self.w.to.url = self.url
        self.w.to.tls = tls
        self.w.to.nodelay = nodelay
        self.w.pieces = pieces
        self.w.max_message = 0 if max_message is None else max_message
        self.w.limit = <size_t>self.w.set.max_buffered
        self.w.timeout = <int64_t>(timeout * 1e6)
        self.w.close_within = <int64_t>(close_timeout * 1e6)
        self.w.ping_every = <int64_t>(ping_interval * 1e6)
        self.w.o.command = on_command
        self.w.o.owner = <void *>self
        self.w.ph.at[QUEUE_START] = self.w.ph.at[QUEUE_END] = now_ns()
        self.w.ph.at[FETCH_START] = self.w.ph.at[QUEUE_START]
        self.push(outgoing_bytes(request, len(request)), None)
        pool.sockets.add(self)
        pool.engine.submit(self, &self.w.o, COMMAND_START)

    def __dealloc__(self):
        let_go(&self.w)
        deflation_end(&self.deflate)

    cdef int post(self, unsigned command) except -1:
        if self.finished or self.engine is None or self.engine.closed:
            return 0
        reactor_post(&self.engine.r, &self.w.o, command)
        return 0

    def accept(self, bint compressed=False, int server_bits=15, bint server_context=True,
               int client_bits=15, bint client_context=True):
        """The answer is good: messages may flow. In `_answered` only.

        With `compressed` permessage-deflate was agreed on: window bits, and whether the context is
        taken over from message to message, of what the server and of what we send.
        """
        if compressed:
            if inflation_begin(&self.w.inflate, server_bits, server_context) != 0:
                raise MemoryError
            # zlib has no raw stream with a window of 8 bits: then we may send uncompressed
            if client_bits > 8 and (
                    deflation_begin(&self.deflate, client_bits, client_context) != 0):
                raise MemoryError
            self.w.inflates = True
        self.accepted = True
        self.post(COMMAND_ACCEPT)

    cdef int push(self, outgoing *o, waiter) except -1:
        """Hands bytes to the thread that drives; in the order of the calls."""
        if o == NULL:
            raise MemoryError
        if self.engine is None:
            o.token = -1  # the opening request
        elif waiter is not None:
            self.tokens += 1
            o.token = self.tokens
            self.sends[self.tokens] = waiter
        if self.finished:
            outgoing_free(o)
        else:
            inbox_push(&self.w.posted, &o.link)
        return 0

    cdef int hand_over(self) except -1:
        """Has sent what was pushed: by this thread, when it is the one that drives."""
        if self.w.flusher.run == NULL or not self.engine.may_touch():
            return self.post(COMMAND_SEND)
        if self.engine.delivering:
            defer(&self.engine.r.first, &self.w.flusher)
            return 0
        send_posted(&self.w)
        return self.engine.touched()

    def transmit(self, data, bint last=True, waiter=None):
        """Sends a message, or with `last` False a part of one: str as text, a buffer as binary.

        What follows a part continues it, whatever its type. Masked, and copied by that, at once.
        """
        cdef Py_buffer view
        cdef const char *start
        cdef Py_ssize_t length = 0
        if isinstance(data, str):
            start = PyUnicode_AsUTF8AndSize(data, &length)
            return self.frame(WS_TEXT, <size_t>start, length, last, waiter)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.frame(WS_BINARY, <size_t>view.buf, view.len, last, waiter)
        finally:
            PyBuffer_Release(&view)

    def transmit_plain(self, data):
        """`transmit` of bytes or an ASCII str when nothing stands against it; whether it did."""
        if not self.accepted or self.closing or <size_t>self.buffered >= self.w.limit:
            return False
        if type(data) is bytes:
            self.frame(WS_BINARY, <size_t><char *><bytes>data, len(<bytes>data), True, None)
        elif type(data) is str and (<str>data).isascii():
            self.transmit(data)
        else:
            return False
        return True

    def frame(self, int opcode, size_t start, size_t length, bint last, waiter):
        """One data frame."""
        cdef slab *s
        cdef size_t made = 0
        cdef outgoing *o
        cdef bint deflated = self.deflate.begun
        cdef bint first = not self.mid_message
        if not first:
            opcode = WS_CONTINUE
        if deflated:
            s = deflation_make(
                &self.deflate, <const char *>start, length, last, WS_HEADER_ROOM, &made)
            if s == NULL:
                raise MemoryError
            o = outgoing_slab(&masks, opcode, last, first, s, made)
        else:
            made = length
            o = outgoing_frame(&masks, opcode, last, False, <const uint8_t *>start, length)
        self.push(o, waiter)
        self.mid_message = not last
        self.w.queued += <unsigned>made
        self.hand_over()

    def farewell(self, int code, bytes reason not None):
        """Sends a close frame behind what waits; `code` 0: without one."""
        cdef bytes payload = code.to_bytes(2, "big") + reason if code else b""
        if self.parting:
            return
        self.parting = True
        cdef outgoing *o = outgoing_frame(
            &masks, WS_OP_CLOSE, True, False, <const uint8_t *><char *>payload, len(payload))
        if o != NULL:
            o.token = -1
        self.push(o, None)
        self.post(COMMAND_SEND)

    def abort(self):
        """Ends it without a word to the server."""
        self.post(COMMAND_ABORT)

    def end_with_client(self):
        """As `abort`, because its client is closed."""
        self.post(COMMAND_CLOSE)

    def pause(self):
        """Reads no more; what has been read is still delivered."""
        self.post(COMMAND_PAUSE)

    def resume(self):
        """Takes a `pause` back."""
        self.post(COMMAND_RESUME)

    def call_back(self):
        """`_flushed` is called; not any more after the end."""
        self.post(COMMAND_LISTEN)

    def want_drained(self):
        """`_drained` is called whenever nothing waits to be sent."""
        word_or(&self.w.wants, WANT_DRAIN)
        self.post(COMMAND_SEND)

    def consumed(self, size_t length):
        """A message of so many bytes that `_message` kept waits no more."""
        amount_sub(&self.w.unread, length + MESSAGE_COST)
        if word_get(&self.w.stalled) and frames_caught_up(&self.w):
            self.post(COMMAND_DRAINED)

    @property
    def closing(self):
        """Whether a close frame is on its way, in either direction, or it is over.

        When the server broke the protocol it is so only once what came before was delivered.
        """
        cdef ws_state state = self.w.state
        return self.parting or self.finished or (state >= WS_CLOSING and state != WS_FAULTED)

    @property
    def buffered(self):
        """Payload bytes that wait to be sent."""
        return <unsigned>(self.w.queued - word_get(&self.w.written))

    @property
    def latency(self):
        """Milliseconds that the last ping took, 0.0 before there was one."""
        return self.w.latency / 1e6

    @property
    def phases(self):
        """The connection's."""
        return phases_object(&self.w.ph, self.engine.r.epoch_offset)

    cdef int handle(self, event *e) except -1:
        cdef opening *answer = &self.w.answer
        if e.kind == EVENT_CHUNK:
            if e.detail & MESSAGE_TEXT and not self.w.pieces:
                try:
                    data = PyUnicode_DecodeUTF8(e.start, e.length, NULL)
                finally:
                    memory_drop(e.memory)
            else:
                data = chunk_new(e.memory, e.start, e.length)
            return self.deliver_message(data, e.detail, e.length)
        if e.kind == EVENT_SENT:
            waiter = self.sends.pop(<int64_t>e.length, None)
            if waiter is not None:
                self._sent(waiter)
        elif e.kind == EVENT_HEADERS:
            head = PyBytes_FromStringAndSize(answer.head, answer.end)
            body = PyBytes_FromStringAndSize(answer.head + answer.end, answer.length - answer.end)
            try:
                self._answered(answer.status, head, body)
            except BaseException:
                self.abort()  # nobody else would end it
                raise
        elif e.kind == EVENT_DRAINED:
            self._drained()
        elif e.kind == EVENT_FAULT:
            self.post(COMMAND_FAREWELL)
        elif e.kind == EVENT_FLUSH:
            self._flushed()
        else:
            self.end()
        return 0

    cdef int deliver_message(self, data, unsigned detail, size_t length) except -1:
        kept = False
        try:
            kept = self._message(data, (detail & MESSAGE_TEXT) != 0, (detail & MESSAGE_FIRST) != 0,
                                 (detail & MESSAGE_LAST) != 0)
        finally:
            if not kept:
                self.consumed(length)
        return 0

    cdef int end(self) except -1:
        cdef websocket *w = &self.w
        self.finished = True
        self.pool.sockets.discard(self)
        if not self.pool.sockets and self.engine.r.reading != NULL:
            memory_drop(self.engine.r.reading)
            self.engine.r.reading = NULL
        waiters = list(self.sends.values())
        self.sends.clear()
        why = None if w.why == NULL else (<bytes>w.why).decode()
        reason = PyUnicode_DecodeUTF8(<char *>w.reason, w.reason_length, "replace")
        detail = (<bytes>w.detail).decode("utf-8", "replace")
        phases = phases_object(&w.ph, self.engine.r.epoch_offset)
        let_go(w)
        deflation_end(&self.deflate)
        try:
            self._ended(w.outcome, w.code, reason, why, w.fault, phases, w.os_errno, detail,
                        waiters)
        finally:
            self.release(&w.o)
        return 0


def after_fork_in_child():
    """The child must not give out its parent's masks."""
    ws_mask_pool_wipe(&masks)


os.register_at_fork(after_in_child=after_fork_in_child)
