/* POST /api/public/otel/v1/traces: reads an export, refuses what Langfuse refuses, remembers what it would
 * hide. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "common/base/json.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "telemetry/otlp.pb-c.h"
#include "tests/fakes/langfuse_view.h"

#define ARENA_BLOCK     (1 * MIB)
#define ARENA_MAX       (512 * MIB)
#define TRACE_NAME_MAX  1000
#define GZIP_MINOR      30  /* 3.30 inflates */
#define ROUTE_MINOR     22  /* 3.22 has the route */
#define VERSION_MINOR   154 /* 3.154 reads x-langfuse-ingestion-version */
#define CHECKS_ID_MINOR 4   /* 4.4 refuses spans without ids */
#define INGESTION_MAX   4

/* protobuf-c makes dozens of small allocations a span: all of an export's come from here and go at once. */
struct arena {
    struct block {
        struct block *next;
        size_t used, size;
        _Alignas(max_align_t) char bytes[];
    } * blocks;
    size_t total;
};

static void *arena_alloc(void *arg, size_t n)
{
    struct arena *a = arg;
    struct block *b = a->blocks;

    n = (n + 15) & ~(size_t)15;
    if (!b || b->size - b->used < n) {
        size_t size = n > ARENA_BLOCK ? n : ARENA_BLOCK;
        if (n > ARENA_MAX || a->total > ARENA_MAX - size)
            return NULL;
        b = xmalloc(sizeof *b + size);
        *b = (struct block){.next = a->blocks, .size = size};
        a->blocks = b;
        a->total += size;
    }
    void *p = b->bytes + b->used;
    b->used += n;
    return p;
}

static void arena_free(void *arg, void *p)
{
    (void)arg;
    (void)p;
}

/* Keeps the last block for the next export. */
static void arena_reset(struct arena *a)
{
    while (a->blocks && (a->blocks->next || a->blocks->size > ARENA_BLOCK)) {
        struct block *b = a->blocks;
        a->blocks = b->next;
        a->total -= b->size;
        free(b);
    }
    if (a->blocks)
        a->blocks->used = 0;
}

typedef Otlp__KeyValue **attributes;

static const Otlp__AnyValue *attribute(attributes list, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (list[i]->key && strcmp(list[i]->key, key) == 0)
            return list[i]->value;
    return NULL;
}

static const char *text_of(const Otlp__AnyValue *v)
{
    return v && v->value_case == OTLP__ANY_VALUE__VALUE_STRING_VALUE ? v->string_value : NULL;
}

static bool utf8_ok(const char *s)
{
    size_t n = strlen(s);
    uint32_t cp;

    while (n) {
        int k = (unsigned char)*s < 0x80 ? 1 : utf8_next(s, n, &cp);
        if (k < 0)
            return false;
        s += k;
        n -= (size_t)k;
    }
    return true;
}

/* A JSON object in a string attribute, every value (of the first two levels) a number of the kind. */
static bool numbers(const json_t *object, bool integers)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)object, key, v)
    {
        if (json_is_object(v) && integers) {
            if (!numbers(v, true))
                return false;
        } else if (integers ? !json_is_integer(v) || json_integer_value(v) < 0
                            : !json_is_number(v) || json_number_value(v) < 0) {
            return false;
        }
    }
    return true;
}

static const char *object_fault(const Otlp__AnyValue *v, bool details, bool integers)
{
    const char *text = text_of(v);

    if (!text)
        return "is no JSON string: it comes out empty";
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const char *fault = NULL;
    if (!json_is_object(object))
        fault = "is no JSON object: it comes out empty";
    else if (details && json_object_size(object) == 0)
        fault = "is an empty object";
    else if (details && !numbers(object, integers))
        fault = integers ? "has a value that is no integer of at least 0"
                         : "has a value that is no number of at least 0";
    json_decref(object);
    return fault;
}

static const char *type_fault(const Otlp__AnyValue *v)
{
    static const char *const types[] = {"span", "generation", "event",     "embedding", "agent",
                                        "tool", "chain",      "retriever", "guardrail", "evaluator"};
    const char *text = text_of(v);

    for (size_t i = 0; text && i < ARRAY_LEN(types); i++)
        if (strcmp(text, types[i]) == 0)
            return NULL;
    return "is no known type: the observation becomes something else";
}

static const char *level_fault(const Otlp__AnyValue *v)
{
    const char *text = text_of(v);

    return text && rule_level(text)
               ? NULL
               : "is not DEBUG, DEFAULT, WARNING or ERROR: version 3 drops the observation";
}

static const char *time_fault(const Otlp__AnyValue *v)
{
    const char *text = text_of(v);

    return text && rule_time(text, 4) ? NULL : "is no ISO 8601 time with a zone";
}

static const char *usage_fault(const Otlp__AnyValue *v)
{
    return object_fault(v, true, true);
}

static const char *cost_fault(const Otlp__AnyValue *v)
{
    return object_fault(v, true, false);
}

static const char *json_fault(const Otlp__AnyValue *v)
{
    return object_fault(v, false, false);
}

static const char *integer_fault(const Otlp__AnyValue *v)
{
    return v && v->value_case == OTLP__ANY_VALUE__VALUE_INT_VALUE
               ? NULL
               : "is no integer: version 3 drops the observation";
}

static const char *string_fault(const Otlp__AnyValue *v)
{
    return text_of(v) ? NULL : "is no string";
}

static const char *bool_fault(const Otlp__AnyValue *v)
{
    return v && v->value_case == OTLP__ANY_VALUE__VALUE_BOOL_VALUE ? NULL : "is no bool";
}

static const char *environment_fault(const Otlp__AnyValue *v)
{
    const char *text = text_of(v);

    return text && rule_environment(text) ? NULL : "is no [a-z0-9_-]{1,40}: it is changed or refused";
}

static const char *trace_name_fault(const Otlp__AnyValue *v)
{
    const char *text = text_of(v);

    return text && utf8_count(text, strlen(text)) <= TRACE_NAME_MAX
               ? NULL
               : "is no string of at most 1000 characters";
}

static const char *tags_fault(const Otlp__AnyValue *v)
{
    if (!v || v->value_case != OTLP__ANY_VALUE__VALUE_ARRAY_VALUE)
        return "is no array";
    for (size_t i = 0; i < v->array_value->n_values; i++)
        if (!text_of(v->array_value->values[i]))
            return "has an element that is no string";
    return NULL;
}

/* Every langfuse.* attribute there is; a name that ends in a dot stands for all that begin so. */
static const struct known {
    const char *name;
    const char *(*fault)(const Otlp__AnyValue *v);
} known[] = {
    {"langfuse.observation.type", type_fault},
    {"langfuse.observation.input", string_fault},
    {"langfuse.observation.output", string_fault},
    {"langfuse.observation.model.name", string_fault},
    {"langfuse.observation.model.parameters", json_fault},
    {"langfuse.observation.usage_details", usage_fault},
    {"langfuse.observation.cost_details", cost_fault},
    {"langfuse.observation.completion_start_time", time_fault},
    {"langfuse.observation.level", level_fault},
    {"langfuse.observation.status_message", string_fault},
    {"langfuse.observation.prompt.name", string_fault},
    {"langfuse.observation.prompt.version", integer_fault},
    {"langfuse.observation.metadata", json_fault},
    {"langfuse.observation.metadata.", NULL},
    {"langfuse.version", string_fault},
    {"langfuse.environment", environment_fault},
    {"langfuse.release", string_fault},
    {"langfuse.trace.name", trace_name_fault},
    {"langfuse.user.id", string_fault},
    {"langfuse.session.id", string_fault},
    {"langfuse.trace.tags", tags_fault},
    {"langfuse.trace.public", bool_fault},
    {"langfuse.trace.metadata", json_fault},
    {"langfuse.trace.metadata.", NULL},
    {"langfuse.trace.input", string_fault},
    {"langfuse.trace.output", string_fault},
    {"langfuse.internal.is_app_root", bool_fault},
    {"langfuse.internal.as_root", bool_fault},
};

static const struct known *look_up(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        size_t n = strlen(known[i].name);
        if (known[i].name[n - 1] == '.' ? strncmp(key, known[i].name, n) == 0
                                        : strcmp(key, known[i].name) == 0)
            return &known[i];
    }
    return NULL;
}

static void check_attribute(struct langfuse *l, const Otlp__KeyValue *kv)
{
    const char *key = kv->key ? kv->key : "";
    const char *text = text_of(kv->value);

    if (!utf8_ok(key) || (text && !utf8_ok(text)))
        violation(l, "attribute %.80s is no UTF-8", utf8_ok(key) ? key : "(its key)");
    if (!kv->value || kv->value->value_case == OTLP__ANY_VALUE__VALUE__NOT_SET)
        violation(l, "attribute %.80s has no value", key);
    else if (kv->value->value_case == OTLP__ANY_VALUE__VALUE_KVLIST_VALUE)
        violation(l, "attribute %.80s is a key-value list: Langfuse shows its raw structure", key);
    if (strncmp(key, "langfuse.", 9) != 0)
        return;
    const struct known *k = look_up(key);
    const char *fault = k && k->fault ? k->fault(kv->value) : NULL;
    if (!k)
        violation(l, "attribute %.80s is unknown to Langfuse", key);
    else if (fault)
        violation(l, "attribute %.80s %s", key, fault);
}

static void check_attributes(struct langfuse *l, attributes list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check_attribute(l, list[i]);
        for (size_t j = 0; j < i; j++)
            if (list[i]->key && list[j]->key && strcmp(list[i]->key, list[j]->key) == 0)
                violation(l, "attribute %.80s is there twice", list[i]->key);
    }
}

static bool all_zero(ProtobufCBinaryData id)
{
    for (size_t i = 0; i < id.len; i++)
        if (id.data[i])
            return false;
    return true;
}

static void check_id(struct langfuse *l, const char *what, ProtobufCBinaryData id, size_t want)
{
    if (id.len && id.len != want)
        violation(l, "%s of %zu bytes: nobody finds it again", what, id.len);
    else if (id.len && all_zero(id))
        violation(l, "%s is all zero%s", what,
                  want == 8 && *what == 'p' ? ": the span is no root any more" : "");
}

static void check_span(struct langfuse *l, const Otlp__Span *s)
{
    bool name = attribute(s->attributes, s->n_attributes, "langfuse.observation.prompt.name") != NULL;
    bool version = attribute(s->attributes, s->n_attributes, "langfuse.observation.prompt.version") != NULL;

    check_id(l, "trace id", s->trace_id, 16);
    check_id(l, "span id", s->span_id, 8);
    check_id(l, "parent span id", s->parent_span_id, 8);
    if (!s->start_time_unix_nano)
        violation(l, "span without a start time");
    if (!s->end_time_unix_nano)
        violation(l, "span without an end time: it ends when it starts");
    else if (s->end_time_unix_nano < s->start_time_unix_nano)
        violation(l, "span ends before it starts");
    if (!s->name || !*s->name || !utf8_ok(s->name))
        violation(l, "span without a name, or with one that is no UTF-8");
    if (s->status && s->status->message && !utf8_ok(s->status->message))
        violation(l, "status message is no UTF-8");
    if (!attribute(s->attributes, s->n_attributes, "langfuse.trace.name"))
        violation(l, "span without langfuse.trace.name: trace attributes belong on every span");
    if (!attribute(s->attributes, s->n_attributes, "langfuse.internal.is_app_root") !=
        !attribute(s->attributes, s->n_attributes, "langfuse.internal.as_root"))
        violation(l, "is_app_root and as_root must come together: 4 looks at one, 3 at the other");
    if (name != version)
        violation(l, "prompt name and version must come together: version 3 drops the observation");
    check_attributes(l, s->attributes, s->n_attributes);
}

/* The trace's attributes must be the same on each of its spans. */
static void check_same(struct langfuse *l, char **seen, const Otlp__Span *s, const char *key)
{
    const char *now = text_of(attribute(s->attributes, s->n_attributes, key));

    if (*seen && strcmp(*seen, now ? now : "") != 0)
        violation(l, "%s differs between spans of one trace", key);
    if (*seen && strcmp(*seen, now ? now : "") == 0)
        return;
    free(*seen);
    *seen = xstrdup(now ? now : "");
}

static struct str hex(ProtobufCBinaryData id, char out[static 128])
{
    size_t n = id.len < 64 ? id.len : 64;

    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", id.data[i]);
    return (struct str){out, 2 * n};
}

/* A span is kept as an export of its own, with its resource and scope. */
static void keep_span(struct langfuse *l, Otlp__ResourceSpans *rs, Otlp__ScopeSpans *ss, Otlp__Span *s)
{
    Otlp__ScopeSpans scope = OTLP__SCOPE_SPANS__INIT;
    Otlp__ResourceSpans resource = OTLP__RESOURCE_SPANS__INIT;
    Otlp__ExportTraceServiceRequest one = OTLP__EXPORT_TRACE_SERVICE_REQUEST__INIT;
    Otlp__ScopeSpans *scope_list = &scope;
    Otlp__ResourceSpans *resource_list = &resource;
    char trace_hex[129], span_hex[129];

    scope.scope = ss->scope;
    scope.spans = &s;
    scope.n_spans = 1;
    resource.resource = rs->resource;
    resource.scope_spans = &scope_list;
    resource.n_scope_spans = 1;
    one.resource_spans = &resource_list;
    one.n_resource_spans = 1;
    size_t n = otlp__export_trace_service_request__get_packed_size(&one);
    buf_reset(&l->body);
    char *at = buf_reserve(&l->body, n);
    if (!at)
        return;
    otlp__export_trace_service_request__pack(&one, (uint8_t *)at);
    struct trace *t = store_trace(&l->store, hex(s->trace_id, trace_hex));
    struct item *i = store_item(&l->store, t, hex(s->span_id, span_hex));
    uint64_t hash = store_hash(at, n);
    if (i->raw++ == 0)
        l->spans_unique++;
    else if (i->hash == hash)
        l->spans_repeated++;
    else
        l->spans_changed++;
    if (i->raw > 1 && i->hash != hash)
        violation(l, "a span was sent again with other content");
    check_same(l, &t->name, s, "langfuse.trace.name");
    check_same(l, &t->user, s, "langfuse.user.id");
    check_same(l, &t->session, s, "langfuse.session.id");
    if (i->raw == 1 || i->hash != hash)
        store_set(&l->store, i, at, n, hash);
}

static size_t without_ids(const Otlp__ExportTraceServiceRequest *r, size_t *spans, const char **what)
{
    size_t bad = 0;

    *spans = 0;
    for (size_t a = 0; a < r->n_resource_spans; a++)
        for (size_t b = 0; b < r->resource_spans[a]->n_scope_spans; b++) {
            const Otlp__ScopeSpans *ss = r->resource_spans[a]->scope_spans[b];
            for (size_t c = 0; c < ss->n_spans; c++, ++*spans)
                if (!ss->spans[c]->trace_id.len || !ss->spans[c]->span_id.len) {
                    if (bad++ == 0)
                        *what = ss->spans[c]->trace_id.len ? "spanId" : "traceId";
                }
        }
    return bad;
}

static void take_scope(struct langfuse *l, Otlp__ResourceSpans *rs, Otlp__ScopeSpans *ss)
{
    const char *name = ss->scope && ss->scope->name ? ss->scope->name : "";

    if (strncmp(name, SCOPE_PREFIX, strlen(SCOPE_PREFIX)) != 0)
        violation(l,
                  "scope name \"%.40s\" does not begin with " SCOPE_PREFIX
                  ": every attribute is repeated in metadata",
                  name);
    for (size_t i = 0; i < ss->n_spans; i++) {
        l->spans_raw++;
        check_span(l, ss->spans[i]);
        if (!l->discard)
            keep_span(l, rs, ss, ss->spans[i]);
    }
}

static void take_export(struct langfuse *l, Otlp__ExportTraceServiceRequest *r)
{
    for (size_t a = 0; a < r->n_resource_spans; a++) {
        Otlp__ResourceSpans *rs = r->resource_spans[a];
        if (rs->resource)
            check_attributes(l, rs->resource->attributes, rs->resource->n_attributes);
        for (size_t b = 0; b < rs->n_scope_spans; b++)
            take_scope(l, rs, rs->scope_spans[b]);
    }
    store_trim(&l->store);
    l->exports++;
}

static void take_body(struct langfuse *l, struct exchange *x, struct str body)
{
    static struct arena arena;
    ProtobufCAllocator allocator = {.alloc = arena_alloc, .free = arena_free, .allocator_data = &arena};
    char text[240];
    const char *what = "";
    size_t spans;

    Otlp__ExportTraceServiceRequest *r =
        otlp__export_trace_service_request__unpack(&allocator, body.n, (const uint8_t *)body.p);
    size_t bad = r ? without_ids(r, &spans, &what) : 0;
    if (!r) {
        reply_json(l, x, 400, "{\"error\":\"Failed to parse OTel Protobuf Trace\"}");
    } else if (bad && at_least(l, 4, CHECKS_ID_MINOR)) {
        snprintf(
            text, sizeof text,
            "{\"error\":\"Invalid OTLP trace export: %zu of %zu span(s) cannot be processed (%s:absent)\"}",
            bad, spans, what);
        reply_json(l, x, 400, text);
    } else if (spans == 0) {
        reply_json(l, x, 200, "{\"message\":\"OK\"}");
    } else {
        if (bad)
            violation(l, "span without %s: it is lost", what);
        take_export(l, r);
        snprintf(text, sizeof text,
                 "{\"name\":\"otel-ingestion-job\",\"id\":\"%llu\",\"opts\":{\"attempts\":6}}",
                 (unsigned long long)l->exports);
        reply_json(l, x, 200, text);
    }
    arena_reset(&arena);
}

static bool contains(struct str s, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= s.n; i++)
        if (strncasecmp(s.p + i, word, n) == 0)
            return true;
    return false;
}

static bool version_ok(struct langfuse *l, struct exchange *x)
{
    struct str v = http_field(x, "x-langfuse-ingestion-version");
    char number[16], text[200];
    char *end = NULL;

    if (!at_least(l, 3, VERSION_MINOR))
        return true;
    if (!v.p) {
        violation(l, "export without x-langfuse-ingestion-version");
        return true;
    }
    snprintf(number, sizeof number, "%.*s", (int)(v.n < 15 ? v.n : 15), v.p);
    long n = strtol(number, &end, 10);
    if (end != number && *end == '\0' && n <= INGESTION_MAX) {
        if (n < INGESTION_MAX)
            violation(l, "x-langfuse-ingestion-version %ld: it takes minutes until the data is seen", n);
        return true;
    }
    for (char *p = number; *p; p++)
        if (*p == '"' || *p == '\\')
            *p = '?';
    snprintf(text, sizeof text,
             "{\"error\":\"Unsupported x-langfuse-ingestion-version: \\\"%s\\\". Maximum supported: "
             "\\\"%d\\\".\"}",
             number, INGESTION_MAX);
    reply_json(l, x, 400, text);
    return false;
}

/* The body as it was before gzip; false after a refusal. */
static bool plain_body(struct langfuse *l, struct exchange *x, struct str *out)
{
    struct str encoding = http_field(x, "content-encoding");

    *out = x->body;
    if (!encoding.n || str_eq(encoding, "identity"))
        return true;
    int rc = str_eq(encoding, "gzip") && at_least(l, 3, GZIP_MINOR) ? gunzip(x->body, &l->unpacked) : -ENOSYS;
    *out = buf_str(&l->unpacked);
    if (rc == -EFBIG)
        reply_json(l, x, 413, "{\"error\":\"Request body too large\"}");
    else if (rc == -EINVAL)
        reply_json(l, x, 400, "{\"error\":\"Failed to decompress gzip data\"}");
    else if (rc < 0)
        /* Such a body reaches the parser as it came. */
        reply_json(l, x, 400, "{\"error\":\"Failed to parse OTel Protobuf Trace\"}");
    return rc == 0;
}

void otlp_export(struct langfuse *l, struct exchange *x)
{
    struct str type = http_field(x, "content-type"), body;

    if (!at_least(l, 3, ROUTE_MINOR)) {
        reply(l, x, 404, "text/html; charset=utf-8", NULL,
              str_of("<!DOCTYPE html><title>404: This page could not be found.</title>"));
        return;
    }
    if (!version_ok(l, x) || !plain_body(l, x, &body))
        return;
    if (body.n == 0)
        reply_json(l, x, 200, "{}");
    else if (contains(type, "application/x-protobuf"))
        take_body(l, x, body);
    else if (contains(type, "application/json"))
        reply_json(l, x, 501, "{\"error\":\"fake-langfuse reads protobuf only\"}");
    else
        reply_json(l, x, 400, "{\"error\":\"Invalid content type\"}");
    if (l->unpacked.cap > 4 * MIB)
        buf_free(&l->unpacked);
}

/* From here on: a kept span as plain JSON. What it means is langfuse_otlp_view.c's business. */

static json_t *text_json(const char *s)
{
    json_t *v = s ? json_string(s) : NULL;

    return v ? v : s ? json_string("(no UTF-8)") : json_null();
}

static json_t *value_json(const Otlp__AnyValue *v);

static json_t *array_json(const Otlp__ArrayValue *a)
{
    json_t *list = json_array();

    for (size_t i = 0; a && i < a->n_values; i++)
        json_array_append_new(list, value_json(a->values[i]));
    return list;
}

static json_t *value_json(const Otlp__AnyValue *v)
{
    switch (v ? v->value_case : OTLP__ANY_VALUE__VALUE__NOT_SET) {
    case OTLP__ANY_VALUE__VALUE_STRING_VALUE:
        return text_json(v->string_value);
    case OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
        return json_boolean(v->bool_value);
    case OTLP__ANY_VALUE__VALUE_INT_VALUE:
        return json_integer(v->int_value);
    case OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE:
        return json_real(v->double_value);
    case OTLP__ANY_VALUE__VALUE_ARRAY_VALUE:
        return array_json(v->array_value);
    case OTLP__ANY_VALUE__VALUE_KVLIST_VALUE:
        return json_string("(key-value list)");
    case OTLP__ANY_VALUE__VALUE_BYTES_VALUE:
        return json_string("(bytes)");
    default:
        return json_null();
    }
}

static json_t *attributes_json(Otlp__KeyValue *const *list, size_t n)
{
    json_t *o = json_object();

    for (size_t i = 0; i < n; i++)
        if (list[i]->key)
            json_object_set_new(o, list[i]->key, value_json(list[i]->value));
    return o;
}

static json_t *hex_json(ProtobufCBinaryData id)
{
    char hex[2 * 64 + 1] = "";

    for (size_t i = 0; i < id.len && i < 64; i++)
        snprintf(hex + 2 * i, 3, "%02x", id.data[i]);
    return id.len ? json_string(hex) : json_null();
}

static json_t *span_json(const Otlp__Span *s, const Otlp__Resource *resource,
                         const Otlp__InstrumentationScope *scope)
{
    json_t *o = json_object();

    json_object_set_new(o, "traceId", hex_json(s->trace_id));
    json_object_set_new(o, "id", hex_json(s->span_id));
    json_object_set_new(o, "parent", hex_json(s->parent_span_id));
    json_object_set_new(o, "name", text_json(s->name));
    json_object_set_new(o, "start", json_integer((json_int_t)(s->start_time_unix_nano / 1000)));
    json_object_set_new(o, "end", json_integer((json_int_t)(s->end_time_unix_nano / 1000)));
    json_object_set_new(
        o, "error",
        json_boolean(s->status && s->status->code == OTLP__STATUS__STATUS_CODE__STATUS_CODE_ERROR));
    json_object_set_new(o, "message", text_json(s->status ? s->status->message : NULL));
    json_object_set_new(o, "attributes", attributes_json(s->attributes, s->n_attributes));
    json_object_set_new(o, "resource",
                        resource ? attributes_json(resource->attributes, resource->n_attributes)
                                 : json_object());
    json_object_set_new(o, "scopeName", text_json(scope && scope->name ? scope->name : ""));
    json_object_set_new(o, "scopeVersion", text_json(scope ? scope->version : NULL));
    return o;
}

json_t *otlp_json(const struct item *i)
{
    Otlp__ExportTraceServiceRequest *r =
        otlp__export_trace_service_request__unpack(NULL, i->n, (const uint8_t *)i->bytes);

    if (!r)
        abort(); /* it was packed by keep_span() */
    const Otlp__ResourceSpans *rs = r->resource_spans[0];
    json_t *o = span_json(rs->scope_spans[0]->spans[0], rs->resource, rs->scope_spans[0]->scope);
    otlp__export_trace_service_request__free_unpacked(r, NULL);
    return o;
}
