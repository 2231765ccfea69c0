/* The /_admin/ paths: a test scripts the fake and asks what it has seen. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/mem.h"
#include "tests/fakes/admin_json.h"
#include "tests/fakes/openai.h"

#define DELAY_MAX    (3600 * 1000)
#define REPEAT_MAX   1000000000
#define STEPS_MAX    100000
#define REQUESTS_MAX (256 * MIB)

static int add_header(struct admin_reader *a, struct buf *out, const char *name, const json_t *v)
{
    if (!json_is_string(v) || strpbrk(name, " :\r\n") || strpbrk(json_string_value(v), "\r\n")) {
        snprintf(a->error, sizeof a->error, "header \"%.100s\" must be a string of one line", name);
        return -1;
    }
    buf_printf(out, "%s: %s\r\n", name, json_string_value(v));
    return 0;
}

/* "headers" and the three short forms that a retrying client looks at. */
static int read_headers(struct admin_reader *a, struct step *s)
{
    struct buf b = BUF_INIT(FAKE_HEAD_MAX);
    json_t *headers = json_object_get(a->object, "headers"), *v;
    const char *name;
    double after;
    int64_t after_ms;
    bool should;
    int rc = -1;

    json_object_foreach(headers, name, v) if (add_header(a, &b, name, v) < 0) goto out;
    int got = admin_double(a, "retry_after", 0, 1e6, &after);
    if (got > 0)
        buf_printf(&b, "retry-after: %g\r\n", after);
    int got_ms = admin_int(a, "retry_after_ms", 0, DELAY_MAX, &after_ms);
    if (got_ms > 0)
        buf_printf(&b, "retry-after-ms: %" PRId64 "\r\n", after_ms);
    int got_should = admin_bool(a, "should_retry", &should);
    if (got_should > 0)
        buf_printf(&b, "x-should-retry: %s\r\n", should ? "true" : "false");
    if (got < 0 || got_ms < 0 || got_should < 0)
        goto out;
    if (b.len)
        s->headers = xmemdup(b.data, b.len);
    rc = 0;
out:
    buf_free(&b);
    return rc;
}

/* A key that is either true or one of two words; gives the act it stands for. */
static int read_fault(struct admin_reader *a, const char *key, enum act whole, const char *word,
                      enum act other, struct step *s)
{
    const json_t *v = json_object_get(a->object, key);

    if (!v || json_is_false(v))
        return 0;
    if (json_is_true(v)) {
        s->act = whole;
        return 1;
    }
    if (json_is_string(v) && strcmp(json_string_value(v), word) == 0) {
        s->act = other;
        return 1;
    }
    snprintf(a->error, sizeof a->error, "\"%s\" must be true or \"%s\"", key, word);
    return -1;
}

static int read_cut(struct admin_reader *a, struct step *s)
{
    const json_t *v = json_object_get(a->object, "cut");

    if (v && json_is_string(v) && strcmp(json_string_value(v), "body") == 0) {
        s->act = ACT_CUT_BODY;
        return 1;
    }
    return read_fault(a, "cut", ACT_CUT_BODY, "head", ACT_CUT_HEAD, s);
}

/* The number of contents given: content, body and object exclude each other. */
static int read_text(struct admin_reader *a, struct step *s)
{
    const char *text = NULL;
    size_t n = 0;
    json_t *object = json_object_get(a->object, "object");
    int content = admin_text(a, "content", &text, &n);
    int body = admin_text(a, "body", &text, &n);

    if (content < 0 || body < 0)
        return -1;
    s->act = body || object ? ACT_BODY : ACT_ANSWER;
    if (object && !content && !body) {
        s->text = json_dumps(object, JSON_COMPACT | JSON_ENCODE_ANY);
        s->text_n = s->text ? strlen(s->text) : 0;
    } else if (text) {
        s->text = xmemdup(text, n);
        s->text_n = n;
    }
    return content + body + (object != NULL);
}

static int read_error(struct admin_reader *a, struct step *s)
{
    const char *name;
    size_t n;
    int rc = admin_text(a, "error", &name, &n);

    if (rc <= 0)
        return rc;
    s->act = ACT_ERROR;
    s->error = error_named(name);
    if (!s->error) {
        snprintf(a->error, sizeof a->error, "no error \"%.60s\"; there are: %s", name, error_names());
        return -1;
    }
    return 1;
}

static int read_act(struct admin_reader *a, struct step *s)
{
    int faults[] = {
        read_text(a, s),
        read_error(a, s),
        read_fault(a, "stall", ACT_STALL, "body", ACT_STALL_BODY, s),
        read_fault(a, "garbage", ACT_GARBAGE, "wire", ACT_GARBAGE_WIRE, s),
        read_cut(a, s),
    };
    int given = 0;

    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        if (faults[i] < 0)
            return -1;
        given += faults[i];
    }
    /* A content may also be what is cut or stalls half-way. */
    bool halves =
        given == 2 && faults[0] && json_object_get(a->object, "content") && (faults[2] || faults[4]);
    if (given > 1 && !halves) {
        snprintf(a->error, sizeof a->error,
                 "a step takes one of content, object, body, error, stall, cut, garbage");
        return -1;
    }
    if (given == 0 && s->status >= 400)
        s->act = ACT_ERROR;
    return 0;
}

/* Any JSON object or null: a provider may count as it likes, or say nothing. */
static int read_usage(struct admin_reader *a, struct step *s)
{
    const json_t *v = json_object_get(a->object, "usage");

    if (!v)
        return 0;
    if (!json_is_object(v) && !json_is_null(v)) {
        snprintf(a->error, sizeof a->error, "\"usage\" must be an object or null");
        return -1;
    }
    s->usage = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    return 0;
}

static int read_step(struct admin_reader *a, struct step *s)
{
    static const char *const keys[] = {"status",       "error",
                                       "stall",        "cut",
                                       "garbage",      "content",
                                       "object",       "body",
                                       "delay_ms",     "headers",
                                       "content_type", "repeat",
                                       "retry_after",  "retry_after_ms",
                                       "should_retry", "trickle_bytes",
                                       "trickle_ms",   "tokens_per_second",
                                       "usage",        NULL};
    int64_t status = 0, bytes = 0;
    const char *type = NULL;
    size_t n = 0;

    if (!json_is_object(a->object)) {
        snprintf(a->error, sizeof a->error, "a step must be an object");
        return -1;
    }
    if (admin_only(a, keys) < 0 || admin_int(a, "status", 200, 599, &status) < 0)
        return -1;
    s->status = (int)status;
    s->trickle_ms = 10;
    if (admin_int(a, "delay_ms", 0, DELAY_MAX, &s->delay_ms) < 0 ||
        admin_int(a, "repeat", 1, REPEAT_MAX, &s->repeat) < 0 ||
        admin_int(a, "trickle_bytes", 1, 1000000, &bytes) < 0 ||
        admin_int(a, "trickle_ms", 1, DELAY_MAX, &s->trickle_ms) < 0 ||
        admin_double(a, "tokens_per_second", 0, 1e6, &s->tokens_per_second) < 0 ||
        admin_text(a, "content_type", &type, &n) < 0 || read_headers(a, s) < 0 || read_usage(a, s) < 0)
        return -1;
    s->trickle_bytes = (size_t)bytes;
    if (type)
        s->content_type = xstrdup(type);
    return read_act(a, s);
}

static void put_script(struct openai *o, struct exchange *x)
{
    json_t *root = admin_body(x);
    struct step *list = NULL, **end = &list;
    char error[300] = "";

    if (!root)
        return;
    if (!json_is_array(root) || json_array_size(root) > STEPS_MAX)
        snprintf(error, sizeof error, "the body must be a list of steps, of at most %d", STEPS_MAX);
    for (size_t i = 0; !*error && i < json_array_size(root); i++) {
        struct admin_reader a = {.object = json_array_get(root, i)};
        struct step *s = *end = step_new();
        end = &s->next;
        if (read_step(&a, s) < 0)
            snprintf(error, sizeof error, "step %zu: %s", i, a.error);
    }
    json_decref(root);
    if (!*error) {
        if (!admin_query(x, "append", 0))
            script_clear(o);
        *o->script_end = list;
        if (list)
            o->script_end = end;
        admin_ok(x);
        return;
    }
    while (list) {
        struct step *s = list;
        list = s->next;
        step_unref(s);
    }
    admin_refuse(x, 400, error);
}

static int read_share(struct admin_reader *a, struct defaults *d, const char *what, const json_t *v)
{
    if (json_is_number(v) && json_number_value(v) >= 0 && json_number_value(v) <= 1 &&
        set_share(d, what, json_number_value(v)))
        return 0;
    snprintf(a->error, sizeof a->error, "\"%.40s\" must be a known fault with a share from 0 to 1", what);
    return -1;
}

static int read_shares(struct admin_reader *a, struct defaults *d)
{
    static const char *const plain[] = {"stall", "cut", "garbage"};
    json_t *fail = json_object_get(a->object, "fail"), *v;
    const char *what;

    if (fail && !json_is_object(fail)) {
        snprintf(a->error, sizeof a->error,
                 "\"fail\" must be an object like {\"429\": 0.1, \"quota\": 0.05}");
        return -1;
    }
    json_object_foreach(fail, what, v) if (read_share(a, d, what, v) < 0) return -1;
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        v = json_object_get(a->object, plain[i]);
        if (v && read_share(a, d, plain[i], v) < 0)
            return -1;
    }
    return 0;
}

static int read_voice(struct admin_reader *a, struct defaults *d)
{
    bool echo = d->voice == VOICE_ECHO, demo = d->voice == VOICE_DEMO;
    const char *content = NULL;
    size_t n;

    int rc = admin_text(a, "content", &content, &n);
    if (rc < 0 || admin_bool(a, "echo", &echo) < 0 || admin_bool(a, "demo", &demo) < 0)
        return -1;
    if (rc > 0) {
        free(d->content);
        d->content = xstrdup(content);
        echo = demo = false;
    }
    d->voice = echo ? VOICE_ECHO : demo ? VOICE_DEMO : VOICE_FIXED;
    return 0;
}

static int read_defaults(struct admin_reader *a, struct defaults *d)
{
    static const char *const keys[] = {
        "latency_ms", "jitter_ms", "tokens_per_second", "echo",        "demo", "content", "fail",
        "stall",      "cut",       "garbage",           "retry_after", NULL};
    const json_t *after = json_object_get(a->object, "retry_after");

    if (!json_is_object(a->object)) {
        snprintf(a->error, sizeof a->error, "the body must be an object");
        return -1;
    }
    if (admin_only(a, keys) < 0 || admin_int(a, "latency_ms", 0, DELAY_MAX, &d->latency_ms) < 0 ||
        admin_int(a, "jitter_ms", 0, DELAY_MAX, &d->jitter_ms) < 0 ||
        admin_double(a, "tokens_per_second", 0, 1e6, &d->tokens_per_second) < 0)
        return -1;
    if (after && json_is_null(after))
        d->retry_after = -1;
    else if (admin_double(a, "retry_after", 0, 1e6, &d->retry_after) < 0)
        return -1;
    if (read_voice(a, d) < 0)
        return -1;
    return read_shares(a, d);
}

static void put_defaults(struct openai *o, struct exchange *x)
{
    struct admin_reader a = {.object = admin_body(x)};
    struct defaults d = {0};

    if (!a.object)
        return;
    defaults_copy(&d, &o->now);
    int rc = read_defaults(&a, &d);
    json_decref(a.object);
    if (rc < 0) {
        defaults_free(&d);
        admin_refuse(x, 400, a.error);
        return;
    }
    defaults_free(&o->now);
    o->now = d;
    admin_ok(x);
}

static void get_requests(struct openai *o, struct exchange *x)
{
    struct buf b = BUF_INIT(REQUESTS_MAX);

    buf_putc(&b, '{');
    json_field_int(&b, "last", (int64_t)reqlog_last(o->log));
    json_field_int(&b, "max_in_flight", (int64_t)o->max_in_flight);
    json_key(&b, "requests");
    reqlog_write(o->log, admin_query(x, "since", 0), &b);
    buf_putc(&b, '}');
    if (b.failed)
        admin_refuse(x, 500, "the log does not fit into one answer; ask with ?since=");
    else
        admin_answer(x, 200, &b);
    buf_free(&b);
}

static size_t steps_left(const struct openai *o)
{
    size_t n = 0;

    for (const struct step *s = o->script; s; s = s->next)
        n += (size_t)s->repeat;
    return n;
}

static void get_stats(struct openai *o, struct exchange *x)
{
    static const char *const acts[] = {"answer",   "error", "body",    "stall",       "stall_body",
                                       "cut_head", "cut",   "garbage", "garbage_wire"};
    struct buf b = BUF_INIT(64 * KIB);
    char key[16];

    buf_putc(&b, '{');
    json_field_int(&b, "requests", (int64_t)o->requests);
    json_field_int(&b, "in_flight", (int64_t)o->in_flight);
    json_field_int(&b, "max_in_flight", (int64_t)o->max_in_flight);
    json_field_int(&b, "connections", (int64_t)httpd_connections(o->server));
    json_field_int(&b, "open", (int64_t)httpd_open(o->server));
    json_field_int(&b, "client_left", (int64_t)o->client_left);
    json_field_int(&b, "refused", (int64_t)o->refused);
    json_field_int(&b, "steps_left", (int64_t)steps_left(o));
    json_key(&b, "by_status");
    buf_putc(&b, '{');
    for (size_t i = 0; i < ARRAY_LEN(o->by_status); i++)
        if (o->by_status[i]) {
            snprintf(key, sizeof key, "%zu", i);
            json_field_int(&b, key, (int64_t)o->by_status[i]);
        }
    buf_puts(&b, "},\"acts\":{");
    for (size_t i = 0; i < ARRAY_LEN(acts); i++)
        json_field_int(&b, acts[i], (int64_t)o->acts[i]);
    buf_puts(&b, "}}");
    admin_answer(x, 200, &b);
    buf_free(&b);
}

static void reset(struct openai *o, struct exchange *x)
{
    script_clear(o);
    defaults_copy(&o->now, &o->at_start);
    reqlog_reset(o->log);
    stats_reset(o);
    admin_ok(x);
}

void admin_request(struct openai *o, struct exchange *x)
{
    static const struct {
        const char *method, *path;
        void (*fn)(struct openai *o, struct exchange *x);
    } routes[] = {
        {"POST", "/_admin/script", put_script},    {"POST", "/_admin/defaults", put_defaults},
        {"GET", "/_admin/requests", get_requests}, {"GET", "/_admin/stats", get_stats},
        {"POST", "/_admin/reset", reset},
    };

    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (str_eq(x->head.path, routes[i].path) && str_eq(x->head.method, routes[i].method)) {
            routes[i].fn(o, x);
            return;
        }
    admin_refuse(x, 404,
                 "POST /_admin/script, POST /_admin/defaults, POST /_admin/reset, GET /_admin/requests, "
                 "GET /_admin/stats");
}
