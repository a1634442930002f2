/* A tally as bytes, for a process on another machine: all that it has, exactly. */
#ifndef FTCORE_TALLY_BYTES_H
#define FTCORE_TALLY_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "tally.h"

/* It takes at most `tally_room` bytes; `tally_pack` says how many. */
size_t tally_room(const tally *t);
size_t tally_pack(const tally *t, uint8_t *data);
/* Adds what was packed as tally_add would have added that tally, with its times `shift` ns later.
 * `t` NULL: only looks whether it could. NULL, or what is wrong: then nothing was added. */
const char *tally_add_packed(tally *t, const uint8_t *data, size_t length, int64_t shift);

#endif
