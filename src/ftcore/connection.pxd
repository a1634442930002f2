"""A connection that we speak on ourselves: libcurl finds the address, opens it and does TLS.

libcurl (CURLOPT_CONNECT_ONLY) brings DNS, happy eyeballs, proxies, TLS and the times of each; after
that the descriptor is watched by us and bytes go through `connection_send` and `connection_recv`.
Each connection has a multi handle of its own: on a common one libcurl would take a connection that
has something to read for a dead one, and close it. Of a connection without TLS libcurl keeps
nothing once it is open: the socket is moved away from it, and its 15 KiB are given back.

Everything in the thread that drives the reactor.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from ftcore.libcurl cimport CURL, curl_slist
from ftcore.multi cimport multi
from ftcore.profile cimport phases
from ftcore.reactor cimport deferred, reactor
from ftcore.settings cimport settings

cdef enum:
    CONNECTION_AGAIN = -1    # nothing now; `ready` will be called if it is watched
    CONNECTION_FAILED = -2   # `code` and `os_errno` say why
    PIECES = 16

cdef struct connecting:
    # What is asked of a connection, beside the Client's settings; `url` http or https.
    const char *url
    bint tls
    bint nodelay
    bint direct              # no proxy, whoever names one
    bint opaque              # TLS that says nothing of a protocol (no ALPN)
    int family               # 4 or 6: the name's addresses of that kind only
    long keepalive_s         # 0: as the Client has it
    const char *interface    # to connect from; NULL: as the Client has it
    int local_port           # 0: any
    const char *instead      # "::HOST:PORT": goes there, not where `url` points; NULL

cdef struct connection:
    reactor *r
    CURL *easy          # owned
    multi *m            # owned
    curl_slist *instead  # owned
    deferred release    # frees what is not needed any more
    bint over           # ... which is all
    int fd              # -1: not connected
    bint moved          # `fd` is ours alone
    bint tls
    void *ssl           # OpenSSL's; NULL: not asked for yet, or there is none
    bint coded          # bytes go through libcurl: TLS, to the origin or perhaps to a proxy
    unsigned wanted     # POLLER_*
    void *owner
    void (*opened)(void *owner, int code) noexcept nogil   # once, with a CURLcode
    void (*ready)(void *owner, unsigned ready) noexcept nogil
    int code            # CURLcode of the last failure
    long os_errno
    long old_errno      # of an address that was tried before the one that was reached
    int last_fd         # the last socket opened; -1: none
    int64_t started_at
    int64_t base        # where libcurl's times count from
    int64_t opened_at   # the first socket was
    char error[256]
    phases ph           # as far as they go

# Starts to connect; NULL when memory or descriptors are out. `opened` is not called before this
# returns. What is asked must stay until then.
cdef connection *connection_new(
    reactor *, settings *, const connecting *, void *owner,
    void (*opened)(void *, int) noexcept nogil,
    void (*ready)(void *, unsigned) noexcept nogil, long *os_errno) noexcept nogil
# May be called in `opened` and `ready`; neither is called again.
cdef void connection_free(connection *) noexcept nogil
# Which of POLLER_READ and POLLER_WRITE `ready` is called for.
cdef void connection_watch(connection *, unsigned wanted) noexcept nogil
# Bytes moved, 0 at the end of the stream (receiving), or CONNECTION_*.
cdef int64_t connection_recv(connection *, char *into, size_t room) noexcept nogil
# The same, and when the last of them came in (ns of the wall clock; 0: unknown), of a connection
# that the kernel stamps.
cdef int64_t connection_recv_stamped(
    connection *, char *into, size_t room, int64_t *came_at) noexcept nogil
cdef int64_t connection_send(connection *, const char *data, size_t length) noexcept nogil
# The same of up to PIECES in a row, of which some may go.
cdef int64_t connection_send_pieces(
    connection *, const char **pieces, const size_t *lengths, int count) noexcept nogil
# Whether bytes may be left to receive that the poller does not tell of: TLS has read them already.
cdef bint connection_holds_back(connection *) noexcept nogil
# Nothing more will be sent: the peer is told, over TLS by its close_notify too. Receiving goes on.
# 0, or CONNECTION_AGAIN: not yet.
cdef int connection_finish(connection *) noexcept nogil
# The numeric address and port of this end, or of the other: 4 or 6, 0: there is none. `text` has
# room for 46 bytes.
cdef int connection_name(connection *, bint other, char *text, int *port) noexcept nogil
# DNS, connect and TLS moments, and the peer.
cdef void connection_read_phases(connection *, phases *) noexcept nogil
