"""The gate between Python and the reactor: the only place that lets go of the GIL."""
from ftcore.op cimport event, op
from ftcore.reactor cimport reactor

cdef class Engine:
    cdef object __weakref__
    cdef reactor r
    cdef bint open
    cdef unsigned long thread    # that drove last
    cdef bint delivering
    cdef bint resting      # another loop watches, and nothing was driven since
    cdef bint dead         # forked away from: nothing of libcurl's may be touched
    cdef readonly long tasks     # submitted and not yet delivered
    cdef int pooled(self, Operation operation, event *e) except -1
    cdef void put_back(self, event *rest) noexcept
    cdef int step(self, double timeout) except -1
    cdef int deliver(self) except -1
    # Whether the calling thread drives and is not in the middle of a step: it may touch the
    # reactor's things itself. After that, `touched`.
    cdef bint may_touch(self) noexcept
    cdef int touched(self) except -1
    cdef int submit(self, Operation operation, op *o, unsigned command) except -1

cdef class Operation:
    # Base of whatever Python hands in; a subclass embeds an op whose owner is the object itself.
    cdef readonly Engine engine
    cdef int handle(self, event *e) except -1
    cdef int release(self, op *o) except -1

cdef class Call(Operation):
    cdef op o
    cdef object function
