#include "llm-worker/openai.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

Test(openai, a_completion)
{
    struct completion c;
    const char *body =
        "{\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{\"message\":{\"content\":\"hola\"}},"
        "{\"message\":{\"content\":\"no\"}}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,"
        "\"total_tokens\":7,\"x\":null}}";

    cr_assert_eq(openai_read_completion(str_of(body), &c), 0);
    cr_expect(str_eq(c.content, "hola"));
    cr_expect(str_eq(c.model, "gpt-4o-mini-2024-07-18"));
    cr_expect(c.has_usage && c.prompt_tokens == 3 && c.completion_tokens == 4 && c.total_tokens == 7);
    openai_free(&c);
}

Test(openai, usage_and_model_may_be_missing)
{
    struct completion c;

    cr_assert_eq(
        openai_read_completion(str_of("{\"choices\":[{\"message\":{\"content\":\"\"}}],\"usage\":null}"), &c),
        0);
    cr_expect(!c.has_usage && c.model.n == 0 && c.content.n == 0);
    openai_free(&c);
}

Test(openai, usage_in_detail)
{
    static const struct {
        const char *usage, *tier;
        uint64_t cached, reasoning;
        bool list_price;
    } table[] = {
        {"{}", "null", 0, 0, true},
        {"null", "\"default\"", 0, 0, true},
        {"{\"prompt_tokens_details\":{\"cached_tokens\":5,\"audio_tokens\":0,\"cache_write_tokens\":0},"
         "\"completion_tokens_details\":{\"reasoning_tokens\":6,\"accepted_prediction_tokens\":2}}",
         "\"default\"", 5, 6, true},
        {"{\"prompt_tokens_details\":null,\"completion_tokens_details\":7}", "\"on_demand\"", 0, 0, true},
        {"{\"prompt_tokens_details\":{\"cached_tokens\":-5},"
         "\"completion_tokens_details\":{\"reasoning_tokens\":\"6\"}}",
         "\"\"", 0, 0, true},
        {"{\"prompt_tokens_details\":{\"audio_tokens\":1}}", "null", 0, 0, false},
        {"{\"prompt_tokens_details\":{\"cache_write_tokens\":1}}", "null", 0, 0, false},
        {"{\"completion_tokens_details\":{\"audio_tokens\":1}}", "null", 0, 0, false},
        {"{}", "\"flex\"", 0, 0, false},
        {"{}", "\"priority\"", 0, 0, false},
    };
    char body[600];

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct completion c;
        snprintf(body, sizeof body,
                 "{\"choices\":[{\"message\":{\"content\":\"a\"}}],\"service_tier\":%s,\"usage\":%s}",
                 table[i].tier, table[i].usage);
        cr_assert_eq(openai_read_completion(str_of(body), &c), 0, "%s", body);
        cr_expect_eq(c.cached_tokens, table[i].cached, "%s", body);
        cr_expect_eq(c.reasoning_tokens, table[i].reasoning, "%s", body);
        cr_expect_eq(c.list_price, table[i].list_price, "%s", body);
        openai_free(&c);
    }
}

Test(openai, what_is_no_completion)
{
    static const struct {
        const char *body;
        int ret;
    } table[] = {
        {"", -EBADMSG},
        {"nonsense", -EBADMSG},
        {"{\"choices\":[{\"message\":{\"content\":\"cut", -EBADMSG},
        {"[]", -ENODATA},
        {"{}", -ENODATA},
        {"{\"choices\":[]}", -ENODATA},
        {"{\"choices\":[{\"message\":{\"content\":null}}]}", -ENODATA},
        {"{\"choices\":[{\"message\":{\"content\":5}}]}", -ENODATA},
        {"{\"choices\":{\"0\":{}}}", -ENODATA},
        {"{\"error\":{\"message\":\"x\"}}", -ENODATA},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct completion c;
        cr_expect_eq(openai_read_completion(str_of(table[i].body), &c), table[i].ret, "%s", table[i].body);
    }
}

Test(openai, error_codes_are_words_and_nothing_else)
{
    static const struct {
        const char *body, *code, *type, *word;
    } table[] = {
        {"{\"error\":{\"message\":\"key sk-1\",\"type\":\"t\",\"code\":\"insufficient_quota\"}}",
         "insufficient_quota", "t", "insufficient_quota"},
        {"{\"error\":{\"type\":\"server_error\",\"code\":null}}", "", "server_error", "server_error"},
        {"{\"error\":{\"code\":\"a b\\n\\\"c\"}}", "abc", "", "abc"},
        {"{\"error\":{\"code\":429}}", "", "", ""},
        {"{\"error\":\"overloaded\"}", "", "", ""},
        {"<html>", "", "", ""},
        {"", "", "", ""},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct openai_error e;
        openai_read_error(str_of(table[i].body), &e);
        cr_expect_str_eq(e.code, table[i].code, "%s", table[i].body);
        cr_expect_str_eq(e.type, table[i].type, "%s", table[i].body);
        cr_expect_str_eq(openai_error_word(&e), table[i].word, "%s", table[i].body);
    }
}
