"""A share of a load run on one engine. See load.pxd."""
cimport cython
from libc.stdint cimport INT64_MAX
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ftcore.arrivals cimport (
    arrivals_prepare, schedule_copy, schedule_free, schedule_rate, schedule_set_rate,
    schedule_shift, schedule_take,
)
from ftcore.courier cimport (
    courier, courier_connection, courier_free, courier_go, courier_halt, courier_new, errand, trip,
)
from ftcore.engine cimport Engine
from ftcore.libcurl cimport CURLE_WEIRD_SERVER_REPLY, curl, curl_slist
from ftcore.multi cimport multi, multi_free
from ftcore.op cimport (
    COMMAND_ABORT, COMMAND_RATE, COMMAND_START, EVENT_DONE, OUTCOME_NO_MEMORY, OUTCOME_TIMEOUT,
    event, now_ns, word_get, word_set,
)
from ftcore.reactor cimport (
    defer, reactor_emit, reactor_post, reactor_timer_clear, reactor_timer_set,
)
from ftcore.settings cimport pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock
from ftcore.tally cimport (
    TALLY_ANSWERED, TALLY_BYTES_RECEIVED, TALLY_BYTES_SENT, TALLY_CLOSED, TALLY_COMPLETED,
    TALLY_CONNECT_FAILED, TALLY_DOWNLOAD, TALLY_FAILED, TALLY_FAILURES,
    TALLY_LATE, TALLY_OPENED, TALLY_QUEUE, TALLY_RETRIED, TALLY_SCHEDULED, TALLY_SEND, TALLY_SENT,
    TALLY_SERVICE, TALLY_SPANS, TALLY_TOTAL, TALLY_TTFB, TALLY_UNFINISHED, TALLY_UNSENT,
    TALLY_WRONG_LENGTH, TALLY_WRONG_STATUS, tally, tally_add, tally_class,
    tally_clear_spans, tally_failure, tally_late_by, tally_prepare, tally_read_connect,
    tally_record, tally_reset,
)
from ftcore.wire cimport (
    HTTP1_FOR_HEAD, HTTP1_PLAIN, wire_face, wire_free, wire_new, wire_read_phases, wire_send,
    wire_sent_at, wire_was_stale,
)

cdef extern from "c/clock.h" nogil:
    int64_t clock_ns(int)

cdef extern from "c/poller.h" nogil:
    void poller_precise()

cdef extern from "<time.h>" nogil:
    enum: CLOCK_THREAD_CPUTIME_ID

cdef enum:
    TICK = 1000000000        # ns of an interval
    REST_AT_LEAST = 1000000  # ns after a failure; doubled for each more in a row
    REST_DOUBLINGS = 5


cdef curl_slist *slist(lines) except *:
    """The lines as libcurl takes them; NULL: there are none."""
    cdef curl_slist *made = NULL
    cdef curl_slist *longer
    cdef bytes line
    for line in lines:
        longer = curl.slist_append(made, line)
        if longer == NULL:
            curl.slist_free_all(made)
            raise MemoryError
        made = longer
    return made


def clock():
    """The engine's clock: monotonic nanoseconds."""
    return now_ns()


# ---------------------------------------------------------------- lists of lanes

cdef inline void append(lane_list *all, lane *a) noexcept nogil:
    a.before = all.last
    a.after = NULL
    if all.last != NULL:
        all.last.after = a
    else:
        all.first = a
    all.last = a


cdef inline void unlink(lane_list *all, lane *a) noexcept nogil:
    if a.before != NULL:
        a.before.after = a.after
    else:
        all.first = a.after
    if a.after != NULL:
        a.after.before = a.before
    else:
        all.last = a.before


cdef inline lane *pop_idle(generator *g) noexcept nogil:
    """The one that was busy last, whose connection is the least likely to be stale."""
    cdef lane_list *all = &g.warm if g.warm.last != NULL else &g.cold
    cdef lane *a = all.last
    if a != NULL:
        unlink(all, a)
    return a


# ---------------------------------------------------------------- recording

cdef void note_send(lane *a, const trip *t) noexcept nogil:
    """Once a request, when it is over: whether and when it was sent."""
    cdef tally *to = a.g.active
    cdef int64_t at
    if t.sent == 0:
        return
    to.counts[TALLY_SENT] += 1
    to.counts[TALLY_BYTES_SENT] += <uint64_t>t.sent
    to.counts[TALLY_BYTES_RECEIVED] += <uint64_t>t.received
    if t.began_at - a.due > a.g.late_after:
        to.counts[TALLY_LATE] += 1
    # connecting is not the sender's fault, but it could have begun to
    at = a.taken if t.fresh or t.joined or a.retried else t.began_at
    tally_late_by(to, max(at - max(a.due, a.free_at), 0))


cdef void read_wire(lane *a, trip *t) noexcept nogil:
    """What its wire, if any, knows of the request so far."""
    cdef wire *w = a.w
    t.fresh = t.joined = False
    t.sent = 0
    if w == NULL or w.began_at < a.taken or w.sent == 0:
        return
    t.began_at, t.sent_at, t.first_at = w.began_at, wire_sent_at(w), w.first_at
    t.last_at = max(w.last_at, t.sent_at)  # what was answered early is over when all was sent
    t.sent, t.received, t.body = w.sent, w.received, a.body
    t.status = w.reader.head.status
    t.http = 1
    if w.begun == 1:
        t.fresh = True
        memset(&t.ph, 0, sizeof(t.ph))
        wire_read_phases(w, &t.ph, a.taken)


cdef void record_answer(lane *a, const trip *t) noexcept nogil:
    """A response came in whole."""
    cdef generator *g = a.g
    cdef tally *to = counting(g, t.last_at)
    cdef int64_t spans[TALLY_SPANS]
    # one that was answered, and never sent as a whole, was being sent until then
    cdef int64_t sent_at = t.sent_at if t.sent_at else max(t.first_at, t.began_at)
    if t.last_at <= g.end_at:
        to.counts[TALLY_ANSWERED] += 1
    if to.measured and not a.measured:
        return
    g.http = t.http
    note_send(a, t)
    to.counts[TALLY_COMPLETED] += 1
    to.statuses[t.status] += 1
    if not g.right[t.status]:
        to.counts[TALLY_WRONG_STATUS] += 1
    elif g.length >= 0 and t.body != g.length:
        to.counts[TALLY_WRONG_LENGTH] += 1
    tally_clear_spans(spans)
    if g.open:
        spans[TALLY_QUEUE] = max(a.taken - a.due, 0)
    if t.fresh:
        tally_read_connect(&t.ph, spans)
    spans[TALLY_SEND] = sent_at - t.began_at
    spans[TALLY_TTFB] = max(t.first_at - sent_at, 0)
    spans[TALLY_DOWNLOAD] = max(t.last_at - max(t.first_at, sent_at), 0)
    spans[TALLY_TOTAL] = t.last_at - a.due
    spans[TALLY_SERVICE] = t.last_at - t.began_at
    tally_record(to, tally_class(t.status), spans)


cdef void record_failure(
        lane *a, const trip *t, int outcome, long os_errno, const char *detail, int64_t now
) noexcept nogil:
    cdef generator *g = a.g
    cdef tally *to = counting(g, now)
    cdef int64_t spans[TALLY_SPANS]
    if to.measured and not a.measured:
        return
    note_send(a, t)
    to.counts[TALLY_FAILURES] += 1
    tally_failure(to, outcome, os_errno, detail, 1)
    tally_clear_spans(spans)
    if g.open:
        spans[TALLY_QUEUE] = max(a.taken - a.due, 0)
    if t.fresh:
        tally_read_connect(&t.ph, spans)
    spans[TALLY_TOTAL] = now - a.due
    tally_record(to, TALLY_FAILED, spans)


# ---------------------------------------------------------------- over wires

cdef void connect(lane *a) noexcept nogil:
    cdef long os_errno = 0
    a.w = wire_new(a.g.r, a.g.set, &a.g.asked, &FACE, a, True, &os_errno)
    if a.w == NULL:
        fail(a, OUTCOME_NO_MEMORY, os_errno, b"")


cdef void drop(lane *a) noexcept nogil:
    if a.w == NULL:
        return
    if a.w.begun:
        a.g.connections -= 1
    wire_free(a.w)
    a.w = NULL


cdef void on_opened(wire *w) noexcept nogil:
    cdef lane *a = <lane *>w.owner
    cdef generator *g = a.g
    g.connections += 1
    g.opened += 1
    g.active.counts[TALLY_OPENED] += 1
    g.port = w.c.ph.port
    memcpy(g.ip, w.c.ph.ip, sizeof(g.ip))
    send_on_wire(a)


cdef void on_head(wire *w, int kind, const char *block, size_t length) noexcept nogil:
    return


cdef bint on_body(wire *w, const char *data, size_t length) noexcept nogil:
    (<lane *>w.owner).body += <int64_t>length
    return True


cdef void on_ended(wire *w) noexcept nogil:
    cdef lane *a = <lane *>w.owner
    cdef trip t
    read_wire(a, &t)
    record_answer(a, &t)
    a.failures = 0
    a.free_at = t.last_at
    if not w.reusable:
        a.g.active.counts[TALLY_CLOSED] += 1
        drop(a)
    release(a, t.last_at)


cdef void on_lost(wire *w, int outcome) noexcept nogil:
    cdef lane *a = <lane *>w.owner
    cdef generator *g = a.g
    if w.begun:
        g.active.counts[TALLY_CLOSED] += 1
    if not a.busy:
        drop(a)
        if a.rest.place == 0:
            unlink(&g.warm, a)
            append(&g.cold, a)
    elif g.idempotent and not a.retried and wire_was_stale(w) and not g.over:
        g.active.counts[TALLY_RETRIED] += 1
        a.retried = True
        drop(a)
        connect(a)
    else:
        fail(a, outcome, w.os_errno, w.detail)


cdef wire_face FACE
FACE.opened = on_opened
FACE.head = on_head
FACE.body = on_body
FACE.ended = on_ended
FACE.lost = on_lost
FACE.more = NULL


cdef inline void send_on_wire(lane *a) noexcept nogil:
    a.body = 0
    wire_send(a.w, &a.g.request)


# ---------------------------------------------------------------- over libcurl

cdef void note_connection(generator *g, courier *c) noexcept nogil:
    """Once a request, when it is over: whether one was made for it."""
    if c.t.fresh:
        g.opened += 1
        g.active.counts[TALLY_OPENED] += 1
        g.port = c.t.ph.port
        memcpy(g.ip, c.t.ph.ip, sizeof(g.ip))


cdef void halt(lane *a) noexcept nogil:
    """Its request is given up, and over HTTP/1.1 its connection, which no server has closed."""
    cdef courier *c = a.c
    cdef int stood = c.m.sockets
    if c.under_way:
        courier_halt(c)
        note_connection(a.g, c)
        a.g.opened -= stood - c.m.sockets


cdef void on_over(courier *c, int result) noexcept nogil:
    cdef lane *a = <lane *>c.owner
    cdef generator *g = a.g
    g.active.counts[TALLY_RETRIED] += <uint64_t>c.repeats
    note_connection(g, c)
    if result or not 100 <= c.t.status <= 999:
        fail(a, result if result else CURLE_WEIRD_SERVER_REPLY, c.os_errno, c.error)
        return
    record_answer(a, &c.t)
    a.failures = 0
    a.free_at = c.t.last_at
    release(a, c.t.last_at)


cdef void go(lane *a) noexcept nogil:
    if courier_go(a.c):
        fail(a, OUTCOME_NO_MEMORY, 0, b"")


cdef int open_sockets(generator *g) noexcept nogil:
    cdef int i, count = g.connections
    for i in range(g.multi_count):
        count += g.multis[i].sockets
    return count


# ---------------------------------------------------------------- requests

cdef inline void park(lane *a) noexcept nogil:
    """Idle, until it is called for."""
    append(&a.g.warm if a.w != NULL or a.c != NULL else &a.g.cold, a)


cdef void take_up(lane *a, int64_t due, int64_t now) noexcept nogil:
    cdef generator *g = a.g
    cdef tally *t
    a.busy = True
    a.retried = False
    a.due = due
    a.taken = now
    a.measured = due >= g.measure_at
    g.in_flight += 1
    append(&g.busy, a)
    if g.busy.first == a:
        reactor_timer_set(g.r, &g.timeout_timer, now + g.timeout)
    if a.measured:
        g.measured_in_flight += 1
        if g.left > 0:
            g.left -= 1
    t = counting(g, due)
    if a.measured or not t.measured:
        t.counts[TALLY_SCHEDULED] += 1
    if a.c != NULL:
        go(a)
    elif a.w != NULL:
        send_on_wire(a)
    else:
        connect(a)


cdef void fail(lane *a, int outcome, long os_errno, const char *detail) noexcept nogil:
    """No response came in whole. In the closed model the lane rests: a dead server costs little."""
    cdef int64_t now = now_ns()
    cdef bint connects
    cdef trip t
    if a.c != NULL:
        halt(a)
        connects = a.c.opened_at and not a.c.t.fresh
        record_failure(a, &a.c.t, outcome, os_errno, detail, now)
    else:
        read_wire(a, &t)
        connects = a.w == NULL or a.w.begun == 0
        record_failure(a, &t, outcome, os_errno, detail, now)
        drop(a)
    if connects:
        a.g.active.counts[TALLY_CONNECT_FAILED] += 1
    a.free_at = now
    if a.failures < REST_DOUBLINGS:
        a.failures += 1
    release(a, now + (<int64_t>REST_AT_LEAST << (a.failures - 1)))


cdef void release(lane *a, int64_t at) noexcept nogil:
    """Its request is over; it may take up the next at `at`, or a think time after."""
    cdef generator *g = a.g
    cdef bint rests = not g.open and (g.think > 0 or a.failures > 0)
    a.busy = False
    unlink(&g.busy, a)
    g.in_flight -= 1
    if a.measured:
        g.measured_in_flight -= 1
    if g.ending or g.left == 0 or at >= g.end_at:
        park(a)
        look_for_end(g)
    elif rests and reactor_timer_set(g.r, &a.rest, at + g.think) == 0:
        pass
    elif g.open:
        park(a)
        start_due(g)
    else:
        take_up(a, at, at)


cdef void on_rested(timer_node *timer) noexcept nogil:
    cdef lane *a = <lane *>timer.owner
    cdef generator *g = a.g
    cdef int64_t due = timer.deadline
    if g.ending or g.left == 0 or due >= g.end_at:
        park(a)
        look_for_end(g)
    else:
        a.free_at = due
        take_up(a, due, now_ns())


cdef void start_due(generator *g) noexcept nogil:
    """Open model: what is due and finds a lane starts now; the timer is set to the next."""
    cdef int64_t due, now
    cdef lane *a
    if g.ending or g.starting:
        return
    g.starting = True
    while g.left != 0 and (g.warm.last != NULL or g.cold.last != NULL):
        now = now_ns()
        due = g.due.due
        if due > now or due >= g.end_at:
            break
        a = pop_idle(g)
        schedule_take(&g.due)
        take_up(a, due, now)
    g.starting = False
    if g.left != 0 and g.due.due < g.end_at and (g.warm.last != NULL or g.cold.last != NULL):
        reactor_timer_set(g.r, &g.due_timer, g.due.due)
    else:
        reactor_timer_clear(g.r, &g.due_timer)


cdef void on_due(timer_node *timer) noexcept nogil:
    start_due(<generator *>timer.owner)


cdef void on_timeout(timer_node *timer) noexcept nogil:
    """The first of the busy ones has been so for the longest."""
    cdef generator *g = <generator *>timer.owner
    cdef int64_t now = now_ns()
    while g.busy.first != NULL and g.busy.first.taken + g.timeout <= now:
        fail(g.busy.first, OUTCOME_TIMEOUT, 0, b"")
    if g.busy.first != NULL and not g.over:
        reactor_timer_set(g.r, timer, g.busy.first.taken + g.timeout)


# ---------------------------------------------------------------- intervals

cdef void lay_ready(generator *g, int64_t now, bint drops) noexcept nogil:
    """What was counted goes to whoever gathers, unless what went before was not fetched."""
    cdef tally *t = g.active
    note_state(g, now)
    if word_get(&g.ready):
        if drops:
            tally_reset(t)
        else:
            return
    else:
        g.active = g.laid
        g.laid = t
        word_set(&g.ready, 1)
    g.active.began_at = now
    g.active.measured = drops or now >= g.measure_at


cdef void note_state(generator *g, int64_t now) noexcept nogil:
    cdef tally *t = g.active
    cdef int64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID)
    t.ended_at = now
    t.in_flight = g.in_flight
    t.waiting = waiting(g, now)
    t.connections = open_sockets(g)
    t.target = schedule_rate(&g.due, now) / <double>g.due.every if g.open else 0
    t.cpu += cpu - g.cpu_at
    g.cpu_at = cpu


cdef int64_t waiting(generator *g, int64_t now) noexcept nogil:
    """How many are due and found no lane."""
    if not g.open or g.ending:
        return 0
    if g.due.due > now or g.lead.index < g.due.index:
        schedule_free(&g.lead)
        if schedule_copy(&g.lead, &g.due) < 0:
            g.lead.due = INT64_MAX
            return 0
    while g.lead.due <= now:
        schedule_take(&g.lead)
    return <int64_t>((g.lead.index - g.due.index) // g.due.every)


cdef void on_tick(timer_node *timer) noexcept nogil:
    """Ticks are whole seconds before and after the measured part begins."""
    cdef generator *g = <generator *>timer.owner
    if g.tick_at == g.measure_at:
        counting(g, g.measure_at)
        return
    if g.tick_at >= g.end_at:  # the last interval ends with the run
        return
    lay_ready(g, now_ns(), False)
    g.tick_at += TICK
    reactor_timer_set(g.r, timer, g.tick_at)


cdef inline tally *counting(generator *g, int64_t at) noexcept nogil:
    """What is counted into when something happened at `at`."""
    if at >= g.measure_at and not g.active.measured:
        begin_measuring(g)
    return g.active


cdef void begin_measuring(generator *g) noexcept nogil:
    lay_ready(g, g.measure_at, True)
    g.tick_at = g.measure_at + TICK
    reactor_timer_set(g.r, &g.tick_timer, g.tick_at)


# ---------------------------------------------------------------- begin and end

cdef void begin(generator *g) noexcept nogil:
    cdef int i
    poller_precise()
    g.cpu_at = clock_ns(CLOCK_THREAD_CPUTIME_ID)
    g.tick_at = g.measure_at - (g.measure_at - g.start) // TICK * TICK
    if g.tick_at <= g.start:
        g.tick_at += TICK
    g.active.began_at = g.start
    g.active.measured = g.start >= g.measure_at
    reactor_timer_set(g.r, &g.tick_timer, g.tick_at)
    if g.end_at != INT64_MAX:
        reactor_timer_set(g.r, &g.end_timer, g.end_at)
    for i in range(g.lane_count):
        if g.open:
            park(&g.lanes[i])
        else:
            reactor_timer_set(g.r, &g.lanes[i].rest, g.start)
    if g.left == 0:
        finish(g)
    elif g.open:
        start_due(g)


cdef void end(generator *g, int64_t at) noexcept nogil:
    """Nothing new is sent; what is under way gets its grace."""
    if g.ending:
        return
    g.ending = True
    g.end_at = at
    reactor_timer_clear(g.r, &g.due_timer)
    while g.open and g.left != 0 and g.due.due < at:
        if g.due.due >= g.measure_at:
            g.active.counts[TALLY_SCHEDULED] += 1
            g.active.counts[TALLY_UNSENT] += 1
            if g.left > 0:
                g.left -= 1
        schedule_take(&g.due)
    if g.in_flight and g.grace:
        reactor_timer_set(g.r, &g.end_timer, at + g.grace)
    else:
        finish(g)


cdef void on_end(timer_node *timer) noexcept nogil:
    cdef generator *g = <generator *>timer.owner
    if g.ending:
        finish(g)
    else:
        end(g, g.end_at)


cdef void look_for_end(generator *g) noexcept nogil:
    """All that was to start has started: is it over?"""
    if g.left == 0 and g.measured_in_flight == 0:
        finish(g)
    elif g.ending and g.in_flight == 0:
        finish(g)


cdef void finish(generator *g) noexcept nogil:
    cdef int64_t now = now_ns()
    cdef int i
    if g.over:
        return
    g.over = True
    g.ending = True
    if g.end_at > now:
        g.end_at = now
    note_state(g, g.end_at)
    while g.busy.first != NULL:
        give_up(g.busy.first)
    for i in range(g.lane_count):
        reactor_timer_clear(g.r, &g.lanes[i].rest)
        drop(&g.lanes[i])
    reactor_timer_clear(g.r, &g.due_timer)
    reactor_timer_clear(g.r, &g.timeout_timer)
    reactor_timer_clear(g.r, &g.end_timer)
    reactor_timer_clear(g.r, &g.tick_timer)
    defer(&g.r.later, &g.sweep)


cdef void give_up(lane *a) noexcept nogil:
    """Its grace is over."""
    cdef trip t
    unlink(&a.g.busy, a)
    if a.c != NULL:
        halt(a)
    else:
        read_wire(a, &t)
    if a.measured:
        note_send(a, &a.c.t if a.c != NULL else &t)
        a.g.active.counts[TALLY_UNFINISHED] += 1


cdef void sweep(void *owner) noexcept nogil:
    """libcurl's handles go when it is not at work on them."""
    cdef generator *g = <generator *>owner
    cdef int i
    if g.multi_count:
        g.active.counts[TALLY_CLOSED] += <uint64_t>(g.opened - open_sockets(g))
    for i in range(g.lane_count):
        if g.lanes[i].c != NULL:
            courier_free(g.lanes[i].c)
            g.lanes[i].c = NULL
    for i in range(g.multi_count):
        multi_free(g.multis[i])
    g.multi_count = 0
    g.o.last.kind = EVENT_DONE
    g.o.last.target = &g.o
    reactor_emit(g.r, &g.o.last)


cdef void on_command(op *o, unsigned commands) noexcept nogil:
    cdef generator *g = <generator *>o.place
    if g.over:
        return
    if commands & COMMAND_START:
        begin(g)
    if commands & COMMAND_RATE and g.open and not g.ending:
        change_rate(g)
    if commands & COMMAND_ABORT and not g.ending:
        g.stopped = True
        end(g, max(now_ns(), g.start))


cdef void change_rate(generator *g) noexcept nogil:
    cdef int failed
    pthread_mutex_lock(&g.lock)
    failed = schedule_set_rate(&g.due, g.new_rate_at, g.new_rate)
    failed |= schedule_set_rate(&g.lead, g.new_rate_at, g.new_rate)
    pthread_mutex_unlock(&g.lock)
    if failed:  # memory is out: better no load than a wrong one
        g.stopped = True
        end(g, now_ns())
    else:
        start_due(g)


@cython.final
cdef class Load(Operation):
    """One worker's share of a run, from `begin` on; all times are ns."""

    def __cinit__(
        self, Engine engine not None, Settings settings not None, *, bytes url not None,
        bytes head not None, bytes body not None, bint for_head, bint idempotent, verb, lines,
        long http_version, int connections, int streams, bint open_model, stages, double rate_after,
        bint poisson, uint64_t seed, uint64_t first, uint64_t every, int64_t warmup,
        int64_t duration, int64_t requests, int64_t think, int64_t timeout, int64_t grace,
        int64_t late_after, statuses, int64_t length,
    ):
        cdef generator *g = &self.g
        self.settings = settings
        self.kept = (url, head, body, verb)
        self.first, self.second = Tally(), Tally()
        g.active, g.laid = self.first.t, self.second.t
        tally_prepare(g.active, 2)
        tally_prepare(g.laid, 2)
        g.r = &engine.r
        g.set = &settings.c
        g.asked.url = url
        g.asked.tls = url.startswith(b"https")
        g.asked.nodelay = settings.c.nodelay
        g.request.kind = HTTP1_FOR_HEAD if for_head else HTTP1_PLAIN
        g.request.head = head
        g.request.head_length = len(head)
        g.request.body = body
        g.request.body_length = len(body)
        g.idempotent = idempotent
        g.open = open_model
        g.measure_at = warmup  # from the start, which `begin` adds
        g.end_at = INT64_MAX if duration < 0 else warmup + duration
        g.think, g.timeout, g.grace, g.late_after = think, timeout, grace, late_after
        g.left = requests
        g.length = length
        for status in range(1000):
            g.right[status] = status in statuses if statuses else status < 400
        pthread_mutex_init(&g.lock, NULL)
        arrivals_prepare(&g.due, stages, rate_after, poisson, seed, first, every)
        if schedule_copy(&g.lead, &g.due):
            raise MemoryError
        self.make_lanes(connections * streams)
        if http_version:
            self.ask_libcurl(verb, lines, http_version, streams > 1)
            self.make_couriers(connections)
        g.sweep.run = sweep
        g.sweep.owner = g
        g.due_timer.owner = g.timeout_timer.owner = g
        g.end_timer.owner = g.tick_timer.owner = g
        g.due_timer.fire = on_due
        g.timeout_timer.fire = on_timeout
        g.end_timer.fire = on_end
        g.tick_timer.fire = on_tick
        g.o.command = on_command
        g.o.owner = <void *>self
        g.o.place = g
        self.home = engine

    def begin(self, int64_t start):
        """Once: at `start` on the engine's clock the run begins."""
        cdef generator *g = &self.g
        g.start = start
        g.measure_at += start
        if g.end_at != INT64_MAX:
            g.end_at += start
        schedule_shift(&g.due, start)
        schedule_shift(&g.lead, start)
        self.home.submit(self, &g.o, COMMAND_START)

    def __dealloc__(self):
        cdef int i
        schedule_free(&self.g.due)
        schedule_free(&self.g.lead)
        for i in range(self.g.lane_count):  # where it was never begun
            if self.g.lanes[i].c != NULL:
                courier_free(self.g.lanes[i].c)
        for i in range(self.g.multi_count):
            multi_free(self.g.multis[i])
        free(self.g.multis)
        free(self.g.lanes)
        curl.slist_free_all(self.g.asked_of_libcurl.headers)

    cdef int make_lanes(self, int count) except -1:
        cdef generator *g = &self.g
        cdef int i
        g.lanes = <lane *>calloc(count, sizeof(lane))
        if g.lanes == NULL:
            raise MemoryError
        g.lane_count = count
        for i in range(count):
            g.lanes[i].g = g
            g.lanes[i].rest.fire = on_rested
            g.lanes[i].rest.owner = &g.lanes[i]
        return 0

    cdef int ask_libcurl(self, verb, lines, long http_version, bint shared) except -1:
        cdef errand *asked = &self.g.asked_of_libcurl
        asked.url = self.g.asked.url
        asked.tls = self.g.asked.tls
        asked.head = self.g.request.kind == HTTP1_FOR_HEAD
        if verb is not None:
            asked.verb = <bytes>verb
        if self.g.request.body_length:
            asked.body = self.g.request.body
        asked.body_length = <int64_t>self.g.request.body_length
        asked.http_version = http_version
        asked.shared = shared
        asked.headers = slist(lines)
        return 0

    cdef int make_couriers(self, int connections) except -1:
        """Each connection gets as many as it is to carry at once, neighbours from several."""
        cdef generator *g = &self.g
        cdef int i
        g.multis = <multi **>calloc(connections, sizeof(multi *))
        if g.multis == NULL:
            raise MemoryError
        for i in range(connections):
            g.multis[i] = courier_connection(g.r)
            if g.multis[i] == NULL:
                raise MemoryError
            g.multi_count += 1
        for i in range(g.lane_count):
            g.lanes[i].c = courier_new(
                g.multis[i % connections], g.set, &g.asked_of_libcurl, &g.lanes[i], on_over)
            if g.lanes[i].c == NULL:
                raise MemoryError
        return 0

    def set_rate(self, double rate, int64_t at):
        """From `at` on `rate` requests a second, of all workers, are due. From any thread."""
        pthread_mutex_lock(&self.g.lock)
        self.g.new_rate = rate
        self.g.new_rate_at = at
        pthread_mutex_unlock(&self.g.lock)
        self.post(COMMAND_RATE)

    def stop(self):
        """Nothing new is sent from now on. From any thread."""
        self.post(COMMAND_ABORT)

    cdef int post(self, unsigned command) except -1:
        if self.engine is not None and not self.over:
            reactor_post(self.g.r, &self.g.o, command)
        return 0

    cdef int handle(self, event *e) except -1:
        self.over = True
        self.release(&self.g.o)
        return 0

    def collect(self, Tally into not None):
        """Adds the last interval that nobody has fetched; False: there is none. By one thread."""
        cdef tally *t = NULL
        if word_get(&self.g.ready):
            t = self.g.laid
        elif self.over and not self.fetched:
            self.fetched = True
            t = self.g.active
        if t == NULL:
            return False
        tally_add(into.t, t)
        if t.measured:
            self.cpu += t.cpu
        if t == self.g.laid and not self.fetched:
            tally_reset(t)
            word_set(&self.g.ready, 0)
        return True

    @property
    def stopped(self):
        """Whether it was stopped before its end."""
        return bool(self.g.stopped)

    @property
    def ended_at(self):
        """When the measured part ended, or will; None: not known yet."""
        return None if self.g.end_at == INT64_MAX else self.g.end_at

    @property
    def http(self):
        """1, 2 or 3: the version of the last response; 0: there was none."""
        return self.g.http

    @property
    def peer(self):
        """(address, port) that the last connection was made to; ("", 0): there was none."""
        return self.g.ip.decode("ascii"), self.g.port
