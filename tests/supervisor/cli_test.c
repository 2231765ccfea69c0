/* What `atalaya` says to people, and what stops a start. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "common/proc/child.h"
#include "tests/supervisor/fixture.h"

static struct house house;

static void set_up(void)
{
    house_open(&house);
}

static void tear_down(void)
{
    house_close(&house);
}

TestSuite(cli, .init = set_up, .fini = tear_down, .timeout = 110);

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static void expect(const char *const *argv, int code, const char *text)
{
    char *output = NULL;
    int got = house_run(&house, "atalaya", argv, &output);

    cr_expect_eq(got, code, "exit %d, not %d: %s", got, code, output);
    cr_expect_not_null(strstr(output, text), "'%s' is not in: %s", text, output);
    free(output);
}

Test(cli, says_what_is_wrong_with_a_command)
{
    expect((const char *const[]){NULL}, EXIT_USAGE, "no command");
    expect(ARGV("start"), EXIT_USAGE, "unknown command");
    expect(ARGV("status", "now"), EXIT_USAGE, "too many arguments");
    expect(ARGV("run", "gateway", "worker"), EXIT_USAGE, "there is no process 'worker'");
}

Test(cli, helps)
{
    expect(ARGV("help"), EXIT_DONE, "atalaya run [gateway|llm-worker|telemetry]...");
    expect(ARGV("--help"), EXIT_DONE, "atalaya status");
    expect(ARGV("version"), EXIT_DONE, "atalaya " ATALAYA_VERSION);
    expect(ARGV("--version"), EXIT_DONE, "atalaya " ATALAYA_VERSION);
}

Test(cli, a_bad_variable_stops_the_start)
{
    static const struct {
        const char *assignment;
        const char *text;
    } bad[] = {
        {"LLM_WORKERS=0", "LLM_WORKERS=0: expected a whole number of processes from 1 to 64. How many"},
        {"LLM_WORKERS=65", "LLM_WORKERS=65: expected a whole number of processes from 1 to 64"},
        {"LLM_WORKERS=two", "LLM_WORKERS=two: expected"},
        {"LLM_WORKERS= 2", "LLM_WORKERS= 2: expected"},
        {"LLM_WORKERS=2x", "LLM_WORKERS=2x: expected"},
        {"LLM_WORKERS=99999999999999999999", "LLM_WORKERS=99999999999999999999: expected"},
        {"DRAIN_TIMEOUT_MS=-1",
         "DRAIN_TIMEOUT_MS=-1: expected a whole number of milliseconds from 0 to 600000"},
        {"DRAIN_TIMEOUT_MS=600001", "DRAIN_TIMEOUT_MS=600001: expected"},
        {"LOG_LEVEL=LOUD", "LOG_LEVEL=LOUD: expected DEBUG, INFO, WARNING or ERROR"},
        {"LOG_FORMAT=xml", "LOG_FORMAT=xml: expected one of json|text"},
        {"ATALAYA_ENV_FILE=/nonexistent",
         "ATALAYA_ENV_FILE=/nonexistent: cannot read it: No such file or directory"},
        {"ATALAYA_RUN_DIR=/proc/atalaya", "ATALAYA_RUN_DIR: cannot use folder '/proc/atalaya'"},
        {"ATALAYA_STATE_DIR=/dev/null/x",
         "ATALAYA_STATE_DIR: cannot use folder '/dev/null/x': Not a directory"},
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *before[ARRAY_LEN(house.env)];

        memcpy(before, house.env, sizeof before);
        memmove(house.env + 1, house.env, sizeof before - sizeof *before);
        house.env[0] = bad[i].assignment; /* the first of two counts */
        expect(ARGV("run"), EXIT_CONFIG, bad[i].text);
        memcpy(house.env, before, sizeof before);
    }
}

static void write_env_file(const char *name, const char *text)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", house.dir, name);
    FILE *f = fopen(path, "we");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

Test(cli, a_bad_line_of_the_env_file_is_named_and_not_shown)
{
    char *output = NULL;

    write_env_file(".env", "A=1\nsk-secret-without-a-name\n");
    cr_expect_eq(house_run(&house, "atalaya", ARGV("run"), &output), EXIT_CONFIG);
    cr_expect_not_null(strstr(output, ".env, line 2 is no assignment"), "%s", output);
    cr_expect_null(strstr(output, "sk-secret"), "%s", output);
    free(output);
}

Test(cli, reads_the_env_file_but_the_environment_wins)
{
    write_env_file(".env", "LLM_WORKERS=3\nLOG_LEVEL=LOUD\n");
    house_start(&house, ARGV("run", "llm-worker"));
    house_wait_child(&house, "llm-worker", 2, "ready");
}

Test(cli, reads_the_env_file_it_is_given)
{
    write_env_file(".env", "LLM_WORKERS=none\n");
    write_env_file("other", "LLM_WORKERS=1\n");
    house_env(&house, "ATALAYA_ENV_FILE=other");
    house_start(&house, ARGV("run", "llm-worker"));
    house_wait_child(&house, "llm-worker", 0, "ready");
    cr_expect_eq(house_count(&house, "run/status", "llm-worker"), 1);
}

/* What root leaves there would lock its owner's service out. */
Test(cli, root_does_not_work_in_somebody_elses_folder)
{
    char path[200];

    if (geteuid() != 0)
        cr_skip("only root is refused");
    expect(ARGV("check"), EXIT_DONE, "good"); /* makes nothing */
    snprintf(path, sizeof path, "%s/state", house.dir);
    cr_assert(mkdir(path, 0700) == 0 || errno == EEXIST);
    cr_assert_eq(chown(path, 54321, 54321), 0);
    expect(ARGV("run"), EXIT_CONFIG, "/state belongs to user 54321, not to root: run as that user");
    expect(ARGV("check"), EXIT_DONE, "good");
}

Test(cli, status_tells_how_it_stands)
{
    char *output = NULL;

    expect(ARGV("status"), 3, "is not running in ");
    house_script(&house, "gateway", "never");
    house_start(&house, ARGV("run"));
    house_wait_child(&house, "gateway", 0, "starting");
    expect(ARGV("status"), 1, "gateway 0");
    house_signal(&house, SIGTERM);
    cr_assert_eq(house_wait_exit(&house), 0);
    expect(ARGV("status"), 3, "is not running in ");

    house_script(&house, "gateway", NULL);
    house_start(&house, ARGV("run"));
    house_wait_all_ready(&house);
    cr_assert_eq(house_run(&house, "atalaya", ARGV("status"), &output), 0);
    cr_expect_not_null(strstr(output, "telemetry 0"), "%s", output);
    cr_expect_not_null(strstr(output, "llm-worker 0"), "%s", output);
    cr_expect_not_null(strstr(output, "llm-worker 1"), "%s", output);
    cr_expect_not_null(strstr(output, "gateway 0"), "%s", output);
    cr_expect_not_null(strstr(output, "running, up "), "%s", output);
    free(output);
}

Test(cli, after_a_kill_the_stale_status_is_not_believed)
{
    house_start(&house, ARGV("run"));
    house_wait_all_ready(&house);
    house_signal(&house, SIGKILL);
    cr_assert_eq(house_wait_exit(&house), -SIGKILL);
    expect(ARGV("status"), 3, "is not running in ");
}

static void expect_refused(const char *const *argv, const char *folder)
{
    char text[200];
    char *output = NULL;

    cr_expect_eq(house_run(&house, "atalaya", argv, &output), EXIT_ENVIRONMENT);
    snprintf(text, sizeof text, "another atalaya (pid %d) works in %s/%s:", (int)house.pid, house.dir,
             folder);
    cr_expect_not_null(strstr(output, text), "'%s' is not in: %s", text, output);
    free(output);
}

Test(cli, a_second_one_in_the_same_folder_is_refused)
{
    char *elsewhere = NULL;

    house_start(&house, ARGV("run"));
    house_wait_all_ready(&house);
    expect_refused(ARGV("run"), "run");
    expect_refused(ARGV("run", "gateway"), "run");

    cr_assert_gt(asprintf(&elsewhere, "ATALAYA_RUN_DIR=%s/run2", house.dir), 0);
    house.env[0] = elsewhere;
    expect_refused(ARGV("run"), "state");
    expect_refused(ARGV("run", "telemetry"), "state");
}

Test(cli, one_folder_may_serve_for_both)
{
    char *both = NULL;

    cr_assert_gt(asprintf(&both, "ATALAYA_STATE_DIR=%s/run", house.dir), 0);
    house.env[1] = both;
    house_start(&house, ARGV("run"));
    house_wait_all_ready(&house);
}

Test(cli, two_instances_run_side_by_side)
{
    struct house other;

    house_open(&other);
    house_start(&house, ARGV("run"));
    house_start(&other, ARGV("run"));
    house_wait_all_ready(&house);
    house_wait_all_ready(&other);
    house_signal(&house, SIGTERM);
    cr_assert_eq(house_wait_exit(&house), 0);
    house_wait_all_ready(&other);
    house_close(&other);
}

Test(cli, a_role_alone_needs_no_state_folder)
{
    house.env[1] = "ATALAYA_STATE_DIR=/proc/nothing";
    house_start(&house, ARGV("run", "gateway", "gateway"));
    house_wait_child(&house, "gateway", 0, "ready");
    cr_expect_eq(house_count(&house, "run/status", "\n"), 2);
}
