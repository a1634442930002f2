"""Where the body of a request comes from when it is put together from pieces: memory and files.

A file is looked at when the transfer leaves the queue, opened when its turn comes, one at a time,
and must be the same until its last byte was read.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from ftcore.reactor cimport reactor

cdef extern from "c/file.h" nogil:
    ctypedef struct file_mark:
        uint64_t device
        uint64_t number
        int64_t size
        int64_t modified_ns

cdef struct piece:
    const char *data   # NULL: a file
    const char *path
    int64_t length
    file_mark mark

cdef struct body:
    piece *pieces      # owned by the Body that this is embedded in, with all that they point to
    int count
    reactor *r
    int fd             # of the file that is being read; -1: none
    int current        # piece
    int64_t offset     # in it
    int64_t length     # of all
    int64_t given      # bytes, since the last start
    int64_t most       # ... since the first
    int64_t given_at   # when the last ones were
    int os_errno       # why it can't be read, or FILE_NOT_REGULAR

# When the transfer leaves the queue: finds the length. False: os_errno says why not.
cdef bint body_open(body *, reactor *) noexcept nogil
# Bytes into `into`, which is filled up to the end of the body; -1: os_errno says why not.
cdef int64_t body_read(body *, char *into, size_t room) noexcept nogil
# Starts again, anywhere.
cdef bint body_seek(body *, int64_t offset) noexcept nogil
cdef void body_close(body *) noexcept nogil

cdef class Body:
    cdef body c
    cdef list kept     # what the pieces point into
    cdef Py_buffer *views
    cdef int view_count
