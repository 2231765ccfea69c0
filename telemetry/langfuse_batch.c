#include "telemetry/langfuse_batch.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/json.h"
#include "telemetry/jsonwalk.h"

static_assert(ID_TRACE_SIZE + ID_SPAN_SIZE < BATCH_KEY_SIZE, "a key has room for both ids");

void batch_begin(struct buf *out)
{
    buf_puts(out, "{\"batch\":[");
}

void batch_end(struct buf *out)
{
    buf_puts(out, "]}");
}

/* Milliseconds are what Langfuse keeps. */
static void time_text(char out[CLOCK_RFC3339_SIZE], int64_t us)
{
    clock_rfc3339(out, us);
    memcpy(strchr(out, '.') + 4, "Z", 2);
}

static void put_event_id(struct buf *out, const struct record *r, const char *name)
{
    buf_append(out, r->trace_id.p, r->trace_id.n);
    buf_putc(out, '-');
    buf_append(out, r->generation_id.p, r->generation_id.n);
    buf_putc(out, '-');
    buf_puts(out, name);
}

/* Nothing in it needs escaping: ids are hex, names ours, an environment is checked. So it is put together, not
 * written with json.h, which would take several times as long. */
static void put_score(struct buf *out, const struct record *r, const char *time, const char *environment,
                      const char *name, double value)
{
    if (out->len && out->data[out->len - 1] == '}')
        buf_putc(out, ',');
    buf_puts(out, "{\"id\":\"");
    put_event_id(out, r, name);
    buf_puts(out, "\",\"type\":\"score-create\",\"timestamp\":\"");
    buf_puts(out, time);
    buf_puts(out, "\",\"body\":{\"id\":\"");
    put_event_id(out, r, name);
    buf_puts(out, "\",\"traceId\":\"");
    buf_append(out, r->trace_id.p, r->trace_id.n);
    buf_puts(out, "\",\"observationId\":\"");
    buf_append(out, r->generation_id.p, r->generation_id.n);
    buf_puts(out, "\",\"name\":\"");
    buf_puts(out, name);
    buf_puts(out, "\",\"value\":");
    if (value == 1.0)
        buf_puts(out, "1.0"); /* nearly always */
    else
        json_double(out, value);
    buf_puts(out, ",\"dataType\":\"NUMERIC\"");
    if (*environment) {
        buf_puts(out, ",\"environment\":\"");
        buf_puts(out, environment);
        buf_putc(out, '"');
    }
    buf_puts(out, "}}");
}

void batch_scores(struct buf *out, const struct record *r, const char *environment)
{
    char time[CLOCK_RFC3339_SIZE];

    time_text(time, r->start_us + r->duration_us);
    put_score(out, r, time, environment, "non_empty_answer", r->non_empty_answer);
    put_score(out, r, time, environment, "toxicity_safe", r->toxicity_safe);
}

/* Of a client: every text of it needs escaping. */
void batch_feedback(struct buf *out, const struct record *r, const char *environment)
{
    char time[CLOCK_RFC3339_SIZE];

    time_text(time, r->start_us);
    if (out->len && out->data[out->len - 1] == '}')
        buf_putc(out, ',');
    buf_putc(out, '{');
    json_field_str(out, "id", r->score_id);
    json_field_str(out, "type", str_of("score-create"));
    json_field_str(out, "timestamp", str_of(time));
    json_key(out, "body");
    buf_putc(out, '{');
    json_field_str(out, "id", r->score_id);
    json_field_str(out, "traceId", r->trace_id);
    json_field_str(out, "name", r->score_name);
    json_field_str(out, "dataType", r->score_type);
    if (str_eq(r->score_type, "CATEGORICAL")) {
        json_field_str(out, "value", r->score_text);
    } else {
        json_key(out, "value");
        json_double(out, r->score_value);
    }
    if (r->comment.n)
        json_field_str(out, "comment", r->comment);
    if (*environment)
        json_field_str(out, "environment", str_of(environment));
    buf_puts(out, "}}");
}

/* What a client or a provider has written as JSON stays JSON; a text that is none would spoil the whole batch. */
static void put_words(struct buf *out, const char *key, struct str words, bool json)
{
    if (words.n == 0)
        return;
    if (!json || !jsonwalk_can(words)) {
        json_field_str(out, key, words);
        return;
    }
    json_key(out, key);
    buf_append(out, words.p, words.n);
}

static void put_text(struct buf *out, const char *key, const char *text)
{
    if (text && *text)
        json_field_str(out, key, str_of(text));
}

/* Up to the body's opening brace. A time of its own orders the events of one id. */
static void begin_event(struct buf *out, const struct record *r, const char *type, const char *name)
{
    char time[CLOCK_RFC3339_SIZE];

    time_text(time, r->start_us + r->duration_us);
    if (out->len && out->data[out->len - 1] == '}')
        buf_putc(out, ',');
    buf_puts(out, "{\"id\":\"");
    put_event_id(out, r, name);
    buf_putc(out, '"');
    json_field_str(out, "type", str_of(type));
    json_field_str(out, "timestamp", str_of(time));
    json_key(out, "body");
    buf_putc(out, '{');
}

static void put_time(struct buf *out, const char *key, int64_t us)
{
    char time[CLOCK_RFC3339_SIZE];

    time_text(time, us);
    json_field_str(out, key, str_of(time));
}

/* The client's, and ours beside them: a member of that name that is there already is the client's. */
static void put_metadata(struct buf *out, const struct trace *t)
{
    struct str theirs = t->record->metadata;
    bool object = theirs.n > 2 && *theirs.p == '{' && jsonwalk_can(theirs), text = theirs.n > 2 && !object;

    if (!object && !text && !t->own_prompt)
        return;
    json_key(out, "metadata");
    buf_putc(out, '{');
    if (t->own_prompt)
        put_text(out, "prompt_version", TRACE_PROMPT);
    if (text)
        json_field_str(out, "metadata", theirs);
    if (object && t->own_prompt)
        buf_putc(out, ',');
    buf_append(out, object ? theirs.p + 1 : "}", object ? theirs.n - 1 : 1);
}

static void put_tags(struct buf *out, struct str tags)
{
    if (tags.n == 0)
        return;
    json_key(out, "tags");
    buf_putc(out, '[');
    while (tags.n) {
        const char *comma = memchr(tags.p, ',', tags.n);
        size_t n = comma ? (size_t)(comma - tags.p) : tags.n;
        if (n && out->data && out->data[out->len - 1] == '"')
            buf_putc(out, ',');
        if (n)
            json_str(out, tags.p, n);
        tags.p += n + (comma != NULL);
        tags.n -= n + (comma != NULL);
    }
    buf_putc(out, ']');
}

static void put_trace(struct buf *out, const struct trace_conf *c, const struct trace *t)
{
    const struct record *r = t->record;

    begin_event(out, r, "trace-create", "trace");
    json_field_str(out, "id", r->trace_id);
    put_time(out, "timestamp", r->start_us);
    put_text(out, "name", trace_name(t));
    put_words(out, "userId", r->user_id, false);
    put_words(out, "sessionId", r->session_id, false);
    put_text(out, "release", c->release);
    put_text(out, "version", c->version);
    put_text(out, "environment", c->environment);
    if (r->parent_id.n == 0) { /* a trace of ours: it has one question */
        put_words(out, "input", r->question, r->chat);
        put_words(out, "output", r->answer, r->chat);
    }
    put_metadata(out, t);
    put_tags(out, r->tags);
    buf_puts(out, "}}");
}

/* `usage` is for Langfuse 2, the two others are for 3: what both have is the same there, the finer one wins. */
static void put_usage(struct buf *out, const struct record *r)
{
    struct usage u = trace_usage(r);

    if (r->has_usage || r->has_cost) {
        json_key(out, "usage");
        buf_putc(out, '{');
        if (r->has_usage) {
            json_field_int(out, "input", r->prompt_tokens);
            json_field_int(out, "output", r->completion_tokens);
            json_field_int(out, "total", r->total_tokens);
        }
        json_field_str(out, "unit", str_of("TOKENS"));
        if (r->has_cost) {
            json_key(out, "totalCost");
            json_double(out, r->cost_usd);
        }
        buf_putc(out, '}');
    }
    if (r->has_usage) {
        buf_printf(out, ",\"usageDetails\":{\"input\":%" PRIu64 ",\"output\":%" PRIu64, u.input, u.output);
        if (u.cached)
            buf_printf(out, ",\"input_cached_tokens\":%" PRIu64, u.cached);
        if (u.reasoning)
            buf_printf(out, ",\"output_reasoning_tokens\":%" PRIu64, u.reasoning);
        buf_printf(out, ",\"total\":%" PRId64 "}", r->total_tokens);
    }
    if (r->has_cost) {
        buf_puts(out, ",\"costDetails\":{\"total\":");
        json_double(out, r->cost_usd);
        buf_putc(out, '}');
    }
}

static void put_observation(struct buf *out, const struct trace_conf *c, const struct record *r,
                            struct str id, const char *name, struct str parent)
{
    json_field_str(out, "id", id);
    json_field_str(out, "traceId", r->trace_id);
    put_words(out, "parentObservationId", parent, false);
    put_text(out, "name", name);
    put_text(out, "version", c->version);
    put_text(out, "environment", c->environment);
}

static void put_model(struct buf *out, const struct trace_conf *c, const struct trace *t)
{
    put_words(out, "model", t->record->model, false);
    if (!t->own_prompt)
        return;
    buf_puts(out, ",\"modelParameters\":" TRACE_PARAMETERS);
    if (*c->prompt_name) {
        put_text(out, "promptName", c->prompt_name);
        json_field_int(out, "promptVersion", c->prompt_version);
    }
}

static void put_generation_metadata(struct buf *out, const struct trace *t)
{
    const struct record *r = t->record;

    json_key(out, "metadata");
    buf_putc(out, '{');
    if (t->own_prompt)
        put_text(out, "prompt_version", TRACE_PROMPT);
    put_words(out, "request_id", r->request_id, false);
    put_words(out, "upstream", t->upstream, false);
    put_words(out, "cache", r->cache, false);
    if (r->stream)
        json_field_bool(out, "stream", true);
    if (r->usage_estimated)
        json_field_bool(out, "usage_estimated", true);
    buf_putc(out, '}');
}

static void put_generation(struct buf *out, const struct trace_conf *c, const struct trace *t)
{
    const struct record *r = t->record;

    begin_event(out, r, "generation-create", "generation");
    put_observation(out, c, r, r->generation_id, TRACE_GENERATION_NAME, r->parent_id);
    put_time(out, "startTime", r->start_us);
    put_time(out, "endTime", r->start_us + r->duration_us);
    if (r->first_token_us > 0)
        put_time(out, "completionStartTime", r->start_us + r->first_token_us);
    put_words(out, "input", r->question, r->chat);
    put_words(out, "output", r->answer, r->chat);
    put_model(out, c, t);
    put_usage(out, r);
    put_generation_metadata(out, t);
    if (record_failed(r)) {
        put_text(out, "level", "ERROR");
        put_text(out, "statusMessage", trace_reason(t));
    }
    buf_puts(out, "}}");
}

static void put_attempt(struct buf *out, const struct trace_conf *c, const struct trace *t, size_t index)
{
    const struct event_attempt *a = &t->attempts[index];
    struct record used;
    bool has_used = trace_attempt_usage(t, index, &used);
    char id[ID_SPAN_SIZE], name[32];

    trace_attempt_id(id, t, index);
    snprintf(name, sizeof name, "attempt-%zu", index + 1);
    begin_event(out, t->record, has_used ? "generation-create" : "span-create", name);
    put_observation(out, c, t->record, str_of(id), TRACE_ATTEMPT_NAME, t->record->generation_id);
    put_time(out, "startTime", a->start_us);
    put_time(out, "endTime", a->start_us + a->duration_us);
    if (has_used) {
        put_words(out, "model", used.model, false);
        put_usage(out, &used);
    }
    json_key(out, "metadata");
    buf_putc(out, '{');
    json_field_int(out, "attempt", (int64_t)index + 1);
    put_words(out, "outcome", a->outcome, false);
    json_field_int(out, "wait_ms", a->wait_us / 1000);
    if (a->status)
        json_field_int(out, "http_status", (int64_t)a->status);
    put_words(out, "upstream_id", a->upstream_id, false);
    put_words(out, "error_code", a->code, false);
    put_words(out, "upstream", a->upstream, false);
    if (used.usage_estimated)
        json_field_bool(out, "usage_estimated", true);
    buf_putc(out, '}');
    if (trace_attempt_failed(t, index)) {
        put_text(out, "level", record_failed(t->record) ? "ERROR" : "WARNING");
        put_words(out, "statusMessage", a->outcome, false);
    }
    buf_puts(out, "}}");
}

unsigned batch_trace(struct buf *out, const struct trace_conf *c, const struct record *r)
{
    struct trace t;

    trace_open(&t, r);
    put_trace(out, c, &t);
    put_generation(out, c, &t);
    for (size_t i = 0; i < t.n; i++)
        put_attempt(out, c, &t, i);
    unsigned events = 2 + (unsigned)t.n;
    trace_close(&t);
    return events;
}

void batch_key(char out[BATCH_KEY_SIZE], const struct record *r)
{
    if (record_is_feedback(r))
        snprintf(out, BATCH_KEY_SIZE, "%.*s", (int)r->score_id.n, r->score_id.p);
    else
        snprintf(out, BATCH_KEY_SIZE, "%.*s-%.*s-", (int)r->trace_id.n, r->trace_id.p,
                 (int)r->generation_id.n, r->generation_id.p);
}

bool batch_is_of(struct str event_id, const char *key)
{
    size_t n = strlen(key);

    return n && event_id.n >= n && memcmp(event_id.p, key, n) == 0 && (event_id.n == n || key[n - 1] == '-');
}
