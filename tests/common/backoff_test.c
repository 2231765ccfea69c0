#include "common/base/backoff.h"

#include <criterion/criterion.h>

Test(backoff, doubles_up_to_the_cap)
{
    cr_expect_eq(backoff_cap(0, 300, 3000), 300);
    cr_expect_eq(backoff_cap(1, 300, 3000), 600);
    cr_expect_eq(backoff_cap(3, 300, 3000), 2400);
    cr_expect_eq(backoff_cap(4, 300, 3000), 3000);
    cr_expect_eq(backoff_cap(4000000000u, 300, 3000), 3000);
}

Test(backoff, jitter_covers_everything_from_zero_to_the_cap)
{
    cr_expect_eq(backoff_full_jitter(0, 300, 3000, 0), 0);
    cr_expect_eq(backoff_full_jitter(0, 300, 3000, UINT32_MAX), 300);
    cr_expect_eq(backoff_full_jitter(0, 300, 3000, UINT32_MAX / 2), 150);
}
