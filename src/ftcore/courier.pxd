"""A libcurl handle that carries the same request again and again, and knows when.

For load: nothing is kept of the response but its status, its size and its moments.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from ftcore.libcurl cimport CURL, curl_slist
from ftcore.multi cimport multi
from ftcore.profile cimport phases
from ftcore.reactor cimport reactor
from ftcore.settings cimport settings

cdef struct trip:
    # One request and its answer, whoever carried it; moments in ns, 0: not reached.
    int64_t began_at     # about to send
    int64_t sent_at      # the last byte was given away
    int64_t first_at     # the first byte of the answer came in
    int64_t last_at      # the last one
    int64_t sent         # bytes, as carried in HTTP
    int64_t received
    int64_t body         # bytes of the response's body, as they came
    int status
    int http             # 1, 2, 3; 0: no answer
    bint fresh           # `ph` says how its connection was made
    bint joined          # it waited for a connection that was made for another one
    phases ph            # of it, DNS_START to CONNECT_END, and the peer

cdef struct errand:
    # What is asked; must stay as long as its couriers.
    const char *url
    const char *verb         # for CURLOPT_CUSTOMREQUEST, or NULL
    curl_slist *headers
    const char *body         # NULL: none
    int64_t body_length
    long http_version
    bint head                # HEAD
    bint shared              # waits for a connection that carries several at once
    bint tls

cdef struct courier:
    CURL *easy               # owned
    multi *m
    settings *set
    const errand *e
    void *owner
    void (*over)(courier *, int result) noexcept nogil   # an answer, or a CURLcode
    bint under_way
    trip t
    int64_t started_at
    int64_t opened_at        # the first socket was
    int repeats              # libcurl sent it again: the connection was dead
    int fd                   # the last socket opened; -1: none
    long os_errno            # why it failed
    long old_errno           # of an address that was tried before the one that was reached
    char error[256]

# A multi handle that keeps to one connection. NULL: memory is out.
cdef multi *courier_connection(reactor *) noexcept nogil
# NULL: memory is out, or libcurl refused an option.
cdef courier *courier_new(
    multi *, settings *, const errand *, void *owner,
    void (*over)(courier *, int) noexcept nogil) noexcept nogil
# It is not under way. `over` is not called before this returns. 0, or a CURLMcode.
cdef int courier_go(courier *) noexcept nogil
# What is under way is given up, and `over` is not called. Never in a callback of libcurl's.
cdef void courier_halt(courier *) noexcept nogil
cdef void courier_free(courier *) noexcept nogil
