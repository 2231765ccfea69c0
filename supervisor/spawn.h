/*
 * spawn.h - starts a child as docs/child-contract.md says
 *
 * Purpose  own process group, default signals, descriptors 0-2 (0 is /dev/null), 3 ready, 4 life-line,
 *          nothing else; only the environment of its kind.
 * Owner    *ready_fd is the caller's to close. spawn_env() allocates and is for the start only;
 *          spawn_env_free() takes NULL.
 * Errors   0 or -errno, also of a failed execve(2) in the child: a pid means that the program runs.
 */
#ifndef ATALAYA_SUPERVISOR_SPAWN_H
#define ATALAYA_SUPERVISOR_SPAWN_H

#include <sys/types.h>

#include "common/base/attr.h"
#include "supervisor/settings.h"

struct spawn_plan {
    const char *path;
    const char *name; /* argv[0] */
    char **env;
    int lifeline; /* the reading end */
};

/* What of `from` this kind gets, the folders as resolved, and the numbers of the inherited descriptors. */
char **spawn_env(const struct kind *k, char *const *from, const struct settings *s);
void spawn_env_free(char **env);

int spawn(const struct spawn_plan *plan, pid_t *pid, int *ready_fd) NODISCARD;

#endif
