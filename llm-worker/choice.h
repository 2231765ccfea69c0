/*
 * choice.h - which of several upstreams is asked
 *
 * Purpose  by chance, in proportion to their weights, among the usable ones of the lowest priority number.
 * Threads  pure; chance comes from the caller.
 */
#ifndef ATALAYA_LLM_WORKER_CHOICE_H
#define ATALAYA_LLM_WORKER_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct candidate {
    int64_t priority;
    int64_t weight; /* above 0 */
    bool usable;
};

size_t choice_of(const struct candidate *c, size_t n, uint32_t random); /* n: none is usable */

#endif
