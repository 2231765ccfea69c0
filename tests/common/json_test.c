#include "common/base/json.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static const char *write_str(struct str s)
{
    static struct buf b = {.max = 4096};

    buf_reset(&b);
    json_str(&b, s.p, s.n);
    return b.data;
}

Test(json, strings_are_escaped_and_always_utf8)
{
    cr_expect_str_eq(write_str(str_of("a\"b\\c/d")), "\"a\\\"b\\\\c/d\"");
    cr_expect_str_eq(write_str(str_of("\n\r\t\x01\x1f\x7f")), "\"\\n\\r\\t\\u0001\\u001f\\u007f\"");
    cr_expect_str_eq(write_str((struct str){"a\0b", 3}), "\"a\\u0000b\"");
    cr_expect_str_eq(write_str(str_of("é…😀")), "\"é…😀\"");
    cr_expect_str_eq(write_str(str_of("a\xc3")), "\"a\xef\xbf\xbd\"");
    cr_expect_str_eq(write_str(str_of("\xc0\xaf")), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    cr_expect_str_eq(write_str(str_of("")), "\"\"");
}

Test(json, doubles_read_back)
{
    static const struct {
        double v;
        const char *text;
    } table[] = {
        {0.1, "0.1"},
        {1, "1.0"},
        {-0.0, "-0.0"},
        {0.30000000000000004, "0.30000000000000004"},
        {1e22, "1e+22"},
        {1e-7, "1e-07"},
        {NAN, "null"},
        {INFINITY, "null"},
        {0.19999999999999996, "0.19999999999999996"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buf b = BUF_INIT(64);
        json_double(&b, table[i].v);
        cr_expect_str_eq(b.data, table[i].text);
        cr_expect(!isfinite(table[i].v) || strtod(b.data, NULL) == table[i].v);
        buf_free(&b);
    }
}

Test(json, fields_put_their_commas)
{
    struct buf b = BUF_INIT(256);

    buf_putc(&b, '{');
    json_field_str(&b, "a", str_of("x"));
    json_field_int(&b, "b", INT64_MIN);
    json_field_bool(&b, "c", false);
    buf_putc(&b, '}');
    cr_assert_str_eq(b.data, "{\"a\":\"x\",\"b\":-9223372036854775808,\"c\":false}");
    buf_free(&b);
}
