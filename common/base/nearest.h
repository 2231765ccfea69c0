/*
 * nearest.h - which name was meant
 *
 * Purpose  the distance of two names as typing errors count: a letter too much, missing, wrong, or two neighbours
 *          exchanged (Damerau-Levenshtein, optimal string alignment). Case does not matter.
 * Threads  pure.
 * Limits   names longer than NEAREST_NAME_MAX are near to nothing.
 */
#ifndef ATALAYA_BASE_NEAREST_H
#define ATALAYA_BASE_NEAREST_H

#include <stddef.h>

#define NEAREST_NAME_MAX 64

size_t nearest_distance(const char *a, const char *b);

/* The first of the nearest names, NULL when none is at most `far` away. */
const char *nearest_name(const char *name, const char *const *names, size_t n, size_t far);

#endif
