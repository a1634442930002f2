"""The network quality that a Client estimates from its requests. See quality.pxd."""
cimport cython

from ftcore.op cimport now_ns, word_set, word_swap
from ftcore.settings cimport pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock

import os
import weakref

cdef extern from "c/quality.h" nogil:
    enum: QUALITY_KEPT
    void quality_init(quality *, int64_t now)
    void quality_reset(quality *, int64_t now)
    void quality_compute(quality *, int64_t now)
    void quality_refresh(quality *, int64_t now)
    void quality_begin(quality *, watch *, int kind, int64_t now)
    void quality_heard(quality *, watch *, int64_t bytes, int64_t now)
    void quality_end(quality *, watch *, int64_t bytes, int64_t now)
    void quality_http_rtt(quality *, const watch *, int64_t us, int64_t now)
    int quality_transport_rtt(quality *, int64_t us, int64_t last, int64_t now)

cdef extern from "c/network.h" nogil:
    bint network_is_private(const char *)
    bint network_is_up()

cdef enum:
    LOOK_EVERY = 10  # seconds, for interfaces

KEPT = QUALITY_KEPT
estimators = weakref.WeakSet()


cdef void look(estimator *e, int64_t now) noexcept nogil:
    """Private hosts may be reached without a network, the others not."""
    if not e.private_hosts and now - e.looked_at >= LOOK_EVERY * <int64_t>1000000000:
        e.looked_at = now
        e.q.offline = not network_is_up()


cdef void pass_on(estimator *e) noexcept nogil:
    if e.q.news:
        e.q.news = 0
        word_set(&e.news, 1)


cdef void estimator_begin(
        estimator *e, watch *w, const char *peer, bint get, int64_t now) noexcept nogil:
    cdef int kind = QUALITY_GET if get else QUALITY_OTHER
    if not e.private_hosts and network_is_private(peer):
        kind = QUALITY_DEGRADING
    pthread_mutex_lock(&e.lock)
    quality_begin(&e.q, w, kind, now)
    pthread_mutex_unlock(&e.lock)


cdef void estimator_heard(estimator *e, watch *w, int64_t bytes, int64_t now) noexcept nogil:
    if w.kind == QUALITY_ABSENT:
        return
    pthread_mutex_lock(&e.lock)
    quality_heard(&e.q, w, bytes, now)
    pthread_mutex_unlock(&e.lock)


cdef quality_estimate estimator_end(
        estimator *e, watch *w, findings *f, int64_t now) noexcept nogil:
    cdef quality_estimate before
    pthread_mutex_lock(&e.lock)
    look(e, now)
    quality_refresh(&e.q, now)
    before = e.q.now
    if w.kind == QUALITY_GET or w.kind == QUALITY_OTHER:
        quality_http_rtt(&e.q, w, f.http_rtt_us, now)
        if f.transport_at != NULL and quality_transport_rtt(
                &e.q, f.transport_rtt_us, f.transport_at[0], now):
            f.transport_at[0] = now
    quality_end(&e.q, w, f.bytes, now)
    quality_refresh(&e.q, now)
    pass_on(e)
    pthread_mutex_unlock(&e.lock)
    return before


@cython.final
cdef class Estimator:
    """A Client's estimates of the quality of its network.

    ``private_hosts`` whether requests to private and loopback addresses count. ``listener`` is
    called, None or a function of no arguments, in a thread that drives an engine, when estimates
    have changed enough.
    """

    def __cinit__(self, bint private_hosts=True):
        self.c.private_hosts = private_hosts
        pthread_mutex_init(&self.c.lock, NULL)
        quality_init(&self.c.q, now_ns())
        estimators.add(self)

    cdef int tell(self) except -1:
        """If there are news, and somebody who listens."""
        if word_swap(&self.c.news, 0) and self.listener is not None:
            self.listener()
        return 0

    def read(self, bint anew=True):
        """The estimates, now or when they were computed last: (type, HTTP RTT in µs,
        transport RTT in µs, kbit/s); 0 is unknown.

        Then how many observations each of the last three is made of, the default left out.
        """
        cdef quality_estimate now
        cdef int64_t https, transports, throughputs
        pthread_mutex_lock(&self.c.lock)
        if anew:
            self.c.looked_at = 0
            look(&self.c, now_ns())
            quality_compute(&self.c.q, now_ns())
            pass_on(&self.c)
        now = self.c.q.now
        https = self.c.q.http_rtt.added
        transports = self.c.q.transport_rtt.added
        throughputs = self.c.q.throughput.added
        pthread_mutex_unlock(&self.c.lock)
        return (
            now.type, now.http_rtt_us, now.transport_rtt_us, now.downstream_kbps,
            min(https, KEPT), min(transports, KEPT), min(throughputs, KEPT),
        )

    def reset(self):
        """Forgets all observations, as when the network has changed."""
        pthread_mutex_lock(&self.c.lock)
        quality_reset(&self.c.q, now_ns())
        pass_on(&self.c)
        pthread_mutex_unlock(&self.c.lock)


def after_fork_in_child():
    """The lock may have been held, and the requests under way are the parent's."""
    cdef Estimator one
    for one in list(estimators):
        pthread_mutex_init(&one.c.lock, NULL)
        quality_init(&one.c.q, now_ns())
        word_set(&one.c.news, 0)


os.register_at_fork(after_in_child=after_fork_in_child)
