/* Host names to addresses without waiting: getaddrinfo(3) on helper threads, which come when there
 * is something to do and go when there is not. */
#ifndef FTCORE_RESOLVE_H
#define FTCORE_RESOLVE_H

#include "datagram.h"

enum { LOOKUP_ADDRESSES = 8 };

typedef struct lookup lookup;

/* Where answers go; it may be closed before they come. */
typedef struct lookup_box lookup_box;
lookup_box *lookup_box_new(void *owner, void (*answered)(void *owner, lookup *l));
/* No answer goes to the owner any more; those under way are freed. */
void lookup_box_close(lookup_box *b);

struct lookup {
  lookup *next;
  lookup_box *box;
  int family; /* AF_INET, AF_INET6, AF_UNSPEC */
  int failed; /* an EAI_* code, or 0 */
  int count;
  datagram_address found[LOOKUP_ADDRESSES]; /* in the order to try them; port 0 */
  void (*discard)(lookup *l); /* frees it */
  void *owner; /* the caller's */
  char name[256];
};

/* Starts to look up; `answered` is called on another thread, with the box locked. 0, or an errno:
 * then the lookup is still the caller's. */
int lookup_start(lookup *l, lookup_box *b);
/* In a forked child, before anything else of this file: it has none of the threads. */
void lookups_after_fork(void);

#endif
