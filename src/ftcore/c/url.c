#include "url.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct {
  const char *host, *port;
  size_t host_length, port_length;
} authority;

int url_scheme(const char *url) {
  if (strncasecmp(url, "https://", 8) == 0) return 2;
  if (strncasecmp(url, "http://", 7) == 0) return 1;
  return 0;
}

/* Where the authority begins. */
static const char *authority_of(const char *url) { return url + (url_scheme(url) == 2 ? 8 : 7); }

/* Bytes of "user:password@" at the start of an authority. */
static size_t login_length(const char *start) {
  size_t length = strcspn(start, "/?#");
  while (length > 0 && start[length - 1] != '@') length--;
  return length;
}

static authority parse(const char *url, int scheme) {
  const char *start = authority_of(url);
  const char *end = start + strcspn(start, "/?#");
  start += login_length(start);
  const char *colon = end;
  if (*start == '[') {
    const char *bracket = memchr(start, ']', (size_t)(end - start));
    if (bracket) colon = bracket + 1;
  } else {
    const char *found = memchr(start, ':', (size_t)(end - start));
    if (found) colon = found;
  }
  authority a = {start, scheme == 2 ? "443" : "80", (size_t)(colon - start), scheme == 2 ? 3 : 2};
  if (colon < end && colon + 1 < end) {
    a.port = colon + 1;
    a.port_length = (size_t)(end - colon - 1);
    while (a.port_length > 1 && *a.port == '0') {
      a.port++;
      a.port_length--;
    }
  }
  return a;
}

int url_same_origin(const char *a, const char *b) {
  int scheme = url_scheme(a);
  if (!scheme || scheme != url_scheme(b)) return 0;
  authority x = parse(a, scheme), y = parse(b, scheme);
  return x.host_length == y.host_length && strncasecmp(x.host, y.host, x.host_length) == 0 &&
         x.port_length == y.port_length && memcmp(x.port, y.port, x.port_length) == 0;
}

char *url_with_login(const char *here, const char *there) {
  const char *from = authority_of(here), *to = authority_of(there);
  size_t login = login_length(to) ? 0 : login_length(from);
  size_t before = (size_t)(to - there), after = strlen(to);
  char *url = malloc(before + login + after + 1);
  if (!url) return NULL;
  memcpy(url, there, before);
  memcpy(url + before, from, login);
  memcpy(url + before + login, to, after + 1);
  return url;
}
