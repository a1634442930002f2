"""A libcurl handle, set to what a transfer needs."""
from libc.stddef cimport size_t
from libc.stdlib cimport calloc, free
from libc.string cimport strncpy

from ftcore.body cimport body_read, body_seek
from ftcore.buffers cimport memory_drop
from ftcore.decode cimport decoder_free
from ftcore.heading cimport heading_free
from ftcore.libcurl cimport (
    CURL, CURLE_OK, CURLINFO_ACTIVESOCKET, CURLINFO_OS_ERRNO, CURLINFO_PRIVATE,
    CURLINFO_REQUEST_SIZE, CURLOPT_CLOSESOCKETDATA, CURLOPT_CLOSESOCKETFUNCTION,
    CURLOPT_CUSTOMREQUEST,
    CURLOPT_ERRORBUFFER, CURLOPT_EXPECT_100_TIMEOUT_MS, CURLOPT_HEADERDATA, CURLOPT_HEADERFUNCTION,
    CURLOPT_HTTPGET, CURLOPT_HTTPHEADER, CURLOPT_HTTP_VERSION, CURLOPT_NOBODY, CURLOPT_NOPROGRESS,
    CURLOPT_OPENSOCKETDATA, CURLOPT_OPENSOCKETFUNCTION, CURLOPT_PIPEWAIT, CURLOPT_POST,
    CURLOPT_POSTFIELDS, CURLOPT_POSTFIELDSIZE_LARGE, CURLOPT_PREREQDATA, CURLOPT_PREREQFUNCTION,
    CURLOPT_PRIVATE, CURLOPT_READDATA, CURLOPT_READFUNCTION, CURLOPT_REQUEST_TARGET,
    CURLOPT_SEEKDATA, CURLOPT_SEEKFUNCTION, CURLOPT_SHARE, CURLOPT_SOCKOPTDATA,
    CURLOPT_SOCKOPTFUNCTION, CURLOPT_UPLOAD_BUFFERSIZE, CURLOPT_URL, CURLOPT_WRITEDATA,
    CURLOPT_WRITEFUNCTION, CURLOPT_XFERINFODATA, CURLOPT_XFERINFOFUNCTION, CURL_HTTP_VERSION_3,
    CURL_PREREQFUNC_ABORT, CURL_READFUNC_ABORT, CURL_READFUNC_PAUSE, CURL_SEEKFUNC_FAIL,
    CURL_SEEKFUNC_OK, curl, curl_sockaddr,
)
from ftcore.handle cimport (
    BUFFER, handle_set_constants, handle_set_network, handle_set_trust, handle_shook_hands,
)
from ftcore.multi cimport (
    multi, multi_close_socket, multi_connect_socket, multi_first_came_at, multi_last_came_at,
    multi_look, multi_open_socket, multi_stands,
)
from ftcore.op cimport OUTCOME_FILE, OUTCOME_NOT_REPEATED, now_ns
from ftcore.quality cimport estimator_begin
from ftcore.reactor cimport source
from ftcore.settings cimport settings, template
from ftcore.response cimport must_breathe, progress, response_body, response_header

cdef extern from "<sys/ioctl.h>" nogil:
    enum: FIONREAD
    int ioctl(int, unsigned long, ...)

cdef extern from "c/url.h" nogil:
    int url_scheme(const char *)

cdef enum:
    LONG_SEND = 20000  # ns
    CONTINUE_WITHIN = 300  # ms to wait for "100 Continue"


cdef int on_open_socket(void *owner, int purpose, curl_sockaddr *address) noexcept nogil:
    cdef slot *s = <slot *>owner
    if s.ready_at > s.opened_at:
        s.again = True
        s.opened_at = 0  # the connection made before is dead
    return multi_open_socket(s.m, address, &s.opened_at, &s.fd, &s.open_errno)


cdef int on_connect_socket(void *owner, int fd, int purpose) noexcept nogil:
    """CURLOPT_SOCKOPTFUNCTION: the last thing before it connects."""
    cdef slot *s = <slot *>owner
    multi_connect_socket(s.m, fd, &s.opened_at)
    return 0


cdef void slot_watches(CURL *easy, int fd) noexcept nogil:
    cdef slot *s = NULL
    curl.easy_getinfo(easy, CURLINFO_PRIVATE, &s)
    if s != NULL and s.ready_at and s.first_byte_at == 0:
        use(s, fd)


cdef void use(slot *s, int fd) noexcept nogil:
    """The answer will come in on this socket."""
    cdef source *used
    if fd < 0 or fd >= s.m.r.source_count:
        return
    used = &s.m.r.sources[fd]
    used.fresh = True
    s.used_fd = fd
    s.used_since = used.opened_at


cdef source *slot_connection(slot *s) noexcept nogil:
    cdef source *used
    if s.easy == NULL:
        return line_source(s)
    if s.used_fd < 0 or s.used_fd >= s.m.r.source_count:
        return NULL
    used = &s.m.r.sources[s.used_fd]
    return used if used.kept and used.opened_at == s.used_since else NULL


cdef source *line_source(slot *s) noexcept nogil:
    """The same of a connection of the native lane."""
    if s.on == NULL or s.on.w.c.fd < 0:
        return NULL
    return &s.on.w.r.sources[s.on.w.c.fd]


cdef int64_t slot_came_at(slot *s, bint first) noexcept nogil:
    cdef int64_t at
    at = multi_first_came_at(s.m, s.used_fd) if first else multi_last_came_at(s.m, s.used_fd)
    return at if at >= s.ready_at else 0


cdef void note_connection(slot *s) noexcept nogil:
    """What can be asked for only while the transfer has its connection."""
    cdef int fd = -1
    if s.opened_at:
        handle_shook_hands(s.easy, s.shook)
    if s.opened_at or s.x.t.multiplex:  # of others `slot_watches` hears
        curl.easy_getinfo(s.easy, CURLINFO_ACTIVESOCKET, &fd)
        use(s, fd)
        if s.opened_at and fd >= 0:
            s.stands_at = multi_stands(s.m, fd)


cdef bint may_have_come(slot *s) noexcept nogil:
    """Whether the peer may have had a part of the request.

    Over TLS libcurl does not know: what it gives to OpenSSL counts when all of it is on its way.
    """
    cdef long sent = 0
    curl.easy_getinfo(s.easy, CURLINFO_REQUEST_SIZE, &sent)
    return sent != 0 or url_scheme(request_url(s.x)) == 2


cdef int on_ready_to_send(
        void *owner, char *peer, char *local, int peer_port, int local_port) noexcept nogil:
    cdef slot *s = <slot *>owner
    if s.ready_at and s.x.t.with_body and s.x.t.verb == NULL and not s.x.bare and (
            s.x.source == NULL or s.x.source.most) and may_have_come(s):
        # the connection was dead and libcurl would send a POST again: the peer may have acted on it
        s.verdict = OUTCOME_NOT_REPEATED
        s.opened_at = 0  # the profile is of the connection that broke
        return CURL_PREREQFUNC_ABORT
    s.open_errno = 0
    curl.easy_getinfo(s.easy, CURLINFO_OS_ERRNO, &s.old_errno)
    s.again |= s.ready_at != 0
    if s.x.t.profile:
        note_connection(s)
        strncpy(s.ip, peer, sizeof(s.ip) - 1)
        s.port = peer_port
    s.sent_at = 0
    s.ready_at = now_ns()
    if s.x.t.profile and s.x.t.http_version < CURL_HTTP_VERSION_3:
        # only what TCP carries counts
        estimator_begin(s.x.home.quality, &s.x.watched, peer, is_get(s.x), s.ready_at)
    return 0


cdef int on_progress(
        void *owner, int64_t to_come, int64_t came, int64_t to_go, int64_t went) noexcept nogil:
    """CURLOPT_XFERINFOFUNCTION: between sending the request and the first attempt to read.

    Sending may take long enough for the answer to come in meanwhile: the thread was put aside.
    libcurl would read it at once, before the poller told of it.
    """
    cdef slot *s = <slot *>owner
    cdef int fd = -1
    if s.ready_at == 0 or s.sent_at:
        return 0
    s.sent_at = now_ns()
    if s.sent_at - s.ready_at > LONG_SEND:
        curl.easy_getinfo(s.easy, CURLINFO_ACTIVESOCKET, &fd)
        if has_unread(fd):
            use(s, fd)
            multi_look(s.m, fd)
    return 0


cdef bint has_unread(int fd) noexcept nogil:
    """Whether bytes wait: where it is an error, who looks when they came takes it from libcurl."""
    cdef int waiting = 0
    return fd >= 0 and ioctl(fd, FIONREAD, &waiting) == 0 and waiting > 0


cdef size_t on_read(char *into, size_t size, size_t count, void *owner) noexcept nogil:
    """CURLOPT_READFUNCTION: the next bytes of a body that is made of pieces."""
    cdef slot *s = <slot *>owner
    cdef int64_t got
    if s.x.held or must_breathe(s.x):
        s.x.stalled = True
        return CURL_READFUNC_PAUSE
    got = body_read(s.x.source, into, size * count)
    if got < 0:
        s.verdict = OUTCOME_FILE
        return CURL_READFUNC_ABORT
    progress(s.x, s.x.source.most)
    return <size_t>got


cdef int on_seek(void *owner, int64_t offset, int origin) noexcept nogil:
    """CURLOPT_SEEKFUNCTION: libcurl sends the body again."""
    cdef slot *s = <slot *>owner
    return CURL_SEEKFUNC_OK if body_seek(s.x.source, offset) else CURL_SEEKFUNC_FAIL


cdef slot *slot_new(multi *m, settings *set) noexcept nogil:
    """NULL when memory is out."""
    global slots_alive
    cdef slot *s = <slot *>calloc(1, sizeof(slot))
    if s == NULL:
        return NULL
    s.m = m
    s.fd = s.used_fd = -1
    if m == NULL:
        slots_alive += 1
        return s
    s.easy = curl.easy_init()
    if s.easy == NULL or curl.easy_setopt(s.easy, CURLOPT_SHARE, set.share) != CURLE_OK:
        if s.easy != NULL:
            curl.easy_cleanup(s.easy)
        free(s)
        return NULL
    slots_alive += 1
    return s


cdef void slot_free(slot *s) noexcept nogil:
    """The handle is on no multi handle any more."""
    global slots_alive
    slot_clear(s)
    if s.easy != NULL:
        curl.easy_cleanup(s.easy)
    slots_alive -= 1
    heading_free(&s.asking)
    free(s.head)
    free(s)


cdef void slot_clear(slot *s) noexcept nogil:
    if s.body != NULL:
        memory_drop(s.body)
        s.body = NULL
    if s.stream != NULL:
        memory_drop(s.stream)
        s.stream = NULL
    decoder_free(s.codec)
    s.codec = NULL
    s.skip = s.codings_length = 0
    s.body_length = s.stream_used = s.head_length = 0
    s.status = s.interim = s.verdict = 0
    s.head_done = s.head_over = s.location = s.charset = s.redirecting = False
    s.has_length = s.has_coding = False
    s.content_length = 0
    s.first_of_range = s.size_of_range = -1
    s.other_file = s.swallowing = False
    s.taken = s.wire = s.head_bytes = 0
    s.last_chunk = NULL
    s.opened_at = s.stands_at = s.shook[0] = s.shook[1] = s.ready_at = 0
    s.first_byte_at = s.answered_at = s.last_at = s.arrived_turn = 0
    s.again = s.continued = s.starving = s.alone = s.unexpecting = False
    s.fd = s.used_fd = -1
    s.used_since = s.sent_at = 0
    s.port = 0
    s.open_errno = s.old_errno = 0
    s.error[0] = 0


cdef int set_callbacks(slot *s) noexcept nogil:
    cdef CURL *e = s.easy
    cdef int failed = 0
    failed |= curl.easy_setopt(e, CURLOPT_PRIVATE, s)
    failed |= curl.easy_setopt(e, CURLOPT_WRITEFUNCTION, response_body)
    failed |= curl.easy_setopt(e, CURLOPT_WRITEDATA, s)
    failed |= curl.easy_setopt(e, CURLOPT_HEADERFUNCTION, response_header)
    failed |= curl.easy_setopt(e, CURLOPT_HEADERDATA, s)
    failed |= curl.easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket)
    failed |= curl.easy_setopt(e, CURLOPT_OPENSOCKETDATA, s)
    failed |= curl.easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_connect_socket)
    failed |= curl.easy_setopt(e, CURLOPT_SOCKOPTDATA, s)
    failed |= curl.easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, multi_close_socket)
    failed |= curl.easy_setopt(e, CURLOPT_CLOSESOCKETDATA, s.m)
    failed |= curl.easy_setopt(e, CURLOPT_PREREQFUNCTION, on_ready_to_send)
    failed |= curl.easy_setopt(e, CURLOPT_PREREQDATA, s)
    failed |= curl.easy_setopt(e, CURLOPT_ERRORBUFFER, s.error)
    if s.x.t.profile:
        failed |= curl.easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress)
        failed |= curl.easy_setopt(e, CURLOPT_XFERINFODATA, s)
        failed |= curl.easy_setopt(e, CURLOPT_NOPROGRESS, <long>0)
    return failed


cdef int set_request(slot *s, xfer *x) noexcept nogil:
    cdef CURL *e = s.easy
    cdef template *t = x.t
    cdef int failed = 0
    failed |= curl.easy_setopt(e, CURLOPT_URL, request_url(x))
    if x.bare:
        failed |= curl.easy_setopt(e, CURLOPT_HTTPGET, <long>1)
    elif t.head:
        failed |= curl.easy_setopt(e, CURLOPT_NOBODY, <long>1)
    else:
        if t.with_body:
            failed |= curl.easy_setopt(e, CURLOPT_POST, <long>1)
        if t.verb != NULL:
            failed |= curl.easy_setopt(e, CURLOPT_CUSTOMREQUEST, t.verb)
    if t.target != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_REQUEST_TARGET, t.target)
    failed |= curl.easy_setopt(
        e, CURLOPT_HTTPHEADER, x.headers if x.altered else t.headers)
    failed |= curl.easy_setopt(e, CURLOPT_HTTP_VERSION, t.http_version)
    failed |= curl.easy_setopt(e, CURLOPT_PIPEWAIT, <long>t.multiplex)
    return failed


cdef int set_source(slot *s, xfer *x) noexcept nogil:
    """A body of pieces, from its start; its file may be large, so the server is asked first."""
    cdef CURL *e = s.easy
    cdef int failed = 0
    body_seek(x.source, 0)
    failed |= curl.easy_setopt(e, CURLOPT_POSTFIELDS, NULL)
    failed |= curl.easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, x.body_length)
    failed |= curl.easy_setopt(e, CURLOPT_READFUNCTION, on_read)
    failed |= curl.easy_setopt(e, CURLOPT_READDATA, s)
    failed |= curl.easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek)
    failed |= curl.easy_setopt(e, CURLOPT_SEEKDATA, s)
    failed |= curl.easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, <long>BUFFER)
    failed |= curl.easy_setopt(e, CURLOPT_EXPECT_100_TIMEOUT_MS, <long>CONTINUE_WITHIN)
    return failed


cdef int slot_prepare(slot *s, settings *set, xfer *x) noexcept nogil:
    """Sets the handle to what the transfer needs; nothing of an earlier one is left.

    0, or not: then the library refused an option.
    """
    cdef int failed = 0
    if s.prepared != x.t.id or x.altered:
        s.prepared = 0
        curl.easy_reset(s.easy)
        failed |= set_callbacks(s)
        failed |= handle_set_constants(s.easy)
        failed |= handle_set_trust(s.easy, set)
        failed |= handle_set_network(s.easy, set, x.t.no_proxy)
        failed |= set_request(s, x)
        if failed == 0 and not x.altered:
            s.prepared = x.t.id
    if x.t.with_body and not x.bare and x.source != NULL:
        failed |= set_source(s, x)
    elif x.t.with_body and not x.bare:
        failed |= curl.easy_setopt(s.easy, CURLOPT_POSTFIELDSIZE_LARGE, x.body_length)
        failed |= curl.easy_setopt(
            s.easy, CURLOPT_POSTFIELDS, x.body if x.body != NULL else <const char *>b"")
    return failed


def alive():
    """libcurl handles alive."""
    return slots_alive
