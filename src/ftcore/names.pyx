"""Host names of a UDP socket. See names.pxd."""
from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport strcmp, strncpy

from ftcore.datagram cimport datagram, datagram_at_port, datagram_name
from ftcore.op cimport now_ns, op
from ftcore.reactor cimport lookup, reactor_look_up

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET
    enum: AF_INET6

cdef enum:
    NAME_ROOM = 255
    NAMES_AT_MOST = 64

cdef int64_t GOOD_FOR = 60 * 1000000000  # ns: CURLOPT_DNS_CACHE_TIMEOUT's default


cdef void discard(lookup *l) noexcept nogil:
    """The reactor was closed meanwhile; nothing waits."""
    free(<name *>l)


cdef void on_answer(op *o, unsigned commands) noexcept nogil:
    cdef name *n = <name *>o.place
    cdef names *of = n.of
    cdef datagram *waiting = n.first
    cdef datagram *d = n.first
    if of == NULL:
        free(n)
        return
    n.asking = False
    of.asking -= 1
    n.first = n.last = NULL
    while d != NULL:
        if is_for(d, n):
            answer(d, n)
        d = d.next
    of.answered(of.owner, n, waiting)


cdef bint is_for(datagram *d, name *n) noexcept nogil:
    return d.named and n.l.family == (AF_INET6 if d.six else AF_INET) and (
        strcmp(n.l.name, datagram_name(d)) == 0)


cdef void answer(datagram *d, name *n) noexcept nogil:
    d.failed = n.l.failed
    if not d.failed:
        datagram_at_port(&d.to, &n.l.found[0], d.port)
        d.named = False


cdef name *find(names *of, datagram *d) noexcept nogil:
    cdef name *n = of.first
    while n != NULL and not is_for(d, n):
        n = n.next
    return n


cdef void forget_answered(names *of) noexcept nogil:
    cdef name **at = &of.first
    cdef name *n
    while at[0] != NULL:
        n = at[0]
        if n.asking:
            at = &n.next
        else:
            at[0] = n.next
            of.count -= 1
            free(n)


cdef int ask(names *of, name *n, datagram *d) noexcept nogil:
    cdef int failed
    n.l.failed = 0
    n.asked_at = now_ns()
    failed = reactor_look_up(of.r, &n.l, &n.o)
    if failed:
        return -failed
    n.asking = True
    of.asking += 1
    names_wait(n, d)
    return 0


cdef int names_find(names *of, datagram *d) noexcept nogil:
    cdef name *n = find(of, d)
    if n == NULL:
        if of.count >= NAMES_AT_MOST:
            forget_answered(of)
        n = <name *>calloc(1, sizeof(name))
        if n == NULL:
            return -ENOMEM
        n.l.family = AF_INET6 if d.six else AF_INET
        n.l.discard = discard
        strncpy(n.l.name, datagram_name(d), NAME_ROOM)
        n.o.command = on_answer
        n.o.place = n
        n.of = of
        n.next = of.first
        of.first = n
        of.count += 1
    elif n.asking:
        names_wait(n, d)
        return 0
    elif n.l.failed == 0 and n.l.count and now_ns() - n.asked_at < GOOD_FOR:
        answer(d, n)
        return 1
    return ask(of, n, d)


cdef name *names_asked(names *of, datagram *d) noexcept nogil:
    cdef name *n = find(of, d)
    return n if n != NULL and n.asking else NULL


cdef void names_wait(name *n, datagram *d) noexcept nogil:
    d.next = NULL
    if n.last != NULL:
        n.last.next = d
    else:
        n.first = d
    n.last = d


cdef datagram *names_close(names *of) noexcept nogil:
    """A name that is being looked up is freed when the answer comes."""
    cdef name *n = of.first
    cdef name *following
    cdef datagram *waiting = NULL
    while n != NULL:
        following = n.next
        if n.last != NULL:
            n.last.next = waiting
            waiting = n.first
        n.first = n.last = NULL
        if n.asking:
            n.of = NULL
        else:
            free(n)
        n = following
    of.first = NULL
    of.count = of.asking = 0
    return waiting
