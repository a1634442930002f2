"""When a connection came to stand, as libcurl and the kernel know it."""
from libc.stdint cimport int64_t

from ftcore.libcurl cimport CURL
from ftcore.profile cimport phases
from ftcore.reactor cimport reactor

# A libcurl time in ns since the transfer began; 0: not reached, or too old a library.
cdef int64_t moments_micros(CURL *, int what) noexcept nogil
# Writes a moment, no earlier than `floor`; what was written.
cdef int64_t moments_not_before(phases *, int which, int64_t at, int64_t floor) noexcept nogil
# DNS, connect and TLS moments of a handle whose transfer began at `base`, none before `at`; how far
# it got. The first socket was opened at `opened_at`, TCP stood at `stands_at`, TLS began and ended
# at `shook`; 0 where that is not known.
cdef int64_t moments_read_connect(
    CURL *, int64_t opened_at, int64_t stands_at, const int64_t *shook, phases *, int64_t base,
    int64_t at, bint tls) noexcept nogil
cdef void moments_read_peer(CURL *, phases *) noexcept nogil
# The kernel's smoothed round-trip time of a connection in us; 0: unknown.
cdef unsigned moments_rtt(reactor *, int fd) noexcept nogil
