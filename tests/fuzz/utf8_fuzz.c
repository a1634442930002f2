/* links: utf8
 *
 * A text is fed whole, in two pieces, in pieces of one size, and byte by byte. Each way finds the
 * same as a second decoder, which goes by the code points that are still within reach: whether the
 * bytes can become a text, and whether they are one. Byte by byte, it fails at exactly the first
 * byte that no text has there, and for good.
 *
 * Input: where to cut in two, the size of pieces, the text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

#define MUST(holds)        \
  do {                     \
    if (!(holds)) abort(); \
  } while (0)

/* Whether a character of at least `least` lies within [low, high]. */
static int reachable(uint32_t low, uint32_t high, uint32_t least) {
  return high >= least && low <= 0x10FFFF && !(low >= 0xD800 && high <= 0xDFFF);
}

/* The first byte after which no text is possible, else `length`; `complete`: whether no character
 * is cut. */
static size_t first_bad(const uint8_t *data, size_t length, int *complete) {
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  uint32_t point = 0;
  unsigned more = 0, of = 0;
  *complete = 0;
  for (size_t i = 0; i < length; i++) {
    uint8_t byte = data[i];
    if (more) {
      if ((byte & 0xC0) != 0x80) return i;
      point = point << 6 | (byte & 0x3Fu);
      more--;
    } else if (byte < 0x80) {
      of = 0;
      point = byte;
    } else {
      if (byte < 0xC0 || byte > 0xF7) return i;
      of = more = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
      point = byte & (0x3Fu >> of);
    }
    uint32_t low = point << 6 * more, high = low | ((1u << 6 * more) - 1);
    if (!reachable(low, high, least[of])) return i;
  }
  *complete = more == 0;
  return length;
}

/* From a buffer of the piece's own size, so that reading beyond it shows. */
static int feed(utf8 *u, const uint8_t *data, size_t length) {
  uint8_t *piece = malloc(length);
  if (length) memcpy(piece, data, length);
  int fine = utf8_feed(u, piece, length);
  free(piece);
  return fine;
}

static void by_pieces(const uint8_t *data, size_t length, size_t size, size_t bad, int complete) {
  utf8 u;
  utf8_init(&u);
  MUST(utf8_complete(&u));
  for (size_t at = 0; at < length; at += size) {
    size_t end = at + size < length ? at + size : length;
    MUST(feed(&u, data + at, end - at) == (bad >= end));
  }
  MUST(utf8_complete(&u) == complete);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
  if (length < 2) return 0;
  size_t cut = data[0], size = data[1] % 64 + 1;
  data += 2, length -= 2;
  if (cut > length) cut = length;
  int complete;
  size_t bad = first_bad(data, length, &complete);
  by_pieces(data, length, length + 1, bad, complete);
  by_pieces(data, length, size, bad, complete);
  by_pieces(data, length, 1, bad, complete);

  utf8 u;
  utf8_init(&u);
  MUST(feed(&u, data, cut) == (bad >= cut));
  MUST(feed(&u, data + cut, length - cut) == (bad == length));
  MUST(utf8_complete(&u) == complete);
  return 0;
}
