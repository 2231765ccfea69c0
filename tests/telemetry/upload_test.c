/* The uploader against fake-langfuse (P3): whatever the server does, every record arrives once or is counted. */
#include "telemetry/upload.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "telemetry/upload_inside.h"
#include "tests/telemetry/upload_bench.h"

Test(upload, a_good_day)
{
    struct bench *b = bench_start(10, bench_plain);

    bench_put(b, 1, 35);
    bench_wait(b, UPLOADED, 35);
    bench_expect_arrived(b, 35);
    cr_expect_eq(bench_stat(b, "spans_raw"), 35);
    cr_expect_eq(bench_stat(b, "scores_raw"), 70);
    cr_expect_eq(bench_stat(b, "requests"), 9, "its version, and four parcels of two requests each");
    cr_expect_eq(spool_bytes(b->spool), 0);
    json_t *traces = bench_admin(b, "GET", "/_admin/traces?traceId=00000000000000000000000000000007", "");
    const json_t *t = json_array_get(json_object_get(traces, "traces"), 0);
    cr_expect_str_eq(json_string_value(json_object_get(t, "name")), "qa_chat");
    cr_expect_str_eq(json_string_value(json_object_get(t, "userId")), "user-7");
    cr_expect_str_eq(json_string_value(json_object_get(t, "input")), "question 7");
    cr_expect_str_eq(json_string_value(json_object_get(t, "output")), "una respuesta");
    cr_expect_str_eq(json_string_value(json_object_get(t, "environment")), "test");
    json_decref(traces);
    bench_end(b);
}

/* Each bad day ends; then everything is there. Repetitions have the same ids. */
Test(upload, bad_days, .timeout = 120)
{
    static const struct {
        const char *behaviour;
        bool may_repeat; /* the server took it and did not say so */
    } cases[] = {
        {"{\"down\":true,\"count\":2}", false},
        {"{\"status\":500,\"count\":3}", false},
        {"{\"status\":503,\"count\":1,\"retry_after\":1}", false},
        {"{\"status\":429,\"count\":2,\"retry_after\":1}", false},
        {"{\"status\":408,\"count\":1,\"route\":\"ingestion\"}", false},
        {"{\"status\":500,\"count\":2,\"route\":\"ingestion\"}", false},
        {"{\"cut\":true,\"count\":1,\"route\":\"otel\"}", true},
        {"{\"cut\":true,\"count\":1,\"route\":\"ingestion\"}", true},
        {"{\"stall\":true,\"count\":1,\"route\":\"otel\"}", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench *b = bench_start(8, bench_plain);
        bench_behave(b, cases[i].behaviour);
        bench_put(b, 1, 20);
        bench_wait(b, UPLOADED, 20);
        bench_expect_arrived(b, 20);
        if (!cases[i].may_repeat) {
            cr_expect_eq(bench_stat(b, "spans_raw"), 20, "%s", cases[i].behaviour);
            cr_expect_eq(bench_stat(b, "scores_raw"), 40, "%s", cases[i].behaviour);
        }
        cr_expect_eq(bench_stat(b, "spans_changed"), 0);
        cr_expect_float_eq(bench_value(b, UPLOADED), 20, 0, "%s", cases[i].behaviour);
        bench_end(b);
    }
}

Test(upload, retry_after_is_honoured)
{
    struct bench *b = bench_start(8, bench_plain);

    bench_behave(b, "{\"status\":429,\"count\":1,\"retry_after\":1}");
    int64_t from = clock_ms();
    bench_put(b, 1, 2);
    bench_wait(b, UPLOADED, 2);
    cr_expect_geq(clock_ms() - from, 1000);
    bench_end(b);
}

/* What one request was told holds for all: others that were in the air, and succeed, do not take it back. */
Test(upload, a_wait_outlasts_the_luck_of_others)
{
    struct bench *b = bench_start(10, bench_plain);

    bench_behave(b, "{\"slow_ms\":1200}");
    bench_put(b, 1, 30);
    bench_wait_for_requests(b, 3);
    bench_behave(b, "{\"status\":429,\"count\":1,\"retry_after\":2}");
    int64_t from = clock_ms();
    bench_put(b, 31, 40);
    bench_wait(b, UPLOADED, 1);
    cr_expect_geq(clock_ms() - from, 2000, "not even the scores of the lucky ones");
    bench_wait(b, UPLOADED, 40);
    bench_expect_arrived(b, 40);
    cr_expect_eq(bench_stat(b, "spans_raw"), 40);
    bench_end(b);
}

/* What is behind the cap is not needed: the status line has said it, and a batch's verdicts come first. */
Test(upload, endless_answers)
{
    static const char *const behaviours[] = {"{\"padding\":12000000}",
                                             "{\"padding\":12000000,\"status\":400}"};

    for (size_t i = 0; i < ARRAY_LEN(behaviours); i++) {
        struct bench *b = bench_start(10, bench_plain);
        bench_behave(b, behaviours[i]);
        bench_put(b, 1, 3);
        bench_wait(b, i == 0 ? UPLOADED : REFUSED, 3);
        cr_expect_eq(spool_records(b->spool), 0);
        if (i == 0)
            bench_expect_arrived(b, 3);
        bench_end(b);
    }
}

static bool is_over(void *arg)
{
    const int64_t *until = arg;

    return clock_ms() >= *until;
}

/* A server that takes requests and settles nothing that is in them: what goes again hurries nobody else. */
Test(upload, half_a_success_hurries_nobody)
{
    struct bench *b = bench_start(10, bench_plain);

    bench_behave(b, "{\"status\":207,\"route\":\"ingestion\"}");
    bench_put(b, 1, 40);
    bench_wait_for_requests(b, 9); /* of the version, of four times traces and scores */
    int64_t until = clock_ms() + 1000;
    support_run(b->loop, is_over, &until);
    cr_expect_lt(bench_stat(b, "requests"), 60, "%d requests", (int)bench_stat(b, "requests"));
    bench_behave(b, "{}");
    bench_wait(b, UPLOADED, 40);
    bench_expect_arrived(b, 40);
    bench_end(b);
}

static json_t *the_score(struct bench *b, const char *path)
{
    json_t *scores = bench_admin(b, "GET", path, "");
    json_t *s = json_incref(json_array_get(json_object_get(scores, "scores"), 0));

    json_decref(scores);
    cr_assert(s, "%s", path);
    return s;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "(none)";
}

/* Scores of clients go between questions, also when Langfuse has never heard of the trace. */
Test(upload, feedback_arrives)
{
    struct bench *b = bench_start(10, bench_plain);
    struct event e = support_feedback(2), text = support_feedback(3), early = support_feedback(99);

    e.comment = str_of("bien, \"pero\"\n");
    text.score_type = str_of("CATEGORICAL");
    text.score_text = str_of("so la la");
    early.score_type = str_of("BOOLEAN");
    early.score_value = 0;
    support_put(b->spool, 1, 3);
    support_put_event(b->spool, &e);
    support_put_event(b->spool, &text);
    bench_put(b, 4, 5);
    support_put_event(b->spool, &early);
    upload_wake(b->upload);
    bench_wait(b, UPLOADED, 8);
    cr_expect_eq(bench_stat(b, "traces"), 5);
    cr_expect_eq(bench_stat(b, "scores_unique"), 13);
    cr_expect_eq(bench_stat(b, "violations"), 0);
    cr_expect_eq(spool_records(b->spool), 0);
    json_t *s = the_score(b, "/_admin/scores?traceId=00000000000000000000000000000063");
    cr_expect_str_eq(text_of(s, "id"), "00000000-0000-4000-8000-000000000063");
    cr_expect_str_eq(text_of(s, "dataType"), "BOOLEAN");
    cr_expect_str_eq(text_of(s, "timestamp"), "2023-11-14T22:13:21.000Z");
    cr_expect_str_eq(text_of(s, "environment"), "test");
    json_decref(s);
    bench_end(b);
}

/* P3: sent again, it is the same score. */
Test(upload, feedback_on_bad_days, .timeout = 120)
{
    static const char *const behaviours[] = {
        "{\"down\":true,\"count\":2}",
        "{\"status\":503,\"count\":2}",
        "{\"status\":429,\"count\":1,\"retry_after\":1}",
        "{\"cut\":true,\"count\":2,\"route\":\"ingestion\"}",
    };

    for (size_t i = 0; i < ARRAY_LEN(behaviours); i++) {
        struct bench *b = bench_start(4, bench_plain);
        bench_behave(b, behaviours[i]);
        for (unsigned n = 1; n <= 6; n++) {
            struct event e = support_feedback(n);
            support_put_event(b->spool, &e);
        }
        bench_put(b, 1, 2);
        bench_wait(b, UPLOADED, 8);
        cr_expect_eq(bench_stat(b, "scores_unique"), 10, "%s", behaviours[i]);
        cr_expect_eq(bench_stat(b, "traces"), 2);
        cr_expect_eq(bench_stat(b, "violations"), 0);
        cr_expect_eq(spool_records(b->spool), 0);
        bench_end(b);
    }
}

/* Somebody has edited the file: one score that Langfuse refuses, alone, by its verdict in a batch of good ones. */
Test(upload, refused_feedback_is_dropped_and_counted)
{
    struct bench *b = bench_start(10, bench_plain);
    struct event good = support_feedback(1), bad = support_feedback(2);

    bad.score_type = str_of("numeric");
    bench_put(b, 1, 1);
    support_put_event(b->spool, &bad);
    support_put_event(b->spool, &good);
    upload_wake(b->upload);
    bench_wait(b, UPLOADED, 2);
    bench_wait(b, REFUSED, 1);
    cr_expect_float_eq(bench_value(b, UPLOADED), 2, 0);
    cr_expect_float_eq(bench_value(b, "\natalaya_scores_rejected_total "), 1, 0);
    cr_expect_eq(bench_stat(b, "scores_unique"), 3);
    cr_expect_eq(spool_records(b->spool), 0);
    bench_end(b);
}

/* The same when the server refuses whole requests, so that it has to be found by halving. */
Test(upload, feedback_that_is_refused_as_a_request)
{
    struct bench *b = bench_start(10, bench_plain);

    bench_behave(b, "{\"status\":400,\"count\":3,\"route\":\"ingestion\"}");
    for (unsigned n = 1; n <= 2; n++) {
        struct event e = support_feedback(n);
        support_put_event(b->spool, &e);
    }
    upload_wake(b->upload);
    bench_wait(b, REFUSED, 2);
    cr_expect_float_eq(bench_value(b, "\natalaya_scores_rejected_total "), 2, 0);
    cr_expect_float_eq(bench_value(b, UPLOADED), 0, 0);
    cr_expect_eq(spool_records(b->spool), 0);
    bench_end(b);
}

static void put_shared(struct bench *b, unsigned n)
{
    struct event e = support_event(n);

    e.trace_id = str_of("0af7651916cd43dd8448eb211c80319c");
    e.parent_id = str_of("b7ad6b7169203331");
    e.user_id = str_of("one user");
    e.toxicity_safe = n / 10.0;
    support_put_event(b->spool, &e);
}

/* Two questions in one trace of their caller: two generations below the caller's span, with two scores each. One score
 * is tried again, and belongs to the second. */
Test(upload, questions_may_share_a_trace)
{
    struct bench *b = bench_start(10, bench_plain);

    bench_behave(b, "{\"status\":500,\"count\":1,\"route\":\"ingestion\"}");
    put_shared(b, 1);
    put_shared(b, 2);
    upload_wake(b->upload);
    bench_wait(b, UPLOADED, 2);
    cr_expect_eq(bench_stat(b, "traces"), 1);
    cr_expect_eq(bench_stat(b, "spans_unique"), 2);
    cr_expect_eq(bench_stat(b, "scores_unique"), 4);
    cr_expect_eq(bench_stat(b, "violations"), 0);
    json_t *all = bench_admin(b, "GET", "/_admin/traces?traceId=0af7651916cd43dd8448eb211c80319c", "");
    const json_t *observations =
        json_object_get(json_array_get(json_object_get(all, "traces"), 0), "observations");
    cr_assert_eq(json_array_size(observations), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *o = json_array_get(observations, i);
        cr_expect_str_eq(text_of(o, "parentObservationId"), "b7ad6b7169203331");
        cr_expect(json_is_true(json_object_get(o, "isRootObservation")));
        cr_expect_str_eq(text_of(json_object_get(o, "metadata"), "request_id"),
                         i ? "request-2" : "request-1");
    }
    json_decref(all);
    all = bench_admin(b, "GET", "/_admin/scores?traceId=0af7651916cd43dd8448eb211c80319c", "");
    const json_t *s;
    size_t i;
    json_array_foreach(json_object_get(all, "scores"), i, s)
    {
        bool first = strcmp(text_of(s, "observationId"), "0000000000000001") == 0;
        if (strcmp(text_of(s, "name"), "toxicity_safe") == 0)
            cr_expect_float_eq(json_number_value(json_object_get(s, "value")), first ? 0.1 : 0.2, 1e-9);
    }
    json_decref(all);
    bench_end(b);
}

/* What the spool has let go while it was under way has been counted as that, and is not counted again. */
Test(upload, a_record_is_counted_once)
{
    struct bench *b = bench_start(10, bench_plain);
    int64_t dropped = 0;

    bench_behave(b, "{\"slow_ms\":300,\"count\":2}");
    bench_put(b, 1, 10);
    bench_wait_for_requests(b, 1);
    cr_assert_eq(spool_begin(b->spool), 0);
    cr_assert_eq(spool_delete(b->spool, 1, 4, &dropped), 0);
    cr_assert_eq(spool_commit(b->spool), 0);
    cr_assert_eq(dropped, 4);
    bench_wait(b, UPLOADED, 6);
    support_run(b->loop, bench_spool_is_empty, b);
    cr_expect_float_eq(bench_value(b, UPLOADED), 6, 0);
    bench_end(b);
}

Test(upload, too_large_is_halved)
{
    struct bench *b = bench_start(64, bench_plain);

    bench_behave(b, "{\"max_body\":2000}");
    bench_put(b, 1, 40);
    bench_wait(b, UPLOADED, 40);
    bench_expect_arrived(b, 40);
    cr_expect_gt(bench_value(b, "\natalaya_uploads_total{result=\"too_large\",target=\"scores\"} "), 0);
    bench_end(b);
}

static void put_long(struct bench *b, unsigned n, size_t question, size_t answer)
{
    static char text[8 * MIB];
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_event(n);
    struct record r;
    uint32_t x = 12345;

    for (size_t i = 0; i < sizeof text; i++) { /* nothing for gzip to save */
        x = x * 1664525 + 1013904223;
        text[i] = (char)('!' + (x >> 24) % 90);
    }
    record_of_event(&r, &e, &scratch);
    r.question = question ? (struct str){text, question} : r.question;
    r.answer = answer ? (struct str){text, answer} : r.answer;
    cr_assert_eq(spool_begin(b->spool), 0);
    cr_assert_eq(spool_put(b->spool, &r), 0);
    cr_assert_eq(spool_commit(b->spool), 0);
    upload_wake(b->upload);
    buf_free(&scratch);
}

Test(upload, a_record_that_is_too_large_alone_is_trimmed)
{
    struct bench *b = bench_start(64, bench_plain);

    bench_behave(b, "{\"max_body\":20000}");
    put_long(b, 1, 0, 100000);
    put_long(b, 2, 50000, 100000);
    bench_put(b, 3, 4);
    bench_wait(b, UPLOADED, 4);
    bench_expect_arrived(b, 4);
    json_t *traces = bench_admin(b, "GET", "/_admin/traces?traceId=00000000000000000000000000000001", "");
    const json_t *t = json_array_get(json_object_get(traces, "traces"), 0);
    cr_expect_str_eq(json_string_value(json_object_get(t, "input")), "question 1", "only the largest goes");
    cr_expect_str_eq(json_string_value(json_object_get(t, "output")),
                     "<truncated due to size exceeding limit>");
    json_decref(traces);
    bench_end(b);
}

Test(upload, what_never_fits_is_dropped_and_counted)
{
    struct bench *b = bench_start(64, bench_plain);

    bench_behave(b, "{\"max_body\":50,\"route\":\"otel\"}");
    bench_put(b, 1, 1);
    bench_wait(b, REJECTED("langfuse", "too_large"), 1);
    cr_expect_eq(spool_records(b->spool), 0);
    bench_behave(b, "{}");
    bench_put(b, 2, 3);
    bench_wait(b, UPLOADED, 2);
    bench_expect_arrived(b, 2);
    bench_end(b);
}

/* Somebody has edited the file: this record's trace id makes Langfuse refuse the whole export. */
Test(upload, a_refused_record_does_not_take_others_along)
{
    struct bench *b = bench_start(64, bench_plain);
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_event(50);
    struct record r;

    record_of_event(&r, &e, &scratch);
    r.trace_id = str_of("");
    r.has_scores = false;
    support_put(b->spool, 1, 20);
    cr_assert_eq(spool_begin(b->spool), 0);
    cr_assert_eq(spool_put(b->spool, &r), 0);
    cr_assert_eq(spool_commit(b->spool), 0);
    bench_put(b, 21, 40);
    bench_wait(b, UPLOADED, 40);
    bench_wait(b, REFUSED, 1);
    cr_expect_eq(bench_stat(b, "traces"), 40);
    cr_expect_eq(bench_stat(b, "scores_unique"), 80);
    cr_expect_eq(spool_records(b->spool), 0);
    bench_end(b);
    buf_free(&scratch);
}

Test(upload, wrong_keys_keep_everything)
{
    static const char *const keys[] = {"--public-key", "pk-lf-test", "--secret-key", "sk-lf-other", NULL};
    struct bench *b = bench_start(4, keys);

    bench_put(b, 1, 30);
    bench_wait(b, "\natalaya_uploads_total{result=\"refused\",target=\"traces\"} ", 1);
    cr_expect_eq(spool_records(b->spool), 30);
    upload_drain(b->upload);
    support_run(b->loop, bench_is_drained, b); /* when those are back that are in the air yet */
    cr_expect_eq(spool_records(b->spool), 30);
    cr_expect_leq(bench_stat(b, "requests"), 1 + UPLOAD_FLIGHTS, "one probe at a time, and slowly");
    bench_end(b);
}

/* A trace that was taken is not sent again by the next life; its scores are. */
Test(upload, a_new_life_goes_on_where_the_old_one_was)
{
    struct bench *b = bench_start(10, bench_plain);

    bench_behave(b, "{\"status\":500,\"route\":\"ingestion\"}");
    bench_put(b, 1, 10);
    bench_wait(b, "\natalaya_uploads_total{result=\"retry\",target=\"scores\"} ", 1);
    upload_free(b->upload);
    bench_behave(b, "{}");
    b->upload = upload_new(b->loop, &b->conf, b->spool, b->metrics);
    bench_wait(b, UPLOADED, 10);
    bench_expect_arrived(b, 10);
    cr_expect_eq(bench_stat(b, "spans_raw"), 10);
    bench_end(b);
}

Test(upload, a_failed_question_has_no_scores)
{
    struct bench *b = bench_start(10, bench_plain);
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_event(1);
    struct record r;

    e.status = 502;
    e.error = str_of("timeout");
    e.has_scores = false;
    record_of_event(&r, &e, &scratch);
    cr_assert_eq(spool_begin(b->spool), 0);
    cr_assert_eq(spool_put(b->spool, &r), 0);
    cr_assert_eq(spool_commit(b->spool), 0);
    upload_wake(b->upload);
    bench_wait(b, UPLOADED, 1);
    cr_expect_eq(bench_stat(b, "traces"), 1);
    cr_expect_eq(bench_stat(b, "scores"), 0);
    cr_expect_eq(bench_stat(b, "violations"), 0);
    cr_expect_eq(spool_records(b->spool), 0);
    bench_end(b);
    buf_free(&scratch);
}

Test(upload, draining_sends_what_waits)
{
    struct bench *b = bench_start(1000, bench_plain);

    upload_free(b->upload);
    b->conf.flush_interval_ms = 3600000;
    b->upload = upload_new(b->loop, &b->conf, b->spool, b->metrics);
    bench_put(b, 1, 25);
    upload_drain(b->upload);
    support_run(b->loop, bench_is_drained, b);
    bench_expect_arrived(b, 25);
    bench_end(b);
}

Test(upload, draining_ends_when_langfuse_is_away)
{
    struct bench *b = bench_start(5, bench_plain);

    bench_behave(b, "{\"down\":true}");
    bench_put(b, 1, 25);
    upload_drain(b->upload);
    support_run(b->loop, bench_is_drained, b);
    cr_expect_eq(spool_records(b->spool), 25);
    bench_end(b);
}

/* As if the time that was to be waited had passed. */
static void hurry(struct bench *b)
{
    b->upload->hold_until = b->upload->scout_due = 0;
    parcels_hurry(&b->upload->parcels);
    upload_pump(b->upload);
}

static bool reached_in_a_hurry(void *arg)
{
    struct bench *b = arg;

    hurry(b);
    return bench_value(b, b->counter) >= b->wanted;
}

static void wait_in_a_hurry(struct bench *b, const char *counter, double wanted)
{
    b->counter = counter;
    b->wanted = wanted;
    support_run(b->loop, reached_in_a_hurry, b);
}

/* One record that the server, or what is in front of it, fails at for ever: all others pass it, before it and after it, and
 * it is given up when enough of them have. */
Test(upload, a_record_that_always_fails_holds_up_nobody, .timeout = 120)
{
    static const struct {
        const char *version, *behaviour, *reason;
    } cases[] = {
        {"4.16.0", "{\"status\":500,\"route\":\"otel\",\"containing\":\"question 7\"}", "500 {"},
        {"4.16.0", "{\"status\":403,\"route\":\"otel\",\"containing\":\"question 7\"}", "403 {"},
        {"4.16.0", "{\"status\":406,\"route\":\"otel\",\"containing\":\"question 7\"}", "406 <html>"},
        {"2.95.12", "{\"status\":502,\"route\":\"ingestion\",\"containing\":\"question 7\"}", "502 <html>"},
        {"4.16.0", "{\"status\":500,\"route\":\"ingestion\",\"containing\":\"0000000007-toxicity\"}",
         "500 {"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *const args[] = {"--version", cases[i].version, NULL};
        struct bench *b = bench_start(20, args);
        struct spool_letter l;
        unsigned n = 40;
        bench_behave(b, cases[i].behaviour);
        bench_put(b, 1, n);
        wait_in_a_hurry(b, UPLOADED, n - 1);
        cr_expect_eq(spool_letters(b->spool), 0, "a few failures are no verdict");
        cr_expect_eq(spool_records(b->spool), 1);
        for (; spool_letters(b->spool) == 0 && n < 60; n++) {
            bench_put(b, n + 1, n + 1);
            wait_in_a_hurry(b, UPLOADED, n);
            hurry(b);
        }
        wait_in_a_hurry(b, REJECTED("langfuse", "failed"), i < 4);
        support_run(b->loop, bench_spool_is_empty, b);
        cr_assert_eq(spool_letters(b->spool), 1, "case %zu", i);
        cr_assert_eq(spool_scan_letters(b->spool, 0, 99), 0);
        cr_assert_eq(spool_next_letter(b->spool, &l), 1);
        cr_expect_eq(l.record.seq, 7);
        cr_expect_eq(strncmp(l.reason.p, cases[i].reason, strlen(cases[i].reason)), 0, "%s", l.reason.p);
        spool_scan_letters_end(b->spool);
        cr_expect_eq(bench_stat(b, "traces"), n - (i < 4));
        cr_expect_eq(bench_stat(b, "spans_changed") + bench_stat(b, "violations"), 0);
        bench_end(b);
    }
}

/* The first records that there are: nothing else shows that the server is well. */
Test(upload, many_that_fail_are_told_from_an_outage, .timeout = 60)
{
    struct bench *b = bench_start(20, bench_plain);

    bench_behave(b, "{\"status\":500,\"route\":\"otel\",\"containing\":\"question 1\"}");
    bench_put(b, 1, 60); /* 1 and 10 to 19 */
    wait_in_a_hurry(b, UPLOADED, 49);
    cr_expect_eq(bench_stat(b, "traces"), 49);
    cr_expect_eq(spool_records(b->spool) + spool_letters(b->spool), 11);
    bench_end(b);
}

static bool asked_often(void *arg)
{
    struct bench *b = arg;

    hurry(b);
    cr_assert_leq(upload_undecided(b->upload, true), UPLOAD_PROBES);
    return bench_stat(b, "requests") >= b->wanted;
}

/* However often it is tried: nothing is given up, parcels do not fall to pieces, and in the end all is there. */
Test(upload, an_outage_blames_nobody, .timeout = 120)
{
    static const char *const behaviours[] = {"{\"status\":500}", "{\"status\":403}", "{\"down\":true}",
                                             "{\"status\":207,\"route\":\"ingestion\"}"};

    for (size_t i = 0; i < ARRAY_LEN(behaviours); i++) {
        struct bench *b = bench_start(10, bench_plain);
        bench_behave(b, behaviours[i]);
        bench_put(b, 1, 300);
        b->wanted = 400;
        support_run(b->loop, asked_often, b);
        cr_expect_eq(spool_records(b->spool), 300);
        cr_expect_eq(spool_letters(b->spool), 0);
        bench_behave(b, "{}");
        int64_t before = bench_stat(b, "requests");
        wait_in_a_hurry(b, UPLOADED, 300);
        bench_expect_arrived(b, 300);
        cr_expect_eq(spool_letters(b->spool), 0);
        cr_expect_lt(bench_stat(b, "requests") - before, 2 * (30 + UPLOAD_PROBES) + 20);
        bench_end(b);
    }
}

static bool asked_in_a_hurry(void *arg)
{
    struct bench *b = arg;

    hurry(b);
    return bench_spool_is_empty(b) || bench_stat(b, "requests") >= b->wanted;
}

static void wait_for_more_requests(struct bench *b, double n)
{
    b->wanted = (double)bench_stat(b, "requests") + n;
    support_run(b->loop, asked_in_a_hurry, b);
}

static bool emptied_in_a_hurry(void *arg)
{
    hurry(arg);
    return bench_spool_is_empty(arg);
}

/* Some servers behind one address are well, others are not: requests fail at random, and some are always taken. */
Test(upload, half_an_outage_blames_nobody, .timeout = 120)
{
    static const char *const behaviours[] = {
        "{\"status\":503,\"share\":0.9}", "{\"status\":502,\"share\":0.6}", "{\"status\":401,\"share\":0.6}",
        "{\"status\":500,\"share\":0.9,\"route\":\"ingestion\"}"};

    for (size_t i = 0; i < ARRAY_LEN(behaviours); i++) {
        struct bench *b = bench_start(10, bench_plain);
        bench_behave(b, behaviours[i]);
        for (unsigned n = 0; n < 500; n += 20) {
            bench_put(b, n + 1, n + 20);
            wait_for_more_requests(b, 10);
        }
        support_run(b->loop, emptied_in_a_hurry, b);
        cr_expect_eq(spool_letters(b->spool), 0, "case %zu", i);
        bench_expect_arrived(b, 500);
        bench_end(b);
    }
}

static bool is_held(void *arg)
{
    const struct bench *b = arg;

    return b->upload->holding;
}

/* A door that is closed for a while, and says for how long. */
Test(upload, a_refusal_may_ask_for_patience_too)
{
    struct bench *b = bench_start(10, bench_plain);
    int64_t before = clock_ms();

    bench_behave(b, "{\"status\":403,\"retry_after\":300}");
    bench_put(b, 1, 3);
    support_run(b->loop, is_held, b);
    cr_expect_geq(b->upload->hold_until - before, 300000);
    bench_end(b);
}

/* Each in a parcel of its own, more than may be under suspicion at once: what comes after them gets through. */
Test(upload, nothing_but_what_always_fails_at_first, .timeout = 60)
{
    struct bench *b = bench_start(1, bench_plain);

    bench_behave(b, "{\"status\":500,\"route\":\"otel\",\"containing\":\"question 1\"}");
    bench_put(b, 100, 139);
    b->wanted = 200;
    support_run(b->loop, asked_often, b);
    bench_put(b, 200, 220);
    wait_in_a_hurry(b, UPLOADED, 21);
    bench_end(b);
}
