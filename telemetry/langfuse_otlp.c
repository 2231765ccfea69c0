#include "telemetry/langfuse_otlp.h"

#include <inttypes.h>

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "common/base/json.h"

#define SCOPE_NAME   "langfuse-sdk-atalaya" /* with this beginning Langfuse keeps metadata free of attributes */
#define SERVICE_NAME "atalaya"
#define DETAILS_SIZE 256

struct otlp *langfuse_otlp_new(const struct trace_conf *c)
{
    const struct otlp_pair resource[] = {{"service.name", SERVICE_NAME},
                                         {"service.version", c->version},
                                         {"deployment.environment.name", c->environment}};

    return otlp_new(SCOPE_NAME, c->version, resource, ARRAY_LEN(resource));
}

/* Langfuse 4 has no traces beside their spans: each span carries them. */
static void put_trace(struct otlp *o, const struct trace_conf *c, const struct trace *t)
{
    const struct record *r = t->record;

    otlp_text(o, "langfuse.trace.name", trace_name(t));
    otlp_text(o, "langfuse.user.id", r->user_id.p);
    otlp_text(o, "langfuse.session.id", r->session_id.p);
    otlp_list(o, "langfuse.trace.tags", r->tags);
    otlp_text(o, "langfuse.trace.metadata", r->metadata.p);
    otlp_text(o, "langfuse.trace.metadata.prompt_version", t->own_prompt ? TRACE_PROMPT : "");
    otlp_text(o, "langfuse.environment", c->environment);
    otlp_text(o, "langfuse.release", c->release);
    otlp_text(o, "langfuse.version", c->version);
}

static void put_error(struct otlp *o, const char *level, const char *message)
{
    otlp_error(o, message);
    otlp_text(o, "langfuse.observation.level", level);
    otlp_text(o, "langfuse.observation.status_message", message);
}

/* Langfuse adds up what it is given, so no token is in two of these. Where there is no cost, it may know a price. */
static void write_usage(char out[DETAILS_SIZE], const struct record *r)
{
    struct usage u = trace_usage(r);
    struct buf b = {.data = out, .cap = DETAILS_SIZE, .max = DETAILS_SIZE - 1};
    int64_t total = r->total_tokens;

    buf_printf(&b, "{\"input\":%" PRIu64, u.input);
    if (u.cached)
        buf_printf(&b, ",\"input_cached_tokens\":%" PRIu64, u.cached);
    buf_printf(&b, ",\"output\":%" PRIu64, u.output);
    if (u.reasoning)
        buf_printf(&b, ",\"output_reasoning_tokens\":%" PRIu64, u.reasoning);
    buf_printf(&b, ",\"total\":%" PRId64 "}", total > 0 ? total : 0);
}

static void write_cost(char out[DETAILS_SIZE], double usd)
{
    struct buf b = {.data = out, .cap = DETAILS_SIZE, .max = DETAILS_SIZE - 1};

    buf_puts(&b, "{\"total\":");
    json_double(&b, usd);
    buf_putc(&b, '}');
}

/* Must live until otlp_end(). */
struct details {
    char usage[DETAILS_SIZE], cost[DETAILS_SIZE];
};

static void put_usage(struct otlp *o, const struct record *r, struct details *d)
{
    *d->usage = *d->cost = '\0';
    if (r->has_usage)
        write_usage(d->usage, r);
    if (r->has_cost)
        write_cost(d->cost, r->cost_usd);
    otlp_text(o, "langfuse.observation.usage_details", d->usage);
    otlp_text(o, "langfuse.observation.cost_details", d->cost);
}

static void put_words(struct otlp *o, const struct trace_conf *c, const struct trace *t)
{
    const struct record *r = t->record;

    otlp_text(o, "langfuse.observation.input", r->question.p);
    otlp_text(o, "langfuse.observation.output", r->answer.p);
    otlp_text(o, "langfuse.observation.model.name", r->model.p);
    if (!t->own_prompt)
        return;
    otlp_text(o, "langfuse.observation.model.parameters", TRACE_PARAMETERS);
    otlp_text(o, "langfuse.observation.metadata.prompt_version", TRACE_PROMPT);
    if (*c->prompt_name) {
        otlp_text(o, "langfuse.observation.prompt.name", c->prompt_name);
        otlp_int(o, "langfuse.observation.prompt.version", c->prompt_version);
    }
}

static void put_metadata(struct otlp *o, const struct trace *t)
{
    const struct record *r = t->record;

    otlp_text(o, "langfuse.observation.metadata.request_id", r->request_id.p);
    otlp_text(o, "langfuse.observation.metadata.upstream", t->upstream.p);
    otlp_text(o, "langfuse.observation.metadata.cache", r->cache.p);
    if (r->stream)
        otlp_bool(o, "langfuse.observation.metadata.stream", true);
    if (r->usage_estimated)
        otlp_bool(o, "langfuse.observation.metadata.usage_estimated", true);
}

static void add_generation(struct otlp *o, const struct trace_conf *c, const struct trace *t)
{
    char first_token[CLOCK_RFC3339_SIZE] = "";
    struct details details;
    const struct record *r = t->record;

    otlp_begin(o, TRACE_GENERATION_NAME, r->trace_id, r->generation_id);
    if (r->parent_id.n) {
        /* The caller's span is not in Langfuse, or somewhere else in its trace: this one has to count as a root, for
         * Langfuse 4 and for Langfuse 3, or the trace has neither question nor answer. */
        otlp_parent(o, r->parent_id);
        otlp_bool(o, "langfuse.internal.is_app_root", true);
        otlp_bool(o, "langfuse.internal.as_root", true);
    }
    otlp_times(o, r->start_us, r->duration_us);
    otlp_text(o, "langfuse.observation.type", "generation");
    put_trace(o, c, t);
    put_words(o, c, t);
    put_metadata(o, t);
    put_usage(o, r, &details);
    if (r->first_token_us > 0)
        clock_rfc3339(first_token, r->start_us + r->first_token_us);
    otlp_text(o, "langfuse.observation.completion_start_time", first_token);
    if (record_failed(r))
        put_error(o, "ERROR", trace_reason(t));
    otlp_end(o);
}

static void put_used(struct otlp *o, const struct record *used, struct details *d)
{
    otlp_text(o, "langfuse.observation.model.name", used->model.p);
    put_usage(o, used, d);
    if (used->usage_estimated)
        otlp_bool(o, "langfuse.observation.metadata.usage_estimated", true);
}

static void add_attempt(struct otlp *o, const struct trace_conf *c, const struct trace *t, size_t index)
{
    const struct event_attempt *a = &t->attempts[index];
    struct details details;
    struct record used;
    bool has_used = trace_attempt_usage(t, index, &used);
    char id[ID_SPAN_SIZE];

    trace_attempt_id(id, t, index);
    otlp_begin(o, TRACE_ATTEMPT_NAME, t->record->trace_id, str_of(id));
    otlp_parent(o, t->record->generation_id);
    otlp_times(o, a->start_us, a->duration_us);
    otlp_text(o, "langfuse.observation.type",
              has_used ? "generation" : "span"); /* it adds up those of generations */
    put_trace(o, c, t);
    if (has_used)
        put_used(o, &used, &details);
    otlp_int(o, "langfuse.observation.metadata.attempt", (int64_t)index + 1);
    otlp_text(o, "langfuse.observation.metadata.outcome", a->outcome.p);
    otlp_int(o, "langfuse.observation.metadata.wait_ms", a->wait_us / 1000);
    if (a->status)
        otlp_int(o, "langfuse.observation.metadata.http_status", (int64_t)a->status);
    otlp_text(o, "langfuse.observation.metadata.upstream_id", a->upstream_id.p);
    otlp_text(o, "langfuse.observation.metadata.error_code", a->code.p);
    otlp_text(o, "langfuse.observation.metadata.upstream", a->upstream.p);
    if (trace_attempt_failed(t, index))
        put_error(o, record_failed(t->record) ? "ERROR" : "WARNING", a->outcome.p);
    otlp_end(o);
}

void langfuse_otlp_add(struct otlp *o, const struct trace_conf *c, const struct record *r)
{
    struct trace t;

    trace_open(&t, r);
    add_generation(o, c, &t);
    for (size_t i = 0; i < t.n; i++)
        add_attempt(o, c, &t, i);
    trace_close(&t);
}
