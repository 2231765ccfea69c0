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

/* Python takes them; who hands the text on to somebody stricter wants to know. */
Test(jsonscan, numbers_that_are_none)
{
    static const char *const not_json[] = {"NaN", "[1,Infinity]", "{\"x\":{\"y\":-Infinity}}"};
    static const char *const fine[] = {"1", "[\"NaN\"]", "{\"Infinity\":null}"};
    struct jsonscan j;

    for (size_t i = 0; i < ARRAY_LEN(not_json); i++) {
        cr_expect_eq(jsonscan(&j, str_of(not_json[i]), keys), JSONSCAN_OK);
        cr_expect(j.beyond_json, "%s", not_json[i]);
        jsonscan_free(&j);
    }
    for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
        cr_expect_eq(jsonscan(&j, str_of(fine[i]), keys), JSONSCAN_OK);
        cr_expect(!j.beyond_json, "%s", fine[i]);
        jsonscan_free(&j);
    }
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

/* Eight bytes are looked at together: it does not matter where one stands. */
Test(jsonscan, every_byte_at_every_place_of_a_string)
{
    for (int c = 1; c < 0x80; c++)
        for (size_t at = 1; at < 24; at++) {
            char text[] = "\"aaaaaaaaaaaaaaaaaaaaaaaa\"";
            struct jsonscan j;
            text[at] = (char)c;
            enum jsonscan_result got = jsonscan(&j, (struct str){text, sizeof text - 1}, keys);
            bool bad = c < 0x20 || c == '"' || c == '\\';
            cr_assert_eq(got, bad ? JSONSCAN_BROKEN : JSONSCAN_OK, "%02x at %zu", c, at);
            cr_assert_eq(j.position,
                         !bad       ? 0
                         : c == '"' ? at + 1
                                    : at,
                         "%02x at %zu: %zu", c, at, j.position);
            cr_assert(bad || j.top.text.n == 24);
            jsonscan_free(&j);
        }
}

/* As many levels as Python takes, the object or list around them included. */
Test(jsonscan, nesting_up_to_the_limit)
{
    char text[2 * JSONSCAN_DEPTH_MAX + 3];
    struct jsonscan j;

    for (size_t depth = JSONSCAN_DEPTH_MAX; depth <= JSONSCAN_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        cr_expect_eq(jsonscan(&j, str_of(text), keys),
                     depth == JSONSCAN_DEPTH_MAX ? JSONSCAN_OK : JSONSCAN_UNREADABLE, "%zu", depth);
        jsonscan_free(&j);
    }
}

Test(jsonscan, encodings)
{
    static const struct {
        const char *bytes;
        size_t n;
        enum jsonscan_result result;
    } table[] = {
        {"\xef\xbb\xbf{\"a\":\"\xc3\xa9\"}", 13, JSONSCAN_OK},
        {"\xff\xfe{\0\"\0a\0\"\0:\0\"\0\xe9\0\"\0}\0", 20, JSONSCAN_OK},
        {"\0{\0\"\0a\0\"\0:\0\"\0\xe9\0\"\0}", 18, JSONSCAN_OK},
        {"{\0\0\0}\0\0\0", 8, JSONSCAN_OK},
        {"\0\0\0{\0\0\0}", 8, JSONSCAN_OK},
        {"1\0", 2, JSONSCAN_OK},                          /* UTF-16 by its zero */
        {"{\0\"\0a", 5, JSONSCAN_UNREADABLE},             /* half a unit */
        {"\0\x11\0\0", 4, JSONSCAN_BROKEN},               /* UTF-16: U+0011 */
        {"\0\0\x11\0\x11\0\0\0", 8, JSONSCAN_UNREADABLE}, /* UTF-32: above U+10FFFF */
        {"\"\xc0\xaf\"", 4, JSONSCAN_UNREADABLE},
        {"\"\xed\xa0\x80\"", 5, JSONSCAN_UNREADABLE},
        {"\"\xf5\x80\x80\x80\"", 6, JSONSCAN_UNREADABLE},
        {"\"\xe2\x82", 3, JSONSCAN_UNREADABLE},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct jsonscan j;
        cr_expect_eq(jsonscan(&j, (struct str){table[i].bytes, table[i].n}, keys), table[i].result, "%zu", i);
        if (jsonscan_get(&j, "a"))
            cr_expect(str_eq(jsonscan_get(&j, "a")->text, "é"), "%zu", i);
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

Test(jsonscan, members_of_a_nested_object)
{
    static const char *const both[] = {"a", "b", NULL};
    struct jsonscan j;

    cr_assert(jsonscan_object(&j, str_of("{\"a\":\"x\\n\",\"b\":[1]}"), both));
    cr_expect(str_eq(jsonscan_text(&j, "a"), "x\n"));
    cr_expect(str_eq(jsonscan_source(&j, "a", VALUE_STRING), "\"x\\n\""));
    cr_expect(str_eq(jsonscan_source(&j, "b", VALUE_ARRAY), "[1]"));
    cr_expect_null(jsonscan_source(&j, "b", VALUE_OBJECT).p);
    cr_expect_null(jsonscan_text(&j, "b").p);
    cr_expect_null(jsonscan_text(&j, "c").p);
    jsonscan_free(&j);

    static const char *const others[] = {"", "[]", "\"a\"", "{\"a\"", "{}}"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        cr_expect(!jsonscan_object(&j, str_of(others[i]), both), "%s", others[i]);
        jsonscan_free(&j);
    }
}

Test(jsonscan, elements)
{
    static const struct {
        const char *array, *want[4];
    } table[] = {
        {"[]", {""}},
        {"[ ]", {""}},
        {"[1]", {"1", ""}},
        {"[ {\"a\":[1,2]} , 3]", {"{\"a\":[1,2]}", "3", ""}},
        {"[\"],\\\"\" ,2,\n[[],{}] ]", {"\"],\\\"\"", "2", "[[],{}]", ""}},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        size_t at = 0;
        for (size_t e = 0; e < ARRAY_LEN(table[i].want) && table[i].want[e]; e++) {
            struct str got = jsonscan_next(str_of(table[i].array), &at);
            cr_expect(str_eq(got, table[i].want[e]), "%s, %zu: %.*s", table[i].array, e, (int)got.n, got.p);
        }
        cr_expect_eq(jsonscan_next(str_of(table[i].array), &at).n, 0, "%s", table[i].array);
    }
}
