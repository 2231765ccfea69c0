/* TELEMETRY_ACK=before-answer: who has an answer has a record, and a telemetry that fails costs a wait at most. */
#include "tests/e2e/harness.h"

#include <signal.h>
#include <stdio.h>

#include "tests/e2e/load.h"
#include "tests/e2e/sse_client.h"

TestSuite(confirm, .fini = e2e_cleanup, .timeout = 120);

#define WAIT_MS 1000

static const char unconfirmed[] = "atalaya_answers_unconfirmed_total";

static struct e2e *begin(void)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "TELEMETRY_ACK", "before-answer");
    e2e_env(e, "TELEMETRY_ACK_TIMEOUT_MS", "%d", WAIT_MS);
    e2e_start(e);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->port, unconfirmed) >= 0); /* the gateway knows telemetry */
    return e;
}

/* How long it took. */
static int64_t ask(const struct e2e *e)
{
    int64_t from = clock_ms();
    struct http_reply r = e2e_ask(e, "ana", "¿Está escrito?", NULL);

    cr_assert_eq(r.status, 200, "%d %s", r.status, r.trouble ? r.trouble : "");
    http_reply_free(&r);
    return clock_ms() - from;
}

/* P2: from the moment of the answer on, the counters, which share its record's transaction, know of it. */
Test(confirm, an_answer_is_counted_before_it_is_given)
{
    struct e2e *e = begin();

    for (int i = 1; i <= 20; i++) {
        ask(e);
        cr_assert_eq(e2e_metric(e->telemetry_port,
                                "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"}"),
                     i);
    }
    cr_expect_eq(e2e_metric(e->telemetry_port, unconfirmed), 0);
    e2e_end(e);
}

/* P5. */
Test(confirm, a_telemetry_that_hangs_is_waited_for_and_then_no_more)
{
    struct e2e *e = begin();
    double n = 1;

    pid_t telemetry = e2e_pid(e, "telemetry", 0);
    kill(telemetry, SIGSTOP);
    cr_expect_geq(ask(e), WAIT_MS, "it has waited");
    E2E_WAIT(E2E_WAIT_SECONDS, (n++, ask(e) < WAIT_MS));
    kill(telemetry, SIGCONT);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, unconfirmed) >= n);
    cr_expect_eq(e2e_metric(e->telemetry_port, unconfirmed), n, "each of them");
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "traces") == (int64_t)n);
    e2e_end(e);
}

/* Of a stream only the last event waits. */
Test(confirm, the_end_of_a_stream_waits)
{
    struct e2e *e = begin();

    pid_t telemetry = e2e_pid(e, "telemetry", 0);
    kill(telemetry, SIGSTOP);
    struct sse_client c = sse_open(
        e->port, "/ask", "", "{\"user_id\":\"ana\",\"question\":\"¿Qué " E2E_CANARY "?\",\"stream\":true}");
    cr_assert_eq(c.status, 200);
    cr_assert(sse_next_named(&c, "delta"));
    int64_t first = clock_ms();
    while (sse_next_named(&c, "delta"))
        ;
    cr_assert(c.name && strcmp(c.name, "done") == 0, "%s", c.trouble ? c.trouble : c.name);
    cr_expect_geq(clock_ms() - first, WAIT_MS / 2);
    cr_expect_not(sse_next(&c));
    cr_expect_null(c.trouble);
    sse_close(&c);
    kill(telemetry, SIGCONT);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, unconfirmed) == 1);
    e2e_end(e);
}

/* A client that leaves while its answer waits, and a drain meanwhile: nothing hangs, nothing is lost. */
Test(confirm, leaving_and_draining_while_it_waits)
{
    struct e2e *e = begin();
    struct http_client c = http_open(e->port);
    struct http_reply r;

    pid_t telemetry = e2e_pid(e, "telemetry", 0);
    kill(telemetry, SIGSTOP);
    c.timeout_ms = WAIT_MS / 4;
    http_call(&c, "POST", "/ask", str_of("{\"user_id\":\"ana\",\"question\":\"¿Adiós?\"}"), &r);
    cr_expect_eq(r.status, 0);
    http_reply_free(&r);
    http_close(&c);
    struct load *l = load_start(e->port, 8, 8);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "requests") == 9);
    kill(telemetry, SIGCONT);
    cr_expect_eq(e2e_stop(e), 0);
    const struct load_outcome *o = load_outcomes(l);
    for (int i = 0; i < 8; i++)
        cr_expect_eq(o[i].status, 200, "%d %s", o[i].status, o[i].trouble ? o[i].trouble : "");
    cr_expect_eq(e2e_stat(&e->langfuse, "traces"), 9);
    load_free(l);
    e2e_end(e);
}
