/* What one worker of a load run counts, in memory that does not grow with requests: counters,
 * statuses, failures by kind, and a histogram for each phase and status class. One writer. */
#ifndef FTCORE_TALLY_H
#define FTCORE_TALLY_H

#include <stdint.h>

#include "histogram.h"

/* Spans of a request, in ns. */
enum {
  TALLY_QUEUE, /* due, and no connection was free */
  TALLY_DNS,
  TALLY_CONNECT,
  TALLY_SSL,
  TALLY_SEND,
  TALLY_TTFB,
  TALLY_DOWNLOAD,
  TALLY_TOTAL, /* from when it was due */
  TALLY_SERVICE, /* from when it was sent */
  TALLY_SPANS
};

/* Of statuses: their first digit; those from 600 on are taken for 5xx (RFC 9110 15). */
enum { TALLY_FAILED, TALLY_CLASSES = 6 };

enum {
  TALLY_SCHEDULED,
  TALLY_SENT,
  TALLY_COMPLETED,
  TALLY_FAILURES,
  TALLY_UNFINISHED,
  TALLY_UNSENT,
  TALLY_LATE,
  TALLY_WRONG_STATUS,
  TALLY_WRONG_LENGTH,
  TALLY_WRONG_CONTENT,
  TALLY_RETRIED,
  TALLY_BYTES_SENT,
  TALLY_BYTES_RECEIVED,
  TALLY_OPENED,
  TALLY_CONNECT_FAILED,
  TALLY_CLOSED,
  TALLY_ANSWERED, /* responses in the measured part, of requests of the warm-up too */
  TALLY_UNRECORDED, /* spans that had no memory */
  TALLY_COUNTS
};

/* Of all histograms: up to an hour, three digits; as the class Histogram has it by default. */
#define TALLY_LONGEST INT64_C(3600000000000)
#define TALLY_DIGITS 3

enum { TALLY_STATUSES = 1000, TALLY_KINDS = 32, TALLY_DETAIL = 120 };

typedef struct {
  int outcome; /* an OUTCOME_* or CURLcode */
  long os_errno;
  uint64_t count;
  char detail[TALLY_DETAIL]; /* of the first of them */
} tally_kind;

typedef struct {
  uint64_t counts[TALLY_COUNTS];
  uint64_t statuses[TALLY_STATUSES];
  tally_kind kinds[TALLY_KINDS]; /* the last takes all that have no room */
  int kind_count;
  histogram *spans[TALLY_SPANS][TALLY_CLASSES]; /* NULL: nothing yet */
  histogram *lateness; /* of sends, by the sender's fault */
  /* and how things stood at its end */
  int64_t began_at, ended_at; /* ns */
  int64_t cpu; /* ns of the thread */
  int64_t in_flight, waiting, connections;
  double target; /* requests due a second */
  int measured; /* not of the warm-up */
} tally;

tally *tally_new(void); /* NULL: memory is out */
void tally_free(tally *t);
void tally_reset(tally *t); /* memory is kept */
/* The one at `place`, made if there is none. NULL: memory is out. */
histogram *tally_histogram(histogram **place);
/* Takes memory for what answers of a class will bring, ahead of the first. */
void tally_prepare(tally *t, int class);
/* Spans that took place, in the row of a class; negative: it did not. */
void tally_record(tally *t, int class, const int64_t *spans);
void tally_late_by(tally *t, int64_t ns);
void tally_failure(tally *t, int outcome, long os_errno, const char *detail, uint64_t count);
/* Adds another's; how things stood is added, too. */
void tally_add(tally *t, const tally *other);

static inline int tally_class(int status) { return status < 600 ? status / 100 : 5; }

#endif
