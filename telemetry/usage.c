#include "telemetry/usage.h"

#include <math.h>

static uint64_t part(uint64_t of, uint64_t whole)
{
    return of <= whole ? of : 0;
}

struct usage usage_split(uint64_t prompt, uint64_t cached, uint64_t completion, uint64_t reasoning)
{
    struct usage u = {.cached = part(cached, prompt), .reasoning = part(reasoning, completion)};

    u.input = prompt - u.cached;
    u.output = completion - u.reasoning;
    return u;
}

bool usage_is_cost(double usd)
{
    return isfinite(usd) && usd >= 0;
}
