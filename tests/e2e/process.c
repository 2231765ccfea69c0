#include "tests/e2e/process.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/id.h"

/* Below the range that the kernel takes for outgoing connections (32768 and up). */
#define PORT_FIRST 10000
#define PORT_COUNT 20000

void process_adopt_orphans(void)
{
    cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
}

static void become(const char *const argv[], const char *const env[], int in, int out, int err)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(126);
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    execve(argv[0], (char *const *)argv, (char *const *)env);
    dprintf(2, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

pid_t process_start(const char *const argv[], const char *const env[], const char *folder, const char *out,
                    const char *err)
{
    int in_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out_fd = open(out, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int err_fd = open(err, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    cr_assert(in_fd >= 0 && out_fd >= 0 && err_fd >= 0, "%s: %s", out, strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        if (chdir(folder) != 0)
            _exit(126);
        become(argv, env, in_fd, out_fd, err_fd);
    }
    cr_assert(pid > 0, "fork: %s", strerror(errno));
    close(in_fd);
    close(out_fd);
    close(err_fd);
    return pid;
}

bool process_ended(pid_t pid, int *status)
{
    pid_t got = waitpid(pid, status, WNOHANG);

    cr_assert(got >= 0, "waiting for %d: %s", (int)pid, strerror(errno));
    return got == pid;
}

int process_run(const char *const argv[], const char *const env[], struct str input, struct buf *out)
{
    FILE *in = tmpfile();
    FILE *result = tmpfile();
    int status = 0;

    cr_assert(in && result);
    cr_assert_eq(fwrite(input.p ? input.p : "", 1, input.n, in), input.n);
    rewind(in);
    pid_t pid = fork();
    if (pid == 0)
        become(argv, env, fileno(in), fileno(result), fileno(result));
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
    fseek(result, 0, SEEK_END);
    long n = ftell(result);
    rewind(result);
    char *at = buf_reserve(out, (size_t)n);
    cr_assert(at && fread(at, 1, (size_t)n, result) == (size_t)n);
    out->len += (size_t)n;
    out->data[out->len] = '\0';
    fclose(in);
    fclose(result);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static bool read_stat(pid_t pid, struct process *p)
{
    char path[32], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    ssize_t n = read(fd, line, sizeof line - 1);
    close(fd);
    line[n > 0 ? n : 0] = '\0';
    const char *after_name = strrchr(line, ')'); /* a name may hold anything */
    if (!after_name || after_name[1] != ' ')
        return false;
    p->pid = pid;
    p->state = after_name[2];
    p->parent = (pid_t)strtol(after_name + 3, NULL, 10);
    return true;
}

static size_t every_process(struct process out[PROCESS_MAX])
{
    DIR *d = opendir("/proc");
    size_t n = 0;

    cr_assert(d);
    for (struct dirent *e; (e = readdir(d)) && n < PROCESS_MAX;) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
        if (pid > 0 && read_stat(pid, &out[n]))
            n++;
    }
    closedir(d);
    return n;
}

static bool is_among(const struct process *list, size_t n, pid_t pid)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].pid == pid)
            return true;
    return false;
}

size_t process_tree(struct process out[PROCESS_MAX])
{
    static struct process all[PROCESS_MAX];
    size_t n_all = every_process(all);
    size_t n = 0;
    bool grew = true;

    while (grew) {
        grew = false;
        for (size_t i = 0; i < n_all; i++) {
            bool ours = all[i].parent == getpid() || is_among(out, n, all[i].parent);
            if (ours && !is_among(out, n, all[i].pid)) {
                out[n++] = all[i];
                grew = true;
            }
        }
    }
    return n;
}

void process_cmdline(pid_t pid, char *out, size_t size)
{
    char path[32];
    struct buf b = BUF_INIT(1024 * 1024);

    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    read_file(path, &b);
    for (size_t i = 0; i + 1 < b.len; i++)
        if (b.data[i] == '\0')
            b.data[i] = ' ';
    snprintf(out, size, "%s", b.data ? b.data : "");
    buf_free(&b);
}

bool read_file(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;

    if (fd < 0)
        return false;
    for (char *at; (at = buf_reserve(out, 64 * 1024)) && (n = read(fd, at, 64 * 1024)) > 0;)
        out->len += (size_t)n;
    if (out->data)
        out->data[out->len] = '\0';
    close(fd);
    return n == 0;
}

/* Tests run side by side: the abstract socket is a lock on the number that goes when the test does. */
static bool lock_port(uint16_t port)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int len = snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "atalaya-test-port-%u", port);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);

    cr_assert(fd >= 0);
    if (bind(fd, (struct sockaddr *)&a, size) == 0)
        return true; /* held open on purpose */
    close(fd);
    return false;
}

static bool can_bind(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert(fd >= 0);
    bool ok = bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return ok;
}

uint16_t free_port(void)
{
    for (int tries = 0; tries < 1000; tries++) {
        uint16_t port = (uint16_t)(PORT_FIRST + id_u32() % PORT_COUNT);
        if (can_bind(port) && lock_port(port))
            return port;
    }
    cr_assert_fail("no free port");
    return 0;
}
