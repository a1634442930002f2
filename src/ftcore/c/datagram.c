#ifdef __linux__
#define _GNU_SOURCE
#endif
#include "datagram.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sock.h"

struct datagram_receiver {
#ifdef __linux__
  struct mmsghdr messages[DATAGRAM_BATCH];
#endif
  struct iovec pieces[DATAGRAM_BATCH];
  datagram_address from[DATAGRAM_BATCH];
  char room[]; /* DATAGRAM_ROOM bytes for each */
};

datagram_receiver *datagram_receiver_new(void) {
  datagram_receiver *r = malloc(sizeof *r + (size_t)DATAGRAM_BATCH * DATAGRAM_ROOM);
  if (!r) return NULL;
  for (int i = 0; i < DATAGRAM_BATCH; i++) {
    r->pieces[i].iov_base = r->room + (size_t)i * DATAGRAM_ROOM;
    r->pieces[i].iov_len = DATAGRAM_ROOM;
  }
  return r;
}

void datagram_receiver_free(datagram_receiver *r) { free(r); }

socklen_t datagram_address_length(const datagram_address *a) {
  return a->any.sa_family == AF_INET6 ? sizeof a->v6 : sizeof a->v4;
}

#ifdef __linux__
int datagram_send(int fd, const datagram_out *out, int count) {
  struct mmsghdr messages[DATAGRAM_BATCH];
  struct iovec pieces[DATAGRAM_BATCH];
  if (count > DATAGRAM_BATCH) count = DATAGRAM_BATCH;
  memset(messages, 0, (size_t)count * sizeof *messages);
  for (int i = 0; i < count; i++) {
    pieces[i].iov_base = (void *)out[i].data;
    pieces[i].iov_len = out[i].length;
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
    if (out[i].to) {
      messages[i].msg_hdr.msg_name = (void *)out[i].to;
      messages[i].msg_hdr.msg_namelen = datagram_address_length(out[i].to);
    }
  }
  int sent = sendmmsg(fd, messages, (unsigned)count, MSG_NOSIGNAL);
  return sent < 0 ? -errno : sent;
}

int datagram_receive(int fd, datagram_receiver *r, datagram_in *in) {
  for (int i = 0; i < DATAGRAM_BATCH; i++) {
    struct msghdr *m = &r->messages[i].msg_hdr;
    m->msg_name = &r->from[i];
    m->msg_namelen = sizeof r->from[i];
    m->msg_iov = &r->pieces[i];
    m->msg_iovlen = 1;
    m->msg_control = NULL;
    m->msg_controllen = 0;
  }
  int came = recvmmsg(fd, r->messages, DATAGRAM_BATCH, MSG_DONTWAIT, NULL);
  if (came < 0) return -errno;
  for (int i = 0; i < came; i++) {
    in[i].from = r->from[i];
    in[i].data = r->pieces[i].iov_base;
    in[i].length = r->messages[i].msg_len;
    in[i].cut = (r->messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
  }
  return came;
}
#else
int datagram_send(int fd, const datagram_out *out, int count) {
  int sent = 0;
  for (; sent < count; sent++) {
    const datagram_out *o = &out[sent];
    ssize_t n = sendto(fd, o->data, o->length, 0, o->to ? &o->to->any : NULL,
                       o->to ? datagram_address_length(o->to) : 0);
    if (n < 0) return sent ? sent : -errno;
  }
  return sent;
}

int datagram_receive(int fd, datagram_receiver *r, datagram_in *in) {
  int came = 0;
  for (; came < DATAGRAM_BATCH; came++) {
    struct msghdr m = {.msg_name = &r->from[came],
                       .msg_namelen = sizeof r->from[came],
                       .msg_iov = &r->pieces[came],
                       .msg_iovlen = 1};
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
    if (n < 0) return came ? came : -errno;
    in[came].from = r->from[came];
    in[came].data = r->pieces[came].iov_base;
    in[came].length = (size_t)n;
    in[came].cut = (m.msg_flags & MSG_TRUNC) != 0;
  }
  return came;
}
#endif

int datagram_open(int family, int *port) {
  datagram_address a;
  int on = 1, fd = sock_open(family, SOCK_DGRAM, 0);
  if (fd < 0) return -errno;
  memset(&a, 0, sizeof a);
  if (family == AF_INET6) {
    a.v6.sin6_family = AF_INET6;
    a.v6.sin6_port = htons((uint16_t)*port);
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0) goto failed;
  } else {
    a.v4.sin_family = AF_INET;
    a.v4.sin_port = htons((uint16_t)*port);
  }
  if (bind(fd, &a.any, datagram_address_length(&a)) < 0 || datagram_local(fd, &a) < 0) goto failed;
  *port = ntohs(family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
  return fd;
failed:
  {
    int failed = -errno;
    close(fd);
    return failed;
  }
}

int datagram_local(int fd, datagram_address *a) {
  socklen_t length = sizeof *a;
  return getsockname(fd, &a->any, &length);
}

int datagram_connect(int fd, const datagram_address *a) {
  return connect(fd, &a->any, datagram_address_length(a)) < 0 ? errno : 0;
}

int datagram_address_text(const datagram_address *a, char *text, int *port) {
  if (a->any.sa_family == AF_INET6) {
    *port = ntohs(a->v6.sin6_port);
    inet_ntop(AF_INET6, &a->v6.sin6_addr, text, INET6_ADDRSTRLEN);
    return 6;
  }
  *port = ntohs(a->v4.sin_port);
  inet_ntop(AF_INET, &a->v4.sin_addr, text, INET6_ADDRSTRLEN);
  return 4;
}

/* The number of an interface by its name or number; 0: any. */
static unsigned zone_of(const char *name) {
  unsigned number = if_nametoindex(name);
  return number ? number : (unsigned)strtoul(name, NULL, 10);
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
  a->v6.sin6_scope_id = zone ? zone_of(zone + 1) : 0;
  return 6;
}

static int set(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value) < 0 ? errno : 0;
}

int datagram_set_ttl(int fd, int family, int hops, int multicast) {
  if (family == AF_INET6)
    return set(fd, IPPROTO_IPV6, multicast ? IPV6_MULTICAST_HOPS : IPV6_UNICAST_HOPS, hops);
  return set(fd, IPPROTO_IP, multicast ? IP_MULTICAST_TTL : IP_TTL, hops);
}

int datagram_set_broadcast(int fd, int on) { return set(fd, SOL_SOCKET, SO_BROADCAST, on); }

int datagram_set_loop(int fd, int family, int on) {
  return family == AF_INET6 ? set(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, on)
                            : set(fd, IPPROTO_IP, IP_MULTICAST_LOOP, on);
}

int datagram_membership(int fd, int family, const char *group, const char *interface, int join) {
  if (family == AF_INET6) {
    struct ipv6_mreq m = {.ipv6mr_interface = *interface ? zone_of(interface) : 0};
    if (inet_pton(AF_INET6, group, &m.ipv6mr_multiaddr) != 1) return EINVAL;
    int option = join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP;
    return setsockopt(fd, IPPROTO_IPV6, option, &m, sizeof m) < 0 ? errno : 0;
  }
  struct ip_mreq m = {.imr_interface = {htonl(INADDR_ANY)}};
  if (inet_pton(AF_INET, group, &m.imr_multiaddr) != 1) return EINVAL;
  if (*interface && inet_pton(AF_INET, interface, &m.imr_interface) != 1) return EINVAL;
  int option = join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP;
  return setsockopt(fd, IPPROTO_IP, option, &m, sizeof m) < 0 ? errno : 0;
}
