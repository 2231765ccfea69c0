/*
 * langfuse_view.h - what was accepted, as Langfuse shows it
 *
 * Owner    the caller gets a reference to what is returned.
 */
#ifndef ATALAYA_TESTS_FAKES_LANGFUSE_VIEW_H
#define ATALAYA_TESTS_FAKES_LANGFUSE_VIEW_H

#include <jansson.h>

#include "tests/fakes/langfuse.h"

json_t *otlp_json(const struct item *i);                /* langfuse_otlp.c: a span as it was sent */
json_t *otlp_view(const struct item *i);                /* langfuse_otlp_view.c */
json_t *item_view(const struct item *i);                /* an observation from either route, or a score */
json_t *trace_view(const struct trace *t);              /* with its observations */
json_t *usage_view(const json_t *details);              /* exclusive buckets, as Langfuse stores them */
const char *time_text(int64_t us, char out[static 28]); /* with milliseconds */

#endif
