"""A connection that we speak on ourselves, made by libcurl. See connection.pxd."""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.unistd cimport close

from ftcore.handle cimport (
    handle_set_constants, handle_set_network, handle_set_trust, handle_shook_hands,
)
from ftcore.libcurl cimport (
    CURLE_AGAIN, CURLE_OK, CURLE_OUT_OF_MEMORY, CURLE_RECV_ERROR, CURLE_SEND_ERROR,
    CURLINFO_ACTIVESOCKET, CURLINFO_OS_ERRNO, CURLINFO_PRIVATE, CURLINFO_TLS_SSL_PTR,
    CURLINFO_TOTAL_TIME_T, CURLOPT_BUFFERSIZE, CURLOPT_CLOSESOCKETDATA, CURLOPT_CLOSESOCKETFUNCTION,
    CURLOPT_CONNECT_ONLY, CURLOPT_CONNECT_TO, CURLOPT_ERRORBUFFER, CURLOPT_HTTPPROXYTUNNEL,
    CURLOPT_HTTP_VERSION, CURLOPT_INTERFACE, CURLOPT_IPRESOLVE, CURLOPT_LOCALPORT,
    CURLOPT_OPENSOCKETDATA, CURLOPT_OPENSOCKETFUNCTION, CURLOPT_PRIVATE, CURLOPT_SHARE,
    CURLOPT_SOCKOPTDATA, CURLOPT_SOCKOPTFUNCTION, CURLOPT_SSL_ENABLE_ALPN, CURLOPT_TCP_KEEPALIVE,
    CURLOPT_TCP_KEEPIDLE, CURLOPT_TCP_KEEPINTVL, CURLOPT_TCP_NODELAY, CURLOPT_URL,
    CURLSSLBACKEND_OPENSSL, CURL_HTTP_VERSION_1_1, CURL_IPRESOLVE_V4, CURL_IPRESOLVE_V6, curl,
    curl_sockaddr, curl_tlssessioninfo,
)
from ftcore.moments cimport moments_read_connect, moments_read_peer
from ftcore.multi cimport (
    multi_add, multi_close_socket, multi_connect_socket, multi_free, multi_new, multi_open_socket,
    multi_remove,
)
from ftcore.op cimport now_ns
from ftcore.profile cimport CONNECT_END, FETCH_START, SSL_END
from ftcore.reactor cimport defer, reactor_forget, reactor_hold, reactor_watch, source

cdef extern from "<sys/socket.h>" nogil:
    int64_t c_recv "recv"(int, void *, size_t, int)
    enum: MSG_NOSIGNAL

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    int64_t sendmsg(int, const msghdr *, int)

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *, const char *, size_t)

cdef extern from "c/sock.h" nogil:
    int sock_move(int)
    void sock_finish(int)
    int sock_name(int, int, char *, int *)
    int64_t sock_send(int, const void *, size_t)
    int64_t sock_recv(int, void *, size_t, int64_t *)
    int64_t sock_last_came_at(int)

cdef long connections_alive = 0


cdef int on_open_socket(void *owner, int purpose, curl_sockaddr *address) noexcept nogil:
    cdef connection *c = <connection *>owner
    return multi_open_socket(c.m, address, &c.opened_at, &c.last_fd, &c.os_errno)


cdef int on_connect_socket(void *owner, int fd, int purpose) noexcept nogil:
    cdef connection *c = <connection *>owner
    multi_connect_socket(c.m, fd, &c.opened_at)
    return 0


cdef void on_ready(void *owner, int fd, unsigned ready) noexcept nogil:
    cdef connection *c = <connection *>owner
    c.ready(c.owner, ready)


cdef void on_done(CURL *easy, int result) noexcept nogil:
    """libcurl has connected, or not."""
    cdef connection *c = NULL
    cdef source *s
    cdef int64_t total = 0
    curl.easy_getinfo(easy, CURLINFO_PRIVATE, &c)
    if c == NULL or c.opened == NULL:
        return
    curl.easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &total)
    if now_ns() - total * 1000 > c.base:
        c.base = now_ns() - total * 1000
    if result == CURLE_OK:
        curl.easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &c.fd)
        curl.easy_getinfo(easy, CURLINFO_OS_ERRNO, &c.old_errno)
        c.os_errno = 0
    read_phases(c)
    if result == CURLE_OK and not c.coded and not take_over(c):
        result = CURLE_OUT_OF_MEMORY
    if result == CURLE_OK:
        s = &c.r.sources[c.fd]
        s.ready = on_ready
        s.owner = c
        s.single = False
    else:
        fail(c, result)
    c.opened(c.owner, result)


cdef bint take_over(connection *c) noexcept nogil:
    """libcurl, that reads once more before it closes, is left with a socket that leads nowhere."""
    cdef int fd
    reactor_forget(c.r, c.fd)
    fd = sock_move(c.fd)
    if fd < 0:  # no descriptor is left: it stays libcurl's
        c.coded = True
        return reactor_hold(c.r, c.fd)
    c.fd = fd
    if not reactor_hold(c.r, fd):
        close(fd)
        c.fd = -1
        return False
    c.moved = True
    defer(&c.r.later, &c.release)
    return True


cdef int64_t fail(connection *c, int code) noexcept nogil:
    cdef long os_errno = 0
    c.code = code
    if c.easy != NULL:
        curl.easy_getinfo(c.easy, CURLINFO_OS_ERRNO, &os_errno)
    if os_errno != c.old_errno:
        c.os_errno = os_errno
    return CONNECTION_FAILED


cdef int set_options(connection *c, settings *set, const connecting *asked) noexcept nogil:
    cdef CURL *e = c.easy
    cdef int failed = 0
    failed |= handle_set_constants(e)
    failed |= handle_set_trust(e, set)
    failed |= handle_set_network(e, set, asked.direct)
    failed |= curl.easy_setopt(e, CURLOPT_SHARE, set.share)
    failed |= curl.easy_setopt(e, CURLOPT_URL, asked.url)
    failed |= curl.easy_setopt(e, CURLOPT_CONNECT_ONLY, <long>1)
    failed |= curl.easy_setopt(e, CURLOPT_HTTP_VERSION, <long>CURL_HTTP_VERSION_1_1)
    failed |= curl.easy_setopt(e, CURLOPT_HTTPPROXYTUNNEL, <long>1)
    failed |= curl.easy_setopt(e, CURLOPT_BUFFERSIZE, <long>1024)
    failed |= curl.easy_setopt(e, CURLOPT_TCP_NODELAY, <long>asked.nodelay)
    failed |= curl.easy_setopt(e, CURLOPT_PRIVATE, c)
    failed |= curl.easy_setopt(e, CURLOPT_ERRORBUFFER, c.error)
    failed |= curl.easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket)
    failed |= curl.easy_setopt(e, CURLOPT_OPENSOCKETDATA, c)
    failed |= curl.easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_connect_socket)
    failed |= curl.easy_setopt(e, CURLOPT_SOCKOPTDATA, c)
    failed |= curl.easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, multi_close_socket)
    failed |= curl.easy_setopt(e, CURLOPT_CLOSESOCKETDATA, c.m)
    return failed | set_ends(c, asked)


cdef int set_ends(connection *c, const connecting *asked) noexcept nogil:
    """What only some connections ask for: from where, to where."""
    cdef CURL *e = c.easy
    cdef int failed = 0
    if asked.opaque:
        failed |= curl.easy_setopt(e, CURLOPT_SSL_ENABLE_ALPN, <long>0)
    if asked.family:
        failed |= curl.easy_setopt(
            e, CURLOPT_IPRESOLVE,
            <long>(CURL_IPRESOLVE_V6 if asked.family == 6 else CURL_IPRESOLVE_V4))
    if asked.keepalive_s:
        failed |= curl.easy_setopt(e, CURLOPT_TCP_KEEPALIVE, <long>1)
        failed |= curl.easy_setopt(e, CURLOPT_TCP_KEEPIDLE, asked.keepalive_s)
        failed |= curl.easy_setopt(e, CURLOPT_TCP_KEEPINTVL, asked.keepalive_s)
    if asked.interface != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_INTERFACE, asked.interface)
    if asked.local_port:
        failed |= curl.easy_setopt(e, CURLOPT_LOCALPORT, <long>asked.local_port)
    if asked.instead != NULL:
        c.instead = curl.slist_append(NULL, asked.instead)
        failed |= c.instead == NULL
        failed |= curl.easy_setopt(e, CURLOPT_CONNECT_TO, c.instead)
    return failed


cdef connection *connection_new(
        reactor *r, settings *set, const connecting *asked, void *owner,
        void (*opened)(void *, int) noexcept nogil,
        void (*ready)(void *, unsigned) noexcept nogil, long *os_errno) noexcept nogil:
    global connections_alive
    cdef connection *c = <connection *>calloc(1, sizeof(connection))
    if c == NULL:
        return NULL
    connections_alive += 1
    c.r = r
    c.tls = asked.tls
    # NULL: the environment is asked, whose proxies may be of any kind
    c.coded = asked.tls or not asked.direct and (
        set.proxy == NULL or strncasecmp(set.proxy, b"https", 5) == 0)
    c.fd = c.last_fd = -1
    c.owner = owner
    c.opened = opened
    c.ready = ready
    c.release.run = release
    c.release.owner = c
    c.started_at = c.base = now_ns()
    c.m = multi_new(r, on_done, 1)
    if c.m != NULL:
        c.m.profiled = 1
    c.easy = curl.easy_init()
    if c.m == NULL or c.easy == NULL or set_options(c, set, asked) != 0 or (
            multi_add(c.m, c.easy) != 0):
        os_errno[0] = errno
        c.over = True
        release(c)
        return NULL
    return c


cdef void connection_free(connection *c) noexcept nogil:
    """What calls us may still be at work on the multi handle, so that goes a little later."""
    c.opened = NULL
    if c.moved:
        reactor_forget(c.r, c.fd)
        close(c.fd)
    else:
        connection_watch(c, 0)
    c.fd = -1
    c.over = True
    defer(&c.r.later, &c.release)


cdef void release(void *owner) noexcept nogil:
    global connections_alive
    cdef connection *c = <connection *>owner
    if c.easy != NULL:
        if c.m != NULL:
            multi_remove(c.m, c.easy)
        curl.easy_cleanup(c.easy)
        c.easy = NULL
    if c.m != NULL:
        multi_free(c.m)
        c.m = NULL
    curl.slist_free_all(c.instead)
    c.instead = NULL
    if c.over:
        connections_alive -= 1
        free(c)


cdef void connection_watch(connection *c, unsigned wanted) noexcept nogil:
    if c.fd >= 0 and wanted != c.wanted:
        c.wanted = wanted
        reactor_watch(c.r, c.fd, wanted)


cdef int64_t connection_recv(connection *c, char *into, size_t room) noexcept nogil:
    cdef size_t got = 0
    cdef int64_t n
    cdef int code
    if c.coded:
        code = curl.easy_recv(c.easy, into, room, &got)
        if code == CURLE_AGAIN:
            return CONNECTION_AGAIN
        return <int64_t>got if code == CURLE_OK else fail(c, code)
    n = c_recv(c.fd, into, room, 0)
    return n if n >= 0 else system_said(c, CURLE_RECV_ERROR)


cdef int64_t connection_recv_stamped(
        connection *c, char *into, size_t room, int64_t *came_at) noexcept nogil:
    cdef int64_t n
    if c.coded:
        came_at[0] = sock_last_came_at(c.fd)
        return connection_recv(c, into, room)
    n = sock_recv(c.fd, into, room, came_at)
    return n if n >= 0 else system_said(c, CURLE_RECV_ERROR)


cdef int64_t connection_send(connection *c, const char *data, size_t length) noexcept nogil:
    cdef size_t sent = 0
    cdef int64_t n
    cdef int code
    if c.coded:
        code = curl.easy_send(c.easy, data, length, &sent)
        if code == CURLE_AGAIN:
            return CONNECTION_AGAIN
        return <int64_t>sent if code == CURLE_OK else fail(c, code)
    n = sock_send(c.fd, data, length)
    return n if n >= 0 else system_said(c, CURLE_SEND_ERROR)


cdef int64_t connection_send_pieces(
        connection *c, const char **pieces, const size_t *lengths, int count) noexcept nogil:
    cdef iovec parts[PIECES]
    cdef char gathered[16384]
    cdef msghdr message
    cdef size_t used = 0
    cdef int64_t n
    cdef int i
    if count == 1:
        return connection_send(c, pieces[0], lengths[0])
    if c.coded:  # small ones in one record
        for i in range(count):
            if used + lengths[i] > sizeof(gathered):
                break
            memcpy(gathered + used, pieces[i], lengths[i])
            used += lengths[i]
        if used == 0:
            return connection_send(c, pieces[0], lengths[0])
        return connection_send(c, gathered, used)
    memset(&message, 0, sizeof(message))
    for i in range(count):
        parts[i].iov_base = <void *>pieces[i]
        parts[i].iov_len = lengths[i]
    message.msg_iov = parts
    message.msg_iovlen = count
    n = sendmsg(c.fd, &message, MSG_NOSIGNAL)
    return n if n >= 0 else system_said(c, CURLE_SEND_ERROR)


cdef void *session_of(connection *c) noexcept nogil:
    """OpenSSL's; NULL where there is no TLS to the origin, or it is another library's, or before
    the first byte went through libcurl, which does not know its connection then."""
    cdef curl_tlssessioninfo *session = NULL
    if c.ssl == NULL and c.tls and curl.ssl_shutdown != NULL:
        curl.easy_getinfo(c.easy, CURLINFO_TLS_SSL_PTR, &session)
        if session != NULL and session.backend == CURLSSLBACKEND_OPENSSL:
            c.ssl = session.internals
    return c.ssl


cdef bint connection_holds_back(connection *c) noexcept nogil:
    if session_of(c) == NULL or curl.ssl_has_pending == NULL:
        return c.coded
    return curl.ssl_has_pending(c.ssl) != 0


cdef int connection_finish(connection *c) noexcept nogil:
    if session_of(c) != NULL:
        # libcurl's own way down to the socket works inside its functions only
        curl.ssl_set_fd(c.ssl, c.fd)
        if curl.ssl_shutdown(c.ssl) < 0 and errno == EAGAIN:
            return CONNECTION_AGAIN
    sock_finish(c.fd)
    return 0


cdef int connection_name(connection *c, bint other, char *text, int *port) noexcept nogil:
    return sock_name(c.fd, other, text, port)


cdef int64_t system_said(connection *c, int what) noexcept nogil:
    if errno == EAGAIN or errno == EINTR:
        return CONNECTION_AGAIN
    c.code = what
    c.os_errno = errno
    return CONNECTION_FAILED


cdef void connection_read_phases(connection *c, phases *p) noexcept nogil:
    cdef int i
    if c.easy != NULL:
        read_phases(c)
    for i in range(FETCH_START, SSL_END + 1):
        p.at[i] = c.ph.at[i]
    p.port = c.ph.port
    memcpy(p.ip, c.ph.ip, sizeof(p.ip))


cdef void read_phases(connection *c) noexcept nogil:
    cdef phases *p = &c.ph
    cdef int64_t at, stands_at = 0
    cdef int64_t shook[2]
    handle_shook_hands(c.easy, shook)
    if c.last_fd >= 0 and c.r.sources[c.last_fd].kept:
        stands_at = c.r.sources[c.last_fd].stands_at
    p.at[FETCH_START] = c.started_at
    at = moments_read_connect(
        c.easy, c.opened_at, stands_at, shook, p, c.base, c.started_at, c.tls)
    if c.fd >= 0 and p.at[CONNECT_END] == 0:
        p.at[CONNECT_END] = at
    if c.fd >= 0 and c.tls and p.at[SSL_END] == 0:
        p.at[SSL_END] = at
    moments_read_peer(c.easy, p)


def alive():
    """Connections alive."""
    return connections_alive
