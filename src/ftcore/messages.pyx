"""What a WebSocket receives. See messages.pxd."""
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ftcore.buffers cimport memory_drop, memory_grow, memory_take
from ftcore.connection cimport CONNECTION_AGAIN, CONNECTION_FAILED, connection_recv
from ftcore.frames cimport (
    FAREWELL_WITHIN, MESSAGE_COST, MESSAGE_FIRST, MESSAGE_LAST, MESSAGE_TEXT, WS_ASKING,
    WS_CLOSING, WS_ENDING, WS_FAULTED, WS_JUDGED, WS_OPEN, WS_OVER, frames_arm, frames_enqueue,
    frames_flush, frames_judge, frames_lost, frames_must_wait, frames_over, frames_stop,
    frames_take_posted, frames_watch, utf8, ws_reader,
)
from ftcore.op cimport (
    COMMAND_DRAINED, EVENT_CHUNK, OUTCOME_NO_MEMORY, OUTCOME_OK, SLAB_LARGEST, SLAB_ROOM,
    SLAB_SMALL_ROOM, amount_add, event, now_ns, slab_hold, slab_is_mine,
)
from ftcore.opening cimport (
    OPENING_COMPLETE, OPENING_REFUSED, opening_came, opening_room, opening_step,
)
from ftcore.outgoing cimport (
    WS_OP_CLOSE, WS_OP_PONG, WS_TEXT, outgoing, outgoing_frame, outgoing_replace,
)
from ftcore.permessage cimport (
    INFLATED_BAD, INFLATED_NO_MEMORY, INFLATED_TOO_BIG, inflated, inflation_feed,
)
from ftcore.profile cimport QUEUE_START, RESPONSE_END, RESPONSE_START
from ftcore.reactor cimport reactor, reactor_emit, reactor_event, reactor_lighten, reactor_post

cdef extern from "c/utf8.h" nogil:
    void utf8_init(utf8 *)
    int utf8_feed(utf8 *, const uint8_t *, size_t)
    int utf8_complete(const utf8 *)

cdef extern from "c/ws_frame.h" nogil:
    ctypedef enum ws_kind:
        WS_NOTHING
        WS_DATA
        WS_PING
        WS_PONG
        WS_CLOSE
        WS_BAD
    enum: WS_NO_CODE
    enum: WS_NOT_UTF8
    enum: WS_TOO_BIG
    ctypedef struct ws_event:
        ws_kind kind
        const uint8_t *data
        size_t length
        uint16_t code
        const char *why
        uint8_t opcode
        uint8_t first
        uint8_t compressed
        uint8_t frame_end
        uint8_t message_end
        uint64_t frame_left
    void ws_reader_init(ws_reader *, int deflate, uint64_t max_message)
    size_t ws_read(ws_reader *, const uint8_t *, size_t, ws_event *)

cdef enum:
    READS_AT_ONCE = 8
    PONGS_AT_ONCE = 16        # each takes a slab until it is sent
    WORTH_A_READ = 2048       # room in a slab that another read may use
    DIRECT_FROM = 16384       # bytes of a frame still to come that are read to where they belong
    REFUSED_WITHIN = 1000000000
    LARGEST = 0x3FFFFFFFFFFFFFFF


cdef void on_close_frame(websocket *w, ws_event *e) noexcept nogil:
    """The server's; ours is the answer, or it is the answer to ours. The server ends the
    connection then (RFC 6455 7.1.1)."""
    cdef uint8_t payload[2]
    cdef outgoing *o
    w.close_received = True
    w.code = e.code
    w.reason_length = e.length
    if e.length:
        memcpy(w.reason, e.data, e.length)
    frames_take_posted(w)  # was sent before
    if not w.close_sent:
        payload[0] = e.code >> 8
        payload[1] = e.code & 0xFF
        o = outgoing_frame(
            &w.masks, WS_OP_CLOSE, True, False, payload, 0 if e.code == WS_NO_CODE else 2)
        if o == NULL:
            frames_over(w, OUTCOME_NO_MEMORY)
            return
        o.token = -1
        frames_enqueue(w, o)
    w.state = WS_ENDING
    frames_arm(w, FAREWELL_WITHIN)
    frames_flush(w)


cdef int64_t read_answer(websocket *w, size_t *asked) noexcept nogil:
    cdef char *into = opening_room(&w.answer, asked)
    cdef opening_step step
    cdef int64_t n, within
    if into == NULL:
        if asked[0] == 0:
            w.why = b"the answer's header is too long"
        frames_over(w, OUTCOME_OK if asked[0] == 0 else OUTCOME_NO_MEMORY)
        return 1
    n = connection_recv(w.c, into, asked[0])
    if n <= 0:
        return n
    w.ph.at[RESPONSE_END] = now_ns()
    if w.answer.length == 0:
        w.ph.at[RESPONSE_START] = w.ph.at[RESPONSE_END]
    step = opening_came(&w.answer, <size_t>n)
    if step == OPENING_REFUSED:
        within = w.ph.at[QUEUE_START] + w.timeout - now_ns()
        frames_arm(w, within if within < REFUSED_WITHIN else REFUSED_WITHIN)
    elif step == OPENING_COMPLETE:
        frames_judge(w)
    return n


cdef void on_ping(websocket *w, ws_event *e) noexcept nogil:
    """Each is answered, but while the kernel takes no more only the latest (RFC 6455 5.5.3)."""
    cdef outgoing *o
    if w.close_sent:
        return
    o = outgoing_frame(&w.masks, WS_OP_PONG, True, False, e.data, e.length)
    if o == NULL:
        frames_over(w, OUTCOME_NO_MEMORY)
        return
    o.token = -1
    if w.pong != NULL:
        outgoing_replace(w.pong, o)
        return
    frames_enqueue(w, o)
    w.pongs += 1
    if w.blocked:
        w.pong = o
    elif w.pongs == PONGS_AT_ONCE:
        frames_flush(w)  # or the kernel would not be asked whether it takes so many


cdef bint hand_on(
        websocket *w, slab *memory, const char *start, size_t length, unsigned detail
) noexcept nogil:
    """A message or a piece of one; takes over a hold on the memory."""
    cdef event *e
    if w.state == WS_CLOSING and frames_must_wait(w):  # it is looked for the close frame only
        memory_drop(memory)
        return True
    e = reactor_event(w.r)
    if e == NULL:
        memory_drop(memory)
        return False
    e.kind = EVENT_CHUNK
    e.target = &w.o
    e.memory = memory
    e.start = <char *>start
    e.length = length
    e.detail = detail
    amount_add(&w.unread, length + MESSAGE_COST)
    reactor_emit(w.r, e)
    return True


cdef bint keep(websocket *w, const char *data, size_t length, uint64_t more) noexcept nogil:
    """Adds to the message that is not complete; `more` bytes of its frame will follow."""
    cdef slab *larger
    cdef size_t room
    if w.message == NULL:
        w.message = memory_take(length if length + more > SLAB_LARGEST else length + <size_t>more)
        w.message_length = 0
        if w.message == NULL:
            return False
    if w.message_length + length > w.message.room:
        room = w.message.room * 2
        if room < w.message_length + length:
            room = w.message_length + length
        larger = memory_grow(w.message, w.message_length, room)
        if larger == NULL:
            return False
        w.message = larger
    memcpy(w.message.data + w.message_length, data, length)
    w.message_length += length
    return True


cdef bint give_message(websocket *w, unsigned detail) noexcept nogil:
    """What was kept, as a whole."""
    cdef slab *memory = w.message
    w.message = NULL
    if memory == NULL:
        memory = memory_take(1)
        w.message_length = 0
        if memory == NULL:
            return False
    return hand_on(w, memory, memory.data, w.message_length, detail)


cdef inflated inflate(websocket *w, ws_event *e) noexcept nogil:
    cdef size_t limit = <size_t>w.max_message if w.max_message and not w.pieces else LARGEST
    return inflation_feed(
        &w.inflate, <const char *>e.data, e.length, e.message_end, &w.message, &w.message_length,
        limit)


cdef bint is_text(websocket *w, ws_event *e, size_t before) noexcept nogil:
    """Checks what was inflated just now."""
    if e.opcode != WS_TEXT:
        return True
    if e.first:
        utf8_init(&w.text)
    if w.message != NULL and not utf8_feed(
            &w.text, <uint8_t *>w.message.data + before, w.message_length - before):
        return False
    return not e.message_end or utf8_complete(&w.text)


cdef void on_compressed(websocket *w, ws_event *e) noexcept nogil:
    cdef inflated result
    cdef size_t before
    if w.message == NULL:
        w.message_length = 0
    before = w.message_length
    result = inflate(w, e)
    if result == INFLATED_TOO_BIG:
        frames_stop(w, WS_TOO_BIG, b"the message is larger than max_message_bytes")
    elif result == INFLATED_BAD:
        frames_stop(w, WS_NOT_UTF8, b"the compressed data is corrupt")
    elif result == INFLATED_NO_MEMORY:
        frames_over(w, OUTCOME_NO_MEMORY)
    elif not is_text(w, e, before):
        frames_stop(w, WS_NOT_UTF8, b"the text is not valid UTF-8")
    elif (e.message_end or w.pieces) and not give_message(w, detail_of(e, not w.pieces)):
        frames_over(w, OUTCOME_NO_MEMORY)


cdef unsigned detail_of(ws_event *e, bint whole) noexcept nogil:
    cdef unsigned detail = MESSAGE_TEXT if e.opcode == WS_TEXT else 0
    if whole or e.first:
        detail |= MESSAGE_FIRST
    if whole or e.message_end:
        detail |= MESSAGE_LAST
    return detail


cdef bint hand_on_from(websocket *w, slab *memory, ws_event *e) noexcept nogil:
    """What stands in the memory that is read into, where it is; but what Python may keep and is
    small is copied, so that it keeps no more than itself."""
    cdef unsigned detail = detail_of(e, not w.pieces)
    cdef slab *own
    if e.length > SLAB_SMALL_ROOM or (detail & MESSAGE_TEXT and not w.pieces):
        slab_hold(memory)
        return hand_on(w, memory, <const char *>e.data, e.length, detail)
    own = memory_take(e.length)
    if own == NULL:
        return False
    memcpy(own.data, e.data, e.length)
    return hand_on(w, own, own.data, e.length, detail)


cdef void on_data(websocket *w, ws_event *e, slab *memory) noexcept nogil:
    """A piece of a message, which stands in `memory`; NULL: it is at the end of what is kept."""
    cdef bint good = True
    w.left = e.frame_left if not e.compressed else 0
    if e.compressed:
        on_compressed(w, e)
        return
    if memory != NULL and (w.pieces or (e.first and e.message_end)):
        good = hand_on_from(w, memory, e)
    else:
        if memory != NULL:
            good = keep(w, <const char *>e.data, e.length, e.frame_left)
        if good and e.message_end:
            good = give_message(w, detail_of(e, True))
    if not good:
        frames_over(w, OUTCOME_NO_MEMORY)


cdef void on_pong(websocket *w, ws_event *e) noexcept nogil:
    if w.pinged_at and e.length == 4 and load32(e.data) == w.ping_number:
        w.latency = now_ns() - w.pinged_at
        w.pinged_at = 0


cdef uint32_t load32(const uint8_t *data) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, data, 4)
    return value


cdef void messages_parse(
        websocket *w, const uint8_t *data, size_t length, slab *memory) noexcept nogil:
    cdef ws_event e
    cdef size_t used
    while length and (w.state == WS_OPEN or w.state == WS_CLOSING):
        used = ws_read(&w.reader, data, length, &e)
        data += used
        length -= used
        if e.kind == WS_DATA:
            on_data(w, &e, memory)
        elif e.kind == WS_PING:
            on_ping(w, &e)
        elif e.kind == WS_PONG:
            on_pong(w, &e)
        elif e.kind == WS_CLOSE:
            on_close_frame(w, &e)
        elif e.kind == WS_BAD:
            frames_stop(w, e.code, e.why)


cdef void on_end_of_stream(websocket *w) noexcept nogil:
    if w.state == WS_ASKING and w.answer.end:
        frames_judge(w)
    elif w.state == WS_ENDING and w.close_received:
        frames_over(w, OUTCOME_OK)
    elif w.state == WS_ASKING:
        w.why = b"the server closed the connection without an answer"
        frames_over(w, OUTCOME_OK)
    else:
        if w.why == NULL:
            w.why = b"the server closed the connection without a word"
        frames_over(w, OUTCOME_OK)


cdef int64_t read_into_message(websocket *w, size_t *asked) noexcept nogil:
    """Bytes of a long frame go straight to where its message is put together."""
    cdef size_t room = w.message.room - w.message_length
    cdef slab *larger
    cdef char *into
    cdef int64_t n
    if room < WORTH_A_READ:
        larger = memory_grow(w.message, w.message_length, w.message.room * 2)
        if larger == NULL:
            frames_over(w, OUTCOME_NO_MEMORY)
            return 0
        w.message = larger
        room = larger.room - w.message_length
    if room > w.left:
        room = <size_t>w.left
    asked[0] = room
    into = w.message.data + w.message_length
    n = connection_recv(w.c, into, room)
    if n > 0:
        w.message_length += <size_t>n
        messages_parse(w, <const uint8_t *>into, <size_t>n, NULL)
    return n


cdef int64_t read_some(websocket *w, size_t *asked) noexcept nogil:
    """One read, and what it brings. The slab is shared with the next socket that reads."""
    cdef reactor *r = w.r
    cdef slab *memory
    cdef char *start
    cdef int64_t n
    if r.reading == NULL or r.reading.room - r.reading_used < WORTH_A_READ:
        if r.reading != NULL:
            memory_drop(r.reading)
        r.reading = memory_take(SLAB_ROOM)
        r.reading_used = 0
        if r.reading == NULL:
            frames_over(w, OUTCOME_NO_MEMORY)
            return 0
    start = r.reading.data + r.reading_used
    asked[0] = r.reading.room - r.reading_used
    n = connection_recv(w.c, start, asked[0])
    if n > 0:
        r.reading_used += <size_t>n
        slab_hold(r.reading)
        memory = r.reading
        messages_parse(w, <const uint8_t *>start, <size_t>n, memory)
        memory_drop(memory)
        if r.reading == memory and slab_is_mine(memory):
            r.reading_used = 0
    return n


cdef void messages_receive(websocket *w) noexcept nogil:
    """Whatever has come, unless the owner has enough."""
    cdef size_t asked = 0
    cdef int64_t n
    cdef int turns = 0
    while w.c != NULL and w.state != WS_JUDGED and w.state != WS_FAULTED:
        if w.state == WS_OPEN and frames_must_wait(w):
            break
        if turns == READS_AT_ONCE:
            if w.c.coded:  # what was decrypted already the poller doesn't know of
                reactor_post(w.r, &w.o, COMMAND_DRAINED)
            break
        turns += 1
        if w.state == WS_ASKING:
            n = read_answer(w, &asked)
        elif w.left >= DIRECT_FROM and w.message != NULL and not w.pieces:
            n = read_into_message(w, &asked)
        else:
            n = read_some(w, &asked)
        if n == CONNECTION_AGAIN or w.state == WS_OVER:
            break
        if n == CONNECTION_FAILED:
            frames_lost(w)
            break
        if n == 0:
            on_end_of_stream(w)
            break
        w.heard_at = w.r.now
        if w.c == NULL or (not w.c.coded and <size_t>n < asked):
            break
    reactor_lighten(w.r, False)
    frames_watch(w)


cdef void messages_begin(websocket *w) noexcept nogil:
    ws_reader_init(&w.reader, w.inflates, 0 if w.pieces else w.max_message)
