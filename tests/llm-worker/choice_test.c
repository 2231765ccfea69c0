#include "llm-worker/choice.h"

#include <criterion/criterion.h>

Test(choice, the_lowest_priority_that_is_usable)
{
    struct candidate c[] = {{1, 1, true}, {0, 1, true}, {2, 1, true}};

    cr_expect_eq(choice_of(c, 3, 0), 1);
    cr_expect_eq(choice_of(c, 3, UINT32_MAX), 1);
    c[1].usable = false;
    cr_expect_eq(choice_of(c, 3, UINT32_MAX), 0);
    c[0].usable = false;
    cr_expect_eq(choice_of(c, 3, 0), 2);
    c[2].usable = false;
    cr_expect_eq(choice_of(c, 3, 0), 3);
    cr_expect_eq(choice_of(c, 0, 0), 0);
}

Test(choice, in_proportion_to_the_weights)
{
    const struct candidate c[] = {{0, 1, true}, {0, 5, false}, {0, 3, true}, {1, 100, true}};
    int count[4] = {0};

    for (uint64_t random = 0; random <= UINT32_MAX; random += UINT32_MAX / 4000)
        count[choice_of(c, 4, (uint32_t)random)]++;
    cr_expect(count[1] == 0 && count[3] == 0);
    cr_expect(count[0] > 990 && count[0] < 1010, "%d", count[0]);
    cr_expect(count[2] > 2990 && count[2] < 3010, "%d", count[2]);
}
