/* The masking of WebSocket frames that a client sends (RFC 6455, 5.3), and where its masks come
 * from. */
#ifndef FTCORE_WS_MASK_H
#define FTCORE_WS_MASK_H

#include <stddef.h>
#include <stdint.h>

/* Masks `length` bytes, which begin `offset` bytes into the payload, so that a payload can be
 * masked in pieces. `to` is `from`, or does not overlap it. Masking again takes the mask off. */
void ws_mask(uint8_t *to, const uint8_t *from, size_t length, const uint8_t mask[4], size_t offset);

enum { WS_MASK_POOL = 256 }; /* the most that getentropy() gives at once */

/* Masks in stock, the system's randomness; for one thread. All zero: an empty pool. Pages that
 * fork() copies would give parent and child the same masks: see ws_mask_pool_wipe. */
typedef struct {
  uint8_t stock[WS_MASK_POOL];
  size_t left; /* bytes at the start of `stock` that are still to be given out */
} ws_mask_pool;

/* A fresh mask, of which the pool keeps no trace. 0: the system gave no randomness; `mask` is not
 * set. */
int ws_mask_next(ws_mask_pool *pool, uint8_t mask[4]);
/* Empties the pool: in a forked child before it masks, and before the pool's memory is given
 * back. */
void ws_mask_pool_wipe(ws_mask_pool *pool);

#endif
