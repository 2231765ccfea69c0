/* OpenAI's routes: what goes through untouched, how refusals look, what is recorded. tests/sdk has its SDKs. */
#include "tests/e2e/harness.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "tests/e2e/sse_client.h"

TestSuite(openai, .fini = e2e_cleanup, .timeout = 120);

#define CHAT "/v1/chat/completions"
#define HELLO                                                                                                \
    "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"¿Qué " E2E_CANARY "?\"}]"

static struct http_reply call(const struct e2e *e, const char *method, const char *path, const char *headers,
                              struct str body)
{
    struct http_client c = http_open(e->port);
    struct http_reply r;

    c.headers = headers;
    http_call(&c, method, path, body, &r);
    http_close(&c);
    return r;
}

static struct http_reply post(const struct e2e *e, const char *headers, const char *json)
{
    return call(e, "POST", CHAT, headers, str_of(json));
}

static const char *trace_of(const struct http_reply *r)
{
    static char text[64], id[33];

    cr_assert(http_header(r, "traceparent", text, sizeof text), "%s", r->head.data);
    snprintf(id, sizeof id, "%.32s", text + 3);
    return id;
}

/* A member of the error; "" where it is null. The caller's reply must be an error in OpenAI's form and no other. */
static const char *error_member(const struct http_reply *r, const char *name)
{
    static char text[512];
    json_t *o = e2e_json(r);
    const json_t *error = json_object_get(o, "error");
    const char *s = json_string_value(json_object_get(error, name));

    cr_expect_eq(json_object_size(o), 1, "%s", r->body.data);
    cr_assert_eq(json_object_size(error), 4, "%s", r->body.data);
    snprintf(text, sizeof text, "%s", s ? s : "");
    json_decref(o);
    return text;
}

static void expect_error(const struct http_reply *r, int status, const char *type, const char *code)
{
    cr_expect_eq(r->status, status, "%d, not %d: %s", r->status, status, r->body.data);
    cr_expect_str_eq(error_member(r, "type"), type);
    cr_expect_str_eq(error_member(r, "code"), code);
    cr_expect_str_neq(error_member(r, "message"), "");
}

/* The body of the last call that the provider was sent. */
static struct str arrived(const struct e2e *e, json_t **hold)
{
    json_t *log = e2e_admin(&e->openai, "GET", "/_admin/requests", NULL);
    const json_t *list = json_object_get(log, "requests");
    const json_t *body = json_object_get(json_array_get(list, json_array_size(list) - 1), "body");

    *hold = log;
    return (struct str){json_string_value(body), json_string_length(body)};
}

#define ODD                                                                                                  \
    "{ \"x\\u0041\":[1.0,1e2,-0, 123456789012345678901234567890],\t\"model\" : \"gpt-4o-mini\",\n"           \
    "\"messages\":[{\"role\":\"user\",\"content\":\"\\u00bfqu\\u00e9\\/ " E2E_CANARY                         \
    "?\"} ] ,\"messages\": "                                                                                 \
    "[{\"content\":\"otra 👀 " E2E_CANARY "\",\"role\":\"user\"}],\"seed\":1.50}"

/* Neither way is a byte changed that need not be. */
Test(openai, nothing_is_written_anew)
{
    static const char answer[] = "{ "
                                 "\"object\":\"chat.completion\",\"nuevo\":{\"n\":1.50,\"s\":\"\\u00e1\\/"
                                 "\"},\n\t\"choices\":[{\"index\":0,\"message\":"
                                 "{\"content\":\"s\\u00ed\",\"role\":\"assistant\",\"tool_calls\":[]},"
                                 "\"finish_reason\":\"stop\"}] ,\"model\":\"x\"}";
    struct e2e *e = e2e_new();
    json_t *hold, *step = json_pack("[{s:s}]", "body", answer);
    char *script = json_dumps(step, 0);

    e2e_start(e);
    struct http_reply r = post(e, NULL, ODD); /* the fake knows no xA, and says so */
    expect_error(&r, 400, "invalid_request_error", "");
    http_reply_free(&r);
    struct str got = arrived(e, &hold);
    cr_expect(str_eq(got, ODD), "%.*s", (int)got.n, got.p);
    json_decref(hold);

    e2e_tell(&e->openai, "/_admin/script", script);
    r = post(e, NULL, HELLO "}");
    cr_expect_eq(r.status, 200);
    cr_expect_str_eq(r.body.data, answer);
    http_reply_free(&r);
    free(script);
    json_decref(step);
    e2e_end(e);
}

Test(openai, refusals_in_its_form)
{
    static const struct {
        const char *method, *path, *headers, *body;
        int status;
        const char *code;
    } table[] = {
        {"POST", CHAT, NULL, "{", 400, "invalid_json"},
        {"POST", CHAT, "Content-Type: text/plain\r\n", HELLO "}", 400, "unsupported_content_type"},
        {"POST", CHAT, NULL, "{\"model\":\"gpt-4o-mini\"}", 400, "missing_required_parameter"},
        {"POST", CHAT, NULL, HELLO ",\"temperature\":9}", 400, "decimal_above_max_value"},
        {"POST", CHAT, NULL,
         "{\"model\":\"otro\",\"messages\":[{\"role\":\"user\",\"content\":\"" E2E_CANARY "\"}]}", 404,
         "model_not_found"},
        {"GET", CHAT, NULL, NULL, 405, "method_not_supported"},
        {"DELETE", "/v1/models/gpt-4o-mini", NULL, NULL, 405, "method_not_supported"},
        {"GET", "/v1/models/none", NULL, NULL, 404, "model_not_found"},
        {"GET", "/v1/nothing", NULL, NULL, 404, "unknown_url"},
        {"POST", "/v1/embeddings", NULL, "{}", 404, "unknown_url"},
    };
    struct e2e *e = e2e_new();
    char id[64];

    e2e_start(e);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct http_reply r =
            call(e, table[i].method, table[i].path, table[i].headers, str_of(table[i].body));
        expect_error(&r, table[i].status, "invalid_request_error", table[i].code);
        cr_expect(http_header(&r, "X-Request-ID", id, sizeof id));
        http_reply_free(&r);
    }
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, "app_requests_total{endpoint=\"" CHAT
                                                             "\",method=\"POST\",status=\"400\"}") == 4);
    e2e_end(e);
}

static struct str with_image(size_t bytes)
{
    struct buf b = BUF_INIT(CHAT_BODY_MAX);

    buf_puts(&b, "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
                 "\"text\",\"text\":"
                 "\"¿Qué ves? " E2E_CANARY
                 "\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,");
    while (b.len < bytes)
        buf_puts(&b, "iVBORw0KGgo");
    buf_puts(&b, "\"}}]}]}");
    return buf_str(&b);
}

/* An image goes through; the record keeps what it was, and the words. */
Test(openai, more_than_a_mebibyte)
{
    struct e2e *e = e2e_new();
    struct str body = with_image(3 * MIB);

    e2e_start(e);
    struct http_reply r = call(e, "POST", CHAT, NULL, body);
    cr_assert_eq(r.status, 200, "%s", r.body.data);
    json_t *trace = e2e_trace(e, trace_of(&r));
    char *text = json_dumps(json_object_get(trace, "input"), JSON_COMPACT);
    cr_expect_not_null(strstr(text, "¿Qué ves? " E2E_CANARY), "%.200s", text);
    cr_expect_not_null(strstr(text, "data:image/png;base64,iVBORw0KGgo"));
    cr_expect_not_null(strstr(text, " bytes)"));
    cr_expect_lt(strlen(text), 2 * CHAT_STRING_KEPT);
    free(text);
    json_decref(trace);
    http_reply_free(&r);
    r = call(e, "POST", "/ask", NULL, body);
    cr_expect_eq(r.status, 413);
    http_reply_free(&r);
    free((void *)(uintptr_t)body.p);
    e2e_end(e);
}

Test(openai, bodies_have_a_limit_of_their_own)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "GATEWAY_CHAT_BODY_MAX", "2048");
    e2e_start(e);
    struct str body = with_image(2048);
    struct http_reply r = call(e, "POST", CHAT, NULL, body);
    expect_error(&r, 413, "invalid_request_error", "bad_body");
    cr_expect_str_eq(error_member(&r, "message"), "Request body too large: at most 2048 bytes");
    http_reply_free(&r);
    free((void *)(uintptr_t)body.p);
    e2e_end(e);
}

static void write_tokens(const struct e2e *e, char path[160])
{
    char command[320];

    snprintf(path, 160, "%s/tokens", e->dir);
    snprintf(command, sizeof command, "printf %%s secreto-uno | sha256sum | sed 's/-$/panel/' >'%s'", path);
    cr_assert_eq(system(command), 0);
}

Test(openai, a_token_is_its_api_key)
{
    struct e2e *e = e2e_new();
    char path[160], got[80];

    write_tokens(e, path);
    e2e_env(e, "GATEWAY_TOKENS_FILE", "%s", path);
    e2e_start(e);
    struct http_reply r = post(e, "Authorization: Bearer secreto-uno\r\n", HELLO "}");
    cr_expect_eq(r.status, 200);
    http_reply_free(&r);
    r = post(e, "Authorization: Bearer sk-otro\r\n", HELLO "}");
    expect_error(&r, 401, "invalid_request_error", "invalid_api_key");
    cr_expect(http_header(&r, "WWW-Authenticate", got, sizeof got));
    http_reply_free(&r);
    r = call(e, "GET", "/v1/models", NULL, (struct str){NULL, 0});
    expect_error(&r, 401, "invalid_request_error", "invalid_api_key");
    http_reply_free(&r);
    e2e_end(e);
}

/* The user is who the request says; one that says nobody has no user's limit. */
Test(openai, limits_say_when_to_come_again)
{
    static const char *const ana[] = {HELLO ",\"safety_identifier\":\"ana\"}", HELLO ",\"user\":\"ana\"}"};
    struct e2e *e = e2e_new();
    char s[32] = "", ms[32] = "";

    e2e_env(e, "RATE_LIMIT_USER_PER_MINUTE", "1");
    e2e_start(e);
    for (int i = 0; i < 3; i++) {
        struct http_reply r = post(e, NULL, HELLO "}");
        cr_expect_eq(r.status, 200);
        http_reply_free(&r);
    }
    struct http_reply r = post(e, NULL, ana[0]);
    cr_expect_eq(r.status, 200);
    http_reply_free(&r);
    r = post(e, NULL, ana[1]);
    expect_error(&r, 429, "requests", "rate_limit_exceeded");
    cr_expect(http_header(&r, "Retry-After", s, sizeof s));
    cr_expect(http_header(&r, "retry-after-ms", ms, sizeof ms));
    cr_expect_gt(strtol(s, NULL, 10), 0);
    cr_expect_eq(strtol(ms, NULL, 10), 1000 * strtol(s, NULL, 10));
    http_reply_free(&r);
    e2e_end(e);
}

/* P8: what the provider says about the operator's key is not for the client. */
Test(openai, the_providers_key_is_nobodys_business)
{
    static const char *const errors[] = {"invalid_api_key", "forbidden"};
    struct e2e *e = e2e_new();
    char script[64];

    e2e_start(e);
    for (size_t i = 0; i < ARRAY_LEN(errors); i++)
        for (int stream = 0; stream < 2; stream++) {
            snprintf(script, sizeof script, "[{\"error\":\"%s\"}]", errors[i]);
            e2e_tell(&e->openai, "/_admin/script", script);
            struct http_reply r = post(e, NULL, stream ? HELLO ",\"stream\":true}" : HELLO "}");
            cr_expect_eq(r.status, 502);
            cr_expect_str_eq(error_member(&r, "type"), "server_error");
            cr_expect_str_eq(error_member(&r, "message"), "Upstream LLM error");
            cr_expect_null(strstr(r.body.data, "sk-"), "%s", r.body.data);
            http_reply_free(&r);
        }
    e2e_end(e);
}

/* Nor is who the operator is to the provider. */
Test(openai, the_operators_names_are_nobodys_business)
{
    static const char script[] =
        "[{\"status\":429,\"repeat\":3,\"body\":\"{\\\"error\\\":{\\\"message\\\":\\\"Rate limit reached for "
        "gpt-4o "
        "in organization org-abc123 on requests per min\\\",\\\"type\\\":\\\"requests\\\",\\\"param\\\":null,"
        "\\\"code\\\":\\\"rate_limit_exceeded\\\"}}\"}]";
    struct e2e *e = e2e_new();

    e2e_env(e, "LLM_MAX_ATTEMPTS", "1");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", script);
    struct http_reply r = post(e, NULL, HELLO "}");
    cr_expect_eq(r.status, 429, "%d", r.status);
    cr_expect_str_eq(error_member(&r, "message"),
                     "Rate limit reached for gpt-4o in organization org-*** on requests per min", "%s",
                     r.body.data);
    cr_expect_str_eq(error_member(&r, "code"), "rate_limit_exceeded");
    cr_expect(!e2e_file_contains(e->out, "abc123"));
    http_reply_free(&r);
    e2e_end(e);
}

/* What has been tried enough is not to be tried three times more. */
Test(openai, a_failure_that_was_tried_again_says_so)
{
    struct e2e *e = e2e_new();
    char got[32] = "";

    e2e_tell(&e->openai, "/_admin/script", "[{\"status\":500,\"retry_after_ms\":10,\"repeat\":100}]");
    e2e_start(e);
    struct http_reply r = post(e, NULL, HELLO "}");
    expect_error(&r, 500, "server_error", "");
    cr_expect(http_header(&r, "x-should-retry", got, sizeof got));
    cr_expect_str_eq(got, "false");
    cr_expect(http_header(&r, "retry-after-ms", got, sizeof got));
    cr_expect_gt(e2e_stat(&e->openai, "requests"), 1);
    http_reply_free(&r);

    e2e_tell(&e->openai, "/_admin/script",
             "[{\"error\":\"quota\"}]"); /* there is no use in trying that again */
    r = post(e, NULL, HELLO "}");
    expect_error(&r, 429, "insufficient_quota", "insufficient_quota");
    cr_expect_not(http_header(&r, "x-should-retry", got, sizeof got));
    http_reply_free(&r);
    e2e_end(e);
}

Test(openai, without_a_providers_key)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "OPENAI_API_KEY", NULL);
    e2e_start(e);
    struct http_reply r = post(e, NULL, HELLO "}");
    expect_error(&r, 502, "server_error", "no_api_key");
    http_reply_free(&r);
    r = call(e, "GET", "/v1/models", NULL, (struct str){NULL, 0});
    cr_expect_str_eq(r.body.data, "{\"object\":\"list\",\"data\":[]}");
    http_reply_free(&r);
    e2e_end(e);
}

static bool lists(const struct e2e *e, const char *path, const char *want)
{
    struct http_reply r = call(e, "GET", path, NULL, (struct str){NULL, 0});
    bool same = r.status == 200 && strcmp(r.body.data, want) == 0;

    http_reply_free(&r);
    return same;
}

#define MODEL(id, owner) "{\"id\":\"" id "\",\"object\":\"model\",\"created\":0,\"owned_by\":\"" owner "\"}"

/* The upstreams come with the workers' first words, the list with the gateway's next beat. */
Test(openai, the_models_of_the_upstreams)
{
    struct e2e *e = e2e_new();
    char path[160];

    snprintf(path, sizeof path, "%s/upstreams.json", e->dir);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fprintf(f,
            "{\"upstreams\":[{\"name\":\"a\",\"base_url\":\"http://127.0.0.1:%u/"
            "v1\",\"model\":\"gpt-4o\",\"key\":"
            "\"OPENAI_API_KEY\"},{\"name\":\"b\",\"base_url\":\"http://127.0.0.1:%u/v1\",\"model\":\"meta/"
            "llama-3\","
            "\"key\":\"OPENAI_API_KEY\"}]}",
            e->openai.port, e->openai.port);
    cr_assert_eq(fclose(f), 0);
    e2e_env(e, "LLM_UPSTREAMS_FILE", "%s", path);
    e2e_start(e);
    E2E_WAIT(E2E_WAIT_SECONDS, lists(e, "/v1/models",
                                     "{\"object\":\"list\",\"data\":[" MODEL("gpt-4o", "a") "," MODEL(
                                         "meta/llama-3", "b") "]}"));
    cr_expect(lists(e, "/v1/models/meta/llama-3", MODEL("meta/llama-3", "b")));
    cr_expect(lists(e, "/v1/models/meta%2Fllama-3", MODEL("meta/llama-3", "b")));
    cr_expect(lists(e, "/v1/models/gpt-4o", MODEL("gpt-4o", "a")));
    e2e_end(e);
}

/* Everything of a stream up to its end. */
static char *streamed(const struct e2e *e, const char *json, char trace[33])
{
    struct sse_client c = sse_open(e->port, CHAT, "", json);
    struct buf all = BUF_INIT(MIB);
    const char *parent = strstr(c.head.data, "traceparent: 00-");

    cr_assert_eq(c.status, 200, "%s", c.head.data);
    cr_assert_not_null(parent);
    snprintf(trace, 33, "%.32s", parent + strlen("traceparent: 00-"));
    sse_body(&c, &all);
    cr_expect_null(c.trouble, "%s", c.trouble);
    sse_close(&c);
    return all.data;
}

/* The usage is in the record whoever has asked for it, and in the stream when its client has. */
Test(openai, a_stream_and_its_usage)
{
    struct e2e *e = e2e_new();
    char trace_id[33];

    e2e_tell(&e->openai, "/_admin/defaults", "{\"content\":\"uno dos tres\"}");
    e2e_start(e);
    for (int asked = 0; asked < 2; asked++) {
        char *all = streamed(e,
                             asked ? HELLO ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"
                                   : HELLO ",\"stream\":true}",
                             trace_id);
        cr_expect_eq(strstr(all, "\"completion_tokens\":3") != NULL, asked == 1, "%s", all);
        cr_expect_not_null(strstr(all, "\"content\":\" dos\""), "%s", all);
        cr_expect_str_eq(all + strlen(all) - strlen("data: [DONE]\n\n"), "data: [DONE]\n\n");
        json_t *trace = e2e_trace(e, trace_id);
        const json_t *g = json_array_get(json_object_get(trace, "observations"), 0);
        char *output = json_dumps(json_object_get(g, "output"), JSON_ENCODE_ANY | JSON_COMPACT);
        cr_expect_not_null(strstr(output, "uno dos tres"), "%s", output);
        cr_expect_eq(json_integer_value(json_object_get(json_object_get(g, "usageDetails"), "output")), 3);
        free(output);
        json_decref(trace);
        free(all);
    }
    e2e_end(e);
}

/* The session, the tags and the metadata wait for Langfuse with the rest of the record. */
Test(openai, what_the_record_is_told_besides)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    e2e_fake_stop(&e->langfuse);
    struct http_reply r = post(e, "X-Session-ID: charla-17\r\nX-Tags: web\r\nX-Tags: beta\r\n",
                               HELLO ",\"user\":\"ana-3\",\"metadata\":{\"caso\":\"n-4\"}}");
    cr_assert_eq(r.status, 200);
    http_reply_free(&r);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_tree_contains(e->state_dir, "charla-17"));
    cr_expect(e2e_tree_contains(e->state_dir, "web,beta") || e2e_tree_contains(e->state_dir, "web, beta"));
    cr_expect(e2e_tree_contains(e->state_dir, "{\"caso\":\"n-4\"}"));
    cr_expect(e2e_tree_contains(e->state_dir, "ana-3"));
    r = post(e, "X-Session-ID: chárla-18\r\nX-Tags: wéb-5\r\n", HELLO ",\"user\":\"ana-6\"}");
    cr_assert_eq(r.status, 200);
    http_reply_free(&r);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_tree_contains(e->state_dir, "ana-6"));
    cr_expect_not(e2e_tree_contains(e->state_dir, "rla-18"));
    cr_expect_not(e2e_tree_contains(e->state_dir, "b-5"));
    e2e_langfuse_start(e);
    e2e_end(e);
}
