/* Who may come in, how often, and under which ids: tokens, limits, CORS, proxies, correlation, readiness. */
#include "tests/e2e/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(access, .fini = e2e_cleanup, .timeout = 120);

static struct http_reply call(uint16_t port, const char *method, const char *path, const char *headers,
                              const char *json)
{
    struct http_client c = http_open(port);
    struct http_reply r;

    c.headers = headers;
    http_call(&c, method, path, json ? str_of(json) : (struct str){NULL, 0}, &r);
    http_close(&c);
    return r;
}

static const char question[] = "{\"user_id\":\"ana\",\"question\":\"" E2E_CANARY "\"}";

static void expect(uint16_t port, const char *method, const char *path, const char *headers, const char *json,
                   int status)
{
    struct http_reply r = call(port, method, path, headers, json);

    cr_expect_eq(r.status, status, "%s %s: %d, not %d", method, path, r.status, status);
    http_reply_free(&r);
}

static void expect_header(const struct http_reply *r, const char *name, const char *value)
{
    char got[512] = "";

    bool there = http_header(r, name, got, sizeof got);
    cr_expect_eq(there, value != NULL, "%s", name);
    if (there && value && *value)
        cr_expect_str_eq(got, value, "%s", name);
}

static void hash_to_file(const char *path, const char *mode, const char *token, const char *name)
{
    char command[256], hash[65] = "";

    snprintf(command, sizeof command, "printf %%s '%s' | sha256sum", token);
    FILE *p = popen(command, "re");
    cr_assert(p && fread(hash, 1, 64, p) == 64);
    pclose(p);
    FILE *f = fopen(path, mode);
    cr_assert_not_null(f);
    fprintf(f, "%s  %s\n", hash, name);
    fclose(f);
}

static void tokens_file(struct e2e *e, char path[160])
{
    snprintf(path, 160, "%s/tokens", e->dir);
    hash_to_file(path, "w", "secreto-uno", "panel");
}

Test(access, bearer_tokens)
{
    struct e2e *e = e2e_new();
    char path[160];

    tokens_file(e, path);
    e2e_env(e, "GATEWAY_TOKENS_FILE", "%s", path);
    e2e_start(e);
    expect(e->port, "POST", "/ask", "Authorization: Bearer secreto-uno\r\n", question, 200);
    expect(e->port, "POST", "/ask", "Authorization: bearer  secreto-uno\r\n", question, 200);
    expect(e->port, "GET", "/metrics", "Authorization: Bearer secreto-uno\r\n", NULL, 200);
    expect(e->port, "POST", "/ask", NULL, question, 401);
    expect(e->port, "POST", "/ask", "Authorization: Basic YTpi\r\n", question, 401);
    expect(e->port, "POST", "/feedback", NULL, "{}", 401);
    expect(e->port, "GET", "/metrics", NULL, NULL, 401);
    static const char *const open[] = {"/health", "/livez", "/readyz", "/docs", "/openapi.json"};
    for (size_t i = 0; i < 5; i++)
        expect(e->port, "GET", open[i], NULL, NULL, 200);

    struct http_reply r = call(e->port, "POST", "/ask", "Authorization: Bearer secreto-dos\r\n", question);
    cr_expect_eq(r.status, 401);
    expect_header(&r, "WWW-Authenticate", "Bearer error=\"invalid_token\"");
    http_reply_free(&r);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_file_contains(e->out, "\"token\":\"panel\""));
    cr_expect(!e2e_file_contains(e->out, "secreto-"), "the log shows a token");
    e2e_end(e);
}

Test(access, tokens_change_by_reload)
{
    struct e2e *e = e2e_new();
    char path[160];

    tokens_file(e, path);
    e2e_env(e, "GATEWAY_TOKENS_FILE", "%s", path);
    e2e_start(e);
    pid_t gateway = e2e_pid(e, "gateway", 0);
    hash_to_file(path, "w", "secreto-dos", "panel");
    kill(gateway, SIGHUP);
    struct http_reply r = {.status = 0};
    E2E_WAIT(E2E_WAIT_SECONDS,
             (http_reply_free(&r),
              r = call(e->port, "POST", "/ask", "Authorization: Bearer secreto-dos\r\n", question),
              r.status == 200));
    http_reply_free(&r);
    expect(e->port, "POST", "/ask", "Authorization: Bearer secreto-uno\r\n", question, 401);

    FILE *f = fopen(path, "w");
    fprintf(f, "nonsense\n");
    fclose(f);
    kill(gateway, SIGHUP);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_file_contains(e->out, "tokens:1") || e2e_file_contains(e->out, "line 1"));
    expect(e->port, "POST", "/ask", "Authorization: Bearer secreto-dos\r\n", question, 200);
    cr_expect_eq(e2e_pid(e, "gateway", 0), gateway, "a bad file must not end the gateway");
    e2e_end(e);
}

Test(access, limits_per_user_say_when_to_come_again)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "RATE_LIMIT_USER_PER_MINUTE", "2");
    e2e_start(e);
    struct http_reply r = call(e->port, "POST", "/ask", NULL, question);
    cr_expect_eq(r.status, 200);
    expect_header(&r, "RateLimit-Limit", "2");
    expect_header(&r, "RateLimit-Remaining", "1");
    http_reply_free(&r);
    expect(e->port, "POST", "/ask", NULL, question, 200);
    r = call(e->port, "POST", "/ask", NULL, question);
    cr_expect_eq(r.status, 429);
    char wait[32] = "";
    cr_expect(http_header(&r, "Retry-After", wait, sizeof wait));
    cr_expect(strtol(wait, NULL, 10) >= 1 && strtol(wait, NULL, 10) <= 30, "Retry-After: %s", wait);
    json_t *j = e2e_json(&r);
    cr_expect_str_eq(e2e_string(j, "detail"), "Too Many Requests: 2 in 60 s are allowed for one user");
    json_decref(j);
    http_reply_free(&r);
    expect(e->port, "POST", "/ask", NULL, "{\"user_id\":\"otra\",\"question\":\"" E2E_CANARY "\"}", 200);
    e2e_end(e);
}

/* X-Forwarded-For counts from listed proxies only; here that decides whose limit it is. */
Test(access, forwarded_addresses_from_listed_proxies_only)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "RATE_LIMIT_ADDRESS_PER_MINUTE", "1");
    e2e_env(e, "GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8");
    e2e_start(e);
    expect(e->port, "POST", "/ask", "X-Forwarded-For: 203.0.113.1\r\n", question, 200);
    expect(e->port, "POST", "/ask", "X-Forwarded-For: 203.0.113.1\r\n", question, 429);
    expect(e->port, "POST", "/ask", "X-Forwarded-For: 203.0.113.2\r\n", question, 200);
    expect(e->port, "POST", "/ask", "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 203.0.113.2\r\n",
           question, 429);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_file_contains(e->out, "\"client\":\"203.0.113.2\""));
    e2e_end(e);

    e = e2e_new();
    e2e_env(e, "RATE_LIMIT_ADDRESS_PER_MINUTE", "1");
    e2e_start(e);
    expect(e->port, "POST", "/ask", "X-Forwarded-For: 203.0.113.1\r\n", question, 200);
    expect(e->port, "POST", "/ask", "X-Forwarded-For: 203.0.113.2\r\n", question, 429);
    e2e_end(e);
}

Test(access, cors_restricted_to_one_origin)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "CORS_ALLOW_ORIGINS", "https://app.example");
    e2e_start(e);
    struct http_reply r = call(e->port, "GET", "/livez", "Origin: https://app.example\r\n", NULL);
    expect_header(&r, "Access-Control-Allow-Origin", "https://app.example");
    http_reply_free(&r);
    r = call(e->port, "GET", "/livez", "Origin: https://evil.example\r\n", NULL);
    cr_expect_eq(r.status, 200);
    expect_header(&r, "Access-Control-Allow-Origin", NULL);
    http_reply_free(&r);
    expect(e->port, "OPTIONS", "/ask",
           "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n", NULL, 400);
    e2e_end(e);
}

#define TRACE  "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

/* The same ids in the body, the headers, the log and the trace. */
Test(access, a_request_keeps_the_ids_of_its_caller)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    struct http_reply r =
        call(e->port, "POST", "/ask",
             "X-Request-ID: pedido:42/a\r\ntraceparent: 00-" TRACE "-" PARENT "-01\r\n", question);
    cr_assert_eq(r.status, 200);
    json_t *j = e2e_json(&r);
    char parent[80] = "", wanted[80], timing[256] = "";
    cr_expect_str_eq(e2e_string(j, "request_id"), "pedido:42/a");
    cr_expect_str_eq(e2e_string(j, "trace_id"), TRACE);
    expect_header(&r, "X-Request-ID", "pedido:42/a");
    cr_expect(http_header(&r, "traceparent", parent, sizeof parent));
    snprintf(wanted, sizeof wanted, "00-" TRACE "-%s-01", e2e_string(j, "generation_id"));
    cr_expect_str_eq(parent, wanted);
    cr_expect(http_header(&r, "Server-Timing", timing, sizeof timing));
    cr_expect(strstr(timing, "queue;dur=") && strstr(timing, "worker;dur=") &&
                  strstr(timing, "upstream;dur=") && strstr(timing, "total;dur="),
              "%s", timing);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_file_contains(e->out, "\"request_id\":\"pedido:42/a\""));
    cr_expect(e2e_file_contains(e->out, "\"trace_id\":\"" TRACE "\""));
    cr_expect(!e2e_file_contains(e->out, "\"user_id\":\"ana\""), "user ids are hashed");
    json_t *trace = e2e_trace(e, TRACE);
    char *dump = json_dumps(trace, 0);
    cr_expect(strstr(dump, "pedido:42/a") && strstr(dump, PARENT), "%s", dump);
    free(dump);
    json_decref(trace);
    json_decref(j);
    http_reply_free(&r);
    e2e_end(e);
}

Test(access, ids_that_are_not_sane_are_replaced)
{
    static const char *const headers[] = {
        "X-Request-ID: with space\r\ntraceparent: 00-" TRACE "-" PARENT "\r\n",
        "X-Request-ID: \"quoted\"\r\ntraceparent: 00-00000000000000000000000000000000-" PARENT "-01\r\n",
        "X-Request-ID: \r\ntraceparent: 00-" TRACE "-" PARENT "-01\r\ntraceparent: 00-" TRACE "-" PARENT
        "-01\r\n",
    };
    struct e2e *e = e2e_new();

    e2e_start(e);
    for (size_t i = 0; i < 3; i++) {
        struct http_reply r = call(e->port, "POST", "/ask", headers[i], question);
        json_t *j = e2e_json(&r);
        cr_expect_eq(strlen(e2e_string(j, "request_id")), 36, "%s", headers[i]);
        cr_expect_str_neq(e2e_string(j, "trace_id"), TRACE, "%s", headers[i]);
        json_decref(j);
        http_reply_free(&r);
    }
    e2e_end(e);
}

/* /readyz follows what can be answered, /livez does not; no worker is 503 at once there, and later for /ask. */
Test(access, ready_means_that_a_question_can_be_answered)
{
    struct e2e *e = e2e_new();
    struct http_reply r = {.status = 0};

    e2e_env(e, "LLM_WORKERS", "1");
    e2e_start(e);
    pid_t worker = e2e_pid(e, "llm-worker", 0);
    expect(e->port, "GET", "/readyz", NULL, NULL, 200);
    kill(worker, SIGSTOP);
    E2E_WAIT(E2E_WAIT_SECONDS, (http_reply_free(&r), r = e2e_get(e->port, "/readyz"), r.status == 503));
    expect_header(&r, "Retry-After", "1");
    expect(e->port, "GET", "/livez", NULL, NULL, 200);
    kill(worker, SIGCONT);
    E2E_WAIT(E2E_WAIT_SECONDS, (http_reply_free(&r), r = e2e_get(e->port, "/readyz"), r.status == 200));
    http_reply_free(&r);
    e2e_end(e);
}

/* Of an empty object, or of a path whose parameter is its own name. */
static int expected(const char *path, bool post)
{
    if (strcmp(path, "/v1/models/{model}") == 0)
        return 404;
    if (post)
        return strncmp(path, "/v1/", 4) == 0 ? 400 : 422;
    return strcmp(path, "/redoc") == 0 ? 307 : 200;
}

/* What the gateway serves about itself. */
Test(access, the_page_and_the_description)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "GUARDRAIL_MAX_WORDS", "77");
    e2e_start(e);
    struct http_reply r = e2e_get(e->port, "/openapi.json");
    json_t *j = e2e_json(&r), *paths = json_object_get(j, "paths");
    cr_expect_eq(
        json_integer_value(json_object_get(
            json_object_get(
                json_object_get(
                    json_object_get(json_object_get(json_object_get(j, "components"), "schemas"), "Ask"),
                    "properties"),
                "max_words"),
            "default")),
        77);
    const char *path;
    json_t *operations;
    json_object_foreach(paths, path, operations)
    {
        const char *method;
        json_t *operation;
        json_object_foreach(operations, method, operation)
        {
            bool post = strcmp(method, "post") == 0;
            struct http_reply got = call(e->port, post ? "POST" : "GET", path, NULL, post ? "{}" : NULL);
            cr_expect(got.status == expected(path, post), "%s: %d", path, got.status);
            http_reply_free(&got);
        }
    }
    cr_expect_geq(json_object_size(paths), 8);
    json_decref(j);
    http_reply_free(&r);
    r = e2e_get(e->port, "/docs");
    char type[64] = "", policy[1024] = "";
    cr_expect_eq(r.status, 200);
    cr_expect(http_header(&r, "Content-Type", type, sizeof type) &&
              strcmp(type, "text/html; charset=utf-8") == 0);
    cr_expect(http_header(&r, "Content-Security-Policy", policy, sizeof policy) &&
              strstr(policy, "default-src 'none'"));
    http_reply_free(&r);
    e2e_end(e);
}
