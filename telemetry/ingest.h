/*
 * ingest.h - takes events from the wire, counts them, spools them, acknowledges them
 *
 * Purpose  telemetry's end of the events wire. Messages are collected for TURN_WAIT_MS; then counters, records and
 *          the senders' numbers go into ONE transaction of the spool, and only after its commit the senders are
 *          acknowledged: what is counted is spooled and the other way round.
 * Promise  P2: acknowledged means committed. The one exception keeps P5: when the spool takes nothing even after
 *          a repair (disk full, I/O error), the records are given up, counted as dropped with the reason
 *          "spool_error" and acknowledged all the same, so that they do not pile up in the senders; counters go
 *          on in memory and are written with the next commit that works.
 * Owner    borrows spool and metrics.
 * Threads  the loop's.
 * Errors   ingest_new(): 0 or -errno, having logged why.
 * Limits   TURN_MESSAGES_MAX, TURN_EVENTS_MAX, TURN_BYTES_MAX in a turn; an event that cannot be decoded is
 *          dropped and counted, so that it does not stop those behind it.
 */
#ifndef ATALAYA_TELEMETRY_INGEST_H
#define ATALAYA_TELEMETRY_INGEST_H

#include "common/base/attr.h"
#include "common/proc/loop.h"
#include "common/wire/zsock.h"
#include "telemetry/metrics.h"
#include "telemetry/privacy.h"
#include "telemetry/spool.h"

struct ingest;

struct ingest_conf {
    const char *endpoint;
    bool langfuse_enabled;                                                /* said in every acknowledgement */
    struct privacy *privacy;                                              /* NULL: all is kept */
    void (*stored)(void *arg);                                            /* new records are in the spool */
    void (*page)(void *arg, enum metrics_format format, struct buf *out); /* called between turns */
    void *arg;
};

int ingest_new(struct ingest **out, struct loop *l, struct zwire *w, const struct ingest_conf *c,
               struct spool *s, struct metrics *m) NODISCARD;
void ingest_free(struct ingest *in); /* what waits is not acknowledged: the senders keep it */

void ingest_settle(struct ingest *in); /* reads what is there and finishes the turn now */
/* The spool has failed in other hands: repairs it, and keeps counters and senders in step with what was lost. */
int ingest_repair(struct ingest *in, int error);

/* True when no sender is connected any more. Asks each of them: a message to a peer that has gone fails at once. */
bool ingest_deserted(struct ingest *in);

void ingest_show_gauges(struct ingest *in); /* what the senders have last said, in the metrics */

#endif
