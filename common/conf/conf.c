#include "common/conf/conf.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define VALUE_MAX 4096

static void *slot(const struct conf_row *r, void *out)
{
    return (char *)out + r->offset;
}

static bool parse_int(const char *text, int64_t *v)
{
    char *end;

    errno = 0;
    *v = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

static bool parse_bool(const char *text, bool *v)
{
    static const char *const words[] = {"0", "1", "false", "true", "no", "yes", "off", "on"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcasecmp(text, words[i]) == 0) {
            *v = i % 2 == 1;
            return true;
        }
    return false;
}

static bool parse_seconds(const char *text, int64_t *ms)
{
    char *end;
    double s = strtod(text, &end);

    if (end == text || *end != '\0' || !isfinite(s) || fabs(s) > 1e12)
        return false;
    *ms = llround(s * 1000);
    return true;
}

static void complain(const struct conf_row *r, const char *value, const char *expected)
{
    log_error("%s=%s: %s. %s", r->name, r->flags & CONF_SECRET ? "***" : value, expected, r->doc);
}

static int take_number(const struct conf_row *r, const char *value, void *out)
{
    int64_t v = 0;
    bool parsed = r->type == CONF_SECONDS ? parse_seconds(value, &v) : parse_int(value, &v);
    char expected[160];
    bool seconds = r->type == CONF_SECONDS;

    if (parsed && v >= r->min && v <= r->max) {
        *(int64_t *)slot(r, out) = v;
        return 0;
    }
    if (seconds)
        snprintf(expected, sizeof expected, "expected seconds from %g to %g", (double)r->min / 1000,
                 (double)r->max / 1000);
    else
        snprintf(expected, sizeof expected, "expected a whole number%s%s from %" PRId64 " to %" PRId64,
                 r->unit ? " of " : "", r->unit ? r->unit : "", r->min, r->max);
    complain(r, value, expected);
    return -EINVAL;
}

static int take_text(const struct conf_row *r, const char *value, void *out)
{
    size_t max = r->max ? (size_t)r->max : VALUE_MAX;
    char expected[64];

    if (strlen(value) > max) {
        snprintf(expected, sizeof expected, "expected at most %zu bytes", max);
        complain(r, "(too long)", expected);
        return -EINVAL;
    }
    for (const char *c = value; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            complain(r, "(text with a control character)", "control characters are not allowed");
            return -EINVAL;
        }
    *(char **)slot(r, out) = xstrdup(value);
    return 0;
}

static int take(const struct conf_row *r, const char *value, void *out)
{
    switch (r->type) {
    case CONF_INT:
    case CONF_SECONDS:
        return take_number(r, value, out);
    case CONF_BOOL:
        if (parse_bool(value, slot(r, out)))
            return 0;
        complain(r, value, "expected true or false");
        return -EINVAL;
    case CONF_LEVEL:
        if (log_level_parse(value, slot(r, out)))
            return 0;
        complain(r, value, "expected DEBUG, INFO, WARNING or ERROR");
        return -EINVAL;
    case CONF_STR:
        return take_text(r, value, out);
    }
    return -EINVAL;
}

/* NAME_FILE: a secret as Docker, Kubernetes and systemd hand it over. */
static int take_file(const struct conf_row *r, const char *path, void *out)
{
    char value[VALUE_MAX + 2];
    FILE *f = fopen(path, "re");

    if (!f) {
        log_error("%s_FILE=%s: cannot read it: %s", r->name, path, strerror(errno));
        return -EINVAL;
    }
    size_t n = fread(value, 1, sizeof value - 1, f);
    fclose(f);
    value[n] = '\0';
    while (n > 0 && (value[n - 1] == '\n' || value[n - 1] == '\r'))
        value[--n] = '\0';
    int r1 = take(r, value, out);
    explicit_bzero(value, sizeof value);
    return r1;
}

static int load_row(const struct conf_row *r, void *out)
{
    const char *value = getenv(r->name);

    if (value && !*value)
        value = NULL;
    if (!value && (r->flags & CONF_SECRET)) {
        char name[128];
        snprintf(name, sizeof name, "%s_FILE", r->name);
        const char *path = getenv(name);
        if (path && *path)
            return take_file(r, path, out);
    }
    return take(r, value ? value : r->def ? r->def : "", out);
}

int conf_load(const struct conf_row *rows, size_t n, void *out)
{
    int ret = 0;

    for (size_t i = 0; i < n; i++)
        if (load_row(&rows[i], out) < 0)
            ret = -EINVAL;
    return ret;
}

void conf_free(const struct conf_row *rows, size_t n, void *out)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].type == CONF_STR) {
            char **s = slot(&rows[i], out);
            if (*s && (rows[i].flags & CONF_SECRET))
                explicit_bzero(*s, strlen(*s));
            free(*s);
            *s = NULL;
        }
}

int conf_check_url(const char *name, char *url)
{
    size_t n = strlen(url);

    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) {
        log_error("%s must begin with http:// or https://", name);
        return -EINVAL;
    }
    const char *host = strstr(url, "://") + 3;
    if (memchr(host, '@', strcspn(host, "/"))) {
        log_error("%s must not hold a user or password: the keys have variables of their own", name);
        return -EINVAL;
    }
    while (n > 0 && url[n - 1] == '/')
        url[--n] = '\0';
    return 0;
}

void conf_print_names(const struct conf_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        puts(rows[i].name);
        if (rows[i].flags & CONF_SECRET)
            printf("%s_FILE\n", rows[i].name);
    }
}
