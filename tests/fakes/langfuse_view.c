#include "tests/fakes/langfuse_view.h"

#include <stdio.h>
#include <time.h>

const char *time_text(int64_t us, char out[static 28])
{
    time_t t = (time_t)(us / 1000000);
    struct tm tm;

    gmtime_r(&t, &tm);
    size_t n = strftime(out, 28, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 28 - n, ".%03dZ", (int)(us / 1000 % 1000));
    return out;
}

static bool only(const json_t *o, const char *const *keys)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)o, key, v)
    {
        const char *const *k = keys;
        while (*k && strcmp(*k, key) != 0)
            k++;
        if (!*k)
            return false;
    }
    return true;
}

/* The parts of a side go into buckets of their own, what is left stays in the side's. */
static void split(json_t *out, const char *side, json_int_t all, const json_t *parts)
{
    const char *key;
    json_t *v;
    char name[120];

    json_object_foreach((json_t *)(uintptr_t)parts, key, v)
    {
        if (!json_is_integer(v))
            continue;
        snprintf(name, sizeof name, "%s_%.80s", side, key);
        json_object_set(out, name, v);
        all -= json_integer_value(v);
    }
    json_object_set_new(out, side, json_integer(all < 0 ? 0 : all));
}

json_t *usage_view(const json_t *details)
{
    static const char *const openai[] = {"prompt_tokens",         "completion_tokens",         "total_tokens",
                                         "prompt_tokens_details", "completion_tokens_details", NULL};
    json_t *out = json_object();
    json_int_t sum = 0;
    const char *key;
    json_t *v;

    if (json_object_get(details, "prompt_tokens") && json_object_get(details, "completion_tokens") &&
        json_object_get(details, "total_tokens") && only(details, openai)) {
        split(out, "input", json_integer_value(json_object_get(details, "prompt_tokens")),
              json_object_get(details, "prompt_tokens_details"));
        split(out, "output", json_integer_value(json_object_get(details, "completion_tokens")),
              json_object_get(details, "completion_tokens_details"));
        json_object_set(out, "total", json_object_get(details, "total_tokens"));
        return out;
    }
    json_object_foreach((json_t *)(uintptr_t)details, key,
                        v) if (json_is_integer(v) && json_integer_value(v) >= 0)
    {
        json_object_set(out, key, v);
        sum += json_integer_value(v);
    }
    if (json_object_size(out) && !json_object_get(out, "total"))
        json_object_set_new(out, "total", json_integer(sum));
    return out;
}

json_t *item_view(const struct item *i)
{
    json_t *v = i->json ? json_loadb(i->bytes, i->n, JSON_ALLOW_NUL, NULL) : otlp_view(i);

    json_object_set_new(v, "raw", json_integer((json_int_t)i->raw));
    return v;
}

/* The latest value that says something wins, as Langfuse merges a trace from its rows. */
static void take(json_t *trace, const char *key, const json_t *from, const char *from_key)
{
    json_t *v = json_object_get(from, from_key);

    if (v && !json_is_null(v) && !(json_is_string(v) && json_string_length(v) == 0))
        json_object_set(trace, key, v);
}

static void take_observation(json_t *trace, const json_t *o)
{
    static const char *const same[] = {"userId",  "sessionId",   "tags",  "release",
                                       "version", "environment", "public"};
    const json_t *own = json_object_get(o, "metadata");
    const char *key;
    json_t *v;

    take(trace, "name", o, "traceName");
    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        take(trace, same[i], o, same[i]);
    if (!json_is_true(json_object_get(o, "isRootObservation")))
        return;
    if (!json_object_get(trace, "name"))
        take(trace, "name", o, "name");
    take(trace, "input", o, "input");
    take(trace, "output", o, "output");
    json_object_foreach((json_t *)(uintptr_t)own, key, v)
        json_object_set(json_object_get(trace, "metadata"), key, v);
}

json_t *trace_view(const struct trace *t)
{
    json_t *trace = t->batch ? item_view(t->batch) : json_object();
    json_t *list = json_array();

    json_object_set_new(trace, "id", json_stringn(t->id, t->id_n));
    json_object_set_new(trace, "serial", json_integer((json_int_t)t->serial));
    if (!json_is_object(json_object_get(trace, "metadata")))
        json_object_set_new(trace, "metadata", json_object());
    for (const struct item *i = t->items; i; i = i->next) {
        json_t *o = item_view(i);
        if (!i->json)
            take_observation(trace, o);
        json_array_append_new(list, o);
    }
    json_object_set_new(trace, "observations", list);
    return trace;
}
