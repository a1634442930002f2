/* See tally_bytes.h. */
#include "tally_bytes.h"

#include <math.h>
#include <string.h>

#include "words.h"

enum { PLACES = TALLY_SPANS * TALLY_CLASSES + 1 }; /* of histograms; the last is of lateness */

#define MOST INT64_C(0x3fffffffffffffff) /* of a number */
#define MOST_STATE (INT64_C(1) << 53) /* of one that is added up with a sign */

static const char CUT[] = "it ends too early";
static const char BEYOND[] = "a number is out of range";
static const char CORRUPT[] = "a histogram is corrupt";

static histogram *const *place_of(const tally *t, int place) {
  if (place == PLACES - 1) return &t->lateness;
  return &t->spans[place / TALLY_CLASSES][place % TALLY_CLASSES];
}

static int has_values(const histogram *h) { return h && h->count + h->below + h->above; }

/* ------------------------------------------------------------------- to bytes */

size_t tally_room(const tally *t) {
  size_t room = WORD * (TALLY_COUNTS + 2 * TALLY_STATUSES + 10) + 8;
  room += TALLY_KINDS * (4 * WORD + TALLY_DETAIL);
  for (int place = 0; place < PLACES; place++) {
    const histogram *h = *place_of(t, place);
    if (has_values(h)) room += WORD + histogram_packed_room(h);
  }
  return room;
}

static uint8_t *put_statuses(uint8_t *at, const tally *t) {
  int some = 0;
  for (int i = 0; i < TALLY_STATUSES; i++) some += t->statuses[i] != 0;
  at = put_word(at, some);
  for (int i = 0; i < TALLY_STATUSES; i++)
    if (t->statuses[i]) at = put_word(put_word(at, i), (int64_t)t->statuses[i]);
  return at;
}

static uint8_t *put_kinds(uint8_t *at, const tally *t) {
  at = put_word(at, t->kind_count);
  for (int i = 0; i < t->kind_count; i++) {
    const tally_kind *kind = &t->kinds[i];
    size_t length = strlen(kind->detail);
    at = put_word(put_word(at, kind->outcome), kind->os_errno);
    at = put_word(put_word(at, (int64_t)kind->count), (int64_t)length);
    memcpy(at, kind->detail, length);
    at += length;
  }
  return at;
}

static uint8_t *put_state(uint8_t *at, const tally *t) {
  const int64_t state[] = {t->cpu, t->in_flight, t->waiting, t->connections, t->measured};
  uint64_t target;
  memcpy(&target, &t->target, sizeof target);
  at = put(put(at, (uint64_t)t->began_at, 8), (uint64_t)t->ended_at, 8);
  for (int i = 0; i < 5; i++) at = put_word(at, state[i]);
  return put(at, target, 8);
}

size_t tally_pack(const tally *t, uint8_t *data) {
  uint8_t *at = data;
  for (int i = 0; i < TALLY_COUNTS; i++) at = put_word(at, (int64_t)t->counts[i]);
  at = put_state(put_kinds(put_statuses(at, t), t), t);
  for (int place = 0; place < PLACES; place++) {
    const histogram *h = *place_of(t, place);
    if (!has_values(h)) continue;
    at = put_word(at, place);
    at += histogram_pack(h, at);
  }
  return (size_t)(at - data);
}

/* ------------------------------------------------------------------- from bytes */

/* What is read from; once something was wrong, nothing more is. */
typedef struct {
  const uint8_t *at;
  const uint8_t *end;
  const char *problem;
} source;

static int64_t number(source *s, int64_t least, int64_t most) {
  int64_t word = 0;
  if (s->problem) return least;
  const uint8_t *after = get_word(s->at, s->end, &word);
  if (!after)
    s->problem = CUT;
  else if (word < least || word > most)
    s->problem = BEYOND;
  if (s->problem) return least;
  s->at = after;
  return word;
}

static uint64_t fixed(source *s) {
  if (!s->problem && s->end - s->at < 8) s->problem = CUT;
  if (s->problem) return 0;
  s->at += 8;
  return get(s->at - 8, 8);
}

static void take_statuses(source *s, tally *t) {
  int64_t left = number(s, 0, TALLY_STATUSES), status = -1;
  for (; left && !s->problem; left--) {
    status = number(s, status + 1, TALLY_STATUSES - 1);
    int64_t count = number(s, 1, MOST);
    if (t) t->statuses[status] += (uint64_t)count;
  }
}

static void take_kinds(source *s, tally *t) {
  char detail[TALLY_DETAIL];
  for (int64_t left = number(s, 0, TALLY_KINDS); left && !s->problem; left--) {
    int64_t outcome = number(s, INT32_MIN, INT32_MAX), os_errno = number(s, INT32_MIN, INT32_MAX);
    int64_t count = number(s, 0, MOST / TALLY_KINDS), length = number(s, 0, TALLY_DETAIL - 1);
    if (!s->problem && s->end - s->at < length) s->problem = CUT;
    if (s->problem) return;
    memcpy(detail, s->at, (size_t)length);
    detail[length] = 0;
    s->at += length;
    if (t) tally_failure(t, (int)outcome, (long)os_errno, detail, (uint64_t)count);
  }
}

static void take_state(source *s, tally *t, int64_t shift) {
  int64_t began_at = (int64_t)fixed(s), ended_at = (int64_t)fixed(s), state[4];
  for (int i = 0; i < 4; i++) state[i] = number(s, 0, MOST_STATE);
  int measured = (int)number(s, 0, 1);
  uint64_t bits = fixed(s);
  double target;
  memcpy(&target, &bits, sizeof target);
  int begun = began_at != INT64_MAX;
  if (s->problem) return;
  if ((begun && (began_at < 0 || began_at > MOST)) || ended_at < 0 || ended_at > MOST ||
      !(target >= 0 && isfinite(target)))
    s->problem = BEYOND;
  if (s->problem || !t) return;
  if (begun && began_at + shift < t->began_at) t->began_at = began_at + shift;
  if (begun && ended_at + shift > t->ended_at) t->ended_at = ended_at + shift;
  t->cpu += state[0];
  t->in_flight += state[1];
  t->waiting += state[2];
  t->connections += state[3];
  t->target += target;
  t->measured |= measured;
}

/* A histogram that was looked at, to be added. */
typedef struct {
  int place;
  const uint8_t *at;
  size_t used;
  histogram seen;
} found;

/* In ascending order of their places. */
static void look_at_histogram(source *s, int least, found *one) {
  one->place = (int)number(s, least, PLACES - 1);
  if (s->problem) return;
  one->at = s->at;
  histogram_result result = histogram_look(s->at, (size_t)(s->end - s->at), &one->seen, &one->used);
  if (result == HISTOGRAM_CUT)
    s->problem = CUT;
  else if (result != HISTOGRAM_OK || one->seen.lowest != 1 || one->seen.highest != TALLY_LONGEST ||
           one->seen.digits != TALLY_DIGITS)
    s->problem = CORRUPT;
  else
    s->at += one->used;
}

static void add_histogram(tally *t, const found *one) {
  histogram *h = tally_histogram((histogram **)place_of(t, one->place));
  if (!h || histogram_add_packed(h, one->at, &one->seen, one->used) != HISTOGRAM_OK)
    t->counts[TALLY_UNRECORDED] += one->seen.count;
}

/* All before the histograms. */
static void take_numbers(source *s, tally *t, int64_t shift) {
  for (int i = 0; i < TALLY_COUNTS; i++) {
    int64_t count = number(s, 0, MOST);
    if (t) t->counts[i] += (uint64_t)count;
  }
  take_statuses(s, t);
  take_kinds(s, t);
  take_state(s, t, shift);
}

const char *tally_add_packed(tally *t, const uint8_t *data, size_t length, int64_t shift) {
  source s = {.at = data, .end = data + length}, again = s;
  found histograms[PLACES];
  int count = 0;
  if (shift > MOST || shift < -MOST) return BEYOND;
  take_numbers(&s, NULL, shift);
  for (; !s.problem && s.at < s.end; count++) {
    if (count == PLACES) return CORRUPT;
    look_at_histogram(&s, count ? histograms[count - 1].place + 1 : 0, &histograms[count]);
  }
  if (s.problem || !t) return s.problem;
  take_numbers(&again, t, shift);
  for (int i = 0; i < count; i++) add_histogram(t, &histograms[i]);
  return NULL;
}
