#include "telemetry/processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/limits.h"

#define STATUS_MAX (32 * KIB)
#define PATH_SIZE  4200

static bool read_text(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, size - 1);

    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* Seconds since 1970. The kernel computes it from two clocks; asked once, it does not waver. */
static double booted_at(void)
{
    static double at;
    char *line = NULL;
    size_t size = 0;

    FILE *f = at > 0 ? NULL : fopen("/proc/stat", "re");
    while (f && at <= 0 && getline(&line, &size, f) > 0)
        if (strncmp(line, "btime ", 6) == 0)
            at = strtod(line + 6, NULL);
    if (f)
        fclose(f);
    free(line);
    return at;
}

static size_t open_fds(int pid)
{
    char path[64];
    size_t n = 0;

    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static double max_fds(int pid)
{
    char path[64], text[4 * KIB];

    snprintf(path, sizeof path, "/proc/%d/limits", pid);
    const char *line = read_text(path, text, sizeof text) ? strstr(text, "\nMax open files") : NULL;
    return line ? strtod(line + sizeof "\nMax open files", NULL) : 0;
}

/* What the system says of a process; nothing when it has gone. */
static void show_process(struct metrics *m, const char *role, const char *index, int pid)
{
    char path[64], text[KIB];
    uint64_t user, system, start, virtual;
    int64_t pages;
    double ticks = (double)sysconf(_SC_CLK_TCK);

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    const char *rest = pid > 0 && read_text(path, text, sizeof text) ? strrchr(text, ')') : NULL;
    if (!rest || sscanf(rest,
                        ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                        " %*d %*d %*d %*d %*d %*d %" SCNu64 " %" SCNu64 " %" SCNd64,
                        &user, &system, &start, &virtual, &pages) != 5)
        return;
    const char *const labels[METRIC_LABELS] = {index, role};
    metrics_set(m, METRIC_PROCESS_CPU, labels, (double)(user + system) / ticks);
    metrics_set(m, METRIC_PROCESS_RSS, labels, (double)pages * (double)sysconf(_SC_PAGESIZE));
    metrics_set(m, METRIC_PROCESS_VM, labels, (double)virtual);
    metrics_set(m, METRIC_PROCESS_FDS, labels, (double)open_fds(pid));
    metrics_set(m, METRIC_PROCESS_FDS_MAX, labels, max_fds(pid));
    metrics_set(m, METRIC_PROCESS_START, labels, booted_at() + (double)start / ticks);
}

static int take_line(const char *line, struct metrics *m)
{
    char role[32], index[16], state[16];
    unsigned restarts;
    int pid;

    if (sscanf(line, "%31s %15s %d %15s %*s %u", role, index, &pid, state, &restarts) != 5)
        return 0;
    show_process(m, role, index, pid);
    if (strcmp(role, "supervisor") == 0)
        return 0;
    metrics_set(m, METRIC_PROCESS_UP, METRIC_WITH(index, role), strcmp(state, "ready") == 0);
    metrics_set(m, METRIC_PROCESS_RESTARTS, METRIC_WITH(index, role), restarts);
    return pid;
}

void processes_parse(const char *text, struct metrics *m)
{
    bool listed = false;

    for (enum metric id = METRIC_PROCESS_UP; id <= METRIC_PROCESS_START; id++)
        metrics_clear(m, id);
    while (*text) {
        char line[256];
        size_t n = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)n, text);
        listed |= take_line(line, m) == getpid();
        text += n + (text[n] == '\n');
    }
    if (!listed)
        show_process(m, "telemetry", "0", getpid());
}

void processes_read(const char *run_dir, struct metrics *m)
{
    char path[PATH_SIZE], text[STATUS_MAX];

    snprintf(path, sizeof path, "%s/status", run_dir);
    (void)read_text(path, text, sizeof text);
    processes_parse(text, m);
}
