/* A real OpenTelemetry Collector and a real Jaeger take our spans. They are no Debian packages: a test is skipped, and
 * says so, where `otelcol` or `jaeger` is not on the PATH. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/e2e/harness.h"

TestSuite(backends, .fini = e2e_cleanup, .timeout = 180);

/* The path of a program, or NULL. */
static const char *find(const char *name, char path[512])
{
    const char *from = getenv("PATH");

    while (from && *from) {
        size_t n = strcspn(from, ":");
        snprintf(path, 512, "%.*s/%s", (int)n, from, name);
        if (access(path, X_OK) == 0)
            return path;
        from += n + (from[n] == ':');
    }
    return NULL;
}

static pid_t start(struct e2e *e, const char *const argv[], char log[128])
{
    const char *const env[] = {"PATH=/usr/bin:/bin", NULL};

    snprintf(log, 128, "%s/backend.log", e->dir);
    return process_start(argv, env, e->dir, log, log);
}

static void stop(pid_t pid)
{
    int status = 0;

    kill(pid, SIGTERM);
    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(pid, &status));
}

/* One question that needs two attempts; its trace id. */
static void ask_twice(struct e2e *e, char trace_id[40])
{
    e2e_tell(&e->openai, "/_admin/script", "[{\"status\":500}]");
    struct http_reply r = e2e_ask(e, "ana", "¿Qué es Jaeger?", NULL);
    json_t *answer = e2e_json(&r);
    cr_assert_eq(r.status, 200);
    snprintf(trace_id, 40, "%s", e2e_string(answer, "trace_id"));
    json_decref(answer);
    http_reply_free(&r);
}

Test(backends, collector)
{
    char path[512], config[160], log[128], trace_id[40];
    uint16_t port = free_port();

    if (!find("otelcol", path))
        cr_skip_test("no otelcol on the PATH: a real collector was not tried");
    struct e2e *e = e2e_new();
    snprintf(config, sizeof config, "%s/collector.yaml", e->dir);
    FILE *f = fopen(config, "w");
    cr_assert(f);
    fprintf(f,
            "receivers: {otlp: {protocols: {http: {endpoint: \"127.0.0.1:%u\"}}}}\n"
            "exporters: {debug: {verbosity: detailed}}\n"
            "service:\n"
            "  telemetry: {metrics: {level: none}}\n"
            "  pipelines: {traces: {receivers: [otlp], exporters: [debug]}}\n",
            port);
    fclose(f);
    const char *const argv[] = {path, "--config", config, NULL};
    pid_t collector = start(e, argv, log);
    e2e_env(e, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:%u", port);
    e2e_env(e, "OTEL_RESOURCE_ATTRIBUTES", "team=%s", "preguntas%20y%20respuestas");
    e2e_start(e);
    ask_twice(e, trace_id);
    E2E_WAIT(60, e2e_metric(e->telemetry_port, "atalaya_exported_records_total") == 1);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_file_contains(log, "gen_ai.evaluation.result"));
    static const char *const words[] = {
        "service.name: Str(atalaya)",
        "team: Str(preguntas y respuestas)",
        "gen_ai.operation.name: Str(chat)",
        "gen_ai.provider.name: Str(openai)",
        "gen_ai.usage.input_tokens: Int(",
        "gen_ai.input.messages: Str([{\"role\":\"user\",\"parts\":[{\"type\":\"text\"",
        "Name           : openai_attempt",
        "http.response.status_code: Int(500)",
        "user.id: Str(ana)"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        cr_expect(e2e_file_contains(log, words[i]), "%s", words[i]);
    cr_expect(e2e_file_contains(log, trace_id));
    unlink(log); /* it has the question, which belongs there and in no log of ours */
    E2E_WAIT(60, e2e_stat(&e->langfuse, "traces") == 1);
    stop(collector);
    e2e_end(e);
}

/* Any of its ports: none may be somebody else's. */
static const char *host_port(char out[80], const char *option, uint16_t port)
{
    snprintf(out, 80, "--%s.host-port=127.0.0.1:%u", option, port);
    return out;
}

static bool jaeger_has(uint16_t port, const char *trace_id, json_t **spans)
{
    char path[96];

    snprintf(path, sizeof path, "/api/traces/%s", trace_id);
    struct http_reply r = e2e_get(port, path);
    json_t *root = r.status == 200 ? e2e_json(&r) : NULL;
    *spans = json_incref(json_object_get(json_array_get(json_object_get(root, "data"), 0), "spans"));
    json_decref(root);
    http_reply_free(&r);
    return json_array_size(*spans) > 0;
}

static const char *tag(const json_t *span, const char *key)
{
    json_t *t;
    size_t i;

    json_array_foreach(json_object_get(span, "tags"), i, t)
    {
        if (strcmp(e2e_string(t, "key"), key) == 0 && json_is_string(json_object_get(t, "value")))
            return e2e_string(t, "value");
    }
    return "(none)";
}

static void expect_spans(const json_t *spans)
{
    size_t roots = 0, attempts = 0, i;
    json_t *s;

    json_array_foreach((json_t *)(uintptr_t)spans, i, s)
    {
        const char *name = e2e_string(s, "operationName");
        if (strcmp(name, "openai_attempt") == 0) {
            attempts++;
            cr_expect_eq(json_array_size(json_object_get(s, "references")), 1);
            continue;
        }
        roots++;
        cr_expect_eq(strncmp(name, "chat gpt-4o-mini", 16), 0, "%s", name);
        cr_expect_str_eq(tag(s, "gen_ai.operation.name"), "chat");
        cr_expect_str_eq(tag(s, "user.id"), "ana");
        cr_expect_eq(json_array_size(json_object_get(s, "logs")), 2, "both scores");
        cr_expect_eq(json_array_size(json_object_get(s, "references")), 0);
    }
    cr_expect_eq(roots, 1);
    cr_expect_eq(attempts, 2);
}

/* Alone, without Langfuse; its query API shows the trace. */
Test(backends, jaeger)
{
    static const char *const options[] = {
        "collector.otlp.http",   "query.http-server",     "query.grpc-server",   "admin.http",
        "collector.grpc-server", "collector.http-server", "collector.otlp.grpc", "http-server"};
    char path[512], text[ARRAY_LEN(options)][80], log[128], trace_id[40];
    uint16_t ports[ARRAY_LEN(options)];
    const char *argv[ARRAY_LEN(options) + 2] = {path};
    json_t *spans = NULL;

    if (!find("jaeger", path))
        cr_skip_test("no jaeger on the PATH: a real one was not tried");
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        ports[i] = free_port();
        argv[1 + i] = host_port(text[i], options[i], ports[i]);
    }
    struct e2e *e = e2e_new();
    pid_t jaeger = start(e, argv, log);
    e2e_env(e, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:%u/v1/traces", ports[0]);
    e2e_env(e, "OTEL_SERVICE_NAME", "torre");
    e2e_env(e, "LANGFUSE_PUBLIC_KEY", NULL);
    e2e_env(e, "LANGFUSE_SECRET_KEY", NULL);
    e2e_start(e);
    ask_twice(e, trace_id);
    E2E_WAIT(60, e2e_metric(e->telemetry_port, "atalaya_exported_records_total") == 1);
    E2E_WAIT(E2E_WAIT_SECONDS, jaeger_has(ports[1], trace_id, &spans));
    expect_spans(spans);
    json_decref(spans);
    struct http_reply r = e2e_get(ports[1], "/api/services");
    cr_expect(r.status == 200 && strstr(r.body.data, "\"torre\""), "%d %s", r.status, r.body.data);
    http_reply_free(&r);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "atalaya_spool_records") == 0);
    stop(jaeger);
    e2e_end(e);
}
