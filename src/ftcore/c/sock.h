/* Where systems differ in sockets, besides the poller. */
#ifndef FTCORE_SOCK_H
#define FTCORE_SOCK_H

#include <stddef.h>
#include <stdint.h>

/* A non-blocking, close-on-exec socket; -1 with errno. */
int sock_open(int family, int type, int protocol);
/* Whether bytes, the end or an error are waiting to be read. */
int sock_readable(int fd);
/* Moves a socket away from under its descriptor: the new one, close-on-exec; a closed socket stays
 * at the old one. -1 with errno. */
int sock_move(int fd);
/* Ends a connection in both directions and forgets what came in on it; the descriptor stays. */
void sock_end(int fd);
/* Nothing more is sent: the peer is told so. */
void sock_finish(int fd);
/* The numeric address and port of this end of a connection, or of the other one: 4 or 6, 0: it has
 * none (any more). `text` has room for 46 bytes. */
int sock_name(int fd, int other, char *text, int *port);
/* The kernel's smoothed round-trip time of a TCP connection in µs; 0: unknown. */
unsigned sock_rtt_us(int fd);
/* What a TCP connection that has just come to stand took, from its first packet to the answer, in
 * µs; 0: unknown, or a packet was sent twice. */
unsigned sock_connect_us(int fd);
/* The kernel notes from now on when what comes in on a socket did, with the bytes of a TCP
 * connection or of the datagram that was read last: Linux. */
void sock_stamp(int fd);
void sock_stamp_datagrams(int fd);
/* When the first of the bytes of a TCP connection that wait to be read came in, or the last: ns of
 * CLOCK_REALTIME; 0: unknown, or there are none. They go on waiting. */
int64_t sock_first_came_at(int fd);
int64_t sock_last_came_at(int fd);
/* The same of the datagram that was read last, after sock_stamp_datagrams. */
int64_t sock_datagram_came_at(int fd);
/* recv() that tells when the last byte it brought came in: as above, 0 without bytes. */
int64_t sock_recv(int fd, void *into, size_t room, int64_t *came_at);
/* send() without a signal where the peer is gone. */
int64_t sock_send(int fd, const void *data, size_t length);

#endif
