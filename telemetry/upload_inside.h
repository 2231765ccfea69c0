/*
 * upload_inside.h - what the files of the uploader share
 *
 * Purpose  upload.c says when a parcel goes, upload_load.c makes its requests, upload_answer.c decides by the answer.
 * Owner    one struct upload a destination.
 * Threads  the loop's.
 */
#ifndef ATALAYA_TELEMETRY_UPLOAD_INSIDE_H
#define ATALAYA_TELEMETRY_UPLOAD_INSIDE_H

#include "telemetry/otlp.h"
#include "telemetry/parcel.h"
#include "telemetry/post.h"
#include "telemetry/server.h"
#include "telemetry/upload.h"
#include "telemetry/upload_policy.h"

#define UPLOAD_PROBE_MS       30000 /* between two tries when keys or address are wrong */
#define UPLOAD_SPOOL_RETRY_MS 1000
#define UPLOAD_PATIENCE       4                     /* failures of a parcel before it is suspected itself */
#define UPLOAD_VERDICTS       8                     /* of a record, alone, before it is given up */
#define UPLOAD_SCOUT_MS       (2 * UPLOAD_PROBE_MS) /* between two scouts */
#define UPLOAD_PROBES         (4 * UPLOAD_FLIGHTS)  /* parcels while nothing is taken */

#define UPLOAD_SECRETS_MAX (2 * OTEL_PAIRS_MAX + 3)

struct gzip;

/* One request at a time, and what it sends. */
struct flight {
    struct upload *upload;
    struct post *post;
    struct parcel *parcel; /* NULL: free */
    enum upload_target target;
    enum upload_target form; /* of its traces */
    struct buf traces;       /* a compressed export, or a batch */
    struct buf scores;
    size_t n_events, n_scores;
    size_t answered;   /* where the search for the next verdict's row starts */
    bool not_accepted; /* the server has said that it takes no traces in a batch */
};

struct upload {
    struct upload_conf conf;
    struct loop *loop;
    struct spool *spool;
    struct metrics *metrics;
    struct parcel_books books;
    struct otlp *otlp;
    struct gzip *gzip;
    struct post_client *client;
    struct post_target *targets[UPLOAD_TARGETS];
    struct str secrets[UPLOAD_SECRETS_MAX]; /* that the destination's words must not bring back */
    size_t n_secrets;
    char *basic; /* one of them: what HTTP Basic makes of the keys */
    struct flight flights[UPLOAD_FLIGHTS];
    struct loop_timer timer;

    struct server server; /* Langfuse */
    struct post *asking;  /* for its version */
    struct post_target *health;
    bool asks;

    struct parcels parcels;
    struct tally tally[UPLOAD_TARGETS];
    size_t in_air;
    int64_t cursor;  /* rows up to here are in parcels, or done */
    int64_t scouted; /* the same, of scouts */
    int64_t scout_due;
    int64_t flush_due; /* when the rows behind it go, however few; 0 = there are none */
    int64_t hold_until;
    unsigned failures; /* in a row */
    bool holding;      /* until an answer is good again, one request at a time */
    bool again;        /* the last that left was no new one */
    bool draining, drain_failed, drained;
};

/* upload.c */
void upload_pump(struct upload *u);
int upload_settle(struct upload *u, struct parcel *p); /* a failure has been told to `broken` */
void upload_hold(struct upload *u, int64_t ms);
void upload_warn(struct upload *u, int status, const char *error, const char *text);
void upload_post(struct flight *f, enum upload_target target);
void upload_land(struct flight *f, int64_t due); /* it goes on, or is done */
void upload_land_failed(struct flight *f,
                        int64_t due); /* the same; draining does not begin anything new then */
void upload_go_on_with_scores(struct flight *f);
size_t upload_undecided(const struct upload *u,
                        bool suspects); /* parcels; those that may be at fault included or not */

/* upload_load.c: the parcel's rows, or the next ones of the spool when it has none yet, become requests. */
int upload_load(struct flight *f) NODISCARD;

/* upload_answer.c */
void upload_answered(void *arg, const struct post_answer *a);

static inline void row_has(struct row *row, int64_t bits)
{
    row->stage |= bits;
    row->dirty = true;
}

static inline bool row_is_done(const struct upload *u, const struct row *row)
{
    return (row->stage & u->books.all) == u->books.all;
}

static inline bool parcel_is_suspect(const struct parcel *p)
{
    return p->strikes >= UPLOAD_PATIENCE;
}

/* Its trace, or all of it for an OTLP backend. */
static inline int64_t trace_bit(const struct upload *u)
{
    return u->conf.kind == UPLOAD_TO_LANGFUSE ? RECORD_TRACE_SENT : RECORD_EXPORTED;
}

#endif
