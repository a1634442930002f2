/* links: histogram
 *
 * Whatever is decoded has the counts that it says it has, all in slots between its least and its
 * greatest value, and is encoded to what decodes to the same, byte for byte the second time. No
 * encoding is longer than its header allows. It can be recorded to, added, and taken away again.
 *
 * Input: a value to record, an encoding. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "histogram.h"

#define MUST(holds)        \
  do {                     \
    if (!(holds)) abort(); \
  } while (0)

/* From a buffer of its own size, so that reading beyond it shows. */
static histogram *decode(const uint8_t *data, size_t length) {
  histogram *made;
  uint8_t *own = malloc(length);
  if (length) memcpy(own, data, length);
  histogram_result result = histogram_decode(own, length, &made);
  MUST((made != NULL) == (result == HISTOGRAM_OK));
  if (length >= HISTOGRAM_HEADER && histogram_decode_room(own) == 0) MUST(!made);
  if (made) MUST(histogram_decode_room(own) >= HISTOGRAM_HEADER);
  free(own);
  return made;
}

static size_t encode(const histogram *h, uint8_t **data) {
  size_t room = histogram_room(h);
  *data = malloc(room);
  size_t length = histogram_encode(h, *data);
  MUST(length <= room && length <= histogram_decode_room(*data));
  return length;
}

static void check_counts(const histogram *h) {
  uint64_t all = 0;
  for (size_t slot = 0; slot < h->slots; slot++) {
    if (h->counts[slot] == 0) continue;
    all += h->counts[slot];
    MUST(histogram_slot_low(h, slot) >= h->min && histogram_slot_high(h, slot) <= h->max);
  }
  MUST(all == h->count && all <= HISTOGRAM_COUNTS_AT_MOST);
  if (all == 0) return;
  MUST(histogram_percentile(h, 0) == h->min && histogram_percentile(h, 100) == h->max);
  MUST(histogram_variance(h) >= 0);
}

static void check_encoding(const histogram *h) {
  uint8_t *once, *twice;
  size_t length = encode(h, &once);
  histogram *again = decode(once, length);
  MUST(again && histogram_equal(h, again));
  MUST(encode(again, &twice) == length && memcmp(once, twice, length) == 0);
  free(once), free(twice);
  histogram_free(again);
}

static void check_arithmetic(histogram *h, int64_t value) {
  histogram *copy = histogram_copy(h);
  MUST(histogram_equal(h, copy));
  histogram_record(copy, value);
  MUST(copy->count + copy->below + copy->above == h->count + 1);
  if (histogram_add(copy, h) == HISTOGRAM_OK) MUST(histogram_subtract(copy, h) == HISTOGRAM_OK);
  MUST(histogram_subtract(copy, h) == HISTOGRAM_OK);
  MUST(copy->count + copy->below + copy->above == 1);
  histogram_reset(copy);
  for (size_t slot = 0; slot < copy->slots; slot++) MUST(copy->counts[slot] == 0);
  histogram_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
  int64_t value;
  if (length < sizeof value) return 0;
  memcpy(&value, data, sizeof value);
  histogram *h = decode(data + sizeof value, length - sizeof value);
  if (!h) return 0;
  check_counts(h);
  check_encoding(h);
  check_arithmetic(h, value);
  histogram_free(h);
  return 0;
}
