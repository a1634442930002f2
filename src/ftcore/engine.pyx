"""The gate between Python and the reactor: the only place that lets go of the GIL.

`Engine.poll` runs one turn of the loop without the GIL and then, holding it, hands the turn's
events to their owners. It may be called by one thread at a time, from any thread.
"""
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EINTR
from libc.stdint cimport int64_t
from posix.unistd cimport close

from ftcore.buffers cimport memory_after_fork
from ftcore.op cimport COMMAND_START, EVENT_DONE, EVENT_RELEASE, word_get
from ftcore.reactor cimport (
    reactor_after_fork, reactor_close, reactor_emit, reactor_lighten, reactor_open, reactor_post,
    reactor_rest, reactor_run, reactor_spare, reactor_wake,
)

import os
import weakref

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

engines = weakref.WeakSet()
cdef long tasks_alive = 0


cdef class Operation:
    """Base of what the engine works on."""

    cdef int handle(self, event *e) except -1:
        raise NotImplementedError

    cdef int release(self, op *o) except -1:
        """After the last event: lets the object go, unless a command is still on its way."""
        global tasks_alive
        if word_get(&o.queued) == 0:
            tasks_alive -= 1
            self.engine.tasks -= 1
            Py_DECREF(self)  # taken in Engine.submit
        else:
            o.release_owed = True
        return 0


cdef class Engine:
    """One reactor.

    `poll()` drives it; after `rest()` `fileno()` is readable when `poll(0)` has something to do,
    so that another loop can watch it.
    """

    def __cinit__(self):
        cdef int failed = reactor_open(&self.r)
        if failed:
            raise OSError(-failed, os.strerror(-failed))
        self.open = True
        engines.add(self)

    def __dealloc__(self):
        if self.open and not self.dead:
            reactor_close(&self.r)

    def fileno(self):
        """The poller's descriptor."""
        return self.r.poll.fd

    def poll(self, timeout=None):
        """Drives until something was delivered, `wake` or `timeout` seconds (None: no limit).

        Raises whatever an event's owner lets through, or a signal handler.
        """
        return self.step(-1.0 if timeout is None else timeout)

    cdef int step(self, double timeout) except -1:
        cdef int64_t ns = -1 if timeout < 0 else <int64_t>(timeout * 1e9)
        cdef int failed
        if not self.open or self.dead:
            raise RuntimeError("the engine is closed")
        self.thread = PyThread_get_thread_ident()
        self.resting = False
        with nogil:
            failed = reactor_run(&self.r, ns)
        if failed == -EINTR:
            PyErr_CheckSignals()
        elif failed:
            raise OSError(-failed, os.strerror(-failed))
        return self.deliver()

    def rest(self):
        """After `poll`, when another loop watches `fileno()`: it becomes readable when there is
        something to do, a timer or a command included."""
        self.resting = True
        reactor_rest(&self.r)

    cdef bint may_touch(self) noexcept:
        return (self.delivering or self.resting) and (
            self.thread == PyThread_get_thread_ident() and not self.dead)

    cdef int touched(self) except -1:
        if self.resting:
            reactor_rest(&self.r)
        return 0

    cdef int deliver(self) except -1:
        cdef event *e = self.r.out_first
        cdef event *following = NULL
        cdef Operation operation
        self.r.out_first = NULL
        self.r.out_last = NULL
        self.delivering = True
        try:
            while e != NULL:
                following = e.next
                operation = <Operation>e.target.owner
                if e.kind == EVENT_RELEASE:
                    operation.release(e.target)
                else:
                    if e.pooled:
                        # handed over by value: the spare may be needed while it is handled
                        self.pooled(operation, e)
                    else:
                        operation.handle(e)
                e = following
        except BaseException:
            self.put_back(following)
            raise
        finally:
            self.delivering = False
            reactor_lighten(&self.r, True)
        return 0

    cdef int pooled(self, Operation operation, event *e) except -1:
        cdef event copy = e[0]
        reactor_spare(&self.r, e)
        return operation.handle(&copy)

    cdef void put_back(self, event *rest) noexcept:
        """Events that an exception overtook come first in the next turn."""
        cdef event *last = rest
        if rest == NULL:
            return
        while last.next != NULL:
            last = last.next
        last.next = self.r.out_first
        if self.r.out_first == NULL:
            self.r.out_last = last
        self.r.out_first = rest

    cdef int submit(self, Operation operation, op *o, unsigned command) except -1:
        """Hands an operation in; it stays alive until its last event has been delivered."""
        if not self.open or self.dead:
            raise RuntimeError("the engine is closed")
        global tasks_alive
        operation.engine = self
        Py_INCREF(operation)  # given back in Operation.release
        self.tasks += 1
        tasks_alive += 1
        reactor_post(&self.r, o, command)
        return 0

    def wake(self):
        """Ends a `poll` that waits in another thread."""
        if self.open and not self.dead:
            reactor_wake(&self.r)

    def close(self):
        """Lets go of the poller. Operations must have ended and pools be closed."""
        if not self.open or self.dead:
            return
        if self.tasks:
            raise RuntimeError(f"{self.tasks} operations are still open")
        self.open = False
        reactor_close(&self.r)
        engines.discard(self)

    @property
    def closed(self):
        """Whether it was closed, or belongs to the process this one was forked from."""
        return not self.open or self.dead

    def abandon(self):
        """In a forked child: lets go of the descriptors without a word to the peers."""
        cdef int fd
        if not self.open or self.dead:
            return
        self.dead = True
        for fd in range(self.r.source_count):
            if self.r.sources[fd].kept:
                close(fd)
        close(self.r.poll.fd)
        for fd in self.own_descriptors():
            close(fd)

    def own_descriptors(self):
        """Descriptors that belong to the poller beside its own."""
        return [fd for fd in (self.r.poll.wake_fd, self.r.poll.timer_fd) if fd >= 0]


cdef void on_call(op *o, unsigned commands) noexcept nogil:
    o.last.kind = EVENT_DONE
    o.last.target = o
    reactor_emit(<reactor *>o.place, &o.last)


cdef class Call(Operation):
    """Calls `function` in the thread that drives the engine, after what it has to deliver."""

    def __cinit__(self, Engine engine not None, function):
        self.function = function
        self.o.command = on_call
        self.o.owner = <void *>self
        self.o.place = &engine.r
        engine.submit(self, &self.o, COMMAND_START)

    cdef int handle(self, event *e) except -1:
        function, self.function = self.function, None
        try:
            function()
        finally:
            self.release(&self.o)
        return 0


def alive():
    """(operations submitted and not yet over, engines open)"""
    return tasks_alive, len(engines)


def after_fork_in_child():
    """Leaves the parent's engines alone for good."""
    global tasks_alive
    tasks_alive = 0
    memory_after_fork()
    reactor_after_fork()
    for engine in list(engines):
        engine.abandon()
    engines.clear()


os.register_at_fork(after_in_child=after_fork_in_child)
