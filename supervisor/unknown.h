/*
 * unknown.h - variables that no program reads although somebody meant one that is read
 *
 * Purpose  a misspelt name is silently a default. Suspicious are ATALAYA_*, in the .env file also the other prefixes
 *          of our variables, and everywhere names that are one or two typing errors away from one of ours.
 * Threads  pure.
 */
#ifndef ATALAYA_SUPERVISOR_UNKNOWN_H
#define ATALAYA_SUPERVISOR_UNKNOWN_H

#include <stdbool.h>
#include <stddef.h>

/* known: what the programs read. *meant is the nearest of them, or NULL when none is near. */
bool unknown_suspicious(const char *name, bool from_file, const char *const *known, size_t n,
                        const char **meant);

#endif
