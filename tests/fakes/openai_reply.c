/* Writing answers as OpenAI writes them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/json.h"
#include "tests/fakes/fake.h"
#include "tests/fakes/openai.h"

#define FINGERPRINT "fp_0ba0d124f1"

#define SORRY                                                                                                \
    " Sorry about that! You can retry your request, or contact us through our help center at "               \
    "help.openai.com if the "                                                                                \
    "error persists."

/* By name for scripts and --fail; the first row of a status is what its number alone means. */
static const struct error {
    const char *name;
    int status;
    const char *type, *code, *param, *message;
} errors[] = {
    {"invalid_request", 400, "invalid_request_error", NULL, NULL,
     "Your request was malformed or missing some required parameters."},
    {"context", 400, "invalid_request_error", "context_length_exceeded", "messages",
     "This model's maximum context length is 128000 tokens. However, your messages resulted in 130042 "
     "tokens. Please "
     "reduce the length of the messages."},
    {"content_filter", 400, "invalid_request_error", "content_policy_violation", NULL,
     "Your request was rejected as a result of our safety system."},
    {"invalid_api_key", 401, "invalid_request_error", "invalid_api_key", NULL,
     "Incorrect API key provided: sk-fake****0000. You can find your API key at "
     "https://platform.openai.com/account/api-keys."},
    {"forbidden", 403, "request_forbidden", "unsupported_country_region_territory", NULL,
     "Country, region, or territory not supported"},
    {"model_not_found", 404, "invalid_request_error", "model_not_found", NULL,
     "The model does not exist or you do not have access to it."},
    {"timeout", 408, "timeout", NULL, NULL, "Request timed out."},
    {"conflict", 409, "invalid_request_error", NULL, NULL,
     "There was a conflict with another request. Please retry your request."},
    {"unprocessable", 422, "invalid_request_error", NULL, NULL, "We were unable to process the request."},
    {"rate_limit", 429, "requests", "rate_limit_exceeded", NULL,
     "Rate limit reached for requests per min (RPM) in organization org-fake: Limit 10000, Used 10000, "
     "Requested 1. "
     "Please try again in 6ms. Visit https://platform.openai.com/account/rate-limits to learn more."},
    {"tokens", 429, "tokens", "rate_limit_exceeded", NULL,
     "Rate limit reached for tokens per min (TPM) in organization org-fake: Limit 200000, Used 199990, "
     "Requested 120. "
     "Please try again in 33ms. Visit https://platform.openai.com/account/rate-limits to learn more."},
    {"quota", 429, "insufficient_quota", "insufficient_quota", NULL,
     "You exceeded your current quota, please check your plan and billing details. For more information on "
     "this "
     "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."},
    {"slow_down", 429, "rate_limit_error", "slow_down", NULL,
     "You are increasing your rate of requests too fast. Please slow down and ramp up gradually."},
    {"server_error", 500, "server_error", NULL, NULL,
     "The server had an error while processing your request." SORRY},
    {"bad_gateway", 502, NULL, NULL, NULL, NULL},
    {"overloaded", 503, "service_unavailable_error", "server_is_overloaded", NULL,
     "The server is currently overloaded with other requests." SORRY},
    {"gateway_timeout", 504, NULL, NULL, NULL, NULL},
};

const char *error_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(errors); i++)
        if (strcmp(errors[i].name, name) == 0)
            return errors[i].name;
    return NULL;
}

const char *error_names(void)
{
    static char text[512];
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(errors); i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? " " : "", errors[i].name);
    return text;
}

void error_fill(struct api_error *e, int status, const char *name, const struct chat *c)
{
    const struct error *row = NULL;

    for (size_t i = 0; i < ARRAY_LEN(errors) && !row; i++)
        if (name ? strcmp(errors[i].name, name) == 0 : errors[i].status == status)
            row = &errors[i];
    *e = (struct api_error){.status = status ? status : row ? row->status : 500};
    if (!row) {
        e->type = e->status >= 500 ? "server_error" : "invalid_request_error";
        snprintf(e->message, sizeof e->message, "HTTP %d", e->status);
        return;
    }
    e->type = row->type;
    e->code = row->code;
    snprintf(e->param, sizeof e->param, "%s", row->param ? row->param : "");
    if (strcmp(row->name, "model_not_found") == 0)
        snprintf(e->message, sizeof e->message,
                 "The model `%.200s` does not exist or you do not have access to it.", c ? c->model : "");
    else
        snprintf(e->message, sizeof e->message, "%s", row->message ? row->message : "");
}

void write_id(struct openai *o, struct buf *b, const char *prefix, size_t digits)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t bits = 0;

    buf_puts(b, prefix);
    char *at = buf_reserve(b, digits);
    if (!at)
        return;
    for (size_t i = 0; i < digits; i++, bits >>= 6) {
        if (i % 10 == 0)
            bits = fake_random_u64(&o->random);
        at[i] = set[bits & 63];
    }
    b->len += digits;
    b->data[b->len] = '\0';
}

static void write_hex(struct openai *o, struct buf *b, size_t digits)
{
    uint64_t bits = 0;
    char *at = buf_reserve(b, digits);

    if (!at)
        return;
    for (size_t i = 0; i < digits; i++, bits >>= 4) {
        if (i % 16 == 0)
            bits = fake_random_u64(&o->random);
        at[i] = "0123456789abcdef"[bits & 15];
    }
    b->len += digits;
    b->data[b->len] = '\0';
}

void write_headers(struct openai *o, int64_t ms, const char *more)
{
    struct buf *b = &o->headers;

    buf_reset(b);
    buf_puts(b, "x-request-id: req_");
    write_hex(o, b, 32);
    buf_puts(b, "\r\nopenai-processing-ms: ");
    buf_printf(b, "%" PRId64, ms);
    buf_puts(b, "\r\nopenai-version: 2020-10-01\r\n"
                "openai-organization: org-fake\r\n");
    if (!more || !strstr(more, "x-ratelimit-"))
        buf_puts(b, "x-ratelimit-limit-requests: 10000\r\n"
                    "x-ratelimit-limit-tokens: 10000000\r\n"
                    "x-ratelimit-remaining-requests: 9999\r\n"
                    "x-ratelimit-remaining-tokens: 9999950\r\n"
                    "x-ratelimit-reset-requests: 6ms\r\n"
                    "x-ratelimit-reset-tokens: 0s\r\n");
    if (more)
        buf_puts(b, more);
}

static void field_or_null(struct buf *b, const char *key, const char *value)
{
    json_key(b, key);
    if (value && *value)
        json_str(b, value, strlen(value));
    else
        buf_puts(b, "null");
}

void reply_error(struct openai *o, struct exchange *x, const struct api_error *e, const char *more_headers)
{
    struct buf *b = &o->body;

    write_headers(o, 1, more_headers);
    buf_reset(b);
    if (!e->type) { /* what the proxy in front of the API says */
        buf_printf(
            b,
            "<html>\r\n<head><title>%d %s</title></head>\r\n<body>\r\n<center><h1>%d %s</h1></center>\r\n"
            "</body>\r\n</html>\r\n",
            e->status, http1_reason(e->status), e->status, http1_reason(e->status));
        http_answer(x, e->status, "text/html", buf_str(&o->headers), buf_str(b));
        return;
    }
    buf_puts(b, "{\"error\":{");
    json_field_str(b, "message", str_of(e->message));
    json_field_str(b, "type", str_of(e->type));
    field_or_null(b, "param", e->param);
    field_or_null(b, "code", e->code);
    buf_puts(b, "}}");
    http_answer(x, e->status, "application/json", buf_str(&o->headers), buf_str(b));
}

struct str clip_tokens(const struct chat *c, struct str content, size_t *tokens, bool *clipped)
{
    size_t n = 0;
    size_t at = 0;

    *clipped = false;
    for (size_t k; (k = next_token(content.p + at, content.n - at)) > 0; at += k) {
        if (c->max_tokens && n == (size_t)c->max_tokens) {
            *clipped = true;
            break;
        }
        n++;
    }
    *tokens = n;
    return (struct str){content.p, at};
}

static void write_usage(struct buf *b, const struct chat *c, size_t tokens, const char *usage)
{
    if (usage) {
        buf_puts(b, "\"usage\":");
        buf_puts(b, usage);
        return;
    }
    buf_printf(b,
               "\"usage\":{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu,"
               "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},",
               c->prompt_tokens, tokens, c->prompt_tokens + tokens);
    buf_puts(b, "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
                "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}");
}

void write_completion(struct openai *o, struct buf *b, const struct chat *c, struct str content,
                      const char *usage)
{
    size_t tokens;
    bool clipped;

    content = clip_tokens(c, content, &tokens, &clipped);
    write_id(o, b, "{\"id\":\"chatcmpl-", 29);
    buf_printf(b,
               "\",\"object\":\"chat.completion\",\"created\":%" PRId64 ",\"model\":", wall_us() / 1000000);
    json_str(b, c->answer_model, strlen(c->answer_model));
    buf_puts(b, ",\"choices\":[");
    for (int i = 0; i < c->choices; i++) {
        buf_puts(b, i ? ",{\"index\":" : "{\"index\":");
        buf_printf(b, "%d", i);
        buf_puts(b, ",\"message\":{\"role\":\"assistant\",\"content\":");
        json_str(b, content.p, content.n);
        buf_puts(b, ",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":");
        buf_puts(b, clipped ? "\"length\"}" : "\"stop\"}");
    }
    buf_puts(b, "],");
    write_usage(b, c, tokens * (size_t)c->choices, usage);
    buf_puts(b, ",\"service_tier\":\"default\",\"system_fingerprint\":\"" FINGERPRINT "\"}");
}

static void write_delta(struct buf *b, const struct chunk *k)
{
    buf_printf(b, "[{\"index\":%d,\"delta\":", k->index);
    switch (k->kind) {
    case CHUNK_ROLE:
        buf_puts(b, "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}");
        break;
    case CHUNK_TEXT:
        buf_puts(b, "{\"content\":");
        json_str(b, k->text.p, k->text.n);
        buf_putc(b, '}');
        break;
    default:
        buf_puts(b, "{}");
    }
    buf_puts(b, ",\"logprobs\":null,\"finish_reason\":");
    buf_puts(b, k->kind != CHUNK_FINISH ? "null}]" : k->clipped ? "\"length\"}]" : "\"stop\"}]");
}

void write_chunk(struct openai *o, struct buf *b, const struct chat *c, const char *id, int64_t created,
                 const struct chunk *k)
{
    buf_puts(b, "data: {");
    json_field_str(b, "id", str_of(id));
    buf_printf(b, ",\"object\":\"chat.completion.chunk\",\"created\":%" PRId64, created);
    json_field_str(b, "model", str_of(c->answer_model));
    buf_puts(b, ",\"service_tier\":\"default\",\"system_fingerprint\":\"" FINGERPRINT "\",\"choices\":");
    if (k->kind == CHUNK_USAGE) {
        buf_puts(b, "[],");
        write_usage(b, c, k->tokens, k->usage);
    } else {
        write_delta(b, k);
        if (c->include_usage)
            buf_puts(b, ",\"usage\":null");
    }
    if (c->obfuscate)
        write_id(o, b, ",\"obfuscation\":\"", 1 + fake_random_u64(&o->random) % 12);
    buf_puts(b, c->obfuscate ? "\"}\n\n" : "}\n\n");
}

void write_model(struct buf *b, const char *id)
{
    buf_putc(b, '{');
    json_field_str(b, "id", str_of(id));
    buf_puts(b, ",\"object\":\"model\",\"created\":1715367049,\"owned_by\":\"system\"}");
}

void write_models(struct openai *o, struct buf *b)
{
    static const char *const names[] = {"gpt-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-4o", "gpt-4.1",
                                        "gpt-4.1-mini"};

    buf_puts(b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < ARRAY_LEN(names) + o->n_models; i++) {
        if (i)
            buf_putc(b, ',');
        write_model(b, i < ARRAY_LEN(names) ? names[i] : o->models[i - ARRAY_LEN(names)]);
    }
    buf_puts(b, "]}");
}
