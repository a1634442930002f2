/* The one clock of the engine: monotonic nanoseconds, and where they stand in the epoch. */
#ifndef FTCORE_CLOCK_H
#define FTCORE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_ns(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* Epoch minus monotonic, taken between two monotonic readings so that being
 * scheduled out in the middle shows; the tightest of a few attempts is kept. */
static inline int64_t epoch_offset_ns(void) {
  int64_t best = INT64_MAX, offset = 0;
  for (int i = 0; i < 8; i++) {
    int64_t before = now_ns();
    int64_t wall = clock_ns(CLOCK_REALTIME);
    int64_t after = now_ns();
    if (after - before < best) {
      best = after - before;
      offset = wall - (before + (after - before) / 2);
    }
  }
  return offset;
}

#endif
