/*
 * child.h - the life of one child: a state × event table
 *
 *   waiting --deadline--> starting --newline--> ready --stop--> stopping --left--> gone
 *      ^                     |  \                 |                 \
 *      |                     |   deadline         |                  deadline --> killing --left--> gone
 *      |                     |    \--> hung       |
 *      +------- died --------+----------+---------+
 *                            bad usage, bad configuration, too many deaths --> gone
 *
 * Purpose  every change of state is one cell of the table in child.c and one small function.
 * Owner    struct child and struct crew are the caller's, static; nothing is allocated here.
 * Threads  one.
 * Units    milliseconds of clock_ms(), absolute.
 * Limits   the constants below.
 */
#ifndef ATALAYA_SUPERVISOR_CHILD_H
#define ATALAYA_SUPERVISOR_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/log.h"
#include "supervisor/spawn.h"

#define CHILD_NEVER    INT64_MAX
#define CHILD_WHY_SIZE 480

#define READY_TIMEOUT_MS 30000 /* not ready by then: killed, which counts as an unhealthy death */
#define HEALTHY_MS       1000  /* ready for this long: the next death is nobody's fault, restart at once */
#define BACKOFF_BASE_MS  100
#define BACKOFF_CAP_MS   5000
#define DEATHS_MAX       10 /* unhealthy ones in a row; then the layer above shall act */
#define FIRST_DEATHS_MAX                                                                                     \
    5 /* the same for one that has never been ready and is refused something by the system */
#define STOP_GRACE_MS 1000 /* what a child gets on top of its own drain timeout before it is killed */
#define HURRY_MS      1000 /* the same after a second TERM */
#define KILL_TIMEOUT_MS                                                                                      \
    5000 /* a process that survives KILL this long hangs in the kernel: go on without it */

enum child_state {
    CHILD_WAITING, /* for its turn or for the end of its backoff */
    CHILD_STARTING,
    CHILD_READY,
    CHILD_HUNG, /* killed because it was not ready in time; will be started again */
    CHILD_STOPPING,
    CHILD_KILLING, /* killed because it did not stop */
    CHILD_GONE,    /* for good */
    CHILD_STATES,
};

enum child_event {
    EVENT_DEADLINE, /* of the state it is in */
    EVENT_READY,
    EVENT_DIED,    /* any end, except: */
    EVENT_REFUSED, /* exit 64 or 78: would fail again */
    EVENT_STOP,
    EVENT_HURRY, /* stop now */
    EVENT_RELOAD,
    EVENTS,
};

/* What the children of one supervisor share. */
struct crew {
    struct spawn_plan plans[ROLES];
    int64_t now;              /* of this turn */
    int64_t stop_ms;          /* from TERM to KILL */
    bool changed;             /* a child's state; the status file is behind */
    int give_up;              /* exit code that a child's fate asks for; 0: none */
    char why[CHILD_WHY_SIZE]; /* of give_up, for the last line */
    bool serving;             /* others than telemetry run too: its deaths never end them (P5) */
    bool patient;             /* no death ends anything */
};

struct child {
    struct crew *crew;
    enum role role;
    int index;
    enum child_state state;
    int64_t deadline;
    int64_t since_us; /* wall time of the last change of state */
    int64_t spawned_at;
    int64_t ready_at; /* 0: not yet in this life */
    bool was_ready;   /* in any of its lives */
    pid_t pid;        /* 0: none */
    int ready_fd;     /* -1: none */
    unsigned lives;
    unsigned deaths; /* unhealthy ones in a row */
    bool has_ended;
    int last_end;            /* wait status */
    char said[LOG_SAID_MAX]; /* why it could not come up, in its own words */
};

void child_init(struct child *c, struct crew *crew, enum role role, int index);
void child_start(struct child *c); /* its role's turn has come */
void child_event(struct child *c, enum child_event e);
void child_readable(struct child *c); /* ready_fd has something to say */
void child_reaped(struct child *c, int wait_status);

const char *child_state_name(enum child_state s);

#endif
