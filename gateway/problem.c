#include "gateway/problem.h"

#include <stdio.h>
#include <strings.h>

#include "common/base/json.h"
#include "common/base/utf8.h"
#include "gateway/echo.h"

void problem_add(struct buf *error, const char *type, const char *field, const char *msg,
                 const struct value *input, const char *ctx)
{
    buf_puts(error, error->len ? "," : "{\"detail\":[");
    buf_putc(error, '{');
    json_field_str(error, "type", str_of(type));
    json_key(error, "loc");
    buf_puts(error, "[\"body\"");
    if (field)
        buf_printf(error, ",\"%s\"", field);
    buf_putc(error, ']');
    json_field_str(error, "msg", str_of(msg));
    json_key(error, "input");
    if (input)
        echo_value(error, input);
    else
        buf_puts(error, "null");
    if (ctx) {
        json_key(error, "ctx");
        buf_puts(error, ctx);
    }
    buf_putc(error, '}');
}

void problem_missing(struct buf *error, const char *field, const struct value *input)
{
    problem_add(error, "missing", field, "Field required", input, NULL);
}

void problem_surrogate(struct buf *error, const char *field, const struct value *v)
{
    problem_add(error, "string_unicode", field,
                "Input should be a valid string, unable to parse raw data as a unicode string", v, NULL);
}

static void wrong_length(struct buf *error, const char *type, const char *field, const char *bound, size_t n,
                         const char *ctx_key, const struct value *v)
{
    char msg[80], ctx[48];

    snprintf(msg, sizeof msg, "String should have at %s %zu character%s", bound, n, n == 1 ? "" : "s");
    snprintf(ctx, sizeof ctx, "{\"%s\":%zu}", ctx_key, n);
    problem_add(error, type, field, msg, v, ctx);
}

void problem_string(struct buf *error, const char *field, const struct value *v, size_t least, size_t most,
                    struct str *out)
{
    if (v->type != VALUE_STRING) {
        problem_add(error, "string_type", field, "Input should be a valid string", v, NULL);
        return;
    }
    if (v->surrogate) {
        problem_surrogate(error, field, v);
        return;
    }
    *out = v->text;
    size_t n = utf8_count(out->p, out->n);
    if (n < least)
        wrong_length(error, "string_too_short", field, "least", least, "min_length", v);
    else if (most && n > most)
        wrong_length(error, "string_too_long", field, "most", most, "max_length", v);
}

static void no_object(struct buf *error, const struct value *v)
{
    problem_add(error, "model_attributes_type", NULL,
                "Input should be a valid dictionary or object to extract fields from", v, NULL);
}

static void broken(struct buf *error, const struct jsonscan *j)
{
    buf_printf(error,
               "{\"detail\":[{\"type\":\"json_invalid\",\"loc\":[\"body\",%zu],\"msg\":\"JSON decode error\"",
               j->position);
    buf_puts(error, ",\"input\":{},\"ctx\":{");
    json_field_str(error, "error", str_of(j->error));
    buf_puts(error, "}}");
}

/* What Python's str.strip() takes from a header, whose bytes are Latin-1. */
static struct str strip(struct str s)
{
    while (s.n > 0 && utf8_is_space((unsigned char)s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && utf8_is_space((unsigned char)s.p[s.n - 1]))
        s.n--;
    return s;
}

static bool ends_with(struct str s, const char *end)
{
    size_t n = strlen(end);

    return s.n >= n && strncasecmp(s.p + s.n - n, end, n) == 0;
}

/* As Python's email package takes it apart: parameters cut off, exactly one slash. */
bool problem_is_json_type(const char *header)
{
    static const char prefix[] = "application/";
    struct str type = strip((struct str){header, strcspn(header, ";")});

    if (type.n < sizeof prefix - 1 || strncasecmp(type.p, prefix, sizeof prefix - 1) != 0)
        return false;
    struct str subtype = {type.p + sizeof prefix - 1, type.n - (sizeof prefix - 1)};
    if (subtype.n > 0 && memchr(subtype.p, '/', subtype.n))
        return false;
    return ends_with(subtype, "+json") || (subtype.n == 4 && ends_with(subtype, "json"));
}

int problem_read(struct buf *error, struct str body, const char *content_type, const char *const *keys,
                 struct jsonscan *hold)
{
    *hold = (struct jsonscan){.n = 0};
    if (body.n == 0) {
        problem_missing(error, NULL, NULL);
        return 422;
    }
    if (content_type && *content_type && !problem_is_json_type(content_type)) {
        no_object(error, &(struct value){.type = VALUE_STRING, .text = body});
        return 422;
    }
    switch (jsonscan(hold, body, keys)) {
    case JSONSCAN_UNREADABLE:
        buf_puts(error, "{\"detail\":\"There was an error parsing the body\"}");
        return 400;
    case JSONSCAN_BROKEN:
        broken(error, hold);
        return 422;
    case JSONSCAN_OK:
        break;
    }
    if (hold->top.type == VALUE_OBJECT)
        return 200;
    if (hold->top.type == VALUE_NULL)
        problem_missing(error, NULL, NULL);
    else
        no_object(error, &hold->top);
    return 422;
}

int problem_finish(struct buf *error, int status)
{
    if (status == 400 || error->len == 0)
        return status;
    buf_puts(error, "]}");
    return 422;
}
