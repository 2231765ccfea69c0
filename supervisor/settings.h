/*
 * settings.h - everything the supervisor is told, checked before anything is started
 *
 * Purpose  the .env file, the few variables that are the supervisor's own, the folders, the programs
 *          beside it.
 * Owner    one struct for the life of the process.
 * Threads  before any thread starts.
 * Errors   an exit code of child.h; has logged what was wrong with which variable.
 */
#ifndef ATALAYA_SUPERVISOR_SETTINGS_H
#define ATALAYA_SUPERVISOR_SETTINGS_H

#include <limits.h>
#include <stdbool.h>

#include "common/base/attr.h"
#include "common/proc/dirs.h"
#include "supervisor/table.h"

struct settings {
    bool wanted[ROLES];
    int count[ROLES]; /* 0: not wanted */
    int64_t drain_ms;
    char run_dir[DIRS_PATH_MAX];
    char state_dir[DIRS_PATH_MAX]; /* empty without telemetry: nobody else keeps state */
    char programs[ROLES][PATH_MAX];
};

/* s->wanted is set by the caller, the rest is filled. */
int settings_load(struct settings *s) NODISCARD;

/* The .env file and the run folder only: what `atalaya status` needs. */
int settings_find_run_dir(char run_dir[DIRS_PATH_MAX]) NODISCARD;

int number_read(const struct number *n, int64_t *out) NODISCARD;

#endif
