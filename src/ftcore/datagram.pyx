"""A datagram on its way out. See datagram.pxd."""
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strlen


cdef datagram *datagram_new(
        int what, bint six, const char *data, size_t length, const char *name) noexcept nogil:
    cdef size_t named = 0 if name == NULL else strlen(name) + 1
    cdef datagram *d = <datagram *>malloc(sizeof(datagram) + length + named)
    if d == NULL:
        return NULL
    memset(d, 0, sizeof(datagram))
    d.what = what
    d.six = six
    d.length = length
    d.named = named != 0
    if length:
        memcpy(<char *>(d + 1), data, length)
    if named:
        memcpy(<char *>(d + 1) + length, name, named)
    return d


cdef void datagram_free(datagram *d) noexcept nogil:
    free(d)


cdef const char *datagram_data(datagram *d) noexcept nogil:
    return <const char *>(d + 1)


cdef const char *datagram_name(datagram *d) noexcept nogil:
    return <const char *>(d + 1) + d.length
