/* HTTP/1.1 responses as a client reads them (RFC 9112), strictly. Nothing is allocated or copied:
 * what is told lies in the caller's buffer.
 *
 *   http1_init(&r, NULL);
 *   http1_begin(&r, HTTP1_PLAIN);              for each request, before its answer is read
 *   took = http1_read(&r, data, length, &e);   again and again, until e.kind is
 *     HTTP1_NOTHING   more bytes are needed. Those not taken come again, at the front, with the new
 *     HTTP1_END       this was the response. Bytes not taken are not of it
 *     HTTP1_BAD       the connection is lost; e.fault says why
 *   http1_eof(&r, &e);                         when the server closed
 *
 * Only of a header block or of trailers that are not complete bytes are left, max_head at most; a
 * caller with room for these need not make room for more. However the bytes are cut, the same is
 * told, but for the sizes of the pieces of a body.
 *
 * Decided where the RFCs leave a choice (all sections of RFC 9112 unless they say otherwise):
 *   2.2      A line ends with CRLF. LF alone MAY be taken for it: it is refused.
 *   2.3, 4   HTTP/1.0 and HTTP/1.1; no higher minor version. One space, three digits from 100 on
 *            (beyond 599 too: RFC 9110 15), then nothing, or a space and a reason of any length.
 *   5, 5.1   A field name is a token, with nothing between it and the colon. In a value all octets
 *            but control characters other than HTAB (RFC 9110 5.5 lets a recipient keep some).
 *   5.2      A folded line is refused, though a user agent is to unfold it: no server of today
 *            folds, and what is told would no longer be what lies in the buffer. So is white space
 *            before the first field (2.2).
 *   6.1      The only transfer coding is "chunked", once: no other was asked for (RFC 9110 10.1.4).
 *            In an HTTP/1.0 response it is read as such, and the connection not kept.
 *   6.3 (1)  No body follows HEAD, 1xx, 204 and 304, whatever the fields say; but what they say
 *            must be sound, but in the success of a CONNECT, where it is to be ignored
 *            (RFC 9110 9.3.6).
 *   6.3 (3)  With both Transfer-Encoding and Content-Length the former counts, as with libcurl, and
 *            the connection is not kept: nothing is read behind it that could be smuggled in.
 *   6.3 (5)  Content-Length may come several times, in lines or in a list, with one value
 *            (RFC 9110 8.6); digits only, below 2^63.
 *   7.1      A chunk size is below 2^63, in hexadecimal digits only; white space may follow. Chunk
 *            extensions are skipped, their line is at most HTTP1_CHUNK_LINE bytes.
 *   7.1.2    Trailers must be sound and keep to the limits; none of them has a meaning here.
 *   8        What is cut off is never taken for a response, in any place.
 *   9.3      Connections are kept as HTTP/1.1 has it, with HTTP/1.0 if it says "keep-alive".
 *   RFC 9110 15.2.2: 101 ends HTTP if an upgrade was asked for, else it is refused.
 *
 * Of what is refused here libcurl 8 reads: LF alone, folded lines, an empty field name, white space
 * before a colon, "HTTP/2 200" on such a connection, and a Transfer-Encoding of "identity" or of
 * nothing. */
#ifndef FTCORE_HTTP1_H
#define FTCORE_HTTP1_H

#include <stddef.h>
#include <stdint.h>

/* The limits of libcurl, and the engine's on interim responses. */
enum { HTTP1_MAX_HEAD = 300 * 1024, HTTP1_MAX_FIELDS = 5000, HTTP1_MAX_INTERIM = 100 };
enum { HTTP1_CHUNK_LINE = 4096 };

typedef struct {
  uint32_t max_head;    /* bytes of a header block, with its status line and its blank line */
  uint32_t max_fields;  /* lines in one; both are for trailers, too */
  uint32_t max_interim; /* 1xx responses before the final one */
} http1_limits;

/* What the request was, as far as it has a say in how the response is read. */
typedef enum {
  HTTP1_PLAIN,
  HTTP1_FOR_HEAD,
  HTTP1_FOR_CONNECT,
  HTTP1_FOR_UPGRADE /* of any method that may have a body in its answer */
} http1_request;

typedef enum {
  HTTP1_FINE,
  HTTP1_NOT_HTTP,
  HTTP1_BAD_VERSION,
  HTTP1_BAD_STATUS,
  HTTP1_BARE_CR,
  HTTP1_BARE_LF,
  HTTP1_NUL,
  HTTP1_CONTROL,
  HTTP1_FOLDED,
  HTTP1_NO_COLON,
  HTTP1_EMPTY_NAME,
  HTTP1_SPACE_BEFORE_COLON,
  HTTP1_BAD_NAME,
  HTTP1_HEAD_TOO_LARGE,
  HTTP1_TOO_MANY_FIELDS,
  HTTP1_TOO_MANY_INTERIM,
  HTTP1_UNASKED_SWITCH,
  HTTP1_BAD_LENGTH,
  HTTP1_LENGTHS_DIFFER,
  HTTP1_UNKNOWN_CODING,
  HTTP1_CHUNKED_NOT_LAST,
  HTTP1_BAD_CHUNK_SIZE,
  HTTP1_CHUNK_TOO_LARGE,
  HTTP1_CHUNK_LINE_TOO_LONG,
  HTTP1_BAD_CHUNK_END,
  HTTP1_CUT_BEFORE, /* not a byte came */
  HTTP1_CUT_AFTER_INTERIM,
  HTTP1_CUT_IN_STATUS,
  HTTP1_CUT_IN_HEAD,
  HTTP1_CUT_IN_BODY,
  HTTP1_CUT_IN_CHUNK_LINE,
  HTTP1_CUT_IN_CHUNK,
  HTTP1_CUT_IN_TRAILERS
} http1_fault;

typedef enum {
  HTTP1_NO_BODY,
  HTTP1_SIZED, /* by Content-Length */
  HTTP1_CHUNKED,
  HTTP1_UNTIL_CLOSE,
  HTTP1_SWITCHED /* what follows is a tunnel's, or of another protocol */
} http1_framing;

typedef enum {
  HTTP1_NOTHING,
  HTTP1_INTERIM, /* a header block of a 1xx response, another follows */
  HTTP1_HEAD,    /* the final one */
  HTTP1_BODY,    /* a piece of it, out of its transfer coding */
  HTTP1_END,
  HTTP1_BAD
} http1_kind;

typedef struct {
  http1_kind kind;
  http1_fault fault; /* HTTP1_BAD */
  /* HTTP1_INTERIM, HTTP1_HEAD: the header block, all of it; HTTP1_BODY: the piece;
   * HTTP1_END: trailer lines and their blank line, if the body was chunked. In the input. */
  const uint8_t *data;
  size_t length;
} http1_event;

/* Fields whose values are noted. */
enum {
  HTTP1_LOCATION,
  HTTP1_CONTENT_TYPE,
  HTTP1_CONTENT_ENCODING,
  HTTP1_CONTENT_RANGE,
  HTTP1_ETAG,
  HTTP1_LAST_MODIFIED,
  HTTP1_NOTED
};

/* From the start of the header block; `start` is 0 where there is none. */
typedef struct {
  uint32_t start, length;
} http1_span;

/* Of a header block: there with its event, and until another begins. Spans are of its values,
 * without the white space around. */
typedef struct {
  int64_t content_length; /* -1: not given. As the field says, also where no body follows */
  http1_span noted[HTTP1_NOTED]; /* the last of each */
  uint32_t fields;
  uint16_t status;
  uint8_t minor; /* of the version, 0 or 1 */
  uint8_t framing; /* http1_framing */
  uint8_t keep_alive; /* another request may follow, if there are no bytes behind the response */
  uint8_t repeated; /* 1 << HTTP1_LOCATION etc.: it came more than once */
  uint8_t chunked;
  uint8_t close, keep; /* the options in Connection */
  uint8_t fault; /* http1_fault: in what the fields say of a body */
} http1_head;

/* Its fields are its own, but for `head`. */
typedef struct {
  http1_head head;
  http1_limits limits;
  uint64_t left; /* of the body or chunk; before, its size as far as read */
  uint32_t at; /* in a block: where the first line begins that was not read */
  uint32_t scanned; /* and up to where it has no control characters */
  uint32_t fields;
  uint32_t interim;
  uint32_t line; /* bytes of a chunk's line */
  uint8_t request;
  uint8_t place;
} http1_reader;

/* `limits`: NULL for those above. */
void http1_init(http1_reader *r, const http1_limits *limits);
void http1_begin(http1_reader *r, http1_request request);
/* How many bytes it took, with what is told. */
size_t http1_read(http1_reader *r, const uint8_t *data, size_t length, http1_event *out);
/* HTTP1_END if the close ends the response, HTTP1_BAD if it cuts it, else HTTP1_NOTHING. */
void http1_eof(http1_reader *r, http1_event *out);
const char *http1_fault_text(http1_fault fault);

typedef struct {
  const uint8_t *name, *value;
  size_t name_length, value_length;
} http1_field;

/* The fields of a block or of trailers as they were told, one after the other. `at` begins at 0;
 * 0 when there are no more. */
int http1_next_field(const uint8_t *block, size_t length, size_t *at, http1_field *out);

#endif
