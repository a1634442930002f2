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
    bint patient           # ... and gets it once in a step, so that others have their turn
    int64_t kicked_turn
    bint kick_waits        # for the next step
    int running            # transfers added
    int64_t acts           # times that libcurl was let work
    int sockets            # open ones, idle included
    int64_t ready_at       # of couriers: when the last connection could be sent on
    void *spare            # the owner's list of prepared handles
    long http_version      # the owner's
    void (*watches)(CURL *, int fd) noexcept nogil  # one waits for bytes on a socket; or NULL
    int profiled           # transfers added whose phases are wanted
    int at_work            # the socket that libcurl was told is ready, while it reads; -1: none
    int64_t first_at       # when the first byte that it has for libcurl came in; 0: unknown
    int64_t last_at        # ... and the last

cdef multi *multi_new(reactor *, done_function, long keep_connections) noexcept nogil
cdef void multi_free(multi *) noexcept nogil
cdef int multi_add(multi *, CURL *) noexcept nogil
cdef void multi_remove(multi *, CURL *) noexcept nogil
# For CURLOPT_OPENSOCKETFUNCTION, CURLOPT_SOCKOPTFUNCTION and CURLOPT_CLOSESOCKETFUNCTION
# The first two tell when the first was opened, which is the last, and why one was not.
cdef int multi_open_socket(
    multi *, curl_sockaddr *, int64_t *opened_at, int *last, long *os_errno) noexcept nogil
cdef void multi_connect_socket(multi *, int fd, int64_t *opened_at) noexcept nogil
cdef int multi_close_socket(void *, int fd) noexcept nogil
# What libcurl is about to read from a socket: when did it come in? Once it is read the kernel has
# forgotten.
cdef void multi_look(multi *, int fd) noexcept nogil
# When the bytes that libcurl reads just now from this socket came in, the first or the last of
# them, as the kernel noted it; 0: it did not, or libcurl reads from another.
cdef int64_t multi_first_came_at(multi *, int fd) noexcept nogil
cdef int64_t multi_last_came_at(multi *, int fd) noexcept nogil
# When TCP stood: asked for as soon as may be, and remembered.
cdef int64_t multi_stands(multi *, int fd) noexcept nogil

cdef long multis_alive
