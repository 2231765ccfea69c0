#include "llm-worker/budget.h"

#include <criterion/criterion.h>

/* How many of n repetitions the bucket allows at that moment. */
static int allowed(struct budget *b, int n, int64_t now)
{
    int got = 0;

    for (int i = 0; i < n; i++)
        got += budget_take(b, now);
    return got;
}

Test(budget, repetitions_are_a_share_of_the_traffic)
{
    struct budget b;

    budget_init(&b, 20, 1000);
    cr_expect_eq(allowed(&b, 1000, 1000), BUDGET_BURST);
    for (int i = 0; i < 100; i++)
        budget_first_call(&b);
    cr_expect_eq(allowed(&b, 1000, 1000), 20);
}

Test(budget, a_quiet_service_may_always_repeat_a_few)
{
    struct budget b;

    budget_init(&b, 1, 0);
    allowed(&b, 1000, 0);
    cr_expect_eq(allowed(&b, 1000, 1000), BUDGET_FLOOR_PER_SECOND);
    cr_expect_eq(allowed(&b, 1000, 1199), 0);
    cr_expect_eq(allowed(&b, 1000, 1200), 1);
}

Test(budget, nothing_is_saved_up_beyond_the_burst)
{
    struct budget b;

    budget_init(&b, 20, 0);
    for (int i = 0; i < 1000000; i++)
        budget_first_call(&b);
    cr_expect_eq(allowed(&b, 1000, INT64_MAX / 2), BUDGET_BURST);
}

Test(budget, zero_forbids_repetition)
{
    struct budget b;

    budget_init(&b, 0, 0);
    budget_first_call(&b);
    cr_expect_eq(allowed(&b, 10, 100000), 0);
}

/* An outage: a thousand questions a second, all of them failing, three tries each. */
Test(budget, an_outage_is_not_multiplied)
{
    struct budget b;
    int repeated = 0;

    budget_init(&b, 20, 0);
    for (int64_t now = 0; now < 60000; now++) {
        budget_first_call(&b);
        repeated += allowed(&b, 2, now);
    }
    cr_expect_leq(repeated, 60000 / 5 + 60 * BUDGET_FLOOR_PER_SECOND + BUDGET_BURST);
    cr_expect_geq(repeated, 60000 / 5);
}
