#include "llm-worker/openai.h"

#include <criterion/criterion.h>
#include <errno.h>

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
