/*
 * langfuse_batch.h - traces and scores as Langfuse's ingestion batch
 *
 * Purpose  batch_trace(): a trace-create, a generation-create and a span-create for each attempt where there was more
 *          than one; for Langfuse 2 and 3 before 3.63, which know no better way, and for no other: 4 refuses them.
 *          batch_scores(): two score-create an answered question, batch_feedback(): one a client's score. This is the
 *          one event type that every Langfuse takes: 2, 3, 4 and Cloud. A score need not wait for its trace.
 * Promise  P3: ids and timestamps depend on the record alone, so a batch that is sent again replaces the same
 *          objects. Questions that share a trace, because their caller gave it, stay apart: the ids name the
 *          generation too.
 * Errors   the buf's `failed`.
 * Source   https://langfuse.com/docs/api
 */
#ifndef ATALAYA_TELEMETRY_LANGFUSE_BATCH_H
#define ATALAYA_TELEMETRY_LANGFUSE_BATCH_H

#include "common/base/buf.h"
#include "common/base/limits.h"
#include "telemetry/trace.h"

void batch_begin(struct buf *out);
unsigned batch_trace(struct buf *out, const struct trace_conf *c,
                     const struct record *r); /* how many events it became */
void batch_scores(struct buf *out, const struct record *r, const char *environment); /* "" = none */
void batch_feedback(struct buf *out, const struct record *r, const char *environment);
void batch_end(struct buf *out);

/* What the ids of a record's events begin with, and whether an event's id belongs to it. */
#define BATCH_KEY_SIZE (FEEDBACK_ID_MAX + 1)
void batch_key(char out[BATCH_KEY_SIZE], const struct record *r);
bool batch_is_of(struct str event_id, const char *key);

#endif
