/* UTF-8 as RFC 3629 has it, checked as it arrives: no overlong form, no surrogate, nothing above
 * U+10FFFF. */
#ifndef FTCORE_UTF8_H
#define FTCORE_UTF8_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint64_t state; /* what may come next */
} utf8;

void utf8_init(utf8 *u);
/* The next bytes of a text. Whether they can still become one: 0 from the first byte on after
 * which no continuation is valid, and for good. */
int utf8_feed(utf8 *u, const uint8_t *data, size_t length);
/* Whether the text may end here: all is valid, and no character is cut. */
int utf8_complete(const utf8 *u);

#endif
