"""A UDP socket as Python holds it, from its first use to its last event."""
from libc.stddef cimport size_t

from ftcore.datagram cimport datagram
from ftcore.engine cimport Operation
from ftcore.lanes cimport udp
from ftcore.op cimport event
from ftcore.reactor cimport datagram_address
from ftcore.transfer cimport Pool

cdef class UDP(Operation):
    cdef object __weakref__
    cdef udp u
    cdef Pool pool
    # The kernel's sockets as callers may use them: with the GIL and while not `closing`. The loop
    # closes them only after it was told to, and it is told behind `closing`.
    cdef int fds[2]
    cdef int options[3]            # DATAGRAM_* as set, for a socket still to be opened; -1: not
    cdef bint shared
    cdef bint connected_six
    cdef str last_address          # where the last one went, numeric; None: nowhere
    cdef int last_port
    cdef bint last_six
    cdef datagram_address last_to
    cdef datagram_address last_from  # whom the last one came from, its length, what was made of it
    cdef size_t last_size
    cdef object last_remote
    cdef list locals                 # what was made of the two ends here, and of what
    cdef unsigned locals_of[2]
    cdef readonly int family         # 4 or 6: of names, and of `bind`
    cdef readonly int port           # 0: not bound
    cdef readonly bint connected     # `connect` was called
    cdef readonly bint closing
    cdef readonly bint finished      # the last event was delivered
    cdef int post(self, unsigned command) except -1
    cdef int usable(self) except -1
    cdef int open(self, bint six, int port) except -1
    cdef int set_one(self, bint six, int option) except -1
    cdef int push(self, datagram *) except -1
    cdef int hand_in(self, datagram *, str address, int port, bint broadcast, bint through,
                     datagram_address *to) except -1
    cdef object remote(self, event *)
    cdef object local_end(self, unsigned detail)
    cdef int deliver_message(self, event *) except -1
    cdef int deliver_problem(self, event *) except -1
    cdef int over(self) except -1
