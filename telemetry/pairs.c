#include "telemetry/pairs.h"

#include <errno.h>
#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *trim(char *s)
{
    s += strspn(s, " \t");
    size_t n = strlen(s);
    while (n && (s[n - 1] == ' ' || s[n - 1] == '\t'))
        s[--n] = '\0';
    return s;
}

static int decode(char *s)
{
    char *to = s;

    for (; *s; s++, to++) {
        *to = *s;
        if (*s == '%') {
            int high = hex(s[1]), low = high < 0 ? -1 : hex(s[2]);
            if (low < 0)
                return -EINVAL;
            *to = (char)(high << 4 | low);
            s += 2;
        }
        if ((unsigned char)*to < ' ' || *to == 0x7f)
            return -EINVAL;
    }
    *to = '\0';
    return 0;
}

int pairs_read(char *text, struct pair *out, size_t max, size_t *n)
{
    *n = 0;
    for (char *item; (item = strsep(&text, ",")) != NULL;) {
        char *equals = strchr(item, '=');
        if (!*trim(item))
            continue;
        if (!equals || *n == max)
            return -EINVAL;
        *equals = '\0';
        char *key = trim(item), *value = trim(equals + 1);
        if (decode(key) < 0 || decode(value) < 0 || !*key)
            return -EINVAL;
        out[(*n)++] = (struct pair){key, value};
    }
    return 0;
}
