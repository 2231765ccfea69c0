/* The life of a child with the clock in our hand. */
#include "supervisor/child.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/attr.h"
#include "common/proc/child.h"

static struct crew crew;
static struct child child;

static void set_up(void)
{
    static char *no_env[] = {NULL};

    crew = (struct crew){.now = 1000, .stop_ms = 11000};
    crew.plans[ROLE_GATEWAY] =
        (struct spawn_plan){.path = "/nonexistent/atalaya-gateway", .name = "x", .env = no_env};
    child_init(&child, &crew, ROLE_GATEWAY, 0);
}

TestSuite(child, .init = set_up, .timeout = 60);

/* As if it had been started and had said that it is ready. */
static void make_ready(pid_t pid)
{
    child.pid = pid;
    child.state = CHILD_STARTING;
    child.spawned_at = crew.now;
    child_event(&child, EVENT_READY);
    cr_assert_eq(child.state, CHILD_READY);
    cr_assert_eq(child.deadline, CHILD_NEVER);
}

static pid_t sleeper(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        setpgid(0, 0);
        for (;;)
            pause();
    }
    setpgid(pid, pid);
    return pid;
}

Test(child, waits_for_its_turn)
{
    cr_assert_eq(child.state, CHILD_WAITING);
    cr_assert_eq(child.deadline, CHILD_NEVER);
    child_start(&child);
    cr_assert_eq(child.deadline, crew.now);
}

Test(child, backs_off_longer_and_longer_and_gives_up)
{
    static const int64_t waits[DEATHS_MAX - 1] = {100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000};

    child_start(&child);
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        child_event(&child, EVENT_DEADLINE); /* the program is not there: dies at once */
        cr_assert_eq(child.state, CHILD_WAITING);
        cr_assert_eq(child.deadline, crew.now + waits[i], "death %zu", i + 1);
        cr_assert_eq(crew.give_up, 0);
        crew.now = child.deadline;
    }
    child_event(&child, EVENT_DEADLINE);
    cr_assert_eq(child.state, CHILD_GONE);
    cr_assert_eq(crew.give_up, EXIT_SOFTWARE);
    cr_assert_eq(child.lives, DEATHS_MAX);
}

/* P5: a telemetry that cannot live (disk full, port taken) does not take the answers along. Alone it does give up. */
Test(child, telemetry_beside_others_is_tried_for_ever)
{
    crew.plans[ROLE_TELEMETRY] = crew.plans[ROLE_GATEWAY];
    for (int serving = 1; serving >= 0; serving--) {
        crew.serving = serving;
        child_init(&child, &crew, ROLE_TELEMETRY, 0);
        child_start(&child);
        for (int i = 0; i < 5 * DEATHS_MAX && child.state == CHILD_WAITING; i++) {
            child_event(&child, EVENT_DEADLINE);
            crew.now += BACKOFF_CAP_MS;
        }
        cr_expect_eq(child.state, serving ? CHILD_WAITING : CHILD_GONE);
        cr_expect_eq(crew.give_up, serving ? 0 : EXIT_SOFTWARE);
    }
}

/* ATALAYA_GIVE_UP=false: nobody above would do better. A refusal is final all the same. */
Test(child, a_patient_crew_tries_for_ever)
{
    crew.patient = true;
    child_start(&child);
    for (int i = 0; i < 5 * DEATHS_MAX; i++) {
        child_event(&child, EVENT_DEADLINE);
        cr_assert_eq(child.state, CHILD_WAITING);
        cr_assert_leq(child.deadline, crew.now + BACKOFF_CAP_MS);
        crew.now = child.deadline;
    }
    cr_expect_eq(crew.give_up, 0);
    child.pid = 1234567;
    child.state = CHILD_STARTING;
    child_reaped(&child, EXIT_CONFIG << 8);
    cr_expect_eq(crew.give_up, EXIT_CONFIG);
}

Test(child, a_healthy_life_is_forgiven_at_once)
{
    child.deaths = DEATHS_MAX - 1;
    make_ready(1234567);
    crew.now += HEALTHY_MS;
    child_reaped(&child, SIGKILL);
    cr_assert_eq(child.state, CHILD_WAITING);
    cr_assert_eq(child.deadline, crew.now);
    cr_assert_eq(child.deaths, 0);
    cr_assert_eq(child.pid, 0);
}

Test(child, ready_too_short_is_an_early_death)
{
    make_ready(1234567);
    crew.now += HEALTHY_MS - 1;
    child_reaped(&child, 0); /* also when it leaves with 0: nobody asked */
    cr_assert_eq(child.deaths, 1);
    cr_assert_eq(child.deadline, crew.now + BACKOFF_BASE_MS);
}

Test(child, a_refusal_is_final)
{
    static const int codes[] = {EXIT_USAGE, EXIT_CONFIG};

    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        set_up();
        child.pid = 1234567;
        child.state = CHILD_STARTING;
        child_reaped(&child, codes[i] << 8);
        cr_assert_eq(child.state, CHILD_GONE);
        cr_assert_eq(crew.give_up, EXIT_CONFIG);
    }
}

static void die(struct child *c, int code)
{
    c->pid = 1234567;
    c->state = CHILD_STARTING;
    child_reaped(c, code << 8);
    crew.now += BACKOFF_CAP_MS;
}

/* A port that somebody else has: it will not be ours in a minute either. */
Test(child, a_first_start_that_the_system_refuses_ends_soon)
{
    for (int i = 1; i < FIRST_DEATHS_MAX; i++) {
        die(&child, EXIT_ENVIRONMENT);
        cr_assert_eq(child.state, CHILD_WAITING, "death %d", i);
    }
    snprintf(child.said, sizeof child.said, "the port is taken");
    die(&child, EXIT_ENVIRONMENT);
    cr_assert_eq(child.state, CHILD_GONE);
    cr_expect_eq(crew.give_up, EXIT_ENVIRONMENT);
    cr_expect_str_eq(crew.why,
                     "gateway 0 died 5 times and was never ready (exit:75); it said: the port is taken");
}

Test(child, what_has_been_ready_once_gets_the_longer_patience)
{
    child.was_ready = true;
    for (int i = 1; i < DEATHS_MAX; i++)
        die(&child, EXIT_ENVIRONMENT);
    cr_assert_eq(child.state, CHILD_WAITING);
    die(&child, EXIT_ENVIRONMENT);
    cr_assert_eq(child.state, CHILD_GONE);
    cr_expect_eq(crew.give_up, EXIT_ENVIRONMENT);
}

Test(child, the_first_to_give_up_is_the_reason)
{
    struct child other;

    child_init(&other, &crew, ROLE_LLM_WORKER, 3);
    die(&other, EXIT_CONFIG);
    die(&child, EXIT_USAGE);
    cr_expect_eq(strncmp(crew.why, "llm-worker 3 does not accept what it was given (exit:78)", 56), 0, "%s",
                 crew.why);
    cr_expect_not_null(strstr(crew.why, "its own lines tell why"), "%s", crew.why);
}

Test(child, other_codes_are_deaths)
{
    static const int codes[] = {1, EXIT_SOFTWARE, EXIT_ENVIRONMENT, 127};

    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        set_up();
        child.pid = 1234567;
        child.state = CHILD_STARTING;
        child_reaped(&child, codes[i] << 8);
        cr_assert_eq(child.state, CHILD_WAITING, "%d", codes[i]);
        cr_assert_eq(crew.give_up, 0);
    }
}

Test(child, never_ready_is_killed_and_started_again)
{
    int status;

    child.pid = sleeper();
    child.state = CHILD_STARTING;
    child_event(&child, EVENT_DEADLINE);
    cr_assert_eq(child.state, CHILD_HUNG);
    cr_assert_eq(waitpid(child.pid, &status, 0), child.pid);
    cr_assert_eq(WTERMSIG(status), SIGKILL);
    child_reaped(&child, status);
    cr_assert_eq(child.state, CHILD_WAITING);
    cr_assert_eq(child.deaths, 1);
}

Test(child, stopping_is_term_then_kill)
{
    int status;

    pid_t pid = sleeper();
    make_ready(pid);
    kill(pid, SIGSTOP); /* cannot even hear TERM until CONT comes with it */
    cr_assert_eq(waitpid(pid, &status, WUNTRACED), pid);
    cr_assert(WIFSTOPPED(status));
    child_event(&child, EVENT_STOP);
    cr_assert_eq(child.state, CHILD_STOPPING);
    cr_assert_eq(child.deadline, crew.now + crew.stop_ms);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(WTERMSIG(status), SIGTERM);
    child_reaped(&child, status);
    cr_assert_eq(child.state, CHILD_GONE);

    set_up();
    make_ready(pid = sleeper());
    child.state = CHILD_STOPPING; /* as if it had ignored the TERM */
    child_event(&child, EVENT_DEADLINE);
    cr_assert_eq(child.state, CHILD_KILLING);
    cr_assert_eq(child.deadline, crew.now + KILL_TIMEOUT_MS);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(WTERMSIG(status), SIGKILL);
    child_event(&child, EVENT_DEADLINE); /* not reaped yet: nobody waits for ever */
    cr_assert_eq(child.state, CHILD_GONE);
}

Test(child, hurry_shortens_what_is_left)
{
    int status;

    pid_t pid = sleeper();
    make_ready(pid);
    child.state = CHILD_STOPPING;
    child.deadline = crew.now + 10000;
    child_event(&child, EVENT_HURRY);
    cr_assert_eq(child.deadline, crew.now + HURRY_MS);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(WTERMSIG(status), SIGINT);
    child.deadline = crew.now + 10;
    child.state = CHILD_KILLING;
    child_event(&child, EVENT_HURRY);
    cr_assert_eq(child.deadline, crew.now + 10);
}

Test(child, stopped_before_it_was_started_it_never_starts)
{
    child_event(&child, EVENT_STOP);
    cr_assert_eq(child.state, CHILD_GONE);
    child_start(&child);
    child_event(&child, EVENT_DEADLINE);
    cr_assert_eq(child.state, CHILD_GONE);
    cr_assert_eq(child.lives, 0);
}

Test(child, readiness_is_a_newline)
{
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    child.pid = 1234567;
    child.state = CHILD_STARTING;
    child.ready_fd = fds[0];
    cr_assert_eq(write(fds[1], "x", 1), 1);
    child_readable(&child);
    cr_assert_eq(child.state, CHILD_STARTING);
    cr_assert_eq(write(fds[1], "\n", 1), 1);
    child_readable(&child);
    cr_assert_eq(child.state, CHILD_READY);
    cr_assert_eq(child.ready_fd, -1);
    close(fds[1]);
}

Test(child, other_words_are_why_it_cannot_be_ready)
{
    static char much[3 * sizeof child.said];
    int fds[2];

    memset(much, 'x', sizeof much);
    cr_assert_eq(pipe2(fds, O_NONBLOCK), 0);
    child.pid = 1234567;
    child.state = CHILD_STARTING;
    child.ready_fd = fds[0];
    cr_assert_eq(write(fds[1], "no port, ", 9), 9);
    child_readable(&child);
    cr_assert_eq(write(fds[1], "no luck", 7), 7);
    child_readable(&child);
    cr_expect_str_eq(child.said, "no port, no luck");
    cr_assert_eq(child.state, CHILD_STARTING);
    cr_assert_eq(write(fds[1], much, sizeof much), (ssize_t)sizeof much);
    child_readable(&child);
    cr_expect_eq(strlen(child.said), sizeof child.said - 1);
    child_reaped(&child, EXIT_ENVIRONMENT << 8);
    cr_expect_eq(child.ready_fd, -1);
    close(fds[1]);
}

Test(child, its_last_word_is_heard_although_it_is_dead)
{
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    cr_assert_eq(write(fds[1], "no port", 7), 7);
    close(fds[1]);
    child.pid = 1234567;
    child.state = CHILD_STARTING;
    child.ready_fd = fds[0];
    child_reaped(&child, EXIT_CONFIG << 8);
    cr_expect_not_null(strstr(crew.why, "it said: no port"), "%s", crew.why);
}

Test(child, closing_without_a_word_is_not_readiness)
{
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    close(fds[1]);
    child.pid = 1234567;
    child.state = CHILD_STARTING;
    child.deadline = 5000;
    child.ready_fd = fds[0];
    child_readable(&child);
    cr_assert_eq(child.state, CHILD_STARTING);
    cr_assert_eq(child.ready_fd, -1);
    cr_assert_eq(child.deadline, 5000);
}
