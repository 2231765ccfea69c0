#include "llm-worker/choice.h"

static bool counts(const struct candidate *c, int64_t priority)
{
    return c->usable && c->priority == priority;
}

size_t choice_of(const struct candidate *c, size_t n, uint32_t random)
{
    int64_t first = INT64_MAX;
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        if (c[i].usable && c[i].priority < first)
            first = c[i].priority;
    for (size_t i = 0; i < n; i++)
        if (counts(&c[i], first))
            sum += (uint64_t)c[i].weight;
    uint64_t at = sum * random >> 32;
    for (size_t i = 0; i < n; i++) {
        if (!counts(&c[i], first))
            continue;
        if (at < (uint64_t)c[i].weight)
            return i;
        at -= (uint64_t)c[i].weight;
    }
    return n;
}
