/* The supervisor at work, on scripted children. Proves P9, and the supervisor's part of P1, P5, P8. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "common/proc/child.h"
#include "supervisor/child.h"
#include "tests/supervisor/fixture.h"

#define JOURNAL "run/journal"

static struct house house;

static void set_up(void)
{
    house_open(&house);
}

static void tear_down(void)
{
    house_close(&house);
}

TestSuite(run, .init = set_up, .fini = tear_down, .timeout = 110);

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static void start_all(void)
{
    house_start(&house, ARGV("run"));
    house_wait_all_ready(&house);
}

static void stop(void)
{
    house_signal(&house, SIGTERM);
    cr_assert_eq(house_wait_exit(&house), EXIT_DONE);
    cr_assert_eq(house_processes(&house), 0);
    cr_expect_eq(house_count(&house, "log", "survives KILL"), 0); /* nobody's end went unseen */
}

/* Where "<role> <pid> <word>" stands first in the journal; pid 0: any. */
static long place(const char *role, pid_t pid, const char *word)
{
    char *text = house_read(&house, JOURNAL);
    long found = -1;

    for (char *line = text, *end; found < 0 && (end = strchr(line, '\n')) != NULL; line = end + 1) {
        char who[32], what[32];
        int by;

        if (sscanf(line, "%31s %d %31s", who, &by, what) == 3 && strcmp(who, role) == 0 &&
            strcmp(what, word) == 0 && (pid == 0 || pid == by))
            found = line - text;
    }
    free(text);
    return found;
}

Test(run, starts_in_order_each_after_the_one_before_is_ready)
{
    house_script(&house, "telemetry", "slow 300");
    house_script(&house, "llm-worker", "slow 300");
    start_all();
    pid_t first = house_child(&house, "llm-worker", 0, "ready");
    pid_t second = house_child(&house, "llm-worker", 1, "ready");
    cr_expect_gt(place("llm-worker", 0, "start"), place("telemetry", 0, "ready"));
    cr_expect_gt(place("gateway", 0, "start"), place("llm-worker", first, "ready"));
    cr_expect_gt(place("gateway", 0, "start"), place("llm-worker", second, "ready"));
    stop();
}

Test(run, a_telemetry_that_never_comes_up_does_not_keep_the_gateway_away) /* P5 */
{
    house_script(&house, "telemetry", "never");
    house_start(&house, ARGV("run"));
    house_wait_child(&house, "gateway", 0, "ready");
    house_wait_text(&house, "log", "telemetry is not ready after 5000 ms: going on without it");
    stop();
}

Test(run, stops_gateway_then_workers_then_telemetry) /* P9 */
{
    house_script(&house, "gateway", "linger 400");
    house_script(&house, "llm-worker", "linger 400");
    start_all();
    pid_t first = house_child(&house, "llm-worker", 0, "ready");
    pid_t second = house_child(&house, "llm-worker", 1, "ready");
    stop();
    cr_expect_geq(place("gateway", 0, "drain"), 0);
    cr_expect_gt(place("llm-worker", first, "drain"), place("gateway", 0, "left"));
    cr_expect_gt(place("llm-worker", second, "drain"), place("gateway", 0, "left"));
    cr_expect_gt(place("telemetry", 0, "drain"), place("llm-worker", first, "left"));
    cr_expect_gt(place("telemetry", 0, "drain"), place("llm-worker", second, "left"));
    cr_expect_geq(place("telemetry", 0, "left"), 0);
    cr_expect_eq(house_count(&house, "run/status", "supervisor"), 0); /* it is gone, not stale */
}

Test(run, int_from_the_terminal_stops_like_term)
{
    start_all();
    house_signal(&house, SIGINT);
    cr_assert_eq(house_wait_exit(&house), EXIT_DONE);
    cr_expect_geq(place("gateway", 0, "drain"), 0); /* drained: it has not had the INT itself */
}

Test(run, stops_while_it_is_still_starting)
{
    house_script(&house, "telemetry", "never");
    house_start(&house, ARGV("run"));
    house_wait_child(&house, "telemetry", 0, "starting");
    house_wait_text(&house, JOURNAL, "telemetry");
    stop();
    cr_expect_eq(place("gateway", 0, "start"), -1);
}

Test(run, a_stubborn_child_is_killed)
{
    house_script(&house, "gateway", "stubborn");
    house_env(&house, "DRAIN_TIMEOUT_MS=100");
    start_all();
    stop();
    cr_expect_geq(house_position(&house, "log", "has not stopped in time: killing it"), 0);
    cr_expect_geq(place("telemetry", 0, "drain"), 0);
}

Test(run, a_second_term_means_now)
{
    house_script(&house, "gateway", "linger 100000");
    house_script(&house, "telemetry", "linger 100000");
    house_env(&house, "DRAIN_TIMEOUT_MS=100000");
    start_all();
    house_signal(&house, SIGTERM);
    house_wait_text(&house, JOURNAL, "drain");
    house_signal(&house, SIGTERM);
    cr_assert_eq(house_wait_exit(&house), EXIT_DONE);
    cr_expect_geq(place("gateway", 0, "left"), 0); /* by itself, not killed */
}

static void wait_until_healthy(const char *role)
{
    pid_t pid = house_wait_child(&house, role, 0, "ready");
    int64_t since = clock_ms();

    WAIT_FOR(clock_ms() > since + HEALTHY_MS + 50 && house_child(&house, role, 0, "ready") == pid);
}

Test(run, restarts_at_once_after_a_healthy_life) /* P1 */
{
    start_all();
    wait_until_healthy("gateway");
    pid_t before = house_child(&house, "gateway", 0, "ready");
    pid_t worker = house_child(&house, "llm-worker", 0, "ready");
    cr_assert_eq(kill(before, SIGKILL), 0);
    house_wait_another(&house, "gateway", 0, before);
    cr_expect_geq(house_position(&house, "log", "died after a healthy life: starting it again at once"), 0);
    cr_expect_geq(house_position(&house, "run/status", " 1 signal:KILL\n"), 0);
    cr_expect_eq(house_child(&house, "llm-worker", 0, "ready"), worker);
    stop();
}

Test(run, an_early_death_is_followed_by_a_longer_and_longer_wait)
{
    int64_t at[4] = {0};
    size_t n = 0;

    house_script(&house, "gateway", "flash 1");
    house_start(&house, ARGV("run", "gateway"));
    house_wait_text(&house, "log", "died early (4 in a row; 10 are too many): starting it again in 800 ms");
    char *text = house_read(&house, JOURNAL);
    for (char *p = text; n < ARRAY_LEN(at) && (p = strstr(p, " start ")) != NULL; p++)
        at[n++] = strtoll(p + 7, NULL, 10);
    free(text);
    cr_assert_eq(n, ARRAY_LEN(at));
    cr_expect_geq(at[1] - at[0], 95);
    cr_expect_geq(at[2] - at[1], 195);
    cr_expect_geq(at[3] - at[2], 395);
    house_script(&house, "gateway", NULL); /* what ailed it is repaired */
    house_wait_child(&house, "gateway", 0, "ready");
    stop();
}

Test(run, gives_up_after_ten_early_deaths_and_says_so_with_70)
{
    house_script(&house, "llm-worker", "exit 70");
    house_env(&house, "LLM_WORKERS=1");
    house_start(&house, ARGV("run"));
    cr_assert_eq(house_wait_exit(&house), EXIT_SOFTWARE);
    cr_expect_eq(house_count(&house, JOURNAL, "llm-worker"), 3 * DEATHS_MAX);
    cr_expect_geq(house_position(&house, "log", "giving up"), 0);
    cr_expect_geq(place("gateway", 0, "drain"), 0); /* the others were stopped properly */
    cr_expect_gt(place("telemetry", 0, "drain"), place("gateway", 0, "left"));
}

/* A person reads the end of the log first. */
static void expect_last_line(const char *text)
{
    char *log = house_log(&house);
    char *last = log;

    for (char *p = log; (p = strchr(p, '\n')) != NULL && p[1]; p++)
        last = p + 1;
    cr_expect_not_null(strstr(last, text), "'%s' is not in: %s", text, last);
    free(log);
}

Test(run, a_first_start_that_the_system_refuses_ends_soon_and_says_why)
{
    house_script(&house, "gateway", "excuse 75");
    house_start(&house, ARGV("run"));
    cr_assert_eq(house_wait_exit(&house), EXIT_ENVIRONMENT);
    cr_expect_eq(house_count(&house, JOURNAL, "gateway"), 3 * FIRST_DEATHS_MAX);
    expect_last_line(
        "all have left: exit 75, because gateway 0 died 5 times and was never ready (exit:75); it said: "
        "the port is taken");
    cr_expect_geq(place("telemetry", 0, "drain"), 0);
}

Test(run, telemetry_that_the_system_refuses_ends_nothing) /* P5 */
{
    house_script(&house, "telemetry", "excuse 75");
    house_start(&house, ARGV("run"));
    house_wait_text(&house, "log", "died early (6 in a row); the others go on without it");
    house_wait_child(&house, "gateway", 0, "ready");
    stop();
}

/* P5: so a pod whose telemetry is in trouble stays in the service. */
Test(run, a_telemetry_alone_can_be_told_never_to_give_up)
{
    house_env(&house, "ATALAYA_GIVE_UP=false");
    house_script(&house, "telemetry", "excuse 75");
    house_start(&house, ARGV("run", "telemetry"));
    house_wait_text(&house, "log", "died early (6 in a row), starting it again in ");
    stop();
}

static void expect_final(const char *script, const char *why)
{
    house_script(&house, "llm-worker", script);
    house_start(&house, ARGV("run"));
    cr_assert_eq(house_wait_exit(&house), EXIT_CONFIG);
    cr_expect_leq(house_count(&house, JOURNAL, "llm-worker"),
                  3 * 2); /* two workers, three lines each, no second life */
    cr_expect_geq(house_position(&house, "log", why), 0);
    expect_last_line("all have left: exit 78, because llm-worker ");
    cr_expect_geq(place("telemetry", 0, "drain"), 0);
}

Test(run, bad_configuration_is_never_tried_again)
{
    expect_final("exit 78", "does not accept its configuration");
}

Test(run, bad_usage_is_never_tried_again)
{
    expect_final("exit 64", "does not accept its arguments");
}

Test(run, a_missing_program_is_named)
{
    char path[200];

    snprintf(path, sizeof path, "%s/atalaya-gateway", house.dir);
    cr_assert_eq(unlink(path), 0);
    house_start(&house, ARGV("run", "gateway"));
    house_wait_text(&house, "log", "/atalaya-gateway: No such file or directory");
    stop();
}

Test(run, kill_9_of_the_supervisor_leaves_nobody) /* P9 */
{
    start_all();
    house_signal(&house, SIGKILL);
    cr_assert_eq(house_wait_exit(&house), -SIGKILL);
    house_wait_processes(&house, 0);
    cr_expect_geq(place("gateway", 0, "drain"), 0);
    cr_expect_geq(place("llm-worker", 0, "drain"), 0);
    cr_expect_geq(place("telemetry", 0, "drain"), 0);
}

Test(run, forwards_hup_to_all)
{
    start_all();
    house_signal(&house, SIGHUP);
    WAIT_FOR(house_count(&house, JOURNAL, "reload") == 4);
    house_wait_all_ready(&house);
    stop();
}

static bool is_there(pid_t pid)
{
    return kill(pid, 0) == 0;
}

Test(run, reaps_strangers)
{
    char *text = NULL;
    int orphan = 0;

    house.subreaper = true;
    house_script(&house, "gateway", "stranger");
    start_all();
    house_wait_text(&house, JOURNAL, " orphan");
    text = house_read(&house, JOURNAL);
    for (char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strstr(line, " orphan") && (!strchr(line, '\n') || strstr(line, " orphan") < strchr(line, '\n')))
            cr_assert_eq(sscanf(line, "gateway %d orphan", &orphan), 1);
    }
    free(text);
    cr_assert_gt(orphan, 0);
    WAIT_FOR(!is_there(orphan)); /* a zombie would still be there */
    house_wait_all_ready(&house);
    stop();
}

Test(run, gives_children_a_clean_start)
{
    house.messy_start = true;
    house_start(&house, ARGV("run"));
    house_wait_child(&house, "gateway", 0, "ready");
    cr_expect_eq(house_count(&house, JOURNAL, "fds 0 1 2 3 4\n"), 4, "%s", house_read(&house, JOURNAL));
    cr_expect_eq(house_count(&house, JOURNAL, "signals blocked=0 pipe=default group=own\n"), 4);
    stop();
}

static const char *const secrets[] = {
    "OPENAI_API_KEY=sk-provider-000",         "OPENAI_API_KEY_FILE=/sk/provider/001",
    "LANGFUSE_PUBLIC_KEY=pk-lf-002",          "LANGFUSE_SECRET_KEY=sk-lf-003",
    "LANGFUSE_SECRET_KEY_FILE=/sk/004",       "OTEL_EXPORTER_OTLP_HEADERS=auth=hidden-005-value",
    "AWS_SECRET_ACCESS_KEY=hidden-006-value", "LD_LIBRARY_PATH=/tmp/007"};

static bool env_has(pid_t pid, const char *assignment)
{
    char path[64];
    static char text[65536];

    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    FILE *f = fopen(path, "re");
    cr_assert_not_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    for (const char *p = text; p < text + n; p += strlen(p) + 1) {
        if (strcmp(p, assignment) == 0)
            return true;
    }
    return false;
}

Test(run, each_child_sees_its_own_secrets_only) /* P8 */
{
    static const struct {
        const char *role;
        const char *seen; /* a digit per secret */
    } expected[] = {{"telemetry", "00111100"}, {"llm-worker", "11000000"}, {"gateway", "00000000"}};
    char run_dir[128];

    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        house_env(&house, secrets[i]);
    house_env(&house, "PORT=8000");
    start_all();
    snprintf(run_dir, sizeof run_dir, "ATALAYA_RUN_DIR=%s", house.run_dir);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        pid_t pid = house_child(&house, expected[i].role, 0, "ready");

        for (size_t k = 0; k < ARRAY_LEN(secrets); k++)
            cr_expect_eq(env_has(pid, secrets[k]), expected[i].seen[k] == '1', "%s: %s", expected[i].role,
                         secrets[k]);
        cr_expect(env_has(pid, run_dir));
        cr_expect(env_has(pid, "LOG_LEVEL=DEBUG"));
        cr_expect(env_has(pid, "ATALAYA_READY_FD=3"));
        cr_expect(env_has(pid, "ATALAYA_LIFELINE_FD=4"));
        cr_expect_eq(env_has(pid, "PORT=8000"), strcmp(expected[i].role, "gateway") == 0);
    }
    stop();
    for (size_t k = 0; k < ARRAY_LEN(secrets); k++)
        cr_expect_eq(house_count(&house, "log", strchr(secrets[k], '=') + 1), 0, "%s is in the log",
                     secrets[k]);
}
