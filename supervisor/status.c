#include "supervisor/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/proc/dirs.h"
#include "supervisor/lock.h"

#define PATH_SIZE     (DIRS_PATH_MAX + 16)
#define DURATION_SIZE 32

void status_end(char out[STATUS_END_SIZE], bool has_ended, int wait_status)
{
    if (!has_ended)
        snprintf(out, STATUS_END_SIZE, "-");
    else if (WIFEXITED(wait_status))
        snprintf(out, STATUS_END_SIZE, "exit:%d", WEXITSTATUS(wait_status));
    else if (sigabbrev_np(WTERMSIG(wait_status)))
        snprintf(out, STATUS_END_SIZE, "signal:%s", sigabbrev_np(WTERMSIG(wait_status)));
    else
        snprintf(out, STATUS_END_SIZE, "signal:%d", WTERMSIG(wait_status));
}

size_t status_format(char out[STATUS_TEXT_MAX], const struct status_line *lines, size_t n)
{
    size_t len = 0;

    out[0] = '\0';
    for (; n > 0; n--, lines++) {
        int put = snprintf(out + len, STATUS_TEXT_MAX - len, "%s %d %d %s %s %u %s\n", lines->role,
                           lines->index, lines->pid, lines->state, lines->since, lines->restarts, lines->end);
        if (put < 0 || (size_t)put >= STATUS_TEXT_MAX - len)
            break;
        len += (size_t)put;
    }
    out[len] = '\0';
    return len;
}

int status_parse(const char *text, struct status_line lines[STATUS_LINES_MAX], size_t *n)
{
    *n = 0;
    while (*text) {
        struct status_line l;
        const char *end = strchr(text, '\n');

        if (!end || *n == STATUS_LINES_MAX)
            return -EBADMSG;
        if (sscanf(text, "%15s %d %d %15s %27s %u %23s", l.role, &l.index, &l.pid, l.state, l.since,
                   &l.restarts, l.end) != 7)
            return -EBADMSG;
        lines[(*n)++] = l;
        text = end + 1;
    }
    return *n ? 0 : -EBADMSG;
}

static int write_file(const char *path, const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    int rc = 0;

    if (fd < 0)
        return -errno;
    ssize_t put = write(fd, text, len);
    if (put != (ssize_t)len)
        rc = put < 0 ? -errno : -ENOSPC;
    close(fd);
    return rc;
}

int status_write(const char *dir, const struct status_line *lines, size_t n)
{
    static char text[STATUS_TEXT_MAX];
    char path[PATH_SIZE], fresh[PATH_SIZE];

    snprintf(path, sizeof path, "%s/status", dir);
    snprintf(fresh, sizeof fresh, "%s/status.new", dir);
    int rc = write_file(fresh, text, status_format(text, lines, n));
    if (rc == 0 && rename(fresh, path) < 0)
        rc = -errno;
    return rc;
}

void status_remove(const char *dir)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof path, "%s/status", dir);
    unlink(path);
}

static int64_t seconds_since(const char *rfc3339, int64_t now_us)
{
    struct tm tm = {0};
    const char *rest = strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t seconds = rest ? now_us / 1000000 - (int64_t)timegm(&tm) : 0;

    return seconds > 0 ? seconds : 0;
}

/* 59 s · 59 min · 47 h · days */
static void duration(char out[DURATION_SIZE], int64_t s)
{
    long long n = (long long)s;

    if (n < 60)
        snprintf(out, DURATION_SIZE, "%lld s", n);
    else if (n < 3600)
        snprintf(out, DURATION_SIZE, "%lld min", n / 60);
    else if (n < 48 * 3600)
        snprintf(out, DURATION_SIZE, "%lld h", n / 3600);
    else
        snprintf(out, DURATION_SIZE, "%lld days", n / 86400);
}

void status_print(FILE *out, const struct status_line *lines, size_t n, int64_t now_us)
{
    char age[DURATION_SIZE], name[2 * STATUS_NAME_SIZE];

    fprintf(out, "%-14s %7s  %-9s %-9s %8s  %s\n", "PROCESS", "PID", "STATE", "FOR", "RESTARTS", "LAST EXIT");
    for (size_t i = 1; i < n; i++) {
        const struct status_line *l = &lines[i];

        snprintf(name, sizeof name, "%s %d", l->role, l->index);
        duration(age, seconds_since(l->since, now_us));
        fprintf(out, "%-14s %7d  %-9s %-9s %8u  %s\n", name, l->pid, l->state, age, l->restarts, l->end);
    }
    duration(age, seconds_since(lines[0].since, now_us));
    fprintf(out, "supervisor %d %s, up %s\n", lines[0].pid, lines[0].state, age);
}

static int read_file(const char *dir, char text[STATUS_TEXT_MAX])
{
    char path[PATH_SIZE];

    snprintf(path, sizeof path, "%s/status", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, text, STATUS_TEXT_MAX - 1);
    int rc = n < 0 ? -errno : 0;
    text[n > 0 ? n : 0] = '\0';
    close(fd);
    return rc;
}

static bool all_ready(const struct status_line *lines, size_t n)
{
    bool all = strcmp(lines[0].state, "running") == 0;

    for (size_t i = 1; i < n; i++)
        all = all && strcmp(lines[i].state, "ready") == 0;
    return all;
}

int status_show(const char *dir)
{
    static struct status_line lines[STATUS_LINES_MAX];
    static char text[STATUS_TEXT_MAX];
    pid_t holder;
    size_t n = 0;

    int rc = lock_probe(dir, &holder);
    if (rc == 0) {
        printf("atalaya is not running in %s (another instance? name its folder in ATALAYA_RUN_DIR)\n", dir);
        return STATUS_NOT_RUNNING;
    }
    if (rc == -EWOULDBLOCK)
        rc = read_file(dir, text);
    if (rc == -ENOENT) {
        printf("atalaya (pid %ld) is just starting or stopping\n", (long)holder);
        return STATUS_NOT_READY;
    }
    if (rc == 0)
        rc = status_parse(text, lines, &n);
    if (rc < 0) {
        fprintf(stderr, "cannot read %s/status: %s\n", dir, strerror(-rc));
        return STATUS_NOT_READY;
    }
    status_print(stdout, lines, n, wall_us());
    return all_ready(lines, n) ? STATUS_ALL_READY : STATUS_NOT_READY;
}
