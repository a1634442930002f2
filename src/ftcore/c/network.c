#include "network.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

/* https://www.iana.org/assignments/iana-ipv4-special-registry/ */
static const struct {
  uint32_t prefix;
  int bits;
} reserved[] = {
    {0x00000000, 8}, /* this network */
    {0x0A000000, 8}, /* 10.0.0.0, RFC 1918 */
    {0x64400000, 10}, /* 100.64.0.0, carrier-grade NAT */
    {0x7F000000, 8}, /* loopback */
    {0xA9FE0000, 16}, /* 169.254.0.0, link-local */
    {0xAC100000, 12}, /* 172.16.0.0, RFC 1918 */
    {0xC0000000, 24}, /* 192.0.0.0, protocol assignments */
    {0xC0000200, 24}, /* 192.0.2.0, documentation */
    {0xC0586300, 24}, /* 192.88.99.0, 6to4 relays */
    {0xC0A80000, 16}, /* 192.168.0.0, RFC 1918 */
    {0xC6120000, 15}, /* 198.18.0.0, benchmarks */
    {0xC6336400, 24}, /* 198.51.100.0, documentation */
    {0xCB007100, 24}, /* 203.0.113.0, documentation */
    {0xE0000000, 3}, /* multicast and above */
};

static int is_private_v4(uint32_t address) {
  for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
    if ((address ^ reserved[i].prefix) >> (32 - reserved[i].bits) == 0) return 1;
  return 0;
}

int network_is_private(const char *text) {
  struct in_addr v4;
  struct in6_addr v6;
  uint32_t mapped;
  if (inet_pton(AF_INET, text, &v4) == 1) return is_private_v4(ntohl(v4.s_addr));
  if (inet_pton(AF_INET6, text, &v6) != 1) return 0;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) {
    memcpy(&mapped, v6.s6_addr + 12, sizeof mapped);
    return is_private_v4(ntohl(mapped));
  }
  /* global unicast 2000::/3, and multicast, which Chromium counts as public */
  return (v6.s6_addr[0] & 0xE0) != 0x20 && v6.s6_addr[0] != 0xFF;
}

static int is_up(const struct ifaddrs *one) {
  int family = one->ifa_addr ? one->ifa_addr->sa_family : AF_UNSPEC;
  return (one->ifa_flags & IFF_UP) && (one->ifa_flags & IFF_RUNNING) &&
         !(one->ifa_flags & IFF_LOOPBACK) && (family == AF_INET || family == AF_INET6);
}

int network_is_up(void) {
  struct ifaddrs *all;
  int up = 0;
  if (getifaddrs(&all) < 0) return 1;
  for (const struct ifaddrs *one = all; one && !up; one = one->ifa_next) up = is_up(one);
  freeifaddrs(all);
  return up;
}
