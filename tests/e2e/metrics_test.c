/*
 * What Prometheus and Grafana make of the metrics: a real Prometheus scrapes the running service, keeps its exemplars,
 * evaluates every rule, and has an answer to every query of the dashboard.
 */
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/limits.h"
#include "common/wire/sink.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/load.h"

TestSuite(metrics_e2e, .fini = e2e_cleanup, .timeout = 240);

#define PROMETHEUS_WAIT 90

struct prometheus {
    pid_t pid;
    uint16_t port;
};

static void write_text(const char *folder, const char *name, struct str text)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    cr_assert(f && fwrite(text.p, 1, text.n, f) == text.n && fclose(f) == 0, "%s", path);
}

/* A file of infra/, changed by a script of sed, in a folder of the test. */
static void take_file(const char *folder, const char *name, const char *sed)
{
    char path[512];
    struct buf text = BUF_INIT(MIB);
    const char *argv[] = {"/bin/sed", "-e", sed, path, NULL};
    const char *env[] = {NULL};

    snprintf(path, sizeof path, "%s/infra/prometheus/%s", getenv("ATALAYA_SOURCE"), name);
    cr_assert_eq(process_run(argv, env, str_of(""), &text), 0, "%s: %s", path, text.data);
    write_text(folder, name, buf_str(&text));
    buf_free(&text);
}

static bool answers(uint16_t port, const char *path)
{
    struct http_reply r = e2e_get(port, path);
    bool ok = r.status == 200;

    http_reply_free(&r);
    return ok;
}

/* The shipped configuration, in more of a hurry, and pointed at the test's service. */
static struct prometheus prometheus_start(const struct e2e *e)
{
    struct prometheus p = {.port = free_port()};
    char sed[256], file[128], data[128], listen[64], path[4096], out[128], err[128];
    const char *argv[] = {
        "/usr/bin/env", "prometheus", file, data, listen, "--enable-feature=exemplar-storage", NULL};
    const char *env[] = {path, NULL};

    cr_assert(getenv("ATALAYA_SOURCE"));
    snprintf(sed, sizeof sed, "s/telemetry:9464/127.0.0.1:%u/;s/\\(_interval\\|_timeout\\): .*/\\1: 1s/",
             e->telemetry_port);
    take_file(e->dir, "prometheus.yml", sed);
    take_file(e->dir, "rules.yml", "");
    take_file(e->dir, "alerts.yml", "");
    snprintf(path, sizeof path, "PATH=%s", getenv("PATH")); /* it may lie in build/tools */
    snprintf(file, sizeof file, "--config.file=%s/prometheus.yml", e->dir);
    snprintf(data, sizeof data, "--storage.tsdb.path=%s/prometheus", e->dir);
    snprintf(listen, sizeof listen, "--web.listen-address=127.0.0.1:%u", p.port);
    snprintf(out, sizeof out, "%s/prometheus.out", e->dir);
    snprintf(err, sizeof err, "%s/prometheus.err", e->dir);
    p.pid = process_start(argv, env, e->dir, out, err);
    E2E_WAIT(PROMETHEUS_WAIT, answers(p.port, "/-/ready"));
    return p;
}

static void prometheus_stop(const struct prometheus *p)
{
    int status = 0;

    kill(p->pid, SIGTERM);
    E2E_WAIT(PROMETHEUS_WAIT, process_ended(p->pid, &status));
}

/* The `data` of an answer of its API; NULL when it refuses the question. */
static json_t *prometheus_ask(const struct prometheus *p, const char *path, const char *query)
{
    struct buf url = BUF_INIT(64 * KIB);

    buf_printf(&url, "%s?query=", path);
    for (const char *c = query; *c; c++)
        buf_printf(&url, isalnum((unsigned char)*c) ? "%c" : "%%%02X", (unsigned char)*c);
    struct http_reply r = e2e_get(p->port, url.data);
    json_t *answer = e2e_json(&r);
    json_t *data = json_incref(json_object_get(answer, "data"));
    if (r.status != 200)
        cr_log_error("%s: %s", query, r.body.data);
    json_decref(answer);
    http_reply_free(&r);
    buf_free(&url);
    return data;
}

/* At least one series, and numbers. */
static bool has_numbers(const struct prometheus *p, const char *query)
{
    json_t *data = prometheus_ask(p, "/api/v1/query", query);
    const json_t *result = json_object_get(data, "result"), *series;
    bool numbers = json_array_size(result) > 0;
    size_t i;

    cr_assert(data, "%s", query);
    json_array_foreach(result, i, series)
    {
        const char *value = json_string_value(json_array_get(json_object_get(series, "value"), 1));
        numbers &= value && strcmp(value, "NaN") != 0 && !strstr(value, "Inf");
    }
    json_decref(data);
    return numbers;
}

/* As Grafana would send it: the variables that it fills in. */
static void fill_in(struct buf *out, const char *expr)
{
    static const char *const names[] = {"$__rate_interval", "$__range"};

    while (*expr) {
        size_t n = 0;
        for (size_t i = 0; i < ARRAY_LEN(names) && n == 0; i++)
            if (strncmp(expr, names[i], strlen(names[i])) == 0)
                n = strlen(names[i]);
        if (n)
            buf_puts(out, "1m");
        else
            buf_putc(out, *expr);
        expr += n ? n : 1;
    }
}

/* Queries of the dashboard and names of recorded series that have no data yet; the first of them in `first`. */
static size_t without_data(const struct prometheus *p, const json_t *queries, struct buf *first)
{
    const json_t *q;
    size_t i, n = 0;

    buf_reset(first);
    json_array_foreach(queries, i, q) if (!has_numbers(p, json_string_value(q)) && n++ == 0)
        buf_puts(first, json_string_value(q));
    return n;
}

static void add_queries_of_dashboard(json_t *queries)
{
    char path[512];
    const json_t *panel, *target;
    size_t i, k;

    snprintf(path, sizeof path, "%s/infra/grafana/atalaya.json", getenv("ATALAYA_SOURCE"));
    json_t *dashboard = json_load_file(path, 0, NULL);
    cr_assert(dashboard, "%s", path);
    json_array_foreach(json_object_get(dashboard, "panels"), i, panel)
        json_array_foreach(json_object_get(panel, "targets"), k, target)
    {
        struct buf query = BUF_INIT(4 * KIB);
        fill_in(&query, e2e_string(target, "expr"));
        json_array_append_new(queries, json_string(query.data));
        buf_free(&query);
    }
    json_decref(dashboard);
    cr_assert_gt(json_array_size(queries), 40);
}

static void add_recorded_series(const struct prometheus *p, json_t *queries)
{
    json_t *data = prometheus_ask(p, "/api/v1/rules", "");
    const json_t *group, *rule;
    size_t i, k, n = json_array_size(queries);

    json_array_foreach(json_object_get(data, "groups"), i, group) json_array_foreach(
        json_object_get(group, "rules"), k, rule) if (strcmp(e2e_string(rule, "type"), "recording") == 0)
        json_array_append_new(queries, json_string(e2e_string(rule, "name")));
    cr_assert_gt(json_array_size(queries), n + 10);
    json_decref(data);
}

static bool rules_are_healthy(const struct prometheus *p)
{
    json_t *data = prometheus_ask(p, "/api/v1/rules", "");
    const json_t *group, *rule;
    size_t i, k, healthy = 0, n = 0;

    json_array_foreach(json_object_get(data, "groups"), i, group)
        json_array_foreach(json_object_get(group, "rules"), k, rule)
    {
        const char *health = e2e_string(rule, "health");
        cr_assert(strcmp(health, "err") != 0, "%s: %s", e2e_string(rule, "name"),
                  e2e_string(rule, "lastError"));
        healthy += strcmp(health, "ok") == 0;
        n++;
    }
    json_decref(data);
    return n > 30 && healthy == n;
}

/* A gateway with what few questions bring about: a stream that was ended early, hedged, and then cached. */
struct stream_gateway {
    struct loop *loop;
    struct zwire *wire;
    struct sink *sink;
    struct loop_timer patience;
    bool in_time;
};

static void stop_loop(void *arg)
{
    struct stream_gateway *g = arg;

    loop_stop(g->loop);
}

static void acknowledged(void *arg)
{
    struct stream_gateway *g = arg;

    g->in_time = true;
    loop_stop(g->loop);
}

static void gateway_open(struct stream_gateway *g, const struct e2e *e)
{
    char endpoint[128];

    snprintf(endpoint, sizeof endpoint, "ipc://%s/events.sock", e->run_dir);
    g->loop = loop_new();
    g->wire = zwire_new();
    cr_assert_eq(sink_new(&g->sink, g->loop, g->wire, endpoint, "gateway"), 0);
    g->patience = (struct loop_timer){.fn = stop_loop, .arg = g};
}

static void gateway_close(struct stream_gateway *g)
{
    loop_timer_clear(g->loop, &g->patience);
    sink_free(g->sink);
    zwire_free(g->wire);
    loop_free(g->loop);
}

/* As if the trace were its own. */
static void put_stream(struct stream_gateway *g, const char *trace_id)
{
    struct event_attempt a[] = {
        {.start_us = wall_us() - 900000,
         .duration_us = 800000,
         .status = 200,
         .outcome = str_of("ok"),
         .upstream = str_of("streams"),
         .model = str_of("gpt-4o-mini"),
         .hedge = true},
        {.start_us = wall_us() - 1000000, .duration_us = 900000, .outcome = str_of("cancelled")}};
    struct event e = {.kind = EVENT_REQUEST,
                      .endpoint = str_of("/v1/chat/completions"),
                      .method = str_of("POST"),
                      .status = 200,
                      .start_us = wall_us() - 1000000,
                      .duration_us = 1000000,
                      .trace_id = str_of(trace_id),
                      .stream = true,
                      .chat = true,
                      .model = str_of("gpt-4o-mini-2024-07-18"),
                      .first_token_us = 300000,
                      .has_usage = true,
                      .usage_estimated = true,
                      .prompt_tokens = 20,
                      .completion_tokens = 30,
                      .total_tokens = 50,
                      .attempts = {a, 2}};

    sink_put(g->sink, &e);
    e.cache = str_of("hit");
    sink_put(g->sink, &e);
    g->in_time = false;
    sink_on_empty(g->sink, acknowledged, g);
    loop_timer_set(g->loop, &g->patience, clock_ms() + E2E_WAIT_SECONDS * 1000);
    loop_run(g->loop);
    cr_assert(g->in_time, "telemetry does not acknowledge");
}

/* A bit of everything that is counted. */
static void some_traffic(struct e2e *e, struct stream_gateway *g)
{
    e2e_tell(&e->openai, "/_admin/script",
             "[{\"status\":500},{\"content\":\"eres un idiota, y de los grandes\"}]");
    struct http_reply r = e2e_ask(e, "ana", "¿Qué?", "3");
    json_t *answer = e2e_json(&r);
    char feedback[128];

    cr_assert_eq(r.status, 200, "%s", r.body.data);
    snprintf(feedback, sizeof feedback, "{\"trace_id\":\"%s\",\"name\":\"like\",\"value\":true}",
             e2e_string(answer, "trace_id"));
    put_stream(g, e2e_string(answer, "trace_id"));
    json_decref(answer);
    http_reply_free(&r);
    r = e2e_post(e->port, "/feedback", feedback);
    cr_assert_eq(r.status, 202, "%s", r.body.data);
    http_reply_free(&r);
    r = e2e_get(e->port, "/nowhere");
    http_reply_free(&r);
}

/* Those of a metric; each with a trace id, one of them Langfuse's. */
static bool leads_to_a_trace(const struct e2e *e, const struct prometheus *p, const char *metric)
{
    json_t *data = prometheus_ask(p, "/api/v1/query_exemplars", metric);
    json_t *traces = e2e_traces(e);
    const json_t *series, *exemplar;
    size_t i, k, known = 0;

    json_array_foreach(data, i, series) json_array_foreach(json_object_get(series, "exemplars"), k, exemplar)
        known += json_object_get(traces, e2e_string(json_object_get(exemplar, "labels"), "trace_id")) != NULL;
    json_decref(traces);
    json_decref(data);
    return known > 0;
}

Test(metrics_e2e, prometheus_and_the_dashboard)
{
    static const char *const with_exemplars[] = {
        "app_request_latency_seconds_bucket", "app_llm_latency_seconds_bucket",
        "atalaya_first_token_seconds_bucket", "gen_ai_client_operation_duration_seconds_bucket",
        "atalaya_guardrail_answers_total"};
    struct e2e *e = e2e_new();
    struct stream_gateway g = {0};
    struct buf missing = BUF_INIT(4 * KIB);
    json_t *queries = json_array();
    int64_t until = clock_ms() + PROMETHEUS_WAIT * 1000;

    e2e_env(e, "LLM_PRICES_FILE", "%s/infra/prices.conf", getenv("ATALAYA_SOURCE"));
    e2e_env(e, "LLM_RETRY_BUDGET", "1"); /* every second call fails */
    e2e_env(e, "LLM_BREAKER_FAILURES", "0");
    e2e_start(e);
    struct prometheus p = prometheus_start(e);
    gateway_open(&g, e);
    add_queries_of_dashboard(queries);
    add_recorded_series(&p, queries);
    do {
        cr_assert(clock_ms() < until, "no data: %s", missing.data);
        some_traffic(e, &g);
    } while (without_data(&p, queries, &missing) > 0);
    E2E_WAIT(PROMETHEUS_WAIT, rules_are_healthy(&p));
    for (size_t i = 0; i < ARRAY_LEN(with_exemplars); i++)
        E2E_WAIT(PROMETHEUS_WAIT, leads_to_a_trace(e, &p, with_exemplars[i]));
    cr_assert(has_numbers(&p, "up{job=\"atalaya\"} == 1"));
    json_decref(queries);
    buf_free(&missing);
    gateway_close(&g);
    prometheus_stop(&p);
    e2e_end(e);
}

static bool shows(const struct e2e *e, const char *series, double value)
{
    return e2e_metric(e->telemetry_port, series) == value;
}

/* What waits is seen to wait, and that a worker was lost is known where no supervisor tells it. */
Test(metrics_e2e, queue_and_workers)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_WORKERS", "1");
    e2e_env(e, "LLM_WORKER_SLOTS", "1");
    e2e_tell(&e->openai, "/_admin/defaults", "{\"echo\":true,\"latency_ms\":700}");
    e2e_start(e);
    E2E_WAIT(E2E_WAIT_SECONDS, shows(e, "atalaya_workers{state=\"idle\"}", 1));
    cr_expect(shows(e, "atalaya_queue_oldest_age_seconds", 0));
    struct load *l = load_start(e->port, 3, 3);
    E2E_WAIT(E2E_WAIT_SECONDS, shows(e, "atalaya_queue_questions", 2));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "atalaya_queue_oldest_age_seconds") > 0.1);
    E2E_WAIT(E2E_WAIT_SECONDS, shows(e, "atalaya_workers{state=\"full\"}", 1));
    load_outcomes(l);
    load_free(l);
    E2E_WAIT(E2E_WAIT_SECONDS, shows(e, "atalaya_queue_questions", 0));
    E2E_WAIT(E2E_WAIT_SECONDS, shows(e, "atalaya_workers{state=\"idle\"}", 1));
    cr_expect(shows(e, "atalaya_worker_changes_total{change=\"lost\"}", 0));
    kill(e2e_pid(e, "llm-worker", 0), SIGKILL);
    E2E_WAIT(E2E_WAIT_SECONDS, shows(e, "atalaya_worker_changes_total{change=\"joined\"}", 2));
    E2E_WAIT(E2E_WAIT_SECONDS, shows(e, "atalaya_worker_changes_total{change=\"lost\"}", 1));
    cr_expect(shows(e, "atalaya_process_restarts_total{index=\"0\",process=\"llm-worker\"}", 1));
    kill(e2e_pid(e, "gateway", 0), SIGKILL); /* the next one hears of it anew */
    E2E_WAIT(E2E_WAIT_SECONDS, shows(e, "atalaya_worker_changes_total{change=\"joined\"}", 3));
    e2e_end(e);
}
