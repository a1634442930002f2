/* When requests are due: constant, ramping or in stages, evenly spread or as a Poisson process.
 *
 * The rate is a line in each stage, so the number of requests due by a time is known in closed form
 * and when the k-th is due is its inverse: nothing adds up, nothing drifts. A Poisson process is
 * the same with sums of exponential steps in place of whole numbers (time rescaling; Brown et al.,
 * Neural Computation 14 (2002) 325). One thread at a time. */
#ifndef FTCORE_SCHEDULE_H
#define FTCORE_SCHEDULE_H

#include <stdint.h>

#define SCHEDULE_NEVER INT64_MAX

typedef struct {
  int64_t length; /* ns */
  double from; /* requests a second at its start */
  double to; /* ... and at its end */
} schedule_stage;

typedef struct {
  int64_t due; /* when the next one is, ns; SCHEDULE_NEVER */
  uint64_t index; /* its number, of all; those of other shares are left out */
  uint64_t every; /* of how many a share takes one */
  int poisson;
  uint64_t random; /* state of the generator */
  double place; /* the number of requests due before the next; not whole in a Poisson process */
  schedule_stage *stages; /* owned */
  int count;
  double after; /* the rate after them, for ever */
  int at; /* the stage that `due` is in, or `count` */
  int64_t at_start; /* when it starts */
  double at_base; /* how many are due before it */
  int64_t first_start; /* the same of the first stage */
  double first_base;
} schedule;

/* Of the requests that are due from `start` on, with `seed` as to when: the share of numbers first,
 * first + every, ... 0, or -1: memory is out. */
int schedule_init(schedule *s, const schedule_stage *stages, int count, double after, int64_t start,
                  int poisson, uint64_t seed, uint64_t first, uint64_t every);
/* The same from here on. 0, or -1. */
int schedule_copy(schedule *s, const schedule *other);
void schedule_free(schedule *s);
/* Everything is due so much later. Before the first is taken. */
void schedule_shift(schedule *s, int64_t ns);
/* From the one that is due next to the one after. */
void schedule_take(schedule *s);
/* From `at` on the rate is another; stages that were to come are gone. 0, or -1. */
int schedule_set_rate(schedule *s, int64_t at, double rate);
/* Requests a second, of all shares. */
double schedule_rate(const schedule *s, int64_t at);

#endif
