/* The /_admin/ paths, and the two reading routes of the API. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/json.h"
#include "tests/fakes/admin_json.h"
#include "tests/fakes/langfuse_view.h"

#define ANSWER_BYTES_MAX (256 * MIB)
#define DELAY_MAX        (3600 * 1000)
#define TRACES_DEFAULT   10000

static void answer_json(struct exchange *x, json_t *v)
{
    char *text = json_dumps(v, JSON_COMPACT);

    if (text)
        http_answer(x, 200, "application/json", (struct str){0}, str_of(text));
    else
        admin_refuse(x, 500, "cannot be written as JSON");
    free(text);
    json_decref(v);
}

/* The value of a query parameter as it stands there; ids need no decoding. */
static struct str query(const struct exchange *x, const char *name)
{
    struct str q = x->head.query;
    size_t n = strlen(name);

    while (q.n) {
        const char *amp = memchr(q.p, '&', q.n);
        size_t len = amp ? (size_t)(amp - q.p) : q.n;
        if (len > n && memcmp(q.p, name, n) == 0 && q.p[n] == '=')
            return (struct str){q.p + n + 1, len - n - 1};
        q.p += amp ? len + 1 : len;
        q.n -= amp ? len + 1 : len;
    }
    return (struct str){0};
}

static bool of_trace(const struct item *score, struct str id)
{
    json_t *v = json_loadb(score->bytes, score->n, JSON_ALLOW_NUL, NULL);
    const json_t *trace = json_object_get(v, "traceId");
    bool same = !id.p || (json_string_length(trace) == id.n && id.n &&
                          memcmp(json_string_value(trace), id.p, id.n) == 0);

    json_decref(v);
    return same;
}

static json_t *scores_json(const struct langfuse *l, struct str trace, uint64_t since)
{
    json_t *list = json_array();

    for (const struct item *i = l->store.scores; i; i = i->next)
        if (i->serial > since && of_trace(i, trace))
            json_array_append_new(list, item_view(i));
    return list;
}

void read_observations(struct langfuse *l, struct exchange *x)
{
    struct str id = query(x, "traceId");
    const struct trace *t = id.p ? store_find_trace(&l->store, id) : NULL;
    json_t *view = t ? trace_view(t) : NULL;
    json_t *v = view ? json_pack("{s:O, s:{}}", "data", json_object_get(view, "observations"), "meta")
                     : json_pack("{s:[], s:{}}", "data", "meta");
    char *text = json_dumps(v, JSON_COMPACT);

    reply_json(l, x, 200, text);
    free(text);
    json_decref(v);
    json_decref(view);
}

void read_scores(struct langfuse *l, struct exchange *x)
{
    json_t *v = json_pack("{s:o, s:{}}", "data", scores_json(l, query(x, "traceId"), 0), "meta");
    char *text = json_dumps(v, JSON_COMPACT);

    reply_json(l, x, 200, text);
    free(text);
    json_decref(v);
}

/* ?traceId=, ?since=SERIAL, ?limit=; ?ids=1: no contents, for tests that count thousands. */
static void get_traces(struct langfuse *l, struct exchange *x)
{
    struct str id = query(x, "traceId");
    uint64_t since = admin_query(x, "since", 0), limit = admin_query(x, "limit", TRACES_DEFAULT);
    bool ids = admin_query(x, "ids", 0);
    json_t *list = json_array();
    bool more = false;

    for (const struct trace *t = l->store.oldest; t; t = t->next) {
        if (t->serial <= since || (id.p && (t->id_n != id.n || memcmp(t->id, id.p, id.n) != 0)))
            continue;
        if (json_array_size(list) == limit) {
            more = true;
            break;
        }
        if (!ids) {
            json_array_append_new(list, trace_view(t));
            continue;
        }
        uint64_t raw = 0;
        for (const struct item *i = t->items; i; i = i->next)
            raw += i->raw;
        json_array_append_new(list, json_pack("{s:o, s:I, s:I, s:I}", "id", json_stringn(t->id, t->id_n),
                                              "serial", (json_int_t)t->serial, "observations",
                                              (json_int_t)t->n_items, "raw", (json_int_t)raw));
    }
    answer_json(x, json_pack("{s:I, s:b, s:o}", "count", (json_int_t)l->store.n_traces, "more", more,
                             "traces", list));
}

static void get_scores(struct langfuse *l, struct exchange *x)
{
    answer_json(x, json_pack("{s:I, s:o}", "count", (json_int_t)l->store.n_scores, "scores",
                             scores_json(l, query(x, "traceId"), admin_query(x, "since", 0))));
}

static void put_routes(const struct langfuse *l, struct buf *b)
{
    char key[16];

    json_key(b, "by_route");
    buf_putc(b, '{');
    for (size_t r = 0; r < R_COUNT; r++) {
        json_key(b, route_name((enum route)r));
        buf_putc(b, '{');
        for (size_t s = 0; s < ARRAY_LEN(l->by_route[r]); s++)
            if (l->by_route[r][s]) {
                snprintf(key, sizeof key, "%zu", s);
                json_field_int(b, key, (int64_t)l->by_route[r][s]);
            }
        buf_putc(b, '}');
    }
    buf_putc(b, '}');
}

static void put_violations(const struct langfuse *l, struct buf *b)
{
    json_field_int(b, "violations", (int64_t)l->violations_seen);
    json_key(b, "violation_list");
    buf_putc(b, '[');
    for (size_t i = 0; i < l->n_violations; i++) {
        buf_puts(b, i ? ",{" : "{");
        json_field_str(b, "text", str_of(l->violations[i].text));
        json_field_int(b, "times", (int64_t)l->violations[i].times);
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
}

static void get_stats(struct langfuse *l, struct exchange *x)
{
    const struct {
        const char *key;
        uint64_t n;
    } numbers[] = {
        {"requests", l->requests},
        {"in_flight", l->in_flight},
        {"max_in_flight", l->max_in_flight},
        {"connections", httpd_connections(l->server)},
        {"client_left", l->client_left},
        {"exports", l->exports},
        {"spans_raw", l->spans_raw},
        {"spans_unique", l->spans_unique},
        {"spans_repeated", l->spans_repeated},
        {"spans_changed", l->spans_changed},
        {"scores_raw", l->scores_raw},
        {"scores_unique", l->scores_unique},
        {"events_raw", l->events_raw},
        {"events_refused", l->events_refused},
        {"traces", l->store.n_traces},
        {"observations", l->store.n_items},
        {"scores", l->store.n_scores},
        {"bytes", l->store.bytes},
        {"evicted_traces", l->store.evicted_traces},
        {"evicted_observations", l->store.evicted_items},
        {"evicted_scores", l->store.evicted_scores},
    };
    struct buf b = BUF_INIT(4 * MIB);

    buf_putc(&b, '{');
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        json_field_int(&b, numbers[i].key, (int64_t)numbers[i].n);
    put_routes(l, &b);
    put_violations(l, &b);
    buf_putc(&b, '}');
    admin_answer(x, 200, &b);
    buf_free(&b);
}

static int read_only(struct admin_reader *a, struct behaviour *b)
{
    const char *text;
    size_t n;
    int rc = admin_text(a, "route", &text, &n);

    for (size_t r = 0; rc > 0 && r <= R_COUNT; r++)
        if (strcmp(text, route_name((enum route)r)) == 0) {
            b->only = (enum route)r;
            return 0;
        }
    if (rc > 0)
        snprintf(a->error, sizeof a->error,
                 "\"route\" must be otel, ingestion, scores, projects, health, read or all");
    return rc == 0 ? 0 : -1;
}

static int read_words(struct admin_reader *a, const char *key, char *to, size_t size)
{
    const char *text;
    size_t n;
    int rc = admin_text(a, key, &text, &n);

    if (rc > 0)
        snprintf(to, size, "%s", text);
    return rc < 0 ? -1 : 0;
}

static int read_server(struct admin_reader *a, struct langfuse *l)
{
    static const char *const modes[] = {"events_only", "dual", "legacy"};
    const char *text;
    size_t n;
    int rc = admin_text(a, "mode", &text, &n);

    for (size_t i = 0; rc > 0 && i <= ARRAY_LEN(modes); i++) {
        if (i == ARRAY_LEN(modes)) {
            snprintf(a->error, sizeof a->error, "\"mode\" must be events_only, dual or legacy");
            return -1;
        }
        if (strcmp(text, modes[i]) == 0) {
            l->mode = (enum mode)i;
            break;
        }
    }
    if (rc < 0)
        return -1;
    rc = admin_text(a, "version", &text, &n);
    if (rc > 0 && !set_version(l, text)) {
        snprintf(a->error, sizeof a->error, "\"version\" must be like \"4.16.0\"");
        return -1;
    }
    return rc;
}

static int read_behaviour(struct admin_reader *a, struct langfuse *l, struct behaviour *b)
{
    static const char *const keys[] = {"down",  "stall",    "cut",        "slow_ms", "status", "retry_after",
                                       "count", "padding",  "containing", "says",    "route",  "version",
                                       "mode",  "max_body", "share",      NULL};
    int64_t status = 0;

    if (!json_is_object(a->object)) {
        snprintf(a->error, sizeof a->error, "the body must be an object");
        return -1;
    }
    if (admin_only(a, keys) < 0 || admin_bool(a, "down", &b->down) < 0 ||
        admin_bool(a, "stall", &b->stall) < 0 || admin_bool(a, "cut", &b->cut) < 0 ||
        admin_int(a, "slow_ms", 0, DELAY_MAX, &b->slow_ms) < 0 ||
        admin_int(a, "status", 200, 599, &status) < 0 ||
        admin_int(a, "count", 0, 1000000000, &b->count) < 0 ||
        admin_int(a, "max_body", 0, FAKE_BODY_MAX, &b->max_body) < 0 ||
        admin_int(a, "padding", 0, FAKE_BODY_MAX, &b->padding) < 0 ||
        read_words(a, "containing", b->containing, sizeof b->containing) < 0 ||
        read_words(a, "says", b->says, sizeof b->says) < 0 || admin_double(a, "share", 0, 1, &b->share) < 0 ||
        admin_double(a, "retry_after", 0, 1e6, &b->retry_after) < 0 || read_only(a, b) < 0 ||
        read_server(a, l) < 0)
        return -1;
    b->status = (int)status;
    return 0;
}

/* Replaces the whole behaviour: {} is a good day. Version and mode stay what they are unless named. */
static void put_behaviour(struct langfuse *l, struct exchange *x)
{
    struct admin_reader a = {.object = admin_body(x)};
    struct behaviour b = {.retry_after = -1, .only = R_COUNT};

    if (!a.object)
        return;
    int rc = read_behaviour(&a, l, &b);
    json_decref(a.object);
    if (rc < 0) {
        admin_refuse(x, 400, a.error);
        return;
    }
    l->behaviour = b;
    admin_ok(x);
}

static void get_requests(struct langfuse *l, struct exchange *x)
{
    struct buf b = BUF_INIT(ANSWER_BYTES_MAX);

    buf_putc(&b, '{');
    json_field_int(&b, "last", (int64_t)reqlog_last(l->log));
    json_key(&b, "requests");
    reqlog_write(l->log, admin_query(x, "since", 0), &b);
    buf_putc(&b, '}');
    if (b.failed)
        admin_refuse(x, 500, "the log does not fit into one answer; ask with ?since=");
    else
        admin_answer(x, 200, &b);
    buf_free(&b);
}

/* Forgets what was accepted and counted; what is in flight, the version and the mode stay. */
static void reset(struct langfuse *l, struct exchange *x)
{
    store_free(&l->store);
    store_init(&l->store);
    reqlog_reset(l->log);
    l->behaviour = (struct behaviour){.retry_after = -1, .only = R_COUNT};
    l->requests = l->client_left = l->exports = 0;
    l->max_in_flight = l->in_flight;
    l->spans_raw = l->spans_unique = l->spans_repeated = l->spans_changed = 0;
    l->scores_raw = l->scores_unique = l->events_raw = l->events_refused = 0;
    l->n_violations = 0;
    l->violations_seen = 0;
    memset(l->by_route, 0, sizeof l->by_route);
    admin_ok(x);
}

void admin_request(struct langfuse *l, struct exchange *x)
{
    static const struct {
        const char *method, *path;
        void (*fn)(struct langfuse *l, struct exchange *x);
    } routes[] = {
        {"POST", "/_admin/behaviour", put_behaviour}, {"GET", "/_admin/traces", get_traces},
        {"GET", "/_admin/scores", get_scores},        {"GET", "/_admin/stats", get_stats},
        {"GET", "/_admin/requests", get_requests},    {"POST", "/_admin/reset", reset},
    };

    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (str_eq(x->head.path, routes[i].path) && str_eq(x->head.method, routes[i].method)) {
            routes[i].fn(l, x);
            return;
        }
    admin_refuse(
        x, 404,
        "POST /_admin/behaviour, POST /_admin/reset, GET /_admin/traces, /_admin/scores, /_admin/stats, "
        "/_admin/requests");
}
