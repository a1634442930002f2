"""When each phase was, as libcurl and our callbacks know it; and what its counters say."""
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from ftcore.handle cimport handle_shook_hands
from ftcore.libcurl cimport (
    CURLINFO_ACTIVESOCKET, CURLINFO_NAMELOOKUP_TIME_T, CURLINFO_NUM_CONNECTS,
    CURLINFO_POSTTRANSFER_TIME_T, CURLINFO_QUEUE_TIME_T, CURLINFO_REQUEST_SIZE,
    CURLINFO_SIZE_DOWNLOAD_T, CURLINFO_SIZE_UPLOAD_T, CURLINFO_STARTTRANSFER_TIME_T, curl,
)
from ftcore.moments cimport (
    moments_micros, moments_not_before, moments_read_connect, moments_read_peer, moments_rtt,
)
from ftcore.op cimport OUTCOME_NOT_REPEATED, now_ns
from ftcore.profile cimport (
    CONNECT_END, CONNECT_START, DNS_START, ENDED_AT, FETCH_START, QUEUE_END, REQUEST_END,
    REQUEST_START, RESPONSE_END, RESPONSE_START, phases,
)
from ftcore.slot cimport request_url, slot, slot_came_at, slot_connection, xfer

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *, const char *, size_t)

cdef extern from "c/sock.h" nogil:
    void sock_end(int)

cdef extern from "c/url.h" nogil:
    int url_scheme(const char *)

cdef enum:
    SEND_BUFFER = 65536  # libcurl's, for a request


cdef int connection_fd(slot *s) noexcept nogil:
    """The socket that the answer came in on; -1: it is closed."""
    cdef int fd = -1
    if s.used_fd >= 0:
        return s.used_fd if slot_connection(s) != NULL else -1
    curl.easy_getinfo(s.easy, CURLINFO_ACTIVESOCKET, &fd)
    return fd if fd < s.m.r.source_count else -1


cdef void timing_leave_connection(slot *s, bint single) noexcept nogil:
    """Before the handle is removed: what must be known of the connection while it is idle."""
    cdef int fd = connection_fd(s)
    if fd < 0:
        return
    # over TLS, session tickets may well come in while it is idle
    s.m.r.sources[fd].single = single and url_scheme(request_url(s.x)) == 1
    if s.has_length and s.has_coding:
        sock_end(fd)


cdef int protocol(slot *s) noexcept nogil:
    """Of "HTTP/1.1 200 OK", "HTTP/2 200"; 0: none that has a name here."""
    if s.head_length < 8 or s.head[5] == 0x31 and s.head[7] != 0x31:
        return 0
    return s.head[5] - 0x30 if 0x31 <= s.head[5] <= 0x33 else 0


cdef bint ends_with_close(slot *s) noexcept nogil:
    return protocol(s) < 2 and not (s.has_length or s.has_coding)


cdef int64_t timing_arrived_at(slot *s) noexcept nogil:
    """Over TCP the end of a body may follow its last byte; a datagram may be of something else."""
    cdef int64_t at = slot_came_at(s, False) if protocol(s) < 3 else 0
    if ends_with_close(s) and s.arrived_turn != s.m.r.turn:
        return s.m.r.now
    return at if at else s.last_at if s.last_at else now_ns()


cdef void timing_add_bytes(slot *s, int64_t *sent, int64_t *received) noexcept nogil:
    """Header and body bytes of the current hop, as carried in HTTP.

    REQUEST_SIZE holds the header and what of the body went through libcurl's send buffer: all of
    it over HTTP/1, one buffer of 64 KiB over HTTP/2 and 3.
    """
    cdef long request = 0
    cdef int64_t body = 0, uploaded = 0
    curl.easy_getinfo(s.easy, CURLINFO_REQUEST_SIZE, &request)
    curl.easy_getinfo(s.easy, CURLINFO_SIZE_DOWNLOAD_T, &body)
    if s.x.t.with_body:
        curl.easy_getinfo(s.easy, CURLINFO_SIZE_UPLOAD_T, &uploaded)
    sent[0] += request if request >= uploaded else request % SEND_BUFFER + uploaded
    received[0] += s.head_bytes + body


cdef void read_peer(slot *s, phases *p) noexcept nogil:
    cdef int fd
    if s.ready_at:
        memcpy(p.ip, s.ip, sizeof(p.ip))
        p.port = s.port
    else:
        moments_read_peer(s.easy, p)
    p.http = protocol(s) if s.first_byte_at else 0
    if p.http != 3:
        fd = connection_fd(s)
        if fd >= 0:
            p.rtt_us = moments_rtt(s.m.r, fd)


cdef bint talks_first(slot *s) noexcept nogil:
    """Whether a proxy has to be told where to go before the request can be sent."""
    cdef const char *proxy = s.x.home.set.proxy
    return proxy != NULL and not s.x.t.no_proxy and strncasecmp(proxy, b"socks", 5) == 0


cdef int64_t stands_at(slot *s) noexcept nogil:
    """When TCP stood; also of a transfer that ended before its connection could be used."""
    if s.stands_at or s.ready_at or s.fd < 0 or not s.m.r.sources[s.fd].kept:
        return s.stands_at
    return s.m.r.sources[s.fd].stands_at


cdef bint is_sent(slot *s, bint likely) noexcept nogil:
    """Whether the request was sent as a whole; of a body of pieces we know."""
    if s.x.source == NULL or s.x.bare:
        return likely
    return s.x.source.given == s.x.body_length and likely


cdef bint goes_at_once(slot *s) noexcept nogil:
    """Whether libcurl had all of the request, to send it in one piece, when an answer came."""
    if s.x.source == NULL or s.x.bare:
        return s.x.bare or s.x.body_length < SEND_BUFFER
    return s.x.source.given == s.x.body_length and s.x.source.given_at <= s.answered_at


cdef bint is_simple(slot *s) noexcept nogil:
    """A request without a body on a connection of its own: it goes out in one piece."""
    return s.sent_at and not s.x.t.with_body and not s.x.t.multiplex


cdef int64_t sent_at(slot *s, int64_t base) noexcept nogil:
    cdef int64_t sent
    if s.verdict == OUTCOME_NOT_REPEATED:  # what libcurl says is of the second attempt
        return s.sent_at if s.x.source == NULL and s.x.body_length < SEND_BUFFER else 0
    if is_simple(s):
        return s.sent_at
    sent = moments_micros(s.easy, CURLINFO_POSTTRANSFER_TIME_T)
    return base + sent if sent else 0


cdef void read_exchange(
        slot *s, phases *p, int64_t base, int64_t at, int outcome) noexcept nogil:
    """Request and response moments.

    libcurl stamps the phases that a transfer did not reach when it dies; so those of a transfer
    that libcurl ended are taken only where a callback of ours saw them, or where its counters say
    so. One that we end (time-out, abort) is asked while it is alive.
    """
    cdef int64_t sent, uploaded = 0
    cdef long request = 0
    cdef bint answered = s.answered_at != 0
    if s.ready_at <= s.opened_at or p.at[CONNECT_END] == 0:
        return  # or it was, over a connection that was dead, and another is being made
    at = moments_not_before(p, REQUEST_START, s.ready_at, at)
    if not answered and outcome >= 0:
        curl.easy_getinfo(s.easy, CURLINFO_SIZE_UPLOAD_T, &uploaded)
        curl.easy_getinfo(s.easy, CURLINFO_REQUEST_SIZE, &request)
    if is_sent(s, answered or outcome < 0 or (
            request and (s.x.bare or uploaded == s.x.body_length))):
        sent = sent_at(s, base)
        if sent:
            moments_not_before(p, REQUEST_END, sent, at)
        elif answered:
            p.at[REQUEST_END] = at
    elif answered:  # before the body was sent, which went no further
        moments_not_before(p, REQUEST_END, s.x.source.given_at, at)
    if not answered:
        return
    at = moments_not_before(p, RESPONSE_START, s.answered_at, at)
    if p.at[REQUEST_END] > at and goes_at_once(s):
        # sent it was before the kernel came back to say so: what is known is when it was asked to
        p.at[REQUEST_END] = p.at[REQUEST_START]
        if s.x.source != NULL and not s.x.bare:
            moments_not_before(p, REQUEST_END, s.x.source.given_at, p.at[REQUEST_START])
    if outcome == 0:
        if p.at[REQUEST_END] > at:
            at = p.at[REQUEST_END]
        moments_not_before(p, RESPONSE_END, timing_arrived_at(s), at)


cdef int64_t left_queue_at(slot *s, int64_t base, int64_t now) noexcept nogil:
    """Waiting inside libcurl for a connection to multiplex on is queueing too.

    libcurl adds the time to its sum once more when it sends a request again.
    """
    cdef int64_t at = base + moments_micros(s.easy, CURLINFO_QUEUE_TIME_T)
    at = min(at, now)
    if s.opened_at:
        at = min(at, s.opened_at)
    if s.ready_at:
        at = min(at, s.ready_at)
    return max(at, base)


cdef int64_t began_at(slot *s, int64_t launched_at) noexcept nogil:
    """Where libcurl counts from, on our clock.

    A thread may be put aside between libcurl's look at the clock and ours, so each tie is a bound
    from above.
    """
    cdef int64_t base = launched_at if is_simple(s) else now_ns()
    if s.opened_at:
        base = s.opened_at - moments_micros(s.easy, CURLINFO_NAMELOOKUP_TIME_T)
    if s.first_byte_at and not is_simple(s):
        base = min(base, s.first_byte_at - moments_micros(s.easy, CURLINFO_STARTTRANSFER_TIME_T))
    return base if s.opened_at or s.first_byte_at else launched_at


cdef void timing_read_phases(slot *s, xfer *x, int outcome) noexcept nogil:
    """Fills x.ph; before the handle is removed.

    The kernel tells when bytes came in, callbacks where an event happens tell the rest. Of the
    look-up, of waiting for a stream and of the request's end only libcurl knows. Its times count
    from the start of the hop, or from where it began once more because the connection was dead;
    they are tied to our clock at the first socket opened and at the first header line.
    """
    cdef phases *p = &x.ph
    cdef long connects = 0
    cdef int i
    cdef bint tls = url_scheme(request_url(x)) == 2
    cdef int64_t base = p.at[FETCH_START]
    cdef int64_t launched_at = base, at = base, now = now_ns()
    p.sent = x.sent_before
    p.received = x.received_before
    if s.m.acts == s.launched:
        return  # libcurl has yet to look at it: what it would tell is of the transfer before
    base = max(at, began_at(s, at))
    at = left_queue_at(s, base, now) if x.t.multiplex else base
    p.at[FETCH_START] = launched_at + (at - base) if s.again else at
    if not x.altered:
        p.at[QUEUE_END] = launched_at + (at - base)
    timing_add_bytes(s, &p.sent, &p.received)
    read_peer(s, p)
    if s.opened_at and (s.used_fd < 0 or s.used_since >= launched_at):
        curl.easy_getinfo(s.easy, CURLINFO_NUM_CONNECTS, &connects)
        if s.ready_at == 0 and tls:
            handle_shook_hands(s.easy, s.shook)
    if connects == 0 and s.ready_at:
        p.reused = True
        for i in range(DNS_START, CONNECT_END + 1):
            p.at[i] = p.at[FETCH_START]
    else:
        at = moments_read_connect(
            s.easy, s.opened_at, stands_at(s), s.shook, p, base, at, tls)
        if p.at[CONNECT_END] and s.ready_at > at and talks_first(s):
            p.at[CONNECT_END] = at = s.ready_at
        if p.http == 3 and p.at[CONNECT_END]:
            p.rtt_us = <unsigned>((p.at[CONNECT_END] - p.at[CONNECT_START]) // 1000)
    read_exchange(s, p, base, at, outcome)
    for i in range(QUEUE_END, ENDED_AT):  # what was tied to our clock is not exact
        p.at[i] = min(p.at[i], now)
