/*
 * cors.h - which web pages may read our answers
 *
 * Purpose  answers as the CORS middleware of Starlette does, which the Python service uses. Two things differ:
 *          control characters are never echoed (the origin or the headers then count as disallowed), and
 *          with a list of origins every answer says Vary: Origin, so that a shared cache cannot give one
 *          page another's answer.
 *          Our own headers (X-Request-ID, Server-Timing…) are not exposed to pages: the Python service
 *          exposes none, and the ids are in the body.
 * Threads  cors_new() and cors_free(): one; the rest: any.
 * Errors   cors_new(): 0 or -EINVAL, having logged which variable is wrong and why.
 * Limits   CORS_ECHO_MAX for each value that is echoed.
 * Source   https://fetch.spec.whatwg.org/#http-cors-protocol, RFC 6454 (origins)
 */
#ifndef ATALAYA_GATEWAY_CORS_H
#define ATALAYA_GATEWAY_CORS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/buf.h"

struct cors;

/* Lists are separated by commas. A list with "*" allows all. */
struct cors_conf {
    const char *origins; /* CORS_ALLOW_ORIGINS: scheme://host[:port] as browsers send it; "none" = nobody */
    const char *methods; /* CORS_ALLOW_METHODS */
    const char *headers; /* CORS_ALLOW_HEADERS */
    bool credentials;    /* CORS_ALLOW_CREDENTIALS */
    int64_t max_age_s;   /* CORS_MAX_AGE */
};

/* Of one request; NULL = it has no such header, "" = it has one that is empty. */
struct cors_question {
    const char *method;
    const char *origin;        /* Origin */
    const char *asked_method;  /* Access-Control-Request-Method */
    const char *asked_headers; /* Access-Control-Request-Headers */
    bool has_cookie;
};

int cors_new(struct cors **out, const struct cors_conf *conf) NODISCARD;
void cors_free(struct cors *c);

/* Answered with cors_preflight() on any path, before routing. */
bool cors_is_preflight(const struct cors_question *q);

#define CORS_TEXT_SIZE 48

/* Returns the status, 200 or 400; text becomes the body, text/plain. headers gets complete lines. */
int cors_preflight(const struct cors *c, const struct cors_question *q, struct buf *headers,
                   char text[CORS_TEXT_SIZE]);

/* The lines of every other answer. */
void cors_headers(const struct cors *c, const struct cors_question *q, struct buf *headers);

#endif
