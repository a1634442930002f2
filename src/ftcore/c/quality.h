/* Estimates of the network's quality from what requests met, as Chromium's Network Quality
 * Estimator makes them (net/nqe: network_quality_estimator.cc, network_quality_estimator_params.cc,
 * observation_buffer.cc, throughput_analyzer.cc); its constants are at the top of quality.c.
 *
 * Other than there: round-trip times are kept in µs, not in ms, or a fast network would have none;
 * and any number of requests is followed, where Chromium gives up at 300.
 *
 * Times are ns on any one clock. One thread at a time. */
#ifndef FTCORE_QUALITY_H
#define FTCORE_QUALITY_H

#include <stdint.h>

enum { QUALITY_KEPT = 300 };

/* Effective connection types. */
enum { QUALITY_UNKNOWN, QUALITY_OFFLINE, QUALITY_SLOW_2G, QUALITY_2G, QUALITY_3G, QUALITY_4G };

typedef struct {
  int32_t http_rtt_us; /* 0, here and below: unknown */
  int32_t transport_rtt_us;
  int32_t downstream_kbps;
  int32_t type;
} quality_estimate;

typedef struct {
  int64_t at;
  int32_t value;
} quality_observation;

typedef struct {
  quality_observation kept[QUALITY_KEPT]; /* a ring, once it is full */
  int count;
  int next; /* where the next one goes */
  int64_t added; /* in all, but for the default */
} quality_buffer;

/* What a request is to the estimator. */
enum {
  QUALITY_ABSENT, /* nothing */
  QUALITY_GET, /* may open throughput windows, has an HTTP RTT */
  QUALITY_OTHER, /* its bytes count, in windows that others opened */
  QUALITY_DEGRADING /* while it is under way, throughput can't be measured */
};

/* A request under way; embedded in its owner, zeroed before its first use. */
typedef struct quality_request {
  struct quality_request *previous;
  struct quality_request *next;
  int64_t began_at;
  int64_t heard_at; /* when it began, or bytes of it came last */
  int kind;
} quality_request;

typedef struct {
  quality_buffer http_rtt;
  quality_buffer transport_rtt;
  quality_buffer throughput;
  quality_estimate now; /* as computed last */
  quality_estimate told; /* `now` when it last differed enough to be worth telling */
  int news; /* `told` has changed; for others to clear */
  int offline; /* for others to set */
  int64_t computed_at;
  int rtts_then; /* observations, when computed last */
  int transport_rtts_then;
  int throughputs_then;
  int new_since; /* observations since */
  int64_t transport_at; /* the last transport RTT that was taken */
  quality_request *first; /* those of kind QUALITY_GET, and how many */
  int following;
  int degrading; /* how many are QUALITY_DEGRADING */
  int64_t bits; /* received, of all requests */
  int64_t window_at; /* when the throughput window began; 0: there is none */
  int64_t bits_then;
  int64_t hanging_at; /* the last look for requests that hang */
  int64_t reset_at;
} quality;

void quality_init(quality *q, int64_t now);
/* Forgets what was observed, as when the network has changed; requests under way count no more. */
void quality_reset(quality *q, int64_t now);
/* Computes the estimates anew: always, or where there is a reason to. */
void quality_compute(quality *q, int64_t now);
void quality_refresh(quality *q, int64_t now);

/* A request is about to be sent; also when it is sent again. */
void quality_begin(quality *q, quality_request *request, int kind, int64_t now);
void quality_heard(quality *q, quality_request *request, int64_t bytes, int64_t now);
/* It is over; `bytes` came that quality_heard was not told of. */
void quality_end(quality *q, quality_request *request, int64_t bytes, int64_t now);

/* Of a request that has begun: from its first byte sent to the first of the response. */
void quality_http_rtt(quality *q, const quality_request *request, int64_t us, int64_t now);
/* Of a connection whose last one was taken at `last` (0: never). Whether this one was. */
int quality_transport_rtt(quality *q, int64_t us, int64_t last, int64_t now);

#endif
