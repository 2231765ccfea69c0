/*
 * forwarded.h - the address of a client behind proxies that we trust
 *
 * Purpose  X-Forwarded-For is written by whoever sends it: only what a listed proxy has appended counts. From
 *          the right, the first address that is no trusted proxy is the client.
 * Owner    proxies_free(); NULL is the empty list: nobody is trusted.
 * Threads  proxies_parse(), proxies_free(): one; client_address(): any.
 * Errors   proxies_parse(): 0 or -EINVAL, having logged which entry of GATEWAY_TRUSTED_PROXIES is wrong.
 * Limits   FORWARDED_HOPS_MAX entries are looked at.
 */
#ifndef ATALAYA_GATEWAY_FORWARDED_H
#define ATALAYA_GATEWAY_FORWARDED_H

#include "common/base/attr.h"

struct proxies;

#define CLIENT_ADDRESS_SIZE 46 /* INET6_ADDRSTRLEN */

/* Addresses and CIDR blocks, IPv4 and IPv6, separated by commas; NULL or "" gives NULL. */
int proxies_parse(struct proxies **out, const char *list) NODISCARD;
void proxies_free(struct proxies *p);

/* peer: the address of the connection. x_forwarded_for: NULL, or all lines of that header joined by commas in
 * their order, for the proxy next to us may have added a line of its own. Ports are dropped, IPv4-mapped IPv6
 * becomes IPv4. An entry that is no address ends the search at the last good one. */
void client_address(const struct proxies *p, const char *peer, const char *x_forwarded_for,
                    char out[CLIENT_ADDRESS_SIZE]);

#endif
