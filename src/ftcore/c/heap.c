#include "heap.h"

#include <stdlib.h>

static void put(timer_heap *h, size_t i, timer_node *n) {
  h->nodes[i] = n;
  n->place = i + 1;
}

static void rise(timer_heap *h, size_t i, timer_node *n) {
  while (i > 0) {
    size_t up = (i - 1) / 4;
    if (h->nodes[up]->deadline <= n->deadline) break;
    put(h, i, h->nodes[up]);
    i = up;
  }
  put(h, i, n);
}

static void sink(timer_heap *h, size_t i, timer_node *n) {
  for (;;) {
    size_t first = i * 4 + 1, least = first;
    if (first >= h->count) break;
    for (size_t c = first + 1; c < first + 4 && c < h->count; c++)
      if (h->nodes[c]->deadline < h->nodes[least]->deadline) least = c;
    if (h->nodes[least]->deadline >= n->deadline) break;
    put(h, i, h->nodes[least]);
    i = least;
  }
  put(h, i, n);
}

void heap_free(timer_heap *h) {
  for (size_t i = 0; i < h->count; i++) h->nodes[i]->place = 0;
  free(h->nodes);
  h->nodes = NULL;
  h->count = h->room = 0;
}

int heap_arm(timer_heap *h, timer_node *n, int64_t deadline) {
  if (n->place) heap_disarm(h, n);
  if (h->count == h->room) {
    size_t room = h->room ? h->room * 2 : 64;
    timer_node **nodes = realloc(h->nodes, room * sizeof *nodes);
    if (!nodes) return -1;
    h->nodes = nodes;
    h->room = room;
  }
  n->deadline = deadline;
  rise(h, h->count++, n);
  return 0;
}

void heap_disarm(timer_heap *h, timer_node *n) {
  if (!n->place) return;
  size_t i = n->place - 1;
  n->place = 0;
  timer_node *last = h->nodes[--h->count];
  if (last == n) return;
  if (i > 0 && last->deadline < h->nodes[(i - 1) / 4]->deadline)
    rise(h, i, last);
  else
    sink(h, i, last);
}

timer_node *heap_due(timer_heap *h, int64_t now) {
  if (!h->count || h->nodes[0]->deadline > now) return NULL;
  timer_node *n = h->nodes[0];
  heap_disarm(h, n);
  return n;
}
