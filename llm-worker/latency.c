#include "llm-worker/latency.h"

#include <stdlib.h>
#include <string.h>

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static void refresh(struct latency *l)
{
    int64_t sorted[LATENCY_SAMPLES];
    size_t n = l->n < LATENCY_SAMPLES ? l->n : LATENCY_SAMPLES;

    memcpy(sorted, l->samples, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_size);
    l->p95 = sorted[n * 95 / 100];
}

void latency_add(struct latency *l, int64_t ms)
{
    l->samples[l->n++ % LATENCY_SAMPLES] = ms;
    if (l->n >= LATENCY_ENOUGH && l->n % LATENCY_REFRESH == 0)
        refresh(l);
}

int64_t latency_p95(const struct latency *l)
{
    return l->n >= LATENCY_ENOUGH ? l->p95 : -1;
}
