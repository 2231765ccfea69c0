/*
 * trace.h - what every form of a trace has in common: names, attempts, the words for a failure
 *
 * Purpose  the encoders (langfuse_otlp.h, langfuse_batch.h, genai_otlp.h) say the same of a record, each in its own
 *          words. A question is one generation; each attempt is a span below it when there was more than one, or a
 *          generation if it has used something of its own, like the loser of a hedge.
 * Promise  P3: ids depend on the record alone, so what is sent again is merged with the first.
 * Owner    texts are the record's or constant; trace_close() releases those of attempts.
 * Threads  pure.
 */
#ifndef ATALAYA_TELEMETRY_TRACE_H
#define ATALAYA_TELEMETRY_TRACE_H

#include "common/base/id.h"
#include "common/base/limits.h"
#include "telemetry/record.h"
#include "telemetry/usage.h"

#define TRACE_GENERATION_NAME "openai_chat_completion"
#define TRACE_ATTEMPT_NAME    "openai_attempt"
#define TRACE_PARAMETERS      "{\"temperature\":0.2}" /* of our own prompt */
#define TRACE_PROMPT          "qa_enhanced_v1"

/* What is said of all records; "" and 0 = nothing. Kept by the encoders, not copied. */
struct trace_conf {
    const char *environment, *release, *version;
    const char *prompt_name; /* of a prompt in Langfuse */
    int64_t prompt_version;
};

struct trace {
    const struct record *record;
    bool own_prompt;     /* the question went into our prompt; a chat completion brings its own */
    struct str upstream; /* who was asked last; empty when nobody was */
    size_t n;            /* attempts to show: none when there was one only */
    struct event_attempt attempts[WIRE_ATTEMPTS_MAX];
    void *hold;
};

void trace_open(struct trace *t, const struct record *r);
void trace_close(struct trace *t);

const char *trace_name(const struct trace *t);
const char *trace_reason(const struct trace *t); /* why it failed, for people */
struct usage trace_usage(const struct record *r);
void trace_attempt_id(char out[ID_SPAN_SIZE], const struct trace *t, size_t index);
bool trace_attempt_failed(const struct trace *t, size_t index);

/* What the loser of a hedge has used, as usage and cost of a record. False: nothing; usually it is none. */
bool trace_attempt_usage(const struct trace *t, size_t index, struct record *as);

/* The same decision about a trace in every process and every life: its share of all traces is `rate`, 0 to 1. */
bool trace_is_sampled(struct str trace_id, double rate);

#endif
