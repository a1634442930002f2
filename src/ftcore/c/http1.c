#include "http1.h"

#include <string.h>

enum {
  HEAD,
  SIZED_BODY,
  OPEN_BODY,
  CHUNK_FIRST_DIGIT,
  CHUNK_DIGITS,
  CHUNK_SPACE,
  CHUNK_EXTENSION,
  CHUNK_LINE_LF,
  CHUNK,
  CHUNK_CR,
  CHUNK_LF,
  TRAILERS,
  ENDED, /* which is still to be told */
  OVER
};

static const char *const texts[] = {
    [HTTP1_FINE] = "nothing is wrong",
    [HTTP1_NOT_HTTP] = "not an HTTP response",
    [HTTP1_BAD_VERSION] = "an HTTP version other than 1.0 and 1.1",
    [HTTP1_BAD_STATUS] = "a status line without a status",
    [HTTP1_BARE_CR] = "a CR without LF",
    [HTTP1_BARE_LF] = "a LF without CR",
    [HTTP1_NUL] = "a NUL in a header line",
    [HTTP1_CONTROL] = "a control character in a header line",
    [HTTP1_FOLDED] = "a folded header line",
    [HTTP1_NO_COLON] = "a header line without a colon",
    [HTTP1_EMPTY_NAME] = "an empty field name",
    [HTTP1_SPACE_BEFORE_COLON] = "white space between a field name and its colon",
    [HTTP1_BAD_NAME] = "a field name that is not a token",
    [HTTP1_HEAD_TOO_LARGE] = "a header block larger than the limit",
    [HTTP1_TOO_MANY_FIELDS] = "more header fields than the limit",
    [HTTP1_TOO_MANY_INTERIM] = "too many interim responses",
    [HTTP1_UNASKED_SWITCH] = "a switch of protocols that was not asked for",
    [HTTP1_BAD_LENGTH] = "a Content-Length that is not a number below 2^63",
    [HTTP1_LENGTHS_DIFFER] = "several Content-Lengths that differ",
    [HTTP1_UNKNOWN_CODING] = "a transfer coding other than chunked",
    [HTTP1_CHUNKED_NOT_LAST] = "a transfer coding after chunked",
    [HTTP1_BAD_CHUNK_SIZE] = "a chunk size that is not a hexadecimal number",
    [HTTP1_CHUNK_TOO_LARGE] = "a chunk size of 2^63 or more",
    [HTTP1_CHUNK_LINE_TOO_LONG] = "a chunk extension longer than the limit",
    [HTTP1_BAD_CHUNK_END] = "a chunk that does not end with CRLF",
    [HTTP1_CUT_BEFORE] = "closed before any byte of a response",
    [HTTP1_CUT_AFTER_INTERIM] = "closed after an interim response",
    [HTTP1_CUT_IN_STATUS] = "closed within the status line",
    [HTTP1_CUT_IN_HEAD] = "closed within the header block",
    [HTTP1_CUT_IN_BODY] = "closed before the end of the body",
    [HTTP1_CUT_IN_CHUNK_LINE] = "closed before the last chunk",
    [HTTP1_CUT_IN_CHUNK] = "closed within a chunk",
    [HTTP1_CUT_IN_TRAILERS] = "closed within the trailers",
};

const char *http1_fault_text(http1_fault fault) {
  return (size_t)fault < sizeof texts / sizeof *texts ? texts[fault] : "unknown";
}

/* --- octets ----------------------------------------------------------------------------------- */

/* tchar, RFC 9110 5.6.2 */
static const uint8_t is_token[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1,
    ['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1,  ['~'] = 1, ['0'] = 1,
    ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1,  ['7'] = 1, ['8'] = 1,
    ['9'] = 1, ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1,  ['F'] = 1, ['G'] = 1,
    ['H'] = 1, ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1,  ['N'] = 1, ['O'] = 1,
    ['P'] = 1, ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1,  ['V'] = 1, ['W'] = 1,
    ['X'] = 1, ['Y'] = 1, ['Z'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1,  ['d'] = 1, ['e'] = 1,
    ['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1,  ['l'] = 1, ['m'] = 1,
    ['n'] = 1, ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1,  ['t'] = 1, ['u'] = 1,
    ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1,
};

static int is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

static int is_blank(uint8_t byte) { return byte == ' ' || byte == '\t'; }

static int is_control(uint8_t byte) { return (byte < 0x20 && byte != '\t') || byte == 0x7F; }

/* The value of a hexadecimal digit, or -1. */
static int hex(uint8_t byte) {
  if (is_digit(byte)) return byte - '0';
  byte |= 0x20;
  return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Eight octets at a time: a word has one in each byte, a mask the highest bit of those meant. */
static const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;

/* The first octet is the lowest byte; compilers make one load of it. */
static inline uint64_t eight(const uint8_t *p) {
  return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
         (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

/* Of a mask that is not 0. */
static size_t first_of(uint64_t mask) { return (size_t)__builtin_ctzll(mask) / 8; }

static inline uint64_t controls(uint64_t x) {
  uint64_t low = x & ~highs, below_space = ~(low + ones * 0x60), del = low + ones;
  uint64_t not_tab = (low ^ ones * '\t') + ones * 0x7F;
  return (below_space | del) & not_tab & ~x & highs;
}

/* What is neither a letter nor a hyphen: field names mostly have nothing else. */
static inline uint64_t unusual(uint64_t x) {
  uint64_t low = x & ~highs, lower = low | ones * 0x20;
  uint64_t letter = (lower + ones * (0x80 - 'a')) & ~(lower + ones * (0x7F - 'z'));
  uint64_t not_hyphen = (low ^ ones * '-') + ones * 0x7F;
  return ((~letter & not_hyphen) | x) & highs;
}

/* Where the first control character is but for HTAB, from `at` on; else `end`. */
static size_t first_control(const uint8_t *data, size_t at, size_t end) {
  for (; end - at >= 8; at += 8) {
    uint64_t found = controls(eight(data + at));
    if (found) return at + first_of(found);
  }
  while (at < end && !is_control(data[at])) at++;
  return at;
}

/* How many octets a line has up to the first that is not of a token. */
static size_t token_length(const uint8_t *line, size_t length) {
  size_t at = 0;
  while (length - at >= 8) {
    uint64_t found = unusual(eight(line + at));
    at += found ? first_of(found) : 8;
    if (!found) continue;
    if (!is_token[line[at]]) return at;
    at++;
  }
  while (at < length && is_token[line[at]]) at++;
  return at;
}

/* Whether a token is `lower`, in whatever case. The last eight octets may overlap those before. */
static inline int is_word(const uint8_t *token, size_t length, const char *lower, size_t size) {
  const uint8_t *word = (const uint8_t *)lower;
  size_t i = 0;
  if (length != size) return 0;
  if (length < 8) {
    while (i < length && (token[i] | 0x20) == word[i]) i++;
    return i == length;
  }
  for (; length - i > 8; i += 8)
    if ((eight(token + i) | ones * 0x20) != eight(word + i)) return 0;
  return (eight(token + length - 8) | ones * 0x20) == eight(word + length - 8);
}

/* Where an element of a list ends that begins at `at`; it is [`from`, `to`) without the white space
 * around. */
static size_t element(const uint8_t *list, size_t at, size_t length, size_t *from, size_t *to) {
  const uint8_t *comma = memchr(list + at, ',', length - at);
  size_t end = comma ? (size_t)(comma - list) : length;
  *from = at, *to = end;
  while (*from < *to && is_blank(list[*from])) ++*from;
  while (*to > *from && is_blank(list[*to - 1])) --*to;
  return end;
}

/* --- a header block --------------------------------------------------------------------------- */

/* Below 2^63, or -1. */
static int64_t number(const uint8_t *digits, size_t length) {
  int64_t so_far = 0;
  if (length == 0) return -1;
  for (size_t i = 0; i < length; i++) {
    if (!is_digit(digits[i])) return -1;
    int digit = digits[i] - '0';
    if (so_far > (INT64_MAX - digit) / 10) return -1;
    so_far = so_far * 10 + digit;
  }
  return so_far;
}

static void blame(http1_head *h, http1_fault fault) {
  if (h->fault == HTTP1_FINE) h->fault = (uint8_t)fault;
}

static void read_length(http1_head *h, const uint8_t *value, size_t length) {
  size_t at = 0, from, to;
  do {
    at = element(value, at, length, &from, &to);
    int64_t said = number(value + from, to - from);
    if (said < 0)
      blame(h, HTTP1_BAD_LENGTH);
    else if (h->content_length >= 0 && h->content_length != said)
      blame(h, HTTP1_LENGTHS_DIFFER);
    else
      h->content_length = said;
  } while (at++ < length);
}

static void read_coding(http1_head *h, const uint8_t *value, size_t length) {
  size_t at = 0, from, to;
  do {
    at = element(value, at, length, &from, &to);
    if (h->chunked)
      blame(h, HTTP1_CHUNKED_NOT_LAST);
    else if (!is_word(value + from, to - from, "chunked", 7))
      blame(h, HTTP1_UNKNOWN_CODING);
    h->chunked = 1;
  } while (at++ < length);
}

static void read_connection(http1_head *h, const uint8_t *value, size_t length) {
  size_t at = 0, from, to;
  do {
    at = element(value, at, length, &from, &to);
    if (is_word(value + from, to - from, "close", 5)) h->close = 1;
    if (is_word(value + from, to - from, "keep-alive", 10)) h->keep = 1;
  } while (at++ < length);
}

enum { LENGTH = HTTP1_NOTED, CODING, CONNECTION };

/* In order of the length of the name. */
static const struct {
  uint8_t length, what;
  const char *name;
} known[] = {
    {4, HTTP1_ETAG, "etag"},
    {8, HTTP1_LOCATION, "location"},
    {10, CONNECTION, "connection"},
    {12, HTTP1_CONTENT_TYPE, "content-type"},
    {13, HTTP1_CONTENT_RANGE, "content-range"},
    {13, HTTP1_LAST_MODIFIED, "last-modified"},
    {14, LENGTH, "content-length"},
    {16, HTTP1_CONTENT_ENCODING, "content-encoding"},
    {17, CODING, "transfer-encoding"},
};

static void note(http1_head *h, unsigned what, const uint8_t *block, const http1_field *f) {
  if (h->noted[what].start) h->repeated |= (uint8_t)(1u << what);
  h->noted[what].start = (uint32_t)(f->value - block);
  h->noted[what].length = (uint32_t)f->value_length;
}

enum { KNOWN = sizeof known / sizeof *known, LONGEST = 17 };

/* By the length of a name: the first of `known` with it. */
static const uint8_t first_known[LONGEST + 1] = {
    KNOWN, KNOWN, KNOWN, KNOWN, 0, KNOWN, KNOWN, KNOWN, 1, KNOWN, 2, KNOWN, 3, 4, 6, KNOWN, 7, 8,
};

/* What the reader or the engine must know of a field. */
static void use_field(http1_head *h, const uint8_t *block, const http1_field *f) {
  if (f->name_length > LONGEST) return;
  size_t i = first_known[f->name_length];
  for (; i < KNOWN && known[i].length == f->name_length; i++) {
    if (!is_word(f->name, f->name_length, known[i].name, known[i].length)) continue;
    if (known[i].what == LENGTH)
      read_length(h, f->value, f->value_length);
    else if (known[i].what == CODING)
      read_coding(h, f->value, f->value_length);
    else if (known[i].what == CONNECTION)
      read_connection(h, f->value, f->value_length);
    else
      note(h, known[i].what, block, f);
    return;
  }
}

/* What is wrong with a line whose token of `name` bytes is not followed by a colon. */
static http1_fault bad_name(const uint8_t *line, size_t length, size_t name) {
  size_t after = name;
  if (is_blank(line[0])) return HTTP1_FOLDED;
  if (memchr(line, ':', length) == NULL) return HTTP1_NO_COLON;
  while (after < length && is_blank(line[after])) after++;
  if (name && after > name && line[after] == ':') return HTTP1_SPACE_BEFORE_COLON;
  return HTTP1_BAD_NAME;
}

/* A line of at least one byte, without its end. */
static http1_fault split_field(const uint8_t *line, size_t length, http1_field *out) {
  size_t name = token_length(line, length);
  if (name == length || line[name] != ':') return bad_name(line, length, name);
  if (name == 0) return HTTP1_EMPTY_NAME;
  size_t from = name + 1;
  while (from < length && is_blank(line[from])) from++;
  while (length > from && is_blank(line[length - 1])) length--;
  out->name = line;
  out->name_length = name;
  out->value = line + from;
  out->value_length = length - from;
  return HTTP1_FINE;
}

int http1_next_field(const uint8_t *block, size_t length, size_t *at, http1_field *out) {
  while (*at < length) {
    const uint8_t *line = block + *at, *lf = memchr(line, '\n', length - *at);
    size_t size = (size_t)(lf - line);
    int is_status = *at == 0 && length >= 5 && memcmp(block, "HTTP/", 5) == 0;
    *at += size + 1;
    if (!is_status && size > 1) return split_field(line, size - 1, out) == HTTP1_FINE;
  }
  return 0;
}

/* As soon as the bytes are there, so that what speaks another protocol is known at once. */
static http1_fault check_version(const uint8_t *line, size_t length) {
  static const char start[] = "HTTP/1.";
  size_t same = length > sizeof start - 1 && memcmp(line, start, sizeof start - 1) == 0 ? 7 : 0;
  while (same < length && same < sizeof start - 1 && line[same] == start[same]) same++;
  if (same == length) return HTTP1_FINE;
  if (same < 5) return HTTP1_NOT_HTTP;
  if (same < sizeof start - 1 || (line[same] & ~1) != '0') return HTTP1_BAD_VERSION;
  return HTTP1_FINE;
}

static http1_fault read_status(http1_head *h, const uint8_t *line, size_t length) {
  memset(h, 0, sizeof *h);
  h->content_length = -1;
  if (length < 8) return HTTP1_BAD_VERSION;
  if (length > 8 && line[8] != ' ') return HTTP1_BAD_VERSION;
  if (length < 12 || !is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11]))
    return HTTP1_BAD_STATUS;
  if (line[9] == '0' || (length > 12 && line[12] != ' ')) return HTTP1_BAD_STATUS;
  h->minor = line[7] - '0';
  h->status = (uint16_t)((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
  return HTTP1_FINE;
}

static http1_fault read_line(http1_reader *r, const uint8_t *block, size_t length) {
  http1_field field;
  const uint8_t *line = block + r->at;
  if (r->place == HEAD && r->at == 0) return read_status(&r->head, line, length);
  if (r->fields == r->limits.max_fields) return HTTP1_TOO_MANY_FIELDS;
  r->fields++;
  http1_fault fault = split_field(line, length, &field);
  if (fault == HTTP1_FINE && r->place == HEAD) use_field(&r->head, block, &field);
  return fault;
}

static http1_fault control_fault(uint8_t byte) {
  if (byte == '\r') return HTTP1_BARE_CR;
  if (byte == '\n') return HTTP1_BARE_LF;
  return byte == 0 ? HTTP1_NUL : HTTP1_CONTROL;
}

static void bad(http1_reader *r, http1_event *out, http1_fault fault) {
  r->place = OVER;
  out->kind = HTTP1_BAD;
  out->fault = fault;
}

static void begin_block(http1_reader *r, int place) {
  r->place = (uint8_t)place;
  r->at = r->scanned = r->fields = 0;
}

/* RFC 9112 6.3 */
static http1_framing framing_of(const http1_reader *r) {
  const http1_head *h = &r->head;
  if (h->status == 101) return HTTP1_SWITCHED;
  if (r->request == HTTP1_FOR_CONNECT && h->status < 300) return HTTP1_SWITCHED;
  if (r->request == HTTP1_FOR_HEAD || h->status == 204 || h->status == 304) return HTTP1_NO_BODY;
  if (h->chunked) return HTTP1_CHUNKED;
  return h->content_length >= 0 ? HTTP1_SIZED : HTTP1_UNTIL_CLOSE;
}

static void tell_interim(http1_reader *r, http1_event *out) {
  if (r->head.fault) {
    bad(r, out, r->head.fault);
  } else if (r->interim == r->limits.max_interim) {
    bad(r, out, HTTP1_TOO_MANY_INTERIM);
  } else {
    r->interim++;
    begin_block(r, HEAD);
    out->kind = HTTP1_INTERIM;
  }
}

static void tell_head(http1_reader *r, http1_event *out) {
  /* by framing */
  static const uint8_t next[] = {ENDED, SIZED_BODY, CHUNK_FIRST_DIGIT, OPEN_BODY, ENDED};
  http1_head *h = &r->head;
  h->fields = r->fields;
  if (h->status < 200 && h->status != 101) {
    tell_interim(r, out);
    return;
  }
  h->framing = (uint8_t)framing_of(r);
  h->keep_alive = h->framing < HTTP1_UNTIL_CLOSE && !h->close && (h->minor || h->keep) &&
                  !(h->chunked && (h->content_length >= 0 || h->minor == 0));
  if (h->status == 101 && (r->request != HTTP1_FOR_UPGRADE || h->minor == 0)) {
    bad(r, out, HTTP1_UNASKED_SWITCH);
  } else if (h->fault && !(r->request == HTTP1_FOR_CONNECT && h->status < 300)) {
    bad(r, out, h->fault);
  } else {
    r->place = next[h->framing];
    r->left = h->framing == HTTP1_SIZED ? (uint64_t)h->content_length : 0;
    if (h->framing == HTTP1_SIZED && r->left == 0) r->place = ENDED;
    out->kind = HTTP1_HEAD;
  }
}

/* The blank line of the block came. */
static size_t end_block(http1_reader *r, const uint8_t *data, http1_event *out) {
  size_t size = r->scanned;
  if (r->place == TRAILERS) {
    r->place = OVER;
    out->kind = HTTP1_END;
  } else {
    tell_head(r, out);
  }
  if (out->kind == HTTP1_BAD) return 0;
  out->data = data;
  out->length = size;
  return size;
}

/* Takes a header block, or trailers, when it is complete; what was seen of it is not looked at
 * again. */
static size_t read_block(http1_reader *r, const uint8_t *data, size_t length, http1_event *out) {
  size_t end = length < r->limits.max_head ? length : r->limits.max_head;
  http1_fault fault = HTTP1_FINE;
  if (r->place == HEAD && r->at == 0) fault = check_version(data, end);
  while (fault == HTTP1_FINE) {
    size_t stop = first_control(data, r->scanned, end);
    r->scanned = (uint32_t)stop;
    if (stop == end || (stop + 1 == end && data[stop] == '\r')) {
      if (length >= r->limits.max_head) fault = HTTP1_HEAD_TOO_LARGE;
      break;
    }
    if (data[stop] != '\r' || data[stop + 1] != '\n') {
      fault = control_fault(data[stop]);
      break;
    }
    r->scanned += 2;
    if (stop == r->at) return end_block(r, data, out);
    fault = read_line(r, data, stop - r->at);
    r->at = r->scanned;
  }
  if (fault != HTTP1_FINE) bad(r, out, fault);
  return 0;
}

/* --- bodies ----------------------------------------------------------------------------------- */

static size_t tell_body(http1_reader *r, const uint8_t *data, size_t length, http1_event *out) {
  if (r->place != OPEN_BODY) {
    if (length > r->left) length = (size_t)r->left;
    r->left -= length;
    if (r->left == 0) r->place = r->place == CHUNK ? CHUNK_CR : ENDED;
  }
  if (length == 0) return 0;
  out->kind = HTTP1_BODY;
  out->data = data;
  out->length = length;
  return length;
}

static http1_fault read_size(http1_reader *r, uint8_t byte) {
  int digit = hex(byte);
  if (digit < 0) return HTTP1_BAD_CHUNK_SIZE;
  if (r->left >> 59) return HTTP1_CHUNK_TOO_LARGE;
  r->left = r->left << 4 | (unsigned)digit;
  r->place = CHUNK_DIGITS;
  return HTTP1_FINE;
}

/* What follows the size in its line. */
static http1_fault read_extension(http1_reader *r, uint8_t byte) {
  if (byte == '\r') {
    r->place = CHUNK_LINE_LF;
  } else if (r->place == CHUNK_EXTENSION) {
    if (is_control(byte)) return control_fault(byte);
  } else if (byte == ';') {
    r->place = CHUNK_EXTENSION;
  } else if (is_blank(byte)) {
    r->place = CHUNK_SPACE;
  } else {
    return byte == '\n' ? HTTP1_BARE_LF : HTTP1_BAD_CHUNK_SIZE;
  }
  return HTTP1_FINE;
}

static http1_fault end_chunk_line(http1_reader *r, uint8_t byte) {
  if (byte != '\n') return HTTP1_BARE_CR;
  r->line = 0;
  if (r->left)
    r->place = CHUNK;
  else
    begin_block(r, TRAILERS);
  return HTTP1_FINE;
}

/* A byte around chunks. */
static http1_fault read_chunk_byte(http1_reader *r, uint8_t byte) {
  if (r->place == CHUNK_CR || r->place == CHUNK_LF) {
    if (byte != (r->place == CHUNK_CR ? '\r' : '\n')) return HTTP1_BAD_CHUNK_END;
    r->place = r->place == CHUNK_CR ? CHUNK_LF : CHUNK_FIRST_DIGIT;
    return HTTP1_FINE;
  }
  if (++r->line > HTTP1_CHUNK_LINE) return HTTP1_CHUNK_LINE_TOO_LONG;
  if (r->place == CHUNK_LINE_LF) return end_chunk_line(r, byte);
  if (r->place == CHUNK_FIRST_DIGIT || (r->place == CHUNK_DIGITS && hex(byte) >= 0))
    return read_size(r, byte);
  return read_extension(r, byte);
}

static size_t read_chunked(http1_reader *r, const uint8_t *data, size_t length, http1_event *out) {
  for (size_t at = 0;; at++) {
    if (r->place == CHUNK) return at + tell_body(r, data + at, length - at, out);
    if (r->place == TRAILERS) return at + read_block(r, data + at, length - at, out);
    if (at == length) return length;
    http1_fault fault = read_chunk_byte(r, data[at]);
    if (fault != HTTP1_FINE) {
      bad(r, out, fault);
      return at;
    }
  }
}

/* --- the reader ------------------------------------------------------------------------------- */

void http1_init(http1_reader *r, const http1_limits *limits) {
  static const http1_limits usual = {HTTP1_MAX_HEAD, HTTP1_MAX_FIELDS, HTTP1_MAX_INTERIM};
  memset(r, 0, sizeof *r);
  r->limits = limits ? *limits : usual;
  r->place = OVER;
}

void http1_begin(http1_reader *r, http1_request request) {
  r->request = (uint8_t)request;
  r->interim = r->line = 0;
  r->left = 0;
  begin_block(r, HEAD);
}

static void tell_nothing(http1_event *out) {
  out->kind = HTTP1_NOTHING;
  out->fault = HTTP1_FINE;
  out->data = NULL;
  out->length = 0;
}

static void tell_end(http1_reader *r, http1_event *out) {
  r->place = OVER;
  out->kind = HTTP1_END;
}

size_t http1_read(http1_reader *r, const uint8_t *data, size_t length, http1_event *out) {
  tell_nothing(out);
  switch (r->place) {
    case HEAD:
      return read_block(r, data, length, out);
    case SIZED_BODY:
    case OPEN_BODY:
      return tell_body(r, data, length, out);
    case ENDED:
      tell_end(r, out);
      return 0;
    case OVER:
      return 0;
    default:
      return read_chunked(r, data, length, out);
  }
}

static http1_fault cut_in_head(const http1_reader *r) {
  if (r->at) return HTTP1_CUT_IN_HEAD;
  if (r->scanned) return HTTP1_CUT_IN_STATUS;
  return r->interim ? HTTP1_CUT_AFTER_INTERIM : HTTP1_CUT_BEFORE;
}

void http1_eof(http1_reader *r, http1_event *out) {
  tell_nothing(out);
  switch (r->place) {
    case HEAD:
      bad(r, out, cut_in_head(r));
      break;
    case SIZED_BODY:
      bad(r, out, HTTP1_CUT_IN_BODY);
      break;
    case CHUNK:
    case CHUNK_CR:
    case CHUNK_LF:
      bad(r, out, HTTP1_CUT_IN_CHUNK);
      break;
    case TRAILERS:
      bad(r, out, HTTP1_CUT_IN_TRAILERS);
      break;
    case OPEN_BODY:
    case ENDED:
      tell_end(r, out);
      break;
    case OVER:
      break;
    default:
      bad(r, out, HTTP1_CUT_IN_CHUNK_LINE);
  }
}
