#include "llm-worker/sse.h"

void sse_init(struct sse *s, size_t max_event)
{
    *s = (struct sse){
        .max_event = max_event,
        .line = BUF_INIT(max_event),
        .hold = {BUF_INIT(max_event), BUF_INIT(max_event)},
    };
}

static void next_event(struct sse *s)
{
    s->has_data = false;
    s->data = s->event = (struct str){NULL, 0};
}

void sse_reset(struct sse *s)
{
    next_event(s);
    s->result = SSE_OK;
    s->begun = s->after_cr = false;
    buf_reset(&s->line);
}

void sse_free(struct sse *s)
{
    buf_free(&s->line);
    buf_free(&s->hold[0]);
    buf_free(&s->hold[1]);
    sse_reset(s);
}

/* Makes our own what is still borrowed. */
static void keep(struct str *what, struct buf *hold)
{
    if (what->p == hold->data)
        return;
    buf_reset(hold);
    buf_append(hold, what->p, what->n);
    *what = buf_str(hold);
}

static void add_data(struct sse *s, struct str value)
{
    struct buf *hold = &s->hold[0];

    if (s->data.n + s->event.n + value.n + s->has_data > s->max_event) {
        s->result = SSE_TOO_LARGE;
    } else if (!s->has_data) {
        s->has_data = true;
        s->data = value;
    } else {
        keep(&s->data, hold);
        buf_putc(hold, '\n');
        buf_append(hold, value.p, value.n);
        s->data = buf_str(hold);
    }
}

static void add_field(struct sse *s, struct str line)
{
    const char *colon = memchr(line.p, ':', line.n);
    struct str name = {line.p, colon ? (size_t)(colon - line.p) : line.n};
    struct str value = {line.p + line.n, 0};

    if (colon) {
        const char *p = colon + 1;
        p += p < value.p && *p == ' ';
        value = (struct str){p, (size_t)(value.p - p)};
    }
    if (str_eq(name, "data")) {
        add_data(s, value);
    } else if (str_eq(name, "event")) {
        if (value.n + s->data.n > s->max_event)
            s->result = SSE_TOO_LARGE;
        else
            s->event = value;
    }
}

static void take_line(struct sse *s, struct str line, sse_fn *fn, void *arg)
{
    bool begun = s->begun;

    s->begun = true;
    if (line.n > s->max_event) {
        s->result = SSE_TOO_LARGE;
        return;
    }
    if (!begun && line.n >= 3 && memcmp(line.p, "\xef\xbb\xbf", 3) == 0)
        line = (struct str){line.p + 3, line.n - 3};
    if (line.n > 0) {
        add_field(s, line);
        return;
    }
    if (s->has_data && !fn(arg, s->event, s->data))
        s->result = SSE_STOPPED;
    next_event(s);
}

/* The first c at or after p, knowing the last one that was found; end when there is none. */
static const char *find(const char *last, const char *p, const char *end, char c)
{
    if (last && last >= p)
        return last;
    const char *at = memchr(p, c, (size_t)(end - p));
    return at ? at : end;
}

/* The line that began in an earlier piece goes on. */
static struct str join(struct sse *s, struct str part)
{
    buf_append(&s->line, part.p, part.n);
    if (s->line.failed)
        s->result = SSE_TOO_LARGE;
    return buf_str(&s->line);
}

/* What is left of a piece when its last line has ended, and what the event has so far. */
static void put_by(struct sse *s, struct str rest)
{
    if (s->has_data)
        keep(&s->data, &s->hold[0]);
    if (s->event.n > 0)
        keep(&s->event, &s->hold[1]);
    buf_reset(&s->line);
    (void)join(s, rest);
}

enum sse_result sse_feed(struct sse *s, struct str bytes, sse_fn *fn, void *arg)
{
    const char *p = bytes.p, *lf = NULL, *cr = NULL;
    bool cut = s->line.len > 0;

    if (bytes.n == 0)
        return s->result;
    const char *end = p + bytes.n;
    while (s->result == SSE_OK && p < end) {
        p += s->after_cr && *p == '\n';
        s->after_cr = false;
        lf = find(lf, p, end, '\n');
        cr = find(cr, p, end, '\r');
        const char *at = lf < cr ? lf : cr;
        if (at == end)
            break;
        struct str line = {p, (size_t)(at - p)};
        s->after_cr = *at == '\r';
        p = at + 1;
        if (cut)
            line = join(s, line);
        cut = false;
        if (s->result == SSE_OK)
            take_line(s, line, fn, arg);
    }
    struct str rest = {p, (size_t)(end - p)};
    if (s->result == SSE_OK && cut)
        (void)join(s, rest);
    else if (s->result == SSE_OK)
        put_by(s, rest);
    return s->result;
}
