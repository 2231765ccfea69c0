#include "telemetry/genai_otlp.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/attr.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "telemetry/jsonread.h"

#define SCOPE_NAME   "atalaya"
#define NAME_SIZE    160
#define OPERATION    "chat"
#define PROVIDER     "openai" /* the API that is spoken, whoever speaks it */
#define SCORE_EVENT  "gen_ai.evaluation.result"
#define ENVIRONMENT  "deployment.environment.name"
#define SERVICE_NAME "service.name"

/* What OTEL_RESOURCE_ATTRIBUTES says of ours counts. */
static void add_own(struct otlp_pair *pairs, size_t *n, const char *key, const char *value)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp(pairs[i].key, key) == 0)
            return;
    pairs[(*n)++] = (struct otlp_pair){key, value};
}

struct otlp *genai_otlp_new(const struct trace_conf *c, const char *service, const struct pair *attributes,
                            size_t n)
{
    struct otlp_pair resource[OTEL_PAIRS_MAX + 4];
    size_t have = 0;

    if (*service)
        resource[have++] = (struct otlp_pair){SERVICE_NAME, service};
    for (size_t i = 0; i < n && i < OTEL_PAIRS_MAX; i++)
        add_own(resource, &have, attributes[i].key, attributes[i].value);
    add_own(resource, &have, SERVICE_NAME, "atalaya");
    add_own(resource, &have, "service.version", c->version);
    add_own(resource, &have, ENVIRONMENT, c->environment);
    return otlp_new(SCOPE_NAME, c->version, resource, have);
}

/* A text as the conventions' list of messages with their parts. */
static void write_message(struct buf *out, const char *role, struct str words)
{
    buf_puts(out, "[{");
    json_field_str(out, "role", str_of(role));
    buf_puts(out, ",\"parts\":[{\"type\":\"text\"");
    json_field_str(out, "content", words);
    buf_puts(out, "}]}]");
}

static void write_words(struct buf *out, const struct record *r, const char *role, struct str words)
{
    if (words.n && !(r->chat && jsonread_messages(words, out) == 0))
        write_message(out, role, words);
}

static void put_usage(struct otlp *o, const struct record *r)
{
    if (!r->has_usage)
        return;
    otlp_int(o, "gen_ai.usage.input_tokens", r->prompt_tokens);
    otlp_int(o, "gen_ai.usage.output_tokens", r->completion_tokens);
    if (r->cached_tokens > 0)
        otlp_int(o, "gen_ai.usage.cache_read.input_tokens", r->cached_tokens);
    if (r->reasoning_tokens > 0)
        otlp_int(o, "gen_ai.usage.reasoning.output_tokens", r->reasoning_tokens);
    if (r->usage_estimated)
        otlp_bool(o, "atalaya.usage_estimated", true);
    if (r->has_cost)
        otlp_double(o, "gen_ai.usage.cost", r->cost_usd);
}

static void put_request(struct otlp *o, const struct trace_conf *c, const struct trace *t)
{
    const struct record *r = t->record;

    otlp_text(o, "gen_ai.operation.name", OPERATION);
    otlp_text(o, "gen_ai.provider.name", PROVIDER);
    otlp_text(o, "gen_ai.request.model", r->model.p);
    otlp_text(o, "gen_ai.response.model", r->answer.n ? r->model.p : "");
    otlp_bool(o, "gen_ai.request.stream", r->stream);
    if (t->own_prompt)
        otlp_double(o, "gen_ai.request.temperature", 0.2);
    otlp_text(o, "gen_ai.prompt.name", t->own_prompt ? *c->prompt_name ? c->prompt_name : TRACE_PROMPT : "");
    if (r->first_token_us > 0)
        otlp_double(o, "gen_ai.response.time_to_first_chunk", (double)r->first_token_us / 1e6);
    otlp_text(o, "gen_ai.conversation.id", r->session_id.p);
    otlp_text(o, "session.id", r->session_id.p);
    otlp_text(o, "user.id", r->user_id.p);
    otlp_text(o, "atalaya.trace.name", trace_name(t));
    otlp_text(o, "atalaya.request_id", r->request_id.p);
    otlp_text(o, "atalaya.upstream", t->upstream.p);
    otlp_text(o, "atalaya.cache", r->cache.p);
    otlp_text(o, "atalaya.release", c->release);
    otlp_text(o, "atalaya.metadata", r->metadata.p);
    otlp_list(o, "atalaya.tags", r->tags);
}

static void put_error(struct otlp *o, const char *type, const char *message)
{
    otlp_error(o, message);
    otlp_text(o, "error.type", *type ? type : "_OTHER");
}

static void put_score(struct otlp *o, const struct record *r, const char *name, double value)
{
    otlp_event(o, SCORE_EVENT, r->start_us + r->duration_us);
    otlp_text(o, "gen_ai.evaluation.name", name);
    otlp_double(o, "gen_ai.evaluation.score.value", value);
}

static void add_generation(struct otlp *o, const struct trace_conf *c, const struct trace *t)
{
    struct buf input = BUF_INIT(RECORD_BYTES_MAX), output = BUF_INIT(RECORD_BYTES_MAX);
    const struct record *r = t->record;
    char name[NAME_SIZE];

    snprintf(name, sizeof name, r->model.n ? OPERATION " %.*s" : OPERATION, (int)r->model.n, r->model.p);
    otlp_begin(o, name, r->trace_id, r->generation_id);
    if (r->parent_id.n)
        otlp_parent(o, r->parent_id);
    otlp_times(o, r->start_us, r->duration_us);
    put_request(o, c, t);
    put_usage(o, r);
    write_words(&input, r, "user", r->question);
    write_words(&output, r, "assistant", r->answer);
    otlp_text(o, "gen_ai.input.messages", input.data);
    otlp_text(o, "gen_ai.output.messages", output.data);
    if (record_failed(r))
        put_error(o, r->error.p, trace_reason(t));
    if (r->has_scores) {
        put_score(o, r, "non_empty_answer", r->non_empty_answer);
        put_score(o, r, "toxicity_safe", r->toxicity_safe);
    }
    otlp_end(o);
    buf_free(&input);
    buf_free(&output);
}

static void add_attempt(struct otlp *o, const struct trace *t, size_t index)
{
    const struct event_attempt *a = &t->attempts[index];
    struct record used;
    char id[ID_SPAN_SIZE];

    trace_attempt_id(id, t, index);
    otlp_begin(o, TRACE_ATTEMPT_NAME, t->record->trace_id, str_of(id));
    otlp_parent(o, t->record->generation_id);
    otlp_times(o, a->start_us, a->duration_us);
    otlp_int(o, "atalaya.attempt", (int64_t)index + 1);
    otlp_text(o, "atalaya.outcome", a->outcome.p);
    otlp_int(o, "atalaya.wait_ms", a->wait_us / 1000);
    if (a->status)
        otlp_int(o, "http.response.status_code", (int64_t)a->status);
    otlp_text(o, "atalaya.upstream_id", a->upstream_id.p);
    otlp_text(o, "atalaya.upstream", a->upstream.p);
    if (trace_attempt_usage(t, index, &used)) {
        otlp_text(o, "gen_ai.request.model", used.model.p);
        put_usage(o, &used);
    }
    if (trace_attempt_failed(t, index))
        put_error(o, a->code.n ? a->code.p : a->outcome.p, a->outcome.p);
    otlp_end(o);
}

void genai_otlp_add(struct otlp *o, const struct trace_conf *c, const struct record *r)
{
    struct trace t;

    trace_open(&t, r);
    add_generation(o, c, &t);
    for (size_t i = 0; i < t.n; i++)
        add_attempt(o, &t, i);
    trace_close(&t);
}
