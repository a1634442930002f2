/* The poller on Linux: epoll, an eventfd for wake-ups, a timerfd for loops that only watch our descriptor. */
#include <errno.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "poller.h"

const char poller_name[] = "epoll";

static uint32_t to_epoll(unsigned interest) {
  return (interest & POLLER_READ ? EPOLLIN : 0u) | (interest & POLLER_WRITE ? EPOLLOUT : 0u);
}

static int watch(poller *p, int fd) {
  struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
  return epoll_ctl(p->fd, EPOLL_CTL_ADD, fd, &e);
}

int poller_open(poller *p) {
  p->fd = epoll_create1(EPOLL_CLOEXEC);
  p->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (p->fd < 0 || p->wake_fd < 0 || p->timer_fd < 0 || watch(p, p->wake_fd) < 0 ||
      watch(p, p->timer_fd) < 0) {
    int failed = errno;
    poller_close(p);
    return -failed;
  }
  return 0;
}

void poller_close(poller *p) {
  if (p->fd >= 0) close(p->fd);
  if (p->wake_fd >= 0) close(p->wake_fd);
  if (p->timer_fd >= 0) close(p->timer_fd);
  p->fd = p->wake_fd = p->timer_fd = -1;
}

int poller_set(poller *p, int fd, unsigned was, unsigned want) {
  struct epoll_event e = {.events = to_epoll(want), .data.fd = fd};
  int how = !want ? EPOLL_CTL_DEL : was ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(p->fd, how, fd, &e) == 0) return 0;
  if (how == EPOLL_CTL_DEL) return 0; /* already gone with its descriptor */
  if (errno == ENOENT && how == EPOLL_CTL_MOD)
    how = EPOLL_CTL_ADD;
  else if (errno == EEXIST && how == EPOLL_CTL_ADD)
    how = EPOLL_CTL_MOD;
  else
    return -errno;
  return epoll_ctl(p->fd, how, fd, &e) == 0 ? 0 : -errno;
}

static void drain(int fd) {
  uint64_t count;
  while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {
  }
}

/* To the nanosecond where the system can (Linux 5.11), else to the millisecond, rounded up. */
static int wait_for(int fd, struct epoll_event *events, int max, int64_t timeout_ns) {
#ifdef SYS_epoll_pwait2
  static atomic_int missing;
  if (timeout_ns > 0 && !atomic_load_explicit(&missing, memory_order_relaxed)) {
    struct {
      int64_t seconds, ns;
    } timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    long n = syscall(SYS_epoll_pwait2, fd, events, max, &timeout, NULL, 0);
    if (n >= 0 || errno != ENOSYS) return (int)n;
    atomic_store_explicit(&missing, 1, memory_order_relaxed);
  }
#endif
  int64_t ms = timeout_ns < 0 ? -1 : (timeout_ns + 999999) / 1000000;
  return epoll_wait(fd, events, max, ms > 3600000 ? 3600000 : (int)ms);
}

int poller_wait(poller *p, poller_event *out, int max, int64_t timeout_ns) {
  struct epoll_event events[256];
  if (max > 256) max = 256;
  int n = wait_for(p->fd, events, max, timeout_ns);
  if (n < 0) return -errno;
  int count = 0;
  for (int i = 0; i < n; i++) {
    int fd = events[i].data.fd;
    if (fd == p->wake_fd || fd == p->timer_fd) {
      drain(fd);
      continue;
    }
    uint32_t e = events[i].events;
    out[count].fd = fd;
    out[count++].ready = (e & EPOLLIN ? POLLER_READ : 0u) | (e & EPOLLOUT ? POLLER_WRITE : 0u) |
                         (e & (EPOLLERR | EPOLLHUP) ? POLLER_ERROR : 0u);
  }
  return count;
}

void poller_precise(void) { prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); }

void poller_wake(poller *p) {
  uint64_t one = 1;
  while (write(p->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void poller_arm(poller *p, int64_t deadline_ns) {
  struct itimerspec when = {0};
  if (deadline_ns != INT64_MAX) {
    if (deadline_ns < 1) deadline_ns = 1;
    when.it_value.tv_sec = deadline_ns / 1000000000;
    when.it_value.tv_nsec = deadline_ns % 1000000000;
  }
  timerfd_settime(p->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}
