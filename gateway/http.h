/*
 * http.h - the HTTP server: civetweb's threads, and answers that come later from another thread
 *
 * Purpose  the only file that includes civetweb.h. A handler is called on the thread of its connection and
 *          either answers at once (http_answer) or takes a promise (http_later) that the I/O thread keeps
 *          (http_send). With a promise the thread goes back to reading its connection: it costs no wake-up
 *          when the answer comes, and it sees at once when the client leaves.
 *
 * How      what civetweb reads goes through intake.h; what it would write is written by sender.h. On connections that
 *          end with this answer (HTTP/1.0, Connection: close) the thread waits until the I/O thread has sent it.
 *          docs/decisions/0003 and 0013 say what was measured and why.
 *
 * Owner    everything in struct http_request is borrowed until the handler returns. A promise is consumed by
 *          http_send() or http_stream_begin(), a stream by http_stream_end(): exactly one call for each.
 * Threads  handler, http_body(), http_answer(), http_later(), the `refused` callback: the connection's thread.
 *          http_send(), http_stream_*() and `taken`: the loop's thread. The `gone` callback: either, with the
 *          connection locked; it must not call into this file.
 * Errors   http_start(): 0 or -errno, having logged why. What is no request is answered here, in the API's form: 400,
 *          408, 413, 414, 417, 431, 501, 505, each with a `detail`, and the connection ends.
 * Limits   framing.h; slow_ms, HTTP_WRITING_MS and HTTP_STREAM_MAX for a client that does not read; HTTP_LINGER_MS for
 *          one that does not stop.
 * Source   RFC 9110, RFC 9112
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
struct http_stream;

struct http_request {
    struct str method;
    struct str path;   /* percent-decoded, without the query */
    const char *query; /* as it came, without ?; NULL: there is none */
    const char *peer;  /* its address, as text */
    int64_t start_us;  /* clock_us() when the head had been read */
    void *hold;
};

typedef void http_handler(void *arg, struct http_request *q);
/* A request that never reached the handler has been answered with `status`. */
typedef void http_refused(void *arg, int status, const char *why, const char *peer);

struct http_conf {
    const char *host;
    int port;
    int threads;           /* connections served at once */
    int64_t request_ms;    /* how long an answer may take to come */
    int64_t head_ms;       /* for a request's head, from its first byte */
    int64_t body_ms;       /* for its body, from the end of its head */
    int64_t keep_alive_ms; /* without a request */
    int64_t slow_ms;       /* without a byte of its answer taken */
    http_handler *handler;
    http_refused *refused;
    void *arg;
};

int http_start(struct http **out, struct loop *l, const struct http_conf *c) NODISCARD;
/* No thread of civetweb runs any more. Promises are still to be kept, streams to be ended; their clients have gone. */
void http_stop(struct http *h);
void http_free(struct http *h); /* every promise must have been kept, every stream ended */

/* Calls fn on the loop's thread when every answer is out, those of slow readers too. */
void http_when_quiet(struct http *h, void (*fn)(void *arg), void *arg);

const char *http_field(const struct http_request *q,
                       const char *name); /* the first; NULL when it is not there */
const char *http_field_once(const struct http_request *q,
                            const char *name); /* NULL also when there are several */
void http_field_list(const struct http_request *q, const char *name,
                     struct buf *out); /* all, joined by commas */

/* Reads the body, and asks for it first where the client waits to be asked. 0, or a status: 413 when it has more than
 * `max` bytes, 408 or 400 when it does not come as announced; then *why says so, and the connection ends with the
 * answer. */
int http_body(struct http_request *q, size_t max, struct str *body, const char **why) NODISCARD;

void http_answer(struct http_request *q, const struct reply *r);
/* `gone` is called once if the client leaves, or is cut off, before the promise is kept or its stream ended. */
struct http_promise *http_later(struct http_request *q, void (*gone)(void *arg), void *arg);

enum http_sent {
    HTTP_SENT,
    HTTP_GONE,   /* the client had left: `gone` has been called */
    HTTP_BROKEN, /* it left just now: `gone` is not called any more */
};

enum http_sent http_send(struct http_promise *p, const struct reply *r);

/* An answer in pieces: chunked, for HTTP/1.0 until the connection ends. The head goes out at once, r->body (which may be
 * empty) with it; what is put later, at the end of the loop's turn. HTTP_GONE: *out is NULL; never HTTP_BROKEN. */
enum http_sent http_stream_begin(struct http_stream **out, struct http_promise *p, const struct reply *r,
                                 void (*taken)(void *arg), void *arg) NODISCARD;

enum http_room {
    HTTP_ROOM,
    HTTP_FULL, /* more than HTTP_STREAM_HIGH bytes wait for the client: `taken` is called once when fewer than
                  HTTP_STREAM_LOW do, unless the stream is lost or ended before. What is put meanwhile is kept,
                  but a piece that finds more than HTTP_STREAM_MAX waiting gets the client cut off. */
    HTTP_LOST, /* nothing goes out any more: `gone` has been called */
};

/* An empty piece only asks. A client that has just left may show with a later piece, or by `gone` alone. */
enum http_room http_stream_put(struct http_stream *s, struct str piece);

/* whole: ends the answer; what still waits for a slow client goes out afterwards. Otherwise the connection is cut, so that
 * the client does not take what it has for all: what it has not taken by then is lost. */
enum http_sent http_stream_end(struct http_stream *s, bool whole);

#endif
