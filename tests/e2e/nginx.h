/*
 * nginx.h - an nginx with TLS in front of fake-openai, and certificates for it that the test makes itself
 *
 * Purpose  a provider as it is in the world: HTTP/2, certificates good and bad, limits of its own, and a proxy that
 *          leads to http://.
 * Owner    the harness ends nginx with the instance (struct e2e, nginx); all files are in its folder.
 * Threads  the test's main thread.
 * Errors   fail the test.
 */
#ifndef ATALAYA_TESTS_NGINX_H
#define ATALAYA_TESTS_NGINX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/e2e/harness.h"

/* Where it listens, all on localhost. */
enum nginx_door {
    NGINX_H2,       /* HTTP/2 and 1.1 */
    NGINX_H1,       /* HTTP/1.1 only */
    NGINX_NARROW,   /* HTTP/2, four streams at once */
    NGINX_SHORT,    /* HTTP/2, five calls a connection, then GOAWAY */
    NGINX_MISNAMED, /* a certificate for somebody else */
    NGINX_EXPIRED,  /* one that was good until yesterday */
    NGINX_OLD,      /* TLS 1.1 only */
    NGINX_PROXY,    /* http://, takes any host's name and leads to the fake */
    NGINX_DOORS,
};

#define NGINX_PATH 160

struct nginx {
    struct e2e *e;
    uint16_t port[NGINX_DOORS];
    char ca_file[NGINX_PATH]; /* whom one must believe */
    char log[NGINX_PATH];
};

/* Certificates, configuration, and nginx when it answers; OPENAI_BASE_URL leads to that door. */
void nginx_start(struct nginx *f, struct e2e *e, enum nginx_door door);
void nginx_stop(struct nginx *f);
void nginx_again(struct nginx *f); /* on the same ports */
void nginx_reload(struct nginx *f);

/* Its lines: CONNECTION PROTOCOL STATUS PORT REQUEST. Calls of a door that were answered with `protocol` ("": any),
 * and the connections that they came on. */
size_t nginx_calls(const struct nginx *f, enum nginx_door door, const char *protocol, size_t *connections);

#endif
