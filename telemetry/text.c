#include "telemetry/text.h"

#include <stdint.h>

#include "common/base/utf8.h"

#define HIGH 0x8080808080808080u
#define LOW  0x0101010101010101u

/* Eight bytes of plain ASCII without NUL; most text is that. */
static bool plain(const char *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof word);
    return (((word - LOW) | word) & HIGH) == 0;
}

bool text_is_clean(struct str s)
{
    size_t i = 0;

    while (i < s.n) {
        uint32_t cp;

        if (s.n - i >= 8 && plain(s.p + i)) {
            i += 8;
            continue;
        }
        int n = utf8_next(s.p + i, s.n - i, &cp);
        if (n < 0 || cp == 0)
            return false;
        i += (size_t)n;
    }
    return true;
}

void text_clean(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        int n = utf8_next(s.p + i, s.n - i, &cp);

        if (n < 0)
            buf_puts(out, "\xef\xbf\xbd");
        else if (cp != 0)
            buf_append(out, s.p + i, (size_t)n);
        i += n < 0 ? 1 : (size_t)n;
    }
}

bool text_is_hex(struct str s, size_t digits)
{
    bool zero = true;

    if (s.n != digits)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
        zero = zero && s.p[i] == '0';
    }
    return !zero;
}
