/* Where systems differ in sockets, besides the poller. */
#ifndef FTCORE_SOCK_H
#define FTCORE_SOCK_H

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

#endif
