"""WebSocket frames on their way out: made by whoever sends, in any thread, sent by the reactor."""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t

from ftcore.op cimport inbox_node, slab

cdef extern from "c/ws_frame.h" nogil:
    enum: WS_CONTINUE
    enum: WS_TEXT
    enum: WS_BINARY
    enum: WS_OP_CLOSE
    enum: WS_OP_PING
    enum: WS_OP_PONG
    enum: WS_HEADER_ROOM

cdef extern from "c/ws_mask.h" nogil:
    ctypedef struct ws_mask_pool:
        pass
    void ws_mask_pool_wipe(ws_mask_pool *)

cdef struct outgoing:
    # Bytes on their way out; from any thread into `posted`, then in `queue`.
    inbox_node link      # first
    outgoing *next
    slab *memory         # owned
    size_t length
    size_t gone
    int64_t token        # 0: nobody asks; -1: not the owner's
    bint close           # a close frame

# A frame, masked: `opcode`, FIN, RSV1 and payload; NULL when memory or randomness are out.
cdef outgoing *outgoing_frame(
    ws_mask_pool *, int opcode, bint fin, bint rsv1, const uint8_t *data, size_t length
) noexcept nogil
# The same of a slab that has its payload from WS_HEADER_ROOM on; the slab is taken over.
cdef outgoing *outgoing_slab(
    ws_mask_pool *, int opcode, bint fin, bint rsv1, slab *, size_t length) noexcept nogil
cdef outgoing *outgoing_bytes(const char *data, size_t length) noexcept nogil
# Has the bytes of another, which is taken over; the place in the queue stays.
cdef void outgoing_replace(outgoing *, outgoing *) noexcept nogil
cdef void outgoing_free(outgoing *) noexcept nogil
