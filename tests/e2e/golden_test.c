/*
 * The recorded pairs of the Python service (tests/golden/golden-ask.jsonl), sent as they were recorded to the
 * shipped programs, with a provider that does what it did then. `ours` stands in place of the recorded answer
 * where we differ on purpose (docs/decisions/0012).
 */
#include "tests/e2e/harness.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "common/base/limits.h"
#include "common/base/mem.h"

#define VALUE_MAX 2048 /* of a header */

TestSuite(golden, .fini = e2e_cleanup, .timeout = 200);

static const char *const questions[] = {"valid",           "valid-max-words", "truncation",
                                        "content-type",    "validation",      "broken-json",
                                        "validation-body", "odd-json",        NULL};
static const char *const routes[] = {"routing", NULL};
static const char *const cors[] = {"cors", NULL};
static const char *const provider[] = {"upstream", NULL};

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static bool is_in(const char *const *list, const char *word)
{
    while (*list && strcmp(*list, word) != 0)
        list++;
    return *list != NULL;
}

/* jansson has no integers beyond 64 bits: those long enough to be one become strings, on both sides. */
static json_t *parse(struct str json)
{
    struct buf b = BUF_INIT(2 * json.n + 64);
    bool inside = false;

    for (size_t i = 0; i < json.n;) {
        size_t n = inside ? 0 : strspn(json.p + i, "-0123456789");
        bool whole = n > 0 && !strchr(".eE", json.p[i + n]) && (i == 0 || !strchr(".eE+", json.p[i - 1]));
        if (n > 18 && whole)
            buf_printf(&b, "\"integer %.*s\"", (int)n, json.p + i);
        else if (n > 0)
            buf_append(&b, json.p + i, n);
        else if (inside && json.p[i] == '\\')
            buf_append(&b, json.p + i, n = 2);
        else
            buf_putc(&b, json.p[i]);
        if (n == 0) {
            inside ^= json.p[i] == '"';
            n = 1;
        }
        i += n;
    }
    json_t *o = json_loadb(b.data ? b.data : "", b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    buf_free(&b);
    return o;
}

/* What the request's body was; p NULL: there was none. */
static struct str body_of(const json_t *request)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const json_t *body = json_object_get(request, "body");
    const char *b64 = text_of(request, "body_b64");
    unsigned bits = 0, have = 0;
    size_t n = 0;

    if (json_is_string(body))
        return (struct str){xmemdup(json_string_value(body), json_string_length(body)),
                            json_string_length(body)};
    if (!b64)
        return (struct str){NULL, 0};
    char *out = xmalloc(strlen(b64) + 1);
    for (; *b64 && *b64 != '='; b64++) {
        bits = bits << 6 | (unsigned)(strchr(digits, *b64) - digits);
        have += 6;
        if (have >= 8)
            out[n++] = (char)(bits >> (have -= 8));
    }
    out[n] = '\0';
    return (struct str){out, n};
}

static struct http_reply send_as_recorded(const struct e2e *e, const json_t *request)
{
    struct buf headers = BUF_INIT(64 * KIB);
    struct http_client c = http_open(e->port);
    struct str body = body_of(request);
    struct http_reply r;
    const char *name;
    json_t *value;

    json_object_foreach(json_object_get(request, "headers"), name, value)
        buf_printf(&headers, "%s: %s\r\n", name, json_string_value(value));
    c.bare = true;
    c.headers = headers.data;
    http_call(&c, text_of(request, "method"), text_of(request, "path"), body, &r);
    http_close(&c);
    buf_free(&headers);
    free((void *)(uintptr_t)body.p);
    return r;
}

/* One call of the provider that fails: with a status, or as the word says. */
static json_t *failing_step(const json_t *fail)
{
    return json_is_integer(fail) ? json_pack("{s:O}", "status", fail)
                                 : json_pack("{s:b}", json_string_value(fail), 1);
}

static void script_provider(const struct e2e *e, const json_t *upstream)
{
    static const char *const answers[] = {"content", "object"};
    json_t *steps = json_array();
    size_t i;
    json_t *v;

    json_array_foreach(json_object_get(upstream, "fail"), i, v) json_array_append_new(steps, failing_step(v));
    for (i = 0; i < ARRAY_LEN(answers); i++)
        if ((v = json_object_get(upstream, answers[i])))
            json_array_append_new(steps, json_pack("{s:O, s:i}", answers[i], v, "repeat", 100));
    char *text = json_dumps(steps, JSON_COMPACT);
    e2e_tell(&e->openai, "/_admin/reset", NULL);
    e2e_tell(&e->openai, "/_admin/script", text);
    free(text);
    json_decref(steps);
}

/* Ids are whatever they are, but they are there. */
static bool same(const json_t *want, const json_t *got, bool more_keys)
{
    const char *key;
    size_t i;
    json_t *v;

    if (json_is_string(want) && strcmp(json_string_value(want), "<id>") == 0)
        return json_string_length(got) >= 16;
    if (json_is_array(want)) {
        bool equal = json_is_array(got) && json_array_size(want) == json_array_size(got);
        json_array_foreach(want, i, v) equal = equal && same(v, json_array_get(got, i), false);
        return equal;
    }
    if (!json_is_object(want))
        return json_equal(want, got);
    bool equal = json_is_object(got) && (more_keys || json_object_size(want) == json_object_size(got));
    json_object_foreach((json_t *)(uintptr_t)want, key, v) equal =
        equal && same(v, json_object_get(got, key), false);
    return equal;
}

static const char *next_item(const char *list, size_t *n)
{
    list += strspn(list, ", ");
    *n = strcspn(list, ", ");
    return list;
}

/* Whether the list `got` has every item of the list `want`. */
static bool has_all(const char *want, const char *got)
{
    size_t n, m;

    for (want = next_item(want, &n); n > 0; want = next_item(want + n, &n)) {
        const char *at = next_item(got, &m);
        while (m > 0 && (m != n || strncasecmp(at, want, n) != 0))
            at = next_item(at + m, &m);
        if (m == 0)
            return false;
    }
    return true;
}

static const char *path_of(const char *url)
{
    const char *host = strstr(url, "://");
    const char *path = host ? strchr(host + 3, '/') : url;

    return path ? path : "/";
}

static bool same_header(const char *name, const char *want, const char *got)
{
    if (strcmp(name, "content-type") == 0) {
        size_t n = strcspn(want, "; ");
        return strcspn(got, "; ") == n && strncasecmp(want, got, n) == 0;
    }
    if (strcmp(name, "location") == 0)
        return strcmp(path_of(want), path_of(got)) == 0;
    if (strcmp(name, "allow") == 0 || strcmp(name, "vary") == 0 ||
        strcmp(name, "access-control-allow-methods") == 0)
        return has_all(want, got);
    return strcmp(want, got) == 0;
}

static void check_headers(const char *pair, const json_t *headers, const struct http_reply *r)
{
    static const char origin[] = "access-control-allow-origin";
    char got[VALUE_MAX] = "";
    const char *name;
    json_t *want;

    json_object_foreach((json_t *)(uintptr_t)headers, name, want)
    {
        bool there = http_header(r, name, got, sizeof got);
        cr_expect(there && same_header(name, json_string_value(want), got), "%s: %s: %s, got %s", pair, name,
                  json_string_value(want), there ? got : "nothing");
    }
    cr_expect(json_object_get(headers, origin) || !http_header(r, origin, got, sizeof got),
              "%s: %s: none wanted, got %s", pair, origin, got);
}

static void check_json(const char *pair, const json_t *want, bool more_keys, const struct http_reply *r)
{
    json_t *got = parse((struct str){r->body.data ? r->body.data : "", r->body.len});

    cr_expect(same(want, got, more_keys), "%s: %.600s", pair, r->body.data ? r->body.data : "no body");
    json_decref(got);
}

static void check_first_type(const char *pair, const char *want, const struct http_reply *r)
{
    json_t *got = parse((struct str){r->body.data ? r->body.data : "", r->body.len});
    const char *type = text_of(json_array_get(json_object_get(got, "detail"), 0), "type");

    cr_expect(type && strcmp(type, want) == 0, "%s: %s: %.300s", pair, want, r->body.data);
    json_decref(got);
}

static bool one_of(const json_t *statuses, int status)
{
    size_t i;
    json_t *v;

    json_array_foreach(statuses, i, v) if (json_integer_value(v) == status) return true;
    return json_is_integer(statuses) && json_integer_value(statuses) == status;
}

static void check_reply(const char *pair, const json_t *o, const struct http_reply *r)
{
    const json_t *recorded = json_object_get(o, "response"), *ours = json_object_get(o, "ours");
    const json_t *status = json_object_get(ours, "status"), *json = json_object_get(ours, "json");
    bool as_recorded = !status;
    /* /ask answers with exactly its four fields; elsewhere there may be more than there was. */
    bool more_keys = !json_object_get(json_object_get(recorded, "json"), "answer");

    if (!status)
        status = json_object_get(recorded, "status");
    else
        as_recorded = json_equal(status, json_object_get(recorded, "status"));
    cr_expect(one_of(status, r->status), "%s: status %d %s: %.300s", pair, r->status,
              r->trouble ? r->trouble : "", r->body.data ? r->body.data : "");
    if (json_is_object(json))
        check_json(pair, json, true, r);
    if (text_of(ours, "type"))
        check_first_type(pair, text_of(ours, "type"), r);
    if (!as_recorded)
        return;
    check_headers(pair, json_object_get(recorded, "headers"), r);
    if (json_object_get(recorded, "json"))
        check_json(pair, json_object_get(recorded, "json"), more_keys, r);
    else
        cr_expect_str_eq(r->body.data ? r->body.data : "", text_of(recorded, "text"), "%s", pair);
}

static void check_provider(const char *pair, const struct e2e *e, const json_t *o)
{
    const json_t *attempts = json_object_get(json_object_get(o, "ours"), "attempts");
    const json_t *want = json_object_get(o, "upstream_request");

    if (!attempts)
        attempts = json_object_get(o, "attempts");
    if (attempts)
        cr_expect_eq(e2e_stat(&e->openai, "requests"), json_integer_value(attempts), "%s: %d calls", pair,
                     (int)e2e_stat(&e->openai, "requests"));
    if (!want)
        return;
    json_t *log = e2e_admin(&e->openai, "GET", "/_admin/requests", NULL);
    const char *text = text_of(json_array_get(json_object_get(log, "requests"), 0), "body");
    json_t *got = json_loads(text ? text : "", 0, NULL);
    cr_expect(json_equal(got, want), "%s: the provider was sent %s", pair, text);
    json_decref(got);
    json_decref(log);
}

/* The service as it was when the pairs were recorded: its /health says that Langfuse was off. */
static struct e2e *start(bool with_key)
{
    struct e2e *e = e2e_new();

    e2e_env(e, "LANGFUSE_PUBLIC_KEY", NULL);
    e2e_env(e, "LANGFUSE_SECRET_KEY", NULL);
    if (!with_key)
        e2e_env(e, "OPENAI_API_KEY", NULL);
    e2e_start(e);
    for (bool known = !with_key; !known;) {
        struct http_reply r = e2e_get(e->port, "/health");
        known = r.body.data && strstr(r.body.data, "\"openai_configured\":true");
        http_reply_free(&r);
        e2e_nap();
    }
    return e;
}

static json_t *load_pairs(void)
{
    char path[1024];
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    json_t *pairs = json_array();

    snprintf(path, sizeof path, "%s/tests/golden/golden-ask.jsonl", getenv("ATALAYA_SOURCE"));
    FILE *f = fopen(path, "r");
    cr_assert(f, "%s", path);
    while ((n = getline(&line, &cap, f)) > 0) {
        json_t *pair = parse((struct str){line, (size_t)n});
        cr_assert(pair, "%s", line);
        json_array_append_new(pairs, pair);
    }
    free(line);
    fclose(f);
    return pairs;
}

static void replay(const char *const *groups)
{
    json_t *pairs = load_pairs(), *pair;
    struct e2e *with_key = start(true), *without_key = NULL;
    size_t i;

    json_array_foreach(pairs, i, pair)
    {
        if (!is_in(groups, text_of(pair, "group")))
            continue;
        if (json_object_get(pair, "configured") && !without_key)
            without_key = start(false);
        struct e2e *e = json_object_get(pair, "configured") ? without_key : with_key;
        script_provider(e, json_object_get(pair, "upstream"));
        struct http_reply r = send_as_recorded(e, json_object_get(pair, "request"));
        check_reply(text_of(pair, "name"), pair, &r);
        check_provider(text_of(pair, "name"), e, pair);
        http_reply_free(&r);
    }
    json_decref(pairs);
    e2e_end(with_key);
    if (without_key)
        e2e_end(without_key);
}

Test(golden, questions)
{
    replay(questions);
}

Test(golden, routes)
{
    replay(routes);
}

Test(golden, cors)
{
    replay(cors);
}

Test(golden, provider)
{
    replay(provider);
}

Test(golden, no_pair_is_left_out)
{
    json_t *pairs = load_pairs(), *pair;
    size_t i;

    cr_expect_eq(json_array_size(pairs), 302);
    json_array_foreach(pairs, i, pair)
    {
        const char *group = text_of(pair, "group");
        cr_expect(is_in(questions, group) || is_in(routes, group) || is_in(cors, group) ||
                      is_in(provider, group),
                  "%s: group %s", text_of(pair, "name"), group);
    }
    json_decref(pairs);
}
