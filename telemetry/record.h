/*
 * record.h - what telemetry keeps: a row of the spool, for Langfuse a trace or a client's score of one
 *
 * Purpose  the spool stores it, the encoders read it. A score of a client is a record whose trace is somebody else's
 *          and has been sent, as it were: what is left to do is what is left of a question whose trace has gone.
 * Promise  record_of_event() makes every text valid UTF-8 without NUL bytes: one bad span makes Langfuse
 *          refuse a whole export.
 * Owner    every text is borrowed: from the event or its scratch buffer (until the scratch is used again),
 *          or from the spool (until its next step).
 * Threads  pure.
 * Units    *_us wall times since 1970 or durations.
 */
#ifndef ATALAYA_TELEMETRY_RECORD_H
#define ATALAYA_TELEMETRY_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/wire/event.h"

/* What has been done about a record; each destination has its own. */
enum record_stage {
    RECORD_NEW,
    RECORD_TRACE_SENT = 1,  /* Langfuse has the trace */
    RECORD_SCORES_SENT = 2, /* and its scores */
    RECORD_EXPORTED = 4,    /* the OTLP backend has it */
    RECORD_IN_LANGFUSE = RECORD_TRACE_SENT | RECORD_SCORES_SENT,
    RECORD_EVERYWHERE = RECORD_IN_LANGFUSE | RECORD_EXPORTED,
};

struct record {
    int64_t seq; /* given by the spool */
    int64_t stage;
    int64_t bytes; /* what the row counts for against SPOOL_MAX_BYTES */

    struct str request_id, trace_id, generation_id, parent_id;
    struct str user_id, question, answer, model;
    struct str session_id, tags, metadata, cache; /* as in struct event */
    bool chat, stream;
    struct str error, error_text;
    int64_t status;
    bool truncated;

    int64_t start_us;
    int64_t duration_us, queue_us, worker_us;
    int64_t dispatches;
    int64_t tries;       /* how many attempts there were */
    struct str attempts; /* JSON array of objects with the members of struct event_attempt */

    bool has_usage, has_cost, has_scores;
    int64_t prompt_tokens, completion_tokens, total_tokens;
    int64_t cached_tokens, reasoning_tokens; /* of prompt_tokens, of completion_tokens */
    bool usage_estimated;
    double cost_usd;
    int64_t first_token_us; /* 0: not a stream, or nothing came */
    double non_empty_answer, toxicity_safe;

    struct str score_id, score_name, score_type, score_text, comment; /* of feedback only */
    double score_value;
};

/* scratch has a max of RECORD_BYTES_MAX. */
void record_of_event(struct record *r, const struct event *e, struct buf *scratch);

/* Sets `bytes` anew: after texts have changed. */
void record_measure(struct record *r);

/* An event without well-formed ids is counted, but it cannot become a trace or a score. */
bool record_wanted(const struct event *e);

bool record_is_feedback(const struct record *r);
bool record_failed(const struct record *r);

#endif
