#include "common/base/backoff.h"

int64_t backoff_cap(unsigned attempt, int64_t base_ms, int64_t cap_ms)
{
    int64_t wait = base_ms;

    while (attempt-- > 0 && wait < cap_ms)
        wait *= 2;
    return wait < cap_ms ? wait : cap_ms;
}

int64_t backoff_full_jitter(unsigned attempt, int64_t base_ms, int64_t cap_ms, uint32_t random)
{
    int64_t top = backoff_cap(attempt, base_ms, cap_ms);

    return (int64_t)((double)random / 4294967296.0 * (double)(top + 1));
}
