/* Questions that are the same: one call for many (single flight), an answer given again (cache), a second call for one
 * (hedging). */
#include "tests/e2e/harness.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/e2e/sse_client.h"

TestSuite(share, .fini = e2e_cleanup, .timeout = 120);

#define CLIENTS 8

static void header_is(const struct http_reply *r, const char *want)
{
    char value[32];

    cr_assert(http_header(r, "X-Atalaya-Cache", value, sizeof value), "no X-Atalaya-Cache: %s", r->head.data);
    cr_expect_str_eq(value, want);
}

/* Asks, and looks where the answer came from. The trace is the caller's. */
static json_t *ask(const struct e2e *e, const char *question, const char *max_words, const char *from)
{
    struct http_reply r = e2e_ask(e, "ana", question, max_words);

    cr_assert_eq(r.status, 200, "%d %s", r.status, r.body.data);
    header_is(&r, from);
    json_t *answer = e2e_json(&r), *trace = e2e_trace(e, e2e_string(answer, "trace_id"));
    json_decref(answer);
    http_reply_free(&r);
    return trace;
}

Test(share, an_answer_is_given_again)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "GATEWAY_CACHE_BYTES", "100000");
    e2e_start(e);
    json_decref(ask(e, "¿Qué es esto?", "20", "miss"));
    json_decref(ask(e, "¿Qué es esto?", "20", "hit"));
    json_decref(ask(e, "¿Qué es esto?", "21", "miss"));
    json_decref(ask(e, "¿Qué es esto?", NULL, "miss"));
    json_decref(ask(e, "¿Qué es aquello?", "20", "miss"));
    cr_expect_eq(e2e_stat(&e->openai, "requests"), 4);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "atalaya_answers_total{source=\"cache\"}") == 1);
    e2e_end(e);
}

/* A stream is answered from what was answered in one piece, and the other way round. */
Test(share, streams_are_given_again)
{
    struct e2e *e = e2e_new();
    const char *question = "{\"user_id\":\"ana\",\"question\":\"¿Otra vez " E2E_CANARY "?\",\"stream\":true}";

    e2e_env(e, "GATEWAY_CACHE_BYTES", "100000");
    e2e_start(e);
    for (int i = 0; i < 2; i++) {
        struct sse_client c = sse_open(e->port, "/ask", "", question);
        cr_assert_eq(c.status, 200);
        cr_expect_not_null(strstr(c.head.data, i ? "X-Atalaya-Cache: hit" : "X-Atalaya-Cache: miss"));
        int deltas = 0;
        while (sse_next(&c) && strcmp(c.name, "delta") == 0)
            deltas++;
        cr_expect_str_eq(c.name, "done");
        cr_expect_eq(deltas == 1, i == 1);
        sse_close(&c);
    }
    cr_expect_eq(e2e_stat(&e->openai, "requests"), 1);
    e2e_end(e);
}

/* What failed is not kept, and neither is what is too old or does not fit. */
Test(share, what_is_not_given_again)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "GATEWAY_CACHE_BYTES", "1000");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"error\":\"quota\"}]");
    struct http_reply r = e2e_ask(e, "ana", "¿Qué?", NULL);
    cr_expect_eq(r.status, 502);
    header_is(&r, "miss");
    http_reply_free(&r);
    json_decref(ask(e, "¿Qué?", NULL, "miss"));
    json_decref(ask(e, "¿Qué más?", NULL, "miss")); /* only one of them has room */
    json_decref(ask(e, "¿Qué?", NULL, "miss"));
    json_decref(ask(e, "¿Qué?", NULL, "hit"));
    e2e_end(e);
}

struct client {
    pthread_t thread;
    const struct e2e *e;
    struct http_reply reply;
};

static void *ask_at_once(void *arg)
{
    struct client *c = arg;
    struct http_client h = http_open(c->e->port);

    http_call(&h, "POST", "/ask", str_of("{\"user_id\":\"u\",\"question\":\"la misma " E2E_CANARY "\"}"),
              &c->reply);
    http_close(&h);
    return NULL;
}

static void start_clients(struct client *all, const struct e2e *e)
{
    for (int i = 0; i < CLIENTS; i++) {
        all[i] = (struct client){.e = e};
        cr_assert_eq(pthread_create(&all[i].thread, NULL, ask_at_once, &all[i]), 0);
    }
}

/* Counts the answers of a status that came from there. */
static int count(struct client *all, int status, const char *from)
{
    int n = 0;

    for (int i = 0; i < CLIENTS; i++) {
        char value[32] = "";
        pthread_join(all[i].thread, NULL);
        http_header(&all[i].reply, "X-Atalaya-Cache", value, sizeof value);
        n += all[i].reply.status == status && strcmp(value, from) == 0;
    }
    return n;
}

static void forget(struct client *all)
{
    for (int i = 0; i < CLIENTS; i++)
        http_reply_free(&all[i].reply);
}

Test(share, one_call_for_all_that_are_the_same)
{
    struct e2e *e = e2e_new();
    struct client all[CLIENTS];

    e2e_env(e, "GATEWAY_SINGLE_FLIGHT", "true");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"content\":\"una para todos\",\"delay_ms\":1500}]");
    start_clients(all, e);
    cr_expect_eq(count(all, 200, "shared"), CLIENTS - 1);
    forget(all);
    cr_expect_eq(e2e_stat(&e->openai, "requests"), 1);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "traces") == CLIENTS);
    e2e_end(e);
}

/* A failure is theirs too: to ask again for each of them would multiply it. */
Test(share, one_failure_for_all_that_are_the_same)
{
    struct e2e *e = e2e_new();
    struct client all[CLIENTS];

    e2e_env(e, "GATEWAY_SINGLE_FLIGHT", "true");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"error\":\"quota\",\"delay_ms\":1500}]");
    start_clients(all, e);
    cr_expect_eq(count(all, 502, "shared"), CLIENTS - 1);
    forget(all);
    cr_expect_eq(e2e_stat(&e->openai, "requests"), 1);
    e2e_end(e);
}

/* Asks, and leaves after that time. */
static void *ask_and_leave(void *arg)
{
    struct client *c = arg;
    struct http_client h = http_open(c->e->port);

    h.timeout_ms = 700;
    http_call(&h, "POST", "/ask", str_of("{\"user_id\":\"u\",\"question\":\"la misma " E2E_CANARY "\"}"),
              &c->reply);
    http_close(&h);
    return NULL;
}

/* The one that asked first leaves: the others still get their answer. */
Test(share, the_leader_leaves)
{
    struct e2e *e = e2e_new();
    struct client first = {.e = e}, second = {.e = e};
    char value[32] = "";

    e2e_env(e, "GATEWAY_SINGLE_FLIGHT", "true");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"content\":\"para quien se queda\",\"delay_ms\":2000}]");
    cr_assert_eq(pthread_create(&first.thread, NULL, ask_and_leave, &first), 0);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "requests") == 1);
    cr_assert_eq(pthread_create(&second.thread, NULL, ask_at_once, &second), 0);
    pthread_join(first.thread, NULL);
    pthread_join(second.thread, NULL);
    cr_expect_eq(first.reply.status, 0);
    cr_expect_eq(second.reply.status, 200);
    http_header(&second.reply, "X-Atalaya-Cache", value, sizeof value);
    cr_expect_str_eq(value, "shared");
    cr_expect_eq(e2e_stat(&e->openai, "requests"), 1);
    http_reply_free(&first.reply);
    http_reply_free(&second.reply);
    e2e_end(e);
}

/* When nobody waits any more, the call ends, and whoever comes then asks anew. */
Test(share, all_leave)
{
    struct e2e *e = e2e_new();
    struct client all[2] = {{.e = e}, {.e = e}};

    e2e_env(e, "GATEWAY_SINGLE_FLIGHT", "true");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"stall\":true}]");
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&all[i].thread, NULL, ask_and_leave, &all[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(all[i].thread, NULL);
        cr_expect_eq(all[i].reply.status, 0);
        http_reply_free(&all[i].reply);
    }
    struct client next = {.e = e};
    ask_at_once(&next);
    cr_expect_eq(next.reply.status, 200);
    http_reply_free(&next.reply);
    E2E_WAIT(5, e2e_stat(&e->openai, "client_left") == 1);
    cr_expect_eq(e2e_stat(&e->openai, "requests"), 2);
    e2e_end(e);
}

/* LLM_HEDGE: after enough answers it is known what is slow; then the second call wins, and the first one is ended. */
Test(share, a_slow_call_is_joined_by_a_second_one)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_HEDGE", "true");
    e2e_env(e, "LLM_WORKERS", "1");
    e2e_start(e);
    for (int i = 0; i < 40; i++) {
        struct http_reply r = e2e_ask(e, "ana", "¿Qué?", NULL);
        cr_assert_eq(r.status, 200);
        http_reply_free(&r);
    }
    e2e_tell(&e->openai, "/_admin/reset", NULL);
    e2e_tell(&e->openai, "/_admin/script",
             "[{\"content\":\"tarde\",\"delay_ms\":8000},{\"content\":\"pronto\"}]");
    struct http_reply r = e2e_ask(e, "ana", "¿Qué?", NULL);
    json_t *answer = e2e_json(&r);
    cr_expect_str_eq(e2e_string(answer, "answer"), "pronto");
    cr_expect_eq(e2e_stat(&e->openai, "requests"), 2);
    E2E_WAIT(5, e2e_stat(&e->openai, "client_left") == 1);
    json_decref(answer);
    http_reply_free(&r);
    e2e_end(e);
}
