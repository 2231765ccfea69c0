/* What we export is read again by the generated decoder and checked field by field (P3). */
#include "telemetry/langfuse_otlp.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <zlib.h>

#include "common/base/limits.h"
#include "telemetry/gzip.h"
#include "telemetry/jsonread.h"
#include "telemetry/otlp.pb-c.h"
#include "tests/telemetry/support.h"

static Otlp__ExportTraceServiceRequest *decode(struct otlp *o, struct buf *all)
{
    struct str parts[OTLP_PARTS];

    otlp_export(o, parts);
    for (size_t i = 0; i < OTLP_PARTS; i++)
        buf_append(all, parts[i].p, parts[i].n);
    Otlp__ExportTraceServiceRequest *q =
        otlp__export_trace_service_request__unpack(NULL, all->len, (const uint8_t *)all->data);
    cr_assert(q);
    cr_assert_eq(q->n_resource_spans, 1);
    cr_assert_eq(q->resource_spans[0]->n_scope_spans, 1);
    return q;
}

static struct trace_conf conf;

static struct otlp *begin(const char *environment, const char *release)
{
    conf = (struct trace_conf){environment, release, "1.2.3", "", 0};
    return langfuse_otlp_new(&conf);
}

static void add(struct otlp *o, const struct event *e)
{
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct record r;

    record_of_event(&r, e, &scratch);
    langfuse_otlp_add(o, &conf, &r);
    buf_free(&scratch);
}

static const Otlp__AnyValue *find(Otlp__KeyValue **list, size_t n, const char *key)
{
    const Otlp__AnyValue *found = NULL;

    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i]->key, key) == 0) {
            cr_expect_null(found, "%s is there twice", key);
            found = list[i]->value;
        }
    return found;
}

static const char *text(const Otlp__Span *s, const char *key)
{
    const Otlp__AnyValue *v = find(s->attributes, s->n_attributes, key);

    if (!v)
        return NULL;
    cr_assert_eq(v->value_case, OTLP__ANY_VALUE__VALUE_STRING_VALUE, "%s", key);
    return v->string_value;
}

static int64_t number(const Otlp__Span *s, const char *key)
{
    const Otlp__AnyValue *v = find(s->attributes, s->n_attributes, key);

    cr_assert(v && v->value_case == OTLP__ANY_VALUE__VALUE_INT_VALUE, "%s", key);
    return v->int_value;
}

#define EXPECT_TEXT(s, key, value)                                                                           \
    do {                                                                                                     \
        const char *got_ = text(s, key);                                                                     \
        cr_expect(got_ &&strcmp(got_, value) == 0, "%s: %s", key, got_ ? got_ : "(none)");                   \
    } while (0)

Test(otlp, one_question)
{
    struct otlp *o = begin("staging", "v7");
    struct buf all = BUF_INIT(MIB);
    struct event e = support_event(0x1f);

    add(o, &e);
    cr_expect_eq(otlp_spans(o), 1);
    Otlp__ExportTraceServiceRequest *q = decode(o, &all);
    const Otlp__Resource *resource = q->resource_spans[0]->resource;
    const Otlp__AnyValue *name = find(resource->attributes, resource->n_attributes, "service.name");
    cr_expect_str_eq(name->string_value, "atalaya");
    const Otlp__ScopeSpans *scope = q->resource_spans[0]->scope_spans[0];
    cr_expect_str_eq(scope->scope->name, "langfuse-sdk-atalaya");
    cr_assert_eq(scope->n_spans, 1);

    const Otlp__Span *s = scope->spans[0];
    cr_expect_str_eq(s->name, "openai_chat_completion");
    cr_assert_eq(s->trace_id.len, 16);
    cr_expect_eq(s->trace_id.data[15], 0x1f);
    cr_assert_eq(s->span_id.len, 8);
    cr_expect_eq(s->span_id.data[7], 0x1f);
    cr_expect_eq(s->parent_span_id.len, 0, "a root has no parent, not one of zeroes");
    cr_expect_eq(s->start_time_unix_nano, 1700000000000000000u);
    cr_expect_eq(s->end_time_unix_nano, 1700000000750000000u);
    cr_expect_eq(s->status->code, OTLP__STATUS__STATUS_CODE__STATUS_CODE_UNSET);
    EXPECT_TEXT(s, "langfuse.observation.type", "generation");
    EXPECT_TEXT(s, "langfuse.trace.name", "qa_chat");
    EXPECT_TEXT(s, "langfuse.user.id", "user-31");
    EXPECT_TEXT(s, "langfuse.observation.input", "question 31");
    EXPECT_TEXT(s, "langfuse.observation.output", "una respuesta");
    EXPECT_TEXT(s, "langfuse.observation.model.name", "gpt-4o-mini");
    EXPECT_TEXT(s, "langfuse.observation.model.parameters", "{\"temperature\":0.2}");
    EXPECT_TEXT(
        s, "langfuse.observation.usage_details",
        "{\"input\":15,\"input_cached_tokens\":5,\"output\":20,\"output_reasoning_tokens\":10,\"total\":50}");
    EXPECT_TEXT(s, "langfuse.observation.cost_details", "{\"total\":2e-05}");
    EXPECT_TEXT(s, "langfuse.observation.metadata.prompt_version", "qa_enhanced_v1");
    EXPECT_TEXT(s, "langfuse.trace.metadata.prompt_version", "qa_enhanced_v1");
    EXPECT_TEXT(s, "langfuse.observation.metadata.request_id", "request-31");
    EXPECT_TEXT(s, "langfuse.environment", "staging");
    EXPECT_TEXT(s, "langfuse.release", "v7");
    cr_expect_null(text(s, "langfuse.observation.level"));
    cr_expect_null(find(s->attributes, s->n_attributes, "langfuse.internal.is_app_root"));
    cr_expect_null(find(s->attributes, s->n_attributes, "langfuse.internal.as_root"));
    otlp__export_trace_service_request__free_unpacked(q, NULL);
    buf_free(&all);
    otlp_free(o);
}

Test(otlp, nothing_is_sent_that_is_not_known)
{
    struct otlp *o = begin("", "");
    struct buf all = BUF_INIT(MIB);
    struct event e = support_event(1);

    e.has_usage = e.has_cost = false;
    e.answer = e.model = (struct str){"", 0};
    e.status = 502;
    e.error = str_of("timeout");
    add(o, &e);
    Otlp__ExportTraceServiceRequest *q = decode(o, &all);
    const Otlp__Span *s = q->resource_spans[0]->scope_spans[0]->spans[0];
    cr_expect_null(text(s, "langfuse.observation.output"));
    cr_expect_null(text(s, "langfuse.observation.model.name"));
    cr_expect_null(text(s, "langfuse.observation.usage_details"));
    cr_expect_null(text(s, "langfuse.observation.cost_details"));
    cr_expect_null(text(s, "langfuse.environment"));
    cr_expect_null(text(s, "langfuse.release"));
    EXPECT_TEXT(s, "langfuse.observation.level", "ERROR");
    EXPECT_TEXT(s, "langfuse.observation.status_message", "timeout");
    cr_expect_eq(s->status->code, OTLP__STATUS__STATUS_CODE__STATUS_CODE_ERROR);
    cr_expect_str_eq(s->status->message, "timeout");
    otlp__export_trace_service_request__free_unpacked(q, NULL);
    buf_free(&all);
    otlp_free(o);
}

/* Langfuse adds the kinds up: no token may be in two of them, and the greatest numbers must fit. */
Test(otlp, usage_does_not_overlap)
{
    static const struct {
        uint64_t prompt, cached, completion, reasoning;
        const char *usage;
    } cases[] = {
        {7, 0, 3, 0, "{\"input\":7,\"output\":3,\"total\":10}"},
        {7, 7, 3, 3,
         "{\"input\":0,\"input_cached_tokens\":7,\"output\":0,\"output_reasoning_tokens\":3,\"total\":10}"},
        {7, 8, 3, 4, "{\"input\":7,\"output\":3,\"total\":10}"},
        {INT64_MAX, 1, 0, 0,
         "{\"input\":9223372036854775806,\"input_cached_tokens\":1,\"output\":0,\"total\":"
         "9223372036854775807}"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct otlp *o = begin("", "");
        struct buf all = BUF_INIT(MIB);
        struct event e = support_event(1);
        e.prompt_tokens = cases[i].prompt;
        e.cached_tokens = cases[i].cached;
        e.completion_tokens = cases[i].completion;
        e.reasoning_tokens = cases[i].reasoning;
        e.total_tokens = cases[i].prompt + cases[i].completion;
        e.cost_usd = 0;
        add(o, &e);
        Otlp__ExportTraceServiceRequest *q = decode(o, &all);
        const Otlp__Span *s = q->resource_spans[0]->scope_spans[0]->spans[0];
        EXPECT_TEXT(s, "langfuse.observation.usage_details", cases[i].usage);
        EXPECT_TEXT(s, "langfuse.observation.cost_details", "{\"total\":0.0}");
        otlp__export_trace_service_request__free_unpacked(q, NULL);
        buf_free(&all);
        otlp_free(o);
    }
}

Test(otlp, joins_the_callers_trace)
{
    struct otlp *o = begin("", "");
    struct buf all = BUF_INIT(MIB);
    struct event e = support_event(1);
    char longest[129] = ""; /* as long as a request id may be */

    e.parent_id = str_of("00f067aa0ba902b7");
    memset(longest, 'x', sizeof longest - 1);
    e.request_id = str_of(longest);
    add(o, &e);
    Otlp__ExportTraceServiceRequest *q = decode(o, &all);
    const Otlp__Span *s = q->resource_spans[0]->scope_spans[0]->spans[0];
    cr_assert_eq(s->parent_span_id.len, 8);
    cr_expect_eq(s->parent_span_id.data[1], 0xf0);
    EXPECT_TEXT(s, "langfuse.observation.metadata.request_id", longest);
    /* For Langfuse 4, and for Langfuse 3. */
    static const char *const roots[] = {"langfuse.internal.is_app_root", "langfuse.internal.as_root"};
    for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
        const Otlp__AnyValue *v = find(s->attributes, s->n_attributes, roots[i]);
        cr_expect(v && v->value_case == OTLP__ANY_VALUE__VALUE_BOOL_VALUE && v->bool_value, "%s", roots[i]);
    }
    otlp__export_trace_service_request__free_unpacked(q, NULL);
    buf_free(&all);
    otlp_free(o);
}

Test(otlp, attempts_are_children_with_ids_that_stay)
{
    struct otlp *o = begin("", "");
    struct buf all = BUF_INIT(MIB), again = BUF_INIT(MIB);
    struct event e = support_event(5);
    struct event_attempt a[2] = {
        {.start_us = 100,
         .duration_us = 50,
         .status = 503,
         .outcome = str_of("http"),
         .upstream_id = str_of("r1"),
         .code = str_of("server_is_overloaded"),
         .upstream = str_of("azure")},
        {.start_us = 400, .duration_us = 70, .wait_us = 250000, .status = 200, .outcome = str_of("ok")}};

    e.attempts = (struct list){a, 2};
    add(o, &e);
    Otlp__ExportTraceServiceRequest *q = decode(o, &all);
    const Otlp__ScopeSpans *spans = q->resource_spans[0]->scope_spans[0];
    cr_assert_eq(spans->n_spans, 3);
    const Otlp__Span *first = spans->spans[1], *second = spans->spans[2];
    for (size_t i = 1; i < 3; i++) {
        cr_assert_eq(spans->spans[i]->parent_span_id.len, 8);
        cr_expect_eq(spans->spans[i]->parent_span_id.data[7], 5);
        cr_expect_eq(spans->spans[i]->trace_id.data[15], 5);
        EXPECT_TEXT(spans->spans[i], "langfuse.observation.type", "span");
        EXPECT_TEXT(spans->spans[i], "langfuse.trace.name", "qa_chat");
        EXPECT_TEXT(spans->spans[i], "langfuse.user.id", "user-5");
    }
    cr_expect_neq(memcmp(first->span_id.data, second->span_id.data, 8), 0);
    cr_expect_neq(memcmp(first->span_id.data, spans->spans[0]->span_id.data, 8), 0);
    cr_expect_eq(first->start_time_unix_nano, 100000);
    cr_expect_eq(first->end_time_unix_nano, 150000);
    cr_expect_eq(number(first, "langfuse.observation.metadata.http_status"), 503);
    EXPECT_TEXT(first, "langfuse.observation.metadata.error_code", "server_is_overloaded");
    EXPECT_TEXT(first, "langfuse.observation.metadata.upstream", "azure");
    cr_expect_null(text(second, "langfuse.observation.metadata.error_code"));
    cr_expect_eq(number(second, "langfuse.observation.metadata.wait_ms"), 250);
    EXPECT_TEXT(first, "langfuse.observation.level", "WARNING");
    cr_expect_null(text(second, "langfuse.observation.level"));

    otlp_reset(o);
    add(o, &e);
    otlp__export_trace_service_request__free_unpacked(decode(o, &again), NULL);
    cr_expect(all.len == again.len && memcmp(all.data, again.data, all.len) == 0,
              "a second export is the same");
    otlp__export_trace_service_request__free_unpacked(q, NULL);
    buf_free(&all);
    buf_free(&again);
    otlp_free(o);
}

/* Langfuse adds up what generations say, so the loser of a hedge is one. */
Test(otlp, what_the_loser_of_a_hedge_has_used)
{
    struct otlp *o = begin("", "");
    struct buf all = BUF_INIT(MIB);
    struct event e = support_event(5);
    struct event_attempt a[2] = {{.outcome = str_of("cancelled"),
                                  .model = str_of("slow"),
                                  .prompt_tokens = 18,
                                  .completion_tokens = 2,
                                  .usage_estimated = true,
                                  .has_cost = true,
                                  .cost_usd = 0.25},
                                 {.outcome = str_of("ok")}};

    e.attempts = (struct list){a, 2};
    add(o, &e);
    Otlp__ExportTraceServiceRequest *q = decode(o, &all);
    const Otlp__Span *loser = q->resource_spans[0]->scope_spans[0]->spans[1];
    EXPECT_TEXT(loser, "langfuse.observation.type", "generation");
    EXPECT_TEXT(loser, "langfuse.observation.model.name", "slow");
    EXPECT_TEXT(loser, "langfuse.observation.usage_details", "{\"input\":18,\"output\":2,\"total\":20}");
    EXPECT_TEXT(loser, "langfuse.observation.cost_details", "{\"total\":0.25}");
    EXPECT_TEXT(q->resource_spans[0]->scope_spans[0]->spans[2], "langfuse.observation.type", "span");
    otlp__export_trace_service_request__free_unpacked(q, NULL);
    buf_free(&all);
    otlp_free(o);
}

Test(otlp, gzip_holds_the_same_bytes)
{
    struct otlp *o = begin("dev", "");
    struct gzip *z = gzip_new();
    struct buf all = BUF_INIT(MIB), packed = BUF_INIT(MIB);
    static unsigned char out[MIB];
    struct str parts[OTLP_PARTS];

    for (int round = 0; round < 2; round++) {
        otlp_reset(o);
        buf_reset(&all);
        buf_reset(&packed);
        for (unsigned n = 1; n <= 100; n++) {
            struct event e = support_event(n);
            add(o, &e);
        }
        Otlp__ExportTraceServiceRequest *q = decode(o, &all);
        cr_expect_eq(q->resource_spans[0]->scope_spans[0]->n_spans, 100);
        otlp__export_trace_service_request__free_unpacked(q, NULL);
        otlp_export(o, parts);
        gzip_pack(z, &packed, parts, OTLP_PARTS);
        cr_assert_lt(packed.len, all.len / 5);
        z_stream s = {.next_in = (Bytef *)packed.data,
                      .avail_in = (uInt)packed.len,
                      .next_out = out,
                      .avail_out = sizeof out};
        cr_assert_eq(inflateInit2(&s, 15 + 16), Z_OK);
        cr_assert_eq(inflate(&s, Z_FINISH), Z_STREAM_END);
        cr_expect_eq(s.total_out, all.len);
        cr_expect_eq(memcmp(out, all.data, all.len), 0);
        inflateEnd(&s);
    }
    buf_free(&all);
    buf_free(&packed);
    gzip_free(z);
    otlp_free(o);
}

/* OpenAI's messages in the words of OpenTelemetry's conventions. */
Test(otlp, messages)
{
    static const struct {
        const char *in, *out; /* NULL: no messages */
    } cases[] = {
        {"[{\"role\":\"user\",\"content\":\"hola\"}]",
         "[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"hola\"}]}]"},
        {"{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\","
         "\"function\":"
         "{\"name\":\"f\",\"arguments\":\"{}\"}}]}",
         "[{\"role\":\"assistant\",\"parts\":[{\"type\":\"tool_call\",\"id\":\"c1\",\"name\":\"f\","
         "\"arguments\":"
         "\"{}\"}]}]"},
        {"[{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"42\"}]",
         "[{\"role\":\"tool\",\"parts\":[{\"type\":\"tool_call_response\",\"id\":\"c1\",\"response\":\"42\"}]"
         "}]"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\","
         "\"image_url\":"
         "{}},7]}]",
         "[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"a\"},{\"type\":\"image_url\","
         "\"image_url\":{}}]}]"},
        {"[]", "[]"},
        {"[{\"content\":\"nobody's\"}]", NULL},
        {"\"hmac-sha256:00\"", NULL},
        {"7", NULL},
        {"{", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = BUF_INIT(MIB);
        cr_expect_eq(jsonread_messages(str_of(cases[i].in), &out), cases[i].out ? 0 : -EBADMSG, "%s",
                     cases[i].in);
        if (cases[i].out)
            cr_expect_str_eq(out.data, cases[i].out);
        buf_free(&out);
    }
}

/* A collector says how much it has not kept; everything else says nothing. */
Test(otlp, partial_success)
{
    static const struct {
        const char *body;
        size_t n;
        int64_t rejected;
    } cases[] = {
        {"", 0, 0},
        {"{}", 2, 0},
        {"\n\0", 2, 0},
        {"\n\x02\x08\x05", 4, 5},
        {"\n\x06\x08\x01\x12\x02no", 8, 1},
        {"\n\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13, 0},
    };
    struct otlp *o = begin("", "");

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str why;
        cr_expect_eq(otlp_rejected(o, (struct str){cases[i].body, cases[i].n}, &why), cases[i].rejected,
                     "case %zu", i);
        cr_expect(str_eq(why, i == 4 ? "no" : ""));
    }
    otlp_free(o);
}
