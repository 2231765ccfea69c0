/*
 * child.h - the contract between the supervisor and a child (docs/child-contract.md)
 *
 * Purpose  names, numbers and exit codes that both sides share. The child is told by two environment
 *          variables which inherited descriptors are its own; without them it runs unsupervised, which is
 *          fine.
 *            CHILD_ENV_READY     write one newline and close it when the service is up; who cannot come up may write
 *                                why there instead, without a newline
 *            CHILD_ENV_LIFELINE  end of file on it: the supervisor is gone, drain and leave
 * Signals  TERM drain; TERM again, or INT: now; HUP reload what can be reloaded.
 * Threads  child_ready() from one thread, once.
 */
#ifndef ATALAYA_PROC_CHILD_H
#define ATALAYA_PROC_CHILD_H

#define CHILD_ENV_READY    "ATALAYA_READY_FD"
#define CHILD_ENV_LIFELINE "ATALAYA_LIFELINE_FD"
#define CHILD_READY_FD     3
#define CHILD_LIFELINE_FD  4

/* Exit codes (sysexits.h has the numbers). */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_USAGE = 64,       /* called wrongly: never restarted */
    EXIT_SOFTWARE = 70,    /* internal error: restarted with backoff */
    EXIT_ENVIRONMENT = 75, /* the system refuses something (port taken, disk full): restarted with backoff */
    EXIT_CONFIG = 78,      /* bad configuration: never restarted */
};

void child_ready(void);             /* tells the supervisor, if there is one */
void child_failed(const char *why); /* instead of child_ready(), before leaving; after it nothing happens */
int child_lifeline_fd(void);        /* -1 without a supervisor */

#endif
