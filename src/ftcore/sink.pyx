"""Where the body of a response goes when it goes to a file. See sink.pxd.

Bytes go from libcurl's receive buffer into a piece of pooled memory and from there to the file,
15 pages at a time: libcurl hands out 16 KiB at most, and a write of so few costs half as much
again.
"""
cimport cython
from libc.errno cimport ENOMEM
from libc.string cimport memcpy, memset
from posix.unistd cimport F_OK, access, close, unlink

import os

from ftcore.buffers cimport memory_drop, memory_take
from ftcore.op cimport SLAB_ROOM
from ftcore.reactor cimport reactor_forget, reactor_hold

cdef extern from "c/file.h" nogil:
    int file_open_part(const char *, const char *, int *, int *)
    int file_open_kept(const char *, const char *, int *, int64_t *)
    int file_cut(int, int64_t)
    int file_write(int, const char *, size_t)
    int file_publish(int, const char *, const char *, int)
    int FILE_NOT_REGULAR

cdef enum:
    PIECE = 15 * 4096

cdef long this_process = 0  # how often it was forked on the way here


cdef void shut(sink *s, int *fd) noexcept nogil:
    if fd[0] >= 0:
        reactor_forget(s.r, fd[0])
        close(fd[0])
        fd[0] = -1


cdef void shut_kept(sink *s, int *fd) noexcept nogil:
    """Without its note it is of no use to a later download."""
    if fd[0] >= 0 and access(s.note, F_OK) != 0:
        unlink(s.kept)
    shut(s, fd)


cdef sink_answer failed(sink *s, int os_errno) noexcept nogil:
    s.os_errno = os_errno
    return SINK_FAILED


cdef sink_answer open_part(sink *s) noexcept nogil:
    cdef int direct = 0
    cdef int problem = file_open_part(s.path, s.target, &s.fd, &direct)
    s.direct = direct
    if problem:
        return failed(s, problem)
    return SINK_READY if reactor_hold(s.r, s.fd) else failed(s, ENOMEM)


cdef sink_answer sink_open(sink *s, reactor *r) noexcept nogil:
    cdef int64_t length = 0
    cdef int problem
    s.r = r
    s.process = this_process
    if s.kept == NULL:
        return open_part(s)
    problem = file_open_kept(s.kept, s.target, &s.kept_fd, &length)
    if problem:
        return failed(s, problem)
    if not reactor_hold(r, s.kept_fd):
        return failed(s, ENOMEM)
    return SINK_READY if length >= s.asked_from else SINK_START_OVER


cdef sink_answer write_kept(sink *s, int64_t length) noexcept nogil:
    """Goes on in `kept` after its first `length` bytes."""
    cdef int problem
    if length == 0:
        unlink(s.note)  # before it is wrong
    problem = file_cut(s.kept_fd, length)
    if problem:
        return failed(s, problem)
    s.fd = s.kept_fd
    s.kept_fd = -1
    s.continuing = True
    s.length = length
    return SINK_READY


cdef bint goes_on(
        sink *s, int status, int64_t first, int64_t of, bint coded, bint other) noexcept nogil:
    """Whether a response is what was asked for: the rest of the file that `kept` is of."""
    if status != 206 or first != s.asked_from or coded or other:
        return False
    return of < 0 or s.asked_of == 0 or of == s.asked_of


cdef sink_answer sink_begin(
        sink *s, int status, int64_t first, int64_t of, bint coded, bint other) noexcept nogil:
    if s.fd >= 0:
        return SINK_READY
    if status == 200:
        return write_kept(s, 0)
    if s.asked_from and goes_on(s, status, first, of, coded, other):
        s.whole = of if of > 0 else s.asked_of
        return write_kept(s, first)
    if s.asked_from and (status == 206 or status == 416):
        return SINK_START_OVER
    shut_kept(s, &s.kept_fd)
    return open_part(s)


cdef bint flush(sink *s) noexcept nogil:
    cdef int problem = 0
    if s.held:
        problem = file_write(s.fd, s.gathered.data, s.held)
        s.held = 0
    if problem:
        s.os_errno = problem
    return problem == 0


cdef bint sink_write(sink *s, const char *data, size_t length) noexcept nogil:
    cdef size_t fits
    if s.gathered == NULL:
        s.gathered = memory_take(SLAB_ROOM)
        if s.gathered == NULL:
            s.os_errno = ENOMEM
            return False
    while length:
        fits = PIECE - s.held
        if fits > length:
            fits = length
        memcpy(s.gathered.data + s.held, data, fits)
        s.held += fits
        s.length += fits
        data += fits
        length -= fits
        if s.held == PIECE and not flush(s):
            return False
    return True


cdef bint sink_end(sink *s, bint complete) noexcept nogil:
    cdef bint good = not (complete and s.whole and s.length != s.whole)
    if s.fd >= 0 and s.os_errno == 0 and (complete or s.continuing):
        good = flush(s) and good
    s.held = 0
    if s.gathered != NULL:
        memory_drop(s.gathered)
        s.gathered = NULL
    return good


def os_error(int problem, path):
    """The OSError of what a function of c/file.h returned."""
    if problem == FILE_NOT_REGULAR:
        return OSError(f"not a regular file: {os.fsdecode(path)!r}")
    return OSError(problem, os.strerror(problem), os.fsdecode(path))


@cython.no_gc
cdef class Part:
    """A file on its way to its target; one transfer writes it.

    ``path`` of the part, which must not exist; ``target`` where it will go, None when that is
    told to `publish` only (then nobody but the user may read it). With ``kept`` the download can
    be taken up again: bytes before ``asked_from`` are in that file, and ``note`` is removed before
    they change; ``asked_of`` is the size of the whole, ``etag`` its ETag or ``modified`` its
    Last-Modified, as far as they are known. Paths are bytes.

    Whoever made it publishes or discards it, after the transfer; else it is discarded with the
    object.
    """

    def __cinit__(self, bytes path not None, bytes target=None, *, bytes kept=None,
                  bytes note=None, int64_t asked_from=0, int64_t asked_of=0, bytes etag=None,
                  bytes modified=None):
        memset(&self.c, 0, sizeof(sink))
        self.strings = (path, target, kept, note, etag, modified)
        self.c.path = path
        self.c.target = NULL if target is None else <char *>target
        self.c.kept = NULL if kept is None else <char *>kept
        self.c.note = NULL if note is None else <char *>note
        self.c.asked_from = asked_from
        self.c.asked_of = asked_of
        self.c.etag = NULL if etag is None else <char *>etag
        self.c.modified = NULL if modified is None else <char *>modified
        self.c.fd = self.c.kept_fd = -1

    def __dealloc__(self):
        self.end()

    @property
    def file(self):
        """Path of the target, or of the part when it has none yet."""
        return os.fsdecode(self.strings[1] or self.strings[0])

    @property
    def length(self):
        """Bytes of the file."""
        return self.c.length

    @property
    def continuing(self):
        """Whether the response is written to the file that is kept."""
        return bool(self.c.continuing)

    def publish(self, bytes target not None, bint sync=False):
        """Makes it the file at `target`; with `sync` it is on the disk when this returns.

        Raises OSError, and then it is still a part.
        """
        cdef const char *path = self.c.kept if self.c.continuing else self.c.path
        cdef int problem = 0
        if self.c.fd < 0:
            raise ValueError("the part is not open")
        if not self.c.direct:
            problem = file_publish(self.c.fd, path, target, sync)
        if problem:
            raise os_error(problem, target)
        self.c.published = True
        if self.c.continuing:
            unlink(self.c.note)
        self.end()

    def discard(self):
        """Removes it, unless it was published or is kept."""
        self.end()

    cdef int end(self) except -1:
        cdef sink *s = &self.c
        if s.r == NULL or s.process != this_process:
            return 0
        sink_end(s, False)
        if s.fd >= 0 and not (s.direct or s.continuing or s.published):
            unlink(s.path)
        if s.continuing and not s.published:
            shut_kept(s, &s.fd)
        shut(s, &s.fd)
        shut_kept(s, &s.kept_fd)
        return 0


def after_fork_in_child():
    """What was open belongs to the parent; its descriptors are the engine's to close."""
    global this_process
    this_process += 1


os.register_at_fork(after_in_child=after_fork_in_child)
