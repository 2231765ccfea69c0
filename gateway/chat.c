#include "gateway/chat.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/base/limits.h"
#include "common/base/utf8.h"
#include "gateway/openai_error.h"
#include "gateway/problem.h"

static int refuse(struct buf *error, const char *param, const char *code, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static int refuse(struct buf *error, const char *param, const char *code, const char *fmt, ...)
{
    char message[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    openai_error_about(error, 400, param, code, message);
    return 400;
}

static int wrong_type(struct buf *error, const char *param, const char *expected, const struct value *got)
{
    static const char *const names[] = {
        [VALUE_NULL] = "null",      [VALUE_TRUE] = "a boolean",         [VALUE_FALSE] = "a boolean",
        [VALUE_INT] = "an integer", [VALUE_FLOAT] = "a decimal number", [VALUE_STRING] = "a string",
        [VALUE_ARRAY] = "an array", [VALUE_OBJECT] = "an object",
    };

    return refuse(error, param, "invalid_type", "Invalid type for '%s': expected %s, but got %s instead.",
                  param, expected, names[got->type]);
}

/* What the record keeps of long messages. */

/* The length of the character or escape at the begin of s; both halves of a surrogate pair are one. */
static size_t step(struct str s)
{
    uint32_t cp;

    if (s.p[0] != '\\')
        return (size_t)utf8_next(s.p, s.n, &cp);
    if (s.p[1] != 'u')
        return 2;
    bool high = (s.p[2] | 0x20) == 'd' && strchr("89abAB", s.p[3]);
    return high && s.n > 7 && s.p[6] == '\\' && s.p[7] == 'u' ? 12 : 6;
}

/* s: with its quotes. */
static void put_string(struct buf *out, struct str s)
{
    size_t n = 1;

    if (s.n <= CHAT_STRING_KEPT) {
        buf_append(out, s.p, s.n);
        return;
    }
    for (size_t next = n; next <= CHAT_STRING_KEPT; next += step((struct str){s.p + n, s.n - n}))
        n = next;
    buf_append(out, s.p, n);
    buf_printf(out, "… (%zu bytes)\"", s.n - 2);
}

static struct str string_at(struct str rest)
{
    size_t n = 1;

    while (rest.p[n] != '"')
        n += rest.p[n] == '\\' ? 2 : 1;
    return (struct str){rest.p, n + 1};
}

static void shorten(struct buf *out, struct str json)
{
    for (size_t i = 0, n; i < json.n && !out->failed; i += n) {
        struct str rest = {json.p + i, json.n - i};
        const char *quote = memchr(rest.p, '"', rest.n);
        n = quote ? (size_t)(quote - rest.p) : rest.n;
        if (n > 0) {
            buf_append(out, rest.p, n);
        } else {
            struct str s = string_at(rest);
            put_string(out, s);
            n = s.n;
        }
    }
}

static struct str recorded(struct chat_hold *hold, struct str messages)
{
    if (messages.n <= REQUEST_BODY_MAX)
        return messages;
    hold->messages = BUF_INIT(REQUEST_BODY_MAX);
    shorten(&hold->messages, messages);
    if (hold->messages.failed) {
        buf_reset(&hold->messages);
        buf_printf(&hold->messages, "\"messages of %zu bytes, too many to be recorded\"", messages.n);
    }
    return buf_str(&hold->messages);
}

/* The members. */

static int read_model(const struct jsonscan *j, struct ask_input *in, struct buf *error)
{
    const struct value *v = jsonscan_get(j, "model");

    if (!v || (v->type == VALUE_STRING && v->text.n == 0))
        return refuse(error, NULL, NULL, "you must provide a model parameter");
    if (v->type != VALUE_STRING)
        return wrong_type(error, "model", "a string", v);
    if (v->text.n > CHAT_MODEL_MAX || v->surrogate)
        return refuse(error, "model", "invalid_value",
                      "Invalid 'model': the name of a model is text of %d bytes at most.", CHAT_MODEL_MAX);
    in->model = v->text;
    return 200;
}

static int read_messages(struct chat_hold *hold, struct ask_input *in, struct buf *error)
{
    const struct value *v = jsonscan_get(&hold->scan, "messages");
    size_t at = 0;

    if (!v)
        return refuse(error, "messages", "missing_required_parameter",
                      "Missing required parameter: 'messages'.");
    if (v->type != VALUE_ARRAY)
        return wrong_type(error, "messages", "an array of objects", v);
    if (jsonscan_next(v->source, &at).n == 0)
        return refuse(error, "messages", "empty_array",
                      "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
                      "empty array instead.");
    in->question = recorded(hold, v->source);
    return 200;
}

static int read_stream(const struct jsonscan *j, struct ask_input *in, struct buf *error)
{
    const struct value *v = jsonscan_get(j, "stream");

    if (v && v->type != VALUE_TRUE && v->type != VALUE_FALSE && v->type != VALUE_NULL)
        return wrong_type(error, "stream", "a boolean", v);
    in->stream = v && v->type == VALUE_TRUE;
    return 200;
}

static struct str text_of(const struct jsonscan *j, const char *key)
{
    const struct value *v = jsonscan_get(j, key);
    bool fine = v && v->type == VALUE_STRING && !v->surrogate && v->text.n <= CHAT_USER_MAX;

    return fine ? v->text : str_of("");
}

static void read_account(const struct jsonscan *j, struct ask_input *in)
{
    const struct value *metadata = jsonscan_get(j, "metadata");

    in->user_id = text_of(j, "safety_identifier");
    if (!in->user_id.n)
        in->user_id = text_of(j, "user");
    if (metadata && metadata->type == VALUE_OBJECT && metadata->source.n <= METADATA_MAX)
        in->metadata = metadata->source;
}

/* 200: hold->scan is an object in JSON as the standard has it. */
static int read_object(struct str body, const char *content_type, struct jsonscan *j, struct buf *error)
{
    static const char *const keys[] = {"model",    "messages", "stream", "user", "safety_identifier",
                                       "metadata", NULL};
    static const char what[] = "The body of the request must be a JSON object in UTF-8";
    enum jsonscan_result got;

    *j = (struct jsonscan){.n = 0};
    if (content_type && *content_type && !problem_is_json_type(content_type))
        return refuse(error, NULL, "unsupported_content_type",
                      "Unsupported content type: send the request with 'Content-Type: application/json'.");
    got = body.n ? jsonscan(j, body, keys) : JSONSCAN_UNREADABLE;
    if (got == JSONSCAN_BROKEN)
        return refuse(error, NULL, "invalid_json", "%s: %s at character %zu.", what, j->error, j->position);
    if (got == JSONSCAN_UNREADABLE || j->top.type != VALUE_OBJECT || j->text.len)
        return refuse(error, NULL, "invalid_json", "%s.", what);
    if (j->beyond_json)
        return refuse(error, NULL, "invalid_json", "%s: NaN and Infinity are none.", what);
    return 200;
}

int validate_chat(struct str body, const char *content_type, struct chat_hold *hold, struct ask_input *in,
                  struct buf *error)
{
    *hold = (struct chat_hold){.messages = BUF_INIT(0)};
    *in = (struct ask_input){.chat = true};
    int status = read_object(body, content_type, &hold->scan, error);
    in->request = hold->scan.top.source; /* not what stands around it, like a byte order mark */
    if (status == 200)
        status = read_model(&hold->scan, in, error);
    if (status == 200)
        status = read_messages(hold, in, error);
    if (status == 200)
        status = read_stream(&hold->scan, in, error);
    if (status == 200)
        read_account(&hold->scan, in);
    return status;
}

void chat_hold_free(struct chat_hold *hold)
{
    jsonscan_free(&hold->scan);
    buf_free(&hold->messages);
}
