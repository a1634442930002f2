#ifdef __linux__
#define _GNU_SOURCE
#endif
#include "datagram.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batch.h"
#include "sock.h"

socklen_t datagram_address_length(const datagram_address *a) {
  return a->any.sa_family == AF_INET6 ? sizeof a->v6 : sizeof a->v4;
}

/* As much as the system gives without asking for rights: bursts come faster than anybody reads. */
enum { RECEIVE_BUFFER = 4 << 20 };

static int set(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value) < 0 ? errno : 0;
}

static int bind_any(int fd, int family, int port) {
  datagram_address a;
  memset(&a, 0, sizeof a);
  if (family == 6) {
    a.v6.sin6_family = AF_INET6;
    a.v6.sin6_port = htons((uint16_t)port);
  } else {
    a.v4.sin_family = AF_INET;
    a.v4.sin_port = htons((uint16_t)port);
  }
  return bind(fd, &a.any, datagram_address_length(&a)) < 0 ? errno : 0;
}

int datagram_open(int family, int *port, int shared) {
  datagram_address a;
  int failed = 0, fd = sock_open(family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) return -errno;
  if (family == 6) failed = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (!failed && shared) failed = set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
#ifdef __APPLE__
  if (!failed && shared) failed = set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
#endif
  set(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER); /* a smaller one will do */
#ifdef IP_MULTICAST_ALL
  /* only groups that this socket has joined: Linux would hand it those of all others, too */
  set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
#endif
#ifdef IPV6_MULTICAST_ALL
  if (family == 6) set(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
#endif
  batch_prepare(fd);
  if (!failed) failed = bind_any(fd, family, *port);
  if (!failed && datagram_local(fd, &a) < 0) failed = errno;
  if (failed) {
    close(fd);
    return -failed;
  }
  *port = ntohs(family == 6 ? a.v6.sin6_port : a.v4.sin_port);
  return fd;
}

int datagram_local(int fd, datagram_address *a) {
  socklen_t length = sizeof *a;
  return getsockname(fd, &a->any, &length);
}

int datagram_connect(int fd, const datagram_address *a) {
  return connect(fd, &a->any, datagram_address_length(a)) < 0 ? errno : 0;
}

int datagram_failure(int fd) {
  int failed = 0;
  socklen_t length = sizeof failed;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &length) < 0 ? errno : failed;
}

int datagram_address_text(const datagram_address *a, char text[DATAGRAM_TEXT], int *port) {
  char name[IF_NAMESIZE];
  if (a->any.sa_family != AF_INET6) {
    *port = ntohs(a->v4.sin_port);
    inet_ntop(AF_INET, &a->v4.sin_addr, text, DATAGRAM_TEXT);
    return 4;
  }
  *port = ntohs(a->v6.sin6_port);
  inet_ntop(AF_INET6, &a->v6.sin6_addr, text, DATAGRAM_TEXT);
  if (a->v6.sin6_scope_id) { /* it takes the zone to answer */
    size_t length = strlen(text);
    if (if_indextoname(a->v6.sin6_scope_id, name))
      snprintf(text + length, DATAGRAM_TEXT - length, "%%%s", name);
    else
      snprintf(text + length, DATAGRAM_TEXT - length, "%%%u", a->v6.sin6_scope_id);
  }
  return 6;
}

/* The number of an interface by its name or number; 0: there is none. */
static unsigned interface_number(const char *name) {
  char *end;
  unsigned number = if_nametoindex(name);
  if (number) return number;
  unsigned long given = strtoul(name, &end, 10);
  return *name && !*end && given <= UINT32_MAX ? (unsigned)given : 0;
}

int datagram_address_from(datagram_address *a, const char *text, int port) {
  char plain[INET6_ADDRSTRLEN];
  memset(a, 0, sizeof *a);
  if (inet_pton(AF_INET, text, &a->v4.sin_addr) == 1) {
    a->v4.sin_family = AF_INET;
    a->v4.sin_port = htons((uint16_t)port);
    return 4;
  }
  const char *zone = strchr(text, '%');
  size_t length = zone ? (size_t)(zone - text) : strlen(text);
  if (length >= sizeof plain) return 0;
  memcpy(plain, text, length);
  plain[length] = 0;
  if (inet_pton(AF_INET6, plain, &a->v6.sin6_addr) != 1) return 0;
  a->v6.sin6_family = AF_INET6;
  a->v6.sin6_port = htons((uint16_t)port);
  if (!zone) return 6;
  a->v6.sin6_scope_id = interface_number(zone + 1);
  return a->v6.sin6_scope_id ? 6 : 0;
}

void datagram_at_port(datagram_address *to, const datagram_address *from, int port) {
  *to = *from;
  if (to->any.sa_family == AF_INET6) {
    to->v6.sin6_port = htons((uint16_t)port);
  } else {
    to->v4.sin_port = htons((uint16_t)port);
  }
}

int datagram_set(int fd, int family, datagram_option option, int value) {
  int six = family == 6, level = six ? IPPROTO_IPV6 : IPPROTO_IP;
  switch (option) {
    case DATAGRAM_TTL:
      return set(fd, level, six ? IPV6_UNICAST_HOPS : IP_TTL, value);
    case DATAGRAM_MULTICAST_TTL:
      return set(fd, level, six ? IPV6_MULTICAST_HOPS : IP_MULTICAST_TTL, value);
    case DATAGRAM_MULTICAST_LOOP:
      return set(fd, level, six ? IPV6_MULTICAST_LOOP : IP_MULTICAST_LOOP, value);
    case DATAGRAM_BROADCAST:
      return set(fd, SOL_SOCKET, SO_BROADCAST, value);
  }
  return EINVAL;
}

int datagram_membership(int fd, int family, const char *group, const char *interface, int join) {
  unsigned number = *interface ? interface_number(interface) : 0;
  if (family == 6) {
    struct ipv6_mreq m = {.ipv6mr_interface = number};
    if (inet_pton(AF_INET6, group, &m.ipv6mr_multiaddr) != 1) return EINVAL;
    if (*interface && !number) return ENODEV;
    int option = join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP;
    return setsockopt(fd, IPPROTO_IPV6, option, &m, sizeof m) < 0 ? errno : 0;
  }
  struct ip_mreqn m = {.imr_ifindex = (int)number};
  if (inet_pton(AF_INET, group, &m.imr_multiaddr) != 1) return EINVAL;
  if (*interface && !number && inet_pton(AF_INET, interface, &m.imr_address) != 1) return ENODEV;
  int option = join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP;
  return setsockopt(fd, IPPROTO_IP, option, &m, sizeof m) < 0 ? errno : 0;
}
