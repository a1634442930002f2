/* See tally.h. */
#include "tally.h"

#include <stdlib.h>
#include <string.h>

tally *tally_new(void) {
  tally *t = calloc(1, sizeof *t);
  if (t) t->began_at = INT64_MAX;
  return t;
}

static void for_each(tally *t, void (*act)(histogram *)) {
  for (int span = 0; span < TALLY_SPANS; span++)
    for (int class = 0; class < TALLY_CLASSES; class++)
      if (t->spans[span][class]) act(t->spans[span][class]);
  if (t->lateness) act(t->lateness);
}

void tally_free(tally *t) {
  if (!t) return;
  for_each(t, histogram_free);
  free(t);
}

void tally_reset(tally *t) {
  tally kept = *t;
  for_each(t, histogram_reset);
  memset(t, 0, sizeof *t);
  memcpy(t->spans, kept.spans, sizeof t->spans);
  t->lateness = kept.lateness;
  t->began_at = INT64_MAX;
}

histogram *tally_histogram(histogram **place) {
  if (!*place) histogram_new(1, TALLY_LONGEST, TALLY_DIGITS, place);
  return *place;
}

void tally_prepare(tally *t, int class) {
  for (int span = 0; span < TALLY_SPANS; span++) tally_histogram(&t->spans[span][class]);
  tally_histogram(&t->lateness);
}

static void record(tally *t, histogram **place, int64_t ns) {
  histogram *h = tally_histogram(place);
  if (h)
    histogram_record(h, ns);
  else
    t->counts[TALLY_UNRECORDED]++;
}

void tally_record(tally *t, int class, const int64_t *spans) {
  for (int span = 0; span < TALLY_SPANS; span++)
    if (spans[span] >= 0) record(t, &t->spans[span][class], spans[span]);
}

void tally_late_by(tally *t, int64_t ns) { record(t, &t->lateness, ns); }

void tally_failure(tally *t, int outcome, long os_errno, const char *detail, uint64_t count) {
  int i = 0;
  while (i < t->kind_count && !(t->kinds[i].outcome == outcome && t->kinds[i].os_errno == os_errno))
    i++;
  if (i == TALLY_KINDS) i--;
  tally_kind *kind = &t->kinds[i];
  if (i == t->kind_count) {
    t->kind_count++;
    kind->outcome = outcome;
    kind->os_errno = os_errno;
    strncpy(kind->detail, detail, TALLY_DETAIL - 1);
  }
  kind->count += count;
}

static void add(tally *t, histogram **place, const histogram *other) {
  if (!other || other->count + other->below + other->above == 0) return;
  histogram *h = tally_histogram(place);
  if (!h || histogram_add(h, other) != HISTOGRAM_OK) t->counts[TALLY_UNRECORDED] += other->count;
}

void tally_add(tally *t, const tally *other) {
  for (int i = 0; i < TALLY_COUNTS; i++) t->counts[i] += other->counts[i];
  for (int i = 0; i < TALLY_STATUSES; i++) t->statuses[i] += other->statuses[i];
  for (int i = 0; i < other->kind_count; i++) {
    const tally_kind *kind = &other->kinds[i];
    tally_failure(t, kind->outcome, kind->os_errno, kind->detail, kind->count);
  }
  for (int span = 0; span < TALLY_SPANS; span++)
    for (int class = 0; class < TALLY_CLASSES; class++)
      add(t, &t->spans[span][class], other->spans[span][class]);
  add(t, &t->lateness, other->lateness);
  t->began_at = other->began_at < t->began_at ? other->began_at : t->began_at;
  t->ended_at = other->ended_at > t->ended_at ? other->ended_at : t->ended_at;
  t->cpu += other->cpu;
  t->in_flight += other->in_flight;
  t->waiting += other->waiting;
  t->connections += other->connections;
  t->target += other->target;
  t->measured |= other->measured;
}
