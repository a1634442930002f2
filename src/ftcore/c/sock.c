#ifdef __linux__
#define _GNU_SOURCE
#endif
#include "sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/sockios.h>
#include <sys/syscall.h>
#endif

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

#ifdef __linux__
static int tcp_info(int fd, struct tcp_info *info) {
  socklen_t length = sizeof *info;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &length) == 0;
}
#endif

unsigned sock_rtt_us(int fd) {
#if defined(__linux__)
  struct tcp_info info;
  return tcp_info(fd, &info) ? info.tcpi_rtt : 0;
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

#ifdef __linux__

unsigned sock_connect_us(int fd) {
  struct tcp_info info;
  return tcp_info(fd, &info) && info.tcpi_total_retrans == 0 ? info.tcpi_rtt : 0;
}

void sock_stamp(int fd) {
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
}

/* Asking once is what switches it on; with SO_TIMESTAMPNS the kernel would tell of it elsewhere. */
void sock_stamp_datagrams(int fd) { sock_datagram_came_at(fd); }

/* With the stamp of the last byte of those asked for; 0: none. */
static int64_t stamped_recv(int fd, void *into, size_t room, int flags, int64_t *came_at) {
  union {
    struct cmsghdr first;
    char room[CMSG_SPACE(sizeof(struct timespec))];
  } control;
  struct iovec part = {into, room};
  struct msghdr message = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = control.room,
                           .msg_controllen = sizeof control.room};
  struct timespec stamp;
  /* not recvmsg(), where a thread may be cancelled: that costs half as much again */
  int64_t got = syscall(SYS_recvmsg, fd, &message, flags);
  *came_at = 0;
  if (got <= 0 || message.msg_controllen < sizeof control.first ||
      control.first.cmsg_type != SCM_TIMESTAMPNS)
    return got;
  memcpy(&stamp, CMSG_DATA(&control.first), sizeof stamp);
  *came_at = (int64_t)stamp.tv_sec * 1000000000 + stamp.tv_nsec;
  return got;
}

/* Over TCP, MSG_TRUNC moves no bytes. */
static int64_t came_at(int fd, size_t bytes) {
  int64_t at;
  stamped_recv(fd, NULL, bytes, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT, &at);
  return at;
}

int64_t sock_recv(int fd, void *into, size_t room, int64_t *came_at) {
  return stamped_recv(fd, into, room, 0, came_at);
}

int64_t sock_send(int fd, const void *data, size_t length) {
  /* not send(), for the same reason */
  return syscall(SYS_sendto, fd, data, length, MSG_NOSIGNAL, NULL, 0);
}

int64_t sock_first_came_at(int fd) { return came_at(fd, 1); }

int64_t sock_last_came_at(int fd) { return came_at(fd, INT32_MAX); }

int64_t sock_datagram_came_at(int fd) {
  struct timespec stamp;
  if (ioctl(fd, SIOCGSTAMPNS, &stamp) < 0) return 0;
  return (int64_t)stamp.tv_sec * 1000000000 + stamp.tv_nsec;
}

#else

unsigned sock_connect_us(int fd) {
  (void)fd;
  return 0;
}

void sock_stamp(int fd) { (void)fd; }

void sock_stamp_datagrams(int fd) { (void)fd; }

int64_t sock_first_came_at(int fd) {
  (void)fd;
  return 0;
}

int64_t sock_last_came_at(int fd) {
  (void)fd;
  return 0;
}

int64_t sock_datagram_came_at(int fd) {
  (void)fd;
  return 0;
}

int64_t sock_recv(int fd, void *into, size_t room, int64_t *came_at) {
  *came_at = 0;
  return recv(fd, into, room, 0);
}

int64_t sock_send(int fd, const void *data, size_t length) {
  return send(fd, data, length, MSG_NOSIGNAL);
}

#endif
