"""When a connection came to stand, as libcurl and the kernel know it. See moments.pxd."""
from libc.stdint cimport int64_t
from libc.string cimport strncpy

from ftcore.libcurl cimport (
    CURL, CURLINFO_APPCONNECT_TIME_T, CURLINFO_CONNECT_TIME_T, CURLINFO_NAMELOOKUP_TIME_T,
    CURLINFO_PRIMARY_IP, CURLINFO_PRIMARY_PORT, CURLINFO_USED_PROXY, curl,
)
from ftcore.profile cimport (
    CONNECT_END, CONNECT_START, DNS_END, DNS_START, SSL_END, SSL_START, phases,
)
from ftcore.reactor cimport reactor, source

cdef extern from "c/sock.h" nogil:
    unsigned sock_rtt_us(int)

cdef enum:
    RTT_EVERY = 10000000  # ns


cdef int64_t moments_micros(CURL *e, int what) noexcept nogil:
    """A libcurl time in ns since the transfer began; 0: not reached, or too old a library."""
    cdef int64_t us = 0
    curl.easy_getinfo(e, what, &us)
    return us * 1000


cdef int64_t moments_not_before(phases *p, int which, int64_t at, int64_t floor) noexcept nogil:
    """Writes a moment, no earlier than `floor`."""
    p.at[which] = at if at > floor else floor
    return p.at[which]


cdef int64_t moments_read_connect(
        CURL *easy, int64_t opened_at, int64_t stands_at, const int64_t *shook, phases *p,
        int64_t base, int64_t at, bint tls) noexcept nogil:
    cdef int64_t lookup = moments_micros(easy, CURLINFO_NAMELOOKUP_TIME_T)
    cdef int64_t tcp = moments_micros(easy, CURLINFO_CONNECT_TIME_T)
    cdef int64_t app = moments_micros(easy, CURLINFO_APPCONNECT_TIME_T)
    cdef int64_t stands = base + tcp if tcp else 0
    cdef long proxied = 0
    p.at[DNS_START] = at
    if lookup == 0 and opened_at == 0:
        return at
    lookup = base + lookup if lookup else opened_at
    at = moments_not_before(p, DNS_END, opened_at if 0 < opened_at < lookup else lookup, at)
    if opened_at == 0 and tcp == 0:
        return at
    at = moments_not_before(p, CONNECT_START, opened_at if opened_at else at, at)
    if stands_at and (tls or tcp):
        stands = stands_at
    if stands == 0:
        return at
    if not tls:
        return moments_not_before(p, CONNECT_END, stands, at)
    curl.easy_getinfo(easy, CURLINFO_USED_PROXY, &proxied)
    at = moments_not_before(p, SSL_START, shook[0] if proxied and shook[0] else stands, at)
    if app == 0 and shook[1] == 0:
        return at
    at = moments_not_before(p, SSL_END, shook[1] if shook[1] else base + app, at)
    return moments_not_before(p, CONNECT_END, at, at)


cdef void moments_read_peer(CURL *easy, phases *p) noexcept nogil:
    cdef const char *ip = NULL
    cdef long port = 0
    curl.easy_getinfo(easy, CURLINFO_PRIMARY_IP, &ip)
    if ip != NULL:
        strncpy(p.ip, ip, sizeof(p.ip) - 1)
    curl.easy_getinfo(easy, CURLINFO_PRIMARY_PORT, &port)
    p.port = <int>port if port > 0 else 0


cdef unsigned moments_rtt(reactor *r, int fd) noexcept nogil:
    """The kernel's value, at most RTT_EVERY old: it is smoothed, and asking costs a system call."""
    cdef source *connection = &r.sources[fd]
    if connection.rtt_at == 0 or r.now - connection.rtt_at > RTT_EVERY:
        connection.rtt_us = sock_rtt_us(fd)
        connection.rtt_at = r.now
    return connection.rtt_us
