/*
 * notify.h - tells systemd how the service is
 *
 * Purpose  the datagrams of sd_notify(3), without its library: to the socket that NOTIFY_SOCKET names, a path or, after
 *          an @, an abstract name. Without the variable every call does nothing.
 * Promise  never waits: a datagram that the socket does not take at once is lost, so whoever calls tells the whole state
 *          each time.
 * Owner    one socket for the life of the process.
 * Threads  one.
 * Errors   none that stop anybody: a socket that cannot be reached is logged once.
 * Limits   a datagram has NOTIFY_MAX bytes; a longer one is not sent.
 */
#ifndef ATALAYA_SUPERVISOR_NOTIFY_H
#define ATALAYA_SUPERVISOR_NOTIFY_H

#include <stdint.h>

#include "common/base/attr.h"

#define NOTIFY_MAX 512

/* Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment. */
void notify_open(void);
void notify_close(void);

/* Lines NAME=value, as sd_notify(3) lists them. */
void notify(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* How often the service manager wants to hear WATCHDOG=1, in milliseconds, with reserve; 0: never. */
int64_t notify_watchdog_ms(void);

#endif
