"""The header block of a request as libcurl would send it over HTTP/1.1. See heading.pxd."""
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, strchr, strdup, strlen

from ftcore.libcurl cimport (
    CURLUE_OK, CURLUPART_HOST, CURLUPART_PATH, CURLUPART_PORT, CURLUPART_QUERY, CURLUPART_URL,
    CURLUPART_USER, CURLU, CURLU_ALLOW_SPACE, CURLU_GET_EMPTY, CURLU_GUESS_SCHEME,
    CURLU_NON_SUPPORT_SCHEME, CURLU_NO_DEFAULT_PORT, CURLU_URLENCODE, curl,
)

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *, const char *, size_t)


cdef void add_bytes(heading *h, const char *data, size_t length) noexcept nogil:
    cdef size_t room = h.room
    cdef char *grown
    if h.failed:
        return
    if h.length + length > room:
        while h.length + length > room:
            room = room * 2 if room else 512
        grown = <char *>realloc(h.text, room)
        if grown == NULL:
            h.failed = True
            return
        h.text = grown
        h.room = room
    memcpy(h.text + h.length, data, length)
    h.length += length


cdef void add(heading *h, const char *text) noexcept nogil:
    add_bytes(h, text, strlen(text))


cdef void heading_take(heading *h, const char *text, size_t length) noexcept nogil:
    h.length = 0
    h.failed = False
    add_bytes(h, text, length)


cdef void heading_free(heading *h) noexcept nogil:
    free(h.text)
    h.text = NULL
    h.length = h.room = 0


# ---------------------------------------------------------------- the caller's lines

cdef bint is_of(const char *line, const char *name) noexcept nogil:
    """Whether a line is about this field; `name` without a colon."""
    cdef size_t length = strlen(name)
    return strncasecmp(line, name, length) == 0 and (
        line[length] == 0x3A or line[length] == 0x3B)


cdef const char *line_of(const curl_slist *lines, const char *name) noexcept nogil:
    """The first line about a field; NULL: there is none."""
    while lines != NULL:
        if is_of(lines.data, name):
            return lines.data
        lines = lines.next
    return NULL


cdef bint has_value(const char *line) noexcept nogil:
    """Whether it is sent: "Name: value", or "Name;"; "Name:" keeps a default away."""
    cdef const char *at = strchr(line, 0x3A)
    if at == NULL:
        return line[0] != 0 and line[strlen(line) - 1] == 0x3B
    at += 1
    while at[0] == 0x20 or at[0] == 0x09:
        at += 1
    return at[0] != 0


cdef void add_line(heading *h, const char *line) noexcept nogil:
    if not has_value(line):
        return
    if strchr(line, 0x3A) == NULL:
        add_bytes(h, line, strlen(line) - 1)
        add(h, b":\r\n")
    else:
        add(h, line)
        add(h, b"\r\n")


cdef void add_renamed(heading *h, const char *name, const char *line) noexcept nogil:
    """A line under libcurl's own spelling of its name; nothing without a value."""
    cdef const char *value = line + strlen(name) + 1
    while value[0] == 0x20 or value[0] == 0x09:
        value += 1
    if value[0] == 0:
        return
    add(h, name)
    add(h, line + strlen(name))
    add(h, b"\r\n")


# ---------------------------------------------------------------- the block

cdef void add_part(
        heading *h, CURLU *u, int part, unsigned flags, const char *before) noexcept nogil:
    cdef char *text = NULL
    if curl.url_get(u, part, &text, flags) == CURLUE_OK and text != NULL:
        add(h, before)
        add(h, text)
        curl.free(text)


cdef void add_default(
        heading *h, const curl_slist *lines, const char *name, const char *value) noexcept nogil:
    """A field that is sent unless the caller's header has it."""
    if value == NULL or line_of(lines, name) != NULL:
        return
    add(h, name)
    add(h, b": ")
    add(h, value)
    add(h, b"\r\n")


cdef void heading_begin(
        heading *h, const char *method, const char *url, const char *agent, const char *codings,
        const curl_slist *lines) noexcept nogil:
    cdef CURLU *u = parsed(url)
    cdef const char *host = line_of(lines, b"Host")
    cdef const curl_slist *line = lines
    h.length = 0
    h.failed = u == NULL
    if h.failed:
        return
    add(h, method)
    add_part(h, u, CURLUPART_PATH, CURLU_URLENCODE, b" ")
    add_part(h, u, CURLUPART_QUERY, CURLU_GET_EMPTY, b"?")
    add(h, b" HTTP/1.1\r\n")
    if host != NULL:
        add_renamed(h, b"Host", host)
    else:
        add_part(h, u, CURLUPART_HOST, 0, b"Host: ")
        add_part(h, u, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT, b":")
        add(h, b"\r\n")
    add_default(h, lines, b"User-Agent", agent)
    add_default(h, lines, b"Accept", b"*/*")
    add_default(h, lines, b"Accept-Encoding", codings)
    while line != NULL:
        if not is_of(line.data, b"Host") and not is_of(line.data, b"Connection"):
            add_line(h, line.data)
        line = line.next
    curl.url_cleanup(u)


cdef bint heading_end(
        heading *h, int64_t body_length, bint expects, const curl_slist *lines) noexcept nogil:
    cdef char text[64]
    cdef bint first = True
    if body_length != NO_BODY:
        snprintf(text, sizeof(text), b"Content-Length: %lld\r\n", <long long>body_length)
        add(h, text)
        add_default(h, lines, b"Content-Type", b"application/x-www-form-urlencoded")
        if expects:
            add_default(h, lines, b"Expect", b"100-continue")
    while lines != NULL:
        if is_of(lines.data, b"Connection") and strchr(lines.data, 0x3A) != NULL:
            if first:  # under its name as libcurl writes it
                add_renamed(h, b"Connection", lines.data)
            else:
                add_line(h, lines.data)
            first = False
        lines = lines.next
    add(h, b"\r\n")
    return not h.failed


# ---------------------------------------------------------------- URLs

cdef CURLU *parsed(const char *url) noexcept nogil:
    """As libcurl reads the URL of a request; NULL: it is none, or memory is out."""
    cdef CURLU *u = curl.url_new()
    if u != NULL and curl.url_set(
            u, CURLUPART_URL, url, CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK:
        return u
    curl.url_cleanup(u)
    return NULL


cdef char *heading_redirect(const char *url, const char *place, size_t length) noexcept nogil:
    cdef CURLU *u = parsed(url)
    cdef char *there = NULL
    cdef char *given = <char *>malloc(length + 1)
    if given == NULL:
        curl.url_cleanup(u)
        return NULL
    memcpy(given, place, length)
    given[length] = 0
    if u != NULL and curl.url_set(u, CURLUPART_URL, given, CURLU_ALLOW_SPACE) == CURLUE_OK and (
            curl.url_get(u, CURLUPART_URL, &there, 0) == CURLUE_OK):
        free(given)
        given = strdup(there)  # else libcurl hands it on as it is
        curl.free(there)
    curl.url_cleanup(u)
    return given


cdef bint heading_has_login(const char *url) noexcept nogil:
    cdef CURLU *u = parsed(url)
    cdef char *user = NULL
    cdef bint has = u == NULL or curl.url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK
    curl.free(user)
    curl.url_cleanup(u)
    return has
