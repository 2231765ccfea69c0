/* Death as a habit: processes killed with -9 again and again under load, and the books balanced afterwards.
 */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/load.h"

TestSuite(chaos, .fini = e2e_cleanup, .timeout = 480);

static const char answered[] = "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"}";

/* What else counts each answer once. */
static const char *const counters[] = {
    "app_request_latency_seconds_count{endpoint=\"/ask\",method=\"POST\"}",
    "app_llm_latency_seconds_count{model=\"gpt-4o-mini\"}",
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

/* How much: what is enough for every change, or with ATALAYA_CHAOS=full a minute of it. */
struct scale {
    size_t questions, clients;
    int64_t every_ms; /* between two kills, on average */
    int kills;        /* at least, and with full no more */
    int rounds;
};

static struct scale scale_of(struct scale ci, struct scale full)
{
    const char *v = getenv("ATALAYA_CHAOS");

    return v && strcmp(v, "full") == 0 ? full : ci;
}

/* Kills one of the role's `count` processes after times between half and one and a half of every_ms, until the load is
 * through or `most` are killed. The number of kills. */
static int kill_until_finished(struct e2e *e, struct load *l, const char *role, unsigned count,
                               int64_t every_ms, int most)
{
    unsigned seed = 20261124;
    int64_t next = clock_ms() + every_ms;
    int kills = 0;

    while (!load_finished(l) && kills < most) {
        pid_t pid = clock_ms() < next ? 0 : e2e_pid(e, role, (int)(next_of(&seed) % count));
        if (pid && kill(pid, SIGKILL) == 0) {
            kills++;
            next = clock_ms() + every_ms / 2 + (int64_t)(next_of(&seed) % (unsigned)every_ms);
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

/* P3, P10: Langfuse has each of them; the counters too, and the `before` others that went before. `once`: nothing was
 * uploaded twice. */
static void expect_every_record(struct e2e *e, const struct load_outcome *o, size_t n, size_t before,
                                bool once)
{
    double all = (double)(before + n);
    char user[32];

    E2E_WAIT(60, e2e_stat(&e->langfuse, "traces") >= (int64_t)n);
    E2E_WAIT(60, e2e_stat(&e->langfuse, "scores_unique") >= (int64_t)(2 * n));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, answered) >= all);
    cr_assert_float_eq(e2e_metric(e->telemetry_port, answered), all, 1e-9);
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        cr_assert_float_eq(e2e_metric(e->telemetry_port, counters[i]), all, 1e-9, "%s", counters[i]);
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
    int kills = kill_until_finished(e, l, "llm-worker", WORKERS, 500, INT_MAX);
    cr_assert_geq(kills, 10, "only %d kills", kills);
    cr_assert_gt(e2e_stat(&e->openai, "client_left"), 0, "no kill hit a call");
    expect_every_answer(load_outcomes(l), QUESTIONS);
    expect_every_record(e, load_outcomes(l), QUESTIONS, 0, true);
    cr_assert_geq(e2e_metric(e->telemetry_port, "atalaya_worker_changes_total{change=\"lost\"}"), kills / 2);
    load_free(l);
    e2e_end(e);
}

/* Questions until telemetry has been killed that often, and the books balanced; `before` went before. How many. */
static size_t kill_telemetry(struct e2e *e, const struct scale *s, size_t before)
{
    int64_t from = clock_ms(), longest = 0;
    struct load *l = load_start(e->port, s->questions, s->clients);
    int kills = kill_until_finished(e, l, "telemetry", 1, s->every_ms, s->rounds > 1 ? s->kills : INT_MAX);
    size_t n = load_stop(l);
    const struct load_outcome *o = load_outcomes(l);
    int64_t took = clock_ms() - from;

    cr_assert_geq(kills, s->kills, "only %d kills", kills);
    expect_every_answer(o, n);
    for (size_t i = 0; i < n; i++)
        longest = o[i].took_ms > longest ? o[i].took_ms : longest;
    cr_assert_lt(longest, 5000, "the slowest answer took %lld ms", (long long)longest);
    expect_every_record(e, o, n, before, false);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "atalaya_spool_records") == 0);
    fprintf(stderr, "%zu answers, %.0f a second, the slowest in %lld ms; telemetry killed %d times\n", n,
            (double)n * 1000 / (double)took, (long long)longest, kills);
    load_free(l);
    return n;
}

/* P2, P5, P10: killed between any two of its steps, telemetry neither delays an answer nor loses its record.
 */
Test(chaos, telemetry_dies_again_and_again)
{
    struct scale s = scale_of((struct scale){1000, 20, 1200, 3, 1}, (struct scale){60000, 80, 400, 10, 5});
    struct e2e *e = e2e_new();
    size_t n = 0;

    e2e_tell(&e->openai, "/_admin/defaults", "{\"echo\":true,\"latency_ms\":100,\"jitter_ms\":100}");
    e2e_start(e);
    for (int round = 0; round < s.rounds; round++) {
        e2e_tell(&e->langfuse, "/_admin/reset", "{}");
        n += kill_telemetry(e, &s, n);
    }
    e2e_end(e);
}

static bool is_recorded(json_t *traces, const struct load_outcome *o)
{
    return json_object_get(traces, o->trace_id) != NULL;
}

/* P2 with TELEMETRY_ACK=before-answer: whoever is killed, the gateway too, who has an answer has a record. */
Test(chaos, gateway_and_telemetry_die)
{
    struct scale s = scale_of((struct scale){800, 20, 700, 4, 1}, (struct scale){20000, 60, 800, 40, 1});
    struct e2e *e = e2e_new();
    int kills = 0;
    size_t answered_here = 0, missing = 0;

    e2e_env(e, "TELEMETRY_ACK", "before-answer");
    e2e_env(e, "TELEMETRY_ACK_TIMEOUT_MS", "20000");
    e2e_tell(&e->openai, "/_admin/defaults", "{\"echo\":true,\"latency_ms\":50,\"jitter_ms\":100}");
    e2e_start(e);
    struct load *l = load_start(e->port, s.questions, s.clients);
    while (!load_finished(l))
        for (const char *role = "gateway"; role; role = *role == 'g' ? "telemetry" : NULL)
            kills += kill_until_finished(e, l, role, 1, s.every_ms, 1);
    const struct load_outcome *o = load_outcomes(l);
    cr_assert_geq(kills, s.kills, "only %d kills", kills);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_all_up(e));
    E2E_WAIT(60, e2e_metric(e->telemetry_port, "atalaya_spool_records") == 0);
    double unconfirmed = e2e_metric(e->telemetry_port, "atalaya_answers_unconfirmed_total");
    json_t *traces = e2e_traces(e);
    for (size_t i = 0; i < s.questions; i++) {
        answered_here += o[i].status == 200;
        missing += o[i].status == 200 && !is_recorded(traces, &o[i]);
    }
    json_decref(traces);
    cr_assert_gt(answered_here, s.questions / 2);
    cr_assert_leq((double)missing, unconfirmed, "%zu of %zu answers have no record, %.0f are counted",
                  missing, answered_here, unconfirmed);
    fprintf(stderr, "%zu of %zu answered, %d kills; %zu without a record, %.0f unconfirmed\n", answered_here,
            s.questions, kills, missing, unconfirmed);
    load_free(l);
    e2e_end(e);
}
