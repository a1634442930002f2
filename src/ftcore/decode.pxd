"""Takes a body out of its content codings and knows whether it came to its end.

libcurl reports success for a compressed body that ends too early inside a complete message, so
the engine asks it for the bytes of the wire and decodes them here (RFC 9110, section 8.4).
"""
from libc.stddef cimport size_t

# Takes a piece of the decoded body, which is gone after the call. False: stop.
ctypedef bint (*decoded)(void *owner, const char *data, size_t length) noexcept nogil

cdef enum:
    DECODE_OK = 0
    DECODE_BAD = 1        # corrupt, or something follows the end
    DECODE_STOPPED = 2    # the taker said so
    DECODE_NO_MEMORY = 3
    DECODE_UNKNOWN = 4    # a coding that nobody asked for
    DECODE_TOO_MANY = 5

cdef struct decoder

# From the value of Content-Encoding; several such lines are to be joined with commas. NULL: with
# *problem 0 there is nothing to decode, else it is DECODE_UNKNOWN, _TOO_MANY or _NO_MEMORY.
cdef decoder *decoder_new(const char *codings, size_t length, int *problem) noexcept nogil
cdef void decoder_free(decoder *) noexcept nogil

# Bytes of the wire in, pieces of the body out. DECODE_OK: all was taken. DECODE_STOPPED: the last
# piece was given; the decoder can be fed again, with what decoder_left says (also when that is 0).
cdef int decoder_feed(
    decoder *, const char *data, size_t length, decoded give, void *owner) noexcept nogil
# How many of the bytes last fed have not been taken yet.
cdef size_t decoder_left(decoder *) noexcept nogil
# Whether every coding has seen its end; a body without a byte is at its end.
cdef bint decoder_finished(decoder *) noexcept nogil
