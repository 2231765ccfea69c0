#include "gateway/admission.h"

void admission_init(struct admission *a, int limit)
{
    atomic_init(&a->inside, 0);
    a->limit = limit;
    atomic_init(&a->closed, false);
    atomic_init(&a->mean_ms, 0);
}

enum admitted admission_enter(struct admission *a)
{
    if (atomic_load(&a->closed))
        return REFUSED_DRAINING;
    if (atomic_fetch_add(&a->inside, 1) < a->limit)
        return ADMITTED;
    atomic_fetch_sub(&a->inside, 1);
    return REFUSED_FULL;
}

void admission_leave(struct admission *a, int64_t took_us)
{
    atomic_fetch_sub(&a->inside, 1);
    if (took_us < 0)
        return;
    /* An exponential mean over about eight answers; a lost update between threads does not matter. */
    int old = atomic_load(&a->mean_ms);
    atomic_store(&a->mean_ms, old + (int)(took_us / 1000 - old) / 8);
}

void admission_close(struct admission *a)
{
    atomic_store(&a->closed, true);
}

bool admission_is_closed(const struct admission *a)
{
    return atomic_load(&a->closed);
}

int admission_inside(const struct admission *a)
{
    return atomic_load(&a->inside);
}

int admission_retry_after(const struct admission *a)
{
    int seconds = (atomic_load(&a->mean_ms) + 999) / 1000;

    return seconds < 1 ? 1 : seconds > 30 ? 30 : seconds;
}
