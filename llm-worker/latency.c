#include "llm-worker/latency.h"

#include <stdlib.h>
#include <string.h>

#define SLOW_SHARE 0.05

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* What is still there of the calls, as Kaplan and Meier estimate it: an answer takes its share of those that were
 * still waited for then, a call that was ended only leaves them. */
static void refresh(struct latency *l)
{
    int64_t sorted[LATENCY_SAMPLES];
    size_t n = l->n < LATENCY_SAMPLES ? l->n : LATENCY_SAMPLES;
    double slower = 1;

    memcpy(sorted, l->samples, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_size);
    l->p95 = -1;
    for (size_t i = 0; i < n && slower > SLOW_SHARE - 1e-9; i++)
        if (sorted[i] % 2 == 0) {
            l->p95 = sorted[i] / 2;
            slower *= 1 - 1 / (double)(n - i);
        }
}

void latency_add(struct latency *l, int64_t ms, bool ended)
{
    l->samples[l->n++ % LATENCY_SAMPLES] = 2 * ms + ended;
    if (l->n >= LATENCY_ENOUGH && l->n % LATENCY_REFRESH == 0)
        refresh(l);
}

int64_t latency_p95(const struct latency *l)
{
    return l->n >= LATENCY_ENOUGH ? l->p95 : -1;
}
