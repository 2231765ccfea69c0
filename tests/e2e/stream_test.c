/* Answers that come piece by piece: good days, bad days, clients that leave or do not read. */
#include "tests/e2e/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/e2e/sse_client.h"

TestSuite(stream, .fini = e2e_cleanup, .timeout = 120);

#define QUESTION "{\"user_id\":\"ana\",\"question\":\"¿Qué " E2E_CANARY "?\",\"stream\":true%s}"
#define CONTENT  "Uno, dos  tres\\ncuatro cinco seis siete ocho nueve diez."

static struct sse_client ask(const struct e2e *e, const char *more)
{
    char body[512];

    snprintf(body, sizeof body, QUESTION, more);
    return sse_open(e->port, "/ask", "", body);
}

static const char *text_of(json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

/* The data of the event in hand; the caller's. */
static json_t *data(const struct sse_client *c)
{
    json_t *o = json_loads(c->data, 0, NULL);

    cr_assert_not_null(o, "%s: %s", c->name, c->data);
    return o;
}

/* Reads deltas into `text` until another event comes, which is in hand then. False: the stream is over. */
static bool deltas(struct sse_client *c, struct buf *text, int *n)
{
    *n = 0;
    while (sse_next(c)) {
        if (strcmp(c->name, ":") == 0)
            continue;
        if (strcmp(c->name, "delta") != 0)
            return true;
        json_t *o = data(c);
        buf_puts(text, text_of(o, "text"));
        json_decref(o);
        ++*n;
    }
    return false;
}

/* The generation of a trace. */
static const json_t *generation(const json_t *trace)
{
    size_t i;
    json_t *o;

    json_array_foreach(json_object_get(trace, "observations"), i, o)
    {
        if (strcmp(e2e_string(o, "type"), "GENERATION") == 0)
            return o;
    }
    cr_assert_fail("no generation");
    return NULL;
}

static int64_t usage(const json_t *trace, const char *kind)
{
    return json_integer_value(json_object_get(json_object_get(generation(trace), "usageDetails"), kind));
}

/* What a streamed question came to. */
struct outcome {
    struct buf text;
    int n; /* pieces */
    char last[16];
    json_t *end;   /* its data */
    json_t *trace; /* NULL: none was named */
};

static struct outcome finish(const struct e2e *e, struct sse_client *c)
{
    struct outcome o = {.text = BUF_INIT(8 * 1024 * 1024)};

    cr_assert_eq(c->status, 200, "%d %s", c->status, c->head.data ? c->head.data : "");
    cr_assert(deltas(c, &o.text, &o.n), "no last event: %s", c->trouble ? c->trouble : "it ended");
    snprintf(o.last, sizeof o.last, "%s", c->name);
    o.end = data(c);
    cr_expect_not(sse_next(c), "something comes after %s", o.last);
    cr_expect_null(c->trouble, "%s", c->trouble);
    o.trace = e2e_trace(e, e2e_string(o.end, "trace_id"));
    sse_close(c);
    return o;
}

static void forget(struct outcome *o)
{
    buf_free(&o->text);
    json_decref(o->end);
    json_decref(o->trace);
}

Test(stream, a_good_day)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"content\":\"" CONTENT "\"}]");
    struct sse_client c = ask(e, "");
    cr_expect(strstr(c.head.data, "text/event-stream"));
    cr_expect(strstr(c.head.data, "X-Request-ID: "));
    struct outcome o = finish(e, &c);
    cr_expect_str_eq(o.text.data, "Uno, dos  tres\ncuatro cinco seis siete ocho nueve diez.");
    cr_expect_gt(o.n, 5);
    cr_expect_str_eq(o.last, "done");
    cr_expect_str_eq(text_of(o.end, "model"), "gpt-4o-mini-2024-07-18");
    cr_expect(json_is_false(json_object_get(o.end, "truncated")));
    const json_t *u = json_object_get(o.end, "usage");
    cr_expect_gt(json_integer_value(json_object_get(u, "total_tokens")), 0);
    cr_expect(json_is_false(json_object_get(u, "estimated")));
    cr_expect_float_eq(json_real_value(json_object_get(json_object_get(o.end, "scores"), "toxicity_safe")),
                       1.0, 1e-9);
    cr_expect_str_eq(e2e_string(generation(o.trace), "output"), o.text.data);
    cr_expect_eq(usage(o.trace, "output"), json_integer_value(json_object_get(u, "completion_tokens")));
    forget(&o);
    e2e_end(e);
}

/* The provider is asked to count, and not to pad. */
Test(stream, what_the_provider_is_asked)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    struct sse_client c = ask(e, "");
    struct outcome o = finish(e, &c);
    json_t *log = e2e_admin(&e->openai, "GET", "/_admin/requests", NULL);
    json_t *call = json_array_get(json_object_get(log, "requests"), 0);
    json_t *body = json_object_get(call, "body");
    char *text = json_is_string(body) ? strdup(json_string_value(body)) : json_dumps(body, JSON_COMPACT);
    cr_expect(strstr(text, "\"include_usage\":true") && strstr(text, "\"include_obfuscation\":false"), "%s",
              text);
    free(text);
    json_decref(log);
    forget(&o);
    e2e_end(e);
}

/* Five words, and the call ends: what it would still have cost is not paid. */
Test(stream, the_word_limit_ends_the_call)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script",
             "[{\"content\":\"uno  dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce "
             "quince\",\"tokens_per_second\":20}]");
    struct sse_client c = ask(e, ",\"max_words\":5");
    struct outcome o = finish(e, &c);
    cr_expect_str_eq(o.text.data, "uno  dos tres cuatro cinco…");
    cr_expect(json_is_true(json_object_get(o.end, "truncated")));
    cr_expect(json_is_true(json_object_get(json_object_get(o.end, "usage"), "estimated")));
    cr_expect_str_eq(e2e_string(generation(o.trace), "output"), o.text.data);
    cr_expect_gt(usage(o.trace, "output"), 0);
    E2E_WAIT(5, e2e_stat(&e->openai, "client_left") == 1);
    forget(&o);
    e2e_end(e);
}

struct day {
    const char *name, *script;
    int calls;
    const char *last, *error; /* the last event; its error */
    const char *text;
};

static void live_through(struct e2e *e, const struct day *d)
{
    e2e_tell(&e->openai, "/_admin/reset", NULL);
    e2e_tell(&e->openai, "/_admin/script", d->script);
    struct sse_client c = ask(e, "");
    cr_assert_eq(c.status, 200, "%s: %d", d->name, c.status);
    struct outcome o = finish(e, &c);
    cr_expect_str_eq(o.last, d->last, "%s: %s", d->name, o.last);
    cr_expect_str_eq(o.text.data ? o.text.data : "", d->text, "%s: %s", d->name, o.text.data);
    cr_expect_eq(e2e_stat(&e->openai, "requests"), d->calls, "%s: %d calls", d->name,
                 (int)e2e_stat(&e->openai, "requests"));
    if (d->error) {
        cr_expect_str_eq(text_of(o.end, "error"), d->error, "%s", d->name);
        cr_expect_str_eq(e2e_string(generation(o.trace), "level"), "ERROR", "%s", d->name);
    }
    const char *output = json_string_value(json_object_get(generation(o.trace), "output"));
    cr_expect_str_eq(output ? output : "", d->text, "%s", d->name);
    forget(&o);
}

/* Before the first piece a bad call is repeated, after it the client is told. */
Test(stream, bad_days)
{
    static const struct day days[] = {
        {"flaky", "[{\"status\":500},{\"error\":\"overloaded\"},{\"content\":\"al fin\"}]", 3, "done", NULL,
         "al fin"},
        {"wrong content type",
         "[{\"body\":\"<html>\",\"content_type\":\"text/html\"},{\"content\":\"al fin\"}]", 2, "done", NULL,
         "al fin"},
        {"garbage", "[{\"garbage\":true},{\"content\":\"al fin\"}]", 2, "done", NULL, "al fin"},
        {"silent", "[{\"stall\":true},{\"content\":\"al fin\"}]", 2, "done", NULL, "al fin"},
        {"cut in the head", "[{\"cut\":\"head\"},{\"content\":\"al fin\"}]", 2, "done", NULL, "al fin"},
        {"cut in the middle", "[{\"content\":\"uno dos tres cuatro\",\"cut\":true}]", 1, "error", "cut",
         "uno dos"},
        {"silent in the middle", "[{\"content\":\"uno dos tres cuatro\",\"stall\":\"body\"}]", 1, "error",
         "timeout", "uno dos"},
        {"no answer at all", "[{\"content\":\"\"}]", 1, "done", NULL, ""},
        {"a trickle", "[{\"content\":\"gota a gota\",\"trickle_bytes\":7,\"trickle_ms\":2}]", 1, "done", NULL,
         "gota a gota"},
    };
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_FIRST_BYTE_TIMEOUT_MS", "700");
    e2e_env(e, "LLM_STALL_TIMEOUT_MS", "600");
    e2e_start(e);
    for (size_t i = 0; i < ARRAY_LEN(days); i++)
        live_through(e, &days[i]);
    e2e_end(e);
}

/* Nothing has gone out: an error is a status, as for an answer in one piece. */
Test(stream, a_failure_before_the_first_piece_is_a_status)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"error\":\"quota\"}]");
    struct sse_client c = ask(e, "");
    cr_expect_eq(c.status, 502);
    cr_expect(strstr(c.head.data, "application/json"));
    sse_close(&c);
    e2e_end(e);
}

/* While the model thinks, comments keep the connection; then a failure is an event. */
Test(stream, heartbeats)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "GATEWAY_HEARTBEAT_MS", "100");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script",
             "[{\"content\":\"al fin\",\"delay_ms\":700},{\"error\":\"quota\",\"delay_ms\":400}]");
    struct sse_client c = ask(e, "");
    int beats = 0;
    while (sse_next(&c) && strcmp(c.name, ":") == 0)
        beats++;
    cr_expect_geq(beats, 2);
    cr_expect_str_eq(c.name, "delta");
    sse_close(&c);
    c = ask(e, "");
    cr_assert_eq(c.status, 200);
    struct outcome o = finish(e, &c);
    cr_expect_str_eq(o.last, "error");
    cr_expect_str_eq(text_of(o.end, "error"), "quota_exhausted");
    forget(&o);
    e2e_end(e);
}

/* P6: the provider's connection closes, and what was spent is told. */
Test(stream, a_client_that_leaves_stops_the_call)
{
    struct e2e *e = e2e_new();
    char trace_id[64], *at;

    e2e_start(e);
    e2e_tell(
        &e->openai, "/_admin/script",
        "[{\"content\":\"uno dos tres cuatro cinco seis siete ocho nueve diez\",\"tokens_per_second\":4}]");
    struct sse_client c = ask(e, "");
    at = strstr(c.head.data, "traceparent: 00-");
    cr_assert(at);
    snprintf(trace_id, sizeof trace_id, "%.32s", at + 16);
    cr_assert(sse_next(&c) && strcmp(c.name, "delta") == 0);
    sse_close(&c);
    E2E_WAIT(5, e2e_stat(&e->openai, "client_left") == 1);
    json_t *log = e2e_admin(&e->openai, "GET", "/_admin/requests", NULL);
    cr_expect(
        json_is_true(json_object_get(json_array_get(json_object_get(log, "requests"), 0), "client_left")));
    json_decref(log);
    json_t *trace = e2e_trace(e, trace_id);
    cr_expect_gt(usage(trace, "output"), 0);
    cr_expect_gt(usage(trace, "input"), 0);
    cr_expect_eq(strncmp(e2e_string(generation(trace), "output"), "uno", 3), 0);
    cr_expect_str_eq(e2e_string(generation(trace), "level"), "ERROR");
    json_decref(trace);
    e2e_end(e);
}

/* P1: once the client has a piece, it is told; as long as it has none, another worker does it. */
Test(stream, the_death_of_a_worker)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_WORKERS", "1");
    e2e_env(e, "GATEWAY_HEARTBEAT_MS", "100");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script",
             "[{\"content\":\"uno dos tres cuatro cinco seis\",\"tokens_per_second\":4},"
             "{\"stall\":true},{\"content\":\"al fin\"}]");
    struct sse_client c = ask(e, "");
    cr_assert(sse_next(&c) && strcmp(c.name, "delta") == 0);
    kill(e2e_pid(e, "llm-worker", 0), SIGKILL);
    struct outcome o = finish(e, &c);
    cr_expect_str_eq(o.last, "error");
    cr_expect_str_eq(text_of(o.end, "error"), "worker_lost");
    cr_expect_eq(strncmp(e2e_string(generation(o.trace), "output"), "uno", 3), 0);
    forget(&o);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_all_up(e));
    c = ask(e, ""); /* begins with a comment */
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "requests") == 2);
    kill(e2e_pid(e, "llm-worker", 0), SIGKILL);
    o = finish(e, &c);
    cr_expect_str_eq(o.last, "done");
    cr_expect_str_eq(o.text.data, "al fin");
    forget(&o);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_all_up(e));
    e2e_end(e);
}

/* Also when it waits for the whole answer: what was sent to the provider is accounted. */
Test(stream, a_client_that_leaves_a_plain_call)
{
    static const char trace_id[] = "4bf92f3577b34da6a3ce929d0e0e4736";
    struct e2e *e = e2e_new();
    struct http_client c = http_open(e->port);
    struct http_reply r;

    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"stall\":true}]");
    c.headers = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    c.timeout_ms = 300;
    http_call(&c, "POST", "/ask", str_of("{\"user_id\":\"u\",\"question\":\"¿Qué es " E2E_CANARY "?\"}"), &r);
    cr_assert_eq(r.status, 0);
    http_reply_free(&r);
    http_close(&c);
    E2E_WAIT(5, e2e_stat(&e->openai, "client_left") == 1);
    json_t *trace = e2e_trace(e, trace_id);
    cr_expect_gt(usage(trace, "input"), 10);
    cr_expect_eq(usage(trace, "output"), 0);
    cr_expect_str_eq(e2e_string(generation(trace), "level"), "ERROR");
    json_decref(trace);
    e2e_end(e);
}

static int unread(const struct sse_client *c)
{
    int n = 0;

    cr_assert_eq(ioctl(c->fd, FIONREAD, &n), 0);
    return n;
}

/* Ten MB of events for a client that reads nothing for a while: they wait at the provider, not with us, who would hold
 * no more than four. */
Test(stream, a_slow_client_slows_the_provider)
{
    enum { WORDS = 200000, LOOKS = 100 };
    struct e2e *e = e2e_new();
    struct buf script = BUF_INIT(8 * 1024 * 1024), want = BUF_INIT(8 * 1024 * 1024);

    for (int i = 0; i < WORDS; i++)
        buf_printf(&want, "%s%d", i ? " " : "", i);
    buf_printf(&script, "[{\"content\":\"%s\"}]", want.data);
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", script.data);
    struct sse_client c = ask(e, ",\"max_words\":null");
    /* until nothing more comes: everything in between is full */
    for (int last = -1, same = 0; same < LOOKS; e2e_nap()) {
        same = unread(&c) == last ? same + 1 : 0;
        last = unread(&c);
    }
    cr_expect_eq(e2e_stat(&e->openai, "in_flight"), 1, "the provider has got rid of everything");
    struct outcome o = finish(e, &c);
    cr_expect_str_eq(o.last, "done");
    cr_expect_eq(o.text.len, want.len);
    cr_expect(memcmp(o.text.data, want.data, want.len) == 0);
    forget(&o);
    buf_free(&script);
    buf_free(&want);
    e2e_end(e);
}
