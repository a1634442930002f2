/* UDP in batches: many datagrams a system call where the system has one for that. */
#ifndef FTCORE_DATAGRAM_H
#define FTCORE_DATAGRAM_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { DATAGRAM_BATCH = 64, DATAGRAM_ROOM = 65536, DATAGRAM_MOST = 65507 };

typedef union {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
} datagram_address;

typedef struct {
  const datagram_address *to; /* NULL: where the socket is connected to */
  const char *data;
  size_t length;
} datagram_out;

typedef struct {
  datagram_address from;
  const char *data; /* in the receiver's room, until it receives again */
  size_t length;
  int cut; /* it was longer than any datagram can be: not whole */
} datagram_in;

/* Where datagrams are received to; for all sockets of a thread. Its pages are used as they are
 * needed. NULL when memory is out. */
typedef struct datagram_receiver datagram_receiver;
datagram_receiver *datagram_receiver_new(void);
void datagram_receiver_free(datagram_receiver *r);

/* How many of `count` went, in order; -errno when the first of them can't go. */
int datagram_send(int fd, const datagram_out *out, int count);
/* How many came, at most DATAGRAM_BATCH; -errno. */
int datagram_receive(int fd, datagram_receiver *r, datagram_in *in);

/* A bound UDP socket, non-blocking; -errno. *port is what was asked for (0: any), then what it is. */
int datagram_open(int family, int *port);
/* The numeric address as text, its port; family 4 or 6. `text` has INET6_ADDRSTRLEN bytes. */
int datagram_address_text(const datagram_address *a, char *text, int *port);
/* From a numeric address; 4 or 6, 0: it is none. */
int datagram_address_from(datagram_address *a, const char *text, int port);
socklen_t datagram_address_length(const datagram_address *a);
int datagram_local(int fd, datagram_address *a);
int datagram_connect(int fd, const datagram_address *a);
/* 0, or an errno. */
int datagram_set_ttl(int fd, int family, int hops, int multicast);
int datagram_set_broadcast(int fd, int on);
int datagram_set_loop(int fd, int family, int on);
int datagram_membership(int fd, int family, const char *group, const char *interface, int join);

#endif
