/* The little that redirects must know of absolute http(s) URLs. libcurl made them, so they are well-formed. */
#ifndef FTCORE_URL_H
#define FTCORE_URL_H

#include <stddef.h>

/* 0: neither, 1: http, 2: https */
int url_scheme(const char *url);
/* Whether scheme, host and port are the same; user info does not count (RFC 6454). */
int url_same_origin(const char *a, const char *b);
/* `there`, with the user info of `here` when it has none itself; to be freed; NULL: memory is out. */
char *url_with_login(const char *here, const char *there);

#endif
