#include "telemetry/langfuse_otlp.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "telemetry/jsonread.h"
#include "telemetry/otlp.pb-c.h"
#include "telemetry/usage.h"

#define ATTRIBUTES_MAX 28
#define TEXT_MAX       256
#define SPANS_MAX      (64 * MIB) /* the caller stops far below */

#define TRACE_NAME      "qa_chat"
#define GENERATION_NAME "openai_chat_completion"
#define ATTEMPT_NAME    "openai_attempt"
#define SCOPE_NAME      "langfuse-sdk-atalaya" /* with this beginning Langfuse keeps metadata free of attributes */
#define SERVICE_NAME    "atalaya"
#define PARAMETERS      "{\"temperature\":0.2}"
#define PROMPT_VERSION  "qa_enhanced_v1"

struct otlp {
    const char *environment;
    const char *release;
    struct buf frame; /* resource, scope and the lengths around the spans */
    struct buf spans; /* packed one by one, each with its tag and length */
    size_t n;
};

/* A span and room for its attributes, on the stack: nothing is allocated for a record. */
struct draft {
    Otlp__Span span;
    Otlp__Status status;
    Otlp__KeyValue *list[ATTRIBUTES_MAX];
    Otlp__KeyValue pairs[ATTRIBUTES_MAX];
    Otlp__AnyValue values[ATTRIBUTES_MAX];
    uint8_t trace_id[16], span_id[8], parent_id[8];
    char usage[TEXT_MAX], cost[TEXT_MAX];
};

struct otlp *otlp_new(const char *environment, const char *release)
{
    struct otlp *o = xcalloc(1, sizeof *o);

    o->environment = environment;
    o->release = release;
    o->frame = BUF_INIT(64 * KIB);
    o->spans = BUF_INIT(SPANS_MAX);
    return o;
}

void otlp_free(struct otlp *o)
{
    if (!o)
        return;
    buf_free(&o->frame);
    buf_free(&o->spans);
    free(o);
}

void otlp_reset(struct otlp *o)
{
    buf_reset(&o->frame);
    buf_reset(&o->spans);
    o->n = 0;
}

size_t otlp_bytes(const struct otlp *o)
{
    return o->spans.len;
}

size_t otlp_spans(const struct otlp *o)
{
    return o->n;
}

/* protobuf-c has no const, but packing changes nothing. */
static char *unconst(const char *s)
{
    union {
        const char *in;
        char *out;
    } u = {s};

    return u.out;
}

static Otlp__AnyValue *attribute(struct draft *d, const char *key)
{
    size_t i = d->span.n_attributes++;

    assert(i < ATTRIBUTES_MAX);
    d->values[i] = (Otlp__AnyValue)OTLP__ANY_VALUE__INIT;
    d->pairs[i] = (Otlp__KeyValue)OTLP__KEY_VALUE__INIT;
    d->pairs[i].key = unconst(key);
    d->pairs[i].value = &d->values[i];
    d->list[i] = &d->pairs[i];
    return &d->values[i];
}

static void put_text(struct draft *d, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    Otlp__AnyValue *v = attribute(d, key);
    v->value_case = OTLP__ANY_VALUE__VALUE_STRING_VALUE;
    v->string_value = unconst(value);
}

static void put_int(struct draft *d, const char *key, int64_t value)
{
    Otlp__AnyValue *v = attribute(d, key);

    v->value_case = OTLP__ANY_VALUE__VALUE_INT_VALUE;
    v->int_value = value;
}

static void put_bool(struct draft *d, const char *key, bool value)
{
    Otlp__AnyValue *v = attribute(d, key);

    v->value_case = OTLP__ANY_VALUE__VALUE_BOOL_VALUE;
    v->bool_value = value;
}

/* An id that is none is left out: Langfuse refuses the span then, instead of hiding it under zeroes. */
static unsigned digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static ProtobufCBinaryData from_hex(uint8_t *out, size_t n, struct str hex)
{
    if (hex.n != 2 * n)
        return (ProtobufCBinaryData){0, out};
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(digit(hex.p[2 * i]) << 4 | digit(hex.p[2 * i + 1]));
    return (ProtobufCBinaryData){n, out};
}

static void begin(struct draft *d, const struct record *r, const char *name)
{
    d->span = (Otlp__Span)OTLP__SPAN__INIT;
    d->status = (Otlp__Status)OTLP__STATUS__INIT;
    d->span.status = &d->status;
    d->span.attributes = d->list;
    d->span.name = unconst(name);
    d->span.kind = OTLP__SPAN__SPAN_KIND__SPAN_KIND_CLIENT;
    d->span.trace_id = from_hex(d->trace_id, sizeof d->trace_id, r->trace_id);
}

static void set_parent(struct draft *d, struct str hex)
{
    d->span.parent_span_id = from_hex(d->parent_id, sizeof d->parent_id, hex);
}

static void set_times(struct draft *d, int64_t start_us, int64_t duration_us)
{
    int64_t end_us = start_us + (duration_us > 0 ? duration_us : 0);

    d->span.start_time_unix_nano = (uint64_t)start_us * 1000;
    d->span.end_time_unix_nano = (uint64_t)end_us * 1000;
}

/* Langfuse 4 has no traces beside their spans: each span carries them. */
static void put_trace(struct draft *d, const struct otlp *o, const struct record *r)
{
    put_text(d, "langfuse.trace.name", TRACE_NAME);
    put_text(d, "langfuse.user.id", r->user_id.p);
    put_text(d, "langfuse.trace.metadata.prompt_version", PROMPT_VERSION);
    put_text(d, "langfuse.environment", o->environment);
    put_text(d, "langfuse.release", o->release);
}

static void set_error(struct draft *d, const char *level, const char *message)
{
    d->status.code = OTLP__STATUS__STATUS_CODE__STATUS_CODE_ERROR;
    d->status.message = unconst(message);
    put_text(d, "langfuse.observation.level", level);
    put_text(d, "langfuse.observation.status_message", message);
}

static const char *reason(const struct record *r)
{
    if (r->error_text.n)
        return r->error_text.p;
    if (r->error.n)
        return r->error.p;
    return r->status == 0 ? "the client left before the answer" : "the request failed";
}

static void put_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_putc(b, (char)(v | 0x80));
    buf_putc(b, (char)v);
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

/* A field of wire type 2: its tag and its length. */
static void put_head(struct buf *b, unsigned field, size_t n)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, n);
}

static void put_message(struct buf *b, unsigned field, const ProtobufCMessage *m)
{
    size_t n = protobuf_c_message_get_packed_size(m);

    put_head(b, field, n);
    char *to = buf_reserve(b, n);
    if (!to)
        return;
    b->len += protobuf_c_message_pack(m, (uint8_t *)to);
}

static void add(struct otlp *o, const struct draft *d)
{
    put_message(&o->spans, 2, &d->span.base); /* ScopeSpans.spans */
    o->n++;
}

static uint64_t count(int64_t tokens)
{
    return tokens > 0 ? (uint64_t)tokens : 0;
}

/* Langfuse adds up what it is given, so no token is in two of these. Where there is no cost, it may know a price. */
static void put_usage(struct draft *d, const struct record *r)
{
    struct usage u = usage_split(count(r->prompt_tokens), count(r->cached_tokens),
                                 count(r->completion_tokens), count(r->reasoning_tokens));
    struct buf usage = {.data = d->usage, .cap = sizeof d->usage, .max = sizeof d->usage - 1};
    struct buf cost = {.data = d->cost, .cap = sizeof d->cost, .max = sizeof d->cost - 1};

    if (r->has_usage) {
        buf_printf(&usage, "{\"input\":%" PRIu64, u.input);
        if (u.cached)
            buf_printf(&usage, ",\"input_cached_tokens\":%" PRIu64, u.cached);
        buf_printf(&usage, ",\"output\":%" PRIu64, u.output);
        if (u.reasoning)
            buf_printf(&usage, ",\"output_reasoning_tokens\":%" PRIu64, u.reasoning);
        buf_printf(&usage, ",\"total\":%" PRIu64 "}", count(r->total_tokens));
        put_text(d, "langfuse.observation.usage_details", d->usage);
    }
    if (r->has_cost) {
        buf_puts(&cost, "{\"total\":");
        json_double(&cost, r->cost_usd);
        buf_putc(&cost, '}');
        put_text(d, "langfuse.observation.cost_details", d->cost);
    }
}

/* upstream: who was asked last; "" when nobody was. */
static void add_generation(struct otlp *o, const struct record *r, struct str upstream)
{
    struct draft d;

    begin(&d, r, GENERATION_NAME);
    d.span.span_id = from_hex(d.span_id, sizeof d.span_id, r->generation_id);
    if (r->parent_id.n) {
        /* The caller's span is not in Langfuse, or somewhere else in its trace: this one has to count as a root, for
         * Langfuse 4 and for Langfuse 3, or the trace has neither question nor answer. */
        set_parent(&d, r->parent_id);
        put_bool(&d, "langfuse.internal.is_app_root", true);
        put_bool(&d, "langfuse.internal.as_root", true);
    }
    set_times(&d, r->start_us, r->duration_us);
    put_text(&d, "langfuse.observation.type", "generation");
    put_trace(&d, o, r);
    put_text(&d, "langfuse.observation.input", r->question.p);
    put_text(&d, "langfuse.observation.output", r->answer.p);
    put_text(&d, "langfuse.observation.model.name", r->model.p);
    put_text(&d, "langfuse.observation.model.parameters", PARAMETERS);
    put_text(&d, "langfuse.observation.metadata.prompt_version", PROMPT_VERSION);
    put_text(&d, "langfuse.observation.metadata.request_id", r->request_id.p);
    put_text(&d, "langfuse.observation.metadata.upstream", upstream.p);
    put_usage(&d, r);
    if (record_failed(r))
        set_error(&d, "ERROR", reason(r));
    add(o, &d);
}

/* Fixed for an attempt, different from every other: a bijection of the generation's id for each index. */
static ProtobufCBinaryData attempt_id(uint8_t out[8], struct str generation_id, size_t index)
{
    uint64_t v = 0;

    if (from_hex(out, sizeof v, generation_id).len)
        memcpy(&v, out, sizeof v);
    v += 0x9e3779b97f4a7c15u * (index + 1);
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    v ^= v >> 31;
    if (v == 0)
        v = index + 1;
    memcpy(out, &v, sizeof v);
    return (ProtobufCBinaryData){sizeof v, out};
}

static void add_attempt(struct otlp *o, const struct record *r, const struct event_attempt *a, size_t index)
{
    struct draft d;

    begin(&d, r, ATTEMPT_NAME);
    d.span.span_id = attempt_id(d.span_id, r->generation_id, index);
    set_parent(&d, r->generation_id);
    set_times(&d, a->start_us, a->duration_us);
    put_text(&d, "langfuse.observation.type", "span");
    put_trace(&d, o, r);
    put_int(&d, "langfuse.observation.metadata.attempt", (int64_t)index + 1);
    put_text(&d, "langfuse.observation.metadata.outcome", a->outcome.p);
    put_int(&d, "langfuse.observation.metadata.wait_ms", a->wait_us / 1000);
    if (a->status)
        put_int(&d, "langfuse.observation.metadata.http_status", (int64_t)a->status);
    put_text(&d, "langfuse.observation.metadata.upstream_id", a->upstream_id.p);
    put_text(&d, "langfuse.observation.metadata.error_code", a->code.p);
    put_text(&d, "langfuse.observation.metadata.upstream", a->upstream.p);
    if (!str_eq(a->outcome, "ok"))
        set_error(&d, record_failed(r) ? "ERROR" : "WARNING", a->outcome.p);
    add(o, &d);
}

void otlp_add(struct otlp *o, const struct record *r)
{
    struct event_attempt attempts[WIRE_ATTEMPTS_MAX];
    size_t n = 0;
    void *hold = NULL;

    if (r->tries > 0 && jsonread_attempts(r->attempts, attempts, ARRAY_LEN(attempts), &n, &hold) < 0)
        n = 0;
    add_generation(o, r, n ? attempts[n - 1].upstream : str_of(""));
    for (size_t i = 0; r->tries > 1 && i < n; i++)
        add_attempt(o, r, &attempts[i], i);
    jsonread_free(hold);
}

static void put_resource(struct otlp *o, struct buf *out)
{
    struct draft d = {.span = OTLP__SPAN__INIT};
    Otlp__Resource resource = OTLP__RESOURCE__INIT;

    put_text(&d, "service.name", SERVICE_NAME);
    put_text(&d, "service.version", ATALAYA_VERSION);
    put_text(&d, "deployment.environment.name", o->environment);
    resource.n_attributes = d.span.n_attributes;
    resource.attributes = d.list;
    put_message(out, 1, &resource.base); /* ResourceSpans.resource */
}

static void put_scope(struct buf *out)
{
    Otlp__InstrumentationScope scope = OTLP__INSTRUMENTATION_SCOPE__INIT;

    scope.name = unconst(SCOPE_NAME);
    scope.version = unconst(ATALAYA_VERSION);
    put_message(out, 1, &scope.base); /* ScopeSpans.scope */
}

/* The spans come last in every message around them, so their bytes stay where they were packed. */
void otlp_export(struct otlp *o, struct str parts[OTLP_PARTS])
{
    struct buf resource = BUF_INIT(4 * KIB);
    struct buf scope = BUF_INIT(KIB);

    put_resource(o, &resource);
    put_scope(&scope);
    size_t scope_spans = scope.len + o->spans.len;
    size_t resource_spans = resource.len + 1 + varint_size(scope_spans) + scope_spans;
    buf_reset(&o->frame);
    put_head(&o->frame, 1, resource_spans); /* ExportTraceServiceRequest.resource_spans */
    buf_append(&o->frame, resource.data, resource.len);
    put_head(&o->frame, 2, scope_spans); /* ResourceSpans.scope_spans */
    buf_append(&o->frame, scope.data, scope.len);
    buf_free(&resource);
    buf_free(&scope);
    parts[0] = buf_str(&o->frame);
    parts[1] = buf_str(&o->spans);
}
