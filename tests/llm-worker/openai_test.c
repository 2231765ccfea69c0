#include "llm-worker/openai.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "common/base/mem.h"

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
        {"{\"choices\":[{\"message\":null}]}", -ENODATA},
        {"{\"choices\":[{\"message\":5}]}", -ENODATA},
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

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct openai_error e;
        openai_read_error(str_of(table[i].body), &e);
        cr_expect_str_eq(e.code, table[i].code, "%s", table[i].body);
        cr_expect_str_eq(e.type, table[i].type, "%s", table[i].body);
        cr_expect_str_eq(openai_error_word(&e), table[i].word, "%s", table[i].body);
    }
}

static const char *shown(struct str s)
{
    static char text[4][200];
    static size_t next;
    char *t = text[next++ % ARRAY_LEN(text)];

    snprintf(t, sizeof text[0], "%.*s", (int)s.n, s.p ? s.p : "");
    return t;
}

/* As OpenAI, Azure, vLLM, Ollama, OpenRouter and others write them. */
Test(openai, chunks)
{
#define HEAD "{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\","
    static const struct {
        const char *data;
        const char *content; /* NULL: absent */
        const char *refusal, *tool_calls, *finish_reason;
        bool has_choices;
    } table[] = {
        {HEAD
         "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
         "\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}",
         "", "", "", "", true},
        {HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" \\u00a1Hola,\\n\\ud83d\\ude00\"}}]}",
         " ¡Hola,\n😀", "", "", "", true},
        {HEAD "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}", NULL, "", "", "stop",
         true},
        {HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":null},\"finish_reason\":\"length\"}]}", NULL,
         "", "", "length", true},
        {HEAD "\"choices\":[{\"index\":0,\"delta\":{\"refusal\":\"I can\\u0027t\"}}]}", NULL, "I can't", "",
         "", true},
        {HEAD "\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":"
              "\"{\"}}"
              "]}}]}",
         NULL, "", "[{\"index\":0,\"function\":{\"arguments\":\"{\"}}]", "", true},
        {HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\",\"tool_calls\":[ ]}}]}", "a", "", "",
         "", true},
        {HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\",\"tool_calls\":null}}]}", "a", "", "",
         "", true},
        {HEAD "\"choices\":[],\"usage\":{\"prompt_tokens\":1}}", NULL, "", "", "", false},
        {HEAD "\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}", NULL, "", "", "", false},
        {"{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", "a", "", "", "", true}, /* no index */
        /* others than choice 0 */
        {HEAD "\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}", NULL,
         "", "", "", true},
        {HEAD
         "\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\\n\"}},{\"index\":0,\"delta\":{\"content\":"
         "\"a\\n\"}}]}",
         "a\n", "", "", "", true},
        /* what has another shape */
        {HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":[{\"type\":\"text\"}]}}]}", NULL, "", "", "",
         true},
        {HEAD "\"choices\":[{\"index\":0,\"delta\":\"a\"}]}", NULL, "", "", "", true},
        {HEAD "\"choices\":[7,\"a\"]}", NULL, "", "", "", true},
        {HEAD "\"choices\":{\"index\":0}}", NULL, "", "", "", false},
        {"{}", NULL, "", "", "", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const char *data = table[i].data;
        struct chunk c;
        cr_assert_eq(openai_read_chunk(str_of(data), &c), 0, "%s", data);
        cr_expect_eq(c.part.content.p != NULL, table[i].content != NULL, "%s", data);
        cr_expect_str_eq(shown(c.part.content), table[i].content ? table[i].content : "", "%s", data);
        cr_expect_str_eq(shown(c.refusal), table[i].refusal, "%s", data);
        cr_expect_str_eq(shown(c.tool_calls), table[i].tool_calls, "%s", data);
        cr_expect_str_eq(shown(c.finish_reason), table[i].finish_reason, "%s", data);
        cr_expect_eq(c.has_choices, table[i].has_choices, "%s", data);
        cr_expect(!c.has_error, "%s", data);
        openai_free_chunk(&c);
    }
}

Test(openai, usage_and_model_of_a_chunk)
{
    static const char data[] = HEAD
        "\"service_tier\":\"flex\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,"
        "\"total_tokens\":7,\"prompt_tokens_details\":{\"cached_tokens\":2},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":1}}}";
    struct chunk c;

    cr_assert_eq(openai_read_chunk(str_of(data), &c), 0);
    cr_expect_str_eq(shown(c.part.model), "m");
    cr_expect(c.part.has_usage && c.part.prompt_tokens == 3 && c.part.completion_tokens == 4 &&
              c.part.total_tokens == 7 && c.part.cached_tokens == 2 && c.part.reasoning_tokens == 1);
    cr_expect(!c.part.list_price);
    openai_free_chunk(&c);

    cr_assert_eq(openai_read_chunk(str_of("{\"choices\":[],\"usage\":null}"), &c), 0);
    cr_expect(!c.part.has_usage && c.part.list_price && c.part.model.n == 0);
    openai_free_chunk(&c);
}

Test(openai, an_error_in_a_stream)
{
    static const struct {
        const char *data;
        bool has_error;
        const char *code, *type;
    } table[] = {
        {"{\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"code\":null}}", true, "", "server_error"},
        {"{\"error\":{\"code\":\"insufficient_quota\",\"type\":\"t\"},\"choices\":[]}", true,
         "insufficient_quota", "t"},
        {"{\"id\":\"1\",\"error\":{\"code\":502,\"message\":\"m\"},\"choices\":[{\"index\":0,\"delta\":"
         "{\"content\":\"\"},\"finish_reason\":\"error\"}]}",
         true, "", ""},
        {"{\"error\":\"overloaded\"}", true, "", ""},
        {"{\"error\":null,\"choices\":[]}", false, "", ""},
        {"{}", false, "", ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct chunk c;
        cr_assert_eq(openai_read_chunk(str_of(table[i].data), &c), 0, "%s", table[i].data);
        cr_expect_eq(c.has_error, table[i].has_error, "%s", table[i].data);
        cr_expect_str_eq(c.error.code, table[i].code, "%s", table[i].data);
        cr_expect_str_eq(c.error.type, table[i].type, "%s", table[i].data);
        openai_free_chunk(&c);
    }
}

Test(openai, what_is_no_chunk)
{
    static const char *const table[] = {"",  "[DONE]",         "[]",    "null",
                                        "7", "{\"choices\":[", "{} {}", "{\"a\":\"\xff\"}"};
    struct chunk c;

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        cr_expect_eq(openai_read_chunk(str_of(table[i]), &c), -EBADMSG, "%s", table[i]);
    cr_expect(openai_is_done(str_of("[DONE]")));
    cr_expect(!openai_is_done(str_of("{}")) && !openai_is_done(str_of("")) &&
              !openai_is_done(str_of("[DONE]]")));
}

/* Nothing behind the data is looked at, wherever it ends. */
Test(openai, a_chunk_that_is_cut)
{
    static const char data[] = HEAD
        "\"service_tier\":\"default\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ud83d\\ude00 "
        "\\u00e1\","
        "\"tool_calls\":[{\"index\":12}]},\"finish_reason\":null}],\"usage\":{\"prompt_tokens\":-0.1e5}}";
    struct chunk c;

    for (size_t n = 0; n < sizeof data - 1; n++) {
        char *copy = xmalloc(n);
        memcpy(copy, data, n);
        cr_expect_eq(openai_read_chunk((struct str){copy, n}, &c), -EBADMSG, "%zu", n);
        free(copy);
    }
    cr_expect_eq(openai_read_chunk(str_of(data), &c), 0);
    openai_free_chunk(&c);
}

Test(openai, names_of_the_operator_are_masked)
{
    static const struct {
        const char *error, *masked;
    } table[] = {
        {"", ""},
        {"Rate limit reached for gpt-4o in organization org-abc123 on requests per min (RPM): Limit 3",
         "Rate limit reached for gpt-4o in organization org-*** on requests per min (RPM): Limit 3"},
        {"Project `proj_Ab3_Cd4-Ef5` has no access", "Project `proj_***` has no access"},
        {"key sk-proj-****6789.", "key sk-***."},
        {"org-abcdef,org-ghijkl", "org-***,org-***"},
        {"in\\norg-abcdef", "in\\norg-***"},
        {"\\u201corg-abcdef\\u201d", "\\u201corg-***\\u201d"},
        {"risk-assessment: task-timeout, disk-pressure", "risk-assessment: task-timeout, disk-pressure"},
        {"org-org-abcdef", "org-***"},
        {"an org-chart, org-, proj_, proj_1, sk-", "an org-chart, org-, proj_, proj_1, sk-"},
        {"{\"error\":{\"message\":\"org-AbCdEfGhIjKl\"}}", "{\"error\":{\"message\":\"org-***\"}}"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buf out = BUF_INIT(KIB);
        size_t n = strlen(table[i].error);
        char *exact = malloc(n + !n); /* for the address sanitizer: nothing follows */
        cr_assert_not_null(exact);
        memcpy(exact, table[i].error, n);
        openai_mask_names((struct str){exact, n}, &out);
        cr_expect(str_eq(buf_str(&out), table[i].masked), "%s: %.*s", table[i].error, (int)out.len,
                  out.data ? out.data : "");
        buf_free(&out);
        free(exact);
    }
}
