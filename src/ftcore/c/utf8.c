/* An automaton whose states are shift counts: the row of a byte holds the next state of every
 * state, six bits each, so that a step is a load that depends on nothing before it, and one
 * shift. */
#include "utf8.h"

#include <string.h>

enum { STATE_BITS = 6, STATE = (1 << STATE_BITS) - 1, STRIDE = 32 };

enum {
  BAD = 0 * STATE_BITS,
  DONE = 1 * STATE_BITS, /* between two characters */
  ONE = 2 * STATE_BITS, /* so many continuation bytes are still to come */
  TWO = 3 * STATE_BITS,
  THREE = 4 * STATE_BITS,
  AFTER_E0 = 5 * STATE_BITS, /* after these, the next byte is confined further */
  AFTER_ED = 6 * STATE_BITS,
  AFTER_F0 = 7 * STATE_BITS,
  AFTER_F4 = 8 * STATE_BITS
};

#define GO(from, to) ((uint64_t)(to) << (from))
#define CONTINUES (GO(ONE, DONE) | GO(TWO, ONE) | GO(THREE, TWO))

/* The grammar of RFC 3629, section 4. What a row does not name leads to BAD. */
static const uint64_t rows[256] = {
    [0x00 ... 0x7F] = GO(DONE, DONE),
    [0x80 ... 0x8F] = CONTINUES | GO(AFTER_ED, ONE) | GO(AFTER_F4, TWO),
    [0x90 ... 0x9F] = CONTINUES | GO(AFTER_ED, ONE) | GO(AFTER_F0, TWO),
    [0xA0 ... 0xBF] = CONTINUES | GO(AFTER_E0, ONE) | GO(AFTER_F0, TWO),
    [0xC2 ... 0xDF] = GO(DONE, ONE),
    [0xE0] = GO(DONE, AFTER_E0),
    [0xE1 ... 0xEC] = GO(DONE, TWO),
    [0xED] = GO(DONE, AFTER_ED),
    [0xEE ... 0xEF] = GO(DONE, TWO),
    [0xF0] = GO(DONE, AFTER_F0),
    [0xF1 ... 0xF3] = GO(DONE, THREE),
    [0xF4] = GO(DONE, AFTER_F4),
};

static uint64_t step(uint64_t state, const uint8_t *data, size_t length) {
#pragma GCC unroll 8
  for (size_t i = 0; i < length; i++) state = rows[data[i]] >> (state & STATE);
  return state & STATE;
}

/* Of STRIDE bytes. */
static int all_ascii(const uint8_t *data) {
  uint64_t words[STRIDE / sizeof(uint64_t)];
  memcpy(words, data, STRIDE);
  return ((words[0] | words[1] | words[2] | words[3]) & 0x8080808080808080u) == 0;
}

void utf8_init(utf8 *u) { u->state = DONE; }

int utf8_feed(utf8 *u, const uint8_t *data, size_t length) {
  uint64_t state = u->state;
  for (; length >= STRIDE && state != BAD; data += STRIDE, length -= STRIDE)
    if (state != DONE || !all_ascii(data)) state = step(state, data, STRIDE);
  u->state = state == BAD ? BAD : step(state, data, length);
  return u->state != BAD;
}

int utf8_complete(const utf8 *u) { return u->state == DONE; }
