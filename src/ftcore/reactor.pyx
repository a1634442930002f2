"""The loop: poller, timers, inbox, outbox. See reactor.pxd."""
from libc.errno cimport ENOMEM
from libc.stdint cimport INT64_MAX
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset
from posix.unistd cimport close

from ftcore.buffers cimport memory_drop
from ftcore.op cimport (
    COMMAND_START, EVENT_RELEASE, epoch_offset_ns, inbox_empty, inbox_init, inbox_node, inbox_push,
    inbox_take, now_ns, slab_is_mine, word_or, word_set, word_swap,
)

cdef extern from "c/heap.h" nogil:
    void heap_free(timer_heap *)
    int heap_arm(timer_heap *, timer_node *, int64_t)
    void heap_disarm(timer_heap *, timer_node *)
    timer_node *heap_due(timer_heap *, int64_t)
    int64_t heap_next(const timer_heap *)

cdef extern from "c/poller.h" nogil:
    void poller_precise()
    ctypedef struct poller_event:
        int fd
        unsigned ready
    const char poller_name[]
    int poller_open(poller *)
    void poller_close(poller *)
    int poller_set(poller *, int, unsigned, unsigned)
    int poller_wait(poller *, poller_event *, int, int64_t)
    void poller_wake(poller *)
    void poller_arm(poller *, int64_t)

cdef extern from "c/sock.h" nogil:
    int sock_open(int, int, int)
    void sock_end(int)
    bint sock_readable(int)
    void sock_stamp(int)
    void sock_stamp_datagrams(int)

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET
    enum: SOCK_DGRAM

cdef extern from "c/batch.h" nogil:
    ctypedef struct batch_receiver:
        pass
    void batch_receiver_free(batch_receiver *)

cdef extern from "c/resolve.h" nogil:
    ctypedef struct lookup_box:
        pass
    lookup_box *lookup_box_new(void *, void (*)(void *, lookup *) noexcept nogil)
    void lookup_box_close(lookup_box *)
    int lookup_start(lookup *, lookup_box *)
    void lookups_after_fork()

cdef enum:
    BATCH = 256
    WALL_EVERY = 10000000  # ns: half a percent of slewing is 50 ns
    TURN_ROOM = 262144  # bytes that were read: with more, they leave the cache before delivery


def kind():
    """The name of the poller this build uses: "epoll" or "kqueue"."""
    return poller_name.decode()


def precise_timers():
    """The calling thread's waits end when they should, not up to 50 us later (Linux)."""
    poller_precise()


cdef int reactor_open(reactor *r) noexcept nogil:
    """0, or -errno."""
    memset(r, 0, sizeof(reactor))
    inbox_init(&r.posted)
    r.armed = INT64_MAX
    r.stamping = -1
    r.epoch_offset = epoch_offset_ns()
    r.now = now_ns()
    r.ready = calloc(BATCH, sizeof(poller_event))
    return poller_open(&r.poll) if r.ready != NULL else -ENOMEM


cdef void reactor_close(reactor *r) noexcept nogil:
    cdef event *e
    if r.lookups != NULL:
        lookup_box_close(<lookup_box *>r.lookups)
        drop_answers(r)
    poller_close(&r.poll)
    if r.stamping >= 0:
        close(r.stamping)
        r.stamping = -1
    batch_receiver_free(<batch_receiver *>r.datagrams)
    if r.reading != NULL:
        memory_drop(r.reading)
        r.reading = NULL
    heap_free(&r.timers)
    free(r.ready)
    free(r.scratch)
    r.ready = NULL
    r.scratch = NULL
    r.ready_next = r.ready_count = 0
    free(r.sources)
    r.sources = NULL
    r.source_count = 0
    while r.spare_events != NULL:
        e = r.spare_events
        r.spare_events = e.next
        free(e)


cdef void drop_answers(reactor *r) noexcept nogil:
    """All operations have ended: what is posted are look-ups that nobody waits for any more."""
    cdef inbox_node *node = inbox_take(&r.posted)
    cdef inbox_node *following
    while node != NULL:
        following = node.next
        (<op *>node).command(<op *>node, 0)
        node = following


cdef void reactor_post(reactor *r, op *o, unsigned command) noexcept nogil:
    word_or(&o.commands, command)
    if word_swap(&o.queued, 1) == 0:
        inbox_push(&r.posted, &o.link)
    if word_swap(&r.asleep, 0) == 1:
        poller_wake(&r.poll)


cdef void take_posted(reactor *r) noexcept nogil:
    cdef inbox_node *node = inbox_take(&r.posted)
    cdef inbox_node *following
    cdef op *o
    while node != NULL:
        following = node.next
        o = <op *>node
        word_set(&o.queued, 0)
        if o.release_owed:
            o.release_owed = False
            o.last.kind = EVENT_RELEASE
            reactor_emit(r, &o.last)
        else:
            o.command(o, word_swap(&o.commands, 0))
            run_deferred(&r.soon)
        node = following
    run_all_deferred(r)


cdef int64_t waiting_time(reactor *r, int64_t timeout) noexcept nogil:
    cdef int64_t due = heap_next(&r.timers)
    if r.out_first != NULL or r.next.first != NULL or r.ready_next < r.ready_count:
        return 0
    if due == INT64_MAX:
        return timeout
    due = due - now_ns()
    if due < 0:
        due = 0
    return due if timeout < 0 or due < timeout else timeout


cdef void hand_out(reactor *r) noexcept nogil:
    """What is ready, until enough was read for this turn; the rest comes in the next."""
    cdef poller_event *e
    cdef source *s
    while r.ready_next < r.ready_count and r.read_now < TURN_ROOM:
        e = <poller_event *>r.ready + r.ready_next
        r.ready_next += 1
        if e.fd < 0 or e.fd >= r.source_count:
            continue
        s = &r.sources[e.fd]
        if s.wanted == 0:
            # nobody's wish any more: now that it costs a wake-up, the poller is told so
            poller_set(&r.poll, e.fd, s.registered, 0)
            s.registered = 0
            if s.kept and s.single and sock_readable(e.fd):
                # closed by the peer, or an answer that nobody asked for: libcurl must not take it
                # for the answer to the next request
                sock_end(e.fd)
            continue
        s.ready(s.owner, e.fd, e.ready)


cdef int step(reactor *r, int64_t timeout) noexcept nogil:
    """One turn: one wait of at most `timeout` ns (< 0: no limit), what is ready, commands, timers.

    Commands come after what is ready, so that a connection that died in its idle time is known to
    be dead before it gets a request; timers last, so that what has come in is not too late.
    0, or -errno (EINTR: a signal came while waiting).
    """
    cdef timer_node *due
    cdef int count = 0
    r.turn += 1
    r.read_now = 0
    run_deferred(&r.first)
    timeout = waiting_time(r, timeout)
    if timeout != 0:
        word_set(&r.asleep, 1)
        if not inbox_empty(&r.posted):
            timeout = 0
    if r.ready_next == r.ready_count:
        count = poller_wait(&r.poll, <poller_event *>r.ready, BATCH, timeout)
        r.ready_next = 0
        r.ready_count = count if count > 0 else 0
    word_set(&r.asleep, 0)
    r.now = now_ns()
    r.postponed = r.next
    r.next.first = r.next.last = NULL
    hand_out(r)
    run_all_deferred(r)
    run_deferred(&r.postponed)
    run_all_deferred(r)
    take_posted(r)
    due = heap_due(&r.timers, r.now)
    while due != NULL:
        due.fire(due)
        due = heap_due(&r.timers, r.now)
    run_all_deferred(r)
    return count if count < 0 else 0


cdef int reactor_run(reactor *r, int64_t timeout) noexcept nogil:
    """Turns until there is an event to deliver, or `timeout` ns are over (< 0: no limit; 0: one
    turn), or `reactor_wake`.

    Whoever drives must not ask for the GIL without need: while another thread holds it, requests
    would wait. 0, or -errno (EINTR: a signal came while waiting).
    """
    cdef int64_t limit = now_ns() + timeout
    cdef int failed = step(r, timeout)
    while failed == 0 and timeout != 0 and r.out_first == NULL:
        if word_swap(&r.interrupted, 0):
            break
        if timeout > 0:
            timeout = limit - now_ns()
            if timeout <= 0:
                break
        failed = step(r, timeout)
    return failed


cdef void reactor_rest(reactor *r) noexcept nogil:
    """Between steps, for a loop that waits on our descriptor: it tells of timers and commands."""
    cdef int64_t due
    run_deferred(&r.first)
    due = heap_next(&r.timers)
    if r.armed <= r.now:
        r.armed = INT64_MAX
    if due < r.armed:
        poller_arm(&r.poll, due)
        r.armed = due
    word_set(&r.asleep, 1)
    if (r.out_first != NULL or r.next.first != NULL or r.ready_next < r.ready_count or (
            not inbox_empty(&r.posted))) and word_swap(&r.asleep, 0) == 1:
        poller_wake(&r.poll)


cdef void reactor_lighten(reactor *r, bint delivered) noexcept nogil:
    if r.reading != NULL and (delivered or slab_is_mine(r.reading)):
        memory_drop(r.reading)
        r.reading = NULL


cdef void reactor_wake(reactor *r) noexcept nogil:
    """Ends `reactor_run`; from any thread."""
    word_set(&r.interrupted, 1)
    poller_wake(&r.poll)


cdef int reactor_timer_set(reactor *r, timer_node *node, int64_t deadline) noexcept nogil:
    """Arms or moves a timer; 0, or -1 when memory is out."""
    return heap_arm(&r.timers, node, deadline)


cdef void reactor_timer_clear(reactor *r, timer_node *node) noexcept nogil:
    heap_disarm(&r.timers, node)


cdef void defer(deferred_list *l, deferred *d) noexcept nogil:
    if d.queued:
        return
    d.queued = True
    d.next = NULL
    if l.last != NULL:
        l.last.next = d
    else:
        l.first = d
    l.last = d


cdef bint take_out(deferred_list *l, deferred *d) noexcept nogil:
    """Whether it was in there."""
    cdef deferred *before = NULL
    cdef deferred *at = l.first
    while at != NULL and at != d:
        before = at
        at = at.next
    if at == NULL:
        return False
    if before == NULL:
        l.first = d.next
    else:
        before.next = d.next
    if l.last == d:
        l.last = before
    d.queued = False
    return True


cdef void undefer(deferred_list *l, deferred *d) noexcept nogil:
    if d.queued:
        take_out(l, d)


cdef void undefer_next(reactor *r, deferred *d) noexcept nogil:
    if d.queued and not take_out(&r.next, d):
        take_out(&r.postponed, d)


cdef void run_deferred(deferred_list *l) noexcept nogil:
    cdef deferred *d = l.first
    while d != NULL:
        l.first = d.next
        if d.next == NULL:
            l.last = NULL
        d.queued = False
        d.run(d.owner)
        d = l.first


cdef void run_all_deferred(reactor *r) noexcept nogil:
    """What runs later may ask for something to run soon; not the other way round."""
    run_deferred(&r.soon)
    while r.later.first != NULL:
        run_deferred(&r.later)
        run_deferred(&r.soon)


cdef char *reactor_scratch(reactor *r) noexcept nogil:
    if r.scratch == NULL:
        r.scratch = <char *>malloc(SCRATCH)
    return r.scratch


cdef source *reactor_source(reactor *r, int fd) noexcept nogil:
    """The entry of a descriptor; NULL when memory is out."""
    cdef int count
    cdef source *grown
    if fd >= r.source_count:
        count = r.source_count * 2 if r.source_count * 2 > fd else fd + 64
        grown = <source *>realloc(r.sources, count * sizeof(source))
        if grown == NULL:
            return NULL
        memset(grown + r.source_count, 0, (count - r.source_count) * sizeof(source))
        r.sources = grown
        r.source_count = count
    return &r.sources[fd]


cdef bint reactor_hold(reactor *r, int fd) noexcept nogil:
    cdef source *s = reactor_source(r, fd)
    if s != NULL:
        memset(s, 0, sizeof(source))
        s.kept = True
    return s != NULL


cdef void reactor_stamp(reactor *r, int fd, bint datagrams) noexcept nogil:
    """Switching the kernel's stamps on with each connection, and off with its end, would halt all
    processors each time: a socket of our own keeps them on. Without one they are just dearer.
    """
    if r.stamping < 0:
        r.stamping = sock_open(AF_INET, SOCK_DGRAM, 0)
        if r.stamping >= 0 and reactor_hold(r, r.stamping):
            sock_stamp(r.stamping)
    if datagrams:
        sock_stamp_datagrams(fd)
    else:
        sock_stamp(fd)


cdef int64_t reactor_from_wall(reactor *r, int64_t wall) noexcept nogil:
    if wall == 0:
        return 0
    if r.now - r.wall_at > WALL_EVERY or r.wall_at == 0:
        r.wall_at = r.now
        r.wall_offset = epoch_offset_ns()
    return wall - r.wall_offset


cdef int reactor_watch(reactor *r, int fd, unsigned wanted) noexcept nogil:
    """Says what a descriptor is watched for; its entry has `ready` and `owner` set. 0, or -errno.

    The wish for nothing is not passed on: the next request on the same connection will want it
    again, and two system calls a request are saved. A descriptor that libcurl closes itself may
    be another by then, so only the poller knows whether one that is not `kept` is registered.
    """
    cdef source *s = &r.sources[fd]
    cdef int failed
    s.wanted = wanted
    if wanted == 0 or (wanted == s.registered and s.kept):
        return 0
    failed = poller_set(&r.poll, fd, s.registered, wanted)
    if failed == 0:
        s.registered = wanted
    return failed


cdef void reactor_forget(reactor *r, int fd) noexcept nogil:
    """Before a kept descriptor is closed."""
    cdef int i
    for i in range(r.ready_next, r.ready_count):  # another may soon have its number
        if (<poller_event *>r.ready)[i].fd == fd:
            (<poller_event *>r.ready)[i].fd = -1
    if fd < r.source_count:
        if r.sources[fd].registered:
            poller_set(&r.poll, fd, r.sources[fd].registered, 0)
        memset(&r.sources[fd], 0, sizeof(source))


cdef void on_looked_up(void *owner, lookup *l) noexcept nogil:
    """In a helper thread."""
    reactor_post(<reactor *>owner, <op *>l.owner, COMMAND_START)


cdef int reactor_look_up(reactor *r, lookup *l, op *o) noexcept nogil:
    l.owner = o
    if r.lookups == NULL:
        r.lookups = lookup_box_new(r, on_looked_up)
        if r.lookups == NULL:
            return ENOMEM
    return lookup_start(l, <lookup_box *>r.lookups)


cdef void reactor_after_fork() noexcept nogil:
    lookups_after_fork()


cdef void reactor_emit(reactor *r, event *e) noexcept nogil:
    e.next = NULL
    if r.out_last != NULL:
        r.out_last.next = e
    else:
        r.out_first = e
    r.out_last = e


cdef event *reactor_event(reactor *r) noexcept nogil:
    """A spare event, zeroed; NULL when memory is out."""
    cdef event *e = r.spare_events
    if e == NULL:
        e = <event *>calloc(1, sizeof(event))
    else:
        r.spare_events = e.next
        memset(e, 0, sizeof(event))
    if e != NULL:
        e.pooled = True
    return e


cdef void reactor_spare(reactor *r, event *e) noexcept nogil:
    e.next = r.spare_events
    r.spare_events = e
