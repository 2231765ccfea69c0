#include "supervisor/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/proc/child.h"
#include "supervisor/child.h"
#include "supervisor/notify.h"
#include "supervisor/status.h"

static struct {
    const struct settings *settings;
    struct crew crew;
    struct child children[CHILDREN_MAX];
    size_t n;
    int signals;
    int64_t started_us;
    int starting;     /* the last role whose turn to start has come; -1: none yet */
    int64_t patience; /* when the next one starts in any case */
    bool stopping;
    int stopping_role; /* the role that leaves now; -1: all are gone */
    bool hurry;
    int exit_code;
    bool status_failed;
    bool up;         /* it has been able to answer */
    int64_t beat_at; /* when the service manager's watchdog hears from us next */
} sup;

static void tell_role(int role, enum child_event e)
{
    for (size_t i = 0; i < sup.n; i++) {
        if ((int)sup.children[i].role == role)
            child_event(&sup.children[i], e);
    }
}

static bool role_is(int role, enum child_state state)
{
    for (size_t i = 0; i < sup.n; i++) {
        if ((int)sup.children[i].role == role && sup.children[i].state != state)
            return false;
    }
    return true;
}

static void start_next(void)
{
    sup.starting++;
    sup.patience = sup.crew.now + ROLE_PATIENCE_MS;
    for (size_t i = 0; i < sup.n; i++) {
        if ((int)sup.children[i].role == sup.starting)
            child_start(&sup.children[i]);
    }
}

static void go_on_starting(void)
{
    while (sup.starting < ROLES - 1 && role_is(sup.starting, CHILD_READY))
        start_next();
    if (sup.starting < ROLES - 1 && sup.crew.now >= sup.patience) {
        log_warning("%s is not ready after %d ms: going on without it", kinds[sup.starting].role,
                    ROLE_PATIENCE_MS);
        start_next();
    }
}

/* The service manager's patience follows DRAIN_TIMEOUT_MS, whatever its own configuration says. */
static void stop_role(int role)
{
    notify("EXTEND_TIMEOUT_USEC=%lld",
           (long long)(sup.crew.stop_ms + KILL_TIMEOUT_MS + STOP_GRACE_MS) * 1000);
    tell_role(role, EVENT_STOP);
    if (sup.hurry)
        tell_role(role, EVENT_HURRY);
}

static void begin_stop(int exit_code)
{
    if (sup.stopping)
        return;
    sup.stopping = true;
    sup.exit_code = exit_code;
    sup.stopping_role = ROLES - 1;
    sup.crew.changed = true;
    notify("STOPPING=1");
    stop_role(sup.stopping_role);
}

static void go_on_stopping(void)
{
    while (sup.stopping_role >= 0 && role_is(sup.stopping_role, CHILD_GONE)) {
        if (--sup.stopping_role >= 0)
            stop_role(sup.stopping_role);
    }
}

static void asked_to_stop(int signo)
{
    if (!sup.stopping) {
        log_info("%s: stopping everything, gateway first", signo == SIGINT ? "INT" : "TERM");
        begin_stop(EXIT_DONE);
        return;
    }
    log_warning("asked again: stopping now");
    sup.hurry = true;
    tell_role(sup.stopping_role, EVENT_HURRY);
}

/* Signals of one kind melt into one: every child that has ended is asked for. As process 1 of a container we
 * inherit the orphans of everybody. */
static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        size_t i = 0;

        while (i < sup.n && sup.children[i].pid != pid)
            i++;
        if (i < sup.n)
            child_reaped(&sup.children[i], status);
        else
            log_debug("reaped process %ld, which is none of ours", (long)pid);
    }
}

/* What the children make of it is theirs to log: to the service manager it is done when all have been told. */
static void reload(void)
{
    if (sup.up && !sup.stopping)
        notify("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_us());
    for (int role = 0; role < ROLES; role++)
        tell_role(role, EVENT_RELOAD);
    sup.crew.changed = true;
}

static void read_signals(void)
{
    struct signalfd_siginfo info;

    while (read(sup.signals, &info, sizeof info) == (ssize_t)sizeof info) {
        int signo = (int)info.ssi_signo;

        if (signo == SIGCHLD) {
            reap();
        } else if (signo == SIGHUP) {
            reload();
        } else {
            asked_to_stop(signo);
        }
    }
}

static void meet_deadlines(void)
{
    for (size_t i = 0; i < sup.n; i++) {
        if (sup.children[i].deadline <= sup.crew.now)
            child_event(&sup.children[i], EVENT_DEADLINE);
    }
}

static int sleep_ms(void)
{
    int64_t at = sup.beat_at;

    if (!sup.stopping && sup.starting < ROLES - 1)
        at = sup.patience;
    for (size_t i = 0; i < sup.n; i++) {
        if (sup.children[i].deadline < at)
            at = sup.children[i].deadline;
    }
    if (at == CHILD_NEVER)
        return -1;
    int64_t ms = at - clock_ms();
    return ms < 0 ? 0 : ms > 600000 ? 600000 : (int)ms;
}

static void wait_for_news(void)
{
    static struct pollfd fds[CHILDREN_MAX + 1];
    nfds_t n = 0;

    fds[n++] = (struct pollfd){.fd = sup.signals, .events = POLLIN};
    for (size_t i = 0; i < sup.n; i++) /* a negative descriptor is skipped by poll */
        fds[n++] = (struct pollfd){.fd = sup.children[i].ready_fd, .events = POLLIN};
    int ready = poll(fds, n, sleep_ms());
    sup.crew.now = clock_ms();
    if (ready <= 0)
        return;
    /* Ready pipes first: a child may have said its word and died since. */
    for (size_t i = 0; i < sup.n; i++) {
        if (fds[i + 1].revents)
            child_readable(&sup.children[i]);
    }
    if (fds[0].revents)
        read_signals();
}

static void fill_line(struct status_line *l, const struct child *c)
{
    snprintf(l->role, sizeof l->role, "%s", kinds[c->role].role);
    snprintf(l->state, sizeof l->state, "%s", child_state_name(c->state));
    l->index = c->index;
    l->pid = (int)c->pid;
    l->restarts = c->lives ? c->lives - 1 : 0;
    clock_rfc3339(l->since, c->since_us);
    status_end(l->end, c->has_ended, c->last_end);
}

static int count_in(int role, enum child_state state)
{
    int n = 0;

    for (size_t i = 0; i < sup.n; i++)
        n += (int)sup.children[i].role == role && sup.children[i].state == state;
    return n;
}

/* Telemetry is waited for by nobody but itself (P5). */
static bool can_answer(void)
{
    if (sup.starting < ROLES - 1)
        return false;
    for (int role = 0; role < ROLES; role++) {
        if (!(role == ROLE_TELEMETRY && sup.crew.serving) && !role_is(role, CHILD_READY))
            return false;
    }
    return true;
}

/* "ready: gateway 1 of 1, llm-worker 2 of 2, telemetry 1 of 1", for `systemctl status`. */
static void tell_manager(void)
{
    char ready[NOTIFY_MAX / 2] = "";
    size_t n = 0;

    for (int role = ROLES - 1; role >= 0; role--) {
        if (sup.settings->count[role])
            n += (size_t)snprintf(ready + n, sizeof ready - n, "%s %s %d of %d",
                                  n ? "," : "ready:", kinds[role].role, count_in(role, CHILD_READY),
                                  sup.settings->count[role]);
    }
    sup.up = sup.up || can_answer();
    notify("%sSTATUS=%s%s", sup.up && !sup.stopping ? "READY=1\n" : "", sup.stopping ? "stopping; " : "",
           ready);
}

static void beat(void)
{
    if (sup.crew.now < sup.beat_at)
        return;
    notify("WATCHDOG=1");
    sup.beat_at = sup.crew.now + notify_watchdog_ms();
}

static void publish(void)
{
    static struct status_line lines[STATUS_LINES_MAX];

    if (!sup.crew.changed)
        return;
    sup.crew.changed = false;
    tell_manager();
    lines[0] = (struct status_line){.role = "supervisor", .pid = (int)getpid(), .end = "-"};
    snprintf(lines[0].state, sizeof lines[0].state, "%s", sup.stopping ? "stopping" : "running");
    clock_rfc3339(lines[0].since, sup.started_us);
    for (size_t i = 0; i < sup.n; i++)
        fill_line(&lines[i + 1], &sup.children[i]);
    int rc = status_write(sup.settings->run_dir, lines, sup.n + 1);
    if (rc < 0 && !sup.status_failed)
        log_warning("cannot write %s/status: %s", sup.settings->run_dir, strerror(-rc));
    sup.status_failed = rc < 0;
}

/* CHLD may be inherited as ignored, which would take our children's exit codes away. */
static int open_signals(void)
{
    sigset_t set;

    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
        return -errno;
    sup.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return sup.signals < 0 ? -errno : 0;
}

static int prepare(const struct settings *s)
{
    int lifeline[2];
    int rc = open_signals();

    if (rc < 0)
        return rc;
    if (pipe2(lifeline, O_CLOEXEC) < 0)
        return -errno;
    sup.settings = s;
    sup.started_us = wall_us();
    sup.starting = -1;
    sup.crew.now = clock_ms();
    sup.beat_at = notify_watchdog_ms() ? sup.crew.now : CHILD_NEVER;
    sup.crew.stop_ms = s->drain_ms + STOP_GRACE_MS;
    sup.crew.patient = !s->give_up;
    sup.crew.serving = s->count[ROLE_GATEWAY] > 0 || s->count[ROLE_LLM_WORKER] > 0;
    for (int role = 0; role < ROLES; role++) {
        sup.crew.plans[role] = (struct spawn_plan){.path = s->programs[role],
                                                   .name = kinds[role].program,
                                                   .env = spawn_env(&kinds[role], environ, s),
                                                   .lifeline = lifeline[0]};
        for (int i = 0; i < s->count[role]; i++)
            child_init(&sup.children[sup.n++], &sup.crew, (enum role)role, i);
    }
    return 0;
}

int run(const struct settings *s)
{
    int rc = prepare(s);

    if (rc < 0) {
        log_error("cannot start: %s", strerror(-rc));
        return EXIT_ENVIRONMENT;
    }
    start_next();
    for (;;) {
        meet_deadlines();
        if (sup.crew.give_up)
            begin_stop(sup.crew.give_up);
        if (sup.stopping)
            go_on_stopping();
        else
            go_on_starting();
        publish();
        beat();
        if (sup.stopping && sup.stopping_role < 0)
            break;
        wait_for_news();
    }
    status_remove(s->run_dir);
    if (sup.exit_code == EXIT_DONE)
        log_info("all have left: exit 0");
    else
        log_error("all have left: exit %d, because %s", sup.exit_code, sup.crew.why);
    return sup.exit_code;
}
