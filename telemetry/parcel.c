#include "telemetry/parcel.h"

#include <stdlib.h>

#include "common/base/mem.h"
#include "telemetry/account.h"
#include "telemetry/text.h"

#define REFUSAL_MAX 500 /* bytes of what a server says */

struct parcel *parcel_new(size_t cap)
{
    struct parcel *p = xcalloc(1, sizeof *p + cap * sizeof *p->rows);

    p->cap = cap;
    return p;
}

void parcel_free(struct parcel *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        free(p->rows[i].refusal);
    free(p);
}

struct parcel *parcel_split(struct parcel *p, size_t n)
{
    struct parcel *rest = parcel_new(p->n - n);

    rest->n = p->n - n;
    memcpy(rest->rows, p->rows + n, rest->n * sizeof *rest->rows);
    rest->attempt = p->attempt;
    rest->strikes = p->strikes;
    rest->half = p->half;
    rest->seen = p->seen;
    p->n = n;
    p->same = false;
    return rest;
}

void parcel_refuse(struct row *row, int status, struct str message)
{
    struct buf text = BUF_INIT(4 * REFUSAL_MAX);

    if (row->refusal)
        return;
    buf_printf(&text, "%d ", status);
    text_clean(&text, (struct str){message.p, message.n < REFUSAL_MAX ? message.n : REFUSAL_MAX});
    row->refusal = xstrdup(text.data);
    buf_free(&text);
}

void parcels_put(struct parcels *ps, struct parcel *p, int64_t due)
{
    struct parcel **at = &ps->queue;

    p->due = due;
    while (*at)
        at = &(*at)->next;
    p->next = NULL;
    *at = p;
}

struct parcel *parcels_take(struct parcels *ps, int64_t now)
{
    for (struct parcel **at = &ps->queue; *at; at = &(*at)->next) {
        struct parcel *p = *at;
        if (p->due > now)
            continue;
        *at = p->next;
        return p;
    }
    return NULL;
}

int64_t parcels_due(const struct parcels *ps)
{
    int64_t at = INT64_MAX;

    for (const struct parcel *p = ps->queue; p; p = p->next)
        at = p->due < at ? p->due : at;
    return at;
}

void parcels_hurry(struct parcels *ps)
{
    for (struct parcel *p = ps->queue; p; p = p->next)
        p->due = 0;
}

void parcels_free(struct parcels *ps)
{
    struct parcel *p;

    while ((p = ps->queue) != NULL) {
        ps->queue = p->next;
        parcel_free(p);
    }
}

/* Rows in a row with the same fate are told in one sentence. */
static bool same_fate(const struct row *a, const struct row *b)
{
    return b->dirty && b->seq == a->seq + 1 && b->stage == a->stage && !a->refusal && !b->refusal &&
           a->unsampled == b->unsampled && a->skipped == b->skipped;
}

static int settle_rows(struct parcel *p, const struct parcel_books *b)
{
    int rc = 0;

    for (size_t i = 0; i < p->n && rc == 0; i++) {
        struct row *first = &p->rows[i], *last = first;
        if (!first->dirty)
            continue;
        for (; i + 1 < p->n && same_fate(last, last + 1); i++)
            last++;
        if (first->refusal)
            rc = spool_bury(b->spool, first->seq, first->seq, RECORD_EVERYWHERE & ~first->lost,
                            str_of(first->refusal));
        if (rc == 0)
            rc = spool_settle(b->spool, first->seq, last->seq, first->stage & b->all, b->needed,
                              &first->still_there);
    }
    return rc;
}

static void count(const struct parcel *p, const struct parcel_books *b, double sign)
{
    for (const struct row *row = p->rows; row < p->rows + p->n; row++) {
        double n = sign * (double)row->still_there;
        if (n == 0 || row->skipped || (row->stage & b->all) != b->all)
            continue;
        if (row->rejected)
            metrics_add(b->metrics, METRIC_REJECTED, METRIC_WITH(b->destination, row->rejected), n);
        else
            metrics_add(b->metrics, row->unsampled ? METRIC_UNSAMPLED : b->taken, METRIC_PLAIN, n);
    }
}

static void forget_finished(struct parcel *p, const struct parcel_books *b)
{
    size_t n = 0;

    for (size_t i = 0; i < p->n; i++) {
        p->rows[i].dirty = false;
        if ((p->rows[i].stage & b->all) != b->all)
            p->rows[n++] = p->rows[i];
        else
            free(p->rows[i].refusal);
    }
    p->n = n;
}

int parcel_settle(struct parcel *p, const struct parcel_books *b)
{
    bool dirty = false;

    for (size_t i = 0; i < p->n; i++) {
        dirty = dirty || p->rows[i].dirty;
        p->rows[i].still_there = 0;
    }
    if (!dirty)
        return 0;
    int rc = spool_begin(b->spool);
    if (rc == 0)
        rc = settle_rows(p, b);
    count(p, b, 1);
    if (rc == 0)
        rc = metrics_save(b->metrics, b->spool);
    if (rc == 0)
        rc = spool_commit(b->spool);
    if (rc < 0) {
        spool_rollback(b->spool);
        count(p, b, -1);
        return rc;
    }
    metrics_saved(b->metrics);
    forget_finished(p, b);
    return 0;
}
