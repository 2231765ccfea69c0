/* Death as a habit: processes killed with -9 again and again under load, and the books balanced afterwards.
 */
#include <signal.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/load.h"

TestSuite(chaos, .fini = e2e_cleanup, .timeout = 240);

static const char answered[] = "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"}";

/* What else counts each answer once. */
static const char *const counters[] = {
    "app_request_latency_seconds_count{endpoint=\"/ask\",method=\"POST\"}",
    "app_llm_latency_seconds_count{model=\"gpt-4o-mini-2024-07-18\"}",
    "app_llm_tokens_used_count",
    "atalaya_answers_total{source=\"upstream\"}",
    "atalaya_answer_score_count{name=\"toxicity_safe\"}",
    "gen_ai_client_token_usage_count{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\","
    "gen_ai_request_model=\"gpt-4o-mini\",gen_ai_response_model=\"gpt-4o-mini-2024-07-18\","
    "gen_ai_token_type=\"input\"}",
};

/* The same victims in every run. */
static unsigned next_of(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 16;
}

/* Kills one of the role's `count` processes every `every_ms` until the load is through. The number of kills.
 */
static int kill_until_finished(struct e2e *e, struct load *l, const char *role, unsigned count,
                               int64_t every_ms)
{
    unsigned seed = 20261124;
    int64_t next = clock_ms() + every_ms;
    int kills = 0;

    while (!load_finished(l)) {
        if (clock_ms() >= next) {
            pid_t pid = e2e_pid(e, role, (int)(next_of(&seed) % count));
            if (pid && kill(pid, SIGKILL) == 0)
                kills++;
            next += every_ms;
        }
        e2e_nap();
    }
    return kills;
}

/* P1: every request got one answer, its own. */
static void expect_every_answer(const struct load_outcome *o, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(o[i].status, 200, "question %zu: status %d %s after %lld ms", i, o[i].status,
                     o[i].trouble ? o[i].trouble : "", (long long)o[i].took_ms);
        cr_assert(o[i].answer_is_own, "question %zu got another's answer", i);
    }
}

/* P3, P10: Langfuse has each of them, the counters too. `once`: nothing was uploaded twice. */
static void expect_every_record(struct e2e *e, const struct load_outcome *o, size_t n, bool once)
{
    char user[32];

    E2E_WAIT(60, e2e_stat(&e->langfuse, "traces") >= (int64_t)n);
    E2E_WAIT(60, e2e_stat(&e->langfuse, "scores_unique") >= (int64_t)(2 * n));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, answered) >= (double)n);
    cr_assert_float_eq(e2e_metric(e->telemetry_port, answered), (double)n, 1e-9);
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        cr_assert_float_eq(e2e_metric(e->telemetry_port, counters[i]), (double)n, 1e-9, "%s", counters[i]);
    json_t *traces = e2e_traces(e);
    cr_assert_eq(json_object_size(traces), n, "%zu traces for %zu answers", json_object_size(traces), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *t = json_object_get(traces, o[i].trace_id);
        snprintf(user, sizeof user, "user-%zu", i);
        cr_assert(t, "no trace %s of question %zu", o[i].trace_id, i);
        cr_assert_str_eq(e2e_string(t, "userId"), user);
        cr_assert(!once || e2e_raw(t) == (int64_t)json_array_size(json_object_get(t, "observations")),
                  "%s arrived more than once", o[i].trace_id);
    }
    json_decref(traces);
    cr_assert_eq(e2e_stat(&e->langfuse, "spans_changed"), 0, "a repetition differs from the original");
    cr_assert(!once || e2e_stat(&e->langfuse, "scores_raw") == (int64_t)(2 * n),
              "a score arrived more than once");
}

/* P1, P3, P10. */
Test(chaos, workers_die_twice_a_second)
{
    enum { QUESTIONS = 2000, CLIENTS = 50, WORKERS = 3 };
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_WORKERS", "%d", WORKERS);
    e2e_tell(&e->openai, "/_admin/defaults", "{\"echo\":true,\"latency_ms\":150,\"jitter_ms\":200}");
    e2e_start(e);
    struct load *l = load_start(e->port, QUESTIONS, CLIENTS);
    int kills = kill_until_finished(e, l, "llm-worker", WORKERS, 500);
    cr_assert_geq(kills, 10, "only %d kills", kills);
    cr_assert_gt(e2e_stat(&e->openai, "client_left"), 0, "no kill hit a call");
    expect_every_answer(load_outcomes(l), QUESTIONS);
    expect_every_record(e, load_outcomes(l), QUESTIONS, true);
    cr_assert_geq(e2e_metric(e->telemetry_port, "atalaya_worker_changes_total{change=\"lost\"}"), kills / 2);
    load_free(l);
    e2e_end(e);
}

/* P2, P5, P10: killed between any two of its steps, telemetry neither delays an answer nor loses its record.
 */
Test(chaos, telemetry_dies_again_and_again)
{
    enum { QUESTIONS = 1000, CLIENTS = 20 };
    struct e2e *e = e2e_new();

    e2e_tell(&e->openai, "/_admin/defaults", "{\"echo\":true,\"latency_ms\":200,\"jitter_ms\":200}");
    e2e_start(e);
    struct load *l = load_start(e->port, QUESTIONS, CLIENTS);
    int kills = kill_until_finished(e, l, "telemetry", 1, 1500);
    cr_assert_geq(kills, 5, "only %d kills", kills);
    expect_every_answer(load_outcomes(l), QUESTIONS);
    for (size_t i = 0; i < QUESTIONS; i++)
        cr_assert_lt(load_outcomes(l)[i].took_ms, 5000, "question %zu took %lld ms", i,
                     (long long)load_outcomes(l)[i].took_ms);
    expect_every_record(e, load_outcomes(l), QUESTIONS, false);
    load_free(l);
    e2e_end(e);
}
