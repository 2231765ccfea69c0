#include "gateway/validate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/json.h"
#include "common/base/utf8.h"

/* One element of "detail". loc is field's name, NULL for the body itself; input is JSON already. */
static void put_error(struct buf *out, const char *type, const char *field, const char *msg, struct str input,
                      const char *ctx)
{
    buf_puts(out, out->len ? "," : "{\"detail\":[");
    buf_putc(out, '{');
    json_field_str(out, "type", str_of(type));
    json_key(out, "loc");
    buf_puts(out, "[\"body\"");
    if (field)
        buf_printf(out, ",\"%s\"", field);
    buf_putc(out, ']');
    json_field_str(out, "msg", str_of(msg));
    json_key(out, "input");
    if (input.p)
        jsonscan_echo(out, input);
    else
        buf_puts(out, "null");
    if (ctx) {
        json_key(out, "ctx");
        buf_puts(out, ctx);
    }
    buf_putc(out, '}');
}

static bool is_json_type(const char *type)
{
    size_t n = strcspn(type, ";");

    while (n > 0 && (type[n - 1] == ' ' || type[n - 1] == '\t'))
        n--;
    if (n < 12 || strncasecmp(type, "application/", 12) != 0)
        return false;
    return (n == 16 && strncasecmp(type + 12, "json", 4) == 0) ||
           (n >= 17 && strncasecmp(type + n - 5, "+json", 5) == 0);
}

static const struct str null_input = {NULL, 0};

static void check_string(struct buf *error, const char *field, const struct value *v, struct str *out)
{
    if (v->type != VALUE_STRING)
        put_error(error, "string_type", field, "Input should be a valid string", v->source, NULL);
    else if (v->surrogate)
        put_error(error, "string_unicode", field,
                  "Input should be a valid string, unable to parse raw data as a unicode string", v->source,
                  NULL);
    else
        *out = v->text;
}

static void check_question(struct buf *error, const struct value *v, struct str *out)
{
    size_t before = error->len;

    check_string(error, "question", v, out);
    if (error->len != before)
        return;
    size_t n = utf8_count(out->p, out->n);
    if (n < ASK_QUESTION_MIN)
        put_error(error, "string_too_short", "question", "String should have at least 3 characters",
                  v->source, "{\"min_length\":3}");
    else if (n > ASK_QUESTION_MAX)
        put_error(error, "string_too_long", "question", "String should have at most 2000 characters",
                  v->source, "{\"max_length\":2000}");
}

static struct str strip(struct str s)
{
    for (;;) {
        uint32_t cp;
        int got = utf8_next(s.p, s.n, &cp);
        if (got < 0 || !utf8_is_space(cp) || (cp >= 0x1c && cp <= 0x1f)) /* Rust's trim(), not Python's */
            break;
        s.p += got;
        s.n -= (size_t)got;
    }
    while (s.n > 0) {
        size_t start = s.n - 1;
        uint32_t cp;
        while (start > 0 && ((unsigned char)s.p[start] & 0xc0) == 0x80)
            start--;
        if (utf8_next(s.p + start, s.n - start, &cp) < 0 || !utf8_is_space(cp) || (cp >= 0x1c && cp <= 0x1f))
            break;
        s.n = start;
    }
    return s;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* [+-] digits with single underscores between them, then at most a dot and zeros. Saturates. */
static bool parse_lax(struct str s, int64_t *out)
{
    size_t i = 0;
    int64_t v = 0;
    bool negative = s.n > 0 && s.p[0] == '-';

    if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+'))
        i++;
    if (i >= s.n || !digit(s.p[i]))
        return false;
    for (; i < s.n && (digit(s.p[i]) || s.p[i] == '_'); i++) {
        if (s.p[i] == '_') {
            if (i + 1 >= s.n || !digit(s.p[i + 1]))
                return false;
        } else if (v > (INT64_MAX - 9) / 10) {
            v = INT64_MAX / 10 * 10; /* stays this large */
        } else {
            v = v * 10 + (s.p[i] - '0');
        }
    }
    if (i < s.n && s.p[i] == '.') {
        if (++i == s.n)
            return false;
        while (i < s.n && s.p[i] == '0')
            i++;
    }
    *out = negative ? -v : v;
    return i == s.n;
}

static void check_max_words_float(struct buf *error, const struct value *v, struct ask_input *in)
{
    double d = strtod(v->source.p, NULL);

    if (!isfinite(d))
        put_error(error, "finite_number", "max_words", "Input should be a finite number", null_input, NULL);
    else if (d != trunc(d))
        put_error(error, "int_from_float", "max_words",
                  "Input should be a valid integer, got a number with a fractional part", v->source, NULL);
    else if (fabs(d) >= 9223372036854775808.0)
        put_error(error, "int_parsing_size", "max_words",
                  "Unable to parse input string as an integer, exceeded maximum size", v->source, NULL);
    else
        in->max_words = (int64_t)d;
}

static void check_max_words(struct buf *error, const struct value *v, struct ask_input *in)
{
    in->has_max_words = v->type != VALUE_NULL;
    switch (v->type) {
    case VALUE_NULL:
        break;
    case VALUE_TRUE:
    case VALUE_FALSE:
        in->max_words = v->type == VALUE_TRUE;
        break;
    case VALUE_INT:
        if (!parse_lax(v->source, &in->max_words))
            abort(); /* jsonscan() has seen that it is one */
        break;
    case VALUE_FLOAT:
        check_max_words_float(error, v, in);
        break;
    case VALUE_STRING:
        if (v->surrogate || !parse_lax(strip(v->text), &in->max_words))
            put_error(error, "int_parsing", "max_words",
                      "Input should be a valid integer, unable to parse string as an integer", v->source,
                      NULL);
        else if (v->text.n > JSONSCAN_DIGITS_MAX)
            put_error(error, "int_parsing_size", "max_words",
                      "Unable to parse input string as an integer, exceeded maximum size", v->source, NULL);
        break;
    case VALUE_ARRAY:
    case VALUE_OBJECT:
        put_error(error, "int_type", "max_words", "Input should be a valid integer", v->source, NULL);
        break;
    }
}

static void put_missing(struct buf *error, const char *field, struct str input)
{
    put_error(error, "missing", field, "Field required", input, NULL);
}

static void put_no_object(struct buf *error, struct str input)
{
    put_error(error, "model_attributes_type", NULL,
              "Input should be a valid dictionary or object to extract fields from", input, NULL);
}

static void check_fields(const struct jsonscan *j, struct ask_input *in, struct buf *error)
{
    const struct value *user_id = jsonscan_get(j, "user_id");
    const struct value *question = jsonscan_get(j, "question");
    const struct value *max_words = jsonscan_get(j, "max_words");

    *in = (struct ask_input){.has_max_words = true, .max_words = ASK_MAX_WORDS_DEFAULT};
    if (user_id)
        check_string(error, "user_id", user_id, &in->user_id);
    else
        put_missing(error, "user_id", j->top.source);
    if (question)
        check_question(error, question, &in->question);
    else
        put_missing(error, "question", j->top.source);
    if (max_words)
        check_max_words(error, max_words, in);
}

static void put_broken(struct buf *error, const struct jsonscan *j)
{
    buf_printf(error,
               "{\"detail\":[{\"type\":\"json_invalid\",\"loc\":[\"body\",%zu],\"msg\":\"JSON decode error\"",
               j->position);
    buf_puts(error, ",\"input\":{},\"ctx\":{");
    json_field_str(error, "error", str_of(j->error));
    buf_puts(error, "}}");
}

/* The body as one string, as Pydantic echoes what it was not told is JSON. */
static void put_not_json(struct buf *error, struct str body)
{
    struct buf text = BUF_INIT(8 * body.n + 16);

    json_str(&text, body.p, body.n);
    put_no_object(error, buf_str(&text));
    buf_free(&text);
}

int validate_ask(struct str body, const char *content_type, struct jsonscan *hold, struct ask_input *in,
                 struct buf *error)
{
    static const char *const keys[] = {"user_id", "question", "max_words", NULL};

    *hold = (struct jsonscan){.n = 0};
    if (body.n == 0) {
        put_missing(error, NULL, null_input);
    } else if (content_type && *content_type && !is_json_type(content_type)) {
        put_not_json(error, body);
    } else {
        switch (jsonscan(hold, body, keys)) {
        case JSONSCAN_UNREADABLE:
            buf_puts(error, "{\"detail\":\"There was an error parsing the body\"}");
            return 400;
        case JSONSCAN_BROKEN:
            put_broken(error, hold);
            break;
        case JSONSCAN_OK:
            if (hold->top.type == VALUE_NULL)
                put_missing(error, NULL, null_input);
            else if (hold->top.type != VALUE_OBJECT)
                put_no_object(error, hold->top.source);
            else
                check_fields(hold, in, error);
            break;
        }
    }
    if (error->len == 0 && !error->failed)
        return 200;
    buf_puts(error, "]}");
    return 422;
}
