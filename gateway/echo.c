#include "gateway/echo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"

/* Lone surrogates become U+FFFD, which has as many bytes. */
static void mend(char *s, size_t n)
{
    for (size_t i = 0; i + 2 < n; i++)
        if ((unsigned char)s[i] == 0xed && (unsigned char)s[i + 1] >= 0xa0)
            memcpy(s + i, "\xef\xbf\xbd", 3);
}

/* Fewest significant digits that read back. Only denormals can do with less than 15 of them, zeros at the end
 * aside; at a power of two Python now and then finds one with a digit less, which is the same number. */
static int shortest(char text[40], double d)
{
    int digits = isnormal(d) ? 15 : 1;

    for (;; digits++) {
        snprintf(text, 40, "%.*e", digits - 1, d);
        if (digits == 17 || strtod(text, NULL) == d)
            break;
    }
    const char *last = strchr(text, 'e') - 1;
    while (digits > 1 && *last == '0') {
        last--;
        digits--;
    }
    return digits;
}

/* Python's repr(): an exponent from 1e16 on and below 1e-4. */
static void put_float(struct buf *out, double d)
{
    char text[40];

    if (!isfinite(d)) {
        buf_puts(out, "null");
        return;
    }
    int digits = shortest(text, d);
    long exponent = strtol(strchr(text, 'e') + 1, NULL, 10);
    int decimals = digits - 1 - (int)exponent;
    if (exponent < -4 || exponent >= 16)
        buf_printf(out, "%.*e", digits - 1, d);
    else
        buf_printf(out, "%.*f", decimals > 1 ? decimals : 1, d);
}

/* A string inside a list or an object. Returns the length of its source, which `rest` begins with. */
static size_t put_string(struct buf *out, struct str rest)
{
    size_t n = 1;

    while (rest.p[n] != '"')
        n += rest.p[n] == '\\' ? 2 : 1;
    n++;
    char *text = xmalloc(n);
    size_t len = jsonscan_decode((struct str){rest.p, n}, text);
    mend(text, len);
    json_str(out, text, len);
    free(text);
    return n;
}

/* A number, true, false, null, NaN, Infinity. */
static size_t put_word(struct buf *out, struct str rest)
{
    size_t n = 0;
    bool is_float = false;

    while (n < rest.n && !strchr(",]} \t\n\r", rest.p[n]))
        is_float |= strchr(".eENI", rest.p[n++]) != NULL;
    if (is_float && strchr("-0123456789NI", rest.p[0]))
        put_float(out, strtod(rest.p, NULL)); /* stops at the byte behind it: the body has a NUL at its end */
    else if (n == 2 && memcmp(rest.p, "-0", 2) == 0)
        buf_putc(out, '0'); /* Python's integers have one zero */
    else
        buf_append(out, rest.p, n);
    return n;
}

static void put_json(struct buf *out, struct str source)
{
    for (size_t i = 0; i < source.n && !out->failed;) {
        struct str rest = {source.p + i, source.n - i};
        switch (rest.p[0]) {
        case ' ':
        case '\t':
        case '\n':
        case '\r':
            i++;
            break;
        case '{':
        case '}':
        case '[':
        case ']':
        case ',':
        case ':':
            buf_putc(out, rest.p[0]);
            i++;
            break;
        case '"':
            i += put_string(out, rest);
            break;
        default:
            i += put_word(out, rest);
        }
    }
}

/* As much of the text as fits, and how much there is. */
static void put_cut(struct buf *out, struct str text)
{
    struct buf one = BUF_INIT(64);
    size_t room = INPUT_ECHO_MAX - 2;
    uint32_t cp;

    buf_putc(out, '"');
    for (size_t i = 0; i < text.n;) {
        int got = utf8_next(text.p + i, text.n - i, &cp);
        size_t n = got > 0 ? (size_t)got : 1;
        buf_reset(&one);
        json_str(&one, text.p + i, n);
        if (one.len - 2 > room)
            break;
        buf_append(out, one.data + 1, one.len - 2); /* without its quotes */
        room -= one.len - 2;
        i += n;
    }
    buf_printf(out, "… (%zu bytes)\"", text.n);
    buf_free(&one);
}

void echo_value(struct buf *out, const struct value *v)
{
    struct buf json = BUF_INIT(INPUT_ECHO_MAX);
    struct str text = v->type == VALUE_STRING ? v->text : v->source;
    char *mended = NULL;

    if (v->type == VALUE_STRING && v->surrogate) {
        mended = xmemdup(text.p, text.n);
        mend(mended, text.n);
        text.p = mended;
    }
    if (v->type == VALUE_STRING)
        json_str(&json, text.p, text.n);
    else
        put_json(&json, text);
    if (json.failed)
        put_cut(out, text);
    else
        buf_append(out, json.data, json.len);
    buf_free(&json);
    free(mended);
}
