/* Receive memory: slabs from a pool, written once, given back when the last holder lets go.
 * Any thread may take and drop. There are kinds of several sizes; what is larger than the largest
 * goes straight to the allocator. */
#ifndef FTCORE_SLAB_H
#define FTCORE_SLAB_H

#include <stdatomic.h>
#include <stddef.h>

/* Not powers of two: the first lines of all slabs would share one set of the cache. SLAB_LARGEST is
 * the room of the largest kind. */
enum { SLAB_SMALL_ROOM = 3008, SLAB_ROOM = 65536 - 64, SLAB_LARGEST = (4 << 20) + 4096 };

typedef struct slab {
  atomic_int holders;
  size_t room; /* bytes in data[] */
  struct slab *next;
  char data[];
} slab;

/* A slab with one holder, at least `room` bytes; NULL when memory is out. */
slab *slab_take(size_t room);
/* Only for a slab with one holder: the same bytes in a larger slab; NULL (and `s` kept) when memory is out. */
slab *slab_grow(slab *s, size_t used, size_t room);
static inline void slab_hold(slab *s) { atomic_fetch_add(&s->holders, 1); }
/* Whether the one hold is the caller's. */
static inline int slab_is_mine(slab *s) { return atomic_load(&s->holders) == 1; }
void slab_drop(slab *s);
/* Slabs that somebody holds now. */
long slabs_held(void);
/* Gives pooled memory back to the allocator. */
void slabs_trim(void);
/* In a forked child, before anything else of this file. */
void slabs_after_fork(void);

#endif
