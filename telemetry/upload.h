/*
 * upload.h - carries records from the spool to one destination: Langfuse, or any OTLP backend
 *
 * Purpose  parcels of records in the spool's order, several requests in flight. To an OTLP backend a parcel is one
 *          request. To Langfuse it goes in two steps: its traces (OTLP, protobuf, gzip; or an ingestion batch, as
 *          server.h says), then its scores (ingestion batch); a row whose trace is there but whose scores are not is
 *          marked, and only these go again. A client's score is such a row from the start.
 *          Each destination has its own struct upload, its own place in the spool and its own bits in a row's stage:
 *          one that is away does not hold up another. A row is deleted when all destinations have it.
 * Promise  P3: a row leaves the spool only when each destination has taken it or has refused it for good, which is
 *          counted, logged, and kept among the dead letters with the reason. Everything else is tried again for as
 *          long as the spool holds it (upload_policy.h). One that fails again and again where others are taken is looked
 *          for by halving, so that it holds up nobody, and counts as refused in the end; when nothing is taken, nothing
 *          is refused for failing. A death between an answer and its commit sends the same ids
 *          again, which Langfuse merges.
 *          P5: nothing here waits; the loop goes on while a destination thinks.
 * Owner    borrows spool and metrics; the strings of upload_conf are kept, not copied.
 * Threads  the loop's.
 * Limits   UPLOAD_FLIGHTS requests at once, UPLOAD_BATCH_BYTES each (one record may be larger).
 */
#ifndef ATALAYA_TELEMETRY_UPLOAD_H
#define ATALAYA_TELEMETRY_UPLOAD_H

#include "common/proc/loop.h"
#include "telemetry/metrics.h"
#include "telemetry/pairs.h"
#include "telemetry/spool.h"
#include "telemetry/trace.h"

struct upload;

/* What metrics call them. */
#define UPLOAD_LANGFUSE "langfuse"
#define UPLOAD_OTLP     "otlp"

enum upload_kind { UPLOAD_TO_LANGFUSE, UPLOAD_TO_OTLP };

struct upload_conf {
    enum upload_kind kind;
    const char *url; /* of Langfuse, without a slash at the end; of an OTLP backend, whole */
    struct trace_conf trace;
    const char *ca_file, *ca_dir;
    int64_t flush_at, flush_interval_ms, timeout_ms;
    int64_t needed; /* the stage that a row must have to be deleted: the bits of all destinations */

    const char *public_key, *secret_key; /* Langfuse */
    double sample_rate;                  /* Langfuse: of 1 */

    const char *service;                     /* OTLP: "" = ours */
    const struct pair *attributes, *headers; /* OTLP */
    size_t n_attributes, n_headers;
    bool plain; /* OTLP: without gzip */

    void (*broken)(void *arg, int error); /* the spool failed */
    void (*drained)(void *arg);           /* after upload_drain(): nothing is under way any more */
    void *arg;
};

/* Before the first of them, in a new life: rows go that an earlier one has kept for a destination that is not among
 * `needed`. Without luck the next life does it. */
void upload_sweep(struct spool *s, int64_t needed);
struct upload *upload_new(struct loop *l, const struct upload_conf *c, struct spool *s, struct metrics *m);
void upload_free(
    struct upload *u); /* NULL: nothing. What is under way is given up; its rows are still in the spool */

void upload_wake(struct upload *u); /* new rows are in the spool */

/* Sends what waits without waiting for more. Ends with `drained`, also when the destination does not take it. */
void upload_drain(struct upload *u);

#endif
