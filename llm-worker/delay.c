#include "llm-worker/delay.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/base/attr.h"
#include "common/base/httpdate.h"

#define TEXT_MAX 48

/* A copy without the white space around it; false when nothing is left, or too much. */
static bool trimmed(struct str s, char out[TEXT_MAX])
{
    while (s.n && isspace((unsigned char)s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && isspace((unsigned char)s.p[s.n - 1]))
        s.n--;
    if (s.n == 0 || s.n >= TEXT_MAX)
        return false;
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}

/* Digits with at most one point among them; strtod() alone would take hexadecimal, infinity and a sign too. */
static bool number(const char *text, double *out, const char **end)
{
    size_t n = strspn(text, "0123456789.");
    const char *point = memchr(text, '.', n);

    if (n == 0 || text[n - 1] == '.' || (point && memchr(point + 1, '.', n - (size_t)(point + 1 - text))))
        return false;
    *out = strtod(text, NULL);
    *end = text + n;
    return true;
}

static int64_t rounded_up(double ms)
{
    if (ms >= (double)DELAY_MAX_MS)
        return DELAY_MAX_MS;
    int64_t whole = (int64_t)ms;
    return whole + ((double)whole < ms);
}

static int64_t plain(struct str s, double unit_ms)
{
    char text[TEXT_MAX];
    const char *end;
    double v;

    return trimmed(s, text) && number(text, &v, &end) && !*end ? rounded_up(v * unit_ms) : -1;
}

static int64_t until(struct str date, struct str base, int64_t now_us)
{
    int64_t at = httpdate_ms(date);
    int64_t from = httpdate_ms(base);

    if (from < 0)
        from = now_us / 1000;
    return at <= from ? -1 : at - from > DELAY_MAX_MS ? DELAY_MAX_MS : at - from;
}

int64_t delay_retry_after(struct str retry_after_ms, struct str retry_after, struct str date, int64_t now_us)
{
    int64_t ms = plain(retry_after_ms, 1);

    if (ms <= 0)
        ms = plain(retry_after, 1000);
    if (ms <= 0)
        ms = until(retry_after, date, now_us);
    return ms > 0 ? ms : -1;
}

static bool unit(const char **at, double *ms)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"ms", 1},          {"us", 0.001},      {"\xc2\xb5s", 0.001}, {"ns", 0.000001},
                 {"h", 3600 * 1000}, {"m", 60 * 1000.0}, {"s", 1000}};

    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        size_t n = strlen(units[i].name);
        if (strncmp(*at, units[i].name, n) == 0) {
            *at += n;
            *ms = units[i].ms;
            return true;
        }
    }
    return false;
}

int64_t delay_duration(struct str s)
{
    int64_t seconds = plain(s, 1000);
    char text[TEXT_MAX];
    const char *at = text;
    double sum = 0, v, ms;

    if (seconds >= 0)
        return seconds;
    if (!trimmed(s, text))
        return -1;
    do {
        if (!number(at, &v, &at) || !unit(&at, &ms))
            return -1;
        sum += v * ms;
    } while (*at);
    return rounded_up(sum);
}

int64_t delay_count(struct str s)
{
    char text[TEXT_MAX];

    if (!trimmed(s, text) || strspn(text, "0123456789") != strlen(text) || strlen(text) > 15)
        return -1;
    return strtoll(text, NULL, 10);
}
