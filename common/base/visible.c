#include "common/base/visible.h"

#include <string.h>

#include "common/base/utf8.h"

static bool is_hidden(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x61c || cp == 0x200e || cp == 0x200f ||
           (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
}

static void put_escape(struct buf *b, uint32_t cp)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = "\n\r\t";
    const char *found = cp && cp < 0x80 ? strchr(shorts, (int)cp) : NULL;
    const char text[6] = {'\\', 'u', hex[cp >> 12 & 15], hex[cp >> 8 & 15], hex[cp >> 4 & 15], hex[cp & 15]};

    if (found)
        buf_append(b, (const char[]){'\\', "nrt"[found - shorts]}, 2);
    else
        buf_append(b, text, sizeof text);
}

void visible_put(struct buf *b, const char *s, size_t n, const char *also)
{
    size_t done = 0; /* s[done..i) goes out as it is */
    size_t i = 0;

    while (i < n) {
        uint32_t cp = (unsigned char)s[i];
        int got = cp < 0x80 ? 1 : utf8_next(s + i, n - i, &cp);
        bool hidden = got > 0 && is_hidden(cp);

        if (got > 0 && !hidden && !(cp && cp < 0x80 && strchr(also, (int)cp))) {
            i += (size_t)got;
            continue;
        }
        buf_append(b, s + done, i - done);
        if (got < 0)
            buf_append(b, "\xef\xbf\xbd", 3);
        else if (hidden)
            put_escape(b, cp);
        else
            buf_append(b, (const char[]){'\\', (char)cp}, 2);
        i += got < 0 ? 1 : (size_t)got;
        done = i;
    }
    buf_append(b, s + done, n - done);
}
