/* What is refused for good, what sampling keeps away, and how it comes back (P3). */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <fcntl.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "telemetry/letters.h"
#include "tests/e2e/process.h"
#include "tests/telemetry/upload_bench.h"

/* One letter: its reason, which is the caller's, and what is left to do about it. */
static char *the_letter(struct bench *b, int64_t stage)
{
    struct spool_letter l;

    cr_assert_eq(spool_letters(b->spool), 1);
    cr_assert_eq(spool_scan_letters(b->spool, 0, 99), 0);
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

static bool is_not_wanted(void *arg)
{
    const struct bench *b = arg;
    struct spool_letter l;

    cr_assert_eq(spool_scan_letters(b->spool, 0, 1), 0);
    cr_assert_eq(spool_next_letter(b->spool, &l), 1, "it is still there");
    bool wanted = l.wanted;
    spool_scan_letters_end(b->spool);
    return !wanted;
}

static void broken(void *arg, int error)
{
    (void)arg;
    cr_assert_fail("the spool failed: %d", error);
}

static void watch(struct bench *b, struct letters *l)
{
    *l = (struct letters){.loop = b->loop,
                          .spool = b->spool,
                          .needed = b->conf.needed,
                          .revived = revived,
                          .broken = broken,
                          .arg = b};
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
    run(b, "--dead-letters", NULL, 0,
        "00000000000000000000000000000002  langfuse  refused  400 {\"message\"");
    run(b, "--replay", NULL, 64, "which dead letters?");
    run(b, "--replay", "x", 64, "'x' is no number of a dead letter");
    run(b, "--replay", "77", 1, "there is no dead letter 77");
    run(b, "--replay", "2", 0, "1 dead letter will be sent again");
    run(b, "--dead-letters", NULL, 0, "00000000000000000000000000000002  langfuse  replay ");
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

static void bury(struct spool *s, unsigned last, struct str reason)
{
    int64_t n = 0;

    support_put(s, 1, last);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_bury(s, 1, last, RECORD_EXPORTED, reason), 0);
    cr_assert_eq(spool_delete(s, 1, last, &n), 0);
    cr_assert_eq(spool_commit(s), 0);
}

/* What the pipe holds when nothing more goes into it. */
static int wait_until_stuck(int fd)
{
    int64_t until = clock_ms() + SUPPORT_PATIENCE_MS;
    int held = 0, before = -1;

    while (held != before || held < 60000) {
        cr_assert_lt(clock_ms(), until, "%d bytes", held);
        before = held;
        poll(NULL, 0, 100);
        cr_assert_eq(ioctl(fd, FIONREAD, &held), 0);
    }
    return held;
}

/* As long as somebody leafs through them the spool goes on tidying itself. */
Test(upload_letters, are_leafed_through)
{
    char dir[SUPPORT_DIR_SIZE], program[4096], state[SUPPORT_DIR_SIZE + 32], fifo[SUPPORT_DIR_SIZE + 8];
    char reason[300], page[4096];
    const char *const argv[] = {program, "--dead-letters", NULL}, *const env[] = {state, NULL};
    int status = 0, lines = 0;

    support_dir(dir);
    snprintf(program, sizeof program, "%s/atalaya-telemetry", getenv("ATALAYA_BIN"));
    snprintf(state, sizeof state, "ATALAYA_STATE_DIR=%s", dir);
    snprintf(fifo, sizeof fifo, "%s/pipe", dir);
    memset(reason, '.', sizeof reason);
    struct spool *s = support_spool(dir, 1024 * (int64_t)MIB);
    bury(s, 1000, (struct str){reason, sizeof reason});
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    int fd = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    pid_t pid = process_start(argv, env, dir, fifo, "/dev/null");
    wait_until_stuck(fd);
    support_put(s, 1, 10);
    cr_expect_eq(support_tidy(dir), 0, "the log can be moved into the file");
    cr_assert_eq(fcntl(fd, F_SETFL, 0), 0);
    for (ssize_t n; (n = read(fd, page, sizeof page)) > 0;)
        for (ssize_t i = 0; i < n; i++)
            lines += page[i] == '\n';
    cr_expect_eq(lines, 1001, "%d lines", lines);
    while (!process_ended(pid, &status))
        poll(NULL, 0, 5);
    cr_expect_eq(status, 0);
    close(fd);
    spool_free(s);
}

/* Its destination is gone: it is not sent to the other, it does not vanish, and it is there for the day that the first
 * comes back. */
Test(upload_letters, for_a_destination_that_is_gone)
{
    struct bench *b = bench_start(10, bench_plain);
    struct letters l;
    int64_t n = 0;

    support_put(b->spool, 1, 1);
    cr_assert_eq(spool_begin(b->spool), 0);
    cr_assert_eq(spool_bury(b->spool, 1, 1, RECORD_IN_LANGFUSE, str_of("400 no")), 0);
    cr_assert_eq(spool_delete(b->spool, 1, 1, &n), 0);
    cr_assert_eq(spool_commit(b->spool), 0);
    run(b, "--dead-letters", NULL, 0, "  otlp      refused  400 no");
    run(b, "--replay", "--all", 0, "if who has refused it is still configured");
    run(b, "--dead-letters", NULL, 0, "  otlp      replay   400 no");
    watch(b, &l);
    support_run(b->loop, is_not_wanted, b);
    cr_expect_eq(spool_records(b->spool), 0);
    cr_expect_eq(bench_stat(b, "spans_raw"), 0);
    run(b, "--dead-letters", NULL, 0, "  otlp      refused  400 no");
    letters_stop(&l);
    bench_end(b);
}

/* P8: a server that says again what it was told. Neither the log nor the command shows our keys, nor anybody's words. */
Test(upload_letters, a_server_that_repeats_what_it_is_sent, .init = cr_redirect_stdout)
{
    struct bench *b = bench_start(10, bench_plain);
    char line[1024] = "";

    bench_behave(
        b,
        "{\"status\":400,\"route\":\"otel\",\"says\":\"{\\\"message\\\":\\\"Failed to parse 'azafran 1' of "
        "cGstbGYtdGVzdDpzay1sZi10ZXN0,"
        " sk-lf-test and pk-lf-test\\\"}\"}");
    struct event e = support_event(1);
    e.question = str_of("azafran 1");
    bench_put_event(b, &e);
    bench_wait(b, REFUSED, 1);
    char *reason = the_letter(b, RECORD_EXPORTED);
    cr_expect_str_eq(reason, "400 {\"message\":\"Failed to parse 'azafran 1' of [key], [key] and [key]\"}");
    free(reason);
    run(b, "--dead-letters", NULL, 0,
        "400 {\"message\":\"Failed to parse '… 1' of [key], [key] and [key]\"}");
    bench_end(b);
    fflush(stdout);
    FILE *said = cr_get_redirected_stdout();
    while (fgets(line, sizeof line, said) && !strstr(line, "refuses a record"))
        ;
    cr_expect(strstr(line, "\"status\":400,\"reason\":\"Failed to parse\"}"), "%s", line);
    cr_expect_null(strstr(line, "azafran"));
    cr_expect_null(strstr(line, "-lf-test"));
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
