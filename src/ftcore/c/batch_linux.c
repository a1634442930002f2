/* Batches on Linux: sendmmsg(2), recvmmsg(2), and runs of equal datagrams as one (udp(7):
 * UDP_SEGMENT, UDP_GRO), which the kernel cuts into single ones as late, or puts together as early,
 * as it can. */
#define _GNU_SOURCE
#include "batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

typedef union {
  char room[CMSG_SPACE(sizeof(int))];
  struct cmsghdr aligned;
} control;

struct batch_receiver {
  struct mmsghdr messages[BATCH_MOST]; /* always as recvmmsg must find them */
  struct iovec pieces[BATCH_MOST];
  datagram_address from[BATCH_MOST];
  control controls[BATCH_MOST];
  char room[]; /* BATCH_ROOM bytes for each */
};

static void make_ready(batch_receiver *r, int i) {
  struct msghdr *m = &r->messages[i].msg_hdr;
  m->msg_namelen = sizeof r->from[i];
  m->msg_controllen = sizeof r->controls[i].room;
}

batch_receiver *batch_receiver_new(void) {
  batch_receiver *r = malloc(sizeof *r + (size_t)BATCH_MOST * BATCH_ROOM);
  if (!r) return NULL;
  memset(r->messages, 0, sizeof r->messages);
  for (int i = 0; i < BATCH_MOST; i++) {
    struct msghdr *m = &r->messages[i].msg_hdr;
    r->pieces[i].iov_base = r->room + (size_t)i * BATCH_ROOM;
    r->pieces[i].iov_len = BATCH_ROOM;
    m->msg_iov = &r->pieces[i];
    m->msg_iovlen = 1;
    m->msg_name = &r->from[i];
    m->msg_control = r->controls[i].room;
    make_ready(r, i);
  }
  return r;
}

void batch_receiver_free(batch_receiver *r) { free(r); }

void batch_prepare(int fd) {
  int on = 1; /* an older kernel has no such option, and hands over single ones */
  setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
}

/* How many go as one: equal in where to and in length, but for the last, which may be shorter. */
static int run_of(const datagram_out *out, int count) {
  size_t total = out[0].length;
  int n = 1;
  for (; n < count && out[n].length && out[n].length <= out[0].length; n++) {
    const datagram_address *a = out[0].to, *b = out[n].to;
    if (out[n - 1].length < out[0].length || (total += out[n].length) > DATAGRAM_MOST) break;
    if (a != b && (!a || !b || memcmp(a, b, datagram_address_length(a)))) break;
  }
  return n;
}

static void mark_segments(struct msghdr *m, control *c, size_t length) {
  uint16_t segment = (uint16_t)length;
  m->msg_control = c->room;
  m->msg_controllen = CMSG_SPACE(sizeof segment);
  c->aligned.cmsg_level = IPPROTO_UDP;
  c->aligned.cmsg_type = UDP_SEGMENT;
  c->aligned.cmsg_len = CMSG_LEN(sizeof segment);
  memcpy(CMSG_DATA(&c->aligned), &segment, sizeof segment);
}

/* Whether an error can mean that the way out takes no such run: longer than its MTU, no checksums
 * by the device, IPsec, an older kernel. */
static int is_about_runs(int failed) {
  return failed == EINVAL || failed == EMSGSIZE || failed == EIO || failed == EOPNOTSUPP;
}

/* A single one costs less in a call for single ones. */
static int send_one(int fd, const datagram_out *o) {
  ssize_t n = sendto(fd, o->data, o->length, MSG_NOSIGNAL, o->to ? &o->to->any : NULL,
                     o->to ? datagram_address_length(o->to) : 0);
  return n < 0 ? -errno : 1;
}

int batch_send(int fd, const datagram_out *out, int count, int *apart) {
  struct mmsghdr messages[BATCH_MOST];
  struct iovec pieces[BATCH_MOST];
  control controls[BATCH_MOST];
  int held[BATCH_MOST], n = 0;
  if (count == 1) return send_one(fd, out);
  if (count > BATCH_MOST) count = BATCH_MOST;
  for (int i = 0; i < count; n++) {
    int run = *apart ? 1 : run_of(out + i, count - i);
    struct msghdr *m = &messages[n].msg_hdr;
    memset(m, 0, sizeof *m);
    m->msg_iov = &pieces[i];
    m->msg_iovlen = (size_t)run;
    if (out[i].to) {
      m->msg_name = (void *)out[i].to;
      m->msg_namelen = datagram_address_length(out[i].to);
    }
    if (run > 1) mark_segments(m, &controls[n], out[i].length);
    held[n] = run;
    for (; run; run--, i++) {
      pieces[i].iov_base = (void *)out[i].data;
      pieces[i].iov_len = out[i].length;
    }
  }
  int sent = sendmmsg(fd, messages, (unsigned)n, MSG_NOSIGNAL), total = 0;
  if (sent < 0 && held[0] > 1 && is_about_runs(errno)) {
    *apart = 1;
    return batch_send(fd, out, count, apart);
  }
  if (sent < 0) return -errno;
  for (int i = 0; i < sent; i++) total += held[i];
  return total;
}

static size_t piece_of(struct msghdr *m) {
  int piece = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
      memcpy(&piece, CMSG_DATA(c), sizeof piece);
  }
  return (size_t)piece;
}

static int receive_one(int fd, struct mmsghdr *m) {
  ssize_t n = recvmsg(fd, &m->msg_hdr, MSG_DONTWAIT);
  if (n < 0) return -1;
  m->msg_len = (unsigned)n;
  return 1;
}

int batch_receive(int fd, batch_receiver *r, datagram_in *in, int most) {
  if (most > BATCH_MOST) most = BATCH_MOST;
  int came = most == 1 ? receive_one(fd, r->messages)
                       : recvmmsg(fd, r->messages, (unsigned)most, MSG_DONTWAIT, NULL);
  if (came < 0) return -errno;
  for (int i = 0; i < came; i++) {
    in[i].from = r->from[i];
    in[i].data = r->pieces[i].iov_base;
    in[i].length = r->messages[i].msg_len;
    in[i].piece = piece_of(&r->messages[i].msg_hdr);
    in[i].cut = (r->messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
    make_ready(r, i);
  }
  return came;
}
