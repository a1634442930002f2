"""Build step: turns the few declarations below into ftcore/_libcurl_cffi.py.

cffi's out-of-line ABI mode: no compiler, no headers of libcurl, and no C parsed at import.
"""

from cffi import FFI

ffi = FFI()
ffi.cdef(
    """
    typedef struct {
        int age;
        const char *version;
        unsigned int version_num;
        const char *host;
        int features;
        const char *ssl_version;
        long ssl_version_num;
        const char *libz_version;
        const char *const *protocols;
    } curl_version_info_data;
    curl_version_info_data *curl_version_info(int);

    int curl_global_init(long);
    void *curl_easy_init(void);
    void curl_easy_cleanup(void *);
    void curl_easy_reset(void *);
    int curl_easy_setopt(void *, int, ...);
    int curl_easy_getinfo(void *, int, ...);
    int curl_easy_pause(void *, int);
    int curl_easy_send(void *, const void *, size_t, size_t *);
    int curl_easy_recv(void *, void *, size_t, size_t *);
    const char *curl_easy_strerror(int);
    void *curl_multi_init(void);
    int curl_multi_cleanup(void *);
    int curl_multi_setopt(void *, int, ...);
    int curl_multi_add_handle(void *, void *);
    int curl_multi_remove_handle(void *, void *);
    int curl_multi_socket_action(void *, int, int, int *);
    void *curl_multi_info_read(void *, int *);
    void *curl_share_init(void);
    int curl_share_setopt(void *, int, ...);
    int curl_share_cleanup(void *);
    void *curl_slist_append(void *, const char *);
    void curl_slist_free_all(void *);
    void *curl_url(void);
    void curl_url_cleanup(void *);
    int curl_url_set(void *, int, const char *, unsigned int);
    int curl_url_get(void *, int, char **, unsigned int);
    void curl_free(void *);

    void SSL_CTX_set_keylog_callback(void *, void *);
    void *SSL_get_SSL_CTX(void *);
    void SSL_CTX_set_info_callback(void *, void *);
    int SSL_CTX_set_ex_data(void *, int, void *);
    void *SSL_CTX_get_ex_data(void *, int);
    int SSL_set_fd(void *, int);
    int SSL_shutdown(void *);
    int SSL_has_pending(void *);
    int CRYPTO_get_ex_new_index(int, long, void *, void *, void *, void *);
    void SSL_CTX_set1_cert_store(void *, void *);
    void *X509_STORE_new(void);
    void X509_STORE_free(void *);
    int X509_STORE_set_flags(void *, unsigned long);
    int X509_STORE_load_locations(void *, const char *, const char *);

    const char *zlibVersion(void);
    int inflateInit2_(void *, int, const char *, int);
    int inflate(void *, int);
    int inflateReset(void *);
    int inflateEnd(void *);
    int deflateInit2_(void *, int, int, int, int, int, const char *, int);
    int deflate(void *, int);
    int deflateReset(void *);
    int deflateEnd(void *);

    void *BrotliDecoderCreateInstance(void *, void *, void *);
    int BrotliDecoderDecompressStream(
        void *, size_t *, const uint8_t **, size_t *, uint8_t **, size_t *);
    int BrotliDecoderGetErrorCode(void *);
    void BrotliDecoderDestroyInstance(void *);
    """
)
ffi.set_source("ftcore._libcurl_cffi", None)

if __name__ == "__main__":
    ffi.compile(verbose=True)
