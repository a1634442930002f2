"""A ring of libcurl multi handles on a reactor: sockets and timers in, finished transfers out.

libcurl's cost of a request grows with the connections of a multi handle, so a pool has several
and a connection stays on the one it was made on.
"""
from libc.stdint cimport int64_t

from ftcore.libcurl cimport CURL, CURLM, curl_sockaddr
from ftcore.reactor cimport deferred, reactor, timer_node

ctypedef void (*done_function)(CURL *, int result) noexcept nogil

cdef struct multi:
    CURLM *handle          # owned
    reactor *r
    done_function done     # called outside of libcurl, the handle still added
    timer_node timer       # lags behind `deadline`: armed early, looked at when it fires
    int64_t deadline       # what libcurl asked for; INT64_MAX: nothing
    deferred kick          # libcurl asked for "now"
    int running            # transfers added
    int sockets            # open ones, idle included
    void *spare            # the owner's list of prepared handles
    long http_version      # the owner's

cdef multi *multi_new(reactor *, done_function, long keep_connections) noexcept nogil
cdef void multi_free(multi *) noexcept nogil
cdef int multi_add(multi *, CURL *) noexcept nogil
cdef void multi_remove(multi *, CURL *) noexcept nogil
# For CURLOPT_OPENSOCKETFUNCTION and CURLOPT_CLOSESOCKETFUNCTION
# The former tells when the first was opened, which is the last, and why one was not.
cdef int multi_open_socket(
    multi *, curl_sockaddr *, int64_t *opened_at, int *last, long *os_errno) noexcept nogil
cdef int multi_close_socket(void *, int fd) noexcept nogil

cdef long multis_alive
