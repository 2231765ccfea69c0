/*
 * metric_table.h - every metric of the product, one row each
 *
 * Purpose  a row names, types, explains and documents its metric; metrics.c counts by it, docs/metrics.md is
 *          printed from it.
 * Promise  the rows before METRIC_CONTRACT_END are a contract with dashboards that exist: names, labels, order and
 *          buckets stay; buckets may be added above.
 *          Those from METRIC_OPERATOR_END on are OpenTelemetry's, by their names in Prometheus.
 * Threads  constant.
 */
#ifndef ATALAYA_TELEMETRY_METRIC_TABLE_H
#define ATALAYA_TELEMETRY_METRIC_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"

enum metric {
    METRIC_REQUESTS,
    METRIC_REQUEST_LATENCY,
    METRIC_LLM_LATENCY,
    METRIC_IN_PROGRESS,
    METRIC_LLM_TOKENS,
    METRIC_CONTRACT_END,

    METRIC_QUEUE = METRIC_CONTRACT_END,
    METRIC_QUEUE_AGE,
    METRIC_WORKERS,
    METRIC_WORKER_CHANGES,
    METRIC_ANSWERS,
    METRIC_FIRST_TOKEN,
    METRIC_BROKEN_STREAMS,
    METRIC_FAILURES,
    METRIC_GUARDRAILS,
    METRIC_SCORES,
    METRIC_FEEDBACK,
    METRIC_FEEDBACK_SCORE,
    METRIC_ATTEMPTS,
    METRIC_RETRIES,
    METRIC_HEDGES,
    METRIC_TOKENS,
    METRIC_TOKENS_ESTIMATED,
    METRIC_COST,
    METRIC_UPSTREAM_BREAKER,
    METRIC_UPSTREAM_REFUSED,
    METRIC_UPSTREAM_CALLS,
    METRIC_UPSTREAM_LIMIT,
    METRIC_EVENTS,
    METRIC_DUPLICATES,
    METRIC_UNCONFIRMED,
    METRIC_DROPPED,
    METRIC_REJECTED,
    METRIC_SPOOL_RECORDS,
    METRIC_SPOOL_BYTES,
    METRIC_SPOOL_AGE,
    METRIC_SPOOL_REPLACED,
    METRIC_UPLOAD_ENABLED,
    METRIC_SPOOL_DISK_FULL,
    METRIC_LETTERS,
    METRIC_LETTERS_DROPPED,
    METRIC_UPLOADS,
    METRIC_UPLOADED,
    METRIC_EXPORTED,
    METRIC_SPANS_REJECTED,
    METRIC_UNSAMPLED,
    METRIC_SCORES_REJECTED,
    METRIC_BUILD,
    METRIC_PROCESS_UP,
    METRIC_PROCESS_RESTARTS,
    METRIC_PROCESS_CPU,
    METRIC_PROCESS_RSS,
    METRIC_PROCESS_VM,
    METRIC_PROCESS_FDS,
    METRIC_PROCESS_FDS_MAX,
    METRIC_PROCESS_START,
    METRIC_OPERATOR_END,

    METRIC_GENAI_DURATION = METRIC_OPERATOR_END,
    METRIC_GENAI_TOKENS,
    METRICS
};

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_LABELS 5

struct metric_row {
    const char *name;
    enum metric_type type;
    const char *help;
    const char *labels[METRIC_LABELS]; /* in alphabetical order; NULL = no more */
    const double *buckets;             /* upper bounds, without +Inf */
    size_t n_buckets;
    bool created; /* NAME_created beside it, as the Python client prints it */
    bool kept;    /* survives a restart, in the spool */
};

extern const struct metric_row metric_table[METRICS];

size_t metric_labels(enum metric id); /* how many labels it has */

#define METRIC_NUMBER_SIZE 40

/* As Python's Prometheus client prints it: 3.0, 0.005, 1.7954777485248852e+09, +Inf. */
void metric_number(char out[METRIC_NUMBER_SIZE], double v);

void metric_document(struct buf *out); /* docs/metrics.md */

#endif
