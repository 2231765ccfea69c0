#include "gateway/cors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/ascii.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"

struct list {
    char *text; /* where the items are */
    const char **item;
    size_t n;
    bool all;
};

struct cors {
    struct list origins;
    struct list methods;
    struct list headers;
    bool credentials;
    int64_t max_age_s;
};

static bool is_token(const char *s)
{
    const char *c = s;

    while (ascii_is_token(*c))
        c++;
    return c > s && *c == '\0';
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s);
    size_t m = strlen(end);

    return n >= m && strcmp(s + n - m, end) == 0;
}

static bool is_port(const char *s)
{
    size_t n = strspn(s, "0123456789");

    return n >= 1 && n <= 5 && s[n] == '\0' && s[0] != '0' && strtol(s, NULL, 10) <= 65535;
}

/* What a browser would send: it writes the host in small letters and leaves the scheme's own port out. */
static bool is_origin(const char *s)
{
    static const char small[] = "0123456789abcdefghijklmnopqrstuvwxyz+-.";
    size_t scheme = strspn(s, small);

    if (scheme == 0 || s[0] < 'a' || strncmp(s + scheme, "://", 3) != 0)
        return false;
    const char *host = s + scheme + 3;
    const char *end = host + strspn(host, "0123456789abcdefghijklmnopqrstuvwxyz-._");
    if (*host == '[') {
        end = host + 1 + strspn(host + 1, "0123456789abcdef:.");
        if (*end++ != ']')
            return false;
    }
    if (end == host || (*end != '\0' && (*end != ':' || !is_port(end + 1))))
        return false;
    return !(strncmp(s, "http://", 7) == 0 && ends_with(end, ":80")) &&
           !(strncmp(s, "https://", 8) == 0 && ends_with(end, ":443"));
}

/* The next item of a comma list, trimmed in place; NULL at the end. */
static char *next_item(char **rest)
{
    char *item = strsep(rest, ",");

    if (!item)
        return NULL;
    item += strspn(item, " \t");
    size_t n = strlen(item);
    while (n > 0 && (item[n - 1] == ' ' || item[n - 1] == '\t'))
        item[--n] = '\0';
    return item;
}

static void list_add(struct list *l, const char *item)
{
    l->item = xrealloc(l->item, (l->n + 1) * sizeof *l->item);
    l->item[l->n++] = item;
}

static int list_parse(struct list *l, const char *variable, const char *text, bool (*valid)(const char *),
                      const char *wanted)
{
    char *rest = l->text = xstrdup(text);

    for (char *item; (item = next_item(&rest));) {
        if (strcmp(item, "*") == 0) {
            l->all = true;
        } else if (valid(item)) {
            list_add(l, item);
        } else {
            log_error("%s: \"%s\" is not %s", variable, item, wanted);
            return -EINVAL;
        }
    }
    return 0;
}

static void list_free(struct list *l)
{
    free(l->item);
    free(l->text);
}

static bool list_has(const struct list *l, const char *s, int (*compare)(const char *, const char *))
{
    for (size_t i = 0; i < l->n; i++)
        if (compare(l->item[i], s) == 0)
            return true;
    return false;
}

static void list_write(const struct list *l, struct buf *out)
{
    for (size_t i = 0; i < l->n; i++)
        buf_printf(out, "%s%s", i ? ", " : "", l->item[i]);
}

static void all_methods(struct list *l)
{
    static const char *const every[] = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"};

    l->n = 0;
    for (size_t i = 0; i < ARRAY_LEN(every); i++)
        list_add(l, every[i]);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Those that need no permission are named too, in one order, without repetition. */
static void all_headers(struct list *l)
{
    static const char *const safe[] = {"Accept", "Accept-Language", "Content-Language", "Content-Type"};

    for (size_t i = 0; i < ARRAY_LEN(safe); i++)
        list_add(l, safe[i]);
    qsort(l->item, l->n, sizeof *l->item, by_text);
    size_t kept = 1;
    for (size_t i = 1; i < l->n; i++)
        if (strcmp(l->item[i], l->item[kept - 1]) != 0)
            l->item[kept++] = l->item[i];
    l->n = kept;
}

int cors_new(struct cors **out, const struct cors_conf *conf)
{
    struct cors *c = xcalloc(1, sizeof *c);
    int rc = 0;

    *out = NULL;
    c->credentials = conf->credentials;
    c->max_age_s = conf->max_age_s;
    if (strcmp(conf->origins, "none") != 0)
        rc = list_parse(&c->origins, "CORS_ALLOW_ORIGINS", conf->origins, is_origin,
                        "*, none, or an origin as browsers send it: scheme://host[:port], small letters, no "
                        "path, no default port");
    if (rc == 0)
        rc = list_parse(&c->methods, "CORS_ALLOW_METHODS", conf->methods, is_token, "* or a method");
    if (rc == 0)
        rc = list_parse(&c->headers, "CORS_ALLOW_HEADERS", conf->headers, is_token, "* or a header's name");
    if (rc < 0) {
        cors_free(c);
        return rc;
    }
    if (c->methods.all)
        all_methods(&c->methods);
    all_headers(&c->headers);
    *out = c;
    return 0;
}

void cors_free(struct cors *c)
{
    if (!c)
        return;
    list_free(&c->origins);
    list_free(&c->methods);
    list_free(&c->headers);
    free(c);
}

bool cors_is_preflight(const struct cors_question *q)
{
    return q->origin && q->asked_method && strcmp(q->method, "OPTIONS") == 0;
}

static bool can_echo(const char *s)
{
    size_t n = 0;

    for (; s[n]; n++)
        if (((unsigned char)s[n] < ' ' && s[n] != '\t') || s[n] == 0x7f || n == CORS_ECHO_MAX)
            return false;
    return true;
}

static bool origin_allowed(const struct cors *c, const char *origin)
{
    return c->origins.all ? can_echo(origin) : list_has(&c->origins, origin, strcmp);
}

static bool headers_allowed(const struct cors *c, const char *asked)
{
    if (c->headers.all)
        return can_echo(asked);
    if (strlen(asked) > CORS_ECHO_MAX)
        return false;

    char *copy = xstrdup(asked);
    char *rest = copy;
    bool all = true;
    for (char *item; all && (item = next_item(&rest));)
        all = list_has(&c->headers, item, strcasecmp);
    free(copy);
    return all;
}

static void line(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "%s: %s\r\n", name, value);
}

static void preflight_headers(const struct cors *c, const struct cors_question *q, bool origin, bool headers,
                              struct buf *out)
{
    bool explicit = !c->origins.all || c->credentials;

    if (explicit)
        line(out, "Vary", "Origin");
    if (explicit && origin)
        line(out, "Access-Control-Allow-Origin", q->origin);
    else if (!explicit)
        line(out, "Access-Control-Allow-Origin", "*");
    buf_puts(out, "Access-Control-Allow-Methods: ");
    list_write(&c->methods, out);
    buf_printf(out, "\r\nAccess-Control-Max-Age: %lld\r\n", (long long)c->max_age_s);
    if (!c->headers.all) {
        buf_puts(out, "Access-Control-Allow-Headers: ");
        list_write(&c->headers, out);
        buf_puts(out, "\r\n");
    } else if (q->asked_headers && headers) {
        line(out, "Access-Control-Allow-Headers", q->asked_headers);
    }
    if (c->credentials)
        line(out, "Access-Control-Allow-Credentials", "true");
}

int cors_preflight(const struct cors *c, const struct cors_question *q, struct buf *headers,
                   char text[CORS_TEXT_SIZE])
{
    bool origin = origin_allowed(c, q->origin);
    bool method = list_has(&c->methods, q->asked_method, strcmp);
    bool asked = !q->asked_headers || headers_allowed(c, q->asked_headers);

    preflight_headers(c, q, origin, asked, headers);
    if (origin && method && asked) {
        snprintf(text, CORS_TEXT_SIZE, "OK");
        return 200;
    }
    snprintf(text, CORS_TEXT_SIZE, "Disallowed CORS%s%s%s", origin ? "" : " origin,",
             method ? "" : " method,", asked ? "" : " headers,");
    text[strlen(text) - 1] = '\0';
    return 400;
}

void cors_headers(const struct cors *c, const struct cors_question *q, struct buf *headers)
{
    bool echo = q->origin && (!c->origins.all || q->has_cookie) && origin_allowed(c, q->origin);

    if (echo || !c->origins.all)
        line(headers, "Vary", "Origin");
    if (echo)
        line(headers, "Access-Control-Allow-Origin", q->origin);
    else if (q->origin && c->origins.all)
        line(headers, "Access-Control-Allow-Origin", "*");
    if (q->origin && c->credentials)
        line(headers, "Access-Control-Allow-Credentials", "true");
}
