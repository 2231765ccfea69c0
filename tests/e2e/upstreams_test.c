/* Several providers behind one question: who is asked, and who when that one fails. */
#include "tests/e2e/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/e2e/load.h"

#define KEY "sk-e2e-other-77c1f0b2aa"

TestSuite(upstreams, .fini = e2e_cleanup, .timeout = 120);

/* Two of them, "first" and "second"; `first` and `second` say more about them, as members of JSON objects. */
static struct e2e *two(const char *auth, const char *first, const char *second)
{
    struct e2e *e = e2e_new();
    char path[128];

    e2e_other_start(e, auth);
    snprintf(path, sizeof path, "%s/upstreams.json", e->dir);
    FILE *f = fopen(path, "w");
    cr_assert(f);
    fprintf(f,
            "{\"upstreams\":[{\"name\":\"first\",\"base_url\":\"http://127.0.0.1:%u/v1\",\"key\":"
            "\"OPENAI_API_KEY\"%s},{\"name\":\"second\",\"base_url\":\"http://127.0.0.1:%u/v1/\"%s}]}",
            e->openai.port, first, e->other.port, second);
    cr_assert_eq(fclose(f), 0);
    e2e_env(e, "LLM_UPSTREAMS_FILE", "%s", path);
    e2e_env(e, "LLM_KEY_OTHER", KEY);
    e2e_env(e, "LLM_WORKERS", "1");
    e2e_tell(&e->openai, "/_admin/defaults", "{\"content\":\"de la primera\"}");
    e2e_tell(&e->other, "/_admin/defaults", "{\"content\":\"de la segunda\"}");
    return e;
}

static struct e2e *primary_and_spare(void)
{
    struct e2e *e = two("bearer", "", ",\"priority\":1,\"key\":\"LLM_KEY_OTHER\"");

    e2e_env(e, "LLM_FIRST_BYTE_TIMEOUT_MS", "500");
    e2e_start(e);
    return e;
}

/* The trace of one question that is answered. */
static json_t *answered(struct e2e *e, const char *text)
{
    struct http_reply r = e2e_ask(e, "ana", "¿Quién?", NULL);
    json_t *o = e2e_json(&r);

    cr_assert_eq(r.status, 200, "%s", r.body.data);
    cr_assert_str_eq(e2e_string(o, "answer"), text);
    json_t *trace = e2e_trace(e, e2e_string(o, "trace_id"));
    json_decref(o);
    http_reply_free(&r);
    return trace;
}

/* Names of the upstreams that were called, in order: from the attempts, or of a single one from the generation. */
static void expect_asked(const json_t *trace, const char *want)
{
    char names[20][64] = {""}, got[512] = "";
    const char *only = "";
    size_t i, n = 0;
    json_t *o;

    json_array_foreach(json_object_get(trace, "observations"), i, o)
    {
        const json_t *m = json_object_get(o, "metadata");
        const json_t *at = json_object_get(m, "attempt");
        int64_t place =
            json_is_string(at) ? strtoll(json_string_value(at), NULL, 10) : json_integer_value(at);
        if (place > 0 && place < 20)
            snprintf(names[place], sizeof names[place], "%s", e2e_string(m, "upstream"));
        else
            only = e2e_string(m, "upstream");
    }
    for (i = 1; i < 20 && *names[i]; i++)
        n += (size_t)snprintf(got + n, sizeof got - n, "%s%s", i > 1 ? " " : "", names[i]);
    cr_expect_str_eq(n ? got : only, want, "%s", n ? got : only);
}

static void expect_calls(const struct e2e *e, int first, int second)
{
    cr_expect_eq(e2e_stat(&e->openai, "requests"), first, "%d", (int)e2e_stat(&e->openai, "requests"));
    cr_expect_eq(e2e_stat(&e->other, "requests"), second, "%d", (int)e2e_stat(&e->other, "requests"));
}

Test(upstreams, the_first_priority_is_asked)
{
    struct e2e *e = primary_and_spare();
    json_t *trace = answered(e, "de la primera");

    expect_asked(trace, "first");
    expect_calls(e, 1, 0);
    json_decref(trace);
    e2e_end(e);
}

Test(upstreams, exhausted_retries_fail_over)
{
    struct e2e *e = primary_and_spare();

    e2e_tell(&e->openai, "/_admin/script", "[{\"status\":503,\"repeat\":3}]");
    json_t *trace = answered(e, "de la segunda");
    expect_asked(trace, "first first first second");
    expect_calls(e, 3, 1);
    json_decref(trace);
    e2e_end(e);
}

/* An empty account is left alone for a while. */
Test(upstreams, an_exhausted_quota_fails_over_at_once)
{
    struct e2e *e = primary_and_spare();

    e2e_tell(&e->openai, "/_admin/script", "[{\"error\":\"quota\"}]");
    json_t *trace = answered(e, "de la segunda");
    expect_asked(trace, "first second");
    json_decref(trace);
    trace = answered(e, "de la segunda");
    expect_asked(trace, "second");
    expect_calls(e, 1, 2);
    json_decref(trace);
    e2e_end(e);
}

/* Who answers nobody is not waited for twice. */
Test(upstreams, a_silent_one_and_one_that_is_down)
{
    struct e2e *e = primary_and_spare();

    e2e_tell(&e->openai, "/_admin/script", "[{\"stall\":true}]");
    json_t *trace = answered(e, "de la segunda");
    expect_asked(trace, "first second");
    expect_calls(e, 1, 1);
    json_decref(trace);
    e2e_fake_stop(&e->openai);
    trace = answered(e, "de la segunda");
    expect_asked(trace, "first second");
    json_decref(trace);
    e2e_end(e);
}

/* What is wrong with the question is wrong everywhere. */
Test(upstreams, a_bad_request_goes_nowhere_else)
{
    struct e2e *e = primary_and_spare();

    e2e_tell(&e->openai, "/_admin/script", "[{\"error\":\"context\"}]");
    struct http_reply r = e2e_ask(e, "ana", "¿Quién?", NULL);
    cr_expect_eq(r.status, 502);
    http_reply_free(&r);
    expect_calls(e, 1, 0);
    e2e_end(e);
}

Test(upstreams, weights_share_the_questions)
{
    struct e2e *e = two("none", ",\"weight\":1", ",\"weight\":3");

    e2e_start(e);
    for (int i = 0; i < 60; i++) {
        struct http_reply r = e2e_ask(e, "ana", "¿Quién?", NULL);
        cr_assert_eq(r.status, 200, "%s", r.body.data);
        http_reply_free(&r);
    }
    int64_t first = e2e_stat(&e->openai, "requests"), second = e2e_stat(&e->other, "requests");
    cr_expect_eq(first + second, 60);
    cr_expect(first > 0 && second > first, "%d and %d", (int)first, (int)second);
    e2e_end(e);
}

static json_t *call_to_the_other(const struct e2e *e)
{
    json_t *log = e2e_admin(&e->other, "GET", "/_admin/requests", NULL);
    json_t *call = json_incref(json_array_get(json_object_get(log, "requests"), 0));

    json_decref(log);
    return call;
}

/* The fake refuses what Azure would: a key in Authorization, no api-version. */
Test(upstreams, azure)
{
    struct e2e *e =
        two("azure", ",\"priority\":1",
            ",\"auth\":\"api-key\",\"key\":\"LLM_KEY_OTHER\",\"query\":\"api-version=2024-10-21\","
            "\"model\":\"gpt-4o\"");

    e2e_start(e);
    json_t *trace = answered(e, "de la segunda");
    json_t *call = call_to_the_other(e);
    json_t *body = json_loads(e2e_string(call, "body"), 0, NULL);

    cr_expect_str_eq(e2e_string(call, "path"), "/v1/chat/completions");
    cr_expect_str_eq(e2e_string(call, "query"), "api-version=2024-10-21");
    cr_expect(json_object_get(json_object_get(call, "headers"), "api-key"));
    cr_expect_null(json_object_get(json_object_get(call, "headers"), "authorization"));
    cr_expect_str_eq(e2e_string(body, "model"), "gpt-4o");
    cr_expect(!e2e_file_contains(e->out, KEY));
    json_decref(body);
    json_decref(call);
    json_decref(trace);
    e2e_end(e);
}

/* A server of one's own has no key, and is sent none. */
Test(upstreams, no_key)
{
    struct e2e *e = two("none", ",\"priority\":1", "");

    e2e_start(e);
    json_decref(answered(e, "de la segunda"));
    json_t *call = call_to_the_other(e);
    cr_expect_null(json_object_get(json_object_get(call, "headers"), "authorization"));
    cr_expect_null(json_object_get(json_object_get(call, "headers"), "api-key"));
    json_decref(call);
    e2e_end(e);
}

/* P8: the list is shown, the keys are not; a name that a key is given by is no misspelt one. */
Test(upstreams, check_shows_them)
{
    struct e2e *e = two("bearer", "", ",\"key\":\"LLM_KEY_OTHER\"");
    int status;
    pid_t pid = e2e_launch(e, (const char *const[]){"check", NULL});

    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(pid, &status));
    e->supervisor = 0;
    cr_expect(e2e_file_contains(e->out, "upstream second"));
    cr_expect(e2e_file_contains(e->out, "(set, 23 bytes)"));
    cr_expect(!e2e_file_contains(e->out, KEY) && !e2e_file_contains(e->err, KEY));
    cr_expect(!e2e_file_contains(e->out, "LLM_KEY_OTHER is read by no program") &&
              !e2e_file_contains(e->err, "LLM_KEY_OTHER is read by no program"));
    unlink(e->out); /* it is no log */
    e2e_end(e);
}

Test(upstreams, a_base_url_that_is_the_whole_endpoint_is_told)
{
    struct e2e *e = e2e_new();
    int status = 0;

    e2e_env(e, "OPENAI_BASE_URL", "http://127.0.0.1:1/v1/chat/completions");
    pid_t pid = e2e_launch(e, (const char *const[]){"check", NULL});
    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(pid, &status));
    e->supervisor = 0;
    cr_expect_eq(WEXITSTATUS(status), 78);
    cr_expect(e2e_file_contains(e->out, "it ends before /chat/completions, which is added to it"));
    unlink(e->out); /* it is no log */
    e2e_end(e);
}

/* Asks one question; the error of its 502, "" when it was answered. The caller's. */
static char *error_of_asking(const struct e2e *e)
{
    struct http_reply r = e2e_ask(e, "ana", "¿Quién?", NULL);
    json_t *o = e2e_json(&r);
    char *error = strdup(r.status == 200 ? "" : e2e_string(o, "error"));

    json_decref(o);
    http_reply_free(&r);
    return error;
}

static bool asking_says(const struct e2e *e, const char *want)
{
    char *error = error_of_asking(e);
    bool same = strcmp(error, want) == 0;

    free(error);
    return same;
}

static bool ready(const struct e2e *e, int status, const char *text)
{
    struct http_reply r = e2e_get(e->port, "/readyz");
    bool yes = r.status == status && strstr(r.body.data, text);

    http_reply_free(&r);
    return yes;
}

static bool health_says(const struct e2e *e, const char *text)
{
    struct http_reply r = e2e_get(e->port, "/health");
    bool yes = r.status == 200 && strstr(r.body.data, text);

    http_reply_free(&r);
    return yes;
}

/* Two workers learn by themselves that the only provider is down, and that it is back. */
Test(upstreams, a_breaker_opens_and_closes_again)
{
    static const char state[] = "atalaya_upstream_breaker_state{upstream=\"openai\"}";
    static const char down[] = "atalaya_workers{state=\"down\"}";
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_BREAKER_FAILURES", "3");
    e2e_env(e, "LLM_WORKERS", "2");
    e2e_start(e);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, state) == 0);
    cr_expect(health_says(e, "\"upstreams_failing\":false"));
    e2e_tell(&e->openai, "/_admin/defaults", "{\"fail\":{\"500\":1.0}}");
    E2E_WAIT(E2E_WAIT_SECONDS, (free(error_of_asking(e)), ready(e, 503, "Every provider is failing")));
    E2E_WAIT(E2E_WAIT_SECONDS, (free(error_of_asking(e)), health_says(e, "\"upstreams_failing\":true")));
    E2E_WAIT(E2E_WAIT_SECONDS, asking_says(e, "upstream_down"));
    E2E_WAIT(E2E_WAIT_SECONDS, (free(error_of_asking(e)), e2e_metric(e->telemetry_port, state) == 2));
    E2E_WAIT(E2E_WAIT_SECONDS, (free(error_of_asking(e)), e2e_metric(e->telemetry_port, down) == 2));
    cr_expect(e2e_file_contains(e->out, "it is left alone for a while"));

    e2e_tell(&e->openai, "/_admin/reset", NULL);
    E2E_WAIT(60, asking_says(e, ""));
    E2E_WAIT(60, ready(e, 200, "ready"));
    /* One worker is enough for one question at a time: the other may still wait for its try. */
    E2E_WAIT(60, (free(error_of_asking(e)), e2e_metric(e->telemetry_port, state) < 2));
    cr_expect(e2e_file_contains(e->out, "the upstream answers again"));
    e2e_end(e);
}

/* A key that is wrong, a request that is bad and a client who leaves are nobody's outage. */
Test(upstreams, what_is_no_fault_of_theirs_opens_nothing)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_BREAKER_FAILURES", "3");
    e2e_env(e, "LLM_WORKERS", "1");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script",
             "[{\"status\":400,\"repeat\":2},{\"status\":401,\"repeat\":2},{\"status\":404,\"repeat\":2}]");
    for (int i = 0; i < 6; i++)
        cr_expect(!asking_says(e, "upstream_down"));
    cr_expect(asking_says(e, ""));
    e2e_end(e);
}

static unsigned times_in(const char *path, const char *text)
{
    char line[16384];
    unsigned n = 0;
    FILE *f = fopen(path, "r");

    cr_assert_not_null(f);
    while (fgets(line, sizeof line, f))
        n += strstr(line, text) != NULL;
    fclose(f);
    return n;
}

#define REFUSED_BY(name) "atalaya_upstream_key_refused{upstream=\"" name "\"}"

/* A key that is wrong is told once, by the name of its variable, and a service without any other is not ready. */
Test(upstreams, a_key_that_is_refused)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_WORKERS", "1");
    e2e_start(e);
    cr_expect(ready(e, 200, "{\"status\":\"ready\"}"));
    e2e_tell(&e->openai, "/_admin/defaults", "{\"fail\":{\"invalid_api_key\":1.0}}");
    for (int i = 0; i < 3; i++)
        cr_expect(asking_says(e, "not_authorized"));
    E2E_WAIT(E2E_WAIT_SECONDS, ready(e, 503, "No provider can be asked; these refuse the key: openai"));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, REFUSED_BY("openai")) == 1);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "atalaya_workers{state=\"down\"}") == 1);
    cr_expect_eq(times_in(e->out, "refuses our key"), 1);
    cr_expect(e2e_file_contains(e->out, "into OPENAI_API_KEY (or the file that OPENAI_API_KEY_FILE names)"));

    e2e_tell(&e->openai, "/_admin/reset", NULL);
    cr_expect(asking_says(e, ""), "it is asked all the same");
    E2E_WAIT(E2E_WAIT_SECONDS, ready(e, 200, "{\"status\":\"ready\"}"));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, REFUSED_BY("openai")) == 0);
    cr_expect_eq(times_in(e->out, "takes our key again"), 1);
    e2e_end(e);
}

/* While there is another one, questions are answered, and /readyz tells. */
Test(upstreams, a_key_that_one_of_two_refuses)
{
    struct e2e *e = two("bearer", ",\"priority\":1", ",\"key\":\"LLM_KEY_OTHER\"");

    e2e_start(e);
    e2e_tell(&e->other, "/_admin/defaults", "{\"fail\":{\"invalid_api_key\":1.0}}");
    for (int i = 0; i < 3; i++)
        cr_expect(asking_says(e, ""));
    E2E_WAIT(E2E_WAIT_SECONDS, ready(e, 200, "{\"status\":\"ready\",\"key_refused_by\":\"second\"}"));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, REFUSED_BY("second")) == 1);
    cr_expect_eq(e2e_metric(e->telemetry_port, REFUSED_BY("first")), 0);
    cr_expect_eq(times_in(e->out, "refuses our key"), 1);
    cr_expect(e2e_file_contains(e->out, "into LLM_KEY_OTHER (or"));
    e2e_end(e);
}

Test(upstreams, an_open_breaker_fails_over_without_a_call)
{
    struct e2e *e = two("bearer", "", ",\"priority\":1,\"key\":\"LLM_KEY_OTHER\"");

    e2e_env(e, "LLM_BREAKER_FAILURES", "3");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"status\":500,\"repeat\":1000}]");
    json_t *trace = answered(e, "de la segunda");
    expect_asked(trace, "first first first second");
    json_decref(trace);
    trace = answered(e, "de la segunda");
    expect_asked(trace, "second");
    expect_calls(e, 3, 2);
    json_decref(trace);
    cr_expect(ready(e, 200, "ready"));
    e2e_end(e);
}

/* The provider never has to say 429: its headers do. */
Test(upstreams, a_limit_in_the_headers_is_kept)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_WORKERS", "1");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script",
             "[{\"content\":\"una\",\"headers\":{\"x-ratelimit-limit-requests\":\"1\",\"x-ratelimit-"
             "remaining-requests\":"
             "\"0\",\"x-ratelimit-reset-requests\":\"1.5s\"}}]");
    cr_expect(asking_says(e, ""));
    int64_t before = clock_ms();
    cr_expect(asking_says(e, ""));
    cr_expect_geq(clock_ms() - before, 1000);
    e2e_end(e);
}

/* Two workers share the four calls that an upstream is allowed. */
Test(upstreams, max_concurrency_holds_across_workers)
{
    struct e2e *e = two("none", ",\"max_concurrency\":4", ",\"priority\":1,\"max_concurrency\":1");

    e2e_env(e, "LLM_WORKERS", "2");
    e2e_start(e);
    /* of one worker alone it would be 4 and 1 */
    E2E_WAIT(E2E_WAIT_SECONDS,
             e2e_metric(e->telemetry_port, "atalaya_upstream_calls_limit{upstream=\"second\"}") == 2 &&
                 e2e_metric(e->telemetry_port, "atalaya_upstream_calls_limit{upstream=\"first\"}") == 4);
    e2e_tell(&e->openai, "/_admin/defaults", "{\"latency_ms\":20}");
    struct load *l = load_start(e->port, 200, 20);
    const struct load_outcome *o = load_outcomes(l);
    for (int i = 0; i < 200; i++)
        cr_expect_eq(o[i].status, 200, "%d", o[i].status);
    cr_expect_leq(e2e_stat(&e->openai, "max_in_flight"), 4);
    cr_expect_leq(e2e_stat(&e->other, "max_in_flight"), 2);
    cr_expect_geq(e2e_stat(&e->openai, "max_in_flight"), 2);
    load_free(l);
    e2e_end(e);
}
