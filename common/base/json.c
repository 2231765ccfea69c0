#include "common/base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/utf8.h"

/* What stands for itself inside a string: printable ASCII but " and \. */
static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* The escape of one byte that is neither plain nor the begin of good UTF-8. Returns its length. */
static size_t escape_byte(char out[6], unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = "\"\\\n\r\t";
    const char *at = c ? strchr(shorts, c) : NULL;

    if (c >= 0x80) {
        memcpy(out, "\xef\xbf\xbd", 3);
        return 3;
    }
    if (at) {
        out[0] = '\\';
        out[1] = "\"\\nrt"[at - shorts];
        return 2;
    }
    memcpy(out, "\\u00", 4);
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

void json_str(struct buf *b, const char *s, size_t n)
{
    size_t done = 0;
    size_t i = 0;

    buf_putc(b, '"');
    while (i < n) {
        unsigned char c = (unsigned char)s[i];
        uint32_t cp;
        int got;
        if (is_plain(c)) {
            i++;
        } else if (c >= 0x80 && (got = utf8_next(s + i, n - i, &cp)) > 0) {
            i += (size_t)got;
        } else {
            char escape[6];
            size_t len = escape_byte(escape, c);
            buf_append(b, s + done, i - done);
            buf_append(b, escape, len);
            done = ++i;
        }
    }
    buf_append(b, s + done, n - done);
    buf_putc(b, '"');
}

void json_double(struct buf *b, double v)
{
    char text[40];

    if (!isfinite(v)) {
        buf_puts(b, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_puts(b, text);
    if (!strpbrk(text, ".e"))
        buf_puts(b, ".0");
}

void json_key(struct buf *b, const char *key)
{
    char last = b->len ? b->data[b->len - 1] : '{';

    if (last != '{' && last != '[')
        buf_putc(b, ',');
    buf_putc(b, '"');
    buf_puts(b, key);
    buf_append(b, "\":", 2);
}

void json_field_str(struct buf *b, const char *key, struct str v)
{
    json_key(b, key);
    json_str(b, v.p, v.n);
}

void json_field_int(struct buf *b, const char *key, int64_t v)
{
    json_key(b, key);
    buf_printf(b, "%" PRId64, v);
}

void json_field_bool(struct buf *b, const char *key, bool v)
{
    json_key(b, key);
    buf_puts(b, v ? "true" : "false");
}
