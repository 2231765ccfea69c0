/* fake-langfuse from outside. The exports are built by hand: the fake's reading is checked against the wire format. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <zlib.h>

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "tests/fakes/fixture.h"

#define OTEL     "/api/public/otel/v1/traces"
#define BATCH    "/api/public/ingestion"
#define PROTO    "Content-Type: application/x-protobuf\r\n"
#define JSON     "Content-Type: application/json\r\n"
#define V4       "x-langfuse-ingestion-version: 4\r\n"
#define KEYS     "Authorization: Basic cGstbGYtdDpzay1sZi10\r\n" /* pk-lf-t:sk-lf-t */
#define TRACE    "000102030405060708090a0b0c0d0e0f"
#define START    1795493767000000000u
#define BODY_MAX (8u << 20)

static const unsigned char trace_id[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static void varint(struct buf *b, uint64_t n)
{
    for (; n > 127; n >>= 7)
        buf_putc(b, (char)((n & 127) | 128));
    buf_putc(b, (char)n);
}

static void field(struct buf *b, unsigned number, const void *p, size_t n)
{
    varint(b, number << 3 | 2);
    varint(b, n);
    buf_append(b, p, n);
}

static void fixed(struct buf *b, unsigned number, uint64_t v)
{
    varint(b, number << 3 | 1);
    for (int i = 0; i < 8; i++)
        buf_putc(b, (char)(v >> (8 * i) & 255));
}

/* text NULL: the integer instead. */
static void attribute(struct buf *span, const char *key, const char *text, uint64_t integer)
{
    struct buf kv = BUF_INIT(BODY_MAX), value = BUF_INIT(BODY_MAX);

    if (text) {
        field(&value, 1, text, strlen(text));
    } else {
        varint(&value, 3 << 3);
        varint(&value, integer);
    }
    field(&kv, 1, key, strlen(key));
    field(&kv, 2, value.data, value.len);
    field(span, 9, kv.data, kv.len);
    buf_free(&kv);
    buf_free(&value);
}

static void attribute_true(struct buf *span, const char *key)
{
    struct buf kv = BUF_INIT(BODY_MAX);

    field(&kv, 1, key, strlen(key));
    field(&kv, 2, "\x10\x01", 2);
    field(span, 9, kv.data, kv.len);
    buf_free(&kv);
}

struct span {
    size_t trace_n;     /* bytes of the trace id */
    unsigned char id;   /* repeated eight times */
    const char *parent; /* eight bytes */
    const char *output;
    const char *key, *text; /* one more attribute */
    uint64_t integer;
    const char *flag; /* one more that is true */
    bool no_trace_name;
    bool no_end;
};

#define ORDINARY .trace_n = 16, .id = 7, .output = "una torre"

static void add_span(struct buf *scope, const struct span *s)
{
    struct buf b = BUF_INIT(BODY_MAX);
    unsigned char id[8];

    memset(id, s->id, sizeof id);
    if (s->trace_n)
        field(&b, 1, trace_id, s->trace_n);
    if (s->id)
        field(&b, 2, id, sizeof id);
    if (s->parent)
        field(&b, 4, s->parent, 8);
    field(&b, 5, "openai_chat_completion", 22);
    fixed(&b, 7, START);
    if (!s->no_end)
        fixed(&b, 8, START + 1500000000u);
    attribute(&b, "langfuse.observation.type", "generation", 0);
    if (!s->no_trace_name)
        attribute(&b, "langfuse.trace.name", "qa_chat", 0);
    attribute(&b, "langfuse.user.id", "jose", 0);
    attribute(&b, "langfuse.observation.input", "¿Qué es?", 0);
    attribute(&b, "langfuse.observation.output", s->output, 0);
    attribute(&b, "langfuse.observation.model.name", "gpt-4o-mini", 0);
    attribute(&b, "langfuse.observation.metadata.prompt_version", "qa_enhanced_v1", 0);
    if (s->key)
        attribute(&b, s->key, s->text, s->integer);
    if (s->flag)
        attribute_true(&b, s->flag);
    field(scope, 2, b.data, b.len);
    buf_free(&b);
}

static struct buf export_of(const struct span *spans, size_t n, const char *scope_name)
{
    struct buf scope = BUF_INIT(BODY_MAX), name = BUF_INIT(200), resource = BUF_INIT(BODY_MAX),
               all = BUF_INIT(BODY_MAX);

    field(&name, 1, scope_name, strlen(scope_name));
    field(&scope, 1, name.data, name.len);
    for (size_t i = 0; i < n; i++)
        add_span(&scope, &spans[i]);
    field(&resource, 2, scope.data, scope.len);
    field(&all, 1, resource.data, resource.len);
    buf_free(&scope);
    buf_free(&name);
    buf_free(&resource);
    return all;
}

static struct got send_spans(const struct fixture *f, const struct span *spans, size_t n)
{
    struct buf b = export_of(spans, n, "langfuse-sdk-atalaya");
    struct got g = fixture_call(f, "POST", OTEL, KEYS PROTO V4, buf_str(&b));

    buf_free(&b);
    return g;
}

static struct fixture start(const char *const args[])
{
    return fixture_start("fake-langfuse", args);
}

static struct fixture start_plain(void)
{
    const char *args[] = {"--public-key", "pk-lf-t", "--secret-key", "sk-lf-t", NULL};

    return start(args);
}

static json_t *get(const struct fixture *f, const char *path)
{
    struct got g = fixture_call(f, "GET", path, KEYS, (struct str){0});
    json_t *v = json_loadb(g.body.p, g.body.n, 0, NULL);

    cr_assert(g.status == 200 && v, "%s", g.raw.data);
    got_free(&g);
    return v;
}

static json_int_t stat_of(const struct fixture *f, const char *key)
{
    json_t *v = get(f, "/_admin/stats");
    json_int_t n = json_integer_value(json_object_get(v, key));

    json_decref(v);
    return n;
}

static void tell(const struct fixture *f, const char *path, const char *json)
{
    struct got g = fixture_call(f, "POST", path, "", str_of(json));

    cr_assert_eq(g.status, 200, "%s", g.raw.data);
    got_free(&g);
}

static void expect(struct got g, int status, const char *says)
{
    cr_expect_eq(g.status, status, "%s", g.raw.data);
    cr_expect(!says || got_has(&g, says), "%s\n%s", says, g.raw.data);
    got_free(&g);
}

Test(langfuse, a_span_is_kept_and_shown)
{
    struct fixture f = start_plain();
    struct span s = {ORDINARY, .key = "langfuse.observation.usage_details",
                     .text = "{\"input\":20,\"output\":5}"};
    const char *name, *user, *input, *output, *type, *began, *version;
    int in, total, raw, root;

    expect(send_spans(&f, &s, 1), 200, NULL);
    json_t *v = get(&f, "/_admin/traces?traceId=" TRACE);
    json_t *t = json_array_get(json_object_get(v, "traces"), 0);
    cr_assert_eq(json_unpack(t, "{s:s, s:s, s:s, s:s, s:{s:s}}", "name", &name, "userId", &user, "input",
                             &input, "output", &output, "metadata", "prompt_version", &version),
                 0, "%s", json_dumps(v, 0));
    cr_expect_str_eq(name, "qa_chat");
    cr_expect_str_eq(user, "jose");
    cr_expect_str_eq(input, "¿Qué es?");
    cr_expect_str_eq(output, "una torre");
    cr_expect_str_eq(version, "qa_enhanced_v1");
    json_t *o = json_array_get(json_object_get(t, "observations"), 0);
    cr_assert_eq(json_unpack(o, "{s:s, s:s, s:{s:i, s:i}, s:i, s:b}", "type", &type, "startTime", &began,
                             "usageDetails", "input", &in, "total", &total, "raw", &raw, "isRootObservation",
                             &root),
                 0);
    cr_expect_str_eq(type, "GENERATION");
    cr_expect_str_eq(began, "2026-11-24T04:16:07.000Z");
    cr_expect(in == 20 && total == 25 && raw == 1 && root);
    json_decref(v);
    v = get(&f, "/api/public/v2/observations?traceId=" TRACE);
    cr_expect_eq(json_array_size(json_object_get(v, "data")), 1);
    json_decref(v);
    cr_expect_eq(stat_of(&f, "violations"), 0);
    fixture_stop(&f);
}

Test(langfuse, spans_merge_by_their_ids)
{
    struct fixture f = start_plain();
    struct span two[] = {{ORDINARY}, {ORDINARY, .parent = "\7\7\7\7\7\7\7\7"}};
    struct span changed = {ORDINARY};

    two[1].id = 8;
    changed.output = "otra cosa";
    expect(send_spans(&f, two, 2), 200, NULL);
    expect(send_spans(&f, two, 1), 200, NULL);
    cr_expect_eq(stat_of(&f, "spans_raw"), 3);
    cr_expect_eq(stat_of(&f, "spans_unique"), 2);
    cr_expect_eq(stat_of(&f, "spans_repeated"), 1);
    cr_expect_eq(stat_of(&f, "violations"), 0);
    expect(send_spans(&f, &changed, 1), 200, NULL);
    cr_expect_eq(stat_of(&f, "spans_changed"), 1);
    cr_expect_eq(stat_of(&f, "violations"), 1);
    json_t *v = get(&f, "/_admin/traces");
    const json_t *t = json_array_get(json_object_get(v, "traces"), 0);
    cr_expect_str_eq(json_string_value(json_object_get(t, "output")), "otra cosa");
    cr_expect_eq(json_array_size(json_object_get(t, "observations")), 2);
    json_decref(v);
    fixture_stop(&f);
}

Test(langfuse, an_export_is_refused_as_a_whole)
{
    struct fixture f = start_plain();
    struct span two[] = {{ORDINARY}, {ORDINARY}};

    two[1].trace_n = 0;
    expect(send_spans(&f, two, 2), 400,
           "Invalid OTLP trace export: 1 of 2 span(s) cannot be processed (traceId:absent)");
    cr_expect_eq(stat_of(&f, "spans_raw"), 0);
    struct buf b = export_of(two, 1, "langfuse-sdk-x");
    expect(fixture_call(&f, "POST", OTEL, KEYS PROTO V4, (struct str){b.data, b.len - 3}), 400,
           "Failed to parse OTel Protobuf Trace");
    expect(fixture_call(&f, "POST", OTEL, KEYS PROTO "x-langfuse-ingestion-version: 9\r\n", buf_str(&b)), 400,
           "Unsupported x-langfuse-ingestion-version: \\\"9\\\". Maximum supported: \\\"4\\\".");
    expect(fixture_call(&f, "POST", OTEL, KEYS "Content-Type: text/plain\r\n" V4, buf_str(&b)), 400,
           "Invalid content type");
    expect(fixture_call(&f, "POST", OTEL, PROTO V4, buf_str(&b)), 401, "No authorization header");
    expect(fixture_call(&f, "POST", OTEL, "Authorization: Basic cGstbGYtdDpubw==\r\n" PROTO V4, buf_str(&b)),
           401, "Invalid credentials. Confirm that you've configured the correct host.");
    expect(fixture_call(&f, "POST", OTEL, "Authorization: Bearer pk-lf-t\r\n" PROTO V4, buf_str(&b)), 403,
           NULL);
    expect(fixture_call(&f, "GET", OTEL, KEYS, (struct str){0}), 405, NULL);
    expect(fixture_call(&f, "POST", OTEL, KEYS PROTO V4 "Content-Encoding: gzip\r\n", buf_str(&b)), 400,
           NULL);
    cr_expect_eq(stat_of(&f, "spans_raw"), 0);
    buf_free(&b);
    fixture_stop(&f);
}

Test(langfuse, gzip_is_undone)
{
    struct fixture f = start_plain();
    struct span s = {ORDINARY};
    struct buf b = export_of(&s, 1, "langfuse-sdk-x");
    unsigned char packed[4096];
    z_stream z = {.next_in = (unsigned char *)b.data,
                  .avail_in = (unsigned)b.len,
                  .next_out = packed,
                  .avail_out = sizeof packed};

    cr_assert_eq(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    struct str body = {(const char *)packed, sizeof packed - z.avail_out};
    expect(fixture_call(&f, "POST", OTEL, KEYS PROTO V4 "Content-Encoding: gzip\r\n", body), 200, NULL);
    body.n -= 5;
    expect(fixture_call(&f, "POST", OTEL, KEYS PROTO V4 "Content-Encoding: gzip\r\n", body), 400, NULL);
    cr_expect_eq(stat_of(&f, "spans_unique"), 1);
    buf_free(&b);
    fixture_stop(&f);
}

/* What the real server takes with a 200 and then hides. */
Test(langfuse, violations_are_remembered)
{
    static const struct {
        struct span span;
        const char *says;
    } table[] = {
        {{ORDINARY, .parent = "\0\0\0\0\0\0\0"}, "parent span id is all zero"},
        {{.trace_n = 2, .id = 7, .output = "a"}, "trace id of 2 bytes"},
        {{ORDINARY, .no_end = true}, "without an end time"},
        {{ORDINARY, .no_trace_name = true}, "without langfuse.trace.name"},
        {{ORDINARY, .key = "langfuse.observation.usage_details", .integer = 5}, "is no JSON string"},
        {{ORDINARY, .key = "langfuse.observation.usage_details", .text = "{\"input\":\"5\"}"},
         "no integer of at least 0"},
        {{ORDINARY, .key = "langfuse.observation.cost_details", .text = "{\"total\":-1}"},
         "no number of at least 0"},
        {{ORDINARY, .key = "langfuse.observation.level", .text = "error"},
         "is not DEBUG, DEFAULT, WARNING or ERROR"},
        {{ORDINARY, .key = "langfuse.observation.prompt.name", .text = "p"}, "must come together"},
        {{ORDINARY, .key = "langfuse.usr.id", .text = "p"}, "is unknown to Langfuse"},
        {{ORDINARY, .parent = "parents!", .flag = "langfuse.internal.is_app_root"},
         "4 looks at one, 3 at the other"},
        {{ORDINARY, .parent = "parents!", .flag = "langfuse.internal.as_root"},
         "4 looks at one, 3 at the other"},
        {{ORDINARY, .key = "langfuse.environment", .text = "Dev"}, "langfuse.environment"},
        {{ORDINARY, .key = "langfuse.observation.input", .text = "a"}, "is there twice"},
        {{ORDINARY, .key = "x", .text = "\xff"}, "is no UTF-8"},
        {{ORDINARY, .key = "langfuse.observation.completion_start_time", .text = "now"}, "no ISO 8601"},
    };
    struct fixture f = start_plain();

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        tell(&f, "/_admin/reset", "");
        expect(send_spans(&f, &table[i].span, 1), 200, NULL);
        struct got g = fixture_call(&f, "GET", "/_admin/stats", "", (struct str){0});
        cr_expect(got_has(&g, table[i].says) && got_has(&g, "\"violations\":1"), "%s: %s", table[i].says,
                  g.raw.data);
        got_free(&g);
    }
    tell(&f, "/_admin/reset", "");
    struct buf b = export_of(&table[0].span, 0, "other");
    buf_free(&b);
    b = export_of(&(struct span){ORDINARY}, 1, "other");
    expect(fixture_call(&f, "POST", OTEL, KEYS PROTO, buf_str(&b)), 200, NULL);
    cr_expect_eq(stat_of(&f, "violations"), 2, "scope name, ingestion version");
    buf_free(&b);
    fixture_stop(&f);
}

#define EVENT(id, type, body)                                                                                \
    "{\"id\":\"" id "\",\"type\":\"" type "\",\"timestamp\":\"2026-11-24T10:00:00.000Z\",\"body\":" body "}"

static struct got batch(const struct fixture *f, const char *events)
{
    struct buf b = BUF_INIT(BODY_MAX);

    buf_printf(&b, "{\"batch\":[%s]}", events);
    struct got g = fixture_call(f, "POST", BATCH, KEYS JSON, buf_str(&b));
    buf_free(&b);
    return g;
}

Test(langfuse, a_batch_is_judged_event_by_event)
{
    static const struct {
        const char *body;
        bool good;
    } table[] = {
        {"{\"id\":\"s\",\"name\":\"n\",\"value\":1.0,\"traceId\":\"t\"}", true},
        {"{\"id\":\"s\",\"name\":\"n\",\"value\":1,\"dataType\":\"NUMERIC\",\"traceId\":\"t\","
         "\"observationId\":\"o\"}",
         true},
        {"{\"id\":\"s\",\"name\":\"n\",\"value\":\"x\",\"dataType\":\"CATEGORICAL\",\"traceId\":\"t\"}",
         true},
        {"{\"id\":\"s\",\"name\":\"n\",\"value\":0,\"dataType\":\"BOOLEAN\",\"sessionId\":\"t\",\"comment\":"
         "null}",
         true},
        {"{\"id\":\"s\",\"name\":\"n\",\"value\":\"x\",\"dataType\":\"NUMERIC\",\"traceId\":\"t\"}", false},
        {"{\"id\":\"s\",\"name\":\"n\",\"value\":2,\"dataType\":\"BOOLEAN\",\"traceId\":\"t\"}", false},
        {"{\"id\":\"s\",\"name\":\"n\",\"value\":true,\"traceId\":\"t\"}", false},
        {"{\"id\":\"s\",\"name\":\"n\",\"value\":1,\"dataType\":null,\"traceId\":\"t\"}", false},
        {"{\"id\":\"s\",\"name\":\"n\",\"value\":1,\"dataType\":\"numeric\",\"traceId\":\"t\"}", false},
        {"{\"id\":\"s\",\"name\":\"\",\"value\":1,\"traceId\":\"t\"}", false},
        {"{\"id\":\"s\",\"name\":\"n\",\"value\":1}", false},
        {"{\"id\":\"s\",\"name\":\"n\",\"value\":1,\"traceId\":\"t\",\"sessionId\":\"u\"}", false},
        {"{\"id\":\"\",\"name\":\"n\",\"value\":1,\"traceId\":\"t\"}", false},
        {"{\"id\":\"s\",\"name\":\"n\",\"value\":1,\"traceId\":\"t\",\"source\":\"x\"}", false},
    };
    struct fixture f = start_plain();

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char event[400];
        snprintf(event, sizeof event, EVENT("e1", "score-create", "%s"), table[i].body);
        struct got g = batch(&f, event);
        cr_expect_eq(g.status, 207);
        cr_expect(got_has(&g, table[i].good ? "{\"successes\":[{\"id\":\"e1\",\"status\":201}],\"errors\":[]}"
                                            : "{\"successes\":[],\"errors\":[{\"id\":\"e1\",\"status\":400,"),
                  "%s: %s", table[i].body, g.raw.data);
        got_free(&g);
    }
    expect(batch(&f, EVENT("e", "trace-create", "{\"id\":\"t\"}")), 207, "Event type not accepted");
    expect(batch(&f, "{\"id\":7}"), 207, "\"id\":\"unknown\",\"status\":400");
    expect(fixture_call(&f, "POST", BATCH, KEYS JSON, str_of("{")), 400, "Invalid JSON");
    expect(fixture_call(&f, "POST", BATCH, KEYS JSON, str_of("{}")), 400, "Invalid request data");
    expect(fixture_call(&f, "POST", BATCH, KEYS "Content-Type: text/plain\r\n", str_of("{\"batch\":[]}")),
           400, NULL);
    expect(fixture_call(&f, "POST", BATCH, JSON, str_of("{\"batch\":[]}")), 401, "UnauthorizedError");
    fixture_stop(&f);
}

Test(langfuse, a_score_is_replaced_by_its_like)
{
    struct fixture f = start_plain();

    expect(
        batch(&f,
              EVENT("1", "score-create",
                    "{\"id\":\"s\",\"name\":\"n\",\"value\":1,\"traceId\":\"t\"}") "," EVENT("2",
                                                                                             "score-create",
                                                                                             "{\"id\":\"s\","
                                                                                             "\"name\":\"n\","
                                                                                             "\"value\":0,"
                                                                                             "\"traceId\":"
                                                                                             "\"t\"}")),
        207, "\"errors\":[]");
    cr_expect_eq(stat_of(&f, "scores_raw"), 2);
    cr_expect_eq(stat_of(&f, "scores_unique"), 1);
    json_t *v = get(&f, "/api/public/v3/scores?traceId=t");
    const json_t *s = json_array_get(json_object_get(v, "data"), 0);
    cr_expect_eq(json_number_value(json_object_get(s, "value")), 0);
    json_decref(v);
    expect(batch(&f, EVENT("3", "score-create", "{\"name\":\"n\",\"value\":1,\"traceId\":\"t\"}")), 207,
           "\"status\":201");
    cr_expect_eq(stat_of(&f, "scores_unique"), 1, "without an id it is lost");
    cr_expect_eq(stat_of(&f, "violations"), 1);
    expect(fixture_call(&f, "POST", "/api/public/scores", KEYS JSON,
                        str_of("{\"name\":\"n\",\"value\":1,\"traceId\":\"u\"}")),
           200, "\"id\":\"");
    expect(fixture_call(&f, "POST", "/api/public/scores", KEYS JSON,
                        str_of("{\"name\":\"n\",\"traceId\":\"u\"}")),
           400, NULL);
    cr_expect_eq(stat_of(&f, "scores"), 2);
    fixture_stop(&f);
}

/* An id that is used for something else takes the older score away. */
Test(langfuse, a_score_keeps_its_subject)
{
    static const char *const events[] = {
        EVENT("1", "score-create", "{\"id\":\"s\",\"name\":\"n\",\"value\":1,\"traceId\":\"t\"}"),
        EVENT("2", "score-create", "{\"id\":\"s\",\"name\":\"n\",\"value\":1,\"traceId\":\"u\"}"),
        EVENT("3", "score-create",
              "{\"id\":\"s\",\"name\":\"n\",\"value\":1,\"traceId\":\"u\",\"observationId\":\"o\"}"),
        EVENT("4", "score-create",
              "{\"id\":\"s\",\"name\":\"n\",\"value\":0,\"traceId\":\"u\",\"observationId\":\"o\"}"),
        EVENT("5", "score-create", "{\"id\":\"s\",\"name\":\"m\",\"value\":1,\"traceId\":\"t\"}"),
    };
    static const int64_t so_far[] = {0, 1, 2, 2, 2}; /* another name: another score */
    struct fixture f = start_plain();

    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        expect(batch(&f, events[i]), 207, "\"status\":201");
        cr_expect_eq(stat_of(&f, "violations"), so_far[i], "event %zu", i + 1);
    }
    fixture_stop(&f);
}

Test(langfuse, a_batch_has_a_size)
{
    struct fixture f = start_plain();
    struct buf b = BUF_INIT(BODY_MAX);
    char *at = buf_reserve(&b, 4718593);

    cr_assert(at);
    memset(at, ' ', 4718593);
    b.len = 4718593;
    expect(fixture_call(&f, "POST", BATCH, KEYS JSON, buf_str(&b)), 413, "Body exceeded 4.5mb limit");
    memcpy(at, "{\"batch\":[]}", 12);
    b.len--;
    expect(fixture_call(&f, "POST", BATCH, KEYS JSON, buf_str(&b)), 207, NULL);
    buf_free(&b);
    fixture_stop(&f);
}

Test(langfuse, versions_differ)
{
    const char *args[] = {"--version", "2.95.12", NULL};
    struct fixture f = start(args);
    struct span s = {ORDINARY};

    expect(send_spans(&f, &s, 1), 404, NULL);
    expect(batch(&f, EVENT("1", "trace-create", "{\"id\":\"t\",\"name\":\"qa\",\"userId\":\"u\"}") "," EVENT(
                         "2", "generation-create", "{\"id\":\"g\",\"traceId\":\"t\",\"level\":\"ERROR\"}")),
           207, "\"errors\":[]");
    expect(batch(&f, EVENT("3", "tool-create", "{\"id\":\"g\"}")), 207, "\"errors\":[{\"id\":\"3\"");
    expect(batch(&f, EVENT("4", "generation-create", "{\"id\":\"g\",\"level\":\"error\"}")), 207,
           "\"errors\":[{\"id\":\"4\"");
    json_t *v = get(&f, "/_admin/traces?traceId=t");
    const json_t *t = json_array_get(json_object_get(v, "traces"), 0);
    cr_expect_str_eq(json_string_value(json_object_get(t, "userId")), "u");
    cr_expect_eq(json_array_size(json_object_get(t, "observations")), 1);
    json_decref(v);
    expect(fixture_call(&f, "GET", "/api/public/health", "", (struct str){0}), 200, "2.95.12");
    tell(&f, "/_admin/behaviour", "{\"version\":\"3.225.4\"}");
    expect(send_spans(&f, &s, 1), 200, NULL);
    expect(batch(&f, EVENT("5", "tool-create", "{\"id\":\"x\",\"traceId\":\"t\"}")), 207, "\"errors\":[]");
    tell(&f, "/_admin/behaviour", "{\"version\":\"4.16.0\"}");
    expect(batch(&f, EVENT("6", "tool-create", "{\"id\":\"x\"}")), 207, "Event type not accepted");
    tell(&f, "/_admin/behaviour", "{\"mode\":\"legacy\"}");
    expect(batch(&f, EVENT("7", "tool-create", "{\"id\":\"x\"}")), 207, "\"errors\":[]");
    fixture_stop(&f);
}

Test(langfuse, bad_days)
{
    struct fixture f = start_plain();
    struct span s = {ORDINARY};

    tell(&f, "/_admin/behaviour", "{\"status\":429,\"retry_after\":2,\"count\":2}");
    struct got g = send_spans(&f, &s, 1);
    cr_expect(g.status == 429 && strstr(g.head, "retry-after: 2\r\n") &&
              strstr(g.head, "x-ratelimit-reset: 2\r\n"));
    got_free(&g);
    expect(batch(&f, ""), 429, NULL);
    expect(send_spans(&f, &s, 1), 200, NULL);
    tell(&f, "/_admin/behaviour", "{\"status\":503,\"route\":\"scores\"}");
    expect(send_spans(&f, &s, 1), 200, NULL);
    tell(&f, "/_admin/behaviour", "{\"max_body\":50}");
    expect(send_spans(&f, &s, 1), 413, NULL);
    expect(batch(&f, ""), 207, NULL);
    tell(&f, "/_admin/behaviour", "{\"down\":true}");
    expect(send_spans(&f, &s, 1), 0, NULL);
    expect(fixture_call(&f, "GET", "/api/public/health", "", (struct str){0}), 0, NULL);
    cr_expect_eq(stat_of(&f, "spans_raw"), 2);
    tell(&f, "/_admin/behaviour", "{\"cut\":true,\"count\":1}");
    expect(send_spans(&f, &s, 1), 0, NULL);
    cr_expect_eq(stat_of(&f, "spans_raw"), 3, "taken, but not answered");
    int64_t began = clock_ms();
    tell(&f, "/_admin/behaviour", "{\"slow_ms\":40}");
    expect(send_spans(&f, &s, 1), 200, NULL);
    cr_expect_geq(clock_ms() - began, 39);
    tell(&f, "/_admin/behaviour", "{\"stall\":true}");
    struct buf b = export_of(&s, 1, "langfuse-sdk-x");
    g = fixture_call_wait(&f, "POST", OTEL, KEYS PROTO V4, buf_str(&b), 100);
    cr_expect(g.timed_out && g.status == 0);
    got_free(&g);
    buf_free(&b);
    cr_expect_eq(stat_of(&f, "spans_raw"), 4);
    expect(fixture_call(&f, "POST", "/_admin/behaviour", "", str_of("{\"donw\":true}")), 400, "unknown key");
    fixture_stop(&f);
}
