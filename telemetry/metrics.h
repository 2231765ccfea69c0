/*
 * metrics.h - counting, keeping and printing the metrics of metric_table.h
 *
 * Purpose  series come into being when they are first counted. What is kept is handed to the spool as "dirty"
 *          series inside the transaction that stores what was counted; metrics_saved() after its commit.
 * Promise  P10: counters agree with what clients saw, across restarts.
 * Owner    label values are copied.
 * Threads  one: the loop's. HTTP threads get finished pages (exposition.h).
 * Limits   METRIC_SERIES_MAX series a metric, METRIC_NAMES_MAX models or scores; what comes later counts as
 *          "other" in every label. A label value is cut at METRIC_LABEL_MAX bytes; one that is no UTF-8 becomes "other".
 */
#ifndef ATALAYA_TELEMETRY_METRICS_H
#define ATALAYA_TELEMETRY_METRICS_H

#include "common/base/accept.h"
#include "common/base/attr.h"
#include "common/base/buf.h"
#include "telemetry/metric_table.h"
#include "telemetry/spool.h"

struct metrics;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/* Label values in the order of the row; missing ones are empty. */
#define METRIC_WITH(...) ((const char *const[METRIC_LABELS]){__VA_ARGS__})
#define METRIC_PLAIN     ((const char *const[METRIC_LABELS]){NULL})

void metrics_add(struct metrics *m, enum metric id, const char *const labels[METRIC_LABELS], double by);
void metrics_set(struct metrics *m, enum metric id, const char *const labels[METRIC_LABELS], double value);
void metrics_raise(struct metrics *m, enum metric id, const char *const labels[METRIC_LABELS],
                   double value); /* to at least that */

/* Where a value comes from: the last one of each bucket or counter is shown beside it, in OpenMetrics only; not kept.
 */
struct exemplar {
    struct str trace_id;   /* no trace id, no exemplar */
    struct str request_id; /* left out when both together are longer than OpenMetrics allows */
    int64_t at_us;         /* wall */
};

void metrics_add_from(struct metrics *m, enum metric id, const char *const labels[METRIC_LABELS], double by,
                      const struct exemplar *x);
void metrics_observe(struct metrics *m, enum metric id, const char *const labels[METRIC_LABELS], double value,
                     const struct exemplar *x);        /* NULL: none */
void metrics_clear(struct metrics *m, enum metric id); /* forgets its series */

int metrics_load(struct metrics *m, struct spool *s) NODISCARD;
bool metrics_dirty(const struct metrics *m);
int metrics_save(struct metrics *m, struct spool *s) NODISCARD; /* inside a transaction */
void metrics_saved(struct metrics *m);                          /* it has been committed */
void metrics_unsaved(struct metrics *m); /* the file was replaced: everything must be written again */

void metrics_print(const struct metrics *m, enum metrics_format format, struct buf *out);

#endif
