"""Where the body of a request comes from: memory and files in a row. See body.pxd."""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.unistd cimport close

import os

from ftcore.op cimport now_ns
from ftcore.reactor cimport reactor_forget, reactor_hold

cdef extern from "<errno.h>" nogil:
    enum: ENOMEM
    enum: ESTALE

cdef extern from "c/file.h" nogil:
    int file_open_source(const char *, int *, file_mark *)
    int file_unchanged(int, const file_mark *)
    int file_read(int, char *, size_t, int64_t, size_t *)


cdef void leave_file(body *b) noexcept nogil:
    if b.fd >= 0:
        reactor_forget(b.r, b.fd)
        close(b.fd)
        b.fd = -1


cdef bint body_open(body *b, reactor *r) noexcept nogil:
    cdef piece *p
    cdef int i
    b.r = r
    b.length = 0
    for i in range(b.count):
        p = &b.pieces[i]
        if p.data == NULL:
            b.current = i
            b.os_errno = file_open_source(p.path, &b.fd, &p.mark)
            if b.os_errno:
                return False
            close(b.fd)
            b.fd = -1
            p.length = p.mark.size
        b.length += p.length
    return True


cdef bint enter_file(body *b, piece *p) noexcept nogil:
    """Opens the file of a piece; it must be the one that was looked at."""
    cdef file_mark now
    b.os_errno = file_open_source(p.path, &b.fd, &now)
    if b.os_errno:
        return False
    if not reactor_hold(b.r, b.fd):
        close(b.fd)
        b.fd = -1
        b.os_errno = ENOMEM
        return False
    b.os_errno = file_unchanged(b.fd, &p.mark)
    return b.os_errno == 0


cdef bint read_file(body *b, piece *p, char *into, size_t length) noexcept nogil:
    cdef size_t got = 0
    if b.fd < 0 and not enter_file(b, p):
        return False
    b.os_errno = file_read(b.fd, into, length, b.offset, &got)
    if b.os_errno == 0 and got < length:
        b.os_errno = ESTALE
    if b.os_errno == 0 and b.offset + <int64_t>length == p.length:
        b.os_errno = file_unchanged(b.fd, &p.mark)
    return b.os_errno == 0


cdef int64_t body_read(body *b, char *into, size_t room) noexcept nogil:
    cdef piece *p
    cdef size_t filled = 0, length
    while filled < room and b.current < b.count:
        p = &b.pieces[b.current]
        length = room - filled
        if <int64_t>length > p.length - b.offset:
            length = <size_t>(p.length - b.offset)
        if p.data != NULL:
            memcpy(into + filled, p.data + b.offset, length)
        elif not read_file(b, p, into + filled, length):
            return -1
        b.offset += length
        filled += length
        if b.offset == p.length:
            leave_file(b)
            b.current += 1
            b.offset = 0
    b.given += filled
    b.given_at = now_ns()
    if b.given > b.most:
        b.most = b.given
    return filled


cdef bint body_seek(body *b, int64_t offset) noexcept nogil:
    if offset < 0 or offset > b.length:
        return False
    leave_file(b)
    b.given = offset
    b.current = 0
    while b.current < b.count and offset >= b.pieces[b.current].length:
        offset -= b.pieces[b.current].length
        b.current += 1
    b.offset = offset
    return True


cdef void body_close(body *b) noexcept nogil:
    leave_file(b)


@cython.no_gc
cdef class Body:
    """A request body: its pieces in a row, each bytes-like or, as a str, the path of a file.

    Nothing is copied: buffers stay as they are until the transfer is over. Files are read as they
    are sent; a file that is no regular one, or that changes meanwhile, fails the transfer.
    """

    def __cinit__(self, pieces):
        cdef Py_buffer *view
        cdef piece *p
        given = list(pieces)
        memset(&self.c, 0, sizeof(body))
        self.c.fd = -1
        self.kept = []
        self.c.pieces = <piece *>calloc(len(given) or 1, sizeof(piece))
        self.views = <Py_buffer *>calloc(len(given) or 1, sizeof(Py_buffer))
        if self.c.pieces == NULL or self.views == NULL:
            raise MemoryError
        for one in given:
            p = &self.c.pieces[self.c.count]
            if isinstance(one, str):
                path = os.fsencode(one)
                self.kept.append(path)
                p.path = path
            else:
                view = &self.views[self.view_count]
                PyObject_GetBuffer(one, view, PyBUF_SIMPLE)
                self.view_count += 1
                p.data = <const char *>view.buf if view.buf != NULL else <const char *>b""
                p.length = view.len
            self.c.count += 1

    @property
    def file(self):
        """Path of the file that is, or was to be, read; "" when it is none."""
        cdef const char *path = NULL
        if self.c.current < self.c.count:
            path = self.c.pieces[self.c.current].path
        return "" if path == NULL else os.fsdecode(<bytes>path)

    def __dealloc__(self):
        cdef int i
        for i in range(self.view_count):
            PyBuffer_Release(&self.views[i])
        free(self.views)
        free(self.c.pieces)
