"""A kept HTTP/1.1 connection that we speak on ourselves. See wire.pxd."""
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove

from ftcore.connection cimport (
    CONNECTION_AGAIN, connection_free, connection_holds_back, connection_new,
    connection_read_phases, connection_recv, connection_recv_stamped, connection_send,
    connection_send_pieces, connection_watch,
)
from ftcore.libcurl cimport (
    CURLE_GOT_NOTHING, CURLE_PARTIAL_FILE, CURLE_RECV_ERROR, CURLE_SEND_ERROR,
    CURLE_TOO_LARGE, CURLE_UNSUPPORTED_PROTOCOL, CURLE_WEIRD_SERVER_REPLY,
)
from ftcore.moments cimport moments_rtt
from ftcore.op cimport (
    OUTCOME_NO_HEADERS, OUTCOME_NO_MEMORY, OUTCOME_TOO_MANY_INTERIM, now_ns,
)
from ftcore.profile cimport (
    CONNECT_END, DNS_START, REQUEST_END, REQUEST_START, RESPONSE_END, RESPONSE_START,
)
from ftcore.reactor cimport (
    POLLER_ERROR, POLLER_READ, POLLER_WRITE, SCRATCH, defer, reactor_from_wall, reactor_scratch,
    reactor_stamp, undefer_next,
)

cdef extern from "c/http1.h" nogil:
    enum: HTTP1_NOTHING
    enum: HTTP1_UNTIL_CLOSE
    enum: HTTP1_BODY
    enum: HTTP1_END
    enum: HTTP1_NOT_HTTP
    enum: HTTP1_BAD_VERSION
    enum: HTTP1_HEAD_TOO_LARGE
    enum: HTTP1_TOO_MANY_FIELDS
    enum: HTTP1_TOO_MANY_INTERIM
    enum: HTTP1_CUT_BEFORE
    enum: HTTP1_CUT_AFTER_INTERIM
    enum: HTTP1_CUT_IN_STATUS
    enum: HTTP1_CUT_IN_HEAD
    enum: HTTP1_CUT_IN_BODY
    void http1_init(http1_reader *, const http1_limits *)
    void http1_begin(http1_reader *, http1_request)
    size_t http1_read(http1_reader *, const uint8_t *, size_t, http1_event *)
    void http1_eof(http1_reader *, http1_event *)

cdef extern from "c/sock.h" nogil:
    int64_t sock_first_came_at(int)

cdef enum:
    READS_AT_ONCE = 4
    LOOK_TWICE = 8
    PULLED_ROOM = 65536
    LEFT_ROOM = 4096      # to read more into, behind what is left
    BLANK_LINE = 2        # behind trailers

cdef long wires_alive = 0


# ---------------------------------------------------------------- the end of it

cdef void lose(wire *w, int outcome) noexcept nogil:
    """It has no more to tell than why."""
    if w.over or w.outcome:
        return
    w.standing = w.busy = w.reusable = w.blocked = False
    w.outcome = outcome
    w.os_errno = w.c.os_errno
    w.detail = http1_fault_text(w.fault) if w.fault else w.c.error
    connection_watch(w.c, 0)
    w.face.lost(w, outcome)


cdef void refuse(wire *w, http1_fault fault) noexcept nogil:
    """The response is not one, or was cut off."""
    w.fault = fault
    if w.unsendable:  # what comes in has ended, too
        w.fault = 0
        lose(w, w.unsendable)
    elif fault in (HTTP1_CUT_BEFORE, HTTP1_CUT_AFTER_INTERIM, HTTP1_CUT_IN_STATUS):
        lose(w, CURLE_GOT_NOTHING)
    elif fault == HTTP1_CUT_IN_HEAD:
        lose(w, OUTCOME_NO_HEADERS)
    elif fault >= HTTP1_CUT_IN_BODY:
        lose(w, CURLE_PARTIAL_FILE)
    elif fault == HTTP1_NOT_HTTP or fault == HTTP1_BAD_VERSION:
        lose(w, CURLE_UNSUPPORTED_PROTOCOL)
    elif fault == HTTP1_HEAD_TOO_LARGE or fault == HTTP1_TOO_MANY_FIELDS:
        lose(w, CURLE_TOO_LARGE)
    elif fault == HTTP1_TOO_MANY_INTERIM:
        lose(w, OUTCOME_TOO_MANY_INTERIM)
    else:
        lose(w, CURLE_WEIRD_SERVER_REPLY)


cdef void wire_free(wire *w) noexcept nogil:
    """What calls us may still be at work on it, so its memory goes a little later."""
    if w.over:
        return
    w.over = True
    w.standing = w.busy = False
    undefer_next(w.r, &w.again)
    connection_free(w.c)
    defer(&w.r.later, &w.release)


cdef void release(void *owner) noexcept nogil:
    global wires_alive
    cdef wire *w = <wire *>owner
    wires_alive -= 1
    free(w.pulled)
    free(w.left)
    free(w)


# ---------------------------------------------------------------- receiving

cdef bint was_closed(wire *w) noexcept nogil:
    """Whether TLS, which reads ahead, has the peer's end already, or bytes nobody asked for."""
    cdef char byte[1]
    return w.c.coded and connection_holds_back(w.c) and (
        connection_recv(w.c, byte, 1) != CONNECTION_AGAIN)


cdef void end_exchange(wire *w, size_t behind) noexcept nogil:
    """The response came in whole, with so many bytes behind it."""
    if not wire_sent_all(w) and w.reader.head.status < 400 and not w.unsendable and not w.early:
        w.early = True  # the peer takes the rest all the same, or closes
        if behind:
            w.reader.head.keep_alive = 0
        return
    w.reusable = (
        w.reader.head.keep_alive and behind == 0 and wire_sent_all(w) and not w.unsendable and (
            not was_closed(w)))
    w.busy = False
    w.early = False
    w.served += 1
    w.idle_since = w.r.now
    if w.blocked:
        w.blocked = False
        watch(w)
    w.face.ended(w)


cdef void begin_answer(wire *w, size_t follows) noexcept nogil:
    """An interim response was told: the answer has yet to begin."""
    w.first_at = w.came_last if follows else 0


cdef size_t tell(wire *w, const char *data, size_t length) noexcept nogil:
    """How much of it need not come again."""
    cdef http1_event e
    cdef size_t at = 0, took
    while True:
        took = http1_read(&w.reader, <const uint8_t *>data + at, length - at, &e)
        at += took
        w.received -= took - e.length  # what frames chunks
        if e.kind == HTTP1_BODY:
            if not w.face.body(w, <const char *>e.data, e.length) and w.standing:
                w.paused = True
                w.left_piece = e.length
                watch(w)
                return <const char *>e.data - data
        elif e.kind == HTTP1_NOTHING:
            return at
        elif e.kind == HTTP1_HEAD:
            w.face.head(w, HTTP1_HEAD, <const char *>e.data, e.length)
        elif e.kind == HTTP1_END:
            w.received -= (length - at) + (BLANK_LINE if e.length else 0)
            end_exchange(w, length - at)
            return length
        elif e.kind == HTTP1_INTERIM:
            begin_answer(w, length - at)
            w.face.head(w, HTTP1_INTERIM, <const char *>e.data, e.length)
        else:
            refuse(w, e.fault)
            return length
        if not w.standing:
            return length


cdef bint keep(wire *w, const char *data, size_t length) noexcept nogil:
    """For the next time; `data` may be of `left` itself. False: memory is out."""
    cdef char *grown
    if length == 0:
        free(w.left)
        w.left = NULL
        w.left_room = 0
    elif w.left != NULL:
        memmove(w.left, data, length)
    else:
        grown = <char *>malloc(length + LEFT_ROOM)
        if grown == NULL:
            return False
        memcpy(grown, data, length)
        w.left = grown
        w.left_room = length + LEFT_ROOM
    w.left_length = length
    return True


cdef void tell_left(wire *w) noexcept nogil:
    """What could not be told before, with what has come since."""
    cdef size_t took = 0, piece = w.left_piece
    if piece:
        if not w.face.body(w, w.left, piece):
            w.paused = w.standing
            return
        w.left_piece = 0
        took = piece
    if w.standing and not w.paused:
        took += tell(w, w.left + took, w.left_length - took)
    if not w.over and not keep(w, w.left + took, w.left_length - took):
        lose(w, OUTCOME_NO_MEMORY)


cdef char *place_to_read(wire *w, size_t *room) noexcept nogil:
    """NULL when memory is out."""
    cdef char *grown
    if w.left_length == 0:
        room[0] = SCRATCH
        return reactor_scratch(w.r)
    if w.left_room - w.left_length < LEFT_ROOM:
        grown = <char *>realloc(w.left, w.left_room * 2)
        if grown == NULL:
            return NULL
        w.left = grown
        w.left_room *= 2
    room[0] = w.left_room - w.left_length
    return w.left + w.left_length


cdef int64_t read_stamped(wire *w, char *into, size_t room) noexcept nogil:
    """Most answers come in one segment, whose first byte is as old as its last: the first is asked
    for where the peer was seen to send in parts, and now and then. Not where the socket has an
    error: whoever asks would be told of it in place of the read."""
    cdef int64_t n, first = 0, last = 0, now
    cdef bint known = w.first_at != 0 and w.c.coded and connection_holds_back(w.c)
    cdef bint tickets = w.c.tls and w.begun == 1  # of TLS; they may come before it
    if w.first_at == 0 and not tickets and not w.broken:
        w.looks += 1
        if w.in_parts or w.looks % LOOK_TWICE == 1:
            first = sock_first_came_at(w.c.fd)
    if w.broken and w.c.coded:
        n = connection_recv(w.c, into, room)
    else:
        n = connection_recv_stamped(w.c, into, room, &last)
    if n <= 0:
        if n == CONNECTION_AGAIN and last and w.first_at == 0 and w.begun > 1:
            # of a TLS record whose rest is to come
            last = reactor_from_wall(w.r, first if first else last)
            w.first_at = max(w.began_at, min(last, now_ns()))
        return n
    if last == 0 and known:  # it came with what was read before
        w.came_first = w.last_at = w.came_last
        return n
    w.came_last = reactor_from_wall(w.r, last)
    w.came_first = reactor_from_wall(w.r, first) if first else w.came_last
    w.in_parts = w.in_parts or w.came_first < w.came_last
    if w.came_last > w.r.now or w.came_first < w.began_at:
        now = now_ns()
        if w.came_last > now or w.came_last < w.began_at:
            w.came_last = now
        if w.came_first > w.came_last or w.came_first < w.began_at:
            w.came_first = w.came_last
    if w.first_at == 0:
        w.first_at = w.came_first
    w.last_at = w.came_last
    return n


cdef void hear_end(wire *w) noexcept nogil:
    """The peer has closed."""
    cdef http1_event e
    if not w.busy:
        lose(w, CURLE_GOT_NOTHING)
        return
    w.unsendable = w.unsendable if w.unsendable else CURLE_SEND_ERROR if w.early else 0
    if w.early:
        end_exchange(w, 0)
        return
    http1_eof(&w.reader, &e)
    if e.kind == HTTP1_END:
        w.reader.head.keep_alive = 0
        if w.last_turn != w.r.turn:  # else it was there already
            w.last_at = w.r.now
        end_exchange(w, 0)
    else:
        refuse(w, e.fault)


cdef void hear_failure(wire *w) noexcept nogil:
    """Nothing more can be read."""
    if w.early:
        w.unsendable = CURLE_SEND_ERROR
        end_exchange(w, 0)
    elif w.unsendable:
        lose(w, w.unsendable)
    else:
        lose(w, w.c.code if w.c.code else CURLE_RECV_ERROR)


cdef bint read_some(wire *w) noexcept nogil:
    """One read, and what it brings. Whether another one makes sense at once."""
    cdef size_t took, room = 0
    cdef int64_t n
    cdef long served = w.served
    cdef char *into = place_to_read(w, &room)
    if into == NULL:
        lose(w, OUTCOME_NO_MEMORY)
        return False
    n = read_stamped(w, into, room) if w.profiled and w.busy else connection_recv(w.c, into, room)
    if n == CONNECTION_AGAIN:
        return False
    if n <= 0:
        if n == 0:
            hear_end(w)
        else:
            hear_failure(w)
        return False
    w.r.read_now += <size_t>n
    if not w.busy or w.early:  # nobody asked for it
        if w.early:
            w.reader.head.keep_alive = 0
        else:
            lose(w, CURLE_WEIRD_SERVER_REPLY)
        return False
    w.received += n
    w.last_turn = w.r.turn
    if w.left_length:
        w.left_length += <size_t>n
        tell_left(w)
    else:
        took = tell(w, into, <size_t>n)
        if took < <size_t>n and not keep(w, into + took, <size_t>n - took):
            lose(w, OUTCOME_NO_MEMORY)
    return w.served == served and (
        w.c.coded or <size_t>n == room or w.reader.head.framing == HTTP1_UNTIL_CLOSE)


cdef void receive(wire *w) noexcept nogil:
    cdef int turns = 0
    if w.reading or w.again.queued:  # what is left comes first, before an end that follows it
        return
    w.reading = True
    while w.standing and not w.paused:
        if turns == READS_AT_ONCE:
            if w.c.coded:  # what was decrypted already the poller doesn't know of
                defer(&w.r.next, &w.again)
            break
        turns += 1
        if not read_some(w):
            break
    w.reading = False


cdef void go_on(void *owner) noexcept nogil:
    """In a step after a pause, or after enough was read for one."""
    cdef wire *w = <wire *>owner
    if w.standing and w.left_length and not w.paused:
        w.reading = True
        tell_left(w)
        w.reading = False
    if w.standing and w.c.coded:
        receive(w)


cdef void wire_resume(wire *w) noexcept nogil:
    if not w.paused or not w.standing:
        return
    w.paused = False
    watch(w)
    defer(&w.r.next, &w.again)


# ---------------------------------------------------------------- sending

cdef void watch(wire *w) noexcept nogil:
    connection_watch(
        w.c, (0 if w.paused else POLLER_READ) | (POLLER_WRITE if w.blocked else 0))


cdef bint wire_sent_all(wire *w) noexcept nogil:
    return w.out_at == w.out.head_length + w.out.body_length and not w.pulling and (
        w.pulled_at == w.pulled_length)


cdef int64_t send_some(wire *w) noexcept nogil:
    """Of head, body, or what was pulled. Bytes, or CONNECTION_*."""
    cdef const char *pieces[2]
    cdef size_t lengths[2]
    cdef int64_t n
    if w.out_at == 0 and w.out.body_length:
        pieces[0] = w.out.head
        pieces[1] = w.out.body
        lengths[0] = w.out.head_length
        lengths[1] = w.out.body_length
        n = connection_send_pieces(w.c, pieces, lengths, 2)
    elif w.out_at < w.out.head_length:
        n = connection_send(w.c, w.out.head + w.out_at, w.out.head_length - w.out_at)
    elif w.out_at < w.out.head_length + w.out.body_length:
        n = connection_send(
            w.c, w.out.body + (w.out_at - w.out.head_length),
            w.out.head_length + w.out.body_length - w.out_at)
    else:
        n = connection_send(w.c, w.pulled + w.pulled_at, w.pulled_length - w.pulled_at)
        if n > 0:
            w.pulled_at += <size_t>n
            w.sent += n
        return n
    if n > 0:
        w.out_at += <size_t>n
        w.sent += n
    return n


cdef bint pull(wire *w) noexcept nogil:
    """Asks for the next bytes of the body; False: there are none now."""
    cdef int64_t n
    if w.pulled == NULL:
        w.pulled = <char *>malloc(PULLED_ROOM)
        if w.pulled == NULL:
            lose(w, OUTCOME_NO_MEMORY)
            return False
    n = w.face.more(w, w.pulled, PULLED_ROOM)
    if n == MORE_LATER or n == MORE_FAILED or w.over:
        return False
    w.pulled_at = 0
    w.pulled_length = <size_t>n
    if n == 0:
        w.pulling = False
        free(w.pulled)
        w.pulled = NULL
    return True


cdef void send_on(wire *w) noexcept nogil:
    """As much of the request as the kernel takes."""
    cdef int64_t n
    while True:
        if w.out_at == w.out.head_length + w.out.body_length and w.pulled_at == w.pulled_length:
            if not w.pulling:
                break
            if w.out.waits or not pull(w):
                return
            continue
        if w.profiled and w.sent:
            w.handed_at = now_ns()
        n = send_some(w)
        if n == CONNECTION_AGAIN:
            if not w.blocked:
                w.blocked = True
                watch(w)
            return
        if n <= 0:
            send_failed(w)
            return
    if w.profiled:
        w.sent_at = now_ns()
    if w.blocked:
        w.blocked = False
        watch(w)
    if w.early:
        end_exchange(w, 0)


cdef void send_failed(wire *w) noexcept nogil:
    """The peer may have answered before it closed: that is read, and then it is over."""
    w.unsendable = w.c.code if w.c.code else CURLE_SEND_ERROR
    w.blocked = w.pulling = False
    watch(w)
    if w.early:
        end_exchange(w, 0)
    elif not w.paused:
        defer(&w.r.next, &w.again)  # the poller tells of a plain one


cdef void wire_send(wire *w, const wire_request *request) noexcept nogil:
    w.out = request[0]
    w.out_at = w.pulled_at = w.pulled_length = 0
    w.pulling = request.pulls
    w.busy = True
    w.begun += 1
    w.reusable = w.early = False
    w.sent = w.received = 0
    w.first_at = w.last_at = w.sent_at = 0
    http1_begin(&w.reader, request.kind)
    if w.profiled:
        w.began_at = w.handed_at = now_ns()
    send_on(w)


cdef void wire_push(wire *w) noexcept nogil:
    w.out.waits = False
    if w.busy and not w.blocked and not w.unsendable:
        send_on(w)


# ---------------------------------------------------------------- the connection under it

cdef void on_opened(void *owner, int code) noexcept nogil:
    cdef wire *w = <wire *>owner
    if code:
        lose(w, code)
        return
    w.standing = True
    if w.profiled:
        reactor_stamp(w.r, w.c.fd, False)
    watch(w)
    w.face.opened(w)


cdef void on_ready(void *owner, unsigned ready) noexcept nogil:
    cdef wire *w = <wire *>owner
    if ready & (POLLER_WRITE | POLLER_ERROR) and w.blocked:
        w.blocked = False
        send_on(w)
        if w.standing and not w.blocked:
            watch(w)
    w.broken = ready & POLLER_ERROR != 0
    if w.standing and ready & (POLLER_READ | POLLER_ERROR):
        receive(w)


cdef wire *wire_new(
        reactor *r, settings *set, const connecting *asked, const wire_face *face, void *owner,
        bint profiled, long *os_errno) noexcept nogil:
    global wires_alive
    cdef wire *w = <wire *>calloc(1, sizeof(wire))
    if w == NULL:
        return NULL
    w.r = r
    w.face = face
    w.owner = owner
    w.profiled = profiled
    w.detail = b""
    w.again.run = go_on
    w.again.owner = w
    w.release.run = release
    w.release.owner = w
    http1_init(&w.reader, NULL)
    w.c = connection_new(r, set, asked, w, on_opened, on_ready, os_errno)
    if w.c == NULL:
        free(w)
        return NULL
    wires_alive += 1
    return w


cdef bint wire_was_stale(wire *w) noexcept nogil:
    return w.served > 0 and w.received == 0 and w.outcome in (
        CURLE_GOT_NOTHING, CURLE_RECV_ERROR, CURLE_SEND_ERROR)


cdef int64_t wire_sent_at(wire *w) noexcept nogil:
    """An answer that came in before the kernel was back from taking the last of the request came
    for all of it: then what is known is when it was given that."""
    return w.handed_at if w.handed_at <= w.first_at < w.sent_at else w.sent_at


cdef void wire_read_phases(wire *w, phases *p, int64_t since) noexcept nogil:
    """Nothing is earlier than `since`, when the exchange began to look for its connection."""
    cdef int i
    cdef int64_t at = since
    if w.begun > 1:
        p.reused = True
        for i in range(DNS_START, CONNECT_END + 1):
            p.at[i] = since
        p.port = w.c.ph.port
        memcpy(p.ip, w.c.ph.ip, sizeof(p.ip))
    else:
        connection_read_phases(w.c, p)
    p.http = 1
    if w.c.fd >= 0:
        p.rtt_us = moments_rtt(w.r, w.c.fd)
    if w.began_at < since:
        return
    at = max(at, w.began_at)
    p.at[REQUEST_START] = at
    if w.sent_at:
        p.at[REQUEST_END] = max(at, wire_sent_at(w))
    elif w.first_at:  # answered before all was sent, which it never was
        p.at[REQUEST_END] = max(at, w.handed_at)
    if w.first_at == 0:
        return
    p.at[RESPONSE_START] = at = max(at, w.first_at)
    p.at[RESPONSE_END] = max(at, w.last_at, p.at[REQUEST_END])


def alive():
    """Wires alive."""
    return wires_alive
