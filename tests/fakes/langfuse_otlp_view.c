/* A kept span as Langfuse would show it: the attribute table of its OTLP mapping. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/fakes/langfuse_view.h"

/* The first of the names that the span has, else its resource; names end with NULL. Borrowed. */
static json_t *first(const json_t *span, const char *const *names)
{
    for (; *names; names++) {
        json_t *v = json_object_get(json_object_get(span, "attributes"), *names);
        if (!v)
            v = json_object_get(json_object_get(span, "resource"), *names);
        if (v)
            return v;
    }
    return NULL;
}

#define FIRST(s, ...) first(s, (const char *const[]){__VA_ARGS__, NULL})

static void set(json_t *o, const char *key, json_t *v)
{
    json_object_set_new(o, key, v);
}

/* Borrowed values: null when there is none. */
static void copy(json_t *o, const char *key, json_t *v)
{
    json_object_set_new(o, key, v ? json_incref(v) : json_null());
}

/* A string that holds an object, a list or a string in JSON is shown parsed. */
static json_t *parsed(json_t *v)
{
    const char *s = json_string_value(v);
    json_t *json =
        s && *s && strchr("{[\"", *s) ? json_loads(s, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;

    return json ? json : v ? json_incref(v) : json_null();
}

static json_t *parsed_object(json_t *v)
{
    json_t *json = parsed(v);

    if (json_is_object(json))
        return json;
    json_decref(json);
    return json_object();
}

static json_t *type_json(const json_t *s)
{
    const char *type = json_string_value(FIRST(s, "langfuse.observation.type"));
    const char *operation = json_string_value(FIRST(s, "gen_ai.operation.name"));
    char upper[24];
    size_t i = 0;

    if (!type && operation)
        return json_string(strcmp(operation, "embeddings") == 0 ? "EMBEDDING" : "GENERATION");
    if (!type)
        return json_string(FIRST(s, "langfuse.observation.model.name", "gen_ai.response.model",
                                 "gen_ai.request.model", "model")
                               ? "GENERATION"
                               : "SPAN");
    for (; type[i] && i + 1 < sizeof upper; i++)
        upper[i] = (char)(type[i] >= 'a' && type[i] <= 'z' ? type[i] - 32 : type[i]);
    upper[i] = '\0';
    return json_string(upper);
}

static void set_times(json_t *o, const json_t *s)
{
    json_int_t start = json_integer_value(json_object_get(s, "start"));
    json_int_t end = json_integer_value(json_object_get(s, "end"));
    char text[28];

    set(o, "startTime", json_string(time_text(start ? start : end, text)));
    set(o, "endTime", json_string(time_text(end ? end : start, text)));
}

static void add_prefixed(json_t *metadata, json_t *attributes, const char *prefix)
{
    size_t n = strlen(prefix);
    const char *key;
    json_t *v;

    json_object_foreach(attributes, key, v) if (strncmp(key, prefix, n) == 0)
        set(metadata, key + n, parsed(v));
}

static json_t *metadata_json(const json_t *s)
{
    json_t *m = parsed_object(FIRST(s, "langfuse.trace.metadata"));
    json_t *own = parsed_object(FIRST(s, "langfuse.observation.metadata"));
    json_t *attributes = json_object_get(s, "attributes"), *name = json_object_get(s, "scopeName");

    json_object_update(m, own);
    json_decref(own);
    add_prefixed(m, attributes, "langfuse.trace.metadata.");
    add_prefixed(m, attributes, "langfuse.observation.metadata.");
    if (strncmp(json_string_value(name), SCOPE_PREFIX, strlen(SCOPE_PREFIX)) != 0)
        copy(m, "attributes", attributes);
    copy(m, "resourceAttributes", json_object_get(s, "resource"));
    set(m, "scope", json_pack("{s:O, s:O}", "name", name, "version", json_object_get(s, "scopeVersion")));
    return m;
}

static void set_generation(json_t *o, const json_t *s)
{
    json_t *details = parsed_object(FIRST(s, "langfuse.observation.usage_details"));

    copy(o, "model",
         FIRST(s, "langfuse.observation.model.name", "gen_ai.response.model", "gen_ai.request.model",
               "model"));
    set(o, "modelParameters", parsed_object(FIRST(s, "langfuse.observation.model.parameters")));
    set(o, "usageDetails", usage_view(details));
    json_decref(details);
    set(o, "costDetails", parsed_object(FIRST(s, "langfuse.observation.cost_details")));
    copy(o, "completionStartTime", FIRST(s, "langfuse.observation.completion_start_time"));
    copy(o, "promptName", FIRST(s, "langfuse.observation.prompt.name", "langfuse.prompt.name"));
    copy(o, "promptVersion", FIRST(s, "langfuse.observation.prompt.version", "langfuse.prompt.version"));
}

static void set_level(json_t *o, const json_t *s)
{
    json_t *level = FIRST(s, "langfuse.observation.level");
    json_t *message = FIRST(s, "langfuse.observation.status_message");
    json_t *status = json_object_get(s, "message");

    if (!level)
        set(o, "level", json_string(json_is_true(json_object_get(s, "error")) ? "ERROR" : "DEFAULT"));
    else
        copy(o, "level", level);
    copy(o, "statusMessage", message ? message : json_string_length(status) ? status : NULL);
}

static void set_trace(json_t *o, const json_t *s)
{
    json_t *environment =
        FIRST(s, "langfuse.environment", "deployment.environment.name", "deployment.environment");

    copy(o, "traceName", FIRST(s, "langfuse.trace.name"));
    copy(o, "userId", FIRST(s, "langfuse.user.id", "user.id"));
    copy(o, "sessionId", FIRST(s, "langfuse.session.id", "session.id", "gen_ai.conversation.id"));
    set(o, "tags", parsed(FIRST(s, "langfuse.trace.tags", "langfuse.tags")));
    copy(o, "public", FIRST(s, "langfuse.trace.public", "langfuse.public"));
    copy(o, "release", FIRST(s, "langfuse.release"));
    copy(o, "version", FIRST(s, "langfuse.version", "service.version"));
    set(o, "environment", environment ? json_incref(environment) : json_string("default"));
}

json_t *otlp_view(const struct item *i)
{
    json_t *s = otlp_json(i), *o = json_object();
    bool app_root = json_is_true(FIRST(s, "langfuse.internal.is_app_root"));

    copy(o, "id", json_object_get(s, "id"));
    copy(o, "traceId", json_object_get(s, "traceId"));
    copy(o, "parentObservationId", json_object_get(s, "parent"));
    set(o, "isRootObservation", json_boolean(app_root || json_is_null(json_object_get(s, "parent"))));
    set(o, "type", type_json(s));
    copy(o, "name", json_object_get(s, "name"));
    set_times(o, s);
    set(o, "input", parsed(FIRST(s, "langfuse.observation.input", "input.value", "input")));
    set(o, "output", parsed(FIRST(s, "langfuse.observation.output", "output.value", "output")));
    set_generation(o, s);
    set_level(o, s);
    set_trace(o, s);
    set(o, "metadata", metadata_json(s));
    copy(o, "attributes", json_object_get(s, "attributes"));
    json_decref(s);
    return o;
}
