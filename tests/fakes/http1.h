/*
 * http1.h - reading HTTP/1.1 requests: the head, and bodies in chunks (RFC 9112)
 *
 * Purpose  what httpd.c reads, without any I/O, so that a table can test it. Strict: CRLF only, no
 *          folding, no control bytes, one meaning for the length of a body.
 * Owner    the strings of a head point into the bytes that were parsed.
 * Threads  pure.
 * Errors   minus the HTTP status to refuse with: 400, 413, 417, 431, 501, 505.
 * Limits   FAKE_HEAD_MAX, FAKE_BODY_MAX
 */
#ifndef ATALAYA_TESTS_FAKES_HTTP1_H
#define ATALAYA_TESTS_FAKES_HTTP1_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/str.h"

struct http1_head {
    struct str method;
    struct str path;   /* of the target, as sent */
    struct str query;  /* behind the ?, without it */
    struct str fields; /* the header lines, each with its CRLF */
    uint64_t length;   /* of the body, 0 when it comes in chunks */
    bool chunked;
    bool keep_alive;
    bool http10;
    bool expects_continue;
};

/* Bytes of the head with its empty line; 0: more bytes are needed; negative: refuse with that status. */
int http1_parse_head(const char *p, size_t n, struct http1_head *out) NODISCARD;

/* The value of the first field of that name, trimmed; .p is NULL when there is none. */
struct str http1_field(struct str fields, const char *name);

/* Takes a body apart that comes in chunks, in place: the decoded bytes move down to the body's beginning. */
struct http1_chunks {
    enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER } state;
    uint64_t left; /* of the chunk being read */
    size_t body;   /* decoded bytes so far */
    size_t raw;    /* input bytes used so far */
};

/* body[0..n) is all that has come since the head. 1: complete, c->raw input bytes made c->body bytes;
 * 0: more needed; negative: refuse. Between calls only bytes behind n may be added. */
int http1_dechunk(struct http1_chunks *c, char *body, size_t n) NODISCARD;

const char *http1_reason(int status);

#endif
