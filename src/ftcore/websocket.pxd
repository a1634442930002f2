"""A WebSocket as Python holds it, from its opening request to its last event."""
from libc.stdint cimport int64_t

from ftcore.engine cimport Operation
from ftcore.frames cimport websocket
from ftcore.outgoing cimport outgoing
from ftcore.permessage cimport deflation
from ftcore.transfer cimport Pool

cdef class WebSocket(Operation):
    cdef object __weakref__
    cdef websocket w
    cdef Pool pool
    cdef bytes url
    cdef deflation deflate
    cdef bint mid_message         # a message of several frames is being sent
    cdef dict sends               # token -> what the owner waits with
    cdef int64_t tokens
    cdef readonly bint accepted
    cdef bint parting             # `farewell` was called
    cdef readonly bint finished   # the last event was delivered
    cdef int post(self, unsigned command) except -1
    cdef int hand_over(self) except -1
    cdef int push(self, outgoing *, waiter) except -1
    cdef int deliver_message(self, object memory, unsigned detail, size_t length) except -1
    cdef int end(self) except -1
