/*
 * mem.h - small allocations that succeed or end the process
 *
 * Purpose  crash-only: the supervisor restarts us, so no caller carries a path for a failed small allocation.
 * Owner    the caller frees with free().
 * Threads  any.
 * Limits   what a peer sizes must be capped before it comes here (common/base/limits.h).
 */
#ifndef ATALAYA_BASE_MEM_H
#define ATALAYA_BASE_MEM_H

#include <stddef.h>

void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xmemdup(const void *p, size_t n); /* the copy has a terminating NUL behind its n bytes */

#endif
