#include "common/base/httpdate.h"

#include <criterion/criterion.h>

Test(httpdate, the_three_forms_and_nothing_else)
{
    static const struct {
        const char *text;
        int64_t ms;
    } table[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777000},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777000},
        {"Sun Nov  6 08:49:37 1994", 784111777000},
        {"  Sun, 06 Nov 1994 08:49:37 GMT \r\n", 784111777000},
        {"Sun, 06 Nov 1994 08:49:37", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMT x", -1},
        {"1994-11-06T08:49:37Z", -1},
        {"120", -1},
        {"", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMT                                            .", -1},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        cr_expect_eq(httpdate_ms(str_of(table[i].text)), table[i].ms, "%s", table[i].text);
}
