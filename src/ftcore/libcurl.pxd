"""The only file that knows libcurl's types and numbers (its ABI keeps them for ever).

The functions are reached through ``curl``, a table of addresses that `libcurl.pyx` fills at
import; they may be called without the GIL. https://curl.se/libcurl/c/
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t

ctypedef void CURL
ctypedef void CURLM
ctypedef void CURLSH
ctypedef void CURLU

cdef struct curl_slist:
    char *data
    curl_slist *next

ctypedef union curl_msg_data:
    void *whatever
    int result

ctypedef struct CURLMsg:
    int msg
    CURL *easy_handle
    curl_msg_data data

ctypedef struct curl_sockaddr:
    int family
    int socktype
    int protocol
    unsigned int addrlen
    char addr[28]  # at least; as long as addrlen says

cdef struct curl_table:
    CURL *(*easy_init)() noexcept nogil
    void (*easy_cleanup)(CURL *) noexcept nogil
    void (*easy_reset)(CURL *) noexcept nogil
    int (*easy_setopt)(CURL *, int, ...) noexcept nogil
    int (*easy_getinfo)(CURL *, int, ...) noexcept nogil
    int (*easy_pause)(CURL *, int) noexcept nogil
    int (*easy_send)(CURL *, const void *, size_t, size_t *) noexcept nogil
    int (*easy_recv)(CURL *, void *, size_t, size_t *) noexcept nogil
    const char *(*easy_strerror)(int) noexcept nogil
    CURLM *(*multi_init)() noexcept nogil
    int (*multi_cleanup)(CURLM *) noexcept nogil
    int (*multi_setopt)(CURLM *, int, ...) noexcept nogil
    int (*multi_add_handle)(CURLM *, CURL *) noexcept nogil
    int (*multi_remove_handle)(CURLM *, CURL *) noexcept nogil
    int (*multi_socket_action)(CURLM *, int, int, int *) noexcept nogil
    CURLMsg *(*multi_info_read)(CURLM *, int *) noexcept nogil
    CURLSH *(*share_init)() noexcept nogil
    int (*share_setopt)(CURLSH *, int, ...) noexcept nogil
    int (*share_cleanup)(CURLSH *) noexcept nogil
    curl_slist *(*slist_append)(curl_slist *, const char *) noexcept nogil
    void (*slist_free_all)(curl_slist *) noexcept nogil
    CURLU *(*url_new)() noexcept nogil
    void (*url_cleanup)(CURLU *) noexcept nogil
    int (*url_set)(CURLU *, int, const char *, unsigned int) noexcept nogil
    int (*url_get)(CURLU *, int, char **, unsigned int) noexcept nogil
    void (*free)(void *) noexcept nogil
    # OpenSSL's, for key logs; NULL when libcurl uses another TLS library
    void (*keylog_set)(void *, void (*)(void *, const char *) noexcept nogil) noexcept nogil
    void *(*ssl_ctx_of)(void *) noexcept nogil
    int (*ssl_ctx_set_ex)(void *, int, void *) noexcept nogil
    void *(*ssl_ctx_get_ex)(void *, int) noexcept nogil
    int keylog_index
    # ... for the moments of a handshake, which its SSL_CTX keeps; NULL as well
    void (*ssl_ctx_set_info)(
        void *, void (*)(const void *, int, int) noexcept nogil) noexcept nogil
    int shook_index[2]
    # ... and for the end of what is sent over TLS; NULL as well
    int (*ssl_set_fd)(void *, int) noexcept nogil
    int (*ssl_shutdown)(void *) noexcept nogil
    # ... and for bytes that it has read ahead; NULL as well
    int (*ssl_has_pending)(void *) noexcept nogil
    # OpenSSL's store of trusted certificates; NULL where libcurl is with another library
    void *(*ca_store_new)() noexcept nogil
    void (*ca_store_free)(void *) noexcept nogil
    int (*ca_store_set_flags)(void *, unsigned long) noexcept nogil
    int (*ca_store_load)(void *, const char *, const char *) noexcept nogil
    void (*ssl_ctx_set_store)(void *, void *) noexcept nogil
    unsigned int version_num

cdef struct curl_tlssessioninfo:
    int backend
    void *internals

cdef curl_table curl

cdef enum:
    CURLE_OK = 0
    CURLE_UNSUPPORTED_PROTOCOL = 1
    CURLE_WEIRD_SERVER_REPLY = 8
    CURLE_PARTIAL_FILE = 18
    CURLE_OUT_OF_MEMORY = 27
    CURLE_RANGE_ERROR = 33
    CURLE_GOT_NOTHING = 52
    CURLE_SEND_ERROR = 55
    CURLE_RECV_ERROR = 56
    CURLE_BAD_CONTENT_ENCODING = 61
    CURLE_SSL_CACERT_BADFILE = 77
    CURLE_AGAIN = 81
    CURLE_TOO_LARGE = 100

    CURLUE_OK = 0
    CURLUPART_URL = 0
    CURLUPART_USER = 2
    CURLUPART_HOST = 5
    CURLUPART_PORT = 6
    CURLUPART_PATH = 7
    CURLUPART_QUERY = 8
    CURLU_NO_DEFAULT_PORT = 2
    CURLU_NON_SUPPORT_SCHEME = 8
    CURLU_URLENCODE = 128
    CURLU_GUESS_SCHEME = 512
    CURLU_ALLOW_SPACE = 2048
    CURLU_GET_EMPTY = 16384                     # 8.8.0

    CURL_SOCKET_TIMEOUT = -1
    CURL_CSELECT_IN = 1
    CURL_CSELECT_OUT = 2
    CURL_CSELECT_ERR = 4
    CURL_POLL_IN = 1
    CURL_POLL_OUT = 2
    CURL_POLL_REMOVE = 4
    CURL_WRITEFUNC_PAUSE = 0x10000001
    CURL_READFUNC_ABORT = 0x10000000
    CURL_READFUNC_PAUSE = 0x10000001
    CURL_SEEKFUNC_OK = 0
    CURL_SEEKFUNC_FAIL = 1
    CURL_PREREQFUNC_ABORT = 1
    CURLPAUSE_CONT = 0
    CURLMSG_DONE = 1
    CURL_GLOBAL_ALL = 3

    CURL_IPRESOLVE_V4 = 1
    CURL_IPRESOLVE_V6 = 2
    CURLSSLBACKEND_OPENSSL = 1

    CURL_HTTP_VERSION_1_1 = 2
    CURL_HTTP_VERSION_2TLS = 4
    CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE = 5
    CURL_HTTP_VERSION_3 = 30
    CURL_HTTP_VERSION_3ONLY = 31

    CURL_LOCK_DATA_COOKIE = 2
    CURL_LOCK_DATA_DNS = 3
    CURL_LOCK_DATA_SSL_SESSION = 4

    CURLSHOPT_SHARE = 1
    CURLSHOPT_LOCKFUNC = 3
    CURLSHOPT_UNLOCKFUNC = 4
    CURLSHOPT_USERDATA = 5

    CURLMOPT_SOCKETFUNCTION = 20001
    CURLMOPT_SOCKETDATA = 10002
    CURLMOPT_TIMERFUNCTION = 20004
    CURLMOPT_TIMERDATA = 10005
    CURLMOPT_MAXCONNECTS = 6
    CURLMOPT_MAX_HOST_CONNECTIONS = 7
    CURLMOPT_MAX_CONCURRENT_STREAMS = 16

    CURLOPT_NOPROGRESS = 43
    CURLOPT_NOBODY = 44
    CURLOPT_POST = 47
    CURLOPT_HTTPPROXYTUNNEL = 61
    CURLOPT_SSL_VERIFYPEER = 64
    CURLOPT_HTTPGET = 80
    CURLOPT_SSL_VERIFYHOST = 81
    CURLOPT_HTTP_VERSION = 84
    CURLOPT_BUFFERSIZE = 98
    CURLOPT_LOCALPORT = 139
    CURLOPT_CONNECT_ONLY = 141
    CURLOPT_HTTP_CONTENT_DECODING = 158
    CURLOPT_NOSIGNAL = 99
    CURLOPT_IPRESOLVE = 113
    CURLOPT_TCP_NODELAY = 121
    CURLOPT_TCP_KEEPALIVE = 213
    CURLOPT_TCP_KEEPIDLE = 214
    CURLOPT_TCP_KEEPINTVL = 215
    CURLOPT_SSL_ENABLE_ALPN = 226
    CURLOPT_EXPECT_100_TIMEOUT_MS = 227
    CURLOPT_PIPEWAIT = 237
    CURLOPT_PROXY_SSL_VERIFYPEER = 248
    CURLOPT_PROXY_SSL_VERIFYHOST = 249
    CURLOPT_SUPPRESS_CONNECT_HEADERS = 265
    CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS = 271
    CURLOPT_UPLOAD_BUFFERSIZE = 280
    CURLOPT_DOH_SSL_VERIFYPEER = 306
    CURLOPT_DOH_SSL_VERIFYHOST = 307
    CURLOPT_WRITEDATA = 10001
    CURLOPT_URL = 10002
    CURLOPT_READDATA = 10009
    CURLOPT_PROXY = 10004
    CURLOPT_ERRORBUFFER = 10010
    CURLOPT_POSTFIELDS = 10015
    CURLOPT_USERAGENT = 10018
    CURLOPT_HTTPHEADER = 10023
    CURLOPT_SSLCERT = 10025
    CURLOPT_HEADERDATA = 10029
    CURLOPT_COOKIEFILE = 10031
    CURLOPT_CUSTOMREQUEST = 10036
    CURLOPT_INTERFACE = 10062
    CURLOPT_CAINFO = 10065
    CURLOPT_SSLKEY = 10087
    CURLOPT_CAPATH = 10097
    CURLOPT_SHARE = 10100
    CURLOPT_ACCEPT_ENCODING = 10102
    CURLOPT_PRIVATE = 10103
    CURLOPT_SSL_CTX_DATA = 10109
    CURLOPT_XFERINFODATA = 10057
    CURLOPT_SOCKOPTDATA = 10149
    CURLOPT_OPENSOCKETDATA = 10164
    CURLOPT_SEEKDATA = 10168
    CURLOPT_NOPROXY = 10177
    CURLOPT_RESOLVE = 10203
    CURLOPT_CLOSESOCKETDATA = 10209
    CURLOPT_CONNECT_TO = 10243
    CURLOPT_PROXY_CAINFO = 10246
    CURLOPT_PROXY_CAPATH = 10247
    CURLOPT_REQUEST_TARGET = 10266
    CURLOPT_DOH_URL = 10279
    CURLOPT_PREREQDATA = 10313
    CURLOPT_PROTOCOLS_STR = 10318
    CURLOPT_REDIR_PROTOCOLS_STR = 10319
    CURLOPT_WRITEFUNCTION = 20011
    CURLOPT_READFUNCTION = 20012
    CURLOPT_HEADERFUNCTION = 20079
    CURLOPT_SSL_CTX_FUNCTION = 20108
    CURLOPT_SOCKOPTFUNCTION = 20148
    CURLOPT_OPENSOCKETFUNCTION = 20163
    CURLOPT_SEEKFUNCTION = 20167
    CURLOPT_CLOSESOCKETFUNCTION = 20208
    CURLOPT_XFERINFOFUNCTION = 20219
    CURLOPT_PREREQFUNCTION = 20312
    CURLOPT_POSTFIELDSIZE_LARGE = 30120

    CURLINFO_PRIVATE = 0x100000 + 21
    CURLINFO_REDIRECT_URL = 0x100000 + 31
    CURLINFO_PRIMARY_IP = 0x100000 + 32
    CURLINFO_REQUEST_SIZE = 0x200000 + 12
    CURLINFO_OS_ERRNO = 0x200000 + 25
    CURLINFO_NUM_CONNECTS = 0x200000 + 26
    CURLINFO_PRIMARY_PORT = 0x200000 + 40
    CURLINFO_USED_PROXY = 0x200000 + 66         # 8.7.0
    CURLINFO_TLS_SSL_PTR = 0x400000 + 45
    CURLINFO_ACTIVESOCKET = 0x500000 + 44
    CURLINFO_SIZE_UPLOAD_T = 0x600000 + 7
    CURLINFO_SIZE_DOWNLOAD_T = 0x600000 + 8
    CURLINFO_TOTAL_TIME_T = 0x600000 + 50
    CURLINFO_NAMELOOKUP_TIME_T = 0x600000 + 51
    CURLINFO_CONNECT_TIME_T = 0x600000 + 52
    CURLINFO_PRETRANSFER_TIME_T = 0x600000 + 53
    CURLINFO_STARTTRANSFER_TIME_T = 0x600000 + 54
    CURLINFO_APPCONNECT_TIME_T = 0x600000 + 56
    CURLINFO_QUEUE_TIME_T = 0x600000 + 65       # 8.6.0
    CURLINFO_POSTTRANSFER_TIME_T = 0x600000 + 67  # 8.10.0
