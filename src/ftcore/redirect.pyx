"""What a transfer's next request is, where a redirect leads or a file is asked for anew."""
from libc.stdlib cimport free
from libc.string cimport strdup

from ftcore.libcurl cimport curl, curl_slist
from ftcore.op cimport (
    OUTCOME_BAD_REDIRECT, OUTCOME_INSECURE_REDIRECT, OUTCOME_NO_MEMORY, OUTCOME_OK,
    OUTCOME_TOO_MANY_REDIRECTS,
)
from ftcore.settings cimport template
from ftcore.slot cimport request_url, xfer

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *, const char *, size_t)

cdef extern from "c/url.h" nogil:
    int url_scheme(const char *)
    int url_same_origin(const char *, const char *)
    char *url_with_login(const char *, const char *)

cdef enum:
    REDIRECTS_AT_MOST = 20

#: Header fields that describe a body, and go with it; those that a stranger must not see.
cdef const char **BODY_FIELDS = [
    b"content-type:", b"content-encoding:", b"content-language:", b"content-location:", NULL]
cdef const char **PRIVATE_FIELDS = [
    b"authorization:", b"cookie:", b"proxy-authorization:", b"host:", NULL]
#: Those that ask for a part of a file.
cdef const char **RANGE_FIELDS = [b"range:", b"if-range:", NULL]


cdef bint starts_with_one_of(const char *line, const char **names) noexcept nogil:
    cdef size_t length
    cdef int i = 0
    while names[i] != NULL:
        length = 0
        while names[i][length] != 0:
            length += 1
        # "Name;" is libcurl's word for a field without a value
        if strncasecmp(line, names[i], length - 1) == 0 and (
                line[length - 1] == 0x3A or line[length - 1] == 0x3B):
            return True
        i += 1
    return False


cdef bint redirect_headers(xfer *x) noexcept nogil:
    cdef curl_slist *line = x.t.headers
    cdef curl_slist *kept = NULL
    cdef curl_slist *longer
    while line != NULL:
        if not (x.bare and starts_with_one_of(line.data, BODY_FIELDS)) and not (
                x.estranged and starts_with_one_of(line.data, PRIVATE_FIELDS)) and not (
                x.whole and starts_with_one_of(line.data, RANGE_FIELDS)):
            longer = curl.slist_append(kept, line.data)
            if longer == NULL:
                curl.slist_free_all(kept)
                return False
            kept = longer
        line = line.next
    curl.slist_free_all(x.headers)
    x.headers = kept
    return True


cdef int check_redirect(xfer *x, const char *here, const char *there) noexcept nogil:
    cdef int scheme
    if x.hops == REDIRECTS_AT_MOST:
        return OUTCOME_TOO_MANY_REDIRECTS
    scheme = url_scheme(there) if there != NULL else 0
    if scheme == 0:
        return OUTCOME_BAD_REDIRECT
    if scheme == 1 and url_scheme(here) == 2 and not x.home.set.insecure_redirects:
        return OUTCOME_INSECURE_REDIRECT
    return OUTCOME_OK


cdef int redirect_to(xfer *x, const char *there, int status) noexcept nogil:
    cdef const char *here = request_url(x)
    cdef bint bodied = not x.bare and not x.t.head
    cdef int outcome = check_redirect(x, here, there)
    cdef char *copy
    if outcome != OUTCOME_OK:
        return outcome
    if not url_same_origin(here, there):
        x.estranged = True
    copy = strdup(there) if x.estranged else url_with_login(here, there)
    if copy == NULL:
        return OUTCOME_NO_MEMORY
    free(x.url)
    x.url = copy
    if bodied and (status == 303 and not is_get(x.t) or status < 303 and is_post(x.t)):
        x.bare = True
    x.hops += 1
    return OUTCOME_OK


cdef bint is_get(template *t) noexcept nogil:
    return t.verb == NULL and not t.with_body and not t.head


cdef bint is_post(template *t) noexcept nogil:
    return t.verb == NULL and t.with_body
