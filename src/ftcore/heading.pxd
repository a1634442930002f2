"""The header block of a request as libcurl would send it over HTTP/1.1, for connections of our own.

What a URL comes down to is asked of libcurl itself (its URL API).
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from ftcore.libcurl cimport curl_slist

cdef struct heading:
    char *text      # owned
    size_t length
    size_t room
    bint failed     # memory is out, or the URL is none

cdef enum:
    NO_BODY = -1

# Starts a block: request line to the caller's `lines`, which are as libcurl takes them: "Name:"
# keeps a default away, "Name;" is a field without a value. `agent` and `codings` may be NULL.
cdef void heading_begin(
    heading *, const char *method, const char *url, const char *agent, const char *codings,
    const curl_slist *lines) noexcept nogil
# Ends it: what is said of a body of so many bytes, whether "100 Continue" is asked for, and what
# `lines` say of the connection. False: `failed`.
cdef bint heading_end(
    heading *, int64_t body_length, bint expects, const curl_slist *lines) noexcept nogil
# A block that was begun elsewhere.
cdef void heading_take(heading *, const char *text, size_t length) noexcept nogil
cdef void heading_free(heading *) noexcept nogil
# Where a Location leads from `url`, as libcurl has it; malloc'ed, NULL: memory is out.
cdef char *heading_redirect(const char *url, const char *place, size_t length) noexcept nogil
# Whether a URL has a user name, or is none that libcurl can read.
cdef bint heading_has_login(const char *url) noexcept nogil
