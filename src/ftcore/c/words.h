/* Whole numbers as bytes: of fixed width with the highest first, and as ZigZag LEB128. */
#ifndef FTCORE_WORDS_H
#define FTCORE_WORDS_H

#include <stddef.h>
#include <stdint.h>

enum { WORD = 9 }; /* bytes of a LEB128 at most */

static inline uint8_t *put(uint8_t *at, uint64_t value, int bytes) {
  while (bytes--) *at++ = (uint8_t)(value >> 8 * bytes);
  return at;
}

static inline uint64_t get(const uint8_t *at, int bytes) {
  uint64_t value = 0;
  while (bytes--) value = value << 8 | *at++;
  return value;
}

/* ZigZag LEB128, of which the ninth byte is the last and holds eight bits. */
static inline uint8_t *put_word(uint8_t *at, int64_t signed_word) {
  uint64_t word = (uint64_t)signed_word << 1 ^ (signed_word < 0 ? UINT64_MAX : 0);
  int more = WORD - 1;
  for (; word >> 7 && more; word >>= 7, more--) *at++ = (uint8_t)(word | 0x80);
  *at++ = (uint8_t)word;
  return at;
}

/* NULL: it is cut. */
static inline const uint8_t *get_word(const uint8_t *at, const uint8_t *end, int64_t *signed_word) {
  uint64_t word = 0;
  if (at < end && *at < 0x80) { /* as most are */
    *signed_word = (int64_t)(*at >> 1) ^ -(int64_t)(*at & 1);
    return at + 1;
  }
  for (int i = 0; at < end; i++) {
    uint64_t byte = *at++;
    int last = i == WORD - 1;
    word |= (last ? byte : byte & 0x7f) << 7 * i;
    if (!last && byte & 0x80) continue;
    *signed_word = (int64_t)(word >> 1 ^ (word & 1 ? UINT64_MAX : 0));
    return at;
  }
  return NULL;
}

#endif
