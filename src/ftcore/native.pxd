"""The native lane: transfers on connections that we speak HTTP/1.1 on ourselves.

What libcurl does for a transfer on its lane is done here by a `wire`: the request goes out as the
template has it written down, the answer fills the slot as libcurl's callbacks would. The owner's
pool starts exchanges and hears of their end in `pool.settled`.
"""
from libc.stdint cimport int64_t

from ftcore.slot cimport pool, slot, xfer

# Whether the current hop of a transfer is for this lane.
cdef bint native_serves(xfer *) noexcept nogil
# A cleared slot; NULL when memory is out.
cdef slot *native_take_slot(pool *) noexcept nogil
cdef void native_give_slot(pool *, slot *) noexcept nogil
# Sends the request, on an idle connection or a new one. `settled` may be called before it returns.
cdef void native_launch(xfer *) noexcept nogil
# The exchange is over, whether it ended or not: the connection is kept if it can be.
cdef void native_leave(slot *) noexcept nogil
# Goes on with what was told to wait.
cdef void native_flow(xfer *) noexcept nogil
# Where the redirect leads; malloc'ed, NULL: nowhere.
cdef char *native_redirect(slot *) noexcept nogil
# Fills x.ph; before `native_leave`.
cdef void native_read_phases(slot *, xfer *, int outcome) noexcept nogil
cdef void native_add_bytes(slot *, int64_t *sent, int64_t *received) noexcept nogil
cdef int64_t native_arrived_at(slot *) noexcept nogil
# Closes all connections; no transfer is left.
cdef void native_close(pool *) noexcept nogil
