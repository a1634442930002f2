/* What the estimator of network quality must know of addresses and interfaces. */
#ifndef FTCORE_NETWORK_H
#define FTCORE_NETWORK_H

/* Whether a numeric address can't be one of the internet's: private, loopback, link-local or
 * reserved; as Chromium has it (IPAddress::IsPubliclyRoutable in net/base/ip_address.cc). What is no
 * address is not private. */
int network_is_private(const char *text);
/* Whether an interface other than the loopback is up and has an address; also when the system does
 * not tell. */
int network_is_up(void);

#endif
