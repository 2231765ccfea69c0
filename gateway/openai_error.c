#include "gateway/openai_error.h"

#include "common/base/json.h"

static const char *type_of(int status)
{
    return status >= 500   ? "server_error"
           : status == 429 ? "requests"
           : status == 408 ? "timeout"
                           : "invalid_request_error";
}

/* Programs look for OpenAI's words where they know them. */
static const char *their_word(const char *code)
{
    static const struct {
        const char *ours, *theirs;
    } words[] = {
        {"no_token", "invalid_api_key"},
        {"wrong_token", "invalid_api_key"},
        {"rate_limited", "rate_limit_exceeded"},
    };

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(code, words[i].ours) == 0)
            return words[i].theirs;
    return code;
}

static void field_or_null(struct buf *out, const char *key, const char *value)
{
    if (value && *value) {
        json_field_str(out, key, str_of(value));
        return;
    }
    json_key(out, key);
    buf_puts(out, "null");
}

void openai_error_about(struct buf *out, int status, const char *param, const char *code, const char *message)
{
    buf_puts(out, "{\"error\":{");
    json_field_str(out, "message", str_of(message));
    json_field_str(out, "type", str_of(type_of(status)));
    field_or_null(out, "param", param);
    field_or_null(out, "code", code ? their_word(code) : NULL);
    buf_puts(out, "}}");
}

void openai_error_write(struct buf *out, int status, const char *code, const char *message)
{
    openai_error_about(out, status, NULL, code, message);
}
