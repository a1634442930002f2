"""Fills the table of libcurl's functions, once, at import."""
from libc.stdint cimport int64_t, uintptr_t

from ftcore import _libcurl

cdef enum:
    CRYPTO_EX_INDEX_SSL_CTX = 1

library = _libcurl.find()

#: What a Client's http_version may be -> CURL_HTTP_VERSION_*
HTTP_VERSIONS = {
    "1.1": CURL_HTTP_VERSION_1_1,
    "2": CURL_HTTP_VERSION_2TLS,
    "2-prior-knowledge": CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE,
    "3": CURL_HTTP_VERSION_3,
    "3-only": CURL_HTTP_VERSION_3ONLY,
}


cdef void *address(str name):
    return <void *><uintptr_t>library.addresses.get(name, 0)


cdef void fill() except *:
    global curl
    curl.easy_init = <CURL *(*)() noexcept nogil>address("curl_easy_init")
    curl.easy_cleanup = <void (*)(CURL *) noexcept nogil>address("curl_easy_cleanup")
    curl.easy_reset = <void (*)(CURL *) noexcept nogil>address("curl_easy_reset")
    curl.easy_setopt = <int (*)(CURL *, int, ...) noexcept nogil>address("curl_easy_setopt")
    curl.easy_getinfo = <int (*)(CURL *, int, ...) noexcept nogil>address("curl_easy_getinfo")
    curl.easy_pause = <int (*)(CURL *, int) noexcept nogil>address("curl_easy_pause")
    curl.easy_send = \
        <int (*)(CURL *, const void *, size_t, size_t *) noexcept nogil>address("curl_easy_send")
    curl.easy_recv = \
        <int (*)(CURL *, void *, size_t, size_t *) noexcept nogil>address("curl_easy_recv")
    curl.easy_strerror = <const char *(*)(int) noexcept nogil>address("curl_easy_strerror")
    curl.multi_init = <CURLM *(*)() noexcept nogil>address("curl_multi_init")
    curl.multi_cleanup = <int (*)(CURLM *) noexcept nogil>address("curl_multi_cleanup")
    curl.multi_setopt = <int (*)(CURLM *, int, ...) noexcept nogil>address("curl_multi_setopt")
    curl.multi_add_handle = \
        <int (*)(CURLM *, CURL *) noexcept nogil>address("curl_multi_add_handle")
    curl.multi_remove_handle = \
        <int (*)(CURLM *, CURL *) noexcept nogil>address("curl_multi_remove_handle")
    curl.multi_socket_action = \
        <int (*)(CURLM *, int, int, int *) noexcept nogil>address("curl_multi_socket_action")
    curl.multi_info_read = \
        <CURLMsg *(*)(CURLM *, int *) noexcept nogil>address("curl_multi_info_read")
    curl.share_init = <CURLSH *(*)() noexcept nogil>address("curl_share_init")
    curl.share_setopt = <int (*)(CURLSH *, int, ...) noexcept nogil>address("curl_share_setopt")
    curl.share_cleanup = <int (*)(CURLSH *) noexcept nogil>address("curl_share_cleanup")
    curl.slist_append = \
        <curl_slist *(*)(curl_slist *, const char *) noexcept nogil>address("curl_slist_append")
    curl.slist_free_all = <void (*)(curl_slist *) noexcept nogil>address("curl_slist_free_all")
    curl.url_new = <CURLU *(*)() noexcept nogil>address("curl_url")
    curl.url_cleanup = <void (*)(CURLU *) noexcept nogil>address("curl_url_cleanup")
    curl.url_set = \
        <int (*)(CURLU *, int, const char *, unsigned int) noexcept nogil>address("curl_url_set")
    curl.url_get = \
        <int (*)(CURLU *, int, char **, unsigned int) noexcept nogil>address("curl_url_get")
    curl.free = <void (*)(void *) noexcept nogil>address("curl_free")
    curl.version_num = library.version_num


cdef void fill_ssl_hooks() except *:
    """OpenSSL's hooks for key logs and handshakes, and places in its SSL_CTX for what they need."""
    global curl
    cdef int i
    cdef int (*new_index)(int, long, void *, void *, void *, void *) noexcept nogil
    new_index = <int (*)(int, long, void *, void *, void *, void *) noexcept nogil>address(
        "CRYPTO_get_ex_new_index")
    curl.keylog_set = \
        <void (*)(void *, void (*)(void *, const char *) noexcept nogil) noexcept nogil>address(
            "SSL_CTX_set_keylog_callback")
    curl.ssl_ctx_of = <void *(*)(void *) noexcept nogil>address("SSL_get_SSL_CTX")
    curl.ssl_ctx_set_ex = \
        <int (*)(void *, int, void *) noexcept nogil>address("SSL_CTX_set_ex_data")
    curl.ssl_ctx_get_ex = <void *(*)(void *, int) noexcept nogil>address("SSL_CTX_get_ex_data")
    if not library.ssl_version.startswith("OpenSSL") or new_index == NULL:
        curl.keylog_set = NULL
        return
    curl.keylog_index = new_index(CRYPTO_EX_INDEX_SSL_CTX, 0, NULL, NULL, NULL, NULL)
    if sizeof(void *) >= sizeof(int64_t):
        curl.ssl_ctx_set_info = \
            <void (*)(void *, void (*)(const void *, int, int) noexcept nogil) noexcept nogil>(
                address("SSL_CTX_set_info_callback"))
        for i in range(2):
            curl.shook_index[i] = new_index(CRYPTO_EX_INDEX_SSL_CTX, 0, NULL, NULL, NULL, NULL)


cdef void fill_connection():
    """OpenSSL's ways to end what is sent and to ask what was read, which libcurl has none for."""
    global curl
    if library.ssl_version.startswith("OpenSSL"):
        curl.ssl_set_fd = <int (*)(void *, int) noexcept nogil>address("SSL_set_fd")
        curl.ssl_shutdown = <int (*)(void *) noexcept nogil>address("SSL_shutdown")
        curl.ssl_has_pending = <int (*)(void *) noexcept nogil>address("SSL_has_pending")


cdef void fill_ca_store() except *:
    """OpenSSL's store of trusted certificates: all of its functions or none."""
    global curl
    names = ("X509_STORE_new", "X509_STORE_free", "X509_STORE_set_flags",
             "X509_STORE_load_locations", "SSL_CTX_set1_cert_store", "SSL_CTX_get_ex_data")
    if not library.ssl_version.startswith("OpenSSL") or (
            not all(name in library.addresses for name in names)):
        return
    curl.ca_store_new = <void *(*)() noexcept nogil>address("X509_STORE_new")
    curl.ca_store_free = <void (*)(void *) noexcept nogil>address("X509_STORE_free")
    curl.ca_store_set_flags = \
        <int (*)(void *, unsigned long) noexcept nogil>address("X509_STORE_set_flags")
    curl.ca_store_load = \
        <int (*)(void *, const char *, const char *) noexcept nogil>address(
            "X509_STORE_load_locations")
    curl.ssl_ctx_set_store = \
        <void (*)(void *, void *) noexcept nogil>address("SSL_CTX_set1_cert_store")


cdef void start() except *:
    cdef int (*global_init)(long) noexcept nogil
    global_init = <int (*)(long) noexcept nogil>address("curl_global_init")
    cdef int code = global_init(CURL_GLOBAL_ALL)
    if code != CURLE_OK:
        raise ImportError(f"curl_global_init failed: {curl.easy_strerror(code).decode()}")

fill()
fill_ssl_hooks()
fill_connection()
fill_ca_store()
start()


def can_keylog():
    """Whether TLS secrets can be logged per Client (OpenSSL only)."""
    return curl.keylog_set != NULL


def strerror(int code):
    """libcurl's words for a CURLcode."""
    return curl.easy_strerror(code).decode()
