"""HTTP on libcurl as Python holds it: a Client's pool on one engine, and one transfer."""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset

from ftcore.body cimport Body
from ftcore.buffers cimport chunk_new
from ftcore.engine cimport Engine
from ftcore.libcurl cimport curl
from ftcore.op cimport (
    COMMAND_ABORT, COMMAND_CLOSE, COMMAND_DRAINED, COMMAND_HELD, COMMAND_LISTEN, COMMAND_PAUSE,
    COMMAND_RESUME, COMMAND_START, EVENT_CHUNK, EVENT_FLUSH, EVENT_HEADERS, EVENT_PROGRESS,
    OUTCOME_ABORTED, OUTCOME_FILE, OUTCOME_NOT_A_FILE, OUTCOME_OK, OUTCOME_TIMEOUT, event, now_ns,
    slab, word_get, word_or, word_set,
)
from ftcore.pool cimport (
    pool_begun, pool_free_handles, pool_give_slot, pool_on_command, pool_on_transfer_command,
    pool_settle, pool_start_waiting,
)
from ftcore.profile cimport FETCH_START, QUEUE_START, phases_object
from ftcore.quality cimport Estimator
from ftcore.reactor cimport reactor_post, reactor_timer_clear
from ftcore.settings cimport Settings, Template
from ftcore.sink cimport Part
from ftcore.slot cimport WANT_CHUNKS, WANT_HEADERS, WANT_PROGRESS, pool, slot, xfer

import threading


@cython.no_gc_clear
cdef class Pool(Operation):
    """A Client's connections on one engine.

    Must be closed while its engine is still driven: one that is not keeps its descriptors.
    """

    def __cinit__(self, Engine engine not None, Settings settings not None,
                  Estimator quality not None):
        memset(&self.c, 0, sizeof(pool))
        self.engine = engine
        self.settings = settings
        self.quality = quality
        self.holding = set()
        self.sockets = set()
        self.closed_event = threading.Event()
        self.c.r = &engine.r
        self.c.set = &settings.c
        self.c.quality = &quality.c
        self.c.first_listed = -1
        self.c.control.command = pool_on_command
        self.c.control.owner = <void *>self
        self.c.settled = pool_settle
        self.c.starter.run = pool_start_waiting
        self.c.starter.owner = &self.c

    def close(self):
        """Ends every transfer of the pool and closes its connections, in the engine's next turn."""
        if self.closing or self.engine.closed:
            return
        self.closing = True
        for socket in list(self.sockets):
            socket.end_with_client()
        self.engine.submit(self, &self.c.control, COMMAND_CLOSE)

    def wait_closed(self, timeout):
        """Waits in a thread that does not drive; whether it was closed in time."""
        return self.closed_event.wait(timeout)

    cdef int handle(self, event *e) except -1:
        for transfer in list(self.holding):
            (<Transfer>transfer).let_go()
        pool_free_handles(&self.c)
        self.closed = True
        self.closed_event.set()
        return self.release(&self.c.control)

    @property
    def connections(self):
        """Open sockets, idle ones included."""
        cdef int i, count = self.c.lines
        for i in range(self.c.multi_count):
            count += self.c.multis[i].sockets
        return count

    @property
    def waiting(self):
        """Transfers that wait for a connection slot."""
        return self.c.waiting


cdef class Transfer(Operation):
    """One HTTP request.

    A subclass gives it a face; the engine calls, in the thread that drives it:

    ``_headers(status, raw)``   the final header block, when `want_headers` was set in time
    ``_chunk(chunk)``           body bytes, when `want_chunks` is set and the template is chunked
    ``_progress(done, total)``  bytes of a file sent or received, when `want_progress` is set: at
                                most every 50 ms; ``total`` 0 while it is unknown
    ``_succeeded(status, raw, body, phases, charset)`` or
    ``_failed(outcome, phases, os_errno, detail)``   once, last

    ``raw`` is the header block, ``body`` a `Chunk` or None, ``phases`` None without a profile,
    ``charset`` whether the content-type names one.
    """

    def __cinit__(self):
        self.x.ph.at[QUEUE_START] = now_ns()  # the call of the API

    cpdef start(self, Pool home, Template made, body, double timeout, Part part=None):
        """Submits the request; `timeout` in ms from now, `body` bytes-like, a `Body` or None.

        With a `part` the response's body goes there: at the end it is complete, or open as far as
        the response came, and the owner publishes or discards it.
        """
        cdef xfer *x = &self.x
        if self.pool is not None:
            raise RuntimeError("a transfer starts once")
        if home.closing:
            raise RuntimeError("the client is closed")
        if isinstance(body, Body):
            self.source = body
            x.source = &self.source.c
        elif body is not None:
            PyObject_GetBuffer(body, &self.body, PyBUF_SIMPLE)
            self.body_held = True
            x.body = <const char *>self.body.buf
            x.body_length = self.body.len
        if part is not None:
            self.part = part
            x.file = &part.c
        self.pool = home
        self.template = made
        x.home = &home.c
        x.t = &made.c
        x.o.command = pool_on_transfer_command
        x.o.owner = <void *>self
        x.timeout = <int64_t>(timeout * 1e6)
        home.engine.submit(self, &x.o, COMMAND_START)

    def __dealloc__(self):
        if self.body_held:
            PyBuffer_Release(&self.body)
        free(self.x.url)
        if self.x.headers != NULL:
            curl.slist_free_all(self.x.headers)

    cdef int post(self, unsigned command) except -1:
        if self.finished or self.pool is None or self.engine.closed:
            return 0
        reactor_post(&self.engine.r, &self.x.o, command)
        return 0

    def abort(self):
        """Ends it; what was not delivered yet is not any more. No effect after the end."""
        if not self.finished and not self.aborted:
            self.aborted = True
            self.post(COMMAND_ABORT)
            if self.paused:
                self.paused = False
                self.post(COMMAND_RESUME)

    def pause(self):
        """Delivers nothing from now on, and lets the peer wait."""
        if not self.finished and not self.aborted:
            self.paused = True
            self.post(COMMAND_PAUSE)

    def resume(self):
        """Takes a `pause` back."""
        if self.paused:
            self.paused = False
            self.post(COMMAND_RESUME)

    def want_headers(self):
        """The header block is handed to `_headers`, when it is complete."""
        word_or(&self.x.wants, WANT_HEADERS)
        self.post(COMMAND_LISTEN)

    def want_chunks(self, bint wanted=True):
        """Whether body bytes go to `_chunk`, those that were kept included, or are kept."""
        if wanted:
            word_or(&self.x.wants, WANT_CHUNKS)
            self.post(COMMAND_LISTEN)
        else:
            word_set(&self.x.wants, WANT_HEADERS)

    def want_progress(self):
        """`_progress` is called from now on."""
        word_or(&self.x.wants, WANT_PROGRESS)

    @property
    def lane(self):
        """"native" or "libcurl": what served it, or its last hop; "" until it has begun."""
        if self.x.ph.at[FETCH_START] == 0:
            return ""
        return "native" if self.x.native else "libcurl"

    @property
    def moved(self):
        """Bytes of a file sent or received so far, and how many there will be; 0: unknown."""
        return self.x.progress_done, self.x.progress_total

    cdef int handle(self, event *e) except -1:
        if e.kind == EVENT_PROGRESS:
            self.x.progress_queued = False
            if not (self.aborted or self.paused or self.held_back):
                self._progress(self.x.progress_done, self.x.progress_total)
            return 0
        if e.kind == EVENT_FLUSH:
            self.x.flush_queued = False
            return self.over() if self.finished else self.flush()
        if e.kind == EVENT_CHUNK:
            return self.tell_chunk(chunk_new(e.memory, e.start, e.length))
        if e.kind == EVENT_HEADERS:
            return self.tell_headers()
        try:
            if word_get(&self.pool.c.quality.news):
                self.pool.quality.tell()
        finally:
            try:
                self.catch_up()
            finally:
                self.end()
        return 0

    cdef int over(self) except -1:
        """Lets go of the object, unless an event of its own is still to come."""
        return 0 if self.x.flush_queued else self.release(&self.x.o)

    cdef int hold(self, what) except -1:
        if self.held_back is None:
            self.held_back = []
        self.held_back.append(what)
        return 0

    cdef int flush(self) except -1:
        """Delivers what was held back, until paused again; or the time limit has come."""
        if self.x.expired:
            result = self.held_back[-1]
            return self.finish((OUTCOME_TIMEOUT, result[3], 0, ""))
        while self.held_back and not self.paused:
            what = self.held_back.pop(0)
            if type(what) is not tuple:
                self.give_chunk(what)
            elif len(what) != 2:
                return self.finish(what)
            elif not self.aborted:
                self._headers(*what)
        return 0

    cdef int let_go(self) except -1:
        """Delivers a result that is held back, paused or not."""
        self.paused = False
        return self.flush()

    cdef int tell_headers(self) except -1:
        """Once, and never behind a chunk, however late the listener came."""
        if self.headers_told:
            return 0
        self.headers_told = True
        raw = PyBytes_FromStringAndSize(self.x.s.head, self.x.s.head_length)
        status = self.x.s.status
        if self.paused or self.held_back:
            self.held_back = [(status, raw), *(self.held_back or ())]
        elif not self.aborted:
            self._headers(status, raw)
        return 0

    cdef int tell_chunk(self, chunk) except -1:
        if word_get(&self.x.wants) & WANT_HEADERS:
            self.tell_headers()
        if self.paused or self.held_back:
            return self.hold(chunk)
        return self.give_chunk(chunk)

    cdef int give_chunk(self, chunk) except -1:
        self.x.unread -= len(chunk)
        self.headers_told = True
        if not self.aborted:
            self._chunk(chunk)
        if self.x.stalled and self.x.unread * 2 <= <size_t>self.pool.c.set.max_buffered:
            self.post(COMMAND_DRAINED)
        return 0

    cdef int catch_up(self) except -1:
        """At the end: what the engine had before there was a listener, which has come since."""
        cdef slot *s = self.x.s
        cdef slab *memory
        cdef unsigned wants = word_get(&self.x.wants)
        if s == NULL or self.aborted or not s.head_done or s.redirecting or s.swallowing:
            return 0
        try:
            if wants & WANT_HEADERS:
                self.tell_headers()
        finally:
            if wants & WANT_CHUNKS and self.template.c.chunked and s.body != NULL:
                memory = s.body
                s.body = NULL
                self.x.unread += s.body_length
                self.tell_chunk(chunk_new(memory, memory.data, s.body_length))
        return 0

    cdef int end(self) except -1:
        """Gathers what the owner gets, gives the slot back, and is done unless paused."""
        cdef slot *s = self.x.s
        cdef slab *memory
        cdef int status = 0
        cdef bint charset = False
        body = raw = phases = None
        detail = ""
        if s != NULL:
            if self.x.outcome == OUTCOME_OK:
                status = s.status
                charset = s.charset
                raw = PyBytes_FromStringAndSize(s.head, s.head_length)
                if s.body != NULL:
                    memory = s.body
                    s.body = NULL
                    body = chunk_new(memory, memory.data, s.body_length)
            elif self.x.outcome > 0:
                detail = (<bytes>s.error).decode("utf-8", "replace")
            self.x.s = NULL
            pool_give_slot(s)
        if self.body_held:
            self.body_held = False
            PyBuffer_Release(&self.body)
        if OUTCOME_NOT_A_FILE <= self.x.outcome <= OUTCOME_FILE:
            at_fault = self.part if self.source is None else self.source
            detail = at_fault.file
        self.x.source = NULL
        self.source = None
        if self.template.c.profile:
            phases = phases_object(&self.x.ph, self.engine.r.epoch_offset)
        if self.x.outcome != OUTCOME_OK or self.aborted:
            return self.finish((OUTCOME_ABORTED if self.aborted else self.x.outcome,
                                phases, self.x.os_errno, detail))
        if self.paused or self.held_back:
            self.hold((status, raw, body, phases, charset))
            self.flush()  # of a resume that came after the transfer's end the engine does not tell
            if not self.finished:
                self.x.result_held = True
                self.pool.holding.add(self)
                self.post(COMMAND_HELD)
            return 0
        self.finished = True
        try:
            self._succeeded(status, raw, body, phases, charset)
        finally:
            self.over()
        return 0

    cdef int finish(self, tuple result) except -1:
        """The end of a failure, or of a result that was held back."""
        if self.finished:
            return 0
        self.finished = True
        self.held_back = None
        self.pool.holding.discard(self)
        reactor_timer_clear(&self.engine.r, &self.x.timer)
        try:
            if len(result) == 4:
                self._failed(*result)
            elif self.aborted:
                self._failed(OUTCOME_ABORTED, result[3], 0, "")
            else:
                self._succeeded(*result)
        finally:
            self.over()
        return 0


def served():
    """Requests begun in this process, (on the native lane, on libcurl's)."""
    return pool_begun(True), pool_begun(False)
