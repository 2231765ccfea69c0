/*
 * httpd.h - a small HTTP/1.1 server for the fakes: holds thousands of answers back, and breaks them on demand
 *
 * Purpose  one thread on a struct loop; keep-alive, pipelining (one request of a connection at a time),
 *          bodies with a length or in chunks, Expect: 100-continue. An answer may come at once, later,
 *          in pieces, slowly, cut off, as raw bytes, or never.
 * Owner    an exchange (one request and its answer) belongs to the server and is reused. It lives from
 *          on_request() to on_done(), which is called exactly once for it. Its strings live as long.
 * Threads  the loop's thread.
 * Errors   httpd_new() NULL and errno. Requests that are no HTTP are answered 4xx or 5xx without
 *          on_request().
 * Limits   FAKE_HEAD_MAX, FAKE_BODY_MAX, FAKE_CONNECTIONS_MAX
 */
#ifndef ATALAYA_TESTS_FAKES_HTTPD_H
#define ATALAYA_TESTS_FAKES_HTTPD_H

#include "common/base/buf.h"
#include "common/proc/loop.h"
#include "tests/fakes/http1.h"

struct httpd;

struct exchange {
    struct http1_head head;
    struct str body;
    int status; /* of the answer, 0 before it */
    struct loop_timer
        timer;    /* the handler's: it sets fn and arg; the server clears it when the exchange ends */
    void *user;   /* the handler's; NULL at the beginning */
    uint64_t tag; /* the handler's; 0 at the beginning */
};

enum httpd_end {
    HTTPD_SENT,   /* the whole answer went to the kernel, or what a cut left of it */
    HTTPD_GONE,   /* the client left first */
    HTTPD_STOPPED /* httpd_free() */
};

struct httpd_handler {
    void (*on_request)(void *arg, struct exchange *x);
    void (*on_done)(void *arg, struct exchange *x, enum httpd_end end); /* must not answer */
    void *arg;
};

/* port 0: any. Raises RLIMIT_NOFILE as far as it may. */
struct httpd *httpd_new(struct loop *l, const char *host, uint16_t port, const struct httpd_handler *handler);
void httpd_free(struct httpd *s);
uint16_t httpd_port(const struct httpd *s);
uint64_t httpd_connections(const struct httpd *s); /* accepted since the start */
size_t httpd_open(const struct httpd *s);          /* open now */

enum http_cut { HTTP_WHOLE, HTTP_CUT_HEAD, HTTP_CUT_BODY };

/* Ways to spoil the answer that follows; call before it. A cut closes in the middle of the head, or of the
 * body. */
void http_cut(struct exchange *x, enum http_cut where);
void http_trickle(struct exchange *x, size_t bytes, int64_t every_ms); /* from here on the answer drips */
void http_close_after(struct exchange *x);                             /* Connection: close */

/* One of these answers the exchange, which may be over (on_done called) when they return.
 * headers: complete lines, each with its CRLF, or "". */
void http_answer(struct exchange *x, int status, const char *content_type, struct str headers,
                 struct str body);
void http_raw(struct exchange *x, struct str bytes); /* these bytes and nothing else, then close */
void http_drop(struct exchange *x);                  /* close at once */

/* Or piece by piece (chunks; a HTTP/1.0 client gets them until the connection closes). */
void http_begin(struct exchange *x, int status, const char *content_type, struct str headers);
bool http_piece(struct exchange *x, struct str bytes); /* false: the client has left, the exchange is over */
void http_end(struct exchange *x);

static inline struct str http_field(const struct exchange *x, const char *name)
{
    return http1_field(x->head.fields, name);
}

#endif
