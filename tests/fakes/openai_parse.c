/* Reading a chat request: what OpenAI takes is taken, what it refuses is refused in its words. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "tests/fakes/openai.h"

#define CACHE_SIZE     1024
#define CACHE_BODY_MAX (16 * KIB)
#define CONTEXT_TOKENS 128000

enum kind { K_ANY, K_BOOL, K_INT, K_DECIMAL, K_STRING, K_ARRAY, K_OBJECT, K_MAP, K_STOP };

/* Every parameter of POST /v1/chat/completions; min == max: no range. */
static const struct param {
    const char *name;
    enum kind kind;
    double min, max;
} params[] = {
    {"audio", K_OBJECT, 0, 0},
    {"frequency_penalty", K_DECIMAL, -2, 2},
    {"function_call", K_ANY, 0, 0},
    {"functions", K_ARRAY, 0, 0},
    {"logit_bias", K_OBJECT, 0, 0},
    {"logprobs", K_BOOL, 0, 0},
    {"max_completion_tokens", K_INT, 1, 1e9},
    {"max_tokens", K_INT, 1, 1e9},
    {"messages", K_ARRAY, 0, 0},
    {"metadata", K_OBJECT, 0, 0},
    {"modalities", K_ARRAY, 0, 0},
    {"model", K_STRING, 0, 0},
    {"n", K_INT, 1, 128},
    {"parallel_tool_calls", K_BOOL, 0, 0},
    {"prediction", K_OBJECT, 0, 0},
    {"presence_penalty", K_DECIMAL, -2, 2},
    {"prompt_cache_key", K_STRING, 0, 0},
    {"prompt_cache_retention", K_STRING, 0, 0},
    {"reasoning_effort", K_STRING, 0, 0},
    {"response_format", K_OBJECT, 0, 0},
    {"safety_identifier", K_STRING, 0, 0},
    {"seed", K_INT, 0, 0},
    {"service_tier", K_STRING, 0, 0},
    {"stop", K_STOP, 0, 0},
    {"store", K_BOOL, 0, 0},
    {"stream", K_BOOL, 0, 0},
    {"stream_options", K_OBJECT, 0, 0},
    {"temperature", K_DECIMAL, 0, 2},
    {"tool_choice", K_ANY, 0, 0},
    {"tools", K_ARRAY, 0, 0},
    {"top_logprobs", K_INT, 0, 20},
    {"top_p", K_DECIMAL, 0, 1},
    {"user", K_STRING, 0, 0},
    {"verbosity", K_STRING, 0, 0},
    {"web_search_options", K_OBJECT, 0, 0},
};

static int refuse(struct api_error *e, const char *code, const char *param, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static int refuse(struct api_error *e, const char *code, const char *param, const char *fmt, ...)
{
    va_list ap;

    *e = (struct api_error){.status = 400, .type = "invalid_request_error", .code = code};
    if (param)
        snprintf(e->param, sizeof e->param, "%s", param);
    va_start(ap, fmt);
    vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    return -1;
}

static const char *type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a decimal number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

static int wrong_type(struct api_error *e, const char *param, const char *expected, const json_t *got)
{
    return refuse(e, "invalid_type", param, "Invalid type for '%s': expected %s, but got %s instead.", param,
                  expected, type_name(got));
}

static int check_range(const struct param *p, const json_t *v, struct api_error *e)
{
    double d = json_number_value(v);
    bool integer = p->kind == K_INT;
    const char *kind = integer ? "integer" : "decimal";
    const char *code;

    if (p->min == p->max || (d >= p->min && d <= p->max))
        return 0;
    bool below = d < p->min;
    if (integer)
        code = below ? "integer_below_min_value" : "integer_above_max_value";
    else
        code = below ? "decimal_below_min_value" : "decimal_above_max_value";
    return refuse(e, code, p->name, "Invalid '%s': %s %s value. Expected a value %s %g, but got %g instead.",
                  p->name, kind, below ? "below minimum" : "above maximum",
                  below ? ">=" : "<=", below ? p->min : p->max, d);
}

static int check_stop(const json_t *v, struct api_error *e)
{
    size_t n = json_array_size(v);

    if (json_is_string(v))
        return 0;
    if (!json_is_array(v))
        return wrong_type(e, "stop", "one of a string or array of strings", v);
    if (n > 4)
        return refuse(
            e, "array_above_max_length", "stop",
            "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array "
            "with length %zu instead.",
            n);
    for (size_t i = 0; i < n; i++)
        if (!json_is_string(json_array_get(v, i)))
            return wrong_type(e, "stop", "one of a string or array of strings", v);
    return 0;
}

static int check_param(const struct param *p, const json_t *v, struct api_error *e)
{
    if (json_is_null(v) && strcmp(p->name, "model") != 0 && strcmp(p->name, "messages") != 0)
        return 0; /* every optional parameter is nullable */
    switch (p->kind) {
    case K_BOOL:
        return json_is_boolean(v) ? 0 : wrong_type(e, p->name, "a boolean", v);
    case K_INT:
        return json_is_integer(v) ? check_range(p, v, e) : wrong_type(e, p->name, "an integer", v);
    case K_DECIMAL:
        return json_is_number(v) ? check_range(p, v, e) : wrong_type(e, p->name, "a decimal", v);
    case K_STRING:
        return json_is_string(v) ? 0 : wrong_type(e, p->name, "a string", v);
    case K_ARRAY:
        return json_is_array(v) ? 0 : wrong_type(e, p->name, "an array of objects", v);
    case K_OBJECT:
        return json_is_object(v) ? 0 : wrong_type(e, p->name, "an object", v);
    case K_STOP:
        return check_stop(v, e);
    default:
        return 0;
    }
}

static int compare_param(const void *key, const void *p)
{
    return strcmp(key, ((const struct param *)p)->name);
}

static int check_params(json_t *root, struct api_error *e)
{
    const char *key;
    json_t *v;

    json_object_foreach(root, key, v)
    {
        const struct param *p = bsearch(key, params, ARRAY_LEN(params), sizeof params[0], compare_param);
        if (!p)
            return refuse(e, NULL, NULL, "Unrecognized request argument supplied: %s", key);
        if (check_param(p, v, e) < 0)
            return -1;
    }
    if (json_is_object(json_object_get(root, "stream_options")) &&
        !json_is_true(json_object_get(root, "stream")))
        return refuse(e, NULL, "stream_options",
                      "The 'stream_options' parameter is only allowed when 'stream' is enabled.");
    if (json_integer_value(json_object_get(root, "max_tokens")) &&
        json_integer_value(json_object_get(root, "max_completion_tokens")))
        return refuse(e, "invalid_parameter_combination", "max_tokens",
                      "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.");
    return 0;
}

static bool one_of(const char *s, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(s, *list) == 0)
            return true;
    return false;
}

static int check_part(const json_t *part, const char *where, size_t at, struct chat *c, struct api_error *e)
{
    static const char *const types[] = {"text", "image_url", "input_audio", "refusal", "audio", "file", NULL};
    char param[120];

    snprintf(param, sizeof param, "%s[%zu]", where, at);
    if (!json_is_object(part))
        return wrong_type(e, param, "an object", part);
    const json_t *type = json_object_get(part, "type");
    snprintf(param, sizeof param, "%s[%zu].type", where, at);
    if (!type)
        return refuse(e, "missing_required_parameter", param, "Missing required parameter: '%s'.", param);
    if (!json_is_string(type))
        return wrong_type(e, param, "a string", type);
    if (!one_of(json_string_value(type), types))
        return refuse(
            e, "invalid_value", param,
            "Invalid value: '%s'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', "
            "'audio', and 'file'.",
            json_string_value(type));
    if (strcmp(json_string_value(type), "text") != 0)
        return 0;
    const json_t *text = json_object_get(part, "text");
    snprintf(param, sizeof param, "%s[%zu].text", where, at);
    if (!text)
        return refuse(e, "missing_required_parameter", param, "Missing required parameter: '%s'.", param);
    if (!json_is_string(text))
        return wrong_type(e, param, "a string", text);
    c->prompt_tokens += count_tokens(json_string_value(text), json_string_length(text));
    return 0;
}

static int check_content(const json_t *m, const char *role, size_t at, struct chat *c, struct api_error *e)
{
    const json_t *content = json_object_get(m, "content");
    char param[80], old[80];

    snprintf(param, sizeof param, "messages[%zu].content", at);
    snprintf(old, sizeof old, "messages.[%zu].content", at);
    if (!content || json_is_null(content)) {
        if (strcmp(role, "assistant") == 0 &&
            (json_object_get(m, "tool_calls") || json_object_get(m, "function_call") ||
             json_object_get(m, "refusal")))
            return 0;
        return refuse(e, NULL, old, "Invalid value for 'content': expected a string, got null.");
    }
    if (json_is_string(content)) {
        c->prompt_tokens += count_tokens(json_string_value(content), json_string_length(content));
        return 0;
    }
    if (!json_is_array(content))
        return wrong_type(e, param, "one of a string or array of objects", content);
    if (json_array_size(content) == 0)
        return refuse(
            e, "empty_array", param,
            "Invalid '%s': empty array. Expected an array with minimum length 1, but got an empty array "
            "instead.",
            param);
    for (size_t i = 0; i < json_array_size(content); i++)
        if (check_part(json_array_get(content, i), param, i, c, e) < 0)
            return -1;
    return 0;
}

static int check_message(json_t *m, size_t at, struct chat *c, struct api_error *e)
{
    static const char *const roles[] = {"system", "assistant", "user", "function", "tool", "developer", NULL};
    static const char *const keys[] = {"role",       "content",      "name",          "refusal", "audio",
                                       "tool_calls", "tool_call_id", "function_call", NULL};
    char param[80];
    const char *key;
    json_t *v;

    snprintf(param, sizeof param, "messages[%zu]", at);
    if (!json_is_object(m))
        return wrong_type(e, param, "an object", m);
    const json_t *role = json_object_get(m, "role");
    snprintf(param, sizeof param, "messages[%zu].role", at);
    if (!role)
        return refuse(e, "missing_required_parameter", param, "Missing required parameter: '%s'.", param);
    if (!json_is_string(role))
        return wrong_type(e, param, "a string", role);
    if (!one_of(json_string_value(role), roles))
        return refuse(
            e, "invalid_value", param,
            "Invalid value: '%s'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', "
            "and 'developer'.",
            json_string_value(role));
    json_object_foreach(m, key, v)
    {
        if (one_of(key, keys))
            continue;
        snprintf(param, sizeof param, "messages[%zu].%.40s", at, key);
        return refuse(e, "unknown_parameter", param, "Unknown parameter: '%s'.", param);
    }
    snprintf(param, sizeof param, "messages[%zu].tool_call_id", at);
    if (strcmp(json_string_value(role), "tool") == 0 && !json_is_string(json_object_get(m, "tool_call_id")))
        return refuse(e, "missing_required_parameter", param, "Missing required parameter: '%s'.", param);
    c->prompt_tokens += 4; /* the role and the marks around a message */
    return check_content(m, json_string_value(role), at, c, e);
}

/* Text of a content, parts joined; the caller frees it. */
static char *content_text(const json_t *content)
{
    struct buf b = BUF_INIT(FAKE_BODY_MAX);

    if (json_is_string(content))
        buf_append(&b, json_string_value(content), json_string_length(content));
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *text = json_object_get(json_array_get(content, i), "text");
        if (json_is_string(text))
            buf_append(&b, json_string_value(text), json_string_length(text));
    }
    return b.data ? b.data : xstrdup("");
}

static int check_messages(json_t *root, struct chat *c, struct api_error *e)
{
    json_t *list = json_object_get(root, "messages");
    const json_t *last = NULL;

    if (!list)
        return refuse(e, "missing_required_parameter", "messages", "Missing required parameter: 'messages'.");
    if (!json_is_array(list))
        return wrong_type(e, "messages", "an array of objects", list);
    if (json_array_size(list) == 0)
        return refuse(
            e, "empty_array", "messages",
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty "
            "array instead.");
    c->prompt_tokens = 3;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *m = json_array_get(list, i);
        if (check_message(m, i, c, e) < 0)
            return -1;
        if (strcmp(json_string_value(json_object_get(m, "role")), "user") == 0)
            last = json_object_get(m, "content");
    }
    if (c->prompt_tokens > CONTEXT_TOKENS)
        return refuse(
            e, "context_length_exceeded", "messages",
            "This model's maximum context length is %d tokens. However, your messages resulted in %zu "
            "tokens. Please reduce the length of the messages.",
            CONTEXT_TOKENS, c->prompt_tokens);
    c->question = content_text(last);
    return 0;
}

bool model_known(const struct openai *o, const char *model)
{
    if (o->any_model || strncmp(model, "gpt-", 4) == 0 || strncmp(model, "chatgpt-", 8) == 0)
        return true;
    if (model[0] == 'o' && model[1] >= '1' && model[1] <= '9')
        return true;
    for (size_t i = 0; i < o->n_models; i++)
        if (strcmp(model, o->models[i]) == 0)
            return true;
    return false;
}

static const char *snapshot(const char *model)
{
    static const char *const names[][2] = {
        {"gpt-4o-mini", "gpt-4o-mini-2024-07-18"},   {"gpt-4o", "gpt-4o-2024-08-06"},
        {"gpt-4.1", "gpt-4.1-2025-04-14"},           {"gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"},
        {"gpt-4.1-nano", "gpt-4.1-nano-2025-04-14"}, {"gpt-5", "gpt-5-2025-08-07"},
        {"gpt-5-mini", "gpt-5-mini-2025-08-07"},     {"o3-mini", "o3-mini-2025-01-31"},
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(model, names[i][0]) == 0)
            return names[i][1];
    return model;
}

static int check_model(const struct openai *o, const json_t *root, struct chat *c, struct api_error *e)
{
    const json_t *model = json_object_get(root, "model");

    if (!model || (json_is_string(model) && json_string_length(model) == 0))
        return refuse(e, NULL, NULL, "you must provide a model parameter");
    if (!json_is_string(model))
        return wrong_type(e, "model", "a string", model);
    if (!model_known(o, json_string_value(model))) {
        refuse(e, "model_not_found", NULL,
               "The model `%.200s` does not exist or you do not have access to it.",
               json_string_value(model));
        e->status = 404;
        return -1;
    }
    c->model = xstrdup(json_string_value(model));
    c->answer_model = snapshot(c->model);
    return 0;
}

static void read_options(const json_t *root, struct chat *c)
{
    const json_t *stream = json_object_get(root, "stream_options");
    const json_t *n = json_object_get(root, "n");
    const json_t *most = json_object_get(root, "max_completion_tokens");

    if (!json_is_integer(most))
        most = json_object_get(root, "max_tokens");
    c->stream = json_is_true(json_object_get(root, "stream"));
    c->include_usage = json_is_true(json_object_get(stream, "include_usage"));
    c->obfuscate = !json_is_false(json_object_get(stream, "include_obfuscation"));
    c->choices = json_is_integer(n) ? (int)json_integer_value(n) : 1;
    c->max_tokens = json_integer_value(most);
}

static struct chat *parse(const struct openai *o, struct str body, struct api_error *e)
{
    struct chat *c = xcalloc(1, sizeof *c);
    json_t *root = json_loadb(body.p ? body.p : "", body.n, JSON_ALLOW_NUL, NULL);
    int rc = -1;

    c->refs = 1;
    if (!json_is_object(root)) {
        refuse(e, NULL, NULL,
               "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
               "your HTTP "
               "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid "
               "JSON. If you "
               "have trouble figuring out how to fix this, please contact us through our help center at "
               "help.openai.com.)");
        goto out;
    }
    if (check_model(o, root, c, e) < 0 || check_params(root, e) < 0 || check_messages(root, c, e) < 0)
        goto out;
    read_options(root, c);
    rc = 0;
out:
    json_decref(root);
    if (rc < 0) {
        chat_unref(c);
        return NULL;
    }
    return c;
}

void chat_unref(struct chat *c)
{
    if (!c || --c->refs > 0)
        return;
    free(c->body);
    free(c->model);
    free(c->question);
    free(c);
}

static uint64_t hash(struct str s)
{
    uint64_t h = s.n * 0x9e3779b97f4a7c15u, word;
    size_t i = 0;

    for (; i + 8 <= s.n; i += 8) {
        memcpy(&word, s.p + i, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    for (; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return h ^ (h >> 29);
}

/* A bench sends few different bodies: each text is judged once, and judged for good. */
struct chat *chat_parse(struct openai *o, struct str body, struct api_error *err)
{
    static struct chat *cache[CACHE_SIZE];
    uint64_t h = hash(body);
    struct chat **place = &cache[h % CACHE_SIZE];

    if (*place && (*place)->hash == h && (*place)->body_n == body.n &&
        memcmp((*place)->body, body.p, body.n) == 0) {
        (*place)->refs++;
        return *place;
    }
    struct chat *c = parse(o, body, err);
    if (c && body.n <= CACHE_BODY_MAX) {
        chat_unref(*place);
        c->hash = h;
        c->body = xmemdup(body.p, body.n);
        c->body_n = body.n;
        c->refs++;
        *place = c;
    }
    return c;
}

size_t next_token(const char *text, size_t n)
{
    size_t i = 0;

    while (i < n && (unsigned char)text[i] <= ' ')
        i++;
    while (i < n && (unsigned char)text[i] > ' ')
        i++;
    return i;
}

size_t count_tokens(const char *text, size_t n)
{
    size_t tokens = 0;

    for (size_t k; (k = next_token(text, n)) > 0; tokens++) {
        text += k;
        n -= k;
    }
    return tokens;
}
