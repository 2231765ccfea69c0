/*
 * Bad days of a provider: how often it is called, what the client hears, what the trace says. The waits themselves are
 * tables with a clock of their own (tests/llm-worker/); here they are only held against their lower bounds.
 */
#include "tests/e2e/harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

TestSuite(provider, .fini = e2e_cleanup, .timeout = 120);

#define TEXT_MAX 512

struct day {
    const char *name;
    const char *script;
    int calls;
    int status;
    const char *error; /* of the answer; NULL: answered */
    const char
        *trail; /* the trace's attempts: outcome, status, code of each; of a single one there is no span */
};

static int64_t number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_string(v) ? strtoll(json_string_value(v), NULL, 10) : json_integer_value(v);
}

static const json_t *attempt(const json_t *trace, int64_t n)
{
    size_t i;
    json_t *o;

    json_array_foreach(json_object_get(trace, "observations"), i, o)
    {
        const json_t *m = json_object_get(o, "metadata");
        if (strcmp(e2e_string(o, "name"), "openai_attempt") == 0 && number(m, "attempt") == n)
            return m;
    }
    return NULL;
}

static const char *text(const json_t *m, const char *key)
{
    const char *s = json_string_value(json_object_get(m, key));

    return s ? s : "";
}

/* "http 429 rate_limit_exceeded, ok 200" */
static void trail_of(const json_t *trace, char out[TEXT_MAX])
{
    const json_t *m;
    size_t n = 0;

    *out = '\0';
    for (int64_t i = 1; (m = attempt(trace, i)); i++) {
        n += (size_t)snprintf(out + n, TEXT_MAX - n, "%s%s", i > 1 ? ", " : "", text(m, "outcome"));
        if (number(m, "http_status"))
            n += (size_t)snprintf(out + n, TEXT_MAX - n, " %d", (int)number(m, "http_status"));
        if (*text(m, "error_code"))
            n += (size_t)snprintf(out + n, TEXT_MAX - n, " %s", text(m, "error_code"));
        cr_expect_str_eq(text(m, "upstream"), "openai");
    }
}

/* Asks once; the body of the answer is the caller's. */
static json_t *ask(const struct e2e *e, const char *what, int status)
{
    struct http_reply r = e2e_ask(e, "ana", "¿Qué?", NULL);
    json_t *o = e2e_json(&r);

    cr_assert_eq(r.status, status, "%s: %d %s", what, r.status, r.body.data);
    http_reply_free(&r);
    return o;
}

static void live_through(struct e2e *e, const struct day *d)
{
    char trail[TEXT_MAX];

    e2e_tell(&e->openai, "/_admin/reset", NULL);
    e2e_tell(&e->openai, "/_admin/script", d->script);
    json_t *answer = ask(e, d->name, d->status);
    cr_expect_eq(e2e_stat(&e->openai, "requests"), d->calls, "%s: %d calls", d->name,
                 (int)e2e_stat(&e->openai, "requests"));
    if (d->error)
        cr_expect_str_eq(e2e_string(answer, "error"), d->error, "%s", d->name);
    json_t *trace = e2e_trace(e, e2e_string(answer, "trace_id"));
    trail_of(trace, trail);
    cr_expect_str_eq(trail, d->trail, "%s: %s", d->name, trail);
    json_decref(trace);
    json_decref(answer);
}

static void live_through_all(struct e2e *e, const struct day *days, size_t n)
{
    e2e_start(e);
    for (size_t i = 0; i < n; i++)
        live_through(e, &days[i]);
    e2e_end(e);
}

Test(provider, days_with_errors)
{
    static const struct day days[] = {
        {"flaky", "[{\"status\":500},{\"error\":\"overloaded\"},{\"content\":\"al fin\"}]", 3, 200, NULL,
         "http 500 server_error, http 503 server_is_overloaded, ok 200"},
        {"retry-after in milliseconds",
         "[{\"error\":\"rate_limit\",\"retry_after_ms\":120,\"retry_after\":50}]", 2, 200, NULL,
         "http 429 rate_limit_exceeded, ok 200"},
        {"retry-after in seconds", "[{\"error\":\"rate_limit\",\"retry_after\":0.2}]", 2, 200, NULL,
         "http 429 rate_limit_exceeded, ok 200"},
        {"retry-after that makes no sense", "[{\"status\":429,\"headers\":{\"retry-after\":\"soon\"}}]", 2,
         200, NULL, "http 429 rate_limit_exceeded, ok 200"},
        {"retry-after too far away", "[{\"status\":429,\"retry_after\":3600}]", 1, 502, "rate_limited", ""},
        {"retry-after beyond the deadline", "[{\"status\":503,\"retry_after\":20}]", 1, 502, "upstream_error",
         ""},
        {"quota gone", "[{\"error\":\"quota\",\"should_retry\":true}]", 1, 502, "quota_exhausted", ""},
        {"context too long", "[{\"error\":\"context\"}]", 1, 502, "bad_request", ""},
        {"wrong key", "[{\"error\":\"invalid_api_key\"}]", 1, 502, "not_authorized", ""},
        {"told not to repeat", "[{\"status\":500,\"should_retry\":false}]", 1, 502, "upstream_error", ""},
        {"told to repeat", "[{\"status\":400,\"should_retry\":true}]", 2, 200, NULL,
         "http 400 invalid_request_error, ok 200"},
        {"errors that are web pages", "[{\"status\":502},{\"status\":504},{\"status\":502}]", 3, 502,
         "upstream_error", "http 502, http 504, http 502"},
        {"redirect",
         "[{\"status\":302,\"headers\":{\"location\":\"http://127.0.0.1:1/v1/chat/"
         "completions\"},\"body\":\"\"}]",
         1, 502, "redirected", ""},
    };
    struct e2e *e = e2e_new();

    e2e_env(e, "REQUEST_TIMEOUT_MS", "15000");
    live_through_all(e, days, ARRAY_LEN(days));
}

Test(provider, days_with_broken_answers)
{
    static const struct day days[] = {
        {"cut in the head", "[{\"cut\":\"head\"}]", 2, 200, NULL, "garbage 200, ok 200"},
        {"cut in the body", "[{\"cut\":\"body\"},{\"cut\":\"body\"},{\"cut\":\"body\"}]", 3, 502, "cut",
         "cut 200, cut 200, cut 200"},
        {"garbage", "[{\"garbage\":true}]", 2, 200, NULL, "garbage 200, ok 200"},
        {"no HTTP", "[{\"garbage\":\"wire\"}]", 2, 200, NULL, "garbage, ok 200"},
        {"a web page with 200", "[{\"body\":\"<html>\",\"content_type\":\"text/html\"}]", 2, 200, NULL,
         "garbage 200, ok 200"},
        {"JSON without an answer", "[{\"object\":{\"choices\":[]}}]", 1, 502, "bad_answer", ""},
    };

    live_through_all(e2e_new(), days, ARRAY_LEN(days));
}

/* More than ANSWER_MAX: neither kept nor asked for again. */
Test(provider, a_gigantic_answer)
{
    static const char head[] = "[{\"content\":\"";
    const size_t n = 5 * 1000 * 1000;
    char *script = malloc(n + 64);
    struct e2e *e = e2e_new();

    memcpy(script, head, sizeof head);
    memset(script + sizeof head - 1, 'a', n);
    memcpy(script + sizeof head - 1 + n, "\"}]", 4);
    struct day day = {"gigantic", script, 1, 502, "bad_answer", ""};
    live_through_all(e, &day, 1);
    free(script);
}

/* Milliseconds of a day, of a time as RFC 3339 writes it. */
static int64_t of_day(const char *text)
{
    int hour, minute;
    double second;

    cr_assert_eq(sscanf(text, "%*d-%*d-%*dT%d:%d:%lf", &hour, &minute, &second), 3, "%s", text);
    return (hour * 60 + minute) * 60000 + (int64_t)(second * 1000);
}

/* Between the provider's first two calls, by its own clock. */
static int64_t pause_between_calls(const struct e2e *e)
{
    const int64_t day = 24 * 3600 * 1000;
    json_t *log = e2e_admin(&e->openai, "GET", "/_admin/requests", NULL);
    const json_t *calls = json_object_get(log, "requests");
    int64_t first = of_day(e2e_string(json_array_get(calls, 0), "time"));
    int64_t second = of_day(e2e_string(json_array_get(calls, 1), "time"));

    cr_assert_eq(json_array_size(calls), 2);
    json_decref(log);
    return (second - first + day) % day;
}

/* The provider's clock, not ours, says how far away its date is. */
Test(provider, retry_after_as_a_date_is_waited_for)
{
    char when[64], script[TEXT_MAX];
    time_t at = time(NULL) + 3;
    struct tm tm;
    struct e2e *e = e2e_new();

    e2e_start(e);
    strftime(when, sizeof when, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&at, &tm));
    snprintf(script, sizeof script, "[{\"status\":429,\"headers\":{\"retry-after\":\"%s\"}}]", when);
    e2e_tell(&e->openai, "/_admin/script", script);
    json_decref(ask(e, "date", 200));
    cr_expect_geq(pause_between_calls(e), 1000);
    e2e_end(e);
}

/* LLM_RETRY_BUDGET=0: one call each. The error says why. */
Test(provider, the_retry_budget_bounds_repetition)
{
    static const struct day day = {"no budget", "[{\"status\":500}]", 1, 502, "upstream_error", ""};
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_RETRY_BUDGET", "0");
    e2e_start(e);
    live_through(e, &day);
    cr_expect(e2e_file_contains(e->out, "the retry budget is spent"));
    e2e_end(e);
}

/* A provider that accepts and stays silent gives the place back; what merely takes its time does not. */
Test(provider, days_with_silence)
{
    static const struct day days[] = {
        {"silent", "[{\"stall\":true}]", 2, 200, NULL, "first_byte_timeout, ok 200"},
        {"silent for good", "[{\"stall\":true,\"repeat\":3}]", 3, 502, "timeout",
         "first_byte_timeout, first_byte_timeout, first_byte_timeout"},
        {"silent in the middle", "[{\"stall\":\"body\"}]", 2, 200, NULL, "stall_timeout 200, ok 200"},
        {"a trickle that ends in time",
         "[{\"content\":\"gota a gota\",\"trickle_bytes\":50,\"trickle_ms\":20}]", 1, 200, NULL, ""},
        {"a trickle without end", "[{\"content\":\"gota\",\"trickle_bytes\":20,\"trickle_ms\":100}]", 2, 200,
         NULL, "timeout 200, ok 200"},
    };
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_FIRST_BYTE_TIMEOUT_MS", "700");
    e2e_env(e, "LLM_STALL_TIMEOUT_MS", "600");
    e2e_env(e, "LLM_CALL_TIMEOUT_MS", "2000");
    live_through_all(e, days, ARRAY_LEN(days));
}

struct asker {
    pthread_t thread;
    const struct e2e *e;
    struct http_reply reply;
};

static void *ask_in_thread(void *arg)
{
    struct asker *a = arg;

    a->reply = e2e_ask(a->e, "ana", "¿Qué?", NULL);
    return NULL;
}

/* It goes away in the middle of a call, and comes back: the call is repeated. */
Test(provider, a_restart)
{
    struct e2e *e = e2e_new();
    struct asker a = {.e = e};
    char trail[TEXT_MAX];

    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"stall\":true}]");
    cr_assert_eq(pthread_create(&a.thread, NULL, ask_in_thread, &a), 0);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "in_flight") == 1);
    e2e_fake_stop(&e->openai);
    e2e_openai_start(e);
    pthread_join(a.thread, NULL);
    cr_assert_eq(a.reply.status, 200, "%s", a.reply.body.data);
    json_t *answer = e2e_json(&a.reply), *trace = e2e_trace(e, e2e_string(answer, "trace_id"));
    trail_of(trace, trail);
    cr_expect_eq(strncmp(trail, "cut, ", 5), 0, "%s", trail);
    cr_expect_not_null(strstr(trail, "ok 200"), "%s", trail);
    json_decref(trace);
    json_decref(answer);
    http_reply_free(&a.reply);
    e2e_end(e);
}

/* A listener whose queue is full: the kernel answers nobody any more. */
static int full_listener(uint16_t port, int others[4])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 0) == 0);
    for (int i = 0; i < 4; i++) {
        others[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(others[i], (struct sockaddr *)&a, sizeof a);
    }
    return fd;
}

Test(provider, a_connection_that_never_comes)
{
    struct e2e *e = e2e_new();
    uint16_t port = free_port();
    int others[4];
    int fd = full_listener(port, others);

    e2e_env(e, "OPENAI_BASE_URL", "http://127.0.0.1:%u/v1", port);
    e2e_env(e, "LLM_CONNECT_TIMEOUT_MS", "200");
    e2e_env(e, "LLM_MAX_ATTEMPTS", "2");
    e2e_start(e);
    json_t *answer = ask(e, "no connection", 502);
    json_t *trace = e2e_trace(e, e2e_string(answer, "trace_id"));
    char trail[TEXT_MAX];
    trail_of(trace, trail);
    cr_expect_str_eq(trail, "connect_timeout, connect_timeout");
    cr_expect_str_eq(e2e_string(answer, "error"), "timeout");
    json_decref(trace);
    json_decref(answer);
    for (int i = 0; i < 4; i++)
        close(others[i]);
    close(fd);
    e2e_end(e);
}

/* Whoever runs the service reads in the log what happened, where, and what to look at. */
Test(provider, failures_are_told_to_people)
{
    static const struct {
        const char *script, *words;
    } days[] = {
        {"[{\"status\":404}]", "answered 404 model_not_found: are the base URL and the model right?"},
        {"[{\"garbage\":true,\"repeat\":3}]",
         "answered with something that is no JSON: is the base URL right?"},
        {"[{\"object\":{}}]", "answered with JSON that holds no answer"},
    };
    struct e2e *e = e2e_new();

    e2e_start(e);
    for (size_t i = 0; i < sizeof days / sizeof *days; i++) {
        e2e_tell(&e->openai, "/_admin/script", days[i].script);
        struct http_reply r = e2e_ask(e, "ana", "¿Y esto?", NULL);
        cr_expect_eq(r.status, 502);
        http_reply_free(&r);
        E2E_WAIT(E2E_WAIT_SECONDS, e2e_file_contains(e->out, days[i].words));
    }
    e2e_fake_stop(&e->openai);
    struct http_reply r = e2e_ask(e, "ana", "¿Y ahora?", NULL);
    cr_expect_eq(r.status, 502);
    http_reply_free(&r);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_file_contains(e->out, "(connect: Failed to connect to 127.0.0.1 port "));
    e2e_end(e);
}
