#include "gateway/notes.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "gateway/record.h"

#define SCRAPE_MS 2000

void notes_init(struct notes *n, struct inbox *inbox, struct sink *sink, const struct userhash *users,
                int64_t ack_timeout_ms)
{
    n->inbox = inbox;
    n->sink = sink;
    n->confirm = (struct confirm){.sink = sink, .timeout_ms = ack_timeout_ms};
    n->users = users;
    atomic_init(&n->in_progress, 0);
}

void notes_begin(struct notes *n)
{
    atomic_fetch_add(&n->in_progress, 1);
}

static void push(struct notes *n, struct inbox_node *node, void (*fn)(void *owner), void *owner)
{
    node->fn = fn;
    node->owner = owner;
    inbox_push(n->inbox, node);
}

static void write_down(struct notes *n, const struct event *e, const struct caller *c)
{
    char user[USERHASH_SIZE];

    userhash_write(n->users, e->user_id, user);
    record_log(e, c, user);
    atomic_fetch_sub(&n->in_progress, 1);
}

static void put(struct notes *n, const struct event *e, const struct caller *c)
{
    write_down(n, e, c);
    sink_put(n->sink, e);
}

void notes_ask(struct notes *n, const struct event *e, const struct caller *c)
{
    put(n, e, c);
}

void notes_held_ask(struct notes *n, const struct event *e, const struct caller *c, struct confirm_wait *w,
                    void (*fn)(void *arg), void *arg)
{
    write_down(n, e, c);
    confirm_put(&n->confirm, e, w, fn, arg);
}

/* The event of a request without a question. */
static struct event event_of(const struct caller *c, int status, const char *error)
{
    int64_t took = clock_us() - c->start_us;

    return (struct event){
        .kind = EVENT_REQUEST,
        .endpoint = str_of(c->endpoint),
        .method = str_of(c->method),
        .status = (uint64_t)status,
        .start_us = wall_us() - took,
        .duration_us = took,
        .request_id = str_of(c->request_id),
        .error = str_of(error ? error : ""),
    };
}

struct request_note {
    struct inbox_node node;
    struct notes *notes;
    struct caller caller;
    struct event event; /* its strings are the caller's, or static */
};

static void on_request(void *owner)
{
    struct request_note *r = owner;

    r->event.request_id = str_of(r->caller.request_id);
    put(r->notes, &r->event, &r->caller);
    free(r);
}

void notes_request(struct notes *n, const struct caller *c, int status, const char *error)
{
    struct request_note *r = xcalloc(1, sizeof *r);

    r->notes = n;
    r->caller = *c;
    r->event = event_of(c, status, error);
    push(n, &r->node, on_request, r);
}

static void on_refused(void *owner)
{
    struct request_note *r = owner;

    sink_put(r->notes->sink, &r->event);
    free(r);
}

void notes_refused(struct notes *n, const struct caller *c, int status)
{
    struct request_note *r = xcalloc(1, sizeof *r);

    r->notes = n;
    r->event = event_of(c, status, NULL);
    r->event.request_id = (struct str){NULL, 0};
    push(n, &r->node, on_refused, r);
}

struct feedback_note {
    struct inbox_node node;
    struct notes *notes;
    struct event event;
    struct buf texts;
};

static void on_feedback(void *owner)
{
    struct feedback_note *f = owner;

    sink_put(f->notes->sink, &f->event);
    buf_free(&f->texts);
    free(f);
}

/* A copy that stays where it is: texts has been reserved as a whole. */
static struct str keep(struct buf *texts, struct str s)
{
    size_t from = texts->len;

    buf_append(texts, s.p, s.n);
    return (struct str){texts->data + from, s.n};
}

void notes_feedback(struct notes *n, const struct caller *c, const struct feedback *f, const char *score_id)
{
    struct feedback_note *note = xcalloc(1, sizeof *note);
    struct str request_id = str_of(c->request_id), id = str_of(score_id);
    size_t size = f->trace_id.n + f->name.n + f->text.n + f->comment.n + request_id.n + id.n;
    struct buf *t = &note->texts;

    *t = BUF_INIT(size);
    if (size && !buf_reserve(t, size))
        abort();
    note->notes = n;
    note->event = (struct event){
        .kind = EVENT_FEEDBACK,
        .start_us = wall_us(),
        .request_id = keep(t, request_id),
        .trace_id = keep(t, f->trace_id),
        .score_id = keep(t, id),
        .score_name = keep(t, f->name),
        .score_type = str_of(f->type),
        .score_value = f->value,
        .score_text = keep(t, f->text),
        .comment = keep(t, f->comment),
    };
    push(n, &note->node, on_feedback, note);
}

struct scrape {
    struct inbox_node node;
    struct notes *notes;
    struct http_promise *promise;
    struct caller caller;
    enum metrics_format format;
    struct buf headers;
};

static void on_exposition(void *arg, struct str text, enum metrics_format format)
{
    struct scrape *s = arg;
    struct buf body = BUF_INIT(4 * KIB);
    struct reply r = {.status = 200, .type = metrics_type(format), .body = text};

    if (!text.p) {
        r = reply_detail(&body, 503, "The telemetry process does not answer");
        r.retry_after = 1;
    }
    r.headers = buf_str(&s->headers);
    int status = http_send(s->promise, &r) == HTTP_SENT ? r.status : 0;
    struct event e = event_of(&s->caller, status, text.p ? NULL : "no_telemetry");
    put(s->notes, &e, &s->caller);
    buf_free(&body);
    buf_free(&s->headers);
    free(s);
}

static void on_scrape(void *owner)
{
    struct scrape *s = owner;

    sink_in_progress(s->notes->sink, (uint64_t)atomic_load(&s->notes->in_progress));
    sink_scrape(s->notes->sink, s->format, clock_ms() + SCRAPE_MS, on_exposition, s);
}

void notes_scrape(struct notes *n, struct http_promise *p, const struct caller *c, enum metrics_format format,
                  struct str headers)
{
    struct scrape *s = xcalloc(1, sizeof *s);

    s->notes = n;
    s->promise = p;
    s->caller = *c;
    s->format = format;
    s->headers = BUF_INIT(headers.n);
    buf_append(&s->headers, headers.p, headers.n);
    push(n, &s->node, on_scrape, s);
}
