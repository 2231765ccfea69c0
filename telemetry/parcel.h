/*
 * parcel.h - records that travel together, and what the spool is told about them
 *
 * Purpose  a parcel is rows of the spool on their way to one destination. parcel_settle() writes down what has become
 *          of them: marks, deletes what no destination waits for any more, buries what was refused, and counts, all in
 *          one transaction.
 * Promise  P3: a row is counted once: as taken, or as rejected with its reason; what the spool has let go meanwhile
 *          has been counted as that.
 * Owner    a parcel is its holder's, or lies in `parcels`.
 * Threads  the loop's.
 * Errors   parcel_settle(): of the spool; nothing has changed then, neither in the spool nor in the counters.
 */
#ifndef ATALAYA_TELEMETRY_PARCEL_H
#define ATALAYA_TELEMETRY_PARCEL_H

#include "telemetry/langfuse_batch.h"
#include "telemetry/metrics.h"
#include "telemetry/spool.h"

struct row {
    int64_t seq;
    int64_t stage; /* bits of record.h */
    bool dirty;    /* stage is not in the spool yet */
    bool feedback;
    bool unsampled;       /* LANGFUSE_SAMPLE_RATE keeps it away */
    bool skipped;         /* nothing for this destination */
    unsigned trims;       /* texts to leave out because it was too large */
    unsigned events;      /* that its trace has become, in a batch */
    unsigned scores;      /* to send */
    unsigned verdicts;    /* on its events or scores, in the answer that is being read */
    unsigned refused;     /* of them */
    char *refusal;        /* why it goes to the dead letters; NULL: it does not */
    int64_t lost;         /* bits that are to be done again when it comes back from there */
    const char *rejected; /* reason, when the destination does not have the record */
    int64_t still_there;  /* rows that the spool still had, of the run that begins here */
    char trace_id[ID_TRACE_SIZE];
    char key[BATCH_KEY_SIZE];
};

/* Requests of a kind: those that were taken, and the failures of parcels that nobody suspects. */
struct tally {
    int64_t taken, failed;
};

struct parcel {
    struct parcel *next;
    unsigned attempt;
    unsigned strikes;  /* failures that may be the fault of what is in it */
    unsigned verdicts; /* of them those, when it was one record, that the server's health speaks against */
    bool half;         /* of one that was found guilty, and has not been tried since */
    bool scout;        /* one record that is not kept here when it comes back */
    bool same;         /* has failed as it is, since it was last split */
    struct tally seen; /* at its last strike */
    int64_t due;
    size_t n, cap;
    struct row rows[];
};

/* Those that wait for their time or for a free flight. */
struct parcels {
    struct parcel *queue;
};

struct parcel *parcel_new(size_t cap);
void parcel_free(struct parcel *p);                      /* NULL: nothing */
struct parcel *parcel_split(struct parcel *p, size_t n); /* it keeps n rows; the rest, as it was */
void parcel_refuse(struct row *row, int status, struct str message); /* keeps the first reason */

void parcels_put(struct parcels *ps, struct parcel *p, int64_t due);
struct parcel *parcels_take(struct parcels *ps, int64_t now); /* the first that is due, or NULL */
int64_t parcels_due(const struct parcels *ps);                /* INT64_MAX: none waits */
void parcels_hurry(struct parcels *ps);                       /* all are due now */
void parcels_free(struct parcels *ps);

/* What parcel_settle() writes to, and for which destination. */
struct parcel_books {
    struct spool *spool;
    struct metrics *metrics;
    int64_t all;    /* bits that this destination needs */
    int64_t needed; /* that a row needs to go: those of all destinations */
    enum metric taken;
    const char *destination; /* as metrics name it */
};

int parcel_settle(struct parcel *p, const struct parcel_books *b) NODISCARD;

#endif
