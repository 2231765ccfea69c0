#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "telemetry/genai_otlp.h"
#include "telemetry/gzip.h"
#include "telemetry/langfuse_otlp.h"
#include "telemetry/upload_inside.h"

#define SPARE           (2 * KIB) /* what a record's span may hold beside its text */
#define SCORES_A_RECORD 2
#define TRIMMED         "<truncated due to size exceeding limit>"

static void trim_largest(struct record *r)
{
    struct str *const texts[] = {&r->question, &r->answer, &r->metadata, &r->user_id, &r->error_text};
    struct str *largest = texts[0];

    for (size_t i = 1; i < ARRAY_LEN(texts); i++)
        if (texts[i]->n > largest->n)
            largest = texts[i];
    if (largest == &r->metadata)
        *largest = str_of("");
    else if (largest->n > sizeof TRIMMED + 1)
        *largest = str_of(r->chat && (largest == &r->question || largest == &r->answer) ? "\"" TRIMMED "\""
                                                                                        : TRIMMED);
}

static void add_trace(struct flight *f, struct row *row, const struct record *r)
{
    struct upload *u = f->upload;

    if (f->form == UPLOAD_SPANS) {
        genai_otlp_add(u->otlp, &u->conf.trace, r);
    } else if (f->form == UPLOAD_TRACES) {
        langfuse_otlp_add(u->otlp, &u->conf.trace, r);
    } else {
        if (f->n_events == 0)
            batch_begin(&f->traces);
        row->events = batch_trace(&f->traces, &u->conf.trace, r);
        f->n_events += row->events;
    }
}

static void add_scores(struct flight *f, struct row *row, const struct record *r)
{
    const char *environment = f->upload->conf.trace.environment;

    row->scores = row->feedback ? 1 : r->has_scores ? SCORES_A_RECORD : 0;
    if (row->scores == 0)
        return;
    if (f->n_scores == 0)
        batch_begin(&f->scores);
    f->n_scores += row->scores;
    if (row->feedback)
        batch_feedback(&f->scores, r, environment);
    else
        batch_scores(&f->scores, r, environment);
}

/* A client's score is no span; and what sampling keeps away is done at once. */
static bool is_for(const struct upload *u, struct row *row, const struct record *r)
{
    row->feedback = record_is_feedback(r);
    row->skipped = row->feedback && u->conf.kind == UPLOAD_TO_OTLP;
    if (u->conf.kind == UPLOAD_TO_OTLP)
        return !row->skipped;
    row->unsampled = !trace_is_sampled(r->trace_id, u->conf.sample_rate);
    return !row->unsampled;
}

static void encode(struct flight *f, struct row *row, struct record *r)
{
    struct upload *u = f->upload;

    row->verdicts = row->refused = row->events = row->scores = 0;
    free(row->refusal);
    row->refusal = NULL;
    if (!is_for(u, row, r)) {
        row_has(row, u->books.all);
        return;
    }
    for (unsigned i = 0; i < row->trims; i++)
        trim_largest(r);
    snprintf(row->trace_id, sizeof row->trace_id, "%.*s", (int)r->trace_id.n, r->trace_id.p);
    batch_key(row->key, r);
    if (!(row->stage & trace_bit(u)))
        add_trace(f, row, r);
    if (u->conf.kind == UPLOAD_TO_LANGFUSE)
        add_scores(f, row, r);
}

static bool fits(const struct flight *f, const struct record *r)
{
    size_t more = (size_t)r->bytes + (size_t)r->tries * SPARE + SPARE;

    /* A batch says question and answer twice. */
    return otlp_bytes(f->upload->otlp) + more <= UPLOAD_BATCH_BYTES &&
           f->traces.len + 2 * more <= UPLOAD_BATCH_BYTES && f->scores.len + more <= UPLOAD_BATCH_BYTES;
}

/* The next rows that are in no parcel. */
static int load_new(struct flight *f)
{
    struct upload *u = f->upload;
    struct parcel *p = f->parcel;
    struct record r;
    int64_t *cursor = p->scout ? &u->scouted : &u->cursor;

    if (*cursor < u->cursor)
        *cursor = u->cursor;
    int rc = spool_scan_open(u->spool, *cursor + 1, INT64_MAX, u->books.all);
    while (rc == 0 && p->n < p->cap && (rc = spool_next(u->spool, &r)) > 0) {
        rc = 0;
        if (p->n > 0 && !fits(f, &r))
            break;
        struct row *row = &p->rows[p->n++];
        *row = (struct row){.seq = r.seq, .stage = r.stage & u->books.all};
        encode(f, row, &r);
        *cursor = r.seq;
    }
    if (rc == 0 && p->n == 0)
        *cursor = p->scout ? u->cursor : spool_last(u->spool); /* a scout's round begins again */
    spool_scan_end(u->spool);
    return rc;
}

/* The rows of a parcel that has been under way before; those that the spool has dropped meanwhile leave it. */
static int load_again(struct flight *f)
{
    struct upload *u = f->upload;
    struct parcel *p = f->parcel;
    struct record r;
    size_t kept = 0, at = 0;
    int rc = spool_scan(u->spool, p->rows[0].seq, p->rows[p->n - 1].seq);

    while (rc == 0 && (rc = spool_next(u->spool, &r)) > 0) {
        rc = 0;
        while (at < p->n && p->rows[at].seq < r.seq)
            at++;
        if (at == p->n || p->rows[at].seq != r.seq)
            continue;
        p->rows[kept] = p->rows[at++];
        encode(f, &p->rows[kept++], &r);
    }
    spool_scan_end(u->spool);
    if (rc == 0)
        p->n = kept;
    return rc;
}

static void pack(struct flight *f)
{
    struct upload *u = f->upload;
    struct str parts[OTLP_PARTS];

    if (otlp_spans(u->otlp) == 0)
        return;
    otlp_export(u->otlp, parts);
    if (u->conf.plain)
        for (size_t i = 0; i < OTLP_PARTS; i++)
            buf_append(&f->traces, parts[i].p, parts[i].n);
    else
        gzip_pack(u->gzip, &f->traces, parts, OTLP_PARTS);
}

int upload_load(struct flight *f)
{
    struct upload *u = f->upload;

    otlp_reset(u->otlp);
    buf_reset(&f->traces);
    buf_reset(&f->scores);
    f->n_events = f->n_scores = 0;
    f->not_accepted = false;
    f->form = u->conf.kind == UPLOAD_TO_OTLP   ? UPLOAD_SPANS
              : u->server.form == SERVER_BATCH ? UPLOAD_BATCH
                                               : UPLOAD_TRACES;
    int rc = f->parcel->n ? load_again(f) : load_new(f);
    if (rc == 0)
        pack(f);
    otlp_reset(u->otlp);
    if (rc < 0)
        return rc;
    if (f->n_events)
        batch_end(&f->traces);
    if (f->n_scores)
        batch_end(&f->scores);
    return f->traces.failed || f->scores.failed ? -EMSGSIZE : 0;
}
