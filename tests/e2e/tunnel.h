/*
 * tunnel.h - a proxy that takes CONNECT and nothing else, and remembers what it was told
 *
 * Purpose  every CONNECT leads to one port of 127.0.0.1, whatever host it names: who gets an answer from a host that
 *          does not exist has come this way.
 * Owner    tunnel_free() ends it and its connections.
 * Threads  it has one of its own; the functions here are for the test's main thread.
 * Limits   TUNNEL_PAIRS connections at once, TUNNEL_HEADS bytes of heads.
 */
#ifndef ATALAYA_TESTS_TUNNEL_H
#define ATALAYA_TESTS_TUNNEL_H

#include <stdbool.h>
#include <stdint.h>

#define TUNNEL_PAIRS 64
#define TUNNEL_HEADS 65536

struct tunnel;

struct tunnel *tunnel_new(uint16_t to, int status); /* status: 200, or what every CONNECT is refused with */
uint16_t tunnel_port(const struct tunnel *t);
bool tunnel_heard(struct tunnel *t, const char *text); /* in the heads of the CONNECTs so far */
void tunnel_free(struct tunnel *t);

#endif
