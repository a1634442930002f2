"""HTTP on libcurl as Python holds it: a Client's pool on one engine, and one transfer.

    Pool       the Client's connections on one engine: multi handles, limits, the queue
    Transfer   one request, from submission to its last event
"""
from ftcore.body cimport Body
from ftcore.engine cimport Operation
from ftcore.quality cimport Estimator
from ftcore.settings cimport Settings, Template
from ftcore.sink cimport Part
from ftcore.slot cimport pool, xfer

cdef class Pool(Operation):
    cdef object __weakref__
    cdef pool c
    cdef set holding              # transfers whose result waits for `resume`
    cdef readonly set sockets     # that are not over
    cdef readonly bint closing
    cdef readonly bint closed
    cdef readonly Settings settings
    cdef readonly Estimator quality
    cdef object closed_event

cdef class Transfer(Operation):
    cdef xfer x
    cdef Py_buffer body
    cdef bint body_held
    cdef Body source
    cdef readonly Part part       # the file that the response's body goes to; the owner's to end
    cdef Template template
    cdef Pool pool
    cdef readonly bint finished   # the last event was delivered
    cdef readonly bint aborted
    cdef readonly bint paused
    cdef bint headers_told        # or chunks were, which come behind them
    cdef list held_back           # events that came while paused, in order
    # The owner's, None to begin with; the engine does not look at them.
    cdef public object context
    cdef public object outcome
    cdef public object waiters
    cdef public object header_listeners
    cdef public object chunk_listeners
    cdef public object unheard_chunks
    cdef public object progress_listeners
    cpdef start(self, Pool home, Template made, body, double timeout, Part part=*)
    cdef int post(self, unsigned command) except -1
    cdef int hold(self, what) except -1
    cdef int flush(self) except -1
    cdef int tell_headers(self) except -1
    cdef int tell_chunk(self, chunk) except -1
    cdef int give_chunk(self, chunk) except -1
    cdef int over(self) except -1
    cdef int let_go(self) except -1
    cdef int catch_up(self) except -1
    cdef int end(self) except -1
    cdef int finish(self, tuple result) except -1
