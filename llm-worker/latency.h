/*
 * latency.h - how long the answers of a model take: the 95th percentile of the last ones
 *
 * Purpose  tells when a call has become one of the slow ones, so that a second one may be worth it (LLM_HEDGE).
 * Threads  pure.
 * Units    milliseconds
 * Limits   the last LATENCY_SAMPLES
 */
#ifndef ATALAYA_LLM_WORKER_LATENCY_H
#define ATALAYA_LLM_WORKER_LATENCY_H

#include <stdint.h>

#define LATENCY_SAMPLES 200
#define LATENCY_ENOUGH  30 /* fewer say nothing about the slow ones */
#define LATENCY_REFRESH 10 /* samples between two looks: it is asked for with every call */

struct latency {
    int64_t samples[LATENCY_SAMPLES];
    unsigned n; /* ever */
    int64_t p95;
};

void latency_add(struct latency *l, int64_t ms);
int64_t latency_p95(const struct latency *l); /* -1: too little is known */

#endif
