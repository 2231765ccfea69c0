/*
 * clock.h - the one place that asks the kernel for the time
 *
 * Purpose  deadlines and durations use the monotonic clock, absolute; wall time only names moments for people
 *          and for Langfuse.
 * Threads  any.
 * Units    clock_us() and wall_us() microseconds, clock_ms() milliseconds.
 */
#ifndef ATALAYA_BASE_CLOCK_H
#define ATALAYA_BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_RFC3339_SIZE 28 /* "2026-11-24T10:00:00.123456Z" and NUL */

int64_t clock_us(void);
int64_t clock_ms(void);
int64_t wall_us(void); /* since 1970-01-01T00:00:00Z */

/* RFC 3339, UTC, with microseconds. */
void clock_rfc3339(char out[CLOCK_RFC3339_SIZE], int64_t wall_us);

#endif
