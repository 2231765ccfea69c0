/*
 * The recorded pairs of the Python service that end in its validation (tests/golden/golden-ask.jsonl),
 * against validate_ask(): status and JSON as recorded, or as `ours` says where we differ on purpose.
 */
#include "gateway/validate.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"

static const char *header(const json_t *request, const char *name)
{
    const char *key;
    json_t *value;

    json_object_foreach(json_object_get(request, "headers"), key,
                        value) if (strcasecmp(key, name) == 0) return json_string_value(value);
    return NULL;
}

static struct str base64(const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = xmalloc(strlen(text) + 1);
    size_t n = 0;
    unsigned bits = 0, have = 0;

    for (; *text && *text != '='; text++) {
        bits = bits << 6 | (unsigned)(strchr(digits, *text) - digits);
        have += 6;
        if (have >= 8)
            out[n++] = (char)(bits >> (have -= 8));
    }
    out[n] = '\0';
    return (struct str){out, n};
}

static struct str body_of(const json_t *request)
{
    const char *b64 = json_string_value(json_object_get(request, "body_b64"));
    const json_t *body = json_object_get(request, "body");

    if (b64)
        return base64(b64);
    return (struct str){
        xmemdup(json_is_string(body) ? json_string_value(body) : "", json_string_length(body)),
        json_string_length(body)};
}

/* An upstream failure or a 200 both mean that the body was fine. */
static bool was_valid(int status)
{
    return status == 200 || status == 502;
}

static int expected_status(const json_t *pair)
{
    const json_t *ours = json_object_get(json_object_get(pair, "ours"), "status");

    if (json_is_integer(ours))
        return (int)json_integer_value(ours);
    return (int)json_integer_value(json_object_get(json_object_get(pair, "response"), "status"));
}

static void check_json(const char *name, const json_t *pair, const struct buf *error)
{
    const json_t *ours = json_object_get(pair, "ours");
    const json_t *json = json_object_get(json_object_get(pair, "response"), "json");
    const char *type = json_string_value(json_object_get(ours, "type"));
    json_t *got = json_loadb(error->data, error->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

    if (json_is_object(json_object_get(ours, "json")))
        json = json_object_get(ours, "json");
    if (type) {
        const json_t *first = json_array_get(json_object_get(got, "detail"), 0);
        cr_expect_str_eq(json_string_value(json_object_get(first, "type")), type, "%s: %s", name,
                         error->data);
    } else if (!got && json) {
        /* jansson has no integers beyond 64 bits; the words around them are compared. */
        cr_expect_not_null(strstr(error->data, "string_type"), "%s: %s", name, error->data);
    } else {
        cr_expect(json_equal(got, json), "%s: %s", name, error->data);
    }
    json_decref(got);
}

static void check_pair(const json_t *pair)
{
    const char *name = json_string_value(json_object_get(pair, "name"));
    const json_t *request = json_object_get(pair, "request");
    struct str body = body_of(request);
    struct jsonscan hold;
    struct ask_input in;
    struct buf error = {.max = 64 << 20};
    int status = validate_ask(body, header(request, "Content-Type"), &hold, &in, &error);
    int want = expected_status(pair);

    if (was_valid(want)) {
        cr_expect_eq(status, 200, "%s: %d %s", name, status, error.data);
    } else {
        cr_expect_eq(status, want, "%s: %d, want %d", name, status, want);
        check_json(name, pair, &error);
    }
    jsonscan_free(&hold);
    buf_free(&error);
    free((void *)(uintptr_t)body.p);
}

static bool concerns_validation(const json_t *pair)
{
    const json_t *request = json_object_get(pair, "request");

    return strcmp(json_string_value(json_object_get(request, "method")), "POST") == 0 &&
           strcmp(json_string_value(json_object_get(request, "path")), "/ask") == 0;
}

Test(validate, golden_pairs)
{
    char path[1024];
    char *line = NULL;
    size_t cap = 0, checked = 0;

    snprintf(path, sizeof path, "%s/tests/golden/golden-ask.jsonl", getenv("ATALAYA_SOURCE"));
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f, "%s", path);
    while (getline(&line, &cap, f) > 0) {
        json_error_t error;
        json_t *pair = json_loads(line, JSON_ALLOW_NUL, &error);
        if (!pair) /* an integer that jansson cannot hold: the test below has one */
            continue;
        if (concerns_validation(pair)) {
            check_pair(pair);
            checked++;
        }
        json_decref(pair);
    }
    free(line);
    fclose(f);
    cr_assert_gt(checked, 200, "only %zu pairs were found", checked);
}

Test(validate, limits_beyond_64_bits_saturate)
{
    static const struct {
        const char *json;
        int64_t least, most;
    } table[] = {
        {"99999999999999999999999999", INT64_MAX / 2, INT64_MAX},
        {"-99999999999999999999999999", INT64_MIN, INT64_MIN / 2},
        {"\" -1_0 \"", -10, -10},
        {"\"+5.000\"", 5, 5},
        {"true", 1, 1},
        {"1E+1", 10, 10},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char body[256];
        struct jsonscan hold;
        struct ask_input in;
        struct buf error = {.max = 4096};
        snprintf(body, sizeof body, "{\"user_id\":\"a\",\"question\":\"abc\",\"max_words\":%s}",
                 table[i].json);
        cr_assert_eq(validate_ask(str_of(body), NULL, &hold, &in, &error), 200, "%s", body);
        cr_expect(in.max_words >= table[i].least && in.max_words <= table[i].most, "%s: %lld", body,
                  (long long)in.max_words);
        jsonscan_free(&hold);
    }
}

Test(validate, echoes_big_integers_exactly)
{
    const char *body = "{\"user_id\":123456789012345678901234567890,\"question\":\"abc\"}";
    struct jsonscan hold;
    struct ask_input in;
    struct buf error = {.max = 4096};

    cr_assert_eq(validate_ask(str_of(body), "application/json", &hold, &in, &error), 422);
    cr_assert_str_eq(error.data,
                     "{\"detail\":[{\"type\":\"string_type\",\"loc\":[\"body\",\"user_id\"],\"msg\":\"Input "
                     "should be a valid string\",\"input\":123456789012345678901234567890}]}");
    jsonscan_free(&hold);
    buf_free(&error);
}
