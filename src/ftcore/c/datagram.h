/* UDP sockets: addresses, opening, options. */
#ifndef FTCORE_DATAGRAM_H
#define FTCORE_DATAGRAM_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { DATAGRAM_MOST = 65507, DATAGRAM_TEXT = 64 };

typedef enum {
  DATAGRAM_TTL,            /* hops that datagrams may take */
  DATAGRAM_MULTICAST_TTL,  /* the same, of those to a group */
  DATAGRAM_MULTICAST_LOOP, /* whether those to a group come back to this host */
  DATAGRAM_BROADCAST,      /* whether datagrams may go to a broadcast address */
} datagram_option;

typedef union {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
} datagram_address;

/* A bound UDP socket, non-blocking, of family 4 or 6; -errno. *port is what was asked for (0: any),
 * then what it is. `shared`: others that are, too, may have the same port, as receivers of one
 * multicast group need. */
int datagram_open(int family, int *port, int shared);
/* The numeric address as text, with the zone where it needs one, and its port; family 4 or 6. */
int datagram_address_text(const datagram_address *a, char text[DATAGRAM_TEXT], int *port);
/* From a numeric address; 4 or 6, 0: it is none. */
int datagram_address_from(datagram_address *a, const char *text, int port);
/* The same address with another port. */
void datagram_at_port(datagram_address *to, const datagram_address *from, int port);
socklen_t datagram_address_length(const datagram_address *a);
int datagram_local(int fd, datagram_address *a);
/* 0, or an errno. */
int datagram_connect(int fd, const datagram_address *a);
int datagram_set(int fd, int family, datagram_option option, int value);
/* Joins or leaves a group; `interface` is its name or number, for IPv4 an address too; "": any. */
int datagram_membership(int fd, int family, const char *group, const char *interface, int join);
/* What was reported to the socket and not told yet, an ICMP error mostly; it is told once. */
int datagram_failure(int fd);

#endif
