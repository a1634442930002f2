"""permessage-deflate on zlib. See permessage.pxd."""
from libc.string cimport memset

from ftcore.buffers cimport memory_drop, memory_grow, memory_take
from ftcore.codec cimport codec, has_zlib
from ftcore.op cimport SLAB_SMALL_ROOM
from libc.stdint cimport uint8_t

cdef enum:
    Z_OK = 0
    Z_STREAM_END = 1
    Z_BUF_ERROR = -5
    Z_NO_FLUSH = 0
    Z_SYNC_FLUSH = 2
    Z_DEFLATED = 8
    LEVEL = 1            # 6 takes 4 times as long for a tenth less, of JSON
    MEMORY_LEVEL = 8
    AT_ONCE = 1 << 30    # zlib counts in unsigned ints
    TAIL = 4             # 00 00 FF FF, which is not sent (RFC 7692 7.2.1)

cdef const uint8_t *tail = [0x00, 0x00, 0xFF, 0xFF]


cdef int inflation_begin(inflation *i, int window_bits, bint keeps_context) noexcept nogil:
    memset(i, 0, sizeof(inflation))
    i.keeps_context = keeps_context
    if not has_zlib:
        return -1
    if codec.inflate_init(&i.z, -window_bits, codec.zlib_version(), sizeof(z_stream)) != Z_OK:
        return -1
    i.begun = True
    return 0


cdef void inflation_end(inflation *i) noexcept nogil:
    if i.begun:
        codec.inflate_end(&i.z)
        i.begun = False


cdef bint make_room(slab **into, size_t used) noexcept nogil:
    """At least a little; twice as much as there is."""
    cdef slab *larger
    if into[0] == NULL:
        into[0] = memory_take(SLAB_SMALL_ROOM)
        return into[0] != NULL
    if used < into[0].room:
        return True
    larger = memory_grow(into[0], used, into[0].room * 2)
    if larger != NULL:
        into[0] = larger
    return larger != NULL


cdef inflated run_inflate(
        inflation *i, slab **into, size_t *used, size_t limit) noexcept nogil:
    """Until the input is used up."""
    cdef size_t room
    cdef int code = Z_OK
    while True:
        if not make_room(into, used[0]):
            return INFLATED_NO_MEMORY
        room = into[0].room - used[0]
        if room > limit + 1 - used[0]:
            room = limit + 1 - used[0]  # one byte more shows that it is too much
        i.z.next_out = <uint8_t *>into[0].data + used[0]
        i.z.avail_out = <unsigned int>room
        code = codec.inflate(&i.z, Z_SYNC_FLUSH)
        used[0] += room - i.z.avail_out
        if used[0] > limit:
            return INFLATED_TOO_BIG
        if code == Z_STREAM_END:  # a block that says it is the last one: another may follow
            if codec.inflate_reset(&i.z) != Z_OK:
                return INFLATED_BAD
            if i.z.avail_in == 0:
                return INFLATED
        elif code != Z_OK and code != Z_BUF_ERROR:
            return INFLATED_BAD
        elif i.z.avail_out:
            return INFLATED if i.z.avail_in == 0 else INFLATED_BAD


cdef inflated inflation_feed(
        inflation *i, const char *data, size_t length, bint last, slab **into, size_t *used,
        size_t limit) noexcept nogil:
    cdef inflated result
    i.z.next_in = <const uint8_t *>data
    i.z.avail_in = <unsigned int>length
    result = run_inflate(i, into, used, limit)
    if result == INFLATED and last:
        i.z.next_in = tail
        i.z.avail_in = TAIL
        result = run_inflate(i, into, used, limit)
        if result == INFLATED and not i.keeps_context:
            codec.inflate_reset(&i.z)
    return result


cdef int deflation_begin(deflation *d, int window_bits, bint keeps_context) noexcept nogil:
    memset(d, 0, sizeof(deflation))
    d.keeps_context = keeps_context
    if not has_zlib:
        return -1
    if codec.deflate_init(&d.z, LEVEL, Z_DEFLATED, -window_bits, MEMORY_LEVEL, 0,
                          codec.zlib_version(), sizeof(z_stream)) != Z_OK:
        return -1
    d.begun = True
    return 0


cdef void deflation_end(deflation *d) noexcept nogil:
    if d.begun:
        codec.deflate_end(&d.z)
        d.begun = False


cdef slab *deflation_make(
        deflation *d, const char *data, size_t length, bint last, size_t before,
        size_t *made) noexcept nogil:
    cdef slab *out = memory_take(before + length // 2 + 64)
    cdef slab *larger
    cdef size_t used = before, part
    if out == NULL:
        return NULL
    if length == 0:  # zlib flushes nothing twice: the head of an empty block (RFC 7692 7.2.3.6)
        out.data[before] = 0
        made[0] = 1 if last else 0
        return out
    d.z.next_in = <const uint8_t *>data
    d.z.avail_in = 0
    while True:
        if d.z.avail_in == 0 and length:
            part = length if length < AT_ONCE else AT_ONCE
            d.z.avail_in = <unsigned int>part
            length -= part
        if used == out.room:
            larger = memory_grow(out, used, out.room * 2)
            if larger == NULL:
                memory_drop(out)
                return NULL
            out = larger
        part = out.room - used
        if part > AT_ONCE:
            part = AT_ONCE
        d.z.next_out = <uint8_t *>out.data + used
        d.z.avail_out = <unsigned int>part
        codec.deflate(&d.z, Z_SYNC_FLUSH if length == 0 else Z_NO_FLUSH)
        used += part - d.z.avail_out
        if d.z.avail_in == 0 and length == 0 and d.z.avail_out:
            break
    if last:
        used -= TAIL
        if not d.keeps_context:
            codec.deflate_reset(&d.z)
    made[0] = used - before
    return out
