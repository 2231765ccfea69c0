/*
 * budget.h - how many calls may be repetitions: a share of the traffic
 *
 * Purpose  when a provider is down, three tries a question would triple what it has to bear. First calls pay a share of
 *          a token into the bucket, a repeated call takes one out. A slow trickle beside it lets the few questions of a
 *          quiet service be repeated.
 * Threads  pure; time comes from the caller.
 * Units    milliseconds; tokens in thousandths.
 */
#ifndef ATALAYA_LLM_WORKER_BUDGET_H
#define ATALAYA_LLM_WORKER_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define BUDGET_FLOOR_PER_SECOND 5  /* repetitions that are always allowed */
#define BUDGET_BURST            50 /* as many at once */

struct budget {
    int64_t percent; /* of the first calls; 0: no repetition at all */
    int64_t tokens;
    int64_t filled_ms;
};

void budget_init(struct budget *b, int64_t percent, int64_t now);
void budget_first_call(struct budget *b);
bool budget_take(struct budget *b, int64_t now); /* for one repetition; false: there is nothing left */

#endif
