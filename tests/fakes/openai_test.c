/* fake-openai from outside: as strict as OpenAI, and exactly as broken as a test asks for. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "tests/fakes/fixture.h"

#define CHAT "/v1/chat/completions"
#define AUTH "Authorization: Bearer sk-test-0123456789\r\nContent-Type: application/json\r\n"
#define GOOD "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"uno dos tres\"}]}"

static struct fixture start(const char *option)
{
    const char *args[] = {"--seed", "1", option, NULL};

    return fixture_start("fake-openai", args);
}

static struct got chat(const struct fixture *f, const char *body)
{
    return fixture_call(f, "POST", CHAT, AUTH, str_of(body));
}

static void tell(const struct fixture *f, const char *path, const char *json)
{
    struct got g = fixture_call(f, "POST", path, "", str_of(json));

    cr_assert_eq(g.status, 200, "%s", g.raw.data);
    got_free(&g);
}

static json_int_t number(const struct fixture *f, const char *path, const char *key)
{
    struct got g = fixture_call(f, "GET", path, "", (struct str){0});
    json_t *v = json_loadb(g.body.p, g.body.n, 0, NULL);

    cr_assert(json_is_integer(json_object_get(v, key)), "%s", g.raw.data);
    json_int_t n = json_integer_value(json_object_get(v, key));
    json_decref(v);
    got_free(&g);
    return n;
}

Test(openai, says_where_it_listens)
{
    struct fixture f = start("--echo");
    char line[128];

    snprintf(line, sizeof line, "fake-openai listening on http://127.0.0.1:%u/v1\n", f.port);
    cr_expect_str_eq(f.line, line);
    fixture_stop(&f);
}

/* The exit code of another one that is asked whether this one answers. */
static int answers(const struct fixture *f)
{
    char command[512];

    snprintf(command, sizeof command, "exec \"${ATALAYA_BIN:-.}/fake-openai\" --port %u --answers", f->port);
    int status = system(command);
    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

Test(openai, says_whether_one_answers)
{
    struct fixture f = start("--echo");

    cr_expect_eq(answers(&f), EXIT_SUCCESS);
    fixture_stop(&f);
    cr_expect_eq(answers(&f), EXIT_FAILURE);
}

Test(openai, a_whole_answer)
{
    struct fixture f = start("--echo");
    struct got g = chat(&f, GOOD);
    json_t *v = json_loadb(g.body.p, g.body.n, 0, NULL);
    const char *id, *model, *content, *reason;
    int index, in, out, total;

    cr_assert_eq(g.status, 200);
    cr_assert(g.whole);
    cr_assert_eq(json_unpack(v, "{s:s, s:s, s:[{s:i, s:{s:s, s:n}, s:n, s:s}], s:{s:i, s:i, s:i}}", "id", &id,
                             "model", &model, "choices", "index", &index, "message", "content", &content,
                             "refusal", "logprobs", "finish_reason", &reason, "usage", "prompt_tokens", &in,
                             "completion_tokens", &out, "total_tokens", &total),
                 0, "%s", g.body.p);
    cr_expect(strncmp(id, "chatcmpl-", 9) == 0);
    cr_expect_str_eq(model, "gpt-4o-mini-2024-07-18");
    cr_expect_str_eq(content, "uno dos tres");
    cr_expect_str_eq(reason, "stop");
    cr_expect(out == 3 && total == in + out, "%d %d %d", in, out, total);
    cr_expect(strstr(g.head, "x-request-id: req_") && strstr(g.head, "x-ratelimit-remaining-requests: "));
    json_decref(v);
    got_free(&g);
    fixture_stop(&f);
}

Test(openai, refuses_what_openai_refuses)
{
    static const struct {
        const char *body;
        int status;
        const char *says;
    } table[] = {
        {"", 400, "We could not parse the JSON body"},
        {"[]", 400, "We could not parse the JSON body"},
        {"{\"model\":\"gpt-4o-mini\"}", 400, "Missing required parameter: 'messages'."},
        {"{\"messages\":[]}", 400, "you must provide a model parameter"},
        {"{\"model\":\"\",\"messages\":[]}", 400, "you must provide a model parameter"},
        {"{\"model\":\"llama\",\"messages\":[]}", 404, "model_not_found"},
        {"{\"model\":\"gpt-4o\",\"messages\":[]}", 400, "empty_array"},
        {"{\"model\":\"gpt-4o\",\"messages\":{}}", 400, "\"code\":\"invalid_type\""},
        {"{\"model\":\"gpt-4o\",\"messages\":[{\"content\":\"a\"}]}", 400, "\"param\":\"messages[0].role\""},
        {"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"x\",\"content\":\"a\"}]}", 400, "invalid_value"},
        {"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":1}]}", 400,
         "messages[0].content"},
        {"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":null}]}", 400, "got null"},
        {"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"x\"}]}]}", 400,
         "messages[0].content[0].type"},
        {"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"x\":1}]}", 400,
         "unknown_parameter"},
        {"{\"model\":\"gpt-4o\",\"temperature\":2.1,\"messages\":[]}", 400, "decimal_above_max_value"},
        {"{\"model\":\"gpt-4o\",\"temperature\":-1,\"messages\":[]}", 400, "decimal_below_min_value"},
        {"{\"model\":\"gpt-4o\",\"temperature\":\"0\",\"messages\":[]}", 400,
         "expected a decimal, but got a string"},
        {"{\"model\":\"gpt-4o\",\"max_tokens\":0,\"messages\":[]}", 400, "integer_below_min_value"},
        {"{\"model\":\"gpt-4o\",\"stream_options\":{},\"messages\":[]}", 400,
         "only allowed when 'stream' is enabled"},
        {"{\"model\":\"gpt-4o\",\"temprature\":1,\"messages\":[]}", 400,
         "Unrecognized request argument supplied"},
        {"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}", 400,
         "We could not parse"},
        {"{\"model\":\"gpt-4o\",\"temperature\":null,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}",
         200, "stop"},
        {"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
         "\"parte\"}]}]}",
         200, "\"content\":\"parte\""},
    };
    struct fixture f = start("--echo");

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct got g = chat(&f, table[i].body);
        cr_expect_eq(g.status, table[i].status, "%s: %s", table[i].body, g.raw.data);
        cr_expect(got_has(&g, table[i].says), "%s: %s", table[i].body, g.raw.data);
        got_free(&g);
    }
    fixture_stop(&f);
}

Test(openai, keys_types_and_paths)
{
    static const struct {
        const char *method, *path, *headers;
        int status;
        const char *says;
    } table[] = {
        {"POST", CHAT, "Content-Type: application/json\r\n", 401, "You didn't provide an API key."},
        {"POST", CHAT, AUTH, 401, "\"code\":\"invalid_api_key\""},
        {"POST", CHAT, "Authorization: Bearer sk-right\r\n", 400, "unsupported_content_type"},
        {"POST", CHAT, "Authorization: Bearer sk-right\r\nContent-Type: text/plain\r\n", 400,
         "unsupported_content_type"},
        {"POST", CHAT, "Authorization: Bearer sk-right\r\nContent-Type: application/json; charset=utf-8\r\n",
         200, "stop"},
        {"GET", CHAT, "Authorization: Bearer sk-right\r\n", 405, "Not allowed to GET"},
        {"POST", "/chat/completions", AUTH, 404, "unknown_url"},
        {"GET", "/v1/models", "Authorization: Bearer sk-right\r\n", 200, "gpt-4o-mini"},
        {"GET", "/v1/models/nope", "Authorization: Bearer sk-right\r\n", 404, "model_not_found"},
    };
    const char *args[] = {"--key", "sk-other", "--key", "sk-right", NULL};
    struct fixture f = fixture_start("fake-openai", args);

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct got g = fixture_call(&f, table[i].method, table[i].path, table[i].headers, str_of(GOOD));
        cr_expect_eq(g.status, table[i].status, "%zu: %s", i, g.raw.data);
        cr_expect(got_has(&g, table[i].says), "%zu: %s", i, g.raw.data);
        got_free(&g);
    }
    fixture_stop(&f);
}

/* Reads the events of a stream; the content, the usage and the end are what a client makes of them. */
static void read_events(const struct got *g, struct buf *content, json_int_t *tokens, bool *done)
{
    const char *at = g->body.p;
    const char *end = at + g->body.n;

    *tokens = -1;
    *done = false;
    while (at < end) {
        const char *stop = memmem(at, (size_t)(end - at), "\n\n", 2);
        cr_assert(stop && strncmp(at, "data: ", 6) == 0, "an event without frame: %s", at);
        struct str data = {at + 6, (size_t)(stop - at) - 6};
        at = stop + 2;
        cr_assert_not(*done, "something comes after [DONE]");
        if (str_eq(data, "[DONE]")) {
            *done = true;
            continue;
        }
        json_t *v = json_loadb(data.p, data.n, 0, NULL);
        cr_assert_str_eq(json_string_value(json_object_get(v, "object")), "chat.completion.chunk");
        const json_t *choice = json_array_get(json_object_get(v, "choices"), 0);
        const json_t *text = json_object_get(json_object_get(choice, "delta"), "content");
        const json_t *usage = json_object_get(v, "usage");
        if (json_is_string(text))
            buf_puts(content, json_string_value(text));
        if (json_is_object(usage))
            *tokens = json_integer_value(json_object_get(usage, "completion_tokens"));
        json_decref(v);
    }
}

static struct got stream(const struct fixture *f, const char *more, struct buf *content, json_int_t *tokens,
                         bool *done)
{
    char body[400];

    snprintf(body, sizeof body,
             "{\"model\":\"gpt-4o\",\"stream\":true,%s\"messages\":[{\"role\":\"user\",\"content\":\" a  "
             "b\\nç d\"}]}",
             more);
    buf_reset(content);
    struct got g = chat(f, body);
    cr_assert_eq(g.status, 200, "%s", g.raw.data);
    cr_assert(strstr(g.head, "content-type: text/event-stream"));
    read_events(&g, content, tokens, done);
    return g;
}

Test(openai, streams)
{
    struct fixture f = start("--echo");
    struct buf content = BUF_INIT(4096);
    json_int_t tokens;
    bool done;

    struct got g = stream(&f, "", &content, &tokens, &done);
    cr_expect(g.whole && done && tokens == -1);
    cr_expect_str_eq(content.data, " a  b\nç d");
    got_free(&g);
    g = stream(&f, "\"stream_options\":{\"include_usage\":true},", &content, &tokens, &done);
    cr_expect(g.whole && done);
    cr_expect_eq(tokens, 4);
    got_free(&g);
    tell(&f, "/_admin/script", "[{\"tokens_per_second\":200},{\"cut\":\"body\"}]");
    int64_t began = clock_ms();
    g = stream(&f, "", &content, &tokens, &done);
    cr_expect(g.whole && done);
    cr_expect_str_eq(content.data, " a  b\nç d");
    cr_expect_geq(clock_ms() - began, 15, "four tokens at 200 a second");
    got_free(&g);
    g = stream(&f, "", &content, &tokens, &done);
    cr_expect(!g.whole && !done);
    cr_expect_str_eq(content.data, " a  b");
    got_free(&g);
    buf_free(&content);
    fixture_stop(&f);
}

Test(openai, a_script_is_played_once_and_in_order)
{
    static const struct {
        const char *step;
        int status;
        const char *head, *body;
        bool whole;
    } table[] = {
        {"{\"status\":429,\"retry_after\":1.5,\"should_retry\":false}", 429,
         "retry-after: 1.5\r\nx-should-retry: false", "rate_limit_exceeded", true},
        {"{\"error\":\"quota\"}", 429, "HTTP", "insufficient_quota", true},
        {"{\"status\":503,\"retry_after_ms\":20}", 503, "retry-after-ms: 20", "server_is_overloaded", true},
        {"{\"status\":502}", 502, "text/html", "Bad Gateway", true},
        {"{\"garbage\":true}", 200, "HTTP", "chatcmpl-", true},
        {"{\"object\":[]}", 200, "HTTP", "[]", true},
        {"{\"body\":\"x\",\"content_type\":\"text/plain\",\"headers\":{\"X-A\":\"b\"}}", 200, "X-A: b", "x",
         true},
        {"{\"cut\":\"body\"}", 200, "HTTP", "chatcmpl-", false},
        {"{\"cut\":\"body\",\"content\":\"hola\"}", 200, "HTTP", "hola", false},
        {"{\"cut\":\"head\"}", 0, NULL, NULL, false},
        {"{\"garbage\":\"wire\"}", 0, NULL, NULL, false},
        {"{\"content\":\"hola\",\"trickle_bytes\":100,\"trickle_ms\":1}", 200, "HTTP", "\"content\":\"hola\"",
         true},
        {"{\"content\":\"tarde\",\"delay_ms\":50,\"repeat\":2}", 200, "HTTP", "tarde", true},
    };
    struct fixture f = start("--echo");
    struct buf script = BUF_INIT(16384);

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        buf_printf(&script, "%c%s", i ? ',' : '[', table[i].step);
    buf_putc(&script, ']');
    tell(&f, "/_admin/script", script.data);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct got g = chat(&f, GOOD);
        cr_expect_eq(g.status, table[i].status, "%s: %s", table[i].step, g.raw.data);
        cr_expect_eq(g.whole, table[i].whole, "%s", table[i].step);
        if (table[i].head)
            cr_expect(strstr(g.head, table[i].head) && got_has(&g, table[i].body), "%s: %s", table[i].step,
                      g.raw.data);
        got_free(&g);
    }
    cr_expect_eq(number(&f, "/_admin/stats", "steps_left"), 1);
    struct got g = chat(&f, GOOD);
    cr_expect(got_has(&g, "tarde"));
    got_free(&g);
    g = chat(&f, GOOD);
    cr_expect(got_has(&g, "uno dos tres"));
    got_free(&g);
    buf_free(&script);
    fixture_stop(&f);
}

Test(openai, a_mistake_in_a_script_is_said)
{
    static const char *const bad[] = {"{}",
                                      "[{\"satus\":429}]",
                                      "[{\"status\":\"429\"}]",
                                      "[{\"error\":\"nope\"}]",
                                      "[{\"content\":\"a\",\"object\":{}}]",
                                      "[{\"stall\":\"half\"}]",
                                      "[{\"headers\":{\"a b\":\"c\"}}]",
                                      "["};
    struct fixture f = start("--echo");

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct got g = fixture_call(&f, "POST", "/_admin/script", "", str_of(bad[i]));
        cr_expect_eq(g.status, 400, "%s: %s", bad[i], g.raw.data);
        got_free(&g);
    }
    fixture_stop(&f);
}

/* A client that leaves while it waits is seen at once; one that stays is not. */
Test(openai, sees_a_client_leave)
{
    struct fixture f = start("--echo");
    char request[600];

    tell(&f, "/_admin/script", "[{\"stall\":true},{\"delay_ms\":20}]");
    snprintf(request, sizeof request,
             "POST " CHAT " HTTP/1.1\r\nHost: a\r\n" AUTH "Content-Length: %zu\r\n\r\n%s", strlen(GOOD),
             GOOD);
    int fd = fixture_connect(&f);
    fixture_send(fd, request, strlen(request));
    int64_t end = clock_ms() + FIXTURE_WAIT_MS;
    while (number(&f, "/_admin/stats", "in_flight") < 1)
        cr_assert(clock_ms() < end);
    cr_expect_eq(number(&f, "/_admin/stats", "client_left"), 0);
    close(fd);
    while (number(&f, "/_admin/stats", "in_flight") > 0)
        cr_assert(clock_ms() < end);
    cr_expect_eq(number(&f, "/_admin/stats", "client_left"), 1);
    struct got g = chat(&f, GOOD);
    cr_expect(g.status == 200 && g.whole);
    got_free(&g);
    cr_expect_eq(number(&f, "/_admin/stats", "client_left"), 1);
    g = fixture_call(&f, "GET", "/_admin/requests?since=0", "", (struct str){0});
    cr_expect(got_has(&g, "\"client_left\":true") && got_has(&g, "\"client_left\":false"));
    cr_expect(got_has(&g, "6789\"") && !got_has(&g, "sk-test"), "a key is in the log: %s", g.raw.data);
    cr_expect(got_has(&g, "uno dos tres"));
    got_free(&g);
    fixture_stop(&f);
}

/* Clients that break off somewhere in a stream, some of them while it is being written. */
Test(openai, clients_leave_streams)
{
    static const char body[] =
        "{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":"
        "\"uno dos tres cuatro cinco\"}]}";
    struct fixture f = start("--echo");
    char request[600];
    int fds[200];
    int64_t end = clock_ms() + FIXTURE_WAIT_MS;

    tell(&f, "/_admin/defaults", "{\"tokens_per_second\":500,\"jitter_ms\":10}");
    snprintf(request, sizeof request,
             "POST " CHAT " HTTP/1.1\r\nHost: a\r\n" AUTH "Content-Length: %zu\r\n\r\n%s", sizeof body - 1,
             body);
    for (size_t round = 0; round < 15; round++) {
        for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
            fds[i] = fixture_connect(&f);
            fixture_send(fds[i], request, strlen(request));
        }
        for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
            const struct linger reset = {.l_onoff = 1};
            setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            close(fds[i]);
        }
    }
    while (number(&f, "/_admin/stats", "in_flight") > 0)
        cr_assert(clock_ms() < end);
    fixture_stop(&f);
}

static size_t answers_in(const struct got *g)
{
    const char *at = g->raw.data, *end = at + g->raw.len;
    size_t n = 0;

    while (at && (at = memmem(at, (size_t)(end - at), "HTTP/1.1 200", 12))) {
        n++;
        at++;
    }
    return n;
}

/* Several requests at once, a chunked body, bytes that come one by one. */
Test(openai, pipelining_and_chunks)
{
    static const char chunked[] =
        "POST " CHAT " HTTP/1.1\r\nHost: a\r\n" AUTH "Transfer-Encoding: chunked\r\n\r\n";
    struct fixture f = start("--echo");
    struct buf b = BUF_INIT(65536);

    for (int i = 0; i < 3; i++) {
        buf_printf(&b, "POST " CHAT " HTTP/1.1\r\nHost: a\r\n" AUTH "Content-Length: %zu\r\n\r\n%s",
                   strlen(GOOD), GOOD);
        buf_printf(&b, "%s4\r\n%.4s\r\n%zx;x\r\n%s\r\n0\r\nA: b\r\n\r\n", chunked, GOOD, strlen(GOOD) - 4,
                   &GOOD[4]);
    }
    buf_puts(&b, "GET /_admin/stats HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    tell(&f, "/_admin/script",
         "[{\"delay_ms\":30},{\"delay_ms\":0,\"repeat\":2},{\"delay_ms\":10,\"repeat\":20}]");
    for (size_t step = 1; step <= b.len; step = step == 1 ? 1000 : b.len + 1) {
        int fd = fixture_connect(&f);
        for (size_t at = 0; at < b.len; at += step)
            fixture_send(fd, b.data + at, b.len - at < step ? b.len - at : step);
        struct got g = fixture_read(fd, FIXTURE_WAIT_MS);
        cr_expect_eq(answers_in(&g), 7, "%s", g.raw.data);
        got_free(&g);
    }
    buf_free(&b);
    fixture_stop(&f);
}

Test(openai, expect_continue)
{
    struct fixture f = start("--echo");
    char head[300], answer[64] = "";

    snprintf(head, sizeof head,
             "POST " CHAT " HTTP/1.1\r\nHost: a\r\n" AUTH
             "Expect: 100-continue\r\nConnection: close\r\nContent-Length: "
             "%zu\r\n\r\n",
             strlen(GOOD));
    int fd = fixture_connect(&f);
    fixture_send(fd, head, strlen(head));
    struct pollfd p = {.fd = fd, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, FIXTURE_WAIT_MS), 1);
    ssize_t n = recv(fd, answer, sizeof answer - 1, 0);
    cr_assert(n > 0);
    cr_expect_str_eq(answer, "HTTP/1.1 100 Continue\r\n\r\n");
    fixture_send(fd, GOOD, strlen(GOOD));
    struct got g = fixture_read(fd, FIXTURE_WAIT_MS);
    cr_expect_eq(g.status, 200);
    got_free(&g);
    fixture_stop(&f);
}

Test(openai, shares_follow_the_seed)
{
    const char *args[] = {"--seed",        "7", "--fail", "429:0.5", "--fail", "quota:0.25",
                          "--retry-after", "2", NULL};
    int failed[2] = {0}, total = 200;

    for (int run = 0; run < 2; run++) {
        struct fixture f = fixture_start("fake-openai", args);
        for (int i = 0; i < total; i++) {
            struct got g = chat(&f, GOOD);
            cr_assert(g.status == 200 || (g.status == 429 && strstr(g.head, "retry-after: 2\r\n")), "%s",
                      g.raw.data);
            failed[run] += g.status == 429;
            got_free(&g);
        }
        fixture_stop(&f);
    }
    cr_expect_eq(failed[0], failed[1]);
    cr_expect(failed[0] > total / 2 && failed[0] < total, "%d", failed[0]);
}

Test(openai, the_demo_says_that_it_is_one)
{
    struct fixture f = start("--demo");
    struct got g =
        chat(&f, "{\"model\":\"cualquiera\",\"messages\":[{\"role\":\"user\",\"content\":\"¿Qué es?\"}]}");

    cr_expect_eq(g.status, 200);
    cr_expect(got_has(&g, "[demo]") && got_has(&g, "¿Qué es?") && got_has(&g, "OPENAI_API_KEY"), "%s",
              g.raw.data);
    got_free(&g);
    fixture_stop(&f);
}
