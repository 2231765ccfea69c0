/*
 * correlation.h - ids that a client brings along, and where the time went
 *
 * Purpose  a request keeps the name and the trace that its caller has given it. What is not exactly as the
 *          specification wants it counts as absent; then the caller makes new ids (common/base/id.h).
 * Threads  pure.
 * Limits   REQUEST_ID_MAX
 * Source   https://www.w3.org/TR/trace-context/ https://www.w3.org/TR/server-timing/
 */
#ifndef ATALAYA_GATEWAY_CORRELATION_H
#define ATALAYA_GATEWAY_CORRELATION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/id.h"

/* 1 to REQUEST_ID_MAX of A-Z a-z 0-9 and . _ : / + = @ - : nothing that needs quoting in a header, in JSON or
 * in a log, and enough for UUIDs, ULIDs, base64 and addresses. NULL is not sane. */
bool request_id_is_sane(const char *s);

enum { TRACE_SAMPLED = 0x01, TRACE_RANDOM = 0x02 };

struct traceparent {
    char trace_id[ID_TRACE_SIZE];
    char parent_id[ID_SPAN_SIZE]; /* the caller's span */
    uint8_t flags;                /* only the two above */
};

#define TRACEPARENT_SIZE 56

/* NULL is no traceparent. Two such headers in one request are none either: pass NULL then. */
bool traceparent_parse(const char *header, struct traceparent *out);
void traceparent_write(char out[TRACEPARENT_SIZE], const char *trace_id, const char *span_id, uint8_t flags);

/* Microseconds; below 0: does not apply. */
struct timing {
    int64_t queue_us;    /* waited for a worker */
    int64_t worker_us;   /* from the job sent to its answer */
    int64_t upstream_us; /* of that, waited for the provider */
    int64_t total_us;
};

/* The line "Server-Timing: queue;dur=0.2, …\r\n", in milliseconds; nothing when nothing applies. */
void server_timing_write(struct buf *out, const struct timing *t);

#endif
