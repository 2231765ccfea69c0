/* POST /api/public/ingestion: judges each event of a batch and answers 207. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "tests/fakes/langfuse_event.h"

#define ID_MAX         800
#define TRACE_NAME_MAX 1000
#define ID_MINOR       39
#define TYPES_MINOR    98 /* 3.98.2: agent-create and its like */
#define DETAILS_MINOR  2

bool complain(char why[static WHY_MAX], const char *path, const char *fmt, ...)
{
    char message[200], quoted[400];
    size_t n = 0;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    for (const char *p = path; *p && n + 4 < sizeof quoted; p++) {
        if (p == path)
            quoted[n++] = '"';
        if (*p == '.') {
            memcpy(quoted + n, "\",\"", 3);
            n += 3;
        } else {
            quoted[n++] = *p;
        }
        if (!p[1])
            quoted[n++] = '"';
    }
    quoted[n] = '\0';
    for (char *p = message; *p; p++)
        if (*p == '"')
            *p = '\'';
    snprintf(why, WHY_MAX, "[{\"code\":\"invalid_type\",\"path\":[%.120s],\"message\":\"%s\"}]", quoted,
             message);
    return false;
}

bool null_or_string(const json_t *b, const char *key, char why[static WHY_MAX])
{
    const json_t *v = json_object_get(b, key);
    char path[80];

    snprintf(path, sizeof path, "body.%s", key);
    return !v || json_is_null(v) || json_is_string(v) ||
           complain(why, path, "Invalid input: expected string");
}

bool null_or_time(const struct langfuse *l, const json_t *b, const char *key, char why[static WHY_MAX])
{
    const json_t *v = json_object_get(b, key);
    char path[80];

    snprintf(path, sizeof path, "body.%s", key);
    return !v || json_is_null(v) || (json_is_string(v) && rule_time(json_string_value(v), l->major)) ||
           complain(why, path, "Invalid ISO datetime");
}

bool entity_id(const struct langfuse *l, const json_t *id, const char *path, char why[static WHY_MAX])
{
    if (!json_is_string(id))
        return complain(why, path, "Invalid input: expected string");
    if (!at_least(l, 3, 0))
        return true;
    if (json_string_length(id) == 0)
        return complain(why, path, "Too small: expected string to have >=1 characters");
    if (at_least(l, 3, ID_MINOR) && json_string_length(id) > ID_MAX)
        return complain(why, path, "Too big: expected string to have <=%d characters", ID_MAX);
    if (strchr(json_string_value(id), '\r'))
        return complain(why, path, "ID cannot contain carriage return characters");
    return true;
}

enum kind { KIND_TRACE, KIND_SPAN, KIND_EVENT, KIND_GENERATION, KIND_SCORE, KIND_LOG };

static const struct type {
    const char *name;
    enum kind kind;
    const char *shown; /* the observation's type */
    bool since_3_98;
} types[] = {
    {"trace-create", KIND_TRACE, NULL, false},
    {"score-create", KIND_SCORE, NULL, false},
    {"sdk-log", KIND_LOG, NULL, false},
    {"event-create", KIND_EVENT, "EVENT", false},
    {"span-create", KIND_SPAN, "SPAN", false},
    {"span-update", KIND_SPAN, "SPAN", false},
    {"generation-create", KIND_GENERATION, "GENERATION", false},
    {"generation-update", KIND_GENERATION, "GENERATION", false},
    {"agent-create", KIND_GENERATION, "AGENT", true},
    {"tool-create", KIND_GENERATION, "TOOL", true},
    {"chain-create", KIND_GENERATION, "CHAIN", true},
    {"retriever-create", KIND_GENERATION, "RETRIEVER", true},
    {"evaluator-create", KIND_GENERATION, "EVALUATOR", true},
    {"embedding-create", KIND_GENERATION, "EMBEDDING", true},
    {"guardrail-create", KIND_GENERATION, "GUARDRAIL", true},
};

static const struct type *find_type(const struct langfuse *l, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].since_3_98 && !at_least(l, 3, TYPES_MINOR) ? NULL : &types[i];
    return NULL;
}

static bool check_trace(const struct langfuse *l, const json_t *b, char why[static WHY_MAX])
{
    const json_t *tags = json_object_get(b, "tags"), *public = json_object_get(b, "public");
    const json_t *id = json_object_get(b, "id"), *name = json_object_get(b, "name");

    if ((id && !json_is_null(id) && !entity_id(l, id, "body.id", why)) ||
        !null_or_time(l, b, "timestamp", why) || !null_or_string(b, "name", why) ||
        !null_or_string(b, "userId", why) || !null_or_string(b, "sessionId", why) ||
        !null_or_string(b, "release", why) || !null_or_string(b, "version", why) ||
        !null_or_string(b, "externalId", why) || !null_or_string(b, "environment", why))
        return false;
    if (l->major >= 3 && json_string_length(name) > TRACE_NAME_MAX)
        return complain(why, "body.name", "Too big: expected string to have <=%d characters", TRACE_NAME_MAX);
    if (public && !json_is_null(public) && !json_is_boolean(public))
        return complain(why, "body.public", "Invalid input: expected boolean");
    if (tags && !json_is_null(tags) && !json_is_array(tags))
        return complain(why, "body.tags", "Invalid input: expected array");
    for (size_t i = 0; i < json_array_size(tags); i++)
        if (!json_is_string(json_array_get(tags, i)))
            return complain(why, "body.tags", "Invalid input: expected string");
    return true;
}

static bool check_observation(const struct langfuse *l, const json_t *b, char why[static WHY_MAX])
{
    const json_t *level = json_object_get(b, "level"), *id = json_object_get(b, "id");

    if (!id)
        return complain(why, "body.id", "Invalid input: expected string, received undefined");
    if (!entity_id(l, id, "body.id", why) || !null_or_string(b, "traceId", why) ||
        !null_or_string(b, "name", why) || !null_or_time(l, b, "startTime", why) ||
        !null_or_time(l, b, "endTime", why) || !null_or_string(b, "statusMessage", why) ||
        !null_or_string(b, "parentObservationId", why) || !null_or_string(b, "version", why) ||
        !null_or_string(b, "environment", why))
        return false;
    if (level && !json_is_null(level) && !(json_is_string(level) && rule_level(json_string_value(level))))
        return complain(why, "body.level", "Invalid option: expected one of DEBUG|DEFAULT|WARNING|ERROR");
    return true;
}

static bool check_parameter(const json_t *v)
{
    const char *key;
    json_t *inner;

    if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++)
            if (!json_is_string(json_array_get(v, i)))
                return false;
    } else if (json_is_object(v)) {
        json_object_foreach((json_t *)(uintptr_t)v, key, inner) if (!json_is_string(inner)) return false;
    }
    return true;
}

static bool check_usage(const json_t *b, char why[static WHY_MAX])
{
    static const char *const counts[] = {"input",        "output",           "total",
                                         "promptTokens", "completionTokens", "totalTokens"};
    static const char *const units[] = {"CHARACTERS",   "TOKENS", "SECONDS",
                                        "MILLISECONDS", "IMAGES", "REQUESTS"};
    const json_t *usage = json_object_get(b, "usage"), *unit = json_object_get(usage, "unit");
    bool known = !unit || json_is_null(unit);

    if (!usage || json_is_null(usage))
        return true;
    if (!json_is_object(usage))
        return complain(why, "body.usage", "Invalid input: expected object");
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        const json_t *v = json_object_get(usage, counts[i]);
        if (v && !json_is_null(v) && !json_is_integer(v))
            return complain(why, "body.usage", "Invalid input: expected int");
    }
    for (size_t i = 0; !known && i < ARRAY_LEN(units); i++)
        known = json_is_string(unit) && strcmp(json_string_value(unit), units[i]) == 0;
    return known || complain(why, "body.usage.unit", "Invalid option");
}

static bool check_generation(const struct langfuse *l, const json_t *b, char why[static WHY_MAX])
{
    json_t *parameters = json_object_get(b, "modelParameters"), *v;
    const json_t *name = json_object_get(b, "promptName"), *version = json_object_get(b, "promptVersion");
    const char *key;

    if (!null_or_time(l, b, "completionStartTime", why) || !null_or_string(b, "model", why) ||
        !check_usage(b, why))
        return false;
    if (parameters && !json_is_null(parameters) && !json_is_object(parameters))
        return complain(why, "body.modelParameters", "Invalid input: expected record");
    json_object_foreach(parameters, key, v) if (!check_parameter(v)) return complain(
        why, "body.modelParameters", "Invalid input");
    bool has_name = name && !json_is_null(name), has_version = version && !json_is_null(version);
    if (has_name != has_version || (has_name && !json_is_string(name)) ||
        (has_version && (!json_is_integer(version) || json_integer_value(version) < 1)))
        return complain(why, "body.promptVersion", "promptName and promptVersion must come together");
    return true;
}

static bool check_body(struct langfuse *l, const struct type *t, const json_t *b, int *status,
                       char why[static WHY_MAX])
{
    *status = 400;
    switch (t->kind) {
    case KIND_LOG:
        return (json_object_get(b, "log") && !json_is_null(json_object_get(b, "log"))) ||
               complain(why, "body.log", "Invalid input");
    case KIND_SCORE:
        return score_check(l, b, status, why);
    case KIND_TRACE:
        return check_trace(l, b, why);
    case KIND_GENERATION:
        return check_observation(l, b, why) && check_generation(l, b, why);
    default:
        return check_observation(l, b, why);
    }
}

/* What the schema takes but no reader of Langfuse will ever find as it was meant. */
static void judge(struct langfuse *l, const json_t *b)
{
    const char *environment = json_string_value(json_object_get(b, "environment"));
    const json_t *usage = json_object_get(b, "usage");

    if (environment && !rule_environment(environment))
        violation(l, "environment is no [a-z0-9_-]{1,40}: it is changed or refused");
    if (json_object_get(usage, "prompt_tokens"))
        violation(l, "usage in snake_case: it is lost");
    if (json_object_get(b, "usageDetails") && !usage && !at_least(l, 3, DETAILS_MINOR))
        violation(l, "usageDetails without usage: this version strips it");
    if (usage && !json_object_get(b, "usageDetails") && at_least(l, 3, DETAILS_MINOR))
        violation(l, "usage without usageDetails: cached and reasoning tokens are lost");
}

static void merge(json_t *into, json_t *from)
{
    const char *key;
    json_t *v;

    json_object_foreach(from, key, v)
    {
        json_t *old = json_object_get(into, key);
        bool text = strcmp(key, "input") == 0 || strcmp(key, "output") == 0;
        if (json_is_object(old) && json_is_object(v) && strcmp(key, "metadata") == 0)
            json_object_update(old, v);
        else if (!(text && json_is_null(v)))
            json_object_set(into, key, v);
    }
}

static void keep(struct langfuse *l, const struct type *t, json_t *b, const char *at)
{
    const json_t *id = json_object_get(b, "id"), *trace_id = json_object_get(b, "traceId");

    judge(l, b);
    if (!json_is_string(id)) {
        violation(l, "%s without a body id: it is taken and dropped", t->name);
        return;
    }
    if (l->discard)
        return;
    if (t->kind == KIND_TRACE || !json_is_string(trace_id))
        trace_id = id;
    struct trace *trace =
        store_trace(&l->store, (struct str){json_string_value(trace_id), json_string_length(trace_id)});
    struct item *i =
        t->kind == KIND_TRACE
            ? store_trace_body(&l->store, trace)
            : store_item(&l->store, trace, (struct str){json_string_value(id), json_string_length(id)});
    json_t *all = i->bytes && i->json ? json_loadb(i->bytes, i->n, JSON_ALLOW_NUL, NULL) : json_object();
    merge(all, b);
    if (t->shown)
        json_object_set_new(all, "type", json_string(t->shown));
    if (!json_object_get(all, t->kind == KIND_TRACE ? "timestamp" : "startTime"))
        json_object_set_new(all, t->kind == KIND_TRACE ? "timestamp" : "startTime", json_string(at));
    char *text = json_dumps(all, JSON_COMPACT);
    i->json = true;
    i->raw++;
    store_set(&l->store, i, text, strlen(text), 0);
    free(text);
    json_decref(all);
    store_trim(&l->store);
}

static void add_error(json_t *errors, const json_t *id, int status, const char *message, const char *error)
{
    json_array_append_new(errors, json_pack("{s:s, s:i, s:s, s:s}", "id",
                                            json_is_string(id) ? json_string_value(id) : "unknown", "status",
                                            status, "message", message, "error", error));
}

/* The event's type, or NULL after a complaint. */
static const struct type *check_envelope(const struct langfuse *l, const json_t *e, char why[static WHY_MAX])
{
    const json_t *type = json_object_get(e, "type"), *at = json_object_get(e, "timestamp");
    const struct type *t = json_is_string(type) ? find_type(l, json_string_value(type)) : NULL;

    if (!json_is_object(e))
        complain(why, "", "Invalid input: expected object");
    else if (!entity_id(l, json_object_get(e, "id"), "id", why))
        return NULL;
    else if (!t)
        complain(why, "type", "Invalid discriminator value");
    else if (!json_is_string(at) || !rule_time(json_string_value(at), l->major))
        complain(why, "timestamp", "Invalid ISO datetime");
    else if (!json_is_object(json_object_get(e, "body")))
        complain(why, "body", "Invalid input: expected object");
    else
        return t;
    return NULL;
}

static bool type_accepted(const struct langfuse *l, const char *type)
{
    return !at_least(l, 4, 0) || l->mode != MODE_EVENTS_ONLY || strcmp(type, "score-create") == 0 ||
           strcmp(type, "sdk-log") == 0;
}

static void ingest_event(struct langfuse *l, json_t *e, bool scores_only, json_t *successes, json_t *errors)
{
    const json_t *id = json_object_get(e, "id");
    const char *type = json_string_value(json_object_get(e, "type"));
    char why[WHY_MAX] = "";
    int status = 400;

    l->events_raw++;
    if (type && !type_accepted(l, type)) {
        snprintf(why, sizeof why,
                 "Event type \"%.60s\" is not accepted by /api/public/ingestion when "
                 "LANGFUSE_MIGRATION_V4_WRITE_MODE is "
                 "events_only. Send it to /api/public/otel/v1/traces instead.",
                 type);
        add_error(errors, id, 400, "Event type not accepted", why);
        l->events_refused++;
        return;
    }
    json_t *b = json_object_get(e, "body");
    const struct type *t = check_envelope(l, e, why);
    if (!t || !check_body(l, t, b, &status, why)) {
        add_error(errors, id, status, status == 404 ? "Not found" : "Invalid request data", why);
        violation(l, "event refused: %.180s", why);
        l->events_refused++;
        return;
    }
    if (scores_only && t->kind != KIND_SCORE && t->kind != KIND_LOG) {
        add_error(errors, id, 401, "Authentication error", "Access Scope Denied");
        l->events_refused++;
        return;
    }
    if (t->kind == KIND_LOG)
        return;
    const char *at = json_string_value(json_object_get(e, "timestamp"));
    if (t->kind == KIND_SCORE)
        score_keep(l, b, at);
    else
        keep(l, t, b, at);
    json_array_append_new(successes, json_pack("{s:s, s:i}", "id", json_string_value(id), "status", 201));
}

static void ingest(struct langfuse *l, struct exchange *x, json_t *batch, bool scores_only)
{
    json_t *successes = json_array(), *errors = json_array();

    for (size_t i = 0; i < json_array_size(batch); i++)
        ingest_event(l, json_array_get(batch, i), scores_only, successes, errors);
    json_t *v = json_pack("{s:o, s:o}", "successes", successes, "errors", errors);
    char *text = json_dumps(v, JSON_COMPACT);
    reply_json(l, x, 207, text);
    free(text);
    json_decref(v);
}

static bool is_json(struct str type)
{
    size_t n = type.n && memchr(type.p, ';', type.n)
                   ? (size_t)((const char *)memchr(type.p, ';', type.n) - type.p)
                   : type.n;

    return (n == 16 && strncasecmp(type.p, "application/json", n) == 0) ||
           (n == 19 && strncasecmp(type.p, "application/ld+json", n) == 0);
}

void batch_ingest(struct langfuse *l, struct exchange *x, bool scores_only)
{
    if (x->body.n > INGESTION_BODY_MAX) {
        reply(l, x, 413, "text/plain; charset=utf-8", NULL, str_of("Body exceeded 4.5mb limit"));
        return;
    }
    bool json = is_json(http_field(x, "content-type"));
    json_t *root =
        json ? json_loadb(x->body.p ? x->body.p : "", x->body.n, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL)
             : NULL;
    if (json && !root) {
        reply(l, x, 400, "text/plain; charset=utf-8", NULL, str_of("Invalid JSON"));
        return;
    }
    json_t *batch = json_object_get(root, "batch");
    if (json_is_array(batch))
        ingest(l, x, batch, scores_only);
    else
        reply_json(l, x, 400,
                   "{\"message\":\"Invalid request "
                   "data\",\"errors\":[{\"code\":\"invalid_type\",\"expected\":\"array\","
                   "\"path\":[\"batch\"],\"message\":\"Invalid input: expected array\"}]}");
    json_decref(root);
}
