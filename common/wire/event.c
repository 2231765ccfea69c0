#include "common/wire/event.h"

#include "common/base/limits.h"

#define ROW(k, kind_of, member, limit)                                                                       \
    {                                                                                                        \
        .key = (k), .type = (kind_of), .offset = offsetof(struct event, member), .max = (limit),             \
        .name = #member                                                                                      \
    }
#define ATTEMPT(k, kind_of, member, limit)                                                                   \
    {                                                                                                        \
        .key = (k), .type = (kind_of), .offset = offsetof(struct event_attempt, member), .max = (limit),     \
        .name = #member                                                                                      \
    }

/* Keys are the wire: never reuse one. Keys below 128 take one byte. */
static const struct field attempt_rows[] = {
    ATTEMPT(1, FIELD_I64, start_us, 0),
    ATTEMPT(2, FIELD_I64, duration_us, 0),
    ATTEMPT(3, FIELD_I64, wait_us, 0),
    ATTEMPT(4, FIELD_U64, status, 0),
    ATTEMPT(5, FIELD_STR, outcome, 32),
    ATTEMPT(6, FIELD_STR, upstream_id, 128),
    ATTEMPT(7, FIELD_STR, code, 64),
    ATTEMPT(8, FIELD_STR, upstream, 64),
    ATTEMPT(9, FIELD_BOOL, hedge, 0),
    ATTEMPT(10, FIELD_STR, model, 256),
    ATTEMPT(11, FIELD_U64, prompt_tokens, 0),
    ATTEMPT(12, FIELD_U64, completion_tokens, 0),
    ATTEMPT(13, FIELD_BOOL, usage_estimated, 0),
    ATTEMPT(14, FIELD_BOOL, has_cost, 0),
    ATTEMPT(15, FIELD_F64, cost_usd, 0),
};

const struct fields event_attempt_fields = {attempt_rows, ARRAY_LEN(attempt_rows),
                                            sizeof(struct event_attempt)};

#define UPSTREAM(k, kind_of, member, limit_of)                                                               \
    {                                                                                                        \
        .key = (k), .type = (kind_of), .offset = offsetof(struct event_upstream, member), .max = (limit_of), \
        .name = #member                                                                                      \
    }

static const struct field upstream_rows[] = {
    UPSTREAM(1, FIELD_STR, name, 64),     UPSTREAM(2, FIELD_U64, state, 0),
    UPSTREAM(3, FIELD_U64, in_flight, 0), UPSTREAM(4, FIELD_U64, limit, 0),
    UPSTREAM(5, FIELD_STR, model, 256),   UPSTREAM(6, FIELD_BOOL, refused, 0),
};

const struct fields event_upstream_fields = {upstream_rows, ARRAY_LEN(upstream_rows),
                                             sizeof(struct event_upstream)};

static const struct field rows[] = {
    ROW(1, FIELD_U64, kind, 0),
    ROW(2, FIELD_U64, epoch, 0),
    ROW(3, FIELD_U64, seq, 0),
    ROW(4, FIELD_U64, base, 0),
    ROW(5, FIELD_STR, process, 32),
    ROW(6, FIELD_U64, pid, 0),
    ROW(7, FIELD_BOOL, langfuse_enabled, 0),
    ROW(8, FIELD_U64, id, 0),
    ROW(9, FIELD_STR, text, 8 * MIB),
    ROW(10, FIELD_U64, gauges.in_progress, 0),
    ROW(11, FIELD_U64, format, 0),
    {.key = 12,
     .type = FIELD_LIST,
     .offset = offsetof(struct event, upstreams),
     .max = UPSTREAMS_MAX,
     .sub = &event_upstream_fields,
     .name = "upstreams"},
    ROW(13, FIELD_U64, count, 0),
    ROW(20, FIELD_STR, endpoint, 64),
    ROW(21, FIELD_STR, method, 16),
    ROW(22, FIELD_U64, status, 0),
    ROW(23, FIELD_I64, start_us, 0),
    ROW(24, FIELD_I64, duration_us, 0),
    ROW(25, FIELD_STR, request_id, 128),
    ROW(30, FIELD_STR, trace_id, 32),
    ROW(31, FIELD_STR, generation_id, 16),
    ROW(32, FIELD_STR, parent_id, 16),
    ROW(33, FIELD_STR, user_id, REQUEST_BODY_MAX),
    ROW(34, FIELD_STR, question, REQUEST_BODY_MAX),
    ROW(35, FIELD_STR, answer, ANSWER_MAX),
    ROW(36, FIELD_STR, model, 256),
    ROW(37, FIELD_STR, error, 64),
    ROW(38, FIELD_STR, error_text, 1024),
    ROW(39, FIELD_BOOL, truncated, 0),
    ROW(40, FIELD_BOOL, has_usage, 0),
    ROW(41, FIELD_U64, prompt_tokens, 0),
    ROW(42, FIELD_U64, completion_tokens, 0),
    ROW(43, FIELD_U64, total_tokens, 0),
    ROW(44, FIELD_BOOL, has_scores, 0),
    ROW(45, FIELD_F64, non_empty_answer, 0),
    ROW(46, FIELD_F64, toxicity_safe, 0),
    ROW(47, FIELD_I64, queue_us, 0),
    ROW(48, FIELD_I64, worker_us, 0),
    ROW(49, FIELD_U64, dispatches, 0),
    {.key = 50,
     .type = FIELD_LIST,
     .offset = offsetof(struct event, attempts),
     .max = WIRE_ATTEMPTS_MAX,
     .sub = &event_attempt_fields,
     .name = "attempts"},
    ROW(56, FIELD_U64, cached_tokens, 0),
    ROW(57, FIELD_U64, reasoning_tokens, 0),
    ROW(58, FIELD_BOOL, has_cost, 0),
    ROW(59, FIELD_F64, cost_usd, 0),
    ROW(60, FIELD_STR, score_id, FEEDBACK_ID_MAX),
    ROW(61, FIELD_STR, score_name, FEEDBACK_NAME_MAX),
    ROW(62, FIELD_STR, score_type, 16),
    ROW(63, FIELD_F64, score_value, 0),
    ROW(64, FIELD_STR, score_text, FEEDBACK_TEXT_MAX),
    ROW(65, FIELD_STR, comment, FEEDBACK_COMMENT_MAX),
    ROW(66, FIELD_I64, first_token_us, 0),
    ROW(67, FIELD_BOOL, usage_estimated, 0),
    ROW(68, FIELD_BOOL, stream, 0),
    ROW(69, FIELD_BOOL, chat, 0),
    ROW(70, FIELD_STR, cache, 16),
    ROW(71, FIELD_STR, session_id, SESSION_ID_MAX),
    ROW(72, FIELD_STR, tags, TAGS_MAX),
    ROW(73, FIELD_STR, metadata, METADATA_MAX),
    ROW(80, FIELD_STR, change, 16),
    ROW(81, FIELD_U64, gauges.queued, 0),
    ROW(82, FIELD_I64, gauges.queue_age_us, 0),
    ROW(83, FIELD_U64, gauges.workers[WORKER_IDLE], 0),
    ROW(84, FIELD_U64, gauges.workers[WORKER_BUSY], 0),
    ROW(85, FIELD_U64, gauges.workers[WORKER_FULL], 0),
    ROW(86, FIELD_U64, gauges.workers[WORKER_DOWN], 0),
    ROW(87, FIELD_U64, gauges.workers[WORKER_LEAVING], 0),
};

const struct fields event_fields = {rows, ARRAY_LEN(rows), sizeof(struct event)};
