/*
 * backoff.h - how long to wait before the next try
 *
 * Purpose  exponential backoff with full jitter: uniform in [0, min(cap, base * 2^attempt)], so that many
 *          clients that failed together do not come back together.
 * Threads  pure; the caller brings the random number.
 * Units    milliseconds; attempt counts from 0.
 */
#ifndef ATALAYA_BASE_BACKOFF_H
#define ATALAYA_BASE_BACKOFF_H

#include <stdint.h>

int64_t backoff_cap(unsigned attempt, int64_t base_ms, int64_t cap_ms); /* without jitter */
int64_t backoff_full_jitter(unsigned attempt, int64_t base_ms, int64_t cap_ms, uint32_t random);

#endif
