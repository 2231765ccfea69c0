#include "gateway/jsonread.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "common/base/mem.h"

static const char *const keys[] = {"a", "b", NULL};

Test(jsonread, keeps_the_members_asked_for)
{
    struct jsonread j;

    cr_assert_eq(
        jsonread(&j, str_of(" {\"x\":[1,{\"a\":2}], \"a\" : \"1\\u00e9\\ud83d\\ude00\" ,\"a\":3.50} "), keys),
        JSONREAD_OK);
    const struct value *a = jsonread_get(&j, "a");
    cr_assert_not_null(a);
    cr_assert_eq(a->type, VALUE_FLOAT, "the last one wins");
    cr_assert(str_eq(a->source, "3.50"));
    cr_assert_null(jsonread_get(&j, "b"));
    jsonread_free(&j);
}

Test(jsonread, decodes_escapes)
{
    struct jsonread j;

    cr_assert_eq(jsonread(&j, str_of("{\"\\u0061\":\"1\\u00e9\\ud83d\\ude00\\n\\/\"}"), keys), JSONREAD_OK);
    cr_assert(str_eq(jsonread_get(&j, "a")->text, "1é😀\n/"));
    cr_assert_not(jsonread_get(&j, "a")->surrogate);
    jsonread_free(&j);
    cr_assert_eq(jsonread(&j, str_of("{\"a\":\"\\ud83d x\"}"), keys), JSONREAD_OK);
    cr_assert(jsonread_get(&j, "a")->surrogate);
    jsonread_free(&j);
}

Test(jsonread, python_words_and_places)
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
        struct jsonread j;
        cr_assert_eq(jsonread(&j, str_of(table[i].text), keys), JSONREAD_BROKEN, "%s", table[i].text);
        cr_expect_str_eq(j.error, table[i].error, "%s: %s", table[i].text, j.error);
        cr_expect_eq(j.position, table[i].position, "%s: %zu", table[i].text, j.position);
        jsonread_free(&j);
    }
}

Test(jsonread, deep_nesting_is_refused_without_recursion)
{
    size_t n = 100000;
    char *text = xmalloc(n + 1);
    struct jsonread j;

    memset(text, '[', n);
    text[n] = '\0';
    cr_assert_eq(jsonread(&j, str_of(text), keys), JSONREAD_UNREADABLE);
    jsonread_free(&j);
    free(text);
}

Test(jsonread, echo_prints_as_python_would)
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
        jsonread_echo(&out, str_of(table[i].in));
        cr_expect_str_eq(out.data, table[i].out, "%s -> %s", table[i].in, out.data);
        buf_free(&out);
    }
}
