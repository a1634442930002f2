"""The response as it comes in: header lines, body bytes, chunks. libcurl's callbacks."""
from libc.stddef cimport size_t
from libc.stdint cimport INT64_MAX, int64_t
from libc.stdlib cimport realloc
from libc.string cimport memcmp, memcpy, strlen

from ftcore.buffers cimport memory_drop, memory_grow, memory_take
from ftcore.decode cimport (
    DECODE_NO_MEMORY, DECODE_OK, DECODE_STOPPED, decoder_feed, decoder_left, decoder_new,
)
from ftcore.libcurl cimport (
    CURLE_BAD_CONTENT_ENCODING, CURLE_WEIRD_SERVER_REPLY, CURL_WRITEFUNC_PAUSE,
)
from ftcore.op cimport (
    EVENT_CHUNK, EVENT_HEADERS, EVENT_PROGRESS, OUTCOME_BAD_FRAMING, OUTCOME_BODY_TOO_LARGE,
    OUTCOME_FILE, OUTCOME_NO_MEMORY, OUTCOME_TOO_MANY_INTERIM, SLAB_ROOM, event, now_ns, slab,
    slab_hold, word_get,
)
from ftcore.quality cimport estimator_heard
from ftcore.reactor cimport (
    defer, reactor_emit, reactor_event, reactor_timer_clear, reactor_timer_set, source, timer_node,
)
from ftcore.sink cimport SINK_READY, SINK_START_OVER, sink_answer, sink_begin, sink_write
from ftcore.slot cimport (
    EARLY_END, START_OVER, WANT_CHUNKS, WANT_HEADERS, WANT_PROGRESS, slot, slot_came_at,
    slot_connection, xfer,
)
from ftcore.wire cimport (
    HTTP1_CONTENT_ENCODING, HTTP1_CONTENT_RANGE, HTTP1_CONTENT_TYPE, HTTP1_ETAG,
    HTTP1_LAST_MODIFIED, HTTP1_LOCATION, http1_head, http1_span,
)

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *, const char *, size_t)

cdef enum:
    INTERIM_AT_MOST = 100
    PROGRESS_EVERY = 50000000  # ns
    AT_A_TIME = 10000000       # ns that a step may take with the files of one transfer
    EXPECTED_FROM = 1048576    # bytes of a body, from where libcurl asks for "100 Continue" first


cdef int status_of(const char *line, size_t length) noexcept nogil:
    """The three digits of "HTTP/1.1 200 OK"; 0 when they are not there."""
    cdef size_t i = 5
    cdef int k, status = 0
    while i < length and line[i] != 0x20:
        i += 1
    if i + 4 > length:
        return 0
    for k in range(1, 4):
        if line[i + k] < 0x30 or line[i + k] > 0x39:
            return 0
        status = status * 10 + (line[i + k] - 0x30)
    if i + 4 < length and 0x30 <= line[i + 4] <= 0x39:
        return 0
    return status


cdef bint keep_line(slot *s, const char *line, size_t length) noexcept nogil:
    cdef size_t room = s.head_room
    cdef char *grown
    if s.head_length + length > room:
        while s.head_length + length > room:
            room = room * 2 if room else 1024
        grown = <char *>realloc(s.head, room)
        if grown == NULL:
            s.verdict = OUTCOME_NO_MEMORY
            return False
        s.head = grown
        s.head_room = room
    memcpy(s.head + s.head_length, line, length)
    s.head_length += length
    return True


cdef int64_t number(const char *value, size_t length) noexcept nogil:
    """The digits at the start as a number, -1 where it has more than 63 bits; 0 without any.

    Beyond 63 bits libcurl ignores a Content-Length and reads to the close.
    """
    cdef size_t i = 0
    cdef int64_t so_far = 0
    while i < length and (value[i] == 0x20 or value[i] == 0x09):
        i += 1
    while i < length and value[i] >= 0x30 and value[i] <= 0x39:
        if so_far > (INT64_MAX - (value[i] - 0x30)) // 10:
            return -1
        so_far = so_far * 10 + (value[i] - 0x30)
        i += 1
    return so_far


cdef bint is_blank(const char *value, size_t length) noexcept nogil:
    """Whether a field has no value: a Location without one leads nowhere."""
    cdef size_t i
    for i in range(length):
        if value[i] not in (0x20, 0x09, 0x0D, 0x0A):
            return False
    return True


cdef bint names_charset(const char *value, size_t length) noexcept nogil:
    """Whether "charset" stands in a content-type; which one is for the owner to read."""
    cdef size_t i
    for i in range(length - 7 if length > 7 else 0):
        if strncasecmp(value + i, b"charset", 7) == 0:
            return True
    return False


cdef bint is_redirect(int status) noexcept nogil:
    return status == 301 or status == 302 or status == 303 or status == 307 or status == 308


cdef bint expects_again(slot *s) noexcept nogil:
    """Whether libcurl, told that an Expect can't be met, sends the request again without it."""
    cdef xfer *x = s.x
    return s.status == 417 and x.source != NULL and x.source.most == 0 and not x.bare and (
        x.body_length > EXPECTED_FROM and s.head[5] == 0x31)


cdef bint end_of_block(slot *s) noexcept nogil:
    """The blank line came. False: the transfer must not go on."""
    cdef xfer *x = s.x
    s.head_over = True
    note_arrival(s)
    if s.status == 0 or s.status == 101:  # nobody asked for a switch of protocols
        s.verdict = CURLE_WEIRD_SERVER_REPLY
        return False
    if s.status < 200:
        s.interim += 1
        if s.interim > INTERIM_AT_MOST:
            s.verdict = OUTCOME_TOO_MANY_INTERIM
            return False
        return True
    s.head_done = True
    if expects_again(s):
        s.swallowing = True
        return True
    s.redirecting = x.t.follow and s.location and is_redirect(s.status)
    if s.redirecting:
        return True
    if not begin_decoding(s) or (x.file != NULL and not begin_file(s)):
        return False
    response_catch_up(s)
    if x.t.tunnel:
        s.verdict = EARLY_END
        return False
    return True


cdef bint begin_file(slot *s) noexcept nogil:
    """The response has a file to go to, or must not go on."""
    cdef xfer *x = s.x
    cdef sink_answer answer = sink_begin(
        x.file, s.status, s.first_of_range, s.size_of_range, s.codec != NULL, s.other_file)
    if answer != SINK_READY:
        s.verdict = START_OVER if answer == SINK_START_OVER else OUTCOME_FILE
        return False
    x.progress_from = x.file.length
    if s.has_length and not s.has_coding and s.status not in (204, 304) and (
            s.content_length <= INT64_MAX - x.progress_from):
        x.progress_total = x.progress_from + s.content_length
    return True


cdef void progress(xfer *x, int64_t done) noexcept nogil:
    """So many bytes of a file have been sent or received; the owner hears of it now and then."""
    if done > x.progress_done:
        x.progress_done = done
    if x.progress_queued or not word_get(&x.wants) & WANT_PROGRESS:
        return
    if x.home.r.now - x.progress_at >= PROGRESS_EVERY:
        tell_progress(x)
    elif x.progress_timer.place == 0:  # what came since is told even if nothing follows
        x.progress_timer.owner = x
        x.progress_timer.fire = on_progress_due
        reactor_timer_set(x.home.r, &x.progress_timer, x.progress_at + PROGRESS_EVERY)


cdef void on_progress_due(timer_node *timer) noexcept nogil:
    cdef xfer *x = <xfer *>timer.owner
    if not x.progress_queued:
        tell_progress(x)


cdef void tell_progress(xfer *x) noexcept nogil:
    reactor_timer_clear(x.home.r, &x.progress_timer)
    if x.s != NULL:
        response_catch_up(x.s)  # the header comes first
    x.progress_at = x.home.r.now
    x.progress_queued = True
    x.progress_event.kind = EVENT_PROGRESS
    x.progress_event.target = &x.o
    reactor_emit(x.home.r, &x.progress_event)


cdef void response_catch_up(slot *s) noexcept nogil:
    """Gives the listeners there are what was kept because there were none.

    A script adds its listeners right after the call; where the engine runs in a thread of its own
    it may have been faster.
    """
    cdef xfer *x = s.x
    cdef event *e
    cdef unsigned wants = word_get(&x.wants)
    cdef bint final = s.head_done and not (s.redirecting or s.swallowing)
    if wants & WANT_HEADERS and final and x.headers_event.kind == 0:
        x.headers_event.kind = EVENT_HEADERS
        x.headers_event.target = &x.o
        reactor_emit(x.home.r, &x.headers_event)
    if wants & WANT_CHUNKS and x.t.chunked and s.body != NULL:
        e = reactor_event(x.home.r)
        if e == NULL:
            return  # it stays kept, for the result
        e.kind = EVENT_CHUNK
        e.target = &x.o
        e.memory = s.body  # its hold goes along
        e.start = s.body.data
        e.length = s.body_length
        x.unread += s.body_length
        s.body = NULL
        s.body_length = 0
        reactor_emit(x.home.r, e)


cdef void begin_answer(slot *s, bint shared) noexcept nogil:
    cdef source *connection = slot_connection(s)
    cdef int64_t came_at = 0
    s.answered_at = now_ns() if s.continued else s.first_byte_at
    if connection == NULL or not s.x.t.profile:
        return
    # read with "100 Continue" or with TLS tickets, only the last byte is surely of the answer
    came_at = slot_came_at(s, not s.continued and s.shook[1] == 0)
    if came_at:
        s.answered_at = came_at
    if not (shared or s.continued or s.shook[1]) and (
            s.ready_at <= connection.awaited_at < s.answered_at):
        s.answered_at = connection.awaited_at
    connection.awaited_at = 0
    connection.fresh = False
    connection.shared = shared


cdef void note_arrival(slot *s) noexcept nogil:
    """Something of the answer is there."""
    if s.x.t.profile and s.easy != NULL:
        s.arrived_turn = s.m.r.turn
        s.last_at = slot_came_at(s, False)
        if s.last_at == 0:
            s.last_at = now_ns()


cdef void begin_block(slot *s, int status) noexcept nogil:
    s.head_length = 0
    s.head_over = False
    s.head_done = False
    s.location = s.charset = s.has_length = s.has_coding = False
    s.codings_length = 0
    s.first_of_range = s.size_of_range = -1
    s.other_file = False
    s.status = status


cdef size_t response_header(char *line, size_t size, size_t count, void *owner) noexcept nogil:
    """Each line of each header block, and trailers."""
    cdef slot *s = <slot *>owner
    cdef size_t length = size * count
    s.head_bytes += length
    if s.first_byte_at == 0:
        s.first_byte_at = now_ns()
    if s.head_over or s.head_length == 0:
        if length >= 5 and memcmp(line, b"HTTP/", 5) == 0:
            begin_block(s, status_of(line, length))
            if s.swallowing:
                s.swallowing = False
                s.continued = True
                s.answered_at = 0
            if s.status < 200:
                s.continued = True
            elif s.answered_at == 0:
                begin_answer(s, length > 5 and line[5] == 0x32)
        elif s.head_over:
            return length  # a trailer
    if not keep_line(s, line, length):
        return 0
    if line[0] == 0x0A or (length == 2 and line[0] == 0x0D and line[1] == 0x0A):
        return length if end_of_block(s) else 0
    return length if read_field(s, line, length) else 0


cdef bint add_codings(slot *s, const char *value, size_t length) noexcept nogil:
    """Several lines are one list (RFC 9110 5.3)."""
    if s.codings_length + length + 1 > sizeof(s.codings):
        s.verdict = CURLE_BAD_CONTENT_ENCODING
        return False
    if s.codings_length:
        s.codings[s.codings_length] = 0x2C
        s.codings_length += 1
    memcpy(s.codings + s.codings_length, value, length)
    s.codings_length += length
    return True


cdef bint begin_decoding(slot *s) noexcept nogil:
    """At the end of the header block. False: a coding that nobody asked for."""
    cdef int problem = 0
    if s.codings_length == 0 or s.codec != NULL or s.x.t.head or s.status in (204, 304):
        return True
    s.codec = decoder_new(s.codings, s.codings_length, &problem)
    if problem:
        s.verdict = OUTCOME_NO_MEMORY if problem == DECODE_NO_MEMORY else CURLE_BAD_CONTENT_ENCODING
    return problem == 0


cdef bint named(
        const char *line, size_t length, const char *name, size_t name_length) noexcept nogil:
    return length > name_length and strncasecmp(line, name, name_length) == 0


cdef void read_range(slot *s, const char *value, size_t length) noexcept nogil:
    """"5-9/10" or "5-9/*"."""
    cdef size_t i = 0
    s.first_of_range = number(value, length)
    while i < length and value[i] != 0x2F:
        i += 1
    if i + 1 < length and value[i + 1] != 0x2A:
        s.size_of_range = number(value + i + 1, length - i - 1)


cdef bint differs(const char *wanted, const char *line, size_t length) noexcept nogil:
    """Whether a field has another value than the one wanted, if one is."""
    cdef size_t size = 0 if wanted == NULL else strlen(wanted)
    if size == 0:
        return False
    while length and (line[0] == 0x20 or line[0] == 0x09):
        line += 1
        length -= 1
    while length and line[length - 1] in (0x20, 0x09, 0x0D, 0x0A):
        length -= 1
    return length != size or memcmp(line, wanted, size) != 0


cdef bint read_field(slot *s, const char *line, size_t length) noexcept nogil:
    """What the engine itself must know of a header field. False: the response is refused."""
    cdef char initial = line[0] | 0x20
    if initial == 0x6C and named(line, length, b"location:", 9):
        s.location = s.location or not is_blank(line + 9, length - 9)
    elif initial == 0x63 and named(line, length, b"content-type:", 13):
        s.charset = names_charset(line + 13, length - 13)
    elif initial == 0x63 and named(line, length, b"content-length:", 15):
        s.has_length = True
        s.content_length = number(line + 15, length - 15)
        if s.content_length < 0:
            s.verdict = OUTCOME_BAD_FRAMING
            return False
    elif initial == 0x63 and named(line, length, b"content-range: bytes ", 21):
        read_range(s, line + 21, length - 21)
    elif initial == 0x65 and s.x.file != NULL and named(line, length, b"etag:", 5):
        s.other_file |= differs(s.x.file.etag, line + 5, length - 5)
    elif initial == 0x6C and s.x.file != NULL and named(line, length, b"last-modified:", 14):
        s.other_file |= differs(s.x.file.modified, line + 14, length - 14)
    elif initial == 0x63 and named(line, length, b"content-encoding:", 17):
        return add_codings(s, line + 17, length - 17)
    elif initial == 0x74 and named(line, length, b"transfer-encoding:", 18):
        s.has_coding = True
    return True


cdef bint read_lines(slot *s, const char *block, size_t length) noexcept nogil:
    """Field by field, where one came more than once."""
    cdef size_t at = 0, end
    while at < length:
        end = at
        while block[end] != 0x0A:
            end += 1
        if not read_field(s, block + at, end + 1 - at):
            return False
        at = end + 1
    return True


cdef bint read_noted(slot *s, const http1_head *h, const char *block) noexcept nogil:
    """What the reader has noted of the fields that the engine must know."""
    cdef const http1_span *noted = &h.noted[0]
    s.has_length = h.content_length >= 0
    s.content_length = h.content_length
    s.has_coding = h.chunked
    s.location = noted[HTTP1_LOCATION].length != 0
    s.charset = names_charset(
        block + noted[HTTP1_CONTENT_TYPE].start, noted[HTTP1_CONTENT_TYPE].length)
    if noted[HTTP1_CONTENT_RANGE].start and (
            named(block + noted[HTTP1_CONTENT_RANGE].start, noted[HTTP1_CONTENT_RANGE].length,
                  b"bytes ", 6)):
        read_range(s, block + noted[HTTP1_CONTENT_RANGE].start + 6,
                   noted[HTTP1_CONTENT_RANGE].length - 6)
    if s.x.file != NULL and noted[HTTP1_ETAG].start:
        s.other_file |= differs(
            s.x.file.etag, block + noted[HTTP1_ETAG].start, noted[HTTP1_ETAG].length)
    if s.x.file != NULL and noted[HTTP1_LAST_MODIFIED].start:
        s.other_file |= differs(
            s.x.file.modified, block + noted[HTTP1_LAST_MODIFIED].start,
            noted[HTTP1_LAST_MODIFIED].length)
    return noted[HTTP1_CONTENT_ENCODING].start == 0 or add_codings(
        s, block + noted[HTTP1_CONTENT_ENCODING].start, noted[HTTP1_CONTENT_ENCODING].length)


cdef bint response_block(
        slot *s, const http1_head *h, const char *block, size_t length) noexcept nogil:
    begin_block(s, h.status)
    if s.swallowing:
        s.swallowing = False
        s.continued = True
        s.first_byte_at = 0
    if h.status < 200:
        s.continued = True
    elif s.first_byte_at == 0:
        s.first_byte_at = s.answered_at = s.x.home.r.now
    if not keep_line(s, block, length):
        return False
    if not (read_lines(s, block, length) if h.repeated else read_noted(s, h, block)):
        return False
    return end_of_block(s)


cdef bint keep_body(slot *s, const char *data, size_t length) noexcept nogil:
    """Adds to the body that is kept in one piece."""
    cdef slab *grown
    cdef size_t room
    if s.body_length + length > <size_t>s.x.home.set.max_kept_body:
        s.verdict = OUTCOME_BODY_TOO_LARGE
        return False
    if s.body == NULL:
        s.body = memory_take(length)
        s.body_length = 0
    elif s.body_length + length > s.body.room:
        room = s.body.room * 2
        if room < s.body_length + length:
            room = s.body_length + length
        grown = memory_grow(s.body, s.body_length, room)
        if grown == NULL:
            s.verdict = OUTCOME_NO_MEMORY
            return False
        s.body = grown
    if s.body == NULL:
        s.verdict = OUTCOME_NO_MEMORY
        return False
    memcpy(s.body.data + s.body_length, data, length)
    s.body_length += length
    return True


cdef bint emit_chunk(slot *s, const char *data, size_t length) noexcept nogil:
    """Writes to the stream slab, once, and tells the owner; what one read brought is one chunk."""
    cdef xfer *x = s.x
    cdef event *e
    if s.stream == NULL or s.stream.room - s.stream_used < length:
        if s.stream != NULL:
            memory_drop(s.stream)
        s.stream = memory_take(SLAB_ROOM if length < SLAB_ROOM else length)
        s.stream_used = 0
        s.last_chunk = NULL
        if s.stream == NULL:
            s.verdict = OUTCOME_NO_MEMORY
            return False
    memcpy(s.stream.data + s.stream_used, data, length)
    if s.last_chunk != NULL and s.last_turn == x.home.r.turn:
        s.last_chunk.length += length
    else:
        e = reactor_event(x.home.r)
        if e == NULL:
            s.verdict = OUTCOME_NO_MEMORY
            return False
        slab_hold(s.stream)
        e.kind = EVENT_CHUNK
        e.target = &x.o
        e.memory = s.stream
        e.start = s.stream.data + s.stream_used
        e.length = length
        reactor_emit(x.home.r, e)
        s.last_chunk = e
        s.last_turn = x.home.r.turn
    s.stream_used += length
    x.unread += length
    return True


cdef bint must_wait(xfer *x) noexcept nogil:
    """Whether the owner wants no more for now."""
    if x.file != NULL and must_breathe(x):
        return True
    return x.held or (x.unread >= <size_t>x.home.set.max_buffered)


cdef bint must_breathe(xfer *x) noexcept nogil:
    """libcurl would go on as long as there is something to read, however slow the disk is."""
    cdef int64_t now = now_ns()
    if x.busy_turn != x.home.r.turn:
        x.busy_turn = x.home.r.turn
        x.busy_since = now
    if now - x.busy_since < AT_A_TIME:
        return False
    defer(&x.home.r.next, &x.breath)
    return True


cdef bint take(slot *s, const char *data, size_t length) noexcept nogil:
    """Body bytes as the owner gets them. The copy made here is the only one after decoding."""
    cdef xfer *x = s.x
    s.taken += length
    if s.taken > x.home.set.max_body:
        s.verdict = OUTCOME_BODY_TOO_LARGE
        return False
    if x.file != NULL:
        if not sink_write(x.file, data, length):
            s.verdict = OUTCOME_FILE
            return False
        return True
    if x.t.chunked and word_get(&x.wants) & WANT_CHUNKS:
        response_catch_up(s)
        return emit_chunk(s, data, length)
    return keep_body(s, data, length)


cdef bint take_decoded(void *owner, const char *data, size_t length) noexcept nogil:
    """One piece from the decoder; False also to make it wait."""
    cdef slot *s = <slot *>owner
    return take(s, data, length) and not must_wait(s.x)


cdef size_t response_body(char *data, size_t size, size_t count, void *owner) noexcept nogil:
    """Body bytes as they stand in the message, out of their transfer coding."""
    cdef slot *s = <slot *>owner
    cdef size_t taken
    note_arrival(s)
    taken = take_piece(s, data, size * count)
    if taken == size * count:  # else it comes again
        estimator_heard(s.x.home.quality, &s.x.watched, taken, s.x.home.r.now)
    return taken


cdef size_t take_piece(slot *s, const char *data, size_t length) noexcept nogil:
    if s.swallowing:
        return length
    if s.redirecting:
        s.taken += length
        if s.taken > s.x.home.set.max_kept_body:
            s.verdict = OUTCOME_BODY_TOO_LARGE
            return 0
        return length
    if must_wait(s.x):
        s.x.stalled = True
        return CURL_WRITEFUNC_PAUSE
    if s.codec != NULL:
        length = decode(s, data, length)
    elif not take(s, data, length):
        return 0
    if s.x.file != NULL and length != CURL_WRITEFUNC_PAUSE:
        s.wire += length
        progress(s.x, s.x.progress_from + s.wire)
    return length


cdef size_t decode(slot *s, const char *data, size_t length) noexcept nogil:
    """Where the owner has enough in the middle of a piece, libcurl will bring the piece again."""
    cdef int code = decoder_feed(s.codec, data + s.skip, length - s.skip, take_decoded, s)
    if code == DECODE_OK:
        s.skip = 0
        return length
    if code == DECODE_STOPPED and s.verdict == 0:
        s.skip = length - decoder_left(s.codec)
        s.x.stalled = True
        return CURL_WRITEFUNC_PAUSE
    if s.verdict == 0:
        s.verdict = OUTCOME_NO_MEMORY if code == DECODE_NO_MEMORY else CURLE_BAD_CONTENT_ENCODING
    return 0
