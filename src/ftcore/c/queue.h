/* Many-producer, one-consumer inbox and the atomic words that go with it. C11 atomics only. */
#ifndef FTCORE_QUEUE_H
#define FTCORE_QUEUE_H

#include <stdatomic.h>
#include <stddef.h>

typedef struct inbox_node {
  struct inbox_node *next;
} inbox_node;

typedef struct {
  _Atomic(inbox_node *) top;
} inbox;

typedef _Atomic(unsigned) atomic_word;
typedef _Atomic(size_t) atomic_amount;

static inline void inbox_init(inbox *q) { atomic_init(&q->top, NULL); }

static inline void inbox_push(inbox *q, inbox_node *n) {
  n->next = atomic_load_explicit(&q->top, memory_order_relaxed);
  while (!atomic_compare_exchange_weak(&q->top, &n->next, n)) {
  }
}

static inline int inbox_empty(inbox *q) { return atomic_load(&q->top) == NULL; }

/* Takes everything, oldest first. */
static inline inbox_node *inbox_take(inbox *q) {
  inbox_node *n = atomic_exchange(&q->top, NULL), *oldest_first = NULL;
  while (n) {
    inbox_node *next = n->next;
    n->next = oldest_first;
    oldest_first = n;
    n = next;
  }
  return oldest_first;
}

static inline void word_init(atomic_word *w, unsigned v) { atomic_init(w, v); }
static inline unsigned word_get(atomic_word *w) { return atomic_load(w); }
static inline void word_set(atomic_word *w, unsigned v) { atomic_store(w, v); }
static inline unsigned word_swap(atomic_word *w, unsigned v) { return atomic_exchange(w, v); }
static inline unsigned word_or(atomic_word *w, unsigned v) { return atomic_fetch_or(w, v); }
static inline unsigned word_add(atomic_word *w, unsigned v) { return atomic_fetch_add(w, v); }
static inline unsigned word_sub(atomic_word *w, unsigned v) { return atomic_fetch_sub(w, v); }

static inline size_t amount_get(atomic_amount *a) { return atomic_load(a); }
static inline void amount_add(atomic_amount *a, size_t n) { atomic_fetch_add(a, n); }
static inline void amount_sub(atomic_amount *a, size_t n) { atomic_fetch_sub(a, n); }

#endif
