#include "common/base/accept.h"

#include <stdbool.h>
#include <stdint.h>
#include <strings.h>

#include "common/base/attr.h"
#include "common/base/str.h"

/* One range of the header that is being read. */
struct range {
    struct str type;    /* "text/plain" */
    struct str version; /* empty: none asked for */
    int q;              /* in thousandths */
};

struct offer {
    const char *type, *subtype_of; /* subtype_of: the wildcard that covers it; NULL: it wants to be named */
    const char *version;
};

static const struct offer offers[METRICS_FORMATS] = {
    [METRICS_TEXT] = {"text/plain", "text/*", "0.0.4"},
    [METRICS_OPENMETRICS] = {"application/openmetrics-text", NULL, "1.0.0"},
};

static bool is(struct str s, const char *word)
{
    return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

static struct str trimmed(struct str s)
{
    while (s.n && (*s.p == ' ' || *s.p == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* What stands before the next separator, which a quoted string may hold; *rest is what stands behind it. */
static struct str cut(struct str *rest, char separator)
{
    bool quoted = false;
    size_t n = 0;

    for (; n < rest->n && (quoted || rest->p[n] != separator); n++)
        if (rest->p[n] == '"')
            quoted = !quoted;
        else if (quoted && rest->p[n] == '\\' && n + 1 < rest->n)
            n++;
    struct str head = {rest->p, n};
    size_t used = n < rest->n ? n + 1 : n;
    *rest = (struct str){rest->p + used, rest->n - used};
    return trimmed(head);
}

/* 0 to 1 with at most three decimals; -1: something else. */
static int parse_q(struct str s)
{
    int q = 0, unit = 1000;

    for (size_t i = 0; i < s.n; i++) {
        if (i == 1 ? s.p[i] != '.' : (s.p[i] < '0' || s.p[i] > '9' || i > 4))
            return -1;
        if (i == 1)
            continue;
        q += (s.p[i] - '0') * unit;
        unit /= 10;
    }
    return s.n == 0 || q > 1000 ? -1 : q;
}

static struct str unquoted(struct str s)
{
    return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? (struct str){s.p + 1, s.n - 2} : s;
}

static struct range parse_range(struct str text)
{
    struct range r = {.type = cut(&text, ';'), .q = 1000};

    while (text.n) {
        struct str value = cut(&text, ';');
        struct str name = cut(&value, '=');
        if (is(name, "q"))
            r.q = parse_q(value);
        else if (is(name, "version"))
            r.version = unquoted(value);
    }
    return r;
}

/* How closely the range describes the offer; 0: it does not. */
static int closeness(const struct range *r, const struct offer *o)
{
    if (is(r->type, o->type))
        return r->version.n == 0 ? 3 : is(r->version, o->version) ? 4 : 0;
    if (!o->subtype_of)
        return 0;
    return is(r->type, o->subtype_of) ? 2 : is(r->type, "*/*") ? 1 : 0;
}

enum metrics_format accept_metrics(const char *accept)
{
    int q[METRICS_FORMATS] = {0}, best[METRICS_FORMATS] = {0};
    struct str rest = str_of(accept);

    while (rest.n) {
        struct range r = parse_range(cut(&rest, ','));
        for (int f = 0; r.q >= 0 && f < METRICS_FORMATS; f++) {
            int close = closeness(&r, &offers[f]);
            if (close > best[f] || (close && close == best[f] && r.q > q[f])) {
                best[f] = close;
                q[f] = r.q;
            }
        }
    }
    bool open = q[METRICS_OPENMETRICS] > 0 && q[METRICS_OPENMETRICS] >= q[METRICS_TEXT];
    return open ? METRICS_OPENMETRICS : METRICS_TEXT;
}

const char *metrics_type(enum metrics_format f)
{
    return f == METRICS_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                    : "text/plain; version=0.0.4; charset=utf-8";
}
