"""The answer to a WebSocket's opening request as it comes in: a header block, and where it is no
acceptance what the server says about it. What it means is the owner's to judge."""
from libc.stddef cimport size_t

cdef enum opening_step:
    OPENING_MORE       # is to come
    OPENING_REFUSED    # the header block is there; the body is worth a little patience
    OPENING_COMPLETE

cdef struct opening:
    char *head         # owned
    size_t length      # of what has come
    size_t end         # where the header block ends; 0: it is not there yet
    int status

# Where the next bytes go, and how many may; NULL: there is no memory, or (*room 0) no end of it.
cdef char *opening_room(opening *, size_t *room) noexcept nogil
# So many bytes have come there.
cdef opening_step opening_came(opening *, size_t fresh) noexcept nogil
cdef void opening_free(opening *) noexcept nogil
