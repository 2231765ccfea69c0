/* What is refused for good, what sampling keeps away, and how it comes back (P3). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "telemetry/letters.h"
#include "tests/e2e/process.h"
#include "tests/telemetry/upload_bench.h"

/* One letter: its reason, which is the caller's, and what is left to do about it. */
static char *the_letter(struct bench *b, int64_t stage)
{
    struct spool_letter l;

    cr_assert_eq(spool_letters(b->spool), 1);
    cr_assert_eq(spool_scan_letters(b->spool, 1, INT64_MAX), 0);
    cr_assert_eq(spool_next_letter(b->spool, &l), 1);
    cr_expect_eq(l.record.stage, stage);
    char *reason = strndup(l.reason.p, l.reason.n);
    spool_scan_letters_end(b->spool);
    return reason;
}

static void want_all(struct bench *b)
{
    int64_t n = 0;

    cr_assert_eq(spool_begin(b->spool), 0);
    cr_assert_eq(spool_want(b->spool, 1, INT64_MAX, &n), 0);
    cr_assert_eq(spool_commit(b->spool), 0);
    cr_assert_gt(n, 0);
}

static void revived(void *arg)
{
    struct bench *b = arg;

    upload_wake(b->upload);
}

static void broken(void *arg, int error)
{
    (void)arg;
    cr_assert_fail("the spool failed: %d", error);
}

static void watch(struct bench *b, struct letters *l)
{
    *l = (struct letters){.loop = b->loop, .spool = b->spool, .revived = revived, .broken = broken, .arg = b};
    letters_watch(l);
}

Test(upload_letters, a_refused_trace_is_kept_with_its_reason_and_sent_again)
{
    struct bench *b = bench_start(10, bench_plain);
    struct letters l;

    bench_behave(b, "{\"status\":400,\"count\":1,\"route\":\"otel\"}");
    bench_put(b, 1, 1);
    bench_wait(b, REFUSED, 1);
    cr_expect_eq(spool_records(b->spool), 0);
    char *reason = the_letter(b, RECORD_EXPORTED);
    cr_expect_eq(strncmp(reason, "400 {\"message\"", 14), 0, "%s", reason);
    free(reason);
    watch(b, &l);
    want_all(b);
    bench_wait(b, UPLOADED, 1);
    bench_expect_arrived(b, 1);
    cr_expect_eq(spool_letters(b->spool), 0);
    letters_stop(&l);
    bench_end(b);
}

/* The trace is there already: only the scores come back. */
Test(upload_letters, refused_scores_come_back_alone)
{
    struct bench *b = bench_start(10, bench_plain);
    struct letters l;

    bench_behave(b, "{\"status\":400,\"count\":1,\"route\":\"ingestion\"}");
    bench_put(b, 1, 1);
    bench_wait(b, UPLOADED, 1);
    cr_expect_eq(bench_value(b, "\natalaya_scores_rejected_total "), 2);
    free(the_letter(b, RECORD_EXPORTED | RECORD_TRACE_SENT));
    watch(b, &l);
    want_all(b);
    bench_wait(b, UPLOADED, 2);
    bench_expect_arrived(b, 1);
    cr_expect_eq(bench_stat(b, "spans_raw"), 1);
    letters_stop(&l);
    bench_end(b);
}

static void run(struct bench *b, const char *first, const char *second, int code, const char *text)
{
    char program[4096], state[SUPPORT_DIR_SIZE + 32];
    const char *const argv[] = {program, first, second, NULL};
    const char *const env[] = {state, NULL};
    struct buf out = BUF_INIT(MIB);

    snprintf(program, sizeof program, "%s/atalaya-telemetry", getenv("ATALAYA_BIN"));
    snprintf(state, sizeof state, "ATALAYA_STATE_DIR=%s", b->dir);
    cr_expect_eq(process_run(argv, env, (struct str){NULL, 0}, &out), code, "%s %s", first, out.data);
    cr_expect(out.data && strstr(out.data, text), "'%s' is not in: %s", text, out.data ? out.data : "");
    cr_expect(!out.data || !strstr(out.data, "question"), "no words of anybody: %s", out.data);
    buf_free(&out);
}

/* While telemetry has the file open. */
Test(upload_letters, commands)
{
    struct bench *b = bench_start(10, bench_plain);
    struct letters l;

    run(b, "--dead-letters", NULL, 0, "no dead letters");
    bench_behave(b, "{\"status\":400,\"route\":\"otel\"}");
    bench_put(b, 1, 3);
    bench_wait(b, REFUSED, 3);
    run(b, "--dead-letters", NULL, 0, "00000000000000000000000000000002  refused  400 {\"message\"");
    run(b, "--replay", NULL, 64, "which dead letters?");
    run(b, "--replay", "x", 64, "'x' is no number of a dead letter");
    run(b, "--replay", "77", 1, "there is no dead letter 77");
    run(b, "--replay", "2", 0, "1 dead letter will be sent again");
    run(b, "--dead-letters", NULL, 0, "00000000000000000000000000000002  replay ");
    bench_behave(b, "{}");
    watch(b, &l);
    bench_wait(b, UPLOADED, 1);
    run(b, "--replay", "--all", 0, "2 dead letters will be sent again");
    bench_wait(b, UPLOADED, 3);
    bench_expect_arrived(b, 3);
    run(b, "--dead-letters", NULL, 0, "no dead letters");
    letters_stop(&l);
    bench_end(b);
}

Test(upload_letters, no_spool_yet)
{
    struct bench b;

    support_dir(b.dir);
    run(&b, "--dead-letters", NULL, 75, "there is no spool in");
    run(&b, "--replay", "--all", 75, "there is no spool in");
}

/* A trace and all its scores go, or stay. */
Test(upload_letters, sampling)
{
    struct bench *b = bench_start(10, bench_plain);

    b->conf.sample_rate = 0.5;
    bench_restart(b);
    struct event in = support_event(1), out = support_event(2);
    struct event f_in = support_feedback(1), f_out = support_feedback(2);
    in.trace_id = f_in.trace_id = str_of("00000000000000017fffffffffffffff");
    out.trace_id = f_out.trace_id = str_of("00000000000000018000000000000000");
    support_put_event(b->spool, &in);
    support_put_event(b->spool, &out);
    support_put_event(b->spool, &f_out);
    bench_put_event(b, &f_in);
    bench_wait(b, UPLOADED, 2);
    bench_wait(b, "\natalaya_unsampled_records_total ", 2);
    cr_expect_eq(bench_stat(b, "traces"), 1);
    cr_expect_eq(bench_stat(b, "scores_unique"), 3);
    cr_expect_eq(spool_records(b->spool), 0);
    bench_end(b);
}

/* As OpenTelemetry's TraceIdRatioBased decides, in every SDK of Langfuse since 3. */
Test(upload_letters, sampling_by_trace_id)
{
    static const struct {
        const char *id;
        double rate;
        bool sampled;
    } cases[] = {
        {"ffffffffffffffff0000000000000000", 0.0001, true},
        {"00000000000000003fffffffffffffff", 0.25, true},
        {"00000000000000004000000000000000", 0.25, false},
        {"0000000000000000ffffffffffffffff", 0.999999, false},
        {"0000000000000000ffffffffffffffff", 1, true},
        {"00000000000000000000000000000000", 0, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_eq(trace_is_sampled(str_of(cases[i].id), cases[i].rate), cases[i].sampled, "case %zu", i);
}
