"""Where the body of a response goes when it goes to a file: a part, then the file itself.

The engine opens a part when its transfer leaves the queue, writes to it while the body comes, and
leaves it to its owner at the end, who publishes or discards it. It stays locked until then, and
whoever finds a part unlocked may remove it.

An interrupted download that is to be taken up again has a second file, `kept`: what came before,
and a note beside it that says what it is a part of. Only a response that goes on where `kept`
ends (206), or that brings the whole (200), goes there; any other has a part of its own.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from ftcore.op cimport slab
from ftcore.reactor cimport reactor

cdef enum sink_answer:
    SINK_READY
    SINK_FAILED      # os_errno says why
    SINK_START_OVER  # the response is no continuation of `kept`: ask for the whole

cdef struct sink:
    # Strings belong to the Part that this is embedded in.
    const char *path       # of the part
    const char *target     # where it will go; NULL: not known yet, it is a temporary file
    const char *kept       # NULL: nothing is taken up
    const char *note
    int64_t asked_from     # where the request asks to go on in `kept`
    int64_t asked_of       # bytes of the whole file, as far as is known; 0: it is not
    const char *etag       # its ETag, or NULL
    const char *modified   # ... or its Last-Modified
    reactor *r             # knows the descriptors; NULL: there are none
    int fd                 # what is written to; -1: not open
    int kept_fd            # `kept`, until it is known what comes
    long process           # that opened them: a forked child leaves them alone
    bint direct            # `fd` is a device, there is no part
    bint continuing        # `fd` is that of `kept`
    bint published
    slab *gathered         # owned; bytes that wait for more
    size_t held            # ... so many
    int64_t length         # of the file, those included
    int64_t whole          # what that has to come to; 0: whatever comes
    int os_errno

# When the transfer leaves the queue. SINK_READY, SINK_FAILED or SINK_START_OVER (what is kept is
# not what the request says it is).
cdef sink_answer sink_open(sink *, reactor *) noexcept nogil
# At the end of the header block. `first` and `of` are the first byte of its Content-Range and the
# size of the whole, -1: not told; `other` whether its ETag or
# Last-Modified is another one.
cdef sink_answer sink_begin(
    sink *, int status, int64_t first, int64_t of, bint coded, bint other) noexcept nogil
cdef bint sink_write(sink *, const char *data, size_t length) noexcept nogil
# No more will come: what was gathered is written if the file is to be of use. False: it could
# not be; or, where os_errno is 0, the file is not complete.
cdef bint sink_end(sink *, bint complete) noexcept nogil

cdef class Part:
    cdef sink c
    cdef tuple strings     # that `c` points into
    cdef int end(self) except -1
