#include "common/base/utf8.h"

#include <criterion/criterion.h>
#include <string.h>

Test(utf8, every_scalar_value_survives_and_nothing_else_is_taken)
{
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        char text[4];
        uint32_t back = 0;
        if (cp >= 0xd800 && cp <= 0xdfff)
            continue;
        size_t n = utf8_encode(text, cp);
        cr_assert_eq(utf8_next(text, n, &back), (int)n, "U+%04X", cp);
        cr_assert_eq(back, cp);
        if (n > 1)
            cr_assert_eq(utf8_next(text, n - 1, &back), -1, "U+%04X cut", cp);
    }
}

Test(utf8, what_rfc_3629_forbids)
{
    static const char *const bad[] = {
        "\x80",
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xc3(",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t cp;
        cr_expect_eq(utf8_next(bad[i], strlen(bad[i]), &cp), -1, "row %zu", i);
    }
}

Test(utf8, what_a_cut_code_point_is)
{
    char text[4];

    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        if (cp >= 0xd800 && cp <= 0xdfff)
            continue;
        size_t len = utf8_encode(text, cp);
        for (size_t n = 1; n < len; n++)
            cr_assert(utf8_is_cut(text, n), "U+%04X, %zu", cp, n);
        cr_assert(!utf8_is_cut(text, len), "U+%04X", cp);
    }
    cr_expect(!utf8_is_cut("", 0));
    static const char *const never[] = {"a",     "\x80",      "\xc1",     "\xf5",
                                        "\xc3z", "\xe2\x80z", "\xe2\xe2", "\xe2\x80\xa8\x80"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        cr_expect(!utf8_is_cut(never[i], strlen(never[i])), "%zu", i);
}

Test(utf8, counting_and_clipping)
{
    cr_expect_eq(utf8_count("a\xc3\xa9\xe2\x80\xa6", 6), 3);
    cr_expect_eq(utf8_clip("a\xc3\xa9z", 4, 2), 1);
    cr_expect_eq(utf8_clip("a\xc3\xa9z", 4, 3), 3);
    cr_expect_eq(utf8_clip("abc", 3, 10), 3);
    cr_expect_eq(utf8_valid("a\xc3\xa9z", 4), 4);
    cr_expect_eq(utf8_valid("a\xc3\xa9z", 2), 1);
    cr_expect_eq(utf8_valid("a\xc3\xa9\xff", 4), 3);
    cr_expect_eq(utf8_valid("", 0), 0);
}

Test(utf8, pythons_white_space)
{
    size_t n = 0;

    for (uint32_t cp = 0; cp <= 0x10ffff; cp++)
        n += utf8_is_space(cp);
    cr_expect_eq(n, 29, "Python 3 knows 29 of them, not %zu", n);
    cr_expect(!utf8_is_space(0x200b) && !utf8_is_space(0xfeff) && !utf8_is_space(0x180e));
}
