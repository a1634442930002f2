/* WebSocket frames as a client meets them (RFC 6455, section 5): the strict reading of what a
 * server sends, and the headers of what is sent. Nothing is allocated, payloads of data frames
 * are not copied. */
#ifndef FTCORE_WS_FRAME_H
#define FTCORE_WS_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "utf8.h"

enum { WS_CONTINUE = 0, WS_TEXT = 1, WS_BINARY = 2 };
enum { WS_OP_CLOSE = 8, WS_OP_PING = 9, WS_OP_PONG = 10 };
enum { WS_CONTROL_ROOM = 125, WS_HEADER_ROOM = 14 };
/* Frames of one message at most: those that are empty would pass any limit on bytes. */
enum { WS_MAX_FRAMES = 1 << 19 };
/* Close codes that the reader itself deals out; WS_NO_CODE stands for an empty close frame. */
enum { WS_PROTOCOL_ERROR = 1002, WS_NO_CODE = 1005, WS_NOT_UTF8 = 1007, WS_TOO_BIG = 1009 };

typedef enum { WS_NOTHING, WS_DATA, WS_PING, WS_PONG, WS_CLOSE, WS_BAD } ws_kind;

/* Fields that a kind is not named with are 0. */
typedef struct {
  ws_kind kind;
  /* WS_DATA: a piece of a frame, in the input.
   * WS_PING, WS_PONG: the payload; WS_CLOSE: the reason; in the reader, until it reads on. */
  const uint8_t *data;
  size_t length;
  /* WS_CLOSE: the server's, or WS_NO_CODE. WS_BAD: the one to close with. */
  uint16_t code;
  const char *why; /* WS_BAD: in words */
  /* WS_DATA: */
  uint8_t opcode; /* the message's: WS_TEXT or WS_BINARY */
  uint8_t first; /* begins a message */
  uint8_t compressed; /* the first frame of its message has RSV1 */
  uint8_t frame_end; /* its frame has no more */
  uint8_t message_end; /* nor has its message */
  uint64_t frame_left; /* bytes of its frame still to come */
} ws_event;

/* Its fields are its own. */
typedef struct {
  uint64_t max_message; /* 0: none */
  uint64_t left; /* of the frame's payload still to come; before that, its length as far as read */
  uint64_t size; /* of the message, up to and with this frame */
  utf8 text;
  uint32_t frames; /* of the message, up to and with this one */
  uint32_t least; /* what an extended length must not be below */
  uint8_t place; /* what the next byte is */
  uint8_t length_bytes; /* of an extended length, still to come */
  uint8_t deflate; /* RSV1 may be set */
  uint8_t frame_opcode, fin;
  uint8_t message_opcode; /* 0: no message is open */
  uint8_t message_deflated; /* its first frame has RSV1 */
  uint8_t message_told; /* some of it was given out */
  uint8_t control_length;
  uint8_t control[WS_CONTROL_ROOM];
} ws_reader;

/* `deflate`: permessage-deflate was negotiated. `max_message`: payload bytes of one message as
 * they are on the wire; 0: no limit. */
void ws_reader_init(ws_reader *r, int deflate, uint64_t max_message);
/* Reads up to one event and tells how many bytes it took; WS_NOTHING when they are all taken
 * without one. However the input is cut, the same is read. A fault is told before the payload of
 * the frame whose header has it, and bad text at its first bad byte. After WS_CLOSE and WS_BAD all
 * further input is taken and nothing more is told.
 *
 * An empty data frame makes an event of length 0 when it begins or ends a message, else none.
 * Text is checked to be UTF-8 unless it is compressed: then that is left to who inflates it. A
 * WS_BAD with WS_NOT_UTF8 comes in place of the piece with the bad byte, of which nothing is
 * given out. */
size_t ws_read(ws_reader *r, const uint8_t *data, size_t length, ws_event *out);

/* Writes the header of a frame to be sent, masked, with the least bytes for `length`; its size. */
size_t ws_header(uint8_t out[WS_HEADER_ROOM], int opcode, int fin, int rsv1, uint64_t length,
                 const uint8_t mask[4]);
/* Whether a server may send this code, and whether a caller of ours may. */
int ws_close_code_receivable(unsigned code);
int ws_close_code_sendable(unsigned code);

#endif
