#include "slab.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { POOLED_AT_MOST = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static slab *pooled; /* owned; guarded by lock */
static int pooled_count;
static atomic_long held;

slab *slab_take(size_t room) {
  slab *s = NULL;
  if (room <= SLAB_ROOM) {
    room = SLAB_ROOM;
    pthread_mutex_lock(&lock);
    if (pooled) {
      s = pooled;
      pooled = s->next;
      pooled_count--;
    }
    pthread_mutex_unlock(&lock);
  }
  if (!s) {
    s = malloc(sizeof *s + room);
    if (!s) return NULL;
    s->room = room;
  }
  atomic_init(&s->holders, 1);
  atomic_fetch_add(&held, 1);
  return s;
}

slab *slab_grow(slab *s, size_t used, size_t room) {
  if (s->room > SLAB_ROOM) { /* not a pooled one: the allocator may extend it in place */
    slab *larger = realloc(s, sizeof *s + room);
    if (larger) larger->room = room;
    return larger;
  }
  slab *larger = slab_take(room);
  if (!larger) return NULL;
  memcpy(larger->data, s->data, used);
  slab_drop(s);
  return larger;
}

void slab_drop(slab *s) {
  if (atomic_fetch_sub(&s->holders, 1) != 1) return;
  atomic_fetch_sub(&held, 1);
  if (s->room == SLAB_ROOM) {
    pthread_mutex_lock(&lock);
    if (pooled_count < POOLED_AT_MOST) {
      s->next = pooled;
      pooled = s;
      pooled_count++;
      s = NULL;
    }
    pthread_mutex_unlock(&lock);
  }
  free(s);
}

long slabs_held(void) { return atomic_load(&held); }

void slabs_trim(void) {
  pthread_mutex_lock(&lock);
  slab *s = pooled;
  pooled = NULL;
  pooled_count = 0;
  pthread_mutex_unlock(&lock);
  while (s) {
    slab *next = s->next;
    free(s);
    s = next;
  }
}

void slabs_after_fork(void) {
  pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
  lock = fresh;
  pooled = NULL; /* the list may have been cut in mid-change: left to the parent's pages */
  pooled_count = 0;
}
