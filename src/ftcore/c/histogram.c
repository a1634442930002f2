#include "histogram.h"

#include <stdlib.h>
#include <string.h>

#include "words.h"

enum {
  COOKIE = 0x1c849303, /* of V2 */
  COOKIE_SIZES = 0xf0, /* bits that say how wide counts are, which V2 does not go by */
  COOKIE_VARIABLE = 0x10
};

/* 1.0 as IEEE 754 has it. */
static const uint64_t RATIO_OF_ONE = (uint64_t)0x3ff << 52;

/* ------------------------------------------------------------------- range and memory */

/* Sets what follows from lowest, highest and digits. */
static int lay_out(histogram *h) {
  /* log2 of the slots per bucket that tell 10^digits values apart */
  static const int half[] = {0, 4, 7, 10, 14, 17};
  if (h->digits < 1 || h->digits > 5 || h->lowest < 1 || h->highest / 2 < h->lowest) return 0;
  h->unit = 63 - __builtin_clzll((uint64_t)h->lowest);
  h->half = half[h->digits];
  if (h->unit + h->half > 61) return 0;
  h->limit = (uint64_t)1 << (h->half + 1 + h->unit);
  h->mask = h->limit - 1;
  h->slots = (size_t)2 << h->half;
  for (; h->limit <= (uint64_t)h->highest; h->limit <<= 1) h->slots += (size_t)1 << h->half;
  return 1;
}

static void empty(histogram *h) {
  h->count = h->below = h->above = h->max = h->sum_low = h->sum_high = 0;
  h->min = UINT64_MAX;
  h->exact = 1;
}

static size_t size(const histogram *h) { return sizeof *h + h->slots * sizeof *h->counts; }

/* From the first slot that has counts up to, not with, `end_slot`. */
static size_t first_slot(const histogram *h) { return h->count ? histogram_slot(h, h->min) : 0; }
static size_t end_slot(const histogram *h) { return h->count ? histogram_slot(h, h->max) + 1 : 0; }

histogram_result histogram_new(int64_t lowest, int64_t highest, int digits, histogram **made) {
  histogram layout = {.lowest = lowest, .highest = highest, .digits = digits};
  *made = NULL;
  if (!lay_out(&layout)) return HISTOGRAM_BAD_RANGE;
  *made = calloc(1, size(&layout));
  if (!*made) return HISTOGRAM_NO_MEMORY;
  **made = layout;
  empty(*made);
  return HISTOGRAM_OK;
}

histogram *histogram_copy(const histogram *h) {
  histogram *copy = calloc(1, size(h)); /* pages without counts stay untouched */
  if (!copy) return NULL;
  size_t first = first_slot(h);
  *copy = *h;
  memcpy(copy->counts + first, h->counts + first, (end_slot(h) - first) * sizeof *h->counts);
  return copy;
}

void histogram_free(histogram *h) { free(h); }

void histogram_reset(histogram *h) {
  size_t first = first_slot(h);
  memset(h->counts + first, 0, (end_slot(h) - first) * sizeof *h->counts);
  empty(h);
}

/* ------------------------------------------------------------------- slots */

static int slot_shift(const histogram *h, size_t slot) {
  size_t bucket = slot >> h->half;
  return h->unit + (bucket ? (int)bucket - 1 : 0);
}

uint64_t histogram_slot_low(const histogram *h, size_t slot) {
  size_t half = (size_t)1 << h->half;
  uint64_t within = slot < half ? slot : (slot & (half - 1)) + half;
  return within << slot_shift(h, slot);
}

uint64_t histogram_slot_high(const histogram *h, size_t slot) {
  return histogram_slot_low(h, slot) + (((uint64_t)1 << slot_shift(h, slot)) - 1);
}

/* As HdrHistogram has it: of a slot for one value, that value. */
static uint64_t slot_middle(const histogram *h, size_t slot) {
  return histogram_slot_low(h, slot) + (((uint64_t)1 << slot_shift(h, slot)) >> 1);
}

/* ------------------------------------------------------------------- recording */

static int room_for(const histogram *h, uint64_t more) {
  uint64_t all = h->count + h->below + h->above;
  return all <= HISTOGRAM_COUNTS_AT_MOST && more <= HISTOGRAM_COUNTS_AT_MOST - all;
}

static unsigned __int128 get_sum(const histogram *h) {
  return (unsigned __int128)h->sum_high << 64 | h->sum_low;
}

static void set_sum(histogram *h, unsigned __int128 sum) {
  h->sum_low = (uint64_t)sum;
  h->sum_high = (uint64_t)(sum >> 64);
}

/* `steps` values from `value` down, `interval` apart, in one slot or all without; each `times`. */
static void record_row(histogram *h, uint64_t value, uint64_t interval, uint64_t steps,
                       uint64_t times) {
  uint64_t least = value - (steps - 1) * interval, counts = steps * times;
  if (value >= h->limit) {
    h->above += counts;
    return;
  }
  h->counts[histogram_slot(h, value)] += counts;
  h->count += counts;
  h->min = least < h->min ? least : h->min;
  h->max = value > h->max ? value : h->max;
  /* of steps and the sum of both ends, one is even */
  set_sum(h, get_sum(h) + (unsigned __int128)steps * (value + least) / 2 * times);
}

histogram_result histogram_record_corrected(histogram *h, int64_t value, int64_t interval,
                                            uint64_t times) {
  uint64_t all, left = 0, step = interval > 0 ? (uint64_t)interval : 0;
  if (step && value > interval) left = (uint64_t)value - step;
  if (__builtin_mul_overflow(times, 1 + (left ? left / step : 0), &all) || !room_for(h, all))
    return HISTOGRAM_TOO_MANY;
  if (times == 0) return HISTOGRAM_OK;
  if (value < 0)
    h->below += times;
  else
    record_row(h, (uint64_t)value, 0, 1, times);
  while (left && left >= step) {
    uint64_t low = left < h->limit ? histogram_slot_low(h, histogram_slot(h, left)) : h->limit;
    uint64_t steps = (left - (low > step ? low : step)) / step + 1;
    record_row(h, left, step, steps, times);
    left -= steps * step;
  }
  return HISTOGRAM_OK;
}

histogram_result histogram_record_times(histogram *h, int64_t value, uint64_t times) {
  return histogram_record_corrected(h, value, 0, times);
}

/* ------------------------------------------------------------------- several */

static int same_range(const histogram *h, const histogram *other) {
  return h->lowest == other->lowest && h->highest == other->highest && h->digits == other->digits;
}

/* All but the counts of the slots. */
static void add_ends(histogram *h, const histogram *other) {
  set_sum(h, get_sum(h) + get_sum(other)); /* before count: `other` may be `h` */
  h->count += other->count;
  h->below += other->below;
  h->above += other->above;
  h->min = other->min < h->min ? other->min : h->min;
  h->max = other->max > h->max ? other->max : h->max;
  h->exact = h->exact && other->exact;
}

histogram_result histogram_add(histogram *h, const histogram *other) {
  if (!same_range(h, other)) return HISTOGRAM_OTHER_RANGE;
  if (!room_for(h, other->count + other->below + other->above)) return HISTOGRAM_TOO_MANY;
  size_t end = end_slot(other);
  for (size_t slot = first_slot(other); slot < end; slot++) h->counts[slot] += other->counts[slot];
  add_ends(h, other);
  return HISTOGRAM_OK;
}

static int is_part(const histogram *h, const histogram *part) {
  if (part->below > h->below || part->above > h->above) return 0;
  size_t end = end_slot(part);
  for (size_t slot = first_slot(part); slot < end; slot++)
    if (part->counts[slot] > h->counts[slot]) return 0;
  return 1;
}

/* Takes count, min, max and sum from the slots, of which those in [first, end) may have counts. */
static void sum_up(histogram *h, size_t first, size_t end) {
  unsigned __int128 sum = 0;
  h->count = h->max = 0;
  h->min = UINT64_MAX;
  for (size_t slot = first; slot < end; slot++) {
    if (h->counts[slot] == 0) continue;
    if (h->count == 0) h->min = histogram_slot_low(h, slot);
    h->max = histogram_slot_high(h, slot);
    h->count += h->counts[slot];
    sum += (unsigned __int128)h->counts[slot] * slot_middle(h, slot);
  }
  set_sum(h, sum);
  h->exact = h->count == 0;
}

histogram_result histogram_subtract(histogram *h, const histogram *part) {
  if (!same_range(h, part)) return HISTOGRAM_OTHER_RANGE;
  if (!is_part(h, part)) return HISTOGRAM_NOT_A_PART;
  size_t first = first_slot(h), end = end_slot(h), part_end = end_slot(part);
  uint64_t min = h->min, max = h->max;
  h->below -= part->below;
  h->above -= part->above;
  if (part->count == 0) return HISTOGRAM_OK;
  for (size_t slot = first_slot(part); slot < part_end; slot++)
    h->counts[slot] -= part->counts[slot];
  sum_up(h, first, end);
  if (h->count == 0) return HISTOGRAM_OK;
  h->min = min > h->min ? min : h->min;
  h->max = max < h->max ? max : h->max;
  return HISTOGRAM_OK;
}

int histogram_equal(const histogram *h, const histogram *other) {
  size_t first = first_slot(h), slots = end_slot(h) - first;
  return same_range(h, other) && h->count == other->count && h->below == other->below &&
         h->above == other->above && h->min == other->min && h->max == other->max &&
         h->sum_low == other->sum_low && h->sum_high == other->sum_high &&
         h->exact == other->exact &&
         memcmp(h->counts + first, other->counts + first, slots * sizeof *h->counts) == 0;
}

/* ------------------------------------------------------------------- what is in it */

uint64_t histogram_percentile(const histogram *h, double percent) {
  /* Less by what rounding may have added: 99.9 % of 1000 is 999, and no bit more. */
  double reached = percent * (double)h->count / 100 * (1 - 0x1p-50);
  uint64_t rank = percent >= 100 ? h->count : (uint64_t)reached;
  if (rank < h->count && (double)rank < reached) rank++;
  size_t slot = first_slot(h);
  for (uint64_t seen = h->counts[slot]; seen < rank; seen += h->counts[slot]) slot++;
  return percent > 0 ? histogram_slot_high(h, slot) : histogram_slot_low(h, slot);
}

double histogram_variance(const histogram *h) {
  size_t first = first_slot(h), end = end_slot(h);
  double sum = 0, squares = 0, all = (double)h->count;
  for (size_t slot = first; slot < end; slot++)
    if (h->counts[slot]) sum += (double)slot_middle(h, slot) * (double)h->counts[slot];
  for (size_t slot = first; slot < end; slot++) {
    if (h->counts[slot] == 0) continue;
    double off = (double)slot_middle(h, slot) - sum / all;
    squares += off * off * (double)h->counts[slot];
  }
  return squares / all;
}

/* ------------------------------------------------------------------- the encoding */

size_t histogram_room(const histogram *h) { return HISTOGRAM_HEADER + WORD * end_slot(h); }

/* Empty slots are a negative number of them, as in HdrHistogram's C and Python (a single one is a 0
 * in Java; all read both). */
static uint8_t *put_counts(uint8_t *at, const histogram *h) {
  size_t end = end_slot(h), first = first_slot(h);
  if (first) at = put_word(at, -(int64_t)first);
  for (size_t slot = first, run; slot < end; slot += run ? run : 1) {
    for (run = 0; h->counts[slot + run] == 0;) run++; /* the last slot is not empty */
    at = put_word(at, run ? -(int64_t)run : (int64_t)h->counts[slot]);
  }
  return at;
}

size_t histogram_encode(const histogram *h, uint8_t *data) {
  uint8_t *end = put_counts(data + HISTOGRAM_HEADER, h), *at = data;
  at = put(at, COOKIE | COOKIE_VARIABLE, 4);
  at = put(at, (uint64_t)(end - data) - HISTOGRAM_HEADER, 4);
  at = put(at, 0, 4);
  at = put(at, (uint64_t)h->digits, 4);
  at = put(at, (uint64_t)h->lowest, 8);
  at = put(at, (uint64_t)h->highest, 8);
  put(at, RATIO_OF_ONE, 8);
  return (size_t)(end - data);
}

static histogram_result get_header(const uint8_t *data, histogram *h) {
  uint64_t digits = get(data + 12, 4);
  if ((get(data, 4) & ~(uint64_t)COOKIE_SIZES) != COOKIE) return HISTOGRAM_NOT_V2;
  if (get(data + 8, 4) != 0 || get(data + 32, 8) != RATIO_OF_ONE) return HISTOGRAM_SHIFTED;
  h->digits = digits > 5 ? 0 : (int)digits;
  h->lowest = (int64_t)get(data + 16, 8);
  h->highest = (int64_t)get(data + 24, 8);
  return lay_out(h) ? HISTOGRAM_OK : HISTOGRAM_BAD_RANGE;
}

size_t histogram_decode_room(const uint8_t *header) {
  histogram h = {0};
  return get_header(header, &h) == HISTOGRAM_OK ? HISTOGRAM_HEADER + WORD * h.slots : 0;
}

/* Adds the counts to those at `counts`, if any. `h` gets what they come to, as if it had been empty:
 * count, and for min and max the bounds of the outermost slots. */
static histogram_result get_counts(const uint8_t *at, const uint8_t *end, histogram *h,
                                   uint64_t *counts) {
  size_t slot = 0, first = 0, last = 0;
  uint64_t all = 0;
  for (int64_t word; at < end;) {
    at = get_word(at, end, &word);
    if (!at) return HISTOGRAM_CUT;
    uint64_t run = word < 0 ? 0 - (uint64_t)word : 1;
    if (run > h->slots - slot) return HISTOGRAM_BEYOND;
    if (word > 0) {
      if (all == 0) first = slot;
      last = slot;
      all += (uint64_t)word;
      if (all > HISTOGRAM_COUNTS_AT_MOST) return HISTOGRAM_TOO_MANY;
      if (counts) counts[slot] += (uint64_t)word;
    }
    slot += (size_t)run;
  }
  h->count = all;
  h->min = all ? histogram_slot_low(h, first) : UINT64_MAX;
  h->max = all ? histogram_slot_high(h, last) : 0;
  return HISTOGRAM_OK;
}

/* The header, and the length of the whole. */
static histogram_result get_frame(const uint8_t *data, size_t length, histogram *h) {
  if (length < HISTOGRAM_HEADER) return HISTOGRAM_CUT;
  histogram_result result = get_header(data, h);
  if (result != HISTOGRAM_OK) return result;
  return get(data + 4, 4) > length - HISTOGRAM_HEADER ? HISTOGRAM_CUT : HISTOGRAM_OK;
}

histogram_result histogram_decode(const uint8_t *data, size_t length, histogram **made) {
  histogram layout = {0};
  *made = NULL;
  histogram_result result = get_frame(data, length, &layout);
  if (result != HISTOGRAM_OK) return result;
  if (get(data + 4, 4) != length - HISTOGRAM_HEADER) return HISTOGRAM_TOO_LONG;
  result = histogram_new(layout.lowest, layout.highest, layout.digits, made);
  if (result != HISTOGRAM_OK) return result;
  result = get_counts(data + HISTOGRAM_HEADER, data + length, *made, (*made)->counts);
  if (result == HISTOGRAM_OK) {
    sum_up(*made, first_slot(*made), end_slot(*made));
    return result;
  }
  histogram_free(*made);
  *made = NULL;
  return result;
}

/* ------------------------------------------------------------------- all that it has */

histogram_result histogram_set_span(histogram *h, uint64_t min, uint64_t max, uint64_t sum_low,
                                    uint64_t sum_high) {
  if (min > max || min < h->min || max > h->max ||
      histogram_slot(h, min) != histogram_slot(h, h->min) ||
      histogram_slot(h, max) != histogram_slot(h, h->max))
    return HISTOGRAM_NO_SPAN;
  h->min = min;
  h->max = max;
  h->sum_low = sum_low;
  h->sum_high = sum_high;
  return HISTOGRAM_OK;
}

enum { BESIDE = 1 + 6 * 8 }; /* bytes before the V2 encoding */

size_t histogram_packed_room(const histogram *h) { return BESIDE + histogram_room(h); }

size_t histogram_pack(const histogram *h, uint8_t *data) {
  const uint64_t beside[] = {h->below, h->above, h->min, h->max, h->sum_low, h->sum_high};
  uint8_t *at = put(data, (uint64_t)h->exact, 1);
  for (int i = 0; i < 6; i++) at = put(at, beside[i], 8);
  return BESIDE + histogram_encode(h, at);
}

histogram_result histogram_look(const uint8_t *data, size_t length, histogram *seen, size_t *used) {
  uint64_t beside[6];
  *seen = (histogram){0};
  if (length < BESIDE) return HISTOGRAM_CUT;
  for (int i = 0; i < 6; i++) beside[i] = get(data + 1 + 8 * i, 8);
  histogram_result result = get_frame(data + BESIDE, length - BESIDE, seen);
  if (result != HISTOGRAM_OK) return result;
  *used = BESIDE + HISTOGRAM_HEADER + (size_t)get(data + BESIDE + 4, 4);
  result = get_counts(data + BESIDE + HISTOGRAM_HEADER, data + *used, seen, NULL);
  if (result != HISTOGRAM_OK) return result;
  seen->exact = data[0] == 1;
  seen->below = beside[0];
  seen->above = beside[1];
  if (beside[0] > HISTOGRAM_COUNTS_AT_MOST || beside[1] > HISTOGRAM_COUNTS_AT_MOST ||
      seen->count > HISTOGRAM_COUNTS_AT_MOST - beside[0] ||
      seen->count + beside[0] > HISTOGRAM_COUNTS_AT_MOST - beside[1])
    return HISTOGRAM_TOO_MANY;
  if (seen->count) return histogram_set_span(seen, beside[2], beside[3], beside[4], beside[5]);
  return HISTOGRAM_OK;
}

histogram_result histogram_add_packed(histogram *h, const uint8_t *data, const histogram *seen,
                                      size_t used) {
  if (!same_range(h, seen)) return HISTOGRAM_OTHER_RANGE;
  if (!room_for(h, seen->count + seen->below + seen->above)) return HISTOGRAM_TOO_MANY;
  histogram ends = *seen; /* looked at before: they can be added */
  get_counts(data + BESIDE + HISTOGRAM_HEADER, data + used, &ends, h->counts);
  add_ends(h, seen);
  return HISTOGRAM_OK;
}
