/*
 * langfuse_batch.h - scores as Langfuse's ingestion batch
 *
 * Purpose  score-create events: two per answered question, one per score of a client. This is the one event type
 *          that every Langfuse takes: 2, 3, 4 and Cloud. A score need not wait for its trace.
 * Promise  P3: ids and timestamps depend on the record alone, so a batch that is sent again replaces the same
 *          scores. Questions that share a trace, because their caller gave it, keep their scores apart: the ids name
 *          the generation too.
 * Errors   the buf's `failed`.
 * Source   https://langfuse.com/docs/api
 */
#ifndef ATALAYA_TELEMETRY_LANGFUSE_BATCH_H
#define ATALAYA_TELEMETRY_LANGFUSE_BATCH_H

#include "common/base/buf.h"
#include "common/base/limits.h"
#include "telemetry/record.h"

void batch_begin(struct buf *out);
void batch_scores(struct buf *out, const struct record *r, const char *environment); /* "" = none */
void batch_feedback(struct buf *out, const struct record *r, const char *environment);
void batch_end(struct buf *out);

/* What the ids of a record's events begin with, and whether an event's id belongs to it. */
#define BATCH_KEY_SIZE (FEEDBACK_ID_MAX + 1)
void batch_key(char out[BATCH_KEY_SIZE], const struct record *r);
bool batch_is_of(struct str event_id, const char *key);

#endif
