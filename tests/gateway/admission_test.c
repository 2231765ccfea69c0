#include "gateway/admission.h"

#include <criterion/criterion.h>

Test(admission, the_limit_holds_and_a_place_comes_back)
{
    struct admission a;

    admission_init(&a, 2);
    cr_assert_eq(admission_enter(&a), ADMITTED);
    cr_assert_eq(admission_enter(&a), ADMITTED);
    cr_assert_eq(admission_enter(&a), REFUSED_FULL);
    cr_assert_eq(admission_inside(&a), 2);
    admission_leave(&a, -1);
    cr_assert_eq(admission_enter(&a), ADMITTED);
}

Test(admission, closed_refuses_though_there_is_room)
{
    struct admission a;

    admission_init(&a, 2);
    admission_close(&a);
    cr_assert_eq(admission_enter(&a), REFUSED_DRAINING);
}

Test(admission, retry_after_follows_what_answers_take)
{
    struct admission a;

    admission_init(&a, 1000);
    cr_assert_eq(admission_retry_after(&a), 1);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(admission_enter(&a), ADMITTED);
        admission_leave(&a, 5 * 1000 * 1000);
    }
    cr_assert_geq(admission_retry_after(&a), 4);
    cr_assert_leq(admission_retry_after(&a), 6);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(admission_enter(&a), ADMITTED);
        admission_leave(&a, 1000LL * 1000 * 1000);
    }
    cr_assert_eq(admission_retry_after(&a), 30);
}
