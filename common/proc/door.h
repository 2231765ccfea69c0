/*
 * door.h - what both of our civetweb servers need around civetweb
 *
 * Purpose  door_check(): civetweb says only that it cannot bind; people need to know to what, why, and what to do.
 *          door_knock(): civetweb's accepting thread looks whether it shall stop once in two seconds, or when somebody
 *          connects. A thread of ours connects until it is told that the server has stopped, so a drain ends at once.
 * Owner    door_answered() takes the handle of door_knock() back (NULL is fine).
 * Threads  one caller.
 * Errors   door_check(): 0 or -errno, having logged why. Knocking has none: without the thread a stop takes longer.
 */
#ifndef ATALAYA_PROC_DOOR_H
#define ATALAYA_PROC_DOOR_H

#include "common/base/attr.h"

struct knock;

/* host: the IPv4 address to listen on. The variables are named in the message. */
int door_check(const char *host, int port, const char *host_variable, const char *port_variable) NODISCARD;

struct knock *door_knock(const char *host, int port);
void door_answered(struct knock *k);

#endif
