/*
 * upstream.h - HTTP calls to the provider: libcurl inside our loop
 *
 * Purpose  the only file that includes curl.h. Thousands of calls at once on one thread.
 * How      libcurl looks for a reusable connection by walking all connections of a multi handle, so the
 *          handles are spread over many multis of at most UPSTREAM_SHARD each, an easy handle bound to
 *          its multi for life, and reused last in, first out (performance.md 4).
 * Owner    the body given to upstream_start() is borrowed until the call ends. The result and its body
 *          are borrowed by `done` until it returns. upstream_cancel() ends a call without calling
 *          `done`.
 * Threads  the loop's thread.
 * Units    milliseconds. Four limits, each its own outcome: for the connection, for silence until the first byte of the
 *          answer (connection included), for silence between bytes, for the whole call. A provider that accepts and
 *          stays silent gives its place back.
 * Limits   ANSWER_MAX for an answer's body.
 */
#ifndef ATALAYA_LLM_WORKER_UPSTREAM_H
#define ATALAYA_LLM_WORKER_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/str.h"
#include "common/proc/loop.h"
#include "llm-worker/pacing.h"
#include "llm-worker/retry.h"
#include "llm-worker/roster.h"

struct upstream;
struct call;

struct call_result {
    enum outcome outcome; /* OUTCOME_OK: status 200 and a complete body */
    int status;           /* 0 = no answer */
    struct str body;
    struct str request_id; /* the provider's x-request-id; absent headers are empty */
    struct quota_headers requests, tokens;
    struct str should_retry, retry_after_ms, retry_after, date; /* of errors */
    const char *trouble; /* what libcurl says of a call without an answer; NULL */
};

struct upstream_conf {
    const struct target *target;
    int64_t connect_timeout_ms;
    int64_t first_byte_timeout_ms;
    int64_t stall_timeout_ms;
    int64_t call_timeout_ms;
};

struct upstream *upstream_new(struct loop *l, const struct upstream_conf *c);
void upstream_free(struct upstream *u); /* ends what is running, without calling `done` */

/* left_ms: until the question's deadline, should that come before the call's own. */
struct call *upstream_start(struct upstream *u, struct str body, int64_t left_ms,
                            void (*done)(void *arg, const struct call_result *r), void *arg);
void upstream_cancel(struct call *c);

#endif
