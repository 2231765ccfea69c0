/* Scores of clients: what is taken, and what is told to whoever sends something else. */
#include "gateway/feedback.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define TRACE "\"trace_id\":\"b03057560cb9bd31c22761734244dac8\""

static struct str body_of(const char *members)
{
    static struct buf text;

    text.max = 64 * KIB;
    buf_reset(&text);
    buf_printf(&text, "{%s}", members);
    return buf_str(&text);
}

/* members follow a good trace id and name. */
static void expect_score(const char *members, const char *type, double value, const char *text,
                         const char *comment)
{
    struct buf all = BUF_INIT(32 * KIB), error = BUF_INIT(FEEDBACK_ERROR_BYTES);
    struct jsonscan hold;
    struct feedback f;

    buf_printf(&all, TRACE ",\"name\":\"útil\",%s", members);
    int status = validate_feedback(body_of(all.data), "application/json", &hold, &f, &error);
    cr_assert_eq(status, 200, "%s: %d %s", members, status, error.data);
    cr_expect(str_eq(f.trace_id, "b03057560cb9bd31c22761734244dac8"));
    cr_expect(str_eq(f.name, "útil"));
    cr_expect_str_eq(f.type, type, "%s: %s", members, f.type);
    cr_expect_eq(f.value, value, "%s: %g", members, f.value);
    cr_expect(str_eq(f.text, text), "%s: %.*s", members, (int)f.text.n, f.text.p);
    cr_expect(str_eq(f.comment, comment), "%s: %.*s", members, (int)f.comment.n, f.comment.p);
    jsonscan_free(&hold);
    buf_free(&all);
    buf_free(&error);
}

Test(feedback, scores)
{
    expect_score("\"value\":1", "NUMERIC", 1, "", "");
    expect_score("\"value\":-2.5e3,\"data_type\":\"NUMERIC\"", "NUMERIC", -2500, "", "");
    expect_score("\"value\":true", "BOOLEAN", 1, "", "");
    expect_score("\"value\":false,\"data_type\":\"BOOLEAN\"", "BOOLEAN", 0, "", "");
    expect_score("\"value\":1.0,\"data_type\":\"BOOLEAN\"", "BOOLEAN", 1, "", "");
    expect_score("\"value\":0,\"data_type\":\"BOOLEAN\"", "BOOLEAN", 0, "", "");
    expect_score("\"value\":\"bueno\",\"data_type\":null", "CATEGORICAL", 0, "bueno", "");
    expect_score("\"value\":\"b\\u00e1\",\"data_type\":\"CATEGORICAL\"", "CATEGORICAL", 0, "bá", "");
    expect_score("\"value\":3,\"comment\":\"Corta\\ny clara.\",\"extra\":[]", "NUMERIC", 3, "",
                 "Corta\ny clara.");
    expect_score("\"value\":3,\"comment\":null", "NUMERIC", 3, "", "");
    expect_score("\"value\":3,\"comment\":\"\"", "NUMERIC", 3, "", "");
}

/* "TYPE FIELD" of every error, one a line. */
static char *errors_of(struct str body, const char *content_type, int want)
{
    static char text[1024];
    struct buf error = BUF_INIT(FEEDBACK_ERROR_BYTES);
    struct jsonscan hold;
    struct feedback f;
    size_t i, n = 0;
    json_t *e;
    int status = validate_feedback(body, content_type, &hold, &f, &error);

    cr_expect_eq(status, want, "%.200s: %d", body.p, status);
    json_t *o = json_loadb(error.data ? error.data : "", error.len, 0, NULL);
    cr_assert(o, "%.200s: %s", body.p, error.data);
    text[0] = '\0';
    json_array_foreach(json_object_get(o, "detail"), i, e)
    {
        const char *field = json_string_value(json_array_get(json_object_get(e, "loc"), 1));
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s %s", i ? "\n" : "",
                              json_string_value(json_object_get(e, "type")), field ? field : "body");
        cr_expect(json_is_string(json_object_get(e, "msg")));
    }
    json_decref(o);
    jsonscan_free(&hold);
    buf_free(&error);
    return text;
}

static void expect_errors(const char *members, const char *want)
{
    const char *got = errors_of(body_of(members), NULL, 422);

    cr_expect_str_eq(got, want, "%.300s:\n%s", members, got);
}

Test(feedback, refusals)
{
    static const char good[] = TRACE ",\"name\":\"n\",";
    static const struct {
        const char *rest, *errors;
    } table[] = {
        {"\"x\":1", "missing value"},
        {"\"value\":null", "value_error value"},
        {"\"value\":[1]", "value_error value"},
        {"\"value\":{}", "value_error value"},
        {"\"value\":NaN", "finite_number value"},
        {"\"value\":1e999", "finite_number value"},
        {"\"value\":\"\"", "string_too_short value"},
        {"\"value\":\"\\ud800\"", "string_unicode value"},
        {"\"value\":1,\"comment\":1", "string_type comment"},
        {"\"value\":1,\"data_type\":\"numeric\"", "literal_error data_type"},
        {"\"value\":1,\"data_type\":1", "literal_error data_type"},
        {"\"value\":true,\"data_type\":\"NUMERIC\"", "value_error value"},
        {"\"value\":\"1\",\"data_type\":\"NUMERIC\"", "value_error value"},
        {"\"value\":2,\"data_type\":\"BOOLEAN\"", "value_error value"},
        {"\"value\":\"true\",\"data_type\":\"BOOLEAN\"", "value_error value"},
        {"\"value\":1,\"data_type\":\"CATEGORICAL\"", "value_error value"},
        {"\"value\":[],\"data_type\":\"BOOLEAN\"", "value_error value"},
        {"\"data_type\":\"BOOLEAN\"", "missing value"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char members[512];
        snprintf(members, sizeof members, "%s%s", good, table[i].rest);
        expect_errors(members, table[i].errors);
    }
    expect_errors("", "missing trace_id\nmissing name\nmissing value");
    expect_errors("\"data_type\":0,\"comment\":0,\"value\":null,\"name\":\"\",\"trace_id\":0",
                  "string_type trace_id\nstring_too_short name\nvalue_error value\nstring_type comment\n"
                  "literal_error data_type");
    cr_expect_str_eq(errors_of(str_of("[]"), NULL, 422), "model_attributes_type body");
    cr_expect_str_eq(errors_of(str_of("{}"), "text/plain", 422), "model_attributes_type body");
    cr_expect_str_eq(errors_of(str_of(""), NULL, 422), "missing body");
    cr_expect_str_eq(errors_of(str_of("\"\xff\""), NULL, 400), "");
}

Test(feedback, trace_ids)
{
    static const char *const bad[] = {
        "",
        "b03057560cb9bd31c22761734244dac",
        "b03057560cb9bd31c22761734244dac80",
        "B03057560CB9BD31C22761734244DAC8",
        "b03057560cb9bd31c22761734244dac\\n",
        "b0305756-cb9b-d31c-2276-1734244dac",
        "00000000000000000000000000000000",
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char members[256];
        snprintf(members, sizeof members, "\"trace_id\":\"%s\",\"name\":\"n\",\"value\":1", bad[i]);
        expect_errors(members, "string_pattern_mismatch trace_id");
    }
}

/* field with n times é as its value, and a value for the others. */
static struct str long_body(const char *field, size_t n)
{
    static char members[32 * 1024];
    int len = snprintf(members, sizeof members, TRACE ",\"name\":\"n\",\"value\":\"v\",\"%s\":\"", field);

    for (size_t i = 0; i < n; i++)
        len += snprintf(members + len, sizeof members - (size_t)len, "é");
    snprintf(members + len, sizeof members - (size_t)len, "\"");
    return body_of(members);
}

/* In code points; and telemetry has room for all of it. */
Test(feedback, lengths)
{
    static const struct {
        const char *field;
        size_t most;
        size_t bytes;
        const char *error;
    } table[] = {
        {"name", FEEDBACK_NAME_LENGTH, FEEDBACK_NAME_MAX, "string_too_long name"},
        {"value", FEEDBACK_TEXT_LENGTH, FEEDBACK_TEXT_MAX, "string_too_long value"},
        {"comment", FEEDBACK_COMMENT_LENGTH, FEEDBACK_COMMENT_MAX, "string_too_long comment"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buf error = BUF_INIT(FEEDBACK_ERROR_BYTES);
        struct jsonscan hold;
        struct feedback f;
        cr_expect_eq(validate_feedback(long_body(table[i].field, table[i].most), NULL, &hold, &f, &error),
                     200, "%s: %s", table[i].field, error.data);
        jsonscan_free(&hold);
        buf_free(&error);
        const char *got = errors_of(long_body(table[i].field, table[i].most + 1), NULL, 422);
        cr_expect_str_eq(got, table[i].error, "%s", got);
        cr_expect_leq(4 * table[i].most, table[i].bytes, "%s", table[i].field);
    }
}

/* A refusal tells what to do. */
Test(feedback, words)
{
    struct buf error = BUF_INIT(FEEDBACK_ERROR_BYTES);
    struct jsonscan hold;
    struct feedback f;

    cr_expect_eq(validate_feedback(
                     str_of("{\"trace_id\":\"x\",\"name\":\"n\",\"value\":true,\"data_type\":\"NUMERIC\"}"),
                     NULL, &hold, &f, &error),
                 422);
    cr_expect_str_eq(error.data,
                     "{\"detail\":[{\"type\":\"string_pattern_mismatch\",\"loc\":[\"body\",\"trace_id\"],"
                     "\"msg\":\"String should match pattern '^(?!0{32}$)[0-9a-f]{32}$'\",\"input\":\"x\","
                     "\"ctx\":{\"pattern\":\"^(?!0{32}$)[0-9a-f]{32}$\"}},"
                     "{\"type\":\"value_error\",\"loc\":[\"body\",\"value\"],"
                     "\"msg\":\"Value error, a NUMERIC score needs a number as value\",\"input\":true}]}");
    jsonscan_free(&hold);
    buf_free(&error);
}
