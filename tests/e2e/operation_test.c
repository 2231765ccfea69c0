/* What whoever runs the service relies on: metrics, overload, stopping, secrets, instances side by side. */
#include "tests/e2e/harness.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/e2e/load.h"

TestSuite(operation, .fini = e2e_cleanup, .timeout = 120);

static void ask(struct e2e *e, const char *question, int status)
{
    struct http_reply r = e2e_ask(e, "ana", question, NULL);

    cr_assert_eq(r.status, status, "%d %s %s", r.status, r.trouble ? r.trouble : "",
                 r.body.data ? r.body.data : "");
    http_reply_free(&r);
}

static void get(uint16_t port, const char *path, int status)
{
    struct http_reply r = e2e_get(port, path);

    cr_assert_eq(r.status, status, "%s: %d", path, r.status);
    http_reply_free(&r);
}

static void expect_metric(const struct e2e *e, const char *series, double value)
{
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, series) >= value);
    cr_assert_float_eq(e2e_metric(e->telemetry_port, series), value, 1e-9, "%s", series);
    cr_assert_float_eq(e2e_metric(e->port, series), value, 1e-9, "%s on the gateway's port", series);
}

/* P10: the counters agree with what clients saw, on both ports. */
Test(operation, metrics_agree_with_what_the_client_saw)
{
    static const char healths[] = "app_requests_total{endpoint=\"/health\",method=\"GET\",status=\"200\"}";
    static const char latencies[] = "app_request_latency_seconds_count{endpoint=\"/ask\",method=\"POST\"}";
    struct e2e *e = e2e_new();

    e2e_start(e);
    for (int i = 0; i < 3; i++)
        ask(e, "¿Cuántas?", 200);
    e2e_tell(&e->openai, "/_admin/script", "[{\"status\":400}]");
    ask(e, "¿Cuántas?", 502);
    struct http_reply r = e2e_post(e->port, "/ask", "{}");
    cr_assert_eq(r.status, 422);
    http_reply_free(&r);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, latencies) == 5);
    double asked = e2e_metric(e->telemetry_port, healths); /* by e2e_start() */
    get(e->port, "/health", 200);
    get(e->port, "/health", 200);
    get(e->port, "/nowhere/1", 404);
    get(e->port, "/nowhere/2", 404);

    expect_metric(e, "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"}", 3);
    expect_metric(e, "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"502\"}", 1);
    expect_metric(e, "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"422\"}", 1);
    expect_metric(e, healths, asked + 2);
    expect_metric(e, "app_requests_total{endpoint=\"other\",method=\"GET\",status=\"404\"}", 2);
    expect_metric(e, latencies, 5);
    expect_metric(e, "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"+Inf\",method=\"POST\"}", 5);
    expect_metric(e, "app_llm_tokens_used_count", 3);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "app_requests_in_progress") == 0);
    e2e_end(e);
}

/* The names and labels of all samples, in their order, without the values. */
static void series_of(uint16_t port, struct buf *out)
{
    struct http_reply r = e2e_get(port, "/metrics");
    char type[96];

    cr_assert_eq(r.status, 200);
    cr_assert(http_header(&r, "Content-Type", type, sizeof type));
    cr_assert_str_eq(type, "text/plain; version=0.0.4; charset=utf-8");
    for (const char *line = r.body.data; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        size_t n = strcspn(line, "\n");
        const char *value = memrchr(line, ' ', n);
        if (*line != '#' && value)
            n = (size_t)(value - line);
        buf_append(out, line, n);
        buf_putc(out, '\n');
    }
    http_reply_free(&r);
}

static void expect_clean_exposition(uint16_t port)
{
    struct http_reply r = e2e_get(port, "/metrics");
    struct buf out = BUF_INIT(1024u * 1024);
    char path[4096];
    const char *env[] = {path, NULL};
    const char *argv[] = {"/usr/bin/env", "promtool", "check", "metrics", NULL};

    snprintf(path, sizeof path, "PATH=%s", getenv("PATH")); /* it may lie in build/tools */
    cr_assert_eq(r.status, 200);
    int code = process_run(argv, env, buf_str(&r.body), &out);
    cr_assert_eq(code, 0, "promtool check metrics: exit %d: %s", code, out.data);
    cr_assert_eq(out.len, 0, "promtool check metrics warns: %s", out.data);
    buf_free(&out);
    http_reply_free(&r);
}

/* P10: one exposition, whichever port it is read from; Prometheus' own checker has nothing to say about it.
 */
Test(operation, both_ports_show_the_same_clean_exposition)
{
    static const char scrapes[] = "app_requests_total{endpoint=\"/metrics\",method=\"GET\",status=\"200\"}";
    struct e2e *e = e2e_new();
    struct buf one = BUF_INIT(1024u * 1024), other = BUF_INIT(1024u * 1024);

    e2e_start(e);
    ask(e, "¿Qué?", 200);
    get(e->port, "/metrics", 200);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, scrapes) >= 1);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "traces") == 1);
    series_of(e->port, &one);
    series_of(e->telemetry_port, &other);
    cr_assert_str_eq(one.data, other.data);
    expect_clean_exposition(e->port);
    expect_clean_exposition(e->telemetry_port);
    buf_free(&one);
    buf_free(&other);
    e2e_end(e);
}

static size_t count_status(const struct load_outcome *o, size_t n, int status)
{
    size_t found = 0;

    for (size_t i = 0; i < n; i++)
        found += o[i].status == status;
    return found;
}

/* P7: under overload everybody is answered at once: served, or 503 with a Retry-After. */
Test(operation, a_full_house_says_so_at_once)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "GATEWAY_MAX_IN_FLIGHT", "4");
    e2e_tell(&e->openai, "/_admin/defaults", "{\"echo\":true,\"latency_ms\":3000}");
    e2e_start(e);
    struct load *l = load_start(e->port, 20, 20);
    E2E_WAIT(E2E_WAIT_SECONDS, load_done(l) == 16);
    get(e->port, "/health", 200);
    get(e->port, "/metrics", 200);
    cr_assert_eq(load_done(l), 16, "health and metrics had to wait");
    const struct load_outcome *o = load_outcomes(l);
    cr_assert_eq(count_status(o, 20, 200), 4);
    cr_assert_eq(count_status(o, 20, 503), 16);
    for (size_t i = 0; i < 20; i++) {
        cr_assert(o[i].status != 503 || o[i].retry_after, "a 503 without Retry-After");
        cr_assert(o[i].status != 503 || o[i].took_ms < 2000, "a 503 after %lld ms", (long long)o[i].took_ms);
    }
    ask(e, "¿Y ahora?", 200);
    load_free(l);
    e2e_end(e);
}

/* P9: TERM finishes what is in flight, uploads every record, leaves no process. */
Test(operation, term_finishes_and_uploads)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "LANGFUSE_FLUSH_INTERVAL", "60");
    e2e_tell(&e->openai, "/_admin/defaults", "{\"echo\":true,\"latency_ms\":1500}");
    e2e_start(e);
    struct load *l = load_start(e->port, 6, 6);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "in_flight") == 6);
    cr_assert_eq(e2e_stop(e), 0);
    const struct load_outcome *o = load_outcomes(l);
    cr_assert_eq(count_status(o, 6, 200), 6);
    cr_assert_eq(e2e_stat(&e->langfuse, "traces"), 6);
    cr_assert_eq(e2e_stat(&e->langfuse, "scores"), 12);
    load_free(l);
    e2e_end(e);
}

/* P1, P9: what cannot be finished within DRAIN_TIMEOUT_MS is answered and recorded as what it is: given up. */
Test(operation, the_drain_has_an_end)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "DRAIN_TIMEOUT_MS", "500");
    e2e_tell(&e->openai, "/_admin/defaults", "{\"latency_ms\":20000}");
    e2e_start(e);
    struct load *l = load_start(e->port, 2, 2);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "in_flight") == 2);
    int64_t start = clock_ms();
    cr_assert_eq(e2e_stop(e), 0);
    cr_assert_lt(clock_ms() - start, 8000, "it took %lld ms", (long long)(clock_ms() - start));
    const struct load_outcome *o = load_outcomes(l);
    for (size_t i = 0; i < 2; i++)
        cr_assert(o[i].status == 502 || o[i].status == 503 || o[i].status == 504, "status %d %s", o[i].status,
                  o[i].trouble ? o[i].trouble : "");
    E2E_WAIT(1, e2e_stat(&e->langfuse, "traces") == 2);
    load_free(l);
    e2e_end(e);
}

static bool knows(pid_t pid, const char *secret)
{
    char path[32];

    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    return e2e_file_contains(path, secret);
}

/* P8: the provider's key only in workers, Langfuse's only in telemetry, none in a log or on disk. */
Test(operation, secrets_stay_where_they_belong)
{
    static const char *const secrets[] = {E2E_OPENAI_KEY, E2E_LF_SECRET, E2E_LF_PUBLIC};
    struct e2e *e = e2e_new();
    struct e2e_child list[E2E_CHILDREN_MAX];

    e2e_env(e, "LOG_LEVEL", "DEBUG");
    e2e_start(e);
    ask(e, "¿Qué?", 200);
    e2e_tell(&e->openai, "/_admin/defaults", "{\"fail\":{\"401\":1}}");
    ask(e, "¿Y con error?", 502);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "traces") == 2);
    size_t n = e2e_children(e, list);
    cr_assert_eq(n, 4);
    for (size_t i = 0; i < n; i++) {
        bool worker = strcmp(list[i].role, "llm-worker") == 0;
        bool telemetry = strcmp(list[i].role, "telemetry") == 0;
        cr_assert_eq(knows(list[i].pid, E2E_OPENAI_KEY), worker, "%s", list[i].role);
        cr_assert_eq(knows(list[i].pid, E2E_LF_SECRET), telemetry, "%s", list[i].role);
        cr_assert_eq(knows(list[i].pid, E2E_LF_PUBLIC), telemetry, "%s", list[i].role);
        cr_assert(knows(list[i].pid, e->run_dir), "%s: its environment cannot be read", list[i].role);
    }
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        cr_assert(!e2e_tree_contains(e->state_dir, secrets[i]) && !e2e_tree_contains(e->run_dir, secrets[i]));
    e2e_end(e);
}

Test(operation, two_instances_side_by_side)
{
    struct e2e *a = e2e_new();
    struct e2e *b = e2e_new();

    e2e_start(a);
    e2e_start(b);
    ask(a, "¿Quién?", 200);
    ask(b, "¿Quién?", 200);
    ask(b, "¿Quién?", 200);
    cr_assert_eq(e2e_stat(&a->openai, "requests"), 1);
    cr_assert_eq(e2e_stat(&b->openai, "requests"), 2);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&a->langfuse, "traces") == 1);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&b->langfuse, "traces") == 2);
    e2e_end(a);
    ask(b, "¿Sigues?", 200);
    e2e_end(b);
}

static void expect_refused(struct e2e *e, const char *folder)
{
    int status = 0;
    pid_t second = e2e_launch(e, (const char *const[]){"run", NULL});

    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(second, &status));
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 75, "wait status %#x", (unsigned)status);
    cr_assert(e2e_file_contains(e->err, folder) || e2e_file_contains(e->out, folder), "no message names %s",
              folder);
}

Test(operation, a_second_instance_in_the_same_folder_is_refused)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    e2e_env(e, "ATALAYA_STATE_DIR", "%s/other-state", e->dir);
    expect_refused(e, e->run_dir);
    e2e_env(e, "ATALAYA_STATE_DIR", "%s", e->state_dir);
    e2e_env(e, "ATALAYA_RUN_DIR", "%s/other-run", e->dir);
    expect_refused(e, e->state_dir);
    ask(e, "¿Sigues?", 200);
    cr_assert(e2e_all_up(e));
    e2e_end(e);
}

static int run_atalaya(const struct e2e *e, const char *command, struct buf *out)
{
    char path[512], run_dir[128];

    snprintf(path, sizeof path, "%s/atalaya", getenv("ATALAYA_BIN"));
    snprintf(run_dir, sizeof run_dir, "ATALAYA_RUN_DIR=%s", e->run_dir);
    const char *argv[] = {path, command, NULL};
    const char *env[] = {"PATH=/usr/bin:/bin", run_dir, NULL};
    return process_run(argv, env, (struct str){0}, out);
}

Test(operation, status_and_version)
{
    struct e2e *e = e2e_new();
    struct buf out = BUF_INIT(64u * 1024);

    cr_assert_neq(run_atalaya(e, "status", &out), 0, "nothing runs: %s", out.data);
    e2e_start(e);
    buf_reset(&out);
    cr_assert_eq(run_atalaya(e, "status", &out), 0, "%s", out.data);
    cr_assert(strstr(out.data, "gateway") && strstr(out.data, "llm-worker") && strstr(out.data, "telemetry"),
              "%s", out.data);
    buf_reset(&out);
    cr_assert_eq(run_atalaya(e, "version", &out), 0);
    cr_assert(strstr(out.data, ATALAYA_VERSION), "%s", out.data);
    buf_free(&out);
    e2e_end(e);
}

static void expect_failure(struct e2e *e, int code, const char *message)
{
    int status = 0;
    pid_t pid = e2e_launch(e, (const char *const[]){"run", NULL});

    E2E_WAIT(60, process_ended(pid, &status));
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == code, "wait status %#x", (unsigned)status);
    cr_assert(e2e_file_contains(e->out, message) || e2e_file_contains(e->err, message), "no message says %s",
              message);
}

/* Bad configuration is told and not retried; whoever started us sees the exit code. */
Test(operation, bad_configuration_is_refused)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "PORT", "eight");
    expect_failure(e, 78, "PORT");
    e2e_env(e, "PORT", "%u", e->port);
    e2e_env(e, "LLM_WORKERS", "-1");
    expect_failure(e, 78, "LLM_WORKERS");
    e2e_end(e);
}

/* P6: a client who leaves stops the upstream call, and what was spent is still accounted. */
Test(operation, a_client_who_leaves_stops_the_call)
{
    struct e2e *e = e2e_new();
    struct http_client c = http_open(e->port);
    struct http_reply r;

    e2e_tell(&e->openai, "/_admin/defaults", "{\"latency_ms\":15000}");
    e2e_start(e);
    c.timeout_ms = 500;
    http_call(&c, "POST", "/ask", str_of("{\"user_id\":\"ana\",\"question\":\"¿Me oyes?\"}"), &r);
    cr_assert_str_eq(r.trouble, "timeout");
    E2E_WAIT(5, e2e_stat(&e->openai, "in_flight") == 0);
    cr_assert_eq(e2e_stat(&e->openai, "client_left"), 1);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "traces") == 1);
    http_reply_free(&r);
    http_close(&c);
    e2e_end(e);
}

/* A port that is taken is said by its number, and tried again: whoever holds it may leave. */
Test(operation, a_taken_port_is_told)
{
    struct e2e *e = e2e_new();
    char port[8];
    int status = 0;

    snprintf(port, sizeof port, "%u", e->openai.port);
    e2e_env(e, "PORT", "%s", port);
    e->supervisor = e2e_launch(e, (const char *const[]){"run", NULL});
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_file_contains(e->out, port));
    cr_assert(!process_ended(e->supervisor, &status), "it did not try again");
    cr_assert_eq(e2e_stop(e), 0);
    e2e_end(e);
}
