"""What a Client is set to, and what a request is made from; both immutable once made."""
from libc.stdint cimport int64_t, uint64_t

from ftcore.heading cimport heading
from ftcore.libcurl cimport CURLSH, curl_slist

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *, void *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)

cdef struct settings:
    # Strings belong to the Settings object; NULL: not set.
    char *ca_file
    char *ca_path
    char *cert
    char *key
    char *proxy
    char *no_proxy
    char *doh_url
    char *interface
    char *user_agent
    char *accept_encoding
    curl_slist *resolve      # owned
    bint verify
    bint cookies
    bint insecure_redirects
    bint nodelay
    long happy_eyeballs_ms
    long keepalive_s         # 0: off
    int keylog_fd            # -1: off
    int64_t max_body         # streamed to a listener
    int64_t max_kept_body    # kept in memory
    int64_t max_buffered
    int max_connections
    int max_connections_per_host
    int max_descriptors      # sockets and files of the transfers that run
    CURLSH *share            # owned: DNS cache, TLS sessions, cookies
    void *ca_store           # owned: OpenSSL's, of ca_file and ca_path; NULL: not read yet
    pthread_mutex_t ca_lock
    pthread_mutex_t locks[10]

cdef struct template:
    uint64_t id              # never used twice
    char *url
    char *verb               # for CURLOPT_CUSTOMREQUEST, or NULL
    char *target             # for CURLOPT_REQUEST_TARGET, or NULL
    curl_slist *headers      # owned
    long http_version
    int origin
    bint multiplex           # the connection may turn out to carry several at once
    bint head                # HEAD
    bint with_body
    bint tunnel              # CONNECT: over when the header block is complete
    bint no_proxy
    bint follow
    bint chunked
    bint profile
    char *asking             # the request's header block, up to what is said of its body; NULL: the
    size_t asking_length     # ... native lane can't serve it

cdef class Settings:
    cdef settings c
    cdef dict kept          # the strings that `c` points into
    cdef char *text(self, str name, value)
    cdef int open_keylog(self, bytes path) except -1
    cdef int open_share(self) except -1

cdef class Template:
    cdef template c
    cdef tuple kept         # the strings that `c` points into
    cdef heading asking
    cdef int prepare(self, settings *) except -1
    cpdef Template varied(self, bytes url, bytes asked, int own)


cdef inline const char *template_method(const template *t) noexcept nogil:
    """As it is sent."""
    if t.verb != NULL and not t.head:
        return t.verb
    if t.head:
        return "HEAD"
    return "POST" if t.with_body else "GET"
