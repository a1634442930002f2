#include "resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_AT_MOST = 16, STACK = 1 << 20 };

struct lookup_box {
  pthread_mutex_t lock; /* guards the rest */
  void *owner; /* NULL: closed */
  void (*answered)(void *owner, lookup *l);
  int holders; /* its owner, and each lookup under way */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static lookup *first, *last;
static int threads;

static void let_go(lookup_box *b) { /* b->lock is held, and given up */
  int left = --b->holders;
  pthread_mutex_unlock(&b->lock);
  if (left) return;
  pthread_mutex_destroy(&b->lock);
  free(b);
}

lookup_box *lookup_box_new(void *owner, void (*answered)(void *owner, lookup *l)) {
  lookup_box *b = malloc(sizeof *b);
  if (!b) return NULL;
  pthread_mutex_init(&b->lock, NULL);
  b->owner = owner;
  b->answered = answered;
  b->holders = 1;
  return b;
}

void lookup_box_close(lookup_box *b) {
  pthread_mutex_lock(&b->lock);
  b->owner = NULL;
  let_go(b);
}

static void look_up(lookup *l) {
  struct addrinfo hints = {.ai_family = l->family, .ai_socktype = SOCK_DGRAM};
  struct addrinfo *found = NULL;
  l->failed = getaddrinfo(l->name, NULL, &hints, &found);
  for (struct addrinfo *a = found; a && l->count < LOOKUP_ADDRESSES; a = a->ai_next) {
    datagram_address *to = &l->found[l->count];
    if (a->ai_addrlen > sizeof *to) continue;
    memcpy(to, a->ai_addr, a->ai_addrlen);
    l->count++;
  }
  if (found) freeaddrinfo(found);
  if (!l->failed && !l->count) l->failed = EAI_NONAME;
}

static void answer(lookup *l) {
  lookup_box *b = l->box;
  pthread_mutex_lock(&b->lock);
  if (b->owner) {
    b->answered(b->owner, l);
  } else {
    l->discard(l);
  }
  let_go(b);
}

static void *work(void *unused) {
  (void)unused;
  for (;;) {
    pthread_mutex_lock(&lock);
    lookup *l = first;
    if (!l) {
      threads--;
      pthread_mutex_unlock(&lock);
      return NULL;
    }
    first = l->next;
    if (!first) last = NULL;
    pthread_mutex_unlock(&lock);
    look_up(l);
    answer(l);
  }
}

/* Without the program's signals: they are for its own threads. */
static int start_thread(void) {
  pthread_t thread;
  pthread_attr_t attributes;
  sigset_t all, before;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, STACK);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(&thread, &attributes, work, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return failed;
}

int lookup_start(lookup *l, lookup_box *b) {
  int failed = 0;
  l->box = b;
  l->next = NULL;
  l->count = 0;
  pthread_mutex_lock(&b->lock);
  b->holders++;
  pthread_mutex_unlock(&b->lock);
  pthread_mutex_lock(&lock);
  if (threads < THREADS_AT_MOST) {
    threads++;
    failed = start_thread();
    if (failed) threads--;
    if (failed && threads) failed = 0; /* those that are there will come to it */
  }
  if (!failed) {
    if (last) {
      last->next = l;
    } else {
      first = l;
    }
    last = l;
  }
  pthread_mutex_unlock(&lock);
  if (failed) {
    pthread_mutex_lock(&b->lock);
    let_go(b);
  }
  return failed;
}

void lookups_after_fork(void) {
  pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
  lock = fresh;
  first = last = NULL; /* the parent's, in its threads' hands */
  threads = 0;
}
