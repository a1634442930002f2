"""A Client's connections on one engine: where a transfer runs, the queue, redirects, commands.

Runs without the GIL in the thread that drives the engine. It starts transfers and ends them, each
exactly once; what the end brings to Python is the owner's part.
"""
from ftcore.op cimport op
from ftcore.slot cimport pool, slot

# The command of a transfer's op, and that of a pool's.
cdef void pool_on_transfer_command(op *, unsigned commands) noexcept nogil
cdef void pool_on_command(op *, unsigned commands) noexcept nogil
# The pool's starter: transfers that wait, as many as may start.
cdef void pool_start_waiting(void *) noexcept nogil
# After EVENT_DONE was delivered: the slot can serve another transfer.
cdef void pool_give_slot(slot *) noexcept nogil
# For pool.settled: an exchange has ended.
cdef void pool_settle(slot *, int result) noexcept nogil
# Requests begun on a lane, in this process; a redirect that changes lanes counts on both.
cdef long pool_begun(bint native) noexcept nogil
# All of libcurl's; no transfer is left.
cdef void pool_free_handles(pool *) noexcept nogil
