"""What a WebSocket receives: the answer to its opening request, messages, pings, the end.

Runs without the GIL in the thread that drives the engine.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

from ftcore.frames cimport websocket
from ftcore.op cimport slab

# Whatever has come, unless the owner has enough.
cdef void messages_receive(websocket *) noexcept nogil
# Bytes that stand in `memory`, or with NULL already where their message is put together.
cdef void messages_parse(
    websocket *, const uint8_t *data, size_t length, slab *memory) noexcept nogil
# Before the first byte behind the answer.
cdef void messages_begin(websocket *) noexcept nogil
