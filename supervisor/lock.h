/*
 * lock.h - one supervisor per folder
 *
 * Purpose  an flock(2) on DIR/supervisor.lock, held as long as the process lives; the file holds its
 *          pid. It is never removed: removing a lock file lets two holders in.
 * Owner    the descriptor belongs to the process and is closed by its end.
 * Threads  any.
 * Errors   0 or -errno; -EWOULDBLOCK when another process holds it, with *holder (0 when unknown).
 */
#ifndef ATALAYA_SUPERVISOR_LOCK_H
#define ATALAYA_SUPERVISOR_LOCK_H

#include <sys/types.h>

#include "common/base/attr.h"

int lock_take(const char *dir, pid_t *holder) NODISCARD;
int lock_probe(const char *dir, pid_t *holder) NODISCARD; /* 0: nobody holds it */

#endif
