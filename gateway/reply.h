/*
 * reply.h - an HTTP answer as bytes
 *
 * Purpose  status line, headers and body in one piece, so that one send(2) carries it.
 * Threads  any
 * Source   RFC 9110, RFC 9112
 */
#ifndef ATALAYA_GATEWAY_REPLY_H
#define ATALAYA_GATEWAY_REPLY_H

#include <stdbool.h>

#include "common/base/buf.h"

#define REPLY_JSON "application/json"
#define REPLY_TEXT "text/plain; charset=utf-8"

struct reply {
    int status;
    const char *type; /* NULL = REPLY_JSON; "" = none */
    struct str body;
    struct str headers; /* more of them, each line ended by CRLF; may be empty */
    const char *allow;  /* for 405; NULL */
    int retry_after;    /* seconds; 0 = no header */
};

enum reply_connection {
    REPLY_KEEP,
    REPLY_KEEP_1_0, /* kept open for an HTTP/1.0 client, which wants to be told */
    REPLY_CLOSE,
};

/* head_only: HEAD's answer, all headers and no body. */
void reply_render(struct buf *out, const struct reply *r, bool head_only, enum reply_connection connection);

/* The head of an answer in pieces: chunked, or ending with the connection. */
void reply_render_head(struct buf *out, const struct reply *r, bool chunked,
                       enum reply_connection connection);
void reply_render_chunk(struct buf *out, struct str piece); /* an empty one is the last */

/* {"detail":"…"} in the words of the API. The body is borrowed from `hold`. */
struct reply reply_detail(struct buf *hold, int status, const char *detail);

#endif
