#include "telemetry/jsonread.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/limits.h"

static struct str text_of(const json_t *v)
{
    return json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)}
                             : (struct str){"", 0};
}

static int64_t int_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

int jsonread_attempts(struct str text, struct event_attempt *a, size_t max, size_t *n, void **hold)
{
    json_t *array = json_loadb(text.p, text.n, 0, NULL);
    json_t *item;
    size_t i;

    *n = 0;
    *hold = array;
    if (!json_is_array(array)) {
        json_decref(array);
        *hold = NULL;
        return -EBADMSG;
    }
    json_array_foreach(array, i, item)
    {
        const json_t *cost = json_object_get(item, "cost_usd");
        if (i == max)
            break;
        a[i] = (struct event_attempt){
            .start_us = int_of(item, "start_us"),
            .duration_us = int_of(item, "duration_us"),
            .wait_us = int_of(item, "wait_us"),
            .status = (uint64_t)int_of(item, "status"),
            .outcome = text_of(json_object_get(item, "outcome")),
            .upstream_id = text_of(json_object_get(item, "upstream_id")),
            .code = text_of(json_object_get(item, "code")),
            .upstream = text_of(json_object_get(item, "upstream")),
            .model = text_of(json_object_get(item, "model")),
            .prompt_tokens = (uint64_t)int_of(item, "prompt_tokens"),
            .completion_tokens = (uint64_t)int_of(item, "completion_tokens"),
            .usage_estimated = json_is_true(json_object_get(item, "usage_estimated")),
            .has_cost = json_is_number(cost),
            .cost_usd = json_number_value(cost),
        };
        *n = i + 1;
    }
    return 0;
}

void jsonread_free(void *hold)
{
    json_decref(hold);
}

/* A text, or a part of OpenAI's list: {"type":"text","text":…}. Of another type it stays what it is. */
static void add_part(json_t *parts, json_t *content)
{
    json_t *text = json_is_string(content) ? content : json_object_get(content, "text");

    if (json_is_string(text))
        json_array_append_new(parts, json_pack("{s:s, s:O}", "type", "text", "content", text));
    else if (json_is_string(json_object_get(content, "type")))
        json_array_append(parts, content);
}

static void add_tool_call(json_t *parts, const json_t *call)
{
    const json_t *function = json_object_get(call, "function");
    json_t *part = json_pack("{s:s}", "type", "tool_call");

    json_object_set(part, "id", json_object_get(call, "id"));
    json_object_set(part, "name", json_object_get(function, "name"));
    json_object_set(part, "arguments", json_object_get(function, "arguments"));
    json_array_append_new(parts, part);
}

static json_t *parts_of(const json_t *message)
{
    json_t *parts = json_array(), *content = json_object_get(message, "content"), *item;
    const json_t *id = json_object_get(message, "tool_call_id");
    size_t i;

    if (id) { /* what a tool has answered */
        json_array_append_new(parts, json_pack("{s:s, s:O, s:O?}", "type", "tool_call_response", "id", id,
                                               "response", content));
        return parts;
    }
    if (json_is_string(content))
        add_part(parts, content);
    json_array_foreach(content, i, item) add_part(parts, item);
    json_array_foreach(json_object_get(message, "tool_calls"), i, item) add_tool_call(parts, item);
    return parts;
}

static bool add_message(json_t *list, const json_t *message)
{
    json_t *role = json_object_get(message, "role");

    if (!json_is_string(role))
        return false;
    json_array_append_new(list, json_pack("{s:O, s:o}", "role", role, "parts", parts_of(message)));
    return true;
}

int jsonread_messages(struct str text, struct buf *out)
{
    json_t *root = json_loadb(text.p, text.n, 0, NULL), *list = json_array(), *item;
    bool ok = json_is_array(root) || add_message(list, root);
    size_t i;

    json_array_foreach(root, i, item) ok = ok && add_message(list, item);
    char *written = ok ? json_dumps(list, JSON_COMPACT) : NULL;
    if (written)
        buf_puts(out, written);
    free(written);
    json_decref(list);
    json_decref(root);
    return written ? 0 : -EBADMSG;
}

void jsonread_version(struct str text, char *out, size_t size)
{
    json_t *root = json_loadb(text.p, text.n, 0, NULL);
    const char *version = json_string_value(json_object_get(root, "version"));

    snprintf(out, size, "%s", version ? version : "");
    json_decref(root);
}

static void report(const json_t *array, ingestion_verdict *fn, void *arg)
{
    json_t *item;
    size_t i;

    json_array_foreach(array, i, item)
    {
        struct str message = text_of(json_object_get(item, "message")),
                   error = text_of(json_object_get(item, "error"));
        struct buf why = BUF_INIT(UPLOAD_ANSWER_MAX);
        buf_printf(&why, error.n ? "%.*s: %.*s" : "%.*s", (int)message.n, message.p, (int)error.n, error.p);
        fn(arg, text_of(json_object_get(item, "id")), (int)int_of(item, "status"), buf_str(&why));
        buf_free(&why);
    }
}

int jsonread_ingestion(struct str text, ingestion_verdict *fn, void *arg)
{
    json_t *root = json_loadb(text.p, text.n, 0, NULL);
    const json_t *successes = json_object_get(root, "successes");
    const json_t *errors = json_object_get(root, "errors");
    int ret = json_is_array(successes) && json_is_array(errors) ? 0 : -EBADMSG;

    if (ret == 0) {
        report(successes, fn, arg);
        report(errors, fn, arg);
    }
    json_decref(root);
    return ret;
}

bool jsonread_all_taken(struct str text, size_t n)
{
    static const char taken[] = "\"status\":201}", no_errors[] = "],\"errors\":[]}",
                      head[] = "{\"successes\":[";
    const char *at = text.p;
    const char *end = text.p + text.n;
    size_t found = 0;

    if (text.n < sizeof head + sizeof no_errors || memcmp(text.p, head, sizeof head - 1) != 0 ||
        memcmp(end - (sizeof no_errors - 1), no_errors, sizeof no_errors - 1) != 0)
        return false;
    while ((at = memmem(at, (size_t)(end - at), taken, sizeof taken - 1)) != NULL) {
        at += sizeof taken - 1;
        found++;
    }
    return found == n;
}
