#include "tests/fakes/reqlog.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

#define SLOT_KEEP (4 * KIB) /* a slot's memory up to this size is kept for its next request */

struct entry {
    uint64_t number; /* 0: empty */
    int64_t at, ended;
    char *bytes; /* method, path, query, fields, body, one behind the other */
    size_t cap;
    size_t method, path, query, fields, body; /* lengths */
    size_t body_whole;
    size_t in_flight;
    int status;
    bool over;
    enum httpd_end end;
};

struct reqlog {
    struct entry *ring;
    size_t n;
    uint64_t last;
    uint64_t oldest; /* entries before it were given up for their memory */
    size_t bytes;
};

struct reqlog *reqlog_new(size_t entries)
{
    struct reqlog *log = xcalloc(1, sizeof *log);

    log->n = entries;
    log->oldest = 1;
    if (entries)
        log->ring = xcalloc(entries, sizeof *log->ring);
    return log;
}

static void forget(struct reqlog *log, struct entry *e)
{
    log->bytes -= e->cap;
    free(e->bytes);
    *e = (struct entry){0};
}

void reqlog_reset(struct reqlog *log)
{
    for (size_t i = 0; i < log->n; i++)
        forget(log, &log->ring[i]);
    log->oldest = log->last + 1;
}

uint64_t reqlog_last(const struct reqlog *log)
{
    return log->last;
}

void reqlog_free(struct reqlog *log)
{
    if (!log)
        return;
    reqlog_reset(log);
    free(log->ring);
    free(log);
}

static struct entry *slot(const struct reqlog *log, uint64_t number)
{
    struct entry *e = log->n ? &log->ring[number % log->n] : NULL;

    return e && e->number == number ? e : NULL;
}

static void make_room(struct reqlog *log, struct entry *e, size_t need)
{
    if (e->cap < need || (e->cap > SLOT_KEEP && e->cap > 2 * need)) {
        forget(log, e);
        e->bytes = xmalloc(need);
        e->cap = need;
        log->bytes += need;
    }
    for (; log->bytes > FAKE_LOG_BYTES_MAX && log->oldest < log->last; log->oldest++) {
        struct entry *old = slot(log, log->oldest);
        if (old && old != e)
            forget(log, old);
    }
}

static char *copy(char *to, struct str s)
{
    if (s.n)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

/* The key in a copied header block becomes stars, except for its last four characters. */
static void hide_key(char *fields, size_t n, const char *name)
{
    struct str v = http1_field((struct str){fields, n}, name);
    size_t from = 0;

    if (!v.p)
        return;
    while (from < v.n && v.p[from] != ' ')
        from++;
    size_t keep = v.n - from > 12 ? 4 : 0;
    if (from == v.n)
        from = 0;
    for (size_t i = from; i + keep < v.n; i++)
        if (v.p[i] != ' ')
            fields[(size_t)(v.p - fields) + i] = '*';
}

uint64_t reqlog_add(struct reqlog *log, const struct exchange *x, size_t in_flight)
{
    const struct http1_head *h = &x->head;
    uint64_t number = ++log->last;

    if (log->n == 0)
        return number;
    struct entry *e = &log->ring[number % log->n];
    struct str body = x->body;
    if (body.n > FAKE_LOG_BODY_MAX)
        body.n = FAKE_LOG_BODY_MAX;
    make_room(log, e, h->method.n + h->path.n + h->query.n + h->fields.n + body.n + 1);
    *e = (struct entry){.number = number,
                        .at = wall_us(),
                        .bytes = e->bytes,
                        .cap = e->cap,
                        .method = h->method.n,
                        .path = h->path.n,
                        .query = h->query.n,
                        .fields = h->fields.n,
                        .body = body.n,
                        .body_whole = x->body.n,
                        .in_flight = in_flight};
    char *at = copy(copy(copy(e->bytes, h->method), h->path), h->query);
    char *end = copy(at, h->fields);
    hide_key(at, e->fields, "authorization");
    hide_key(at, e->fields, "api-key");
    copy(end, body);
    return number;
}

void reqlog_end(struct reqlog *log, uint64_t number, int status, enum httpd_end end)
{
    struct entry *e = slot(log, number);

    if (!e)
        return;
    e->ended = wall_us();
    e->status = status;
    e->over = true;
    e->end = end;
}

static void write_time(struct buf *out, const char *key, int64_t us)
{
    char text[CLOCK_RFC3339_SIZE];

    clock_rfc3339(text, us);
    json_field_str(out, key, str_of(text));
}

static void write_fields(struct buf *out, struct str fields)
{
    struct str rest = fields;

    json_key(out, "headers");
    buf_putc(out, '{');
    while (rest.n) {
        const char *colon = memchr(rest.p, ':', rest.n);
        const char *lf = memchr(rest.p, '\n', rest.n);
        char name[128];
        size_t n = colon ? (size_t)(colon - rest.p) : 0;

        if (!lf)
            break;
        if (n < sizeof name) {
            for (size_t i = 0; i < n; i++)
                name[i] = (char)tolower((unsigned char)rest.p[i]);
            name[n] = '\0';
            /* A name sent twice is shown once, with its first value: JSON has no second place for it. */
            struct str value = http1_field(fields, name);
            if (value.p > rest.p && value.p <= lf)
                json_field_str(out, name, value);
        }
        rest.n -= (size_t)(lf + 1 - rest.p);
        rest.p = lf + 1;
    }
    buf_putc(out, '}');
}

static void write_entry(struct buf *out, const struct entry *e)
{
    const char *p = e->bytes;

    buf_putc(out, '{');
    json_field_int(out, "number", (int64_t)e->number);
    write_time(out, "time", e->at);
    json_field_str(out, "method", (struct str){p, e->method});
    json_field_str(out, "path", (struct str){p += e->method, e->path});
    json_field_str(out, "query", (struct str){p += e->path, e->query});
    write_fields(out, (struct str){p += e->query, e->fields});
    json_field_str(out, "body", (struct str){p + e->fields, e->body});
    json_field_int(out, "body_bytes", (int64_t)e->body_whole);
    json_field_int(out, "in_flight", (int64_t)e->in_flight);
    json_key(out, "status");
    if (e->status)
        buf_printf(out, "%d", e->status);
    else
        buf_puts(out, "null");
    json_field_bool(out, "over", e->over);
    if (e->over)
        write_time(out, "ended", e->ended);
    json_field_bool(out, "client_left", e->over && e->end == HTTPD_GONE);
    if (e->over && e->end == HTTPD_GONE)
        json_field_int(out, "left_after_ms", (e->ended - e->at) / 1000);
    buf_putc(out, '}');
}

void reqlog_write(const struct reqlog *log, uint64_t since, struct buf *out)
{
    uint64_t from = since + 1;
    bool first = true;

    if (log->last > log->n && from <= log->last - log->n)
        from = log->last - log->n + 1;
    buf_putc(out, '[');
    for (uint64_t i = from; i <= log->last; i++) {
        const struct entry *e = slot(log, i);
        if (!e)
            continue;
        if (!first)
            buf_putc(out, ',');
        first = false;
        write_entry(out, e);
    }
    buf_putc(out, ']');
}
