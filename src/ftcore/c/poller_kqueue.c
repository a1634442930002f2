/* The poller on macOS and the BSDs: kqueue, with a user event for wake-ups and a timer event. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/event.h>
#include <sys/time.h>
#include <unistd.h>

#include "clock.h"
#include "poller.h"

const char poller_name[] = "kqueue";

enum { WAKE = 1, TIMER = 2 };

static int change(poller *p, uintptr_t ident, int filter, unsigned flags, unsigned fflags,
                  int64_t data) {
  struct kevent e;
  EV_SET(&e, ident, (int16_t)filter, (uint16_t)flags, fflags, (intptr_t)data, NULL);
  return kevent(p->fd, &e, 1, NULL, 0, NULL) < 0 ? -errno : 0;
}

int poller_open(poller *p) {
  p->wake_fd = p->timer_fd = -1;
  p->fd = kqueue();
  if (p->fd < 0) return -errno;
  fcntl(p->fd, F_SETFD, FD_CLOEXEC);
  int failed = change(p, WAKE, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0);
  if (failed) poller_close(p);
  return failed;
}

void poller_close(poller *p) {
  if (p->fd >= 0) close(p->fd);
  p->fd = -1;
}

static int set_filter(poller *p, int fd, int filter, unsigned was, unsigned want) {
  if (!was == !want) return 0;
  int failed = change(p, (uintptr_t)fd, filter, want ? EV_ADD : EV_DELETE, 0, 0);
  return want ? failed : 0; /* a deletion that finds nothing: gone with its descriptor */
}

int poller_set(poller *p, int fd, unsigned was, unsigned want) {
  int failed = set_filter(p, fd, EVFILT_READ, was & POLLER_READ, want & POLLER_READ);
  if (failed) return failed;
  return set_filter(p, fd, EVFILT_WRITE, was & POLLER_WRITE, want & POLLER_WRITE);
}

int poller_wait(poller *p, poller_event *out, int max, int64_t timeout_ns) {
  struct kevent events[256];
  struct timespec limit = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
  int n = kevent(p->fd, NULL, 0, events, max > 256 ? 256 : max, timeout_ns < 0 ? NULL : &limit);
  if (n < 0) return -errno;
  int count = 0;
  for (int i = 0; i < n; i++) {
    if (events[i].filter == EVFILT_USER || events[i].filter == EVFILT_TIMER) continue;
    out[count].fd = (int)events[i].ident;
    out[count++].ready = (events[i].filter == EVFILT_READ ? POLLER_READ : POLLER_WRITE) |
                         (events[i].flags & EV_ERROR ? POLLER_ERROR : 0u);
  }
  return count;
}

void poller_precise(void) {} /* kqueue's timeouts are as they come */

void poller_wake(poller *p) { change(p, WAKE, EVFILT_USER, 0, NOTE_TRIGGER, 0); }

void poller_arm(poller *p, int64_t deadline_ns) {
  if (deadline_ns == INT64_MAX) {
    change(p, TIMER, EVFILT_TIMER, EV_DELETE, 0, 0);
    return;
  }
  int64_t left = deadline_ns - now_ns();
  change(p, TIMER, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, left > 0 ? left : 1);
}
