/* Timer heap: 4-ary, the index kept in the node, so that arming and disarming need no search. */
#ifndef FTCORE_HEAP_H
#define FTCORE_HEAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct timer_node {
  int64_t deadline; /* ns, monotonic */
  size_t place;     /* 1-based place in the heap; 0: not armed */
  void (*fire)(struct timer_node *);
  void *owner;
} timer_node;

typedef struct {
  timer_node **nodes; /* owned; the nodes are their owners' */
  size_t count, room;
} timer_heap;

void heap_free(timer_heap *h);
/* Arms or moves `n`; 0, or -1 when memory is out (then `n` is not armed). */
int heap_arm(timer_heap *h, timer_node *n, int64_t deadline);
void heap_disarm(timer_heap *h, timer_node *n);
/* The node that is due at `now`, disarmed; NULL when none is. */
timer_node *heap_due(timer_heap *h, int64_t now);
/* The next deadline, or INT64_MAX. */
static inline int64_t heap_next(const timer_heap *h) {
  return h->count ? h->nodes[0]->deadline : INT64_MAX;
}

#endif
