"""What every libcurl handle of a Client is set to, whatever it is for.

Each function returns 0, or not: then the library refused an option.
"""
from libc.stdint cimport int64_t

from ftcore.libcurl cimport CURL
from ftcore.settings cimport settings

cdef enum:
    BUFFER = 262144  # bytes that one system call brings or takes; half as many cost a sixth more

cdef int handle_set_constants(CURL *) noexcept nogil
# TLS, to the origin, to a proxy and to a DoH server alike.
cdef int handle_set_trust(CURL *, settings *) noexcept nogil
# When the TLS handshake of its connection began and was through; 0: not, or it has none any more.
cdef void handle_shook_hands(CURL *, int64_t *shook) noexcept nogil
cdef int handle_set_network(CURL *, settings *, bint no_proxy) noexcept nogil
