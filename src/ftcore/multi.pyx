"""A ring of libcurl multi handles on a reactor. See multi.pxd."""
from libc.errno cimport ENOMEM, errno
from libc.stdint cimport INT64_MAX
from libc.stdlib cimport calloc, free
from posix.unistd cimport close

from ftcore.libcurl cimport (
    CURL_CSELECT_ERR, CURL_CSELECT_IN, CURL_CSELECT_OUT, CURL_POLL_IN, CURL_POLL_OUT,
    CURL_POLL_REMOVE, CURL_SOCKET_TIMEOUT, CURLMOPT_MAXCONNECTS, CURLMOPT_SOCKETDATA,
    CURLMOPT_SOCKETFUNCTION, CURLMOPT_TIMERDATA, CURLMOPT_TIMERFUNCTION, CURLMSG_DONE, CURLMsg,
    curl,
)
from ftcore.op cimport now_ns
from ftcore.reactor cimport (
    POLLER_ERROR, POLLER_READ, POLLER_WRITE, defer, reactor_forget, reactor_from_wall,
    reactor_source, reactor_stamp, reactor_timer_clear, reactor_timer_set, reactor_watch, source,
    undefer, undefer_next,
)

cdef extern from "c/sock.h" nogil:
    int sock_open(int, int, int)
    unsigned sock_connect_us(int)
    int64_t sock_first_came_at(int)
    int64_t sock_last_came_at(int)
    int64_t sock_datagram_came_at(int)

cdef extern from "<sys/socket.h>" nogil:
    enum: SOCK_DGRAM

cdef enum:
    SOCK_TYPE_MASK = 0xF  # Linux has flags beside it
    LOOK_TWICE = 8


cdef void act(multi *m, int fd, int flags) noexcept nogil:
    """Lets libcurl work on one socket, or on what is due, and takes what has finished."""
    cdef int running, left, result
    cdef CURLMsg *message
    cdef CURL *easy
    m.acts += 1
    curl.multi_socket_action(m.handle, fd, flags, &running)
    message = curl.multi_info_read(m.handle, &left)
    while message != NULL:
        if message.msg == CURLMSG_DONE:
            easy = message.easy_handle
            result = message.data.result
            m.done(easy, result)
        message = curl.multi_info_read(m.handle, &left)
    m.at_work = -1


cdef void multi_look(multi *m, int fd) noexcept nogil:
    """Asking costs half a µs. Most responses come in one segment, whose first byte is as old as its
    last: the first is asked for where the peer was seen to send in parts, and now and then. Where
    several answers come on one connection the first byte may be of another one.
    """
    cdef source *s = &m.r.sources[fd]
    m.at_work = fd
    m.first_at = m.last_at = 0
    if not s.kept:
        return  # of libcurl's own
    multi_stands(m, fd)
    if s.datagrams:
        return
    if not s.stamped:
        s.stamped = True
        reactor_stamp(m.r, fd, False)
        s = &m.r.sources[fd]
    m.last_at = reactor_from_wall(m.r, sock_last_came_at(fd))
    m.first_at = m.last_at
    if m.last_at and (m.running == 1 if s.shared else s.fresh):
        s.looks += 1
        if s.in_parts or s.looks % LOOK_TWICE == 1:
            m.first_at = reactor_from_wall(m.r, sock_first_came_at(fd))
            s.in_parts = s.in_parts or m.first_at < m.last_at
    if s.fresh and s.awaited_at == 0:
        s.awaited_at = m.first_at


cdef int64_t multi_stands(multi *m, int fd) noexcept nogil:
    cdef source *s = &m.r.sources[fd]
    cdef int64_t took = 0
    if s.stands_at or s.opened_at == 0:
        return s.stands_at
    s.stands_at = now_ns()
    if not s.datagrams:
        took = sock_connect_us(fd) * 1000
    if took and s.opened_at + took < s.stands_at:
        s.stands_at = s.opened_at + took
    return s.stands_at


cdef int64_t came_at(multi *m, int fd, int64_t at) noexcept nogil:
    cdef int64_t now
    if m.profiled == 0 or fd < 0 or fd != m.at_work:
        return 0
    if m.r.sources[fd].datagrams:
        at = reactor_from_wall(m.r, sock_datagram_came_at(fd))
    if at <= m.r.now:
        return at
    now = now_ns()
    return at if at < now else now


cdef int64_t multi_first_came_at(multi *m, int fd) noexcept nogil:
    return came_at(m, fd, m.first_at)


cdef int64_t multi_last_came_at(multi *m, int fd) noexcept nogil:
    return came_at(m, fd, m.last_at)


cdef void on_ready(void *owner, int fd, unsigned ready) noexcept nogil:
    cdef multi *m = <multi *>owner
    cdef int flags = 0
    if ready & POLLER_READ:
        flags |= CURL_CSELECT_IN
    if ready & POLLER_WRITE:
        flags |= CURL_CSELECT_OUT
    if ready & POLLER_ERROR:
        flags |= CURL_CSELECT_ERR
    if m.profiled and not ready & POLLER_ERROR:
        multi_look(m, fd)
        if m.first_at > m.r.now:  # what woke us had come by then; the rest was put to it since
            m.first_at = m.r.now
    act(m, fd, flags)


cdef int on_socket(CURL *easy, int fd, int what, void *owner, void *unused) noexcept nogil:
    """CURLMOPT_SOCKETFUNCTION: what libcurl wants to know of a socket."""
    cdef multi *m = <multi *>owner
    cdef source *s = reactor_source(m.r, fd)
    cdef unsigned wanted = 0
    if s == NULL:
        return -1
    if what != CURL_POLL_REMOVE:
        if what & CURL_POLL_IN:
            wanted |= POLLER_READ
        if what & CURL_POLL_OUT:
            wanted |= POLLER_WRITE
        s.ready = on_ready
        s.owner = m
        s.single = False  # not idle any more
        if what & CURL_POLL_IN and s.kept:
            multi_stands(m, fd)
            if m.watches != NULL:
                m.watches(easy, fd)
    return -1 if reactor_watch(m.r, fd, wanted) else 0


cdef int on_timer(CURLM *handle, long ms, void *owner) noexcept nogil:
    """CURLMOPT_TIMERFUNCTION: when libcurl wants to be called; -1: not at all."""
    cdef multi *m = <multi *>owner
    if ms == 0:
        m.deadline = INT64_MAX
        if not m.kick.queued:
            m.kick_waits = m.patient and m.kicked_turn == m.r.turn
            m.kicked_turn = m.r.turn
            defer(&m.r.next if m.kick_waits else &m.r.soon, &m.kick)
        return 0
    if ms < 0:
        m.deadline = INT64_MAX
        return 0
    m.deadline = now_ns() + <int64_t>ms * 1000000
    if m.timer.place and m.timer.deadline <= m.deadline:
        return 0
    return reactor_timer_set(m.r, &m.timer, m.deadline)


cdef void on_due(timer_node *node) noexcept nogil:
    cdef multi *m = <multi *>node.owner
    if m.deadline == INT64_MAX:
        return
    if m.deadline > m.r.now:
        reactor_timer_set(m.r, node, m.deadline)
        return
    m.deadline = INT64_MAX
    act(m, CURL_SOCKET_TIMEOUT, 0)


cdef void on_kick(void *owner) noexcept nogil:
    act(<multi *>owner, CURL_SOCKET_TIMEOUT, 0)


cdef multi *multi_new(reactor *r, done_function done, long keep_connections) noexcept nogil:
    """NULL when memory (or descriptors) are out."""
    global multis_alive
    cdef multi *m = <multi *>calloc(1, sizeof(multi))
    if m == NULL:
        return NULL
    m.handle = curl.multi_init()
    if m.handle == NULL:
        free(m)
        return NULL
    m.r = r
    m.done = done
    m.at_work = -1
    m.deadline = INT64_MAX
    m.timer.owner = m
    m.timer.fire = on_due
    m.kick.owner = m
    m.kick.run = on_kick
    curl.multi_setopt(m.handle, CURLMOPT_SOCKETFUNCTION, on_socket)
    curl.multi_setopt(m.handle, CURLMOPT_SOCKETDATA, m)
    curl.multi_setopt(m.handle, CURLMOPT_TIMERFUNCTION, on_timer)
    curl.multi_setopt(m.handle, CURLMOPT_TIMERDATA, m)
    curl.multi_setopt(m.handle, CURLMOPT_MAXCONNECTS, keep_connections)
    multis_alive += 1
    return m


cdef void multi_free(multi *m) noexcept nogil:
    """No transfer may be left on it."""
    global multis_alive
    curl.multi_cleanup(m.handle)
    reactor_timer_clear(m.r, &m.timer)
    if m.kick_waits:
        undefer_next(m.r, &m.kick)
    else:
        undefer(&m.r.soon, &m.kick)
    multis_alive -= 1
    free(m)


cdef int multi_add(multi *m, CURL *easy) noexcept nogil:
    """0, or a CURLMcode."""
    cdef int failed = curl.multi_add_handle(m.handle, easy)
    if failed == 0:
        m.running += 1
    return failed


cdef void multi_remove(multi *m, CURL *easy) noexcept nogil:
    """Also ends a transfer that is under way; never from inside a callback of libcurl's."""
    curl.multi_remove_handle(m.handle, easy)
    m.running -= 1


cdef int multi_open_socket(
        multi *m, curl_sockaddr *address, int64_t *opened_at, int *last, long *os_errno
) noexcept nogil:
    """The descriptor, or -1. Ours to close, so its registration may be kept between requests."""
    cdef int fd
    cdef source *s
    cdef int64_t now = now_ns()
    if opened_at[0] == 0:
        opened_at[0] = now
    fd = sock_open(address.family, address.socktype, address.protocol)
    if fd < 0:
        os_errno[0] = errno
        return -1
    s = reactor_source(m.r, fd)
    if s == NULL:
        close(fd)
        os_errno[0] = ENOMEM
        return -1
    s.ready = on_ready
    s.owner = m
    s.wanted = s.registered = 0
    s.kept = True
    s.single = s.stamped = s.shared = s.fresh = s.in_parts = False
    s.looks = 0
    s.datagrams = address.socktype & SOCK_TYPE_MASK == SOCK_DGRAM
    s.opened_at = now
    s.stands_at = s.rtt_at = s.sampled_at = s.awaited_at = 0
    m.sockets += 1
    if s.datagrams and m.profiled:
        reactor_stamp(m.r, fd, True)
    last[0] = fd
    return fd


cdef void multi_connect_socket(multi *m, int fd, int64_t *opened_at) noexcept nogil:
    """It was opened and set up, which took its time; now it connects."""
    cdef source *s = &m.r.sources[fd]
    cdef int64_t now = now_ns()
    if opened_at[0] == s.opened_at:
        opened_at[0] = now
    s.opened_at = now


cdef int multi_close_socket(void *owner, int fd) noexcept nogil:
    """CURLOPT_CLOSESOCKETFUNCTION; the owner is the multi handle the socket was opened on."""
    cdef multi *m = <multi *>owner
    reactor_forget(m.r, fd)
    m.sockets -= 1
    return close(fd)


def alive():
    """Multi handles alive."""
    return multis_alive
