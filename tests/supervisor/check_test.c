/* `atalaya check`, and what of it stops a start. Proves the supervisor's part of P8 for configuration. */
#include <criterion/criterion.h>
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

TestSuite(check, .init = set_up, .fini = tear_down, .timeout = 110);

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static char *run(const char *const *argv, int code)
{
    char *output = NULL;
    int got = house_run(&house, "atalaya", argv, &output);

    cr_assert_eq(got, code, "exit %d, not %d: %s", got, code, output);
    return output;
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;

    for (; (text = strstr(text, what)) != NULL; text++)
        n++;
    return n;
}

/* A line that has these words, whatever blanks are between. */
static bool has_row(const char *text, const char *role, const char *variable, const char *value,
                    const char *from)
{
    char *all = strdup(text);
    bool found = false;

    for (char *rest = all, *line; !found && (line = strsep(&rest, "\n")) != NULL;) {
        char a[32] = "", b[64] = "";
        int at = 0;

        if (sscanf(line, "%31s %63s %n", a, b, &at) < 2 || strcmp(a, role) != 0 || strcmp(b, variable) != 0)
            continue;
        size_t n = strlen(value);
        found = strncmp(line + at, value, n) == 0 && line[at + (int)n] == ' ' &&
                strcmp(line + strlen(line) - strlen(from), from) == 0;
    }
    free(all);
    return found;
}

static void write_file(const char *name, const char *text)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", house.dir, name);
    FILE *f = fopen(path, "we");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

Test(check, tells_what_holds_and_where_it_comes_from)
{
    write_file(".env", "LLM_WORKERS=3\nOPENAI_FAKE_KEY='sk-hidden-1'\nLOG_LEVEL=INFO\n");
    char *said = run(ARGV("check"), EXIT_DONE);

    cr_expect(has_row(said, "supervisor", "LLM_WORKERS", "3", " .env"), "%s", said);
    cr_expect(has_row(said, "supervisor", "DRAIN_TIMEOUT_MS", "10000", " default"), "%s", said);
    cr_expect(has_row(said, "supervisor", "LOG_LEVEL", "DEBUG", " environment"), "%s", said);
    cr_expect(has_row(said, "supervisor", "ATALAYA_RUN_DIR", house.run_dir, " environment"), "%s", said);
    cr_expect(has_row(said, "llm-worker", "OPENAI_FAKE_KEY", "(set, 11 bytes)", " .env"), "%s", said);
    cr_expect(has_row(said, "gateway", "OPENAI_FAKE_KEY", "(not set)", " default"), "%s", said); /* P8 */
    cr_expect(has_row(said, "telemetry", "LLM_FAKE", "(not set)", " default"), "%s", said);
    cr_expect_eq(count(said, "good (errors: 0, warnings: 0)\n"), 1, "%s", said);
    cr_expect_eq(count(said, "sk-hidden"), 0, "%s", said);
    cr_expect_eq(house_count(&house, "run/journal", "start"), 0); /* nobody was started */
    free(said);
}

Test(check, asks_the_roles_it_is_told)
{
    char *said = run(ARGV("check", "llm-worker"), EXIT_DONE);

    cr_expect(has_row(said, "supervisor", "LLM_WORKERS", "2", " default"), "%s", said);
    cr_expect(has_row(said, "llm-worker", "LLM_FAKE", "(not set)", " default"), "%s", said);
    cr_expect_eq(count(said, "\ngateway"), 0, "%s", said);
    cr_expect_eq(count(said, "\ntelemetry"), 0, "%s", said);
    free(said);
    free(run(ARGV("check", "worker"), EXIT_USAGE));
}

Test(check, makes_no_folders)
{
    char path[200];
    struct stat st;

    free(run(ARGV("check"), EXIT_DONE));
    snprintf(path, sizeof path, "%s/state", house.dir);
    cr_expect_eq(stat(path, &st), -1);
}

static void set_four_bad_ones(void)
{
    house_env(&house, "LLM_WORKERS=0");
    house_env(&house, "DRAIN_TIMEOUT_MS=-1");
    house_env(&house, "LLM_FAKE=123456");
    house_env(&house, "LOG_FORMAT=xml"); /* all four processes refuse it */
}

static void expect_four_bad_ones(const char *said)
{
    cr_expect_eq(count(said, "LLM_WORKERS=0: expected a whole number of processes from 1 to 64."), 1, "%s",
                 said);
    cr_expect_eq(count(said, "DRAIN_TIMEOUT_MS=-1: expected a whole number of milliseconds"), 1, "%s", said);
    cr_expect_eq(count(said, "LOG_FORMAT=xml: expected one of json|text."), 1, "%s", said);
    cr_expect_eq(count(said, "LLM_FAKE=123456: expected one line of at most 5 bytes"), 1, "%s", said);
}

Test(check, tells_all_bad_ones_each_once)
{
    set_four_bad_ones();
    char *said = run(ARGV("check"), EXIT_CONFIG);
    expect_four_bad_ones(said);
    cr_expect_eq(count(said, "bad (errors: 4, warnings: 0)\n"), 1, "%s", said);
    free(said);
}

Test(check, a_bad_value_stops_the_start_before_anything_runs)
{
    set_four_bad_ones();
    char *said = run(ARGV("run"), EXIT_CONFIG);
    expect_four_bad_ones(said);
    cr_expect_eq(count(said, "nothing is started"), 1, "%s", said);
    cr_expect_eq(house_count(&house, "run/journal", "start"), 0);
    free(said);
}

Test(check, what_only_the_program_knows_stops_the_start_too)
{
    house_script(&house, "gateway", "refuse");
    char *said = run(ARGV("run"), EXIT_CONFIG);
    cr_expect_eq(count(said, "FAKE=x: expected something else. A text."), 1, "%s", said);
    cr_expect_eq(house_count(&house, "run/journal", "start"), 0);
    free(said);
    house_start(&house, ARGV("run", "llm-worker")); /* a role that is not wanted may be as it likes */
    house_wait_child(&house, "llm-worker", 0, "ready");
}

Test(check, misspelt_names_are_warned_about_and_their_values_are_not_shown)
{
    char *both[2];

    write_file(".env", "OPENAI_FAKE_KYE=sk-hidden-2\nLLM_COLOUR=hidden-3\nOTHER=hidden-4\n");
    house_env(&house, "ATALAYA_RUN_FOLDER=hidden-5");
    house_env(&house, "LLM_FAKES=hidden-6");
    house_env(&house, "OPENAI_FAKE_KEY_FIEL=hidden-7");
    both[0] = run(ARGV("check"), EXIT_DONE);
    house_start(&house, ARGV("run", "llm-worker"));
    house_wait_child(&house, "llm-worker", 0, "ready");
    both[1] = house_log(&house);
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        const char *said = both[i];
        cr_expect_eq(count(said, "OPENAI_FAKE_KYE is read by no program; did you mean OPENAI_FAKE_KEY?"), 1,
                     "%s", said);
        cr_expect_eq(count(said, "LLM_COLOUR is read by no program"), 1, "%s", said);
        cr_expect_eq(count(said, "ATALAYA_RUN_FOLDER is read by no program; did you mean ATALAYA_RUN_DIR?"),
                     1, "%s", said);
        cr_expect_eq(count(said, "LLM_FAKES is read by no program; did you mean LLM_FAKE?"), 1, "%s", said);
        cr_expect_eq(
            count(said, "OPENAI_FAKE_KEY_FIEL is read by no program; did you mean OPENAI_FAKE_KEY_FILE?"), 1,
            "%s", said);
        cr_expect_eq(count(said, "OTHER"), 0, "%s", said);
        cr_expect_eq(count(said, "hidden"), 0, "%s", said);
        free(both[i]);
    }
}

/* CREDENTIALS_DIRECTORY of the house, with these files in it. */
static void hand_over(const char *name, const char *secret)
{
    static char assignment[256];
    char path[200];

    snprintf(path, sizeof path, "%s/credentials", house.dir);
    if (mkdir(path, 0700) == 0) {
        snprintf(assignment, sizeof assignment, "CREDENTIALS_DIRECTORY=%s", path);
        house_env(&house, assignment);
    }
    snprintf(path, sizeof path, "credentials/%s", name);
    write_file(path, secret);
}

Test(check, a_credential_is_the_secret_of_its_name) /* P8 */
{
    char from[200];

    hand_over("OPENAI_FAKE_KEY", "sk-hidden-8\n");
    char *said = run(ARGV("check"), EXIT_DONE);
    snprintf(from, sizeof from, " file %s/credentials/OPENAI_FAKE_KEY", house.dir);
    cr_expect(has_row(said, "llm-worker", "OPENAI_FAKE_KEY", "(set, 11 bytes)", from), "%s", said);
    cr_expect(has_row(said, "gateway", "OPENAI_FAKE_KEY", "(not set)", " default"), "%s", said);
    cr_expect(has_row(said, "telemetry", "OPENAI_FAKE_KEY", "(not set)", " default"), "%s", said);
    cr_expect_eq(count(said, "good (errors: 0, warnings: 0)\n"), 1, "%s", said);
    cr_expect_eq(count(said, "sk-hidden"), 0, "%s", said);
    free(said);
}

Test(check, a_credential_and_a_variable_are_one_too_many)
{
    write_file(".env", "OPENAI_FAKE_KEY=sk-hidden-9\nOTHER_KEY_FILE=/nowhere\n");
    hand_over("OPENAI_FAKE_KEY", "sk-hidden-8");
    hand_over("OTHER_KEY", "sk-hidden-7");
    char *said = run(ARGV("check"), EXIT_CONFIG);
    cr_expect_eq(
        count(said, "OPENAI_FAKE_KEY is set, and there is a credential OPENAI_FAKE_KEY too: keep one"), 1,
        "%s", said);
    cr_expect_eq(count(said, "OTHER_KEY_FILE is set, and there is a credential OTHER_KEY too: keep one"), 1,
                 "%s", said);
    cr_expect_eq(count(said, "sk-hidden"), 0, "%s", said);
    free(said);
}

Test(check, a_misspelt_credential_is_warned_about)
{
    hand_over("OPENAI_FAKE_KYE", "sk-hidden-8");
    char *said = run(ARGV("check"), EXIT_DONE);
    cr_expect_eq(
        count(said, "OPENAI_FAKE_KYE_FILE is read by no program; did you mean OPENAI_FAKE_KEY_FILE?"), 1,
        "%s", said);
    free(said);
}

Test(check, credentials_that_cannot_be_read_stop_the_start)
{
    house_env(&house, "CREDENTIALS_DIRECTORY=/nowhere/credentials");
    char *said = run(ARGV("check"), EXIT_CONFIG);
    cr_expect_eq(count(said, "CREDENTIALS_DIRECTORY=/nowhere/credentials: cannot read it: No such file"), 1,
                 "%s", said);
    free(said);
}

Test(check, a_program_that_cannot_tell_does_not_stop_the_start)
{
    char path[200];

    house_script(&house, "telemetry", "crash");
    snprintf(path, sizeof path, "%s/atalaya-gateway", house.dir);
    cr_assert_eq(unlink(path), 0);
    char *said = run(ARGV("check"), EXIT_DONE);
    cr_expect_eq(count(said, "telemetry could not tell about its configuration (signal:ABRT)"), 1, "%s",
                 said);
    cr_expect_eq(count(said, "/atalaya-gateway about its configuration: No such file or directory"), 1, "%s",
                 said);
    free(said);
    house_start(&house, ARGV("run", "telemetry"));
    house_wait_child(&house, "telemetry", 0, "ready");
}

Test(check, a_messy_start_does_not_disturb_it)
{
    house.messy_start = true;
    house_script(&house, "telemetry", "crash");
    set_four_bad_ones();
    char *said = run(ARGV("check"), EXIT_CONFIG);
    expect_four_bad_ones(said);
    cr_expect_eq(count(said, "telemetry could not tell about its configuration (signal:ABRT)"), 1, "%s",
                 said);
    free(said);
}

Test(check, text_is_for_people)
{
    house_env(&house, "LOG_FORMAT=text");
    house_start(&house, ARGV("run"));
    house_wait_text(&house, "log", " INFO    gateway[");
    house_wait_text(&house, "log", ": ready after ");
    cr_expect_eq(house_count(&house, "log", "{\"ts\""), 0);
    cr_expect_geq(house_count(&house, "log", " role=llm-worker index=1 child="), 1);
}
