#include "llm-worker/climit.h"

void climit_init(struct climit *l, int64_t most)
{
    *l = (struct climit){.now = (double)most, .most = (double)most, .cut_at = -CLIMIT_CUT_MS};
}

int64_t climit_calls(const struct climit *l)
{
    return (int64_t)l->now;
}

void climit_good(struct climit *l, int64_t in_flight)
{
    if (l->now >= l->most || (double)in_flight * 2 < l->now)
        return;
    l->now += l->now < CLIMIT_FAST ? 1 : 0.1;
    if (l->now > l->most)
        l->now = l->most;
}

void climit_overload(struct climit *l, int64_t now)
{
    double floor = l->most < CLIMIT_FLOOR ? l->most : CLIMIT_FLOOR;

    if (now - l->cut_at < CLIMIT_CUT_MS)
        return;
    l->cut_at = now;
    l->now = l->now * 2 / 3 > floor ? l->now * 2 / 3 : floor;
}
