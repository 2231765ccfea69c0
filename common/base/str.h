/*
 * str.h - a borrowed run of bytes: not terminated, never owned by whoever holds it
 */
#ifndef ATALAYA_BASE_STR_H
#define ATALAYA_BASE_STR_H

#include <stddef.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

static inline struct str str_of(const char *s)
{
    return (struct str){s, s ? strlen(s) : 0};
}

static inline int str_eq(struct str a, const char *b)
{
    return a.n == strlen(b) && (a.n == 0 || memcmp(a.p, b, a.n) == 0);
}

/* As much as fits, with a NUL behind it; how much that is. */
static inline size_t str_copy(char *to, size_t room, struct str from)
{
    size_t n = from.n < room - 1 ? from.n : room - 1;

    if (n)
        memcpy(to, from.p, n);
    to[n] = '\0';
    return n;
}

#endif
