"""Host names of a UDP socket: each is looked up off the loop, what goes there waits in order.

An answer is good for as long as libcurl's are; failures are asked again. In the loop's thread.
"""
from libc.stdint cimport int64_t

from ftcore.datagram cimport datagram
from ftcore.op cimport op
from ftcore.reactor cimport lookup, reactor

cdef struct name:
    lookup l             # first; its thread's while `asking`
    op o
    name *next
    names *of            # NULL: nobody waits any more
    datagram *first      # owned; what waits for the answer
    datagram *last
    bint asking
    int64_t asked_at

cdef struct names:
    reactor *r
    name *first          # owned; the newest
    unsigned count
    unsigned asking
    void *owner
    # `waiting` is the owner's from now on; those that asked for this name have their address, or
    # `failed`, an EAI_* code. The name may be gone when the first of them was handled.
    void (*answered)(void *owner, name *, datagram *waiting) noexcept nogil

# 1: the address is in `d.to`; 0: it waits, behind what waits for the same name; -errno.
cdef int names_find(names *, datagram *) noexcept nogil
# The one that is being looked up for `d`; NULL: none.
cdef name *names_asked(names *, datagram *d) noexcept nogil
# Behind what waits for this name.
cdef void names_wait(name *, datagram *) noexcept nogil
# Forgets all; what waited, for the caller.
cdef datagram *names_close(names *) noexcept nogil
