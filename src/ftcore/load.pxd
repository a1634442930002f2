"""A share of a load run on one engine: requests start when they are due, and are counted.

A *lane* carries one request at a time. It is idle, busy, or resting (think time, or the pause after
a failure); over HTTP/1.1 it has a connection of its own (`wire`), made for the first request that
finds it without one; over libcurl (HTTP/2, 3, proxies) a handle (`courier`), of which as many as
there are streams share a connection. In the open model requests that are due and find no idle lane
wait in no queue: the schedule says again when they were due. Nothing is allocated for a request.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from ftcore.arrivals cimport schedule
from ftcore.connection cimport connecting
from ftcore.courier cimport courier, errand
from ftcore.engine cimport Engine, Operation
from ftcore.multi cimport multi
from ftcore.op cimport atomic_word, op
from ftcore.reactor cimport deferred, reactor, timer_node
from ftcore.settings cimport Settings, pthread_mutex_t, settings
from ftcore.tally cimport Tally, tally
from ftcore.wire cimport wire, wire_request

cdef struct generator

cdef struct lane:
    generator *g
    wire *w              # NULL: it has no connection
    courier *c           # over libcurl; all its life
    lane *before         # in the list of those idle, or those busy (by `taken`)
    lane *after
    bint busy
    bint measured        # the request was due in the measured part
    bint retried
    int failures         # in a row
    int64_t due          # when its request was
    int64_t taken        # when the lane took it up
    int64_t free_at      # since when it could take up the next
    int64_t body         # bytes of the body so far, over a wire
    timer_node rest

cdef struct lane_list:
    lane *first
    lane *last

cdef struct generator:
    reactor *r
    settings *set
    op o
    connecting asked
    wire_request request
    errand asked_of_libcurl  # `url` NULL: not over libcurl
    multi **multis           # owned; a connection each
    int multi_count
    long opened
    lane *lanes              # owned
    int lane_count
    lane_list warm           # idle, with a connection
    lane_list cold           # idle, without
    lane_list busy
    bint open                # the open model
    bint idempotent          # may be sent again when a stale connection took it
    schedule due             # open model
    schedule lead            # ... gone ahead to count those that wait
    timer_node due_timer
    timer_node timeout_timer
    timer_node end_timer
    timer_node tick_timer
    deferred sweep
    int64_t start, measure_at, end_at    # ns; end_at INT64_MAX: when `left` is 0
    int64_t think, timeout, grace, late_after
    int64_t left             # requests of the measured part yet to start; -1: no limit
    int64_t length           # bytes of a right body; -1: any
    char right[1000]         # whether a status is
    int in_flight
    int measured_in_flight
    int connections          # wires that stand
    int http                 # 1, 2, 3; 0: no answer yet
    bint starting            # what is due is being started
    bint ending              # nothing new is sent
    bint stopped             # by the caller, before its end
    bint over
    tally *active            # what is counted into; `counting` gives it
    tally *laid              # what was laid ready
    atomic_word ready        # 1: it is, and nobody has fetched it
    int64_t tick_at
    int64_t cpu_at           # CPU time at the last tick
    pthread_mutex_t lock     # of the two below
    double new_rate
    int64_t new_rate_at
    char ip[46]
    int port

cdef class Load(Operation):
    cdef generator g
    cdef Engine home
    cdef Settings settings
    cdef Tally first
    cdef Tally second
    cdef tuple kept          # bytes that `g` points into
    cdef readonly bint over
    cdef bint fetched        # the last tally was
    cdef readonly long long cpu   # ns, in the measured part, as far as it was fetched
    cdef int make_lanes(self, int count) except -1
    cdef int ask_libcurl(self, verb, lines, long http_version, bint shared) except -1
    cdef int make_couriers(self, int connections) except -1
    cdef int post(self, unsigned command) except -1
