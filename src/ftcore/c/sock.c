#ifdef __linux__
#define _GNU_SOURCE
#endif
#include "sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

int sock_open(int family, int type, int protocol) {
#ifdef __linux__
  return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
#else
  int fd = socket(family, type, protocol);
  if (fd >= 0 && (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)) {
    close(fd);
    return -1;
  }
  return fd;
#endif
}

int sock_readable(int fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
         (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

int sock_move(int fd) {
  int stand_in = sock_open(AF_UNIX, SOCK_STREAM, 0);
  if (stand_in < 0) return -1;
  int moved = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (moved >= 0 && (dup2(stand_in, fd) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)) {
    close(moved);
    moved = -1;
  }
  close(stand_in);
  return moved;
}

void sock_end(int fd) {
  char scratch[16384];
  shutdown(fd, SHUT_RDWR);
  for (int i = 0; i < 64 && recv(fd, scratch, sizeof scratch, MSG_DONTWAIT) > 0; i++) {
  }
}

void sock_finish(int fd) { shutdown(fd, SHUT_WR); }

int sock_name(int fd, int other, char *text, int *port) {
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  } name;
  socklen_t length = sizeof name;
  int failed = other ? getpeername(fd, &name.any, &length) : getsockname(fd, &name.any, &length);
  text[0] = 0;
  *port = 0;
  if (failed || (name.any.sa_family != AF_INET && name.any.sa_family != AF_INET6)) return 0;
  if (name.any.sa_family == AF_INET) {
    *port = ntohs(name.v4.sin_port);
    inet_ntop(AF_INET, &name.v4.sin_addr, text, INET6_ADDRSTRLEN);
    return 4;
  }
  *port = ntohs(name.v6.sin6_port);
  inet_ntop(AF_INET6, &name.v6.sin6_addr, text, INET6_ADDRSTRLEN);
  return 6;
}

unsigned sock_rtt_us(int fd) {
#if defined(__linux__)
  struct tcp_info info;
  socklen_t length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return 0;
  return info.tcpi_rtt;
#elif defined(TCP_CONNECTION_INFO)
  struct tcp_connection_info info;
  socklen_t length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_CONNECTION_INFO, &info, &length) < 0) return 0;
  return info.tcpi_srtt * 1000u;
#else
  (void)fd;
  return 0;
#endif
}
