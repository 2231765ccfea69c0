/* Scores: the rules of their schema, and how they replace each other. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "tests/fakes/langfuse_event.h"
#include "tests/fakes/langfuse_view.h"

#define TEXT_MINOR       165 /* 3.165: TEXT */
#define CORRECTION_MINOR 143
#define SESSION_MINOR    53
#define TEXT_MAX         500

static bool check_subject(const struct langfuse *l, const json_t *b, char why[static WHY_MAX])
{
    bool trace = json_is_string(json_object_get(b, "traceId"));
    bool session = json_is_string(json_object_get(b, "sessionId"));
    bool run = json_is_string(json_object_get(b, "datasetRunId"));

    if (!null_or_string(b, "traceId", why) || !null_or_string(b, "observationId", why) ||
        !null_or_string(b, "sessionId", why) || !null_or_string(b, "datasetRunId", why))
        return false;
    if (!at_least(l, 3, SESSION_MINOR))
        return trace || complain(why, "body.traceId", "Required");
    if (trace + session + run != 1)
        return complain(why, "body",
                        "Provide exactly one of the following: traceId, sessionId or datasetRunId");
    if (json_is_string(json_object_get(b, "observationId")) && !trace)
        return complain(why, "body.observationId", "observationId requires traceId");
    return true;
}

static bool check_value(const struct langfuse *l, const json_t *b, char why[static WHY_MAX])
{
    const json_t *v = json_object_get(b, "value"), *type = json_object_get(b, "dataType");
    const char *t = json_string_value(type);

    if (!type)
        return json_is_number(v) || json_is_string(v) || complain(why, "body.value", "Invalid input");
    if (!t)
        return complain(why, "body.dataType", "Invalid discriminator value");
    if (strcmp(t, "NUMERIC") == 0)
        return json_is_number(v) || complain(why, "body.value", "Invalid input: expected number");
    if (strcmp(t, "BOOLEAN") == 0)
        return (json_is_number(v) && (json_number_value(v) == 0 || json_number_value(v) == 1)) ||
               complain(why, "body.value",
                        "Value must be a number equal to either 0 or 1 for data type BOOLEAN");
    if (strcmp(t, "CATEGORICAL") == 0)
        return json_is_string(v) || complain(why, "body.value", "Invalid input: expected string");
    if (strcmp(t, "TEXT") == 0 && at_least(l, 3, TEXT_MINOR))
        return (json_is_string(v) && json_string_length(v) >= 1 && json_string_length(v) <= TEXT_MAX) ||
               complain(why, "body.value", "Invalid input: expected string of 1 to %d characters", TEXT_MAX);
    if (strcmp(t, "CORRECTION") == 0 && at_least(l, 3, CORRECTION_MINOR))
        return (json_is_string(v) && !json_object_get(b, "configId") && json_object_get(b, "traceId")) ||
               complain(why, "body.value", "Invalid input for data type CORRECTION");
    return complain(why, "body.dataType", "Invalid discriminator value");
}

static bool check_source(const json_t *b, char why[static WHY_MAX])
{
    const char *source = json_string_value(json_object_get(b, "source"));

    if (!json_object_get(b, "source"))
        return true;
    return (source && (!strcmp(source, "API") || !strcmp(source, "EVAL") || !strcmp(source, "ANNOTATION"))) ||
           complain(why, "body.source", "Invalid option: expected one of \"API\"|\"EVAL\"|\"ANNOTATION\"");
}

bool score_check(struct langfuse *l, const json_t *b, int *status, char why[static WHY_MAX])
{
    const json_t *id = json_object_get(b, "id"), *name = json_object_get(b, "name");

    *status = 400;
    if (id && !json_is_null(id) && !entity_id(l, id, "body.id", why))
        return false;
    if (!json_is_string(name) || json_string_length(name) == 0)
        return complain(why, "body.name", "Invalid input: expected non-empty string");
    if (!check_value(l, b, why) || !check_subject(l, b, why) || !check_source(b, why) ||
        !null_or_string(b, "comment", why) || !null_or_string(b, "environment", why) ||
        !null_or_string(b, "configId", why) || !null_or_string(b, "queueId", why))
        return false;
    if (l->major < 3 && json_is_string(json_object_get(b, "configId"))) {
        *status = 404;
        return complain(why, "body.configId", "No config with this id");
    }
    return true;
}

/* What the server takes with a 201 and its worker then throws away. */
static bool lost(struct langfuse *l, const json_t *b)
{
    const char *source = json_string_value(json_object_get(b, "source"));
    const char *environment = json_string_value(json_object_get(b, "environment"));
    bool config = json_is_string(json_object_get(b, "configId"));

    if (environment && !rule_environment(environment))
        violation(l, "score environment is no [a-z0-9_-]{1,40}: it is changed or refused");
    if (l->major < 3)
        return false;
    if (!json_is_string(json_object_get(b, "id"))) {
        violation(l, "score without an id: it is taken and dropped");
        return true;
    }
    if (config || (source && strcmp(source, "ANNOTATION") == 0)) {
        violation(l, "score with a configId that does not exist, or an annotation without one: it is taken "
                     "and dropped");
        return true;
    }
    return false;
}

static void check_same_subject(struct langfuse *l, const struct item *old, const json_t *b)
{
    static const char *const subject[] = {"traceId", "observationId", "sessionId", "datasetRunId"};
    json_t *v = old->bytes ? json_loadb(old->bytes, old->n, JSON_ALLOW_NUL, NULL) : NULL;
    bool same = true;

    for (size_t i = 0; v && i < ARRAY_LEN(subject); i++) {
        const char *was = json_string_value(json_object_get(v, subject[i]));
        const char *is = json_string_value(json_object_get(b, subject[i]));
        same &= strcmp(was ? was : "", is ? is : "") == 0;
    }
    if (!same)
        violation(l, "a score's id is used for another trace or observation: the older score is gone");
    json_decref(v);
}

void score_keep(struct langfuse *l, json_t *b, const char *at)
{
    char key[1024];

    l->scores_raw++;
    if (lost(l, b) || l->discard)
        return;
    /* Langfuse replaces a score only when id, name and day agree. */
    int n = snprintf(key, sizeof key, "%s\n%s\n%.10s", json_string_value(json_object_get(b, "id")),
                     json_string_value(json_object_get(b, "name")), at);
    if (n < 0 || (size_t)n >= sizeof key)
        n = (int)sizeof key - 1;
    struct item *i = store_score(&l->store, (struct str){key, (size_t)n});
    if (i->raw++ == 0)
        l->scores_unique++;
    check_same_subject(l, i, b);
    json_object_set_new(b, "timestamp", json_string(at));
    if (!json_object_get(b, "dataType"))
        json_object_set_new(
            b, "dataType",
            json_string(json_is_number(json_object_get(b, "value")) ? "NUMERIC" : "CATEGORICAL"));
    if (!json_object_get(b, "source"))
        json_object_set_new(b, "source", json_string("API"));
    if (!json_object_get(b, "environment"))
        json_object_set_new(b, "environment", json_string("default"));
    char *text = json_dumps(b, JSON_COMPACT);
    i->json = true;
    store_set(&l->store, i, text, strlen(text), 0);
    free(text);
    store_trim(&l->store);
}

static void refuse(struct langfuse *l, struct exchange *x, const char *why)
{
    json_t *v = json_pack("{s:s, s:s}", "message", "Invalid request data", "error", why);
    char *text = json_dumps(v, JSON_COMPACT);

    reply_json(l, x, 400, text);
    free(text);
    json_decref(v);
}

/* One score, named and dated by the server where the caller has not. */
void score_post(struct langfuse *l, struct exchange *x)
{
    json_t *b = json_loadb(x->body.p ? x->body.p : "", x->body.n, JSON_ALLOW_NUL, NULL);
    char why[WHY_MAX], at[28], uuid[ID_UUID_SIZE];
    const char *source = json_string_value(json_object_get(b, "source"));
    int status;

    if (!b) {
        reply(l, x, 400, "text/plain; charset=utf-8", NULL, str_of("Invalid JSON"));
        return;
    }
    if (!json_is_object(b))
        complain(why, "", "Invalid input: expected object");
    else if (source && strcmp(source, "EVAL") == 0)
        complain(why, "source", "Invalid option: expected one of \"API\"|\"ANNOTATION\"");
    else if (score_check(l, b, &status, why))
        goto keep;
    refuse(l, x, why);
    json_decref(b);
    return;
keep:
    if (!json_is_string(json_object_get(b, "id"))) {
        id_uuid(uuid);
        json_object_set_new(b, "id", json_string(uuid));
    }
    score_keep(l, b, time_text(wall_us(), at));
    json_t *reply_body = json_pack("{s:O}", "id", json_object_get(b, "id"));
    char *text = json_dumps(reply_body, JSON_COMPACT);
    reply_json(l, x, 200, text);
    free(text);
    json_decref(reply_body);
    json_decref(b);
}
