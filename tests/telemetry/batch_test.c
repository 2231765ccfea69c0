/* Scores as an ingestion batch, and reading what the server says about each (P3). */
#include "telemetry/langfuse_batch.h"

#include <criterion/criterion.h>
#include <jansson.h>

#include "common/base/limits.h"
#include "telemetry/jsonread.h"
#include "tests/telemetry/support.h"

static const char *string(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static json_t *batch(unsigned first, unsigned last, const char *environment)
{
    struct buf out = BUF_INIT(MIB), scratch = BUF_INIT(RECORD_BYTES_MAX);

    batch_begin(&out);
    for (unsigned n = first; n <= last; n++) {
        struct event e = support_event(n);
        struct record r;
        record_of_event(&r, &e, &scratch);
        batch_scores(&out, &r, environment);
    }
    batch_end(&out);
    json_t *root = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
    cr_assert(root, "%s", out.data);
    buf_free(&out);
    buf_free(&scratch);
    return root;
}

Test(batch, two_scores_a_record)
{
    json_t *root = batch(1, 3, "prod");
    const json_t *events = json_object_get(root, "batch");
    const json_t *e = json_array_get(events, 3); /* the second of record 2 */
    const json_t *body = json_object_get(e, "body");

    cr_assert_eq(json_array_size(events), 6);
    cr_expect_str_eq(string(e, "id"), "00000000000000000000000000000002-0000000000000002-toxicity_safe");
    cr_expect_str_eq(string(e, "type"), "score-create");
    cr_expect_str_eq(string(e, "timestamp"), "2023-11-14T22:13:20.750Z");
    cr_expect_str_eq(string(body, "id"), string(e, "id"));
    cr_expect_str_eq(string(body, "traceId"), "00000000000000000000000000000002");
    cr_expect_str_eq(string(body, "observationId"), "0000000000000002");
    cr_expect_str_eq(string(body, "name"), "toxicity_safe");
    cr_expect_str_eq(string(body, "dataType"), "NUMERIC");
    cr_expect_str_eq(string(body, "environment"), "prod");
    cr_expect(json_is_real(json_object_get(body, "value")));
    cr_expect_float_eq(json_real_value(json_object_get(body, "value")), 0.8, 1e-12);
    body = json_object_get(json_array_get(events, 0), "body");
    cr_expect_str_eq(string(body, "name"), "non_empty_answer");
    cr_expect(json_real_value(json_object_get(body, "value")) == 1.0);
    json_decref(root);
}

Test(batch, no_environment_no_key)
{
    json_t *root = batch(1, 1, "");

    cr_expect_null(json_object_get(json_object_get(json_array_get(json_object_get(root, "batch"), 0), "body"),
                                   "environment"));
    json_decref(root);
}

/* Whoever asks twice within one trace of theirs gets two pairs of scores. */
Test(batch, a_shared_trace)
{
    struct buf out = BUF_INIT(MIB), scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_event(1);
    struct record r;

    batch_begin(&out);
    record_of_event(&r, &e, &scratch);
    batch_scores(&out, &r, "");
    e.generation_id = str_of("00000000000000aa");
    record_of_event(&r, &e, &scratch);
    batch_scores(&out, &r, "");
    batch_end(&out);
    json_t *root = json_loadb(out.data, out.len, 0, NULL);
    const json_t *events = json_object_get(root, "batch");
    json_t *ids = json_object();
    for (size_t i = 0; i < 4; i++) {
        const json_t *body = json_object_get(json_array_get(events, i), "body");
        cr_expect_str_eq(string(body, "traceId"), "00000000000000000000000000000001");
        cr_expect_str_eq(string(body, "observationId"), i < 2 ? "0000000000000001" : "00000000000000aa");
        json_object_set(ids, string(body, "id"), json_true());
    }
    cr_expect_eq(json_object_size(ids), 4, "%s", out.data);
    json_decref(ids);
    json_decref(root);
    buf_free(&out);
    buf_free(&scratch);
}

static json_t *feedback(const struct event *e, const char *environment)
{
    struct buf out = BUF_INIT(MIB), scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct record r;

    record_of_event(&r, e, &scratch);
    cr_assert(record_is_feedback(&r));
    batch_begin(&out);
    batch_feedback(&out, &r, environment);
    batch_feedback(&out, &r, environment);
    batch_end(&out);
    json_t *root = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    cr_assert(root, "%s", out.data);
    const json_t *events = json_object_get(root, "batch");
    cr_assert_eq(json_array_size(events), 2);
    cr_expect(json_equal(json_array_get(events, 0), json_array_get(events, 1)));
    json_t *event = json_incref(json_array_get(events, 0));
    json_decref(root);
    buf_free(&out);
    buf_free(&scratch);
    return event;
}

Test(batch, feedback)
{
    struct event e = support_feedback(7);

    e.comment = str_of("\"gut\"\n\\ ñ");
    json_t *event = feedback(&e, "prod");
    const json_t *body = json_object_get(event, "body");
    cr_expect_str_eq(string(event, "id"), "00000000-0000-4000-8000-000000000007");
    cr_expect_str_eq(string(event, "type"), "score-create");
    cr_expect_str_eq(string(event, "timestamp"), "2023-11-14T22:13:21.000Z");
    cr_expect_str_eq(string(body, "id"), string(event, "id"));
    cr_expect_str_eq(string(body, "traceId"), "00000000000000000000000000000007");
    cr_expect_str_eq(string(body, "name"), "user-feedback-7");
    cr_expect_str_eq(string(body, "dataType"), "NUMERIC");
    cr_expect_float_eq(json_number_value(json_object_get(body, "value")), 0.5, 0);
    cr_expect_str_eq(string(body, "comment"), "\"gut\"\n\\ ñ");
    cr_expect_str_eq(string(body, "environment"), "prod");
    cr_expect_null(json_object_get(body, "observationId"));
    json_decref(event);
}

Test(batch, feedback_of_each_type)
{
    struct event e = support_feedback(8);

    e.score_type = str_of("BOOLEAN");
    e.score_value = 0;
    json_t *event = feedback(&e, "");
    const json_t *body = json_object_get(event, "body");
    cr_expect(json_is_number(json_object_get(body, "value")), "JSON's false is refused");
    cr_expect_eq(json_number_value(json_object_get(body, "value")), 0);
    cr_expect_null(json_object_get(body, "comment"));
    cr_expect_null(json_object_get(body, "environment"));
    json_decref(event);

    e.score_type = str_of("CATEGORICAL");
    e.score_text = str_of("so \"la la\" \xff");
    event = feedback(&e, "");
    body = json_object_get(event, "body");
    cr_expect_str_eq(string(body, "value"), "so \"la la\" \xef\xbf\xbd");
    cr_expect_str_eq(string(body, "dataType"), "CATEGORICAL");
    json_decref(event);
}

Test(batch, whose_event_it_is)
{
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_event(1);
    char ours[BATCH_KEY_SIZE], theirs[BATCH_KEY_SIZE];
    struct record r;

    record_of_event(&r, &e, &scratch);
    batch_key(ours, &r);
    cr_expect(batch_is_of(str_of("00000000000000000000000000000001-0000000000000001-toxicity_safe"), ours));
    cr_expect_not(
        batch_is_of(str_of("00000000000000000000000000000001-0000000000000002-toxicity_safe"), ours));
    cr_expect_not(batch_is_of(str_of("00000000000000000000000000000001"), ours));
    cr_expect_not(batch_is_of(str_of("unknown"), ours));
    e = support_feedback(1);
    record_of_event(&r, &e, &scratch);
    batch_key(theirs, &r);
    cr_expect(batch_is_of(str_of("00000000-0000-4000-8000-000000000001"), theirs));
    cr_expect_not(batch_is_of(str_of("00000000-0000-4000-8000-0000000000012"), theirs));
    cr_expect_not(batch_is_of(str_of("00000000-0000-4000-8000-000000000002"), theirs));
    cr_expect_not(batch_is_of(str_of("00000000-0000-4000-8000-000000000001"), ours));
    cr_expect_not(batch_is_of(str_of(""), ""));
    buf_free(&scratch);
}

static void collect(void *arg, struct str id, int status, struct str message)
{
    buf_printf(arg, "%.*s=%d(%.*s) ", (int)id.n, id.p, status, (int)message.n, message.p);
}

Test(batch, answers)
{
    static const struct {
        const char *body, *out; /* NULL: cannot be read */
    } cases[] = {
        {"{\"successes\":[{\"id\":\"a\",\"status\":201}],\"errors\":[]}", "a=201() "},
        {"{\"successes\":[],\"errors\":[{\"id\":\"b\",\"status\":400,\"message\":\"no\",\"error\":\"body.id: "
         "none\"}]}",
         "b=400(no: body.id: none) "},
        {"{\"errors\":[{\"id\":7}],\"successes\":[null]}", "=0() =0() "},
        {"{\"successes\":[]}", NULL},
        {"<html>", NULL},
        {"[]", NULL},
        {"", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = BUF_INIT(KIB);
        int rc = jsonread_ingestion(str_of(cases[i].body), collect, &out);
        cr_expect_eq(rc < 0, cases[i].out == NULL, "case %zu", i);
        if (cases[i].out)
            cr_expect_str_eq(out.data, cases[i].out);
        buf_free(&out);
    }
}

/* Only what is certain may be true; the rest is read. */
Test(batch, all_taken)
{
    static const struct {
        const char *body;
        size_t n;
        bool all;
    } cases[] = {
        {"{\"successes\":[{\"id\":\"a\",\"status\":201},{\"id\":\"b\",\"status\":201}],\"errors\":[]}", 2,
         true},
        {"{\"successes\":[{\"id\":\"a\",\"status\":201}],\"errors\":[]}", 2, false},
        {"{\"successes\":[{\"id\":\"a\",\"status\":201}],\"errors\":[{\"id\":\"b\",\"status\":400}]}", 1,
         false},
        {"{\"successes\":[{\"id\":\"a\",\"status\":201}],\"errors\":[{\"id\":\"b\",\"status\":201}]}", 2,
         false},
        {"{\"successes\":[],\"errors\":[]}", 1, false},
        {"{\"errors\":[],\"successes\":[{\"id\":\"a\",\"status\":201}]}", 1, false},
        {"", 0, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_eq(jsonread_all_taken(str_of(cases[i].body), cases[i].n), cases[i].all, "case %zu", i);
}

/* What is not quite JSON goes as a text, and spoils nothing. */
Test(batch, not_quite_json)
{
    struct buf out = BUF_INIT(MIB), scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct trace_conf c = {"test", "", "1.2.3", "", 0};
    struct event e = support_event(1);
    struct record r;

    e.chat = true;
    e.question = str_of("[{\"role\":\"user\",\"content\":\"hola\"}]");
    e.answer = str_of("{\"content\":\"p\",\"p\":NaN}");
    e.metadata = str_of("{\"p\":NaN}");
    record_of_event(&r, &e, &scratch);
    batch_begin(&out);
    cr_assert_gt(batch_trace(&out, &c, &r), 0);
    batch_end(&out);
    json_t *root = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
    cr_assert(root, "%s", out.data);
    const json_t *body = json_object_get(json_array_get(json_object_get(root, "batch"), 0), "body");
    cr_expect(json_is_array(json_object_get(body, "input")));
    cr_expect_str_eq(string(body, "output"), "{\"content\":\"p\",\"p\":NaN}");
    cr_expect_str_eq(string(json_object_get(body, "metadata"), "metadata"), "{\"p\":NaN}");
    json_decref(root);
    buf_free(&out);
    buf_free(&scratch);
}
