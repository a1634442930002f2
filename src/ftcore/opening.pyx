"""The answer to a WebSocket's opening request as it comes in. See opening.pxd."""
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memmove

from ftcore.response cimport status_of

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *, const char *, size_t)

cdef extern from "<stdlib.h>" nogil:
    long atol(const char *)

cdef enum:
    HEAD_ROOM = 65536
    BODY_SHOWN = 16384   # of an answer that is no acceptance


cdef char *opening_room(opening *o, size_t *room) noexcept nogil:
    if o.head == NULL:
        o.head = <char *>malloc(HEAD_ROOM + BODY_SHOWN)
    room[0] = (HEAD_ROOM if o.end == 0 else HEAD_ROOM + BODY_SHOWN) - o.length
    return NULL if o.head == NULL or room[0] == 0 else o.head + o.length


cdef opening_step opening_came(opening *o, size_t fresh) noexcept nogil:
    cdef size_t before = o.length
    cdef bint waited = o.end != 0
    o.length += fresh
    while o.end == 0:
        o.end = end_of_head(o.head, before, o.length)
        if o.end == 0:
            return OPENING_MORE
        o.status = status_of(o.head, o.end)
        if o.status != 101 and 100 <= o.status < 200:  # the answer is still to come (RFC 9110 15.2)
            o.length -= o.end
            memmove(o.head, o.head + o.end, o.length)
            o.end = before = 0
    if o.status == 101 or o.length - o.end >= body_length(o):
        return OPENING_COMPLETE
    return OPENING_MORE if waited else OPENING_REFUSED


cdef void opening_free(opening *o) noexcept nogil:
    free(o.head)
    o.head = NULL


cdef size_t end_of_head(const char *head, size_t seen, size_t length) noexcept nogil:
    """Bytes up to and with the blank line, which is not in those seen; 0: it is not there yet."""
    cdef size_t i
    for i in range(3 if seen < 3 else seen, length):
        if head[i] == 0x0A and head[i - 1] == 0x0D and head[i - 2] == 0x0A and head[i - 3] == 0x0D:
            return i + 1
    return 0


cdef size_t body_length(opening *o) noexcept nogil:
    """How much of the body of a refusal is waited for."""
    cdef char *line = o.head
    cdef char *end = o.head + o.end
    cdef long length
    if o.status == 204 or o.status == 304:
        return 0
    while line < end:
        if strncasecmp(line, b"content-length:", 15) == 0:
            length = atol(line + 15)
            return <size_t>length if 0 <= length < BODY_SHOWN else BODY_SHOWN
        if strncasecmp(line, b"transfer-encoding:", 18) == 0 and o.length - o.end >= 5 and (
                memcmp(o.head + o.length - 5, b"0\r\n\r\n", 5) == 0):
            return 0  # the last chunk
        line = <char *>memchr(line, 0x0A, <size_t>(end - line))
        if line == NULL:
            break
        line += 1
    return BODY_SHOWN
