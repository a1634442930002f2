/* links: quality network
 *
 * Requests begin, are heard of and end, round-trip times come in, in any order. After each step the
 * books balance: the requests followed are those of that kind, a window is open only where it may
 * be. Where time passes by whole minutes weights are powers of two, and each estimate is the value
 * that sorting finds.
 *
 * Input: the unit of time, then steps of five bytes: what, of which request, how much later (a
 * nibble; the upper one is the kind), how much (two). What is left is an address. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "network.h"
#include "quality.h"

#define MUST(holds)        \
  do {                     \
    if (!(holds)) abort(); \
  } while (0)

#define SECOND INT64_C(1000000000)

enum { REQUESTS = 16, MINUTES = 2 };

static const int64_t units[] = {SECOND / 1000, SECOND / 3, 60 * SECOND};

static int by_value(const void *a, const void *b) {
  int32_t one = ((const quality_observation *)a)->value,
          two = ((const quality_observation *)b)->value;
  return (one > two) - (one < two);
}

static uint64_t weight_of(quality_observation o, int64_t now, int64_t youngest) {
  int64_t halvings = (now - o.at) / SECOND / 60 - youngest;
  return halvings < 40 ? (UINT64_C(1) << 40) >> halvings : 1;
}

/* Its observations are aged whole minutes. */
static int32_t sorted_median(const quality_buffer *b, int64_t now) {
  quality_observation all[QUALITY_KEPT];
  uint64_t total = 0, so_far = 0;
  int64_t youngest = INT64_MAX;
  memcpy(all, b->kept, sizeof all);
  qsort(all, (size_t)b->count, sizeof *all, by_value);
  for (int i = 0; i < b->count; i++)
    if ((now - all[i].at) / SECOND / 60 < youngest) youngest = (now - all[i].at) / SECOND / 60;
  for (int i = 0; i < b->count; i++) total += weight_of(all[i], now, youngest);
  for (int i = 0; i < b->count; i++) {
    so_far += weight_of(all[i], now, youngest);
    if (2 * so_far >= total) return all[i].value;
  }
  abort();
}

static void check_books(const quality *q, const quality_request *requests) {
  int following = 0, degrading = 0, linked = 0;
  for (int i = 0; i < REQUESTS; i++) {
    following += requests[i].kind == QUALITY_GET;
    degrading += requests[i].kind == QUALITY_DEGRADING;
  }
  for (const quality_request *r = q->first; r; r = r->next) {
    MUST(r->kind == QUALITY_GET);
    MUST(!r->next || r->next->previous == r);
    MUST(++linked <= REQUESTS);
  }
  MUST(linked == following && q->following == following && q->degrading == degrading);
  MUST(!q->window_at || (following >= 5 && degrading == 0));
  MUST(q->bits >= q->bits_then);
}

static void check_estimates(quality *q, int64_t now) {
  quality_compute(q, now);
  int32_t http = sorted_median(&q->http_rtt, now);
  int32_t transport = sorted_median(&q->transport_rtt, now);
  int32_t kbps = sorted_median(&q->throughput, now);
  MUST(q->now.transport_rtt_us == transport);
  MUST(q->now.http_rtt_us == (q->transport_rtt.count >= 5 && http < transport ? transport : http));
  MUST(q->now.downstream_kbps == kbps ||
       (q->now.downstream_kbps < kbps && q->now.type < QUALITY_4G));
}

static void step(quality *q, quality_request *requests, int64_t *last, const uint8_t *data,
                 int64_t now) {
  quality_request *r = &requests[data[1] % REQUESTS];
  int64_t much = data[3] << 8 | data[4];
  switch (data[0] % 7) {
    case 0:
      quality_begin(q, r, 1 + (data[2] >> 4) % 3, now);
      break;
    case 1:
      quality_heard(q, r, much * 64, now);
      break;
    case 2:
      quality_end(q, r, much, now);
      break;
    case 3:
      quality_http_rtt(q, r, much * much, now);
      break;
    case 4:
      if (quality_transport_rtt(q, much * 32, last[data[1] % REQUESTS], now))
        last[data[1] % REQUESTS] = now;
      break;
    case 5:
      quality_refresh(q, now);
      break;
    default:
      quality_reset(q, now);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
  static quality q;
  quality_request requests[REQUESTS];
  int64_t last[REQUESTS] = {0}, now = 600 * SECOND;
  if (length < 1) return 0;
  int unit = *data % 3;
  memset(requests, 0, sizeof requests);
  quality_init(&q, now);
  for (data++, length--; length >= 5; data += 5, length -= 5) {
    now += units[unit] * (data[2] & 15);
    step(&q, requests, last, data, now);
    check_books(&q, requests);
    if (unit == MINUTES) check_estimates(&q, now);
  }
  char text[8];
  memcpy(text, data, length);
  text[length] = 0;
  network_is_private(text);
  return 0;
}
