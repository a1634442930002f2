"""What every libcurl handle of a Client is set to, whatever it is for."""
from libc.stddef cimport size_t
from libc.string cimport memcpy, strlen
from posix.unistd cimport write

from ftcore.libcurl cimport (
    CURL, CURLE_OK, CURLOPT_ACCEPT_ENCODING, CURLOPT_BUFFERSIZE, CURLOPT_CAINFO, CURLOPT_CAPATH,
    CURLOPT_COOKIEFILE, CURLOPT_DOH_SSL_VERIFYHOST, CURLOPT_DOH_SSL_VERIFYPEER, CURLOPT_DOH_URL,
    CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS, CURLOPT_HTTP_CONTENT_DECODING, CURLOPT_INTERFACE,
    CURLOPT_NOPROXY, CURLOPT_NOSIGNAL, CURLOPT_PROTOCOLS_STR, CURLOPT_PROXY, CURLOPT_PROXY_CAINFO,
    CURLOPT_PROXY_CAPATH, CURLOPT_PROXY_SSL_VERIFYHOST, CURLOPT_PROXY_SSL_VERIFYPEER,
    CURLOPT_REDIR_PROTOCOLS_STR, CURLOPT_RESOLVE, CURLOPT_SSLCERT, CURLOPT_SSLKEY,
    CURLOPT_SSL_CTX_DATA, CURLOPT_SSL_CTX_FUNCTION, CURLOPT_SSL_VERIFYHOST, CURLOPT_SSL_VERIFYPEER,
    CURLOPT_SUPPRESS_CONNECT_HEADERS, CURLOPT_TCP_KEEPALIVE, CURLOPT_TCP_KEEPIDLE,
    CURLOPT_TCP_KEEPINTVL, CURLOPT_TCP_NODELAY, CURLOPT_USERAGENT, curl,
)
from ftcore.settings cimport settings


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


cdef int handle_set_network(CURL *e, settings *set, bint no_proxy) noexcept nogil:
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
