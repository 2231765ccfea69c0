/*
 * sse_client.h - a client of streamed answers, with its own reading of chunks and events
 *
 * Purpose  a test reads event by event, leaves in the middle, or reads slowly.
 * Owner    sse_close() releases; the strings of an event live until the next sse_next().
 * Threads  one thread per client.
 * Errors   sse_next(): false, and `trouble` says why: NULL (the answer is over as it should be), "timeout", "closed" (in
 *          the middle), "malformed". Nothing here fails a test.
 */
#ifndef ATALAYA_TESTS_SSE_CLIENT_H
#define ATALAYA_TESTS_SSE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"

struct sse_client {
    int fd;
    int status;
    const char *trouble;
    bool chunked, over;
    size_t left;      /* of the chunk that is coming in */
    struct buf head;  /* status line and headers */
    struct buf in;    /* as it came */
    struct buf text;  /* without the chunks' frames */
    struct buf hold;  /* the event */
    const char *name; /* of the event: "message" when it has none; of a comment ":" */
    const char *data;
};

/* Sends the request and reads the head. headers: more lines; "" = none. */
struct sse_client sse_open(uint16_t port, const char *path, const char *headers, const char *json);
bool sse_next(struct sse_client *c); /* comments too */
bool sse_next_named(struct sse_client *c,
                    const char *name);                /* skips comments; false also when it is another one */
void sse_body(struct sse_client *c, struct buf *out); /* all that is left, as it is */
void sse_close(struct sse_client *c);

#endif
