/* A disk that is full: telemetry goes on, the oldest records make room, each loss is counted, and when there is space
 * again everything is as before (P4, P5). The disk is a small tmpfs in a mount namespace of the test's own process;
 * who may not mount gets a limit of the file's size in place of it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "telemetry/spool.h"
#include "tests/telemetry/support.h"

#define DISK      (48 * (int64_t)MIB)
#define SPOOL_MAX (512 * (int64_t)MIB) /* a reserve of 16 MiB */

static char text[8 * KIB];

/* False: not permitted here. */
static bool mount_disk(const char *dir, int64_t bytes)
{
    char size[32];

    snprintf(size, sizeof size, "size=%lld", (long long)bytes);
    if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return false;
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("atalaya", dir, "tmpfs", 0, size) == 0;
}

/* Somebody else's file takes all that is left, or gives it back. */
static void hog(const char *dir, bool fill)
{
    char path[SUPPORT_DIR_SIZE + 16];
    static char block[64 * KIB];
    ssize_t n = 1;

    snprintf(path, sizeof path, "%s/somebody-elses", dir);
    if (!fill) {
        unlink(path);
        return;
    }
    memset(block, 1, sizeof block);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    cr_assert_geq(fd, 0);
    for (size_t size = sizeof block; size >= 512; size /= 2)
        while ((n = write(fd, block, size)) > 0)
            ;
    cr_assert(n < 0 && (errno == ENOSPC || errno == EFBIG));
    close(fd);
}

struct books {
    int64_t sent, dropped, refused;
    int squeezes;
};

static int store(struct spool *s, unsigned n, bool squeeze, struct spool_trimmed *t)
{
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_event(n);
    struct record r;

    *t = (struct spool_trimmed){0};
    e.answer = (struct str){text, sizeof text};
    record_of_event(&r, &e, &scratch);
    int rc = spool_begin(s);
    if (rc == 0 && squeeze)
        rc = spool_squeeze(s, 2 * r.bytes, t);
    if (rc == 0)
        rc = spool_put(s, &r);
    if (rc == 0)
        rc = spool_commit(s);
    if (rc < 0)
        spool_rollback(s);
    buf_free(&scratch);
    return rc;
}

/* As ingest does. */
static void put(struct spool *s, struct books *b)
{
    struct spool_trimmed t;
    int rc = store(s, (unsigned)++b->sent, false, &t);

    if (rc < 0 && spool_repair(s, rc) == 0) {
        rc = store(s, (unsigned)b->sent, false, &t);
        if (rc == -ENOSPC) {
            rc = store(s, (unsigned)b->sent, true, &t);
            b->squeezes++;
        }
    }
    cr_assert(rc == 0 || rc == -ENOSPC, "%d", rc);
    b->dropped += rc == 0 ? t.records : 0;
    b->refused += rc < 0;
}

static void expect_balance(struct spool *s, const struct books *b)
{
    struct record r;
    int64_t n = 0;

    cr_assert_eq(spool_scan(s, 1, INT64_MAX), 0);
    while (spool_next(s, &r) > 0)
        n++;
    spool_scan_end(s);
    cr_expect_eq(n, spool_records(s));
    cr_expect_eq(n + b->dropped + b->refused, b->sent, "%lld there, %lld dropped, %lld refused of %lld",
                 (long long)n, (long long)b->dropped, (long long)b->refused, (long long)b->sent);
}

Test(disk, the_oldest_make_room_for_the_new, .timeout = 60)
{
    char dir[SUPPORT_DIR_SIZE];
    struct books b = {0};
    struct record r;

    support_dir(dir);
    if (!mount_disk(dir, DISK))
        cr_skip_test("mounting is not permitted here");
    memset(text, 'x', sizeof text);
    struct spool *s = support_spool(dir, SPOOL_MAX);
    while (b.squeezes < 20)
        put(s, &b);
    cr_expect(spool_full(s));
    cr_expect_eq(b.refused, 0, "%lld", (long long)b.refused);
    cr_expect_gt(spool_bytes(s), DISK / 4);
    expect_balance(s, &b);
    cr_assert_eq(spool_scan(s, spool_last(s), spool_last(s)), 0);
    cr_expect_eq(spool_next(s, &r), 1, "the newest is there");
    spool_scan_end(s);

    spool_free(s); /* the log's bytes are free now, and for the next life enough */
    int64_t records = b.sent - b.dropped;
    s = support_spool(dir, SPOOL_MAX);
    cr_expect_eq(spool_records(s), records);
    for (int i = 0; i < 1000; i++)
        put(s, &b);
    expect_balance(s, &b);
    records = spool_records(s);
    spool_free(s);

    struct spool_conf conf = {.dir = dir, .max_bytes = SPOOL_MAX};
    hog(dir, true); /* without a byte it does not open, and leaves everything as it is */
    cr_expect_eq(spool_open(&s, &conf), -ENOSPC);
    hog(dir, false);
    s = support_spool(dir, SPOOL_MAX);
    cr_expect_eq(spool_records(s), records);
    cr_expect_eq(spool_replaced(s), 0);
    expect_balance(s, &b);
    spool_free(s);
}

Test(disk, somebody_else_takes_all_of_it, .timeout = 60)
{
    char dir[SUPPORT_DIR_SIZE];
    struct books b = {0};

    support_dir(dir);
    if (!mount_disk(dir, DISK))
        cr_skip_test("mounting is not permitted here");
    memset(text, 'x', sizeof text);
    struct spool *s = support_spool(dir, SPOOL_MAX);
    for (int i = 0; i < 300; i++)
        put(s, &b);
    cr_assert(!spool_full(s) && b.dropped + b.refused == 0);
    for (hog(dir, true); b.squeezes < 5 && b.sent < 10000;
         hog(dir, true)) /* the reserve too, once it is free */
        put(s, &b);
    cr_expect(spool_full(s));
    cr_expect_eq(b.refused, 0);
    cr_expect_gt(spool_records(s), 200);
    spool_relax(s);
    cr_expect(spool_full(s), "there is no space yet");
    expect_balance(s, &b);

    hog(dir, false);
    spool_relax(s);
    cr_expect_not(spool_full(s));
    int64_t dropped = b.dropped, before = spool_records(s);
    for (int i = 0; i < 1000; i++)
        put(s, &b);
    cr_expect(b.refused == 0 && b.dropped == dropped);
    cr_expect_eq(spool_records(s), before + 1000);
    expect_balance(s, &b);
    spool_free(s);
}

/* No file may be longer than that, so the log cannot even be moved: then the old stay, and the new are refused. */
Test(disk, nothing_old_goes_when_it_does_not_help, .timeout = 60)
{
    char dir[SUPPORT_DIR_SIZE];
    struct rlimit old, limit;
    struct books b = {0};

    support_dir(dir);
    memset(text, 'x', sizeof text);
    struct spool *s = support_spool(dir, 32 * (int64_t)MIB);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 4 * MIB;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    while (b.refused < 50 && b.sent < 10000)
        put(s, &b);
    cr_expect(spool_full(s) && b.refused == 50);
    cr_expect_gt(spool_bytes(s), 4 * (int64_t)MIB);
    cr_expect_eq(b.dropped, 0);
    expect_balance(s, &b);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    spool_relax(s);
    cr_expect_not(spool_full(s));
    for (int i = 0; i < 500; i++)
        put(s, &b);
    cr_expect_eq(b.dropped + b.refused, 50);
    expect_balance(s, &b);
    spool_free(s);
}
