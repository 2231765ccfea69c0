/*
 * reply.h - an HTTP answer as bytes
 *
 * Purpose  status line, headers and body in one piece, so that one send(2) carries it.
 * Source   RFC 9110, RFC 9112
 */
#ifndef ATALAYA_GATEWAY_REPLY_H
#define ATALAYA_GATEWAY_REPLY_H

#include <stdbool.h>

#include "common/base/buf.h"

#define REPLY_JSON "application/json"

struct reply {
    int status;
    const char *type; /* NULL = REPLY_JSON */
    struct str body;
    struct str request_id; /* X-Request-ID; may be empty */
    const char *allow;     /* for 405; NULL */
    int retry_after;       /* seconds; 0 = no header */
};

/* head_only: HEAD's answer, all headers and no body. close: says that the connection ends. */
void reply_render(struct buf *out, const struct reply *r, bool head_only, bool close);

/* {"detail":"…"} in the words of the API. The body is borrowed from `hold`. */
struct reply reply_detail(struct buf *hold, int status, const char *detail);

#endif
