/* Every Langfuse on its worst days, and a machine that goes down meanwhile: in the end everything is there (P2, P3). */
#include <signal.h>
#include <sys/wait.h>

#include "tests/e2e/harness.h"

TestSuite(langfuse, .fini = e2e_cleanup, .timeout = 280);

#define QUESTIONS 6

static const char counted[] = "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"}";

static void ask_some(struct e2e *e, int how_many)
{
    for (int i = 0; i < how_many; i++) {
        struct http_reply r = e2e_ask(e, "ana", "¿Llega?", NULL);
        cr_assert_eq(r.status, 200, "%d %s", r.status, r.body.data ? r.body.data : "");
        http_reply_free(&r);
    }
}

static bool nobody_left(const struct e2e *e)
{
    struct buf who = BUF_INIT(64u * 1024);
    bool none = e2e_survivors(e, &who) == 0;

    buf_free(&who);
    return none;
}

/* The power is gone. */
static void kill_all(struct e2e *e)
{
    struct e2e_child children[E2E_CHILDREN_MAX];
    size_t n = e2e_children(e, children);
    int status = 0;

    kill(e->supervisor, SIGKILL);
    for (size_t i = 0; i < n; i++)
        if (children[i].pid > 0)
            kill(children[i].pid, SIGKILL);
    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(e->supervisor, &status));
    e->supervisor = 0;
    E2E_WAIT(E2E_WAIT_SECONDS, nobody_left(e));
}

/* Repetitions are merged there: what was under way when the power went had perhaps arrived. */
static void expect_all(struct e2e *e, int64_t n)
{
    E2E_WAIT(90, e2e_stat(&e->langfuse, "traces") == n);
    E2E_WAIT(90, e2e_stat(&e->langfuse, "scores") == 2 * n);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "atalaya_spool_records") == 0);
    cr_assert_eq(e2e_metric(e->telemetry_port, "atalaya_dead_letters"), 0);
}

static void through_bad_days(const char *version, const char *behaviour)
{
    struct e2e *e = e2e_new();
    char set_version[64];

    snprintf(set_version, sizeof set_version, "{\"version\":\"%s\"}", version);
    e2e_tell(&e->langfuse, "/_admin/behaviour", set_version);
    e2e_tell(&e->langfuse, "/_admin/behaviour", behaviour);
    e2e_env(e, "LANGFUSE_TIMEOUT", "1");
    e2e_env(e, "LANGFUSE_FLUSH_INTERVAL", "0.05");
    e2e_start(e);
    ask_some(e, QUESTIONS);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, counted) == QUESTIONS);
    kill_all(e);
    cr_assert_eq(e2e_stat(&e->langfuse, "traces"), 0, "%s", behaviour);
    e2e_start(e);
    ask_some(e, QUESTIONS);
    e2e_tell(&e->langfuse, "/_admin/behaviour", "{}");
    expect_all(e, 2 * QUESTIONS);
    cr_assert_eq(e2e_metric(e->telemetry_port, counted), 2 * QUESTIONS);
    e2e_end(e);
}

Test(langfuse, away_for_the_whole_run)
{
    static const char *const versions[] = {"2.95.12", "3.40.0", "3.225.4", "4.16.0"};

    for (size_t i = 0; i < ARRAY_LEN(versions); i++)
        through_bad_days(versions[i], "{\"down\":true}");
}

Test(langfuse, bad_days_of_version_4)
{
    static const char *const behaviours[] = {"{\"status\":429,\"retry_after\":1}", "{\"status\":500}",
                                             "{\"stall\":true}"};

    for (size_t i = 0; i < ARRAY_LEN(behaviours); i++)
        through_bad_days("4.16.0", behaviours[i]);
}

Test(langfuse, bad_days_of_version_2)
{
    static const char *const behaviours[] = {"{\"status\":429,\"retry_after\":1}", "{\"status\":500}",
                                             "{\"stall\":true}"};

    for (size_t i = 0; i < ARRAY_LEN(behaviours); i++)
        through_bad_days("2.95.12", behaviours[i]);
}

/* A proxy lets little through: parcels are halved until they fit. */
Test(langfuse, small_requests_only)
{
    static const char *const versions[] = {"2.95.12", "4.16.0"};

    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct e2e *e = e2e_new();
        char behaviour[96];
        snprintf(behaviour, sizeof behaviour, "{\"version\":\"%s\",\"max_body\":3000}", versions[i]);
        e2e_tell(&e->langfuse, "/_admin/behaviour", behaviour);
        e2e_env(e, "LANGFUSE_FLUSH_AT", "50");
        e2e_env(e, "LANGFUSE_FLUSH_INTERVAL", "0.5");
        e2e_start(e);
        ask_some(e, 20);
        expect_all(e, 20);
        e2e_end(e);
    }
}

/* Langfuse is upgraded, first to a version that still takes batches beside OTLP, then to one that does not. */
Test(langfuse, three_turns_four_under_way)
{
    struct e2e *e = e2e_new();

    e2e_tell(&e->langfuse, "/_admin/behaviour", "{\"version\":\"3.40.0\"}");
    e2e_start(e);
    ask_some(e, QUESTIONS);
    E2E_WAIT(60, e2e_stat(&e->langfuse, "traces") == QUESTIONS);
    cr_assert_eq(e2e_stat(&e->langfuse, "spans_raw"), 0, "batches until now");
    e2e_tell(&e->langfuse, "/_admin/behaviour", "{\"version\":\"4.16.0\"}");
    ask_some(e, QUESTIONS);
    expect_all(e, 2 * QUESTIONS);
    cr_assert_eq(e2e_stat(&e->langfuse, "spans_raw"), QUESTIONS);
    e2e_end(e);
}

static int run(struct e2e *e, const char *first, const char *second, const char *third, struct buf *out)
{
    char path[512], run_dir[160], state_dir[160], env_file[160];
    const char *const argv[] = {path, first, second, third, NULL};
    const char *const env[] = {run_dir, state_dir, env_file, NULL};

    snprintf(path, sizeof path, "%s/atalaya", getenv("ATALAYA_BIN"));
    snprintf(run_dir, sizeof run_dir, "ATALAYA_RUN_DIR=%s", e->run_dir);
    snprintf(state_dir, sizeof state_dir, "ATALAYA_STATE_DIR=%s", e->state_dir);
    snprintf(env_file, sizeof env_file, "ATALAYA_ENV_FILE=/dev/null");
    buf_reset(out);
    return process_run(argv, env, (struct str){NULL, 0}, out);
}

/* What an operator does about a project that was full, or a key without rights: looks, mends, replays. */
Test(langfuse, dead_letters_by_command)
{
    struct e2e *e = e2e_new();
    struct buf out = BUF_INIT(1024u * 1024);

    e2e_tell(&e->langfuse, "/_admin/behaviour", "{\"status\":422,\"route\":\"otel\"}");
    e2e_start(e);
    ask_some(e, 3);
    E2E_WAIT(60, e2e_metric(e->telemetry_port, "atalaya_dead_letters") == 3);
    cr_assert_eq(run(e, "telemetry", "dead-letters", NULL, &out), 0, "%s", out.data);
    cr_assert(strstr(out.data, "REASON") && strstr(out.data, "refused  422 "), "%s", out.data);
    cr_assert_null(strstr(out.data, E2E_CANARY));
    cr_assert_eq(run(e, "telemetry", "replay", NULL, &out), 64, "%s", out.data);
    cr_assert_eq(run(e, "telemetry", "resurrect", NULL, &out), 64, "%s", out.data);
    e2e_tell(&e->langfuse, "/_admin/behaviour", "{}");
    cr_assert_eq(run(e, "telemetry", "replay", "--all", &out), 0, "%s", out.data);
    cr_assert(strstr(out.data, "3 dead letters will be sent again"), "%s", out.data);
    expect_all(e, 3);
    buf_free(&out);
    e2e_end(e);
}

/* A server that fails at one of them for ever, or a proxy that does not let it through: the others arrive at their pace,
 * and so does that one when the server is mended. */
Test(langfuse, one_record_that_always_fails)
{
    static const char *const behaviours[] = {
        "{\"status\":500,\"route\":\"otel\",\"containing\":\"veneno\"}",
        "{\"status\":403,\"route\":\"otel\",\"containing\":\"veneno\"}",
    };

    for (size_t i = 0; i < ARRAY_LEN(behaviours); i++) {
        struct e2e *e = e2e_new();
        e2e_tell(&e->langfuse, "/_admin/behaviour", behaviours[i]);
        e2e_env(e, "LANGFUSE_FLUSH_INTERVAL", "1");
        e2e_start(e);
        ask_some(e, 3);
        struct http_reply r = e2e_ask(e, "ana", "¿veneno?", NULL);
        cr_assert_eq(r.status, 200);
        http_reply_free(&r);
        ask_some(e, 3);
        E2E_WAIT(100, e2e_stat(&e->langfuse, "traces") == 6);
        E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "atalaya_spool_records") == 1);
        ask_some(e, 3);
        E2E_WAIT(100, e2e_stat(&e->langfuse, "traces") == 9);
        cr_assert_eq(e2e_metric(e->telemetry_port, "atalaya_dead_letters"), 0);
        e2e_tell(&e->langfuse, "/_admin/behaviour", "{}");
        expect_all(e, 10);
        e2e_end(e);
    }
}

Test(langfuse, endless_answers)
{
    struct e2e *e = e2e_new();

    e2e_tell(&e->langfuse, "/_admin/behaviour", "{\"padding\":12000000}");
    e2e_start(e);
    ask_some(e, 2);
    expect_all(e, 2);
    e2e_end(e);
}

/* P8: e2e_end() looks for both in the logs. */
Test(langfuse, a_server_that_repeats_what_it_is_sent)
{
    struct e2e *e = e2e_new();
    struct buf out = BUF_INIT(1024u * 1024);

    e2e_tell(&e->langfuse, "/_admin/behaviour",
             "{\"status\":400,\"route\":\"otel\",\"says\":\"{\\\"message\\\":\\\"Failed to parse '" E2E_CANARY
             "' of " E2E_LF_SECRET "\\\"}\"}");
    e2e_start(e);
    ask_some(e, 1);
    E2E_WAIT(60, e2e_metric(e->telemetry_port, "atalaya_dead_letters") == 1);
    cr_assert_eq(run(e, "telemetry", "dead-letters", NULL, &out), 0, "%s", out.data);
    cr_assert(strstr(out.data, "400 {\"message\":\"Failed to parse '…-…' of [key]\"}"), "%s", out.data);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_file_contains(e->out, "\"reason\":\"Failed to parse\""));
    buf_free(&out);
    e2e_end(e);
}

/* fake-langfuse is both, and refuses what is for the OTLP backend. Without that one nothing is sent to the other, and
 * nothing vanishes. */
Test(langfuse, a_destination_that_is_gone)
{
    static const char rejected[] = "atalaya_rejected_records_total{destination=\"otlp\",reason=\"refused\"}";
    struct e2e *e = e2e_new();
    struct buf out = BUF_INIT(1024u * 1024);

    e2e_tell(&e->langfuse, "/_admin/behaviour",
             "{\"status\":422,\"route\":\"otel\",\"containing\":\"gen_ai.provider.name\"}");
    e2e_env(e, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:%u/api/public/otel/v1/traces",
            e->langfuse.port);
    e2e_start(e);
    ask_some(e, 1);
    E2E_WAIT(60, e2e_metric(e->telemetry_port, rejected) == 1);
    E2E_WAIT(60, e2e_stat(&e->langfuse, "traces") == 1);
    cr_assert_eq(e2e_metric(e->telemetry_port, "atalaya_upload_enabled{destination=\"otlp\"}"), 1);
    cr_assert_eq(e2e_stop(e), 0);
    e2e_env(e, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", NULL);
    e2e_start(e);
    cr_assert_eq(e2e_metric(e->telemetry_port, "atalaya_upload_enabled{destination=\"otlp\"}"), 0);
    cr_assert_eq(run(e, "telemetry", "replay", "--all", &out), 0, "%s", out.data);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_file_contains(e->out, "dead letters stay: the destination"));
    cr_assert_eq(run(e, "telemetry", "dead-letters", NULL, &out), 0, "%s", out.data);
    cr_assert(strstr(out.data, "  otlp      refused  422 "), "%s", out.data);
    cr_assert_eq(e2e_metric(e->telemetry_port, "atalaya_dead_letters"), 1);
    cr_assert_eq(e2e_stat(&e->langfuse, "spans_raw"), 1);
    buf_free(&out);
    e2e_end(e);
}

/* CAPTURE_CONTENT and REDACT: not in the spool, not in Langfuse; the client's answer is whole. */
Test(langfuse, what_is_taken_out_is_nowhere)
{
    static const struct {
        const char *capture, *input, *output;
    } cases[] = {
        {"full", "Soy [email], tarjeta [card] " E2E_CANARY, "escribe a [email]"},
        {"none", NULL, NULL},
        {"hashed", "hmac-sha256:", "hmac-sha256:"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct e2e *e = e2e_new();
        e2e_tell(&e->openai, "/_admin/defaults", "{\"content\":\"escribe a eva@ejemplo.es\"}");
        e2e_tell(&e->langfuse, "/_admin/behaviour", "{\"down\":true}");
        e2e_env(e, "CAPTURE_CONTENT", "%s", cases[i].capture);
        e2e_env(e, "CAPTURE_HASH_KEY", "0123456789abcdef-e2e");
        e2e_env(e, "REDACT", "email,card");
        e2e_start(e);
        struct http_reply r = e2e_ask(e, "ana", "Soy ana@ejemplo.es, tarjeta 4111 1111 1111 1111", NULL);
        json_t *answer = e2e_json(&r);
        cr_assert_str_eq(e2e_string(answer, "answer"), "escribe a eva@ejemplo.es");
        E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, counted) == 1);
        cr_assert_not(e2e_tree_contains(e->state_dir, "@ejemplo.es"));
        cr_assert_not(e2e_tree_contains(e->state_dir, "4111 1111"));
        cr_assert_eq(e2e_tree_contains(e->state_dir, E2E_CANARY), i == 0);
        e2e_tell(&e->langfuse, "/_admin/behaviour", "{}");
        json_t *trace = e2e_trace(e, e2e_string(answer, "trace_id"));
        const char *input = json_string_value(json_object_get(trace, "input"));
        const char *output = json_string_value(json_object_get(trace, "output"));
        if (cases[i].input) {
            cr_assert(input && strncmp(input, cases[i].input, strlen(cases[i].input)) == 0, "%s", input);
            cr_assert(output && strncmp(output, cases[i].output, strlen(cases[i].output)) == 0, "%s", output);
        } else {
            cr_assert(!input && !output, "%s", json_dumps(trace, 0));
        }
        json_decref(trace);
        json_decref(answer);
        http_reply_free(&r);
        e2e_end(e);
    }
}
