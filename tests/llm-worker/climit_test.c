#include "llm-worker/climit.h"

#include <criterion/criterion.h>

Test(climit, a_burst_of_refusals_is_one_cut)
{
    struct climit l;

    climit_init(&l, 900);
    for (int i = 0; i < 100; i++)
        climit_overload(&l, 1000 + i);
    cr_expect_eq(climit_calls(&l), 600);
    climit_overload(&l, 1000 + CLIMIT_CUT_MS);
    cr_expect_eq(climit_calls(&l), 400);
}

Test(climit, never_below_the_floor_nor_above_the_most)
{
    struct climit l;

    climit_init(&l, 100);
    for (int i = 0; i < 100; i++)
        climit_overload(&l, i * CLIMIT_CUT_MS);
    cr_expect_eq(climit_calls(&l), CLIMIT_FLOOR);
    for (int i = 0; i < 10000; i++)
        climit_good(&l, 100);
    cr_expect_eq(climit_calls(&l), 100);
    climit_init(&l, 2);
    climit_overload(&l, 0);
    cr_expect_eq(climit_calls(&l), 2);
}

Test(climit, grows_only_while_it_is_used)
{
    struct climit l;

    climit_init(&l, 300);
    climit_overload(&l, 0);
    for (int i = 0; i < 1000; i++)
        climit_good(&l, 99);
    cr_expect_eq(climit_calls(&l), 200);
    for (int i = 0; i < 200; i++)
        climit_good(&l, 200);
    cr_expect_geq(climit_calls(&l), 219);
    cr_expect_leq(climit_calls(&l), 221);
}
