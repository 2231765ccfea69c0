/*
 * upload.h - carries records from the spool to Langfuse
 *
 * Purpose  parcels of records in the spool's order. A parcel goes in two steps: its spans (OTLP, protobuf, gzip),
 *          then its scores (ingestion batch). A row is deleted when both are done; one whose trace is there but whose
 *          scores are not is marked, and only these go again. A client's score is such a row from the start.
 * Promise  P3: a row leaves the spool only when Langfuse has taken it or has refused it for good, counted and
 *          logged. Everything else is tried again for as long as the spool holds it (upload_policy.h). A death
 *          between an answer and its commit sends the same ids again, which Langfuse merges. A row is counted once:
 *          as taken, or as dropped with its reason; what the spool has let go meanwhile counts as that.
 *          P5: nothing here waits; the loop goes on while Langfuse thinks.
 * Owner    borrows spool and metrics; the strings of upload_conf are kept, not copied.
 * Threads  the loop's.
 * Limits   UPLOAD_FLIGHTS requests at once, UPLOAD_BATCH_BYTES each (one record may be larger).
 */
#ifndef ATALAYA_TELEMETRY_UPLOAD_H
#define ATALAYA_TELEMETRY_UPLOAD_H

#include "common/proc/loop.h"
#include "telemetry/metrics.h"
#include "telemetry/spool.h"

struct upload;

struct upload_conf {
    const char *url; /* of Langfuse, without a slash at the end */
    const char *public_key, *secret_key;
    const char *environment, *release; /* "" = none */
    const char *ca_file, *ca_dir;
    int64_t flush_at, flush_interval_ms, timeout_ms;
    void (*broken)(void *arg, int error); /* the spool failed */
    void (*drained)(void *arg);           /* after upload_drain(): nothing is under way any more */
    void *arg;
};

struct upload *upload_new(struct loop *l, const struct upload_conf *c, struct spool *s, struct metrics *m);
void upload_free(struct upload *u); /* what is under way is given up; its rows are still in the spool */

void upload_wake(struct upload *u); /* new rows are in the spool */

/* Sends what waits without waiting for more. Ends with `drained`, also when Langfuse does not take it. */
void upload_drain(struct upload *u);

#endif
