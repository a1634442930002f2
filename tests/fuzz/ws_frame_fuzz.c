/* links: ws_frame utf8
 *
 * However a stream is cut, the reader tells the same of it. Each call takes a byte at least, and no
 * more than there are; it tells nothing only when it took all. Data lies in the input, payloads of
 * control frames in the reader. What is left of a frame goes down by what was told of it, a frame
 * and a message end once and in order, a message keeps its opcode and to its limit. Codes are those
 * that may be on the wire, or that the reader deals out. After a close or a fault nothing is told.
 *
 * Input: options, two bytes for the cuts, the stream. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ws_frame.h"

#define MUST(holds)        \
  do {                     \
    if (!(holds)) abort(); \
  } while (0)

/* What was told; the pieces of a frame are joined. */
typedef struct {
  ws_event *events; /* `data` and `why` are not kept */
  size_t count;
  uint8_t *bytes; /* of all events, in a row */
  size_t used;
} history;

typedef struct {
  ws_reader reader;
  uint64_t limit, message_size;
  int deflate, over;
  history told;
} session;

static const ws_event *last(const history *h) { return h->count ? &h->events[h->count - 1] : NULL; }

/* The last event, if more of its frame may follow. */
static const ws_event *unfinished(const history *h) {
  const ws_event *e = last(h);
  return e && e->kind == WS_DATA && !e->frame_end ? e : NULL;
}

/* The last event of data, if its message goes on. */
static const ws_event *open_message(const history *h) {
  for (size_t i = h->count; i-- > 0;)
    if (h->events[i].kind == WS_DATA) return h->events[i].message_end ? NULL : &h->events[i];
  return NULL;
}

static void keep(history *h, const ws_event *e) {
  if (e->length) memcpy(h->bytes + h->used, e->data, e->length);
  h->used += e->length;
  ws_event kept = *e;
  kept.data = NULL;
  kept.why = NULL;
  const ws_event *before = unfinished(h);
  if (before && e->kind == WS_BAD) { /* of a piece with bad text, more or less was told before */
    h->count--;
    h->used -= before->length;
  } else if (before) {
    kept.first = before->first;
    kept.length += before->length;
    h->count--;
  }
  h->events[h->count++] = kept;
}

static void check_data(session *s, const ws_event *e, const uint8_t *input, size_t took) {
  const ws_event *frame = unfinished(&s->told), *message = open_message(&s->told);
  if (e->length) MUST(e->data >= input && e->data + e->length == input + took);
  if (e->length == 0) MUST(e->first || e->message_end);
  MUST(e->opcode == WS_TEXT || e->opcode == WS_BINARY);
  MUST(!e->compressed || s->deflate);
  MUST(e->first == !message);
  MUST(e->frame_end == (e->frame_left == 0));
  MUST(!e->message_end || e->frame_end);
  if (message) MUST(e->opcode == message->opcode && e->compressed == message->compressed);
  if (frame) MUST(e->length > 0 && frame->frame_left == e->frame_left + e->length);
  if (e->first) s->message_size = 0;
  s->message_size += e->length;
  MUST(!s->limit || s->message_size + e->frame_left <= s->limit);
}

static void check_control(session *s, const ws_event *e) {
  const uint8_t *room = s->reader.control;
  MUST(!unfinished(&s->told));
  MUST(e->length <= WS_CONTROL_ROOM);
  if (e->length) MUST(e->data >= room && e->data + e->length <= room + WS_CONTROL_ROOM);
  if (e->kind != WS_CLOSE) return;
  MUST(e->code == WS_NO_CODE ? e->length == 0 : ws_close_code_receivable(e->code));
  utf8 text;
  utf8_init(&text);
  MUST(utf8_feed(&text, e->data, e->length) && utf8_complete(&text));
}

static void check_bad(session *s, const ws_event *e) {
  MUST(e->code == WS_PROTOCOL_ERROR || e->code == WS_NOT_UTF8 || e->code == WS_TOO_BIG);
  MUST(e->why && e->length == 0);
  if (unfinished(&s->told)) MUST(e->code == WS_NOT_UTF8);
  if (e->code == WS_TOO_BIG) MUST(s->limit);
}

static void check(session *s, const ws_event *e, const uint8_t *input, size_t took) {
  MUST(!s->over);
  MUST(!e->why == (e->kind != WS_BAD));
  if (e->kind == WS_DATA)
    check_data(s, e, input, took);
  else if (e->kind == WS_BAD)
    check_bad(s, e);
  else
    check_control(s, e);
  s->over = e->kind == WS_BAD || e->kind == WS_CLOSE;
  keep(&s->told, e);
}

/* From a buffer of the piece's own size, so that reading beyond it shows. */
static void feed(session *s, const uint8_t *data, size_t length) {
  uint8_t *piece = malloc(length);
  if (length) memcpy(piece, data, length);
  for (size_t at = 0; at < length;) {
    ws_event e;
    size_t took = ws_read(&s->reader, piece + at, length - at, &e);
    MUST(took > 0 && took <= length - at);
    if (e.kind == WS_NOTHING)
      MUST(took == length - at);
    else
      check(s, &e, piece + at, took);
    at += took;
  }
  free(piece);
}

static void begin(session *s, unsigned options, size_t length) {
  static const uint64_t limits[] = {0, 10, 300, 70000};
  memset(s, 0, sizeof *s);
  s->deflate = options & 1;
  s->limit = limits[options >> 1 & 3];
  ws_reader_init(&s->reader, s->deflate, s->limit);
  s->told.events = malloc((length + 1) * sizeof(ws_event));
  s->told.bytes = malloc(length + 1);
}

static void end(session *s) {
  free(s->told.events);
  free(s->told.bytes);
}

static void must_be_same(const session *one, const session *other) {
  const history *a = &one->told, *b = &other->told;
  MUST(a->count == b->count && a->used == b->used && memcmp(a->bytes, b->bytes, a->used) == 0);
  for (size_t i = 0; i < a->count; i++) {
    const ws_event *x = &a->events[i], *y = &b->events[i];
    MUST(x->kind == y->kind && x->opcode == y->opcode && x->first == y->first &&
         x->compressed == y->compressed && x->frame_end == y->frame_end &&
         x->message_end == y->message_end && x->code == y->code && x->length == y->length &&
         x->frame_left == y->frame_left);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
  if (length < 3) return 0;
  unsigned options = data[0], cut = data[1], size = data[2];
  data += 3, length -= 3;
  session whole, halves, pieces;
  begin(&whole, options, length);
  begin(&halves, options, length);
  begin(&pieces, options, length);

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
  must_be_same(&whole, &halves);
  must_be_same(&whole, &pieces);

  end(&whole), end(&halves), end(&pieces);
  return 0;
}
