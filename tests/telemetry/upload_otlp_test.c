/* Any OTLP backend, alone or beside Langfuse; each with its own progress (P3, P5). fake-langfuse plays it: its OTLP
 * route is one, with an authorization of its own. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "tests/telemetry/upload_bench.h"

static const struct pair headers[] = {{"authorization", "Basic cGstbGYtdGVzdDpzay1sZi10ZXN0"},
                                      {"x-more", "a b"}};

struct other {
    struct upload *upload;
    struct upload_conf conf;
    char url[160];
    bool drained;
};

static void drained(void *arg)
{
    struct other *o = arg;

    o->drained = true;
}

static void broken(void *arg, int error)
{
    (void)arg;
    cr_assert_fail("the spool failed: %d", error);
}

/* needed: of both destinations, or of this one alone. */
static void start_other(struct bench *b, struct other *o, const struct fixture *server, int64_t needed)
{
    o->conf = b->conf;
    snprintf(o->url, sizeof o->url, "http://127.0.0.1:%u/api/public/otel/v1/traces", server->port);
    o->conf.kind = UPLOAD_TO_OTLP;
    o->conf.url = o->url;
    o->conf.needed = needed;
    o->conf.service = "";
    o->conf.headers = headers;
    o->conf.n_headers = ARRAY_LEN(headers);
    o->conf.drained = drained;
    o->conf.broken = broken;
    o->conf.arg = o;
    o->drained = false;
    o->upload = upload_new(b->loop, &o->conf, b->spool, b->metrics);
}

static void alone(struct bench *b)
{
    upload_free(b->upload);
    b->upload = NULL;
}

Test(upload_otlp, alone)
{
    static const bool plain[] = {false, true};

    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        struct bench *b = bench_start(10, bench_plain);
        struct other o;
        alone(b);
        b->conf.plain = plain[i];
        start_other(b, &o, &b->fake, RECORD_EXPORTED);
        support_put(b->spool, 1, 20);
        struct event f =
            support_feedback(1); /* is no span: it goes nowhere, and is not counted as if it had */
        support_put_event(b->spool, &f);
        support_put(b->spool, 21, 25);
        upload_wake(o.upload);
        support_run(b->loop, bench_spool_is_empty, b);
        cr_expect_eq(bench_value(b, EXPORTED), 25);
        cr_expect_eq(bench_stat(b, "spans_unique"), 25);
        cr_expect_eq(bench_stat(b, "spans_raw"), 25);
        cr_expect_eq(bench_stat(b, "scores"), 0);
        cr_expect_eq(spool_records(b->spool), 0);
        upload_free(o.upload);
        bench_end(b);
    }
}

Test(upload_otlp, bad_days, .timeout = 120)
{
    static const char *const behaviours[] = {
        "{\"down\":true,\"count\":2}",  "{\"status\":503,\"count\":2,\"retry_after\":1}",
        "{\"status\":429,\"count\":2}", "{\"status\":500,\"count\":2}",
        "{\"stall\":true,\"count\":1}", "{\"max_body\":900}",
    };

    for (size_t i = 0; i < ARRAY_LEN(behaviours); i++) {
        struct bench *b = bench_start(10, bench_plain);
        struct other o;
        alone(b);
        start_other(b, &o, &b->fake, RECORD_EXPORTED);
        bench_behave(b, behaviours[i]);
        support_put(b->spool, 1, 25);
        upload_wake(o.upload);
        bench_wait(b, EXPORTED, 25);
        cr_expect_eq(bench_stat(b, "spans_unique"), 25, "%s", behaviours[i]);
        cr_expect_eq(spool_records(b->spool), 0);
        upload_free(o.upload);
        bench_end(b);
    }
}

/* One is away, the other is not: it is not held up, and the rows stay for the first. A death of ours changes nothing. */
Test(upload_otlp, one_away_does_not_hold_up_the_other)
{
    struct bench *b = bench_start(10, bench_plain);
    struct fixture second = fixture_start("fake-langfuse", bench_plain);
    struct other o;

    b->conf.needed = RECORD_EVERYWHERE;
    bench_restart(b);
    start_other(b, &o, &second, RECORD_EVERYWHERE);
    bench_behave(b, "{\"status\":503}");
    bench_put(b, 1, 30);
    upload_wake(o.upload);
    bench_wait(b, EXPORTED, 30);
    cr_expect_eq(spool_records(b->spool), 30);
    cr_expect_eq(bench_value(b, UPLOADED), 0);

    upload_free(o.upload);
    start_other(b, &o, &second, RECORD_EVERYWHERE);
    bench_behave(b, "{}");
    bench_restart(b);
    bench_wait(b, UPLOADED, 30);
    bench_expect_arrived(b, 30);
    support_put(b->spool, 31, 35);
    upload_wake(o.upload);
    upload_wake(b->upload);
    bench_wait(b, EXPORTED, 35);
    bench_wait(b, UPLOADED, 35);
    cr_expect_eq(spool_records(b->spool), 0);
    struct fixture first = b->fake;
    b->fake = second;
    cr_expect_eq(bench_stat(b, "spans_raw"), 35, "what it had, it did not get again");
    b->fake = first;
    upload_free(o.upload);
    fixture_stop(&second);
    bench_end(b);
}

/* Who is not configured any more is not waited for: what Langfuse has goes, what it has not had still goes to it. */
Test(upload_otlp, the_other_is_given_up)
{
    struct bench *b = bench_start(10, bench_plain);

    b->conf.needed = RECORD_EVERYWHERE;
    bench_restart(b);
    bench_put(b, 1, 10);
    bench_wait(b, UPLOADED, 10);
    cr_expect_eq(spool_records(b->spool), 10, "the other one's");
    support_put(b->spool, 11, 15);
    b->conf.needed = RECORD_IN_LANGFUSE;
    upload_sweep(b->spool, b->conf.needed);
    bench_restart(b);
    cr_expect_eq(spool_records(b->spool), 5);
    bench_wait(b, UPLOADED, 15);
    bench_expect_arrived(b, 15);
    cr_expect_eq(bench_stat(b, "spans_raw"), 15);
    cr_expect_eq(bench_value(b, EXPORTED), 0);
    bench_end(b);
}

/* What one of them refuses for good comes back to that one only. */
Test(upload_otlp, a_letter_of_one)
{
    struct bench *b = bench_start(10, bench_plain);
    struct fixture second = fixture_start("fake-langfuse", bench_plain);
    struct other o;
    int64_t n, idle;

    b->conf.needed = RECORD_EVERYWHERE;
    bench_restart(b);
    start_other(b, &o, &second, RECORD_EVERYWHERE);
    bench_behave(b, "{\"status\":400,\"count\":1,\"route\":\"otel\"}");
    bench_put(b, 1, 1);
    upload_wake(o.upload);
    bench_wait(b, EXPORTED, 1);
    bench_wait(b, REFUSED, 1);
    cr_expect_eq(spool_records(b->spool), 0);
    cr_expect_eq(spool_letters(b->spool), 1);
    cr_assert_eq(spool_begin(b->spool), 0);
    cr_assert_eq(spool_want(b->spool, 1, 1, &n), 0);
    cr_assert_eq(spool_revive(b->spool, RECORD_EVERYWHERE, &n, &idle), 0);
    cr_assert_eq(spool_commit(b->spool), 0);
    upload_wake(b->upload);
    upload_wake(o.upload);
    bench_wait(b, UPLOADED, 1);
    support_run(b->loop, bench_spool_is_empty, b);
    bench_expect_arrived(b, 1);
    cr_expect_eq(bench_value(b, EXPORTED), 1);
    upload_free(o.upload);
    fixture_stop(&second);
    bench_end(b);
}

Test(upload_otlp, wrong_headers_keep_everything)
{
    static const char *const keys[] = {"--public-key", "pk-lf-test", "--secret-key", "sk-lf-other", NULL};
    struct bench *b = bench_start(4, keys);
    struct other o;

    alone(b);
    start_other(b, &o, &b->fake, RECORD_EXPORTED);
    support_put(b->spool, 1, 10);
    upload_wake(o.upload);
    bench_wait(b, "\natalaya_uploads_total{result=\"refused\",target=\"otlp\"} ", 1);
    cr_expect_eq(spool_records(b->spool), 10);
    upload_drain(o.upload);
    cr_expect(o.drained);
    upload_free(o.upload);
    bench_end(b);
}

/* Alone, its refusals are its own, and nobody else's. */
Test(upload_otlp, refusals_are_counted_as_its_own)
{
    struct bench *b = bench_start(10, bench_plain);
    struct other o;

    alone(b);
    start_other(b, &o, &b->fake, RECORD_EXPORTED);
    cr_expect_eq(bench_value(b, REJECTED("otlp", "refused")), 0);
    bench_behave(b, "{\"status\":422,\"containing\":\"question 3\"}");
    support_put(b->spool, 1, 5);
    upload_wake(o.upload);
    bench_wait(b, EXPORTED, 4);
    bench_wait(b, REJECTED("otlp", "refused"), 1);
    cr_expect_eq(bench_value(b, REFUSED), 0);
    cr_expect_eq(spool_letters(b->spool), 1);
    cr_expect_eq(spool_records(b->spool), 0);
    upload_free(o.upload);
    bench_end(b);
}
