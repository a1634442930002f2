"""The loop: poller, timers, inbox, outbox. Knows no protocol and no Python object.

Everything here runs without the GIL, in the one thread that drives the reactor, but for
`reactor_post` and `reactor_wake`, which any thread may call.
"""
from libc.stdint cimport int64_t

from ftcore.op cimport atomic_word, event, inbox, op, slab

cdef extern from "c/heap.h" nogil:
    ctypedef struct timer_node:
        int64_t deadline
        size_t place
        void (*fire)(timer_node *) noexcept nogil
        void *owner
    ctypedef struct timer_heap:
        size_t count

cdef extern from "c/poller.h" nogil:
    enum: POLLER_READ
    enum: POLLER_WRITE
    enum: POLLER_ERROR
    ctypedef struct poller:
        int fd
        int wake_fd
        int timer_fd

cdef extern from "c/datagram.h" nogil:
    ctypedef union datagram_address:
        pass

cdef extern from "c/resolve.h" nogil:
    struct lookup:
        int family
        int failed             # an EAI_* code
        int count
        datagram_address *found
        void (*discard)(lookup *) noexcept nogil
        void *owner
        char *name

cdef enum:
    SCRATCH = 65536

cdef struct source:
    # What the reactor knows of a descriptor; indexed by it.
    void (*ready)(void *, int, unsigned) noexcept nogil
    void *owner
    unsigned wanted      # POLLER_READ | POLLER_WRITE
    unsigned registered  # what the poller was told; may lag behind `wanted`
    bint kept            # opened and closed through us
    bint single          # plain HTTP/1 and idle: whatever comes in now is wrong
    unsigned rtt_us      # the kernel's, and when it was asked
    int64_t rtt_at
    int64_t sampled_at   # when a round-trip time of it went into the estimates; 0: never
    int64_t opened_at    # just before it began to connect; tells it from others of its number
    int64_t stands_at    # TCP stands
    bint datagrams       # QUIC
    bint stamped         # the kernel notes when bytes came in
    bint shared          # h2 and h3
    bint fresh           # nothing of the answer has come in yet
    int64_t awaited_at   # when the first bytes came in of an answer that is awaited; 0: none did
    bint in_parts        # an answer's bytes were seen to have come in at several times
    unsigned char looks  # counts answers, to look twice at some

cdef struct deferred:
    # Work for a little later; queued at most once.
    deferred *next
    void (*run)(void *) noexcept nogil
    void *owner
    bint queued

cdef struct deferred_list:
    deferred *first
    deferred *last

cdef struct reactor:
    poller poll
    timer_heap timers
    inbox posted
    atomic_word asleep
    source *sources      # owned
    int source_count
    event *out_first
    event *out_last
    event *spare_events  # owned
    void *ready          # owned; poller_events
    int ready_next       # the first that was not handed out
    int ready_count
    deferred_list first  # at the start of the next step, before it looks at descriptors
    deferred_list soon   # after the current command or event
    deferred_list later  # after all commands, and at the end of the step
    deferred_list next   # in the next step, when what there is was delivered
    deferred_list postponed  # ... which is this one
    atomic_word interrupted
    int64_t now          # at the last look
    int64_t turn         # counts calls of reactor_step
    int64_t armed        # what the poller's own timer is set to
    int64_t epoch_offset
    int64_t wall_offset  # the same, at most WALL_EVERY old: the wall clock is slewed, or set
    int64_t wall_at
    int stamping         # owned; a socket that keeps the kernel's stamps switched on; -1: not open
    slab *reading        # one hold; sockets read into it, one after the other
    size_t reading_used
    size_t read_now      # bytes of streams, in this turn
    char *scratch        # owned, of SCRATCH bytes, from the first use: for what nobody keeps
    void *datagrams      # owned; a batch_receiver, from the first use
    void *lookups        # a lookup_box, from the first use

cdef int reactor_open(reactor *) noexcept nogil
cdef void reactor_close(reactor *) noexcept nogil
cdef void reactor_post(reactor *, op *, unsigned command) noexcept nogil
cdef int reactor_run(reactor *, int64_t timeout) noexcept nogil
# Lets go of the memory that is read into: after delivery, or when nobody has bytes in it.
cdef void reactor_lighten(reactor *, bint delivered) noexcept nogil
cdef void reactor_rest(reactor *) noexcept nogil
cdef void reactor_wake(reactor *) noexcept nogil
cdef int reactor_timer_set(reactor *, timer_node *, int64_t deadline) noexcept nogil
cdef void reactor_timer_clear(reactor *, timer_node *) noexcept nogil
cdef void defer(deferred_list *, deferred *) noexcept nogil
# Before the memory of a deferred goes, that is in this list if it is queued; of `next` in any step.
cdef void undefer(deferred_list *, deferred *) noexcept nogil
cdef void undefer_next(reactor *, deferred *) noexcept nogil
# The scratch memory; NULL when memory is out.
cdef char *reactor_scratch(reactor *) noexcept nogil
cdef source *reactor_source(reactor *, int fd) noexcept nogil
# A descriptor that is not watched; a forked child must close it, too. False: memory is out.
cdef bint reactor_hold(reactor *, int fd) noexcept nogil
# Looks a host name up on another thread; then the command of `o` is run, with COMMAND_START, unless
# the reactor was closed before that: then `discard` is. 0, or an errno.
cdef int reactor_look_up(reactor *, lookup *, op *o) noexcept nogil
# In a forked child: it has none of those threads.
cdef void reactor_after_fork() noexcept nogil
# The kernel notes from now on when what comes in on a socket did, a TCP connection or one for
# datagrams. May move the sources.
cdef void reactor_stamp(reactor *, int fd, bint datagrams) noexcept nogil
# A moment of the wall clock, as the kernel's stamps are, on our clock; 0 stays 0.
cdef int64_t reactor_from_wall(reactor *, int64_t wall) noexcept nogil
cdef int reactor_watch(reactor *, int fd, unsigned wanted) noexcept nogil
cdef void reactor_forget(reactor *, int fd) noexcept nogil
cdef void reactor_emit(reactor *, event *) noexcept nogil
cdef event *reactor_event(reactor *) noexcept nogil
cdef void reactor_spare(reactor *, event *) noexcept nogil
