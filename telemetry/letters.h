/*
 * letters.h - dead letters: what a destination refuses for good, looked at and sent again
 *
 * Purpose  letters_print() and letters_replay() are commands (`atalaya telemetry dead-letters`, `atalaya telemetry
 *          replay`) and work on the spool beside a telemetry that runs. They only say what is wanted; the telemetry that
 *          owns the spool looks for that every second (letters_watch()) and puts it back among the records, from where it
 *          goes to the destination that has refused it. Nothing goes to a destination that is not configured any more:
 *          such a letter stays, and the log says so.
 * Promise  no word of a question or an answer is printed (refusal.h). Who reads slowly what is printed does not keep
 *          the spool from tidying itself.
 * Threads  the loop's; the commands need none.
 * Errors   the commands return an exit code and have said on stderr what is wrong.
 */
#ifndef ATALAYA_TELEMETRY_LETTERS_H
#define ATALAYA_TELEMETRY_LETTERS_H

#include "common/proc/loop.h"
#include "telemetry/spool.h"

int letters_print(void);
int letters_replay(int n, char *const *ids); /* numbers, or "--all" alone */

struct letters {
    struct loop *loop;
    struct spool *spool;
    struct loop_timer timer;
    int64_t needed;                       /* the bits of all destinations */
    void (*revived)(void *arg);           /* there are new rows */
    void (*broken)(void *arg, int error); /* the spool failed */
    void *arg;
};

/* The caller has set all but the timer; the struct stays where it is. */
void letters_watch(struct letters *l);
void letters_stop(struct letters *l);

#endif
