#include "common/base/jsonscan.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "common/base/mem.h"

static const char *const keys[] = {"a", "b", NULL};

Test(jsonscan, keeps_the_members_asked_for)
{
    struct jsonscan j;

    cr_assert_eq(
        jsonscan(&j, str_of(" {\"x\":[1,{\"a\":2}], \"a\" : \"1\\u00e9\\ud83d\\ude00\" ,\"a\":3.50} "), keys),
        JSONSCAN_OK);
    const struct value *a = jsonscan_get(&j, "a");
    cr_assert_not_null(a);
    cr_assert_eq(a->type, VALUE_FLOAT, "the last one wins");
    cr_assert(str_eq(a->source, "3.50"));
    cr_assert_null(jsonscan_get(&j, "b"));
    jsonscan_free(&j);
}

Test(jsonscan, decodes_escapes)
{
    struct jsonscan j;

    cr_assert_eq(jsonscan(&j, str_of("{\"\\u0061\":\"1\\u00e9\\ud83d\\ude00\\n\\/\"}"), keys), JSONSCAN_OK);
    cr_assert(str_eq(jsonscan_get(&j, "a")->text, "1é😀\n/"));
    cr_assert_not(jsonscan_get(&j, "a")->surrogate);
    jsonscan_free(&j);
    cr_assert_eq(jsonscan(&j, str_of("{\"a\":\"\\ud83d x\"}"), keys), JSONSCAN_OK);
    cr_assert(jsonscan_get(&j, "a")->surrogate);
    jsonscan_free(&j);
}

Test(jsonscan, python_words_and_places)
{
    static const struct {
        const char *text;
        const char *error;
        size_t position;
    } table[] = {
        {"", "Expecting value", 0},
        {"{", "Expecting property name enclosed in double quotes", 1},
        {"{\"a\"", "Expecting ':' delimiter", 4},
        {"{\"a\":", "Expecting value", 5},
        {"{\"a\":1", "Expecting ',' delimiter", 6},
        {"{\"a\":1,", "Expecting property name enclosed in double quotes", 7},
        {"{\"a\":1,}", "Expecting property name enclosed in double quotes", 7},
        {"[", "Expecting value", 1},
        {"[1,", "Expecting value", 3},
        {"[1,]", "Expecting value", 3},
        {"[1 2]", "Expecting ',' delimiter", 3},
        {"\"a", "Unterminated string starting at", 0},
        {"\"a\\", "Unterminated string starting at", 0},
        {"\"é\\x\"", "Invalid \\escape", 2},
        {"\"\\u12\"", "Invalid \\uXXXX escape", 2},
        {"\"\\u12g4\"", "Invalid \\uXXXX escape", 2},
        {"\"a\nb\"", "Invalid control character at", 2},
        {"1 x", "Extra data", 2},
        {"-", "Expecting value", 0},
        {"01", "Extra data", 1},
        {"1.", "Extra data", 1},
        {"tru", "Expecting value", 0},
        {"{\"é\":é}", "Expecting value", 5},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct jsonscan j;
        cr_assert_eq(jsonscan(&j, str_of(table[i].text), keys), JSONSCAN_BROKEN, "%s", table[i].text);
        cr_expect_str_eq(j.error, table[i].error, "%s: %s", table[i].text, j.error);
        cr_expect_eq(j.position, table[i].position, "%s: %zu", table[i].text, j.position);
        jsonscan_free(&j);
    }
}

Test(jsonscan, deep_nesting_is_refused_without_recursion)
{
    size_t n = 100000;
    char *text = xmalloc(n + 1);
    struct jsonscan j;

    memset(text, '[', n);
    text[n] = '\0';
    cr_assert_eq(jsonscan(&j, str_of(text), keys), JSONSCAN_UNREADABLE);
    jsonscan_free(&j);
    free(text);
}

Test(jsonscan, echo_prints_as_python_would)
{
    static const struct {
        const char *in, *out;
    } table[] = {
        {"1e22", "1e+22"},
        {"1.10", "1.1"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"-0.0", "-0.0"},
        {"123456789012345678901234567890", "123456789012345678901234567890"},
        {"NaN", "null"},
        {"[ 1 , {\"a\" : Infinity} ,\"x , y\" ]", "[1,{\"a\":null},\"x , y\"]"},
        {"1e400", "null"},
        {"[true,false,null]", "[true,false,null]"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buf out = {.max = 4096};
        jsonscan_echo(&out, str_of(table[i].in));
        cr_expect_str_eq(out.data, table[i].out, "%s -> %s", table[i].in, out.data);
        buf_free(&out);
    }
}

Test(jsonscan, first_element)
{
    static const struct {
        const char *array, *first;
    } table[] = {
        {"[]", ""},
        {"[ ]", ""},
        {"[1]", "1"},
        {"[ {\"a\":[1,2]} , 3]", "{\"a\":[1,2]}"},
        {"[\"],\\\"\" ,2]", "\"],\\\"\""},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct str got = jsonscan_first(str_of(table[i].array));
        cr_expect(str_eq(got, table[i].first), "%s: %.*s", table[i].array, (int)got.n, got.p);
    }
}
