#include "llm-worker/breaker.h"

#include <criterion/criterion.h>

static void calls(struct breaker *b, int64_t now, int n, enum fault f)
{
    for (int i = 0; i < n; i++)
        breaker_ended(b, now, f, breaker_begun(b, now));
}

static struct breaker opened(int64_t now)
{
    struct breaker b;

    breaker_init(&b, 5);
    calls(&b, now, 5, FAULT_UPSTREAM);
    cr_assert_eq(breaker_state(&b, now), BREAKER_OPEN);
    return b;
}

Test(breaker, opens_after_failures_in_a_row)
{
    struct breaker b;

    breaker_init(&b, 5);
    calls(&b, 1000, 4, FAULT_UPSTREAM);
    calls(&b, 1000, 1, FAULT_NONE);
    calls(&b, 1000, 4, FAULT_UPSTREAM);
    calls(&b, 1000, 100, FAULT_OTHER);
    cr_expect_eq(breaker_state(&b, 1000), BREAKER_CLOSED);
    calls(&b, 1000, 1, FAULT_UPSTREAM);
    cr_expect_eq(breaker_state(&b, 1000), BREAKER_OPEN);
    cr_expect_not(breaker_allows(&b, 1000));
}

Test(breaker, opens_when_half_of_the_window_failed)
{
    struct breaker b;

    breaker_init(&b, 1000);
    for (int i = 0; i < BREAKER_CALLS_MIN / 2 - 1; i++) {
        calls(&b, 1000 + i, 1, FAULT_UPSTREAM);
        calls(&b, 1000 + i, 1, FAULT_NONE);
    }
    calls(&b, 2000, 1, FAULT_NONE);
    cr_expect_eq(breaker_state(&b, 2000), BREAKER_CLOSED);
    calls(&b, 2000, 1, FAULT_UPSTREAM);
    cr_expect_eq(breaker_state(&b, 2000), BREAKER_OPEN);
}

Test(breaker, what_is_older_than_the_window_is_forgotten)
{
    struct breaker b;

    breaker_init(&b, 1000);
    calls(&b, 1000, BREAKER_CALLS_MIN - 1, FAULT_UPSTREAM);
    calls(&b, 1000 + BREAKER_WINDOW_MS, BREAKER_CALLS_MIN - 1, FAULT_UPSTREAM);
    cr_expect_eq(breaker_state(&b, 1000 + BREAKER_WINDOW_MS), BREAKER_CLOSED);
}

Test(breaker, one_call_tries_and_closes_it)
{
    struct breaker b = opened(1000);
    int64_t now = 1000 + BREAKER_PAUSE_MS;

    cr_expect_not(breaker_allows(&b, now - 1));
    cr_expect_eq(breaker_state(&b, now), BREAKER_HALF_OPEN);
    cr_assert(breaker_allows(&b, now));
    cr_expect(breaker_begun(&b, now));
    cr_expect_not(breaker_allows(&b, now), "one at a time");
    breaker_ended(&b, now + 10, FAULT_NONE, true);
    cr_expect_eq(breaker_state(&b, now + 10), BREAKER_CLOSED);
    calls(&b, now + 20, 4, FAULT_UPSTREAM);
    cr_expect_eq(breaker_state(&b, now + 20), BREAKER_CLOSED, "it begins anew");
}

Test(breaker, the_pause_grows_to_its_cap)
{
    struct breaker b = opened(0);
    int64_t now = BREAKER_PAUSE_MS, pause = BREAKER_PAUSE_MS;

    for (int i = 0; i < 10; i++) {
        cr_assert(breaker_allows(&b, now));
        breaker_ended(&b, now, FAULT_UPSTREAM, breaker_begun(&b, now));
        pause = pause * 2 < BREAKER_PAUSE_MAX_MS ? pause * 2 : BREAKER_PAUSE_MAX_MS;
        cr_expect_eq(breaker_state(&b, now + pause - 1), BREAKER_OPEN);
        now += pause;
    }
    breaker_ended(&b, now, FAULT_NONE, breaker_begun(&b, now));
    calls(&b, now, 5, FAULT_UPSTREAM);
    cr_expect_eq(breaker_state(&b, now + BREAKER_PAUSE_MS), BREAKER_HALF_OPEN,
                 "after a success it is short again");
}

Test(breaker, a_try_that_says_nothing_is_repeated)
{
    struct breaker b = opened(0);
    int64_t now = BREAKER_PAUSE_MS;

    breaker_ended(&b, now, FAULT_OTHER, breaker_begun(&b, now));
    cr_expect_eq(breaker_state(&b, now), BREAKER_HALF_OPEN);
    cr_expect(breaker_allows(&b, now));
}

Test(breaker, calls_from_before_change_nothing)
{
    struct breaker b = opened(0);

    breaker_ended(&b, 1, FAULT_NONE, false);
    breaker_ended(&b, BREAKER_PAUSE_MS, FAULT_UPSTREAM, false);
    cr_expect_eq(breaker_state(&b, 1), BREAKER_OPEN);
    cr_expect_eq(breaker_state(&b, BREAKER_PAUSE_MS), BREAKER_HALF_OPEN);
}

Test(breaker, what_nobody_has_tried_for_long_is_forgotten)
{
    struct breaker b = opened(0);
    int64_t now = BREAKER_PAUSE_MS + BREAKER_WINDOW_MS;

    cr_expect_eq(breaker_state(&b, now - 1), BREAKER_HALF_OPEN);
    cr_expect_eq(breaker_state(&b, now), BREAKER_CLOSED);
    cr_expect_not(breaker_begun(&b, now));
    cr_expect_not(breaker_begun(&b, now));
    calls(&b, now, 4, FAULT_UPSTREAM);
    cr_expect_eq(breaker_state(&b, now), BREAKER_CLOSED);
}

Test(breaker, zero_never_opens)
{
    struct breaker b;

    breaker_init(&b, 0);
    calls(&b, 0, 10000, FAULT_UPSTREAM);
    cr_expect_eq(breaker_state(&b, 0), BREAKER_CLOSED);
}
