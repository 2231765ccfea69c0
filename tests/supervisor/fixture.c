#include "tests/supervisor/fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "supervisor/status.h"

static void copy_program(const struct house *h, const char *from, const char *to)
{
    char source[600], target[600], chunk[65536];
    ssize_t n;

    snprintf(source, sizeof source, "%s/%s", getenv("ATALAYA_BIN"), from);
    snprintf(target, sizeof target, "%s/%s", h->dir, to);
    int in = open(source, O_RDONLY | O_CLOEXEC);
    int out = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    cr_assert(in >= 0 && out >= 0, "cannot copy %s to %s", source, target);
    while ((n = read(in, chunk, sizeof chunk)) > 0)
        cr_assert_eq(write(out, chunk, (size_t)n), n);
    close(in);
    close(out);
}

void house_env(struct house *h, const char *assignment)
{
    size_t i = 0;

    while (h->env[i])
        i++;
    cr_assert_lt(i, sizeof h->env / sizeof *h->env - 1);
    h->env[i] = assignment;
}

static void pass_on(struct house *h, const char *name)
{
    char *text = NULL;

    if (getenv(name) && asprintf(&text, "%s=%s", name, getenv(name)) > 0)
        house_env(h, text);
}

void house_open(struct house *h)
{
    char *text = NULL;

    memset(h, 0, sizeof *h);
    snprintf(h->dir, sizeof h->dir, "/tmp/atalaya-test-XXXXXX");
    cr_assert_not_null(mkdtemp(h->dir));
    snprintf(h->run_dir, sizeof h->run_dir, "%s/run", h->dir);
    cr_assert_eq(mkdir(h->run_dir, 0700), 0);
    copy_program(h, "atalaya", "atalaya");
    copy_program(h, "fake-child", "atalaya-telemetry");
    copy_program(h, "fake-child", "atalaya-llm-worker");
    copy_program(h, "fake-child", "atalaya-gateway");
    cr_assert_gt(asprintf(&text, "ATALAYA_RUN_DIR=%s", h->run_dir), 0);
    house_env(h, text);
    cr_assert_gt(asprintf(&text, "ATALAYA_STATE_DIR=%s/state", h->dir), 0);
    house_env(h, text);
    house_env(h, "LOG_LEVEL=DEBUG");
    house_env(h, "PATH=/usr/bin:/bin");
    pass_on(h, "ASAN_OPTIONS");
    pass_on(h, "UBSAN_OPTIONS");
    pass_on(h, "GCOV_PREFIX");
    pass_on(h, "GCOV_PREFIX_STRIP");
}

static void remove_folder(const char *path)
{
    char inner[700];
    DIR *d = opendir(path);
    struct dirent *e;

    while (d && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        if (e->d_type == DT_DIR)
            remove_folder(inner);
        else
            unlink(inner);
    }
    if (d)
        closedir(d);
    rmdir(path);
}

void house_close(struct house *h)
{
    if (h->pid) {
        kill(h->pid, SIGKILL);
        waitpid(h->pid, NULL, 0);
    }
    house_wait_processes(h, 0);
    char *log = house_log(h);
    cr_expect_null(strstr(log, "ERROR: AddressSanitizer"), "%s", log);
    cr_expect_null(strstr(log, "runtime error:"), "%s", log);
    free(log);
    remove_folder(h->dir);
}

void house_script(const struct house *h, const char *role, const char *script)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s.script", h->run_dir, role);
    unlink(path);
    if (!script)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_gt(dprintf(fd, "%s\n", script), 0);
    close(fd);
}

static void make_a_mess(void)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    for (int fd = 3; fd < 12; fd++)
        dup2(STDOUT_FILENO, fd);
    close(STDIN_FILENO);
    close(STDERR_FILENO);
}

static void enter_house(const struct house *h, const char *program, const char *const *argv, int out)
{
    char path[600];
    char *args[16] = {NULL};
    char *env[64] = {NULL};
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    if (h->subreaper)
        prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (h->messy_start)
        make_a_mess();
    snprintf(path, sizeof path, "%s/%s", h->dir, program);
    args[0] = path;
    for (size_t i = 0; argv[i] && i < 14; i++)
        args[i + 1] = strdup(argv[i]);
    for (size_t i = 0; h->env[i]; i++)
        env[i] = strdup(h->env[i]);
    if (chdir(h->dir) == 0)
        execve(path, args, env);
    _exit(127);
}

void house_start(struct house *h, const char *const *argv)
{
    char path[96];

    snprintf(path, sizeof path, "%s/log", h->dir);
    int out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    cr_assert_geq(out, 0);
    h->pid = fork();
    if (h->pid == 0)
        enter_house(h, "atalaya", argv, out);
    close(out);
    cr_assert_gt(h->pid, 0);
}

static int ended(pid_t pid, int *status)
{
    pid_t got = waitpid(pid, status, WNOHANG);

    cr_assert(got == 0 || got == pid);
    return got == pid;
}

static int exit_code(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int house_wait_exit(struct house *h)
{
    int status = 0;
    int64_t until = clock_ms() + WAIT_MS;

    while (!ended(h->pid, &status)) {
        cr_assert_lt(clock_ms(), until, "the supervisor does not leave");
        poll(NULL, 0, 10);
    }
    h->pid = 0;
    return exit_code(status);
}

void house_signal(const struct house *h, int signo)
{
    cr_assert_eq(kill(h->pid, signo), 0);
}

static char *read_all(int fd)
{
    struct buf b = BUF_INIT(16 << 20);
    ssize_t n;
    char *to;

    buf_puts(&b, "");
    while ((to = buf_reserve(&b, 65536)) != NULL && (n = read(fd, to, 65536)) > 0) {
        b.len += (size_t)n;
        b.data[b.len] = '\0';
    }
    return b.data;
}

int house_run(struct house *h, const char *program, const char *const *argv, char **output)
{
    int fds[2], status = 0;

    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0)
        enter_house(h, program, argv, fds[1]);
    close(fds[1]);
    *output = read_all(fds[0]);
    close(fds[0]);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return exit_code(status);
}

char *house_read(const struct house *h, const char *name)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", h->dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return strdup("");
    char *text = read_all(fd);
    close(fd);
    return text;
}

char *house_log(const struct house *h)
{
    return house_read(h, "log");
}

int house_count(const struct house *h, const char *name, const char *text)
{
    char *all = house_read(h, name);
    int n = 0;

    for (const char *p = all; (p = strstr(p, text)) != NULL; p++)
        n++;
    free(all);
    return n;
}

long house_position(const struct house *h, const char *name, const char *text)
{
    char *all = house_read(h, name);
    const char *p = strstr(all, text);
    long at = p ? p - all : -1;

    free(all);
    return at;
}

void house_wait_text(const struct house *h, const char *name, const char *text)
{
    int64_t until = clock_ms() + WAIT_MS;

    while (house_count(h, name, text) == 0) {
        char *all = clock_ms() < until ? NULL : house_read(h, name);
        cr_assert_null(all, "%s does not say \"%s\":\n%s", name, text, all);
        poll(NULL, 0, 10);
    }
}

pid_t house_child(const struct house *h, const char *role, int index, const char *state)
{
    static struct status_line lines[STATUS_LINES_MAX];
    char *text = house_read(h, "run/status");
    size_t n = 0;
    pid_t pid = 0;

    if (*text)
        cr_assert_eq(status_parse(text, lines, &n), 0, "%s", text);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(lines[i].role, role) == 0 && lines[i].index == index && strcmp(lines[i].state, state) == 0)
            pid = lines[i].pid;
    }
    free(text);
    return pid;
}

pid_t house_wait_child(const struct house *h, const char *role, int index, const char *state)
{
    pid_t pid;

    WAIT_FOR((pid = house_child(h, role, index, state)) != 0);
    return pid;
}

pid_t house_wait_another(const struct house *h, const char *role, int index, pid_t not_this)
{
    pid_t pid;

    WAIT_FOR((pid = house_child(h, role, index, "ready")) != 0 && pid != not_this);
    return pid;
}

void house_wait_all_ready(struct house *h)
{
    static const char *const argv[] = {"status", NULL};
    int64_t until = clock_ms() + WAIT_MS;
    char *output = NULL;

    while (house_run(h, "atalaya", argv, &output) != STATUS_ALL_READY) {
        cr_assert_lt(clock_ms(), until, "not everybody is ready:\n%s", output);
        free(output);
        poll(NULL, 0, 20);
    }
    free(output);
}

int house_processes(const struct house *h)
{
    DIR *d = opendir("/proc");
    struct dirent *e;
    int n = 0;

    while (d && (e = readdir(d)) != NULL) {
        char path[300], exe[600];
        snprintf(path, sizeof path, "/proc/%s/exe", e->d_name);
        ssize_t len = readlink(path, exe, sizeof exe - 1);
        exe[len > 0 ? len : 0] = '\0';
        if (strncmp(exe, h->dir, strlen(h->dir)) == 0)
            n++;
    }
    if (d)
        closedir(d);
    return n;
}

void house_wait_processes(const struct house *h, int n)
{
    WAIT_FOR(house_processes(h) == n);
}
