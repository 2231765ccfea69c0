/*
 * check.h - what holds and what is wrong with it, of all processes, before anything is started
 *
 * Purpose  the supervisor knows no table but its own: it asks the programs beside it, all at once. Wanted roles check
 *          their configuration with what they would be given of the environment (--check); the others only tell which
 *          variables they read (--variables), so that a misspelt name can be told from somebody else's.
 * Promise  P8: a secret is masked by the program that may see it and never comes here.
 * Owner    check_free() takes NULL. For the start only: it allocates.
 * Threads  one.
 * Errors   a program that cannot be asked is a warning: its start will tell.
 * Limits   CHECK_TEXT_MAX of text from each program, CHECK_MS for all of them.
 */
#ifndef ATALAYA_SUPERVISOR_CHECK_H
#define ATALAYA_SUPERVISOR_CHECK_H

#include <stdio.h>

#include "common/base/attr.h"
#include "supervisor/settings.h"

struct check;

/* Fills s (settings_load) and asks. *code is EXIT_DONE, or what the process shall leave with. */
struct check *check_new(struct settings *s, int *code);
void check_free(struct check *c);

void check_log(const struct check *c);              /* warnings and errors, each once */
void check_print(const struct check *c, FILE *out); /* everything, for people and grep */

#endif
