/* links: http1
 *
 * However the bytes of a connection are cut, the reader tells the same of them: the same header
 * blocks, with the same fields and framing, the same body, the same end or fault, and the same at
 * a close. A call takes no more than there is; all of it, if it wants more outside of a block, and
 * no block is more than the limit. Spans lie in their block, pieces of a body in what was taken.
 * After an end or a fault nothing is taken or told. What follows a response is read as another.
 *
 * Input: options, two bytes for the cuts, the bytes of the connection. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http1.h"

#define MUST(holds)        \
  do {                     \
    if (!(holds)) abort(); \
  } while (0)

enum { MAX_HEAD = 512, MAX_FIELDS = 12, MAX_INTERIM = 3 };

/* What was told, as bytes in a row; the pieces of a body are joined. */
typedef struct {
  uint8_t *bytes;
  size_t used, room;
} history;

typedef struct {
  http1_reader reader;
  http1_request request;
  uint8_t *kept; /* bytes that were not taken */
  size_t length;
  int lost; /* nothing may follow */
  history told;
} session;

static void keep(history *h, const void *data, size_t length) {
  if (h->used + length > h->room) {
    h->room = (h->used + length) * 2;
    h->bytes = realloc(h->bytes, h->room);
  }
  if (length) memcpy(h->bytes + h->used, data, length);
  h->used += length;
}

static void keep_block(session *s, const http1_event *e) {
  const http1_head *head = &s->reader.head;
  http1_field field;
  size_t at = 0, fields = 0;
  keep(&s->told, head, sizeof *head);
  keep(&s->told, e->data, e->length);
  for (size_t i = 0; i < HTTP1_NOTED; i++) {
    MUST(head->noted[i].start + head->noted[i].length <= e->length);
    MUST(head->noted[i].start || !head->noted[i].length);
  }
  while (http1_next_field(e->data, e->length, &at, &field)) {
    MUST(field.name_length && field.value + field.value_length < e->data + e->length);
    fields++;
  }
  MUST(fields == head->fields && at == e->length);
  MUST(head->status >= 100 && head->status <= 999 && head->minor <= 1);
  MUST(e->length <= MAX_HEAD && fields <= MAX_FIELDS);
}

static void check_place(const http1_event *e, const uint8_t *data, size_t took) {
  if (e->length == 0) return;
  MUST(e->data >= data && e->data + e->length == data + took);
}

static void tell(session *s, const http1_event *e) {
  uint8_t kind = (uint8_t)e->kind, fault = (uint8_t)e->fault;
  if (e->kind == HTTP1_BODY) {
    keep(&s->told, e->data, e->length);
    return;
  }
  keep(&s->told, &kind, 1);
  keep(&s->told, &fault, 1);
  if (e->kind == HTTP1_INTERIM || e->kind == HTTP1_HEAD) keep_block(s, e);
  if (e->kind == HTTP1_END) keep(&s->told, e->data, e->length);
  if (e->kind != HTTP1_END && e->kind != HTTP1_BAD) return;
  const http1_head *head = &s->reader.head;
  MUST((e->kind == HTTP1_BAD) == (e->fault != HTTP1_FINE));
  s->lost = e->kind == HTTP1_BAD || head->framing == HTTP1_SWITCHED;
  http1_event after;
  MUST(http1_read(&s->reader, (const uint8_t *)"x", 1, &after) == 0);
  MUST(after.kind == HTTP1_NOTHING);
}

/* From a buffer of their own size, so that reading beyond it shows. */
static void feed(session *s, const uint8_t *data, size_t length) {
  uint8_t *all = malloc(s->length + length + 1), *exact;
  http1_event e = {.kind = HTTP1_NOTHING};
  size_t at = 0, size = s->length + length;
  memcpy(all, s->kept, s->length);
  memcpy(all + s->length, data, length);
  exact = malloc(size);
  memcpy(exact, all, size);
  free(all);
  while (!s->lost) {
    size_t took = http1_read(&s->reader, exact + at, size - at, &e);
    MUST(took <= size - at);
    MUST(e.kind != HTTP1_BODY || e.length);
    check_place(&e, exact + at, took);
    at += took;
    if (e.kind == HTTP1_NOTHING) break;
    tell(s, &e);
    if (e.kind == HTTP1_END && !s->lost) http1_begin(&s->reader, s->request);
  }
  s->length = size - at;
  MUST(s->lost || s->length < MAX_HEAD);
  free(s->kept);
  s->kept = malloc(s->length + 1);
  memcpy(s->kept, exact + at, s->length);
  free(exact);
}

static void begin(session *s, unsigned options) {
  static const http1_limits limits = {MAX_HEAD, MAX_FIELDS, MAX_INTERIM};
  memset(s, 0, sizeof *s);
  s->request = (http1_request)(options & 3);
  s->kept = malloc(1);
  http1_init(&s->reader, &limits);
  http1_begin(&s->reader, s->request);
}

/* What a lost session was left is as it was cut. */
static void end(session *s) {
  http1_event e;
  http1_eof(&s->reader, &e);
  MUST((e.kind == HTTP1_NOTHING) == s->lost);
  if (!s->lost) tell(s, &e);
}

static void must_be_same(const session *one, const session *other) {
  MUST(one->told.used == other->told.used);
  MUST(memcmp(one->told.bytes, other->told.bytes, one->told.used) == 0);
  MUST(one->lost == other->lost);
}

static void forget(session *s) { free(s->kept), free(s->told.bytes); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
  if (length < 3) return 0;
  unsigned options = data[0], cut = data[1], size = data[2];
  session whole, halves, pieces;
  data += 3, length -= 3;
  begin(&whole, options);
  begin(&halves, options);
  begin(&pieces, options);

  feed(&whole, data, length);
  cut = cut < length ? cut : (unsigned)length;
  feed(&halves, data, cut);
  feed(&halves, data + cut, length - cut);
  for (size_t at = 0, step; at < length; at += step) { /* of sizes that change, mostly small */
    size = size * 5 + 3;
    step = size >> 3 & 1 ? 1 : size % 61 + 1;
    if (step > length - at) step = length - at;
    feed(&pieces, data + at, step);
  }
  end(&whole), end(&halves), end(&pieces);
  must_be_same(&whole, &halves);
  must_be_same(&whole, &pieces);

  forget(&whole), forget(&halves), forget(&pieces);
  return 0;
}
