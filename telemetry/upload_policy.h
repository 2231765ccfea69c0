/*
 * upload_policy.h - what an answer of Langfuse, or of an OTLP backend, means for what was sent
 *
 * Purpose  pure functions, tested by tables. Nothing here loses data that another try could save: only a request
 *          that names one record, refused as malformed in a form in which Langfuse or a collector says so, is given up
 *          at once. What RETRY and HOLD say of a record when they come again and again is upload_answer.c's to judge.
 * Threads  pure.
 * Units    milliseconds.
 * Source   RFC 9110 (Retry-After 10.2.3), Langfuse's status codes: https://api.reference.langfuse.com
 */
#ifndef ATALAYA_TELEMETRY_UPLOAD_POLICY_H
#define ATALAYA_TELEMETRY_UPLOAD_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/str.h"

enum upload_target {
    UPLOAD_TRACES, /* OTLP to Langfuse */
    UPLOAD_BATCH,  /* traces in an ingestion batch */
    UPLOAD_SCORES, /* scores in an ingestion batch */
    UPLOAD_SPANS,  /* OTLP to somebody else */
    UPLOAD_TARGETS,
};

enum upload_action {
    UPLOAD_DONE,    /* taken; a batch: look at each event */
    UPLOAD_RETRY,   /* again, with backoff */
    UPLOAD_HOLD,    /* the configuration or the account is wrong: keep everything, probe slowly */
    UPLOAD_SMALLER, /* too large: halve, then trim */
    UPLOAD_ISOLATE, /* something in it is refused: halve until the record is alone, then give it up */
};

/* status 0: no answer at all. body: the first bytes tell JSON from a web page of somebody else. */
enum upload_action upload_action(enum upload_target target, int status, struct str body);

/* One event of a batch, answered with 207: false = again. */
bool upload_event_is_final(int status);

/* How long the server asks us to wait; -1: no or unreadable header. Capped at UPLOAD_WAIT_MAX_MS. */
int64_t upload_retry_after(struct str value, int64_t wall_us);

int64_t upload_backoff(unsigned attempt, uint32_t random);

#endif
