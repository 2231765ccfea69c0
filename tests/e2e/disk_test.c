/* The spool at its bound, on a full disk, damaged: requests go on, and each record is somewhere or counted (P4, P5). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/limits.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/load.h"

TestSuite(disk, .fini = e2e_cleanup, .timeout = 180);

#define DROPPED(reason) "atalaya_records_dropped_total{reason=\"" reason "\"}"

static double telemetry_says(const struct e2e *e, const char *series)
{
    return e2e_metric(e->telemetry_port, series);
}

static double spooled(const struct e2e *e)
{
    return telemetry_says(e, "atalaya_spool_records");
}

static double answered(const struct e2e *e)
{
    return telemetry_says(e, "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"}");
}

/* `n` questions, each of them answered. */
static void ask(struct e2e *e, size_t n)
{
    double before = answered(e);
    struct load *l = load_start(e->port, n, 20);
    const struct load_outcome *o = load_outcomes(l);

    for (size_t i = 0; i < n; i++)
        cr_assert_eq(o[i].status, 200, "question %zu: %d %s", i, o[i].status,
                     o[i].trouble ? o[i].trouble : "");
    load_free(l);
    before = before < 0 ? 0 : before;
    E2E_WAIT(E2E_WAIT_SECONDS, answered(e) == before + (double)n);
}

static struct e2e *begin(void)
{
    struct e2e *e = e2e_new();

    e2e_tell(&e->openai, "/_admin/defaults", "{\"echo\":true}");
    e2e_fake_stop(&e->langfuse);
    return e;
}

Test(disk, the_spool_at_its_bound)
{
    struct e2e *e = begin();

    e2e_env(e, "SPOOL_MAX_BYTES", "%u", MIB);
    e2e_start(e);
    ask(e, 2500);
    cr_expect_gt(telemetry_says(e, DROPPED("spool_full")), 0);
    cr_expect_eq(spooled(e) + telemetry_says(e, DROPPED("spool_full")), 2500);
    cr_expect_leq(telemetry_says(e, "atalaya_spool_bytes"), MIB);
    int64_t kept = (int64_t)spooled(e);
    e2e_langfuse_start(e);
    E2E_WAIT(60, spooled(e) == 0);
    cr_expect_eq(e2e_stat(&e->langfuse, "traces"), kept);
    e2e_end(e);
}

static void mount_small_disk(const struct e2e *e, unsigned long flags, const char *size)
{
    cr_assert_eq(mount("atalaya", e->state_dir, "tmpfs", flags, size), 0, "%s", strerror(errno));
}

/* Mounts of this process and its children only. */
static bool may_mount(void)
{
    return (unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

Test(disk, is_full_and_has_space_again)
{
    if (!may_mount())
        cr_skip_test("mounting is not permitted here");
    struct e2e *e = begin();
    cr_assert(mkdir(e->state_dir, 0700) == 0 || errno == EEXIST);
    mount_small_disk(e, 0, "size=3m");
    e2e_env(e, "SPOOL_MAX_BYTES", "%u", 32 * MIB);
    e2e_start(e);
    ask(e, 5000);
    cr_expect_eq(telemetry_says(e, "atalaya_spool_disk_full"), 1);
    double dropped = telemetry_says(e, DROPPED("disk_full"));
    cr_expect_gt(dropped, 0);
    cr_expect_gt(spooled(e), 1000);
    cr_expect_eq(spooled(e) + dropped, 5000);

    mount_small_disk(e, MS_REMOUNT, "size=64m");
    E2E_WAIT(E2E_WAIT_SECONDS, telemetry_says(e, "atalaya_spool_disk_full") == 0);
    ask(e, 1000);
    cr_expect_eq(telemetry_says(e, DROPPED("disk_full")), dropped);
    cr_expect_eq(telemetry_says(e, DROPPED("spool_error")), 0);
    int64_t kept = (int64_t)spooled(e);
    cr_expect_eq(kept + dropped, 6000);
    e2e_langfuse_start(e);
    E2E_WAIT(60, spooled(e) == 0);
    cr_expect_eq(e2e_stat(&e->langfuse, "traces"), kept);
    cr_expect_eq(e2e_stop(e), 0);
    umount2(e->state_dir, MNT_DETACH);
    e2e_end(e);
}

static size_t moved_aside(const struct e2e *e)
{
    DIR *d = opendir(e->state_dir);
    struct dirent *entry;
    size_t n = 0;

    cr_assert(d);
    while ((entry = readdir(d)))
        n += strncmp(entry->d_name, "spool.db.damaged-", 17) == 0 && !strstr(entry->d_name, "-wal") &&
             !strstr(entry->d_name, "-shm");
    closedir(d);
    return n;
}

Test(disk, a_damaged_file)
{
    struct e2e *e = begin();
    static char garbage[64 * KIB];
    char path[200];

    e2e_start(e);
    ask(e, 1000);
    cr_expect_eq(spooled(e), 1000);
    cr_assert_eq(e2e_stop(e), 0); /* all of it is in the file, not in the log */
    memset(garbage, 0x5a, sizeof garbage);
    snprintf(path, sizeof path, "%s/spool.db", e->state_dir);
    int fd = open(path, O_WRONLY);
    cr_assert_eq(pwrite(fd, garbage, sizeof garbage, 4096 * 100), (ssize_t)sizeof garbage);
    close(fd);
    e2e_start(e);
    cr_expect_eq(moved_aside(e), 1);
    cr_expect_eq(telemetry_says(e, "atalaya_spool_replaced_total"), 1);
    cr_expect_eq(telemetry_says(e, DROPPED("spool_damaged")), 1000);
    ask(e, 100);
    e2e_langfuse_start(e);
    E2E_WAIT(60, e2e_stat(&e->langfuse, "traces") == 100);
    e2e_end(e);
}
