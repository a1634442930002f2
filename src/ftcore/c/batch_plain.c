/* Batches where the system has none: one call a datagram. */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

struct batch_receiver {
  char room[BATCH_MOST][BATCH_ROOM];
};

batch_receiver *batch_receiver_new(void) { return malloc(sizeof(batch_receiver)); }

void batch_receiver_free(batch_receiver *r) { free(r); }

void batch_prepare(int fd) { (void)fd; }

int batch_send(int fd, const datagram_out *out, int count, int *apart) {
  int sent = 0;
  (void)apart;
  for (; sent < count; sent++) {
    const datagram_out *o = &out[sent];
    ssize_t n = sendto(fd, o->data, o->length, 0, o->to ? &o->to->any : NULL,
                       o->to ? datagram_address_length(o->to) : 0);
    if (n < 0) return sent ? sent : -errno;
  }
  return sent;
}

int batch_receive(int fd, batch_receiver *r, datagram_in *in, int most) {
  int came = 0;
  for (; came < most && came < BATCH_MOST; came++) {
    struct iovec room = {.iov_base = r->room[came], .iov_len = BATCH_ROOM};
    struct msghdr m = {.msg_name = &in[came].from,
                       .msg_namelen = sizeof in[came].from,
                       .msg_iov = &room,
                       .msg_iovlen = 1};
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
    if (n < 0) return came ? came : -errno;
    in[came].data = r->room[came];
    in[came].length = (size_t)n;
    in[came].piece = 0;
    in[came].cut = (m.msg_flags & MSG_TRUNC) != 0;
  }
  return came;
}
