/*
 * table.h - the kinds of children: which program, and what of the environment each may see
 *
 * Purpose  the one place that says who gets a secret. Whatever is not on a kind's list does not reach
 *          it.
 * Promise  P8: the provider's key is on the list of llm-worker only, Langfuse's keys on that of
 *          telemetry only, the key of the hashes of user ids on that of the gateway only.
 * Threads  pure.
 */
#ifndef ATALAYA_SUPERVISOR_TABLE_H
#define ATALAYA_SUPERVISOR_TABLE_H

#include <stdbool.h>

#include "common/base/limits.h"

/* In the order of starting; stopping goes back. */
enum role { ROLE_TELEMETRY, ROLE_LLM_WORKER, ROLE_GATEWAY, ROLES };

#define CHILDREN_MAX (LLM_WORKERS_MAX + 2)

struct kind {
    const char *role;
    const char *program;
    const char *const
        *variables; /* names, or PREFIX_*; NULL at the end; besides those that every kind gets */
};

extern const struct kind kinds[ROLES];

int role_parse(const char *name);                           /* a role, or -1 */
bool kind_gets(const struct kind *k, const char *variable); /* variable ends with NUL or '=' */

/* Whether this very name is on a list, and whether a PREFIX_* of a list covers it. */
bool table_has_name(const char *variable);
bool table_has_prefix(const char *variable);

#endif
