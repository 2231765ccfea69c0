/*
 * trail.h - the calls that were made for one question, as the record will tell them
 *
 * Owner    the trail holds its texts and must not move; an upstream's name and model are borrowed from the roster.
 * Threads  pure, but for the clocks.
 * Limits   UPSTREAM_ATTEMPTS_MAX
 */
#ifndef ATALAYA_LLM_WORKER_TRAIL_H
#define ATALAYA_LLM_WORKER_TRAIL_H

#include "common/base/limits.h"
#include "common/wire/event.h"
#include "llm-worker/openai.h"
#include "llm-worker/upstream.h"

#define TRAIL_ID_MAX 64

struct trail {
    unsigned n;
    struct event_attempt events[UPSTREAM_ATTEMPTS_MAX];
    struct {
        char upstream_id[TRAIL_ID_MAX];
        char code[OPENAI_CODE_MAX];
    } texts[UPSTREAM_ATTEMPTS_MAX];
};

/* A call that ends now. model: NULL = the upstream's; borrowed. res: NULL when it was stopped. wait_us: before it. hedge: it was
 * made while another one was under way. */
void trail_add(struct trail *t, const struct target *asked, const char *model, enum outcome outcome,
               const struct call_result *res, const char *code, int64_t started_us, int64_t wait_us,
               bool hedge);
struct list trail_list(struct trail *t);

#endif
