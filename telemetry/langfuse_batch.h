/*
 * langfuse_batch.h - scores as Langfuse's ingestion batch
 *
 * Purpose  two score-create events per answered question. This is the one event type that every Langfuse
 *          takes: 2, 3, 4 and Cloud.
 * Promise  P3: ids and timestamps depend on the record alone, so a batch that is sent again replaces the same
 *          scores.
 * Errors   the buf's `failed`.
 * Source   https://langfuse.com/docs/api
 */
#ifndef ATALAYA_TELEMETRY_LANGFUSE_BATCH_H
#define ATALAYA_TELEMETRY_LANGFUSE_BATCH_H

#include "common/base/buf.h"
#include "telemetry/record.h"

void batch_begin(struct buf *out);
void batch_scores(struct buf *out, const struct record *r, const char *environment); /* "" = none */
void batch_end(struct buf *out);

/* The trace that an event of ours is about; empty when the id is none of ours. */
struct str batch_trace_of(struct str event_id);

#endif
