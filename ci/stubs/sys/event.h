/* Just enough of the BSDs' <sys/event.h> to compile the kqueue poller where there is none.
 *
 * Declarations as in kqueue(2) of macOS, which FreeBSD's differ from in the width of `data` only.
 * Nothing here can be linked or run. */
#ifndef FTCORE_STUB_SYS_EVENT_H
#define FTCORE_STUB_SYS_EVENT_H

#include <stdint.h>
#include <time.h>

struct kevent {
  uintptr_t ident;
  int16_t filter;
  uint16_t flags;
  uint32_t fflags;
  intptr_t data;
  void *udata;
};

#define EV_SET(kevp, a, b, c, d, e, f) \
  do {                                 \
    struct kevent *kevp_ = (kevp);     \
    kevp_->ident = (a);                \
    kevp_->filter = (b);               \
    kevp_->flags = (c);                \
    kevp_->fflags = (d);               \
    kevp_->data = (e);                 \
    kevp_->udata = (f);                \
  } while (0)

enum {
  EVFILT_READ = -1,
  EVFILT_WRITE = -2,
  EVFILT_TIMER = -7,
  EVFILT_USER = -10,
};

enum {
  EV_ADD = 0x0001,
  EV_DELETE = 0x0002,
  EV_ENABLE = 0x0004,
  EV_DISABLE = 0x0008,
  EV_ONESHOT = 0x0010,
  EV_CLEAR = 0x0020,
  EV_RECEIPT = 0x0040,
  EV_ERROR = 0x4000,
  EV_EOF = 0x8000,
};

enum {
  NOTE_USECONDS = 0x00000002,
  NOTE_NSECONDS = 0x00000004,
  NOTE_TRIGGER = 0x01000000,
};

int kqueue(void);
int kevent(int kq, const struct kevent *changelist, int nchanges, struct kevent *eventlist,
           int nevents, const struct timespec *timeout);

#endif
