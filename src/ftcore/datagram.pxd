"""A datagram on its way out, or something that has to happen between two of them; and addresses.

The kernel parts are c/datagram.c's; this is what the rooms above say it with.
"""
from libc.stddef cimport size_t

from ftcore.op cimport inbox_node
from ftcore.reactor cimport datagram_address

cdef extern from "c/datagram.h" nogil:
    enum: DATAGRAM_MOST
    enum: DATAGRAM_TEXT
    ctypedef enum datagram_option:
        DATAGRAM_TTL
        DATAGRAM_MULTICAST_TTL
        DATAGRAM_MULTICAST_LOOP
        DATAGRAM_BROADCAST
    # The same address with another port.
    void datagram_at_port(datagram_address *, const datagram_address *, int port)

cdef enum:
    DATAGRAM_SEND = 0
    DATAGRAM_CONNECT = 1
    DATAGRAM_SET = 2     # `option` to `value`
    DATAGRAM_OPEN = 3    # `value` is a descriptor, from now on the loop's

cdef struct datagram:
    # From any thread into an inbox, then in a queue; whoever has it owns it. Behind it in memory
    # stand the payload and, when it is `named`, the host's name.
    inbox_node link      # first
    datagram *next
    int what             # DATAGRAM_SEND ...
    bint six             # for the IPv6 socket
    bint named           # `to` is not known yet
    int failed           # an EAI_* code: it can't be
    bint through         # goes where the socket is connected to, when it is
    bint broadcast       # only with this to a broadcast address
    int port
    datagram_option option
    int value
    datagram_address to
    size_t length

# Payload and name (NULL: none) are copied; NULL when memory is out.
cdef datagram *datagram_new(
    int what, bint six, const char *data, size_t length, const char *name) noexcept nogil
cdef void datagram_free(datagram *) noexcept nogil
cdef const char *datagram_data(datagram *) noexcept nogil
cdef const char *datagram_name(datagram *) noexcept nogil
