#include "common/proc/daemon.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/attr.h"
#include "common/proc/child.h"

/* A daemon in a process of its own, its life-line and its words in our hand. */
static struct {
    struct daemon daemon;
    pid_t pid;
    int ready, lifeline, words, out;
} d;

static int words_fd;
static int init_code;
static bool drains_at_once;
static bool reload_hangs;
static int64_t hung_ms;

static void say(const char *word)
{
    if (write(words_fd, word, strlen(word)) < 0)
        abort();
}

static int on_init(void *self, struct loop *loop)
{
    (void)loop;
    say(self == &words_fd ? "init " : "wrong-self ");
    return init_code;
}

static void on_drain(void *self)
{
    (void)self;
    say("drain ");
    if (drains_at_once)
        daemon_drained(&d.daemon);
}

static void on_reload(void *self)
{
    (void)self;
    say("reload ");
    while (reload_hangs)
        pause();
}

static void on_fini(void *self)
{
    (void)self;
    say("fini ");
}

static struct {
    int64_t number;
} configured;

static const struct conf_row rows[] = {
    {.name = "SOME_VARIABLE", .type = CONF_INT, .def = "1", .max = 9, .doc = "A number."}};
static const struct conf_table table = {rows, ARRAY_LEN(rows)};

static int on_configure(void *self)
{
    (void)self;
    return conf_load(rows, ARRAY_LEN(rows), &configured);
}

static void pair(int *ours, int *theirs, bool we_read)
{
    int fds[2];

    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
    *ours = fds[we_read ? 0 : 1];
    *theirs = fcntl(fds[we_read ? 1 : 0], F_DUPFD, 20);
    close(fds[we_read ? 1 : 0]);
}

static void start(int64_t drain_ms, const char *argument)
{
    char number[16], option[32] = "";
    char *argv[] = {(char[]){"atalaya-x"}, argument ? option : NULL, NULL};
    int ready, lifeline, out;

    if (argument)
        snprintf(option, sizeof option, "%s", argument);
    pair(&d.ready, &ready, true);
    pair(&d.lifeline, &lifeline, false);
    pair(&d.words, &words_fd, true);
    pair(&d.out, &out, true);
    d.daemon = (struct daemon){.name = "x",
                               .program = "atalaya-x",
                               .purpose = "does x",
                               .self = &words_fd,
                               .conf = &table,
                               .configure = on_configure,
                               .init = on_init,
                               .drain = on_drain,
                               .reload = on_reload,
                               .fini = on_fini,
                               .drain_ms = drain_ms,
                               .hung_ms = hung_ms};
    d.pid = fork();
    if (d.pid == 0) {
        close(d.lifeline);
        dup2(out, STDOUT_FILENO);
        snprintf(number, sizeof number, "%d", ready);
        setenv(CHILD_ENV_READY, number, 1);
        snprintf(number, sizeof number, "%d", lifeline);
        setenv(CHILD_ENV_LIFELINE, number, 1);
        exit(daemon_run(&d.daemon, argument ? 2 : 1, argv));
    }
    close(ready);
    close(lifeline);
    close(words_fd);
    close(out);
}

static void set_up(void)
{
    unsetenv("LOG_LEVEL");
    unsetenv("LOG_FORMAT");
    unsetenv("SOME_VARIABLE");
    drains_at_once = true;
}

TestSuite(daemon, .init = set_up, .timeout = 60);

/* Reads until the text ends so; blocks until then, the suite's timeout is the bound. */
static void expect_words(int fd, const char *text)
{
    char got[256] = "";
    size_t n = 0;

    while (strcmp(got, text) != 0) {
        ssize_t more = read(fd, got + n, sizeof got - n - 1);
        cr_assert_gt(more, 0, "'%s' instead of '%s'", got, text);
        got[n += (size_t)more] = '\0';
    }
}

static void expect_end(int fd)
{
    char waste;

    cr_expect_eq(read(fd, &waste, 1), 0);
}

/* For so long, or longer. */
static void expect_nothing(int fd, int64_t ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    cr_expect_eq(poll(&p, 1, (int)ms), 0);
}

static int exit_code(void)
{
    int status = 0;

    cr_assert_eq(waitpid(d.pid, &status, 0), d.pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void until_ready(void)
{
    expect_words(d.words, "init ");
    expect_words(d.ready, "\n");
    expect_end(d.ready);
}

static void output(char out[4096])
{
    size_t n = 0;
    ssize_t more;

    while ((more = read(d.out, out + n, 4095 - n)) > 0)
        n += (size_t)more;
    out[n] = '\0';
}

Test(daemon, term_drains)
{
    start(60000, NULL);
    until_ready();
    kill(d.pid, SIGTERM);
    expect_words(d.words, "drain fini ");
    cr_expect_eq(exit_code(), EXIT_DONE);
}

Test(daemon, the_end_of_the_lifeline_drains)
{
    start(60000, NULL);
    until_ready();
    close(d.lifeline);
    expect_words(d.words, "drain fini ");
    cr_expect_eq(exit_code(), EXIT_DONE);
}

Test(daemon, a_word_on_the_lifeline_is_no_end)
{
    start(60000, NULL);
    until_ready();
    cr_assert_eq(write(d.lifeline, "x", 1), 1);
    kill(d.pid, SIGHUP);
    expect_words(d.words, "reload ");
    close(d.lifeline);
    expect_words(d.words, "drain fini ");
    cr_expect_eq(exit_code(), EXIT_DONE);
}

Test(daemon, the_drain_has_a_deadline)
{
    drains_at_once = false;
    start(50, NULL);
    until_ready();
    kill(d.pid, SIGTERM);
    expect_words(d.words, "drain fini ");
    cr_expect_eq(exit_code(), EXIT_DONE);
}

Test(daemon, a_second_term_or_int_means_now)
{
    static const int second[] = {SIGTERM, SIGINT};

    drains_at_once = false;
    for (size_t i = 0; i < ARRAY_LEN(second); i++) {
        start(3600000, NULL);
        until_ready();
        kill(d.pid, SIGTERM);
        expect_words(d.words, "drain ");
        kill(d.pid, SIGHUP); /* nobody reloads what is leaving */
        kill(d.pid, second[i]);
        expect_words(d.words, "fini ");
        cr_expect_eq(exit_code(), EXIT_DONE);
    }
}

Test(daemon, int_means_now)
{
    start(3600000, NULL);
    until_ready();
    kill(d.pid, SIGINT);
    expect_words(d.words, "fini ");
    cr_expect_eq(exit_code(), EXIT_DONE);
}

Test(daemon, hup_reloads_and_pipe_and_usr1_do_nothing)
{
    start(60000, NULL);
    until_ready();
    kill(d.pid, SIGPIPE);
    kill(d.pid, SIGUSR1);
    kill(d.pid, SIGHUP);
    expect_words(d.words, "reload ");
    kill(d.pid, SIGTERM);
    expect_words(d.words, "drain fini ");
    cr_expect_eq(exit_code(), EXIT_DONE);
}

/* A loop that turns lives longer than hung_ms, also where it has nothing to do. */
Test(daemon, a_loop_that_hangs_ends_the_process)
{
    char text[4096];

    hung_ms = 480;
    for (int hangs = 1; hangs >= 0; hangs--) {
        reload_hangs = hangs;
        start(60000, NULL);
        until_ready();
        expect_nothing(d.words, 2 * hung_ms);
        kill(d.pid, SIGHUP);
        expect_words(d.words, "reload ");
        if (!hangs) {
            expect_nothing(d.words, 2 * hung_ms);
            kill(d.pid, SIGTERM);
            expect_words(d.words, "drain fini ");
        }
        output(text);
        cr_expect_eq(strstr(text, "the loop has not turned for 480 ms") != NULL, hangs, "%s", text);
        cr_expect_eq(exit_code(), hangs ? -SIGABRT : EXIT_DONE);
    }
}

Test(daemon, a_failed_init_is_never_ready)
{
    init_code = EXIT_CONFIG;
    start(60000, NULL);
    expect_words(d.words, "init fini ");
    expect_end(d.ready);
    cr_expect_eq(exit_code(), EXIT_CONFIG);
}

Test(daemon, bad_configuration_ends_it_before_anything_is_opened)
{
    char text[4096];

    setenv("SOME_VARIABLE", "10", 1);
    start(60000, NULL);
    output(text);
    cr_expect_not_null(strstr(text, "SOME_VARIABLE=10: expected a whole number from 0 to 9. A number."), "%s",
                       text);
    expect_words(d.words, "fini ");
    expect_words(d.ready, "SOME_VARIABLE=10: expected a whole number from 0 to 9. A number.");
    expect_end(d.ready);
    cr_expect_eq(exit_code(), EXIT_CONFIG);
}

Test(daemon, a_check_starts_nothing)
{
    static const struct {
        const char *value, *text;
        int code;
    } cases[] = {{"2", "variable\tSOME_VARIABLE\t2\tenvironment\n", EXIT_DONE},
                 {"x", "error\tSOME_VARIABLE=x: expected a whole number", EXIT_CONFIG}};
    char text[4096];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        setenv("SOME_VARIABLE", cases[i].value, 1);
        start(60000, "--check");
        output(text);
        cr_expect_not_null(strstr(text, cases[i].text), "%s", text);
        expect_words(d.words, "fini ");
        expect_end(d.ready);
        cr_expect_eq(exit_code(), cases[i].code);
    }
}

Test(daemon, tells_about_itself)
{
    static const struct {
        const char *argument;
        const char *text;
        int code;
    } cases[] = {
        {"--help", "atalaya-x: does x\n", EXIT_DONE},
        {"--version", "atalaya-x " ATALAYA_VERSION "\n", EXIT_DONE},
        {"--variables", "LOG_LEVEL\nLOG_FORMAT\nSOME_VARIABLE\n", EXIT_DONE},
        {"--configuration", "LOG_LEVEL\tlevel\tINFO\t", EXIT_DONE},
        {"--verbose", "", EXIT_USAGE},
        {"x", "", EXIT_USAGE},
    };
    char text[4096];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        start(60000, cases[i].argument);
        output(text);
        cr_expect_eq(strncmp(text, cases[i].text, strlen(cases[i].text)), 0, "%s: %s", cases[i].argument,
                     text);
        expect_end(d.words); /* nothing was started */
        cr_expect_eq(exit_code(), cases[i].code, "%s", cases[i].argument);
    }
}
