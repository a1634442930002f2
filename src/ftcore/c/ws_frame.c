#include "ws_frame.h"

#include <string.h>

enum { FIN = 0x80, RSV1 = 0x40, RSV = 0x70, OPCODE = 0x0F };
enum { MASKED = 0x80, LENGTH = 0x7F, EXTENDED = 126 };

enum { FIRST_BYTE, SECOND_BYTE, LENGTH_BYTE, PAYLOAD, OVER };

/* --- the rules, as tables --------------------------------------------------------------------- */

enum { RESERVED, CONTINUES, STARTS, CONTROL };

static const uint8_t roles[16] = {
    [WS_CONTINUE] = CONTINUES, [WS_TEXT] = STARTS,     [WS_BINARY] = STARTS,
    [WS_OP_CLOSE] = CONTROL,   [WS_OP_PING] = CONTROL, [WS_OP_PONG] = CONTROL,
};

/* By role, and whether a message is open: what is wrong with such a frame at such a time. */
static const char *const out_of_place[4][2] = {
    [RESERVED] = {"an unknown opcode", "an unknown opcode"},
    [CONTINUES] = {"a continuation without a message", NULL},
    [STARTS] = {NULL, "a new message inside of another"},
    [CONTROL] = {NULL, NULL},
};

/* For 126 and 127 in place of a length: how many bytes of it follow, and what it must not be
 * below. */
static const struct {
  uint8_t bytes;
  uint32_t least;
} extended[] = {{2, EXTENDED}, {8, 0x10000}};

typedef struct {
  uint16_t first, last;
} code_range;

static const code_range receivable[] = {{1000, 1003}, {1007, 1014}, {3000, 4999}};
static const code_range sendable[] = {{1000, 1000}, {3000, 4999}};

static int within(const code_range *ranges, size_t count, unsigned code) {
  for (size_t i = 0; i < count; i++)
    if (code >= ranges[i].first && code <= ranges[i].last) return 1;
  return 0;
}

int ws_close_code_receivable(unsigned code) {
  return within(receivable, sizeof receivable / sizeof *receivable, code);
}

int ws_close_code_sendable(unsigned code) {
  return within(sendable, sizeof sendable / sizeof *sendable, code);
}

/* --- the reader ------------------------------------------------------------------------------- */

void ws_reader_init(ws_reader *r, int deflate, uint64_t max_message) {
  memset(r, 0, sizeof *r);
  r->max_message = max_message;
  r->deflate = deflate != 0;
  r->place = FIRST_BYTE;
}

static void bad(ws_reader *r, ws_event *out, int code, const char *why) {
  r->place = OVER;
  out->kind = WS_BAD;
  out->code = (uint16_t)code;
  out->why = why;
}

static int is_control(const ws_reader *r) { return roles[r->frame_opcode] == CONTROL; }

static int is_checked_text(const ws_reader *r) {
  return r->message_opcode == WS_TEXT && !r->message_deflated;
}

/* The event of a piece of the open message's frame, which `left` no longer counts. */
static void tell_data(ws_reader *r, const uint8_t *data, size_t length, ws_event *out) {
  int frame_end = r->left == 0, message_end = frame_end && r->fin;
  if (frame_end) r->place = FIRST_BYTE;
  if (length == 0 && r->message_told && !message_end) return;
  if (is_checked_text(r) &&
      (!utf8_feed(&r->text, data, length) || (message_end && !utf8_complete(&r->text)))) {
    bad(r, out, WS_NOT_UTF8, "text that is not UTF-8");
    return;
  }
  out->kind = WS_DATA;
  out->opcode = r->message_opcode;
  out->first = !r->message_told;
  out->compressed = r->message_deflated;
  out->frame_end = (uint8_t)frame_end;
  out->message_end = (uint8_t)message_end;
  out->data = data;
  out->length = length;
  out->frame_left = r->left;
  r->message_told = 1;
  if (message_end) r->message_opcode = 0;
}

static void tell_close(ws_reader *r, ws_event *out) {
  r->place = OVER;
  out->kind = WS_CLOSE;
  out->code = WS_NO_CODE;
  if (r->control_length == 0) return;
  if (r->control_length == 1) {
    bad(r, out, WS_PROTOCOL_ERROR, "half a close code");
    return;
  }
  unsigned code = (unsigned)r->control[0] << 8 | r->control[1];
  const uint8_t *reason = r->control + 2;
  size_t length = r->control_length - 2u;
  utf8 text;
  utf8_init(&text);
  if (!ws_close_code_receivable(code)) {
    bad(r, out, WS_PROTOCOL_ERROR, "a close code that must not be sent");
  } else if (!utf8_feed(&text, reason, length) || !utf8_complete(&text)) {
    bad(r, out, WS_NOT_UTF8, "a close reason that is not UTF-8");
  } else {
    out->code = (uint16_t)code;
    out->data = reason;
    out->length = length;
  }
}

static void tell_control(ws_reader *r, ws_event *out) {
  r->place = FIRST_BYTE;
  if (r->frame_opcode == WS_OP_CLOSE) {
    tell_close(r, out);
    return;
  }
  out->kind = r->frame_opcode == WS_OP_PING ? WS_PING : WS_PONG;
  out->data = r->control;
  out->length = r->control_length;
}

/* A header is complete. */
static void begin_payload(ws_reader *r, ws_event *out) {
  r->place = PAYLOAD;
  if (is_control(r)) {
    r->control_length = 0;
    if (r->left == 0) tell_control(r, out);
    return;
  }
  if (r->max_message && r->left > r->max_message - r->size) {
    bad(r, out, WS_TOO_BIG, "a message larger than the limit");
    return;
  }
  if (r->frames == WS_MAX_FRAMES) {
    bad(r, out, WS_TOO_BIG, "a message of too many frames");
    return;
  }
  r->size += r->left;
  r->frames++;
  if (r->left == 0) tell_data(r, r->control, 0, out);
}

static void read_first_byte(ws_reader *r, uint8_t byte, ws_event *out) {
  uint8_t opcode = byte & OPCODE, role = roles[opcode];
  const char *why = out_of_place[role][r->message_opcode != 0];
  if (byte & RSV & ~(role == STARTS && r->deflate ? RSV1 : 0)) why = "a reserved bit is set";
  if (role == CONTROL && !(byte & FIN)) why = "a control frame in pieces";
  if (why) {
    bad(r, out, WS_PROTOCOL_ERROR, why);
    return;
  }
  r->place = SECOND_BYTE;
  r->frame_opcode = opcode;
  r->fin = byte & FIN;
  if (role != STARTS) return;
  r->message_opcode = opcode;
  r->message_deflated = (byte & RSV1) != 0;
  r->message_told = 0;
  r->size = 0;
  r->frames = 0;
  utf8_init(&r->text);
}

static void read_second_byte(ws_reader *r, uint8_t byte, ws_event *out) {
  uint8_t length = byte & LENGTH;
  if (byte & MASKED) {
    bad(r, out, WS_PROTOCOL_ERROR, "a masked frame from a server");
  } else if (is_control(r) && length > WS_CONTROL_ROOM) {
    bad(r, out, WS_PROTOCOL_ERROR, "a control frame of more than 125 bytes");
  } else if (length >= EXTENDED) {
    r->place = LENGTH_BYTE;
    r->length_bytes = extended[length - EXTENDED].bytes;
    r->least = extended[length - EXTENDED].least;
    r->left = 0;
  } else {
    r->left = length;
    begin_payload(r, out);
  }
}

static void read_length_byte(ws_reader *r, uint8_t byte, ws_event *out) {
  r->left = r->left << 8 | byte;
  if (--r->length_bytes) return;
  if (r->left >> 63)
    bad(r, out, WS_PROTOCOL_ERROR, "a length of 2^63 or more");
  else if (r->left < r->least)
    bad(r, out, WS_PROTOCOL_ERROR, "a length in more bytes than it needs");
  else
    begin_payload(r, out);
}

/* Of at least one byte; how many it took. */
static size_t read_payload(ws_reader *r, const uint8_t *data, size_t length, ws_event *out) {
  if (length > r->left) length = (size_t)r->left;
  r->left -= length;
  if (!is_control(r)) {
    tell_data(r, data, length, out);
    return length;
  }
  memcpy(r->control + r->control_length, data, length);
  r->control_length += (uint8_t)length;
  if (r->left == 0) tell_control(r, out);
  return length;
}

size_t ws_read(ws_reader *r, const uint8_t *data, size_t length, ws_event *out) {
  size_t at = 0;
  memset(out, 0, sizeof *out);
  while (at < length && out->kind == WS_NOTHING) {
    switch (r->place) {
      case FIRST_BYTE:
        read_first_byte(r, data[at++], out);
        break;
      case SECOND_BYTE:
        read_second_byte(r, data[at++], out);
        break;
      case LENGTH_BYTE:
        read_length_byte(r, data[at++], out);
        break;
      case PAYLOAD:
        at += read_payload(r, data + at, length - at, out);
        break;
      default: /* OVER */
        return length;
    }
  }
  return at;
}

/* --- the writer ------------------------------------------------------------------------------- */

size_t ws_header(uint8_t out[WS_HEADER_ROOM], int opcode, int fin, int rsv1, uint64_t length,
                 const uint8_t mask[4]) {
  unsigned bytes = length < EXTENDED ? 0 : length < extended[1].least ? 2 : 8;
  size_t at = 0;
  out[at++] = (uint8_t)((fin ? FIN : 0) | (rsv1 ? RSV1 : 0) | (opcode & OPCODE));
  out[at++] = (uint8_t)(MASKED | (bytes == 0 ? length : bytes == 2 ? EXTENDED : EXTENDED + 1));
  while (bytes > 0) out[at++] = (uint8_t)(length >> 8 * --bytes);
  memcpy(out + at, mask, 4);
  return at + 4;
}
