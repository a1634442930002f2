"""Content codings undone piece by piece, up to five on top of each other.

Each coding is a stage; what a stage writes is the next one's input.
"""
cimport cython
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc

from ftcore.codec cimport (
    BROTLI, CODEC_NO_MEMORY, CODEC_OK, DEFLATE, GZIP, IDENTITY, PIECE, UNKNOWN, codec_result,
    coding, has_brotli, has_zlib, stage, stage_free, stage_init, stage_step,
)
from ftcore.op cimport atomic_word, word_add, word_get, word_set, word_sub

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *, const char *, size_t)

cdef enum:
    STAGES_AT_MOST = 5

cdef struct decoder:
    int count
    int failed             # a DECODE_* that stays
    bint fed
    stage stages[STAGES_AT_MOST]   # the coding applied last comes first
    uint8_t pieces[1]      # PIECE bytes for each stage

cdef atomic_word decoders_alive
word_set(&decoders_alive, 0)


# ---------------------------------------------------------------- from the header

cdef bint is_space(char c) noexcept nogil:
    return c == 0x20 or c == 0x09 or c == 0x0D or c == 0x0A  # the end of the line may be there


cdef bint named(const char *token, size_t length, const char *name, size_t size) noexcept nogil:
    return length == size and strncasecmp(token, name, size) == 0


cdef coding coding_named(const char *token, size_t length) noexcept nogil:
    """An empty element of the list is none (RFC 9110, section 5.6.1.2)."""
    if length == 0 or named(token, length, b"identity", 8) or named(token, length, b"none", 4):
        return IDENTITY
    if has_zlib:
        if named(token, length, b"gzip", 4) or named(token, length, b"x-gzip", 6):
            return GZIP
        if named(token, length, b"deflate", 7):
            return DEFLATE
    if has_brotli and named(token, length, b"br", 2):
        return BROTLI
    return UNKNOWN


cdef int read_codings(const char *codings, size_t length, coding *found) noexcept nogil:
    """How many codings the list names, into `found` in its order; -DECODE_* when it can't be."""
    cdef size_t start = 0, end, stop
    cdef int count = 0
    cdef coding which
    while start < length:
        end = start
        while end < length and codings[end] != 0x2C:  # ","
            end += 1
        stop = end
        while start < stop and is_space(codings[start]):
            start += 1
        while stop > start and is_space(codings[stop - 1]):
            stop -= 1
        which = coding_named(codings + start, stop - start)
        if which == UNKNOWN:
            return -DECODE_UNKNOWN
        if which != IDENTITY:
            if count == STAGES_AT_MOST:
                return -DECODE_TOO_MANY
            found[count] = which
            count += 1
        start = end + 1
    return count


cdef decoder *decoder_new(const char *codings, size_t length, int *problem) noexcept nogil:
    cdef coding[STAGES_AT_MOST] found
    cdef int i, count = read_codings(codings, length, found)
    cdef decoder *d
    problem[0] = -count if count < 0 else DECODE_OK
    if count <= 0:
        return NULL
    d = <decoder *>malloc(sizeof(decoder) + <size_t>count * PIECE)
    if d == NULL:
        problem[0] = DECODE_NO_MEMORY
        return NULL
    d.count = count
    d.failed = DECODE_OK
    d.fed = False
    for i in range(count):
        stage_init(&d.stages[i], found[count - 1 - i])
    word_add(&decoders_alive, 1)
    return d


cdef void decoder_free(decoder *d) noexcept nogil:
    cdef int i
    if d == NULL:
        return
    for i in range(d.count):
        stage_free(&d.stages[i])
    free(d)
    word_sub(&decoders_alive, 1)


# ---------------------------------------------------------------- all stages

cdef int decoder_feed(
        decoder *d, const char *data, size_t length, decoded give, void *owner) noexcept nogil:
    """Goes to the last stage that has something to do, each time."""
    cdef int k = d.count - 1
    cdef stage *s
    cdef uint8_t *piece
    cdef size_t made
    cdef codec_result result
    if d.failed != DECODE_OK:
        return d.failed
    d.fed = d.fed or length > 0
    d.stages[0].next = <const uint8_t *>data
    d.stages[0].left = length
    while k >= 0:
        s = &d.stages[k]
        if s.left == 0 and not s.more:
            k -= 1
            continue
        piece = d.pieces + k * PIECE
        result = stage_step(s, piece, &made)
        if result != CODEC_OK:
            d.failed = DECODE_NO_MEMORY if result == CODEC_NO_MEMORY else DECODE_BAD
            return d.failed
        if made == 0:
            continue
        if k == d.count - 1:
            if not give(owner, <const char *>piece, made):
                return DECODE_STOPPED
        else:
            k += 1
            d.stages[k].next = piece
            d.stages[k].left = made
    return DECODE_OK


cdef size_t decoder_left(decoder *d) noexcept nogil:
    return d.stages[0].left


cdef bint decoder_finished(decoder *d) noexcept nogil:
    cdef int i
    if d.failed != DECODE_OK:
        return False
    for i in range(d.count):
        if not d.stages[i].ended or d.stages[i].left:
            return not d.fed
    return True


# ---------------------------------------------------------------- from Python

def offered():
    """The value for Accept-Encoding: the codings that can be undone; b"" when there are none."""
    names = [b"gzip", b"deflate"] if has_zlib else []
    return b", ".join([*names, b"br"] if has_brotli else names)


def alive():
    """Decoders alive."""
    return word_get(&decoders_alive)


@cython.final
cdef class Taker:
    cdef object take
    cdef object error


cdef bint take_with_gil(void *owner, const char *data, size_t length) noexcept with gil:
    cdef Taker taker = <Taker>owner
    try:
        return taker.take(data[:length]) is not False
    except BaseException as error:
        taker.error = error
        return False


cdef int feed_all(decoder *d, bytes piece, Taker taker) except -1:
    """Feeds one piece; where the taker said False, again with what is left."""
    cdef const char *data = piece
    cdef size_t length = len(piece)
    cdef int code = DECODE_STOPPED
    while code == DECODE_STOPPED:
        with nogil:
            code = decoder_feed(d, data, length, take_with_gil, <void *>taker)
        if taker.error is not None:
            raise taker.error
        data += length - decoder_left(d)
        length = decoder_left(d)
    return code


def decode(bytes codings not None, pieces, take=None):
    """(body, whether it came to its end) of the wire's bytes in `pieces`, all of them fed.

    `take` is called with each decoded piece in place of collecting them; False stops the decoder,
    which then goes on where it was, and an exception stops it for good. Raises ValueError when
    the codings or the bytes can't be decoded.
    """
    cdef Taker taker = Taker.__new__(Taker)
    cdef int problem = DECODE_OK
    cdef decoder *d = decoder_new(codings, len(codings), &problem)
    body = bytearray()
    taker.take = body.extend if take is None else take
    try:
        for piece in pieces:
            if d != NULL:
                problem = feed_all(d, piece, taker)
            elif problem == DECODE_OK:
                taker.take(piece)
        if problem == DECODE_NO_MEMORY:
            raise MemoryError
        if problem != DECODE_OK:
            raise ValueError({
                DECODE_BAD: "corrupt",
                DECODE_UNKNOWN: "unknown coding",
                DECODE_TOO_MANY: "too many codings",
            }[problem])
        return bytes(body), d == NULL or bool(decoder_finished(d))
    finally:
        decoder_free(d)
