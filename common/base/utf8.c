#include "common/base/utf8.h"

/* What the first byte of a code point says of its length; 0: none begins so. */
static size_t length_of(unsigned char first)
{
    if (first < 0xc2 || first > 0xf4)
        return first < 0x80;
    return first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
}

int utf8_next(const char *s, size_t n, uint32_t *cp)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)s;

    if (n == 0)
        return -1;
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    size_t len = length_of(p[0]);
    if (len == 0 || n < len)
        return -1;
    uint32_t v = p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return -1;
        v = v << 6 | (p[i] & 0x3f);
    }
    if (v < least[len] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
        return -1;
    *cp = v;
    return (int)len;
}

bool utf8_is_cut(const char *s, size_t n)
{
    size_t i = 1;

    if (n == 0 || n >= length_of((unsigned char)s[0]))
        return false;
    while (i < n && ((unsigned char)s[i] & 0xc0) == 0x80)
        i++;
    return i == n;
}

size_t utf8_encode(char out[4], uint32_t cp)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (cp & 0x3f));
        cp >>= 6;
    }
    out[0] = (char)(lead[len] | cp);
    return len;
}

size_t utf8_valid(const char *s, size_t n)
{
    size_t i = 0;
    uint32_t cp;

    for (int got; (got = utf8_next(s + i, n - i, &cp)) > 0;)
        i += (size_t)got;
    return i;
}

size_t utf8_count(const char *s, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; count++) {
        uint32_t cp;
        int got = utf8_next(s + i, n - i, &cp);
        i += got > 0 ? (size_t)got : 1;
    }
    return count;
}

size_t utf8_clip(const char *s, size_t n, size_t max)
{
    if (n <= max)
        return n;
    while (max > 0 && ((unsigned char)s[max] & 0xc0) == 0x80)
        max--;
    return max;
}

bool utf8_is_space(uint32_t cp)
{
    return (cp >= 0x09 && cp <= 0x0d) || (cp >= 0x1c && cp <= 0x20) || cp == 0x85 || cp == 0xa0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
           cp == 0x205f || cp == 0x3000;
}
