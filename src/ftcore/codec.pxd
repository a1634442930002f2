"""One content coding being undone: the only room that knows zlib and brotli.

Both are the libraries that libcurl brings, reached by address; no headers, no linking.
https://zlib.net/manual.html, https://github.com/google/brotli, RFC 1950-1952, RFC 7932
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

cdef enum:
    PIECE = 32768            # room for the output of one step

cdef enum codec_result:
    CODEC_OK
    CODEC_BAD                # corrupt, or something follows the end
    CODEC_NO_MEMORY

cdef enum coding:
    UNKNOWN
    IDENTITY
    GZIP
    DEFLATE
    BROTLI

ctypedef struct z_stream:
    const uint8_t *next_in
    unsigned int avail_in
    unsigned long total_in
    uint8_t *next_out
    unsigned int avail_out
    unsigned long total_out
    const char *msg
    void *state
    void *zalloc
    void *zfree
    void *opaque
    int data_type
    unsigned long adler
    unsigned long reserved

cdef struct codec_table:
    const char *(*zlib_version)() noexcept nogil
    int (*inflate_init)(z_stream *, int, const char *, int) noexcept nogil
    int (*inflate)(z_stream *, int) noexcept nogil
    int (*inflate_reset)(z_stream *) noexcept nogil
    int (*inflate_end)(z_stream *) noexcept nogil
    int (*deflate_init)(z_stream *, int, int, int, int, int, const char *, int) noexcept nogil
    int (*deflate)(z_stream *, int) noexcept nogil
    int (*deflate_reset)(z_stream *) noexcept nogil
    int (*deflate_end)(z_stream *) noexcept nogil
    void *(*brotli_new)(void *, void *, void *) noexcept nogil
    int (*brotli)(
        void *, size_t *, const uint8_t **, size_t *, uint8_t **, size_t *) noexcept nogil
    int (*brotli_error)(void *) noexcept nogil
    void (*brotli_free)(void *) noexcept nogil

cdef codec_table codec   # zlib's functions are there when has_zlib, brotli's when has_brotli

cdef struct stage:
    coding which
    bint begun             # its codec is there
    bint more              # the codec holds back output for which there was no room
    bint ended
    bint padded            # zeros followed the end
    int held               # first byte of a deflate stream, when it came alone; else -1
    const uint8_t *next    # input that is not taken yet
    size_t left
    z_stream z             # owned when begun; gzip, deflate
    void *brotli           # owned; br

cdef bint has_zlib
cdef bint has_brotli

cdef void stage_init(stage *, coding) noexcept nogil
cdef void stage_free(stage *) noexcept nogil
# Takes some input, or what the codec held back, and writes at most one piece.
cdef codec_result stage_step(stage *, uint8_t *piece, size_t *made) noexcept nogil
