/* Every process killed with -9, and what a client notices of it. */
#include "tests/e2e/harness.h"

#include <signal.h>
#include <sys/wait.h>

#include "tests/e2e/load.h"

TestSuite(crash, .fini = e2e_cleanup, .timeout = 120);

static void expect_answers(struct e2e *e, int how_many)
{
    for (int i = 0; i < how_many; i++) {
        struct http_reply r = e2e_ask(e, "ana", "¿Sigues ahí?", NULL);
        cr_assert_eq(r.status, 200, "%d %s %s", r.status, r.trouble ? r.trouble : "",
                     r.body.data ? r.body.data : "");
        http_reply_free(&r);
    }
}

static bool is_replaced(const struct e2e *e, const char *role, int index, pid_t old)
{
    pid_t pid = e2e_pid(e, role, index);

    return pid && pid != old;
}

static void expect_all_answered(struct load *l, size_t n)
{
    const struct load_outcome *o = load_outcomes(l);

    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(o[i].status, 200, "question %zu: status %d %s", i, o[i].status,
                     o[i].trouble ? o[i].trouble : "");
        cr_assert(o[i].answer_is_own, "question %zu got another's answer", i);
    }
}

/* P1: the death of a worker is invisible to a client who has received nothing yet. P3: and to Langfuse. */
Test(crash, a_killed_worker_costs_nobody_an_answer)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_WORKERS", "2");
    e2e_tell(&e->openai, "/_admin/defaults", "{\"echo\":true,\"latency_ms\":1000}");
    e2e_start(e);
    struct load *l = load_start(e->port, 12, 12);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "in_flight") == 12);
    pid_t victim = e2e_pid(e, "llm-worker", 0);
    cr_assert_gt(victim, 0);
    kill(victim, SIGKILL);
    expect_all_answered(l, 12);
    cr_assert_gt(e2e_stat(&e->openai, "requests"), 12, "the killed worker had no job");
    E2E_WAIT(E2E_WAIT_SECONDS, is_replaced(e, "llm-worker", 0, victim));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "traces") == 12);
    load_free(l);
    e2e_end(e);
}

/* P1: also when it was the only one. */
Test(crash, the_only_worker_killed)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_WORKERS", "1");
    e2e_tell(&e->openai, "/_admin/defaults", "{\"echo\":true,\"latency_ms\":500}");
    e2e_start(e);
    struct load *l = load_start(e->port, 4, 4);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "in_flight") == 4);
    kill(e2e_pid(e, "llm-worker", 0), SIGKILL);
    expect_all_answered(l, 4);
    load_free(l);
    e2e_end(e);
}

/* P5: no failure of telemetry fails or slows a request. P2: the records of that time are not lost. */
Test(crash, telemetry_killed)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    expect_answers(e, 3);
    pid_t old = e2e_pid(e, "telemetry", 0);
    kill(old, SIGKILL);
    expect_answers(e, 20);
    E2E_WAIT(E2E_WAIT_SECONDS, is_replaced(e, "telemetry", 0, old));
    expect_answers(e, 3);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "traces") == 26);
    E2E_WAIT(E2E_WAIT_SECONDS,
             e2e_metric(e->telemetry_port,
                        "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"}") == 26);
    e2e_end(e);
}

/* P5: a telemetry that hangs is as harmless as one that is dead. */
Test(crash, telemetry_stopped)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    pid_t telemetry = e2e_pid(e, "telemetry", 0);
    kill(telemetry, SIGSTOP);
    int64_t start = clock_ms();
    expect_answers(e, 20);
    cr_assert_lt(clock_ms() - start, 10000, "20 answers took %lld ms", (long long)(clock_ms() - start));
    kill(telemetry, SIGCONT);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "traces") == 20);
    e2e_end(e);
}

/* P10: the counters live in telemetry, so they outlive the gateway. */
Test(crash, gateway_killed)
{
    static const char series[] = "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"}";
    struct e2e *e = e2e_new();

    e2e_start(e);
    expect_answers(e, 2);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, series) == 2);
    pid_t old = e2e_pid(e, "gateway", 0);
    kill(old, SIGKILL);
    E2E_WAIT(E2E_WAIT_SECONDS, is_replaced(e, "gateway", 0, old));
    expect_answers(e, 2);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->port, series) == 4);
    e2e_end(e);
}

static bool nobody_left(const struct e2e *e)
{
    struct buf who = BUF_INIT(64u * 1024);
    bool none = e2e_survivors(e, &who) == 0;

    buf_free(&who);
    return none;
}

static void kill_supervisor(struct e2e *e)
{
    pid_t supervisor = e->supervisor;
    int status = 0;

    kill(supervisor, SIGKILL);
    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(supervisor, &status));
    e->supervisor = 0;
}

/* P9: even without the supervisor no child stays: the life-line. What it leaves behind does not keep the next one from
 * starting. */
Test(crash, supervisor_killed)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    expect_answers(e, 1);
    kill_supervisor(e);
    E2E_WAIT(10, nobody_left(e));
    e2e_start(e);
    expect_answers(e, 1);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "traces") == 2);
    e2e_end(e);
}

/* P1, P2, P9: all children drain at the same time then, with nobody to order them: what is in flight is answered, and
 * telemetry stays for its record. */
Test(crash, supervisor_killed_with_questions_in_flight)
{
    struct e2e *e = e2e_new();

    e2e_tell(&e->openai, "/_admin/defaults", "{\"echo\":true,\"latency_ms\":700}");
    e2e_start(e);
    struct load *l = load_start(e->port, 4, 4);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "in_flight") == 4);
    kill_supervisor(e);
    expect_all_answered(l, 4);
    E2E_WAIT(10, nobody_left(e));
    e2e_start(e);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "traces") == 4);
    load_free(l);
    e2e_end(e);
}
