/* What it costs to read a response of HTTP/1.1: the kernel of the native lane by itself.
 *
 * http1_parse [TOTAL] < RESPONSE: reads the response TOTAL times and prints JSON. Without input, it
 * is one of nginx with a body of 12 bytes.
 * cc -O2 -std=gnu11 -Isrc/ftcore/c benchmarks/limits/http1_parse.c src/ftcore/c/http1.c */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clocks.h"
#include "http1.h"

static const char usual[] =
    "HTTP/1.1 200 OK\r\n"
    "Server: nginx/1.22.1\r\n"
    "Date: Sat, 28 Nov 2026 21:00:00 GMT\r\n"
    "Content-Type: text/plain\r\n"
    "Content-Length: 12\r\n"
    "Last-Modified: Sat, 28 Nov 2026 20:00:00 GMT\r\n"
    "Connection: keep-alive\r\n"
    "\r\n"
    "hello, world";

static size_t read_once(http1_reader *r, const uint8_t *data, size_t length) {
  http1_event e;
  size_t at = 0, body = 0;
  http1_begin(r, HTTP1_PLAIN);
  do {
    at += http1_read(r, data + at, length - at, &e);
    if (e.kind == HTTP1_BODY) body += e.length;
  } while (e.kind != HTTP1_END && e.kind != HTTP1_BAD && e.kind != HTTP1_NOTHING);
  if (e.kind != HTTP1_END) {
    fprintf(stderr, "%s\n", e.kind == HTTP1_BAD ? http1_fault_text(e.fault) : "it does not end");
    exit(1);
  }
  return body;
}

int main(int count, char **arguments) {
  static uint8_t given[1 << 20];
  long total = count > 1 ? atol(arguments[1]) : 1000000;
  size_t length = isatty(0) ? 0 : fread(given, 1, sizeof given, stdin), body = 0;
  const uint8_t *data = length ? given : (const uint8_t *)usual;
  if (length == 0) length = sizeof usual - 1;
  http1_reader r;
  http1_init(&r, NULL);
  double from = cpu(), began = seconds();
  for (long i = 0; i < total; i++) body += read_once(&r, data, length);
  double ns = (cpu() - from) / (double)total * 1e9,
         wall = (seconds() - began) / (double)total * 1e9;
  printf("{\"bytes\": %zu, \"body\": %zu, \"ns\": %.1f, \"wall_ns\": %.1f}\n", length,
         body / (size_t)total, ns, wall);
  return 0;
}
