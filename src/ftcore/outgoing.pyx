"""WebSocket frames on their way out. See outgoing.pxd."""
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from ftcore.buffers cimport memory_drop, memory_take

cdef extern from "c/ws_frame.h" nogil:
    size_t ws_header(
        uint8_t *out, int opcode, int fin, int rsv1, uint64_t length, const uint8_t *mask)

cdef extern from "c/ws_mask.h" nogil:
    void ws_mask(
        uint8_t *to, const uint8_t *source, size_t length, const uint8_t *mask, size_t offset)
    int ws_mask_next(ws_mask_pool *, uint8_t *mask)


cdef outgoing *outgoing_bytes(const char *data, size_t length) noexcept nogil:
    cdef outgoing *o = <outgoing *>calloc(1, sizeof(outgoing))
    if o == NULL:
        return NULL
    o.memory = memory_take(length)
    if o.memory == NULL:
        free(o)
        return NULL
    memcpy(o.memory.data, data, length)
    o.length = length
    return o


cdef outgoing *outgoing_frame(
        ws_mask_pool *masks, int opcode, bint fin, bint rsv1, const uint8_t *data, size_t length
) noexcept nogil:
    cdef slab *s = memory_take(WS_HEADER_ROOM + length)
    if s == NULL:
        return NULL
    return framed(masks, opcode, fin, rsv1, s, data, length)


cdef outgoing *outgoing_slab(
        ws_mask_pool *masks, int opcode, bint fin, bint rsv1, slab *s, size_t length
) noexcept nogil:
    return framed(masks, opcode, fin, rsv1, s, <uint8_t *>s.data + WS_HEADER_ROOM, length)


cdef outgoing *framed(
        ws_mask_pool *masks, int opcode, bint fin, bint rsv1, slab *s, const uint8_t *data,
        size_t length) noexcept nogil:
    """Takes the slab over, also when it fails."""
    cdef outgoing *o = <outgoing *>calloc(1, sizeof(outgoing))
    cdef uint8_t mask[4]
    cdef uint8_t header[WS_HEADER_ROOM]
    cdef size_t size, i
    if o == NULL or not ws_mask_next(masks, mask):
        memory_drop(s)
        free(o)
        return NULL
    size = ws_header(header, opcode, fin, rsv1, length, mask)
    ws_mask(<uint8_t *>s.data + WS_HEADER_ROOM, data, length, mask, 0)
    for i in range(size):
        s.data[WS_HEADER_ROOM - size + i] = <char>header[i]
    o.memory = s
    o.gone = WS_HEADER_ROOM - size  # the frame begins there
    o.length = WS_HEADER_ROOM + length
    o.close = opcode == WS_OP_CLOSE
    return o


cdef void outgoing_replace(outgoing *o, outgoing *other) noexcept nogil:
    memory_drop(o.memory)
    o.memory = other.memory
    o.gone = other.gone
    o.length = other.length
    free(other)


cdef void outgoing_free(outgoing *o) noexcept nogil:
    memory_drop(o.memory)
    free(o)
