/*
 * daemon.h - what every daemon does once, around its loop
 *
 * Purpose  --help, --version and what the configuration table can tell (--variables, --configuration, --check),
 *          signals through a signalfd, life-line, descriptor limit, readiness, drain with a deadline. A main.c fills
 *          a struct daemon and calls daemon_run().
 * Threads  call from main() before any thread starts: signals are blocked for all of them.
 * Errors   daemon_run() returns an exit code of child.h.
 *
 * Life     configure() -> init() -> child_ready() -> loop until TERM or end of life-line -> drain() -> the daemon calls
 *          daemon_drained() when nothing is in flight any more, or the drain deadline passes, or a second
 *          TERM or INT comes -> fini() -> exit 0.
 * Limits   a loop that has not turned for DAEMON_HUNG_MS hangs, by a bug or a disk: the process aborts, and
 *          the supervisor starts it again.
 */
#ifndef ATALAYA_PROC_DAEMON_H
#define ATALAYA_PROC_DAEMON_H

#include "common/base/attr.h"
#include "common/base/conf.h"
#include "common/proc/loop.h"

#define DAEMON_HUNG_MS 60000

struct daemon {
    const char *name;                           /* in logs: "gateway" */
    const char *program;                        /* in --help: "atalaya-gateway" */
    const char *purpose;                        /* one line for --help */
    void *self;                                 /* given to the callbacks */
    const struct conf_table *conf;              /* what it reads */
    int (*configure)(void *self);               /* reads it: 0 or -EINVAL, having said why; opens nothing */
    int (*init)(void *self, struct loop *loop); /* 0 or an exit code; has said why on failure */
    void (*drain)(void *self);                  /* stop admitting; may call daemon_drained() at once */
    void (*reload)(void *self);                 /* HUP; may be NULL */
    void (*fini)(void *self); /* also after a failed configure or init; releases everything */
    int64_t drain_ms;         /* set by configure or init */
    int64_t hung_ms;          /* 0: DAEMON_HUNG_MS */
};

int daemon_run(struct daemon *d, int argc, char **argv) NODISCARD;
void daemon_drained(struct daemon *d);

#endif
