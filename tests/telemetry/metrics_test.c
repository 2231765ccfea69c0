/* The exposition, to the byte, and counters that survive (P10). */
#include "telemetry/metrics.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/limits.h"
#include "telemetry/account.h"
#include "telemetry/processes.h"
#include "tests/telemetry/support.h"

static struct buf page_in(const struct metrics *m, enum metrics_format format)
{
    struct buf out = BUF_INIT(METRIC_PAGE_MAX);

    metrics_print(m, format, &out);
    cr_assert_not(out.failed);
    return out;
}

static struct buf page(const struct metrics *m)
{
    return page_in(m, METRICS_TEXT);
}

static void expect_lines(const struct metrics *m, const char *text)
{
    struct buf out = page(m);

    cr_expect(strstr(out.data, text), "not there:\n%s\nbut:\n%s", text, out.data);
    buf_free(&out);
}

static void expect_none(const struct metrics *m, const char *text)
{
    struct buf out = page(m);

    cr_expect_null(strstr(out.data, text), "%s", text);
    buf_free(&out);
}

Test(metrics, numbers)
{
    static const struct {
        double v;
        const char *text;
    } cases[] = {
        {0, "0.0"},
        {3, "3.0"},
        {-2.5, "-2.5"},
        {-3, "-3.0"},
        {-0.0, "0.0"},
        {0.000123, "0.000123"},
        {0.1234567, "0.1234567"},
        {999999.999999, "999999.999999"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1e15, "1e+15"},
        {1234567890123456, "1.234567890123456e+15"},
        {100000.1, "100000.1"},
        {20, "20.0"},
        {0.05, "0.05"},
        {0.005, "0.005"},
        {0.1, "0.1"},
        {0.75, "0.75"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
        {0.0036624399999709567, "0.0036624399999709567"},
        {3.616393912000092, "3.616393912000092"},
        {6400, "6400.0"},
        {100000.5, "100000.5"},
        {999999, "999999.0"},
        {1000000, "1e+06"},
        {123456789, "1.23456789e+08"},
        {1795477748.5248852, "1.7954777485248852e+09"},
        {1e300, "1e+300"},
    };
    char out[METRIC_NUMBER_SIZE];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        metric_number(out, cases[i].v);
        cr_expect_str_eq(out, cases[i].text);
    }
    metric_number(out, strtod("inf", NULL));
    cr_expect_str_eq(out, "+Inf");
}

Test(metrics, a_question)
{
    struct metrics *m = metrics_new();
    struct event e = support_event(1);

    account_event(m, &e);
    expect_lines(m, "# HELP app_requests_total Total HTTP requests\n"
                    "# TYPE app_requests_total counter\n"
                    "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"} 1.0\n"
                    "# HELP app_requests_created Total HTTP requests\n"
                    "# TYPE app_requests_created gauge\n"
                    "app_requests_created{endpoint=\"/ask\",method=\"POST\",status=\"200\"} ");
    expect_lines(m, "# HELP app_request_latency_seconds Latency of HTTP requests in seconds\n"
                    "# TYPE app_request_latency_seconds histogram\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"0.005\",method=\"POST\"} 0.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"0.01\",method=\"POST\"} 0.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"0.025\",method=\"POST\"} 0.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"0.05\",method=\"POST\"} 0.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"0.075\",method=\"POST\"} 0.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"0.1\",method=\"POST\"} 0.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"0.25\",method=\"POST\"} 0.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"0.5\",method=\"POST\"} 0.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"0.75\",method=\"POST\"} 1.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"1.0\",method=\"POST\"} 1.0\n");
    expect_lines(m, "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"10.0\",method=\"POST\"} 1.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"20.0\",method=\"POST\"} 1.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"30.0\",method=\"POST\"} 1.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"60.0\",method=\"POST\"} 1.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"120.0\",method=\"POST\"} 1.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"300.0\",method=\"POST\"} 1.0\n"
                    "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"+Inf\",method=\"POST\"} 1.0\n"
                    "app_request_latency_seconds_count{endpoint=\"/ask\",method=\"POST\"} 1.0\n"
                    "app_request_latency_seconds_sum{endpoint=\"/ask\",method=\"POST\"} 0.75\n"
                    "# HELP app_request_latency_seconds_created Latency of HTTP requests in seconds\n"
                    "# TYPE app_request_latency_seconds_created gauge\n"
                    "app_request_latency_seconds_created{endpoint=\"/ask\",method=\"POST\"} ");
    expect_lines(m, "app_llm_latency_seconds_bucket{le=\"0.75\",model=\"gpt-4o-mini\"} 1.0\n");
    expect_lines(m, "app_llm_latency_seconds_sum{model=\"gpt-4o-mini\"} 0.6\n");
    expect_lines(m, "# HELP app_requests_in_progress In-progress HTTP requests\n"
                    "# TYPE app_requests_in_progress gauge\n"
                    "app_requests_in_progress 0.0\n");
    expect_lines(m, "app_llm_tokens_used_bucket{le=\"0.0\"} 0.0\n"
                    "app_llm_tokens_used_bucket{le=\"50.0\"} 1.0\n"
                    "app_llm_tokens_used_bucket{le=\"100.0\"} 1.0\n");
    expect_lines(m, "app_llm_tokens_used_count 1.0\napp_llm_tokens_used_sum 50.0\n");
    expect_lines(m, "atalaya_upstream_attempts_total{outcome=\"ok\",upstream=\"\"} 1.0\n");
    metrics_free(m);
}

Test(metrics, what_counts)
{
    struct metrics *m = metrics_new();
    struct event e = support_event(1);
    struct event_attempt a[] = {{.duration_us = 1000000, .outcome = str_of("http"), .status = 500},
                                {.duration_us = 2000000, .outcome = str_of("timeout")}};

    e.status = 0; /* the client left: no answer, but money was spent */
    account_event(m, &e);
    expect_none(m, "app_requests_total{");
    expect_lines(m, "app_llm_tokens_used_count 1.0\n");
    e = support_event(2);
    e.status = 502;
    e.has_usage = false;
    e.attempts = (struct list){a, 2};
    e.method = str_of("");
    account_event(m, &e);
    expect_lines(m, "app_requests_total{endpoint=\"/ask\",method=\"other\",status=\"502\"} 1.0\n");
    expect_lines(m, "app_llm_latency_seconds_count{model=\"gpt-4o-mini\"} 1.0\n");
    expect_lines(m, "app_llm_tokens_used_count 1.0\n");
    expect_lines(m, "atalaya_upstream_attempts_total{outcome=\"timeout\",upstream=\"\"} 1.0\n");
    metrics_free(m);
}

static void expect_open(const struct metrics *m, bool there, const char *text)
{
    struct buf out = page_in(m, METRICS_OPENMETRICS);

    cr_expect_eq(strstr(out.data, text) != NULL, there, "%s:\n%s\nin:\n%s", there ? "not there" : "there",
                 text, out.data);
    buf_free(&out);
}

#define ASKED    "{endpoint=\"/ask\",method=\"POST\",status=\"200\"}"
#define TOOK(le) "app_request_latency_seconds_bucket{endpoint=\"/ask\",le=\"" le "\",method=\"POST\"}"
#define CHAT     "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\","
#define TRACE_1  "trace_id=\"00000000000000000000000000000001\""

Test(metrics, openmetrics)
{
    struct metrics *m = metrics_new();
    struct event e = support_event(1);

    account_event(m, &e);
    expect_open(m, true,
                "# HELP app_requests Total HTTP requests\n"
                "# TYPE app_requests counter\n"
                "app_requests_total" ASKED " 1.0\n"
                "app_requests_created" ASKED " ");
    expect_open(m, false, "# TYPE app_requests_created");
    expect_open(m, false, "# TYPE app_requests_total");
    expect_open(m, true, TOOK("0.5") " 0.0\n");
    expect_open(m, true,
                TOOK("0.75") " 1.0 # {" TRACE_1
                             ",request_id=\"request-1\"} 0.75 1700000000.750\n" TOOK("1.0") " 1.0\n");
    expect_open(m, true,
                "app_request_latency_seconds_sum{endpoint=\"/ask\",method=\"POST\"} 0.75\n"
                "app_request_latency_seconds_created{endpoint=\"/ask\",method=\"POST\"} ");
    expect_open(m, true,
                "app_llm_latency_seconds_bucket{le=\"0.75\",model=\"gpt-4o-mini\"} 1.0 # {" TRACE_1
                ",request_id=\"request-1\"} 0.6 1700000000.700\n");
    expect_open(m, true, "# TYPE atalaya_uploads counter\n");
    expect_open(m, true,
                "# TYPE app_llm_tokens_used histogram\napp_llm_tokens_used_bucket{le=\"0.0\"} 0.0\n");
    expect_none(m, " # {");
    expect_none(m, "# EOF");
    struct buf out = page_in(m, METRICS_OPENMETRICS);
    cr_expect_str_eq(out.data + out.len - 6, "# EOF\n");
    cr_expect_eq(strstr(out.data, "# EOF\n"), out.data + out.len - 6, "once");
    buf_free(&out);
    metrics_free(m);
}

Test(metrics, exemplars)
{
    struct metrics *m = metrics_new();
    struct event e = support_event(1), other = {.kind = EVENT_REQUEST,
                                                .endpoint = str_of("/health"),
                                                .method = str_of("GET"),
                                                .status = 200,
                                                .start_us = 1700000000000000,
                                                .request_id = str_of("r")};
    char longest[80];

    account_event(m, &other); /* no trace, no exemplar */
    expect_open(m, false, " # {");

    account_event(m, &e);
    e = support_event(2);
    e.start_us += 1000000;
    account_event(m, &e); /* the last one counts, each bucket has its own */
    expect_open(m, true, "000002\",request_id=\"request-2\"} 0.75 1700000001.750\n");
    expect_open(m, false, "} 0.75 1700000000.750\n");
    e = support_event(1);
    e.duration_us = 2000000000;
    account_event(m, &e);
    expect_open(m, true, TOOK("0.75") " 2.0 # {");
    expect_open(m, true, TOOK("+Inf") " 3.0 # {" TRACE_1 ",request_id=\"request-1\"} 2000.0 ");

    /* Both ids only when they fit into 128 code points: 8 + 32 for the trace, 10 for the other name. */
    memset(longest, 'x', sizeof longest);
    longest[79] = '\0';
    e.request_id = str_of(longest);
    account_event(m, &e);
    expect_open(m, true, TOOK("+Inf") " 4.0 # {" TRACE_1 "} 2000.0 ");
    longest[78] = '\0';
    e.request_id = str_of(longest);
    account_event(m, &e);
    expect_open(m, true, longest);
    e.request_id = str_of("a\"\\\n");
    account_event(m, &e);
    expect_open(m, true, ",request_id=\"a\\\"\\\\\\n\"} 2000.0 ");
    e.request_id = str_of("bad \xff");
    account_event(m, &e);
    expect_open(m, true, TOOK("+Inf") " 7.0 # {" TRACE_1 "} 2000.0 ");
    metrics_free(m);
}

/* Clients name their scores: so many names and no more, and none without bound. */
Test(metrics, feedback_names_are_bounded)
{
    struct metrics *m = metrics_new();
    struct event e = support_feedback(1);
    char name[300];

    for (int i = 0; i < 3 * METRIC_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "score-%d", i);
        e.score_name = str_of(name);
        account_event(m, &e);
    }
    expect_lines(m, "atalaya_feedback_total{name=\"score-7\"} 1.0\n");
    expect_lines(m, "atalaya_feedback_total{name=\"other\"} 200.0\n");
    expect_lines(m, "atalaya_events_total{kind=\"feedback\"} 300.0\n");
    expect_none(m, "score-150");
    expect_none(m, "app_requests_total{");
    metrics_free(m);
    m = metrics_new();
    memset(name, 'n', sizeof name);
    e.score_name = (struct str){name, sizeof name};
    account_event(m, &e);
    name[METRIC_LABEL_MAX] = '\0';
    struct buf line = BUF_INIT(KIB);
    buf_printf(&line, "{name=\"%s\"} 1.0\n", name);
    expect_lines(m, line.data);
    buf_free(&line);
    metrics_free(m);
}

Test(metrics, labels_are_bounded_and_escaped)
{
    struct metrics *m = metrics_new();
    char name[300];

    metrics_observe(m, METRIC_LLM_LATENCY, METRIC_WITH("a\"b\\c\nd"), 1, NULL);
    expect_lines(m, "app_llm_latency_seconds_count{model=\"a\\\"b\\\\c\\nd\"} 1.0\n");
    metrics_observe(m, METRIC_LLM_LATENCY, METRIC_WITH("bad \xff"), 1, NULL);
    expect_lines(m, "app_llm_latency_seconds_count{model=\"other\"} 1.0\n");
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    metrics_observe(m, METRIC_LLM_LATENCY, METRIC_WITH(name), 1, NULL);
    snprintf(name + METRIC_LABEL_MAX, sizeof name - METRIC_LABEL_MAX, "\"} 1.0\n");
    expect_lines(m, name);
    for (int i = 0; i < 2 * METRIC_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "model-%d", i);
        metrics_observe(m, METRIC_LLM_LATENCY, METRIC_WITH(name), 1, NULL);
    }
    expect_lines(m, "model=\"model-50\"} 1.0\n");
    expect_none(m, "model-150");
    struct buf out = page(m);
    size_t series = 0;
    for (const char *at = out.data; (at = strstr(at, "app_llm_latency_seconds_count{")) != NULL; at++)
        series++;
    cr_expect_eq(series, METRIC_NAMES_MAX);
    buf_free(&out);
    metrics_free(m);
}

Test(metrics, survive_a_restart)
{
    char dir[SUPPORT_DIR_SIZE];
    struct metrics *m = metrics_new();

    support_dir(dir);
    struct spool *s = support_spool(dir, 1024 * (int64_t)MIB);
    account_begin(m);
    for (unsigned n = 1; n <= 50; n++) {
        struct event e = support_event(n);
        e.duration_us = n * 123457;
        account_event(m, &e);
    }
    metrics_observe(m, METRIC_LLM_LATENCY, METRIC_WITH("m\"2"), 1000, NULL);
    cr_expect(metrics_dirty(m));
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(metrics_save(m, s), 0);
    cr_assert_eq(spool_commit(s), 0);
    metrics_saved(m);
    cr_expect_not(metrics_dirty(m));
    struct buf before = page(m);
    metrics_free(m);
    spool_free(s);

    s = support_spool(dir, 1024 * (int64_t)MIB);
    m = metrics_new();
    account_begin(m);
    cr_assert_eq(metrics_load(m, s), 0);
    struct buf after = page(m);
    cr_expect_eq(strlen(before.data), strlen(after.data));
    /* Series that begin at 0 come first now: compare as sets of lines, by looking each up. */
    char *rest = before.data;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        cr_expect(strstr(after.data, line), "lost: %s", line);
    account_event(
        m, &(struct event){
               .kind = EVENT_REQUEST, .status = 200, .endpoint = str_of("/ask"), .method = str_of("POST")});
    expect_lines(m, "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"} 51.0\n");
    buf_free(&before);
    buf_free(&after);
    metrics_free(m);
    spool_free(s);
}

/* The kinds add up to all tokens; a model without a price has no series of costs. */
Test(metrics, tokens_and_costs)
{
    struct metrics *m = metrics_new();
    struct event e = support_event(1);

    account_event(m, &e);
    account_event(m, &e);
    expect_lines(m, "atalaya_llm_tokens_total{kind=\"input\",model=\"gpt-4o-mini\"} 30.0\n"
                    "atalaya_llm_tokens_total{kind=\"input_cached\",model=\"gpt-4o-mini\"} 10.0\n"
                    "atalaya_llm_tokens_total{kind=\"output\",model=\"gpt-4o-mini\"} 40.0\n"
                    "atalaya_llm_tokens_total{kind=\"reasoning\",model=\"gpt-4o-mini\"} 20.0\n");
    expect_lines(m, "atalaya_llm_cost_usd_total{model=\"gpt-4o-mini\"} 4e-05\n");
    e.model = str_of("stranger");
    e.has_cost = false;
    account_event(m, &e);
    e.has_cost = true;
    e.cost_usd = -1;
    account_event(m, &e);
    expect_lines(m, "atalaya_llm_tokens_total{kind=\"reasoning\",model=\"stranger\"} 20.0\n");
    expect_none(m, "atalaya_llm_cost_usd_total{model=\"stranger\"");
    e.has_usage = e.has_cost = false;
    e.model = str_of("silent");
    account_event(m, &e);
    expect_none(m, "kind=\"input\",model=\"silent\"");
    metrics_free(m);
}

/* Estimates are told apart, and OpenTelemetry's metric knows none of them. */
Test(metrics, estimated_tokens)
{
    struct metrics *m = metrics_new();
    struct event e = support_event(1);

    account_event(m, &e);
    e.usage_estimated = true;
    account_event(m, &e);
    expect_lines(m, "atalaya_llm_tokens_total{kind=\"output\",model=\"gpt-4o-mini\"} 40.0\n");
    expect_lines(m, "atalaya_llm_tokens_estimated_total{kind=\"input\",model=\"gpt-4o-mini\"} 15.0\n"
                    "atalaya_llm_tokens_estimated_total{kind=\"input_cached\",model=\"gpt-4o-mini\"} 5.0\n"
                    "atalaya_llm_tokens_estimated_total{kind=\"output\",model=\"gpt-4o-mini\"} 20.0\n"
                    "atalaya_llm_tokens_estimated_total{kind=\"reasoning\",model=\"gpt-4o-mini\"} 10.0\n");
    expect_lines(m, "app_llm_tokens_used_count 2.0\n");
    expect_lines(m, "gen_ai_client_token_usage_count{" CHAT "gen_ai_request_model=\"\",gen_ai_response_model="
                    "\"gpt-4o-mini\",gen_ai_token_type=\"input\"} 1.0\n");
    metrics_free(m);
}

Test(metrics, calls_that_were_repeated)
{
    struct metrics *m = metrics_new();
    struct event e = support_event(1);
    struct event_attempt a[] = {{.duration_us = 30000,
                                 .outcome = str_of("http"),
                                 .status = 429,
                                 .upstream = str_of("first"),
                                 .model = str_of("gpt-4o-mini")},
                                {.duration_us = 1000000,
                                 .outcome = str_of("stall_timeout"),
                                 .status = 200,
                                 .upstream = str_of("first"),
                                 .model = str_of("gpt-4o-mini")},
                                {.start_us = 1700000000000000,
                                 .duration_us = 2000000,
                                 .outcome = str_of("ok"),
                                 .status = 200,
                                 .upstream = str_of("second"),
                                 .model = str_of("big")}};

    e.attempts = (struct list){a, 3};
    e.model = str_of("big-2026");
    account_event(m, &e);
    expect_lines(m, "atalaya_upstream_attempts_total{outcome=\"http\",upstream=\"first\"} 1.0\n"
                    "atalaya_upstream_attempts_total{outcome=\"stall_timeout\",upstream=\"first\"} 1.0\n"
                    "atalaya_upstream_attempts_total{outcome=\"ok\",upstream=\"second\"} 1.0\n");
    expect_lines(m, "atalaya_upstream_retries_total{reason=\"http\"} 1.0\n"
                    "atalaya_upstream_retries_total{reason=\"stall_timeout\"} 1.0\n");
    expect_lines(m, "gen_ai_client_operation_duration_seconds_bucket{error_type=\"429\"," CHAT
                    "gen_ai_request_model=\"gpt-4o-mini\",gen_ai_response_model=\"\",le=\"0.04\"} 1.0\n");
    expect_lines(m, "gen_ai_client_operation_duration_seconds_sum{error_type=\"stall_timeout\"," CHAT
                    "gen_ai_request_model=\"gpt-4o-mini\",gen_ai_response_model=\"\"} 1.0\n");
    expect_lines(m, "gen_ai_client_operation_duration_seconds_sum{error_type=\"\"," CHAT
                    "gen_ai_request_model=\"big\",gen_ai_response_model=\"big-2026\"} 2.0\n");
    expect_lines(m, "gen_ai_client_token_usage_bucket{" CHAT "gen_ai_request_model=\"big\","
                    "gen_ai_response_model=\"big-2026\",gen_ai_token_type=\"output\",le=\"64.0\"} 1.0\n");
    expect_open(m, true, "le=\"2.56\"} 1.0 # {" TRACE_1 ",request_id=\"request-1\"} 2.0 1700000002.000\n");
    metrics_free(m);
}

/* A hedge that was faster than the call it was to help: nobody has repeated anything. */
Test(metrics, hedges_are_no_retries)
{
    struct metrics *m = metrics_new();
    struct event e = support_event(1);
    struct event_attempt a[] = {{.start_us = 1700000000500000,
                                 .duration_us = 100000,
                                 .outcome = str_of("ok"),
                                 .status = 200,
                                 .hedge = true,
                                 .model = str_of("fast")},
                                {.start_us = 1700000000000000,
                                 .duration_us = 600000,
                                 .outcome = str_of("cancelled"),
                                 .model = str_of("slow")}};

    e.attempts = (struct list){a, 2};
    account_event(m, &e);
    expect_lines(m, "atalaya_upstream_hedges_total{outcome=\"ok\"} 1.0\n");
    expect_none(m, "atalaya_upstream_retries_total{");
    expect_lines(m, "gen_ai_client_operation_duration_seconds_sum{error_type=\"cancelled\"," CHAT
                    "gen_ai_request_model=\"slow\",gen_ai_response_model=\"\"} 0.6\n");
    expect_lines(m, "gen_ai_client_token_usage_count{" CHAT
                    "gen_ai_request_model=\"fast\",gen_ai_response_model=\"gpt-4o-mini\",");
    metrics_free(m);
}

Test(metrics, failed_questions_by_error)
{
    struct metrics *m = metrics_new();
    struct event e = support_event(1);

    account_begin(m);
    expect_lines(m, "atalaya_failed_questions_total{error=\"undelivered\"} 0.0\n");
    account_event(m, &e);
    e.status = 502;
    e.error = str_of("undelivered");
    account_event(m, &e);
    e.trace_id = str_of(""); /* no question */
    account_event(m, &e);
    expect_lines(m, "atalaya_failed_questions_total{error=\"undelivered\"} 1.0\n");
    metrics_free(m);
}

/* What both calls have used counts, and the request is one. */
Test(metrics, the_loser_of_a_hedge_has_used_tokens)
{
    struct metrics *m = metrics_new();
    struct event e = support_event(1);
    struct event_attempt a[] = {
        {.outcome = str_of("cancelled"),
         .model = str_of("slow"),
         .prompt_tokens = 18,
         .completion_tokens = 2,
         .usage_estimated = true,
         .has_cost = true,
         .cost_usd = 0.25},
        {.outcome = str_of("ok"), .status = 200, .hedge = true, .model = str_of("fast")}};

    e.attempts = (struct list){a, 2};
    account_event(m, &e);
    expect_lines(m, "atalaya_llm_tokens_total{kind=\"input\",model=\"slow\"} 18.0\n");
    expect_lines(m, "atalaya_llm_tokens_estimated_total{kind=\"output\",model=\"slow\"} 2.0\n");
    expect_none(m, "atalaya_llm_tokens_estimated_total{kind=\"input\",model=\"gpt-4o-mini\"}");
    expect_lines(m, "atalaya_llm_cost_usd_total{model=\"slow\"} 0.25\n");
    expect_lines(m, "app_llm_tokens_used_sum 70.0\n");
    expect_lines(m, "app_llm_tokens_used_count 1.0\n");
    metrics_free(m);
}

/* What a client got, with the trace of the last answer that was cut or flagged. */
Test(metrics, answers_guardrails_and_scores)
{
    struct metrics *m = metrics_new();
    struct event e = support_event(1);

    account_begin(m);
    expect_lines(m, "atalaya_guardrail_answers_total{guardrail=\"max_words\"} 0.0\n");
    account_event(m, &e);
    e.truncated = true;
    e.first_token_us = 300000;
    account_event(m, &e);
    e = support_event(2);
    e.toxicity_safe = 1;
    e.cache = str_of("hit");
    account_event(m, &e);
    e.cache = str_of("shared");
    account_event(m, &e);
    expect_lines(m, "atalaya_answers_total{source=\"upstream\"} 2.0\n"
                    "atalaya_answers_total{source=\"cache\"} 1.0\n"
                    "atalaya_answers_total{source=\"shared\"} 1.0\n");
    expect_lines(m, "atalaya_guardrail_answers_total{guardrail=\"max_words\"} 1.0\n"
                    "atalaya_guardrail_answers_total{guardrail=\"toxicity\"} 2.0\n");
    expect_open(m, true,
                "atalaya_guardrail_answers_total{guardrail=\"toxicity\"} 2.0 # {" TRACE_1
                ",request_id=\"request-1\"} 1.0 1700000000.750\n");
    expect_lines(m, "atalaya_answer_score_bucket{le=\"0.8\",name=\"toxicity_safe\"} 2.0\n"
                    "atalaya_answer_score_bucket{le=\"1.0\",name=\"toxicity_safe\"} 4.0\n");
    expect_lines(m, "atalaya_first_token_seconds_count{model=\"gpt-4o-mini\"} 1.0\n");
    expect_lines(m, "atalaya_llm_cost_usd_total{model=\"gpt-4o-mini\"} 4e-05\n");
    expect_lines(m, "app_llm_tokens_used_count 2.0\n");
    expect_lines(m, "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"} 4.0\n");
    e = support_event(3); /* no answer, nothing to judge */
    e.status = 502;
    e.error = str_of("timeout");
    e.has_scores = false;
    account_event(m, &e);
    expect_lines(m, "atalaya_answers_total{source=\"upstream\"} 2.0\n");
    expect_lines(m, "atalaya_answer_score_count{name=\"toxicity_safe\"} 4.0\n");
    metrics_free(m);
}

Test(metrics, feedback_from_0_to_1_is_a_distribution)
{
    static const struct {
        const char *type;
        double value;
    } cases[] = {{"NUMERIC", 0.5},      {"NUMERIC", 5}, {"NUMERIC", -1}, {"BOOLEAN", 1},
                 {"CATEGORICAL", 0.25}, {"NUMERIC", 1}, {"BOOLEAN", 0}};
    struct metrics *m = metrics_new();
    struct event e = support_feedback(1);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        e.score_name = str_of("like");
        e.score_type = str_of(cases[i].type);
        e.score_value = cases[i].value;
        account_event(m, &e);
    }
    expect_lines(m, "atalaya_feedback_total{name=\"like\"} 7.0\n");
    expect_lines(m, "atalaya_feedback_score_bucket{le=\"0.0\",name=\"like\"} 1.0\n");
    expect_lines(m, "atalaya_feedback_score_count{name=\"like\"} 4.0\n"
                    "atalaya_feedback_score_sum{name=\"like\"} 2.5\n");
    metrics_free(m);
}

Test(metrics, workers_come_and_go)
{
    struct metrics *m = metrics_new();
    struct event e = {.kind = EVENT_WORKER, .pid = 7, .change = str_of("joined")};

    account_begin(m);
    account_event(m, &e);
    e.change = str_of("lost");
    account_event(m, &e);
    account_event(m, &e);
    expect_lines(m, "atalaya_worker_changes_total{change=\"joined\"} 1.0\n"
                    "atalaya_worker_changes_total{change=\"left\"} 0.0\n"
                    "atalaya_worker_changes_total{change=\"lost\"} 2.0\n");
    expect_lines(m, "atalaya_events_total{kind=\"worker\"} 3.0\n");
    metrics_free(m);
}

/* A name of n bytes that needs escapes; number i. */
static struct str hostile(char *out, size_t n, unsigned i)
{
    memset(out, '"', n);
    snprintf(out + n - 4, 5, "%04u", i);
    return (struct str){out, n};
}

/* As many series as peers can make, with the longest names that the wire lets through, in every bucket an exemplar. */
static void fill(struct metrics *m)
{
    char endpoint[65], method[17], upstream[65], outcome[33], model[METRIC_LABEL_MAX + 1];
    struct event_attempt a[2] = {{.outcome = str_of("ok")}, {.status = 0}};
    struct event f = support_feedback(1);

    for (unsigned i = 0; i < METRIC_SERIES_MAX * 20; i++) {
        struct event e = support_event(1);
        int64_t us = (int64_t)(1.1 * 5000 * (double)(1u << i % 20));
        e.model = hostile(model, sizeof model - 1, i / 20);
        e.endpoint = hostile(endpoint, sizeof endpoint - 1, i / 20);
        e.method = hostile(method, sizeof method - 1, i / 20);
        e.request_id = str_of("a-request-id-that-is-as-long-as-a-uuid");
        e.status = 100 + i / 20 % 900;
        e.truncated = true;
        e.usage_estimated = i % 2;
        e.prompt_tokens = e.completion_tokens = 1u << i % 20;
        a[1].outcome = hostile(outcome, sizeof outcome - 1, i / 20);
        a[0].upstream = a[1].upstream = hostile(upstream, sizeof upstream - 1, i / 20);
        a[0].start_us = a[1].start_us = e.start_us;
        a[0].duration_us = a[1].duration_us = e.duration_us = e.first_token_us = us;
        a[0].model = a[1].model = f.score_name = e.model;
        e.attempts = (struct list){a, 2};
        account_event(m, &e);
        account_event(m, &f);
    }
}

Test(metrics, the_page_has_room_for_all_series)
{
    struct metrics *m = metrics_new();

    fill(m);
    for (int format = 0; format < METRICS_FORMATS; format++) {
        struct buf out = page_in(m, format);
        buf_free(&out);
    }
    metrics_free(m);
}

Test(metrics, models_of_tokens_and_costs_are_bounded)
{
    struct metrics *m = metrics_new();
    struct event e = support_event(1);
    char name[24];

    for (int i = 0; i < METRIC_NAMES_MAX + 50; i++) {
        snprintf(name, sizeof name, "model-%d", i);
        e.model = str_of(name);
        account_event(m, &e);
    }
    expect_lines(m, "atalaya_llm_tokens_total{kind=\"reasoning\",model=\"model-99\"} 10.0\n");
    expect_lines(m, "atalaya_llm_tokens_total{kind=\"other\",model=\"other\"} 2500.0\n");
    expect_lines(m, "atalaya_llm_cost_usd_total{model=\"model-99\"} 2e-05\n");
    expect_lines(m, "atalaya_llm_cost_usd_total{model=\"other\"} 0.001");
    expect_none(m, "model-100");
    metrics_free(m);
}

/* Whoever writes files for an older or newer version: unknown names, other labels, other buckets. */
Test(metrics, what_another_version_kept)
{
    char dir[SUPPORT_DIR_SIZE];
    struct metrics *m = metrics_new();
    const struct spool_series kept[] = {
        {str_of("app_requests_total"),
         str_of("/ask\x1fPOST\x1f"
                "200"),
         5, 7, str_of("")},
        {str_of("app_requests_total"), str_of("/ask\x1fPOST"), 5, 7, str_of("")},
        {str_of("app_gone_total"), str_of("x"), 5, 7, str_of("")},
        {str_of("app_llm_latency_seconds"), str_of("m"), 5, 9, str_of("0.005:1 0.7:2 400.0:1 +Inf:1")},
        {str_of("app_llm_latency_seconds"), str_of("n"), 5, 9, str_of("rubbish")},
    };

    support_dir(dir);
    struct spool *s = support_spool(dir, 1024 * (int64_t)MIB);
    cr_assert_eq(spool_begin(s), 0);
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        cr_assert_eq(spool_put_series(s, &kept[i]), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_assert_eq(metrics_load(m, s), 0);
    expect_lines(m, "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"} 7.0\n# HELP "
                    "app_requests_created");
    expect_lines(m, "app_requests_created{endpoint=\"/ask\",method=\"POST\",status=\"200\"} 5.0\n");
    expect_none(m, "app_gone_total");
    expect_lines(m, "{le=\"0.5\",model=\"m\"} 1.0\n");
    expect_lines(m, "{le=\"0.75\",model=\"m\"} 3.0\n");
    expect_lines(m, "{le=\"300.0\",model=\"m\"} 3.0\n");
    expect_lines(m, "app_llm_latency_seconds_count{model=\"m\"} 5.0\n");
    metrics_free(m);
    spool_free(s);
}

Test(metrics, processes)
{
    struct metrics *m = metrics_new();

    processes_parse("supervisor 0 10 running 2026-11-24T04:00:00.000000Z 0 -\n"
                    "telemetry 0 11 ready 2026-11-24T04:00:00.000000Z 0 -\n"
                    "llm-worker 1 13 starting 2026-11-24T04:00:00.000000Z 4 signal:KILL more fields\n"
                    "nonsense\n",
                    m);
    expect_lines(m, "atalaya_process_up{index=\"0\",process=\"telemetry\"} 1.0\n"
                    "atalaya_process_up{index=\"1\",process=\"llm-worker\"} 0.0\n");
    expect_lines(m, "atalaya_process_restarts_total{index=\"1\",process=\"llm-worker\"} 4.0\n");
    expect_none(m, "process=\"supervisor\"");
    processes_parse("", m);
    expect_none(m, "atalaya_process_up{");
    processes_read("/nonexistent", m);
    expect_none(m, "atalaya_process_up{");
    expect_lines(m, "process_open_fds{index=\"0\",process=\"telemetry\"} ");
    metrics_free(m);
}

static double own(const struct metrics *m, const char *name)
{
    struct buf out = page(m);
    char series[100];

    snprintf(series, sizeof series, "\n%s{index=\"3\",process=\"gateway\"} ", name);
    const char *at = strstr(out.data, series);
    cr_assert(at, "%s", series);
    double v = strtod(at + strlen(series), NULL);
    buf_free(&out);
    return v;
}

Test(metrics, what_the_system_says_of_a_process)
{
    struct metrics *m = metrics_new();
    char status[128];

    snprintf(status, sizeof status, "gateway 3 %d ready 2026-11-24T04:00:00.000000Z 0 -\n", getpid());
    processes_parse(status, m);
    expect_none(m, "process=\"telemetry\"");
    double fds = own(m, "process_open_fds");
    int fd = dup(0);
    processes_parse(status, m);
    cr_expect_eq(own(m, "process_open_fds"), fds + 1);
    close(fd);
    cr_expect_eq(own(m, "process_max_fds"), (double)sysconf(_SC_OPEN_MAX));
    cr_expect_gt(own(m, "process_resident_memory_bytes"), 100000);
    cr_expect_gt(own(m, "process_virtual_memory_bytes"), own(m, "process_resident_memory_bytes"));
    cr_expect_geq(own(m, "process_cpu_seconds_total"), 0);
    cr_expect_leq(own(m, "process_start_time_seconds"), (double)time(NULL) + 1);
    cr_expect_gt(own(m, "process_start_time_seconds"), (double)time(NULL) - 3600);
    metrics_free(m);
}

/* Prometheus' own linter, where it is installed, has nothing to say. */
Test(metrics, promtool_is_silent)
{
    char dir[SUPPORT_DIR_SIZE], path[SUPPORT_DIR_SIZE + 16], command[256], said[4096];
    struct metrics *m = metrics_new();
    struct event e = support_event(1);

    if (system("command -v promtool >/dev/null") != 0)
        cr_skip("promtool is not installed");
    support_dir(dir);
    account_begin(m);
    account_event(m, &e);
    metrics_add(m, METRIC_UPLOADS, METRIC_WITH("ok", "traces"), 1);
    metrics_observe(m, METRIC_LLM_LATENCY, METRIC_WITH("a\"b\\c\nd ñ"), 1, NULL);
    processes_parse("telemetry 0 11 ready 2026-11-24T04:00:00.000000Z 0 -\n", m);
    struct buf out = page(m);
    snprintf(path, sizeof path, "%s/page", dir);
    FILE *f = fopen(path, "w");
    cr_assert(f && fputs(out.data, f) >= 0 && fclose(f) == 0);
    snprintf(command, sizeof command, "promtool check metrics <%s 2>&1", path);
    f = popen(command, "r");
    size_t n = fread(said, 1, sizeof said - 1, f);
    said[n] = '\0';
    cr_expect_eq(pclose(f), 0);
    cr_expect_str_empty(said);
    buf_free(&out);
    metrics_free(m);
}

/* docs/metrics.md is printed, not written. */
Test(metrics, document_is_up_to_date)
{
    char path[4096];
    static char there[64 * KIB];
    struct buf now = BUF_INIT(MIB);

    metric_document(&now);
    cr_assert(getenv("ATALAYA_SOURCE"));
    snprintf(path, sizeof path, "%s/docs/metrics.md", getenv("ATALAYA_SOURCE"));
    FILE *f = fopen(path, "r");
    cr_assert(f, "%s", path);
    there[fread(there, 1, sizeof there - 1, f)] = '\0';
    fclose(f);
    cr_expect_str_eq(there, now.data, "run: atalaya-telemetry --metrics-doc > docs/metrics.md");
    buf_free(&now);
}
