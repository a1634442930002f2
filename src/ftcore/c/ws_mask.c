#include "ws_mask.h"

#include <string.h>
#include <unistd.h>
#if __has_include(<sys/random.h>)
#include <sys/random.h> /* where macOS declares getentropy() */
#endif

enum { MASK = 4, WORD = sizeof(uint32_t), LANE = 16, BLOCK = 4 * LANE };

typedef uint32_t lane __attribute__((vector_size(LANE))); /* gcc 12 at -O2 makes none of a loop */

/* The mask as it meets the byte at `offset`, in the memory order of this machine. */
static uint32_t turned(const uint8_t mask[4], size_t offset) {
  uint32_t word;
  memcpy(&word, mask, sizeof word);
  unsigned by = offset % MASK * 8, rest = (32 - by) % 32;
  return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? word >> by | word << rest
                                                   : word << by | word >> rest;
}

/* These read before they write, so that a payload may be masked in place. */
static void mask_word(uint8_t *to, const uint8_t *from, uint32_t word) {
  uint32_t bytes;
  memcpy(&bytes, from, sizeof bytes);
  bytes ^= word;
  memcpy(to, &bytes, sizeof bytes);
}

static void mask_lane(uint8_t *to, const uint8_t *from, uint32_t word) {
  lane bytes;
  memcpy(&bytes, from, sizeof bytes);
  bytes ^= word;
  memcpy(to, &bytes, sizeof bytes);
}

static void mask_block(uint8_t *to, const uint8_t *from, uint32_t word) {
  mask_lane(to, from, word);
  mask_lane(to + LANE, from + LANE, word);
  mask_lane(to + 2 * LANE, from + 2 * LANE, word);
  mask_lane(to + 3 * LANE, from + 3 * LANE, word);
}

void ws_mask(uint8_t *to, const uint8_t *from, size_t length, const uint8_t mask[4],
             size_t offset) {
  uint32_t word = turned(mask, offset);
  size_t at = 0;
  for (; length - at >= BLOCK; at += BLOCK) mask_block(to + at, from + at, word);
  for (; length - at >= WORD; at += WORD) mask_word(to + at, from + at, word);
  for (; at < length; at++) to[at] = from[at] ^ mask[(offset + at) % MASK];
}

static void wipe(void *secret, size_t length) {
  memset(secret, 0, length);
  __asm__ __volatile__("" : : "r"(secret) : "memory"); /* not to be left out as a dead store */
}

int ws_mask_next(ws_mask_pool *pool, uint8_t mask[4]) {
  if (pool->left < MASK) {
    pool->left = 0;
    if (getentropy(pool->stock, sizeof pool->stock) < 0) return 0;
    pool->left = sizeof pool->stock;
  }
  pool->left -= MASK;
  memcpy(mask, pool->stock + pool->left, MASK);
  wipe(pool->stock + pool->left, MASK);
  return 1;
}

void ws_mask_pool_wipe(ws_mask_pool *pool) { wipe(pool, sizeof *pool); }
