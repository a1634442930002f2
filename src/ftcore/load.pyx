"""A share of a load run on one engine. See load.pxd."""
cimport cython
from libc.stdint cimport INT64_MAX
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

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
from ftcore.profile cimport (
    CONNECT_END, CONNECT_START, DNS_END, DNS_START, SSL_END, SSL_START, phases,
)
from ftcore.reactor cimport defer, reactor_emit, reactor_post, reactor_timer_clear, reactor_timer_set
from ftcore.settings cimport pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock
from ftcore.tally cimport (
    TALLY_ANSWERED, TALLY_BYTES_RECEIVED, TALLY_BYTES_SENT, TALLY_CLOSED, TALLY_COMPLETED,
    TALLY_CONNECT, TALLY_CONNECT_FAILED, TALLY_DNS, TALLY_DOWNLOAD, TALLY_FAILED, TALLY_FAILURES,
    TALLY_LATE, TALLY_OPENED, TALLY_QUEUE, TALLY_RETRIED, TALLY_SCHEDULED, TALLY_SEND, TALLY_SENT,
    TALLY_SERVICE, TALLY_SPANS, TALLY_SSL, TALLY_TOTAL, TALLY_TTFB, TALLY_UNFINISHED, TALLY_UNSENT,
    TALLY_WRONG_LENGTH, TALLY_WRONG_STATUS, tally, tally_add, tally_class, tally_failure, tally_late_by,
    tally_prepare, tally_record, tally_reset,
)
from ftcore.wire cimport (
    HTTP1_FOR_HEAD, HTTP1_PLAIN, wire_face, wire_free, wire_new, wire_read_phases, wire_send,
    wire_was_stale,
)

cdef extern from "c/clock.h" nogil:
    int64_t clock_ns(int)

cdef extern from "c/poller.h" nogil:
    void poller_precise()

cdef extern from "<time.h>" nogil:
    enum: CLOCK_THREAD_CPUTIME_ID

cdef extern from "c/schedule.h" nogil:
    int schedule_init(
        schedule *, const schedule_stage *, int, double, int64_t, int, uint64_t, uint64_t, uint64_t)
    int schedule_copy(schedule *, const schedule *)
    void schedule_free(schedule *)
    void schedule_take(schedule *)
    int schedule_set_rate(schedule *, int64_t, double)
    double schedule_rate(const schedule *, int64_t)

cdef enum:
    TICK = 1000000000        # ns of an interval
    REST_AT_LEAST = 1000000  # ns after a failure; doubled for each more in a row
    REST_DOUBLINGS = 10


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


cdef inline lane *pop_idle(load *l) noexcept nogil:
    """The one that was busy last, whose connection is the least likely to be stale."""
    cdef lane_list *all = &l.warm if l.warm.last != NULL else &l.cold
    cdef lane *a = all.last
    if a != NULL:
        unlink(all, a)
    return a


# ---------------------------------------------------------------- recording

cdef void note_send(lane *a, const trip *t) noexcept nogil:
    """Once a request, when it is over: whether and when it was sent."""
    cdef tally *to = a.l.active
    if t.sent == 0:
        return
    to.counts[TALLY_SENT] += 1
    to.counts[TALLY_BYTES_SENT] += <uint64_t>t.sent
    to.counts[TALLY_BYTES_RECEIVED] += <uint64_t>t.received
    if t.began_at - a.due > a.l.late_after:
        to.counts[TALLY_LATE] += 1
    if not t.fresh and not a.retried:
        tally_late_by(to, max(t.began_at - max(a.due, a.free_at), 0))


cdef void read_wire(lane *a, trip *t) noexcept nogil:
    """What its wire, if any, knows of the request so far."""
    cdef wire *w = a.w
    t.fresh = w != NULL and w.begun == 1
    t.sent = 0
    if w == NULL or w.began_at < a.taken or w.sent == 0:
        return
    t.began_at, t.sent_at, t.first_at, t.last_at = w.began_at, w.sent_at, w.first_at, w.last_at
    t.sent, t.received, t.body = w.sent, w.received, a.body
    t.status = w.reader.head.status
    t.http = 1
    if t.fresh:
        memset(&t.ph, 0, sizeof(t.ph))
        wire_read_phases(w, &t.ph, a.taken)


cdef void read_connect(const phases *p, int64_t *spans) noexcept nogil:
    """What it took to make the connection."""
    if p.at[DNS_END]:
        spans[TALLY_DNS] = p.at[DNS_END] - p.at[DNS_START]
    if p.at[SSL_START]:
        spans[TALLY_CONNECT] = p.at[SSL_START] - p.at[CONNECT_START]
        if p.at[SSL_END]:
            spans[TALLY_SSL] = p.at[SSL_END] - p.at[SSL_START]
    elif p.at[CONNECT_END]:
        spans[TALLY_CONNECT] = p.at[CONNECT_END] - p.at[CONNECT_START]


cdef inline void clear_spans(int64_t *spans) noexcept nogil:
    cdef int i
    for i in range(TALLY_SPANS):
        spans[i] = -1


cdef void record_answer(lane *a, const trip *t) noexcept nogil:
    """A response came in whole."""
    cdef load *l = a.l
    cdef tally *to = counting(l, t.last_at)
    cdef int64_t spans[TALLY_SPANS]
    if t.last_at <= l.end_at:
        to.counts[TALLY_ANSWERED] += 1
    if to.measured and not a.measured:
        return
    l.http = t.http
    note_send(a, t)
    to.counts[TALLY_COMPLETED] += 1
    to.statuses[t.status] += 1
    if not l.right[t.status]:
        to.counts[TALLY_WRONG_STATUS] += 1
    elif l.length >= 0 and t.body != l.length:
        to.counts[TALLY_WRONG_LENGTH] += 1
    clear_spans(spans)
    if l.open:
        spans[TALLY_QUEUE] = max(a.taken - a.due, 0)
    if t.fresh:
        read_connect(&t.ph, spans)
    spans[TALLY_SEND] = t.sent_at - t.began_at
    spans[TALLY_TTFB] = max(t.first_at - t.sent_at, 0)
    spans[TALLY_DOWNLOAD] = max(t.last_at - max(t.first_at, t.sent_at), 0)
    spans[TALLY_TOTAL] = t.last_at - a.due
    spans[TALLY_SERVICE] = t.last_at - t.began_at
    tally_record(to, tally_class(t.status), spans)


cdef void record_failure(
        lane *a, const trip *t, int outcome, long os_errno, const char *detail, int64_t now
) noexcept nogil:
    cdef load *l = a.l
    cdef tally *to = counting(l, now)
    cdef int64_t spans[TALLY_SPANS]
    if to.measured and not a.measured:
        return
    note_send(a, t)
    to.counts[TALLY_FAILURES] += 1
    tally_failure(to, outcome, os_errno, detail, 1)
    clear_spans(spans)
    if l.open:
        spans[TALLY_QUEUE] = max(a.taken - a.due, 0)
    if t.fresh:
        read_connect(&t.ph, spans)
    spans[TALLY_TOTAL] = now - a.due
    tally_record(to, TALLY_FAILED, spans)


# ---------------------------------------------------------------- over wires

cdef void connect(lane *a) noexcept nogil:
    cdef long os_errno = 0
    a.w = wire_new(a.l.r, a.l.set, &a.l.asked, &FACE, a, True, &os_errno)
    if a.w == NULL:
        a.l.active.counts[TALLY_CONNECT_FAILED] += 1
        fail(a, OUTCOME_NO_MEMORY, os_errno, b"")


cdef void drop(lane *a) noexcept nogil:
    if a.w == NULL:
        return
    if a.w.begun:
        a.l.connections -= 1
    wire_free(a.w)
    a.w = NULL


cdef void on_opened(wire *w) noexcept nogil:
    cdef lane *a = <lane *>w.owner
    cdef load *l = a.l
    l.connections += 1
    l.opened += 1
    l.active.counts[TALLY_OPENED] += 1
    l.port = w.c.ph.port
    memcpy(l.ip, w.c.ph.ip, sizeof(l.ip))
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
    a.free_at = w.last_at
    if not w.reusable:
        a.l.active.counts[TALLY_CLOSED] += 1
        drop(a)
    release(a, w.last_at)


cdef void on_lost(wire *w, int outcome) noexcept nogil:
    cdef lane *a = <lane *>w.owner
    cdef load *l = a.l
    if w.begun == 0:
        l.active.counts[TALLY_CONNECT_FAILED] += 1
    else:
        l.active.counts[TALLY_CLOSED] += 1
    if not a.busy:
        drop(a)
        if a.rest.place == 0:
            unlink(&l.warm, a)
            append(&l.cold, a)
    elif l.idempotent and not a.retried and wire_was_stale(w) and not l.over:
        l.active.counts[TALLY_RETRIED] += 1
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
    wire_send(a.w, &a.l.request)


# ---------------------------------------------------------------- over libcurl

cdef void on_over(courier *c, int result) noexcept nogil:
    cdef lane *a = <lane *>c.owner
    cdef load *l = a.l
    l.active.counts[TALLY_RETRIED] += <uint64_t>c.repeats
    if c.t.fresh:
        l.opened += 1
        l.active.counts[TALLY_OPENED] += 1
        l.port = c.t.ph.port
        memcpy(l.ip, c.t.ph.ip, sizeof(l.ip))
    if result or c.t.status < 100:
        if c.opened_at and not c.t.fresh:
            l.active.counts[TALLY_CONNECT_FAILED] += 1
        fail(a, result if result else CURLE_WEIRD_SERVER_REPLY, c.os_errno, c.error)
        return
    record_answer(a, &c.t)
    a.failures = 0
    a.free_at = c.t.last_at
    release(a, c.t.last_at)


cdef void go(lane *a) noexcept nogil:
    if courier_go(a.c):
        fail(a, OUTCOME_NO_MEMORY, 0, b"")


cdef int open_sockets(load *l) noexcept nogil:
    cdef int i, count = l.connections
    for i in range(l.multi_count):
        count += l.multis[i].sockets
    return count


# ---------------------------------------------------------------- requests

cdef inline void park(lane *a) noexcept nogil:
    """Idle, until it is called for."""
    append(&a.l.warm if a.w != NULL or a.c != NULL else &a.l.cold, a)


cdef void take_up(lane *a, int64_t due, int64_t now) noexcept nogil:
    cdef load *l = a.l
    cdef tally *t
    a.busy = True
    a.retried = False
    a.due = due
    a.taken = now
    a.measured = due >= l.measure_at
    l.in_flight += 1
    append(&l.busy, a)
    if l.busy.first == a:
        reactor_timer_set(l.r, &l.timeout_timer, now + l.timeout)
    if a.measured:
        l.measured_in_flight += 1
        if l.left > 0:
            l.left -= 1
    t = counting(l, due)
    if a.measured or not t.measured:
        t.counts[TALLY_SCHEDULED] += 1
    if a.c != NULL:
        go(a)
    elif a.w != NULL:
        send_on_wire(a)
    else:
        connect(a)


cdef void fail(lane *a, int outcome, long os_errno, const char *detail) noexcept nogil:
    """No response came in whole. The lane rests, so that a dead server costs little."""
    cdef int64_t now = now_ns()
    cdef trip t
    if a.c != NULL:
        courier_halt(a.c)
        record_failure(a, &a.c.t, outcome, os_errno, detail, now)
    else:
        read_wire(a, &t)
        record_failure(a, &t, outcome, os_errno, detail, now)
        drop(a)
    a.free_at = now
    if a.failures < REST_DOUBLINGS:
        a.failures += 1
    release(a, now + (<int64_t>REST_AT_LEAST << (a.failures - 1)))


cdef void release(lane *a, int64_t from_) noexcept nogil:
    """Its request is over; it may take up the next at `from_`, or a think time after."""
    cdef load *l = a.l
    cdef bint rests = l.think > 0 or a.failures > 0
    a.busy = False
    unlink(&l.busy, a)
    l.in_flight -= 1
    if a.measured:
        l.measured_in_flight -= 1
    if l.ending or l.left == 0 or from_ >= l.end_at:
        park(a)
        look_for_end(l)
    elif rests and reactor_timer_set(l.r, &a.rest, from_ + (0 if l.open else l.think)) == 0:
        pass
    elif l.open:
        park(a)
        start_due(l)
    else:
        take_up(a, from_, from_)


cdef void on_rested(timer_node *timer) noexcept nogil:
    cdef lane *a = <lane *>timer.owner
    cdef load *l = a.l
    cdef int64_t due = timer.deadline
    if l.ending or l.left == 0 or due >= l.end_at:
        park(a)
        look_for_end(l)
    elif l.open:
        park(a)
        start_due(l)
    else:
        a.free_at = due
        take_up(a, due, now_ns())


cdef void start_due(load *l) noexcept nogil:
    """Open model: what is due and finds a lane starts now; the timer is set to the next."""
    cdef int64_t due, now
    cdef lane *a
    if l.ending or l.starting:
        return
    l.starting = True
    while l.left != 0 and (l.warm.last != NULL or l.cold.last != NULL):
        now = now_ns()
        due = l.due.due
        if due > now or due >= l.end_at:
            break
        a = pop_idle(l)
        schedule_take(&l.due)
        take_up(a, due, now)
    l.starting = False
    if l.left != 0 and l.due.due != INT64_MAX and (l.warm.last != NULL or l.cold.last != NULL):
        reactor_timer_set(l.r, &l.due_timer, l.due.due)
    else:
        reactor_timer_clear(l.r, &l.due_timer)


cdef void on_due(timer_node *timer) noexcept nogil:
    start_due(<load *>timer.owner)


cdef void on_timeout(timer_node *timer) noexcept nogil:
    """The first of the busy ones has been so for the longest."""
    cdef load *l = <load *>timer.owner
    cdef int64_t now = now_ns()
    while l.busy.first != NULL and l.busy.first.taken + l.timeout <= now:
        fail(l.busy.first, OUTCOME_TIMEOUT, 0, b"")
    if l.busy.first != NULL and not l.over:
        reactor_timer_set(l.r, timer, l.busy.first.taken + l.timeout)


# ---------------------------------------------------------------- intervals

cdef void lay_ready(load *l, int64_t now, bint drops) noexcept nogil:
    """What was counted goes to whoever gathers, unless what went before was not fetched."""
    cdef tally *t = l.active
    note_state(l, now)
    if word_get(&l.ready):
        if drops:
            tally_reset(t)
        else:
            return
    else:
        l.active = l.laid
        l.laid = t
        word_set(&l.ready, 1)
    l.active.began_at = now
    l.active.measured = drops or now >= l.measure_at


cdef void note_state(load *l, int64_t now) noexcept nogil:
    cdef tally *t = l.active
    cdef int64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID)
    t.ended_at = now
    t.in_flight = l.in_flight
    t.waiting = waiting(l, now)
    t.connections = open_sockets(l)
    t.target = schedule_rate(&l.due, now) / <double>l.due.every if l.open else 0
    t.cpu += cpu - l.cpu_at
    l.cpu_at = cpu


cdef int64_t waiting(load *l, int64_t now) noexcept nogil:
    """How many are due and found no lane."""
    if not l.open or l.ending:
        return 0
    if l.due.due > now or l.lead.index < l.due.index:
        schedule_free(&l.lead)
        if schedule_copy(&l.lead, &l.due) < 0:
            l.lead.due = INT64_MAX
            return 0
    while l.lead.due <= now:
        schedule_take(&l.lead)
    return <int64_t>((l.lead.index - l.due.index) // l.due.every)


cdef void on_tick(timer_node *timer) noexcept nogil:
    """Ticks are whole seconds before and after the measured part begins."""
    cdef load *l = <load *>timer.owner
    if l.tick_at == l.measure_at:
        counting(l, l.measure_at)
        return
    if l.tick_at >= l.end_at:  # the last interval ends with the run
        return
    lay_ready(l, now_ns(), False)
    l.tick_at += TICK
    reactor_timer_set(l.r, timer, l.tick_at)


cdef inline tally *counting(load *l, int64_t at) noexcept nogil:
    """What is counted into when something happened at `at`."""
    if at >= l.measure_at and not l.active.measured:
        begin_measuring(l)
    return l.active


cdef void begin_measuring(load *l) noexcept nogil:
    lay_ready(l, l.measure_at, True)
    l.tick_at = l.measure_at + TICK
    reactor_timer_set(l.r, &l.tick_timer, l.tick_at)


# ---------------------------------------------------------------- begin and end

cdef void begin(load *l) noexcept nogil:
    cdef int i
    poller_precise()
    l.cpu_at = clock_ns(CLOCK_THREAD_CPUTIME_ID)
    l.tick_at = l.measure_at - (l.measure_at - l.start) // TICK * TICK
    if l.tick_at <= l.start:
        l.tick_at += TICK
    l.active.began_at = l.start
    l.active.measured = l.start >= l.measure_at
    reactor_timer_set(l.r, &l.tick_timer, l.tick_at)
    if l.end_at != INT64_MAX:
        reactor_timer_set(l.r, &l.end_timer, l.end_at)
    for i in range(l.lane_count):
        if l.open:
            park(&l.lanes[i])
        else:
            reactor_timer_set(l.r, &l.lanes[i].rest, l.start)
    if l.left == 0:
        finish(l)
    elif l.open:
        start_due(l)


cdef void end(load *l, int64_t at) noexcept nogil:
    """Nothing new is sent; what is under way gets its grace."""
    if l.ending:
        return
    l.ending = True
    l.end_at = at
    reactor_timer_clear(l.r, &l.due_timer)
    while l.open and l.left != 0 and l.due.due < at:
        if l.due.due >= l.measure_at:
            l.active.counts[TALLY_SCHEDULED] += 1
            l.active.counts[TALLY_UNSENT] += 1
            if l.left > 0:
                l.left -= 1
        schedule_take(&l.due)
    if l.in_flight and l.grace:
        reactor_timer_set(l.r, &l.end_timer, at + l.grace)
    else:
        finish(l)


cdef void on_end(timer_node *timer) noexcept nogil:
    cdef load *l = <load *>timer.owner
    if l.ending:
        finish(l)
    else:
        end(l, l.end_at)


cdef void look_for_end(load *l) noexcept nogil:
    """All that was to start has started: is it over?"""
    if l.left == 0 and l.measured_in_flight == 0:
        finish(l)
    elif l.ending and l.in_flight == 0:
        finish(l)


cdef void finish(load *l) noexcept nogil:
    cdef int64_t now = now_ns()
    cdef int i
    if l.over:
        return
    l.over = True
    l.ending = True
    if l.end_at > now:
        l.end_at = now
    note_state(l, l.end_at)
    while l.busy.first != NULL:
        give_up(l.busy.first)
    for i in range(l.lane_count):
        reactor_timer_clear(l.r, &l.lanes[i].rest)
        drop(&l.lanes[i])
    reactor_timer_clear(l.r, &l.due_timer)
    reactor_timer_clear(l.r, &l.timeout_timer)
    reactor_timer_clear(l.r, &l.end_timer)
    reactor_timer_clear(l.r, &l.tick_timer)
    defer(&l.r.later, &l.sweep)


cdef void give_up(lane *a) noexcept nogil:
    """Its grace is over."""
    cdef trip t
    unlink(&a.l.busy, a)
    if a.c != NULL:
        courier_halt(a.c)
    else:
        read_wire(a, &t)
    if a.measured:
        note_send(a, &a.c.t if a.c != NULL else &t)
        a.l.active.counts[TALLY_UNFINISHED] += 1


cdef void sweep(void *owner) noexcept nogil:
    """libcurl's handles go when it is not at work on them."""
    cdef load *l = <load *>owner
    cdef int i
    if l.multi_count:
        l.active.counts[TALLY_CLOSED] += <uint64_t>(l.opened - open_sockets(l))
    for i in range(l.lane_count):
        if l.lanes[i].c != NULL:
            courier_free(l.lanes[i].c)
            l.lanes[i].c = NULL
    for i in range(l.multi_count):
        multi_free(l.multis[i])
    l.multi_count = 0
    l.o.last.kind = EVENT_DONE
    l.o.last.target = &l.o
    reactor_emit(l.r, &l.o.last)


cdef void on_command(op *o, unsigned commands) noexcept nogil:
    cdef load *l = <load *>o.place
    if l.over:
        return
    if commands & COMMAND_START:
        begin(l)
    if commands & COMMAND_RATE and l.open and not l.ending:
        change_rate(l)
    if commands & COMMAND_ABORT and not l.ending:
        l.stopped = True
        end(l, max(now_ns(), l.start))


cdef void change_rate(load *l) noexcept nogil:
    cdef int failed
    pthread_mutex_lock(&l.lock)
    failed = schedule_set_rate(&l.due, l.new_rate_at, l.new_rate)
    failed |= schedule_set_rate(&l.lead, l.new_rate_at, l.new_rate)
    pthread_mutex_unlock(&l.lock)
    if failed:  # memory is out: better no load than a wrong one
        l.stopped = True
        end(l, now_ns())
    else:
        start_due(l)


@cython.final
cdef class Load(Operation):
    """One worker's share of a run. It begins when it is made; all times are ns."""

    def __cinit__(
        self, Engine engine not None, Settings settings not None, *, bytes url not None,
        bytes head not None, bytes body not None, bint for_head, bint idempotent, verb, lines,
        long http_version, int connections, int streams, bint open_model, stages, double rate_after, bint poisson, uint64_t seed, uint64_t first,
        uint64_t every, int64_t start, int64_t warmup, int64_t duration, int64_t requests,
        int64_t think, int64_t timeout, int64_t grace, int64_t late_after, statuses,
        int64_t length,
    ):
        cdef load *l = &self.l
        self.settings = settings
        self.kept = (url, head, body, verb)
        self.first, self.second = Tally(), Tally()
        l.active, l.laid = self.first.t, self.second.t
        tally_prepare(l.active, 2)
        tally_prepare(l.laid, 2)
        l.r = &engine.r
        l.set = &settings.c
        l.asked.url = url
        l.asked.tls = url.startswith(b"https")
        l.asked.nodelay = settings.c.nodelay
        l.request.kind = HTTP1_FOR_HEAD if for_head else HTTP1_PLAIN
        l.request.head = head
        l.request.head_length = len(head)
        l.request.body = body
        l.request.body_length = len(body)
        l.idempotent = idempotent
        l.open = open_model
        l.start = start
        l.measure_at = start + warmup
        l.end_at = INT64_MAX if duration < 0 else l.measure_at + duration
        l.think, l.timeout, l.grace, l.late_after = think, timeout, grace, late_after
        l.left = requests
        l.length = length
        for status in range(1000):
            l.right[status] = status in statuses if statuses else status < 400
        pthread_mutex_init(&l.lock, NULL)
        self.make_schedule(stages, rate_after, poisson, seed, first, every)
        self.make_lanes(connections * streams)
        if http_version:
            self.ask_libcurl(verb, lines, http_version, streams > 1)
            self.make_couriers(connections)
        l.sweep.run = sweep
        l.sweep.owner = l
        l.due_timer.owner = l.timeout_timer.owner = l.end_timer.owner = l.tick_timer.owner = l
        l.due_timer.fire = on_due
        l.timeout_timer.fire = on_timeout
        l.end_timer.fire = on_end
        l.tick_timer.fire = on_tick
        l.o.command = on_command
        l.o.owner = <void *>self
        l.o.place = l
        engine.submit(self, &l.o, COMMAND_START)

    def __dealloc__(self):
        cdef int i
        schedule_free(&self.l.due)
        schedule_free(&self.l.lead)
        for i in range(self.l.lane_count):  # where it was never begun
            if self.l.lanes[i].c != NULL:
                courier_free(self.l.lanes[i].c)
        for i in range(self.l.multi_count):
            multi_free(self.l.multis[i])
        free(self.l.multis)
        free(self.l.lanes)
        curl.slist_free_all(self.l.asked_of_libcurl.headers)

    cdef int make_schedule(
            self, stages, double after, bint poisson, uint64_t seed, uint64_t first,
            uint64_t every) except -1:
        cdef int count = len(stages)
        cdef int i, failed
        cdef schedule_stage *given = <schedule_stage *>calloc(count + 1, sizeof(schedule_stage))
        if given == NULL:
            raise MemoryError
        try:
            for i in range(count):
                given[i].length, given[i].at_start, given[i].at_end = stages[i]
            failed = schedule_init(
                &self.l.due, given, count, after, self.l.start, poisson, seed, first, every)
        finally:
            free(given)
        if failed or schedule_copy(&self.l.lead, &self.l.due):
            raise MemoryError
        return 0

    cdef int make_lanes(self, int count) except -1:
        cdef load *l = &self.l
        cdef int i
        l.lanes = <lane *>calloc(count, sizeof(lane))
        if l.lanes == NULL:
            raise MemoryError
        l.lane_count = count
        for i in range(count):
            l.lanes[i].l = l
            l.lanes[i].rest.fire = on_rested
            l.lanes[i].rest.owner = &l.lanes[i]
        return 0

    cdef int ask_libcurl(self, verb, lines, long http_version, bint shared) except -1:
        cdef errand *asked = &self.l.asked_of_libcurl
        asked.url = self.l.asked.url
        asked.tls = self.l.asked.tls
        asked.head = self.l.request.kind == HTTP1_FOR_HEAD
        if verb is not None:
            asked.verb = <bytes>verb
        if self.l.request.body_length:
            asked.body = self.l.request.body
        asked.body_length = <int64_t>self.l.request.body_length
        asked.http_version = http_version
        asked.shared = shared
        asked.headers = slist(lines)
        return 0

    cdef int make_couriers(self, int connections) except -1:
        """Each connection gets as many as it is to carry at once, neighbours from several."""
        cdef load *l = &self.l
        cdef int i
        l.multis = <multi **>calloc(connections, sizeof(multi *))
        if l.multis == NULL:
            raise MemoryError
        for i in range(connections):
            l.multis[i] = courier_connection(l.r)
            if l.multis[i] == NULL:
                raise MemoryError
            l.multi_count += 1
        for i in range(l.lane_count):
            l.lanes[i].c = courier_new(
                l.multis[i % connections], l.set, &l.asked_of_libcurl, &l.lanes[i], on_over)
            if l.lanes[i].c == NULL:
                raise MemoryError
        return 0

    def set_rate(self, double rate, int64_t at):
        """From `at` on `rate` requests a second, of all workers, are due. From any thread."""
        pthread_mutex_lock(&self.l.lock)
        self.l.new_rate = rate
        self.l.new_rate_at = at
        pthread_mutex_unlock(&self.l.lock)
        self.post(COMMAND_RATE)

    def stop(self):
        """Nothing new is sent from now on. From any thread."""
        self.post(COMMAND_ABORT)

    cdef int post(self, unsigned command) except -1:
        if not self.over:
            reactor_post(self.l.r, &self.l.o, command)
        return 0

    cdef int handle(self, event *e) except -1:
        self.over = True
        self.release(&self.l.o)
        return 0

    def collect(self, Tally into not None):
        """Adds the last interval that nobody has fetched; False: there is none. By one thread."""
        cdef tally *t = NULL
        if word_get(&self.l.ready):
            t = self.l.laid
        elif self.over and not self.fetched:
            self.fetched = True
            t = self.l.active
        if t == NULL:
            return False
        tally_add(into.t, t)
        if t.measured:
            self.cpu += t.cpu
        if t == self.l.laid and not self.fetched:
            tally_reset(t)
            word_set(&self.l.ready, 0)
        return True

    @property
    def stopped(self):
        """Whether it was stopped before its end."""
        return bool(self.l.stopped)

    @property
    def ended_at(self):
        """When the measured part ended, or will; None: not known yet."""
        return None if self.l.end_at == INT64_MAX else self.l.end_at

    @property
    def http(self):
        """1, 2 or 3: the version of the last response; 0: there was none."""
        return self.l.http

    @property
    def peer(self):
        """(address, port) that the last connection was made to; ("", 0): there was none."""
        return self.l.ip.decode("ascii"), self.l.port
