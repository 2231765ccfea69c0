/*
 * settings.h - everything the supervisor is told, checked before anything is started
 *
 * Purpose  the .env file, systemd's credentials, the few variables that are the supervisor's own, the folders, the
 *          programs beside it.
 * Owner    one struct for the life of the process.
 * Threads  before any thread starts.
 * Errors   an exit code of child.h; has logged what was wrong with which variable.
 */
#ifndef ATALAYA_SUPERVISOR_SETTINGS_H
#define ATALAYA_SUPERVISOR_SETTINGS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/conf.h"
#include "common/proc/dirs.h"
#include "supervisor/table.h"

struct settings {
    bool wanted[ROLES];
    int count[ROLES]; /* 0: not wanted */
    int64_t llm_workers;
    int64_t drain_ms;
    bool give_up;
    char *env_file, *named_run_dir, *named_state_dir; /* as the variables say */
    char run_dir[DIRS_PATH_MAX];
    char state_dir[DIRS_PATH_MAX]; /* empty without telemetry: nobody else keeps state */
    char programs[ROLES][PATH_MAX];
};

extern const struct conf_table supervisor_conf_table;

/* s->wanted is set by the caller, the rest is filled. Goes on after an error, so that all are told at once. */
int settings_load(struct settings *s) NODISCARD;

/* The .env file and the run folder only: what `atalaya status` needs. */
int settings_find_run_dir(char run_dir[DIRS_PATH_MAX]) NODISCARD;

/* The path of the .env file where this variable comes from it, else NULL. */
const char *settings_env_file_of(const char *variable);

#endif
