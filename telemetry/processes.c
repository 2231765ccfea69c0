#include "telemetry/processes.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/limits.h"

#define STATUS_MAX (32 * KIB)
#define PATH_SIZE  4200

static void take_line(const char *line, struct metrics *m)
{
    char role[32], index[16], state[16];
    unsigned restarts;

    if (sscanf(line, "%31s %15s %*s %15s %*s %u", role, index, state, &restarts) != 4)
        return;
    if (strcmp(role, "supervisor") == 0)
        return;
    metrics_set(m, METRIC_PROCESS_UP, METRIC_WITH(index, role), strcmp(state, "ready") == 0);
    metrics_set(m, METRIC_PROCESS_RESTARTS, METRIC_WITH(index, role), restarts);
}

void processes_parse(const char *text, struct metrics *m)
{
    metrics_clear(m, METRIC_PROCESS_UP);
    metrics_clear(m, METRIC_PROCESS_RESTARTS);
    while (*text) {
        char line[256];
        size_t n = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)n, text);
        take_line(line, m);
        text += n + (text[n] == '\n');
    }
}

void processes_read(const char *run_dir, struct metrics *m)
{
    char path[PATH_SIZE], text[STATUS_MAX];

    snprintf(path, sizeof path, "%s/status", run_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    processes_parse(text, m);
}
