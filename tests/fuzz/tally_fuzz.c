/* links: tally_bytes tally histogram
 *
 * Whatever is taken packs to what is taken again, and packs to the same bytes then; what is refused
 * has changed nothing. Nothing packs to more than there was to be room for.
 *
 * Input: a packed tally. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tally_bytes.h"

#define MUST(holds)        \
  do {                     \
    if (!(holds)) abort(); \
  } while (0)

static size_t pack(const tally *t, uint8_t **data) {
  size_t room = tally_room(t);
  *data = malloc(room);
  size_t length = tally_pack(t, *data);
  MUST(length <= room);
  return length;
}

/* From a buffer of its own size, so that reading beyond it shows. */
static const char *take(tally *t, const uint8_t *data, size_t length) {
  uint8_t *own = malloc(length);
  if (length) memcpy(own, data, length);
  const char *problem = tally_add_packed(t, own, length, 0);
  free(own);
  return problem;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
  tally *t = tally_new(), *again = tally_new();
  uint8_t *first, *second;
  const char *looked = take(NULL, data, length), *problem = take(t, data, length);
  MUST((looked == NULL) == (problem == NULL));
  size_t first_length = pack(t, &first);
  MUST(take(problem ? NULL : again, first, first_length) == NULL);
  size_t second_length = pack(again, &second);
  MUST(first_length == second_length && memcmp(first, second, first_length) == 0);
  free(first);
  free(second);
  tally_free(t);
  tally_free(again);
  return 0;
}
