#include "common/base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/utf8.h"

void json_str(struct buf *b, const char *s, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    size_t done = 0;

    buf_putc(b, '"');
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        char escape[6] = {'\\', 0};
        size_t len = 2;
        size_t step = 1;

        if (c >= 0x80) {
            uint32_t cp;
            int got = utf8_next(s + i, n - i, &cp);
            if (got > 0) {
                i += (size_t)got;
                continue;
            }
            memcpy(escape, "\xef\xbf\xbd", 3);
            len = 3;
        } else if (c == '"' || c == '\\') {
            escape[1] = (char)c;
        } else if (c >= 0x20 && c != 0x7f) {
            i++;
            continue;
        } else if (c == '\n') {
            escape[1] = 'n';
        } else if (c == '\r') {
            escape[1] = 'r';
        } else if (c == '\t') {
            escape[1] = 't';
        } else {
            memcpy(escape, "\\u00", 4);
            escape[4] = hex[c >> 4];
            escape[5] = hex[c & 15];
            len = 6;
        }
        buf_append(b, s + done, i - done);
        buf_append(b, escape, len);
        i += step;
        done = i;
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
    json_str(b, key, strlen(key));
    buf_putc(b, ':');
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
