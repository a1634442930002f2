"""A Client's connections on one engine: where a transfer runs, the queue, redirects, commands."""
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from ftcore.body cimport body_close, body_open
from ftcore.decode cimport decoder_finished
from ftcore.libcurl cimport (
    CURL, CURLE_BAD_CONTENT_ENCODING, CURLE_PARTIAL_FILE, CURLE_RANGE_ERROR, CURLINFO_OS_ERRNO,
    CURLINFO_PRIVATE, CURLINFO_REDIRECT_URL, CURLPAUSE_CONT, curl,
)
from ftcore.multi cimport multi, multi_add, multi_free, multi_new, multi_remove
from ftcore.native cimport (
    native_add_bytes, native_arrived_at, native_close, native_flow, native_give_slot,
    native_launch, native_leave, native_read_phases, native_redirect, native_serves,
    native_take_slot,
)
from ftcore.op cimport (
    COMMAND_ABORT, COMMAND_DRAINED, COMMAND_HELD, COMMAND_LISTEN, COMMAND_PAUSE, COMMAND_RESUME,
    COMMAND_START, EVENT_DONE, EVENT_FLUSH, OUTCOME_ABORTED, OUTCOME_CLOSED,
    OUTCOME_FILE, OUTCOME_FILE_BUSY, OUTCOME_FILE_CHANGED,
    OUTCOME_NOT_A_FILE, OUTCOME_NO_HEADERS, OUTCOME_NO_MEMORY, OUTCOME_OK, OUTCOME_TIMEOUT,
    OUTCOME_TOO_MANY_TASKS, now_ns, op,
)
from ftcore.profile cimport (
    ENDED_AT, FETCH_START, QUEUE_END, QUEUE_START, REDIRECT_END, REDIRECT_START, RESPONSE_END,
)
from ftcore.reactor cimport (
    defer, reactor_emit, reactor_timer_clear, reactor_timer_set, timer_node, undefer_next,
)
from ftcore.redirect cimport redirect_headers, redirect_to
from ftcore.response cimport response_catch_up
from ftcore.samples cimport samples_end
from ftcore.settings cimport template
from ftcore.sink cimport SINK_FAILED, SINK_START_OVER, sink_answer, sink_end, sink_open
from ftcore.slot cimport (
    EARLY_END, ENDED, NEW, RUNNING, START_OVER, WAITING, origin, pool, slot, slot_clear, slot_free,
    slot_new, slot_prepare, slot_watches, xfer,
)
from ftcore.timing cimport (
    timing_add_bytes, timing_arrived_at, timing_leave_connection, timing_read_phases,
)

cdef extern from "<errno.h>" nogil:
    enum: EBUSY
    enum: ESTALE

cdef extern from "c/file.h" nogil:
    enum: FILE_NOT_REGULAR

cdef enum:
    CONNECTIONS_PER_MULTI = 32   # see multi.pxd
    MULTIS_AT_MOST = 256
    STREAMS_PER_CONNECTION = 100
    WAITING_AT_MOST = 1000000


cdef long begun[2]


# ---------------------------------------------------------------- places to run

cdef origin *origin_of(pool *p, int number) noexcept nogil:
    """NULL when memory is out."""
    cdef int count
    cdef origin *grown
    if number >= p.origin_count:
        count = number + 16
        grown = <origin *>realloc(p.origins, count * sizeof(origin))
        if grown == NULL:
            return NULL
        memset(grown + p.origin_count, 0, (count - p.origin_count) * sizeof(origin))
        p.origins = grown
        p.origin_count = count
    return &p.origins[number]


cdef int add_multi(pool *p, long http_version) noexcept nogil:
    """Place of a new multi handle, -1 when memory or descriptors are out."""
    cdef multi **grown
    cdef multi *m
    grown = <multi **>realloc(p.multis, (p.multi_count + 1) * sizeof(void *))
    if grown == NULL:
        return -1
    p.multis = grown
    m = multi_new(p.r, on_done, p.set.max_connections)
    if m == NULL:
        return -1
    m.http_version = http_version
    m.watches = slot_watches
    p.multis[p.multi_count] = m
    p.multi_count += 1
    return p.multi_count - 1


cdef int choose_multi(pool *p, origin *g, template *t) noexcept nogil:
    """Place of the multi handle to run on; -1 when there is none.

    One with an idle connection to the origin if there is one, else the least loaded. What may
    be multiplexed stays together, so that it can share a connection.
    """
    if g.idle_count:
        if t.multiplex and g.multiplexed:
            return g.idle[0]
        g.idle_count -= 1
        return g.idle[g.idle_count]
    if t.multiplex and not g.single:
        if g.home == 0:
            g.home = least_loaded(p, t.http_version) + 1
        return g.home - 1
    return least_loaded(p, t.http_version)


cdef int least_loaded(pool *p, long http_version) noexcept nogil:
    """Place of a multi handle for new connections; -1 when there is none.

    One HTTP version a handle: else libcurl would serve a request that may use HTTP/2 over the idle
    connection of one that may not.
    """
    cdef int i, load, best = -1, fallback = -1, least = CONNECTIONS_PER_MULTI
    for i in range(p.multi_count):
        if p.multis[i].http_version != http_version:
            continue
        fallback = i
        load = p.multis[i].sockets
        if p.multis[i].running > load:
            load = p.multis[i].running
        if load < least:
            least = load
            best = i
    if best >= 0:
        return best
    if p.multi_count < MULTIS_AT_MOST or fallback < 0:
        i = add_multi(p, http_version)
        return i if i >= 0 else fallback
    p.next_full += 1
    while p.multis[p.next_full % p.multi_count].http_version != http_version:
        p.next_full += 1
    return p.next_full % p.multi_count


cdef void remember_idle(origin *g, int place, bint multiplexed) noexcept nogil:
    """A connection to the origin may now be idle on that multi handle."""
    cdef int *grown
    if multiplexed and g.idle_count:
        return
    if g.idle_count == g.idle_room:
        grown = <int *>realloc(g.idle, (g.idle_room * 2 + 16) * sizeof(int))
        if grown == NULL:
            return  # only a hint
        g.idle = grown
        g.idle_room = g.idle_room * 2 + 16
    g.idle[g.idle_count] = place
    g.idle_count += 1


cdef slot *take_slot(pool *p, int place) noexcept nogil:
    cdef multi *m = p.multis[place]
    cdef slot *s = <slot *>m.spare
    if s != NULL:
        m.spare = s.next
        return s
    s = slot_new(m, p.set)
    if s != NULL:
        s.place = place
        s.all_next = p.slots
        p.slots = s
    return s


cdef void pool_give_slot(slot *s) noexcept nogil:
    if s.easy == NULL:
        native_give_slot(s.x.home, s)
        return
    slot_clear(s)
    s.x = NULL
    s.next = <slot *>s.m.spare
    s.m.spare = s


# ---------------------------------------------------------------- the queue

cdef bint has_room(pool *p, origin *g, xfer *x) noexcept nogil:
    cdef template *t = x.t
    cdef int64_t per_host = p.set.max_connections_per_host
    cdef int open = p.running + p.files
    if open and has_file(x) and open + p.extra + 2 > p.set.max_descriptors:
        return False
    if t.multiplex and g.multiplexed:
        return g.running < per_host * STREAMS_PER_CONNECTION
    return g.running < per_host and p.running < p.set.max_connections


cdef bint has_file(xfer *x) noexcept nogil:
    return x.source != NULL or x.file != NULL


cdef void list_origin(pool *p, int number) noexcept nogil:
    cdef origin *g = &p.origins[number]
    if g.listed:
        return
    g.listed = True
    g.previous = -1
    g.following = p.first_listed
    if p.first_listed >= 0:
        p.origins[p.first_listed].previous = number
    p.first_listed = number


cdef void unlist_origin(pool *p, int number) noexcept nogil:
    cdef origin *g = &p.origins[number]
    if g.previous >= 0:
        p.origins[g.previous].following = g.following
    else:
        p.first_listed = g.following
    if g.following >= 0:
        p.origins[g.following].previous = g.previous
    g.listed = False


cdef void enqueue(pool *p, xfer *x) noexcept nogil:
    cdef origin *g = &p.origins[x.t.origin]
    x.state = WAITING
    x.queue_following = NULL
    x.queue_previous = g.waiting_last
    if g.waiting_last != NULL:
        g.waiting_last.queue_following = x
    else:
        g.waiting_first = x
    g.waiting_last = x
    p.waiting += 1
    list_origin(p, x.t.origin)


cdef void dequeue(pool *p, xfer *x) noexcept nogil:
    cdef origin *g = &p.origins[x.t.origin]
    if x.queue_previous != NULL:
        x.queue_previous.queue_following = x.queue_following
    else:
        g.waiting_first = x.queue_following
    if x.queue_following != NULL:
        x.queue_following.queue_previous = x.queue_previous
    else:
        g.waiting_last = x.queue_previous
    x.state = NEW
    p.waiting -= 1
    if g.waiting_first == NULL:
        unlist_origin(p, x.t.origin)


cdef xfer *next_waiting(pool *p) noexcept nogil:
    """The transfer that has waited longest and may start; NULL when none may."""
    cdef xfer *best = NULL
    cdef xfer *head
    cdef int number = p.first_listed
    while number >= 0:
        head = p.origins[number].waiting_first
        if has_room(p, &p.origins[number], head) and (
                best == NULL or head.ph.at[QUEUE_START] < best.ph.at[QUEUE_START]):
            best = head
        number = p.origins[number].following
    return best


cdef void pool_start_waiting(void *owner) noexcept nogil:
    """As many as may start; after a batch of ends, so that aborting a queue starts nothing."""
    cdef pool *p = <pool *>owner
    cdef xfer *x
    while p.waiting:
        x = next_waiting(p)
        if x == NULL:
            break
        dequeue(p, x)
        start(p, x)


# ---------------------------------------------------------------- one transfer

cdef void start(pool *p, xfer *x) noexcept nogil:
    """Onto the wire."""
    cdef origin *g = origin_of(p, x.t.origin)
    if not open_files(x):
        finish(x, OUTCOME_FILE)
        return
    if not take_place(x):
        finish(x, OUTCOME_NO_MEMORY)
        return
    x.counted = not (x.t.multiplex and g.multiplexed)
    x.filed = has_file(x)
    p.running += x.counted
    p.files += x.filed
    g.running += 1
    x.state = RUNNING
    x.ph.at[QUEUE_END] = x.ph.at[FETCH_START] = now_ns()
    launch(x)


cdef bint take_place(xfer *x) noexcept nogil:
    """A slot on the lane that serves it. False: memory or descriptors are out."""
    cdef pool *p = x.home
    cdef int place
    cdef slot *s = NULL
    x.native = native_serves(x)
    if x.native:
        s = native_take_slot(p)
    else:
        place = choose_multi(p, origin_of(p, x.t.origin), x.t)
        if place >= 0:
            s = take_slot(p, place)
        if s != NULL:
            s.m.profiled += x.t.profile
    if s == NULL:
        return False
    begun[x.native] += 1
    s.x = x
    x.s = s
    return True


cdef bint open_files(xfer *x) noexcept nogil:
    """What is sent from files and written to them; no more are open than transfers run."""
    cdef sink_answer answer
    if x.source != NULL:
        if not body_open(x.source, x.home.r):
            return False
        x.body_length = x.progress_total = x.source.length
    if x.file != NULL:
        answer = sink_open(x.file, x.home.r)
        if answer == SINK_FAILED:
            return False
        if answer == SINK_START_OVER:
            x.whole = x.altered = True
            return redirect_headers(x)
    return True


cdef int file_outcome(xfer *x) noexcept nogil:
    """What went wrong with a file, and its errno."""
    cdef int problem = 0
    if x.source != NULL:
        problem = x.source.os_errno
    if problem == 0 and x.file != NULL:
        problem = x.file.os_errno
    x.os_errno = 0
    if problem == EBUSY:
        return OUTCOME_FILE_BUSY
    if problem == ESTALE:
        return OUTCOME_FILE_CHANGED
    if problem == FILE_NOT_REGULAR:
        return OUTCOME_NOT_A_FILE
    x.os_errno = problem
    return OUTCOME_FILE


cdef void launch(xfer *x) noexcept nogil:
    """Sends the request, or lets libcurl; also for the next hop of a redirect."""
    cdef slot *s = x.s
    if x.native:
        native_launch(x)
        return
    s.launched = s.m.acts
    if slot_prepare(s, x.home.set, x) != 0 or multi_add(s.m, s.easy) != 0:
        s.verdict = OUTCOME_NO_MEMORY
        s.m.running += 1  # `finish` will take it off
        finish(x, OUTCOME_NO_MEMORY)


cdef void finish(xfer *x, int outcome) noexcept nogil:
    """Ends a transfer, whatever its state, and tells its owner. Never inside a libcurl callback."""
    cdef pool *p = x.home
    cdef slot *s = x.s
    cdef origin *g
    if x.state == ENDED:
        return
    undefer_next(p.r, &x.breath)
    if x.source != NULL:
        body_close(x.source)
    if x.file != NULL and not sink_end(x.file, outcome == OUTCOME_OK) and outcome == OUTCOME_OK:
        outcome = OUTCOME_FILE if x.file.os_errno else CURLE_PARTIAL_FILE
    if x.t.profile:
        if s != NULL and x.native:
            native_read_phases(s, x, outcome)
        elif s != NULL:
            timing_read_phases(s, x, outcome)
        samples_end(s, x)
    if x.state == WAITING:
        dequeue(p, x)
        x.ph.at[QUEUE_END] = now_ns()
    elif s != NULL:
        g = &p.origins[x.t.origin]
        if x.native:
            native_leave(s)
        else:
            leave_multi(g, s)
        g.running -= 1
        p.running -= x.counted
        p.files -= x.filed
    x.state = ENDED
    x.outcome = file_outcome(x) if outcome == OUTCOME_FILE else outcome
    x.ph.at[ENDED_AT] = x.ph.at[RESPONSE_END] if x.ph.at[RESPONSE_END] else now_ns()
    reactor_timer_clear(p.r, &x.timer)
    reactor_timer_clear(p.r, &x.progress_timer)
    if x.previous != NULL:
        x.previous.following = x.following
    else:
        p.first = x.following
    if x.following != NULL:
        x.following.previous = x.previous
    x.o.last.kind = EVENT_DONE
    x.o.last.target = &x.o
    reactor_emit(p.r, &x.o.last)
    if p.waiting and not p.closed:
        defer(&p.r.next, &p.starter)


cdef void leave_multi(origin *g, slot *s) noexcept nogil:
    """libcurl has no more to do with it."""
    cdef xfer *x = s.x
    curl.easy_getinfo(s.easy, CURLINFO_OS_ERRNO, &x.os_errno)
    if s.open_errno:
        x.os_errno = s.open_errno
    elif x.os_errno == s.old_errno:
        x.os_errno = 0
    if s.first_byte_at:
        g.multiplexed = is_multiplexed(s)
        g.single = not g.multiplexed
        timing_leave_connection(s, g.single)
    multi_remove(s.m, s.easy)
    remember_idle(g, s.place, g.multiplexed)
    s.m.profiled -= x.t.profile


cdef bint is_multiplexed(slot *s) noexcept nogil:
    """Whether the response came over h2 or h3: its status line says "HTTP/2" or "HTTP/3"."""
    return s.head_length > 5 and (s.head[5] == 0x32 or s.head[5] == 0x33)


cdef void on_done(CURL *easy, int result) noexcept nogil:
    """libcurl has finished with a handle."""
    cdef slot *s = NULL
    curl.easy_getinfo(easy, CURLINFO_PRIVATE, &s)
    pool_settle(s, result)


cdef void pool_settle(slot *s, int result) noexcept nogil:
    """The exchange has ended, on either lane: is that the end, or does another follow?"""
    cdef int outcome = result
    if s.verdict == START_OVER:
        outcome = start_over(s.x)
        if outcome == OUTCOME_OK:
            return
    elif s.verdict == EARLY_END:
        outcome = OUTCOME_OK
    elif s.verdict:
        outcome = s.verdict
        s.error[0] = 0  # libcurl's words for that a callback refused
    elif result == OUTCOME_OK and not s.head_done:
        # libcurl calls a response that was cut inside its header block a success
        outcome = OUTCOME_NO_HEADERS
    elif result == OUTCOME_OK and s.codec != NULL and not decoder_finished(s.codec):
        outcome = CURLE_BAD_CONTENT_ENCODING  # the message was complete, what it carried was not
    if outcome == OUTCOME_OK and s.redirecting:
        outcome = follow(s.x)
        if outcome == OUTCOME_OK:
            return
    finish(s.x, outcome)


cdef void on_timeout(timer_node *node) noexcept nogil:
    cdef xfer *x = <xfer *>node.owner
    if x.state == ENDED:
        x.expired = True
        flush(x)
    else:
        finish(x, OUTCOME_TIMEOUT)


cdef void flush(xfer *x) noexcept nogil:
    """Lets the owner look at what it holds back."""
    if not x.flush_queued:
        x.flush_queued = True
        x.flush_event.kind = EVENT_FLUSH
        x.flush_event.target = &x.o
        reactor_emit(x.home.r, &x.flush_event)


# ---------------------------------------------------------------- another request in its place

cdef int follow(xfer *x) noexcept nogil:
    """Starts the next hop; not OUTCOME_OK when that may not or cannot be."""
    cdef char *there = NULL
    cdef int outcome
    if x.native:
        there = native_redirect(x.s)
    else:
        curl.easy_getinfo(x.s.easy, CURLINFO_REDIRECT_URL, &there)
    outcome = redirect_to(x, there, x.s.status)
    if x.native:
        free(there)
    if outcome != OUTCOME_OK:
        return outcome
    if x.hops == 1:
        x.ph.at[REDIRECT_START] = x.ph.at[FETCH_START]
    x.ph.at[REDIRECT_END] = native_arrived_at(x.s) if x.native else timing_arrived_at(x.s)
    return send_again(x)


cdef int start_over(xfer *x) noexcept nogil:
    """What was kept of a file can't be gone on with: the whole is asked for."""
    if x.whole:
        return CURLE_RANGE_ERROR
    x.whole = True
    return send_again(x)


cdef int send_again(xfer *x) noexcept nogil:
    """Another request in the place of the one that has ended; not OUTCOME_OK when it can't be."""
    cdef slot *s = x.s
    x.altered = True
    if not redirect_headers(x):
        return OUTCOME_NO_MEMORY
    if x.native:
        native_add_bytes(s, &x.sent_before, &x.received_before)
        native_leave(s)
    else:
        timing_add_bytes(s, &x.sent_before, &x.received_before)
        multi_remove(s.m, s.easy)
    if x.native == native_serves(x):
        slot_clear(s)
    elif not change_lanes(x):
        return OUTCOME_NO_MEMORY
    x.ph.at[FETCH_START] = now_ns()
    launch(x)
    return OUTCOME_OK


cdef bint change_lanes(xfer *x) noexcept nogil:
    """The next hop is the other lane's. False: memory is out, and it stays where it was."""
    cdef slot *before = x.s
    if not take_place(x):
        x.native = before.easy == NULL
        return False
    if before.easy != NULL:
        before.m.profiled -= x.t.profile
    pool_give_slot(before)
    return True


# ---------------------------------------------------------------- commands

cdef void begin(xfer *x, bint aborted) noexcept nogil:
    cdef pool *p = x.home
    cdef origin *g = origin_of(p, x.t.origin)
    x.timer.owner = x
    x.timer.fire = on_timeout
    x.breath.owner = x
    x.breath.run = on_breath
    x.following = p.first
    if p.first != NULL:
        p.first.previous = x
    p.first = x
    if p.closed:
        finish(x, OUTCOME_CLOSED)
    elif aborted:  # before a byte of it is sent
        x.ph.at[QUEUE_END] = now_ns()
        finish(x, OUTCOME_ABORTED)
    elif g == NULL or reactor_timer_set(p.r, &x.timer, x.ph.at[QUEUE_START] + x.timeout) != 0:
        finish(x, OUTCOME_NO_MEMORY)
    elif g.waiting_first == NULL and has_room(p, g, x):
        start(p, x)
    elif p.waiting >= WAITING_AT_MOST:
        finish(x, OUTCOME_TOO_MANY_TASKS)
    else:
        enqueue(p, x)


cdef void let_flow(xfer *x) noexcept nogil:
    """Goes on with what was told to wait."""
    if not x.stalled or x.state != RUNNING or x.s == NULL:
        return
    x.stalled = False
    if x.native:
        native_flow(x)
    else:
        curl.easy_pause(x.s.easy, CURLPAUSE_CONT)


cdef void on_breath(void *owner) noexcept nogil:
    """Files have kept the thread for long enough; now it goes on."""
    cdef xfer *x = <xfer *>owner
    if not x.held:
        let_flow(x)


cdef void pool_on_transfer_command(op *o, unsigned commands) noexcept nogil:
    cdef xfer *x = <xfer *>o
    if commands & COMMAND_START:
        begin(x, commands & COMMAND_ABORT)
    if commands & COMMAND_ABORT:
        finish(x, OUTCOME_ABORTED)
    if commands & COMMAND_HELD and x.result_held:
        reactor_timer_set(x.home.r, &x.timer, x.ph.at[QUEUE_START] + x.timeout)
    if x.state == ENDED and not commands & COMMAND_RESUME:
        return
    if commands & COMMAND_PAUSE:
        x.held = True
    if commands & COMMAND_LISTEN and x.state == RUNNING:
        response_catch_up(x.s)
    if commands & COMMAND_RESUME:
        x.held = False
        let_flow(x)
        if x.state != ENDED or x.result_held:
            flush(x)
    if commands & COMMAND_DRAINED and not x.held:
        let_flow(x)


cdef void pool_on_command(op *o, unsigned commands) noexcept nogil:
    """COMMAND_CLOSE: every transfer ends; the handles go when its event has come through."""
    cdef pool *p = <pool *>o
    p.closed = True
    while p.first != NULL:
        finish(p.first, OUTCOME_CLOSED)
    native_close(p)
    o.last.kind = EVENT_DONE
    o.last.target = o
    reactor_emit(p.r, &o.last)


cdef long pool_begun(bint native) noexcept nogil:
    return begun[native]


cdef void pool_free_handles(pool *p) noexcept nogil:
    """All of libcurl's; no transfer is left."""
    cdef int i
    cdef slot *s = p.slots
    cdef slot *following
    undefer_next(p.r, &p.starter)
    while s != NULL:
        following = s.all_next
        slot_free(s)
        s = following
    p.slots = NULL
    for i in range(p.multi_count):
        multi_free(p.multis[i])
    free(p.multis)
    for i in range(p.origin_count):
        free(p.origins[i].idle)
    free(p.origins)
    p.multis = NULL
    p.origins = NULL
    p.multi_count = p.origin_count = 0
