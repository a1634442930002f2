"""The words of the engine. Read this first.

An *operation* is a piece of work that a caller handed in: it is embedded in a Python object (its
owner), which the engine keeps alive from submission until the last event has been delivered.
*Commands* go in through the reactor's inbox, from any thread; *events* come out through its
outbox, in order, in the thread that drives the engine. Between the two no Python is touched.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t

cdef extern from "c/clock.h" nogil:
    int64_t now_ns()
    int64_t epoch_offset_ns()

cdef extern from "c/queue.h" nogil:
    ctypedef struct inbox_node:
        inbox_node *next
    ctypedef struct inbox:
        pass
    ctypedef struct atomic_word:
        pass
    ctypedef struct atomic_amount:
        pass
    void inbox_init(inbox *)
    void inbox_push(inbox *, inbox_node *)
    bint inbox_empty(inbox *)
    inbox_node *inbox_take(inbox *)
    unsigned word_get(atomic_word *)
    void word_set(atomic_word *, unsigned)
    unsigned word_swap(atomic_word *, unsigned)
    unsigned word_or(atomic_word *, unsigned)
    unsigned word_add(atomic_word *, unsigned)
    unsigned word_sub(atomic_word *, unsigned)
    size_t amount_get(atomic_amount *)
    void amount_add(atomic_amount *, size_t)
    void amount_sub(atomic_amount *, size_t)

cdef extern from "c/slab.h" nogil:
    enum: SLAB_ROOM
    enum: SLAB_SMALL_ROOM
    enum: SLAB_LARGEST
    ctypedef struct slab:
        size_t room
        char data[1]
    void slab_hold(slab *)
    bint slab_is_mine(slab *)

# Outcomes of the engine's own, beside libcurl's positive codes.
cdef enum:
    OUTCOME_OK = 0
    OUTCOME_ABORTED = -1
    OUTCOME_TIMEOUT = -2
    OUTCOME_TOO_MANY_REDIRECTS = -3
    OUTCOME_INSECURE_REDIRECT = -4
    OUTCOME_BAD_REDIRECT = -5
    OUTCOME_BODY_TOO_LARGE = -6
    OUTCOME_NO_HEADERS = -7
    OUTCOME_TOO_MANY_INTERIM = -8
    OUTCOME_NO_MEMORY = -9
    OUTCOME_CLOSED = -10
    OUTCOME_TOO_MANY_TASKS = -11
    OUTCOME_BAD_FRAMING = -13       # -12 is ftnet's: a body that is not of the type asked for
    OUTCOME_NOT_REPEATED = -14
    OUTCOME_FILE = -15              # os_errno says why
    OUTCOME_FILE_BUSY = -16
    OUTCOME_FILE_CHANGED = -17
    OUTCOME_NOT_A_FILE = -18

cdef enum:
    COMMAND_START = 1
    COMMAND_ABORT = 2
    COMMAND_PAUSE = 4
    COMMAND_RESUME = 8
    COMMAND_DRAINED = 16  # a listener has caught up
    COMMAND_LISTEN = 32   # a listener came; it gets what no other has had
    COMMAND_HELD = 64     # the end is kept back by a pause; the time limit still holds
    COMMAND_CLOSE = 128
    COMMAND_SEND = 256
    COMMAND_ACCEPT = 512
    COMMAND_FAREWELL = 1024
    COMMAND_LEAVE = 2048  # close it, when what is queued is sent
    COMMAND_RATE = 4096   # a load run has another rate

cdef enum:
    EVENT_HEADERS = 1
    EVENT_CHUNK = 2
    EVENT_DONE = 3     # the last one that callers hear of
    EVENT_FLUSH = 4    # held-back events may be delivered now
    EVENT_PROGRESS = 6
    EVENT_SENT = 7
    EVENT_DRAINED = 8
    EVENT_FAULT = 9
    EVENT_PROBLEM = 11  # something failed, what it is about goes on
    EVENT_END = 12     # the peer sends no more
    EVENT_OPEN = 13
    EVENT_RELEASE = 5  # a command was still under way at EVENT_DONE; now the owner can go

cdef struct op

cdef struct event:
    event *next
    op *target
    int kind
    bint pooled            # goes back to the reactor's spare events
    slab *memory           # EVENT_CHUNK: one hold on it
    char *start
    size_t length
    unsigned detail        # what the kind's room says it is

cdef struct op:
    inbox_node link        # first: the inbox hands back its address
    atomic_word commands   # COMMAND_* not yet seen by the reactor
    atomic_word queued     # 1 while in the inbox
    void (*command)(op *, unsigned) noexcept nogil
    void *owner            # the Operation this is embedded in
    void *place            # what the command works on, where the op alone does not tell
    event last             # EVENT_DONE, and EVENT_RELEASE where that has to wait
    bint release_owed      # EVENT_DONE came while a command was under way
