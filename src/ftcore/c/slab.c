#include "slab.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  size_t room;
  int at_most; /* that wait to be taken again */
  slab *first; /* owned */
  int count;
} kind;

/* The least is for messages of a few bytes, of which a read may bring thousands. Above SLAB_ROOM the
 * kinds double, with some room beside the power of two for a frame's header: to take such memory
 * anew for each message costs more, in pages that fault, than to fill it. */
enum { TINY_ROOM = 256 - 16 - sizeof(slab) };
#define DOUBLED(times) (((size_t)65536 << (times)) + 4096)
static kind kinds[] = {
    {TINY_ROOM, 4096, NULL, 0}, {SLAB_SMALL_ROOM, 1024, NULL, 0}, {SLAB_ROOM, 64, NULL, 0},
    {DOUBLED(1), 16, NULL, 0},  {DOUBLED(2), 16, NULL, 0},        {DOUBLED(3), 8, NULL, 0},
    {DOUBLED(4), 8, NULL, 0},   {DOUBLED(5), 2, NULL, 0},         {SLAB_LARGEST, 1, NULL, 0},
};
enum { KINDS = sizeof kinds / sizeof *kinds };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the kinds */
static atomic_long held;

static kind *kind_of(size_t room) {
  for (kind *k = kinds; k < kinds + KINDS; k++) {
    if (room <= k->room) return k;
  }
  return NULL;
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
  if (s->room > SLAB_ROOM) { /* the allocator may extend it in place */
    kind *k = kind_of(room);
    if (k) room = k->room;
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
  for (int i = 0; i < KINDS; i++) trim(&kinds[i]);
}

void slabs_after_fork(void) {
  pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
  lock = fresh;
  /* the lists may have been cut in mid-change: left to the parent's pages */
  for (int i = 0; i < KINDS; i++) {
    kinds[i].first = NULL;
    kinds[i].count = 0;
  }
}
