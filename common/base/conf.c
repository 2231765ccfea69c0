#include "common/base/conf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/base/visible.h"

#define VALUE_MAX    4096
#define SHOWN_MAX    120 /* of a value, in messages */
#define EXPECTED_MAX 200

static struct shared {
    enum log_level level;
    int format;
} shared;

static const struct conf_row shared_rows[] = {
    {.name = "LOG_LEVEL",
     .type = CONF_LEVEL,
     .offset = offsetof(struct shared, level),
     .def = "INFO",
     .example = CONF_DEPLOYMENT,
     .doc = "Least level of the lines that are logged."},
    {.name = "LOG_FORMAT",
     .type = CONF_CHOICE,
     .offset = offsetof(struct shared, format),
     .def = "json",
     .choices = "json|text",
     .example = CONF_DEPLOYMENT,
     .doc = "Log lines for machines (json) or for people (text, coloured on a terminal unless NO_COLOR is "
            "set)."},
};

static FILE *report; /* NULL: nobody checks */

static void *slot(const struct conf_row *r, void *out)
{
    return (char *)out + r->offset;
}

static bool is_text(const struct conf_row *r)
{
    return r->type == CONF_STR || r->type == CONF_URL || r->type == CONF_IPV4;
}

static size_t text_max(const struct conf_row *r)
{
    return r->max ? (size_t)r->max : VALUE_MAX;
}

/* What would be good: "a whole number of milliseconds from 1 to 9". */
static void allowed(const struct conf_row *r, char out[EXPECTED_MAX])
{
    switch (r->type) {
    case CONF_INT:
        snprintf(out, EXPECTED_MAX, "a whole number%s%s from %" PRId64 " to %" PRId64, r->unit ? " of " : "",
                 r->unit ? r->unit : "", r->min, r->max);
        break;
    case CONF_SECONDS:
        snprintf(out, EXPECTED_MAX, "seconds from %g to %g", (double)r->min / 1000, (double)r->max / 1000);
        break;
    case CONF_BOOL:
        snprintf(out, EXPECTED_MAX, "true or false");
        break;
    case CONF_LEVEL:
        snprintf(out, EXPECTED_MAX, "DEBUG, INFO, WARNING or ERROR");
        break;
    case CONF_CHOICE:
        snprintf(out, EXPECTED_MAX, "one of %s", r->choices);
        break;
    case CONF_URL:
        snprintf(out, EXPECTED_MAX,
                 "a URL that begins with http:// or https://, without user, password and query");
        break;
    case CONF_IPV4:
        snprintf(out, EXPECTED_MAX, "an IPv4 address");
        break;
    case CONF_STR:
        snprintf(out, EXPECTED_MAX, "one line of at most %zu bytes, without control characters", text_max(r));
        break;
    }
}

static bool parse_int(const struct conf_row *r, const char *text, int64_t *out)
{
    char *end;

    if (text[strspn(text, "+-0123456789")])
        return false;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *out >= r->min && *out <= r->max;
}

static bool parse_seconds(const struct conf_row *r, const char *text, int64_t *out)
{
    char *end;

    if (text[strspn(text, "+-.0123456789")])
        return false;
    double s = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(s) || s < -1e12 || s > 1e12)
        return false;
    *out = (int64_t)(s * 1000 + (s < 0 ? -0.5 : 0.5));
    return *out >= r->min && *out <= r->max;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const words[] = {"0", "1", "false", "true", "no", "yes", "off", "on"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcasecmp(text, words[i]) == 0) {
            *out = i % 2 == 1;
            return true;
        }
    return false;
}

static bool parse_choice(const struct conf_row *r, const char *text, int *out)
{
    size_t n = strlen(text);
    const char *p = r->choices;

    for (*out = 0;; ++*out) {
        size_t len = strcspn(p, "|");
        if (len == n && strncasecmp(p, text, n) == 0)
            return true;
        if (!p[len])
            return false;
        p += len + 1;
    }
}

bool conf_is_url(const char *url)
{
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return false;
    const char *host = strstr(url, "://") + 3;
    size_t n = strcspn(host, "/?#");
    return n > 0 && !memchr(host, '@', n) && !strpbrk(url, " ?#");
}

static bool parse_text(const struct conf_row *r, const char *text, char **out)
{
    struct in_addr address;
    size_t n = strlen(text);

    if (n > text_max(r))
        return false;
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    if (utf8_valid(text, n) < n)
        return false;
    if (r->type == CONF_URL && n > 0) {
        if (!conf_is_url(text))
            return false;
        while (text[n - 1] == '/')
            n--;
    }
    if (r->type == CONF_IPV4 && n > 0 && inet_pton(AF_INET, text, &address) != 1)
        return false;
    *out = xmemdup(text, n);
    return true;
}

static bool parse(const struct conf_row *r, const char *text, void *at)
{
    switch (r->type) {
    case CONF_INT:
        return parse_int(r, text, at);
    case CONF_SECONDS:
        return parse_seconds(r, text, at);
    case CONF_BOOL:
        return parse_bool(text, at);
    case CONF_CHOICE:
        return parse_choice(r, text, at);
    case CONF_LEVEL:
        return log_level_parse(text, at);
    case CONF_STR:
    case CONF_URL:
    case CONF_IPV4:
        return parse_text(r, text, at);
    }
    return false;
}

/* A value as it may be seen. */
static void show(const struct conf_row *r, const char *value, struct buf *out)
{
    size_t n = strlen(value);
    size_t some = utf8_clip(value, n, SHOWN_MAX);

    /* A URL that is not as it should be may hold a password or a key. */
    if ((r->flags & CONF_SECRET) || (r->type == CONF_URL && strpbrk(value, "@?#") && !conf_is_url(value))) {
        buf_puts(out, "***");
        return;
    }
    visible_put(out, value, some, "");
    if (some < n)
        buf_puts(out, "…");
}

/* Not shown: a terminal has no better way to show what is wrong with it. */
static int complain_of_byte(const struct conf_row *r, size_t at)
{
    log_error("%s: its text is no UTF-8 at byte %zu. %s", r->name, at + 1, r->doc);
    return -EINVAL;
}

static int complain(const struct conf_row *r, const char *value)
{
    struct buf shown = BUF_INIT(KIB);
    char expected[EXPECTED_MAX];
    size_t n = strlen(value), valid = utf8_valid(value, n);

    if (is_text(r) && valid < n)
        return complain_of_byte(r, valid);
    show(r, value, &shown);
    allowed(r, expected);
    log_error("%s=%s: expected %s. %s", r->name, shown.data, expected, r->doc);
    buf_free(&shown);
    return -EINVAL;
}

static void tell(const struct conf_row *r, const char *value, const char *origin)
{
    struct buf shown = BUF_INIT(VALUE_MAX * 6);

    if (!report)
        return;
    if (!*value)
        buf_printf(&shown, "(%s)", r->empty ? r->empty : "not set");
    else if (r->flags & CONF_SECRET)
        buf_printf(&shown, "(set, %zu bytes)", strlen(value));
    else
        show(r, value, &shown);
    fprintf(report, "variable\t%s\t%s\t%s\n", r->name, shown.data, origin);
    buf_free(&shown);
}

/* Shells, Compose and our own reader of .env take quotes away; docker's --env-file and Kubernetes do not. */
static bool is_quoted(const char *value)
{
    size_t n = strlen(value);

    return n >= 2 && (*value == '"' || *value == '\'') && value[n - 1] == *value;
}

static int take(const struct conf_row *r, const char *value, const char *origin, void *out)
{
    tell(r, value, origin);
    if (is_quoted(value)) {
        log_error("%s: the quotes around it are part of the value here: take them away. %s", r->name, r->doc);
        return -EINVAL;
    }
    return parse(r, value, slot(r, out)) ? 0 : complain(r, value);
}

/* The length, or -1 with *why. */
static ssize_t read_secret(const char *path, char *value, size_t size, const char **why)
{
    static char denied[64];
    struct stat st = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for its writer */
    ssize_t n = fd < 0 || fstat(fd, &st) < 0 ? -1 : S_ISREG(st.st_mode) ? read(fd, value, size) : 0;

    bool full = n == (ssize_t)size;

    snprintf(denied, sizeof denied, "user %lu may not read it", (unsigned long)geteuid());
    *why = NULL;
    while (n > 0 && (value[n - 1] == '\n' || value[n - 1] == '\r'))
        n--;
    if (n < 0)
        *why = errno == EACCES ? denied : strerror(errno);
    else if (!S_ISREG(st.st_mode))
        *why = S_ISDIR(st.st_mode) ? "it is a folder" : "it is not a regular file";
    else if (full)
        *why = "it is too large";
    else if (n == 0)
        *why = "it is empty";
    else if (memchr(value, '\0', (size_t)n))
        *why = "it has a NUL byte";
    if (fd >= 0)
        close(fd);
    return *why ? -1 : n;
}

/* NAME_FILE: a secret as Docker, Kubernetes and systemd hand it over. */
static int take_file(const struct conf_row *r, const char *path, void *out)
{
    char value[VALUE_MAX + 8];
    char origin[VALUE_MAX];
    const char *why;
    ssize_t n = read_secret(path, value, sizeof value, &why);

    snprintf(origin, sizeof origin, "file %s", path);
    if (n < 0) {
        tell(r, "", origin);
        log_error("%s_FILE=%s: cannot take the secret from this file: %s. %s", r->name, path, why, r->doc);
        return -EINVAL;
    }
    value[n] = '\0';
    int rc = take(r, value, origin, out);
    explicit_bzero(value, sizeof value);
    return rc;
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static int load_row(const struct conf_row *r, void *out)
{
    const char *value = variable(r->name);
    char name[128];

    if (r->flags & CONF_SECRET) {
        snprintf(name, sizeof name, "%s_FILE", r->name);
        const char *path = variable(name);
        if (report)
            fprintf(report, "name\t%s\n", name);
        if (path && value) {
            tell(r, value, "environment");
            log_error("%s and %s are both set: keep one of them. %s", r->name, name, r->doc);
            return -EINVAL;
        }
        if (path)
            return take_file(r, path, out);
    }
    if (value)
        return take(r, value, "environment", out);
    return take(r, r->def ? r->def : "", "default", out);
}

static int load_rows(const struct conf_row *rows, size_t n, void *out)
{
    int ret = 0;

    for (size_t i = 0; i < n; i++)
        if (load_row(&rows[i], out) < 0)
            ret = -EINVAL;
    return ret;
}

int conf_load_more(const struct conf_row *rows, size_t n, void *out)
{
    return load_rows(rows, n, out);
}

int conf_load(const struct conf_row *rows, size_t n, void *out)
{
    int ret = load_rows(shared_rows, ARRAY_LEN(shared_rows), &shared);

    if (ret == 0) {
        log_set_level(shared.level);
        log_set_format((enum log_format)shared.format);
    }
    return load_rows(rows, n, out) < 0 ? -EINVAL : ret;
}

void conf_free(const struct conf_row *rows, size_t n, void *out)
{
    for (size_t i = 0; i < n; i++)
        if (is_text(&rows[i])) {
            char **s = slot(&rows[i], out);
            if (*s && (rows[i].flags & CONF_SECRET))
                explicit_bzero(*s, strlen(*s));
            free(*s);
            *s = NULL;
        }
}

void conf_tell(const char *name, const char *value, const char *origin)
{
    struct buf shown = BUF_INIT(64 * KIB);

    if (!report)
        return;
    visible_put(&shown, value, strlen(value), "");
    fprintf(report, "variable\t%s\t%s\t%s\n", name, shown.data, origin);
    buf_free(&shown);
}

static void print_said(enum log_level level, const char *msg)
{
    struct buf text = BUF_INIT(16 * KIB);

    if (level < LOG_WARNING)
        return;
    visible_put(&text, msg, strlen(msg), "");
    fprintf(report, "%s\t%s\n", level == LOG_ERROR ? "error" : "warning", text.data);
    buf_free(&text);
}

void conf_begin_check(FILE *to)
{
    report = to;
    log_divert(print_said);
}

void conf_end_check(void)
{
    report = NULL;
    log_divert(NULL);
}

static void print_names(const struct conf_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        puts(rows[i].name);
        if (rows[i].flags & CONF_SECRET)
            printf("%s_FILE\n", rows[i].name);
    }
}

void conf_print_names(const struct conf_row *rows, size_t n)
{
    print_names(shared_rows, ARRAY_LEN(shared_rows));
    print_names(rows, n);
}

static const char *type_name(enum conf_type t)
{
    static const char *const names[] = {
        [CONF_STR] = "text",         [CONF_URL] = "URL",         [CONF_IPV4] = "IPv4 address",
        [CONF_INT] = "whole number", [CONF_SECONDS] = "seconds", [CONF_BOOL] = "true or false",
        [CONF_CHOICE] = "choice",    [CONF_LEVEL] = "level",
    };

    return names[t];
}

static void print_allowed(const struct conf_row *r)
{
    switch (r->type) {
    case CONF_INT:
        printf("%" PRId64 " to %" PRId64, r->min, r->max);
        break;
    case CONF_SECONDS:
        printf("%g to %g", (double)r->min / 1000, (double)r->max / 1000);
        break;
    case CONF_BOOL:
        printf("true, false");
        break;
    case CONF_LEVEL:
        printf("DEBUG, INFO, WARNING, ERROR");
        break;
    case CONF_CHOICE:
        for (const char *c = r->choices; *c; c++)
            fputs(*c == '|' ? ", " : (const char[]){*c, '\0'}, stdout);
        break;
    case CONF_STR:
    case CONF_URL:
    case CONF_IPV4:
        if (text_max(r) < VALUE_MAX)
            printf("up to %zu bytes", text_max(r));
        break;
    }
}

static void print_rows(const struct conf_row *rows, size_t n)
{
    for (const struct conf_row *r = rows; r < rows + n; r++) {
        bool empty = !r->def || !*r->def;

        printf("%s\t%s\t", r->name, type_name(r->type));
        if (empty && r->empty)
            printf("(%s)", r->empty);
        else
            printf("%s", empty ? "" : r->def);
        putchar('\t');
        print_allowed(r);
        printf("\t%s\t%s\t%s\t%d\t%s\n", r->unit ? r->unit : "", r->flags & CONF_SECRET ? "secret" : "",
               r->flags & CONF_RELOADABLE ? "reloadable" : "", (int)r->example, r->doc);
    }
}

void conf_print_rows(const struct conf_row *rows, size_t n)
{
    print_rows(shared_rows, ARRAY_LEN(shared_rows));
    print_rows(rows, n);
}
