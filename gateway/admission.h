/*
 * admission.h - how many questions are inside at once
 *
 * Purpose  P7: a question beyond the limit is refused at once with 503, never queued without end.
 * Threads  any.
 */
#ifndef ATALAYA_GATEWAY_ADMISSION_H
#define ATALAYA_GATEWAY_ADMISSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct admission {
    atomic_int inside;
    int limit;
    atomic_bool closed; /* draining */
    atomic_int mean_ms; /* of recent answers, for Retry-After */
};

enum admitted { ADMITTED, REFUSED_FULL, REFUSED_DRAINING };

void admission_init(struct admission *a, int limit);
enum admitted admission_enter(struct admission *a);
void admission_leave(
    struct admission *a,
    int64_t took_us); /* took_us: how long this one was inside; < 0: not to be learned from */
void admission_close(struct admission *a);
bool admission_is_closed(const struct admission *a);
int admission_inside(const struct admission *a);

/* Seconds after which a place is likely free: what one answer takes now, rounded up; 1 to 30. */
int admission_retry_after(const struct admission *a);

#endif
