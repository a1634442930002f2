"""A libcurl handle that carries the same request again and again. See courier.pxd."""
from libc.stdlib cimport calloc, free
from libc.string cimport memset, strncpy

from ftcore.handle cimport (
    handle_set_constants, handle_set_network, handle_set_trust, handle_shook_hands,
)
from ftcore.libcurl cimport (
    CURLINFO_NUM_CONNECTS, CURLINFO_OS_ERRNO,
    CURLINFO_POSTTRANSFER_TIME_T, CURLINFO_PRETRANSFER_TIME_T, CURLINFO_PRIVATE,
    CURLINFO_REQUEST_SIZE, CURLINFO_SIZE_UPLOAD_T, CURLINFO_TOTAL_TIME_T,
    CURLMOPT_MAX_CONCURRENT_STREAMS, CURLMOPT_MAX_HOST_CONNECTIONS, CURLOPT_ACCEPT_ENCODING,
    CURLOPT_CLOSESOCKETDATA,
    CURLOPT_CLOSESOCKETFUNCTION, CURLOPT_CUSTOMREQUEST, CURLOPT_ERRORBUFFER, CURLOPT_HEADERDATA,
    CURLOPT_HEADERFUNCTION, CURLOPT_HTTPHEADER, CURLOPT_HTTP_VERSION, CURLOPT_NOBODY,
    CURLOPT_OPENSOCKETDATA, CURLOPT_OPENSOCKETFUNCTION, CURLOPT_PIPEWAIT, CURLOPT_POSTFIELDS,
    CURLOPT_POSTFIELDSIZE_LARGE, CURLOPT_PREREQDATA, CURLOPT_PREREQFUNCTION, CURLOPT_PRIVATE,
    CURLOPT_SHARE, CURLOPT_SOCKOPTDATA, CURLOPT_SOCKOPTFUNCTION, CURLOPT_URL, CURLOPT_WRITEDATA,
    CURLOPT_WRITEFUNCTION, curl, curl_sockaddr,
)
from ftcore.moments cimport moments_micros, moments_read_connect
from ftcore.multi cimport (
    multi_add, multi_close_socket, multi_connect_socket, multi_first_came_at, multi_last_came_at,
    multi_new, multi_open_socket, multi_remove, multi_stands,
)
from ftcore.op cimport now_ns

cdef enum:
    SEND_BUFFER = 65536   # libcurl's, for a request
    STREAMS_AT_MOST = 100000

cdef long couriers_alive = 0


# ---------------------------------------------------------------- libcurl's callbacks

cdef int on_open_socket(void *owner, int purpose, curl_sockaddr *address) noexcept nogil:
    cdef courier *c = <courier *>owner
    return multi_open_socket(c.m, address, &c.opened_at, &c.fd, &c.os_errno)


cdef int on_connect_socket(void *owner, int fd, int purpose) noexcept nogil:
    cdef courier *c = <courier *>owner
    multi_connect_socket(c.m, fd, &c.opened_at)
    return 0


cdef int on_ready_to_send(
        void *owner, char *peer, char *local, int peer_port, int local_port) noexcept nogil:
    cdef courier *c = <courier *>owner
    if c.t.began_at:
        c.repeats += 1
    c.t.began_at = now_ns()
    if c.opened_at:
        c.m.ready_at = c.t.began_at
    c.os_errno = 0
    curl.easy_getinfo(c.easy, CURLINFO_OS_ERRNO, &c.old_errno)
    strncpy(c.t.ph.ip, peer, sizeof(c.t.ph.ip) - 1)
    c.t.ph.port = peer_port
    return 0


cdef size_t on_header(char *line, size_t size, size_t count, void *owner) noexcept nogil:
    """The status line is all that counts: "HTTP/2 200"."""
    cdef courier *c = <courier *>owner
    cdef size_t length = size * count
    cdef size_t i = 5
    c.t.received += <int64_t>length
    if c.t.body or length < 12 or line[0] != 0x48 or line[4] != 0x2F:
        return length
    while i < length and line[i] != 0x20:
        i += 1
    if i + 3 >= length or i == 5:
        return length
    c.t.status = (line[i + 1] - 0x30) * 100 + (line[i + 2] - 0x30) * 10 + line[i + 3] - 0x30
    c.t.http = line[5] - 0x30
    c.t.first_at = multi_first_came_at(c.m, c.m.at_work)
    if c.t.first_at < c.t.began_at:  # not known, or of another stream's bytes
        c.t.first_at = now_ns()
    return length


cdef size_t on_body(char *data, size_t size, size_t count, void *owner) noexcept nogil:
    (<courier *>owner).t.body += <int64_t>(size * count)
    return size * count


cdef void read_connect(courier *c) noexcept nogil:
    """How its connection was made, where it was made for this request."""
    cdef int64_t shook[2]
    cdef int64_t base, stands_at = 0
    cdef long made = 0
    if c.opened_at == 0 or c.t.began_at == 0:  # none, or none that could be sent on
        return
    curl.easy_getinfo(c.easy, CURLINFO_NUM_CONNECTS, &made)
    if made == 0:
        return
    c.t.fresh = True
    base = max(c.started_at, now_ns() - moments_micros(c.easy, CURLINFO_TOTAL_TIME_T))
    handle_shook_hands(c.easy, shook)
    if c.fd >= 0 and c.m.r.sources[c.fd].kept:
        stands_at = multi_stands(c.m, c.fd)
    moments_read_connect(
        c.easy, c.opened_at, stands_at, shook, &c.t.ph, base, c.started_at, c.e.tls)


cdef void read_trip(courier *c, int result) noexcept nogil:
    """What libcurl knows of it, before the handle is removed."""
    cdef long request = 0
    cdef int64_t uploaded = 0
    cdef int64_t before
    read_connect(c)
    c.t.joined = not c.t.fresh and c.started_at < c.m.ready_at <= c.t.began_at
    curl.easy_getinfo(c.easy, CURLINFO_REQUEST_SIZE, &request)
    if c.e.body != NULL:
        curl.easy_getinfo(c.easy, CURLINFO_SIZE_UPLOAD_T, &uploaded)
    # over HTTP/2 and 3 the first number has no more of the body than a buffer
    c.t.sent = request if request >= uploaded else request % SEND_BUFFER + uploaded
    c.t.received += c.t.body
    if result:
        return
    c.t.last_at = multi_last_came_at(c.m, c.m.at_work)
    if c.t.last_at < c.t.first_at:
        c.t.last_at = now_ns()
    before = moments_micros(c.easy, CURLINFO_PRETRANSFER_TIME_T)
    c.t.sent_at = c.t.began_at + max(
        0, moments_micros(c.easy, CURLINFO_POSTTRANSFER_TIME_T) - before)


cdef void on_done(CURL *easy, int result) noexcept nogil:
    cdef courier *c = NULL
    cdef long os_errno = 0
    curl.easy_getinfo(easy, CURLINFO_PRIVATE, &c)
    read_trip(c, result)
    if result:
        curl.easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_errno)
        c.os_errno = os_errno if os_errno != c.old_errno else c.os_errno
    leave(c)
    c.over(c, result)


# ---------------------------------------------------------------- its life

cdef multi *courier_connection(reactor *r) noexcept nogil:
    cdef multi *m = multi_new(r, on_done, 1)
    if m != NULL:
        curl.multi_setopt(m.handle, CURLMOPT_MAX_HOST_CONNECTIONS, <long>1)
        curl.multi_setopt(m.handle, CURLMOPT_MAX_CONCURRENT_STREAMS, <long>STREAMS_AT_MOST)
        m.profiled = 1
        m.patient = True
    return m


cdef int set_options(courier *c) noexcept nogil:
    cdef CURL *e = c.easy
    cdef const errand *asked = c.e
    cdef int failed = 0
    failed |= handle_set_constants(e)
    failed |= handle_set_trust(e, c.set)
    failed |= handle_set_network(e, c.set, False)
    failed |= curl.easy_setopt(e, CURLOPT_ACCEPT_ENCODING, <char *>NULL)  # as over HTTP/1.1
    failed |= curl.easy_setopt(e, CURLOPT_SHARE, c.set.share)
    failed |= curl.easy_setopt(e, CURLOPT_URL, asked.url)
    failed |= curl.easy_setopt(e, CURLOPT_HTTP_VERSION, asked.http_version)
    failed |= curl.easy_setopt(e, CURLOPT_HTTPHEADER, asked.headers)
    if asked.shared:
        failed |= curl.easy_setopt(e, CURLOPT_PIPEWAIT, <long>1)
    if asked.body != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, asked.body_length)
        failed |= curl.easy_setopt(e, CURLOPT_POSTFIELDS, asked.body)
    if asked.head:
        failed |= curl.easy_setopt(e, CURLOPT_NOBODY, <long>1)
    if asked.verb != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_CUSTOMREQUEST, asked.verb)
    return failed | set_callbacks(c)


cdef int set_callbacks(courier *c) noexcept nogil:
    cdef CURL *e = c.easy
    cdef int failed = 0
    failed |= curl.easy_setopt(e, CURLOPT_PRIVATE, c)
    failed |= curl.easy_setopt(e, CURLOPT_ERRORBUFFER, c.error)
    failed |= curl.easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket)
    failed |= curl.easy_setopt(e, CURLOPT_OPENSOCKETDATA, c)
    failed |= curl.easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_connect_socket)
    failed |= curl.easy_setopt(e, CURLOPT_SOCKOPTDATA, c)
    failed |= curl.easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, multi_close_socket)
    failed |= curl.easy_setopt(e, CURLOPT_CLOSESOCKETDATA, c.m)
    failed |= curl.easy_setopt(e, CURLOPT_PREREQFUNCTION, on_ready_to_send)
    failed |= curl.easy_setopt(e, CURLOPT_PREREQDATA, c)
    failed |= curl.easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header)
    failed |= curl.easy_setopt(e, CURLOPT_HEADERDATA, c)
    failed |= curl.easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body)
    failed |= curl.easy_setopt(e, CURLOPT_WRITEDATA, c)
    return failed


cdef courier *courier_new(
        multi *m, settings *set, const errand *asked, void *owner,
        void (*over)(courier *, int) noexcept nogil) noexcept nogil:
    global couriers_alive
    cdef courier *c = <courier *>calloc(1, sizeof(courier))
    if c == NULL:
        return NULL
    c.m = m
    c.set = set
    c.e = asked
    c.owner = owner
    c.over = over
    c.easy = curl.easy_init()
    if c.easy == NULL or set_options(c):
        if c.easy != NULL:
            curl.easy_cleanup(c.easy)
        free(c)
        return NULL
    couriers_alive += 1
    return c


cdef int courier_go(courier *c) noexcept nogil:
    cdef int failed
    memset(&c.t, 0, sizeof(trip))
    c.opened_at = c.os_errno = c.old_errno = c.repeats = 0
    c.fd = -1
    c.error[0] = 0
    c.started_at = now_ns()
    failed = multi_add(c.m, c.easy)
    c.under_way = failed == 0
    return failed


cdef void leave(courier *c) noexcept nogil:
    c.under_way = False
    multi_remove(c.m, c.easy)


cdef void courier_halt(courier *c) noexcept nogil:
    if c.under_way:
        read_trip(c, 1)
        leave(c)


cdef void courier_free(courier *c) noexcept nogil:
    global couriers_alive
    courier_halt(c)
    curl.easy_cleanup(c.easy)
    couriers_alive -= 1
    free(c)


def alive():
    """Couriers alive."""
    return couriers_alive
