/* POST /ask and its neighbours, as a client sees them. */
#include "tests/e2e/harness.h"

#include <stdlib.h>

TestSuite(ask, .fini = e2e_cleanup, .timeout = 120);

static bool is_hex(const char *s, size_t n)
{
    return strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

/* The gateway learns both from its neighbours, so a moment after the start. */
static bool health_says(const struct e2e *e, const char *key)
{
    struct http_reply r = e2e_get(e->port, "/health");
    json_t *health = e2e_json(&r);
    bool yes = json_is_true(json_object_get(health, key));

    json_decref(health);
    http_reply_free(&r);
    return yes;
}

static struct e2e *running(void)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    E2E_WAIT(E2E_WAIT_SECONDS, health_says(e, "openai_configured"));
    return e;
}

/* The answer of the whole house to one question; the provider has been told what to say. */
static void expect_answer(struct e2e *e, const char *max_words, const char *answer)
{
    struct http_reply r = e2e_ask(e, "ana", "¿Qué?", max_words);
    json_t *o = e2e_json(&r);

    cr_assert_eq(r.status, 200, "%s", r.body.data);
    cr_assert_str_eq(e2e_string(o, "answer"), answer);
    json_decref(o);
    http_reply_free(&r);
}

static void expect_upstream_error(struct e2e *e)
{
    struct http_reply r = e2e_ask(e, "ana", "¿Qué?", NULL);
    json_t *o = e2e_json(&r);

    cr_assert_eq(r.status, 502, "%s", r.body.data);
    cr_assert_str_eq(e2e_string(o, "detail"), "Upstream LLM error");
    json_decref(o);
    http_reply_free(&r);
}

static int64_t provider_calls(const struct e2e *e)
{
    return e2e_stat(&e->openai, "requests");
}

/* P1: one answer, of exactly four strings. */
Test(ask, answers_with_exactly_four_strings)
{
    struct e2e *e = running();
    struct http_reply r = e2e_ask(e, "jose", "¿Qué es Langfuse?", "20");
    char type[64];
    json_t *o = e2e_json(&r);

    cr_assert_eq(r.status, 200, "%s", r.body.data);
    cr_assert(http_header(&r, "Content-Type", type, sizeof type) &&
              strncmp(type, "application/json", 16) == 0);
    cr_assert_eq(json_object_size(o), 4, "%s", r.body.data);
    cr_assert_gt(strlen(e2e_string(o, "answer")), 0);
    cr_assert(is_hex(e2e_string(o, "trace_id"), 32), "%s", r.body.data);
    cr_assert(is_hex(e2e_string(o, "generation_id"), 16), "%s", r.body.data);
    cr_assert_eq(strlen(e2e_string(o, "request_id")), 36, "%s", r.body.data);
    json_decref(o);
    http_reply_free(&r);
    e2e_end(e);
}

/* The word limit of the contract: cut at white space of any kind, joined by one space, U+2026 appended. */
Test(ask, cuts_the_answer_at_max_words)
{
    struct e2e *e = running();

    e2e_tell(&e->openai, "/_admin/defaults", "{\"content\":\" uno  dos\\ttres\\u3000cuatro\\n\"}");
    expect_answer(e, "2", "uno dos…");
    expect_answer(e, "3", "uno dos tres…");
    expect_answer(e, "4", " uno  dos\ttres\u3000cuatro\n");
    expect_answer(e, "null", " uno  dos\ttres\u3000cuatro\n");
    expect_answer(e, NULL, " uno  dos\ttres\u3000cuatro\n");
    expect_answer(e, "0", "…");
    expect_answer(e, "-1", "uno dos tres…");
    e2e_end(e);
}

static const json_t *error_at(const json_t *errors, const char *field)
{
    size_t i;
    json_t *error;

    json_array_foreach(errors, i, error)
    {
        const json_t *loc = json_object_get(error, "loc");
        const char *in = json_string_value(json_array_get(loc, 0));
        const char *name = json_string_value(json_array_get(loc, 1));
        if (in && strcmp(in, "body") == 0 && name && strcmp(name, field) == 0)
            return error;
    }
    cr_assert_fail("no error at %s in %s", field, json_dumps(errors, 0));
    return NULL;
}

/* P8 comes along: what the client got wrong is told to the client, not to the provider. */
Test(ask, refuses_a_wrong_body_with_all_its_errors)
{
    struct e2e *e = running();
    struct http_reply r = e2e_post(e->port, "/ask", "{\"question\":\"ab\",\"max_words\":\"x\"}");
    json_t *o = e2e_json(&r);
    const json_t *errors = json_object_get(o, "detail");

    cr_assert_eq(r.status, 422, "%s", r.body.data);
    cr_assert_eq(json_array_size(errors), 3, "%s", r.body.data);
    cr_assert_str_eq(e2e_string(error_at(errors, "user_id"), "type"), "missing");
    cr_assert_str_eq(e2e_string(error_at(errors, "user_id"), "msg"), "Field required");
    cr_assert_str_eq(e2e_string(error_at(errors, "question"), "type"), "string_too_short");
    cr_assert_eq(json_integer_value(
                     json_object_get(json_object_get(error_at(errors, "question"), "ctx"), "min_length")),
                 3);
    cr_assert_str_eq(e2e_string(error_at(errors, "question"), "input"), "ab");
    cr_assert_str_eq(e2e_string(error_at(errors, "max_words"), "type"), "int_parsing");
    json_decref(o);
    http_reply_free(&r);

    r = e2e_post(e->port, "/ask", "{\"user_id\":");
    o = e2e_json(&r);
    cr_assert_eq(r.status, 422, "%s", r.body.data);
    cr_assert_str_eq(e2e_string(json_array_get(json_object_get(o, "detail"), 0), "type"), "json_invalid");
    json_decref(o);
    http_reply_free(&r);
    cr_assert_eq(provider_calls(e), 0);
    e2e_end(e);
}

static void expect_detail(struct http_reply r, int status, const char *detail)
{
    json_t *o = e2e_json(&r);

    cr_assert_eq(r.status, status, "%s", r.body.data);
    cr_assert_str_eq(e2e_string(o, "detail"), detail);
    json_decref(o);
    http_reply_free(&r);
}

Test(ask, unknown_paths_and_methods)
{
    struct e2e *e = running();
    char allow[32];
    struct http_reply r = e2e_get(e->port, "/ask");

    cr_assert(http_header(&r, "Allow", allow, sizeof allow) && strstr(allow, "POST"), "%s", r.head.data);
    expect_detail(r, 405, "Method Not Allowed");
    r = e2e_post(e->port, "/health", "{}");
    cr_assert(http_header(&r, "Allow", allow, sizeof allow) && strstr(allow, "GET"), "%s", r.head.data);
    expect_detail(r, 405, "Method Not Allowed");
    expect_detail(e2e_get(e->port, "/nowhere"), 404, "Not Found");
    expect_detail(e2e_get(e->port, "/ASK"), 404, "Not Found");
    expect_detail(e2e_post(e->port, "/nowhere", "{}"), 404, "Not Found");
    e2e_end(e);
}

Test(ask, health_says_what_is_configured)
{
    struct e2e *e = running();

    E2E_WAIT(E2E_WAIT_SECONDS, health_says(e, "langfuse_enabled"));
    struct http_reply r = e2e_get(e->port, "/health");
    json_t *o = e2e_json(&r);

    cr_assert_eq(r.status, 200);
    cr_assert_str_eq(e2e_string(o, "status"), "ok");
    cr_assert(json_is_true(json_object_get(o, "openai_configured")), "%s", r.body.data);
    json_decref(o);
    http_reply_free(&r);
    e2e_end(e);
}

Test(ask, the_provider_is_asked_as_the_contract_says)
{
    struct e2e *e = running();
    struct http_reply r = e2e_ask(e, "ana", "¿Qué es una atalaya?", NULL);
    json_t *log = e2e_admin(&e->openai, "GET", "/_admin/requests", NULL);
    const json_t *call = json_array_get(json_object_get(log, "requests"), 0);
    json_t *body = json_loads(e2e_string(call, "body"), 0, NULL);
    const json_t *messages = json_object_get(body, "messages");

    cr_assert_eq(r.status, 200, "%s", r.body.data);
    cr_assert_str_eq(e2e_string(body, "model"), "gpt-4o-mini");
    cr_assert(strstr(e2e_string(json_object_get(call, "headers"), "authorization"),
                     strrchr(E2E_OPENAI_KEY, '-') + 7));
    cr_assert_float_eq(json_number_value(json_object_get(body, "temperature")), 0.2, 1e-9);
    cr_assert_eq(json_array_size(messages), 2);
    cr_assert_str_eq(e2e_string(json_array_get(messages, 0), "role"), "system");
    cr_assert_str_eq(e2e_string(json_array_get(messages, 0), "content"),
                     "Eres un asistente breve, preciso y en español.");
    cr_assert_str_eq(e2e_string(json_array_get(messages, 1), "role"), "user");
    cr_assert_str_eq(e2e_string(json_array_get(messages, 1), "content"), "¿Qué es una atalaya? " E2E_CANARY);
    json_decref(body);
    json_decref(log);
    http_reply_free(&r);
    e2e_end(e);
}

Test(ask, a_provider_that_is_down_is_502)
{
    struct e2e *e = running();

    e2e_fake_stop(&e->openai);
    expect_upstream_error(e);
    e2e_openai_start(e);
    expect_answer(e, "0", "…");
    e2e_end(e);
}

/* The production programs never invent an answer. */
Test(ask, without_a_key_it_is_502_and_nobody_is_called)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "OPENAI_API_KEY", NULL);
    e2e_start(e);
    expect_upstream_error(e);
    cr_assert(!health_says(e, "openai_configured"));
    cr_assert_eq(provider_calls(e), 0);
    e2e_end(e);
}

/* A demo upstream answers only while there is no key. */
Test(ask, the_demo_upstream_is_asked_only_without_a_key)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "OPENAI_DEMO_BASE_URL", "http://127.0.0.1:%u/v1", e->openai.port);
    e2e_env(e, "OPENAI_BASE_URL", "http://127.0.0.1:%u/v1", free_port());
    e2e_start(e);
    E2E_WAIT(E2E_WAIT_SECONDS, health_says(e, "openai_configured"));
    expect_upstream_error(e);
    cr_assert_eq(provider_calls(e), 0);
    cr_assert_eq(e2e_stop(e), 0);

    e2e_env(e, "OPENAI_API_KEY", NULL);
    e2e_start(e);
    expect_answer(e, "0", "…");
    cr_assert_eq(provider_calls(e), 1);
    e2e_end(e);
}

Test(ask, tries_three_times_where_it_may_help)
{
    struct e2e *e = running();

    e2e_tell(&e->openai, "/_admin/script", "[{\"status\":429},{\"status\":500},{\"content\":\"al fin\"}]");
    expect_answer(e, NULL, "al fin");
    cr_assert_eq(provider_calls(e), 3);

    e2e_tell(&e->openai, "/_admin/reset", NULL);
    e2e_tell(&e->openai, "/_admin/script",
             "[{\"status\":503},{\"status\":503},{\"status\":503},{\"content\":\"tarde\"}]");
    expect_upstream_error(e);
    cr_assert_eq(provider_calls(e), 3);
    e2e_end(e);
}

Test(ask, tries_once_where_repeating_is_pointless)
{
    struct e2e *e = running();

    e2e_tell(&e->openai, "/_admin/script", "[{\"status\":400}]");
    expect_upstream_error(e);
    cr_assert_eq(provider_calls(e), 1);
    e2e_end(e);
}

/* A provider's answer that is no answer is 502, never a made-up one. */
Test(ask, a_garbled_answer_is_502)
{
    static const char *const garbled[] = {
        "[{\"object\":{\"choices\":[]},\"repeat\":3}]",
        "[{\"object\":{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null}}]},"
        "\"repeat\":3}]",
        "[{\"garbage\":true,\"repeat\":3}]",
        "[{\"garbage\":\"wire\",\"repeat\":3}]",
        "[{\"cut\":\"body\",\"repeat\":3}]",
        "[{\"cut\":\"head\",\"repeat\":3}]",
    };
    struct e2e *e = running();

    for (size_t i = 0; i < ARRAY_LEN(garbled); i++) {
        e2e_tell(&e->openai, "/_admin/script", garbled[i]);
        expect_upstream_error(e);
    }
    e2e_end(e);
}
