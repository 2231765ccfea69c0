#include "common/base/log.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "common/base/limits.h"

#define SAID_MAX (256 * KIB)

/* Standard output is a file of ours meanwhile. */
static char path[] = "/tmp/log_test.XXXXXX";
static int real_stdout;
static char said[SAID_MAX];

static void set_up(void)
{
    unsetenv("NO_COLOR");
    unsetenv("JOURNAL_STREAM");
    real_stdout = dup(STDOUT_FILENO);
    int fd = mkstemp(path);
    cr_assert(real_stdout >= 0 && fd >= 0);
    cr_assert_eq(dup2(fd, STDOUT_FILENO), STDOUT_FILENO);
    close(fd);
    log_init("tester", LOG_INFO);
}

static void tear_down(void)
{
    dup2(real_stdout, STDOUT_FILENO);
    unlink(path);
}

TestSuite(log, .init = set_up, .fini = tear_down, .timeout = 60);

static const char *output(void)
{
    ssize_t n = pread(STDOUT_FILENO, said, sizeof said - 1, 0);

    cr_assert_geq(n, 0);
    said[n] = '\0';
    return said;
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;

    for (; (text = strstr(text, what)) != NULL; text++)
        n++;
    return n;
}

/* What is behind the time and before the end of the only line, with the pid as N. */
static void expect_line(const char *before_pid, const char *behind_pid)
{
    char pid[16];

    snprintf(pid, sizeof pid, "%d", (int)getpid());
    const char *text = output();
    cr_assert_eq(count(text, "\n"), 1, "%s", text);
    const char *at = strstr(text, before_pid);
    cr_assert_not_null(at, "'%s' is not in: %s", before_pid, text);
    at += strlen(before_pid);
    cr_assert_eq(strncmp(at, pid, strlen(pid)), 0, "%s", text);
    cr_expect_str_eq(at + strlen(pid), behind_pid);
}

#define FIELDS                                                                                               \
    LOG_FIELDS(LOG_CSTR("path", "/ask"), LOG_CSTR("why", "it broke"), LOG_CSTR("none", ""),                  \
               LOG_INT("n", -3), LOG_BOOL("yes", true), LOG_REAL("usd", 4.5e-6), LOG_REAL("unknown", NAN))

Test(log, json)
{
    log_event(LOG_WARNING, FIELDS, "word %s", "\"quoted\"");
    expect_line("Z\",\"level\":\"WARNING\",\"name\":\"app\",\"process\":\"tester\",\"pid\":",
                ",\"msg\":\"word \\\"quoted\\\"\",\"path\":\"/ask\",\"why\":\"it "
                "broke\",\"n\":-3,\"yes\":true,\"usd\":4.5e-06}\n");
    cr_expect_eq(strncmp(said, "{\"ts\":\"20", 9), 0, "%s", said);
}

Test(log, text)
{
    log_set_format(LOG_TEXT);
    log_event(LOG_WARNING, FIELDS, "word %s", "\"quoted\"");
    expect_line("Z WARNING tester[",
                "] word \"quoted\" path=/ask why=\"it broke\" n=-3 yes=true usd=4.5e-06\n");
    cr_expect_eq(said[0], '2');
}

static void into_the_journal(void)
{
    char stream[64];
    struct stat st;

    cr_assert_eq(fstat(STDOUT_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_init("tester", LOG_DEBUG);
}

Test(log, the_journal_is_told_priorities)
{
    into_the_journal();
    log_debug("a");
    log_info("b");
    log_warning("c");
    log_error("d");
    const char *text = output();
    static const char *const begins[] = {"<7>{\"ts\":", "<6>{\"ts\":", "<4>{\"ts\":", "<3>{\"ts\":"};
    for (size_t i = 0; i < ARRAY_LEN(begins); i++) {
        cr_assert_not_null(text);
        cr_expect_eq(strncmp(text, begins[i], strlen(begins[i])), 0, "%s", text);
        text = strchr(text, '\n') + 1;
    }
}

Test(log, the_journal_has_the_time_itself)
{
    into_the_journal();
    log_set_format(LOG_TEXT);
    log_warning("word");
    expect_line("<4>WARNING tester[", "] word\n");
    cr_expect_eq(said[0], '<');
}

Test(log, another_process_journal_is_not_ours)
{
    setenv("JOURNAL_STREAM", "8:1234567", 1);
    log_init("tester", LOG_INFO);
    log_info("word");
    cr_expect_eq(output()[0], '{');
}

Test(log, below_the_level_nothing_is_written)
{
    log_debug("quiet");
    cr_expect_str_eq(output(), "");
    log_set_level(LOG_DEBUG);
    log_debug("loud");
    cr_expect_eq(count(output(), "loud"), 1);
}

/* Every control character there is, the separators that some readers take for a new line, and the marks that turn the
 * direction of writing. */
#define EVIL                                                                                                 \
    "a\nb\rc\td\x01\x1b[31m\x7f e\xc2\x80\xc2\x85\xc2\x9b f\xe2\x80\xa8\xe2\x80\xa9 "                        \
    "g\xe2\x80\xae\xe2\x81\xa6 h\xff i"
#define TAMED                                                                                                \
    "a\\nb\\rc\\td\\u0001\\u001b[31m\\u007f e\\u0080\\u0085\\u009b f\\u2028\\u2029 g\\u202e\\u2066 "         \
    "h\xef\xbf\xbd i"

Test(log, what_a_peer_sent_breaks_no_line)
{
    for (int format = LOG_JSON; format <= LOG_TEXT; format++) {
        cr_assert_eq(ftruncate(STDOUT_FILENO, 0), 0);
        lseek(STDOUT_FILENO, 0, SEEK_SET);
        log_set_format((enum log_format)format);
        log_event(LOG_INFO, LOG_FIELDS(LOG_CSTR("from", EVIL)), "%s", EVIL);
        const char *text = output();
        cr_expect_eq(count(text, TAMED), 2, "%s", text);
        for (const char *p = text; p[1]; p++) /* the newline at the end is the only one */
            cr_expect((unsigned char)*p >= 0x20 && *p != 0x7f, "byte %d at %zu", *p, (size_t)(p - text));
        cr_expect_eq(count(text, "\xc2\x85") + count(text, "\xe2\x80\xa8") + count(text, "\xe2\x80\xae"), 0);
    }
}

Test(log, a_value_cannot_look_like_another_field)
{
    log_set_format(LOG_TEXT);
    log_event(LOG_INFO,
              LOG_FIELDS(LOG_CSTR("a", "x status=200"), LOG_CSTR("b", "x\" c=\"y"), LOG_CSTR("d", "k=v")),
              "m");
    expect_line("tester[", "] m a=\"x status=200\" b=\"x\\\" c=\\\"y\" d=\"k=v\"\n");
}

Test(log, lines_are_bounded)
{
    static char long_text[3 * LOG_LINE_MAX];

    memset(long_text, '\x01', sizeof long_text - 1);
    for (int format = LOG_JSON; format <= LOG_TEXT; format++) {
        log_set_format((enum log_format)format);
        log_event(LOG_INFO, LOG_FIELDS(LOG_CSTR("a", long_text), LOG_CSTR("b", long_text), LOG_INT("c", 7)),
                  "%s", long_text);
    }
    const char *text = output();
    cr_expect_eq(count(text, "\n"), 2);
    cr_expect_eq(count(text, "\"c\":7}\n"), 1);
    cr_expect_eq(count(text, " c=7\n"), 1);
    cr_expect_leq(strlen(text), 2 * LOG_LINE_MAX);
}

Test(log, colour_only_on_a_terminal_and_without_no_color)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char got[1024] = "";

    cr_assert(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int screen = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    cr_assert_geq(screen, 0);
    setenv("TERM", "xterm", 1);
    log_set_format(LOG_TEXT);
    log_error("in a file");
    cr_expect_eq(count(output(), "\x1b"), 0);

    dup2(screen, STDOUT_FILENO);
    setenv("NO_COLOR", "1", 1);
    log_set_format(LOG_TEXT);
    log_error("plain");
    cr_assert_gt(read(terminal, got, sizeof got - 1), 0);
    cr_expect(strstr(got, "plain") && !strchr(got, '\x1b'), "%s", got);

    unsetenv("NO_COLOR");
    unsetenv("JOURNAL_STREAM");
    log_set_format(LOG_TEXT);
    log_error("red");
    memset(got, 0, sizeof got);
    cr_assert_gt(read(terminal, got, sizeof got - 1), 0);
    cr_expect(strstr(got, "red") && strstr(got, "\x1b[1;31m"), "%s", got);
    close(screen);
    close(terminal);
}

Test(log, remembers_the_last_error)
{
    char last[LOG_SAID_MAX];

    log_last_error(last);
    cr_expect_str_eq(last, "");
    log_error("first");
    log_error("second");
    log_warning("third");
    log_last_error(last);
    cr_expect_str_eq(last, "second");
}

static struct log_limit often = LOG_LIMIT(3, 3600000, "knocks");

static void *knock(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++)
        if (log_allowed(LOG_WARNING, &often))
            log_warning("knock %d", i);
    return NULL;
}

Test(log, a_flood_is_a_few_lines_and_a_number)
{
    pthread_t threads[4];

    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, knock, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    log_info("something else"); /* the hour is not over */
    cr_expect_eq(count(output(), "knock "), 3);
    cr_expect_eq(count(output(), "left out"), 0);
    log_limits_report();
    cr_expect_eq(count(output(), "\"msg\":\"3997 lines were left out: knocks\",\"suppressed\":3997}"), 1,
                 "%s", output());
    log_limits_report();
    cr_expect_eq(count(output(), "left out"), 1);
}

Test(log, the_number_comes_before_the_next_line_when_the_time_is_over)
{
    static struct log_limit limit = LOG_LIMIT(1, 20, "knocks");
    int64_t since = clock_ms();

    cr_assert(log_allowed(LOG_WARNING, &limit));
    while (log_allowed(LOG_WARNING, &limit)) /* this machine was slow: a new time has begun */
        since = clock_ms();
    while (clock_ms() <= since + 20)
        poll(NULL, 0, 5);
    log_info("something else");
    const char *text = output();
    cr_expect_eq(count(text, "1 lines were left out: knocks"), 1, "%s", text);
    cr_expect_lt(strstr(text, "left out"), strstr(text, "something else"));
    cr_expect(log_allowed(LOG_WARNING, &limit));
}

Test(log, a_limit_counts_nothing_below_the_level)
{
    static struct log_limit limit = LOG_LIMIT(1, 3600000, "whispers");

    for (int i = 0; i < 3; i++)
        cr_expect_not(log_allowed(LOG_DEBUG, &limit));
    log_limits_report();
    cr_expect_str_eq(output(), "");
}

Test(log, a_reader_that_stalls_costs_lines_and_no_time) /* P5 */
{
    int fds[2];
    char drained[SAID_MAX];

    cr_assert_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    dup2(fds[1], STDOUT_FILENO);
    for (int i = 0; i < 3000; i++)
        log_info("a line that nobody reads, number %d", i);
    while (read(fds[0], drained, sizeof drained) > 0)
        ;
    log_info("again");
    ssize_t n = read(fds[0], drained, sizeof drained - 1);
    cr_assert_gt(n, 0);
    drained[n] = '\0';
    cr_expect_not_null(strstr(drained, "\"msg\":\"again\",\"lines_lost_before\":"), "%s", drained);
}
