/*
 * sse.h - reading a stream of server-sent events, in whatever pieces it comes
 *
 * Purpose  bytes in, events out. What comes out does not depend on where the pieces were cut. Lines end in LF, CR or
 *          CRLF; `id` and `retry` are for clients that connect again, which we never do, and are left out like comments.
 * Owner    the struct is the caller's, sse_free() releases what it holds. The strings of a callback are borrowed until it
 *          returns; one byte behind the data may be read. The callback must leave the struct alone.
 * Threads  one stream, one thread.
 * Errors   SSE_TOO_LARGE: a line, or the data and the name of an event together, have more than max_event bytes. It and
 *          SSE_STOPPED stay until sse_reset(): what comes after is thrown away.
 * Units    bytes. They are not decoded: what is no UTF-8 is passed on as it is.
 * Limits   holds no more than twice max_event: SSE_EVENT_MAX
 * Source   https://html.spec.whatwg.org/multipage/server-sent-events.html (9.2.5, 9.2.6)
 */
#ifndef ATALAYA_LLM_WORKER_SSE_H
#define ATALAYA_LLM_WORKER_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/attr.h"
#include "common/base/buf.h"

enum sse_result { SSE_OK, SSE_STOPPED, SSE_TOO_LARGE };

struct sse {
    size_t max_event;
    enum sse_result result;
    bool begun;    /* a line has ended: a byte order mark is none any more */
    bool after_cr; /* a LF that comes now belongs to the line before */
    bool has_data; /* `data` counts, though it may be empty */
    struct str
        data; /* of the event that is coming in, like the next one: in the piece, in `line` or in hold */
    struct str event;   /* its name */
    struct buf line;    /* a line that was cut */
    struct buf hold[2]; /* data, name */
};

/* An event: its name, empty for "message", and its data. False: no more of them. */
typedef bool sse_fn(void *arg, struct str event, struct str data);

void sse_init(struct sse *s, size_t max_event);
void sse_reset(struct sse *s); /* for another stream; memory is kept */
void sse_free(struct sse *s);  /* also of a zeroed struct */

/* An event is passed on when the empty line behind it has come; one that the end of the stream cuts off never is. */
enum sse_result sse_feed(struct sse *s, struct str bytes, sse_fn *fn, void *arg) NODISCARD;

#endif
