#include "supervisor/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/proc/child.h"

#define FIRST_FREE_FD (CHILD_LIFELINE_FD + 1)

static char *assignment(const char *name, const char *value)
{
    size_t size = strlen(name) + 1 + strlen(value) + 1;
    char *out = xmalloc(size);

    snprintf(out, size, "%s=%s", name, value);
    return out;
}

char **spawn_env(const struct kind *k, char *const *from, const struct settings *s)
{
    char number[16];
    size_t n = 0;

    while (from[n])
        n++;
    char **env = xcalloc(n + 5, sizeof *env);
    n = 0;
    for (; *from; from++) {
        if (kind_gets(k, *from))
            env[n++] = xstrdup(*from);
    }
    env[n++] = assignment("ATALAYA_RUN_DIR", s->run_dir);
    if (*s->state_dir)
        env[n++] = assignment("ATALAYA_STATE_DIR", s->state_dir);
    snprintf(number, sizeof number, "%d", CHILD_READY_FD);
    env[n++] = assignment(CHILD_ENV_READY, number);
    snprintf(number, sizeof number, "%d", CHILD_LIFELINE_FD);
    env[n++] = assignment(CHILD_ENV_LIFELINE, number);
    return env;
}

void spawn_env_free(char **env)
{
    for (char **e = env; e && *e; e++)
        free(*e);
    free(env);
}

static void default_signals(void)
{
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The sources may sit on the target numbers, and dup2() of a descriptor onto itself keeps close-on-exec: so
 * all of them move out of the way first. Everything else is close-on-exec already. */
static int place_descriptors(int ready, int lifeline, int *report)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int r = fcntl(ready, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    int l = fcntl(lifeline, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    int e = fcntl(*report, F_DUPFD_CLOEXEC, FIRST_FREE_FD);

    if (null < 0 || r < 0 || l < 0 || e < 0)
        return -errno;
    *report = e;
    if (dup2(null, STDIN_FILENO) < 0 || dup2(r, CHILD_READY_FD) < 0 || dup2(l, CHILD_LIFELINE_FD) < 0)
        return -errno;
    return 0;
}

static NORETURN void become(const struct spawn_plan *plan, int ready, int report)
{
    char name[64];
    char *argv[] = {name, NULL};
    int error;

    snprintf(name, sizeof name, "%s", plan->name);
    setpgid(0, 0);
    default_signals();
    error = -place_descriptors(ready, plan->lifeline, &report);
    if (error == 0) {
        execve(plan->path, argv, plan->env);
        error = errno;
    }
    ssize_t ignored = write(report, &error, sizeof error);
    (void)ignored;
    _exit(127);
}

/* End of file without a word is success: execve(2) has closed the other end. */
static int read_report(int fd)
{
    int error = 0;
    ssize_t n;

    do
        n = read(fd, &error, sizeof error);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof error ? -error : 0;
}

static void close_both(const int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

int spawn(const struct spawn_plan *plan, pid_t *pid, int *ready_fd)
{
    int ready[2], report[2];
    int rc;

    if (pipe2(ready, O_CLOEXEC) < 0)
        return -errno;
    if (pipe2(report, O_CLOEXEC) < 0) {
        rc = -errno;
        close_both(ready);
        return rc;
    }
    pid_t child = fork();
    if (child == 0)
        become(plan, ready[1], report[1]);
    if (child < 0) {
        rc = -errno;
        close_both(report);
        close_both(ready);
        return rc;
    }
    setpgid(child, child); /* both sides do it: whoever is first, it is done before we go on */
    close(ready[1]);
    close(report[1]);
    rc = read_report(report[0]);
    close(report[0]);
    if (rc < 0) {
        close(ready[0]); /* the dead child is reaped like a stranger */
        return rc;
    }
    fcntl(ready[0], F_SETFL, O_NONBLOCK);
    *pid = child;
    *ready_fd = ready[0];
    return 0;
}
