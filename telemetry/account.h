/*
 * account.h - which event counts where
 *
 * Purpose  the one place that turns events into numbers. metric_table.c says what each metric means.
 *          An answer without a call of its own (from the cache, or shared with the same question) counts as an answer
 *          and costs nothing.
 * Threads  the loop's.
 */
#ifndef ATALAYA_TELEMETRY_ACCOUNT_H
#define ATALAYA_TELEMETRY_ACCOUNT_H

#include "common/wire/event.h"
#include "telemetry/metrics.h"

/* Reasons of atalaya_records_dropped_total. */
#define DROPPED_SPOOL_FULL    "spool_full"    /* SPOOL_MAX_BYTES reached: the oldest went */
#define DROPPED_SPOOL_AGE     "spool_age"     /* older than SPOOL_MAX_AGE_HOURS */
#define DROPPED_SPOOL_DAMAGED "spool_damaged" /* in a file that was moved aside */
#define DROPPED_SPOOL_ERROR   "spool_error"   /* the disk refused */
#define DROPPED_DISK_FULL     "disk_full" /* the oldest went for new ones; when nothing helped, the new ones */
#define DROPPED_SENDER        "sender"    /* the buffer of a gateway or worker was full */
#define DROPPED_UNREADABLE    "unreadable" /* an event that cannot be decoded */

/* Reasons of atalaya_rejected_records_total. */
#define REJECTED_REFUSED   "refused"   /* as malformed */
#define REJECTED_TOO_LARGE "too_large" /* for its size, also after trimming */
#define REJECTED_FAILED    "failed"    /* the server fails at it, and takes others */

void account_begin(struct metrics *m); /* known series start at 0, so that rates see their first step */
void account_event(struct metrics *m, const struct event *e);
void account_dropped(struct metrics *m, const char *reason, double n);

#endif
