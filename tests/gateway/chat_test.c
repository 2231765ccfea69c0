/* The body of POST /v1/chat/completions: what is refused and how, what is kept for the record. */
#include "gateway/chat.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/limits.h"

static struct chat_hold hold;
static struct ask_input in;
static struct buf error;

static int validate(struct str body, const char *content_type)
{
    chat_hold_free(&hold);
    buf_free(&error);
    error = BUF_INIT(8 * KIB);
    return validate_chat(body, content_type, &hold, &in, &error);
}

static void forget(void)
{
    chat_hold_free(&hold);
    buf_free(&error);
}

TestSuite(chat, .fini = forget);

/* A member of the error; "" where it is null. */
static const char *said(const char *member)
{
    static char text[256];
    json_t *root = json_loadb(error.data, error.len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *e = json_object_get(root, "error");
    const char *s = json_string_value(json_object_get(e, member));

    cr_assert_eq(json_object_size(e), 4, "%s", error.data);
    snprintf(text, sizeof text, "%s", s ? s : "");
    json_decref(root);
    return text;
}

#define HI "[{\"role\":\"user\",\"content\":\"hola\"}]"

Test(chat, what_is_needed)
{
    static const char text[] =
        "\xef\xbb\xbf {\"messages\": " HI " ,\"stream\":true,\"model\":\"m\\u00f1\"}\n";
    struct str body = str_of(text);

    cr_assert_eq(validate(body, "application/json"), 200, "%s", error.data);
    cr_expect(in.chat);
    cr_expect(in.stream);
    cr_expect(!in.has_max_words);
    cr_expect_eq(in.request.p, body.p + 4); /* the object, and nothing around it */
    cr_expect_eq(in.request.n, body.n - 5);
    cr_expect(str_eq(in.question, HI));
    cr_expect(str_eq(in.model, "mñ"));
    cr_expect_eq(in.user_id.n, 0);
    cr_expect_eq(in.metadata.n, 0);
}

Test(chat, the_rest_is_the_providers_to_judge)
{
    static const char *const fine[] = {
        "{\"model\":\"m\",\"messages\":[1]}",
        "{\"model\":\"m\",\"messages\":[{}],\"n\":-1,\"temperature\":\"hot\",\"tools\":{}}",
        "{\"model\":\"m\",\"messages\":[null],\"stream\":false,\"stream_options\":7}",
        "{\"model\":\"m\",\"messages\":[null],\"stream\":null,\"never\":{\"heard\":[\"of\"]}}",
        "{\"model\":1,\"model\":\"the last one counts\",\"messages\":[[]]}",
        "{\"model\":\"m\",\"messages\":[[]],\"user\":7,\"safety_identifier\":[],\"metadata\":[]}",
    };

    for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
        cr_expect_eq(validate(str_of(fine[i]), NULL), 200, "%s: %s", fine[i], error.data);
        cr_expect(!in.stream);
        cr_expect_eq(in.user_id.n, 0);
        cr_expect_eq(in.metadata.n, 0);
    }
}

Test(chat, refusals)
{
    static const struct {
        const char *body, *type, *param, *code;
    } table[] = {
        {"", NULL, "", "invalid_json"},
        {"hola", NULL, "", "invalid_json"},
        {"[]", NULL, "", "invalid_json"},
        {"null", NULL, "", "invalid_json"},
        {"{\"model\":\"m\",\"messages\":[1]", NULL, "", "invalid_json"},
        {"{\"model\":\"m\",\"messages\":[1]}{}", NULL, "", "invalid_json"},
        {"{\"model\":\"m\",\"messages\":[NaN]}", NULL, "", "invalid_json"},
        {"{\"model\":\"m\",\"messages\":[1],\"x\":{\"y\":-Infinity}}", NULL, "", "invalid_json"},
        {"{\"model\":\"m\",\"messages\":[\"\xff\"]}", NULL, "", "invalid_json"},
        {"{\"model\":\"m\",\"messages\":[1]}", "text/plain", "", "unsupported_content_type"},
        {"{\"messages\":[1]}", NULL, "", ""},
        {"{\"model\":\"\",\"messages\":[1]}", NULL, "", ""},
        {"{\"model\":null,\"messages\":[1]}", NULL, "model", "invalid_type"},
        {"{\"model\":7,\"messages\":[1]}", NULL, "model", "invalid_type"},
        {"{\"model\":\"\\ud800\",\"messages\":[1]}", NULL, "model", "invalid_value"},
        {"{\"model\":\"m\"}", NULL, "messages", "missing_required_parameter"},
        {"{\"model\":\"m\",\"messages\":\"hola\"}", NULL, "messages", "invalid_type"},
        {"{\"model\":\"m\",\"messages\":{\"role\":1}}", NULL, "messages", "invalid_type"},
        {"{\"model\":\"m\",\"messages\":[ ]}", NULL, "messages", "empty_array"},
        {"{\"model\":\"m\",\"messages\":[1],\"stream\":\"true\"}", NULL, "stream", "invalid_type"},
        {"{\"model\":\"m\",\"messages\":[1],\"stream\":1}", NULL, "stream", "invalid_type"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        cr_expect_eq(validate(str_of(table[i].body), table[i].type), 400, "%s", table[i].body);
        cr_expect_str_eq(said("type"), "invalid_request_error", "%s", table[i].body);
        cr_expect_str_eq(said("param"), table[i].param, "%s", table[i].body);
        cr_expect_str_eq(said("code"), table[i].code, "%s", table[i].body);
        cr_expect_str_neq(said("message"), "");
    }
}

/* Where in the text it stops being JSON is worth knowing. */
Test(chat, what_is_wrong_with_the_json)
{
    cr_assert_eq(validate(str_of("{\"model\":\"ñ\" 1}"), NULL), 400);
    cr_expect_str_eq(said("message"),
                     "The body of the request must be a JSON object in UTF-8: Expecting ',' delimiter "
                     "at character 13.");
}

/* Python reads UTF-16; what goes to a provider is UTF-8. */
Test(chat, no_other_encoding)
{
    static const char body[] =
        "{\0\"\0m\0o\0d\0e\0l\0\"\0:\0\"\0m\0\"\0,\0\"\0m\0e\0s\0s\0a\0g\0e\0s\0\"\0:\0[\0"
        "1\0]\0}";

    cr_expect_eq(validate((struct str){body, sizeof body}, NULL), 400);
    cr_expect_str_eq(said("code"), "invalid_json");
}

static struct str filled(const char *begin, const char *middle, size_t times, const char *end)
{
    struct buf b = BUF_INIT(CHAT_BODY_MAX);

    buf_puts(&b, begin);
    for (size_t i = 0; i < times; i++)
        buf_puts(&b, middle);
    buf_puts(&b, end);
    cr_assert(!b.failed);
    return buf_str(&b);
}

static void drop(struct str s)
{
    free((void *)(uintptr_t)s.p);
}

Test(chat, the_longest_name_of_a_model)
{
    for (size_t n = CHAT_MODEL_MAX; n <= CHAT_MODEL_MAX + 1; n++) {
        struct str body = filled("{\"messages\":[1],\"model\":\"", "m", n, "\"}");
        cr_expect_eq(validate(body, NULL), n == CHAT_MODEL_MAX ? 200 : 400);
        drop(body);
    }
}

Test(chat, whose_it_is)
{
    static const struct {
        const char *more, *user;
    } table[] = {
        {"\"user\":\"u\"", "u"},
        {"\"user\":\"u\",\"safety_identifier\":\"s\"", "s"},
        {"\"user\":\"u\",\"safety_identifier\":\"\"", "u"},
        {"\"user\":\"u\",\"safety_identifier\":null", "u"},
        {"\"user\":\"\\u00f1 \\ud83d\\ude00\"", "ñ 😀"},
        {"\"user\":\"\\ud83d\"", ""},
    };
    char body[256];

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        snprintf(body, sizeof body, "{\"model\":\"m\",\"messages\":[1],%s}", table[i].more);
        cr_assert_eq(validate(str_of(body), NULL), 200, "%s", error.data);
        cr_expect(str_eq(in.user_id, table[i].user), "%s: %.*s", body, (int)in.user_id.n, in.user_id.p);
    }
    struct str long_user =
        filled("{\"model\":\"m\",\"messages\":[1],\"user\":\"", "u", CHAT_USER_MAX + 1, "\"}");
    cr_assert_eq(validate(long_user, NULL), 200);
    cr_expect_eq(in.user_id.n, 0);
    drop(long_user);
}

Test(chat, metadata_that_is_too_large_is_left_out)
{
    cr_assert_eq(validate(str_of("{\"model\":\"m\",\"messages\":[1],\"metadata\": {\"a\": \"b\"} }"), NULL),
                 200);
    cr_expect(str_eq(in.metadata, "{\"a\": \"b\"}"));
    struct str large =
        filled("{\"model\":\"m\",\"messages\":[1],\"metadata\":{\"a\":\"", "m", METADATA_MAX, "\"}}");
    cr_assert_eq(validate(large, NULL), 200);
    cr_expect_eq(in.metadata.n, 0);
    drop(large);
}

/* Keeps the words, and of the image what it was. */
Test(chat, of_long_messages_the_record_has_no_image)
{
    struct str body = filled(
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"qué \\\"ves\\\"\"},"
        "{\"image_url\":{\"url\":\"data:image/png;base64,",
        "iVBORw0KGgo", 200000, "\"}}]}]}");

    cr_assert_eq(validate(body, NULL), 200, "%s", error.data);
    cr_expect_eq(in.request.n, body.n);
    cr_expect_leq(in.question.n, CHAT_STRING_KEPT + 200);
    json_t *m = json_loadb(in.question.p, in.question.n, 0, NULL);
    json_t *content = json_object_get(json_array_get(m, 0), "content");
    const char *url =
        json_string_value(json_object_get(json_object_get(json_array_get(content, 1), "image_url"), "url"));
    cr_assert_not_null(url);
    cr_expect_str_eq(json_string_value(json_object_get(json_array_get(content, 0), "text")), "qué \"ves\"");
    cr_expect_eq(strncmp(url, "data:image/png;base64,iVBORw0KGgo", 33), 0);
    cr_expect_str_eq(url + strlen(url) - strlen("… (2200022 bytes)"), "… (2200022 bytes)");
    json_decref(m);
    drop(body);
}

/* However the limit falls into what is cut, it stays text. */
Test(chat, what_is_cut_is_text)
{
    static const char *const pieces[] = {"a", "\\n", "\\\\", "\\\"", "\\u00f1", "\\uD83D\\uDE00",
                                         "ñ", "😀",   "\\\\u"};

    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        for (size_t shift = 0; shift < 12; shift++) {
            struct str begin = filled("{\"model\":\"m\",\"messages\":[\"", "x", shift, "");
            struct str body = filled(begin.p, pieces[i], REQUEST_BODY_MAX / strlen(pieces[i]) + 1, "\"]}");
            cr_assert_eq(validate(body, NULL), 200, "%s", error.data);
            cr_expect_lt(in.question.n, CHAT_STRING_KEPT + 100);
            cr_expect_gt(in.question.n, CHAT_STRING_KEPT - 20);
            json_t *m = json_loadb(in.question.p, in.question.n, 0, NULL);
            cr_expect_not_null(m, "%s, %zu: %s", pieces[i], shift, in.question.p + in.question.n - 40);
            json_decref(m);
            drop(begin);
            drop(body);
        }
}

Test(chat, messages_without_end_are_a_note_in_the_record)
{
    struct str body = filled("{\"model\":\"m\",\"messages\":[1", ",1", MIB, "]}");

    cr_assert_eq(validate(body, NULL), 200, "%s", error.data);
    cr_expect(str_eq(in.question, "\"messages of 2097155 bytes, too many to be recorded\""), "%.*s",
              (int)in.question.n, in.question.p);
    drop(body);
}
