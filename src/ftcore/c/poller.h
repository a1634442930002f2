/* What the reactor asks of the operating system; one file a system implements it. */
#ifndef FTCORE_POLLER_H
#define FTCORE_POLLER_H

#include <stdint.h>

enum { POLLER_READ = 1, POLLER_WRITE = 2, POLLER_ERROR = 4 };

typedef struct {
  int fd; /* itself readable when something is due: another loop can watch it */
  int wake_fd, timer_fd; /* epoll only, else -1 */
} poller;

typedef struct {
  int fd;
  unsigned ready; /* POLLER_* */
} poller_event;

extern const char poller_name[];

/* 0, or -errno. */
int poller_open(poller *p);
void poller_close(poller *p);
/* Level-triggered interest of `fd` from `was` to `want` (POLLER_READ | POLLER_WRITE, 0: none). 0, or -errno. */
int poller_set(poller *p, int fd, unsigned was, unsigned want);
/* Up to `max` events into `out`; waits `timeout_ns` (< 0: for ever). Count, or -errno. */
int poller_wait(poller *p, poller_event *out, int max, int64_t timeout_ns);
/* The calling thread's waits end as soon after their time as the system can; it saves no wake-ups. */
void poller_precise(void);
/* Ends a wait; from any thread. */
void poller_wake(poller *p);
/* Makes `p->fd` readable at the monotonic time `deadline_ns` (INT64_MAX: never). */
void poller_arm(poller *p, int64_t deadline_ns);

#endif
