"""What a Client is set to, and what a request is made from; both immutable once made."""
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.fcntl cimport O_APPEND, O_CREAT, O_WRONLY, open as c_open
from posix.unistd cimport close

from ftcore.heading cimport (
    NO_BODY, heading_begin, heading_end, heading_free, heading_has_login,
)
from ftcore.libcurl cimport (
    CURL, CURL_LOCK_DATA_COOKIE, CURL_LOCK_DATA_DNS, CURL_LOCK_DATA_SSL_SESSION,
    CURLSHOPT_LOCKFUNC, CURLSHOPT_SHARE, CURLSHOPT_UNLOCKFUNC, CURLSHOPT_USERDATA, curl,
)

import os

from ftcore.decode import offered

cdef enum:
    UNLIMITED = 0x3FFFFFFFFFFFFFFF

cdef uint64_t templates_made = 0


cdef void lock_shared(CURL *easy, int kind, int access, void *owner) noexcept nogil:
    pthread_mutex_lock(&(<settings *>owner).locks[kind])


cdef void unlock_shared(CURL *easy, int kind, void *owner) noexcept nogil:
    pthread_mutex_unlock(&(<settings *>owner).locks[kind])


cdef curl_slist *slist(lines) except? NULL:
    """A list that the caller owns; NULL when `lines` is empty."""
    cdef curl_slist *made = NULL
    cdef curl_slist *longer
    for line in lines:
        longer = curl.slist_append(made, <bytes>line)
        if longer == NULL:
            curl.slist_free_all(made)
            raise MemoryError
        made = longer
    return made


cdef curl_slist *last_lines(bytes block, int count) except? NULL:
    """So many lines of a header block, with or without its end, as libcurl takes them."""
    cdef Py_ssize_t end = len(block), start, i
    cdef curl_slist *made = NULL
    cdef curl_slist *longer
    cdef char *text
    if count == 0:
        return NULL
    if block.endswith(b"\r\n\r\n"):
        end -= 2
    start = end
    while count > 0 and start > 0:
        start -= 1
        count -= start == 0 or block[start - 1] == c"\n"
    end -= start
    text = <char *>malloc(end + 1)
    if text == NULL:
        raise MemoryError
    memcpy(text, <char *>block + start, end)
    start = 0
    for i in range(1, end):
        if text[i] == c"\n" and text[i - 1] == c"\r":
            text[i - 1] = 0
            longer = curl.slist_append(made, text + start)
            if longer == NULL:
                curl.slist_free_all(made)
                free(text)
                raise MemoryError
            made = longer
            start = i + 1
    free(text)
    return made


cdef class Settings:
    """What a Client is set to.

    Keyword arguments; text as bytes or None. ``resolve`` are CURLOPT_RESOLVE lines; sizes in
    bytes, None for no limit; ``keylog_file`` a path or None.
    """

    def __cinit__(self, *, ca_file=None, ca_path=None, cert=None, key=None, proxy=None,
                  no_proxy=None, doh_url=None, interface=None, user_agent=None, resolve=(),
                  bint verify=True, bint cookies=False, bint insecure_redirects=False,
                  bint nodelay=True, long happy_eyeballs_ms=200, long keepalive_s=0,
                  keylog_file=None, max_body=None, max_kept_body=None, int64_t max_buffered=1 << 20,
                  int max_connections=1024, int max_connections_per_host=1024,
                  int max_descriptors=1024):
        cdef int kind
        memset(&self.c, 0, sizeof(settings))
        self.c.keylog_fd = -1
        self.kept = {}
        self.c.ca_file = self.text("ca_file", ca_file)
        self.c.ca_path = self.text("ca_path", ca_path)
        self.c.cert = self.text("cert", cert)
        self.c.key = self.text("key", key)
        self.c.proxy = self.text("proxy", proxy)
        self.c.no_proxy = self.text("no_proxy", no_proxy)
        self.c.doh_url = self.text("doh_url", doh_url)
        self.c.interface = self.text("interface", interface)
        self.c.user_agent = self.text("user_agent", user_agent)
        self.c.accept_encoding = self.text("accept_encoding", offered() or None)
        self.c.resolve = slist(resolve)
        self.c.verify = verify
        self.c.cookies = cookies
        self.c.insecure_redirects = insecure_redirects
        self.c.nodelay = nodelay
        self.c.happy_eyeballs_ms = happy_eyeballs_ms
        self.c.keepalive_s = keepalive_s
        self.c.max_body = UNLIMITED if max_body is None else max_body
        self.c.max_kept_body = UNLIMITED if max_kept_body is None else max_kept_body
        self.c.max_buffered = max_buffered
        self.c.max_connections = max_connections
        self.c.max_connections_per_host = max_connections_per_host
        self.c.max_descriptors = max_descriptors
        if keylog_file is not None:
            self.open_keylog(os.fsencode(keylog_file))
        pthread_mutex_init(&self.c.ca_lock, NULL)
        for kind in range(10):
            pthread_mutex_init(&self.c.locks[kind], NULL)
        self.open_share()

    cdef char *text(self, str name, value):
        """Keeps `value` alive as long as the settings."""
        if value is None:
            return NULL
        self.kept[name] = value
        return <bytes>value

    cdef int open_keylog(self, bytes path) except -1:
        self.c.keylog_fd = c_open(path, O_WRONLY | O_APPEND | O_CREAT, 0o600)
        if self.c.keylog_fd < 0:
            raise OSError(f"keylog_file {os.fsdecode(path)!r} can't be opened for appending")
        os.set_inheritable(self.c.keylog_fd, False)
        return 0

    cdef int open_share(self) except -1:
        self.c.share = curl.share_init()
        if self.c.share == NULL:
            raise MemoryError
        curl.share_setopt(self.c.share, CURLSHOPT_LOCKFUNC, lock_shared)
        curl.share_setopt(self.c.share, CURLSHOPT_UNLOCKFUNC, unlock_shared)
        curl.share_setopt(self.c.share, CURLSHOPT_USERDATA, <void *>&self.c)
        curl.share_setopt(self.c.share, CURLSHOPT_SHARE, <int>CURL_LOCK_DATA_DNS)
        curl.share_setopt(self.c.share, CURLSHOPT_SHARE, <int>CURL_LOCK_DATA_SSL_SESSION)
        if self.c.cookies:
            curl.share_setopt(self.c.share, CURLSHOPT_SHARE, <int>CURL_LOCK_DATA_COOKIE)
        return 0

    def __dealloc__(self):
        if self.c.share != NULL:
            curl.share_cleanup(self.c.share)
        if self.c.ca_store != NULL:
            curl.ca_store_free(self.c.ca_store)
        if self.c.resolve != NULL:
            curl.slist_free_all(self.c.resolve)
        if self.c.keylog_fd >= 0:
            close(self.c.keylog_fd)


cdef class Template:
    """Everything about a request but its body.

    ``verb`` and ``target`` (the request target of CONNECT) are bytes or None, ``lines`` header
    lines as libcurl takes them, ``origin`` a number that the Client gives to scheme, host and
    port, ``http_version`` a CURL_HTTP_VERSION_*. With ``native``, the Client's settings, the
    native lane serves it.
    """

    def __cinit__(self, bytes url not None, *, verb=None, target=None, lines=(),
                  long http_version=0, int origin=0, bint multiplex=False, bint head=False,
                  bint with_body=False, bint tunnel=False, bint no_proxy=False, bint follow=True,
                  bint chunked=False, bint profile=True, Settings native=None):
        global templates_made
        memset(&self.c, 0, sizeof(template))
        self.kept = (url, verb, target)
        templates_made += 1
        self.c.id = templates_made
        self.c.url = url
        self.c.verb = NULL if verb is None else <char *><bytes>verb
        self.c.target = NULL if target is None else <char *><bytes>target
        self.c.headers = slist(lines)
        self.c.http_version = http_version
        self.c.origin = origin
        self.c.multiplex = multiplex
        self.c.head = head
        self.c.with_body = with_body
        self.c.tunnel = tunnel
        self.c.no_proxy = no_proxy
        self.c.follow = follow
        self.c.chunked = chunked
        self.c.profile = profile
        if native is not None:
            self.prepare(&native.c)

    @property
    def asked(self):
        """The header block that the native lane sends, up to what is said of the body; b"": it
        can't serve it."""
        return b"" if self.c.asking == NULL else self.c.asking[:self.c.asking_length]

    @property
    def url(self):
        return self.kept[0].decode("ascii")

    cpdef Template varied(self, bytes url, bytes asked, int own):
        """The same to another URL of the same origin, whose header block is `asked`, as `Template`
        writes it; the last `own` lines of it are those that it was given."""
        cdef Template made = Template.__new__(Template, url)
        cdef curl_slist *headers = last_lines(asked, own)
        cdef unsigned long long id = made.c.id
        made.c = self.c
        made.c.id = id
        made.c.url = url
        made.c.headers = headers
        made.kept = (url, self.kept[1], self.kept[2], asked)
        made.c.asking = <char *>asked if asked else NULL
        made.c.asking_length = <size_t>len(asked)
        return made

    cdef int prepare(self, settings *set) except -1:
        """Writes down what is sent, once; a URL that is none is left to libcurl, which says so."""
        cdef const char *method = template_method(&self.c)
        if heading_has_login(self.c.url):
            return 0
        heading_begin(&self.asking, method, self.c.url, set.user_agent, set.accept_encoding,
                      self.c.headers)
        if not self.c.with_body:
            heading_end(&self.asking, NO_BODY, False, self.c.headers)
        if not self.asking.failed:
            self.c.asking = self.asking.text
            self.c.asking_length = self.asking.length
        return 0

    def __dealloc__(self):
        heading_free(&self.asking)
        if self.c.headers != NULL:
            curl.slist_free_all(self.c.headers)
