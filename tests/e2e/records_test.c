/* What reaches Langfuse: all of it, right, and once. */
#include <signal.h>
#include <sys/wait.h>

#include "tests/e2e/harness.h"

TestSuite(records, .fini = e2e_cleanup, .timeout = 180);

/* One question; the body of the answer, which is the caller's. */
static json_t *ask(struct e2e *e, const char *user, const char *question, const char *max_words, int status)
{
    struct http_reply r = e2e_ask(e, user, question, max_words);
    json_t *o = e2e_json(&r);

    cr_assert_eq(r.status, status, "%d %s", r.status, r.body.data ? r.body.data : "");
    http_reply_free(&r);
    return o;
}

static void ask_some(struct e2e *e, int how_many)
{
    for (int i = 0; i < how_many; i++)
        json_decref(ask(e, "ana", "¿Llega?", NULL, 200));
}

static const json_t *the_generation(const json_t *trace)
{
    const json_t *list = json_object_get(trace, "observations");

    cr_assert_eq(json_array_size(list), 1, "%s", json_dumps(trace, 0));
    return json_array_get(list, 0);
}

static void expect_score(const json_t *scores, const char *trace_id, const char *name, double value)
{
    size_t i;
    json_t *s;

    json_array_foreach(scores, i, s)
    {
        if (strcmp(e2e_string(s, "name"), name) != 0)
            continue;
        cr_assert_str_eq(e2e_string(s, "traceId"), trace_id);
        cr_assert_float_eq(json_number_value(json_object_get(s, "value")), value, 1e-9, "%s",
                           json_dumps(s, 0));
        cr_assert_eq(json_integer_value(json_object_get(s, "raw")), 1);
        return;
    }
    cr_assert_fail("no score %s in %s", name, json_dumps(scores, 0));
}

static void expect_scores(struct e2e *e, const char *trace_id, double non_empty, double safe)
{
    char path[96];

    snprintf(path, sizeof path, "/_admin/scores?traceId=%s", trace_id);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "scores") >= 2);
    json_t *answer = e2e_admin(&e->langfuse, "GET", path, NULL);
    const json_t *scores = json_object_get(answer, "scores");
    cr_assert_eq(json_array_size(scores), 2, "%s", json_dumps(answer, 0));
    expect_score(scores, trace_id, "non_empty_answer", non_empty);
    expect_score(scores, trace_id, "toxicity_safe", safe);
    json_decref(answer);
}

static void expect_usage(const struct e2e *e, const json_t *generation)
{
    const json_t *usage = json_object_get(generation, "usageDetails");
    json_int_t input = json_integer_value(json_object_get(usage, "input"));
    json_int_t output = json_integer_value(json_object_get(usage, "output"));
    json_int_t total = json_integer_value(json_object_get(usage, "total"));

    cr_assert(input > 0 && output > 0 && total == input + output, "%s", json_dumps(usage, 0));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "app_llm_tokens_used_sum") == (double)total);
}

/* P3: the whole record of one question, as the contract describes it, and once. */
Test(records, the_trace_the_generation_and_two_scores)
{
    struct e2e *e = e2e_new();

    e2e_tell(&e->openai, "/_admin/defaults", "{\"content\":\"No seas IDIOTA ni quieras odiar a nadie\"}");
    e2e_start(e);
    json_t *answer = ask(e, "josé", "¿Qué es Langfuse?", "7", 200);
    json_t *trace = e2e_trace(e, e2e_string(answer, "trace_id"));
    const json_t *g = the_generation(trace);

    cr_assert_str_eq(e2e_string(answer, "answer"), "No seas IDIOTA ni quieras odiar a…");
    cr_assert_str_eq(e2e_string(trace, "name"), "qa_chat");
    cr_assert_str_eq(e2e_string(trace, "userId"), "josé");
    cr_assert_str_eq(e2e_string(trace, "input"), "¿Qué es Langfuse? " E2E_CANARY);
    cr_assert_str_eq(e2e_string(trace, "output"), e2e_string(answer, "answer"));
    cr_assert_str_eq(e2e_string(json_object_get(trace, "metadata"), "prompt_version"), "qa_enhanced_v1");
    cr_assert_str_eq(e2e_string(g, "id"), e2e_string(answer, "generation_id"));
    cr_assert_str_eq(e2e_string(g, "type"), "GENERATION");
    cr_assert_str_eq(e2e_string(g, "name"), "openai_chat_completion");
    cr_assert_eq(strncmp(e2e_string(g, "model"), "gpt-4o-mini", 11), 0);
    cr_assert_str_eq(e2e_string(g, "input"), "¿Qué es Langfuse? " E2E_CANARY);
    cr_assert_str_eq(e2e_string(g, "output"), e2e_string(answer, "answer"));
    cr_assert_str_eq(e2e_string(g, "level"), "DEFAULT");
    cr_assert_str_eq(e2e_string(json_object_get(g, "metadata"), "prompt_version"), "qa_enhanced_v1");
    cr_assert_eq(json_integer_value(json_object_get(g, "raw")), 1);
    expect_usage(e, g);
    expect_scores(e, e2e_string(answer, "trace_id"), 1.0, 0.6);
    json_decref(trace);
    json_decref(answer);
    e2e_end(e);
}

/* The trace exists also when the call fails; it says why, and nothing is scored. */
Test(records, a_failed_question_has_its_trace)
{
    struct e2e *e = e2e_new();

    e2e_tell(&e->openai, "/_admin/script", "[{\"status\":400}]");
    e2e_start(e);
    json_decref(ask(e, "ana", "¿Y si falla?", NULL, 502));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "traces") == 1);
    json_t *traces = e2e_traces(e);
    const json_t *trace = json_object_iter_value(json_object_iter(traces));
    const json_t *g = the_generation(trace);
    cr_assert_str_eq(e2e_string(trace, "userId"), "ana");
    cr_assert_str_eq(e2e_string(trace, "input"), "¿Y si falla? " E2E_CANARY);
    cr_assert_str_eq(e2e_string(g, "level"), "ERROR");
    cr_assert_gt(strlen(e2e_string(g, "statusMessage")), 0);
    json_decref(traces);
    cr_assert_eq(e2e_stop(e), 0);
    cr_assert_eq(e2e_stat(&e->langfuse, "scores"), 0);
    e2e_end(e);
}

static void expect_records_once(struct e2e *e, int64_t n)
{
    E2E_WAIT(60, e2e_stat(&e->langfuse, "traces") == n);
    E2E_WAIT(60, e2e_stat(&e->langfuse, "scores") == 2 * n);
    cr_assert_eq(e2e_stat(&e->langfuse, "spans_raw"), n);
    cr_assert_eq(e2e_stat(&e->langfuse, "scores_raw"), 2 * n);
}

/* P3, P5: Langfuse may be away for a while; nobody waits for it and nothing is lost. */
Test(records, langfuse_down_for_a_while)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    e2e_fake_stop(&e->langfuse);
    ask_some(e, 5);
    e2e_langfuse_start(e);
    expect_records_once(e, 5);
    e2e_end(e);
}

/* P3: refused for a moment is not refused. */
Test(records, langfuse_overloaded)
{
    struct e2e *e = e2e_new();

    e2e_tell(&e->langfuse, "/_admin/behaviour", "{\"status\":503,\"count\":2}");
    e2e_start(e);
    ask_some(e, 3);
    expect_records_once(e, 3);
    e2e_tell(&e->langfuse, "/_admin/behaviour", "{\"status\":429,\"retry_after\":1,\"count\":2}");
    ask_some(e, 3);
    expect_records_once(e, 6);
    e2e_end(e);
}

/* P3: when the answer is lost on the way, the very same is sent again: Langfuse merges it. */
Test(records, an_upload_whose_answer_is_lost)
{
    struct e2e *e = e2e_new();

    e2e_tell(&e->langfuse, "/_admin/behaviour", "{\"cut\":true,\"count\":1}");
    e2e_start(e);
    ask_some(e, 1);
    E2E_WAIT(60, e2e_stat(&e->langfuse, "scores") == 2);
    cr_assert_eq(e2e_stat(&e->langfuse, "traces"), 1);
    cr_assert_eq(e2e_stat(&e->langfuse, "spans_raw"), 2);
    cr_assert_eq(e2e_stat(&e->langfuse, "spans_unique"), 1);
    cr_assert_eq(e2e_stat(&e->langfuse, "spans_changed"), 0);
    e2e_end(e);
}

/* P2, P3: what is in the spool survives telemetry's death while Langfuse is away. */
Test(records, telemetry_killed_while_langfuse_is_down)
{
    static const char answered[] = "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"}";
    struct e2e *e = e2e_new();

    e2e_tell(&e->langfuse, "/_admin/behaviour", "{\"down\":true}");
    e2e_start(e);
    ask_some(e, 4);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, answered) == 4);
    pid_t old = e2e_pid(e, "telemetry", 0);
    kill(old, SIGKILL);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_pid(e, "telemetry", 0) && e2e_pid(e, "telemetry", 0) != old);
    cr_assert_float_eq(e2e_metric(e->telemetry_port, answered), 4, 1e-9, "the counter died with the process");
    e2e_tell(&e->langfuse, "/_admin/behaviour", "{}");
    expect_records_once(e, 4);
    e2e_end(e);
}

/* P3: without keys the records wait in the spool; with keys they go. */
Test(records, keys_that_come_later)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "LANGFUSE_PUBLIC_KEY", NULL);
    e2e_env(e, "LANGFUSE_SECRET_KEY", NULL);
    e2e_start(e);
    ask_some(e, 3);
    struct http_reply r = e2e_get(e->port, "/health");
    json_t *health = e2e_json(&r);
    cr_assert(json_is_false(json_object_get(health, "langfuse_enabled")), "%s", r.body.data);
    json_decref(health);
    http_reply_free(&r);
    cr_assert_eq(e2e_stop(e), 0);
    cr_assert_eq(e2e_stat(&e->langfuse, "requests"), 0, "uploaded without a key");

    e2e_env(e, "LANGFUSE_PUBLIC_KEY", "%s", E2E_LF_PUBLIC);
    e2e_env(e, "LANGFUSE_SECRET_KEY", "%s", E2E_LF_SECRET);
    e2e_start(e);
    expect_records_once(e, 3);
    e2e_end(e);
}
