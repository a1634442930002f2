"""The native lane: transfers on connections that we speak HTTP/1.1 on ourselves. See native.pxd."""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport strncpy

from ftcore.body cimport body_read, body_seek
from ftcore.heading cimport (
    NO_BODY, heading_begin, heading_end, heading_has_login, heading_redirect, heading_take,
)
from ftcore.libcurl cimport CURL_WRITEFUNC_PAUSE
from ftcore.op cimport OUTCOME_FILE, OUTCOME_NOT_REPEATED, OUTCOME_NO_MEMORY, OUTCOME_OK, now_ns
from ftcore.profile cimport (
    ENDED_AT, FETCH_START, QUEUE_END, RESPONSE_END, phases,
)
from ftcore.quality cimport estimator_begin
from ftcore.reactor cimport reactor_stamp, reactor_timer_clear, reactor_timer_set, timer_node
from ftcore.response cimport must_breathe, progress, response_block, response_body
from ftcore.settings cimport template, template_method
from ftcore.slot cimport (
    is_get, line, origin, pool, request_url, slot, slot_clear, slot_new, xfer,
)
from ftcore.wire cimport (
    HTTP1_FOR_HEAD, HTTP1_LOCATION, HTTP1_PLAIN, MORE_FAILED, MORE_LATER, http1_head, wire,
    wire_face, wire_free, wire_new, wire_push, wire_read_phases, wire_request, wire_resume,
    wire_send, wire_was_stale,
)

cdef extern from "c/sock.h" nogil:
    int sock_readable(int)

cdef extern from "c/url.h" nogil:
    int url_scheme(const char *)
    int url_same_origin(const char *, const char *)

cdef enum:
    EXPECTED_FROM = 1048576          # bytes of a body of pieces: libcurl's measure
    CONTINUE_WITHIN = 300000000      # ns to wait for "100 Continue"
    EXTRA = 2                        # descriptors of a multi handle
    IDLE_AT_MOST = 118000000000      # ns: libcurl's too

cdef bint native_serves(xfer *x) noexcept nogil:
    """The template says what it is fit for; later hops must stay with its origin. When descriptors
    are scarce libcurl, which needs fewer of them, opens the connection."""
    if x.t.asking == NULL or x.url != NULL and (
            not url_same_origin(x.t.url, x.url) or heading_has_login(x.url)):
        return False
    return x.home.origins[x.t.origin].newest != NULL or may_open(x.home)


# ---------------------------------------------------------------- slots

cdef slot *native_take_slot(pool *p) noexcept nogil:
    cdef slot *s = p.spare
    if s != NULL:
        p.spare = s.next
        return s
    s = slot_new(NULL, p.set)
    if s != NULL:
        s.all_next = p.slots
        p.slots = s
    return s


cdef void native_give_slot(pool *p, slot *s) noexcept nogil:
    slot_clear(s)
    s.x = NULL
    s.next = p.spare
    p.spare = s


# ---------------------------------------------------------------- connections

cdef void unlist(line *kept) noexcept nogil:
    """Out of the idle ones."""
    cdef pool *p = kept.home
    cdef origin *g = &p.origins[kept.origin]
    if kept.newer != NULL:
        kept.newer.older = kept.older
    else:
        g.newest = kept.older
    if kept.older != NULL:
        kept.older.newer = kept.newer
    if kept.after != NULL:
        kept.after.before = kept.before
    else:
        p.idle_newest = kept.before
    if kept.before != NULL:
        kept.before.after = kept.after
    else:
        p.idle_oldest = kept.after
    kept.older = kept.newer = kept.before = kept.after = NULL


cdef void enlist(line *kept) noexcept nogil:
    """Among the idle ones."""
    cdef pool *p = kept.home
    cdef origin *g = &p.origins[kept.origin]
    kept.s = NULL
    kept.newer = kept.after = NULL
    kept.older = g.newest
    if g.newest != NULL:
        g.newest.newer = kept
    g.newest = kept
    kept.before = p.idle_newest
    if p.idle_newest != NULL:
        p.idle_newest.after = kept
    else:
        p.idle_oldest = kept
    p.idle_newest = kept


cdef void close_line(line *kept) noexcept nogil:
    if kept.s == NULL:
        unlist(kept)
    kept.home.lines -= 1
    spend(kept, 0)
    wire_free(kept.w)
    free(kept)


cdef line *idle_line(pool *p, int number, bint once) noexcept nogil:
    """The one that was used last, if it is likely to be alive; NULL: there is none.

    For a request that may be sent but `once` the kernel is asked whether the peer has closed.
    """
    cdef line *kept
    while p.origins[number].newest != NULL:
        kept = p.origins[number].newest
        if p.r.now - kept.w.idle_since <= <int64_t>IDLE_AT_MOST and not (
                once and sock_readable(kept.w.c.fd)):
            unlist(kept)
            return kept
        close_line(kept)
    return NULL


cdef bint may_open(pool *p) noexcept nogil:
    """Whether descriptors are left for another; idle ones make room for it."""
    cdef int i, sockets = 0
    for i in range(p.multi_count):
        sockets += p.multis[i].sockets
    while p.idle_oldest != NULL and (
            sockets + p.lines >= p.set.max_connections or not fits(p, sockets)):
        close_line(p.idle_oldest)
    return fits(p, sockets)


cdef bint fits(pool *p, int sockets) noexcept nogil:
    return sockets + p.lines + p.extra + p.files + 1 + EXTRA <= p.set.max_descriptors


cdef void spend(line *kept, int extra) noexcept nogil:
    """So many descriptors it has beside its socket."""
    kept.home.extra += extra - kept.extra
    kept.extra = extra


cdef line *new_line(xfer *x) noexcept nogil:
    """NULL when memory or descriptors are out."""
    cdef pool *p = x.home
    cdef line *kept
    kept = <line *>calloc(1, sizeof(line))
    if kept == NULL:
        return NULL
    kept.home = p
    kept.s = x.s
    kept.origin = x.t.origin
    kept.asked.url = x.t.url
    kept.asked.tls = url_scheme(x.t.url) == 2
    kept.asked.nodelay = p.set.nodelay
    kept.asked.direct = True
    kept.w = wire_new(p.r, p.set, &kept.asked, &face, kept, x.t.profile, &x.os_errno)
    if kept.w == NULL:
        free(kept)
        return NULL
    kept.asked.url = NULL  # the template's
    p.lines += 1
    spend(kept, EXTRA)
    return kept


# ---------------------------------------------------------------- requests

cdef bint has_body(xfer *x) noexcept nogil:
    return x.t.with_body and not x.bare


cdef bint goes_once(xfer *x) noexcept nogil:
    """Whether the peer may have acted on what it has had of it: a POST."""
    return has_body(x) and x.t.verb == NULL


cdef bint may_repeat(slot *s) noexcept nogil:
    """The connection was dead. As `on_ready_to_send` has it for libcurl's lane."""
    cdef xfer *x = s.x
    return not (s.on.w.sent and goes_once(x) and (x.source == NULL or x.source.most))


cdef bint expects(xfer *x) noexcept nogil:
    """Whether the server is asked before a body is sent that may be large."""
    return has_body(x) and x.source != NULL and x.body_length > EXPECTED_FROM and (
        not x.s.unexpecting)


cdef bint write_heading(xfer *x, wire_request *request) noexcept nogil:
    """The header block: the template's, with what is said of the body; or one of its own."""
    cdef slot *s = x.s
    cdef template *t = x.t
    if not x.altered and not t.with_body:
        request.head = t.asking
        request.head_length = t.asking_length
        return True
    if x.altered:
        heading_begin(
            &s.asking, <const char *>b"GET" if x.bare else template_method(t), request_url(x),
            x.home.set.user_agent, x.home.set.accept_encoding, x.headers)
    else:
        heading_take(&s.asking, t.asking, t.asking_length)
    if s.asking.failed or not heading_end(
            &s.asking, x.body_length if has_body(x) else NO_BODY, expects(x),
            x.headers if x.altered else t.headers):
        return False
    request.head = s.asking.text
    request.head_length = s.asking.length
    return True


cdef void send(slot *s) noexcept nogil:
    """The connection stands and is ours."""
    cdef xfer *x = s.x
    cdef wire *w = s.on.w
    cdef wire_request request
    request.kind = HTTP1_FOR_HEAD if x.t.head and not x.bare else HTTP1_PLAIN
    request.body = NULL
    request.body_length = 0
    request.pulls = request.waits = False
    if not write_heading(x, &request):
        x.home.settled(s, OUTCOME_NO_MEMORY)
        return
    if has_body(x) and x.source != NULL:
        body_seek(x.source, 0)
        request.pulls = True
        request.waits = expects(x)
        if request.waits and reactor_timer_set(
                x.home.r, &s.patience, now_ns() + CONTINUE_WITHIN) != 0:
            x.home.settled(s, OUTCOME_NO_MEMORY)
            return
    elif has_body(x):
        request.body = x.body
        request.body_length = <size_t>x.body_length
    w.profiled = x.t.profile
    if x.t.profile:
        estimator_begin(x.home.quality, &x.watched, w.c.ph.ip, is_get(x), x.home.r.now)
    wire_send(w, &request)


cdef void native_launch(xfer *x) noexcept nogil:
    cdef slot *s = x.s
    cdef line *kept = NULL
    s.patience.owner = s
    s.patience.fire = on_impatience
    if not s.alone:
        kept = idle_line(x.home, x.t.origin, goes_once(x))
    if kept != NULL:
        kept.s = s
        s.on = kept
        if x.t.profile and not x.home.r.sources[kept.w.c.fd].stamped:
            x.home.r.sources[kept.w.c.fd].stamped = True
            reactor_stamp(x.home.r, kept.w.c.fd, False)
        send(s)
        return
    s.on = new_line(x)
    if s.on == NULL:
        x.home.settled(s, OUTCOME_NO_MEMORY)


cdef void native_leave(slot *s) noexcept nogil:
    cdef line *kept = s.on
    reactor_timer_clear(s.x.home.r, &s.patience)
    s.on = NULL
    if kept == NULL:
        return
    s.x.os_errno = kept.w.os_errno
    if kept.w.standing and not kept.w.busy and kept.w.reusable:
        enlist(kept)
    else:
        close_line(kept)


cdef void repeat(slot *s) noexcept nogil:
    """Sends the request again."""
    cdef xfer *x = s.x
    native_add_bytes(s, &x.sent_before, &x.received_before)
    native_leave(s)
    native_launch(x)


cdef void native_flow(xfer *x) noexcept nogil:
    cdef slot *s = x.s
    if s.on == NULL:
        return
    wire_resume(s.on.w)
    if s.starving:
        s.starving = False
        wire_push(s.on.w)


cdef void native_close(pool *p) noexcept nogil:
    while p.idle_newest != NULL:
        close_line(p.idle_newest)


# ---------------------------------------------------------------- what the connection tells

cdef void on_opened(wire *w) noexcept nogil:
    cdef line *kept = <line *>w.owner
    if w.c.moved:
        spend(kept, 0)
    send(kept.s)


cdef void on_impatience(timer_node *node) noexcept nogil:
    """No "100 Continue" came: many servers don't know it."""
    cdef slot *s = <slot *>node.owner
    wire_push(s.on.w)


cdef void stop_waiting(slot *s) noexcept nogil:
    """There is an answer: the body may be sent, if it is still wanted."""
    if s.patience.place and (s.status == 100 or s.status >= 200):
        reactor_timer_clear(s.x.home.r, &s.patience)
        if not s.swallowing and s.status < 400:
            wire_push(s.on.w)


cdef void on_head(wire *w, int kind, const char *block, size_t length) noexcept nogil:
    cdef slot *s = (<line *>w.owner).s
    cdef xfer *x = s.x
    if response_block(s, &w.reader.head, block, length):
        stop_waiting(s)
    else:
        x.home.settled(s, OUTCOME_OK)


cdef bint on_body(wire *w, const char *data, size_t length) noexcept nogil:
    cdef slot *s = (<line *>w.owner).s
    cdef size_t taken = response_body(<char *>data, 1, length, s)
    if taken == length:
        return True
    if taken != CURL_WRITEFUNC_PAUSE:
        s.x.home.settled(s, OUTCOME_OK)  # what is wrong stands in the verdict
    return False


cdef void on_ended(wire *w) noexcept nogil:
    cdef slot *s = (<line *>w.owner).s
    if s.swallowing:
        s.unexpecting = True
        repeat(s)
    else:
        s.x.home.settled(s, OUTCOME_OK)


cdef void on_lost(wire *w, int outcome) noexcept nogil:
    cdef line *kept = <line *>w.owner
    cdef slot *s = kept.s
    if s == NULL:
        close_line(kept)
    elif not wire_was_stale(w):
        strncpy(s.error, w.detail, sizeof(s.error) - 1)
        s.x.home.settled(s, outcome)
    elif may_repeat(s):
        s.alone = True
        repeat(s)
    else:
        s.x.home.settled(s, OUTCOME_NOT_REPEATED)


cdef int64_t on_more(wire *w, char *into, size_t room) noexcept nogil:
    cdef slot *s = (<line *>w.owner).s
    cdef xfer *x = s.x
    cdef int64_t got
    if x.held or must_breathe(x):
        s.starving = x.stalled = True
        return MORE_LATER
    got = body_read(x.source, into, room)
    if got < 0:
        s.verdict = OUTCOME_FILE
        x.home.settled(s, OUTCOME_OK)
        return MORE_FAILED
    progress(x, x.source.most)
    return got


cdef wire_face face
face.opened = on_opened
face.head = on_head
face.body = on_body
face.ended = on_ended
face.lost = on_lost
face.more = on_more


# ---------------------------------------------------------------- what it knows of the past

cdef char *native_redirect(slot *s) noexcept nogil:
    cdef http1_head *h = &s.on.w.reader.head
    if h.noted[HTTP1_LOCATION].length == 0:
        return NULL
    return heading_redirect(
        request_url(s.x), s.head + h.noted[HTTP1_LOCATION].start, h.noted[HTTP1_LOCATION].length)


cdef void native_add_bytes(slot *s, int64_t *sent, int64_t *received) noexcept nogil:
    if s.on != NULL and s.on.w.begun:
        sent[0] += s.on.w.sent
        received[0] += s.on.w.received


cdef int64_t native_arrived_at(slot *s) noexcept nogil:
    return s.on.w.last_at if s.on != NULL and s.on.w.last_at else now_ns()


cdef void native_read_phases(slot *s, xfer *x, int outcome) noexcept nogil:
    cdef phases *p = &x.ph
    cdef int i
    cdef int64_t now, began = p.at[FETCH_START]
    p.sent = x.sent_before
    p.received = x.received_before
    if s.on == NULL:
        return
    native_add_bytes(s, &p.sent, &p.received)
    wire_read_phases(s.on.w, p, began)
    if s.alone:
        p.at[FETCH_START] = began  # the connection that was dead comes before
    p.http = s.head_length != 0 and s.on.w.reader.head.minor == 1
    if outcome != OUTCOME_OK:
        p.at[RESPONSE_END] = 0
    now = now_ns()
    for i in range(QUEUE_END, ENDED_AT):
        p.at[i] = min(p.at[i], now)
