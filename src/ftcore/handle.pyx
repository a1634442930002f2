"""What every libcurl handle of a Client is set to, whatever it is for."""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy, strlen
from posix.unistd cimport write

from ftcore.libcurl cimport (
    CURL, CURLE_OK, CURLE_SSL_CACERT_BADFILE, CURLINFO_TLS_SSL_PTR, CURLOPT_ACCEPT_ENCODING,
    CURLOPT_BUFFERSIZE, CURLOPT_CAINFO, CURLOPT_CAPATH, CURLOPT_COOKIEFILE,
    CURLOPT_DOH_SSL_VERIFYHOST, CURLOPT_DOH_SSL_VERIFYPEER, CURLOPT_DOH_URL,
    CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS, CURLOPT_HTTP_CONTENT_DECODING, CURLOPT_INTERFACE,
    CURLOPT_NOPROXY, CURLOPT_NOSIGNAL, CURLOPT_PROTOCOLS_STR, CURLOPT_PROXY, CURLOPT_PROXY_CAINFO,
    CURLOPT_PROXY_CAPATH, CURLOPT_PROXY_SSL_VERIFYHOST, CURLOPT_PROXY_SSL_VERIFYPEER,
    CURLOPT_REDIR_PROTOCOLS_STR, CURLOPT_RESOLVE, CURLOPT_SSLCERT, CURLOPT_SSLKEY,
    CURLOPT_SSL_CTX_DATA, CURLOPT_SSL_CTX_FUNCTION, CURLOPT_SSL_VERIFYHOST, CURLOPT_SSL_VERIFYPEER,
    CURLOPT_SUPPRESS_CONNECT_HEADERS, CURLOPT_TCP_KEEPALIVE, CURLOPT_TCP_KEEPIDLE,
    CURLOPT_TCP_KEEPINTVL, CURLOPT_TCP_NODELAY, CURLOPT_USERAGENT, CURLSSLBACKEND_OPENSSL, curl,
    curl_tlssessioninfo,
)
from ftcore.op cimport now_ns
from ftcore.settings cimport pthread_mutex_lock, pthread_mutex_unlock, settings

cdef enum:
    SSL_CB_HANDSHAKE_START = 0x10
    SSL_CB_HANDSHAKE_DONE = 0x20
    X509_V_FLAG_TRUSTED_FIRST = 0x8000  # as libcurl has them
    X509_V_FLAG_PARTIAL_CHAIN = 0x80000


cdef void on_keylog(void *ssl, const char *line) noexcept nogil:
    """One line in one write, so that lines of several threads don't mix."""
    cdef settings *set = <settings *>curl.ssl_ctx_get_ex(curl.ssl_ctx_of(ssl), curl.keylog_index)
    cdef char text[512]
    cdef size_t length = strlen(line)
    if length < sizeof(text):
        memcpy(text, line, length)
        text[length] = 10
        write(set.keylog_fd, text, length + 1)


cdef void *ca_store(settings *set) noexcept nogil:
    """The trusted certificates, read once for a Client; NULL: they can't be."""
    cdef void *store
    pthread_mutex_lock(&set.ca_lock)
    if set.ca_store == NULL:
        store = curl.ca_store_new()
        if store != NULL and curl.ca_store_load(store, set.ca_file, set.ca_path) == 1:
            curl.ca_store_set_flags(store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN)
            set.ca_store = store
        elif store != NULL:
            curl.ca_store_free(store)
    pthread_mutex_unlock(&set.ca_lock)
    return set.ca_store


cdef void on_handshake(const void *ssl, int what, int result) noexcept nogil:
    """The first time of each counts: session tickets come as handshakes of their own."""
    cdef void *context
    cdef int which = 0 if what == SSL_CB_HANDSHAKE_START else 1
    if what != SSL_CB_HANDSHAKE_START and what != SSL_CB_HANDSHAKE_DONE:
        return
    context = curl.ssl_ctx_of(<void *>ssl)
    if curl.ssl_ctx_get_ex(context, curl.shook_index[which]) == NULL:
        curl.ssl_ctx_set_ex(context, curl.shook_index[which], <void *><uintptr_t>now_ns())


cdef void handle_shook_hands(CURL *e, int64_t *shook) noexcept nogil:
    cdef curl_tlssessioninfo *session = NULL
    cdef void *context
    cdef int i
    shook[0] = shook[1] = 0
    if curl.ssl_ctx_set_info == NULL:
        return
    curl.easy_getinfo(e, CURLINFO_TLS_SSL_PTR, &session)
    if session == NULL or session.internals == NULL or session.backend != CURLSSLBACKEND_OPENSSL:
        return
    context = curl.ssl_ctx_of(session.internals)
    for i in range(2):
        shook[i] = <int64_t><uintptr_t>curl.ssl_ctx_get_ex(context, curl.shook_index[i])


cdef int on_ssl_context(CURL *easy, void *context, void *owner) noexcept nogil:
    cdef settings *set = <settings *>owner
    cdef void *store
    if curl.ssl_ctx_set_info != NULL:
        curl.ssl_ctx_set_info(context, on_handshake)
    if set.keylog_fd >= 0:
        curl.ssl_ctx_set_ex(context, curl.keylog_index, owner)
        curl.keylog_set(context, on_keylog)
    if keeps_store(set):
        store = ca_store(set)
        if store == NULL:
            return CURLE_SSL_CACERT_BADFILE
        curl.ssl_ctx_set_store(context, store)
    return CURLE_OK


cdef bint keeps_store(settings *set) noexcept nogil:
    """libcurl would read the certificates for each multi handle anew: 5 ms and 800 KiB."""
    return set.verify and curl.ca_store_new != NULL and (
        set.ca_file != NULL or set.ca_path != NULL)


cdef int give(CURL *e, int option, void *value) noexcept nogil:
    """NULL: not set, and the option stays what it is."""
    return curl.easy_setopt(e, option, value) if value != NULL else 0


cdef int handle_set_constants(CURL *e) noexcept nogil:
    cdef int failed = 0
    failed |= curl.easy_setopt(e, CURLOPT_NOSIGNAL, <long>1)
    failed |= curl.easy_setopt(e, CURLOPT_PROTOCOLS_STR, <char *>b"http,https")
    failed |= curl.easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, <char *>b"http,https")
    failed |= curl.easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, <long>1)
    failed |= curl.easy_setopt(e, CURLOPT_HTTP_CONTENT_DECODING, <long>0)
    failed |= curl.easy_setopt(e, CURLOPT_BUFFERSIZE, <long>BUFFER)
    return failed


cdef int handle_set_trust(CURL *e, settings *set) noexcept nogil:
    """TLS, to the origin, to a proxy and to a DoH server alike."""
    cdef int failed = 0
    cdef char *file = NULL if keeps_store(set) else set.ca_file
    # a directory is not read until it is asked, and with none libcurl may read what it brings along
    cdef char *path = <char *>b"/" if keeps_store(set) else set.ca_path
    # NULL too: what is compiled in must not be trusted beside what the caller names
    failed |= curl.easy_setopt(e, CURLOPT_CAINFO, file)
    failed |= curl.easy_setopt(e, CURLOPT_PROXY_CAINFO, file)
    failed |= curl.easy_setopt(e, CURLOPT_CAPATH, path)
    failed |= curl.easy_setopt(e, CURLOPT_PROXY_CAPATH, path)
    failed |= give(e, CURLOPT_SSLCERT, set.cert)
    failed |= give(e, CURLOPT_SSLKEY, set.key)
    if not set.verify:
        failed |= curl.easy_setopt(e, CURLOPT_SSL_VERIFYPEER, <long>0)
        failed |= curl.easy_setopt(e, CURLOPT_SSL_VERIFYHOST, <long>0)
        failed |= curl.easy_setopt(e, CURLOPT_PROXY_SSL_VERIFYPEER, <long>0)
        failed |= curl.easy_setopt(e, CURLOPT_PROXY_SSL_VERIFYHOST, <long>0)
        failed |= curl.easy_setopt(e, CURLOPT_DOH_SSL_VERIFYPEER, <long>0)
        failed |= curl.easy_setopt(e, CURLOPT_DOH_SSL_VERIFYHOST, <long>0)
    if curl.ssl_ctx_set_info != NULL or set.keylog_fd >= 0 or keeps_store(set):
        failed |= curl.easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, on_ssl_context)
        failed |= curl.easy_setopt(e, CURLOPT_SSL_CTX_DATA, set)
    return failed


cdef int handle_set_network(CURL *e, settings *set, bint no_proxy) noexcept nogil:
    cdef int failed = 0
    if no_proxy:
        failed |= curl.easy_setopt(e, CURLOPT_PROXY, <char *>b"")
    else:
        failed |= give(e, CURLOPT_PROXY, set.proxy)
    failed |= give(e, CURLOPT_NOPROXY, set.no_proxy)
    failed |= give(e, CURLOPT_RESOLVE, set.resolve)
    failed |= give(e, CURLOPT_DOH_URL, set.doh_url)
    failed |= give(e, CURLOPT_INTERFACE, set.interface)
    failed |= give(e, CURLOPT_ACCEPT_ENCODING, set.accept_encoding)
    failed |= give(e, CURLOPT_USERAGENT, set.user_agent)
    if set.cookies:
        failed |= curl.easy_setopt(e, CURLOPT_COOKIEFILE, <char *>b"")
    failed |= curl.easy_setopt(e, CURLOPT_TCP_NODELAY, <long>set.nodelay)
    failed |= curl.easy_setopt(e, CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS, set.happy_eyeballs_ms)
    if set.keepalive_s:
        failed |= curl.easy_setopt(e, CURLOPT_TCP_KEEPALIVE, <long>1)
        failed |= curl.easy_setopt(e, CURLOPT_TCP_KEEPIDLE, set.keepalive_s)
        failed |= curl.easy_setopt(e, CURLOPT_TCP_KEEPINTVL, set.keepalive_s)
    return failed
