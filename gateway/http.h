/*
 * http.h - the HTTP server: civetweb's threads, and answers that come later from another thread
 *
 * Purpose  the only file that includes civetweb.h. A handler is called on the thread of its connection and
 *          either answers at once (http_answer) or takes a promise (http_later) that the I/O thread keeps
 *          (http_send). With a promise the thread goes back to reading its connection: it costs no wake-up
 *          when the answer comes, and it sees at once when the client leaves.
 *
 * How      civetweb gives no access to a connection's descriptor. This file defines recv(), which
 *          civetweb's library calls, and remembers the descriptor of the last call on each thread. Where
 *          that did not work, and on connections that end with this answer (HTTP/1.0, Connection: close),
 *          the thread waits for the promise instead and writes the answer itself. docs/decisions/0003 says
 *          what was measured.
 *
 * Owner    everything in struct http_request is borrowed until the handler returns. A promise is consumed
 *          by http_send(), which must be called exactly once for each.
 * Threads  handler, http_answer(), http_later(): the connection's thread. http_send(): the loop's thread.
 *          The `gone` callback: the connection's thread, with the connection locked; it must not call into
 *          this file.
 * Errors   http_start(): 0 or -errno, having logged why.
 * Limits   REQUEST_BODY_MAX (413), HTTP_HEADERS_MAX (400 from civetweb), HTTP_SLOW_MS for a client that
 *          does not read.
 */
#ifndef ATALAYA_GATEWAY_HTTP_H
#define ATALAYA_GATEWAY_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/str.h"
#include "common/proc/loop.h"
#include "gateway/reply.h"

struct http;
struct http_promise;

struct http_request {
    struct str method;
    struct str path; /* percent-decoded, without the query */
    struct str body;
    bool body_too_large; /* body is empty then */
    int64_t start_us;    /* clock_us() when the head had been read */
    void *hold;
};

struct http_conf {
    const char *host;
    int port;
    int threads;       /* connections served at once */
    int keep_alive_ms; /* also bounds how long an answer may take to come */
};

typedef void http_handler(void *arg, struct http_request *q);

int http_start(struct http **out, struct loop *l, const struct http_conf *c, http_handler *handler,
               void *arg) NODISCARD;
void http_stop(struct http *h); /* every promise must have been kept */

const char *http_header(const struct http_request *q, const char *name); /* NULL when it is not there */
void http_answer(struct http_request *q, const struct reply *r);
struct http_promise *http_later(struct http_request *q, void (*gone)(void *arg), void *arg);

/* Returns false when the client had gone: then `gone` has been called, or is never called afterwards in any
 * case. */
bool http_send(struct http_promise *p, const struct reply *r);

#endif
