/*
 * status.h - the status file and the table that people see
 *
 * Format   RUN_DIR/status, replaced as a whole at every change; text, one line a process, fields
 *          with one space between:
 *
 *              role index pid state since restarts last_exit
 *
 *          The first line is the supervisor's own: role "supervisor", index 0, state "running" or
 *          "stopping", since = its start. pid is 0 when there is none. state is waiting, starting, ready,
 *          hung, stopping, killing or gone. since is RFC 3339, UTC. restarts counts this supervisor's.
 *          last_exit is "-", "exit:CODE" or "signal:NAME". More fields may come behind these. After a kill
 *          -9 of the supervisor the file is stale: the lock tells.
 * Threads  one.
 * Errors   0 or -errno; status_show() an exit code.
 */
#ifndef ATALAYA_SUPERVISOR_STATUS_H
#define ATALAYA_SUPERVISOR_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "supervisor/table.h"

#define STATUS_NAME_SIZE 16
#define STATUS_END_SIZE  24
#define STATUS_LINES_MAX (CHILDREN_MAX + 1)
#define STATUS_TEXT_MAX  (STATUS_LINES_MAX * 160)

#define STATUS_ALL_READY   0
#define STATUS_NOT_READY   1
#define STATUS_NOT_RUNNING 3

struct status_line {
    char role[STATUS_NAME_SIZE];
    int index;
    int pid;
    char state[STATUS_NAME_SIZE];
    char since[CLOCK_RFC3339_SIZE];
    unsigned restarts;
    char end[STATUS_END_SIZE];
};

void status_end(char out[STATUS_END_SIZE], bool has_ended, int wait_status);

size_t status_format(char out[STATUS_TEXT_MAX], const struct status_line *lines, size_t n);
int status_parse(const char *text, struct status_line lines[STATUS_LINES_MAX], size_t *n) NODISCARD;

int status_write(const char *dir, const struct status_line *lines, size_t n) NODISCARD;
void status_remove(const char *dir);

void status_print(FILE *out, const struct status_line *lines, size_t n, int64_t now_us);
int status_show(const char *dir); /* `atalaya status` */

#endif
