/*
 * latency.h - how long the answers of a model take: the 95th percentile of the last ones
 *
 * Purpose  tells when a call has become one of the slow ones, so that a second one may be worth it (LLM_HEDGE).
 * Promise  a call that was ended before its answer counts as one that takes longer than that. Without it the slow ones
 *          that a second call has beaten would be missing, the percentile would sink, and ever more would be slow.
 *          It is never beyond the longest answer: where more than 5 in 100 never answer, those are the slow ones.
 * Threads  pure.
 * Units    milliseconds
 * Limits   the last LATENCY_SAMPLES
 */
#ifndef ATALAYA_LLM_WORKER_LATENCY_H
#define ATALAYA_LLM_WORKER_LATENCY_H

#include <stdbool.h>
#include <stdint.h>

#define LATENCY_SAMPLES 200
#define LATENCY_ENOUGH  30 /* fewer say nothing about the slow ones */
#define LATENCY_REFRESH 10 /* samples between two looks: it is asked for with every call */

struct latency {
    int64_t samples[LATENCY_SAMPLES]; /* twice the time; odd: the call was ended then */
    unsigned n;                       /* ever */
    int64_t p95;
};

void latency_add(struct latency *l, int64_t ms, bool ended);
int64_t latency_p95(const struct latency *l); /* -1: too little is known */

#endif
