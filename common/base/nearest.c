#include "common/base/nearest.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int same(char a, char b)
{
    return toupper((unsigned char)a) == toupper((unsigned char)b);
}

size_t nearest_distance(const char *a, const char *b)
{
    size_t rows[3][NEAREST_NAME_MAX +
                   1]; /* of the letters of a: this one, the one before, the one before that */
    size_t m = strlen(a), n = strlen(b);

    if (m > NEAREST_NAME_MAX || n > NEAREST_NAME_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *two_before = rows[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= n; j++) {
            now[j] = least(least(before[j], now[j - 1]) + 1, before[j - 1] + !same(a[i - 1], b[j - 1]));
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                now[j] = least(now[j], two_before[j - 2] + 1);
        }
    }
    return rows[m % 3][n];
}

const char *nearest_name(const char *name, const char *const *names, size_t n, size_t far)
{
    const char *found = NULL;

    for (size_t i = 0; i < n; i++) {
        size_t d = nearest_distance(name, names[i]);
        if (d <= far && (!found || d < nearest_distance(name, found)))
            found = names[i];
    }
    return found;
}
