/*
 * delay.h - the times that a provider's headers name
 *
 * Purpose  how long to wait before the next call (retry-after-ms, retry-after) and until a limit is full again
 *          (x-ratelimit-reset-*). Providers send whatever they like here: what makes no sense counts as absent.
 * Threads  pure.
 * Errors   -1: absent, or no time that can be understood.
 * Units    milliseconds; what is longer than DELAY_MAX_MS is DELAY_MAX_MS.
 * Source   RFC 9110 chapter 10.2.3; https://pkg.go.dev/time#ParseDuration
 */
#ifndef ATALAYA_LLM_WORKER_DELAY_H
#define ATALAYA_LLM_WORKER_DELAY_H

#include <stdint.h>

#include "common/base/str.h"

#define DELAY_MAX_MS ((int64_t)7 * 24 * 3600 * 1000)

/* The first of the two that says something; zero and what is past count as absent. A date is taken relative to the
 * answer's own Date, so that the provider's clock need not agree with ours; without one to our clock, now_us. */
int64_t delay_retry_after(struct str retry_after_ms, struct str retry_after, struct str date, int64_t now_us);

/* "12ms", "1s", "6m0s", "1h2m3.5s", or plain seconds. */
int64_t delay_duration(struct str text);

/* A count like x-ratelimit-remaining-requests: a whole number that is not negative. */
int64_t delay_count(struct str text);

#endif
