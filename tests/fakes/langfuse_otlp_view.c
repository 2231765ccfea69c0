/* A kept span as Langfuse would show it: the attribute table of its OTLP mapping. */
#include <stdio.h>
#include <stdlib.h>

#include "telemetry/otlp.pb-c.h"
#include "tests/fakes/langfuse_view.h"

struct source {
    const Otlp__Span *span;
    const Otlp__Resource *resource;
    const Otlp__InstrumentationScope *scope;
};

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

static const Otlp__AnyValue *find(Otlp__KeyValue *const *list, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (list[i]->key && strcmp(list[i]->key, key) == 0)
            return list[i]->value;
    return NULL;
}

/* The first of the names that the span has, else its resource; names end with NULL. */
static const Otlp__AnyValue *first(const struct source *s, const char *const *names)
{
    for (; *names; names++) {
        const Otlp__AnyValue *v = find(s->span->attributes, s->span->n_attributes, *names);
        if (!v && s->resource)
            v = find(s->resource->attributes, s->resource->n_attributes, *names);
        if (v)
            return v;
    }
    return NULL;
}

#define FIRST(s, ...) first(s, (const char *const[]){__VA_ARGS__, NULL})

static const char *text(const Otlp__AnyValue *v)
{
    return v && v->value_case == OTLP__ANY_VALUE__VALUE_STRING_VALUE ? v->string_value : NULL;
}

/* A string that holds an object, a list or a string in JSON is shown parsed. */
static json_t *parsed(const Otlp__AnyValue *v)
{
    const char *s = text(v);
    json_t *json =
        s && *s && strchr("{[\"", *s) ? json_loads(s, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;

    return json ? json : v ? value_json(v) : json_null();
}

static json_t *parsed_object(const Otlp__AnyValue *v)
{
    json_t *json = parsed(v);

    if (json_is_object(json))
        return json;
    json_decref(json);
    return json_object();
}

static void set(json_t *o, const char *key, json_t *v)
{
    json_object_set_new(o, key, v);
}

static void set_text(json_t *o, const char *key, const char *s)
{
    set(o, key, text_json(s));
}

static const char *type_of(const struct source *s, char upper[static 24])
{
    const char *type = text(FIRST(s, "langfuse.observation.type"));
    const char *operation = text(FIRST(s, "gen_ai.operation.name"));
    size_t i = 0;

    if (!type && operation)
        return strcmp(operation, "embeddings") == 0 ? "EMBEDDING" : "GENERATION";
    if (!type)
        return FIRST(s, "langfuse.observation.model.name", "gen_ai.response.model", "gen_ai.request.model",
                     "model")
                   ? "GENERATION"
                   : "SPAN";
    for (; type[i] && i < 23; i++)
        upper[i] = (char)(type[i] >= 'a' && type[i] <= 'z' ? type[i] - 32 : type[i]);
    upper[i] = '\0';
    return upper;
}

static void set_times(json_t *o, const Otlp__Span *s)
{
    char start[28], end[28];
    uint64_t a = s->start_time_unix_nano, b = s->end_time_unix_nano;

    a = a ? a : b;
    b = b ? b : a;
    set_text(o, "startTime", time_text((int64_t)(a / 1000), start));
    set_text(o, "endTime", time_text((int64_t)(b / 1000), end));
}

static json_t *attributes_json(Otlp__KeyValue *const *list, size_t n)
{
    json_t *o = json_object();

    for (size_t i = 0; i < n; i++)
        if (list[i]->key)
            set(o, list[i]->key, value_json(list[i]->value));
    return o;
}

static void add_prefixed(json_t *metadata, const Otlp__Span *s, const char *prefix)
{
    size_t n = strlen(prefix);

    for (size_t i = 0; i < s->n_attributes; i++)
        if (s->attributes[i]->key && strncmp(s->attributes[i]->key, prefix, n) == 0)
            set(metadata, s->attributes[i]->key + n, parsed(s->attributes[i]->value));
}

static json_t *metadata_json(const struct source *s)
{
    json_t *m = parsed_object(FIRST(s, "langfuse.trace.metadata"));
    json_t *own = parsed_object(FIRST(s, "langfuse.observation.metadata"));
    json_t *scope = json_object();
    const char *name = s->scope && s->scope->name ? s->scope->name : "";

    json_object_update(m, own);
    json_decref(own);
    add_prefixed(m, s->span, "langfuse.trace.metadata.");
    add_prefixed(m, s->span, "langfuse.observation.metadata.");
    if (strncmp(name, SCOPE_PREFIX, strlen(SCOPE_PREFIX)) != 0)
        set(m, "attributes", attributes_json(s->span->attributes, s->span->n_attributes));
    if (s->resource)
        set(m, "resourceAttributes", attributes_json(s->resource->attributes, s->resource->n_attributes));
    set_text(scope, "name", name);
    set_text(scope, "version",
             s->scope && s->scope->version && *s->scope->version ? s->scope->version : NULL);
    set(m, "scope", scope);
    return m;
}

static void set_generation(json_t *o, const struct source *s)
{
    json_t *details = parsed_object(FIRST(s, "langfuse.observation.usage_details"));

    set(o, "model",
        value_json(FIRST(s, "langfuse.observation.model.name", "gen_ai.response.model",
                         "gen_ai.request.model", "model")));
    set(o, "modelParameters", parsed_object(FIRST(s, "langfuse.observation.model.parameters")));
    set(o, "usageDetails", usage_view(details));
    json_decref(details);
    set(o, "costDetails", parsed_object(FIRST(s, "langfuse.observation.cost_details")));
    set(o, "completionStartTime", value_json(FIRST(s, "langfuse.observation.completion_start_time")));
    set(o, "promptName", value_json(FIRST(s, "langfuse.observation.prompt.name", "langfuse.prompt.name")));
    set(o, "promptVersion",
        value_json(FIRST(s, "langfuse.observation.prompt.version", "langfuse.prompt.version")));
}

static void set_level(json_t *o, const struct source *s)
{
    const char *level = text(FIRST(s, "langfuse.observation.level"));
    const char *message = text(FIRST(s, "langfuse.observation.status_message"));
    const Otlp__Status *status = s->span->status;

    if (!level)
        level = status && status->code == OTLP__STATUS__STATUS_CODE__STATUS_CODE_ERROR ? "ERROR" : "DEFAULT";
    if (!message && status && status->message && *status->message)
        message = status->message;
    set_text(o, "level", level);
    set_text(o, "statusMessage", message);
}

static void set_trace(json_t *o, const struct source *s)
{
    const Otlp__AnyValue *environment =
        FIRST(s, "langfuse.environment", "deployment.environment.name", "deployment.environment");

    set(o, "traceName", value_json(FIRST(s, "langfuse.trace.name")));
    set(o, "userId", value_json(FIRST(s, "langfuse.user.id", "user.id")));
    set(o, "sessionId", value_json(FIRST(s, "langfuse.session.id", "session.id", "gen_ai.conversation.id")));
    set(o, "tags", parsed(FIRST(s, "langfuse.trace.tags", "langfuse.tags")));
    set(o, "public", value_json(FIRST(s, "langfuse.trace.public", "langfuse.public")));
    set(o, "release", value_json(FIRST(s, "langfuse.release")));
    set(o, "version", value_json(FIRST(s, "langfuse.version", "service.version")));
    set(o, "environment", environment ? value_json(environment) : json_string("default"));
}

static json_t *hex_json(ProtobufCBinaryData id)
{
    char hex[2 * 64 + 1] = "";

    for (size_t i = 0; i < id.len && i < 64; i++)
        snprintf(hex + 2 * i, 3, "%02x", id.data[i]);
    return id.len ? json_string(hex) : json_null();
}

static json_t *span_json(const struct source *s)
{
    json_t *o = json_object();
    const Otlp__AnyValue *app_root = FIRST(s, "langfuse.internal.is_app_root");
    char upper[24];

    set(o, "id", hex_json(s->span->span_id));
    set(o, "traceId", hex_json(s->span->trace_id));
    set(o, "parentObservationId", hex_json(s->span->parent_span_id));
    set(o, "isRootObservation",
        json_boolean(s->span->parent_span_id.len == 0 || (app_root && app_root->bool_value)));
    set_text(o, "type", type_of(s, upper));
    set_text(o, "name", s->span->name);
    set_times(o, s->span);
    set(o, "input", parsed(FIRST(s, "langfuse.observation.input", "input.value", "input")));
    set(o, "output", parsed(FIRST(s, "langfuse.observation.output", "output.value", "output")));
    set_generation(o, s);
    set_level(o, s);
    set_trace(o, s);
    set(o, "metadata", metadata_json(s));
    set(o, "attributes", attributes_json(s->span->attributes, s->span->n_attributes));
    return o;
}

json_t *otlp_view(const struct item *i)
{
    Otlp__ExportTraceServiceRequest *r =
        otlp__export_trace_service_request__unpack(NULL, i->n, (const uint8_t *)i->bytes);

    if (!r)
        return json_null();
    const Otlp__ResourceSpans *rs = r->resource_spans[0];
    const struct source s = {
        .span = rs->scope_spans[0]->spans[0], .resource = rs->resource, .scope = rs->scope_spans[0]->scope};
    json_t *o = span_json(&s);
    otlp__export_trace_service_request__free_unpacked(r, NULL);
    return o;
}
