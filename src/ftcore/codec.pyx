"""One content coding being undone: gzip, deflate or br, a piece at a time."""
from libc.stdint cimport uintptr_t
from libc.string cimport memset

from ftcore.libcurl import library

cdef enum:
    Z_OK = 0
    Z_STREAM_END = 1
    Z_MEM_ERROR = -4
    Z_BUF_ERROR = -5         # no progress: more input is needed, or room
    WINDOW_ZLIB = 15
    WINDOW_RAW = -15
    WINDOW_GZIP = 15 + 16
    ZLIB_AT_MOST = 1 << 30   # its lengths are unsigned ints

    BROTLI_ERROR = 0
    BROTLI_SUCCESS = 1
    BROTLI_MORE_OUTPUT = 3
    BROTLI_ALLOC_FIRST = -21  # BrotliDecoderErrorCode: out of memory from here ...
    BROTLI_ALLOC_LAST = -30   # ... down to here


# ---------------------------------------------------------------- the libraries

cdef void *address(str name):
    return <void *><uintptr_t>library.addresses.get(name, 0)


cdef void fill() except *:
    global has_zlib, has_brotli
    codec.zlib_version = <const char *(*)() noexcept nogil>address("zlibVersion")
    codec.inflate_init = \
        <int (*)(z_stream *, int, const char *, int) noexcept nogil>address("inflateInit2_")
    codec.inflate = <int (*)(z_stream *, int) noexcept nogil>address("inflate")
    codec.inflate_reset = <int (*)(z_stream *) noexcept nogil>address("inflateReset")
    codec.inflate_end = <int (*)(z_stream *) noexcept nogil>address("inflateEnd")
    codec.deflate_init = <int (*)(
        z_stream *, int, int, int, int, int, const char *, int) noexcept nogil>address(
        "deflateInit2_")
    codec.deflate = <int (*)(z_stream *, int) noexcept nogil>address("deflate")
    codec.deflate_reset = <int (*)(z_stream *) noexcept nogil>address("deflateReset")
    codec.deflate_end = <int (*)(z_stream *) noexcept nogil>address("deflateEnd")
    codec.brotli_new = \
        <void *(*)(void *, void *, void *) noexcept nogil>address("BrotliDecoderCreateInstance")
    codec.brotli = <int (*)(
        void *, size_t *, const uint8_t **, size_t *, uint8_t **, size_t *) noexcept nogil>address(
        "BrotliDecoderDecompressStream")
    codec.brotli_error = <int (*)(void *) noexcept nogil>address("BrotliDecoderGetErrorCode")
    codec.brotli_free = <void (*)(void *) noexcept nogil>address("BrotliDecoderDestroyInstance")
    has_brotli = codec.brotli_new != NULL
    has_zlib = codec.zlib_version != NULL and takes_our_stream()


cdef bint takes_our_stream() noexcept nogil:
    """Whether this zlib has the z_stream declared above; it compares the size."""
    cdef z_stream z
    memset(&z, 0, sizeof(z))
    if codec.inflate_init(&z, WINDOW_ZLIB, codec.zlib_version(), sizeof(z)) != Z_OK:
        return False
    codec.inflate_end(&z)
    return True

fill()


# ---------------------------------------------------------------- one stage

cdef void stage_init(stage *s, coding which) noexcept nogil:
    memset(s, 0, sizeof(stage))
    s.which = which
    s.held = -1


cdef void stage_free(stage *s) noexcept nogil:
    if not s.begun:
        return
    if s.which == BROTLI:
        codec.brotli_free(s.brotli)
    else:
        codec.inflate_end(&s.z)


cdef codec_result begin_inflate(stage *s, int window) noexcept nogil:
    if codec.inflate_init(&s.z, window, codec.zlib_version(), sizeof(z_stream)) != Z_OK:
        return CODEC_NO_MEMORY
    s.begun = True
    return CODEC_OK


cdef codec_result begin_deflate(stage *s) noexcept nogil:
    """zlib's format when the first two bytes are its header, else raw deflate, which some send."""
    cdef uint8_t first, second
    cdef bint wrapped
    cdef codec_result result
    cdef int code
    if s.held < 0 and s.left == 1:
        s.held = s.next[0]
        s.left = 0
        return CODEC_OK
    first = <uint8_t>s.held if s.held >= 0 else s.next[0]
    second = s.next[0] if s.held >= 0 else s.next[1]
    wrapped = first & 0x0F == 8 and first >> 4 <= 7 and (first * 256 + second) % 31 == 0
    result = begin_inflate(s, WINDOW_ZLIB if wrapped else WINDOW_RAW)
    if result != CODEC_OK or s.held < 0:
        return result
    s.z.next_in = &first     # too little for any output in either format
    s.z.avail_in = 1
    s.z.next_out = &first
    s.z.avail_out = 0
    code = codec.inflate(&s.z, 0)
    return CODEC_OK if code == Z_OK and s.z.avail_in == 0 else CODEC_BAD


cdef codec_result begin(stage *s) noexcept nogil:
    if s.which == GZIP:
        return begin_inflate(s, WINDOW_GZIP)
    if s.which == DEFLATE:
        return begin_deflate(s)
    s.brotli = codec.brotli_new(NULL, NULL, NULL)
    s.begun = s.brotli != NULL
    return CODEC_OK if s.begun else CODEC_NO_MEMORY


cdef codec_result after_end(stage *s) noexcept nogil:
    """Another gzip member (RFC 1952, section 2.2) or padding of zeros may follow, nothing else."""
    if s.which != GZIP:
        return CODEC_BAD
    while s.left and s.next[0] == 0:
        s.padded = True
        s.next += 1
        s.left -= 1
    if s.left == 0:
        return CODEC_OK
    if s.padded or s.next[0] != 0x1F or codec.inflate_reset(&s.z) != Z_OK:
        return CODEC_BAD
    s.ended = False
    return CODEC_OK


cdef codec_result inflate_step(stage *s, uint8_t *piece, size_t *made) noexcept nogil:
    cdef unsigned int given = <unsigned int>(s.left if s.left < ZLIB_AT_MOST else ZLIB_AT_MOST)
    cdef int code
    s.z.next_in = s.next
    s.z.avail_in = given
    s.z.next_out = piece
    s.z.avail_out = PIECE
    code = codec.inflate(&s.z, 0)  # Z_NO_FLUSH
    s.next += given - s.z.avail_in
    s.left -= given - s.z.avail_in
    made[0] = PIECE - s.z.avail_out
    s.ended = code == Z_STREAM_END
    s.more = s.z.avail_out == 0 and not s.ended
    if code == Z_OK or s.ended or (code == Z_BUF_ERROR and s.left == 0):
        return CODEC_OK
    return CODEC_NO_MEMORY if code == Z_MEM_ERROR else CODEC_BAD


cdef codec_result brotli_step(stage *s, uint8_t *piece, size_t *made) noexcept nogil:
    cdef size_t room = PIECE
    cdef int code = codec.brotli(s.brotli, &s.left, &s.next, &room, &piece, NULL)
    made[0] = PIECE - room
    s.ended = code == BROTLI_SUCCESS
    s.more = code == BROTLI_MORE_OUTPUT
    if code != BROTLI_ERROR:
        return CODEC_OK
    code = codec.brotli_error(s.brotli)
    if BROTLI_ALLOC_LAST <= code <= BROTLI_ALLOC_FIRST:
        return CODEC_NO_MEMORY
    return CODEC_BAD


cdef codec_result stage_step(stage *s, uint8_t *piece, size_t *made) noexcept nogil:
    cdef codec_result result
    made[0] = 0
    if s.ended:
        return after_end(s)
    if not s.begun:
        result = begin(s)
        if result != CODEC_OK or not s.begun:
            return result
    if s.which == BROTLI:
        return brotli_step(s, piece, made)
    return inflate_step(s, piece, made)
