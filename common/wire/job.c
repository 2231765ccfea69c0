#include "common/wire/job.h"

#include "common/base/limits.h"

#define ROW(k, kind_of, member, limit)                                                                       \
    {                                                                                                        \
        .key = (k), .type = (kind_of), .offset = offsetof(struct job, member), .max = (limit),               \
        .name = #member                                                                                      \
    }

/* Keys are the wire: never reuse one. Keys below 128 take one byte. */
static const struct field rows[] = {
    ROW(1, FIELD_U64, kind, 0),
    ROW(2, FIELD_U64, id, 0),
    ROW(3, FIELD_STR, worker, 64),
    ROW(4, FIELD_U64, pid, 0),
    ROW(5, FIELD_U64, slots, 0),
    ROW(6, FIELD_BOOL, configured, 0),
    ROW(7, FIELD_U64, epoch, 0),
    ROW(8, FIELD_BOOL, down, 0),
    ROW(9, FIELD_U64, workers, 0),
    ROW(10, FIELD_I64, budget_ms, 0),
    ROW(11, FIELD_STR, request_id, 128),
    ROW(12, FIELD_STR, question, QUESTION_MAX),
    ROW(13, FIELD_BOOL, has_max_words, 0),
    ROW(14, FIELD_I64, max_words, 0),
    {.key = 15,
     .type = FIELD_LIST,
     .offset = offsetof(struct job, upstreams),
     .max = UPSTREAMS_MAX,
     .sub = &event_upstream_fields,
     .name = "upstreams"},
    ROW(16, FIELD_BOOL, stream, 0),
    ROW(17, FIELD_STR, request, CHAT_BODY_MAX),
    ROW(20, FIELD_STR, answer, ANSWER_MAX),
    ROW(21, FIELD_BOOL, truncated, 0),
    ROW(22, FIELD_STR, model, 256),
    ROW(23, FIELD_STR, error, 64),
    ROW(24, FIELD_STR, error_text, 1024),
    ROW(25, FIELD_U64, prompt_tokens, 0),
    ROW(26, FIELD_U64, completion_tokens, 0),
    ROW(27, FIELD_U64, total_tokens, 0),
    ROW(28, FIELD_BOOL, has_usage, 0),
    ROW(29, FIELD_F64, non_empty_answer, 0),
    ROW(30, FIELD_F64, toxicity_safe, 0),
    ROW(31, FIELD_I64, worker_us, 0),
    {.key = 32,
     .type = FIELD_LIST,
     .offset = offsetof(struct job, attempts),
     .max = WIRE_ATTEMPTS_MAX,
     .sub = &event_attempt_fields,
     .name = "attempts"},
    ROW(50, FIELD_U64, cached_tokens, 0),
    ROW(51, FIELD_U64, reasoning_tokens, 0),
    ROW(52, FIELD_BOOL, has_cost, 0),
    ROW(53, FIELD_F64, cost_usd, 0),
    ROW(54, FIELD_BOOL, usage_estimated, 0),
    ROW(55, FIELD_STR, bytes, ANSWER_MAX),
    ROW(56, FIELD_U64, status, 0),
    ROW(57, FIELD_STR, body, ANSWER_MAX),
    ROW(58, FIELD_I64, retry_after_ms, 0),
};

const struct fields job_fields = {rows, ARRAY_LEN(rows), sizeof(struct job)};
