/*
 * http_client.h - a client that hides nothing: no retry, no redirect, one connection
 *
 * Purpose  the tests must see what a client sees, a reset connection included; a library that quietly
 *          asks again would make two answers look like one.
 * Owner    http_reply_free() and http_close() release; both accept a zeroed struct.
 * Threads  one thread per client.
 * Errors   a reply with status 0 and `trouble` says why there is no answer. Nothing here fails a test.
 * Limits   HTTP_REPLY_MAX
 */
#ifndef ATALAYA_TESTS_HTTP_CLIENT_H
#define ATALAYA_TESTS_HTTP_CLIENT_H

#include <stdint.h>

#include "common/base/buf.h"

#define HTTP_REPLY_MAX (64u * 1024 * 1024)

struct http_client {
    uint16_t port;       /* on 127.0.0.1 */
    int64_t timeout_ms;  /* for a whole exchange; 0 = 30 s */
    const char *headers; /* more request lines, each ended by CRLF; NULL = none */
    bool bare;           /* no Content-Type but that of `headers` */
    int fd;              /* kept open between exchanges; http_open() sets -1 */
};

struct http_reply {
    int status;          /* 0: no whole answer came */
    const char *trouble; /* then: "connect", "send", "timeout", "closed", "malformed" */
    struct buf head;     /* status line and headers, without the empty line */
    struct buf body;
};

struct http_client http_open(uint16_t port);
void http_close(struct http_client *c);

/* body NULL: none. A body goes as application/json unless `headers` names a Content-Type or the client is bare. */
void http_call(struct http_client *c, const char *method, const char *path, struct str body,
               struct http_reply *out);
void http_reply_free(struct http_reply *r);

/* The value of a response header in out; false when it is not there. */
bool http_header(const struct http_reply *r, const char *name, char *out, size_t size);

#endif
