/* libcurl's multi_socket interface under epoll, the least that a client on libcurl can cost.
 *
 * libcurl_loop URL CONCURRENCY TOTAL: opens its connections with one round of CONCURRENCY requests,
 * then measures TOTAL of them as a closed loop and prints JSON. libcurl_loop --version prints it. */
#define _GNU_SOURCE
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "clocks.h"

static int poller;
static double deadline = -1; /* of libcurl's timer; < 0: none */
static CURLM *multi;

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known) {
  (void)easy, (void)context;
  struct epoll_event e = {.data.fd = fd};
  if (what == CURL_POLL_REMOVE) {
    epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
    curl_multi_assign(multi, fd, NULL);
    return 0;
  }
  if (what & CURL_POLL_IN) e.events |= EPOLLIN;
  if (what & CURL_POLL_OUT) e.events |= EPOLLOUT;
  epoll_ctl(poller, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e);
  if (!known) curl_multi_assign(multi, fd, &poller);
  return 0;
}

static int on_timer(CURLM *m, long ms, void *context) {
  (void)m, (void)context;
  deadline = ms < 0 ? -1 : seconds() + (double)ms * 1e-3;
  return 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *context) {
  (void)data, (void)context;
  return size * count;
}

static void check(int failed, const char *what) {
  if (!failed) return;
  fprintf(stderr, "%s failed\n", what);
  exit(1);
}

static void step(void) {
  struct epoll_event events[512];
  int running, wait = -1;
  if (deadline >= 0) {
    double left = (deadline - seconds()) * 1e3;
    wait = left < 0 ? 0 : (int)(left + 0.999);
  }
  int n = epoll_wait(poller, events, 512, wait);
  if (deadline >= 0 && seconds() >= deadline) {
    deadline = -1;
    curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
  }
  for (int i = 0; i < n; i++) {
    int ready = 0;
    if (events[i].events & EPOLLIN) ready |= CURL_CSELECT_IN;
    if (events[i].events & EPOLLOUT) ready |= CURL_CSELECT_OUT;
    if (events[i].events & (EPOLLERR | EPOLLHUP)) ready |= CURL_CSELECT_ERR;
    curl_multi_socket_action(multi, events[i].data.fd, ready, &running);
  }
}

static void loop(CURL **handles, long concurrency, long total) {
  long started = 0, done = 0;
  for (; started < concurrency && started < total; started++)
    check(curl_multi_add_handle(multi, handles[started]), "curl_multi_add_handle");
  while (done < total) {
    int left;
    CURLMsg *message;
    step();
    while ((message = curl_multi_info_read(multi, &left))) {
      CURL *easy = message->easy_handle;
      check(message->data.result, "a request");
      curl_multi_remove_handle(multi, easy);
      done++;
      if (started < total) {
        started++;
        check(curl_multi_add_handle(multi, easy), "curl_multi_add_handle");
      }
    }
  }
}

int main(int count, char **argument) {
  check(curl_global_init(CURL_GLOBAL_ALL), "curl_global_init");
  if (count == 2 && !strcmp(argument[1], "--version")) return puts(curl_version()) < 0;
  check(count != 4, "usage: libcurl_loop URL CONCURRENCY TOTAL;");
  long concurrency = atol(argument[2]), total = atol(argument[3]);
  CURL **handles = calloc((size_t)concurrency, sizeof *handles);
  multi = curl_multi_init();
  poller = epoll_create1(0);
  check(!handles || !multi || poller < 0, "setting up");
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, concurrency * 2);
  for (long i = 0; i < concurrency; i++) {
    handles[i] = curl_easy_init();
    check(!handles[i], "curl_easy_init");
    curl_easy_setopt(handles[i], CURLOPT_URL, argument[1]);
    curl_easy_setopt(handles[i], CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(handles[i], CURLOPT_NOSIGNAL, 1L);
  }
  loop(handles, concurrency, concurrency);
  double start = seconds(), used = cpu();
  loop(handles, concurrency, total);
  double wall = seconds() - start;
  used = cpu() - used;
  printf("{\"requests\": %ld, \"seconds\": %.6f, \"cpu\": %.6f}\n", total, wall, used);
  return 0;
}
