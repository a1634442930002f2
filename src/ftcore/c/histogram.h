/* A histogram of whole numbers with a fixed number of significant digits, in the slots of Gil
 * Tene's HdrHistogram and with its V2 encoding (https://github.com/HdrHistogram/HdrHistogram).
 *
 * Slots are grouped in buckets: those of a bucket are equally wide, those of the next twice as
 * wide, so that a slot is never wider than its values' last significant digit. Memory is taken once.
 * Values that have no slot are counted apart. One thread at a time. */
#ifndef FTCORE_HISTOGRAM_H
#define FTCORE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

/* What may be counted. What is left up to 2^63, single values do not fill in a century. */
#define HISTOGRAM_COUNTS_AT_MOST ((uint64_t)1 << 62)

typedef enum {
  HISTOGRAM_OK,
  HISTOGRAM_NO_MEMORY,
  HISTOGRAM_BAD_RANGE, /* lowest, highest and digits are not a range */
  HISTOGRAM_OTHER_RANGE, /* of two histograms, so that their slots differ */
  HISTOGRAM_NOT_A_PART, /* there is less in the one than is to be taken away */
  HISTOGRAM_TOO_MANY, /* counts, in all */
  HISTOGRAM_CUT, /* the encoding ends too early */
  HISTOGRAM_TOO_LONG, /* something follows the encoding */
  HISTOGRAM_NOT_V2,
  HISTOGRAM_SHIFTED, /* of values that were shifted, or are not whole */
  HISTOGRAM_BEYOND, /* counts for more slots than there are */
  HISTOGRAM_NO_SPAN /* min and max are not in the slots that they should be of */
} histogram_result;

typedef struct {
  int64_t lowest; /* what it was made for */
  int64_t highest;
  int digits;
  int unit; /* log2 of how wide the first slots are */
  int half; /* log2 of the slots of a bucket; the first has twice as many */
  size_t slots;
  uint64_t mask; /* the bits that are within the first bucket */
  uint64_t limit; /* the first value that has no slot */
  uint64_t count; /* of values in slots */
  uint64_t below; /* negative values */
  uint64_t above; /* values from `limit` on */
  uint64_t min; /* UINT64_MAX when there is none */
  uint64_t max;
  uint64_t sum_low; /* of 128 bits */
  uint64_t sum_high;
  int exact; /* min, max and sum are those of the values; else they are taken from the slots */
  uint64_t counts[];
} histogram;

/* Values from `lowest` (at least 1) to `highest` (at least twice as much, at most 2^63 - 1) are
 * told apart by 1 to 5 `digits`; below, by `lowest` (rounded down to a power of 2). */
histogram_result histogram_new(int64_t lowest, int64_t highest, int digits, histogram **made);
histogram *histogram_copy(const histogram *h); /* NULL: no memory */
void histogram_free(histogram *h);
void histogram_reset(histogram *h);

static inline size_t histogram_slot(const histogram *h, uint64_t value) {
  int shift = 63 - h->half - __builtin_clzll(value | h->mask);
  return ((size_t)(shift - h->unit) << h->half) + (size_t)(value >> shift);
}

static inline void histogram_record(histogram *h, int64_t signed_value) {
  uint64_t value = (uint64_t)signed_value;
  if (__builtin_expect(value >= h->limit, 0)) {
    *(signed_value < 0 ? &h->below : &h->above) += 1;
    return;
  }
  h->counts[histogram_slot(h, value)]++;
  h->count++;
  h->min = value < h->min ? value : h->min;
  h->max = value > h->max ? value : h->max;
  h->sum_high += (uint64_t)__builtin_add_overflow(h->sum_low, value, &h->sum_low);
}

/* OK or TOO_MANY, which leaves it as it was; so with all that follows. */
histogram_result histogram_record_times(histogram *h, int64_t value, uint64_t times);
/* With what a sender that waited for `value` could not measure meanwhile: value - interval, value
 * - 2 * interval, ... down to the interval. An interval of 0 or less: `value` alone. */
histogram_result histogram_record_corrected(histogram *h, int64_t value, int64_t interval,
                                            uint64_t times);

/* OTHER_RANGE, TOO_MANY. */
histogram_result histogram_add(histogram *h, const histogram *other);
/* OTHER_RANGE, NOT_A_PART. What is left is not exact: which values it is of is not known. */
histogram_result histogram_subtract(histogram *h, const histogram *part);
int histogram_equal(const histogram *h, const histogram *other);

/* The least and the greatest value that share a slot. */
uint64_t histogram_slot_low(const histogram *h, size_t slot);
uint64_t histogram_slot_high(const histogram *h, size_t slot);
/* The greatest value of the first slot up to which at least `percent` of the values are (of 0, the
 * least value of the first slot that has any). There must be values. */
uint64_t histogram_percentile(const histogram *h, double percent);
/* Of values taken as the middles of their slots. There must be values. */
double histogram_variance(const histogram *h);

/* The V2 encoding, not compressed, holds `lowest`, `highest`, `digits` and the counts. It takes
 * at most `histogram_room` bytes; `histogram_encode` says how many. */
size_t histogram_room(const histogram *h);
size_t histogram_encode(const histogram *h, uint8_t *data);
histogram_result histogram_decode(const uint8_t *data, size_t length, histogram **made);
/* From the first HISTOGRAM_HEADER bytes: how long the whole may be, 0 when they are none. */
enum { HISTOGRAM_HEADER = 40 };
size_t histogram_decode_room(const uint8_t *header);

/* Sets what V2 does not tell; h->count is more than 0. NO_SPAN. */
histogram_result histogram_set_span(histogram *h, uint64_t min, uint64_t max, uint64_t sum_low,
                                    uint64_t sum_high);

/* All that a histogram has: below, above and the span go before its V2 encoding. */
size_t histogram_packed_room(const histogram *h);
size_t histogram_pack(const histogram *h, uint8_t *data);
/* Looks what is packed at `data`, in `used` bytes: everything but the counts of slots. */
histogram_result histogram_look(const uint8_t *data, size_t length, histogram *seen, size_t *used);
/* Adds what was seen there, without memory of its own. OTHER_RANGE, TOO_MANY. */
histogram_result histogram_add_packed(histogram *h, const uint8_t *data, const histogram *seen,
                                      size_t used);

#endif
