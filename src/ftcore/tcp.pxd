"""A TCP connection as Python holds it, from its first attempt to its last event."""
from ftcore.engine cimport Operation
from ftcore.stream cimport piece, stream
from ftcore.transfer cimport Pool

cdef class TCP(Operation):
    cdef object __weakref__
    cdef stream s
    cdef Pool pool
    cdef tuple kept               # the strings that `s` points into
    cdef size_t most              # bytes that may wait to be sent before more are refused
    cdef bint held                # paused
    cdef readonly bint established  # it is connected, or was
    cdef readonly bint ending     # nothing more may be sent
    cdef readonly bint leaving    # `leave` or `abort` was called
    cdef readonly bint finished   # the last event was delivered
    cdef int post(self, unsigned command) except -1
    cdef int push(self, piece *) except -1
    cdef int push_end(self) except -1
    cdef int hand_over(self) except -1
    cdef bint full(self) noexcept
    cdef int take_back(self) except -1
    cdef bint transmit(self, data) except -1
    cdef int lend(self, bytes data) except -1
    cdef int send(self, const char *data, size_t length) except -1
    cdef int send_list(self, list parts) except -1
    cdef int deliver(self, chunk, size_t length) except -1
    cdef int over(self) except -1
