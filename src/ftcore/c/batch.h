/* Datagrams in batches: many in one system call, where the system has one for that. */
#ifndef FTCORE_BATCH_H
#define FTCORE_BATCH_H

#include "datagram.h"

enum { BATCH_MOST = 64, BATCH_ROOM = 65536 };

typedef struct {
  const datagram_address *to; /* NULL: where the socket is connected to */
  const char *data;
  size_t length;
} datagram_out;

typedef struct {
  datagram_address from;
  const char *data; /* in the receiver's room, until it receives again */
  size_t length;
  size_t piece; /* it is several datagrams of so many bytes, the last one may have less; 0: one */
  int cut;      /* it was longer than any datagram can be: not whole */
} datagram_in;

/* Where datagrams are received to; for all sockets of a thread. Its pages are used as they are
 * needed. NULL when memory is out. */
typedef struct batch_receiver batch_receiver;
batch_receiver *batch_receiver_new(void);
void batch_receiver_free(batch_receiver *r);

/* Tells the system that a socket is read by batch_receive. */
void batch_prepare(int fd);
/* How many of `count` went, in order; -errno when the first of them can't go. *apart is the
 * socket's, 0 at first: whether each has to be handed over by itself. */
int batch_send(int fd, const datagram_out *out, int count, int *apart);
/* How many came, at most `most` and BATCH_MOST; -errno. */
int batch_receive(int fd, batch_receiver *r, datagram_in *in, int most);

#endif
