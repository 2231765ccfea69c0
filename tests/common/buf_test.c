#include "common/base/buf.h"

#include <criterion/criterion.h>

Test(buf, grows_to_its_maximum_and_no_further)
{
    struct buf b = BUF_INIT(100);

    for (int i = 0; i < 10; i++)
        buf_append(&b, "0123456789", 10);
    cr_assert(!b.failed && b.len == 100);
    buf_putc(&b, 'x');
    cr_assert(b.failed && b.len == 100, "an append beyond the maximum adds nothing");
    buf_consume(&b, 60);
    buf_putc(&b, 'x');
    cr_assert(b.failed && b.len == 40, "the failure sticks");
    buf_reset(&b);
    buf_putc(&b, 'x');
    cr_assert(!b.failed && b.len == 1);
    buf_free(&b);
}

Test(buf, printf_of_any_length)
{
    struct buf b = BUF_INIT(10000);

    buf_printf(&b, "%s|", "short");
    buf_printf(&b, "%0*d|", 1000, 7);
    cr_assert_eq(b.len, 6 + 1001);
    cr_assert_eq(b.data[b.len], '\0');
    cr_assert_eq(b.data[b.len - 2], '7');
    buf_printf(&b, "%0*d", 10000, 7);
    cr_assert(b.failed);
    buf_free(&b);
}

Test(buf, reserve_cannot_overflow)
{
    struct buf b = BUF_INIT(SIZE_MAX);

    buf_putc(&b, 'x');
    cr_assert_null(buf_reserve(&b, SIZE_MAX));
    cr_assert(b.failed);
    buf_free(&b);
}
