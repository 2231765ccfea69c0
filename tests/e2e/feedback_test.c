/* What clients say about answers, and that everybody calls a request by the same names. */
#include <signal.h>

#include "tests/e2e/harness.h"

TestSuite(feedback, .fini = e2e_cleanup, .timeout = 180);

#define CALLERS_TRACE "0af7651916cd43dd8448eb211c80319c"
#define CALLERS_SPAN  "b7ad6b7169203331"

/* A POST with more headers; the body of its answer, which is the caller's. */
static json_t *post(const struct e2e *e, const char *path, const char *headers, json_t *body, int status)
{
    struct http_client c = http_open(e->port);
    struct http_reply r;
    char *text = json_dumps(body, JSON_COMPACT);

    c.headers = headers;
    http_call(&c, "POST", path, str_of(text), &r);
    cr_assert_eq(r.status, status, "%s %d %s", path, r.status, r.body.data ? r.body.data : "");
    json_t *answer = e2e_json(&r);
    http_reply_free(&r);
    http_close(&c);
    free(text);
    json_decref(body);
    return answer;
}

static json_t *ask(const struct e2e *e, const char *headers)
{
    return post(e, "/ask", headers,
                json_pack("{s:s, s:s}", "user_id", "ana", "question", "¿Vale? " E2E_CANARY), 200);
}

/* The id of the score. */
static char *rate(const struct e2e *e, json_t *body)
{
    const char *trace = json_string_value(json_object_get(body, "trace_id"));
    char copy[64];

    snprintf(copy, sizeof copy, "%s", trace);
    json_t *answer = post(e, "/feedback", NULL, body, 202);
    cr_assert_str_eq(e2e_string(answer, "trace_id"), copy);
    char *id = strdup(e2e_string(answer, "id"));
    json_decref(answer);
    return id;
}

/* The scores of a trace: a JSON object by name, the caller's. */
static json_t *scores_of(const struct e2e *e, const char *trace_id)
{
    char path[96];
    json_t *by_name = json_object(), *s;
    size_t i;

    snprintf(path, sizeof path, "/_admin/scores?traceId=%s", trace_id);
    json_t *answer = e2e_admin(&e->langfuse, "GET", path, NULL);
    json_array_foreach(json_object_get(answer, "scores"), i, s)
        json_object_set(by_name, e2e_string(s, "name"), s);
    json_decref(answer);
    return by_name;
}

static void expect_score(const json_t *scores, const char *name, const char *id, const char *type)
{
    const json_t *s = json_object_get(scores, name);
    char now[28];

    cr_assert(s, "no %s in %s", name, json_dumps(scores, 0));
    cr_assert_str_eq(e2e_string(s, "id"), id);
    cr_assert_str_eq(e2e_string(s, "dataType"), type);
    cr_assert_eq(json_integer_value(json_object_get(s, "raw")), 1);
    clock_rfc3339(now, wall_us());
    cr_assert_lt(strcmp(e2e_string(s, "timestamp"), now), 0, "it has been given, not it will be");
    clock_rfc3339(now, wall_us() - (int64_t)180 * 1000000);
    cr_assert_gt(strcmp(e2e_string(s, "timestamp"), now), 0, "and lately");
}

/* P3: a score of each kind reaches the trace of the answer, under the id that the client was told. */
Test(feedback, reaches_the_trace)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    json_t *answer = ask(e, NULL);
    const char *trace = e2e_string(answer, "trace_id");
    char *stars = rate(e, json_pack("{s:s, s:s, s:f, s:s}", "trace_id", trace, "name", "stars", "value", 4.5,
                                    "comment", "casi \"bien\"\n"));
    char *like = rate(e, json_pack("{s:s, s:s, s:b}", "trace_id", trace, "name", "like", "value", 0));
    char *tone = rate(e, json_pack("{s:s, s:s, s:s, s:s}", "trace_id", trace, "name", "tone", "value", "seco",
                                   "data_type", "CATEGORICAL"));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "scores") == 5);
    json_t *scores = scores_of(e, trace);
    expect_score(scores, "stars", stars, "NUMERIC");
    expect_score(scores, "like", like, "BOOLEAN");
    expect_score(scores, "tone", tone, "CATEGORICAL");
    cr_assert_float_eq(json_number_value(json_object_get(json_object_get(scores, "stars"), "value")), 4.5, 0);
    cr_assert_str_eq(e2e_string(json_object_get(scores, "stars"), "comment"), "casi \"bien\"\n");
    cr_assert_float_eq(json_number_value(json_object_get(json_object_get(scores, "like"), "value")), 0, 0);
    cr_assert_str_eq(e2e_string(json_object_get(scores, "tone"), "value"), "seco");
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "atalaya_feedback_total{name=\"stars\"}") == 1);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "atalaya_uploaded_records_total") == 4);
    json_decref(scores);
    json_decref(answer);
    free(stars);
    free(like);
    free(tone);
    e2e_end(e);
}

/* P2, P3: like a record it survives telemetry's death while Langfuse is away, and it needs no trace that is known. */
Test(feedback, survives_telemetrys_death)
{
    static const char given[] = "atalaya_feedback_total{name=\"like\"}";
    struct e2e *e = e2e_new();

    e2e_tell(&e->langfuse, "/_admin/behaviour", "{\"down\":true}");
    e2e_start(e);
    char *id = rate(e, json_pack("{s:s, s:s, s:b}", "trace_id", CALLERS_TRACE, "name", "like", "value", 1));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, given) == 1);
    pid_t old = e2e_pid(e, "telemetry", 0);
    kill(old, SIGKILL);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_pid(e, "telemetry", 0) && e2e_pid(e, "telemetry", 0) != old);
    cr_assert_float_eq(e2e_metric(e->telemetry_port, given), 1, 0, "the counter died with the process");
    e2e_tell(&e->langfuse, "/_admin/behaviour", "{}");
    E2E_WAIT(60, e2e_stat(&e->langfuse, "scores") == 1);
    json_t *scores = scores_of(e, CALLERS_TRACE);
    expect_score(scores, "like", id, "BOOLEAN");
    cr_assert_eq(e2e_stat(&e->langfuse, "traces"), 0);
    json_decref(scores);
    free(id);
    e2e_end(e);
}

/* P9: what was accepted is not left behind by a stop. */
Test(feedback, term_uploads_it)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "LANGFUSE_FLUSH_INTERVAL", "60");
    e2e_start(e);
    for (int i = 0; i < 20; i++)
        free(rate(e, json_pack("{s:s, s:s, s:i}", "trace_id", CALLERS_TRACE, "name", "stars", "value", i)));
    cr_assert_eq(e2e_stop(e), 0);
    cr_assert_eq(e2e_stat(&e->langfuse, "scores_unique"), 20);
    e2e_end(e);
}

/* Two questions within one trace of their caller: both generations, each below the caller's span and with its scores. */
Test(feedback, questions_that_share_a_trace)
{
    static const char headers[] = "traceparent: 00-" CALLERS_TRACE "-" CALLERS_SPAN "-01\r\n";
    struct e2e *e = e2e_new();

    e2e_start(e);
    json_t *first = ask(e, headers), *second = ask(e, headers);
    cr_assert_str_eq(e2e_string(first, "trace_id"), CALLERS_TRACE);
    cr_assert_str_eq(e2e_string(second, "trace_id"), CALLERS_TRACE);
    cr_assert_str_neq(e2e_string(first, "generation_id"), e2e_string(second, "generation_id"));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "scores") == 4);
    json_t *trace = e2e_trace(e, CALLERS_TRACE), *o;
    size_t i;
    cr_assert_eq(json_array_size(json_object_get(trace, "observations")), 2);
    json_array_foreach(json_object_get(trace, "observations"), i, o)
    {
        cr_assert_str_eq(e2e_string(o, "parentObservationId"), CALLERS_SPAN);
        cr_assert(json_is_true(json_object_get(o, "isRootObservation")));
    }
    cr_assert_str_eq(e2e_string(trace, "input"), "¿Vale? " E2E_CANARY, "the trace has a root");
    cr_assert_eq(e2e_stat(&e->langfuse, "scores_raw"), 4);
    json_decref(trace);
    json_decref(first);
    json_decref(second);
    e2e_end(e);
}

#define OPENMETRICS                                                                                          \
    "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3\r\n"

static struct buf page(uint16_t port, const char *headers, const char *type)
{
    struct http_client c = http_open(port);
    struct http_reply r;
    char header[128];

    c.headers = headers;
    http_call(&c, "GET", "/metrics", (struct str){0}, &r);
    http_close(&c);
    cr_assert_eq(r.status, 200);
    cr_assert(http_header(&r, "Content-Type", header, sizeof header));
    cr_assert_str_eq(header, type);
    buf_free(&r.head);
    return r.body;
}

/* What the scrapes themselves change. */
static bool moves(const char *line)
{
    return strstr(line, "endpoint=\"/metrics\"") || strstr(line, "in_progress") || strstr(line, "process_") ||
           strstr(line, "atalaya_events_total") || strstr(line, "oldest_age");
}

static void expect_same(struct buf ours, struct buf theirs)
{
    char *a = ours.data, *b = theirs.data, *left, *right;

    do {
        do
            left = strsep(&a, "\n");
        while (left && moves(left));
        do
            right = strsep(&b, "\n");
        while (right && moves(right));
        cr_assert(left && right ? strcmp(left, right) == 0 : left == right, "%s\n%s", left ? left : "(end)",
                  right ? right : "(end)");
    } while (left);
    buf_free(&ours);
    buf_free(&theirs);
}

/* Both ports speak both formats, and say the same. */
Test(feedback, both_ports_show_the_same_page)
{
    static const char text[] = "text/plain; version=0.0.4; charset=utf-8";
    static const char open[] = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    struct e2e *e = e2e_new();

    e2e_start(e);
    json_decref(ask(e, NULL));
    free(rate(e, json_pack("{s:s, s:s, s:i}", "trace_id", CALLERS_TRACE, "name", "stars", "value", 5)));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "atalaya_uploaded_records_total") == 2);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->port, "app_requests_in_progress") == 1);
    expect_same(page(e->port, NULL, text), page(e->telemetry_port, NULL, text));
    expect_same(page(e->port, OPENMETRICS, open), page(e->telemetry_port, OPENMETRICS, open));
    e2e_end(e);
}

static void expect_generation(const struct e2e *e, const json_t *answer)
{
    json_t *trace = e2e_trace(e, e2e_string(answer, "trace_id"));
    const json_t *g = json_array_get(json_object_get(trace, "observations"), 0);

    cr_assert_str_eq(e2e_string(g, "id"), e2e_string(answer, "generation_id"));
    cr_assert_str_eq(e2e_string(json_object_get(g, "metadata"), "request_id"),
                     e2e_string(answer, "request_id"));
    json_decref(trace);
}

/* The ids in the answer, the log, the trace and the exemplars are the same, also when the client has made them. */
Test(feedback, one_name_everywhere)
{
    static const char name[] = "cliente/7:orden=42+a@b-_.x";
    struct e2e *e = e2e_new();
    char expected[512];

    e2e_start(e);
    json_t *answer = ask(e, "X-Request-ID: cliente/7:orden=42+a@b-_.x\r\ntraceparent: 00-" CALLERS_TRACE
                            "-" CALLERS_SPAN "-01\r\n");
    cr_assert_str_eq(e2e_string(answer, "request_id"), name);
    expect_generation(e, answer);
    snprintf(expected, sizeof expected, " # {trace_id=\"" CALLERS_TRACE "\",request_id=\"%s\"} ", name);
    struct buf out =
        page(e->telemetry_port, OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    size_t exemplars = 0;
    for (const char *at = out.data; (at = strstr(at, expected)) != NULL; at++)
        exemplars++;
    cr_assert_eq(exemplars, 3, "of the request, and of the provider's call under both its names");
    buf_free(&out);
    json_decref(answer);

    answer = ask(e, NULL);
    expect_generation(e, answer);
    cr_assert_eq(e2e_stop(e), 0);
    cr_assert(e2e_file_contains(e->err, e2e_string(answer, "request_id")) ||
              e2e_file_contains(e->out, e2e_string(answer, "request_id")));
    cr_assert(e2e_file_contains(e->err, name) || e2e_file_contains(e->out, name));
    json_decref(answer);
    e2e_end(e);
}
