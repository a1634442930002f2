/* See schedule.h. */
#include "schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SECOND 1e9

/* SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t random_bits(uint64_t *state) {
  uint64_t z = *state += 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

/* The step to the next event of a process of rate 1. */
static double step(schedule *s) {
  if (!s->poisson) return 1.0;
  return -log((double)((random_bits(&s->random) >> 11) + 1) * 0x1p-53);
}

/* How many are due in the first `ns` of a stage. */
static double due_within(const schedule_stage *stage, int64_t ns) {
  double t = (double)ns / SECOND, length = (double)stage->length / SECOND;
  return t * (stage->from + (stage->to - stage->from) * (t / length) / 2);
}

/* When in a stage the number of those due reaches `n`; there are as many. */
static double reached(const schedule_stage *stage, double n) {
  double slope = (stage->to - stage->from) / ((double)stage->length / SECOND);
  double square = stage->from * stage->from + 2 * slope * n;
  double sum = stage->from + sqrt(square > 0 ? square : 0);
  return sum > 0 ? 2 * n / sum : 0;
}

/* Looks from stage `at` on for the one that `place` is in. */
static void find(schedule *s) {
  int64_t due;
  double n;
  for (; s->at < s->count; s->at++) {
    const schedule_stage *stage = &s->stages[s->at];
    double all = due_within(stage, stage->length);
    n = s->place - s->at_base;
    if (n < all) {
      due = s->at_start + (int64_t)(reached(stage, n) * SECOND + 0.5);
      s->due = due > s->due ? due : s->due;
      return;
    }
    s->at_base += all;
    s->at_start += stage->length;
  }
  n = s->place - s->at_base;
  n = s->after > 0 ? n / s->after * SECOND : INFINITY;
  if (n >= (double)(SCHEDULE_NEVER - s->at_start)) {
    s->due = SCHEDULE_NEVER;
    return;
  }
  due = s->at_start + (int64_t)(n + 0.5);
  s->due = due > s->due ? due : s->due;
}

static void find_from_first(schedule *s) {
  s->at = 0;
  s->at_start = s->first_start;
  s->at_base = s->first_base;
  find(s);
}

int schedule_init(schedule *s, const schedule_stage *stages, int count, double after, int64_t start,
                  int poisson, uint64_t seed, uint64_t first, uint64_t every) {
  memset(s, 0, sizeof *s);
  s->stages = calloc((size_t)count + 1, sizeof *stages);
  if (!s->stages) return -1;
  for (int i = 0; i < count; i++)
    if (stages[i].length > 0) s->stages[s->count++] = stages[i];
  s->after = after;
  s->every = every;
  s->poisson = poisson;
  s->random = seed;
  s->index = first;
  s->due = s->first_start = start;
  s->place = poisson ? step(s) : 0;
  for (uint64_t i = 0; i < first; i++) s->place += step(s);
  find_from_first(s);
  return 0;
}

int schedule_copy(schedule *s, const schedule *other) {
  schedule_stage *stages = calloc((size_t)other->count + 1, sizeof *stages);
  if (!stages) return -1;
  memcpy(stages, other->stages, (size_t)other->count * sizeof *stages);
  *s = *other;
  s->stages = stages;
  return 0;
}

void schedule_free(schedule *s) {
  free(s->stages);
  s->stages = NULL;
}

void schedule_shift(schedule *s, int64_t ns) {
  if (s->due != SCHEDULE_NEVER) s->due += ns;
  s->at_start += ns;
  s->first_start += ns;
}

void schedule_take(schedule *s) {
  if (s->poisson)
    for (uint64_t i = 0; i < s->every; i++) s->place += step(s);
  else
    s->place += (double)s->every;
  s->index += s->every;
  find(s);
}

/* Forgets the first stage: what is due in it was taken. */
static void drop_first(schedule *s) {
  s->first_base += due_within(&s->stages[0], s->stages[0].length);
  s->first_start += s->stages[0].length;
  s->count--;
  s->at--;
  memmove(s->stages, s->stages + 1, (size_t)s->count * sizeof *s->stages);
}

int schedule_set_rate(schedule *s, int64_t at, double rate) {
  schedule_stage *grown = realloc(s->stages, ((size_t)s->count + 2) * sizeof *grown);
  if (!grown) return -1;
  s->stages = grown;
  if (at < s->first_start) at = s->first_start;
  int64_t start = s->first_start;
  int i = 0;
  while (i < s->count && start + s->stages[i].length <= at) start += s->stages[i++].length;
  if (at > start && i < s->count) { /* cut it */
    schedule_stage *cut = &s->stages[i];
    cut->to = cut->from + (cut->to - cut->from) * ((double)(at - start) / (double)cut->length);
    cut->length = at - start;
    i++;
  } else if (at > start) { /* the last rate stayed that long */
    s->stages[i++] = (schedule_stage){at - start, s->after, s->after};
  }
  s->count = i;
  s->after = rate;
  while (s->at > 0 && s->count > 0 && s->first_start + s->stages[0].length < at) drop_first(s);
  if (s->due > at) {
    s->due = at; /* the one after it comes no earlier */
    find_from_first(s);
  }
  return 0;
}

double schedule_rate(const schedule *s, int64_t at) {
  int64_t start = s->first_start;
  for (int i = 0; i < s->count; i++) {
    const schedule_stage *stage = &s->stages[i];
    if (at < start + stage->length) {
      double part = at > start ? (double)(at - start) / (double)stage->length : 0;
      return stage->from + (stage->to - stage->from) * part;
    }
    start += stage->length;
  }
  return s->after;
}
