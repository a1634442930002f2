#include "quality.h"

#include <string.h>

#define SECOND INT64_C(1000000000)

enum {
  HALF_LIFE = 60, /* seconds; a weight's */
  ENOUGH_TRANSPORT_RTTS = 5, /* to be compared with HTTP's */
  NEW_OBSERVATIONS = 50, /* after which it is computed anew */
  IN_FLIGHT = 5, /* requests, at least, in a throughput window */
  WINDOW_BITS = 32 * 8 * 1000, /* at least */
  CONGESTION_WINDOW_BITS = 15 * 8 * 1000 /* 10 segments of 1.5 kB: at least, in one HTTP RTT */
};

static const int64_t recompute_every = 10 * SECOND;
static const int64_t look_for_hanging_every = SECOND;
static const int64_t hanging_at_least = 3 * SECOND; /* and 5 HTTP RTTs */
static const int64_t same_socket_every = SECOND; /* transport RTTs */
static const int64_t any_socket_every = SECOND / 5;

/* What an unknown network is taken for, as one observation each. */
static const int32_t default_http_rtt = 115000, default_transport_rtt = 55000, default_kbps = 1961;

/* By type, from SLOW_2G on: HTTP RTT in µs from where it is that, and the most its kbit/s can be,
 * 3.5 times what is typical. */
static const struct {
  int32_t http_rtt, most_kbps;
} types[] = {{2010000, 140}, {1420000, 262}, {272000, 1400}, {0, INT32_MAX}};

static const uint64_t full_weight = UINT64_C(1) << 40;

/* ---------------------------------------------------------------- observations */

static void add(quality_buffer *b, int64_t value, int64_t now) {
  b->kept[b->next].at = now;
  b->kept[b->next].value = (int32_t)(value < INT32_MAX ? value : INT32_MAX);
  b->next = (b->next + 1) % QUALITY_KEPT;
  if (b->count < QUALITY_KEPT) b->count++;
}

static void observe(quality *q, quality_buffer *b, int64_t value, int64_t now) {
  add(b, value, now);
  b->added++;
  q->new_since++;
}

/* 2^(-s/60), in whole numbers, so that their sums are exact whatever the order. */
static uint64_t weight(int64_t seconds) {
  double w = (double)full_weight;
  if (seconds <= 0) return full_weight; /* of another thread's clock, a moment younger */
  if (seconds >= 40 * HALF_LIFE) return 1;
  for (int64_t i = seconds % HALF_LIFE; i > 0; i--) w *= 0.98851402035289613535; /* 2^(-1/60) */
  return (uint64_t)w >> seconds / HALF_LIFE;
}

typedef struct {
  uint64_t weight;
  int32_t value;
} weighed;

/* Puts those below `pivot` first and those above it last; where these two begin and end. */
static void partition(weighed *w, int count, int32_t pivot, int *below, int *above) {
  int low = 0, high = count;
  for (int i = 0; i < high;) {
    weighed one = w[i];
    if (one.value < pivot) {
      w[i++] = w[low];
      w[low++] = one;
    } else if (one.value > pivot) {
      w[i] = w[--high];
      w[high] = one;
    } else {
      i++;
    }
  }
  *below = low;
  *above = high;
}

static uint64_t sum(const weighed *w, int count) {
  uint64_t total = 0;
  for (int i = 0; i < count; i++) total += w[i].weight;
  return total;
}

/* The first value, from the lowest on, up to which there is half of the weight. */
static int32_t median(weighed *w, int count) {
  uint64_t total = sum(w, count), before = 0;
  int below, above;
  for (;;) {
    int32_t pivot = w[count / 2].value;
    partition(w, count, pivot, &below, &above);
    uint64_t less = sum(w, below), equal = sum(w + below, above - below);
    if (below && 2 * (before + less) >= total) {
      count = below;
    } else if (above == count || 2 * (before + less + equal) >= total) {
      return pivot;
    } else {
      before += less + equal;
      w += above;
      count -= above;
    }
  }
}

static int64_t age(const quality_buffer *b, int i, int64_t now) {
  return (now - b->kept[i].at) / SECOND;
}

/* Weights count from the youngest observation: only what they are to each other matters. From there
 * on they only get older, so ages are divided by a second where one begins. */
static int32_t estimate(const quality_buffer *b, int64_t now) {
  weighed w[QUALITY_KEPT] = {{0, 0}};
  int64_t youngest = -1, next_second = 0;
  uint64_t its_weight = 0;
  for (int i = 0, at = b->next; i < b->count; i++) {
    at = at ? at - 1 : QUALITY_KEPT - 1;
    if (now - b->kept[at].at >= next_second) {
      int64_t seconds = age(b, at, now);
      if (youngest < 0) youngest = seconds;
      its_weight = weight(seconds - youngest);
      next_second = (seconds + 1) * SECOND;
    }
    w[i].weight = its_weight;
    w[i].value = b->kept[at].value;
  }
  return median(w, b->count);
}

/* ---------------------------------------------------------------- estimates */

static int type_of(int32_t http_rtt) {
  int i = 0;
  while (http_rtt < types[i].http_rtt) i++;
  return QUALITY_SLOW_2G + i;
}

static quality_estimate estimates(const quality *q, int64_t now) {
  quality_estimate e = {0, 0, 0, QUALITY_OFFLINE};
  if (q->offline) return e;
  e.http_rtt_us = estimate(&q->http_rtt, now);
  e.transport_rtt_us = estimate(&q->transport_rtt, now);
  e.downstream_kbps = estimate(&q->throughput, now);
  if (q->transport_rtt.count >= ENOUGH_TRANSPORT_RTTS && e.http_rtt_us < e.transport_rtt_us)
    e.http_rtt_us = e.transport_rtt_us;
  e.type = type_of(e.http_rtt_us);
  int32_t most = types[e.type - QUALITY_SLOW_2G].most_kbps;
  if (e.downstream_kbps > most) e.downstream_kbps = most;
  return e;
}

/* MetricChangedMeaningfully of content/browser/net/network_quality_observer_impl.cc. */
static int differs(int64_t before, int64_t after, int64_t least) {
  int64_t by = before < after ? after - before : before - after;
  return by >= least && (5 * before >= 6 * after || 5 * after >= 6 * before);
}

static int worth_telling(const quality_estimate *before, const quality_estimate *after) {
  return before->type != after->type || differs(before->http_rtt_us, after->http_rtt_us, 100000) ||
         differs(before->transport_rtt_us, after->transport_rtt_us, 100000) ||
         differs(before->downstream_kbps, after->downstream_kbps, 100);
}

void quality_compute(quality *q, int64_t now) {
  q->now = estimates(q, now);
  q->computed_at = now;
  q->rtts_then = q->http_rtt.count + q->transport_rtt.count;
  q->transport_rtts_then = q->transport_rtt.count;
  q->throughputs_then = q->throughput.count;
  q->new_since = 0;
  if (worth_telling(&q->told, &q->now)) {
    q->told = q->now;
    q->news = 1;
  }
}

void quality_refresh(quality *q, int64_t now) {
  if (now - q->computed_at >= recompute_every || q->new_since >= NEW_OBSERVATIONS ||
      2 * (q->http_rtt.count + q->transport_rtt.count) > 3 * q->rtts_then ||
      2 * q->throughput.count > 3 * q->throughputs_then)
    quality_compute(q, now);
}

/* ---------------------------------------------------------------- throughput */

static void unlink_request(quality *q, quality_request *r) {
  if (r->kind == QUALITY_DEGRADING) q->degrading--;
  if (r->kind == QUALITY_GET) {
    if (r->previous) r->previous->next = r->next;
    if (r->next) r->next->previous = r->previous;
    if (q->first == r) q->first = r->next;
    r->previous = r->next = NULL;
    if (--q->following < IN_FLIGHT) q->window_at = 0;
  }
}

static void link_request(quality *q, quality_request *r) {
  r->previous = NULL;
  r->next = q->first;
  if (q->first) q->first->previous = r;
  q->first = r;
  q->following++;
}

/* Requests go on as ones that no throughput is taken of. */
static void let_go_of_all(quality *q, int kind) {
  quality_request *r;
  while ((r = q->first)) {
    unlink_request(q, r);
    r->kind = kind;
    if (kind == QUALITY_DEGRADING) q->degrading++;
  }
}

static void maybe_open_window(quality *q, int64_t now) {
  if (q->degrading || q->window_at || q->following < IN_FLIGHT) return;
  q->window_at = now;
  q->bits_then = q->bits;
}

static int hangs(const quality *q, const quality_request *r, int64_t now) {
  int64_t idle = now - r->heard_at;
  int64_t rtt = q->now.http_rtt_us ? q->now.http_rtt_us * INT64_C(1000) : 60 * SECOND;
  return idle >= 5 * rtt && idle >= hanging_at_least;
}

/* A request that nothing comes of shows nothing of the network's rate. */
static void let_go_if_hanging(quality *q, quality_request *r, int64_t now) {
  if (r->kind != QUALITY_GET || !hangs(q, r, now)) return;
  unlink_request(q, r);
  r->kind = QUALITY_OTHER;
  q->window_at = 0;
}

static void let_go_of_hanging(quality *q, int64_t now) {
  quality_request *next;
  if (now - q->hanging_at < look_for_hanging_every) return;
  q->hanging_at = now;
  for (quality_request *r = q->first; r; r = next) {
    next = r->next;
    let_go_if_hanging(q, r, now);
  }
}

static void maybe_observe_throughput(quality *q, int64_t now) {
  int64_t bits = q->bits - q->bits_then, ns = now - q->window_at;
  if (!q->window_at || bits < WINDOW_BITS || ns <= 0) return;
  int64_t rtt = q->now.http_rtt_us ? q->now.http_rtt_us * INT64_C(1000) : 10 * SECOND;
  double in_one_rtt = (double)bits * (double)rtt / (double)ns;
  q->window_at = 0;
  if (in_one_rtt < CONGESTION_WINDOW_BITS) { /* requests hang, or too few are under way */
    let_go_of_all(q, QUALITY_OTHER);
    return;
  }
  double kbps = (double)bits * 1e6 / (double)ns;
  int64_t whole = kbps < INT32_MAX ? (int64_t)kbps : INT32_MAX;
  observe(q, &q->throughput, whole + ((double)whole < kbps), now);
  maybe_open_window(q, now);
}

void quality_begin(quality *q, quality_request *r, int kind, int64_t now) {
  unlink_request(q, r);
  r->kind = kind;
  r->began_at = r->heard_at = now;
  if (kind == QUALITY_DEGRADING) {
    q->degrading++;
    q->window_at = 0;
  }
  if (kind == QUALITY_GET) {
    let_go_of_hanging(q, now);
    link_request(q, r);
    maybe_open_window(q, now);
  }
}

void quality_heard(quality *q, quality_request *r, int64_t bytes, int64_t now) {
  if (r->kind == QUALITY_ABSENT) return;
  q->bits += bytes * 8;
  let_go_if_hanging(q, r, now);
  let_go_of_hanging(q, now);
  r->heard_at = now;
}

void quality_end(quality *q, quality_request *r, int64_t bytes, int64_t now) {
  int kind = r->kind;
  quality_heard(q, r, bytes, now);
  if (r->kind == QUALITY_GET) maybe_observe_throughput(q, now);
  int let_go = kind != r->kind || kind == QUALITY_DEGRADING;
  unlink_request(q, r);
  r->kind = QUALITY_ABSENT;
  if (let_go) maybe_open_window(q, now);
}

/* ---------------------------------------------------------------- round-trip times */

/* The response took so long that it was not the network. */
static int is_of_server(const quality *q, int64_t us) {
  if (us <= 500000) return 0;
  if (q->transport_rtts_then >= ENOUGH_TRANSPORT_RTTS && us < INT64_C(8) * q->now.transport_rtt_us)
    return 0;
  return us >= 6 * (q->now.http_rtt_us ? (int64_t)q->now.http_rtt_us : 10000000);
}

void quality_http_rtt(quality *q, const quality_request *r, int64_t us, int64_t now) {
  if (us <= 0 || r->began_at < q->reset_at || is_of_server(q, us)) return;
  observe(q, &q->http_rtt, us, now);
}

int quality_transport_rtt(quality *q, int64_t us, int64_t last, int64_t now) {
  int due =
      last == 0 || now - last >= same_socket_every || now - q->transport_at >= any_socket_every;
  if (us <= 1 || !due) return 0;
  observe(q, &q->transport_rtt, us, now);
  q->transport_at = now;
  return 1;
}

/* ---------------------------------------------------------------- life */

static void forget(quality *q, int64_t now) {
  quality_buffer *all[] = {&q->http_rtt, &q->transport_rtt, &q->throughput};
  for (int i = 0; i < 3; i++) all[i]->count = all[i]->next = 0, all[i]->added = 0;
  add(&q->http_rtt, default_http_rtt, now);
  add(&q->transport_rtt, default_transport_rtt, now);
  add(&q->throughput, default_kbps, now);
  q->transport_at = 0;
  q->window_at = 0;
  q->reset_at = now;
  quality_compute(q, now);
}

void quality_init(quality *q, int64_t now) {
  memset(q, 0, sizeof *q);
  forget(q, now);
  q->news = 0;
}

void quality_reset(quality *q, int64_t now) {
  let_go_of_all(q, QUALITY_DEGRADING);
  forget(q, now);
}
