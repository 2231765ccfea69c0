/*
 * refusal.h - whether an upstream refuses our key
 *
 * Purpose  401 says so. 403 may be about one question (its model, its words) or about all: five in a row, with no other
 *          answer between, are about the key and what it may do. Any other answer ends it: the key has been taken.
 *          After a while without another refusal it counts no more, though nobody has said that the key is taken: a load
 *          balancer that believes /readyz would never send the question that finds out.
 * Threads  pure; time comes from the caller.
 * Units    milliseconds.
 */
#ifndef ATALAYA_LLM_WORKER_REFUSAL_H
#define ATALAYA_LLM_WORKER_REFUSAL_H

#include "llm-worker/retry.h"

#define REFUSAL_MANY   5
#define REFUSAL_FOR_MS 30000

/* Begins zeroed. */
struct refusal {
    int in_a_row;
    int64_t until; /* 0: the key is taken, as far as we know */
};

enum refusal_news { REFUSAL_NOTHING_NEW, REFUSAL_BEGINS, REFUSAL_ENDS };

enum refusal_news refusal_learn(struct refusal *r, const struct verdict *v, int64_t now);
bool refusal_holds(const struct refusal *r, int64_t now);

#endif
