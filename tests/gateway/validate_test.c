/*
 * The recorded pairs of the Python service that end in its validation (tests/golden/golden-ask.jsonl),
 * against validate_ask(): status and JSON as recorded, or as `ours` says where we differ on purpose.
 */
#include "gateway/validate.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/limits.h"
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
    int status =
        validate_ask(body, header(request, "Content-Type"), ASK_MAX_WORDS_DEFAULT, &hold, &in, &error);
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

/* What validate_ask() answers; for 200 the limit, for 422 the type of the first error. */
static char *verdict(struct str body, const char *content_type)
{
    static char text[80];
    struct jsonscan hold;
    struct ask_input in;
    struct buf error = BUF_INIT(ASK_ERROR_MAX);
    int status = validate_ask(body, content_type, 7, &hold, &in, &error);
    json_t *o = json_loadb(error.data ? error.data : "", error.len, 0, NULL);
    const json_t *detail = json_object_get(o, "detail");
    const char *type = json_string_value(json_object_get(json_array_get(detail, 0), "type"));

    if (status == 200 && in.has_max_words)
        snprintf(text, sizeof text, "200 %lld", (long long)in.max_words);
    else
        snprintf(text, sizeof text, "%d%s%s", status, type ? " " : "", type ? type : "");
    cr_expect_eq(status == 200, error.len == 0);
    json_decref(o);
    jsonscan_free(&hold);
    buf_free(&error);
    return text;
}

static const char *with_max_words(const char *json)
{
    struct buf body = BUF_INIT(64 * KIB);

    buf_printf(&body, "{\"user_id\":\"a\",\"question\":\"abc\",\"max_words\":%s}", json);
    const char *v = verdict(buf_str(&body), NULL);
    buf_free(&body);
    return v;
}

/* Pydantic 2.9's lax integers, its oddities included. */
Test(validate, max_words)
{
    static const struct {
        const char *json, *verdict;
    } table[] = {
        {"null", "200"},
        {"true", "200 1"},
        {"-0", "200 0"},
        {"-5", "200 -5"},
        {"99999999999999999999999999", "200 9223372036854775807"},
        {"-99999999999999999999999999", "200 -9223372036854775807"},
        {"1E+1", "200 10"},
        {"-0.0", "200 0"},
        {"9223372036854774784.0", "200 9223372036854774784"},
        {"9223372036854775808.0", "422 int_parsing_size"},
        {"-9223372036854775808.0", "422 int_parsing_size"},
        {"1e-400", "200 0"},
        {"1e400", "422 finite_number"},
        {"0.5", "422 int_from_float"},
        {"[]", "422 int_type"},
        {"\" -1_0 \"", "200 -10"},
        {"\"+5.000\"", "200 5"},
        {"\"0_0\"", "200 0"},
        {"\"0__5\"", "200 5"},
        {"\"5__0\"", "422 int_parsing"},
        {"\"0-5\"", "200 -5"},
        {"\"-0-5\"", "422 int_parsing"},
        {"\"0-05\"", "422 int_parsing"},
        {"\"+-5\"", "422 int_parsing"},
        {"\"-_5\"", "422 int_parsing"},
        {"\"0-_5\"", "200 -5"},
        {"\"0_\"", "422 int_parsing"},
        {"\"1_.0\"", "422 int_parsing"},
        {"\"1.0_0\"", "422 int_parsing"},
        {"\"00.0\"", "200 0"},
        {"\"5.\"", "422 int_parsing"},
        {"\"\\u30005\\u0085\"", "200 5"},
        {"\"\\u001c5\"", "422 int_parsing"},
        {"\"\\u200b5\"", "422 int_parsing"},
        {"\"\\ud800\"", "422 string_unicode"},
        {"\"9223372036854775808\"", "200 9223372036854775807"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        cr_expect_str_eq(with_max_words(table[i].json), table[i].verdict, "%s: %s", table[i].json,
                         with_max_words(table[i].json));
    cr_expect_str_eq(verdict(str_of("{\"user_id\":\"a\",\"question\":\"abc\"}"), NULL), "200 7");
}

/* How long a string of digits may be depends on where they begin. */
Test(validate, max_words_of_many_digits)
{
    static const struct {
        const char *begin;
        char digit;
        size_t n;
        const char *end, *verdict;
    } table[] = {
        {"\"", '9', 4300, "\"", "200 9223372036854775807"},
        {"\"", '9', 4301, "\"", "422 int_parsing_size"},
        {"\"", '9', 4301, "x\"", "422 int_parsing_size"},
        {"\"-", '9', 4299, "\"", "200 -9223372036854775807"},
        {"\"-", '9', 4300, "\"", "422 int_parsing_size"},
        {"\" ", '9', 4300, "\"", "200 9223372036854775807"},
        {"\" ", '9', 4301, "\"", "422 int_parsing"},
        {"\"", '0', 9000, "1\"", "200 1"},
        {"\"1.", '0', 9000, "\"", "200 1"},
        {"", '9', 4300, "", "200 9223372036854775807"},
        {"-", '9', 4300, "", "200 -9223372036854775807"},
        {"", '9', 4301, "", "400"},
        {"0.", '9', 9000, "", "200 1"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buf json = BUF_INIT(16 * KIB);
        buf_puts(&json, table[i].begin);
        for (size_t k = 0; k < table[i].n; k++)
            buf_putc(&json, table[i].digit);
        buf_puts(&json, table[i].end);
        const char *got = with_max_words(json.data);
        cr_expect_str_eq(got, table[i].verdict, "row %zu: %s", i, got);
        buf_free(&json);
    }
}

/* As Python's email package reads the header. */
Test(validate, content_types)
{
    static const struct {
        const char *type;
        bool json;
    } table[] = {
        {"", true},
        {"application/json", true},
        {"APPLICATION/Problem+JSON ; charset=x; y", true},
        {" application/json\t", true},
        {"\xa0"
         "application/json\x85",
         true},
        {"application/json;", true},
        {"application/json;/", true},
        {"application/+json", true},
        {"application/x y+json", true},
        {"application/json/x", false},
        {"application/x/+json", false},
        {"application//json", false},
        {"application/ json", false},
        {"application /json", false},
        {"application/json, text/plain", false},
        {"application/xjson", false},
        {"application/json+x", false},
        {"application/", false},
        {"application", false},
        {"text/json", false},
        {";application/json", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        cr_expect_str_eq(verdict(str_of("[]"), table[i].type), "422 model_attributes_type"); /* in any case */
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const char *got = verdict(str_of("{\"user_id\":\"a\",\"question\":\"abc\"}"), table[i].type);
        cr_expect_str_eq(got, table[i].json ? "200 7" : "422 model_attributes_type", "%s: %s", table[i].type,
                         got);
    }
}

/* The "input" of the error about user_id, whose value is `json`. */
static char *echo_of(struct str json)
{
    static const char begin[] = "\"input\":";
    struct buf body = BUF_INIT(4 * MIB);
    struct buf error = BUF_INIT(ASK_ERROR_MAX);
    struct jsonscan hold;
    struct ask_input in;

    buf_puts(&body, "{\"question\":\"abc\",\"user_id\":");
    buf_append(&body, json.p, json.n);
    buf_putc(&body, '}');
    cr_assert_eq(validate_ask(buf_str(&body), NULL, 7, &hold, &in, &error), 422, "%.80s", json.p);
    cr_assert_not(error.failed);
    const char *at = strstr(error.data, begin) + sizeof begin - 1;
    char *echo = xmemdup(at, error.len - (size_t)(at - error.data) - strlen("}]}"));
    jsonscan_free(&hold);
    buf_free(&body);
    buf_free(&error);
    return echo;
}

Test(validate, echo_prints_as_python_does)
{
    static const struct {
        const char *in, *out;
    } table[] = {
        {"1e22", "1e+22"},
        {"1e16", "1e+16"},
        {"1e15", "1000000000000000.0"},
        {"123456789012345680.0", "1.2345678901234568e+17"},
        {"1.10", "1.1"},
        {"0.0001", "0.0001"},
        {"0.00001", "1e-05"},
        {"5e-324", "5e-324"},
        {"1E5", "100000.0"},
        {"0.1e1", "1.0"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"-0.0", "-0.0"},
        {"-0", "0"},
        {"123456789012345678901234567890", "123456789012345678901234567890"},
        {"NaN", "null"},
        {"-Infinity", "null"},
        {"1e400", "null"},
        {"[true,false,null]", "[true,false,null]"},
        {"[ 1 , {\"a\" : Infinity} ,\"x , y\", {} ]", "[1,{\"a\":null},\"x , y\",{}]"},
        {"[\"\\u00e9\\/\\\"\\u0001\"]", "[\"é/\\\"\\u0001\"]"},
        {"{\"\\ud800\":\"a\\udc00b\"}", "{\"\xef\xbf\xbd\":\"a\xef\xbf\xbd"
                                        "b\"}"},
        {"\"\\ud83d\\ude00\\ude00\"", "\"😀\xef\xbf\xbd\""},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char *echo = echo_of(str_of(table[i].in));
        cr_expect_str_eq(echo, table[i].out, "%s: %s", table[i].in, echo);
        free(echo);
    }
}

static struct str repeated(const char *begin, const char *middle, size_t n, const char *end)
{
    struct buf b = BUF_INIT(4 * MIB);

    buf_puts(&b, begin);
    for (size_t i = 0; i < n; i++)
        buf_puts(&b, middle);
    buf_puts(&b, end);
    return buf_str(&b);
}

/* docs/decisions/0011: 8 KiB of JSON, then a string that says how much there was. */
Test(validate, echo_is_cut)
{
    static const struct {
        const char *begin, *middle, *end;
        size_t fits; /* this many are not cut */
        const char *ending;
    } table[] = {
        {"[0", ",0", "]", (INPUT_ECHO_MAX - 3) / 2, "… (8193 bytes)\""},
        {"[\"", "a", "\"]", INPUT_ECHO_MAX - 4, "… (8193 bytes)\""},
        {"[\"", "\\u0001", "\"]", (INPUT_ECHO_MAX - 4) / 6, "… (8194 bytes)\""},
        {"[\"", "\\u0041", "\"]", INPUT_ECHO_MAX - 4, "… (49138 bytes)\""},
        {"{\"", "é", "\":1}", (INPUT_ECHO_MAX - 6) / 2, "… (8194 bytes)\""},
        {"[", " ", "1]", 100000, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct str whole = repeated(table[i].begin, table[i].middle, table[i].fits, table[i].end);
        char *echo = echo_of(whole);
        cr_expect_neq(echo[0], '"', "row %zu: %.60s", i, echo);
        free(echo);
        free((void *)(uintptr_t)whole.p);
        if (!table[i].ending)
            continue;
        struct str more = repeated(table[i].begin, table[i].middle, table[i].fits + 1, table[i].end);
        echo = echo_of(more);
        size_t n = strlen(echo);
        cr_expect(echo[0] == '"' && n <= INPUT_ECHO_MAX + 40 && n > INPUT_ECHO_MAX - 8, "row %zu: %zu", i, n);
        cr_expect_str_eq(strstr(echo, "… ("), table[i].ending, "row %zu: %s", i, strstr(echo, "… ("));
        json_t *o = json_loads(echo, JSON_DECODE_ANY, NULL);
        cr_expect(json_is_string(o), "row %zu", i);
        json_decref(o);
        free(echo);
        free((void *)(uintptr_t)more.p);
    }
}

/* Not in the contract: an answer piece by piece. */
Test(validate, stream)
{
    static const struct {
        const char *json;
        int status;
        bool stream;
    } table[] = {
        {"true", 200, true}, {"false", 200, false},    {"null", 200, false}, {"1", 422, false},
        {"0", 422, false},   {"\"true\"", 422, false}, {"[]", 422, false},   {"{}", 422, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buf body = BUF_INIT(KIB), error = BUF_INIT(ASK_ERROR_MAX), want = BUF_INIT(KIB);
        struct jsonscan hold;
        struct ask_input in;
        buf_printf(&body, "{\"user_id\":\"a\",\"question\":\"abc\",\"stream\":%s}", table[i].json);
        buf_printf(&want,
                   "{\"detail\":[{\"type\":\"bool_type\",\"loc\":[\"body\",\"stream\"],\"msg\":\"Input "
                   "should be a valid "
                   "boolean\",\"input\":%s}]}",
                   table[i].json);
        cr_expect_eq(validate_ask(buf_str(&body), NULL, 7, &hold, &in, &error), table[i].status);
        cr_expect_eq(in.stream, table[i].stream, "%s", table[i].json);
        if (table[i].status == 422)
            cr_expect_str_eq(error.data, want.data);
        jsonscan_free(&hold);
        buf_free(&want);
        buf_free(&body);
        buf_free(&error);
    }
}

/* A body that is as bad as its size allows has a small answer that is JSON. */
Test(validate, hostile_bodies_have_small_answers)
{
    static const struct {
        const char *begin, *middle, *end;
        const char *type;
    } table[] = {
        {"{\"x\":\"", "\x7f", "\"}", NULL},
        {"{\"x\":\"", "\\ud800", "\"}", NULL},
        {"{\"x\":[1e-5", ",1e-5", "]}", NULL},
        {"{\"x\":0.", "9", "}", NULL},
        {"{\"a\":1", ",\"a\":1", "}", NULL},
        {"{\"user_id\":[\"", "\\n", "\"],\"question\":{},\"max_words\":{}}", NULL},
        {"", "\xff", "", "text/plain"},
        {"", "\x01", "", "text/plain"},
        {"[", "{\"a\":[", "", NULL},
        {"[\"", "\\u00e9", "", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct str body = repeated(table[i].begin, table[i].middle,
                                   (REQUEST_BODY_MAX - 100) / strlen(table[i].middle), table[i].end);
        const char *got = verdict(body, table[i].type);
        cr_expect(strncmp(got, "4", 1) == 0 && strcmp(got, "422") != 0, "row %zu: %s", i, got);
        free((void *)(uintptr_t)body.p);
    }
}
