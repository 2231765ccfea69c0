#include "supervisor/status.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/attr.h"

#define SINCE "2026-11-24T10:00:00.000000Z"

static const struct status_line three[] = {
    {"supervisor", 0, 100, "running", SINCE, 0, "-"},
    {"telemetry", 0, 101, "ready", SINCE, 2, "signal:KILL"},
    {"llm-worker", 63, 0, "waiting", SINCE, 7, "exit:70"},
};

Test(status, what_is_written_is_read)
{
    static char text[STATUS_TEXT_MAX];
    static struct status_line lines[STATUS_LINES_MAX];
    size_t n = 0;

    cr_assert_eq(status_format(text, three, ARRAY_LEN(three)), strlen(text));
    cr_assert_str_eq(text, "supervisor 0 100 running " SINCE " 0 -\n"
                           "telemetry 0 101 ready " SINCE " 2 signal:KILL\n"
                           "llm-worker 63 0 waiting " SINCE " 7 exit:70\n");
    cr_assert_eq(status_parse(text, lines, &n), 0);
    cr_assert_eq(n, ARRAY_LEN(three));
    for (size_t i = 0; i < n; i++) {
        cr_expect_str_eq(lines[i].role, three[i].role);
        cr_expect_str_eq(lines[i].state, three[i].state);
        cr_expect_str_eq(lines[i].since, three[i].since);
        cr_expect_str_eq(lines[i].end, three[i].end);
        cr_expect_eq(lines[i].pid, three[i].pid);
        cr_expect_eq(lines[i].index, three[i].index);
        cr_expect_eq(lines[i].restarts, three[i].restarts);
    }
}

Test(status, more_fields_of_a_later_version_are_no_error)
{
    static struct status_line lines[STATUS_LINES_MAX];
    size_t n = 0;

    cr_assert_eq(status_parse("supervisor 0 1 running " SINCE " 0 - more to come\n", lines, &n), 0);
    cr_assert_str_eq(lines[0].end, "-");
}

Test(status, garbage_is_refused)
{
    static const char *const bad[] = {"", "\n", "supervisor 0 1 running " SINCE " 0 -", "supervisor 0\n",
                                      "supervisor x 1 running " SINCE " 0 -\n"};
    static struct status_line lines[STATUS_LINES_MAX];
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_expect_eq(status_parse(bad[i], lines, &n), -EBADMSG, "%s", bad[i]);
}

Test(status, the_greatest_fleet_fits)
{
    static struct status_line lines[STATUS_LINES_MAX], back[STATUS_LINES_MAX];
    static char text[STATUS_TEXT_MAX];
    size_t n = 0;

    for (size_t i = 0; i < STATUS_LINES_MAX; i++)
        lines[i] = (struct status_line){
            "llm-worker-long", 63, 4194304, "starting-so-lon", SINCE, 4294967295u, "signal:RTMIN+1234567890"};
    status_format(text, lines, STATUS_LINES_MAX);
    cr_assert_eq(status_parse(text, back, &n), 0);
    cr_assert_eq(n, STATUS_LINES_MAX);
}

Test(status, names_the_end_of_a_process)
{
    char out[STATUS_END_SIZE];

    status_end(out, false, 0);
    cr_expect_str_eq(out, "-");
    status_end(out, true, 0);
    cr_expect_str_eq(out, "exit:0");
    status_end(out, true, 78 << 8);
    cr_expect_str_eq(out, "exit:78");
    status_end(out, true, SIGKILL);
    cr_expect_str_eq(out, "signal:KILL");
    status_end(out, true, 40);
    cr_expect_str_eq(out, "signal:40");
}

Test(status, prints_an_aligned_table)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    status_print(out, three, ARRAY_LEN(three), (INT64_C(1795514400) + 125) * 1000000);
    fclose(out);
    cr_assert_str_eq(text, "PROCESS            PID  STATE     FOR       RESTARTS  LAST EXIT\n"
                           "telemetry 0        101  ready     2 min            2  signal:KILL\n"
                           "llm-worker 63        0  waiting   2 min            7  exit:70\n"
                           "supervisor 100 running, up 2 min\n");
    free(text);
}
