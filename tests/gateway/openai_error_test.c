#include "gateway/openai_error.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct buf out = {.max = 4096};

static const char *written(int status, const char *code)
{
    buf_reset(&out);
    openai_error_write(&out, status, code, "so \"it\" is");
    return out.data;
}

Test(openai_error, the_type_is_of_the_status_and_the_word_is_theirs)
{
    static const struct {
        int status;
        const char *ours, *type, *code;
    } table[] = {
        {400, NULL, "invalid_request_error", "null"},
        {400, "", "invalid_request_error", "null"},
        {401, "no_token", "invalid_request_error", "\"invalid_api_key\""},
        {401, "wrong_token", "invalid_request_error", "\"invalid_api_key\""},
        {404, "unknown_url", "invalid_request_error", "\"unknown_url\""},
        {408, "bad_body", "timeout", "\"bad_body\""},
        {413, "bad_body", "invalid_request_error", "\"bad_body\""},
        {429, "rate_limited", "requests", "\"rate_limit_exceeded\""},
        {502, "timeout", "server_error", "\"timeout\""},
        {503, "overloaded", "server_error", "\"overloaded\""},
    };
    char want[256];

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        snprintf(want, sizeof want,
                 "{\"error\":{\"message\":\"so \\\"it\\\" is\",\"type\":\"%s\",\"param\":null,\"code\":%s}}",
                 table[i].type, table[i].code);
        cr_expect_str_eq(written(table[i].status, table[i].ours), want);
    }
    buf_free(&out);
}

Test(openai_error, about_a_parameter)
{
    openai_error_about(&out, 404, "model", "model_not_found", "no");
    cr_expect_str_eq(out.data,
                     "{\"error\":{\"message\":\"no\",\"type\":\"invalid_request_error\",\"param\":\"model\","
                     "\"code\":\"model_not_found\"}}");
    buf_free(&out);
}
