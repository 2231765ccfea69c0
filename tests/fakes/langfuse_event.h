/*
 * langfuse_event.h - what langfuse_batch.c and langfuse_score.c share: judging the parts of an event
 *
 * Errors   a check gives false and leaves the text of the schema's complaint in `why`.
 */
#ifndef ATALAYA_TESTS_FAKES_LANGFUSE_EVENT_H
#define ATALAYA_TESTS_FAKES_LANGFUSE_EVENT_H

#include <jansson.h>

#include "tests/fakes/langfuse.h"

#define WHY_MAX 400

/* As zod reports an issue. */
bool complain(char why[static WHY_MAX], const char *path, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool null_or_string(const json_t *body, const char *key, char why[static WHY_MAX]);
bool null_or_time(const struct langfuse *l, const json_t *body, const char *key, char why[static WHY_MAX]);
bool entity_id(const struct langfuse *l, const json_t *id, const char *path, char why[static WHY_MAX]);

/* A score's body. at: its time; own: it has been given one by the server (POST /api/public/scores).
 * *status is that of the refusal. */
bool score_check(struct langfuse *l, const json_t *body, int *status, char why[static WHY_MAX]);
void score_keep(struct langfuse *l, json_t *body, const char *at);

#endif
