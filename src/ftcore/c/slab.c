#include "slab.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  size_t room;
  int at_most;
  slab *first; /* owned */
  int count;
} kind;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the kinds */
static kind small = {SLAB_SMALL_ROOM, 1024, NULL, 0};
static kind large = {SLAB_ROOM, 64, NULL, 0};
static atomic_long held;

static kind *kind_of(size_t room) {
  return room <= SLAB_SMALL_ROOM ? &small : room <= SLAB_ROOM ? &large : NULL;
}

slab *slab_take(size_t room) {
  slab *s = NULL;
  kind *k = kind_of(room);
  if (k) {
    room = k->room;
    pthread_mutex_lock(&lock);
    if (k->first) {
      s = k->first;
      k->first = s->next;
      k->count--;
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
  kind *k = kind_of(s->room);
  if (k) {
    pthread_mutex_lock(&lock);
    if (k->count < k->at_most) {
      s->next = k->first;
      k->first = s;
      k->count++;
      s = NULL;
    }
    pthread_mutex_unlock(&lock);
  }
  free(s);
}

long slabs_held(void) { return atomic_load(&held); }

static void trim(kind *k) {
  pthread_mutex_lock(&lock);
  slab *s = k->first;
  k->first = NULL;
  k->count = 0;
  pthread_mutex_unlock(&lock);
  while (s) {
    slab *next = s->next;
    free(s);
    s = next;
  }
}

void slabs_trim(void) {
  trim(&small);
  trim(&large);
}

void slabs_after_fork(void) {
  pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
  lock = fresh;
  /* the lists may have been cut in mid-change: left to the parent's pages */
  small.first = large.first = NULL;
  small.count = large.count = 0;
}
