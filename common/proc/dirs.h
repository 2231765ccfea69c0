/*
 * dirs.h - where sockets and state live
 *
 * Purpose  ATALAYA_RUN_DIR, else $RUNTIME_DIRECTORY (systemd), else /run/atalaya where it can be
 *          written, else $XDG_RUNTIME_DIR/atalaya, else /tmp/atalaya-UID. ATALAYA_STATE_DIR, else
 *          $STATE_DIRECTORY, else /var/lib/atalaya where it can be written, else
 *          $XDG_STATE_HOME/atalaya, else ~/.local/state/atalaya. The folder is made (mode 0700) when it
 *          is missing.
 * Threads  any.
 * Errors   0 or -errno, with *what (a static text naming the variable) for the message; -ENAMETOOLONG
 *          when a socket inside would not fit into sockaddr_un. A folder in /tmp that belongs to
 *          somebody else is -EPERM. Where no place for the state can be used, that of /var/lib/atalaya counts if it is
 *          there.
 */
#ifndef ATALAYA_PROC_DIRS_H
#define ATALAYA_PROC_DIRS_H

#include "common/base/attr.h"

#define DIRS_PATH_MAX   512
#define DIRS_SOCKET_MAX 24 /* room for the name of a socket inside the run folder */

int dirs_run(char out[DIRS_PATH_MAX], const char **what) NODISCARD;
int dirs_state(char out[DIRS_PATH_MAX], const char **what) NODISCARD;

/* From now on nothing is made: a folder that is missing counts as good when it could be made. For whoever only checks,
 * perhaps as another user. */
void dirs_probe(void);

#endif
