#include "telemetry/jsonread.h"

#include <errno.h>
#include <jansson.h>

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
        };
        *n = i + 1;
    }
    return 0;
}

void jsonread_free(void *hold)
{
    json_decref(hold);
}

static void report(const json_t *array, ingestion_verdict *fn, void *arg)
{
    json_t *item;
    size_t i;

    json_array_foreach(array, i, item)
        fn(arg, text_of(json_object_get(item, "id")), (int)int_of(item, "status"),
           text_of(json_object_get(item, "message")));
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
