#include "common/proc/daemon.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/proc/child.h"
#include "common/proc/dirs.h"

/* One daemon is one process. */
static struct {
    struct daemon *daemon;
    struct loop *loop;
    struct loop_io signals;
    struct loop_io lifeline;
    struct loop_timer deadline;
    bool draining;
    struct loop_timer pulse;
    atomic_bool turned;
    int64_t look_ms;
} me;

#define LOOKS 12 /* in vain, one after another, until a loop counts as hung */

static void on_deadline(void *arg)
{
    (void)arg;
    log_warning("not drained after %lld ms: leaving what is in flight", (long long)me.daemon->drain_ms);
    loop_stop(me.loop);
}

static void begin_drain(const char *why)
{
    if (me.draining)
        return;
    me.draining = true;
    log_info("draining: %s", why);
    loop_timer_set(me.loop, &me.deadline, loop_now(me.loop) + me.daemon->drain_ms);
    me.daemon->drain(me.daemon->self);
}

void daemon_drained(struct daemon *d)
{
    if (me.daemon == d && me.draining)
        loop_stop(me.loop);
}

static void on_signal(int signo)
{
    if (signo == SIGHUP) {
        if (me.daemon->reload && !me.draining)
            me.daemon->reload(me.daemon->self);
    } else if (signo == SIGINT || me.draining) {
        log_info("stopping now: asked by signal");
        loop_stop(me.loop);
    } else {
        begin_drain("asked by signal");
    }
}

static void on_signals(void *arg, uint32_t events)
{
    struct signalfd_siginfo info;

    (void)arg;
    (void)events;
    while (read(me.signals.fd, &info, sizeof info) == (ssize_t)sizeof info)
        on_signal((int)info.ssi_signo);
}

static void on_lifeline(void *arg, uint32_t events)
{
    char waste[64];

    (void)arg;
    (void)events;
    if (read(me.lifeline.fd, waste, sizeof waste) > 0)
        return;
    loop_io_clear(me.loop, &me.lifeline);
    begin_drain("the supervisor is gone");
}

static int watch(struct loop_io *io, int fd, void (*fn)(void *, uint32_t))
{
    *io = (struct loop_io){.fd = fd, .fn = fn};
    if (fd < 0)
        return -errno;
    return loop_io_set(me.loop, io, EPOLLIN);
}

static int open_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    return watch(&me.signals, signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), on_signals);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            log_warning("cannot raise the limit of open files: %s", strerror(errno));
    }
}

static void on_pulse(void *arg)
{
    (void)arg;
    atomic_store(&me.turned, true);
    loop_timer_set(me.loop, &me.pulse, loop_now(me.loop) + me.look_ms);
}

/* It counts its own looks instead of the time, which also passes while the process is stopped. */
static void *watch_loop(void *arg)
{
    struct pollfd end = {.fd = *(const int *)arg, .events = POLLIN};

    for (int in_vain = 0; in_vain < LOOKS;) {
        if (poll(&end, 1, (int)me.look_ms) > 0)
            return NULL;
        in_vain = atomic_exchange(&me.turned, false) ? 0 : in_vain + 1;
    }
    log_error("the loop has not turned for %lld ms: aborting, to be started again",
              (long long)me.look_ms * LOOKS);
    abort();
}

static void run_loop(struct daemon *d)
{
    int end = eventfd(0, EFD_CLOEXEC);
    pthread_t watcher = 0;

    me.look_ms = (d->hung_ms ? d->hung_ms : DAEMON_HUNG_MS) / LOOKS;
    me.pulse.fn = on_pulse;
    on_pulse(NULL);
    int rc = end < 0 ? errno : pthread_create(&watcher, NULL, watch_loop, &end);
    if (rc != 0)
        log_warning("nobody will see whether the loop hangs: %s", strerror(rc));
    loop_run(me.loop);
    if (rc == 0) {
        eventfd_write(end, 1);
        pthread_join(watcher, NULL);
    }
    if (end >= 0)
        close(end);
    loop_timer_clear(me.loop, &me.pulse);
}

static void print_help(const struct daemon *d)
{
    printf("%s: %s\n"
           "\n"
           "  %s                   run in the foreground (usually started by `atalaya run`)\n"
           "  %s --check           check its configuration: what holds, what is wrong; exit 0 or 78\n"
           "  %s --variables       the environment variables it reads, one a line\n"
           "  %s --configuration   the same with type, default, range and meaning, tabs between\n"
           "  %s --version\n"
           "\n"
           "TERM finishes what is in flight and leaves; a second TERM, or INT, leaves at once.\n",
           d->program, d->purpose, d->program, d->program, d->program, d->program, d->program);
}

static int check(struct daemon *d)
{
    dirs_probe();
    conf_begin_check(stdout);
    int rc = d->configure(d->self);
    d->fini(d->self);
    conf_end_check();
    return rc < 0 ? EXIT_CONFIG : EXIT_DONE;
}

/* -1: no option was given, go on. */
static int options(struct daemon *d, int argc, char **argv)
{
    const char *arg = argc > 1 ? argv[1] : NULL;

    if (!arg)
        return -1;
    if (argc == 2 && strcmp(arg, "--help") == 0) {
        print_help(d);
        return EXIT_DONE;
    }
    if (argc == 2 && strcmp(arg, "--version") == 0) {
        printf("%s %s\n", d->program, ATALAYA_VERSION);
        return EXIT_DONE;
    }
    if (argc == 2 && strcmp(arg, "--variables") == 0) {
        conf_print_names(d->conf->rows, d->conf->n);
        return EXIT_DONE;
    }
    if (argc == 2 && strcmp(arg, "--configuration") == 0) {
        conf_print_rows(d->conf->rows, d->conf->n);
        return EXIT_DONE;
    }
    if (argc == 2 && strcmp(arg, "--check") == 0)
        return check(d);
    fprintf(stderr, "%s: unknown argument '%s'; try --help\n", d->program, argc == 2 ? arg : argv[2]);
    return EXIT_USAGE;
}

static int prepare(struct daemon *d)
{
    log_init(d->name, LOG_INFO);
    if (d->configure(d->self) < 0)
        return EXIT_CONFIG;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN); /* the habit of asking for new log files: ours go to stdout */
    raise_descriptor_limit();
    me.loop = loop_new();
    me.deadline.fn = on_deadline;
    int rc = open_signals();
    int lifeline = child_lifeline_fd();
    if (rc == 0 && lifeline >= 0)
        rc = watch(&me.lifeline, lifeline, on_lifeline);
    if (rc < 0) {
        log_error("cannot watch signals and supervisor: %s", strerror(-rc));
        return EXIT_ENVIRONMENT;
    }
    return EXIT_DONE;
}

/* What it said last goes to the supervisor, whose own last line people read first. */
static void say_why(int code)
{
    char why[LOG_SAID_MAX];

    log_last_error(why);
    if (code != EXIT_DONE && *why)
        child_failed(why);
}

static void finish(void)
{
    loop_timer_clear(me.loop, &me.deadline);
    loop_io_clear(me.loop, &me.lifeline);
    loop_io_clear(me.loop, &me.signals);
    if (me.signals.fd >= 0)
        close(me.signals.fd);
    loop_free(me.loop);
}

int daemon_run(struct daemon *d, int argc, char **argv)
{
    child_lifeline_fd(); /* adopts the inherited descriptors before anything of ours can take their numbers */
    int code = options(d, argc, argv);

    if (code >= 0)
        return fflush(stdout) == 0 ? code : EXIT_ENVIRONMENT;
    umask(077); /* the spool's texts and the sockets are nobody else's business */
    me.daemon = d;
    me.signals.fd = -1;
    code = prepare(d);
    if (code == EXIT_DONE)
        code = d->init(d->self, me.loop);
    if (code == EXIT_DONE) {
        child_ready();
        log_info("ready");
        run_loop(d);
    }
    d->fini(d->self);
    if (me.loop)
        finish();
    log_limits_report();
    log_debug("left with code %d", code);
    say_why(code);
    return code;
}
