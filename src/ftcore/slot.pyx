"""A libcurl handle and the response that comes in on it: libcurl's callbacks, phases, chunks."""
from libc.errno cimport errno
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, strlen, strncpy
from posix.unistd cimport write

from ftcore.buffers cimport memory_drop, memory_grow, memory_take
from ftcore.decode cimport (
    DECODE_NO_MEMORY, DECODE_OK, DECODE_STOPPED, decoder_feed, decoder_free, decoder_left,
    decoder_new,
)
from ftcore.libcurl cimport (
    CURLE_BAD_CONTENT_ENCODING, CURLE_OK, CURLINFO_ACTIVESOCKET, CURLINFO_APPCONNECT_TIME_T,
    CURLINFO_CONNECT_TIME_T, CURLINFO_HEADER_SIZE, CURLINFO_HTTP_VERSION,
    CURLINFO_NAMELOOKUP_TIME_T, CURLINFO_NUM_CONNECTS, CURLINFO_POSTTRANSFER_TIME_T,
    CURLINFO_PRETRANSFER_TIME_T, CURLINFO_PRIMARY_IP, CURLINFO_PRIMARY_PORT,
    CURLINFO_QUEUE_TIME_T, CURLINFO_REQUEST_SIZE, CURLINFO_SIZE_DOWNLOAD_T,
    CURLINFO_SIZE_UPLOAD_T, CURLINFO_STARTTRANSFER_TIME_T, CURLINFO_TOTAL_TIME_T,
    CURLOPT_ACCEPT_ENCODING, CURLOPT_BUFFERSIZE, CURLOPT_CAINFO, CURLOPT_CAPATH,
    CURLOPT_CLOSESOCKETDATA, CURLOPT_CLOSESOCKETFUNCTION, CURLOPT_COOKIEFILE,
    CURLOPT_CUSTOMREQUEST, CURLOPT_DOH_SSL_VERIFYHOST, CURLOPT_DOH_SSL_VERIFYPEER,
    CURLOPT_DOH_URL, CURLOPT_ERRORBUFFER, CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS, CURLOPT_HEADERDATA,
    CURLOPT_HEADERFUNCTION, CURLOPT_HTTPGET, CURLOPT_HTTPHEADER, CURLOPT_HTTP_CONTENT_DECODING,
    CURLOPT_HTTP_VERSION, CURLOPT_INTERFACE, CURLOPT_NOBODY, CURLOPT_NOPROXY, CURLOPT_NOSIGNAL,
    CURLOPT_OPENSOCKETDATA, CURLOPT_OPENSOCKETFUNCTION, CURLOPT_PIPEWAIT, CURLOPT_POST,
    CURLOPT_POSTFIELDS, CURLOPT_POSTFIELDSIZE_LARGE, CURLOPT_PREREQDATA, CURLOPT_PREREQFUNCTION,
    CURLOPT_PRIVATE, CURLOPT_PROTOCOLS_STR, CURLOPT_PROXY, CURLOPT_PROXY_CAINFO,
    CURLOPT_PROXY_CAPATH, CURLOPT_PROXY_SSL_VERIFYHOST, CURLOPT_PROXY_SSL_VERIFYPEER,
    CURLOPT_REDIR_PROTOCOLS_STR, CURLOPT_REQUEST_TARGET, CURLOPT_RESOLVE, CURLOPT_SHARE,
    CURLOPT_SSLCERT, CURLOPT_SSLKEY, CURLOPT_SSL_CTX_DATA, CURLOPT_SSL_CTX_FUNCTION,
    CURLOPT_SSL_VERIFYHOST, CURLOPT_SSL_VERIFYPEER, CURLOPT_SUPPRESS_CONNECT_HEADERS,
    CURLOPT_TCP_KEEPALIVE, CURLOPT_TCP_KEEPIDLE, CURLOPT_TCP_KEEPINTVL, CURLOPT_TCP_NODELAY,
    CURLOPT_URL, CURLOPT_USERAGENT, CURLOPT_WRITEDATA, CURLOPT_WRITEFUNCTION,
    CURL_HTTP_VERSION_1_1, CURL_HTTP_VERSION_2_0, CURL_HTTP_VERSION_3, CURL_PREREQFUNC_ABORT,
    CURL_WRITEFUNC_PAUSE, curl, curl_sockaddr,
)
from ftcore.multi cimport multi_close_socket, multi_open_socket
from ftcore.op cimport (
    EVENT_CHUNK, EVENT_HEADERS, OUTCOME_BAD_FRAMING, OUTCOME_BODY_TOO_LARGE, OUTCOME_NOT_REPEATED,
    OUTCOME_NO_MEMORY, OUTCOME_TOO_MANY_INTERIM, SLAB_ROOM, now_ns, slab_hold, word_get,
)
from ftcore.profile cimport (
    CONNECT_END, CONNECT_START, DNS_END, DNS_START, FETCH_START, QUEUE_END, REQUEST_END,
    REQUEST_START, RESPONSE_END, RESPONSE_START, SSL_END, SSL_START,
)
from ftcore.reactor cimport reactor_emit, reactor_event

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *, const char *, size_t)

cdef extern from "c/sock.h" nogil:
    unsigned sock_rtt_us(int)
    void sock_end(int)

cdef extern from "c/url.h" nogil:
    int url_scheme(const char *)

cdef enum:
    INTERIM_AT_MOST = 100
    RECEIVE_BUFFER = 65536
    SEND_BUFFER = 65536


# ---------------------------------------------------------------- libcurl's callbacks

cdef int on_open_socket(void *owner, int purpose, curl_sockaddr *address) noexcept nogil:
    cdef slot *s = <slot *>owner
    cdef int fd
    if s.opened_at == 0:
        s.opened_at = now_ns()
    fd = multi_open_socket(s.m, address)
    if fd < 0:
        s.open_errno = errno
    else:
        s.fd = fd
    return fd


cdef int on_ready_to_send(
        void *owner, char *peer, char *local, int peer_port, int local_port) noexcept nogil:
    cdef slot *s = <slot *>owner
    cdef long sent = 0
    if s.ready_at and s.x.t.with_body and s.x.t.verb == NULL and not s.x.bare:
        curl.easy_getinfo(s.easy, CURLINFO_REQUEST_SIZE, &sent)
    if sent:
        # the connection was dead and libcurl would send a POST again: the peer may have acted on it
        s.verdict = OUTCOME_NOT_REPEATED
        return CURL_PREREQFUNC_ABORT
    s.ready_at = now_ns()
    return 0


cdef void on_keylog(void *ssl, const char *line) noexcept nogil:
    """One line in one write, so that lines of several threads don't mix."""
    cdef settings *set = <settings *>curl.ssl_ctx_get_ex(curl.ssl_ctx_of(ssl), curl.keylog_index)
    cdef char text[512]
    cdef size_t length = strlen(line)
    if length < sizeof(text):
        memcpy(text, line, length)
        text[length] = 10
        write(set.keylog_fd, text, length + 1)


cdef int on_ssl_context(CURL *easy, void *context, void *owner) noexcept nogil:
    curl.ssl_ctx_set_ex(context, curl.keylog_index, owner)
    curl.keylog_set(context, on_keylog)
    return CURLE_OK


cdef int status_of(const char *line, size_t length) noexcept nogil:
    """The three digits of "HTTP/1.1 200 OK"; 0 when they are not there."""
    cdef size_t i = 5
    cdef int k, status = 0
    while i < length and line[i] != 0x20:
        i += 1
    if i + 4 > length:
        return 0
    for k in range(1, 4):
        if line[i + k] < 0x30 or line[i + k] > 0x39:
            return 0
        status = status * 10 + (line[i + k] - 0x30)
    return status


cdef bint keep_line(slot *s, const char *line, size_t length) noexcept nogil:
    cdef size_t room = s.head_room
    cdef char *grown
    if s.head_length + length > room:
        while s.head_length + length > room:
            room = room * 2 if room else 1024
        grown = <char *>realloc(s.head, room)
        if grown == NULL:
            s.verdict = OUTCOME_NO_MEMORY
            return False
        s.head = grown
        s.head_room = room
    memcpy(s.head + s.head_length, line, length)
    s.head_length += length
    return True


cdef bint fits_63_bits(const char *value, size_t length) noexcept nogil:
    """Whether a Content-Length is a number libcurl can count to; beyond, it reads to the close."""
    cdef size_t i
    cdef int digits = 0
    cdef uint64_t number = 0
    for i in range(length):
        if value[i] >= 0x30 and value[i] <= 0x39 and (digits or value[i] != 0x30):
            digits += 1
            number = number * 10 + <uint64_t>(value[i] - 0x30)
    return digits < 19 or (digits == 19 and number < <uint64_t>1 << 63)


cdef bint names_charset(const char *value, size_t length) noexcept nogil:
    """Whether "charset" stands in a content-type; which one is for the owner to read."""
    cdef size_t i
    for i in range(length - 7 if length > 7 else 0):
        if strncasecmp(value + i, b"charset", 7) == 0:
            return True
    return False


cdef bint is_redirect(int status) noexcept nogil:
    return status == 301 or status == 302 or status == 303 or status == 307 or status == 308


cdef bint end_of_block(slot *s) noexcept nogil:
    """The blank line came. False: the transfer must not go on."""
    cdef xfer *x = s.x
    s.head_over = True
    if s.status < 200:
        s.interim += 1
        if s.interim > INTERIM_AT_MOST:
            s.verdict = OUTCOME_TOO_MANY_INTERIM
            return False
        return True
    s.head_done = True
    s.redirecting = x.t.follow and s.location and is_redirect(s.status)
    if s.redirecting:
        return True
    if not begin_decoding(s):
        return False
    slot_catch_up(s)
    if x.t.tunnel:
        s.verdict = EARLY_END
        return False
    return True


cdef void slot_catch_up(slot *s) noexcept nogil:
    """Gives the listeners there are what was kept because there were none.

    A script adds its listeners right after the call; where the engine runs in a thread of its own
    it may have been faster.
    """
    cdef xfer *x = s.x
    cdef event *e
    cdef unsigned wants = word_get(&x.wants)
    if wants & WANT_HEADERS and s.head_done and not s.redirecting and x.headers_event.kind == 0:
        x.headers_event.kind = EVENT_HEADERS
        x.headers_event.target = &x.o
        reactor_emit(x.home.r, &x.headers_event)
    if wants & WANT_CHUNKS and x.t.chunked and s.body != NULL:
        e = reactor_event(x.home.r)
        if e == NULL:
            return  # it stays kept, for the result
        e.kind = EVENT_CHUNK
        e.target = &x.o
        e.memory = s.body  # its hold goes along
        e.start = s.body.data
        e.length = s.body_length
        x.unread += s.body_length
        s.body = NULL
        s.body_length = 0
        reactor_emit(x.home.r, e)


cdef size_t on_header(char *line, size_t size, size_t count, void *owner) noexcept nogil:
    """Each line of each header block, and trailers."""
    cdef slot *s = <slot *>owner
    cdef size_t length = size * count
    if s.first_byte_at == 0:
        s.first_byte_at = now_ns()
    if s.head_over or s.head_length == 0:
        if length >= 5 and memcmp(line, b"HTTP/", 5) == 0:
            s.head_length = 0
            s.head_over = False
            s.head_done = False
            s.location = s.charset = s.has_length = s.has_coding = False
            s.codings_length = 0
            s.status = status_of(line, length)
        elif s.head_over:
            return length  # a trailer
    if not keep_line(s, line, length):
        return 0
    if line[0] == 0x0A or (length == 2 and line[0] == 0x0D and line[1] == 0x0A):
        return length if end_of_block(s) else 0
    return length if read_field(s, line, length) else 0


cdef bint add_codings(slot *s, const char *value, size_t length) noexcept nogil:
    """Several lines are one list (RFC 9110 5.3)."""
    if s.codings_length + length + 1 > sizeof(s.codings):
        s.verdict = CURLE_BAD_CONTENT_ENCODING
        return False
    if s.codings_length:
        s.codings[s.codings_length] = 0x2C
        s.codings_length += 1
    memcpy(s.codings + s.codings_length, value, length)
    s.codings_length += length
    return True


cdef bint begin_decoding(slot *s) noexcept nogil:
    """At the end of the header block. False: a coding that nobody asked for."""
    cdef int problem = 0
    if s.codings_length == 0 or s.codec != NULL or s.x.t.head or s.status in (204, 304):
        return True
    s.codec = decoder_new(s.codings, s.codings_length, &problem)
    if problem:
        s.verdict = OUTCOME_NO_MEMORY if problem == DECODE_NO_MEMORY else CURLE_BAD_CONTENT_ENCODING
    return problem == 0


cdef bint named(
        const char *line, size_t length, const char *name, size_t name_length) noexcept nogil:
    return length > name_length and strncasecmp(line, name, name_length) == 0


cdef bint read_field(slot *s, const char *line, size_t length) noexcept nogil:
    """What the engine itself must know of a header field. False: the response is refused."""
    cdef char initial = line[0] | 0x20
    if initial == 0x6C and named(line, length, b"location:", 9):
        s.location = True
    elif initial == 0x63 and named(line, length, b"content-type:", 13):
        s.charset = names_charset(line + 13, length - 13)
    elif initial == 0x63 and named(line, length, b"content-length:", 15):
        s.has_length = True
        if not fits_63_bits(line + 15, length - 15):
            s.verdict = OUTCOME_BAD_FRAMING
            return False
    elif initial == 0x63 and named(line, length, b"content-encoding:", 17):
        return add_codings(s, line + 17, length - 17)
    elif initial == 0x74 and named(line, length, b"transfer-encoding:", 18):
        s.has_coding = True
    return True


cdef bint keep_body(slot *s, const char *data, size_t length) noexcept nogil:
    """Adds to the body that is kept in one piece."""
    cdef slab *grown
    cdef size_t room
    if s.body_length + length > <size_t>s.x.home.set.max_kept_body:
        s.verdict = OUTCOME_BODY_TOO_LARGE
        return False
    if s.body == NULL:
        s.body = memory_take(length)
        s.body_length = 0
    elif s.body_length + length > s.body.room:
        room = s.body.room * 2
        if room < s.body_length + length:
            room = s.body_length + length
        grown = memory_grow(s.body, s.body_length, room)
        if grown == NULL:
            s.verdict = OUTCOME_NO_MEMORY
            return False
        s.body = grown
    if s.body == NULL:
        s.verdict = OUTCOME_NO_MEMORY
        return False
    memcpy(s.body.data + s.body_length, data, length)
    s.body_length += length
    return True


cdef bint emit_chunk(slot *s, const char *data, size_t length) noexcept nogil:
    """Writes to the stream slab, once, and tells the owner; what one read brought is one chunk."""
    cdef xfer *x = s.x
    cdef event *e
    if s.stream == NULL or s.stream.room - s.stream_used < length:
        if s.stream != NULL:
            memory_drop(s.stream)
        s.stream = memory_take(SLAB_ROOM if length < SLAB_ROOM else length)
        s.stream_used = 0
        s.last_chunk = NULL
        if s.stream == NULL:
            s.verdict = OUTCOME_NO_MEMORY
            return False
    memcpy(s.stream.data + s.stream_used, data, length)
    if s.last_chunk != NULL and s.last_turn == x.home.r.turn:
        s.last_chunk.length += length
    else:
        e = reactor_event(x.home.r)
        if e == NULL:
            s.verdict = OUTCOME_NO_MEMORY
            return False
        slab_hold(s.stream)
        e.kind = EVENT_CHUNK
        e.target = &x.o
        e.memory = s.stream
        e.start = s.stream.data + s.stream_used
        e.length = length
        reactor_emit(x.home.r, e)
        s.last_chunk = e
        s.last_turn = x.home.r.turn
    s.stream_used += length
    x.unread += length
    return True


cdef bint must_wait(xfer *x) noexcept nogil:
    """Whether the owner wants no more for now."""
    return x.held or (x.unread >= <size_t>x.home.set.max_buffered)


cdef bint take(slot *s, const char *data, size_t length) noexcept nogil:
    """Body bytes as the owner gets them. The copy made here is the only one after decoding."""
    cdef xfer *x = s.x
    s.taken += length
    if s.taken > x.home.set.max_body:
        s.verdict = OUTCOME_BODY_TOO_LARGE
        return False
    if x.t.chunked and word_get(&x.wants) & WANT_CHUNKS:
        slot_catch_up(s)
        return emit_chunk(s, data, length)
    return keep_body(s, data, length)


cdef bint take_decoded(void *owner, const char *data, size_t length) noexcept nogil:
    """One piece from the decoder; False also to make it wait."""
    cdef slot *s = <slot *>owner
    return take(s, data, length) and not must_wait(s.x)


cdef size_t on_body(char *data, size_t size, size_t count, void *owner) noexcept nogil:
    """Body bytes as they stand in the message, out of their transfer coding."""
    cdef slot *s = <slot *>owner
    cdef size_t length = size * count
    if s.redirecting:
        s.taken += length
        if s.taken > s.x.home.set.max_kept_body:
            s.verdict = OUTCOME_BODY_TOO_LARGE
            return 0
        return length
    if must_wait(s.x):
        s.x.stalled = True
        return CURL_WRITEFUNC_PAUSE
    if s.codec == NULL:
        return length if take(s, data, length) else 0
    return decode(s, data, length)


cdef size_t decode(slot *s, const char *data, size_t length) noexcept nogil:
    """Where the owner has enough in the middle of a piece, libcurl will bring the piece again."""
    cdef int code = decoder_feed(s.codec, data + s.skip, length - s.skip, take_decoded, s)
    if code == DECODE_OK:
        s.skip = 0
        return length
    if code == DECODE_STOPPED and s.verdict == 0:
        s.skip = length - decoder_left(s.codec)
        s.x.stalled = True
        return CURL_WRITEFUNC_PAUSE
    if s.verdict == 0:
        s.verdict = OUTCOME_NO_MEMORY if code == DECODE_NO_MEMORY else CURLE_BAD_CONTENT_ENCODING
    return 0


# ---------------------------------------------------------------- life of a slot

cdef slot *slot_new(multi *m, settings *set) noexcept nogil:
    """NULL when memory is out."""
    global slots_alive
    cdef slot *s = <slot *>calloc(1, sizeof(slot))
    if s == NULL:
        return NULL
    s.easy = curl.easy_init()
    if s.easy == NULL or curl.easy_setopt(s.easy, CURLOPT_SHARE, set.share) != CURLE_OK:
        if s.easy != NULL:
            curl.easy_cleanup(s.easy)
        free(s)
        return NULL
    s.m = m
    s.fd = -1
    slots_alive += 1
    return s


cdef void slot_free(slot *s) noexcept nogil:
    """The handle is on no multi handle any more."""
    global slots_alive
    slot_clear(s)
    curl.easy_cleanup(s.easy)
    slots_alive -= 1
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
    s.taken = 0
    s.last_chunk = NULL
    s.opened_at = s.ready_at = s.first_byte_at = 0
    s.fd = -1
    s.open_errno = 0
    s.error[0] = 0


cdef int set_callbacks(slot *s) noexcept nogil:
    cdef CURL *e = s.easy
    cdef int failed = 0
    failed |= curl.easy_setopt(e, CURLOPT_PRIVATE, s)
    failed |= curl.easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body)
    failed |= curl.easy_setopt(e, CURLOPT_WRITEDATA, s)
    failed |= curl.easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header)
    failed |= curl.easy_setopt(e, CURLOPT_HEADERDATA, s)
    failed |= curl.easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket)
    failed |= curl.easy_setopt(e, CURLOPT_OPENSOCKETDATA, s)
    failed |= curl.easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, multi_close_socket)
    failed |= curl.easy_setopt(e, CURLOPT_CLOSESOCKETDATA, s.m)
    failed |= curl.easy_setopt(e, CURLOPT_PREREQFUNCTION, on_ready_to_send)
    failed |= curl.easy_setopt(e, CURLOPT_PREREQDATA, s)
    failed |= curl.easy_setopt(e, CURLOPT_ERRORBUFFER, s.error)
    return failed


cdef int set_constants(CURL *e) noexcept nogil:
    cdef int failed = 0
    failed |= curl.easy_setopt(e, CURLOPT_NOSIGNAL, <long>1)
    failed |= curl.easy_setopt(e, CURLOPT_PROTOCOLS_STR, <char *>b"http,https")
    failed |= curl.easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, <char *>b"http,https")
    failed |= curl.easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, <long>1)
    failed |= curl.easy_setopt(e, CURLOPT_HTTP_CONTENT_DECODING, <long>0)
    failed |= curl.easy_setopt(e, CURLOPT_BUFFERSIZE, <long>RECEIVE_BUFFER)
    return failed


cdef int set_trust(CURL *e, settings *set) noexcept nogil:
    """TLS, to the origin, to a proxy and to a DoH server alike."""
    cdef int failed = 0
    # NULL too: what is compiled in must not be trusted beside what the caller names
    failed |= curl.easy_setopt(e, CURLOPT_CAINFO, set.ca_file)
    failed |= curl.easy_setopt(e, CURLOPT_PROXY_CAINFO, set.ca_file)
    failed |= curl.easy_setopt(e, CURLOPT_CAPATH, set.ca_path)
    failed |= curl.easy_setopt(e, CURLOPT_PROXY_CAPATH, set.ca_path)
    if set.cert != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_SSLCERT, set.cert)
    if set.key != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_SSLKEY, set.key)
    if not set.verify:
        failed |= curl.easy_setopt(e, CURLOPT_SSL_VERIFYPEER, <long>0)
        failed |= curl.easy_setopt(e, CURLOPT_SSL_VERIFYHOST, <long>0)
        failed |= curl.easy_setopt(e, CURLOPT_PROXY_SSL_VERIFYPEER, <long>0)
        failed |= curl.easy_setopt(e, CURLOPT_PROXY_SSL_VERIFYHOST, <long>0)
        failed |= curl.easy_setopt(e, CURLOPT_DOH_SSL_VERIFYPEER, <long>0)
        failed |= curl.easy_setopt(e, CURLOPT_DOH_SSL_VERIFYHOST, <long>0)
    if set.keylog_fd >= 0:
        failed |= curl.easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, on_ssl_context)
        failed |= curl.easy_setopt(e, CURLOPT_SSL_CTX_DATA, set)
    return failed


cdef int set_network(CURL *e, settings *set, bint no_proxy) noexcept nogil:
    cdef int failed = 0
    if no_proxy:
        failed |= curl.easy_setopt(e, CURLOPT_PROXY, <char *>b"")
    elif set.proxy != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_PROXY, set.proxy)
    if set.no_proxy != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_NOPROXY, set.no_proxy)
    if set.resolve != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_RESOLVE, set.resolve)
    if set.doh_url != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_DOH_URL, set.doh_url)
    if set.interface != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_INTERFACE, set.interface)
    if set.accept_encoding != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_ACCEPT_ENCODING, set.accept_encoding)
    if set.user_agent != NULL:
        failed |= curl.easy_setopt(e, CURLOPT_USERAGENT, set.user_agent)
    if set.cookies:
        failed |= curl.easy_setopt(e, CURLOPT_COOKIEFILE, <char *>b"")
    failed |= curl.easy_setopt(e, CURLOPT_TCP_NODELAY, <long>set.nodelay)
    failed |= curl.easy_setopt(e, CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS, set.happy_eyeballs_ms)
    if set.keepalive_s:
        failed |= curl.easy_setopt(e, CURLOPT_TCP_KEEPALIVE, <long>1)
        failed |= curl.easy_setopt(e, CURLOPT_TCP_KEEPIDLE, set.keepalive_s)
        failed |= curl.easy_setopt(e, CURLOPT_TCP_KEEPINTVL, set.keepalive_s)
    return failed


cdef const char *request_url(xfer *x) noexcept nogil:
    """The URL of the current hop."""
    return x.url if x.url != NULL else x.t.url


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
        e, CURLOPT_HTTPHEADER, x.headers if x.hops else t.headers)
    failed |= curl.easy_setopt(e, CURLOPT_HTTP_VERSION, t.http_version)
    failed |= curl.easy_setopt(e, CURLOPT_PIPEWAIT, <long>t.multiplex)
    return failed


cdef int slot_prepare(slot *s, settings *set, xfer *x) noexcept nogil:
    """Sets the handle to what the transfer needs; nothing of an earlier one is left.

    0, or not: then the library refused an option.
    """
    cdef int failed = 0
    if s.prepared != x.t.id or x.hops:
        s.prepared = 0
        curl.easy_reset(s.easy)
        failed |= set_callbacks(s)
        failed |= set_constants(s.easy)
        failed |= set_trust(s.easy, set)
        failed |= set_network(s.easy, set, x.t.no_proxy)
        failed |= set_request(s, x)
        if failed == 0 and not x.hops:
            s.prepared = x.t.id
    if x.t.with_body and not x.bare:
        failed |= curl.easy_setopt(s.easy, CURLOPT_POSTFIELDSIZE_LARGE, x.body_length)
        failed |= curl.easy_setopt(
            s.easy, CURLOPT_POSTFIELDS, x.body if x.body != NULL else <const char *>b"")
    return failed


# ---------------------------------------------------------------- what is known afterwards

cdef int64_t micros(CURL *e, int what) noexcept nogil:
    """A libcurl time in ns since the transfer began; 0: not reached, or too old a library."""
    cdef int64_t us = 0
    curl.easy_getinfo(e, what, &us)
    return us * 1000


cdef void slot_leave_connection(slot *s, bint single) noexcept nogil:
    """Before the handle is removed: what must be known of the connection while it is idle."""
    cdef int fd = -1
    curl.easy_getinfo(s.easy, CURLINFO_ACTIVESOCKET, &fd)
    if fd < 0 or fd >= s.m.r.source_count:
        return
    # over TLS, session tickets may well come in while it is idle
    s.m.r.sources[fd].single = single and url_scheme(request_url(s.x)) == 1
    if s.has_length and s.has_coding:
        sock_end(fd)


cdef void slot_add_bytes(slot *s, int64_t *sent, int64_t *received) noexcept nogil:
    """Header and body bytes of the current hop, as carried in HTTP.

    REQUEST_SIZE holds the header and what of the body went through libcurl's send buffer: all of
    it over HTTP/1, one buffer of 64 KiB over HTTP/2 and 3.
    """
    cdef long request = 0, head = 0
    cdef int64_t body = 0, uploaded = 0
    curl.easy_getinfo(s.easy, CURLINFO_REQUEST_SIZE, &request)
    curl.easy_getinfo(s.easy, CURLINFO_HEADER_SIZE, &head)
    curl.easy_getinfo(s.easy, CURLINFO_SIZE_DOWNLOAD_T, &body)
    curl.easy_getinfo(s.easy, CURLINFO_SIZE_UPLOAD_T, &uploaded)
    sent[0] += request if request >= uploaded else request % SEND_BUFFER + uploaded
    received[0] += head + body


cdef void read_peer(slot *s, phases *p) noexcept nogil:
    cdef const char *ip = NULL
    cdef long port = 0, version = 0
    cdef int fd = -1
    curl.easy_getinfo(s.easy, CURLINFO_PRIMARY_IP, &ip)
    if ip != NULL:
        strncpy(p.ip, ip, sizeof(p.ip) - 1)
    curl.easy_getinfo(s.easy, CURLINFO_PRIMARY_PORT, &port)
    p.port = <int>port if port > 0 else 0
    if s.first_byte_at:
        curl.easy_getinfo(s.easy, CURLINFO_HTTP_VERSION, &version)
        if version == CURL_HTTP_VERSION_1_1:
            p.http = 1
        elif version == CURL_HTTP_VERSION_2_0:
            p.http = 2
        elif version == CURL_HTTP_VERSION_3:
            p.http = 3
    if p.http != 3:
        curl.easy_getinfo(s.easy, CURLINFO_ACTIVESOCKET, &fd)
        if fd >= 0:
            p.rtt_us = sock_rtt_us(fd)


cdef int64_t not_before(phases *p, int which, int64_t at, int64_t floor) noexcept nogil:
    """Writes a moment, no earlier than `floor`."""
    p.at[which] = at if at > floor else floor
    return p.at[which]


cdef int64_t read_connect(
        slot *s, phases *p, int64_t base, int64_t at, bint tls) noexcept nogil:
    """DNS, connect and TLS moments; how far it got."""
    cdef int64_t lookup = micros(s.easy, CURLINFO_NAMELOOKUP_TIME_T)
    cdef int64_t tcp = micros(s.easy, CURLINFO_CONNECT_TIME_T)
    cdef int64_t app = micros(s.easy, CURLINFO_APPCONNECT_TIME_T)
    p.at[DNS_START] = at
    if lookup == 0 and s.opened_at == 0:
        return at
    at = not_before(p, DNS_END, base + lookup if lookup else s.opened_at, at)
    if s.opened_at == 0 and tcp == 0:
        return at
    at = not_before(p, CONNECT_START, s.opened_at if s.opened_at else at, at)
    if tcp == 0 and tls and s.fd >= 0 and s.m.r.sources[s.fd].kept:
        # libcurl tells of the TCP connection when TLS is through; we saw it wait for the answer
        return read_tls_start(s, p, at)
    if tcp == 0:
        return at
    if not tls:
        return not_before(p, CONNECT_END, base + tcp, at)
    at = not_before(p, SSL_START, base + tcp, at)
    if app == 0:
        return at
    at = not_before(p, SSL_END, base + app, at)
    return not_before(p, CONNECT_END, at, at)


cdef int64_t read_tls_start(slot *s, phases *p, int64_t at) noexcept nogil:
    cdef int64_t answered = s.m.r.sources[s.fd].answered_at
    return not_before(p, SSL_START, answered, at) if answered else at


cdef void read_exchange(
        slot *s, phases *p, int64_t base, int64_t at, int outcome) noexcept nogil:
    """Request and response moments.

    libcurl stamps the phases that a transfer did not reach when it dies; so those of a transfer
    that libcurl ended are taken only where a callback of ours saw them, or where its counters say
    so. One that we end (time-out, abort) is asked while it is alive.
    """
    cdef int64_t sent, uploaded = 0
    cdef long request = 0
    cdef bint answered = s.first_byte_at != 0
    if s.ready_at == 0:
        return
    at = not_before(
        p, REQUEST_START,
        base + micros(s.easy, CURLINFO_PRETRANSFER_TIME_T) if answered else s.ready_at, at)
    curl.easy_getinfo(s.easy, CURLINFO_SIZE_UPLOAD_T, &uploaded)
    curl.easy_getinfo(s.easy, CURLINFO_REQUEST_SIZE, &request)
    if answered or outcome < 0 or (request and (s.x.bare or uploaded == s.x.body_length)):
        sent = micros(s.easy, CURLINFO_POSTTRANSFER_TIME_T)
        if sent:
            not_before(p, REQUEST_END, base + sent, at)
        elif answered:
            p.at[REQUEST_END] = at
    if not answered:
        return
    at = not_before(p, RESPONSE_START, s.first_byte_at, at)
    if p.at[REQUEST_END] > at and (s.x.bare or s.x.body_length == 0):
        p.at[REQUEST_END] = at  # rounding: without a body there is no answer before the end
    if outcome == 0:
        if p.at[REQUEST_END] > at:
            at = p.at[REQUEST_END]
        not_before(p, RESPONSE_END, base + micros(s.easy, CURLINFO_TOTAL_TIME_T), at)


cdef void slot_read_phases(slot *s, xfer *x, int outcome) noexcept nogil:
    """Fills x.ph; before the handle is removed.

    libcurl's times count from the start of the hop. They are tied to our clock at the first
    header line, where both are known; before that, at the moment the transfer was handed over.
    """
    cdef phases *p = &x.ph
    cdef long connects = 0
    cdef int i
    cdef bint tls = url_scheme(request_url(x)) == 2
    cdef int64_t base = p.at[FETCH_START]
    cdef int64_t at = base
    if s.first_byte_at:
        base = s.first_byte_at - micros(s.easy, CURLINFO_STARTTRANSFER_TIME_T)
        if base < at:
            base = at
    # waiting inside libcurl for a connection to multiplex on is queueing too
    at = base + micros(s.easy, CURLINFO_QUEUE_TIME_T)
    p.at[FETCH_START] = at
    if x.hops == 0:
        p.at[QUEUE_END] = at
    p.sent = x.sent_before
    p.received = x.received_before
    slot_add_bytes(s, &p.sent, &p.received)
    read_peer(s, p)
    curl.easy_getinfo(s.easy, CURLINFO_NUM_CONNECTS, &connects)
    if connects == 0 and s.ready_at:
        p.reused = True
        for i in range(DNS_START, CONNECT_END + 1):
            p.at[i] = at
    else:
        at = read_connect(s, p, base, at, tls)
        if p.http == 3 and p.at[CONNECT_END]:
            p.rtt_us = <unsigned>((p.at[CONNECT_END] - p.at[CONNECT_START]) // 1000)
    read_exchange(s, p, base, at, outcome)


def alive():
    """libcurl handles alive."""
    return slots_alive
