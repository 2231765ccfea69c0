/*
 * upstream.h - HTTP calls to the provider: libcurl inside our loop
 *
 * Purpose  the only file that includes curl.h. Thousands of calls at once on one thread.
 * How      libcurl looks for a reusable connection by walking all connections of a multi handle, so the
 *          handles are spread over many multis of at most UPSTREAM_SHARD each, an easy handle bound to
 *          its multi while that lives, and reused last in, first out (performance.md 4). Answers that come whole share
 *          connections by HTTP/2, streams have their own (docs/decisions/0023-http2.md).
 * Owner    the body of an order is borrowed until the call ends, the rest of it is copied. The result and its body
 *          are borrowed by `done` until it returns, pieces by `piece`. upstream_cancel() ends a call without calling
 *          `done`; not from inside `piece`, whose false does that.
 * Threads  the loop's thread.
 * Units    milliseconds. Four limits, each its own outcome: for the connection, for silence until the first byte of the
 *          answer (connection included; of a stream, whose head comes before the model has begun to think, of its
 *          body), for silence between bytes, for the whole call. A provider that accepts and stays silent gives its
 *          place back.
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
    enum outcome outcome;  /* OUTCOME_OK: status 200 and a complete body, or `piece` has had enough */
    int status;            /* 0 = no answer */
    struct str body;       /* empty when it was given away in pieces */
    struct str request_id; /* the provider's x-request-id; absent headers are empty */
    struct quota_headers requests, tokens;
    struct str should_retry, retry_after_ms, retry_after, date; /* of errors */
    const char *trouble; /* what libcurl says of a call without an answer, and what to do; NULL */
};

struct upstream_conf {
    const struct target *target;
    const char *ca_file; /* whom it is verified by; empty: the system's authorities */
    int64_t connect_timeout_ms;
    int64_t first_byte_timeout_ms;
    int64_t stall_timeout_ms;
    int64_t call_timeout_ms;
};

struct upstream *upstream_new(struct loop *l, const struct upstream_conf *c);
void upstream_free(struct upstream *u); /* ends what is running, without calling `done` */

struct call_order {
    struct str body;
    int64_t left_ms; /* until the question's deadline, should that come before the call's own */
    /* An event stream is asked for: what comes of it, as it comes; false: enough. Anything else that is 200 is
     * OUTCOME_GARBAGE. NULL: an answer in one piece. */
    bool (*piece)(void *arg, struct str bytes);
    void (*done)(void *arg, const struct call_result *r);
    void *arg;
};

struct call *upstream_start(struct upstream *u, const struct call_order *o);
void upstream_cancel(struct call *c);

/* Enough of it, though the provider has not closed: calls `done`, as if it had. */
void upstream_finish(struct call *c);

/* Nothing more of the answer, nor the end of one that is wanted whole, until it is called with false; pieces may come
 * before that returns. A call that pauses is not silent. */
void upstream_pause(struct call *c, bool pause);

#endif
