/* What an answer cost: in its trace, in the metrics, in the log and on disk; and nowhere when nobody knows. */
#include "tests/e2e/harness.h"

#include <stdio.h>
#include <sys/wait.h>

TestSuite(cost, .fini = e2e_cleanup, .timeout = 120);

#define MODEL  "gpt-4o-mini-2024-07-18" /* as the fake answers */
#define TOKENS "atalaya_llm_tokens_total{kind=\"%s\",model=\"" MODEL "\"}"
#define COST   "atalaya_llm_cost_usd_total{model=\"" MODEL "\"}"
#define USAGE                                                                                                \
    "{\"prompt_tokens\":1000,\"completion_tokens\":500,\"total_tokens\":1500,"                               \
    "\"prompt_tokens_details\":{\"cached_tokens\":600,\"audio_tokens\":0},"                                  \
    "\"completion_tokens_details\":{\"reasoning_tokens\":200}}"

/* The second price of the same model is of a day that no test sees. */
static void write_prices_and(struct e2e *e, const char *more)
{
    char path[128];

    snprintf(path, sizeof path, "%s/prices.conf", e->dir);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs("# model input cached output from\n"
          "gpt-4o-mini-20* 0.15 0.075 0.60 2024-07-18\n"
          "gpt-4o-mini-20* 15 7.5 60 9999-01-01\n",
          f);
    fputs(more, f);
    fclose(f);
    e2e_env(e, "LLM_PRICES_FILE", "%s", path);
}

static void write_prices(struct e2e *e)
{
    write_prices_and(e, "");
}

/* One question; its trace, which is the caller's. */
static json_t *trace_of_answer(struct e2e *e)
{
    struct http_reply r = e2e_ask(e, "ana", "¿Cuánto cuesta?", NULL);
    json_t *answer = e2e_json(&r);

    cr_assert_eq(r.status, 200, "%s", r.body.data ? r.body.data : "");
    json_t *trace = e2e_trace(e, e2e_string(answer, "trace_id"));
    json_decref(answer);
    http_reply_free(&r);
    return trace;
}

static const json_t *generation_of(const json_t *trace)
{
    return json_array_get(json_object_get(trace, "observations"), 0);
}

static json_int_t usage_of(const json_t *generation, const char *key)
{
    const json_t *v = json_object_get(json_object_get(generation, "usageDetails"), key);

    return v ? json_integer_value(v) : -1;
}

static double tokens_metric(const struct e2e *e, const char *kind)
{
    char series[128];

    snprintf(series, sizeof series, TOKENS, kind);
    return e2e_metric(e->telemetry_port, series);
}

static void expect_usage(const json_t *g)
{
    cr_expect_eq(usage_of(g, "input"), 400);
    cr_expect_eq(usage_of(g, "input_cached_tokens"), 600);
    cr_expect_eq(usage_of(g, "output"), 300);
    cr_expect_eq(usage_of(g, "output_reasoning_tokens"), 200);
    cr_expect_eq(usage_of(g, "total"), 1500);
}

/* 400 at 0.15, 600 at 0.075 and 500 at 0.60 dollars a million. */
Test(cost, is_in_the_trace_the_metrics_and_the_log)
{
    struct e2e *e = e2e_new();

    write_prices(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"content\":\"poco\",\"usage\":" USAGE ",\"repeat\":2}]");
    e2e_start(e);
    for (int i = 1; i <= 2; i++) {
        json_t *trace = trace_of_answer(e);
        const json_t *costs = json_object_get(generation_of(trace), "costDetails");
        expect_usage(generation_of(trace));
        cr_expect_eq(json_object_size(costs), 1);
        cr_expect_float_eq(json_number_value(json_object_get(costs, "total")), 0.000405, 1e-15);
        E2E_WAIT(E2E_WAIT_SECONDS, tokens_metric(e, "input") == 400 * i);
        cr_expect_float_eq(e2e_metric(e->telemetry_port, COST), 0.000405 * i, 1e-15);
        cr_expect_eq(tokens_metric(e, "input_cached"), 600 * i);
        cr_expect_eq(tokens_metric(e, "output"), 300 * i);
        cr_expect_eq(tokens_metric(e, "reasoning"), 200 * i);
        json_decref(trace);
    }
    cr_expect(e2e_file_contains(e->out, "\"tokens\":1500,\"cost_usd\":0.000405,") ||
              e2e_file_contains(e->out, "\"tokens\":1500,\"cost_usd\":0.000405}"));
    e2e_end(e);
}

static void expect_no_cost(struct e2e *e)
{
    json_t *trace = trace_of_answer(e);

    cr_expect_eq(json_object_size(json_object_get(generation_of(trace), "costDetails")), 0, "%s",
                 json_dumps(generation_of(trace), 0));
    json_decref(trace);
}

Test(cost, is_not_made_up)
{
    static const char *const scripts[] = {
        "[{\"content\":\"a\",\"usage\":null}]",
        /* reasoning beside the output, as some count; tokens that have another price; another model */
        "[{\"content\":\"a\",\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":35,"
        "\"completion_tokens_details\":{\"reasoning_tokens\":20}}}]",
        "[{\"content\":\"a\",\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15,"
        "\"prompt_tokens_details\":{\"audio_tokens\":3}}}]",
        "[{\"object\":{\"model\":\"gpt-4o-mini\",\"choices\":[{\"message\":{\"content\":\"a\"}}],"
        "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}}]",
        "[{\"object\":{\"model\":\"" MODEL "\",\"choices\":[{\"message\":{\"content\":\"a\"}}],"
        "\"service_tier\":\"priority\","
        "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}}]",
    };
    struct e2e *e = e2e_new();

    write_prices(e);
    e2e_start(e);
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        e2e_tell(&e->openai, "/_admin/script", scripts[i]);
        expect_no_cost(e);
    }
    E2E_WAIT(E2E_WAIT_SECONDS,
             e2e_metric(e->telemetry_port,
                        "atalaya_llm_tokens_total{kind=\"input\",model=\"gpt-4o-mini\"}") == 10);
    cr_expect_eq(e2e_metric(e->telemetry_port, COST), -1);
    cr_expect_not(e2e_file_contains(e->out, "cost_usd"));
    e2e_end(e);
}

/* Of the calls whose usage is an estimate. */
static void add_estimates(json_t *trace, double *tokens, double *usd)
{
    json_t *o;
    size_t i;

    json_array_foreach(json_object_get(trace, "observations"), i, o)
    {
        const json_t *mark = json_object_get(json_object_get(o, "metadata"), "usage_estimated");
        if (!mark)
            continue;
        *tokens += (double)usage_of(o, "input");
        *usd += json_number_value(json_object_get(json_object_get(o, "costDetails"), "total"));
    }
    json_decref(trace);
}

/* P6: what the loser of two calls was given to read it has used, too. Langfuse and the counters agree; some of the quick
 * questions may have had a second call as well. */
Test(cost, of_both_calls_for_a_slow_question)
{
    static const char input[] = "atalaya_llm_tokens_total{kind=\"input\",model=\"gpt-4o-mini\"}";
    static const char estimated[] =
        "atalaya_llm_tokens_estimated_total{kind=\"input\",model=\"gpt-4o-mini\"}";
    static const char cost[] = "atalaya_llm_cost_usd_total{model=\"gpt-4o-mini\"}";
    struct e2e *e = e2e_new();
    double tokens = 0, usd = 0;

    write_prices_and(e, "gpt-4o-mini 0.15 0.075 0.60 2024-07-18\n");
    e2e_env(e, "LLM_HEDGE", "true");
    e2e_env(e, "LLM_WORKERS", "1");
    e2e_start(e);
    for (int i = 0; i < 40; i++)
        add_estimates(trace_of_answer(e), &tokens, &usd);
    double before = tokens;
    e2e_tell(&e->openai, "/_admin/script",
             "[{\"content\":\"tarde\",\"delay_ms\":8000},{\"content\":\"pronto\"}]");
    add_estimates(trace_of_answer(e), &tokens, &usd);
    cr_expect_gt(tokens, before);
    cr_expect_gt(usd, 0);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, input) == tokens);
    cr_expect_eq(e2e_metric(e->telemetry_port, estimated), tokens);
    cr_expect_float_eq(e2e_metric(e->telemetry_port, cost), usd, 1e-12);
    e2e_end(e);
}

/* The tokens are told apart with or without prices. */
Test(cost, without_a_table_there_is_none)
{
    struct e2e *e = e2e_new();

    e2e_tell(&e->openai, "/_admin/script", "[{\"content\":\"poco\",\"usage\":" USAGE "}]");
    e2e_start(e);
    json_t *trace = trace_of_answer(e);
    expect_usage(generation_of(trace));
    cr_expect_eq(json_object_size(json_object_get(generation_of(trace), "costDetails")), 0);
    json_decref(trace);
    E2E_WAIT(E2E_WAIT_SECONDS, tokens_metric(e, "reasoning") == 200);
    cr_expect_eq(e2e_metric(e->telemetry_port, COST), -1);
    cr_expect_not(e2e_file_contains(e->out, "cost_usd"));
    e2e_end(e);
}

/* A demo names a model, but nothing has been bought. */
Test(cost, of_a_demo_is_none)
{
    struct e2e *e = e2e_new();

    write_prices(e);
    e2e_env(e, "OPENAI_API_KEY", NULL);
    e2e_env(e, "OPENAI_DEMO_BASE_URL", "http://127.0.0.1:%u/v1", e->openai.port);
    e2e_start(e);
    expect_no_cost(e);
    e2e_end(e);
}

/* atalaya ARGV… ends with 78 and says that, in a file of its own: what check prints is no log. */
static void expect_bad_configuration(struct e2e *e, const char *const argv[], const char *says)
{
    char log[sizeof e->out];
    int status = 0;

    memcpy(log, e->out, sizeof log);
    snprintf(e->out, sizeof e->out, "%s/%s.said", e->dir, argv[0]);
    pid_t pid = e2e_launch(e, argv);
    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(pid, &status));
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 78, "%s: %#x", argv[0], (unsigned)status);
    cr_expect(e2e_file_contains(e->out, says) || e2e_file_contains(e->err, says), "%s", argv[0]);
    memcpy(e->out, log, sizeof log);
}

/* The start stops at a bad line, and a check names it before anything runs. */
Test(cost, a_bad_line_stops_the_start)
{
    struct e2e *e = e2e_new();
    char path[128], says[256];

    snprintf(path, sizeof path, "%s/bad.conf", e->dir);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs("# model input cached output from\ngpt-4o-mini 0.15 free 0.60 2024-07-18\n", f);
    fclose(f);
    e2e_env(e, "LLM_PRICES_FILE", "%s", path);
    snprintf(says, sizeof says, "LLM_PRICES_FILE=%s, line 2: a price is a number like 0.15", path);
    expect_bad_configuration(e, (const char *const[]){"check", NULL}, says);
    expect_bad_configuration(e, (const char *const[]){"run", NULL}, says);
    e2e_end(e);
}
