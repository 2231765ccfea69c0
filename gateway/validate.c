#include "gateway/validate.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "gateway/problem.h"

static bool is_trimmed(uint32_t cp)
{
    return utf8_is_space(cp) && !(cp >= 0x1c && cp <= 0x1f); /* Rust's trim(), not Python's strip() */
}

static struct str trim(struct str s)
{
    uint32_t cp;

    for (int got; (got = utf8_next(s.p, s.n, &cp)) > 0 && is_trimmed(cp);) {
        s.p += got;
        s.n -= (size_t)got;
    }
    while (s.n > 0) {
        size_t start = s.n - 1;
        while (start > 0 && ((unsigned char)s.p[start] & 0xc0) == 0x80)
            start--;
        if (utf8_next(s.p + start, s.n - start, &cp) < 0 || !is_trimmed(cp))
            break;
        s.n = start;
    }
    return s;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The value of an optional minus sign and digits; what 64 bits cannot hold becomes their end. */
static int64_t saturated(struct str s)
{
    bool negative = s.p[0] == '-';
    int64_t v = 0;

    for (size_t i = negative; i < s.n; i++) {
        if (v > (INT64_MAX - 9) / 10)
            return negative ? -INT64_MAX : INT64_MAX;
        v = v * 10 + (s.p[i] - '0');
    }
    return negative ? -v : v;
}

enum parsed { PARSED, TOO_LONG, NO_INTEGER };

/* An integer as JSON has it. Too long is one whose digits go on for too long, whatever comes behind them. */
static enum parsed parse_strict(struct str s, int64_t *out)
{
    size_t i = s.n > 0 && s.p[0] == '-';

    if (i >= s.n || !digit(s.p[i]))
        return NO_INTEGER;
    if (s.p[i] == '0')
        i++;
    else
        while (i < s.n && digit(s.p[i]))
            i++;
    if (i > JSONSCAN_DIGITS_MAX)
        return TOO_LONG;
    if (i < s.n)
        return NO_INTEGER;
    *out = saturated(s);
    return PARSED;
}

/* Zeros, and underscores behind the first one, up to the first digit that counts. The Pydantic of the
 * contract also stops at a minus sign there, and takes "0-5" for -5. Empty: this begins like no integer. */
static struct str skip_zeros(struct str s)
{
    static const struct str none = {NULL, 0};

    if (s.n == 0 || !digit(s.p[0]))
        return none;
    if (s.p[0] != '0')
        return s;
    for (size_t i = 1; i < s.n; i++) {
        char c = s.p[i];
        if (c == '.')
            return (struct str){s.p + i - 1, s.n - i + 1};
        if (c == '-' || (c >= '1' && c <= '9'))
            return (struct str){s.p + i, s.n - i};
        if (c != '0' && c != '_')
            return none;
    }
    return (struct str){s.p + s.n - 1, 1};
}

static struct str without_zero_fraction(struct str s)
{
    const char *dot = s.n > 0 ? memchr(s.p, '.', s.n) : NULL;
    size_t n = dot ? (size_t)(dot - s.p) : s.n;
    size_t zeros = n + 1;

    while (zeros < s.n && s.p[zeros] == '0')
        zeros++;
    return dot && n + 1 < s.n && zeros == s.n ? (struct str){s.p, n} : s;
}

/* Copies s without its underscores, unless one is at an end or beside another: those stay, and are no digits. */
static size_t drop_underscores(char *to, struct str s)
{
    bool well_placed = s.p[0] != '_' && s.p[s.n - 1] != '_' && !memmem(s.p, s.n, "__", 2);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_' || !well_placed)
            to[n++] = s.p[i];
    return n;
}

/* What Pydantic makes of a string that is no integer at first sight. */
static bool parse_lax(struct str s, int64_t *out)
{
    bool negative;

    s = trim(s);
    bool plus = s.n > 0 && s.p[0] == '+';
    s.p += plus;
    s.n -= plus;
    negative = !plus && s.n > 0 && s.p[0] == '-';
    s.p += negative;
    s.n -= negative;
    s = without_zero_fraction(skip_zeros(s));
    if (s.n == 0)
        return false;
    char *clean = xmalloc(s.n + 1);
    clean[0] = '-';
    size_t n = drop_underscores(clean + negative, s) + negative;
    bool ok = parse_strict((struct str){clean, n}, out) == PARSED;
    free(clean);
    return ok;
}

static void no_integer(struct buf *error, const struct value *v)
{
    problem_add(error, "int_parsing", "max_words",
                "Input should be a valid integer, unable to parse string as an integer", v, NULL);
}

static void too_large(struct buf *error, const struct value *v)
{
    problem_add(error, "int_parsing_size", "max_words",
                "Unable to parse input string as an integer, exceeded maximum size", v, NULL);
}

static void check_max_words_string(struct buf *error, const struct value *v, struct ask_input *in)
{
    if (v->surrogate) {
        problem_surrogate(error, "max_words", v);
        return;
    }
    switch (parse_strict(v->text, &in->max_words)) {
    case PARSED:
        break;
    case TOO_LONG:
        too_large(error, v);
        break;
    case NO_INTEGER:
        if (!parse_lax(v->text, &in->max_words))
            no_integer(error, v);
        break;
    }
}

static void check_max_words_float(struct buf *error, const struct value *v, struct ask_input *in)
{
    double d = strtod(v->source.p, NULL);

    if (!isfinite(d))
        problem_add(error, "finite_number", "max_words", "Input should be a finite number", NULL, NULL);
    else if (d != trunc(d))
        problem_add(error, "int_from_float", "max_words",
                    "Input should be a valid integer, got a number with a fractional part", v, NULL);
    else if (fabs(d) >= 9223372036854775808.0)
        too_large(error, v);
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
        in->max_words = saturated(v->source);
        break;
    case VALUE_FLOAT:
        check_max_words_float(error, v, in);
        break;
    case VALUE_STRING:
        check_max_words_string(error, v, in);
        break;
    case VALUE_ARRAY:
    case VALUE_OBJECT:
        problem_add(error, "int_type", "max_words", "Input should be a valid integer", v, NULL);
        break;
    }
}

static void check_stream(struct buf *error, const struct value *v, struct ask_input *in)
{
    if (v->type == VALUE_TRUE || v->type == VALUE_FALSE || v->type == VALUE_NULL)
        in->stream = v->type == VALUE_TRUE;
    else
        problem_add(error, "bool_type", "stream", "Input should be a valid boolean", v, NULL);
}

static void check_fields(const struct jsonscan *j, struct ask_input *in, struct buf *error)
{
    const struct value *user_id = jsonscan_get(j, "user_id");
    const struct value *question = jsonscan_get(j, "question");
    const struct value *max_words = jsonscan_get(j, "max_words");
    const struct value *stream = jsonscan_get(j, "stream");

    if (user_id)
        problem_string(error, "user_id", user_id, 0, 0, &in->user_id);
    else
        problem_missing(error, "user_id", &j->top);
    if (question)
        problem_string(error, "question", question, ASK_QUESTION_MIN, ASK_QUESTION_MAX, &in->question);
    else
        problem_missing(error, "question", &j->top);
    if (max_words)
        check_max_words(error, max_words, in);
    if (stream)
        check_stream(error, stream, in);
}

int validate_ask(struct str body, const char *content_type, int64_t default_max_words, struct jsonscan *hold,
                 struct ask_input *in, struct buf *error)
{
    static const char *const keys[] = {"user_id", "question", "max_words", "stream", NULL};
    int status = problem_read(error, body, content_type, keys, hold);

    *in = (struct ask_input){.has_max_words = true, .max_words = default_max_words};
    if (status == 200)
        check_fields(hold, in, error);
    return problem_finish(error, status);
}
