/* Events become records: clean text, bounded numbers, what is a trace and what is not. */
#include "telemetry/record.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>

#include "common/base/limits.h"
#include "telemetry/text.h"
#include "tests/telemetry/support.h"

Test(text, clean)
{
    static const struct {
        struct str in;
        const char *out;
    } cases[] = {
        {{"", 0}, ""},
        {{"hola", 4}, "hola"},
        {{"exactly8", 8}, "exactly8"},
        {{"¿Qué es Langfuse?", 19}, "¿Qué es Langfuse?"},
        {{"a\0b", 3}, "ab"},
        {{"12345678\0", 9}, "12345678"},
        {{"1234\0678", 6}, "123478"},
        {{"x\xff", 2}, "x\xef\xbf\xbd"},
        {{"\xed\xa0\x80", 3}, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a surrogate */
        {{"\xf0\x9f\x98", 3}, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* cut off */
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = BUF_INIT(KIB);
        text_clean(&b, cases[i].in);
        buf_puts(&b, "");
        cr_expect_str_eq(b.data ? b.data : "", cases[i].out, "case %zu", i);
        cr_expect_eq(text_is_clean(cases[i].in), b.len == cases[i].in.n && str_eq(cases[i].in, cases[i].out),
                     "case %zu", i);
        buf_free(&b);
    }
}

Test(text, hex)
{
    cr_expect(text_is_hex(str_of("00f0"), 4));
    cr_expect_not(text_is_hex(str_of("0000"), 4), "all zero names nothing");
    cr_expect_not(text_is_hex(str_of("00F0"), 4));
    cr_expect_not(text_is_hex(str_of("00f"), 4));
    cr_expect_not(text_is_hex((struct str){NULL, 0}, 4));
}

Test(record, keeps_everything)
{
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_event(7);
    struct record r;

    record_of_event(&r, &e, &scratch);
    cr_expect(str_eq(r.user_id, "user-7"));
    cr_expect(str_eq(r.question, "question 7"));
    cr_expect(str_eq(r.answer, "una respuesta"));
    cr_expect_eq(r.total_tokens, 50);
    cr_expect_eq(r.cached_tokens, 5);
    cr_expect_eq(r.reasoning_tokens, 10);
    cr_expect_eq(r.cost_usd, 0.00002);
    cr_expect(r.has_usage && r.has_cost && r.has_scores);
    cr_expect_float_eq(r.toxicity_safe, 0.8, 1e-12);
    cr_expect_eq(r.tries, 1);
    json_t *attempts = json_loadb(r.attempts.p, r.attempts.n, 0, NULL);
    cr_assert_eq(json_array_size(attempts), 1);
    const json_t *a = json_array_get(attempts, 0);
    cr_expect_eq(json_integer_value(json_object_get(a, "status")), 200);
    cr_expect_eq(json_integer_value(json_object_get(a, "duration_us")), 600000);
    cr_expect_str_eq(json_string_value(json_object_get(a, "outcome")), "ok");
    json_decref(attempts);
    cr_expect(r.bytes > (int64_t)(r.question.n + r.answer.n + r.attempts.n));
    cr_expect_not(record_failed(&r));
    buf_free(&scratch);
}

Test(record, keeps_what_streams_and_chats_say)
{
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_event(7);
    struct record r, plain;

    record_of_event(&plain, &e, &scratch);
    e.session_id = str_of("session-1");
    e.tags = str_of("a,b\xff");
    e.metadata = str_of("{\"k\":1}");
    e.cache = str_of("shared");
    e.chat = e.stream = e.usage_estimated = true;
    e.first_token_us = 120000;
    record_of_event(&r, &e, &scratch);
    cr_expect(str_eq(r.session_id, "session-1") && str_eq(r.tags, "a,b\xef\xbf\xbd"));
    cr_expect(str_eq(r.metadata, "{\"k\":1}") && str_eq(r.cache, "shared"));
    cr_expect(r.chat && r.stream && r.usage_estimated && r.first_token_us == 120000);
    cr_expect_eq(r.bytes - plain.bytes, 9 + 6 + 7 + 6, "they count against the bound");
    e.first_token_us = -1;
    record_of_event(&r, &e, &scratch);
    cr_expect_eq(r.first_token_us, 0);
    buf_free(&scratch);
}

/* Several dirty texts at once share the scratch buffer: none may move while it is pointed to. */
Test(record, cleans_all_texts)
{
    enum { SIZE = 40000 };
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_event(1);
    static char bad[3][SIZE];
    struct str *const texts[] = {&e.user_id, &e.question, &e.answer};
    struct record r;

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        memset(bad[i], 'a' + (int)i, SIZE);
        bad[i][SIZE / 2] = '\xff';
        *texts[i] = (struct str){bad[i], SIZE};
    }
    record_of_event(&r, &e, &scratch);
    const struct str *cleaned[] = {&r.user_id, &r.question, &r.answer};
    for (size_t i = 0; i < ARRAY_LEN(cleaned); i++) {
        cr_expect_eq(cleaned[i]->n, SIZE + 2);
        cr_expect(text_is_clean(*cleaned[i]));
        cr_expect_eq(cleaned[i]->p[0], 'a' + (char)i);
        cr_expect_eq(cleaned[i]->p[SIZE + 1], 'a' + (char)i);
    }
    buf_free(&scratch);
}

Test(record, what_is_no_cost)
{
    static const double none[] = {-1e-9, NAN, INFINITY, -INFINITY};
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_event(1);
    struct record r;

    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        e.cost_usd = none[i];
        record_of_event(&r, &e, &scratch);
        cr_expect_not(r.has_cost, "%g", none[i]);
    }
    e.cost_usd = 0;
    record_of_event(&r, &e, &scratch);
    cr_expect(r.has_cost, "what is free has a cost: nothing");
    buf_free(&scratch);
}

Test(record, wanted)
{
    struct event e = support_event(1);

    cr_expect(record_wanted(&e));
    e.trace_id = (struct str){"", 0};
    cr_expect_not(record_wanted(&e), "not an /ask");
    e = support_event(1);
    e.generation_id = str_of("0123");
    cr_expect_not(record_wanted(&e), "one bad id would cost a whole export");
}

Test(record, failed)
{
    struct record r = {.status = 200};

    cr_expect_not(record_failed(&r));
    r.status = 502;
    cr_expect(record_failed(&r));
    r.status = 0;
    cr_expect(record_failed(&r), "the client left");
    r = (struct record){.status = 200, .error = str_of("timeout")};
    cr_expect(record_failed(&r));
}

Test(record, feedback)
{
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_feedback(3);
    struct record r;

    e.score_name = str_of("like\xff?");
    e.comment = (struct str){"a\0b", 3};
    record_of_event(&r, &e, &scratch);
    cr_expect(record_is_feedback(&r));
    cr_expect_eq(r.stage, RECORD_TRACE_SENT);
    cr_expect(str_eq(r.score_name, "like\xef\xbf\xbd?"));
    cr_expect(str_eq(r.comment, "ab"));
    cr_expect(str_eq(r.score_id, "00000000-0000-4000-8000-000000000003"));
    cr_expect_eq(r.start_us, 1700000001000000);
    buf_free(&scratch);
}

Test(record, which_feedback_is_wanted)
{
    const struct event good = support_feedback(3);
    struct event e = good;

    cr_expect(record_wanted(&e));
    e.trace_id = str_of("00000000000000000000000000000000");
    cr_expect_not(record_wanted(&e));
    e = good;
    e.score_id = (struct str){"", 0};
    cr_expect_not(record_wanted(&e));
    e.score_id = str_of("\xff");
    cr_expect_not(record_wanted(&e), "the answer would name another id");
    e = good;
    e.score_name = (struct str){"", 0};
    cr_expect_not(record_wanted(&e));
}
