/* The percentile that hedging goes by, in simulated time: what hedging does must not change what it measures. */
#include <criterion/criterion.h>

#include "llm-worker/latency.h"

static uint64_t seed = 1;

/* Uniform in (0, 1); the same in every run. */
static double chance(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return ((double)(seed >> 11) + 0.5) / 0x1p53;
}

/* Twice as long is half as frequent: 95 in 100 come within 2 s. */
static int64_t usual(void)
{
    return (int64_t)(100 / chance());
}

#define NEVER 1000000 /* it times out: no answer */

/* One in fifteen does not come at all. */
static int64_t sometimes_never(void)
{
    return chance() < 1 / 15.0 ? NEVER : 100 + (int64_t)(100 * chance());
}

struct tally {
    unsigned calls, hedges;
    int64_t sum, most; /* of the percentile */
};

/* A question: the first call, a second one when that is slow, what both tell. */
static void ask(struct latency *l, int64_t (*takes)(void), struct tally *t)
{
    int64_t after = latency_p95(l), first = takes(), second = takes() + after;
    bool hedged = after >= 0 && first > after;

    t->calls++;
    t->hedges += hedged;
    if (hedged)
        latency_add(l, (first < second ? first : second) - after, first < second);
    if (hedged && second <= first)
        latency_add(l, second, true);
    else if (first < NEVER)
        latency_add(l, first, false);
    t->sum += after;
    if (after > t->most)
        t->most = after;
}

static struct tally simulate(int64_t (*takes)(void), unsigned first, unsigned calls)
{
    struct latency l = {.n = 0};
    struct tally before = {.calls = 0}, t = before;

    for (unsigned i = 0; i < first; i++)
        ask(&l, takes, &before);
    for (unsigned i = 0; i < calls; i++)
        ask(&l, takes, &t);
    return t;
}

Test(latency, too_few_say_nothing)
{
    struct latency l = {.n = 0};

    for (int i = 0; i < LATENCY_ENOUGH; i++) {
        cr_expect_eq(latency_p95(&l), -1);
        latency_add(&l, 10, false);
    }
    cr_expect_eq(latency_p95(&l), 10);
}

Test(latency, ninety_five_in_a_hundred_came_sooner)
{
    struct latency l = {.n = 0};

    for (int i = 1; i <= LATENCY_SAMPLES; i++)
        latency_add(&l, i * 7 % 201, false); /* each of 1 to 200 once */
    cr_expect_eq(latency_p95(&l), 191);
}

Test(latency, what_was_ended_would_have_taken_longer)
{
    struct latency l = {.n = 0};

    for (int i = 1; i <= LATENCY_SAMPLES; i++)
        latency_add(&l, i <= 20 ? 50 : i, i <= 20); /* of 10 in 100 nobody knows more */
    cr_expect_geq(latency_p95(&l), 191);
    cr_expect_leq(latency_p95(&l), 200);
}

Test(latency, only_ended_calls_say_nothing)
{
    struct latency l = {.n = 0};

    for (int i = 0; i < 2 * LATENCY_ENOUGH; i++)
        latency_add(&l, 10, true);
    cr_expect_eq(latency_p95(&l), -1);
}

Test(latency, hedging_that_wins_does_not_lower_it)
{
    struct tally t = simulate(usual, 1000, 20000);

    cr_expect_leq(t.hedges * 100, t.calls * 8, "%u hedges", t.hedges);
    cr_expect_geq(t.hedges * 100, t.calls * 3, "%u hedges", t.hedges);
    cr_expect_geq(t.sum / t.calls, 1600, "%d", (int)(t.sum / t.calls));
}

/* Nor does it run away from what never answers, where hedging helps most. */
Test(latency, what_never_answers_does_not_raise_it_without_end)
{
    struct tally t = simulate(sometimes_never, 1000, 20000);

    cr_expect_leq(t.most, 200, "%d", (int)t.most);
    cr_expect_leq(t.hedges * 100, t.calls * 15, "%u hedges", t.hedges);
    cr_expect_geq(t.hedges * 100, t.calls * 6, "%u hedges", t.hedges);
}
