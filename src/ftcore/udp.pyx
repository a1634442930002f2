"""A UDP socket as Python holds it. See udp.pxd."""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EADDRINUSE, EBADF, EINVAL
from libc.string cimport memcmp, memcpy
from posix.unistd cimport close

from ftcore.buffers cimport Chunk, chunk_new, memory_drop
from ftcore.datagram cimport (
    DATAGRAM_CONNECT, DATAGRAM_MOST, DATAGRAM_MULTICAST_LOOP, DATAGRAM_MULTICAST_TTL,
    DATAGRAM_OPEN, DATAGRAM_SEND, DATAGRAM_SET, DATAGRAM_TEXT, DATAGRAM_TTL, datagram_new,
    datagram_option,
)
from ftcore.lanes cimport PROBLEM_NAME, UDP_WANT_DRAIN, lanes_caught_up
from ftcore.op cimport (
    COMMAND_ABORT, COMMAND_CLOSE, COMMAND_DRAINED, COMMAND_SEND, COMMAND_START, EVENT_CHUNK,
    EVENT_DRAINED, EVENT_OPEN, EVENT_PROBLEM, amount_sub, inbox_push, word_get, word_or,
)
from ftcore.reactor cimport datagram_address, defer, reactor_post
from ftcore.udp_socket cimport (
    ADDRESS_BEFORE, DATAGRAM_COST, udp_begin, udp_drop, udp_send_posted,
)

import os
import weakref

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL

cdef extern from "<netinet/in.h>" nogil:
    struct sockaddr_in:
        pass
    struct sockaddr_in6:
        pass

cdef extern from "c/datagram.h" nogil:
    int datagram_open(int family, int *port, int shared)
    int datagram_address_text(const datagram_address *, char *, int *)
    int datagram_address_from(datagram_address *, const char *, int)
    int datagram_local(int, datagram_address *)
    int datagram_membership(int, int family, const char *, const char *, int join)

cdef extern from "<netdb.h>" nogil:
    const char *gai_strerror(int)

#: The most bytes of a datagram, and what `UDP.set` sets.
MOST = DATAGRAM_MOST
TTL = DATAGRAM_TTL
MULTICAST_TTL = DATAGRAM_MULTICAST_TTL
MULTICAST_LOOP = DATAGRAM_MULTICAST_LOOP

opened = weakref.WeakSet()


cdef failure(int errno):
    return OSError(errno, os.strerror(errno))


@cython.no_gc_clear
cdef class UDP(Operation):
    """A UDP socket; IPv4, and IPv6 from the first use of one.

    What fails at the call raises OSError. A subclass gives it a face; the engine calls, in the
    thread that drives it:

    ``_opened()``                       it is bound and reads
    ``_message(chunk, remote, local)``  a datagram: a `Chunk`, and what `_remote` and `_local` made
                                        of its ends; returns whether it is kept and counts as
                                        waiting until `consumed`
    ``_remote(address, port, family, size)``  once for equal datagrams of one sender in a row
    ``_local(address, port, family)``   once for each socket and `connect`
    ``_problem(errno, said, where)``    something failed, the socket goes on: `said` is what a
                                        look-up said, else ""; `where` to, or ""
    ``_drained()``                      nothing waits to be sent, once after `want_drained`
    ``_ended(lost)``                    it is closed; how many datagrams were not sent
    """

    def __cinit__(self, *args, **kw):
        self.fds[0] = self.fds[1] = -1
        self.options[0] = self.options[1] = self.options[2] = -1

    def __init__(self, Pool pool not None, int family=4, bint shared=False):
        self.pool = pool
        self.family = family
        self.shared = shared
        self.locals = [None, None]
        self.u.o.owner = <void *>self
        udp_begin(&self.u, &pool.engine.r, <size_t>pool.settings.c.max_buffered)

    def __dealloc__(self):
        cdef int which
        udp_drop(&self.u)
        if self.engine is None:
            for which in range(2):
                if self.fds[which] >= 0:
                    close(self.fds[which])

    # ---- what callers do

    cdef int usable(self) except -1:
        if self.closing or self.pool.closing or self.pool.engine.closed:
            raise failure(EBADF)
        return 0

    cdef int post(self, unsigned command) except -1:
        if self.finished or self.engine is None or self.engine.closed:
            return 0
        reactor_post(&self.engine.r, &self.u.o, command)
        return 0

    cdef int push(self, datagram *d) except -1:
        """Hands it to the loop, in the order of the calls: at once, when this thread drives."""
        if d == NULL:
            raise MemoryError
        inbox_push(&self.u.posted, &d.link)
        if self.engine is None:
            self.pool.sockets.add(self)
            self.pool.engine.submit(self, &self.u.o, COMMAND_START)
        elif not self.engine.may_touch():
            self.post(COMMAND_SEND)
        elif self.engine.delivering:
            defer(&self.engine.r.first, &self.u.flusher)
        else:
            udp_send_posted(&self.u)
            self.engine.touched()
        return 0

    cdef int open(self, bint six, int port) except -1:
        """Opens one of the two, unless it is open, in this thread: the port is known at once."""
        cdef datagram *d
        cdef int option
        if self.fds[six] >= 0:
            return 0
        opened.add(self)
        self.usable()  # another thread may have come between
        if self.fds[six] >= 0:
            return 0
        cdef int got = port if port or not self.port else self.port
        cdef int fd = datagram_open(6 if six else 4, &got, self.shared)
        if fd == -EADDRINUSE and not port and self.port:
            got = 0  # the port that the other one has is taken
            fd = datagram_open(6 if six else 4, &got, self.shared)
        if fd < 0:
            raise failure(-fd)
        d = datagram_new(DATAGRAM_OPEN, six, NULL, 0, NULL)
        if d == NULL:
            close(fd)
            raise MemoryError
        d.value = self.fds[six] = fd
        self.push(d)
        if self.port == 0:
            self.port = got
        for option in range(3):
            if self.options[option] >= 0:
                self.set_one(six, option)
        return 0

    cdef int set_one(self, bint six, int option) except -1:
        cdef datagram *d = datagram_new(DATAGRAM_SET, six, NULL, 0, NULL)
        if d != NULL:
            d.option = <datagram_option>option
            d.value = self.options[option]
        return self.push(d)

    def bind_port(self, int port):
        """Opens the socket on a port (0: any), unless it is open; the port that it has."""
        self.usable()
        self.open(self.family == 6, port)
        return self.port

    def transmit(self, data, size_t offset, size_t length, str address not None, int port,
                 bint broadcast=False, bint through=False):
        """Sends bytes of a buffer, or of an ASCII str; copied at once.

        To a numeric address or a host name; with `through` to where the socket is connected, if
        it is.
        """
        cdef Py_buffer view
        cdef datagram *d = NULL
        cdef datagram_address to
        cdef bytes host = address.encode()
        cdef int known = datagram_address_from(&to, host, port)
        cdef bint six = (known or self.family) == 6
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if offset > <size_t>view.len or length > <size_t>view.len - offset:
                raise failure(EINVAL)
            self.usable()
            if through and self.connected:
                six = self.connected_six
            self.open(six, 0)
            d = datagram_new(DATAGRAM_SEND, six, <const char *>view.buf + offset, length,
                             NULL if known else <char *>host)
            if d == NULL:
                raise MemoryError
            self.hand_in(d, address, port, broadcast, through, &to if known else NULL)
        finally:
            PyBuffer_Release(&view)

    cdef int hand_in(self, datagram *d, str address, int port, bint broadcast, bint through,
                     datagram_address *to) except -1:
        """`to` is NULL for a host name."""
        d.port = port
        d.broadcast = broadcast
        d.through = through
        if to != NULL:
            d.to = to[0]
            self.last_address = address
            self.last_port = port
            self.last_six = d.six if not (through and self.connected) else ":" in address
            self.last_to = to[0]
        self.u.queued += <unsigned>d.length
        return self.push(d)

    def transmit_plain(self, dict given not None, bint through):
        """`transmit` of bytes, a `Chunk` or an ASCII str to where the last one went, when
        ``address``, ``port`` and ``message`` are all that is given and nothing stands against it;
        whether it did."""
        cdef const char *start
        cdef Py_ssize_t length = 0
        cdef datagram *d
        if self.closing or len(given) != 3 or self.last_address is None:
            return False
        address, port, message = given.get("address"), given.get("port"), given.get("message")
        if type(address) is not str or type(port) is not int or (
                port != self.last_port or address != self.last_address):
            return False
        if type(message) is bytes:
            start, length = <char *><bytes>message, len(<bytes>message)
        elif type(message) is Chunk:
            start, length = (<Chunk>message).start, (<Chunk>message).length
        elif type(message) is str and (<str>message).isascii():
            start = PyUnicode_AsUTF8AndSize(message, &length)
        else:
            return False
        if length > DATAGRAM_MOST or <size_t>self.buffered >= self.u.limit:
            return False
        self.usable()
        through = through and self.connected
        d = datagram_new(DATAGRAM_SEND, self.connected_six if through else self.last_six, start,
                         length, NULL)
        if d == NULL:
            raise MemoryError
        d.port = self.last_port
        d.through = through
        d.to = self.last_to
        self.u.queued += <unsigned>length
        self.push(d)
        return True

    def connect_to(self, str address not None, int port):
        """What is sent through it goes to a numeric address or a host name, and nothing comes from
        elsewhere, once that is known. As `_problem` when it can't be."""
        cdef datagram_address to
        cdef bytes host = address.encode()
        cdef int known = datagram_address_from(&to, host, port)
        cdef bint six = (known or self.family) == 6
        cdef datagram *d
        self.usable()
        self.open(six, 0)
        d = datagram_new(DATAGRAM_CONNECT, six, NULL, 0, NULL if known else <char *>host)
        if d != NULL:
            d.port = port
            if known:
                d.to = to
        self.push(d)
        self.connected = True
        self.connected_six = six

    def set(self, int option, int value):
        """Sets TTL, MULTICAST_TTL or MULTICAST_LOOP of what is sent from now on."""
        cdef int which
        self.usable()
        self.options[option] = value
        for which in range(2):
            if self.fds[which] >= 0:
                self.set_one(which, option)

    def membership(self, str group not None, str interface not None, bint join):
        """Joins or leaves a multicast group, on an interface ("": any); at once."""
        cdef datagram_address a
        cdef bytes there = group.encode(), by = interface.encode()
        cdef int family = datagram_address_from(&a, there, 0)
        cdef int failed
        if family == 0:
            raise failure(EINVAL)
        self.usable()
        self.open(family == 6, 0)
        failed = datagram_membership(self.fds[family == 6], family, there, by, join)
        if failed:
            raise failure(failed)

    def local(self, int family):
        """(address, port) that it is bound to; ("", 0) when it is not, or is closed."""
        cdef datagram_address a
        cdef char text[DATAGRAM_TEXT]
        cdef int port = 0
        cdef int fd = self.fds[family == 6]
        if self.closing or self.pool.engine.closed or fd < 0 or datagram_local(fd, &a) < 0:
            return "", 0
        datagram_address_text(&a, text, &port)
        return (<bytes>text).decode(), port

    def end(self):
        """Closes it behind what waits to be sent, for which it waits a second at most.

        0: it closes already; 1: `_ended` will be called; 2: it will not, it was never open.
        """
        if self.closing:
            return 0
        self.closing = True
        self.post(COMMAND_CLOSE)
        return 2 if self.engine is None else 1

    def end_with_client(self):
        """As `end`, at once, because its client is closed."""
        self.closing = True
        self.post(COMMAND_ABORT)

    def consumed(self, size_t length):
        """A message of so many bytes that `_message` kept waits no more."""
        amount_sub(&self.u.unread, length + DATAGRAM_COST)
        if word_get(&self.u.stalled) and lanes_caught_up(&self.u):
            self.post(COMMAND_DRAINED)

    def want_drained(self):
        """`_drained` is called as soon as nothing waits to be sent."""
        word_or(&self.u.wants, UDP_WANT_DRAIN)
        self.post(COMMAND_SEND)

    @property
    def buffered(self):
        """Payload bytes that wait to be sent."""
        return <unsigned>(self.u.queued - word_get(&self.u.written))

    # ---- what the loop tells

    cdef object remote(self, event *e):
        cdef char text[DATAGRAM_TEXT]
        cdef const datagram_address *a = <const datagram_address *>(e.start - ADDRESS_BEFORE)
        cdef size_t said = sizeof(sockaddr_in6) if e.detail & 1 else sizeof(sockaddr_in)
        cdef int port = 0
        cdef int family
        if self.last_remote is not None and self.last_size == e.length and (
                memcmp(&self.last_from, a, said) == 0):
            return self.last_remote
        memcpy(&self.last_from, a, sizeof(datagram_address))
        family = datagram_address_text(&self.last_from, text, &port)
        self.last_size = e.length
        self.last_remote = self._remote((<bytes>text).decode(), port, family, e.length)
        return self.last_remote

    cdef object local_end(self, unsigned detail):
        cdef int which = detail & 1
        if self.locals[which] is None or self.locals_of[which] != detail:
            family = 6 if which else 4
            self.locals[which] = self._local(*self.local(family), family)
            self.locals_of[which] = detail
        return self.locals[which]

    cdef int deliver_message(self, event *e) except -1:
        cdef size_t length = e.length
        kept = False
        try:
            chunk = chunk_new(e.memory, e.start, length)
            remote = self.remote(e)
            if not self.closing:
                kept = self._message(chunk, remote, self.local_end(e.detail))
        finally:
            if not kept:
                self.consumed(length)
        return 0

    cdef int deliver_problem(self, event *e) except -1:
        said, where = "", ""
        if e.memory != NULL:
            where = (<bytes>e.memory.data).decode("utf-8", "replace")
            memory_drop(e.memory)
        if e.detail == PROBLEM_NAME:
            said = (<bytes>gai_strerror(<int>e.length)).decode("utf-8", "replace")
        self._problem(0 if said else <int>e.length, said, where)
        return 0

    cdef int handle(self, event *e) except -1:
        if e.kind == EVENT_CHUNK:
            return self.deliver_message(e)
        if e.kind == EVENT_PROBLEM:
            return self.deliver_problem(e)
        if e.kind == EVENT_OPEN:
            self._opened()
        elif e.kind == EVENT_DRAINED:
            self._drained()
        else:
            self.over()
        return 0

    cdef int over(self) except -1:
        self.finished = True
        self.fds[0] = self.fds[1] = -1
        self.pool.sockets.discard(self)
        udp_drop(&self.u)
        try:
            self._ended(self.u.lost)
        finally:
            self.release(&self.u.o)
        return 0


def after_fork_in_child():
    """Lets go of the parent's sockets; the engines' own hook has closed those that were watched."""
    cdef UDP socket
    cdef int which
    for one in list(opened):
        socket = one
        for which in range(2):
            if socket.fds[which] >= 0 and not socket.u.lanes[which].watched:
                close(socket.fds[which])
        socket.closing = socket.finished = True


os.register_at_fork(after_in_child=after_fork_in_child)
