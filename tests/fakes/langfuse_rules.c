/* Small rules of Langfuse's schemas, without I/O. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/fakes/langfuse.h"

static bool digits(const char **s, int n, int *value)
{
    *value = 0;
    for (int i = 0; i < n; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return false;
        *value = *value * 10 + (**s - '0');
    }
    return true;
}

static bool literal(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

static bool real_date(int y, int m, int d)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;

    return m >= 1 && m <= 12 && d >= 1 && d <= days[m - 1] + (m == 2 && leap);
}

static bool zone(const char *s, unsigned major)
{
    int h, m;

    if (*s == 'Z')
        return s[1] == '\0';
    if (*s != '+' && *s != '-')
        return false;
    s++;
    if (!digits(&s, 2, &h))
        return false;
    bool colon = literal(&s, ':');
    if (!colon && major >= 3)
        return false;
    return digits(&s, 2, &m) && *s == '\0' && h < 24 && m < 60;
}

/* ISO 8601 as the schemas of version 2, 3 and 4 read it. */
bool rule_time(const char *s, unsigned major)
{
    int y, mo, d, h, mi, sec = 0;

    if (!digits(&s, 4, &y) || !literal(&s, '-') || !digits(&s, 2, &mo) || !literal(&s, '-') ||
        !digits(&s, 2, &d) || !literal(&s, 'T') || !digits(&s, 2, &h) || !literal(&s, ':') ||
        !digits(&s, 2, &mi))
        return false;
    if (literal(&s, ':')) {
        if (!digits(&s, 2, &sec))
            return false;
        if (literal(&s, '.')) {
            if (*s < '0' || *s > '9')
                return false;
            while (*s >= '0' && *s <= '9')
                s++;
        }
    } else if (major < 3) {
        return false;
    }
    return real_date(y, mo, d) && h < 24 && mi < 60 && sec < 60 && zone(s, major);
}

bool rule_environment(const char *s)
{
    size_t n = strlen(s);

    return n >= 1 && n <= 40 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == n &&
           strncmp(s, "langfuse", 8) != 0;
}

bool rule_level(const char *s)
{
    return strcmp(s, "DEBUG") == 0 || strcmp(s, "DEFAULT") == 0 || strcmp(s, "WARNING") == 0 ||
           strcmp(s, "ERROR") == 0;
}

bool set_version(struct langfuse *l, const char *text)
{
    unsigned major, minor;
    char end;

    if (sscanf(text, "%2u.%4u%c", &major, &minor, &end) < 2 || major < 2 || major > 9 ||
        strlen(text) >= sizeof l->version)
        return false;
    l->major = major;
    l->minor = minor;
    snprintf(l->version, sizeof l->version, "%s", text);
    return true;
}
